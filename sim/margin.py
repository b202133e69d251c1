"""Decides what margin an account needs, has, and at which price its positions are liquidated or bankrupt.

The rules are in `venues/rules`: `instrument_margin.py`, `binance_margin.py`; Bybit UTA adds the fee to close of
`bybit_margin.py`. Spot needs no margin.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from attrs import frozen

from sim.account import Holding, SimAccount
from sim.venue_order import VenueOrder
from sim.venue_state import Market, VenueState
from venues.model.account import MarginMode, PositionMode
from venues.model.instrument import Instrument
from venues.model.money import ROUND_HALF_EVEN, ZERO
from venues.model.order import PositionSide, Side
from venues.rules import binance_margin, bybit_margin
from venues.rules.instrument_margin import initial_margin, maintenance_margin

# Fine enough for any price, coarse enough that price x quantity stays exact; the fund takes the difference.
_PRICE_QUANTUM = Decimal("1E-12")


@frozen
class WorkingOrder:
    """An order's claim on margin: `qty` still to trade at `price`."""

    side: Side
    position_side: PositionSide
    qty: Decimal
    price: Decimal


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


def _sized(
    account: SimAccount, market: Market, orders: Sequence[WorkingOrder], size: Callable[[Decimal, Decimal], Decimal]
) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield (largest reachable, position alone) by position side, in what `size` makes of a quantity and a price."""
    for side in _sides(account):
        held = account.holdings.get((market.spec.id, side))
        position = size(held.qty, value_price(market, held)) if held is not None and held.qty else ZERO
        if held is not None and held.qty < ZERO:
            position = -position
        claims = {Side.BUY: ZERO, Side.SELL: ZERO}
        for order in orders:
            if order.position_side is side:
                claims[order.side] += size(order.qty, order.price)
        yield binance_margin.larger_side(position, claims[Side.BUY], claims[Side.SELL]), abs(position)


def instrument_margin(
    state: VenueState, account: SimAccount, market: Market, orders: Sequence[WorkingOrder]
) -> tuple[Decimal, Decimal]:
    """Return (initial margin with orders, of positions alone): formula A3, summed over the sides in hedge mode."""
    leverage = state.leverage(account, market.spec)

    def margin(qty: Decimal, price: Decimal) -> Decimal:
        return initial_margin(market.spec, qty, price, leverage)

    total = alone = ZERO
    for largest, position in _sized(account, market, orders, margin):
        total += largest
        alone += position
    return total, alone


def exposure(account: SimAccount, market: Market, orders: Sequence[WorkingOrder]) -> Decimal:
    """Return the largest notional the account can reach in the instrument, which picks the bracket."""
    return max(largest for largest, _ in _sized(account, market, orders, market.spec.notional))


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
    """Return the maintenance margin of one position at the reference price, with any fee to close."""
    margin = maintenance_margin(market.spec, held.qty, value_price(market, held))
    return margin + fee_to_close(state, account, market, held)


def fee_to_close(state: VenueState, account: SimAccount, market: Market, held: Holding) -> Decimal:
    """Return Bybit's estimated fee to close a linear contract; zero elsewhere, and where margin is per contract."""
    spec = market.spec
    if not state.rules.fee_to_close or not held.qty or spec.maintenance_margin is not None:
        return ZERO
    entry = held.position.entry_price(spec) or ZERO
    side = PositionSide.LONG if held.qty > ZERO else PositionSide.SHORT
    leverage = Decimal(state.leverage(account, spec))
    size = abs(held.qty) * spec.multiplier
    return bybit_margin.fee_to_close(side, size, entry, leverage, state.fees.of(spec.id).taker)


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
