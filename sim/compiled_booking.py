"""What many fills of one account come to: the money of booking each of them, in whole units instead of decimals."""

from collections.abc import Iterable
from decimal import Decimal

from sim.account import FlowType, SimAccount
from venues.costs.fees import FeeBasis, FeeSchedule
from venues.model.fill import Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import COST_QUANTUM
from venues.model.order import PositionSide, Side

LIQUIDITY = (Liquidity.MAKER, Liquidity.TAKER, Liquidity.NONE)
SIDES = (Side.BUY, Side.SELL)

Fill = tuple[int, int, int, int, int]
"""Time (ns), side (0 buys), price in ticks, lots, liquidity (place in LIQUIDITY)."""


def book_fills(
    account: SimAccount, spec: Instrument, schedule: FeeSchedule, leverage: Decimal, fills: Iterable[Fill]
) -> None:
    """Book the fills of one contract held in cross margin, one-way, in their order.

    Cost and profit are counted in units of COST_QUANTUM. Futures, whose lots settle one by one, and contracts whose
    tick x lot is no whole number of such units are booked fill by fill.
    """
    unit = spec.tick_size * spec.lot_size * spec.multiplier / COST_QUANTUM
    position = account.holding(spec.id, PositionSide.BOTH).position
    cost = position.cost / COST_QUANTUM
    if spec.kind is InstrumentKind.FUTURE or unit != int(unit) or cost != int(cost):
        for ns, side, ticks, lots, liquidity in fills:
            price, qty = spec.price(ticks), spec.qty(lots)
            fee = schedule.fee(spec, qty, price, LIQUIDITY[liquidity])
            account.book_contract(ns, spec, PositionSide.BOTH, SIDES[side], qty, price, fee, leverage)
        return
    held, held_cost, realized, each = int(position.qty / spec.lot_size), int(cost), 0, int(unit)
    values, traded, last = [0, 0, 0], [0, 0, 0], 0
    for ns, side, ticks, lots, liquidity in fills:
        value = ticks * lots
        values[liquidity] += value
        traded[liquidity] += lots
        last = ns
        signed = -lots if side else lots
        if held * signed < 0:
            closed = min(abs(held), lots)
            released = held_cost if closed == abs(held) else _half_even(held_cost * closed, abs(held))
            share = ticks * closed * each
            realized += (share if held > 0 else -share) - released
            held_cost -= released
            opened = lots - closed
            held_cost += (-opened if side else opened) * ticks * each
        else:
            held_cost += signed * ticks * each
        held += signed
    position.qty, position.cost = spec.qty(held), held_cost * COST_QUANTUM
    position.realized_pnl += realized * COST_QUANTUM
    account.pay(last, FlowType.REALIZED_PNL, spec.settle, realized * COST_QUANTUM, spec.id)
    for liquidity, (value, lots) in enumerate(zip(values, traded, strict=True)):
        if lots:
            # A fee is a rate of the value or of the quantity: that of a sum, at one tick, is the sum of the fees.
            counted = value if schedule.basis is FeeBasis.NOTIONAL else lots
            fee = schedule.fee(spec, spec.qty(counted), spec.price(1), LIQUIDITY[liquidity])
            account.pay(last, FlowType.FEE, spec.settle, -fee, spec.id)


def _half_even(dividend: int, divisor: int) -> int:
    quotient, rest = divmod(dividend, divisor)
    if 2 * rest > divisor or (2 * rest == divisor and quotient & 1):
        quotient += 1
    return quotient
