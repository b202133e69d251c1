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
