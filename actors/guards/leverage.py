"""Decides whether a position, or all that an account holds on margin, is too large for the money behind it."""

from collections.abc import Sequence
from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import not_negative, positive
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, is_known, kept, unknown
from venues.model.money import ZERO


@frozen
class LeverageTier:
    """Above `notional` (quote money) a position may have at most `leverage`."""

    notional: Decimal = field(validator=not_negative)
    leverage: Decimal = field(validator=positive)


@frozen
class LeverageConfig:
    """The most leverage of one symbol and of all an account holds on margin: value over margin balance.

    Leverage is tiered by notional: by the venue's own brackets, and by `tiers` where they are given.
    """

    symbol: Decimal = field(default=Decimal(50), validator=positive)
    account: Decimal = field(default=Decimal(20), validator=positive)
    tiers: tuple[LeverageTier, ...] = ()


@define
class LeverageFacts:
    """What is held: `notional` (unsigned) and the margin balance `equity` in one unit, None when not known.

    `venue_max` is what the venue's bracket of that notional allows, None where it has none.
    """

    subject: str
    notional: Decimal | None
    equity: Decimal | None
    venue_max: int | None = None
    is_account: bool = False


def allowed(facts: LeverageFacts, config: LeverageConfig) -> Decimal:
    """Return the most leverage that the position may have; its notional is known."""
    if facts.is_account:
        return config.account
    most = config.symbol
    if facts.venue_max is not None and facts.venue_max < most:
        most = Decimal(facts.venue_max)
    return _tiered(facts.notional or ZERO, most, config.tiers) if config.tiers else most


def _tiered(notional: Decimal, most: Decimal, tiers: Sequence[LeverageTier]) -> Decimal:
    return min((most, *(tier.leverage for tier in tiers if notional > tier.notional)))


def decide(facts: LeverageFacts, config: LeverageConfig) -> Findings:
    """REDUCE to the allowed leverage above it; without money behind a position nothing of it may stay."""
    notional, equity = facts.notional, facts.equity
    if notional is None or equity is None or not notional.is_finite() or notional < ZERO or not is_known(equity):
        return unknown(Guard.LEVERAGE, facts.subject, f"value {notional}, margin balance {equity}")
    if not notional:
        return NOTHING
    most = allowed(facts, config)
    if equity > ZERO and notional <= most * equity:
        return NOTHING
    reason = GuardReason.ACCOUNT_LEVERAGE if facts.is_account else GuardReason.SYMBOL_LEVERAGE
    if equity <= ZERO:
        text, keep, numbers = f"{notional:.6g} on a margin balance of {equity:.6g}", ZERO, {"allowed": most}
    else:
        leverage = notional / equity
        text, keep = f"{leverage:.4g} is over {most}", kept(most / leverage)
        numbers = {"leverage": leverage, "allowed": most}
    return (Finding(Guard.LEVERAGE, Severity.REDUCE, reason, facts.subject, text, numbers, keep),)
