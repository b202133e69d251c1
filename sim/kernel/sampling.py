"""What actors are told when they look only now and then: the best levels that are not as they were.

The entry points take handles (`sim/kernel/handles.py`): they are called for every decision.
"""

from typing import Any

from sim.kernel.books import is_level, lots_at, next_level
from sim.kernel.compiled import compiled
from sim.kernel.desk import AT_TIME
from sim.kernel.handles import desk_at, feed_at, kernel_at
from sim.kernel.layout import Array, Kernel
from sim.kernel.run import play_desk, play_venue


@compiled
def changed_levels(k: Kernel, book: int, shown: Any, changes: Any, start: int) -> int:
    """Write the changes of a side's best levels since last time to `changes` and return where they end.

    `shown` has room for n levels, the best first (ticks, lots), 0 lots where there is none, and is brought up to date;
    `changes` has room for 2n pairs from `start` on (ticks, new lots; 0 for a level that is no longer among the best n).
    """
    depth, end, old = len(shown), start, 0
    sells = book & 1
    # The levels as they are now, merged with those shown before, from the best on.
    price = k.best[book]
    for _ in range(depth):
        if not is_level(price):
            break
        while old < depth and shown[old, 1] and (shown[old, 0] < price) == (sells == 1) and shown[old, 0] != price:
            changes[end], changes[end + 1] = shown[old, 0], 0
            end, old = end + 2, old + 1
        lots = lots_at(k, book, price)
        if old < depth and shown[old, 1] and shown[old, 0] == price:
            is_same = shown[old, 1] == lots
            old += 1
        else:
            is_same = False
        if not is_same:
            changes[end], changes[end + 1] = price, lots
            end += 2
        price = next_level(k, book, price)
    while old < depth and shown[old, 1]:
        changes[end], changes[end + 1] = shown[old, 0], 0
        end, old = end + 2, old + 1
    if end > start:
        _show(k, book, shown)
    return end


@compiled
def _show(k: Kernel, book: int, shown: Any) -> None:
    price = k.best[book]
    for at in range(len(shown)):
        if is_level(price):
            shown[at, 0], shown[at, 1] = price, lots_at(k, book, price)
            price = next_level(k, book, price)
        else:
            shown[at, 0], shown[at, 1] = 0, 0


@compiled
def play_hosted(kernel: Array, desk: Array, feed: Array, until: int, is_last: bool) -> int:
    """Play both clocks to `until`, or to what the host has to see to. Returns AT_TIME or why it cannot go on."""
    k, d, rows = kernel_at(kernel), desk_at(desk), feed_at(feed)
    why = play_venue(k, d, rows, until, is_last)
    if why == AT_TIME:
        why = play_desk(k, d, rows, until, is_last)
    if why == AT_TIME:
        d.clock[0].now = until
    return why


@compiled
def look(kernel: Array, shown: Array, changes: Array) -> int:
    """Write what changed in the desk's books to `changes` and return how many numbers that takes.

    `shown` has for each instrument and side n levels. For each book that changed there are, all in pairs, its
    instrument and 0, how many bids and how many asks follow, and these (ticks, lots).
    `changes` has room for 4 + 8n numbers an instrument.
    """
    k, end = kernel_at(kernel), 0
    for instrument in range(len(shown) >> 1):
        start = end + 4
        middle = changed_levels(k, 4 * instrument + 2, shown[2 * instrument], changes, start)
        last = changed_levels(k, 4 * instrument + 3, shown[2 * instrument + 1], changes, middle)
        if last > start:
            changes[end], changes[end + 1] = instrument, 0
            changes[end + 2], changes[end + 3] = (middle - start) >> 1, (last - middle) >> 1
            end = last
    return end
