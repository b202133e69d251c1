"""What bytes a recording file holds once decompressed, as far as they can be had.

Compressed files are sequences of members (gzip) or frames (zstd): a writer that is started again appends one. A crash
may leave one unfinished in the middle of the file. Its decompressor would take the next member for its own data, and
deflate gives nonsense for thousands of lines before it notices. So headers are looked for all along, and believed when
what follows decompresses to the beginning of a recorded line.

Damage without a cut shows late: gzip and zstd verify checksums at the end of a member only, so lines before it may be
wrong. They are handed on, because so are the right ones.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import attrs
import zstandard

_PLAIN_BYTES: Final = 1 << 18

# Enough behind a header to decompress something: a zstd block holds 128 KiB at most, a gzip member begins at once.
_LOOK_AHEAD_BYTES: Final = 1 << 18
_HEADER_BYTES: Final = 4
_LINE_START: Final = re.compile(rb"[0-9]{1,19} ")


@attrs.frozen
class Chunk:
    """Decompressed bytes in order. `broken` tells that what follows, if anything, does not continue these bytes."""

    data: bytes
    broken: str = ""


class _BrokenError(Exception):
    def __init__(self, salvaged: bytes, why: str) -> None:
        self.salvaged = salvaged
        self.why = why
        super().__init__(why)


class _GzipMember:
    """A gzip member. Input of 16 KiB inflates to 16 MiB at most."""

    header: Final = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
    piece_bytes: Final = 1 << 14

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def feed(self, data: bytes) -> bytes:
        """Return what `data` inflates to. Raises _BrokenError with what could be had before the defect."""
        before = self._inflater.copy()
        try:
            return self._inflater.decompress(data)
        except zlib.error:
            return self._feed_bytewise(before, data)

    def _feed_bytewise(self, inflater: "zlib._Decompress", data: bytes) -> bytes:
        """zlib throws away what it had inflated when it meets a defect; byte by byte it cannot."""
        salvaged = bytearray()
        try:
            for start in range(len(data)):
                salvaged += inflater.decompress(data[start : start + 1])
        except zlib.error as error:
            raise _BrokenError(bytes(salvaged), str(error)) from None
        raise AssertionError("zlib read byte by byte what it refused whole")

    @property
    def ended(self) -> bool:
        return self._inflater.eof

    @property
    def unused(self) -> bytes:
        return self._inflater.unused_data


class _ZstdFrame:
    """A zstd frame. Input of 256 bytes decompresses to 64 blocks of 128 KiB at most."""

    header: Final = re.compile(rb"\x28\xb5\x2f\xfd")
    piece_bytes: Final = 256

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor().decompressobj()

    def feed(self, data: bytes) -> bytes:
        """Return what `data` decompresses to. Raises _BrokenError; the blocks finished by this `data` are lost."""
        try:
            return self._decompressor.decompress(data)
        except zstandard.ZstdError as error:
            raise _BrokenError(b"", str(error)) from None

    @property
    def ended(self) -> bool:
        return self._decompressor.eof

    @property
    def unused(self) -> bytes:
        return self._decompressor.unused_data


def read_chunks(file: BinaryIO, path: Path) -> Iterator[Chunk]:
    """Yield the contents of `file`, decompressed as the ending of `path` says, in chunks of bounded size.

    Raises OSError as the file does.
    """
    if path.suffix == ".gz":
        return iter(_Members(file, _GzipMember))
    if path.suffix == ".zst":
        return iter(_Members(file, _ZstdFrame))
    return _read_plain(file)


def _read_plain(file: BinaryIO) -> Iterator[Chunk]:
    while data := file.read(_PLAIN_BYTES):
        yield Chunk(data)


class _Members:
    """The members of one compressed file."""

    def __init__(self, file: BinaryIO, kind: type[_GzipMember] | type[_ZstdFrame]) -> None:
        self._file = file
        self._kind = kind
        self._data = b""
        self._at = 0

    def __iter__(self) -> Iterator[Chunk]:
        while self._fill():
            yield from self._read_member()

    def _fill(self) -> bool:
        """Have a header and what it is judged by at hand; return whether there is anything left."""
        if len(self._data) - self._at < _LOOK_AHEAD_BYTES:
            self._data = self._data[self._at :] + self._file.read(2 * _LOOK_AHEAD_BYTES)
            self._at = 0
        return self._at < len(self._data)

    def _read_member(self) -> Iterator[Chunk]:
        member = self._kind()
        start = 1
        while self._fill():
            end = self._at + self._kind.piece_bytes
            following = self._find_header(self._at + start, end)
            piece = self._data[self._at : end if following is None else following]
            self._at += len(piece)
            start = 0
            try:
                output = member.feed(piece)
            except _BrokenError as error:
                yield Chunk(error.salvaged, broken=error.why)
                self._skip_to_header()
                return
            if output:
                yield Chunk(output)
            if member.ended:
                self._at -= len(member.unused)
                return
            if following is not None:
                yield Chunk(b"", broken="compressed data ends early and other data follows")
                return
        yield Chunk(b"", broken="the file ends in the middle of compressed data")

    def _find_header(self, start: int, end: int) -> int | None:
        """Return where in the data at hand, from `start` and before `end`, a member begins."""
        for found in self._kind.header.finditer(self._data, start, end + _HEADER_BYTES - 1):
            if self._begins_a_member(found.start()):
                return found.start()
        return None

    def _begins_a_member(self, start: int) -> bool:
        trial = self._kind()
        output = b""
        for at in range(start, min(len(self._data), start + _LOOK_AHEAD_BYTES), self._kind.piece_bytes):
            try:
                output += trial.feed(self._data[at : at + self._kind.piece_bytes])
            except _BrokenError as error:
                output += error.salvaged
                break
            if output or trial.ended:
                break
        return _LINE_START.match(output) is not None if output else trial.ended

    def _skip_to_header(self) -> None:
        while self._fill():
            end = self._at + self._kind.piece_bytes
            following = self._find_header(self._at, end)
            if following is not None:
                self._at = following
                return
            self._at = min(end, len(self._data))
