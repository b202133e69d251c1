"""Counts in fixed buckets and in tables of bounded size: plain integers for snapshots and metrics."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from attrs import define

OTHER: Final = "other"
"""What is counted once a table holds as many names as it may."""


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


def count(table: dict[str, int], key: str, most: int) -> None:
    """Add one to `key`, or to OTHER when the key is new and the table holds `most` already."""
    if key not in table and len(table) >= most:
        key = OTHER
    table[key] = table.get(key, 0) + 1
