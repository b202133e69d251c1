"""What the guard and the process around it say to each other, beside the words of `actors.control`.

Inputs come from the process: who left, what was fenced, what the journal took. Effects go to it and never to a venue.
"""

from decimal import Decimal

from actors.messages import KillLevel
from venues.port import Lane, Message, message

# Inputs


@message(lane=Lane.CONTROL)
class DeskGone(Message):
    """The desk's connection ended. Without a DeskBye before it, the desk counts as silent from its last heartbeat."""

    ts: int
    why: str


@message(lane=Lane.CONTROL)
class DeskKill(Message):
    """The desk pulled its own kill switch, or an operator did through it."""

    ts: int
    operator: str
    level: KillLevel
    reason: str


@message(lane=Lane.CONTROL)
class PanicCommand(Message):
    """A person wants the book flat and the desk not trusted with it: the guard takes over at once."""

    ts: int
    operator: str
    reason: str


@message(lane=Lane.CONTROL)
class Fenced(Message):
    """The answer to Fence. `is_dead` is proven: the process is gone, not only told to go."""

    ts: int
    pid: int
    is_dead: bool
    why: str = ""


@message(lane=Lane.CONTROL)
class LatchWritten(Message):
    """The lowering of the latch to `level` is on the disk: now it counts."""

    ts: int
    level: KillLevel


@message(lane=Lane.CONTROL)
class JournalFailed(Message):
    """The journal could not be written. Whatever was raised stays raised; nothing is lowered from here on."""

    ts: int
    why: str


@message(lane=Lane.CONTROL)
class MarketPace(Message):
    """The venues' time runs `numerator / denominator` times as fast as the guard's; a `numerator` of 0: in steps."""

    ts: int
    numerator: int
    denominator: int


# Effects


@message(lane=Lane.CONTROL)
class Latched(Message):
    """The latch moves from `before` to `level`; to be written down before anything that follows it."""

    ts: int
    level: KillLevel
    before: KillLevel
    trigger: str
    operator: str
    reason: str


@message(lane=Lane.CONTROL)
class Charge(Message):
    """The guard takes the book over, or gives it back; to be written down before anything that follows it."""

    ts: int
    is_in_charge: bool
    why: str


@message(lane=Lane.CONTROL)
class Targets(Message):
    """Balances of `account` to which its spot assets are brought; written down, for a restart must not choose anew."""

    ts: int
    account: str
    balances: dict[str, Decimal]


@message(lane=Lane.CONTROL)
class Fence(Message):
    """End the process `pid` (SIGKILL) and answer Fenced: a desk that comes back to itself must not trade any more."""

    ts: int
    pid: int
    why: str


@message(lane=Lane.CONTROL)
class ArmRefused(Message):
    """The latch stays; said to whoever asked."""

    ts: int
    operator: str
    why: str
