"""A query takes the requests the venue needs, and is answered in full or not at all."""

import json
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from venues.binance.answers import UsdmAnswers
from venues.binance.calls import BinanceCall, Security
from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError, CodecErrorReason
from venues.binance.inquiry import Inquiry, UsdmInquiry
from venues.binance.market_answers import listen_key, server_time_ns, ws_reply
from venues.binance.requests import UsdmRequests
from venues.binance.sign import query_of
from venues.binance.spot_answers import SpotAnswers, may_withdraw
from venues.binance.spot_inquiry import SpotInquiry
from venues.binance.spot_requests import SpotRequests
from venues.model.account import MarginMode, PositionMode
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, PositionSide, Side
from venues.port import (
    AdlRank,
    Bar,
    BookSnapshot,
    FundingRate,
    Income,
    IncomeKind,
    InstrumentState,
    InstrumentStatus,
    ModifyOrder,
    OpenInterest,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderModified,
    OrderReport,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    Report,
)

D = Decimal
K = QueryKind
MS = 1_000_000
NOW = 1_700_000_000_000 * MS
DAY = 86_400_000 * MS
BTC = Instrument("binance-usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.10"), D("0.001"))
ETH = Instrument("binance-usdm", "ETHUSDT", InstrumentKind.PERPETUAL, "ETH", "USDT", D("0.01"), D("0.001"))
CASH = Instrument("binance-spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
P = BTC.id


def ask(kind: QueryKind, instrument: str | None = None, **fields: Any) -> UsdmInquiry:
    query = Query(1, "a", "q-1", kind, instrument, **fields)
    decoder = BinanceDecoder({"BTCUSDT": BTC, "ETHUSDT": ETH})
    return UsdmInquiry(UsdmRequests([BTC, ETH]), UsdmAnswers("binance-usdm"), decoder, query, NOW)


def ask_cash(kind: QueryKind, instrument: str | None = None, **fields: Any) -> SpotInquiry:
    query = Query(1, "a", "q-1", kind, instrument, **fields)
    decoder = BinanceDecoder({"BTCUSDT": CASH})
    return SpotInquiry(SpotRequests([CASH]), SpotAnswers("binance-spot"), decoder, query, NOW)


def shown(call: BinanceCall) -> str:
    return f"{call.path}?{query_of(call.params)}"


def run(inquiry: Inquiry, answers: Mapping[str, object]) -> list[Report]:
    """Answer every request by its path, those that follow from answers too."""
    open_calls = list(inquiry.calls)
    while open_calls:
        call = open_calls.pop(0)
        open_calls += inquiry.take(call, json.dumps(answers[call.path]).encode())
    return inquiry.reports()


def result(reports: list[Report]) -> QueryResult:
    (last,) = reports
    assert isinstance(last, QueryResult)
    assert (last.ts, last.account, last.query_id) == (NOW, "a", "q-1")
    return last


ORDER: dict[str, Any] = {
    "orderId": 1917641, "symbol": "BTCUSDT", "clientOrderId": "desk-1", "status": "PARTIALLY_FILLED", "side": "BUY",
    "origQty": "0.40", "executedQty": "0.10", "price": "9300.1", "type": "LIMIT", "positionSide": "BOTH",
    "updateTime": 1579276756075, "time": 1579276756000, "avgPrice": "9300", "cumQuote": "930",
}  # fmt: skip
REPORT = OrderReport(
    NOW, "a", P, "desk-1", "1917641", Side.BUY, D("0.40"), D("0.10"), OrderStatus.PARTIALLY_FILLED, OrderType.LIMIT,
    D("9300.1"),
)  # fmt: skip
ALGO: dict[str, Any] = {
    "algoId": 2148627, "clientAlgoId": "s-1", "algoType": "CONDITIONAL", "orderType": "STOP_MARKET",
    "symbol": "BTCUSDT", "side": "SELL", "positionSide": "LONG", "quantity": "0.01", "algoStatus": "NEW",
    "triggerPrice": "750.000", "price": "0", "updateTime": 1750514941540,
}  # fmt: skip
ALGO_REPORT = OrderReport(
    NOW, "a", P, "s-1", "2148627", Side.SELL, D("0.01"), D(0), OrderStatus.ACCEPTED, OrderType.STOP_MARKET, None,
    PositionSide.LONG,
)  # fmt: skip


# Orders


def test_an_order():
    inquiry = ask(K.ORDER, P, client_order_id="desk-1")
    assert [shown(call) for call in inquiry.calls] == ["/fapi/v1/order?symbol=BTCUSDT&origClientOrderId=desk-1"]
    assert result(run(inquiry, {"/fapi/v1/order": ORDER})).orders == (REPORT,)


def test_an_order_that_waits_for_its_trigger():
    inquiry = ask(K.ORDER, P, client_order_id="s-1")
    (further,) = inquiry.refuse(inquiry.calls[0], -2013, "Order does not exist.")
    assert shown(further) == "/fapi/v1/algoOrder?clientAlgoId=s-1"
    assert inquiry.take(further, json.dumps(ALGO).encode()) == ()
    assert result(inquiry.reports()).orders == (ALGO_REPORT,)


def test_an_order_neither_of_the_two_knows():
    inquiry = ask(K.ORDER, P, client_order_id="x")
    (further,) = inquiry.refuse(inquiry.calls[0], -2013, "Order does not exist.")
    assert inquiry.refuse(further, -2013, "Order does not exist.") == ()
    assert result(inquiry.reports()).orders == ()


def test_an_answer_about_another_order_is_none():
    (failed,) = run(ask(K.ORDER, P, client_order_id="desk-2"), {"/fapi/v1/order": ORDER})
    assert isinstance(failed, QueryFailed)
    assert failed.why == "asked for desk-2, told of desk-1"


def test_an_order_that_was_triggered_and_is_not_found_is_no_end():
    inquiry = ask(K.ORDER, P, client_order_id="s-1")
    (further,) = inquiry.refuse(inquiry.calls[0], -2013, "")
    inquiry.take(further, json.dumps({**ALGO, "algoStatus": "FINISHED"}).encode())
    assert isinstance(inquiry.reports()[0], QueryFailed)


def test_open_orders_are_plain_and_conditional():
    inquiry = ask(K.OPEN_ORDERS)
    # Conditional orders are asked for first: what is triggered between the two is then told of by the second.
    assert [(call.path, call.weight) for call in inquiry.calls] == [("/fapi/v1/openAlgoOrders", 40)]
    triggered = {**ALGO, "clientAlgoId": "desk-1", "algoStatus": "TRIGGERING"}
    over = {**ALGO, "clientAlgoId": "over", "algoStatus": "FINISHED"}
    answers = {"/fapi/v1/openAlgoOrders": [ALGO, triggered, over], "/fapi/v1/openOrders": [ORDER]}
    orders = {report.client_order_id: report for report in result(run(inquiry, answers)).orders}
    assert orders == {"s-1": ALGO_REPORT, "desk-1": REPORT}


def test_open_orders_of_one_instrument_cost_little():
    assert [(shown(call), call.weight) for call in ask(K.OPEN_ORDERS, P).calls] == [
        ("/fapi/v1/openAlgoOrders?symbol=BTCUSDT", 1)
    ]


# Fills


def trade(number: int, time_ms: int, symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {
        "symbol": symbol, "id": number, "orderId": 25851813, "side": "SELL", "price": "7819.01", "qty": "0.002",
        "realizedPnl": "-0.91539999", "commission": "0.07819010", "commissionAsset": "USDT", "time": time_ms,
        "positionSide": "SHORT", "maker": number % 2 == 0,
    }  # fmt: skip


def test_a_fill():
    since = NOW - 3600 * 10**9
    inquiry = ask(K.FILLS, P, since_ns=since)
    (call,) = inquiry.calls
    start = since // MS
    assert shown(call) == (
        f"/fapi/v1/userTrades?symbol=BTCUSDT&startTime={start}&endTime={start + 7 * 86_400_000 - 1}&limit=1000"
    )
    rows = [trade(698760, start + 2), trade(698759, start + 1), trade(1, start - 1)]
    fills = result(run(inquiry, {"/fapi/v1/userTrades": rows})).fills
    # The venue tells no client order id here; what is older than asked for is left out.
    assert fills[0] == OrderFilled(
        (start + 1) * MS, "a", P, "", "25851813", "698759", Side.SELL, D("7819.01"), D("0.002"), Liquidity.TAKER,
        D("0.07819010"), "USDT", FillReason.TAKER, PositionSide.SHORT,
    )  # fmt: skip
    assert [fill.trade_id for fill in fills] == ["698759", "698760"]
    assert fills[1].reason is FillReason.QUEUE


def test_fills_of_all_instruments_in_windows_of_a_week():
    calls = ask(K.FILLS, since_ns=NOW - 15 * DAY).calls
    assert len(calls) == 2 * 3
    for symbol in ("BTCUSDT", "ETHUSDT"):
        spans = [dict(call.params) for call in calls if ("symbol", symbol) in call.params]
        edges = [(int(span["startTime"]), int(span["endTime"])) for span in spans]
        assert edges[0][0] == (NOW - 15 * DAY) // MS
        assert [end + 1 - start for start, end in edges] == [7 * 86_400_000] * 3
        assert all(one[1] + 1 == two[0] for one, two in pairwise(edges))
        assert edges[-1][1] >= NOW // MS


def test_a_full_page_is_followed_by_the_next():
    inquiry = ask(K.FILLS, P, since_ns=NOW - DAY)
    start = (NOW - DAY) // MS
    first = [trade(number, start + number) for number in range(1000)]
    (call,) = inquiry.calls
    (further,) = inquiry.take(call, json.dumps(first).encode())
    assert dict(further.params) == {**dict(call.params), "startTime": str(start + 999)}
    second = [trade(999, start + 999), trade(1000, start + 999)]
    assert inquiry.take(further, json.dumps(second).encode()) == ()
    assert [fill.trade_id for fill in result(inquiry.reports()).fills] == [str(number) for number in range(1001)]


def test_a_page_within_one_instant_cannot_be_turned():
    inquiry = ask(K.FILLS, P, since_ns=NOW - DAY)
    start = (NOW - DAY) // MS
    rows = [trade(number, start) for number in range(1000)]
    assert inquiry.take(inquiry.calls[0], json.dumps(rows).encode()) == ()
    assert isinstance(inquiry.reports()[0], QueryFailed)


def test_what_the_venue_has_forgotten_is_not_nothing():
    for kind in (K.FILLS, K.INCOME):
        inquiry = ask(kind, P, since_ns=NOW - 100 * DAY)
        assert inquiry.calls == ()
        assert isinstance(inquiry.reports()[0], QueryFailed)


# Accounts

RISK: dict[str, Any] = {
    "symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "-0.5", "entryPrice": "60000.1", "markPrice": "60100",
    "liquidationPrice": "71234.5", "isolatedMargin": "0", "notional": "-30050", "adl": 2, "updateTime": 1,
}  # fmt: skip
CONFIG = {"symbol": "BTCUSDT", "marginType": "CROSSED", "isAutoAddMargin": False, "leverage": 21}


def test_positions_need_two_answers():
    inquiry = ask(K.POSITIONS)
    assert [(call.path, call.weight) for call in inquiry.calls] == [
        ("/fapi/v3/positionRisk", 5),
        ("/fapi/v1/symbolConfig", 5),
    ]
    flat = {**RISK, "symbol": "ETHUSDT", "positionAmt": "0.000"}
    stranger = {**RISK, "symbol": "XRPUSDT", "positionAmt": "7", "liquidationPrice": "0", "adl": None}
    answers = {"/fapi/v3/positionRisk": [RISK, flat, stranger], "/fapi/v1/symbolConfig": [CONFIG]}
    both = PositionSide.BOTH
    rank, *rest = run(inquiry, answers)
    # Facts A7: the venue counts from 0 to 4, the port from 1 to 5; flat positions stand in no queue.
    assert rank == AdlRank(NOW, "a", P, 3)
    # A position in what is not traded here is told all the same.
    assert result(rest).positions == (
        PositionReport(NOW, "a", P, both, D("-0.5"), D("60000.1"), D("71234.5"), 21, MarginMode.CROSS),
        PositionReport(NOW, "a", "binance-usdm:XRPUSDT", both, D(7), D("60000.1"), None, None, None),
    )


def test_half_an_answer_is_none():
    for kind in (K.POSITIONS, K.ACCOUNT):
        inquiry = ask(kind)
        path = inquiry.calls[0].path
        told = {"/fapi/v3/positionRisk": [], "/fapi/v3/account": {"assets": []}}[path]
        inquiry.take(inquiry.calls[0], json.dumps(told).encode())
        (failed,) = inquiry.reports()
        assert isinstance(failed, QueryFailed)
        assert failed.why == "1 of the requests were not answered"


def test_the_account():
    assets = [{"asset": "USDT", "walletBalance": "23.72469206"}, {"asset": "BNB", "walletBalance": "-0.5"}]
    answers: dict[str, object] = {
        "/fapi/v3/account": {"totalWalletBalance": "23", "assets": assets, "positions": []},
        "/fapi/v1/accountConfig": {"feeTier": 0, "canTrade": True, "dualSidePosition": True},
    }
    told = result(run(ask(K.ACCOUNT), answers))
    assert told.balances == {"USDT": D("23.72469206"), "BNB": D("-0.5")}
    assert told.position_mode is PositionMode.HEDGE
    answers["/fapi/v1/accountConfig"] = {"dualSidePosition": False}
    assert result(run(ask(K.ACCOUNT), answers)).position_mode is PositionMode.ONE_WAY


def income(kind: str, number: int, amount: str = "-0.375", symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {
        "symbol": symbol, "incomeType": kind, "income": amount, "asset": "USDT", "info": "", "time": NOW // MS - 1000,
        "tranId": number, "tradeId": "",
    }  # fmt: skip


def test_income_without_what_belongs_to_fills():
    rows = [
        income("FUNDING_FEE", 9689322392),
        income("FUNDING_FEE", 9689322392),
        income("REALIZED_PNL", 1, "55"),
        income("COMMISSION", 2),
        income("DELIVERED_SETTELMENT", 3),
        income("TRANSFER", 4, "1000", ""),
        income("INSURANCE_CLEAR", 5),
        income("WELCOME_BONUS", 6),
    ]
    inquiry = ask(K.INCOME, since_ns=NOW - DAY)
    assert shown(inquiry.calls[0]) == f"/fapi/v1/income?startTime={(NOW - DAY) // MS}&limit=1000"
    incomes = result(run(inquiry, {"/fapi/v1/income": rows})).incomes
    assert incomes[0] == Income(
        NOW - 1000 * MS, "a", IncomeKind.FUNDING, "USDT", D("-0.375"), "FUNDING_FEE-9689322392", P
    )
    assert [(one.kind, one.instrument) for one in incomes] == [
        (IncomeKind.FUNDING, P),
        (IncomeKind.TRANSFER, ""),
        (IncomeKind.INSURANCE, P),
        (IncomeKind.OTHER, P),
    ]


# Markets


def test_funding_rates():
    rows = [
        {"symbol": "BTCUSDT", "fundingRate": "-0.03750000", "fundingTime": NOW // MS, "markPrice": "34287.54619963"},
        {"symbol": "BTCUSDT", "fundingRate": "0.00010000", "fundingTime": NOW // MS + 1, "markPrice": ""},
    ]
    told = result(run(ask(K.FUNDING_HISTORY, P, since_ns=NOW), {"/fapi/v1/fundingRate": rows})).rates
    assert told == (
        FundingRate(NOW, P, D("-0.0375"), D("34287.54619963")),
        FundingRate(NOW + MS, P, D("0.0001"), None),
    )


def test_a_book_is_its_own_answer():
    book = {"lastUpdateId": 1027024, "E": 2, "T": 1, "bids": [["60000.00", "0.431"]], "asks": [["60000.20", "0.012"]]}
    inquiry = ask(K.BOOK, P)
    assert shown(inquiry.calls[0]) == "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    # Facts C4: a book of 1,000 levels weighs 20.
    assert (inquiry.calls[0].weight, inquiry.calls[0].security) == (20, Security.NONE)
    (told,) = run(inquiry, {"/fapi/v1/depth": book})
    assert told == BookSnapshot(MS, P, 1027024, [(600000, 431)], [(600002, 12)])


def test_bars_that_have_ended():
    start = NOW // MS - 90_000

    def row(opened: int) -> list[object]:
        return [opened, "1.0", "4.0", "0.5", "2.0", "148976.1", opened + 59_999, "2434.1", 308, "1756.8", "28.4", "0"]

    reports = run(ask(K.BARS, P, since_ns=start * MS), {"/fapi/v1/klines": [row(start), row(start + 60_000)]})
    assert reports[0] == Bar((start + 60_000) * MS, P, start * MS, D(1), D(4), D("0.5"), D(2), D("148976.1"))
    assert len(reports) == 2
    (bar, _) = run(ask(K.MARK_BARS, P), {"/fapi/v1/markPriceKlines": [row(start)]})
    assert isinstance(bar, Bar)
    assert (bar.is_mark, bar.volume) == (True, D(0))


def test_a_bar_that_contradicts_itself_is_refused():
    row = [1, "1.0", "0.9", "0.5", "2.0", "1", 60_000]
    assert isinstance(run(ask(K.BARS, P), {"/fapi/v1/klines": [row]})[0], QueryFailed)


def test_open_interest():
    told = {"openInterest": "10659.509", "symbol": "BTCUSDT", "time": 1589437530011}
    (interest, _) = run(ask(K.OPEN_INTEREST, P), {"/fapi/v1/openInterest": told})
    assert interest == OpenInterest(1589437530011 * MS, P, D("10659.509"))


def test_the_states_of_the_instruments():
    told = {"symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}, {"symbol": "OTHER", "status": "?"}]}
    reports = run(ask(K.INSTRUMENTS), {"/fapi/v1/exchangeInfo": told})
    assert reports[:2] == [
        InstrumentStatus(NOW, P, InstrumentState.OPEN),
        InstrumentStatus(NOW, ETH.id, InstrumentState.CLOSE),
    ]


# What fails, fails whole


def test_every_kind_of_query_is_known():
    assert set(UsdmInquiry.plans) == set(QueryKind)
    assert {plan_path for kind in QueryKind for plan_path in _paths(kind)} <= set(UsdmInquiry.readers)


def _paths(kind: QueryKind) -> set[str]:
    return {call.path for call in ask(kind, P, client_order_id="x").calls}


def test_a_failure_is_told_with_its_reason():
    inquiry = ask(K.ACCOUNT)
    assert inquiry.refuse(inquiry.calls[0], -2015, "Invalid API-key, IP, or permissions for action.") == ()
    assert inquiry.take(inquiry.calls[1], b'{"dualSidePosition":true}') == ()
    assert inquiry.reports() == [
        QueryFailed(NOW, "a", "q-1", K.ACCOUNT, "-2015 Invalid API-key, IP, or permissions for action.")
    ]
    inquiry.fail("later")
    assert inquiry.why.startswith("-2015")


def test_no_such_order_is_an_answer_to_that_question_only():
    inquiry = ask(K.ACCOUNT)
    inquiry.refuse(inquiry.calls[0], -2013, "Order does not exist.")
    assert isinstance(inquiry.reports()[0], QueryFailed)


@pytest.mark.parametrize(
    "query",
    [
        (K.ORDER, P, None),
        (K.ORDER, None, "x"),
        (K.BOOK, None, None),
        (K.FUNDING_HISTORY, None, None),
        (K.BOOK, "binance-usdm:XRPUSDT", None),
    ],
)
def test_a_question_that_cannot_be_asked(query: tuple[QueryKind, str | None, str | None]):
    kind, instrument, client_order_id = query
    inquiry = ask(kind, instrument, client_order_id=client_order_id)
    assert inquiry.calls == ()
    assert isinstance(inquiry.reports()[0], QueryFailed)


def test_an_answer_that_cannot_be_read():
    inquiry = ask(K.ORDER, P, client_order_id="desk-1")
    inquiry.take(inquiry.calls[0], json.dumps({**ORDER, "status": "SOMETHING"}).encode())
    (failed,) = inquiry.reports()
    assert isinstance(failed, QueryFailed)
    assert failed.why == "bad_field: status: 'SOMETHING' is not known"


# Answers to commands

ANSWERS = UsdmAnswers("binance-usdm")
MODIFY = ModifyOrder(1, "a", P, "desk-1", D("0.5"), D("9300.2"))


def test_answers_to_commands():
    body = json.dumps({**ORDER, "status": "NEW"}).encode()
    ts = 1579276756075 * MS
    assert ANSWERS.accepted("a", body) == OrderAccepted(ts, "a", P, "desk-1", "1917641")
    changed = json.dumps({**ORDER, "origQty": "0.5", "price": "9300.2"}).encode()
    assert ANSWERS.modified(MODIFY, changed) == OrderModified(ts, "a", P, "desk-1", D("0.5"), D("9300.2"))
    # Facts C3: a new quantity that is filled already cancels the order.
    ended = json.dumps({**ORDER, "status": "CANCELED"}).encode()
    assert ANSWERS.modified(MODIFY, ended) == OrderCanceled(ts, "a", P, "desk-1", D("0.10"))
    assert ANSWERS.canceled("a", ended) == OrderCanceled(ts, "a", P, "desk-1", D("0.10"))
    assert ANSWERS.canceled("a", json.dumps(ORDER).encode()) is None
    assert ANSWERS.algo_accepted("a", json.dumps(ALGO).encode()) == OrderAccepted(
        1750514941540 * MS, "a", P, "s-1", "2148627"
    )
    assert ANSWERS.leverage(b'{"leverage":21,"maxNotionalValue":"1000000","symbol":"BTCUSDT"}') == (P, 21)


def test_small_answers():
    assert server_time_ns(b'{"serverTime":1499827319559}') == 1499827319559 * MS
    assert listen_key(b'{"listenKey":"pqia91ma19a5s61cv6a81va65sdf19v8a65a1"}').startswith("pqia")
    with pytest.raises(CodecError, match="listenKey"):
        listen_key(b'{"listenKey":"../../x"}')
    reply = ws_reply(
        b'{"id":"7","status":400,"error":{"code":-2010,"msg":"no"},"rateLimits":[{"rateLimitType":"ORDERS",'
        b'"interval":"SECOND","intervalNum":10,"limit":300,"count":12}]}'
    )
    assert (reply.id, reply.status, reply.rate_limits[0].count) == ("7", 400, 12)
    assert reply.error is not None
    assert reply.error.code == -2010


def test_the_documented_samples(data_dir: Path):
    folder = data_dir / "messages" / "binance-usdm" / "http_json"
    assert ANSWERS.balances((folder / "account_info_v2.json").read_bytes()) == {"USDT": D("23.72469206")}
    assert ANSWERS.balances((folder / "balance.json").read_bytes()) == {"USDT": D("122.12345678")}
    (position,) = ANSWERS.positions("a", (folder / "position_risk.json").read_bytes(), {}, NOW)
    assert (position.leverage, position.margin_mode, position.qty) == (20, MarginMode.CROSS, D("0.001"))
    assert ANSWERS.order("a", (folder / "order_response.json").read_bytes(), NOW).client_order_id == "testOrder123"
    (waiting,) = ANSWERS.algo_orders("a", (folder / "open_algo_orders.json").read_bytes(), NOW)
    assert waiting.type is OrderType.STOP_MARKET


# Spot


def test_spot_fills_come_in_windows_of_a_day():
    start = (NOW - 2 * DAY) // MS
    rows = [
        {
            "symbol": "BTCUSDT", "id": 28457, "orderId": 100234, "price": "4.00000100", "qty": "12.0",
            "commission": "10.1", "commissionAsset": "BNB", "time": start + 5, "isBuyer": True, "isMaker": False,
        }
    ]  # fmt: skip
    inquiry = ask_cash(K.FILLS, since_ns=NOW - 2 * DAY)
    spans = [dict(call.params) for call in inquiry.calls]
    assert [int(span["endTime"]) + 1 - int(span["startTime"]) for span in spans] == [86_400_000] * 3
    (fill,) = result(run(inquiry, {"/api/v3/myTrades": rows})).fills
    assert fill == OrderFilled(
        (start + 5) * MS, "a", CASH.id, "", "100234", "28457", Side.BUY, D("4.000001"), D(12), Liquidity.TAKER,
        D("10.1"), "BNB", FillReason.TAKER,
    )  # fmt: skip


def test_a_spot_account_has_balances_and_no_positions():
    told = {"balances": [{"asset": "BTC", "free": "4723846.89208129", "locked": "0.5"}], "canTrade": True}
    found = result(run(ask_cash(K.ACCOUNT), {"/api/v3/account": told}))
    assert (found.balances, found.position_mode) == ({"BTC": D("4723847.39208129")}, None)
    assert result(ask_cash(K.POSITIONS).reports()).positions == ()
    assert isinstance(ask_cash(K.INCOME).reports()[0], QueryFailed)


def test_spot_orders():
    copy: Any = REPORT
    told = evolve(copy, instrument=CASH.id)
    assert result(run(ask_cash(K.ORDER, CASH.id, client_order_id="desk-1"), {"/api/v3/order": ORDER})).orders == (told,)
    assert result(run(ask_cash(K.OPEN_ORDERS), {"/api/v3/openOrders": [ORDER]})).orders == (told,)
    inquiry = ask_cash(K.ORDER, CASH.id, client_order_id="x")
    assert inquiry.refuse(inquiry.calls[0], -2013, "Order does not exist.") == ()
    assert result(inquiry.reports()).orders == ()
    answers = SpotAnswers("binance-spot")
    ack = b'{"symbol":"BTCUSDT","orderId":28,"orderListId":-1,"clientOrderId":"desk-1","transactTime":1507725176595}'
    assert answers.accepted("a", ack) == OrderAccepted(1507725176595 * MS, "a", CASH.id, "desk-1", "28")
    gone = (
        b'{"symbol":"BTCUSDT","origClientOrderId":"desk-1","orderId":4,"clientOrderId":"cancelMyOrder1",'
        b'"transactTime":1684804350068,"executedQty":"0.5","status":"CANCELED"}'
    )
    assert answers.canceled("a", gone) == OrderCanceled(1684804350068 * MS, "a", CASH.id, "desk-1", D("0.5"))


def test_whether_a_key_may_withdraw():
    assert may_withdraw(b'{"ipRestrict":true,"enableWithdrawals":true,"enableReading":true}')
    assert not may_withdraw(b'{"enableWithdrawals":false}')
    with pytest.raises(CodecError) as silent:
        may_withdraw(b"{}")
    assert silent.value.reason is CodecErrorReason.BAD_FIELD
