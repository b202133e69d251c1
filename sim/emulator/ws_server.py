"""Decides how the emulator's websockets are served: addresses, handshakes, life times, floods, cuts and dead halves."""

import logging
from collections import deque
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
import trio
from attrs import define, field
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.trio.server import Server, ServerConnection, serve

from sim.emulator.faults import Faults, Link
from sim.emulator.gate import Gate
from sim.emulator.host import Host
from sim.emulator.http_server import NoAnswer
from sim.emulator.hub import Follower, Hub, Listener, Outbox
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.streams import Address, Route, Subscriptions, parse_address
from sim.emulator.ws_api import REQUEST_BYTES_MAX, ApiConnection, ApiRequest, UnreadableError, read_request

API_PATHS: Final = {"usdm": "/ws-fapi/v1", "spot": "/ws-api/v3"}
LIFETIME_S: Final = 86_400.0
PING_S: Final = 180.0
PONG_S: Final = 600.0
CONNECTS_MAX: Final = 300
CONNECTS_S: Final = 300.0
_POLICY_VIOLATION: Final = 1008
_GOING_AWAY: Final = 1001
_IN_FLIGHT_MAX: Final = 256

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class HalfStream(trio.abc.HalfCloseableStream):
    """A connection that can go silent: from then on nothing is sent, and what comes is read and not looked at."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.is_silent = False
        try:
            self.peer = str(stream.socket.getpeername()[0])
        except OSError:
            # Gone already.
            self.peer = ""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_silent:
            await trio.lowlevel.checkpoint()
        else:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            data = await self._stream.receive_some(max_bytes)
            if not self.is_silent or not data:
                return bytes(data)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Connection(ServerConnection):
    def __init__(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, protocol: ServerProtocol, server: Server, **settings: Any
    ) -> None:
        assert isinstance(stream, trio.SocketStream)
        super().__init__(nursery, HalfStream(stream), protocol, server, **settings)
        self.opened: _Opened | None = None

    async def handshake(self, *arguments: Any) -> None:
        try:
            await super().handshake(*arguments)
        finally:
            if self.opened is not None and self.state is not State.OPEN:
                self.opened.stack.close()


@define
class _Opened:
    """What a connection has from before its handshake is answered to its end; `listener` is for streams."""

    stack: ExitStack
    link: Link
    outbox: Outbox
    listener: Listener | None = None


@define
class _Connects:
    """How many connections an address has opened in the last five minutes."""

    times: dict[str, deque[float]] = field(factory=dict)

    def is_too_many(self, peer: str) -> bool:
        now, times = trio.current_time(), self.times.setdefault(peer, deque())
        while times and times[0] <= now - CONNECTS_S:
            times.popleft()
        if len(times) >= CONNECTS_MAX:
            return True
        times.append(now)
        return False


async def serve_websockets(
    listener: trio.SocketListener,
    host: Host,
    listen_keys: ListenKeys,
    gate: Gate,
    faults: Faults,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve streams and the WebSocket API on one listener until cancelled."""
    server = _Websockets(host, listen_keys, gate, faults)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.hub.run)
        made: Server = await nursery.start(
            partial(
                serve,
                server.handle,
                listeners=[listener],
                compression=None,
                process_request=server.accept,
                process_response=server.open,
                server_header=None,
                ping_interval=PING_S,
                ping_timeout=PONG_S,
                close_timeout=2.0,
                max_size=REQUEST_BYTES_MAX,
                # Whoever closes while reading is paused waits for ever: it is never paused, and all is read at once.
                max_queue=None,
                create_connection=_Connection,
            )
        )
        task_status.started()
        async with made:
            await trio.sleep_forever()


class _Websockets:
    def __init__(self, host: Host, listen_keys: ListenKeys, gate: Gate, faults: Faults) -> None:
        self.hub = Hub(host, listen_keys)
        self._host = host
        self._gate = gate
        self._faults = faults
        self._is_spot = host.settings.venue == "spot"
        self._api_path = API_PATHS["spot" if self._is_spot else "usdm"]
        self._connects = _Connects()
        faults.on_listen_key_expiry(listen_keys.expire_all)

    def accept(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake, or return None to let it pass."""
        route = self._route(request.path)
        peer = _peer(connection)
        if route is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "404 page not found")
        if self._faults.is_refused(route):
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable.")
        if self._connects.is_too_many(peer):
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many connections.")
        if route != "ws_api":
            return None
        refusal = self._gate.shake_hands(peer)
        if refusal is None:
            return None
        response = connection.respond(HTTPStatus(refusal.status), refusal.body.decode())
        for name, value in refusal.headers:
            if name.lower() != "content-type":
                response.headers[name] = value
        return response

    def open(self, connection: ServerConnection, request: Request, response: Response) -> None:
        """Join the streams before the client knows that it is connected: it is told of all that it does then."""
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return
        assert isinstance(connection, _Connection)
        route = self._route(request.path)
        assert route is not None
        stack = ExitStack()
        connection.opened = opened = _Opened(stack, stack.enter_context(self._faults.link(route)), Outbox())
        if route != "ws_api":
            address = parse_address(request.path, is_spot=self._is_spot)
            assert address is not None
            opened.listener = Listener(_subscriptions(address), opened.link, address, opened.outbox)
            self.hub.join(opened.listener)
            stack.callback(self.hub.leave, opened.listener)

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection until it is over."""
        assert isinstance(connection, _Connection)
        opened = connection.opened
        assert opened is not None
        with opened.stack:
            link, outbox = opened.link, opened.outbox
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cut, link, connection)
                nursery.start_soon(_silence, link, connection)
                nursery.start_soon(_send, connection, outbox)
                nursery.start_soon(_end_slow, connection, outbox)
                nursery.start_soon(self._end, connection)
                try:
                    if opened.listener is None:
                        await self._serve_api(connection, outbox, link, nursery)
                    else:
                        await self._serve_streams(connection, opened.listener)
                except ConnectionClosed:
                    pass
                finally:
                    nursery.cancel_scope.cancel()

    def _route(self, target: str) -> str | None:
        """Return the route of a request target in the words of the faults, None when nothing is served there."""
        if target.partition("?")[0].rstrip("/") == self._api_path:
            return "ws_api"
        address = parse_address(target, is_spot=self._is_spot)
        if address is None:
            return None
        return "public" if address.route in {Route.LEGACY, Route.SPOT} else address.route.value

    async def _end(self, connection: ServerConnection) -> None:
        """Close the connection when it has lived a day of the venue's time."""
        await trio.sleep(LIFETIME_S / self._host.settings.speed)
        await connection.aclose(_GOING_AWAY)

    async def _serve_streams(self, connection: ServerConnection, listener: Listener) -> None:
        while True:
            message = await connection.recv()
            if listener.subscriptions.is_flooding(int(trio.current_time() * 1e9)):
                await connection.aclose(_POLICY_VIOLATION, "Too many requests")
                return
            reply = listener.subscriptions.handle(message)
            listener.outbox.put(_encode(reply))
            self.hub.renew(listener)

    async def _serve_api(self, connection: ServerConnection, outbox: Outbox, link: Link, nursery: trio.Nursery) -> None:
        assert connection.request is not None
        wish = parse_qs(connection.request.path.partition("?")[2]).get("returnRateLimits", ["true"])[-1]
        api = ApiConnection(self._gate, _peer(connection), self._gate.now_ms, tells_limits=wish.lower() != "false")
        follower = Follower(link, outbox, lambda: api.subscriptions)
        self.hub.follow(follower)
        try:
            await _take_requests(api, connection, outbox, nursery)
        finally:
            self.hub.unfollow(follower)


async def _take_requests(
    api: ApiConnection, connection: ServerConnection, outbox: Outbox, nursery: trio.Nursery
) -> None:
    room = trio.CapacityLimiter(_IN_FLIGHT_MAX)
    begun = trio.Event()
    begun.set()
    while True:
        message = await connection.recv()
        try:
            request = read_request(message)
        except UnreadableError as error:
            outbox.put(api.refuse(error))
            continue
        before, begun = begun, trio.Event()
        nursery.start_soon(_answer, api, request, connection, outbox, (before, begun), room)


async def _answer(
    api: ApiConnection,
    request: ApiRequest,
    connection: ServerConnection,
    outbox: Outbox,
    turn: tuple[trio.Event, trio.Event],
    room: trio.CapacityLimiter,
) -> None:
    """Answer one request. Requests enter the venue in the order they came, whatever faults delay their answers."""
    before, begun = turn
    await before.wait()
    async with room:
        # Whoever comes next runs only at our next checkpoint: by then the request has entered, or is delayed.
        begun.set()
        reply = await api.answer(request)
    if reply is NoAnswer.CUT:
        await trio.aclose_forcefully(connection.stream)
    elif isinstance(reply, bytes):
        outbox.put(reply)


def _subscriptions(address: Address) -> Subscriptions:
    return Subscriptions(address.route, address.is_combined, dict.fromkeys(address.names))


async def _send(connection: ServerConnection, outbox: Outbox) -> None:
    try:
        while True:
            await connection.send(await outbox.get(), text=True)
    except ConnectionClosed:
        return


async def _end_slow(connection: ServerConnection, outbox: Outbox) -> None:
    await outbox.has_overflown.wait()
    _log.warning("a client reads too slowly and is cut off")
    await trio.aclose_forcefully(connection.stream)


async def _cut(link: Link, connection: ServerConnection) -> None:
    await link.cut.wait()
    await trio.aclose_forcefully(connection.stream)


async def _silence(link: Link, connection: ServerConnection) -> None:
    await link.silenced.wait()
    if connection.state is State.OPEN and isinstance(connection.stream, HalfStream):
        connection.stream.is_silent = True


def _peer(connection: ServerConnection) -> str:
    assert isinstance(connection.stream, HalfStream)
    return connection.stream.peer
