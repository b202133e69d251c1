"""Decides where a margin balance meets its maintenance margin: one straight line per bracket, solved exactly.

The unknown x is a price for linear contracts and the reciprocal of one for inverse contracts.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from attrs import frozen

from venues.model.instrument import Bracket
from venues.model.money import ONE, ZERO
from venues.rules.brackets import bracket_or_last

_ROUNDING = Decimal("1E-20")
"""Relative distance from a bracket's edge at which its root still counts as inside."""


@frozen
class Exposure:
    """A position whose value grows by signed `size` per unit of x; `start` is the x whose bracket is tried first."""

    size: Decimal
    table: Sequence[Bracket]
    start: Decimal


def root(base: Decimal, exposures: Sequence[Exposure]) -> Decimal | None:
    """Return the positive x with base + sum(size x) = sum(maintenance margin of |size| x), None when there is none.

    One exposure has one root at most. Two opposite ones may have two, since margin grows faster than a small net
    profit; then it is the one towards which the balance falls from `start`. Newton's steps on a concave function never
    pass it, and end when the brackets assumed are those found.
    """
    x = _root_of_one(base, exposures[0]) if len(exposures) == 1 else _root_of_many(base, exposures)
    return x if x is not None and x > ZERO else None


def _root_of_one(base: Decimal, exposure: Exposure) -> Decimal | None:
    table = exposure.table
    signed = exposure.size
    size = abs(signed)
    row = bracket_or_last(table, size * exposure.start)
    for _ in table:
        x = (base + row.cum) / (size * row.mmr - signed)
        found = bracket_or_last(table, size * x)
        if found is row:
            return x
        row = found
    return _nearest(base, (exposure,))


def _root_of_many(base: Decimal, exposures: Sequence[Exposure]) -> Decimal | None:
    rows = [bracket_or_last(each.table, abs(each.size) * each.start) for each in exposures]
    for _ in range(sum(len(each.table) for each in exposures)):
        needed, slope = base, ZERO
        for each, row in zip(exposures, rows, strict=True):
            needed += row.cum
            slope += abs(each.size) * row.mmr - each.size
        if not slope:
            break
        x = needed / slope
        found = [bracket_or_last(each.table, abs(each.size) * x) for each in exposures]
        if all(one is other for one, other in zip(found, rows, strict=True)):
            return x
        rows = found
    return _nearest(base, exposures)


def _nearest(base: Decimal, exposures: Sequence[Exposure]) -> Decimal | None:
    """Return the root nearest to the first start, piece by piece: for steps that go round in a circle."""
    start = exposures[0].start
    return min(_roots(base, exposures), key=lambda x: abs(x - start), default=None)


def _roots(base: Decimal, exposures: Sequence[Exposure]) -> Iterator[Decimal]:
    caps = {row.cap / abs(each.size) for each in exposures for row in each.table[:-1]}
    low = ZERO
    for high in [*sorted(caps), None]:
        inside = low + ONE if high is None else (low + high) / 2
        rows = [bracket_or_last(each.table, abs(each.size) * inside) for each in exposures]
        slope = sum((abs(each.size) * row.mmr - each.size for each, row in zip(exposures, rows, strict=True)), ZERO)
        if slope:
            x = (base + sum((row.cum for row in rows), ZERO)) / slope
            slack = abs(x) * _ROUNDING
            if low - slack <= x and (high is None or x <= high + slack):
                yield x
        low = low if high is None else high
