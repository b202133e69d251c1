"""Decides who gives up a position for a bankrupt one that the insurance fund cannot take over.

Positions of the other side are closed in rank order at the bankruptcy price; no fee, their open orders in the
instrument are cancelled. Source: Binance FAQ 360033525471 (facts A7), venues/rules/adl.py.
"""

from decimal import Decimal

from sim import booking, margin
from sim.account import Holding, SimAccount
from sim.venue_state import Market, VenueState
from venues.model.account import MarginMode
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.port import Deleveraged
from venues.rules import adl


def deleverage(state: VenueState, market: Market, bankrupt: SimAccount, qty: Decimal, price: Decimal) -> Decimal:
    """Close up to |qty| opposite to a position of signed `qty`; return how much (unsigned) was found and closed."""
    opposite = _opposite(state, market, bankrupt, qty)
    candidates = [_candidate(state, market, key, *pair) for key, pair in opposite.items()]
    alive = [each for each in candidates if each.wallet_balance + each.account_pnl > ZERO]
    most = min(abs(qty), sum((each.qty for each in alive), ZERO))
    if not most:
        return ZERO
    for key, part in adl.allocate(adl.queue(alive), most):
        account, held = opposite[key]
        _close(state, market, account, held, part, price)
    return most


def _opposite(
    state: VenueState, market: Market, bankrupt: SimAccount, qty: Decimal
) -> dict[str, tuple[SimAccount, Holding]]:
    return {
        held.position.key: (account, held)
        for account in state.accounts.values()
        if account is not bankrupt
        for held in account.open_holdings(market.spec.id)
        if held.qty * qty < ZERO
    }


def _candidate(state: VenueState, market: Market, key: str, account: SimAccount, held: Holding) -> adl.AdlCandidate:
    own = margin.unrealized(market, held)
    notional = market.spec.notional(held.qty, margin.value_price(market, held))
    if account.mode(market.spec.id) is MarginMode.ISOLATED:
        return adl.AdlCandidate(key, abs(held.qty), notional, own, held.isolated_wallet, own)
    asset = market.spec.settle
    pnl = sum((margin.unrealized(other, each) for other, each in margin.pool(state, account, asset)), ZERO)
    return adl.AdlCandidate(key, abs(held.qty), notional, own, margin.cross_balance(state, account, asset), pnl)


def _close(state: VenueState, market: Market, account: SimAccount, held: Holding, qty: Decimal, price: Decimal) -> None:
    for order in state.live_orders(account.id, market.spec.id):
        booking.cancel(state, market, order)
    order = booking.forced_order(state, market, account, held, "adl_autoclose-")
    booking.book_fill(state, market, order, price, qty, Liquidity.NONE, FillReason.ADL)
    ids = (state.now, account.id, market.spec.id)
    state.say(Deleveraged(*ids, order.side, qty, price, order.position_side))
