"""Decides how the months of a future are joined into one series, for research only: no order takes such a price.

At each roll the older prices are moved by the gap between the two months. The newest month keeps its prices.
DIFFERENCE adds the gap: profits in points are kept, prices may turn negative. RATIO multiplies: returns are kept, ticks
are not. Source: facts D.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, localcontext
from enum import StrEnum
from itertools import pairwise

from attrs import frozen

from venues.model.money import ONE, ZERO
from venues.rules.checks import finite, positive
from venues.rules.errors import BadValueError

_DIGITS = 50


class Adjustment(StrEnum):
    DIFFERENCE = "difference"
    RATIO = "ratio"


@frozen
class Month:
    """One contract of the series: prices by trade date, used from `since` (its roll date; the first one's is ignored).

    A month's prices must cover the roll into it and the roll out of it.
    """

    symbol: str
    since: date
    prices: Mapping[date, Decimal]


@frozen
class Point:
    """One day of the series. `traded` is the price that existed, `adjusted` the one of the series."""

    day: date
    symbol: str
    traded: Decimal
    adjusted: Decimal


def back_adjusted(months: Sequence[Month], method: Adjustment) -> list[Point]:
    """Return the joined series, oldest day first. On a roll date the new month is used.

    Raises BadValueError for months out of order, a month without a price on a roll date, and, for RATIO, prices that
    are not positive.
    """
    if not months:
        raise BadValueError("months", "none given")
    for before, after in pairwise(months):
        if before.since >= after.since:
            raise BadValueError("months", f"{after.symbol} rolls in on {after.since}, {before.symbol} later")
    points: list[Point] = []
    offset, factor = ZERO, ONE
    with localcontext(prec=_DIGITS):
        for number in range(len(months) - 1, -1, -1):
            month = months[number]
            if number + 1 < len(months):
                gap, scale = _gap(month, months[number + 1], method)
                offset, factor = offset + gap, factor * scale
            points += [
                Point(day, month.symbol, price, price * factor + offset)
                for day, price in sorted(_used(months, number), reverse=True)
            ]
    return points[::-1]


def _used(months: Sequence[Month], number: int) -> list[tuple[date, Decimal]]:
    month = months[number]
    ends = months[number + 1].since if number + 1 < len(months) else date.max
    starts = month.since if number else date.min
    return [
        (day, finite(price, f"{month.symbol} {day}")) for day, price in month.prices.items() if starts <= day < ends
    ]


def _gap(front: Month, back: Month, method: Adjustment) -> tuple[Decimal, Decimal]:
    prices = []
    for month in (front, back):
        price = month.prices.get(back.since)
        if price is None:
            raise BadValueError("months", f"{month.symbol} has no price on the roll date {back.since}")
        prices.append(price)
    old, new = prices
    if method is Adjustment.RATIO:
        return ZERO, positive(new, back.symbol) / positive(old, front.symbol)
    return finite(new, back.symbol) - finite(old, front.symbol), ONE
