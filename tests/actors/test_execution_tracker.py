"""What the execution tracker counts and records, and what it leaves out."""

import json
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from actors.execution_counts import LATENCY_BOUNDS, SLIPPAGE_BOUNDS
from actors.execution_tracker import ExecutionTracker
from actors.executions import ExecutionIntent, ExecutionMode, ExecutionReport, ExecutionState
from actors.messages import (
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    FeedStatus,
    FillEvent,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PreflightRequest,
)
from actors.post_trade import FillBusted
from actors.tracker_records import FillRecord, TrackerConfig
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, Side

SECOND = 1_000_000_000
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


def actor(**bounds: int) -> ExecutionTracker:
    return ExecutionTracker({spec.id: spec for spec in (PERP, COIN)}, TrackerConfig(**bounds), name="tracker")


def view(bid: int, ask: int, spec: Instrument = PERP) -> BookView:
    return BookView(0, spec.id, bid, 1, ask, 1)


def request(
    side: Side = Side.BUY, qty: str = "2", spec: Instrument = PERP, key: str = "r1", parent: str = ""
) -> OrderRequest:
    basket = "" if parent else "b1"
    return OrderRequest(0, key, "carry", basket, "a", spec.id, side, D(qty), price=D(1), parent_id=parent)


def fill(
    price: str,
    qty: str,
    *,
    fee: str = "0",
    key: str = "r1",
    spec: Instrument = PERP,
    side: Side = Side.BUY,
    trade: str = "t",
) -> FillEvent:
    made = Fill(0, "a", spec.id, "c1", trade, side, D(price), D(qty), Liquidity.TAKER, D(fee), "USDT", FillReason.TAKER)
    return FillEvent(0, key, "carry", "b1", made)


def update(
    status: OrderStatus, filled: str, *, side: Side = Side.BUY, qty: str = "2", final: bool = True, spec: Any = PERP
) -> OrderUpdate:
    return OrderUpdate(0, "r1", "carry", "b1", "c1", "a", spec.id, side, D(qty), status, D(filled), final)


def play(one: ExecutionTracker, *steps: tuple[int, Any]) -> ExecutionTracker:
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
        (3, fill(price, "1", side=side)),
        (3, fill(price, "1", side=side)),
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
    assert one.state.orders == {}


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


# Records


def approve(one: ExecutionTracker, now: int, made: OrderRequest) -> None:
    one.handle(now, OrderApproved(now, made))


def basket(state: BasketState, unhedged: str = "0", **told: Any) -> BasketUpdate:
    return BasketUpdate(0, "b1", "carry", state, (), D(unhedged), **told)


def plan(*sides: Side, basket_id: str = "b1") -> PreflightRequest:
    legs = tuple(BasketLeg("a", PERP.id, side, D(2)) for side in sides)
    return PreflightRequest(0, basket_id, "carry", legs, D(10))


def kinds(one: ExecutionTracker, after: int = 0) -> list[str]:
    return [type(record).__name__ for record in one.state.since(after)]


def test_an_order_s_record_has_its_times_touches_and_sums():
    one = play(
        actor(),
        (1, view(99, 101)),
        (2, plan(Side.BUY)),
        (3, view(100, 102)),
        (5, OrderApproved(5, request())),
        (5, update(OrderStatus.SENT, "0", final=False)),
        (7, update(OrderStatus.ACCEPTED, "0", final=False)),
        (8, view(110, 112)),
        (9, fill("10.3", "0.5", fee="0.1", trade="t1")),
        (9, update(OrderStatus.PARTIALLY_FILLED, "0.5", final=False)),
    )
    assert kinds(one) == ["FillRecord"]
    play(one, (11, fill("10.4", "1.5", fee="0.2", trade="t2")), (11, update(OrderStatus.FILLED, "2")))
    assert kinds(one, 1) == ["FillRecord", "ChildRecord"]
    child = one.state.ended_orders["r1"]
    assert (child.decided_ns, child.sent_ns, child.acked_ns, child.ended_ns) == (2, 5, 7, 11)
    assert (child.done.first_ns, child.done.last_ns, child.done.fills) == (9, 11, 2)
    touches = (child.decision, child.arrival, child.end)
    assert [touch and (touch.bid, touch.ask) for touch in touches] == [(99, 101), (100, 102), (110, 112)]
    assert (child.done.qty, child.done.cost, child.done.fees) == (D(2), D("20.75"), {"USDT": D("0.3")})
    assert (child.status, child.client_order_id) == (OrderStatus.FILLED, "c1")


def test_a_denied_order_is_recorded_and_was_never_sent():
    one = play(actor(), (0, view(99, 101)), (1, OrderDenied(1, request(), ("max_qty: 2", "killed: x"))))
    child = one.state.ended_orders["r1"]
    assert (child.status, child.sent_ns, child.acked_ns, child.ended_ns) == (None, None, None, 1)
    assert child.why == "max_qty: 2; killed: x"


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("name", ["qty", "price", "trigger_price"])
def test_what_is_refused_for_being_no_number_leaves_a_state_that_can_be_restored(name: str, bad: str):
    """A denied order of NaN in the records kept a desk from coming back from its own journal."""
    asked: Any = request()
    one = play(actor(), (1, OrderDenied(1, evolve(asked, **{name: D(bad)}), ("bad_number",))))
    parent = ExecutionReport(
        1, "p1", "carry", "a", PERP.id, Side.BUY, D(bad), ExecutionState.DENIED, ExecutionMode.MARKET_ONLY
    )
    one = play(one, (1, parent), (2, OrderDenied(2, request(key="r2"), ("killed",))))
    other = actor()
    other.restore(one.snapshot())
    assert list(other.state.ended_orders) == ["r2"]
    assert not other.state.ended_parents


def test_a_book_that_is_not_live_has_no_touch():
    one = play(actor(), (0, view(99, 101)), (1, FeedStatus(1, PERP.id, False, "gap")))
    approve(one, 2, request())
    assert one.state.orders["r1"].arrival is None


def test_a_late_fill_makes_a_newer_record_of_the_same_order():
    one = play(
        actor(),
        (0, OrderApproved(0, request())),
        (1, fill("10", "1", trade="t1")),
        (1, update(OrderStatus.CANCELED, "1")),
    )
    seen = one.state.last
    play(one, (5, fill("11", "1", trade="t2")), (5, update(OrderStatus.FILLED, "2")))
    assert kinds(one, seen) == ["FillRecord", "ChildRecord"]
    child = one.state.ended_orders["r1"]
    assert (child.number, child.status, child.done.qty, child.done.cost) == (
        one.state.last,
        OrderStatus.FILLED,
        D(2),
        D(21),
    )
    # The orders counted for metrics are judged once, when they first ended.
    assert one.state.ordered[f"{PERP.id}|limit"].statuses == {"canceled": 1}


def test_a_basket_s_record_has_its_legs_and_how_long_it_was_uneven():
    one = play(
        actor(),
        (0, view(99, 101)),
        (10, plan(Side.BUY)),
        (10, basket(BasketState.PLANNED)),
        (11, view(100, 102)),
        (12, basket(BasketState.WORKING)),
        (12, OrderApproved(12, request())),
        (20, fill("10.2", "2", fee="1")),
        (20, update(OrderStatus.FILLED, "2")),
        (20, basket(BasketState.HEDGING, "50")),
        (30, basket(BasketState.HEDGING, "20")),
        (35, basket(BasketState.BALANCED)),
    )
    record = one.state.ended_baskets["b1"]
    assert (record.decided_ns, record.placed_ns, record.ended_ns, record.orders) == (10, 12, 35, 1)
    assert (record.unhedged, record.unhedged_max, record.state) == (D(50 * 10 + 20 * 5), D(50), BasketState.BALANCED)
    leg = record.legs[0]
    touches = (leg.decision, leg.arrival, leg.end)
    assert [touch and touch.bid for touch in touches] == [99, 100, 100]
    assert (leg.done.qty, leg.done.cost, leg.done.fees) == (D(2), D("20.4"), {"USDT": D(1)})
    # Somebody takes it off later: the record says when, its own ending stays.
    play(one, (90, basket(BasketState.FLAT)), (95, basket(BasketState.FLAT)))
    assert (record.closed_ns, record.state, record.ended_ns) == (90, BasketState.BALANCED, 35)


def test_a_basket_that_is_reopened_ends_anew():
    one = play(
        actor(),
        (0, plan(Side.BUY)),
        (1, basket(BasketState.WORKING)),
        (2, basket(BasketState.BALANCED)),
        (3, basket(BasketState.HEDGING, "7")),
    )
    assert one.state.ended_baskets == {}
    play(one, (9, basket(BasketState.BROKEN, why="no way")))
    record = one.state.ended_baskets["b1"]
    assert (record.state, record.ended_ns, record.why, record.unhedged) == (BasketState.BROKEN, 9, "no way", D(7 * 6))


def test_what_was_refused_before_its_first_order_is_no_execution():
    one = play(actor(), (0, plan(Side.BUY)), (1, basket(BasketState.DENIED)), (1, basket(BasketState.DENIED)))
    assert (one.state.baskets, one.state.ended_baskets, one.state.last) == ({}, {}, 0)


def test_a_close_nobody_planned_aloud_has_the_legs_of_its_orders():
    one = play(
        actor(),
        (0, view(99, 101)),
        (1, basket(BasketState.WORKING, closes="b0")),
        (1, OrderApproved(1, request(Side.SELL))),
        (2, fill("9.9", "2", side=Side.SELL)),
        (2, basket(BasketState.FLAT)),
    )
    record = one.state.ended_baskets["b1"]
    assert [(leg.side, leg.qty, leg.done.qty) for leg in record.legs] == [(Side.SELL, D(2), D(2))]
    assert (record.closes, record.closed_ns) == ("b0", None)


def test_a_bust_takes_a_fill_off_its_order_and_its_basket():
    event = fill("10", "1.5", fee="0.3", trade="t2")
    one = play(
        actor(),
        (0, plan(Side.BUY)),
        (1, basket(BasketState.WORKING)),
        (1, OrderApproved(1, request())),
        (2, fill("10", "0.5", fee="0.1", trade="t1")),
        (3, event),
        (3, update(OrderStatus.FILLED, "2")),
        (4, basket(BasketState.BALANCED)),
    )
    seen, bust = one.state.last, FillBusted(9, "r1", "carry", "b1", event.fill, "error trade")
    play(one, (9, bust), (9, bust))
    assert sorted(kinds(one, seen)) == ["BasketRecord", "ChildRecord", "FillRecord"]
    record = one.state.fills[f"a/{PERP.id}/t2/buy"]
    assert (record.busted_ns, record.bust_why) == (9, "error trade")
    for done in (one.state.ended_orders["r1"].done, one.state.ended_baskets["b1"].legs[0].done):
        assert (done.fills, done.qty, done.cost, done.fees) == (1, D("0.5"), D(5), {"USDT": D("0.1")})


def test_a_bust_of_a_fill_told_long_ago_is_recorded_all_the_same():
    one = actor(keep=1)
    event = fill("10", "1", trade="t1")
    play(one, (1, event), (2, fill("10", "1", trade="t2")))
    assert list(one.state.fills) == [f"a/{PERP.id}/t2/buy"]
    one.handle(3, FillBusted(3, "r1", "carry", "b1", event.fill, "why"))
    record = one.state.since(2)[0]
    assert isinstance(record, FillRecord)
    assert (record.event.fill, record.busted_ns) == (event.fill, 3)


def test_a_parent_is_recorded_as_reported_and_its_orders_count_from_its_decision():
    intent = ExecutionIntent(2, "p1", "carry", "a", PERP.id, Side.BUY, D(2))
    wanted = ("p1", "carry", "a", PERP.id, Side.BUY, D(2), ExecutionState.FILLED, ExecutionMode.MARKET_ONLY)
    report = ExecutionReport(9, *wanted, started_ns=2)
    one = play(
        actor(),
        (1, view(99, 101)),
        (2, intent),
        (3, view(100, 102)),
        (4, OrderApproved(4, request(parent="p1"))),
        (8, fill("10", "2")),
        (8, update(OrderStatus.FILLED, "2")),
        (9, report),
    )
    child, parent = one.state.ended_orders["r1"], one.state.ended_parents["p1"]
    assert (child.decided_ns, child.decision and child.decision.bid, child.arrival and child.arrival.bid) == (
        2,
        99,
        100,
    )
    assert (parent.report, parent.busted_qty, one.state.parents) == (report, D(0), {})
    one.handle(12, FillBusted(12, "r1", "carry", "", fill("10", "2").fill))
    again = one.state.ended_parents["p1"]
    assert (again.busted_qty, again.number) == (D(2), one.state.last)
    amended = ExecutionReport(20, *wanted, started_ns=2, is_amended=True)
    one.handle(20, amended)
    assert (one.state.ended_parents["p1"].report, one.state.ended_parents["p1"].busted_qty) == (amended, D(2))


def test_records_are_read_by_number_and_what_was_forgotten_is_known():
    one = actor(keep=2)
    for number in range(1, 6):
        one.handle(number, fill("10", "1", trade=f"t{number}"))
    assert [record.number for record in one.state.since(0)] == [4, 5]
    assert (one.state.last, one.state.forgotten) == (5, 3)
    assert one.state.since(5) == []


def test_memory_of_what_is_under_way_is_bounded():
    one = actor(working=3)
    for number in range(10):
        approve(one, 0, request(key=f"r{number}"))
        one.handle(0, plan(Side.BUY, basket_id=f"b{number}"))
        one.handle(0, ExecutionIntent(0, f"p{number}", "carry", "a", PERP.id, Side.BUY, D(1)))
    assert list(one.state.orders) == ["r7", "r8", "r9"]
    assert list(one.state.baskets) == ["b7", "b8", "b9"]
    assert list(one.state.parents) == ["p7", "p8", "p9"]


def test_a_snapshot_brings_everything_back():
    one = play(
        actor(),
        (0, view(99, 101)),
        (1, plan(Side.BUY)),
        (1, basket(BasketState.WORKING)),
        (1, OrderApproved(1, request())),
        (2, fill("10", "1", fee="1")),
        (3, update(OrderStatus.CANCELED, "1")),
        (3, OrderApproved(3, request(key="r2"))),
        (4, OrderDenied(4, request(key="r3"), ("killed",))),
        (5, basket(BasketState.BROKEN, "3")),
        (6, ExecutionIntent(6, "p1", "carry", "a", PERP.id, Side.BUY, D(1))),
        (7, FillBusted(7, "r1", "carry", "b1", fill("10", "1", fee="1").fill)),
    )
    plain = json.dumps(one.snapshot())
    other = actor()
    other.restore(json.loads(plain))
    assert other.state == one.state
    assert json.dumps(other.snapshot()) == plain
