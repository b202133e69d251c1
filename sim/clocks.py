"""In which order a market's events happen at the venue and reach the desk."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush, heapreplace

from attrs import define

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


def two_clocks(
    arrivals: Iterable[Arrival], statistics: ClockStatistics, lookahead_ns: int = LOOKAHEAD_NS
) -> Iterator[Tick]:
    """Yield every arrival twice, ordered by each clock's time; at equal times the venue's event comes first.

    `arrivals` come in order of `local_ns`, never before `venue_ns`. A venue time more than `lookahead_ns` older than
    what was read last is late: it happens that long before its arrival. Memory is bounded by the look-ahead.
    """
    waiting: list[tuple[int, bool, int, Message]] = []
    full = _BATCH
    for number, arrival in enumerate(arrivals):
        venue_ns, local_ns, message = arrival.venue_ns, arrival.local_ns, arrival.message
        horizon = local_ns - lookahead_ns
        if venue_ns < horizon:
            statistics.late += 1
            venue_ns = horizon
        waiting.append((venue_ns, False, number, message))
        waiting.append((local_ns if local_ns > venue_ns else venue_ns, True, number, message))
        statistics.arrivals += 1
        if len(waiting) >= full:
            # Whatever is still to be read happens at the horizon or later. Nearly sorted lists sort in linear time.
            waiting.sort()
            settled = bisect_left(waiting, (horizon,))
            for ns, is_local, _, settled_message in waiting[:settled]:
                yield Tick(ns, is_local, settled_message)
            del waiting[:settled]
            full = len(waiting) + _BATCH
    waiting.sort()
    for ns, is_local, _, message in waiting:
        yield Tick(ns, is_local, message)


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
