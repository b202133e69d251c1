"""What actors of a cell say to each other. Commands and reports of venues are in `venues.port`."""

from decimal import Decimal
from enum import IntEnum, StrEnum

from attrs import frozen

from actors.dispatcher import View
from venues.model.book import Level
from venues.model.fill import Fill
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from venues.port import Lane, Message, RejectReason, message

MARKET_CHANNEL = "market"
"""The channel of VenueUp and VenueDown whose loss says nothing about orders and accounts."""

# Market views


@message(lane=Lane.VIEWS)
class BookView(View):
    """Best bid and ask of a healthy local book, in ticks and lots."""

    ts: int
    instrument: str
    bid: int
    bid_lots: int
    ask: int
    ask_lots: int

    @property
    def key(self) -> str:
        return self.instrument


@message(lane=Lane.VIEWS)
class TradeView(View):
    """Trades since the last view: lots by (price in ticks, aggressor)."""

    ts: int
    instrument: str
    lots: dict[tuple[int, Side], int]

    @property
    def key(self) -> str:
        return self.instrument

    def over(self, waiting: "TradeView") -> "TradeView":
        summed = dict(waiting.lots)
        for level, lots in self.lots.items():
            summed[level] = summed.get(level, 0) + lots
        return TradeView(self.ts, self.instrument, summed)


@message()
class FeedStatus(Message):
    """Whether the local book of `instrument` can be traded on; sent on every change. `why` is empty when live."""

    ts: int
    instrument: str
    is_live: bool
    why: str = ""


@message()
class DepthRequest(Message):
    """Ask the feed handler for the best `levels` of both sides. `ref` comes back in the DepthReply."""

    ts: int
    ref: str
    instrument: str
    levels: int


@message()
class DepthReply(Message):
    """Depth, best first, in ticks and lots; both sides empty and `is_live` False when the book is not healthy."""

    ts: int
    ref: str
    instrument: str
    is_live: bool
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()


# Baskets


class BasketState(StrEnum):
    PLANNED = "planned"
    RESERVED = "reserved"
    WORKING = "working"
    HEDGING = "hedging"
    BALANCED = "balanced"
    UNWINDING = "unwinding"
    FLAT = "flat"
    BROKEN = "broken"
    DENIED = "denied"


@frozen
class BasketLeg:
    """One leg: positive `qty` in the instrument's quantity units. `limit_price` caps what may be paid or taken."""

    account: str
    instrument: str
    side: Side
    qty: Decimal
    reduce_only: bool = False
    position_side: PositionSide = PositionSide.BOTH
    limit_price: Decimal | None = None


class Placement(StrEnum):
    """How a basket's legs are placed.

    SIMULTANEOUS sends all at once. SEQUENTIAL sends one leg of each base asset first, the others by what it fills.
    MAKER_TAKER quotes that leg post-only at the touch; what it fills is taken at once on the others.
    """

    SIMULTANEOUS = "simultaneous"
    SEQUENTIAL = "sequential"
    MAKER_TAKER = "maker_taker"


@message()
class BasketIntent(Message):
    """Trade all legs as one. `closes` names the basket this one takes off again.

    `max_slippage_bps` bounds each leg against its touch at placement; `risk_budget` is quote notional x seconds that
    the basket may be unbalanced, `loss_budget` what it may have lost at the mids while it is, in quote; `deadline_ns`
    is how long it may take in all. With `is_ordered` the first leg of a base asset leads, else the one that books and
    experience say will fill worst. `edge_bps` is what the trade is expected to earn of its notional before the fees
    still to be paid (funding included): unwinding gives it up. None: as much as those fees.
    """

    ts: int
    basket_id: str
    strategy: str
    legs: tuple[BasketLeg, ...]
    closes: str | None = None
    max_slippage_bps: Decimal = Decimal(10)
    risk_budget: Decimal = Decimal(1_000_000)
    deadline_ns: int = 30_000_000_000
    placement: Placement = Placement.SIMULTANEOUS
    is_ordered: bool = False
    loss_budget: Decimal | None = None
    edge_bps: Decimal | None = None


class Checker(StrEnum):
    """Who must agree before a basket's first order: all of them, each once."""

    RISK = "risk"
    MARGIN = "margin"
    LIQUIDITY = "liquidity"
    GUARDS = "guards"
    RATE = "rate"


@message()
class PreflightRequest(Message):
    """Ask every Checker about a whole basket; a yes reserves what the basket needs.

    `makers` are the legs, by index, that will only be quoted: nothing is taken from their books.
    """

    ts: int
    basket_id: str
    strategy: str
    legs: tuple[BasketLeg, ...]
    max_slippage_bps: Decimal
    closes: str | None = None
    makers: tuple[int, ...] = ()


@message()
class PreflightReply(Message):
    ts: int
    basket_id: str
    checker: Checker
    is_ok: bool
    reasons: tuple[str, ...] = ()


@message()
class ReservationReleased(Message):
    """The basket needs its reservations no more (it ended, or another checker refused)."""

    ts: int
    basket_id: str


@message()
class BasketUpdate(Message):
    """A basket changed state. `filled` are the signed quantities per leg, in leg order.

    `unhedged` is the quote notional by which the legs now differ beyond the residual.
    """

    ts: int
    basket_id: str
    strategy: str
    state: BasketState
    filled: tuple[Decimal, ...]
    unhedged: Decimal = ZERO
    closes: str | None = None
    why: str = ""


@message()
class Incident(Message):
    """Something a person must be able to read about later: what happened, to which basket, at what cost (quote)."""

    ts: int
    kind: str
    basket_id: str
    text: str
    cost: Decimal | None = None


# Orders


@message()
class OrderRequest(Message):
    """An order somebody wants. `request_id` is unique in the run; `is_hedge` marks orders that reduce risk.

    `trigger_price` (and `trigger_on_mark`) only for orders that wait for it, `expire_ns` only for GTD. `parent_id`
    names the execution whose slice this is, `group_id` the bracket or pair that asks for it.
    """

    ts: int
    request_id: str
    strategy: str
    basket_id: str
    account: str
    instrument: str
    side: Side
    qty: Decimal
    type: OrderType = OrderType.LIMIT
    price: Decimal | None = None
    tif: TimeInForce = TimeInForce.IOC
    reduce_only: bool = False
    position_side: PositionSide = PositionSide.BOTH
    is_hedge: bool = False
    trigger_price: Decimal | None = None
    trigger_on_mark: bool = False
    expire_ns: int | None = None
    parent_id: str = ""
    group_id: str = ""


@message()
class OrderApproved(Message):
    """The risk gate let the request through; it counts towards the limits from now on."""

    ts: int
    request: OrderRequest


@message()
class OrderDenied(Message):
    """The risk gate refused. Every reason that applies is named."""

    ts: int
    request: OrderRequest
    reasons: tuple[str, ...]


@message()
class CancelRequest(Message):
    ts: int
    request_id: str


@message()
class OrderSent(Message):
    """An approved order is on its way to the venue. What becomes of it comes as OrderUpdate."""

    ts: int
    request_id: str
    account: str
    instrument: str


@message()
class OrderUpdate(Message):
    """An order changed. Sent for every status change after its OrderSent, and for every fill after its FillEvent.

    `is_final` says that the status is terminal and every fill of the venue's total has been seen.
    """

    ts: int
    request_id: str
    strategy: str
    basket_id: str
    client_order_id: str
    account: str
    instrument: str
    side: Side
    qty: Decimal
    status: OrderStatus
    filled_qty: Decimal
    is_final: bool
    reduce_only: bool = False
    reject_reason: RejectReason | None = None
    why: str = ""


@message()
class FillEvent(Message):
    """One fill, seen once. `request_id`, `strategy` and `basket_id` are empty for a fill of no order of ours."""

    ts: int
    request_id: str
    strategy: str
    basket_id: str
    fill: Fill


# Positions, margin, funding


@message()
class PositionUpdate(Message):
    """Our own book of one position after a change: signed quantity, average entry (None when flat)."""

    ts: int
    account: str
    instrument: str
    position_side: PositionSide
    qty: Decimal
    entry_price: Decimal | None
    realized_pnl: Decimal


@message()
class WalletUpdate(Message):
    """Our own book of one wallet balance after a change; sent for every initial balance at the start."""

    ts: int
    account: str
    asset: str
    balance: Decimal


@message()
class PnlUpdate(Message):
    """Profit of all accounts since the start, in quote money; net = realized - fees + funding + unrealized.

    `unmarked` names instruments and assets that could not be valued: the numbers leave them out.
    """

    ts: int
    realized: Decimal
    fees: Decimal
    funding: Decimal
    unrealized: Decimal
    unmarked: tuple[str, ...] = ()


@message()
class RoundTrip(Message):
    """A basket was taken off again: its profit after fees and with the funding of its life, in quote money.

    `unmarked` names assets that could not be valued: `pnl` leaves them out.
    """

    ts: int
    basket_id: str
    strategy: str
    pnl: Decimal
    unmarked: tuple[str, ...] = ()


class MismatchKind(StrEnum):
    """How our book and the venue's may differ. Each kind has its resolution in the synchronizer's table."""

    QUANTITY = "quantity"
    CLOSED_EXTERNALLY = "closed_externally"
    UNKNOWN_POSITION = "unknown_position"
    SIDE_FLIP = "side_flip"
    ENTRY_DRIFT = "entry_drift"
    LEVERAGE = "leverage"
    LIQUIDATED = "liquidated"
    DELEVERAGED = "deleveraged"
    MARGIN_MODE = "margin_mode"
    POSITION_MODE = "position_mode"
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    WALLET_DRIFT = "wallet_drift"


@message()
class PositionMismatch(Message):
    """Our book and the venue's differ. `instrument` is the asset for a wallet, empty for a whole account."""

    ts: int
    account: str
    instrument: str
    position_side: PositionSide
    kind: MismatchKind
    ours: Decimal
    theirs: Decimal
    resolution: str


@message()
class Reconciled(Message):
    """Our book of `account` agreed with a complete answer of the venue at `ts`."""

    ts: int
    account: str


class MarginLevel(StrEnum):
    HEALTHY = "healthy"
    WARNING = "warning"
    DANGER = "danger"
    CRITICAL = "critical"
    LIQUIDATION = "liquidation"
    UNKNOWN = "unknown"


@message()
class MarginState(Message):
    """An account's margin changed level. `coverage` is margin balance / maintenance margin, None without a position."""

    ts: int
    account: str
    level: MarginLevel
    margin_balance: Decimal
    maintenance: Decimal
    coverage: Decimal | None


@message()
class FundingState(Message):
    """Running funding of one perpetual: expected at `next_ns`, paid so far (signed, positive received).

    `interval_ns` is None until two instants were seen. Not `is_known` when the venue told a rate that cannot be
    meant: `rate` is the last one that could then.
    """

    ts: int
    instrument: str
    rate: Decimal
    next_ns: int | None
    expected: Decimal
    paid: Decimal
    interval_ns: int | None = None
    is_known: bool = True


# Control


class KillLevel(IntEnum):
    """How much is stopped; each level includes the ones before it."""

    ARMED = 0
    REDUCE_ONLY = 1
    CANCEL_ALL = 2
    FLATTEN = 3


@message()
class KillTrigger(Message):
    """An actor asks the kill switch for at least `level`."""

    ts: int
    trigger: str
    level: KillLevel
    why: str


@message(lane=Lane.CONTROL)
class KillCommand(Message):
    """A person asks for at least `level`."""

    ts: int
    operator: str
    level: KillLevel
    reason: str


@message(lane=Lane.CONTROL)
class ArmCommand(Message):
    """A person releases the latch, with a reason."""

    ts: int
    operator: str
    reason: str


@message()
class KillState(Message):
    """The kill switch's level after a change; `trigger` and `why` say what raised or released it."""

    ts: int
    level: KillLevel
    trigger: str
    why: str


@message(lane=Lane.CONTROL)
class StopCommand(Message):
    """Refuse new intents, finish or unwind baskets, cancel what rests. A run ends with it."""

    ts: int
    reason: str


@message(lane=Lane.CONTROL)
class ResumeCommand(Message):
    """A process goes on with what an earlier one left: a stop that ended that one is over."""

    ts: int
    reason: str
