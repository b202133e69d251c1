"""One leg first, or one leg quoted: who leads, what follows when, and when quoting is over."""

from decimal import Decimal
from typing import Any

import pytest
from cell_harness import COARSE, PERP, SECOND, SPOT, D, Harness, Outcome, ScriptedVenue, buy, sell

from actors.atomic_executor import AtomicExecutor
from actors.basket_plan import ExecutorConfig
from actors.basket_records import PartialFill
from actors.cell import CellRestarted
from actors.control import GuardStatus
from actors.executor_state import Placings
from actors.flags import FlagMode, SetFlag
from actors.messages import (
    BasketIntent,
    BasketLeg,
    CancelRequest,
    FeedStatus,
    KillLevel,
    KillState,
    OrderRequest,
    Placement,
    PreflightRequest,
    StopCommand,
)
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderStatus, Side, TimeInForce
from venues.port import (
    CancelOrder,
    InstrumentState,
    InstrumentStatus,
    Message,
    OrderCanceled,
    SubmitOrder,
    VenueDown,
)

CARRY = (buy(SPOT, "1"), sell(PERP, "1"))
QUOTE_NS = ExecutorConfig().requote_ns


def desk(venue: ScriptedVenue | None = None, config: ExecutorConfig | None = None) -> Harness:
    cell = Harness(venue=venue, config=config)
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    cell.quote(COARSE, "60020.0", "60020.5", size="10000")
    return cell


def begin(cell: Harness, *legs: BasketLeg, placement: Placement, basket: str = "b1", **given: Any) -> None:
    cell.tell(BasketIntent(cell.now, basket, "s", legs or CARRY, placement=placement, **given))


def submits(cell: Harness) -> list[SubmitOrder]:
    return [command for command in cell.commands if isinstance(command, SubmitOrder)]


def sent(cell: Harness) -> list[tuple[str, Decimal]]:
    return [(order.instrument, order.qty) for order in submits(cell)]


def move(cell: Harness, spec: Instrument, bid: str, ask: str) -> None:
    cell.depth(spec, [(bid, "100")], [(ask, "100")])
    cell.show(spec)


def hit(cell: Harness, qty: str) -> None:
    """Somebody trades against the only order that rests."""
    (order,) = cell.venue.resting()
    cell.feed(*cell.venue.hit(cell.now, order, qty))


# Sequential


def test_the_leg_with_less_in_its_book_goes_first_and_the_other_trades_what_it_filled() -> None:
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(D("0.4"))]}))
    cell.depth(PERP, [("60010.0", "2")], [("60010.5", "2")])
    begin(cell, placement=Placement.SEQUENTIAL)
    assert sent(cell) == [(PERP.id, D(1)), (SPOT.id, D("0.4"))]
    assert cell.states("b1") == ["planned", "reserved", "working", "balanced"]
    assert cell.venue.positions() == {SPOT.id: D("0.4"), PERP.id: D("-0.4")}


def test_a_leg_whose_first_orders_were_refused_before_leads_in_spite_of_its_depth() -> None:
    cell = desk()
    # 100 lots wide for both; 9 of 10 missed: (1 + 1) / 12 of its depth counts.
    cell.executor.state.placings[SPOT.id] = Placings(10, 9)
    begin(cell, placement=Placement.SEQUENTIAL)
    assert sent(cell)[0][0] == SPOT.id
    cell.executor.state.placings = {PERP.id: Placings(10, 9)}
    begin(cell, placement=Placement.SEQUENTIAL, basket="b2")
    assert sent(cell)[2][0] == PERP.id


def test_first_orders_that_fill_nothing_are_remembered_and_age() -> None:
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(ZERO)] * 3, PERP.id: [Outcome(ZERO)] * 3}))
    for number in range(3):
        begin(cell, placement=Placement.SIMULTANEOUS, basket=f"b{number}")
    assert cell.executor.state.placings == {SPOT.id: Placings(3, 3), PERP.id: Placings(3, 3)}
    placings = Placings(63, 63)
    placings.note(is_missed=False)
    assert placings == Placings(32, 31)


def test_as_ordered_the_first_leg_leads_whatever_the_books_say() -> None:
    cell = desk()
    cell.depth(PERP, [("60010.0", "1")], [("60010.5", "1")])
    begin(cell, placement=Placement.SEQUENTIAL, is_ordered=True)
    assert sent(cell) == [(SPOT.id, D(1)), (PERP.id, D(1))]


def test_a_lead_that_fills_nothing_leaves_the_other_leg_alone() -> None:
    cell = desk(ScriptedVenue([Outcome(ZERO)]))
    begin(cell, placement=Placement.SEQUENTIAL, is_ordered=True)
    assert sent(cell) == [(SPOT.id, D(1))]
    assert cell.states("b1")[-1] == "flat"


def test_every_follower_trades_its_share_in_whole_lots() -> None:
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(D("0.5"))]}))
    begin(
        cell,
        buy(SPOT, "1"),
        sell(PERP, "0.6"),
        sell(COARSE, "40"),
        placement=Placement.SEQUENTIAL,
        is_ordered=True,
    )
    assert sent(cell) == [(SPOT.id, D(1)), (PERP.id, D("0.3")), (COARSE.id, D(20))]
    assert cell.venue.net_base() == ZERO


def test_a_follower_that_misses_is_hedged_like_any_other() -> None:
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(D("0.2"))]}))
    begin(cell, placement=Placement.SEQUENTIAL, is_ordered=True)
    cell.advance(SECOND)
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.net_base() == ZERO
    assert [order.price for order in submits(cell)[1:]] == [D("59950.0"), D("59890.0")]


def test_a_leg_that_cannot_be_asked_about_is_not_placed() -> None:
    cell = desk()
    cell.desk.state.dead = {PERP.id}
    begin(cell, placement=Placement.SEQUENTIAL)
    # The feed handler has no depth, so the leg is the thinnest; the touch is still believed.
    assert sent(cell)[0][0] == PERP.id


def test_a_close_may_be_placed_one_leg_after_the_other() -> None:
    cell = desk()
    begin(cell, placement=Placement.SIMULTANEOUS)
    legs = cell.executor.open_legs(cell.executor.state.baskets["b1"])
    begin(cell, *legs, placement=Placement.SEQUENTIAL, basket="c1", closes="b1", is_ordered=True)
    assert (cell.states("c1")[-1], cell.states("b1")[-1]) == ("balanced", "flat")
    assert [order.is_hedge for order in cell.seen(OrderRequest)[2:]] == [True, True]


# Makers


def quoting(cell: Harness, *legs: BasketLeg, **given: Any) -> None:
    begin(cell, *legs, placement=Placement.MAKER_TAKER, is_ordered=True, **given)


def test_a_maker_is_quoted_post_only_at_its_own_touch_and_every_fill_is_taken_at_once() -> None:
    cell = desk()
    quoting(cell)
    (order,) = submits(cell)
    assert (order.instrument, order.tif, order.price, order.qty) == (SPOT.id, TimeInForce.GTX, D("60000.00"), D(1))
    hit(cell, "0.3")
    assert sent(cell)[1:] == [(PERP.id, D("0.3"))]
    assert cell.venue.net_base() == ZERO
    hit(cell, "0.7")
    assert cell.states("b1") == ["planned", "reserved", "working", "balanced"]
    assert cell.venue.positions() == {SPOT.id: D(1), PERP.id: D(-1)}
    assert submits(cell)[1].tif is TimeInForce.IOC


def test_what_is_less_than_a_lot_of_the_taker_waits_until_it_is_one() -> None:
    cell = desk()
    quoting(cell, buy(SPOT, "1"), sell(COARSE, "100"))
    hit(cell, "0.0156")
    assert sent(cell)[1:] == [(COARSE.id, D(1))]
    hit(cell, "0.0044")
    assert sent(cell)[1:] == [(COARSE.id, D(1)), (COARSE.id, D(1))]
    assert cell.venue.net_base() == ZERO


def test_a_quote_follows_its_touch_by_cancel_and_then_a_new_one() -> None:
    cell = desk()
    quoting(cell)
    hit(cell, "0.25")
    cell.advance(QUOTE_NS)
    move(cell, SPOT, "60005.00", "60006.00")
    spot = [order for order in submits(cell) if order.instrument == SPOT.id]
    assert cell.executor.state.baskets["b1"].why == ""
    assert [(order.price, order.qty) for order in spot] == [(D("60000.00"), D(1)), (D("60005.00"), D("0.75"))]
    assert len(cell.venue.resting()) == 1


def test_quotes_are_not_moved_more_often_than_configured() -> None:
    cell = desk()
    quoting(cell)
    for cents in range(1, 50):
        move(cell, SPOT, f"60000.{cents:02}", "60001.00")
    assert len(submits(cell)) == 1
    cell.advance(QUOTE_NS)
    assert [order.price for order in submits(cell)] == [D("60000.00"), D("60000.49")]


def test_a_quote_stays_inside_the_bound_of_the_beginning_and_comes_back() -> None:
    cell = desk()
    quoting(cell)
    cell.advance(QUOTE_NS)
    # 10 bps above the ask of 60001 at the start is 60061.
    move(cell, SPOT, "60061.01", "60062.00")
    assert cell.venue.resting() == []
    cell.advance(QUOTE_NS)
    move(cell, SPOT, "60061.00", "60062.00")
    assert [order.price for order in cell.venue.resting()] == [D("60061.00")]


def test_the_legs_own_limit_bounds_its_quote() -> None:
    cell = desk()
    quoting(cell, buy(SPOT, "1", limit="60002.00"), sell(PERP, "1"))
    cell.advance(QUOTE_NS)
    move(cell, SPOT, "60003.00", "60004.00")
    assert cell.venue.resting() == []


def test_a_makers_limit_may_lie_inside_the_spread_and_waits_for_the_market_outside_it() -> None:
    cell = desk()
    quoting(cell, buy(SPOT, "1", limit="60000.00"), sell(PERP, "1"))
    assert [order.price for order in cell.venue.resting()] == [D("60000.00")]
    below = desk()
    quoting(below, buy(SPOT, "1", limit="59999.99"), sell(PERP, "1"))
    assert below.venue.resting() == []
    move(below, SPOT, "59999.00", "60000.00")
    assert [order.price for order in below.venue.resting()] == [D("59999.00")]


def test_the_checkers_are_told_which_legs_take_nothing() -> None:
    cell = desk()
    cell.depth(PERP, [("60010.0", "1")], [("60010.5", "1")])
    for number, placement in enumerate(Placement):
        begin(cell, placement=placement, basket=f"b{number}")
    assert [one.makers for one in cell.seen(PreflightRequest)] == [(), (), (1,)]


def test_a_basket_whose_depth_does_not_come_is_not_begun() -> None:
    cell = desk()
    cell.desk.state.is_mute = True
    begin(cell, placement=Placement.SEQUENTIAL)
    cell.advance(2 * SECOND)
    assert cell.why("b1") == "preflight_timeout: agreed were none"
    assert cell.executor.state.depth_refs == {}


@pytest.mark.parametrize(
    "message",
    [
        SetFlag(SECOND, "me", "global", FlagMode.DISABLED),
        SetFlag(SECOND, "me", "s", FlagMode.SHADOW),
        KillState(SECOND, KillLevel.REDUCE_ONLY, "test", ""),
        FeedStatus(SECOND, SPOT.id, False, "gap"),
        FeedStatus(SECOND, PERP.id, False, "gap"),
        InstrumentStatus(SECOND, PERP.id, InstrumentState.HALT),
        VenueDown(SECOND, "perp", "orders"),
        VenueDown(SECOND, "spot"),
        CellRestarted(SECOND, 1, "x", "y"),
    ],
)
def test_a_quote_that_must_not_stand_is_taken_back_at_once(message: Message) -> None:
    cell = desk()
    quoting(cell)
    (order,) = cell.venue.resting()
    cell.tell(message)
    assert next(one for one in cell.commands if isinstance(one, CancelOrder)).client_order_id == order.client_order_id


def test_nothing_is_quoted_while_the_guard_is_in_charge() -> None:
    cell = desk()
    quoting(cell)
    cell.tell(GuardStatus(cell.now, True, True))
    (order,) = cell.venue.resting()
    cell.venue.orders[order.client_order_id].status = OrderStatus.CANCELED
    key = (order.account, order.instrument, order.client_order_id)
    cell.feed(OrderCanceled(cell.now, *key, ZERO))
    cell.advance(QUOTE_NS)
    move(cell, SPOT, "60000.50", "60001.00")
    assert len(submits(cell)) == 1
    cell.tell(GuardStatus(cell.now, True, False))
    assert len(submits(cell)) == 2


def test_nothing_is_quoted_on_a_leg_whose_last_quote_may_still_fill() -> None:
    cell = desk()
    cell.venue.is_deaf = True
    quoting(cell)
    cell.advance(QUOTE_NS)
    move(cell, SPOT, "60000.50", "60001.00")
    cell.advance(3 * SECOND)
    move(cell, SPOT, "60000.60", "60001.00")
    assert len(submits(cell)) == 1
    assert len(cell.seen(CancelRequest)) == 1


@pytest.mark.parametrize(
    "stop",
    [
        lambda cell: StopCommand(cell.now, "end"),
        lambda cell: KillState(cell.now, KillLevel.REDUCE_ONLY, "test", ""),
        lambda cell: KillState(cell.now, KillLevel.CANCEL_ALL, "test", ""),
    ],
)
def test_a_stop_ends_quoting_and_keeps_what_was_filled(stop: Any) -> None:
    cell = desk()
    quoting(cell)
    hit(cell, "0.3")
    cell.tell(stop(cell))
    cell.advance(SECOND)
    assert cell.venue.resting() == []
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.positions() == {SPOT.id: D("0.3"), PERP.id: D("-0.3")}


def test_quoting_ends_before_the_deadline_with_time_left_for_hedges() -> None:
    cell = desk()
    quoting(cell, deadline_ns=20 * SECOND)
    # The last call is 5 s before the deadline, or a quarter of it.
    cell.advance(15 * SECOND - 1)
    assert len(cell.venue.resting()) == 1
    cell.advance(1)
    assert cell.venue.resting() == []
    assert cell.states("b1")[-1] == "flat"


def test_a_spent_budget_ends_quoting() -> None:
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(is_lost=True, arrives=False)]}, failing_queries=8))
    quoting(cell, risk_budget=D(60_000))
    hit(cell, "0.5")
    # Half a bitcoin is 30,000: after two seconds it is spent, long before the last call.
    cell.advance(3 * SECOND)
    assert cell.incidents() == ["risk_budget"]
    assert cell.venue.resting() == []
    cell.advance(20 * SECOND)
    assert cell.venue.net_base() == ZERO
    assert len([order for order in submits(cell) if order.tif is TimeInForce.GTX]) == 1


def test_the_number_of_quotes_is_bounded() -> None:
    cell = desk(config=ExecutorConfig(quotes_max=3))
    quoting(cell)
    for cents in range(1, 20):
        cell.advance(QUOTE_NS)
        move(cell, SPOT, f"60000.{cents:02}", "60001.00")
    assert len(submits(cell)) == 3
    assert cell.states("b1")[-1] == "flat"


def test_a_taker_that_misses_takes_the_quote_back_until_the_legs_are_even() -> None:
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(ZERO)]}))
    quoting(cell)
    hit(cell, "0.4")
    assert len(cell.seen(CancelRequest)) == 1
    cell.advance(SECOND)
    assert cell.venue.net_base() == ZERO
    # The incident is over, quoted is again, for what is left.
    assert [(one.net, one.outcome) for one in cell.seen(PartialFill)] == [({"BTC": D("0.4")}, "hedging")]
    assert [order.qty for order in cell.venue.resting()] == [D("0.6")]
    hit(cell, "0.6")
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.positions() == {SPOT.id: D(1), PERP.id: D(-1)}


def test_a_leg_that_stops_trading_is_not_quoted() -> None:
    cell = desk()
    quoting(cell)
    cell.feed(InstrumentStatus(cell.now, SPOT.id, InstrumentState.HALT))
    assert cell.venue.resting() == []
    cell.advance(QUOTE_NS)
    assert len(submits(cell)) == 1
    cell.feed(InstrumentStatus(cell.now, SPOT.id, InstrumentState.OPEN))
    cell.advance(QUOTE_NS)
    assert len(cell.venue.resting()) == 1


def test_takers_are_bounded_from_the_touch_of_their_own_moment() -> None:
    cell = desk()
    quoting(cell)
    cell.advance(5 * SECOND)
    move(cell, PERP, "60500.0", "60500.5")
    hit(cell, "1")
    taker = submits(cell)[-1]
    # 10 bps under 60500.0, rounded up to a tick: 60439.5 rather than 59950.0.
    assert (taker.instrument, taker.side, taker.price) == (PERP.id, Side.SELL, D("60439.5"))


def test_a_takers_hedge_is_bounded_from_the_touch_at_which_it_began() -> None:
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(ZERO), Outcome(ZERO)]}))
    quoting(cell)
    cell.advance(5 * SECOND)
    move(cell, PERP, "60500.0", "60500.5")
    hit(cell, "1")
    cell.advance(SECOND // 5)
    # 20 bps under 60500.0 after the first miss.
    assert submits(cell)[2].price == D("60379.0")


def test_a_snapshot_in_the_middle_of_quoting_comes_back_equal() -> None:
    cell = desk()
    quoting(cell)
    hit(cell, "0.3")
    fresh = AtomicExecutor(cell.executor.instruments)
    fresh.restore(cell.executor.snapshot())
    assert fresh.state == cell.executor.state
