"""Decides what figures the emulated venue prints of positions and balances: Binance's names over the venue's truth."""

from decimal import Decimal

from sim import margin
from sim.account import Holding, SimAccount
from sim.emulator.listings import Listing
from sim.emulator.records import BalanceFigures, PositionFigures
from sim.venue_state import Market, VenueState
from venues.model.account import MarginMode, PositionMode
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.rules.instrument_margin import initial_margin

ASSETS = ("USDT", "USDC", "BNB", "BTC", "ETH", "FDUSD")
"""The margin assets that v2 answers list even when they are empty."""


def sides(account: SimAccount) -> tuple[PositionSide, ...]:
    """Return the sides that positionRisk v2 prints for the account's mode."""
    if account.account.position_mode is PositionMode.HEDGE:
        return (PositionSide.LONG, PositionSide.SHORT)
    return (PositionSide.BOTH,)


def position(
    state: VenueState, account: SimAccount, listing: Listing, side: PositionSide, *, costs: Decimal = ZERO
) -> PositionFigures:
    """Return one position's figures; `costs` is what it has cost so far (fees paid less profit realised)."""
    market = state.markets[listing.id]
    spec = market.spec
    held = account.holdings.get((spec.id, side)) or Holding(account.holding(spec.id, side).position)
    mark = market.reference() or ZERO
    leverage = state.leverage(account, spec)
    is_isolated = account.mode(spec.id) is MarginMode.ISOLATED
    amount = held.qty
    entry = held.position.entry_price(spec) or ZERO
    unrealized = held.position.unrealized_pnl(mark, spec)
    bids, asks = _order_notionals(state, account, market, side)
    alone = initial_margin(spec, amount, mark, leverage) if amount else ZERO
    largest = _with_orders(amount * mark, bids, asks) / leverage
    maintenance = margin.maintenance(state, account, market, held) if amount else ZERO
    found = margin.liquidation_price(state, account, market, held) if amount else None
    break_even = entry + costs / amount if amount else ZERO
    return PositionFigures(
        symbol=listing.symbol,
        position_side=str(side),
        amount=amount,
        entry_price=entry,
        break_even_price=break_even,
        mark_price=mark,
        unrealized=unrealized,
        liquidation_price=ZERO if found is None else found,
        leverage=leverage,
        margin_type="isolated" if is_isolated else "cross",
        isolated_wallet=held.isolated_wallet,
        isolated_margin=held.isolated_wallet + unrealized if is_isolated and amount else ZERO,
        notional=amount * mark,
        margin_asset=spec.settle,
        initial_margin=max(alone, largest),
        maint_margin=maintenance,
        position_initial_margin=alone,
        open_order_initial_margin=max(ZERO, largest - alone),
        bid_notional=bids,
        ask_notional=asks,
        accumulated_realized=held.position.realized_pnl,
        max_notional=max_notional(listing, leverage),
        adl=adl_quantile(amount, unrealized),
        update_ms=0,
    )


def adl_quantile(amount: Decimal, unrealized: Decimal) -> int:
    """Return a place in the deleveraging queue: there is nobody else in it, so profit alone decides."""
    if not amount:
        return 0
    return 3 if unrealized > ZERO else 1


def max_notional(listing: Listing, leverage: int) -> Decimal:
    """Return the largest notional that the brackets allow at a leverage."""
    return max((row.cap for row in listing.spec.brackets if row.max_leverage >= leverage), default=ZERO)


def _with_orders(position: Decimal, bids: Decimal, asks: Decimal) -> Decimal:
    # Source: facts A3; the larger of what all bids or all asks would leave.
    return max(abs(position + bids), abs(position - asks))


def _order_notionals(
    state: VenueState, account: SimAccount, market: Market, side: PositionSide
) -> tuple[Decimal, Decimal]:
    totals = {Side.BUY: ZERO, Side.SELL: ZERO}
    for order in margin.working(state, market, account.id):
        if order.position_side is side:
            totals[order.side] += order.qty * order.price
    return totals[Side.BUY], totals[Side.SELL]


def balances(state: VenueState, account: SimAccount, updated_ms: int) -> list[BalanceFigures]:
    """Return every asset's figures, those that are empty included."""
    names = list(dict.fromkeys([*account.account.balances, *ASSETS]))
    return [_balance(state, account, asset, updated_ms) for asset in names]


def _balance(state: VenueState, account: SimAccount, asset: str, updated_ms: int) -> BalanceFigures:
    wallet = account.account.balance(asset)
    cross = wallet - account.isolated_total(state.settle_asset, asset)
    total = alone = maintenance = unrealized = cross_unrealized = ZERO
    for market in state.markets.values():
        spec = market.spec
        if spec.is_spot or spec.settle != asset:
            continue
        with_orders, positions = margin.instrument_margin(
            state, account, market, margin.working(state, market, account.id)
        )
        total += with_orders
        alone += positions
        is_isolated = account.mode(spec.id) is MarginMode.ISOLATED
        for held in account.open_holdings(spec.id):
            profit = margin.unrealized(market, held)
            unrealized += profit
            cross_unrealized += ZERO if is_isolated else profit
            maintenance += margin.maintenance(state, account, market, held)
    available = max(ZERO, margin.free_margin(state, account, asset))
    return BalanceFigures(
        asset=asset,
        wallet=wallet,
        cross_wallet=cross,
        unrealized=unrealized,
        cross_unrealized=cross_unrealized,
        margin_balance=wallet + unrealized,
        maint_margin=maintenance,
        initial_margin=total,
        position_initial_margin=alone,
        open_order_initial_margin=total - alone,
        available=available,
        max_withdraw=min(available, max(ZERO, cross)),
        update_ms=updated_ms,
    )
