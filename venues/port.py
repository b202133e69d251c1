"""The venue contract: commands in, reports out.

A command is what the desk asks of a venue, a report what the venue says. Adapters and the simulated venue honour the
same contract. Times are UTC nanoseconds: in a report `ts` is the venue's own time, in a command the desk's.

Two rules hold everywhere: a query that failed (QueryFailed) is never a query that found nothing (QueryResult without
items), and an order whose fate is not proven is OutcomeUnknown, never rejected.
"""

from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, ClassVar, TypeVar, dataclass_transform

import attrs

from venues.model.account import MarginMode, PositionMode
from venues.model.book import Level
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, PositionSide, Side, TimeInForce


class Lane(IntEnum):
    """The order in which a cell drains its inbox."""

    CONTROL = 0
    ORDERS = 1
    FEED = 2
    VIEWS = 3


MESSAGES: dict[str, type["Message"]] = {}
"""Every message class by its name: the vocabulary of logs and wires."""


class Message:
    """Anything a dispatcher can deliver. `lane` says where it waits; instances are treated as immutable."""

    __slots__ = ()
    lane: ClassVar[Lane] = Lane.ORDERS
    ts: int


_M = TypeVar("_M", bound=type[Message])


@dataclass_transform(field_specifiers=(attrs.field,), kw_only_default=False)
def message(*, lane: Lane = Lane.ORDERS) -> Callable[[_M], _M]:
    """Make a slotted attrs class and enter it in MESSAGES. Raises ValueError for a name taken twice.

    Not a frozen one: that takes five times as long to make, and every order is made of two.
    """

    def register(cls: _M) -> _M:
        made: Any = attrs.define(cls)
        made.lane = lane
        if made.__name__ in MESSAGES:
            raise ValueError(f"two messages are called {made.__name__}")
        MESSAGES[made.__name__] = made
        return made  # type: ignore[no-any-return]

    return register


class QueryKind(StrEnum):
    ORDER = "order"
    OPEN_ORDERS = "open_orders"
    FILLS = "fills"
    POSITIONS = "positions"
    ACCOUNT = "account"
    INSTRUMENTS = "instruments"
    BOOK = "book"
    BARS = "bars"
    MARK_BARS = "mark_bars"
    FUNDING_HISTORY = "funding_history"
    OPEN_INTEREST = "open_interest"
    INCOME = "income"


class IncomeKind(StrEnum):
    """Why money moved in a wallet, other than by a trade's own price and fee."""

    FUNDING = "funding"
    TRANSFER = "transfer"
    INSURANCE = "insurance"
    SETTLEMENT = "settlement"
    OTHER = "other"


class RejectReason(StrEnum):
    """Why a venue refused. One vocabulary for all venues; `text` carries the venue's own words."""

    UNKNOWN_INSTRUMENT = "unknown_instrument"
    UNKNOWN_ORDER = "unknown_order"
    OFF_TICK = "off_tick"
    OFF_LOT = "off_lot"
    BELOW_MIN_QTY = "below_min_qty"
    ABOVE_MAX_QTY = "above_max_qty"
    BELOW_MIN_NOTIONAL = "below_min_notional"
    BAD_PRICE = "bad_price"
    PRICE_BAND = "price_band"
    PRICE_LIMIT = "price_limit"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    WOULD_TAKE = "would_take"
    WOULD_TRIGGER = "would_trigger"
    REDUCE_ONLY = "reduce_only"
    POSITION_SIDE = "position_side"
    DUPLICATE_ID = "duplicate_id"
    HALTED = "halted"
    LEVERAGE = "leverage"
    NO_REFERENCE_PRICE = "no_reference_price"
    IN_LIQUIDATION = "in_liquidation"
    RATE_LIMIT = "rate_limit"
    UNSUPPORTED = "unsupported"
    BAD_TRIGGER = "bad_trigger"
    BAD_EXPIRY = "bad_expiry"
    OTHER = "other"


class InstrumentState(StrEnum):
    PRE_OPEN = "pre_open"
    OPEN = "open"
    HALT = "halt"
    CLOSE = "close"


# Commands


class Command(Message):
    """What the desk asks of a venue. `account` names the credentials and with them the venue."""

    __slots__ = ()
    account: str


@message()
class SubmitOrder(Command):
    """`price` is None for market orders; `trigger_price` only for stops; `expire_ns` only for GTD."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    side: Side
    qty: Decimal
    type: OrderType = OrderType.LIMIT
    price: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC
    position_side: PositionSide = PositionSide.BOTH
    reduce_only: bool = False
    close_position: bool = False
    trigger_price: Decimal | None = None
    trigger_on_mark: bool = False
    expire_ns: int | None = None
    min_qty: Decimal | None = None
    display_qty: Decimal | None = None
    protection_points: int | None = None
    callback_rate: Decimal | None = None
    activation_price: Decimal | None = None
    stp: str | None = None


@message()
class ModifyOrder(Command):
    """`qty` is the new total, fills included."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    qty: Decimal
    price: Decimal


@message()
class CancelOrder(Command):
    ts: int
    account: str
    instrument: str
    client_order_id: str


@message()
class CancelAll(Command):
    """Cancel every resting order of the account, or of one instrument."""

    ts: int
    account: str
    instrument: str | None = None


@message()
class SetLeverage(Command):
    ts: int
    account: str
    instrument: str
    leverage: int


@message()
class SetMarginMode(Command):
    ts: int
    account: str
    instrument: str
    mode: MarginMode


@message()
class SetPositionMode(Command):
    ts: int
    account: str
    mode: PositionMode


@message()
class AdjustIsolatedMargin(Command):
    """Add (positive) or take (negative) `amount` of the margin asset."""

    ts: int
    account: str
    instrument: str
    amount: Decimal
    position_side: PositionSide = PositionSide.BOTH


@message()
class ArmDeadMan(Command):
    """Cancel the instrument's orders at the venue unless refreshed within `timeout_ns`; 0 disarms."""

    ts: int
    account: str
    instrument: str
    timeout_ns: int


@message()
class Query(Command):
    """Ask the venue. `query_id` is unique within the run and comes back with the answer.

    ORDER needs `instrument` and `client_order_id`; FILLS, POSITIONS and OPEN_ORDERS take an optional `instrument`;
    BOOK needs `instrument` and is answered by a BookSnapshot (or QueryFailed). INCOME and FUNDING_HISTORY answer with
    everything from `since_ns` on, of one instrument (FUNDING_HISTORY needs it) or of all.
    """

    ts: int
    account: str
    query_id: str
    kind: QueryKind
    instrument: str | None = None
    client_order_id: str | None = None
    since_ns: int | None = None


@message()
class Subscribe(Command):
    ts: int
    account: str
    instrument: str
    channels: tuple[str, ...] = ()


# Reports on orders


class Report(Message):
    """What a venue says."""

    __slots__ = ()


@message()
class OrderAccepted(Report):
    ts: int
    account: str
    instrument: str
    client_order_id: str
    venue_order_id: str


@message()
class OrderRejected(Report):
    """A proven refusal of a submit: the order never rests (or rests no more, for post-only found late)."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    reason: RejectReason
    text: str = ""


@message()
class CancelRejected(Report):
    """The venue refused a cancel. The order may have been filled: this proves nothing about it."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    reason: RejectReason
    text: str = ""


@message()
class ModifyRejected(Report):
    """The venue refused a change; the order stays as it was."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    reason: RejectReason
    text: str = ""


@message()
class OrderFilled(Report):
    """One execution. `trade_id` is unique within the instrument; `fee` is positive when paid."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    venue_order_id: str
    trade_id: str
    side: Side
    price: Decimal
    qty: Decimal
    liquidity: Liquidity
    fee: Decimal
    fee_asset: str
    reason: FillReason
    position_side: PositionSide = PositionSide.BOTH


@message()
class TradeBusted(Report):
    """The venue took a trade back, on both sides: its fill never was. The order does not rest again for it."""

    ts: int
    account: str
    instrument: str
    trade_id: str
    why: str = ""


@message()
class OrderCanceled(Report):
    """The order rests no more. `filled_qty` is the venue's final total: a fill may still be on its way."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    filled_qty: Decimal


@message()
class OrderExpired(Report):
    """The venue ended the order (IOC remainder, FOK, GTD, reduce-only displaced)."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    filled_qty: Decimal


@message()
class OrderModified(Report):
    ts: int
    account: str
    instrument: str
    client_order_id: str
    qty: Decimal
    price: Decimal


@message()
class OrderTriggered(Report):
    ts: int
    account: str
    instrument: str
    client_order_id: str


@message()
class OutcomeUnknown(Report):
    """The fate of a command is not proven: time-out, disconnect, 5xx, missing ack. `command` is its class name."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    command: str
    why: str


@message()
class DeadManArmed(Report):
    """The venue's timer is set: it cancels the instrument's orders `timeout_ns` after `ts`; 0: it is disarmed."""

    ts: int
    account: str
    instrument: str
    timeout_ns: int


@message()
class OrderReport(Report):
    """The venue's view of one order, in answer to a query."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    venue_order_id: str
    side: Side
    qty: Decimal
    filled_qty: Decimal
    status: OrderStatus
    type: OrderType = OrderType.LIMIT
    price: Decimal | None = None
    position_side: PositionSide = PositionSide.BOTH


# Reports on accounts


@message()
class PositionReport(Report):
    """The venue's view of one position; `qty` is signed, `entry_price` None when flat or unknown."""

    ts: int
    account: str
    instrument: str
    position_side: PositionSide
    qty: Decimal
    entry_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    leverage: int | None = None
    margin_mode: MarginMode | None = None


@message()
class AccountReport(Report):
    """The venue's view of wallet balances by asset: pushed after a change, or in answer to a query."""

    ts: int
    account: str
    balances: dict[str, Decimal]
    reason: str = ""


@message()
class FundingSettled(Report):
    """Funding that moved money: `amount` is signed, positive when received."""

    ts: int
    account: str
    instrument: str
    rate: Decimal
    mark: Decimal
    qty: Decimal
    amount: Decimal
    asset: str
    position_side: PositionSide = PositionSide.BOTH


@message()
class Liquidated(Report):
    ts: int
    account: str
    instrument: str
    side: Side
    qty: Decimal
    mark: Decimal
    price: Decimal
    bankruptcy_price: Decimal
    fee: Decimal
    taken_over_qty: Decimal
    position_side: PositionSide = PositionSide.BOTH


@message()
class Deleveraged(Report):
    ts: int
    account: str
    instrument: str
    side: Side
    qty: Decimal
    price: Decimal
    position_side: PositionSide = PositionSide.BOTH


@message()
class AdlRank(Report):
    """A position's place in the deleveraging queue, 5 first in line and 1 last; None when it is not in the queue."""

    ts: int
    account: str
    instrument: str
    rank: int | None
    position_side: PositionSide = PositionSide.BOTH


@message()
class Income(Report):
    """One movement of a wallet in the venue's own books, signed; `income_id` is unique within account and kind.

    `instrument` is empty for money that belongs to none. TRANSFER is what came in (positive) or went out.
    """

    ts: int
    account: str
    kind: IncomeKind
    asset: str
    amount: Decimal
    income_id: str
    instrument: str = ""
    position_side: PositionSide = PositionSide.BOTH


@message(lane=Lane.FEED)
class FundingRate(Report):
    """The rate that was settled at `ts` for the interval that ended there, and the mark it was applied to."""

    ts: int
    instrument: str
    rate: Decimal
    mark: Decimal | None = None


@message()
class QueryResult(Report):
    """A query answered in full. No items means: the venue says there is nothing.

    `position_mode` comes with the balances; None where the venue does not tell.
    """

    ts: int
    account: str
    query_id: str
    kind: QueryKind
    orders: tuple[OrderReport, ...] = ()
    fills: tuple[OrderFilled, ...] = ()
    positions: tuple[PositionReport, ...] = ()
    balances: dict[str, Decimal] | None = None
    incomes: tuple[Income, ...] = ()
    rates: tuple[FundingRate, ...] = ()
    position_mode: PositionMode | None = None


@message()
class QueryFailed(Report):
    """A query without an answer. It says nothing about what was asked."""

    ts: int
    account: str
    query_id: str
    kind: QueryKind
    why: str


@message()
class RateLimited(Report):
    """The venue refused requests for their number (HTTP 429), or shuts the connection out (418, `is_ban`).

    `until_ns` is when it takes requests again, None when it did not say. It holds for every account there.
    """

    ts: int
    venue: str
    until_ns: int | None = None
    is_ban: bool = False
    text: str = ""


# Reports on markets: plain classes with integer ticks and lots, made once per frame


@message(lane=Lane.FEED)
class BookSnapshot(Report):
    """A whole book. `update_id` is the last update it contains; `ts` 0 when the venue does not tell the time."""

    ts: int
    instrument: str
    update_id: int
    bids: list[Level]
    asks: list[Level]


@message(lane=Lane.FEED)
class BookDelta(Report):
    """Absolute quantities that replace levels, 0 removes.

    `first_id`..`last_id` are the updates within; `prev_id` is the previous event's last update, -1 where the venue
    does not tell (spot).
    """

    ts: int
    instrument: str
    first_id: int
    last_id: int
    prev_id: int
    bids: list[Level]
    asks: list[Level]


@message(lane=Lane.FEED)
class Quote(Report):
    """Best bid and ask. `ts` 0 when the venue does not tell the time (spot)."""

    ts: int
    instrument: str
    update_id: int
    bid: int
    bid_lots: int
    ask: int
    ask_lots: int


@message(lane=Lane.FEED)
class Trade(Report):
    """A public trade, or an aggregate of one taker's trades at one price. `aggressor` is the taker's side."""

    ts: int
    instrument: str
    trade_id: int
    price: int
    lots: int
    aggressor: Side


@message(lane=Lane.FEED)
class MarkPrice(Report):
    """Mark and index prices (money per base, off any grid) and the running funding estimate.

    `next_funding_ns` is None for what pays no funding; `index` and `rate` are None where the venue does not tell.
    """

    ts: int
    instrument: str
    mark: Decimal
    index: Decimal | None = None
    rate: Decimal | None = None
    next_funding_ns: int | None = None


@message(lane=Lane.FEED)
class SettlementPrice(Report):
    """The settlement of the trade date that ended last: what variation and price limits are measured from."""

    ts: int
    instrument: str
    price: Decimal


@message(lane=Lane.FEED)
class LiquidationPrint(Report):
    """A public liquidation order. SELL means that a long was liquidated. A sample, never a total."""

    ts: int
    instrument: str
    side: Side
    price: Decimal
    qty: Decimal


@message(lane=Lane.FEED)
class OpenInterest(Report):
    ts: int
    instrument: str
    qty: Decimal


@message(lane=Lane.FEED)
class Bar(Report):
    """One bar; `ts` is its end. `is_mark` tells bars of mark prices from bars of trades."""

    ts: int
    instrument: str
    start_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    is_mark: bool = False


@message(lane=Lane.FEED)
class InstrumentStatus(Report):
    ts: int
    instrument: str
    state: InstrumentState


@message()
class VenueUp(Report):
    """The venue's connection `channel` (market, private, orders) works from `ts` on."""

    ts: int
    venue: str
    channel: str = ""


@message()
class VenueDown(Report):
    ts: int
    venue: str
    channel: str = ""
    why: str = ""


@message(lane=Lane.FEED)
class FeedGap(Report):
    """Frames of `instrument` were lost or refused before this point; its book must be rebuilt."""

    ts: int
    instrument: str
    why: str
