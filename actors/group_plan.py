"""Decides which orders a group needs now: how much stop and target its position asks for, and what to take back.

A pure function of the group. Per exit the working quantity is brought to what is open: what lacks is placed, what is
too much is cancelled and placed again once the venue has confirmed how much of it is over.
"""

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum

from attrs import define, field, frozen

from actors.group_messages import GroupState
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side, TimeInForce


class Role(StrEnum):
    """CLOSE takes the position off at market, CORRECTION what exits took too much."""

    ENTRY = "entry"
    STOP = "stop"
    TARGET = "target"
    CLOSE = "close"
    CORRECTION = "correction"


EXITS = (Role.STOP, Role.TARGET)
_OUT = (Role.STOP, Role.TARGET, Role.CLOSE)


@define
class Child:
    """One order of a group. `is_canceling`: we want it gone; it counts until the venue says it is final."""

    role: Role
    qty: Decimal
    filled: Decimal = ZERO
    is_final: bool = False
    is_canceling: bool = False

    @property
    def leaves(self) -> Decimal:
        return ZERO if self.is_final else max(ZERO, self.qty - self.filled)


@define
class Group:
    """`side` is the position's. `held` is a position that was there before (OCO). `entered` and `exited` are what
    children no longer kept had filled. `given_up` are exits that are not tried any more. `is_netted`: other trades of
    the account leave less of the position than is open here."""

    id: str
    strategy: str
    account: str
    instrument: str
    side: Side
    position_side: PositionSide
    qty: Decimal
    stop_trigger: Decimal
    target_price: Decimal
    stop_price: Decimal | None
    trigger_on_mark: bool
    entry_price: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC
    expire_ns: int | None = None
    held: Decimal = ZERO
    state: GroupState = GroupState.OPENING
    children: dict[str, Child] = field(factory=dict)
    next_child: int = 1
    entered: Decimal = ZERO
    exited: Decimal = ZERO
    failures: dict[Role, int] = field(factory=dict)
    given_up: list[Role] = field(factory=list)
    retry_ns: int = 0
    is_netted: bool = False
    why: str = ""

    def filled(self, roles: Iterable[Role]) -> Decimal:
        return sum((child.filled for child in self.children.values() if child.role in roles), ZERO)

    def working(self, *roles: Role) -> Decimal:
        """Return what orders of these roles may still fill, cancels under way included."""
        return sum((child.leaves for child in self.children.values() if child.role in roles), ZERO)

    @property
    def total_entered(self) -> Decimal:
        return self.held + self.entered + self.filled((Role.ENTRY,))

    @property
    def total_exited(self) -> Decimal:
        """What exits have taken, less what corrections gave back."""
        return self.exited + self.filled(_OUT) - self.filled((Role.CORRECTION,))

    @property
    def open_qty(self) -> Decimal:
        """What is left of the position; negative when exits took too much."""
        return self.total_entered - self.total_exited

    @property
    def is_idle(self) -> bool:
        return all(child.is_final for child in self.children.values())


@frozen
class Place:
    role: Role
    qty: Decimal


@frozen
class Cancel:
    request_id: str


Step = Place | Cancel


def steps(group: Group, spec: Instrument, room: Decimal) -> list[Step]:
    """Return what is to be done now. `room` is how much of the position is really there for this group."""
    open_qty = group.open_qty
    found: list[Step] = []
    if group.state is not GroupState.OPENING:
        found += _cancels(group, Role.ENTRY, ZERO)
    is_exiting = group.state in (GroupState.OPENING, GroupState.PROTECTED)
    want = min(open_qty, room) if is_exiting and open_qty > ZERO else ZERO
    for role in EXITS:
        found += _towards(group, role, ZERO if role in group.given_up else want, spec)
    if group.state is GroupState.CLOSING and open_qty > ZERO:
        # Only what no exit may still take: a fill racing its cancel must not be closed twice.
        lack = min(open_qty, room) - group.working(*_OUT)
        if lack >= max(spec.min_qty, spec.lot_size):
            found.append(Place(Role.CLOSE, lack))
    if open_qty < ZERO and Role.CORRECTION not in group.given_up:
        # What exits still take would have to be corrected as well: they are cancelled above.
        lack = -open_qty - group.working(Role.CORRECTION)
        if lack >= max(spec.min_qty, spec.lot_size) and not group.working(*_OUT):
            found.append(Place(Role.CORRECTION, lack))
    return found


def _towards(group: Group, role: Role, want: Decimal, spec: Instrument) -> list[Step]:
    gap = want - group.working(role)
    if gap < ZERO:
        return _cancels(group, role, want)
    least = max(spec.min_qty, spec.lot_size)
    if gap >= least:
        return [Place(role, gap)]
    if gap > ZERO:
        # Too little for an order of its own: it goes together with the newest one.
        newest = next((key for key in reversed(group.children) if _is_steady(group.children[key], role)), None)
        if newest is not None and not _is_being_cancelled(group, role):
            return [Cancel(newest)]
    return []


def _cancels(group: Group, role: Role, want: Decimal) -> list[Step]:
    """Return cancels of the newest orders until no more than `want` is left working."""
    steady = {key: child for key, child in group.children.items() if _is_steady(child, role)}
    left = sum((child.leaves for child in steady.values()), ZERO)
    found: list[Step] = []
    for key in reversed(steady):
        if left <= want:
            break
        left -= steady[key].leaves
        found.append(Cancel(key))
    return found


def _is_being_cancelled(group: Group, role: Role) -> bool:
    return any(c.role is role and c.is_canceling and c.leaves for c in group.children.values())


def _is_steady(child: Child, role: Role) -> bool:
    return child.role is role and not child.is_final and not child.is_canceling
