"""What is compiled before a venue process listens is all that it ever calls; numba's cache may be anywhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from numba import typeof

from sim.kernel import books, host, layout
from sim.kernel.compiled import Direct
from sim.kernel.stored import load_kernel, store_kernel

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
from importlib import import_module
from numba.core.registry import CPUDispatcher

def compiled():
    names = ("books", "host", "matching", "queues")
    return {
        f"{name}.{key}": len(one.signatures)
        for name in names
        for key, one in vars(import_module(f"sim.kernel.{name}")).items()
        if isinstance(one, CPUDispatcher)
    }
"""
PLAY = """
from pathlib import Path
from daemon.config import load
from daemon.kinds import KINDS
from daemon.venue.engine import VenueEngine
from sim.warm import warm
from venue_engines import SECOND, Heard, order
from venues.model.money import desk_arithmetic
from venues.model.order import Side
from venues.port import CancelAll

warm()
before = compiled()
with desk_arithmetic():
    heard = Heard()
    engine = VenueEngine(load(Path("configs", "demo.toml"), KINDS), 60 * SECOND, heard)
    for number in range(40):
        engine.advance(engine.now + SECOND // 4)
        engine.command(order(number, Side.BUY if number % 3 else Side.SELL, 50, rests=number % 2 == 0), 1)
        if number % 10 == 9:
            engine.command(CancelAll(0, "futures"), 1)
fills = sum(type(message).__name__ == "OrderFilled" for _, message, _, _ in heard.lines)
assert fills > 10, fills
assert before == compiled(), {name for name, count in compiled().items() if count != before[name]}
assert sum(before.values()) > 10, before
"""


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "harness")]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_warm_process_compiles_nothing_more() -> None:
    done = run(COUNT + PLAY)
    assert done.returncode == 0, done.stderr


def test_processes_that_start_together_on_a_cold_cache_do_not_break_each_other(tmp_path: Path) -> None:
    """One function of the venue, compiled by four at once into an empty folder, and read by a fifth."""
    script = "from sim.kernel.books import is_level; assert is_level(5); print(sum(is_level.stats.cache_hits.values()))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    several = [
        subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for one in several:
        _, words = one.communicate()
        assert one.returncode == 0, words
    assert any((tmp_path / "cache").rglob("*.nbi"))
    done = run(script, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout == "1\n", done.stderr


def test_a_package_that_cannot_be_written_to_is_compiled_into_the_folder_that_is_named(tmp_path: Path) -> None:
    """As the unit of the venue: its sources are read-only, NUMBA_CACHE_DIR is not."""
    package = tmp_path / "installed"
    for name in ("sim", "venues"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        folder.chmod(0o500)
    script = "import sim; from sim.kernel.books import is_level; assert is_level(5); print(sim.__file__)"
    done = run(script, PYTHONPATH=str(package), NUMBA_CACHE_DIR=str(tmp_path / "cache"), PYTHONDONTWRITEBYTECODE="1")
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        folder.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "cache").rglob("*.nbi"))
    assert not list(package.rglob("__pycache__"))


def test_arrays_that_grew_or_were_stored_are_of_the_same_types() -> None:
    """`Direct` calls are made without a look at them."""
    made = layout.make_kernel(2)
    grown = layout.with_positions(layout.with_pages(layout.with_orders(made, 500), 50), 40)
    grown = layout.with_prices(layout.with_prices(grown, 0, 5, 900_000), 5, 1, 2)
    for other in (grown, load_kernel(made, store_kernel(grown))):
        assert typeof(other) == typeof(made)
        assert all(array.flags.c_contiguous and array.flags.aligned for array in other)


def test_a_function_called_directly_does_what_it_does_otherwise() -> None:
    best = Direct(books.read_levels)
    kernel = layout.make_kernel(1)
    levels = np.array([[900_001, 7], [900_003, 8]], np.int64)
    assert host.apply_levels(kernel, 0, levels, 2, 1) == -1
    kernel = layout.with_prices(layout.with_prices(kernel, 0, 900_001, 900_001), 1, 900_003, 900_003)
    assert host.apply_levels(kernel, 0, levels, 2, 1) == 0
    for side, ticks, lots in ((0, 900_001, 7), (1, 900_003, 8), (0, 900_001, 7)):
        found = np.zeros(4, np.int64), np.zeros(4, np.int64)
        assert best.call(kernel, side, *found) == 1
        assert (found[0][0], found[1][0]) == (ticks, lots)
    assert best.call is not best._first
