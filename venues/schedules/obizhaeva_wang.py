"""Decides how to trade through a block-shaped book that refills: a block at each end, an even flow between.

Source: Obizhaeva and Wang, "Optimal trading strategy and supply/demand dynamics" (2013); cases facts/simulation.md T9.
"""

from decimal import Decimal
from fractions import Fraction
from math import exp

from venues.rules import float_checks
from venues.rules.checks import positive
from venues.rules.errors import BadValueError
from venues.schedules.slices import along, slice_count


def optimal_shares(resilience: float, horizon: float, trades: int) -> list[float]:
    """Return the shares of the whole to trade at `trades` evenly spaced times, first and last included.

    `resilience` is the rate per time at which impact decays. The shares solve sum_j n_j e^(-rho |t_i - t_j|) = const,
    which makes every marginal cost equal. One trade is a block. Raises BadValueError.
    """
    slice_count(trades, "trades")
    float_checks.positive(resilience, "resilience")
    float_checks.positive(horizon, "horizon")
    if trades == 1:
        return [1.0]
    kept = exp(-resilience * horizon / (trades - 1))
    whole = 2.0 + (trades - 2) * (1.0 - kept)
    return [1.0 / whole, *([(1.0 - kept) / whole] * (trades - 2)), 1.0 / whole]


def continuous(qty: float, resilience: float, horizon: float) -> tuple[float, float]:
    """Return the block at each end and the rate between: X / (rho T + 2) and rho times that. Raises BadValueError."""
    float_checks.positive(qty, "qty")
    block = qty / (float_checks.positive(resilience, "resilience") * float_checks.positive(horizon, "horizon") + 2.0)
    return block, resilience * block


def schedule(qty: Decimal, step: Decimal, resilience: float, horizon: float, trades: int) -> list[Decimal]:
    """Return the optimal trades in whole steps, less than a step behind the ideal. Raises BadValueError."""
    if positive(qty, "qty") < step:
        raise BadValueError("qty", f"{qty} is less than a step of {step}")
    done, sums = Fraction(0), []
    for share in optimal_shares(resilience, horizon, trades):
        done += Fraction(share)
        sums.append(min(done, Fraction(1)))
    sums[-1] = Fraction(1)
    return along(qty, step, sums)
