"""Decides which alarms people are told, how often, and when one is over.

An alarm lasts as long as its cause. It is told at once, when it gets worse, and again after a cooldown until somebody
has acknowledged it; each time that it gets worse halves the cooldown. It resolves itself when the cause is gone.
A cause that comes and goes is told no more often than one that stays.
"""

from collections.abc import Mapping

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.config_checks import positive
from actors.control import Acknowledge, GuardStatus
from actors.halts import HaltState
from actors.halts import key_of as part_of
from actors.margin_calls import CallTerms, Sample, call_of, follow, said
from actors.margin_figures import MarginFigures
from actors.messages import KillLevel, KillState, MarginLevel
from actors.notices import CHANNEL, ChannelState, Notice, Urgency
from venues.model.money import to_text

_KEPT = 100
_PERSON = "operator"

_KILL = {
    KillLevel.REDUCE_ONLY: Urgency.SERIOUS,
    KillLevel.CANCEL_ALL: Urgency.CRITICAL,
    KillLevel.FLATTEN: Urgency.EMERGENCY,
}
_MARGIN = {
    MarginLevel.WARNING: Urgency.WARNING,
    MarginLevel.DANGER: Urgency.SERIOUS,
    MarginLevel.UNKNOWN: Urgency.SERIOUS,
    MarginLevel.CRITICAL: Urgency.CRITICAL,
    MarginLevel.LIQUIDATION: Urgency.EMERGENCY,
}


@frozen
class NotifierConfig:
    """An alarm is told again each `cooldown_ns`, halved each time that it gets worse, never below `cooldown_min_ns`.

    `keep` alarms that are over are remembered. `margin` says what a margin call asks for.
    """

    cooldown_ns: int = field(default=60_000_000_000, validator=positive)
    cooldown_min_ns: int = field(default=5_000_000_000, validator=positive)
    keep: int = field(default=200, validator=positive)
    margin: CallTerms = field(factory=CallTerms)


@define
class Alarm:
    """One cause. `worst` is the highest urgency that it came to, `told_ns` when it was told last, `by` who saw it."""

    ref: str
    urgency: Urgency
    worst: Urgency
    subject: str
    text: str
    fields: dict[str, str]
    raised_ns: int
    cooldown_ns: int
    told_ns: int = 0
    times: int = 0
    is_open: bool = True
    by: str = ""
    ended_ns: int | None = None

    @property
    def needs_ack(self) -> bool:
        return self.worst >= Urgency.CRITICAL and not self.by


@define
class NotifierState:
    """`alarms` by ref, those that are over until they come again; `recent` are the last notices, oldest first."""

    alarms: dict[str, Alarm] = field(factory=dict)
    history: list[Alarm] = field(factory=list)
    recent: list[Notice] = field(factory=list)
    last: int = 0
    samples: dict[str, list[Sample]] = field(factory=dict)


class Notifier(Actor):
    """What it says goes to the event log and, at the edge, to the channels."""

    publishes = (Notice,)
    state: NotifierState

    def __init__(self, config: NotifierConfig | None = None, name: str = "") -> None:
        super().__init__(name)
        self.config = config or NotifierConfig()
        self.state = NotifierState()

    def since(self, number: int) -> list[Notice]:
        """Return the notices after `number` that are still known, oldest first."""
        recent = self.state.recent
        return recent[max(0, len(recent) - (self.state.last - number)) :] if number < self.state.last else []

    def unseen(self) -> list[str]:
        """Return the causes that nobody has acknowledged yet."""
        return [ref for ref, alarm in self.state.alarms.items() if alarm.is_open and not alarm.by]

    # Causes

    @handles(MarginFigures)
    def on_margin(self, now: int, figures: MarginFigures) -> None:
        ref, urgency = f"margin/{figures.account}", _MARGIN.get(figures.level)
        samples = self.state.samples.setdefault(figures.account, [])
        follow(samples, figures, self.config.margin)
        if urgency is None:
            self._end(now, ref, f"margin of {figures.account} is healthy again")
            return
        alarm = self.state.alarms.get(ref)
        if figures.level is MarginLevel.UNKNOWN and alarm is not None and alarm.is_open:
            # Unknown proves nothing: what was critical stays so.
            urgency = max(urgency, alarm.urgency)
        call = call_of(figures, samples, self.config.margin)
        fields = {
            "account": figures.account,
            "level": figures.level.value,
            "asset": figures.asset,
            "balance": to_text(figures.balance),
            "maintenance": to_text(figures.maintenance),
            "shortfall": to_text(call.shortfall),
            "reduction": f"{call.reduction:.4f}",
            "action": call.action,
        }
        if figures.coverage is not None:
            fields["coverage"] = f"{figures.coverage:.6f}"
        if call.left_ns is not None:
            fields["seconds_to_liquidation"] = str(call.left_ns // 1_000_000_000)
        fields |= {f"liquidation {name}": to_text(price) for name, price in figures.prices.items()}
        self._raise(now, ref, urgency, f"margin call: {figures.account} {figures.level}", said(figures, call), fields)

    @handles(KillState)
    def on_kill(self, now: int, kill: KillState) -> None:
        urgency = _KILL.get(kill.level)
        if urgency is None:
            self._end(now, "kill", f"armed by {kill.why}")
            return
        fields = {"level": kill.level.name.lower(), "trigger": str(kill.trigger)}
        self._raise(now, "kill", urgency, f"kill switch: {kill.level.name}", f"{kill.trigger}: {kill.why}", fields)
        if kill.trigger == _PERSON:
            # Whoever did it knows.
            self._see("kill", kill.why.partition(":")[0])

    @handles(HaltState)
    def on_halt(self, now: int, halt: HaltState) -> None:
        part = part_of(halt.scope, halt.name)
        if halt.level is KillLevel.ARMED:
            self._end(now, f"halt/{part}", f"{part} was released by {halt.why}")
            return
        fields = {"level": halt.level.name.lower(), "trigger": str(halt.trigger)}
        self._raise(now, f"halt/{part}", _KILL[halt.level], f"stopped: {part}", f"{halt.trigger}: {halt.why}", fields)
        if halt.trigger == _PERSON:
            self._see(f"halt/{part}", halt.why.partition(":")[0])

    @handles(GuardStatus)
    def on_guard(self, now: int, guard: GuardStatus) -> None:
        if guard.is_in_charge:
            self._raise(now, "guard", Urgency.EMERGENCY, "the guard flattens the book", guard.why, {})
        elif guard.is_up:
            self._end(now, "guard", "the desk has the book again")

    @handles(ChannelState)
    def on_channel(self, now: int, channel: ChannelState) -> None:
        ref = CHANNEL + channel.channel
        if channel.is_up:
            self._end(now, ref, f"{channel.channel} reaches people again")
        else:
            subject = f"{channel.channel} does not reach anybody"
            self._raise(now, ref, Urgency.SERIOUS, subject, channel.why, {})

    # An alarm's life

    def _raise(self, now: int, ref: str, urgency: Urgency, subject: str, text: str, fields: Mapping[str, str]) -> None:
        known = self.state.alarms.get(ref)
        if known is None or not known.is_open:
            alarm = Alarm(ref, urgency, urgency, subject, text, dict(fields), now, self.config.cooldown_ns)
            self.state.alarms[ref] = alarm
            # One that comes and goes waits out its cooldown, unless it is worse than before.
            if known is not None and urgency <= known.worst and now - known.told_ns < known.cooldown_ns:
                alarm.told_ns, alarm.cooldown_ns = known.told_ns, known.cooldown_ns
                self.out.timer(ref, known.told_ns + known.cooldown_ns)
            else:
                self._tell(now, alarm)
            return
        was, known.urgency = known.urgency, urgency
        known.subject, known.text, known.fields = subject, text, dict(fields)
        known.worst = max(known.worst, urgency)
        if urgency > was:
            known.by = ""
            known.cooldown_ns = max(self.config.cooldown_min_ns, known.cooldown_ns // 2)
            self._tell(now, known)

    def _end(self, now: int, ref: str, text: str) -> None:
        alarm = self.state.alarms.get(ref)
        if alarm is None or not alarm.is_open:
            return
        alarm.is_open, alarm.ended_ns, alarm.text = False, now, text
        self.out.cancel_timer(ref)
        if alarm.times:
            self.state.history.append(alarm)
            del self.state.history[: -self.config.keep]
            self._say(now, alarm, Urgency.INFO)

    def _tell(self, now: int, alarm: Alarm) -> None:
        alarm.times += 1
        alarm.told_ns = now
        self.out.timer(alarm.ref, now + alarm.cooldown_ns)
        self._say(now, alarm, alarm.urgency)

    def _say(self, now: int, alarm: Alarm, urgency: Urgency) -> None:
        state = self.state
        state.last += 1
        notice = Notice(
            now,
            state.last,
            alarm.ref,
            urgency,
            alarm.subject if alarm.is_open else f"over: {alarm.subject}",
            alarm.text,
            dict(alarm.fields),
            alarm.is_open and alarm.needs_ack,
            not alarm.is_open,
            alarm.times,
        )
        state.recent.append(notice)
        del state.recent[:-_KEPT]
        self.out.emit(notice)

    def on_timer(self, now: int, key: str) -> None:
        alarm = self.state.alarms[key]
        if alarm.is_open and not alarm.by:
            self._tell(now, alarm)

    @handles(Acknowledge)
    def on_acknowledge(self, now: int, seen: Acknowledge) -> None:
        for ref in seen.refs:
            self._see(ref, seen.operator)

    def _see(self, ref: str, operator: str) -> None:
        alarm = self.state.alarms.get(ref)
        if alarm is not None and alarm.is_open:
            alarm.by = operator
            self.out.cancel_timer(ref)

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        """Timers come back with the cell; the one that was being handled does not."""
        for ref, alarm in self.state.alarms.items():
            if alarm.is_open and not alarm.by:
                self.out.timer(ref, max(now, alarm.told_ns + alarm.cooldown_ns))
