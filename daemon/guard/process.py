"""What runs in the guard process: its clock, its links, its journal, and the guardian that they serve."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any

import trio

from actors.control import AdminCall, GuardState
from actors.guardian import Guardian
from actors.guardian_messages import ArmRefused, Charge, Fence, Fenced, Latched, MarketPace, PanicCommand
from actors.guardian_records import UNDER_WAY, Remembered
from actors.messages import KillCommand, KillLevel
from daemon.admin.calls import RefusedError, Role
from daemon.channels.channels import Channels
from daemon.guard.desk_socket import DeskSocket
from daemon.guard.engine import Effect, Engine
from daemon.guard.fencing import Fencer
from daemon.guard.journal import Opened
from daemon.guard.notes import Notes
from daemon.guard.setup import GuardSetup
from daemon.guard.telling import Telling
from daemon.link.client import VenueLink
from daemon.link.frames import VenueWelcome
from daemon.live.paths import StatePaths
from daemon.live.sockets import Peer
from daemon.logs import get_logger
from daemon.pacing import tick
from venues.port import Command, Message, Report, VenueDown, VenueUp

_RETRY_S = 1.0
_FAULTS_MAX = 3
_FAULT_WINDOW_NS = 60_000_000_000
_LEAVE_CHECK_S = 0.2
_LOOKS = 10

_log = get_logger("guard")


class TooManyFaultsError(Exception):
    """The guardian failed again and again; another process may do better."""


class GuardProcess:
    """The guardian with everything around it. Its clock is the wall's when it began, going on without jumps."""

    def __init__(
        self,
        setup: GuardSetup,
        paths: StatePaths,
        opened: Opened,
        channels: Channels | None = None,
        venue_socket: Path | None = None,
    ) -> None:
        """`venue_socket` is where the venues are reached, None for the desk's way."""
        remembered = opened.remembered
        self.setup = setup
        self.channels = channels or Channels({})
        self._telling = Telling()
        self.notes = Notes(opened.journal, remembered.epoch, is_obedient=remembered.is_fenced)
        self.fencer = Fencer(paths.lock)
        self.link = VenueLink(
            venue_socket or paths.venue_socket,
            self,
            client="guard",
            wants_market=False,
            venue_of=lambda account: setup.accounts[account].venue,
            now=self.now,
        )
        self.engine = self._engine(remembered)
        self._desk: DeskSocket | None = None
        self._nursery: trio.Nursery | None = None
        self._offset_ns = time_ns() - monotonic_ns()
        self._market_ns = 0
        self._who: Peer | None = None
        self._caller: Peer | None = None
        self._faults: list[int] = []
        self._wakes = trio.Event()

    def _engine(self, remembered: Remembered) -> Engine:
        return Engine(Guardian(self.setup.instruments, self.setup.accounts, self.setup.guard, remembered), self)

    @property
    def guardian(self) -> Guardian:
        return self.engine.guardian

    def now(self) -> int:
        return self._offset_ns + monotonic_ns()

    async def run(self, desk: DeskSocket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Guard until cancelled. Raises TooManyFaultsError."""
        self._desk = desk
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._guarded(lambda: self.engine.start(self.now()))
            nursery.start_soon(self.link.run)
            nursery.start_soon(desk.run)
            nursery.start_soon(self._write_again)
            nursery.start_soon(self.channels.run)
            task_status.started()
            await self._fire_timers()

    async def _fire_timers(self) -> None:
        while True:
            due_ns = self.engine.next_ns()
            self._wakes = trio.Event()
            with trio.move_on_after(float("inf") if due_ns is None else max(0, due_ns - self.now()) / 1e9):
                await self._wakes.wait()
            due_ns = self.engine.next_ns()
            if due_ns is not None and due_ns <= self.now():
                if self._desk is not None:
                    self._desk.take_ready()
                self._guarded(lambda: self.engine.take_due(self.now()))

    async def _write_again(self) -> None:
        while True:
            await tick(_RETRY_S)
            self.notes.retry()

    def take(self, message: Message, who: Peer | None = None) -> None:
        """Let the guardian handle a message that `who` caused. Raises TooManyFaultsError."""
        self._who = who
        self._guarded(lambda: self.engine.take(self.now(), message))
        self._who = None

    # Faults

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do something with the guardian; one that fails stops trading and is replaced by one that starts anew."""
        try:
            act()
        except Exception as error:
            _log.exception("the guardian failed")
            now = self.now()
            self._faults = [*(at for at in self._faults if at > now - _FAULT_WINDOW_NS), now]
            if len(self._faults) > _FAULTS_MAX:
                raise TooManyFaultsError(str(error)) from error
            self._begin_anew(now, f"{type(error).__name__}: {error}")
        finally:
            self._wakes.set()

    def _begin_anew(self, now: int, why: str) -> None:
        state = self.guardian.state
        # What the handler had raised before it failed was not written: it is, with the fault.
        level = max(state.level, KillLevel.CANCEL_ALL)
        fault = Latched(now, level, state.level, "fault", "", why)
        unwritten = self.notes.begin_anew(now, fault)
        self._tell_people(fault)
        remembered = Remembered(
            self.notes.epoch,
            level,
            "fault",
            why,
            is_in_charge=state.is_in_charge,
            awaited_pid=state.desk.pid,
            is_fenced=self.notes.is_obedient,
            baselines=state.baselines,
            targets=state.flattening.targets,
            distrust=state.distrust or unwritten,
        )
        self.engine = self._engine(remembered)
        if self._desk is not None:
            self._desk.hang_up("the guard begins anew")
        self.engine.start(now)

    # The host of the engine

    def commit(self, now: int, cause: Message | None, effects: Sequence[Effect]) -> str:
        return self.notes.commit(now, cause, effects, self.guardian.state, self._who)

    def send(self, commands: Sequence[Command]) -> list[Report]:
        return self.link.send(commands)

    def tell(self, message: Message) -> None:
        self._tell_people(message)
        if isinstance(message, Latched):
            event = "latch" if message.level >= message.before else "latch to be lowered"
            latch, before = message.level.name, message.before.name
            _log.warning(event, latch=latch, before=before, trigger=message.trigger, why=message.reason)
        elif isinstance(message, Charge):
            _log.warning("charge", is_in_charge=message.is_in_charge, why=message.why)
        elif isinstance(message, GuardState | KillCommand | ArmRefused) and self._desk is not None:
            self._desk.tell(message)

    def _tell_people(self, message: Message) -> None:
        notice = self._telling.notice(message)
        if notice is not None:
            self.channels.post(notice)

    def fence(self, fence: Fence) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._end_desk, fence)

    async def _end_desk(self, fence: Fence) -> None:
        _log.warning("fence", pid=fence.pid, why=fence.why)
        why = await self.fencer.end(fence.pid)
        _log.warning("fenced", pid=fence.pid, why=why)
        self.take(Fenced(self.now(), fence.pid, not why, why))

    # The desk

    def is_desk_fresh(self) -> bool:
        return self.guardian.state.desk.is_fresh

    def joined(self, connected: socket.socket, who: Peer) -> None:
        self.fencer.watch(connected, who)

    def said(self, message: Message, who: Peer) -> None:
        self.take(message, who)

    # The venues

    def latest_ns(self) -> int:
        return self._market_ns

    def welcomed(self, welcome: VenueWelcome) -> None:
        self._market_ns = max(self._market_ns, welcome.ts)
        self.take(MarketPace(self.now(), welcome.numerator, welcome.denominator))

    def arrived(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if not isinstance(message, VenueUp | VenueDown):
                self._market_ns = max(self._market_ns, message.ts)
            self.take(message)

    # People at the guard's own socket

    def journal(self, message: Message) -> None:
        """Write a call down before it runs, and note who makes it. Raises RefusedError unless it only looks."""
        if isinstance(message, AdminCall):
            self._caller = Peer(message.pid, message.uid, message.gid)
        why = self.notes.note(self.now(), message, self._caller)
        if why and not (isinstance(message, AdminCall) and message.role == Role.VIEW):
            raise RefusedError(why)

    async def kill(self, level: KillLevel, operator: str, reason: str) -> dict[str, Any]:
        self.take(KillCommand(self.now(), operator, level, reason), self._caller)
        return self.status()

    async def panic(self, operator: str, reason: str) -> dict[str, Any]:
        self.take(PanicCommand(self.now(), operator, reason), self._caller)
        return self.status()

    def status(self) -> dict[str, Any]:
        """Return the guard in one glance; times are ns UTC of its own clock."""
        state = self.guardian.state
        desk, flattening, cancels = state.desk, state.flattening, state.cancels
        return {
            "now": self.now(),
            "level": state.level.name.lower(),
            "trigger": state.trigger,
            "why": state.why,
            "is_in_charge": state.is_in_charge,
            "flattening": {
                "course": flattening.course,
                "why": flattening.why,
                "rounds": flattening.rounds,
                "left": flattening.left,
            },
            "cancelled": {
                account: "proven" if account in cancels.confirmed else cancels.why.get(account, "not proven")
                for account in self.setup.accounts
            },
            "desk": {
                "pid": desk.pid,
                "run": desk.run,
                "is_connected": desk.is_connected,
                "is_silent": desk.is_silent,
                "heard": desk.heard_ns,
                "level": None if desk.level is None else desk.level.name.lower(),
                "is_reconciled": desk.is_reconciled,
                "open_baskets": desk.open_baskets,
            },
            "venues": {"is_up": self.link.is_up, "why": self.link.why_down},
            "journal": {"why": state.distrust, "unwritten": self.notes.unwritten},
        }

    # Leaving

    def is_needed(self, *, is_hopeful: bool = True) -> bool:
        """Whether a desk is there, or something that only this process sees to.

        Unless `is_hopeful`, what it sees to counts only while there is a venue to see to it at.
        """
        state = self.guardian.state
        if self._desk is not None and self._desk.is_connected:
            return True
        is_cancelling = state.level >= KillLevel.CANCEL_ALL and len(state.cancels.confirmed) < len(self.setup.accounts)
        is_busy = is_cancelling or state.flattening.course in UNDER_WAY
        return is_busy and (is_hopeful or self.link.is_up)

    async def alone(self, for_s: float) -> None:
        """Wait until nobody and nothing has needed the guard for `for_s`; a venue that is gone for so long, neither."""
        last = trio.current_time()
        while trio.current_time() - last < for_s:
            await trio.sleep(for_s / _LOOKS)
            if self.is_needed(is_hopeful=False):
                last = trio.current_time()

    async def unneeded(self, within_s: float) -> None:
        """Wait until the guard is not needed any more, but not longer than `within_s`."""
        with trio.move_on_after(within_s):
            while self.is_needed():
                await trio.sleep(_LEAVE_CHECK_S)
