"""Decides what the insurance fund receives, pays and holds: money by asset, and the positions it has taken over."""

from decimal import Decimal

from sim.account import CashFlow, FlowType, Holding, mark_to, trade
from sim.venue_state import Market, VenueState
from venues.model.instrument import InstrumentKind
from venues.model.money import ZERO
from venues.model.order import Side
from venues.model.position import Position
from venues.rules import insurance
from venues.rules.funding import instrument_payment

FUND = "insurance_fund"


def book(state: VenueState, kind: FlowType, asset: str, amount: Decimal, instrument: str) -> None:
    """Book what the fund receives, or pays (negative) as far as it can; what it cannot is `state.uncovered`."""
    if not amount:
        return
    change = insurance.settle(state.fund(asset), amount)
    state.insurance[asset] = change.balance
    if change.uncovered:
        state.uncovered[asset] = state.uncovered.get(asset, ZERO) + change.uncovered
    if state.on_flow is not None:
        state.on_flow(CashFlow(state.now, FUND, kind, asset, amount, instrument))


def unbearable(state: VenueState, market: Market, qty: Decimal, bankruptcy: Decimal, mark: Decimal) -> Decimal:
    """Return how much (unsigned) of signed `qty` the fund cannot take over at `bankruptcy` with the mark where it is.

    The fund counts its money, what its positions are worth, and keeps its reserve.
    """
    if bankruptcy <= ZERO or mark <= ZERO:
        return ZERO
    spec = market.spec
    reserve = state.settings.insurance_start * state.settings.insurance_reserve
    free = max(ZERO, state.fund(spec.settle) + _worth(state, spec.settle) - reserve)
    size = spec.multiplier
    return insurance.take_over(free, qty * size, bankruptcy, mark, spec.lot_size * size).adl_qty / size


def _worth(state: VenueState, asset: str) -> Decimal:
    worth = ZERO
    for name, held in state.inventory.items():
        market = state.markets[name]
        price = market.reference()
        if market.spec.settle == asset and price is not None:
            worth += held.position.unrealized_pnl(price, market.spec)
    return worth


def take_over(state: VenueState, market: Market, qty: Decimal, price: Decimal) -> None:
    """Add signed `qty` to what the fund holds, at the bankruptcy price; what it closes thereby is realised."""
    if not qty:
        return
    spec = market.spec
    held = state.inventory.setdefault(spec.id, Holding(Position(FUND, spec.id)))
    realized = trade(held, spec, Side.BUY if qty > ZERO else Side.SELL, abs(qty), price)
    book(state, FlowType.REALIZED_PNL, spec.settle, realized, spec.id)


def pay_funding(state: VenueState, market: Market, rate: Decimal, price: Decimal) -> None:
    """Charge the fund like any other holder."""
    held = state.inventory.get(market.spec.id)
    if held is not None and held.qty:
        amount = instrument_payment(market.spec, held.qty, price, rate)
        book(state, FlowType.FUNDING, market.spec.settle, amount, market.spec.id)


def settle(state: VenueState, market: Market, price: Decimal, final: bool) -> None:
    """Pay variation margin on what the fund holds of a future; the final settlement closes it."""
    spec = market.spec
    held = state.inventory.get(spec.id)
    if held is None or not held.qty:
        return
    if spec.kind is InstrumentKind.FUTURE:
        book(state, FlowType.SETTLEMENT, spec.settle, mark_to(held, spec, price), spec.id)
    if final:
        take_over(state, market, -held.qty, price)
