"""What one market input costs the log: canonical form, hash, checksum and compression, without and with durability."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from actors.dispatcher import Intent
from daemon.log import RunLog, open_log
from daemon.log.canonical import intent_line
from daemon.log.journal import JournalWriter, checksum
from venues.model.order import Side
from venues.port import BookDelta, Message, Quote, SubmitOrder, Trade

FRAMES = 50_000
INTENTS = 500
TURN = 50
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


def _us_per_commit() -> dict[str, float]:
    """Durable commits of one intent, as they happen before each send.

    `bare`: the row alone, written to SQLite; in turns of fifty with a log, where `row` has nothing else noted and
    `bridged` a market input of 500 bytes, which the commit takes along.
    """
    order = SubmitOrder(_START_NS, "binance", _ID, "basis-1", Side.BUY, Decimal("0.250"), price=Decimal("61659.70"))
    times: dict[str, list[float]] = {"bare": [], "row": [], "bridged": []}
    with TemporaryDirectory() as bare_folder, TemporaryDirectory() as folder:
        journal = JournalWriter(Path(bare_folder), is_durable=True)
        log = RunLog.create(Path(folder), "", "", "bench", _START_NS, durable=True)
        for number in range(4 * INTENTS):
            kind = "bare" if number // TURN % 2 else "bridged" if number % 2 else "row"
            seq = 4 * number + 1
            intent = Intent(seq + 2, seq + 1, seq, order)
            if kind == "bridged":
                log.input(seq, _START_NS, False, _line_of_500_bytes(number))
            began = perf_counter()
            if kind == "bare":
                line = intent_line(intent)
                journal.write([(intent.seq, number, checksum(line, number), line.decode())])
            else:
                log.intents([intent])
                log.commit()
            times[kind].append(perf_counter() - began)
        log.close()
        journal.close()
    return {kind: median(found) * 1e6 for kind, found in times.items()}


def _line_of_500_bytes(number: int) -> Message:
    levels = [(616_597 - level, number * level * 7919 % 9_999) for level in range(1, 11)]
    return BookDelta(_START_NS + number, _ID, 17 * number, 17 * number + 9, 17 * number - 1, levels, levels)


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
    """Return medians: us per frame of the recorded mix and by kind, us per durable commit of an intent, records/s.

    `bridge_extra_us` is what taking a market input of 500 bytes along adds to the commit of a row.
    """
    result: dict[str, float] = {}
    for kind, make in _KINDS.items():
        result[f"{kind}_us"] = median(_us_per_frame(make, durable=False) for _ in range(repeats))
        result[f"{kind}_durable_us"] = median(_us_per_frame(make, durable=True) for _ in range(repeats))
    commits = [_us_per_commit() for _ in range(repeats)]
    for kind in commits[0]:
        result[f"{kind}_commit_us"] = median(one[kind] for one in commits)
    result["bridge_extra_us"] = median(one["bridged"] - one["row"] for one in commits)
    result["records_read_per_s"] = median(_records_read_per_s() for _ in range(repeats))
    return result
