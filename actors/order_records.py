"""What an order manager remembers of its orders, and how long."""

import re
from decimal import Decimal

from attrs import Attribute, define, field, frozen

from actors.config_checks import positive
from actors.inquiry import Inquiry
from actors.order_validation import TRIGGERED
from actors.pacing import PacingState
from venues.model.fill import Fill, FillReason
from venues.model.money import ZERO
from venues.model.order import Order, OrderStatus, OrderType, Side, TimeInForce
from venues.port import OrderFilled, RejectReason

_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_COUNTER_DIGITS = 12
# What a venue does to an account by itself, under order ids of its own.
VENUE_REASONS = frozenset({FillReason.LIQUIDATION, FillReason.ADL, FillReason.SETTLEMENT})


def _is_prefix(instance: object, attribute: "Attribute[str]", value: str) -> None:
    if not _CLIENT_ID.fullmatch(value) or len(value) > 36 - _COUNTER_DIGITS or value[-1].isdigit():
        raise ValueError(
            f"{attribute.name}: 1 to {36 - _COUNTER_DIGITS} of [.A-Z:/a-z0-9_-], not ending in a digit; got {value!r}"
        )


@frozen
class OrderManagerConfig:
    """`run_prefix` begins every client id and differs between runs; durations are nanoseconds, limits are counts.

    An order is absent when two complete answers `absence_quiet_ns` apart say so (a venue may not find an order it has
    just taken for a few seconds: Binance error -2013). Trades of an ended order that three complete answers in a row
    do not have, over `missing_fills_ns`, were taken back before they were told. `keep_orders` ended orders are kept
    whole, `keep_traces` more only as far as late and repeated fills need it. Open orders of others are asked for again
    every `strangers_retry_ns` as long as there are any; at most `strangers_max` are followed.
    """

    run_prefix: str = field(default="bd-", validator=_is_prefix)
    ack_timeout_ns: int = field(default=5_000_000_000, validator=positive)
    absence_quiet_ns: int = field(default=3_000_000_000, validator=positive)
    missing_fills_ns: int = field(default=30_000_000_000, validator=positive)
    query_timeout_ns: int = field(default=5_000_000_000, validator=positive)
    query_backoff_ns: int = field(default=500_000_000, validator=positive)
    query_backoff_max_ns: int = field(default=30_000_000_000, validator=positive)
    fills_lookback_ns: int = field(default=60_000_000_000, validator=positive)
    keep_orders: int = field(default=10_000, validator=positive)
    keep_traces: int = field(default=100_000, validator=positive)
    strangers_retry_ns: int = field(default=30_000_000_000, validator=positive)
    strangers_max: int = field(default=200, validator=positive)


@define
class Tracked:
    """An order with what was asked for it. `venue_filled` is the largest total any report named.

    `sightings` counts answers in a row that showed it resting after it had ended. `taken_back` of the venue's total are
    trades that its own lists do not have any more.
    """

    order: Order
    request_id: str
    strategy: str
    basket_id: str
    reduce_only: bool
    venue_filled: Decimal = ZERO
    is_final: bool = False
    is_cancel_wanted: bool = False
    is_cancel_pending: bool = False
    cancels_refused: int = 0
    reject_reason: RejectReason | None = None
    sightings: int = 0
    taken_back: Decimal = ZERO

    @property
    def lacks_fills(self) -> bool:
        return self.order.filled_qty + self.taken_back < self.venue_filled

    @property
    def is_immediate(self) -> bool:
        """Whether the venue must end the order by itself at once."""
        if self.order.type in TRIGGERED:
            return False
        return self.order.type is OrderType.MARKET or self.order.tif in (TimeInForce.IOC, TimeInForce.FOK)


@define
class Trace:
    """What remains of an order that ended long ago."""

    request_id: str
    strategy: str
    basket_id: str
    trade_ids: set[str]


@define
class OpenStranger:
    """An open order at the venue that is on no record of ours, as it was last seen."""

    account: str
    instrument: str
    side: Side
    qty: Decimal
    filled_qty: Decimal


@define
class OrderManagerState:
    """`orders` and `traces` by client id; `external_trades` by instrument, newest last, as `trade_id:side`.

    `strangers` by `account|instrument|client id`, `open_queries` are the accounts asked for open orders, by query id.
    `early` are requests to be cancelled that have not come yet; `swept_ns` is when all orders were last to be.
    """

    next_order: int = 1
    next_query: int = 1
    started_ns: int = 0
    timer_at: int | None = None
    orders: dict[str, Tracked] = field(factory=dict)
    requests: dict[str, str] = field(factory=dict)
    venue_ids: dict[str, str] = field(factory=dict)
    ended: dict[str, None] = field(factory=dict)
    traces: dict[str, Trace] = field(factory=dict)
    watched: dict[str, int] = field(factory=dict)
    inquiries: dict[str, Inquiry] = field(factory=dict)
    queries: dict[str, str] = field(factory=dict)
    external_trades: dict[str, dict[str, None]] = field(factory=dict)
    unknown_outcomes: int = 0
    duplicate_fills: int = 0
    external_fills: int = 0
    overfills: int = 0
    pacing: PacingState = field(factory=PacingState)
    strangers: dict[str, OpenStranger] = field(factory=dict)
    open_queries: dict[str, str] = field(factory=dict)
    early: list[str] = field(factory=list)
    swept_ns: int = -1


def is_sane(report: OrderFilled) -> bool:
    """Whether a fill can be booked at all."""
    return (
        report.qty.is_finite()
        and report.qty > ZERO
        and report.price.is_finite()
        and report.price > ZERO
        and report.fee.is_finite()
        and bool(report.trade_id)
    )


def fits(order: Order, report: OrderFilled) -> bool:
    """Whether a fill can be of this order; what was not sent has none."""
    theirs = (report.account, report.instrument, report.side)
    return order.status is not OrderStatus.CREATED and theirs == (order.account, order.instrument, order.side)


def trade_key(report: OrderFilled) -> str:
    """Return what tells fills of one instrument apart; both sides of a trade may be ours."""
    return f"{report.trade_id}:{report.side}"


def to_fill(report: OrderFilled, client_id: str) -> Fill:
    return Fill(
        report.ts,
        report.account,
        report.instrument,
        client_id,
        report.trade_id,
        report.side,
        report.price,
        report.qty,
        report.liquidity,
        report.fee,
        report.fee_asset,
        report.reason,
        report.position_side,
    )
