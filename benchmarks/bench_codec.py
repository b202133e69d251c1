"""How fast frames of Binance become messages."""

import random
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from venues.binance.codec import BinanceDecoder
from venues.model.instrument import Instrument, InstrumentKind

FRAMES: Final = 20_000
LEVELS_PER_FRAME: Final = 68
"""The mean of the 6,551 increments recorded on 2024-08-08 (BTCUSDT perpetual, depth@0ms) is 67.7."""

_INSTRUMENT: Final = Instrument(
    "binance-usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001")
)


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over `repeats` runs, each with a fresh decoder that has seen no number before."""
    rng = random.Random(20240808)
    mids = _walk(rng, FRAMES)
    depth = [_depth_frame(rng, number, mid) for number, mid in enumerate(mids)]
    tickers = [_ticker_frame(rng, number, mid) for number, mid in enumerate(mids)]
    return {
        "depth_decode_levels_per_s": _rate(depth, repeats) * LEVELS_PER_FRAME,
        "book_ticker_frames_per_s": _rate(tickers, repeats),
    }


def _rate(frames: list[bytes], repeats: int) -> float:
    """Return frames decoded per second."""
    return statistics.median(len(frames) / _seconds(frames) for _ in range(repeats))


def _seconds(frames: list[bytes]) -> float:
    decode: Callable[[bytes], object] = BinanceDecoder({"BTCUSDT": _INSTRUMENT}).decode
    start = time.perf_counter()
    for frame in frames:
        decode(frame)
    return time.perf_counter() - start


def _walk(rng: random.Random, steps: int) -> list[int]:
    """Best bids in ticks: most frames leave the price where it is, some move it."""
    ticks = 617_000
    walk = []
    for _ in range(steps):
        if rng.random() < 0.1:
            ticks += rng.choice((-30, -7, -1, -1, 1, 1, 7, 30))
        walk.append(ticks)
    return walk


def _depth_frame(rng: random.Random, number: int, mid: int) -> bytes:
    half = LEVELS_PER_FRAME // 2
    bids = ",".join(_level(rng, mid - _distance(rng)) for _ in range(half))
    asks = ",".join(_level(rng, mid + 1 + _distance(rng)) for _ in range(half))
    update, ms = 5_123_107_832_006 + number * 100, 1_723_161_256_298 + number * 50
    return (
        f'{{"stream":"btcusdt@depth@0ms","data":{{"e":"depthUpdate","E":{ms + 1},"T":{ms},"s":"BTCUSDT","U":{update},'
        f'"u":{update + 99},"pu":{update - 1},"b":[{bids}],"a":[{asks}]}}}}'
    ).encode()


def _ticker_frame(rng: random.Random, number: int, mid: int) -> bytes:
    ms = 1_723_161_256_313 + number * 5
    return (
        f'{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{5_123_107_839_020 + number},"s":"BTCUSDT",'
        f'"b":"{_price(mid)}","B":"{_qty(rng)}","a":"{_price(mid + 1)}","A":"{_qty(rng)}","T":{ms},"E":{ms}}}}}'
    ).encode()


def _level(rng: random.Random, ticks: int) -> str:
    return f'["{_price(ticks)}","{"0.000" if rng.random() < 0.3 else _qty(rng)}"]'


def _distance(rng: random.Random) -> int:
    """Ticks from the best price: most changes are near it, a few thousands of ticks away."""
    return int(rng.expovariate(1 / 400))


def _price(ticks: int) -> str:
    return f"{ticks // 10}.{ticks % 10}0"


def _qty(rng: random.Random) -> str:
    lots = int(rng.lognormvariate(4.5, 2.0)) + 1
    return f"{lots // 1000}.{lots % 1000:03}"
