"""Decides which part of the desk is stopped: a strategy, an account or a venue, until a designated person releases it.

The kill switch stops everything, this stops a part (FIA 2015, 1.11: per strategy, by trader and risk, reducing orders
may go on; RTS 6 Art 15(3): what executed too often stays disabled until a designated person enables it). Latched: a
part's level only rises, survives restarts, and is lowered by a person with a reason alone.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.messages import Incident, KillLevel
from venues.port import CancelAll, Lane, Message, VenueUp, message


class HaltScope(StrEnum):
    STRATEGY = "strategy"
    ACCOUNT = "account"
    VENUE = "venue"


@message(lane=Lane.CONTROL)
class HaltCommand(Message):
    """A person stops a part: REDUCE_ONLY, or CANCEL_ALL, which cancels what rests of it as well."""

    ts: int
    operator: str
    scope: HaltScope
    name: str
    level: KillLevel
    reason: str = ""


@message(lane=Lane.CONTROL)
class ReleaseCommand(Message):
    """A person lets a part go on, with a reason."""

    ts: int
    operator: str
    scope: HaltScope
    name: str
    reason: str


@message()
class HaltTrigger(Message):
    """An actor asks that a part be stopped to at least `level`."""

    ts: int
    scope: HaltScope
    name: str
    level: KillLevel
    trigger: str
    why: str


@message()
class HaltState(Message):
    """A part's level after a change, ARMED when it was released; `trigger` and `why` say what changed it."""

    ts: int
    scope: HaltScope
    name: str
    level: KillLevel
    trigger: str
    why: str


@frozen
class HaltsConfig:
    """`designated` are the users who may release a part; empty for everybody who may steer the desk."""

    designated: tuple[str, ...] = ()


@define
class Halt:
    """One part that is stopped, since when and why."""

    scope: HaltScope
    name: str
    level: KillLevel
    trigger: str
    why: str
    since_ns: int


@define
class HaltsState:
    """What is stopped, by `key_of`; `owed` was when the cell was rebuilt."""

    halts: dict[str, Halt] = field(factory=dict)
    owed: list[Halt] = field(factory=list)


def key_of(scope: HaltScope, name: str) -> str:
    return f"{scope}/{name}"


def objection(command: HaltCommand, names: Mapping[HaltScope, Collection[str]]) -> str:
    """Return why a person's command means nothing, an empty string when it can be done. `names` are what there is."""
    known = names.get(command.scope, ())
    if command.name not in known:
        return f"there is no {command.scope} {command.name!r}; there are {', '.join(sorted(known)) or 'none'}"
    if command.level not in (KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL):
        return f"a part is stopped to reduce_only or cancel_all, not {command.level.name.lower()}"
    return "" if command.operator.strip() else "a part is stopped by an operator with a name"


class Halts(Actor):
    """`accounts` gives each account's venue. Stopping waits for nobody, not even for the part to exist."""

    publishes = (HaltState, Incident)
    sends = (CancelAll,)
    state: HaltsState

    def __init__(self, accounts: Mapping[str, str], config: HaltsConfig | None = None, name: str = "") -> None:
        super().__init__(name)
        self.accounts = dict(accounts)
        self.config = config or HaltsConfig()
        self.state = HaltsState()

    @handles(HaltCommand)
    def on_command(self, now: int, command: HaltCommand) -> None:
        why = f"{command.operator}: {command.reason}"
        self._raise(now, command.scope, command.name, command.level, "operator", why)

    @handles(HaltTrigger)
    def on_trigger(self, now: int, trigger: HaltTrigger) -> None:
        self._raise(now, trigger.scope, trigger.name, trigger.level, trigger.trigger, trigger.why)

    def _raise(self, now: int, scope: HaltScope, name: str, level: KillLevel, trigger: str, why: str) -> None:
        key = key_of(scope, name)
        known = self.state.halts.get(key)
        if level is KillLevel.ARMED or (known is not None and level <= known.level):
            return
        self.state.halts[key] = Halt(scope, name, level, trigger, why, now)
        self.out.emit(HaltState(now, scope, name, level, trigger, why))
        if level >= KillLevel.CANCEL_ALL:
            self._cancel(now, scope, name)

    def _cancel(self, now: int, scope: HaltScope, name: str) -> None:
        """Cancel also what the desk knows nothing of; a strategy's own orders are cancelled one by one."""
        for account, venue in self.accounts.items():
            if (scope is HaltScope.ACCOUNT and account == name) or (scope is HaltScope.VENUE and venue == name):
                self.out.send(CancelAll(now, account))

    def refusal(self, command: ReleaseCommand) -> str:
        """Return why a part is not released, an empty string when it is."""
        if key_of(command.scope, command.name) not in self.state.halts:
            return f"{command.scope} {command.name} is not stopped"
        if not command.operator.strip() or not command.reason.strip():
            return "releasing needs an operator and a reason"
        # An operator is a user, with the process that spoke for them behind it.
        user = command.operator.partition(" pid ")[0]
        if self.config.designated and user not in self.config.designated:
            return f"{user} is not designated to release; {', '.join(self.config.designated)} may"
        return ""

    @handles(ReleaseCommand)
    def on_release(self, now: int, command: ReleaseCommand) -> None:
        why = self.refusal(command)
        if why:
            self.out.emit(Incident(now, "release_refused", "", why))
            return
        del self.state.halts[key_of(command.scope, command.name)]
        said = f"{command.operator}: {command.reason}"
        self.out.emit(HaltState(now, command.scope, command.name, KillLevel.ARMED, "operator", said))

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        """A cancel sent into a dead connection may never have arrived."""
        self._cancel_again(now, up.venue)

    def inherit(self, failed: "Halts") -> None:
        """A halt outlives the input that asked for it: whoever failed on hearing of it must not undo it."""
        self.state.owed = [one for key, one in failed.state.halts.items() if self.state.halts.get(key) != one]

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        self._cancel_again(now, "")
        owed, self.state.owed = self.state.owed, []
        for one in owed:
            self._raise(now, one.scope, one.name, one.level, one.trigger, one.why)

    def _cancel_again(self, now: int, venue: str) -> None:
        halted = [one for one in self.state.halts.values() if one.level >= KillLevel.CANCEL_ALL]
        accounts = {
            account: at
            for account, at in self.accounts.items()
            if venue in ("", at)
            and any(
                one.name == (account if one.scope is HaltScope.ACCOUNT else at)
                for one in halted
                if one.scope is not HaltScope.STRATEGY
            )
        }
        for account in accounts:
            self.out.send(CancelAll(now, account))
