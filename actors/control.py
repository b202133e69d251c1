"""What the processes of a daemon say to each other: desk, guard, and the people who steer them."""

from decimal import Decimal

from actors.messages import KillLevel
from venues.port import Lane, Message, message

GUARD_PREFIX = "gd-"
"""Begins the client ids of the guard's own orders."""


@message(lane=Lane.CONTROL)
class GuardStatus(Message):
    """What the desk knows of its guard: not up, nothing new is opened; in charge, nothing at all is sent.

    In charge means: the guard took the book over and flattens it by itself.
    """

    ts: int
    is_up: bool
    is_in_charge: bool = False
    why: str = ""


@message(lane=Lane.CONTROL)
class ClockOffset(Message):
    """How far a venue's clock was from ours, its less ours; said while that is too far, and once it is not any more."""

    ts: int
    venue: str
    offset_ns: int


@message(lane=Lane.CONTROL)
class AdminCall(Message):
    """A call on an admin socket, written down before it runs. `params` is canonical JSON, the ids are the kernel's."""

    ts: int
    role: str
    method: str
    params: str
    uid: int
    gid: int
    pid: int


@message(lane=Lane.CONTROL)
class AdminResult(Message):
    """What came of a call that may change something."""

    ts: int
    method: str
    is_ok: bool
    text: str


@message(lane=Lane.CONTROL)
class Acknowledge(Message):
    """A person has seen the alarms up to the event `number`, and with them those of the notifier in `refs`."""

    ts: int
    operator: str
    number: int
    reason: str = ""
    refs: tuple[str, ...] = ()


@message(lane=Lane.CONTROL)
class DeskHello(Message):
    """The desk's first words to its guard: which process it is, and which run, build and mode."""

    ts: int
    pid: int
    run: str
    build: str
    mode: str


@message(lane=Lane.CONTROL)
class Heartbeat(Message):
    """The desk is alive. `open_baskets` counts the baskets and brackets that still hold something."""

    ts: int
    number: int
    level: KillLevel
    is_reconciled: bool
    open_baskets: int


@message(lane=Lane.CONTROL)
class DeskBye(Message):
    """The desk leaves in order, nothing of it rests."""

    ts: int
    why: str


@message(lane=Lane.CONTROL)
class Baselines(Message):
    """Balances of `account` by asset that are not the desk's to sell: what was there beside its own spot positions."""

    ts: int
    account: str
    balances: dict[str, Decimal]


@message(lane=Lane.CONTROL)
class GuardState(Message):
    """The guard's latch: said on connecting, on every change, and in answer to the heartbeat `number`.

    In `dead_man_ns` the venues cancel by themselves unless the guard tells them again; None when that is not armed.
    """

    ts: int
    number: int
    level: KillLevel
    trigger: str
    why: str
    is_in_charge: bool
    dead_man_ns: int | None = None
