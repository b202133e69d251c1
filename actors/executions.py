"""What strategies and the order executor say to each other about a parent order."""

from decimal import Decimal
from enum import StrEnum

from attrs import field, frozen

from venues.costs.shortfall import Attribution, Quality, Shortfall
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import Message, message


class ExecutionMode(StrEnum):
    """LIMIT_ONLY rests and times out; LIMIT_WITH_FALLBACK climbs the whole ladder; MARKET_ONLY crosses at once.

    ADAPTIVE is one of the others, as the liquidity report recommends.
    """

    LIMIT_ONLY = "limit_only"
    LIMIT_WITH_FALLBACK = "limit_with_fallback"
    MARKET_ONLY = "market_only"
    ADAPTIVE = "adaptive"


class Rung(StrEnum):
    """JOIN rests at the touch, STEP rests ticks inside the spread, CROSS takes up to a cap, MARKET up to protection."""

    JOIN = "join"
    STEP = "step"
    CROSS = "cross"
    MARKET = "market"


class ExecutionState(StrEnum):
    """LOOKING: no order is out; WORKING: one is; CANCELING: it is being withdrawn, nothing else may be sent.

    FILLED is all of it, ENDED less, DENIED was refused before its first order.
    """

    LOOKING = "looking"
    WORKING = "working"
    CANCELING = "canceling"
    FILLED = "filled"
    ENDED = "ended"
    DENIED = "denied"


OVER = frozenset({ExecutionState.FILLED, ExecutionState.ENDED, ExecutionState.DENIED})


class ExecutionReason(StrEnum):
    """Why a parent was denied, or ended with less than all of it."""

    BAD_PARAMETER = "bad_parameter"
    DUPLICATE = "duplicate"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    OFF_LOT = "off_lot"
    SIZE_LIMIT = "size_limit"
    STOPPING = "stopping"
    KILLED = "killed"
    FLAG = "flag"
    NO_BOOK = "no_book"
    NO_REFERENCE = "no_reference"
    LIQUIDITY = "liquidity"
    EXPECTED_SLIPPAGE = "expected_slippage"
    LIMIT_PRICE = "limit_price"
    ORDERS_DENIED = "orders_denied"
    ORDERS_REJECTED = "orders_rejected"
    ORDERS_MAX = "orders_max"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    RESIDUAL = "residual"


class SlippageAlert(StrEnum):
    HIGH = "high"
    CRITICAL = "critical"


@message(frozen=True)
class ExecutionIntent(Message):
    """Trade `qty` of one instrument. `parent_id` is unique in the run; it names every order that is sent for it.

    No order is ever worse than `limit_price`, nor than `max_slippage_bps` from the mid at arrival. After
    `time_budget_ns` what rested gives way to what takes (LIMIT_ONLY: ends). `decision_price` is the mid the strategy
    decided on. What is None is as the executor is configured; both prices then are none.
    """

    ts: int
    parent_id: str
    strategy: str
    account: str
    instrument: str
    side: Side
    qty: Decimal
    mode: ExecutionMode = ExecutionMode.ADAPTIVE
    limit_price: Decimal | None = None
    max_slippage_bps: Decimal | None = None
    time_budget_ns: int | None = None
    reduce_only: bool = False
    position_side: PositionSide = PositionSide.BOTH
    decision_price: Decimal | None = None


@message()
class CancelExecution(Message):
    """End a parent: what rests is withdrawn, nothing more is sent."""

    ts: int
    parent_id: str


@frozen
class Benchmarks:
    """Slippage in bps against the mid at arrival, and against means over the execution; None for what was not seen.

    `twap_bps` takes mids at even intervals, `vwap_bps` public trades, which feed handlers publish when told to.
    """

    arrival_bps: Decimal | None = None
    twap_bps: Decimal | None = None
    vwap_bps: Decimal | None = None


@message()
class ExecutionReport(Message):
    """What became of a parent, told when it is over and again for every fill that comes later (`is_amended`).

    `filled_qty` may exceed `qty`: fills are booked, whatever was asked for. `mode_used` is what ADAPTIVE came to, None
    when it came to nothing; `rung` the last one an order was sent on. `started_ns` is the intent, `arrival_ns` the
    first look at the book, `filled_ns` the last fill. `expected_bps` is what taking everything at arrival would have
    cost by the book, None when the book held less. Fees are by asset, negative when received.
    """

    ts: int
    parent_id: str
    strategy: str
    account: str
    instrument: str
    side: Side
    qty: Decimal
    state: ExecutionState
    mode: ExecutionMode
    mode_used: ExecutionMode | None = None
    rung: Rung | None = None
    reason: ExecutionReason | None = None
    why: str = ""
    filled_qty: Decimal = ZERO
    average_price: Decimal | None = None
    decision_price: Decimal | None = None
    arrival_bid: Decimal | None = None
    arrival_ask: Decimal | None = None
    end_price: Decimal | None = None
    started_ns: int = 0
    arrival_ns: int | None = None
    filled_ns: int | None = None
    orders: int = 0
    fees: dict[str, Decimal] = field(factory=dict)
    expected_bps: Decimal | None = None
    benchmarks: Benchmarks = Benchmarks()
    quality: Quality | None = None
    attribution: Attribution | None = None
    shortfall: Shortfall | None = None
    alert: SlippageAlert | None = None
    is_amended: bool = False


__all__ = [
    "OVER",
    "Benchmarks",
    "CancelExecution",
    "ExecutionIntent",
    "ExecutionMode",
    "ExecutionReason",
    "ExecutionReport",
    "ExecutionState",
    "Rung",
    "SlippageAlert",
]
