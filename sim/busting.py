"""Decides what taking a trade back does at the venue: positions, money, reports; the order stays as it ended."""

from decimal import Decimal

from sim import booking
from sim.venue_state import VenueState
from venues.model.fill import FillReason
from venues.port import OrderFilled, TradeBusted

FORCED = frozenset({FillReason.LIQUIDATION, FillReason.ADL, FillReason.SETTLEMENT})


class UnbustableError(ValueError):
    """No trade of an account that can be taken back; the message says which was named and why not."""


def bust(state: VenueState, instrument: str, trade_id: str, why: str) -> None:
    """Book the reverse of a trade for every account in it, drop it from the history and say so.

    Raises UnbustableError for an unknown trade, and for what the venue did by force.
    """
    found = [fill for fill in state.fills if (fill.instrument, fill.trade_id) == (instrument, trade_id)]
    if not found:
        raise UnbustableError(f"{instrument}: there is no trade {trade_id}")
    for fill in found:
        if fill.reason in FORCED:
            raise UnbustableError(f"{instrument}: trade {trade_id} was a {fill.reason}")
    for fill in found:
        state.fills.remove(fill)
        _reverse(state, fill)
        state.say(TradeBusted(state.now, fill.account, instrument, trade_id, why))
        account, market = state.accounts[fill.account], state.markets[instrument]
        booking.push_position(state, account, market, fill.position_side)
        booking.push_account(state, account, "bust")


def _reverse(state: VenueState, fill: OrderFilled) -> None:
    account, market = state.accounts[fill.account], state.markets[fill.instrument]
    spec, side = market.spec, fill.side.opposite
    if spec.is_spot:
        account.book_spot(state.now, spec, side, fill.qty, fill.price, -fill.fee, fill.fee_asset)
        return
    leverage = Decimal(state.leverage(account, spec))
    account.book_contract(state.now, spec, fill.position_side, side, fill.qty, fill.price, -fill.fee, leverage)
    # Nothing the compiled venue has seen.
    held = account.qty(spec.id, fill.position_side)
    market.matcher.hold(account.id, fill.position_side, int(held / spec.lot_size))
