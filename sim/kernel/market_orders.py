"""Which orders of the market are in the books: found by their number, in the order they joined at a price.

The desk's book knows the same orders later, so it keeps entries of its own: an owner is `2 x instrument + (0 venue's, 1
desk's)`, a book side halved. Only the venue's orders are linked to their neighbours.
"""

from typing import Any

import numpy as np

from sim.kernel.books import page_of
from sim.kernel.compiled import compiled, inlined
from sim.kernel.layout import PAGE_TICKS, Kernel, with_market_orders
from sim.kernel.queues import first_at, is_at, key_of

_IN_PAGE = PAGE_TICKS - 1

# Odd numbers without pattern: 2^64 over the golden ratio, and one of the constants of splitmix64.
_SPREAD: Any = np.uint64(0x9E3779B97F4A7C15)
_APART: Any = np.uint64(0xBF58476D1CE4E5B9)
_HIGH: Any = np.uint64(32)


@inlined
def _home(k: Kernel, owner: int, order_id: Any) -> int:
    mixed = (order_id ^ (np.uint64(owner) * _APART)) * _SPREAD
    return np.int64(mixed >> _HIGH) & (len(k.places) - 1)  # type: ignore[return-value]


@inlined
def place_of(k: Kernel, owner: int, order_id: Any) -> int:
    """Return where in the hash table an order is, or would be put: the entry there is 0."""
    last = len(k.places) - 1
    place = _home(k, owner, order_id)
    while k.places[place]:
        order = k.market[k.places[place] - 1]
        if order.id == order_id and order.book >> 1 == owner:
            break
        place = (place + 1) & last
    return place


@inlined
def has_slot(k: Kernel) -> bool:
    """Whether there is room for one more order."""
    registers = k.registers[0]
    return registers.spare > 0 or registers.market < len(k.market)


@inlined
def add_order(k: Kernel, place: int, order_id: Any, book: int, ticks: int, lots: int) -> int:
    """Enter an order at a free place of the table, for which there is a slot; return the slot."""
    registers = k.registers[0]
    if registers.spare:
        slot = registers.spare - 1
        registers.spare = k.market[slot].after
    else:
        slot = registers.market
        registers.market += 1
    k.places[place] = slot + 1
    order = k.market[slot]
    order.id, order.book, order.ticks, order.lots, order.left = order_id, book, ticks, lots, lots
    return slot


@inlined
def drop_order(k: Kernel, place: int) -> None:
    """Forget the order at a place of the table. Those behind move up, so that no search ends too early."""
    slot, last = k.places[place] - 1, len(k.places) - 1
    order, registers = k.market[slot], k.registers[0]
    order.id, order.after = np.uint64(0), registers.spare
    registers.spare = slot + 1
    hole, place = place, (place + 1) & last
    while k.places[place]:
        other = k.market[k.places[place] - 1]
        home = _home(k, other.book >> 1, other.id)
        if (place - home) & last >= (place - hole) & last:
            k.places[hole] = k.places[place]
            hole = place
        place = (place + 1) & last
    k.places[hole] = 0


@inlined
def join(k: Kernel, slot: int) -> None:
    """Put an order behind all others at its price, which has a page. One that has no `joined` yet joins now."""
    order, registers = k.market[slot], k.registers[0]
    if not order.joined:
        registers.sequence += 1
        order.joined = registers.sequence
    page, at = page_of(k, order.book, order.ticks), order.ticks & _IN_PAGE
    last = k.ends[page, at, 1]
    order.before, order.after = last, 0
    if last:
        k.market[last - 1].after = slot + 1
    else:
        k.ends[page, at, 0] = slot + 1
    k.ends[page, at, 1] = slot + 1


@inlined
def part(k: Kernel, slot: int) -> None:
    """Take an order out from between its neighbours."""
    order = k.market[slot]
    page, at = page_of(k, order.book, order.ticks), order.ticks & _IN_PAGE
    if order.before:
        k.market[order.before - 1].after = order.after
    else:
        k.ends[page, at, 0] = order.after
    if order.after:
        k.market[order.after - 1].before = order.before
    else:
        k.ends[page, at, 1] = order.before


@compiled
def consume(k: Kernel, book: int, ticks: int, lots: int) -> None:
    """Let the first orders at a price have `lots` less left: what own orders took, or a trade that names nobody."""
    page = page_of(k, book, ticks)
    if page < 0:
        return
    at = k.ends[page, ticks & _IN_PAGE, 0]
    while at and lots > 0:
        order = k.market[at - 1]
        taken = min(order.left, lots)
        order.left -= taken
        lots -= taken
        at = order.after


@compiled
def recount(k: Kernel, queue: int, ticks: int) -> None:
    """Count again what is ahead of every own order at a price: what is left of the orders that joined before it."""
    key = key_of(queue & 1, ticks)
    place = first_at(k, queue, key)
    while is_at(k, queue, place, key):
        o = k.orders[k.queue[queue, place]]
        o.front = 0.0
        book = 4 * o.instrument + o.side
        page = page_of(k, book, ticks)
        at = k.ends[page, ticks & _IN_PAGE, 0] if page >= 0 else 0
        while at:
            order = k.market[at - 1]
            if order.joined < o.joined:
                o.front += order.left
            at = order.after
        place += 1


@compiled
def forget_orders(k: Kernel, owner: int) -> None:
    """The venue's book is unknown: its orders keep their age until a snapshot names them again."""
    for slot in range(k.registers[0].market):
        order = k.market[slot]
        if order.id != 0 and order.book >> 1 == owner and order.lots > 0:
            part(k, slot)
            order.lots = order.left = 0


@compiled
def drop_orders(k: Kernel, owner: int, are_forgotten: bool) -> None:
    """Drop all orders of a book, or only those that no snapshot named again."""
    for slot in range(k.registers[0].market):
        order = k.market[slot]
        if order.id != 0 and order.book >> 1 == owner and (order.lots == 0 or not are_forgotten):
            drop_order(k, place_of(k, owner, order.id))


@compiled
def _find_places(k: Kernel) -> None:
    for slot in range(k.registers[0].market):
        order = k.market[slot]
        if order.id != 0:
            k.places[place_of(k, order.book >> 1, order.id)] = slot + 1


def grown(kernel: Kernel, orders: int) -> Kernel:
    """Return the same venue with room for so many market orders; one that venue and desk both know takes two places."""
    wider = with_market_orders(kernel, orders)
    _find_places(wider)
    return wider
