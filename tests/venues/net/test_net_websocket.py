"""How a socket outlives its connections, against servers that close, reset, hang, refuse and fall silent."""

import itertools
import socket as socket_module
import ssl
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from attrs import evolve
from raw_server import http_answer, raw_server, read_head
from socket_server import PATIENCE_S, Listener, shake_hands, socket_server
from tls_pair import tls_pair
from trio.testing import MockClock
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection

from venues.net.errors import NotSentError, NotSentReason
from venues.net.limits import PoolRule, Priority, RatePools
from venues.net.websocket import DownReason, SocketSettings

S = 1_000_000_000
CALM = SocketSettings(idle_s=PATIENCE_S, lifetime_s=1e6, backoff_first_s=0.01, backoff_max_s=0.02, overlap_s=0.05)


def calm(**changes) -> SocketSettings:
    """Settings under which nothing happens by itself, with changes."""
    return evolve(CALM, **changes)


async def listen(connection: ServerConnection) -> None:
    """Read until the end and say nothing."""
    async for _ in connection:
        pass


def saying(*messages) -> Callable[[ServerConnection], Awaitable[None]]:
    """A handler that says these, and then listens."""

    async def handle(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        await listen(connection)

    return handle


async def test_messages_come_as_bytes_in_order_after_the_connection_is_up():
    handler = saying("text", b"\x00binary", ["in ", "three ", "parts"], "ü", "")
    async with socket_server(handler) as url:
        listener = Listener(url, settings=CALM)
        async with listener.running():
            await listener.until("frame", 1, b"")
    assert listener.told[:6] == [
        ("up", 1),
        ("frame", 1, b"text"),
        ("frame", 1, b"\x00binary"),
        ("frame", 1, b"in three parts"),
        ("frame", 1, "ü".encode()),
        ("frame", 1, b""),
    ]


async def test_a_ping_between_the_parts_of_a_message_is_answered():
    async def handle(connection: ServerConnection) -> None:
        async def parts():
            yield "a"
            await (await connection.ping()).wait()
            yield "b"

        await connection.send(parts())
        await listen(connection)

    async with socket_server(handle) as url:
        listener = Listener(url, settings=CALM)
        async with listener.running():
            await listener.until("frame", 1, b"ab")


async def test_a_connection_closed_by_the_venue_is_followed_by_another():
    async def handle(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.aclose(1012, "restart")

    async with socket_server(handle) as url:
        listener = Listener(url, settings=CALM)
        async with listener.running():
            await listener.until("up", 3)
    assert listener.downs[0].reason is DownReason.CLOSED_BY_VENUE
    assert listener.downs[0].detail == "1012 restart"
    assert listener.told[:4] == [("up", 1), ("frame", 1, b"hello"), ("down", 1, "closed_by_venue"), ("up", 2)]
    assert listener.urls_asked == 3


async def test_a_venue_that_says_farewell_and_keeps_the_line_is_left():
    async def farewell(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await stream.send_all(b"\x88\x02\x03\xe8")
        await trio.sleep_forever()

    async with raw_server(farewell) as port:
        listener = Listener(f"ws://127.0.0.1:{port}", settings=CALM)
        async with listener.running():
            await listener.until("down", 1, "closed_by_venue")
            await listener.until("up", 2)


@pytest.mark.parametrize(
    "last", [b"", b"\x81\x05hel", b"\x83\x00", b"\xff\xff", b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"]
)
async def test_a_connection_that_breaks_or_talks_nonsense_is_lost(last):
    async def break_off(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await stream.send_all(b"\x81\x02ok" + last)

    async with raw_server(break_off) as port:
        listener = Listener(f"ws://127.0.0.1:{port}", settings=CALM)
        async with listener.running():
            await listener.until("frame", 1, b"ok")
            assert await listener.next("down") == ("down", 1, "lost")
            await listener.until("up", 2)


async def test_nonsense_on_a_line_that_stays_open_is_noticed():
    async def nonsense(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await stream.send_all(b"\x83\x00")
        await trio.sleep_forever()

    async with raw_server(nonsense) as port:
        listener = Listener(f"ws://127.0.0.1:{port}", settings=calm(idle_s=0.1))
        async with listener.running():
            await listener.until("down", 1, "lost")
    assert listener.downs[0].detail == "ProtocolError"


async def test_a_message_that_is_too_large_ends_the_connection():
    async with socket_server(saying("x" * 101)) as url:
        listener = Listener(url, settings=calm(frame_bytes_max=100, idle_s=0.1))
        async with listener.running():
            await listener.until("down", 1, "lost")
    assert not [told for told in listener.told if told[0] == "frame"]


async def test_a_half_open_connection_is_found():
    async def silent(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await trio.sleep_forever()

    async with raw_server(silent) as port:
        listener = Listener(f"ws://127.0.0.1:{port}", settings=calm(idle_s=0.05, pong_s=0.05))
        async with listener.running():
            await listener.until("down", 1, "silent")
            await listener.until("up", 2)


async def test_a_quiet_venue_that_answers_pings_is_kept():
    async with socket_server(listen) as url:
        listener = Listener(url, settings=calm(idle_s=0.05, pong_s=PATIENCE_S))
        async with listener.running() as socket:
            with trio.fail_after(PATIENCE_S):
                while socket.counters().pings < 3:
                    await trio.sleep(0.05)
        assert [down.reason for down in listener.downs] == [DownReason.STOPPED]


async def test_a_stream_that_starves_is_left_although_it_answers_pings():
    async with socket_server(saying("first")) as url:
        listener = Listener(url, settings=calm(idle_s=0.05, pong_s=PATIENCE_S, data_idle_s=0.2))
        async with listener.running():
            await listener.until("down", 1, "silent")
            await listener.until("frame", 2, b"first")
    assert "no message" in listener.downs[0].detail


async def test_before_its_end_of_life_a_connection_is_replaced_and_both_deliver():
    both = trio.Event()
    connections: list[ServerConnection] = []

    async def handle(connection: ServerConnection) -> None:
        connections.append(connection)
        if len(connections) == 2:
            both.set()
        await listen(connection)

    async with socket_server(handle) as url:
        listener = Listener(url, settings=calm(lifetime_s=0.2, overlap_s=2.0))
        async with listener.running() as socket:
            await listener.until("up", 1)
            assert socket.current == 1
            await listener.until("up", 2)
            assert socket.current == 2
            await both.wait()
            for connection in connections[:2]:
                await connection.send("same")
            heard = {await listener.next("frame"), await listener.next("frame")}
            assert heard == {("frame", 1, b"same"), ("frame", 2, b"same")}
            await listener.until("down", 1, "rotated")
            assert socket.is_up
            assert socket.counters().rotations >= 1


async def test_nothing_is_missed_and_nothing_reordered_over_many_rotations():
    log: list[bytes] = []
    news = trio.Condition()

    async def handle(connection: ServerConnection) -> None:
        at = len(log)
        try:
            while True:
                while at < len(log):
                    await connection.send(log[at])
                    at += 1
                async with news:
                    if at == len(log):
                        await news.wait()
        except ConnectionClosed:
            return

    async def publish() -> None:
        while True:
            await trio.sleep(0.002)
            async with news:
                log.append(str(len(log)).encode())
                news.notify_all()

    async with socket_server(handle) as url:
        listener = Listener(url, settings=calm(lifetime_s=0.2, overlap_s=0.1))
        async with listener.running() as socket, trio.open_nursery() as nursery:
            await listener.until("up", 1)
            nursery.start_soon(publish)
            await listener.until("up", 6)
            nursery.cancel_scope.cancel()
        # The last one before may still be up beside it.
        assert socket.counters().rotations >= 4
    by_connection: dict[int, list[int]] = {}
    for told in listener.told:
        if told[0] == "frame":
            by_connection.setdefault(told[1], []).append(int(told[2]))
    for numbers in by_connection.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    seen = {number for numbers in by_connection.values() for number in numbers}
    assert seen == set(range(max(seen) + 1))


async def test_while_no_successor_can_be_had_the_old_connection_stays():
    async with socket_server(listen) as url:
        listener = Listener(url, settings=calm(lifetime_s=0.1, overlap_s=0.02))
        async with listener.running() as socket:
            await listener.until("up", 1)
            listener.url = NotSentError(NotSentReason.ADDRESS, "no listen key")
            for _ in range(5):
                await listener.next("failed")
            assert (socket.current, listener.downs) == (1, [])
            listener.url = url
            await listener.until("up", 2)
            await listener.until("down", 1, "rotated")


async def test_when_the_successor_is_lost_at_once_the_old_connection_stays():
    count = 0

    async def handle(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        if count == 2:
            await connection.aclose()
        await listen(connection)

    def on_up(number: int) -> None:
        if number == 2:
            listener.url = NotSentError(NotSentReason.ADDRESS, "no listen key")

    async with socket_server(handle) as url:
        listener: Listener = Listener(url, settings=calm(overlap_s=0.02), on_up=on_up)
        async with listener.running() as socket:
            await listener.until("up", 1)
            socket.reconnect()
            await listener.until("down", 2, "closed_by_venue")
            for _ in range(10):
                await listener.next("failed")
            assert socket.current == 1
            listener.url = url
            await listener.until("up", 3)
            await listener.until("down", 1, "rotated")
            assert socket.current == 3


async def test_a_new_address_replaces_the_connection():
    paths: list[str] = []

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        await connection.send("hello")
        await listen(connection)

    async with socket_server(handle) as url:
        listener = Listener(f"{url}/old", settings=CALM)
        async with listener.running() as socket:
            await listener.until("frame", 1, b"hello")
            listener.url = f"{url}/new"
            socket.reconnect()
            await listener.until("down", 1, "rotated")
    assert paths == ["/old", "/new"]


async def test_a_new_address_reaches_a_connection_that_is_being_made():
    asked, told = trio.Event(), trio.Event()
    paths: list[str] = []

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        await listen(connection)

    async with socket_server(handle) as url:
        listener = Listener(url, settings=CALM)

        async def url_of() -> str:
            address = listener.url
            asked.set()
            await told.wait()
            return str(address)

        listener.socket._url_of = url_of
        listener.url = f"{url}/old"
        async with listener.running() as socket:
            await asked.wait()
            listener.url = f"{url}/new"
            socket.reconnect()
            told.set()
            await listener.until("down", 1, "rotated")
    assert paths == ["/old", "/new"]


async def test_a_connection_of_no_use_is_dropped():
    async with socket_server(listen) as url:
        listener = Listener(url, settings=CALM)
        async with listener.running() as socket:
            await listener.until("up", 1)
            socket.drop(1, "logon refused")
            assert not socket.is_up
            socket.drop(1, "again")
            socket.drop(99, "nobody")
            await listener.until("up", 2)
    assert (listener.downs[0].reason, listener.downs[0].detail) == (DownReason.DROPPED, "logon refused")


async def test_a_connection_is_used_only_once_it_is_ready():
    heard: list[str | bytes] = []

    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            heard.append(message)
            await connection.send("welcome")

    async with socket_server(handle) as url:
        listener = Listener(url, settings=calm(needs_ready=True, ready_s=PATIENCE_S))
        async with listener.running() as socket:
            await listener.until("up", 1)
            with pytest.raises(NotSentError):
                socket.send("order")
            assert socket.send("logon", connection=1) == 1
            await listener.until("frame", 1, b"welcome")
            socket.mark_ready(1)
            assert socket.send("order") == 1
            await listener.until("frame", 1, b"welcome")
            socket.mark_ready(1)
            socket.mark_ready(99)
            assert socket.current == 1
    assert heard == ["logon", "order"]


async def test_a_connection_that_does_not_become_ready_is_replaced():
    async with socket_server(listen) as url:
        listener = Listener(url, settings=calm(needs_ready=True, ready_s=0.1))
        async with listener.running() as socket:
            await listener.until("down", 1, "not_ready")
            await listener.until("up", 2)
            assert not socket.is_up


async def test_without_a_connection_nothing_is_sent():
    listener = Listener("ws://127.0.0.1:1", settings=CALM)
    with pytest.raises(NotSentError) as caught:
        listener.socket.send("order")
    assert caught.value.reason is NotSentReason.DOWN


async def test_messages_leave_at_the_pace_the_venue_allows():
    heard: list[tuple[float, str | bytes]] = []

    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            heard.append((trio.current_time(), message))
            await connection.send(message)

    async with socket_server(handle) as url:
        listener = Listener(url, settings=calm(sends_per_s=2))
        async with listener.running() as socket:
            await listener.until("up", 1)
            began = trio.current_time()
            for text in ("a", "b", "c", "d"):
                socket.send(text)
            await listener.until("frame", 1, b"d")
    assert [message for _, message in heard] == ["a", "b", "c", "d"]
    assert heard[2][0] - began >= 1.0


async def test_what_the_kernel_does_not_take_at_once_follows_in_order_and_whole():
    reads = trio.Event()
    heard: list[str | bytes] = []

    async def handle(connection: ServerConnection) -> None:
        await reads.wait()
        async for message in connection:
            heard.append(message)
            if message == "last":
                await connection.send("done")

    texts = [f"{number}:" + "x" * 99_999 for number in range(150)]
    async with socket_server(handle, max_queue=1) as url:
        listener = Listener(url, settings=calm(sends_per_s=None))
        async with listener.running() as socket:
            await listener.until("up", 1)
            for text in texts[:100]:
                socket.send(text)
            await trio.testing.wait_all_tasks_blocked()
            reads.set()
            for text in texts[100:]:
                socket.send(text)
                await trio.lowlevel.checkpoint()
            socket.send("last")
            await listener.until("frame", 1, b"done")
    assert heard == [*texts, "last"]


async def test_an_answer_can_be_sent_while_the_question_is_heard():
    async def handle(connection: ServerConnection) -> None:
        await connection.send("ping")
        assert await connection.recv() == "pong"
        await connection.send("well done")
        await listen(connection)

    async with socket_server(handle) as url:
        sent: list[int] = []

        def reply(data: bytes) -> None:
            if data == b"ping":
                sent.append(listener.socket.send("pong"))

        listener: Listener = Listener(url, settings=calm(sends_per_s=None), on_frame=reply)
        async with listener.running():
            await listener.until("frame", 1, b"well done")
    assert sent == [1]


async def test_over_tls_it_is_the_same(tmp_path):
    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    theirs, ours = tls_pair(tmp_path)
    async with socket_server(handle, ssl=theirs) as url:
        listener = Listener(url.replace("ws:", "wss:"), settings=calm(sends_per_s=None), tls=ours)
        async with listener.running() as socket:
            await listener.until("up", 1)
            for text in ("a", "b"):
                socket.send(text)
            await listener.until("frame", 1, b"a")
            await listener.until("frame", 1, b"b")
            socket.reconnect()
            await listener.until("down", 1, "rotated")


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_tls_connection_that_breaks_is_lost(tmp_path, is_reset):
    theirs, ours = tls_pair(tmp_path)

    async def break_off(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, theirs, server_side=True, https_compatible=True)
        await shake_hands(secure)
        await secure.send_all(b"\x81\x02ok\x81\x05hel")
        if is_reset:
            stream.socket.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async with raw_server(break_off) as port:
        listener = Listener(f"wss://127.0.0.1:{port}", settings=CALM, tls=ours)
        async with listener.running():
            assert await listener.next("down") == ("down", 1, "lost")
            await listener.until("up", 3)


async def test_a_certificate_of_nobody_we_trust_is_refused(tmp_path):
    theirs, _ = tls_pair(tmp_path)
    async with socket_server(listen, ssl=theirs) as url:
        listener = Listener(url.replace("ws:", "wss:"), settings=CALM, tls=ssl.create_default_context())
        async with listener.running():
            await listener.next("failed")
    assert "up" not in [told[0] for told in listener.told]


async def test_what_never_left_is_told_when_the_connection_is_gone():
    async def handle(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.aclose()

    async with socket_server(handle) as url:
        listener = Listener(url, settings=calm(sends_per_s=1, queued_max=3))
        async with listener.running() as socket:
            await listener.until("up", 1)
            for text in ("one", "two", "three"):
                socket.send(text)
            with pytest.raises(NotSentError) as caught:
                socket.send("four")
            assert caught.value.reason is NotSentReason.QUEUE_FULL
            await listener.until("down", 1, "closed_by_venue")
    assert listener.downs[0].unsent == ("two", "three")
    assert "two" not in repr(listener.downs[0])


@pytest.mark.parametrize("callback", ["on_frame", "on_up"])
async def test_an_error_in_a_callback_ends_it(callback):
    def fail(_) -> None:
        raise ZeroDivisionError("in a callback")

    async with socket_server(saying("hello")) as url:
        listener = Listener(url, settings=CALM, **{callback: fail})
        with pytest.raises(BaseExceptionGroup) as caught, trio.fail_after(PATIENCE_S):
            await listener.socket.run()
    assert caught.group_contains(ZeroDivisionError)
    assert len(listener.downs) == 1


async def test_an_error_of_ours_in_the_address_ends_it():
    async def fail() -> str:
        raise ZeroDivisionError

    listener = Listener("", settings=CALM)
    listener.socket._url_of = fail
    with pytest.raises(BaseExceptionGroup) as caught, trio.fail_after(PATIENCE_S):
        await listener.socket.run()
    assert caught.group_contains(ZeroDivisionError)


@pytest.mark.parametrize(
    ("status", "is_ban"), [("429 Too Many Requests", False), ("418 I'm a teapot", True), ("503 Busy", None)]
)
async def test_a_refused_handshake_counts_as_an_answer(status, is_ban):
    limits = RatePools([PoolRule("connects", 300, 300 * S)])

    async def refuse(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(http_answer(b"", status, Retry_After="90"))

    async with raw_server(refuse) as port:
        listener = Listener(
            f"ws://127.0.0.1:{port}/private/ws/LISTENKEY",
            settings=CALM,
            limits=limits,
            connect_costs={"connects": 1},
            now=lambda: 5 * S,
        )
        async with listener.running():
            failed = await listener.next("failed")
    assert failed == ("failed", f"InvalidStatus {status[:3]}")
    expected = None if is_ban is None else 95 * S
    assert limits.take(Priority.HEDGE, {"connects": 1}, 6 * S) == expected
    assert (limits.banned_until_ns > 0) is bool(is_ban)


async def test_a_redirect_is_not_followed():
    async def redirect(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(http_answer(b"", "302 Found", Location="ws://127.0.0.1:1/"))

    async with raw_server(redirect) as port:
        listener = Listener(f"ws://127.0.0.1:{port}", settings=CALM)
        async with listener.running():
            assert await listener.next("failed") == ("failed", "InvalidStatus 302")


@pytest.mark.parametrize(
    "url",
    ["ws://127.0.0.1:1/LISTENKEY", "http://127.0.0.1/LISTENKEY", "wss://127.0.0.1:{port}/LISTENKEY"],
)
async def test_a_failure_names_no_address(url):
    async def mumble(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"220 mail\r\n")

    async with raw_server(mumble) as port:
        listener = Listener(url.format(port=port), settings=CALM, tls=ssl.create_default_context())
        async with listener.running():
            failed = await listener.next("failed")
    assert "LISTENKEY" not in str(failed)
    assert "LISTENKEY" not in repr(listener.socket.counters())


async def test_attempts_come_later_and_later_and_not_in_step(autojump_clock: MockClock):
    async with trio.open_nursery() as nursery:
        listener = Listener("", settings=SocketSettings(backoff_first_s=1.0, backoff_max_s=30.0))
        listener.url = NotSentError(NotSentReason.ADDRESS, "none")
        times: list[float] = []

        async def fail() -> str:
            times.append(trio.current_time())
            raise NotSentError(NotSentReason.ADDRESS, "none")

        listener.socket._url_of = fail
        nursery.start_soon(listener.socket.run)
        with trio.fail_after(1e4):
            while len(times) < 9:
                await listener.next("failed")
        nursery.cancel_scope.cancel()
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    for pause, longest in zip(pauses, (2, 4, 8, 16, 30, 30, 30, 30), strict=True):
        assert longest / 2 <= pause <= longest
    assert len({round(pause / longest, 6) for pause, longest in zip(pauses[4:], (30,) * 4, strict=True)}) == 4


async def test_no_more_attempts_than_the_venue_allows(autojump_clock: MockClock):
    limits = RatePools([PoolRule("connects", 5, 300 * S)])
    times: list[float] = []
    listener = Listener(
        "", settings=CALM, limits=limits, connect_costs={"connects": 1}, now=lambda: int(trio.current_time() * S)
    )

    async def fail() -> str:
        times.append(trio.current_time())
        raise NotSentError(NotSentReason.ADDRESS, "none")

    listener.socket._url_of = fail
    async with listener.running():
        await trio.sleep(899)
    # 95 percent of five are four whole ones, in each of three spans of 300 s.
    assert len(times) == 12
    for first, fifth in zip(times, times[4:], strict=False):
        assert fifth - first > 300 - 1e-6


async def test_when_it_is_stopped_the_connection_is_closed():
    closed = trio.Event()

    async def handle(connection: ServerConnection) -> None:
        await listen_to_the_end(connection)
        closed.set()

    async def listen_to_the_end(connection: ServerConnection) -> None:
        try:
            while True:
                await connection.recv()
        except ConnectionClosed:
            return

    async with socket_server(handle) as url:
        listener = Listener(url, settings=CALM)
        async with listener.running():
            await listener.until("up", 1)
        with trio.fail_after(PATIENCE_S):
            await closed.wait()
    assert [down.reason for down in listener.downs] == [DownReason.STOPPED]
    assert not listener.socket.is_up
