"""Decides which orders the emulated venue refuses before they reach its engine, with Binance's codes and words.

Source: facts C6 and E; the error code page of USDS-M futures (developers.binance.com).
"""

from decimal import Decimal

from sim.emulator.listings import Listing, plain
from sim.emulator.routes import ApiError
from venues.model.money import ZERO, to_text
from venues.port import RejectReason

POST_ONLY = (
    "Due to the order could not be executed as maker, the Post Only order will be rejected. "
    "The order will not be recorded in the order history"
)
FILL_OR_KILL = (
    "Due to the order could not be filled immediately, the FOK order has been rejected. "
    "The order will not be recorded in the order history"
)
HALTED = "Symbol is on delivering or delivered or settling or closed or pre-trading."

REFUSALS: dict[RejectReason, tuple[int, str]] = {
    RejectReason.UNKNOWN_INSTRUMENT: (-1121, "Invalid symbol."),
    RejectReason.UNKNOWN_ORDER: (-2013, "Order does not exist."),
    RejectReason.OFF_TICK: (-4014, "Price not increased by tick size."),
    RejectReason.OFF_LOT: (-4023, "Quantity not increased by step size."),
    RejectReason.BELOW_MIN_QTY: (-4004, "Quantity less than min quantity."),
    RejectReason.ABOVE_MAX_QTY: (-4005, "Quantity greater than max quantity."),
    RejectReason.BAD_PRICE: (-4001, "Price less than 0."),
    RejectReason.INSUFFICIENT_MARGIN: (-2019, "Margin is insufficient."),
    RejectReason.INSUFFICIENT_BALANCE: (-2018, "Balance is insufficient."),
    RejectReason.WOULD_TAKE: (-5022, POST_ONLY),
    RejectReason.WOULD_TRIGGER: (-2021, "Order would immediately trigger."),
    RejectReason.REDUCE_ONLY: (-2022, "ReduceOnly Order is rejected."),
    RejectReason.POSITION_SIDE: (-4061, "Order's position side does not match user's setting."),
    RejectReason.DUPLICATE_ID: (-4116, "ClientOrderId is duplicated."),
    RejectReason.HALTED: (-4108, HALTED),
    RejectReason.LEVERAGE: (-2027, "Exceeded the maximum allowable position at current leverage."),
    RejectReason.NO_REFERENCE_PRICE: (-2020, "Unable to fill."),
    RejectReason.IN_LIQUIDATION: (-2023, "User in liquidation mode now."),
}
"""What the engine's refusals are called outside."""


_SPOT_WORDS = {
    RejectReason.INSUFFICIENT_BALANCE: "Account has insufficient balance for requested action.",
    RejectReason.WOULD_TAKE: "Order would immediately match and take.",
    RejectReason.DUPLICATE_ID: "Duplicate order sent.",
    RejectReason.HALTED: "Market is closed.",
}
"""Spot has one code for what its engine refuses, -2010. Source: spot API errors page."""


def refusal(reason: RejectReason, text: str, *, is_spot: bool = False) -> ApiError:
    """Return the engine's refusal in the venue's words."""
    if is_spot:
        return ApiError(-2010, _SPOT_WORDS.get(reason, text))
    code, msg = REFUSALS.get(reason, (-2010, f"NEW_ORDER_REJECTED: {text}"))
    return ApiError(code, msg)


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def check_qty(listing: Listing, qty: Decimal, *, is_market: bool) -> None:
    """Raise ApiError for a quantity that LOT_SIZE or MARKET_LOT_SIZE excludes."""
    if qty <= ZERO:
        raise ApiError(-4003, "Quantity less than or equal to zero.")
    if _decimals(qty) > listing.qty_decimals and qty % listing.spec.lot_size:
        raise ApiError(-1111, "Precision is over the maximum defined for this asset.")
    if qty < listing.spec.lot_size:
        raise ApiError(-4004, "Quantity less than min quantity.")
    if qty > (listing.market_max_qty if is_market else listing.max_qty):
        raise ApiError(-4005, "Quantity greater than max quantity.")
    if qty % listing.spec.lot_size:
        raise ApiError(-4023, "Quantity not increased by step size.")


def check_price(listing: Listing, price: Decimal, *, is_trigger: bool = False) -> None:
    """Raise ApiError for a price that PRICE_FILTER excludes."""
    if price <= ZERO:
        raise ApiError(-4006, "Stop price less than zero.") if is_trigger else ApiError(-4001, "Price less than 0.")
    if _decimals(price) > listing.price_precision and price % listing.spec.tick_size:
        raise ApiError(-1111, "Precision is over the maximum defined for this asset.")
    if price > listing.max_price:
        raise (
            ApiError(-4007, "Stop price greater than max price.")
            if is_trigger
            else ApiError(-4002, "Price greater than max price.")
        )
    if price < listing.min_price:
        raise ApiError(-4013, "Price less than min price.")
    if price % listing.spec.tick_size:
        raise ApiError(-4014, "Price not increased by tick size.")


def check_percent(listing: Listing, side: str, price: Decimal, mark: Decimal | None) -> None:
    """Raise ApiError for a limit too far beyond the mark (PERCENT_PRICE): buys above, sells below."""
    if mark is None:
        return
    if side == "BUY" and price > mark * listing.multiplier_up:
        raise ApiError(-4016, f"Limit price can't be higher than {_bound(listing, mark * listing.multiplier_up)}.")
    if side == "SELL" and price < mark * listing.multiplier_down:
        raise ApiError(-4024, f"Limit price can't be lower than {_bound(listing, mark * listing.multiplier_down)}.")


def check_market(listing: Listing, side: str, best: Decimal | None, mark: Decimal | None) -> None:
    """Raise ApiError for a market order that would begin too far from the mark."""
    if best is None or mark is None:
        return
    bound = listing.market_take_bound
    is_beyond = best > mark * (1 + bound) if side == "BUY" else best < mark * (1 - bound)
    if is_beyond:
        raise ApiError(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")


def check_notional(listing: Listing, qty: Decimal, price: Decimal | None, *, reduces: bool) -> None:
    """Raise ApiError for an order that is worth too little (MIN_NOTIONAL); reducing orders may be."""
    if price is None or reduces or qty * price >= listing.min_notional:
        return
    raise ApiError(
        -4164,
        f"Order's notional must be no smaller than {plain(listing.min_notional)} (unless you choose reduce only).",
    )


def _bound(listing: Listing, price: Decimal) -> str:
    return to_text(price.quantize(listing.spec.tick_size))
