"""Spot as a cash leg meets it. Codes and fields: spot REST API documentation."""

from decimal import Decimal

import pytest
from emulated_venue import Emulated

from sim.emulator.routes import ApiError
from venues.model.order import Side

ORDER = "/api/v3/order"
WOULD_TAKE = "Order would immediately match and take."
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.5"}


@pytest.fixture
def venue() -> Emulated:
    return Emulated("spot")


def _balances(venue: Emulated) -> dict[str, tuple[str, str]]:
    rows = venue.ask("GET", "/api/v3/account", omitZeroBalances="true")["balances"]
    return {row["asset"]: (row["free"], row["locked"]) for row in rows}


def test_a_market_order_answers_with_its_fills_and_pays_in_what_it_gets(venue: Emulated) -> None:
    answer = venue.ask("POST", ORDER, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1.5")
    assert [(fill["price"], fill["qty"], fill["commission"], fill["commissionAsset"]) for fill in answer["fills"]] == [
        ("100010.00000000", "1.00000000", "0.00100000", "BTC"),
        ("100020.00000000", "0.50000000", "0.00050000", "BTC"),
    ]
    assert answer["cummulativeQuoteQty"] == "150020.00000000"
    # 100 BTC and 10,000,000 USDT at the start; 0.1 % of what was bought.
    assert _balances(venue)["BTC"] == ("101.49850000", "0.00000000")
    assert _balances(venue)["USDT"] == ("9849980.00000000", "0.00000000")


def test_an_amount_of_quote_buys_what_it_is_worth(venue: Emulated) -> None:
    answer = venue.ask("POST", ORDER, symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="150020")
    assert (answer["executedQty"], answer["origQuoteOrderQty"]) == ("1.50000000", "150020.00000000")


def test_open_orders_hold_back_what_they_may_spend(venue: Emulated) -> None:
    venue.ask("POST", ORDER, price="99000", newClientOrderId="mine", **LIMIT)
    assert _balances(venue)["USDT"] == ("9950500.00000000", "49500.00000000")
    answer = venue.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    assert (answer["status"], answer["origClientOrderId"]) == ("CANCELED", "mine")
    assert answer["clientOrderId"] != "mine"
    assert _balances(venue)["USDT"] == ("10000000.00000000", "0.00000000")


def test_a_maker_order_is_filled_by_the_market(venue: Emulated) -> None:
    order = {name: value for name, value in LIMIT.items() if name != "timeInForce"}
    venue.ask("POST", ORDER, price="99995", **{**order, "type": "LIMIT_MAKER"})
    venue.trade("BTCUSDT", "99995", "1", Side.SELL)
    (row,) = venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT")
    assert (row["isMaker"], row["isBuyer"], row["qty"]) == (True, True, "0.50000000")
    (order_row,) = venue.ask("GET", "/api/v3/allOrders", symbol="BTCUSDT")
    assert (order_row["status"], order_row["type"], order_row["timeInForce"]) == ("FILLED", "LIMIT_MAKER", "GTC")


@pytest.mark.parametrize(
    ("params", "code", "msg"),
    [
        ({"price": "99000.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "99000", "quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"price": "99000", "quantity": "0.00001"}, -1013, "Filter failure: NOTIONAL"),
        ({"price": "600000"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ({"price": "99000", "quantity": "200"}, -2010, "Account has insufficient balance for requested action."),
        ({"price": "99000.000000001"}, -1111, "Parameter 'price' has too much precision."),
        ({"price": "99000", "type": "STOP_LOSS_LIMIT"}, -1116, "Invalid orderType."),
        (
            {"price": "100010", "type": "LIMIT_MAKER", "timeInForce": None},
            -2010,
            "Order would immediately match and take.",
        ),
        ({"price": "99000", "newClientOrderId": "taken"}, -2010, "Duplicate order sent."),
        ({"price": "99000", "symbol": "NOPE"}, -1121, "Invalid symbol."),
        ({"price": "99000", "type": "MARKET", "timeInForce": None}, -1106, "Parameter 'price' sent when not required."),
    ],
)
def test_what_is_refused_is_refused_in_spots_words(
    venue: Emulated, params: dict[str, str | None], code: int, msg: str
) -> None:
    venue.ask("POST", ORDER, price="98000", newClientOrderId="taken", **LIMIT)
    with pytest.raises(ApiError) as refused:
        venue.ask("POST", ORDER, **{**LIMIT, **params})
    assert (refused.value.code, refused.value.msg) == (code, msg)


def test_one_order_replaces_another_or_nothing_happens(venue: Emulated) -> None:
    path = "/api/v3/order/cancelReplace"
    venue.ask("POST", ORDER, price="98000", newClientOrderId="old", **LIMIT)
    new = {**LIMIT, "price": "99000", "cancelReplaceMode": "STOP_ON_FAILURE"}
    told = venue.ask("POST", path, cancelOrigClientOrderId="old", newClientOrderId="new", **new)
    assert (told["cancelResult"], told["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    with pytest.raises(ApiError) as refused:
        venue.ask("POST", path, cancelOrigClientOrderId="old", newClientOrderId="newer", **new)
    assert refused.value.body()["data"]["newOrderResult"] == "NOT_ATTEMPTED"
    rows = venue.ask("GET", "/api/v3/openOrders", symbol="BTCUSDT")
    assert [row["clientOrderId"] for row in rows] == ["new"]


def test_all_orders_of_a_symbol_end_together(venue: Emulated) -> None:
    assert venue.code("DELETE", "/api/v3/openOrders", symbol="BTCUSDT") == -2011
    for price in ("98000", "99000"):
        venue.ask("POST", ORDER, price=price, **LIMIT)
    rows = venue.ask("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    assert [row["status"] for row in rows] == ["CANCELED", "CANCELED"]


def test_symbols_are_asked_by_one_several_or_all(venue: Emulated) -> None:
    path = "/api/v3/ticker/bookTicker"
    assert venue.ask("GET", path, symbol="BTCUSDT")["bidPrice"] == "99990.00000000"
    assert [row["symbol"] for row in venue.ask("GET", path)] == ["BTCUSDT", "ETHUSDT"]
    assert [row["symbol"] for row in venue.ask("GET", path, symbols='["ETHUSDT"]')] == ["ETHUSDT"]
    assert venue.code("GET", path, symbols="ETHUSDT") == -1100
    told = venue.ask("GET", "/api/v3/exchangeInfo", symbol="BTCUSDT")["symbols"]
    filters = {one["filterType"]: one for one in told[0]["filters"]}
    assert Decimal(filters["LOT_SIZE"]["stepSize"]) == Decimal("0.00001")
    assert venue.ask("GET", "/api/v3/depth", symbol="BTCUSDT", limit=1)["asks"] == [["100010.00000000", "1.00000000"]]
