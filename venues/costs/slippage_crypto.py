"""Decides what slippage a simulated crypto order suffers when there is no book to walk (L2, parametric).

Formula and defaults: facts/systems.md 2. A model in floats: basis points, and shares of the average daily volume (ADV).
The funding rate is a share (0.001 is 0.1 %) and enters as such: multiplied by 10,000 again it would dwarf the rest.
"""

from collections.abc import Sequence
from math import fsum, inf, sqrt
from statistics import median

from attrs import Attribute, define, field, frozen

from venues.model.order import Side
from venues.rules import float_checks
from venues.rules.errors import BadValueError


def _not_negative(instance: object, attribute: "Attribute[float]", value: float) -> None:
    float_checks.not_negative(value, attribute.name)


def _setting(default: float) -> float:
    made: float = field(default=default, validator=_not_negative)
    return made


@frozen
class CryptoSlippageConfig:
    """`funding_sensitivity` is 8.0 in a stressed market. `imbalance_sensitivity` is 0.3 where it is switched on."""

    spread_bps: float = _setting(4.0)
    impact: float = _setting(0.09)
    regime_least: float = _setting(0.5)
    regime_most: float = _setting(3.0)
    funding_sensitivity: float = _setting(5.0)
    cascade_sensitivity: float = _setting(5.0)
    cascade_above: float = _setting(0.01)
    cascade_most: float = _setting(3.0)
    oi_factor: float = _setting(0.1)
    oi_most: float = _setting(2.0)
    imbalance_sensitivity: float = _setting(0.0)
    least_bps: float = _setting(0.5)
    most_bps: float = _setting(500.0)

    def __attrs_post_init__(self) -> None:
        if self.least_bps > self.most_bps:
            raise BadValueError("least_bps", f"{self.least_bps} is above most_bps {self.most_bps}")


DEFAULT = CryptoSlippageConfig()


@define
class CryptoSlippage:
    """`slippage_bps` and the factors in it. `absent` names what was not known and counted as 1."""

    slippage_bps: float
    funding_stress: float
    cascade: float
    open_interest: float
    absent: tuple[str, ...]
    is_clipped: bool


def crypto_slippage(
    base_bps: float,
    side: Side,
    funding_rate: float | None,
    liquidations_to_adv: float | None,
    oi_to_adv: float | None,
    config: CryptoSlippageConfig = DEFAULT,
    curve: float = 1.0,
    imbalance: float | None = None,
) -> CryptoSlippage:
    """Return base x funding stress x cascade x open interest, clipped. Raises BadValueError.

    `imbalance` is (longs - shorts)/open interest; it counts only when trading with the crowd and switched on. `curve`
    is the factor of hour and month. None is what the market did not tell: factor 1, and flagged.
    """
    if not 0.0 <= base_bps < inf:
        float_checks.not_negative(base_bps, "base_bps")
    absent: tuple[str, ...] = ()
    sign = 1.0 if side is Side.BUY else -1.0
    stress = cascade = crowd = 1.0
    if funding_rate is None:
        absent = ("funding_rate",)
    elif not -inf < funding_rate < inf:
        float_checks.finite(funding_rate, "funding_rate")
    elif funding_rate * sign > 0.0:
        stress = 1.0 + funding_rate * sign * config.funding_sensitivity
    if liquidations_to_adv is None:
        absent += ("liquidations_to_adv",)
    elif not 0.0 <= liquidations_to_adv < inf:
        float_checks.not_negative(liquidations_to_adv, "liquidations_to_adv")
    elif liquidations_to_adv > config.cascade_above:
        cascade = 1.0 + config.cascade_sensitivity * liquidations_to_adv
        cascade = cascade if cascade < config.cascade_most else config.cascade_most
    if oi_to_adv is None:
        absent += ("oi_to_adv",)
    elif not 0.0 <= oi_to_adv < inf:
        float_checks.not_negative(oi_to_adv, "oi_to_adv")
    elif oi_to_adv > 1.0:
        crowd = 1.0 + config.oi_factor * (oi_to_adv - 1.0)
        crowd = crowd if crowd < config.oi_most else config.oi_most
    bps = base_bps * stress * cascade * crowd
    if config.imbalance_sensitivity:
        if imbalance is None:
            absent += ("imbalance",)
        else:
            bps *= _imbalance_factor(imbalance, sign, config)
    if curve != 1.0:
        bps *= float_checks.positive(curve, "curve")
    if config.least_bps <= bps <= config.most_bps:
        return CryptoSlippage(bps, stress, cascade, crowd, absent, False)
    clipped = config.least_bps if bps < config.least_bps else config.most_bps
    return CryptoSlippage(clipped, stress, cascade, crowd, absent, True)


def _imbalance_factor(imbalance: float, sign: float, config: CryptoSlippageConfig) -> float:
    if not -1.0 <= imbalance <= 1.0:
        raise BadValueError("imbalance", f"must be from -1 to 1, got {imbalance}")
    return 1.0 + config.imbalance_sensitivity * max(0.0, imbalance * sign)


def base_slippage_bps(
    participation: float,
    spread_bps: float | None = None,
    volatility_regime: float = 1.0,
    config: CryptoSlippageConfig = DEFAULT,
) -> float:
    """Return half the spread + impact x sqrt(participation) x 10^4 x volatility regime. Raises BadValueError.

    The regime is held within the configured bounds; without a spread the configured one counts.
    """
    share = float_checks.not_negative(participation, "participation")
    spread = config.spread_bps if spread_bps is None else float_checks.not_negative(spread_bps, "spread_bps")
    regime = float_checks.not_negative(volatility_regime, "volatility_regime")
    regime = min(config.regime_most, max(config.regime_least, regime))
    return spread / 2.0 + config.impact * 10_000.0 * sqrt(share) * regime


def to_adv(amount: float | None, adv: float, name: str) -> float | None:
    """Return `amount` over the average daily volume, None for an unknown amount. Raises BadValueError.

    A volume of zero, or none, is an error: nothing can be said about a market that does not trade.
    """
    volume = float_checks.positive(adv, "adv")
    return None if amount is None else float_checks.not_negative(amount, name) / volume


_RECENT, _USUAL = 20, 252


def volatility_regime(returns: Sequence[float], config: CryptoSlippageConfig = DEFAULT) -> float:
    """Return the deviation of the last 20 returns over the median of that deviation at the last 252 bars, clipped.

    `returns` per bar, oldest first, at least 271. Raises BadValueError for fewer, and for a market that never moved.
    """
    needed = _RECENT + _USUAL - 1
    if len(returns) < needed:
        raise BadValueError("returns", f"the regime needs {needed} bars, got {len(returns)}")
    latest = [float_checks.finite(value, "returns") for value in returns[-needed:]]
    deviations = [_deviation(latest[at : at + _RECENT]) for at in range(_USUAL)]
    usual = median(deviations)
    if not usual:
        raise BadValueError("returns", "the price did not move in the usual bar")
    return min(config.regime_most, max(config.regime_least, deviations[-1] / usual))


def _deviation(values: Sequence[float]) -> float:
    """Return the sample deviation; `statistics.stdev` reckons in fractions and takes thirty times as long."""
    if max(values) == min(values):
        return 0.0
    mean = fsum(values) / len(values)
    return sqrt(fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
