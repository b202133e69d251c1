"""The venue process is killed and goes on from its snapshot; it is the only one of the three that compiles."""

import os
import signal
from pathlib import Path

import pytest
from desk_configs import BUSY, write_config
from desk_truth import check_agreement, freeze
from live_daemon import Daemon, eventually, running

KILLS = int(os.environ.get("BASISD_VENUE_KILLS", "3"))


def compiles(pid: int) -> bool:
    return "llvmlite" in Path(f"/proc/{pid}/maps").read_text()


def venue(daemon: Daemon) -> int:
    found = daemon.listener(daemon.paths.venue_socket)
    assert found is not None
    return found


def test_a_killed_venue_goes_on_from_its_snapshot_and_agrees_with_the_desk(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", "--speed", "10") as daemon:
        daemon.wait_ready()
        snapshots, log = daemon.paths.venue_snapshots, daemon.paths.venue_log
        for kill in range(1, KILLS + 1):
            before = {path.name for path in snapshots.glob("*.snapshot")}
            eventually("a new snapshot", lambda b=before: {one.name for one in snapshots.glob("*.snapshot")} - b)  # type: ignore[misc]
            pid = venue(daemon)
            os.kill(pid, signal.SIGKILL)
            eventually("another venue", lambda p=pid: daemon.listener(daemon.paths.venue_socket) not in (None, p))  # type: ignore[misc]
            eventually("it recovered", lambda k=kill: log.read_text().count("after a snapshot at step") == k)  # type: ignore[misc]
            daemon.wait_ready()
        assert "is not used" not in log.read_text()
        freeze(daemon)
        check_agreement(daemon, daemon.probe())
        assert daemon.terminate() == 0, daemon.words()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="NOBODY LOOKS WHO COMPILES: this system has no /proc")
def test_desk_and_guard_carry_no_compiler(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", "--speed", "10") as daemon:
        daemon.wait_ready()
        guard = daemon.listener(daemon.paths.guard_socket)
        assert guard is not None
        assert (compiles(daemon.pid), compiles(guard), compiles(venue(daemon))) == (False, False, True)
