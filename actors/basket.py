"""What a basket may become, and what its legs amount to together: the states, the records, the common quantum."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

from attrs import define, evolve, field

from actors.messages import BasketLeg, BasketState, DepthReply, Placement
from venues.model.fill import Fill
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.schedules.common_quantity import common_unit


class BasketEvent(StrEnum):
    RESERVE = "reserve"
    DENY = "deny"
    PLACE = "place"
    HEDGE = "hedge"
    UNWIND = "unwind"
    BALANCE = "balance"
    EMPTY = "empty"
    BREAK = "break"


class IllegalBasketEventError(ValueError):
    """An event that the table does not list for the basket's state."""


def _transitions() -> dict[tuple[BasketState, BasketEvent], BasketState]:
    s, e = BasketState, BasketEvent
    table = {
        (s.PLANNED, e.RESERVE): s.RESERVED,
        (s.PLANNED, e.DENY): s.DENIED,
        (s.RESERVED, e.PLACE): s.WORKING,
        (s.RESERVED, e.DENY): s.DENIED,
    }
    for active in (s.WORKING, s.HEDGING):
        table[active, e.HEDGE] = s.HEDGING
    for active in (s.WORKING, s.HEDGING, s.UNWINDING):
        table[active, e.UNWIND] = s.UNWINDING
        table[active, e.BALANCE] = s.BALANCED
        table[active, e.EMPTY] = s.FLAT
        table[active, e.BREAK] = s.BROKEN
    # A late fill opens an ended basket again, and so does a venue that takes a leg away.
    for ended in (s.BALANCED, s.FLAT):
        table[ended, e.HEDGE] = s.HEDGING
        table[ended, e.UNWIND] = s.UNWINDING
    # Another basket closed this one, in full or lopsided.
    table[s.BALANCED, e.EMPTY] = table[s.BROKEN, e.EMPTY] = s.FLAT
    table[s.BALANCED, e.BREAK] = table[s.BROKEN, e.BREAK] = s.BROKEN
    table[s.FLAT, e.BREAK] = s.BROKEN
    table[s.BROKEN, e.BALANCE] = s.BALANCED
    return table


TRANSITIONS = _transitions()

ACTIVE = frozenset({BasketState.WORKING, BasketState.HEDGING, BasketState.UNWINDING})
ENDED = frozenset({BasketState.BALANCED, BasketState.FLAT, BasketState.BROKEN, BasketState.DENIED})


def next_state(state: BasketState, event: BasketEvent) -> BasketState:
    """Return the state that follows. Raises IllegalBasketEventError for an unlisted pair."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalBasketEventError(f"a basket that is {state} cannot {event}") from None


@define
class Leg:
    """One leg and what happened to it; quantities are positive, in the instrument's units, along `side`.

    `extended` was traded on the leg's side, `reduced` back; `taken` went by liquidation or deleveraging, and is below
    zero where it came back to a leg that busts had left on the other side; `closed` went by a closing basket, `fee_qty`
    as fees in the base asset. Costs are price x quantity; `arrival_*` the touch at placement,
    `start_touch` the one that caps on prices are counted from, once that is a later one; `quote` is the request of
    the maker order on the leg, sent at `quoted_ns`. `closed_fees` are what closing
    cost in quote; `handed_over*` is what a closing basket's leg has put down to the leg it closes.
    """

    account: str
    instrument: str
    side: Side
    target: Decimal
    reduce_only: bool
    position_side: PositionSide
    limit_price: Decimal | None
    arrival_bid: Decimal = ZERO
    arrival_ask: Decimal = ZERO
    extended: Decimal = ZERO
    extended_cost: Decimal = ZERO
    reduced: Decimal = ZERO
    reduced_cost: Decimal = ZERO
    taken: Decimal = ZERO
    closed: Decimal = ZERO
    handed_over: Decimal = ZERO
    fee_qty: Decimal = ZERO
    fees: dict[str, Decimal] = field(factory=dict)
    taken_cost: Decimal = ZERO
    closed_cost: Decimal = ZERO
    closed_fees: Decimal = ZERO
    handed_over_cost: Decimal = ZERO
    handed_over_fees: Decimal = ZERO
    start_touch: Decimal = ZERO
    quote: str = ""
    quoted_ns: int = 0

    @property
    def position(self) -> Decimal:
        return self.extended - self.reduced - self.taken - self.closed - self.fee_qty

    @property
    def room(self) -> Decimal:
        """How much more may be traded on the leg's side without going beyond the target."""
        return max(ZERO, self.target - self.extended + self.reduced)

    @property
    def arrival_mid(self) -> Decimal:
        return (self.arrival_bid + self.arrival_ask) / 2

    @property
    def arrival_touch(self) -> Decimal:
        return self.arrival_ask if self.side is Side.BUY else self.arrival_bid

    @property
    def cap_touch(self) -> Decimal:
        """The touch that caps on the leg's prices are counted from."""
        return self.start_touch or self.arrival_touch

    @property
    def entry_price(self) -> Decimal:
        return self.extended_cost / self.extended if self.extended else self.arrival_touch

    def book(self, qty: Decimal, price: Decimal, *, is_reduce: bool) -> None:
        if is_reduce:
            self.reduced += qty
            self.reduced_cost += qty * price
        else:
            self.extended += qty
            self.extended_cost += qty * price

    def book_fee(self, fill: Fill, spec: Instrument) -> None:
        """Add a fill's fee; one paid in the base asset of a spot leg is missing from the position."""
        self.fees[fill.fee_asset] = self.fees.get(fill.fee_asset, ZERO) + fill.fee
        if spec.is_spot and fill.fee_asset == spec.base:
            self.fee_qty += self.side.sign * fill.fee / spec.multiplier

    def take(self, fill: Fill, qty: Decimal, spec: Instrument) -> None:
        """Take `qty` of somebody else's fill off the leg, at its price and with its share of the fee."""
        off = qty if fill.side is self.side.opposite else -qty
        self.taken += off
        self.taken_cost += off * fill.price
        self.book_fee(evolve(fill, fee=fill.fee * qty / fill.qty), spec)

    def is_of(self, fill: Fill) -> bool:
        """Whether a fill of somebody else trades what this leg holds, on either side."""
        mine = (self.account, self.instrument, self.position_side)
        return mine == (fill.account, fill.instrument, fill.position_side)

    def open_to(self, side: Side) -> Decimal:
        """Return how much of the leg trades on `side` take off, negative when they add to it."""
        return self.position if side is self.side.opposite else -self.position

    def slippage(self, spec: Instrument) -> Decimal:
        """Return what trading cost against the arrival mid, in quote; negative when it was better."""
        extended = self.extended_cost - self.extended * self.arrival_mid
        reduced = self.reduced_cost - self.reduced * self.arrival_mid
        return self.side.sign * (extended - reduced) * spec.multiplier


@define
class Child:
    """An order of a basket, by request. `leg` is the index, `is_first` tells placement from hedging.

    `mid` was the mid price when it was asked for. One that `rests` is a maker's: nobody counts on its being filled,
    and once a cancel is under way it `is_leaving`.
    """

    leg: int
    is_reduce: bool
    is_first: bool
    qty: Decimal
    filled: Decimal = ZERO
    is_final: bool = False
    mid: Decimal = ZERO
    rests: bool = False
    price: Decimal | None = None
    is_leaving: bool = False

    @property
    def open_qty(self) -> Decimal:
        """What the venue may still fill."""
        return ZERO if self.is_final else max(ZERO, self.qty - self.filled)


@define
class Trouble:
    """The open record of legs that filled unevenly: since when, why, how uneven at worst, what was done about it.

    `profit` is what the basket had made at the mids when it began, in quote; `unhedged` the largest notional.
    """

    began_ns: int
    cause: str
    profit: Decimal
    net: dict[str, Decimal]
    unhedged: Decimal
    actions: list[str] = field(factory=list)


@define
class Basket:
    """One multi-leg trade. `carried` is base quantity that came from the residual ledger or a broken basket.

    `exposure` is quote notional x nanoseconds spent unbalanced; `unhedged` the notional since `marked_ns`. `leads` are
    the legs that are traded first, by index, none when all are at once; `is_quoted_out` ends a maker's quoting. Of the
    hedges that failed (`misses`) some were `put_off`: the venue took no orders just then, which says nothing of prices.
    """

    id: str
    strategy: str
    legs: list[Leg]
    quanta: dict[str, Decimal]
    max_slippage_bps: Decimal
    risk_budget: Decimal
    planned_ns: int
    deadline_ns: int
    closes: str | None = None
    closing: str = ""
    state: BasketState = BasketState.PLANNED
    is_forced: bool = False
    takes_residual: bool = True
    may_extend: bool = True
    is_rollback: bool = False
    is_last_call: bool = False
    is_over_budget: bool = False
    agreed: list[str] = field(factory=list)
    children: dict[str, Child] = field(factory=dict)
    carried: dict[str, Decimal] = field(factory=dict)
    rounds: int = 0
    misses: int = 0
    last_misses: int = 0
    put_off: int = 0
    retry_at: int = 0
    depth_awaited: dict[str, str] = field(factory=dict)
    depth: dict[str, DepthReply] = field(factory=dict)
    depth_asked_ns: int = 0
    exposure: Decimal = ZERO
    unhedged: Decimal = ZERO
    marked_ns: int = 0
    unhedged_since: int | None = None
    why: str = ""
    placed_ns: int = 0
    placement: Placement = Placement.SIMULTANEOUS
    is_ordered: bool = False
    leads: list[int] = field(factory=list)
    quotes: int = 0
    is_quoted_out: bool = False
    is_uneven: bool = False
    loss_budget: Decimal | None = None
    edge_bps: Decimal | None = None
    trouble: Trouble | None = None

    def apply(self, event: BasketEvent) -> None:
        """Move to the next state. Raises IllegalBasketEventError and changes nothing for an unlisted pair."""
        self.state = next_state(self.state, event)

    @property
    def price_misses(self) -> int:
        """How many hedges found nobody at their price, or were refused for good."""
        return self.misses - self.put_off

    @property
    def is_pending(self) -> bool:
        """Whether an order of the basket may still fill."""
        return any(not child.is_final for child in self.children.values())

    @property
    def is_hedging(self) -> bool:
        """Whether an order that should fill at once is on its way."""
        return any(not child.is_final and not child.rests for child in self.children.values())

    def is_busy(self, index: int) -> bool:
        return any(child.leg == index and not child.is_final for child in self.children.values())

    def coming(self, index: int) -> Decimal:
        """Return what orders on their way may add to a leg."""
        mine = (child for child in self.children.values() if child.leg == index and not child.is_reduce)
        return sum((child.open_qty for child in mine), ZERO)

    def filled(self) -> tuple[Decimal, ...]:
        """Return the signed position of every leg."""
        return tuple(leg.side.sign * leg.position for leg in self.legs)

    def net(self, specs: Mapping[str, Instrument]) -> dict[str, Decimal]:
        """Return the signed base quantity by which the legs differ, by base asset."""
        nets = {base: self.carried.get(base, ZERO) for base in self.quanta}
        for leg in self.legs:
            spec = specs[leg.instrument]
            nets[spec.base] += leg.side.sign * leg.position * spec.multiplier
        return nets

    def gaps(self, specs: Mapping[str, Instrument]) -> dict[str, Decimal]:
        """Return the nets that are a quantum or more and that no order on its way can still offset."""
        nets = self.net(specs)
        for child in self.children.values():
            if child.rests:
                continue
            leg = self.legs[child.leg]
            spec = specs[leg.instrument]
            coming = leg.side.sign * (-1 if child.is_reduce else 1) * child.open_qty * spec.multiplier
            net = nets[spec.base]
            if coming * net < ZERO:
                nets[spec.base] = net + coming if abs(coming) < abs(net) else ZERO
        return {base: net for base, net in nets.items() if abs(net) >= self.quanta[base]}

    def is_balanced(self, specs: Mapping[str, Instrument]) -> bool:
        return all(abs(net) < self.quanta[base] for base, net in self.net(specs).items())

    def is_empty(self, specs: Mapping[str, Instrument]) -> bool:
        """Whether no leg holds a quantum any more."""
        return all(
            abs(leg.position) * specs[leg.instrument].multiplier < self.quanta[specs[leg.instrument].base]
            for leg in self.legs
        )


def new_leg(leg: BasketLeg, qty: Decimal, *, is_close: bool) -> Leg:
    return Leg(
        leg.account,
        leg.instrument,
        leg.side,
        qty,
        leg.reduce_only or is_close,
        leg.position_side,
        leg.limit_price,
    )


def leg_name(basket: Basket, child: Child) -> str:
    return f"{basket.legs[child.leg].instrument} {'reduction' if child.is_reduce else 'order'}"


def to_message(leg: Leg) -> BasketLeg:
    """Return the leg as asked for."""
    return BasketLeg(
        leg.account, leg.instrument, leg.side, leg.target, leg.reduce_only, leg.position_side, leg.limit_price
    )


def quantum(specs: Iterable[Instrument]) -> Decimal:
    """Return the smallest base quantity that every instrument can trade: the LCM of lot size x multiplier.

    Raises BadValueError for none.
    """
    return common_unit([spec.lot_size * spec.multiplier for spec in specs])


def residual_key(base: str, accounts: Iterable[str]) -> str:
    """Return the ledger's key: the base asset and the accounts that held the legs."""
    return f"{base}|{'+'.join(sorted({*accounts}))}"
