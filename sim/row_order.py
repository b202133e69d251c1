"""Where rows of messages with two times stand in a market: once, or twice where the two orders disagree.

The orders are those of sim.clocks.two_clocks. Rows are merged along both: a message that is next in both is written
once with both flags; one that is next at the venue only is written for the venue now and for the desk later. So the row
of the venue is never behind that of the desk. Importing this module imports numba.
"""

import numpy as np
from attrs import define, field
from numba import njit

from sim.clocks import LOOKAHEAD_NS, ClockStatistics
from sim.rows import COLUMNS, LAST, LOCAL, VENUE, Column, Rows

_BOTH = VENUE | LOCAL
_NEVER = 2**63 - 1


@define
class RowOrder:
    """Takes messages' rows in the order of `local_ns`, whole messages at a time, and gives rows in both orders.

    All rows of a message carry its two times, the last one LAST; none carries VENUE or LOCAL. What cannot be placed yet
    waits, for at most `lookahead_ns`; `statistics.late` counts messages whose venue time is further back than that:
    they happen that long before their arrival. Raises ValueError when `local_ns` falls or a message is cut.
    """

    statistics: ClockStatistics = field(factory=ClockStatistics)
    lookahead_ns: int = LOOKAHEAD_NS
    _waiting: Rows = field(init=False, factory=lambda: Rows.empty(0))
    _is_placed: Column = field(init=False, factory=lambda: np.zeros(0, np.bool_))
    _local_ns: int = field(init=False, default=0)

    def take(self, rows: Rows) -> Rows:
        """Return what now has its place."""
        if not len(rows):
            return rows
        arrived = rows.local_ns
        if not rows.flags[-1] & LAST:
            raise ValueError("the last message is not whole")
        if int(arrived[0]) < self._local_ns or (arrived[1:] < arrived[:-1]).any():
            raise ValueError("messages are not in the order of their arrival")
        self._local_ns = int(arrived[-1])
        horizon = arrived - self.lookahead_ns
        is_late = rows.venue_ns < horizon
        ends = rows.flags & LAST != 0
        self.statistics.arrivals += int(np.count_nonzero(ends))
        self.statistics.late += int(np.count_nonzero(is_late & ends))
        news = Rows(**{name: getattr(rows, name) for name in COLUMNS})
        news.venue_ns = np.where(is_late, horizon, rows.venue_ns)
        news.local_ns = np.maximum(arrived, news.venue_ns)
        self._waiting = Rows.join([self._waiting, news])
        self._is_placed = np.concatenate([self._is_placed, np.zeros(int(np.count_nonzero(ends)), np.bool_)])
        return self._place(self._local_ns - self.lookahead_ns)

    def finish(self) -> Rows:
        """Return what still waits."""
        return self._place(_NEVER)

    def _place(self, horizon: int) -> Rows:
        waiting = self._waiting
        ends = np.flatnonzero(waiting.flags & LAST) + 1
        starts = np.concatenate(([0], ends))[: len(ends)].astype(np.int64)
        venue_ns, local_ns = waiting.venue_ns[starts], waiting.local_ns[starts]
        by_venue, by_local = np.argsort(venue_ns, kind="stable"), np.argsort(local_ns, kind="stable")
        message, flags = _merge(venue_ns, by_venue, by_local, self._is_placed, horizon)
        taken = _taken(starts, ends, message)
        placed = Rows(**{name: getattr(waiting, name)[taken] for name in COLUMNS})
        placed.flags |= np.repeat(flags, (ends - starts)[message])
        is_left = np.ones(len(ends), np.bool_)
        is_left[message[flags & LOCAL != 0]] = False
        rows_left = np.repeat(is_left, ends - starts)
        self._waiting = Rows(**{name: getattr(waiting, name)[rows_left] for name in COLUMNS})
        self._is_placed = self._is_placed[is_left]
        return placed


@njit(cache=True)
def _merge(
    venue_ns: Column, by_venue: Column, by_local: Column, is_placed: Column, horizon: int
) -> tuple[Column, Column]:
    """Return numbers and flags of the messages in their order; `is_placed` tells, and learns, what the venue has."""
    count = len(venue_ns)
    message, flags = np.empty(2 * count, np.int64), np.empty(2 * count, np.uint8)
    size = at_local = 0
    for at_venue in range(count):
        happening = by_venue[at_venue]
        if is_placed[happening]:
            continue
        if venue_ns[happening] >= horizon:
            break
        while at_local < count and is_placed[by_local[at_local]]:
            message[size], flags[size] = by_local[at_local], LOCAL
            size += 1
            at_local += 1
        is_placed[happening] = True
        message[size], flags[size] = happening, VENUE
        if by_local[at_local] == happening:
            flags[size] = _BOTH
            at_local += 1
        size += 1
    while at_local < count and is_placed[by_local[at_local]]:
        message[size], flags[size] = by_local[at_local], LOCAL
        size += 1
        at_local += 1
    return message[:size], flags[:size]


@njit(cache=True)
def _taken(starts: Column, ends: Column, message: Column) -> Column:
    """Return the places of the messages' rows, one message after the other."""
    count = 0
    for one in message:
        count += ends[one] - starts[one]
    rows = np.empty(count, np.int64)
    at = 0
    for one in message:
        for row in range(starts[one], ends[one]):
            rows[at] = row
            at += 1
    return rows
