"""When a conditional order of a compiled desk triggers.

Prices are compared in units of 1e-8 (`instruments.tick_raw` per tick), so that trades and marks are held against the
same stop exactly.
"""

from sim.kernel.compiled import compiled
from sim.kernel.layout import ARMED, BUY_SIDE, IDLE, STOP, TRAILING, Kernel

_BPS = 10_000


@compiled
def armed_row(k: Kernel, instrument: int) -> int:
    """Return the row of `queue` and `resting` that holds an instrument's armed orders, oldest first."""
    return 2 * len(k.instruments) + instrument


@compiled
def arm(k: Kernel, order: int) -> None:
    """Let a conditional order wait for its price."""
    o = k.orders[order]
    row = armed_row(k, o.instrument)
    k.queue[row, k.resting[row]] = order
    k.resting[row] += 1
    o.state = ARMED


@compiled
def disarm(k: Kernel, order: int) -> None:
    """Take a conditional order out of those that wait."""
    o = k.orders[order]
    row = armed_row(k, o.instrument)
    place = 0
    while k.queue[row, place] != order:
        place += 1
    for at in range(place, k.resting[row] - 1):
        k.queue[row, at] = k.queue[row, at + 1]
    k.resting[row] -= 1
    o.state = IDLE


@compiled
def is_reached(k: Kernel, order: int, price: int) -> bool:
    """Whether a price (1e-8) triggers an order; a trailing stop first remembers it.

    Stops trigger at or through their price, take-profits at or beyond it on the other side, trailing stops once
    the best price since activation is given back by the callback rate.
    """
    o = k.orders[order]
    stop = o.stop * k.instruments[o.instrument].tick_raw
    buys = o.side == BUY_SIDE
    if o.trigger != TRAILING:
        rises = buys if o.trigger == STOP else not buys
        return price >= stop if rises else price <= stop
    if not o.is_active:
        o.is_active = o.stop == 0 or (price <= stop if buys else price >= stop)
        if not o.is_active:
            return False
        o.extreme = price
    if (price < o.extreme) if buys else (price > o.extreme):
        o.extreme = price
    if buys:
        return price * _BPS >= o.extreme * (_BPS + o.callback_bps)
    return price * _BPS <= o.extreme * (_BPS - o.callback_bps)


@compiled
def next_triggered(k: Kernel, instrument: int, price: int, on_mark: bool, place: int) -> int:
    """Return the place, from `place` on, of the first armed order that a price triggers; -1 when there is none."""
    row = armed_row(k, instrument)
    while place < k.resting[row]:
        order = k.queue[row, place]
        if (k.orders[order].watches_mark != 0) == on_mark and is_reached(k, order, price):
            return place
        place += 1
    return -1


@compiled
def watched_price(k: Kernel, order: int, mark: int) -> int:
    """Return the price an order watches as it stands (1e-8), 0 when there is none yet. `mark` is the last mark."""
    o = k.orders[order]
    market = k.instruments[o.instrument]
    if o.watches_mark:
        return mark
    return market.last_trade * market.tick_raw if market.last_trade > 0 else 0
