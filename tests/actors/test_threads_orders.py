"""What went wrong with orders in public systems must not go wrong here: one test for each thread of execution.md 2."""

import json
from decimal import Decimal
from typing import ClassVar

import pytest
from cell_harness import PERP, SECOND, SPECS, SPOT, D, Harness, Outcome, ScriptedVenue, buy, changed, sell
from group_world import GroupWorld, bracket
from order_bench import ACC, PERP_ID, Bench, ack, ask, fill, key, lost, view

from actors.base import Actor
from actors.dead_man_words import DeadManState
from actors.dispatcher import Dispatcher
from actors.group_messages import BracketRequest, ScheduleOrder
from actors.group_plan import Role
from actors.messages import (
    BasketIntent,
    BasketState,
    BookView,
    CancelRequest,
    OrderApproved,
    OrderRequest,
    StopCommand,
)
from actors.order_groups import OrderGroups
from actors.order_manager import OrderManager
from actors.order_scheduler import OrderScheduler
from actors.risk_checks import Reason
from actors.risk_config import InstrumentLimits, RiskConfig
from actors.risk_gate import RiskGate
from actors.sessions import AttemptConfig, Sessions, SessionState
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce
from venues.port import (
    CancelOrder,
    CancelRejected,
    InstrumentState,
    Message,
    OrderCanceled,
    QueryKind,
    QueryResult,
    RejectReason,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

S = OrderStatus


def submits(bench: Bench) -> list[SubmitOrder]:
    return [one for one in bench.out.sent if isinstance(one, SubmitOrder)]


class Desk:
    """Gate, order manager, groups and scheduler in one cell; commands are collected and nobody answers."""

    def __init__(self, config: RiskConfig, *others: Actor) -> None:
        self.now = SECOND
        self.gate = RiskGate(SPECS, {ACC: PERP.venue}, config, "risk_gate")
        self.manager = OrderManager(SPECS)
        self.cell = Dispatcher([self.gate, self.manager, OrderScheduler(), OrderGroups(SPECS), *others])
        self.cell.start(self.now)
        # The venue would cancel by itself, for as long as these tests last.
        self.gate.handle(self.now, DeadManState(self.now, ACC, PERP_ID, 1 << 62))
        self.sent: list[object] = []
        self.tell(BookView(self.now, PERP_ID, 999, 1, 1001, 1))
        self.tell(DeadManState(self.now, ACC, PERP_ID, 1 << 62))

    def tell(self, message: Message) -> None:
        self.cell.take(self.now, message)
        self.cell.run(self.now)
        self.sent += [intent.command for intent in self.cell.take_effects()]

    def wait(self, ns: int) -> None:
        end = self.now + ns
        while (at := self.cell.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.cell.offer_due(self.now)
            self.cell.run(self.now)
            self.sent += [intent.command for intent in self.cell.take_effects()]
        self.now = end

    def submits(self) -> list[SubmitOrder]:
        return [one for one in self.sent if isinstance(one, SubmitOrder)]


def test_thread_01_a_network_error_is_no_absence() -> None:
    """hummingbot #8457: network error counted as "not found" x3, six live orders dropped. Absence must be proven."""
    bench = Bench()
    orders = [bench.order(f"r{number}") for number in range(6)]
    for order in orders:
        bench.tell(lost(order))
    for _ in range(20):
        bench.until_asked()
        bench.answer(fails=True)
        bench.wait(30 * SECOND)
    assert {bench.status(order) for order in orders} == {S.UNKNOWN}
    # One round without a trace of it is no proof either; a failure in between starts the count anew.
    bench.until_asked()
    bench.answer()
    bench.until_asked()
    bench.answer(fails=True)
    bench.until_asked()
    bench.answer()
    assert {bench.status(order) for order in orders} == {S.UNKNOWN}
    for number, order in enumerate(orders):
        bench.tell(fill(order, f"t{number}", "1"))
    assert {bench.status(order) for order in orders} == {S.FILLED}
    assert len(bench.fills()) == 6


@pytest.mark.parametrize("fill_comes", ["by itself", "by query"])
def test_thread_02_a_fill_that_overtakes_its_cancel_is_hedged(fill_comes: str) -> None:
    """hummingbot #8094: cancel sent, maker filled 15 ms later, "-2011 Order filled": no hedge, naked."""
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(CancelRequest(bench.now, "r1"))
    bench.now += 15_000_000
    if fill_comes == "by itself":
        bench.tell(fill(order, "t1", "1"))
        bench.tell(CancelRejected(bench.now, *key(order), RejectReason.UNKNOWN_ORDER, "-2011"))
    else:
        bench.tell(CancelRejected(bench.now, *key(order), RejectReason.UNKNOWN_ORDER, "-2011"))
        assert not bench.last().is_final, "an order whose cancel was refused is not over"
        bench.answer(view(order, S.FILLED, "1"), fill(order, "t1", "1"))
    # The fill is told with its basket: that is what hedges it.
    (event,) = bench.fills()
    assert (event.basket_id, event.fill.qty) == ("b", D(1))
    assert (bench.last().status, bench.last().is_final) == (S.FILLED, True)


def test_thread_03_a_time_out_is_no_failure_and_nothing_is_sent_twice() -> None:
    """hummingbot #493: timeouts treated as failures: duplicate orders."""
    bench = Bench()
    order = bench.order()
    bench.wait(6 * SECOND)
    assert bench.status(order) is S.UNKNOWN
    bench.tell(OrderApproved(bench.now, ask()))
    for _ in range(10):
        bench.wait(30 * SECOND)
    assert [one.client_order_id for one in submits(bench)] == [order.client_order_id]
    assert bench.incidents() == ["duplicate_request"]
    assert bench.status(order) is S.UNKNOWN


def test_thread_04_orders_that_may_be_dead_count_until_they_are() -> None:
    """hummingbot #3374: six "dead" buys filled after network errors: far more inventory than intended."""
    limits = InstrumentLimits(position_qty_max=D(6))
    desk = Desk(RiskConfig(limits, starts_read_only=False, duplicate_window_ns=0))
    for number in range(6):
        desk.tell(ask(f"r{number}"))
    for order in desk.submits():
        desk.tell(lost(order))
    desk.tell(ask("one more"))
    desk.wait(3_600 * SECOND)
    # The book has gone stale by then; what counts here is that the position's room is taken.
    desk.tell(BookView(desk.now, PERP_ID, 999, 1, 1001, 1))
    desk.tell(ask("and one"))
    assert len(desk.submits()) == 6
    for number, order in enumerate(desk.submits()):
        desk.tell(fill(order, f"t{number}", "1"))
    states = [one.order for one in desk.manager.state.orders.values()]
    assert {one.status for one in states} == {S.FILLED}
    assert sum((one.filled_qty for one in states), ZERO) == D(6)
    assert desk.gate.state.orders == {}


def test_thread_06_a_close_that_filled_unseen_is_found_not_repeated() -> None:
    """hummingbot #7503: market close filled but not seen; retries until FAILED."""
    bench = Bench()
    close = changed(ask("close"), side=Side.SELL, type=OrderType.MARKET, price=None, reduce_only=True)
    bench.tell(OrderApproved(bench.now, close))
    (order,) = submits(bench)
    bench.until_asked()
    bench.answer(view(order, S.FILLED, "1"), fill(order, "t1", "1"))
    assert (bench.last().status, bench.last().is_final, len(bench.fills())) == (S.FILLED, True, 1)
    bench.wait(600 * SECOND)
    assert submits(bench) == [order]


class Deaf(Actor):
    """A strategy that goes on asking for orders whatever it is told."""

    publishes: ClassVar = (OrderRequest, BracketRequest, ScheduleOrder)

    def __init__(self) -> None:
        super().__init__("deaf")
        self.state = None

    def start(self, now: int) -> None:
        self.out.emit(ScheduleOrder(now, ask("scheduled"), now + 5 * SECOND))
        self.out.timer("again", now + SECOND)

    def on_timer(self, now: int, key: str) -> None:
        self.out.emit(ask(f"deaf-{now}", tif=TimeInForce.GTC))
        self.out.emit(changed(bracket(), group_id=f"g{now}"))
        self.out.emit(ScheduleOrder(now, ask(f"late-{now}"), now + SECOND // 2))
        self.out.timer("again", now + SECOND)


def test_thread_13_nothing_is_placed_while_the_desk_stops() -> None:
    """hummingbot #8075: new orders placed during shutdown: gate at the gateway, not in the strategy."""
    desk = Desk(RiskConfig(starts_read_only=False, duplicate_window_ns=0), Deaf())
    desk.wait(2 * SECOND)
    placed = desk.submits()
    assert len(placed) >= 2
    desk.tell(StopCommand(desk.now, "SIGTERM"))
    cancelled = {one.client_order_id for one in desk.sent if isinstance(one, CancelOrder)}
    resting = {one.client_order_id for one in placed if one.tif is TimeInForce.GTC}
    assert cancelled == resting
    desk.wait(8 * SECOND)
    assert desk.submits() == placed


def test_thread_16_a_lunch_break_is_waited_out() -> None:
    """vnpy #1298: hedge leg re-sent or cancelled > 20,000 times over the lunch break: attempt budget and calendar."""
    venue = ScriptedVenue(by_instrument={PERP.id: [Outcome(ZERO)]})
    cell = Harness(venue=venue)
    sessions = Sessions(AttemptConfig(attempts=10), {}, SessionState())
    cell.desk.state.denying = lambda request: (
        f"{Reason.SESSION_CLOSED}: {why}" if (why := sessions.closed_why(cell.now, request)) else ""
    )
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")

    def break_begins(order: SubmitOrder) -> None:
        sessions.told(cell.now, PERP.id, InstrumentState.CLOSE)
        sessions.told(cell.now, SPOT.id, InstrumentState.CLOSE)

    cell.on_submit = break_begins
    hours = 3_600 * SECOND
    legs = (buy(SPOT, "1"), sell(PERP, "1"))
    cell.tell(BasketIntent(cell.now, "b1", "s", legs, risk_budget=D("1e12"), deadline_ns=10 * hours))
    before = len([one for one in cell.commands if isinstance(one, SubmitOrder)])
    assert before == 2
    cell.advance(hours // 3)
    basket = cell.executor.state.baskets["b1"]
    assert len([one for one in cell.commands if isinstance(one, SubmitOrder)]) == before
    assert (basket.misses, basket.state) == (0, BasketState.HEDGING)
    cell.on_submit = lambda order: None
    for instrument in (PERP.id, SPOT.id):
        sessions.told(cell.now, instrument, InstrumentState.OPEN)
    cell.advance(2 * SECOND)
    assert cell.states("b1")[-1] in (BasketState.BALANCED, BasketState.FLAT)
    assert cell.venue.net_base() == ZERO


def test_thread_16_an_execution_that_never_gets_on_is_stopped() -> None:
    """The same while the market is open: ten attempts a minute, not 20,000."""
    config = RiskConfig(attempts=AttemptConfig(attempts=10), starts_read_only=False, orders_per_window=1_000_000)
    desk = Desk(config)
    for number in range(1_000):
        desk.tell(changed(ask(f"r{number}"), reduce_only=True, side=Side.SELL))
    assert len(desk.submits()) == 10


def test_thread_18_a_restart_drops_no_order_and_repeats_none() -> None:
    """nautilus #3176, #3046, #5000: restart: duplicate orders, replayed fills, 14 working orders dropped."""
    bench = Bench()
    orders = [bench.order(f"r{number}") for number in range(14)]
    for number, order in enumerate(orders):
        bench.tell(ack(order))
        bench.tell(fill(order, f"t{number}", "0.4"))
    again = Bench()
    again.now = bench.now
    again.manager.restore(json.loads(json.dumps(bench.manager.snapshot())))
    again.tell(VenueDown(again.now, PERP.venue, "", "restart"))
    again.tell(VenueUp(again.now, PERP.venue))
    asked = {query.client_order_id for query in again.queries() if query.kind is QueryKind.ORDER}
    assert asked == {order.client_order_id for order in orders}
    replayed = tuple(fill(order, f"t{number}", "0.4") for number, order in enumerate(orders))
    views = {order.client_order_id: view(order, S.PARTIALLY_FILLED, "0.4") for order in orders}
    for query in again.queries():
        if query.kind is QueryKind.ORDER:
            found = (views[query.client_order_id or ""],)
            again.tell(QueryResult(again.now, ACC, query.query_id, query.kind, orders=found))
        else:
            again.tell(QueryResult(again.now, ACC, query.query_id, query.kind, fills=replayed))
    assert {again.status(order) for order in orders} == {S.PARTIALLY_FILLED}
    assert {again.filled(order) for order in orders} == {D("0.4")}
    assert again.fills() == []
    assert submits(again) == []
    fresh = again.order("r14")
    assert fresh.client_order_id not in {order.client_order_id for order in orders}


def test_thread_19_no_fill_is_inferred_and_no_time_out_is_a_refusal() -> None:
    """nautilus #3493, #4958: inferred fills before real ones: overfill; in-flight timeout: REJECTED, orphans."""
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    # The venue's total is ahead of its fills: they are asked for, not made up.
    bench.tell(OrderCanceled(bench.now, *key(order), D("0.7")))
    assert (bench.filled(order), bench.last().is_final) == (ZERO, False)
    bench.answer(None, fill(order, "a", "0.3"), fill(order, "b", "0.4"))
    bench.tell(fill(order, "a", "0.3"))
    assert (bench.filled(order), bench.last().is_final) == (D("0.7"), True)
    assert bench.manager.state.overfills == 0
    silent = bench.order("r2")
    bench.wait(3_600 * SECOND)
    assert bench.status(silent) is S.UNKNOWN
    bench.tell(fill(silent, "c", "1"))
    assert sum((event.fill.qty for event in bench.fills()), ZERO) == Decimal("1.7")


@pytest.mark.parametrize("truth", ["filled", "lags"])
def test_thread_20_a_cancel_that_fails_frees_nothing(truth: str) -> None:
    """passivbot #514, freqtrade #9128, #9273: cancel fails because filled, bot re-orders; status lags after cancel."""
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    world.is_prompt = False
    (stop,) = world.stops()
    # The target fills in part: the stop is to be replaced by one over the rest.
    world.market_fills(world.targets()[0], "0.4")
    world.arrives(0)
    assert [one.client_order_id for one in world.commands if isinstance(one, CancelOrder)] == [
        stop.command.client_order_id
    ]
    if truth == "filled":
        # It was filled before the cancel came: position closed, and nothing may be placed instead of it.
        world.market_fills(stop, "0.6")
    assert len(world.recorder.requests(Role.STOP)) == 1, "nothing is placed while the cancel is under way"
    world.is_prompt = True
    world.settle()
    world.wait(60 * SECOND)
    stops = world.recorder.requests(Role.STOP)
    if truth == "filled":
        assert world.venue.position == ZERO
        assert len(stops) == 1
    else:
        assert [one.qty for one in stops] == [D(1), D("0.6")]
        assert world.exits() == (D("0.6"), D("0.6"))


def test_thread_20_a_status_that_lags_behind_its_cancel_raises_no_ghost() -> None:
    """The query's answer was older than the cancel: no alarm, no new position, and it is asked again."""
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(lost(order, "CancelOrder"))
    queries = bench.queries()
    bench.tell(OrderCanceled(bench.now, *key(order), ZERO))
    assert bench.last().is_final
    bench.manager._inquire(bench.now, bench.manager.state.orders[order.client_order_id])
    bench.answer(view(order, S.ACCEPTED))
    assert len(queries) == 2
    bench.until_asked()
    bench.answer(view(order, S.CANCELED))
    assert (bench.incidents(), bench.triggers(), bench.status(order)) == ([], [], S.CANCELED)
