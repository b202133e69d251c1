"""What is remembered of executions: fills, child and parent orders and baskets, from their decision to their end.

A record gets a number when it ends, and a new one whenever news change it afterwards: whoever keeps the records reads
those above the last number seen, and the newest of an id holds. Touches are in ticks and None when no live book was
there; times are ns UTC of the desk's clock, None for what has not happened.
"""

from decimal import Decimal
from typing import Any

from attrs import define, field, frozen

from actors.basket_records import BasketCost
from actors.config_checks import positive
from actors.execution_counts import Ordered, Traded
from actors.executions import ExecutionReport
from actors.messages import BasketState, BookView, FillEvent, OrderRequest
from venues.model.fill import Fill, Liquidity
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide, Side
from venues.port import RejectReason

_MAKER = Liquidity.MAKER


@frozen
class TrackerConfig:
    """Bounds: `working` orders, parents and baskets followed until they end, the last `keep` ended ones of each kind.

    A late fill, or one that is taken back, finds its order among those kept; so does a database that was behind.
    """

    working: int = field(default=10_000, validator=positive)
    keep: int = field(default=1_000, validator=positive)


@define
class Progress:
    """What traded so far. `qty` and `cost` (sum of price x quantity) on the side asked for, `reduced*` back.

    `maker_qty` is how much of `qty` traded while resting. `fees` are by asset, positive when paid.
    """

    fills: int = 0
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    maker_qty: Decimal = ZERO
    reduced: Decimal = ZERO
    reduced_cost: Decimal = ZERO
    fees: dict[str, Decimal] = field(factory=dict)
    first_ns: int | None = None
    last_ns: int | None = None

    def book(self, now: int, fill: Fill, side: Side) -> None:
        self._move(fill, side, fill.qty, fill.fee)
        self.fills += 1
        self.last_ns = now
        if self.first_ns is None:
            self.first_ns = now

    def take_back(self, fill: Fill, side: Side) -> None:
        """Undo `book`; when it traded stays as it was."""
        self._move(fill, side, -fill.qty, -fill.fee)
        self.fills -= 1

    def _move(self, fill: Fill, side: Side, qty: Decimal, fee: Decimal) -> None:
        if fill.side is side:
            self.qty += qty
            self.cost += qty * fill.price
            if fill.liquidity is _MAKER:
                self.maker_qty += qty
        else:
            self.reduced += qty
            self.reduced_cost += qty * fill.price
        if fee:
            self.fees[fill.fee_asset] = self.fees.get(fill.fee_asset, ZERO) + fee


@define
class FillRecord:
    """A fill as it was told, when, and the touch then."""

    number: int
    event: FillEvent
    received_ns: int
    touch: BookView | None
    busted_ns: int | None = None
    bust_why: str = ""


@define
class ChildRecord:
    """An order from its request on. `status` is None for one that the risk gate denied; it was not sent then.

    `decision` is the touch at the decision that the order belongs to (its parent's, its basket's, else its own),
    `arrival` the one when it was sent, `end` when it ended.
    """

    request: OrderRequest
    sent_ns: int | None
    arrival: BookView | None
    number: int = 0
    decision: BookView | None = None
    decided_ns: int = 0
    end: BookView | None = None
    client_order_id: str = ""
    status: OrderStatus | None = None
    acked_ns: int | None = None
    ended_ns: int | None = None
    reject_reason: RejectReason | None = None
    why: str = ""
    done: Progress = field(factory=Progress)


@define
class LegRecord:
    """A leg of a basket: `qty` as sized, in the instrument's units.

    `decision` and `end` are the touches of the basket, `arrival` that of the leg's first order, sent at `arrival_ns`.
    """

    account: str
    instrument: str
    position_side: PositionSide
    side: Side
    qty: Decimal
    decision: BookView | None
    arrival_ns: int | None = None
    arrival: BookView | None = None
    end: BookView | None = None
    done: Progress = field(factory=Progress)


@define
class BasketRecord:
    """A basket from its plan on. `state` is how its own work ended, `closed_ns` when others had taken it off.

    `unhedged` is quote notional x ns spent uneven, `notional` what it is uneven by since `marked_ns`. `cost` is the
    executor's own account of it.
    """

    basket_id: str
    strategy: str
    closes: str | None
    decided_ns: int
    legs: list[LegRecord]
    number: int = 0
    state: BasketState = BasketState.PLANNED
    placed_ns: int | None = None
    ended_ns: int | None = None
    closed_ns: int | None = None
    orders: int = 0
    unhedged: Decimal = ZERO
    unhedged_max: Decimal = ZERO
    notional: Decimal = ZERO
    marked_ns: int = 0
    why: str = ""
    cost: BasketCost | None = None

    def leg(self, account: str, instrument: str, position_side: PositionSide) -> LegRecord | None:
        for leg in self.legs:
            if (leg.account, leg.instrument, leg.position_side) == (account, instrument, position_side):
                return leg
        return None


@define
class Decision:
    """When a parent was decided on, and the touch then."""

    ns: int
    touch: BookView | None


@define
class ParentRecord:
    """A parent order as its executor reported it; `busted_qty` is what was taken back of `report.filled_qty` since."""

    number: int
    report: ExecutionReport
    busted_qty: Decimal = ZERO


Record = FillRecord | ChildRecord | ParentRecord | BasketRecord


@define
class TrackerState:
    """`orders` by request, `parents` and `baskets` by id are under way, `ended_*` the last ended ones by rising number.

    `fills` by `fill_key`. `last` is the newest number, `forgotten` the highest that is kept no more. `traded` by
    instrument|strategy and `ordered` by instrument|type are counts for metrics.
    """

    last: int = 0
    forgotten: int = 0
    touches: dict[str, BookView] = field(factory=dict)
    orders: dict[str, ChildRecord] = field(factory=dict)
    parents: dict[str, Decision] = field(factory=dict)
    baskets: dict[str, BasketRecord] = field(factory=dict)
    fills: dict[str, FillRecord] = field(factory=dict)
    ended_orders: dict[str, ChildRecord] = field(factory=dict)
    ended_parents: dict[str, ParentRecord] = field(factory=dict)
    ended_baskets: dict[str, BasketRecord] = field(factory=dict)
    traded: dict[str, Traded] = field(factory=dict)
    ordered: dict[str, Ordered] = field(factory=dict)

    def since(self, number: int) -> list[Record]:
        """Return the records above `number`, by rising number; complete unless `number` is below `forgotten`."""
        found: list[Record] = []
        kept: tuple[dict[str, Any], ...] = (self.fills, self.ended_orders, self.ended_parents, self.ended_baskets)
        for table in kept:
            for record in reversed(table.values()):
                if record.number <= number:
                    break
                found.append(record)
        found.sort(key=lambda record: record.number)
        return found


def fill_key(fill: Fill) -> str:
    """Return what tells fills apart: one trade has a buyer and a seller, and both may be ours."""
    return f"{fill.account}/{fill.instrument}/{fill.trade_id}/{fill.side}"


def are_numbers(*values: Decimal | None) -> bool:
    """Whether what was asked for can be recorded: a state that holds NaN or an infinity does not come back."""
    return all(value is None or value.is_finite() for value in values)
