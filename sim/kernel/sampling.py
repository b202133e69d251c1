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
def changed_levels(k: Kernel, book: int, shown: Any, changes: Any) -> int:
    """Write the changes of a side's best levels since last time to `changes` and return how many there are.

    `shown` has room for n levels, the best first (ticks, lots), 0 lots where there is none, and is brought up to date;
    `changes` has room for 2n (ticks, new lots; 0 for a level that is no longer among the best n).
    """
    depth, count, old = len(shown), 0, 0
    sells = book & 1
    # The levels as they are now, merged with those shown before, from the best on.
    price = k.best[book]
    for _ in range(depth):
        if not is_level(price):
            break
        while old < depth and shown[old, 1] and (shown[old, 0] < price) == (sells == 1) and shown[old, 0] != price:
            changes[count, 0], changes[count, 1] = shown[old, 0], 0
            count, old = count + 1, old + 1
        lots = lots_at(k, book, price)
        if old < depth and shown[old, 1] and shown[old, 0] == price:
            is_same = shown[old, 1] == lots
            old += 1
        else:
            is_same = False
        if not is_same:
            changes[count, 0], changes[count, 1] = price, lots
            count += 1
        price = next_level(k, book, price)
    while old < depth and shown[old, 1]:
        changes[count, 0], changes[count, 1] = shown[old, 0], 0
        count, old = count + 1, old + 1
    price = k.best[book]
    for at in range(depth):
        if is_level(price):
            shown[at, 0], shown[at, 1] = price, lots_at(k, book, price)
            price = next_level(k, book, price)
        else:
            shown[at, 0], shown[at, 1] = 0, 0
    return count


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
def look(kernel: Array, shown: Array, changes: Array, counts: Array) -> int:
    """Write what changed in the desk's books of all instruments; return how many changes there are in all.

    `shown` has for each instrument and side n levels, `changes` room for 2n; `counts` gets the number of each.
    """
    k, total = kernel_at(kernel), 0
    for at in range(len(shown)):
        counts[at] = changed_levels(k, 4 * (at >> 1) + 2 + (at & 1), shown[at], changes[at])
        total += counts[at]
    return total
