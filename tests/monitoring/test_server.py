"""What the metrics server answers, to whom it listens, and that nobody can hold it up."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import httpx
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from daemon.metrics import server
from daemon.metrics.server import CONNECTIONS, HEAD_BYTES, READ_S, WRITE_S, check_host, serve_metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
BOUND_S = 30


@asynccontextmanager
async def serving(collector: Any, is_ready: Callable[[], str] = lambda: "READY") -> AsyncIterator[int]:
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(serve_metrics, collector, "127.0.0.1", 0, is_ready)
            nursery.cancel_scope.cancel()


async def say(port: int, data: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the server closes."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        try:
            await stream.send_all(data)
            return b"".join([part async for part in stream])
        except trio.BrokenResourceError:
            return b""


async def get(port: int, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return await client.request(method, path, headers=headers)


async def test_metrics_are_served_as_text_and_as_openmetrics(collector):
    async with serving(collector) as port:
        text = await get(port, "/metrics")
        assert text.status_code == 200
        assert text.headers["content-type"].startswith("text/plain; version=")
        names = {family.name for family in parse_text(text.text)}
        assert "basisd_kill_level" in names
        opened = await get(port, "/metrics?x=y", accept=OPENMETRICS)
        assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert {family.name for family in parse_openmetrics(opened.text)} >= {"basisd_kill_level", "basisd_fills"}


async def test_head_is_get_without_a_body(collector):
    async with serving(collector) as port:
        whole, head = await get(port, "/healthz"), await get(port, "/healthz", "HEAD")
        assert (head.status_code, head.text) == (200, "")
        assert head.headers["content-length"] == whole.headers["content-length"] == "6"
        assert (await get(port, "/metrics", "HEAD")).status_code == 200


@pytest.mark.parametrize(
    ("text", "status"), [("READY", 200), ("READY paper, run 3", 200), ("binance_usdm is read-only", 503), ("", 503)]
)
async def test_health(collector, text, status):
    async with serving(collector, lambda: text) as port:
        answer = await get(port, "/healthz")
        assert (answer.status_code, answer.text) == (status, f"{text}\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/", 404), ("POST", "/metrics", 405), ("DELETE", "/healthz", 405)],
)
async def test_there_is_nothing_else(collector, method, path, status):
    async with serving(collector) as port:
        answer = await get(port, path, method)
        assert answer.status_code == status
        assert (answer.headers.get("allow") == "GET, HEAD") == (status == 405)


async def test_a_connection_is_kept_for_the_next_request(collector):
    async with serving(collector) as port:
        one = b"GET /healthz HTTP/1.1\r\nHost: elsewhere\r\n\r\n"
        last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await say(port, one + one + last)).count(b"HTTP/1.1 200") == 3
        assert (await say(port, b"GET /healthz HTTP/1.0\r\n\r\n")).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (2 * HEAD_BYTES) + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n",
    ],
    ids=["tls", "no version", "no host", "too long", "bad length"],
)
async def test_what_is_not_http_is_refused_and_the_next_one_served(collector, data):
    async with serving(collector) as port:
        answer = await say(port, data)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
        assert (await get(port, "/healthz")).status_code == 200


async def test_a_request_with_a_body_is_answered_and_closed(collector):
    async with serving(collector) as port:
        answer = await say(port, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 405")


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", ";;,=;q=", "*/*;escaping=", "\xff"])
async def test_any_accept_header_is_survived(collector, accept):
    async with serving(collector) as port:
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: " + accept.encode("latin-1")
        answer = await say(port, request + b"\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 500"))
        assert (await get(port, "/metrics")).status_code == 200


async def test_a_scrape_that_fails_says_so_and_is_counted(desk, monkeypatch):
    collector = desk.collector()

    def broken() -> None:
        raise ValueError("no luck")

    async with serving(collector) as port:
        monkeypatch.setattr(collector, "pieces", broken)
        answer = await get(port, "/metrics")
        assert (answer.status_code, answer.text) == (500, "ValueError: no luck\n")
        monkeypatch.undo()
        assert "basisd_scrapes_failed_total 1.0" in (await get(port, "/metrics")).text


async def test_clients_beyond_the_limit_wait_for_a_seat(collector):
    async with serving(collector) as port:
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(CONNECTIONS)]
        # Let all of them take their seats.
        await trio.testing.wait_all_tasks_blocked()
        answers: list[bytes] = []

        async def late() -> None:
            answers.append(await say(port, b"GET /healthz HTTP/1.0\r\n\r\n"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(late)
            await trio.testing.wait_all_tasks_blocked()
            assert answers == []
            await idle.pop().aclose()
        assert answers[0].startswith(b"HTTP/1.1 200")
        for one in idle:
            await one.aclose()


async def hang_up(stream: trio.abc.Stream, collector: Any) -> None:
    """Serve one client over a stream in memory until its connection ends, and check that its seat is free again."""
    seats = trio.CapacityLimiter(1)
    socket: Any = stream
    connection = server._Connection(socket, collector, lambda: "READY")
    await seats.acquire_on_behalf_of(connection)
    await connection.run(seats, connection)
    assert seats.borrowed_tokens == 0


@pytest.mark.parametrize("data", [b"", b"GET /metrics HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_silent_client_is_sent_away(collector, data, autojump_clock):
    ours, theirs = trio.testing.memory_stream_pair()
    if data:
        await ours.send_all(data)
    await hang_up(theirs, collector)
    assert trio.current_time() == pytest.approx(READ_S)
    answer = b"".join([part async for part in ours])
    assert answer.startswith(b"HTTP/1.1 200") if data.endswith(b"\n\r\n") else answer == b""


async def test_a_client_that_trickles_is_sent_away(collector, autojump_clock):
    """The time is for the whole request, not for each of its bytes."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def trickle() -> None:
        for _ in range(100):
            await trio.sleep(READ_S / 4.5)
            await ours.send_all(b"G")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        await hang_up(theirs, collector)
        assert trio.current_time() == pytest.approx(READ_S)
        nursery.cancel_scope.cancel()


async def test_a_client_that_does_not_read_is_sent_away(collector, autojump_clock):
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up, theirs, collector)
        await ours.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert trio.current_time() == pytest.approx(WRITE_S)


async def test_the_cell_runs_between_the_pieces_of_a_scrape(collector):
    turns = 0

    async def cell() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    pieces = sum(1 for _ in collector.pieces())
    async with serving(collector) as port, trio.open_nursery() as nursery:
        nursery.start_soon(cell)
        before = turns
        await say(port, b"GET /metrics HTTP/1.0\r\n\r\n")
        assert turns - before >= pieces > 70
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EBADF])
async def test_a_machine_out_of_files_is_waited_for_and_nothing_else(collector, monkeypatch, number):
    accept = trio.SocketListener.accept
    failed = False

    async def failing(listener: trio.SocketListener) -> trio.SocketStream:
        nonlocal failed
        stream = await accept(listener)
        if failed:
            return stream
        failed = True
        await stream.aclose()
        raise OSError(number, "no luck")

    monkeypatch.setattr(trio.SocketListener, "accept", failing)
    monkeypatch.setattr(server, "_PAUSE_S", 0)
    if number == errno.EMFILE:
        async with serving(collector) as port:
            assert await say(port, b"GET /healthz HTTP/1.0\r\n\r\n") == b""
            assert (await get(port, "/healthz")).status_code == 200
    else:
        with pytest.RaisesGroup(OSError, flatten_subgroups=True):
            async with serving(collector) as port:
                await say(port, b"GET /healthz HTTP/1.0\r\n\r\n")
                await trio.sleep_forever()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_is_listened_on(host):
    assert check_host(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost", "example.com", ""])
def test_nothing_else_is(host):
    with pytest.raises(ValueError, match=r"metrics are served on"):
        check_host(host)


def test_a_remote_address_must_be_allowed():
    assert check_host("0.0.0.0", is_remote_allowed=True) == "0.0.0.0"


async def test_a_host_that_is_not_allowed_is_not_served(collector):
    with pytest.raises(ValueError, match="loopback"):
        await serve_metrics(collector, "0.0.0.0", 0, lambda: "READY")


@given(st.lists(st.binary(max_size=64), max_size=6))
def test_no_bytes_stop_the_server(parts):
    class Nothing:
        """A collector without metrics: only the protocol is asked."""

        def pieces(self) -> list[None]:
            return []

    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up, theirs, Nothing())
            for part in (b"GET /metrics HTTP/1.1\r\n", *parts, b"\r\n\r\n"):
                try:
                    await ours.send_all(part)
                except trio.BrokenResourceError:
                    break
            await ours.aclose()

    trio.run(main)


def test_the_longest_head_h11_keeps_is_ours():
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    connection.receive_data(b"x" * (HEAD_BYTES + 1))
    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()
