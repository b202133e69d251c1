"""The official SDK trades on the emulator; it knows every documented field of every answer, and its type."""

from pathlib import Path
from typing import Any

import pytest
from client_scripts import Served, made_all, serving
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

CALLS = {
    "market": (
        "check_server_time exchange_information order_book rpi_order_book recent_trades_list old_trades_lookup"
        " compressed_aggregate_trades_list kline_candlestick_data continuous_contract_kline_candlestick_data"
        " index_price_kline_candlestick_data mark_price_kline_candlestick_data premium_index_kline_data mark_price"
        " get_funding_rate_history get_funding_rate_info ticker24hr_price_change_statistics symbol_price_ticker"
        " symbol_price_ticker_v2 symbol_order_book_ticker open_interest open_interest_statistics long_short_ratio"
        " top_trader_long_short_ratio_accounts top_trader_long_short_ratio_positions taker_buy_sell_volume basis"
        " quarterly_contract_settlement_price query_index_price_constituents query_insurance_fund_balance_snapshot"
        " composite_index_symbol_information asset_index adl_risk trading_schedule test_connectivity"
    ),
    "orders": (
        "new_order test_order query_order query_current_open_order current_all_open_orders modify_order"
        " get_order_modify_history cancel_order auto_cancel_all_open_orders cancel_all_open_orders account_trade_list"
        " all_orders"
    ),
    "conditional": (
        "query_algo_order current_all_algo_open_orders cancel_algo_order query_all_algo_orders"
        " cancel_all_algo_open_orders"
    ),
    "batch": "place_multiple_orders modify_multiple_orders cancel_multiple_orders",
    "account": (
        "account_information_v2 account_information_v3 futures_account_balance_v2 futures_account_balance_v3"
        " position_information_v2 position_information_v3 position_adl_quantile_estimation get_income_history"
        " futures_account_configuration symbol_configuration futures_trading_quantitative_rules_indicators"
        " notional_and_leverage_brackets user_commission_rate query_user_rate_limit get_bnb_burn_status"
        " toggle_bnb_burn_on_futures_trade users_force_orders get_download_id_for_futures_order_history"
        " get_futures_order_history_download_link_by_id"
    ),
    "modes": (
        "change_initial_leverage change_margin_type modify_isolated_position_margin"
        " get_position_margin_change_history get_current_position_mode change_position_mode"
        " get_current_multi_assets_mode change_multi_assets_mode"
    ),
    "listen_key": "start_user_data_stream keepalive_user_data_stream close_user_data_stream",
    "streams": (
        "aggregate_trade_streams mark_price_stream kline_candlestick_streams individual_symbol_ticker_streams"
        " individual_symbol_mini_ticker_stream all_market_mini_tickers_stream individual_symbol_book_ticker_streams"
        " diff_book_depth_streams partial_book_depth_streams"
    ),
}

WS_CALLS = {
    "ws_orders": (
        "order_book symbol_price_ticker symbol_order_book_ticker new_order query_order modify_order cancel_order"
        " new_algo_order cancel_algo_order"
    ),
    "ws_account": (
        "account_information account_information_v2 futures_account_balance futures_account_balance_v2"
        " position_information position_information_v2 start_user_data_stream keepalive_user_data_stream"
        " close_user_data_stream"
    ),
}

ABSENT = {
    # Of trailing orders only.
    "activatePrice": "test_order query_order query_current_open_order current_all_open_orders cancel_order all_orders"
    " cancel_multiple_orders ws_cancel_order ws_query_order new_algo_order",
    "priceRate": "test_order query_order query_current_open_order current_all_open_orders cancel_order all_orders"
    " cancel_multiple_orders ws_cancel_order ws_query_order",
    "callbackRate": "new_algo_order",
    "AP": "OrderTradeUpdate",
    "cr": "OrderTradeUpdate",
    "ia": "AlgoUpdate",
    # Of an algo order that has triggered, or was refused then.
    "act": "AlgoUpdate",
    "ap": "AlgoUpdate",
    "aq": "AlgoUpdate",
    "rm": "AlgoUpdate",
    # Of a request that named one.
    "modifyId": "modify_order modify_multiple_orders get_order_modify_history ws_modify_order",
    "M": "OrderTradeUpdate",
    # Of the inverse futures, which share the models.
    "baseQty": "account_trade_list",
    "cumBase": "all_orders users_force_orders",
    "pair": "all_orders account_trade_list",
    # Always null.
    "icebergQuantity": "new_algo_order query_algo_order current_all_algo_open_orders query_all_algo_orders"
    " ws_new_algo_order",
    "isExpired": "get_futures_order_history_download_link_by_id",
    # Of a refusal within a batch.
    "code": "place_multiple_orders modify_multiple_orders cancel_multiple_orders",
    "msg": "place_multiple_orders modify_multiple_orders cancel_multiple_orders",
    # Of hedge mode, and of the event's kind.
    "HEDGE": "position_adl_quantile_estimation",
    "LONG": "position_adl_quantile_estimation",
    "SHORT": "position_adl_quantile_estimation",
    "ai": "AccountConfigUpdate",
    "S": "AccountUpdate",
    # Where the venue has something to say of them.
    "ACCOUNT": "futures_trading_quantitative_rules_indicators",
    "marketSchedules": "trading_schedule",
    # The model looks beside the result for them.
    "bids": "ws_order_book",
    "asks": "ws_order_book",
}
"""Documented fields that the true venue leaves out of these answers as well."""

FILTERS = {"exchange_information"}
"""Here one model stands for filters of every kind: no filter has all its fields."""


def judge(got: dict[str, list[Any]]) -> None:
    """The SDK complained of no type, and no documented field was missing but those that the venue leaves out."""
    assert got["complaints"] == []
    lacking = {
        (name, field)
        for name, fields in got.get("absent", [])
        for field in fields
        if name not in FILTERS and name.split()[0] not in ABSENT.get(field.rsplit(".", 1)[-1], "").split()
    }
    assert lacking == set()


@pytest.mark.parametrize("part", [part for part in CALLS if part != "modes"])
def test_the_sdk_finds_every_field(emulator: Served, part: str) -> None:
    got = emulator.run("sdk.py", part)
    made_all(got, CALLS[part])
    judge(got)


def test_the_sdk_changes_modes(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("sdk.py", "modes")
    made_all(got, CALLS["modes"])
    judge(got)


@pytest.mark.parametrize("part", list(WS_CALLS))
def test_the_sdk_orders_over_the_websocket_api(emulator: Served, part: str) -> None:
    got = emulator.run("sdk.py", part)
    assert {f"ws_{name}" for name in WS_CALLS[part].split()} <= set(got)
    judge(got)


def test_the_sdk_hears_of_its_account(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("sdk.py", "user")
    judge(got)
    orders = [event["o"] for event in got["OrderTradeUpdate"]]
    assert [one["x"] for one in orders][:2] == ["NEW", "CANCELED"]
    assert {one["X"] for one in orders} >= {"NEW", "CANCELED", "FILLED"}


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.usefixtures("clients")
def test_clients_sign_with_keys(kind: str, tmp_path: Path) -> None:
    """The emulator knows the public half; the secret of the first line stays valid besides."""
    key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey = (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65_537, 2_048)
    )
    public = tmp_path / "public.pem"
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with serving(tmp_path, "--public-key", str(public)) as keyed:
        parts = ("orders", "batch", "ws_logon") if kind == "ed25519" else ("orders", "batch", "ws_orders")
        got = keyed.run("sdk.py", *parts, private_key=private)
        assert got["new_order"][0]["status"] == "NEW"
        if kind == "ed25519":
            assert got["session.logon"][0]["result"]["apiKey"] == keyed.told["api_key"]
            assert got["session.status"][0]["result"]["apiKey"] == keyed.told["api_key"]
            assert got["session.logout"][0]["result"]["apiKey"] is None
        for script, part in (
            ("python_binance_rest.py", "orders"),
            ("connector.py", "orders"),
            ("ccxt_rest.py", "orders"),
        ):
            if kind == "rsa" or script != "connector.py":  # the connector knows no Ed25519
                keyed.run(script, part, private_key=private)
