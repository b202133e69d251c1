"""What the public may ask: time, rules, books, trades, candles, tickers."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from sim.emulator import order_words
from sim.emulator.candles import Candle
from sim.emulator.exchange_info import exchange_info
from sim.emulator.listings import Listing, plain
from sim.emulator.order_entry import find_listing, listing_of, maybe_listing
from sim.emulator.routes import ApiError, Params, Route, Security, Session
from sim.emulator.streams import INTERVALS_MS
from sim.emulator.tape import AggTrade, Day
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import BookSnapshot, Trade

Json = dict[str, Any]
_MS = 1_000_000
_DEPTHS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
_HOUR_MS = 3_600_000


def nothing(_: Session, __: Params) -> Json:
    return {}


def server_time(session: Session, _: Params) -> Json:
    return {"serverTime": session.now_ms}


def info(session: Session, params: Params) -> Json:
    return exchange_info(session.host, session.now_ms, None if not params.has("symbol") else params.text("symbol"))


# Books and trades


def depth_weight(params: Params) -> int:
    return _DEPTHS.get(params.maybe_integer("limit") or 500, 10)


def book_of(session: Session, params: Params) -> tuple[Listing, BookSnapshot, int]:
    listing = listing_of(session.host, params)
    limit = params.maybe_integer("limit") or 500
    if limit not in _DEPTHS:
        raise ApiError(-4021, f"{limit} is not valid depth limit")
    session.host.catch_up()
    book = session.host.book(listing.id)
    if book is None:
        raise ApiError(-1000, "An unknown error occurred while processing the request.", 500)
    return listing, book, limit


def depth(session: Session, params: Params) -> Json:
    listing, book, limit = book_of(session, params)
    return {
        "lastUpdateId": book.update_id,
        "E": session.now_ms,
        "T": book.ts // _MS,
        "bids": levels(listing, book.bids[:limit]),
        "asks": levels(listing, book.asks[:limit]),
    }


def levels(listing: Listing, rows: Sequence[tuple[int, int]]) -> list[list[str]]:
    spec = listing.spec
    return [[order_words.price(listing, spec.price(ticks)), listing.qty_text(spec.qty(lots))] for ticks, lots in rows]


def trade_row(listing: Listing, trade: Trade) -> Json:
    price, qty = listing.spec.price(trade.price), listing.spec.qty(trade.lots)
    return {
        "id": trade.trade_id,
        "price": order_words.price(listing, price),
        "qty": listing.qty_text(qty),
        "quoteQty": plain((price * qty).quantize(Decimal("0.01"))),
        "time": trade.ts // _MS,
        "isBuyerMaker": trade.aggressor is Side.SELL,
        "isRPITrade": False,
    }


def recent_trades(session: Session, params: Params) -> list[Json]:
    listing = listing_of(session.host, params)
    limit = params.limit(500, 1000)
    session.host.catch_up()
    trades = list(session.host.tape.of(listing.id).trades)
    first = params.maybe_integer("fromId")
    if first is not None:
        return [trade_row(listing, one) for one in trades if one.trade_id >= first][:limit]
    return [trade_row(listing, one) for one in trades[-limit:]]


def agg_row(listing: Listing, one: AggTrade) -> Json:
    qty = listing.qty_text(listing.spec.qty(one.lots))
    return {
        "a": one.number,
        "p": order_words.price(listing, listing.spec.price(one.price)),
        "q": qty,
        "nq": qty,
        "f": one.first_id,
        "l": one.last_id,
        "T": one.ts // _MS,
        "m": one.aggressor is Side.SELL,
    }


def agg_trades(session: Session, params: Params) -> list[Json]:
    listing = listing_of(session.host, params)
    limit = params.limit(500, 1000)
    now = session.host.catch_up()
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    first = params.maybe_integer("fromId")
    if first is not None and (start is not None or end is not None):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if start is not None and end is not None and end - start > _HOUR_MS:
        raise ApiError(-4165, "Invalid time interval")
    tape = session.host.tape.of(listing.id)
    tape.flush(now)
    found = [
        one
        for one in tape.agg_trades
        if (first is None or one.number >= first)
        and (start is None or one.ts // _MS >= start)
        and (end is None or one.ts // _MS <= end)
    ]
    from_start = first is not None or start is not None
    return [agg_row(listing, one) for one in (found[:limit] if from_start else found[-limit:])]


# Candles


def kline_weight(params: Params) -> int:
    limit = params.maybe_integer("limit") or 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def kline_row(listing: Listing, one: Candle) -> list[Any]:
    def price(value: Decimal) -> str:
        return order_words.price(listing, value)

    return [
        one.start_ms,
        price(one.open),
        price(one.high),
        price(one.low),
        price(one.close),
        listing.qty_text(one.volume),
        one.end_ms - 1,
        order_words.rounded_quote(one.quote),
        one.trades,
        listing.qty_text(one.buy_volume),
        order_words.rounded_quote(one.buy_quote),
        "0",
    ]


def price_row(one: Candle) -> list[Any]:
    """Return a candle of prices that nobody traded at."""
    prices = [order_words.money(value) for value in (one.open, one.high, one.low, one.close)]
    return [one.start_ms, *prices, "0", one.end_ms - 1, "0", max(one.trades, 1), "0", "0", "0"]


def _bars(session: Session, params: Params, listing: Listing, which: str) -> list[Candle]:
    interval = params.text("interval")
    if interval not in INTERVALS_MS or (interval == "1s" and not listing.spec.is_spot):
        raise ApiError(-1120, "Invalid interval.")
    limit = params.limit(500, 1500)
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    if start is not None and end is not None and start > end:
        raise ApiError(-1127, "Start time is greater than end time.")
    now_ms = session.host.catch_up() // _MS
    tape = session.host.tape.of(listing.id)
    read: Callable[..., list[Candle]] = {"last": tape.bars, "mark": tape.mark_bars, "index": tape.index_bars}[which]
    return read(interval, now_ms, limit, start, end)


def klines(session: Session, params: Params) -> list[list[Any]]:
    listing = listing_of(session.host, params)
    return [kline_row(listing, one) for one in _bars(session, params, listing, "last")]


def continuous_klines(session: Session, params: Params) -> list[list[Any]]:
    pair, kind = params.text("pair").upper(), params.text("contractType").upper()
    found = [one for one in session.host.listings.values() if (one.pair, one.contract_type) == (pair, kind)]
    if not any(one.pair == pair for one in session.host.listings.values()):
        raise ApiError(-1121, "Invalid symbol.")
    if kind not in {"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL"}:
        raise ApiError(-4140, "Invalid contract type.")
    return [kline_row(found[0], one) for one in _bars(session, params, found[0], "last")] if found else []


def mark_klines(session: Session, params: Params) -> list[list[Any]]:
    listing = listing_of(session.host, params)
    return [price_row(one) for one in _bars(session, params, listing, "mark")]


def index_klines(session: Session, params: Params) -> list[list[Any]]:
    listing = find_listing(session.host, params.text("pair"))
    return [price_row(one) for one in _bars(session, params, listing, "index")]


def premium_klines(session: Session, params: Params) -> list[list[Any]]:
    listing = listing_of(session.host, params)
    marks, indices = (_bars(session, params, listing, which) for which in ("mark", "index"))
    rows = []
    for mark, index in zip(marks, indices, strict=False):
        first, last = _premium(mark.open, index.open), _premium(mark.close, index.close)
        rows.append(price_row(Candle(mark.start_ms, mark.end_ms, first, max(first, last), min(first, last), last)))
    return rows


def _premium(mark: Decimal, index: Decimal) -> Decimal:
    return mark / index - 1 if index else ZERO


# Tickers


def each(session: Session, params: Params, one_row: Callable[[Session, Listing], Json | None]) -> Json | list[Json]:
    """Answer for one symbol, or for all of them."""
    session.host.catch_up()
    listing = maybe_listing(session.host, params)
    if listing is not None:
        return one_row(session, listing) or {}
    rows = [one_row(session, one) for one in session.host.listings.values()]
    return [row for row in rows if row is not None]


def day_row(session: Session, listing: Listing) -> Json | None:
    day = session.host.tape.of(listing.id).day(session.host.catch_up() // _MS)
    return None if day is None else day_words(listing, day)


def day_words(listing: Listing, day: Day) -> Json:
    candle = day.candle

    def price(value: Decimal) -> str:
        return order_words.price(listing, value)

    return {
        "symbol": listing.symbol,
        "priceChange": price(day.change),
        "priceChangePercent": f"{day.change_percent:.3f}",
        "weightedAvgPrice": price(day.mean),
        "lastPrice": price(day.last),
        "lastQty": listing.qty_text(day.last_qty),
        "openPrice": price(candle.open),
        "highPrice": price(candle.high),
        "lowPrice": price(candle.low),
        "volume": listing.qty_text(candle.volume),
        "quoteVolume": f"{candle.quote:.2f}",
        "openTime": candle.start_ms,
        "closeTime": candle.end_ms,
        "firstId": candle.first_id,
        "lastId": candle.last_id,
        "count": candle.trades,
    }


def ticker_day(session: Session, params: Params) -> Json | list[Json]:
    return each(session, params, day_row)


def last_price(session: Session, listing: Listing) -> Decimal | None:
    tape = session.host.tape.of(listing.id)
    if tape.trades:
        return listing.spec.price(tape.trades[-1].price)
    quote = session.host.best(listing.id)
    return None if quote is None else listing.spec.price((quote.bid + quote.ask) // 2)


def price_words(session: Session, listing: Listing) -> Json | None:
    found = last_price(session, listing)
    if found is None:
        return None
    return {"symbol": listing.symbol, "price": order_words.price(listing, found), "time": session.now_ms}


def ticker_price(session: Session, params: Params) -> Json | list[Json]:
    return each(session, params, price_words)


def best_words(session: Session, listing: Listing) -> Json | None:
    quote = session.host.best(listing.id)
    if quote is None:
        return None
    spec = listing.spec
    return {
        "lastUpdateId": quote.update_id,
        "symbol": listing.symbol,
        "bidPrice": order_words.price(listing, spec.price(quote.bid)),
        "bidQty": listing.qty_text(spec.qty(quote.bid_lots)),
        "askPrice": order_words.price(listing, spec.price(quote.ask)),
        "askQty": listing.qty_text(spec.qty(quote.ask_lots)),
        "time": quote.ts // _MS,
    }


def ticker_best(session: Session, params: Params) -> Json | list[Json]:
    return each(session, params, best_words)


def one_or_all(one: int, every: int) -> Callable[[Params], int]:
    return lambda params: one if params.has("symbol") else every


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/fapi/v1/ping"): Route(nothing, ws_method="ping"),
    ("GET", "/fapi/v1/time"): Route(server_time, ws_method="time"),
    ("GET", "/fapi/v1/exchangeInfo"): Route(info, ws_method="exchangeInfo"),
    ("GET", "/fapi/v1/depth"): Route(depth, weight=depth_weight, ws_method="depth"),
    ("GET", "/fapi/v1/rpiDepth"): Route(depth, weight=20),
    ("GET", "/fapi/v1/trades"): Route(recent_trades, weight=5, ws_method="trades.recent"),
    ("GET", "/fapi/v1/historicalTrades"): Route(recent_trades, Security.KEY, weight=20),
    ("GET", "/fapi/v1/aggTrades"): Route(agg_trades, weight=20),
    ("GET", "/fapi/v1/klines"): Route(klines, weight=kline_weight),
    ("GET", "/fapi/v1/continuousKlines"): Route(continuous_klines, weight=kline_weight),
    ("GET", "/fapi/v1/indexPriceKlines"): Route(index_klines, weight=kline_weight),
    ("GET", "/fapi/v1/markPriceKlines"): Route(mark_klines, weight=kline_weight),
    ("GET", "/fapi/v1/premiumIndexKlines"): Route(premium_klines, weight=kline_weight),
    ("GET", "/fapi/v1/ticker/24hr"): Route(ticker_day, weight=one_or_all(1, 40)),
    ("GET", "/fapi/v1/ticker/price"): Route(ticker_price, weight=one_or_all(1, 2)),
    ("GET", "/fapi/v2/ticker/price"): Route(ticker_price, weight=one_or_all(1, 2), ws_method="ticker.price"),
    ("GET", "/fapi/v1/ticker/bookTicker"): Route(ticker_best, weight=one_or_all(2, 5), ws_method="ticker.book"),
}
