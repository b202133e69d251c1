"""Every deliberate bug is caught by an invariant, and without the bug the same script breaks none.

A torture that finds nothing in a broken desk would say nothing about a whole one.
"""

from collections import Counter

import pytest
from sabotage import SABOTAGES, run

SEEDS = (1, 2, 3)
ESCAPED: frozenset[str] = frozenset()
"""Bugs that no invariant catches, by name: at most one in twenty."""


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda one: f"{one.thread}-{one.name}")
def test_a_bug_is_caught_and_its_absence_is_not(sabotage, tmp_path, monkeypatch):
    found, caught_by = "", SEEDS[0]
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        with monkeypatch.context() as patch:
            sabotage.plant(patch.setattr)
            found, caught_by = run(sabotage, seed, tmp_path / str(seed)), seed
        if found:
            break
    assert bool(found) is (sabotage.name not in ESCAPED), found or "not caught"
    (tmp_path / "sound").mkdir()
    assert run(sabotage, caught_by, tmp_path / "sound") == ""


def test_each_of_the_twenty_threads_has_its_two():
    assert Counter(one.thread for one in SABOTAGES) == dict.fromkeys(range(1, 21), 2)
    assert len({one.name for one in SABOTAGES}) == len(SABOTAGES)
    assert len(ESCAPED) <= len(SABOTAGES) * 0.05
