"""Book sides against a dict: levels set, read, cleared and walked, on pages at every distance from each other."""

from random import Random
from typing import Any

import numpy as np
import pytest
from matching_players import levels_of

from sim.kernel import layout
from sim.kernel.books import clear_book, next_level, read_levels
from sim.kernel.books import lots_at as books_lots_at
from sim.kernel.books import set_lots as books_set_lots
from sim.kernel.compiled import compiled
from sim.kernel.layout import NO_ASK, NO_BID, PAGE_TICKS, Kernel
from sim.rows import LOTS_MAX, TICKS_MAX

SIDES = 8
"""Two instruments, both clocks' books, both sides."""


@compiled
def set_lots(k: Kernel, book: int, ticks: int, lots: int) -> Any:
    return books_set_lots(k, book, ticks, lots)


@compiled
def lots_at(k: Kernel, book: int, ticks: int) -> Any:
    return books_lots_at(k, book, ticks)


class Pair:
    """A kernel that gets room whenever it asks for it, and a dict for each book side."""

    def __init__(self) -> None:
        self.kernel = layout.make_kernel(2, pages=1)
        self.books: list[dict[int, int]] = [{} for _ in range(SIDES)]

    def set(self, book: int, ticks: int, lots: int) -> None:
        before = levels_of(self.kernel, book)
        if not set_lots(self.kernel, book, ticks, lots):
            # Nothing was done for want of room.
            assert levels_of(self.kernel, book) == before
            self.kernel = layout.with_prices(self.kernel, book, ticks, ticks)
            if int(self.kernel.registers["pages"][0]) == len(self.kernel.used):
                self.kernel = layout.with_pages(self.kernel, len(self.kernel.used) + 1)
            assert set_lots(self.kernel, book, ticks, lots)
        if lots:
            self.books[book][ticks] = lots
        else:
            self.books[book].pop(ticks, None)

    def clear(self, book: int) -> None:
        clear_book(self.kernel, book)
        self.books[book].clear()

    def check(self, book: int, probes: list[int]) -> None:
        expected = sorted(self.books[book].items(), reverse=book % 2 == 0)
        assert levels_of(self.kernel, book) == expected
        worst = NO_ASK if book % 2 else NO_BID
        assert self.kernel.best[book] == (expected[0][0] if expected else worst)
        for ticks in probes:
            assert lots_at(self.kernel, book, ticks) == self.books[book].get(ticks, 0)
            sign = 1 if book % 2 else -1
            behind = [price for price, _ in expected if (price - ticks) * sign > 0]
            assert next_level(self.kernel, book, ticks) == (behind[0] if behind else worst)


SPANS = {
    "one word": (0, 63),
    "page edges": (-PAGE_TICKS - 2, -PAGE_TICKS + 2),
    "several pages": (-3 * PAGE_TICKS, 3 * PAGE_TICKS),
    "far": (-40_000_000, 40_000_000),
}


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_a_book_is_a_sorted_dict(span: str) -> None:
    random, pair = Random(span), Pair()
    low, high = SPANS[span]
    known = [random.randint(low, high) for _ in range(40)]
    for _ in range(1500):
        book = random.randrange(SIDES)
        ticks = random.choice(known) if random.random() < 0.7 else random.randint(low, high)
        if random.random() < 0.01:
            pair.clear(book)
        else:
            pair.set(book, ticks, random.choice((0, 0, 1, 5, LOTS_MAX)))
        pair.check(book, [ticks, ticks + 1, ticks - 1, random.choice(known), low - PAGE_TICKS, high + PAGE_TICKS])
    for book in range(SIDES):
        pair.check(book, known)


def test_edges_of_pages_words_and_zero_are_prices_like_others() -> None:
    pair = Pair()
    edges = [page * PAGE_TICKS + offset for page in (-2, -1, 0, 1) for offset in (-1, 0, 1, 63, 64, PAGE_TICKS - 1)]
    for book in range(2):
        for ticks in edges:
            pair.set(book, ticks, abs(ticks) + 1)
            pair.check(book, edges)
        for ticks in edges:
            pair.set(book, ticks, 0)
            pair.check(book, edges)


def test_reading_stops_where_the_arrays_end() -> None:
    pair = Pair()
    for price in range(10, 20):
        pair.set(0, price, price)
    ticks, lots = np.zeros(4, np.int64), np.zeros(4, np.int64)
    assert read_levels(pair.kernel, 0, ticks, lots) == 4
    assert ticks.tolist() == lots.tolist() == [19, 18, 17, 16]
    assert read_levels(pair.kernel, 0, np.zeros(0, np.int64), np.zeros(0, np.int64)) == 0


def test_removing_what_is_not_there_needs_no_room() -> None:
    kernel = layout.make_kernel(1, pages=0)
    assert set_lots(kernel, 0, 5, 0)
    assert set_lots(kernel, 1, -TICKS_MAX, 0)
    assert not set_lots(kernel, 0, 5, 1)
    assert levels_of(kernel, 0) == []


def test_prices_no_directory_can_hold_are_refused() -> None:
    kernel = layout.make_kernel(1)
    for low, high in ((0, TICKS_MAX + 1), (-TICKS_MAX - 1, 0)):
        with pytest.raises(ValueError, match="ticks"):
            layout.with_prices(kernel, 0, low, high)


def test_growing_keeps_every_level_and_order() -> None:
    random, pair = Random(1), Pair()
    for _ in range(300):
        pair.set(random.randrange(SIDES), random.randint(-90_000, 90_000), random.randint(1, 9))
    pair.kernel = layout.with_pages(pair.kernel, len(pair.kernel.used) + 50)
    pair.kernel = layout.with_orders(pair.kernel, 200)
    pair.kernel = layout.with_prices(pair.kernel, 3, -10_000_000, 10_000_000)
    for book in range(SIDES):
        pair.check(book, [0])
    free = pair.kernel.free[: int(pair.kernel.registers["free"][0])].tolist()
    # Those there were before go first: slots are taken from the end.
    assert sorted(free) == list(range(200))
    assert set(free[-64:]) == set(range(64))
