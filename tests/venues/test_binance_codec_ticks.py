"""What a decoder makes of prices between the ticks, and of the times of frames it does not read whole."""

import json
from decimal import Decimal
from typing import Any

import pytest

from venues.binance.codec import BinanceDecoder, CodecError, CodecErrorReason
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import BookDelta, BookSnapshot

PERP = Instrument("v", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001"))
MS = 1_000_000


def rows(*prices: str, qty: str = "1") -> list[list[str]]:
    return [[price, qty] for price in prices]


def snapshot(bids: list[list[str]]) -> bytes:
    return json.dumps({"lastUpdateId": 5, "E": 1, "T": 1, "bids": bids, "asks": rows("200.0")}).encode()


def delta(bids: list[list[str]]) -> bytes:
    data = {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": 6, "u": 7, "pu": 5, "b": bids, "a": []}
    return json.dumps({"stream": "btcusdt@depth", "data": data}).encode()


WHOLE = [f"{number}.0" for number in range(90, 100)]


def test_leftovers_between_the_ticks_are_left_out_and_counted() -> None:
    decoder = BinanceDecoder({"BTCUSDT": PERP})
    book = decoder.decode(snapshot(rows(*WHOLE, "99.95")))
    assert isinstance(book, BookSnapshot)
    assert [ticks for ticks, _ in book.bids] == [number * 10 for number in range(90, 100)]
    assert decoder.off_grid_levels == 1
    moved = decoder.decode(delta([*rows("99.95", qty="0.5"), *rows("98.33", qty="0"), *rows("99.0", qty="2")]))
    assert isinstance(moved, BookDelta)
    assert moved.bids == [(990, 2000)]
    assert decoder.off_grid_levels == 3


@pytest.mark.parametrize(
    "frames",
    [
        [snapshot(rows(*WHOLE, "99.95", "99.85"))],
        [snapshot(rows(*WHOLE)), delta(rows("99.95"))],
        [snapshot(rows(*WHOLE, "99.95")), delta(rows("99.95", "99.85"))],
        [snapshot(rows(*WHOLE, "99.95")), snapshot(rows(*WHOLE)), delta(rows("99.95"))],
    ],
    ids=["more than an eighth", "a new one", "a new one beside an old one", "one that was gone"],
)
def test_more_than_leftovers_mean_another_tick(frames: list[bytes]) -> None:
    decoder = BinanceDecoder({"BTCUSDT": PERP})
    for raw in frames[:-1]:
        decoder.decode(raw)
    with pytest.raises(CodecError) as caught:
        decoder.decode(frames[-1])
    assert caught.value.reason is CodecErrorReason.OFF_GRID


def test_an_array_of_marks_is_refused_by_type() -> None:
    with pytest.raises(CodecError) as caught:
        BinanceDecoder({"BTCUSDT": PERP}).decode(b'{"stream":"!markPrice@arr","data":[{"e":"markPriceUpdate"}]}')
    assert caught.value.reason is CodecErrorReason.BAD_FIELD


@pytest.mark.parametrize(
    ("frame", "ms"),
    [
        ({"e": "trade", "E": 9, "T": 7}, 7),
        ({"e": "depthUpdate", "E": 9}, 9),
        ({"e": "markPriceUpdate", "E": 9, "T": 99}, 9),
        ({"e": "forceOrder", "E": 9, "o": {"T": 8}}, 8),
        ({"lastUpdateId": 1, "E": 9, "T": 8, "bids": [["1", "1"]]}, 8),
        ({"u": 1, "s": "BTCUSDT"}, 0),
        ({"e": 7, "E": 9}, 0),
        ({"e": "24hrTicker", "o": "0.1", "E": 9}, 0),
    ],
)
def test_the_time_of_a_frame_is_had_without_reading_it(frame: dict[str, Any], ms: int) -> None:
    """Wrapped and bare; what cannot be read tells no time."""
    assert BinanceDecoder.peek_ns(json.dumps(frame).encode()) == ms * MS
    assert BinanceDecoder.peek_ns(json.dumps({"stream": "s@x", "data": frame}).encode()) == ms * MS


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b'{"data":' * 9999, b'{"E":1e400}'])
def test_garbage_tells_no_time(raw: bytes) -> None:
    assert BinanceDecoder.peek_ns(raw) == 0
