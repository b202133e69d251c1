"""Where own orders stand: their order at a price, and the market quantity ahead of each.

`front` is the estimated market quantity ahead in lots, a float because the probability models split lots. A new order
starts behind everything displayed; a trade at the price takes from the front; depth changes are judged here.
Formulas: hftbacktest 2.4.4, `hftbacktest/src/backtest/models/queue.rs`, read at commit 5f3ec40b.
"""

from math import log

from sim.kernel.compiled import compiled
from sim.kernel.layout import BUY_SIDE, IDLE, LOG, POWER, REDUCES, RESTING, Kernel


@compiled
def front_after(model: int, exponent: float, lot: float, front: float, before: int, after: int) -> float:
    """Return the front after a level went from `before` (trades already taken off) to `after` lots, at most `after`.

    Risk-averse: quantity leaves behind the own order as long as it can. Power: P(behind) = back^n / (back^n +
    front^n). Log: P(behind) = ln(1 + back) / (ln(1 + back) + ln(1 + front)), in base units (`lot` each).
    """
    if after >= before or model not in (POWER, LOG):
        return min(front, float(after))
    change = before - after
    back = max(0.0, before - front)
    if model == POWER:
        if front == 0.0 and back == 0.0:
            return 0.0
        # The smaller over the larger: a power of it cannot overflow.
        odds = (min(front, back) / max(front, back)) ** exponent
        behind = (1.0 if back >= front else odds) / (1 + odds)
    else:
        ahead, past = log(1 + front * lot), log(1 + back * lot)
        behind = past / (past + ahead) if past + ahead != 0.0 else 1.0
    # `behind` is the share of a decrease that left behind the own order; what is not there comes off the front.
    estimate = front - (1 - behind) * change + min(back - behind * change, 0.0)
    return max(0.0, min(estimate, float(after)))


@compiled
def key_of(side: int, ticks: int) -> int:
    """Return a price so that the better is the smaller."""
    return -ticks if side == BUY_SIDE else ticks


@compiled
def first_at(k: Kernel, queue: int, key: int) -> int:
    """Return the place of the first order whose price is `key` or worse."""
    low, high = 0, k.resting[queue]
    while low < high:
        middle = (low + high) >> 1
        if k.keys[queue, middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def is_at(k: Kernel, queue: int, place: int, key: int) -> bool:
    """Whether an order with price `key` stands at a place."""
    return place < k.resting[queue] and k.keys[queue, place] == key


@compiled
def own_best(k: Kernel, queue: int) -> int:
    """Return the best own price in ticks; the caller knows that there is one."""
    key = k.keys[queue, 0]
    return -key if queue & 1 == BUY_SIDE else key


@compiled
def enqueue(k: Kernel, order: int, front: float) -> None:
    """Put an order behind every own order at its price, `front` market lots behind the touch."""
    o = k.orders[order]
    queue = 2 * o.instrument + o.side
    key = key_of(o.side, o.ticks)
    count = k.resting[queue]
    place = first_at(k, queue, key + 1)
    for at in range(count, place, -1):
        k.queue[queue, at] = k.queue[queue, at - 1]
        k.keys[queue, at] = k.keys[queue, at - 1]
    k.queue[queue, place] = order
    k.keys[queue, place] = key
    k.resting[queue] = count + 1
    if o.state != RESTING and o.flags & REDUCES:
        k.registers[0].reducing += 1
    o.state = RESTING
    o.front = front
    k.registers[0].sequence += 1
    o.joined = k.registers[0].sequence


@compiled
def dequeue(k: Kernel, order: int) -> None:
    """Take an order out of its queue; one that does not rest is left alone."""
    o = k.orders[order]
    if o.state != RESTING:
        return
    queue = 2 * o.instrument + o.side
    place = first_at(k, queue, key_of(o.side, o.ticks))
    while k.queue[queue, place] != order:
        place += 1
    count = k.resting[queue] - 1
    for at in range(place, count):
        k.queue[queue, at] = k.queue[queue, at + 1]
        k.keys[queue, at] = k.keys[queue, at + 1]
    k.resting[queue] = count
    o.state = IDLE
    if o.flags & REDUCES:
        k.registers[0].reducing -= 1


@compiled
def show(k: Kernel, order: int) -> None:
    """Put the next slice of an order on display."""
    o = k.orders[order]
    leaves = o.lots - o.cut - o.filled
    o.visible = min(leaves, o.display) if o.display else leaves


@compiled
def requeue_level(k: Kernel, queue: int, ticks: int, before: int, after: int) -> None:
    """Judge for every own order at a price how a change of the displayed quantity moved it."""
    key = key_of(queue & 1, ticks)
    place = first_at(k, queue, key)
    market = k.instruments[queue >> 1]
    while is_at(k, queue, place, key):
        o = k.orders[k.queue[queue, place]]
        o.front = front_after(market.model, market.exponent, market.lot, o.front, before, after)
        place += 1


@compiled
def clip_fronts(k: Kernel, queue: int, ticks: int, shown: int) -> None:
    """Let no own order at a price have more ahead of it than is displayed."""
    key = key_of(queue & 1, ticks)
    place = first_at(k, queue, key)
    while is_at(k, queue, place, key):
        o = k.orders[k.queue[queue, place]]
        o.front = min(o.front, float(shown))
        place += 1
