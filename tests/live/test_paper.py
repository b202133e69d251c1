"""`basisd paper` as a user runs it: the same trades as the backtest, a log that replays, an end that is one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from desk_configs import BUSY, write_config
from live_daemon import ROOT, Daemon, eventually, running

SUMMED = ("net_pnl", "realized_pnl", "fees", "funding", "fills", "baskets", "positions", "market_events", "books")


def basisd(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *words], cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )


def paper(config: Path, state: Path, *words: str) -> dict[str, Any]:
    done = basisd("paper", str(config), "--state", str(state), "--metrics-port", "0", "--json", *words)
    assert done.returncode == 0, done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_paper_run_at_full_speed_trades_what_the_backtest_trades(tmp_path: Path) -> None:
    """The code that trades is the code that was tested: other processes, sockets and commits change nothing."""
    # A machine that stands still for a while is no news here: the guard is patient.
    patient = '[guard]\nheartbeat_timeout = "60s"\n'
    config = write_config(tmp_path / "desk.toml", {**BUSY, "duration": '"90s"'}, patient)
    live = paper(config, tmp_path / "state", "--speed", "max")
    done = basisd("backtest", str(config), "--json", "--out", str(tmp_path / "backtest"))
    assert done.returncode == 0, done.stderr
    tested = json.loads(done.stdout)
    assert tested["fills"] > 20
    assert {name: live[name] for name in SUMMED} == {name: tested[name] for name in SUMMED}
    replayed = basisd("replay", str(tmp_path / "state" / "runs" / "000001"), "--check")
    assert replayed.returncode == 0, replayed.stdout
    assert "no difference" in replayed.stdout


def test_a_run_that_was_stopped_goes_on_and_one_that_ended_begins_afresh(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    state = tmp_path / "state"
    # The first and the third life must be over before their market is, however slow the machine; the second is not.
    slow, fast = ("--for", "200s", "--speed", "1"), ("--for", "200s", "--speed", "20")
    with running(config, state, *slow) as daemon:
        daemon.wait_ready()
        assert daemon.terminate() == 0, daemon.words()
        assert daemon.listener(daemon.paths.guard_socket) is None
        assert daemon.listener(daemon.paths.venue_socket) is None
        daemon.arguments = fast
        daemon.start()
        assert daemon.wait_ready()["run"] == "000002"
        assert daemon.process is not None
        assert daemon.process.wait(120) == 0, daemon.words()
        for run in ("000001", "000002"):
            replayed = basisd("replay", str(state / "runs" / run), "--check")
            assert "no difference" in replayed.stdout, replayed.stdout + replayed.stderr
        daemon.arguments = slow
        daemon.start()
        assert daemon.wait_ready()["run"] == "000001"
        assert (state / "done" / "000001" / "runs" / "000002" / "log" / "manifest.json").exists()


def test_two_desks_do_not_share_a_state(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state") as daemon:
        daemon.wait_ready()
        other = Daemon(config, tmp_path / "state")
        other.start()
        assert other.process is not None
        assert other.process.wait(60) == 1
        assert f"in use by process {daemon.pid}" in other.words()
        assert daemon.terminate() == 0, daemon.words()


def test_a_live_run_starts_disarmed_and_trades_once_it_is_armed(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", mode="run") as daemon:
        status = daemon.wait_ready()
        assert status["kill"]["level"] == "reduce_only"
        daemon.call("arm", {"reason": "the desk opens"})
        eventually("it trades", lambda: daemon.call("positions", path=daemon.paths.view_socket)["positions"])
        assert daemon.terminate() == 0, daemon.words()
        # Disarmed again after every start, whatever was armed before.
        daemon.start()
        assert daemon.wait_ready()["kill"]["level"] == "reduce_only"


MISTAKES = [
    (["--speed", "fast"], "--speed: 'fast' is neither a number nor 'max'"),
    (["--speed", "0"], "--speed: '0' is not above 0"),
    (["--for", "1 minute"], "--for: expected a duration"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_mistakes_on_the_command_line_are_told_and_leave_nothing_behind(
    tmp_path: Path, words: list[str], said: str
) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    done = basisd("paper", str(config), "--state", str(tmp_path / "state"), *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "state" / "runs").exists()


def test_a_venue_that_cannot_begin_ends_the_desk_with_the_reason(tmp_path: Path) -> None:
    """A state belongs to one configuration: the venue says so, and the desk hands it on."""
    state = tmp_path / "state"
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, state, "--for", "1h") as daemon:
        daemon.wait_ready()
        assert daemon.terminate() == 0
    write_config(config, {**BUSY, "seed": "16"})
    done = basisd("paper", str(config), "--state", str(state), "--metrics-port", "0", "--for", "1h")
    assert done.returncode == 1
    assert "was written for" in done.stderr
