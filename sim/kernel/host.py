"""What the compiled venue does for one call from outside: levels, trades, entries, all of one event at a time."""

from typing import Any

from sim.kernel.books import add_page, clear_book, lots_at, set_lots
from sim.kernel.compiled import compiled
from sim.kernel.layout import L3_FIFO, Kernel
from sim.kernel.market_orders import forget_orders, recount
from sim.kernel.matching import fill_resting, match_crossed, shrink_reducing
from sim.kernel.queues import front_after, requeue_level, show


@compiled
def find_room(k: Kernel, instrument: int, ticks: Any, split: int) -> bool:
    """Whether every price has room on the venue's side; those before `split` are bids."""
    found = True
    for at in range(len(ticks)):
        found = found and add_page(k, 4 * instrument + (0 if at < split else 1), ticks[at]) >= 0
    return found


@compiled
def apply_levels(k: Kernel, instrument: int, ticks: Any, lots: Any, split: int) -> None:
    """Set absolute quantities for which there is room; whatever trades and own orders took from them is replaced."""
    for at in range(len(ticks)):
        side = 0 if at < split else 1
        book, queue = 4 * instrument + side, 2 * instrument + side
        if k.resting[queue] > 0:
            requeue_level(k, queue, ticks[at], lots_at(k, book, ticks[at]), lots[at])
        set_lots(k, book, ticks[at], lots[at])
    match_crossed(k, instrument)


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
def load_levels(k: Kernel, instrument: int, ticks: Any, lots: Any, split: int) -> None:
    """Replace the whole book. An empty one is unknown: the own orders keep their places."""
    begin_snapshot(k, instrument)
    for at in range(len(ticks)):
        set_lots(k, 4 * instrument + (0 if at < split else 1), ticks[at], lots[at])
    if len(ticks) > 0:
        end_snapshot(k, instrument)
    match_crossed(k, instrument)


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
