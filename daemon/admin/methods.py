"""What can be asked of a desk and done to it: the methods of its two sockets."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from actors.atomic_executor import AtomicExecutor
from actors.control import Acknowledge
from actors.event_log import EventLog
from actors.flags import GLOBAL, FlagMode, SetFlag, flag_of
from actors.flags import objection as flag_objection
from actors.limits import TightenLimit
from actors.risk_gate import RiskGate
from daemon.admin import views
from daemon.admin.basket_views import incidents
from daemon.admin.calls import Caller, Method, NoParams, Poll, RefusedError, Role, described, table
from daemon.admin.desk import DeskControl, DeskView, actor
from daemon.admin.params import LEVELS, Arm, Drain, Flag, Follow, Kill, Limit, Listed, Newest, Screen, Seen, Since
from daemon.admin.views import number


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
            Method("incidents", see, "legs that filled unevenly", lambda p, c: incidents(view, p.limit), Newest),
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
            Method("kill", ops, "stop trading to a level; nothing is asked back", self._kill, Kill, is_urgent=True),
            Method("arm", ops, "release the kill level, with a reason", self._arm, Arm),
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
        return await self._control.kill(LEVELS[params.level], caller.operator, params.reason or "no reason given")

    async def _arm(self, params: Arm, caller: Caller) -> dict[str, Any]:
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
