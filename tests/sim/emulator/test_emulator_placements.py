"""The emulator tells who asks for an order twice, whatever was answered."""

import json

import pytest

from sim.emulator import placements
from sim.emulator.http_server import HttpRequest
from sim.emulator.placements import PATH, Placements, answer

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.010", "newClientOrderId": "a"}


def told(found: Placements) -> dict[str, tuple[int, bool]]:
    return {row["clientOrderId"]: (row["times"], row["differs"]) for row in found.listing()}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/fapi/v1/order"), ("WS", "order.place"), ("POST", "/api/v3/order"), ("WS", "order.cancelReplace")],
)
def test_a_placement_is_counted_by_its_client_id(method: str, path: str) -> None:
    found = Placements()
    found.note(method, path, ORDER)
    assert told(found) == {"a": (1, False)}


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/fapi/v1/order"), ("PUT", "/fapi/v1/order"), ("POST", "/fapi/v1/order/test"), ("WS", "order.cancel")],
)
def test_what_places_nothing_is_not_counted(method: str, path: str) -> None:
    found = Placements()
    found.note(method, path, ORDER)
    assert told(found) == {}


def test_asked_twice_is_the_same_order_whatever_it_is_signed_with_and_whichever_way_it_came() -> None:
    found = Placements()
    found.note("WS", "order.place", ORDER | {"timestamp": "1", "signature": "x", "apiKey": "k"})
    found.note("POST", "/fapi/v1/order", ORDER | {"timestamp": "2", "signature": "y", "recvWindow": "5000"})
    assert told(found) == {"a": (2, False)}


def test_other_terms_under_the_same_id_are_told_for_good() -> None:
    found = Placements()
    for quantity in ("0.010", "0.020", "0.010"):
        found.note("WS", "order.place", ORDER | {"quantity": quantity})
    assert told(found) == {"a": (3, True)}


def test_each_order_of_a_batch_counts_and_conditional_ones_by_their_own_id() -> None:
    found = Placements()
    batch = json.dumps([ORDER, ORDER | {"newClientOrderId": "b"}, "nonsense"])
    found.note("POST", "/fapi/v1/batchOrders", {"batchOrders": batch})
    found.note("POST", "/fapi/v1/batchOrders", {"batchOrders": "["})
    found.note("POST", "/fapi/v1/algoOrder", {"symbol": "BTCUSDT", "clientAlgoId": "c"})
    found.note("POST", "/fapi/v1/order", {"symbol": "BTCUSDT"})
    assert told(found) == {"a": (1, False), "b": (1, False), "c": (1, False)}


def test_the_oldest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placements, "PLACEMENTS_MAX", 2)
    found = Placements()
    for name in "abc":
        found.note("WS", "order.place", ORDER | {"newClientOrderId": name})
    assert list(told(found)) == ["b", "c"]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 405), ("DELETE", 405)])
def test_they_can_only_be_read(method: str, status: int) -> None:
    found = Placements()
    found.note("WS", "order.place", ORDER)
    said = answer(found, HttpRequest(method, PATH, "", {}, b"", "127.0.0.1"))
    assert said.status == status
    if status == 200:
        assert json.loads(said.body) == {"placements": [{"clientOrderId": "a", "times": 1, "differs": False}]}
