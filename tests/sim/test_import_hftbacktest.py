"""hftbacktest's event files as rows, and what in them is none."""

from decimal import Decimal

import numpy as np
import pytest
from row_messages import on_clock

from sim.importers.hftbacktest import EVENT, has_orders, hftbacktest_rows
from sim.recording.errors import RecordingError
from sim.row_builder import BuildReport
from sim.rows import (
    ADD,
    CLEAR,
    DELETE,
    DEPTH,
    EXECUTE,
    GAP,
    LAST,
    LOCAL,
    MODIFY,
    QUOTE,
    SNAPSHOT,
    TRADE,
    VENUE,
    Rows,
)
from sim.store.checks import RowChecks
from sim.store.errors import RowError
from sim.store.layout import GapSpan
from venues.model.instrument import Instrument, InstrumentKind

SPEC = Instrument("v", "X", InstrumentKind.PERPETUAL, "X", "USD", Decimal("0.1"), Decimal("0.001"))
EXCH, HERE, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
BOTH = EXCH | HERE


def events(*told):
    """(ev, exch_ts, local_ts, px, qty[, order_id])"""
    return np.array([(*one, *((0,) * (6 - len(one))), 0, 0.0) for one in told], EVENT)


def write(path, array, name="data"):
    np.savez_compressed(path, **{name: array})
    return path


def read(tmp_path, array):
    report = BuildReport()
    path = write(tmp_path / "events.npz", array)
    rows = Rows.join(list(hftbacktest_rows(path, SPEC, report, lambda _: None)))
    checks = RowChecks(1)
    checks.take(rows)
    checks.finish()
    return rows, report


def test_kinds_sides_clocks_and_the_ends_of_messages(tmp_path):
    rows, report = read(
        tmp_path,
        events(
            (BOTH | BUY | 3, 10, 20, 99.0, 0.0),
            (BOTH | BUY | 4, 10, 20, 99.9, 0.5),
            (BOTH | SELL | 3, 10, 20, 102.0, 0.0),
            (BOTH | SELL | 4, 10, 20, 100.1, 1.5),
            (BOTH | SELL | 2, 11, 21, 99.9, 0.1),
            (BOTH | SELL | 2, 11, 21, 99.9, 0.2),
            (EXCH | BUY | 1, 12, 29, 99.9, 0.2),
            (EXCH | BUY | 1, 12, 29, 99.8, 0.0),
            (BOTH | SELL | 1, 13, 23, 100.3, 2.0),
            (BOTH | BUY | 5, 14, 24, 99.9, 0.1),
            (BOTH | SELL | 5, 14, 24, 100.1, 0.3),
            (HERE | BUY | 1, 12, 29, 99.9, 0.2),
            (HERE | BUY | 1, 12, 29, 99.8, 0.0),
            (BOTH | 100, 15, 30, 1.0, 1.0),
        ),
    )
    book = [(CLEAR, False, 0, 0, 0), (SNAPSHOT, True, 0, 999, 500), (SNAPSHOT, False, 0, 1001, 1500)]
    change = [(DEPTH, True, 0, 999, 200), (DEPTH, True, 0, 998, 0)]
    ask = [(DEPTH, False, 0, 1003, 2000)]
    quote = [(QUOTE, True, 0, 999, 100), (QUOTE, False, 0, 1001, 300)]
    trades = [[(TRADE, False, 0, 999, 100)], [(TRADE, False, 0, 999, 200)]]
    assert on_clock(rows, VENUE) == list(
        zip([10, 11, 11, 12, 13, 14], [book, *trades, change, ask, quote], strict=True)
    )
    assert on_clock(rows, LOCAL) == list(
        zip([20, 21, 21, 23, 24, 29], [book, *trades, ask, quote, change], strict=True)
    )
    assert report.bad == {}
    assert report.passed_over == {"other kind": 1}


def test_orders_one_by_one(tmp_path):
    told = events(
        (BOTH | BUY | 10, 1, 2, 10.0, 1.0, 7),
        (BOTH | BUY | 12, 2, 3, 10.1, 0.9, 7),
        (BOTH | BUY | 13, 3, 4, 10.1, 0.4, 7),
        (BOTH | BUY | 11, 4, 5, 10.1, 0.5, 2**63 + 1),
    )
    rows, _ = read(tmp_path, told)
    assert rows.kind.tolist() == [ADD, MODIFY, EXECUTE, DELETE]
    assert rows.order_id.tolist() == [7, 7, 7, 2**63 + 1]
    assert rows.lots.tolist() == [1000, 900, 400, 0]
    assert (rows.flags & LAST).all()
    assert has_orders(tmp_path / "events.npz")


NAN = float("nan")
BAD = [
    ((BUY | 1, 1, 2, 10.0, 1.0), "no_clock"),
    ((BOTH | 1, 1, 2, 10.0, 1.0), "no_side"),
    ((BOTH | BUY | SELL | 1, 1, 2, 10.0, 1.0), "no_side"),
    ((BOTH | BUY | 1, 1, 2, 10.05, 1.0), "off_tick"),
    ((BOTH | BUY | 1, 1, 2, 10.0, 1.0005), "off_lot"),
    ((BOTH | BUY | 1, 1, 2, NAN, 1.0), "price_not_finite"),
    ((BOTH | BUY | 1, 1, 2, float("inf"), 1.0), "price_not_finite"),
    ((BOTH | BUY | 1, 1, 2, 10.0, NAN), "quantity_not_finite"),
    ((BOTH | BUY | 1, 1, 2, 10.0, -1.0), "negative_quantity"),
    ((BOTH | BUY | 2, 1, 2, 10.0, 0.0), "no_quantity"),
    ((BOTH | BUY | 1, 1, 2, 1e30, 1.0), "off_tick"),
    ((BOTH | BUY | 1, 3, 2, 10.0, 1.0), "negative_latency"),
    ((BOTH | BUY | 1, -5, 2, 10.0, 1.0), "negative_time"),
]


@pytest.mark.parametrize(("told", "reason"), BAD)
def test_bad_rows_are_counted_by_reason_and_the_others_keep_their_ends(tmp_path, told, reason):
    good = (BOTH | BUY | 1, 1, 2, 10.0, 1.0)
    rows, report = read(tmp_path, events(good, told, good))
    assert report.bad == {reason: 1}
    assert rows.ticks.tolist() == [100, 100]
    assert rows.flags[-1] & LAST


def test_a_clear_of_one_side_is_a_gap_until_both_are_cleared(tmp_path):
    rows, report = read(
        tmp_path,
        events(
            (BOTH | BUY | 3, 10, 20, 99.0, 0.0),
            (BOTH | BUY | 4, 10, 20, 99.9, 0.5),
            (BOTH | 3, 15, 25, 0.0, 0.0),
        ),
    )
    assert rows.kind.tolist() == [GAP, SNAPSHOT, CLEAR]
    assert report.bad == {"one_sided_clear": 1}
    assert report.gaps == [GapSpan(10, 15, SPEC.id)]


def test_messages_go_on_over_the_ends_of_blocks(tmp_path):
    count = (1 << 16) + 10
    told = np.tile(events((BOTH | BUY | 1, 5, 6, 10.0, 1.0)), count)
    rows, _ = read(tmp_path, told)
    assert len(rows) == count
    assert np.flatnonzero(rows.flags & LAST).tolist() == [count - 1]


def test_events_out_of_order_are_refused(tmp_path):
    with pytest.raises(RowError, match="row 1: venue_ns falls"):
        read(tmp_path, events((BOTH | BUY | 2, 5, 6, 10.0, 1.0), (BOTH | BUY | 2, 4, 7, 10.0, 1.0)))


def test_damaged_files_are_refused_by_name(tmp_path):
    path = write(tmp_path / "whole.npz", events(*((BOTH | BUY | 1, i, i, 10.0, i / 1000) for i in range(5000))))
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 0x55
    (tmp_path / "array.npy").write_bytes(b"")
    for name, content in [
        ("empty.npz", b""),
        ("cut.npz", whole[: len(whole) // 2]),
        ("altered.npz", bytes(altered)),
        ("text.npz", b"no array at all"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordingError, match=name):
            list(hftbacktest_rows(tmp_path / name, SPEC, BuildReport(), lambda _: None))
    for name, array in [("other.npz", np.zeros(3)), ("two.npz", np.zeros((2, 2), EVENT))]:
        with pytest.raises(RecordingError, match="not of events"):
            list(hftbacktest_rows(write(tmp_path / name, array), SPEC, BuildReport(), lambda _: None))
    with pytest.raises(RecordingError, match=r"no array `data` among more\.npy"):
        list(hftbacktest_rows(write(tmp_path / "m.npz", events(), "more"), SPEC, BuildReport(), lambda _: None))
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        has_orders(tmp_path / "missing.npz")


def test_a_plain_npy_cut_short_is_refused(tmp_path):
    path = tmp_path / "events.npy"
    np.save(path, np.tile(events((BOTH | BUY | 1, 5, 6, 10.0, 1.0)), 100))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordingError, match="ends after 98 of 100 events"):
        list(hftbacktest_rows(path, SPEC, BuildReport(), lambda _: None))
