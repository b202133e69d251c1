"""ccxt's `binanceusdm` over REST. Parts: market, orders, conditional, batch, account, modes, refusals, faults."""

import sys
from typing import Any

import ccxt
from recording import Calls, base, told

SYMBOL = "BTC/USDT:USDT"


def client(given: dict[str, Any]) -> Any:
    """Return the client, unmodified but for its URLs: `kind` of exchange with `options` of its own."""
    keys = {"apiKey": given["api_key"], "secret": given.get("private_key", given["secret"])}
    exchange = getattr(ccxt, given.get("kind", "binanceusdm"))({**keys, "options": given.get("options", {})})
    exchange.urls["api"] = {
        name: url.replace(base(url), given["rest"]) if isinstance(url, str) else url
        for name, url in exchange.urls["api"].items()
    }
    return exchange


def market(c: Calls, x: Any) -> None:
    c.note("load_markets", {name: _brief(one) for name, one in x.load_markets().items()})
    c.call(x.fetch_time)
    c.call(x.fetch_status)
    for limit in (None, 5, 1000):
        c.call(x.fetch_order_book, SYMBOL, limit)
    c.call(x.fetch_trades, SYMBOL, limit=20)
    c.note(
        "fetch_trades by trade", x.fetch_trades(SYMBOL, limit=5, params={"fetchTradesMethod": "fapiPublicGetTrades"})
    )
    c.call(x.fetch_ohlcv, SYMBOL, "1m", limit=10)
    for price in ("mark", "index", "premiumIndex"):
        c.note(f"fetch_ohlcv of {price}", x.fetch_ohlcv(SYMBOL, "1h", limit=5, params={"price": price}))
    c.call(x.fetch_ticker, SYMBOL)
    c.call(x.fetch_tickers)
    c.call(x.fetch_bids_asks)
    c.call(x.fetch_last_prices)
    c.call(x.fetch_mark_price, SYMBOL)
    c.call(x.fetch_mark_prices)
    c.call(x.fetch_funding_rate, SYMBOL)
    c.call(x.fetch_funding_rates)
    c.call(x.fetch_funding_rate_history, SYMBOL, limit=3)
    c.call(x.fetch_funding_intervals)
    c.call(x.fetch_open_interest, SYMBOL)
    c.call(x.fetch_currencies)


def orders(c: Calls, x: Any) -> None:
    x.load_markets()
    book = x.fetch_order_book(SYMBOL)
    below = x.price_to_precision(SYMBOL, book["bids"][0][0] * 0.97)
    resting = c.note("create limit", x.create_order(SYMBOL, "limit", "buy", 0.01, below))
    c.call(x.fetch_order, resting["id"], SYMBOL)
    c.call(x.fetch_open_order, resting["id"], SYMBOL)
    c.call(x.fetch_open_orders, SYMBOL)
    lower = x.price_to_precision(SYMBOL, float(below) * 0.99)
    c.call(x.edit_order, resting["id"], SYMBOL, "limit", "buy", 0.02, lower)
    c.call(x.cancel_order, resting["id"], SYMBOL)
    named = c.note(
        "create post-only",
        x.create_order(SYMBOL, "limit", "buy", 0.01, below, {"postOnly": True, "clientOrderId": "mine-1"}),
    )
    c.note("fetch by client id", x.fetch_order(None, SYMBOL, {"origClientOrderId": "mine-1"}))
    c.note("cancel by client id", x.cancel_order(None, SYMBOL, {"origClientOrderId": "mine-1"}))
    c.note("fetch_canceled_orders", [one["id"] for one in x.fetch_canceled_orders(SYMBOL)])
    far = x.price_to_precision(SYMBOL, book["asks"][0][0] * 1.02)
    c.note("create ioc", x.create_order(SYMBOL, "limit", "buy", 0.01, far, {"timeInForce": "IOC"}))
    c.note("create fok", x.create_order(SYMBOL, "limit", "buy", 0.01, far, {"timeInForce": "FOK"}))
    c.note("create market", x.create_order(SYMBOL, "market", "buy", 0.03))
    c.call(x.fetch_my_trades, SYMBOL)
    c.call(x.fetch_closed_orders, SYMBOL)
    c.call(x.fetch_orders, SYMBOL)
    c.note("positions while long", x.fetch_positions([SYMBOL]))
    c.note("create reduce-only", x.create_order(SYMBOL, "market", "sell", 0.05, None, {"reduceOnly": True}))
    c.note("positions when flat", x.fetch_positions([SYMBOL]))
    c.note("named", named["clientOrderId"])
    for _ in range(2):
        x.create_order(SYMBOL, "limit", "buy", 0.01, below)
    c.call(x.cancel_all_orders, SYMBOL)
    c.note("open after cancel_all", x.fetch_open_orders(SYMBOL))


def conditional(c: Calls, x: Any) -> None:
    x.load_markets()
    bid = x.fetch_order_book(SYMBOL)["bids"][0][0]
    x.create_order(SYMBOL, "market", "buy", 0.01)
    low, high = (x.price_to_precision(SYMBOL, bid * share) for share in (0.9, 1.1))
    places = {
        "stop market": ("market", {"stopLossPrice": low, "reduceOnly": True}),
        "stop limit": ("limit", {"stopLossPrice": low}),
        "take profit market": ("market", {"takeProfitPrice": high, "reduceOnly": True}),
        "take profit limit": ("limit", {"takeProfitPrice": high}),
        "trailing": ("market", {"trailingPercent": 1, "reduceOnly": True}),
    }
    made = {}
    for name, (kind, params) in places.items():
        price = {"stop limit": low, "take profit limit": high}.get(name)
        made[name] = c.note(name, x.create_order(SYMBOL, kind, "sell", 0.01, price, params))
    c.note("fetch_open_orders", x.fetch_open_orders(SYMBOL, params={"trigger": True}))
    one = made["stop market"]["id"]
    c.note("fetch_order", x.fetch_order(one, SYMBOL, {"trigger": True}))
    c.note("cancel_order", x.cancel_order(one, SYMBOL, {"trigger": True}))
    c.note("fetch_orders", x.fetch_orders(SYMBOL, params={"trigger": True}))
    c.note("cancel_all_orders", x.cancel_all_orders(SYMBOL, {"trigger": True}))
    c.note("open after cancel_all", x.fetch_open_orders(SYMBOL, params={"trigger": True}))
    x.create_order(SYMBOL, "market", "sell", 0.01, None, {"reduceOnly": True})


def batch(c: Calls, x: Any) -> None:
    x.load_markets()
    bid = x.fetch_order_book(SYMBOL)["bids"][0][0]
    prices = [x.price_to_precision(SYMBOL, bid * share) for share in (0.97, 0.96, 0.95)]
    made = c.call(
        x.create_orders,
        [
            {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.01, "price": price, "params": {}}
            for price in prices
        ],
    )
    c.call(
        x.edit_orders,
        [
            {"id": one["id"], "symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.02, "price": one["price"]}
            for one in made[:2]
        ],
    )
    c.call(x.cancel_orders, [one["id"] for one in made[:2]], SYMBOL)
    c.note("cancel by client ids", x.cancel_orders([], SYMBOL, {"clientOrderIds": [made[2]["clientOrderId"]]}))
    c.note("open afterwards", x.fetch_open_orders(SYMBOL))
    mixed = [
        {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.01, "price": prices[0], "params": {}},
        {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.01, "price": 100_000_000, "params": {}},
    ]
    c.note("one of two refused", x.create_orders(mixed))
    x.cancel_all_orders(SYMBOL)


def account(c: Calls, x: Any) -> None:
    x.load_markets()
    c.call(x.fetch_balance)
    c.note("fetch_balance v2", x.fetch_balance({"useV2": True}))
    x.create_order(SYMBOL, "market", "buy", 0.02)
    c.call(x.fetch_positions)
    c.note("fetch_positions v2", x.fetch_positions([SYMBOL], {"useV2": True}))
    c.note("fetch_positions of the account", x.fetch_positions([SYMBOL], {"method": "account"}))
    x.create_order(SYMBOL, "market", "sell", 0.02, None, {"reduceOnly": True})
    c.call(x.fetch_ledger, "USDT")
    c.call(x.fetch_funding_history, SYMBOL)
    c.call(x.fetch_trading_fee, SYMBOL)
    c.note("fetch_trading_fees", x.fetch_trading_fees()[SYMBOL])
    c.note("fetch_leverage_tiers", x.fetch_leverage_tiers([SYMBOL])[SYMBOL])
    c.call(x.fetch_my_liquidations)
    c.call(x.fetch_positions_adl_rank)
    c.call(x.fetch_adl_rank, SYMBOL)


def modes(c: Calls, x: Any) -> None:
    x.load_markets()
    for leverage in (7, 20):
        c.call(x.set_leverage, leverage, SYMBOL)
    c.call(x.fetch_leverage, SYMBOL)
    c.call(x.fetch_leverages)
    for mode in ("isolated", "cross"):
        c.call(x.set_margin_mode, mode, SYMBOL)
        c.call(x.fetch_margin_mode, SYMBOL)
    c.refused("margin mode again", x.set_margin_mode, "cross", SYMBOL)
    c.call(x.set_position_mode, True)
    c.call(x.fetch_position_mode)
    c.note("open long", x.create_order(SYMBOL, "market", "buy", 0.02, None, {"hedged": True}))
    c.note("open short", x.create_order(SYMBOL, "market", "sell", 0.01, None, {"hedged": True}))
    c.note("hedged positions", x.fetch_positions([SYMBOL]))
    c.note("close long", x.create_order(SYMBOL, "market", "sell", 0.02, None, {"hedged": True, "reduceOnly": True}))
    c.note("close short", x.create_order(SYMBOL, "market", "buy", 0.01, None, {"hedged": True, "reduceOnly": True}))
    c.note("back to one way", x.set_position_mode(False))
    x.set_margin_mode("isolated", SYMBOL)
    x.create_order(SYMBOL, "market", "buy", 0.02)
    c.note("isolated position", x.fetch_positions([SYMBOL]))
    c.call(x.add_margin, SYMBOL, 50)
    c.call(x.reduce_margin, SYMBOL, 20)
    c.call(x.fetch_margin_adjustment_history, SYMBOL)
    x.create_order(SYMBOL, "market", "sell", 0.02, None, {"reduceOnly": True})
    x.set_margin_mode("cross", SYMBOL)


def refusals(c: Calls, x: Any) -> None:
    x.load_markets()
    bid = x.fetch_order_book(SYMBOL)["bids"][0][0]
    below = x.price_to_precision(SYMBOL, bid * 0.97)
    c.refused("unknown order", x.fetch_order, "999999999999", SYMBOL)
    c.refused("cancel of an unknown order", x.cancel_order, "999999999999", SYMBOL)
    c.refused("too small", x.create_order, "ETH/USDT:USDT", "market", "buy", 0.001)
    c.refused("too large", x.create_order, SYMBOL, "market", "buy", 900)
    x.set_leverage(1, SYMBOL)
    c.refused("more than the margin", x.create_order, SYMBOL, "limit", "buy", 100, below)
    x.set_leverage(20, SYMBOL)
    c.refused("post-only that takes", x.create_order, SYMBOL, "limit", "buy", 0.01, bid * 1.02, {"postOnly": True})
    c.refused(
        "reduce-only without a position", x.create_order, SYMBOL, "market", "sell", 0.01, None, {"reduceOnly": True}
    )
    c.refused("leverage out of range", x.set_leverage, 126, SYMBOL)
    twice = {"clientOrderId": "twice"}
    x.create_order(SYMBOL, "limit", "buy", 0.01, below, twice)
    c.refused("client id twice", x.create_order, SYMBOL, "limit", "buy", 0.01, below, twice)
    x.cancel_all_orders(SYMBOL)
    secret, x.secret = x.secret, "wrong"
    c.refused("wrong secret", x.fetch_balance)
    x.secret, key, x.apiKey = secret, x.apiKey, "wrong"
    c.refused("wrong key", x.fetch_balance)
    x.apiKey = key
    x.options["recvWindow"] = 5
    x.nonce = lambda: x.milliseconds() - 60_000
    c.refused("stale timestamp", x.fetch_balance)


def faults(c: Calls, x: Any) -> None:
    """The emulator has been told to fail the orders named here."""
    x.load_markets()
    below = x.price_to_precision(SYMBOL, x.fetch_order_book(SYMBOL)["bids"][0][0] * 0.97)
    for name in ("told 429", "told 503, done", "told 503, not done", "dropped, done"):
        mine = {"clientOrderId": name.replace(" ", "_").replace(",", "")}
        c.refused(name, x.create_order, SYMBOL, "limit", "buy", 0.01, below, mine)
    c.note("open", sorted(one["clientOrderId"] for one in x.fetch_open_orders(SYMBOL)))


def _brief(one: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "swap", "future", "linear", "active", "precision", "limits", "expiry", "contractSize", "settle")
    return {name: one[name] for name in names}


if __name__ == "__main__":
    given = told()
    calls = Calls()
    exchange = client(given)
    for part in sys.argv[1:]:
        {
            "market": market,
            "orders": orders,
            "conditional": conditional,
            "batch": batch,
            "account": account,
            "modes": modes,
            "refusals": refusals,
            "faults": faults,
        }[part](calls, exchange)
    calls.tell()
