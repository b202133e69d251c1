"""Real frames: everything Binance sent in the recordings is understood. Counts are those of the data's README."""

import gzip
import json
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from venues.binance.codec import BinanceDecoder
from venues.model.book import Book
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import BookDelta, BookSnapshot, Message, Quote


def instrument(symbol: str, tick: str, lot: str, kind: InstrumentKind = InstrumentKind.PERPETUAL) -> Instrument:
    return Instrument("binance", symbol, kind, symbol.removesuffix("USDT"), "USDT", Decimal(tick), Decimal(lot))


def decode_day(path: Path, decoder: BinanceDecoder) -> list[Message]:
    with gzip.open(path) as file:
        decoded = [decoder.decode(line.split(b" ", 1)[1]) for line in file]
    assert decoder.ignored == {}
    return [message for message in decoded if message is not None]


def replay(messages: list[Message]) -> tuple[Book, int]:
    """Apply the increments to the snapshot by the venue's rule; return the book and how many were applied."""
    (snapshot,) = (message for message in messages if isinstance(message, BookSnapshot))
    book = Book()
    book.load(snapshot.bids, snapshot.asks)
    last_id = snapshot.update_id
    applied = 0
    for delta in messages:
        if not isinstance(delta, BookDelta) or delta.last_id <= last_id:
            continue
        if applied:
            assert last_id == (delta.prev_id if delta.prev_id >= 0 else delta.first_id - 1)
        else:
            assert delta.first_id <= last_id + 1
        book.apply(delta.bids, delta.asks)
        assert not book.is_crossed
        last_id = delta.last_id
        applied += 1
    return book, applied


def best(book: Book, traded: Instrument) -> list[str]:
    assert book.best_bid is not None
    assert book.best_ask is not None
    bid_qty = traded.qty(book.bids[book.best_bid])
    ask_qty = traded.qty(book.asks[book.best_ask])
    return [str(value) for value in (traded.price(book.best_bid), bid_qty, traded.price(book.best_ask), ask_qty)]


def test_the_perpetual_recording(data_dir: Path):
    traded = instrument("BTCUSDT", "0.10", "0.001")
    decoder = BinanceDecoder({"BTCUSDT": traded})
    messages = decode_day(data_dir / "recordings/binance-usdm/btcusdt_20240808.gz", decoder)
    counts = Counter(type(message).__name__ for message in messages)
    assert counts == {"BookDelta": 6551, "Quote": 66089, "Trade": 21313, "BookSnapshot": 1}
    deltas = [message for message in messages if isinstance(message, BookDelta)]
    assert all(after.prev_id == before.last_id for before, after in pairwise(deltas))
    (snapshot,) = (message for message in messages if isinstance(message, BookSnapshot))
    assert (len(snapshot.bids), len(snapshot.asks)) == (1000, 1000)
    assert decoder.odd_lots == 0
    assert all(message.ts % 1_000_000 == 0 and message.ts > 1723161255 * 10**9 for message in messages)
    book, applied = replay(messages)
    assert applied > 6500
    assert best(book, traded) == ["61659.70", "1.486", "61659.80", "0.981"]


def test_the_spot_recording(data_dir: Path):
    traded = instrument("BTCUSDT", "0.01", "0.00001", InstrumentKind.SPOT)
    decoder = BinanceDecoder({"BTCUSDT": traded})
    messages = decode_day(data_dir / "recordings/binance-spot/btcusdt_20240808.gz", decoder)
    counts = Counter(type(message).__name__ for message in messages)
    assert counts == {"BookDelta": 3451, "Quote": 28040, "Trade": 9757, "BookSnapshot": 1}
    deltas = [message for message in messages if isinstance(message, BookDelta)]
    assert all(after.first_id == before.last_id + 1 for before, after in pairwise(deltas))
    assert {message.ts for message in messages if isinstance(message, Quote)} == {0}
    # 25.42618900 at 200000, 244.56630400 at 80000 and 93.75658700 at 74000 are older than the lot size.
    assert decoder.odd_lots == 3
    book, _ = replay(messages)
    bid_price, _, ask_price, _ = best(book, traded)
    assert (bid_price, ask_price) == ("61685.99", "61686.00")


# exchangeInfo beside the recording: PRICE_FILTER.tickSize and LOT_SIZE.stepSize of the four symbols. CTKUSDT's tick was
# 0.00100 by then, but bids from before, such as 0.50579, still stood in its book.
FOUR = {
    symbol: instrument(symbol, tick, "1")
    for symbol, tick in [
        ("SUSHIUSDT", "0.0010"),
        ("AKROUSDT", "0.00001"),
        ("KEEPUSDT", "0.0001"),
        ("CTKUSDT", "0.00001"),
    ]
}


def test_the_recording_of_2021(data_dir: Path):
    """`<seconds>: <frame>` lines under a line that names the connection."""
    folder = data_dir / "recordings/binance-usdm-2021"
    decoder = BinanceDecoder(FOUR)
    lines = (folder / "BINANCE_FUTURES.ws.1.0").read_bytes().splitlines()
    frames = [line.split(b": ", 1)[1] for line in lines if line[:1].isdigit()]
    messages = [decoder.decode(frame) for frame in frames]
    assert Counter(type(message).__name__ for message in messages if message is not None) == {
        "BookDelta": 764,
        "Quote": 613,
        "Trade": 91,
    }
    assert decoder.ignored == {"kline": len(frames) - 764 - 613 - 91}
    last_ids: dict[str, int] = {}
    for message in messages:
        if isinstance(message, BookDelta):
            assert message.prev_id == last_ids.get(message.instrument, message.prev_id)
            last_ids[message.instrument] = message.last_id
    answers = (folder / "BINANCE_FUTURES.http.0.0").read_bytes().splitlines()
    snapshots = [
        decoder.decode_snapshot(answer.split(b": ", 1)[1], answer.split(b"symbol=")[1].split(b"&")[0].decode())
        for answer in answers
        if b"/depth?" in answer[:80]
    ]
    assert {snapshot.instrument for snapshot in snapshots} == {traded.id for traded in FOUR.values()}
    assert all(snapshot.bids and snapshot.asks for snapshot in snapshots)


# The documentation's examples print prices off any real grid, so they are read on the finest one.
SAMPLES = [
    ("agg_trade_stream", "Trade"),
    ("book_ticker_stream", "Quote"),
    ("depth_update_stream", "BookDelta"),
    ("kline_stream_closed", None),
    ("kline_stream_open", None),
    ("liquidation_stream", "LiquidationPrint"),
    ("mark_price_stream", "MarkPrice"),
    ("ticker_stream", None),
    ("trade_stream", "Trade"),
]


@pytest.mark.parametrize(("name", "message"), SAMPLES)
def test_the_documented_samples(data_dir: Path, name: str, message: str | None):
    folder = data_dir / "messages/binance-usdm/market_data_json"
    assert {path.stem for path in folder.iterdir()} == {sample for sample, _ in SAMPLES}
    fine = {symbol: instrument(symbol, "0.00000001", "0.001") for symbol in ("BTCUSDT", "BNBUSDT")}
    decoder = BinanceDecoder(fine)
    raw = (folder / f"{name}.json").read_bytes()
    decoded = decoder.decode(raw)
    assert (type(decoded).__name__ if decoded else None) == message
    assert decoder.ignored == ({} if message else {json.loads(raw)["e"]: 1})
