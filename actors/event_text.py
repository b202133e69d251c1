"""Decides which messages a person reads about later, and what is said of each in one line."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any

import attrs

from actors.basket_records import LeftOpen, PartialFill
from actors.cell import CellRestarted
from actors.control import Acknowledge, AdminCall, AdminResult, ClockOffset, GuardStatus
from actors.dead_man_words import DeadManLapsed
from actors.dispatcher import InboxHighWater
from actors.executions import ExecutionReport
from actors.flags import FlagMode, SetFlag
from actors.funding_messages import FundingInterval, FundingReconciled
from actors.guards.findings import Severity
from actors.guards.messages import GuardFinding
from actors.halts import HaltCommand, HaltState, ReleaseCommand
from actors.limits import TightenLimit
from actors.messages import (
    ArmCommand,
    BasketUpdate,
    FeedStatus,
    FillEvent,
    Incident,
    KillCommand,
    KillState,
    MarginState,
    OrderDenied,
    OrderUpdate,
    PositionMismatch,
    Reconciled,
    ResumeCommand,
    RoundTrip,
    StopCommand,
)
from actors.notices import ChannelState, Notice
from actors.sync_messages import Adopt, PositionResolved, WalletMoved
from venues.model.money import to_text
from venues.port import Deleveraged, FundingSettled, Liquidated, Message, VenueDown, VenueUp
from venues.rules.instants import HOUR_NS

TEXT_MAX = 500
"""How many characters of a text are kept: reasons come from outside."""


def _because(text: str, why: str) -> str:
    return f"{text}: {why}" if why else text


def _fill(event: FillEvent) -> str:
    one = event.fill
    text = f"{one.side} {one.qty} {one.instrument} at {one.price} in {one.account}"
    is_ours = event.basket_id or event.request_id
    return text if is_ours else f"{text}, {one.reason}, of no order of ours"


def _order(update: OrderUpdate) -> str:
    text = f"{update.side} {update.qty} {update.instrument} {update.status}, filled {update.filled_qty}"
    return _because(text, update.why)


def _basket(update: BasketUpdate) -> str:
    closing = f", closes {update.closes}" if update.closes else ""
    return _because(f"{update.basket_id} {update.state}{closing}", update.why)


def _partial(one: PartialFill) -> str:
    text = f"{one.basket_id} filled unevenly by {one.unhedged:.2f}, {len(one.actions)} hedges, {one.outcome}"
    return _because(f"{text}, lost {one.loss:.4f}", one.cause)


def _execution(report: ExecutionReport) -> str:
    price = "" if report.average_price is None else f" at {report.average_price:.8g}"
    text = f"{report.parent_id} {report.state}: {report.side} {report.filled_qty} of {report.qty} {report.instrument}"
    return _because(f"{text}{price}", f"{report.reason}: {report.why}" if report.reason else report.why)


def _flag(change: SetFlag) -> str:
    percent = f" {change.percent} %" if change.mode is FlagMode.CANARY else ""
    return _because(f"{change.feature} to {change.mode}{percent}, by {change.operator}", change.reason)


def _limit(change: TightenLimit) -> str:
    what = f"{change.instrument or 'desk'} {change.key} to {change.value}, by {change.operator}"
    return _because(what, change.reason)


def _mismatch(one: PositionMismatch) -> str:
    what = f"{one.account} {one.instrument or 'account'}"
    return f"{what} {one.kind}: ours {one.ours}, theirs {one.theirs}; {one.resolution}"


def _funding(one: FundingReconciled) -> str:
    after = "" if one.difference is None else f" after {one.difference}"
    return f"{one.account} {one.instrument} {one.outcome}{after}: {one.due} {one.asset} due, {one.paid} paid"


def _finding(one: GuardFinding) -> str:
    about = " ".join(part for part in dict.fromkeys((one.account, one.subject)) if part) or "desk"
    offer = f"; keep {one.keep:.4g}" if one.keep is not None and one.severity is not Severity.CLEAR else ""
    return _because(f"{one.guard} {one.severity.name.lower()} {about} {one.reason}", f"{one.text}{offer}")


def _margin(one: MarginState) -> str:
    coverage = "no position" if one.coverage is None else f"coverage {one.coverage:.3f}"
    return f"{one.account} {one.level}, {coverage}"


def _guard(status: GuardStatus) -> str:
    said = "up" if status.is_up else "not up"
    return _because(f"guard {said}{', in charge' if status.is_in_charge else ''}", status.why)


def _venue(one: VenueUp | VenueDown) -> str:
    where = f"{one.venue} {one.channel}".strip()
    return f"{where} is up" if isinstance(one, VenueUp) else _because(f"{where} is down", one.why)


TEXTS: Mapping[type[Message], Callable[[Any], str]] = {
    Acknowledge: lambda m: _because(f"seen up to {m.number}, by {m.operator}", m.reason),
    AdminCall: lambda m: f"{m.method} {m.params} by uid {m.uid}, pid {m.pid}",
    AdminResult: lambda m: _because(f"{m.method} {'done' if m.is_ok else 'refused'}", m.text),
    Adopt: lambda m: _because(f"adopt {m.what or 'the mode'} of {m.account}, by {m.operator}", m.reason),
    ArmCommand: lambda m: f"arm, by {m.operator}: {m.reason}",
    BasketUpdate: _basket,
    ClockOffset: lambda m: f"the clock of {m.venue} is {m.offset_ns / 1e9:+.3f} s from ours",
    ChannelState: lambda m: _because(f"{m.channel} {'works again' if m.is_up else 'fails'}", m.why),
    CellRestarted: lambda m: f"rebuilt without input {m.seq}, on which {m.actor} failed: {m.error}",
    DeadManLapsed: lambda m: f"{m.account} {m.instrument}: the venue cancels, or has cancelled, by itself",
    Deleveraged: lambda m: f"{m.account} {m.side} {m.qty} {m.instrument} at {m.price}",
    ExecutionReport: _execution,
    FeedStatus: lambda m: _because(f"{m.instrument} {'live' if m.is_live else 'not live'}", m.why),
    FillEvent: _fill,
    FundingInterval: lambda m: f"{m.instrument} every {m.after_ns / HOUR_NS:g} h, was {m.before_ns / HOUR_NS:g} h",
    FundingReconciled: _funding,
    FundingSettled: lambda m: f"{m.account} {m.instrument} {m.amount} {m.asset} at {m.rate}",
    GuardFinding: _finding,
    GuardStatus: _guard,
    InboxHighWater: lambda m: f"{m.depth} inputs wait" if m.is_over else "drained",
    HaltCommand: lambda m: _because(f"halt {m.scope} {m.name} {m.level.name}, by {m.operator}", m.reason),
    HaltState: lambda m: _because(f"{m.scope} {m.name} {m.level.name} by {m.trigger}", m.why),
    Incident: lambda m: _because(f"{m.kind} {m.basket_id}".strip(), m.text),
    KillCommand: lambda m: f"kill {m.level.name}, by {m.operator}: {m.reason}",
    KillState: lambda m: _because(f"{m.level.name} by {m.trigger}", m.why),
    LeftOpen: lambda m: f"left open: {'; '.join(m.baskets)}",
    Liquidated: lambda m: f"{m.account} {m.side} {m.qty} {m.instrument} at {m.price}, mark {m.mark}",
    MarginState: _margin,
    Notice: lambda m: _because(f"{m.subject}{f' (told {m.times} times)' if m.times > 1 else ''}", m.text),
    OrderDenied: lambda m: f"{m.request.side} {m.request.qty} {m.request.instrument}: {'; '.join(m.reasons)}",
    OrderUpdate: _order,
    PartialFill: _partial,
    PositionMismatch: _mismatch,
    PositionResolved: lambda m: f"{m.account} {m.instrument or 'account'} {m.kind} no more: {m.how}",
    Reconciled: lambda m: f"{m.account} agrees with its venue",
    ReleaseCommand: lambda m: f"release {m.scope} {m.name}, by {m.operator}: {m.reason}",
    ResumeCommand: lambda m: m.reason,
    RoundTrip: lambda m: f"{m.basket_id} made {m.pnl}",
    SetFlag: _flag,
    StopCommand: lambda m: f"stop: {m.reason}",
    TightenLimit: _limit,
    VenueDown: _venue,
    VenueUp: _venue,
    WalletMoved: lambda m: f"{m.account} {m.kind} {m.amount} {m.asset}, {m.income_id}",
}
"""What is said of each message that is kept."""


def fields_of(message: Any) -> dict[str, str]:
    """Return what the message holds as texts by name, parts of parts included; what is empty is left out."""
    found: dict[str, str] = {}
    for one in attrs.fields(type(message)):
        value = getattr(message, one.name)
        if attrs.has(type(value)):
            found |= fields_of(value)
        elif one.name != "ts" and value is not None and value not in ("", ()):
            found[one.name] = _text(value)[:TEXT_MAX]
    return found


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return to_text(value)
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_text(one)}" for name, one in value.items())
    if isinstance(value, tuple):
        return "; ".join(map(_text, value))
    return str(value)
