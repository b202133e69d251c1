"""What a basket's fills come to in money: its cost by cause, what it realised, what it would make at today's mids."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from actors.basket import Basket, Child, Leg
from actors.basket_records import BasketCost, LegCost
from venues.model.instrument import Instrument
from venues.model.money import ZERO

Mid = Callable[[Leg], Decimal]
"""Gives the mid price of a leg's instrument now."""


def cost_of(now: int, basket: Basket, specs: Mapping[str, Instrument], mid: Mid) -> BasketCost:
    """Return the record of a basket as of `now`; every figure is as BasketCost says."""
    legs = [_leg_cost(i, leg, basket, specs[leg.instrument], mid(leg)) for i, leg in enumerate(basket.legs)]
    unvalued = {
        asset
        for leg in basket.legs
        for asset in leg.fees
        if asset not in (specs[leg.instrument].base, specs[leg.instrument].quote)
    }
    return BasketCost(
        now,
        basket.id,
        basket.strategy,
        basket.state,
        basket.closes,
        tuple(legs),
        _sum(leg.slippage for leg in legs),
        _sum(leg.legging for leg in legs),
        _sum(leg.rollback for leg in legs),
        _sum(fees_at_arrival(leg, specs[leg.instrument]) for leg in basket.legs),
        realised(basket, specs),
        marked(basket, specs, mid),
        {base: net for base, net in basket.net(specs).items() if net},
        (basket.exposure + basket.unhedged * (now - basket.marked_ns)) / 1_000_000_000,
        now - basket.placed_ns if basket.placed_ns else 0,
        basket.why,
        tuple(sorted(unvalued)),
    )


def realised(basket: Basket, specs: Mapping[str, Instrument]) -> Decimal:
    """Return the profit on everything that came off the legs, at their average entry prices, less all fees, in quote.

    What a close handed over, with its fees, is realised by the basket that it closed.
    """
    total = ZERO
    for leg in basket.legs:
        spec = specs[leg.instrument]
        back = leg.reduced_cost + leg.taken_cost + leg.closed_cost + leg.handed_over_cost
        held = (leg.position - leg.handed_over) * leg.entry_price
        total += leg.side.sign * (back - leg.extended_cost + held) * spec.multiplier
        total -= paid(leg, spec) + leg.closed_fees - leg.handed_over_fees
    return total


def marked(basket: Basket, specs: Mapping[str, Instrument], mid: Mid) -> Decimal:
    """Return what the legs still hold would make at the mids, against their average entry prices, in quote."""
    total = ZERO
    for leg in basket.legs:
        held = leg.position - leg.handed_over
        total += leg.side.sign * held * (mid(leg) - leg.entry_price) * specs[leg.instrument].multiplier
    return total


def profit(basket: Basket, specs: Mapping[str, Instrument], mid: Mid) -> Decimal:
    """Return what the basket made so far at the mids, fees taken off, in quote; a loss is below zero."""
    return realised(basket, specs) + marked(basket, specs, mid)


def paid(leg: Leg, spec: Instrument) -> Decimal:
    """Return the leg's fees that are missing from money, in quote: a base fee of spot is missing from the position."""
    base = ZERO if spec.is_spot else leg.fees.get(spec.base, ZERO) * leg.arrival_mid
    return leg.fees.get(spec.quote, ZERO) + base


def fees_at_arrival(leg: Leg, spec: Instrument) -> Decimal:
    """Return the leg's fees in quote, base fees at the arrival mid; fees in a third asset are left out."""
    return leg.fees.get(spec.quote, ZERO) + leg.fees.get(spec.base, ZERO) * leg.arrival_mid


def _leg_cost(index: int, leg: Leg, basket: Basket, spec: Instrument, mark: Decimal) -> LegCost:
    unit = leg.side.sign * spec.multiplier
    children = [child for child in basket.children.values() if child.leg == index]
    moved = _moved(leg, [child for child in children if not child.is_reduce])
    moved_back = _moved(leg, [child for child in children if child.is_reduce])
    return LegCost(
        leg.account,
        leg.instrument,
        leg.side,
        leg.position_side,
        leg.target,
        leg.extended,
        _average(leg.extended_cost, leg.extended),
        leg.reduced,
        _average(leg.reduced_cost, leg.reduced),
        leg.taken,
        _average(leg.taken_cost, leg.taken),
        leg.closed,
        _average(leg.closed_cost, leg.closed),
        leg.position,
        leg.arrival_mid,
        mark,
        -unit * (leg.extended_cost - leg.reduced_cost - leg.taken_cost),
        unit * (leg.extended_cost - leg.extended * leg.arrival_mid - moved),
        unit * (moved - moved_back),
        -unit * (leg.reduced_cost - leg.reduced * leg.arrival_mid - moved_back),
        dict(leg.fees),
    )


def _moved(leg: Leg, children: Iterable[Child]) -> Decimal:
    """Return how far the mid had moved when each order was sent, times what it filled."""
    return _sum(child.filled * (child.mid - leg.arrival_mid) for child in children if child.mid)


def _average(cost: Decimal, qty: Decimal) -> Decimal | None:
    return cost / qty if qty else None


def _sum(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)
