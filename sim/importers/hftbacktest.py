"""What the event files of hftbacktest say as rows.

Source: hftbacktest 2.4.4, data.rst and types.rs. A file is an npz with one array `data` (or an npy) of 64-byte events:
`ev` holds the kind in its low byte and the flags EXCH 1<<31, LOCAL 1<<30, BUY 1<<29, SELL 1<<28; times in ns, price and
quantity as floats. Files are split already where the two orders disagree; one that is out of order is refused.

Differences: a DEPTH_CLEAR ends at a price and on one side; here a book is cleared as a whole, and a clear of one side
only is a gap. Depth rows of the same two times are one message, for the file does not tell messages apart. A price
within a millionth of a tick of the grid is on it, a quantity likewise.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from sim.recording.errors import RecordingError
from sim.row_builder import BuildReport
from sim.rows import (
    ADD,
    BUY,
    CLEAR,
    DELETE,
    DEPTH,
    EXECUTE,
    GAP,
    LAST,
    LOCAL,
    MODIFY,
    QUOTE,
    SNAPSHOT,
    TRADE,
    VENUE,
    Column,
    Rows,
)
from sim.store.layout import GapSpan
from venues.model.instrument import Instrument

EVENT: Final = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)

_BLOCK_EVENTS: Final = 1 << 16
_BUY_BIT, _SELL_BIT, _LOCAL_BIT, _EXCH_BIT = 28 + 1, 28, 30, 31
_GRID_SHARE: Final = 1e-6
_EXACT_MAX: Final = 2.0**53

_KINDS: Final = np.zeros(256, np.uint8)
_KINDS[[1, 2, 3, 4, 5, 10, 11, 12, 13]] = [DEPTH, TRADE, CLEAR, SNAPSHOT, QUOTE, ADD, DELETE, MODIFY, EXECUTE]
_BOOK_KINDS: Final = (DEPTH, CLEAR, SNAPSHOT)
_ORDER_KINDS: Final = (ADD, MODIFY, DELETE, EXECUTE)


def hftbacktest_rows(
    path: Path, spec: Instrument, report: BuildReport, progress: Callable[[float], None]
) -> Iterator[Rows]:
    """Yield the rows of a file of one instrument, in bounded memory; what cannot be used is counted in `report`.

    Raises RecordingError for a file that cannot be read, is damaged, or is no event file.
    """
    left = np.zeros(0, EVENT)
    reader = _Reader(spec, report)
    for events, share in _events(path):
        progress(share)
        together = np.concatenate([left, events])
        groups = _group_starts(together)
        # The last message may go on in the next block.
        cut = int(groups[-1]) if len(groups) else 0
        left = together[cut:]
        yield reader.rows(together[:cut])
    yield reader.rows(left)
    reader.close_gap()


def has_orders(path: Path) -> bool:
    """Whether the beginning of a file holds orders. Raises RecordingError."""
    for events, _ in _events(path):
        return bool(np.isin(_KINDS[(events["ev"] & np.uint64(255)).astype(np.intp)], _ORDER_KINDS).any())
    return False


def _events(path: Path) -> Iterator[tuple[Any, float]]:
    """Yield blocks of events and the share of the file read."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as file:
                yield from _blocks(path, file)
        else:
            with path.open("rb") as file:
                yield from _blocks(path, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise RecordingError(path, f"is damaged or no event file: {error}") from error
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror or error}") from error


def _member(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    if "data.npy" in names:
        return "data.npy"
    raise ValueError(f"no array `data` among {', '.join(names[:5]) or 'nothing'}")


def _blocks(path: Path, file: IO[bytes]) -> Iterator[tuple[Any, float]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    if kind.names != EVENT.names or kind.itemsize != EVENT.itemsize or len(shape) != 1:
        raise ValueError(f"an array of {kind.names or kind} in {len(shape)} dimensions, not of events")
    done = 0
    while done < shape[0]:
        count = min(_BLOCK_EVENTS, shape[0] - done)
        data = file.read(count * EVENT.itemsize)
        if len(data) < count * EVENT.itemsize:
            raise EOFError(f"ends after {done + len(data) // EVENT.itemsize} of {shape[0]} events")
        done += count
        yield np.frombuffer(data, kind).astype(EVENT), done / shape[0]
    if file.read(1):
        raise ValueError("goes on behind its last event")


def _group_starts(events: Any) -> Column:
    """Return where messages begin: depth events of the same times on the same clocks, any other event alone."""
    if not len(events):
        return np.zeros(0, np.intp)
    kind = _KINDS[(events["ev"] & np.uint64(255)).astype(np.intp)]
    is_book, is_quote = np.isin(kind, _BOOK_KINDS), kind == QUOTE
    clocks = events["ev"] >> np.uint64(_LOCAL_BIT)
    same = (clocks[1:] == clocks[:-1]) & (events["exch_ts"][1:] == events["exch_ts"][:-1])
    same &= events["local_ts"][1:] == events["local_ts"][:-1]
    same &= (is_book[1:] & is_book[:-1]) | (is_quote[1:] & is_quote[:-1])
    return np.flatnonzero(np.concatenate(([True], ~same)))


class _Reader:
    def __init__(self, spec: Instrument, report: BuildReport) -> None:
        self._spec = spec
        self._tick, self._lot = float(spec.tick_size), float(spec.lot_size)
        self._report = report
        self._gap_from: int | None = None
        self._venue_ns = 0

    def rows(self, events: Any) -> Rows:
        """Return the rows of whole messages."""
        count = len(events)
        if not count:
            return Rows.empty(0)
        ev = events["ev"]
        kind = _KINDS[(ev & np.uint64(255)).astype(np.intp)].copy()
        has = {bit: (ev >> np.uint64(bit)) & np.uint64(1) == 1 for bit in (_BUY_BIT, _SELL_BIT, _LOCAL_BIT, _EXCH_BIT)}
        starts = _group_starts(events)
        group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, count)))
        is_kept = self._known(kind)
        is_kept &= self._cleared(kind, has[_BUY_BIT], has[_SELL_BIT], starts, group)
        priced = ~np.isin(kind, (CLEAR, GAP))
        sized = priced & (kind != DELETE)
        ticks, on_tick = _on_grid(events["px"], self._tick)
        lots, on_lot = _on_grid(events["qty"], self._lot)
        for is_bad, reason in (
            (~has[_LOCAL_BIT] & ~has[_EXCH_BIT], "no_clock"),
            (events["exch_ts"] > events["local_ts"], "negative_latency"),
            ((events["exch_ts"] < 0), "negative_time"),
            (priced & (has[_BUY_BIT] == has[_SELL_BIT]), "no_side"),
            (priced & ~np.isfinite(events["px"]), "price_not_finite"),
            (sized & ~np.isfinite(events["qty"]), "quantity_not_finite"),
            (priced & ~on_tick, "off_tick"),
            (sized & ~on_lot, "off_lot"),
            (sized & (lots < 0), "negative_quantity"),
            (sized & (kind != DEPTH) & (lots == 0), "no_quantity"),
        ):
            fresh = is_bad & is_kept
            found = int(np.count_nonzero(fresh))
            if found:
                self._report.bad[reason] = self._report.bad.get(reason, 0) + found
                is_kept &= ~fresh
        rows = Rows.empty(int(np.count_nonzero(is_kept)))
        rows.kind[:] = kind[is_kept]
        flags = np.where(has[_EXCH_BIT], VENUE, 0) | np.where(has[_LOCAL_BIT], LOCAL, 0)
        rows.flags[:] = (flags | np.where(priced & has[_BUY_BIT], BUY, 0))[is_kept]
        rows.venue_ns[:], rows.local_ns[:] = events["exch_ts"][is_kept], events["local_ts"][is_kept]
        rows.ticks[:] = np.where(priced, ticks, 0)[is_kept]
        rows.lots[:] = np.where(sized, lots, 0)[is_kept]
        rows.order_id[:] = np.where(np.isin(kind, _ORDER_KINDS), events["order_id"], 0)[is_kept]
        kept = group[is_kept]
        if len(kept):
            rows.flags[np.append(kept[1:] != kept[:-1], True)] |= LAST
            self._report.messages += int(np.count_nonzero(rows.flags & LAST))
            self._note_gaps(rows)
        return rows

    def close_gap(self) -> None:
        """End what is unknown with the data."""
        if self._gap_from is not None:
            self._report.gaps.append(GapSpan(self._gap_from, max(self._gap_from, self._venue_ns), self._spec.id))
            self._gap_from = None

    def _known(self, kind: Column) -> Any:
        """Events of other kinds carry nothing for us (0) or belong to their users (100 and on)."""
        unknown = int(np.count_nonzero(kind == 0))
        if unknown:
            self._report.passed_over["other kind"] = self._report.passed_over.get("other kind", 0) + unknown
        return kind != 0

    def _cleared(self, kind: Column, buys: Column, sells: Column, starts: Column, group: Column) -> Column:
        """Make one CLEAR of those of a message that empty both sides, a GAP of those that do not."""
        clears = np.flatnonzero(kind == CLEAR)
        is_kept = np.ones(len(kind), np.bool_)
        if not len(clears):
            return is_kept
        is_clear = kind == CLEAR
        neither = buys == sells
        for sides in (buys, sells):
            empties = np.logical_or.reduceat(is_clear & (sides | neither), starts)[group]
            kind[is_clear & ~empties] = GAP
        first = clears[np.append(True, group[clears[1:]] != group[clears[:-1]])]
        is_kept[clears] = False
        is_kept[first] = True
        found = int(np.count_nonzero(kind[first] == GAP))
        if found:
            self._report.bad["one_sided_clear"] = self._report.bad.get("one_sided_clear", 0) + found
        return is_kept

    def _note_gaps(self, rows: Rows) -> None:
        at_venue = rows.flags & VENUE != 0
        for row in np.flatnonzero(at_venue & ((rows.kind == GAP) | (rows.kind == CLEAR))):
            ns = int(rows.venue_ns[row])
            if rows.kind[row] == GAP:
                self._gap_from = ns if self._gap_from is None else self._gap_from
            elif self._gap_from is not None:
                self._report.gaps.append(GapSpan(self._gap_from, ns, self._spec.id))
                self._gap_from = None
        self._venue_ns = max(self._venue_ns, int(rows.venue_ns.max()))


def _on_grid(values: Column, step: float) -> tuple[Column, Column]:
    """Return the values in steps, and whether each is a whole number of them that a float holds exactly."""
    with np.errstate(invalid="ignore", over="ignore"):
        steps = values / step
        whole = np.rint(steps)
        fits = (np.abs(steps - whole) <= _GRID_SHARE) & (np.abs(whole) < _EXACT_MAX)
    return np.where(fits, whole, 0).astype(np.int64), fits
