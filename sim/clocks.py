"""In which order a market's events happen at the venue and reach the desk."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush, heapreplace

from attrs import define, field, frozen

from sim.stored import StoredMessage, stored
from venues.port import Message

LOOKAHEAD_NS = 5_000_000_000
_BATCH = 4_096


@define
class Arrival:
    """One market message with both its times: `venue_ns` when it happened, `local_ns` when the desk got it."""

    venue_ns: int
    local_ns: int
    message: Message


@define
class Tick:
    """One moment of one clock: the message happens at the venue, or reaches the desk."""

    ns: int
    is_local: bool
    message: Message


@define
class ClockStatistics:
    """`late` counts messages whose venue time was too far before their arrival to be put in its place."""

    arrivals: int = 0
    late: int = 0


@frozen
class StoredClocks:
    """Ticks that were read and not yet taken, as (ns, whether local, arrival) in order; `messages` by arrival."""

    waiting: list[tuple[int, bool, int]]
    messages: dict[int, StoredMessage]
    arrivals: int
    late: int
    full: int
    settled: int
    is_over: bool


@define
class TwoClocks:
    """Every arrival twice, ordered by each clock's time; at equal times the venue's event comes first.

    `arrivals` come in order of `local_ns`, never before `venue_ns`. A venue time more than `lookahead_ns` older than
    what was read last is late: it happens that long before its arrival. Memory is bounded by the look-ahead. To be
    iterated once; between two ticks it can be stored.
    """

    arrivals: Iterable[Arrival]
    statistics: ClockStatistics
    lookahead_ns: int = LOOKAHEAD_NS
    _waiting: list[tuple[int, bool, int, Message]] = field(init=False, factory=list)
    _taken: int = field(init=False, default=0)
    _settled: int = field(init=False, default=0)
    _full: int = field(init=False, factory=lambda: _BATCH)
    _is_over: bool = field(init=False, default=False)

    def __iter__(self) -> Iterator[Tick]:
        waiting, arrivals = self._waiting, iter(self.arrivals)
        while True:
            for ns, is_local, _, message in waiting[self._taken : self._settled]:
                self._taken += 1
                yield Tick(ns, is_local, message)
            del waiting[: self._settled]
            self._taken = self._settled = 0
            if self._is_over:
                return
            self._read(arrivals)

    def _read(self, arrivals: Iterator[Arrival]) -> None:
        """Read until enough wait; what comes later happens after what is settled then."""
        waiting, statistics = self._waiting, self.statistics
        for arrival in arrivals:
            venue_ns, local_ns, message = arrival.venue_ns, arrival.local_ns, arrival.message
            horizon = local_ns - self.lookahead_ns
            if venue_ns < horizon:
                statistics.late += 1
                venue_ns = horizon
            number = statistics.arrivals
            waiting.append((venue_ns, False, number, message))
            waiting.append((local_ns if local_ns > venue_ns else venue_ns, True, number, message))
            statistics.arrivals += 1
            if len(waiting) >= self._full:
                # Whatever is still to be read happens at the horizon or later. Nearly sorted lists sort in linear time.
                waiting.sort()
                self._settled = bisect_left(waiting, (horizon,))
                self._full = len(waiting) - self._settled + _BATCH
                return
        self._is_over = True
        waiting.sort()
        self._settled = len(waiting)

    def store(self) -> StoredClocks:
        """Return what is to be known to go on after the tick that was taken last."""
        waiting = self._waiting[self._taken :]
        return StoredClocks(
            [(ns, is_local, number) for ns, is_local, number, _ in waiting],
            {number: stored(message) for _, _, number, message in waiting},
            self.statistics.arrivals,
            self.statistics.late,
            self._full,
            self._settled - self._taken,
            self._is_over,
        )

    def restore(self, found: StoredClocks) -> None:
        """Go on from there; `arrivals` must go on after `found.arrivals` of them."""
        messages = {number: one.message() for number, one in found.messages.items()}
        self._waiting[:] = [(ns, is_local, number, messages[number]) for ns, is_local, number in found.waiting]
        self.statistics.arrivals, self.statistics.late = found.arrivals, found.late
        self._full, self._settled, self._taken, self._is_over = found.full, found.settled, 0, found.is_over


def two_clocks(
    arrivals: Iterable[Arrival], statistics: ClockStatistics, lookahead_ns: int = LOOKAHEAD_NS
) -> Iterator[Tick]:
    """Yield what TwoClocks does."""
    return iter(TwoClocks(arrivals, statistics, lookahead_ns))


def merge_arrivals(streams: Iterable[Iterable[Arrival]]) -> Iterator[Arrival]:
    """Merge streams that are each ordered by `local_ns`; at equal times the earlier stream comes first."""
    heap: list[tuple[int, int, Arrival, Iterator[Arrival]]] = []
    for index, stream in enumerate(streams):
        iterator = iter(stream)
        first = next(iterator, None)
        if first is not None:
            heappush(heap, (first.local_ns, index, first, iterator))
    while heap:
        _, index, arrival, iterator = heap[0]
        yield arrival
        following = next(iterator, None)
        if following is None:
            heappop(heap)
        else:
            heapreplace(heap, (following.local_ns, index, following, iterator))
