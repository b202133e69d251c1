"""Decides what a file of funding rates says: when a rate was settled, and which rate, or the line that is wrong.

A row is `time,rate`: under the header `time,rate` with ISO 8601 moments in UTC or whole milliseconds since 1970, or
without one as LEAN writes it (`YYYYMMDD HH:MM:SS`, UTC). A rate is a share of the value, for the interval that ends
then.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen

from sim.bars import BarFileError
from venues.model.money import NotANumberError, parse_decimal
from venues.port import FundingRate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAN = "%Y%m%d %H:%M:%S"


@frozen
class FundingSeries:
    """The settled rates of one instrument."""

    instrument: str
    path: Path


def read_funding(series: FundingSeries) -> Iterator[FundingRate]:
    """Yield the rates in order of time. Raises BarFileError naming file and line."""
    path, last = series.path, 0
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BarFileError(path, 0, f"cannot be read: {error}") from error
    for line, text in enumerate(lines, 1):
        if not text.strip() or (line == 1 and text.strip().lower() == "time,rate"):
            continue
        row = text.split(",")
        if len(row) != 2:
            raise BarFileError(path, line, f"has {len(row)} values, not 2")
        ts = _instant(path, line, row[0].strip())
        if ts <= last:
            raise BarFileError(path, line, "is not after the rate above it")
        last = ts
        try:
            rate = parse_decimal(row[1].strip(), "")
        except NotANumberError as error:
            raise BarFileError(path, line, str(error).removeprefix(": ")) from None
        yield FundingRate(ts, series.instrument, rate)


def _instant(path: Path, line: int, text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text) * 1_000_000
    try:
        is_lean = text[:8].isdigit()
        moment = datetime.strptime(text, _LEAN).replace(tzinfo=UTC) if is_lean else datetime.fromisoformat(text)
    except ValueError:
        raise BarFileError(path, line, f"{text!r} is not a time") from None
    if moment.utcoffset() != timedelta(0):
        raise BarFileError(path, line, f"{text!r} is not in UTC: end it with Z")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


__all__ = ["FundingSeries", "read_funding"]
