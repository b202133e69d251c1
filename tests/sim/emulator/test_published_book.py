"""The published book: what it tells is what it is."""

from hypothesis import given
from hypothesis import strategies as st

from sim.emulator.published_book import PublishedBook
from venues.model.book_sync import BookSync, SequenceRule
from venues.port import BookDelta, BookSnapshot, Quote

BIDS = st.dictionaries(st.integers(1, 20), st.integers(1, 9), min_size=1)
ASKS = st.dictionaries(st.integers(21, 40), st.integers(1, 9), min_size=1)


@given(st.lists(st.tuples(BIDS, ASKS, BIDS, ASKS), min_size=1))
def test_a_local_book_made_of_a_snapshot_and_deltas_is_the_published_one(
    steps: list[tuple[dict[int, int], dict[int, int], dict[int, int], dict[int, int]]],
) -> None:
    book = PublishedBook("v:X", 100)
    book.update(1, {1: 1}.items(), {40: 1}.items(), {}, {})
    sync = BookSync(SequenceRule.FUTURES)
    sync.on_delta(BookDelta(1, "v:X", book.update_id, book.update_id, book.update_id - 1, [], []))
    sync.on_snapshot(book.snapshot())
    quote = book.quote
    for now, (bids, asks, own_bids, own_asks) in enumerate(steps, 2):
        for told in book.update(now, bids.items(), asks.items(), own_bids, own_asks):
            if isinstance(told, BookDelta):
                sync.on_delta(told)
            else:
                assert isinstance(told, Quote)
                quote = told
        assert (sync.book.bids, sync.book.asks) == (book.bids, book.asks)
        assert sync.last_id == book.update_id
        assert quote is not None
        assert (quote.bid, quote.bid_lots) == max(book.bids.items())
        assert (quote.ask, quote.ask_lots) == min(book.asks.items())


def test_own_orders_stand_on_top_of_what_is_displayed() -> None:
    book = PublishedBook("v:X", 0)
    book.update(1, [(10, 5)], [(12, 5)], {10: 2, 11: 3}, {})
    assert book.snapshot() == BookSnapshot(1, "v:X", 3, [(11, 3), (10, 7)], [(12, 5)])
    assert book.update(2, [(10, 5)], [(12, 5)], {10: 2, 11: 3}, {}) == []
