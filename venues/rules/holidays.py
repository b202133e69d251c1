"""Decides which days are business days at CME, and counts them.

A business day is neither a weekend nor a trade-date holiday. Source: facts A2 and A3 (trade-date holidays as in
pandas_market_calendars `CME_TradeDate`); Juneteenth is one since 2022.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from functools import cache

from venues.rules.errors import OutsideTableError

FIRST_YEAR = 2019
LAST_YEAR = 2030
_DAY = timedelta(days=1)
_SATURDAY = 5
_SUNDAY = 6


class Holiday(StrEnum):
    NEW_YEAR = "new_year"
    MLK = "mlk"
    PRESIDENTS = "presidents"
    GOOD_FRIDAY = "good_friday"
    MEMORIAL = "memorial"
    JUNETEENTH = "juneteenth"
    INDEPENDENCE = "independence"
    LABOR = "labor"
    THANKSGIVING = "thanksgiving"
    CHRISTMAS = "christmas"


def holiday_on(day: date, field: str = "date") -> Holiday | None:
    """Return the trade-date holiday observed on `day`. Raises OutsideTableError naming `field`."""
    return holidays(_covered(day, field).year).get(day)


def is_business_day(day: date, field: str = "date") -> bool:
    """Say whether a trade date ends on `day`. Raises OutsideTableError naming `field`."""
    return day.weekday() < _SATURDAY and holiday_on(day, field) is None


def business_day_from(day: date, count: int, field: str = "date") -> date:
    """Return the business day that is `count` business days after `day`, before it when negative.

    `day` need be none itself; 0 returns it, or the next one when it is none. Raises OutsideTableError naming `field`.
    """
    step = -_DAY if count < 0 else _DAY
    if not count:
        while not is_business_day(day, field):
            day += step
    for _ in range(abs(count)):
        day += step
        while not is_business_day(day, field):
            day += step
    return day


def business_days_until(day: date, end: date, field: str = "date") -> int:
    """Return how many business days follow `day` up to and including `end`; negative when `end` is before it."""
    if end < day:
        return -business_days_until(end, day, field)
    return sum(is_business_day(day + n * _DAY, field) for n in range(1, (end - day).days + 1))


def last_business_day(year: int, month: int, field: str = "date") -> date:
    """Return the last business day of a month."""
    return business_day_from(first_of_next(year, month), -1, field)


def first_of_next(year: int, month: int) -> date:
    """Return the first day of the month after this one."""
    return date(year + month // 12, month % 12 + 1, 1)


def nth_weekday(year: int, month: int, weekday: int, n: int) -> date:
    """Return the n-th (1-based) `weekday` (Monday 0) of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


@cache
def holidays(year: int) -> Mapping[date, Holiday]:
    """Return the trade-date holidays of a year on the days they are observed."""
    memorial = date(year, 5, 31)
    found = {
        nth_weekday(year, 1, 0, 3): Holiday.MLK,
        nth_weekday(year, 2, 0, 3): Holiday.PRESIDENTS,
        easter(year) - 2 * _DAY: Holiday.GOOD_FRIDAY,
        memorial - timedelta(days=memorial.weekday()): Holiday.MEMORIAL,
        _observed(date(year, 7, 4)): Holiday.INDEPENDENCE,
        nth_weekday(year, 9, 0, 1): Holiday.LABOR,
        nth_weekday(year, 11, 3, 4): Holiday.THANKSGIVING,
        _observed(date(year, 12, 25)): Holiday.CHRISTMAS,
    }
    # A New Year's Day on a Saturday is not observed: the Friday belongs to the old year's last month-end.
    if date(year, 1, 1).weekday() != _SATURDAY:
        found[_observed(date(year, 1, 1))] = Holiday.NEW_YEAR
    if year >= 2022:
        found[_observed(date(year, 6, 19))] = Holiday.JUNETEENTH
    return found


def _observed(day: date) -> date:
    return {_SATURDAY: day - _DAY, _SUNDAY: day + _DAY}.get(day.weekday(), day)


def easter(year: int) -> date:
    """Return Easter Sunday of a Gregorian year (the anonymous algorithm of 1876, Meeus, Astronomical Algorithms)."""
    century, rest = divmod(year, 100)
    golden = year % 19
    epact = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    to_sunday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    correction = (golden + 11 * epact + 22 * to_sunday) // 451
    month, day = divmod(epact + to_sunday - 7 * correction + 114, 31)
    return date(year, month, day + 1)


def _covered(day: date, field: str) -> date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise OutsideTableError(field, f"{day}: business days are known from {FIRST_YEAR} to {LAST_YEAR}")
    return day
