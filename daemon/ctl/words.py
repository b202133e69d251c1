"""What each answer of the daemon says to a person: which lines, which columns."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from daemon.ctl.tables import NOTHING, Table, span, text, when

Parts = list[Table | str]

_COURSES = {
    "asked": "the desk is told to flatten",
    "desk": "the desk flattens",
    "check": "the guard looks whether all is flat",
    "fence": "the guard ends the desk",
    "own": "the guard flattens",
    "flat": "flat",
}
"""What the guard's word for where a flattening stands means."""

_CANCELLING = ("cancel_all", "flatten")

_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_figure(value)}" for key, value in values.items()) or NOTHING


def _table(title: str, rows: list[dict[str, Any]], columns: Mapping[str, str]) -> Table:
    """Return a table of dicts; `columns` gives the heading of each key, `>` before those of numbers."""
    shown = {key: _figure if head.startswith(">") else text for key, head in columns.items()}
    return Table(title, list(columns.values()), [[show(row.get(key)) for key, show in shown.items()] for row in rows])


def _figure(value: Any) -> str:
    """Return a number without the zeros that mean nothing to people; other things as they are."""
    said = text(value)
    return said.rstrip("0").rstrip(".") if _DECIMAL.fullmatch(said) else said


def head(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the status says in pairs: what, and how it is."""
    kill, guard = told["kill"], told.get("guard") or {}
    ready = "ready" if told.get("is_ready") else f"not ready: {told.get('why_not_ready')}"
    charge = ", in charge" if guard.get("is_in_charge") else ""
    up = "up" if guard.get("is_up") else f"down: {guard.get('why')}"
    venues = {name: "up" if one.get("is_up") else f"down: {one.get('why')}" for name, one in told["venues"].items()}
    why = "; ".join(f"{name}: {said}" for name, said in kill["conditions"].items())
    lanes = told.get("lanes")
    return [
        ("desk", f"{told.get('name')} ({told.get('mode')}), run {told.get('run')}, pid {told.get('pid')}"),
        ("state", f"{ready}{', draining' if told['is_draining'] else ''}"),
        ("kill level", f"{kill['level']}{f' ({why})' if why else ''}"),
        ("guard", f"{up}, level {str(guard.get('level') or 'unknown').lower()}{charge}"),
        ("venues", _pairs(venues)),
        *([("halts", f"{told['halts']} stopped on their own: basisctl halt")] if told.get("halts") else []),
        ("alarms", f"{told['alarms']} to acknowledge" if told["alarms"] else "none"),
        (
            "holding",
            f"{told['positions']} positions, {told['open_baskets']} baskets, {told['open_orders']} orders, "
            f"unhedged {_figure(told['unhedged'])}",
        ),
        *_orders(told.get("orders") or {}),
        ("profit", f"{_figure(told['pnl']['total'])} in all; unrealized {_pairs(told['pnl']['unrealized'])}"),
        *([("inbox", _pairs(lanes))] if lanes else []),
        ("time", f"{when(told['now'])}, up {span(told['now'] - told.get('started_ns', told['now']))}"),
        ("build", f"{told.get('build')}, configuration {str(told.get('config_sha256'))[:12]}"),
    ]


def _orders(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What is not as it should be with orders; nothing when all is."""
    words = {
        "in_doubt": "in doubt",
        "waiting": "waiting for room",
        "strangers": "of strangers",
        "overfills": "overfilled",
    }
    found = [f"{told[key]} {word}" for key, word in words.items() if told.get(key)]
    found += [f"{venue} frozen until {when(until)}" for venue, until in (told.get("frozen_until") or {}).items()]
    return [("orders", ", ".join(found))] if found else []


def status(told: dict[str, Any]) -> Parts:
    pairs = head(told)
    width = max(len(name) for name, _ in pairs)
    return [f"{name.ljust(width)}  {text(said)}" for name, said in pairs]


def positions_table(rows: list[dict[str, Any]]) -> Table:
    columns = {"account": "account", "instrument": "instrument", "qty": ">quantity", "entry": ">entry"}
    return _table(
        "", rows, columns | {"price": ">price", "value": ">value", "unrealized": ">unrealized", "realized": ">realized"}
    )


def positions(told: dict[str, Any]) -> Parts:
    wallets = [
        {"account": account, "asset": asset, "balance": balance}
        for account, wallet in told["wallets"].items()
        for asset, balance in wallet.items()
    ]
    return [
        positions_table(told["positions"]) if told["positions"] else "no open position",
        _table("wallets", wallets, {"account": "account", "asset": "asset", "balance": ">balance"}),
    ]


def mismatches(told: dict[str, Any]) -> Parts:
    columns = {"account": "account", "what": "what", "kind": "kind", "ours": ">ours", "theirs": ">theirs"}
    columns |= {"since": "since", "ended": "ended", "said": "what is done"}
    rows = [
        {
            **one,
            "since": when(one["since_ns"]),
            "ended": when(one["ended_ns"]) if one["ended_ns"] is not None else "",
            "said": one["how"] or "; ".join(filter(None, (one["detail"], one["action"], one["why"]))),
        }
        for one in told["mismatches"]
    ]
    counts = f"{told['told']} told so far, {told['resolved']} resolved"
    return [_table("", rows, columns) if rows else "nothing differs", *_left_out(told), counts]


def orders(told: dict[str, Any]) -> Parts:
    columns = {"client_order_id": "order", "instrument": "instrument", "side": "side", "qty": ">quantity"}
    columns |= {"price": ">price", "tif": "tif", "status": "status", "filled": ">filled", "basket": "basket"}
    rows = [{**one, "created": when(one["created_ns"])} for one in told["orders"]]
    return [_table("", rows, columns | {"created": "created"}) if rows else "no order", *_left_out(told)]


def baskets_table(rows: list[dict[str, Any]]) -> Table:
    columns = {"id": "basket", "state": "state", "age": ">age", "legs": "legs", "unhedged": ">unhedged", "why": "why"}
    told = [
        {
            **one,
            "age": span(one["age_ns"]),
            "legs": ", ".join(f"{leg['position']} {leg['instrument']}" for leg in one["legs"]),
        }
        for one in rows
    ]
    return _table("", told, columns)


def baskets(told: dict[str, Any]) -> Parts:
    return [baskets_table(told["baskets"]) if told["baskets"] else "no open basket", *_left_out(told)]


def incidents(told: dict[str, Any]) -> Parts:
    columns = {"ended": "ended", "basket": "basket", "cause": "cause", "unhedged": ">unhedged", "lasted": ">lasted"}
    rows = [
        {
            **one,
            "ended": when(one["ts"]),
            "lasted": f"{(one['ts'] - one['began_ns']) / 1e9:.3f}s",
            "did": len(one["actions"]),
        }
        for one in told["incidents"]
    ]
    columns |= {"did": ">hedges", "outcome": "outcome", "loss": ">loss"}
    return [_table("", rows, columns) if rows else "no incident", *_left_out(told)]


def _left_out(told: dict[str, Any]) -> list[str]:
    return [f"{told['left_out']} more; see --limit"] if told["left_out"] else []


def margin_table(accounts: dict[str, Any]) -> Table:
    rows = [{"account": name, **one} for name, one in accounts.items()]
    columns = {"account": "account", "level": "level", "coverage": ">coverage", "balance": ">balance"}
    return _table("", rows, columns | {"maintenance": ">maintenance", "why": "why"})


def margin(told: dict[str, Any]) -> Parts:
    return [margin_table(told["accounts"])]


def guards(told: dict[str, Any]) -> Parts:
    columns = {"guard": "guard", "account": "account", "subject": "about", "severity": "severity", "reason": "reason"}
    rows = [{**one, "since": when(one["since_ns"])} for one in told["findings"]]
    assets = [{"asset": asset, "net": told["net"].get(asset), "gross": value} for asset, value in told["gross"].items()]
    unpriced = [f"no price for {', '.join(told['unpriced'])}"] if told["unpriced"] else []
    return [
        f"on: {', '.join(told['on']) or 'none'}",
        _table("", rows, columns | {"text": "figures", "keep": ">keep", "since": "since"}) if rows else "no finding",
        *([_table("exposure", assets, {"asset": "asset", "net": ">net", "gross": ">gross"})] if assets else []),
        *unpriced,
    ]


def funding_table(perpetuals: dict[str, Any]) -> Table:
    rows = [{"instrument": name, **one, "next": when(one["next_ns"])} for name, one in perpetuals.items()]
    columns = {"instrument": "instrument", "rate": ">rate", "next": "next", "qty": ">held", "expected": ">expected"}
    return _table("", rows, columns | {"expected_24h": ">next 24 h", "paid": ">paid", "paid_24h": ">last 24 h"})


def funding(told: dict[str, Any]) -> Parts:
    open_ = [{**one, "stamp": when(one["stamp_ns"])} for one in told["differences"]]
    columns = {"account": "account", "instrument": "instrument", "stamp": "instant", "qty": ">held", "due": ">due"}
    parts: Parts = [funding_table(told["perpetuals"])]
    if open_:
        parts.append(_table("asked about", open_, columns | {"paid": ">paid", "difference": "difference"}))
    counts = ", ".join(f"{times} {what}" for what, times in told["counts"].items())
    return [*parts, f"so far: {counts}"] if counts else parts


def event_line(one: dict[str, Any]) -> str:
    """Return one event as a line."""
    times = f" ({one['times']} times)" if one["times"] > 1 else ""
    alarm = {"open": "! ", "seen": "  "}.get(one["alarm"], "  ")
    return f"{alarm}{one['number']:>6}  {when(one['ts'])}  {one['kind']:<16}  {text(one['text'])}{times}"


def events(told: dict[str, Any]) -> Parts:
    missed = [f"{told['missed']} earlier events are only in the log: basisctl history"] if told["missed"] else []
    return [*missed, *(map(event_line, told["events"]) if told["events"] else ["no event"])]


def flags(told: dict[str, Any]) -> Parts:
    rows = [
        {"feature": name, **one, "percent": one.get("percent") if one["mode"] == "canary" else None}
        | ({"since": when(one["ts"])} if "ts" in one else {})
        for name, one in told["flags"].items()
    ]
    columns = {"feature": "feature", "mode": "mode", "percent": ">percent", "operator": "set by", "since": "since"}
    return [_table("", rows, columns | {"reason": "reason"})]


def limits(told: dict[str, Any]) -> Parts:
    groups = {"desk": told["desk"], **told["instruments"]}
    tightened = told["tightened"]
    rows = []
    for name, values in groups.items():
        mine = {**tightened.get("", {}), **tightened.get("" if name == "desk" else name, {})}
        rows += [
            {"of": name, "key": key, "value": value, "said": "tightened" if key in mine and mine[key] == value else ""}
            for key, value in values.items()
        ]
    return [_table("", rows, {"of": "of", "key": "limit", "value": ">holds", "said": ""})]


def halts(told: dict[str, Any]) -> Parts:
    rows = [{**one, "since": when(one["since_ns"])} for one in told["halts"]]
    columns = {"scope": "scope", "name": "name", "level": "level", "trigger": "by", "since": "since", "why": "why"}
    return [_table("", rows, columns) if rows else "nothing is stopped on its own"]


def alerts(told: dict[str, Any]) -> Parts:
    rows = [
        {**one, "since": when(one["raised_ns"]), "ended": "" if one["ended_ns"] is None else when(one["ended_ns"])}
        | {"seen": one["acknowledged_by"] or ("needed" if one["needs_ack"] else "")}
        for one in [*told["over"], *told["open"]]
    ]
    columns = {
        "ref": "cause",
        "worst": "urgency",
        "since": "since",
        "ended": "over",
        "times": ">told",
        "seen": "seen by",
    }
    return [_table("", rows, columns | {"text": "text"}) if rows else "nothing was told"]


def guard_line(told: dict[str, Any]) -> str:
    """Return what came of a kill in a line: the guard's answer, or the desk's."""
    flattening = told.get("flattening") or {}
    named = {key: told[key] for key in ("level", "guard", "trigger", "why") if told.get(key)}
    parts = [f"{key} {text(value)}" for key, value in named.items()]
    parts += ["in charge"] * bool(told.get("is_in_charge"))
    course = _COURSES.get(flattening.get("course", ""))
    if course:
        parts.append(": ".join(text(said) for said in (course, flattening.get("left")) if said))
    return ", ".join(parts)


def guard_status(told: dict[str, Any]) -> Parts:
    desk, venues, cancelled = told.get("desk") or {}, told.get("venues") or {}, told.get("cancelled") or {}
    heard = f"last heard of {when(desk['heard'])}" if desk.get("heard") else "never heard of"
    up = "up" if venues.get("is_up") else f"down: {text(venues.get('why'))}"
    return [
        f"guard: {guard_line(told)}",
        f"guard's desk: run {text(desk.get('run'))}, pid {text(desk.get('pid'))}, {heard}",
        f"guard's venues: {up}",
        *([f"cancelled: {_pairs(cancelled)}"] if told.get("level") in _CANCELLING else []),
    ]


def changed(told: dict[str, Any]) -> Parts:
    return [_pairs(told)]


WORDS: Mapping[str, Callable[[Any], Parts]] = {
    "status": status,
    "positions": positions,
    "mismatches": mismatches,
    "orders": orders,
    "baskets": baskets,
    "incidents": incidents,
    "margin": margin,
    "guards": guards,
    "funding": funding,
    "events": events,
    "flags": flags,
    "limits": limits,
    "halts": halts,
    "alerts": alerts,
}
