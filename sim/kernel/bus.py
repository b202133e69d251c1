"""Messages under way between desk and venue, the earliest first: a heap over an array of records."""

import numpy as np

from sim.kernel.compiled import compiled
from sim.kernel.layout import Array

MESSAGE = np.dtype(
    [
        ("at", np.int64),
        ("number", np.int64),
        ("kind", np.int64),
        ("order", np.int64),
        ("ticks", np.int64),
        ("lots", np.int64),
        ("liquidity", np.int64),
        ("reason", np.int64),
    ]
)
"""`at` is when it arrives; among equals the smaller `number`, the one sent first, is first."""


@compiled
def _is_before(heap: Array, a: int, b: int) -> bool:
    if heap[a].at != heap[b].at:
        return heap[a].at < heap[b].at
    return heap[a].number < heap[b].number


@compiled
def _swap(heap: Array, a: int, b: int) -> None:
    x, y = heap[a], heap[b]
    x.at, y.at = y.at, x.at
    x.number, y.number = y.number, x.number
    x.kind, y.kind = y.kind, x.kind
    x.order, y.order = y.order, x.order
    x.ticks, y.ticks = y.ticks, x.ticks
    x.lots, y.lots = y.lots, x.lots
    x.liquidity, y.liquidity = y.liquidity, x.liquidity
    x.reason, y.reason = y.reason, x.reason


@compiled
def push(heap: Array, count: int) -> None:
    """Put the message written at place `count` where it belongs; the heap then holds `count` + 1."""
    at = count
    while at > 0:
        parent = (at - 1) >> 1
        if not _is_before(heap, at, parent):
            return
        _swap(heap, at, parent)
        at = parent


@compiled
def pop(heap: Array, count: int) -> None:
    """Take the first of `count` messages off: it is at place `count` - 1 afterwards, still to be read."""
    last = count - 1
    _swap(heap, 0, last)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            return
        if child + 1 < last and _is_before(heap, child + 1, child):
            child += 1
        if not _is_before(heap, child, at):
            return
        _swap(heap, at, child)
        at = child
