"""Decides when conditional orders trigger, and what becomes of them: the algo service in front of the matching engine.

Source: facts C3 and ALGO_UPDATE streams recorded in March 2026: NEW, TRIGGERING, the order itself under the same
client id, TRIGGERED, and FINISHED when that order is over; no margin is looked at before the trigger.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from sim.emulator.algo_placing import place_triggered
from sim.emulator.events import AlgoEvent, Event, OrderEvent
from sim.emulator.records import AlgoRecord
from venues.model.money import ZERO
from venues.port import MarkPrice, Trade

if TYPE_CHECKING:
    from sim.emulator.host import Host

_MS = 1_000_000
_FIRST_ID = 2_000_000_540_000_000
_KEPT = 10_000
_HUNDRED = Decimal(100)


@define
class _Trail:
    """A trailing stop's best price since its activation."""

    is_active: bool = False
    best: Decimal | None = None


@define
class AlgoService:
    """The account's conditional orders, the last of them."""

    host: "Host"
    orders: dict[int, AlgoRecord] = field(factory=dict)
    live: dict[int, AlgoRecord] = field(factory=dict)
    _trails: dict[int, _Trail] = field(factory=dict)
    _placed: dict[int, AlgoRecord] = field(factory=dict)
    _ids: int = _FIRST_ID

    def add(self, record: AlgoRecord) -> None:
        """Take a new conditional order and give it its number."""
        self._ids += 1
        record.algo_id = self._ids
        self.orders[record.algo_id] = self.live[record.algo_id] = record
        if record.order_type == "TRAILING_STOP_MARKET":
            self._trails[record.algo_id] = _Trail()
        while len(self.orders) > _KEPT:
            self._drop_oldest()
        self._tell(self.host.catch_up(), record)

    def _drop_oldest(self) -> None:
        oldest = next((number for number, one in self.orders.items() if not one.is_open), next(iter(self.orders)))
        del self.orders[oldest]
        self._trails.pop(oldest, None)

    def open_orders(self, symbol: str | None = None) -> list[AlgoRecord]:
        return [one for one in self.live.values() if symbol in {None, one.symbol}]

    def find(self, algo_id: int | None, client_algo_id: str | None) -> AlgoRecord | None:
        """Return an order by its number, or the newest of a client id."""
        if algo_id is not None:
            return self.orders.get(algo_id)
        return next((one for one in reversed(self.orders.values()) if one.client_algo_id == client_algo_id), None)

    def cancel(self, record: AlgoRecord, status: str = "CANCELED") -> None:
        now = self.host.catch_up()
        if record.is_open:
            self._end(now, record, status)

    def _end(self, now: int, record: AlgoRecord, status: str) -> None:
        record.status, record.update_ms = status, now // _MS
        self.live.pop(record.algo_id, None)
        self._trails.pop(record.algo_id, None)
        self._tell(now, record)

    def _tell(self, now: int, record: AlgoRecord) -> None:
        self.host.tell([AlgoEvent(now, evolve(record))])

    # Triggers

    def next_deadline(self) -> int | None:
        """Return when the first of them expires (GTD)."""
        return min((one.good_till_ms * _MS for one in self.open_orders() if one.good_till_ms), default=None)

    def on_time(self, now: int) -> None:
        for one in self.open_orders():
            if one.good_till_ms and one.good_till_ms * _MS <= now:
                self._end(now, one, "EXPIRED")

    def on_trade(self, now: int, trade: Trade) -> None:
        """Look at what watches last prices."""
        listing = self.host.by_id[trade.instrument]
        self._look(now, listing.symbol, "CONTRACT_PRICE", listing.spec.price(trade.price))

    def on_mark(self, now: int, mark: MarkPrice) -> None:
        """Look at what watches mark prices."""
        self._look(now, self.host.by_id[mark.instrument].symbol, "MARK_PRICE", mark.mark)

    def _look(self, now: int, symbol: str, working: str, price: Decimal) -> None:
        for one in self.open_orders(symbol):
            if one.working_type == working and one.is_open and self._is_reached(one, price):
                self._trigger(now, one)

    def _is_reached(self, one: AlgoRecord, price: Decimal) -> bool:
        if one.order_type == "TRAILING_STOP_MARKET":
            return self._is_given_back(one, price)
        return is_reached(one.order_type, one.side, one.trigger_price, price)

    def _is_given_back(self, one: AlgoRecord, price: Decimal) -> bool:
        trail, sells = self._trails[one.algo_id], one.side == "SELL"
        if not trail.is_active:
            start = one.activation_price
            trail.is_active = not start or (price >= start if sells else price <= start)
        if not trail.is_active:
            return False
        if trail.best is None or (price > trail.best if sells else price < trail.best):
            trail.best = price
        rate = one.callback_rate / _HUNDRED
        return price <= trail.best * (1 - rate) if sells else price >= trail.best * (1 + rate)

    def _trigger(self, now: int, one: AlgoRecord) -> None:
        one.status, one.trigger_ms, one.update_ms = "TRIGGERING", now // _MS, now // _MS
        del self.live[one.algo_id]
        self._trails.pop(one.algo_id, None)
        self._tell(now, one)
        why = place_triggered(self.host, one)
        if why:
            one.status, one.reject_reason = "REJECTED", why
            self._tell(now, one)
            return
        one.status = "TRIGGERED"
        self._tell(now, one)
        order = self.host.ledger.orders.get(one.actual_order_id)
        if order is not None and order.is_open:
            self._placed[one.actual_order_id] = one
        elif order is not None:
            one.actual_price, one.actual_qty = order.avg_price, order.executed_qty
            self._end(now, one, "FINISHED")

    def on_events(self, now: int, events: Sequence[Event]) -> None:
        """Notice that orders which conditional orders became are over."""
        for event in events:
            if isinstance(event, OrderEvent) and event.order.order_id in self._placed and not event.order.is_open:
                one = self._placed.pop(event.order.order_id)
                one.actual_price, one.actual_qty = event.order.avg_price, event.order.executed_qty
                self._end(now, one, "FINISHED")


def is_reached(order_type: str, side: str, trigger: Decimal, price: Decimal) -> bool:
    """Whether `price` triggers: stops at or through their price, take-profits at or beyond it on the other side."""
    rising = (side == "BUY") is not order_type.startswith("TAKE_PROFIT")
    return trigger > ZERO and (price >= trigger if rising else price <= trigger)
