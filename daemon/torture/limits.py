"""Invariant I5, counted apart from the risk gate: limits hold with everything in flight, at the moment of approval."""

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import define, field

from actors.cell import Cell
from actors.messages import FillEvent, OrderRequest, OrderUpdate
from actors.risk_config import RiskConfig
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import Side

_ASKED_MAX = 1_000
_CLOSE_SLACK = Decimal(250)
"""Quote money: what quoters and rogues may have on their way beside a close."""


@define
class _Flying:
    place: str
    side: Side
    leaves: Decimal
    price: Decimal


@define
class LimitsCount:
    """Positions, orders and messages by our own sums: from requests that were approved, fills and final updates."""

    specs: Mapping[str, Instrument]
    config: RiskConfig
    positions: dict[str, Decimal] = field(factory=dict)
    flying: dict[str, _Flying] = field(factory=dict)
    prices: dict[str, Decimal] = field(factory=dict)
    sent: deque[int] = field(factory=deque)
    ids: set[str] = field(factory=set)
    asked: dict[str, int] = field(factory=dict)

    def recover(self, cell: Cell, positions: Mapping[str, Decimal]) -> None:
        """Begin again where a recovered desk begins: what was not committed never was."""
        self.positions = dict(positions)
        self.flying.clear()
        for tracked in cell.dispatcher.actors["order_manager"].state.orders.values():
            order = tracked.order
            if not tracked.is_final:
                leaves = max(ZERO, order.qty - order.filled_qty)
                place = f"{order.account}|{order.instrument}"
                self.flying[tracked.request_id] = _Flying(place, order.side, leaves, order.price or ZERO)
        self.ids = set(cell.dispatcher.actors["order_manager"].state.requests)

    def fill(self, event: FillEvent) -> None:
        fill = event.fill
        place = f"{fill.account}|{fill.instrument}"
        self.positions[place] = self.positions.get(place, ZERO) + fill.side.sign * fill.qty
        self.prices[fill.instrument] = fill.price
        flying = self.flying.get(event.request_id)
        if flying is not None:
            flying.leaves = max(ZERO, flying.leaves - fill.qty)

    def bust(self, bust: Any) -> None:
        fill = bust.fill
        place = f"{fill.account}|{fill.instrument}"
        self.positions[place] = self.positions.get(place, ZERO) - fill.side.sign * fill.qty

    def update(self, update: OrderUpdate) -> None:
        if update.is_final:
            self.flying.pop(update.request_id, None)

    def message(self, now: int) -> None:
        self.sent.append(now)

    def request(self, now: int, request_id: str) -> None:
        """Note how many messages the window holds when the gate decides; it says so a little later."""
        while self.sent and now - self.sent[0] >= self.config.rate_window_ns:
            self.sent.popleft()
        self.asked[request_id] = len(self.sent)
        if len(self.asked) > _ASKED_MAX:
            del self.asked[next(iter(self.asked))]

    def reduces(self, request: OrderRequest) -> bool:
        """Whether the request, with what flies on its side, does no more than close the position."""
        place = f"{request.account}|{request.instrument}"
        held = self.positions.get(place, ZERO)
        same = sum(
            (one.leaves for one in self.flying.values() if one.place == place and one.side is request.side), ZERO
        )
        is_contract = not self.specs[request.instrument].is_spot
        return (request.reduce_only and is_contract) or request.qty + same <= -request.side.sign * held

    def exceeds(self, request: OrderRequest) -> bool:
        """Whether a close is for clearly more than the account holds, orders on their way to it counted."""
        if request.reduce_only and not self.specs[request.instrument].is_spot:
            return False
        place = f"{request.account}|{request.instrument}"
        same = sum(
            (one.leaves for one in self.flying.values() if one.place == place and one.side is request.side), ZERO
        )
        beyond = request.qty + same + request.side.sign * self.positions.get(place, ZERO)
        price = request.price if request.price is not None else self.prices.get(request.instrument, ZERO)
        return beyond * price > _CLOSE_SLACK

    def approve(self, now: int, request: OrderRequest, *, is_opening: bool, is_first: bool) -> list[str]:
        """Count an approved order; return which limits it breaks."""
        name, config, limits = request.request_id, self.config, self.config.limits(request.instrument)
        wrong = []
        self.message(now)
        messages = self.asked.pop(name, 0) + 1
        if messages > (config.openings_per_window if is_first else config.orders_per_window):
            wrong.append(f"C4: {messages} messages in the window")
        if name in self.ids:
            wrong.append("C10: its id was approved before")
        self.ids.add(name)
        price = request.price if request.price is not None else self.prices.get(request.instrument, ZERO)
        place = f"{request.account}|{request.instrument}"
        if is_first and not self.reduces(request):
            if request.qty * price > limits.order_notional_max * Decimal("1.02"):
                wrong.append(f"C2: a value of {request.qty * price}")
            if limits.order_qty_max is not None and request.qty > limits.order_qty_max:
                wrong.append(f"C3: a quantity of {request.qty}")
            if len(self.flying) + 1 > config.open_orders_max:
                wrong.append(f"C18: {len(self.flying) + 1} open orders")
            most = limits.position_notional_max * Decimal("1.02")
            reach = self._reach(place, request) * price
            if reach > most:
                wrong.append(f"C5: {place} may come to {reach}")
            if limits.position_qty_max is not None and self._reach(place, request) > limits.position_qty_max:
                wrong.append(f"C5: {place} may come to {self._reach(place, request)}")
        self.flying[name] = _Flying(place, request.side, request.qty, price)
        return [f"I5: {name}: {one}" for one in wrong]

    def _reach(self, place: str, request: OrderRequest) -> Decimal:
        buys = sells = ZERO
        for one in self.flying.values():
            if one.place == place:
                buys, sells = (buys + one.leaves, sells) if one.side is Side.BUY else (buys, sells + one.leaves)
        if request.side is Side.BUY:
            buys += request.qty
        else:
            sells += request.qty
        held = self.positions.get(place, ZERO)
        return max(abs(held + buys), abs(held - sells))
