"""Which controls and guards of the desk each fault is expected to trip, and which were.

A control is named as a run counts it: `order/<Reason>` of the risk gate, `basket/<DenyReason>` of the executor,
`kill/<trigger>` of the kill switch, `incident/<kind>`. A new control needs a row in one of the tables here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from actors.basket_plan import DenyReason
from actors.kill_switch import Trigger
from actors.risk_checks import Reason
from daemon.torture.rogue import BACKLOG, BASKET_MISDEEDS, RISK_MISDEEDS
from daemon.torture.script import FaultKind

_K = FaultKind

TRIPS: dict[FaultKind, tuple[str, ...]] = {
    _K.ROGUE: (
        *(f"order/{reason}" for reason in RISK_MISDEEDS if f"order/{reason}" != BACKLOG),
        *(f"basket/{reason}" for reason in BASKET_MISDEEDS),
    ),
    _K.FLOOD: (BACKLOG,),
    _K.KILL: (
        f"order/{Reason.KILLED}", f"order/{Reason.MAY_REST}", f"basket/{DenyReason.KILLED}", f"kill/{Trigger.OPERATOR}",
    ),
    _K.GUARD_DOWN: (f"order/{Reason.GUARD_DOWN}",),
    _K.GUARD_CHARGE: (f"order/{Reason.GUARD_IN_CHARGE}",),
    _K.DOWN: (
        f"order/{Reason.VENUE_DOWN}", f"order/{Reason.NO_DEAD_MAN}", f"basket/{DenyReason.NO_TOUCH}",
        f"kill/{Trigger.BROKEN_BASKET}",
    ),
    _K.QUERIES_FAIL: (f"order/{Reason.READ_ONLY}", "kill/position_queries"),
    _K.STALE: (
        f"order/{Reason.FEED_DOWN}", f"basket/{DenyReason.NO_TOUCH}",
        f"kill/{Trigger.STALE_FEED}",
    ),
    _K.CROSSED: (f"basket/{DenyReason.NO_TOUCH}",),
    _K.GAP: (f"basket/{DenyReason.NO_TOUCH}",),
    _K.REJECTED: (f"kill/{Trigger.REJECT_RATE}",),
    _K.RATE_BAN: (f"kill/{Trigger.REJECT_RATE}",),
    _K.ADL: (f"kill/{Trigger.POSITION_MISMATCH}", "incident/leg_taken"),
    _K.SPIKE: (
        f"kill/{Trigger.DRAWDOWN}", f"kill/{Trigger.DAILY_LOSS}", f"kill/{Trigger.DRAWDOWN_HARD}",
        f"kill/{Trigger.DAILY_LOSS_HARD}",
    ),
    _K.LIQUIDATION: (
        f"kill/{Trigger.MARGIN}", f"kill/{Trigger.MARGIN_LIQUIDATION}", "incident/leg_taken",
    ),
    _K.CLOCK_AHEAD: (f"order/{Reason.STALE_BOOK}",),
    _K.PARTIAL: ("incident/risk_budget",),
    _K.SILENT_LOST: ("incident/risk_budget", f"kill/{Trigger.UNHEDGED}"),
    _K.REJECT_AFTER_ACK: ("incident/impossible_report",),
    _K.FILL_AFTER_END: ("incident/late_fill",),
}  # fmt: skip

WITHOUT_FAULT: dict[str, str] = {
    f"order/{Reason.STOPPING}": "the end of every run",
    f"basket/{DenyReason.STOPPING}": "the end of every run",
    f"kill/{Trigger.CONSECUTIVE_LOSSES}": "trading at a loss, as this desk does",
}
"""Controls that every run trips by itself."""

BEYOND: dict[str, str] = {
    f"basket/{DenyReason.LIMIT_PRICE}": "the liquidity check of the same basket refuses first",
    f"basket/{DenyReason.INVERSE_LEG}": "no inverse contract is listed here",
    f"basket/{DenyReason.PREFLIGHT_TIMEOUT}": "every checker of a desk answers at once",
    f"basket/{DenyReason.CLOSURE}": "markets without hours, no listing ends",
    f"order/{Reason.SESSION_CLOSED}": "markets without hours, no venue halts one",
    f"order/{Reason.HALTED}": "a thousand executions a minute, or limits of a strategy's own, which none has here",
    f"order/{Reason.THROTTLED}": "a thousand executions a minute are more than this desk makes",
    f"order/{Reason.ATTEMPTS}": "an executor gives up long before two hundred orders",
    f"order/{Reason.UNAUTHORISED}": "every strategy may open here",
    f"kill/{Trigger.CLOCK_SKEW}": "the clock is measured outside the cell, by the daemon",
    f"kill/{Trigger.PNL_UNKNOWN}": "no report of a venue here holds what is no number",
    f"kill/{Trigger.CELL_FAILED}": "an actor that raises breaks the run",
}
"""Controls that no fault can trip in this desk, and why; the executor's own tests have them."""


def universe() -> list[str]:
    """Return the name of every control there is."""
    return [
        *(f"order/{reason}" for reason in Reason),
        *(f"basket/{reason}" for reason in DenyReason),
        *(f"kill/{trigger}" for trigger in Trigger),
    ]


def unexplained() -> list[str]:
    """Return the controls that no table here mentions: somebody added one without a fault that trips it."""
    known = {name for names in TRIPS.values() for name in names} | set(WITHOUT_FAULT) | set(BEYOND)
    return [name for name in universe() if name not in known]


def tripped(reasons: Mapping[str, int], triggers: Mapping[str, int], incidents: Mapping[str, int]) -> "Counter[str]":
    """Return how often each control was tripped; a pre-flight refusal counts for the order rule it names."""
    found: Counter[str] = Counter(reasons)
    found.update({name: count for name, count in triggers.items() if name.startswith("kill/")})
    found.update({f"incident/{kind}": count for kind, count in incidents.items()})
    for name, count in reasons.items():
        if name.startswith("preflight/risk/"):
            found[f"order/{name.rpartition('/')[2]}"] += count
    return found


def expected(kinds: Iterable[FaultKind]) -> dict[str, list[FaultKind]]:
    """Return for each control the faults, of those given, that are expected to trip it."""
    found: dict[str, list[FaultKind]] = {}
    for kind in kinds:
        for name in TRIPS.get(kind, ()):
            found.setdefault(name, []).append(kind)
    return found
