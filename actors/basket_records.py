"""What is told of a basket's money and troubles: its cost, choices between completing and unwinding, uneven fills."""

from decimal import Decimal

from attrs import field, frozen

from actors.messages import BasketState
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import Message, message


@frozen
class LegCost:
    """One leg of a basket's cost. Quantities are positive, in the instrument's units; money is quote money.

    `extended` was traded on the leg's side, `reduced` back by the basket itself, `taken` by the venue or the guard,
    `closed` by closing baskets; the prices are averages, None for what did not happen. `position` is what is left, base
    fees of spot taken off. `arrival_mid` is the mid when the basket was placed, `mark` the mid at the record's `ts`.
    `cash` is what the leg's trades brought (positive) or took, before fees; `fees` are by asset, positive when paid.
    `slippage`, `legging`, `rollback` are as in BasketCost.
    """

    account: str
    instrument: str
    side: Side
    position_side: PositionSide
    target: Decimal
    extended: Decimal
    extended_price: Decimal | None
    reduced: Decimal
    reduced_price: Decimal | None
    taken: Decimal
    taken_price: Decimal | None
    closed: Decimal
    closed_price: Decimal | None
    position: Decimal
    arrival_mid: Decimal
    mark: Decimal
    cash: Decimal
    slippage: Decimal
    legging: Decimal
    rollback: Decimal
    fees: dict[str, Decimal] = field(factory=dict)


@message()
class BasketCost(Message):
    """What a basket cost and made, sent whenever it comes to an end (BALANCED, FLAT, BROKEN) or news change that end.

    The last record of a basket holds, and includes the earlier ones. All money is quote money, costs are positive when
    they cost.

    - `slippage`: fills of placing and completing orders against the mid when each order was sent; below zero for makers
    - `legging`: how far mids moved between the basket's placement and each of its orders, while it was uneven
    - `rollback`: fills of orders that took legs back, against the mid when each was sent
    - `fees`: in quote, base fees at the arrival mid; `unvalued` names other assets, whose fees are left out
    - `realised`: profit of everything taken back, taken away or closed, less all fees, those of closes included. A
      closing basket realises nothing by itself: the basket that it closes does, so that sums count everything once
    - `marked`: profit of what is still held, at the mids of `ts`; what closes hold is counted by what they close
    - `residual`: signed base quantities by which the legs differ, by base asset; below a quantum they go to the ledger
    - `unhedged`: quote notional x seconds that the basket was uneven; `duration_ns`: from placement to `ts`

    cash of all legs - fees = realised - held at entry prices; pnl = realised + marked.
    """

    ts: int
    basket_id: str
    strategy: str
    state: BasketState
    closes: str | None
    legs: tuple[LegCost, ...]
    slippage: Decimal
    legging: Decimal
    rollback: Decimal
    fees: Decimal
    realised: Decimal
    marked: Decimal
    residual: dict[str, Decimal]
    unhedged: Decimal
    duration_ns: int
    why: str = ""
    unvalued: tuple[str, ...] = ()


@frozen
class Priced:
    """One way out of an imbalance with its price now, in quote money; `cost` = `slippage` + `fees` + `forgone`.

    `coverage` is the share of the imbalance that the books take. `forgone` is the edge given up by not trading.
    """

    kind: str
    coverage: Decimal
    cost: Decimal
    slippage: Decimal = ZERO
    fees: Decimal = ZERO
    forgone: Decimal = ZERO


@message()
class BasketDecision(Message):
    """How an uneven basket went on: every way that was open, priced, which was taken (its kind), and why that one.

    `net` are the signed base quantities by which the legs differed, by base asset; `unhedged` their notional in quote.
    """

    ts: int
    basket_id: str
    strategy: str
    net: dict[str, Decimal]
    unhedged: Decimal
    options: tuple[Priced, ...]
    chosen: str
    why: str


@message()
class PartialFill(Message):
    """Legs that filled unevenly and what became of them, sent when it is over: the record of one incident.

    `began_ns` is when a way out was first looked for; `net` and `unhedged` (quote) how uneven the legs were at worst;
    `actions` what was done about it, in order; `outcome` the basket's state afterwards. `loss` is what the basket lost
    at the mids from `began_ns` to `ts`, in quote, costs of hedging included; below zero when it gained.
    """

    ts: int
    basket_id: str
    strategy: str
    began_ns: int
    cause: str
    net: dict[str, Decimal]
    unhedged: Decimal
    actions: tuple[str, ...]
    outcome: BasketState
    loss: Decimal


@message()
class LeftOpen(Message):
    """A stop leaves these baskets open, both legs of each: `baskets` are texts naming what each still holds."""

    ts: int
    baskets: tuple[str, ...]
