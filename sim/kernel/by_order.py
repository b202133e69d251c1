"""What the rows of an order-by-order feed do: to the venue's book and the own orders in it, or to the desk's book.

A level displays what is left of the market's orders there. The book follows the feed: an order that traded is gone,
even when an own order ahead of it got the trade. What own orders took from a market order is not taken again: the next
smaller quantity of it takes only what goes beyond. What a feed gets wrong is counted in `anomalies`, and no level is
ever negative. With a queue model for displayed quantities (risk-averse, power, log) the rows tell only those.
"""

from typing import Any

import numpy as np

from sim.kernel.books import add_page, lots_at, set_lots
from sim.kernel.compiled import compiled, inlined
from sim.kernel.host import begin_snapshot, end_snapshot, find_room
from sim.kernel.layout import (
    BAD_ORDER,
    BY_QUEUE,
    DUPLICATE_ORDER,
    EXCESS_EXECUTION,
    L3_FIFO,
    MOVED_ORDER,
    RESTING,
    UNKNOWN_MARKET_ORDER,
    Array,
    Kernel,
)
from sim.kernel.market_orders import add_order, drop_order, drop_orders, has_slot, join, part, place_of
from sim.kernel.matching import fill_resting, match_crossed, refresh, shrink_reducing, trade_at, trade_through
from sim.kernel.queues import clip_fronts, first_at, is_at, key_of, requeue_level
from sim.rows import ADD, DELETE, EXECUTE, LOTS_MAX, MODIFY


@compiled
def change_order(
    k: Kernel, kind: int, instrument: int, side: int, ticks: int, lots: int, order_id: Any, is_last: bool
) -> bool:
    """Let an ADD, MODIFY, DELETE or EXECUTE happen at the venue. Returns False, nothing done, when there is no room."""
    owner = 2 * instrument
    place = place_of(k, owner, order_id)
    slot = k.places[place] - 1
    if kind in (ADD, MODIFY):
        if not (has_slot(k) and add_page(k, 4 * instrument + side, ticks) >= 0):
            return False
        if is_bad(k, kind, 4 * instrument + side, ticks, lots, order_id):
            k.anomalies[instrument, BAD_ORDER] += 1
        else:
            k.instruments[instrument].by_order = 1
            _state(k, kind, place, order_id, 4 * instrument + side, ticks, lots)
    elif slot < 0 or (k.market[slot].lots == 0 and kind == EXECUTE):
        k.anomalies[instrument, UNKNOWN_MARKET_ORDER] += 1
        if kind == EXECUTE:
            trade_through(k, instrument, side, ticks)
    else:
        order = k.market[slot]
        if order.lots > 0 and (order.ticks != ticks or order.book & 1 != side):
            k.anomalies[instrument, MOVED_ORDER] += 1
        if kind == DELETE:
            _end(k, place)
        else:
            _execute(k, place, lots)
    if is_last:
        if k.instruments[instrument].is_loading and kind == ADD:
            drop_orders(k, owner, True)
            end_snapshot(k, instrument)
        if k.resting[2 * instrument] + k.resting[2 * instrument + 1] > 0:
            match_crossed(k, instrument)
    return True


@inlined
def is_bad(k: Kernel, kind: int, book: int, ticks: int, lots: int, order_id: Any) -> bool:
    """Whether an ADD or MODIFY says what cannot be: nobody's order, no quantity, more than a level can hold."""
    return order_id == 0 or lots < (1 if kind == ADD else 0) or lots > LOTS_MAX - lots_at(k, book, ticks)


@inlined
def _state(k: Kernel, kind: int, place: int, order_id: Any, book: int, ticks: int, lots: int) -> None:
    """An order is now at a price with a quantity; a changed one keeps its place or goes to the back."""
    instrument = book >> 2
    slot = k.places[place] - 1
    if slot < 0:
        if kind == MODIFY:
            k.anomalies[instrument, UNKNOWN_MARKET_ORDER] += 1
        if lots > 0:
            slot = add_order(k, place, order_id, book, ticks, lots)
            k.market[slot].joined = 0
            _arrive(k, slot)
        return
    order = k.market[slot]
    is_same = order.book == book and order.ticks == ticks
    if order.lots == 0:
        # A snapshot names it again: it is as old as before when it is where it was.
        order.book, order.ticks, order.lots, order.left = book, ticks, lots, lots
        if not is_same:
            order.joined = 0
        if lots == 0:
            drop_order(k, place)
        else:
            _arrive(k, slot)
        return
    if kind == ADD:
        k.anomalies[instrument, DUPLICATE_ORDER] += 1
    elif order.book != book:
        k.anomalies[instrument, MOVED_ORDER] += 1
    if lots == 0:
        _end(k, place)
    elif is_same and lots <= order.lots and k.instruments[instrument].keeps_place:
        _lower(k, slot, lots)
    else:
        _move(k, slot, book, ticks, lots)


@inlined
def _arrive(k: Kernel, slot: int) -> None:
    order = k.market[slot]
    join(k, slot)
    before = lots_at(k, order.book, order.ticks)
    set_lots(k, order.book, order.ticks, before + order.left)
    _requeue(k, order.book, order.ticks, order.joined, before, before + order.left)


@inlined
def _requeue(k: Kernel, book: int, ticks: int, joined: int, before: int, after: int) -> None:
    if k.resting[2 * (book >> 2) + (book & 1)] > 0:
        _requeue_own(k, book, ticks, joined, before, after)


@compiled
def _requeue_own(k: Kernel, book: int, ticks: int, joined: int, before: int, after: int) -> None:
    """Judge where own orders stand after a level changed by an order that had `joined`."""
    instrument, side = book >> 2, book & 1
    queue = 2 * instrument + side
    market = k.instruments[instrument]
    if market.is_loading:
        return
    if market.model != L3_FIFO:
        requeue_level(k, queue, ticks, before, after)
    elif after < before:
        key = key_of(side, ticks)
        place = first_at(k, queue, key)
        while is_at(k, queue, place, key):
            o = k.orders[k.queue[queue, place]]
            if o.joined > joined:
                o.front = max(0.0, o.front - (before - after))
            place += 1


@inlined
def _lower(k: Kernel, slot: int, lots: int) -> None:
    """Lower an order's quantity: what own orders took of it is made up for first."""
    order = k.market[slot]
    gone = max(0, order.left - lots)
    order.lots, order.left = lots, order.left - gone
    if gone:
        before = lots_at(k, order.book, order.ticks)
        after = max(0, before - gone)
        set_lots(k, order.book, order.ticks, after)
        _requeue(k, order.book, order.ticks, order.joined, before, after)


@inlined
def _end(k: Kernel, place: int) -> None:
    slot = k.places[place] - 1
    if k.market[slot].lots > 0:
        _lower(k, slot, 0)
        part(k, slot)
    drop_order(k, place)


@compiled
def _move(k: Kernel, slot: int, book: int, ticks: int, lots: int) -> None:
    """Send an order to the back of a price. Where quantities are all a model sees, only their sum is a change."""
    order = k.market[slot]
    if order.book == book and order.ticks == ticks and k.instruments[book >> 2].model != L3_FIFO:
        before = lots_at(k, book, ticks)
        after = max(0, before - order.left) + lots
        part(k, slot)
        order.lots, order.left, order.joined = lots, lots, 0
        join(k, slot)
        set_lots(k, book, ticks, after)
        _requeue(k, book, ticks, order.joined, before, after)
        return
    _lower(k, slot, 0)
    part(k, slot)
    order.book, order.ticks, order.lots, order.left, order.joined = book, ticks, lots, lots, 0
    _arrive(k, slot)


@compiled
def _execute(k: Kernel, place: int, lots: int) -> None:
    """A market order traded: so did own orders at better prices, and those that came before it at its own."""
    slot = k.places[place] - 1
    order = k.market[slot]
    instrument, side, ticks = order.book >> 2, order.book & 1, order.ticks
    if lots <= 0:
        k.anomalies[instrument, BAD_ORDER] += 1
        return
    if lots > order.lots:
        k.anomalies[instrument, EXCESS_EXECUTION] += 1
        lots = order.lots
    market, queue = k.instruments[instrument], 2 * instrument + side
    trade_through(k, instrument, side, ticks)
    if market.model != L3_FIFO:
        if k.resting[queue] > 0 and market.is_open:
            trade_at(k, instrument, side, ticks, lots)
        gone = max(0, order.left - (order.lots - lots))
        shown = max(0, lots_at(k, order.book, ticks) - gone)
        set_lots(k, order.book, ticks, shown)
        clip_fronts(k, queue, ticks, shown)
        order.lots, order.left = order.lots - lots, order.left - gone
    else:
        if k.resting[queue] > 0 and market.is_open:
            _fill_earlier(k, queue, ticks, order.joined, lots)
        _lower(k, slot, order.lots - lots)
    if order.lots == 0:
        part(k, slot)
        drop_order(k, place)


@compiled
def _fill_earlier(k: Kernel, queue: int, ticks: int, joined: int, lots: int) -> None:
    """Fill own orders with what went to a market order that came after them; a refreshed slice has come after it."""
    key = key_of(queue & 1, ticks)
    place = first_at(k, queue, key)
    while lots > 0 and is_at(k, queue, place, key):
        own = k.queue[queue, place]
        o = k.orders[own]
        if o.joined > joined:
            return
        filled = min(lots, o.visible)
        lots -= filled
        fill_resting(k, own, ticks, filled, BY_QUEUE)
        if o.state == RESTING and not o.visible:
            refresh(k, own, lots_at(k, 4 * o.instrument + o.side, ticks))
        shrink_reducing(k, queue >> 1)
        place = first_at(k, queue, key)


@compiled
def show_order(k: Kernel, kind: int, instrument: int, side: int, ticks: int, lots: int, order_id: Any) -> bool:
    """Let a row reach the desk's book. Returns False, nothing done, when there is no room."""
    owner, book = 2 * instrument + 1, 4 * instrument + 2 + side
    place = place_of(k, owner, order_id)
    slot = k.places[place] - 1
    if kind in (ADD, MODIFY):
        if not (has_slot(k) and add_page(k, book, ticks) >= 0):
            return False
        if is_bad(k, kind, book, ticks, lots, order_id):
            return True
        if slot >= 0:
            _hide(k, slot, 0)
            drop_order(k, place)
        if lots > 0:
            slot = add_order(k, place_of(k, owner, order_id), order_id, book, ticks, lots)
            set_lots(k, book, ticks, lots_at(k, book, ticks) + lots)
    elif slot >= 0:
        order = k.market[slot]
        _hide(k, slot, 0 if kind == DELETE else min(order.lots, max(0, order.lots - max(0, lots))))
        if order.lots == 0:
            drop_order(k, place)
    return True


@compiled
def _hide(k: Kernel, slot: int, lots: int) -> None:
    order = k.market[slot]
    set_lots(k, order.book, order.ticks, max(0, lots_at(k, order.book, order.ticks) - (order.lots - lots)))
    order.lots = lots


@compiled
def load_orders(k: Kernel, instrument: int, levels: Array, count: int, split: int) -> int:
    """Replace the whole book by one nameless order a level, which is as old as the one that stood there before.

    Arguments and result as of sim.kernel.host.load_levels; there are slots for all the orders. An empty book is
    unknown: the own orders keep their places.
    """
    if not find_room(k, instrument, levels, count, split):
        return -1
    begin_snapshot(k, instrument)
    for at in range(count):
        side = 0 if at < split else 1
        ticks, lots = levels[at, 0], levels[at, 1]
        if lots > 0:
            change_order(k, ADD, instrument, side, ticks, lots, nameless(side, ticks), False)
    if count > 0:
        drop_orders(k, 2 * instrument, True)
        end_snapshot(k, instrument)
    match_crossed(k, instrument)
    return k.registers[0].events


@compiled
def nameless(side: int, ticks: int) -> Any:
    """Return the number of the order that stands for a level: above those of all orders with names."""
    return (np.uint64(2 + side) << np.uint64(62)) | (np.uint64(ticks) & np.uint64((1 << 62) - 1))
