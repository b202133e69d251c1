"""What Bybit's daily order book files say, as messages.

Source: Bybit v5 "Orderbook" stream and the files of its history download: a zip with one file of lines, each a frame of
`orderbook.<depth>.<symbol>`. `cts` is when the matching engine made the change, `ts` when the frame was sent (older
files have only that). They do not tell when anybody received them: frames arrive a constant latency after `ts`.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from sim.clocks import Arrival
from sim.recording.errors import RecordingError
from sim.row_builder import BuildReport
from venues.binance.errors import CodecError
from venues.binance.grid import Grid
from venues.model.book import Level
from venues.model.instrument import Instrument
from venues.port import BookDelta, BookSnapshot, FeedGap

_LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_NS_PER_MS: Final = 1_000_000


class _Book(msgspec.Struct):
    s: str
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class _Frame(msgspec.Struct):
    type: Literal["snapshot", "delta"]
    ts: int
    data: _Book
    cts: int | None = None


_frame = msgspec.json.Decoder(_Frame).decode


def bybit_arrivals(
    path: Path, spec: Instrument, latency_ns: int, report: BuildReport, progress: Callable[[float], None]
) -> Iterator[Arrival]:
    """Yield the book messages of a file; a frame that cannot be used is counted and leaves a gap.

    Raises RecordingError for a file that cannot be read or is damaged.
    """
    ticks = Grid(spec.tick_size, "price", is_price=True)
    lots = Grid(spec.lot_size, "quantity", is_price=False)

    def levels(rows: list[tuple[str, str]]) -> list[Level]:
        return [(ticks[price], lots[qty]) for price, qty in rows]

    arrived_ns = 0
    is_begun = False
    for line, share in _lines(path):
        progress(share)
        try:
            frame = _frame(line)
            if frame.data.s != spec.symbol:
                report.passed_over["other instrument"] = report.passed_over.get("other instrument", 0) + 1
                continue
            book = frame.data
            bids, asks = levels(book.b), levels(book.a)
        except (msgspec.MsgspecError, UnicodeDecodeError, CodecError) as error:
            reason = error.reason.value if isinstance(error, CodecError) else "bad_frame"
            report.bad[reason] = report.bad.get(reason, 0) + 1
            yield Arrival(arrived_ns, arrived_ns, FeedGap(arrived_ns, spec.id, "bad frame"))
            continue
        arrived_ns = max(arrived_ns, frame.ts * _NS_PER_MS + latency_ns)
        happened_ns = min((frame.cts or frame.ts) * _NS_PER_MS, arrived_ns)
        if frame.type == "delta":
            message = BookDelta(happened_ns, spec.id, book.u, book.u, book.u - 1, bids, asks)
            yield Arrival(happened_ns, arrived_ns, message)
            continue
        if is_begun:
            # Numbers begin again with a snapshot in the middle: the venue restarted, or the connection.
            yield Arrival(happened_ns, arrived_ns, FeedGap(happened_ns, spec.id, "a snapshot in the middle"))
        is_begun = True
        yield Arrival(happened_ns, arrived_ns, BookSnapshot(happened_ns, spec.id, book.u, bids, asks))


def _lines(path: Path) -> Iterator[tuple[bytes, float]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.infolist()
            if len(names) != 1:
                raise RecordingError(path, f"holds {len(names)} files, not one")
            with archive.open(names[0]) as file:
                done = 0
                while line := file.readline(_LINE_BYTES_MAX):
                    done += len(line)
                    if line.strip():
                        yield line, done / names[0].file_size
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise RecordingError(path, f"is damaged or no zip file: {error}") from error
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror or error}") from error
