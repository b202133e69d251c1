"""Decides what follows from an execution or an end: money, positions, reports, reduce-only orders that shrink."""

from decimal import Decimal

from sim import fund
from sim.account import FlowType, Holding, SimAccount, mark_to
from sim.venue_order import VenueOrder
from sim.venue_state import HISTORY_MAX, Market, VenueState
from venues.model.account import MarginMode
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import InstrumentKind
from venues.model.money import COST_QUANTUM, ROUND_HALF_EVEN, ZERO
from venues.model.order import OrderEvent, OrderStatus, OrderType, PositionSide, Side
from venues.port import (
    AccountReport,
    FundingRate,
    FundingSettled,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    PositionReport,
    SubmitOrder,
)
from venues.rules import insurance
from venues.rules.funding import instrument_payment


class NoReferencePriceError(RuntimeError):
    """A payment that needs a mark price where none is known; nothing was booked."""


def fill_order(
    state: VenueState,
    market: Market,
    order: VenueOrder,
    ticks: int,
    lots: int,
    liquidity: Liquidity,
    reason: FillReason,
) -> None:
    """Book an execution of a resting or arriving order and report it."""
    order.filled += lots
    order.filled_cost += lots * ticks
    order.last_ticks = ticks
    if order.leaves > 0 or order.cut:
        order.apply(OrderEvent.FILL_PART)
    else:
        order.apply(OrderEvent.FILL_ALL)
    book_fill(state, market, order, market.spec.price(ticks), market.spec.qty(lots), liquidity, reason)
    if order.leaves <= 0:
        # What reduce-only cut away expires with the last fill.
        _leave(state, market, order, OrderEvent.EXPIRE if order.cut else None)


def book_fill(
    state: VenueState,
    market: Market,
    order: VenueOrder,
    price: Decimal,
    qty: Decimal,
    liquidity: Liquidity,
    reason: FillReason,
) -> Decimal:
    """Move money and position for a fill and report fill, position and account. Returns the realised profit."""
    spec = market.spec
    account = state.accounts[order.account]
    realized = ZERO
    fee_type = FlowType.LIQUIDATION_FEE if order.forced else FlowType.FEE
    if not order.forced:
        fee = state.fees.of(spec.id).fee(spec, qty, price, liquidity)
    elif liquidity is Liquidity.NONE:
        fee = ZERO
    else:
        fee = insurance.clearance_fee(qty * spec.multiplier, price, spec.liquidation_fee)
    fee = account.rounded(fee)
    fee_asset = spec.quote if spec.is_spot else spec.settle
    if spec.is_spot:
        if state.settings.base_fees and order.side is Side.BUY:
            fee = account.rounded((fee / price).quantize(COST_QUANTUM, rounding=ROUND_HALF_EVEN))
            fee_asset = spec.base
        account.book_spot(state.now, spec, order.side, qty, price, fee, fee_asset)
    else:
        leverage = Decimal(state.leverage(account, spec))
        realized = account.book_contract(
            state.now, spec, order.position_side, order.side, qty, price, fee, leverage, fee_type
        )
        if liquidity is Liquidity.NONE:
            # Nothing the compiled venue has seen.
            held = account.qty(spec.id, order.position_side)
            market.matcher.hold(account.id, order.position_side, int(held / spec.lot_size))
    if order.forced and fee:
        fund.book(state, FlowType.LIQUIDATION_FEE, spec.settle, fee, spec.id)
    market.trades += 1
    report = OrderFilled(
        state.now,
        order.account,
        spec.id,
        order.id,
        order.venue_order_id,
        f"{spec.symbol}-{market.trades}",
        order.side,
        price,
        qty,
        liquidity,
        fee,
        fee_asset,
        reason,
        order.position_side,
    )
    state.fills.append(report)
    state.say(report)
    push_position(state, account, market, order.position_side)
    push_account(state, account, "fill")
    return realized


def push_account(state: VenueState, account: SimAccount, reason: str) -> None:
    state.say(AccountReport(state.now, account.id, dict(account.account.balances), reason))


def push_position(state: VenueState, account: SimAccount, market: Market, side: PositionSide) -> None:
    if market.spec.is_spot:
        return
    position = account.holding(market.spec.id, side).position
    state.say(
        PositionReport(
            state.now,
            account.id,
            market.spec.id,
            side,
            position.qty,
            position.entry_price(market.spec),
            leverage=state.leverage(account, market.spec),
            margin_mode=account.mode(market.spec.id),
        )
    )


def _leave(state: VenueState, market: Market, order: VenueOrder, event: OrderEvent | None) -> None:
    """Take the order out of everything; `event` is how it ends, None when it is filled."""
    market.matcher.remove(order)
    if order in market.conditional:
        market.conditional.remove(order)
    order.armed = False
    key = (order.account, order.id)
    if state.live.pop(key, None) is not None:
        state.done[key] = order
        if len(state.done) > HISTORY_MAX:
            del state.done[next(iter(state.done))]
    if order.expire_ns is not None:
        state.find_deadline()
    if event is None:
        return
    order.apply(event)
    filled = market.spec.qty(order.filled)
    made = OrderExpired if event is OrderEvent.EXPIRE else OrderCanceled
    if not order.forced:
        state.say(made(state.now, order.account, order.instrument, order.id, filled))


def expire(state: VenueState, market: Market, order: VenueOrder) -> None:
    _leave(state, market, order, OrderEvent.EXPIRE)


def cancel(state: VenueState, market: Market, order: VenueOrder) -> None:
    _leave(state, market, order, OrderEvent.CANCEL)


def drop_rejected(state: VenueState, market: Market, order: VenueOrder) -> None:
    """Take out an order that was refused; the caller reports the refusal."""
    order.apply(OrderEvent.REJECT)
    _leave(state, market, order, None)


def reducible(state: VenueState, market: Market, order: VenueOrder) -> int:
    """Return how many lots of the position the order can close; 0 when it would enlarge it."""
    qty = state.accounts[order.account].qty(market.spec.id, order.position_side)
    return int(abs(qty) / market.spec.lot_size) if qty * order.side.sign < ZERO else 0


def pay_funding(state: VenueState, market: Market, rate: Decimal, mark: Decimal | None) -> None:
    """Charge everyone who holds at this instant the whole interval.

    Raises NoReferencePriceError, before anything is booked, when somebody
    holds and there is no mark.
    """
    spec = market.spec
    holders = [(account, held) for account in state.accounts.values() for held in account.open_holdings(spec.id)]
    price = mark if mark is not None else market.mark
    if price is None:
        if holders:
            raise NoReferencePriceError(f"{spec.id}: funding without a mark price")
        return
    market.rates.append(FundingRate(state.now, spec.id, rate, price))
    fund.pay_funding(state, market, rate, price)
    for account, held in holders:
        amount = account.rounded(instrument_payment(spec, held.qty, price, rate))
        account.pay(state.now, FlowType.FUNDING, spec.settle, amount, spec.id, held.position.side)
        if account.mode(spec.id) is MarginMode.ISOLATED:
            held.isolated_wallet += amount
        side = held.position.side
        state.say(FundingSettled(state.now, account.id, spec.id, rate, price, held.qty, amount, spec.settle, side))
        push_account(state, account, "funding")


def settle(state: VenueState, market: Market, price: Decimal, final: bool) -> None:
    """Pay variation margin at a settlement price; the final one also ends orders and positions."""
    spec = market.spec
    market.settlement = market.latest = price
    fund.settle(state, market, price, final)
    for account in state.accounts.values():
        for held in account.open_holdings(spec.id):
            if spec.kind is InstrumentKind.FUTURE:
                flow = mark_to(held, spec, price)
                account.pay(state.now, FlowType.SETTLEMENT, spec.settle, flow, spec.id)
                if account.mode(spec.id) is MarginMode.ISOLATED:
                    held.isolated_wallet += flow
                push_position(state, account, market, held.position.side)
                push_account(state, account, "settlement")
    if not final:
        return
    market.is_settled = True
    for order in [o for o in state.live.values() if o.instrument == spec.id]:
        cancel(state, market, order)
    for account in state.accounts.values():
        for held in account.open_holdings(spec.id):
            _close_at(state, market, account, held, price)


def _close_at(state: VenueState, market: Market, account: SimAccount, held: Holding, price: Decimal) -> None:
    order = forced_order(state, market, account, held, "settlement_autoclose-")
    book_fill(state, market, order, price, abs(held.qty), Liquidity.NONE, FillReason.SETTLEMENT)


def forced_order(state: VenueState, market: Market, account: SimAccount, held: Holding, prefix: str) -> VenueOrder:
    """Return the venue's own order that closes `held`. Client id prefixes as in Binance's user stream."""

    state.forced += 1
    side = Side.SELL if held.qty > ZERO else Side.BUY
    command = SubmitOrder(
        state.now,
        account.id,
        market.spec.id,
        f"{prefix}{state.forced}",
        side,
        abs(held.qty),
        OrderType.MARKET,
        position_side=held.position.side,
    )
    lots = int(abs(held.qty) / market.spec.lot_size)
    return VenueOrder(
        command,
        f"{prefix}{state.forced}",
        side,
        held.position.side,
        lots,
        status=OrderStatus.ACCEPTED,
        forced=True,
    )


def square_with_fund(state: VenueState, account: SimAccount, asset: str, left: Decimal, instrument: str) -> None:
    """Hand what is left of a bankrupt collateral to the insurance fund, or have the fund fill the hole.

    A residue of the division in the bankruptcy price goes the same way, so that the collateral ends at exactly zero.
    """
    if not left:
        return
    account.pay(state.now, FlowType.INSURANCE, asset, -left, instrument)
    fund.book(state, FlowType.INSURANCE, asset, left, instrument)
    push_account(state, account, "insurance")
