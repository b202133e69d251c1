"""Decides when a conditional order triggers. Prices are last trades, or marks for orders that watch the mark."""

from decimal import Decimal

from sim.venue_order import VenueOrder
from sim.venue_state import Market
from venues.model.order import OrderType, Side


def watched(market: Market, order: VenueOrder) -> Decimal | None:
    """Return the price the order watches as it stands, None when there is none yet."""
    if order.command.trigger_on_mark:
        return market.mark
    return None if market.last_trade is None else market.spec.price(market.last_trade)


def reached(order: VenueOrder, price: Decimal) -> bool:
    """Whether `price` triggers the order; a trailing stop first remembers it.

    Stops trigger at or through their price, take-profits at or beyond it on the other side.
    """
    if order.command.type is OrderType.TRAILING_STOP:
        return _trail(order, price)
    stop = order.command.trigger_price
    if stop is None:
        return False
    rising = (order.side is Side.BUY) is (order.command.type is not OrderType.TAKE_PROFIT_MARKET)
    return price >= stop if rising else price <= stop


def trailing_level(order: VenueOrder) -> Decimal | None:
    """Return where a trailing stop triggers as it stands, None while it does not follow the market."""
    rate = order.command.callback_rate
    if rate is None or order.best is None:
        return None
    return order.best * (1 - rate) if order.side is Side.SELL else order.best * (1 + rate)


def _trail(order: VenueOrder, price: Decimal) -> bool:
    """Follow the best price since activation; trigger when it is given back by the callback rate (a fraction)."""
    rate = order.command.callback_rate
    if rate is None:
        return False
    start = order.command.activation_price
    sells = order.side is Side.SELL
    if not order.active:
        order.active = start is None or (price >= start if sells else price <= start)
    if not order.active:
        return False
    if order.best is None or (price > order.best if sells else price < order.best):
        order.best = price
    return price <= order.best * (1 - rate) if sells else price >= order.best * (1 + rate)
