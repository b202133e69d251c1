"""What an order, a cancel or a change does when it arrives at the venue without the host."""

from sim.kernel.books import is_level, lots_at
from sim.kernel.compiled import compiled
from sim.kernel.layout import (
    ACCEPTED,
    ARMED,
    CANCEL_REJECTED,
    CANCELED,
    CUT,
    FILL_OR_KILL,
    IMMEDIATE,
    MODIFIED,
    MODIFY_REJECTED,
    NO_LIMIT,
    NO_LIQUIDITY,
    POST_ONLY,
    PRICED,
    PROTECTED,
    REDUCES,
    REJECTED,
    RESTING,
    TRAILING,
    TRIGGERED,
    Kernel,
)
from sim.kernel.matching import (
    expire,
    is_available,
    reducible,
    rest,
    shrink_reducing,
    sign_of,
    take,
    tell,
    would_take,
)
from sim.kernel.queues import dequeue
from sim.kernel.triggers import arm, disarm, is_reached, watched_price

# Why an arriving order is refused
NOT_OPEN, WOULD_TAKE, NOTHING_TO_REDUCE, NO_PRICE, UNKNOWN_ORDER, UNAFFORDABLE, WOULD_TRIGGER = range(1, 8)

WHOLE_POSITION = (1 << 53) - 1
"""The quantity of a reduce-only order that closes whatever position there is."""


@compiled
def refusal(k: Kernel, order: int) -> int:
    """Return why an arriving order is refused, 0 when it is not; what reduce-only leaves no room for is cut away."""
    o = k.orders[order]
    if not k.instruments[o.instrument].is_open:
        return NOT_OPEN
    if o.flags & REDUCES:
        most = reducible(k, order)
        if most <= 0:
            return NOTHING_TO_REDUCE
        if o.lots == WHOLE_POSITION:
            o.lots = most
        o.cut = max(0, o.lots - o.filled - most)
    if o.pricing != PRICED:
        best = k.best[4 * o.instrument + 1 - o.side]
        if not is_level(best):
            return NO_PRICE
        sign = sign_of(o.side)
        if o.pricing == PROTECTED:
            # Protection counts from the best opposite price, of a stop from its trigger (CME confluence 78466178).
            best = (o.stop if o.trigger else best) + sign * k.instruments[o.instrument].protection
        o.ticks = best
    is_unbounded = abs(o.ticks) == NO_LIMIT
    if is_unbounded and not o.flags & IMMEDIATE:
        return NO_PRICE
    if o.flags & POST_ONLY and would_take(k, o.instrument, o.side, o.ticks):
        return WOULD_TAKE
    return 0


@compiled
def arrive(k: Kernel, order: int, mark: int) -> None:
    """Let an order in: it is refused, waits for its price, takes, rests, expires. `mark` is the last mark (1e-8, or 0).

    A market order has the limit NO_LIMIT of its side.
    """
    o = k.orders[order]
    is_triggered = o.state == ARMED
    if o.trigger and not is_triggered:
        price = watched_price(k, order, mark)
        why = NOT_OPEN if not k.instruments[o.instrument].is_open else 0
        if not why and o.trigger != TRAILING and price and is_reached(k, order, price):
            why = WOULD_TRIGGER
        if why or not k.instruments[o.instrument].tick_raw:
            tell(k, REJECTED, order, 0, 0, NO_LIQUIDITY, why or NO_PRICE)
            return
        if o.trigger == TRAILING and price:
            is_reached(k, order, price)
        tell(k, ACCEPTED, order, o.ticks, o.lots, NO_LIQUIDITY, 0)
        arm(k, order)
        return
    if is_triggered:
        disarm(k, order)
        tell(k, TRIGGERED, order, o.ticks, o.lots, NO_LIQUIDITY, 0)
    why = refusal(k, order)
    if why:
        tell(k, REJECTED, order, 0, 0, NO_LIQUIDITY, why)
        return
    if not is_triggered:
        tell(k, ACCEPTED, order, o.ticks, o.lots, NO_LIQUIDITY, 0)
    if o.cut > 0:
        tell(k, CUT, order, 0, o.cut, NO_LIQUIDITY, 0)
    leaves = o.lots - o.cut - o.filled
    needed = leaves if o.flags & FILL_OR_KILL else o.min_lots
    if not is_available(k, o.instrument, o.side, o.ticks, needed):
        expire(k, order)
        return
    take(k, order, o.ticks)
    if o.lots - o.cut - o.filled <= 0:
        # What reduce-only cut away expires with the last fill.
        if o.cut > 0:
            expire(k, order)
    elif o.killed or o.flags & (IMMEDIATE | FILL_OR_KILL):
        expire(k, order)
    else:
        rest(k, order)
        shrink_reducing(k, o.instrument)


@compiled
def cancel(k: Kernel, order: int) -> None:
    """Take a resting or waiting order out; one that has ended before is not there to be canceled."""
    if k.orders[order].state == ARMED:
        disarm(k, order)
        tell(k, CANCELED, order, 0, 0, NO_LIQUIDITY, 0)
        return
    if k.orders[order].state != RESTING:
        tell(k, CANCEL_REJECTED, order, 0, 0, NO_LIQUIDITY, UNKNOWN_ORDER)
        return
    dequeue(k, order)
    tell(k, CANCELED, order, 0, 0, NO_LIQUIDITY, 0)


@compiled
def modify(k: Kernel, order: int, ticks: int, lots: int, keeps_place: bool) -> None:
    """Change price and total quantity of a resting order.

    It goes to the back of its queue; with `keeps_place` (Globex) not when only the quantity falls. A total at or below
    what is filled cancels it, and so does a post-only price that would take (Binance `PUT /fapi/v1/order`).
    """
    o = k.orders[order]
    if o.state != RESTING:
        tell(k, MODIFY_REJECTED, order, ticks, lots, NO_LIQUIDITY, UNKNOWN_ORDER)
        return
    if not k.instruments[o.instrument].is_open:
        tell(k, MODIFY_REJECTED, order, ticks, lots, NO_LIQUIDITY, NOT_OPEN)
        return
    if lots <= o.filled or (o.flags & POST_ONLY and would_take(k, o.instrument, o.side, ticks)):
        cancel(k, order)
        return
    if keeps_place and ticks == o.ticks and lots <= o.lots:
        o.lots = lots
        _recut(k, order)
        leaves = o.lots - o.cut - o.filled
        o.visible = min(o.visible, leaves) if o.display else leaves
        _tell_modified(k, order)
        if leaves <= 0:
            expire(k, order)
        return
    dequeue(k, order)
    o.ticks, o.lots = ticks, lots
    _recut(k, order)
    _tell_modified(k, order)
    take(k, order, ticks)
    if o.lots - o.cut - o.filled <= 0:
        if o.cut > 0:
            expire(k, order)
    elif o.killed:
        expire(k, order)
    else:
        rest(k, order)


@compiled
def _recut(k: Kernel, order: int) -> None:
    o = k.orders[order]
    if o.flags & REDUCES:
        o.cut = max(0, o.lots - o.filled - reducible(k, order))


@compiled
def _tell_modified(k: Kernel, order: int) -> None:
    """Tell an order's new price and total, and what reduce-only cuts from it."""
    o = k.orders[order]
    tell(k, MODIFIED, order, o.ticks, o.lots, NO_LIQUIDITY, 0)
    if o.cut > 0:
        tell(k, CUT, order, 0, o.cut, NO_LIQUIDITY, 0)


@compiled
def ahead_of(k: Kernel, order: int) -> float:
    """Return the market lots ahead of a resting order, of its whole level when it does not rest."""
    o = k.orders[order]
    return o.front if o.state == RESTING else float(lots_at(k, 4 * o.instrument + o.side, o.ticks))
