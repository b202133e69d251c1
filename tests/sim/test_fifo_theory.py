"""How long an order waits in a first-in-first-out queue: the compiled venue against exact formulas.

Market orders of one lot come as a Poisson process of rate MU; AHEAD orders of one lot stand before the own one. Each
number is checked within its 99.9 % confidence interval over PATHS paths (normal, the variance the formula's own).
"""

from collections.abc import Iterator
from math import exp, factorial, prod, sqrt
from random import Random

import pytest
from order_book import CompiledBook

from sim.kernel import layout
from sim.rows import ADD, DELETE, EXECUTE

PATHS = 20_000
Z_999 = 3.2905
AHEAD, MU, THETA, DELTA = 4, 2.0, 0.5, 0.3
TICKS = 100


def waits(theta: float, seed: int) -> Iterator[float]:
    """Yield the time from entry to fill where each order ahead is cancelled at a rate `theta`."""
    random, book, order_id = Random(seed), CompiledBook.make(), 0
    for _ in range(PATHS):
        ahead = list(range(order_id + 1, order_id + 1 + AHEAD))
        behind = order_id + 1 + AHEAD
        order_id = behind
        for each in ahead:
            book.tell(ADD, layout.BUY_SIDE, TICKS, 1, each)
        book.submit(0, layout.BUY_SIDE, TICKS, 1)
        book.tell(ADD, layout.BUY_SIDE, TICKS, 1, behind)
        assert book.fronts() == {0: AHEAD}
        t = 0.0
        while True:
            rate = MU + theta * len(ahead)
            t += random.expovariate(rate)
            if random.random() * rate < MU:
                book.tell(EXECUTE, layout.BUY_SIDE, TICKS, 1, ahead.pop(0) if ahead else behind)
            else:
                book.tell(DELETE, layout.BUY_SIDE, TICKS, 0, ahead.pop(random.randrange(len(ahead))))
            if book.fills():
                break
        yield t
        book.release(0)
        assert book.shown(layout.BUY_SIDE, TICKS) == 0


def is_mean(values: list[float], mean: float, variance: float) -> bool:
    return abs(sum(values) / len(values) - mean) <= Z_999 * sqrt(variance / len(values))


def is_share(values: list[bool], share: float) -> bool:
    return is_mean([float(value) for value in values], share, share * (1 - share))


@pytest.fixture(scope="module")
def without_cancels() -> list[float]:
    return list(waits(0.0, 11))


@pytest.fixture(scope="module")
def with_cancels() -> list[float]:
    return list(waits(THETA, 12))


def test_without_cancels_the_wait_is_erlang(without_cancels: list[float]) -> None:
    """P(fill by t) = 1 - sum over k <= n of e^(-mu t) (mu t)^k / k!; mean (n + 1) / mu, variance (n + 1) / mu^2."""
    by_two = 1 - sum(exp(-2 * MU) * (2 * MU) ** k / factorial(k) for k in range(AHEAD + 1))
    assert by_two == pytest.approx(0.371163, abs=1e-6)
    assert is_share([t <= 2 for t in without_cancels], by_two)
    assert is_mean(without_cancels, (AHEAD + 1) / MU, (AHEAD + 1) / MU**2)


def test_with_cancels_the_wait_is_a_sum_of_exponentials(with_cancels: list[float]) -> None:
    """T = sum over k <= n of Exp(mu + k theta). P(T <= t) by partial fractions, as the rates differ."""
    rates = [MU + k * THETA for k in range(AHEAD + 1)]
    mean, variance = sum(1 / r for r in rates), sum(1 / r**2 for r in rates)
    assert mean == pytest.approx(1.769048, abs=1e-6)
    assert variance == pytest.approx(0.665244, abs=1e-6)
    assert is_mean(with_cancels, mean, variance)
    for t, wanted in ((1, 0.163725), (2, 0.667315)):
        share = sum((1 - exp(-r * t)) * prod(s / (s - r) for s in rates if s != r) for r in rates)
        assert share == pytest.approx(wanted, abs=1e-6)
        assert is_share([wait <= t for wait in with_cancels], share)


def test_an_adverse_move_comes_first_as_often_as_it_should(with_cancels: list[float]) -> None:
    """P(T < Exp(delta)) = product over k <= n of (mu + k theta) / (mu + k theta + delta)."""
    share = prod((MU + k * THETA) / (MU + k * THETA + DELTA) for k in range(AHEAD + 1))
    assert share == pytest.approx(0.604738, abs=1e-6)
    random = Random(13)
    assert is_share([t < random.expovariate(DELTA) for t in with_cancels], share)
