"""Counts in fixed buckets, as plain integers that a snapshot holds and a metrics edge reads."""

from bisect import bisect_left
from collections.abc import Sequence

from attrs import define


@define
class Histogram:
    """`counts[i]` observations were at most `bounds[i]` and above the bound before it, the last ones above all bounds.

    `total` sums the observations, negative ones as zero, so that it never falls.
    """

    counts: list[int]
    total: int = 0

    def add(self, value: int, bounds: Sequence[int]) -> None:
        """Count `value`; `bounds` are always the same, ascending, one fewer than there are counts."""
        self.counts[bisect_left(bounds, value)] += 1
        if value > 0:
            self.total += value


def empty(bounds: Sequence[int]) -> Histogram:
    return Histogram([0] * (len(bounds) + 1))
