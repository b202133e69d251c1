"""Decides what a place in the deleveraging queue means: 5 is first in line, 1 last.

Venues' own scales are brought to it by `venues.rules.adl`.
"""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import positive, share
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, unknown
from venues.rules.adl import RANKS


@frozen
class AdlConfig:
    """From `high` on the risk is high; reduced to the share `keep` when `reducing` names adl, offered otherwise."""

    high: int = field(default=4, validator=positive)
    keep: Decimal = field(default=Decimal("0.5"), validator=share)


@define
class AdlFacts:
    """The rank the venue gave a position, None for one that is not in the queue."""

    subject: str
    rank: int | None


def decide(facts: AdlFacts, config: AdlConfig) -> Findings:
    """WARN from the high ranks on, with an offer to reduce; a rank that is none blocks."""
    rank = facts.rank
    if rank is None:
        return NOTHING
    if not 1 <= rank <= RANKS:
        return unknown(Guard.ADL, facts.subject, f"rank {rank} is not among 1..{RANKS}")
    if rank < config.high:
        return NOTHING
    text = f"rank {rank} of {RANKS}"
    numbers = {"rank": Decimal(rank)}
    return (Finding(Guard.ADL, Severity.WARN, GuardReason.ADL_RANK, facts.subject, text, numbers, config.keep),)
