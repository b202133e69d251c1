"""Decides what margin an account needs, has, and at which price its positions are liquidated or bankrupt.

Binance: `venues/rules/binance_margin.py`. Bybit UTA adds the fee to close. Futures use money per contract. Spot needs
no margin.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from attrs import frozen

from sim.account import Holding, SimAccount
from sim.venue_order import VenueOrder
from sim.venue_state import Market, VenueState
from venues.model.account import MarginMode, PositionMode
from venues.model.instrument import Instrument
from venues.model.money import ROUND_HALF_EVEN, ZERO
from venues.model.order import PositionSide, Side
from venues.rules import binance_margin

# Fine enough for any price, coarse enough that price x quantity stays exact; the fund takes the difference.
_PRICE_QUANTUM = Decimal("1E-12")


@frozen
class WorkingOrder:
    """An order's claim on margin: `qty` still to trade at `price`."""

    side: Side
    position_side: PositionSide
    qty: Decimal
    price: Decimal


def unit_margin(spec: Instrument, price: Decimal, leverage: int) -> Decimal:
    """Return the initial margin of one quantity unit at `price`."""
    if spec.initial_margin is not None:
        return spec.initial_margin
    return spec.multiplier * price / leverage


def value_price(market: Market, held: Holding) -> Decimal:
    """Return the price a position is valued at; without any market price its own entry (no profit)."""
    found = market.reference()
    if found is not None:
        return found
    return held.position.entry_price(market.spec) or ZERO


def unrealized(market: Market, held: Holding) -> Decimal:
    return held.position.unrealized_pnl(value_price(market, held), market.spec)


def working(state: VenueState, market: Market, account: str, without: VenueOrder | None = None) -> list[WorkingOrder]:
    """Return the resting orders that could enlarge a position; reducing and untriggered ones claim nothing."""
    return [
        WorkingOrder(order.side, order.position_side, market.spec.qty(order.leaves), market.spec.price(order.ticks))
        for order in state.live_orders(account, market.spec.id)
        if order is not without and order.ticks is not None and not order.armed and not order.reduces
    ]


def _net(position: Decimal, orders: Iterable[tuple[Side, Decimal]]) -> Decimal:
    """Return max(|position + bids|, |position - asks|) in whatever unit the arguments have."""
    bids = asks = ZERO
    for side, size in orders:
        if side is Side.BUY:
            bids += size
        else:
            asks += size
    return max(abs(position + bids), abs(position - asks))


def instrument_margin(
    state: VenueState, account: SimAccount, market: Market, orders: Sequence[WorkingOrder]
) -> tuple[Decimal, Decimal]:
    """Return (initial margin with orders, of positions alone): formula A3, summed over the sides in hedge mode."""
    spec = market.spec
    leverage = state.leverage(account, spec)
    total = alone = ZERO
    for side in _sides(account):
        held = account.holdings.get((spec.id, side))
        position = ZERO
        if held is not None and held.qty:
            position = held.qty * unit_margin(spec, value_price(market, held), leverage)
        mine = [(o.side, o.qty * unit_margin(spec, o.price, leverage)) for o in orders if o.position_side is side]
        total += _net(position, mine)
        alone += abs(position)
    return total, alone


def exposure(account: SimAccount, market: Market, orders: Sequence[WorkingOrder]) -> Decimal:
    """Return the largest notional the account can reach in the instrument, which picks the bracket."""
    spec = market.spec
    largest = ZERO
    for side in _sides(account):
        held = account.holdings.get((spec.id, side))
        position = held.qty * spec.multiplier * value_price(market, held) if held is not None and held.qty else ZERO
        mine = [(o.side, o.qty * spec.multiplier * o.price) for o in orders if o.position_side is side]
        largest = max(largest, _net(position, mine))
    return largest


def _sides(account: SimAccount) -> tuple[PositionSide, ...]:
    if account.account.position_mode is PositionMode.HEDGE:
        return (PositionSide.LONG, PositionSide.SHORT)
    return (PositionSide.BOTH,)


def free_margin(
    state: VenueState,
    account: SimAccount,
    asset: str,
    market: Market | None = None,
    orders: Sequence[WorkingOrder] = (),
) -> Decimal:
    """Return what is left of `asset` after all initial margins; `orders` replace those of `market`.

    Cross wallet plus cross unrealised profit, less the margin of cross positions with their orders and of the orders
    of isolated instruments. Negative when overdrawn.
    """
    free = account.account.balance(asset) - account.isolated_total(state.settle_asset, asset)
    for each in state.markets.values():
        spec = each.spec
        if spec.is_spot or spec.settle != asset:
            continue
        claims = orders if each is market else working(state, each, account.id)
        total, alone = instrument_margin(state, account, each, claims)
        if account.mode(spec.id) is MarginMode.ISOLATED:
            free -= total - alone
        else:
            free += sum((unrealized(each, held) for held in account.open_holdings(spec.id)), ZERO) - total
    return free


def maintenance(state: VenueState, account: SimAccount, market: Market, held: Holding) -> Decimal:
    """Return the maintenance margin of one position at the reference price."""
    spec = market.spec
    if spec.maintenance_margin is not None:
        return abs(held.qty) * spec.maintenance_margin
    notional = spec.notional(held.qty, value_price(market, held))
    margin = binance_margin.maintenance_margin(spec.brackets, notional)
    return margin + fee_to_close(state, account, market, held)


def fee_to_close(state: VenueState, account: SimAccount, market: Market, held: Holding) -> Decimal:
    """Return Bybit's estimated fee to close: at the bankruptcy price of the chosen leverage; zero elsewhere."""
    if not state.rules.fee_to_close or not held.qty:
        return ZERO
    spec = market.spec
    entry = held.position.entry_price(spec) or ZERO
    sign = 1 if held.qty > ZERO else -1
    at = 1 - Decimal(sign) / state.leverage(account, spec)
    return spec.notional(held.qty, entry) * at * state.fees.of(spec.id).taker


def pool(state: VenueState, account: SimAccount, asset: str) -> list[tuple[Market, Holding]]:
    """Return the open positions that share the cross wallet of `asset`."""
    found = []
    for (name, _), held in account.holdings.items():
        market = state.markets[name]
        if held.qty and market.spec.settle == asset and account.mode(name) is not MarginMode.ISOLATED:
            found.append((market, held))
    return found


def cross_balance(state: VenueState, account: SimAccount, asset: str) -> Decimal:
    """Return the cross wallet of `asset`: everything that does not belong to isolated positions."""
    return account.account.balance(asset) - account.isolated_total(state.settle_asset, asset)


def pool_health(state: VenueState, account: SimAccount, asset: str) -> tuple[Decimal, Decimal]:
    """Return (margin balance, maintenance margin) of the cross pool of `asset`."""
    balance, needed = cross_balance(state, account, asset), ZERO
    for market, held in pool(state, account, asset):
        balance += unrealized(market, held)
        needed += maintenance(state, account, market, held)
    return balance, needed


def isolated_health(state: VenueState, account: SimAccount, market: Market, held: Holding) -> tuple[Decimal, Decimal]:
    """Return (margin balance, maintenance margin) of one isolated position.

    On Bybit the fee to close is set aside on top of the position's own margin, so it stands on neither side.
    """
    needed = maintenance(state, account, market, held) - fee_to_close(state, account, market, held)
    return held.isolated_wallet + unrealized(market, held), needed


def _others(state: VenueState, account: SimAccount, market: Market) -> tuple[Decimal, Decimal]:
    needed = pnl = ZERO
    for other, held in pool(state, account, market.spec.settle):
        if other is not market:
            needed += maintenance(state, account, other, held)
            pnl += unrealized(other, held)
    return needed, pnl


def liquidation_price(state: VenueState, account: SimAccount, market: Market, held: Holding) -> Decimal | None:
    """Return the mark price that liquidates the position, None when there is none."""
    spec = market.spec
    isolated = account.mode(spec.id) is MarginMode.ISOLATED
    together = [held] if isolated else account.open_holdings(spec.id)
    if isolated:
        wallet, needed, pnl = held.isolated_wallet, ZERO, ZERO
    else:
        wallet = cross_balance(state, account, spec.settle)
        needed, pnl = _others(state, account, market)
        needed += sum((fee_to_close(state, account, market, each) for each in together), ZERO)
    if spec.maintenance_margin is not None:
        return _per_contract(spec, wallet - needed + pnl, together)
    legs = [
        binance_margin.Leg(
            each.position.side, each.qty * spec.multiplier, each.position.entry_price(spec) or ZERO, spec.brackets
        )
        for each in together
    ]
    return binance_margin.liquidation_price(wallet, legs, needed, pnl)


def _per_contract(spec: Instrument, wallet: Decimal, together: list[Holding]) -> Decimal | None:
    net = sum((held.qty for held in together), ZERO) * spec.multiplier
    if not net or spec.maintenance_margin is None:
        return None
    needed = sum((abs(held.qty) for held in together), ZERO) * spec.maintenance_margin
    cost = sum((held.position.cost for held in together), ZERO)
    price = (needed - wallet + cost) / net
    return price if price > ZERO else None


def bankruptcy_price(state: VenueState, account: SimAccount, market: Market, held: Holding) -> Decimal:
    """Return the price at which closing the position leaves its margin balance at zero.

    For a cross pool the other positions count at their own reference prices.
    """
    spec = market.spec
    size = held.qty * spec.multiplier
    entry = held.position.entry_price(spec) or ZERO
    wallet = held.isolated_wallet
    if account.mode(spec.id) is not MarginMode.ISOLATED:
        wallet = cross_balance(state, account, spec.settle)
        for other, each in pool(state, account, spec.settle):
            if each is not held:
                wallet += unrealized(other, each)
    price = binance_margin.bankruptcy_price(size, entry, wallet)
    return max(ZERO, price.quantize(_PRICE_QUANTUM, rounding=ROUND_HALF_EVEN))
