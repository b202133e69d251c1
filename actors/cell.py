"""What a cell does when one of its actors fails: quarantine the input, rebuild from the snapshot, or halt."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from actors.base import Actor, TimerFired
from actors.dispatcher import (
    Dispatcher,
    DispatchError,
    HandlerFailedError,
    Intent,
    Limits,
    MessageStormError,
    NoSink,
    Sink,
    ViewKey,
)
from actors.snapshot import SnapshotError
from venues.port import Lane, Message, message

QUARANTINE_WINDOW_NS = 60_000_000_000


@message(lane=Lane.CONTROL)
class CellRestarted(Message):
    """The cell was rebuilt without input `seq`, on which `actor` failed. Nothing is trusted until reconciled."""

    ts: int
    seq: int
    actor: str
    error: str


@frozen
class Quarantine:
    """One input set aside: its sequence number, when, which actor failed on it and how."""

    seq: int
    now: int
    actor: str
    error: str


@frozen
class Halt:
    """Why the cell stopped for good. `chain` is the causal chain of a message storm, oldest first."""

    now: int
    seq: int
    why: str
    chain: tuple[str, ...] = ()


_Taken = tuple[int, int, bool, Message]
"""An input as it was taken: sequence number, now, whether views were held back, the message."""

_Delivered = list[ViewKey]
"""Views that had been delivered when a later one failed."""


class Cell:
    """A dispatcher that survives a failing handler.

    `build` makes the actors afresh; it is called once at the start and once for each rebuild. Inputs since the last
    snapshot are kept in memory (at most about `snapshot_every`). Once `halt` is set nothing is dispatched any more:
    the caller cancels all orders and exits non-zero. `sink` may be set until the first input.
    """

    def __init__(
        self,
        build: Callable[[], Sequence[Actor]],
        *,
        sink: Sink | None = None,
        limits: Limits | None = None,
        snapshot_every: int = 20_000,
    ) -> None:
        self._build = build
        self.sink = sink
        self._limits = limits
        self._snapshot_every = snapshot_every
        self._tail: list[_Taken | _Delivered] = []
        self._set_aside: set[int] = set()
        self.quarantined: list[Quarantine] = []
        # When the last one was, also before the snapshot that the cell began from.
        self._quarantined_ns: int | None = None
        self.halt: Halt | None = None
        self.dispatcher = Dispatcher(build(), sink=self, limits=limits)
        self._snapshot: dict[str, Any] = {}

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        """Note an input as taken and pass it on to the log (the dispatcher's sink)."""
        self._tail.append((seq, now, is_held, message))
        if self.sink is not None:
            self.sink.input(seq, now, is_held, message)

    def start(self, now: int, snapshot: dict[str, Any] | None = None) -> list[Intent]:
        """Begin afresh at `now`, or from a snapshot; return what the actors want sent.

        An actor that cannot begin halts the cell: there is no state to go back to. Raises SnapshotError.
        """
        if snapshot is not None:
            self.dispatcher.restore(snapshot)
            self._quarantined_ns = snapshot.get("quarantined_ns")
            # What was restored is what a rebuild restores.
            self._snapshot = snapshot
        else:
            try:
                self.dispatcher.start(now)
                self.dispatcher.drain_views()
            except DispatchError as error:
                chain = error.chain if isinstance(error, MessageStormError) else ()
                self.halt = Halt(now, error.seq, f"an actor cannot begin: {error}", chain)
                return []
            self._take_snapshot()
        return self.dispatcher.take_effects()

    def snapshot(self) -> dict[str, Any]:
        """Return the state of dispatcher and actors, and when an input was set aside last; only between runs."""
        return {**self.dispatcher.snapshot(), "quarantined_ns": self._quarantined_ns}

    def offer(self, message: Message) -> None:
        """Put an input into its lane; ignored once halted."""
        if self.halt is None:
            self.dispatcher.offer(message)

    def offer_due(self, now: int) -> None:
        if self.halt is None:
            self.dispatcher.offer_due(now)

    def next_timer(self) -> int | None:
        return None if self.halt is not None else self.dispatcher.next_timer()

    def run(self, now: int, inputs_max: int | None = None) -> list[Intent]:
        """Take everything that waits, or `inputs_max` of it, and return the commands to journal and send, in order."""
        while self.halt is None:
            try:
                self.dispatcher.run(now, inputs_max)
            except DispatchError as error:
                self._fail(error)
            else:
                if len(self._tail) >= self._snapshot_every:
                    self._take_snapshot_if_due()
                break
        return self.dispatcher.take_effects()

    def replay(self, now: int, message: Message, is_held: bool) -> list[Intent]:
        """Take one logged input just as it was taken then.

        Returns the commands that follow from the inputs before it, once their views are delivered too: while
        `is_held` there are none, and the last come from `finish_replay`. Messages that the cell makes itself
        (CellRestarted) are not fed: it makes them again.
        """
        complete = [] if is_held else self.finish_replay()
        if self.halt is None:
            try:
                if isinstance(message, TimerFired):
                    self.dispatcher.forget_timer(message)
                self.dispatcher.take(now, message, is_held=is_held)
            except DispatchError as error:
                self._fail(error)
        return complete

    def finish_replay(self) -> list[Intent]:
        """Deliver the views that wait and return the commands not returned yet."""
        while self.halt is None:
            try:
                self.dispatcher.drain_views()
            except DispatchError as error:
                self._fail(error)
            else:
                self._take_snapshot_if_due()
                break
        return self.dispatcher.take_effects()

    def _take_snapshot_if_due(self) -> None:
        if len(self._tail) >= self._snapshot_every and self.dispatcher.is_idle:
            self._take_snapshot()

    def _take_snapshot(self) -> None:
        try:
            self._snapshot = self.dispatcher.snapshot()
        except SnapshotError as error:
            self.halt = Halt(self.dispatcher.now, self.dispatcher.seq, f"the cell cannot be snapshotted: {error}")
        self._tail.clear()
        self._set_aside.clear()

    def _fail(self, error: DispatchError) -> None:
        # The failed input's own time: a replay comes here with the next input in hand.
        now = self.dispatcher.now
        if isinstance(error, MessageStormError):
            self.halt = Halt(now, error.seq, str(error), error.chain)
            return
        actor = error.actor if isinstance(error, HandlerFailedError) else "?"
        previous_ns, self._quarantined_ns = self._quarantined_ns, now
        self.quarantined.append(Quarantine(error.seq, now, actor, str(error)))
        if previous_ns is not None and now - previous_ns < QUARANTINE_WINDOW_NS:
            self.halt = Halt(now, error.seq, f"second quarantine within a minute: {error}")
            return
        try:
            self._rebuild(error.seq)
            # Taken directly, past the lanes: a replay rebuilds at the same input and makes the same message.
            held = bool(self.dispatcher.depths["views"])
            self.dispatcher.take(now, CellRestarted(now, error.seq, actor, str(error)), is_held=held)
        except (DispatchError, SnapshotError) as again:
            self.halt = Halt(now, error.seq, f"the cell cannot be rebuilt: {again}")

    def _rebuild(self, without: int) -> None:
        """Make the actors anew from the snapshot and the inputs since, leaving out input `without`.

        Commands that the repeated inputs emit are dropped: they were emitted, journaled and sent the first time.
        Views are delivered where they were the first time, so that none of them acts twice.
        """
        old = self.dispatcher
        try:
            fresh = Dispatcher(self._build(), sink=NoSink(), limits=self._limits)
            fresh.restore(self._snapshot)
        except Exception as error:
            # Constructors and migrations are the actors' own code, as handlers are.
            raise SnapshotError(f"{type(error).__name__}: {error}") from error
        self._set_aside.add(without)
        self._tail.append(old.delivered_views(without=without))
        for entry in self._tail:
            if isinstance(entry, list):
                for key in entry:
                    fresh.drain_view(key)
                continue
            seq, now, is_held, taken = entry
            if not is_held:
                fresh.drain_views()
            if isinstance(taken, TimerFired) and not fresh.forget_timer(taken):
                continue
            if seq not in self._set_aside:
                fresh.seq = seq - 1
                fresh.take(now, taken, is_held=is_held)
        for name, actor in fresh.actors.items():
            actor.inherit(old.actors[name])
        fresh.take_over(old)
        fresh.sink = self
        self.dispatcher = fresh
