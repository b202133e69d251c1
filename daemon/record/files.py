"""How recorded frames lie on the disk: a file per instrument and span of time, each with its checksum once it is whole.

    OUT/SHA256SUMS                                      as `sha256sum --check` reads it
    OUT/recordings.toml                                 a row for each file, for a configuration to include
    OUT/binance_usdm-BTCUSDT-20261126T100000.000000Z.zst
    OUT/open/...                                        what is still being written

A file in `open/` was cut short when nobody writes there any more; what it holds up to then is as good as in any other.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import define, field, frozen

from daemon.log.disk import file_sha256, sync_folder
from sim.recording.writer import RecordingWriter

GAP = "recordingGap"
"""The event type of the frames that we write ourselves: here frames are missing, and why."""

SUMS = "SHA256SUMS"
INDEX = "recordings.toml"
_OPEN = "open"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_MS = 1_000_000


@frozen
class Rotation:
    """When a file is ended and the next one begun: after so long, or so many bytes of frames."""

    every_ns: int
    bytes_max: int


@define
class FileCounters:
    """`bytes` are those of the frames, before compression; `files` those that are whole."""

    frames: int = 0
    bytes: int = 0
    gaps: int = 0
    files: int = 0


@define
class InstrumentFiles:
    """The files of one instrument, one after the other. `on_rotated` is called when a new one has begun.

    Raises RecordingError when the disk does not take it.
    """

    archive: "Archive"
    venue: str
    symbol: str
    on_rotated: Callable[[], None] = lambda: None
    counters: FileCounters = field(factory=FileCounters)
    _writer: RecordingWriter | None = None
    _begun_ns: int = 0
    _written: int = 0

    def write(self, local_ns: int, frame: bytes) -> None:
        """Write a frame as it came at `local_ns`."""
        writer = self._current(local_ns)
        writer.write(local_ns, frame)
        self._written += len(frame)
        self.counters.frames += 1
        self.counters.bytes += len(frame)

    def gap(self, local_ns: int, why: str) -> None:
        """Mark that frames before this point are missing."""
        frame = {"e": GAP, "E": local_ns // _NS_PER_MS, "s": self.symbol, "why": why}
        self._current(local_ns).write(local_ns, json.dumps(frame, separators=(",", ":")).encode())
        self.counters.gaps += 1

    def flush(self) -> None:
        """Let what was written survive a crash."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """End the file that is being written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            self.archive.finish(writer.path, self.venue, self.symbol)
            self.counters.files += 1

    def _current(self, local_ns: int) -> RecordingWriter:
        rotation = self.archive.rotation
        if self._writer is not None and (
            local_ns - self._begun_ns >= rotation.every_ns or self._written >= rotation.bytes_max
        ):
            self.close()
            self._writer = self._begin(local_ns)
            self.on_rotated()
        if self._writer is None:
            self._writer = self._begin(local_ns)
        return self._writer

    def _begin(self, local_ns: int) -> RecordingWriter:
        self._begun_ns, self._written = local_ns, 0
        return RecordingWriter(self.archive.path_of(self.venue, self.symbol, local_ns))


@define
class Archive:
    """A folder of recordings. The caller holds its lock."""

    folder: Path
    rotation: Rotation
    recorder: str = "recorder"

    def begin(self) -> list[Path]:
        """Make the folder, and end what a killed recorder left; return those files. Raises OSError."""
        (self.folder / _OPEN).mkdir(parents=True, exist_ok=True)
        left = sorted((self.folder / _OPEN).glob("*.zst"))
        for path in left:
            venue, _, rest = path.name.partition("-")
            self.finish(path, venue, rest.rpartition("-")[0])
        return [self.folder / path.name for path in left]

    def path_of(self, venue: str, symbol: str, local_ns: int) -> Path:
        moment = _EPOCH + timedelta(microseconds=local_ns // 1_000)
        return self.folder / _OPEN / f"{venue}-{symbol}-{moment:%Y%m%dT%H%M%S.%f}Z.zst"

    def finish(self, path: Path, venue: str, symbol: str) -> Path:
        """Enter a file that is whole. Raises OSError."""
        done = self.folder / path.name
        _, digest = file_sha256(path)
        # Listed before it is moved: a file that is there is in the lists, and a killed recorder's may be there already.
        _append(self.folder / SUMS, f"{digest}  {done.name}\n")
        row = {"file": str(done.resolve()), "venue": venue, "symbols": [symbol], "recorder": self.recorder}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in row.items())
        _append(self.folder / INDEX, f"[[market.recordings]]\n{lines}\n")
        path.replace(done)
        sync_folder(self.folder)
        return done


def _append(path: Path, text: str) -> None:
    """Add a text to a file, unless it is there, and bring it to the disk."""
    if path.exists() and text in path.read_text(encoding="utf-8"):
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
