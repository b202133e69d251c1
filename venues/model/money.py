"""Exact decimal arithmetic: how a number enters, how it leaves, what is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)

ZERO = Decimal(0)
ONE = Decimal(1)

# Ten integer digits beside it still fit the 28 digits of the default context, so sums of such amounts are exact.
COST_QUANTUM = Decimal("1E-15")

_CONTEXT = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, Overflow],
)

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
    "desk_arithmetic",
    "parse_decimal",
    "round_to_step",
    "to_text",
]


@contextmanager
def desk_arithmetic() -> Iterator[None]:
    """Calculate with 28 digits, rounding half to even, whatever a notebook or a library set for its own decimals.

    A run and its replay agree to the last digit only under the same rules. Also a decorator: `@desk_arithmetic()`.
    """
    with localcontext(_CONTEXT):
        yield


class NotANumberError(ValueError):
    """A field that must hold a finite decimal does not; the message names the field."""


_NUMBERS = (str, int, Decimal)


def parse_decimal(value: object, field: str) -> Decimal:
    """Return `value` (str, int or Decimal) as a finite Decimal.

    Floats are refused because they have lost their digits already.
    Raises NotANumberError for floats, NaN, infinities and anything else that is not a plain number.
    """
    if not isinstance(value, _NUMBERS) or isinstance(value, bool):
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
