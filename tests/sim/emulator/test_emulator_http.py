"""HTTP of the emulator over real sockets: what is answered, what is refused, and that nothing ends the server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import httpx
import pytest
import trio

from sim.emulator import http_server
from sim.emulator.http_server import Handler, HttpRequest, HttpResponse, NoAnswer, serve_http

HEAD_END = b"\r\n\r\n"


async def echo(request: HttpRequest) -> HttpResponse | NoAnswer:
    if request.path == "/cut":
        return NoAnswer.CUT
    if request.path == "/silence":
        return NoAnswer.SILENCE
    said = f"{request.method} {request.path}?{request.query} {request.headers.get('x-one', '')} {request.peer}\n"
    return HttpResponse(207, said.encode() + request.body, (("X-Two", "2"), ("content-type", "text/plain")))


@asynccontextmanager
async def serving(handler: Handler = echo) -> AsyncIterator[int]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, listener, handler)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def said_until_closed(stream: trio.SocketStream) -> bytes:
    found = b""
    try:
        while piece := await stream.receive_some():
            found += piece
    except trio.BrokenResourceError:
        pass
    return found


async def one_answer(stream: trio.SocketStream) -> bytes:
    """Return a whole answer of a connection that stays open."""
    found = b""
    while HEAD_END not in found:
        found += await stream.receive_some()
    head, _, body = found.partition(HEAD_END)
    [length] = [int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
    while len(body) < length:
        body += await stream.receive_some()
    assert len(body) == length
    return head + HEAD_END + body


async def ask_raw(port: int, data: bytes) -> bytes:
    """Send, and return all that comes until the server closes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        return await said_until_closed(stream)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_request_arrives_as_it_was_sent(method):
    async with serving() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.request(method, "/fapi/v1/x?a=%40&b=2", content=b"k=v", headers={"X-One": "1"})
    assert answer.status_code == 207
    assert answer.text == f"{method} /fapi/v1/x?a=%40&b=2 1 127.0.0.1\nk=v"
    assert answer.headers["x-two"] == "2"
    assert answer.headers["date"].endswith("GMT")


async def test_a_connection_is_kept_for_the_next_request():
    async with serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for number in range(3):
            await stream.send_all(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
            assert f"GET /{number}?".encode() in await one_answer(stream)


async def test_a_client_that_wants_the_connection_closed_has_it_closed():
    async with serving() as port:
        said = await ask_raw(port, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        old = await ask_raw(port, b"GET / HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 207")
    assert old.startswith(b"HTTP/1.1 207")


async def test_a_body_in_chunks_is_put_together():
    async with serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await stream.send_all(b"4\r\ndefg\r\n0\r\n\r\n")
        assert (await one_answer(stream)).endswith(b"\nabcdefg")


async def test_a_client_that_asks_first_is_told_to_go_on():
    async with serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"ok")
        assert (await one_answer(stream)).endswith(b"\nok")


async def test_what_is_sent_before_the_answer_is_not_read():
    asked = []

    async def note(request: HttpRequest) -> HttpResponse:
        asked.append(request.path)
        return HttpResponse(200, b"")

    async with serving(note) as port:
        said = await ask_raw(port, b"GET /one HTTP/1.1\r\nHost: h\r\n\r\nGET /two HTTP/1.1\r\nHost: h\r\n\r\n")
    assert asked == ["/one"]
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in said.lower()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no http\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # HTTP/1.1 needs a host: RFC 9112, 3.2.
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nx: " + b"a" * (http_server.HEAD_BYTES + 65_536), b"431"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n" + b"a" * 2_000_000, b"413"),
    ],
)
async def test_what_is_no_request_of_ours_is_refused(data, status):
    async with serving() as port:
        said = await ask_raw(port, data)
    assert said.split(b" ")[1] == status
    assert b"connection: close" in said.lower()


async def test_a_cut_connection_gives_no_answer():
    async with serving() as port:
        assert await ask_raw(port, b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n") == b""


async def test_silence_leaves_the_connection_open_and_empty(monkeypatch):
    monkeypatch.setattr(http_server, "CONNECTIONS", 1)
    async with serving() as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /silence HTTP/1.1\r\nHost: h\r\n\r\n")
            with trio.move_on_after(0.1) as scope:
                await stream.receive_some()
            assert scope.cancelled_caught
        # The only seat is free again once the client has left.
        assert (await ask_raw(port, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 207")


async def test_head_has_the_length_but_no_body():
    async with serving() as port:
        said = await ask_raw(port, b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert said.endswith(HEAD_END)
    assert b"content-length: 19" in said.lower()  # "HEAD /?  127.0.0.1" and its line end


async def test_a_silent_client_is_let_go(monkeypatch):
    monkeypatch.setattr(http_server, "IDLE_S", 0.05)
    async with serving() as port:
        assert await ask_raw(port, b"") == b""


async def test_a_request_that_does_not_arrive_is_refused(monkeypatch):
    monkeypatch.setattr(http_server, "READ_S", 0.05)
    async with serving() as port:
        said = await ask_raw(port, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
    assert said.startswith(b"HTTP/1.1 408")


async def test_a_head_that_does_not_arrive_is_refused(monkeypatch):
    monkeypatch.setattr(http_server, "READ_S", 0.05)
    async with serving() as port:
        said = await ask_raw(port, b"POST / HTTP/1.1\r\nHos")
    assert said.startswith(b"HTTP/1.1 408")


async def test_nothing_that_a_client_sends_ends_the_server():
    random = Random(7)
    good = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    async with serving() as port:
        for _ in range(200):
            data = bytearray(good)
            for _ in range(random.randint(1, 6)):
                place = random.randrange(len(data))
                data[place : place + random.randint(0, 2)] = random.randbytes(random.randint(0, 2))
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(bytes(data))
                await stream.send_eof()
                await said_until_closed(stream)
        assert (await ask_raw(port, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 207")
