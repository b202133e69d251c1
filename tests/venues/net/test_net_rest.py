"""What the HTTP client proves about a request, against servers that misbehave in every way."""

import gzip
import itertools
import random
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import trio
from raw_server import http_answer, raw_server, read_head
from tls_pair import tls_pair

from venues.net import rest
from venues.net.errors import AnswerTooLargeError, NetError, NotSentError, NotSentReason, UnknownOutcomeError
from venues.net.limits import PoolRule, Priority, RatePools, Throttle
from venues.net.outcomes import LATENCY_BOUNDS_NS
from venues.net.rest import Answer, Call, RestClient, throttle_of

S = 1_000_000_000
POOL = PoolRule("weight", 100, 60 * S, "weight", "x-mbx-used-weight-1m")
LONG_S = 60.0
"""Longer than any of these takes, unless something hangs."""


def client(port: int, base: str = "", **more) -> RestClient:
    settings: dict[str, Any] = {
        "headers": {"X-MBX-APIKEY": "THE-KEY"},
        "limits": RatePools([POOL]),
        "clock": time.monotonic_ns,
        "timeout_s": LONG_S,
        "rng": random.Random(7),
    }
    return RestClient(base or f"http://127.0.0.1:{port}", **(settings | more))


def get(path: str = "/fapi/v1/order", **more) -> Call:
    given: dict[str, Any] = {"method": "GET", "path": path, "deadline_s": LONG_S, "is_idempotent": True}
    return Call(**(given | more))


def post(path: str = "/fapi/v1/order", **more) -> Call:
    given: dict[str, Any] = {"method": "POST", "path": path, "query": "side=BUY&signature=SECRET", "deadline_s": LONG_S}
    return Call(**(given | more))


class Scripted:
    """Answers the n-th request with the n-th of the steps, and keeps the heads. None closes without an answer."""

    def __init__(self, *steps: bytes | None) -> None:
        self.heads: list[bytes] = []
        self._steps = iter(steps)

    async def __call__(self, stream: trio.SocketStream) -> None:
        while head := await read_head(stream):
            self.heads.append(head)
            answer = next(self._steps)
            if answer is None:
                return
            await stream.send_all(answer)


async def hang(stream: trio.SocketStream) -> None:
    await read_head(stream)
    await trio.sleep_forever()


async def test_an_answer_is_what_the_venue_said():
    server = Scripted(http_answer(b'{"a":1}', "400 Bad Request", X_MBX_Used_Weight_1m="17"))
    async with raw_server(server) as port, client(port) as asking:
        before_ns = time.monotonic_ns()
        answer = await asking.request(get(query="symbol=BTCUSDT"))
        assert (answer.status, answer.body, answer.headers["x-mbx-used-weight-1m"]) == (400, b'{"a":1}', "17")
        assert before_ns <= answer.sent_ns <= answer.received_ns <= time.monotonic_ns()
        assert asking.limits.state(time.monotonic_ns())[0].used == 17
    head = server.heads[0].decode().lower()
    assert head.startswith("get /fapi/v1/order?symbol=btcusdt http/1.1\r\n")
    assert "x-mbx-apikey: the-key\r\n" in head


async def test_the_query_goes_out_as_it_was_signed():
    query = "symbol=%E5%B8%81USDT&z=1&a=a%2Fb%3D&signature=x%2By%3D%3D"
    server = Scripted(http_answer())
    async with raw_server(server) as port, client(port) as asking:
        await asking.request(post(query=query))
    assert server.heads[0].startswith(f"POST /fapi/v1/order?{query} HTTP/1.1\r\n".encode())


async def test_a_query_is_made_for_each_sending():
    server = Scripted(None, http_answer())
    stamps = itertools.count(1)
    async with raw_server(server) as port, client(port) as asking:
        await asking.request(get(query=lambda: f"timestamp={next(stamps)}"))
    assert [head.split(b" ")[1] for head in server.heads] == [
        b"/fapi/v1/order?timestamp=1",
        b"/fapi/v1/order?timestamp=2",
    ]


async def test_one_connection_serves_many_requests():
    opened = 0
    server = Scripted(*[http_answer()] * 3)

    async def counting(stream: trio.SocketStream) -> None:
        nonlocal opened
        opened += 1
        await server(stream)

    async with raw_server(counting) as port, client(port) as asking:
        for _ in range(3):
            await asking.request(get())
    assert (opened, len(server.heads)) == (1, 3)


async def test_a_certificate_of_nobody_we_trust_ends_it_before_anything_is_sent(tmp_path):
    theirs, ours = tls_pair(tmp_path)
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, theirs, server_side=True, https_compatible=True)
        heads.append(bytes(await secure.receive_some()))
        await secure.send_all(http_answer())

    async with raw_server(serve) as port:
        async with client(port, base=f"https://127.0.0.1:{port}", tls=ours) as asking:
            assert (await asking.request(post())).status == 200
        async with client(port, base=f"https://127.0.0.1:{port}") as asking:
            with pytest.raises(NotSentError) as caught:
                await asking.request(post(deadline_s=10.0))
    assert caught.value.reason is NotSentReason.CONNECT
    assert len([head for head in heads if head]) == 1


async def test_without_a_listener_nothing_was_sent():
    async with raw_server(hang) as port:
        pass
    async with client(port) as asking:
        with pytest.raises(NotSentError) as caught:
            await asking.request(post(deadline_s=5.0))
    assert caught.value.reason is NotSentReason.CONNECT
    assert asking.counters()["/fapi/v1/order"].not_sent == 1


async def test_no_answer_before_the_deadline_is_unknown():
    async with raw_server(hang) as port, client(port) as asking:
        with pytest.raises(UnknownOutcomeError):
            await asking.request(post(deadline_s=0.2))
        assert asking.counters()["/fapi/v1/order"].unknown == 1


async def test_no_answer_within_the_step_timeout_is_unknown():
    async with raw_server(hang) as port, client(port, timeout_s=0.2) as asking:
        with pytest.raises(UnknownOutcomeError):
            await asking.request(post())


async def test_no_free_connection_before_the_deadline_is_not_sent():
    heads: list[bytes] = []

    async def take_one(stream: trio.SocketStream) -> None:
        heads.append(await read_head(stream))
        await trio.sleep_forever()

    async with raw_server(take_one) as port, client(port, connections_max=1) as asking, trio.open_nursery() as nursery:
        nursery.start_soon(asking.request, post("/first"))
        while not heads:
            await trio.sleep(0.01)
        with pytest.raises(NotSentError) as caught:
            await asking.request(post("/second", deadline_s=0.2))
        nursery.cancel_scope.cancel()
    assert caught.value.reason is NotSentReason.DEADLINE
    assert len([head for head in heads if head]) == 1


async def test_an_order_whose_connection_broke_is_sent_once_and_unknown():
    server = Scripted(None, http_answer())
    async with raw_server(server) as port, client(port) as asking:
        with pytest.raises(UnknownOutcomeError):
            await asking.request(post())
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nwrong",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")[:9],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: br\r\n\r\n{}",
        b"SMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_half_an_answer_is_unknown(broken):
    async def break_off(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(broken)

    async with raw_server(break_off) as port, client(port) as asking:
        with pytest.raises(UnknownOutcomeError):
            await asking.request(post())


async def test_an_answer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(rest, "ANSWER_BYTES_MAX", 1_000)
    # Larger than one read of the network's.
    server = Scripted(http_answer(b"x" * 1_000_000))
    async with raw_server(server) as port, client(port) as asking:
        with pytest.raises(AnswerTooLargeError):
            await asking.request(post())


async def test_an_answer_may_be_packed():
    server = Scripted(http_answer(gzip.compress(b'{"symbols":[]}'), Content_Encoding="gzip"))
    async with raw_server(server) as port, client(port) as asking:
        assert (await asking.request(get())).body == b'{"symbols":[]}'


async def test_a_packed_answer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(rest, "ANSWER_BYTES_MAX", 1_000)
    server = Scripted(http_answer(gzip.compress(b"x" * 1_001), Content_Encoding="gzip"))
    async with raw_server(server) as port, client(port) as asking:
        with pytest.raises(AnswerTooLargeError):
            await asking.request(post())


async def test_a_question_is_asked_again():
    server = Scripted(None, None, http_answer(b"[]"))
    async with raw_server(server) as port, client(port) as asking:
        assert (await asking.request(get())).body == b"[]"
        counts = asking.counters()["/fapi/v1/order"]
    assert (counts.answers, counts.retries, counts.unknown, counts.not_sent) == (1, 2, 0, 0)


async def test_a_question_is_asked_three_times_at_most():
    server = Scripted(*[None] * 9)
    async with raw_server(server) as port, client(port) as asking:
        with pytest.raises(UnknownOutcomeError):
            await asking.request(get())
    assert len(server.heads) == 3


async def test_statuses_are_answers_and_are_not_asked_again():
    server = Scripted(http_answer(b"", "503 Service Unavailable"), http_answer())
    async with raw_server(server) as port, client(port) as asking:
        assert (await asking.request(get())).status == 503
        assert asking.counters()["/fapi/v1/order"].statuses == {503: 1}


async def test_redirects_are_not_followed():
    server = Scripted(http_answer(b"", "302 Found", Location="/elsewhere"), http_answer())
    async with raw_server(server) as port, client(port) as asking:
        assert (await asking.request(post())).status == 302
    assert len(server.heads) == 1


async def test_a_request_waits_for_its_tokens_and_no_longer_than_its_deadline():
    server = Scripted(*[http_answer()] * 2)
    limits = RatePools([PoolRule("orders", 1, S // 5)])
    async with raw_server(server) as port, client(port, limits=limits) as asking:
        first = await asking.request(post(costs={"orders": 1}, priority=Priority.CANCEL))
        second = await asking.request(post(costs={"orders": 1}, priority=Priority.CANCEL))
        assert second.sent_ns - first.sent_ns >= S // 10
        limits.freeze(time.monotonic_ns() + 3_600 * S)
        with pytest.raises(NotSentError) as caught:
            await asking.request(post(costs={"orders": 1}, priority=Priority.CANCEL))
    assert caught.value.reason is NotSentReason.RATE_LIMIT
    assert caught.value.retry_ns is not None
    assert len(server.heads) == 2


async def test_where_the_venues_time_runs_fast_tokens_come_back_as_fast():
    """A minute of the venue's passes in a fifth of a second: by the wall's time the deadline would come first."""
    server = Scripted(*[http_answer()] * 2)
    limits = RatePools([PoolRule("orders", 1, 60 * S)], speed=300)
    async with (
        raw_server(server) as port,
        client(port, limits=limits, clock=lambda: 300 * time.monotonic_ns()) as asking,
    ):
        first = await asking.request(post(costs={"orders": 1}, priority=Priority.CANCEL, deadline_s=30.0))
        second = await asking.request(post(costs={"orders": 1}, priority=Priority.CANCEL, deadline_s=30.0))
    assert second.sent_ns - first.sent_ns >= 30 * S


@pytest.mark.parametrize(
    ("status", "headers", "quiet_s", "is_ban"),
    [
        ("429 Too Many Requests", {"Retry-After": "7"}, 7, False),
        ("429 Too Many Requests", {}, 60, False),
        ("429 Too Many Requests", {"Retry-After": "soon"}, 60, False),
        ("418 I'm a teapot", {"Retry-After": "300"}, 300, True),
        ("418 I'm a teapot", {}, 120, True),
    ],
)
async def test_the_venue_may_ask_for_silence(status, headers, quiet_s, is_ban):
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    async with raw_server(Scripted(http_answer(b"", status, **named))) as port, client(port) as asking:
        answer = await asking.request(get(costs={"weight": 1}))
        retry_ns = asking.limits.take(Priority.CANCEL, {"weight": 1}, answer.received_ns)
        assert retry_ns == answer.received_ns + quiet_s * S
        assert (asking.limits.banned_until_ns > 0) is is_ban


async def test_the_gateway_may_know_better_what_a_refusal_means():
    limits = RatePools([POOL, PoolRule("orders", 10, S)])

    def judge(answer: Answer) -> Throttle | None:
        return Throttle(answer.received_ns + 9 * S, "orders")

    server = Scripted(http_answer(b"", "429 Slow"))
    async with raw_server(server) as port, client(port, limits=limits, throttled=judge) as asking:
        answer = await asking.request(post())
    assert limits.take(Priority.CANCEL, {"weight": 1}, answer.received_ns) is None
    assert limits.take(Priority.NEW, {"orders": 1}, answer.received_ns) == answer.received_ns + 9 * S


@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
def test_other_statuses_ask_for_no_silence(status):
    assert throttle_of(Answer(status, {"retry-after": "5"}, b"", 0, 0)) is None


async def test_latency_is_counted_by_path():
    ticks = iter([S, S, S + 30_000_000, 100 * S, 100 * S, 120 * S])
    server = Scripted(http_answer(), http_answer())
    async with raw_server(server) as port, client(port, clock=lambda: next(ticks)) as asking:
        await asking.request(get("/fapi/v1/time"))
        await asking.request(get("/fapi/v1/time"))
        counts = asking.counters()["/fapi/v1/time"]
    assert (counts.answers, counts.latency_sum_ns, counts.latency_max_ns) == (2, 20 * S + 30_000_000, 20 * S)
    assert counts.buckets[LATENCY_BOUNDS_NS.index(50_000_000)] == 1
    assert counts.buckets[-1] == 1
    assert sum(counts.buckets) == 2


async def test_paths_without_end_are_counted_together():
    server = Scripted(*[http_answer()] * 300)
    async with raw_server(server) as port, client(port) as asking:
        for number in range(300):
            await asking.request(get(f"/{number}"))
        counts = asking.counters()
    assert len(counts) == 257
    assert counts["(other)"].answers == 300 - 256


@pytest.mark.parametrize("make", [post, get])
async def test_no_failure_tells_key_or_signature(make: Callable[..., Call]):
    call = make(query="quantity=1&signature=SECRET", headers={"Authorization": "SECRET"}, deadline_s=5.0)
    assert "SECRET" not in repr(call)
    texts = []
    async with raw_server(Scripted(*[None] * 9)) as port, client(port) as asking:
        with pytest.raises(NetError) as caught:
            await asking.request(call)
        texts.append("".join(traceback.format_exception(caught.value)))
    async with client(port) as asking:
        with pytest.raises(NetError) as caught:
            await asking.request(call)
        texts.append("".join(traceback.format_exception(caught.value)))
    for text in texts:
        assert "SECRET" not in text
        assert "THE-KEY" not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
