"""Which frames a recording file holds, and what in it is none."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from sim.recording.errors import RecordingError
from sim.recording.inflate import Chunk, read_chunks

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
LOCAL_NS_MAX: Final = 2**63 - 1


class Fault(StrEnum):
    """What can be wrong. Only at TIME_BACKWARDS is the line a frame nevertheless.

    BROKEN: compressed data is damaged or ends early; the line cut by it counts as part of this fault.
    """

    EMPTY = "empty"
    BAD_TIMESTAMP = "bad_timestamp"
    NO_FRAME = "no_frame"
    TOO_LONG = "too_long"
    BROKEN = "broken"
    TIME_BACKWARDS = "time_backwards"


@attrs.frozen
class FaultAt:
    """Where a fault was met: `line` counts from 1 in the decompressed text."""

    path: Path
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.why}"


@attrs.define
class RecordingStats:
    """What one pass over a file met: `frames` yielded, `faults` by kind with the `first` example of each."""

    frames: int = 0
    lines: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    faults: dict[Fault, int] = attrs.field(factory=dict)
    first: dict[Fault, FaultAt] = attrs.field(factory=dict)


class RecordingReader:
    """The frames of one file: `(local_ns, raw frame)` for each line `<local ns> <raw frame>`, in the file's order.

    The ending of the name decides: `.gz` gzip, `.zst` zstd, anything else plain. Memory stays bounded whatever the
    size of the file or of a line. Each `iter()` is a pass of its own with fresh `stats`; closing the generator closes
    the file. A damaged line or file costs the damaged part only; it is counted in `stats` and never raised.

    Raises RecordingError, when made or while read, if the file is missing or cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.stats = RecordingStats()
        try:
            self.path.open("rb").close()
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        self.stats = stats = RecordingStats()
        try:
            with self.path.open("rb") as file:
                for line in self._lines(read_chunks(file, self.path)):
                    stamp, _, frame = line.partition(b" ")
                    if frame and stamp.isdigit() and len(stamp) <= 19 and (local_ns := int(stamp)) <= LOCAL_NS_MAX:
                        self._count_time(local_ns)
                        stats.frames += 1
                        yield local_ns, frame
                    elif not line.strip():
                        self._fault(Fault.EMPTY, "an empty line")
                    elif frame or not stamp.isdigit():
                        self._fault(Fault.BAD_TIMESTAMP, f"no timestamp in nanoseconds before {line[:60]!r}")
                    else:
                        self._fault(Fault.NO_FRAME, f"nothing behind the timestamp {line[:60]!r}")
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _lines(self, chunks: Iterator[Chunk]) -> Iterator[bytes]:
        """Yield the lines not longer than LINE_BYTES_MAX, and count what is lost."""
        stats = self.stats
        carry = bytearray()
        is_too_long = False
        for chunk in chunks:
            *complete, rest = chunk.data.split(b"\n")
            for part in complete:
                stats.lines += 1
                if is_too_long or len(carry) + len(part) > LINE_BYTES_MAX:
                    self._fault(Fault.TOO_LONG, f"longer than {LINE_BYTES_MAX} bytes")
                elif carry:
                    yield bytes(carry + part)
                else:
                    yield part
                is_too_long = False
                carry.clear()
            if is_too_long or len(carry) + len(rest) > LINE_BYTES_MAX:
                is_too_long = True
                carry.clear()
            else:
                carry += rest
            if chunk.broken:
                stats.lines += bool(carry) or is_too_long
                self._fault(Fault.BROKEN, chunk.broken)
                is_too_long = False
                carry.clear()
        if is_too_long or carry:
            stats.lines += 1
        if is_too_long:
            self._fault(Fault.TOO_LONG, f"longer than {LINE_BYTES_MAX} bytes")
        elif carry:
            yield bytes(carry)

    def _count_time(self, local_ns: int) -> None:
        stats = self.stats
        if stats.first_ns is None or stats.last_ns is None:
            stats.first_ns = local_ns
        elif local_ns < stats.last_ns:
            self._fault(Fault.TIME_BACKWARDS, f"the clock went back by {stats.last_ns - local_ns} ns")
        stats.last_ns = local_ns

    def _fault(self, fault: Fault, why: str) -> None:
        stats = self.stats
        stats.faults[fault] = stats.faults.get(fault, 0) + 1
        if fault not in stats.first:
            stats.first[fault] = FaultAt(self.path, stats.lines, why)


def _unreadable(path: Path, error: OSError) -> RecordingError:
    return RecordingError(path, f"cannot be read: {error.strerror or error}")
