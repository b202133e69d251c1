"""What `basisd bench` measures: every `bench_*.py` of a checkout's benchmarks folder."""

import json
import os
import platform
import sys
from argparse import Namespace
from collections.abc import Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from daemon.exits import ExitError

FOLDER = Path(__file__).parent.parent / "benchmarks"
_PREFIX = "bench_"

Results = dict[str, dict[str, float]]
"""Medians by benchmark and metric; a metric's unit is the end of its name."""


def main(arguments: Namespace) -> int:
    """Run the named benchmarks (all without a name) and print their medians. Raises ExitError."""
    if arguments.repeats < 1:
        raise ExitError("--repeats must be at least 1")
    results = {path.stem.removeprefix(_PREFIX): _run(path, arguments.repeats) for path in _chosen(arguments.names)}
    if arguments.json:
        print(json.dumps({"machine": _machine(), "results": results}, indent=2))
    else:
        _print_table(results)
    return 0


def _chosen(names: Iterable[str]) -> list[Path]:
    if not FOLDER.is_dir():
        raise ExitError("the benchmarks are not part of the installed package: run from a checkout (pip install -e .)")
    found = {path.stem.removeprefix(_PREFIX): path for path in sorted(FOLDER.glob(f"{_PREFIX}*.py"))}
    unknown = [f"there is no benchmark {name!r}; there are {', '.join(found)}" for name in names if name not in found]
    if unknown:
        raise ExitError(*unknown)
    return [found[name] for name in names] or list(found.values())


def _run(path: Path, repeats: int) -> dict[str, float]:
    """Call `run(repeats)` of the module at `path`: it returns medians by metric."""
    print(f"{path.stem.removeprefix(_PREFIX)} ...", file=sys.stderr)
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    measured: dict[str, float] = module.run(repeats)
    return measured


def _machine() -> dict[str, str | int]:
    return {
        "cpus": os.cpu_count() or 0,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _print_table(results: Results) -> None:
    machine = _machine()
    print(f"Python {machine['python']} on {machine['system']} {machine['machine']}, {machine['cpus']} CPUs; medians")
    for name, metrics in results.items():
        for metric, value in metrics.items():
            print(
                f"  {name:14} {metric:32} {value:>16,.4g}"
                if value < 100
                else f"  {name:14} {metric:32} {value:>16,.0f}"
            )
