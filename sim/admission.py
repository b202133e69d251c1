"""Decides whether a venue takes an order: grid, state of the market, position side, balance, margin, brackets."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from sim import auction, margin
from sim.account import SimAccount
from sim.matching import Matcher
from sim.parametric import ParametricMatcher
from sim.rows import LOTS_MAX, TICKS_MAX
from sim.venue_order import CONDITIONAL, VenueOrder
from sim.venue_rules import SELF_TRADE, RefusedError, SelfTrade
from sim.venue_state import Market, VenueState
from venues.model.account import PositionMode
from venues.model.book import Level
from venues.model.fill import Liquidity
from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.port import InstrumentState, RejectReason, SubmitOrder
from venues.rules import binance_margin

PRICED = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})
_STOPS = CONDITIONAL - {OrderType.TRAILING_STOP}


def to_lots(spec: Instrument, qty: Decimal) -> int:
    """Return a positive quantity in lots. Raises RefusedError (OFF_LOT)."""
    try:
        lots = spec.lots(qty)
    except (OffGridError, InvalidOperation) as error:
        raise RefusedError(RejectReason.OFF_LOT, str(error)) from None
    if lots <= 0:
        raise RefusedError(RejectReason.OFF_LOT, f"quantity {qty} is not positive")
    if lots > LOTS_MAX:
        raise RefusedError(RejectReason.ABOVE_MAX_QTY, f"quantity {qty} is above {LOTS_MAX} lots")
    return lots


def to_ticks(spec: Instrument, price: Decimal | None, name: str) -> int:
    """Return a positive price in ticks. Raises RefusedError (OFF_TICK, BAD_PRICE)."""
    if price is None or not price.is_finite() or price <= ZERO:
        raise RefusedError(RejectReason.BAD_PRICE, f"{name}: {price} is not a price")
    try:
        ticks = spec.ticks(price)
    except (OffGridError, InvalidOperation) as error:
        raise RefusedError(RejectReason.OFF_TICK, str(error)) from None
    if ticks > TICKS_MAX:
        raise RefusedError(RejectReason.BAD_PRICE, f"{name}: {price} is above {TICKS_MAX} ticks")
    return ticks


def check_open(market: Market) -> None:
    """Refuse while the market is halted or closed. Source: CME confluence 78446621 (market states)."""
    if market.is_settled:
        raise RefusedError(RejectReason.HALTED, f"{market.spec.id} has settled for good")
    if market.state in {InstrumentState.HALT, InstrumentState.CLOSE}:
        raise RefusedError(RejectReason.HALTED, f"{market.spec.id} is in {market.state}")


def check_price(state: VenueState, market: Market, kind: OrderType, side: Side, ticks: int | None) -> None:
    """Refuse a limit price beyond the day's limits or the price band. Raises RefusedError.

    The band is for limit orders: what a stop becomes is not banded.
    """
    controls = market.controls
    if controls is None or ticks is None or kind not in PRICED:
        return
    price = market.spec.price(ticks)
    controls.refresh(state.now)
    controls.check_limits(price)
    if kind is not OrderType.LIMIT or controls.rules.price_band is None:
        return
    matcher, is_pre_open = market.matcher, market.state is InstrumentState.PRE_OPEN
    opening = None
    if is_pre_open and isinstance(matcher, Matcher):
        opening = auction.opening_price(matcher, market.last_trade)
    controls.check_band(
        side,
        price,
        last=market.last_trade,
        bid=matcher.best(Side.BUY),
        offer=matcher.best(Side.SELL),
        settlement=market.settlement,
        indicative=None if opening is None else opening[0],
        is_pre_open=is_pre_open,
    )


def read_order(state: VenueState, market: Market, command: SubmitOrder) -> VenueOrder:
    """Return the order a command describes. Raises RefusedError for what the venue would not even look at."""
    spec = market.spec
    check_open(market)
    if (command.account, command.client_order_id) in state.live:
        raise RefusedError(RejectReason.DUPLICATE_ID, f"{command.client_order_id} is open already")
    account = state.accounts[command.account]
    order = VenueOrder(
        command,
        "",
        command.side,
        command.position_side,
        0 if command.close_position else to_lots(spec, command.qty),
        reduces=_reduces(account, spec, command),
        expire_ns=_expiry(state, command),
        arrived_ns=state.now,
        stp=_self_trade(command),
    )
    if command.type in PRICED:
        order.ticks = to_ticks(spec, command.price, "price")
    _check_trigger(spec, command)
    _check_extras(spec, state, command)
    if command.min_qty is not None:
        order.min_lots = to_lots(spec, command.min_qty)
    if command.display_qty is not None:
        order.display_lots = to_lots(spec, command.display_qty)
    if not command.close_position:
        check_size(spec, order, market)
    return order


def _reduces(account: SimAccount, spec: Instrument, command: SubmitOrder) -> bool:
    asks = command.reduce_only or command.close_position
    if spec.is_spot:
        if asks:
            raise RefusedError(RejectReason.UNSUPPORTED, "reduce_only: a spot market has no positions")
        return False
    if account.account.position_mode is PositionMode.ONE_WAY:
        if command.position_side is not PositionSide.BOTH:
            raise RefusedError(RejectReason.POSITION_SIDE, "one-way accounts trade position side BOTH")
        return asks
    if command.position_side is PositionSide.BOTH:
        raise RefusedError(RejectReason.POSITION_SIDE, "hedge accounts need position side LONG or SHORT")
    reducing = (command.side is Side.SELL) is (command.position_side is PositionSide.LONG)
    if asks and not reducing:
        raise RefusedError(RejectReason.REDUCE_ONLY, f"{command.side} enlarges {command.position_side}")
    return reducing


def _expiry(state: VenueState, command: SubmitOrder) -> int | None:
    if command.tif is TimeInForce.DAY:
        return state.rules.day_end_ns(state.now)
    if command.tif is not TimeInForce.GTD:
        return None
    if command.expire_ns is None or command.expire_ns <= state.now:
        raise RefusedError(RejectReason.OTHER, f"expire_ns: {command.expire_ns} is not in the future")
    return command.expire_ns


def _self_trade(command: SubmitOrder) -> SelfTrade:
    if command.stp is None:
        return SelfTrade.TRADE
    found = SELF_TRADE.get(command.stp.lower())
    if found is None:
        raise RefusedError(RejectReason.UNSUPPORTED, f"stp: {command.stp!r} is not one of {', '.join(SELF_TRADE)}")
    return found


def _check_trigger(spec: Instrument, command: SubmitOrder) -> None:
    if command.type in _STOPS:
        to_ticks(spec, command.trigger_price, "trigger_price")
    if command.type is OrderType.TRAILING_STOP:
        rate = command.callback_rate
        if rate is None or not ZERO < rate < 1:
            raise RefusedError(RejectReason.BAD_PRICE, f"callback_rate: {rate} is not between 0 and 1")


def _check_extras(spec: Instrument, state: VenueState, command: SubmitOrder) -> None:
    if command.protection_points is not None and state.rules.name != "cme":
        raise RefusedError(RejectReason.UNSUPPORTED, f"protection_points: {state.rules.name} knows none")
    if command.type is OrderType.TRAILING_STOP and spec.is_spot:
        raise RefusedError(RejectReason.UNSUPPORTED, "trailing stops are for contracts")


def check_size(spec: Instrument, order: VenueOrder, market: Market) -> None:
    """Refuse what the venue's filters exclude. Raises RefusedError."""
    qty = spec.qty(order.lots)
    if qty < spec.min_qty:
        raise RefusedError(RejectReason.BELOW_MIN_QTY, f"quantity {qty} is below {spec.min_qty}")
    if spec.max_qty is not None and qty > spec.max_qty:
        raise RefusedError(RejectReason.ABOVE_MAX_QTY, f"quantity {qty} is above {spec.max_qty}")
    if not spec.min_notional or order.reduces:
        return
    price = spec.price(order.ticks) if order.ticks is not None else market.mark
    if price is None:
        best = market.matcher.best(order.side.opposite)
        price = None if best is None else spec.price(best)
    if price is not None and spec.notional(qty, price) < spec.min_notional:
        raise RefusedError(RejectReason.BELOW_MIN_NOTIONAL, f"{qty} at {price} is below {spec.min_notional}")


def check_funds(
    state: VenueState,
    market: Market,
    order: VenueOrder,
    price: Decimal | None,
    before: Sequence[margin.WorkingOrder] | None = None,
) -> None:
    """Refuse an order the account cannot carry. `price` is the limit or the best opposite, None when nothing can trade.

    `before` is what worked before the order was changed, for a modify. An order that lowers the requirement, or
    leaves it, is never refused. Raises RefusedError.
    """
    if price is None or order.leaves <= 0:
        return
    if market.spec.is_spot:
        _check_cash(state, market, order)
    elif not order.reduces:
        # A stop that has just triggered is live, but has claimed nothing so far.
        working = before if before is not None else margin.working(state, market, order.account, without=order)
        _check_margin(state, market, order, price, working)


def _check_margin(
    state: VenueState, market: Market, order: VenueOrder, price: Decimal, before: Sequence[margin.WorkingOrder]
) -> None:
    account, spec = state.accounts[order.account], market.spec
    others = margin.working(state, market, account.id, without=order)
    qty = spec.qty(order.leaves)
    after = [*others, margin.WorkingOrder(order.side, order.position_side, qty, price)]
    free_after = margin.free_margin(state, account, spec.settle, market, after)
    if free_after < ZERO and free_after < margin.free_margin(state, account, spec.settle, market, before):
        raise RefusedError(RejectReason.INSUFFICIENT_MARGIN, f"{-free_after} {spec.settle} short of initial margin")
    _check_bracket(state, account, market, before, after)


def _check_bracket(
    state: VenueState,
    account: SimAccount,
    market: Market,
    before: Sequence[margin.WorkingOrder],
    after: Sequence[margin.WorkingOrder],
) -> None:
    # Source: Binance error -2027 (the largest position at the chosen leverage).
    spec = market.spec
    if not spec.brackets:
        return
    size = margin.exposure(account, market, after)
    if size <= margin.exposure(account, market, before):
        return
    leverage = state.leverage(account, spec)
    try:
        row = binance_margin.bracket_for(spec.brackets, size)
    except binance_margin.NotionalAboveTableError as error:
        raise RefusedError(RejectReason.LEVERAGE, str(error)) from None
    if leverage > row.max_leverage:
        text = f"a notional of {size} allows {row.max_leverage}x, the account uses {leverage}x"
        raise RefusedError(RejectReason.LEVERAGE, text)


def _check_cash(state: VenueState, market: Market, order: VenueOrder) -> None:
    account, spec = state.accounts[order.account], market.spec
    asset = spec.quote if order.side is Side.BUY else spec.base
    free = account.account.balance(asset)
    for other in state.live_orders(order.account):
        their = state.markets[other.instrument]
        if other is not order and their.spec.is_spot and other.resting and _spends(their.spec, other.side) == asset:
            free -= _cash(state, their, other, other.leaves, other.ticks)
    if _spends(spec, order.side) == asset and _cash(state, market, order, order.leaves, order.ticks) > free:
        raise RefusedError(RejectReason.INSUFFICIENT_BALANCE, f"{free} {asset} is free")


def _spends(spec: Instrument, side: Side) -> str:
    return spec.quote if side is Side.BUY else spec.base


def _cash(state: VenueState, market: Market, order: VenueOrder, lots: int, ticks: int | None) -> Decimal:
    """Return what the order can spend at most: base for a sell, quote with the taker fee for a buy."""
    spec = market.spec
    if order.side is Side.SELL:
        return spec.qty(lots) * spec.multiplier
    schedule = state.fees.of(spec.id)
    matcher = market.matcher
    if ticks is not None:
        levels: Iterable[Level] = [(ticks, lots)]
    elif isinstance(matcher, ParametricMatcher):
        levels = matcher.levels(order.side, None, lots)
    else:
        levels = matcher.levels(order.side, None)
    spent = ZERO
    for level, shown in levels:
        took = min(lots, shown)
        qty, price = spec.qty(took), spec.price(level)
        spent += spec.notional(qty, price) + schedule.fee(spec, qty, price, Liquidity.TAKER)
        lots -= took
        if not lots:
            break
    return spent
