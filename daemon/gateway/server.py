"""Who hears what of the venues that are out there, and to which of them a command goes."""

import socket
from collections.abc import Callable, Mapping, Sequence
from time import monotonic_ns, time_ns
from typing import Protocol

import trio
from attrs import define

from daemon.link.clients import Client, Clients
from daemon.link.connection import Connection, WireError
from daemon.link.frames import VenueBeat, VenueHello, VenueWelcome
from daemon.link.refusals import unsent
from daemon.link.wire import encode
from venues.net.vitals import Vitals
from venues.port import BookSnapshot, Command, Lane, Message, Report, VenueDown, VenueUp

CLIENTS_MAX = 4
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

    @property
    def vitals(self) -> Vitals:
        """Return how the venue is reached, for metrics."""


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
        self.clients = Clients(CLIENTS_MAX, log, welcome=self._welcome, take=self._take, left=self._count_clients)
        self.down: dict[str, str] = dict.fromkeys(venues, "not connected yet")
        self._channels_down: dict[tuple[str, str], VenueDown] = {}
        self._venues = tuple(venues)
        self._venue_of = venue_of
        self._log = log
        self._speed = speed
        self._time_of = time_of
        self._gateways: Mapping[str, Gateway] = {}
        self._behind_ns = 0

    def now(self) -> int:
        """Return the time, ns UTC."""
        return self._time_of(time_ns()) + self._behind_ns

    async def run(self, listener: socket.socket, gateways: Mapping[str, Gateway]) -> None:
        """Run the gateways and serve until cancelled, or until one of them raises: that is raised in a group."""
        self._gateways = gateways
        async with trio.open_nursery() as nursery:
            for venue, gateway in gateways.items():
                nursery.start_soon(self._keep, venue, gateway, name=f"gateway/{venue}")
            nursery.start_soon(self._beat)
            await self.clients.serve(listener)

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

    def vitals(self) -> dict[str, Vitals]:
        """Return how each venue is reached, by venue."""
        return {venue: gateway.vitals for venue, gateway in self._gateways.items()}

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
        for client in self.clients:
            lines = whole if client.wants_market else reports
            if lines:
                client.send(b"".join(lines))

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

    async def _beat(self) -> None:
        while True:
            await trio.sleep(_BEAT_S)
            line = encode(VenueBeat(self.now()))
            for client in self.clients:
                client.send(line)

    # Clients

    def _welcome(self, hello: VenueHello, number: int, connection: Connection) -> Client:
        ahead_ns = hello.ts - self.now()
        if ahead_ns > 0:
            self._behind_ns += ahead_ns
            self._log("the clock was set back: time goes on from what a client has seen", ns=ahead_ns)
        welcome = VenueWelcome(self.now(), self._venues, monotonic_ns(), self._speed, 1, dict(self.down))
        connection.send(welcome, *self._channels_down.values())
        self.counters.clients = len(self.clients) + 1
        self._log(f"{hello.client} joined")
        return Client(number, hello.client, hello.wants_market, connection)

    def _count_clients(self) -> None:
        self.counters.clients = len(self.clients)

    def _take(self, client: Client, messages: Sequence[Message]) -> None:
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
            client.send(b"".join([encode(report) for report in refused]))
