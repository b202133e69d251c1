"""Decides at once that no rule can be against an order, where that is plain; all other orders are left to the table.

What each position may come to is kept up to date with what is approved, filled and over, so that an order costs the
same however many are in flight. `clears` never says yes where a rule of `risk_checks` objects; it may well be unsure
of an order that passes there. Reasons come from the table alone.
"""

from bisect import bisect_right
from collections.abc import Mapping
from decimal import Decimal

from attrs import define

from actors.messages import OrderRequest
from actors.risk_book import Held, InFlight, RiskState
from actors.risk_config import BPS, InstrumentLimits, RiskConfig
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.model.position import position_key

_BUY = Side.BUY
_NO_BOUND = Decimal("Infinity")


@define(eq=False)
class Line:
    """One position with what may still change it: `buys` and `sells` are what orders in flight have yet to trade."""

    key: str
    held: Held
    spec: Instrument
    limits: InstrumentLimits
    qty_max: Decimal
    is_open_to_all: bool
    buys: Decimal = ZERO
    sells: Decimal = ZERO

    def add(self, side: Side, qty: Decimal) -> None:
        """Count `qty` as on its way; a negative one takes it off again."""
        if side is _BUY:
            self.buys += qty
        else:
            self.sells += qty


class Lines:
    """The lines of a gate's state, one for each position it holds. Made anew when the state or the limits are."""

    def __init__(
        self, state: RiskState, instruments: Mapping[str, Instrument], accounts: Mapping[str, str], config: RiskConfig
    ) -> None:
        self._state = state
        self._instruments = instruments
        self._accounts = accounts
        self._config = config
        self._openings_max = config.openings_per_window
        self._executions_max = config.executions_per_window
        self._unexecuted_max = config.unexecuted_max
        self._strategies = None if config.strategies is None else frozenset(config.strategies)
        self._by_key: dict[str, Line] = {}
        self._all: list[Line] = []
        self._named: dict[tuple[str, str, PositionSide], Line] = {}
        # Of all the baskets remembered the few whose legs count, in the order in which they came.
        self.reserved = {name: basket for name, basket in state.baskets.items() if basket.is_reserved}
        for key, held in state.positions.items():
            self.hold(key, held)
        for flying in state.orders.values():
            self._by_key[flying.key].add(flying.side, flying.leaves)

    # What changes

    def hold(self, key: str, held: Held) -> Line:
        """Begin the line of a position that the state holds from now on."""
        spec, config = self._instruments[held.instrument], self._config
        limits = config.limits(spec.id)
        bounds = [one for one in (spec.max_qty, limits.order_qty_max) if one is not None]
        is_allowed = config.allowed is None or spec.id in config.allowed
        line = self._by_key[key] = Line(
            key, held, spec, limits, min(bounds, default=_NO_BOUND), is_allowed and spec.quote in config.par
        )
        self._all.append(line)
        return line

    def get(self, key: str) -> Line | None:
        """Return the line of a position, None when the state does not hold it."""
        return self._by_key.get(key)

    def _find(self, order: OrderRequest) -> Line | None:
        """Return the line of an order whose account and instrument are real and belong together, once it is held."""
        line = self._by_key.get(position_key(order.account, order.instrument, order.position_side))
        if line is None or self._accounts.get(order.account) != line.spec.venue:
            return None
        self._named[order.account, order.instrument, order.position_side] = line
        return line

    def fly(self, flying: InFlight) -> None:
        """Count an order that is in flight from now on."""
        self._by_key[flying.key].add(flying.side, flying.leaves)

    def land(self, flying: InFlight) -> None:
        """Count an order no more."""
        self._by_key[flying.key].add(flying.side, -flying.leaves)

    def fill(self, flying: InFlight, qty: Decimal) -> None:
        """Let an order in flight be filled by `qty`."""
        before = flying.leaves
        flying.filled += qty
        self._by_key[flying.key].add(flying.side, flying.leaves - before)

    def reserve(self, basket_id: str, *, is_reserved: bool) -> None:
        """Note whether a basket's legs count as exposure."""
        if is_reserved:
            self.reserved[basket_id] = self._state.baskets[basket_id]
        else:
            self.reserved.pop(basket_id, None)

    # Baskets

    def is_hedge(self, order: OrderRequest) -> bool:
        """Whether the order is a hedge of a basket that passed its pre-flight, or of one that is at work."""
        basket = self._state.baskets.get(order.basket_id)
        return order.is_hedge and basket is not None and (basket.is_reserved or basket.is_active)

    def room(self, order: OrderRequest) -> Decimal | None:
        """Return how much more its basket lets the order's leg trade in this direction, None outside a basket.

        Completing may go up to the leg's quantity, unwinding back to nothing filled.
        """
        basket = self._state.baskets.get(order.basket_id)
        if basket is None:
            return None
        key, room = position_key(order.account, order.instrument, order.position_side), ZERO
        for leg in basket.legs:
            if leg.key == key:
                room += leg.qty * (1 + self._config.overrun) - leg.filled if leg.side is order.side else leg.filled
        for flying in self._state.orders.values():
            if flying.basket_id == order.basket_id and flying.key == key and flying.side is order.side:
                room -= flying.leaves
        return max(ZERO, room)

    # Decisions

    def clears(self, now: int, order: OrderRequest) -> Line | None:
        """Return the order's line when no rule of the table is against it, None when the table must be asked."""
        state = self._state
        line = self._named.get((order.account, order.instrument, order.position_side)) or self._find(order)
        touch = state.touches.get(order.instrument)
        qty, price, order_id = order.qty, order.price, order.request_id
        if line is None or touch is None or price is None or not qty.is_finite() or not price.is_finite():
            return None
        spec, limits, sent = line.spec, line.limits, state.sent_ns
        # What is asked of a hedge is asked of everybody, but for the room that its basket leaves.
        is_hedge = self.is_hedge(order)
        if (
            # States in which not everything may go.
            not line.is_open_to_all
            or (not is_hedge and (self.reserved or order.basket_id in state.baskets))
            or (order.parent_id and not self._fits_parent(order))
            or state.kill
            or state.is_stopping
            or state.is_backlogged
            or state.guard_why
            or state.is_guard_in_charge
            or state.halts
            or (self._strategies is not None and order.strategy not in self._strategies)
            or order.account in state.unreconciled
            or order.instrument in state.feeds_down
            or state.venues_down.get(spec.venue)
            or now - touch.ts > limits.book_age_max_ns
            # How many there are, and whether this one is new.
            or order_id in state.ids.keys
            or order_id in state.orders
            or len(state.orders) >= self._config.open_orders_max
            or len(state.executions.get(order.strategy, ())) >= self._executions_max
            or (len(sent) >= self._openings_max and self.messages(now) >= self._openings_max)
            # The venue's grid and sizes.
            or qty <= ZERO
            or qty > line.qty_max
            or qty < spec.min_qty
            or price <= ZERO
            or qty % spec.lot_size
            or price % spec.tick_size
            or price < touch.low
            or price > touch.high
        ):
            return None
        mid = touch.ticks * spec.tick_size / 2
        # The hard collar is never inside this one.
        if mid <= ZERO or abs(price - mid) * BPS / mid > limits.collar_bps:
            return None
        unit_at_mid = unit_at_price = unit_at_most = spec.multiplier
        if not spec.inverse:
            unit_at_mid, unit_at_price = unit_at_mid * mid, unit_at_price * price
            unit_at_most = max(unit_at_mid, unit_at_price)
        if qty * unit_at_most > limits.order_notional_max or qty * unit_at_price < spec.min_notional:
            return None
        if is_hedge:
            room = self.room(order)
            return line if room is not None and qty <= room else None
        return line if self._has_room(now, line, order.side, qty, unit_at_mid) else None

    def _fits_parent(self, order: OrderRequest) -> bool:
        room = self._state.parents.room(order)
        return room is not None and order.qty <= room

    def _has_room(self, now: int, line: Line, side: Side, qty: Decimal, unit: Decimal) -> bool:
        """Whether position and desk stay within their limits with the order; `unit` is the value of one at the mid."""
        buys, sells = (line.buys + qty, line.sells) if side is _BUY else (line.buys, line.sells + qty)
        mine, others = line.held.worst(now, buys, sells), ZERO
        spec, flying = line.spec, (buys + sells) * unit
        for other in self._all:
            if other is line:
                continue
            worst, under_way = other.held.worst(now, other.buys, other.sells), other.buys + other.sells
            if not worst and not under_way:
                continue
            if other.spec is spec:
                mine += worst
                flying += under_way * unit
                continue
            touch = self._state.touches.get(other.spec.id)
            if touch is None or other.spec.quote not in self._config.par:
                return False
            unit_there = other.spec.multiplier
            if not other.spec.inverse:
                unit_there *= abs(touch.ticks * other.spec.tick_size / 2)
            others += worst * unit_there
            flying += under_way * unit_there
        limits, value = line.limits, mine * unit
        return (
            value <= limits.position_notional_max
            and others + value <= self._config.gross_notional_max
            and flying <= self._unexecuted_max
            and (limits.position_qty_max is None or mine <= limits.position_qty_max)
        )

    def messages(self, now: int) -> int:
        """Forget what left the window; return how many messages it holds."""
        sent = self._state.sent_ns
        del sent[: bisect_right(sent, now - self._config.rate_window_ns)]
        return len(sent)

    def note_message(self, now: int) -> None:
        """Count an order or a cancel; what left the window is forgotten before it is half of all."""
        sent = self._state.sent_ns
        sent.append(now)
        if sent[len(sent) // 2] <= now - self._config.rate_window_ns:
            self.messages(now)
