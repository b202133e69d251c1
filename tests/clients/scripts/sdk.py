"""The official SDK binance-sdk-derivatives-trading-usds-futures, whose models know every documented field and its type.

Parts: market, orders, conditional, batch, account, modes, listen_key (REST); ws_orders, ws_account, ws_logon (WebSocket
API); streams, user (websockets). `complaints` holds what the SDK logs about answers unlike its models; `absent` the
documented fields that an answer lacked.
"""

import asyncio
import logging
import sys
import time
from typing import Any

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    DerivativesTradingUsdsFutures,
)
from pydantic import BaseModel
from recording import Calls, base, told

SYMBOL = "BTCUSDT"


class Complaints(logging.Handler):
    """What the SDK warns of."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[Any] = []
        calls.made["complaints"] = self.heard

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "root":
            self.heard.append(record.getMessage())


def absent(value: Any, path: str = "") -> list[str]:
    """Return the documented fields that a model has no value for, by their names in JSON."""
    if isinstance(value, list):
        return [name for one in value for name in absent(one, path)]
    if not isinstance(value, BaseModel):
        return []
    inner = getattr(value, "actual_instance", None)
    if inner is not None:
        return absent(inner, path)
    found: list[str] = []
    for name, described in type(value).model_fields.items():
        if name == "additional_properties":
            continue
        at = f"{path}.{described.alias or name}" if path else (described.alias or name)
        held = getattr(value, name)
        found += [at] if held is None else absent(held, at)
    return found


class Sdk:
    """The SDK's client and what its answers lacked."""

    def __init__(self, given: dict[str, Any], calls: Calls) -> None:
        key = {"api_key": given["api_key"]}
        key |= {"private_key": given["private_key"]} if "private_key" in given else {"api_secret": given["secret"]}
        self.calls = calls
        self.client = DerivativesTradingUsdsFutures(
            # The SDK gives up after a second by itself: that is a question about the machine, not the emulator.
            config_rest_api=ConfigurationRestAPI(**key, base_path=given["rest"], timeout=30_000),
            config_ws_api=ConfigurationWebSocketAPI(**key, stream_url=given["ws_api"], timeout=30_000),
            config_ws_streams=ConfigurationWebSocketStreams(stream_url=base(given["ws_public"])),
        )
        self.rest = self.client.rest_api

    def note(self, name: str, data: Any) -> Any:
        self.calls.note(name, _shown(data))
        lacking = sorted(set(absent(data)))
        if lacking:
            self.calls.note("absent", [name, lacking])
        return data

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self.note(function.__name__, function(*args, **kwargs).data())

    def named(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self.note(name, function(*args, **kwargs).data())

    async def ask(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await asyncio.wait_for(function(*args, **kwargs), 60)
        return self.note(f"ws_{function.__name__}", answer.data())

    def price(self, share: float) -> float:
        bid = self.rest.symbol_order_book_ticker(symbol=SYMBOL).data()
        bid = getattr(bid, "actual_instance", None) or bid
        return round(float(bid.bid_price) * share, 1)


def _shown(data: Any) -> Any:
    if isinstance(data, list):
        return [_shown(one) for one in data]
    return data.to_dict() if hasattr(data, "to_dict") else data


def market(s: Sdk) -> None:
    x = s.rest
    s.call(x.check_server_time)
    s.call(x.exchange_information)
    s.call(x.order_book, SYMBOL, limit=5)
    s.call(x.rpi_order_book, SYMBOL)
    s.call(x.recent_trades_list, SYMBOL, limit=3)
    s.call(x.old_trades_lookup, SYMBOL, limit=3)
    s.call(x.compressed_aggregate_trades_list, SYMBOL, limit=3)
    s.call(x.kline_candlestick_data, SYMBOL, "1m", limit=3)
    s.call(x.continuous_contract_kline_candlestick_data, SYMBOL, "PERPETUAL", "1m", limit=3)
    s.call(x.index_price_kline_candlestick_data, SYMBOL, "1m", limit=3)
    s.call(x.mark_price_kline_candlestick_data, SYMBOL, "1m", limit=3)
    s.call(x.premium_index_kline_data, SYMBOL, "1m", limit=3)
    s.call(x.mark_price, symbol=SYMBOL)
    s.named("mark_price of all", x.mark_price)
    s.call(x.get_funding_rate_history, symbol=SYMBOL, limit=3)
    s.call(x.get_funding_rate_info)
    s.call(x.ticker24hr_price_change_statistics, symbol=SYMBOL)
    s.call(x.symbol_price_ticker, symbol=SYMBOL)
    s.call(x.symbol_price_ticker_v2, symbol=SYMBOL)
    s.call(x.symbol_order_book_ticker, symbol=SYMBOL)
    s.named("symbol_order_book_ticker of all", x.symbol_order_book_ticker)
    s.call(x.open_interest, SYMBOL)
    s.call(x.open_interest_statistics, SYMBOL, "5m", limit=3)
    s.call(x.long_short_ratio, SYMBOL, "5m", limit=3)
    s.call(x.top_trader_long_short_ratio_accounts, SYMBOL, "5m", limit=3)
    s.call(x.top_trader_long_short_ratio_positions, SYMBOL, "5m", limit=3)
    s.call(x.taker_buy_sell_volume, SYMBOL, "5m", limit=3)
    s.call(x.basis, SYMBOL, "PERPETUAL", "5m", limit=3)
    s.call(x.quarterly_contract_settlement_price, SYMBOL)
    s.call(x.query_index_price_constituents, SYMBOL)
    s.call(x.query_insurance_fund_balance_snapshot, symbol=SYMBOL)
    s.call(x.composite_index_symbol_information)
    s.call(x.asset_index)
    s.call(x.adl_risk, symbol=SYMBOL)
    s.call(x.trading_schedule)
    s.call(x.test_connectivity)


def orders(s: Sdk) -> None:
    x = s.rest
    limit = {"time_in_force": "GTC", "quantity": 0.01, "price": s.price(0.97)}
    made = s.call(x.new_order, SYMBOL, "BUY", "LIMIT", **limit)
    number = made.order_id
    s.call(x.test_order, SYMBOL, "BUY", "LIMIT", **limit)
    s.call(x.query_order, SYMBOL, order_id=number)
    s.call(x.query_current_open_order, SYMBOL, order_id=number)
    s.call(x.current_all_open_orders, symbol=SYMBOL)
    s.call(x.modify_order, SYMBOL, "BUY", 0.02, s.price(0.96), order_id=number)
    s.call(x.get_order_modify_history, SYMBOL, order_id=number)
    s.call(x.cancel_order, SYMBOL, order_id=number)
    x.new_order(SYMBOL, "BUY", "LIMIT", **limit)
    s.call(x.auto_cancel_all_open_orders, SYMBOL, 60_000)
    x.auto_cancel_all_open_orders(SYMBOL, 0)
    s.call(x.cancel_all_open_orders, SYMBOL)
    s.named("market buy", x.new_order, SYMBOL, "BUY", "MARKET", quantity=0.02, new_order_resp_type="RESULT")
    s.call(x.account_trade_list, SYMBOL)
    s.named("market sell", x.new_order, SYMBOL, "SELL", "MARKET", quantity=0.02, reduce_only="true")
    s.call(x.all_orders, SYMBOL)


def conditional(s: Sdk) -> None:
    x = s.rest
    placed: dict[str, dict[str, Any]] = {
        "STOP_MARKET": {"trigger_price": s.price(0.9), "quantity": 0.01},
        "TAKE_PROFIT": {"trigger_price": s.price(1.1), "price": s.price(1.1), "quantity": 0.01, "time_in_force": "GTC"},
        "TRAILING_STOP_MARKET": {"callback_rate": 1.0, "quantity": 0.01},
    }
    made = [
        s.named(f"new_algo_order {kind}", x.new_algo_order, "CONDITIONAL", SYMBOL, "SELL", kind, **how)
        for kind, how in placed.items()
    ]
    s.call(x.query_algo_order, algo_id=made[0].algo_id)
    s.call(x.current_all_algo_open_orders, symbol=SYMBOL)
    s.call(x.cancel_algo_order, algo_id=made[0].algo_id)
    s.call(x.query_all_algo_orders, SYMBOL)
    s.call(x.cancel_all_algo_open_orders, SYMBOL)


def batch(s: Sdk) -> None:
    x = s.rest
    rows = [
        {
            "symbol": SYMBOL,
            "side": "BUY",
            "type": "LIMIT",
            "time_in_force": "GTC",
            "quantity": "0.01",
            "price": str(s.price(share)),
        }
        for share in (0.97, 0.96)
    ]
    made = s.call(x.place_multiple_orders, rows)
    changed = [
        {"order_id": one.order_id, "symbol": SYMBOL, "side": "BUY", "quantity": "0.02", "price": one.price}
        for one in made
    ]
    s.call(x.modify_multiple_orders, changed)
    s.call(x.cancel_multiple_orders, SYMBOL, order_id_list=[one.order_id for one in made])
    s.named("open afterwards", x.current_all_open_orders, symbol=SYMBOL)


def account(s: Sdk) -> None:
    x = s.rest
    x.new_order(SYMBOL, "BUY", "MARKET", quantity=0.02)
    s.call(x.account_information_v2)
    s.call(x.account_information_v3)
    s.call(x.futures_account_balance_v2)
    s.call(x.futures_account_balance_v3)
    s.call(x.position_information_v2, symbol=SYMBOL)
    s.call(x.position_information_v3, symbol=SYMBOL)
    s.call(x.position_adl_quantile_estimation)
    x.new_order(SYMBOL, "SELL", "MARKET", quantity=0.02, reduce_only="true")
    s.call(x.get_income_history)
    s.call(x.futures_account_configuration)
    s.call(x.symbol_configuration, symbol=SYMBOL)
    s.call(x.futures_trading_quantitative_rules_indicators)
    s.call(x.notional_and_leverage_brackets)
    s.call(x.user_commission_rate, SYMBOL)
    s.call(x.query_user_rate_limit)
    s.call(x.get_bnb_burn_status)
    s.call(x.toggle_bnb_burn_on_futures_trade, "false")
    s.call(x.users_force_orders)
    now = int(time.time() * 1000)
    asked = s.call(x.get_download_id_for_futures_order_history, now - 86_400_000, now)
    s.call(x.get_futures_order_history_download_link_by_id, asked.download_id)
    s.calls.note("rate_limits", [one.model_dump() for one in x.futures_account_balance_v3().rate_limits])


def modes(s: Sdk) -> None:
    x = s.rest
    s.call(x.change_initial_leverage, SYMBOL, 12)
    s.call(x.change_margin_type, SYMBOL, "ISOLATED")
    x.new_order(SYMBOL, "BUY", "MARKET", quantity=0.02)
    s.call(x.modify_isolated_position_margin, SYMBOL, 25.0, 1)
    s.call(x.get_position_margin_change_history, SYMBOL)
    x.new_order(SYMBOL, "SELL", "MARKET", quantity=0.02, reduce_only="true")
    x.change_margin_type(SYMBOL, "CROSSED")
    s.call(x.get_current_position_mode)
    s.call(x.change_position_mode, "true")
    x.change_position_mode("false")
    s.call(x.get_current_multi_assets_mode)
    s.call(x.change_multi_assets_mode, "true")
    x.change_multi_assets_mode("false")


def listen_key(s: Sdk) -> None:
    x = s.rest
    s.call(x.start_user_data_stream)
    s.call(x.keepalive_user_data_stream)
    s.call(x.close_user_data_stream)


async def ws_orders(s: Sdk) -> None:
    x = s.client.websocket_api
    await x.create_connection()
    try:
        await s.ask(x.order_book, SYMBOL, limit=5)
        await s.ask(x.symbol_price_ticker, symbol=SYMBOL)
        await s.ask(x.symbol_order_book_ticker, symbol=SYMBOL)
        made = await s.ask(x.new_order, SYMBOL, "BUY", "LIMIT", time_in_force="GTC", quantity=0.01, price=s.price(0.97))
        number = made.result.order_id
        await s.ask(x.query_order, SYMBOL, order_id=number)
        await s.ask(x.modify_order, SYMBOL, "BUY", 0.02, s.price(0.96), order_id=number)
        await s.ask(x.cancel_order, SYMBOL, order_id=number)
        stop = await s.ask(
            x.new_algo_order,
            "CONDITIONAL",
            SYMBOL,
            "SELL",
            "STOP_MARKET",
            quantity=0.01,
            trigger_price=s.price(0.9),
        )
        await s.ask(x.cancel_algo_order, algo_id=stop.result.algo_id)
    finally:
        await x.close_connection(close_session=True)


async def ws_account(s: Sdk) -> None:
    x = s.client.websocket_api
    await x.create_connection()
    try:
        for function in (
            x.account_information,
            x.account_information_v2,
            x.futures_account_balance,
            x.futures_account_balance_v2,
            x.position_information,
            x.position_information_v2,
            x.start_user_data_stream,
            x.keepalive_user_data_stream,
            x.close_user_data_stream,
        ):
            await s.ask(function)
    finally:
        await x.close_connection(close_session=True)


async def ws_logon(s: Sdk) -> None:
    """Log on with an Ed25519 key, trade without signatures, log out."""
    x = s.client.websocket_api
    await x.create_connection()
    try:
        for method in ("session.logon", "session.status"):
            answer = await x.send_signed_message(
                payload={"method": method, "params": {}}, signer=x.signer, session_logon=method == "session.logon"
            )
            s.calls.note(method, answer.data())
        made = await s.ask(x.new_order, SYMBOL, "BUY", "LIMIT", time_in_force="GTC", quantity=0.01, price=s.price(0.97))
        await s.ask(x.cancel_order, SYMBOL, order_id=made.result.order_id)
        answer = await x.send_message(payload={"method": "session.logout", "params": {}}, session_logout=True)
        s.calls.note("session.logout", answer.data())
    finally:
        await x.close_connection(close_session=True)


async def streams(s: Sdk) -> None:
    x = s.client.websocket_streams
    await x.create_connection()
    wanted = {
        "aggregate_trade_streams": x.aggregate_trade_streams("btcusdt"),
        "mark_price_stream": x.mark_price_stream("btcusdt", update_speed="1s"),
        "kline_candlestick_streams": x.kline_candlestick_streams("btcusdt", "1m"),
        "individual_symbol_ticker_streams": x.individual_symbol_ticker_streams("btcusdt"),
        "individual_symbol_mini_ticker_stream": x.individual_symbol_mini_ticker_stream("btcusdt"),
        "all_market_mini_tickers_stream": x.all_market_mini_tickers_stream(),
        "individual_symbol_book_ticker_streams": x.individual_symbol_book_ticker_streams("btcusdt"),
        "diff_book_depth_streams": x.diff_book_depth_streams("btcusdt", update_speed="100ms"),
        "partial_book_depth_streams": x.partial_book_depth_streams("ethusdt", 5, update_speed="100ms"),
    }
    try:
        for name, subscribing in wanted.items():
            handle = await subscribing
            heard: asyncio.Queue[Any] = asyncio.Queue()
            handle.on("message", heard.put_nowait)
            s.note(name, await asyncio.wait_for(heard.get(), 60))
            await handle.unsubscribe()
    finally:
        await x.close_connection(close_session=True)


async def user(s: Sdk) -> None:
    x = s.client.websocket_streams
    key = s.rest.start_user_data_stream().data().listen_key
    await x.create_connection()
    try:
        handle = await x.user_data(key)
        heard: asyncio.Queue[Any] = asyncio.Queue()
        handle.on("message", heard.put_nowait)
        made = s.rest.new_order(SYMBOL, "BUY", "LIMIT", time_in_force="GTC", quantity=0.01, price=s.price(0.97)).data()
        s.rest.cancel_order(SYMBOL, order_id=made.order_id)
        s.rest.new_order(SYMBOL, "BUY", "MARKET", quantity=0.02)
        s.rest.new_algo_order("CONDITIONAL", SYMBOL, "SELL", "STOP_MARKET", quantity=0.01, trigger_price=s.price(0.9))
        s.rest.cancel_all_algo_open_orders(SYMBOL)
        s.rest.change_initial_leverage(SYMBOL, 13)
        s.rest.new_order(SYMBOL, "SELL", "MARKET", quantity=0.02, reduce_only="true")
        names: set[str] = set()
        while not names >= {"OrderTradeUpdate", "AccountUpdate", "AlgoUpdate", "AccountConfigUpdate"}:
            event = (await asyncio.wait_for(heard.get(), 60)).actual_instance
            names.add(type(event).__name__)
            s.note(type(event).__name__, event)
    finally:
        await x.close_connection(close_session=True)


if __name__ == "__main__":
    given = told()
    calls = Calls()
    logging.getLogger().addHandler(Complaints(calls))
    sdk = Sdk(given, calls)
    plain = {
        "market": market,
        "orders": orders,
        "conditional": conditional,
        "batch": batch,
        "account": account,
        "modes": modes,
        "listen_key": listen_key,
    }
    awaited = {"ws_orders": ws_orders, "ws_account": ws_account, "ws_logon": ws_logon, "streams": streams, "user": user}
    for part in sys.argv[1:]:
        if part in plain:
            plain[part](sdk)
        else:
            asyncio.run(awaited[part](sdk))
    calls.tell()
