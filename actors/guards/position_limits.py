"""Decides whether futures positions pass a position limit or an accountability level.

The limits and how positions count towards them are `venues.rules.position_limits`: net by month, micros at 1/10.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache

from attrs import define, field, frozen

from actors.guards.findings import Finding, Findings, Guard, GuardReason, Severity, unknown
from venues.model.money import ZERO
from venues.rules.checks import finite
from venues.rules.cme_products import weight
from venues.rules.contracts import Contract
from venues.rules.errors import RuleError
from venues.rules.position_limits import PositionLimit, breaches, is_known, table


@frozen
class PositionLimitsConfig:
    """`contracts` are limits of one's own by full-size product, all months; needed where the table has none."""

    contracts: Mapping[str, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for product, most in self.contracts.items():
            if most <= 0:
                raise ValueError(f"contracts.{product}: must be positive, got {most}")


@define
class LimitFacts:
    """Signed positions by contract month, over all accounts, on a trade date."""

    positions: Mapping[Contract, Decimal]
    day: date


def decide(facts: LimitFacts, config: PositionLimitsConfig) -> Findings:
    """BLOCK beyond a hard limit and for products without any, WARN beyond an accountability level."""
    try:
        sums: dict[str, Decimal] = {}
        for one, qty in facts.positions.items():
            product = one.product
            root = product.full_size or one.root
            sums[root] = sums.get(root, ZERO) + finite(qty, "qty") * weight(product)
        passed = breaches(facts.positions, facts.day, _rows(frozenset(sums)))
    except RuleError as error:
        return unknown(Guard.POSITION_LIMITS, "", str(error))
    found = []
    for root, net in sorted(sums.items()):
        most = config.contracts.get(root)
        if most is not None and abs(net) > most:
            found.append(_finding(root, net, most, is_hard=True, what="the desk's own limit"))
        elif most is None and not is_known(root):
            found += unknown(Guard.POSITION_LIMITS, root, "no limit is known: set one in position_limits.contracts")
    for breach in passed:
        limit = breach.limit
        what = f"{limit.kind} {'limit' if limit.is_hard else 'accountability level'} of {limit.as_of}"
        found.append(_finding(limit.product, breach.held, limit.contracts, is_hard=limit.is_hard, what=what))
    return tuple(found)


@lru_cache(maxsize=64)
def _rows(roots: frozenset[str]) -> tuple[PositionLimit, ...]:
    return tuple(limit for limit in table() if limit.product in roots)


def _finding(root: str, held: Decimal, most: int, *, is_hard: bool, what: str) -> Finding:
    severity = Severity.BLOCK if is_hard else Severity.WARN
    reason = GuardReason.POSITION_LIMIT if is_hard else GuardReason.ACCOUNTABILITY
    text = f"{held:.8g} full-size contracts, {what} is {most}"
    return Finding(Guard.POSITION_LIMITS, severity, reason, root, text, {"held": held, "limit": Decimal(most)})
