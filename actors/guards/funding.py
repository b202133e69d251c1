"""Decides what funding a position of one side may cost: a day, a stamp, the last day, and for how long.

Cost is paid by the side the rate is against; what the other side receives is no finding. A day's cost is that of the
stamps that lie in it, never a rate times three.
"""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.guards.findings import Finding, Findings, Guard, GuardReason, Severity, unknown
from venues.model.money import ONE, ZERO
from venues.rules.funding import INTERVALS
from venues.rules.funding_stamps import stamp_count

DAY_NS = 86_400_000_000_000
_BPS = Decimal(10_000)
_REFERENCE_HOURS = Decimal(8)


def _whole_interval(instance: object, attribute: object, value: int) -> None:
    if value not in INTERVALS:
        raise ValueError(f"interval_hours: must be one of {sorted(INTERVALS)}, got {value}")


def _positive_or_none(instance: object, attribute: object, value: int | None) -> None:
    if value is not None and value <= 0:
        raise ValueError(f"{getattr(attribute, 'name', 'value')}: must be positive, got {value}")


@frozen
class FundingGuardConfig:
    """Costs are basis points of the position, `rate_warn` a share per eight hours.

    `daily_bps` makes funding excessive, `cumulated_bps` bounds what 24 hours cost, `entry_bps` a stamp at entry. With
    `reduce_over_stamps` an excessive position goes in equal parts over that many stamps; with `holding_max_ns` a paying
    one is held no longer. `interval_hours` is taken until two stamps of the venue have been seen.
    """

    rate_warn: Decimal = field(default=Decimal("0.0005"), validator=positive)
    daily_bps: Decimal = field(default=Decimal(30), validator=positive)
    cumulated_bps: Decimal = field(default=Decimal(150), validator=positive)
    entry_bps: Decimal = field(default=Decimal(50), validator=positive)
    interval_hours: int = field(default=8, validator=_whole_interval)
    reduce_over_stamps: int | None = field(default=None, validator=_positive_or_none)
    holding_max_ns: int | None = field(default=None, validator=_positive_or_none)


@define
class FundingFacts:
    """One side of a perpetual: `way` is 1 for longs, -1 for shorts; `rate` a share per interval, None when unknown.

    `cumulated_bps` is what the last 24 hours cost (negative: brought) per unit of position. `held_ns`: how long it is
    held, 0 for none. `stamps_over` counts the stamps since funding became excessive, `next_ns` names the next one.
    """

    subject: str
    way: int
    rate: Decimal | None
    interval_hours: int
    now_ns: int
    cumulated_bps: Decimal | None = ZERO
    held_ns: int = 0
    stamps_over: int = 0
    next_ns: int | None = None


def daily_cost_bps(rate: Decimal, way: int, interval_hours: int, now_ns: int) -> Decimal:
    """Return what the stamps of the next 24 hours cost, negative when they bring."""
    return rate * way * _BPS * stamp_count(now_ns, now_ns + DAY_NS, interval_hours)


def decide(facts: FundingFacts, config: FundingGuardConfig) -> Findings:
    """WARN above the rate, BLOCK above the costs, REDUCE where the configuration says how."""
    rate, cumulated, subject = facts.rate, facts.cumulated_bps, facts.subject
    if rate is None or not rate.is_finite() or cumulated is None or not cumulated.is_finite():
        return unknown(Guard.FUNDING, subject, f"rate {rate}, cumulated {cumulated}")
    if facts.interval_hours not in INTERVALS:
        return unknown(Guard.FUNDING, subject, f"a funding interval of {facts.interval_hours} h")
    found = []
    normal = rate.copy_abs() * _REFERENCE_HOURS
    if normal > config.rate_warn * facts.interval_hours:
        per_8h = normal / facts.interval_hours
        found.append(_finding(subject, Severity.WARN, GuardReason.FUNDING_RATE, per_8h, config.rate_warn))
    if cumulated > config.cumulated_bps:
        reason = GuardReason.FUNDING_CUMULATED
        found.append(_finding(subject, Severity.BLOCK, reason, cumulated, config.cumulated_bps))
    cost = (rate if facts.way > 0 else -rate) * _BPS
    if cost <= ZERO:
        return tuple(found)
    if cost > config.entry_bps:
        found.append(_finding(subject, Severity.BLOCK, GuardReason.FUNDING_ENTRY, cost, config.entry_bps))
    daily = cost * stamp_count(facts.now_ns, facts.now_ns + DAY_NS, facts.interval_hours)
    if daily > config.daily_bps:
        found.append(_excessive(facts, config, daily))
    if config.holding_max_ns is not None and facts.held_ns > config.holding_max_ns:
        text = f"held {facts.held_ns} ns while it pays, allowed {config.holding_max_ns}"
        reason = GuardReason.HOLDING_TIME
        found.append(Finding(Guard.FUNDING, Severity.REDUCE, reason, subject, text, {"cost_bps": cost}, ZERO))
    return tuple(found)


def _excessive(facts: FundingFacts, config: FundingGuardConfig, daily: Decimal) -> Finding:
    parts, reason = config.reduce_over_stamps, GuardReason.FUNDING_EXCESSIVE
    if parts is None:
        return _finding(facts.subject, Severity.BLOCK, reason, daily, config.daily_bps)
    # Equal parts of the position as it was: of what is left, one of the parts that are left.
    left = max(1, parts - facts.stamps_over)
    return Finding(
        Guard.FUNDING,
        Severity.REDUCE,
        reason,
        facts.subject,
        f"{daily:.6g} is over {config.daily_bps}, {left} stamps left to be gone",
        {"value": daily, "limit": config.daily_bps},
        ONE - ONE / left,
        once=str(facts.next_ns),
    )


def _finding(subject: str, severity: Severity, reason: GuardReason, value: Decimal, limit: Decimal) -> Finding:
    text = f"{value:.6g} is over {limit}"
    return Finding(Guard.FUNDING, severity, reason, subject, text, {"value": value, "limit": limit})
