"""Decides at which mark price a position of a cross pool is liquidated, all other marks unchanged.

That is where the pool's balance meets its maintenance margin. Brackets: `venues.rules.binance_margin`, inverse
contracts `inverse_margin`. Money per contract (futures): balance + qty x multiplier x (price - mark) = |qty| x margin,
which is when a margin call comes. Without fees to close.
"""

from collections.abc import Sequence
from decimal import Decimal

from attrs import define

from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.rules import binance_margin, inverse_margin
from venues.rules.errors import RuleError
from venues.rules.instrument_margin import maintenance_margin


@define
class Member:
    """A position of a margin pool at its mark. `qty` is signed, in the instrument's units."""

    spec: Instrument
    side: PositionSide
    qty: Decimal
    entry: Decimal
    mark: Decimal


class NoLiquidationPriceError(Exception):
    """A price that cannot be computed; no price that liquidates is None instead."""


def liquidation_price(wallet: Decimal, spec: Instrument, members: Sequence[Member]) -> Decimal | None:
    """Return the mark of `spec` that liquidates the pool of `members` on `wallet`, None when no mark does.

    Raises NoLiquidationPriceError for a pool that holds something nobody knows the margin of.
    """
    try:
        mine = [one for one in members if one.spec is spec]
        needed = profit = ZERO
        for one in members:
            if one.spec is not spec:
                needed += maintenance_margin(one.spec, one.qty, one.mark)
                profit += one.spec.pnl(one.qty, one.entry, one.mark)
        if spec.maintenance_margin is not None:
            return _by_contract(wallet - needed + profit, spec, mine)
        if not spec.brackets:
            raise NoLiquidationPriceError(f"{spec.id} has neither brackets nor a maintenance margin")
        size = Decimal(1) if spec.inverse else spec.multiplier
        legs = [binance_margin.Leg(one.side, one.qty * size, one.entry, spec.brackets) for one in mine]
        if spec.inverse:
            return inverse_margin.liquidation_price(wallet, spec.multiplier, legs, needed, profit)
        return binance_margin.liquidation_price(wallet, legs, needed, profit)
    except RuleError as error:
        raise NoLiquidationPriceError(str(error)) from error


def _by_contract(free: Decimal, spec: Instrument, mine: Sequence[Member]) -> Decimal | None:
    net = sum((one.qty for one in mine), ZERO) * spec.multiplier
    needed = sum((maintenance_margin(one.spec, one.qty, one.mark) for one in mine), ZERO)
    if not net:
        return None
    base = sum((one.qty * one.entry for one in mine), ZERO) * spec.multiplier
    return (needed - free + base) / net
