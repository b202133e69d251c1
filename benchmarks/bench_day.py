"""How long a whole synthetic BTCUSDT day of 120 million rows takes, and in how much memory.

The day is generated into a store once (not timed as part of the run), then played from the mapped file: both clocks,
latencies, a two-sided quoter acting every 100 ms, the exact account beside it. Each run is a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

ROWS: Final = 120_000_000

_WRITE: Final = """
import sys
from decimal import Decimal
from pathlib import Path
from sim.generated import bitcoin_day
from sim.store.writer import StoreWriter
from venues.model.instrument import Bracket, Instrument, InstrumentKind

spec = Instrument("sim", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001"),
    max_leverage=125, brackets=(Bracket(Decimal(0), Decimal("1e12"), Decimal("0.004"), Decimal(0), 125),))
writer = StoreWriter(Path(sys.argv[1]), [spec], "a generated day")
for block in bitcoin_day(1, int(sys.argv[2])):
    writer.append(block)
writer.close()
"""

_RUN: Final = """
import resource, sys
from pathlib import Path
from time import perf_counter

began = perf_counter()
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import numpy as np
from bench_kernel import _compiled_run, _quote
from sim.store.reader import Store

result = _compiled_run(_quote, np.full(16, -1, np.int64)).run(Store.open(Path(sys.argv[1])).blocks())
seconds = perf_counter() - began
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(seconds, peak / 1024, result.rows, len(result.fills), result.orders)
"""


def run(repeats: int = 5) -> dict[str, float]:
    """Return the seconds of a day from the start of the process, its peak memory in MiB, rows, fills and orders."""
    here = Path(__file__).resolve().parent
    rows = int(os.environ.get("BASISD_BENCH_ROWS", ROWS))
    with TemporaryDirectory() as folder:
        store = Path(folder) / "day.store"
        subprocess.run([sys.executable, "-c", _WRITE, str(store), str(rows)], check=True, cwd=here.parent)
        command = [sys.executable, "-c", _RUN, str(store), str(here), str(here.parent / "tests/harness")]
        told = []
        for _ in range(min(repeats, 3)):
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=here.parent)
            told.append([float(number) for number in done.stdout.split()])
        size = store.stat().st_size
    names = ("day_s", "peak_mib", "rows", "fills", "orders")
    found = {name: median(one[at] for one in told) for at, name in enumerate(names)}
    return {**found, "rows_per_s": found["rows"] / found["day_s"], "store_mib": size / (1 << 20)}
