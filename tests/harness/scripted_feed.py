"""A venue's public feed as a test wants it, over real sockets: what is sent, what a book is, when the line is cut."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from attrs import define, field
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve

from sim.emulator.http_server import HttpRequest, HttpResponse, serve_http


@define(eq=False)
class ScriptedFeed:
    """`push` sends to everybody who listens to a stream; `book` is what the next snapshot says."""

    rest: str = ""
    ws: str = ""
    book: dict[str, Any] = field(factory=lambda: {"lastUpdateId": 0, "bids": [], "asks": []})
    is_refusing: bool = False
    snapshots: int = 0
    listeners: dict[ServerConnection, frozenset[str]] = field(factory=dict)
    news: trio.Event = field(factory=trio.Event)

    async def push(self, stream: str, data: dict[str, Any]) -> None:
        text = json.dumps({"stream": stream, "data": data}, separators=(",", ":"))
        for listener, streams in list(self.listeners.items()):
            if stream in streams:
                await listener.send(text)

    async def cut(self) -> None:
        """End all connections, as a venue does."""
        for listener in list(self.listeners):
            await listener.aclose(1001)
        with trio.fail_after(30):
            while self.listeners:
                await self._changed()

    async def has(self, stream: str, count: int = 1) -> None:
        """Wait until so many listen to a stream."""
        with trio.fail_after(30):
            while sum(stream in streams for streams in self.listeners.values()) < count:
                await self._changed()

    async def answered(self, count: int) -> None:
        """Wait until so many snapshots were asked for."""
        with trio.fail_after(30):
            while self.snapshots < count:
                await self._changed()

    async def _changed(self) -> None:
        self.news = trio.Event()
        await self.news.wait()

    async def _listen(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        streams = parse_qs(urlsplit(connection.request.path).query)["streams"][0]
        self.listeners[connection] = frozenset(streams.split("/"))
        self.news.set()
        try:
            while True:
                await connection.recv()
        except ConnectionClosed:
            return
        finally:
            del self.listeners[connection]
            self.news.set()

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        self.snapshots += 1
        self.news.set()
        return HttpResponse(503 if self.is_refusing else 200, json.dumps(self.book).encode())


@asynccontextmanager
async def scripted_feed() -> AsyncIterator[ScriptedFeed]:
    """Give a feed that runs on two ports of its own."""
    feed = ScriptedFeed()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        feed.rest = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(serve_http, listener, feed._answer)
        server = await nursery.start(partial(serve, feed._listen, 0, host="127.0.0.1"))
        port = server.listeners[0].socket.getsockname()[1]
        feed.ws = f"ws://127.0.0.1:{port}"
        yield feed
        nursery.cancel_scope.cancel()
