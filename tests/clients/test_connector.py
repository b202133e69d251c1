"""The official binance-futures-connector trades on the emulator, unmodified but for its URLs."""

from decimal import Decimal

from client_scripts import Served, made_all

CALLS = {
    "market": (
        "ping time exchange_info depth trades historical_trades agg_trades klines continuous_klines index_price_klines"
        " mark_price_klines mark_price funding_rate funding_info ticker_24hr_price_change ticker_price book_ticker"
        " quarterly_contract_settlement_price open_interest open_interest_hist long_short_account_ratio index_info"
        " asset_Index index_price_constituents"
    ),
    "orders": (
        "new_order new_order_test query_order get_open_orders get_orders modify_order cancel_order"
        " countdown_cancel_order cancel_open_orders get_account_trades get_all_orders"
    ),
    "batch": "new_batch_order cancel_batch_order",
    "account": (
        "account balance get_position_risk get_income_history leverage_brackets adl_quantile force_orders"
        " api_trading_status commission_rate futures_account_configuration symbol_configuration query_user_rate_limit"
        " download_transactions_asyn aysnc_download_info toggle_bnb_burn get_bnb_burn"
    ),
    "modes": (
        "change_leverage change_margin_type modify_isolated_position_margin get_position_margin_history"
        " get_position_mode change_position_mode get_multi_asset_mode change_multi_asset_mode"
    ),
    "listen key": "new_listen_key renew_listen_key close_listen_key",
    "streams": (
        "agg_trade mark_price mark_price_all_market kline continuous_kline mini_ticker ticker book_ticker"
        " diff_book_depth partial_book_depth"
    ),
}


CODES = ("-2013", "-1121", "-1111", "-4014", "-1102", "-1022")


def test_the_connector_reads_the_market(emulator: Served) -> None:
    got = emulator.run("connector.py", "market")
    made_all(got, CALLS["market"])
    book = got["depth"][0]
    assert Decimal(book["bids"][0][0]) < Decimal(book["asks"][0][0])
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert [len(row) for row in got["klines"][0]] == [12] * 5
    assert got["ping"] == [{}]


def test_the_connector_places_changes_and_cancels_orders(emulator: Served) -> None:
    got = emulator.run("connector.py", "orders")
    made_all(got, CALLS["orders"])
    placed = got["new_order"][0]
    assert placed["status"] == "NEW"
    assert got["query_order"][0]["orderId"] == got["get_open_orders"][0]["orderId"] == placed["orderId"]
    assert [one["orderId"] for one in got["get_orders"][0]] == [placed["orderId"]]
    assert got["modify_order"][0]["origQty"] == "0.020"
    assert got["cancel_order"][0]["status"] == "CANCELED"
    assert got["named"][0]["clientOrderId"] == got["cancel by name"][0]["clientOrderId"] == "a:b/c"
    assert got["countdown_cancel_order"][0] == {"symbol": "BTCUSDT", "countdownTime": "60000"}
    assert got["countdown off"][0] == {"symbol": "BTCUSDT", "countdownTime": "0"}
    assert got["market buy"][0]["status"] == "FILLED"
    assert got["market buy"][0]["orderId"] in {one["orderId"] for one in got["get_account_trades"][0]}


def test_the_connector_trades_in_batches(emulator: Served) -> None:
    got = emulator.run("connector.py", "batch")
    made_all(got, CALLS["batch"])
    assert [one["status"] for one in got["new_batch_order"][0]] == ["NEW"] * 3
    assert [one["status"] for one in got["cancel_batch_order"][0]] == ["CANCELED"] * 2
    assert [one["status"] for one in got["cancel by client ids"][0]] == ["CANCELED"]
    assert got["open afterwards"][0] == []


def test_the_connector_reads_the_account(emulator: Served) -> None:
    got = emulator.run("connector.py", "account")
    made_all(got, CALLS["account"])
    assert Decimal(got["account"][0]["totalWalletBalance"]) > 0
    assert got["get_bnb_burn"][0] == {"feeBurn": False}
    assert int(got["limit usage"][0]["x-mbx-used-weight-1m"]) > 0


def test_the_connector_changes_modes(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("connector.py", "modes")
    made_all(got, CALLS["modes"])
    assert got["change_leverage"][0]["leverage"] == 11
    assert got["get_position_mode"][0] == {"dualSidePosition": False}
    assert got["dual"][0] == {"dualSidePosition": True}
    assert [one["type"] for one in got["get_position_margin_history"][0]] == [1]


def test_the_connector_keeps_a_listen_key(emulator: Served) -> None:
    got = emulator.run("connector.py", "listen_key")
    made_all(got, CALLS["listen key"])
    assert "-1125" in got["renewal of a closed key"][0][1]


def test_the_connector_raises_what_it_raises_at_the_venue(emulator: Served) -> None:
    got = emulator.run("connector.py", "refusals")
    assert {name: [code for code in CODES if code in refused[0][1]] for name, refused in got.items()} == {
        "unknown order": ["-2013"],
        "no such symbol": ["-1121"],
        "between ticks": ["-4014"],
        "too many digits": ["-1111"],
        "missing price": ["-1102"],
        "wrong secret": ["-1022"],
    }


def test_the_connector_listens(emulator: Served) -> None:
    got = emulator.run("connector.py", "streams")
    made_all(got, CALLS["streams"])
    assert got["agg_trade"][0]["s"] == "BTCUSDT"
    assert got["continuous_kline"][0]["ct"] == "PERPETUAL"
    assert {one["s"] for one in got["ticker"][0]} >= {"BTCUSDT"}
    assert len(got["partial_book_depth"][0]["b"]) == 5


def test_the_connector_hears_of_its_account(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("connector.py", "user")
    assert got["subscribed"] == [{"result": None, "id": 1}]
    assert got["user_data"][0]["o"]["S"] == "BUY"
    assert [one["s"] for one in got["account"][0]["a"]["P"]] == ["BTCUSDT"]
