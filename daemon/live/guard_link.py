"""What the desk knows of its guard, and what it tells it: heartbeats one way, the latch the other."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns

import trio
from attrs import define

from actors.control import Baselines, DeskBye, DeskHello, GuardState, GuardStatus, Heartbeat
from actors.guardian_messages import ArmRefused
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon.link.connection import Connection, ConnectionLostError, WireError, lost_by
from daemon.live.driver import LiveCell
from daemon.live.sockets import connect
from daemon.pacing import tick
from venues.port import Message

_BACKOFF_S = (0.02, 0.05, 0.1, 0.2, 0.5)
_ARM_S = 3.0


class ArmingRefusedError(Exception):
    """The latch stays where it is, and why."""


@define
class _Arming:
    """Somebody waits for the guard to lower its latch."""

    done: trio.Event
    why: str = "the guard did not answer"


class GuardLink:
    """The desk's end of the guard's socket.

    The guard is up while it answers heartbeats; the cell is told of every change. Whatever level the cell's kill
    switch comes to is told to the guard, and the guard's to the cell: the higher one holds.
    """

    def __init__(
        self, path: Path, live: LiveCell, hello: Callable[[], DeskHello], *, beat_ns: int, timeout_ns: int
    ) -> None:
        self._path = path
        self._live = live
        self._hello = hello
        self._beat_s = beat_ns / 1e9
        self._timeout_ns = timeout_ns
        self._connection: Connection | None = None
        self._number = 0
        self._heard_ns: int | None = None
        self._is_told_up = False
        self._arming: _Arming | None = None
        self._baselines: dict[str, Baselines] = {}
        self.state: GuardState | None = None
        self.why_down = "not connected yet"
        self.came_up = trio.Event()
        self.went_down = trio.Event()
        # Set and made anew by every message.
        self.heard = trio.Event()
        self.on_news: Callable[[], None] = _nothing

    @property
    def is_up(self) -> bool:
        return self._is_told_up

    def lease(self) -> str:
        """Return why no order may leave, empty when one may.

        A process that stood still comes back to intents of another moment: it hears its guard first.
        """
        if not self._is_told_up or self._heard_ns is None:
            return ""
        silent_ns = monotonic_ns() - self._heard_ns
        return f"nothing heard of the guard for {silent_ns / 1e9:.1f} s" if silent_ns > self._timeout_ns else ""

    async def run(self) -> None:
        """Keep the connection for ever."""
        attempt = 0
        while True:
            try:
                await self._converse()
                attempt = 0
            except (OSError, ConnectionLostError, WireError) as error:
                self._lost(str(error) or type(error).__name__)
            await trio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1

    async def _converse(self) -> None:
        connection = Connection(connect(self._path))
        try:
            connection.send(self._hello(), *self._baselines.values(), self._beat())
            self._connection = connection
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.flush)
                nursery.start_soon(self._beat_for_ever, connection)
                while True:
                    for message in await connection.receive():
                        self._take(message)
        except BaseExceptionGroup as group:
            raise lost_by(group) from None
        finally:
            self._connection = None
            connection.close()

    async def _beat_for_ever(self, connection: Connection) -> None:
        while True:
            await tick(self._beat_s)
            connection.send(self._beat())
            if self._heard_ns is not None and monotonic_ns() - self._heard_ns > self._timeout_ns:
                raise ConnectionLostError(f"no answer for {self._timeout_ns / 1e9:.1f} s")

    def _beat(self) -> Heartbeat:
        self._number += 1
        actors = self._live.cell.dispatcher.actors
        risk, executor, groups = actors["risk_gate"].state, actors["atomic_executor"], actors["order_groups"]
        baskets = sum(bool(executor.open_legs(one)) or one.is_pending for one in executor.state.baskets.values())  # type: ignore[attr-defined]
        return Heartbeat(
            self._live.clock.now(),
            self._number,
            actors["kill_switch"].state.level,
            not risk.unreconciled,
            baskets + sum(bool(groups.state.groups[name].open_qty) for name in groups.state.active),
        )

    def beat_now(self) -> None:
        """Tell the guard at once where the desk stands."""
        self.tell(self._beat())

    def tell(self, message: Message) -> None:
        """Send a message; lost when there is no connection."""
        if self._connection is not None:
            try:
                self._connection.send(message)
            except ConnectionLostError:
                return

    def tell_baselines(self, message: Baselines) -> None:
        """Say what of an account is not the desk's, now and at every reconnection."""
        known = self._baselines.get(message.account)
        if known is None or known.balances != message.balances:
            self._baselines[message.account] = message
            self.tell(message)

    def raise_to(self, level: KillLevel, trigger: str, why: str) -> None:
        """Ask the guard to latch at least `level`."""
        if self.state is None or self.state.level < level:
            self.tell(KillCommand(self._live.clock.now(), trigger, level, why))

    async def arm(self, operator: str, reason: str) -> None:
        """Ask the guard to lower its latch. Raises ArmingRefusedError."""
        if not self._is_told_up:
            raise ArmingRefusedError(f"the guard is down: {self.why_down}")
        if self._arming is not None:
            raise ArmingRefusedError("somebody else is arming just now")
        self._arming = arming = _Arming(trio.Event())
        try:
            self.tell(ArmCommand(self._live.clock.now(), operator, reason))
            with trio.move_on_after(_ARM_S):
                await arming.done.wait()
        finally:
            self._arming = None
        if arming.why:
            raise ArmingRefusedError(arming.why)

    async def leave(self, why: str) -> None:
        """Say that the desk ends in order, and wait until it is said."""
        connection = self._connection
        if connection is not None:
            self.tell(DeskBye(self._live.clock.now(), why))
            await connection.drain()

    # What the guard says

    def _take(self, message: Message) -> None:
        self._heard_ns = monotonic_ns()
        self.heard.set()
        self.heard = trio.Event()
        if isinstance(message, GuardState):
            before, self.state = self.state, message
            if self._arming is not None and message.level is KillLevel.ARMED:
                self._arming.why = ""
                self._arming.done.set()
            self._tell_cell(before, message)
        elif isinstance(message, KillCommand):
            self._live.offer(message)
            self._live.pump()
            self.beat_now()
        elif isinstance(message, ArmRefused):
            if self._arming is not None:
                self._arming.why = message.why
                self._arming.done.set()
        else:
            raise WireError(f"a {type(message).__name__} is not for the desk")
        self.on_news()

    def _tell_cell(self, before: GuardState | None, state: GuardState) -> None:
        """Pass on what changed: whether the guard is up or in charge, and a latch above the cell's own level."""
        live, now = self._live, self._live.clock.now()
        is_news = not self._is_told_up or before is None or before.is_in_charge != state.is_in_charge
        if is_news:
            live.offer(GuardStatus(now, True, state.is_in_charge, state.why if state.is_in_charge else ""))
        level: KillLevel = live.cell.dispatcher.actors["kill_switch"].state.level
        # A book the guard flattens is not flattened twice: the cell comes to FLATTEN when it is handed back.
        wanted = min(state.level, KillLevel.CANCEL_ALL) if state.is_in_charge else state.level
        if wanted > level:
            live.offer(KillCommand(now, f"guard/{state.trigger}", wanted, state.why or state.trigger))
        if is_news or wanted > level:
            if not self._is_told_up:
                self._is_told_up = True
                self.went_down = trio.Event()
                self.came_up.set()
            live.pump()
        if wanted > level:
            # What the guard hears next of this level must not look like a rise of our own.
            self.beat_now()
        if level > state.level and self._arming is None:
            self.raise_to(level, "desk", "the desk's kill switch is higher")

    def _lost(self, why: str) -> None:
        self.why_down = why
        self._heard_ns = None
        if self._is_told_up:
            self._is_told_up = False
            self.came_up = trio.Event()
            self.went_down.set()
            live = self._live
            in_charge = self.state is not None and self.state.is_in_charge
            live.offer(GuardStatus(live.clock.now(), False, in_charge, why))
            live.pump()
            self.on_news()


def _nothing() -> None:
    pass
