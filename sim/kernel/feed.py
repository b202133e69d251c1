"""What one row of a market does: to the venue's book and the orders in it, or to the book as the desk knows it."""

from typing import NamedTuple

from sim.kernel.books import clear_book, lots_at, set_lots
from sim.kernel.by_order import change_order, show_order
from sim.kernel.compiled import compiled, inlined
from sim.kernel.desk import FOR_HOST, NEED_ROOM
from sim.kernel.host import begin_snapshot, end_snapshot
from sim.kernel.layout import BUY_SIDE, Array, Kernel
from sim.kernel.market_orders import drop_orders
from sim.kernel.matching import match_crossed, on_trade
from sim.kernel.queues import requeue_level
from sim.rows import ADD, BUY, CLEAR, DEPTH, ESTIMATE, EXECUTE, GAP, LAST, OPEN_INTEREST, QUOTE, SNAPSHOT, TRADE

GOES_ON = -1


class Feed(NamedTuple):
    """A block of rows, column by column."""

    kind: Array
    flags: Array
    instrument: Array
    venue_ns: Array
    local_ns: Array
    ticks: Array
    lots: Array
    order_id: Array


@inlined
def stands_among(k: Kernel, queue: int, side: int, ticks: int) -> bool:
    """Whether a price is between the best and the worst of the own orders of a side: most are not, and need no call."""
    count = k.resting[queue]
    key = -ticks if side == BUY_SIDE else ticks
    return count > 0 and k.keys[queue, 0] <= key <= k.keys[queue, count - 1]


@inlined
def is_reached(k: Kernel, instrument: int) -> bool:
    """Whether a displayed quote is at or through the best own order of the other side."""
    buys, sells = 2 * instrument, 2 * instrument + 1
    return (k.resting[buys] > 0 and -k.best[4 * instrument + 1] >= k.keys[buys, 0]) or (
        k.resting[sells] > 0 and k.best[4 * instrument] >= k.keys[sells, 0]
    )


@inlined
def at_venue(k: Kernel, feed: Feed, row: int) -> int:
    """Let a row happen at the venue. Returns GOES_ON, or why it has not happened: NEED_ROOM or FOR_HOST."""
    kind, flags, instrument = feed.kind[row], feed.flags[row], int(feed.instrument[row])
    ticks, lots = feed.ticks[row], feed.lots[row]
    side = 0 if flags & BUY else 1
    book, queue = 4 * instrument + side, 2 * instrument + side
    if kind == DEPTH:
        if stands_among(k, queue, side, ticks):
            requeue_level(k, queue, ticks, lots_at(k, book, ticks), lots)
        if not set_lots(k, book, ticks, lots):
            return NEED_ROOM
        if flags & LAST and is_reached(k, instrument):
            match_crossed(k, instrument)
    elif kind == TRADE:
        on_trade(k, instrument, ticks, lots, side)
    elif kind == SNAPSHOT:
        if not set_lots(k, book, ticks, lots):
            return NEED_ROOM
        if flags & LAST:
            end_snapshot(k, instrument)
            match_crossed(k, instrument)
    elif kind in (CLEAR, GAP):
        # After a gap the book is unknown until the next whole one.
        begin_snapshot(k, instrument)
    elif kind not in (QUOTE, OPEN_INTEREST, ESTIMATE):
        if not ADD <= kind <= EXECUTE:
            return FOR_HOST
        is_last = (flags & LAST) != 0
        if not change_order(k, int(kind), instrument, side, ticks, lots, feed.order_id[row], is_last):
            return NEED_ROOM
    return GOES_ON


@inlined
def at_desk(k: Kernel, feed: Feed, row: int) -> int:
    """Let a row reach the desk's book. Returns GOES_ON or NEED_ROOM."""
    kind, flags, instrument = feed.kind[row], feed.flags[row], int(feed.instrument[row])
    book = 4 * instrument + (2 if flags & BUY else 3)
    if kind in (DEPTH, SNAPSHOT):
        if not set_lots(k, book, feed.ticks[row], feed.lots[row]):
            return NEED_ROOM
    elif ADD <= kind <= EXECUTE:
        side, order_id = 0 if flags & BUY else 1, feed.order_id[row]
        if not show_order(k, int(kind), instrument, side, feed.ticks[row], feed.lots[row], order_id):
            return NEED_ROOM
    elif kind in (CLEAR, GAP):
        clear_book(k, 4 * instrument + 2)
        clear_book(k, 4 * instrument + 3)
        if k.registers[0].market > 0:
            drop_orders(k, 2 * instrument + 1, False)
    return GOES_ON


@compiled
def play_books(k: Kernel, feed: Feed, row: int) -> int:
    """Let rows from `row` on happen at a venue without a desk; return the first that has not, for want of room."""
    while row < len(feed.kind):
        if at_venue(k, feed, row) == NEED_ROOM:
            return row
        row += 1
    return row
