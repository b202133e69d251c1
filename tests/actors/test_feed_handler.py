"""When a book can be traded on, what is published of it, and how snapshots are asked for."""

import gzip
import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from attrs import evolve

from actors.base import Collected, TimerFired, detached_outbox
from actors.cell import CellRestarted
from actors.dispatcher import Dispatcher
from actors.feed_handler import BestPrices, FeedConfig, FeedHandler
from actors.messages import (
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    Checker,
    DepthReply,
    DepthRequest,
    FeedStatus,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    TradeView,
)
from venues.binance.codec import BinanceDecoder
from venues.costs.liquidity import LiquidityLimits
from venues.model.book import Level
from venues.model.book_sync import SequenceRule
from venues.model.instrument import Instrument, InstrumentKind, UnknownInstrumentError
from venues.model.order import Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    FeedGap,
    InstrumentState,
    InstrumentStatus,
    Message,
    Query,
    QueryFailed,
    QueryKind,
    Quote,
    Trade,
    VenueDown,
    VenueUp,
)

S = 1_000_000_000
PERP = Instrument("usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001"))
SPOT = Instrument("spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
P, Q = PERP.id, SPOT.id
RULES = {P: SequenceRule.FUTURES, Q: SequenceRule.SPOT}
ACCOUNTS = {P: "perp-account", Q: "spot-account"}


class Bench:
    """A feed handler of one perpetual, called directly; `did` is what it did since last asked."""

    def __init__(self, config: FeedConfig | None = None) -> None:
        self.actor = FeedHandler({P: PERP}, RULES, ACCOUNTS, config)
        self.collected = Collected()
        self.actor.out = detached_outbox(self.actor.name, self.collected)
        self.sent: list[Query] = []
        self.actor.start(0)
        self.did()

    def did(self) -> list[Message]:
        emitted = self.collected.emitted[:]
        self.collected.emitted.clear()
        return emitted

    def asked(self) -> list[str]:
        sent = [command.query_id for command in self.collected.sent if isinstance(command, Query)]
        self.collected.sent.clear()
        return sent

    def timers(self) -> dict[str, int]:
        """The pending timers that ask for books."""
        pending = {key: at for _, key, at in self.collected.timers if key != "watch"}
        return {key: at for key, at in pending.items() if at is not None}

    def take(self, now: int, *messages: Message) -> list[Message]:
        for message in messages:
            self.actor.handle(now, message)
        return self.did()

    def status(self) -> tuple[bool, str]:
        feed = self.actor.state.feeds[P]
        return feed.is_live, feed.why

    def restored(self) -> "Bench":
        """The same, after a snapshot through JSON."""
        other = Bench()
        other.actor.restore(json.loads(json.dumps(self.actor.snapshot())))
        assert other.actor.state == self.actor.state
        other.collected = Collected()
        other.actor.out = detached_outbox(other.actor.name, other.collected)
        return other


def snapshot(update_id: int = 100, bids: list[Level] | None = None, asks: list[Level] | None = None) -> BookSnapshot:
    return BookSnapshot(
        0,
        P,
        update_id,
        [(1000, 5), (999, 6)] if bids is None else bids,
        [(1001, 7), (1002, 8)] if asks is None else asks,
    )


def delta(
    first: int, last: int, prev: int, bids: list[Level] | None = None, asks: list[Level] | None = None
) -> BookDelta:
    return BookDelta(0, P, first, last, prev, bids or [], asks or [])


def quote(update_id: int, bid: int = 1000, bid_lots: int = 5, ask: int = 1001, ask_lots: int = 7) -> Quote:
    return Quote(0, P, update_id, bid, bid_lots, ask, ask_lots)


def live_bench(config: FeedConfig | None = None) -> Bench:
    bench = Bench(config)
    bench.take(S, snapshot(), delta(99, 101, 98))
    assert bench.status() == (True, "")
    bench.asked()
    return bench


def test_at_the_start_no_book_is_live_and_a_snapshot_is_asked_for() -> None:
    actor = FeedHandler({P: PERP}, RULES, ACCOUNTS)
    actor.out = detached_outbox(actor.name, collected := Collected())
    actor.start(5)
    assert collected.emitted == [FeedStatus(5, P, False, "no snapshot yet")]
    assert collected.sent == [Query(5, "perp-account", "FeedHandler-1", QueryKind.BOOK, P)]


@pytest.mark.parametrize(("rules", "accounts"), [({}, ACCOUNTS), (RULES, {}), ({Q: SequenceRule.SPOT}, ACCOUNTS)])
def test_an_instrument_without_rule_or_account_is_refused(
    rules: dict[str, SequenceRule], accounts: dict[str, str]
) -> None:
    with pytest.raises(UnknownInstrumentError):
        FeedHandler({P: PERP}, rules, accounts)


@pytest.mark.parametrize(
    "wrong", [{"stale_ns": 0}, {"watch_ns": -1}, {"retry_ns": ()}, {"retry_ns": (0,)}, {"answer_ns": 0}]
)
def test_times_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FeedConfig(**wrong)  # type: ignore[arg-type]


def test_a_book_is_live_once_a_delta_joins_the_snapshot_and_its_touch_follows_every_change() -> None:
    bench = Bench()
    assert bench.take(1, snapshot()) == [FeedStatus(1, P, False, "the snapshot has not met the stream")]
    assert bench.take(2, delta(99, 101, 98)) == [FeedStatus(2, P, True), BookView(2, P, 1000, 5, 1001, 7)]
    assert bench.take(3, delta(102, 103, 101, bids=[(1000, 0)])) == [BookView(3, P, 999, 6, 1001, 7)]
    assert bench.take(4, delta(104, 105, 103, bids=[(900, 1)])) == []


def test_the_fresher_of_depth_and_quote_is_the_touch_and_the_depth_is_never_altered_by_a_quote() -> None:
    bench = live_bench()
    assert bench.take(2, quote(100, bid=990)) == []
    assert bench.take(3, quote(105, bid=1000, bid_lots=4)) == [BookView(3, P, 1000, 4, 1001, 7)]
    assert bench.take(4, delta(102, 104, 101, bids=[(1000, 9)])) == []
    assert bench.take(5, quote(104, bid=998)) == []
    assert bench.take(6, delta(105, 107, 104, bids=[(1000, 3)])) == [BookView(6, P, 1000, 3, 1001, 7)]
    assert bench.actor.books()[P] == BestPrices(Decimal("100.0"), Decimal("0.003"), Decimal("100.1"), Decimal("0.007"))
    assert bench.actor.counts()[P].old_quotes == 2


def test_the_summary_reports_the_depth_book_though_a_quote_is_fresher() -> None:
    bench = live_bench()
    bench.take(2, quote(105, bid=1000, bid_lots=1))
    assert bench.actor.books()[P].best_bid_qty == Decimal("0.005")


@pytest.mark.parametrize(
    "bad", [quote(105, bid=1001), quote(105, bid=1002), quote(105, bid_lots=0), quote(105, ask_lots=0)]
)
@pytest.mark.parametrize("cure", [quote(106), delta(102, 106, 101)])
def test_a_quote_that_contradicts_itself_ends_trading_until_something_newer_is_sound(bad: Quote, cure: Message) -> None:
    bench = live_bench()
    assert bench.take(2, bad) == [FeedStatus(2, P, False, "the quote is crossed or empty")]
    assert bench.take(3, quote(104)) == []
    assert bench.take(4, cure) == [FeedStatus(4, P, True), BookView(4, P, 1000, 5, 1001, 7)]
    assert bench.actor.counts()[P].bad_quotes == 1


def test_a_gap_ends_trading_and_asks_for_a_snapshot_which_brings_it_back() -> None:
    bench = live_bench()
    assert bench.take(2 * S, delta(110, 112, 105)) == [FeedStatus(2 * S, P, False, "updates are missing")]
    assert bench.asked() == ["FeedHandler-2"]
    assert bench.take(3 * S, delta(115, 118, 112)) == []
    assert bench.take(3 * S, quote(118)) == []
    assert bench.take(3 * S, snapshot(116)) == [FeedStatus(3 * S, P, True), BookView(3 * S, P, 1000, 5, 1001, 7)]
    assert bench.actor.counts()[P].gaps == 1
    assert bench.asked() == []


def test_a_crossed_book_ends_trading_and_is_counted() -> None:
    bench = live_bench()
    assert bench.take(2 * S, delta(102, 103, 101, bids=[(1001, 1)])) == [
        FeedStatus(2 * S, P, False, "the book is crossed")
    ]
    assert bench.asked() == ["FeedHandler-2"]
    assert bench.actor.books()[P] == BestPrices()
    assert bench.actor.counts()[P].crossed == 1


def test_frames_lost_on_the_way_end_trading() -> None:
    bench = live_bench()
    assert bench.take(2 * S, FeedGap(2, P, "overflow")) == [FeedStatus(2 * S, P, False, "frames were lost: overflow")]
    assert bench.asked() == ["FeedHandler-2"]
    bench.take(2 * S, snapshot(120), delta(118, 121, 117))
    assert bench.status() == (True, "")


@pytest.mark.parametrize(("bids", "why"), [([(1000, 0), (999, 0)], "no bid"), ([(1000, 0)], "")])
def test_a_book_with_one_empty_side_cannot_be_traded_on(bids: list[Level], why: str) -> None:
    bench = live_bench()
    bench.take(2, delta(102, 103, 101, bids=bids))
    assert bench.status() == (not why, why)
    bench.take(3, delta(104, 105, 103, bids=[(1000, 5)]))
    assert bench.status() == (True, "")


def test_trading_states_other_than_open_are_not_live() -> None:
    bench = live_bench()
    halt, reopen = (InstrumentStatus(2, P, state) for state in (InstrumentState.HALT, InstrumentState.OPEN))
    assert bench.take(2, halt) == [FeedStatus(2, P, False, "trading is in halt")]
    assert bench.take(3, reopen) == [FeedStatus(3, P, True), BookView(3, P, 1000, 5, 1001, 7)]


def test_a_venue_that_is_down_takes_its_books_with_it_and_is_asked_again_once_it_is_up() -> None:
    bench = live_bench()
    assert bench.take(3 * S, VenueDown(3 * S, "other", "market")) == []
    assert bench.take(3 * S, VenueDown(3 * S, "usdm", "private")) == []
    assert bench.take(3 * S, VenueDown(3 * S, "usdm", "market", "reset")) == [
        FeedStatus(3 * S, P, False, "usdm is down: reset")
    ]
    assert bench.take(4 * S, snapshot(120), delta(118, 121, 117)) == []
    assert bench.asked() == []
    bench.take(4 * S, FeedGap(0, P, "x"))
    assert bench.take(5 * S, VenueUp(5 * S, "usdm", "market")) == [FeedStatus(5 * S, P, False, "frames were lost: x")]
    assert bench.asked() == ["FeedHandler-2"]


def test_silence_is_stale_and_the_next_frame_of_the_book_ends_it() -> None:
    bench = live_bench()
    assert bench.take(6 * S - 1, TimerFired(0, "", "watch")) == []
    stale = FeedStatus(6 * S, P, False, "stale: no news for 5 s")
    assert bench.take(6 * S, TimerFired(0, "", "watch")) == [stale]
    assert bench.take(7 * S, TimerFired(0, "", "watch")) == []
    # Trades may come over another connection: they do not prove that the book lives.
    assert bench.take(8 * S, Trade(0, P, 1, 1000, 1, Side.BUY)) == []
    assert bench.take(9 * S, quote(102)) == []
    assert bench.take(9 * S, delta(102, 103, 101)) == [FeedStatus(9 * S, P, True), BookView(9 * S, P, 1000, 5, 1001, 7)]
    assert bench.actor.counts()[P].stale == 1


def test_the_watch_comes_at_the_very_moment_a_book_may_go_stale() -> None:
    """Between that moment and a later look an order could slip in on the old book."""
    bench = live_bench()
    bench.take(5 * S + S // 2, TimerFired(0, "", "watch"))
    watches = [at for _, key, at in bench.collected.timers if key == "watch"]
    assert watches[-1] == 6 * S
    bench.take(6 * S, TimerFired(0, "", "watch"))
    watches = [at for _, key, at in bench.collected.timers if key == "watch"]
    assert watches[-1] == 7 * S


def test_quotes_keep_a_book_alive_as_long_as_they_agree_with_its_depth() -> None:
    bench = live_bench()
    bench.take(4 * S, quote(101))
    assert bench.take(6 * S, TimerFired(0, "", "watch")) == []
    # The touch moves on and the depth does not: the depth stream is dead.
    bench.take(7 * S, quote(102))
    assert bench.take(7 * S, TimerFired(0, "", "watch")) == [FeedStatus(7 * S, P, False, "stale: no news for 5 s")]


def test_a_stream_that_only_repeats_the_past_is_given_up() -> None:
    bench = live_bench()
    for second in range(2, 7):
        bench.take(second * S, delta(2, 3, 1))
    assert bench.take(7 * S, TimerFired(0, "", "watch")) == [FeedStatus(7 * S, P, False, "only old updates arrive")]
    assert bench.asked() == ["FeedHandler-2"]
    bench.take(8 * S, delta(4, 6, 3), snapshot(5))
    assert bench.status() == (True, "")


def test_requests_for_a_snapshot_are_one_at_a_time_and_pause_longer_and_longer() -> None:
    bench = Bench()
    now, asked_at = 0, [0]
    assert bench.asked() == ["FeedHandler-1"]
    for number in range(1, 7):
        bench.take(now, delta(10 * number, 10 * number + 1, 0))
        assert bench.asked() == []
        bench.take(now, QueryFailed(now, "perp-account", f"FeedHandler-{number}", QueryKind.BOOK, "busy"))
        assert bench.asked() == []
        now = bench.timers()[f"book:{P}"]
        bench.take(now, TimerFired(now, "", f"book:{P}"))
        assert bench.asked() == [f"FeedHandler-{number + 1}"]
        asked_at.append(now)
    assert [(b - a) // S for a, b in pairwise(asked_at)] == [1, 2, 5, 10, 10, 10]


def test_a_request_without_an_answer_counts_as_lost() -> None:
    bench = Bench()
    bench.asked()
    assert bench.timers() == {f"book:{P}": 10 * S}
    bench.take(10 * S, TimerFired(10 * S, "", f"book:{P}"))
    assert bench.asked() == ["FeedHandler-2"]


@pytest.mark.parametrize(
    "failed",
    [
        QueryFailed(1, "perp-account", "FeedHandler-7", QueryKind.BOOK, "not ours"),
        QueryFailed(1, "perp-account", "", QueryKind.POSITIONS, "no id"),
    ],
)
def test_other_failed_queries_change_nothing(failed: QueryFailed) -> None:
    bench = live_bench()
    before = bench.actor.snapshot()
    assert bench.take(1, failed) == []
    assert bench.actor.snapshot() == before


def test_a_snapshot_older_than_the_stream_is_asked_for_again_after_the_pause() -> None:
    bench = Bench()
    bench.asked()
    bench.take(S // 2, delta(110, 112, 105), snapshot(100))
    assert bench.status() == (False, "the snapshot is older than the stream")
    assert bench.asked() == []
    assert bench.timers() == {f"book:{P}": S}
    bench.take(S, TimerFired(S, "", f"book:{P}"), snapshot(111))
    assert bench.status() == (True, "")
    assert bench.timers() == {}


def test_one_gap_after_another_asks_at_most_once_a_second() -> None:
    bench = live_bench()
    for number in range(2, 10):
        now = S + number * S // 10
        last = 100 * number
        bench.take(now, delta(last, last + 1, last - 2), snapshot(last))
    assert bench.asked() == ["FeedHandler-2"]
    assert bench.actor.counts()[P].gaps == 8


def test_trades_are_passed_on_only_if_wanted() -> None:
    trade = Trade(0, P, 1, 1000, 3, Side.SELL)
    assert live_bench().take(2, trade) == []
    assert live_bench(FeedConfig(publishes_trades=True)).take(2, trade) == [TradeView(2, P, {(1000, Side.SELL): 3})]


def test_frames_of_unknown_instruments_are_counted_and_nothing_else() -> None:
    bench = live_bench()
    strangers: list[Message] = [
        Quote(0, "X", 1, 1, 1, 2, 1),
        BookDelta(0, "X", 1, 1, 0, [], []),
        BookSnapshot(0, "X", 1, [], []),
        Trade(0, "X", 1, 1, 1, Side.BUY),
        FeedGap(0, "X", ""),
        InstrumentStatus(0, "X", InstrumentState.HALT),
    ]
    assert bench.take(2, *strangers) == []
    assert bench.actor.state.unknown == len(strangers)


def test_depth_begins_with_the_touch_as_last_heard() -> None:
    bench = live_bench()
    request = DepthRequest(0, "r", P, 2)
    assert bench.take(2, request) == [DepthReply(2, "r", P, True, ((1000, 5), (999, 6)), ((1001, 7), (1002, 8)))]
    bench.take(3, quote(103, bid=1001, bid_lots=1, ask=1002, ask_lots=2))
    assert bench.take(3, request) == [DepthReply(3, "r", P, True, ((1001, 1), (1000, 5)), ((1002, 2),))]
    assert bench.take(3, DepthRequest(0, "r", P, 0)) == [DepthReply(3, "r", P, True)]
    assert bench.take(3, DepthRequest(0, "r", "X", 5)) == [DepthReply(3, "r", "X", False)]
    assert bench.take(9 * S, request) == [DepthReply(9 * S, "r", P, False)]


def leg(side: Side, qty: str, limit: str | None = None, instrument: str = P) -> BasketLeg:
    return BasketLeg("perp-account", instrument, side, Decimal(qty), limit_price=limit and Decimal(limit))  # type: ignore[arg-type]


def preflight(
    *legs: BasketLeg, bps: str = "10", basket: str = "b1", closes: str | None = None, makers: tuple[int, ...] = ()
) -> PreflightRequest:
    return PreflightRequest(0, basket, "s", legs, Decimal(bps), closes, makers=makers)


# Bids 5 @ 100.0, 6 @ 99.9; asks 7 @ 100.1, 8 @ 100.2 (lots of 0.001). 10 bps of 100.1 are one tick.
PREFLIGHTS = [
    ("the touch is enough", preflight(leg(Side.BUY, "0.007"), bps="0"), True),
    ("more than the touch, no slippage", preflight(leg(Side.BUY, "0.008"), bps="0"), False),
    ("9.9 bps do not reach the second level", preflight(leg(Side.BUY, "0.008"), bps="9.9"), False),
    ("10 bps reach it", preflight(leg(Side.BUY, "0.011")), True),
    ("more than could be sold again", preflight(leg(Side.BUY, "0.012")), False),
    ("what only reduces need not be", preflight(evolve(leg(Side.BUY, "0.015"), reduce_only=True)), True),
    ("nor what closes", preflight(leg(Side.BUY, "0.015"), closes="b0"), True),
    ("more than both levels", preflight(leg(Side.BUY, "0.016"), bps="10000"), False),
    ("a seller meets the bids", preflight(leg(Side.SELL, "0.011")), True),
    ("more than the bids", preflight(leg(Side.SELL, "0.012")), False),
    ("a limit below the second level", preflight(leg(Side.BUY, "0.008", "100.15")), False),
    ("a limit at the second level", preflight(leg(Side.BUY, "0.008", "100.2")), True),
    ("a limit below the touch", preflight(leg(Side.BUY, "0.001", "100")), False),
    ("a seller's limit", preflight(leg(Side.SELL, "0.006", "99.95")), False),
    ("two legs on one side add up", preflight(leg(Side.BUY, "0.008"), leg(Side.BUY, "0.008")), False),
    ("two legs on two sides do not", preflight(leg(Side.BUY, "0.011"), leg(Side.SELL, "0.011")), True),
    ("a maker takes nothing", preflight(leg(Side.BUY, "1"), leg(Side.BUY, "0.011"), makers=(0,)), True),
    ("its taker does", preflight(leg(Side.BUY, "1"), leg(Side.BUY, "0.016"), makers=(0,)), False),
    ("a maker off the lot grid", preflight(leg(Side.BUY, "0.0005"), makers=(0,)), False),
    ("no legs", preflight(), False),
    ("unknown instrument", preflight(leg(Side.BUY, "0.001", instrument="X")), False),
    ("off the lot grid", preflight(leg(Side.BUY, "0.0005")), False),
    *((f"quantity {bad}", preflight(leg(Side.BUY, bad)), False) for bad in ("0", "-0.001", "NaN", "sNaN", "Infinity")),
    *((f"limit {bad}", preflight(leg(Side.BUY, "0.001", bad)), False) for bad in ("NaN", "Infinity", "-Infinity")),
    *((f"slippage {bad}", preflight(leg(Side.BUY, "0.001"), bps=bad), False) for bad in ("NaN", "Infinity", "-1")),
]


@pytest.mark.parametrize(("request_", "is_ok"), [case[1:] for case in PREFLIGHTS], ids=[case[0] for case in PREFLIGHTS])
def test_liquidity_is_promised_only_if_it_is_there(request_: PreflightRequest, is_ok: bool) -> None:
    bench = live_bench()
    (reply,) = bench.take(2, request_)
    assert isinstance(reply, PreflightReply)
    assert (reply.basket_id, reply.checker, reply.is_ok) == ("b1", Checker.LIQUIDITY, is_ok)
    assert bool(reply.reasons) == (not is_ok)
    assert ("b1" in bench.actor.state.reservations) == is_ok


@pytest.mark.parametrize(
    "spoil",
    [
        delta(110, 112, 105),
        FeedGap(0, P, "lost"),
        VenueDown(0, "usdm"),
        InstrumentStatus(0, P, InstrumentState.HALT),
        quote(105, bid=2000),
        delta(102, 103, 101, asks=[(1001, 0), (1002, 0)]),
    ],
)
def test_no_liquidity_is_promised_from_a_book_that_cannot_be_believed(spoil: Message) -> None:
    bench = live_bench()
    bench.take(2, spoil)
    for makers in ((), (0,)):
        (reply,) = bench.take(3, preflight(leg(Side.SELL, "0.001"), makers=makers))
        assert isinstance(reply, PreflightReply)
        assert not reply.is_ok


def test_no_liquidity_is_promised_from_a_silent_book_even_before_the_watch_has_noticed() -> None:
    (reply,) = live_bench().take(6 * S, preflight(leg(Side.SELL, "0.001")))
    assert isinstance(reply, PreflightReply)
    assert reply.reasons == (f"{P}: stale: no news for 5 s",)


def test_a_basket_is_not_opened_on_a_book_that_is_worth_little() -> None:
    bench = Bench()
    bench.take(1, snapshot(bids=[(990, 50)], asks=[(1000, 50)]), delta(101, 102, 100))
    (opening,) = bench.take(2, preflight(leg(Side.BUY, "0.001")))
    (closing,) = bench.take(2, preflight(leg(Side.BUY, "0.001"), basket="b2", closes="b1"))
    assert isinstance(opening, PreflightReply)
    assert isinstance(closing, PreflightReply)
    # A spread of 10 ticks of 995: 100.5 bps, and half of it is slippage from the first lot on.
    assert opening.reasons == (
        f"{P}: spread 100.50 bps is over 50; 0 of 1 lots within 50 bps of the mid; "
        "0 of 1 lots within 50 bps on the way out; score 0.00 is under 0.6",
    )
    assert closing.is_ok


def test_a_basket_may_be_larger_than_what_a_parent_looks_at() -> None:
    """A tick is 1 bp here, and within 50 of them lie more levels than LiquidityLimits.levels."""
    bench = Bench()
    bench.actor.liquidity = LiquidityLimits(levels=2)
    bids, asks = [(10_000 - n, 1) for n in range(40)], [(10_001 + n, 1) for n in range(40)]
    bench.take(1, snapshot(bids=bids, asks=asks), delta(101, 102, 100))
    (reply,) = bench.take(2, preflight(leg(Side.BUY, "0.030"), bps="50"))
    assert isinstance(reply, PreflightReply)
    assert reply.is_ok, reply.reasons


def test_liquidity_behind_a_fresher_quote_begins_at_that_quote() -> None:
    bench = live_bench()
    bench.take(2, quote(103, ask=1002, ask_lots=2))
    (enough,) = bench.take(2, preflight(leg(Side.BUY, "0.002")))
    (too_much,) = bench.take(2, preflight(leg(Side.BUY, "0.003")))
    assert isinstance(enough, PreflightReply)
    assert isinstance(too_much, PreflightReply)
    assert (enough.is_ok, too_much.is_ok) == (True, False)


def ended(state: BasketState) -> BasketUpdate:
    return BasketUpdate(0, "b1", "s", state, ())


@pytest.mark.parametrize(
    ("message", "is_free"),
    [
        (ReservationReleased(0, "b1"), True),
        (ReservationReleased(0, "b2"), False),
        *(
            (ended(state), True)
            for state in (BasketState.BALANCED, BasketState.FLAT, BasketState.BROKEN, BasketState.DENIED)
        ),
        *((ended(state), False) for state in (BasketState.RESERVED, BasketState.WORKING, BasketState.UNWINDING)),
    ],
)
def test_depth_promised_to_a_basket_is_taken_until_the_basket_ends(message: Message, is_free: bool) -> None:
    bench = live_bench()
    bench.take(2, preflight(leg(Side.BUY, "0.010")))
    (refused,) = bench.take(2, preflight(leg(Side.BUY, "0.006"), basket="b2"))
    (small,) = bench.take(2, preflight(leg(Side.BUY, "0.005"), basket="b3"))
    bench.take(2, ReservationReleased(0, "b3"))
    bench.take(3, message)
    (again,) = bench.take(3, preflight(leg(Side.BUY, "0.006"), basket="b2"))
    assert isinstance(refused, PreflightReply)
    assert isinstance(small, PreflightReply)
    assert isinstance(again, PreflightReply)
    assert (refused.is_ok, small.is_ok, again.is_ok) == (False, True, is_free)


def test_a_basket_that_asks_again_does_not_stand_in_its_own_way() -> None:
    bench = live_bench()
    for _ in range(3):
        (reply,) = bench.take(2, preflight(leg(Side.BUY, "0.010")))
        assert isinstance(reply, PreflightReply)
        assert reply.is_ok


def test_after_a_restart_of_the_cell_books_go_on_and_timers_are_set_again() -> None:
    bench = live_bench()
    bench.take(2 * S, preflight(leg(Side.BUY, "0.010")), quote(103, bid_lots=2))
    other = bench.restored()
    assert other.take(2 * S, CellRestarted(2 * S, 7, "x", "e")) == []
    assert other.collected.timers == [("FeedHandler", "watch", 3 * S)]
    assert other.asked() == []
    assert other.take(3 * S, delta(102, 104, 101)) == [BookView(3 * S, P, 1000, 5, 1001, 7)]


def test_after_a_restart_a_book_without_snapshot_is_asked_for_again() -> None:
    bench = live_bench()
    bench.take(2 * S, delta(110, 112, 105), delta(113, 115, 112))
    other = bench.restored()
    other.take(4 * S, CellRestarted(4 * S, 7, "x", "e"))
    assert other.asked() == ["FeedHandler-3"]
    other.take(4 * S, snapshot(114))
    assert other.status() == (True, "")


RECORDINGS = [
    (PERP, SequenceRule.FUTURES, "binance-usdm", ("61659.70", "1.486", "61659.80", "0.981")),
    (SPOT, SequenceRule.SPOT, "binance-spot", ("61685.99", None, "61686.00", None)),
]
"""Final best prices and quantities, as stated beside the recordings (for spot the prices only)."""


@pytest.mark.parametrize(("instrument", "rule", "folder", "final"), RECORDINGS, ids=["perpetual", "spot"])
def test_a_recorded_market_ends_where_it_is_known_to_end_without_gap_or_crossed_book(
    data_dir: Path, instrument: Instrument, rule: SequenceRule, folder: str, final: tuple[str | None, ...]
) -> None:
    decoder = BinanceDecoder({instrument.symbol: instrument})
    actor = FeedHandler({instrument.id: instrument}, {instrument.id: rule}, {instrument.id: "a"})
    dispatcher = Dispatcher([actor])
    frames = 0
    with gzip.open(data_dir / "recordings" / folder / "btcusdt_20240808.gz") as lines:
        for number, line in enumerate(lines):
            stamp, _, raw = line.partition(b" ")
            now = int(stamp)
            if number == 0:
                dispatcher.start(now)
            dispatcher.offer_due(now)
            message = decoder.decode(raw)
            if message is not None:
                frames += 1
                dispatcher.offer(message)
            dispatcher.run(now)
    counts = actor.counts()[instrument.id]
    assert (counts.frames, counts.snapshots) == (frames, 1)
    assert (counts.gaps, counts.crossed, counts.stale, counts.bad_quotes) == (0, 0, 0, 0)
    assert actor.state.feeds[instrument.id].is_live
    best = actor.books()[instrument.id]
    for got, expected in zip(attrs.astuple(best), final, strict=True):
        assert expected is None or got == Decimal(expected)
    # The start asks once; the recorded answer arrives before the request counts as lost.
    assert len([intent for intent in dispatcher.take_effects() if isinstance(intent.command, Query)]) == 1
