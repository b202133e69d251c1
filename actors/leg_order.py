"""Which leg of a basket leads, and what the others owe for what it filled."""

from collections.abc import Mapping
from decimal import Decimal

from actors.basket import Basket, Leg
from actors.executor_state import Placings
from actors.liquidity import worst_ticks
from actors.messages import DepthReply
from venues.model.instrument import Instrument
from venues.model.money import ZERO, round_to_step
from venues.model.order import Side


def leads(basket: Basket, specs: Mapping[str, Instrument], placings: Mapping[str, Placings]) -> list[int]:
    """Return the leg of each base asset that goes first: the first one as given, or the one likeliest to fall short.

    A leg whose depth is not known is the likeliest of all.
    """
    found = []
    for base in basket.quanta:
        members = [i for i, leg in enumerate(basket.legs) if specs[leg.instrument].base == base]
        if basket.is_ordered:
            found.append(members[0])
            continue
        ease = [_ease(basket.legs[i], basket, specs, placings) for i in members]
        found.append(members[ease.index(min(ease))])
    return found


def _ease(leg: Leg, basket: Basket, specs: Mapping[str, Instrument], placings: Mapping[str, Placings]) -> Decimal:
    """Return how often the book could fill the leg within its bounds, times the share of first orders that filled."""
    spec, known = specs[leg.instrument], placings.get(leg.instrument, Placings())
    there = _lots_within(leg, spec, basket.depth.get(leg.instrument), basket.max_slippage_bps)
    # Laplace's rule of succession: one success and one failure more than were seen.
    return there / Decimal(spec.lots(leg.target)) * (known.sent - known.missed + 1) / (known.sent + 2)


def _lots_within(leg: Leg, spec: Instrument, reply: DepthReply | None, slippage_bps: Decimal) -> Decimal:
    levels = () if reply is None or not reply.is_live else reply.asks if leg.side is Side.BUY else reply.bids
    if not levels:
        return ZERO
    bound = worst_ticks(spec, leg, levels[0][0], slippage_bps)
    return Decimal(sum(lots for ticks, lots in levels if (ticks - bound) * leg.side.sign <= 0))


def owed(basket: Basket, index: int, specs: Mapping[str, Instrument]) -> Decimal:
    """Return what a leg that follows has yet to trade for what its lead holds, in whole lots; 0 for a lead.

    Every leg trades the same share of its target. What is less than a lot stays until there is more.
    """
    leg = basket.legs[index]
    spec = specs[leg.instrument]
    lead = next((basket.legs[i] for i in basket.leads if specs[basket.legs[i].instrument].base == spec.base), None)
    if lead is None or lead is leg:
        return ZERO
    share = leg.target * max(lead.position, ZERO) / lead.target
    missing = min(share - leg.position, leg.room) - basket.coming(index)
    return max(ZERO, round_to_step(missing, spec.lot_size))
