"""ccxt's `binance` on the spot venue over REST. Part: orders."""

import sys
from typing import Any

from ccxt_rest import client
from recording import Calls, told

SYMBOL = "BTC/USDT"


def orders(c: Calls, x: Any) -> None:
    c.note("load_markets", sorted(x.load_markets()))
    c.call(x.fetch_time)
    book = c.call(x.fetch_order_book, SYMBOL, 5)
    c.call(x.fetch_balance)
    below = x.price_to_precision(SYMBOL, book["bids"][0][0] * 0.97)
    resting = c.note("create limit", x.create_order(SYMBOL, "limit", "buy", 0.01, below))
    c.call(x.fetch_order, resting["id"], SYMBOL)
    c.call(x.fetch_open_orders, SYMBOL)
    c.call(x.cancel_order, resting["id"], SYMBOL)
    bought = c.note("create market", x.create_order(SYMBOL, "market", "buy", 0.02))
    c.note("fetch_my_trades", [one for one in x.fetch_my_trades(SYMBOL) if one["order"] == bought["id"]])
    c.note("balance after buying", x.fetch_balance())
    c.note("create market sell", x.create_order(SYMBOL, "market", "sell", 0.01))


if __name__ == "__main__":
    given = told()
    calls = Calls()
    exchange = client(given)
    for part in sys.argv[1:]:
        {"orders": orders}[part](calls, exchange)
    calls.tell()
