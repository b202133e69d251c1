"""Decides at which instants a holding pays funding, and after how many of them a trade has earned its cost.

Stamps lie on the UTC grid of the interval (8 h: 00, 08, 16). Time is UTC nanoseconds. Source: Binance FAQ 360033525031:
whoever holds at the instant pays the whole interval. A position opened exactly at the stamp does not pay, one closed
exactly at it does.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from attrs import frozen

from venues.model.money import ONE, ZERO
from venues.rules.checks import finite, not_negative
from venues.rules.errors import BadValueError
from venues.rules.funding import interval
from venues.rules.instants import HOUR_NS

_DAY_HOURS = 24
_BPS = 10_000


class HeldSide(StrEnum):
    LONG = "long"
    SHORT = "short"


@frozen
class FundingLeg:
    """One leg of equal notional: a long pays a positive `rate` per interval, a short receives it."""

    rate: Decimal
    interval_hours: int
    side: HeldSide

    @property
    def received(self) -> Decimal:
        """What one stamp brings, as a share of the notional."""
        return self.rate if self.side is HeldSide.SHORT else -self.rate


@frozen
class HoldingRules:
    """`is_pro_rata` is for venues that charge by the time held; off for Binance and Bybit.

    Binance says a position changed within `ambiguous_ns` of a stamp may be charged either way.
    """

    is_pro_rata: bool = False
    ambiguous_ns: int = 15_000_000_000


def paid_share(
    opened_ns: int, closed_ns: int | None, stamp_ns: int, interval_hours: int, rules: HoldingRules | None = None
) -> Decimal:
    """Return the share of the interval's funding due at `stamp_ns` by what was held from `opened_ns` to `closed_ns`.

    0 or 1, or the share of the interval held where the venue works pro rata; None means still open.
    Raises BadValueError.
    """
    _check_holding(opened_ns, closed_ns)
    if rules is not None and rules.is_pro_rata:
        length = interval(interval_hours) * HOUR_NS
        end = stamp_ns if closed_ns is None else min(closed_ns, stamp_ns)
        return Decimal(max(0, end - max(opened_ns, stamp_ns - length))) / length
    return ONE if opened_ns < stamp_ns and (closed_ns is None or stamp_ns <= closed_ns) else ZERO


def is_ambiguous(opened_ns: int, closed_ns: int | None, stamp_ns: int, rules: HoldingRules | None = None) -> bool:
    """Whether the holding changed so near the stamp that the venue may decide either way."""
    _check_holding(opened_ns, closed_ns)
    window = (rules or HoldingRules()).ambiguous_ns
    return any(abs(at - stamp_ns) <= window for at in (opened_ns, closed_ns) if at is not None)


def next_stamp(after_ns: int, interval_hours: int) -> int:
    """Return the first stamp strictly after `after_ns`."""
    length = interval(interval_hours) * HOUR_NS
    return (after_ns // length + 1) * length


def stamp_count(opened_ns: int, closed_ns: int, interval_hours: int) -> int:
    """Return how many stamps what was held from `opened_ns` to `closed_ns` pays at."""
    _check_holding(opened_ns, closed_ns)
    length = interval(interval_hours) * HOUR_NS
    return closed_ns // length - opened_ns // length


def expected_funding(legs: Sequence[FundingLeg], opened_ns: int, closed_ns: int) -> Decimal:
    """Return what the legs receive over the stamps of the holding, as a share of one leg's notional."""
    _check_legs(legs)
    return sum((leg.received * stamp_count(opened_ns, closed_ns, leg.interval_hours) for leg in legs), ZERO)


@frozen
class BreakEven:
    """The instant `at_ns` at which the cost is earned, after `stamps` distinct funding instants."""

    stamps: int
    at_ns: int
    hours: Decimal


def break_even(legs: Sequence[FundingLeg], cost_bps: Decimal, entry_ns: int) -> BreakEven | None:
    """Return when the cumulated net funding first reaches `cost_bps` of one leg's notional, None when it never does.

    Rates are taken to stay. A cost of zero is earned at entry. Raises BadValueError.
    """
    _check_legs(legs)
    cost = Fraction(not_negative(cost_bps, "cost_bps")) / _BPS
    if not cost:
        return BreakEven(0, entry_ns, ZERO)
    hours, sums = _one_day(legs, entry_ns // HOUR_NS)
    daily, most = sums[-1], max(sums)
    if most < cost and daily <= 0:
        return None
    # The pattern repeats daily: whole days may be skipped as long as not even their best stamp reaches the cost.
    days = 0 if most >= cost else -((most - cost) // daily)
    index = next(index for index, earned in enumerate(sums) if earned + days * daily >= cost)
    at_ns = (hours[index] + days * _DAY_HOURS) * HOUR_NS
    return BreakEven(days * len(hours) + index + 1, at_ns, Decimal(at_ns - entry_ns) / HOUR_NS)


def _one_day(legs: Sequence[FundingLeg], entry_hour: int) -> tuple[list[int], list[Fraction]]:
    """Return the funding hours (since the epoch) of the day after entry, and what has been earned at each."""
    hours: list[int] = []
    sums: list[Fraction] = []
    earned = Fraction(0)
    for hour in range(entry_hour + 1, entry_hour + 1 + _DAY_HOURS):
        due = [leg for leg in legs if hour % leg.interval_hours == 0]
        if due:
            earned += sum((Fraction(leg.received) for leg in due), Fraction(0))
            hours.append(hour)
            sums.append(earned)
    return hours, sums


def _check_legs(legs: Sequence[FundingLeg]) -> None:
    if not legs:
        raise BadValueError("legs", "funding needs at least one leg")
    for index, leg in enumerate(legs):
        finite(leg.rate, f"legs[{index}].rate")
        interval(leg.interval_hours, f"legs[{index}].interval_hours")


def _check_holding(opened_ns: int, closed_ns: int | None) -> None:
    if closed_ns is not None and closed_ns < opened_ns:
        raise BadValueError("closed_ns", f"{closed_ns} is before opened_ns {opened_ns}")
