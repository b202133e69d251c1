"""What the desk hears of a market in rows: books as often as it looks, everything else when it arrives.

Of a book it hears the changes of the best levels since last time, numbered by one; the whole of them when it is known
for the first time and after a gap. Asked for a book, the feed answers with what it has told of it.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any

import numpy as np
from attrs import define, field

from sim.exchange import NEVER
from sim.kernel.compiled import Direct
from sim.kernel.layout import Array
from sim.kernel.sampling import look
from sim.row_reports import report_of, with_estimate
from sim.rows import (
    BUY,
    CLEAR,
    ESTIMATE,
    FUNDING,
    GAP,
    LAST,
    LOCAL,
    MARK,
    OPEN_INTEREST,
    STATUS,
    TRADE,
    Rows,
)
from venues.model.book import Level
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, FeedGap, MarkPrice, Report, Trade

_SINGLE = (MARK, ESTIMATE, FUNDING, STATUS, OPEN_INTEREST, GAP, CLEAR)
_PAIR = Struct("2q")
_look = Direct(look)


@define(eq=False)
class DeskFeed:
    """The market of `instruments`, numbered in their order, with `depth` levels a side.

    With `has_trades` public trades come along with the books, summed by instrument, price and side.
    """

    instruments: Sequence[Instrument]
    depth: int
    has_trades: bool = False
    _rows: Rows = field(init=False, factory=lambda: Rows.empty(0))
    _single: list[int] = field(init=False, factory=list)
    _single_ns: list[int] = field(init=False, factory=lambda: [NEVER])
    _trades: Rows = field(init=False, factory=lambda: Rows.empty(0))
    _heard_ns: int = field(init=False, default=-1)
    _update_ids: list[int] = field(init=False)
    _trade_id: int = field(init=False, default=0)
    # Instruments whose book is not known, and since when.
    _unknown: dict[int, int] = field(init=False)
    _shown: Any = field(init=False)
    _changes: Any = field(init=False)
    _written: memoryview = field(init=False)
    _names: list[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        count = len(self.instruments)
        self._update_ids = [0] * count
        self._unknown = dict.fromkeys(range(count), -1)
        self._shown = np.zeros((2 * count, self.depth, 2), np.int64)
        self._changes = np.zeros(count * (4 + 8 * self.depth), np.int64)
        self._written = memoryview(self._changes)
        self._names = [one.id for one in self.instruments]

    def take(self, rows: Rows, known: int) -> None:
        """Know these rows from now on: `known` of before that have not been played to the end, and all behind them."""
        self._rows = rows
        kind = rows.kind
        is_local = rows.flags & LOCAL != 0
        is_single = np.zeros(len(rows), np.bool_)
        for one in _SINGLE:
            is_single |= kind == one
        # Few of the rows: what else decides is looked at only there.
        single = np.flatnonzero(is_single & is_local)[::-1]
        is_whole = (kind[single] != CLEAR) | (rows.flags[single] & LAST != 0)
        single = single[is_whole & (rows.local_ns[single] > self._heard_ns)]
        # The next one is the last of the list, and behind it stands what is never due.
        self._single = single.tolist()
        self._single_ns = [NEVER, *rows.local_ns[single].tolist()]
        if self.has_trades:
            news = known + np.flatnonzero((kind[known:] == TRADE) & is_local[known:])
            self._trades = Rows.join([self._trades, rows.at(news)])

    def next_ns(self) -> int:
        """Return when the next message arrives that is no change of a book, NEVER when none is known."""
        return self._single_ns[-1]

    def arrived(self, now: int) -> Iterator[Report]:
        """Yield what has arrived at or before `now`, without books and trades."""
        self._heard_ns = now
        rows, waiting = self._rows, self._single
        while self._single_ns[-1] <= now:
            arrived_ns, row = self._single_ns.pop(), waiting.pop()
            index, kind = int(rows.instrument[row]), int(rows.kind[row])
            spec = self.instruments[index]
            if kind in (GAP, CLEAR):
                self._unknown[index] = arrived_ns
                self._shown[2 * index : 2 * index + 2] = 0
                yield FeedGap(int(rows.venue_ns[row]), spec.id, "the data has a gap")
                continue
            report = report_of(rows, row, spec)
            if isinstance(report, MarkPrice) and self._is_estimate(index, arrived_ns):
                self._single_ns.pop()
                report = with_estimate(report, rows, waiting.pop())
            if report is not None:
                yield report

    def _is_estimate(self, index: int, arrived_ns: int) -> bool:
        """Whether the next message tells the running rate that belongs to a mark of `index`."""
        if self._single_ns[-1] != arrived_ns:
            return False
        row = self._single[-1]
        return int(self._rows.kind[row]) == ESTIMATE and int(self._rows.instrument[row]) == index

    def sample(self, now: int, kernel: Array) -> list[Report]:
        """Return what has become of trades and books since last time, before `now`; `kernel` is a handle."""
        told: list[Report] = self._summed_trades(now) if self.has_trades else []
        end = _look.call(kernel, self._shown, self._changes)
        if not end:
            return told
        pairs: list[Level] = list(_PAIR.iter_unpack(self._written[:end]))
        at = 0
        while at < len(pairs):
            index = pairs[at][0]
            bids, asks = pairs[at + 1]
            start = at + 2
            middle = start + bids
            at = middle + asks
            if index in self._unknown:
                self._find_book(index, now, told)
                continue
            name, before = self._names[index], self._update_ids[index]
            self._update_ids[index] = following = before + 1
            told.append(BookDelta(now, name, following, following, before, pairs[start:middle], pairs[middle:at]))
        return told

    def _find_book(self, index: int, now: int, told: list[Report]) -> None:
        """Tell a book that is known again, and an update that joins it to those to come."""
        bids, asks = self._levels(2 * index), self._levels(2 * index + 1)
        if now <= self._unknown[index]:
            # The instant of the gap: this is the book from before it.
            self._shown[2 * index : 2 * index + 2] = 0
        elif bids or asks:
            del self._unknown[index]
            name, first = self._names[index], self._update_ids[index] + 1
            self._update_ids[index] = first + 1
            told.append(BookSnapshot(now, name, first, bids, asks))
            told.append(BookDelta(now, name, first + 1, first + 1, first, [], []))

    def _levels(self, at: int) -> list[Level]:
        return [(ticks, lots) for ticks, lots in self._shown[at].tolist() if lots]

    def _summed_trades(self, now: int) -> list[Report]:
        trades = self._trades
        count = int(np.searchsorted(trades.local_ns, now))
        if not count:
            return []
        news, self._trades = trades.slice(0, count), trades.slice(count, len(trades))
        sums: dict[tuple[int, int, int], int] = {}
        keys = zip(news.instrument.tolist(), news.ticks.tolist(), (news.flags & BUY).tolist(), strict=True)
        for key, lots in zip(keys, news.lots.tolist(), strict=True):
            sums[key] = sums.get(key, 0) + lots
        told: list[Report] = []
        for (index, ticks, is_buy), lots in sums.items():
            self._trade_id += 1
            side = Side.BUY if is_buy else Side.SELL
            told.append(Trade(now, self.instruments[index].id, self._trade_id, ticks, lots, side))
        return told

    def book(self, now: int, instrument: str) -> BookSnapshot | None:
        """Return a book as it has been told, with the number of its last update; None while it is not known."""
        for index, spec in enumerate(self.instruments):
            if spec.id == instrument and index not in self._unknown:
                levels = self._levels(2 * index), self._levels(2 * index + 1)
                return BookSnapshot(now, instrument, self._update_ids[index], *levels)
        return None
