"""Decides the largest base quantity that every leg of a trade can trade exactly, so that no leg is left with a rest.

Case: facts/execution.md 4.7 (sizing). The unit common to all legs is the least common multiple of their steps in base
units; flooring each leg alone, or to the coarser step, leaves a difference open.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import gcd, lcm

from attrs import frozen

from venues.model.money import ZERO
from venues.rules.checks import not_negative, positive
from venues.rules.errors import BadValueError
from venues.schedules.slices import EXACT


@frozen
class SizedLeg:
    """`price` in quote per base unit; `step` and `min_qty` in contracts of `multiplier` base units each.

    `min_notional` in quote.
    """

    price: Decimal
    step: Decimal
    min_qty: Decimal
    multiplier: Decimal
    min_notional: Decimal


@frozen
class CommonQuantity:
    """`quantity` in base units, 0 when a leg's minimum is missed; `residual_notional` stays unsent."""

    quantity: Decimal
    residual_notional: Decimal
    unit: Decimal


def common_unit(steps: Sequence[Decimal]) -> Decimal:
    """Return the least common multiple of positive `steps`, exactly. Raises BadValueError for none."""
    if not steps:
        raise BadValueError("legs", "a common quantity needs at least one leg")
    common = Fraction(0)
    for index, step in enumerate(steps):
        one = Fraction(positive(step, f"legs[{index}].step"))
        common = _lcm(common, one) if common else one
    return EXACT.divide(Decimal(common.numerator), Decimal(common.denominator))


def common_quantity(legs: Sequence[SizedLeg], notional: Decimal) -> CommonQuantity:
    """Return the largest multiple of the common unit worth at most `notional` on every leg. Raises BadValueError."""
    for index, leg in enumerate(legs):
        positive(leg.price, f"legs[{index}].price")
        positive(leg.step, f"legs[{index}].step")
        positive(leg.multiplier, f"legs[{index}].multiplier")
        not_negative(leg.min_qty, f"legs[{index}].min_qty")
        not_negative(leg.min_notional, f"legs[{index}].min_notional")
    not_negative(notional, "notional")
    unit = common_unit([EXACT.multiply(leg.step, leg.multiplier) for leg in legs])
    dearest = max(leg.price for leg in legs)
    count = Fraction(notional) / Fraction(dearest) / Fraction(unit) // 1
    quantity = EXACT.multiply(Decimal(count), unit)
    if any(_is_too_small(leg, quantity) for leg in legs):
        quantity = ZERO
    return CommonQuantity(quantity, EXACT.subtract(notional, EXACT.multiply(quantity, legs[0].price)), unit)


def _is_too_small(leg: SizedLeg, quantity: Decimal) -> bool:
    contracts = Fraction(quantity) / Fraction(leg.multiplier)
    return contracts < Fraction(leg.min_qty) or EXACT.multiply(quantity, leg.price) < leg.min_notional


def _lcm(a: Fraction, b: Fraction) -> Fraction:
    return Fraction(lcm(a.numerator, b.numerator), gcd(a.denominator, b.denominator))
