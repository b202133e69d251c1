"""Deliberate bugs in the order path: two for each of the twenty threads of the field, planted one at a time.

Each is what the thread's system did, done to ours. A bug is planted by replacing a method for the length of a run, and
has to be caught by an invariant of the torture. The faults are those under which the bug shows.
"""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from actors.atomic_executor import AtomicExecutor
from actors.basket import Basket
from actors.basket_book import BasketBook
from actors.kill_switch import KillSwitch
from actors.ledger import Ledger
from actors.lost_legs import LostLegs
from actors.messages import KillLevel, StopCommand
from actors.order_desk import OrderDesk
from actors.order_manager import OrderManager
from actors.order_records import Tracked
from actors.risk_gate import RiskGate
from actors.risk_lines import Lines
from daemon.live.recovery import RecoveryError
from daemon.torture.desk import PERPETUAL, VENUES, DeskSettings
from daemon.torture.invariants import InvariantError
from daemon.torture.run import Torture
from daemon.torture.script import (
    CRASHES,
    ON_CANCEL,
    ON_POSITION,
    ON_SUBMIT,
    SECOND_NS,
    START_NS,
    Fault,
    FaultKind,
    Script,
)
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Order, OrderEvent, OrderStatus
from venues.port import OrderFilled, SubmitOrder

K = FaultKind
Replace = Callable[[Any, str, Any], None]
"""Puts something in the place of a class's attribute (`pytest.MonkeyPatch.setattr`)."""


@frozen
class Sabotage:
    """One bug: its number among the threads, how it is planted (which says what it does), the faults it shows under.

    There are `seconds` of faults, one of `kinds` in turn every `every` seconds. `stops_at` is when the desk is told to
    stop, `hold_ms` how long a basket is held.
    """

    thread: int
    plant: Callable[[Replace], None]
    kinds: tuple[FaultKind, ...]
    seconds: int = 90
    every: int = 3
    stops_at: int | None = None
    is_armed: bool = True
    is_once: bool = True
    hold_ms: int = 4_000

    @property
    def name(self) -> str:
        return self.plant.__name__


def faults(sabotage: Sabotage, seed: int) -> tuple[Fault, ...]:
    found = []
    for number, second in enumerate(range(4, sabotage.seconds, sabotage.every)):
        kind = sabotage.kinds[number % len(sabotage.kinds)]
        turn = number // len(sabotage.kinds) + seed
        at = ""
        length = 6
        if kind in ON_SUBMIT:
            at = VENUES[turn % 2]
        elif kind in ON_CANCEL:
            at = "spot_venue"
        elif kind in ON_POSITION or kind in (K.SPIKE, K.LIQUIDATION):
            at, length = PERPETUAL, 1
        elif kind in (K.QUERIES_FAIL, K.QUERIES_SILENT, K.DOWN, K.HALF_OPEN):
            at = VENUES[turn % 2]
            length = 3 if kind in (K.DOWN, K.HALF_OPEN) else 15
        elif kind is K.THIN:
            at = PERPETUAL
        elif kind in CRASHES:
            length = 10
        found.append(Fault(kind, second * SECOND_NS, length * SECOND_NS, at, seed * 1_000 + number, sabotage.is_once))
    return tuple(found)


def run(sabotage: Sabotage, seed: int, folder: Path) -> str:
    """Play one seed on the desk as it is now; return what was wrong, empty when nothing was noticed."""
    seconds = sabotage.seconds + 60
    script = Script(seed, seconds * SECOND_NS, faults(sabotage, seed))
    stops = () if sabotage.stops_at is None else (StopCommand(START_NS + sabotage.stops_at * SECOND_NS, "drill"),)
    settings = DeskSettings(seed, seconds, hold_ms=sabotage.hold_ms)
    try:
        torture = Torture(folder, settings, script, is_armed=sabotage.is_armed, inputs=stops)
        torture.run()
        torture.check_end(is_alive=sabotage.stops_at is None)
    except (InvariantError, RecoveryError) as error:
        return str(error)
    return ""


# 1: a network error is no "not found"


def failed_query_proves_absence(replace: Replace) -> None:
    def unanswered(self: OrderManager, now: int, failed: Any) -> None:
        owner = self.state.queries.pop(failed.query_id, None)
        inquiry = self.state.inquiries.get(owner) if owner is not None else None
        if owner is not None and inquiry is not None and failed.query_id in inquiry.outstanding:
            tracked = self.state.orders[owner]
            self._judge(now, tracked, inquiry, inquiry.answer(now, failed.query_id, False, self._pace, now))

    replace(OrderManager, "unanswered", _handles(OrderManager.unanswered, unanswered))


def silent_query_proves_absence(replace: Replace) -> None:
    sweep = OrderDesk._sweep

    def hasty(self: OrderDesk, now: int) -> None:
        for client_id, inquiry in list(self.state.inquiries.items()):
            if inquiry.is_waiting and inquiry.due_ns(self._pace) <= now:
                for query_id in list(inquiry.outstanding):
                    self.state.queries.pop(query_id, None)
                    verdict = inquiry.answer(now, query_id, False, self._pace, now)
                    self._judge(now, self.state.orders[client_id], inquiry, verdict)
        sweep(self, now)

    replace(OrderDesk, "_sweep", hasty)


# 2: a cancel refused because the order was filled


def refused_cancel_means_canceled(replace: Replace) -> None:
    def cancel_rejected(self: OrderManager, now: int, report: Any) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, "CancelRejected")
        if tracked is not None and not tracked.order.status.is_terminal:
            self._change(now, tracked, OrderEvent.CANCEL)

    replace(OrderManager, "cancel_rejected", _handles(OrderManager.cancel_rejected, cancel_rejected))


def fills_after_a_cancel_are_ignored(replace: Replace) -> None:
    book = OrderManager._book

    def deaf(self: OrderManager, now: int, report: OrderFilled, *, is_queried: bool) -> None:
        tracked = self.state.orders.get(report.client_order_id)
        if tracked is None or not tracked.is_cancel_wanted:
            book(self, now, report, is_queried=is_queried)

    replace(OrderManager, "_book", deaf)


# 3: a timeout is no failure


def timeout_means_rejected(replace: Replace) -> None:
    def lose(self: OrderDesk, now: int, tracked: Tracked, why: str) -> None:
        if tracked.order.status is OrderStatus.SENT:
            self._change(now, tracked, OrderEvent.REJECT, why)

    replace(OrderDesk, "_lose", lose)


def unanswered_order_is_sent_again(replace: Replace) -> None:
    overdue = OrderDesk._overdue

    def again(self: OrderDesk, now: int, tracked: Tracked) -> None:
        order = tracked.order
        if order.status is OrderStatus.SENT:
            key = (order.account, order.instrument, order.client_order_id)
            self.out.send(SubmitOrder(now, *key, order.side, order.qty, order.type, order.price, order.tif))
        overdue(self, now, tracked)

    replace(OrderDesk, "_overdue", again)


# 4: orders taken for dead that fill


def a_lost_connection_kills_orders(replace: Replace) -> None:
    def venue_down(self: OrderManager, now: int, report: Any) -> None:
        for tracked in self._live():
            if self._venue(tracked) == report.venue:
                event = OrderEvent.REJECT if tracked.order.status is OrderStatus.SENT else OrderEvent.CANCEL
                self._change(now, tracked, event, "connection lost")

    replace(OrderManager, "venue_down", _handles(OrderManager.venue_down, venue_down))


def fills_of_orders_asked_about_are_dropped(replace: Replace) -> None:
    book = OrderManager._book_own

    def deaf(self: OrderManager, now: int, tracked: Tracked, report: OrderFilled) -> None:
        if tracked.order.client_order_id not in self.state.inquiries:
            book(self, now, tracked, report)

    replace(OrderManager, "_book_own", deaf)


# 5: a close that is tried again opens


def a_close_may_be_repeated(replace: Replace) -> None:
    send = AtomicExecutor.send

    def twice(
        self: AtomicExecutor, now: int, basket: Basket, order: Any, *, is_first: bool, rests: bool = False
    ) -> str:
        sent = send(self, now, basket, order, is_first=is_first, rests=rests)
        if basket.closes is not None and is_first:
            tick = self.instruments[basket.legs[order.leg].instrument].tick_size
            send(self, now, basket, evolve(order, price=order.price + tick), is_first=is_first)
        return sent

    replace(AtomicExecutor, "send", twice)
    replace(Lines, "room", lambda self, order: None)


def a_close_takes_more_than_the_basket_holds(replace: Replace) -> None:
    plan = BasketBook.plan

    def doubled(self: BasketBook, now: int, intent: Any) -> Basket:
        basket = plan(self, now, intent)
        if basket.closes is not None:
            for leg in basket.legs:
                leg.target *= 2
        return basket

    replace(BasketBook, "plan", doubled)
    replace(Lines, "room", lambda self, order: None)


# 6: filled but not seen


def queried_fills_are_not_booked(replace: Replace) -> None:
    answered = OrderManager.answered

    def deaf(self: OrderManager, now: int, result: Any) -> None:
        answered(self, now, evolve(result, fills=()))

    replace(OrderManager, "answered", _handles(answered, deaf))


def an_end_does_not_wait_for_fills(replace: Replace) -> None:
    replace(Tracked, "lacks_fills", property(lambda self: False))


# 7: one leg filled, the other not


def nobody_hedges(replace: Replace) -> None:
    replace(AtomicExecutor, "_seek", lambda self, now, basket: None)


def imbalance_is_not_measured(replace: Replace) -> None:
    replace(BasketBook, "_unhedged", lambda self, basket: Decimal(0))


# 8: remainders


def remainders_are_forgotten(replace: Replace) -> None:
    def leave(self: BasketBook, basket: Basket) -> None:
        for base, net in basket.net(self.instruments).items():
            basket.carried[base] = basket.carried.get(base, Decimal(0)) - net

    replace(BasketBook, "_leave_residual", leave)


def a_coarse_quantum_hides_differences(replace: Replace) -> None:
    quanta = BasketBook._quanta

    def coarse(self: BasketBook, legs: Any) -> dict[str, Decimal]:
        return {base: step * 20 for base, step in quanta(self, legs).items()}

    replace(BasketBook, "_quanta", coarse)


# 9: funding


def funding_is_not_booked(replace: Replace) -> None:
    replace(Ledger, "on_funding", _handles(Ledger.on_funding, lambda self, now, settled: None))


def funding_has_the_wrong_sign(replace: Replace) -> None:
    on_funding = Ledger.on_funding

    def turned(self: Ledger, now: int, settled: Any) -> None:
        on_funding(self, now, evolve(settled, amount=-settled.amount))

    replace(Ledger, "on_funding", _handles(on_funding, turned))


# 10: an exit at any price


def exits_are_sent_at_market(replace: Replace) -> None:
    first = AtomicExecutor._first_order

    def priceless(self: AtomicExecutor, index: int, leg: Any, basket: Basket) -> Any:
        order = first(self, index, leg, basket)
        return order if basket.closes is None else evolve(order, price=None)

    replace(AtomicExecutor, "_first_order", priceless)


def slippage_is_not_bounded(replace: Replace) -> None:
    first = AtomicExecutor._first_order

    def loose(self: AtomicExecutor, index: int, leg: Any, basket: Basket) -> Any:
        bound, basket.max_slippage_bps = basket.max_slippage_bps, Decimal(80)
        try:
            return first(self, index, leg, basket)
        finally:
            basket.max_slippage_bps = bound

    replace(AtomicExecutor, "_first_order", loose)


# 11: the kill switch


def the_kill_switch_fails_on_its_own_report(replace: Replace) -> None:
    pull = KillSwitch._raise

    def broken(self: KillSwitch, now: int, level: KillLevel, trigger: str, why: str) -> None:
        pull(self, now, level, trigger, why)
        if level >= KillLevel.REDUCE_ONLY:
            raise KeyError(trigger)

    replace(KillSwitch, "_raise", broken)


def the_kill_switch_ignores_other_actors(replace: Replace) -> None:
    replace(KillSwitch, "on_trigger", _handles(KillSwitch.on_trigger, lambda self, now, trigger: None))


# 12: a stop that leaves a leg


def flattening_closes_one_leg(replace: Replace) -> None:
    legs = BasketBook.open_legs

    def one(self: BasketBook, basket: Basket) -> Any:
        return legs(self, basket)[:1]

    replace(BasketBook, "open_legs", one)


def flattening_is_forgotten(replace: Replace) -> None:
    replace(AtomicExecutor, "flatten_if_told", lambda self, now: None)


# 13: new orders during a shutdown


def the_gate_does_not_hear_a_stop(replace: Replace) -> None:
    replace(RiskGate, "on_stop", _handles(RiskGate.on_stop, lambda self, now, stop: None))


def the_gate_does_not_hear_a_kill(replace: Replace) -> None:
    replace(RiskGate, "on_kill", _handles(RiskGate.on_kill, lambda self, now, kill: None))


# 14: a leg that the venue takes


def a_taken_leg_is_not_noticed(replace: Replace) -> None:
    replace(LostLegs, "taken", lambda self, now, fill: None)


def a_taken_leg_is_only_written_down(replace: Replace) -> None:
    replace(LostLegs, "_lost_leg", lambda self, now, basket, why: None)


# 15: a stop before the baskets are balanced


def baskets_end_while_orders_may_fill(replace: Replace) -> None:
    replace(Basket, "is_pending", property(lambda self: False))


def a_stop_abandons_baskets(replace: Replace) -> None:
    evaluate = AtomicExecutor.evaluate

    def gone(self: AtomicExecutor, now: int, basket: Basket) -> None:
        if not self.state.is_stopping:
            evaluate(self, now, basket)

    replace(AtomicExecutor, "evaluate", gone)


# 16: attempts without end


def hedges_are_tried_for_ever(replace: Replace) -> None:
    replace(AtomicExecutor, "_is_exhausted", lambda self, basket: False)
    replace(AtomicExecutor, "_check_budget", lambda self, now, basket: None)


def misses_are_not_counted(replace: Replace) -> None:
    def missed(self: AtomicExecutor, now: int, basket: Basket, child: Any, *, is_refused: bool) -> None:
        basket.retry_at = now + self.config.hedge_retry_ns

    replace(AtomicExecutor, "_missed", missed)


# 17: one combo, two orders


def an_intent_is_sent_twice(replace: Replace) -> None:
    approved = OrderManager.approved

    def twice(self: OrderManager, now: int, message: Any) -> None:
        approved(self, now, message)
        tracked = self.state.orders[self.state.requests[message.request.request_id]]
        order = tracked.order
        if tracked.order.status is OrderStatus.SENT and message.request.request_id.endswith("#1"):
            key = (order.account, order.instrument, order.client_order_id)
            self.out.send(SubmitOrder(now, *key, order.side, order.qty, order.type, order.price, order.tif))

    replace(OrderManager, "approved", _handles(approved, twice))


def a_checkers_no_is_overheard(replace: Replace) -> None:
    checked = AtomicExecutor.checked

    def hopeful(self: AtomicExecutor, now: int, reply: Any) -> None:
        checked(self, now, evolve(reply, is_ok=True))

    replace(AtomicExecutor, "checked", _handles(checked, hopeful))


# 18: restarts


def ids_begin_anew_after_a_restart(replace: Replace) -> None:
    restore = OrderManager.restore

    def forgetful(self: OrderManager, snapshot: Any) -> None:
        restore(self, snapshot)
        self.state.next_order = 1

    replace(OrderManager, "restore", forgetful)


def live_orders_are_dropped_by_a_restart(replace: Replace) -> None:
    restore = OrderManager.restore

    def forgetful(self: OrderManager, snapshot: Any) -> None:
        restore(self, snapshot)
        for client_id in [name for name, one in self.state.orders.items() if not one.is_final]:
            del self.state.orders[client_id]
            self.state.watched.pop(client_id, None)
            self.state.inquiries.pop(client_id, None)

    replace(OrderManager, "restore", forgetful)


# 19: fills that are made up


def missing_fills_are_made_up(replace: Replace) -> None:
    over = OrderManager._over

    def inferred(self: OrderManager, now: int, report: Any, event: OrderEvent) -> None:
        tracked = self.state.orders.get(report.client_order_id)
        if tracked is not None and report.filled_qty > tracked.order.filled_qty and tracked.order.price is not None:
            order = tracked.order
            missing = report.filled_qty - order.filled_qty
            self._book(
                now,
                OrderFilled(
                    now, order.account, order.instrument, order.client_order_id, order.venue_order_id,
                    f"inferred-{order.client_order_id}", order.side, order.price or Decimal(0), missing,
                    Liquidity.TAKER, Decimal(0), "USDT", next(iter(FillReason)),
                ),
                is_queried=False,
            )  # fmt: skip
        over(self, now, report, event)

    replace(OrderManager, "_over", inferred)


def silence_means_rejected(replace: Replace) -> None:
    overdue = OrderDesk._overdue

    def given_up(self: OrderDesk, now: int, tracked: Tracked) -> None:
        if tracked.order.status is OrderStatus.SENT:
            self._change(now, tracked, OrderEvent.REJECT, "in flight for too long")
        else:
            overdue(self, now, tracked)

    replace(OrderDesk, "_overdue", given_up)


# 20: doubled and lagging reports


def repeated_fills_count_again(replace: Replace) -> None:
    add = Order.add_fill

    def again(self: Order, trade_id: str, price: Decimal, qty: Decimal) -> bool:
        self.trade_ids.discard(trade_id)
        return add(self, trade_id, price, qty)

    replace(Order, "add_fill", again)


def a_cancel_forgets_what_was_filled(replace: Replace) -> None:
    def over(self: OrderManager, now: int, report: Any, event: OrderEvent) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, type(report).__name__)
        if tracked is not None:
            self._change(now, tracked, event)

    replace(OrderManager, "_over", over)


def _handles(original: Any, replacement: Any) -> Any:
    """Let a replacement handle the same messages as the method in whose place it stands."""
    replacement.__dict__.update(original.__dict__)
    return replacement


SABOTAGES = (
    Sabotage(1, failed_query_proves_absence, (K.QUERIES_FAIL, K.UNKNOWN_DONE, K.UNKNOWN_DONE)),
    Sabotage(1, silent_query_proves_absence, (K.QUERIES_SILENT, K.UNKNOWN_DONE, K.UNKNOWN_DONE)),
    Sabotage(2, refused_cancel_means_canceled, (K.CANCEL_REFUSED,)),
    Sabotage(2, fills_after_a_cancel_are_ignored, (K.CANCEL_RACE, K.CANCEL_LOST)),
    Sabotage(3, timeout_means_rejected, (K.UNKNOWN_DONE, K.SILENT_DONE)),
    Sabotage(3, unanswered_order_is_sent_again, (K.SILENT_LOST, K.SILENT_DONE)),
    Sabotage(4, a_lost_connection_kills_orders, (K.HALF_OPEN, K.DOWN, K.DELAYED)),
    Sabotage(4, fills_of_orders_asked_about_are_dropped, (K.UNKNOWN_DONE, K.UNKNOWN_LATE)),
    Sabotage(5, a_close_may_be_repeated, (K.NO_ACK,)),
    Sabotage(5, a_close_takes_more_than_the_basket_holds, (K.NO_ACK,)),
    Sabotage(6, queried_fills_are_not_booked, (K.FILL_LOST, K.SILENT_DONE)),
    Sabotage(6, an_end_does_not_wait_for_fills, (K.FILL_AFTER_END, K.FILL_LOST)),
    Sabotage(7, nobody_hedges, (K.REJECTED, K.PARTIAL)),
    Sabotage(7, imbalance_is_not_measured, (K.SILENT_LOST, K.QUERIES_FAIL)),
    Sabotage(8, remainders_are_forgotten, (K.PARTIAL, K.REJECTED), every=1),
    Sabotage(8, a_coarse_quantum_hides_differences, (K.PARTIAL,), every=1),
    Sabotage(9, funding_is_not_booked, (K.NO_ACK,), hold_ms=20_000),
    Sabotage(9, funding_has_the_wrong_sign, (K.NO_ACK,), hold_ms=20_000),
    Sabotage(10, exits_are_sent_at_market, (K.NO_ACK,)),
    Sabotage(10, slippage_is_not_bounded, (K.NO_ACK,)),
    Sabotage(11, the_kill_switch_fails_on_its_own_report, (K.KILL,)),
    Sabotage(11, the_kill_switch_ignores_other_actors, (K.SILENT_LOST, K.ADL)),
    Sabotage(12, flattening_closes_one_leg, (K.KILL,), is_armed=False, hold_ms=200_000),
    Sabotage(12, flattening_is_forgotten, (K.KILL,), is_armed=False, hold_ms=200_000),
    Sabotage(13, the_gate_does_not_hear_a_stop, (K.ROGUE,), stops_at=40),
    Sabotage(13, the_gate_does_not_hear_a_kill, (K.KILL,)),
    Sabotage(14, a_taken_leg_is_not_noticed, (K.ADL,)),
    Sabotage(14, a_taken_leg_is_only_written_down, (K.ADL,), hold_ms=20_000),
    Sabotage(15, baskets_end_while_orders_may_fill, (K.DELAYED, K.UNKNOWN_DONE)),
    Sabotage(15, a_stop_abandons_baskets, (K.DELAYED,), stops_at=40, is_once=False),
    Sabotage(16, hedges_are_tried_for_ever, (K.REJECTED,), is_once=False),
    Sabotage(16, misses_are_not_counted, (K.REJECTED,), is_once=False),
    Sabotage(17, an_intent_is_sent_twice, (K.NO_ACK,)),
    Sabotage(17, a_checkers_no_is_overheard, (K.THIN, K.ADL)),
    Sabotage(18, ids_begin_anew_after_a_restart, (K.CRASH_AFTER_SEND, K.CRASH_AFTER_FILL)),
    Sabotage(18, live_orders_are_dropped_by_a_restart, (K.CRASH_AFTER_SEND, K.CRASH_BEFORE_SEND)),
    Sabotage(19, missing_fills_are_made_up, (K.FILL_AFTER_END, K.FILL_LOST)),
    Sabotage(19, silence_means_rejected, (K.SILENT_DONE, K.SILENT_LOST)),
    Sabotage(20, repeated_fills_count_again, (K.DUPLICATED,)),
    Sabotage(20, a_cancel_forgets_what_was_filled, (K.FILL_AFTER_CANCEL, K.FILL_AFTER_END)),
)
