"""What became of requests, by what they asked for, and how long answers took."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from attrs import Factory, define, frozen

LATENCY_BOUNDS_NS: Final = tuple(ms * 1_000_000 for ms in (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000))
"""Upper bounds of the latency buckets."""

_NAMES_MAX: Final = 256
_OTHERS: Final = "(other)"


@frozen
class RequestCounters:
    """What happened to one kind of request.

    `buckets` counts answers up to each of LATENCY_BOUNDS_NS, and the slower ones last; `statuses` answers by status.
    """

    answers: int
    not_sent: int
    unknown: int
    retries: int
    latency_sum_ns: int
    latency_max_ns: int
    buckets: tuple[int, ...]
    statuses: Mapping[int, int]


@define
class RequestTally:
    """One kind of request, as it is counted."""

    answers: int = 0
    not_sent: int = 0
    unknown: int = 0
    retries: int = 0
    latency_sum_ns: int = 0
    latency_max_ns: int = 0
    buckets: list[int] = Factory(lambda: [0] * (len(LATENCY_BOUNDS_NS) + 1))
    statuses: dict[int, int] = Factory(dict)

    def note(self, status: int, sent_ns: int, received_ns: int) -> None:
        """Take an answer; a clock that was set back meanwhile makes it one at once."""
        latency_ns = max(0, received_ns - sent_ns)
        self.answers += 1
        self.latency_sum_ns += latency_ns
        self.latency_max_ns = max(self.latency_max_ns, latency_ns)
        self.buckets[bisect_left(LATENCY_BOUNDS_NS, latency_ns)] += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Outcomes:
    """Requests by name, a path or a method; what is beyond the first 256 names is counted together."""

    def __init__(self) -> None:
        self._tallies: dict[str, RequestTally] = {}

    def of(self, name: str) -> RequestTally:
        """Return where requests of that name are counted."""
        found = self._tallies.get(name)
        if found is None:
            name = name if len(self._tallies) < _NAMES_MAX else _OTHERS
            found = self._tallies.setdefault(name, RequestTally())
        return found

    def counters(self) -> Mapping[str, RequestCounters]:
        """Return what has been counted so far, by name."""
        return {
            name: RequestCounters(
                one.answers,
                one.not_sent,
                one.unknown,
                one.retries,
                one.latency_sum_ns,
                one.latency_max_ns,
                tuple(one.buckets),
                dict(one.statuses),
            )
            for name, one in self._tallies.items()
        }
