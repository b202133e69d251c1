"""Drives the guardian: one input at a time, what it decided written down first, then done."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from actors.base import Outbox, TimerFired
from actors.guardian import Guardian
from actors.guardian_messages import Fence, JournalFailed, Latched, LatchWritten
from actors.timers import Staged, Timers
from venues.model.money import desk_arithmetic
from venues.port import CancelAll, Command, Message, Report

Effect = Message
"""A command for a venue, a word for the desk, or one of the effects in `actors.guardian_messages`."""


class Host(Protocol):
    """Who carries out what the guardian decides."""

    def commit(self, now: int, cause: Message | None, effects: Sequence[Effect]) -> str:
        """Write down what must not be forgotten; return why that failed, empty when it did not.

        `cause` is what was handled, None for the start.
        """

    def send(self, commands: Sequence[Command]) -> list[Report]:
        """Send commands to their venues; return what must be believed of those that cannot even be tried."""

    def tell(self, message: Message) -> None:
        """Tell the desk, if it is there."""

    def fence(self, fence: Fence) -> None:
        """End the desk's process; answer with Fenced when it is known what came of it."""


class Engine:
    """Times are ns of the guard's own clock and never go back.

    What a handler raises comes out of `take`, and nothing of what it staged is done. A commit that fails keeps nothing
    from being done: what the guard does is stopping.
    """

    def __init__(self, guardian: Guardian, host: Host) -> None:
        self.guardian = guardian
        self._host = host
        self._timers = Timers()
        self._staged: list[Effect] = []
        self._staged_timers: list[Staged] = []
        self._handlers = {kind: getattr(guardian, name) for kind, name in type(guardian).handlers().items()}
        guardian.out = Outbox(
            guardian.name, self._staged.append, self._staged.append, self._staged_timers.append, lambda: 0
        )

    def start(self, now: int) -> None:
        """Let the guardian begin. Call it once."""
        self._run(now, None)

    def take(self, now: int, message: Message) -> None:
        """Handle an input and everything that follows from it at once."""
        self._run(now, message)

    @desk_arithmetic()
    def _run(self, now: int, first: Message | None) -> None:
        waiting: deque[Message | None] = deque([first])
        while waiting:
            message = waiting.popleft()
            self._staged.clear()
            self._staged_timers.clear()
            self._handle(now, message)
            waiting.extend(self._perform(now, message))

    def next_ns(self) -> int | None:
        """Return when the next timer is due."""
        return self._timers.next_ns()

    def take_due(self, now: int) -> None:
        """Fire the timers that are due, each at most once."""
        for fired in self._timers.due(now):
            if self._timers.take(fired):
                self.take(now, fired)

    def _handle(self, now: int, message: Message | None) -> None:
        if message is None:
            self.guardian.start(now)
        elif isinstance(message, TimerFired):
            self.guardian.on_timer(now, message.key)
        else:
            # Venues say much that is no business of the guard.
            handler = self._handlers.get(type(message))
            if handler is not None:
                handler(now, message)

    def _perform(self, now: int, cause: Message | None) -> list[Message]:
        """Write down and do what is staged; return what the guardian must learn of it."""
        effects = _once(self._staged)
        for staged in self._staged_timers:
            self._timers.set(*staged)
        why = self._host.commit(now, cause, effects)
        if why:
            news: list[Message] = [JournalFailed(now, why)]
        else:
            news = [LatchWritten(now, one.level) for one in effects if isinstance(one, Latched)]
        commands = [one for one in effects if isinstance(one, Command)]
        if commands:
            news += self._host.send(commands)
        for effect in effects:
            if isinstance(effect, Fence):
                self._host.fence(effect)
            elif not isinstance(effect, Command):
                self._host.tell(effect)
        return news


def _once(staged: Sequence[Effect]) -> list[Effect]:
    """Return what is staged; several reasons to cancel at one instant are one cancel-all."""
    found: list[Effect] = []
    for effect in staged:
        if not isinstance(effect, CancelAll) or effect not in found:
            found.append(effect)
    return found
