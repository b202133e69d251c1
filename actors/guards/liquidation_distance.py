"""Decides how near to its liquidation a position may come: the share of the mark it may still move against it."""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import share
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, unknown


@frozen
class LiquidationDistanceConfig:
    """Below `warn` it is told, below `act` the desk only reduces, and the position to the share `keep`."""

    warn: Decimal = field(default=Decimal("0.10"), validator=share)
    act: Decimal = field(default=Decimal("0.05"), validator=share)
    keep: Decimal = field(default=Decimal("0.5"), validator=share)

    def __attrs_post_init__(self) -> None:
        if self.act > self.warn:
            raise ValueError(f"act: {self.act} is above warn {self.warn}")


@define
class DistanceFacts:
    """`distance` is None when it cannot be computed; `is_safe`: no price liquidates the position."""

    subject: str
    distance: Decimal | None
    is_safe: bool = False


def decide(facts: DistanceFacts, config: LiquidationDistanceConfig) -> Findings:
    """WARN below the one, REDUCE and act below the other; the bounds themselves are better."""
    if facts.is_safe:
        return NOTHING
    distance, guard = facts.distance, Guard.LIQUIDATION_DISTANCE
    if distance is None or not distance.is_finite():
        return unknown(guard, facts.subject, f"the liquidation price is not known ({distance})")
    if distance >= config.warn:
        return NOTHING
    text, numbers = f"{distance:.4f} from its liquidation", {"distance": distance}
    if distance >= config.act:
        return (Finding(guard, Severity.WARN, GuardReason.LIQUIDATION_NEAR, facts.subject, text, numbers),)
    reason = GuardReason.LIQUIDATION_IMMINENT
    return (Finding(guard, Severity.REDUCE, reason, facts.subject, text, numbers, config.keep, is_act=True),)
