"""Decides whether an account survives a mark price, and closes what does not.

Binance (FAQ 360033525271) and Bybit: cancel the pool's orders, one IOC order for the whole position up to its
bankruptcy price, stop when the rest is compliant, otherwise the insurance fund takes the rest over at the bankruptcy
price, keeps what is left of the collateral and fills what is missing; what it cannot bear is deleveraged. The venues do
not publish how they size partial liquidations. Cross positions go highest loss first until the coverage is 1.5: a
model, not a published rule. CME: a margin call first, then a forced close.
"""

from collections.abc import Iterator
from decimal import Decimal

from sim import booking, cascade, deleveraging, fund, margin
from sim.account import Holding, SimAccount
from sim.entry import check_triggers
from sim.venue_order import VenueOrder
from sim.venue_state import Market, VenueState
from venues.model.account import MarginMode
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ONE, ROUND_CEILING, ROUND_FLOOR, ZERO, to_text
from venues.model.order import Side
from venues.port import InstrumentState, Liquidated
from venues.rules import liquidation
from venues.rules.instrument_margin import initial_margin
from venues.rules.insurance import clearance_fee

# Whole positions, highest loss first: how much of one goes is what the book gives up to its bankruptcy price.
MODEL = liquidation.LiquidationModel(is_partial=False)


def look(state: VenueState, market: Market) -> None:
    """Liquidate whom the market's price does not carry.

    Marks that move thereby trigger orders, and so do the trades of participants: to everybody else they are public.
    """
    for moved in check(state, market):
        if moved is not market:
            check_triggers(state, moved, on_mark=True)
    for each in [each for each in state.markets.values() if each.has_printed]:
        each.has_printed = False
        check_triggers(state, each, on_mark=False, is_opening=True)


def check(state: VenueState, market: Market) -> list[Market]:
    """Look at every account that holds `market` after its mark price, funding or settlement.

    Returns the markets whose marks the liquidations moved (see cascade.py); their holders have been looked at, too.
    """
    _survey(state, market)
    found: list[Market] = []
    wave = 0
    while moved := cascade.push_marks(state, wave):
        for each in moved:
            _survey(state, each)
        found += [each for each in moved if each not in found]
        wave += 1
    return found


def _survey(state: VenueState, market: Market) -> None:
    for account in state.accounts.values():
        for held in account.open_holdings(market.spec.id):
            if not held.qty:
                continue
            if account.mode(market.spec.id) is MarginMode.ISOLATED:
                balance, needed = margin.isolated_health(state, account, market, held)
                if balance <= needed and not _called(state, account, market, balance < needed):
                    _liquidate_isolated(state, account, market, held)
                continue
            balance, needed = margin.pool_health(state, account, market.spec.settle)
            if balance > needed:
                account.calls.pop(market.spec.settle, None)
            elif not _called(state, account, market, balance < needed):
                _liquidate_pool(state, account, market.spec.settle)
            break


def _called(state: VenueState, account: SimAccount, market: Market, below: bool) -> bool:
    """Whether a margin call is all that happens now."""
    if not state.rules.margin_call:
        return False
    asset = market.spec.settle
    since = account.calls.setdefault(asset, state.now) if below else state.now
    if since < state.now:
        return False
    if below:
        state.note("margin_call", account.id, market.spec.id, f"{asset} below maintenance margin")
    return True


def _cancel_orders(state: VenueState, account: SimAccount, markets: list[Market]) -> None:
    for order in state.live_orders(account.id):
        if state.markets[order.instrument] in markets:
            booking.cancel(state, state.markets[order.instrument], order)


def _liquidate_isolated(state: VenueState, account: SimAccount, market: Market, held: Holding) -> None:
    _cancel_orders(state, account, [market])
    wallet = account.account.balance(market.spec.settle)
    collateral = held.isolated_wallet
    taken = _close(state, account, market, held)
    if held.qty or state.rules.margin_call:
        return
    left = collateral + account.account.balance(market.spec.settle) - wallet
    if taken or left < ZERO:
        booking.square_with_fund(state, account, market.spec.settle, left, market.spec.id)


def _liquidate_pool(state: VenueState, account: SimAccount, asset: str) -> None:
    markets = [m for m in state.markets.values() if m.spec.settle == asset and not m.spec.is_spot]
    _cancel_orders(state, account, [m for m in markets if account.mode(m.spec.id) is not MarginMode.ISOLATED])
    taken, last = False, ""
    for market, held in _worst_first(state, account, asset):
        taken = _close(state, account, market, held) or taken
        last = market.spec.id
        balance, needed = margin.pool_health(state, account, asset)
        if liquidation.is_enough(balance, needed, MODEL):
            break
    left = margin.cross_balance(state, account, asset)
    broke = left < ZERO or (taken and bool(left))
    if broke and not margin.pool(state, account, asset) and not state.rules.margin_call:
        booking.square_with_fund(state, account, asset, left, last)


def _worst_first(state: VenueState, account: SimAccount, asset: str) -> Iterator[tuple[Market, Holding]]:
    """Yield the pool's positions, first to be liquidated first; equal ones in the order they first appeared."""
    positions = {f"{index:09}": pair for index, pair in enumerate(margin.pool(state, account, asset))}
    candidates = []
    for key, (market, held) in positions.items():
        spec, mark, leverage = market.spec, margin.value_price(market, held), state.leverage(account, market.spec)
        candidates.append(
            liquidation.Candidate(
                key,
                abs(held.qty) * spec.multiplier,
                mark,
                margin.unrealized(market, held),
                initial_margin(spec, held.qty, mark, leverage),
                spec.brackets,
                spec.lot_size * spec.multiplier,
                Decimal(leverage),
                fee_rate=spec.liquidation_fee,
            )
        )
    for candidate in liquidation.in_order(candidates, MODEL.priority):
        yield positions[candidate.key]


def _close(state: VenueState, account: SimAccount, market: Market, held: Holding) -> bool:
    """Close one position by the venue's steps and report it. Returns whether any of it went at the bankruptcy price."""
    spec = market.spec
    mark = margin.value_price(market, held)
    bankruptcy = margin.bankruptcy_price(state, account, market, held)
    size = abs(held.qty)
    order = booking.forced_order(state, market, account, held, "autoclose-")
    if market.state is InstrumentState.OPEN:
        limit = None if state.rules.margin_call else _limit(market, order, bankruptcy)
        market.matcher.take(order, market.reach(state.now, order.side, limit))
        market.swept_qty += spec.qty(order.filled) * order.side.sign
        if order.filled:
            market.swept_ticks = order.last_ticks
            if account.id in state.participants:
                market.last_trade, market.has_printed = order.last_ticks, True
    rest = taken = ZERO
    if held.qty and not state.rules.margin_call and not _compliant(state, account, market, held, order):
        rest = abs(held.qty)
        taken = _hand_over(state, account, market, held, order, bankruptcy)
    closed = size - abs(held.qty)
    if not closed:
        return False
    price, fee = bankruptcy, ZERO
    if order.filled:
        price = spec.price(order.filled_cost) / order.filled
        # The value as a quantity at a price of one: an average price times the quantity would be rounded.
        value = spec.price(order.filled_cost) * spec.lot_size * spec.multiplier
        fee = clearance_fee(value, ONE, spec.liquidation_fee)
    state.say(
        Liquidated(
            state.now,
            account.id,
            spec.id,
            order.side,
            closed,
            mark,
            price,
            bankruptcy,
            fee,
            taken,
            order.position_side,
        )
    )
    return rest > ZERO


def _hand_over(
    state: VenueState, account: SimAccount, market: Market, held: Holding, order: VenueOrder, bankruptcy: Decimal
) -> Decimal:
    """Close what is left at the bankruptcy price: against the fund, and against others for what it cannot bear.

    Returns how much the fund took over; what finds no opposite position is its, too.
    """
    spec, left = market.spec, held.qty
    beyond = fund.unbearable(state, market, left, bankruptcy, margin.value_price(market, held))
    booking.book_fill(state, market, order, bankruptcy, abs(left), Liquidity.NONE, FillReason.LIQUIDATION)
    found = ZERO
    if beyond:
        sign = left / abs(left)
        found = deleveraging.deleverage(state, market, account, beyond * sign, bankruptcy)
    if found < beyond:
        state.note(
            "uncovered",
            "",
            spec.id,
            f"{to_text((beyond - found).normalize())} found no opposite position: the fund cannot bear it",
        )
    taken = abs(left) - found
    fund.take_over(state, market, taken if left > ZERO else -taken, bankruptcy)
    return taken


def _limit(market: Market, order: VenueOrder, bankruptcy: Decimal) -> int:
    rounding = ROUND_CEILING if order.side is Side.SELL else ROUND_FLOOR
    return int((bankruptcy / market.spec.tick_size).to_integral_value(rounding=rounding))


def _compliant(state: VenueState, account: SimAccount, market: Market, held: Holding, order: VenueOrder) -> bool:
    if not order.filled:
        return False
    if account.mode(market.spec.id) is MarginMode.ISOLATED:
        balance, needed = margin.isolated_health(state, account, market, held)
    else:
        balance, needed = margin.pool_health(state, account, market.spec.settle)
    return balance > needed
