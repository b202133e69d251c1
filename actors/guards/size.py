"""Decides how large one symbol may get, how many positions may be open, and how much of its leverage one may use."""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import positive, positive_or_none, share
from actors.guards.findings import Finding, Findings, Guard, GuardReason, Severity, is_known, unknown
from venues.model.money import ONE, ZERO


@frozen
class SizeConfig:
    """`notional_max` is quote money of one symbol over all accounts, `leverage_use` a share of the allowed leverage.

    With `trailing_stop` a position that gave back that share of its best price since it was opened is to be closed.
    """

    notional_max: Decimal = field(default=Decimal(1_000_000), validator=positive)
    open_positions_max: int = field(default=5, validator=positive)
    leverage_use: Decimal = field(default=Decimal("0.8"), validator=share)
    trailing_stop: Decimal | None = field(default=None, validator=positive_or_none)


@define
class SizeFacts:
    """A symbol as it would be: `notional` in quote money, `leverage` None for what is paid in full.

    `scale` is the share of the size that other guards leave (see circuit), `open_positions` counts the desk's.
    """

    subject: str
    notional: Decimal | None
    open_positions: int = 0
    leverage: Decimal | None = None
    leverage_allowed: Decimal | None = None
    scale: Decimal = ONE


@define
class TrailFacts:
    """A position's price now and the best since it was opened; `way` is 1 for longs, -1 for shorts."""

    subject: str
    price: Decimal | None
    best: Decimal | None
    way: int


def decide(facts: SizeFacts, config: SizeConfig) -> Findings:
    """BLOCK beyond any of the bounds; the bounds themselves are inside."""
    notional, subject = facts.notional, facts.subject
    if notional is None or not notional.is_finite() or notional < ZERO or not is_known(facts.scale):
        return unknown(Guard.SIZE, subject, f"value {notional}, scale {facts.scale}")
    found = []
    most = config.notional_max * facts.scale if facts.scale < ONE else config.notional_max
    if notional > most:
        found.append(_over(subject, GuardReason.SYMBOL_SIZE, notional, most))
    if facts.open_positions > config.open_positions_max:
        count, limit = Decimal(facts.open_positions), Decimal(config.open_positions_max)
        found.append(_over(subject, GuardReason.OPEN_POSITIONS, count, limit))
    allowed = facts.leverage_allowed
    if allowed is not None:
        leverage = facts.leverage
        if leverage is None or not leverage.is_finite() or leverage < ZERO or not allowed.is_finite():
            return (*found, *unknown(Guard.SIZE, subject, f"leverage {leverage}, allowed {allowed}"))
        if leverage > allowed * config.leverage_use:
            found.append(_over(subject, GuardReason.LEVERAGE_USE, leverage, allowed * config.leverage_use))
    return tuple(found)


def trailing(facts: TrailFacts, config: SizeConfig) -> Findings:
    """REDUCE to nothing once the price fell by the trailing stop from its best; nothing when there is none."""
    stop, price, best = config.trailing_stop, facts.price, facts.best
    if stop is None:
        return ()
    if price is None or best is None or not price.is_finite() or not best.is_finite() or best <= ZERO:
        return unknown(Guard.SIZE, facts.subject, f"price {price}, best {best}")
    back = (best - price) * facts.way / best
    if back < stop:
        return ()
    text, numbers = f"gave back {back:.4f} of {best}, allowed {stop}", {"given_back": back}
    reason = GuardReason.TRAILING_STOP
    return (Finding(Guard.SIZE, Severity.REDUCE, reason, facts.subject, text, numbers, ZERO),)


def _over(subject: str, reason: GuardReason, value: Decimal, limit: Decimal) -> Finding:
    text = f"{value:.8g} is over {limit:.8g}"
    return Finding(Guard.SIZE, Severity.BLOCK, reason, subject, text, {"value": value, "limit": limit})
