"""How large a basket's legs are, and which way out of an imbalance is cheapest: pure decisions from books and sizes."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

from attrs import evolve, field, frozen

from actors.basket import Basket, Leg
from actors.basket_records import BasketDecision, Priced
from actors.config_checks import not_negative, positive
from actors.liquidity import worst_ticks
from actors.messages import BasketLeg, BasketState, Checker, DepthReply
from venues.costs.liquidity import walk
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO, round_to_step
from venues.model.order import Side


class DenyReason(StrEnum):
    """Why a basket was not begun; the update's `why` is the reason, a colon and the detail."""

    DUPLICATE = "duplicate_basket"
    STOPPING = "stopping"
    KILLED = "killed"
    FLAG = "flag"
    NO_LEGS = "no_legs"
    DUPLICATE_LEG = "duplicate_leg"
    BAD_PARAMETER = "bad_parameter"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    INVERSE_LEG = "inverse_leg"
    NOT_NEUTRAL = "not_neutral"
    BELOW_QUANTUM = "below_quantum"
    SIZE_LIMIT = "size_limit"
    NO_TOUCH = "no_touch"
    LIMIT_PRICE = "limit_price"
    NOT_OPEN = "not_open"
    CLOSES_MORE = "closes_more"
    CLOSURE = "closure"
    PREFLIGHT = "preflight"
    PREFLIGHT_TIMEOUT = "preflight_timeout"


class DeniedError(ValueError):
    """A basket cannot be begun, and why."""

    def __init__(self, reason: DenyReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@frozen
class ExecutorConfig:
    """Durations in nanoseconds, prices in basis points of the touch.

    A hedge's price cap is the basket's own slippage, doubled with every miss up to `hard_cap_bps`; the last attempt is
    a market order. After half of the attempts a completion gives way to unwinding. `last_call_ns` before the deadline,
    or when the risk budget is spent, the last attempt is made at once. `taker_fee_bps` by instrument prices unwinding.
    A hedge that a closed market holds up comes again after `session_retry_ns`, and is not counted as an attempt.
    One that a venue has no time for (its rate limit, 503) comes again after `hedge_retry_ns`, doubled each time up to
    sixteen times that, until the deadline: its cap is not raised for that, but completing gives way in the end.
    When the daemon stops, baskets under way have `stop_deadline_ns` left. A maker's leg is quoted anew at most every
    `requote_ns` and `quotes_max` times. Nothing is tried for `closed_retry_ns` where no leg trades; a basket with
    a loss budget is looked at every `look_ns` while it is uneven.
    """

    checkers: tuple[Checker, ...] = field(
        default=(Checker.RISK, Checker.MARGIN, Checker.LIQUIDITY, Checker.RATE), metadata={"composed": True}
    )
    preflight_timeout_ns: int = field(default=1_000_000_000, validator=positive)
    hedge_attempts: int = field(default=8, validator=positive)
    hedge_rounds_max: int = field(default=64, validator=positive)
    hedge_retry_ns: int = field(default=100_000_000, validator=positive)
    session_retry_ns: int = field(default=1_000_000_000, validator=positive)
    hard_cap_bps: Decimal = field(default=Decimal(100), validator=positive)
    last_call_ns: int = field(default=5_000_000_000, validator=positive)
    depth_levels: int = field(default=20, validator=positive)
    flatten_slippage_bps: Decimal = field(default=Decimal(50), validator=not_negative)
    flatten_retry_ns: int = field(default=1_000_000_000, validator=positive)
    flatten_deadline_ns: int = field(default=30_000_000_000, validator=positive)
    stop_deadline_ns: int = field(default=8_000_000_000, validator=positive)
    taker_fee_bps: Mapping[str, Decimal] = field(factory=dict, metadata={"composed": True})
    keep_baskets: int = field(default=1_000, validator=positive)
    keep_ids: int = field(default=100_000, validator=positive)
    keep_incidents: int = field(default=200, validator=positive)
    requote_ns: int = field(default=500_000_000, validator=positive)
    quotes_max: int = field(default=100, validator=positive)
    closed_retry_ns: int = field(default=1_000_000_000, validator=positive)
    look_ns: int = field(default=250_000_000, validator=positive)


def common_sizes(
    legs: Sequence[BasketLeg],
    specs: Mapping[str, Instrument],
    quanta: Mapping[str, Decimal],
    carried: Mapping[str, Decimal],
    *,
    is_close: bool = False,
) -> list[Decimal]:
    """Return what each leg trades so that the legs of each base asset cancel exactly.

    Quantities that cancel already, alone or with what is carried, stay as they are. Otherwise every leg is cut to the
    quantum and the heavier side to the lighter; the rest is not sent. A close is only cut to whole lots: together with
    what its basket lacks it must come out below a quantum.
    Raises DeniedError when the legs differ by a quantum or more, or nothing is left.
    """
    if is_close:
        return _close_sizes(legs, specs, quanta, carried)
    bases = [leg.qty * specs[leg.instrument].multiplier for leg in legs]
    for base, step in quanta.items():
        members = [i for i, leg in enumerate(legs) if specs[leg.instrument].base == base]
        total = _net(legs, bases, members)
        is_on_grid = all(legs[i].qty % specs[legs[i].instrument].lot_size == ZERO for i in members)
        if is_on_grid and ZERO in (total, total + carried.get(base, ZERO)):
            continue
        if abs(total) >= step:
            raise DeniedError(DenyReason.NOT_NEUTRAL, f"legs in {base} differ by {total}, the quantum is {step}")
        for i in members:
            bases[i] = round_to_step(bases[i], step)
        _even_out(legs, bases, members)
        if any(bases[i] <= ZERO for i in members):
            raise DeniedError(DenyReason.BELOW_QUANTUM, f"a leg in {base} is smaller than the quantum {step}")
    return [bases[i] / specs[leg.instrument].multiplier for i, leg in enumerate(legs)]


def _close_sizes(
    legs: Sequence[BasketLeg],
    specs: Mapping[str, Instrument],
    quanta: Mapping[str, Decimal],
    carried: Mapping[str, Decimal],
) -> list[Decimal]:
    sizes = [round_to_step(leg.qty, specs[leg.instrument].lot_size) for leg in legs]
    if any(size <= ZERO for size in sizes):
        raise DeniedError(DenyReason.BELOW_QUANTUM, "a leg is smaller than its lot")
    bases = [size * specs[leg.instrument].multiplier for size, leg in zip(sizes, legs, strict=True)]
    for base, step in quanta.items():
        members = [i for i, leg in enumerate(legs) if specs[leg.instrument].base == base]
        total = _net(legs, bases, members) + carried.get(base, ZERO)
        if abs(total) >= step:
            raise DeniedError(DenyReason.NOT_NEUTRAL, f"closing would leave {total} {base}, the quantum is {step}")
    return sizes


def _net(legs: Sequence[BasketLeg], bases: Sequence[Decimal], members: Sequence[int]) -> Decimal:
    return sum((legs[i].side.sign * bases[i] for i in members), ZERO)


def _even_out(legs: Sequence[BasketLeg], bases: list[Decimal], members: Sequence[int]) -> None:
    """Cut the heavier side, largest leg first, until buys equal sells."""
    excess = _net(legs, bases, members)
    heavy = [i for i in members if legs[i].side.sign * excess > ZERO]
    for i in sorted(heavy, key=lambda i: -bases[i]):
        cut = min(abs(excess), bases[i])
        bases[i] -= cut
        excess -= cut * legs[i].side.sign


class PlanKind(StrEnum):
    COMPLETE = "complete"
    TRIM = "trim"
    ROLLBACK = "rollback"


@frozen
class PlannedOrder:
    """An order on leg `leg`; `price` None is a market order. `base` is what it moves the net by when it fills.

    `cost` is what it costs in all, in quote: `fees`, the edge `forgone`, and the rest is slippage.
    """

    leg: int
    is_reduce: bool
    side: Side
    qty: Decimal
    price: Decimal | None
    base: Decimal
    cost: Decimal
    fees: Decimal = ZERO
    forgone: Decimal = ZERO


@frozen
class Plan:
    """One way out. `coverage` is the share of the imbalance that the books take within the caps, `cost` in quote."""

    kind: PlanKind
    orders: tuple[PlannedOrder, ...]
    coverage: Decimal
    cost: Decimal

    def priced(self) -> Priced:
        """Return the plan's price and what it is made of."""
        fees = sum((order.fees for order in self.orders), ZERO)
        forgone = sum((order.forgone for order in self.orders), ZERO)
        return Priced(self.kind, self.coverage, self.cost, self.cost - fees - forgone, fees, forgone)


@frozen
class Terms:
    """What hedges may cost now: the cap in bps, None for the last attempt; taker fees by instrument.

    `edge_bps` is what unwinding gives up; None: as much as completing would pay in fees, for the trade was worth them.
    """

    cap_bps: Decimal | None
    fee_bps: Mapping[str, Decimal]
    edge_bps: Decimal | None = None


def must_wait(basket: Basket, specs: Mapping[str, Instrument]) -> bool:
    """Whether orders on their way stand in the way of every hedge.

    A leg with an order of unknown or open fate is not traded again. Long legs are not reduced either while a short one
    may still fill, unless this is the last call.
    """
    for base, gap in basket.gaps(specs).items():
        for index, leg in enumerate(basket.legs):
            if specs[leg.instrument].base != base or basket.is_busy(index):
                continue
            if leg.side.sign * gap < ZERO:
                if leg.room > ZERO and may_complete(basket):
                    return False
            elif basket.is_last_call or not _has_busy_short(basket, base, gap, specs):
                return False
    return basket.is_pending


def helpers(basket: Basket, specs: Mapping[str, Instrument]) -> list[Leg]:
    """Return the legs on which an order could make the basket more even; in a rollback, all that hold something."""
    gaps = basket.gaps(specs)
    found = []
    for leg in basket.legs:
        gap = leg.side.sign * gaps.get(specs[leg.instrument].base, ZERO)
        is_short = gap < ZERO and leg.room > ZERO and may_complete(basket)
        is_long = (gap > ZERO or basket.is_rollback) and leg.position > ZERO and basket.closes is None
        if is_short or is_long:
            found.append(leg)
    return found


def may_complete(basket: Basket) -> bool:
    """A close always may; once unwinding, a basket does not turn round: that would pay the spread both ways."""
    if basket.closes is not None:
        return True
    return basket.may_extend and not basket.is_rollback and basket.state is not BasketState.UNWINDING


def _has_busy_short(basket: Basket, base: str, gap: Decimal, specs: Mapping[str, Instrument]) -> bool:
    return any(
        basket.is_busy(index) and specs[leg.instrument].base == base and leg.side.sign * gap < ZERO
        for index, leg in enumerate(basket.legs)
    )


def choose(basket: Basket, specs: Mapping[str, Instrument], terms: Terms, *, may_open: bool = True) -> Plan | None:
    """Return the plan that covers most and costs least, None when nothing can be traded within the terms."""
    return best(weigh(basket, specs, terms, may_open=may_open))


def best(plans: Sequence[Plan]) -> Plan | None:
    """Return the plan that covers most, of such the cheapest; None of none."""
    return min(plans, key=lambda plan: (-plan.coverage, plan.cost)) if plans else None


def decided(
    now: int, basket: Basket, plan: Plan, plans: Sequence[Plan], specs: Mapping[str, Instrument]
) -> BasketDecision:
    """Return the record of a choice: what each way out would have cost, which was taken, and why."""
    orders = ", ".join(
        f"{order.side} {order.qty} {basket.legs[order.leg].instrument} at {order.price or 'market'}"
        for order in plan.orders
    )
    others = [f"{one.kind} covers {one.coverage:.4f} for {one.cost:.4f}" for one in plans if one is not plan]
    why = f"{plan.kind} covers {plan.coverage:.4f} for {plan.cost:.4f}; {'; '.join(others) or 'no other way'}: {orders}"
    priced = tuple(one.priced() for one in plans)
    return BasketDecision(now, basket.id, basket.strategy, basket.net(specs), basket.unhedged, priced, plan.kind, why)


def weigh(basket: Basket, specs: Mapping[str, Instrument], terms: Terms, *, may_open: bool = True) -> list[Plan]:
    """Return every way out that can be traded within the terms, priced at the live books.

    Completing extends short legs, trimming reduces long ones. When the difference is too small for any single order,
    the whole basket is rolled back. A closing basket only ever completes: unwinding it would put risk back on.
    `may_open` False forbids completing an opening basket.
    """
    gaps = basket.gaps(specs)
    is_close = basket.closes is not None
    plans: list[Plan] = []
    if may_complete(basket) and (may_open or is_close):
        plans.append(_offset(basket, gaps, specs, terms, is_reduce=False))
    if not is_close and not basket.is_rollback:
        free = {
            base: gap
            for base, gap in gaps.items()
            if basket.is_last_call or not _has_busy_short(basket, base, gap, specs)
        }
        plans.append(_offset(basket, free, specs, terms, is_reduce=True))
    plans = [plan for plan in plans if plan.orders]
    if not plans and not is_close and not basket.is_pending:
        rollback = _roll_back(basket, specs, terms)
        return [] if rollback is None else [rollback]
    return plans


def _offset(
    basket: Basket, gaps: Mapping[str, Decimal], specs: Mapping[str, Instrument], terms: Terms, *, is_reduce: bool
) -> Plan:
    orders: list[PlannedOrder] = []
    wanted = covered = ZERO
    for base, gap in gaps.items():
        left = abs(gap)
        wanted += left
        edge_bps = _edge_bps(basket, base, gap, specs, terms) if is_reduce else ZERO
        offers = []
        for index, leg in enumerate(basket.legs):
            moves = -leg.side.sign if is_reduce else leg.side.sign
            if specs[leg.instrument].base != base or moves * gap > ZERO or basket.is_busy(index):
                continue
            offer = _order(index, leg, specs, basket.depth, terms, is_reduce=is_reduce, want=left, edge_bps=edge_bps)
            if offer is not None:
                offers.append(offer)
        for order, share in sorted(offers, key=lambda one: one[0].cost / one[0].base):
            cut = _shrink(order, left, specs[basket.legs[order.leg].instrument])
            if cut is None:
                continue
            orders.append(cut)
            left -= cut.base
            covered += cut.base * share
    kind = PlanKind.TRIM if is_reduce else PlanKind.COMPLETE
    return Plan(kind, tuple(orders), covered / wanted if wanted else ZERO, sum((o.cost for o in orders), ZERO))


def _edge_bps(basket: Basket, base: str, gap: Decimal, specs: Mapping[str, Instrument], terms: Terms) -> Decimal:
    """Return what not completing gives up, in basis points of what is unwound."""
    if terms.edge_bps is not None:
        return terms.edge_bps
    short = [leg for leg in basket.legs if specs[leg.instrument].base == base and leg.side.sign * gap < ZERO]
    return max((terms.fee_bps.get(leg.instrument, ZERO) for leg in short), default=ZERO)


def _shrink(offer: PlannedOrder, left: Decimal, spec: Instrument) -> PlannedOrder | None:
    if offer.base <= left:
        return offer
    qty = round_to_step(left / spec.multiplier, spec.lot_size)
    if qty <= ZERO or qty < spec.min_qty:
        return None
    share = qty / offer.qty
    return evolve(
        offer,
        qty=qty,
        base=qty * spec.multiplier,
        cost=offer.cost * share,
        fees=offer.fees * share,
        forgone=offer.forgone * share,
    )


def _roll_back(basket: Basket, specs: Mapping[str, Instrument], terms: Terms) -> Plan | None:
    """Reduce every leg to nothing; None unless the books take all of it, for half a rollback is worse than none."""
    orders: list[PlannedOrder] = []
    for index, leg in enumerate(basket.legs):
        spec = specs[leg.instrument]
        want = leg.position * spec.multiplier
        if round_to_step(leg.position, spec.lot_size) <= ZERO:
            continue
        offer = _order(index, leg, specs, basket.depth, terms, is_reduce=True, want=want)
        if offer is None or offer[1] < ONE or want - offer[0].base >= spec.lot_size * spec.multiplier:
            return None
        orders.append(offer[0])
    if not orders:
        return None
    return Plan(PlanKind.ROLLBACK, tuple(orders), ONE, sum((o.cost for o in orders), ZERO))


def _order(
    index: int,
    leg: Leg,
    specs: Mapping[str, Instrument],
    depth: Mapping[str, DepthReply],
    terms: Terms,
    *,
    is_reduce: bool,
    want: Decimal,
    edge_bps: Decimal = ZERO,
) -> tuple[PlannedOrder, Decimal] | None:
    """Return an order moving at most `want` base units and the share the book can take; None when it cannot be sent."""
    spec = specs[leg.instrument]
    room = leg.position if is_reduce else leg.room
    qty = round_to_step(min(want / spec.multiplier, room), spec.lot_size)
    if spec.max_qty is not None:
        qty = min(qty, spec.max_qty)
    side = leg.side.opposite if is_reduce else leg.side
    reply = depth.get(leg.instrument)
    levels = () if reply is None or not reply.is_live else reply.asks if side is Side.BUY else reply.bids
    if qty <= ZERO or not levels:
        return None
    bound = _bound(leg, spec, levels[0][0], side, terms, is_reduce=is_reduce)
    lots = spec.lots(qty)
    taken, value = walk(levels, lots, bound, side)
    if taken == 0 or not is_sendable(spec, qty, levels[0][0], is_reduce=is_reduce):
        return None
    if bound is None and taken < lots:
        # Deeper than what was asked for: the rest is priced at the worst level seen.
        value += (lots - taken) * levels[-1][0]
        taken = lots
    got = spec.qty(taken)
    money = value * spec.tick_size * spec.lot_size
    slippage = leg.side.sign * (leg.entry_price * got - money if is_reduce else money - leg.cap_touch * got)
    # All in quote, for the whole quantity.
    whole = spec.multiplier * qty / got
    fees = money * terms.fee_bps.get(spec.id, ZERO) / 10_000 * whole
    forgone = money * edge_bps / 10_000 * whole
    price = None if bound is None else spec.price(bound)
    cost = slippage * whole + fees + forgone
    order = PlannedOrder(index, is_reduce, side, qty, price, qty * spec.multiplier, cost, fees, forgone)
    return order, got / qty


def _bound(leg: Leg, spec: Instrument, touch_ticks: int, side: Side, terms: Terms, *, is_reduce: bool) -> int | None:
    """Return the worst price in ticks, None for any: from the touch at the start when completing, else from now's.

    The leg's own limit holds for completing in every case: it is what the trade is worth.
    """
    limit = None if is_reduce else leg.limit_price
    asked = BasketLeg(leg.account, leg.instrument, side, leg.target, limit_price=limit)
    if terms.cap_bps is None:
        if limit is None:
            return None
        # A slippage wide enough that only the limit binds.
        return worst_ticks(spec, asked, touch_ticks, Decimal(1_000_000))
    start = touch_ticks if is_reduce else spec.ticks(leg.cap_touch)
    return worst_ticks(spec, asked, start, terms.cap_bps)


def is_sendable(spec: Instrument, qty: Decimal, touch_ticks: int, *, is_reduce: bool) -> bool:
    """Whether the venue's minimums allow it; derivatives waive the least notional when reducing (Binance -4164)."""
    if qty < spec.min_qty:
        return False
    if is_reduce and not spec.is_spot:
        return True
    return spec.notional(qty, spec.price(touch_ticks)) >= spec.min_notional
