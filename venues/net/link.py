"""How one connection is written to, watched, and why it ends."""

from collections import deque
from enum import StrEnum
from typing import Final

import trio
from attrs import Factory, define, frozen
from websockets.exceptions import WebSocketException
from websockets.protocol import State

from venues.net.errors import NotSentError, NotSentReason
from venues.net.wire import WireConnection

DETAIL_CHARS_MAX: Final = 120
_TICKS: Final = 4
_PACE_S: Final = 1.0


class DownReason(StrEnum):
    """Why a connection ended.

    CLOSED_BY_VENUE: it said so. LOST: the network did. SILENT: half-open, or no data where some is due. NOT_READY:
    nobody marked it ready in time. DROPPED: its user did not want it. ROTATED: the next one took over. STOPPED: so did
    we all.
    """

    CLOSED_BY_VENUE = "closed_by_venue"
    LOST = "lost"
    SILENT = "silent"
    NOT_READY = "not_ready"
    DROPPED = "dropped"
    ROTATED = "rotated"
    STOPPED = "stopped"


@frozen
class SocketSettings:
    """How a socket is kept. Times are seconds.

    After `idle_s` without a frame of any kind we ping, and after `pong_s` more the connection is half-open.
    `data_idle_s`: how long messages may be missing although pings are answered; None where silence is normal.
    `lifetime_s`: the age at which the next connection is opened, up to the share `jitter` of it earlier; both deliver
    for `overlap_s`. With `needs_ready` a connection is used only once `mark_ready` was called for it, which must
    happen within `ready_s`. A connection that lived for `stable_s` was no failure. Of messages at most `sends_per_s`
    leave in a second (None: any number): 8 of Binance's 10 leave two for pings and pongs.
    """

    idle_s: float = 20.0
    pong_s: float = 10.0
    data_idle_s: float | None = None
    lifetime_s: float = 23.5 * 3600
    jitter: float = 0.05
    overlap_s: float = 5.0
    open_s: float = 10.0
    ready_s: float = 10.0
    backoff_first_s: float = 0.2
    backoff_max_s: float = 30.0
    stable_s: float = 10.0
    sends_per_s: int | None = 8
    queued_max: int = 1_024
    frame_bytes_max: int = 16 * 1024 * 1024
    needs_ready: bool = False


@define
class Tally:
    """What went over all connections of one socket."""

    messages: int = 0
    message_bytes: int = 0
    pings: int = 0
    sent: int = 0


@define(eq=False)
class Link:
    """One connection while it is up; `turn` is set when it is to be replaced, `ready` when it may be used or not."""

    number: int
    wire: WireConnection
    opened: float
    settings: SocketSettings
    tally: Tally
    is_ready: bool = False
    is_gone: bool = False
    reason: DownReason | None = None
    detail: str = ""
    queue: deque[str] = Factory(deque)
    wakes: trio.Event = Factory(trio.Event)
    ready: trio.Event = Factory(trio.Event)
    turn: trio.Event = Factory(trio.Event)

    def end(self, reason: DownReason, detail: str) -> None:
        """Have it ended for this reason; the first one counts."""
        if self.reason is None:
            self.reason, self.detail = reason, detail[:DETAIL_CHARS_MAX]
        self.wire.stop()
        self.wire.ended.set()

    def settle(self) -> DownReason:
        """It is gone: give the reason it was ended for, or else the one that the connection shows."""
        if self.reason is None:
            self.reason, self.detail = _reason_of(self.wire)
        self.is_gone = True
        self.wire.stop()
        self.ready.set()
        self.turn.set()
        return self.reason

    def send(self, text: str) -> None:
        """Write a message at once where that can be, else queue it. Raises NotSentError (QUEUE_FULL)."""
        if len(self.queue) >= self.settings.queued_max:
            raise NotSentError(NotSentReason.QUEUE_FULL, f"{len(self.queue)} messages wait")
        if self.settings.sends_per_s is None and not self.queue and self.wire.send_at_once(text):
            self.tally.sent += 1
            if self.wire.has_unsent:
                self.wakes.set()
            return
        self.queue.append(text)
        self.wakes.set()

    async def run(self) -> None:
        """Write and watch until the connection ends or is ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._notice_end)
            await self.wire.ended.wait()
            nursery.cancel_scope.cancel()

    async def _notice_end(self) -> None:
        await self.wire.wait_closed()
        self.wire.ended.set()

    async def _write(self) -> None:
        """Write what is queued, no more than so many a second, until the connection does not take it."""
        limit = self.settings.sends_per_s
        written: deque[float] = deque(maxlen=limit or 1)
        while True:
            try:
                if self.wire.has_unsent:
                    await self.wire.flush()
                if not self.queue:
                    self.wakes = trio.Event()
                    await self.wakes.wait()
                    continue
                if limit is not None and len(written) == limit:
                    await trio.sleep_until(written[0] + _PACE_S)
                if self.wire.state is not State.OPEN:
                    return
                written.append(trio.current_time())
                self.tally.sent += 1
                await self.wire.send(self.queue.popleft())
            except WebSocketException:
                return

    async def _watch(self) -> None:
        """Notice a connection that has fallen silent: no frame although we pinged, or no message where one was due."""
        settings, wire = self.settings, self.wire
        tick_s = settings.idle_s / _TICKS
        heard, messages, silent, empty_s = -1, -1, 0, 0.0
        while True:
            await trio.sleep(tick_s)
            silent = silent + 1 if wire.heard == heard else 0
            empty_s = empty_s + tick_s if wire.messages == messages else 0.0
            heard, messages = wire.heard, wire.messages
            if wire.state is not State.OPEN:
                self.end(*_reason_of(wire))
            elif settings.data_idle_s is not None and empty_s >= settings.data_idle_s:
                self.end(DownReason.SILENT, f"no message for {empty_s:g} s")
            elif silent >= _TICKS and not await self._is_answered(heard):
                self.end(DownReason.SILENT, f"no frame for {settings.idle_s + settings.pong_s:g} s")

    async def _is_answered(self, heard: int) -> bool:
        """Ping, and tell whether any frame came within `pong_s`: some venue's pongs are late, its data is not."""
        self.tally.pings += 1
        with trio.move_on_after(self.settings.pong_s):
            try:
                await (await self.wire.ping()).wait()
            except WebSocketException:
                return True
        return self.wire.heard != heard


def _reason_of(wire: WireConnection) -> tuple[DownReason, str]:
    if wire.protocol.close_rcvd is not None:
        close = wire.protocol.close_rcvd
        return DownReason.CLOSED_BY_VENUE, f"{close.code} {close.reason}"[:DETAIL_CHARS_MAX].strip()
    if wire.state is State.OPEN:
        return DownReason.STOPPED, ""
    error = wire.protocol.parser_exc
    return DownReason.LOST, "end of stream" if error is None else type(error).__name__
