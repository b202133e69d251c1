"""Decides what slippage a simulated CME order suffers when there is no book to walk (L2, parametric).

Formula and defaults: facts/systems.md 3. A model in floats: basis points of the mid. While trading is halted there is
no price, so there is no slippage either: the order is refused.
"""

from collections.abc import Mapping
from math import inf, sqrt

from attrs import define, field, frozen

from venues.rules import float_checks
from venues.rules.errors import RuleError


class TradingHaltedError(RuleError):
    """Trading is halted: an order has no price now."""


def _impacts() -> Mapping[str, float]:
    return {"ES": 0.03, "NQ": 0.04, "GC": 0.06, "CL": 0.08, "6E": 0.05}


@frozen
class CmeSlippageConfig:
    """`impacts` are k by product, `impact` is that of all others; `spread_ticks` likewise by product, else one tick.

    One tick is established for ES, NQ, YM, GC, CL and 6E; for the others it is an assumption to be configured.
    """

    impacts: Mapping[str, float] = field(factory=_impacts)
    impact: float = 0.05
    spread_ticks: Mapping[str, float] = field(factory=dict)
    spread_ticks_default: float = 1.0
    outside_regular_hours: float = 1.5
    settlement_minutes: float = 30.0
    settlement_per_minute: float = 0.01

    def __attrs_post_init__(self) -> None:
        numbers = {f"impacts[{code}]": one for code, one in self.impacts.items()}
        numbers |= {f"spread_ticks[{code}]": one for code, one in self.spread_ticks.items()}
        names = ("impact", "spread_ticks_default", "outside_regular_hours", "settlement_minutes")
        numbers |= {name: getattr(self, name) for name in (*names, "settlement_per_minute")}
        for name, one in numbers.items():
            float_checks.not_negative(one, name)


DEFAULT = CmeSlippageConfig()


@define
class CmeSlippage:
    """`slippage_bps` = (`half_spread_bps` + `impact_bps`) x `session` x `settlement` (x the curve, when given)."""

    slippage_bps: float
    half_spread_bps: float
    impact_bps: float
    session: float
    settlement: float


def cme_slippage(
    product: str,
    tick: float,
    mid: float,
    participation: float,
    rth: bool,
    minutes_to_settlement: float,
    is_halted: bool = False,
    config: CmeSlippageConfig = DEFAULT,
    curve: float = 1.0,
) -> CmeSlippage:
    """Return the slippage of an order that is `participation` of the average daily volume.

    `tick` is the product's own in price units, `rth` whether the regular hours are on, `minutes_to_settlement` to the
    next one. `curve` is the factor of hour and month. Raises TradingHaltedError and BadValueError.
    """
    if is_halted:
        raise TradingHaltedError("product", f"trading in {product} is halted")
    if not 0.0 < mid < inf:
        float_checks.positive(mid, "mid")
    if not 0.0 < tick < inf:
        float_checks.positive(tick, "tick")
    if not 0.0 <= participation < inf:
        float_checks.not_negative(participation, "participation")
    if not 0.0 <= minutes_to_settlement < inf:
        float_checks.not_negative(minutes_to_settlement, "minutes_to_settlement")
    half_spread = config.spread_ticks.get(product, config.spread_ticks_default) * tick / mid * 5_000.0
    impact = config.impacts.get(product, config.impact) * 10_000.0 * sqrt(participation)
    session = 1.0 if rth else config.outside_regular_hours
    settlement = 1.0
    if minutes_to_settlement < config.settlement_minutes:
        settlement += (config.settlement_minutes - minutes_to_settlement) * config.settlement_per_minute
    bps = (half_spread + impact) * session * settlement
    if curve != 1.0:
        bps *= float_checks.positive(curve, "curve")
    return CmeSlippage(bps, half_spread, impact, session, settlement)
