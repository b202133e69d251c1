"""Decides when a dated contract must be left: warned of, closed to new positions, flat; and whether a roll pays.

The deciding day of each side is `venues.rules.expiry`'s: first notice for longs, last trading day for shorts.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum

from attrs import define, field, frozen

from actors.config_checks import not_negative, positive
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, unknown
from venues.model.money import ZERO


@frozen
class RolloverConfig:
    """Business days before the deciding day. A roll is given up above `roll_cost_bps` of the position's value."""

    warn_days: int = field(default=8, validator=not_negative)
    flat_days: int = field(default=3, validator=not_negative)
    roll_cost_bps: Decimal = field(default=Decimal(50), validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.warn_days < self.flat_days:
            raise ValueError(f"warn_days: {self.warn_days} is below flat_days {self.flat_days}")


@define
class RolloverFacts:
    """A side of a contract on trade date `day`. Both dates are None when the contract is not in the tables.

    `warn_day` is `warn_days` business days before the deciding day, `flat_day` `flat_days` before it. `next_contract`
    is empty when it is not known.
    """

    subject: str
    day: date
    warn_day: date | None
    flat_day: date | None
    next_contract: str = ""


class RollChoice(StrEnum):
    WAIT = "wait"
    ROLL = "roll"
    GIVE_UP = "give_up"


def roll(day: date, roll_day: date, cost_bps: Decimal | None, config: RolloverConfig) -> RollChoice:
    """Say whether to roll: from the roll date on, unless the cost of both legs is unknown or too much."""
    if day < roll_day:
        return RollChoice.WAIT
    if cost_bps is None or not cost_bps.is_finite() or cost_bps > config.roll_cost_bps:
        return RollChoice.GIVE_UP
    return RollChoice.ROLL


def decide(facts: RolloverFacts, config: RolloverConfig) -> Findings:
    """WARN from the first day on, REDUCE to nothing (and so let nothing in) from the second on."""
    day, warn_day, flat_day = facts.day, facts.warn_day, facts.flat_day
    if warn_day is None or flat_day is None:
        return unknown(Guard.ROLLOVER, facts.subject, "its last days are not in the tables")
    if day < warn_day:
        return NOTHING
    follow = f", next is {facts.next_contract}" if facts.next_contract else ""
    if day < flat_day:
        text = f"to be left by {flat_day}{follow}"
        return (Finding(Guard.ROLLOVER, Severity.WARN, GuardReason.ROLL_DUE, facts.subject, text),)
    text = f"to be left since {flat_day}{follow}"
    return (Finding(Guard.ROLLOVER, Severity.REDUCE, GuardReason.CLOSE_OUT, facts.subject, text, keep=ZERO),)
