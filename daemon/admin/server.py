"""Serves calls over a listening unix socket: one role per socket, everything bounded, nothing runs unjournaled."""

import inspect
import pwd
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import trio
from attrs import define, frozen

from actors.control import AdminCall, AdminResult
from daemon.admin.calls import Caller, Method, Poll, RefusedError, Role
from daemon.admin.protocol import (
    CallError,
    Code,
    FrameBuffer,
    Id,
    OversizeError,
    Request,
    canonical,
    error_frame,
    event_frame,
    id_of,
    parse_params,
    parse_request,
    result_frame,
)
from daemon.live.sockets import peer
from daemon.logs import get_logger
from venues.port import Message

_READ_BYTES = 16 * 1024
_LOG = get_logger("admin")

Journal = Callable[[Message], Awaitable[None] | None]
"""Writes a message down; whatever it raises keeps the call from running."""


@frozen
class Limits:
    """Bounds of one socket.

    A connection may make `calls_per_s`, `burst` of them at once; a frame counts once more for each `frame_bytes_free`
    in it. `frame_s` is how long a frame may take to arrive once it has begun, `write_s` how long an answer may wait
    for a slow reader, `call_s` how long a call may run, `poll_s` how often followed events are looked for.
    """

    connections: int = 8
    calls_per_s: float = 20
    burst: float = 20
    frame_bytes_free: int = 4096
    frame_s: float = 5
    write_s: float = 5
    call_s: float = 10
    poll_s: float = 0.1
    answer_bytes_max: int = 4 * 1024 * 1024


@define
class Statistics:
    """Plain integers that a metrics edge may read at any time."""

    open: int = 0
    connections: int = 0
    turned_away: int = 0
    frames: int = 0
    calls: int = 0
    bad_frames: int = 0
    forbidden: int = 0
    refused: int = 0
    failed: int = 0
    not_journaled: int = 0
    rate_limited: int = 0
    oversize: int = 0
    slow_frames: int = 0
    slow_readers: int = 0
    events_sent: int = 0


class _GoneError(Exception):
    """The other end is not there any more, or takes nothing."""


class AdminServer:
    """Answers calls of `methods` on `listener`, a listening unix socket that stays the caller's.

    `journal` is asked to take an AdminCall before each call runs, views included, and an AdminResult after each call
    that may change something; what it refuses does not run, unless the method is urgent. `now` gives the time they
    carry, in ns UTC. Calls of one connection run one after the other; an answer is always sent before the next frame
    is read.
    """

    def __init__(
        self,
        listener: socket.socket,
        role: Role,
        methods: Mapping[str, Method],
        *,
        journal: Journal,
        now: Callable[[], int],
        limits: Limits | None = None,
    ) -> None:
        self.role = role
        self.methods = methods
        self.limits = limits or Limits()
        self.statistics = Statistics()
        self._listener = listener
        self._journal = journal
        self._now = now
        self._names: dict[int, str] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; connections end with it. May be run again: the listening socket stays open."""
        copy = self._listener.dup()
        copy.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(copy))
        task_status.started()
        await trio.serve_listeners(self._connected, [listener])

    async def _connected(self, stream: trio.SocketStream) -> None:
        statistics = self.statistics
        statistics.connections += 1
        connection = _Connection(self, stream)
        try:
            if statistics.open >= self.limits.connections:
                statistics.turned_away += 1
                full = f"{self.limits.connections} connections are open already"
                await connection.send(error_frame(CallError(Code.TOO_MANY_CONNECTIONS, full)))
                return
            statistics.open += 1
            try:
                await connection.serve(await self._caller(stream))
            finally:
                statistics.open -= 1
        except (_GoneError, OSError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _caller(self, stream: trio.SocketStream) -> Caller:
        who = peer(cast(socket.socket, stream.socket))
        if who.uid not in self._names:
            # A directory service may be slow or gone; the number will do then.
            name = str(who.uid)
            with trio.move_on_after(1):
                name = await trio.to_thread.run_sync(_user, who.uid, abandon_on_cancel=True)
            self._names[who.uid] = name
        return Caller(self.role, who, f"{self._names[who.uid]} pid {who.pid}")

    # Calls

    async def answer(self, request: Request, caller: Caller) -> tuple[bytes, Poll | None]:
        """Run one call; return the answer and what is to be followed after it. Raises CallError."""
        method = self.methods.get(request.method)
        if method is None:
            raise CallError(Code.METHOD_NOT_FOUND, f"no method {request.method[:100]!r}", field="method", id=request.id)
        if not self.role.may(method.role):
            self.statistics.forbidden += 1
            _LOG.warning("admin_call_forbidden", method=method.name, socket=self.role, operator=caller.operator)
            raise CallError(
                Code.FORBIDDEN, f"{method.name} needs the {method.role} socket", field="method", id=request.id
            )
        params = parse_params(request.params, method.params, request.id)
        who = caller.peer
        call = AdminCall(self._now(), method.role, method.name, canonical(params), who.uid, who.gid, who.pid)
        await self._write_down(call, method, request.id, "the call did not run")
        self.statistics.calls += 1
        # Whoever hangs up meanwhile: what was written down runs, and what came of it is written down as well.
        with trio.CancelScope(shield=True):
            frame, poll = await self._carry_out(request, method, params, caller)
        return frame, poll

    async def _carry_out(
        self, request: Request, method: Method, params: Any, caller: Caller
    ) -> tuple[bytes, Poll | None]:
        try:
            frame = result_frame(request.id, await self._run(method, params, caller))
            if len(frame) > self.limits.answer_bytes_max:
                raise CallError(Code.TOO_LARGE, "the answer is too large: ask for less", id=request.id)
            poll = method.follow(params, caller) if method.follow is not None else None
        except RefusedError as error:
            self.statistics.refused += 1
            await self._note(method, False, str(error), request.id)
            raise CallError(Code.REFUSED, str(error), id=request.id) from error
        except CallError as error:
            self.statistics.failed += 1
            await self._note(method, False, error.message, request.id)
            error.id = request.id
            raise
        except Exception as error:
            self.statistics.failed += 1
            _LOG.exception("admin_call_failed", method=method.name)
            await self._note(method, False, f"{type(error).__name__}: {error}", request.id)
            raise CallError(Code.INTERNAL, f"{method.name} failed: {type(error).__name__}", id=request.id) from error
        await self._note(method, True, "", request.id)
        return frame, poll

    async def _run(self, method: Method, params: Any, caller: Caller) -> Any:
        with trio.move_on_after(self.limits.call_s):
            result = method.handler(params, caller)
            return await result if inspect.isawaitable(result) else result
        raise CallError(Code.TIMEOUT, f"{method.name} took over {self.limits.call_s} s; what it did is not known")

    async def _note(self, method: Method, is_ok: bool, text: str, asked: Id) -> None:
        if method.role is not Role.VIEW:
            result = AdminResult(self._now(), method.name, is_ok, text)
            await self._write_down(result, method, asked, "the call had run")

    async def _write_down(self, message: Message, method: Method, asked: Id, so: str) -> None:
        try:
            outcome = self._journal(message)
            if inspect.isawaitable(outcome):
                await outcome
        except Exception as error:
            self.statistics.not_journaled += 1
            _LOG.exception("admin_not_journaled", method=method.name)
            if method.is_urgent:
                return
            raise CallError(Code.NOT_JOURNALED, f"not written down, {so}: {error}", id=asked) from error


class _Connection:
    def __init__(self, server: AdminServer, stream: trio.SocketStream) -> None:
        self._server = server
        self._limits = server.limits
        self._statistics = server.statistics
        self._stream = stream
        self._frames = FrameBuffer()
        self._sending = trio.Lock()
        self._tokens = self._limits.burst
        self._tokens_at = trio.current_time()
        self._is_followed = False

    async def serve(self, caller: Caller) -> None:
        """Answer until the other end hangs up, or is hung up on."""
        async with trio.open_nursery() as nursery:
            with suppress(_GoneError):
                await self._read(caller, nursery)
            nursery.cancel_scope.cancel()

    async def _read(self, caller: Caller, nursery: trio.Nursery) -> None:
        begun_at = trio.current_time()
        while True:
            was_partial = self._frames.is_partial
            data = await self._receive(begun_at + self._limits.frame_s if was_partial else None)
            if not data:
                return
            try:
                frames = self._frames.feed(data)
            except OversizeError as error:
                self._statistics.oversize += 1
                await self.send(error_frame(CallError(Code.TOO_LARGE, f"{error}; the connection ends")))
                return
            for frame in frames:
                await self._take(frame, caller, nursery)
            if frames or not was_partial:
                begun_at = trio.current_time()

    async def _receive(self, deadline: float | None) -> bytes:
        """Return the next bytes, none at the end or when a frame takes too long to arrive."""
        with trio.CancelScope(deadline=float("inf") if deadline is None else deadline):
            try:
                return await self._stream.receive_some(_READ_BYTES)
            except trio.BrokenResourceError as error:
                raise _GoneError from error
        self._statistics.slow_frames += 1
        slow = f"a frame took over {self._limits.frame_s} s to arrive; the connection ends"
        await self.send(error_frame(CallError(Code.TIMEOUT, slow)))
        return b""

    async def _take(self, frame: bytes, caller: Caller, nursery: trio.Nursery) -> None:
        self._statistics.frames += 1
        pause = self._charge(1 + len(frame) // self._limits.frame_bytes_free)
        if pause:
            self._statistics.rate_limited += 1
            told = f"more than {self._limits.calls_per_s:g} calls a second; this one was not read"
            await self.send(error_frame(CallError(Code.RATE, told, id=id_of(frame))))
            # Whoever goes on regardless is answered no faster than it may call.
            await trio.sleep(pause)
            return
        try:
            answer, poll = await self._server.answer(self._parse(frame), caller)
            if poll is not None and self._is_followed:
                raise CallError(Code.REFUSED, "this connection follows events already", id=id_of(frame))
        except CallError as error:
            await self.send(error_frame(error))
            return
        await self.send(answer)
        if poll is not None:
            self._is_followed = True
            nursery.start_soon(self._follow, poll, nursery.cancel_scope)

    def _parse(self, frame: bytes) -> Request:
        try:
            return parse_request(frame)
        except CallError:
            self._statistics.bad_frames += 1
            raise

    def _charge(self, cost: int) -> float:
        """Take tokens for a frame; return 0, or for how many seconds the connection is over its rate."""
        rate, now = self._limits.calls_per_s, trio.current_time()
        self._tokens = min(self._limits.burst, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < cost:
            return (cost - self._tokens) / rate
        self._tokens -= cost
        return 0

    async def _follow(self, poll: Poll, connection: trio.CancelScope) -> None:
        try:
            while True:
                for event in poll():
                    await self.send(event_frame(event))
                    self._statistics.events_sent += 1
                await trio.sleep(self._limits.poll_s)
        except _GoneError:
            pass
        except Exception:  # noqa: BLE001 - one connection ends with it, not the socket
            _LOG.exception("admin_follow_failed")
        connection.cancel()

    async def send(self, frame: bytes) -> None:
        """Send a whole frame. Raises _GoneError when the other end is gone or does not take it in time."""
        async with self._sending:
            try:
                with trio.fail_after(self._limits.write_s):
                    await self._stream.send_all(frame)
            except trio.TooSlowError as error:
                self._statistics.slow_readers += 1
                raise _GoneError from error
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise _GoneError from error


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
