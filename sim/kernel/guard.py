"""What can pass without the exact account: orders that are surely affordable, marks that surely liquidate nobody.

Everything here is an estimate in doubles with a margin on the safe side. Whatever is not surely right is for the host,
who asks the venue's exact rules. Instrument i's position is number i.
"""

from sim.kernel.books import is_level
from sim.kernel.compiled import compiled
from sim.kernel.desk import Desk
from sim.kernel.layout import NO_LIMIT, RESTING, Kernel
from sim.rows import PRICE_SCALE

SAFETY = 1.05
"""How much more must be there than is needed: far above what doubles round, and an order's fees and slippage."""


@compiled
def value_ticks(k: Kernel, d: Desk, instrument: int) -> float:
    """Return the price to value an instrument at, in ticks: the mark, else the last trade, else 0 (unknown)."""
    mark = d.guard[instrument].mark
    if mark > 0.0:
        return mark
    last = k.instruments[instrument].last_trade
    return float(last) if last > 0 else 0.0


@compiled
def equity(k: Kernel, d: Desk) -> float:
    """Return wallet and open profit in quote money, fees at the dearer rate taken off."""
    total = d.clock[0].base
    for at in range(len(d.guard)):
        g, ledger = d.guard[at], d.ledger[at]
        cash = ledger.cash - g.cash
        paid = (ledger.maker + ledger.taker - g.paid) * g.fee
        total += g.unit * (cash + k.positions[at] * value_ticks(k, d, at) - paid)
    return total


@compiled
def is_surely_affordable(k: Kernel, d: Desk, instrument: int, side: int, ticks: int, lots: int) -> bool:
    """Whether so much more passes every exact check of size, bracket and initial margin beyond doubt."""
    needed = 0.0
    for at in range(len(d.guard)):
        g = d.guard[at]
        reach = abs(k.positions[at]) + d.ledger[at].open
        price = value_ticks(k, d, at)
        if at == instrument:
            if not (g.lots_min <= lots <= g.lots_max):
                return False
            reach += lots
            best = k.best[4 * at + 1 - side]
            price = max(price, float(best) if is_level(best) else 0.0)
            lowest = price
            if abs(ticks) < NO_LIMIT:
                price, lowest = max(price, float(ticks)), min(price, float(ticks))
            if lowest <= 0.0 or g.leverage <= 0.0 or lowest * lots * g.unit < g.value_min * SAFETY:
                return False
        value = reach * price * g.unit
        if value * SAFETY > g.cap:
            return False
        if reach > 0:
            if price <= 0.0 or g.leverage <= 0.0:
                return False
            needed += value / g.leverage
    return needed * SAFETY < equity(k, d)


@compiled
def takes_mark(k: Kernel, d: Desk, instrument: int, mark: int) -> bool:
    """Note a mark price; whether it surely liquidates nobody (otherwise the host has to look, and nothing is noted)."""
    g = d.guard[instrument]
    before = g.mark
    g.mark = mark / PRICE_SCALE / g.tick
    needed, holds = 0.0, False
    for at in range(len(d.guard)):
        if k.positions[at] != 0:
            holds = True
            needed += abs(k.positions[at]) * value_ticks(k, d, at) * d.guard[at].unit * d.guard[at].mmr
    if holds and needed * SAFETY >= equity(k, d):
        g.mark = before
        return False
    g.raw_mark = mark
    return True


@compiled
def count_open(k: Kernel, d: Desk, order: int) -> None:
    """Keep the sum of what live orders of an instrument still want to trade."""
    o, s = k.orders[order], d.sent[order]
    leaves = o.lots - o.cut - o.filled if o.state == RESTING else 0
    d.ledger[o.instrument].open += leaves - s.counted
    s.counted = leaves
