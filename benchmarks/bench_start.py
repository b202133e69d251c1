"""How long `basisd --help` and compiled functions take to load, and how much memory a small backtest needs."""

import subprocess
import sys
from statistics import median
from time import perf_counter

_HELP = [sys.executable, "-c", "import sys; from daemon.cli import main; main(['--help'])"]
_PEAK = """
import resource, sys, tempfile
from pathlib import Path
from daemon.backtest import Backtest
from daemon.init import text

with tempfile.TemporaryDirectory() as folder:
    config = Path(folder, "small.toml")
    config.write_text(text().replace('"10m"', '"1m"'))
    Backtest.from_file(config).run(Path(folder, "run"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = Path("/proc/self/status")
if status.exists():
    # On Linux ru_maxrss also counts what the parent had when it forked.
    peak = int(status.read_text().split("VmHWM:")[1].split()[0])
print(peak / (1 << 20) if sys.platform == "darwin" else peak / (1 << 10))
"""

_WARM = """
from time import perf_counter
from sim.warm import warm

began = perf_counter()
warm()
print(perf_counter() - began)
"""


def _help_s() -> float:
    began = perf_counter()
    subprocess.run(_HELP, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - began


def _peak_mib() -> float:
    done = subprocess.run([sys.executable, "-c", _PEAK], check=True, capture_output=True, text=True)
    return float(done.stdout)


def _warm_s() -> float:
    done = subprocess.run([sys.executable, "-c", _WARM], check=True, capture_output=True, text=True)
    return float(done.stdout)


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians: seconds for the help text and to load what is compiled, MiB at the peak of a small backtest."""
    # The first one may have to compile.
    _warm_s()
    return {
        "help_s": median(_help_s() for _ in range(repeats)),
        "warm_s": median(_warm_s() for _ in range(repeats)),
        "backtest_peak_mib": median(_peak_mib() for _ in range(repeats)),
    }
