"""What one market input costs the log: canonical form, hash, checksum and compression, without and with durability."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from actors.dispatcher import Intent
from daemon.log import RunLog, open_log
from venues.model.order import Side
from venues.port import BookDelta, Message, Quote, SubmitOrder, Trade

FRAMES = 50_000
INTENTS = 500
BATCH = 100
"""Inputs between two commits: what a read of a busy socket brings, without an intent among them."""
_START_NS = 1_723_075_200_000_000_000
_ID = "binance:BTCUSDT"


def _quote(number: int) -> Message:
    price, lots = 616_597 + number * 7919 % 13, number * 104_729 % 8_999
    return Quote(_START_NS + number * 1_000_003, _ID, 5_000_000_000 + 17 * number, price, lots, price + 1, 9_000 - lots)


def _trade(number: int) -> Message:
    return Trade(_START_NS + number * 1_000_003, _ID, 7_000_000 + number, 616_597 + number % 13, number % 97, Side.BUY)


def _delta(number: int) -> Message:
    """A depth update of 68 levels, the mean of the recorded perpetual."""
    levels = [(616_597 - number * level % 401, number * level * 7919 % 9_999) for level in range(1, 35)]
    return BookDelta(_START_NS + number, _ID, 17 * number, 17 * number + 9, 17 * number - 1, levels, levels)


def _frame(number: int) -> Message:
    """The recorded perpetual's mix: 7 % depth, 70 % best prices, 23 % trades."""
    place = number * 37 % 100
    return _delta(number) if place < 7 else _quote(number) if place < 77 else _trade(number)


_KINDS: dict[str, Callable[[int], Message]] = {"frame": _frame, "quote": _quote, "trade": _trade, "depth": _delta}


def _us_per_frame(make: Callable[[int], Message], *, durable: bool) -> float:
    messages = [make(number) for number in range(FRAMES)]
    with TemporaryDirectory() as folder:
        began = perf_counter()
        log = RunLog.create(Path(folder), "", "", "bench", _START_NS, durable=durable)
        for number, message in enumerate(messages):
            log.input(4 * number + 1, _START_NS + number * 1_000_003, False, message)
            if number % BATCH == 0:
                log.commit()
        log.close()
        return (perf_counter() - began) / FRAMES * 1e6


def _us_per_commit() -> float:
    """A durable commit of one report and one intent, as it happens before each send."""
    order = SubmitOrder(_START_NS, "binance", _ID, "basis-1", Side.BUY, Decimal("0.250"), price=Decimal("61659.70"))
    times: list[float] = []
    with TemporaryDirectory() as folder:
        log = RunLog.create(Path(folder), "", "", "bench", _START_NS, durable=True)
        for number in range(INTENTS):
            log.input(4 * number + 1, _START_NS, False, _quote(number))
            began = perf_counter()
            log.intents([Intent(4 * number + 3, 4 * number + 2, 4 * number + 1, order)])
            log.commit()
            times.append(perf_counter() - began)
        log.close()
    return median(times) * 1e6


def _records_read_per_s() -> float:
    with TemporaryDirectory() as folder:
        log = RunLog.create(Path(folder), "", "", "bench", _START_NS, durable=False)
        for number in range(FRAMES):
            log.input(4 * number + 1, _START_NS, False, _quote(number))
        log.close()
        began = perf_counter()
        assert sum(1 for _ in open_log(Path(folder)).records()) == FRAMES
        return FRAMES / (perf_counter() - began)


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians: us per frame of the recorded mix and by kind, us per durable commit of an intent, records/s."""
    result: dict[str, float] = {}
    for kind, make in _KINDS.items():
        result[f"{kind}_us"] = median(_us_per_frame(make, durable=False) for _ in range(repeats))
        result[f"{kind}_durable_us"] = median(_us_per_frame(make, durable=True) for _ in range(repeats))
    result["intent_commit_us"] = median(_us_per_commit() for _ in range(repeats))
    result["records_read_per_s"] = median(_records_read_per_s() for _ in range(repeats))
    return result
