"""python-binance (REST, sockets, WebSocket API) trades on the emulator, unmodified but for its URLs."""

import re
from decimal import Decimal
from typing import Any

from client_scripts import Served, made_all

CALLS = {
    "market": (
        "ping get_server_time futures_ping futures_time futures_exchange_info futures_order_book futures_rpi_depth"
        " futures_recent_trades futures_historical_trades futures_aggregate_trades futures_klines"
        " futures_mark_price_klines futures_index_price_klines futures_premium_index_klines futures_continuous_klines"
        " futures_historical_klines futures_mark_price futures_funding_rate futures_v1_get_funding_info futures_ticker"
        " futures_symbol_ticker futures_orderbook_ticker futures_open_interest futures_index_price_constituents"
        " futures_open_interest_hist futures_global_longshort_ratio futures_top_longshort_account_ratio"
        " futures_top_longshort_position_ratio futures_taker_longshort_ratio futures_delivery_price"
    ),
    "orders": (
        "futures_create_order futures_create_test_order futures_get_order futures_v1_get_open_order"
        " futures_get_open_orders futures_modify_order futures_v1_get_order_amendment futures_cancel_order"
        " futures_limit_buy_order futures_countdown_cancel_all futures_cancel_all_open_orders futures_account_trades"
        " futures_get_all_orders"
    ),
    "conditional": (
        "futures_get_algo_order futures_get_open_algo_orders futures_cancel_algo_order"
        " futures_cancel_all_algo_open_orders futures_get_all_algo_orders"
    ),
    "batch": "futures_place_batch_order futures_cancel_orders",
    "account": (
        "futures_account futures_account_balance futures_position_information futures_income_history"
        " futures_commission_rate futures_leverage_bracket futures_adl_quantile_estimate futures_liquidation_orders"
        " futures_api_trading_status futures_account_config futures_symbol_config futures_v1_get_rate_limit_order"
        " futures_v1_get_fee_burn futures_v1_post_fee_burn"
    ),
    "modes": (
        "futures_change_leverage futures_change_margin_type futures_change_position_margin"
        " futures_position_margin_history futures_get_position_mode futures_change_position_mode"
        " futures_get_multi_assets_mode futures_change_multi_assets_mode"
    ),
    "stream": "futures_stream_get_listen_key futures_stream_keepalive futures_stream_close",
    "sockets": (
        "futures_depth_socket kline_futures_socket aggtrade_futures_socket symbol_mark_price_socket"
        " all_mark_price_socket symbol_ticker_futures_socket individual_symbol_ticker_futures_socket"
        " futures_ticker_socket all_ticker_futures_socket futures_multiplex_socket"
        " FuturesDepthCacheManager"
    ),
    "websocket orders": (
        "ws_futures_get_order_book ws_futures_get_all_tickers ws_futures_get_order_book_ticker"
        " ws_futures_create_order ws_futures_get_order ws_futures_edit_order ws_futures_cancel_order"
        " ws_futures_cancel_algo_order ws_futures_v2_account_position ws_futures_account_position"
        " ws_futures_v2_account_balance ws_futures_account_balance ws_futures_v2_account_status"
        " ws_futures_account_status"
    ),
}


def test_python_binance_reads_the_market(emulator: Served) -> None:
    got = emulator.run("python_binance_rest.py", "market")
    made_all(got, CALLS["market"])
    book = got["futures_order_book"][0]
    assert Decimal(book["bids"][0][0]) < Decimal(book["asks"][0][0])
    assert {"lastUpdateId", "E", "T"} <= book.keys()
    symbols = {one["symbol"]: one for one in got["futures_exchange_info"][0]["symbols"]}
    assert {"BTCUSDT", "ETHUSDT"} <= symbols.keys()
    assert {one["filterType"] for one in symbols["BTCUSDT"]["filters"]} >= {
        "PRICE_FILTER",
        "LOT_SIZE",
        "MARKET_LOT_SIZE",
        "MAX_NUM_ORDERS",
        "MIN_NOTIONAL",
        "PERCENT_PRICE",
    }
    assert [len(row) for row in got["futures_klines"][0]] == [12] * 5
    assert got["futures_historical_klines"][0]
    trades = got["futures_recent_trades"][0]
    assert [one["id"] for one in trades] == sorted(one["id"] for one in trades)
    assert {one["symbol"] for one in got["futures_mark_price of all"][0]} == symbols.keys()
    assert {one["symbol"] for one in got["futures_ticker of all"][0]} == symbols.keys()


def test_python_binance_places_changes_and_cancels_orders(emulator: Served) -> None:
    got = emulator.run("python_binance_rest.py", "orders")
    made_all(got, CALLS["orders"])
    placed = got["futures_create_order"][0]
    assert (placed["status"], placed["origQty"], placed["executedQty"]) == ("NEW", "0.010", "0.000")
    for name in ("futures_get_order", "futures_v1_get_open_order"):
        assert got[name][0]["orderId"] == placed["orderId"]
    for name in ("futures_get_open_orders", "futures_get_open_orders of all"):
        assert [one["orderId"] for one in got[name][0]] == [placed["orderId"]]
    changed = got["futures_modify_order"][0]
    assert (changed["orderId"], changed["origQty"]) == (placed["orderId"], "0.020")
    (amendment,) = got["futures_v1_get_order_amendment"][0]
    assert amendment["amendment"]["origQty"] == {"before": "0.010", "after": "0.020"}
    assert got["futures_cancel_order"][0]["status"] == "CANCELED"
    assert got["named"][0]["clientOrderId"] == got["cancel by name"][0]["clientOrderId"] == "desk:1/a.b-c_D"
    assert got["futures_limit_buy_order"][0]["timeInForce"] == "GTX"
    assert got["futures_cancel_all_open_orders"][0]["code"] == 200
    assert got["market buy"][0]["status"] == "FILLED"
    fills = [one for one in got["futures_account_trades"][0] if one["orderId"] == got["market buy"][0]["orderId"]]
    assert sum(Decimal(one["qty"]) for one in fills) == Decimal("0.02")
    statuses = {one["orderId"]: one["status"] for one in got["futures_get_all_orders"][0]}
    assert statuses[placed["orderId"]] == "CANCELED"
    assert statuses[got["market buy"][0]["orderId"]] == "FILLED"


def test_python_binance_keeps_conditional_orders(emulator: Served) -> None:
    got = emulator.run("python_binance_rest.py", "conditional")
    made_all(got, CALLS["conditional"])
    kinds = ("STOP_MARKET", "STOP", "TAKE_PROFIT_MARKET", "TAKE_PROFIT", "TRAILING")
    ids = {got[kind][0]["algoId"] for kind in kinds}
    assert len(ids) == 5
    assert {got[kind][0]["algoStatus"] for kind in kinds} == {"NEW"}
    assert {one["algoId"] for one in got["futures_get_open_algo_orders"][0]} == ids
    assert got["futures_cancel_order"][0]["algoId"] == got["STOP_MARKET"][0]["algoId"]
    assert got["futures_cancel_order"][0]["code"] == "200"
    assert {one["algoId"] for one in got["futures_get_all_algo_orders"][0]} >= ids
    assert got["open afterwards"][0] == []


def test_python_binance_trades_in_batches(emulator: Served) -> None:
    got = emulator.run("python_binance_rest.py", "batch")
    made_all(got, CALLS["batch"])
    assert [one["status"] for one in got["futures_place_batch_order"][0]] == ["NEW"] * 3
    assert [one["status"] for one in got["futures_cancel_orders"][0]] == ["CANCELED"] * 2
    assert [one["status"] for one in got["cancel by client ids"][0]] == ["CANCELED"]
    assert got["open afterwards"][0] == []


def test_python_binance_reads_the_account(emulator: Served) -> None:
    got = emulator.run("python_binance_rest.py", "account")
    made_all(got, CALLS["account"])
    for name in ("futures_account", "futures_account v3"):
        whole = got[name][0]
        assert Decimal(whole["totalMarginBalance"]) > 0
        assert "USDT" in {one["asset"] for one in whole["assets"]}
    balances = [
        {one["asset"]: one["balance"] for one in got[name][0]}
        for name in ("futures_account_balance", "futures_account_balance v2")
    ]
    assert balances[0]["USDT"] == balances[1]["USDT"]
    assert got["futures_position_information v2"][0][0]["marginType"] == "cross"
    assert got["futures_leverage_bracket"][0][0]["brackets"][0]["cum"] == 0


def test_python_binance_changes_modes(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("python_binance_rest.py", "modes")
    made_all(got, CALLS["modes"])
    assert got["futures_change_leverage"][0]["leverage"] == 9
    assert got["futures_change_margin_type"][0] == {"code": 200, "msg": "success"}
    assert got["futures_change_position_margin"][0]["type"] == 1
    assert got["futures_position_margin_history"][0]
    assert {name: _code(got[name][0]) for name in got if "type" in name or name.startswith("same")} == {
        "futures_change_margin_type": None,
        "same margin type": -4046,
        "margin type with a position": -4048,
        "same position mode": -4059,
    }
    assert got["futures_get_position_mode"][0] == {"dualSidePosition": False}
    assert got["futures_get_multi_assets_mode"][0] == {"multiAssetsMargin": False}


def test_python_binance_keeps_a_listen_key(emulator: Served) -> None:
    got = emulator.run("python_binance_rest.py", "stream")
    made_all(got, CALLS["stream"])
    assert got["the same key again"] == got["futures_stream_get_listen_key"]


def test_python_binance_raises_what_it_raises_at_the_venue(emulator: Served) -> None:
    got = emulator.run("python_binance_rest.py", "refusals")
    assert {name: _code(values[0]) for name, values in got.items() if name != "futures_account_balance"} == {
        "unknown symbol": -1121,
        "no symbol": -1102,
        "unknown order": -2013,
        "cancel of an unknown order": -2011,
        "stop through the old path": -4120,
        "a clock ahead": -1021,
    }


def _code(refused: Any) -> int | None:
    found = re.search(r"code=(-\d+)", str(refused))
    return int(found[1]) if found else None


def test_python_binance_listens(emulator: Served) -> None:
    got = emulator.run("python_binance_streams.py", "market")
    made_all(got, CALLS["sockets"])
    depth = got["futures_depth_socket"][0]
    assert depth["stream"] == "btcusdt@depth10"
    assert len(depth["data"]["b"]) <= 10
    assert got["kline_futures_socket"][0]["e"] == "continuous_kline"
    assert got["symbol_mark_price_socket"][0]["data"]["e"] == "markPriceUpdate"
    assert isinstance(got["all_mark_price_socket"][0]["data"], list)


def test_python_binance_hears_of_its_account(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("python_binance_streams.py", "user")
    (events,) = got["futures_user_socket"]
    orders = [one["o"] for one in events if one["e"] == "ORDER_TRADE_UPDATE"]
    bought = [one for one in orders if one["S"] == "BUY"]
    assert bought[0]["x"] == "NEW"
    assert bought[-1]["X"] == "FILLED"
    assert sum(Decimal(one["l"]) for one in bought if one["x"] == "TRADE") == Decimal("0.01")
    positions = [p for one in events if one["e"] == "ACCOUNT_UPDATE" for p in one["a"]["P"]]
    assert [Decimal(positions[0]["pa"]), Decimal(positions[-1]["pa"])] == [Decimal("0.01"), 0]


def test_python_binance_sees_a_stop_trigger(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("python_binance_streams.py", "trigger")
    (stop,) = got["stop"]
    (events,) = got["events"]
    algo = [one["o"] for one in events if one["e"] == "ALGO_UPDATE" and one["o"]["aid"] == stop["algoId"]]
    assert [one["X"] for one in algo] == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
    orders = [one["o"] for one in events if one["e"] == "ORDER_TRADE_UPDATE"]
    (triggered,) = [one for one in orders if one["c"] == stop["clientAlgoId"] and one["X"] == "FILLED"]
    assert (triggered["o"], triggered["z"], str(triggered["i"])) == ("MARKET", "0.010", algo[-1]["ai"])
    assert Decimal(triggered["L"]) < Decimal(stop["triggerPrice"])
    assert got["afterwards"][0]["algoStatus"] == "FINISHED"
    assert got["afterwards"][0]["actualOrderId"] == algo[-1]["ai"]


def test_python_binance_orders_over_the_websocket_api(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("python_binance_streams.py", "orders")
    made_all(got, CALLS["websocket orders"])
    placed = got["ws_futures_create_order"][0]
    assert placed["status"] == "NEW"
    assert got["ws_futures_edit_order"][0]["origQty"] == "0.020"
    assert got["ws_futures_cancel_order"][0]["status"] == "CANCELED"
    assert got["ws_futures_create_order STOP_MARKET"][0]["algoStatus"] == "NEW"
    assert got["ws_futures_cancel_algo_order"][0]["code"] == "200"
