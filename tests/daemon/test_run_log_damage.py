"""A damaged log is found and named; one cut short reads up to where it is whole."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from actors.dispatcher import Intent
from daemon.log import Log, LogCorruptError, RunLog, open_log
from daemon.log.segments import scan
from venues.model.order import Side
from venues.port import CancelAll, Trade, VenueUp

START = 1_723_075_200_000_000_000
STEP = 4


def write(folder: Path, *, blocks: int = 6, seal: bool = True, segment_bytes: int = 700) -> str:
    """A log of several segments with several blocks of 5 trades each, with an intent and a report per block."""
    log = RunLog.create(folder, "text = 'ä'\n", "c0ffee", "build", START, durable=True, segment_bytes=segment_bytes)
    seq = 1
    for block in range(blocks):
        for number in range(5):
            log.input(seq, START + seq, False, Trade(START, "binance:BTCUSDT", seq, 600 + seq % 7, number, Side.BUY))
            seq += STEP
        log.intents([Intent(seq - 1, seq - 2, seq - STEP, CancelAll(START, f"desk-{block}"))])
        log.input(seq, START + seq, False, VenueUp(START, "binance"))
        seq += STEP
        log.sync()
    if seal:
        return log.close()
    log.abandon()
    return ""


def read_all(folder: Path) -> tuple[Log, list[bytes]]:
    log = open_log(folder)
    return log, [record.line for record in log.records()]


def flip(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


# Sealed


def test_any_flipped_byte_of_a_sealed_log_is_found_and_its_file_named(tmp_path: Path) -> None:
    write(tmp_path / "log")
    files = sorted((tmp_path / "log").iterdir())
    assert len([path for path in files if path.suffix == ".seg"]) >= 2
    choice = random.Random(20240808)
    sizes = {path: path.stat().st_size for path in files}
    spots = [(path, at) for path in files for at in (0, 1, sizes[path] - 2, sizes[path] - 1)]
    for _ in range(300):
        path = choice.choice(files)
        spots.append((path, choice.randrange(sizes[path])))
    for path, at in spots:
        bit = choice.randrange(8)
        flip(path, at, bit)
        with pytest.raises(LogCorruptError) as caught:
            read_all(tmp_path / "log")
        assert caught.value.file == path, (path, at, bit)
        flip(path, at, bit)
    assert len(read_all(tmp_path / "log")[1]) == 6 * 7


def test_a_damaged_block_is_named_by_its_numbers(tmp_path: Path) -> None:
    write(tmp_path / "log")
    path = tmp_path / "log" / "market-000000.seg"
    found = scan(path, 0, 0, may_be_torn=False)
    assert found is not None
    for block in found.blocks:
        flip(path, block.end - 1, 0)
        with pytest.raises(LogCorruptError, match="checksum of the block") as caught:
            open_log(tmp_path / "log")
        assert caught.value.record == f"seq {block.first_seq}..{block.last_seq}"
        flip(path, block.end - 1, 0)


def test_a_damaged_row_is_named_by_its_number(tmp_path: Path) -> None:
    write(tmp_path / "log")
    path = tmp_path / "log" / "journal.sqlite"
    at = path.read_bytes().index(b'"desk-3"')
    flip(path, at + 6, 0)
    with pytest.raises(LogCorruptError, match="checksum of the record") as caught:
        open_log(tmp_path / "log")
    row = next(r for r in _rows(tmp_path / "log") if "desk-" in r[1] and "desk-3" not in r[1] and "desk-2" in r[1])
    # The intent of the block after desk-2's: six records of four numbers later.
    assert caught.value.record == f"seq {row[0] + 6 * STEP}"


def _rows(folder: Path) -> list[tuple[int, str]]:
    connection = sqlite3.connect(f"file:{folder / 'journal.sqlite'}?immutable=1", uri=True)
    try:
        return connection.execute("SELECT seq, line FROM records").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["journal.sqlite", "market-000000.seg", "market-000001.seg", "run.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "log")
    (tmp_path / "log" / name).unlink()
    with pytest.raises((LogCorruptError, FileNotFoundError), match=name):
        open_log(tmp_path / "log")


@pytest.mark.parametrize("name", ["journal.sqlite", "market-000001.seg", "run.json", "manifest.json"])
def test_a_longer_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "log")
    with (tmp_path / "log" / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(LogCorruptError, match=name):
        open_log(tmp_path / "log")


def test_a_file_of_another_run_is_found(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two", blocks=7)
    for name in ("journal.sqlite", "market-000000.seg", "market-000001.seg", "run.json"):
        shutil.copy(tmp_path / "two" / name, tmp_path / "kept")
        shutil.copy(tmp_path / "one" / name, tmp_path / "two" / name)
        same = (tmp_path / "kept").read_bytes() == (tmp_path / "one" / name).read_bytes()
        if not same:
            with pytest.raises(LogCorruptError, match=name):
                open_log(tmp_path / "two")
        shutil.copy(tmp_path / "kept", tmp_path / "two" / name)


def test_no_log_is_no_empty_log(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_log(tmp_path)


# Cut short


def test_a_tail_torn_anywhere_leaves_a_prefix(tmp_path: Path) -> None:
    write(tmp_path / "log", blocks=4, seal=False, segment_bytes=1 << 20)
    path = tmp_path / "log" / "market-000000.seg"
    whole = read_all(tmp_path / "log")[1]
    data = path.read_bytes()
    found = scan(path, 0, 0, may_be_torn=False)
    assert found is not None
    last = found.blocks[-1]
    assert last.end == len(data)
    for size in range(last.offset, len(data)):
        path.write_bytes(data[:size])
        log, lines = read_all(tmp_path / "log")
        assert log.torn_bytes == size - last.offset
        assert not log.is_sealed
        # The journal still has the market inputs of the last block.
        assert lines == whole
    _forget_bridges(tmp_path / "log")
    for size in range(last.offset, len(data)):
        path.write_bytes(data[:size])
        log, lines = read_all(tmp_path / "log")
        # Three blocks of seven records each are whole; the fourth's order path has lost its market inputs.
        assert lines == whole[:21]
        assert sum(record.is_intent for record in log.order_path()) == 4


def _forget_bridges(folder: Path) -> None:
    connection = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
    connection.execute("DELETE FROM entries WHERE typeof(line) = 'blob'")
    connection.close()


def test_a_tail_of_zeros_or_noise_is_torn(tmp_path: Path) -> None:
    write(tmp_path / "log", blocks=3, seal=False, segment_bytes=1 << 20)
    path = tmp_path / "log" / "market-000000.seg"
    data = path.read_bytes()
    for tail in (b"\0" * 5_000, random.Random(1).randbytes(3_000), b"BLK1" * 100):
        path.write_bytes(data + tail)
        log, lines = read_all(tmp_path / "log")
        assert (log.torn_bytes, len(lines)) == (len(tail), 21)


def test_damage_before_the_last_block_is_no_torn_tail(tmp_path: Path) -> None:
    write(tmp_path / "log", blocks=4, seal=False, segment_bytes=1 << 20)
    path = tmp_path / "log" / "market-000000.seg"
    found = scan(path, 0, 0, may_be_torn=False)
    assert found is not None
    for at in range(found.blocks[-1].offset):
        flip(path, at, at % 8)
        with pytest.raises(LogCorruptError) as caught:
            read_all(tmp_path / "log")
        assert caught.value.file == path
        flip(path, at, at % 8)


def test_a_block_cut_out_of_the_middle_is_found(tmp_path: Path) -> None:
    write(tmp_path / "log", blocks=4, seal=False, segment_bytes=1 << 20)
    path = tmp_path / "log" / "market-000000.seg"
    found = scan(path, 0, 0, may_be_torn=False)
    assert found is not None
    data, gone = path.read_bytes(), found.blocks[1]
    path.write_bytes(data[: gone.offset] + data[gone.end :])
    with pytest.raises(LogCorruptError, match="5 market inputs precede it, not 10"):
        open_log(tmp_path / "log")


def test_a_segment_missing_from_the_middle_is_found(tmp_path: Path) -> None:
    write(tmp_path / "log", seal=False, segment_bytes=500)
    assert (tmp_path / "log" / "market-000002.seg").exists()
    (tmp_path / "log" / "market-000001.seg").unlink()
    with pytest.raises(LogCorruptError, match=r"market-000001.seg: the file is missing"):
        open_log(tmp_path / "log")


def test_a_segment_torn_in_its_header_holds_nothing(tmp_path: Path) -> None:
    write(tmp_path / "log", blocks=4, seal=False, segment_bytes=1 << 20)
    path = tmp_path / "log" / "market-000001.seg"
    for start in (b"", b"BASIS", b"BASISSEG\x10\0\0\0"):
        path.write_bytes(start)
        assert len(read_all(tmp_path / "log")[1]) == 28


def test_a_changed_row_of_an_open_journal_is_found(tmp_path: Path) -> None:
    write(tmp_path / "log", blocks=4, seal=False)
    connection = sqlite3.connect(tmp_path / "log" / "journal.sqlite")
    connection.execute("UPDATE entries SET market = market - 1 WHERE seq = (SELECT min(seq) FROM records)")
    connection.commit()
    connection.close()
    with pytest.raises(LogCorruptError, match="checksum of the record"):
        read_all(tmp_path / "log")


# Logs of earlier versions, as they were written then

OLD = Path(__file__).parent / "logs"


@pytest.mark.parametrize("name", ["version-1-sealed", "version-1-open", "version-2-sealed", "version-2-open"])
def test_a_log_of_an_earlier_version_is_read(tmp_path: Path, name: str) -> None:
    shutil.copytree(OLD / name, tmp_path / "log")
    write(tmp_path / "new", blocks=3)
    log, lines = read_all(tmp_path / "log")
    assert log.is_sealed == name.endswith("sealed")
    assert (log.header.mode, log.header.snapshot_sha256, log.first_snapshot()) == ("backtest", "", None)
    has_bridges = name == "version-2-open"
    assert [(bridge.first, len(bridge.lines)) for bridge in log.bridges] == ([(10, 5)] if has_bridges else [])
    if name.startswith("version-2"):
        assert log.snapshot_seqs() == [69]
        assert log.snapshot(69).plain == {"of": "version 2"}
    else:
        assert log.snapshot_seqs() == []
    assert log.lost_rows == 0
    assert lines == read_all(tmp_path / "new")[1]
    assert log.journal_sha256() == open_log(tmp_path / "new").journal_sha256()
    path = tmp_path / "log" / "market-000000.seg"
    flip(path, path.stat().st_size - 1, 3)
    if log.is_sealed:
        with pytest.raises(LogCorruptError, match="checksum of the block"):
            open_log(tmp_path / "log")
    else:
        # Of three blocks of seven records the last is torn; its bridge has the market inputs.
        assert len(read_all(tmp_path / "log")[1]) == (21 if has_bridges else 14)
