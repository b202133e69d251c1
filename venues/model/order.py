"""An order's life: types, times in force, states and the one table of what may follow what."""

from decimal import Decimal
from enum import StrEnum

from attrs import define, field

from venues.model.money import ZERO


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class PositionSide(StrEnum):
    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP_MARKET = "stop_market"
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT_MARKET = "take_profit_market"
    TRAILING_STOP = "trailing_stop"
    MARKET_WITH_PROTECTION = "market_with_protection"
    MARKET_TO_LIMIT = "market_to_limit"


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"
    GTD = "GTD"
    DAY = "DAY"


_NEVER_WAITING = (OrderType.LIMIT, OrderType.MARKET_WITH_PROTECTION, OrderType.MARKET_TO_LIMIT)


def can_rest(kind: OrderType, tif: TimeInForce) -> bool:
    """Whether an order of that kind can still be at the venue after it has arrived; what waits for a trigger can."""
    if kind is OrderType.MARKET:
        return False
    return kind not in _NEVER_WAITING or tif not in (TimeInForce.IOC, TimeInForce.FOK)


class OrderStatus(StrEnum):
    CREATED = "created"
    SENT = "sent"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    TRIGGERED = "triggered"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL

    @property
    def may_rest(self) -> bool:
        """Whether the venue may hold the order: everything sent and not proven over, UNKNOWN included."""
        return self in LIVE


class OrderEvent(StrEnum):
    SEND = "send"
    LOSE = "lose"
    ACCEPT = "accept"
    TRIGGER = "trigger"
    MODIFY = "modify"
    FILL_PART = "fill_part"
    FILL_ALL = "fill_all"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REJECT = "reject"
    PROVE_ABSENT = "prove_absent"


TERMINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED})
LIVE = frozenset(
    {
        OrderStatus.SENT,
        OrderStatus.UNKNOWN,
        OrderStatus.ACCEPTED,
        OrderStatus.TRIGGERED,
        OrderStatus.PARTIALLY_FILLED,
    }
)


def _transitions() -> dict[tuple[OrderStatus, OrderEvent], OrderStatus]:
    s, e = OrderStatus, OrderEvent
    table = {
        (s.CREATED, e.SEND): s.SENT,
        (s.CREATED, e.REJECT): s.REJECTED,
        # Taken back, or given up for lack of room under a rate limit, before it was sent.
        (s.CREATED, e.CANCEL): s.CANCELED,
        (s.CREATED, e.EXPIRE): s.EXPIRED,
        (s.SENT, e.ACCEPT): s.ACCEPTED,
        (s.SENT, e.REJECT): s.REJECTED,
        (s.SENT, e.LOSE): s.UNKNOWN,
        (s.SENT, e.PROVE_ABSENT): s.REJECTED,
        (s.UNKNOWN, e.LOSE): s.UNKNOWN,
        (s.UNKNOWN, e.ACCEPT): s.ACCEPTED,
        (s.UNKNOWN, e.REJECT): s.REJECTED,
        (s.UNKNOWN, e.PROVE_ABSENT): s.REJECTED,
        # An ack that comes after the first fill carries no news; one after a terminal state neither.
        (s.ACCEPTED, e.ACCEPT): s.ACCEPTED,
        (s.TRIGGERED, e.ACCEPT): s.TRIGGERED,
        (s.PARTIALLY_FILLED, e.ACCEPT): s.PARTIALLY_FILLED,
        (s.ACCEPTED, e.MODIFY): s.ACCEPTED,
        (s.TRIGGERED, e.MODIFY): s.TRIGGERED,
        (s.PARTIALLY_FILLED, e.MODIFY): s.PARTIALLY_FILLED,
        # A venue may refuse what it had acknowledged (post-only, margin at trigger).
        (s.ACCEPTED, e.REJECT): s.REJECTED,
        (s.TRIGGERED, e.REJECT): s.REJECTED,
        # A lost cancel leaves the order as unknown as a lost submit does.
        (s.ACCEPTED, e.LOSE): s.UNKNOWN,
        (s.TRIGGERED, e.LOSE): s.UNKNOWN,
        (s.PARTIALLY_FILLED, e.LOSE): s.UNKNOWN,
        # An absence proven by query and trade history ends a resting order without a refusal.
        (s.ACCEPTED, e.PROVE_ABSENT): s.CANCELED,
        (s.TRIGGERED, e.PROVE_ABSENT): s.CANCELED,
        (s.PARTIALLY_FILLED, e.PROVE_ABSENT): s.CANCELED,
    }
    for live in (s.SENT, s.UNKNOWN, s.ACCEPTED, s.TRIGGERED, s.PARTIALLY_FILLED):
        table[live, e.TRIGGER] = s.PARTIALLY_FILLED if live is s.PARTIALLY_FILLED else s.TRIGGERED
        table[live, e.FILL_PART] = s.PARTIALLY_FILLED
        table[live, e.FILL_ALL] = s.FILLED
        table[live, e.CANCEL] = s.CANCELED
        table[live, e.EXPIRE] = s.EXPIRED
    # Fills are accepted for ever: the venue is right, and a late one may still complete a cancelled order.
    for over in (s.CANCELED, s.EXPIRED, s.REJECTED):
        table[over, e.FILL_PART] = over
        table[over, e.FILL_ALL] = s.FILLED
    # A venue may say FILLED before it sends the fills.
    table[s.FILLED, e.FILL_PART] = s.FILLED
    table[s.FILLED, e.FILL_ALL] = s.FILLED
    for over in TERMINAL:
        for echo in (e.ACCEPT, e.TRIGGER, e.MODIFY, e.CANCEL, e.EXPIRE, e.LOSE, e.PROVE_ABSENT):
            table[over, echo] = over
    return table


TRANSITIONS = _transitions()


class IllegalTransitionError(ValueError):
    """An event that the table does not list for the order's state."""


def next_status(status: OrderStatus, event: OrderEvent) -> OrderStatus:
    """Return the state that follows. Raises IllegalTransitionError for an unlisted pair."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransitionError(f"an order that is {status} cannot {event}") from None


@define
class Order:
    """One order as this side knows it. `filled_qty` and `filled_cost` (sum of price x qty) only grow."""

    client_order_id: str
    account: str
    instrument: str
    side: Side
    qty: Decimal
    type: OrderType = OrderType.LIMIT
    price: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC
    position_side: PositionSide = PositionSide.BOTH
    reduce_only: bool = False
    status: OrderStatus = OrderStatus.CREATED
    filled_qty: Decimal = ZERO
    filled_cost: Decimal = ZERO
    venue_order_id: str = ""
    parent: str = ""
    created_ns: int = 0
    updated_ns: int = 0
    trade_ids: set[str] = field(factory=set)

    @property
    def leaves_qty(self) -> Decimal:
        return max(ZERO, self.qty - self.filled_qty)

    def apply(self, event: OrderEvent) -> None:
        """Move to the next state. Raises IllegalTransitionError and changes nothing for an unlisted pair."""
        self.status = next_status(self.status, event)

    def add_fill(self, trade_id: str, price: Decimal, qty: Decimal) -> bool:
        """Book one fill; return False for a trade id seen before. An overfill is booked: the venue is right."""
        if trade_id in self.trade_ids:
            return False
        filled = self.filled_qty + qty
        self.apply(OrderEvent.FILL_ALL if filled >= self.qty else OrderEvent.FILL_PART)
        self.trade_ids.add(trade_id)
        self.filled_qty = filled
        self.filled_cost += price * qty
        return True
