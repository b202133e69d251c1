"""Latency models against their formulas: moments within 3.3 standard errors (99.9 %) of fixed draws, exact tables."""

from math import log, sqrt

import numpy as np
import pytest

from sim.kernel.compiled import compiled
from sim.kernel.latency import CONSTANT, CUBIC, EXPONENTIAL, LATENCY, RECORDED, delay_ns, recorded_ns, uniform
from sim.kernel.layout import Array

DRAWS = 400_000
NONE = np.zeros((1, 2), np.int64)


@compiled
def draw(models: Array, table: Array, seed: int, out: Array) -> None:
    for number in range(len(out)):
        out[number] = delay_ns(models, table, 0, 0, seed, number)


@compiled
def draw_uniform(seed: int, out: Array) -> None:
    for number in range(len(out)):
        out[number] = uniform(seed, number)


def delays(model: int, base: int, spread: int, seed: int) -> Array:
    models = np.zeros(1, LATENCY)
    models[0] = (model, base, spread, 0, 0)
    out = np.zeros(DRAWS, np.int64)
    draw(models, NONE, seed, out)
    return out


# SplitMix64 with seed 1234567: the published first outputs (rosettacode.org, "Pseudo-random numbers/Splitmix64").
@pytest.mark.parametrize(
    ("number", "output"),
    [(0, 6457827717110365317), (1, 3203168211198807973), (2, 9817491932198370423), (3, 4593380528125082431)],
)
def test_draws_are_those_of_splitmix(number: int, output: int) -> None:
    assert uniform(1234567, number) == ((output >> 11) + 1) / 2**53


def test_draws_are_never_zero_and_fill_every_twentieth_evenly() -> None:
    out = np.zeros(DRAWS)
    draw_uniform(7, out)
    assert 0.0 < out.min() <= out.max() <= 1.0
    counts, _ = np.histogram(out, 20, (0.0, 1.0))
    # Chi-square with 19 degrees of freedom: 43.8 is its 99.9 % point.
    assert ((counts - DRAWS / 20) ** 2 / (DRAWS / 20)).sum() < 43.8
    # A draw says nothing of the next: the correlation's standard error is 1/sqrt(n).
    assert abs(np.corrcoef(out[:-1], out[1:])[0, 1]) < 3.3 / sqrt(DRAWS)


def test_a_constant_is_one() -> None:
    assert set(delays(CONSTANT, 70_000, 999, 1).tolist()) == {70_000}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_jitter_is_exponential(seed: int) -> None:
    base, spread = 1_000_000, 250_000
    over = delays(EXPONENTIAL, base, spread, seed) - base
    assert over.min() >= 0
    # Whole nanoseconds are cut off: half a nanosecond on the mean.
    assert abs(over.mean() + 0.5 - spread) < 3.3 * spread / sqrt(DRAWS)
    # The variance of an exponential's sample variance is 8 mean^4 / n.
    assert abs(over.var() - spread**2) < 3.3 * sqrt(8 / DRAWS) * spread**2
    for share in (0.5, 0.9, 0.999):
        below = (over <= -log(1 - share) * spread).mean()
        assert abs(below - share) < 3.3 * sqrt(share * (1 - share) / DRAWS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_cubic_tail_is_rare_and_long(seed: int) -> None:
    """x uniform in (0.1, 1]: E x^-3 = (1/0.9) (100 - 1)/2 = 55, E x^-6 = (1/0.9) (10^5 - 1)/5 = 22,222."""
    base, spread = 50_000, 1_000
    over = (delays(CUBIC, base, spread, seed) - base) / spread
    assert over.min() >= 0.0
    assert over.max() < 999.0
    assert abs(over.mean() - 54.0) < 3.3 * sqrt((22_222 - 55**2) / DRAWS)
    for x in (0.101, 0.2, 0.55, 0.9):
        # Longer than at x: the share of draws below x.
        share = (x - 0.1) / 0.9
        assert abs((over > x**-3 - 1.0).mean() - share) < 3.3 * sqrt(share * (1 - share) / DRAWS) + 1e-3


TABLE = np.array([(0, 999), (100, 50), (200, 70), (250, 70), (1250, 20), (9, 999)], np.int64)
"""Rows 1 to 4 are those of the model under test; the others are other messages'."""


@pytest.mark.parametrize(
    ("now", "latency"),
    [
        (-(1 << 60), 50), (0, 50), (99, 50), (100, 50), (110, 52), (150, 60), (195, 69), (200, 70), (225, 70),
        (250, 70), (270, 69), (750, 45), (1250, 20), (1251, 20), (1 << 60, 20),
    ],
)  # fmt: skip
def test_recorded_latencies_are_interpolated_and_held_at_the_ends(now: int, latency: int) -> None:
    assert recorded_ns(TABLE, 1, 4, now) == latency
    models = np.zeros(2, LATENCY)
    models[1] = (RECORDED, 0, 0, 1, 4)
    assert delay_ns(models, TABLE, 1, now, 3, 4) == latency


def test_times_of_today_interpolate_to_the_nanosecond() -> None:
    start = 1_766_000_000_000_000_000
    table = np.array([(start, 1_000_000), (start + 1_000_000_000, 3_000_000)], np.int64)
    for after in (0, 1, 499_999_999, 500_000_000, 999_999_500, 1_000_000_000):
        assert recorded_ns(table, 0, 2, start + after) == 1_000_000 + 2_000_000 * after // 1_000_000_000
