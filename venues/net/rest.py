"""What becomes of an HTTP request to a venue: an answer, proof that it never left, or neither."""

import random
import ssl
from collections.abc import Callable, Mapping

import httpx
from attrs import Factory, field, frozen

from venues.net.limits import Priority, RatePools


@frozen
class Call:
    """One request. `query` may be a function, called at each sending: a signature must be fresh after a wait.

    `deadline_s` counts from the request on, the wait for the pools included. `costs` are tokens by pool name.
    A call that `is_idempotent` may be sent again when its outcome is unknown.
    """

    method: str
    path: str
    query: str | Callable[[], str] = field(default="", repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    deadline_s: float = 5.0
    priority: Priority = Priority.QUERY
    costs: Mapping[str, int] = Factory(dict)
    is_idempotent: bool = False
    content: bytes = field(default=b"", repr=False)


@frozen
class Answer:
    """What the venue said, whatever the status. Header names are in small letters; times are of the client's clock.

    `sent_ns` is when the request was handed to the network, `received_ns` when the answer's headers were there: the
    venue made its answer between them.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    sent_ns: int
    received_ns: int


@frozen
class Throttle:
    """A venue's order to be quiet until `until_ns`: in one pool, or (None) in all; as a ban for everything."""

    until_ns: int
    pool: str | None = None
    is_ban: bool = False


@frozen
class PathCounters:
    """What happened on one path. `buckets` counts answers up to each of LATENCY_BOUNDS_NS, and the slower ones last."""

    calls: int
    answers: int
    not_sent: int
    unknown: int
    retries: int
    latency_sum_ns: int
    buckets: tuple[int, ...]
    statuses: Mapping[int, int]


class RestClient:
    """Asks one venue over HTTP/1.1 with connections kept open. Use as an async context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        limits: RatePools,
        clock: Callable[[], int],
        timeout_s: float = 5.0,
        throttled: Callable[[Answer], Throttle | None] | None = None,
        rng: random.Random | None = None,
        verify: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        raise NotImplementedError

    async def request(self, call: Call) -> Answer:
        """Ask and wait for the answer, of any status.

        Raises NotSentError when the venue never saw it, UnknownOutcomeError when it may have.
        """
        raise NotImplementedError

    def counters(self) -> Mapping[str, PathCounters]:
        """By path."""
        raise NotImplementedError
