"""Decides how far an order moves the price: one function or class per published model.

Volatilities are per day and relative (0.02 is 2 %), participations are quantity over the daily volume, impacts in
basis points unless said otherwise. Models are estimates in floats, except the square root, which is exact to the
context. Cases: facts/execution.md 4.6, facts/simulation.md T7, T9.
"""

from collections.abc import Sequence
from decimal import Decimal
from math import copysign, exp, fsum, log2
from typing import Protocol

from attrs import Attribute, field, frozen

from venues.rules import checks, float_checks
from venues.rules.errors import BadValueError

_BPS = 10_000


def square_root_impact(daily_volatility: Decimal, participation: Decimal, coefficient: Decimal) -> Decimal:
    """Return coefficient x volatility x sqrt(participation) in bps: the impact at the end of the order.

    Trading evenly, the mean cost is two thirds of it. Raises BadValueError.
    """
    checks.not_negative(daily_volatility, "daily_volatility")
    checks.not_negative(participation, "participation")
    checks.not_negative(coefficient, "coefficient")
    return coefficient * daily_volatility * participation.sqrt() * _BPS


def linear_impact(daily_volatility: Decimal, participation: Decimal, coefficient: Decimal) -> Decimal:
    """Return coefficient x volatility x participation in bps. Raises BadValueError."""
    checks.not_negative(daily_volatility, "daily_volatility")
    checks.not_negative(participation, "participation")
    checks.not_negative(coefficient, "coefficient")
    return coefficient * daily_volatility * participation * _BPS


def kyle_impact(lambda_: Decimal, signed_qty: Decimal) -> Decimal:
    """Return the price change (quote) of a net order flow: Kyle (1985), lambda in quote per unit squared."""
    return checks.not_negative(lambda_, "lambda_") * checks.finite(signed_qty, "signed_qty")


@frozen
class VolumeShare:
    """Price x coefficient x min(qty/volume, limit)^2. Source: LEAN `VolumeShareSlippageModel` with its defaults."""

    coefficient: Decimal = Decimal("0.1")
    volume_limit: Decimal = Decimal("0.025")

    def slippage(self, price: Decimal, qty: Decimal, bar_volume: Decimal) -> Decimal:
        """Return the slippage in price units. Raises BadValueError."""
        share = checks.not_negative(qty, "qty") / checks.positive(bar_volume, "bar_volume")
        return checks.positive(price, "price") * self.coefficient * min(share, self.volume_limit) ** 2


@frozen
class AlmgrenEtAl2005:
    """Permanent and realised cost of an order over part of a day.

    Source: Almgren, Thum, Hauptmann and Li, "Direct estimation of equity market impact" (2005), coefficients as in
    LEAN `MarketImpactSlippageModel`; the paper rounds `alpha` to 1 and `delta` to 1/4, the defaults here. Estimated
    for US equities: for futures the coefficients are a starting point and nothing more.
    """

    gamma: float = 0.314
    eta: float = 0.142
    alpha: float = 1.0
    beta: float = 0.6
    delta: float = 0.25

    def permanent_bps(self, daily_volatility: float, qty: float, daily_volume: float, outstanding: float) -> float:
        """Return gamma x sigma x (X/V)^alpha x (outstanding/V)^delta. Raises BadValueError."""
        sigma = float_checks.not_negative(daily_volatility, "daily_volatility")
        volume = float_checks.positive(daily_volume, "daily_volume")
        share = float_checks.not_negative(qty, "qty") / volume
        turnover = float_checks.positive(outstanding, "outstanding") / volume
        return float(_BPS * self.gamma * sigma * share**self.alpha * turnover**self.delta)

    def realised_bps(
        self, daily_volatility: float, qty: float, daily_volume: float, outstanding: float, days: float
    ) -> float:
        """Return half the permanent impact and eta x sigma x (X/(V T))^beta, T in days. Raises BadValueError."""
        permanent = self.permanent_bps(daily_volatility, qty, daily_volume, outstanding)
        rate = qty / (daily_volume * float_checks.positive(days, "days"))
        return float(permanent / 2 + _BPS * self.eta * daily_volatility * rate**self.beta)


# Transient impact


class Decay(Protocol):
    """What is left of an impact after a time; 1 at once, falling."""

    def kept(self, elapsed: float) -> float: ...

    def check(self, concavity: float) -> None:
        """Raise BadValueError when impact of that concavity would let round trips earn."""
        ...


def _positive(instance: object, attribute: "Attribute[float]", value: float) -> None:
    float_checks.positive(value, attribute.name)


@frozen
class ExponentialDecay:
    """e^(-resilience x time): a book that refills at a rate. Source: Obizhaeva and Wang (2013)."""

    resilience: float = field(validator=_positive)

    def kept(self, elapsed: float) -> float:
        return exp(-self.resilience * elapsed)

    def check(self, concavity: float) -> None:
        if concavity != 1.0:
            raise BadValueError("concavity", "exponential decay allows only linear impact (Gatheral 2010)")


@frozen
class PowerDecay:
    """(1 + time / unit)^-exponent. Source: Gatheral's "No-dynamic-arbitrage and market impact" (2010), finite at 0."""

    exponent: float = field(validator=_positive)
    unit: float = field(default=1.0, validator=_positive)

    def kept(self, elapsed: float) -> float:
        return float((1.0 + elapsed / self.unit) ** -self.exponent)

    def check(self, concavity: float) -> None:
        if concavity == 1.0:
            return
        if self.exponent + concavity < 1.0:
            raise BadValueError("concavity", f"exponent {self.exponent} + concavity {concavity} is below 1")
        if self.exponent < 2.0 - log2(3.0):
            raise BadValueError("exponent", f"{self.exponent} is below 2 - log2(3) = {2.0 - log2(3.0):.4f}")


@frozen
class TransientImpact:
    """Every trade moves the price by scale x sign x |qty|^concavity, and what it moved decays.

    Source: Gatheral (2010). Prices in quote. Raises BadValueError for a decay and a concavity that allow price
    manipulation.
    """

    scale: float = field(validator=_positive)
    decay: Decay
    concavity: float = field(default=1.0, validator=_positive)

    def __attrs_post_init__(self) -> None:
        self.decay.check(self.concavity)

    def moved(self, qty: float) -> float:
        """Return how far a signed trade moves the price at once."""
        return copysign(self.scale * abs(float_checks.finite(qty, "qty")) ** self.concavity, qty)

    def displacement(self, trades: Sequence[float], times: Sequence[float], at: float) -> float:
        """Return how far `trades` made before `at` have the price away. Raises BadValueError."""
        _check_times(trades, times)
        return fsum(self.moved(n) * self.decay.kept(at - t) for n, t in zip(trades, times, strict=True) if t < at)

    def cost(self, trades: Sequence[float], times: Sequence[float]) -> float:
        """Return what the trades pay above the price without them; each pays the mean of its own way."""
        _check_times(trades, times)
        return fsum(
            n
            * (self.displacement(trades[:index], times[:index], times[index]) + self.moved(n) / (self.concavity + 1.0))
            for index, n in enumerate(trades)
        )


def _check_times(trades: Sequence[float], times: Sequence[float]) -> None:
    if len(trades) != len(times):
        raise BadValueError("times", f"{len(trades)} trades need as many times, got {len(times)}")
    before = float("-inf")
    for index, time in enumerate(times):
        if float_checks.finite(time, f"times[{index}]") <= before:
            raise BadValueError(f"times[{index}]", f"{time} is not after {before}")
        before = time
