"""Conditional orders: when they trigger, and what becomes of them. Order of events as recorded in March 2026."""

import pytest
from emulated_venue import Emulated

from sim.emulator.events import AlgoEvent, OrderEvent
from venues.model.order import Side

ALGO = "/fapi/v1/algoOrder"


@pytest.fixture
def venue() -> Emulated:
    made = Emulated()
    made.trade("BTCUSDT", "100000", "0.1", Side.BUY)
    made.order("BUY", "0.5")
    made.events.clear()
    return made


def _place(venue: Emulated, kind: str, **params: object) -> dict[str, object]:
    named = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.5", "clientAlgoId": "mine", **params}
    answer: dict[str, object] = venue.ask("POST", ALGO, algoType="CONDITIONAL", type=kind, **named)
    return answer


def _status(venue: Emulated) -> str:
    status: str = venue.ask("GET", ALGO, clientAlgoId="mine")["algoStatus"]
    return status


def test_a_stop_becomes_an_order_of_the_same_client_id(venue: Emulated) -> None:
    algo_id = _place(venue, "STOP_MARKET", triggerPrice="99000")["algoId"]
    venue.trade("BTCUSDT", "99000.1", "0.1", Side.SELL)
    assert _status(venue) == "NEW"
    venue.trade("BTCUSDT", "99000", "0.1", Side.SELL)
    told = [
        event.algo.status if isinstance(event, AlgoEvent) else f"order {event.execution}"
        for event in venue.events
        if isinstance(event, AlgoEvent | OrderEvent)
    ]
    assert told == ["NEW", "TRIGGERING", "order NEW", "order TRADE", "TRIGGERED", "FINISHED"]
    order = next(event.order for event in venue.events if isinstance(event, OrderEvent))
    assert (order.client_order_id, order.algo_id, order.type) == ("mine", algo_id, "MARKET")
    found = venue.ask("GET", ALGO, algoId=algo_id)
    assert (found["algoStatus"], found["actualOrderId"], found["actualQty"]) == (
        "FINISHED",
        str(order.order_id),
        "0.500",
    )
    assert venue.ask("GET", "/fapi/v3/positionRisk") == []


@pytest.mark.parametrize(
    ("kind", "side", "trigger", "misses", "reaches"),
    [
        ("STOP_MARKET", "SELL", "99000", "99001", "98999"),
        ("STOP_MARKET", "BUY", "101000", "100999", "101000"),
        ("TAKE_PROFIT_MARKET", "SELL", "101000", "100999", "101001"),
        ("TAKE_PROFIT_MARKET", "BUY", "99000", "99001", "99000"),
    ],
)
def test_stops_trigger_through_and_take_profits_beyond_their_price(
    venue: Emulated, kind: str, side: str, trigger: str, misses: str, reaches: str
) -> None:
    _place(venue, kind, triggerPrice=trigger, side=side)
    venue.trade("BTCUSDT", misses, "0.1", Side.SELL)
    assert _status(venue) == "NEW"
    venue.trade("BTCUSDT", reaches, "0.1", Side.SELL)
    assert _status(venue) == "FINISHED"


def test_a_mark_price_trigger_ignores_trades(venue: Emulated) -> None:
    _place(venue, "STOP_MARKET", triggerPrice="99000", workingType="MARK_PRICE")
    venue.trade("BTCUSDT", "98000", "0.1", Side.SELL)
    assert _status(venue) == "NEW"
    venue.mark("BTCUSDT", "98999")
    assert _status(venue) == "FINISHED"


def test_a_limit_stop_rests_and_is_finished_when_its_order_is(venue: Emulated) -> None:
    _place(venue, "STOP", triggerPrice="99000", price="100500", timeInForce="GTC")
    venue.trade("BTCUSDT", "99000", "0.1", Side.SELL)
    assert _status(venue) == "TRIGGERED"
    (row,) = venue.ask("GET", "/fapi/v1/openOrders")
    assert (row["clientOrderId"], row["type"], row["price"]) == ("mine", "LIMIT", "100500.00")
    venue.ask("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="mine")
    assert _status(venue) == "FINISHED"


def test_a_trailing_stop_follows_from_its_activation(venue: Emulated) -> None:
    _place(venue, "TRAILING_STOP_MARKET", activatePrice="101000", callbackRate="1")
    for price in ("100900", "99000", "101000", "103000", "102000"):
        venue.trade("BTCUSDT", price, "0.1", Side.BUY)
        assert _status(venue) == "NEW", price
    # One per cent below the best of 103,000.
    venue.trade("BTCUSDT", "101970", "0.1", Side.SELL)
    assert _status(venue) == "FINISHED"


def test_close_position_closes_all_there_is(venue: Emulated) -> None:
    _place(venue, "STOP_MARKET", triggerPrice="99000", closePosition="true", quantity=None)
    venue.order("BUY", "0.25")
    venue.trade("BTCUSDT", "98000", "0.1", Side.SELL)
    assert _status(venue) == "FINISHED"
    assert venue.ask("GET", "/fapi/v3/positionRisk") == []


def test_what_the_engine_refuses_at_the_trigger_is_rejected(venue: Emulated) -> None:
    # No margin is looked at before the trigger. Source: facts C3.
    _place(venue, "STOP", triggerPrice="99000", price="99000", quantity="900", timeInForce="GTC")
    venue.trade("BTCUSDT", "99000", "0.1", Side.SELL)
    last = venue.told(AlgoEvent)[-1].algo
    assert (last.status, last.reject_reason) == ("REJECTED", "Margin is insufficient.")


@pytest.mark.parametrize(
    ("kind", "params", "code"),
    [
        ("LIMIT", {"triggerPrice": "99000"}, -1116),
        ("STOP_MARKET", {}, -1102),
        ("STOP_MARKET", {"triggerPrice": "100010"}, -2021),
        ("TAKE_PROFIT_MARKET", {"triggerPrice": "99999"}, -2021),
        ("TRAILING_STOP_MARKET", {"activatePrice": "99000", "callbackRate": "1"}, -2021),
        ("TRAILING_STOP_MARKET", {"callbackRate": "20.1"}, -2007),
        ("TRAILING_STOP_MARKET", {"callbackRate": "0.05"}, -2007),
        ("STOP", {"triggerPrice": "99000"}, -1102),
        ("STOP_MARKET", {"triggerPrice": "99000.05"}, -4014),
        ("STOP_MARKET", {"triggerPrice": "99000", "closePosition": "true"}, -1106),
        ("STOP", {"triggerPrice": "99000", "price": "99000", "closePosition": "true", "quantity": None}, -4136),
        ("STOP_MARKET", {"triggerPrice": "99000", "positionSide": "SHORT"}, -4061),
        ("STOP_MARKET", {"triggerPrice": "99000", "quantity": "0.0001"}, -1111),
    ],
)
def test_what_no_conditional_order_can_be(venue: Emulated, kind: str, params: dict[str, object], code: int) -> None:
    named = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.5", **params}
    assert venue.code("POST", ALGO, algoType="CONDITIONAL", type=kind, **named) == code
    assert venue.told(AlgoEvent) == []


def test_conditional_orders_are_listed_and_cancelled_apart(venue: Emulated) -> None:
    _place(venue, "STOP_MARKET", triggerPrice="99000")
    assert venue.code("POST", ALGO, symbol="BTCUSDT", side="SELL", type="STOP_MARKET", quantity="1",
                      triggerPrice="98000", clientAlgoId="mine") == -4116  # fmt: skip
    _place(venue, "STOP_MARKET", triggerPrice="98000", clientAlgoId="second")
    venue.ask("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    assert len(venue.ask("GET", "/fapi/v1/openAlgoOrders", symbol="BTCUSDT")) == 2
    assert venue.ask("DELETE", ALGO, clientAlgoId="second")["code"] == "200"
    assert venue.code("DELETE", ALGO, clientAlgoId="second") == -2011
    assert venue.code("GET", ALGO, clientAlgoId="third") == -2013
    venue.ask("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
    assert venue.ask("GET", "/fapi/v1/openAlgoOrders") == []
    rows = venue.ask("GET", "/fapi/v1/allAlgoOrders", symbol="BTCUSDT")
    assert [row["algoStatus"] for row in rows] == ["CANCELED", "CANCELED"]
