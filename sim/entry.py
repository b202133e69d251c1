"""Decides what an arriving submit, modify, cancel or trigger does: refuse, take, rest, expire."""

from decimal import Decimal

from sim import booking, margin, triggers
from sim.admission import PRICED, check_funds, check_open, check_price, read_order, to_lots, to_ticks
from sim.parametric import ParametricMatcher
from sim.venue_order import CONDITIONAL, VenueOrder
from sim.venue_rules import RefusedError
from sim.venue_state import Market, VenueState
from venues.model.order import OrderEvent, OrderType, TimeInForce
from venues.port import (
    CancelAll,
    CancelOrder,
    CancelRejected,
    InstrumentState,
    ModifyOrder,
    ModifyRejected,
    OrderAccepted,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    RejectReason,
    SubmitOrder,
)

_IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


def submit(state: VenueState, command: SubmitOrder) -> None:
    market = state.markets.get(command.instrument)
    try:
        if market is None:
            raise RefusedError(RejectReason.UNKNOWN_INSTRUMENT, f"{command.instrument} is not listed here")
        order = read_order(state, market, command)
        check_price(state, market, command.type, order.side, order.ticks)
        if command.type in CONDITIONAL:
            _arm(state, market, order)
        else:
            _enter(state, market, order)
    except RefusedError as refusal:
        state.say(_rejected(state, command, refusal))


def _rejected(state: VenueState, command: SubmitOrder, refusal: RefusedError) -> OrderRejected:
    ids = (command.account, command.instrument, command.client_order_id)
    return OrderRejected(state.now, *ids, refusal.reason, refusal.text)


def _accept(state: VenueState, order: VenueOrder) -> None:
    state.orders += 1
    order.sequence = state.orders
    order.venue_order_id = str(state.orders)
    order.apply(OrderEvent.ACCEPT)
    state.live[order.account, order.id] = order
    if order.expire_ns is not None:
        state.find_deadline()
    state.say(OrderAccepted(state.now, order.account, order.instrument, order.id, order.venue_order_id))


def _arm(state: VenueState, market: Market, order: VenueOrder) -> None:
    price = triggers.watched(market, order)
    if price is not None and triggers.reached(order, price) and order.command.type is not OrderType.TRAILING_STOP:
        raise RefusedError(RejectReason.WOULD_TRIGGER, f"{price} has passed the trigger already")
    _accept(state, order)
    order.armed = True
    market.conditional.append(order)


def check_triggers(state: VenueState, market: Market, on_mark: bool, is_opening: bool = False) -> int:
    """Fire what the last trade, or the mark, has reached; nothing fires while the market does not trade.

    Returns for how long (ns) stop logic pauses the market instead, 0 when it does not: at an opening it never does.
    """
    if not market.conditional or market.state is not InstrumentState.OPEN:
        return 0
    for order in tuple(market.conditional):
        price = triggers.watched(market, order)
        if order.command.trigger_on_mark is not on_mark or not order.armed or price is None:
            continue
        if triggers.reached(order, price):
            if not is_opening and (ns := _stop_logic_ns(state, market, order)):
                return ns
            fire(state, market, order)
    return 0


def _stop_logic_ns(state: VenueState, market: Market, order: VenueOrder) -> int:
    """Return the pause for an order that, elected now, would trade too far from the last trade; 0 when it would not."""
    rule = None if market.controls is None else market.controls.rules.stop_logic
    if rule is None or market.last_trade is None:
        return 0
    points = order.command.protection_points
    bound = order.ticks
    if bound is None and points is not None and order.command.trigger_price is not None:
        bound = int(order.command.trigger_price / market.spec.tick_size) + points * order.side.sign
    left, worst = order.leaves, market.last_trade
    for ticks, lots in market.matcher.levels(order.side, market.reach(state.now, order.side, bound)):
        left, worst = left - lots, ticks
        if left <= 0:
            break
    return rule.pause_ns if (worst - market.last_trade) * order.side.sign > rule.ticks else 0


def fire(state: VenueState, market: Market, order: VenueOrder) -> None:
    """Let a conditional order that has triggered enter the market; one that is refused then ends rejected."""
    market.conditional.remove(order)
    order.armed = False
    order.apply(OrderEvent.TRIGGER)
    state.say(OrderTriggered(state.now, order.account, order.instrument, order.id))
    try:
        _enter(state, market, order, order.command.trigger_price)
    except RefusedError as refusal:
        booking.drop_rejected(state, market, order)
        state.say(_rejected(state, order.command, refusal))


def _enter(state: VenueState, market: Market, order: VenueOrder, trigger: Decimal | None = None) -> None:
    """Bring an order to the book. Raises RefusedError before anything changed."""
    if order.reduces:
        _cut(state, market, order)
    limit = _limit(state, market, order, trigger)
    if market.state is not InstrumentState.OPEN and (limit is None or order.command.tif in _IMMEDIATE):
        raise RefusedError(RejectReason.HALTED, f"only resting limits before the opening of {market.spec.id}")
    if order.command.tif is TimeInForce.GTX and limit is not None and market.matcher.would_take(order.side, limit):
        raise RefusedError(RejectReason.WOULD_TAKE, f"post-only at {market.spec.price(limit)} would take")
    if isinstance(market.matcher, ParametricMatcher):
        market.matcher.check(order, limit)
    check_funds(state, market, order, _margin_price(market, order))
    order.ticks = limit
    if not order.venue_order_id:
        _accept(state, order)
    _match(state, market, order)


def _cut(state: VenueState, market: Market, order: VenueOrder) -> None:
    most = booking.reducible(state, market, order)
    if most <= 0:
        raise RefusedError(RejectReason.REDUCE_ONLY, "there is no position to reduce")
    if order.command.close_position:
        order.lots = most
    order.cut = max(0, order.lots - most)


def _limit(state: VenueState, market: Market, order: VenueOrder, trigger: Decimal | None) -> int | None:
    """Return the worst price the order may trade at, in ticks; None is unbounded."""
    kind, points = order.command.type, order.command.protection_points
    if kind in PRICED:
        return order.ticks
    best = market.matcher.best(order.side.opposite)
    if kind in {OrderType.MARKET_TO_LIMIT, OrderType.MARKET_WITH_PROTECTION} and best is None:
        raise RefusedError(RejectReason.NO_REFERENCE_PRICE, "the opposite side is empty")
    if kind is OrderType.MARKET_TO_LIMIT:
        return best
    if kind is OrderType.MARKET_WITH_PROTECTION and points is None:
        points = state.rules.protection_ticks
    if points is None:
        return None
    # Protection counts from the best opposite price, of a stop from its trigger. Source: CME confluence 78466178.
    start = best if trigger is None else int(trigger / market.spec.tick_size)
    if start is None:
        raise RefusedError(RejectReason.NO_REFERENCE_PRICE, "the opposite side is empty")
    bound = start + points * order.side.sign
    return bound if market.controls is None else market.controls.clamp(order.side, bound)


def _margin_price(market: Market, order: VenueOrder) -> Decimal | None:
    if order.command.type in PRICED and order.ticks is not None:
        return market.spec.price(order.ticks)
    best = market.matcher.best(order.side.opposite)
    return None if best is None else market.spec.price(best)


def _match(state: VenueState, market: Market, order: VenueOrder) -> None:
    tif, matcher = order.command.tif, market.matcher
    if market.state is InstrumentState.OPEN:
        needed = order.leaves if tif is TimeInForce.FOK and order.ticks is not None else order.min_lots
        reach = market.reach(state.now, order.side, order.ticks)
        if not matcher.available(order.side, reach, needed):
            booking.expire(state, market, order)
            return
        matcher.take(order, reach)
    if (order.account, order.id) not in state.live:
        return
    if order.killed or order.ticks is None or tif in _IMMEDIATE:
        booking.expire(state, market, order)
    else:
        matcher.rest(order)
        matcher.shrink_reducing()


# Changing


def modify(state: VenueState, command: ModifyOrder) -> None:
    ids = (command.account, command.instrument, command.client_order_id)
    try:
        _modify(state, command)
    except RefusedError as refusal:
        state.say(ModifyRejected(state.now, *ids, refusal.reason, refusal.text))


def _modify(state: VenueState, command: ModifyOrder) -> None:
    order = _find(state, command)
    market = state.markets[order.instrument]
    check_open(market)
    lots = to_lots(market.spec, command.qty)
    ticks = to_ticks(market.spec, command.price, "price")
    if order.armed and not (state.rules.modifies_conditional and order.command.type in PRICED):
        raise RefusedError(RejectReason.UNSUPPORTED, "a conditional order cannot be changed before it triggers")
    check_price(state, market, order.command.type, order.side, ticks)
    if lots <= order.filled:
        # Source: Binance `PUT /fapi/v1/order`: a new quantity at or below what is filled cancels the order.
        booking.cancel(state, market, order)
        return
    post_only = order.command.tif is TimeInForce.GTX
    if post_only and not order.armed and market.matcher.would_take(order.side, ticks):
        booking.cancel(state, market, order)
        return
    stays = state.rules.keeps_place_on_decrease and ticks == order.ticks and lots <= order.lots
    claims = margin.working(state, market, order.account)
    before = order.lots, order.ticks, order.cut
    order.lots, order.ticks = lots, ticks
    try:
        if order.reduces and not order.armed:
            order.cut = max(0, order.leaves + order.cut - booking.reducible(state, market, order))
        if not order.armed:
            check_funds(state, market, order, market.spec.price(ticks), claims)
    except RefusedError:
        order.lots, order.ticks, order.cut = before
        raise
    order.apply(OrderEvent.MODIFY)
    state.say(OrderModified(state.now, order.account, order.instrument, order.id, command.qty, command.price))
    if order.armed:
        return
    if stays:
        market.matcher.resize(order)
        return
    order.ticks = before[1]
    market.matcher.remove(order)
    order.ticks = ticks
    if market.state is InstrumentState.OPEN:
        market.matcher.take(order, market.reach(state.now, order.side, ticks))
    if (order.account, order.id) not in state.live:
        return
    if order.killed:
        booking.expire(state, market, order)
    else:
        market.matcher.rest(order)


def _find(state: VenueState, command: ModifyOrder | CancelOrder) -> VenueOrder:
    order = state.live.get((command.account, command.client_order_id))
    if order is None or order.instrument != command.instrument:
        raise RefusedError(RejectReason.UNKNOWN_ORDER, f"{command.client_order_id} is not open")
    return order


def cancel(state: VenueState, command: CancelOrder) -> None:
    try:
        order = _find(state, command)
    except RefusedError as refusal:
        ids = (command.account, command.instrument, command.client_order_id)
        state.say(CancelRejected(state.now, *ids, refusal.reason, refusal.text))
        return
    booking.cancel(state, state.markets[order.instrument], order)


def cancel_all(state: VenueState, command: CancelAll) -> None:
    for order in state.live_orders(command.account, command.instrument):
        booking.cancel(state, state.markets[order.instrument], order)


def expire_due(state: VenueState) -> None:
    """End the orders whose time is over, in the order they came."""
    for order in tuple(state.live.values()):
        if order.expire_ns is not None and order.expire_ns <= state.now:
            booking.expire(state, state.markets[order.instrument], order)


def end_day(state: VenueState, market: Market) -> None:
    """The market closes: DAY orders end."""
    for order in tuple(state.live.values()):
        if order.instrument == market.spec.id and order.command.tif is TimeInForce.DAY:
            booking.expire(state, market, order)
