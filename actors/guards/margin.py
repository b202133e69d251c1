"""Decides what an account's margin level means for its positions; the levels themselves are the margin monitor's."""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import share
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity
from actors.messages import MarginLevel
from venues.model.money import ONE

_SEVERITY = {
    MarginLevel.WARNING: Severity.WARN,
    MarginLevel.DANGER: Severity.WARN,
    MarginLevel.CRITICAL: Severity.REDUCE,
    MarginLevel.LIQUIDATION: Severity.REDUCE,
}


@frozen
class MarginGuardConfig:
    """At DANGER and worse the share `reduction` of every basket is to go; done when `reducing` names margin."""

    reduction: Decimal = field(default=Decimal("0.25"), validator=share)


@define
class MarginFacts:
    """An account's level as the margin monitor told it last; `coverage` is margin balance / maintenance margin."""

    subject: str
    level: MarginLevel
    coverage: Decimal | None = None


def decide(facts: MarginFacts, config: MarginGuardConfig) -> Findings:
    """WARN at WARNING and DANGER, REDUCE from CRITICAL on, BLOCK when it is not known; from DANGER on an offer."""
    level = facts.level
    if level is MarginLevel.HEALTHY:
        return NOTHING
    guard, subject = Guard.MARGIN, facts.subject
    if level is MarginLevel.UNKNOWN:
        return (Finding(guard, Severity.BLOCK, GuardReason.MARGIN_UNKNOWN, subject, "cannot be computed"),)
    severity = _SEVERITY[level]
    keep = None if level is MarginLevel.WARNING else ONE - config.reduction
    coverage = facts.coverage
    is_number = coverage is not None and coverage.is_finite()
    text = f"{level}, coverage {coverage:.4f}" if is_number else f"{level}"
    numbers = {"coverage": coverage} if is_number and coverage is not None else {}
    return (Finding(guard, severity, GuardReason.MARGIN_LEVEL, subject, text, numbers, keep),)
