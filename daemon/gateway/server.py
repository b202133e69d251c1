"""Who hears what of the venues that are out there, and to which of them a command goes."""

import socket
from collections.abc import Callable, Mapping, Sequence
from time import monotonic_ns, time_ns
from typing import Protocol

import trio
from attrs import define

from daemon.link.connection import Connection, ConnectionLostError, WireError, lost_by
from daemon.link.frames import VenueBeat, VenueHello, VenueWelcome
from daemon.link.refusals import unsent
from daemon.link.wire import encode
from venues.port import BookSnapshot, Command, Lane, Message, Report, VenueDown, VenueUp

CLIENTS_MAX = 4
HELLO_S = 5.0
_BEAT_S = 1.0

Log = Callable[..., None]


class RefusedForGoodError(Exception):
    """A venue will never take the keys we have, or must not be given them: nothing but a person can change that."""


class Gateway(Protocol):
    """One venue as this process has it. What it hears goes to the `deliver` it was made with."""

    async def run(self) -> None:
        """Serve until cancelled. After RefusedForGoodError its venue stays down; anything else ends the process."""

    def send(self, commands: Sequence[Command]) -> list[Report]:
        """Send commands without waiting; return what must be believed of those that cannot even be tried."""

    @property
    def counters(self) -> Mapping[str, float]:
        """Return everything that is counted, by dotted name."""


@define(eq=False)
class _Client:
    name: str
    wants_market: bool
    connection: Connection


@define
class GatewayCounters:
    """`commands` and `refused` are what clients sent, `reports` and `market` what the venues said, in messages."""

    commands: int = 0
    refused: int = 0
    reports: int = 0
    market: int = 0
    clients: int = 0


class GatewayServer:
    """Serves the link's protocol for `venues`; `venue_of` gives the venue of an account, None for an unknown one.

    A venue is down until its gateway says VenueUp. Clients are told on joining which are down, and why. Time is the
    wall clock's, or that of `time_of` a wall clock's time, which runs `speed` times as fast; it does not go back behind
    what a client has seen.
    """

    def __init__(
        self,
        venues: Sequence[str],
        venue_of: Callable[[str], str | None],
        log: Log,
        speed: int = 1,
        time_of: Callable[[int], int] = int,
    ) -> None:
        self.counters = GatewayCounters()
        self.idle_since: float | None = None
        self.down: dict[str, str] = dict.fromkeys(venues, "not connected yet")
        self._channels_down: dict[tuple[str, str], VenueDown] = {}
        self._venues = tuple(venues)
        self._venue_of = venue_of
        self._log = log
        self._speed = speed
        self._time_of = time_of
        self._gateways: Mapping[str, Gateway] = {}
        self._clients: dict[int, _Client] = {}
        self._behind_ns = 0
        self._count = 0

    def now(self) -> int:
        """Return the time, ns UTC."""
        return self._time_of(time_ns()) + self._behind_ns

    async def run(self, listener: socket.socket, gateways: Mapping[str, Gateway]) -> None:
        """Run the gateways and serve until cancelled, or until one of them raises: that is raised in a group."""
        self._gateways = gateways
        self.idle_since = trio.current_time()
        async with trio.open_nursery() as nursery:
            for venue, gateway in gateways.items():
                nursery.start_soon(self._keep, venue, gateway, name=f"gateway/{venue}")
            nursery.start_soon(self._beat)
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    connected, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                if len(self._clients) >= CLIENTS_MAX:
                    self._log("a client too many was turned away")
                    connected.close()
                else:
                    nursery.start_soon(self._serve, connected)

    async def _keep(self, venue: str, gateway: Gateway) -> None:
        try:
            await gateway.run()
        except RefusedForGoodError as error:
            # Asked again and again, a venue shuts everybody out who shares our address.
            why = f"the key is refused: {error}"
            self._log("refused for good", venue=venue, why=why)
            self.deliver([VenueDown(self.now(), venue, why=why)])

    def counts(self) -> dict[str, Mapping[str, float]]:
        """Return what each gateway counts, by venue."""
        return {venue: gateway.counters for venue, gateway in self._gateways.items()}

    # What venues say

    def deliver(self, messages: Sequence[Message]) -> None:
        """Tell the clients, at once and in order. A book that somebody asked for is told to all of them."""
        whole: list[bytes] = []
        reports: list[bytes] = []
        for message in messages:
            line = encode(message)
            whole.append(line)
            if message.lane is not Lane.FEED or isinstance(message, BookSnapshot):
                self._note(message)
                reports.append(line)
        self.counters.reports += len(reports)
        self.counters.market += len(whole) - len(reports)
        for client in self._clients.values():
            lines = whole if client.wants_market else reports
            if lines:
                self._send(client, b"".join(lines))

    def _note(self, message: Message) -> None:
        if isinstance(message, VenueUp):
            self._log("venue up", venue=message.venue, channel=message.channel)
            if message.channel:
                self._channels_down.pop((message.venue, message.channel), None)
            else:
                self.down.pop(message.venue, None)
        elif isinstance(message, VenueDown):
            self._log("venue down", venue=message.venue, channel=message.channel, why=message.why)
            if message.channel:
                self._channels_down[message.venue, message.channel] = message
            else:
                self.down[message.venue] = message.why

    def _send(self, client: _Client, data: bytes) -> None:
        try:
            client.connection.send_bytes(data)
        except ConnectionLostError:
            # Its own task learns of it as well, and leaves.
            return

    async def _beat(self) -> None:
        while True:
            await trio.sleep(_BEAT_S)
            line = encode(VenueBeat(self.now()))
            for client in self._clients.values():
                self._send(client, line)

    # Clients

    async def _serve(self, connected: socket.socket) -> None:
        connection = Connection(connected)
        client: _Client | None = None
        self._count += 1
        number = self._count
        try:
            with trio.move_on_after(HELLO_S):
                first, *rest = await connection.receive()
                if not isinstance(first, VenueHello):
                    raise WireError(f"a {type(first).__name__} where the hello belongs")
                client = _Client(first.client, first.wants_market, connection)
                self._welcome(first, client, number)
            if client is not None:
                self._take(client, rest)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connection.flush)
                    while True:
                        self._take(client, await connection.receive())
        except BaseExceptionGroup as group:
            self._ended(client, lost_by(group))
        except (ConnectionLostError, WireError, OSError) as error:
            self._ended(client, error)
        finally:
            connection.close()
            self._clients.pop(number, None)
            self.counters.clients = len(self._clients)
            self.idle_since = None if self._clients else trio.current_time()

    def _ended(self, client: _Client | None, error: BaseException) -> None:
        if not isinstance(error, ConnectionLostError | WireError | OSError):
            raise error
        self._log(f"{client.name if client else 'a client'} left: {error}")

    def _welcome(self, hello: VenueHello, client: _Client, number: int) -> None:
        ahead_ns = hello.ts - self.now()
        if ahead_ns > 0:
            self._behind_ns += ahead_ns
            self._log("the clock was set back: time goes on from what a client has seen", ns=ahead_ns)
        welcome = VenueWelcome(self.now(), self._venues, monotonic_ns(), self._speed, 1, dict(self.down))
        client.connection.send(welcome, *self._channels_down.values())
        self._clients[number] = client
        self.counters.clients = len(self._clients)
        self.idle_since = None
        self._log(f"{client.name} joined")

    def _take(self, client: _Client, messages: Sequence[Message]) -> None:
        """Send commands on, those that follow each other to one venue in one go."""
        refused: list[Report] = []
        group: list[Command] = []
        at: str | None = None
        for message in messages:
            if not isinstance(message, Command):
                raise WireError(f"a {type(message).__name__} is no business of a venue")
            self.counters.commands += 1
            venue = self._venue_of(message.account)
            if venue not in self._gateways:
                refused.append(unsent(message, self.now(), f"{message.account} is no account here"))
                continue
            if group and venue != at:
                refused += self._gateways[at or ""].send(group)
                group = []
            at = venue
            group.append(message)
        if group:
            refused += self._gateways[at or ""].send(group)
        if refused:
            self.counters.refused += len(refused)
            self._send(client, b"".join([encode(report) for report in refused]))
