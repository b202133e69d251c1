"""A secret that the daemon was given appears nowhere: no log, no journal, no metric, no answer, no traceback."""

import os
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from desk_configs import BUSY, write_config
from desk_truth import arm_again
from emulated import emulators, write_busy
from live_daemon import Daemon, eventually, running

CANARY = "cANARY-5ecret-7f3a9b1d2e"


def with_credential(text: str) -> str:
    account = 'id = "futures"\n'
    assert account in text
    return text.replace(account, f'{account}credentials = {{ credential = "futures-key" }}\n', 1)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "futures-key"]


def holds(path: Path, needle: bytes) -> bool:
    return needle in path.read_bytes()


def test_a_secret_appears_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = tmp_path / "credentials"
    secrets.mkdir(mode=0o700)
    (secrets / "futures-key").write_text(CANARY)
    (secrets / "futures-key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    config = write_config(tmp_path / "desk.toml", BUSY)
    config.write_text(with_credential(config.read_text()))
    with running(config, tmp_path / "state", "--speed", "10") as daemon:
        port = daemon.wait_ready()["metrics_port"]
        eventually("it trades", lambda: daemon.call("positions", path=daemon.paths.view_socket)["positions"])
        told = [
            urlopen(f"http://127.0.0.1:{port}/metrics").read().decode(),
            *(str(daemon.call(method, path=daemon.paths.view_socket)) for method in ("status", "overview", "events")),
        ]
        daemon.call("arm", {"reason": f"whoever types {CANARY} into a reason"})
        # The end that leaves a traceback, and a core if one were allowed.
        os.kill(daemon.pid, signal.SIGABRT)
        assert daemon.process is not None
        daemon.process.wait(30)
        daemon.start()
        daemon.wait_ready()
        assert daemon.terminate() == 0
    assert not [one for one in told if CANARY in one]
    found = [path for path in files_below(tmp_path) if holds(path, CANARY.encode())]
    # A person who writes a secret into a reason has it in the journal, which keeps what persons said.
    assert {path.parent.name for path in found} <= {"log", "guard"}, found
    assert not holds(daemon.stderr, CANARY.encode())


def test_a_key_and_its_secret_appear_nowhere_when_the_venues_are_out_there(tmp_path: Path) -> None:
    with emulators(tmp_path, "one", "two", arguments=("--balance", "USDT=100000")) as venues:
        config = write_busy(tmp_path, venues)
        # Marks in the emulators' own keys; what a desk is given is what they take.
        needles = [one.told[name].encode() for one in venues.values() for name in ("api_key", "secret")]
        with running(config, tmp_path / "state", mode="run") as daemon:
            status = daemon.wait_ready(90)
            arm_again(daemon, status)
            port, view = status["metrics_port"], daemon.paths.view_socket
            eventually("it trades", lambda: daemon.call("baskets", path=view)["baskets"], 90)
            gateways = (daemon.paths.venue_socket, daemon.paths.guard_venue_socket)
            # Refusals, too, have requests behind them that were signed.
            venues["one"].fault(
                {"on": "request", "kind": "error", "code": -1100, "message": "x", "path": "*order*", "times": 3}
            )
            venues["two"].fault({"on": "connection", "kind": "disconnect", "times": 1})
            told = [
                urlopen(f"http://127.0.0.1:{port}/metrics").read(),
                *(str(daemon.call(method, path=view)).encode() for method in ("status", "overview", "events")),
            ]
            pids = [eventually("it listens", lambda p=path: daemon.listener(p), 90) for path in gateways]  # type: ignore[misc]
            told += [Path(f"/proc/{pid}/{name}").read_bytes() for pid in pids for name in ("cmdline", "environ")]
            # The end that leaves a traceback, and a core if one were allowed.
            for pid in pids:
                os.kill(pid, signal.SIGABRT)
            eventually("other gateways came", lambda: others(daemon, pids), 90)
            daemon.wait_ready(90)
            daemon.terminate()
    assert not [needle for needle in needles for one in told if needle in one]
    keys = tmp_path / "credentials"
    found = {path for path in files_below(tmp_path) for needle in needles if holds(path, needle)}
    assert {path.parent for path in found} <= {keys}, found


def others(daemon: Daemon, pids: list[int]) -> bool:
    """Whether other processes listen where these did."""
    paths = (daemon.paths.venue_socket, daemon.paths.guard_venue_socket)
    return all(daemon.listener(path) not in (None, pid) for path, pid in zip(paths, pids, strict=True))


def test_a_credential_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "futures-key").write_text(CANARY)
    (tmp_path / "futures-key").chmod(0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = write_config(tmp_path / "desk.toml", BUSY)
    config.write_text(
        config.read_text().replace(
            'id = "futures"\n', 'id = "futures"\ncredentials = { credential = "futures-key" }\n', 1
        )
    )
    daemon = Daemon(config, tmp_path / "state")
    daemon.start()
    assert daemon.process is not None
    try:
        assert daemon.process.wait(60) == 2
    except subprocess.TimeoutExpired:
        daemon.clear()
        raise
    assert "futures-key" in daemon.words()
    assert CANARY not in daemon.words()


def test_without_a_service_manager_credentials_lie_beside_the_configuration(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    config.write_text(with_credential(config.read_text()))
    with running(config, tmp_path / "state") as daemon:
        assert daemon.process is not None
        assert daemon.process.wait(60) == 2
        assert "credentials/futures-key" in daemon.words()
        (tmp_path / "credentials").mkdir(mode=0o700)
        (tmp_path / "credentials" / "futures-key").write_text(CANARY)
        (tmp_path / "credentials" / "futures-key").chmod(0o600)
        daemon.start()
        daemon.wait_ready()
        assert daemon.terminate() == 0
