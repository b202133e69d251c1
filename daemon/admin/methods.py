"""What can be asked of a desk and done to it: the methods of its two sockets."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from actors.atomic_executor import AtomicExecutor
from actors.control import Acknowledge
from actors.event_log import EventLog
from actors.flags import GLOBAL, FlagMode, SetFlag, flag_of
from actors.flags import objection as flag_objection
from actors.halts import HaltCommand, Halts, ReleaseCommand, key_of
from actors.halts import objection as halt_objection
from actors.limits import TightenLimit
from actors.notices import Notice
from actors.notifier import Notifier
from actors.position_synchronizer import PositionSynchronizer
from actors.risk_gate import RiskGate
from actors.sync_messages import Adopt
from daemon.admin import views
from daemon.admin.basket_views import incidents
from daemon.admin.calls import Caller, Method, NoParams, Poll, RefusedError, Role, described, table
from daemon.admin.desk import DeskControl, DeskView, actor
from daemon.admin.params import (
    LEVELS,
    Adopted,
    Arm,
    Drain,
    Flag,
    Follow,
    Halt,
    Kill,
    Limit,
    Listed,
    Newest,
    Release,
    Screen,
    Seen,
    Since,
)
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
            Method("mismatches", see, "where books differ or differed", self._mismatches, Listed),
            Method("orders", see, "orders that may still fill", self._orders, Listed),
            Method("baskets", see, "baskets at work or open", self._baskets, Listed),
            Method("incidents", see, "legs that filled unevenly", lambda p, c: incidents(view, p.limit), Newest),
            Method("margin", see, "each account's margin", lambda p, c: views.margin(view)),
            Method("guards", see, "what the risk guards find", lambda p, c: views.guards(view)),
            Method("funding", see, "funding expected and paid", lambda p, c: views.funding(view)),
            Method("events", see, "what happened", lambda p, c: views.events(view, p.since, p.limit), Since),
            Method("events.follow", see, "what happens", self._follow_from, Follow, follow=self._follow),
            Method("flags", see, "how each feature runs", lambda p, c: views.flags(view)),
            Method("limits", see, "the limits that hold", lambda p, c: views.limits(view)),
            Method("halts", see, "parts of the desk that are stopped", lambda p, c: views.halts(view)),
            Method("alerts", see, "what people are told of, and what is over", lambda p, c: views.alerts(view)),
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
            Method("adopt", ops, "accept a mismatch as not the desk's", self._adopt, Adopted),
            Method("halt", ops, "stop a strategy, an account or a venue", self._halt, Halt),
            Method("release", ops, "let a part go on, with a reason", self._release, Release),
            Method("ack", ops, "say that the alarms so far were seen", self._acknowledge, Seen),
        ]

    # Views

    def _orders(self, params: Listed, caller: Caller) -> dict[str, Any]:
        return views.orders(self._view, params.limit, is_all=params.all)

    def _baskets(self, params: Listed, caller: Caller) -> dict[str, Any]:
        return views.baskets(self._view, params.limit, is_all=params.all)

    def _mismatches(self, params: Listed, caller: Caller) -> dict[str, Any]:
        return views.mismatches(self._view, params.limit, is_all=params.all)

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

    def _told(self, upto: int | None) -> tuple[str, ...]:
        """Return the causes that nobody has acknowledged, only those told last at or before event `upto`."""
        notifier: Notifier = actor(self._view, "notifier", Notifier)
        latest = {one.fields["ref"]: one.number for one in self._events.state.records if one.kind == Notice.__name__}
        return tuple(ref for ref in notifier.unseen() if upto is None or latest.get(ref, 0) <= upto)

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

    def _adopt(self, params: Adopted, caller: Caller) -> dict[str, Any]:
        sync: PositionSynchronizer = actor(self._view, "position_synchronizer", PositionSynchronizer)
        keys = sync.adoptable(params.account, params.what)
        if not keys:
            raise RefusedError(f"nothing told differs in {params.account} about {params.what or 'its mode'}")
        if not params.reason.strip():
            raise RefusedError("adopting needs a reason")
        self._control.offer(Adopt(self._view.now(), caller.operator, params.account, params.what, params.reason))
        sync = actor(self._view, "position_synchronizer", PositionSynchronizer)
        if set(keys) & set(sync.adoptable(params.account, params.what)):
            raise RefusedError("the desk did not adopt it: has it stopped?")
        return {"account": params.account, "what": params.what, "adopted": len(keys)}

    def _halt(self, params: Halt, caller: Caller) -> dict[str, Any]:
        level = LEVELS[params.level]
        command = HaltCommand(
            self._view.now(), caller.operator, params.scope, params.name, level, params.reason or "no reason given"
        )
        why = halt_objection(command, views.parts(self._view))
        if why:
            raise RefusedError(why)
        self._control.offer(command)
        held = self._halts.state.halts.get(key_of(params.scope, params.name))
        if held is None or held.level < level:
            raise RefusedError("the desk did not take the halt: has it stopped?")
        return views.halts(self._view)

    def _release(self, params: Release, caller: Caller) -> dict[str, Any]:
        command = ReleaseCommand(self._view.now(), caller.operator, params.scope, params.name, params.reason)
        why = self._halts.refusal(command)
        if why:
            raise RefusedError(why)
        self._control.offer(command)
        if key_of(params.scope, params.name) in self._halts.state.halts:
            raise RefusedError("the desk did not take the release: has it stopped?")
        return views.halts(self._view)

    @property
    def _halts(self) -> Halts:
        found: Halts = actor(self._view, "halts", Halts)
        return found

    def _acknowledge(self, params: Seen, caller: Caller) -> dict[str, Any]:
        upto = self._events.state.last if params.number is None else params.number
        refs = self._told(None if params.number is None else upto)
        self._control.offer(Acknowledge(self._view.now(), caller.operator, upto, params.reason, refs))
        state = self._events.state
        return {"seen": state.seen, "alarms": state.alarms}
