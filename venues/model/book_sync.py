"""When a local book may be believed: how a snapshot and numbered deltas join, and what breaks them apart.

Sources: Binance USDS-M futures and spot, "How to manage a local order book correctly".
"""

from enum import StrEnum

from attrs import define, field

from venues.model.book import Book
from venues.port import BookDelta, BookSnapshot

BUFFERED_DELTAS_MAX = 1_024
"""Deltas kept while no snapshot is there: 50 s of the busiest recorded stream (BTCUSDT depth@0ms, 19 a second)."""


class SequenceRule(StrEnum):
    """How a venue numbers its deltas.

    FUTURES: an event with `last_id` below the snapshot's id is dropped, the first one applied contains that id
    (`first_id <= id <= last_id`) or names it as its predecessor, and each later `prev_id` is the previous `last_id`.
    SPOT: an event with `last_id` up to the snapshot's id is dropped, the first one applied contains the id after it,
    and each later `first_id` follows the previous `last_id` directly.
    """

    FUTURES = "futures"
    SPOT = "spot"


class SyncResult(StrEnum):
    """What became of a delta or snapshot.

    APPLIED: the book moved and can be used. BUFFERED: kept until a snapshot comes. JOINING: the snapshot is loaded,
    and the delta that joins it to the stream has yet to come. IGNORED: nothing new. GAP: updates are missing.
    CROSSED: best bid at or above best ask. OUTDATED: the snapshot is from before the stream.
    After GAP, CROSSED and OUTDATED the book cannot be used until another snapshot joins.
    """

    APPLIED = "applied"
    BUFFERED = "buffered"
    JOINING = "joining"
    IGNORED = "ignored"
    GAP = "gap"
    CROSSED = "crossed"
    OUTDATED = "outdated"


_APPLIED = SyncResult.APPLIED
_SPOT = SequenceRule.SPOT


@define
class BookSync:
    """One instrument's book, kept in step with the venue's stream. Messages of other instruments are not noticed.

    `book` is to be read only while `is_usable`. `last_id` is the last update it contains. `discarded` counts deltas
    that were old or repeated, and those pushed out of a full buffer.
    """

    rule: SequenceRule
    buffered_max: int = BUFFERED_DELTAS_MAX
    book: Book = field(factory=Book, eq=lambda book: (book.bids, book.asks))
    last_id: int = -1
    is_usable: bool = False
    is_joining: bool = False
    buffer: list[BookDelta] = field(factory=list)
    discarded: int = 0

    @property
    def needs_snapshot(self) -> bool:
        """Whether only a snapshot can bring the book back."""
        return not self.is_usable and not self.is_joining

    def on_delta(self, delta: BookDelta) -> SyncResult:
        """Take the next delta of the stream."""
        if self.is_joining:
            if self._is_old(delta, self.last_id):
                self.discarded += 1
                return SyncResult.IGNORED
            if not self._joins(delta, self.last_id):
                return self._break(delta, SyncResult.GAP if self.is_usable else SyncResult.OUTDATED)
            self.is_joining = False
            self.is_usable = True
        elif self.is_usable:
            if delta.last_id <= self.last_id:
                self.discarded += 1
                return SyncResult.IGNORED
            if (delta.first_id - 1 if self.rule is _SPOT else delta.prev_id) != self.last_id:
                return self._break(delta, SyncResult.GAP)
        else:
            return self._keep(delta)
        book = self.book
        book.apply(delta.bids, delta.asks)
        self.last_id = delta.last_id
        bid, ask = book.best_bid, book.best_ask
        if bid is not None and ask is not None and bid >= ask:
            return self._break(delta, SyncResult.CROSSED)
        return _APPLIED

    def on_snapshot(self, snapshot: BookSnapshot) -> SyncResult:
        """Take a whole book, whenever it comes: first, in the middle of the deltas, or again."""
        update_id = snapshot.update_id
        if update_id <= self.last_id:
            return SyncResult.IGNORED
        seen = self.buffer
        news = [delta for delta in seen if not self._is_old(delta, update_id)]
        if news and not self._joins(news[0], update_id):
            return SyncResult.OUTDATED
        # A delta from before the snapshot proves that the stream was already running when it was taken.
        is_usable = self.is_usable or len(seen) > len(news)
        self.invalidate()
        self.discarded += len(seen) - len(news)
        self.book.load(snapshot.bids, snapshot.asks)
        if self.book.is_crossed:
            self.invalidate()
            self.buffer = news
            return SyncResult.CROSSED
        self.last_id = update_id
        self.is_usable = is_usable
        self.is_joining = True
        for index, delta in enumerate(news):
            result = self.on_delta(delta)
            if result is not _APPLIED:
                self.buffer = news[index:]
                return result
        return _APPLIED if self.is_usable else SyncResult.JOINING

    def invalidate(self) -> None:
        """Forget book and buffer: frames were lost, or the connection. The next snapshot starts afresh."""
        self.book.clear()
        self.buffer = []
        self.is_usable = False
        self.is_joining = False
        self.last_id = -1

    def _is_old(self, delta: BookDelta, snapshot_id: int) -> bool:
        return delta.last_id <= snapshot_id if self.rule is _SPOT else delta.last_id < snapshot_id

    def _joins(self, delta: BookDelta, snapshot_id: int) -> bool:
        """Whether `delta`, which is not old, is the first to apply to the snapshot."""
        if self.rule is _SPOT:
            return delta.first_id <= snapshot_id + 1
        return delta.first_id <= snapshot_id or delta.prev_id == snapshot_id

    def _break(self, delta: BookDelta, result: SyncResult) -> SyncResult:
        """Leave the book; `delta` may be the one at which the next snapshot joins."""
        self.invalidate()
        self.buffer.append(delta)
        return result

    def _keep(self, delta: BookDelta) -> SyncResult:
        """Buffer `delta`. What stands before a hole is of no use: a snapshot joining there would meet the hole."""
        buffer = self.buffer
        result = SyncResult.BUFFERED
        if buffer:
            last_id = buffer[-1].last_id
            if delta.last_id <= last_id:
                self.discarded += 1
                return SyncResult.IGNORED
            if (delta.first_id - 1 if self.rule is _SPOT else delta.prev_id) != last_id:
                self.discarded += len(buffer)
                buffer.clear()
                result = SyncResult.GAP
            elif len(buffer) >= self.buffered_max:
                self.discarded += 1
                del buffer[0]
        buffer.append(delta)
        return result


__all__ = ["BUFFERED_DELTAS_MAX", "BookSync", "SequenceRule", "SyncResult"]
