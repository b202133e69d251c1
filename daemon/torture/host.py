"""The machine a tortured desk runs on: a journal that is slow or fails, a clock that jumps, deaths at every boundary.

A dead desk's memory is gone. It comes back as the daemon does: from the journal through `daemon.live.recovery`, into a
new log, not trusting what was on its way.
"""

import shutil
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from actors.base import Actor
from actors.cell import Cell, Halt
from actors.control import GuardStatus
from actors.dispatcher import Intent, Limits
from actors.messages import ResumeCommand
from daemon.build import build_id
from daemon.config_schema import RunConfig
from daemon.live.recovery import recover
from daemon.log import RunLog
from daemon.log.snapshots import SNAPSHOT_NAME, encode_snapshot
from daemon.torture.rogue import BACKLOG, Misdeed
from daemon.torture.script import ON_HOST, SECOND_NS, Fault, FaultKind, Script, Tally
from daemon.torture.wire import ONLY_LATE
from venues.model.order import PositionSide
from venues.port import (
    CancelAll,
    Lane,
    Message,
    OrderAccepted,
    OrderFilled,
    PositionReport,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

_K = FaultKind
_CLOCK = {_K.CLOCK_AHEAD: 1, _K.CLOCK_BEHIND: -1}
_FAILING = (_K.COMMIT_FAILS, _K.DISK_FULL)
HIGH_WATER = 64
"""How many reports may wait in the inbox before the desk says so."""
_LIMITS = Limits(orders_high_water=HIGH_WATER)
SNAPSHOT_INPUTS = 3_000
"""A snapshot is written so often, so that a recovery has no more than this to replay."""


class Observer(Protocol):
    """Who is told what the host does. What a desk did counts once it is committed."""

    def born(self, cell: Cell) -> None: ...
    def before_wire(self, now: int, intents: Sequence[Intent]) -> None: ...
    def committed(self, now: int) -> None: ...
    def died(self, now: int) -> None: ...
    def recovered(self, now: int, cell: Cell, memory: bytes | None, snapshot: bytes) -> None: ...
    def event(self, now: int) -> None: ...


class Host:
    """Stands in the place of a cell before the driver: alive, busy or dead.

    `build` makes the actors of a desk, `rebuild` those of a replay (without the ones that only look).
    """

    def __init__(
        self,
        config: RunConfig,
        script: Script,
        start_ns: int,
        folder: Path,
        counts: Tally,
        observer: Observer,
        build: Callable[[], list[Actor]],
        rebuild: Callable[[], list[Actor]],
        *,
        snapshot_every: int = 20_000,
    ) -> None:
        self.config = config
        self.counts = counts
        self.observer = observer
        self.lives = 0
        self._build, self._rebuild = build, rebuild
        self._folder = folder
        self._start_ns = start_ns
        self._snapshot_every = snapshot_every
        self._clocks = script.of(_CLOCK)
        self._waiting = script.of([kind for kind in ON_HOST if kind not in _CLOCK])
        self._offset = 0
        self._clock_due: int | None = self._next_turn(0)
        self._up_ns: int | None = None
        self._busy_ns: int | None = None
        self._late: list[Intent] = []
        self._kept: list[Message] = []
        self._taken: set[type[Message]] = set()
        self._rows = 0
        self._inputs = 0
        self._memory: bytes | None = None
        self.cell, self.log = self._birth(start_ns, None)

    def _birth(self, now: int, snapshot: dict[str, object] | None) -> tuple[Cell, RunLog]:
        self.lives += 1
        log = RunLog.create(
            self._folder / f"{self.lives:06d}",
            self.config.text,
            self.config.sha256,
            build_id(),
            now,
            durable=True,
            mode="paper",
            snapshot=snapshot,
        )
        return Cell(self._build, sink=self, limits=_LIMITS, snapshot_every=self._snapshot_every), log

    def _replayer(self) -> Cell:
        return Cell(self._rebuild, limits=_LIMITS, snapshot_every=self._snapshot_every)

    @property
    def log_folder(self) -> Path:
        return self._folder / f"{self.lives:06d}"

    @property
    def is_up(self) -> bool:
        return self._up_ns is None

    def desk_time(self, now: int) -> int:
        """Return what the desk takes the venue's `now` for; its time never goes back, it stands still."""
        return max(now + self._offset, self.cell.dispatcher.now)

    # The face of a cell

    @property
    def halt(self) -> Halt | None:
        return self.cell.halt

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        """The cell takes an input: it is logged, and noted for the boundaries."""
        self._inputs += 1
        if message.lane is not Lane.FEED:
            self._taken.add(type(message))
            self._rows += 1
        self.log.input(seq, now, is_held, message)

    def start(self, now: int) -> list[Intent]:
        self.observer.born(self.cell)
        intents = self.cell.start(now)
        self._commit(intents)
        self.observer.committed(now)
        self.observer.before_wire(now, intents)
        return intents

    def offer(self, message: Message) -> None:
        if self._up_ns is None:
            self.cell.offer(message)
        elif type(message).__name__ in ONLY_LATE:
            self._kept.append(message)

    def next_timer(self) -> int | None:
        due = self._clock_due
        if self._up_ns is not None:
            other: int | None = self._up_ns
        elif self._busy_ns is not None:
            other = self._busy_ns
        else:
            timer = self.cell.next_timer()
            other = None if timer is None else timer - self._offset
        if due is None or other is None:
            return other if due is None else due
        return min(due, other)

    def offer_due(self, now: int) -> None:
        if self._clock_due is not None and self._clock_due <= now:
            self._turn_clock(now)
        if self._up_ns is not None:
            if self._up_ns <= now:
                self._rise(now)
        elif self._busy_ns is None or self._busy_ns <= now:
            self.cell.offer_due(self.desk_time(now))

    def run(self, now: int, inputs_max: int | None = None) -> list[Intent]:
        """Let the desk take what waits; return what goes on the wire."""
        if self._up_ns is not None:
            return []
        if self._busy_ns is not None:
            if now < self._busy_ns:
                return []
            self._busy_ns = None
        out, self._late = self._late, []
        self._taken.clear()
        intents = self.cell.run(self.desk_time(now))
        out += self._finish(now, intents)
        if out:
            self.observer.before_wire(now, out)
        self.observer.event(now)
        return out

    def _finish(self, now: int, intents: list[Intent]) -> list[Intent]:
        """Write down and hand out what the desk wants sent, as far as the faults of the moment let it."""
        fault = self._fault(now, intents) if self._waiting else None
        if fault is None:
            self._commit(intents)
            self.observer.committed(now)
            if self._inputs >= SNAPSHOT_INPUTS:
                self._write_snapshot()
            return intents
        kind, rng = fault.kind, fault.rng()
        self.counts.met(fault)
        if kind in _FAILING:
            return self._fail(now, fault)
        if kind in (_K.CRASH_BEFORE_COMMIT, _K.CRASH_ON_ACK, _K.CRASH_ON_FILL):
            self._die(now, fault, is_clean=False)
            return []
        self._commit(intents)
        self.observer.committed(now)
        if kind is _K.FLOOD:
            self._flood(now)
            more = self.cell.run(self.desk_time(now))
            self._commit(more)
            self.observer.committed(now)
            return [*intents, *more]
        if kind in (_K.SLOW_COMMIT, _K.PAUSED):
            wait = rng.randrange(SECOND_NS // 1000, SECOND_NS // 5) if kind is _K.SLOW_COMMIT else fault.duration_ns
            self._busy_ns, self._late = now + wait, intents
            return []
        self._die(now, fault, is_clean=True)
        if kind is _K.CRASH_BEFORE_SEND:
            return []
        return intents[: len(intents) // 2] if kind is _K.CRASH_MID_SEND else intents

    def _fault(self, now: int, intents: Sequence[Intent]) -> Fault | None:
        """Return the fault that this moment walks into."""
        since = now - self._start_ns
        while self._waiting and self._waiting[0].end_ns < since and self._waiting[0].kind is not _K.PAUSED:
            self._waiting.pop(0)
        for number, fault in enumerate(self._waiting):
            if fault.start_ns > since:
                return None
            if fault.kind is _K.PAUSED or (since < fault.end_ns and self._is_moment(fault.kind, intents)):
                del self._waiting[number]
                return fault
        return None

    def _flood(self, now: int) -> None:
        """Let more come at once than the inbox should hold, and somebody who wants to trade in the middle of it."""
        for _ in range(HIGH_WATER + 1):
            self.cell.offer(PositionReport(now, "nobody", "", PositionSide.BOTH, Decimal(0)))
        self.cell.offer(Misdeed(now, BACKLOG))

    def _is_moment(self, kind: FaultKind, intents: Sequence[Intent]) -> bool:
        submits = sum(isinstance(intent.command, SubmitOrder) for intent in intents)
        if kind is _K.CRASH_MID_SEND:
            return submits > 1
        if kind in (_K.CRASH_BEFORE_COMMIT, _K.CRASH_BEFORE_SEND, _K.CRASH_AFTER_SEND):
            return submits > 0
        if kind in (_K.CRASH_ON_ACK, _K.CRASH_AFTER_ACK):
            return OrderAccepted in self._taken
        if kind in (_K.CRASH_ON_FILL, _K.CRASH_AFTER_FILL):
            return OrderFilled in self._taken
        return bool(intents)

    # The journal

    def _commit(self, intents: Sequence[Intent]) -> None:
        if intents:
            self.log.intents(intents)
            self._rows += len(intents)
        if self._rows:
            self.log.commit()
            self._rows = 0

    def _write_snapshot(self) -> None:
        self._inputs = 0
        dispatcher = self.cell.dispatcher
        self.log.write_snapshot(dispatcher.seq, dispatcher.now, self.cell.snapshot())

    def _fail(self, now: int, fault: Fault) -> list[Intent]:
        """A commit has failed: nothing leaves any more but cancels, past the journal, and the process ends."""
        self._die(now, fault, is_clean=False)
        return [Intent(0, 0, 0, CancelAll(now, account)) for account in self.config.accounts]

    # Death and recovery

    def _die(self, now: int, fault: Fault, *, is_clean: bool) -> None:
        """Lose everything but the log. `is_clean`: all that the desk knew is in it."""
        rng = fault.rng()
        down = rng.randrange(SECOND_NS // 5, 6 * SECOND_NS)
        if fault.kind is _K.DISK_FULL:
            # A supervisor tries again until there is room.
            down += fault.duration_ns // 2
        self._memory = encode_snapshot(self.cell.snapshot()) if is_clean else None
        self._up_ns = now + down
        self._busy_ns = None
        self._late = []
        self.log.abandon(str(fault.kind))
        self.observer.died(now)

    def _rise(self, now: int) -> None:
        old, self._up_ns = self.log_folder, None
        recovery = recover(old, lambda _: self._replayer())
        at = max(now + self._offset, recovery.now)
        self._rows = self._inputs = 0
        self.cell, self.log = self._birth(at, recovery.snapshot)
        snapshot = (self.log_folder / SNAPSHOT_NAME).read_bytes()
        shutil.rmtree(old)
        self.cell.start(at, recovery.snapshot)
        self.observer.recovered(now, self.cell, self._memory, snapshot)
        self.observer.born(self.cell)
        self.cell.offer(ResumeCommand(at, "goes on from its journal"))
        for venue in self.config.venues:
            self.cell.offer(VenueDown(at, venue, why="the desk was down"))
        self.cell.offer(GuardStatus(at, is_up=True))
        for venue in self.config.venues:
            self.cell.offer(VenueUp(at, venue))
        for message in self._kept:
            self.cell.offer(message)
        self._kept.clear()
        self.cell.offer_due(at)

    def close(self) -> tuple[bytes, bytes]:
        """End: return the state in memory and the one that the log gives back."""
        if self._up_ns is not None:
            raise RuntimeError("the desk is down at the end of its run")
        self.log.sync()
        memory = encode_snapshot(self.cell.snapshot())
        self.log.abandon("the run is over")
        recovery = recover(self.log_folder, lambda _: self._replayer())
        return memory, encode_snapshot(recovery.snapshot)

    # The clock

    def _next_turn(self, since: int) -> int | None:
        moments = [at for fault in self._clocks for at in (fault.start_ns, fault.end_ns) if at > since]
        return self._start_ns + min(moments) if moments else None

    def _turn_clock(self, now: int) -> None:
        since = now - self._start_ns
        offset = 0
        for fault in self._clocks:
            if fault.start_ns <= since < fault.end_ns:
                self.counts.met(fault)
                offset = _CLOCK[fault.kind] * fault.rng().randrange(SECOND_NS // 2, 20 * SECOND_NS)
        self._offset = offset
        self._clock_due = self._next_turn(since)


__all__ = ["Host", "Observer"]
