"""Databento's records as rows: T, F, C and M of one event are told once; real samples keep every order and level."""

from collections import Counter
from decimal import Decimal

import databento_dbn as dbn
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from row_messages import on_clock

from sim.importers.databento import databento_rows, definition, records, schema_of
from sim.recording.errors import RecordingError
from sim.row_builder import BuildReport
from sim.rows import ADD, BUY, CLEAR, DELETE, EXECUTE, GAP, LAST, LOCAL, MODIFY, QUOTE, TRADE, VENUE, Rows
from sim.store.checks import RowChecks
from sim.store.layout import GapSpan
from venues.model.instrument import Instrument, InstrumentKind

ES = Instrument("cme", "ES", InstrumentKind.FUTURE, "ES", "USD", Decimal("0.25"), Decimal(1), multiplier=Decimal(50))
TICK = 250_000_000
F_LAST = 128
B, A, N = dbn.Side.BID, dbn.Side.ASK, dbn.Side.NONE


def mbo(action, order_id, side, ticks, size, ts=1000, flags=F_LAST, of=7, recv=None):
    price = dbn.UNDEF_PRICE if ticks is None else round(ticks * TICK)
    return dbn.MBOMsg(
        1,
        of,
        ts,
        order_id,
        price,
        size,
        dbn.Action.from_str(action),
        side,
        ts + 500 if recv is None else recv,
        flags=flags,
    )


def file_of(path, told, schema=dbn.Schema.MBO):
    head = dbn.Metadata("GLBX.MDP3", 0, None, dbn.SType.from_str("instrument_id"), schema=schema)
    path.write_bytes(head.encode() + b"".join(bytes(one) for one in told))
    return path


def rows_of(path, spec=ES, of=7):
    report = BuildReport()
    rows = Rows.join(list(databento_rows(path, spec, of, report, lambda _: None)))
    checks = RowChecks(1)
    checks.take(rows)
    checks.finish()
    return rows, report


def told(rows):
    return [
        (kind, order_id, ticks, lots, bool(flags & LAST))
        for kind, order_id, ticks, lots, flags in zip(
            *(getattr(rows, name).tolist() for name in ("kind", "order_id", "ticks", "lots", "flags")), strict=True
        )
    ]


def test_an_aggressor_that_fills_two_orders_is_told_once(tmp_path):
    rows, report = rows_of(
        file_of(
            tmp_path / "x.dbn",
            [
                mbo("A", 1, B, 100, 5),
                mbo("A", 2, B, 100, 5),
                # A seller of 8: the first order goes, the second keeps 2; C and M only repeat it.
                mbo("T", 0, A, 100, 8, 2000, 0),
                mbo("F", 1, B, 100, 5, 2000, 0),
                mbo("F", 2, B, 100, 3, 2000, 0),
                mbo("C", 1, B, 100, 5, 2000, 0),
                mbo("M", 2, B, 100, 2, 2000),
                # A fill whose cancel takes more than was filled, then a partial and a full cancel.
                mbo("A", 3, A, 101, 9, 3000),
                mbo("T", 0, B, 101, 1, 4000, 0),
                mbo("F", 3, A, 101, 1, 4000, 0),
                mbo("C", 3, A, 101, 3, 4000),
                mbo("C", 3, A, 101, 4, 5000),
                mbo("C", 3, A, 101, 2, 6000),
                mbo("M", 2, B, 99, 2, 7000),
            ],
        )
    )
    assert told(rows) == [
        (ADD, 1, 100, 5, True),
        (ADD, 2, 100, 5, True),
        (TRADE, 0, 100, 8, True),
        (EXECUTE, 1, 100, 5, False),
        (EXECUTE, 2, 100, 3, True),
        (ADD, 3, 101, 9, True),
        (TRADE, 0, 101, 1, True),
        (EXECUTE, 3, 101, 1, False),
        (MODIFY, 3, 101, 6, True),
        (MODIFY, 3, 101, 2, True),
        (DELETE, 3, 101, 0, True),
        (MODIFY, 2, 99, 2, True),
    ]
    # BUY: the aggressor of a trade, the side of an order.
    assert [bool(flags & BUY) for flags in rows.flags.tolist()[:7]] == [True, True, False, True, True, False, True]
    assert report.bad == {}
    assert (rows.local_ns - rows.venue_ns).tolist() == [500] * len(rows)


def test_a_snapshot_begins_a_book_and_happens_when_it_was_taken(tmp_path):
    path = file_of(
        tmp_path / "x.dbn",
        [
            mbo("A", 1, B, 100, 5),
            mbo("R", 0, N, None, 0, 10, 32 | 8, recv=9000),
            mbo("A", 5, B, 90, 5, 20, 32 | 8, recv=9000),
            mbo("A", 6, A, 95, 4, 30, F_LAST | 32 | 8, recv=9000),
        ],
    )
    rows, _ = rows_of(path)
    assert told(rows)[1:] == [(CLEAR, 0, 0, 0, False), (ADD, 5, 90, 5, False), (ADD, 6, 95, 4, True)]
    assert rows.venue_ns.tolist()[1:] == [9000] * 3


BAD = [
    (mbo("T", 0, N, 100, 1), "no_side"),
    (mbo("C", 9, B, 100, 1), "unknown_order"),
    (mbo("F", 9, B, 100, 1), "unknown_order"),
    (mbo("A", 1, B, 100, 1), "duplicate_order"),
    (mbo("A", 8, B, 100, 0), "order_without_size"),
    (mbo("A", 8, B, None, 1), "no_price"),
    (mbo("A", 8, B, 100.5, 1), "off_tick"),
    (mbo("F", 1, B, 100, 6), "overfilled_order"),
    (mbo("A", 8, B, 100, 1, flags=0), "unfinished_event"),
]


@pytest.mark.parametrize(("record", "reason"), BAD)
def test_what_cannot_be_used_is_counted_by_reason(tmp_path, record, reason):
    _, report = rows_of(file_of(tmp_path / "x.dbn", [mbo("A", 1, B, 100, 5), record]))
    assert report.bad == {reason: 1}


def test_a_book_that_may_be_bad_is_a_gap_until_it_is_cleared(tmp_path):
    doubtful = mbo("A", 2, B, 100, 5, 2000, F_LAST | 4)
    again = [mbo("R", 0, N, None, 0, 3000), mbo("A", 9, B, 1, 1, 4000)]
    rows, report = rows_of(file_of(tmp_path / "x.dbn", [mbo("A", 1, B, 100, 5), doubtful, *again]))
    assert rows.kind.tolist() == [ADD, ADD, GAP, CLEAR, ADD]
    assert report.gaps == [GapSpan(2000, 3000, ES.id)]


def test_other_instruments_and_a_clock_that_is_behind(tmp_path):
    rows, report = rows_of(
        file_of(
            tmp_path / "x.dbn",
            [mbo("A", 1, B, 1, 1, of=8), mbo("A", 1, B, 1, 1, 2000, recv=1500), mbo("A", 2, B, 1, 1, 2000, recv=1400)],
        )
    )
    assert report.passed_over == {"other instrument": 1}
    assert list(zip(rows.venue_ns.tolist(), rows.local_ns.tolist(), strict=True)) == [(1500, 1500), (1500, 1500)]


levels = st.tuples(st.integers(1, 9), st.integers(1, 5))


@given(st.data())
def test_orders_after_any_events_are_those_of_the_records(tmp_path_factory, data):
    """The book by the reference's rules (T and F change nothing, C takes its size off, M replaces) and by the rows."""
    path = tmp_path_factory.mktemp("dbn") / "x.dbn"
    book: dict[int, tuple[int, int]] = {}
    said = []
    for number in range(data.draw(st.integers(1, 30))):
        ts = 1000 + number
        kind = data.draw(st.sampled_from(["add", "cancel", "modify", "trade"])) if book else "add"
        if kind == "add":
            ticks, size = data.draw(levels)
            book[number] = ticks, size
            said.append(mbo("A", number, B, ticks, size, ts))
            continue
        chosen = data.draw(st.sampled_from(sorted(book)))
        ticks, size = book[chosen]
        part = data.draw(st.integers(1, size))
        if kind == "modify":
            ticks, size = data.draw(levels)
            book[chosen] = ticks, size
            said.append(mbo("M", chosen, B, ticks, size, ts))
            continue
        if kind == "trade":
            said += [mbo("T", 0, A, ticks, part, ts, 0), mbo("F", chosen, B, ticks, part, ts, 0)]
        if kind == "trade" and part < size and data.draw(st.booleans()):
            said.append(mbo("M", chosen, B, ticks, size - part, ts))
        else:
            said.append(mbo("C", chosen, B, ticks, part, ts))
        book[chosen] = ticks, size - part
        if part == size:
            del book[chosen]
    rows, report = rows_of(file_of(path, said))
    assert report.bad == {}
    ours: dict[int, tuple[int, int]] = {}
    for kind, order_id, ticks, lots, _ in told(rows):
        if kind in {ADD, MODIFY}:
            assert (order_id in ours) == (kind == MODIFY)
            ours[order_id] = ticks, lots
        elif kind == EXECUTE:
            ours[order_id] = ticks, ours[order_id][1] - lots
            if not ours[order_id][1]:
                del ours[order_id]
        elif kind == DELETE:
            del ours[order_id]
    assert ours == book


def test_the_es_opening_book_holds_every_order_of_the_sample(data_dir):
    path = data_dir / "databento" / "esh4-glbx-mdp3-20231224.mbo.dbn.zst"
    assert schema_of(path) == ("mbo", {17077: "ESH4"})
    rows, report = rows_of(path, of=17077)
    sample = [one for one in records(path, lambda _: None) if isinstance(one, dbn.MBOMsg)]
    assert len(sample) == 8725
    assert rows.kind.tolist() == [CLEAR] + [ADD] * 8725
    assert rows.order_id.tolist()[1:] == [one.order_id for one in sample]
    assert (rows.ticks[1:] * TICK).tolist() == [one.price for one in sample]
    assert int(rows.lots.sum()) == sum(one.size for one in sample)
    assert Counter(bool(flags & BUY) for flags in rows.flags.tolist()[1:]) == {True: 5192, False: 3533}
    assert report.bad == {}


def test_the_es_best_level_and_trades_of_two_samples_agree(data_dir):
    folder = data_dir / "databento"
    spec, number = definition(folder / "futures_definition.dbn.zst", 118, None, "cme")
    assert (spec.symbol, spec.tick_size, spec.multiplier, number) == ("ESU4", Decimal("0.25"), Decimal(50), 118)
    (mbp,) = folder.glob("futures_mbp-1_*")
    (trades,) = folder.glob("futures_trades_*")
    quotes, report = rows_of(mbp, spec, 118)
    prints, _ = rows_of(trades, spec, 118)
    assert report.bad == {}
    assert (quotes.kind == TRADE).sum() == len(prints) == 120
    traded = [one for one in on_clock(quotes, VENUE) if one[1][0][0] == TRADE]
    assert traded == on_clock(prints, VENUE)
    last = [record for record in records(mbp, lambda _: None) if isinstance(record, dbn.MBP1Msg)][-1]
    ns, ((kind, is_bid, _, bid, bid_lots), (_, _, _, ask, ask_lots)) = on_clock(quotes, LOCAL)[-1]
    assert (kind, is_bid, ns) == (QUOTE, True, last.ts_recv)
    assert (bid * TICK, bid_lots) == (last.levels[0].bid_px, last.levels[0].bid_sz)
    assert (ask * TICK, ask_lots) == (last.levels[0].ask_px, last.levels[0].ask_sz)


def test_files_that_cannot_be_read_are_refused_by_name(tmp_path, data_dir):
    (sample,) = (data_dir / "databento").glob("futures_trades_*")
    whole = sample.read_bytes()
    plain = file_of(tmp_path / "plain.dbn", [mbo("A", 1, B, 100, 5)] * 3).read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 0x55
    for name, content, why in [
        ("cut.zst", whole[:-30], "compressed data ends early|ends inside a record"),
        ("altered.zst", bytes(altered), "compressed data is damaged"),
        ("cut.dbn", plain[:-10], "ends inside a record, 46 bytes"),
        ("text.dbn", b"no records at all, only text", "is damaged or no DBN file"),
        ("text.zst", zstandard.compress(b"only text, but compressed"), "is damaged or no DBN file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordingError, match=why):
            list(databento_rows(tmp_path / name, ES, 118, BuildReport(), lambda _: None))
    (tmp_path / "empty.dbn").write_bytes(b"")
    with pytest.raises(RecordingError, match="holds no metadata"):
        schema_of(tmp_path / "empty.dbn")
    with pytest.raises(RecordingError, match="holds definition; mbo, mbp-1, trades can be read"):
        schema_of(data_dir / "databento" / "futures_definition.dbn.zst")
    with pytest.raises(RecordingError, match=r"defines ESU4 .118., NQU4 .4358.: choose one"):
        definition(data_dir / "databento" / "futures_definition.dbn.zst", None, None, "cme")
    with pytest.raises(RecordingError, match="not an outright future"):
        definition(data_dir / "databento" / "definition-glbx-es-futspread.dbn.zst", 4155, None, "cme")
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        schema_of(tmp_path / "missing.dbn")
