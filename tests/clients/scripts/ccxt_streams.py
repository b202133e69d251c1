"""ccxt.pro's `binanceusdm` over websockets. Parts: market, user, orders (the WebSocket API)."""

import asyncio
import sys
from typing import Any

import ccxt.pro
from recording import Calls, base, told

SYMBOL = "BTC/USDT:USDT"


def client(given: dict[str, Any]) -> Any:
    """Return the client, unmodified but for its URLs."""
    exchange = ccxt.pro.binanceusdm({"apiKey": given["api_key"], "secret": given["secret"]})
    urls = exchange.urls["api"]
    for name, url in urls.items():
        if isinstance(url, str):
            urls[name] = url.replace(base(url), given["rest"])
    urls["ws"]["linear"] = base(given["ws_public"]) + "/ws"
    urls["ws"]["ws-api"]["linear"] = given["ws_api"]
    return exchange


async def market(c: Calls, x: Any) -> None:
    for _ in range(3):
        book = await asyncio.wait_for(x.watch_order_book(SYMBOL, 20), 60)
        c.note("watch_order_book", {"bids": book["bids"][:5], "asks": book["asks"][:5], "nonce": book["nonce"]})
    await c.await_call(x.watch_trades, SYMBOL)
    x.options["watchTrades"]["name"] = "aggTrade"
    await c.within("watch_trades of aggTrade", x.watch_trades("ETH/USDT:USDT"))
    await c.await_call(x.watch_ticker, SYMBOL)
    await c.await_call(x.watch_tickers, [SYMBOL, "ETH/USDT:USDT"])
    await c.within("watch_tickers of all", x.watch_tickers())
    await c.await_call(x.watch_bids_asks, [SYMBOL])
    await c.await_call(x.watch_mark_price, SYMBOL)
    await c.await_call(x.watch_mark_prices)
    await c.await_call(x.watch_ohlcv, SYMBOL, "1m")
    both = [SYMBOL, "ETH/USDT:USDT"]
    await c.await_call(x.watch_order_book_for_symbols, both)
    await c.await_call(x.watch_trades_for_symbols, both)
    await c.await_call(x.watch_ohlcv_for_symbols, [[SYMBOL, "1m"], ["ETH/USDT:USDT", "5m"]])
    await c.await_call(x.un_watch_order_book, SYMBOL)


async def _listening(x: Any) -> None:
    """Wait until the client, which connects when it watches and says nothing of it, hears of its account."""
    while not any("/private/" in url for url in x.clients):
        await asyncio.sleep(0)
    await asyncio.gather(*(one.connected for url, one in x.clients.items() if "/private/" in url))


async def user(c: Calls, x: Any) -> None:
    await x.load_markets()
    await c.await_call(x.watch_positions, [SYMBOL])
    orders = asyncio.create_task(c.within("watch_orders of a resting order", x.watch_orders(SYMBOL)))
    await _listening(x)
    bid = (await x.fetch_order_book(SYMBOL))["bids"][0][0]
    resting = await x.create_order(SYMBOL, "limit", "buy", 0.01, x.price_to_precision(SYMBOL, bid * 0.97))
    await orders
    cancelled = asyncio.create_task(c.within("watch_orders of a cancel", x.watch_orders(SYMBOL)))
    await asyncio.sleep(0)
    await x.cancel_order(resting["id"], SYMBOL)
    await cancelled
    watched = [
        asyncio.create_task(c.within("watch_orders of a fill", x.watch_orders(SYMBOL))),
        asyncio.create_task(c.await_call(x.watch_my_trades, SYMBOL)),
        asyncio.create_task(c.await_call(x.watch_balance)),
        asyncio.create_task(c.within("watch_positions of a fill", x.watch_positions([SYMBOL]))),
    ]
    await asyncio.sleep(0)
    await x.create_order(SYMBOL, "market", "buy", 0.02)
    await asyncio.gather(*watched)
    await x.create_order(SYMBOL, "market", "sell", 0.02, None, {"reduceOnly": True})


async def orders(c: Calls, x: Any) -> None:
    await x.load_markets()
    bid = (await x.fetch_order_book(SYMBOL))["bids"][0][0]
    low, lower = (x.price_to_precision(SYMBOL, bid * share) for share in (0.97, 0.96))
    made = await c.await_call(x.create_order_ws, SYMBOL, "limit", "buy", 0.01, low)
    await c.await_call(x.fetch_order_ws, made["id"], SYMBOL)
    await c.await_call(x.edit_order_ws, made["id"], SYMBOL, "limit", "buy", 0.02, lower)
    await c.await_call(x.cancel_order_ws, made["id"], SYMBOL)
    await c.await_call(x.fetch_balance_ws)
    await c.await_call(x.fetch_positions_ws, [SYMBOL])
    await c.await_call(x.fetch_order_book_ws, SYMBOL, 5)
    await c.await_call(x.fetch_ticker_ws, SYMBOL, {"method": "ticker.price"})
    await c.within("returnRateLimits", x.fetch_positions_ws([SYMBOL], {"returnRateLimits": True}))
    try:
        await x.cancel_order_ws("999999999999", SYMBOL)
    except ccxt.pro.OrderNotFound as error:
        c.note("cancel of an unknown order", [type(error).__name__, str(error)])


async def main() -> None:
    given = told()
    calls = Calls()
    parts = {"market": market, "user": user, "orders": orders}
    exchange = client(given)
    try:
        for part in sys.argv[1:]:
            await parts[part](calls, exchange)
    finally:
        await exchange.close()
    calls.tell()


if __name__ == "__main__":
    asyncio.run(main())
