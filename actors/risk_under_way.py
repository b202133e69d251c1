"""Follows what is held and under way, and says what may become of it: positions, orders, baskets.

The gate decides by it; nothing here lets an order go.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from actors.base import handles
from actors.basket import ACTIVE, ENDED
from actors.ledger import position_change, unbookable
from actors.messages import (
    BasketState,
    BasketUpdate,
    FillEvent,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    ReservationReleased,
)
from actors.post_trade import FillBusted, reversal
from actors.risk_book import Held, InFlight, KnownBasket, KnownLeg
from actors.risk_lines import Line, Lines
from actors.risk_parts import RiskParts
from venues.model.fill import Fill
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.model.position import position_key

_CLOSES = {PositionSide.LONG: Side.SELL, PositionSide.SHORT: Side.BUY}
"""Which side closes a position of a hedge-mode account."""


class UnderWay(RiskParts):
    """What the risk gate knows of its own orders; it is one actor with it, and has its state."""

    accounts: Mapping[str, str]
    _lines: Lines

    # What happens

    @handles(FillBusted)
    def on_bust(self, now: int, bust: FillBusted) -> None:
        """Take a fill off the position and its basket; its order is not in flight again."""
        fill = bust.fill
        spec = self.instruments.get(fill.instrument)
        if spec is None or unbookable(fill, spec, fill.account in self.accounts):
            return
        back = reversal(fill)
        key = position_key(fill.account, fill.instrument, fill.position_side)
        self._hold(key, fill.instrument, fill.position_side).held.count(now, position_change(back, spec))
        self._move_legs(bust.basket_id, key, back)

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        """Move a fill from in flight to the position in one step: at no moment is it in neither."""
        fill, state = event.fill, self.state
        spec = self.instruments.get(fill.instrument)
        if spec is None or unbookable(fill, spec, fill.account in self.accounts):
            return
        key = position_key(fill.account, fill.instrument, fill.position_side)
        self._hold(key, fill.instrument, fill.position_side).held.count(now, position_change(fill, spec))
        flying = state.orders.get(event.request_id)
        if flying is not None:
            self._lines.fill(flying, fill.qty)
        state.parents.filled(event)
        self._move_legs(event.basket_id, key, fill)

    def _move_legs(self, basket_id: str, key: str, fill: Fill) -> None:
        basket = self.state.baskets.get(basket_id)
        if basket is None:
            return
        closed = self.state.baskets.get(basket.closes)
        for leg in [*basket.legs, *(closed.legs if closed is not None else ())]:
            if leg.key == key:
                leg.filled += fill.qty if leg.side is fill.side else -fill.qty

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        if update.instrument not in self.instruments or not update.qty.is_finite():
            return
        key = position_key(update.account, update.instrument, update.position_side)
        self._hold(key, update.instrument, update.position_side).held.book(update.qty)

    @handles(OrderUpdate)
    def on_update(self, now: int, update: OrderUpdate) -> None:
        self.state.parents.updated(update)
        orders, order_id = self.state.orders, update.request_id or update.client_order_id
        if update.is_final:
            flying = orders.pop(order_id, None)
            if flying is not None:
                self._lines.land(flying)
        elif order_id not in orders and update.instrument in self.instruments:
            # Not approved here, so found at the venue: it rests and may fill all the same.
            key = position_key(update.account, update.instrument)
            self._hold(key, update.instrument, PositionSide.BOTH)
            flying = orders[order_id] = InFlight(key, update.side, update.qty, update.basket_id, update.filled_qty)
            self._lines.fly(flying)

    @handles(ReservationReleased)
    def on_release(self, now: int, released: ReservationReleased) -> None:
        basket = self.state.baskets.get(released.basket_id)
        if basket is not None:
            basket.is_reserved = False
            self._lines.reserve(released.basket_id, is_reserved=False)

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        """Follow which baskets are at work: one that ended may begin again by a late fill, a kill may flatten one."""
        baskets = self.state.baskets
        if update.state is BasketState.DENIED:
            baskets.pop(update.basket_id, None)
            self._lines.reserve(update.basket_id, is_reserved=False)
            return
        basket = baskets.get(update.basket_id)
        closed = baskets.get(update.closes or "")
        if basket is None and closed is not None and update.state in ACTIVE:
            # Flattening asks nobody: the close may trade what the basket holds.
            legs = [KnownLeg(leg.key, leg.side.opposite, max(ZERO, leg.filled)) for leg in closed.legs]
            basket = KnownBasket(legs, update.closes or "")
            self._know(update.basket_id, basket)
        if basket is not None:
            basket.is_active = update.state in ACTIVE
            basket.is_reserved = basket.is_reserved and update.state not in ENDED
            self._lines.reserve(update.basket_id, is_reserved=basket.is_reserved)

    def _know(self, basket_id: str, basket: KnownBasket) -> None:
        baskets = self.state.baskets
        baskets[basket_id] = basket
        self._lines.reserve(basket_id, is_reserved=basket.is_reserved)
        if len(baskets) > self.config.remembered_baskets:
            idle = (name for name, one in baskets.items() if not one.is_reserved and not one.is_active)
            oldest = next(idle, None)
            if oldest is not None:
                del baskets[oldest]

    def _hold(self, key: str, instrument: str, side: PositionSide) -> Line:
        line = self._lines.get(key)
        if line is None:
            held = self.state.positions[key] = Held(instrument, side)
            line = self._lines.hold(key, held)
        return line

    # What may become of it

    def _exposures(self, now: int, orders: Sequence[OrderRequest]) -> dict[str, Decimal]:
        """Return the largest |position| each instrument can come to, with `orders` on top of what is under way."""
        buys: dict[str, Decimal] = {}
        sells: dict[str, Decimal] = {}
        working: dict[str, Decimal] = {}

        def add(key: str, side: Side, qty: Decimal, basket_id: str) -> None:
            into = buys if side is Side.BUY else sells
            into[key] = into.get(key, ZERO) + qty
            slot = f"{basket_id}|{side}|{key}"
            working[slot] = working.get(slot, ZERO) + qty

        held = dict(self.state.positions)
        for flying in self.state.orders.values():
            add(flying.key, flying.side, flying.leaves, flying.basket_id)
        for order in orders:
            key = position_key(order.account, order.instrument, order.position_side)
            if key not in held:
                held[key] = Held(order.instrument, order.position_side)
            add(key, order.side, order.qty, order.basket_id)
        for basket_id, basket in self._lines.reserved.items():
            for leg in basket.legs:
                under_way = working.get(f"{basket_id}|{leg.side}|{leg.key}", ZERO)
                rest = max(ZERO, leg.qty - leg.filled - under_way)
                into = buys if leg.side is Side.BUY else sells
                into[leg.key] = into.get(leg.key, ZERO) + rest
        exposures: dict[str, Decimal] = {}
        for key, position in held.items():
            worst = position.worst(now, buys.get(key, ZERO), sells.get(key, ZERO))
            exposures[position.instrument] = exposures.get(position.instrument, ZERO) + worst
        return exposures

    def _flying(self, orders: Sequence[OrderRequest]) -> dict[str, Decimal]:
        """Return by instrument what `orders` and those in flight have yet to trade."""
        found: dict[str, Decimal] = {}
        for flying in self.state.orders.values():
            instrument = self.state.positions[flying.key].instrument
            found[instrument] = found.get(instrument, ZERO) + flying.leaves
        for order in orders:
            found[order.instrument] = found.get(order.instrument, ZERO) + order.qty
        return found

    def _reduces(self, now: int, order: OrderRequest) -> bool:
        """Whether the order cannot open: the venue sees to it, or the known position is larger than all that closes it.

        Spot venues know no reduce-only: there only the position counts.
        """
        spec = self.instruments[order.instrument]
        if order.reduce_only and not spec.is_spot:
            return True
        closing = _CLOSES.get(order.position_side)
        if closing is not None:
            return order.side is closing
        key = position_key(order.account, order.instrument, order.position_side)
        held = self.state.positions.get(key)
        if held is None:
            return False
        under_way = sum(
            (flying.leaves for flying in self.state.orders.values() if flying.key == key and flying.side is order.side),
            ZERO,
        )
        return order.qty + under_way <= -order.side.sign * held.qty(now)
