"""Order-by-order books: the compiled venue against one of plain lists, and what a feed can get wrong."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from order_book import CompiledBook, Fill, ListedBook

from sim.kernel import layout, market_orders, matching
from sim.kernel.books import lots_at
from sim.kernel.desk import AT_TIME, NEED_DESK_ROOM, NEED_ROOM, make_desk
from sim.kernel.feed import Feed, play_books
from sim.kernel.run import NEVER, play
from sim.rows import ADD, BUY, CLEAR, COLUMNS, DELETE, EXECUTE, LAST, LOCAL, LOTS_MAX, MODIFY, TRADE, VENUE, Rows

BID, ASK = layout.BUY_SIDE, layout.SELL_SIDE
MIDDLE = 4096
"""Where one page of a book ends and the next begins."""

Step = tuple[str, int, int, int, int, int]
"""What happens, side, price, lots, which of the orders it means, and how odd it is."""

prices = {BID: st.integers(MIDDLE - 3, MIDDLE), ASK: st.integers(MIDDLE, MIDDLE + 3)}
sides = st.sampled_from([BID, ASK])


@st.composite
def steps(draw: st.DrawFn) -> Step:
    what = draw(
        st.sampled_from(["add"] * 5 + ["modify"] * 2 + ["delete"] * 3 + ["execute"] * 4 + ["own"] * 4 + ["end"])
    )
    side = draw(sides)
    return what, side, draw(prices[side]), draw(st.integers(1, 6)), draw(st.integers(0, 40)), draw(st.integers(0, 9))


def joined(fills: list[Fill]) -> list[Fill]:
    """Return the fills with those of one order at one price, one after the other, added up: a level or its orders."""
    found: list[Fill] = []
    for number, ticks, lots, reason in fills:
        is_more = bool(found) and (found[-1][0], found[-1][1], found[-1][3]) == (number, ticks, reason)
        before = found.pop()[2] if is_more else 0
        found.append((number, ticks, before + lots, reason))
    return found


def same(compiled: CompiledBook, listed: ListedBook) -> list[Fill]:
    fills = joined(compiled.fills())
    assert fills == joined(listed.fills())
    assert compiled.fronts() == listed.fronts()
    for side in (BID, ASK):
        for ticks in range(MIDDLE - 4, MIDDLE + 5):
            assert compiled.shown(side, ticks) == listed.shown(side, ticks)
    assert compiled.anomalies() == listed.wrong
    return fills


def apply(book: CompiledBook | ListedBook, listed: ListedBook, step: Step, number: int) -> None:
    """Apply a step to a book; which order it means is looked up in `listed` before either has moved."""
    what, side, ticks, lots, pick, odd = step
    ids = sorted(listed.known)
    known = listed.known[ids[pick % len(ids)]] if ids and odd else None
    if what == "own":
        book.submit(number, side, ticks, lots, 2 if odd == 9 else 0)
    elif what == "end":
        if listed.own:
            book.cancel(sorted(listed.own)[pick % len(listed.own)])
    elif what == "add":
        book.tell(ADD, side, ticks, lots, number + 1 if odd else pick)
    elif known is None:
        book.tell({"modify": MODIFY, "delete": DELETE, "execute": EXECUTE}[what], side, ticks, lots, 1000 + pick)
    elif what == "modify" and odd > 4:
        book.tell(MODIFY, known.side, known.ticks, max(0, known.lots - lots), known.id)
    elif what == "modify":
        book.tell(MODIFY, known.side if odd > 1 else side, ticks, lots, known.id)
    elif what == "delete":
        book.tell(DELETE, known.side, known.ticks if odd > 1 else ticks, 0, known.id)
    else:
        book.tell(EXECUTE, known.side, known.ticks, lots if odd == 1 else min(lots, known.lots), known.id)


@settings(max_examples=400)
@given(st.lists(steps(), max_size=60), st.booleans())
def test_the_compiled_queue_is_the_listed_one(script: list[Step], keeps_place: bool) -> None:
    compiled, listed = CompiledBook.make(), ListedBook(keeps_place)
    compiled.kernel.instruments["keeps_place"] = keeps_place
    for number, step in enumerate(script):
        before = ListedBook(known=dict(listed.known), own=dict(listed.own))
        apply(compiled, before, step, number)
        apply(listed, before, step, number)
        fills = same(compiled, listed)
        if step[0] == "execute":
            # Own orders get no more of a market order's trade than there was.
            assert sum(lots for _, _, lots, reason in fills if reason == layout.BY_QUEUE) <= step[3]


# Room, and both clocks


def random_rows(count: int, seed: int) -> list[tuple[int, int, int, int, int]]:
    """Return what a feed tells: (kind, side, ticks, lots, order id), executions of the first order at a price."""
    random, listed, told = Random(seed), ListedBook(), []
    for number in range(1, count + 1):
        ids = sorted(listed.known)
        what = random.choice(["add", "add", "add", "modify", "delete", "execute"]) if ids else "add"
        side = random.randrange(2)
        ticks = MIDDLE - random.randint(1, 40) if side == BID else MIDDLE + random.randint(1, 40)
        known = listed.known[random.choice(ids)] if ids else None
        if known is None or what == "add":
            change = (ADD, side, ticks, random.randint(1, 9), number)
        elif what == "modify":
            change = (MODIFY, known.side, known.ticks + random.choice([0, 0, 1]), random.randint(1, 9), known.id)
        elif what == "delete":
            change = (DELETE, known.side, known.ticks, 0, known.id)
        else:
            first = listed.queue(known.side, known.ticks)[0]
            change = (EXECUTE, first.side, first.ticks, random.randint(1, first.lots), first.id)
        listed.tell(*change)
        told.append(change)
    return told


def feed_of(told: list[tuple[int, int, int, int, int]], delay_ns: int, is_split: bool) -> Feed:
    """Return one row a microsecond that the desk hears `delay_ns` later; `is_split` has a row for each place."""
    places = [(VENUE | LOCAL, 0)] if not is_split else [(VENUE, 0), (LOCAL, delay_ns)]
    order = sorted((1000 * n + wait, n, flags) for n in range(len(told)) for flags, wait in places)
    rows = Rows.empty(len(order))
    for at, (_, n, flags) in enumerate(order):
        kind, side, ticks, lots, order_id = told[n]
        rows.kind[at], rows.flags[at] = kind, flags | LAST | (BUY if side == BID else 0)
        rows.venue_ns[at], rows.local_ns[at] = 1000 * n, 1000 * n + delay_ns
        rows.ticks[at], rows.lots[at], rows.order_id[at] = ticks, lots, order_id
    return Feed(*(getattr(rows, name) for name in COLUMNS))


@pytest.mark.parametrize("is_split", [False, True])
def test_venue_and_desk_know_the_book_each_at_its_time(is_split: bool) -> None:
    told, delay_ns = random_rows(1500, 3), 40_500
    feed = feed_of(told, delay_ns, is_split)
    book = CompiledBook.make(market=0)
    desk = make_desk(1, 256, 1, 8192, np.zeros(8192, layout.EVENT))
    desk.clock["wake"] = NEVER
    listed = [ListedBook(), ListedBook()]
    heard, grew = [0, 0], 0
    for until in range(0, 1_600_000, 25_000):
        why = NEED_ROOM
        while why in (NEED_ROOM, NEED_DESK_ROOM):
            why = play(book.kernel, desk, feed, until, True)
            if why in (NEED_ROOM, NEED_DESK_ROOM):
                book.kernel = market_orders.grown(book.kernel, 2 * len(book.kernel.market) + 1)
                grew += 1
        assert why == AT_TIME
        # The venue is played up to and with `until`, the desk's book up to just before it.
        for place, known_until in enumerate((until, until - 1 - delay_ns)):
            known = min(len(told), max(0, known_until // 1000 + 1))
            for change in told[heard[place] : known]:
                listed[place].tell(*change)
            heard[place] = known
        for side in (BID, ASK):
            for ticks in range(MIDDLE - 42, MIDDLE + 43):
                assert book.shown(side, ticks) == listed[0].shown(side, ticks)
                assert int(lots_at(book.kernel, 2 + side, ticks)) == listed[1].shown(side, ticks)
    assert grew > 5
    assert int(desk.clock["venue_rows"][0]) == int(desk.clock["local_rows"][0]) == len(told)
    # Nothing is remembered of an order that has left both books.
    assert np.count_nonzero(book.kernel.market["id"]) == 2 * len(listed[0].known)


# What a feed may say


@pytest.mark.parametrize(
    ("told", "wrong", "shown"),
    [
        ([(ADD, BID, 100, 5, 0)], "bad_order", 0),
        ([(ADD, BID, 100, 0, 1)], "bad_order", 0),
        ([(ADD, BID, 100, -5, 1)], "bad_order", 0),
        ([(ADD, BID, 100, LOTS_MAX, 1), (ADD, BID, 100, 1, 2)], "bad_order", LOTS_MAX),
        ([(ADD, BID, 100, 5, 1), (EXECUTE, BID, 100, 0, 1)], "bad_order", 5),
        ([(ADD, BID, 100, 5, 1), (ADD, BID, 100, 7, 1)], "duplicate_order", 7),
        ([(DELETE, BID, 100, 0, 1)], "unknown_order", 0),
        ([(EXECUTE, BID, 100, 3, 1)], "unknown_order", 0),
        ([(MODIFY, BID, 100, 3, 1)], "unknown_order", 3),
        ([(ADD, BID, 100, 5, 1), (EXECUTE, BID, 100, 5, 1), (DELETE, BID, 100, 0, 1)], "unknown_order", 0),
        ([(ADD, BID, 100, 5, 1), (ADD, BID, 100, 2, 2), (EXECUTE, BID, 100, 6, 1)], "excess_execution", 2),
        ([(ADD, BID, 99, 5, 1), (ADD, BID, 100, 2, 2), (DELETE, BID, 100, 0, 1)], "moved_order", 2),
        ([(ADD, ASK, 100, 5, 1), (MODIFY, BID, 100, 4, 1)], "moved_order", 4),
    ],
)
def test_what_cannot_be_is_counted(told: list[tuple[int, int, int, int, int]], wrong: str, shown: int) -> None:
    book = CompiledBook.make()
    for change in told:
        book.tell(*change)
    assert {name for name, count in book.anomalies().items() if count} == {wrong}
    assert book.shown(BID, 100) == shown
    assert book.shown(ASK, 100) == book.shown(BID, 99) == 0


def play_rows(book: CompiledBook, told: list[tuple[int, int, int, int, int]], last: set[int]) -> None:
    feed = feed_of(told, 0, False)
    for at in range(len(told)):
        if at not in last:
            feed.flags[at] &= ~np.uint8(LAST)
    assert play_books(book.kernel, feed, 0) == len(told)


def test_a_snapshot_names_the_orders_again() -> None:
    """1 stays, 2 was moved, 3 has left, 5 is new, 4 came after the own order already before the snapshot."""
    book = CompiledBook.make()
    play_rows(book, [(ADD, BID, 100, 5, 1), (ADD, BID, 100, 4, 2), (ADD, BID, 100, 3, 3)], {0, 1, 2})
    book.submit(0, BID, 100, 2)
    play_rows(book, [(ADD, BID, 100, 1, 4)], {0})
    assert book.fronts() == {0: 12.0}
    named = [(CLEAR, BID, 0, 0, 0), (ADD, BID, 100, 5, 1), (ADD, BID, 100, 1, 4), (ADD, BID, 99, 4, 2)]
    play_rows(book, [*named, (ADD, BID, 100, 8, 5)], {4})
    assert book.fronts() == {0: 5.0}
    assert (book.shown(BID, 100), book.shown(BID, 99)) == (14, 4)
    assert set(book.anomalies().values()) == {0}
    play_rows(book, [(DELETE, BID, 100, 0, 3)], {0})
    assert book.anomalies()["unknown_order"] == 1


def test_a_book_that_is_lost_keeps_the_places_until_it_is_known() -> None:
    book = CompiledBook.make()
    play_rows(book, [(ADD, BID, 100, 5, 1)], {0})
    book.submit(0, BID, 100, 2)
    play_rows(book, [(CLEAR, BID, 0, 0, 0)], {0})
    assert book.fronts() == {0: 5.0}
    assert book.shown(BID, 100) == 0
    play_rows(book, [(ADD, BID, 100, 3, 1)], {0})
    assert book.fronts() == {0: 3.0}


def test_a_trade_is_told_by_the_orders_that_traded() -> None:
    book = CompiledBook.make()
    play_rows(book, [(ADD, BID, 100, 5, 1)], {0})
    book.submit(0, BID, 100, 2)
    book.submit(1, BID, 101, 2)
    play_rows(book, [(TRADE, ASK, 100, 6, 0)], {0})
    assert book.fills() == [(1, 101, 2, layout.BY_THROUGH)]
    assert book.shown(BID, 100) == 5
    assert book.kernel.instruments["last_trade"][0] == 100


@pytest.mark.parametrize("model", [layout.RISK_AVERSE, layout.POWER, layout.LOG])
def test_orders_are_levels_for_a_model_of_levels(model: int) -> None:
    """The same feed as absolute quantities and trades gives the same fronts and fills."""
    random = Random(9)
    by_orders, by_levels = CompiledBook.make(model), CompiledBook.make(model)
    own = [(number, *random.choice([(BID, MIDDLE - 5), (ASK, MIDDLE + 5)])) for number in range(20)]
    filled = 0
    for at, (kind, side, ticks, lots, order_id) in enumerate(random_rows(1500, 5)):
        if at % 70 == 40 and own:
            number, own_side, own_ticks = own.pop()
            for book in (by_orders, by_levels):
                book.submit(number, own_side, own_ticks, 3)
        levels = {(s, t): by_orders.shown(s, t) for s in (BID, ASK) for t in range(MIDDLE - 42, MIDDLE + 43)}
        by_orders.tell(kind, side, ticks, lots, order_id)
        if kind == EXECUTE:
            matching.on_trade(by_levels.kernel, 0, ticks, lots, 1 - side)
        else:
            for (s, t), before in levels.items():
                if by_orders.shown(s, t) != before:
                    by_levels.set_level(s, t, by_orders.shown(s, t))
        fills = by_orders.fills()
        filled += len(fills)
        assert fills == by_levels.fills()
        assert by_orders.fronts() == by_levels.fronts()
    assert filled > 5
