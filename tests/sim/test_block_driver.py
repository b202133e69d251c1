"""Blocks of rows against the message-by-message loop: the same venue, whatever the blocks, and no look ahead."""

from bisect import bisect
from decimal import Decimal

import numpy as np
import pytest
from block_desk import (
    ENTRY,
    IDLE,
    OTHER,
    PERP,
    RESPONSE,
    SECOND,
    START,
    a_plan,
    arrivals,
    by_hand,
    by_rows,
    by_ticks,
    rows_of,
)
from row_messages import books, on_clock

from actors.feed_handler import FeedHandler
from sim.clocks import Arrival
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
    PRICE_SCALE,
    RATE_SCALE,
    SETTLEMENT,
    SNAPSHOT,
    STATUS,
    STATUSES,
    TRADE,
    VENUE,
    Rows,
)
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.fill import FillReason, Liquidity
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    BookDelta,
    BookSnapshot,
    FeedGap,
    FundingRate,
    FundingSettled,
    InstrumentState,
    InstrumentStatus,
    Liquidated,
    MarkPrice,
    OpenInterest,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    Query,
    QueryFailed,
    QueryKind,
    RejectReason,
    SetLeverage,
    SubmitOrder,
    Trade,
)

D = Decimal
SAMPLE = 100_000_000
MS = 1_000_000
BID, ASK, ASK_LAST = BUY, 0, LAST
PAIR = (PERP, OTHER)


@pytest.mark.parametrize("seed", range(6))
def test_rows_and_messages_are_one_market_to_the_venue(seed):
    plan, told = a_plan(seed, PAIR), arrivals(PAIR, seed)
    by_message, by_row = by_ticks(told, PAIR, plan), by_rows(rows_of(told, PAIR), PAIR, plan)
    assert by_row.fills == by_message.fills
    assert by_row.ledger() == by_message.ledger()
    kinds = {type(report) for _, report in by_row.heard.own}
    assert {FundingSettled, OrderTriggered, OrderFilled, OrderCanceled, OrderExpired} <= kinds
    assert {Liquidity.TAKER, Liquidity.MAKER} <= {fill.liquidity for fill in by_row.fills}


def test_marks_funding_and_open_interest_reach_the_desk_as_the_messages_do():
    told = arrivals(PAIR, seed=3)
    interest = OpenInterest(START + SECOND, PERP.id, D("1234.5"))
    told.append(Arrival(interest.ts, interest.ts + 2 * MS, interest))
    told.sort(key=lambda one: one.local_ns)
    kinds = (MarkPrice, FundingRate, OpenInterest)
    heard = [
        [(now, message) for now, message in one.heard.market if isinstance(message, kinds)]
        for one in (by_ticks(told, PAIR, []), by_rows(rows_of(told, PAIR), PAIR, []))
    ]
    assert heard[0] == heard[1]
    assert {type(message) for _, message in heard[0]} == set(kinds)


def test_the_first_mark_at_or_through_liquidates():
    told = arrivals((PERP,), seed=1)
    plan = [
        SetLeverage(START + SECOND, "me", PERP.id, 125),
        SubmitOrder(START + 2 * SECOND, "me", PERP.id, "long", Side.BUY, D(1), OrderType.MARKET, tif=TimeInForce.IOC),
    ]
    plan[1:] = [
        SubmitOrder(START + (2 + i) * SECOND, "me", PERP.id, f"l{i}", Side.BUY, D("0.02"), OrderType.MARKET,
                    tif=TimeInForce.IOC)
        for i in range(50)
    ]  # fmt: skip
    # A position of one BTC with 620 USDT: 240 are maintenance, so 60,000 less 500 surely liquidates.
    minute = START + 60 * SECOND
    marks = [(minute + 1, D(59_900)), (minute + 2, D(59_500)), (minute + 10 * SECOND, D(59_000))]
    told += [Arrival(ns, ns + 2 * MS, MarkPrice(ns, PERP.id, mark)) for ns, mark in marks]
    told.sort(key=lambda one: one.local_ns)
    played = by_rows(rows_of(told, (PERP,)), (PERP,), plan, balance=620)
    assert played.ledger() == by_ticks(told, (PERP,), plan, balance=620).ledger()
    liquidated = [(now, one.ts) for now, one in played.heard.own if isinstance(one, Liquidated)]
    assert liquidated[0] == (marks[1][0] + RESPONSE, marks[1][0])
    assert played.positions == {}


@pytest.mark.parametrize("size", [61, 1000, 10**9])
def test_where_blocks_end_changes_nothing(size):
    plan, rows = a_plan(7, PAIR), rows_of(arrivals(PAIR, 7), PAIR)
    first, other = by_rows(rows, PAIR, plan, has_trades=True), by_rows(rows, PAIR, plan, size=size, has_trades=True)
    assert other.heard.market == first.heard.market
    assert other.ledger() == first.ledger()
    assert other.end_ns == first.end_ns


def test_an_idle_instrument_changes_nothing():
    plan, three = a_plan(8, PAIR), (PERP, OTHER, IDLE)
    without = by_rows(rows_of(arrivals(PAIR, 8), PAIR), PAIR, plan)
    beside = by_rows(rows_of(arrivals(three, 8), three), three, plan)
    assert beside.ledger() == without.ledger()
    ours = [one for one in beside.heard.market if one[1].instrument != IDLE.id]
    assert ours == without.heard.market
    assert len(beside.heard.market) > len(ours)


def test_the_same_run_twice_is_one():
    plan, rows = a_plan(9, PAIR), rows_of(arrivals(PAIR, 9), PAIR)
    first, again = by_rows(rows, PAIR, plan), by_rows(rows, PAIR, plan)
    assert (again.heard, again.ledger()) == (first.heard, first.ledger())


def test_an_order_arrives_after_the_entry_and_its_report_after_the_response_latency():
    at = START + 10 * SECOND + 12_345
    plan = [SubmitOrder(at, "me", PERP.id, "x", Side.BUY, D("0.001"), price=D(50_000))]
    heard = by_rows(rows_of(arrivals((PERP,), 1), (PERP,)), (PERP,), plan).heard.own
    accepted = [(now, one.ts) for now, one in heard if isinstance(one, OrderAccepted)]
    assert accepted == [(at + ENTRY + RESPONSE, at + ENTRY)]


def test_the_desk_sees_nothing_before_it_arrives():
    rows = rows_of(arrivals((PERP,), 2), (PERP,))
    until = START + 60 * SECOND
    changed = Rows.join([rows])
    later = rows.local_ns >= until
    changed.lots[later & (rows.kind == DEPTH) & (rows.lots > 0)] += 1_000
    changed.lots[later & (rows.kind == MARK)] += PRICE_SCALE
    heard = [by_rows(one, (PERP,), [], has_trades=True).heard.market for one in (rows, changed)]
    before = [[one for one in told if one[0] <= until] for told in heard]
    assert before[0] == before[1]
    assert heard[0] != heard[1]
    assert len(before[0]) > 500


def test_samples_are_the_best_levels_of_what_has_arrived():
    rows, depth = rows_of(arrivals((PERP,), 4), (PERP,)), 5
    heard = by_rows(rows, (PERP,), [], depth=depth).heard.market
    known = [
        (ns, sorted(bids.items())[::-1][:depth], sorted(asks.items())[:depth])
        for ns, bids, asks in books(on_clock(rows, LOCAL))
        if bids is not None and asks is not None
    ]
    times = [ns for ns, _, _ in known]
    sync, samples = BookSync(SequenceRule.FUTURES), 0
    for now, message in heard:
        if isinstance(message, BookSnapshot):
            assert sync.on_snapshot(message) is SyncResult.JOINING
        elif isinstance(message, BookDelta):
            assert sync.on_delta(message) is SyncResult.APPLIED
            _, bids, asks = known[bisect(times, now - 1) - 1]
            assert now % SAMPLE == 0
            assert sync.book.depth(Side.BUY, 99) == bids
            assert sync.book.depth(Side.SELL, 99) == asks
            samples += 1
    assert samples > 1_000


def test_trades_are_summed_by_price_and_side_over_a_sample():
    rows = rows_of(arrivals(PAIR, 5), PAIR)
    heard = [(now, one) for now, one in by_rows(rows, PAIR, [], has_trades=True).heard.market if isinstance(one, Trade)]
    wanted: dict[tuple[int, str, int, Side], int] = {}
    last = START + 120 * SECOND
    for ns, parts in on_clock(rows, LOCAL):
        for kind, is_buy, number, ticks, lots in parts:
            sample = (ns // SAMPLE + 1) * SAMPLE
            if kind == TRADE and sample <= last:
                key = sample, PAIR[number].id, ticks, Side.BUY if is_buy else Side.SELL
                wanted[key] = wanted.get(key, 0) + lots
    told = {(now, one.instrument, one.price, one.aggressor): one.lots for now, one in heard if now <= last}
    assert told == wanted
    assert len({one.trade_id for _, one in heard}) == len(heard)
    assert not any(isinstance(one, Trade) for _, one in by_rows(rows, PAIR, []).heard.market)


BOOK = (
    (CLEAR, 0, 0, 0, 0),
    (SNAPSHOT, 0, BID, 99, 10),
    (SNAPSHOT, 0, ASK_LAST, 101, 10),
)
END = (DEPTH, 4_000 * MS, BID | LAST, 50, 1)


def takes(ms, qty, name="x"):
    """Buy what is offered at 10.1."""
    return SubmitOrder(START + ms * MS, "me", PERP.id, name, Side.BUY, D(qty), price=D("10.1"), tif=TimeInForce.IOC)


def test_a_book_is_asked_for_and_answered_as_it_was_told():
    rows = by_hand(*BOOK, (DEPTH, 350 * MS, BID | LAST, 98, 7), (DEPTH, 2_000 * MS, BID | LAST, 97, 1), END)
    asked = [Query(START + ms * MS, "me", f"q{ms}", QueryKind.BOOK, PERP.id) for ms in (20, 250, 395)]
    heard = by_rows(rows, (PERP,), asked).heard.market
    answers = {now: one for now, one in heard if (now - ENTRY - RESPONSE) in {query.ts for query in asked}}
    first, second, third = answers.values()
    assert isinstance(first, QueryFailed)
    assert (second.update_id, second.bids, second.asks) == (2, [(99, 10)], [(101, 10)])
    # On its way since before the sample of 400 ms: what it says is from before the change, and its number, too.
    assert (third.update_id, third.bids) == (2, [(99, 10)])
    sync = BookSync(SequenceRule.FUTURES)
    sync.on_snapshot(second)
    for now, one in heard:
        if isinstance(one, BookDelta) and now > START + 250 * MS:
            assert sync.on_delta(one) is SyncResult.APPLIED
    assert sync.book.depth(Side.BUY, 9) == [(99, 10), (98, 7), (97, 1)]


def a_feed_handler():
    return FeedHandler({PERP.id: PERP}, {PERP.id: SequenceRule.FUTURES}, {PERP.id: "me"}, name="feed_handler")


@pytest.mark.parametrize("lost", [(GAP, 1_000 * MS, LAST, 0, 0), (CLEAR, 1_000 * MS, LAST, 0, 0)])
@pytest.mark.parametrize("delay_ns", [2 * MS, 100 * MS])
def test_a_gap_is_told_and_the_book_is_not_believed_until_the_next_snapshot(lost, delay_ns):
    again = [(kind, 2_000 * MS, flags, ticks, lots) for kind, _, flags, ticks, lots in BOOK]
    before, after = [(DEPTH, 500 * MS, BID | LAST, 98, 1)], [(DEPTH, 2_500 * MS, BID | LAST, 98, 2)]
    rows = by_hand(*BOOK, *before, lost, *again, *after, END, delay_ns=delay_ns)
    # Rests before the gap and keeps its place behind 10 lots; a market order finds no book in the gap.
    plan = [
        SubmitOrder(START + 600 * MS, "me", PERP.id, "rests", Side.BUY, D("0.010"), price=D("9.9")),
        SubmitOrder(START + 1_500 * MS, "me", PERP.id, "takes", Side.BUY, D("0.010"), OrderType.MARKET,
                    tif=TimeInForce.IOC),
    ]  # fmt: skip
    handler = a_feed_handler()
    played = by_rows(rows, (PERP,), plan, actors=[handler])
    gaps = [now for now, one in played.heard.market if isinstance(one, FeedGap)]
    assert gaps == [START + 1_000 * MS + delay_ns]
    told = [(now, type(one)) for now, one in played.heard.market if isinstance(one, BookSnapshot | BookDelta)]
    first, known = START + 200 * MS if delay_ns == 100 * MS else START + 100 * MS, START + 2_100 * MS
    known += 100 * MS * (delay_ns == 100 * MS)
    assert [now for now, kind in told if kind is BookSnapshot] == [first, known]
    assert not [now for now, _ in told if gaps[0] < now < known]
    assert not [one for one in played.fills if one.client_order_id == "takes"]
    assert "rests" in [one.client_order_id for _, one in played.heard.own if isinstance(one, OrderAccepted)]
    feed = handler.state.feeds[PERP.id]
    assert (feed.is_live, feed.gaps, feed.bid, feed.ask) == (True, 1, 99, 101)
    assert sorted(feed.sync.book.bids.items()) == [(98, 2), (99, 10)]


def test_an_auction_and_a_halt_are_the_venues_own():
    status = {name: STATUSES.index(name) for name in ("halt", "open")}
    rows = by_hand(
        *BOOK,
        (STATUS, 1_000 * MS, LAST, 0, status["halt"]),
        (STATUS, 2_000 * MS, LAST, 0, status["open"]),
        END,
    )
    plan = [takes(ms, "0.001", f"t{ms}") for ms in (900, 1_500, 2_500)]
    played = by_rows(rows, (PERP,), plan)
    refused = [(one.client_order_id, one.reason) for _, one in played.heard.own if isinstance(one, OrderRejected)]
    assert refused == [("t1500", RejectReason.HALTED)]
    assert [one.client_order_id for one in played.fills] == ["t900", "t2500"]
    states = [(now, one.state) for now, one in played.heard.market if isinstance(one, InstrumentStatus)]
    assert states == [(START + 1_002 * MS, InstrumentState.HALT), (START + 2_002 * MS, InstrumentState.OPEN)]


def test_what_is_no_book_happens_at_its_instant():
    rate, later = D("0.0001"), START + 8 * 3_600 * SECOND
    rows = by_hand(
        *BOOK,
        (MARK, 1_000 * MS, LAST, 9 * PRICE_SCALE, 10 * PRICE_SCALE),
        (ESTIMATE, 1_000 * MS, LAST, later, int(-rate * RATE_SCALE)),
        (OPEN_INTEREST, 1_100 * MS, LAST, 0, 5_000),
        (FUNDING, 2_000 * MS, LAST, 10 * PRICE_SCALE, int(rate * RATE_SCALE)),
        (MARK, 3_000 * MS, LAST, 0, 11 * PRICE_SCALE),
    )
    played = by_rows(rows, (PERP,), [takes(500, "0.005")])
    kinds = MarkPrice | OpenInterest | FundingRate
    assert [one for one in played.heard.market if isinstance(one[1], kinds)] == [
        (START + 1_002 * MS, MarkPrice(START + 1_000 * MS, PERP.id, D(10), D(9), -rate, later)),
        (START + 1_102 * MS, OpenInterest(START + 1_100 * MS, PERP.id, D(5))),
        (START + 2_002 * MS, FundingRate(START + 2_000 * MS, PERP.id, rate, D(10))),
        (START + 3_002 * MS, MarkPrice(START + 3_000 * MS, PERP.id, D(11))),
    ]
    settled = [(now, one.amount) for now, one in played.heard.own if isinstance(one, FundingSettled)]
    assert settled == [(START + 2_000 * MS + RESPONSE, -rate * 10 * D("0.005"))]


def test_a_final_settlement_closes_positions_at_its_price():
    rows = by_hand(*BOOK, (SETTLEMENT, 2_000 * MS, BUY | LAST, 0, 12 * PRICE_SCALE), END)
    played = by_rows(rows, (PERP,), [takes(500, "0.005")])
    fee = D("0.0005") * D("10.1") * D("0.005")
    assert played.positions == {}
    assert played.balances["USDT"] == 1_000_000 + (12 - D("10.1")) * D("0.005") - fee


def test_a_trade_that_triggers_also_trades():
    """A stop waits at 12.0: the print there fills the own offer that it goes through, and triggers the stop."""
    rows = by_hand(*BOOK, (TRADE, 2_000 * MS, BUY | LAST, 120, 5), END)
    plan = [
        SubmitOrder(START + 500 * MS, "me", PERP.id, "stop", Side.BUY, D("0.001"), OrderType.STOP_MARKET,
                    trigger_price=D("12.0")),
        SubmitOrder(START + 600 * MS, "me", PERP.id, "offer", Side.SELL, D("0.003"), price=D("11.5")),
    ]  # fmt: skip
    played = by_rows(rows, (PERP,), plan)
    assert [(one.client_order_id, one.reason, one.liquidity, one.price) for one in played.fills] == [
        ("offer", FillReason.THROUGH, Liquidity.MAKER, D("11.5")),
        ("stop", FillReason.TAKER, Liquidity.TAKER, D("10.1")),
    ]


def test_rows_that_no_venue_knows_stop_the_run():
    rows = by_hand(*BOOK)
    rows.kind[1] = 99
    with pytest.raises(RuntimeError, match="rows of kind 99 cannot be played"):
        by_rows(rows, (PERP,), [])


def test_both_clocks_are_followed_where_rows_stand_in_the_file_for_one_only():
    """Local copies far behind their venue rows, as other writers may place them, are heard at the same times."""
    rows = rows_of(arrivals(PAIR, 6, seconds=30), PAIR)
    venue, local = (rows.flags & clock != 0 for clock in (VENUE, LOCAL))
    apart = Rows.join([Rows(**{n: getattr(rows, n)[of] for n in ROW_COLUMNS}) for of in (venue, local)])
    apart.flags[: np.count_nonzero(venue)] &= ~np.uint8(LOCAL)
    apart.flags[np.count_nonzero(venue) :] &= ~np.uint8(VENUE)
    plan = a_plan(6, PAIR, count=40, seconds=25)
    first, other = by_rows(rows, PAIR, plan), by_rows(apart, PAIR, plan, size=500)
    assert (other.heard, other.ledger()) == (first.heard, first.ledger())


ROW_COLUMNS = ("kind", "flags", "instrument", "venue_ns", "local_ns", "ticks", "lots", "order_id")
