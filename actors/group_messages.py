"""What is said about orders that belong together and orders that start later."""

from decimal import Decimal
from enum import StrEnum

from actors.messages import OrderRequest
from venues.model.order import PositionSide, Side, TimeInForce
from venues.port import Message, message


@message()
class BracketRequest(Message):
    """Enter, and hold a stop and a target once and as far as the entry has filled. `side` is the entry's.

    `entry_price` None enters at market. The stop sells (buys back) at market at `stop_trigger`, or from there on at
    `stop_price` or better; the target rests at `target_price`. Both only ever reduce.
    """

    ts: int
    group_id: str
    strategy: str
    account: str
    instrument: str
    side: Side
    qty: Decimal
    stop_trigger: Decimal
    target_price: Decimal
    entry_price: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC
    expire_ns: int | None = None
    stop_price: Decimal | None = None
    trigger_on_mark: bool = False
    position_side: PositionSide = PositionSide.BOTH


@message()
class OcoRequest(Message):
    """Hold a stop and a target over `qty` of a position that is there already.

    `side` is the position's: BUY is long.
    """

    ts: int
    group_id: str
    strategy: str
    account: str
    instrument: str
    side: Side
    qty: Decimal
    stop_trigger: Decimal
    target_price: Decimal
    stop_price: Decimal | None = None
    trigger_on_mark: bool = False
    position_side: PositionSide = PositionSide.BOTH


@message()
class GroupCommand(Message):
    """Cancel what the group has working; with `closes` also close its position at market, else it is left open."""

    ts: int
    group_id: str
    closes: bool = True


class GroupState(StrEnum):
    """OPENING: the entry may still fill. PROTECTED: it is over. SUSPENDED: nothing may rest at the kill level.

    CLOSING: the position is being closed at market. RELEASED: cancelled, and the position left to its owner.
    """

    OPENING = "opening"
    PROTECTED = "protected"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    DONE = "done"
    RELEASED = "released"
    DENIED = "denied"
    BROKEN = "broken"


@message()
class GroupUpdate(Message):
    """A group changed. `entered` and `exited` are filled quantities; `stop` and `target` rest now."""

    ts: int
    group_id: str
    strategy: str
    state: GroupState
    entered: Decimal
    exited: Decimal
    stop: Decimal
    target: Decimal
    why: str = ""


@message()
class ScheduleOrder(Message):
    """Ask for `request` at `not_before_ns`; not at all once `not_after_ns` has passed (None: however late)."""

    ts: int
    request: OrderRequest
    not_before_ns: int
    not_after_ns: int | None = None


@message()
class CancelScheduled(Message):
    """Forget an order that has not started. One that has is cancelled as every other."""

    ts: int
    request_id: str


class ScheduleState(StrEnum):
    WAITING = "waiting"
    STARTED = "started"
    CANCELED = "canceled"
    DROPPED = "dropped"
    REFUSED = "refused"


@message()
class ScheduleUpdate(Message):
    """What became of a scheduled order; once STARTED it has a life of its own."""

    ts: int
    request_id: str
    strategy: str
    state: ScheduleState
    why: str = ""
