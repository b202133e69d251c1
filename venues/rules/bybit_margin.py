"""Decides what Bybit UTA asks as margin for linear contracts, and at which price an isolated position ends.

Source: Bybit help center, "Liquidation Price Calculation under Isolated Mode (Unified Trading Account)" of 2026-05-27,
"Bankruptcy Price (USDT Contract)"; recorded account responses. Money in the settlement asset, prices in quote per base,
`qty` in base units, unsigned. Rates are fractions: 0.005 is half a percent.
"""

from decimal import Decimal
from enum import StrEnum

from venues.model.money import ONE
from venues.model.order import PositionSide
from venues.rules import checks
from venues.rules.errors import BadValueError


class ValueBasis(StrEnum):
    """Which price values a position: the mark since the margin change of 2025, the entry before."""

    ENTRY = "entry"
    MARK = "mark"


def bankruptcy_price(side: PositionSide, entry_price: Decimal, leverage: Decimal) -> Decimal:
    """Return the price at which the initial margin is eaten: entry x (1 -+ 1/leverage). Raises BadValueError.

    Not rounded; the venue shows it rounded to the tick.
    """
    entry = checks.positive(entry_price, "entry_price")
    return entry * (ONE - _sign(side) / checks.leverage(leverage, "leverage"))


def fee_to_close(side: PositionSide, qty: Decimal, entry_price: Decimal, leverage: Decimal, taker: Decimal) -> Decimal:
    """Return the fee of closing at the bankruptcy price of the chosen leverage. Raises BadValueError."""
    at = bankruptcy_price(side, entry_price, leverage)
    return checks.positive(qty, "qty") * at * checks.rate(taker, "taker")


def position_value(qty: Decimal, entry_price: Decimal, mark_price: Decimal, basis: ValueBasis) -> Decimal:
    """Return qty x the price that `basis` names. Raises BadValueError."""
    prices = {
        ValueBasis.ENTRY: checks.positive(entry_price, "entry_price"),
        ValueBasis.MARK: checks.positive(mark_price, "mark_price"),
    }
    return checks.positive(qty, "qty") * prices[basis]


def initial_margin(value: Decimal, leverage: Decimal, fee: Decimal) -> Decimal:
    """Return value / leverage with the fee to close. Raises BadValueError."""
    return checks.not_negative(value, "value") / checks.leverage(leverage, "leverage") + checks.not_negative(fee, "fee")


def maintenance_margin(value: Decimal, mmr: Decimal, mm_deduction: Decimal, fee: Decimal) -> Decimal:
    """Return value x mmr - deduction with the fee to close; rate and deduction are those of the position's tier.

    Raises BadValueError for a deduction larger than the margin it is taken off: it belongs to another tier.
    """
    margin = checks.not_negative(value, "value") * checks.rate(mmr, "mmr")
    if checks.not_negative(mm_deduction, "mm_deduction") > margin:
        raise BadValueError("mm_deduction", f"{mm_deduction} is more than the margin {margin} it is taken off")
    return margin - mm_deduction + checks.not_negative(fee, "fee")


def liquidation_price(
    side: PositionSide,
    qty: Decimal,
    entry_price: Decimal,
    leverage: Decimal,
    mmr: Decimal,
    mm_deduction: Decimal,
    extra_margin: Decimal,
    taker: Decimal,
) -> Decimal | None:
    """Return the mark price that liquidates an isolated position, None for a long that no price above zero does.

    (EP Q -+ (EP Q / leverage + extra / (1 -+ taker) + deduction)) / (Q -+ Q mmr), minus for a long. Cross and portfolio
    margin are liquidated by account, not by price. Raises BadValueError.
    """
    sign = _sign(side)
    size = checks.positive(qty, "qty")
    value = size * checks.positive(entry_price, "entry_price")
    extra = checks.not_negative(extra_margin, "extra_margin") / (ONE - sign * checks.rate(taker, "taker"))
    borne = value / checks.leverage(leverage, "leverage") + extra + checks.not_negative(mm_deduction, "mm_deduction")
    price = (value - sign * borne) / (size * (ONE - sign * checks.rate(mmr, "mmr")))
    return price if price > 0 else None


def _sign(side: PositionSide) -> int:
    if side is PositionSide.BOTH:
        raise BadValueError("side", "must be long or short")
    return 1 if side is PositionSide.LONG else -1
