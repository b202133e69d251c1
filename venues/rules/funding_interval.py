"""Decides whether a settlement moves a symbol to another funding interval.

Source: Binance notices as quoted by mirrors; the venue switches without announcement, so its `fundingInfo` is the truth
and this is what a simulation and a warning go by.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from attrs import frozen

from venues.rules.checks import finite
from venues.rules.errors import BadValueError
from venues.rules.funding import interval
from venues.rules.instants import instant_ns


@frozen
class IntervalRules:
    """A symbol in one of `faster_from` hours whose settlement is at its cap or floor goes to `faster_to` hours.

    One at `slower_from` hours with |rate| <= `calm_rate` at `calm_settlements` settlements in a row goes to
    `slower_to`. Each applies to settlements from its instant on.
    """

    faster_from: frozenset[int] = frozenset({4, 8})
    faster_to: int = 1
    faster_since: datetime = datetime(2025, 5, 2, 8, tzinfo=UTC)
    slower_from: frozenset[int] = frozenset({1})
    slower_to: int = 4
    slower_since: datetime = datetime(2026, 1, 2, 12, tzinfo=UTC)
    calm_rate: Decimal = Decimal("0.00025")
    calm_settlements: int = 16


BINANCE_INTERVALS = IntervalRules()


def next_interval(
    interval_hours: int,
    rates: Sequence[Decimal],
    cap: Decimal,
    floor: Decimal,
    at_ns: int,
    rules: IntervalRules = BINANCE_INTERVALS,
) -> int:
    """Return the interval in hours that follows the settlement at `at_ns`.

    `rates` are those settled at the present interval, oldest first, the one of `at_ns` last. Raises BadValueError.
    """
    interval(interval_hours)
    if finite(floor, "floor") > finite(cap, "cap"):
        raise BadValueError("floor", f"{floor} is above cap {cap}")
    if not rates:
        raise BadValueError("rates", "a switch follows a settlement, got none")
    for index, rate in enumerate(rates):
        finite(rate, f"rates[{index}]")
    if interval_hours in rules.faster_from and at_ns >= instant_ns(rules.faster_since):
        return interval_hours if floor < rates[-1] < cap else rules.faster_to
    if interval_hours in rules.slower_from and at_ns >= instant_ns(rules.slower_since):
        latest = rates[-rules.calm_settlements :]
        is_calm = len(latest) == rules.calm_settlements and all(abs(rate) <= rules.calm_rate for rate in latest)
        return rules.slower_to if is_calm else interval_hours
    return interval_hours
