"""What the risk gate remembers: positions with what may still change them, baskets, the last good prices."""

from decimal import Decimal

from attrs import define, field

from actors.messages import KillLevel, OrderRequest
from actors.parents import Parents
from actors.recent import Recent
from actors.sessions import SessionState
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side

_BOTH = PositionSide.BOTH


@define
class Held:
    """A position as the ledger booked it, with the fills of this moment that it has yet to book, oldest first.

    The ledger answers every fill with one PositionUpdate before the next input; what it left unanswered by then it
    refused (a repeated fill).
    """

    instrument: str
    position_side: PositionSide
    booked: Decimal = ZERO
    unbooked: list[Decimal] = field(factory=list)
    unbooked_ns: int = 0

    def count(self, now: int, change: Decimal) -> None:
        if now != self.unbooked_ns:
            self.unbooked.clear()
        self.unbooked.append(change)
        self.unbooked_ns = now

    def book(self, qty: Decimal) -> None:
        self.booked = qty
        del self.unbooked[:1]

    def qty(self, now: int) -> Decimal:
        return self.booked + sum(self.unbooked, ZERO) if now == self.unbooked_ns else self.booked

    def worst(self, now: int, buys: Decimal, sells: Decimal) -> Decimal:
        """Return the largest |quantity| the position can come to when any part of the orders fills."""
        qty = self.booked if now != self.unbooked_ns else self.qty(now)
        high, low = qty + buys, qty - sells
        if self.position_side is _BOTH:
            return max(abs(high), abs(low))
        return max(high if self.position_side is PositionSide.LONG else -low, ZERO)


@define
class InFlight:
    """An order approved, or found at the venue, and not final."""

    key: str
    side: Side
    qty: Decimal
    basket_id: str
    filled: Decimal = ZERO

    @property
    def leaves(self) -> Decimal:
        return max(ZERO, self.qty - self.filled)


@define
class KnownLeg:
    """A leg of a basket; `filled` counts in the leg's direction, unwinding and closing baskets take from it."""

    key: str
    side: Side
    qty: Decimal
    filled: Decimal = ZERO


@define
class KnownBasket:
    """A basket that passed pre-flight, or one that closes such a basket.

    `is_reserved`: what its legs have yet to trade counts as exposure. `is_active`: its executor is at work on it.
    """

    legs: list[KnownLeg]
    closes: str = ""
    is_reserved: bool = False
    is_active: bool = False


@define
class Touch:
    """The last good view of a book: sum of best bid and ask in ticks, and when it came.

    `sample` and `before` are the sums at the last two samples, `low` and `high` the prices that the period's collar
    around both leaves.
    """

    ts: int
    ticks: int
    sample: int = 0
    before: int = 0
    low: Decimal = ZERO
    high: Decimal = ZERO


@define
class Stopped:
    """How much of a strategy, an account or a venue is stopped, and why."""

    level: KillLevel
    why: str


@define
class RiskState:
    """`executions` are the times of each strategy's by its name, `halts` what is stopped by `halts.key_of`.

    `dead_men` says by `dead_man_words.key_of` until when the venue would cancel by itself, `waiting` holds the orders
    that may not rest before it does.
    """

    positions: dict[str, Held] = field(factory=dict)
    orders: dict[str, InFlight] = field(factory=dict)
    baskets: dict[str, KnownBasket] = field(factory=dict)
    touches: dict[str, Touch] = field(factory=dict)
    feeds_down: dict[str, str] = field(factory=dict)
    venues_down: dict[str, dict[str, str]] = field(factory=dict)
    unreconciled: dict[str, str] = field(factory=dict)
    kill: KillLevel = KillLevel.ARMED
    is_stopping: bool = False
    is_backlogged: bool = False
    guard_why: str = ""
    is_guard_in_charge: bool = False
    tightened: dict[str, dict[str, Decimal]] = field(factory=dict)
    sent_ns: list[int] = field(factory=list)
    repeats: dict[str, int] = field(factory=dict)
    ids: Recent = field(factory=Recent)
    approved: int = 0
    denied: int = 0
    sessions: SessionState = field(factory=SessionState)
    next_sample_ns: int = 0
    executions: dict[str, list[int]] = field(factory=dict)
    halts: dict[str, Stopped] = field(factory=dict)
    dead_men: dict[str, int] = field(factory=dict)
    waiting: dict[str, list[OrderRequest]] = field(factory=dict)
    parents: Parents = field(factory=Parents)
