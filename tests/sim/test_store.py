"""A store gives back what was written, in bounded memory, and nothing that was altered, cut or never finished."""

import os
import resource
import signal
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.rows import BUY, COLUMNS, DEPTH, LAST, LOCAL, TRADE, VENUE, Rows
from sim.store.errors import RowError, StoreError
from sim.store.layout import BATCH_ROWS_MAX, GapSpan, Span
from sim.store.reader import Store
from sim.store.writer import StoreWriter
from venues.model.instrument import Bracket, Instrument, InstrumentKind

PERP = Instrument(
    "binance_usdm",
    "BTCUSDT",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USDT",
    Decimal("0.1"),
    Decimal("0.001"),
    max_qty=Decimal("1E+3"),
    brackets=(Bracket(Decimal(0), Decimal(50000), Decimal("0.004"), Decimal(0), 125),),
    liquidation_fee=Decimal("0.0125"),
)
FUTURE = Instrument(
    "cme", "ESH4", InstrumentKind.FUTURE, "ES", "USD", Decimal("0.25"), Decimal(1), expiry_ns=1_710_509_400_000_000_000
)


def some_rows(count, start_ns=1_000, message=3):
    """Rows of messages of `message` rows, a microsecond apart, 5 us on their way."""
    rows = Rows.empty(count)
    number = np.arange(count)
    rows.kind[:] = np.where(number % 7, DEPTH, TRADE)
    rows.flags[:] = VENUE | LOCAL | np.where(number % 2, BUY, 0)
    rows.flags[message - 1 :: message] |= LAST
    rows.flags[-1] |= LAST
    rows.instrument[:] = number // message % 2
    rows.venue_ns[:] = start_ns + number // message * 1_000
    rows.local_ns[:] = rows.venue_ns + 5_000
    rows.ticks[:] = number * 31 % 1_000 - 500
    rows.lots[:] = number * 17 % 5_000
    return rows


def write(path, rows, *, has_orders=False, block=50_000, **end):
    with StoreWriter(path, [PERP, FUTURE], "made for a test", has_orders=has_orders) as writer:
        for start in range(0, len(rows), block):
            writer.append(rows.slice(start, min(start + block, len(rows))))
        return writer.close(**end)


def same(left, right):
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in COLUMNS)


@given(st.integers(0, 40), st.integers(1, 7), st.booleans())
def test_what_was_written_is_read_whatever_the_blocks(tmp_path_factory, count, block, has_orders):
    path = tmp_path_factory.mktemp("store") / "rows"
    rows = some_rows(count) if count else Rows.empty(0)
    if has_orders:
        rows.order_id[:] = np.arange(count, dtype=np.uint64) + np.uint64(2**63)
    write(path, rows, has_orders=has_orders, block=block)
    store = Store.open(path)
    assert len(store) == count
    assert same(Rows.join(list(store.blocks())), rows)
    assert store.verify().rows == count


def test_what_a_store_says_of_itself(tmp_path):
    rows = some_rows(10)
    gap = GapSpan(1_000, 2_000, PERP.id)
    written = write(tmp_path / "rows", rows, gaps=[gap], bad={"off_grid": 3}, late=2)
    store = Store.open(tmp_path / "rows")
    assert store.trailer == written
    assert store.header.source == "made for a test"
    assert store.instruments == (PERP, FUTURE)
    assert (store.trailer.venue, store.trailer.local) == (Span(1_000, 4_000), Span(6_000, 9_000))
    assert store.trailer.kinds == {"trade": 2, "depth": 8}
    assert store.trailer.messages == 4
    assert (store.trailer.gaps, store.trailer.bad, store.trailer.late) == ((gap,), {"off_grid": 3}, 2)


def test_batches_end_where_messages_do(tmp_path):
    rows = some_rows(2 * BATCH_ROWS_MAX + 5, message=7)
    write(tmp_path / "rows", rows)
    blocks = list(Store.open(tmp_path / "rows").blocks())
    assert len(blocks) == 3
    assert all(block.flags[-1] & LAST and len(block) <= BATCH_ROWS_MAX for block in blocks)
    assert same(Rows.join(blocks), rows)


def test_a_message_longer_than_a_batch_spans_several(tmp_path):
    rows = some_rows(2 * BATCH_ROWS_MAX + 5, message=3 * BATCH_ROWS_MAX)
    write(tmp_path / "rows", rows)
    blocks = list(Store.open(tmp_path / "rows").blocks())
    assert [len(block) for block in blocks] == [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 5]
    assert same(Rows.join(blocks), rows)


def test_blocks_are_views_of_the_file_and_give_their_memory_back(tmp_path):
    path = tmp_path / "rows"
    rows = some_rows(BATCH_ROWS_MAX, message=1)
    with StoreWriter(path, [PERP, FUTURE], "") as writer:
        for index in range(40):
            later = Rows(**{name: getattr(rows, name) for name in COLUMNS})
            later.venue_ns = rows.venue_ns + index * 10**9
            later.local_ns = rows.local_ns + index * 10**9
            writer.append(later)
        writer.close()
    size = path.stat().st_size
    assert size > 180_000_000
    total = 0
    page = resource.getpagesize()
    resident = []
    for block in Store.open(path).blocks():
        assert not block.ticks.flags.owndata
        total += int(block.lots.sum())
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)
    assert total == 40 * int(rows.lots.sum())
    # A reader that gave nothing back would have grown by the file's 188 MB.
    assert max(resident) - resident[0] < size / 4


def test_any_altered_byte_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "rows"
    rows = some_rows(40)
    write(path, rows)
    whole = path.read_bytes()
    told = Store.open(path).header, Store.open(path).trailer
    refused = 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        try:
            store = Store.open(path)
            read = Rows.join(list(store.blocks()))
        except StoreError:
            refused += 1
        else:
            assert same(read, rows)
            assert (store.header, store.trailer) == told
    assert refused > len(whole) / 3 / 2


@pytest.mark.parametrize("column", ["venue_ns", "ticks", "lots", "flags"])
def test_an_altered_batch_is_named(tmp_path, column):
    path = tmp_path / "rows"
    rows = some_rows(BATCH_ROWS_MAX + 1000, message=1)
    getattr(rows, column)[BATCH_ROWS_MAX + 500] ^= 0
    write(path, rows)
    block = list(Store.open(path).blocks())[1]
    wanted = getattr(block, column).tobytes()
    whole = bytearray(path.read_bytes())
    whole[whole.rindex(wanted) + len(wanted) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StoreError, match="batch 1: checksum differs") as refused:
        list(Store.open(path).blocks())
    assert refused.value.batch == 1
    with pytest.raises(StoreError, match="batch 1: checksum differs"):
        Store.open(path).verify()


def test_truncations_are_refused(tmp_path):
    path = tmp_path / "rows"
    write(path, some_rows(40))
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 11), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError):
            list(Store.open(path).blocks())


def test_a_file_that_is_not_there_or_empty_or_something_else(tmp_path):
    for name, content, why in [
        ("missing", None, "cannot be read: No such file"),
        ("empty", b"", "is empty"),
        ("text", b"a,b,c\n" * 100, "is no finished store"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match=why):
            Store.open(tmp_path / name)


def other_arrow_file(path, metadata, batches=0):
    held = pa.schema([("kind", pa.uint8())], metadata)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, held) as writer:
        for _ in range(batches):
            writer.write_batch(pa.record_batch([pa.array([1], pa.uint8())], schema=held))


def test_another_version_or_another_kind_of_arrow_file_is_refused(tmp_path):
    other_arrow_file(tmp_path / "later", {"basisd.format": "basisd rows 2", "basisd.header": "{}"})
    with pytest.raises(StoreError, match="is of version '2'; this build reads 'basisd rows' 1"):
        Store.open(tmp_path / "later")
    other_arrow_file(tmp_path / "other", None, 1)
    with pytest.raises(StoreError, match="is no store"):
        Store.open(tmp_path / "other")
    other_arrow_file(tmp_path / "bare", {"basisd.format": "basisd rows 1"})
    with pytest.raises(StoreError, match="header: "):
        Store.open(tmp_path / "bare")


def rewritten(path, chosen, **options):
    """Write the file's batches again, those `chosen` by number, each with its own metadata."""
    with pa.OSFile(str(path), "rb") as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch_with_custom_metadata(number) for number in range(reader.num_record_batches)]
        held = reader.schema
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, held, **options) as writer:
        for number in chosen:
            batch, metadata = batches[number]
            writer.write_batch(batch, custom_metadata=metadata)


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ([1, 0, 2], "batch 0: checksum differs"),
        ([0, 0, 2], "batch 1: checksum differs"),
        ([0, 2], "holds 1 batches, says 2"),
        ([0, 1, 1, 2], "holds 3 batches, says 2"),
        ([0, 1], "has no trailer: its writing was never finished"),
        ([2, 1, 2], "batch 0: has no rows"),
        ([], "has no trailer: its writing was never finished"),
    ],
)
def test_batches_that_were_moved_or_left_out_are_noticed(tmp_path, chosen, why):
    path = tmp_path / "rows"
    write(path, some_rows(BATCH_ROWS_MAX + 1000, message=1))
    rewritten(path, [0, 1, 2])
    assert Store.open(path).verify().batches == 2
    rewritten(path, chosen)
    with pytest.raises(StoreError, match=why):
        Store.open(path).verify()


def test_compressed_batches_are_no_store(tmp_path):
    path = tmp_path / "rows"
    write(path, some_rows(1000))
    rewritten(path, [0, 1], options=pa.ipc.IpcWriteOptions(compression="lz4"))
    with pytest.raises(StoreError, match="batch 0: column kind is not plain data of the file"):
        Store.open(path).verify()


def test_rows_that_break_the_rules_are_found_in_a_file_whose_checksums_are_right(tmp_path, monkeypatch):
    rows = some_rows(20, message=1)
    rows.venue_ns[10] = 1
    monkeypatch.setattr("sim.store.checks.RowChecks._in_order", lambda self, flags, times, last, name: 0)
    write(tmp_path / "rows", rows)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="batch 0: row 10: venue_ns falls"):
        Store.open(tmp_path / "rows").verify()


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def interrupted():
        with StoreWriter(tmp_path / "rows", [PERP, FUTURE], "") as writer:
            writer.append(some_rows(10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows"
    write(path, some_rows(10))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(StoreError, match="cannot be written: File too large"):
            write(path, some_rows(BATCH_ROWS_MAX * 2, message=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert os.listdir(tmp_path) == ["rows"]
    assert Store.open(path).verify().rows == 10


BAD_ROWS = [
    ("kind", 0, "no such kind"),
    ("kind", 99, "no such kind"),
    ("flags", LAST, "flags that belong to no clock"),
    ("flags", VENUE | LOCAL | 16, "flags that belong to no clock"),
    ("instrument", 2, "an instrument the market does not have"),
    ("venue_ns", 999, "venue_ns falls"),
    ("local_ns", 5_999, "local_ns falls"),
    ("venue_ns", 10**9, "reached the desk before it happened"),
    ("lots", -1, "a negative quantity or price"),
]


@pytest.mark.parametrize(("column", "value", "why"), BAD_ROWS)
def test_rows_that_break_the_rules_are_refused_by_number(tmp_path, column, value, why):
    rows = some_rows(20, message=1)
    rows.venue_ns[:10] = 1_000
    rows.local_ns[:10] = 6_000
    getattr(rows, column)[7] = value
    with pytest.raises(RowError, match=why) as refused:
        write(tmp_path / "rows", rows, block=3)
    assert refused.value.row == 7
    assert list(tmp_path.iterdir()) == []


def test_the_orders_hold_across_blocks_and_for_each_clock_alone(tmp_path):
    rows = some_rows(4, message=1)
    rows.venue_ns[:] = [5_000, 1_000, 6_000, 2_000]
    rows.local_ns[:] = [9_000, 6_000, 10_000, 7_000]
    rows.flags[:] = [VENUE | LAST, LOCAL | LAST, VENUE | LAST, LOCAL | LAST]
    write(tmp_path / "rows", rows, block=1)
    assert same(Rows.join(list(Store.open(tmp_path / "rows").blocks())), rows)


def test_a_message_without_an_end_is_refused(tmp_path):
    rows = some_rows(4)
    rows.flags[-1] &= ~LAST & 255
    with pytest.raises(RowError, match="row 3: the last message has no end"):
        write(tmp_path / "rows", rows)
