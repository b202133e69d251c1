"""Slower is never richer: a two-sided quoter on a mean-reverting market, with each latency raised by itself.

Paired seeds: both runs see the same market. Every raised latency earns less, and that is no noise: the mean difference
is beyond its 99.9 % bound (one-sided, Student's t with 15 degrees of freedom: 3.73 standard errors).
"""

from functools import cache
from math import exp, sqrt
from random import Random
from statistics import mean, stdev

import pytest
from compiled_market import perpetual, rows_from
from quoter import quoter, run_quoter

from sim.kernel.desk import WAKE_ON_REPORTS
from sim.latency import Latencies, Latency
from sim.rows import BUY, DEPTH, LAST, TRADE, Rows

SPEC = perpetual("ONE")
STEP_NS, STEPS = 1_000_000, 4_000
SEEDS = 16
T_999 = 3.73
FAST, SLOW = 20_000, 5_000_000


@cache
def market(seed: int, feed_ns: int) -> Rows:
    """A mid that reverts to 1000 ticks with a half-life of 200 steps, one level a side, takers who mostly follow it."""
    random, keep = Random(seed), exp(-0.693 / 200)
    value, mid, ns = 0.0, 1000, 0
    rows = [(DEPTH, BUY, 0, ns, mid - 1, 3), (DEPTH, LAST, 0, ns, mid + 1, 3)]
    for _ in range(STEPS):
        ns += 1 + int(random.expovariate(1.0) * STEP_NS)
        value = value * keep + random.gauss(0.0, 0.5)
        if random.random() < 0.6:
            # Who trades now often knows where the price goes next.
            follows = random.random() < 0.6
            buys = (1000 + value > mid) is follows
            rows.append((TRADE, BUY if buys else 0, 0, ns, mid + (1 if buys else -1), random.randint(1, 6)))
        new = round(1000 + value)
        levels = {(BUY, mid - 1): 0, (0, mid + 1): 0} | {(BUY, new - 1): 3, (0, new + 1): 3}
        changes = [(DEPTH, side, 0, ns + 1, ticks, lots) for (side, ticks), lots in levels.items()]
        changes[-1] = (DEPTH, changes[-1][1] | LAST, *changes[-1][2:])
        rows += changes
        mid = new
    return rows_from(rows, feed_ns)


def profit(seed: int, latencies: Latencies, feed_ns: int) -> float:
    """Return what the run has earned before fees in ticks x lots, the rest valued at what the price reverts to."""
    state = quoter(lots=1, most=3, interval_ns=250_000, wakes_on=WAKE_ON_REPORTS)
    result = run_quoter(state, [market(seed, feed_ns)], (SPEC,), latencies)
    sign = 1 - 2 * result.fills["side"]
    lots = sign * result.fills["lots"]
    return float(-(lots * result.fills["ticks"]).sum() + 1000 * lots.sum())


def latencies(**changed: int) -> Latencies:
    kinds = {name: changed.get(name, FAST) for name in ("submit", "cancel", "response")}
    return Latencies(modify=Latency(FAST), **{name: Latency(ns) for name, ns in kinds.items()})


@cache
def fast(seed: int) -> float:
    return profit(seed, latencies(), FAST)


def score(slow: list[float]) -> float:
    """Return the mean of slow less fast over seeds, in standard errors."""
    differences = [one - fast(seed) for seed, one in enumerate(slow)]
    return mean(differences) / (stdev(differences) / sqrt(len(differences)))


@pytest.mark.parametrize("ns", [500_000, SLOW])
@pytest.mark.parametrize("kind", ["submit", "cancel", "response", "feed", "all"])
def test_a_longer_way_earns_less(kind: str, ns: int) -> None:
    kinds = ("submit", "cancel", "response") if kind == "all" else (kind,)
    feed_ns = ns if kind in {"feed", "all"} else FAST
    found = score([profit(seed, latencies(**dict.fromkeys(kinds, ns)), feed_ns) for seed in range(SEEDS)])
    assert found < -T_999


def test_what_quoting_earns_is_no_accident() -> None:
    profits = [fast(seed) for seed in range(SEEDS)]
    assert mean(profits) > T_999 * stdev(profits) / sqrt(SEEDS)
