"""Decides what goes wrong: which request, stream event or connection meets which fault, and when."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic_ns
from typing import Any, Final

import trio
from attrs import field, frozen

from sim.emulator.http_server import NoAnswer

Event = Mapping[str, Any]


@frozen
class Subject:
    """A request as faults see it: REST with its method and path, WS API with "WS" and the method's name as path.

    `parameters` are the request's, as texts; `frees_risk` is true of cancels and of orders that only reduce, which
    the venue's throttle (-1008) lets pass.
    """

    method: str
    path: str
    parameters: Mapping[str, str]
    frees_risk: bool = False


@frozen
class RequestAction:
    """What happens to a request. `delay_before_ns` before it is looked at, `delay_after_ns` before the answer leaves.

    `answer` is None for the true answer, else what is told instead; `is_executed` says whether the request is carried
    out for all that. `retry_after_s` is a header, and the length of the ban where the status is 418.
    """

    delay_before_ns: int = 0
    delay_after_ns: int = 0
    is_executed: bool = True
    answer: NoAnswer | None = None
    status: int | None = None
    code: int = 0
    message: str = ""
    retry_after_s: int | None = None


NO_FAULT: Final = RequestAction()


@frozen(eq=False)
class Link:
    """One websocket connection as faults see it.

    When `cut` is set the connection is to be closed at once, without a closing handshake. When `silenced` is set
    nothing more may be sent on it, nor read: it stays open, half dead.
    """

    route: str
    faults: "Faults"
    cut: trio.Event = field(factory=trio.Event)
    silenced: trio.Event = field(factory=trio.Event)

    def on_event(self, stream: str, event: Event) -> list[tuple[int, Event]]:
        """Return what is to be sent for one event of a stream: (nanoseconds from now, event), in the order to send.

        Times never decrease along a link but by a fault that says so. `stream` is the name in the combined form; for
        user data it is "user". The event given is never changed: where a fault bends it, it is a copy.
        """
        return [(0, event)]


class Faults:
    """The faults that are set, each with its counts. One random generator, seeded: the same calls meet the same faults.

    `now` gives wall nanoseconds of any epoch.
    """

    def __init__(self, *, seed: int = 0, now: Callable[[], int] = monotonic_ns) -> None:
        self._links: dict[int, Link] = {}

    async def run(self) -> None:
        """Let the timed faults happen; until cancelled."""
        await trio.sleep_forever()

    @property
    def skew_ns(self) -> int:
        """What is to be added to the venue's clock where it tells or checks the time."""
        return 0

    @property
    def is_down(self) -> bool:
        """Whether the venue is in maintenance: requests get 503, websockets are refused."""
        return False

    @property
    def touches_streams(self) -> bool:
        """Whether any fault concerns stream events: if not, `Link.on_event` need not be asked."""
        return False

    def is_refused(self, route: str) -> bool:
        """Whether new websocket connections to the route (public, market, private, ws_api) are refused now."""
        return self.is_down

    def on_request(self, subject: Subject) -> RequestAction:
        """Return what happens to a request, and count it."""
        return NO_FAULT

    @contextmanager
    def link(self, route: str) -> Iterator[Link]:
        """Register a websocket connection of a route for as long as it lasts."""
        link = Link(route, self)
        self._links[id(link)] = link
        try:
            yield link
        finally:
            del self._links[id(link)]

    def on_listen_key_expiry(self, act: Callable[[], None]) -> None:
        """Have `act` called when a fault expires the listen keys."""
