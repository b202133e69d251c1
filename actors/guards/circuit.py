"""Decides how much of its size an equity index future may have near the market's circuit breakers.

Levels are falls from the reference (7, 13, 20 %: `venues.rules.price_limits`); outside cash hours rises count as well.
"""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, unknown
from venues.model.money import ONE, ZERO
from venues.rules.price_limits import LEVELS

_HALF = Decimal("0.5")
_QUARTER = Decimal("0.25")


@frozen
class CircuitConfig:
    """Full size up to `buffer` before the first level, falling evenly to half of it there."""

    buffer: Decimal = field(default=Decimal("0.02"), validator=positive)
    levels: tuple[Decimal, ...] = LEVELS

    def __attrs_post_init__(self) -> None:
        if len(self.levels) != len(LEVELS) or not ZERO < self.levels[0] < self.levels[1] < self.levels[2] < ONE:
            raise ValueError("levels: must be three rising shares")
        if self.buffer > self.levels[0]:
            raise ValueError(f"buffer: {self.buffer} is more than the first level {self.levels[0]}")


@define
class CircuitFacts:
    """A price and what its limits are measured from, None when not known; `is_cash`: in cash hours only falls count."""

    subject: str
    price: Decimal | None
    reference: Decimal | None
    is_cash: bool = False


def size_factor(move: Decimal, config: CircuitConfig) -> Decimal:
    """Return the share of the full size at a move (a share of the reference) towards the levels."""
    first, second, third = config.levels
    if move >= third:
        return ZERO
    if move >= second:
        return _QUARTER
    if move >= first:
        return _HALF
    start = first - config.buffer
    return ONE if move <= start else ONE - _HALF * (move - start) / config.buffer


def factor(facts: CircuitFacts, config: CircuitConfig) -> Decimal:
    """Return the share of the full size, nothing where a price or its reference is not known."""
    price, reference = facts.price, facts.reference
    if price is None or reference is None or not price.is_finite() or not reference.is_finite() or reference <= ZERO:
        return ZERO
    fall = (reference - price) / reference
    return size_factor(fall if facts.is_cash else abs(fall), config)


def decide(facts: CircuitFacts, config: CircuitConfig) -> Findings:
    """WARN while the size is cut, BLOCK where nothing is left of it."""
    price, reference = facts.price, facts.reference
    if price is None or reference is None or not price.is_finite() or not reference.is_finite() or reference <= ZERO:
        return unknown(Guard.CIRCUIT, facts.subject, f"price {price}, reference {reference}")
    left = factor(facts, config)
    if left == ONE:
        return NOTHING
    text = f"{price} from {reference}: {left:.4g} of the size"
    numbers = {"factor": left, "move": (price - reference) / reference}
    if left:
        return (Finding(Guard.CIRCUIT, Severity.WARN, GuardReason.CIRCUIT_NEAR, facts.subject, text, numbers),)
    return (Finding(Guard.CIRCUIT, Severity.BLOCK, GuardReason.CIRCUIT_BEYOND, facts.subject, text, numbers),)
