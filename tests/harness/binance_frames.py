"""Recordings made for tests: a synthetic market written as the frames Binance would have sent."""

import json
from collections.abc import Iterable
from pathlib import Path

from sim.clocks import Arrival
from sim.recording.writer import RecordingWriter
from venues.model.book import Level
from venues.model.instrument import Instrument
from venues.model.money import to_text
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, MarkPrice, Message, Quote, Trade

MS = 1_000_000


def frame(message: Message, spec: Instrument) -> bytes | None:
    """Return the combined-stream frame that says `message`, None for what Binance has no stream for."""
    symbol, ms = spec.symbol, message.ts // MS

    def levels(rows: Iterable[Level]) -> list[list[str]]:
        return [[to_text(spec.price(ticks)), to_text(spec.qty(lots))] for ticks, lots in rows]

    if isinstance(message, BookSnapshot):
        body = {"lastUpdateId": message.update_id, "bids": levels(message.bids), "asks": levels(message.asks)}
        return json.dumps(body if spec.is_spot else body | {"E": ms, "T": ms}).encode()
    if isinstance(message, BookDelta):
        stream = "depth"
        data = {"e": "depthUpdate", "E": ms, "s": symbol, "U": message.first_id, "u": message.last_id}
        data |= {"b": levels(message.bids), "a": levels(message.asks)}
        if not spec.is_spot:
            data |= {"T": ms, "pu": message.prev_id}
    elif isinstance(message, Quote):
        stream = "bookTicker"
        (bid, bid_qty), (ask, ask_qty) = levels([(message.bid, message.bid_lots), (message.ask, message.ask_lots)])
        data = {"u": message.update_id, "s": symbol, "b": bid, "B": bid_qty, "a": ask, "A": ask_qty}
        if not spec.is_spot:
            data |= {"e": "bookTicker", "T": ms, "E": ms}
    elif isinstance(message, Trade):
        stream = "trade"
        ((price, qty),) = levels([(message.price, message.lots)])
        data = {"e": "trade", "E": ms, "T": ms, "s": symbol, "t": message.trade_id, "p": price, "q": qty}
        data |= {"m": message.aggressor is Side.SELL}
    elif isinstance(message, MarkPrice) and message.index and message.rate and message.next_funding_ns:
        stream = "markPrice"
        data = {"e": "markPriceUpdate", "E": ms, "s": symbol, "p": to_text(message.mark), "i": to_text(message.index)}
        data |= {"r": to_text(message.rate), "T": message.next_funding_ns // MS}
    else:
        return None
    return json.dumps({"stream": f"{symbol.lower()}@{stream}", "data": data}).encode()


def lines(arrivals: Iterable[Arrival], spec: Instrument, clock_ns: int = 0) -> list[tuple[int, bytes]]:
    """Return (local ns, frame) for one instrument; the recorder's clock is `clock_ns` behind."""
    mine = [arrival for arrival in arrivals if getattr(arrival.message, "instrument", None) == spec.id]
    framed = [(arrival.local_ns - clock_ns, frame(arrival.message, spec)) for arrival in mine]
    return [(local_ns, raw) for local_ns, raw in framed if raw is not None]


def write(path: Path, frames: Iterable[tuple[int, bytes]]) -> Path:
    with RecordingWriter(path) as writer:
        for local_ns, raw in frames:
            writer.write(local_ns, raw)
    return path
