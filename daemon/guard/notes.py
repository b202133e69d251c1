"""Decides what of the guard's doings is written down, and what becomes of it when the disk refuses."""

import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Any

from actors.control import Baselines, DeskBye, DeskHello
from actors.guardian_messages import (
    ArmRefused,
    Charge,
    DeskGone,
    DeskKill,
    Fence,
    Fenced,
    Latched,
    PanicCommand,
    Targets,
)
from actors.guardian_records import GuardianState
from actors.messages import ArmCommand, KillCommand
from daemon.guard.journal import GuardJournal, Rows, event_row, latch_row, memory_row, texts
from daemon.live.sockets import Peer
from daemon.logs import get_logger
from venues.port import Command, Message

_UNWRITTEN_MAX = 10_000
_CAUSES = (KillCommand, PanicCommand, DeskKill, ArmCommand, DeskHello, DeskBye, DeskGone, Fenced, Baselines)
_DECISIONS = (Charge, Targets, Fence, ArmRefused, Command)

_log = get_logger("guard")


class Notes:
    """Writes before anything is done. What the disk refused is kept and comes first in the next try.

    A lowering of the latch is never written later: it was refused then, and the row that follows says what holds.
    """

    def __init__(self, journal: GuardJournal | None, epoch: int, *, is_obedient: bool) -> None:
        self.epoch = epoch
        self.is_obedient = is_obedient
        self._journal = journal
        self._unwritten: deque[Rows] = deque(maxlen=_UNWRITTEN_MAX)
        self._desk: dict[str, Any] | None = None

    @property
    def unwritten(self) -> int:
        """How many rows wait for the disk."""
        return len(self._unwritten)

    def commit(
        self, now: int, cause: Message | None, effects: Sequence[Message], state: GuardianState, who: Peer | None
    ) -> str:
        """Write down what must not be forgotten; return why that failed, empty when it did not."""
        rows: list[Rows] = []
        lowering: list[Latched] = []
        if isinstance(cause, _CAUSES):
            rows.append(event_row(now, cause, who))
        if isinstance(cause, Baselines):
            rows.append(memory_row("baselines", texts(state.baselines)))
        if isinstance(cause, DeskHello):
            # A desk that joins while the guard is in charge is told so before it may send anything.
            self.is_obedient = state.is_in_charge
        rows += self._desk_rows(state)
        for effect in effects:
            if isinstance(effect, Latched):
                if effect.level < effect.before:
                    lowering.append(effect)
                else:
                    rows.append(latch_row(effect, who))
            elif isinstance(effect, _DECISIONS):
                rows.append(event_row(now, effect, who))
            if isinstance(effect, Charge):
                rows.append(memory_row("is_in_charge", effect.is_in_charge))
            elif isinstance(effect, Targets):
                rows.append(memory_row("targets", texts(state.flattening.targets)))
        why = self.write(rows, [latch_row(one, who) for one in lowering])
        if why:
            for one in lowering:
                # Whether a failed commit is on the disk all the same nobody knows.
                holds = Latched(now, one.before, one.before, "journal", "", "a lowering could not be written")
                self._unwritten.append(latch_row(holds, None))
        return why

    def _desk_rows(self, state: GuardianState) -> list[Rows]:
        """Remember whom a restart has to wait for, and to fence."""
        desk = None if state.desk.pid is None else {"pid": state.desk.pid, "is_obedient": self.is_obedient}
        if desk == self._desk:
            return []
        self._desk = desk
        return [memory_row("desk", desk)]

    def begin_anew(self, now: int, change: Latched) -> str:
        """Write down why another guardian goes on, with client ids of its own; return why that failed."""
        self.epoch = max(self.epoch + 1, now // 1_000_000)
        return self.write([latch_row(change, None), memory_row("epoch", self.epoch)])

    def note(self, now: int, message: Message, who: Peer | None) -> str:
        """Write down a message by itself; return why that failed."""
        return self.write([event_row(now, message, who)])

    def write(self, rows: Sequence[Rows], once: Sequence[Rows] = ()) -> str:
        """Write rows; those of `once` are not kept for another try. Without a journal nothing is written."""
        if self._journal is None or not (rows or once):
            return ""
        try:
            self._journal.write([*self._unwritten, *rows, *once])
        except sqlite3.Error as error:
            self._unwritten.extend(rows)
            why = f"{type(error).__name__}: {error}"
            _log.error("the journal cannot be written", why=why, unwritten=len(self._unwritten))
            return why
        self._unwritten.clear()
        return ""

    def retry(self) -> None:
        """Try again what is not written yet."""
        if self._unwritten and self._journal is not None:
            waiting = list(self._unwritten)
            self._unwritten.clear()
            self.write(waiting)

    def close(self) -> None:
        self.retry()
        if self._journal is not None:
            self._journal.close()
