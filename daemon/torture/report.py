"""What a torture tells: faults met, baskets, controls tripped, and for each broken invariant how to see it again."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from daemon.torture import controls
from daemon.torture.run import Outcome
from daemon.torture.script import SECOND_NS, FaultKind
from daemon.torture.seeds import total

_MINUTE_NS = 60 * SECOND_NS


def summary(outcomes: Sequence[Outcome], duration_ns: int, kinds: Sequence[FaultKind]) -> dict[str, Any]:
    """Return the report as plain data; times in ns, money in quote units."""
    reasons, triggers, incidents = (total(outcomes, name) for name in ("reasons", "triggers", "incidents"))
    trips = controls.tripped(reasons, triggers, incidents)
    wanted = controls.expected(kinds or list(FaultKind))
    faults = total(outcomes, "faults")
    met = {kind: faults.get(kind, 0) for kind in kinds or FaultKind}
    baskets = total(outcomes, "baskets")
    minutes = Decimal(duration_ns * len(outcomes)) / _MINUTE_NS
    return {
        "seeds": len(outcomes),
        "duration_ns": duration_ns,
        "violations": [
            {"seed": one.seed, "invariant": one.invariant, "text": one.error} for one in outcomes if one.error
        ],
        "faults": met,
        "faults_per_minute": float(round(sum(met.values()) / minutes, 2)) if minutes else 0.0,
        "baskets": baskets,
        "baskets_per_minute": float(round(baskets.get("opened", 0) / minutes, 2)) if minutes else 0.0,
        "silent_quote_seconds": str(sum((Decimal(one.silent_quote_seconds) for one in outcomes), Decimal(0))),
        "max_unhedged": str(max((Decimal(one.max_unhedged) for one in outcomes), default=Decimal(0))),
        "longest_unhedged_ns": max((one.longest_unhedged_ns for one in outcomes), default=0),
        "incidents": incidents,
        "controls": {name: trips.get(name, 0) for name in controls.universe()}
        | {name: trips[name] for name in sorted(trips)},
        "controls_not_tripped": [name for name in controls.universe() if name in wanted and not trips.get(name)],
        "orders": sum(one.orders for one in outcomes),
        "deaths": sum(one.deaths for one in outcomes),
        "checks": sum(one.checks for one in outcomes),
    }  # fmt: skip


def lines(report: Mapping[str, Any], reproductions: Mapping[int, str]) -> list[str]:
    """Return the report for people."""
    hours = report["duration_ns"] / 3_600 / SECOND_NS
    said = [
        f"{report['seeds']} seeds of {hours:g} h: {report['orders']} orders, {report['deaths']} deaths, "
        f"{report['checks']} events checked",
        f"faults met ({report['faults_per_minute']} a minute)",
        *_columns(report["faults"]),
        f"baskets ({report['baskets_per_minute']} a minute)",
        *_columns(report["baskets"]),
        f"  unhedged at most {report['max_unhedged']}, for at most {report['longest_unhedged_ns'] / SECOND_NS:.1f} s; "
        f"quote seconds over a budget without alarm: {report['silent_quote_seconds']}",
        "incidents",
        *_columns(report["incidents"]),
        "controls tripped",
        *_columns({name: count for name, count in report["controls"].items() if count}),
    ]
    if report["controls_not_tripped"]:
        said.append(f"expected and not tripped: {', '.join(report['controls_not_tripped'])}")
    for one in report["violations"]:
        said.append(f"VIOLATION {one['text']}")
        said.append(f"  again: {reproductions[one['seed']]}")
    said.append(f"{len(report['violations'])} violations")
    return said


def _columns(counts: Mapping[str, int]) -> list[str]:
    """Return names and counts, three to a line."""
    cells = [f"{name:<34}{count:>7}" for name, count in counts.items()]
    return ["  " + "  ".join(cells[at : at + 3]) for at in range(0, len(cells), 3)] or ["  none"]
