"""Decides how many whole lots an amount of money comes to, on one instrument or alike on several, and back.

Money is in one currency of account, prices in each instrument's quote; `rate` is what a unit of the quote is worth in
it. What is not a whole lot is not sent. Case: facts/execution.md 4.7 (sizing).
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from attrs import frozen

from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO
from venues.rules.checks import finite, not_negative, positive
from venues.rules.errors import BadValueError
from venues.schedules.common_quantity import SizedLeg, common_quantity
from venues.schedules.slices import EXACT


class SizeLimit(StrEnum):
    """What kept a size from being all that the money pays for, to a lot."""

    MIN_QTY = "min_qty"
    MAX_QTY = "max_qty"
    MIN_NOTIONAL = "min_notional"


@frozen
class Sized:
    """`qty` in the instrument's units, whole lots, 0 when a minimum is missed. `residual` money is left over."""

    qty: Decimal
    notional: Decimal
    residual: Decimal
    limit: SizeLimit | None = None


def worth(spec: Instrument, qty: Decimal, price: Decimal, rate: Decimal = ONE) -> Decimal:
    """Return what |qty| is worth in money. Raises BadValueError."""
    finite(qty, "qty")
    unit = _unit(spec, price, rate)
    return EXACT.multiply(abs(qty), unit)


def _unit(spec: Instrument, price: Decimal, rate: Decimal) -> Decimal:
    """Return what one unit of quantity is worth. An inverse contract is a sum of the quote, whatever the price."""
    positive(price, "price")
    positive(rate, "rate")
    value = spec.multiplier if spec.inverse else EXACT.multiply(spec.multiplier, price)
    return EXACT.multiply(value, rate)


def size(spec: Instrument, money: Decimal, price: Decimal, rate: Decimal = ONE) -> Sized:
    """Return the most whole lots worth at most `money`, within the venue's sizes. Raises BadValueError."""
    not_negative(money, "money")
    unit = _unit(spec, price, rate)
    lots = Fraction(money) / (Fraction(unit) * Fraction(spec.lot_size)) // 1
    qty, limit = EXACT.multiply(Decimal(lots), spec.lot_size), None
    if spec.max_qty is not None and qty > spec.max_qty:
        qty, limit = spec.max_qty // spec.lot_size * spec.lot_size, SizeLimit.MAX_QTY
    if qty < spec.min_qty or not qty:
        qty, limit = ZERO, SizeLimit.MIN_QTY
    elif EXACT.multiply(qty, unit) < EXACT.multiply(spec.min_notional, rate):
        qty, limit = ZERO, SizeLimit.MIN_NOTIONAL
    notional = EXACT.multiply(qty, unit)
    return Sized(qty, notional, EXACT.subtract(money, notional), limit)


@frozen
class CommonSize:
    """`base` units on every leg, as `quantities` of each. `residual` base units of the dearest leg are left unsent."""

    base: Decimal
    quantities: tuple[Decimal, ...]
    residual: Decimal
    residual_notional: Decimal


def common_size(
    specs: Sequence[Instrument], money: Decimal, prices: Sequence[Decimal], rates: Sequence[Decimal] | None = None
) -> CommonSize:
    """Return the largest base quantity that every instrument trades exactly, worth at most `money` on each.

    Raises BadValueError, also for inverse contracts: they hold no fixed base quantity.
    """
    values = [ONE] * len(specs) if rates is None else list(rates)
    if len(prices) != len(specs) or len(values) != len(specs):
        raise BadValueError("prices", f"{len(specs)} legs need as many prices and rates")
    for index, spec in enumerate(specs):
        if spec.inverse:
            raise BadValueError(f"legs[{index}]", f"{spec.id} is inverse: it holds no fixed base quantity")
    legs = [
        SizedLeg(
            EXACT.multiply(positive(price, f"prices[{index}]"), positive(rate, f"rates[{index}]")),
            spec.lot_size,
            spec.min_qty,
            spec.multiplier,
            EXACT.multiply(spec.min_notional, rate),
        )
        for index, (spec, price, rate) in enumerate(zip(specs, prices, values, strict=True))
    ]
    dearest = max((leg.price for leg in legs), default=ONE)
    found = common_quantity(legs, _affordable(specs, dearest, money))
    base = found.quantity
    quantities = tuple(Decimal(_contracts(base, spec)) * spec.lot_size for spec in specs)
    rest = EXACT.subtract(money, EXACT.multiply(base, dearest))
    return CommonSize(base, quantities, rest / dearest, rest)


def _affordable(specs: Sequence[Instrument], dearest: Decimal, money: Decimal) -> Decimal:
    """Return the money that the largest order allowed on every leg is worth, if that is less."""
    not_negative(money, "money")
    most = [EXACT.multiply(spec.max_qty, spec.multiplier) for spec in specs if spec.max_qty is not None]
    return min([money, *(EXACT.multiply(one, dearest) for one in most)])


def _contracts(base: Decimal, spec: Instrument) -> int:
    """Return the lots of a base quantity that is whole in them."""
    lots = Fraction(base) / Fraction(spec.multiplier) / Fraction(spec.lot_size)
    assert lots.denominator == 1
    return lots.numerator
