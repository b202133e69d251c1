"""What the statistics count, and what they leave out."""

import json
from decimal import Decimal
from typing import Any

import pytest

from actors.basket_plan import DenyReason
from actors.counting import empty
from actors.messages import (
    BasketState,
    BasketUpdate,
    BookView,
    Checker,
    FillEvent,
    FundingState,
    Incident,
    MarginLevel,
    MarginState,
    MismatchKind,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PositionMismatch,
    PreflightReply,
)
from actors.risk_checks import Reason
from actors.statistics import Statistics, StatisticsConfig
from actors.statistics_state import LATENCY_BOUNDS, SLIPPAGE_BOUNDS, RateMean
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, PositionSide, Side
from venues.port import Deleveraged, FundingSettled, Liquidated, PositionReport, QueryKind, QueryResult

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
D = Decimal
PERP = Instrument("v", "PERP", InstrumentKind.PERPETUAL, "BTC", "USDT", tick_size=D("0.1"), lot_size=D("0.001"))
COIN = Instrument(
    "v",
    "COIN",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USD",
    tick_size=D("0.1"),
    lot_size=D(1),
    inverse=True,
    multiplier=D(100),
)
BOTH = PositionSide.BOTH


def actor(**bounds: int) -> Statistics:
    return Statistics({spec.id: spec for spec in (PERP, COIN)}, ["a"], StatisticsConfig(**bounds), name="statistics")


def view(bid: int, ask: int, spec: Instrument = PERP) -> BookView:
    return BookView(0, spec.id, bid, 1, ask, 1)


def request(side: Side = Side.BUY, qty: str = "2", spec: Instrument = PERP, key: str = "r1") -> OrderRequest:
    return OrderRequest(0, key, "carry", "b1", "a", spec.id, side, D(qty), price=D(1))


def fill(price: str, qty: str, *, fee: str = "0", key: str = "r1", spec: Instrument = PERP) -> FillEvent:
    made = Fill(
        0, "a", spec.id, "c1", "t", Side.BUY, D(price), D(qty), Liquidity.TAKER, D(fee), "USDT", FillReason.TAKER
    )
    return FillEvent(0, key, "carry", "b1", made)


def update(
    status: OrderStatus, filled: str, *, side: Side = Side.BUY, qty: str = "2", final: bool = True, spec: Any = PERP
) -> OrderUpdate:
    return OrderUpdate(0, "r1", "carry", "b1", "c1", "a", spec.id, side, D(qty), status, D(filled), final)


def play(one: Statistics, *steps: tuple[int, Any]) -> Statistics:
    for now, message in steps:
        one.handle(now, message)
    return one


BPS_AND_BUCKET = [
    ("100000", 0),
    ("99990", 0),
    ("100005", 0),
    ("100006", 1),
    ("100010", 1),
    ("100020", 2),
    ("100050", 3),
    ("100100", 4),
    ("100200", 5),
    ("100500", 6),
    ("101000", 7),
    ("101001", 8),
]


@pytest.mark.parametrize(("price", "bucket"), BPS_AND_BUCKET)
@pytest.mark.parametrize("side", list(Side))
def test_slippage_is_the_average_price_against_the_touch_at_approval(price, bucket, side):
    """A touch of 100,000: a buyer is worse off above it, a seller below; what is better counts in the first bucket."""
    if side is Side.SELL:
        price = str(200_000 - int(price))
    touch = view(999_990, 1_000_000) if side is Side.BUY else view(1_000_000, 1_000_010)
    later = view(2_000_000, 2_000_010)
    done = play(
        actor(),
        (0, touch),
        (1, OrderApproved(1, request(side))),
        (2, later),
        (3, fill(price, "1")),
        (3, fill(price, "1")),
        (4, update(OrderStatus.FILLED, "2", side=side)),
    ).state.traded[f"{PERP.id}|carry"]
    assert done.slippage.counts == [int(number == bucket) for number in range(len(SLIPPAGE_BOUNDS) + 1)]
    off = (D(price) - 100_000) * side.sign * 2
    assert (done.slippage_cost, done.slippage_gain) == (max(off, D(0)), max(-off, D(0)))
    assert done.slippage.total == max(0, int(off * 500))


def test_slippage_of_two_fills_is_weighed_by_quantity():
    done = play(
        actor(),
        (0, view(999_990, 1_000_000)),
        (1, OrderApproved(1, request(qty="4"))),
        (2, fill("100000", "3")),
        (3, fill("100040", "1")),
        (4, update(OrderStatus.FILLED, "4", qty="4")),
    ).state.traded[f"{PERP.id}|carry"]
    assert done.slippage.total == 10_000
    assert done.slippage.counts[1] == 1


def test_slippage_money_of_an_inverse_contract_is_quote_money():
    """Ten contracts of 100 USD bought 10 basis points above the touch cost 1 USD."""
    done = play(
        actor(),
        (0, view(999_990, 1_000_000, COIN)),
        (1, OrderApproved(1, request(qty="10", spec=COIN))),
        (2, fill("100100", "10", spec=COIN)),
        (4, update(OrderStatus.FILLED, "10", qty="10", spec=COIN)),
    )
    assert done.state.traded[f"{COIN.id}|carry"].slippage_cost == 1
    assert done.state.ordered[f"{COIN.id}|limit"].requested == 1_000


@pytest.mark.parametrize(
    ("after_ns", "bucket"),
    [(0, 0), (10_000_000, 0), (10_000_001, 1), (SECOND, 4), (5 * SECOND, 5), (6 * SECOND, 6)],
)
def test_a_fill_s_latency_counts_from_approval(after_ns, bucket):
    done = play(actor(), (7, OrderApproved(7, request())), (7 + after_ns, fill("1", "1")))
    latency = done.state.traded[f"{PERP.id}|carry"].latency
    assert latency.counts == [int(number == bucket) for number in range(len(LATENCY_BOUNDS) + 1)]
    assert latency.total == after_ns


def test_without_a_touch_there_is_no_slippage_and_no_fill_ratio():
    done = play(
        actor(), (1, OrderApproved(1, request())), (2, fill("5", "1")), (3, update(OrderStatus.EXPIRED, "1"))
    ).state
    assert sum(done.traded[f"{PERP.id}|carry"].slippage.counts) == 0
    assert done.ordered[f"{PERP.id}|limit"].statuses == {"expired": 1}
    assert done.ordered[f"{PERP.id}|limit"].requested == 0


def test_the_fill_ratio_is_of_final_orders_by_type_in_quote_money():
    one = play(actor(), (0, view(999_990, 1_000_000)), (1, OrderApproved(1, request())))
    play(one, (2, fill("100000", "0.5")), (2, update(OrderStatus.PARTIALLY_FILLED, "0.5", final=False)))
    assert one.state.ordered == {}
    play(one, (3, update(OrderStatus.EXPIRED, "0.5")), (4, update(OrderStatus.EXPIRED, "0.5")))
    found = one.state.ordered[f"{PERP.id}|{OrderType.LIMIT}"]
    assert (found.statuses, found.requested, found.filled) == ({"expired": 1}, D(200_000), D(50_000))
    assert one.state.working == {}


def test_fees_and_rebates_are_counted_apart():
    done = play(actor(), (0, fill("1", "1", fee="3")), (0, fill("1", "1", fee="-1")), (0, fill("1", "1", fee="2")))
    traded = done.state.traded[f"{PERP.id}|carry"]
    assert (traded.fills, traded.fees, traded.rebates) == (3, {"USDT": D(5)}, {"USDT": D(1)})
    assert sum(traded.latency.counts) == 0


@pytest.mark.parametrize(
    ("price", "qty", "instrument"), [("NaN", "1", PERP.id), ("1", "Infinity", PERP.id), ("1", "1", "v:OTHER")]
)
def test_a_fill_that_cannot_be_booked_is_not_counted(price, qty, instrument):
    event = fill(price, qty)
    object.__setattr__(event.fill, "instrument", instrument)
    assert play(actor(), (0, event)).state.traded == {}


@pytest.mark.parametrize(
    ("reply", "counted"),
    [
        (PreflightReply(0, "b", Checker.RISK, True), {}),
        (
            PreflightReply(0, "b", Checker.RISK, False, (f"{PERP.id}: {Reason.KILLED}: x: y", "no legs")),
            {"risk|killed": 1, "risk|other": 1},
        ),
        (PreflightReply(0, "b", Checker.MARGIN, False, ("killed: not enough",)), {"margin|other": 1}),
        (
            PreflightReply(0, "b", Checker.GUARDS, False, (f"{PERP.id}: symbol_size: 2 is over 1", "f: killed: x")),
            {"guards|symbol_size": 1, "guards|other": 1},
        ),
        (OrderDenied(0, request(), ("price_collar: 3 is", "stale_book: 9 s")), {"order|price_collar": 1}),
    ],
)
def test_refusals_are_counted_by_checker_and_reason(reply, counted):
    done = play(actor(), (0, reply)).state.refusals
    assert counted.items() <= done.items()
    assert sum(done.values()) == len(getattr(reply, "reasons", ()))


def test_a_basket_s_states_are_counted_once_each():
    def told(state: BasketState, why: str = "", key: str = "b1") -> tuple[int, BasketUpdate]:
        return 0, BasketUpdate(0, key, "carry", state, (), why=why)

    done = play(
        actor(baskets=2),
        told(BasketState.PLANNED),
        told(BasketState.WORKING),
        told(BasketState.WORKING),
        told(BasketState.BALANCED),
        told(BasketState.DENIED, f"{DenyReason.PREFLIGHT}: risk: no", "b2"),
        told(BasketState.DENIED, "because", "b3"),
    ).state
    assert done.baskets == {"carry|planned": 1, "carry|working": 1, "carry|balanced": 1, "carry|denied": 2}
    assert done.denials == {"carry|preflight": 1, "carry|other": 1}
    assert list(done.basket_states) == ["b2", "b3"]


def test_a_margin_call_is_a_turn_for_the_worse():
    one = actor()
    for level in ("warning", "danger", "warning", "healthy", "danger", "unknown", "danger", "critical"):
        one.handle(0, MarginState(0, "a", MarginLevel(level), D(1), D(1), D(1)))
    assert one.state.margin_calls == {"a|warning": 1, "a|danger": 2, "a|unknown": 1, "a|critical": 1}


def test_events_of_positions_are_counted_by_configured_instrument():
    one = actor()
    for instrument in (PERP.id, "v:STRANGE"):
        one.handle(0, PositionMismatch(0, "a", instrument, BOTH, MismatchKind.QUANTITY, D(1), D(2), "fills"))
        one.handle(0, Liquidated(0, "a", instrument, Side.BUY, D(1), D(1), D(1), D(1), D(1), D(1)))
        one.handle(0, Deleveraged(0, "a", instrument, Side.BUY, D(1), D(1)))
    assert one.state.mismatches == {f"{PERP.id}|quantity": 1, "other|quantity": 1}
    assert one.state.liquidations == one.state.deleveragings == {PERP.id: 1, "other": 1}


def report(qty: str, price: str | None, spec: Instrument = PERP) -> PositionReport:
    return PositionReport(5, "a", spec.id, BOTH, D(qty), D(1), None if price is None else D(price))


def test_liquidation_prices_are_the_venue_s_last_word():
    one = play(actor(), (0, report("1", "90")), (0, report("3", "80", COIN)))
    kept = one.state.reported["a"]
    assert {key: (one.qty, one.liquidation_price) for key, one in kept.items()} == {
        f"a/{PERP.id}/BOTH": (D(1), D(90)),
        f"a/{COIN.id}/BOTH": (D(3), D(80)),
    }
    one.handle(1, QueryResult(1, "a", "q", QueryKind.FILLS))
    assert one.state.reported["a"] == kept
    one.handle(2, QueryResult(2, "a", "q", QueryKind.POSITIONS, positions=(report("2", None), report("1", "0", COIN))))
    assert [one.liquidation_price for one in one.state.reported["a"].values()] == [None, None]
    one.handle(3, report("0", "90"))
    assert list(one.state.reported["a"]) == [f"a/{COIN.id}/BOTH"]
    one.handle(4, QueryResult(4, "stranger", "q", QueryKind.POSITIONS, positions=(report("2", "1"),)))
    assert list(one.state.reported) == ["a"]


def test_funding_paid_and_received_are_both_positive():
    one = actor()
    for amount in ("-3", "5", "-0.5", "NaN"):
        one.handle(0, FundingSettled(0, "a", PERP.id, D("0.0001"), D(1), D(1), D(amount), "USDT"))
    one.handle(0, FundingSettled(0, "a", "v:STRANGE", D(0), D(1), D(1), D(9), "USDT"))
    assert (one.state.funding[PERP.id].paid, one.state.funding[PERP.id].received) == (D("3.5"), D(5))


@pytest.mark.parametrize(
    ("rates", "at", "mean"),
    [
        ([], HOUR, None),
        ([(0, "0.0001")], 0, None),
        ([(0, "0.0001")], HOUR, "0.0001"),
        ([(0, "0.0001"), (HOUR, "-0.0003")], 2 * HOUR, "-0.0001"),
        ([(0, "0.0001"), (HOUR, "0.0004")], 3 * HOUR, "0.0003"),
        # What is older than eight hours counts no more.
        ([(0, "0.5"), (HOUR, "0.0002")], 10 * HOUR, "0.0002"),
        ([(0, "0.5"), (HOUR, "0.0002"), (20 * HOUR, "0.0004")], 24 * HOUR, "0.0003"),
    ],
)
def test_the_mean_rate_is_weighted_by_time_over_eight_hours(rates, at, mean):
    one = actor()
    for now, rate in rates:
        one.handle(now, FundingState(now, PERP.id, D(rate), None, D(0), D(0)))
    before = json.dumps(one.snapshot())
    found = one.mean_rate(at, PERP.id)
    assert (found is None) == (mean is None)
    assert found is None or abs(found - D(mean)) < D("0.00001")
    assert json.dumps(one.snapshot()) == before
    assert one.mean_rate(at, "v:STRANGE") is None


def test_a_rate_that_never_stops_moving_is_remembered_in_a_bounded_way():
    mean = RateMean()
    for minute in range(0, 3_000, 5):
        mean.note(minute * 60 * SECOND, D(minute % 7) / 10_000)
    assert len(mean.slots) <= 33


def test_memory_is_bounded():
    one = actor(working=3, names=3)
    for number in range(10):
        one.handle(0, OrderApproved(0, request(key=f"r{number}")))
        one.handle(0, Incident(0, f"kind{number}", "", ""))
    assert list(one.state.working) == ["r7", "r8", "r9"]
    assert one.state.incidents == {"kind0": 1, "kind1": 1, "kind2": 1, "other": 7}


def test_a_snapshot_brings_everything_back():
    one = play(
        actor(),
        (0, view(999_990, 1_000_000)),
        (1, OrderApproved(1, request())),
        (2, fill("100000", "1", fee="1")),
        (3, report("1", "90")),
        (3, FundingState(3, PERP.id, D("0.0001"), None, D(0), D(0))),
        (4, FundingState(4, PERP.id, D("0.0002"), None, D(0), D(0))),
        (4, MarginState(0, "a", MarginLevel.DANGER, D(1), D(1), D(1))),
        (4, BasketUpdate(0, "b1", "carry", BasketState.WORKING, ())),
        (4, Incident(0, "kind", "", "")),
        (4, OrderApproved(1, request(key="r2"))),
        (5, update(OrderStatus.FILLED, "1")),
    )
    plain = json.dumps(one.snapshot())
    other = actor()
    other.restore(json.loads(plain))
    assert other.state == one.state
    assert json.dumps(other.snapshot()) == plain


def test_a_histogram_counts_a_bound_itself_below_it():
    one = empty((10, 20))
    for value in (-5, 10, 11, 20, 21):
        one.add(value, (10, 20))
    assert (one.counts, one.total) == ([2, 2, 1], 62)
