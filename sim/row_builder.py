"""What the messages of a market are as rows.

Books are joined and watched as the simulated venue does it (venues.model.book_sync): deltas leave as they came while
the book is known, a snapshot that joins leaves as the whole book, and where updates are missing a GAP row stands and a
gap span opens. Deltas nothing is known to apply to leave no rows.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
from attrs import define, field

from sim.clocks import LOOKAHEAD_NS, Arrival, ClockStatistics
from sim.row_order import RowOrder
from sim.rows import (
    BUY,
    CLEAR,
    DEPTH,
    ESTIMATE,
    FUNDING,
    GAP,
    LAST,
    MARK,
    OPEN_INTEREST,
    PRICE_SCALE,
    QUOTE,
    RATE_SCALE,
    SNAPSHOT,
    STATUS,
    STATUSES,
    TRADE,
    Rows,
)
from sim.store.layout import GapSpan
from venues.model.book import Level
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.instrument import Instrument, OffGridError
from venues.model.order import Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    FeedGap,
    FundingRate,
    InstrumentStatus,
    MarkPrice,
    Message,
    OpenInterest,
    Quote,
    Trade,
)

_BLOCK_ROWS = 1 << 16
_INT64_MAX = 2**63 - 1


@define
class BuildReport:
    """What became of the messages. `bad` counts what rows cannot hold by reason, `passed_over` what has no rows.

    `unjoined` counts deltas and snapshots that came while no book was known, or said nothing new.
    """

    messages: int = 0
    bad: dict[str, int] = field(factory=dict)
    passed_over: dict[str, int] = field(factory=dict)
    unjoined: int = 0
    gaps: list[GapSpan] = field(factory=list)
    clocks: ClockStatistics = field(factory=ClockStatistics)


class RowBuilder:
    """The rows of arrivals, in both orders; `report` counts as it goes.

    `instruments` are numbered in their order; messages of others are passed over. Raises ValueError when arrivals are
    not in the order of `local_ns`.
    """

    def __init__(self, instruments: Sequence[Instrument], lookahead_ns: int = LOOKAHEAD_NS) -> None:
        self.report = BuildReport()
        self._order = RowOrder(self.report.clocks, lookahead_ns)
        self._messages = _MessageRows(instruments, self.report)

    def blocks(self, arrivals: Iterable[Arrival]) -> Iterator[Rows]:
        """Yield the rows, a block at a time; memory is bounded by the block and the look-ahead."""
        messages = self._messages
        for arrival in arrivals:
            messages.add(arrival)
            if len(messages.ticks) >= _BLOCK_ROWS:
                yield self._order.take(messages.take())
        yield self._order.take(messages.take())
        yield self._order.finish()
        messages.close_gaps()


class _MessageRows:
    """Collects messages' rows: three arrays by row, and one entry per run of rows of a kind."""

    def __init__(self, instruments: Sequence[Instrument], report: BuildReport) -> None:
        self._specs = {spec.id: (number, spec) for number, spec in enumerate(instruments)}
        self._syncs = {
            spec.id: BookSync(SequenceRule.SPOT if spec.is_spot else SequenceRule.FUTURES) for spec in instruments
        }
        self._known_ns: dict[str, int] = {}
        self._heard_ns: dict[str, int] = {}
        self._unknown_from: dict[str, int] = {}
        self._report = report
        self._last_venue_ns = 0
        self.ticks = array("q")
        self._lots = array("q")
        self._runs: list[tuple[int, int, int, int, int, int]] = []
        self._number = self._venue_ns = self._local_ns = 0

    def add(self, arrival: Arrival) -> None:
        message = arrival.message
        on_message = _ON.get(type(message))
        known = self._specs.get(getattr(message, "instrument", ""))
        if on_message is None or known is None:
            _count(self._report.passed_over, type(message).__name__ if on_message is None else "other instrument")
            return
        self._report.messages += 1
        self._number, self._venue_ns, self._local_ns = known[0], arrival.venue_ns, arrival.local_ns
        self._last_venue_ns = max(self._last_venue_ns, arrival.venue_ns)
        try:
            on_message(self, message, known[1])
        except (_UnfitError, OffGridError) as error:
            _count(self._report.bad, "off_grid" if isinstance(error, OffGridError) else str(error))
            if isinstance(message, BookDelta | BookSnapshot):
                # The rows no longer hold the book that was joined.
                self._on_gap(message, known[1])

    def take(self) -> Rows:
        """Return the rows collected, and start again."""
        runs = np.array(self._runs, np.int64).reshape(-1, 6)
        counts = runs[:, 5]
        rows = Rows.empty(len(self.ticks))
        for column, name in enumerate(("kind", "flags", "instrument", "venue_ns", "local_ns")):
            getattr(rows, name)[:] = np.repeat(runs[:, column], counts)
        # LAST is noted on the run and belongs to its last row.
        ends = np.cumsum(counts) - 1
        is_last = np.zeros(len(rows), np.uint8)
        is_last[ends] = runs[:, 1] & LAST
        rows.flags[:] = rows.flags & BUY | is_last
        rows.ticks[:] = np.frombuffer(self.ticks, np.int64)
        rows.lots[:] = np.frombuffer(self._lots, np.int64)
        self.ticks, self._lots, self._runs = array("q"), array("q"), []
        return rows

    def close_gaps(self) -> None:
        """End what is unknown with the data."""
        for instrument, from_ns in sorted(self._unknown_from.items()):
            self._report.gaps.append(GapSpan(from_ns, max(from_ns, self._last_venue_ns), instrument))
        self._unknown_from.clear()

    def _run(self, kind: int, flags: int, count: int) -> None:
        self._runs.append((kind, flags, self._number, self._venue_ns, self._local_ns, count))

    def _row(self, kind: int, flags: int, ticks: int, lots: int) -> None:
        if not -_INT64_MAX <= ticks <= _INT64_MAX or not -_INT64_MAX <= lots <= _INT64_MAX:
            raise _UnfitError("too_large")
        self.ticks.append(ticks)
        self._lots.append(lots)
        self._run(kind, flags, 1)

    def _levels(self, kind: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Add one run a side; the last run carries LAST."""
        try:
            sides = [array("q", chain.from_iterable(levels)) for levels in (bids, asks)]
        except OverflowError:
            raise _UnfitError("too_large") from None
        for flat, flags in zip(sides, (BUY if asks else BUY | LAST, LAST), strict=True):
            if flat:
                self.ticks.extend(flat[::2])
                self._lots.extend(flat[1::2])
                self._run(kind, flags, len(flat) // 2)

    def _on_book(self, message: BookDelta | BookSnapshot, spec: Instrument) -> None:
        sync = self._syncs[spec.id]
        was_usable = sync.is_usable
        self._heard_ns[spec.id] = max(self._heard_ns.get(spec.id, 0), self._venue_ns)
        result = sync.on_delta(message) if isinstance(message, BookDelta) else sync.on_snapshot(message)
        if not sync.is_usable:
            if was_usable:
                self._lose(spec)
            else:
                self._unknown_from.setdefault(spec.id, self._venue_ns)
                self._report.unjoined += 1
        elif result is not SyncResult.APPLIED:
            self._report.unjoined += 1
        elif was_usable and isinstance(message, BookDelta):
            self._known_ns[spec.id] = self._venue_ns
            self._levels(DEPTH, message.bids, message.asks)
        else:
            self._find(spec, sync)

    def _lose(self, spec: Instrument) -> None:
        self._unknown_from.setdefault(spec.id, self._known_ns.get(spec.id, self._venue_ns))
        self._row(GAP, LAST, 0, 0)

    def _find(self, spec: Instrument, sync: BookSync) -> None:
        """The whole book is known: from when the newest of its updates happened, for deltas may have waited."""
        self._venue_ns = max(self._venue_ns, self._heard_ns[spec.id])
        from_ns = self._unknown_from.pop(spec.id, None)
        if from_ns is not None:
            self._report.gaps.append(GapSpan(from_ns, max(from_ns, self._venue_ns), spec.id))
        self._known_ns[spec.id] = self._venue_ns
        bids, asks = list(sync.book.bids.items()), list(sync.book.asks.items())
        self._row(CLEAR, 0 if bids or asks else LAST, 0, 0)
        self._levels(SNAPSHOT, bids, asks)

    def _on_quote(self, quote: Quote, spec: Instrument) -> None:
        bid, bid_lots, ask, ask_lots = quote.bid, quote.bid_lots, quote.ask, quote.ask_lots
        if max(bid, bid_lots, ask, ask_lots) > _INT64_MAX or min(bid, ask) < -_INT64_MAX:
            raise _UnfitError("too_large")
        self.ticks.extend((bid, ask))
        self._lots.extend((bid_lots, ask_lots))
        self._run(QUOTE, BUY, 1)
        self._run(QUOTE, LAST, 1)

    def _on_trade(self, trade: Trade, spec: Instrument) -> None:
        self._row(TRADE, (BUY if trade.aggressor is Side.BUY else 0) | LAST, trade.price, trade.lots)

    def _on_mark(self, mark: MarkPrice, spec: Instrument) -> None:
        self._row(MARK, LAST, _scaled(mark.index, PRICE_SCALE, "price"), _scaled(mark.mark, PRICE_SCALE, "price"))
        if mark.rate is not None:
            self._row(ESTIMATE, LAST, mark.next_funding_ns or 0, _scaled(mark.rate, RATE_SCALE, "rate"))

    def _on_funding(self, funding: FundingRate, spec: Instrument) -> None:
        mark = _scaled(funding.mark, PRICE_SCALE, "price")
        self._row(FUNDING, LAST, mark, _scaled(funding.rate, RATE_SCALE, "rate"))

    def _on_status(self, status: InstrumentStatus, spec: Instrument) -> None:
        self._row(STATUS, LAST, 0, STATUSES.index(status.state.value))

    def _on_open_interest(self, interest: OpenInterest, spec: Instrument) -> None:
        self._row(OPEN_INTEREST, LAST, 0, spec.lots(interest.qty))

    def _on_gap(self, gap: Message, spec: Instrument) -> None:
        sync = self._syncs[spec.id]
        was_usable = sync.is_usable
        sync.invalidate()
        if was_usable:
            self._lose(spec)


class _UnfitError(ValueError):
    """A value that rows cannot hold exactly."""


def _scaled(value: Decimal | None, scale: int, noun: str) -> int:
    """Return `value` times `scale`, 0 for None."""
    if value is None:
        return 0
    if not value.is_finite():
        raise _UnfitError(f"{noun}_not_finite")
    whole, rest = divmod(value * scale, 1)
    if rest:
        raise _UnfitError(f"{noun}_too_fine")
    if noun == "price" and whole <= 0:
        raise _UnfitError(f"{noun}_not_positive")
    return int(whole)


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


_ON: dict[type[Message], Callable[[_MessageRows, Any, Instrument], None]] = {
    BookDelta: _MessageRows._on_book,
    BookSnapshot: _MessageRows._on_book,
    Quote: _MessageRows._on_quote,
    Trade: _MessageRows._on_trade,
    MarkPrice: _MessageRows._on_mark,
    FundingRate: _MessageRows._on_funding,
    InstrumentStatus: _MessageRows._on_status,
    OpenInterest: _MessageRows._on_open_interest,
    FeedGap: _MessageRows._on_gap,
}
