"""What the compiled venue does for one call from outside: levels, trades, entries, all of one event at a time."""

from sim.kernel.books import add_page, clear_book, lots_at, set_lots
from sim.kernel.compiled import compiled
from sim.kernel.layout import L3_FIFO, Array, Kernel
from sim.kernel.market_orders import forget_orders, recount
from sim.kernel.matching import fill_resting, match_crossed, shrink_reducing
from sim.kernel.queues import front_after, requeue_level, show


@compiled
def find_room(k: Kernel, instrument: int, levels: Array, count: int, split: int) -> bool:
    """Whether the venue's book has a place for every price; those before `split` are bids."""
    found = True
    for at in range(count):
        found = found and add_page(k, 4 * instrument + (0 if at < split else 1), levels[at, 0]) >= 0
    return found


@compiled
def apply_levels(k: Kernel, instrument: int, levels: Array, count: int, split: int) -> int:
    """Set absolute quantities; whatever trades and own orders took from them is replaced.

    The first `count` rows of `levels` are (ticks, lots), those before `split` bids. Returns how many events wait; -1,
    having done nothing, when a price has no room.
    """
    if not find_room(k, instrument, levels, count, split):
        return -1
    for at in range(count):
        side = 0 if at < split else 1
        book, queue = 4 * instrument + side, 2 * instrument + side
        ticks, lots = levels[at, 0], levels[at, 1]
        if k.resting[queue] > 0:
            requeue_level(k, queue, ticks, lots_at(k, book, ticks), lots)
        set_lots(k, book, ticks, lots)
    match_crossed(k, instrument)
    return k.registers[0].events


@compiled
def begin_snapshot(k: Kernel, instrument: int) -> None:
    """Forget the venue's book and remember what stood at the own orders' prices."""
    k.instruments[instrument].is_loading = 1
    if k.instruments[instrument].by_order:
        forget_orders(k, 2 * instrument)
    for side in range(2):
        book, queue = 4 * instrument + side, 2 * instrument + side
        for place in range(k.resting[queue]):
            o = k.orders[k.queue[queue, place]]
            o.shown = lots_at(k, book, o.ticks)
        clear_book(k, book)


@compiled
def end_snapshot(k: Kernel, instrument: int) -> None:
    """Judge where the own orders stand in the new book."""
    market = k.instruments[instrument]
    market.is_loading = 0
    for side in range(2):
        book, queue = 4 * instrument + side, 2 * instrument + side
        for place in range(k.resting[queue]):
            o = k.orders[k.queue[queue, place]]
            if market.by_order and market.model == L3_FIFO:
                recount(k, queue, o.ticks)
                continue
            now = lots_at(k, book, o.ticks)
            o.front = front_after(market.model, market.exponent, market.lot, o.front, o.shown, now)


@compiled
def load_levels(k: Kernel, instrument: int, levels: Array, count: int, split: int) -> int:
    """Replace the whole book; arguments and result as of `apply_levels`.

    An empty book is unknown: the own orders keep their places.
    """
    if not find_room(k, instrument, levels, count, split):
        return -1
    begin_snapshot(k, instrument)
    for at in range(count):
        set_lots(k, 4 * instrument + (0 if at < split else 1), levels[at, 0], levels[at, 1])
    if count > 0:
        end_snapshot(k, instrument)
    match_crossed(k, instrument)
    return k.registers[0].events


@compiled
def execute(k: Kernel, order: int, ticks: int, lots: int, reason: int) -> None:
    """Fill a resting order at another price than its own; what is left shows its next slice."""
    fill_resting(k, order, ticks, lots, reason)
    show(k, order)
    shrink_reducing(k, k.orders[order].instrument)


@compiled
def resize(k: Kernel, order: int, lots: int, cut: int) -> None:
    """Change a resting order's quantity without moving it."""
    o = k.orders[order]
    o.lots, o.cut = lots, cut
    leaves = lots - cut - o.filled
    o.visible = min(o.visible, leaves) if o.display else leaves
