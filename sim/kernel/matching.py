"""Which own orders trade, when and how much.

The displayed book is the market's: absolute quantities from the feed, less what trades and own orders took since. Own
orders are not part of it; each remembers the market quantity ahead of it, and its queue keeps them in order.
"""

from math import ceil, floor

from sim.kernel.books import is_level, lots_at, next_level, set_lots
from sim.kernel.compiled import compiled, inlined
from sim.kernel.layout import (
    BUY_SIDE,
    BY_CROSSED,
    BY_LIQUIDATION,
    BY_QUEUE,
    BY_TAKING,
    BY_THROUGH,
    CUT,
    EXPIRED,
    FILLED,
    FORCED,
    L3_FIFO,
    MAKER,
    NO_LIQUIDITY,
    REDUCES,
    RESTING,
    STP_BOTH,
    STP_MAKER,
    STP_TAKER,
    STP_TRADE,
    TAKER,
    Kernel,
)
from sim.kernel.market_orders import consume, recount
from sim.kernel.queues import clip_fronts, dequeue, enqueue, first_at, is_at, key_of, own_best, show


@compiled
def tell(k: Kernel, kind: int, order: int, ticks: int, lots: int, liquidity: int, reason: int) -> None:
    """Append an event about an order; one without room is counted as lost and must not go unnoticed."""
    registers, o = k.registers[0], k.orders[order]
    if registers.events == len(k.events):
        registers.lost += 1
        return
    event = k.events[registers.events]
    registers.events += 1
    event.ns, event.kind, event.order, event.instrument = registers.now, kind, order, o.instrument
    event.ticks, event.lots, event.liquidity, event.reason = ticks, lots, liquidity, reason
    event.tag, event.side = o.tag, o.side


@compiled
def sign_of(side: int) -> int:
    """Return 1 for a buy and -1 for a sell."""
    return 1 if side == BUY_SIDE else -1


@compiled
def fill(k: Kernel, order: int, ticks: int, lots: int, liquidity: int, reason: int) -> None:
    """Book an execution on order and position."""
    o = k.orders[order]
    o.filled += lots
    o.cost += lots * ticks
    if o.position >= 0:
        k.positions[o.position] += sign_of(o.side) * lots
    tell(k, FILLED, order, ticks, lots, liquidity, reason)


@compiled
def fill_resting(k: Kernel, order: int, ticks: int, lots: int, reason: int) -> None:
    """Fill an order in its queue; it leaves when nothing is left."""
    o = k.orders[order]
    o.visible = max(0, o.visible - lots)
    fill(k, order, ticks, lots, MAKER, reason)
    if o.lots - o.cut - o.filled <= 0:
        dequeue(k, order)


@compiled
def expire(k: Kernel, order: int) -> None:
    """End an order without a trade."""
    dequeue(k, order)
    tell(k, EXPIRED, order, 0, 0, NO_LIQUIDITY, 0)


@compiled
def reducible(k: Kernel, order: int) -> int:
    """Return how many lots of its position an order can close; 0 when it would enlarge it."""
    o = k.orders[order]
    held = k.positions[o.position] if o.position >= 0 else 0
    return abs(held) if held * sign_of(o.side) < 0 else 0


@compiled
def shrink_reducing(k: Kernel, instrument: int) -> None:
    """Cut resting reduce-only orders to the positions as they are now, the oldest first; what has nothing left expires.

    Source: Binance ORDER_TRADE_UPDATE, `er` 4 (reduce-only orders that no longer fit are expired).
    """
    if not k.registers[0].reducing:
        return
    last = -1
    while True:
        chosen, earliest = -1, -1
        for queue in range(2 * instrument, 2 * instrument + 2):
            for place in range(k.resting[queue]):
                o = k.orders[k.queue[queue, place]]
                if o.flags & REDUCES and o.sequence > last and (chosen < 0 or o.sequence < earliest):
                    chosen, earliest = k.queue[queue, place], o.sequence
        if chosen < 0:
            return
        last = earliest
        o = k.orders[chosen]
        excess = o.lots - o.cut - o.filled - reducible(k, chosen)
        if excess > 0:
            o.cut += excess
            o.visible = min(o.visible, o.lots - o.cut - o.filled)
            tell(k, CUT, chosen, 0, excess, NO_LIQUIDITY, 0)
            if o.lots - o.cut - o.filled <= 0:
                expire(k, chosen)


# Taking


@compiled
def would_take(k: Kernel, instrument: int, side: int, ticks: int) -> bool:
    """Whether an order at a price meets a displayed or an own resting order."""
    other = 1 - side
    best = k.best[4 * instrument + other]
    key = key_of(other, ticks)
    if is_level(best) and key_of(other, best) <= key:
        return True
    queue = 2 * instrument + other
    return k.resting[queue] > 0 and k.keys[queue, 0] <= key


@compiled
def is_available(k: Kernel, instrument: int, side: int, limit: int, lots: int) -> bool:
    """Whether `lots` are displayed for an order of `side` within its limit."""
    book = 4 * instrument + 1 - side
    price = k.best[book]
    sign = sign_of(side)
    while lots > 0 and is_level(price) and (price - limit) * sign <= 0:
        lots -= lots_at(k, book, price)
        price = next_level(k, book, price)
    return lots <= 0


@compiled
def take(k: Kernel, order: int, limit: int) -> None:
    """Let an order consume what stands within `limit`: best price first, own resting orders in their places."""
    o = k.orders[order]
    instrument, other, sign = o.instrument, 1 - o.side, sign_of(o.side)
    book, queue = 4 * instrument + other, 2 * instrument + other
    while o.lots - o.cut - o.filled > 0 and not o.killed:
        price = k.best[book]
        if k.resting[queue] > 0:
            own = own_best(k, queue)
            if not is_level(price) or (own - price) * sign < 0:
                price = own
        elif not is_level(price):
            return
        if (price - limit) * sign > 0:
            return
        _take_level(k, order, other, price)


@compiled
def _take_level(k: Kernel, order: int, other: int, ticks: int) -> None:
    o = k.orders[order]
    queue = 2 * o.instrument + other
    shown = lots_at(k, 4 * o.instrument + other, ticks)
    key = key_of(other, ticks)
    place = first_at(k, queue, key)
    taken = 0
    # Self-trade prevention may end the order when it meets one of several.
    while not o.killed and is_at(k, queue, place, key):
        own = k.queue[queue, place]
        ahead = min(shown, ceil(k.orders[own].front)) - taken
        if ahead > 0:
            taken += _take_market(k, order, ticks, ahead)
        if o.lots - o.cut - o.filled <= 0:
            break
        if k.orders[own].state == RESTING:
            _meet(k, order, own, ticks)
    if not o.killed:
        taken += _take_market(k, order, ticks, shown - taken)
    shrink(k, o.instrument, other, ticks, taken)


@compiled
def shrink(k: Kernel, instrument: int, side: int, ticks: int, lots: int) -> None:
    """Take `lots` off the front of a displayed level: own orders there move up."""
    if lots <= 0:
        return
    book, queue = 4 * instrument + side, 2 * instrument + side
    set_lots(k, book, ticks, max(0, lots_at(k, book, ticks) - lots))
    if k.instruments[instrument].by_order:
        consume(k, book, ticks, lots)
    key = key_of(side, ticks)
    place = first_at(k, queue, key)
    while is_at(k, queue, place, key):
        o = k.orders[k.queue[queue, place]]
        o.front = max(0.0, o.front - lots)
        place += 1


@compiled
def _take_market(k: Kernel, order: int, ticks: int, most: int) -> int:
    o = k.orders[order]
    lots = min(most, o.lots - o.cut - o.filled)
    if lots <= 0:
        return 0
    fill(k, order, ticks, lots, TAKER, BY_LIQUIDATION if o.flags & FORCED else BY_TAKING)
    shrink_reducing(k, o.instrument)
    return lots


@compiled
def _meet(k: Kernel, order: int, own: int, ticks: int) -> None:
    o, resting = k.orders[order], k.orders[own]
    policy = STP_TRADE
    if resting.account == o.account and not o.flags & FORCED:
        policy = o.stp
    if policy in (STP_MAKER, STP_BOTH):
        expire(k, own)
    if policy in (STP_TAKER, STP_BOTH):
        o.killed = 1
    if policy == STP_TRADE:
        lots = min(o.lots - o.cut - o.filled, resting.lots - resting.cut - resting.filled)
        fill(k, order, ticks, lots, TAKER, BY_LIQUIDATION if o.flags & FORCED else BY_TAKING)
        fill_resting(k, own, ticks, lots, BY_QUEUE)
        shrink_reducing(k, o.instrument)


@compiled
def rest(k: Kernel, order: int) -> None:
    """Queue an order at its price behind everything displayed and every own order there."""
    o = k.orders[order]
    show(k, order)
    enqueue(k, order, float(lots_at(k, 4 * o.instrument + o.side, o.ticks)))


# Being taken


@inlined
def on_trade(k: Kernel, instrument: int, ticks: int, lots: int, aggressor: int) -> None:
    """A public trade: fills own orders it went through, then those at its price behind what is ahead of them.

    Where the book is told order by order, EXECUTE rows say what a trade did at its price.
    """
    side = 1 - aggressor
    market = k.instruments[instrument]
    market.last_trade = ticks
    if k.resting[2 * instrument + side] > 0 or market.by_order:
        _trade_with_own(k, instrument, ticks, lots, side)
    else:
        book = 4 * instrument + side
        set_lots(k, book, ticks, max(0, lots_at(k, book, ticks) - lots))


@compiled
def _trade_with_own(k: Kernel, instrument: int, ticks: int, lots: int, side: int) -> None:
    book, queue = 4 * instrument + side, 2 * instrument + side
    market = k.instruments[instrument]
    trade_through(k, instrument, side, ticks)
    if market.by_order and not market.trades_move:
        return
    if k.resting[queue] > 0 and k.keys[queue, 0] == key_of(side, ticks) and market.is_open:
        trade_at(k, instrument, side, ticks, lots)
    shown = lots_at(k, book, ticks)
    if market.by_order:
        consume(k, book, ticks, min(shown, lots))
    if shown:
        left = max(0, shown - lots)
        set_lots(k, book, ticks, left)
        clip_fronts(k, queue, ticks, left)
    if market.by_order and market.model == L3_FIFO:
        recount(k, queue, ticks)


@compiled
def trade_through(k: Kernel, instrument: int, side: int, ticks: int) -> None:
    """Note a public trade against `side`, and fill the own orders of that side at better prices."""
    queue, key = 2 * instrument + side, key_of(side, ticks)
    market = k.instruments[instrument]
    market.last_trade = ticks
    if not market.is_open:
        return
    while k.resting[queue] > 0 and k.keys[queue, 0] < key:
        own = k.queue[queue, 0]
        o = k.orders[own]
        fill_resting(k, own, o.ticks, o.lots - o.cut - o.filled, BY_THROUGH)
        shrink_reducing(k, instrument)


@compiled
def trade_at(k: Kernel, instrument: int, side: int, ticks: int, lots: int) -> None:
    """Fill own orders at a price with what of a trade reaches them behind the quantity ahead of each."""
    book, queue, key = 4 * instrument + side, 2 * instrument + side, key_of(side, ticks)
    shown = lots_at(k, book, ticks)
    place, waiting = first_at(k, queue, key), 0
    while is_at(k, queue, place, key):
        k.scratch[waiting] = k.queue[queue, place]
        waiting += 1
        place += 1
    gone, left, at = 0.0, float(lots), 0
    while at < waiting:
        own = k.scratch[at]
        at += 1
        o = k.orders[own]
        if o.state != RESTING:
            continue
        ahead = max(0.0, o.front - gone)
        reach = floor(left - ahead + 0.5)
        if reach <= 0:
            break
        gone += ahead
        filled = min(reach, o.visible)
        left = float(reach - filled)
        fill_resting(k, own, ticks, filled, BY_QUEUE)
        if o.state == RESTING and not o.visible:
            refresh(k, own, shown)
            # Whoever waits is at most every order once, plus itself again: the list is moved up when it is full.
            if waiting == len(k.scratch):
                for later in range(at, waiting):
                    k.scratch[later - at] = k.scratch[later]
                waiting, at = waiting - at, 0
            k.scratch[waiting] = own
            waiting += 1
        shrink_reducing(k, instrument)
        if not left:
            break
    gone += left
    place = first_at(k, queue, key)
    while is_at(k, queue, place, key):
        o = k.orders[k.queue[queue, place]]
        o.front = max(0.0, o.front - gone)
        place += 1


@compiled
def refresh(k: Kernel, order: int, shown: int) -> None:
    """Show an iceberg's next slice: it has new time priority, behind the level as it stood before this trade."""
    dequeue(k, order)
    show(k, order)
    enqueue(k, order, float(shown))


@compiled
def match_crossed(k: Kernel, instrument: int) -> None:
    """Fill own orders that a displayed opposite quote reaches, at most that quote's quantity, at their price."""
    if not k.instruments[instrument].is_open:
        return
    for side in range(2):
        book, queue = 4 * instrument + 1 - side, 2 * instrument + side
        while k.resting[queue] > 0:
            quote = k.best[book]
            if not is_level(quote) or key_of(side, quote) < k.keys[queue, 0]:
                break
            own = k.queue[queue, 0]
            o = k.orders[own]
            shown = lots_at(k, book, quote)
            lots = min(o.lots - o.cut - o.filled, shown)
            shrink(k, instrument, 1 - side, quote, lots)
            fill_resting(k, own, o.ticks, lots, BY_CROSSED)
            if o.state == RESTING and not o.visible:
                refresh(k, own, lots_at(k, 4 * instrument + side, o.ticks))
            shrink_reducing(k, instrument)
