"""Decides whether too much of the desk is in one thing.

All instruments of one base asset count as one: the legs of a basket cancel in it.
"""

from collections.abc import Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import share
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, unknown
from venues.model.money import ZERO


@frozen
class ConcentrationConfig:
    """One base asset may be the share `most` of gross, measured once gross exceeds `floor` of the account limit."""

    most: Decimal = field(default=Decimal("0.5"), validator=share)
    floor: Decimal = field(default=Decimal("0.1"), validator=share)


@define
class ConcentrationFacts:
    """Gross value in quote money by base asset, None for what has no price. `account_limit`: what gross may be."""

    values: Mapping[str, Decimal | None]
    account_limit: Decimal


def decide(facts: ConcentrationFacts, config: ConcentrationConfig) -> Findings:
    """BLOCK every base asset above its share; an unknown value blocks the desk."""
    gross = ZERO
    for base, value in facts.values.items():
        if value is None or not value.is_finite() or value < ZERO:
            return unknown(Guard.CONCENTRATION, "", f"the value of {base} is {value}")
        gross += value
    if not facts.account_limit.is_finite():
        return unknown(Guard.CONCENTRATION, "", f"the account limit is {facts.account_limit}")
    if gross <= config.floor * facts.account_limit:
        return NOTHING
    most = config.most * gross
    return tuple(
        Finding(
            Guard.CONCENTRATION,
            Severity.BLOCK,
            GuardReason.CONCENTRATED,
            base,
            f"{value / gross:.4f} of {gross:.8g}, allowed {config.most}",
            {"share": value / gross, "gross": gross},
        )
        for base, value in sorted(facts.values.items())
        if value is not None and value > most
    )
