"""Decides what is said of an account whose margin is short: figures, and the marks that would liquidate it."""

from collections.abc import Sequence
from decimal import Decimal

from attrs import frozen

from actors.messages import MarginLevel
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.port import Message, message
from venues.rules import binance_margin
from venues.rules.errors import RuleError
from venues.rules.instrument_margin import maintenance_margin


@message()
class MarginFigures(Message):
    """An account's margin in its worst asset: at a change of level, and again and again while it is not healthy.

    Amounts are of `asset`. `prices` are the marks at which the pool would be liquidated, all other marks unchanged, by
    instrument, where that can be computed; `marks` are what they are now. `why` says what is missing when UNKNOWN.
    """

    ts: int
    account: str
    level: MarginLevel
    asset: str
    balance: Decimal
    maintenance: Decimal
    coverage: Decimal | None
    prices: dict[str, Decimal]
    marks: dict[str, Decimal]
    why: str = ""


@frozen
class Member:
    """A position of a margin pool: signed quantity, entry and mark."""

    spec: Instrument
    side: PositionSide
    qty: Decimal
    entry: Decimal
    mark: Decimal


def liquidation_mark(spec: Instrument, wallet: Decimal, members: Sequence[Member]) -> Decimal | None:
    """Return the mark of `spec` at which a cross pool's balance meets its maintenance margin, all others unchanged.

    For linear contracts with brackets, without fees to close; None for others, and where no mark does.
    """
    if spec.inverse or not spec.brackets or spec.maintenance_margin is not None:
        return None
    try:
        legs, needed, profit = [], ZERO, ZERO
        for one in members:
            if one.spec is spec:
                legs.append(binance_margin.Leg(one.side, one.qty * spec.multiplier, one.entry, spec.brackets))
            else:
                needed += maintenance_margin(one.spec, one.qty, one.mark)
                profit += one.spec.pnl(one.qty, one.entry, one.mark)
        return binance_margin.liquidation_price(wallet, legs, needed, profit)
    except RuleError:
        return None
