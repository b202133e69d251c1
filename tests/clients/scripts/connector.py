"""The official binance-futures-connector.

Parts: market, orders, batch, account, modes, listen_key, refusals (REST); streams, user (websockets).
"""

import json
import sys
import time
from collections.abc import Callable
from queue import Queue
from typing import Any

from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient
from recording import Calls, told

SYMBOL = "BTCUSDT"


def market(c: Calls, x: Any) -> None:
    c.call(x.ping)
    c.call(x.time)
    c.call(x.exchange_info)
    c.call(x.depth, SYMBOL, limit=5)
    c.call(x.trades, SYMBOL, limit=5)
    c.call(x.historical_trades, SYMBOL, limit=5)
    c.call(x.agg_trades, SYMBOL, limit=5)
    c.call(x.klines, SYMBOL, "1m", limit=5)
    c.call(x.continuous_klines, SYMBOL, "PERPETUAL", "1m", limit=5)
    c.call(x.index_price_klines, SYMBOL, "1m", limit=5)
    c.call(x.mark_price_klines, SYMBOL, "1m", limit=5)
    c.call(x.mark_price, SYMBOL)
    c.call(x.funding_rate, SYMBOL, limit=3)
    c.call(x.funding_info)
    c.call(x.ticker_24hr_price_change, SYMBOL)
    c.call(x.ticker_price, SYMBOL)
    c.call(x.book_ticker, SYMBOL)
    c.call(x.quarterly_contract_settlement_price, SYMBOL)
    c.call(x.open_interest, SYMBOL)
    c.call(x.open_interest_hist, SYMBOL, "5m", limit=3)
    c.call(x.long_short_account_ratio, SYMBOL, "5m", limit=3)
    c.call(x.index_info)
    c.call(x.asset_Index)
    c.call(x.index_price_constituents, SYMBOL)


def _at(x: Any, share: float) -> str:
    return f"{float(x.book_ticker(SYMBOL)['bidPrice']) * share:.1f}"


def orders(c: Calls, x: Any) -> None:
    limit = {"type": "LIMIT", "timeInForce": "GTC", "quantity": 0.01, "price": _at(x, 0.97)}
    made = c.call(x.new_order, SYMBOL, "BUY", **limit)
    number = made["orderId"]
    c.call(x.new_order_test, SYMBOL, "BUY", **limit)
    c.call(x.query_order, SYMBOL, orderId=number)
    c.call(x.get_open_orders, SYMBOL, orderId=number)
    c.call(x.get_orders, symbol=SYMBOL)
    c.call(x.modify_order, SYMBOL, "BUY", 0.02, float(_at(x, 0.96)), orderId=number)
    c.call(x.cancel_order, SYMBOL, orderId=number)
    c.note("named", x.new_order(SYMBOL, "BUY", **limit, newClientOrderId="a:b/c"))
    c.note("cancel by name", x.cancel_order(SYMBOL, origClientOrderId="a:b/c"))
    x.new_order(SYMBOL, "BUY", **limit)
    c.call(x.countdown_cancel_order, SYMBOL, 60_000)
    c.note("countdown off", x.countdown_cancel_order(SYMBOL, 0))
    c.call(x.cancel_open_orders, SYMBOL)
    c.note("market buy", x.new_order(SYMBOL, "BUY", "MARKET", quantity=0.02, newOrderRespType="RESULT"))
    c.call(x.get_account_trades, SYMBOL)
    c.note("market sell", x.new_order(SYMBOL, "SELL", "MARKET", quantity=0.02, reduceOnly="true"))
    c.call(x.get_all_orders, SYMBOL)


def batch(c: Calls, x: Any) -> None:
    made = c.call(
        x.new_batch_order,
        [
            {
                "symbol": SYMBOL,
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.01",
                "price": _at(x, share),
            }
            for share in (0.97, 0.96, 0.95)
        ],
    )
    c.call(x.cancel_batch_order, SYMBOL, orderIdList=[one["orderId"] for one in made[:2]], origClientOrderIdList=[])
    c.note(
        "cancel by client ids",
        x.cancel_batch_order(SYMBOL, orderIdList=[], origClientOrderIdList=[made[2]["clientOrderId"]]),
    )
    c.note("open afterwards", x.get_orders(symbol=SYMBOL))


def account(c: Calls, x: Any) -> None:
    c.call(x.account)
    c.call(x.balance)
    c.call(x.get_position_risk, symbol=SYMBOL)
    c.call(x.get_income_history)
    c.call(x.leverage_brackets, symbol=SYMBOL)
    c.call(x.adl_quantile)
    c.call(x.force_orders)
    c.call(x.api_trading_status)
    c.call(x.commission_rate, SYMBOL)
    c.call(x.futures_account_configuration)
    c.call(x.symbol_configuration, symbol=SYMBOL)
    c.call(x.query_user_rate_limit)
    now = int(time.time() * 1000)
    asked = c.call(x.download_transactions_asyn, now - 86_400_000, now)
    c.call(x.aysnc_download_info, asked["downloadId"])
    c.call(x.toggle_bnb_burn, "false")
    c.call(x.get_bnb_burn)
    x.show_limit_usage = True
    c.note("limit usage", x.balance()["limit_usage"])
    x.show_limit_usage = False


def modes(c: Calls, x: Any) -> None:
    c.call(x.change_leverage, SYMBOL, 11)
    c.call(x.change_margin_type, SYMBOL, "ISOLATED")
    x.new_order(SYMBOL, "BUY", "MARKET", quantity=0.02)
    c.call(x.modify_isolated_position_margin, SYMBOL, 25, 1)
    c.call(x.get_position_margin_history, SYMBOL)
    x.new_order(SYMBOL, "SELL", "MARKET", quantity=0.02, reduceOnly="true")
    x.change_margin_type(SYMBOL, "CROSSED")
    c.call(x.get_position_mode)
    c.call(x.change_position_mode, "true")
    c.note("dual", x.get_position_mode())
    x.change_position_mode("false")
    c.call(x.get_multi_asset_mode)
    c.call(x.change_multi_asset_mode, "true")
    x.change_multi_asset_mode("false")


def listen_key(c: Calls, x: Any) -> None:
    key = c.call(x.new_listen_key)["listenKey"]
    c.call(x.renew_listen_key, key)
    c.call(x.close_listen_key, key)
    c.refused("renewal of a closed key", x.renew_listen_key, key)


def refusals(c: Calls, x: Any) -> None:
    c.refused("unknown order", x.query_order, SYMBOL, orderId=999_999_999_999)
    c.refused("no such symbol", x.depth, "NOSUCH")
    limit = {"timeInForce": "GTC", "quantity": 0.01}
    c.refused("between ticks", x.new_order, SYMBOL, "BUY", "LIMIT", **limit, price=_at(x, 0.97) + "5")
    c.refused("too many digits", x.new_order, SYMBOL, "BUY", "LIMIT", **limit, price=_at(x, 0.97) + "001")
    c.refused("missing price", x.new_order, SYMBOL, "BUY", "LIMIT", **limit)
    secret, x.secret = x.secret, "wrong"
    c.refused("wrong secret", x.balance)
    x.secret = secret


class _Heard:
    """Messages of a socket's thread, handed over."""

    def __init__(self) -> None:
        self.queue: Queue[Any] = Queue()

    def __call__(self, _: Any, text: str) -> None:
        self.queue.put(json.loads(text))

    def next(self, wanted: str) -> Any:
        while True:
            message = self.queue.get(timeout=60)
            first = message[0] if isinstance(message, list) and message else message
            if isinstance(first, dict) and first.get("e") == wanted:
                return message


def _stop(socket: Any) -> None:
    socket.stop()


def streams(c: Calls, given: dict[str, Any]) -> None:
    asked: dict[str, dict[str, tuple[Callable[[Any], Any], str]]] = {
        "market": {
            "agg_trade": (lambda x: x.agg_trade(SYMBOL), "aggTrade"),
            "mark_price": (lambda x: x.mark_price(SYMBOL, 1), "markPriceUpdate"),
            "mark_price_all_market": (lambda x: x.mark_price_all_market(1), "markPriceUpdate"),
            "kline": (lambda x: x.kline(SYMBOL, "1m"), "kline"),
            "continuous_kline": (lambda x: x.continuous_kline(SYMBOL, "perpetual", "1m"), "continuous_kline"),
            "mini_ticker": (lambda x: x.mini_ticker(SYMBOL), "24hrMiniTicker"),
            "ticker": (lambda x: x.ticker(), "24hrTicker"),
        },
        "public": {
            "book_ticker": (lambda x: x.book_ticker(SYMBOL), "bookTicker"),
            "diff_book_depth": (lambda x: x.diff_book_depth(SYMBOL), "depthUpdate"),
            "partial_book_depth": (lambda x: x.partial_book_depth("ETHUSDT", 5, 100), "depthUpdate"),
        },
    }
    for category, calls in asked.items():
        for name, (subscribe, event) in calls.items():
            heard = _Heard()
            socket = UMFuturesWebsocketClient(stream_url=given[f"ws_{category}"], on_message=heard)
            subscribe(socket)
            c.note(name, heard.next(event))
            _stop(socket)


def user(c: Calls, x: Any, given: dict[str, Any]) -> None:
    heard = _Heard()
    socket = UMFuturesWebsocketClient(stream_url=given["ws_private"], on_message=heard)
    socket.user_data(x.new_listen_key()["listenKey"], id=1)
    c.note("subscribed", heard.queue.get(timeout=60))
    x.new_order(SYMBOL, "BUY", "MARKET", quantity=0.01)
    c.note("user_data", heard.next("ORDER_TRADE_UPDATE"))
    c.note("account", heard.next("ACCOUNT_UPDATE"))
    x.new_order(SYMBOL, "SELL", "MARKET", quantity=0.01, reduceOnly="true")
    _stop(socket)


if __name__ == "__main__":
    given = told()
    calls = Calls()
    keys = {"private_key": given["private_key"]} if "private_key" in given else {"secret": given["secret"]}
    here = UMFutures(given["api_key"], **keys, base_url=given["rest"])
    rest = {
        "market": market,
        "orders": orders,
        "batch": batch,
        "account": account,
        "modes": modes,
        "listen_key": listen_key,
        "refusals": refusals,
    }
    for part in sys.argv[1:]:
        if part == "streams":
            streams(calls, given)
        elif part == "user":
            user(calls, here, given)
        else:
            rest[part](calls, here)
    calls.tell()
