"""How frames are written down so that a crash costs no more than what was not yet flushed."""

import os
import zlib
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import zstandard

from sim.recording.errors import RecordingError
from sim.recording.reader import LINE_BYTES_MAX, LOCAL_NS_MAX

_BUFFER_BYTES: Final = 1 << 16
_STAMP_BYTES_MAX: Final = 20
_GZIP_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3


class _Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...

    def sync(self) -> bytes:
        """Return what makes everything compressed so far readable."""

    def finish(self) -> bytes:
        """Return what ends the member."""


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def sync(self) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""


class _Gzip:
    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)

    def compress(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def sync(self) -> bytes:
        return self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._compressor.flush(zlib.Z_FINISH)


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True).compressobj()

    def compress(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def sync(self) -> bytes:
        return self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


_COMPRESSORS: Final[dict[str, type[_Gzip] | type[_Zstd]]] = {".gz": _Gzip, ".zst": _Zstd}


class RecordingWriter:
    """Append `<local ns> <raw frame>` lines to a file; `.gz` and `.zst` are compressed.

    An existing file is continued, never overwritten: compressed files get another member, and an unfinished last line
    of a plain file is ended first. `flush` makes everything written so far survive a crash of the process, `close`
    also one of the machine. A context manager; leaving it closes, whatever happened inside.

    Raises RecordingError when the file cannot be opened or written; after that the writer is closed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.frames = 0
        self._buffer = bytearray()
        self._compressor: _Compressor = _COMPRESSORS.get(self.path.suffix, _Plain)()
        self._file: FileIO | None = None
        try:
            self._file = self.path.open("ab", buffering=0)
            if self.path.suffix not in _COMPRESSORS and _ends_inside_a_line(self.path):
                self._buffer += b"\n"
        except OSError as error:
            raise self._failed(error) from error

    def write(self, local_ns: int, frame: bytes) -> None:
        """Write one frame received at `local_ns`.

        Line breaks, which JSON allows between its tokens only, become spaces. Raises ValueError for what a reader would
        not take: a time outside 0..2**63 - 1, a frame of nothing but space or longer than a line may be;
        RecordingError when closed.
        """
        if self._file is None:
            raise RecordingError(self.path, "the recording is closed")
        if not 0 <= local_ns <= LOCAL_NS_MAX:
            raise ValueError(f"local_ns: {local_ns} is not a time in nanoseconds")
        if len(frame) > LINE_BYTES_MAX - _STAMP_BYTES_MAX or not frame.strip():
            raise ValueError(f"frame: {len(frame)} bytes, expected 1..{LINE_BYTES_MAX - _STAMP_BYTES_MAX}")
        if b"\n" in frame or b"\r" in frame:
            frame = frame.replace(b"\n", b" ").replace(b"\r", b" ")
        self._buffer += b"%d %b\n" % (local_ns, frame)
        self.frames += 1
        if len(self._buffer) >= _BUFFER_BYTES:
            self._put(self._compressor.compress(self._take()))

    def flush(self) -> None:
        """Hand everything to the operating system in readable form."""
        if self._file is None:
            raise RecordingError(self.path, "the recording is closed")
        self._put(self._compressor.compress(self._take()) + self._compressor.sync())

    def close(self) -> None:
        """End the file, wait until the disk has it, and close. Does nothing the second time."""
        if self._file is None:
            return
        self._put(self._compressor.compress(self._take()) + self._compressor.finish())
        file, self._file = self._file, None
        try:
            with file:
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        try:
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RecordingError:
        """Close without writing more, and return the error to raise."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
        return RecordingError(self.path, f"cannot be written: {error.strerror or error}")


def _ends_inside_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
