"""Decides which orders bring a book towards nothing and keep it as neutral as it is: one round, from one look.

Positions in one base asset are one group. What the legs of a group do not offset is closed first; then both sides are
closed together, in clips of the same base quantity. What no order can close any more (below a lot or a minimum) is
dust: it stays and is reported. An inverse contract, or one that is not known here, is a group of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

from attrs import define, field, frozen

from actors.basket import quantum
from venues.model.book import Level
from venues.model.instrument import Instrument
from venues.model.money import ZERO, round_to_step
from venues.model.order import OrderType, PositionSide, Side
from venues.port import BookSnapshot

_BPS = 10_000
_AFTER_FEES = Decimal("0.995")
"""What is left of money for buying spot once the dearest taker fee is set aside."""


@frozen
class Holding:
    """What `account` holds: signed `qty` in the instrument's units, of spot only what is to be traded away.

    A negative spot quantity was sold beneath what must be there, and is bought back.
    """

    account: str
    instrument: str
    position_side: PositionSide
    qty: Decimal


@frozen
class Terms:
    """How much a round may ask of the books.

    `slippage_bps` are the rungs from the touch, after the last one comes the market order. A clip takes `depth_share`
    of what is shown within its rung and is worth at most `clip_notional`. Spot without a book waits `book_patience`
    rounds.
    """

    slippage_bps: tuple[Decimal, ...]
    depth_share: Decimal
    clip_notional: Decimal
    book_patience: int


@frozen
class Sight:
    """What a look saw beside the holdings.

    `rungs` count an instrument's misses, `blind` its rounds without a book. `held_up` names groups that are not
    traded in this round, and why; `funds` is free money by account and asset.
    """

    books: Mapping[str, BookSnapshot]
    rungs: Mapping[str, int] = field(factory=dict)
    blind: Mapping[str, int] = field(factory=dict)
    held_up: Mapping[str, str] = field(factory=dict)
    funds: Mapping[tuple[str, str], Decimal] = field(factory=dict)


@frozen
class FlattenOrder:
    """An immediate order; `price` None is a market order. In hedge mode the position side takes the flag's place."""

    account: str
    instrument: str
    side: Side
    qty: Decimal
    price: Decimal | None
    position_side: PositionSide
    reduce_only: bool

    @property
    def type(self) -> OrderType:
        return OrderType.MARKET if self.price is None else OrderType.LIMIT


@define
class FlattenPlan:
    """One round. `open` can be closed, now or later, `dust` cannot; `waiting` says why nothing is done about a group.

    `thin` are instruments whose book gave too little within their rung, `blind` those without one.
    """

    orders: list[FlattenOrder] = field(factory=list)
    open: list[Holding] = field(factory=list)
    dust: list[Holding] = field(factory=list)
    waiting: list[str] = field(factory=list)
    thin: set[str] = field(factory=set)
    blind: set[str] = field(factory=set)

    @property
    def is_flat(self) -> bool:
        return not self.open


def group_of(instrument: str, specs: Mapping[str, Instrument]) -> str:
    """Return the name of the group that an instrument's positions belong to."""
    spec = specs.get(instrument)
    return instrument if spec is None or spec.inverse else spec.base


def plan(holdings: Iterable[Holding], specs: Mapping[str, Instrument], sight: Sight, terms: Terms) -> FlattenPlan:
    """Return the orders of one round.

    When all of them fill, a group's net quantity is not larger than before, or is that of its dust; no order is larger
    than the position it closes.
    """
    made = FlattenPlan()
    groups: dict[str, list[_Leg]] = {}
    for holding in holdings:
        spec = specs.get(holding.instrument)
        name = group_of(holding.instrument, specs)
        if not holding.qty:
            continue
        if spec is None:
            made.open.append(holding)
            if name in sight.held_up:
                made.waiting.append(f"{name}: {sight.held_up[name]}")
            else:
                made.orders.append(_unknown(holding))
            continue
        leg = _leg(holding, spec, sight, terms)
        (made.open if leg.open else made.dust).append(holding)
        if leg.open:
            groups.setdefault(name, []).append(leg)
    for name, legs in groups.items():
        if name in sight.held_up:
            made.waiting.append(f"{name}: {sight.held_up[name]}")
        else:
            _plan_group(name, legs, made)
    return made


@define
class _Leg:
    """One holding with what this round may do to it, in group units (quantity x multiplier).

    `open` can be closed at all, `least` and `most` bound one order, `part` is the share of the depth `shown` within
    the rung. `bound` is the worst price in ticks, None for a market order. `small` is the least that any rung sends.
    """

    holding: Holding
    spec: Instrument
    open: Decimal
    small: Decimal
    least: Decimal
    most: Decimal
    part: Decimal
    shown: Decimal
    bound: int | None
    is_blind: bool = False

    @property
    def sign(self) -> int:
        return 1 if self.holding.qty > ZERO else -1

    @property
    def step(self) -> Decimal:
        return self.spec.lot_size * self.spec.multiplier

    def capacity(self, unit: Decimal, least: Decimal) -> Decimal:
        """Return how much may be closed now in multiples of `unit`, zero when that is below `least`."""
        least = round_to_step(least, unit, ROUND_CEILING)
        room = self.part
        if room < least and (self.shown >= least or self.is_any_price):
            room = least
        room = round_to_step(min(room, self.most), unit)
        return room if room >= least else ZERO

    @property
    def is_any_price(self) -> bool:
        return self.bound is None and not self.is_blind

    def order(self, amount: Decimal) -> FlattenOrder:
        """Return the order that closes `amount`."""
        held, spec = self.holding, self.spec
        return FlattenOrder(
            held.account,
            held.instrument,
            Side.SELL if self.sign > 0 else Side.BUY,
            amount / spec.multiplier,
            None if self.bound is None else spec.price(self.bound),
            held.position_side,
            not spec.is_spot and held.position_side is PositionSide.BOTH,
        )


def _leg(holding: Holding, spec: Instrument, sight: Sight, terms: Terms) -> _Leg:
    book = sight.books.get(holding.instrument)
    side = Side.SELL if holding.qty > ZERO else Side.BUY
    levels: Sequence[Level] = () if book is None else book.bids if side is Side.SELL else book.asks
    if levels and levels[0][0] <= 0:
        # Shares of a price that is not positive mean nothing.
        levels = ()
    size = spec.multiplier
    small = least = max(spec.lot_size, spec.min_qty) * size
    if not levels:
        open_ = _closable(holding, spec, None)
        must_wait = spec.is_spot and sight.blind.get(holding.instrument, 0) < terms.book_patience
        part = ZERO if must_wait else open_
        most = open_ if spec.max_qty is None else min(open_, spec.max_qty * size)
        return _Leg(holding, spec, open_, small, least, most, part, part, None, is_blind=True)
    touch = levels[0][0]
    bound = _bound(touch, side, sight.rungs.get(holding.instrument, 0), terms)
    price, worst = spec.price(touch), spec.price(touch if bound is None else bound)
    lots = sum(count for ticks, count in levels if bound is None or (bound - ticks) * side.sign >= 0)
    shown = lots * spec.lot_size * size
    open_ = _closable(holding, spec, price)
    if spec.is_spot:
        small, least = max(small, spec.min_notional / price), max(least, spec.min_notional / worst)
    # A clip limit beneath the smallest order would keep the position for ever.
    most = max(least, terms.clip_notional if spec.inverse else terms.clip_notional / price)
    if spec.max_qty is not None:
        most = min(most, spec.max_qty * size)
    if spec.is_spot and side is Side.BUY:
        # What cannot be paid for stays: it would hold up the rest for ever.
        funds = sight.funds.get((holding.account, spec.quote), ZERO) * _AFTER_FEES
        open_ = min(open_, round_to_step(funds / worst, spec.lot_size * size))
        open_ = open_ if open_ >= small else ZERO
    return _Leg(holding, spec, open_, small, least, min(most, open_), shown * terms.depth_share, shown, bound)


def _bound(touch: int, side: Side, rung: int, terms: Terms) -> int | None:
    if rung >= len(terms.slippage_bps):
        return None
    return max(1, touch + side.sign * int(touch * terms.slippage_bps[rung] / _BPS))


def _closable(holding: Holding, spec: Instrument, price: Decimal | None) -> Decimal:
    """Return how much of a holding orders can close, in group units; zero for dust.

    Only spot has a least notional here: derivatives waive it when reducing (Binance -4164).
    """
    qty = round_to_step(abs(holding.qty), spec.lot_size)
    if qty < spec.min_qty or (spec.is_spot and price is not None and spec.notional(qty, price) < spec.min_notional):
        return ZERO
    return qty * spec.multiplier


def _unknown(holding: Holding) -> FlattenOrder:
    """Close what has no description with one market order that can only reduce."""
    side = Side.SELL if holding.qty > ZERO else Side.BUY
    is_one_way = holding.position_side is PositionSide.BOTH
    return FlattenOrder(
        holding.account, holding.instrument, side, abs(holding.qty), None, holding.position_side, is_one_way
    )


def _plan_group(name: str, legs: Sequence[_Leg], made: FlattenPlan) -> None:
    """Plan the excess if there is any to trade, else both sides in equal clips, else what is too small for that."""
    before = len(made.orders), len(made.thin) + len(made.blind)
    _plan_excess(legs, made)
    if len(made.orders) > before[0]:
        return
    is_stuck = len(made.thin) + len(made.blind) > before[1]
    unit = quantum(leg.spec for leg in legs)
    pairs = _pairs(legs, unit)
    if pairs:
        _plan_pairs(pairs, unit, made)
    elif not is_stuck:
        _plan_rest(legs, made)
    if len(made.orders) == before[0]:
        made.waiting.append(f"{name}: the books are too thin, or not there")


def _plan_excess(legs: Sequence[_Leg], made: FlattenPlan) -> None:
    """Close what the other side does not offset; derivatives first, for they can be liquidated."""
    net = sum((leg.sign * leg.open for leg in legs), ZERO)
    left = abs(net)
    heavy = [leg for leg in legs if leg.sign * net > ZERO]
    for leg in sorted(heavy, key=lambda leg: (leg.spec.is_spot, -leg.open)):
        wanted = round_to_step(min(left, leg.open), leg.step)
        if wanted < leg.small:
            continue
        amount = min(wanted, leg.capacity(leg.step, leg.least))
        if amount >= leg.least:
            made.orders.append(leg.order(amount))
            left -= amount
        else:
            _note_miss(leg, made)


def _pairs(legs: Sequence[_Leg], unit: Decimal) -> list[tuple[_Leg, _Leg]]:
    """Return a long and a short leg each that can be closed in equal quantities, the largest that trade now first."""

    def best_first(sign: int) -> list[_Leg]:
        mine = [leg for leg in legs if leg.sign == sign]
        return sorted(mine, key=lambda leg: (not leg.capacity(unit, leg.least), -leg.open))

    found, shorts = [], best_first(-1)
    for long in best_first(1):
        for short in shorts:
            small = round_to_step(max(long.small, short.small), unit, ROUND_CEILING)
            if min(long.open, short.open) >= small:
                found.append((long, short))
                shorts.remove(short)
                break
    return found


def _plan_pairs(pairs: Sequence[tuple[_Leg, _Leg]], unit: Decimal, made: FlattenPlan) -> None:
    """Close both legs of each pair by the quantity that the thinner book takes."""
    for pair in pairs:
        least = max(leg.least for leg in pair)
        rooms = [leg.capacity(unit, least) for leg in pair]
        for room, leg in zip(rooms, pair, strict=True):
            if min(rooms) > ZERO:
                made.orders.append(leg.order(min(rooms)))
            elif not room:
                _note_miss(leg, made)


def _plan_rest(legs: Sequence[_Leg], made: FlattenPlan) -> None:
    """Close every leg by itself, all in the same proportion: they are too small to be closed in equal quantities."""
    rooms = [leg.capacity(leg.step, leg.least) for leg in legs]
    for room, leg in zip(rooms, legs, strict=True):
        if not room:
            _note_miss(leg, made)
    share = min(room / leg.open for room, leg in zip(rooms, legs, strict=True))
    if not share:
        return
    for leg in legs:
        least = round_to_step(leg.least, leg.step, ROUND_CEILING)
        made.orders.append(leg.order(min(leg.open, max(least, round_to_step(leg.open * share, leg.step)))))


def _note_miss(leg: _Leg, made: FlattenPlan) -> None:
    (made.blind if leg.is_blind else made.thin).add(leg.holding.instrument)
