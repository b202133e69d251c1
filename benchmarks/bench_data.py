"""How many rows a second are generated, built from messages, put in order, written and read."""

import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from attrs import evolve

from sim.clocks import Arrival
from sim.generated import GeneratedBook, GeneratedSettings, Regime, always, bitcoin_model
from sim.row_builder import RowBuilder
from sim.row_order import RowOrder
from sim.rows import LAST, Rows
from sim.store.reader import Store
from sim.store.writer import StoreWriter
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import BookDelta, BookSnapshot

_ROWS: Final = 2_000_000
_DELTAS: Final = 20_000
_SPEC: Final = Instrument(
    "bench", "X", InstrumentKind.PERPETUAL, "X", "USD", tick_size=Decimal("0.1"), lot_size=Decimal("0.001")
)
_SETTINGS: Final = GeneratedSettings(1, 0, 600_000, bitcoin_model(), always(Regime()))


def _rate(work: Callable[[], int], repeats: int) -> float:
    """Return rows a second, the median of `repeats` runs after one that compiles."""
    work()
    rates = []
    for _ in range(repeats):
        began = perf_counter()
        rows = work()
        rates.append(rows / (perf_counter() - began))
    return median(rates)


def _count(blocks: Iterator[Rows]) -> int:
    return sum(len(block) for block in blocks)


def _deltas() -> list[Arrival]:
    """A joined book and its changes, ten levels a side."""
    bids, asks = [(1000 - at, 5) for at in range(10)], [(1001 + at, 5) for at in range(10)]
    arrivals = [Arrival(1, 2, BookSnapshot(1, _SPEC.id, 1, bids, asks))]
    for number in range(2, _DELTAS + 2):
        ns = number * 1_000_000
        delta = BookDelta(ns, _SPEC.id, number, number, number - 1, bids, asks)
        arrivals.append(Arrival(ns, ns + 2_000_000 + number % 3 * 100_000, delta))
    return arrivals


def _ordered(rows: Rows) -> int:
    order = RowOrder()
    return len(order.take(rows)) + len(order.finish())


def _written(path: Path, blocks: list[Rows]) -> int:
    with StoreWriter(path, [_SPEC], "benchmark") as writer:
        for block in blocks:
            writer.append(block)
        return writer.close().rows


def run(repeats: int = 5) -> dict[str, float]:
    """Return rows a second for each step."""
    by_order = evolve(_SETTINGS, by_order=True)
    blocks = list(GeneratedBook(_SETTINGS).first(_ROWS))
    bare = Rows.join(blocks)
    bare.flags &= ~3 & 255
    bare.flags |= LAST
    arrivals = _deltas()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows")
        return {
            "generated_rows_per_s": _rate(lambda: _count(GeneratedBook(_SETTINGS).first(_ROWS)), repeats),
            "generated_by_order_rows_per_s": _rate(lambda: _count(GeneratedBook(by_order).first(_ROWS)), repeats),
            "built_rows_per_s": _rate(lambda: _count(RowBuilder([_SPEC]).blocks(arrivals)), repeats),
            "ordered_rows_per_s": _rate(lambda: _ordered(bare), repeats),
            "written_rows_per_s": _rate(lambda: _written(path, blocks), repeats),
            "checked_rows_per_s": _rate(lambda: _count(Store.open(path).blocks()), repeats),
            "mapped_rows_per_s": _rate(lambda: _count(Store.open(path).blocks(check=False)), repeats),
        }
