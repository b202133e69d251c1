"""Decides how fast to trade when impact is linear and waiting is risky.

Source: Almgren and Chriss, "Optimal execution of portfolio transactions" (2000), discrete form. Units: shares, days,
money per share. Permanent impact gamma (money per share^2), temporary eta (money x day per share^2), fixed cost
epsilon and volatility sigma (money per share, and per square root of a day), risk aversion per money.
Cases: facts/execution.md 4.4.
"""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import asinh, exp, expm1, fsum, sqrt

from attrs import frozen

from venues.rules import float_checks
from venues.rules.checks import positive
from venues.rules.errors import BadValueError
from venues.schedules.slices import EXACT, along, slice_count


@frozen
class Trajectory:
    """Holdings x_0..x_N, the trades between them, and expectation and deviation of the cost in money.

    `kappa` is the urgency per day, 0 for the straight line; 1/kappa is the half-life of the holding.
    """

    holdings: tuple[Decimal, ...]
    trades: tuple[Decimal, ...]
    expected_cost: Decimal
    cost_stdev: Decimal
    kappa: Decimal

    def in_steps(self, step: Decimal) -> list[Decimal]:
        """Return the trades in whole steps, less than a step behind the trajectory."""
        shares = Fraction(self.holdings[0])
        return along(self.holdings[0], step, [1 - Fraction(left) / shares for left in self.holdings[1:]])


def almgren_chriss(
    shares: Decimal,
    horizon: float,
    intervals: int,
    sigma: float,
    epsilon: float,
    gamma: float,
    eta: float,
    risk_aversion: float,
) -> Trajectory:
    """Return the trajectory that minimises expected cost + risk_aversion x variance over `intervals` of equal length.

    `eta` is the unreduced one: the formulas use eta - gamma x tau / 2, which must stay positive. Risk aversion 0 gives
    the straight line. Raises BadValueError.
    """
    positive(shares, "shares")
    slice_count(intervals, "intervals")
    for value, name in ((sigma, "sigma"), (epsilon, "epsilon"), (gamma, "gamma"), (risk_aversion, "risk_aversion")):
        float_checks.not_negative(value, name)
    tau = float_checks.positive(horizon, "horizon") / intervals
    reduced = float_checks.positive(eta, "eta") - gamma * tau / 2
    if reduced <= 0.0:
        raise BadValueError("eta", f"{eta} does not exceed gamma x interval / 2 = {gamma * tau / 2}")
    # The same kappa as acosh(1 + (kappa~ tau)^2 / 2) / tau, without losing digits where the product is small.
    kappa = 2.0 * asinh(sqrt(risk_aversion / reduced) * sigma * tau / 2.0) / tau
    left = _shares_left(kappa * tau, intervals)
    holdings = [EXACT.multiply(shares, part) for part in left]
    trades = [EXACT.subtract(before, after) for before, after in pairwise(holdings)]
    sizes = [float(trade) for trade in trades]
    size = float(shares)
    expected = fsum((gamma * size * size / 2.0, epsilon * size, reduced / tau * fsum(n * n for n in sizes)))
    variance = sigma * sigma * tau * fsum(float(held) ** 2 for held in holdings[1:])
    return Trajectory(
        tuple(holdings),
        tuple(trades),
        float_checks.to_decimal(expected, "shares"),
        float_checks.to_decimal(sqrt(variance), "sigma"),
        float_checks.to_decimal(kappa, "risk_aversion"),
    )


def _shares_left(urgency: float, intervals: int) -> list[Decimal]:
    """Return sinh(urgency x (N - j)) / sinh(urgency x N) for j = 0..N, the straight line for no urgency."""
    if not urgency:
        return [Decimal(left) / intervals for left in range(intervals, -1, -1)]
    whole = -expm1(-2.0 * urgency * intervals)
    parts = []
    for done in range(1, intervals):
        # sinh(a)/sinh(b) = e^(a-b) (1 - e^-2a)/(1 - e^-2b): finite however large a and b are.
        part = exp(-urgency * done) * -expm1(-2.0 * urgency * (intervals - done)) / whole
        parts.append(float_checks.to_decimal(part, "risk_aversion"))
    return [Decimal(1), *parts, Decimal(0)]
