"""How the venue process paces its venues and whom it tells what."""

import socket
from collections.abc import Callable, Sequence
from fractions import Fraction
from time import monotonic_ns, time_ns

import trio
from attrs import define, field

from daemon.link.clients import Client, Clients
from daemon.link.connection import Connection, WireError
from daemon.link.frames import MarketEnded, Step, StepDone, VenueBeat, VenueHello, VenueWelcome
from daemon.link.refusals import unsent
from daemon.link.wire import encode
from daemon.live.clock import MarketClock
from daemon.pacing import tick
from daemon.venue.engine import VenueEngine
from daemon.venue.journal import VenueJournal
from daemon.venue.live_feeds import live_feeds
from daemon.venue.snapshot_writer import SnapshotWriter
from sim.exchange import ALL, NEVER
from venues.port import Command, Message, Query, VenueDown, VenueUp

CLIENTS_MAX = 16
PATIENCE_S = 2.0
"""How long a granted step may take before time runs on without the desk."""

BEGIN_PATIENCE_S = 30.0
"""How long a desk may take from joining to asking for its first step: it has a guard to meet."""

_TICK_S = 1.0
_STALLED_S = 0.02
Log = Callable[[str], None]


@define(eq=False)
class _Client(Client):
    """While `is_stepping` it owes a StepDone; then `next_ns` is when it wants to be woken."""

    out: list[bytes] = field(factory=list)
    is_stepping: bool = False
    steps: int = 0
    begun_ns: int = 0
    is_told_end: bool = False
    next_ns: int = NEVER


class VenueServer:
    """Serves one engine. `speed` None: time is granted to the desk step by step, as fast as it answers.

    Time begins with the first client and never runs behind what any client has seen; on a live market it is the wall
    clock's. With `snapshots` the venues are written down every `snapshot_s` seconds of the wall clock.
    """

    def __init__(
        self,
        engine: VenueEngine,
        journal: VenueJournal,
        speed: Fraction | None,
        log: Log,
        snapshots: SnapshotWriter | None = None,
        snapshot_s: float = 0.0,
    ) -> None:
        self.engine = engine
        self.clients = Clients(CLIENTS_MAX, log, welcome=self._welcome, take=self._take, left=self._wake)
        self._journal = journal
        self._speed = speed
        self._log = log
        self._snapshots = snapshots
        self._snapshot_s = snapshot_s
        self._clock: MarketClock | None = None
        self._wakes = trio.Event()
        self._is_market = False
        self._feeds_down: dict[str, VenueDown] = {}
        engine.deliver = self._deliver

    async def run(self, listener: socket.socket) -> None:
        """Serve until cancelled."""
        feeds = live_feeds(self.engine.config, self.arrived, time_ns)
        if self.engine.is_live:
            for venue in self.engine.config.venues:
                self._feeds_down[venue] = VenueDown(time_ns(), venue, "market", "its live feed is not up yet")
            self._begin(time_ns())
        async with trio.open_nursery() as nursery:
            for feed in feeds:
                nursery.start_soon(feed.run)
            nursery.start_soon(self._granted if self._speed is None else self._paced)
            nursery.start_soon(self._note_time)
            nursery.start_soon(self._beat)
            if self._snapshots is not None:
                nursery.start_soon(self._snapshots.keep_writing, self._snapshot_s)
            await self.clients.serve(listener)

    # Clients

    def _welcome(self, hello: VenueHello, number: int, connection: Connection) -> _Client:
        self._begin(hello.ts)
        clock = self._clock
        assert clock is not None
        now = self._now()
        speed = self._speed or Fraction(0)
        venues = tuple(seat.venue.name for seat in self.engine.exchange.seats)
        welcome = VenueWelcome(now, venues, monotonic_ns(), speed.numerator, speed.denominator)
        connection.send(welcome, *self._feeds_down.values())
        self._log(f"{hello.client} joined at {now}")
        self._wakes.set()
        # In granted time the desk is woken for the first time once it has said when it wants to be.
        return _Client(number, hello.client, hello.wants_market, connection, is_stepping=hello.wants_market)

    def _wake(self) -> None:
        self._wakes.set()

    def _begin(self, seen_ns: int) -> None:
        """Let time begin, or jump forward to what a client has seen already."""
        if self._clock is None or seen_ns > self._now():
            self.engine.advance(max(self.engine.now, seen_ns))
            self._clock = self._clock_at(self.engine.now)
            self._flush()

    def _clock_at(self, now: int) -> MarketClock:
        speed = self._speed or Fraction(1)
        return MarketClock(now, monotonic_ns(), speed.numerator, speed.denominator)

    def _now(self) -> int:
        """Bring the venues up to date with the clock and return its time; granted time only moves by steps."""
        if self._speed is not None and self._clock is not None:
            self.engine.advance(self._clock.now())
        return self.engine.now

    def _take(self, client: _Client, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Command):
                self._command(client, message)
            elif isinstance(message, StepDone):
                client.is_stepping = client.is_stepping and message.number != client.steps
                client.next_ns = NEVER if message.next_ns is None else message.next_ns
            else:
                raise WireError(f"a {type(message).__name__} is no business of a venue")
        self._flush()
        self._wakes.set()

    def _command(self, client: _Client, command: Command) -> None:
        engine, now = self.engine, self._now()
        if command.account not in engine.exchange.accounts:
            client.out.append(encode(unsent(command, now, f"{command.account} is no account here")))
            return
        if self._speed is None and client.is_stepping:
            # Sent at one of the steps since the desk was asked; none of them is past its arrival.
            now = min(max(command.ts, client.begun_ns), now)
        if not isinstance(command, Query):
            self._journal.note(engine.steps, now, client.name, command)
        engine.command(command, client.number, now)

    def _deliver(self, ns: int, message: Message, to: int, is_market: bool) -> None:
        line: bytes | None = None
        self._is_market = is_market
        for client in self.clients:
            if client.wants_market if is_market else to in (ALL, client.number):
                line = line or encode(message)
                client.out.append(line)

    def _flush(self) -> None:
        for client in self.clients:
            if self._speed is not None and self.engine.is_over:
                self._tell_end(client)
            if client.out:
                data = b"".join(client.out)
                client.out.clear()
                client.send(data)

    def _tell_end(self, client: _Client) -> bool:
        """Say once that the market is over; False when it was said or is no news for the client."""
        if not client.wants_market or client.is_told_end:
            return False
        client.is_told_end = True
        client.out.append(encode(MarketEnded(self.engine.now)))
        return True

    def arrived(self, messages: Sequence[Message]) -> None:
        """Take what a live feed says, at once."""
        now = self._now()
        for message in messages:
            if isinstance(message, VenueDown):
                self._log(f"the live feed of {message.venue} is down: {message.why}")
                self._feeds_down[message.venue] = message
                self.engine.lose(now, message.venue)
                self._deliver(now, message, ALL, is_market=False)
            elif isinstance(message, VenueUp):
                self._log(f"the live feed of {message.venue} is up")
                self._feeds_down.pop(message.venue, None)
                self._deliver(now, message, ALL, is_market=False)
            else:
                self.engine.arrive(now, message)
        self._flush()
        self._wakes.set()

    # Time

    async def _paced(self) -> None:
        """Let things happen when their time has come."""
        while True:
            self._wakes = trio.Event()
            if self._clock is None:
                await self._wakes.wait()
                continue
            delay = self._clock.seconds_until(self.engine.next_ns())
            with trio.move_on_after(delay):
                await self._wakes.wait()
            self._now()
            self._flush()

    async def _granted(self) -> None:
        """Go from event to event; each one that reaches the desk waits for its answer."""
        while True:
            desk = self._desk()
            if desk is None or desk.is_stepping:
                await self._wait_for_desk(desk)
            elif not self._step(desk):
                self._wakes = trio.Event()
                await self._wakes.wait()

    def _step(self, desk: _Client) -> bool:
        """Let happen what cannot be influenced any more by anything the desk does at its next step; False for nothing.

        That is as long as a command takes to arrive. The desk takes it all in one go, step by step.
        """
        engine = self.engine
        following = min(engine.next_ns(), desk.next_ns)
        if engine.is_over and following > engine.now and self._tell_end(desk):
            desk.begun_ns = engine.now
            self._add_step(desk, is_market=False)
        elif following == NEVER:
            return False
        else:
            desk.begun_ns = following
            horizon = following + max(1, engine.lookahead_ns())
            self._go(desk, horizon - 1)
            if desk.next_ns < horizon:
                engine.now = max(engine.now, desk.next_ns)
                self._add_step(desk, is_market=False)
        if desk.is_stepping:
            desk.out.append(encode(Step(engine.now, desk.steps, False, True)))
        self._flush()
        return True

    def _go(self, desk: _Client | None, until: int) -> None:
        """Let everything happen up to `until`; what reaches the desk is a step of it."""
        engine = self.engine
        while engine.next_ns() <= until:
            before = len(desk.out) if desk is not None else 0
            engine.step()
            if desk is not None and len(desk.out) > before:
                self._add_step(desk, is_market=self._is_market)

    def _add_step(self, desk: _Client, *, is_market: bool) -> None:
        desk.steps += 1
        desk.is_stepping = True
        desk.out.append(encode(Step(self.engine.now, desk.steps, is_market, False)))

    async def _wait_for_desk(self, desk: _Client | None) -> None:
        """Wait for the desk; without one, or when it does not answer, time goes on at the wall clock's pace."""
        self._wakes = trio.Event()
        with trio.move_on_after(BEGIN_PATIENCE_S if desk is not None and not desk.steps else PATIENCE_S) as waiting:
            await self._wakes.wait()
        if not waiting.cancelled_caught or self._clock is None or not self.clients:
            return
        self._log("the desk does not answer: time goes on without it" if desk else "no desk: time goes on")
        clock = self._clock_at(self.engine.now)
        while self.clients and (desk is None or desk.is_stepping) and self._desk() is desk:
            before = desk.steps if desk is not None else 0
            self._go(desk, clock.now())
            self.engine.now = max(self.engine.now, clock.now())
            if desk is not None and desk.steps > before:
                desk.out.append(encode(Step(self.engine.now, desk.steps, False, True)))
            self._flush()
            self._wakes = trio.Event()
            with trio.move_on_after(_STALLED_S):
                await self._wakes.wait()

    def _desk(self) -> _Client | None:
        return next((client for client in self.clients if client.wants_market), None)

    async def _beat(self) -> None:
        while True:
            await tick(_TICK_S)
            for client in self.clients:
                client.out.append(encode(VenueBeat(self.engine.now)))
            self._flush()

    async def _note_time(self) -> None:
        noted = 0
        while True:
            await tick(_TICK_S)
            if self.engine.now > noted and self.clients:
                noted = self.engine.now
                self._journal.note_time(noted)
