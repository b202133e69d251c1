"""Decides what a file of bars says: each row a bar or a quote of the port, or the line that is wrong and why.

Formats: `csv` (a header, then `time,open,high,low,close[,volume]`, the time of a bar's start), `lean` (trade and quote
bars by minute, hour and day; QuantConnect/Lean, `Data/future/readme.md`), `ib` (one JSON object a line, as Interactive
Brokers' BarData). Files may be plain, gzip or zip.
"""

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from attrs import define, field, frozen

from sim.parametric_bars import BadBarError, check_bar
from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO, NotANumberError, parse_decimal
from venues.port import Bar, Quote

_T = TypeVar("_T")

Format = Literal["csv", "lean", "ib"]
FORMATS: tuple[Format, ...] = ("csv", "lean", "ib")

_DATE = re.compile(r"(\d{8})_")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER = ("time", "open", "high", "low", "close")
_TRADE_COLUMNS, _QUOTE_COLUMNS = 6, 11
_GAP_BARS = 2
_HISTORY_LEAST = 1_000


class BarFileError(ValueError):
    """A file of bars that cannot be used. `line` is 1 for the first, 0 for the file as a whole."""

    def __init__(self, path: Path | str, line: int, why: str) -> None:
        super().__init__(f"{path}, line {line}: {why}" if line else f"{path}: {why}")
        self.path = str(path)
        self.line = line
        self.why = why


@frozen
class BarSeries:
    """The bars of one instrument in files that follow each other.

    `member` is a part of the name of a zip's file, empty where it holds only one. `zone` is that of times without one.
    """

    instrument: Instrument
    paths: tuple[Path, ...]
    length_ns: int
    format: Format = "csv"
    is_mark: bool = False
    member: str = ""
    zone: str = "UTC"


@define
class SeriesReport:
    """What a series held. `gaps` are the spans (start, end in ns) of more than two bars in which there is none.

    `bad_quotes` lack a side or are crossed; they are passed on, for nobody may trade on what they replaced.
    """

    instrument: str
    rows: int = 0
    bars: int = 0
    quotes: int = 0
    bad_quotes: int = 0
    without_volume: int = 0
    start_ns: int = 0
    end_ns: int = 0
    gaps: list[tuple[int, int]] = field(factory=list)

    def doubts(self) -> list[str]:
        """Return what a person should know before believing a run on it."""
        found = []
        if self.gaps:
            longest = max(end - start for start, end in self.gaps) // 1_000_000_000
            found.append(f"{self.instrument}: {len(self.gaps)} gaps of more than two bars, the longest {longest} s")
        if self.without_volume:
            found.append(f"{self.instrument}: {self.without_volume} bars without volume")
        if self.bad_quotes:
            found.append(f"{self.instrument}: {self.bad_quotes} quotes without a side, or crossed: no price there")
        if self.rows < _HISTORY_LEAST:
            found.append(f"{self.instrument}: only {self.rows} rows, fewer than {_HISTORY_LEAST}")
        return found


def read_series(series: BarSeries, report: SeriesReport | None = None) -> Iterator[Bar | Quote]:
    """Yield bars and quotes in order of time, each with the end of its bar as `ts`; count them in `report`.

    Raises BarFileError naming file and line: for a value that is no number, a bar that cannot be, a price off the tick,
    and times that do not grow.
    """
    told = report if report is not None else SeriesReport(series.instrument.id)
    last = 0
    for path in series.paths:
        for line, start_ns, found in _rows(series, path):
            told.rows += 1
            if last and start_ns < last:
                raise BarFileError(path, line, "begins before the bar above it is over")
            if last and start_ns - last > _GAP_BARS * series.length_ns:
                told.gaps.append((last, start_ns))
            last = start_ns + series.length_ns
            told.start_ns = told.start_ns or start_ns
            told.end_ns = last
            if isinstance(found, Bar):
                told.bars += 1
                told.without_volume += not (found.volume or found.is_mark)
            else:
                told.quotes += 1
                told.bad_quotes += not 0 < found.bid < found.ask
            yield found


_Row = tuple[int, int, Bar | Quote]


def _rows(series: BarSeries, path: Path) -> Iterator[_Row]:
    """Yield line, start and meaning of each row."""
    try:
        name, lines = _open(series, path)
        with lines:
            yield from _READERS[series.format](series, path, name, lines)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise BarFileError(path, 0, f"cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise BarFileError(path, 0, f"is not UTF-8 text: byte {error.start}") from error


def _open(series: BarSeries, path: Path) -> tuple[str, io.TextIOBase]:
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if series.member in name]
        if len(names) != 1:
            held = ", ".join(names or archive.namelist())
            raise BarFileError(path, 0, f"name one of its files with `member`: {held}")
        return names[0], io.TextIOWrapper(archive.open(names[0]), encoding="utf-8", newline="")
    if path.suffix == ".gz":
        return path.name, io.TextIOWrapper(gzip.open(path), encoding="utf-8", newline="")
    return path.name, path.open(encoding="utf-8", newline="")


def _csv(series: BarSeries, path: Path, name: str, lines: io.TextIOBase) -> Iterator[_Row]:
    header = tuple(lines.readline().strip().lower().split(","))
    if header not in (_HEADER, (*_HEADER, "volume")):
        raise BarFileError(path, 1, f"the header must be {','.join(_HEADER)}[,volume]")
    for line, row in _split(path, lines, 2, len(header)):
        start_ns = _instant(series, path, line, row[0])
        yield line, start_ns, _bar(series, path, line, start_ns, row[1:5], row[5] if len(row) > len(_HEADER) else "0")


def _lean(series: BarSeries, path: Path, name: str, lines: io.TextIOBase) -> Iterator[_Row]:
    dated = _DATE.match(name)
    for line, row in _split(path, lines, 1, _TRADE_COLUMNS, _QUOTE_COLUMNS):
        if " " in row[0] or dated is None:
            moment = _parsed(path, line, row[0], lambda text: datetime.strptime(text, "%Y%m%d %H:%M"))
        else:
            day = datetime.strptime(dated[1], "%Y%m%d")
            moment = day + timedelta(milliseconds=_parsed(path, line, row[0], int))
        start_ns = _utc_ns(series, moment)
        if len(row) == _TRADE_COLUMNS:
            yield line, start_ns, _bar(series, path, line, start_ns, row[1:5], row[5])
        else:
            yield line, start_ns, _quote(series, path, line, start_ns, row)


def _ib(series: BarSeries, path: Path, name: str, lines: io.TextIOBase) -> Iterator[_Row]:
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text, parse_float=str, parse_int=str)
            cells = [str(row[key]) for key in ("open", "high", "low", "close", "volume")]
            date = str(row["date"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BarFileError(path, line, f"is no bar: {error}") from None
        start_ns = _instant(series, path, line, date)
        yield line, start_ns, _bar(series, path, line, start_ns, cells[:4], cells[4])


_READERS: dict[str, Callable[[BarSeries, Path, str, io.TextIOBase], Iterator[_Row]]] = {
    "csv": _csv,
    "lean": _lean,
    "ib": _ib,
}


def _split(path: Path, lines: io.TextIOBase, first: int, *columns: int) -> Iterator[tuple[int, list[str]]]:
    for line, text in enumerate(lines, first):
        stripped = text.strip()
        if not stripped:
            continue
        row = stripped.split(",")
        if len(row) not in columns:
            wanted = " or ".join(str(count) for count in columns)
            raise BarFileError(path, line, f"has {len(row)} values, not {wanted}")
        yield line, row


def _bar(series: BarSeries, path: Path, line: int, start_ns: int, prices: Sequence[str], volume: str) -> Bar:
    opened, high, low, closed = (_number(path, line, text) for text in prices)
    size = ZERO if series.is_mark else _number(path, line, volume)
    end_ns = start_ns + series.length_ns
    bar = Bar(end_ns, series.instrument.id, start_ns, opened, high, low, closed, size, series.is_mark)
    try:
        check_bar(series.instrument, bar)
    except BadBarError as error:
        raise BarFileError(path, line, str(error)) from None
    return bar


def _quote(series: BarSeries, path: Path, line: int, start_ns: int, row: Sequence[str]) -> Quote:
    """Return the quote at the end of a LEAN quote bar: closes and last sizes, 0 for a side that is empty."""
    bid, bid_size, ask, ask_size = (text or "0" for text in (row[4], row[5], row[9], row[10]))
    spec = series.instrument
    try:
        ticks = [spec.ticks(_number(path, line, text)) for text in (bid, ask)]
        lots = [int(_number(path, line, text) / spec.lot_size) for text in (bid_size, ask_size)]
    except OffGridError as error:
        raise BarFileError(path, line, str(error)) from None
    if min(*ticks, *lots) < 0:
        raise BarFileError(path, line, "a price or a size is negative")
    return Quote(start_ns + series.length_ns, spec.id, line, ticks[0], lots[0], ticks[1], lots[1])


def _number(path: Path, line: int, text: str) -> Decimal:
    try:
        return parse_decimal(text.strip(), "")
    except NotANumberError as error:
        raise BarFileError(path, line, str(error).removeprefix(": ")) from None


def _parsed(path: Path, line: int, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except ValueError:
        raise BarFileError(path, line, f"{text!r} is not a time") from None


def _instant(series: BarSeries, path: Path, line: int, text: str) -> int:
    """Return the UTC ns of an ISO 8601 moment, or of whole milliseconds since 1970."""
    if text.isascii() and text.isdigit():
        return int(text) * 1_000_000
    return _utc_ns(series, _parsed(path, line, text, datetime.fromisoformat))


def _utc_ns(series: BarSeries, moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(series.zone))
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1_000
