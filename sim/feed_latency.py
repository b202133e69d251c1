"""Decides whether recorded rows may drive a backtest: a desk that hears of everything at once would look ahead."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sim.kernel.compiled import compiled
from sim.kernel.layout import Array
from sim.rows import CLEAR, LOCAL, SNAPSHOT, Rows

PROVEN = 2


class ZeroFeedLatencyError(ValueError):
    """A recording whose rows reach the desk at the instant they happen; the message names the source."""


def with_feed_latency(blocks: Iterable[Rows], source: str) -> Iterator[Rows]:
    """Yield `blocks`, read from `source`, as long as every instrument in them has shown that its feed takes time.

    Raises ZeroFeedLatencyError for a block with an instrument of which no row has reached the desk later than it
    happened. Whole books do not count: venues may tell no time for them.
    """
    seen = np.zeros(1 << 16, np.uint8)
    for block in blocks:
        at_once = first_at_once(block.kind, block.flags, block.instrument, block.venue_ns, block.local_ns, seen)
        if at_once >= 0:
            raise ZeroFeedLatencyError(
                f"{source}: rows of instrument {at_once} reach the desk at the instant they happen; a feed "
                "without latency lets a backtest look ahead (only rows made for a test may: is_synthetic)"
            )
        yield block


@compiled
def first_at_once(kind: Array, flags: Array, instrument: Array, venue_ns: Array, local_ns: Array, seen: Array) -> Any:
    """Return the first instrument of a block that has not shown a latency by its end, -1 when there is none.

    `seen` is by instrument and kept from block to block: 1 rows were told of it, 2 one of them came later.
    """
    highest = -1
    for row in range(len(kind)):
        if flags[row] & LOCAL and kind[row] != CLEAR and kind[row] != SNAPSHOT:
            at = int(instrument[row])
            highest = max(highest, at)
            if seen[at] != PROVEN:
                seen[at] = PROVEN if local_ns[row] > venue_ns[row] else 1
    for at in range(highest + 1):
        if seen[at] == 1:
            return at
    return -1
