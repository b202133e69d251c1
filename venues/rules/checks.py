"""Decides which numbers a venue rule may be asked with."""

from decimal import Decimal

from venues.model.money import ONE, ZERO
from venues.rules.errors import BadValueError

LIMIT = Decimal("1E+20")
"""No price, size or amount of money is as large; with eight decimals it still fits the 28 digits of the context."""


def finite(value: Decimal, field: str) -> Decimal:
    """Return a number of either sign. Raises BadValueError for NaN, infinities and what is beyond any market."""
    if not value.is_finite() or not -LIMIT < value < LIMIT:
        raise BadValueError(field, f"must be a number of a market's size, got {value}")
    return value


def positive(value: Decimal, field: str) -> Decimal:
    """Return a number above zero. Raises BadValueError."""
    if not value.is_finite() or not ZERO < value < LIMIT:
        raise BadValueError(field, f"must be positive, got {value}")
    return value


def not_negative(value: Decimal, field: str) -> Decimal:
    """Return a number that is not below zero. Raises BadValueError."""
    if not value.is_finite() or not ZERO <= value < LIMIT:
        raise BadValueError(field, f"must not be negative, got {value}")
    return value


def nonzero(value: Decimal, field: str) -> Decimal:
    """Return a signed size that is not flat. Raises BadValueError."""
    if not finite(value, field):
        raise BadValueError(field, "must not be zero")
    return value


def rate(value: Decimal, field: str) -> Decimal:
    """Return a share of the notional, 0 <= rate < 1. Raises BadValueError."""
    if not value.is_finite() or not ZERO <= value < ONE:
        raise BadValueError(field, f"must be at least 0 and below 1, got {value}")
    return value


def leverage(value: Decimal, field: str) -> Decimal:
    """Return a leverage of at least 1. Raises BadValueError."""
    if not value.is_finite() or not ONE <= value < LIMIT:
        raise BadValueError(field, f"must be at least 1, got {value}")
    return value
