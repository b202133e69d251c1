"""Decides what is kept of what happened: the last events in words, for people who look at a running desk.

The journal keeps everything; this is what `basisctl events` shows at once. Nothing comes in by the tick: a strategy
that is denied at every tick is one event that says how often.
"""

from collections import deque
from collections.abc import Mapping

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.config_checks import positive
from actors.control import Acknowledge, AdminCall, GuardStatus
from actors.dead_man_words import DeadManLapsed
from actors.event_text import TEXT_MAX, TEXTS, fields_of
from actors.executions import ExecutionReport, ExecutionState
from actors.funding_messages import FundingReconciled
from actors.guards.findings import Severity
from actors.guards.messages import GuardFinding
from actors.halts import HaltState
from actors.messages import (
    MARKET_CHANNEL,
    BasketState,
    BasketUpdate,
    FillEvent,
    Incident,
    KillLevel,
    KillState,
    MarginLevel,
    MarginState,
    OrderUpdate,
    PositionMismatch,
    Reconciled,
    ResumeCommand,
)
from actors.notices import ChannelState
from venues.model.order import OrderStatus
from venues.port import Deleveraged, Liquidated, Message, VenueDown

_VIEW = "view"
_SHADOW = "shadow"
# What a person asked for and did not get needs nobody's attention later.
_ANSWERS = frozenset({_SHADOW, "arm_refused", "flag_refused", "limit_refused", "adopt_refused", "release_refused"})
_CALM = frozenset({MarginLevel.HEALTHY, MarginLevel.WARNING, MarginLevel.DANGER})
_NO_NEWS = (OrderStatus.PARTIALLY_FILLED,)
_TRADING = frozenset({FillEvent, OrderUpdate})
"""Most events are these: always news, never an alarm, kept one by one."""
_FOLD_OVER = 20


@frozen
class EventLogConfig:
    """The last `keep` events are kept."""

    keep: int = field(default=500, validator=positive)


@define
class Event:
    """One event. `number` rises by one from 1 over the life of the state; `times` says how often it came in a row.

    An alarm is something that a person must acknowledge.
    """

    number: int
    ts: int
    kind: str
    text: str
    fields: dict[str, str]
    is_alarm: bool = False
    times: int = 1
    fold: str = ""


@define
class EventLogState:
    """`records` are oldest first. `agreed` are the accounts whose reconciliation is no news.

    Alarms up to the number `seen` are acknowledged, `alarms` counts those since.
    """

    records: list[Event] = field(factory=list)
    last: int = 0
    seen: int = 0
    alarms: int = 0
    agreed: set[str] = field(factory=set)
    guard: str = ""
    is_guard_up: bool = False


class EventLog(Actor):
    """`accounts` gives each account's venue. Nobody hears this actor: it is read from outside.

    What is kept becomes text when somebody reads `state`, or is forgotten before: an order costs no text.
    """

    def __init__(self, accounts: Mapping[str, str], config: EventLogConfig | None = None, name: str = "") -> None:
        super().__init__(name)
        self.accounts = dict(accounts)
        self.config = config or EventLogConfig()
        self._fresh: deque[tuple[int, int, Message, bool]] = deque(maxlen=self.config.keep)
        self._state = EventLogState()

    @property
    def state(self) -> EventLogState:
        """The events so far, in words."""
        if self._fresh:
            self._say()
        return self._state

    @state.setter
    def state(self, state: EventLogState) -> None:
        self._fresh.clear()
        self._state = state

    @handles(*TEXTS)
    def on_event(self, now: int, message: Message) -> None:
        if message.__class__ is OrderUpdate and message.status in _NO_NEWS:
            # A fill is an event of its own; what was sent is one when the venue answers, or does not.
            return
        if message.__class__ in _TRADING:
            self._append(now, message, is_alarm=False)
            return
        if isinstance(message, Acknowledge):
            self._acknowledge(message)
        is_alarm = self._is_alarm(message)
        if self._is_news(message):
            self._keep(now, message, is_alarm=is_alarm)

    def _acknowledge(self, message: Acknowledge) -> None:
        state = self.state
        state.seen = max(state.seen, min(message.number, state.last))
        state.alarms = sum(event.is_alarm for event in self.since(state.seen, self.config.keep))

    def _is_news(self, message: Message) -> bool:
        state = self._state
        if isinstance(message, AdminCall):
            return message.role != _VIEW
        if isinstance(message, FundingReconciled):
            return message.difference is not None
        if isinstance(message, Reconciled):
            is_known = message.account in state.agreed
            state.agreed.add(message.account)
            return not is_known
        if isinstance(message, GuardStatus):
            before, state.guard = state.guard, TEXTS[GuardStatus](message)
            state.is_guard_up = message.is_up
            return before != state.guard
        if isinstance(message, ResumeCommand):
            # Another process looks for its guard anew.
            state.guard, state.is_guard_up = "", False
        if isinstance(message, CellRestarted):
            state.agreed.clear()
        elif isinstance(message, PositionMismatch):
            state.agreed.discard(message.account)
        elif isinstance(message, VenueDown) and message.channel != MARKET_CHANNEL:
            state.agreed -= {account for account, venue in self.accounts.items() if venue == message.venue}
        return True

    def _is_alarm(self, message: Message) -> bool:
        if isinstance(message, KillState | HaltState):
            return message.level is not KillLevel.ARMED
        if isinstance(message, Incident):
            return message.kind not in _ANSWERS
        if isinstance(message, MarginState):
            return message.level not in _CALM
        if isinstance(message, GuardFinding):
            return message.severity is Severity.REDUCE
        if isinstance(message, ChannelState):
            return not message.is_up
        if isinstance(message, GuardStatus):
            # That it has yet to be found at the beginning is none.
            return message.is_in_charge or (self._state.is_guard_up and not message.is_up)
        return isinstance(message, CellRestarted | DeadManLapsed | Deleveraged | Liquidated | PositionMismatch)

    def _keep(self, now: int, message: Message, *, is_alarm: bool) -> None:
        fold = _fold(message)
        if not fold or not self._folds(now, message, fold):
            self._append(now, message, is_alarm=is_alarm)

    def _append(self, now: int, message: Message, *, is_alarm: bool) -> None:
        state = self._state
        state.last += 1
        state.alarms += is_alarm
        self._fresh.append((state.last, now, message, is_alarm))

    def _folds(self, now: int, message: Message, fold: str) -> bool:
        """Whether one of the last events is of the same kind: it is told again as that one."""
        for known in self.state.records[-_FOLD_OVER:]:
            if known.fold == fold:
                known.ts, known.text, known.fields = now, _text_of(message), fields_of(message)
                known.times += 1
                return True
        return False

    def _say(self) -> None:
        records = self._state.records
        for number, ts, message, is_alarm in self._fresh:
            kind, text, fields = type(message).__name__, _text_of(message), fields_of(message)
            records.append(Event(number, ts, kind, text, fields, is_alarm, fold=_fold(message)))
        self._fresh.clear()
        del records[: max(0, len(records) - self.config.keep)]

    def since(self, number: int, limit: int) -> list[Event]:
        """Return at most `limit` events after `number`, oldest first."""
        records = self.state.records
        if not records:
            return []
        begin = max(0, number + 1 - records[0].number)
        return records[begin : begin + limit]


def _text_of(message: Message) -> str:
    return TEXTS[type(message)](message)[:TEXT_MAX]


def _fold(message: Message) -> str:
    """Return what tells apart events of which a row is one event; empty for those that are kept one by one."""
    if isinstance(message, BasketUpdate) and message.state is BasketState.DENIED:
        return f"denied {message.strategy} {message.why.partition(':')[0]}"
    if isinstance(message, ExecutionReport) and message.state is ExecutionState.DENIED:
        return f"denied {message.strategy} {message.reason}"
    if isinstance(message, Incident) and message.kind == _SHADOW:
        return _SHADOW
    if isinstance(message, GuardFinding):
        return f"{message.guard} {message.account} {message.subject} {message.reason} {message.severity}"
    return ""
