"""The trading process hangs, and the guard acts: over its own path, at once, and for good until a person arms."""

import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from desk_configs import HOLDING, write_config, write_hanging
from live_daemon import ROOT, Daemon, Probe, eventually, running

from daemon.admin.client import CallFailedError

PERP = "binance_usdm:BTCUSDT"
HELD = Decimal("0.5")


def basisctl(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run basisctl as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "daemon.ctl.main", "--state", str(daemon.paths.state), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def guard_status(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.call("status", path=daemon.paths.panic_socket)
    return found


def wait_held(daemon: Daemon, probe: Probe) -> None:
    """Wait until the desk holds its carry."""
    eventually(
        "the carry is held",
        lambda: probe.positions("futures").get(PERP) == -HELD and probe.balances("spot").get("BTC") == HELD,
    )


def wait_flat(probe: Probe) -> None:
    eventually("the book is flat", lambda: not probe.positions("futures") and not probe.balances("spot").get("BTC"))


def wait_hung(daemon: Daemon, how: str) -> None:
    """Wait until the desk answers no more: it is stopped, or its strategy has hung it."""
    if how == "stopped":
        os.kill(daemon.pid, signal.SIGSTOP)
    eventually("the guard has cancelled by itself", lambda: guard_status(daemon)["level"] == "cancel_all")


@pytest.mark.parametrize("how", ["stopped", "regex", "compiled"])
@pytest.mark.parametrize("order", ["kill", "panic"])
def test_a_desk_that_hangs_is_flattened_by_the_guard(tmp_path: Path, how: str, order: str) -> None:
    config = write_hanging(tmp_path, "never" if how == "stopped" else how)
    with running(config, tmp_path / "state", "--speed", "1") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        wait_held(daemon, probe)
        wait_hung(daemon, how)
        began = time.monotonic()
        words = ["kill", "flatten", "--reason", "it hangs"] if order == "kill" else ["panic"]
        said = basisctl(daemon, *words)
        assert said.returncode == 0, said.stderr
        wait_flat(probe)
        print(f"{how}, {order}: flat {time.monotonic() - began:.2f} s after the command began")
        assert not probe.open_orders("futures")
        assert guard_status(daemon)["level"] == "flatten"
        # Fenced: it must not come back to itself and trade.
        assert daemon.process is not None
        assert daemon.process.wait(30) == -signal.SIGKILL


def test_a_silent_desk_is_cancelled_and_stays_so_over_restarts_until_somebody_arms(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", HOLDING)
    with running(config, tmp_path / "state") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        wait_held(daemon, probe)
        daemon.kill()
        eventually("the guard has cancelled by itself", lambda: guard_status(daemon)["level"] == "cancel_all")
        # The guard dies as well: its latch does not.
        guard = daemon.listener(daemon.paths.guard_socket)
        assert guard is not None
        os.kill(guard, signal.SIGKILL)
        daemon.start()
        status = daemon.wait_ready()
        assert status["kill"]["level"] == "cancel_all"
        assert status["guard"]["level"] == "cancel_all"
        assert daemon.listener(daemon.paths.guard_socket) != guard
        # The position is still there: cancelling is not flattening, and a restart does not arm.
        assert probe.positions("futures") == {PERP: -HELD}
        with pytest.raises(CallFailedError, match="reason"):
            daemon.call("arm", {"reason": ""})
        armed = basisctl(daemon, "arm", "--reason", "seen and understood")
        assert armed.returncode == 0, armed.stderr
        assert daemon.wait_ready()["kill"]["level"] == "armed"
        assert guard_status(daemon)["level"] == "armed"
        history = basisctl(daemon, "history", "kills", "--json")
        assert "seen and understood" in history.stdout
        assert daemon.terminate() == 0, daemon.words()


def test_a_living_desk_flattens_itself_pairwise_when_told(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", HOLDING)
    with running(config, tmp_path / "state") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        wait_held(daemon, probe)
        said = basisctl(daemon, "kill", "flatten", "--reason", "drill")
        assert said.returncode == 0, said.stderr
        wait_flat(probe)
        status = daemon.status()
        assert status is not None
        assert status["pid"] == daemon.pid
        assert status["kill"]["level"] == "flatten"
        baskets = daemon.call("baskets", {"all": True}, path=daemon.paths.view_socket)["baskets"]
        assert {one["state"] for one in baskets if not one["closes"]} <= {"flat", "denied"}
        assert not guard_status(daemon)["is_in_charge"]
        assert daemon.terminate() == 0, daemon.words()


def test_after_the_guard_has_flattened_a_new_desk_learns_it_and_sells_nothing_twice(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", HOLDING)
    with running(config, tmp_path / "state") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        wait_held(daemon, probe)
        os.kill(daemon.pid, signal.SIGSTOP)
        assert basisctl(daemon, "panic").returncode == 0
        wait_flat(probe)
        assert daemon.process is not None
        daemon.process.wait(30)
        daemon.start()
        status = daemon.wait_ready()
        assert status["kill"]["level"] in ("cancel_all", "flatten")
        eventually("the guard hands the book back", lambda: not guard_status(daemon)["is_in_charge"])
        eventually("no basket is open", lambda: not daemon.call("baskets", path=daemon.paths.view_socket)["baskets"])
        assert not daemon.call("positions", path=daemon.paths.view_socket)["positions"]
        assert not probe.positions("futures")
        assert not probe.balances("spot").get("BTC")
        assert basisctl(daemon, "arm", "--reason", "the drill is over").returncode == 0
        assert daemon.wait_ready()["kill"]["level"] == "armed"
        assert daemon.terminate() == 0, daemon.words()
