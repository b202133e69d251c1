"""Exact decimal arithmetic: how a number enters, how it leaves, what is refused."""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_UP, Decimal, InvalidOperation

ZERO = Decimal(0)
ONE = Decimal(1)

# Ten integer digits beside it still fit the 28 digits of the default context, so sums of such amounts are exact.
COST_QUANTUM = Decimal("1E-15")

__all__ = [
    "COST_QUANTUM",
    "ONE",
    "ROUND_CEILING",
    "ROUND_DOWN",
    "ROUND_FLOOR",
    "ROUND_HALF_EVEN",
    "ROUND_UP",
    "ZERO",
    "NotANumberError",
    "parse_decimal",
    "round_to_step",
    "to_text",
]


class NotANumberError(ValueError):
    """A field that must hold a finite decimal does not; the message names the field."""


def parse_decimal(value: object, field: str) -> Decimal:
    """Return `value` (str, int or Decimal) as a finite Decimal.

    Floats are refused because they have lost their digits already.
    Raises NotANumberError for floats, NaN, infinities and anything else that is not a plain number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise NotANumberError(f"{field}: expected a decimal written as a string, got {value!r}")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise NotANumberError(f"{field}: {value!r} is not a number") from None
    if not number.is_finite():
        raise NotANumberError(f"{field}: {value!r} is not finite")
    return number


def to_text(number: Decimal) -> str:
    """Return `number` in plain notation, never with an exponent; digits are kept as they are."""
    return format(number, "f")


def round_to_step(number: Decimal, step: Decimal, rounding: str = ROUND_DOWN) -> Decimal:
    """Return the multiple of `step` next to `number` in the direction `rounding`; `step` is positive."""
    return (number / step).to_integral_value(rounding=rounding) * step
