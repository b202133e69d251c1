"""A websocket server on loopback, and a listener that keeps what a ReconnectingSocket tells."""

import base64
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from raw_server import read_head
from websockets.trio.server import ServerConnection, serve

from venues.net.errors import NetError
from venues.net.websocket import Down, ReconnectingSocket, SocketSettings

PATIENCE_S = 120.0
"""How long a test waits for what must come; only a hang takes that long."""


@asynccontextmanager
async def socket_server(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    """Run `handler` for each connection; gives the address. Frames are not compressed, nobody is pinged."""

    async def handle(connection: ServerConnection) -> None:
        connections.append(connection)
        await handler(connection)

    connections: list[ServerConnection] = []
    settings = {"host": "127.0.0.1", "ping_interval": None, "close_timeout": 1.0} | options
    async with trio.open_nursery() as nursery:
        server = await nursery.start(lambda task_status: serve(handle, 0, task_status=task_status, **settings))
        yield f"ws://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}"
        for connection in connections:
            await trio.aclose_forcefully(connection.stream)
        nursery.cancel_scope.cancel()


async def shake_hands(stream: trio.abc.Stream) -> None:
    """Accept a websocket connection by hand (RFC 6455 section 4.2.2): after it nothing is answered."""
    head = (await read_head(stream)).decode()
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}")
    await stream.send_all("\r\n".join([*lines, "", ""]).encode())


class Listener:
    """Keeps every callback in order: ("up", n), ("frame", n, data), ("down", n, reason), ("failed", detail)."""

    def __init__(self, url: str, *, settings: SocketSettings, **options: Any) -> None:
        self.urls_asked = 0
        self.downs: list[Down] = []
        self.told: list[tuple[Any, ...]] = []
        self.url: str | NetError = url
        self._send, self._receive = trio.open_memory_channel[tuple[Any, ...]](10_000)
        ups: Callable[[int], None] = options.pop("on_up", lambda number: None)
        frames: Callable[[bytes], None] = options.pop("on_frame", lambda data: None)

        def on_up(number: int) -> None:
            self._tell("up", number)
            ups(number)

        def on_frame(data: bytes, received_ns: int, number: int) -> None:
            self._tell("frame", number, data)
            frames(data)

        def on_down(down: Down) -> None:
            self.downs.append(down)
            self._tell("down", down.connection, str(down.reason))

        given: dict[str, Any] = {"now": time.monotonic_ns, "rng": random.Random(3)}
        self.socket = ReconnectingSocket(
            "test",
            self._url_of,
            on_frame,
            on_up,
            on_down,
            settings=settings,
            on_failure=lambda detail: self._tell("failed", detail),
            **(given | options),
        )

    async def _url_of(self) -> str:
        self.urls_asked += 1
        if isinstance(self.url, NetError):
            raise self.url
        return self.url

    def _tell(self, *what: Any) -> None:
        self.told.append(what)
        self._send.send_nowait(what)

    async def next(self, kind: str) -> tuple[Any, ...]:
        """Wait for the next callback of a kind; those of other kinds are passed over."""
        with trio.fail_after(PATIENCE_S):
            while True:
                told = await self._receive.receive()
                if told[0] == kind:
                    return told

    async def until(self, *what: Any) -> None:
        """Wait for exactly this callback."""
        with trio.fail_after(PATIENCE_S):
            while await self._receive.receive() != what:
                pass

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ReconnectingSocket]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.socket.run)
            yield self.socket
            nursery.cancel_scope.cancel()
