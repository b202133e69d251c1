"""Decides when slippage is too much: before an order is sent, and when a parent is over."""

from decimal import Decimal

from attrs import field, frozen

from actors.config_checks import not_negative, positive
from actors.executions import SlippageAlert
from venues.costs.shortfall import DEFAULT_QUALITY, QualityBounds


@frozen
class SlippageConfig:
    """Basis points of the mid. No order is sent that is expected to cost more than `max_expected_bps`.

    A parent whose realised slippage reaches `high_bps` is an incident; from `critical_bps`, which only a stop or a gap
    comes to, the desk may only reduce. Realised less expected is good up to `good_bps`, acceptable up to
    `acceptable_bps`.
    """

    max_expected_bps: Decimal = field(default=Decimal(50), validator=not_negative)
    high_bps: Decimal = field(default=Decimal(25), validator=positive)
    critical_bps: Decimal = field(default=Decimal(1_000), validator=positive)
    good_bps: Decimal = field(default=DEFAULT_QUALITY.good_bps, validator=not_negative)
    acceptable_bps: Decimal = field(default=DEFAULT_QUALITY.acceptable_bps, validator=not_negative)

    def __attrs_post_init__(self) -> None:
        if self.critical_bps < self.high_bps:
            raise ValueError(f"critical_bps: {self.critical_bps} is below high_bps {self.high_bps}")
        if self.acceptable_bps < self.good_bps:
            raise ValueError(f"acceptable_bps: {self.acceptable_bps} is below good_bps {self.good_bps}")

    @property
    def quality(self) -> QualityBounds:
        return QualityBounds(self.good_bps, self.acceptable_bps)


def expectation_objection(expected_bps: Decimal | None, config: SlippageConfig) -> str:
    """Return why an order may not be sent, empty when it may. What cannot be expected may not be sent either."""
    if expected_bps is None:
        return "the book does not hold enough to say what it costs"
    if expected_bps > config.max_expected_bps:
        return f"expected to cost {expected_bps:.2f} bps, allowed {config.max_expected_bps}"
    return ""


def alert_for(realised_bps: Decimal, config: SlippageConfig) -> SlippageAlert | None:
    """Return how loudly a parent's realised slippage must be told."""
    if realised_bps >= config.critical_bps:
        return SlippageAlert.CRITICAL
    return SlippageAlert.HIGH if realised_bps >= config.high_bps else None
