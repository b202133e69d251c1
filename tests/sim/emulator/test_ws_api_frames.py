"""Requests of the WebSocket API: how they are read and how replies are framed. Sources in sim/emulator/ws_api.py."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.emulator.gate import WsAnswer
from sim.emulator.ws_api import ApiConnection, ApiRequest, UnreadableError, read_request

LIMITS = [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300, "count": 1}]


def test_numbers_and_flags_keep_the_digits_that_were_signed() -> None:
    text = '{"id": 7, "method": "order.place", "params": {"price": 0.10, "quantity": "1.50", "timestamp": 1591702613943, "reduceOnly": false, "ids": [1, "a"], "none": null}}'  # noqa: E501
    assert read_request(text) == ApiRequest(
        7,
        "order.place",
        {
            "price": "0.10",
            "quantity": "1.50",
            "timestamp": "1591702613943",
            "reduceOnly": "false",
            "ids": '[1, "a"]',
        },
    )


@pytest.mark.parametrize("number", [None, 0, -3, "c3d4", "x" * 36])
def test_ids_are_numbers_words_or_nothing(number: object) -> None:
    assert read_request(json.dumps({"id": number, "method": "ping"})).id == number


@pytest.mark.parametrize(
    ("text", "words", "number"),
    [
        ("{", "Invalid JSON", None),
        ("[]", "Invalid JSON", None),
        (b"\xff", "Invalid JSON", None),
        ('{"id": 5}', "Invalid 'method'", 5),
        ('{"id": 5, "method": 3}', "Invalid 'method'", 5),
        ('{"id": 5, "method": ""}', "Invalid 'method'", 5),
        ('{"id": 5, "method": "a", "params": []}', "Invalid 'params' in JSON request; expected an object.", 5),
        ('{"id": 5.5, "method": "a"}', "Invalid 'id'", None),
        ('{"id": true, "method": "a"}', "Invalid 'id'", None),
        (json.dumps({"id": "x" * 37, "method": "a"}), "Invalid 'id'", None),
    ],
)
def test_what_is_no_request(text: str | bytes, words: str, number: object) -> None:
    with pytest.raises(UnreadableError, match=words) as caught:
        read_request(text)
    assert caught.value.id == number


def test_replies_tell_the_limits_unless_not_wanted() -> None:
    fine = WsAnswer(200, {"orderId": 1}, LIMITS)
    assert json.loads(ApiConnection.frame("a", fine, tells_limits=True)) == {
        "id": "a", "status": 200, "result": {"orderId": 1}, "rateLimits": LIMITS,
    }  # fmt: skip
    bad = WsAnswer(400, {"code": -2011, "msg": "Unknown order sent."}, LIMITS)
    assert json.loads(ApiConnection.frame(None, bad, tells_limits=False)) == {
        "id": None, "status": 400, "error": {"code": -2011, "msg": "Unknown order sent."},
    }  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries({}, optional={"id": JSON, "method": JSON | st.just("a"), "params": JSON}).map(
    json.dumps
)
DEEP = ("[" * 100_000, '{"id": 1, "method": "a", "params": {"a": ' + "[" * 100_000)


@given(st.text() | st.binary() | REQUESTS | st.sampled_from(DEEP))
def test_whatever_is_sent_is_a_request_or_refused(frame: str | bytes) -> None:
    try:
        found = read_request(frame)
    except UnreadableError:
        return
    assert found.method
