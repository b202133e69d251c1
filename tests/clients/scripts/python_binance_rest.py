"""python-binance's `Client` over REST. Parts: market, orders, conditional, batch, account, modes, stream, refusals."""

import sys
from typing import Any

from binance.client import Client
from recording import Calls, told

SYMBOL = "BTCUSDT"


def client(given: dict[str, Any]) -> Any:
    """Return the client, unmodified but for its URLs; its constructor pings the spot API."""

    class Here(Client):  # type: ignore[misc]
        API_URL = given["rest"] + "/api"
        MARGIN_API_URL = given["rest"] + "/sapi"
        FUTURES_URL = given["rest"] + "/fapi"
        FUTURES_DATA_URL = given["rest"] + "/futures/data"

    if "private_key" in given:
        return Here(given["api_key"], private_key=given["private_key"])
    return Here(given["api_key"], given["secret"])


def market(c: Calls, x: Any) -> None:
    c.call(x.ping)
    c.call(x.get_server_time)
    c.call(x.futures_ping)
    c.call(x.futures_time)
    c.call(x.futures_exchange_info)
    c.call(x.futures_order_book, symbol=SYMBOL, limit=20)
    c.call(x.futures_rpi_depth, symbol=SYMBOL, limit=1000)
    c.call(x.futures_recent_trades, symbol=SYMBOL, limit=5)
    c.call(x.futures_historical_trades, symbol=SYMBOL, limit=5)
    c.call(x.futures_aggregate_trades, symbol=SYMBOL, limit=5)
    c.call(x.futures_klines, symbol=SYMBOL, interval="1m", limit=5)
    c.call(x.futures_mark_price_klines, symbol=SYMBOL, interval="1m", limit=5)
    c.call(x.futures_index_price_klines, pair=SYMBOL, interval="1m", limit=5)
    c.call(x.futures_premium_index_klines, symbol=SYMBOL, interval="1m", limit=5)
    c.call(x.futures_continuous_klines, pair=SYMBOL, contractType="PERPETUAL", interval="1m", limit=5)
    c.call(x.futures_historical_klines, SYMBOL, "1h", "6 hours ago UTC")
    c.call(x.futures_mark_price, symbol=SYMBOL)
    c.note("futures_mark_price of all", x.futures_mark_price())
    c.call(x.futures_funding_rate, symbol=SYMBOL, limit=3)
    c.call(x.futures_v1_get_funding_info)
    c.call(x.futures_ticker, symbol=SYMBOL)
    c.note("futures_ticker of all", x.futures_ticker())
    c.call(x.futures_symbol_ticker, symbol=SYMBOL)
    c.call(x.futures_orderbook_ticker, symbol=SYMBOL)
    c.call(x.futures_open_interest, symbol=SYMBOL)
    c.call(x.futures_index_price_constituents, symbol=SYMBOL)
    c.call(x.futures_open_interest_hist, symbol=SYMBOL, period="5m", limit=3)
    c.call(x.futures_global_longshort_ratio, symbol=SYMBOL, period="5m", limit=3)
    c.call(x.futures_top_longshort_account_ratio, symbol=SYMBOL, period="5m", limit=3)
    c.call(x.futures_top_longshort_position_ratio, symbol=SYMBOL, period="5m", limit=3)
    c.call(x.futures_taker_longshort_ratio, symbol=SYMBOL, period="5m", limit=3)
    c.call(x.futures_delivery_price, pair=SYMBOL)


def _below(x: Any, share: float) -> str:
    bid = float(x.futures_orderbook_ticker(symbol=SYMBOL)["bidPrice"])
    return f"{bid * share:.1f}"


def orders(c: Calls, x: Any) -> None:
    low = _below(x, 0.97)
    limit = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 0.01, "price": low}
    made = c.call(x.futures_create_order, **limit)
    number = made["orderId"]
    c.call(x.futures_create_test_order, **limit)
    c.call(x.futures_get_order, symbol=SYMBOL, orderId=number)
    c.call(x.futures_v1_get_open_order, symbol=SYMBOL, orderId=number)
    c.call(x.futures_get_open_orders, symbol=SYMBOL)
    c.note("futures_get_open_orders of all", x.futures_get_open_orders())
    c.call(x.futures_modify_order, symbol=SYMBOL, orderId=number, side="BUY", quantity=0.02, price=_below(x, 0.96))
    c.call(x.futures_v1_get_order_amendment, symbol=SYMBOL, orderId=number)
    c.call(x.futures_cancel_order, symbol=SYMBOL, orderId=number)
    c.note("named", x.futures_create_order(**limit, newClientOrderId="desk:1/a.b-c_D"))
    c.note("cancel by name", x.futures_cancel_order(symbol=SYMBOL, origClientOrderId="desk:1/a.b-c_D"))
    c.call(x.futures_limit_buy_order, symbol=SYMBOL, quantity=0.01, price=low, timeInForce="GTX")
    c.call(x.futures_countdown_cancel_all, symbol=SYMBOL, countdownTime=0)
    c.call(x.futures_cancel_all_open_orders, symbol=SYMBOL)
    c.note(
        "market buy",
        x.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.02, newOrderRespType="RESULT"),
    )
    c.call(x.futures_account_trades, symbol=SYMBOL)
    c.note("market sell", x.futures_market_sell_order(symbol=SYMBOL, quantity=0.02, reduceOnly=True))
    c.call(x.futures_get_all_orders, symbol=SYMBOL)


def conditional(c: Calls, x: Any) -> None:
    low, high = _below(x, 0.9), _below(x, 1.1)
    common = {"symbol": SYMBOL, "side": "SELL", "quantity": 0.01}
    stop = c.note("STOP_MARKET", x.futures_create_order(**common, type="STOP_MARKET", stopPrice=low))
    c.note("STOP", x.futures_create_order(**common, type="STOP", stopPrice=low, price=low, timeInForce="GTC"))
    c.note("TAKE_PROFIT_MARKET", x.futures_create_order(**common, type="TAKE_PROFIT_MARKET", triggerPrice=high))
    c.note(
        "TAKE_PROFIT",
        x.futures_create_order(**common, type="TAKE_PROFIT", stopPrice=high, price=high, timeInForce="GTC"),
    )
    trail = c.note("TRAILING", x.futures_create_order(**common, type="TRAILING_STOP_MARKET", callbackRate=1))
    c.note("futures_get_order", x.futures_get_order(algoId=stop["algoId"], conditional=True))
    c.call(x.futures_get_algo_order, clientAlgoId=trail["clientAlgoId"])
    c.call(x.futures_get_open_algo_orders, symbol=SYMBOL)
    c.note("futures_cancel_order", x.futures_cancel_order(algoId=stop["algoId"], conditional=True))
    c.call(x.futures_cancel_algo_order, clientAlgoId=trail["clientAlgoId"])
    c.call(x.futures_cancel_all_algo_open_orders, symbol=SYMBOL)
    c.call(x.futures_get_all_algo_orders, symbol=SYMBOL)
    c.note("open afterwards", x.futures_get_open_algo_orders(symbol=SYMBOL))


def batch(c: Calls, x: Any) -> None:
    rows = [
        {
            "symbol": SYMBOL,
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
            "price": _below(x, share),
        }
        for share in (0.97, 0.96, 0.95)
    ]
    made = c.call(x.futures_place_batch_order, batchOrders=rows)
    c.call(x.futures_cancel_orders, symbol=SYMBOL, orderidlist=[one["orderId"] for one in made[:2]])
    c.note(
        "cancel by client ids",
        x.futures_cancel_orders(symbol=SYMBOL, origclientorderidlist=[made[2]["clientOrderId"]]),
    )
    c.note("open afterwards", x.futures_get_open_orders(symbol=SYMBOL))


def account(c: Calls, x: Any) -> None:
    c.call(x.futures_account)
    c.note("futures_account v3", x.futures_account(version=3))
    c.call(x.futures_account_balance)
    c.note("futures_account_balance v2", x.futures_account_balance(version=2))
    c.call(x.futures_position_information, symbol=SYMBOL)
    c.note("futures_position_information v2", x.futures_position_information(symbol=SYMBOL, version=2))
    c.call(x.futures_income_history, limit=10)
    c.call(x.futures_commission_rate, symbol=SYMBOL)
    c.call(x.futures_leverage_bracket, symbol=SYMBOL)
    c.call(x.futures_adl_quantile_estimate)
    c.call(x.futures_liquidation_orders)
    c.call(x.futures_api_trading_status)
    c.call(x.futures_account_config)
    c.call(x.futures_symbol_config, symbol=SYMBOL)
    c.call(x.futures_v1_get_rate_limit_order)
    c.call(x.futures_v1_get_fee_burn)
    c.call(x.futures_v1_post_fee_burn, feeBurn="false")


def modes(c: Calls, x: Any) -> None:
    c.call(x.futures_change_leverage, symbol=SYMBOL, leverage=9)
    c.call(x.futures_change_margin_type, symbol=SYMBOL, marginType="ISOLATED")
    c.refused("same margin type", x.futures_change_margin_type, symbol=SYMBOL, marginType="ISOLATED")
    x.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.02)
    c.call(x.futures_change_position_margin, symbol=SYMBOL, amount=30, type=1)
    c.call(x.futures_position_margin_history, symbol=SYMBOL)
    c.refused("margin type with a position", x.futures_change_margin_type, symbol=SYMBOL, marginType="CROSSED")
    x.futures_create_order(symbol=SYMBOL, side="SELL", type="MARKET", quantity=0.02, reduceOnly="true")
    x.futures_change_margin_type(symbol=SYMBOL, marginType="CROSSED")
    c.call(x.futures_get_position_mode)
    c.call(x.futures_change_position_mode, dualSidePosition=True)
    c.refused("same position mode", x.futures_change_position_mode, dualSidePosition="true")
    x.futures_change_position_mode(dualSidePosition="false")
    c.call(x.futures_get_multi_assets_mode)
    c.call(x.futures_change_multi_assets_mode, True)
    x.futures_change_multi_assets_mode(False)


def stream(c: Calls, x: Any) -> None:
    key = c.call(x.futures_stream_get_listen_key)
    c.call(x.futures_stream_keepalive, key)
    c.note("the same key again", x.futures_stream_get_listen_key())
    c.call(x.futures_stream_close, key)


def refusals(c: Calls, x: Any) -> None:
    c.refused("unknown symbol", x.futures_order_book, symbol="NOSUCH")
    c.refused("no symbol", x.futures_get_order, orderId=1)
    c.refused("unknown order", x.futures_get_order, symbol=SYMBOL, orderId=999_999_999_999)
    c.refused("cancel of an unknown order", x.futures_cancel_order, symbol=SYMBOL, orderId=999_999_999_999)
    c.refused(
        "stop through the old path",
        x._request_futures_api,
        "post",
        "order",
        True,
        data={"symbol": SYMBOL, "side": "SELL", "type": "STOP_MARKET", "quantity": 0.01, "stopPrice": _below(x, 0.9)},
    )
    x.timestamp_offset = 10_000
    c.refused("a clock ahead", x.futures_account_balance)
    x.timestamp_offset = 0
    c.call(x.futures_account_balance)


if __name__ == "__main__":
    given = told()
    calls = Calls()
    here = client(given)
    for part in sys.argv[1:]:
        {
            "market": market,
            "orders": orders,
            "conditional": conditional,
            "batch": batch,
            "account": account,
            "modes": modes,
            "stream": stream,
            "refusals": refusals,
        }[part](calls, here)
    calls.tell()
