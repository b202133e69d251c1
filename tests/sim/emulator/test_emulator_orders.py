"""Orders as Binance takes, refuses, changes and ends them. Codes: facts C6, error code page of USDS-M futures."""

from decimal import Decimal

import pytest
from emulated_venue import Emulated

from sim.emulator.events import AccountEvent, OrderEvent
from venues.model.order import Side
from venues.port import BookDelta, Quote, Trade

ORDER = "/fapi/v1/order"


@pytest.fixture
def venue() -> Emulated:
    return Emulated()


def _executions(venue: Emulated) -> list[tuple[str, str, str]]:
    return [
        (event.execution, event.order.status, f"{event.order.executed_qty:.3f}") for event in venue.told(OrderEvent)
    ]


LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "99000"}
MARKET = {"type": "MARKET", "quantity": "0.01"}

REFUSED = [
    ({**LIMIT, "symbol": "NOPEUSDT"}, -1121),
    ({**LIMIT, "side": "HOLD"}, -1117),
    ({**LIMIT, "type": "ICEBERG"}, -1116),
    ({**LIMIT, "timeInForce": "GTT"}, -1115),
    ({**LIMIT, "quantity": None}, -1102),
    ({**LIMIT, "price": None}, -1102),
    ({**LIMIT, "timeInForce": None}, -1102),
    ({**LIMIT, "quantity": "1e-2"}, -1100),
    ({**LIMIT, "quantity": "0"}, -4003),
    ({**LIMIT, "quantity": "0.0015"}, -1111),
    ({**LIMIT, "quantity": "1001"}, -4005),
    ({**MARKET, "quantity": "121"}, -4005),
    ({**LIMIT, "price": "99000.05"}, -4014),
    ({**LIMIT, "price": "99000.005"}, -1111),
    ({**LIMIT, "price": "0"}, -4001),
    ({**LIMIT, "price": "200"}, -4013),
    ({**LIMIT, "price": "900000"}, -4002),
    # PERCENT_PRICE is against the mark of 100,000: buys up to 105,000, sells down to 95,000.
    ({**LIMIT, "price": "105000.1"}, -4016),
    ({**LIMIT, "price": "94999.9", "side": "SELL"}, -4024),
    # 0.0005 is below the lot; one lot at 40,000 is below 50 USDT.
    ({**LIMIT, "quantity": "0.001", "price": "40000"}, -4164),
    ({**LIMIT, "newClientOrderId": "ü"}, -1100),
    ({**LIMIT, "newClientOrderId": "x" * 37}, -4015),
    ({**LIMIT, "positionSide": "LONG"}, -4061),
    ({**LIMIT, "closePosition": "true"}, -4136),
    ({**LIMIT, "selfTradePreventionMode": "EXPIRE_ALL"}, -5039),
    ({**LIMIT, "priceMatch": "QUEUE"}, -1106),
    ({**LIMIT, "price": None, "priceMatch": "OPPONENT_10"}, -5037),
    ({**LIMIT, "price": None, "priceMatch": "QUEUE_20"}, -5041),
    ({**MARKET, "priceMatch": "QUEUE"}, -5038),
    ({**MARKET, "price": "99000"}, -1106),
    ({**LIMIT, "timeInForce": "GTD"}, -1102),
    ({**LIMIT, "timeInForce": "GTD", "goodTillDate": "1790000500000"}, -5040),
    ({**LIMIT, "timeInForce": "GTX", "price": "100010"}, -5022),
    ({**LIMIT, "timeInForce": "FOK", "price": "100010", "quantity": "1.001"}, -5021),
    ({**LIMIT, "quantity": "900", "price": "99000"}, -2019),
    ({**MARKET, "reduceOnly": "true"}, -2022),
    ({**LIMIT, "type": "STOP", "stopPrice": "99000"}, -4120),
    ({**MARKET, "type": "TRAILING_STOP_MARKET", "callbackRate": "1"}, -4120),
]


@pytest.mark.parametrize(("params", "code"), REFUSED)
def test_what_is_refused_is_refused_with_its_code_and_leaves_no_trace(
    venue: Emulated, params: dict[str, str], code: int
) -> None:
    named = {"symbol": "BTCUSDT", "side": "BUY", **params}
    assert venue.code("POST", ORDER, **named) == code
    assert venue.ask("GET", "/fapi/v1/allOrders") == []
    assert venue.told(OrderEvent) == []


def test_an_acknowledgement_tells_nothing_of_what_was_done(venue: Emulated) -> None:
    answer = venue.order("BUY", "0.5", newOrderRespType="ACK")
    assert (answer["status"], answer["executedQty"], answer["cumQty"]) == ("NEW", "0.000", "0.000")
    assert not {"avgPrice", "cumQuote"} & answer.keys()


def test_a_market_order_fills_at_once_with_account_and_public_trade(venue: Emulated) -> None:
    answer = venue.order("BUY", "1.5", newClientOrderId="mine")
    assert (answer["status"], answer["executedQty"], answer["type"]) == ("FILLED", "1.500", "MARKET")
    # 1 at 100,010 and 0.5 at 100,020; taker fee 0.05 %.
    found = venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
    assert Decimal(found["cumQuote"]) == Decimal("100010") + Decimal("50010")
    assert Decimal(found["avgPrice"]) == Decimal("100013.33333")
    rows = venue.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert [(row["price"], row["qty"], row["commission"], row["maker"]) for row in rows] == [
        ("100010.00", "1.000", "50.00500000", False),
        ("100020.00", "0.500", "25.00500000", False),
    ]
    kinds = [type(event) for event in venue.events]
    assert kinds.index(OrderEvent) < kinds.index(Trade)
    # As recorded in March 2026: the order, then for each execution the account before the execution.
    told = [type(event) for event in venue.events if isinstance(event, OrderEvent | AccountEvent)]
    assert told == [OrderEvent, AccountEvent, OrderEvent, AccountEvent, OrderEvent]
    prints = [event for event in venue.events if isinstance(event, Trade)]
    assert [one.trade_id for one in prints] == [row["id"] for row in rows]
    assert {one.aggressor for one in prints} == {Side.BUY}


def test_the_published_book_shows_own_orders_and_what_was_taken(venue: Emulated) -> None:
    venue.order("BUY", "0.4", "99995")
    venue.order("SELL", "0.3", selfTradePreventionMode="NONE")
    book = venue.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=5)
    # The sale met the own bid: nothing of the market's was taken.
    assert book["bids"][:2] == [["99995.00", "0.100"], ["99990.00", "1.000"]]
    deltas = venue.told(BookDelta)
    assert [(one.bids, one.asks) for one in deltas] == [([(999_950, 400)], []), ([(999_950, 100)], [])]
    assert deltas[1].prev_id == deltas[0].last_id
    assert deltas[1].last_id == book["lastUpdateId"]


def test_a_quote_is_told_when_the_best_changes_and_only_then(venue: Emulated) -> None:
    venue.order("BUY", "0.4", "99995")
    venue.order("BUY", "0.4", "99000")
    quotes = venue.told(Quote)
    assert [(one.bid, one.bid_lots) for one in quotes] == [(999_950, 400)]


@pytest.mark.parametrize(
    ("mode", "resting", "arriving"),
    [
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH"),
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "NEW"),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
        ("NONE", "FILLED", "FILLED"),
    ],
)
def test_own_orders_meet_as_the_prevention_mode_says(venue: Emulated, mode: str, resting: str, arriving: str) -> None:
    venue.order("BUY", "0.4", "99995", newClientOrderId="rests")
    answer = venue.order("SELL", "0.4", "99995", selfTradePreventionMode=mode)
    assert answer["status"] == arriving
    assert venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="rests")["status"] == resting


def test_what_an_immediate_order_does_not_get_expires(venue: Emulated) -> None:
    answer = venue.order("BUY", "1.5", "100010", timeInForce="IOC")
    assert (answer["status"], answer["executedQty"]) == ("EXPIRED", "1.000")
    last = venue.told(OrderEvent)[-1]
    assert (last.execution, last.order.expiry_reason) == ("EXPIRED", 2)


def test_a_resting_order_is_filled_by_the_market_as_maker(venue: Emulated) -> None:
    venue.order("BUY", "0.4", "99995", newClientOrderId="rests")
    venue.events.clear()
    venue.trade("BTCUSDT", "99995", "1", Side.SELL)
    assert _executions(venue) == [("TRADE", "FILLED", "0.400")]
    (row,) = venue.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    # Maker fee 0.02 %.
    assert (row["maker"], row["commission"]) == (True, "7.99960000")


def test_a_public_trade_that_filled_own_orders_is_told_in_parts(venue: Emulated) -> None:
    venue.order("BUY", "0.4", "99995")
    venue.trade("BTCUSDT", "99995", "1", Side.SELL)
    prints = venue.told(Trade)
    assert sorted(one.lots for one in prints) == [400, 600]
    assert len({one.trade_id for one in prints}) == 2


def test_a_change_is_told_and_remembered(venue: Emulated) -> None:
    order_id = venue.order("BUY", "0.4", "99000")["orderId"]
    venue.events.clear()
    answer = venue.ask("PUT", ORDER, symbol="BTCUSDT", side="BUY", orderId=order_id, quantity="0.5", price="99100")
    assert (answer["origQty"], answer["price"], answer["status"]) == ("0.500", "99100.00", "NEW")
    assert _executions(venue) == [("AMENDMENT", "NEW", "0.000")]
    (row,) = venue.ask("GET", "/fapi/v1/orderAmendment", symbol="BTCUSDT", orderId=order_id)
    assert row["amendment"] == {
        "price": {"before": "99000.00", "after": "99100.00"},
        "origQty": {"before": "0.400", "after": "0.500"},
        "count": 1,
    }


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"quantity": "0.4", "price": "99000"}, -5027),
        ({"quantity": "0.4", "price": "99000.05"}, -4014),
        ({"quantity": "0.001", "price": "40000"}, -5029),
        ({"quantity": "0.5", "price": "99000", "side": "SELL"}, -1117),
        ({"quantity": "0.5", "price": "99000", "orderId": None, "origClientOrderId": "strange"}, -2013),
        ({"quantity": "0.5", "price": "99000", "orderId": None}, -1102),
        ({"quantity": "0.5"}, -1102),
        ({"quantity": "900", "price": "99000"}, -2019),
    ],
)
def test_a_refused_change_leaves_the_order_as_it_was(venue: Emulated, params: dict[str, str], code: int) -> None:
    order_id = venue.order("BUY", "0.4", "99000")["orderId"]
    named = {"symbol": "BTCUSDT", "side": "BUY", "orderId": order_id, **params}
    assert venue.code("PUT", ORDER, **named) == code
    found = venue.ask("GET", ORDER, symbol="BTCUSDT", orderId=order_id)
    assert (found["status"], found["origQty"], found["price"]) == ("NEW", "0.400", "99000.00")


def test_a_change_of_a_post_only_order_that_would_take_ends_it(venue: Emulated) -> None:
    # Source: facts C3, `PUT /fapi/v1/order`.
    order_id = venue.order("BUY", "0.4", "99000", timeInForce="GTX")["orderId"]
    answer = venue.ask("PUT", ORDER, symbol="BTCUSDT", side="BUY", orderId=order_id, quantity="0.4", price="100010")
    assert answer["status"] == "CANCELED"


def test_cancelling_is_told_once_and_refused_afterwards(venue: Emulated) -> None:
    order_id = venue.order("BUY", "0.4", "99000")["orderId"]
    venue.events.clear()
    assert venue.ask("DELETE", ORDER, symbol="BTCUSDT", orderId=order_id)["status"] == "CANCELED"
    assert _executions(venue) == [("CANCELED", "CANCELED", "0.000")]
    assert venue.code("DELETE", ORDER, symbol="BTCUSDT", orderId=order_id) == -2011
    assert venue.code("GET", "/fapi/v1/openOrder", symbol="BTCUSDT", orderId=order_id) == -2013
    assert venue.code("GET", ORDER, symbol="ETHUSDT", orderId=order_id) == -2013


def test_a_client_id_is_unique_among_open_orders_only(venue: Emulated) -> None:
    venue.order("BUY", "0.4", "99000", newClientOrderId="again")
    assert venue.code("POST", ORDER, symbol="BTCUSDT", side="BUY", newClientOrderId="again", **LIMIT) == -4116
    venue.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="again")
    answer = venue.order("BUY", "0.4", "99000", newClientOrderId="again")
    assert venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="again")["orderId"] == answer["orderId"]


def test_all_orders_of_a_symbol_end_together(venue: Emulated) -> None:
    venue.order("BUY", "0.4", "99000")
    venue.order("BUY", "0.4", "99100")
    venue.order("BUY", "1", "3900", "ETHUSDT")
    assert venue.ask("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")["code"] == 200
    assert [one["symbol"] for one in venue.ask("GET", "/fapi/v1/openOrders")] == ["ETHUSDT"]


def test_the_dead_mans_switch_ends_the_symbols_orders_unless_it_is_put_off(venue: Emulated) -> None:
    venue.order("BUY", "0.4", "99000")
    venue.order("BUY", "1", "3900", "ETHUSDT")
    path = "/fapi/v1/countdownCancelAll"
    assert venue.ask("POST", path, symbol="BTCUSDT", countdownTime=30_000) == {
        "symbol": "BTCUSDT",
        "countdownTime": "30000",
    }
    venue.wait(29)
    venue.ask("POST", path, symbol="BTCUSDT", countdownTime=30_000)
    venue.wait(29)
    assert len(venue.ask("GET", "/fapi/v1/openOrders")) == 2
    venue.wait(1)
    assert [one["symbol"] for one in venue.ask("GET", "/fapi/v1/openOrders")] == ["ETHUSDT"]


def test_a_good_till_date_order_ends_at_its_second(venue: Emulated) -> None:
    # 1,790,000,000 s is the start; the milliseconds are cut.
    venue.order("BUY", "0.4", "99000", timeInForce="GTD", goodTillDate=1_790_000_700_999, newClientOrderId="gtd")
    venue.wait(699)
    assert venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="gtd")["status"] == "NEW"
    venue.wait(1)
    found = venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="gtd")
    assert (found["status"], found["goodTillDate"]) == ("EXPIRED", 1_790_000_700_000)


def test_price_match_is_the_price_of_the_nth_level(venue: Emulated) -> None:
    # Correction 16 of the facts: levels, not ticks.
    venue.book("BTCUSDT", bids=[(99_990, "1"), (99_980, "1"), (99_900, "1"), (99_800, "1"), (99_700, "1")])
    answer = venue.order("BUY", "0.4", timeInForce="GTC", type="LIMIT", priceMatch="QUEUE_5")
    assert (answer["price"], answer["priceMatch"]) == ("99700.00", "QUEUE_5")
    answer = venue.order("BUY", "0.4", timeInForce="GTC", type="LIMIT", priceMatch="OPPONENT")
    assert answer["status"] == "FILLED"


def test_reduce_only_orders_shrink_with_the_position_and_expire_with_it(venue: Emulated) -> None:
    venue.order("BUY", "0.5")
    venue.order("SELL", "0.5", "101000", reduceOnly="true", newClientOrderId="out")
    venue.order("SELL", "0.5")
    found = venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="out")
    assert found["status"] == "EXPIRED"
    last = [event for event in venue.told(OrderEvent) if event.order.client_order_id == "out"][-1]
    assert last.order.expiry_reason == 4


def test_each_order_of_a_batch_is_judged_alone(venue: Emulated) -> None:
    rows = (
        '[{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC","quantity":0.4,"price":"99000",'
        '"newClientOrderId":"one"},{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC",'
        '"quantity":"0.4","price":"99000.05"}]'
    )
    first, second = venue.ask("POST", "/fapi/v1/batchOrders", batchOrders=rows)
    assert (first["clientOrderId"], first["status"]) == ("one", "NEW")
    assert second["code"] == -4014
    change = '[{"symbol":"BTCUSDT","side":"BUY","origClientOrderId":"one","quantity":"0.5","price":"99000"}]'
    (changed,) = venue.ask("PUT", "/fapi/v1/batchOrders", batchOrders=change)
    assert changed["origQty"] == "0.500"
    ended = venue.ask("DELETE", "/fapi/v1/batchOrders", symbol="BTCUSDT", origclientorderidlist='["one", "two"]')
    assert [row.get("status", row.get("code")) for row in ended] == ["CANCELED", -2011]
    assert venue.code("POST", "/fapi/v1/batchOrders", batchOrders="[" + ",".join(["{}"] * 6) + "]") == -4082


def test_a_test_order_is_checked_and_not_placed(venue: Emulated) -> None:
    path = "/fapi/v1/order/test"
    assert venue.ask("POST", path, symbol="BTCUSDT", side="BUY", **MARKET)["status"] == "NEW"
    assert venue.code("POST", path, symbol="BTCUSDT", side="BUY", **{**LIMIT, "price": "99000.05"}) == -4014
    assert venue.ask("GET", "/fapi/v1/allOrders", symbol="BTCUSDT") == []


def test_history_is_asked_by_number_time_and_limit(venue: Emulated) -> None:
    numbers = []
    for _ in range(3):
        numbers.append(venue.order("BUY", "0.1")["orderId"])
        venue.wait(10)
    path = "/fapi/v1/allOrders"
    assert [row["orderId"] for row in venue.ask("GET", path, symbol="BTCUSDT")] == numbers
    assert [row["orderId"] for row in venue.ask("GET", path, symbol="BTCUSDT", orderId=numbers[1])] == numbers[1:]
    assert [row["orderId"] for row in venue.ask("GET", path, symbol="BTCUSDT", limit=1)] == numbers[2:]
    since = {"startTime": 1_790_000_005_000, "endTime": 1_790_000_015_000}
    assert [row["orderId"] for row in venue.ask("GET", path, symbol="BTCUSDT", **since)] == numbers[1:2]
    trades = venue.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert venue.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", fromId=trades[1]["id"]) == trades[1:]
    assert venue.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", orderId=numbers[0]) == trades[:1]
    assert venue.code("GET", path, symbol="BTCUSDT", startTime=2, endTime=1) == -1127


def test_what_is_long_over_is_not_told_any_more(venue: Emulated) -> None:
    # 90 days, without an execution 3. Source: facts C3.
    filled = venue.order("BUY", "0.1")["orderId"]
    ended = venue.order("BUY", "0.1", "99000")["orderId"]
    venue.ask("DELETE", ORDER, symbol="BTCUSDT", orderId=ended)
    rests = venue.order("BUY", "0.1", "99000")["orderId"]
    day = 86_400
    venue.wait(3 * day + 1)
    assert venue.code("GET", ORDER, symbol="BTCUSDT", orderId=ended) == -2013
    assert [row["orderId"] for row in venue.ask("GET", "/fapi/v1/allOrders", orderId=filled)] == [filled, rests]
    venue.wait(87 * day)
    assert venue.code("GET", ORDER, symbol="BTCUSDT", orderId=filled) == -2013
    assert venue.ask("GET", ORDER, symbol="BTCUSDT", orderId=rests)["status"] == "NEW"
    week = {"startTime": 0, "endTime": 7 * day * 1_000 + 1}
    assert venue.code("GET", "/fapi/v1/allOrders", symbol="BTCUSDT", **week) == -4165
