"""Decides whether a request can be an order of its instrument at all, before anything is sent."""

from decimal import Decimal

from actors.messages import OrderRequest
from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO
from venues.model.order import OrderType, TimeInForce
from venues.port import RejectReason

TRIGGERED = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_MARKET})
"""Types that wait for a trigger price. They rest until then, whatever their time in force says."""

_PRICELESS = frozenset(
    {
        OrderType.MARKET,
        OrderType.STOP_MARKET,
        OrderType.TAKE_PROFIT_MARKET,
        OrderType.MARKET_WITH_PROTECTION,
        OrderType.MARKET_TO_LIMIT,
    }
)
_LIMIT, _GTD = OrderType.LIMIT, TimeInForce.GTD


def refusal(now: int, request: OrderRequest, spec: Instrument | None) -> RejectReason | None:
    """Return why the request cannot be sent, None when it can. `spec` is None for an unknown instrument."""
    if spec is None:
        return RejectReason.UNKNOWN_INSTRUMENT
    qty, price = request.qty, request.price
    if (
        price is not None
        and request.type is _LIMIT
        and request.tif is not _GTD
        and request.trigger_price is None
        and request.expire_ns is None
        and not request.trigger_on_mark
        and qty.is_finite()
        and price.is_finite()
        and qty > ZERO
        and price > ZERO
        and not qty % spec.lot_size
        and not price % spec.tick_size
    ):
        return None
    try:
        if spec.lots(qty) <= 0:
            return RejectReason.BELOW_MIN_QTY
    except (OffGridError, ArithmeticError):
        return RejectReason.OFF_LOT
    if price is None and request.type not in _PRICELESS:
        return RejectReason.BAD_PRICE
    why = None if price is None else _off_grid(price, spec)
    return why or _bad_trigger(request, spec) or _bad_expiry(now, request)


def _off_grid(price: Decimal, spec: Instrument) -> RejectReason | None:
    try:
        return None if spec.ticks(price) > 0 else RejectReason.BAD_PRICE
    except (OffGridError, ArithmeticError):
        return RejectReason.OFF_TICK


def _bad_trigger(request: OrderRequest, spec: Instrument) -> RejectReason | None:
    if request.type is OrderType.TRAILING_STOP:
        # A request carries no callback rate.
        return RejectReason.UNSUPPORTED
    if request.type not in TRIGGERED:
        has_trigger = request.trigger_price is not None or request.trigger_on_mark
        return RejectReason.BAD_TRIGGER if has_trigger else None
    if request.trigger_price is None:
        return RejectReason.BAD_TRIGGER
    return None if _off_grid(request.trigger_price, spec) is None else RejectReason.BAD_TRIGGER


def _bad_expiry(now: int, request: OrderRequest) -> RejectReason | None:
    if request.tif is _GTD:
        return None if request.expire_ns is not None and request.expire_ns > now else RejectReason.BAD_EXPIRY
    return None if request.expire_ns is None else RejectReason.BAD_EXPIRY
