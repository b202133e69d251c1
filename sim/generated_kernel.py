"""How a queue-reactive book goes on from one event to the next, compiled. Importing this module imports numba.

Queues hold whole orders of one size. Events come at exponential times; every draw is a hash of the seed and the number
of the draw (SplitMix64: Steele, Lea and Flood, OOPSLA 2014), so nothing depends on how the rows are cut.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from sim.rows import ADD, BUY, CLEAR, DELETE, DEPTH, EXECUTE, LAST, SNAPSHOT, TRADE, Column

NOW, LOCAL_NS, BASE, REGIME, PLACE, BOUNDARY, NEXT_ID, IS_BEGUN, STATE_SIZE = range(9)
SPREAD, LOTS = 0, 1
BID, ASK = 0, 1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 2.0**-53
_NS = 1e9

_Out = tuple[Column, ...]
"""kind, flags, venue_ns, local_ns, ticks, lots, order_id"""


class Book(NamedTuple):
    """What changes. `slot` says for each side and level which row of `ids` holds its orders, the first one first.

    `state` is indexed by the constants above; `draws` holds the seed and how many numbers were drawn.
    """

    state: Column
    draws: Column
    sizes: Column
    slot: Column
    ids: Column


class Tables(NamedTuple):
    """What does not: intensities by level and size, cumulated probabilities of new queues, and the regimes.

    `factors` are those on the three intensities, `placed` spread and lots, by regime; the regime `held[i]` begins at
    `starts[i]` of each period.
    """

    limit: Column
    cancel: Column
    market: Column
    cumulated: Column
    factors: Column
    placed: Column
    starts: Column
    held: Column


class Rules(NamedTuple):
    """Numbers that hold all along."""

    period_ns: int
    latency_ns: int
    jitter_ns: int
    is_fifo: bool
    by_order: bool
    p_move: float
    p_redraw: float


@njit(cache=True, inline="always")
def _uniform(draws: Column) -> float:
    """Return the next number in [0, 1); `draws` holds the seed and how many were drawn."""
    draws[1] += np.uint64(1)
    z = draws[0] + draws[1] * _GOLDEN
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return float((z ^ (z >> _31)) >> _11) * _TO_UNIT


@njit(cache=True)
def _put(
    out: _Out, at: int, kind: int, flags: int, ns: int, local_ns: int, ticks: int, lots: int, order_id: int
) -> int:
    out[0][at] = kind
    out[1][at] = flags
    out[2][at] = ns
    out[3][at] = local_ns
    out[4][at] = ticks
    out[5][at] = lots
    out[6][at] = order_id
    return at + 1


@njit(cache=True, inline="always")
def _price(side: int, level: int, base: int, spread: int) -> int:
    return base - 1 - level if side == BID else base - 1 + spread + level


@njit(cache=True)
def _drawn(draws: Column, cumulated: Column) -> int:
    """Return a queue size of the distribution with these cumulated probabilities."""
    chance = _uniform(draws)
    size = 0
    while size < len(cumulated) - 1 and chance >= cumulated[size]:
        size += 1
    return size


@njit(cache=True)
def _put_queue(
    out: _Out, at: int, by_order: bool, kind: int, flags: int, book: Book, ticks: int, lots: int, ids: Column, size: int
) -> int:
    """Tell of a whole queue: one row of the level, or one of each order."""
    state = book.state
    if not by_order:
        return _put(out, at, kind, flags, state[NOW], state[LOCAL_NS], ticks, size * lots, 0)
    told = lots if kind == ADD else 0
    for one in range(size):
        at = _put(out, at, kind, flags, state[NOW], state[LOCAL_NS], ticks, told, ids[one])
    return at


@njit(cache=True)
def _number(state: Column, ids: Column, size: int) -> None:
    """Give a new queue's orders their ids."""
    for one in range(size):
        ids[one] = state[NEXT_ID]
        state[NEXT_ID] += 1


@njit(cache=True)
def _replace(
    out: _Out, at: int, by_order: bool, book: Book, old: Column, was: Column, now: Column, old_base: int
) -> int:
    """Tell how a whole book became another: what is gone first. `was` and `now` are spread and lots."""
    state, _, sizes, slot, ids = book
    levels = sizes.shape[1]
    begun = at
    for side in range(2):
        flags = BUY if side == BID else 0
        for level in range(levels):
            ticks = _price(side, level, old_base, was[SPREAD])
            if not old[side, level]:
                continue
            if by_order:
                at = _put_queue(out, at, True, DELETE, flags, book, ticks, 0, ids[slot[side, level]], old[side, level])
                continue
            best = _price(side, 0, state[BASE], now[SPREAD])
            place = best - ticks if side == BID else ticks - best
            if place < 0 or place >= levels or not sizes[side, place]:
                at = _put(out, at, DEPTH, flags, state[NOW], state[LOCAL_NS], ticks, 0, 0)
    for side in range(2):
        flags = BUY if side == BID else 0
        for level in range(levels):
            size = sizes[side, level]
            ticks = _price(side, level, state[BASE], now[SPREAD])
            _number(state, ids[slot[side, level]], size)
            if not size:
                continue
            if by_order:
                at = _put_queue(out, at, True, ADD, flags, book, ticks, now[LOTS], ids[slot[side, level]], size)
                continue
            best = _price(side, 0, old_base, was[SPREAD])
            place = best - ticks if side == BID else ticks - best
            before = old[side, place] * was[LOTS] if 0 <= place < levels else 0
            if before != size * now[LOTS]:
                at = _put(out, at, DEPTH, flags, state[NOW], state[LOCAL_NS], ticks, size * now[LOTS], 0)
    if at > begun:
        out[1][at - 1] |= LAST
    return at


@njit(cache=True)
def _shift(out: _Out, at: int, by_order: bool, book: Book, placed: Column, cumulated: Column, gone: int) -> int:
    """Move the price by a tick to where `gone`'s first queue was: a queue leaves far behind, one comes far ahead."""
    state, draws, sizes, slot, ids = book
    last, other = sizes.shape[1] - 1, 1 - gone
    spread, lots = placed[SPREAD], placed[LOTS]
    begun = at
    if sizes[other, last]:
        ticks = _price(other, last, state[BASE], spread)
        count, flags = sizes[other, last], BUY if other == BID else 0
        if by_order:
            at = _put_queue(out, at, True, DELETE, flags, book, ticks, 0, ids[slot[other, last]], count)
        else:
            at = _put(out, at, DEPTH, flags, state[NOW], state[LOCAL_NS], ticks, 0, 0)
    state[BASE] += 1 if gone == ASK else -1
    first_slot, last_slot = slot[gone, 0], slot[other, last]
    for level in range(last):
        sizes[gone, level], slot[gone, level] = sizes[gone, level + 1], slot[gone, level + 1]
        sizes[other, last - level] = sizes[other, last - level - 1]
        slot[other, last - level] = slot[other, last - level - 1]
    slot[gone, last], slot[other, 0] = first_slot, last_slot
    sizes[other, 0] = 0
    sizes[gone, last] = _drawn(draws, cumulated[last])
    _number(state, ids[slot[gone, last]], sizes[gone, last])
    if sizes[gone, last]:
        ticks = _price(gone, last, state[BASE], spread)
        kind = ADD if by_order else DEPTH
        flags = BUY if gone == BID else 0
        at = _put_queue(out, at, by_order, kind, flags, book, ticks, lots, ids[slot[gone, last]], sizes[gone, last])
    if at > begun:
        out[1][at - 1] |= LAST
    return at


@njit(cache=True)
def _begin(out: _Out, at: int, by_order: bool, book: Book, placed: Column) -> int:
    state, _, sizes, slot, ids = book
    at = _put(out, at, CLEAR, 0, state[NOW], state[LOCAL_NS], 0, 0, 0)
    kind = ADD if by_order else SNAPSHOT
    for side in range(2):
        for level in range(sizes.shape[1]):
            size = sizes[side, level]
            held = ids[slot[side, level]]
            _number(state, held, size)
            if size:
                ticks = _price(side, level, state[BASE], placed[SPREAD])
                flags = BUY if side == BID else 0
                at = _put_queue(out, at, by_order, kind, flags, book, ticks, placed[LOTS], held, size)
    out[1][at - 1] |= LAST
    return at


@njit(cache=True)
def _rate(rates: Column, best: Column, sizes: Column, tables: Tables, factors: Column, side: int) -> None:
    """Find the side's best queue and the rate at which something happens to each of its queues."""
    levels = sizes.shape[1]
    best[side] = levels
    for level in range(levels):
        size = sizes[side, level]
        rates[side, level] = tables.limit[level, size] * factors[0] + tables.cancel[level, size] * factors[1]
        if size and best[side] == levels:
            best[side] = level
            rates[side, level] += tables.market[level, size] * factors[2]


@njit(cache=True, nogil=True)
def fill(out: _Out, book: Book, tables: Tables, rules: Rules, stop: int) -> int:
    """Write rows until `stop` of them are there, and return how many; the last event may need more than that.

    Returns -1 when nothing can happen any more.
    """
    state, draws, sizes, slot, ids = book
    factors, placed, by_order = tables.factors, tables.placed, rules.by_order
    levels = sizes.shape[1]
    rates = np.empty((2, levels))
    best = np.empty(2, np.int64)
    old = np.empty((2, levels), np.int64)
    at = 0
    regime = state[REGIME]
    if not state[IS_BEGUN]:
        state[IS_BEGUN] = 1
        at = _begin(out, at, by_order, book, placed[regime])
    for side in range(2):
        _rate(rates, best, sizes, tables, factors[regime], side)
    while at < stop:
        total = 0.0
        for side in range(2):
            for level in range(levels):
                total += rates[side, level]
        if total <= 0.0:
            return -1
        passing = -math.log(1.0 - _uniform(draws)) / total * _NS
        if state[NOW] + passing >= state[BOUNDARY]:
            state[NOW] = state[BOUNDARY]
            at = _next_regime(out, at, book, tables, rules, old)
            regime = state[REGIME]
            for side in range(2):
                _rate(rates, best, sizes, tables, factors[regime], side)
            continue
        state[NOW] += round(passing)
        arrived = state[NOW] + rules.latency_ns + int(_uniform(draws) * rules.jitter_ns)
        state[LOCAL_NS] = max(arrived, state[LOCAL_NS]) if rules.is_fifo else arrived
        chance = _uniform(draws) * total
        side = level = 0
        while chance >= rates[side, level] and (side == 0 or level < levels - 1):
            chance -= rates[side, level]
            level += 1
            if level == levels:
                side, level = 1, 0
        size, lots = sizes[side, level], placed[regime, LOTS]
        ticks = _price(side, level, state[BASE], placed[regime, SPREAD])
        flags = BUY | LAST if side == BID else LAST
        held = ids[slot[side, level]]
        spot = int(_uniform(draws) * size)
        adding, cancelling = (
            tables.limit[level, size] * factors[regime, 0],
            tables.cancel[level, size] * factors[regime, 1],
        )
        if chance < adding or size == 0:
            held[size] = state[NEXT_ID]
            state[NEXT_ID] += 1
            sizes[side, level] = size + 1
            if by_order:
                at = _put(out, at, ADD, flags, state[NOW], state[LOCAL_NS], ticks, lots, held[size])
        else:
            kind, told = DELETE, 0
            if level == best[side] and chance >= adding + cancelling:
                # The aggressor is on the other side.
                at = _put(out, at, TRADE, flags ^ BUY, state[NOW], state[LOCAL_NS], ticks, lots, 0)
                kind, told, spot = EXECUTE, lots, 0
            if by_order:
                at = _put(out, at, kind, flags, state[NOW], state[LOCAL_NS], ticks, told, held[spot])
            for one in range(spot, size - 1):
                held[one] = held[one + 1]
            sizes[side, level] = size - 1
        if not by_order:
            at = _put(out, at, DEPTH, flags, state[NOW], state[LOCAL_NS], ticks, sizes[side, level] * lots, 0)
        # The price stays so high that its lowest level has one.
        is_free = side == ASK or state[BASE] > levels + 1
        if level == 0 and sizes[side, 0] == 0 and is_free and _uniform(draws) < rules.p_move:
            if _uniform(draws) < rules.p_redraw:
                old[:] = sizes
                base = state[BASE]
                state[BASE] += 1 if side == ASK else -1
                for one in range(2):
                    for place in range(levels):
                        sizes[one, place] = _drawn(draws, tables.cumulated[place])
                at = _replace(out, at, by_order, book, old, placed[regime], placed[regime], base)
            else:
                at = _shift(out, at, by_order, book, placed[regime], tables.cumulated, side)
            _rate(rates, best, sizes, tables, factors[regime], 1 - side)
        _rate(rates, best, sizes, tables, factors[regime], side)
    return at


@njit(cache=True)
def _next_regime(out: _Out, at: int, book: Book, tables: Tables, rules: Rules, old: Column) -> int:
    """Go on to the regime that begins now; where orders are of another size or stand elsewhere, replace them."""
    state, placed, starts = book.state, tables.placed, tables.starts
    place, was = state[PLACE] + 1, state[REGIME]
    if place == len(starts):
        place = 0
    following = starts[place + 1] if place + 1 < len(starts) else rules.period_ns
    state[PLACE] = place
    state[BOUNDARY] += following - starts[place]
    state[REGIME] = tables.held[place]
    arrived = state[NOW] + rules.latency_ns
    state[LOCAL_NS] = max(arrived, state[LOCAL_NS]) if rules.is_fifo else arrived
    if placed[was, SPREAD] == placed[state[REGIME], SPREAD] and placed[was, LOTS] == placed[state[REGIME], LOTS]:
        return at
    old[:] = book.sizes
    return _replace(out, at, rules.by_order, book, old, placed[was], placed[state[REGIME]], state[BASE])
