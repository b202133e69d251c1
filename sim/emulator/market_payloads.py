"""Decides how a market stream prints what happened: one function per event, in the venue's field names.

Sources: USDS-M futures "Websocket Market Streams" (fields `st` and `ps` since 2026-06, `nq` since 2025-12-31, `ap` of
mark prices since 2026-03) and spot "WebSocket Streams" of developers.binance.com. Times are ms.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from sim.emulator.candles import Candle
from sim.emulator.listings import Listing
from sim.emulator.tape import AggTrade, Day
from venues.model.book import Level
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import LiquidationPrint, MarkPrice, Quote, Trade

Payload = dict[str, Any]

NS_PER_MS: Final = 1_000_000
USDM: Final = 1
"""`st` of USDS-M contracts; 2 is COIN-M."""


def levels(listing: Listing, rows: Sequence[Level]) -> list[list[str]]:
    spec = listing.spec
    return [[listing.price_text(spec.price(ticks)), listing.qty_text(spec.qty(lots))] for ticks, lots in rows]


def book_ticker(listing: Listing, quote: Quote, now_ms: int) -> Payload:
    spec = listing.spec
    best = {
        "b": listing.price_text(spec.price(quote.bid)),
        "B": listing.qty_text(spec.qty(quote.bid_lots)),
        "a": listing.price_text(spec.price(quote.ask)),
        "A": listing.qty_text(spec.qty(quote.ask_lots)),
    }
    if spec.is_spot:
        return {"u": quote.update_id, "s": listing.symbol, **best}
    head = {"e": "bookTicker", "u": quote.update_id, "s": listing.symbol, "ps": listing.pair}
    return {**head, **best, "T": quote.ts // NS_PER_MS, "E": now_ms, "st": USDM}


def depth_update(
    listing: Listing, ids: tuple[int, int, int], ts: int, bids: Sequence[Level], asks: Sequence[Level], now_ms: int
) -> Payload:
    """`ids` are the first and last update within, and the last one of the event before."""
    first, last, previous = ids
    body: Payload = {"U": first, "u": last}
    if not listing.spec.is_spot:
        body = {"T": ts // NS_PER_MS, "s": listing.symbol, "ps": listing.pair, **body, "pu": previous, "st": USDM}
    else:
        body = {"s": listing.symbol, **body}
    return {"e": "depthUpdate", "E": now_ms, **body, "b": levels(listing, bids), "a": levels(listing, asks)}


def partial_book(listing: Listing, last_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> Payload:
    """Spot's partial book: no event type, no times."""
    return {"lastUpdateId": last_id, "bids": levels(listing, bids), "asks": levels(listing, asks)}


def agg_trade(listing: Listing, trade: AggTrade, now_ms: int) -> Payload:
    qty = listing.qty_text(listing.spec.qty(trade.lots))
    payload: Payload = {
        "e": "aggTrade",
        "E": now_ms,
        "a": trade.number,
        "s": listing.symbol,
        "p": listing.price_text(listing.spec.price(trade.price)),
        "q": qty,
        "f": trade.first_id,
        "l": trade.last_id,
        "T": trade.ts // NS_PER_MS,
        "m": trade.aggressor is Side.SELL,
    }
    return payload | ({"M": True} if listing.spec.is_spot else {"nq": qty, "st": USDM})


def trade(listing: Listing, one: Trade, now_ms: int) -> Payload:
    payload: Payload = {
        "e": "trade",
        "E": now_ms,
        "T": one.ts // NS_PER_MS,
        "s": listing.symbol,
        "t": one.trade_id,
        "p": listing.price_text(listing.spec.price(one.price)),
        "q": listing.qty_text(listing.spec.qty(one.lots)),
        "m": one.aggressor is Side.SELL,
    }
    return payload | ({"M": True} if listing.spec.is_spot else {"X": "MARKET", "st": USDM})


def mark_price(listing: Listing, mark: MarkPrice, moving_average: Decimal, now_ms: int) -> Payload:
    """Of delivery contracts the rate is empty and the next funding 0."""
    index = mark.mark if mark.index is None else mark.index
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": listing.symbol,
        "p": _fine(mark.mark),
        "ap": _fine(moving_average),
        "i": _fine(index),
        "P": _fine(index),
        "r": "" if mark.rate is None else _fine(mark.rate),
        "T": 0 if mark.next_funding_ns is None else mark.next_funding_ns // NS_PER_MS,
        "st": USDM,
    }


def kline(listing: Listing, interval: str, candle: Candle, now_ms: int, *, is_closed: bool) -> Payload:
    inner = {"t": candle.start_ms, "T": candle.end_ms - 1, "s": listing.symbol, "i": interval}
    return {
        "e": "kline",
        "E": now_ms,
        "s": listing.symbol,
        "k": inner | _candle(listing, candle, is_closed=is_closed),
        **({} if listing.spec.is_spot else {"st": USDM}),
    }


def continuous_kline(listing: Listing, interval: str, candle: Candle, now_ms: int, *, is_closed: bool) -> Payload:
    inner = {"t": candle.start_ms, "T": candle.end_ms - 1, "i": interval}
    return {
        "e": "continuous_kline",
        "E": now_ms,
        "ps": listing.pair,
        "ct": listing.contract_type,
        "k": inner | _candle(listing, candle, is_closed=is_closed),
    }


def _candle(listing: Listing, candle: Candle, *, is_closed: bool) -> Payload:
    price, qty = listing.price_text, listing.qty_text
    return {
        "f": candle.first_id,
        "L": candle.last_id,
        "o": price(candle.open),
        "c": price(candle.close),
        "h": price(candle.high),
        "l": price(candle.low),
        "v": qty(candle.volume),
        "n": candle.trades,
        "x": is_closed,
        "q": _amount(listing, candle.quote),
        "V": qty(candle.buy_volume),
        "Q": _amount(listing, candle.buy_quote),
        "B": "0",
    }


def mini_ticker(listing: Listing, day: Day, now_ms: int) -> Payload:
    candle = day.candle
    return {
        "e": "24hrMiniTicker",
        "E": now_ms,
        "s": listing.symbol,
        "c": listing.price_text(day.last),
        "o": listing.price_text(candle.open),
        "h": listing.price_text(candle.high),
        "l": listing.price_text(candle.low),
        "v": listing.qty_text(candle.volume),
        "q": _amount(listing, candle.quote),
        **_pair(listing),
    }


def ticker(listing: Listing, day: Day, quote: Quote | None, now_ms: int) -> Payload:
    candle, price, qty = day.candle, listing.price_text, listing.qty_text
    payload: Payload = {
        "e": "24hrTicker",
        "E": now_ms,
        "s": listing.symbol,
        "p": price(day.change),
        "P": f"{day.change_percent:.3f}",
        "w": price(day.mean),
        "c": price(day.last),
        "Q": qty(day.last_qty),
        "o": price(candle.open),
        "h": price(candle.high),
        "l": price(candle.low),
        "v": qty(candle.volume),
        "q": _amount(listing, candle.quote),
        "O": candle.start_ms,
        "C": candle.end_ms,
        "F": max(candle.first_id, 0),
        "L": max(candle.last_id, 0),
        "n": candle.trades,
    }
    if not listing.spec.is_spot:
        return payload | _pair(listing)
    # Only spot prints the price before the window and the best bid and ask.
    best = (quote.bid, quote.bid_lots, quote.ask, quote.ask_lots) if quote else (0, 0, 0, 0)
    b, bid_lots, a, ask_lots = best
    spec = listing.spec
    payload |= {"x": price(candle.open), "b": price(spec.price(b)), "B": qty(spec.qty(bid_lots))}
    return payload | {"a": price(spec.price(a)), "A": qty(spec.qty(ask_lots))}


def force_order(listing: Listing, one: LiquidationPrint, now_ms: int) -> Payload:
    """`S` SELL: a long was liquidated."""
    price, qty = listing.price_text(one.price), listing.qty_text(one.qty)
    order = {
        "s": listing.symbol,
        "S": "BUY" if one.side is Side.BUY else "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": qty,
        "p": price,
        "ap": price,
        "X": "FILLED",
        "l": qty,
        "z": qty,
        "T": one.ts // NS_PER_MS,
    }
    return {"e": "forceOrder", "E": now_ms, "o": order, **_pair(listing)}


def contract_info(listing: Listing, status: str, now_ms: int) -> Payload:
    """Without `bks`, which tells brackets that changed: those of a listing never do."""
    return {
        "e": "contractInfo",
        "E": now_ms,
        "s": listing.symbol,
        "ps": listing.pair,
        "ct": listing.contract_type,
        "dt": listing.delivery_ms,
        "ot": listing.onboard_ms,
        "cs": status,
        "st": USDM,
    }


def asset_index(asset: str, now_ms: int) -> Payload:
    """A margin asset worth one dollar: what this venue lists is quoted and margined in such assets."""
    one = f"{Decimal(1):.8f}"
    bid, ask = f"{Decimal('0.9999'):.8f}", f"{Decimal('1.0001'):.8f}"
    buffers = {"b": "0.00010000", "a": "0.00010000", "B": bid, "A": ask, "q": "0.00010000", "g": "0.00010000"}
    return {"e": "assetIndexUpdate", "E": now_ms, "s": f"{asset}USD", "i": one, **buffers, "Q": bid, "G": ask}


def average_price(listing: Listing, candles: Sequence[Candle], now_ms: int) -> Payload:
    """Spot's mean price of the last five minutes, the last price when nothing traded."""
    volume = sum((one.volume for one in candles), ZERO)
    mean = sum((one.quote for one in candles), ZERO) / volume if volume else candles[-1].close
    head = {"e": "avgPrice", "E": now_ms, "s": listing.symbol, "i": "5m"}
    return {**head, "w": f"{mean:.8f}", "T": now_ms}


def _pair(listing: Listing) -> Payload:
    return {} if listing.spec.is_spot else {"ps": listing.pair, "st": USDM}


def _fine(value: Decimal) -> str:
    return f"{value:.8f}"


def _amount(listing: Listing, value: Decimal) -> str:
    """Return an amount of the quote asset with all its decimals: those of price and quantity together."""
    return f"{value:.{listing.price_decimals + listing.qty_decimals}f}"
