"""Decides whether one order may leave: a table of pure checks, each with its reason; all are evaluated."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum

from attrs import define, frozen

from actors.messages import KillLevel, OrderRequest
from actors.risk_config import BPS, InstrumentLimits, RiskConfig
from actors.sessions import execution_of
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderType, can_rest

_UNPRICED_TYPES = (
    OrderType.MARKET,
    OrderType.STOP_MARKET,
    OrderType.TAKE_PROFIT_MARKET,
    OrderType.TRAILING_STOP,
    OrderType.MARKET_WITH_PROTECTION,
    OrderType.MARKET_TO_LIMIT,
)


class Reason(StrEnum):
    """Why the risk gate refuses. C numbers are the controls of RTS 6, 15c3-5 and common practice."""

    UNKNOWN_INSTRUMENT = "unknown_instrument"
    UNKNOWN_ACCOUNT = "unknown_account"
    WRONG_VENUE = "wrong_venue"
    BAD_QTY = "bad_qty"
    BAD_PRICE = "bad_price"
    RESTRICTED = "restricted"
    OFF_TICK = "off_tick"
    OFF_LOT = "off_lot"
    BELOW_MIN_QTY = "below_min_qty"
    ABOVE_MAX_QTY = "above_max_qty"
    BELOW_MIN_NOTIONAL = "below_min_notional"
    NO_REFERENCE = "no_reference"
    UNPRICED = "unpriced"
    PRICE_COLLAR = "price_collar"
    PERIOD_COLLAR = "period_collar"
    HARD_COLLAR = "hard_collar"
    ORDER_QTY = "order_qty"
    ORDER_NOTIONAL = "order_notional"
    POSITION_QTY = "position_qty"
    POSITION_NOTIONAL = "position_notional"
    GROSS_NOTIONAL = "gross_notional"
    OPEN_ORDERS = "open_orders"
    MESSAGE_RATE = "message_rate"
    DUPLICATE_ID = "duplicate_id"
    DUPLICATE_ORDER = "duplicate_order"
    BASKET_OVERRUN = "basket_overrun"
    REDUCE_CAPACITY = "reduce_capacity"
    PARENT_OVERRUN = "parent_overrun"
    STALE_BOOK = "stale_book"
    FEED_DOWN = "feed_down"
    KILLED = "killed"
    MAY_REST = "may_rest"
    STOPPING = "stopping"
    BACKLOG = "backlog"
    VENUE_DOWN = "venue_down"
    READ_ONLY = "read_only"
    GUARD_DOWN = "guard_down"
    GUARD_IN_CHARGE = "guard_in_charge"
    SESSION_CLOSED = "session_closed"
    ATTEMPTS = "attempts"
    UNAUTHORISED = "unauthorised"
    UNEXECUTED_NOTIONAL = "unexecuted_notional"
    THROTTLED = "throttled"
    HALTED = "halted"
    NO_DEAD_MAN = "no_dead_man"


@define
class Facts:
    """All that the checks know besides the order; made once for each order and not changed.

    Exposures include what is in flight, reserved and this order. `mid` is the last good mid price, however old;
    `age_ns` its age. `exposure_qty` is the largest |position| the instrument can come to, `exposure_notional` and
    `gross_notional` its and everybody's value, None without a price. `unpriced` are the other instruments with
    exposure and no price. None of this is summed for an order that cannot open. `basket_room` is what the basket's leg
    still allows in the order's direction, None for an order outside a known basket; `parent_room` what the order's
    parent does, None for an order without one.
    `unexecuted` is the value of all orders in flight with this one, `band` the prices that the period's collar leaves.
    `executions` are the strategy's within the window, before the one that this order begins; None when it begins none.
    `halt` is how much of its strategy, account or venue is stopped, `halt_why` says which and why. `dead_man_why`: why
    the venue's timer is not known to run, where the order needs one.
    """

    spec: Instrument
    limits: InstrumentLimits
    config: RiskConfig
    is_opening: bool
    mid: Decimal | None
    age_ns: int | None
    feed_why: str
    exposure_qty: Decimal
    exposure_notional: Decimal | None
    gross_notional: Decimal
    unpriced: tuple[str, ...]
    open_orders: int
    messages_in_window: int
    is_known_id: bool
    is_repeated: bool
    basket_room: Decimal | None
    kill: KillLevel
    is_stopping: bool
    is_backlogged: bool
    venue_why: str
    is_read_only: bool
    guard_why: str
    is_guard_in_charge: bool
    session_why: str = ""
    attempts: int = 0
    unexecuted: Decimal = ZERO
    band: tuple[Decimal, Decimal] | None = None
    executions: int | None = None
    halt: KillLevel = KillLevel.ARMED
    halt_why: str = ""
    dead_man_why: str = ""
    parent_room: Decimal | None = None


Check = Callable[[OrderRequest, Facts], str | None]
"""Return None when the order passes, otherwise what is wrong, in figures."""


@frozen
class Rule:
    """One row of the table. `spares_reducing`: skipped for hedges of a basket and orders that only reduce.

    `is_preflight`: also asked when a whole basket is checked before its first order.
    """

    reason: Reason
    check: Check
    spares_reducing: bool
    is_preflight: bool = True


def unit_notional(spec: Instrument, price: Decimal) -> Decimal:
    """Return the value in quote money of one unit of quantity at `price`."""
    return spec.multiplier if spec.inverse else spec.multiplier * price


def identity(
    order: OrderRequest, instruments: Mapping[str, Instrument], accounts: Mapping[str, str]
) -> tuple[str, ...]:
    """Return why the order names nothing real or holds no numbers; without an answer here no limit can be asked.

    `accounts` gives each account's venue.
    """
    found: list[str] = []
    spec, venue = instruments.get(order.instrument), accounts.get(order.account)
    if spec is None:
        found.append(f"{Reason.UNKNOWN_INSTRUMENT}: {order.instrument}")
    if venue is None:
        found.append(f"{Reason.UNKNOWN_ACCOUNT}: {order.account}")
    if spec is not None and venue is not None and venue != spec.venue:
        found.append(f"{Reason.WRONG_VENUE}: {order.account} is at {venue}, {order.instrument} at {spec.venue}")
    if not order.qty.is_finite() or order.qty <= ZERO:
        found.append(f"{Reason.BAD_QTY}: {order.qty}")
    why = _bad_price(order, spec)
    if why:
        found.append(f"{Reason.BAD_PRICE}: {why}")
    return tuple(found)


def _bad_price(order: OrderRequest, spec: Instrument | None) -> str:
    if order.price is None:
        return "" if order.type in _UNPRICED_TYPES else f"a {order.type} order needs one"
    if not order.price.is_finite():
        return str(order.price)
    # Only dated futures have traded at and below zero.
    may_be_negative = spec is not None and spec.kind is InstrumentKind.FUTURE
    return "" if order.price > ZERO or may_be_negative else f"{order.price} is not positive"


def refusals(order: OrderRequest, facts: Facts, *, is_preflight: bool = False) -> tuple[str, ...]:
    """Return every reason against the order as `reason: figures`, in the table's order; empty when it may go."""
    found: list[str] = []
    for reason, check in _CHECKS[facts.is_opening, is_preflight]:
        detail = check(order, facts)
        if detail is not None:
            found.append(f"{reason}: {detail}")
    return tuple(found)


def is_session_closed(reasons: tuple[str, ...]) -> bool:
    """Whether an order was refused only because its market is closed: it may come again, nothing was tried."""
    return bool(reasons) and all(one.partition(":")[0] == Reason.SESSION_CLOSED for one in reasons)


def _over(value: Decimal | int, limit: Decimal | int) -> str | None:
    return f"{value} is over {limit}" if value > limit else None


def _restricted(order: OrderRequest, facts: Facts) -> str | None:
    allowed = facts.config.allowed
    return f"{order.instrument} is not on the list" if allowed is not None and order.instrument not in allowed else None


def _off_tick(order: OrderRequest, facts: Facts) -> str | None:
    tick = facts.spec.tick_size
    return f"{order.price} with tick {tick}" if order.price is not None and order.price % tick else None


def _off_lot(order: OrderRequest, facts: Facts) -> str | None:
    return f"{order.qty} with lot {facts.spec.lot_size}" if order.qty % facts.spec.lot_size else None


def _below_min_qty(order: OrderRequest, facts: Facts) -> str | None:
    least = facts.spec.min_qty
    return f"{order.qty} is under {least}" if order.qty < least else None


def _above_max_qty(order: OrderRequest, facts: Facts) -> str | None:
    return None if facts.spec.max_qty is None else _over(order.qty, facts.spec.max_qty)


def _order_value(order: OrderRequest, facts: Facts) -> Decimal | None:
    if facts.mid is None:
        return None
    price = facts.mid if order.price is None else max(order.price, facts.mid)
    return order.qty * unit_notional(facts.spec, price)


def _below_min_notional(order: OrderRequest, facts: Facts) -> str | None:
    # Venues let reduce-only orders of any size through, so that a remainder can be closed.
    if order.reduce_only and not facts.spec.is_spot:
        return None
    price = facts.mid if order.price is None else order.price
    if price is None:
        return None
    value = order.qty * unit_notional(facts.spec, price)
    return f"{value} is under {facts.spec.min_notional}" if value < facts.spec.min_notional else None


def _no_reference(order: OrderRequest, facts: Facts) -> str | None:
    if facts.spec.quote not in facts.config.par:
        return f"{facts.spec.quote} has no value in quote money"
    return "no book seen yet" if facts.mid is None else None


def _unpriced(order: OrderRequest, facts: Facts) -> str | None:
    is_fine = order.price is not None or facts.limits.unpriced_openings
    return None if is_fine else f"a {order.type} order has no price to hold against the collar"


def _outside(order: OrderRequest, facts: Facts, bps: Decimal) -> str | None:
    if order.price is None or not facts.mid:
        return None
    off = abs(order.price - facts.mid) * BPS / abs(facts.mid)
    return f"{order.price} is {off:.1f} bps from {facts.mid}, allowed {bps}" if off > bps else None


def _price_collar(order: OrderRequest, facts: Facts) -> str | None:
    return _outside(order, facts, facts.limits.collar_bps)


def _hard_collar(order: OrderRequest, facts: Facts) -> str | None:
    return _outside(order, facts, facts.limits.hard_collar_bps)


def _order_qty(order: OrderRequest, facts: Facts) -> str | None:
    return None if facts.limits.order_qty_max is None else _over(order.qty, facts.limits.order_qty_max)


def _order_notional(order: OrderRequest, facts: Facts) -> str | None:
    value = _order_value(order, facts)
    return None if value is None else _over(value, facts.limits.order_notional_max)


def _position_qty(order: OrderRequest, facts: Facts) -> str | None:
    most = facts.limits.position_qty_max
    return None if most is None else _over(facts.exposure_qty, most)


def _position_notional(order: OrderRequest, facts: Facts) -> str | None:
    value = facts.exposure_notional
    return None if value is None else _over(value, facts.limits.position_notional_max)


def _gross_notional(order: OrderRequest, facts: Facts) -> str | None:
    if facts.unpriced:
        return f"no price for {', '.join(facts.unpriced)}"
    return _over(facts.gross_notional, facts.config.gross_notional_max)


def _open_orders(order: OrderRequest, facts: Facts) -> str | None:
    return _over(facts.open_orders + 1, facts.config.open_orders_max)


def _message_rate(order: OrderRequest, facts: Facts) -> str | None:
    config = facts.config
    most = config.openings_per_window if facts.is_opening else config.orders_per_window
    return _over(facts.messages_in_window + 1, most)


def _duplicate_id(order: OrderRequest, facts: Facts) -> str | None:
    return order.request_id if facts.is_known_id else None


def _duplicate_order(order: OrderRequest, facts: Facts) -> str | None:
    return f"{order.side} {order.qty} at {order.price} again" if facts.is_repeated else None


def _basket_overrun(order: OrderRequest, facts: Facts) -> str | None:
    room = facts.basket_room
    return f"{order.qty} where the basket leaves {room}" if room is not None and order.qty > room else None


def _parent_overrun(order: OrderRequest, facts: Facts) -> str | None:
    room = facts.parent_room
    return f"{order.qty} where {order.parent_id} leaves {room}" if room is not None and order.qty > room else None


def _stale_book(order: OrderRequest, facts: Facts) -> str | None:
    age, most = facts.age_ns, facts.limits.book_age_max_ns
    return f"the book is {age} ns old, allowed {most}" if age is not None and age > most else None


def _feed_down(order: OrderRequest, facts: Facts) -> str | None:
    return facts.feed_why or None


def _killed(order: OrderRequest, facts: Facts) -> str | None:
    return facts.kill.name if facts.kill >= KillLevel.REDUCE_ONLY else None


def _may_rest(order: OrderRequest, facts: Facts) -> str | None:
    level = max(facts.kill, facts.halt)
    is_bad = level >= KillLevel.CANCEL_ALL and can_rest(order.type, order.tif)
    return f"{order.type} {order.tif} at {level.name}" if is_bad else None


def _stopping(order: OrderRequest, facts: Facts) -> str | None:
    return "no new positions" if facts.is_stopping else None


def _backlog(order: OrderRequest, facts: Facts) -> str | None:
    return "the inbox is over its high water" if facts.is_backlogged else None


def _venue_down(order: OrderRequest, facts: Facts) -> str | None:
    return facts.venue_why or None


def _guard_down(order: OrderRequest, facts: Facts) -> str | None:
    return facts.guard_why or None


def _guard_in_charge(order: OrderRequest, facts: Facts) -> str | None:
    return "the guard flattens the book" if facts.is_guard_in_charge else None


def _session_closed(order: OrderRequest, facts: Facts) -> str | None:
    return facts.session_why or None


def _attempts(order: OrderRequest, facts: Facts) -> str | None:
    most = facts.config.attempts
    if facts.attempts < most.attempts:
        return None
    return f"{execution_of(order)} tried {facts.attempts} times in {most.window_ns} ns"


def _period_collar(order: OrderRequest, facts: Facts) -> str | None:
    if order.price is None or facts.band is None:
        return None
    low, high = facts.band
    return None if low <= order.price <= high else f"{order.price} is outside {low} to {high}"


def _unexecuted_notional(order: OrderRequest, facts: Facts) -> str | None:
    return _over(facts.unexecuted, facts.config.unexecuted_max)


def _unauthorised(order: OrderRequest, facts: Facts) -> str | None:
    known = facts.config.strategies
    is_known = known is None or order.strategy in known
    return None if is_known else f"{order.strategy or 'no strategy'} may not open positions"


def _throttled(order: OrderRequest, facts: Facts) -> str | None:
    most = facts.config.executions_per_window
    return None if facts.executions is None else _over(facts.executions + 1, most)


def _halted(order: OrderRequest, facts: Facts) -> str | None:
    return facts.halt_why if facts.halt >= KillLevel.REDUCE_ONLY else None


def _no_dead_man(order: OrderRequest, facts: Facts) -> str | None:
    return facts.dead_man_why or None


def _read_only(order: OrderRequest, facts: Facts) -> str | None:
    return f"{order.account} is not reconciled" if facts.is_read_only else None


RULES: tuple[Rule, ...] = (
    Rule(Reason.RESTRICTED, _restricted, spares_reducing=True),  # C11
    Rule(Reason.UNAUTHORISED, _unauthorised, spares_reducing=True),  # C11
    Rule(Reason.OFF_TICK, _off_tick, spares_reducing=False),
    Rule(Reason.OFF_LOT, _off_lot, spares_reducing=False),
    Rule(Reason.BELOW_MIN_QTY, _below_min_qty, spares_reducing=False),
    Rule(Reason.ABOVE_MAX_QTY, _above_max_qty, spares_reducing=False),
    Rule(Reason.BELOW_MIN_NOTIONAL, _below_min_notional, spares_reducing=False),
    Rule(Reason.NO_REFERENCE, _no_reference, spares_reducing=False),  # C18
    Rule(Reason.UNPRICED, _unpriced, spares_reducing=True, is_preflight=False),  # C1
    Rule(Reason.PRICE_COLLAR, _price_collar, spares_reducing=True),  # C1
    Rule(Reason.PERIOD_COLLAR, _period_collar, spares_reducing=True),  # C1
    Rule(Reason.HARD_COLLAR, _hard_collar, spares_reducing=False),  # C1
    Rule(Reason.ORDER_QTY, _order_qty, spares_reducing=True),  # C3
    Rule(Reason.ORDER_NOTIONAL, _order_notional, spares_reducing=True),  # C2
    Rule(Reason.POSITION_QTY, _position_qty, spares_reducing=True),  # C5, C18
    Rule(Reason.POSITION_NOTIONAL, _position_notional, spares_reducing=True),  # C5, C18
    Rule(Reason.GROSS_NOTIONAL, _gross_notional, spares_reducing=True),  # C9
    Rule(Reason.OPEN_ORDERS, _open_orders, spares_reducing=True),  # C18
    Rule(Reason.UNEXECUTED_NOTIONAL, _unexecuted_notional, spares_reducing=True),  # C5, C18
    Rule(Reason.MESSAGE_RATE, _message_rate, spares_reducing=False, is_preflight=False),  # C4
    Rule(Reason.DUPLICATE_ID, _duplicate_id, spares_reducing=False),  # C10
    Rule(Reason.DUPLICATE_ORDER, _duplicate_order, spares_reducing=True, is_preflight=False),  # C10
    Rule(Reason.BASKET_OVERRUN, _basket_overrun, spares_reducing=False, is_preflight=False),  # C5
    Rule(Reason.PARENT_OVERRUN, _parent_overrun, spares_reducing=False, is_preflight=False),  # C5
    Rule(Reason.THROTTLED, _throttled, spares_reducing=True),  # C6
    Rule(Reason.STALE_BOOK, _stale_book, spares_reducing=True),  # C20
    Rule(Reason.FEED_DOWN, _feed_down, spares_reducing=True),  # C20
    Rule(Reason.KILLED, _killed, spares_reducing=True),  # C8
    Rule(Reason.HALTED, _halted, spares_reducing=True),  # C7, C8
    Rule(Reason.MAY_REST, _may_rest, spares_reducing=False, is_preflight=False),  # C7
    Rule(Reason.STOPPING, _stopping, spares_reducing=True),
    Rule(Reason.BACKLOG, _backlog, spares_reducing=True),
    Rule(Reason.VENUE_DOWN, _venue_down, spares_reducing=False),
    Rule(Reason.READ_ONLY, _read_only, spares_reducing=False),
    Rule(Reason.GUARD_DOWN, _guard_down, spares_reducing=True),
    Rule(Reason.GUARD_IN_CHARGE, _guard_in_charge, spares_reducing=False),
    Rule(Reason.SESSION_CLOSED, _session_closed, spares_reducing=False),
    Rule(Reason.ATTEMPTS, _attempts, spares_reducing=False, is_preflight=False),
    Rule(Reason.NO_DEAD_MAN, _no_dead_man, spares_reducing=False, is_preflight=False),
)
"""What spares reducing orders would otherwise trap a book that wants to shrink. Nothing spares them bad numbers, the
venue's own grid and minima, the hard collar, the rate the venue bans for, repeated ids, the basket's own size, and
states in which nobody knows what an order would do (venue down, not reconciled), and an order that would rest with
nobody to cancel it should the desk die."""

_CHECKS = {
    (is_opening, is_preflight): tuple(
        (rule.reason, rule.check)
        for rule in RULES
        if (is_opening or not rule.spares_reducing) and (rule.is_preflight or not is_preflight)
    )
    for is_opening in (True, False)
    for is_preflight in (True, False)
}
"""Which checks an order must pass, by whether it opens and whether a whole basket is asked about."""
