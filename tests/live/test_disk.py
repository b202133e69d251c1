"""A disk that fails: the desk stops sending, cancels, ends as failed, and goes on once there is room again."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk_configs import write_resting
from desk_truth import check_agreement, check_baskets, sent_by_the_desk
from live_daemon import Daemon, Probe, attached, eventually


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of five megabytes where the runs are logged; only root may have one."""
    runs = tmp_path / "state" / "runs"
    runs.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(runs)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield runs
    subprocess.run(["umount", "-l", str(runs)], check=True)


def check_failure(daemon: Daemon, probe: Probe) -> None:
    """The desk has ended as failed, nothing rests, and the guard has latched."""
    assert daemon.process is not None
    assert daemon.process.wait(60) == 1
    assert "the journal failed" in daemon.words()
    eventually("nothing rests", lambda: not probe.open_orders("futures") and not probe.open_orders("spot"))
    level = daemon.call("status", path=daemon.paths.panic_socket)["level"]
    assert level in ("cancel_all", "flatten")


def check_recovery(daemon: Daemon, probe: Probe) -> None:
    """A new process knows what it holds, and sends nothing twice."""
    daemon.start()
    assert daemon.wait_ready()["kill"]["level"] in ("cancel_all", "flatten")
    check_agreement(daemon, probe)
    check_baskets(daemon)
    assert max(sent_by_the_desk(daemon).values()) == 1
    assert daemon.terminate() == 0, daemon.words()


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    with attached(write_resting(tmp_path), tmp_path / "state", speed="20") as daemon:
        daemon.start()
        daemon.wait_ready()
        probe = daemon.probe()
        check_failure(daemon, probe)
        subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        check_recovery(daemon, probe)


def test_a_file_that_must_not_grow(tmp_path: Path) -> None:
    """EFBIG from every write beyond a bound, as a quota gives it: set on the running process."""
    with attached(write_resting(tmp_path), tmp_path / "state") as daemon:
        daemon.start()
        daemon.wait_ready()
        probe = daemon.probe()
        eventually("orders rest", lambda: len(probe.open_orders("futures")) == 3)
        # Room for what it says, none for much more of the market.
        bound = daemon.stderr.stat().st_size + 100_000
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (bound, bound))
        check_failure(daemon, probe)
        check_recovery(daemon, probe)


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The first commit cannot even begin: nothing is sent, and the reason is told."""
    if os.geteuid() == 0:
        runs = tmp_path / "state" / "runs"
        runs.parent.mkdir()
        runs.write_text("a file where a folder belongs")
    else:
        (tmp_path / "state").mkdir(mode=0o500)
    with attached(write_resting(tmp_path), tmp_path / "state") as daemon:
        daemon.start()
        assert daemon.process is not None
        assert daemon.process.wait(60) == 1
        assert "runs" in daemon.words()
