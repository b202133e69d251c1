"""What can be asked of a desk and done to it: the methods of its two sockets."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from actors.atomic_executor import AtomicExecutor
from actors.control import Acknowledge
from actors.event_log import EventLog
from actors.flags import GLOBAL, FlagMode, SetFlag, flag_of
from actors.flags import objection as flag_objection
from actors.limits import TightenLimit
from actors.messages import KillLevel
from actors.risk_gate import RiskGate
from daemon.admin import views
from daemon.admin.calls import Caller, Method, NoParams, Poll, RefusedError, Role, described, table
from daemon.admin.desk import DeskControl, DeskView, actor
from daemon.admin.views import number

Text = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]
"""What a person says: one line, nothing that moves a terminal."""

Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[\x21-\x7e]*\Z")]
Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]
EventNumber = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Number = Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[0-9]{1,20}(\.[0-9]{1,18})?\Z")]
"""A number is a text: JSON's own numbers lose digits in many readers."""

LEVELS = {level.name.lower(): level for level in KillLevel if level is not KillLevel.ARMED}


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Listed(_Params):
    limit: Count = 200
    all: bool = False


class Since(_Params):
    since: EventNumber = 0
    limit: Count = 100


class Follow(_Params):
    """Without `since` only what happens from now on."""

    since: EventNumber | None = None


class Screen(_Params):
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class Kill(_Params):
    level: Literal["reduce_only", "cancel_all", "flatten"]
    reason: Text = ""


class Reason(_Params):
    reason: Annotated[Text, msgspec.Meta(min_length=1)]


class Drain(_Params):
    on: bool = True
    reason: Text = ""


class Flag(_Params):
    feature: Name
    mode: FlagMode
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 100
    reason: Text = ""


class Limit(_Params):
    key: Name
    value: Number
    instrument: Name = ""
    reason: Text = ""


class Seen(_Params):
    number: EventNumber | None = None
    reason: Text = ""


class DeskMethods:
    """The methods of one desk. Views read its actors; what changes something goes in as a message, or to `control`."""

    def __init__(self, view: DeskView, control: DeskControl) -> None:
        self._view = view
        self._control = control
        self._table = table([*self._views(), *self._operations()])

    @property
    def table(self) -> Mapping[str, Method]:
        return self._table

    def _views(self) -> list[Method]:
        see, view = Role.VIEW, self._view
        return [
            Method("status", see, "the desk in one glance", lambda p, c: views.status(view)),
            Method("positions", see, "open positions and wallets", lambda p, c: views.positions(view)),
            Method("orders", see, "orders that may still fill", self._orders, Listed),
            Method("baskets", see, "baskets at work or open", self._baskets, Listed),
            Method("margin", see, "each account's margin", lambda p, c: views.margin(view)),
            Method("funding", see, "funding expected and paid", lambda p, c: views.funding(view)),
            Method("events", see, "what happened", lambda p, c: views.events(view, p.since, p.limit), Since),
            Method("events.follow", see, "what happens", self._follow_from, Follow, follow=self._follow),
            Method("flags", see, "how each feature runs", lambda p, c: views.flags(view)),
            Method("limits", see, "the limits that hold", lambda p, c: views.limits(view)),
            Method("overview", see, "all that a screen shows", lambda p, c: views.overview(view, p.count), Screen),
            Method("version", see, "build and configuration", self._version),
            Method("methods", see, "what this socket answers", lambda p, c: described(self._table, c.role)),
        ]

    def _operations(self) -> list[Method]:
        ops = Role.OPS
        return [
            Method("kill", ops, "stop trading to a level; nothing is asked back", self._kill, Kill),
            Method("arm", ops, "release the kill level, with a reason", self._arm, Reason),
            Method("drain", ops, "open nothing new, or open again", self._drain, Drain),
            Method("set_flag", ops, "switch a feature", self._set_flag, Flag),
            Method("set_limit", ops, "make a limit tighter", self._set_limit, Limit),
            Method("ack", ops, "say that the alarms so far were seen", self._acknowledge, Seen),
        ]

    # Views

    def _orders(self, params: Listed, caller: Caller) -> dict[str, Any]:
        return views.orders(self._view, params.limit, is_all=params.all)

    def _baskets(self, params: Listed, caller: Caller) -> dict[str, Any]:
        return views.baskets(self._view, params.limit, is_all=params.all)

    def _version(self, params: NoParams, caller: Caller) -> dict[str, Any]:
        info = self._view.info()
        return {key: info.get(key) for key in ("name", "mode", "run", "build", "config_sha256", "pid")}

    def _follow_from(self, params: Follow, caller: Caller) -> dict[str, int]:
        last = self._events.state.last
        return {"since": last if params.since is None else params.since, "last": last}

    def _follow(self, params: Follow, caller: Caller) -> Poll:
        sent = self._events.state.last if params.since is None else params.since

        def poll() -> list[dict[str, Any]]:
            nonlocal sent
            log = self._events
            # A desk that begins afresh counts from one again.
            sent = min(sent, log.state.last)
            found = log.since(sent, 100)
            if found:
                sent = found[-1].number
            return [views.event(one, log.state.seen) for one in found]

        return poll

    @property
    def _events(self) -> EventLog:
        found: EventLog = actor(self._view, "event_log", EventLog)
        return found

    # Operations

    async def _kill(self, params: Kill, caller: Caller) -> dict[str, Any]:
        return await self._control.kill(LEVELS[params.level], caller.operator, params.reason)

    async def _arm(self, params: Reason, caller: Caller) -> dict[str, Any]:
        if not params.reason.strip():
            raise RefusedError("arming needs a reason")
        return await self._control.arm(caller.operator, params.reason)

    def _drain(self, params: Drain, caller: Caller) -> dict[str, Any]:
        mode = FlagMode.DISABLED if params.on else FlagMode.PRODUCTION
        self._flag(SetFlag(self._view.now(), caller.operator, GLOBAL, mode, reason=params.reason))
        return {"is_draining": params.on}

    def _set_flag(self, params: Flag, caller: Caller) -> dict[str, Any]:
        known = views.features(self._view)
        if params.feature not in known:
            raise RefusedError(f"no feature {params.feature!r}; there are {', '.join(known)}")
        self._flag(
            SetFlag(self._view.now(), caller.operator, params.feature, params.mode, params.percent, params.reason)
        )
        return views.flags(self._view)

    def _flag(self, change: SetFlag) -> None:
        executor: AtomicExecutor = actor(self._view, "atomic_executor", AtomicExecutor)
        why = flag_objection(executor.state.flags, change)
        if why:
            raise RefusedError(why)
        self._control.offer(change)
        executor = actor(self._view, "atomic_executor", AtomicExecutor)
        if executor.state.flags.get(change.feature) != flag_of(change):
            raise RefusedError("the desk did not take the flag: has it stopped?")

    def _set_limit(self, params: Limit, caller: Caller) -> dict[str, Any]:
        change = TightenLimit(
            self._view.now(), caller.operator, params.instrument, params.key, Decimal(params.value), params.reason
        )
        gate: RiskGate = actor(self._view, "risk_gate", RiskGate)
        why = gate.objection(change)
        if why:
            raise RefusedError(why)
        self._control.offer(change)
        gate = actor(self._view, "risk_gate", RiskGate)
        held = gate.state.tightened.get(params.instrument, {}).get(params.key)
        if held != change.value:
            raise RefusedError("the desk did not take the limit: has it stopped?")
        return {"instrument": params.instrument, "key": params.key, "value": number(held)}

    def _acknowledge(self, params: Seen, caller: Caller) -> dict[str, Any]:
        upto = self._events.state.last if params.number is None else params.number
        self._control.offer(Acknowledge(self._view.now(), caller.operator, upto, params.reason))
        state = self._events.state
        return {"seen": state.seen, "alarms": state.alarms}
