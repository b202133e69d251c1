"""The emulator's websockets on loopback, in this process: a host, its keys, faults, and whoever answers requests."""

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, field
from websockets.trio.client import ClientConnection, connect

from sim.emulator.faults import Faults
from sim.emulator.gate import Login, WsAnswer
from sim.emulator.host import Host, HostSettings
from sim.emulator.http_server import HttpResponse, NoAnswer
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.ws_server import serve_websockets

PATIENCE_S = 120.0
"""How long a test waits for what must come; only a hang takes that long."""


@define
class StandInGate:
    """Answers every request with itself; `waits` hold back methods until their event is set."""

    asked: list[tuple[str, dict[str, object]]] = field(factory=list)
    logins: list[Login | None] = field(factory=list)
    waits: dict[str, trio.Event] = field(factory=dict)
    refusal: HttpResponse | None = None
    now_ms: int = 1_790_000_000_000

    def shake_hands(self, peer: str) -> HttpResponse | None:
        return self.refusal

    def rate_limits(self, peer: str, *, with_orders: bool = False) -> list[dict[str, Any]]:
        return [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400, "count": 5}]

    async def call_ws(
        self, method: str, params: Mapping[str, object], peer: str, login: Login | None
    ) -> WsAnswer | NoAnswer:
        self.asked.append((method, dict(params)))
        self.logins.append(login)
        if method in self.waits:
            await self.waits[method].wait()
        if method in NoAnswer.__members__:
            return NoAnswer[method]
        if method == "refused":
            return WsAnswer(400, {"code": -2011, "msg": "Unknown order sent."}, self.rate_limits(peer))
        return WsAnswer(200, {"method": method, **params}, self.rate_limits(peer))

    async def logon(self, params: Mapping[str, object], peer: str) -> tuple[WsAnswer, Login | None] | NoAnswer:
        if params.get("apiKey") != "KEY":
            return WsAnswer(401, {"code": -2015, "msg": "Invalid API-key."}, self.rate_limits(peer)), None
        return WsAnswer(200, {"apiKey": "KEY"}, self.rate_limits(peer)), Login("KEY", self.now_ms)


@define
class EmulatorSockets:
    """What a test of the websockets talks to, and what stands behind it."""

    host: Host
    listen_keys: ListenKeys
    faults: Faults
    gate: StandInGate
    port: int

    def connect(self, path: str, **options: Any) -> Any:
        return connect(f"ws://127.0.0.1:{self.port}{path}", **({"ping_interval": None} | options))


@asynccontextmanager
async def emulator_sockets(
    settings: HostSettings | None = None, send_buffer: int | None = None
) -> AsyncIterator[EmulatorSockets]:
    host, faults, keys, gate = Host(settings or HostSettings()), Faults(), ListenKeys(), StandInGate()
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    if send_buffer is not None:
        # Whoever is accepted inherits it.
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            nursery.start_soon(faults.run)
            serve = partial(serve_websockets, listener, host, keys, gate, faults)  # type: ignore[arg-type]
            await nursery.start(serve)
            yield EmulatorSockets(host, keys, faults, gate, listener.socket.getsockname()[1])
            nursery.cancel_scope.cancel()


async def ask(connection: ClientConnection, message: object) -> dict[str, Any]:
    """Send a message and return the first answer that has an id or an error; events meanwhile are passed over."""
    await connection.send(json.dumps(message))
    while True:
        found = json.loads(await connection.recv())
        if isinstance(found, dict) and ("id" in found or "error" in found):
            return found


async def next_event(connection: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next event of that type as it came, wrapped or bare."""
    while True:
        found = json.loads(await connection.recv())
        inner = found.get("data", found) if isinstance(found, dict) else {}
        if isinstance(inner, dict) and inner.get("e") == kind:
            return found  # type: ignore[no-any-return]
