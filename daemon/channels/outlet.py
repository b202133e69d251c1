"""Brings notices through one channel, one after the other, and says when that does not work."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio
from attrs import define, field

from actors.notices import Notice, Urgency
from daemon.logs import get_logger

OUTCOMES = ("sent", "failed", "dropped")
"""What may become of a notice that a channel is to bring through."""

_log = get_logger("channels")


class ChannelError(Exception):
    """A notice did not get through; the text says why and holds no secret."""


class Channel(Protocol):
    """A way to reach people."""

    async def send(self, notice: Notice) -> None:
        """Bring one notice through. Raises ChannelError."""


def _nothing(name: str, is_up: bool, why: str) -> None:
    pass


@define
class Outlet:
    """One channel with its queue. `post` never waits; `run` brings what waits through, until cancelled.

    `on_change(name, is_up, why)` is called when the channel begins to fail, and when it works again. `counts` are the
    notices by OUTCOMES.
    """

    name: str
    channel: Channel
    at_least: Urgency
    timeout_ns: int
    attempts: int
    retry_ns: int
    size: int
    on_change: Callable[[str, bool, str], None] = _nothing
    counts: dict[str, int] = field(factory=lambda: dict.fromkeys(OUTCOMES, 0))
    is_up: bool = True
    _waiting: deque[Notice] = field(factory=deque)
    _more: trio.Event = field(factory=trio.Event)

    def post(self, notice: Notice) -> None:
        """Let a notice wait for its turn; who heard of a cause also hears that it is over."""
        if notice.urgency < self.at_least and not notice.is_over:
            return
        if len(self._waiting) >= self.size:
            self.counts["dropped"] += 1
            calm = next((one for one in self._waiting if not one.needs_ack), self._waiting[0])
            self._waiting.remove(calm)
        self._waiting.append(notice)
        self._more.set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        while True:
            if not self._waiting:
                self._more = trio.Event()
                await self._more.wait()
            await self._bring(self._waiting.popleft())

    async def _bring(self, notice: Notice) -> None:
        why = ""
        for attempt in range(self.attempts):
            if attempt:
                await trio.sleep(self.retry_ns * 2 ** (attempt - 1) / 1e9)
            why = await self._try(notice)
            if not why:
                self.counts["sent"] += 1
                self._note(True, "")
                return
        self.counts["failed"] += 1
        _log.error("notice lost", channel=self.name, number=notice.number, ref=notice.ref, why=why)
        self._note(False, why)

    async def _try(self, notice: Notice) -> str:
        with trio.move_on_after(self.timeout_ns / 1e9):
            try:
                await self.channel.send(notice)
            except ChannelError as error:
                return str(error) or "failed"
            return ""
        return f"no answer within {self.timeout_ns / 1e9:g} s"

    def _note(self, is_up: bool, why: str) -> None:
        was, self.is_up = self.is_up, is_up
        if was is not is_up:
            self.on_change(self.name, is_up, why)
