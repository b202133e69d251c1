"""Decides the orders of brackets and one-cancels-other pairs: exits exactly as large as the position they protect.

Kill levels: from REDUCE_ONLY on entries are cancelled, exits stay. At CANCEL_ALL everything that rests goes, protective
stops included: an incident says what is unprotected, and arming places the exits again. At FLATTEN positions are closed
at market. A stop of the desk closes them as well, or leaves them, as configured; nothing rests after it.
"""

from collections.abc import Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.config_checks import positive
from actors.group_messages import BracketRequest, GroupCommand, GroupState, GroupUpdate, OcoRequest
from actors.group_plan import Cancel, Child, Group, Role, steps
from actors.group_terms import GroupDeniedError, GroupDeny, GroupRequest, to_group
from actors.lost_legs import is_foreign
from actors.messages import (
    CancelRequest,
    FillEvent,
    Incident,
    KillLevel,
    KillState,
    KillTrigger,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    ResumeCommand,
    StopCommand,
)
from actors.risk_checks import Reason
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderType, TimeInForce
from venues.model.position import position_key
from venues.port import RejectReason

_ENDED = frozenset({GroupState.DONE, GroupState.RELEASED, GroupState.DENIED, GroupState.BROKEN})
_PASSING = frozenset(
    {
        Reason.MESSAGE_RATE,
        Reason.MAY_REST,
        Reason.BACKLOG,
        Reason.VENUE_DOWN,
        Reason.READ_ONLY,
        Reason.GUARD_IN_CHARGE,
        Reason.SESSION_CLOSED,
    }
)
"""Refusals that say nothing against the order: they pass by themselves, and are not counted as attempts."""
_PASSING_REJECTS = frozenset({RejectReason.RATE_LIMIT, RejectReason.HALTED})


@frozen
class GroupConfig:
    """An exit that fails is tried again after `retry_ns`, `attempts` times in all.

    Then a target is given up, and a position without its stop is closed at market. `closes_at_stop`: a stop of the desk
    closes positions, otherwise they stay open without stop and target until the desk is back.
    """

    attempts: int = field(default=3, validator=positive)
    retry_ns: int = field(default=1_000_000_000, validator=positive)
    closes_at_stop: bool = True
    groups_max: int = field(default=100, validator=positive)
    keep_groups: int = field(default=1_000, validator=positive)
    keep_children: int = field(default=200, validator=positive)


@define
class GroupsState:
    """`groups` by id, ended ones included, oldest first; `active` the ids of those at work; `requests` by request id.

    `positions` are the net positions by key; `told` what was last said of each group.
    """

    groups: dict[str, Group] = field(factory=dict)
    active: dict[str, None] = field(factory=dict)
    requests: dict[str, str] = field(factory=dict)
    positions: dict[str, Decimal] = field(factory=dict)
    told: dict[str, str] = field(factory=dict)
    kill: KillLevel = KillLevel.ARMED
    is_stopping: bool = False
    denied: int = 0


class OrderGroups(Actor):
    """Works through requests and cancels like everybody: the risk gate judges each order."""

    publishes = (OrderRequest, CancelRequest, GroupUpdate, Incident, KillTrigger)
    state: GroupsState

    def __init__(
        self, instruments: Mapping[str, Instrument], config: GroupConfig | None = None, name: str = "order_groups"
    ) -> None:
        super().__init__(name)
        self.instruments = instruments
        self.config = config or GroupConfig()
        self.state = GroupsState()

    # Requests

    @handles(BracketRequest)
    def on_bracket(self, now: int, request: BracketRequest) -> None:
        group = self._begin(now, request)
        if group is not None:
            self._place(now, group, Role.ENTRY, group.qty)
            self._advance(now, group)

    @handles(OcoRequest)
    def on_oco(self, now: int, request: OcoRequest) -> None:
        group = self._begin(now, request)
        if group is not None:
            self._advance(now, group)

    def _begin(self, now: int, request: GroupRequest) -> Group | None:
        state = self.state
        try:
            if request.group_id in state.groups or not request.group_id:
                raise GroupDeniedError(GroupDeny.DUPLICATE, f"group_id: {request.group_id!r}")
            if state.is_stopping:
                raise GroupDeniedError(GroupDeny.STOPPING, "no new positions")
            is_opening = isinstance(request, BracketRequest)
            if state.kill >= (KillLevel.REDUCE_ONLY if is_opening else KillLevel.CANCEL_ALL):
                raise GroupDeniedError(GroupDeny.KILLED, f"kill level {state.kill.name}")
            if len(state.active) >= self.config.groups_max:
                raise GroupDeniedError(GroupDeny.TOO_MANY, f"{self.config.groups_max} are at work")
            group = to_group(request, self.instruments)
            if group.held > self._room(group):
                raise GroupDeniedError(GroupDeny.NO_POSITION, f"qty: {group.held}, held is {self._room(group)}")
        except GroupDeniedError as error:
            state.denied += 1
            self.out.emit(
                GroupUpdate(
                    now, request.group_id, request.strategy, GroupState.DENIED, ZERO, ZERO, ZERO, ZERO, str(error)
                )
            )
            return None
        state.groups[group.id] = group
        state.active[group.id] = None
        return group

    @handles(GroupCommand)
    def on_command(self, now: int, command: GroupCommand) -> None:
        group = self.state.groups.get(command.group_id)
        if group is None or command.group_id not in self.state.active:
            self._incident(now, "command_of_unknown_group", command.group_id)
            return
        self._turn(group, GroupState.CLOSING if command.closes else GroupState.RELEASED, "asked for")
        self._advance(now, group)

    # What becomes of the orders

    @handles(OrderUpdate)
    def on_update(self, now: int, update: OrderUpdate) -> None:
        group_id = self.state.requests.get(update.request_id)
        if group_id is None:
            return
        group = self.state.groups[group_id]
        child = group.children[update.request_id]
        if update.filled_qty > child.filled:
            child.filled = update.filled_qty
            group.failures.pop(child.role, None)
        if update.is_final and not child.is_final:
            child.is_final = True
            if child.filled < child.qty and not child.is_canceling:
                self._failed(now, group, child, update.reject_reason, update.why or update.status)
        self._advance(now, group)

    @handles(OrderDenied)
    def on_denied(self, now: int, denied: OrderDenied) -> None:
        request_id = denied.request.request_id
        group_id = self.state.requests.get(request_id)
        if group_id is None:
            return
        group = self.state.groups[group_id]
        child = group.children[request_id]
        child.is_final = True
        if all(text.partition(":")[0] in _PASSING for text in denied.reasons):
            group.retry_ns = now + self.config.retry_ns
        else:
            self._failed(now, group, child, None, "; ".join(denied.reasons))
        self._advance(now, group)

    def _failed(self, now: int, group: Group, child: Child, reason: RejectReason | None, why: str) -> None:
        """An order ended unfilled and unasked: try again, or give up what it was for."""
        role = child.role
        group.why = f"{role}: {why}"
        if role is Role.ENTRY:
            return
        group.retry_ns = now + self.config.retry_ns
        if reason in _PASSING_REJECTS:
            return
        group.failures[role] = group.failures.get(role, 0) + 1
        is_through = role is Role.STOP and reason is RejectReason.WOULD_TRIGGER
        if group.failures[role] < self.config.attempts and not is_through:
            return
        text = f"{group.id}: {role} failed {group.failures[role]} times: {why}"
        if role is Role.STOP:
            # A position that cannot be protected is not held. One whose stop is passed already is out by it.
            group.retry_ns = now
            self._turn(group, GroupState.CLOSING, group.why)
            self._incident(now, "group_stop_passed" if is_through else "group_unprotected", text)
            if not is_through:
                self.out.emit(KillTrigger(now, "group_unprotected", KillLevel.REDUCE_ONLY, text))
        elif role is Role.TARGET:
            group.given_up.append(role)
            self._incident(now, "group_without_target", text)
        else:
            group.given_up.append(role)
            self._turn(group, GroupState.BROKEN, group.why)
            self._incident(now, "group_broken", f"{text}; {group.open_qty} {group.instrument} is left")
            self.out.emit(KillTrigger(now, "group_broken", KillLevel.REDUCE_ONLY, text))

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        """Book what the venue or the guard took off a position: it is no more to be protected."""
        if event.request_id or not self.state.active or not is_foreign(event.fill):
            return
        fill, left = event.fill, event.fill.qty
        key = position_key(fill.account, fill.instrument, fill.position_side)
        for group_id in list(self.state.active):
            group = self.state.groups[group_id]
            taken = min(left, group.open_qty)
            own = position_key(group.account, group.instrument, group.position_side)
            if own == key and group.side is fill.side.opposite and taken > ZERO:
                group.exited += taken
                left -= taken
                group.why = f"{taken} taken: {fill.reason}"
                self._advance(now, group)

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        """Exits never ask for more than is there, whoever took it."""
        key = position_key(update.account, update.instrument, update.position_side)
        if not update.qty.is_finite():
            return
        self.state.positions[key] = update.qty
        for group_id in list(self.state.active):
            group = self.state.groups[group_id]
            if key == position_key(group.account, group.instrument, group.position_side):
                self._note_netting(now, group)
                self._advance(now, group)

    def _note_netting(self, now: int, group: Group) -> None:
        """Tell once that a position is not there in full: a venue takes no reduce-only order for the rest."""
        room = self._room(group)
        is_netted = room < group.open_qty
        if is_netted and not group.is_netted:
            text = f"{group.id}: {group.open_qty} {group.instrument} is open, the account holds {room} of it"
            self._incident(now, "group_netted", text)
        group.is_netted = is_netted

    def _room(self, group: Group) -> Decimal:
        """Return how much of the net position is there for this group, after the groups before it."""
        key = position_key(group.account, group.instrument, group.position_side)
        room = self.state.positions.get(key, ZERO) * group.side.sign
        for other_id in self.state.active:
            if other_id == group.id:
                break
            other = self.state.groups[other_id]
            if other.side is group.side and key == position_key(other.account, other.instrument, other.position_side):
                room -= max(ZERO, other.open_qty)
        return max(ZERO, room)

    # What may be

    @handles(KillState)
    def on_kill(self, now: int, kill: KillState) -> None:
        self.state.kill = kill.level
        for group_id in list(self.state.active):
            group = self.state.groups[group_id]
            if kill.level >= KillLevel.FLATTEN:
                self._turn(group, GroupState.CLOSING, f"kill: {kill.why}")
            elif kill.level >= KillLevel.CANCEL_ALL and group.state is not GroupState.CLOSING:
                self._turn(group, GroupState.SUSPENDED, f"kill: {kill.why}")
                if group.open_qty > ZERO:
                    self._incident(
                        now, "group_suspended", f"{group.id}: {group.open_qty} {group.instrument} has no stop"
                    )
            elif kill.level >= KillLevel.REDUCE_ONLY and group.state is GroupState.OPENING:
                self._turn(group, GroupState.PROTECTED, f"kill: {kill.why}")
            elif kill.level is KillLevel.ARMED and group.state is GroupState.SUSPENDED:
                self._turn(group, GroupState.PROTECTED, "armed again")
            self._advance(now, group)

    @handles(StopCommand)
    def on_stop(self, now: int, stop: StopCommand) -> None:
        self.state.is_stopping = True
        for group_id in list(self.state.active):
            group = self.state.groups[group_id]
            if self.config.closes_at_stop:
                self._turn(group, GroupState.CLOSING, f"stop: {stop.reason}")
            elif group.state is not GroupState.CLOSING:
                self._turn(group, GroupState.SUSPENDED, f"stop: {stop.reason}")
                self._incident(now, "group_suspended", f"{group.id}: {group.open_qty} {group.instrument} has no stop")
            self._advance(now, group)

    @handles(ResumeCommand)
    def on_resume(self, now: int, resume: ResumeCommand) -> None:
        self.state.is_stopping = False
        for group_id in list(self.state.active):
            group = self.state.groups[group_id]
            if group.state is GroupState.SUSPENDED and self.state.kill < KillLevel.CANCEL_ALL:
                self._turn(group, GroupState.PROTECTED, "resumed")
            self._advance(now, group)

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        for group_id in list(self.state.active):
            self._advance(now, self.state.groups[group_id])

    def on_timer(self, now: int, key: str) -> None:
        group = self.state.groups.get(key)
        if group is not None:
            self._advance(now, group)

    # Going on

    def _turn(self, group: Group, state: GroupState, why: str) -> None:
        if group.state not in _ENDED and group.state is not state:
            group.state, group.why = state, why

    def _advance(self, now: int, group: Group) -> None:
        """Do what the group needs now, end it when nothing is left, tell what changed."""
        if group.id not in self.state.active and not self._reopens(now, group):
            return
        spec, retry_ns = self.instruments[group.instrument], None
        for step in steps(group, spec, self._room(group)):
            if isinstance(step, Cancel):
                group.children[step.request_id].is_canceling = True
                self.out.emit(CancelRequest(now, step.request_id))
            elif now >= group.retry_ns:
                self._place(now, group, step.role, step.qty)
            else:
                retry_ns = group.retry_ns
        if retry_ns is not None:
            self.out.timer(group.id, retry_ns)
        self._judge(now, group, spec)
        self._tell(now, group)

    def _reopens(self, now: int, group: Group) -> bool:
        """A fill that came after the end: whoever has a position again is at work again."""
        if group.state is not GroupState.DONE or not group.open_qty:
            return False
        group.state, group.why = GroupState.PROTECTED, "late fill"
        if self.state.is_stopping or self.state.kill >= KillLevel.FLATTEN:
            group.state = GroupState.CLOSING
        elif self.state.kill >= KillLevel.CANCEL_ALL:
            group.state = GroupState.SUSPENDED
        self._incident(now, "group_late_fill", f"{group.id}: {group.open_qty} {group.instrument} after its end")
        self.state.active[group.id] = None
        return True

    def _judge(self, now: int, group: Group, spec: Instrument) -> None:
        is_entered = not group.working(Role.ENTRY)
        if group.state is GroupState.OPENING and is_entered:
            self._turn(group, GroupState.PROTECTED, group.why)
        if not group.is_idle or not is_entered:
            return
        open_qty, least = group.open_qty, max(spec.min_qty, spec.lot_size)
        if group.state in (GroupState.PROTECTED, GroupState.CLOSING, GroupState.SUSPENDED) and abs(open_qty) < least:
            if open_qty:
                self._incident(now, "group_residual", f"{group.id}: {open_qty} {group.instrument} is under {least}")
            group.state = GroupState.DONE
        if group.state in _ENDED:
            self._end(group)

    def _end(self, group: Group) -> None:
        state = self.state
        state.active.pop(group.id, None)
        self.out.cancel_timer(group.id)
        for name in list(state.groups) if len(state.groups) > self.config.keep_groups else ():
            if len(state.groups) <= self.config.keep_groups:
                break
            if name not in state.active and name != group.id:
                for request_id in state.groups.pop(name).children:
                    state.requests.pop(request_id, None)
                state.told.pop(name, None)

    def _place(self, now: int, group: Group, role: Role, qty: Decimal) -> None:
        request_id = f"{group.id}/{role}-{group.next_child}"
        group.next_child += 1
        group.children[request_id] = Child(role, qty)
        self.state.requests[request_id] = group.id
        if len(group.children) > self.config.keep_children:
            self._fold(group)
        self.out.emit(_request(now, group, request_id, role, qty))

    def _fold(self, group: Group) -> None:
        """Keep of the oldest final child only what it filled."""
        oldest = next((key for key, child in group.children.items() if child.is_final), None)
        if oldest is None:
            return
        child = group.children.pop(oldest)
        self.state.requests.pop(oldest, None)
        if child.role is Role.ENTRY:
            group.entered += child.filled
        else:
            group.exited += -child.filled if child.role is Role.CORRECTION else child.filled

    def _tell(self, now: int, group: Group) -> None:
        stop, target = group.working(Role.STOP), group.working(Role.TARGET)
        entered, exited = group.total_entered, group.total_exited
        said = f"{group.state}|{entered}|{exited}|{stop}|{target}"
        if self.state.told.get(group.id) != said:
            self.state.told[group.id] = said
            self.out.emit(
                GroupUpdate(now, group.id, group.strategy, group.state, entered, exited, stop, target, group.why)
            )

    def _incident(self, now: int, kind: str, text: str) -> None:
        self.out.emit(Incident(now, kind, "", text))


def _request(now: int, group: Group, request_id: str, role: Role, qty: Decimal) -> OrderRequest:
    """Return the order of one child. All but the entry reduce only; a correction reduces what exits overshot."""
    is_entry = role is Role.ENTRY
    type_, price, trigger, tif = OrderType.MARKET, None, None, TimeInForce.IOC
    if is_entry and group.entry_price is not None:
        type_, price, tif = OrderType.LIMIT, group.entry_price, group.tif
    elif role is Role.TARGET:
        type_, price, tif = OrderType.LIMIT, group.target_price, TimeInForce.GTC
    elif role is Role.STOP:
        type_ = OrderType.STOP_MARKET if group.stop_price is None else OrderType.STOP_LIMIT
        price, trigger, tif = group.stop_price, group.stop_trigger, TimeInForce.GTC
    return OrderRequest(
        now,
        request_id,
        group.strategy,
        "",
        group.account,
        group.instrument,
        group.side if is_entry or role is Role.CORRECTION else group.side.opposite,
        qty,
        type_,
        price,
        tif,
        reduce_only=not is_entry,
        position_side=group.position_side,
        is_hedge=not is_entry,
        trigger_price=trigger,
        trigger_on_mark=trigger is not None and group.trigger_on_mark,
        expire_ns=group.expire_ns if is_entry and price is not None else None,
        group_id=group.id,
    )
