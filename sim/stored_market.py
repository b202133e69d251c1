"""What a market of stores holds: the rows of several files on one timeline, for the instruments that are played.

A file alone is played as it is. Several are merged message by message in the order of their arrival, and placed in
both orders anew (sim/row_order.py). What a book is told between a gap and the next snapshot is left out.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from attrs import define, field

from sim.row_order import RowOrder
from sim.rows import (
    CLEAR,
    COLUMNS,
    DEPTH,
    GAP,
    LAST,
    LOCAL,
    LOTS_MAX,
    SNAPSHOT,
    TICKS_MAX,
    TRADE,
    VENUE,
    Column,
    Rows,
)
from sim.store.errors import StoreError
from sim.store.layout import Trailer
from sim.store.reader import Store
from sim.stored_file import StoredFile, StoreReport, objections
from venues.model.instrument import Instrument

_PLAYED_ROWS = 1 << 15
_BOOK = (DEPTH, SNAPSHOT)
_SIZED = (DEPTH, SNAPSHOT, TRADE)


class StoredMarket:
    """The rows of `files`, numbered as `instruments` (by id) are, from the first row up to `until_ns`.

    `reports` say what the files hold; `start_ns` and `end_ns` span what is played. Raises StoreError for a file that
    cannot be read, does not fit `instruments`, or turns out to be damaged while it is played.
    """

    def __init__(
        self, files: Sequence[StoredFile], instruments: Mapping[str, Instrument], duration_ns: int | None = None
    ) -> None:
        numbers = {name: number for number, name in enumerate(instruments)}
        self._sources: list[_Source] = []
        self.reports: list[StoreReport] = []
        for file in files:
            store = Store.open(file.path)
            for why in objections(file, store, instruments):
                raise StoreError(file.path, why)
            self._sources.append(_Source(store, _numbering(file, store, numbers), len(instruments)))
            self.reports.append(_report(file, store))
        spans = [span for source in self._sources for span in _spans(source.store.trailer)]
        self.start_ns = min(first for first, _ in spans)
        self.end_ns = max(last for _, last in spans)
        if duration_ns is not None:
            self.end_ns = min(self.end_ns, self.start_ns + duration_ns)

    def blocks(self) -> Iterator[Rows]:
        """Yield the rows in order, block by block; memory is bounded by the blocks and the look-ahead of the merge."""
        sources = self._sources
        for whole in sources[0].blocks() if len(sources) == 1 else _merged(sources):
            rows = _until(whole, self.end_ns)
            for at in range(0, len(rows), _PLAYED_ROWS):
                yield rows.slice(at, min(at + _PLAYED_ROWS, len(rows)))
            if len(whole) and int(whole.venue_ns.min()) > self.end_ns:
                return


@define(eq=False)
class _Source:
    """One store being read: `numbering` maps its instruments to those of the market, -1 for those not played."""

    store: Store
    numbering: Column
    instruments: int
    happened: int = field(init=False, default=0)
    arrived: int = field(init=False, default=0)
    _is_unknown: dict[int, Column] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._is_unknown = {clock: np.zeros(self.instruments, np.bool_) for clock in (VENUE, LOCAL)}

    def blocks(self) -> Iterator[Rows]:
        for rows in self.store.blocks():
            self.happened += int(np.count_nonzero(rows.flags & VENUE))
            self.arrived += int(np.count_nonzero(rows.flags & LOCAL))
            yield self._trusted(self._numbered(rows))

    def _numbered(self, rows: Rows) -> Rows:
        numbers = self.numbering[rows.instrument]
        renumbered = _with(rows, instrument=numbers.astype(np.uint16))
        played = renumbered if not (numbers < 0).any() else renumbered.at(numbers >= 0)
        sized = np.isin(played.kind, _SIZED)
        if sized.any():
            ticks, lots = np.abs(played.ticks[sized]), played.lots[sized]
            if int(ticks.max()) > TICKS_MAX or int(lots.max()) > LOTS_MAX:
                raise StoreError(self.store.path, f"holds a price beyond {TICKS_MAX} ticks or {LOTS_MAX} lots")
        return played

    def _trusted(self, rows: Rows) -> Rows:
        """Leave out, on each clock, what changes a book between a gap and the next snapshot."""
        loses = (rows.kind == GAP) | (rows.kind == CLEAR) & (rows.flags & LAST != 0)
        if not loses.any() and not any(unknown.any() for unknown in self._is_unknown.values()):
            return rows
        flags = rows.flags.copy()
        for clock, unknown in self._is_unknown.items():
            for number in range(self.instruments):
                own = np.flatnonzero((rows.instrument == number) & (flags & clock != 0))
                if len(own):
                    is_lost = _lost(loses[own], rows.kind[own] == CLEAR, bool(unknown[number]))
                    unknown[number] = is_lost[-1]
                    flags[own[is_lost & np.isin(rows.kind[own], _BOOK)]] &= ~np.uint8(clock)
        return _with(rows, flags=flags).at(flags & (VENUE | LOCAL) != 0)


def _lost(loses: Column, finds: Column, was_lost: bool) -> Column:
    """Return for each row whether the book is not known there: since the last of what loses or finds it."""
    marks = np.where(loses, 1, np.where(finds, -1, 0))
    last = np.maximum.accumulate(np.where(marks != 0, np.arange(len(marks)), -1))
    found: Column = np.where(last < 0, was_lost, marks[last] == 1)
    return found


def _merged(sources: Sequence[_Source]) -> Iterator[Rows]:
    """Yield the rows of all sources: as far as every one of them is known, in the order of their arrival."""
    order = RowOrder()
    streams = [_messages(source) for source in sources]
    waiting = [next(stream, None) for stream in streams]
    while any(rows is not None for rows in waiting):
        # What arrives before the earliest end of what has been read can have nothing unread before it.
        horizon = min(int(rows.local_ns[-1]) if len(rows) else -1 for rows in waiting if rows is not None)
        parts: list[Rows] = []
        for at, rows in enumerate(waiting):
            if rows is None:
                continue
            split = int(np.searchsorted(rows.local_ns, horizon))
            parts.append(rows.slice(0, split))
            rest = rows.slice(split, len(rows))
            if not len(rest) or int(rest.local_ns[-1]) == horizon:
                following = next(streams[at], None)
                if following is not None:
                    rest = Rows.join([rest, following])
                else:
                    # Nothing more comes: the rest is whole, and waits for its turn only.
                    parts.append(rest)
                    waiting[at] = None
                    continue
            waiting[at] = rest
        yield order.take(_by_arrival(parts))
    yield order.finish()


def _by_arrival(parts: Sequence[Rows]) -> Rows:
    rows = Rows.join(parts)
    return rows.at(np.argsort(rows.local_ns, kind="stable"))


def _messages(source: _Source) -> Iterator[Rows]:
    """Yield a source's messages in the order of their arrival, as RowOrder takes them.

    Raises StoreError for one whose rows do not all reach the desk: they would be lost.
    """
    for rows in source.blocks():
        told = rows.at(rows.flags & LOCAL != 0)
        yield _with(told, flags=told.flags & ~np.uint8(VENUE | LOCAL))
    if source.happened != source.arrived:
        why = f"{source.happened} rows happen, {source.arrived} reach the desk: it can only be played alone"
        raise StoreError(source.store.path, why)


def _until(rows: Rows, end_ns: int) -> Rows:
    """Return the rows without what comes after `end_ns`, on each clock."""
    if not len(rows) or max(int(rows.venue_ns.max()), int(rows.local_ns.max())) <= end_ns:
        return rows
    flags = rows.flags.copy()
    flags[rows.venue_ns > end_ns] &= ~np.uint8(VENUE)
    flags[rows.local_ns > end_ns] &= ~np.uint8(LOCAL)
    return _with(rows, flags=flags).at(flags & (VENUE | LOCAL) != 0)


def _numbering(file: StoredFile, store: Store, numbers: Mapping[str, int]) -> Column:
    played = {one.id for one in file.plays(store)}
    return np.array([numbers[one.id] if one.id in played else -1 for one in store.instruments], np.int64)


def _report(file: StoredFile, store: Store) -> StoreReport:
    trailer = store.trailer
    names = tuple(one.id for one in file.plays(store))
    gaps = tuple(gap for gap in trailer.gaps if gap.instrument in names)
    return StoreReport(str(file.path), names, trailer.rows, gaps, dict(trailer.bad), trailer.late)


def _spans(trailer: Trailer) -> list[tuple[int, int]]:
    return [(span.first_ns, span.last_ns) for span in (trailer.venue, trailer.local)]


def _with(rows: Rows, **columns: Column) -> Rows:
    """Return the rows with some columns replaced."""
    return Rows(**{name: columns.get(name, getattr(rows, name)) for name in COLUMNS})
