"""A disk that is full or fails ends the log at once and for ever; nothing that was committed is lost.

Real disks: a tmpfs of a few megabytes, and an ext4 on a loop device whose backing file cannot grow, where writing
succeeds and only the sync tells that the device failed. Both need root, and are skipped with the reason elsewhere.
"""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, field
from small_desk import SECOND, START, Step, begin, build_cell, play, quotes

from actors.cell import Cell
from daemon.live.recovery import recover
from daemon.log import LogWriteError, RunLog, open_log
from daemon.log.journal import JournalWriter
from daemon.log.schema import WAL_BYTES
from daemon.log.snapshots import encode_snapshot
from venues.port import VenueUp

MEGABYTE = 1 << 20


def refuses(log: RunLog) -> None:
    """Check that the log takes nothing more, whatever the disk does by now."""
    for act in (log.commit, log.sync, lambda: log.intents([]), lambda: log.write_snapshot(1 << 40, 1, {}), log.close):
        with pytest.raises(LogWriteError, match="takes no more records"):
            act()


@define
class Desk:
    """A small desk, stepped until its log fails; `states` are those after each commit that returned."""

    folder: Path
    make: Callable[[int], Step]
    cell: Cell = field(init=False)
    log: RunLog = field(init=False)
    states: list[bytes] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.cell, self.log = begin(self.folder, durable=True)

    def run(self, steps: int, *, snapshots: int = 0) -> None:
        for number in range(len(self.states), len(self.states) + steps):
            play(self.cell, self.log, [self.make(number)])
            self.states.append(encode_snapshot(self.cell.snapshot()))
            if snapshots and number % snapshots == 0:
                self.log.write_snapshot(self.cell.dispatcher.seq, self.cell.dispatcher.now, self.cell.snapshot())

    def run_until_it_fails(self, steps: int, *, snapshots: int = 0) -> None:
        with pytest.raises(LogWriteError, match=r"OSError|OperationalError"):
            self.run(steps, snapshots=snapshots)
        refuses(self.log)


def orders(number: int) -> Step:
    """Every commit has an order path: two orders, and market inputs that come along."""
    return (number + 1) * SECOND // 100, [*quotes(number, 4, 1, 8)[1], VenueUp(number, f"venue-{number}")]


def market(number: int) -> Step:
    """Next to nothing but market inputs."""
    return (number + 1) * SECOND // 1000, quotes(number, *(1 + 2 * (k % 5) for k in range(40)))[1]


def recovered(desk: Desk, folder: Path) -> None:
    """Check that everything committed is read and gives a state the desk had, or that of the commit that failed."""
    found = recover(folder, build_cell)
    assert found.is_complete
    state, after = encode_snapshot(found.snapshot), encode_snapshot(desk.cell.snapshot())
    known = [*desk.states, after]
    assert state in known
    # Every commit of `orders` has an order path; of `market` what was not synced yet is lost, as in a killed process.
    assert desk.make is market or known.index(state) >= len(desk.states) - 1
    records = list(open_log(folder).records())
    assert records[-1].seq <= found.seq


# Real disks


def command(*words: str | Path) -> None:
    try:
        subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"a failing disk cannot be made here: {error}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a failing disk cannot be made here: {' '.join(map(str, words))}: {error.stderr.strip()}")


@define
class Disk:
    """A small disk mounted at `path`; `heal` makes it as large as it needs to be, as after a restart elsewhere."""

    path: Path
    heal: Callable[[], None]


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size={WAL_BYTES + MEGABYTE}", "none", path)
    try:
        yield Disk(path, lambda: command("mount", "-o", "remount,size=64m", path))
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def failing_device(tmp_path: Path) -> Iterator[Disk]:
    backing, path = tmp_path / "backing", tmp_path / "disk"
    for each in (backing, path):
        each.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size={WAL_BYTES + 7 * MEGABYTE}", "none", backing)
    try:
        image = backing / "image"
        with image.open("wb") as file:
            file.truncate(64 * MEGABYTE)
        command("mkfs.ext4", "-q", "-J", "size=4", "-m", "0", image)
        command("mount", "-o", "loop", image, path)

        def heal() -> None:
            command("mount", "-o", "remount,size=128m", backing)
            # What never reached the device is forgotten with the cache.
            subprocess.run(["umount", str(path)], check=False, capture_output=True)
            command("mount", "-o", "loop", image, path)

        try:
            yield Disk(path, heal)
        finally:
            subprocess.run(["umount", "-l", str(path)], check=False)
    finally:
        subprocess.run(["umount", "-l", str(backing)], check=True)


@pytest.mark.parametrize("make", [orders, market])
@pytest.mark.parametrize("snapshots", [0, 50])
@pytest.mark.parametrize("kind", ["small_tmpfs", "failing_device"])
def test_a_disk_that_fails(
    request: pytest.FixtureRequest, kind: str, make: Callable[[int], Step], snapshots: int
) -> None:
    disk: Disk = request.getfixturevalue(kind)
    desk = Desk(disk.path / "log", make)
    desk.run_until_it_fails(1_000_000, snapshots=snapshots)
    assert len(desk.states) > 100
    disk.heal()
    recovered(desk, disk.path / "log")
    again = Desk(disk.path / "next", make)
    again.run(3)
    again.log.close()


def test_a_full_disk_can_still_be_read(small_tmpfs: Disk) -> None:
    desk = Desk(small_tmpfs.path / "log", orders)
    desk.run_until_it_fails(1_000_000)
    recovered(desk, small_tmpfs.path / "log")


def test_a_log_that_finds_no_room_never_begins(small_tmpfs: Disk) -> None:
    (small_tmpfs.path / "filler").write_bytes(bytes(3 * MEGABYTE))
    with pytest.raises(LogWriteError):
        begin(small_tmpfs.path / "log", durable=True)
    assert not (small_tmpfs.path / "log" / "run.json").exists()


# Calls that fail


@pytest.mark.parametrize("make", [orders, market])
@pytest.mark.parametrize("call", ["fdatasync", "write"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_segment_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[int], Step], call: str, code: int
) -> None:
    desk = Desk(tmp_path / "log", make)
    desk.run(150)

    def fails(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        desk.run_until_it_fails(10_000)
    recovered(desk, tmp_path / "log")


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("text", ["disk I/O error", "database or disk is full"])
def test_a_commit_that_fails_may_have_been_written_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool, text: str
) -> None:
    desk = Desk(tmp_path / "log", orders)
    desk.run(30)
    write = JournalWriter.write

    def fails(journal: JournalWriter, rows: object, *rest: object, **more: object) -> None:
        if is_written:
            write(journal, rows, *rest, **more)  # type: ignore[arg-type]
        raise sqlite3.OperationalError(text)

    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter, "write", fails)
        desk.run_until_it_fails(1)
    found = recover(tmp_path / "log", build_cell)
    after = encode_snapshot(desk.cell.snapshot())
    assert encode_snapshot(found.snapshot) == (after if is_written else desk.states[-1])
    assert found.is_complete


_LIMITED = """
import resource, sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from pathlib import Path
import test_run_log_disks as t
desk = t.Desk(Path(sys.argv[1]), getattr(t, sys.argv[4]))
desk.run(20)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]),) * 2)
try:
    desk.run(1_000_000)
except t.LogWriteError as error:
    for _ in range(2):
        try:
            desk.log.commit()
        except t.LogWriteError:
            pass
        else:
            sys.exit(3)
    sys.stdout.buffer.write(desk.states[-1])
    sys.exit(7)
"""


@pytest.mark.parametrize(("make", "limit"), [(orders, 400_000), (market, 20_000)])
def test_files_that_cannot_grow(tmp_path: Path, make: Callable[[int], Step], limit: int) -> None:
    """The limit of the process on the size of files, which SQLite meets as well."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path / "log"), str(here), str(here.parent / "harness"), make.__name__,
         str(limit)],
        env={**os.environ, "PYTHONPATH": str(here.parents[1])},
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr.decode()
    found = recover(tmp_path / "log", build_cell)
    assert found.is_complete
    if make is orders:
        cell = build_cell("0.25")
        cell.start(START, found.snapshot)
        # Of the commit that failed something may have made it, of those before it everything.
        assert found.seq >= _seq_of(done.stdout)
    assert len(list(open_log(tmp_path / "log").records())) > 20
    shutil.rmtree(tmp_path / "log")


def _seq_of(state: bytes) -> int:
    return int(state.split(b'"seq":', 1)[1].split(b",", 1)[0])
