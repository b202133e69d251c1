"""What the order executor remembers of its parents, and how it is configured."""

from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.executions import OVER, ExecutionIntent, ExecutionMode, ExecutionReason, ExecutionState, Rung, SlippageAlert
from actors.flags import Flag
from actors.ladder import Caps, LadderConfig, Stage
from actors.messages import KillLevel
from actors.recent import Recent
from actors.slippage import SlippageConfig
from venues.costs.shortfall import Execution
from venues.model.instrument import Instrument
from venues.model.money import ZERO


@frozen
class OrderExecutorConfig:
    """Durations in ns. After a refusal, or where the market is beyond the cap, it looks again in `retry_ns`.

    A parent ends after `misses_max` refusals in a row and `orders_max` orders in all. The mid is noted every
    `sample_ns`. A withdrawal without an answer for `stuck_ns` is an incident. `keep_parents` that are over are kept for
    fills that come late, `keep_ids` ids so that none begins twice.
    """

    ladder: LadderConfig = field(factory=LadderConfig)
    slippage: SlippageConfig = field(factory=SlippageConfig)
    retry_ns: int = field(default=600_000_000, validator=positive)
    misses_max: int = field(default=5, validator=positive)
    orders_max: int = field(default=64, validator=positive)
    sample_ns: int = field(default=1_000_000_000, validator=positive)
    stuck_ns: int = field(default=30_000_000_000, validator=positive)
    keep_parents: int = field(default=1_000, validator=positive)
    keep_ids: int = field(default=100_000, validator=positive)


@define
class ChildOrder:
    """One order of a parent. A denied one is final with a quantity of zero: it never left."""

    stage: Stage
    ticks: int
    qty: Decimal
    filled: Decimal = ZERO
    is_final: bool = False
    canceled_ns: int | None = None


@define
class Means:
    """Sums for the benchmarks: mids (bid + ask, ticks) at even intervals, public trades in lots and ticks x lots."""

    mids: int = 0
    samples: int = 0
    next_ns: int = 0
    traded: int = 0
    cost: int = 0


@define
class ParentOrder:
    """One parent at work or over. `bid` and `ask` are ticks at arrival, None before the first look at the book.

    `ending` is set once it must come to an end: then what is out is withdrawn and nothing more is sent. `depth_ref` is
    the look at the book it waits for before its next order. `last_mids` is the last bid + ask seen.
    """

    intent: ExecutionIntent
    state: ExecutionState = ExecutionState.LOOKING
    children: dict[str, ChildOrder] = field(factory=dict)
    mode_used: ExecutionMode | None = None
    plan: tuple[Stage, ...] = ()
    rung: Rung | None = None
    bid: int | None = None
    ask: int | None = None
    arrival_ns: int | None = None
    expected_bps: Decimal | None = None
    limit: int | None = None
    filled: Decimal = ZERO
    fills: list[Execution] = field(factory=list)
    fees: dict[str, Decimal] = field(factory=dict)
    filled_ns: int | None = None
    last_mids: int | None = None
    last_ticks: int | None = None
    means: Means = field(factory=Means)
    depth_ref: str = ""
    retry_at: int = 0
    misses: int = 0
    ending: ExecutionReason | None = None
    why: str = ""
    is_stuck: bool = False
    alert: SlippageAlert | None = None

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def left(self) -> Decimal:
        return max(ZERO, self.intent.qty - self.filled)

    @property
    def committed(self) -> Decimal:
        """What has been filled and what orders that are out may fill yet."""
        out = (max(child.qty, child.filled) - child.filled for child in self.children.values() if not child.is_final)
        return self.filled + sum(out, ZERO)

    def pending(self) -> list[tuple[str, ChildOrder]]:
        """Return the children that may still fill, by request id."""
        return [(request_id, child) for request_id, child in self.children.items() if not child.is_final]

    def caps(self) -> Caps:
        assert self.bid is not None
        assert self.ask is not None
        return Caps(self.intent.side, self.bid + self.ask, self.limit, self.intent.max_slippage_bps)

    def book(self, qty: Decimal, price: Decimal, now: int, *, is_maker: bool) -> None:
        self.filled += qty
        self.fills.append(Execution(qty, price, is_maker))
        self.filled_ns = now


@define
class OrderExecutorState:
    """`children` names the parent of every request id, `refs` that of every look at a book, `open` is by instrument."""

    parents: dict[str, ParentOrder] = field(factory=dict)
    children: dict[str, str] = field(factory=dict)
    refs: dict[str, str] = field(factory=dict)
    open: dict[str, list[str]] = field(factory=dict)
    over: dict[str, None] = field(factory=dict)
    ids: Recent = field(factory=Recent)
    live: dict[str, bool] = field(factory=dict)
    kill_level: KillLevel = KillLevel.ARMED
    is_stopping: bool = False
    flags: dict[str, Flag] = field(factory=dict)
    next_ref: int = 0


def whole_lots(spec: Instrument, qty: Decimal) -> int:
    """Return how many whole lots a positive quantity holds."""
    return int(qty // spec.lot_size)
