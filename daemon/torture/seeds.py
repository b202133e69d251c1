"""How one seed is run from its number or its script to its outcome, in whatever process."""

import gc
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from attrs import evolve, frozen

from actors.messages import Placement
from actors.snapshot import SnapshotError
from daemon.collector import rare_collections
from daemon.live.recovery import RecoveryError
from daemon.log import LogCorruptError, LogWriteError
from daemon.torture.desk import VENUES, DeskSettings, instrument_names
from daemon.torture.invariants import InvariantError
from daemon.torture.run import Outcome, Torture
from daemon.torture.script import SECOND_NS, FaultKind, Script, draw

_MEMORY = Path("/dev/shm")
BASES = ("BTC", "ETH")


@frozen
class Job:
    """A seed of `duration_ns` with faults of `kinds` (() for all); `is_twice`: run again, for I12."""

    seed: int
    duration_ns: int
    kinds: tuple[FaultKind, ...] = ()
    is_twice: bool = False

    def script(self) -> Script:
        return draw(self.seed, self.duration_ns, VENUES, instrument_names(BASES), self.kinds)


def settle() -> None:
    """Keep what is loaded by now out of every look for garbage: for a process that does nothing but run seeds."""
    gc.collect()
    gc.freeze()


def run_job(job: Job) -> Outcome:
    """Run a seed, and once more where asked. What goes wrong is in the outcome."""
    script = job.script()
    first = run_script(script)
    if first.error or not job.is_twice:
        return first
    second = run_script(script)
    if second.trace == first.trace and second.faults == first.faults:
        return first
    text = f"seed {job.seed}: I12: two runs sent different commands, {first.trace[:12]} and {second.trace[:12]}"
    return evolve(first, invariant="I12", error=text)


def run_script(script: Script) -> Outcome:
    """Run a script from its start to its end and check everything. What goes wrong is in the outcome.

    Logs are kept in memory where the system has a folder for that: no disk is under test here.
    """
    with TemporaryDirectory(prefix="basisd-torture-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        seconds = script.duration_ns // SECOND_NS
        settings = DeskSettings(script.seed, seconds, BASES, placements=placements(script.seed))
        run = Torture(Path(folder), settings, script, is_armed=True)
        invariant = error = ""
        try:
            with rare_collections():
                run.run()
                run.check_end(is_alive=True)
        except InvariantError as broken:
            invariant, error = broken.name, str(broken)
        except (RecoveryError, SnapshotError, LogCorruptError, LogWriteError) as broken:
            invariant, error = type(broken).__name__, f"seed {script.seed}: {type(broken).__name__}: {broken}"
        return run.outcome(invariant, error)


def placements(seed: int) -> tuple[Placement, ...]:
    """Return how the legs of each pair's baskets are placed: a choice of the seed's."""
    return tuple(Random(f"placements/{seed}").choices(list(Placement), k=len(BASES)))


def total(outcomes: Sequence[Outcome], name: str) -> dict[str, int]:
    """Return the sums of one of the outcomes' counts, largest first."""
    sums: dict[str, int] = {}
    for outcome in outcomes:
        for key, count in getattr(outcome, name).items():
            sums[key] = sums.get(key, 0) + count
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))
