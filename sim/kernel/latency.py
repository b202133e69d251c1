"""How long a message takes: constant, with jitter, or as recorded."""

from math import log

import numpy as np
from numba import types

from sim.kernel.compiled import compiled
from sim.kernel.layout import Array

CONSTANT, EXPONENTIAL, CUBIC, RECORDED = range(4)

LATENCY = np.dtype([("model", np.int64), ("base_ns", np.int64), ("spread_ns", np.int64), ("first", np.int64),
                    ("count", np.int64)])  # fmt: skip
"""One message kind's latency. CONSTANT: base. EXPONENTIAL: base plus an exponential of mean `spread_ns`. CUBIC: base
plus spread / x^3 - spread for x uniform in (0.1, 1]: a rare long tail (ABIDES, `latency_model.py`, a / x^3). RECORDED:
`count` rows of the table from `first` on, (time ns, latency ns) by rising time, interpolated, held at the ends."""

_SMALLEST = 0.1


@compiled
def uniform(seed: int, number: int) -> float:
    """Return the `number`-th draw of a seed in (0, 1]; draws do not depend on each other.

    SplitMix64 (Steele, Lea, Flood 2014, OOPSLA, "Fast splittable pseudorandom number generators").
    """
    z = types.uint64(seed) + types.uint64(number + 1) * types.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> types.uint64(30))) * types.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> types.uint64(27))) * types.uint64(0x94D049BB133111EB)
    z = z ^ (z >> types.uint64(31))
    return (float(z >> types.uint64(11)) + 1.0) / 9007199254740992.0


@compiled
def delay_ns(models: Array, table: Array, which: int, now: int, seed: int, number: int) -> int:
    """Return how long message `number`, sent at `now`, takes under the model in row `which`."""
    m = models[which]
    if m.model == CONSTANT:
        return m.base_ns
    if m.model == EXPONENTIAL:
        return m.base_ns + int(-log(uniform(seed, number)) * m.spread_ns)
    if m.model == CUBIC:
        x = _SMALLEST + (1.0 - _SMALLEST) * uniform(seed, number)
        return m.base_ns + int(m.spread_ns / (x * x * x)) - m.spread_ns
    return recorded_ns(table, m.first, m.count, now)


@compiled
def recorded_ns(table: Array, first: int, count: int, now: int) -> int:
    """Return the latency at `now` between the recorded pairs around it."""
    low, high = first, first + count
    while low < high:
        middle = (low + high) >> 1
        if table[middle, 0] <= now:
            low = middle + 1
        else:
            high = middle
    if low == first:
        return table[first, 1]
    if low == first + count:
        return table[low - 1, 1]
    t0, t1 = table[low - 1, 0], table[low, 0]
    v0, v1 = table[low - 1, 1], table[low, 1]
    return v0 + int((v1 - v0) * ((now - t0) / (t1 - t0)))
