"""A durable commit has everything before it, wherever the process is killed and whatever the segments have by then."""

import os
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dispatcher import Intent
from daemon.log import LogCorruptError, RunLog, open_log, reader
from daemon.log.bridges import COMPRESSED_BYTES_MIN, Bridge, BridgePacker, of_version_2, unpack
from daemon.log.canonical import input_line, intent_line
from daemon.log.journal import JournalReader
from daemon.log.journal_schema import APPLICATION_ID, STEPS, VIEWS
from daemon.log.schema import open_database, open_readonly
from venues.model.order import Side
from venues.port import CancelAll, Trade, VenueUp

START = 1_723_075_200_000_000_000
SECOND = 1_000_000_000
HEAD = struct.Struct("<QII")


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
        rows = connection.execute("SELECT seq, market, crc, line FROM entries WHERE typeof(line) = 'blob' ORDER BY seq")
        return [(bridge.first, len(bridge.lines)) for bridge in map(unpack, rows)]
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


def test_a_commit_without_rows_drops_them_so_that_no_order_has_to(written: Written) -> None:
    written.market(3)
    written.act()
    written.commit()
    written.sync()
    assert bridges(written.folder) == [(0, 3)]
    written.market(1)
    written.commit()
    assert bridges(written.folder) == []
    written.act()
    written.commit()
    assert bridges(written.folder) == [(3, 1)]
    connection = written.log._journal
    assert connection is not None
    assert connection._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert written.read() == written.noted


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
def test_commits_of_any_size_take_them_along(written: Written, rows: int) -> None:
    for _ in range(2):
        written.market(2)
        for _ in range(rows):
            written.report()
        written.commit()
        assert written.read() == written.noted
    assert bridges(written.folder) == [(0, 2), (2, 2)]


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


OF_BRIDGE = "WHERE typeof(line) = 'blob' AND market = ?"
CHANGES = [
    (f"UPDATE entries SET crc = crc + 1 {OF_BRIDGE}", "checksum of the bridge"),
    (f"UPDATE entries SET crc = -1 {OF_BRIDGE}", "checksum of the bridge"),
    (f"UPDATE entries SET line = x'00' {OF_BRIDGE}", "checksum of the bridge"),
    (f"UPDATE entries SET line = x'' {OF_BRIDGE}", "checksum of the bridge"),
    (f"UPDATE entries SET line = CAST(substr(line, 2) AS BLOB) {OF_BRIDGE}", "checksum of the bridge"),
    (f"UPDATE entries SET line = CAST(line AS TEXT) {OF_BRIDGE}", "it follows market input 3"),
    (f"UPDATE entries SET market = market + 1 {OF_BRIDGE}", "it says of itself that it is from market input 3"),
    (f"DELETE FROM entries {OF_BRIDGE}", "it follows market input 3"),
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
    row = BridgePacker().pack(9, first, lines)
    bridge = unpack(row)
    assert (row[0], bridge.first, list(bridge.lines), bridge.end) == (9, first, lines, first + len(lines))
    assert len(row[3]) <= HEAD.size + len(b"\n".join(lines))


def test_long_bridges_are_compressed_and_a_lie_about_that_is_found() -> None:
    lines = [b'{"kind":"Trade"}'] * 1_000
    seq, first, _, stored = BridgePacker().pack(9, 7, lines)
    raw = 17 * 1_000 - 1
    assert HEAD.unpack_from(stored) == (7, 1_000, raw)
    assert len(stored) < COMPRESSED_BYTES_MIN
    frame = stored[HEAD.size :]
    assert zstandard.ZstdDecompressor().decompress(frame) == b"\n".join(lines)
    for lie in ((7, 1_001, raw), (7, 1_000, raw + 1), (7, 1_000, raw - 1), (7, 1_000, len(frame) + 1)):
        lying = HEAD.pack(*lie) + frame
        with pytest.raises(ValueError, match=r"not as many lines|[Dd]estination|error"):
            unpack((seq, first, zlib.crc32(lying), lying))


# Version 2


def of_2(first: int, lines: list[bytes]) -> tuple[int, int, int, int, bytes]:
    """A row as version 2 had it: the crc32 over the packed numbers, then over what is stored."""
    raw = b"\n".join(lines)
    return first, len(lines), len(raw), zlib.crc32(raw, zlib.crc32(HEAD.pack(first, len(lines), len(raw)))), raw


@pytest.mark.parametrize(
    "row",
    [
        (-1, 1, 1, 0, b"x"), (0, 1 << 32, 1, 0, b"x"), (0, 1, -1, 0, b"x"), (0, 1, 1, 0, b"x"),
        (0, 1, 1, 0, "x"), (0, 1, None, 0, b"x"), (0, 1, 1, 0), (),
    ],
)  # fmt: skip
def test_a_bridge_of_version_2_that_is_not_what_was_packed_is_refused(row: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="checksum of the bridge"):
        unpack(of_version_2(row))


def test_a_journal_of_version_2_grows_up_with_its_bridges(tmp_path: Path) -> None:
    """The step puts them among the records under the number of their last line, and views and reader find all."""
    market = [input_line(seq, START, False, Trade(START, "binance:x", seq, 600, 1, Side.BUY)) for seq in (1, 2, 5, 7)]
    rows = []
    for seq, before in ((3, 2), (8, 4)):
        line = intent_line(Intent(seq, 2, 1, CancelAll(START, "desk")))
        rows.append((seq, before, zlib.crc32(line, before), line.decode()))
    path = tmp_path / "journal.sqlite"
    connection = open_database(path, APPLICATION_ID, STEPS[:2])
    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
    connection.executemany("INSERT INTO bridges VALUES (?, ?, ?, ?, ?)", [of_2(0, market[:2]), of_2(2, market[2:])])
    connection.execute("INSERT INTO snapshots VALUES (8, 9, 4, 'digest', x'00')")
    asked = ["SELECT * FROM records", "SELECT * FROM snapshots", *(f"SELECT * FROM {name}" for name in VIEWS)]
    said = [connection.execute(select).fetchall() for select in asked]
    connection.close()
    found = []
    for _ in range(2):
        with JournalReader(tmp_path, is_sealed=False) as journal:
            found.append((list(journal.rows()), journal.count(), journal.bridges()))
        open_database(path, APPLICATION_ID, STEPS).close()
    assert found == [(rows, 2, (Bridge(0, tuple(market[:2])), Bridge(2, tuple(market[2:]))))] * 2
    connection, version = open_readonly(path, APPLICATION_ID, 3)
    assert version == 3
    assert [connection.execute(select).fetchall() for select in asked] == said
    assert connection.execute("SELECT seq, typeof(line) FROM entries ORDER BY seq").fetchall() == [
        (2, "blob"), (3, "text"), (7, "blob"), (8, "text"),
    ]  # fmt: skip
    connection.close()


def test_views_pass_over_bridges(written: Written) -> None:
    for _ in range(3):
        written.market(2)
        written.act()
        written.report()
        written.commit()
    connection, _ = open_readonly(written.folder / "journal.sqlite", APPLICATION_ID, 3)
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (9,)
    for name, rows in {"records": 6, "inputs": 3, "intents": 3, "sessions": 3, "orders": 0}.items():
        assert len(connection.execute(f"SELECT * FROM {name}").fetchall()) == rows, name
    assert connection.execute("SELECT name FROM pragma_table_info('records')").fetchall() == [
        ("seq",), ("market",), ("crc",), ("line",),
    ]  # fmt: skip
    connection.close()
