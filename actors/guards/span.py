"""Decides whether an account's money covers the SPAN requirement of its futures, and which size is safe."""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, is_known, kept, unknown
from venues.model.money import ONE, ZERO


@frozen
class SpanConfig:
    """Ratios of equity to the maintenance requirement. Entries must leave `target`, reductions aim at `reduce_to`."""

    warning: Decimal = field(default=Decimal("1.5"), validator=positive)
    danger: Decimal = field(default=Decimal("1.25"), validator=positive)
    margin_call: Decimal = field(default=Decimal("1.0"), validator=positive)
    target: Decimal = field(default=Decimal("3.0"), validator=positive)
    reduce_to: Decimal = field(default=Decimal("2.0"), validator=positive)

    def __attrs_post_init__(self) -> None:
        if not self.warning > self.danger > self.margin_call:
            raise ValueError("warning: must be above danger, danger above margin_call")
        if self.reduce_to < self.warning or self.target < self.reduce_to:
            raise ValueError("target: must not be below reduce_to, reduce_to not below warning")


@define
class SpanFacts:
    """An account's equity and requirement in one currency, None when not known. `is_entry`: as it would be after."""

    subject: str
    equity: Decimal | None
    maintenance: Decimal | None
    is_entry: bool = False


def safe_share(equity: Decimal, maintenance: Decimal, target: Decimal) -> Decimal:
    """Return the share of a portfolio that `equity` covers `target` times; the requirement grows with the size."""
    return kept(equity / (maintenance * target)) if maintenance > ZERO else ONE


def decide(facts: SpanFacts, config: SpanConfig) -> Findings:
    """WARN, REDUCE and act by the ratio; an entry that leaves less than the target is blocked."""
    equity, needed, subject = facts.equity, facts.maintenance, facts.subject
    if equity is None or needed is None or not is_known(equity) or not needed.is_finite() or needed < ZERO:
        return unknown(Guard.SPAN, subject, f"equity {equity}, requirement {needed}")
    if not needed:
        return NOTHING
    ratio = equity / needed
    text = f"equity {equity:.8g} is {ratio:.4f} times the requirement"
    numbers = {"ratio": ratio, "safe_share": safe_share(equity, needed, config.target)}
    if facts.is_entry:
        if ratio >= config.target:
            return NOTHING
        return (Finding(Guard.SPAN, Severity.BLOCK, GuardReason.SPAN_SAFE_SIZE, subject, text, numbers),)
    if ratio >= config.warning:
        return NOTHING
    if ratio >= config.danger:
        return (Finding(Guard.SPAN, Severity.WARN, GuardReason.SPAN_WARNING, subject, text, numbers),)
    is_call = ratio < config.margin_call
    reason = GuardReason.SPAN_MARGIN_CALL if is_call else GuardReason.SPAN_DANGER
    keep = safe_share(equity, needed, config.reduce_to)
    return (Finding(Guard.SPAN, Severity.REDUCE, reason, subject, text, numbers, keep, is_act=is_call),)
