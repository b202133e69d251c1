"""Names of streams, websocket addresses and subscription messages.

Names and speeds: USDS-M futures "Websocket Market Streams" of developers.binance.com; replies: "Live Subscribing/
Unsubscribing to streams" there.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.emulator.streams import (
    MESSAGES_PER_SECOND_MAX,
    STREAMS_MAX,
    Address,
    Kind,
    Route,
    Stream,
    Subscriptions,
    parse_address,
    parse_stream,
)

BTC = "BTCUSDT"
NAMES = {
    "btcusdt@bookTicker": Stream(Kind.BOOK_TICKER, BTC),
    "!bookTicker": Stream(Kind.BOOK_TICKER, speed_ms=5_000),
    "btcusdt@depth": Stream(Kind.DEPTH, BTC, 250),
    "btcusdt@depth@100ms": Stream(Kind.DEPTH, BTC, 100),
    "btcusdt@depth@500ms": Stream(Kind.DEPTH, BTC, 500),
    "btcusdt@depth@0ms": Stream(Kind.DEPTH, BTC, 0),
    "btcusdt@depth5": Stream(Kind.PARTIAL_DEPTH, BTC, 250, 5),
    "btcusdt@depth20@100ms": Stream(Kind.PARTIAL_DEPTH, BTC, 100, 20),
    "btcusdt@rpiDepth@500ms": Stream(Kind.RPI_DEPTH, BTC, 500),
    "btcusdt@aggTrade": Stream(Kind.AGG_TRADE, BTC),
    "btcusdt@trade": Stream(Kind.TRADE, BTC),
    "btcusdt@markPrice": Stream(Kind.MARK_PRICE, BTC, 3_000),
    "btcusdt@markPrice@3s": Stream(Kind.MARK_PRICE, BTC, 3_000),
    "btcusdt@markPrice@1s": Stream(Kind.MARK_PRICE, BTC, 1_000),
    "!markPrice@arr": Stream(Kind.MARK_PRICE, speed_ms=3_000),
    "!markPrice@arr@1s": Stream(Kind.MARK_PRICE, speed_ms=1_000),
    "btcusdt@kline_1m": Stream(Kind.KLINE, BTC, 250, interval="1m"),
    "btcusdt@kline_1M": Stream(Kind.KLINE, BTC, 250, interval="1M"),
    "btcusdt_perpetual@continuousKline_4h": Stream(
        Kind.CONTINUOUS_KLINE, BTC, 250, interval="4h", contract="PERPETUAL"
    ),
    "btcusdt_current_quarter@continuousKline_1d": Stream(
        Kind.CONTINUOUS_KLINE, BTC, 250, interval="1d", contract="CURRENT_QUARTER"
    ),
    "btcusdt@ticker": Stream(Kind.TICKER, BTC, 2_000),
    "!ticker@arr": Stream(Kind.TICKER, speed_ms=1_000),
    "btcusdt@miniTicker": Stream(Kind.MINI_TICKER, BTC, 2_000),
    "!miniTicker@arr": Stream(Kind.MINI_TICKER, speed_ms=1_000),
    "btcusdt@forceOrder": Stream(Kind.FORCE_ORDER, BTC, 1_000),
    "!forceOrder@arr": Stream(Kind.FORCE_ORDER, speed_ms=1_000),
    "!contractInfo": Stream(Kind.CONTRACT_INFO),
    "btcdomusdt@compositeIndex": Stream(Kind.COMPOSITE_INDEX, "BTCDOMUSDT", 1_000),
    "!assetIndex@arr": Stream(Kind.ASSET_INDEX, speed_ms=1_000),
    "adausd@assetIndex": Stream(Kind.ASSET_INDEX, "ADAUSD", 1_000),
    "tradingSession": Stream(Kind.TRADING_SESSION, speed_ms=1_000),
    "btcusdt_261225@bookTicker": Stream(Kind.BOOK_TICKER, "BTCUSDT_261225"),
}
PUBLIC = {"btcusdt@bookTicker", "!bookTicker", "btcusdt@rpiDepth@500ms", "btcusdt_261225@bookTicker"}


@pytest.mark.parametrize("name", NAMES)
def test_every_documented_stream_has_its_meaning(name: str) -> None:
    assert parse_stream(name) == NAMES[name]


def test_symbols_may_be_in_either_case() -> None:
    assert parse_stream("BTCUSDT@aggTrade") == parse_stream("btcusdt@aggTrade")


@pytest.mark.parametrize(
    "name",
    ["", "0", "@", "btcusdt", "btcusdt@", "@depth", "btcusdt@depth7", "btcusdt@depth@99ms", "btcusdt@kline_7m",
     "btcusdt_weekly@continuousKline_1m", "!depth", "btcusdt@markPrice@2s", "btcusdt@depth5@100ms@100ms"],
)  # fmt: skip
def test_other_names_mean_nothing(name: str) -> None:
    assert parse_stream(name) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_class_serves_its_own_streams_only(name: str) -> None:
    stream = NAMES[name]
    is_public = name in PUBLIC or "depth" in name
    is_single = stream.kind is Kind.TRADE
    assert stream.is_served_by(Route.PUBLIC) == (is_public or is_single)
    assert stream.is_served_by(Route.MARKET) == (not is_public)
    assert stream.is_served_by(Route.LEGACY) == (is_public or is_single)
    assert not stream.is_served_by(Route.PRIVATE)
    assert stream.is_served_by(Route.SPOT)


ADDRESSES = {
    "/public/ws": Address(Route.PUBLIC, False),
    "/market/stream": Address(Route.MARKET, True),
    "/public/ws/btcusdt@depth/ethusdt@depth": Address(Route.PUBLIC, False, ("btcusdt@depth", "ethusdt@depth")),
    "/market/stream?streams=btcusdt@aggTrade/!ticker@arr": Address(
        Route.MARKET, True, ("btcusdt@aggTrade", "!ticker@arr")
    ),
    "/market/stream?streams=btcusdt%40aggTrade%2F!ticker%40arr": Address(
        Route.MARKET, True, ("btcusdt@aggTrade", "!ticker@arr")
    ),
    "/ws/btcusdt@depth": Address(Route.LEGACY, False, ("btcusdt@depth",)),
    "/public/ws/0": Address(Route.PUBLIC, False, ("0",)),
    "/private/ws/KEY": Address(Route.PRIVATE, False, ("KEY",)),
    "/private/ws?listenKey=KEY": Address(Route.PRIVATE, False, ("KEY",)),
    "/private/ws?listenKey=KEY&events=ORDER_TRADE_UPDATE/ACCOUNT_UPDATE": Address(
        Route.PRIVATE, False, ("KEY",), {"KEY": frozenset({"ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"})}
    ),
    "/private/stream?listenKey=A&events=X&listenKey=B": Address(
        Route.PRIVATE, True, ("A", "B"), {"A": frozenset({"X"})}
    ),
}


@pytest.mark.parametrize("target", ADDRESSES)
def test_addresses(target: str) -> None:
    assert parse_address(target) == ADDRESSES[target]


@pytest.mark.parametrize("target", ["/", "", "/public", "/elsewhere/ws", "/private/private/ws", "/public/ws-fapi/v1"])
def test_addresses_where_nothing_is_served(target: str) -> None:
    assert parse_address(target) is None


def test_spot_has_one_address_for_everything() -> None:
    assert parse_address("/ws/btcusdt@trade", is_spot=True) == Address(Route.SPOT, False, ("btcusdt@trade",))
    assert parse_address("/public/ws", is_spot=True) is None


def ask(subscriptions: Subscriptions, method: str, *params: object, number: object = 1) -> dict[str, object]:
    return subscriptions.handle(json.dumps({"method": method, "params": list(params), "id": number}))


def test_a_conversation() -> None:
    mine = Subscriptions(Route.MARKET, False)
    assert ask(mine, "SUBSCRIBE", "btcusdt@aggTrade", "btcusdt@depth") == {"result": None, "id": 1}
    assert ask(mine, "LIST_SUBSCRIPTIONS") == {"result": ["btcusdt@aggTrade", "btcusdt@depth"], "id": 1}
    assert ask(mine, "UNSUBSCRIBE", "btcusdt@depth", number="a-312") == {"result": None, "id": "a-312"}
    assert ask(mine, "UNSUBSCRIBE", "never@asked") == {"result": None, "id": 1}
    assert list(mine.names) == ["btcusdt@aggTrade"]
    assert ask(mine, "GET_PROPERTY", "combined") == {"result": False, "id": 1}
    assert ask(mine, "SET_PROPERTY", "combined", True) == {"result": None, "id": 1}
    assert mine.is_combined


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{", 2, "Invalid JSON"),
        (b"\xff\xfe", 2, "Invalid JSON"),
        ("[]", 2, "Invalid request"),
        ('{"id": 1}', 2, "missing field `method`"),
        ('{"method": "subscribe", "id": 1}', 2, "unknown variant `subscribe`, expected one of `SUBSCRIBE`"),
        ('{"method": ["SUBSCRIBE"], "id": 1}', 2, "unknown variant"),
        ('{"method": "SUBSCRIBE", "params": {}, "id": 1}', 2, "params must be an array"),
        ('{"method": "SUBSCRIBE", "params": [1], "id": 1}', 2, "stream names must be strings"),
        ('{"method": "SUBSCRIBE", "params": [], "id": 1.5}', 2, "request ID must be an unsigned integer"),
        ('{"method": "SUBSCRIBE", "params": [], "id": true}', 2, "request ID must be an unsigned integer"),
        ('{"method": "GET_PROPERTY", "params": [], "id": 1}', 2, "property name must be a string"),
        ('{"method": "GET_PROPERTY", "params": ["other"], "id": 1}', 0, "Unknown property"),
        ('{"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}', 1, "expected Boolean"),
    ],
)
def test_refusals(text: str | bytes, code: int, words: str) -> None:
    mine = Subscriptions(Route.MARKET, False)
    error = mine.handle(text)["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert words in error["msg"]
    assert not mine.names


def test_no_more_streams_than_the_venue_allows() -> None:
    mine = Subscriptions(Route.MARKET, False)
    names = [f"s{number}usdt@aggTrade" for number in range(STREAMS_MAX)]
    assert ask(mine, "SUBSCRIBE", *names)["result"] is None
    assert "error" in ask(mine, "SUBSCRIBE", "one@more")
    assert ask(mine, "SUBSCRIBE", names[0])["result"] is None
    assert len(mine.names) == STREAMS_MAX


def test_an_eleventh_message_within_a_second_is_too_many() -> None:
    mine = Subscriptions(Route.MARKET, False)
    second = 1_000_000_000
    assert not any(mine.is_flooding(7 * second + number) for number in range(MESSAGES_PER_SECOND_MAX))
    assert mine.is_flooding(8 * second - 1)
    assert not mine.is_flooding(8 * second)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
METHODS = st.sampled_from(["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"])
REQUESTS = st.fixed_dictionaries({}, optional={"id": JSON, "method": JSON | METHODS, "params": JSON}).map(json.dumps)


@given(st.text() | st.binary() | REQUESTS | st.just("[" * 100_000))
def test_whatever_is_sent_gets_an_answer(message: str | bytes) -> None:
    assert set(Subscriptions(Route.PUBLIC, True).handle(message)) & {"result", "error"}


@given(st.text(max_size=80).map("/{}".format))
def test_whatever_is_asked_for_is_an_address_or_nothing(target: str) -> None:
    found = parse_address(target)
    assert found is None or found.route in Route


@given(st.text(max_size=80))
def test_whatever_is_named_is_a_stream_or_nothing(name: str) -> None:
    found = parse_stream(name)
    assert found is None or found.kind in Kind
