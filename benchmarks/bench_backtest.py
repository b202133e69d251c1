"""How many market events a second a whole backtest takes, from the seed to the sealed log, and how much memory."""

import subprocess
import sys
from statistics import median
from typing import Final

_RUN: Final = """
import resource, sys, tempfile
from pathlib import Path
from time import perf_counter
from daemon.backtest import Backtest
from daemon.init import text

with tempfile.TemporaryDirectory() as folder:
    config = Path(folder, "bench.toml")
    config.write_text(text().replace('"10m"', sys.argv[1]))
    backtest = Backtest.from_file(config)
    began = perf_counter()
    summary = backtest.run(Path(folder, "run")).summary
    wall = perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = Path("/proc/self/status")
if status.exists():
    # On Linux ru_maxrss also counts what the parent had when it forked.
    peak = int(status.read_text().split("VmHWM:")[1].split()[0])
print(summary["market_events"] / wall, peak / (1 << 20) if sys.platform == "darwin" else peak / (1 << 10))
"""


def _measure(duration: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", _RUN, duration], check=True, capture_output=True, text=True)
    events_per_s, peak_mib = done.stdout.split()
    return float(events_per_s), float(peak_mib)


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over runs of ten minutes: market events a second of wall time and MiB at the peak."""
    measured = [_measure('"10m"') for _ in range(repeats)]
    return {
        "events_per_s": median(events for events, _ in measured),
        "peak_mib": median(peak for _, peak in measured),
    }
