"""A venue made by hand for one account: it takes every order, fills what it is told to, and answers truthfully by REST.

Books never move but by what the measurement sends. It charges no fees. Shapes: facts C and D.
"""

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field

SYMBOLS = {"BTCUSDT": "USDT", "BTCUSDC": "USDC"}
BID, ASK = Decimal("25351.9"), Decimal("25352.0")
START = Decimal(100_000)

_ZERO = Decimal(0)
_ASK_QTY = "40.660"
_LEVELS = 10
_TICK = Decimal("0.1")
_LEVERAGE = 5
# Limits without end, or the run would be about them.
_LIMITS = [
    {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": 10**9}
    for kind, interval, count in (("REQUEST_WEIGHT", "MINUTE", 1), ("ORDERS", "SECOND", 10), ("ORDERS", "MINUTE", 1))
]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@define
class Position:
    qty: Decimal = _ZERO
    entry: Decimal = _ZERO


@define
class Venue:
    """What the account has, and what it did."""

    wallets: dict[str, Decimal] = field(factory=lambda: dict.fromkeys(SYMBOLS.values(), START))
    positions: dict[str, Position] = field(factory=lambda: {symbol: Position() for symbol in SYMBOLS})
    orders: dict[str, dict[str, Any]] = field(factory=dict)
    trades: list[dict[str, Any]] = field(factory=list)
    updates: dict[str, int] = field(factory=lambda: dict.fromkeys(SYMBOLS, 1_000))
    depths: dict[str, int] = field(factory=lambda: dict.fromkeys(SYMBOLS, 1_000))
    bid_qty: dict[str, str] = field(factory=lambda: dict.fromkeys(SYMBOLS, "31.210"))

    def take(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take a new order and return it as the venue acknowledges it."""
        order = {
            "orderId": len(self.orders) + 1,
            "symbol": params["symbol"],
            "status": "NEW",
            "clientOrderId": params["newClientOrderId"],
            "price": params.get("price", "0"),
            "origQty": params["quantity"],
            "executedQty": "0",
            "side": params["side"],
            "type": params["type"],
            "timeInForce": params.get("timeInForce", "GTC"),
            "positionSide": "BOTH",
            "updateTime": now_ms(),
        }
        self.orders[order["clientOrderId"]] = order
        return order

    def expire(self, order: dict[str, Any]) -> str:
        """End an order unfilled and return the event that tells it."""
        order["status"] = "EXPIRED"
        return self.event(order, "EXPIRED")

    def cancel(self, order: dict[str, Any]) -> str:
        order["status"] = "CANCELED"
        return self.event(order, "CANCELED")

    def fill(self, order: dict[str, Any], *, is_maker: bool) -> str:
        """Fill an order whole, a taker's at the touch, and return the event that tells it."""
        touch = ASK if order["side"] == "BUY" else BID
        price, qty = Decimal(order["price"]) if is_maker else touch, Decimal(order["origQty"])
        signed = qty if order["side"] == "BUY" else -qty
        position, asset = self.positions[order["symbol"]], SYMBOLS[order["symbol"]]
        if position.qty * signed < 0:
            # Positions are closed whole here.
            assert position.qty == -signed
            self.wallets[asset] += (price - position.entry) * position.qty
            position.qty, position.entry = _ZERO, _ZERO
        else:
            assert not position.qty
            position.qty, position.entry = signed, price
        order["status"], order["executedQty"] = "FILLED", order["origQty"]
        self.trades.append(
            {
                "symbol": order["symbol"],
                "id": len(self.trades) + 1,
                "orderId": order["orderId"],
                "side": order["side"],
                "price": str(price),
                "qty": order["origQty"],
                "time": now_ms(),
                "maker": is_maker,
                "commission": "0",
                "commissionAsset": asset,
                "positionSide": "BOTH",
            }
        )
        return self.event(order, "TRADE", price, is_maker=is_maker)

    def event(self, order: Mapping[str, Any], word: str, at: Decimal = _ZERO, *, is_maker: bool = False) -> str:
        """Return ORDER_TRADE_UPDATE with all its fields, of which a desk reads half; a fill's price is `at`."""
        now, qty = now_ms(), order["origQty"]
        last, trade = (qty, len(self.trades)) if at else ("0", 0)
        told = {
            "s": order["symbol"], "c": order["clientOrderId"], "S": order["side"], "o": order["type"],
            "f": order["timeInForce"], "q": qty, "p": order["price"], "ap": str(at), "sp": "0", "x": word,
            "X": order["status"], "i": order["orderId"], "l": last, "z": order["executedQty"],
            "L": str(at), "n": "0", "N": SYMBOLS[order["symbol"]], "T": now, "t": trade, "b": "0",
            "a": "0", "m": is_maker, "R": False, "wt": "CONTRACT_PRICE", "ot": order["type"], "ps": "BOTH", "cp": False,
            "rp": "0", "pP": False, "si": 0, "ss": 0, "V": "NONE", "pm": "NONE", "gtd": 0,
        }  # fmt: skip
        return _text({"e": "ORDER_TRADE_UPDATE", "E": now, "T": now, "o": told})

    # The market

    def quote(self, symbol: str) -> str:
        """Return a best price whose quantity has changed."""
        self.updates[symbol] += 1
        self.bid_qty[symbol] = "32.210" if self.bid_qty[symbol] == "31.210" else "31.210"
        now = now_ms()
        data = {
            "e": "bookTicker", "u": self.updates[symbol], "s": symbol, "b": str(BID), "B": self.bid_qty[symbol],
            "a": str(ASK), "A": _ASK_QTY, "T": now, "E": now,
        }  # fmt: skip
        return _stream(symbol, "bookTicker", data)

    def depth(self, symbol: str) -> str:
        """Return an update that leaves the touch as the last quote told it, and shows that the book lives."""
        before = self.depths[symbol]
        self.depths[symbol] = self.updates[symbol] = after = self.updates[symbol] + 1
        now = now_ms()
        data = {
            "e": "depthUpdate", "E": now, "T": now, "s": symbol, "U": before + 1, "u": after, "pu": before,
            "b": [[str(BID), self.bid_qty[symbol]], [str(BID - _LEVELS * _TICK), f"{1 + after % 9}.000"]],
            "a": [[str(ASK), _ASK_QTY]],
        }  # fmt: skip
        return _stream(symbol, "depth@100ms", data)

    def mark(self, symbol: str) -> str:
        now = now_ms()
        data = {
            "e": "markPriceUpdate", "E": now, "s": symbol, "p": str(BID), "i": str(BID), "P": str(BID), "r": "0.0001",
            "T": now + 8 * 3_600_000,
        }  # fmt: skip
        return _stream(symbol, "markPrice@1s", data)

    # Questions

    def answer(self, method: str, path: str, asked: Mapping[str, str]) -> tuple[int, Any]:
        """Return status and body of a request by REST."""
        found = _ANSWERS.get((method, path))
        return (404, {"code": -5000, "msg": f"{method} {path}"}) if found is None else found(self, asked)

    def _book(self, asked: Mapping[str, str]) -> tuple[int, Any]:
        steps = [_TICK * step for step in range(_LEVELS)]
        bids, asks = [[str(BID - one), "31.210"] for one in steps], [[str(ASK + one), _ASK_QTY] for one in steps]
        told = {"lastUpdateId": self.depths[asked["symbol"]], "E": now_ms(), "T": now_ms()}
        return 200, {**told, "bids": bids, "asks": asks}

    def _order(self, asked: Mapping[str, str]) -> tuple[int, Any]:
        found = self.orders.get(asked["origClientOrderId"])
        return (400, _NO_SUCH_ORDER) if found is None else (200, found)

    def _open_orders(self, asked: Mapping[str, str]) -> tuple[int, Any]:
        return 200, [one for one in list(self.orders.values()) if one["status"] == "NEW" and _is_of(one, asked)]

    def _user_trades(self, asked: Mapping[str, str]) -> tuple[int, Any]:
        first, last = int(asked.get("startTime", 0)), int(asked.get("endTime", 1 << 62))
        found = [one for one in list(self.trades) if first <= one["time"] <= last and _is_of(one, asked)]
        return 200, found[: int(asked.get("limit", 500))]

    def _positions(self, asked: Mapping[str, str]) -> tuple[int, Any]:
        return 200, [
            {
                "symbol": symbol, "positionSide": "BOTH", "positionAmt": str(one.qty), "entryPrice": str(one.entry),
                "liquidationPrice": "0", "marginAsset": SYMBOLS[symbol], "adl": 0, "updateTime": now_ms(),
            }
            for symbol, one in self.positions.items() if one.qty and _is_of({"symbol": symbol}, asked)
        ]  # fmt: skip

    def _account(self, asked: Mapping[str, str]) -> tuple[int, Any]:
        del asked
        return 200, {"assets": [{"asset": name, "walletBalance": str(one)} for name, one in self.wallets.items()]}


def _is_of(row: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    return "symbol" not in asked or bool(asked["symbol"] == row["symbol"])


def _symbol(name: str, quote: str) -> dict[str, Any]:
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": str(_TICK)},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
    ]
    names = {"symbol": name, "pair": name, "baseAsset": "BTC", "quoteAsset": quote, "marginAsset": quote}
    return {**names, "status": "TRADING", "contractType": "PERPETUAL", "filters": filters}


def _says(make: Callable[[Mapping[str, str]], Any]) -> Callable[[Venue, Mapping[str, str]], tuple[int, Any]]:
    return lambda _, asked: (200, make(asked))


_NO_SUCH_ORDER = {"code": -2013, "msg": "Order does not exist."}
_CONFIGS = [{"symbol": name, "marginType": "CROSSED", "leverage": _LEVERAGE} for name in SYMBOLS]
_INFO = {"rateLimits": _LIMITS, "symbols": [_symbol(*one) for one in SYMBOLS.items()]}
_ANSWERS: dict[tuple[str, str], Callable[[Venue, Mapping[str, str]], tuple[int, Any]]] = {
    ("GET", "/fapi/v1/time"): _says(lambda _: {"serverTime": now_ms()}),
    ("GET", "/fapi/v1/exchangeInfo"): _says(lambda _: _INFO),
    ("GET", "/fapi/v1/accountConfig"): _says(lambda _: {"dualSidePosition": False, "canTrade": True}),
    ("GET", "/fapi/v1/symbolConfig"): _says(lambda asked: [one for one in _CONFIGS if _is_of(one, asked)]),
    ("GET", "/fapi/v1/algoOrder"): lambda *_: (400, _NO_SUCH_ORDER),
    ("GET", "/fapi/v1/openAlgoOrders"): _says(lambda _: []),
    ("GET", "/fapi/v1/income"): _says(lambda _: []),
    ("GET", "/fapi/v1/fundingRate"): _says(lambda _: []),
    ("GET", "/fapi/v1/klines"): _says(lambda _: []),
    ("GET", "/fapi/v1/markPriceKlines"): _says(lambda _: []),
    ("POST", "/fapi/v1/listenKey"): _says(lambda _: {"listenKey": "bench"}),
    ("PUT", "/fapi/v1/listenKey"): _says(lambda _: {"listenKey": "bench"}),
    ("POST", "/fapi/v1/countdownCancelAll"): _says(dict),
    ("DELETE", "/fapi/v1/allOpenOrders"): _says(lambda _: {"code": 200, "msg": "done"}),
    ("DELETE", "/fapi/v1/algoOpenOrders"): _says(lambda _: {"code": 200, "msg": "done"}),
    ("GET", "/fapi/v1/depth"): Venue._book,
    ("GET", "/fapi/v1/order"): Venue._order,
    ("GET", "/fapi/v1/openOrders"): Venue._open_orders,
    ("GET", "/fapi/v1/userTrades"): Venue._user_trades,
    ("GET", "/fapi/v3/positionRisk"): Venue._positions,
    ("GET", "/fapi/v3/account"): Venue._account,
}


def _stream(symbol: str, kind: str, data: Mapping[str, Any]) -> str:
    return _text({"stream": f"{symbol.lower()}@{kind}", "data": data})


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))


def rest_server(venue: Venue) -> ThreadingHTTPServer:
    """Return a server of the venue's REST interface on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            asked = dict(parse_qsl(url.query)) | dict(parse_qsl(content))
            status, told = venue.answer(self.command, url.path, asked)
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
