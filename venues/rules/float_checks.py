"""Decides which floats a model may be asked with; money and prices never are floats."""

from decimal import Decimal
from math import isfinite

from venues.rules.errors import BadValueError


def finite(value: float, field: str) -> float:
    """Return a number of either sign. Raises BadValueError for NaN and infinities."""
    if not isfinite(value):
        raise BadValueError(field, f"must be a finite number, got {value}")
    return value


def not_negative(value: float, field: str) -> float:
    """Return a number that is not below zero. Raises BadValueError."""
    if not (isfinite(value) and value >= 0.0):
        raise BadValueError(field, f"must be finite and not negative, got {value}")
    return value


def positive(value: float, field: str) -> float:
    """Return a number above zero. Raises BadValueError."""
    if not (isfinite(value) and value > 0.0):
        raise BadValueError(field, f"must be finite and positive, got {value}")
    return value


def to_decimal(value: float, field: str) -> Decimal:
    """Return the shortest Decimal that reads back as `value`. Raises BadValueError when the model overflowed."""
    if not isfinite(value):
        raise BadValueError(field, "too large for the model's arithmetic")
    return Decimal(repr(value))
