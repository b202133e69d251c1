"""What the venue holds about one order: quantities in lots, its place in the queue, its life."""

from decimal import Decimal

from attrs import define

from sim.venue_rules import SelfTrade
from venues.model.order import OrderEvent, OrderStatus, OrderType, PositionSide, Side, next_status
from venues.port import SubmitOrder

CONDITIONAL = frozenset(
    {OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_MARKET, OrderType.TRAILING_STOP}
)


@define(eq=False)
class VenueOrder:
    """`lots` is the total asked for, `cut` what reduce-only took away.

    `ticks` is the limit price, None while the order has none. `slot` is its place in the compiled venue while it takes
    or rests, `sequence` its age among the orders accepted. `armed` means a conditional order that has not triggered.
    `best` is a trailing stop's extreme since its activation. `arrived_ns` is when it came, or took its place.
    `last_ticks` is the price of its last fill. `forced` marks the venue's own orders (liquidation).
    """

    command: SubmitOrder
    venue_order_id: str
    side: Side
    position_side: PositionSide
    lots: int
    ticks: int | None = None
    status: OrderStatus = OrderStatus.SENT
    filled: int = 0
    filled_cost: int = 0
    last_ticks: int | None = None
    cut: int = 0
    slot: int = -1
    sequence: int = 0
    min_lots: int = 0
    display_lots: int = 0
    reduces: bool = False
    resting: bool = False
    armed: bool = False
    killed: bool = False
    forced: bool = False
    active: bool = False
    best: Decimal | None = None
    expire_ns: int | None = None
    arrived_ns: int = 0
    stp: SelfTrade = SelfTrade.TRADE

    @property
    def account(self) -> str:
        return self.command.account

    @property
    def instrument(self) -> str:
        return self.command.instrument

    @property
    def id(self) -> str:
        return self.command.client_order_id

    @property
    def leaves(self) -> int:
        return self.lots - self.cut - self.filled

    def apply(self, event: OrderEvent) -> None:
        self.status = next_status(self.status, event)
