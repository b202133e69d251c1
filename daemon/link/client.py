"""How desk and guard reach the venues: one connection that comes back by itself, and what its loss means."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Protocol

import trio
from attrs import define

from daemon.link.connection import Connection, ConnectionLostError, WireError, lost_by
from daemon.link.frames import VenueBeat, VenueHello, VenueWelcome
from daemon.link.refusals import unsent
from daemon.live.sockets import connect
from daemon.pacing import tick
from venues.port import Command, Message, Report, VenueDown, VenueUp

_BACKOFF_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_WELCOME_S = 30.0
_LOOKS = 3
SILENCE_S = 3.0
"""A venue process says something every second: a connection that is silent for longer is dead."""


class LinkOwner(Protocol):
    """Who a link belongs to. All three are called from the link's task and must not wait."""

    def latest_ns(self) -> int:
        """Return the latest market time known, 0 for none: the market will not run behind it."""

    def welcomed(self, welcome: VenueWelcome) -> None:
        """The venue answered; its clock is in the welcome."""

    def arrived(self, messages: Sequence[Message]) -> None:
        """Messages in the order they came: reports, VenueUp and VenueDown, steps."""


@define
class LinkCounters:
    """`connects` counts successful connections: every one beyond the first is a reconnect."""

    connects: int = 0
    received: int = 0
    sent: int = 0
    unsent: int = 0


class VenueLink:
    """A client of the process that has the venues: the simulated ones, or gateways to real ones.

    Connecting reports VenueUp for every venue there that is not down, losing the connection VenueDown; in between the
    owner gets whatever arrives. `run` reconnects for ever, with jittered delays.
    """

    def __init__(
        self,
        path: Path,
        owner: LinkOwner,
        *,
        client: str,
        wants_market: bool,
        venue_of: Callable[[str], str],
        now: Callable[[], int],
    ) -> None:
        """`venue_of` gives an account's venue, `now` the market's time for reports the link makes itself."""
        self.path = path
        self.counters = LinkCounters()
        self._owner = owner
        self._client = client
        self._wants_market = wants_market
        self._venue_of = venue_of
        self._now = now
        self._connection: Connection | None = None
        self._venues: tuple[str, ...] = ()
        self._why_down = "not connected yet"
        self._jitter = Random()
        # How often something was read.
        self._heard = 0
        # Set when a connection is lost, made anew by the next one.
        self.went_down = trio.Event()

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    @property
    def why_down(self) -> str:
        """Why there is no connection, empty with one."""
        return "" if self.is_up else self._why_down

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection; started once the first attempt was made, whatever came of it."""
        attempt = 0
        is_first = True
        while True:
            before = self.counters.connects
            try:
                await self._converse(task_status if is_first else trio.TASK_STATUS_IGNORED)
            except (OSError, ConnectionLostError, WireError) as error:
                self._down(str(error) or type(error).__name__)
                if is_first and self.counters.connects == before:
                    task_status.started()
            is_first = False
            attempt = 0 if self.counters.connects > before else attempt + 1
            delay = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
            await trio.sleep(delay * self._jitter.uniform(0.5, 1.5))

    async def _converse(self, task_status: trio.TaskStatus[None]) -> None:
        connection = Connection(connect(self.path))
        try:
            connection.send(VenueHello(self._owner.latest_ns(), self._client, self._wants_market))
            with trio.move_on_after(_WELCOME_S) as waiting:
                messages = await connection.receive()
            if waiting.cancelled_caught:
                raise ConnectionLostError(f"no welcome within {_WELCOME_S:.0f} s")
            welcome, *messages = messages
            if not isinstance(welcome, VenueWelcome):
                raise WireError(f"a {type(welcome).__name__} where the welcome belongs")
            self._connection, self._venues = connection, welcome.venues
            self.went_down = trio.Event()
            self.counters.connects += 1
            self._owner.welcomed(welcome)
            self._owner.arrived([self._first_word(welcome, venue) for venue in welcome.venues])
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.flush)
                nursery.start_soon(self._watch)
                while True:
                    self._heard += 1
                    self._take(messages)
                    messages = await connection.receive()
        except BaseExceptionGroup as group:
            raise lost_by(group) from None
        finally:
            connection.close()

    def _take(self, messages: Sequence[Message]) -> None:
        news = [message for message in messages if not isinstance(message, VenueBeat)]
        if news:
            self.counters.received += len(news)
            self._owner.arrived(news)

    async def _watch(self) -> None:
        """Raise ConnectionLostError when nothing was heard for SILENCE_S; a limit for each wait would cost more."""
        heard, quiet = self._heard, 0
        while quiet < _LOOKS:
            await tick(SILENCE_S / _LOOKS)
            quiet = quiet + 1 if heard == self._heard else 0
            heard = self._heard
        raise ConnectionLostError(f"nothing heard for {SILENCE_S:g} s")

    def _first_word(self, welcome: VenueWelcome, venue: str) -> Message:
        why = welcome.down.get(venue)
        return VenueUp(self._now(), venue) if why is None else VenueDown(self._now(), venue, why=why)

    def _down(self, why: str) -> None:
        was_up, self._connection = self._connection is not None, None
        self._why_down = why
        self.went_down.set()
        if was_up:
            self._owner.arrived([VenueDown(self._now(), venue, why=why) for venue in self._venues])

    def send(self, commands: Sequence[Command]) -> list[Report]:
        """Send commands in order; return what must be believed of those that cannot even be tried."""
        connection = self._connection
        if connection is None:
            self.counters.unsent += len(commands)
            now = self._now()
            return [
                unsent(command, now, f"not sent: {self._venue_of(command.account)} is down: {self._why_down}")
                for command in commands
            ]
        try:
            connection.send(*commands)
        except ConnectionLostError:
            # The reader learns of it as well and says VenueDown: everything sent is unproven then.
            return []
        self.counters.sent += len(commands)
        return []

    def tell(self, message: Message) -> None:
        """Send something that is no command; lost when there is no connection."""
        if self._connection is not None:
            try:
                self._connection.send(message)
            except ConnectionLostError:
                return

    async def drain(self) -> None:
        """Wait until the kernel has taken what was sent."""
        if self._connection is not None:
            await self._connection.drain()
