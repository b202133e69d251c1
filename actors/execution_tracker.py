"""Decides what an execution's record says: what was wanted at which prices, when it was sent, and what came of it.

All of it is for edges to read, the counts when somebody scrapes, the records after each run of the cell: nobody is told
and no timer is set, so that no run depends on it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

from actors.base import Actor, handles
from actors.basket import ACTIVE, ENDED
from actors.basket_records import BasketCost
from actors.execution_counts import LATENCY_BOUNDS, SLIPPAGE_BOUNDS, SLIPPAGE_UNIT, Ordered, Traded
from actors.executions import ExecutionIntent, ExecutionReport
from actors.ledger import unbookable
from actors.messages import (
    BasketState,
    BasketUpdate,
    BookView,
    FeedStatus,
    FillEvent,
    OrderApproved,
    OrderDenied,
    OrderUpdate,
    PreflightRequest,
)
from actors.post_trade import FillBusted
from actors.risk_checks import unit_notional
from actors.tracker_records import (
    BasketRecord,
    ChildRecord,
    Decision,
    FillRecord,
    LegRecord,
    ParentRecord,
    Record,
    TrackerConfig,
    TrackerState,
    are_numbers,
    fill_key,
)
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderStatus, Side

_BUY = Side.BUY
_SENT, _UNKNOWN = OrderStatus.SENT, OrderStatus.UNKNOWN
_PENDING = frozenset({BasketState.PLANNED, BasketState.RESERVED})

_R = TypeVar("_R", bound=Record)


class ExecutionTracker(Actor):
    """Follows every order and basket of the configured `instruments` from its request to its end."""

    state: TrackerState

    def __init__(
        self, instruments: Mapping[str, Instrument], config: TrackerConfig | None = None, name: str = ""
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.config = config or TrackerConfig()
        self.state = TrackerState()

    @handles(BookView)
    def on_book(self, now: int, view: BookView) -> None:
        self.state.touches[view.instrument] = view

    @handles(FeedStatus)
    def on_feed(self, now: int, status: FeedStatus) -> None:
        if not status.is_live:
            self.state.touches.pop(status.instrument, None)

    # Orders

    @handles(OrderApproved)
    def on_approved(self, now: int, approved: OrderApproved) -> None:
        order, state = approved.request, self.state
        state.orders[order.request_id] = ChildRecord(order, now, state.touches.get(order.instrument))
        if len(state.orders) > self.config.working:
            del state.orders[next(iter(state.orders))]

    @handles(OrderDenied)
    def on_denied(self, now: int, denied: OrderDenied) -> None:
        order = denied.request
        if not are_numbers(order.qty, order.price, order.trigger_price):
            return
        child = ChildRecord(order, None, self.state.touches.get(order.instrument), why="; ".join(denied.reasons))
        self._finish(now, child)

    @handles(OrderUpdate)
    def on_update(self, now: int, update: OrderUpdate) -> None:
        child = self.state.orders.get(update.request_id)
        if child is None:
            self._after_end(now, update)
            return
        child.client_order_id = update.client_order_id
        status = child.status = update.status
        if child.acked_ns is None and status is not _SENT and status is not _UNKNOWN:
            child.acked_ns = now
        if update.is_final:
            child.reject_reason, child.why = update.reject_reason, update.why
            del self.state.orders[update.request_id]
            self._count(child, update)
            self._finish(now, child)

    def _after_end(self, now: int, update: OrderUpdate) -> None:
        """An ended order may come to another end by a late fill."""
        child = self.state.ended_orders.get(update.request_id)
        if child is not None and update.is_final and child.status is not update.status:
            child.status, child.why = update.status, update.why
            self._keep(self.state.ended_orders, update.request_id, child)

    def _finish(self, now: int, child: ChildRecord) -> None:
        order, state = child.request, self.state
        child.ended_ns, child.end = now, state.touches.get(order.instrument)
        child.decided_ns, child.decision = order.ts, child.arrival
        basket = self._basket(order.basket_id) if order.basket_id else None
        leg = self._leg(basket, child) if basket is not None else None
        if basket is not None and leg is not None and child.sent_ns is not None:
            basket.orders += 1
            if leg.arrival_ns is None or child.sent_ns < leg.arrival_ns:
                leg.arrival_ns, leg.arrival = child.sent_ns, child.arrival
            self._tell_again(now, basket)
        parent = state.parents.get(order.parent_id)
        if parent is not None:
            child.decided_ns, child.decision = parent.ns, parent.touch
        elif basket is not None and leg is not None:
            child.decided_ns, child.decision = basket.decided_ns, leg.decision
        self._keep(state.ended_orders, order.request_id, child)

    def _count(self, child: ChildRecord, update: OrderUpdate) -> None:
        """Judge an order that is final: its average price against the touch, what it got of what it asked for."""
        spec, order, done = self.instruments.get(update.instrument), child.request, child.done
        if spec is None:
            return
        key = f"{spec.id}|{order.type}"
        ordered = self.state.ordered.get(key)
        if ordered is None:
            ordered = self.state.ordered[key] = Ordered()
        status = update.status.value
        ordered.statuses[status] = ordered.statuses.get(status, 0) + 1
        view = child.arrival
        touch = (view.ask if order.side is _BUY else view.bid) * spec.tick_size if view is not None else ZERO
        if touch <= ZERO:
            return
        unit = unit_notional(spec, touch)
        ordered.requested += update.qty * unit
        ordered.filled += min(update.filled_qty, update.qty) * unit
        if done.qty <= ZERO:
            return
        off = (done.cost / done.qty - touch) * update.side.sign / touch
        traded = self._traded(spec.id, update.strategy)
        traded.slippage.add(int(off * SLIPPAGE_UNIT), SLIPPAGE_BOUNDS)
        money = off * done.qty * unit
        if money > ZERO:
            traded.slippage_cost += money
        else:
            traded.slippage_gain -= money

    def _traded(self, instrument: str, strategy: str) -> Traded:
        key = f"{instrument}|{strategy}"
        traded = self.state.traded.get(key)
        if traded is None:
            traded = self.state.traded[key] = Traded()
        return traded

    # Parents

    @handles(ExecutionIntent)
    def on_intent(self, now: int, intent: ExecutionIntent) -> None:
        parents = self.state.parents
        parents[intent.parent_id] = Decision(now, self.state.touches.get(intent.instrument))
        if len(parents) > self.config.working:
            del parents[next(iter(parents))]

    @handles(ExecutionReport)
    def on_report(self, now: int, report: ExecutionReport) -> None:
        self.state.parents.pop(report.parent_id, None)
        if not are_numbers(report.qty):
            return
        known = self.state.ended_parents.get(report.parent_id)
        busted = known.busted_qty if known is not None else ZERO
        self._keep(self.state.ended_parents, report.parent_id, ParentRecord(0, report, busted))

    # Fills

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        fill, state = event.fill, self.state
        if unbookable(fill, self.instruments.get(fill.instrument), True):
            return
        traded = self._traded(fill.instrument, event.strategy)
        traded.fills += 1
        if fill.fee:
            into = traded.fees if fill.fee > ZERO else traded.rebates
            into[fill.fee_asset] = into.get(fill.fee_asset, ZERO) + abs(fill.fee)
        self._keep(state.fills, fill_key(fill), FillRecord(0, event, now, state.touches.get(fill.instrument)))
        child = state.orders.get(event.request_id)
        if child is not None:
            if child.sent_ns is not None:
                traded.latency.add(now - child.sent_ns, LATENCY_BOUNDS)
            child.done.book(now, fill, child.request.side)
        elif event.request_id:
            self._late(now, event)
        if event.basket_id:
            self._book_basket(now, event)

    def _late(self, now: int, event: FillEvent) -> None:
        child = self.state.ended_orders.get(event.request_id)
        if child is not None:
            child.done.book(now, event.fill, child.request.side)
            self._keep(self.state.ended_orders, event.request_id, child)

    def _book_basket(self, now: int, event: FillEvent) -> None:
        fill, basket = event.fill, self._basket(event.basket_id)
        if basket is None:
            return
        leg = basket.leg(fill.account, fill.instrument, fill.position_side)
        child = self.state.orders.get(event.request_id)
        if leg is None and child is not None:
            leg = self._leg(basket, child)
        if leg is not None:
            leg.done.book(now, fill, leg.side)
            self._tell_again(now, basket)

    def _leg(self, basket: BasketRecord, child: ChildRecord) -> LegRecord:
        """Return the leg that an order trades; of a close that was never planned aloud, its first order is the leg."""
        order = child.request
        leg = basket.leg(order.account, order.instrument, order.position_side)
        if leg is None:
            leg = LegRecord(order.account, order.instrument, order.position_side, order.side, order.qty, child.arrival)
            basket.legs.append(leg)
        return leg

    @handles(FillBusted)
    def on_bust(self, now: int, bust: FillBusted) -> None:
        """Take a fill off again wherever it was counted; the counts for metrics say what traded, and stay."""
        fill, state = bust.fill, self.state
        key = fill_key(fill)
        record = state.fills.get(key)
        if record is None:
            # Told long ago: it is kept again, so that whoever has it stored hears of its end.
            event = FillEvent(fill.ts, bust.request_id, bust.strategy, bust.basket_id, fill)
            record = FillRecord(0, event, fill.ts, None)
        if record.busted_ns is not None:
            return
        record.busted_ns, record.bust_why = now, bust.why
        self._keep(state.fills, key, record)
        child = state.orders.get(bust.request_id)
        ended = state.ended_orders.get(bust.request_id)
        if child is not None:
            child.done.take_back(fill, child.request.side)
        elif ended is not None:
            ended.done.take_back(fill, ended.request.side)
            self._keep(state.ended_orders, bust.request_id, ended)
        followed = child or ended
        parent = state.ended_parents.get(followed.request.parent_id) if followed is not None else None
        if parent is not None:
            parent.busted_qty += fill.qty
            self._keep(state.ended_parents, parent.report.parent_id, parent)
        basket = self._basket(bust.basket_id)
        leg = basket.leg(fill.account, fill.instrument, fill.position_side) if basket is not None else None
        if basket is not None and leg is not None:
            leg.done.take_back(fill, leg.side)
            self._tell_again(now, basket)

    # Baskets

    def _basket(self, basket_id: str) -> BasketRecord | None:
        return self.state.baskets.get(basket_id) or self.state.ended_baskets.get(basket_id)

    @handles(PreflightRequest)
    def on_plan(self, now: int, plan: PreflightRequest) -> None:
        touches = self.state.touches
        legs = [
            LegRecord(leg.account, leg.instrument, leg.position_side, leg.side, leg.qty, touches.get(leg.instrument))
            for leg in plan.legs
        ]
        self._follow(BasketRecord(plan.basket_id, plan.strategy, plan.closes, now, legs, marked_ns=now))

    def _follow(self, basket: BasketRecord) -> None:
        baskets = self.state.baskets
        baskets[basket.basket_id] = basket
        if len(baskets) > self.config.working:
            del baskets[next(iter(baskets))]

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        state, basket = self.state, self.state.baskets.get(update.basket_id)
        if update.state in _PENDING:
            return
        if basket is None:
            basket = state.ended_baskets.get(update.basket_id)
            if basket is not None:
                self._again(now, basket, update)
                return
            if update.state not in ACTIVE:
                return
            basket = BasketRecord(update.basket_id, update.strategy, update.closes, now, [], marked_ns=now)
            self._follow(basket)
        self._mark(now, basket, update.unhedged)
        basket.state, basket.why = update.state, update.why
        if update.state in ENDED:
            del state.baskets[update.basket_id]
            # What was refused before its first order is no execution.
            if basket.placed_ns is not None:
                self._end_basket(now, basket)
        elif basket.placed_ns is None:
            basket.placed_ns = now

    def _again(self, now: int, basket: BasketRecord, update: BasketUpdate) -> None:
        """An ended basket is at work again, came to another end, or was taken off by others."""
        self._mark(now, basket, update.unhedged)
        if update.state in ACTIVE:
            del self.state.ended_baskets[basket.basket_id]
            basket.state, basket.why, basket.ended_ns = update.state, update.why, None
            self._follow(basket)
        elif update.state is BasketState.FLAT and basket.closes is None and basket.closed_ns is None:
            basket.closed_ns = now
            self._keep(self.state.ended_baskets, basket.basket_id, basket)
        elif update.state is not basket.state and update.state is not BasketState.FLAT:
            basket.state, basket.why = update.state, update.why
            self._keep(self.state.ended_baskets, basket.basket_id, basket)

    def _mark(self, now: int, basket: BasketRecord, unhedged: Decimal) -> None:
        basket.unhedged += basket.notional * (now - basket.marked_ns)
        basket.marked_ns, basket.notional = now, unhedged
        basket.unhedged_max = max(basket.unhedged_max, unhedged)

    def _end_basket(self, now: int, basket: BasketRecord) -> None:
        basket.ended_ns = now
        for leg in basket.legs:
            leg.end = self.state.touches.get(leg.instrument)
        self._keep(self.state.ended_baskets, basket.basket_id, basket)

    def _tell_again(self, now: int, basket: BasketRecord) -> None:
        """Keep the record of a basket anew when it had ended."""
        if basket.ended_ns is not None:
            self._end_basket(now, basket)

    @handles(BasketCost)
    def on_cost(self, now: int, cost: BasketCost) -> None:
        basket = self._basket(cost.basket_id)
        if basket is not None:
            basket.cost = cost
            if basket.ended_ns is not None:
                self._keep(self.state.ended_baskets, basket.basket_id, basket)

    # Records

    def _keep(self, table: dict[str, _R], key: str, record: _R) -> None:
        """Give a record the next number and the last place of its table."""
        state = self.state
        state.last += 1
        record.number = state.last
        table.pop(key, None)
        table[key] = record
        if len(table) > self.config.keep:
            oldest = table.pop(next(iter(table)))
            state.forgotten = max(state.forgotten, oldest.number)
