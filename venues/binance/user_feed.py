"""How an account's own events arrive: the listen key's life, the private stream, each event once."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio
from attrs import define

from venues.binance.once import FirstTold
from venues.binance.settings import PRIVATE_IDLE_S, PRIVATE_PONG_S
from venues.net.errors import NetError
from venues.net.websocket import Down, ReconnectingSocket, SocketSettings

KEEP_ALIVE_S: Final = 25 * 60.0
"""A listen key lives for 60 minutes from its making or its last extension. Source: facts D4."""

KEEP_RETRY_S: Final = 20.0


@define
class UserFeedCounters:
    """`repeats` are events that both connections of a rotation brought."""

    events: int = 0
    repeats: int = 0
    downs: int = 0
    keys: int = 0
    keeps: int = 0
    keeps_failed: int = 0
    expired: int = 0


class UserFeed:
    """One account's private stream. Silence is normal there: who reconnects must ask what was missed.

    `open_key` returns the listen key, made or extended, and raises NetError; `keep_key` extends it and returns whether
    the venue still knows it. `on_event` gets each frame once, `on_state` hears whether the stream is up and why not.
    """

    def __init__(
        self,
        account: str,
        url_of: Callable[[str], str],
        *,
        open_key: Callable[[], Awaitable[str]],
        keep_key: Callable[[str], Awaitable[bool]],
        on_event: Callable[[bytes], None],
        on_state: Callable[[bool, str], None],
        now: Callable[[], int],
        lifetime_s: float,
        overlap_s: float,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self.counters = UserFeedCounters()
        self._url = url_of
        self._open_key = open_key
        self._keep_key = keep_key
        self._on_event = on_event
        self._on_state = on_state
        self._keep_alive_s = keep_alive_s
        self._key = ""
        self._open: set[int] = set()
        self._first = FirstTold()
        self.socket = ReconnectingSocket(
            f"{account} events",
            self._url_of,
            self._on_frame,
            self._on_up,
            self._on_down,
            settings=SocketSettings(
                idle_s=PRIVATE_IDLE_S, pong_s=PRIVATE_PONG_S, lifetime_s=lifetime_s, overlap_s=overlap_s
            ),
            now=now,
        )

    async def run(self) -> None:
        """Keep stream and key until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.socket.run)
            nursery.start_soon(self._keep)

    def expire(self, why: str) -> None:
        """The key is no good any more: whatever happens now is not told on this connection."""
        self.counters.expired += 1
        for connection in tuple(self._open):
            self.socket.drop(connection, why)

    async def _url_of(self) -> str:
        self._key = await self._open_key()
        self.counters.keys += 1
        return self._url(self._key)

    async def _keep(self) -> None:
        pause_s = self._keep_alive_s
        while True:
            await trio.sleep(pause_s)
            try:
                is_known = not self._open or await self._keep_key(self._key)
            except NetError:
                self.counters.keeps_failed += 1
                pause_s = min(KEEP_RETRY_S, self._keep_alive_s)
                continue
            pause_s = self._keep_alive_s
            self.counters.keeps += 1
            if not is_known:
                self.expire("the venue does not know the listen key any more")

    def _on_frame(self, data: bytes, received_ns: int, connection: int) -> None:
        del received_ns
        if not self._first.is_first(data, connection):
            self.counters.repeats += 1
            return
        self.counters.events += 1
        self._on_event(data)

    def _on_up(self, connection: int) -> None:
        was_up = bool(self._open)
        self._open.add(connection)
        if not was_up:
            self._on_state(True, "")

    def _on_down(self, down: Down) -> None:
        self._open.discard(down.connection)
        if not self._open:
            self.counters.downs += 1
            self._on_state(False, f"{down.reason}: {down.detail}")
