"""What of a book the public sees: what the market displays and the account's own resting orders on top of it."""

from collections.abc import Iterable, Mapping

from attrs import define, field

from venues.model.book import Level
from venues.port import BookDelta, BookSnapshot, Quote


@define
class PublishedBook:
    """One instrument's book in ticks and lots, with a numbering of its own.

    `update_id` is the last update it contains; `ts` when that was.
    """

    instrument: str
    update_id: int
    ts: int = 0
    bids: dict[int, int] = field(factory=dict)
    asks: dict[int, int] = field(factory=dict)
    quote: Quote | None = None

    def update(
        self,
        now: int,
        bids: Iterable[Level],
        asks: Iterable[Level],
        own_bids: Mapping[int, int],
        own_asks: Mapping[int, int],
    ) -> list[BookDelta | Quote]:
        """Let the book be this; return what the public hears of it: the change, and the best where that changed."""
        new_bids, new_asks = _sum(bids, own_bids), _sum(asks, own_asks)
        if new_bids == self.bids and new_asks == self.asks:
            return []
        bid_changes, ask_changes = _changes(self.bids, new_bids), _changes(self.asks, new_asks)
        previous = self.update_id
        self.update_id += len(bid_changes) + len(ask_changes)
        self.bids, self.asks, self.ts = new_bids, new_asks, now
        told: list[BookDelta | Quote] = [
            BookDelta(now, self.instrument, previous + 1, self.update_id, previous, bid_changes, ask_changes)
        ]
        quote = self._best(now)
        if quote is not None:
            told.append(quote)
        return told

    def _best(self, now: int) -> Quote | None:
        if not self.bids or not self.asks:
            return None
        bid, ask = max(self.bids), min(self.asks)
        lots = self.bids[bid], self.asks[ask]
        old = self.quote
        if old is not None and (old.bid, old.ask, old.bid_lots, old.ask_lots) == (bid, ask, *lots):
            return None
        self.quote = Quote(now, self.instrument, self.update_id, bid, lots[0], ask, lots[1])
        return self.quote

    def snapshot(self) -> BookSnapshot:
        """Return the whole book, best levels first."""
        return BookSnapshot(
            self.ts,
            self.instrument,
            self.update_id,
            sorted(self.bids.items(), reverse=True),
            sorted(self.asks.items()),
        )


def _sum(levels: Iterable[Level], own: Mapping[int, int]) -> dict[int, int]:
    summed = dict(levels)
    for ticks, lots in own.items():
        summed[ticks] = summed.get(ticks, 0) + lots
    return summed


def _changes(old: Mapping[int, int], new: Mapping[int, int]) -> list[Level]:
    gone = [(ticks, 0) for ticks in old if ticks not in new]
    return gone + [(ticks, lots) for ticks, lots in new.items() if old.get(ticks) != lots]
