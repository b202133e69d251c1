"""What people are shown of a running desk: plain data, numbers as decimal texts, times as ns UTC.

Every function takes a DeskView and reads the states of its actors. Lists are bounded; what was left out is counted.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

import attrs

from actors.atomic_executor import AtomicExecutor
from actors.basket import ACTIVE, Basket
from actors.event_log import Event, EventLog
from actors.flags import GLOBAL, Flag, FlagMode
from actors.funding_tracker import FundingTracker
from actors.guards.exposure import measure
from actors.halts import Halts, HaltScope
from actors.kill_switch import KillSwitch
from actors.ledger import Ledger
from actors.limits import DESK_KEYS, INSTRUMENT_KEYS
from actors.margin_monitor import MarginMonitor
from actors.messages import BasketState
from actors.notifier import Alarm, Notifier
from actors.order_groups import OrderGroups
from actors.order_manager import OrderManager
from actors.order_records import Tracked
from actors.portfolio_guard import PortfolioGuard
from actors.position_synchronizer import PositionSynchronizer
from actors.risk_gate import RiskGate
from actors.strategies.base import Strategy
from actors.sync_records import RESOLUTIONS
from daemon.admin.basket_views import cost
from daemon.admin.desk import DeskView, actor
from venues.model.money import to_text
from venues.model.order import OrderStatus

_PENDING = (BasketState.PLANNED, BasketState.RESERVED)


def number(value: Decimal | int | None) -> str | None:
    """Return a number as it is written in answers, None for one that is not known."""
    if value is None:
        return None
    return to_text(value) if isinstance(value, Decimal) else str(value)


def _numbers(values: Mapping[str, Decimal]) -> dict[str, str]:
    return {key: to_text(value) for key, value in values.items()}


def status(view: DeskView) -> dict[str, Any]:
    """The desk in one glance: the process, what stops it, how much it holds and what that made."""
    switch = actor(view, "kill_switch", KillSwitch).state
    executor = actor(view, "atomic_executor", AtomicExecutor)
    ledger = actor(view, "ledger", Ledger)
    events = actor(view, "event_log", EventLog).state
    gate = actor(view, "risk_gate", RiskGate).state
    totals = ledger.totals()
    return {
        **view.info(),
        "now": view.now(),
        "kill": {
            "level": switch.level.name.lower(),
            "conditions": dict(switch.conditions),
            "triggers": dict(switch.triggers),
            "live_orders": len(switch.live),
        },
        "halts": len(actor(view, "halts", Halts).state.halts),
        "is_draining": _mode(executor.state.flags.get(GLOBAL)) is FlagMode.DISABLED,
        "read_only": dict(gate.unreconciled),
        "alarms": events.alarms,
        "last_event": events.last,
        "positions": sum(1 for one in ledger.state.positions.values() if one.qty),
        "open_orders": len(gate.orders),
        "orders": _orders_status(actor(view, "order_manager", OrderManager), view.now()),
        "open_groups": len(actor(view, "order_groups", OrderGroups).state.active),
        "open_baskets": sum(1 for one in executor.state.baskets.values() if _is_open(executor, one)),
        "unhedged": number(sum((one.unhedged for one in executor.state.baskets.values()), Decimal(0))),
        "pnl": {
            "total": number(switch.pnl),
            "net": _numbers(totals.net),
            "unrealized": _numbers(totals.unrealized),
            "unmarked": list(totals.unmarked),
        },
    }


def _orders_status(manager: OrderManager, now: int) -> dict[str, Any]:
    """What is not as it should be with orders; `unknown`, `overfills` and `given_up` count since the start."""
    state = manager.state
    return {
        "in_doubt": sum(one.order.status is OrderStatus.UNKNOWN for one in state.orders.values()),
        "unknown": state.unknown_outcomes,
        "overfills": state.overfills,
        "strangers": len(state.strangers),
        "waiting": len(state.pacing.waiting),
        "given_up": state.pacing.given_up,
        "frozen_until": {venue: until for venue, until in state.pacing.frozen_ns.items() if until > now},
    }


def positions(view: DeskView) -> dict[str, Any]:
    """Every open position by our own book, with its profit at the last price."""
    ledger = actor(view, "ledger", Ledger)
    found = []
    for one in ledger.state.positions.values():
        if not one.qty:
            continue
        spec, price = ledger.instruments[one.instrument], ledger.price(one.instrument)
        found.append(
            {
                "account": one.account,
                "instrument": one.instrument,
                "side": one.side,
                "qty": number(one.qty),
                "entry": number(one.entry_price(spec)),
                "price": number(price),
                "value": None if price is None else number(spec.notional(one.qty, price)),
                "settle": spec.settle,
                "unrealized": None if price is None else number(one.unrealized_pnl(price, spec)),
                "realized": number(one.realized_pnl),
            }
        )
    return {"positions": found, "wallets": {name: _numbers(wallet) for name, wallet in ledger.state.wallets.items()}}


def mismatches(view: DeskView, limit: int, *, is_all: bool) -> dict[str, Any]:
    """Where our books and the venues' differ now, newest first; with `is_all` also what is over and remembered."""
    sync = actor(view, "position_synchronizer", PositionSynchronizer)
    wanted = (one for one in reversed(sync.state.history) if is_all or one.ended_ns is None)
    found, left_out = _first(wanted, limit)
    return {
        "mismatches": [
            {
                "account": one.account,
                "what": one.instrument,
                "side": one.side,
                "kind": one.kind,
                "ours": number(one.ours),
                "theirs": number(one.theirs),
                "detail": one.detail,
                "since_ns": one.ts,
                "ended_ns": one.ended_ns,
                "how": one.how,
                "action": RESOLUTIONS[one.kind].action,
                "why": RESOLUTIONS[one.kind].why,
            }
            for one in found
        ],
        "left_out": left_out,
        "told": sync.state.mismatches,
        "resolved": sync.state.resolved,
    }


def orders(view: DeskView, limit: int, *, is_all: bool) -> dict[str, Any]:
    """Orders that may still fill, newest first; with `is_all` also the ended ones that are remembered."""
    tracked: dict[str, Tracked] = actor(view, "order_manager", OrderManager).state.orders
    wanted = (one for one in reversed(tracked.values()) if is_all or not one.is_final)
    found, left_out = _first(wanted, limit)
    return {"orders": [_order(one) for one in found], "left_out": left_out}


def _order(one: Tracked) -> dict[str, Any]:
    order = one.order
    return {
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
        "account": order.account,
        "instrument": order.instrument,
        "side": order.side,
        "qty": number(order.qty),
        "price": number(order.price),
        "type": order.type,
        "tif": order.tif,
        "reduce_only": order.reduce_only,
        "status": order.status,
        "filled": number(order.filled_qty),
        "strategy": one.strategy,
        "basket": one.basket_id,
        "created_ns": order.created_ns,
        "is_final": one.is_final,
    }


def baskets(view: DeskView, limit: int, *, is_all: bool) -> dict[str, Any]:
    """Baskets at work or holding something, newest first; with `is_all` also the ended ones that are remembered."""
    executor = actor(view, "atomic_executor", AtomicExecutor)
    known: dict[str, Basket] = executor.state.baskets
    wanted = (one for one in reversed(known.values()) if is_all or _is_open(executor, one))
    found, left_out = _first(wanted, limit)
    return {"baskets": [_basket(view, one) for one in found], "left_out": left_out}


def _is_open(executor: AtomicExecutor, basket: Basket) -> bool:
    return basket.state in ACTIVE or basket.state in _PENDING or bool(executor.open_legs(basket))


def _basket(view: DeskView, one: Basket) -> dict[str, Any]:
    return {
        "id": one.id,
        "strategy": one.strategy,
        "state": one.state,
        "closes": one.closes,
        "closing": one.closing,
        "age_ns": view.now() - one.planned_ns,
        "unhedged": number(one.unhedged),
        "why": one.why,
        "cost": cost(view, one),
        "legs": [
            {
                "account": leg.account,
                "instrument": leg.instrument,
                "side": leg.side,
                "target": number(leg.target),
                "position": number(leg.side.sign * leg.position),
                "entry": number(leg.entry_price) if leg.extended else None,
            }
            for leg in one.legs
        ],
    }


def margin(view: DeskView) -> dict[str, Any]:
    """Each account's margin now: coverage is margin balance / maintenance margin, none without a position."""
    monitor = actor(view, "margin_monitor", MarginMonitor)
    found = {}
    for account in monitor.accounts:
        one = monitor.assess(view.now(), account)
        found[account] = {
            "level": one.level,
            "balance": number(one.balance),
            "maintenance": number(one.maintenance),
            "coverage": None if one.coverage is None else f"{one.coverage:.6f}",
            "why": one.why,
        }
    return {"accounts": found}


def guards(view: DeskView) -> dict[str, Any]:
    """Which risk guards are on, what they find now, and the exposure they go by, in quote money."""
    found = actor(view, "portfolio_guard", PortfolioGuard)
    exposure = measure(found.book, view.now())
    return {
        "on": list(found.config.on),
        "reducing": list(found.config.reducing),
        "findings": [
            {
                "guard": one.guard,
                "account": one.account,
                "subject": one.subject,
                "severity": one.severity.name.lower(),
                "reason": one.reason,
                "text": one.text,
                "keep": number(one.keep),
                "since_ns": one.since_ns,
            }
            for one in found.state.standing.values()
        ],
        "net": _numbers(exposure.net_base),
        "gross": {asset: number(value) for asset, value in exposure.by_asset.items()},
        "quotes": _numbers(exposure.net_quote),
        "unpriced": list(exposure.unpriced),
    }


def funding(view: DeskView) -> dict[str, Any]:
    """Each perpetual's funding: expected at the next instant, due and paid at those behind (positive: received).

    `differences` is what the venue is asked about now, `counts` how often what went wrong.
    """
    tracker, now = actor(view, "funding_tracker", FundingTracker), view.now()
    found = {}
    for instrument, one in tracker.state.perpetuals.items():
        day = tracker.day(now, instrument)
        found[instrument] = {
            "rate": number(one.rate),
            "mark": number(one.mark),
            "next_ns": one.next_ns,
            "interval_ns": one.interval_ns,
            "qty": number(one.qty),
            "expected": number(tracker.expected(instrument)),
            "expected_24h": number(tracker.expected_per_day(now, instrument)),
            "paid": number(one.paid),
            "paid_24h": number(day.paid),
            "stamps_24h": day.stamps,
            "mean_rate_24h": None if day.mean_rate is None else f"{day.mean_rate:.8f}",
        }
    differences = [
        {
            "account": due.account,
            "instrument": instrument,
            "stamp_ns": stamp_ns,
            "qty": number(due.qty),
            "due": number(amount),
            "paid": number(due.paid),
            "difference": due.difference,
        }
        for instrument, stamp_ns, due, amount in tracker.differences()
    ]
    return {"perpetuals": found, "differences": differences, "counts": dict(tracker.state.counts)}


def events(view: DeskView, since: int | None, limit: int) -> dict[str, Any]:
    """The events after the number `since`, or the last ones, oldest first; `missed` of them are kept no more."""
    log = actor(view, "event_log", EventLog)
    state = log.state
    if since is None:
        since = max(0, state.last - limit)
    oldest = state.records[0].number if state.records else state.last + 1
    found = log.since(since, limit)
    return {
        "events": [event(one, state.seen) for one in found],
        "last": state.last,
        "missed": max(0, min(oldest, state.last + 1) - 1 - max(since, 0)),
        "alarms": state.alarms,
    }


def event(one: Event, seen: int) -> dict[str, Any]:
    return {
        "number": one.number,
        "ts": one.ts,
        "kind": one.kind,
        "text": one.text,
        "fields": dict(one.fields),
        "times": one.times,
        "alarm": ("seen" if one.number <= seen else "open") if one.is_alarm else "",
    }


def halts(view: DeskView) -> dict[str, Any]:
    """What of the desk is stopped, how much of it, by whom or what, and since when."""
    found = actor(view, "halts", Halts).state.halts.values()
    return {
        "halts": [
            {
                "scope": one.scope,
                "name": one.name,
                "level": one.level.name.lower(),
                "trigger": one.trigger,
                "why": one.why,
                "since_ns": one.since_ns,
            }
            for one in found
        ]
    }


def alerts(view: DeskView) -> dict[str, Any]:
    """What people are told of now, and what was over last, newest last."""
    state = actor(view, "notifier", Notifier).state
    return {
        "open": [_alarm(one) for one in state.alarms.values() if one.is_open],
        "over": [_alarm(one) for one in state.history],
    }


def _alarm(one: Alarm) -> dict[str, Any]:
    return {
        "ref": one.ref,
        "urgency": one.urgency.name.lower(),
        "worst": one.worst.name.lower(),
        "subject": one.subject,
        "text": one.text,
        "fields": dict(one.fields),
        "raised_ns": one.raised_ns,
        "ended_ns": one.ended_ns,
        "told_ns": one.told_ns,
        "times": one.times,
        "needs_ack": one.is_open and one.needs_ack,
        "acknowledged_by": one.by,
    }


def parts(view: DeskView) -> dict[HaltScope, list[str]]:
    """Return what can be stopped on its own."""
    accounts = actor(view, "halts", Halts).accounts
    return {
        HaltScope.STRATEGY: [name for name, one in view.actors.items() if isinstance(one, Strategy)],
        HaltScope.ACCOUNT: list(accounts),
        HaltScope.VENUE: list(dict.fromkeys(accounts.values())),
    }


def flags(view: DeskView) -> dict[str, Any]:
    """How each feature runs; those that nobody touched are in production."""
    known: dict[str, Flag] = actor(view, "atomic_executor", AtomicExecutor).state.flags
    return {"flags": {name: _flag(known.get(name)) for name in features(view)}}


def features(view: DeskView) -> list[str]:
    """Return what has a flag: the whole desk, its strategies, and what had one before this configuration."""
    known: dict[str, Flag] = actor(view, "atomic_executor", AtomicExecutor).state.flags
    names = [GLOBAL, *(name for name, one in view.actors.items() if isinstance(one, Strategy))]
    return [*names, *(name for name in known if name not in names)]


def _mode(flag: Flag | None) -> FlagMode:
    return FlagMode.PRODUCTION if flag is None else flag.mode


def _flag(flag: Flag | None) -> dict[str, Any]:
    if flag is None:
        return {"mode": FlagMode.PRODUCTION}
    return attrs.asdict(flag)


def limits(view: DeskView) -> dict[str, Any]:
    """The limits that hold, and which of them were tightened since the start of this state."""
    gate = actor(view, "risk_gate", RiskGate)
    held = gate.limits
    return {
        "desk": {key: number(getattr(held, key)) for key in DESK_KEYS},
        "instruments": {
            name: {key: number(getattr(held.limits(name), key)) for key in INSTRUMENT_KEYS} for name in gate.instruments
        },
        "tightened": {name: _numbers(changes) for name, changes in gate.state.tightened.items()},
    }


def overview(view: DeskView, count: int) -> dict[str, Any]:
    """Everything that a screen shows, as of one moment."""
    return {
        "status": status(view),
        **positions(view),
        "baskets": baskets(view, count, is_all=False),
        "margin": margin(view)["accounts"],
        "funding": funding(view)["perpetuals"],
        "events": events(view, None, count)["events"],
    }


def _first(items: Iterable[Any], limit: int) -> tuple[list[Any], int]:
    """Return the first `limit` items, and how many more there are."""
    rest = iter(items)
    found = list(islice(rest, limit))
    return found, sum(1 for _ in rest)
