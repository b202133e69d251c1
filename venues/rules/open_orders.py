"""Decides what resting orders claim of the margin, and what placing one costs.

Binance publishes neither formula. `GET /fapi/v3/positionRisk` shows `bidNotional` and `askNotional`, with which the
default is consistent; what is not known is configuration.
"""

from decimal import Decimal

from attrs import frozen

from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.rules import checks
from venues.rules.binance_margin import initial_margin
from venues.rules.errors import BadValueError


@frozen
class OpenOrderRule:
    """What the venue does not publish.

    `is_netted`: opposite orders of a one-way position claim margin once, the larger side (graded uncertain); otherwise
    both sides claim theirs on top of the position. `has_open_loss`: an order away from the mark on its own losing side
    costs that loss as well (graded uncertain).
    """

    is_netted: bool = True
    has_open_loss: bool = True


BINANCE = OpenOrderRule()


def one_way_margin(
    position_notional: Decimal,
    bid_notional: Decimal,
    ask_notional: Decimal,
    leverage: Decimal,
    rule: OpenOrderRule = BINANCE,
) -> Decimal:
    """Return the initial margin of a position and its orders. `position_notional` is signed. Raises BadValueError."""
    position = checks.finite(position_notional, "position_notional")
    bids = checks.not_negative(bid_notional, "bid_notional")
    asks = checks.not_negative(ask_notional, "ask_notional")
    checks.leverage(leverage, "leverage")
    if rule.is_netted:
        return initial_margin(position, bids, asks, leverage)
    return (abs(position) + bids + asks) / leverage


def hedge_margin(
    side: PositionSide, position_notional: Decimal, opening_notional: Decimal, leverage: Decimal
) -> Decimal:
    """Return the initial margin of one side of a hedge and of the orders that enlarge it; reducing ones are free.

    Raises BadValueError, also for a notional whose sign contradicts `side`.
    """
    position = checks.finite(position_notional, "position_notional")
    opening = checks.not_negative(opening_notional, "opening_notional")
    if (side is PositionSide.LONG and position < ZERO) or (side is PositionSide.SHORT and position > ZERO):
        raise BadValueError("position_notional", f"{position} contradicts position_side {side}")
    return (abs(position) + opening) / checks.leverage(leverage, "leverage")


def open_order_margin(
    position_notional: Decimal,
    bid_notional: Decimal,
    ask_notional: Decimal,
    leverage: Decimal,
    rule: OpenOrderRule = BINANCE,
) -> Decimal:
    """Return what the orders claim beyond the position itself (`openOrderInitialMargin`). Raises BadValueError."""
    total = one_way_margin(position_notional, bid_notional, ask_notional, leverage, rule)
    return total - abs(position_notional) / leverage


def open_loss(side: Side, qty: Decimal, price: Decimal, mark_price: Decimal) -> Decimal:
    """Return qty x |min(0, direction x (mark - price))|: a fill there would lose at once. Raises BadValueError."""
    worse = side.sign * (checks.positive(price, "price") - checks.positive(mark_price, "mark_price"))
    return checks.positive(qty, "qty") * max(ZERO, worse)


def order_cost(
    side: Side, qty: Decimal, price: Decimal, mark_price: Decimal, leverage: Decimal, rule: OpenOrderRule = BINANCE
) -> Decimal:
    """Return what must be available to place an order that opens: initial margin and open loss. Raises BadValueError.

    `price` is the order's limit price, for a market order the price it is assumed to fill at.
    """
    loss = open_loss(side, qty, price, mark_price)
    return qty * price / checks.leverage(leverage, "leverage") + (loss if rule.has_open_loss else ZERO)
