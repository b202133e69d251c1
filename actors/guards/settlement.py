"""Decides whether the cash that the next daily settlement takes is too much for an account."""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, is_known, kept, unknown
from venues.model.money import ZERO


@frozen
class SettlementConfig:
    """An estimated payment above the share `most` of equity is too much; reductions bring it down to that."""

    most: Decimal = field(default=Decimal("0.05"), validator=positive)


@define
class SettlementFacts:
    """The variation estimated at the marks (negative: to be paid) and equity before it, None when not known."""

    subject: str
    variation: Decimal | None
    equity: Decimal | None


def decide(facts: SettlementFacts, config: SettlementConfig) -> Findings:
    """REDUCE when the payment is above its share of equity; all of it when there is no equity."""
    variation, equity, subject = facts.variation, facts.equity, facts.subject
    if variation is None or equity is None or not is_known(variation) or not is_known(equity):
        return unknown(Guard.SETTLEMENT, subject, f"variation {variation}, equity {equity}")
    if variation >= ZERO or -variation <= config.most * equity:
        return NOTHING
    keep = kept(config.most * equity / -variation)
    after = equity + variation
    text = f"{-variation:.8g} to be paid of {equity:.8g}, {after:.8g} left, allowed {config.most}"
    numbers = {"variation": variation, "equity_after": after}
    return (Finding(Guard.SETTLEMENT, Severity.REDUCE, GuardReason.VARIATION, subject, text, numbers, keep),)
