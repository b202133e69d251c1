"""python-binance's sockets and its WebSocket API. Parts: market, user, trigger, orders."""

import asyncio
import sys
from typing import Any

from binance import AsyncClient, BinanceSocketManager, FuturesDepthCacheManager
from binance.exceptions import BinanceAPIException
from recording import Calls, base, told

SYMBOL = "BTCUSDT"


async def client(given: dict[str, Any]) -> Any:
    """Return the client, unmodified but for its URLs."""

    class Here(AsyncClient):  # type: ignore[misc]
        API_URL = given["rest"] + "/api"
        FUTURES_URL = given["rest"] + "/fapi"
        WS_FUTURES_URL = given["ws_api"]

    return await Here.create(given["api_key"], given["secret"])


async def market(c: Calls, x: Any, m: Any) -> None:
    sockets = {
        "futures_depth_socket": m.futures_depth_socket(SYMBOL),
        "kline_futures_socket": m.kline_futures_socket(SYMBOL),
        "aggtrade_futures_socket": m.aggtrade_futures_socket(SYMBOL),
        "symbol_mark_price_socket": m.symbol_mark_price_socket(SYMBOL),
        "all_mark_price_socket": m.all_mark_price_socket(),
        "symbol_ticker_futures_socket": m.symbol_ticker_futures_socket(SYMBOL),
        "individual_symbol_ticker_futures_socket": m.individual_symbol_ticker_futures_socket(SYMBOL),
        "futures_ticker_socket": m.futures_ticker_socket(),
        "all_ticker_futures_socket": m.all_ticker_futures_socket(),
        "futures_multiplex_socket": m.futures_multiplex_socket(["btcusdt@aggTrade", "ethusdt@aggTrade"]),
    }
    for name, socket in sockets.items():
        async with socket as opened:
            await c.within(name, opened.recv())
    async with FuturesDepthCacheManager(x, SYMBOL, bm=m) as depth:
        cache = await asyncio.wait_for(depth.recv(), 60)
        c.note("FuturesDepthCacheManager", {"bids": cache.get_bids()[:3], "asks": cache.get_asks()[:3]})


async def user(c: Calls, x: Any, m: Any) -> None:
    async with m.futures_user_socket() as opened:
        await x.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.01)
        await x.futures_create_order(symbol=SYMBOL, side="SELL", type="MARKET", quantity=0.01, reduceOnly="true")
        seen: list[Any] = []
        while [one["e"] for one in seen].count("ACCOUNT_UPDATE") < 2:
            seen.append(await asyncio.wait_for(opened.recv(), 60))
        c.note("futures_user_socket", seen)


async def _stop_just_below(x: Any) -> Any:
    """Place a stop below the last price, which may fall through it meanwhile: then once more."""
    for _ in range(20):
        last = float((await x.futures_symbol_ticker(symbol=SYMBOL))["price"])
        try:
            return await x.futures_create_order(
                symbol=SYMBOL, side="SELL", type="STOP_MARKET", quantity=0.01, stopPrice=f"{last - 0.5:.1f}"
            )
        except BinanceAPIException as error:
            if error.code != -2021:
                raise
    raise AssertionError("the market fell through twenty stops")


async def trigger(c: Calls, x: Any, m: Any) -> None:
    """A large sale of our own prints below the stop."""
    async with m.futures_user_socket() as opened:
        stop = c.note("stop", await _stop_just_below(x))
        await x.futures_create_order(symbol=SYMBOL, side="SELL", type="MARKET", quantity=40)
        seen: list[Any] = []
        while not any(one["e"] == "ALGO_UPDATE" and one["o"]["X"] == "FINISHED" for one in seen):
            seen.append(await asyncio.wait_for(opened.recv(), 60))
        c.note("events", seen)
        c.note("afterwards", await x.futures_get_algo_order(algoId=stop["algoId"]))
        await x.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=40.01, reduceOnly="true")


async def orders(c: Calls, x: Any, m: Any) -> None:
    await c.await_call(x.ws_futures_get_order_book, symbol=SYMBOL, limit=5)
    await c.await_call(x.ws_futures_get_all_tickers)
    ticker = await c.await_call(x.ws_futures_get_order_book_ticker, symbol=SYMBOL)
    bid = float(ticker["bidPrice"])
    order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 0.01}
    made = await c.await_call(x.ws_futures_create_order, **order, price=f"{bid * 0.97:.1f}")
    number = made["orderId"]
    await c.await_call(x.ws_futures_get_order, symbol=SYMBOL, orderId=number)
    await c.await_call(
        x.ws_futures_edit_order, symbol=SYMBOL, orderId=number, side="BUY", quantity=0.02, price=f"{bid * 0.96:.1f}"
    )
    await c.await_call(x.ws_futures_cancel_order, symbol=SYMBOL, orderId=number)
    stop = await c.within(
        "ws_futures_create_order STOP_MARKET",
        x.ws_futures_create_order(
            symbol=SYMBOL, side="SELL", type="STOP_MARKET", quantity=0.01, triggerPrice=f"{bid * 0.9:.1f}"
        ),
    )
    await c.await_call(x.ws_futures_cancel_algo_order, algoId=stop["algoId"])
    await c.await_call(x.ws_futures_v2_account_position)
    await c.await_call(x.ws_futures_account_position)
    await c.await_call(x.ws_futures_v2_account_balance)
    await c.await_call(x.ws_futures_account_balance)
    await c.await_call(x.ws_futures_v2_account_status)
    await c.await_call(x.ws_futures_account_status)


async def main() -> None:
    given = told()
    calls = Calls()
    here = await client(given)

    class Streams(BinanceSocketManager):  # type: ignore[misc]
        FSTREAM_URL = base(given["ws_public"]) + "/"

    try:
        for part in sys.argv[1:]:
            parts = {"market": market, "user": user, "trigger": trigger, "orders": orders}
            await parts[part](calls, here, Streams(here))
    finally:
        await here.close_connection()
    calls.tell()


if __name__ == "__main__":
    asyncio.run(main())
