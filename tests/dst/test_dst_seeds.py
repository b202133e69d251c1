"""The whole desk against venues and feeds that misbehave by a seed, every invariant looked at after every input.

`BASISD_TORTURE_SEEDS=1000 pytest tests/torture` runs more seeds than the 25 of a normal run, about a quarter of a
second each; `BASISD_TORTURE_FIRST=4711` begins at another one. A failure names its seed: it is all that is needed to
see it again.
"""

import os
from collections import Counter

import pytest
from faults import OrderFault, Window
from torture import torture

FIRST = int(os.environ.get("BASISD_TORTURE_FIRST", "1"))
SEEDS = int(os.environ.get("BASISD_TORTURE_SEEDS", "25"))
TWICE = 5
"""Every so many seeds one is run a second time, for I12."""

seen: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_invariant_holds_whatever_goes_wrong(seed, tmp_path):
    run = torture(tmp_path, seed)
    seen.update(run.counts)
    assert run.checks > 1_000
    if seed % TWICE == 0:
        assert torture(tmp_path, seed).fingerprint() == run.fingerprint(), f"seed {seed}: I12, two runs differ"


def test_the_seeds_met_every_kind_of_fault():
    if SEEDS < 25:
        pytest.skip("too few seeds to meet everything")
    wanted = [*OrderFault, Window.QUERIES_FAIL, Window.QUERIES_SILENT, Window.DOWN, Window.LATE_POSITIONS]
    wanted += [Window.FEED_GAP, Window.CROSSED, Window.THIN, Window.SPIKE, Window.ADL]
    missing = [kind for kind in [*wanted, "stale_frames", "gap_frames"] if not seen[kind]]
    assert not missing
    assert sum(seen[f"kill_{level}"] for level in ("reduce_only", "cancel_all", "flatten")) > 0
