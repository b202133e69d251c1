"""A durable commit has everything before it, wherever the process is killed and whatever the segments have by then."""

import os
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dispatcher import Intent
from daemon.log import LogCorruptError, RunLog, open_log, reader
from daemon.log.bridges import COMPRESSED_BYTES_MIN, BridgePacker, unpack
from daemon.log.canonical import input_line, intent_line
from daemon.log.journal import JournalReader
from venues.model.order import Side
from venues.port import CancelAll, Trade, VenueUp

START = 1_723_075_200_000_000_000
SECOND = 1_000_000_000


class Written:
    """A durable log, and beside it in memory what was noted and how much of that a row commit decided on."""

    def __init__(self, folder: Path, *, durable: bool = True, segment_bytes: int = 1 << 20) -> None:
        self.log = RunLog.create(folder, "", "c0ffee", "build", START, durable=durable, segment_bytes=segment_bytes)
        self.folder = folder
        self.seq = 0
        self.now = START
        self.noted: list[bytes] = []
        self.committed = 0
        self.has_rows = False

    def market(self, count: int, *, text: str = "x") -> None:
        for _ in range(count):
            self.seq += 2
            message = Trade(self.now, f"binance:{text}", self.seq, 600 + self.seq % 7, self.seq % 11, Side.BUY)
            self.log.input(self.seq, self.now, False, message)
            self.noted.append(input_line(self.seq, self.now, False, message))

    def report(self) -> None:
        self.seq += 2
        message = VenueUp(self.now, "binance", f"n{self.seq}")
        self.log.input(self.seq, self.now, False, message)
        self.noted.append(input_line(self.seq, self.now, False, message))
        self.has_rows = True

    def act(self) -> None:
        self.seq += 2
        intent = Intent(self.seq, self.seq - 1, self.seq - 2, CancelAll(self.now, f"desk-{self.seq}"))
        self.log.intents([intent])
        self.noted.append(intent_line(intent))
        self.has_rows = True

    def commit(self) -> None:
        self.log.commit()
        self.committed = len(self.noted) if self.has_rows else self.committed
        self.has_rows = False

    def sync(self) -> None:
        self.log.sync()
        self.committed = len(self.noted)
        self.has_rows = False

    def read(self) -> list[bytes]:
        opened = open_log(self.folder)
        lines = [record.line for record in opened.records()]
        assert sum(1 for _ in opened.order_path()) == sum(b'"kind":"Trade"' not in line for line in lines)
        return lines


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    made = Written(tmp_path / "log")
    yield made
    made.log.abandon()


def bridges(folder: Path) -> list[tuple[int, int]]:
    connection = sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT first, count FROM bridges ORDER BY first").fetchall()
    finally:
        connection.close()


# What a commit has


def test_a_commit_takes_along_the_market_inputs_that_no_segment_has(written: Written) -> None:
    written.market(3)
    written.commit()
    assert (written.read(), bridges(written.folder)) == ([], [])
    written.act()
    written.commit()
    assert bridges(written.folder) == [(0, 3)]
    written.market(2)
    written.report()
    written.market(1)
    written.commit()
    assert bridges(written.folder) == [(0, 3), (3, 3)]
    written.report()
    written.commit()
    assert bridges(written.folder) == [(0, 3), (3, 3)]
    assert written.read() == written.noted


def test_what_segments_have_is_dropped_with_the_next_commit(written: Written) -> None:
    written.market(3)
    written.act()
    written.commit()
    written.sync()
    assert bridges(written.folder) == [(0, 3)]
    assert written.read() == written.noted
    written.act()
    written.commit()
    assert bridges(written.folder) == []
    written.market(1)
    written.act()
    written.commit()
    assert bridges(written.folder) == [(3, 1)]
    assert written.read() == written.noted


def test_a_sealed_log_has_none(written: Written) -> None:
    written.market(3)
    written.act()
    written.commit()
    written.log.close()
    assert bridges(written.folder) == []
    assert written.read() == written.noted


def test_a_log_that_is_not_durable_has_none(tmp_path: Path) -> None:
    written = Written(tmp_path / "log", durable=False)
    written.market(3)
    written.act()
    written.log.commit()
    written.log.sync()
    assert bridges(written.folder) == []
    written.log.abandon()
    assert written.read() == written.noted


def test_an_order_does_not_wait_for_segments_as_long_as_they_can_wait(written: Written) -> None:
    """The sync that came due is left to a commit without rows, for a second at most."""
    written.market(1)
    written.now += SECOND
    written.market(1)
    written.act()
    written.commit()
    blocks = [len(segment.blocks) for segment in open_log(written.folder).segments]
    written.commit()
    assert (blocks, [len(segment.blocks) for segment in open_log(written.folder).segments]) == ([0], [1])
    for _ in range(3):
        written.now += SECOND
        written.market(1)
        written.act()
        written.commit()
    assert [len(segment.blocks) for segment in open_log(written.folder).segments] == [2]
    assert written.read() == written.noted


OPERATIONS = st.lists(
    st.sampled_from(["market", "many", "long", "report", "act", "commit", "commit", "sync", "wait", "seconds"]),
    max_size=40,
)


@settings(max_examples=60)
@given(OPERATIONS, st.booleans())
def test_a_process_killed_anywhere_leaves_everything_committed(
    tmp_path_factory: pytest.TempPathFactory, operations: list[str], small: bool
) -> None:
    folder = tmp_path_factory.mktemp("bridges")
    written = Written(folder / "log", segment_bytes=300 if small else 1 << 20)
    act: dict[str, Callable[[], object]] = {
        "market": lambda: written.market(1),
        "many": lambda: written.market(40),
        "long": lambda: written.market(30, text="y" * 3000),
        "report": written.report,
        "act": written.act,
        "commit": written.commit,
        "sync": written.sync,
        "wait": lambda: setattr(written, "now", written.now + SECOND // 3),
        "seconds": lambda: setattr(written, "now", written.now + 2 * SECOND),
    }
    for operation in operations:
        act[operation]()
        lines = written.read()
        assert lines == written.noted[: len(lines)]
        assert len(lines) >= written.committed
    written.log.abandon()
    assert len(written.read()) >= written.committed
    shutil.rmtree(folder)


def test_at_every_call_to_the_disk_the_folder_holds_everything_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is copied before and after each write and sync of a segment: what a process killed there leaves."""
    written = Written(tmp_path / "log", segment_bytes=2_000)
    committed_at: list[int] = []

    def photographed(name: str) -> Callable[..., object]:
        original = getattr(os, name)

        def call(*arguments: object) -> object:
            for step in (lambda: None, lambda: original(*arguments)):
                done = step()
                copy = tmp_path / f"copy-{len(committed_at)}"
                shutil.copytree(written.folder, copy, ignore=shutil.ignore_patterns("*-shm"))
                committed_at.append(written.committed)
            return done

        return call

    for name in ("write", "fdatasync", "fsync"):
        monkeypatch.setattr(os, name, photographed(name))
    for number in range(24):
        written.market(5)
        if number % 3 != 1:
            written.act()
        written.commit()
        if number % 2:
            written.now += 3 * SECOND
    monkeypatch.undo()
    written.log.abandon()
    assert len(committed_at) > 10
    for number, committed in enumerate(committed_at):
        opened = open_log(tmp_path / f"copy-{number}")
        lines = [record.line for record in opened.records()]
        assert lines == written.noted[: len(lines)]
        assert len(lines) >= committed
        assert opened.lost_rows == 0


def test_a_reader_sees_all_that_was_committed_while_the_log_goes_on(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two looks of the reader the writer syncs, drops bridges and writes new ones."""
    scan, count = reader._open_segments, JournalReader.count

    def go_on() -> None:
        written.market(2)
        written.act()
        written.commit()
        written.sync()
        written.market(1)
        written.act()
        written.commit()

    def scan_between(folder: Path) -> object:
        go_on()
        found = scan(folder)
        go_on()
        return found

    def count_between(journal: JournalReader) -> int:
        go_on()
        total = count(journal)
        go_on()
        return total

    monkeypatch.setattr(reader, "_open_segments", scan_between)
    monkeypatch.setattr(JournalReader, "count", count_between)
    for _ in range(3):
        written.market(2)
        written.act()
        written.commit()
        committed = written.committed
        opened = open_log(written.folder)
        go_on()
        lines = [record.line for record in opened.records()]
        assert lines == written.noted[: len(lines)]
        assert len(lines) >= committed
        assert opened.lost_rows == 0


# Ends that went missing


def test_a_journal_that_lost_its_end_is_noticed_and_what_followed_left_out(tmp_path: Path) -> None:
    """A journal copied without its write-ahead log, or with half of it: segments know of more records than it has."""
    written = Written(tmp_path / "log")
    for _ in range(6):
        written.market(4)
        written.act()
        written.commit()
        written.sync()
    shutil.copytree(tmp_path / "log", tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))
    written.log.abandon()
    path = tmp_path / "copy" / "journal.sqlite-wal"
    data = path.read_bytes().rstrip(b"\0")
    found = set()
    for size in range(len(data), 0, -197):
        (tmp_path / "copy" / "journal.sqlite-shm").unlink(missing_ok=True)
        path.write_bytes(data[:size])
        try:
            opened = open_log(tmp_path / "copy")
        except LogCorruptError as error:
            # Nothing is left of the journal, not even its tables.
            assert error.file.name == "journal.sqlite"  # noqa: PT017
            continue
        lines = [record.line for record in opened.records()]
        assert lines == written.noted[: len(lines)]
        assert len(lines) == 5 * (6 - opened.lost_rows)
        found.add(opened.lost_rows)
    assert found == {0, 1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("cut", [1, 20, 60, 300])
def test_a_segment_that_lost_its_end_is_made_good_by_the_bridges_as_far_as_they_go(tmp_path: Path, cut: int) -> None:
    written = Written(tmp_path / "log")
    for _ in range(3):
        written.market(4)
        written.act()
        written.commit()
    written.sync()
    written.log.abandon()
    path = tmp_path / "log" / "market-000000.seg"
    path.write_bytes(path.read_bytes()[:-cut])
    assert written.read() == written.noted


# Damage


CHANGES = [
    ("UPDATE bridges SET count = count + 1 WHERE first = ?", "checksum of the bridge"),
    ("UPDATE bridges SET raw = raw + 1 WHERE first = ?", "checksum of the bridge"),
    ("UPDATE bridges SET crc = crc + 1 WHERE first = ?", "checksum of the bridge"),
    ("UPDATE bridges SET crc = -1 WHERE first = ?", "checksum of the bridge"),
    ("UPDATE bridges SET raw = -1 WHERE first = ?", "checksum of the bridge"),
    ("UPDATE bridges SET stored = x'00' WHERE first = ?", "checksum of the bridge"),
    ("UPDATE bridges SET first = first + 1 WHERE first = ?", "checksum of the bridge"),
    ("DELETE FROM bridges WHERE first = ?", "it follows market input 3"),
]


@pytest.mark.parametrize(("change", "why"), CHANGES)
def test_a_changed_bridge_is_named(written: Written, change: str, why: str) -> None:
    for count in (3, 400, 2):
        written.market(count)
        written.act()
        written.commit()
    written.log.abandon()
    connection = sqlite3.connect(written.folder / "journal.sqlite", isolation_level=None)
    assert connection.execute(change, (3,)).rowcount == 1
    connection.close()
    with pytest.raises(LogCorruptError, match=why) as caught:
        open_log(written.folder)
    assert caught.value.file.name == "journal.sqlite"
    assert caught.value.record.startswith("bridge from market input ")


def test_a_flipped_byte_in_a_bridge_is_found(written: Written) -> None:
    written.market(5)
    written.act()
    written.commit()
    written.log.abandon()
    # The last connection that closes folds the write-ahead log into the file.
    connection = sqlite3.connect(written.folder / "journal.sqlite")
    connection.execute("SELECT * FROM records").fetchall()
    connection.close()
    path = written.folder / "journal.sqlite"
    whole = path.read_bytes()
    begin = whole.index(b'{"kind":"Trade"')
    end = whole.index(b'"seq":10}', begin) + 9
    for at in range(begin, end):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        with pytest.raises(LogCorruptError, match="bridge from market input 0: checksum of the bridge"):
            open_log(written.folder)


LINES = st.lists(
    st.binary(min_size=1, max_size=200).map(lambda line: line.replace(b"\n", b" ")), min_size=1, max_size=60
)


@given(st.integers(0, 2**62), LINES)
def test_a_bridge_reads_back_as_it_was(first: int, lines: list[bytes]) -> None:
    row = BridgePacker().pack(first, lines)
    bridge = unpack(row)
    assert (bridge.first, list(bridge.lines), bridge.end) == (first, lines, first + len(lines))
    assert len(row[4]) <= row[2]


def test_long_bridges_are_compressed_and_a_lie_about_that_is_found() -> None:
    row = BridgePacker().pack(7, [b'{"kind":"Trade"}'] * 1_000)
    assert len(row[4]) < COMPRESSED_BYTES_MIN < row[2]
    first, count, raw, _, stored = row
    for lie in ((first, count + 1, raw), (first, count, raw + 1), (first, count, len(stored) + 1)):
        crc = zlib.crc32(stored, zlib.crc32(struct.pack("<QII", *lie)))
        with pytest.raises(ValueError, match=r"not as many lines|[Dd]estination|error"):
            unpack((*lie, crc, stored))
