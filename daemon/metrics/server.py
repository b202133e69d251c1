"""Decides what is answered over HTTP: the metrics, piece by piece so that the cell runs in between, and our health."""

import errno
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Final, Protocol

import h11
import trio
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

READY: Final = "READY"
CONNECTIONS: Final = 4
READ_S: Final = 5.0
WRITE_S: Final = 5.0
HEAD_BYTES: Final = 8_192
_CHUNK: Final = 4_096
_PAUSE_S: Final = 0.1
_OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_END: Final = b"# EOF\n"
_TEXT: Final = "text/plain; charset=utf-8"
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class ScrapeError(Exception):
    """The metrics could not be read, and why."""


class PiecewiseCollector(Protocol):
    """What is served: metrics in pieces, None where it is good to pause, and a count of the scrapes that failed."""

    def pieces(self) -> Iterator[Metric | None]: ...
    def note_failed_scrape(self) -> None: ...


class _Piece(Collector):
    """One piece of a family, as an encoder wants it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        return [self._metric]


def check_host(host: str, *, is_remote_allowed: bool = False) -> str:
    """Return the address to listen on. Raises ValueError for a name, and for one reached from other machines."""
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(f"metrics are served on an address, not on {host!r}: 127.0.0.1 or ::1") from None
    if not address.is_loopback and not is_remote_allowed:
        raise ValueError(f"{host} can be reached from other machines: metrics are served on loopback unless allowed")
    return host


async def serve_metrics(
    collector: PiecewiseCollector,
    host: str,
    port: int,
    is_ready: Callable[[], str],
    *,
    is_remote_allowed: bool = False,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve GET /metrics and GET /healthz until cancelled; the bound port is told as the task's start value.

    `is_ready` returns a text that begins with READY, or why we are not. At most CONNECTIONS at once: others wait
    where the system keeps them. A request has READ_S to arrive, an answer WRITE_S to leave.
    Raises ValueError for a host that is not allowed, OSError when the port cannot be had.
    """
    address = check_host(host, is_remote_allowed=is_remote_allowed)
    [listener] = await trio.open_tcp_listeners(port, host=address, backlog=16)
    seats = trio.CapacityLimiter(CONNECTIONS)
    async with listener, trio.open_nursery() as nursery:
        task_status.started(listener.socket.getsockname()[1])
        while True:
            holder = object()
            await seats.acquire_on_behalf_of(holder)
            try:
                stream = await listener.accept()
            except OSError as error:
                seats.release_on_behalf_of(holder)
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                await trio.sleep(_PAUSE_S)
                continue
            connection = _Connection(stream, collector, is_ready)
            nursery.start_soon(connection.run, seats, holder)


class _Connection:
    """One client, until it leaves, is silent for too long, or says what is not HTTP."""

    def __init__(self, stream: trio.SocketStream, collector: PiecewiseCollector, is_ready: Callable[[], str]) -> None:
        self._stream = stream
        self._collector = collector
        self._is_ready = is_ready
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def run(self, seats: trio.CapacityLimiter, holder: object) -> None:
        try:
            async with self._stream:
                await self._talk()
        except _GONE:
            # The client left in the middle: there is nobody to tell.
            pass
        finally:
            seats.release_on_behalf_of(holder)

    async def _talk(self) -> None:
        while True:
            try:
                request = await self._request()
            except h11.RemoteProtocolError as error:
                if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await self._send(error.error_status_hint, _TEXT, b"bad request\n", is_last=True)
                return
            if request is None:
                return
            await self._answer(request)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _request(self) -> h11.Request | None:
        """Return the next request with all of it read, None when the client left or let us wait."""
        request = None
        with trio.move_on_after(READ_S):
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.EndOfMessage):
                    return request
                elif isinstance(event, h11.Data):
                    # Nobody sends a body with these: answer, and close behind it.
                    return request
                elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                    return None
                elif event is h11.NEED_DATA:
                    self._http.receive_data(await self._stream.receive_some(_CHUNK))
        return None

    async def _answer(self, request: h11.Request) -> None:
        path = request.target.partition(b"?")[0]
        if request.method not in (b"GET", b"HEAD"):
            await self._send(405, _TEXT, b"GET or HEAD only\n", ("allow", "GET, HEAD"))
        elif path == b"/metrics":
            try:
                content_type, body = await self._render(request)
            except ScrapeError as error:
                self._collector.note_failed_scrape()
                await self._send(500, _TEXT, f"{error}\n".encode(), is_head=request.method == b"HEAD")
                return
            await self._send(200, content_type, body, is_head=request.method == b"HEAD")
        elif path == b"/healthz":
            text = self._is_ready()
            status = 200 if text.startswith(READY) else 503
            await self._send(status, _TEXT, f"{text}\n".encode(), is_head=request.method == b"HEAD")
        else:
            await self._send(404, _TEXT, b"there are /metrics and /healthz\n", is_head=request.method == b"HEAD")

    async def _render(self, request: h11.Request) -> tuple[str, bytes]:
        accept = ",".join(value.decode("latin-1") for name, value in request.headers if name == b"accept")
        parts: list[bytes] = []
        try:
            encode, content_type = choose_encoder(accept)
            for text in render(self._collector, encode):
                parts.append(text)
                await trio.lowlevel.checkpoint()
        except Exception as error:
            # Whatever is wrong with the metrics, the desk goes on trading.
            raise ScrapeError(f"{type(error).__name__}: {error}") from error
        return content_type, b"".join(parts)

    async def _send(
        self,
        status: int,
        content_type: str,
        body: bytes,
        *headers: tuple[str, str],
        is_head: bool = False,
        is_last: bool = False,
    ) -> None:
        head: list[tuple[str, str]] = [
            ("content-type", content_type),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            *headers,
        ]
        if is_last:
            head.append(("connection", "close"))
        events: list[h11.Event] = [h11.Response(status_code=status, headers=head)]
        if not is_head:
            events.append(h11.Data(data=body))
        events.append(h11.EndOfMessage())
        data = b"".join(self._http.send(event) or b"" for event in events)
        with trio.move_on_after(WRITE_S) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")


def render(collector: PiecewiseCollector, encode: Callable[[Collector], bytes]) -> Iterator[bytes]:
    """Yield an exposition in small pieces; the time between two of them is what a scrape blocks at most."""
    is_openmetrics, last = False, ""
    for metric in collector.pieces():
        if metric is None:
            yield b""
            continue
        text = encode(_Piece(metric))
        if text.endswith(_END):
            is_openmetrics, text = True, text.removesuffix(_END)
        if metric.name == last:
            # The comments stand before a family's first piece only.
            text = text[text.index(b"\n", text.index(b"# TYPE")) + 1 :]
        last = metric.name
        yield text
    if is_openmetrics:
        yield _END
