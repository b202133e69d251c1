"""What an order, a cancel or a change does when it arrives at the venue without the host."""

from sim.kernel.books import is_level
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
    STOP,
    STP_BOTH,
    TAKE_PROFIT,
    TO_LIMIT,
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
from sim.rows import LOTS_MAX, TICKS_MAX

# Why an arriving order is refused
NOT_OPEN, WOULD_TAKE, NOTHING_TO_REDUCE, NO_PRICE, UNKNOWN_ORDER, UNAFFORDABLE, WOULD_TRIGGER, MALFORMED = range(1, 9)

WHOLE_POSITION = (1 << 53) - 1
"""The quantity of a reduce-only order that closes whatever position there is."""


@compiled
def limit_of(k: Kernel, order: int, ticks: int, is_change: bool) -> int:
    """Return the limit a message asks for: of an order whose price comes from the book, none yet."""
    o = k.orders[order]
    return ticks if is_change or o.pricing == PRICED else sign_of(o.side) * NO_LIMIT


@compiled
def is_malformed(k: Kernel, order: int, ticks: int, lots: int, is_change: bool) -> bool:
    """Whether a submit or a change is none that a venue reads: something is out of range or too late."""
    o = k.orders[order]
    limit = limit_of(k, order, ticks, is_change)
    floor = k.instruments[o.instrument].floor
    if not 0 < lots <= LOTS_MAX or not (floor <= limit <= TICKS_MAX or limit == sign_of(o.side) * NO_LIMIT):
        return True
    if is_change:
        return abs(limit) == NO_LIMIT
    if not (0 <= o.stp <= STP_BOTH and 0 <= o.pricing <= TO_LIMIT and 0 <= o.trigger <= TRAILING):
        return True
    if o.trigger == TRAILING and not (0 < o.callback_bps < 10_000 and 0 <= o.stop <= TICKS_MAX):
        return True
    if o.trigger in (STOP, TAKE_PROFIT) and not 0 < o.stop <= TICKS_MAX:
        return True
    if o.trigger and not k.instruments[o.instrument].tick_raw:
        # Nothing could be held against its stop exactly.
        return True
    return o.min_lots < 0 or o.display < 0 or (o.expire != 0 and o.expire <= k.registers[0].now)


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
        o.cut = max(0, o.lots - o.filled - most)
    if o.pricing != PRICED:
        start = k.best[4 * o.instrument + 1 - o.side]
        if o.pricing == PROTECTED:
            # Protection counts from the best opposite price, of a stop from its trigger (CME confluence 78466178).
            if o.trigger in (STOP, TAKE_PROFIT):
                start = o.stop
            if is_level(start):
                start += sign_of(o.side) * k.instruments[o.instrument].protection
        if not is_level(start):
            return NO_PRICE
        o.ticks = start
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
    why = MALFORMED if is_malformed(k, order, o.ticks, o.lots, False) else 0
    if not why and not k.instruments[o.instrument].is_open:
        why = NOT_OPEN
    if not why and o.trigger:
        price = watched_price(k, order, mark)
        # A trailing stop remembers the price as it is now.
        if price and is_reached(k, order, price) and o.trigger != TRAILING:
            why = WOULD_TRIGGER
    if why:
        tell(k, REJECTED, order, 0, 0, NO_LIQUIDITY, why)
        return
    k.registers[0].sequence += 1
    o.sequence = k.registers[0].sequence
    if o.trigger:
        tell(k, ACCEPTED, order, o.ticks, o.lots, NO_LIQUIDITY, 0)
        arm(k, order)
    else:
        _enter(k, order, False)


@compiled
def fire(k: Kernel, order: int, is_refused: bool) -> None:
    """Let an armed order that has triggered enter; `is_refused` when the account cannot carry it."""
    o = k.orders[order]
    disarm(k, order)
    _size_whole(k, order)
    tell(k, TRIGGERED, order, o.ticks, o.lots, NO_LIQUIDITY, 0)
    if is_refused:
        tell(k, REJECTED, order, 0, 0, NO_LIQUIDITY, UNAFFORDABLE)
    else:
        _enter(k, order, True)


@compiled
def _size_whole(k: Kernel, order: int) -> None:
    """Let an order that closes the whole position be as large as the position is now."""
    o = k.orders[order]
    if o.flags & REDUCES and o.lots == WHOLE_POSITION and reducible(k, order) > 0:
        o.lots = reducible(k, order)


@compiled
def _enter(k: Kernel, order: int, is_accepted: bool) -> None:
    """Bring an order to the book."""
    o = k.orders[order]
    _size_whole(k, order)
    why = refusal(k, order)
    if why:
        tell(k, REJECTED, order, 0, 0, NO_LIQUIDITY, why)
        return
    if not is_accepted:
        tell(k, ACCEPTED, order, o.ticks, o.lots, NO_LIQUIDITY, 0)
    if o.cut > 0:
        tell(k, CUT, order, 0, o.cut, NO_LIQUIDITY, 0)
    leaves = o.lots - o.cut - o.filled
    # Without a limit, fill or kill is what a market order does anyway.
    needed = leaves if o.flags & FILL_OR_KILL and abs(o.ticks) != NO_LIMIT else o.min_lots
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
def ends_by_change(k: Kernel, order: int, ticks: int, lots: int) -> bool:
    """Whether a change ends a resting order: its total is filled already, or a post-only price would take.

    Source: Binance `PUT /fapi/v1/order`.
    """
    o = k.orders[order]
    return lots <= o.filled or (o.flags & POST_ONLY != 0 and would_take(k, o.instrument, o.side, ticks))


@compiled
def modify(k: Kernel, order: int, ticks: int, lots: int, keeps_place: bool, changes_armed: bool) -> None:
    """Change price and total quantity of a resting order, with `changes_armed` (Globex) of a waiting stop-limit, too.

    A resting one goes to the back of its queue; with `keeps_place` (Globex) not when only the quantity falls.
    """
    o = k.orders[order]
    is_waiting = changes_armed and o.state == ARMED and o.trigger == STOP and abs(o.ticks) != NO_LIMIT
    why = 0
    if o.state != RESTING and not (is_waiting and o.pricing == PRICED):
        why = UNKNOWN_ORDER
    elif not k.instruments[o.instrument].is_open:
        why = NOT_OPEN
    elif is_malformed(k, order, ticks, lots, True):
        why = MALFORMED
    if why:
        tell(k, MODIFY_REJECTED, order, ticks, lots, NO_LIQUIDITY, why)
        return
    if is_waiting:
        o.ticks, o.lots = ticks, lots
        _tell_modified(k, order)
        return
    if ends_by_change(k, order, ticks, lots):
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
