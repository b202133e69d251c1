"""The whole emulator as a process: orders, streams and every fault, over real sockets."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from emulated import emulator
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from venues.binance.sign import Signer, signed_query, signed_ws_params, signer_of

SYMBOL = "BTCUSDT"
PATIENCE_S = 60.0
ED25519 = Ed25519PrivateKey.generate()
_numbers = count(1)


class Client:
    """A client of the emulator, as plain as can be."""

    def __init__(self, told: dict[str, str], http: httpx.Client) -> None:
        self.told = told
        self.http = http
        self.signer: Signer = signer_of(told["secret"])
        self.skew_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.skew_ms

    def raw(self, method: str, path: str, params: dict[str, str], timeout_s: float = PATIENCE_S) -> httpx.Response:
        pairs = [*params.items(), ("recvWindow", "5000"), ("timestamp", str(self.now_ms()))]
        url = f"{path}?{signed_query(pairs, self.signer)}"
        headers = {"X-MBX-APIKEY": self.told["api_key"]}
        return self.http.request(method, url, headers=headers, timeout=timeout_s)

    def call(self, method: str, path: str, **params: str) -> Any:
        return self.raw(method, path, params).json()

    def order(self, *, timeout_s: float = PATIENCE_S, **params: str) -> httpx.Response:
        """Rest a buy far below the market."""
        bid = float(self.http.get("/fapi/v1/ticker/bookTicker", params={"symbol": SYMBOL}).json()["bidPrice"])
        wanted = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTX", "quantity": "0.01"}
        price = f"{bid * 0.97:.0f}"
        wanted = {"symbol": SYMBOL, "price": price, **wanted, **params}
        return self.raw("POST", "/fapi/v1/order", wanted, timeout_s)

    def of(self, client_id: str) -> Any:
        return self.call("GET", "/fapi/v1/order", symbol=SYMBOL, origClientOrderId=client_id)

    def cancel(self, client_id: str) -> Any:
        return self.call("DELETE", "/fapi/v1/order", symbol=SYMBOL, origClientOrderId=client_id)

    @contextmanager
    def faults(self, *documents: dict[str, object]) -> Iterator[None]:
        told = self.http.post("/emulator/faults", json={"faults": list(documents)})
        assert told.status_code == 200, told.text
        try:
            yield
        finally:
            for number in told.json()["ids"]:
                assert self.http.delete(f"/emulator/faults/{number}").status_code == 200

    @contextmanager
    def user_stream(self) -> Iterator[ClientConnection]:
        key = self.http.post("/fapi/v1/listenKey", headers={"X-MBX-APIKEY": self.told["api_key"]}).json()["listenKey"]
        with connect(f"{self.told['ws_private']}/ws/{key}") as socket:
            yield socket


def fresh() -> str:
    return f"whole-{next(_numbers)}"


def until(socket: ClientConnection, is_it: Callable[[Any], bool]) -> Any:
    """Return the first event that is it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        event = json.loads(socket.recv(timeout=max(0.0, deadline - time.monotonic())))
        if is_it(event):
            return event


def heard(socket: ClientConnection) -> list[Any]:
    """Return what comes until much has come. Raises TimeoutError where nothing comes for a second."""
    return [socket.recv(timeout=1.0) for _ in range(1_000)]


def is_order_event(client_id: str) -> Callable[[Any], bool]:
    return lambda event: event.get("e") == "ORDER_TRADE_UPDATE" and event["o"]["c"] == client_id


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emulator")
    pem = folder / "key.pem"
    pem.write_bytes(ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with (
        emulator(folder, "whole", "--public-key", str(pem)) as running,
        httpx.Client(base_url=running.told["rest"], timeout=PATIENCE_S) as http,
    ):
        yield Client(running.told, http)


@pytest.fixture
def ed25519() -> Signer:
    return signer_of(ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def test_an_order_lives_and_ends(client):
    name = fresh()
    placed = client.order(newClientOrderId=name)
    assert placed.status_code == 200, placed.text
    assert placed.headers["content-type"] == "application/json;charset=UTF-8"
    assert int(placed.headers["x-mbx-order-count-10s"]) >= 1
    assert int(placed.headers["x-mbx-used-weight-1m"]) >= 1
    assert client.of(name)["status"] == "NEW"
    assert name in [one["clientOrderId"] for one in client.call("GET", "/fapi/v1/openOrders", symbol=SYMBOL)]
    assert client.cancel(name)["status"] == "CANCELED"
    assert client.cancel(name)["code"] == -2011
    assert client.of(name)["status"] == "CANCELED"


def test_the_websocket_api_takes_the_same_orders(client, ed25519):
    name = fresh()
    with connect(client.told["ws_api"]) as socket:

        def ask(method: str, params: dict[str, object]) -> Any:
            socket.send(json.dumps({"id": name, "method": method, "params": params}))
            return until(socket, lambda told: told.get("id") == name)

        logon = signed_ws_params({"timestamp": client.now_ms()}, client.told["api_key"], ed25519)
        assert ask("session.logon", dict(logon))["status"] == 200
        before = int(client.http.get("/fapi/v1/ping").headers["x-mbx-used-weight-1m"])
        wanted = {"symbol": SYMBOL, "origClientOrderId": name, "timestamp": client.now_ms()}
        told = ask("order.status", wanted)
        assert (told["status"], told["error"]["code"]) == (400, -2013)
        [used] = [one["count"] for one in told["rateLimits"] if one["rateLimitType"] == "REQUEST_WEIGHT"]
        # The next minute may have begun between the two.
        assert used == before + 1 or used == 1
        assert client.order(newClientOrderId=name).status_code == 200
        told = ask("order.cancel", {**wanted, "timestamp": client.now_ms()})
        assert told["result"]["status"] == "CANCELED"


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("kind", ["http_503", "http_408", "drop"])
def test_an_outcome_that_is_not_told(client, kind, executed):
    name = fresh()
    fault = {"on": "request", "kind": kind, "executed": executed, "method": "POST", "path": "/fapi/v1/order"}
    if kind == "http_503":
        fault["which"] = "unknown"
    with client.faults({**fault, "client_id": name}):
        if kind == "drop":
            with pytest.raises(httpx.RemoteProtocolError):
                client.order(newClientOrderId=name)
        else:
            told = client.order(newClientOrderId=name)
            assert told.status_code == int(kind[-3:])
            assert told.json()["code"] == (-1000 if kind == "http_503" else -1007)
    found = client.of(name)
    if executed:
        assert found["status"] == "NEW"
        assert client.cancel(name)["status"] == "CANCELED"
    else:
        assert found["code"] == -2013


@pytest.mark.parametrize("executed", [True, False])
def test_an_outcome_that_is_not_told_by_the_websocket_api(client, ed25519, executed):
    name = fresh()
    fault = {"on": "request", "kind": "http_503", "which": "unknown", "executed": executed, "client_id": name}
    with client.faults({**fault, "method": "WS", "path": "order.place"}), connect(client.told["ws_api"]) as socket:
        params = {
            "symbol": SYMBOL,
            "side": "SELL",
            "type": "MARKET",
            "quantity": "0.001",
            "newClientOrderId": name,
            "timestamp": client.now_ms(),
        }
        signed = signed_ws_params(params, client.told["api_key"], ed25519)
        socket.send(json.dumps({"id": 1, "method": "order.place", "params": dict(signed)}))
        told = json.loads(socket.recv(timeout=PATIENCE_S))
    assert (told["status"], told["error"]["code"]) == (503, -1000)
    found = client.of(name)
    assert found["status"] == "FILLED" if executed else found["code"] == -2013


def test_a_request_that_is_never_answered(client):
    name = fresh()
    fault = {"on": "request", "kind": "half_open", "executed": True, "client_id": name, "method": "POST"}
    with client.faults(fault), pytest.raises(httpx.ReadTimeout):
        client.order(timeout_s=0.5, newClientOrderId=name)
    assert client.cancel(name)["status"] == "CANCELED"


def test_a_ban_ends(client):
    with client.faults({"on": "request", "kind": "http_418", "times": 1, "retry_after_s": 1}):
        first = client.http.get("/fapi/v1/ping")
        assert (first.status_code, first.headers["retry-after"]) == (418, "1")
    deadline = time.monotonic() + PATIENCE_S
    while client.http.get("/fapi/v1/ping").status_code == 418:
        assert time.monotonic() < deadline
    assert client.http.get("/fapi/v1/ping").status_code == 200


def test_a_clock_that_is_off_is_found_by_asking_for_the_time(client):
    with client.faults({"on": "venue", "kind": "skew", "skew_ms": 20_000}):
        assert client.call("GET", "/fapi/v1/openOrders", symbol=SYMBOL)["code"] == -1021
        told = client.http.get("/fapi/v1/time").json()["serverTime"]
        client.skew_ms = told - client.now_ms()
        try:
            assert isinstance(client.call("GET", "/fapi/v1/openOrders", symbol=SYMBOL), list)
        finally:
            client.skew_ms = 0


def test_user_events_are_lost_and_doubled(client):
    lost, doubled = fresh(), fresh()
    documents = (
        {"on": "stream", "kind": "drop", "route": "private", "client_id": lost, "times": 1},
        {"on": "stream", "kind": "duplicate", "route": "private", "client_id": doubled, "times": 1},
    )
    with client.user_stream() as socket, client.faults(*documents):
        assert client.order(newClientOrderId=lost).status_code == 200
        assert client.cancel(lost)["status"] == "CANCELED"
        assert until(socket, is_order_event(lost))["o"]["x"] == "CANCELED"
        assert client.order(newClientOrderId=doubled).status_code == 200
        assert client.cancel(doubled)["status"] == "CANCELED"
        events = [until(socket, is_order_event(doubled))["o"]["x"] for _ in range(3)]
    assert events == ["NEW", "NEW", "CANCELED"]


def test_user_events_are_overtaken(client):
    name = fresh()
    document = {"on": "stream", "kind": "reorder", "delay_ms": 1_000, "client_id": name, "times": 1}
    with client.user_stream() as socket, client.faults(document):
        assert client.order(newClientOrderId=name).status_code == 200
        assert client.cancel(name)["status"] == "CANCELED"
        events = {until(socket, is_order_event(name))["o"]["x"] for _ in range(2)}
    # Which of the two comes first depends on how quick the machine is; that both come does not.
    assert events == {"NEW", "CANCELED"}


def test_listen_keys_expire(client):
    with client.user_stream() as socket, client.faults({"on": "venue", "kind": "listen_key_expiry", "times": 1}):
        assert until(socket, lambda event: event["e"] == "listenKeyExpired")["listenKey"]
        key = client.http.put("/fapi/v1/listenKey", headers={"X-MBX-APIKEY": client.told["api_key"]}).json()
        assert key["code"] == -1125


def test_a_gap_breaks_the_chain_of_a_book_once(client):
    document = {"on": "stream", "kind": "gap", "events": 2, "after": 1, "times": 1, "stream": "btcusdt@depth*"}
    with client.faults(document), connect(f"{client.told['ws_public']}/ws/btcusdt@depth@100ms") as socket:
        events = [until(socket, lambda event: event["e"] == "depthUpdate") for _ in range(4)]
    breaks = [after["pu"] != before["u"] for before, after in pairwise(events)]
    assert breaks == [True, False, False]


def test_a_ticker_is_crossed_once(client):
    document = {"on": "stream", "kind": "crossed", "times": 1, "stream": "btcusdt@bookTicker"}
    with client.faults(document), connect(f"{client.told['ws_public']}/ws/btcusdt@bookTicker") as socket:
        first, second = (until(socket, lambda event: event["e"] == "bookTicker") for _ in range(2))
    assert float(first["b"]) > float(first["a"])
    assert float(second["b"]) < float(second["a"])


def test_connections_are_cut_and_may_come_back(client):
    url = f"{client.told['ws_public']}/ws/btcusdt@depth@100ms"
    with connect(url) as public, client.user_stream() as private:
        until(public, lambda event: event["e"] == "depthUpdate")
        cut = {"on": "connection", "kind": "disconnect", "route": "public"}
        with client.faults(cut), pytest.raises(ConnectionClosed):
            until(public, lambda event: False)
        name = fresh()
        client.order(newClientOrderId=name)
        client.cancel(name)
        assert until(private, is_order_event(name))
    with connect(url) as again:
        until(again, lambda event: event["e"] == "depthUpdate")


def test_a_connection_is_dead_but_open(client):
    with connect(f"{client.told['ws_public']}/ws/btcusdt@depth@100ms", close_timeout=0.1) as socket:
        until(socket, lambda event: event["e"] == "depthUpdate")
        dead = {"on": "stream", "kind": "half_open", "stream": "btcusdt@depth*", "times": 1}
        with client.faults(dead), pytest.raises(TimeoutError):
            heard(socket)
        assert not socket.ping().wait(0.5)


def test_new_connections_are_refused(client):
    with client.faults({"on": "connection", "kind": "refuse", "route": "market"}):
        with pytest.raises(InvalidStatus) as caught:
            connect(f"{client.told['ws_market']}/ws/btcusdt@aggTrade")
        assert caught.value.response.status_code == 503
        with connect(f"{client.told['ws_public']}/ws/btcusdt@bookTicker"):
            pass


def test_maintenance_closes_everything_until_it_is_over(client):
    name = fresh()
    with connect(f"{client.told['ws_public']}/ws/btcusdt@depth@100ms") as socket:
        client.order(newClientOrderId=name)
        with client.faults({"on": "venue", "kind": "maintenance"}):
            with pytest.raises(ConnectionClosed):
                until(socket, lambda event: False)
            told = client.http.get("/fapi/v1/ping")
            assert (told.status_code, told.json()["msg"]) == (503, "Service Unavailable.")
            with pytest.raises(InvalidStatus):
                connect(client.told["ws_api"])
    assert client.of(name)["status"] == "NEW"
    client.cancel(name)
