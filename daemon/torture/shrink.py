"""The smallest script that still breaks the same invariant: fewer faults by delta debugging, then less time."""

from collections.abc import Callable, Sequence

from attrs import define, evolve, field

from daemon.torture.run import Outcome
from daemon.torture.script import SECOND_NS, START_NS, Fault, Script

_GRACE_NS = 2 * SECOND_NS


@define
class Shrinking:
    """One shrinking: `run` plays a script; at most `runs_max` are played."""

    run: Callable[[Script], Outcome]
    invariant: str
    runs_max: int
    runs: int = field(init=False, default=0)

    def shrink(self, script: Script, failed_ns: int | None) -> Script:
        """Return the smallest script found. `failed_ns` is when the run ended, where it ended before its end."""
        if failed_ns is not None:
            seconds = (failed_ns - START_NS + _GRACE_NS) // SECOND_NS
            shorter = evolve(script, duration_ns=min(script.duration_ns, seconds * SECOND_NS))
            shorter = evolve(shorter, faults=tuple(f for f in script.faults if f.start_ns < failed_ns - START_NS))
            if self._fails(shorter):
                script = shorter
        return evolve(script, faults=tuple(self._reduce(script, list(script.faults))))

    def _reduce(self, script: Script, faults: list[Fault]) -> list[Fault]:
        """Delta debugging (Zeller and Hildebrandt 2002): leave out ever smaller parts while it still fails."""
        parts = 2
        while len(faults) >= 1 and self.runs < self.runs_max:
            for chunk in _chunks(faults, parts):
                left = [fault for fault in faults if fault not in chunk]
                if self._fails(evolve(script, faults=tuple(left))):
                    faults, parts = left, max(2, parts - 1)
                    break
            else:
                if parts >= len(faults):
                    break
                parts = min(len(faults), parts * 2)
        return faults

    def _fails(self, script: Script) -> bool:
        if self.runs >= self.runs_max:
            return False
        self.runs += 1
        return self.run(script).invariant == self.invariant


def _chunks(faults: Sequence[Fault], parts: int) -> list[Sequence[Fault]]:
    size = max(1, -(-len(faults) // parts))
    return [faults[at : at + size] for at in range(0, len(faults), size)]
