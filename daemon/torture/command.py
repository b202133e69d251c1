"""What `basisd torture` does: many seeds over several processes, a report, and smallest scripts of what went wrong."""

import json
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from daemon.collector import rare_collections
from daemon.exits import FAILED, ExitError
from daemon.progress import Progress
from daemon.torture.report import lines, summary
from daemon.torture.run import Outcome
from daemon.torture.script import SECOND_NS, FaultKind, Script, ScriptError, dump, load, parse_kinds
from daemon.torture.seeds import Job, run_job, run_script, settle
from daemon.torture.shrink import Shrinking

TWICE_EVERY = 10
"""Every so many seeds one is run a second time, for I12."""


def main(arguments: Namespace) -> int:
    """Run the seeds, or a script; 1 when an invariant broke. Raises ExitError."""
    if arguments.script:
        return _replay(Path(arguments.script), is_json=arguments.json)
    try:
        kinds = parse_kinds(arguments.faults)
        hours = float(arguments.hours)
        duration_ns = round(hours * 3_600) * SECOND_NS
        jobs = [
            Job(seed, duration_ns, kinds, is_twice=number % TWICE_EVERY == 0)
            for number, seed in enumerate(range(arguments.first_seed, arguments.first_seed + arguments.seeds))
        ]
        if not jobs or arguments.jobs < 1:
            raise ValueError("--seeds and --jobs must be at least 1")
        if arguments.shrink < 0:
            raise ValueError("--shrink must be at least 0")
        jobs[0].script()
    except (ValueError, OverflowError) as error:
        raise ExitError(str(error)) from error
    outcomes = []
    with Progress(sys.stderr, "torturing") as progress:
        for outcome in _run_all(jobs, arguments.jobs):
            outcomes.append(outcome)
            progress.at(len(outcomes) / len(jobs))
            if outcome.error:
                progress.warn(f"VIOLATION {outcome.error}")
    what = f"--hours {arguments.hours} --faults {arguments.faults}"
    again = {one.seed: f"basisd torture --seeds 1 --first-seed {one.seed} {what}" for one in outcomes}
    scripts = _shrink([one for one in outcomes if one.error], jobs, Path(arguments.out), arguments.shrink)
    again |= {seed: f"{again[seed]}; smallest: basisd torture --script {path}" for seed, path in scripts.items()}
    _print(outcomes, duration_ns, kinds, again, is_json=arguments.json)
    return FAILED if any(one.error for one in outcomes) else 0


def _run_all(jobs: list[Job], processes: int) -> Iterator[Outcome]:
    if processes == 1 or len(jobs) == 1:
        with rare_collections():
            yield from map(run_job, jobs)
        return
    # Fresh processes: a copy of one whose compiled code has threads may hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), settle) as pool:
        yield from pool.map(run_job, jobs)


def _shrink(failed: list[Outcome], jobs: list[Job], folder: Path, runs: int) -> dict[int, Path]:
    """Cut down the scripts of failures by `runs` in all, those that failed soonest first: their runs are short."""
    by_seed = {job.seed: job for job in jobs}
    paths = {}
    failed = [one for one in failed if one.invariant != "I12"]
    for outcome in sorted(failed, key=lambda one: one.ended_ns or math.inf):
        if runs <= 0:
            break
        shrinking = Shrinking(run_script, outcome.invariant, runs)
        script = shrinking.shrink(by_seed[outcome.seed].script(), outcome.ended_ns)
        runs -= shrinking.runs
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"torture-{outcome.seed}.json"
        path.write_text(dump(script))
        paths[outcome.seed] = path
        print(f"seed {outcome.seed}: {len(script.faults)} faults left after {shrinking.runs} runs", file=sys.stderr)
    return paths


def _replay(path: Path, *, is_json: bool) -> int:
    try:
        script: Script = load(path)
    except ScriptError as error:
        raise ExitError(str(error)) from error
    outcome = run_script(script)
    kinds = tuple(dict.fromkeys(fault.kind for fault in script.faults))
    _print([outcome], script.duration_ns, kinds, {outcome.seed: f"basisd torture --script {path}"}, is_json=is_json)
    return FAILED if outcome.error else 0


def _print(
    outcomes: list[Outcome], duration_ns: int, kinds: tuple[FaultKind, ...], again: dict[int, str], *, is_json: bool
) -> None:
    report = summary(outcomes, duration_ns, kinds)
    if is_json:
        print(json.dumps(report | {"again": {str(seed): how for seed, how in again.items()}}, indent=2))
    else:
        print("\n".join(lines(report, again)))
