"""Rows say in each order what two_clocks says of the same arrivals; what they cannot hold is counted, not rounded."""

from copy import deepcopy
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_messages import books, on_clock

from sim.clocks import Arrival, ClockStatistics, two_clocks
from sim.row_builder import RowBuilder
from sim.row_order import RowOrder
from sim.rows import (
    BUY,
    CLEAR,
    DEPTH,
    ESTIMATE,
    FUNDING,
    GAP,
    LAST,
    LOCAL,
    MARK,
    OPEN_INTEREST,
    QUOTE,
    SNAPSHOT,
    STATUS,
    TRADE,
    VENUE,
    Rows,
)
from sim.store.checks import RowChecks
from sim.store.layout import GapSpan
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    FeedGap,
    FundingRate,
    InstrumentState,
    InstrumentStatus,
    MarkPrice,
    OpenInterest,
    Quote,
    Trade,
    VenueUp,
)

D = Decimal
PERP = Instrument("v", "PERP", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
SPOT = Instrument("v", "SPOT", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
INSTRUMENTS = (PERP, SPOT)


def built(arrivals, lookahead_ns=10**12):
    builder = RowBuilder(INSTRUMENTS, lookahead_ns)
    rows = Rows.join(list(builder.blocks(arrivals)))
    checks = RowChecks(len(INSTRUMENTS))
    checks.take(rows)
    checks.finish()
    return rows, builder.report


def told(message):
    """What one message says, as messages of rows."""
    of = [one.id for one in INSTRUMENTS].index(message.instrument)
    match message:
        case Trade():
            return [[(TRADE, message.aggressor is Side.BUY, of, message.price, message.lots)]]
        case Quote():
            bid, ask = (message.bid, message.bid_lots), (message.ask, message.ask_lots)
            return [[(QUOTE, True, of, *bid), (QUOTE, False, of, *ask)]]
        case MarkPrice():
            mark = [(MARK, False, of, int((message.index or 0) * 10**8), int(message.mark * 10**8))]
            if message.rate is None:
                return [mark]
            return [mark, [(ESTIMATE, False, of, message.next_funding_ns or 0, int(message.rate * 10**12))]]
        case BookDelta():
            levels = [(DEPTH, True, of, *one) for one in message.bids] + [
                (DEPTH, False, of, *one) for one in message.asks
            ]
            return [levels] if levels else []
        case BookSnapshot():
            levels = [(SNAPSHOT, True, of, *one) for one in message.bids]
            return [[(CLEAR, False, of, 0, 0), *levels, *((SNAPSHOT, False, of, *one) for one in message.asks)]]
    raise AssertionError(message)


levels = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), max_size=3, unique_by=lambda level: level[0])
kinds = st.sampled_from(["trade", "quote", "mark", "delta"])


@st.composite
def some_arrivals(draw):
    """A joined book, then anything, each with a latency of its own, some of them below 0."""
    events = draw(
        st.lists(
            st.tuples(kinds, st.integers(0, 1), st.integers(0, 400), st.integers(-5, 60), levels),
            min_size=1,
            max_size=40,
        )
    )
    messages = []
    for number, (kind, of, since_ns, latency, bids) in enumerate(sorted(events, key=lambda one: one[2] + one[3])):
        name, ns = INSTRUMENTS[of].id, since_ns + 100
        message = {
            "trade": Trade(ns, name, number, 7, 1 + number, Side.SELL if number % 3 else Side.BUY),
            "quote": Quote(ns, name, number, 5, 1, 6, 2),
            "mark": MarkPrice(ns, name, D("1.00000001"), None, D("0.0001") if number % 2 else None, None),
            "delta": BookDelta(ns, name, 0, 0, 0, bids, [(ticks + 1000, lots) for ticks, lots in bids]),
        }[kind]
        messages.append(Arrival(ns, ns + latency, message))
    last = dict.fromkeys([one.id for one in INSTRUMENTS], 10)
    for arrival in messages:
        if isinstance(delta := arrival.message, BookDelta):
            last[delta.instrument] += 1
            delta.first_id = delta.last_id = last[delta.instrument]
            delta.prev_id = delta.last_id - 1
    joins = [
        arrival
        for one in INSTRUMENTS
        for arrival in (
            Arrival(10, 10, BookSnapshot(10, one.id, 9, [(1, 1)], [(2000, 1)])),
            Arrival(11, 11, BookDelta(11, one.id, 10, 10, 9, [], [(2000, 1)])),
        )
    ]
    return joins, messages


@given(some_arrivals(), st.integers(1, 80))
def test_rows_say_in_each_order_what_two_clocks_says(given_arrivals, lookahead_ns):
    joins, messages = given_arrivals
    rows, report = built(joins + messages, lookahead_ns)
    statistics = ClockStatistics()
    ticks = list(two_clocks(joins + messages, statistics, lookahead_ns))
    # Joining a book is what the next test is about: a snapshot waits for the delta that proves it.
    skipped = {id(join.message) for join in joins}
    for flag, is_local in ((VENUE, False), (LOCAL, True)):
        expected = [
            (tick.ns, parts)
            for tick in ticks
            if tick.is_local is is_local and id(tick.message) not in skipped
            for parts in told(tick.message)
        ]
        found = [one for one in on_clock(rows, flag) if one[1][0][0] != CLEAR]
        assert found == expected
    silent = sum(
        arrival.venue_ns < arrival.local_ns - lookahead_ns
        for arrival in messages
        if isinstance(arrival.message, BookDelta) and not arrival.message.bids
    )
    doubled = sum(
        arrival.venue_ns < arrival.local_ns - lookahead_ns
        for arrival in messages
        if isinstance(arrival.message, MarkPrice) and arrival.message.rate is not None
    )
    assert report.clocks.late == statistics.late - silent + doubled


messages_with_rows = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 50), st.integers(1, 4)), max_size=60)


def as_rows(messages):
    parts = []
    for number, (ns, latency, count) in enumerate(messages):
        rows = Rows.empty(count)
        rows.kind[:], rows.venue_ns[:], rows.local_ns[:] = TRADE, ns, ns + latency
        rows.ticks[:], rows.lots[:] = number, np.arange(count)
        rows.flags[-1] = LAST
        parts.append(rows)
    return parts


@given(messages_with_rows, st.data())
def test_order_is_the_same_however_the_rows_are_handed_over(messages, data):
    messages = sorted(messages, key=lambda one: one[0] + one[1])
    parts = as_rows(messages)
    whole, pieces = RowOrder(lookahead_ns=60), RowOrder(lookahead_ns=60)
    expected = Rows.join([whole.take(Rows.join(parts)), whole.finish()])
    found = []
    while parts:
        size = data.draw(st.integers(1, len(parts)))
        found.append(pieces.take(Rows.join(parts[:size])))
        parts = parts[size:]
    placed = Rows.join([*found, pieces.finish()])
    for flag in (VENUE, LOCAL):
        assert on_clock(placed, flag) == on_clock(expected, flag)
    # Every message stands once on each clock, its venue's row never behind the desk's.
    ids = placed.ticks.tolist()
    seen = set()
    for number, flags, part in zip(ids, placed.flags.tolist(), placed.lots.tolist(), strict=True):
        if flags & VENUE:
            assert (number, part) not in seen
            seen.add((number, part))
        assert (number, part) in seen
    assert len(seen) == sum(count for _, _, count in messages)


def test_messages_that_keep_their_order_are_never_split():
    order = RowOrder()
    rows = Rows.join([order.take(Rows.join(as_rows([(ns, 5, 2) for ns in range(50)]))), order.finish()])
    assert len(rows) == 100
    assert set((rows.flags & (VENUE | LOCAL)).tolist()) == {VENUE | LOCAL}


def test_one_overtaken_message_is_the_only_one_split():
    # The second happened first and arrived last.
    order = RowOrder()
    rows = Rows.join([order.take(Rows.join(as_rows([(20, 5, 1), (30, 5, 1), (10, 50, 1)]))), order.finish()])
    assert list(zip(rows.ticks.tolist(), (rows.flags & 3).tolist(), strict=True)) == [(2, 1), (0, 3), (1, 3), (2, 2)]


def test_rows_out_of_order_or_cut_are_refused():
    with pytest.raises(ValueError, match="not in the order of their arrival"):
        RowOrder().take(Rows.join(as_rows([(20, 5, 1), (10, 5, 1)])))
    order = RowOrder()
    order.take(Rows.join(as_rows([(20, 5, 1)])))
    with pytest.raises(ValueError, match="not in the order of their arrival"):
        order.take(Rows.join(as_rows([(10, 5, 1)])))
    with pytest.raises(ValueError, match="is not whole"):
        RowOrder().take(Rows.join(as_rows([(20, 5, 3)])).slice(0, 2))


def at(ns, message):
    return Arrival(ns, ns + 1, message)


def delta(ns, last_id, bids=(), asks=(), prev_id=None):
    before = last_id - 1 if prev_id is None else prev_id
    return at(ns, BookDelta(ns, PERP.id, before + 1, last_id, before, list(bids), list(asks)))


def test_a_book_leaves_when_it_is_joined_and_a_gap_stands_where_updates_are_missing():
    rows, report = built(
        [
            delta(1, 4, [(10, 9)]),
            delta(3, 6, [(11, 3)], prev_id=4),
            Arrival(2, 4, BookSnapshot(2, PERP.id, 5, [(10, 1)], [(20, 2)])),
            delta(4, 7, [(10, 5)], prev_id=6),
            delta(5, 9, [(10, 6)]),
            delta(6, 10, [(10, 7)]),
            at(7, BookSnapshot(7, PERP.id, 9, [(8, 8)], [(30, 3)])),
            delta(8, 11, [(8, 0)]),
        ]
    )
    expected = [
        # The snapshot of update 5, but with update 6, which had arrived before and happened at 3.
        (3, {10: 1, 11: 3}, {20: 2}),
        (4, {10: 5, 11: 3}, {20: 2}),
        (5, None, None),
        (7, {8: 8, 10: 7}, {30: 3}),
        (8, {10: 7}, {30: 3}),
    ]
    assert [deepcopy(one) for one in books(on_clock(rows, VENUE))] == expected
    assert [deepcopy(bids) for _, bids, _ in books(on_clock(rows, LOCAL))] == [bids for _, bids, _ in expected]
    assert report.gaps == [GapSpan(1, 3, PERP.id), GapSpan(4, 7, PERP.id)]
    assert report.unjoined == 3
    assert (rows.kind == GAP).sum() == 1


def test_frames_the_feed_lost_leave_a_gap_to_the_end():
    joined = [delta(1, 4), at(2, BookSnapshot(2, PERP.id, 4, [(10, 1)], [(20, 2)])), delta(3, 5, [(10, 2)])]
    rows, report = built([*joined, at(4, FeedGap(4, PERP.id, "lost")), delta(9, 6, [(10, 3)])])
    assert [deepcopy(bids) for _, bids, _ in books(on_clock(rows, VENUE))] == [{10: 1}, {10: 2}, None]
    assert report.gaps == [GapSpan(1, 2, PERP.id), GapSpan(3, 9, PERP.id)]


BAD = [
    (MarkPrice(1, PERP.id, D("1.000000001")), "price_too_fine", []),
    (MarkPrice(1, PERP.id, D("0")), "price_not_positive", []),
    (MarkPrice(1, PERP.id, D("nan")), "price_not_finite", []),
    (MarkPrice(1, PERP.id, D(1), D("1.000000001")), "price_too_fine", []),
    (MarkPrice(1, PERP.id, D(1), D(1), D("1E-13")), "rate_too_fine", [MARK]),
    (MarkPrice(1, PERP.id, D("1E11")), "too_large", []),
    (FundingRate(1, PERP.id, D("1E-13")), "rate_too_fine", []),
    (FundingRate(1, PERP.id, D("inf")), "rate_not_finite", []),
    (OpenInterest(1, PERP.id, D("0.0001")), "off_grid", []),
    (Quote(1, PERP.id, 1, 2**63, 1, 2**64, 1), "too_large", []),
]


@pytest.mark.parametrize(("message", "reason", "left"), BAD)
def test_what_rows_cannot_hold_exactly_is_counted_and_not_rounded(message, reason, left):
    rows, report = built([at(1, message)])
    assert report.bad == {reason: 1}
    assert rows.kind.tolist() == left


def test_a_book_with_a_level_that_does_not_fit_is_lost():
    joined = [delta(1, 4), at(2, BookSnapshot(2, PERP.id, 4, [(10, 1)], [(20, 2)])), delta(3, 5, [(10, 2**63)])]
    rows, report = built(joined)
    assert report.bad == {"too_large": 1}
    assert rows.kind.tolist()[-1] == GAP


def test_rates_states_and_what_has_no_rows():
    rows, report = built(
        [
            at(1, FundingRate(1, PERP.id, D("-0.000000000001"), D("60000.00000001"))),
            at(2, InstrumentStatus(2, PERP.id, InstrumentState.HALT)),
            at(3, OpenInterest(3, SPOT.id, D("1.5"))),
            at(4, VenueUp(4, "v")),
            at(5, Trade(5, "v:OTHER", 1, 1, 1, Side.BUY)),
        ]
    )
    assert [parts for _, parts in on_clock(rows, LOCAL)] == [
        [(FUNDING, False, 0, 6_000_000_000_001, -1)],
        [(STATUS, False, 0, 0, 2)],
        [(OPEN_INTEREST, False, 1, 0, 150_000)],
    ]
    assert report.passed_over == {"VenueUp": 1, "other instrument": 1}
    assert report.messages == 3


def test_memory_is_bounded_by_the_look_ahead():
    builder = RowBuilder(INSTRUMENTS, lookahead_ns=1_000)
    arrivals = (at(ns, Trade(ns, PERP.id, ns, 1, 1, Side.BUY)) for ns in range(0, 400_000))
    blocks = list(builder.blocks(arrivals))
    assert sum(len(block) for block in blocks) == 400_000
    # All but the look-ahead leaves with each block.
    assert max(len(block) for block in blocks) <= 66_000
    times = np.concatenate([block.venue_ns for block in blocks]).tolist()
    assert all(one <= other for one, other in pairwise(times))
    assert set(np.concatenate([block.flags for block in blocks]).tolist()) == {VENUE | LOCAL | BUY | LAST}
