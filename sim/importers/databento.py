"""What Databento's records say as rows: order by order (MBO), the best level (MBP-1), trades.

Source: Databento's schema reference and its databento_dbn library. Prices are in units of 1e-9. `ts_event` is the
venue's clock, `ts_recv` the desk's. An event of the venue is a message and ends at F_LAST.

MBO: T is the print of an aggressor and F the fill of one resting order; neither changes the book, the C or M behind
them does. A row EXECUTE does both, so the part of a C or M that repeats the fills of its event leaves no row. A C takes
its size off the order; what is left is a MODIFY, nothing is a DELETE. A snapshot's orders tell when they were placed:
their rows happen when the snapshot was taken. An M of an unknown order adds it, as the reference has it.

MBP-1 tells of one level a side and nothing behind it: QUOTE rows, a side without orders has 0 lots. Trades without an
aggressor (auctions, implied ones) have no place in TRADE and are counted.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs
import databento_dbn as dbn
import numpy as np
import zstandard

from sim.recording.errors import RecordingError
from sim.row_builder import BuildReport
from sim.row_order import RowOrder
from sim.rows import ADD, BUY, CLEAR, DELETE, EXECUTE, GAP, LAST, MODIFY, QUOTE, TRADE, Rows
from sim.store.layout import GapSpan
from venues.model.instrument import Instrument, InstrumentKind

PRICE_STEP: Final = Decimal("1E-9")

_CHUNK_BYTES: Final = 1 << 18
_BLOCK_ROWS: Final = 1 << 16
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SNAPSHOT, _LAST, _MAYBE_BAD_BOOK = dbn.F_SNAPSHOT, dbn.F_LAST, dbn.F_MAYBE_BAD_BOOK
_UNDEFINED: Final = dbn.UNDEF_PRICE
_NO_TIME: Final = dbn.UNDEF_TIMESTAMP
_RECORDS: Final = {"mbo": dbn.MBOMsg, "mbp-1": dbn.MBP1Msg, "trades": dbn.TradeMsg}

_Row = tuple[int, int, int, int, int]
"""kind, flags, ticks, lots, order id"""


def records(path: Path, progress: Callable[[float], None]) -> Iterator[Any]:
    """Yield a file's metadata, then its records, plain or zstd. Raises RecordingError."""
    decoder = dbn.DBNDecoder()
    try:
        for data in _bytes(path, progress):
            yield from decoder.write_and_decode(data)
    except dbn.DBNError as error:
        raise RecordingError(path, f"is damaged or no DBN file: {error}") from error
    if decoder.buffer():
        raise RecordingError(path, f"ends inside a record, {len(decoder.buffer())} bytes of it are there")


def schema_of(path: Path) -> tuple[str, dict[int, str]]:
    """Return a file's schema, and its symbols by instrument id. Raises RecordingError for other schemas than ours."""
    for first in records(path, lambda _: None):
        if not isinstance(first, dbn.Metadata):
            break
        schema = str(first.schema)
        if schema not in _RECORDS:
            raise RecordingError(path, f"holds {schema}; {', '.join(_RECORDS)} can be read")
        symbols = {
            int(interval["symbol"]): symbol
            for symbol, intervals in first.mappings.items()
            for interval in intervals
            if str(interval["symbol"]).isdigit()
        }
        return schema, symbols
    raise RecordingError(path, "holds no metadata")


def definition(path: Path, instrument_id: int | None, symbol: str | None, venue: str) -> tuple[Instrument, int]:
    """Return an instrument of a definition file and its id, chosen by id or symbol, or the only one there is.

    Raises RecordingError when it is not there, is no future, or lacks tick or contract size.
    """
    found = {one.instrument_id: one for one in records(path, lambda _: None) if isinstance(one, dbn.InstrumentDefMsg)}
    chosen = [
        one for number, one in found.items() if instrument_id in {None, number} and symbol in {None, one.raw_symbol}
    ]
    if len(chosen) != 1:
        there = ", ".join(f"{one.raw_symbol} ({number})" for number, one in found.items()) or "nothing"
        raise RecordingError(path, f"defines {there}: choose one with --instrument-id")
    (one,) = chosen
    if str(one.instrument_class) != "F":
        raise RecordingError(path, f"{one.raw_symbol} is of class {one.instrument_class}, not an outright future")
    if _UNDEFINED in {one.min_price_increment, one.unit_of_measure_qty}:
        raise RecordingError(path, f"{one.raw_symbol}: no tick or no contract size")
    spec = Instrument(
        venue,
        one.raw_symbol,
        InstrumentKind.FUTURE,
        one.asset,
        one.currency,
        (one.min_price_increment * PRICE_STEP).normalize(),
        Decimal(1),
        multiplier=Decimal(int(one.unit_of_measure_qty * PRICE_STEP)),
        expiry_ns=None if one.expiration == _NO_TIME else one.expiration,
    )
    return spec, one.instrument_id


def databento_rows(
    path: Path, spec: Instrument, instrument_id: int, report: BuildReport, progress: Callable[[float], None]
) -> Iterator[Rows]:
    """Yield the rows of one instrument's records, in bounded memory. Raises RecordingError."""
    order = RowOrder(report.clocks)
    reader = _Reader(path, spec, report)
    for record in records(path, progress):
        if isinstance(record, dbn.Metadata):
            continue
        if record.instrument_id != instrument_id:
            _count(report.passed_over, "other instrument")
            continue
        reader.take(record)
        if len(reader.rows) >= _BLOCK_ROWS:
            yield order.take(reader.block())
    reader.finish()
    yield order.take(reader.block())
    yield order.finish()


@attrs.define
class _Order:
    ticks: int
    is_buy: bool
    lots: int
    executed: int = 0
    """Filled in this event, and not yet repeated by a C or M."""


class _Reader:
    def __init__(self, path: Path, spec: Instrument, report: BuildReport) -> None:
        step = spec.tick_size / PRICE_STEP
        if step != int(step) or spec.lot_size != 1:
            raise RecordingError(path, f"a tick of {spec.tick_size} and a lot of {spec.lot_size} are not the file's")
        self._step = int(step)
        self._spec = spec
        self._report = report
        self._orders: dict[int, _Order] = {}
        self._touched: list[_Order] = []
        self._event: list[_Row] = []
        self._quote: list[_Row] = []
        self._is_snapshot = False
        self._last_ns = self._venue_ns = 0
        self._gap_from: int | None = None
        self.rows: list[tuple[int, int, int, int, int, int, int]] = []

    def take(self, record: Any) -> None:
        on_record = _ON.get(type(record))
        if on_record is None:
            _count(self._report.passed_over, type(record).__name__)
            return
        if _NO_TIME in {record.ts_event, record.ts_recv}:
            _count(self._report.bad, "no_time")
            return
        on_record(self, record)
        if record.flags & _LAST or not isinstance(record, dbn.MBOMsg | dbn.MBP1Msg):
            self._end_event(record)

    def finish(self) -> None:
        """Say that there are no more records: an event that never ended is dropped, and counted."""
        if self._event:
            _count(self._report.bad, "unfinished_event")
        if self._gap_from is not None:
            self._report.gaps.append(GapSpan(self._gap_from, self._venue_ns, self._spec.id))

    def block(self) -> Rows:
        """Return the rows collected, and start again."""
        rows = Rows.empty(len(self.rows))
        if self.rows:
            for name, column in zip(
                ("kind", "flags", "venue_ns", "local_ns", "ticks", "lots", "order_id"),
                zip(*self.rows, strict=True),
                strict=True,
            ):
                getattr(rows, name)[:] = np.array(column, getattr(rows, name).dtype)
            self.rows = []
        return rows

    def _end_event(self, record: Any) -> None:
        """Give the event's rows its times; a frame overtaken by another does not arrive before it."""
        self._last_ns = local_ns = max(record.ts_recv, self._last_ns)
        venue_ns = local_ns if record.flags & _SNAPSHOT else min(record.ts_event, local_ns)
        self._venue_ns = max(self._venue_ns, venue_ns)
        if record.flags & _MAYBE_BAD_BOOK:
            self._event.append((GAP, 0, 0, 0, 0))
            self._gap_from = venue_ns if self._gap_from is None else self._gap_from
        elif self._gap_from is not None and self._event and self._event[0][0] == CLEAR:
            self._report.gaps.append(GapSpan(self._gap_from, venue_ns, self._spec.id))
            self._gap_from = None
        last = len(self._event) - 1
        for at, (kind, flags, ticks, lots, order_id) in enumerate(self._event):
            # A print is a message of its own, and so is a gap.
            is_last = at == last or kind in _ALONE or self._event[at + 1][0] in _ALONE
            self.rows.append((kind, flags | LAST if is_last else flags, venue_ns, local_ns, ticks, lots, order_id))
        self._report.messages += 1
        self._event = []
        self._is_snapshot = False
        for order in self._touched:
            order.executed = 0
        self._touched.clear()

    def _price(self, price: int) -> int | None:
        """Return the price in ticks; None, counted, when there is none or it is not on the grid."""
        if price == _UNDEFINED:
            _count(self._report.bad, "no_price")
            return None
        ticks, rest = divmod(price, self._step)
        if rest:
            _count(self._report.bad, "off_tick")
            return None
        return ticks

    def _on_trade(self, record: Any) -> None:
        side = str(record.side)
        if side == "N":
            _count(self._report.bad, "no_side")
        elif (ticks := self._price(record.price)) is not None:
            self._event.append((TRADE, BUY if side == "B" else 0, ticks, record.size, 0))

    def _on_mbp(self, record: Any) -> None:
        if str(record.action) == "T":
            # Its levels are those from before the trade.
            self._on_trade(record)
            return
        (level,) = record.levels
        quote = [
            self._side(BUY, level.bid_px, level.bid_sz),
            self._side(0, level.ask_px, level.ask_sz),
        ]
        told = [side for side in quote if side is not None]
        if len(told) == 2 and told != self._quote:
            self._quote = told
            self._event += told

    def _side(self, flags: int, price: int, size: int) -> _Row | None:
        if price == _UNDEFINED:
            return (QUOTE, flags, 0, 0, 0)
        ticks = self._price(price)
        return None if ticks is None else (QUOTE, flags, ticks, size, 0)

    def _on_mbo(self, record: Any) -> None:
        action = str(record.action)
        if record.flags & _SNAPSHOT and not self._is_snapshot:
            # A snapshot without its R begins a book as well.
            self._is_snapshot = True
            if action != "R":
                self._clear()
        if action == "R":
            self._clear()
        elif action == "T":
            self._on_trade(record)
        elif action in _ON_ORDER:
            _ON_ORDER[action](self, record)
        elif action != "N":
            _count(self._report.bad, "unknown_action")

    def _clear(self) -> None:
        self._orders.clear()
        self._event = [row for row in self._event if row[0] == TRADE]
        self._event.append((CLEAR, 0, 0, 0, 0))

    def _add(self, record: Any) -> None:
        side, ticks = str(record.side), self._price(record.price)
        if ticks is None:
            return
        if side == "N" or record.size == 0 or record.order_id in self._orders:
            _count(self._report.bad, "duplicate_order" if record.order_id in self._orders else "order_without_size")
            return
        self._orders[record.order_id] = _Order(ticks, side == "B", record.size)
        self._event.append((ADD, BUY if side == "B" else 0, ticks, record.size, record.order_id))

    def _find(self, record: Any) -> _Order | None:
        order = self._orders.get(record.order_id)
        if order is None:
            _count(self._report.bad, "unknown_order")
        return order

    def _fill(self, record: Any) -> None:
        order = self._find(record)
        if order is None:
            return
        lots = min(record.size, order.lots)
        if lots < record.size:
            _count(self._report.bad, "overfilled_order")
        if lots:
            order.executed += lots
            self._touched.append(order)
            self._tell(EXECUTE, record.order_id, order, lots)
            order.lots -= lots

    def _cancel(self, record: Any) -> None:
        order = self._find(record)
        if order is None:
            return
        repeated = min(record.size, order.executed)
        order.executed -= repeated
        was, order.lots = order.lots, max(0, order.lots - (record.size - repeated))
        if order.lots == 0:
            del self._orders[record.order_id]
            if was:
                self._tell(DELETE, record.order_id, order, 0)
        elif order.lots < was:
            self._tell(MODIFY, record.order_id, order, order.lots)

    def _modify(self, record: Any) -> None:
        order = self._orders.get(record.order_id)
        if order is None:
            self._add(record)
            return
        ticks = self._price(record.price)
        if ticks is None:
            return
        is_same = (ticks, record.size) == (order.ticks, order.lots)
        order.ticks, order.lots, order.executed = ticks, record.size, 0
        if record.size == 0:
            del self._orders[record.order_id]
            self._tell(DELETE, record.order_id, order, 0)
        elif not is_same:
            self._tell(MODIFY, record.order_id, order, record.size)

    def _tell(self, kind: int, order_id: int, order: _Order, lots: int) -> None:
        self._event.append((kind, BUY if order.is_buy else 0, order.ticks, lots, order_id))


_ALONE: Final = frozenset({TRADE, GAP})
_ON: Final[dict[type, Callable[[_Reader, Any], None]]] = {
    dbn.MBOMsg: _Reader._on_mbo,
    dbn.MBP1Msg: _Reader._on_mbp,
    dbn.TradeMsg: _Reader._on_trade,
}
_ON_ORDER: Final[dict[str, Callable[[_Reader, Any], None]]] = {
    "A": _Reader._add,
    "C": _Reader._cancel,
    "M": _Reader._modify,
    "F": _Reader._fill,
}


def _bytes(path: Path, progress: Callable[[float], None]) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            size = max(1, path.stat().st_size)
            data = file.read(_CHUNK_BYTES)
            inflater = zstandard.ZstdDecompressor().decompressobj() if data.startswith(_ZSTD) else None
            while data:
                progress(file.tell() / size)
                if inflater is None:
                    yield data
                while inflater is not None and data:
                    yield inflater.decompress(data)
                    data = inflater.unused_data
                    if inflater.eof:
                        inflater = zstandard.ZstdDecompressor().decompressobj()
                        is_inside = False
                    else:
                        is_inside = True
                data = file.read(_CHUNK_BYTES)
            if inflater is not None and is_inside:
                raise RecordingError(path, "its compressed data ends early")
    except zstandard.ZstdError as error:
        raise RecordingError(path, f"its compressed data is damaged: {error}") from error
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror or error}") from error


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
