"""Whether closes may count on a position: two must not count on the same one, and none on what is not there.

A close that finds no position would be refused by its venue half way, or, where the flag is missing, would open one.
Spot is left out: its coins are reserved in the wallet.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from actors.messages import BasketLeg
from actors.risk_book import RiskState
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import Side
from venues.model.position import position_key


def shortfalls(
    now: int, legs: Iterable[BasketLeg], state: RiskState, specs: Mapping[str, Instrument]
) -> dict[str, str]:
    """Return by instrument why a reduce-only leg has too little to close; an unknown position is none."""
    found: dict[str, str] = {}
    for leg in legs:
        if not leg.reduce_only or specs[leg.instrument].is_spot:
            continue
        key = position_key(leg.account, leg.instrument, leg.position_side)
        held = state.positions.get(key)
        there = ZERO if held is None else -leg.side.sign * held.qty(now)
        promised = _promised(key, leg.side, state)
        if leg.qty > there - promised:
            found[leg.instrument] = f"{leg.side} {leg.qty} closes more than {there} less {promised} promised to others"
    return found


def _promised(key: str, side: Side, state: RiskState) -> Decimal:
    """Return what orders in flight and closes under way may still trade of a position on `side`."""
    total = ZERO
    flying: dict[str, Decimal] = {}
    for order in state.orders.values():
        if order.key == key and order.side is side:
            total += order.leaves
            flying[order.basket_id] = flying.get(order.basket_id, ZERO) + order.leaves
    for basket_id, basket in state.baskets.items():
        if basket.is_reserved and basket.closes:
            for leg in basket.legs:
                if leg.key == key and leg.side is side:
                    total += max(ZERO, leg.qty - leg.filled - flying.get(basket_id, ZERO))
    return total
