"""The emulator's websockets over real sockets: routes, keys, requests, and what faults do to connections."""

import json
import socket
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import trio
from emulator_sockets import PATIENCE_S, ask, emulator_sockets, next_event
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.trio.client import ClientConnection

from sim.emulator.fault_rules import rules_of
from sim.emulator.host import Host, HostSettings
from sim.emulator.http_server import HttpResponse
from sim.emulator.hub import Hub, Listener
from sim.emulator.market_source import SyntheticPace
from sim.emulator.ws_server import HalfStream
from venues.binance.codec import BinanceDecoder
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.order import OrderType, Side
from venues.port import BookDelta, SubmitOrder


def buy(host: Host, client_id: str = "mine") -> None:
    command = SubmitOrder(
        0, host.account, host.listings["BTCUSDT"].id, client_id, Side.BUY, Decimal("0.01"), OrderType.MARKET
    )  # fmt: skip
    host.command(command)


async def hear(connection: ClientConnection, count: int) -> list[dict[str, Any]]:
    return [json.loads(await connection.recv()) for _ in range(count)]


async def test_streams_by_address_raw_and_combined() -> None:
    async with emulator_sockets() as at:
        async with at.connect("/public/ws/btcusdt@bookTicker") as raw:
            assert (await next_event(raw, "bookTicker"))["s"] == "BTCUSDT"
        async with at.connect("/market/stream?streams=btcusdt@markPrice@1s/!markPrice@arr@1s") as combined:
            names = {event["stream"]: event["data"] for event in await hear(combined, 4)}
        assert names.keys() == {"btcusdt@markPrice@1s", "!markPrice@arr@1s"}
        assert [row["s"] for row in names["!markPrice@arr@1s"]] == list(at.host.listings)


async def test_streams_by_subscription() -> None:
    async with emulator_sockets() as at, at.connect("/public/ws/0") as one:
        assert await ask(one, {"method": "SUBSCRIBE", "params": ["BTCUSDT@bookTicker"], "id": "u-1"}) == {
            "result": None, "id": "u-1",
        }  # fmt: skip
        await next_event(one, "bookTicker")
        listed = await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 2})
        assert listed["result"] == ["0", "BTCUSDT@bookTicker"]
        await ask(one, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 3})
        assert (await next_event(one, "bookTicker"))["stream"] == "BTCUSDT@bookTicker"
        await ask(one, {"method": "UNSUBSCRIBE", "params": ["BTCUSDT@bookTicker"], "id": 4})
        # What comes after the reply is the next reply: nothing is said any more.
        await ask(one, {"method": "SUBSCRIBE", "params": ["ethusdt@bookTicker"], "id": 5})
        assert (await next_event(one, "bookTicker"))["data"]["s"] == "ETHUSDT"


@pytest.mark.parametrize(
    ("path", "silent", "heard"),
    [
        ("/public", "btcusdt@markPrice@1s", "btcusdt@bookTicker"),
        ("/market", "btcusdt@bookTicker", "btcusdt@markPrice@1s"),
        ("", "btcusdt@markPrice@1s", "btcusdt@bookTicker"),
    ],
)
async def test_another_class_is_taken_and_silent(path: str, silent: str, heard: str) -> None:
    async with emulator_sockets() as at, at.connect(f"{path}/stream?streams={silent}/{heard}") as one:
        assert {event["stream"] for event in await hear(one, 3)} == {heard}
        assert (await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 1}))["result"] == [silent, heard]


async def test_a_snapshot_joins_the_stream() -> None:
    async with emulator_sockets() as at, at.connect("/public/ws/btcusdt@depth@100ms") as one:
        await next_event(one, "depthUpdate")
        shot = at.host.book(at.host.listings["BTCUSDT"].id)
        assert shot is not None
        while (event := await next_event(one, "depthUpdate"))["u"] < shot.update_id:
            pass
        assert event["U"] <= shot.update_id or event["pu"] == shot.update_id
        for _ in range(3):
            following = await next_event(one, "depthUpdate")
            assert following["pu"] == event["u"]
            event = following


@pytest.mark.parametrize(
    "path", ["/private/ws/{}", "/private/ws?listenKey={}", "/private/stream?streams={}", "/private/stream?listenKey={}"]
)
async def test_user_events_by_listen_key(path: str) -> None:
    async with emulator_sockets() as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        async with at.connect(path.format(key)) as one:
            # A reply proves that the venue knows the connection.
            await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
            buy(at.host)
            event = await next_event(one, "ORDER_TRADE_UPDATE")
            if "stream" in path:
                assert event["stream"] == key
                event = event["data"]
            assert event["o"]["c"] == "mine"


async def test_what_a_client_does_at_once_is_told_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that comes with the very answer to the handshake: its client is connected by then."""
    send_all = HalfStream.send_all

    async def send_and_buy(self: HalfStream, data: bytes) -> None:
        await send_all(self, data)
        if data.startswith(b"HTTP/1.1 101"):
            buy(at.host)
            # Whatever the order makes has happened before the handshake is over here.
            await trio.sleep(0.1)

    monkeypatch.setattr(HalfStream, "send_all", send_and_buy)
    async with emulator_sockets() as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        async with at.connect(f"/private/ws/{key}") as one:
            with trio.fail_after(PATIENCE_S):
                assert (await next_event(one, "ORDER_TRADE_UPDATE"))["o"]["x"] == "NEW"


async def test_a_client_that_leaves_in_its_handshake_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    left = trio.Event()
    leave = Hub.leave

    def note(self: Hub, listener: Listener) -> None:
        leave(self, listener)
        left.set()

    async def break_off(self: HalfStream, data: bytes) -> None:
        raise trio.BrokenResourceError

    monkeypatch.setattr(Hub, "leave", note)
    monkeypatch.setattr(HalfStream, "send_all", break_off)
    async with emulator_sockets() as at:
        with trio.fail_after(PATIENCE_S):
            with pytest.raises((InvalidMessage, OSError)):
                await at.connect("/private/ws/nobody").__aenter__()
            await left.wait()


async def test_user_events_by_subscription_and_in_venue_order() -> None:
    async with emulator_sockets() as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        async with at.connect("/private/ws") as one:
            await ask(one, {"method": "SUBSCRIBE", "params": [key], "id": 1})
            buy(at.host)
            kinds = [(event["e"], event.get("o", {}).get("x")) for event in await hear(one, 4)]
    assert kinds == [
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ACCOUNT_UPDATE", None),
        ("TRADE_LITE", None),
        ("ORDER_TRADE_UPDATE", "TRADE"),
    ]


async def test_only_the_events_that_are_wanted() -> None:
    async with emulator_sockets() as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        async with at.connect(f"/private/ws?listenKey={key}&events=ACCOUNT_UPDATE") as one:
            await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
            buy(at.host)
            buy(at.host, "other")
            assert {event["e"] for event in await hear(one, 2)} == {"ACCOUNT_UPDATE"}


async def test_a_key_that_is_over_says_so_and_then_nothing() -> None:
    async with emulator_sockets() as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        async with at.connect(f"/private/ws/{key}") as one:
            await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
            at.faults.add(rules_of({"on": "venue", "kind": "listen_key_expiry"}))
            assert (await next_event(one, "listenKeyExpired"))["listenKey"] == key
            buy(at.host)
            fresh = at.listen_keys.create("api key", at.host.now() // 1_000_000)
            await ask(one, {"method": "SUBSCRIBE", "params": [fresh], "id": 2})
            buy(at.host, "after")
            assert (await next_event(one, "ORDER_TRADE_UPDATE"))["o"]["c"] == "after"


@pytest.mark.parametrize("path", ["/private/ws/unknown", "/public/ws", "/ws"])
async def test_without_a_valid_key_there_are_no_user_events(path: str) -> None:
    async with emulator_sockets() as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        async with at.connect(path) as one:
            wanted = [] if "unknown" in path else [key]
            await ask(one, {"method": "SUBSCRIBE", "params": wanted, "id": 1})
            buy(at.host)
            assert (await hear_until_reply(one)) == []


async def hear_until_reply(one: ClientConnection) -> list[dict[str, Any]]:
    await one.send('{"method": "LIST_SUBSCRIPTIONS", "id": 99}')
    found = []
    while (event := json.loads(await one.recv())).get("id") != 99:
        found.append(event)
    return found


@pytest.mark.parametrize("path", ["/", "/elsewhere", "/public/other", "/ws-api/v3"])
async def test_nothing_is_served_elsewhere(path: str) -> None:
    async with emulator_sockets() as at:
        with pytest.raises(InvalidStatus) as caught:
            await at.connect(path).__aenter__()
        assert caught.value.response.status_code == 404


async def flood(one: ClientConnection) -> None:
    for number in range(200):
        await one.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
    while True:
        await one.recv()


async def test_a_client_that_sends_too_much_is_closed() -> None:
    async with emulator_sockets() as at, at.connect("/public/ws") as one:
        with pytest.raises(ConnectionClosed) as caught:
            await flood(one)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008


async def ping_until_cut(raw: trio.SocketStream, host: Host) -> None:
    while True:
        buy(host)
        await raw.send_all(b"\x89\x80\0\0\0\0")
        await trio.sleep(0.001)


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.emulator.hub.QUEUED_MAX", 20)
    async with emulator_sockets(send_buffer=4_096) as at:
        names = "/".join(f"{symbol.lower()}@depth20@{speed}ms" for symbol in at.host.listings for speed in (0, 100))
        raw = await trio.open_tcp_stream("127.0.0.1", at.port)
        async with raw:
            head = f"GET /public/stream?streams={names} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
            head += "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            await raw.send_all(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
            assert b" 101 " in await raw.receive_some()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            with pytest.raises(trio.BrokenResourceError):
                await ping_until_cut(raw, at.host)


async def test_requests_are_answered_with_their_id() -> None:
    async with emulator_sockets() as at, at.connect("/ws-fapi/v1") as one:
        reply = await ask(one, {"id": "a", "method": "order.place", "params": {"quantity": 1.25, "side": "BUY"}})
        assert reply["result"] == {"method": "order.place", "quantity": "1.25", "side": "BUY"}
        assert (reply["id"], reply["status"], reply["rateLimits"][0]["count"]) == ("a", 200, 5)
        refused = await ask(one, {"id": None, "method": "refused"})
        assert (refused["status"], refused["error"]["code"]) == (400, -2011)
        quiet = await ask(one, {"id": 3, "method": "order.place", "params": {"returnRateLimits": False}})
        assert "rateLimits" not in quiet
        unreadable = await ask(one, {"id": 4})
        assert (unreadable["id"], unreadable["status"], unreadable["error"]["code"]) == (4, 400, -1135)


async def test_limits_are_not_told_where_the_address_says_so() -> None:
    async with emulator_sockets() as at, at.connect("/ws-fapi/v1?returnRateLimits=false") as one:
        assert "rateLimits" not in await ask(one, {"id": 1, "method": "order.place"})
        asked = await ask(one, {"id": 1, "method": "order.place", "params": {"returnRateLimits": True}})
        assert "rateLimits" in asked


async def test_a_session() -> None:
    async with emulator_sockets() as at, at.connect("/ws-fapi/v1") as one:
        before = (await ask(one, {"id": 1, "method": "session.status"}))["result"]
        assert (before["apiKey"], before["authorizedSince"], before["returnRateLimits"]) == (None, None, True)
        assert (await ask(one, {"id": 2, "method": "session.logon", "params": {"apiKey": "other"}}))["status"] == 401
        on = (await ask(one, {"id": 3, "method": "session.logon", "params": {"apiKey": "KEY"}}))["result"]
        assert (on["apiKey"], on["authorizedSince"]) == ("KEY", at.gate.now_ms)
        await ask(one, {"id": 4, "method": "order.place"})
        off = (await ask(one, {"id": 5, "method": "session.logout"}))["result"]
        assert off["apiKey"] is None
        await ask(one, {"id": 6, "method": "order.place"})
        assert [login and login.api_key for login in at.gate.logins] == ["KEY", None]


async def test_a_request_that_waits_holds_no_other_up_and_keeps_its_place() -> None:
    async with emulator_sockets() as at, at.connect("/ws-fapi/v1") as one:
        at.gate.waits["slow"] = trio.Event()
        for number in range(40):
            await one.send(json.dumps({"id": number, "method": "slow" if number % 4 == 0 else "fast"}))
        quick = [json.loads(await one.recv())["id"] for _ in range(30)]
        assert quick == [number for number in range(40) if number % 4]
        at.gate.waits["slow"].set()
        assert sorted([json.loads(await one.recv())["id"] for _ in range(10)]) == list(range(0, 40, 4))
        assert [method for method, _ in at.gate.asked] == [
            "slow" if number % 4 == 0 else "fast" for number in range(40)
        ]


async def test_a_request_without_an_answer_cuts_or_stays_silent() -> None:
    async with emulator_sockets() as at, at.connect("/ws-fapi/v1") as one:
        await one.send('{"id": 1, "method": "SILENCE"}')
        assert (await ask(one, {"id": 2, "method": "order.place"}))["id"] == 2
        await one.send('{"id": 3, "method": "CUT"}')
        with pytest.raises(ConnectionClosed) as caught:
            await one.recv()
        assert caught.value.rcvd is None


async def test_a_handshake_may_cost_too_much() -> None:
    async with emulator_sockets() as at:
        at.gate.refusal = HttpResponse(429, b'{"code":-1003,"msg":"Too many requests."}', (("Retry-After", "7"),))
        with pytest.raises(InvalidStatus) as caught:
            await at.connect("/ws-fapi/v1").__aenter__()
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "7"


async def test_no_more_handshakes_than_the_venue_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.emulator.ws_server.CONNECTS_MAX", 2)
    async with emulator_sockets() as at, at.connect("/public/ws"), at.connect("/market/ws"):
        with pytest.raises(InvalidStatus) as caught:
            await at.connect("/public/ws").__aenter__()
        assert caught.value.response.status_code == 429


async def test_a_connection_is_cut_without_goodbye() -> None:
    async with emulator_sockets() as at, at.connect("/public/ws") as one, at.connect("/market/ws") as other:
        await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await ask(other, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
        at.faults.add(rules_of({"on": "connection", "kind": "disconnect", "route": "public"}))
        with pytest.raises(ConnectionClosed) as caught:
            await one.recv()
        assert caught.value.rcvd is None
        await ask(other, {"method": "LIST_SUBSCRIPTIONS", "id": 2})


async def test_a_dead_half_answers_nothing_and_stays_open() -> None:
    async with emulator_sockets() as at, at.connect("/public/ws/btcusdt@bookTicker", close_timeout=0.1) as one:
        await next_event(one, "bookTicker")
        at.faults.add(rules_of({"on": "connection", "kind": "half_open", "route": "public"}))
        # What was under way still comes. Were the connection alive, this would never end.
        while await comes(one):
            pass
        pong = await one.ping()
        book = at.host.listings["BTCUSDT"].id
        said = at.host.tape.of(book).quote
        while at.host.tape.of(book).quote == said:
            await trio.sleep(0.05)
        assert not await comes(one)
        assert not pong.is_set()


async def comes(one: ClientConnection) -> bool:
    """Return whether a frame comes within a second."""
    with trio.move_on_after(1) as wait:
        await one.recv()
    return not wait.cancelled_caught


async def test_maintenance_refuses_handshakes() -> None:
    async with emulator_sockets() as at:
        at.faults.add(rules_of({"on": "venue", "kind": "maintenance", "for_s": 600}))
        with pytest.raises(InvalidStatus) as caught:
            await at.connect("/public/ws").__aenter__()
        assert caught.value.response.status_code == 503


async def test_events_are_dropped_and_repeated() -> None:
    async with emulator_sockets() as at:
        at.faults.add(
            rules_of(
                {
                    "faults": [
                        {"on": "stream", "kind": "duplicate", "stream": "btcusdt@bookTicker"},
                        {"on": "stream", "kind": "drop", "stream": "ethusdt@bookTicker"},
                    ]
                }
            )
        )
        async with at.connect("/public/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker") as one:
            events = await hear(one, 8)
    assert [event["stream"] for event in events] == ["btcusdt@bookTicker"] * 8
    assert [event["data"]["u"] for event in events[::2]] == [event["data"]["u"] for event in events[1::2]]


@pytest.mark.parametrize(
    ("fault", "result"), [({"kind": "gap", "events": 2}, SyncResult.GAP), ({"kind": "crossed"}, SyncResult.CROSSED)]
)
async def test_a_book_that_faults_bend_is_found_out(fault: dict[str, object], result: SyncResult) -> None:
    async with emulator_sockets() as at, at.connect("/public/ws/btcusdt@depth@100ms") as one:
        spec = at.host.listings["BTCUSDT"].spec
        sync, decoder = BookSync(SequenceRule.FUTURES), BinanceDecoder({"BTCUSDT": spec})
        sync.on_delta(await delta(one, decoder))
        shot = at.host.book(spec.id)
        assert shot is not None
        sync.on_snapshot(shot)
        while not sync.is_usable:
            sync.on_delta(await delta(one, decoder))
        at.faults.add(rules_of({"on": "stream", "stream": "btcusdt@depth*", "times": 1, **fault}))
        while (found := sync.on_delta(await delta(one, decoder))) is SyncResult.APPLIED:
            pass
        assert found is result


async def delta(connection: ClientConnection, decoder: BinanceDecoder) -> BookDelta:
    message = decoder.decode(await connection.recv(decode=False))
    assert isinstance(message, BookDelta)
    return message


async def test_a_user_event_that_is_delayed_comes_after_its_time() -> None:
    async with emulator_sockets() as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        late = {"on": "stream", "stream": "user", "event": "ACCOUNT_UPDATE", "kind": "reorder", "delay_ms": 300}
        at.faults.add(rules_of(late))
        async with at.connect(f"/private/ws/{key}") as one:
            await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
            buy(at.host)
            assert [event["e"] for event in await hear(one, 4)] == [
                "ORDER_TRADE_UPDATE",
                "TRADE_LITE",
                "ORDER_TRADE_UPDATE",
                "ACCOUNT_UPDATE",
            ]


async def test_spot_serves_everything_on_one_address() -> None:
    async with emulator_sockets(HostSettings(venue="spot")) as at:
        key = at.listen_keys.create("api key", at.host.now() // 1_000_000)
        async with at.connect(f"/stream?streams={key}/btcusdt@bookTicker/btcusdt@depth@100ms") as one:
            await ask(one, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
            buy(at.host)
            heard: dict[str, set[object]] = {}
            while len(heard) < 3 or not heard[key] >= {"executionReport", "outboundAccountPosition"}:
                [event] = await hear(one, 1)
                heard.setdefault(event["stream"], set()).add(event["data"].get("e"))
        assert heard["btcusdt@bookTicker"] == {None}
        assert heard["btcusdt@depth@100ms"] == {"depthUpdate"}


async def test_where_time_runs_fast_streams_keep_the_venues_beat() -> None:
    settings = HostSettings(speed=50.0, pace=SyntheticPace(step_ns=500_000_000))
    async with emulator_sockets(settings) as at, at.connect("/market/ws/btcusdt@markPrice@1s/btcusdt@kline_1m") as one:
        events = await hear(one, 400)
    marks = [event["E"] for event in events if event["e"] == "markPriceUpdate"]
    assert all(later // 1_000 - earlier // 1_000 >= 1 for earlier, later in pairwise(marks))
    closed = [event["k"]["t"] for event in events if event["e"] == "kline" and event["k"]["x"]]
    assert len(closed) >= 1
    assert all(later - earlier == 60_000 for earlier, later in pairwise(closed))


async def test_user_events_by_the_web_socket_api() -> None:
    async with emulator_sockets(HostSettings(venue="spot")) as at, at.connect("/ws-api/v3") as one:
        method = "userDataStream.subscribe.signature"
        assert (await ask(one, {"id": 1, "method": method}))["result"] == {"subscriptionId": 0}
        assert (await ask(one, {"id": 2, "method": method}))["result"] == {"subscriptionId": 1}
        listed = await ask(one, {"id": 3, "method": "session.subscriptions"})
        assert listed["result"] == [{"subscriptionId": 0}, {"subscriptionId": 1}]
        ended = await ask(one, {"id": 4, "method": "userDataStream.unsubscribe", "params": {"subscriptionId": 0}})
        assert ended["result"] == {}
        buy(at.host)
        events = await hear(one, 3)
    assert {event["subscriptionId"] for event in events} == {1}
    kinds = sorted(event["event"]["e"] for event in events)
    assert kinds == ["executionReport", "executionReport", "outboundAccountPosition"]


async def test_a_connection_ends_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.emulator.ws_server.LIFETIME_S", 0.1)
    async with emulator_sockets() as at, at.connect("/market/ws") as one:
        with pytest.raises(ConnectionClosed) as caught:
            await one.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
