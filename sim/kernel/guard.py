"""What can pass without the exact account: orders that are surely affordable, marks that surely liquidate nobody.

Everything here is an estimate in doubles with a margin on the safe side. Whatever is not surely right is for the host,
who asks the venue's exact rules. Instrument i's position is number i.
"""

from sim.kernel.books import is_level
from sim.kernel.compiled import compiled
from sim.kernel.desk import BY_MARK, Desk
from sim.kernel.entry import WHOLE_POSITION
from sim.kernel.layout import NO_LIMIT, REDUCES, RESTING, Kernel
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
def is_surely_sized(k: Kernel, d: Desk, instrument: int, side: int, flags: int, ticks: int, lots: int) -> bool:
    """Whether an order of a quantity passes the venue's filters beyond doubt; reducing ones have no least value."""
    g = d.guard[instrument]
    if flags & REDUCES and lots == WHOLE_POSITION:
        return True
    if not (g.lots_min <= lots <= g.lots_max):
        return False
    if flags & REDUCES or g.value_min <= 0.0:
        return True
    lowest = float(ticks)
    if abs(ticks) == NO_LIMIT:
        lowest = value_ticks(k, d, instrument)
        best = k.best[4 * instrument + 1 - side]
        if is_level(best):
            lowest = min(lowest, float(best))
    return lowest * lots * g.unit > g.value_min * SAFETY


@compiled
def is_surely_affordable(k: Kernel, d: Desk, instrument: int, side: int, ticks: int, lots: int) -> bool:
    """Whether so much more passes every exact check of bracket and initial margin beyond doubt."""
    needed = 0.0
    for at in range(len(d.guard)):
        g = d.guard[at]
        price = value_ticks(k, d, at)
        # Live orders claim margin at their own prices, which may be far above the market's.
        reach = abs(k.positions[at]) * price + d.ledger[at].open_value
        if at == instrument:
            best = k.best[4 * at + 1 - side]
            limit = max(price, float(best) if is_level(best) else 0.0)
            if abs(ticks) < NO_LIMIT:
                limit = max(limit, float(ticks))
            reach += limit * lots
        value = reach * g.unit
        if (k.positions[at] != 0 or at == instrument) and price <= 0.0:
            return False
        if value > 0.0:
            if g.leverage <= 0.0 or value * SAFETY > g.cap:
                return False
            needed += value / g.leverage
    return needed * SAFETY < equity(k, d)


@compiled
def takes_mark(k: Kernel, d: Desk, instrument: int, mark: int) -> bool:
    """Note a mark price; whether it surely liquidates nobody (otherwise the host has to look, and nothing is noted)."""
    g = d.guard[instrument]
    before = g.mark
    g.mark = mark / PRICE_SCALE / g.tick
    needed, is_sure = 0.0, True
    for at in range(len(d.guard)):
        if k.positions[at] != 0:
            value = value_ticks(k, d, at)
            is_sure = is_sure and value > 0.0 and d.guard[at].mmr > 0.0
            needed += abs(k.positions[at]) * value * d.guard[at].unit * d.guard[at].mmr
    if not is_sure or (needed > 0.0 and needed * SAFETY >= equity(k, d)):
        g.mark = before
        return False
    g.raw_mark, g.latest = mark, BY_MARK
    return True


@compiled
def count_open(k: Kernel, d: Desk, order: int) -> None:
    """Keep the sums of what live orders of an instrument still want to trade."""
    o, s = k.orders[order], d.sent[order]
    leaves = o.lots - o.cut - o.filled if o.state == RESTING else 0
    ledger, value = d.ledger[o.instrument], leaves * o.ticks
    ledger.open += leaves - s.counted
    ledger.open_value += value - s.value
    s.counted, s.value = leaves, value
