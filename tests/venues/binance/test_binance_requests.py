"""Every command of the port becomes the request the documentation of the venue asks for, or is refused here."""

import json
from decimal import Decimal
from typing import Any, TypeVar, cast

import pytest
from attrs import evolve

from venues.binance.calls import ORDERS_1D, ORDERS_1M, ORDERS_10S, WEIGHT_1M, BinanceCall, UnsupportedCommandError
from venues.binance.requests import UsdmRequests
from venues.binance.sign import query_of
from venues.binance.spot_requests import SpotRequests
from venues.model.account import MarginMode, PositionMode
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.net.limits import Priority
from venues.port import (
    AdjustIsolatedMargin,
    ArmDeadMan,
    CancelAll,
    CancelOrder,
    Message,
    ModifyOrder,
    RejectReason,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
)

D = Decimal

_M = TypeVar("_M", bound=Message)


def changed(message: _M, **changes: Any) -> _M:
    """Return the message with other fields."""
    copy: Any = message
    return cast(_M, evolve(copy, **changes))


BTC = Instrument("binance-usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.10"), D("0.001"))
ETH = Instrument("binance-usdm", "ETHUSDT", InstrumentKind.PERPETUAL, "ETH", "USDT", D("0.01"), D("0.001"))
SPOT = Instrument("binance-spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
P = BTC.id
USDM = UsdmRequests([BTC, ETH])
CASH = SpotRequests([SPOT])
LIMIT = SubmitOrder(1, "a", P, "desk-1", Side.BUY, D("0.010"), price=D("60000.10"))
MARKET = SubmitOrder(1, "a", P, "desk-1", Side.SELL, D("0.010"), OrderType.MARKET)
STOP = SubmitOrder(1, "a", P, "s-1", Side.SELL, D("0.010"), OrderType.STOP_MARKET, trigger_price=D("59000"))
CASH_LIMIT = changed(LIMIT, instrument=SPOT.id)
TAIL = "&newClientOrderId=desk-1&selfTradePreventionMode=NONE&newOrderRespType=ACK"
ALGO_TAIL = "&clientAlgoId=s-1&selfTradePreventionMode=NONE&newOrderRespType=ACK"

# Source: "New Order" (USDS-M futures).
PLAIN = [
    (LIMIT, "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.010&price=60000.10"),
    (
        changed(LIMIT, tif=TimeInForce.GTX),
        "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTX&quantity=0.010&price=60000.10",
    ),
    (
        changed(LIMIT, tif=TimeInForce.GTD, expire_ns=1_700_000_000_123_456_789),
        "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTD&goodTillDate=1700000000123&quantity=0.010&price=60000.10",
    ),
    (MARKET, "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=0.010"),
    (changed(MARKET, reduce_only=True), "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=0.010&reduceOnly=true"),
    # A hedge account refuses reduceOnly (facts A8).
    (
        changed(MARKET, reduce_only=True, position_side=PositionSide.LONG),
        "symbol=BTCUSDT&side=SELL&type=MARKET&positionSide=LONG&quantity=0.010",
    ),
    (changed(MARKET, qty=D("1E+2")), "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=100"),
]

# Source: "New Algo Order": triggerPrice, activatePrice, callbackRate in percent, closePosition without quantity.
CONDITIONAL = [
    (STOP, "type=STOP_MARKET&quantity=0.010&triggerPrice=59000&workingType=CONTRACT_PRICE"),
    (
        changed(STOP, type=OrderType.STOP_LIMIT, price=D("58990"), trigger_on_mark=True),
        "type=STOP&timeInForce=GTC&quantity=0.010&price=58990&triggerPrice=59000&workingType=MARK_PRICE",
    ),
    (
        changed(STOP, type=OrderType.TAKE_PROFIT_MARKET, close_position=True),
        "type=TAKE_PROFIT_MARKET&closePosition=true&triggerPrice=59000&workingType=CONTRACT_PRICE",
    ),
    (
        changed(
            STOP, type=OrderType.TRAILING_STOP, trigger_price=None, activation_price=D(61000), callback_rate=D("0.01")
        ),
        "type=TRAILING_STOP_MARKET&quantity=0.010&activatePrice=61000&callbackRate=1&workingType=CONTRACT_PRICE",
    ),
    (
        changed(STOP, type=OrderType.TRAILING_STOP, trigger_price=None, callback_rate=D("0.0015")),
        "type=TRAILING_STOP_MARKET&quantity=0.010&callbackRate=0.15&workingType=CONTRACT_PRICE",
    ),
]


@pytest.mark.parametrize(("command", "query"), PLAIN)
def test_a_plain_order(command: SubmitOrder, query: str):
    call = USDM.submit(command)
    assert (call.method, call.path, call.ws_method) == ("POST", "/fapi/v1/order", "order.place")
    assert query_of(call.params) == query + TAIL
    # Facts C3: one order in ten seconds, one in a minute, no weight.
    assert call.costs == {WEIGHT_1M: 0, ORDERS_10S: 1, ORDERS_1M: 1}
    assert not call.is_idempotent


@pytest.mark.parametrize(("command", "query"), CONDITIONAL)
def test_a_conditional_order_goes_to_the_algo_service(command: SubmitOrder, query: str):
    call = USDM.submit(command)
    assert (call.method, call.path, call.ws_method) == ("POST", "/fapi/v1/algoOrder", "algoOrder.place")
    assert query_of(call.params) == f"algoType=CONDITIONAL&symbol=BTCUSDT&side=SELL&{query}{ALGO_TAIL}"


@pytest.mark.parametrize(
    ("stp", "word"),
    [(None, "NONE"), ("trade", "NONE"), ("expire_taker", "EXPIRE_TAKER"), ("EXPIRE_BOTH", "EXPIRE_BOTH")],
)
def test_self_trade_prevention_is_always_said(stp: str | None, word: str):
    assert ("selfTradePreventionMode", word) in USDM.submit(changed(LIMIT, stp=stp)).params


@pytest.mark.parametrize(
    ("command", "priority"),
    [
        (LIMIT, Priority.NEW),
        (changed(LIMIT, tif=TimeInForce.GTX), Priority.NEW),
        (MARKET, Priority.HEDGE),
        (changed(LIMIT, tif=TimeInForce.IOC), Priority.HEDGE),
        (changed(LIMIT, reduce_only=True), Priority.HEDGE),
        (STOP, Priority.NEW),
    ],
)
def test_what_takes_risk_off_goes_first(command: SubmitOrder, priority: Priority):
    assert USDM.submit(command).priority is priority


MODIFY = ModifyOrder(1, "a", P, "desk-1", D("0.02"), D("60001"))
R = RejectReason
REFUSED = [
    (changed(LIMIT, instrument="binance-usdm:XRPUSDT"), R.UNKNOWN_INSTRUMENT),
    (changed(LIMIT, type=OrderType.MARKET_TO_LIMIT), R.UNSUPPORTED),
    (changed(LIMIT, tif=TimeInForce.DAY), R.UNSUPPORTED),
    (changed(LIMIT, tif=TimeInForce.GTD), R.BAD_EXPIRY),
    (changed(LIMIT, qty=D("NaN")), R.BELOW_MIN_QTY),
    (changed(LIMIT, qty=D("Infinity")), R.BELOW_MIN_QTY),
    (changed(LIMIT, qty=D(0)), R.BELOW_MIN_QTY),
    (changed(LIMIT, qty=D(-1)), R.BELOW_MIN_QTY),
    (changed(LIMIT, price=None), R.BAD_PRICE),
    (changed(LIMIT, price=D("NaN")), R.BAD_PRICE),
    (changed(LIMIT, trigger_price=D(1)), R.BAD_TRIGGER),
    (changed(LIMIT, display_qty=D(1)), R.UNSUPPORTED),
    (changed(LIMIT, stp="cancel_oldest"), R.UNSUPPORTED),
    (changed(MARKET, close_position=True), R.UNSUPPORTED),
    (changed(STOP, trigger_price=None), R.BAD_PRICE),
    # Without the flag, which a hedge account refuses, these would open what they are meant to close.
    (changed(LIMIT, reduce_only=True, position_side=PositionSide.LONG), R.REDUCE_ONLY),
    (changed(MARKET, reduce_only=True, position_side=PositionSide.SHORT), R.REDUCE_ONLY),
    (changed(STOP, close_position=True, position_side=PositionSide.SHORT), R.REDUCE_ONLY),
    (changed(LIMIT, client_order_id="x" * 37), R.OTHER),
    (changed(LIMIT, client_order_id="a b"), R.OTHER),
    (changed(LIMIT, client_order_id=""), R.OTHER),
]


@pytest.mark.parametrize(("command", "reason"), REFUSED)
def test_what_the_venue_has_no_request_for(command: SubmitOrder, reason: RejectReason):
    with pytest.raises(UnsupportedCommandError) as refused:
        USDM.submit(command)
    assert refused.value.reason is reason
    assert refused.value.text


@pytest.mark.parametrize("changes", [{"qty": D("NaN")}, {"qty": D(0)}, {"price": D("NaN")}])
def test_a_change_to_what_is_no_number(changes: dict[str, Decimal]):
    with pytest.raises(UnsupportedCommandError):
        USDM.modify(changed(MODIFY, **changes), Side.BUY)


def shown(call: BinanceCall) -> str:
    return f"{call.method} {call.path}?{query_of(call.params)}"


CANCEL = CancelOrder(1, "a", P, "desk-1")
# (request, as the documentation writes it, weight, orders in ten seconds). Source: facts C3, A8.
OTHERS = [
    (
        USDM.modify(MODIFY, Side.SELL),
        "PUT /fapi/v1/order?symbol=BTCUSDT&origClientOrderId=desk-1&side=SELL&quantity=0.02&price=60001",
        0,
        1,
    ),
    (USDM.cancel(CANCEL), "DELETE /fapi/v1/order?symbol=BTCUSDT&origClientOrderId=desk-1", 1, 0),
    (USDM.cancel(CANCEL, is_algo=True), "DELETE /fapi/v1/algoOrder?clientAlgoId=desk-1", 1, 0),
    (
        USDM.arm_dead_man(ArmDeadMan(1, "a", P, 120_000_000_000)),
        "POST /fapi/v1/countdownCancelAll?symbol=BTCUSDT&countdownTime=120000",
        10,
        0,
    ),
    (
        USDM.arm_dead_man(ArmDeadMan(1, "a", P, 0)),
        "POST /fapi/v1/countdownCancelAll?symbol=BTCUSDT&countdownTime=0",
        10,
        0,
    ),
    (USDM.set_leverage(SetLeverage(1, "a", P, 5)), "POST /fapi/v1/leverage?symbol=BTCUSDT&leverage=5", 1, 0),
    (
        USDM.set_margin_mode(SetMarginMode(1, "a", P, MarginMode.ISOLATED)),
        "POST /fapi/v1/marginType?symbol=BTCUSDT&marginType=ISOLATED",
        1,
        0,
    ),
    (
        USDM.set_margin_mode(SetMarginMode(1, "a", P, MarginMode.CROSS)),
        "POST /fapi/v1/marginType?symbol=BTCUSDT&marginType=CROSSED",
        1,
        0,
    ),
    (
        USDM.set_position_mode(SetPositionMode(1, "a", PositionMode.HEDGE)),
        "POST /fapi/v1/positionSide/dual?dualSidePosition=true",
        1,
        0,
    ),
    (
        USDM.adjust_margin(AdjustIsolatedMargin(1, "a", P, D("-12.5"), PositionSide.SHORT)),
        "POST /fapi/v1/positionMargin?symbol=BTCUSDT&positionSide=SHORT&amount=12.5&type=2",
        1,
        0,
    ),
    (
        CASH.cancel(changed(CANCEL, instrument=SPOT.id)),
        "DELETE /api/v3/order?symbol=BTCUSDT&origClientOrderId=desk-1",
        1,
        0,
    ),
]


@pytest.mark.parametrize(("call", "text", "weight", "orders"), OTHERS)
def test_the_other_commands(call: BinanceCall, text: str, weight: int, orders: int):
    assert shown(call) == text
    assert call.weight == weight
    assert call.orders == orders


def test_the_dead_mans_time_is_never_shorter_than_asked():
    call = USDM.arm_dead_man(ArmDeadMan(1, "a", P, 1_500_001))
    assert ("countdownTime", "2") in call.params


def test_cancelling_all_cancels_plain_and_conditional_orders():
    paths = {"/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders"}
    one = USDM.cancel_all(CancelAll(1, "a", P))
    assert {call.path for call in one} == paths
    assert {query_of(call.params) for call in one} == {"symbol=BTCUSDT"}
    everything = {shown(call) for call in USDM.cancel_all(CancelAll(1, "a"))}
    assert everything == {f"DELETE {path}?symbol={symbol}" for path in paths for symbol in ("BTCUSDT", "ETHUSDT")}
    assert {query_of(call.params) for call in USDM.cancel_all(CancelAll(1, "a"), ["XRPUSDT"])} == {"symbol=XRPUSDT"}
    assert all(call.priority is Priority.CANCEL for call in one)


def test_a_batch_of_orders():
    call = USDM.batch_submit([LIMIT, changed(MARKET, instrument=ETH.id, client_order_id="desk-2")])
    assert (call.method, call.path) == ("POST", "/fapi/v1/batchOrders")
    (name, text) = call.params[0]
    assert name == "batchOrders"
    first, second = json.loads(text)
    assert first["price"] == "60000.10"
    assert second["symbol"] == "ETHUSDT"
    # Facts C3: five orders in ten seconds, one in a minute, a weight of five.
    assert call.costs == {WEIGHT_1M: 5, ORDERS_10S: 5, ORDERS_1M: 1}


def test_a_batch_of_changes():
    call = USDM.batch_modify([(MODIFY, Side.BUY)])
    assert call.method == "PUT"
    assert json.loads(call.params[0][1]) == [
        {"symbol": "BTCUSDT", "origClientOrderId": "desk-1", "side": "BUY", "quantity": "0.02", "price": "60001"}
    ]


def test_a_batch_of_cancels():
    call = USDM.batch_cancel([CANCEL, changed(CANCEL, client_order_id="desk-2")])
    assert call.method == "DELETE"
    assert call.params == (("symbol", "BTCUSDT"), ("origClientOrderIdList", '["desk-1","desk-2"]'))


def test_batches_have_bounds():
    for refused in (
        lambda: USDM.batch_submit([]),
        lambda: USDM.batch_submit([LIMIT] * 6),
        lambda: USDM.batch_submit([STOP]),
        lambda: USDM.batch_cancel([CANCEL] * 11),
        lambda: USDM.batch_cancel([CANCEL, changed(CANCEL, instrument=ETH.id)]),
    ):
        with pytest.raises(UnsupportedCommandError):
            refused()


def test_settings_that_futures_do_not_have():
    with pytest.raises(UnsupportedCommandError):
        USDM.set_margin_mode(SetMarginMode(1, "a", P, MarginMode.CASH))
    with pytest.raises(UnsupportedCommandError):
        USDM.adjust_margin(AdjustIsolatedMargin(1, "a", P, D(0)))


# Source: "New order" of the spot REST API.
CASH_ORDERS = [
    (CASH_LIMIT, "type=LIMIT&timeInForce=GTC&quantity=0.010&price=60000.10"),
    (changed(CASH_LIMIT, tif=TimeInForce.GTX), "type=LIMIT_MAKER&quantity=0.010&price=60000.10"),
    (changed(CASH_LIMIT, type=OrderType.MARKET, price=None), "type=MARKET&quantity=0.010"),
    (
        changed(CASH_LIMIT, type=OrderType.STOP_LIMIT, trigger_price=D(59000)),
        "type=STOP_LOSS_LIMIT&timeInForce=GTC&quantity=0.010&price=60000.10&stopPrice=59000",
    ),
    (
        changed(CASH_LIMIT, display_qty=D("0.001")),
        "type=LIMIT&timeInForce=GTC&quantity=0.010&price=60000.10&icebergQty=0.001",
    ),
]


@pytest.mark.parametrize(("command", "query"), CASH_ORDERS)
def test_a_spot_order(command: SubmitOrder, query: str):
    call = CASH.submit(command)
    assert shown(call) == f"POST /api/v3/order?symbol=BTCUSDT&side=BUY&{query}{TAIL}"
    assert call.costs == {WEIGHT_1M: 1, ORDERS_10S: 1, ORDERS_1D: 1}


@pytest.mark.parametrize(
    "command",
    [
        changed(CASH_LIMIT, reduce_only=True),
        changed(CASH_LIMIT, position_side=PositionSide.LONG),
        changed(CASH_LIMIT, type=OrderType.TRAILING_STOP),
        changed(CASH_LIMIT, tif=TimeInForce.GTD),
        changed(CASH_LIMIT, trigger_on_mark=True),
        LIMIT,
    ],
)
def test_what_spot_does_not_know(command: SubmitOrder):
    with pytest.raises(UnsupportedCommandError):
        CASH.submit(command)
