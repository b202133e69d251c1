"""Decides how far the liquidations of one look at a market move its mark, wave after wave.

A model: no venue publishes its impact. Kyle's lambda or the price the book was swept to, damped with each wave.
"""

from decimal import ROUND_HALF_EVEN, Decimal

from sim.venue_settings import CascadeModel, Impact
from sim.venue_state import Market, VenueState
from venues.model.money import ZERO, to_text
from venues.port import MarkPrice

# Eight decimals, as Binance prints its marks.
_MARK_QUANTUM = Decimal("1E-8")


def push_marks(state: VenueState, wave: int) -> list[Market]:
    """Move the marks of the markets in which liquidations traded since the last call; return those that moved.

    `wave` counts from 0. The new marks are reported, and noted. Nothing moves without a model, or once its waves are
    used up.
    """
    model = state.settings.cascade
    swept = [market for market in state.markets.values() if market.swept_qty]
    moved = []
    for market in swept:
        before = market.reference()
        after = None if model is None or before is None else _moved(model, market, before, wave)
        market.swept_qty, market.swept_ticks = ZERO, None
        if after is None or after == before or model is None or wave >= model.waves_max:
            continue
        market.latest = after
        if market.mark is not None:
            market.mark = after
        state.say(MarkPrice(state.now, market.spec.id, after))
        state.note("cascade", "", market.spec.id, f"wave {wave + 1}: mark {to_text(after)}")
        moved.append(market)
    return moved


def _moved(model: CascadeModel, market: Market, mark: Decimal, wave: int) -> Decimal:
    move = market.swept_qty * model.kyle_lambda
    if model.impact is Impact.SWEEP:
        move = ZERO if market.swept_ticks is None else market.spec.price(market.swept_ticks) - mark
        if move * market.swept_qty < ZERO:
            # A sale above the mark pulls nothing down.
            move = ZERO
    after = (mark + move * model.decay**wave).quantize(_MARK_QUANTUM, rounding=ROUND_HALF_EVEN).normalize()
    return max(after, market.spec.tick_size)
