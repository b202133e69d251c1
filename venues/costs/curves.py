"""Decides by how much slippage grows or shrinks with the hour and the month; flat unless a curve is given."""

from attrs import Attribute, field, frozen

from venues.rules import float_checks
from venues.rules.errors import BadValueError

_HOURS, _MONTHS = 24, 12


def _curve(instance: object, attribute: "Attribute[tuple[float, ...]]", value: tuple[float, ...]) -> None:
    expected = _HOURS if attribute.name == "hourly" else _MONTHS
    if len(value) not in (0, expected):
        raise BadValueError(attribute.name, f"needs {expected} factors, got {len(value)}")
    for index, factor in enumerate(value):
        float_checks.positive(factor, f"{attribute.name}[{index}]")


@frozen
class LiquidityCurves:
    """Factors on slippage: `hourly` by UTC hour (24), `monthly` by month (12); empty means 1."""

    hourly: tuple[float, ...] = field(default=(), validator=_curve)
    monthly: tuple[float, ...] = field(default=(), validator=_curve)

    def factor(self, hour: int, month: int) -> float:
        """Return the factor for an hour 0..23 and a month 1..12. Raises BadValueError."""
        if not 0 <= hour < _HOURS:
            raise BadValueError("hour", f"must be from 0 to 23, got {hour}")
        if not 1 <= month <= _MONTHS:
            raise BadValueError("month", f"must be from 1 to 12, got {month}")
        of_hour = self.hourly[hour] if self.hourly else 1.0
        return of_hour * (self.monthly[month - 1] if self.monthly else 1.0)
