"""Rare looks for cycles: what a run leaves behind is let go all the same."""

import gc
from weakref import ref

from daemon.collector import rare_collections


class _Node:
    def __init__(self) -> None:
        self.itself = self


def test_cycles_that_a_run_left_are_gone_before_the_next() -> None:
    before = gc.get_threshold()
    with rare_collections():
        left = ref(_Node())
        assert left() is not None
    with rare_collections():
        assert left() is None
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_many_runs_in_one_process_look_only_at_what_they_made() -> None:
    with rare_collections():
        frozen = gc.get_freeze_count()
        with rare_collections():
            left = ref(_Node())
            assert left() is not None
        assert gc.get_freeze_count() == frozen
        with rare_collections():
            assert left() is None
        assert gc.get_freeze_count() == frozen
    assert gc.get_freeze_count() == 0
