"""Decides which baskets are made smaller, and by how much, when a guard wants a position to be.

A position is the sum of baskets. Each of those that hold it is closed in part, all legs by the same share, down to
whole quanta: the desk stays neutral while it shrinks. What no basket holds cannot be reduced so.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from actors.basket import quantum
from actors.basket_plan import DeniedError, common_sizes
from actors.guards.book import OpenBasket
from actors.guards.findings import Finding
from actors.messages import BasketLeg, BasketState
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO, round_to_step


def concerned(basket: OpenBasket, account: str, finding: Finding, specs: Mapping[str, Instrument]) -> bool:
    """Whether a basket holds what a finding is about: its subject, or all of the account."""
    for leg, filled in zip(basket.legs, basket.filled, strict=False):
        if not filled or (account and leg.account != account):
            continue
        spec = specs[leg.instrument]
        if finding.subject in (account, "", spec.id, spec.base):
            return True
    return False


def closing_legs(basket: OpenBasket, keep: Decimal, specs: Mapping[str, Instrument]) -> tuple[BasketLeg, ...]:
    """Return the legs that bring a basket down to the share `keep`; none when it holds nothing to close.

    At least a quantum goes. A basket that is out of balance is closed whole or not at all.
    """
    held = [(leg, filled) for leg, filled in zip(basket.legs, basket.filled, strict=False) if filled]
    if not held or basket.state not in (BasketState.BALANCED, BasketState.BROKEN):
        return ()
    whole = _legs(held, [abs(filled) for _, filled in held], specs)
    if keep <= ZERO:
        return whole
    if basket.state is BasketState.BROKEN:
        return ()
    quanta = _quanta(specs[leg.instrument] for leg, _ in held)
    wanted = []
    for leg, filled in held:
        spec = specs[leg.instrument]
        step = quanta[spec.base] / spec.multiplier
        wanted.append(min(abs(filled), max(step, round_to_step(abs(filled) * (ONE - keep), step))))
    legs = [_leg(leg, filled, qty) for (leg, filled), qty in zip(held, wanted, strict=True)]
    try:
        sizes = common_sizes(legs, specs, quanta, {})
    except DeniedError:
        # Legs that differ by a quantum or more, or are smaller than one: the whole basket is the least that goes.
        return whole
    return _legs(held, sizes, specs)


def _quanta(specs: Iterable[Instrument]) -> dict[str, Decimal]:
    by_base: dict[str, list[Instrument]] = {}
    for spec in specs:
        by_base.setdefault(spec.base, []).append(spec)
    return {base: quantum(members) for base, members in by_base.items()}


def _legs(
    held: Iterable[tuple[BasketLeg, Decimal]], sizes: Iterable[Decimal], specs: Mapping[str, Instrument]
) -> tuple[BasketLeg, ...]:
    made = []
    for (leg, filled), size in zip(held, sizes, strict=True):
        qty = round_to_step(size, specs[leg.instrument].lot_size)
        if qty > ZERO:
            made.append(_leg(leg, filled, qty))
    return tuple(made)


def _leg(leg: BasketLeg, filled: Decimal, qty: Decimal) -> BasketLeg:
    return BasketLeg(leg.account, leg.instrument, leg.side.opposite, qty, True, leg.position_side)
