"""How a stream of frames outlives its connections."""

import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import trio
from attrs import field, frozen
from websockets.exceptions import InvalidStatus, WebSocketException

from venues.net.errors import NetError, NotSentError, NotSentReason
from venues.net.limits import Priority, RatePools
from venues.net.link import DETAIL_CHARS_MAX, DownReason, Link, SocketSettings, Tally
from venues.net.rest import Answer, throttle_of
from venues.net.wire import WireConnect, WireConnection

__all__ = ["Down", "DownReason", "ReconnectingSocket", "SocketCounters", "SocketSettings"]

_CLOSE_S: Final = 2.0
_RETIRE_S: Final = 1.0
_OPEN_FAILURES: Final = (
    OSError,
    EOFError,
    WebSocketException,
    NetError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


@frozen
class Down:
    """A connection that was up is gone.

    `unsent` was never handed to the network: proven. Whatever else was sent on it may have arrived.
    """

    connection: int
    reason: DownReason
    detail: str
    unsent: tuple[str, ...] = field(default=(), repr=False)


@frozen
class SocketCounters:
    """What a socket has seen since it was made. `last_failure` names no address."""

    name: str
    is_up: bool
    opened: int
    open_failures: int
    last_failure: str
    rotations: int
    messages: int
    message_bytes: int
    pings: int
    sent: int
    downs: Mapping[str, int]


class ReconnectingSocket:
    """Messages of one address for ever. Connections are numbered from 1 in the order of their opening.

    on_frame(data, received_ns, connection): called for every message, as bytes, by the task that reads: it is
    synchronous and nothing is read meanwhile. on_up(connection): it is open; say what must be said there with
    `send(text, connection)`. on_down(down): once for each on_up; no frame of that connection comes after it. While one
    connection replaces another both are up. on_failure(detail): an attempt to connect failed.

    `limits` are asked for `connect_costs` before each attempt; a handshake refused with 418 or 429 counts as an answer.
    """

    def __init__(
        self,
        name: str,
        url_of: Callable[[], Awaitable[str]],
        on_frame: Callable[[bytes, int, int], None],
        on_up: Callable[[int], None],
        on_down: Callable[[Down], None],
        *,
        settings: SocketSettings,
        now: Callable[[], int],
        on_failure: Callable[[str], None] | None = None,
        limits: RatePools | None = None,
        connect_costs: Mapping[str, int] | None = None,
        rng: random.Random | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._url_of = url_of
        self._on_frame = on_frame
        self._on_up = on_up
        self._on_down = on_down
        self._on_failure = on_failure
        self._settings = settings
        self._now = now
        self._limits = limits
        self._connect_costs = dict(connect_costs or {})
        self._rng = rng or random.Random()
        self._tls = tls
        self._headers = dict(headers or {})
        self._links: dict[int, Link] = {}
        self._current: Link | None = None
        self._addresses = 0
        self._failures = 0
        self._opened = 0
        self._open_failures = 0
        self._last_failure = ""
        self._rotations = 0
        self._tally = Tally()
        self._downs: Counter[str] = Counter()

    @property
    def is_up(self) -> bool:
        """Whether some connection is ready."""
        return self._current is not None

    @property
    def current(self) -> int | None:
        """The connection that `send` goes to: the newest one that is ready."""
        return None if self._current is None else self._current.number

    def counters(self) -> SocketCounters:
        return SocketCounters(
            name=self.name,
            is_up=self.is_up,
            opened=self._opened,
            open_failures=self._open_failures,
            last_failure=self._last_failure,
            rotations=self._rotations,
            messages=self._tally.messages,
            message_bytes=self._tally.message_bytes,
            pings=self._tally.pings,
            sent=self._tally.sent,
            downs=dict(self._downs),
        )

    def send(self, text: str, connection: int | None = None) -> int:
        """Queue a message for the current connection, or that one, and return its number.

        Raises NotSentError: DOWN when there is no such connection, QUEUE_FULL when too many messages wait already.
        """
        link = self._current if connection is None else self._links.get(connection)
        if link is None or link.reason is not None:
            raise NotSentError(NotSentReason.DOWN, self.name)
        link.send(text)
        return link.number

    def mark_ready(self, connection: int) -> None:
        """A connection may be used. Harmless for one that is gone or ready."""
        link = self._links.get(connection)
        if link is None or link.reason is not None or link.is_ready:
            return
        link.is_ready = True
        self._choose_current()
        link.ready.set()

    def drop(self, connection: int, detail: str) -> None:
        """End a connection that is of no use; another one is opened. Harmless for one that is gone."""
        link = self._links.get(connection)
        if link is not None:
            link.end(DownReason.DROPPED, detail)
            self._choose_current()

    def reconnect(self) -> None:
        """Replace the newest connection as at its end of life, or the one being made: the address is another now."""
        self._addresses += 1
        if self._links:
            self._links[max(self._links)].turn.set()

    async def run(self) -> None:
        """Connect, and stay connected until cancelled. What a callback raises ends it, in an ExceptionGroup.

        `url_of` is asked before each attempt and may raise NetError, which counts as a failed attempt.
        """
        old: Link | None = None
        async with trio.open_nursery() as nursery:
            while True:
                link = await self._open(nursery, is_relief=old is not None and not old.is_gone)
                if old is not None and not old.is_gone:
                    self._rotations += 1
                    nursery.start_soon(self._retire, old)
                with trio.move_on_after(self._settings.lifetime_s * (1 - self._settings.jitter * self._rng.random())):
                    await link.turn.wait()
                if trio.current_time() - link.opened >= self._settings.stable_s or not link.is_gone:
                    self._failures = 0
                else:
                    self._failures += 1
                old = link

    async def _open(self, nursery: trio.Nursery, is_relief: bool) -> Link:
        """Try until a connection is ready. The first attempt waits for nothing when it relieves one that is up."""
        while True:
            if not is_relief or self._failures:
                await trio.sleep(self._pause_s())
            await self._wait_for_tokens()
            link: Link | None = await nursery.start(self._live)
            if link is None:
                self._failures += 1
                continue
            with trio.move_on_after(self._settings.ready_s):
                await link.ready.wait()
            if link.is_ready and not link.is_gone:
                return link
            self._failures += 1
            link.end(DownReason.NOT_READY, f"not ready within {self._settings.ready_s:g} s")

    def _pause_s(self) -> float:
        settings = self._settings
        if not self._failures:
            return settings.backoff_first_s * self._rng.random()
        longest_s = min(settings.backoff_max_s, settings.backoff_first_s * 2.0 ** min(self._failures, 32))
        return longest_s * (0.5 + self._rng.random() / 2)

    async def _wait_for_tokens(self) -> None:
        while self._limits is not None:
            now_ns = self._now()
            # A stream that is down is risk: it goes before questions and new orders.
            retry_ns = self._limits.take(Priority.HEDGE, self._connect_costs, now_ns)
            if retry_ns is None:
                return
            await trio.sleep(self._limits.wait_s(now_ns, retry_ns))

    async def _live(self, *, task_status: trio.TaskStatus[Link | None]) -> None:
        """One connection from its handshake to its end; starts with None when there was no handshake."""
        is_open, is_over = False, False
        addresses = self._addresses
        try:
            url = await self._url_of()
            async with self._connect(url) as wire:
                assert isinstance(wire, WireConnection)
                is_open = True
                await self._serve(wire, addresses, task_status)
                is_over = True
        except _OPEN_FAILURES as error:
            if is_over:
                # The network may complain of how we leave; that it is over was told already.
                return
            if is_open:
                raise
            self._note_failure(error)
            task_status.started(None)

    def _connect(self, url: str) -> WireConnect:
        settings = self._settings
        is_secure = url.startswith("wss:")
        if is_secure and self._tls is None:
            # Made once: to read the certificates takes longer than anything else here.
            self._tls = ssl.create_default_context()
        return WireConnect(
            url,
            create_connection=WireConnection,
            ssl=self._tls if is_secure else None,
            additional_headers=self._headers,
            user_agent_header=None,
            compression=None,
            proxy=None,
            open_timeout=settings.open_s,
            close_timeout=_CLOSE_S,
            ping_interval=None,
            max_size=settings.frame_bytes_max,
            max_queue=None,
        )

    def _note_failure(self, error: BaseException) -> None:
        """Count a failed attempt. Its text is not ours to tell: it may hold the address, and that a key."""
        detail = type(error).__name__
        if isinstance(error, InvalidStatus):
            detail = f"{detail} {error.response.status_code}"
            self._note_refusal(error)
        elif isinstance(error, OSError) and error.strerror:
            detail = f"{detail} {error.strerror}"
        elif isinstance(error, NetError):
            detail = f"{detail} {error}"
        self._open_failures += 1
        self._last_failure = detail[:DETAIL_CHARS_MAX]
        if self._on_failure is not None:
            self._on_failure(self._last_failure)

    def _note_refusal(self, error: InvalidStatus) -> None:
        if self._limits is not None:
            now_ns = self._now()
            headers = {key.lower(): value for key, value in error.response.headers.raw_items()}
            self._limits.obey(throttle_of(Answer(error.response.status_code, headers, b"", now_ns, now_ns)))

    async def _serve(self, wire: WireConnection, addresses: int, task_status: trio.TaskStatus[Link | None]) -> None:
        self._opened += 1
        link = Link(self._opened, wire, trio.current_time(), self._settings, self._tally)
        if addresses != self._addresses:
            link.turn.set()
        self._links[link.number] = link
        try:
            self._on_up(link.number)
            if not self._settings.needs_ready:
                self.mark_ready(link.number)
            task_status.started(link)
            wire.start(self._taker(link.number))
            await link.run()
        finally:
            self._finish(link)
        if wire.failure is not None:
            raise wire.failure
        with suppress(*_OPEN_FAILURES):
            with trio.move_on_after(_CLOSE_S):
                if link.reason is not DownReason.SILENT:
                    await wire.aclose()
            await trio.aclose_forcefully(wire.stream)

    def _taker(self, number: int) -> Callable[[bytes], None]:
        on_frame, now = self._on_frame, self._now

        def take(data: bytes) -> None:
            received_ns = now()
            self._tally.messages += 1
            self._tally.message_bytes += len(data)
            on_frame(data, received_ns, number)

        return take

    def _finish(self, link: Link) -> None:
        """A connection is gone: say so once, with what was never sent."""
        reason = link.settle()
        del self._links[link.number]
        self._choose_current()
        self._downs[reason] += 1
        self._on_down(Down(link.number, reason, link.detail, tuple(link.queue)))

    def _choose_current(self) -> None:
        usable = [link for link in self._links.values() if link.is_ready and link.reason is None]
        self._current = max(usable, key=lambda link: link.number) if usable else None

    async def _retire(self, old: Link) -> None:
        """End a connection once the one that follows it has delivered for long enough, and while one does."""
        await trio.sleep(self._settings.overlap_s)
        while not old.is_gone:
            if self._current is not None and self._current.number > old.number:
                old.end(DownReason.ROTATED, "")
                return
            await trio.sleep(max(self._settings.overlap_s, _RETIRE_S))
