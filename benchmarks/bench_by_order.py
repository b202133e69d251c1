"""What an event of an order-by-order feed costs the compiled venue, with and without own orders in the book.

The feed is made here: about 11,000 live orders around a fixed mid, 48 % additions, 42 % deletions, 3 % smaller
quantities, 7 % executions of the first order at the best price. With own orders, 16 a side stand at the eight best
prices and never fill in full, so that every change near the mid must be judged.
"""

from collections import OrderedDict, defaultdict
from random import Random
from statistics import median
from time import perf_counter
from typing import Final

from sim.kernel import entry, layout, market_orders
from sim.kernel.feed import Feed, play_books
from sim.kernel.layout import Kernel
from sim.rows import ADD, BUY, COLUMNS, DELETE, EXECUTE, LAST, LOCAL, MODIFY, VENUE, Rows

EVENTS: Final = 300_000
START: Final = 20_000
_LIVE: Final = 2_000
_MID: Final = 5_000
_PRICES: Final = 60
_OWN: Final = 32
_EVENTS_MAX: Final = 65_536


def run(repeats: int = 5) -> dict[str, float]:
    """Return nanoseconds an event, medians over `repeats`."""
    rows = _rows()
    columns = [getattr(rows, name) for name in COLUMNS]
    start, rest = Feed(*(column[:START] for column in columns)), Feed(*(column[START:] for column in columns))
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(repeats + 1):
        for name, own in (("book_ns_per_event", 0), (f"with_{_OWN}_own_orders_ns_per_event", _OWN)):
            kernel = _venue(start, own)
            begin = perf_counter()
            done = play_books(kernel, rest, 0)
            took = perf_counter() - begin
            assert done == EVENTS - START
            # The first round compiles, or loads what was compiled before.
            if number:
                found[name].append(took / done * 1e9)
    return {name: median(values) for name, values in found.items()}


def _venue(start: Feed, own: int) -> Kernel:
    kernel = layout.make_kernel(1, orders=64, events=_EVENTS_MAX)
    for side in range(4):
        kernel = layout.with_prices(kernel, side, 0, 2 * _MID)
    kernel = market_orders.grown(layout.with_pages(kernel, 16), 65_536)
    kernel.instruments["model"] = layout.L3_FIFO
    assert play_books(kernel, start, 0) == START
    for slot in range(own):
        side = slot % 2
        order = kernel.orders[slot]
        order["state"], order["side"], order["position"], order["lots"] = layout.IDLE, side, -1, 1 << 40
        order["ticks"] = _MID - 1 - slot // 4 if side == layout.BUY_SIDE else _MID + slot // 4
        entry.arrive(kernel, slot, 0)
    kernel.registers["events"] = 0
    return kernel


class _Market:
    """The live orders: by price in their order, and all of them to choose one."""

    def __init__(self) -> None:
        self.random = Random(1)
        self.queues: dict[tuple[int, int], OrderedDict[int, None]] = defaultdict(OrderedDict)
        self.lots: dict[int, int] = {}
        self.where: dict[int, tuple[int, int]] = {}
        self.ids: list[int] = []
        self.places: dict[int, int] = {}

    def add(self, order_id: int) -> tuple[int, int, int, int]:
        side, away = self.random.randrange(2), min(_PRICES - 1, int(self.random.expovariate(1 / 8)))
        ticks, lots = _ticks(side, away), self.random.randint(1, 10)
        self.queues[side, ticks][order_id] = None
        self.lots[order_id], self.where[order_id] = lots, (side, ticks)
        self.places[order_id] = len(self.ids)
        self.ids.append(order_id)
        return ADD, side, ticks, lots

    def drop(self, order_id: int) -> None:
        del self.queues[self.where.pop(order_id)][order_id], self.lots[order_id]
        place, last = self.places.pop(order_id), self.ids.pop()
        if last != order_id:
            self.ids[place], self.places[last] = last, place

    def any(self) -> int:
        return self.random.choice(self.ids)

    def first(self) -> int:
        side = self.random.randrange(2)
        best = next(queue for away in range(_PRICES) if (queue := self.queues[side, _ticks(side, away)]))
        return next(iter(best))


def _ticks(side: int, away: int) -> int:
    return _MID - 1 - away if side == layout.BUY_SIDE else _MID + away


def _rows() -> Rows:
    market, rows = _Market(), Rows.empty(EVENTS)
    for at in range(EVENTS):
        chance, order_id = market.random.random(), at + 1
        if len(market.ids) < _LIVE or chance < 0.48:
            kind, side, ticks, lots = market.add(order_id)
        else:
            order_id = market.any() if chance < 0.93 else market.first()
            (side, ticks), left = market.where[order_id], market.lots[order_id]
            kind, lots = DELETE, 0
            if chance >= 0.93:
                kind, lots = EXECUTE, market.random.randint(1, left)
                market.lots[order_id] = left - lots
            elif chance >= 0.9 and left > 1:
                kind, lots = MODIFY, left - 1
                market.lots[order_id] = lots
            if kind == DELETE or not market.lots[order_id]:
                market.drop(order_id)
        rows.kind[at], rows.ticks[at], rows.lots[at], rows.order_id[at] = kind, ticks, lots, order_id
        rows.flags[at] = VENUE | LOCAL | LAST | (BUY if side == layout.BUY_SIDE else 0)
        rows.venue_ns[at] = rows.local_ns[at] = 1_000 * at
    return rows


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name}: {value:,.1f}")
