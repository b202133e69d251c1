"""Decides how HTTP/1.1 is spoken to a client of the emulator: one request at a time, bounded in size and in time."""

from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import Final

import h11
import trio
from attrs import frozen

CONNECTIONS: Final = 512
HEAD_BYTES: Final = 32_768
BODY_BYTES: Final = 1_048_576
# How long a request may take to arrive once begun, how long a client may be silent between two, how long an answer
# may take to be read. A client that was given silence is kept for the last of them.
READ_S: Final = 10.0
IDLE_S: Final = 120.0
WRITE_S: Final = 10.0
SILENCE_S: Final = 3_600.0
_CHUNK: Final = 65_536
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
_TEXT: Final = "text/plain; charset=utf-8"
# What a client may still be sending when it is told to go, in bytes and in seconds: closing on unread bytes would
# reset the connection and take the answer away from it.
_REST_BYTES: Final = 4 * BODY_BYTES
_REST_S: Final = 1.0


class NoAnswer(Enum):
    """What a client gets that gets no answer."""

    CUT = "cut"
    """The connection is closed."""
    SILENCE = "silence"
    """The connection stays open and nothing ever comes."""


@frozen
class HttpRequest:
    """A request read whole. `path` and `query` are as they came (percent-encoded), header names are lower-case.

    `peer` is the client's address without its port. Of a header given twice the last counts.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


@frozen
class HttpResponse:
    """An answer; content-length, date and connection are added when it is sent."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json;charset=UTF-8"),)


Handler = Callable[[HttpRequest], Awaitable[HttpResponse | NoAnswer]]


class _BadRequestError(Exception):
    """What came is no request that we take, and the status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


async def serve_http(listener: trio.SocketListener, handler: Handler) -> None:
    """Serve until cancelled; at most CONNECTIONS are read at once, others wait.

    Requests that a client sends before it has had its answer (pipelining) are not read: the connection is closed
    after the answer. An exception of the handler ends the server: it is the handler's to answer what it cannot do.
    """
    seats = trio.CapacityLimiter(CONNECTIONS)

    async def serve(stream: trio.SocketStream) -> None:
        async with seats:
            await _Connection(stream, handler).run()

    await trio.serve_listeners(serve, [listener])


class _Connection:
    """One client, until it leaves, is silent for too long, or says what is not HTTP."""

    def __init__(self, stream: trio.SocketStream, handler: Handler) -> None:
        self._stream = stream
        self._handler = handler
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._peer = str(stream.socket.getpeername()[0]) if stream.socket.getpeername() else ""

    async def run(self) -> None:
        try:
            async with self._stream:
                await self._talk()
        except _GONE:
            # The client left in the middle: there is nobody to tell.
            pass

    async def _talk(self) -> None:
        while True:
            try:
                request = await self._request()
            except (h11.RemoteProtocolError, _BadRequestError) as error:
                await self._refuse(error)
                return
            if request is None:
                return
            answer = await self._handler(request)
            if answer is NoAnswer.CUT:
                return
            if answer is NoAnswer.SILENCE:
                await self._say_nothing()
                return
            assert isinstance(answer, HttpResponse)
            is_last = bool(self._http.trailing_data[0])
            await self._send(answer, is_head=request.method == "HEAD", is_last=is_last)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _request(self) -> HttpRequest | None:
        """Return the next request, None when the client left or let us wait between requests."""
        with trio.move_on_after(IDLE_S):
            event = self._http.next_event()
            while event is h11.NEED_DATA and not self._http.trailing_data[0]:
                data = await self._stream.receive_some(_CHUNK)
                if not data and self._http.their_state is h11.IDLE:
                    return None
                self._http.receive_data(data)
                event = self._http.next_event()
            with trio.move_on_after(READ_S):
                return await self._rest_of(event)
            raise _BadRequestError(HTTPStatus.REQUEST_TIMEOUT, f"a request has {READ_S:.0f} s to arrive")
        return None

    async def _rest_of(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> HttpRequest | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES:
                    raise _BadRequestError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has {BODY_BYTES} bytes at most"
                    )
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return self._whole(head, bytes(body))
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None
            else:
                if self._http.they_are_waiting_for_100_continue:
                    await self._stream.send_all(
                        self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
                self._http.receive_data(await self._stream.receive_some(_CHUNK))
            event = self._http.next_event()

    def _whole(self, head: h11.Request, body: bytes) -> HttpRequest:
        path, _, query = head.target.decode("ascii").partition("?")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        return HttpRequest(head.method.decode("ascii"), path, query, headers, body, self._peer)

    async def _refuse(self, error: Exception) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        if isinstance(error, _BadRequestError):
            status, why = error.status, str(error)
        else:
            assert isinstance(error, h11.RemoteProtocolError)
            status, why = error.error_status_hint, "bad request"
        await self._send(HttpResponse(status, f"{why}\n".encode(), (("content-type", _TEXT),)), is_last=True)
        await self._stream.send_eof()
        await self._swallow()

    async def _swallow(self) -> None:
        """Read what is still under way, so that the answer arrives."""
        left = _REST_BYTES
        with trio.move_on_after(_REST_S):
            while left > 0 and (data := await self._stream.receive_some(_CHUNK)):
                left -= len(data)

    async def _say_nothing(self) -> None:
        """Keep the connection until the client leaves it."""
        with trio.move_on_after(SILENCE_S):
            while await self._stream.receive_some(_CHUNK):
                pass

    async def _send(self, answer: HttpResponse, *, is_head: bool = False, is_last: bool = False) -> None:
        head = [
            *answer.headers,
            ("content-length", str(len(answer.body))),
            ("date", formatdate(usegmt=True)),
        ]
        if is_last:
            head.append(("connection", "close"))
        events: list[h11.Event] = [h11.Response(status_code=answer.status, headers=head, reason=_reason(answer.status))]
        if not is_head:
            events.append(h11.Data(data=answer.body))
        events.append(h11.EndOfMessage())
        data = b"".join(self._http.send(event) or b"" for event in events)
        with trio.move_on_after(WRITE_S) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
