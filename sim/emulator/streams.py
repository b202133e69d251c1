"""Decides what a websocket address and a subscription message ask for, and what the venue replies.

Pure. Sources: USDS-M futures and spot "Websocket Market Streams", "Live Subscribing/Unsubscribing to streams" and
"Important WebSocket Change Notice" of developers.binance.com: since 2026-04-23 a futures connection serves one class of
streams, named by its path; of any other class, and of names that mean nothing, it takes the subscription and says
nothing. What is not routed serves the public class only. Spot has one path for everything.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec
from attrs import define, field, frozen

STREAMS_MAX: Final = 1_024
MESSAGES_PER_SECOND_MAX: Final = 10
_SECOND_NS: Final = 1_000_000_000

INTERVALS_MS: Final = {
    "1s": 1_000,
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
    "3d": 259_200_000,
    "1w": 604_800_000,
    "1M": 2_592_000_000,
}
"""Candle intervals by name; a month has no fixed length and its number is only an order of size."""


class Route(StrEnum):
    """The class of streams a connection serves."""

    PUBLIC = "public"
    MARKET = "market"
    PRIVATE = "private"
    LEGACY = "legacy"
    SPOT = "spot"


class Kind(StrEnum):
    BOOK_TICKER = "bookTicker"
    DEPTH = "depth"
    PARTIAL_DEPTH = "partialDepth"
    RPI_DEPTH = "rpiDepth"
    AGG_TRADE = "aggTrade"
    TRADE = "trade"
    MARK_PRICE = "markPrice"
    KLINE = "kline"
    CONTINUOUS_KLINE = "continuousKline"
    TICKER = "ticker"
    MINI_TICKER = "miniTicker"
    FORCE_ORDER = "forceOrder"
    CONTRACT_INFO = "contractInfo"
    COMPOSITE_INDEX = "compositeIndex"
    ASSET_INDEX = "assetIndex"
    TRADING_SESSION = "tradingSession"
    AVERAGE_PRICE = "avgPrice"


_PUBLIC_KINDS: Final = frozenset({Kind.BOOK_TICKER, Kind.DEPTH, Kind.PARTIAL_DEPTH, Kind.RPI_DEPTH})


@frozen
class Stream:
    """One market stream. `symbol` is upper case, empty for streams of all symbols; for continuous candles the pair.

    Equal streams carry the same events, whatever they were called when asked for. `speed_ms` is the shortest time
    between two events, 0 for as they come. `levels` is of partial books, `interval` and `contract` of candles.
    """

    kind: Kind
    symbol: str = ""
    speed_ms: int = 0
    levels: int = 0
    interval: str = ""
    contract: str = ""

    def is_served_by(self, route: Route) -> bool:
        """Single trades are documented nowhere, and asked for on both classes."""
        if route is Route.SPOT:
            return True
        if route is Route.PRIVATE:
            return False
        if route is Route.MARKET:
            return self.kind not in _PUBLIC_KINDS
        return self.kind in _PUBLIC_KINDS or self.kind is Kind.TRADE


def _one(kind: Kind, speed_ms: int = 0) -> Callable[["re.Match[str]"], dict[str, Any]]:
    return lambda _: {"kind": kind, "speed_ms": speed_ms}


def _depth(match: "re.Match[str]") -> dict[str, Any]:
    levels = int(match["levels"] or 0)
    speed = int(match["speed"] or 250)
    return {"kind": Kind.PARTIAL_DEPTH if levels else Kind.DEPTH, "levels": levels, "speed_ms": speed}


def _mark(match: "re.Match[str]") -> dict[str, Any]:
    return {"kind": Kind.MARK_PRICE, "speed_ms": 1_000 if match["speed"] == "@1s" else 3_000}


def _kline(match: "re.Match[str]") -> dict[str, Any]:
    return {"kind": Kind.KLINE, "interval": match["interval"], "speed_ms": 250}


_INTERVAL: Final = f"(?P<interval>{'|'.join(INTERVALS_MS)})"
_OF_SYMBOL: Final = tuple(
    (re.compile(pattern), read)
    for pattern, read in (
        (r"bookTicker", _one(Kind.BOOK_TICKER)),
        (r"depth(?P<levels>5|10|20)?(@(?P<speed>0|100|250|500|1000)ms)?", _depth),
        (r"rpiDepth(@500ms)?", _one(Kind.RPI_DEPTH, 500)),
        (r"aggTrade", _one(Kind.AGG_TRADE)),
        (r"trade", _one(Kind.TRADE)),
        (r"markPrice(?P<speed>@[13]s)?", _mark),
        (rf"kline_{_INTERVAL}", _kline),
        (r"ticker", _one(Kind.TICKER, 2_000)),
        (r"miniTicker", _one(Kind.MINI_TICKER, 2_000)),
        (r"forceOrder", _one(Kind.FORCE_ORDER, 1_000)),
        (r"compositeIndex", _one(Kind.COMPOSITE_INDEX, 1_000)),
        (r"assetIndex", _one(Kind.ASSET_INDEX, 1_000)),
        (r"avgPrice", _one(Kind.AVERAGE_PRICE, 1_000)),
    )
)
_OF_ALL: Final = tuple(
    (re.compile(pattern), read)
    for pattern, read in (
        (r"!bookTicker", _one(Kind.BOOK_TICKER, 5_000)),
        (r"!markPrice@arr(?P<speed>@[13]s)?", _mark),
        (r"!ticker@arr", _one(Kind.TICKER, 1_000)),
        (r"!miniTicker@arr", _one(Kind.MINI_TICKER, 1_000)),
        (r"!forceOrder@arr", _one(Kind.FORCE_ORDER, 1_000)),
        (r"!contractInfo", _one(Kind.CONTRACT_INFO)),
        (r"!assetIndex@arr", _one(Kind.ASSET_INDEX, 1_000)),
        (r"tradingSession", _one(Kind.TRADING_SESSION, 1_000)),
    )
)
_CONTINUOUS: Final = re.compile(rf"(?P<pair>[a-zA-Z0-9]+)_(?P<contract>[a-zA-Z_]+)@continuousKline_{_INTERVAL}")
_CONTRACTS: Final = frozenset({"perpetual", "current_quarter", "next_quarter", "tradifi_perpetual"})


@lru_cache(maxsize=4_096)
def parse_stream(name: str) -> Stream | None:
    """Return the market stream of that name, None when there is none. Symbols may be in either case."""
    for pattern, read in _OF_ALL:
        if match := pattern.fullmatch(name):
            return Stream(**read(match))
    if match := _CONTINUOUS.fullmatch(name):
        if match["contract"].lower() not in _CONTRACTS:
            return None
        pair, contract = match["pair"].upper(), match["contract"].upper()
        return Stream(Kind.CONTINUOUS_KLINE, pair, 250, interval=match["interval"], contract=contract)
    symbol, at, rest = name.partition("@")
    if not at or not symbol:
        return None
    for pattern, read in _OF_SYMBOL:
        if match := pattern.fullmatch(rest):
            return Stream(symbol=symbol.upper(), **read(match))
    return None


@frozen
class Address:
    """What a websocket address asks for.

    `names` are streams and listen keys as written; `events` are the user events wanted by listen key, None for all.
    """

    route: Route
    is_combined: bool
    names: tuple[str, ...] = ()
    events: dict[str, frozenset[str] | None] = field(factory=dict)


_ROUTES: Final = {"public": Route.PUBLIC, "market": Route.MARKET, "private": Route.PRIVATE}


def parse_address(target: str, *, is_spot: bool = False) -> Address | None:
    """Return what the request target of a stream connection asks for, None when nothing is served there.

    `/public|market|private` + `/ws`, `/ws/<a>/<b>`, `/ws?listenKey=<k>&events=<A>/<B>` or `/stream?streams=<a>/<b>`;
    the same without a class. Several listen keys may be given, each followed by its events.
    """
    place, _, query = target.partition("?")
    path = [unquote(part) for part in place.split("/") if part]
    route = Route.SPOT if is_spot else Route.LEGACY
    if path and path[0] in _ROUTES and not is_spot:
        route = _ROUTES[path.pop(0)]
    if not path or path[0] not in {"ws", "stream"}:
        return None
    names = dict.fromkeys(path[1:])
    events: dict[str, frozenset[str] | None] = {}
    key = ""
    for name, value in parse_qsl(query):
        if name == "streams":
            names.update(dict.fromkeys(part for part in value.split("/") if part))
        elif name == "listenKey":
            key = value
            names[key] = None
        elif name == "events" and key:
            events[key] = frozenset(part for part in value.split("/") if part)
    return Address(route, path[0] == "stream", tuple(names), events)


@define
class Subscriptions:
    """What one connection has asked for, in that order; `is_combined` wraps events in their stream's name."""

    route: Route
    is_combined: bool
    names: dict[str, None] = field(factory=dict)
    _second: int = 0
    _messages: int = 0

    def is_flooding(self, now_ns: int) -> bool:
        """Count one more message of the client; return whether it has sent too many within a second."""
        second = now_ns // _SECOND_NS
        if second != self._second:
            self._second, self._messages = second, 0
        self._messages += 1
        return self._messages > MESSAGES_PER_SECOND_MAX

    def handle(self, text: str | bytes) -> dict[str, object]:
        """Carry out one message of the client and return the reply."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _error(2, f"Invalid JSON: {error}", None)
        if not isinstance(request, dict):
            return _error(2, "Invalid request: expected an object", None)
        number = request.get("id")
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | str)):
            return _error(2, "Invalid request: request ID must be an unsigned integer", None)
        method, params = request.get("method"), request.get("params", [])
        do = _METHODS.get(method) if isinstance(method, str) else None
        if do is None:
            if "method" not in request:
                return _error(2, "Invalid request: missing field `method`", number)
            known = ", ".join(f"`{name}`" for name in _METHODS)
            return _error(2, f"Invalid request: unknown variant `{method}`, expected one of {known}", number)
        if params is not None and not isinstance(params, list):
            return _error(2, "Invalid request: params must be an array", number)
        try:
            return {"result": do(self, params or []), "id": number}
        except _RefusedError as refusal:
            return _error(refusal.code, str(refusal), number)

    def _subscribe(self, params: list[object]) -> None:
        names = _names(params)
        if len(self.names.keys() | set(names)) > STREAMS_MAX:
            raise _RefusedError(2, f"Invalid request: too many streams, at most {STREAMS_MAX} are served")
        self.names.update(dict.fromkeys(names))

    def _unsubscribe(self, params: list[object]) -> None:
        for name in _names(params):
            self.names.pop(name, None)

    def _list(self, _: list[object]) -> list[str]:
        return list(self.names)

    def _set_property(self, params: list[object]) -> None:
        _check_property(params)
        if len(params) != 2 or not isinstance(params[1], bool):
            raise _RefusedError(1, "Invalid value type: expected Boolean")
        self.is_combined = params[1]

    def _get_property(self, params: list[object]) -> bool:
        _check_property(params)
        return self.is_combined


class _RefusedError(Exception):
    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


def _names(params: list[object]) -> list[str]:
    names = [name for name in params if isinstance(name, str)]
    if len(names) != len(params):
        raise _RefusedError(2, "Invalid request: stream names must be strings")
    return names


def _check_property(params: list[object]) -> None:
    if not params or not isinstance(params[0], str):
        raise _RefusedError(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise _RefusedError(0, "Unknown property")


def _error(code: int, text: str, number: object) -> dict[str, object]:
    reply: dict[str, object] = {"error": {"code": code, "msg": text}}
    if number is not None:
        reply["id"] = number
    return reply


_METHODS: Final[dict[str, Callable[[Subscriptions, list[object]], object]]] = {
    "SUBSCRIBE": Subscriptions._subscribe,
    "UNSUBSCRIBE": Subscriptions._unsubscribe,
    "LIST_SUBSCRIPTIONS": Subscriptions._list,
    "SET_PROPERTY": Subscriptions._set_property,
    "GET_PROPERTY": Subscriptions._get_property,
}
