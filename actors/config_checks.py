"""Decides which numbers a configuration may hold: validators for attrs fields that name the field they refuse."""

from decimal import Decimal
from typing import TypeVar

from attrs import Attribute

from venues.model.money import ONE, ZERO

Number = TypeVar("Number", int, Decimal)


def _finite(attribute: "Attribute[Number]", value: Number) -> None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
        raise ValueError(f"{attribute.name}: must be a finite number, got {value!r}")


def finite(instance: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    """Accept finite numbers. Raises ValueError naming the field."""
    _finite(attribute, value)


def positive(instance: object, attribute: "Attribute[Number]", value: Number) -> None:
    """Accept finite numbers above zero. Raises ValueError naming the field."""
    _finite(attribute, value)
    if value <= ZERO:
        raise ValueError(f"{attribute.name}: must be positive, got {value}")


def not_negative(instance: object, attribute: "Attribute[Number]", value: Number) -> None:
    """Accept finite numbers from zero. Raises ValueError naming the field."""
    _finite(attribute, value)
    if value < ZERO:
        raise ValueError(f"{attribute.name}: must not be negative, got {value}")


def share(instance: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    """Accept numbers from 0 to 1. Raises ValueError naming the field."""
    not_negative(instance, attribute, value)
    if value > ONE:
        raise ValueError(f"{attribute.name}: must be a share of at most 1, got {value}")


def positive_or_none(instance: object, attribute: "Attribute[Decimal | None]", value: Decimal | None) -> None:
    """Accept None and finite numbers above zero. Raises ValueError naming the field."""
    if value is not None and not (isinstance(value, Decimal) and value.is_finite() and value > ZERO):
        raise ValueError(f"{attribute.name}: must be positive, got {value!r}")
