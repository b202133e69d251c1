"""What the user stream of a futures account says. Recorded and documented events, then the cases the facts name."""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from venues.binance.errors import CodecError, CodecErrorReason
from venues.binance.spot_user_stream import SpotUserStream
from venues.binance.user_events import UserEvent
from venues.binance.user_stream import UsdmUserStream
from venues.model.account import MarginMode
from venues.model.fill import FillReason, Liquidity
from venues.model.order import PositionSide, Side
from venues.port import (
    AccountReport,
    Deleveraged,
    Liquidated,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    PositionReport,
    RejectReason,
    Report,
)

D = Decimal
MS = 1_000_000
P = "binance-usdm:BTCUSDT"


def stream() -> UsdmUserStream:
    return UsdmUserStream("binance-usdm", "a")


def tell(event: dict[str, Any], decoder: UsdmUserStream | None = None) -> tuple[Report, ...]:
    return (decoder or stream()).decode(json.dumps(event).encode()).reports


ORDER: dict[str, Any] = {
    "s": "BTCUSDT",
    "c": "desk-1",
    "S": "BUY",
    "o": "LIMIT",
    "f": "GTC",
    "q": "0.010",
    "p": "60000.10",
    "ap": "0",
    "x": "NEW",
    "X": "NEW",
    "i": 8886774,
    "l": "0",
    "z": "0",
    "L": "0",
    "T": 1568879465651,
    "t": 0,
    "m": False,
    "R": False,
    "ps": "BOTH",
    "er": "0",
}
T = 1568879465651 * MS
IDS = (T, "a", P, "desk-1")


def update(**changes: Any) -> dict[str, Any]:
    return {"e": "ORDER_TRADE_UPDATE", "E": 1568879465700, "T": 1568879465651, "o": {**ORDER, **changes}}


FILL = {
    "x": "TRADE",
    "X": "PARTIALLY_FILLED",
    "l": "0.004",
    "z": "0.004",
    "L": "60000.05",
    "t": 77,
    "n": "0.12",
    "N": "USDT",
}
BOOKED = OrderFilled(
    *IDS, "8886774", "77", Side.BUY, D("60000.05"), D("0.004"), Liquidity.TAKER, D("0.12"), "USDT", FillReason.TAKER
)

CHANGES: list[tuple[dict[str, Any], Report]] = [
    ({}, OrderAccepted(*IDS, "8886774")),
    ({"x": "CANCELED", "X": "CANCELED", "z": "0.004"}, OrderCanceled(*IDS, D("0.004"))),
    ({"x": "EXPIRED", "X": "EXPIRED", "f": "IOC", "er": "2"}, OrderExpired(*IDS, D(0))),
    ({"x": "EXPIRED", "X": "EXPIRED", "er": 4}, OrderExpired(*IDS, D(0))),
    ({"x": "EXPIRED", "X": "EXPIRED_IN_MATCH", "er": "1"}, OrderExpired(*IDS, D(0))),
    ({"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH", "er": "1"}, OrderExpired(*IDS, D(0))),
    ({"x": "AMENDMENT", "q": "0.020", "p": "60001"}, OrderModified(*IDS, D("0.020"), D(60001))),
    ({"x": "AMENDMENT", "X": "CANCELED", "z": "0.004"}, OrderCanceled(*IDS, D("0.004"))),
    (FILL, BOOKED),
]


@pytest.mark.parametrize(("changes", "report"), CHANGES)
def test_an_order_update(changes: dict[str, Any], report: Report):
    assert tell(update(**changes)) == (report,)


def test_a_maker_fill_without_a_fee_told():
    changes = {**FILL, "m": True, "n": None, "N": None, "ps": "SHORT"}
    (fill,) = tell(update(**changes))
    assert isinstance(fill, OrderFilled)
    assert (fill.liquidity, fill.reason, fill.fee, fill.fee_asset) == (Liquidity.MAKER, FillReason.QUEUE, D(0), "")
    assert fill.position_side is PositionSide.SHORT


# Facts C6: -5022 may also come as an EXPIRED event; other reasons to expire are none of taking (er 1, 4).
@pytest.mark.parametrize(("er", "is_rejection"), [("0", True), ("11", True), (11, True), ("4", False), ("1", False)])
def test_a_post_only_order_that_would_have_taken(er: str | int, is_rejection: bool):
    (report,) = tell(update(x="EXPIRED", X="EXPIRED", f="GTX", er=er))
    assert isinstance(report, OrderRejected) == is_rejection
    if isinstance(report, OrderRejected):
        assert report.reason is RejectReason.WOULD_TAKE


def test_a_post_only_order_with_fills_was_no_rejection():
    assert tell(update(x="EXPIRED", X="EXPIRED", f="GTX", z="0.004")) == (OrderExpired(*IDS, D("0.004")),)


def test_a_fill_is_told_once():
    decoder = stream()
    assert tell(update(**FILL), decoder) == (BOOKED,)
    assert tell(update(**FILL, ap="60000.05"), decoder) == ()
    assert decoder.repeats == 1
    # Another order's trade of the same number is another fill: a trade has two sides, and both may be ours.
    assert len(tell(update(**FILL, i=8886775), decoder)) == 1


def test_the_lite_trade_is_no_fill_yet():
    decoder = stream()
    lite = {
        "e": "TRADE_LITE", "E": 1, "T": 1, "s": "BTCUSDT", "c": "desk-1", "S": "BUY", "q": "0.010", "p": "60000.10",
        "i": 8886774, "l": "0.004", "L": "60000.05", "t": 77, "m": False,
    }  # fmt: skip
    assert tell(lite, decoder) == ()
    assert decoder.ignored == {"TRADE_LITE": 1}
    # The order update that follows brings it with its fee.
    assert tell(update(**FILL), decoder) == (BOOKED,)


FORCED = [
    ("autoclose-1234567890", "CALCULATED", FillReason.LIQUIDATION, Liquidity.TAKER, Liquidated),
    ("adl_autoclose", "CALCULATED", FillReason.ADL, Liquidity.NONE, Deleveraged),
    ("adl_autoclose-12", "TRADE", FillReason.ADL, Liquidity.NONE, Deleveraged),
    ("settlement_autoclose-9", "TRADE", FillReason.SETTLEMENT, Liquidity.NONE, None),
    ("delivery_autoclose-9", "TRADE", FillReason.SETTLEMENT, Liquidity.NONE, None),
]


@pytest.mark.parametrize(("client_id", "execution", "reason", "liquidity", "cause"), FORCED)
def test_the_venues_own_orders(
    client_id: str, execution: str, reason: FillReason, liquidity: Liquidity, cause: type[Report] | None
):
    decoder = stream()
    assert tell(update(c=client_id), decoder) == ()
    fill, *causes = tell(update(**{**FILL, "c": client_id, "x": execution}), decoder)
    assert isinstance(fill, OrderFilled)
    assert (fill.reason, fill.liquidity, fill.client_order_id) == (reason, liquidity, client_id)
    assert [type(one) for one in causes] == ([cause] if cause else [])


def test_what_is_known_of_a_liquidation():
    decoder = UsdmUserStream("binance-usdm", "a", lambda instrument: D("59990") if instrument == P else None)
    event = update(**{**FILL, "c": "autoclose-1", "x": "CALCULATED", "S": "SELL", "p": "59000"})
    assert tell(event, decoder)[1] == Liquidated(
        T, "a", P, Side.SELL, D("0.004"), D("59990"), D("60000.05"), D("59000"), D(0), D(0)
    )
    event = update(**{**FILL, "c": "autoclose-1", "x": "CALCULATED", "X": "NEW_INSURANCE", "t": 78})
    (_, taken_over) = tell(event, decoder)
    assert isinstance(taken_over, Liquidated)
    assert taken_over.taken_over_qty == D("0.004")


def test_the_account():
    event = {
        "e": "ACCOUNT_UPDATE",
        "E": 1564745798939,
        "T": 1564745798938,
        "a": {
            "m": "ORDER",
            "B": [{"a": "USDT", "wb": "122624.12345678", "cw": "100.12345678", "bc": "50.12345678"}],
            "P": [
                {"s": "BTCUSDT", "pa": "0", "ep": "0.00000", "mt": "isolated", "iw": "0.0", "ps": "BOTH"},
                {"s": "BTCUSDT", "pa": "-10", "ep": "6563.8", "mt": "cross", "ps": "SHORT"},
            ],
        },
    }
    ts = 1564745798938 * MS
    assert tell(event) == (
        PositionReport(ts, "a", P, PositionSide.BOTH, D(0), None, margin_mode=MarginMode.ISOLATED),
        PositionReport(ts, "a", P, PositionSide.SHORT, D(-10), D("6563.8"), margin_mode=MarginMode.CROSS),
        AccountReport(ts, "a", {"USDT": D("122624.12345678")}, "order"),
    )


def test_funding_says_so():
    # Facts D4: cross funding brings balances only.
    event = {"e": "ACCOUNT_UPDATE", "T": 5, "a": {"m": "FUNDING_FEE", "B": [{"a": "USDT", "wb": "9.5", "bc": "-0.5"}]}}
    assert tell(event) == (AccountReport(5 * MS, "a", {"USDT": D("9.5")}, "funding"),)


ALGO = {"caid": "s-1", "aid": 2148719, "s": "BTCUSDT", "S": "SELL", "X": "NEW", "ai": "", "aq": "0.00000", "rm": "why"}
ALGO_IDS = (7 * MS, "a", P, "s-1")
ALGO_STATES: list[tuple[dict[str, Any], tuple[Report, ...]]] = [
    ({}, (OrderAccepted(*ALGO_IDS, "2148719"),)),
    ({"X": "TRIGGERING"}, (OrderTriggered(*ALGO_IDS),)),
    ({"X": "TRIGGERED", "ai": "4904005884"}, (OrderTriggered(*ALGO_IDS),)),
    ({"X": "FINISHED", "ai": "4904005884", "aq": "800"}, ()),
    ({"X": "FINISHED"}, (OrderExpired(*ALGO_IDS, D("0.00000")),)),
    ({"X": "CANCELED"}, (OrderCanceled(*ALGO_IDS, D("0.00000")),)),
    ({"X": "EXPIRED"}, (OrderExpired(*ALGO_IDS, D("0.00000")),)),
    ({"X": "REJECTED"}, (OrderRejected(*ALGO_IDS, RejectReason.OTHER, "why"),)),
    ({"X": "SOMETHING_NEW"}, ()),
]


@pytest.mark.parametrize(("changes", "reports"), ALGO_STATES)
def test_a_conditional_order(changes: dict[str, Any], reports: tuple[Report, ...]):
    assert tell({"e": "ALGO_UPDATE", "T": 7, "E": 8, "o": {**ALGO, **changes}}) == reports


def test_what_is_no_news_for_the_desk():
    decoder = stream()
    key = decoder.decode(b'{"e":"listenKeyExpired","E":1736996475556,"listenKey":"WsCMN0a4KHUPTQuX6IUnqEZfB1inxmv1"}')
    assert key == UserEvent("listenKeyExpired", (), "WsCMN0a4KHUPTQuX6IUnqEZfB1inxmv1")
    leverage = decoder.decode(b'{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"T":1,"ac":{"s":"BTCUSDT","l":25}}')
    assert leverage == UserEvent("ACCOUNT_CONFIG_UPDATE", leverage=(P, 25))
    assert decoder.decode(b'{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"T":1,"ai":{"j":true}}').leverage is None
    for frame in (b'{"e":"MARGIN_CALL","E":1}', b'{"e":"STRATEGY_UPDATE"}', b'{"id":1,"result":null}'):
        assert decoder.decode(frame).reports == ()
    assert decoder.ignored == {
        "listenKeyExpired": 1, "ACCOUNT_CONFIG_UPDATE": 2, "MARGIN_CALL": 1, "STRATEGY_UPDATE": 1, "reply": 1,
    }  # fmt: skip


def test_kinds_of_events_have_a_bound():
    decoder = stream()
    for number in range(300):
        decoder.decode(json.dumps({"e": f"kind {number}" + "x" * 99}).encode())
    assert len(decoder.ignored) == 257
    assert decoder.ignored["other"] == 44
    assert max(map(len, decoder.ignored)) == 48


def test_an_event_of_a_combined_connection():
    wrapped = json.dumps({"stream": "pqia91ma19a5s61cv6a81va65sdf19v8a65a1", "data": update()}).encode()
    assert stream().decode(wrapped).reports == (OrderAccepted(*IDS, "8886774"),)


BAD = [
    (update(i="x"), CodecErrorReason.BAD_FIELD, "$.o.i"),
    (update(S="HOLD"), CodecErrorReason.BAD_FIELD, "$.o.S"),
    (update(s=""), CodecErrorReason.UNKNOWN_SYMBOL, "symbol"),
    (update(z="-1"), CodecErrorReason.BAD_NUMBER, "z"),
    (update(**{**FILL, "L": "0"}), CodecErrorReason.BAD_NUMBER, "L"),
    (update(**{**FILL, "L": "NaN"}), CodecErrorReason.BAD_NUMBER, "L"),
    (update(**{**FILL, "n": "1e999"}), CodecErrorReason.BAD_NUMBER, "n"),
    ({"e": "ORDER_TRADE_UPDATE"}, CodecErrorReason.BAD_FIELD, "o"),
    ({"e": "ACCOUNT_UPDATE", "a": {"B": [{"a": "USDT", "wb": "Infinity"}]}}, CodecErrorReason.BAD_NUMBER, "USDT wb"),
    (
        {"e": "ACCOUNT_UPDATE", "a": {"P": [{"s": "BTCUSDT", "pa": "1", "mt": "shared"}]}},
        CodecErrorReason.BAD_FIELD,
        "mt",
    ),
]


@pytest.mark.parametrize(("event", "reason", "named"), BAD)
def test_an_error_names_the_field(event: dict[str, Any], reason: CodecErrorReason, named: str):
    with pytest.raises(CodecError) as error:
        tell(event)
    assert error.value.reason is reason
    assert named in error.value.detail


def test_a_fill_that_cannot_be_read_is_not_remembered():
    decoder = stream()
    with pytest.raises(CodecError):
        tell(update(**{**FILL, "n": "?"}), decoder)
    assert tell(update(**FILL), decoder) == (BOOKED,)


# Recorded events


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that stand one after the other."""
    reader, place = json.JSONDecoder(), 0
    while text[place:].strip():
        place += len(text[place:]) - len(text[place:].lstrip())
        found, place = reader.raw_decode(text, place)
        yield found


SAMPLES = {
    "account_update": ["PositionReport", "PositionReport", "PositionReport", "AccountReport"],
    "account_update_bnfcr": ["AccountReport"],
    "algo_update_canceled": ["OrderCanceled"],
    "algo_update_new": ["OrderAccepted"],
    "order_update_adl": ["OrderFilled", "Deleveraged"],
    "order_update_calculated": ["OrderFilled", "Liquidated"],
    "order_update_calculated_pending": [],
    "order_update_delivery": ["OrderFilled"],
    "order_update_insurance": ["OrderFilled", "Liquidated"],
    "order_update_new": ["OrderAccepted"],
    "order_update_settlement": ["OrderFilled"],
    "order_update_trade": ["OrderFilled"],
    "order_update_trade_partial": ["OrderFilled"],
    "trade_lite": [],
}


def test_the_documented_samples(data_dir: Path):
    folder = data_dir / "messages" / "binance-usdm" / "user_data_json"
    told = {
        path.stem: [type(one).__name__ for one in stream().decode(path.read_bytes()).reports]
        for path in folder.iterdir()
    }
    assert told == SAMPLES


# Of the files of March 2026: what the desk hears of each order, in turn.
LIVES = {
    "WebSocketFutureLimitSubmittedCancelled": ["OrderAccepted", "OrderCanceled"],
    "WebSocketFutureLimitSubmittedFilled": ["OrderAccepted", "OrderFilled"],
    "WebSocketFutureMarketSubmittedFilled": ["OrderAccepted", "OrderFilled"],
    "WebSocketFutureStopLimitSubmittedExpired": ["OrderAccepted", "OrderExpired"],
    "WebSocketFutureStopMarketSubmittedCanceled": ["OrderAccepted", "OrderCanceled"],
    "WebSocketFutureStopMarketSubmitPartiallyFilledFilled": [
        "OrderAccepted", "OrderTriggered", "OrderAccepted", "OrderFilled", "OrderFilled", "OrderTriggered",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", LIVES)
def test_the_recorded_lives_of_orders(data_dir: Path, name: str):
    decoder = stream()
    told: list[Report] = []
    for event in objects((data_dir / "user-streams" / f"{name}.json").read_text()):
        told += tell(event, decoder)
    assert [type(one).__name__ for one in told] == LIVES[name]
    assert len({getattr(one, "client_order_id", "") for one in told}) == 1


_ORDER_NAMES = {
    "symbol": "s", "clientOrderId": "c", "orderSide": "S", "orderTimeInForce": "f", "originalQuantity": "q",
    "originalPrice": "p", "executionType": "x", "orderStatus": "X", "orderId": "i", "lastFilledQuantity": "l",
    "orderFilledAccumulatedQuantity": "z", "lastFilledPrice": "L", "commissionAmount": "n", "commissionAsset": "N",
    "orderTradeTime": "T", "tradeId": "t", "isMakerTrade": "m", "positionSide": "ps",
}  # fmt: skip
_TEXTS = frozenset("qplzLn")


def venue_words(event: dict[str, Any]) -> dict[str, Any]:
    """Undo the mapped field names of the recording of 2022, whose texts without digits became numbers."""
    if event["eventType"] == "ORDER_TRADE_UPDATE":
        short = {_ORDER_NAMES[name]: value for name, value in event["order"].items() if name in _ORDER_NAMES}
        order = {key: str(value) if key in _TEXTS and value is not None else value for key, value in short.items()}
        return {"e": event["eventType"], "T": event["transactionTime"], "o": order}
    change = event["updateData"]
    balances = [{"a": one["asset"], "wb": str(one["walletBalance"])} for one in change["updatedBalances"]]
    positions = [
        {"s": one["symbol"], "pa": str(one["positionAmount"]), "ep": str(one["entryPrice"]), "mt": one["marginType"]}
        for one in change["updatedPositions"]
    ]
    return {"e": "ACCOUNT_UPDATE", "T": event["transactionId"], "a": {"m": "ORDER", "B": balances, "P": positions}}


def test_the_recorded_day_of_2022(data_dir: Path):
    decoder = stream()
    told: list[Report] = []
    for line in (data_dir / "user-streams" / "binance-usdm-2022-03-dev.jsonl").read_text().splitlines():
        told += tell(venue_words(json.loads(line)), decoder)
    # Its 31 order updates are 14 new orders, 16 trades and a cancel.
    counts = Counter(type(one).__name__ for one in told)
    assert (counts["OrderAccepted"], counts["OrderCanceled"]) == (14, 1)
    assert counts["OrderFilled"] + decoder.repeats == 16
    assert counts["AccountReport"] == 22


# Spot. Source: "Payload: Order Update" and "Payload: Account Update" of the spot user data stream.

CASH = "binance-spot:BTCUSDT"
EXECUTION: dict[str, Any] = {
    "e": "executionReport", "E": 1499405658658, "s": "BTCUSDT", "c": "desk-1", "S": "BUY", "o": "LIMIT", "f": "GTC",
    "q": "1.0", "p": "0.10264410", "C": "", "x": "NEW", "X": "NEW", "r": "NONE", "i": 4293153, "l": "0", "z": "0",
    "L": "0", "n": "0", "N": None, "T": 1499405658657, "t": -1, "m": False,
}  # fmt: skip
CASH_IDS = (1499405658657 * MS, "a", CASH, "desk-1")
EXECUTIONS: list[tuple[dict[str, Any], Report]] = [
    ({}, OrderAccepted(*CASH_IDS, "4293153")),
    # The cancel has an id of its own, the order's stands in C.
    (
        {"x": "CANCELED", "X": "CANCELED", "c": "cancel-9", "C": "desk-1", "z": "0.5"},
        OrderCanceled(*CASH_IDS, D("0.5")),
    ),
    ({"x": "EXPIRED", "X": "EXPIRED"}, OrderExpired(*CASH_IDS, D(0))),
    ({"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH"}, OrderExpired(*CASH_IDS, D(0))),
    (
        {"x": "REJECTED", "X": "REJECTED", "r": "INSUFFICIENT_BALANCES"},
        OrderRejected(*CASH_IDS, RejectReason.INSUFFICIENT_BALANCE, "INSUFFICIENT_BALANCES"),
    ),
    (
        {"x": "TRADE", "X": "FILLED", "l": "1.0", "z": "1.0", "L": "0.1", "n": "0.001", "N": "BNB", "t": 5, "m": True},
        OrderFilled(
            *CASH_IDS, "4293153", "5", Side.BUY, D("0.1"), D(1), Liquidity.MAKER, D("0.001"), "BNB", FillReason.QUEUE
        ),
    ),
]


@pytest.mark.parametrize(("changes", "report"), EXECUTIONS)
@pytest.mark.parametrize("is_subscribed", [False, True], ids=["listen key", "subscription"])
def test_a_spot_execution_report(changes: dict[str, Any], report: Report, is_subscribed: bool):
    event = {**EXECUTION, **changes}
    frame = {"subscriptionId": 0, "event": event} if is_subscribed else event
    assert SpotUserStream("binance-spot", "a").decode(json.dumps(frame).encode()).reports == (report,)


def test_spot_balances_hold_what_orders_hold():
    event = {"e": "outboundAccountPosition", "E": 9, "u": 8, "B": [{"a": "USDT", "f": "10000.5", "l": "0.25"}]}
    (report,) = SpotUserStream("binance-spot", "a").decode(json.dumps(event).encode()).reports
    assert report == AccountReport(8 * MS, "a", {"USDT": D("10000.75")}, "order")


def test_the_end_of_a_spot_stream():
    decoder = SpotUserStream("binance-spot", "a")
    assert decoder.decode(b'{"subscriptionId":0,"event":{"e":"eventStreamTerminated","E":1}}').listen_key
    assert decoder.decode(b'{"e":"balanceUpdate","E":1,"a":"BTC","d":"100.0","T":1}').reports == ()
    assert decoder.ignored["balanceUpdate"] == 1
