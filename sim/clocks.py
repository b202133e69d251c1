"""In which order a market's events happen at the venue and reach the desk."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from attrs import define

from venues.port import Message

LOOKAHEAD_NS = 5_000_000_000


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
    what was read last is late: it happens at once, in the order read. Memory is bounded by the look-ahead.
    """
    heap: list[tuple[int, bool, int, Message]] = []
    passed = 0
    for number, arrival in enumerate(arrivals):
        statistics.arrivals += 1
        venue_ns = arrival.venue_ns
        if venue_ns < passed:
            statistics.late += 1
            venue_ns = passed
        heappush(heap, (venue_ns, False, number, arrival.message))
        heappush(heap, (max(arrival.local_ns, venue_ns), True, number, arrival.message))
        horizon = arrival.local_ns - lookahead_ns
        while heap[0][0] <= horizon:
            passed, is_local, _, message = heappop(heap)
            yield Tick(passed, is_local, message)
    while heap:
        ns, is_local, _, message = heappop(heap)
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
        _, index, arrival, iterator = heappop(heap)
        yield arrival
        following = next(iterator, None)
        if following is not None:
            heappush(heap, (following.local_ns, index, following, iterator))
