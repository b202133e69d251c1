"""The whole desk while everything goes wrong by a seed, every invariant looked at after every event.

`BASISD_TORTURE_SEEDS=1000 pytest tests/dst` runs more seeds than the few of a normal run; `BASISD_TORTURE_FIRST=4711`
begins at another one. A failure names its seed; `basisd torture` shrinks it.
"""

import os
from collections import Counter

import pytest

from daemon.torture.script import CRASHES, SECOND_NS, FaultKind
from daemon.torture.seeds import Job, run_job

FIRST = int(os.environ.get("BASISD_TORTURE_FIRST", "1"))
SEEDS = int(os.environ.get("BASISD_TORTURE_SEEDS", "8"))
TWICE = 4
"""Every so many seeds one is run a second time, for I12."""
DURATION_NS = 240 * SECOND_NS

seen: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_invariant_holds_whatever_goes_wrong(seed):
    outcome = run_job(Job(seed, DURATION_NS, is_twice=seed % TWICE == 0))
    assert outcome.error == ""
    seen.update(outcome.faults)
    # Four instruments at ten updates a second, less what crashes and stale feeds take away.
    assert outcome.checks > 30 * DURATION_NS // SECOND_NS
    assert outcome.baskets["opened"] >= DURATION_NS // SECOND_NS // 60
    assert outcome.silent_quote_seconds == "0"


def test_five_faults_a_minute_are_met():
    if SEEDS < 8:
        pytest.skip("too few seeds")
    minutes = SEEDS * (DURATION_NS // SECOND_NS - 60) / 60
    assert sum(seen[kind] for kind in FaultKind) / minutes >= 5
    assert sum(seen[kind] for kind in CRASHES) > 0
