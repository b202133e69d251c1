"""Decides whether recorded rows may drive a backtest: a desk that hears of everything at once would look ahead."""

from collections.abc import Iterable, Iterator

import numpy as np

from sim.rows import CLEAR, LOCAL, SNAPSHOT, Rows


class ZeroFeedLatencyError(ValueError):
    """A recording whose rows reach the desk at the instant they happen; the message names the source."""


def with_feed_latency(blocks: Iterable[Rows], source: str) -> Iterator[Rows]:
    """Yield `blocks`, read from `source`, as long as every instrument in them has shown that its feed takes time.

    Raises ZeroFeedLatencyError for a block with an instrument of which no row has reached the desk later than it
    happened. Whole books do not count: venues may tell no time for them.
    """
    late: set[int] = set()
    for block in blocks:
        told = (block.flags & LOCAL != 0) & (block.kind != CLEAR) & (block.kind != SNAPSHOT)
        late.update(np.unique(block.instrument[told & (block.local_ns > block.venue_ns)]).tolist())
        at_once = set(np.unique(block.instrument[told]).tolist()) - late
        if at_once:
            raise ZeroFeedLatencyError(
                f"{source}: rows of instrument {min(at_once)} reach the desk at the instant they happen; a feed "
                "without latency lets a backtest look ahead (only rows made for a test may: is_synthetic)"
            )
        yield block
