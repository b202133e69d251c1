"""Order-by-order books: the compiled venue against one of plain lists, and what a feed can get wrong."""

from hypothesis import given, settings
from hypothesis import strategies as st
from order_book import CompiledBook, Fill, ListedBook

from sim.kernel import layout
from sim.rows import ADD, DELETE, EXECUTE, MODIFY

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
        same(compiled, listed)
