"""How snapshots and deltas join. Source: Binance, "How to manage a local order book correctly" (USDS-M and spot)."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.snapshot import from_plain, to_plain
from venues.model.book import Book, Level
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.port import BookDelta, BookSnapshot

FUTURES, SPOT = SequenceRule.FUTURES, SequenceRule.SPOT
APPLIED, BUFFERED, JOINING = SyncResult.APPLIED, SyncResult.BUFFERED, SyncResult.JOINING
IGNORED, GAP, CROSSED, OUTDATED = SyncResult.IGNORED, SyncResult.GAP, SyncResult.CROSSED, SyncResult.OUTDATED


def delta(first_id: int, last_id: int, prev_id: int = -1, *, bids: list[Level] | None = None) -> BookDelta:
    """A delta that leaves its last update's id behind as the quantity of the bid at 100."""
    return BookDelta(0, "X", first_id, last_id, prev_id, [(100, last_id)] if bids is None else bids, [])


def snapshot(update_id: int, bid: int = 100, ask: int = 101) -> BookSnapshot:
    return BookSnapshot(0, "X", update_id, [(bid, update_id)], [(ask, 1)])


def play(rule: SequenceRule, *messages: BookDelta | BookSnapshot) -> tuple[BookSync, list[SyncResult]]:
    sync = BookSync(rule)
    return sync, [sync.on_delta(m) if isinstance(m, BookDelta) else sync.on_snapshot(m) for m in messages]


JOINS = [
    # The first event applied has U <= lastUpdateId <= u.
    ("futures: the snapshot's id inside the event", FUTURES, 20, (15, 25, 14), APPLIED),
    ("futures: the snapshot's id begins the event", FUTURES, 15, (15, 25, 14), APPLIED),
    ("futures: the snapshot's id ends the event", FUTURES, 25, (15, 25, 14), APPLIED),
    ("futures: the event names the snapshot's id as its predecessor", FUTURES, 14, (17, 25, 14), APPLIED),
    ("futures: the event starts behind the snapshot", FUTURES, 14, (15, 25, 13), OUTDATED),
    ("futures: no + 1 as on spot", FUTURES, 14, (15, 25, 12), OUTDATED),
    ("futures: an event with u < lastUpdateId is dropped", FUTURES, 26, (15, 25, 14), IGNORED),
    # The first event applied has U <= lastUpdateId + 1 <= u.
    ("spot: the next id begins the event", SPOT, 14, (15, 25), APPLIED),
    ("spot: the next id ends the event", SPOT, 24, (15, 25), APPLIED),
    ("spot: the event starts behind the next id", SPOT, 13, (15, 25), OUTDATED),
    ("spot: an event with u <= lastUpdateId is dropped", SPOT, 25, (15, 25), IGNORED),
]


@pytest.mark.parametrize(
    ("rule", "update_id", "ids", "result"), [case[1:] for case in JOINS], ids=[c[0] for c in JOINS]
)
def test_the_first_delta_joins_the_snapshot_or_not(
    rule: SequenceRule, update_id: int, ids: tuple[int, ...], result: SyncResult
) -> None:
    sync, results = play(rule, snapshot(update_id), delta(*ids))
    assert results == [JOINING, result]
    assert sync.is_usable == (result is APPLIED)
    assert sync.needs_snapshot == (result is OUTDATED)


@pytest.mark.parametrize(
    ("rule", "update_id", "ids", "result"), [case[1:] for case in JOINS], ids=[c[0] for c in JOINS]
)
def test_a_snapshot_joins_the_buffered_delta_by_the_same_rule(
    rule: SequenceRule, update_id: int, ids: tuple[int, ...], result: SyncResult
) -> None:
    sync, results = play(rule, delta(*ids), snapshot(update_id))
    # A buffered delta that the snapshot already contains proves that the stream was running: the book can be used.
    assert results == [BUFFERED, OUTDATED if result is OUTDATED else APPLIED]
    assert sync.is_usable == (result is not OUTDATED)


def test_a_snapshot_in_the_middle_of_the_stream_drops_what_it_contains_and_applies_the_rest() -> None:
    sync, results = play(FUTURES, delta(1, 5, 0), delta(7, 9, 5), delta(12, 14, 9), snapshot(8), delta(15, 16, 14))
    assert results == [BUFFERED, BUFFERED, BUFFERED, APPLIED, APPLIED]
    assert (sync.book.bids, sync.last_id, sync.discarded) == ({100: 16}, 16, 1)


def test_a_snapshot_older_than_the_whole_buffer_is_refused_and_the_buffer_waits_for_the_next() -> None:
    sync, results = play(SPOT, delta(15, 25), delta(26, 30), snapshot(10), snapshot(27))
    assert results == [BUFFERED, BUFFERED, OUTDATED, APPLIED]
    assert sync.book.bids == {100: 30}


CHAINS = [
    ("futures: pu is the previous u", FUTURES, (28, 30, 25), APPLIED),
    ("futures: ids that follow do not help when pu does not", FUTURES, (26, 30, 24), GAP),
    ("futures: pu ahead", FUTURES, (28, 30, 26), GAP),
    ("futures: an unknown pu", FUTURES, (26, 30, -1), GAP),
    ("futures: the same again", FUTURES, (15, 25, 14), IGNORED),
    ("futures: an older one", FUTURES, (12, 14, 9), IGNORED),
    ("spot: U follows the previous u", SPOT, (26, 30), APPLIED),
    ("spot: a hole", SPOT, (27, 30), GAP),
    ("spot: an overlap", SPOT, (25, 30), GAP),
    ("spot: the same again", SPOT, (15, 25), IGNORED),
]


@pytest.mark.parametrize(("rule", "ids", "result"), [case[1:] for case in CHAINS], ids=[c[0] for c in CHAINS])
def test_each_later_delta_follows_its_predecessor(rule: SequenceRule, ids: tuple[int, ...], result: SyncResult) -> None:
    sync, results = play(rule, snapshot(20), delta(15, 25, 14), delta(*ids))
    assert results[2] is result
    assert sync.is_usable == (result is not GAP)
    assert sync.needs_snapshot == (result is GAP)


def test_after_a_gap_only_a_snapshot_helps_and_the_delta_behind_the_gap_may_be_where_it_joins() -> None:
    messages: list[BookDelta | BookSnapshot] = [
        snapshot(20),
        delta(15, 25, 14),
        delta(40, 45, 38),
        delta(47, 50, 45),
        snapshot(42),
    ]
    sync, results = play(FUTURES, *messages)
    assert results == [JOINING, APPLIED, GAP, BUFFERED, APPLIED]
    assert sync.book.bids == {100: 50}


def test_a_hole_in_the_buffer_is_a_gap_and_what_stood_before_it_is_forgotten() -> None:
    sync, results = play(SPOT, delta(1, 5), delta(8, 9), snapshot(3))
    assert results == [BUFFERED, GAP, OUTDATED]
    assert sync.discarded == 1


def test_a_newer_snapshot_rebases_a_book_in_step_and_an_older_one_is_ignored() -> None:
    sync, results = play(FUTURES, snapshot(20), delta(15, 25, 14), snapshot(25), snapshot(24))
    assert results == [JOINING, APPLIED, IGNORED, IGNORED]
    assert sync.on_snapshot(snapshot(33)) is APPLIED
    assert sync.book.bids == {100: 33}
    assert [sync.on_delta(delta(28, 30, 25)), sync.on_delta(delta(32, 35, 30))] == [IGNORED, APPLIED]
    assert sync.book.bids == {100: 35}


def test_a_stream_that_does_not_meet_the_rebased_book_is_a_gap() -> None:
    _, results = play(FUTURES, snapshot(20), delta(15, 25, 14), snapshot(33), delta(40, 45, 38))
    assert results == [JOINING, APPLIED, APPLIED, GAP]


@pytest.mark.parametrize("bid", [101, 102])
def test_a_crossed_book_cannot_be_used_until_a_snapshot_joins(bid: int) -> None:
    sync, results = play(SPOT, snapshot(10), delta(11, 12), delta(13, 14, bids=[(bid, 1)]), delta(15, 16))
    assert results == [JOINING, APPLIED, CROSSED, BUFFERED]
    assert sync.needs_snapshot
    assert sync.on_snapshot(snapshot(15)) is APPLIED
    assert sync.is_usable


def test_a_crossed_snapshot_is_refused() -> None:
    sync, results = play(SPOT, delta(10, 11), snapshot(10, bid=101, ask=101), snapshot(10))
    assert results == [BUFFERED, CROSSED, APPLIED]
    assert sync.book.bids == {100: 11}


def test_a_snapshot_and_buffer_that_cross_keep_the_buffer_for_the_next_snapshot() -> None:
    sync, results = play(SPOT, delta(10, 11), delta(12, 13, bids=[(101, 1)]), delta(14, 15), snapshot(10))
    assert results[-1] is CROSSED
    assert [kept.last_id for kept in sync.buffer] == [13, 15]
    assert sync.on_snapshot(snapshot(13)) is APPLIED


def test_the_buffer_is_bounded_and_forgets_the_oldest() -> None:
    sync = BookSync(SPOT, buffered_max=3)
    for n in range(1, 10):
        assert sync.on_delta(delta(n, n)) is BUFFERED
    assert [kept.last_id for kept in sync.buffer] == [7, 8, 9]
    assert sync.discarded == 6
    assert sync.on_snapshot(snapshot(3)) is OUTDATED
    assert sync.on_snapshot(snapshot(7)) is APPLIED


def test_an_invalidated_book_is_empty_and_starts_afresh() -> None:
    sync, _ = play(SPOT, snapshot(10), delta(11, 12))
    sync.invalidate()
    assert (sync.book.best_bid, sync.is_usable, sync.needs_snapshot) == (None, False, True)
    # Numbers may start anew after the venue was down.
    assert [sync.on_delta(delta(2, 3)), sync.on_snapshot(snapshot(2))] == [BUFFERED, APPLIED]


@dataclass
class Stream:
    """Single updates `(id, is_bid, ticks, lots)`, grouped into deltas; `books[n]` is the book after n updates."""

    rule: SequenceRule
    updates: list[tuple[int, bool, int, int]]
    deltas: list[BookDelta]
    books: list[tuple[dict[int, int], dict[int, int]]]

    def snapshot_after(self, count: int) -> BookSnapshot:
        bids, asks = self.books[count]
        return BookSnapshot(0, "X", self.updates[count - 1][0], list(bids.items()), list(asks.items()))


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """A valid stream: ids with holes on futures (other symbols' updates), without on spot; the book never crosses."""
    rule = draw(st.sampled_from(SequenceRule))
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=12))
    update_id, prev_id = 1_000, 1_000
    updates, deltas, books = [], [], [({}, {})]  # type: ignore[var-annotated]
    for size in sizes:
        group = []
        for _ in range(size):
            update_id += draw(st.integers(1, 5)) if rule is FUTURES else 1
            is_bid = draw(st.booleans())
            ticks = draw(st.integers(90, 99) if is_bid else st.integers(100, 110))
            group.append((update_id, is_bid, ticks, draw(st.integers(0, 3))))
            bids, asks = dict(books[-1][0]), dict(books[-1][1])
            side = bids if is_bid else asks
            side[ticks] = group[-1][3]
            if not side[ticks]:
                del side[ticks]
            books.append((bids, asks))
        updates.extend(group)
        levels = [[(ticks, lots) for _, is_bid, ticks, lots in group if is_bid is want] for want in (True, False)]
        prev = prev_id if rule is FUTURES else -1
        deltas.append(BookDelta(0, "X", group[0][0], group[-1][0], prev, levels[0], levels[1]))
        prev_id = update_id
    return Stream(rule, updates, deltas, books)


def feed(sync: BookSync, messages: list[BookDelta | BookSnapshot]) -> list[SyncResult]:
    return [sync.on_delta(m) if isinstance(m, BookDelta) else sync.on_snapshot(m) for m in messages]


@given(streams(), st.data())
def test_wherever_the_snapshot_arrives_the_book_is_what_all_updates_make_of_it(
    stream: Stream, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(stream.updates)), "updates in the snapshot")
    taken = stream.updates[count - 1][0]
    # It may arrive before the stream has come that far, or long after.
    arrival = data.draw(st.integers(0, len(stream.deltas)), "deltas before the snapshot")
    messages: list[BookDelta | BookSnapshot] = [*stream.deltas]
    messages.insert(arrival, stream.snapshot_after(count))
    sync = BookSync(stream.rule)
    results = feed(sync, messages)
    assert (sync.book.bids, sync.book.asks) == stream.books[-1]
    assert not {GAP, CROSSED, OUTDATED} & set(results)
    assert sync.last_id == stream.updates[-1][0]
    assert sync.is_usable or all(d.last_id <= taken for d in stream.deltas[arrival:])


@given(streams(), st.data())
def test_more_snapshots_from_any_time_change_nothing(stream: Stream, data: st.DataObject) -> None:
    messages: list[BookDelta | BookSnapshot] = [stream.snapshot_after(1), *stream.deltas]
    for count in data.draw(st.lists(st.integers(1, len(stream.updates)), max_size=4)):
        messages.insert(data.draw(st.integers(1, len(messages))), stream.snapshot_after(count))
    sync = BookSync(stream.rule)
    assert not {GAP, CROSSED, OUTDATED} & set(feed(sync, messages))
    assert (sync.book.bids, sync.book.asks) == stream.books[-1]


@given(streams(), st.data())
def test_any_delta_lost_behind_the_snapshot_is_found_by_the_next(stream: Stream, data: st.DataObject) -> None:
    lost = data.draw(st.integers(1, len(stream.deltas) - 1), "lost")
    deltas = stream.deltas[:lost] + stream.deltas[lost + 1 :]
    sync = BookSync(stream.rule)
    results = feed(sync, [stream.snapshot_after(1), *deltas])
    behind = results[1 + lost :]
    if behind:
        # Before the first delta was applied it is the snapshot that is found to be too old.
        assert behind[0] is (GAP if APPLIED in results[: 1 + lost] else OUTDATED)
        assert behind[1:] == [BUFFERED] * (len(behind) - 1)
        assert not sync.is_usable


@given(streams(), st.data())
def test_repeated_and_old_deltas_change_nothing(stream: Stream, data: st.DataObject) -> None:
    messages: list[BookDelta | BookSnapshot] = [stream.snapshot_after(1)]
    repeats = 0
    for index, item in enumerate(stream.deltas):
        messages.append(item)
        for again in data.draw(st.lists(st.integers(0, index), max_size=2)):
            messages.append(stream.deltas[again])
            repeats += 1
    sync = BookSync(stream.rule)
    results = feed(sync, messages)
    assert (sync.book.bids, sync.book.asks) == stream.books[-1]
    assert set(results) <= {JOINING, APPLIED, IGNORED}
    assert sync.discarded == results.count(IGNORED) >= repeats


@given(streams(), st.data())
def test_a_book_written_down_and_read_back_goes_on_as_if_nothing_had_happened(
    stream: Stream, data: st.DataObject
) -> None:
    messages: list[BookDelta | BookSnapshot] = [*stream.deltas]
    messages.insert(data.draw(st.integers(0, len(messages))), stream.snapshot_after(1))
    cut = data.draw(st.integers(0, len(messages)))
    whole, part = BookSync(stream.rule), BookSync(stream.rule)
    feed(whole, messages)
    feed(part, messages[:cut])
    restored = from_plain(to_plain(part), BookSync, "book")
    assert restored == part
    feed(restored, messages[cut:])
    assert restored == whole


def test_the_book_of_an_actor_state_is_compared_by_its_levels() -> None:
    one, other = BookSync(SPOT), BookSync(SPOT)
    assert one == other
    other.book.apply([(1, 1)], [])
    assert one != other
    assert isinstance(one.book, Book)
