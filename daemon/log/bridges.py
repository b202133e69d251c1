"""How market inputs lie in SQLite until their segment is on the disk, so that every commit has all that precedes it.

A bridge is one row: the market inputs before its first line, how many lines, the length of the lines joined by
newlines, a crc32 over these three and over what is stored, and what is stored: the lines, as a zstandard frame where
that is shorter.
"""

import struct
import zlib
from collections.abc import Sequence

import zstandard
from attrs import frozen

BridgeRow = tuple[int, int, int, int, bytes]
"""first, count, raw length, crc32, what is stored."""

COMPRESSED_BYTES_MIN = 2048
_LEVEL = 1
_HEAD = struct.Struct("<QII")


@frozen
class Bridge:
    """Market inputs `first` to `first` + len(lines) of the log."""

    first: int
    lines: tuple[bytes, ...]

    @property
    def end(self) -> int:
        return self.first + len(self.lines)


class BridgePacker:
    """Makes rows of bridges; it keeps the compressor, which costs more to make than a bridge."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)

    def pack(self, first: int, lines: Sequence[bytes]) -> BridgeRow:
        """Return the row of `lines`, before which there are `first` market inputs."""
        stored = raw = b"\n".join(lines)
        count, size = len(lines), len(raw)
        if size >= COMPRESSED_BYTES_MIN:
            compressed = self._compressor.compress(raw)
            stored = min(raw, compressed, key=len)
        return first, count, size, zlib.crc32(stored, zlib.crc32(_HEAD.pack(first, count, size))), stored


def unpack(row: tuple[object, ...]) -> Bridge:
    """Return the bridge of a row. Raises ValueError when it is not what was packed."""
    match row:
        case (int(first), int(count), int(raw_bytes), int(crc), bytes(stored)):
            try:
                is_whole = _crc(first, count, raw_bytes, stored) == crc
            except struct.error:
                is_whole = False
        case _:
            is_whole = False
    if not is_whole:
        raise ValueError("checksum of the bridge")
    raw = stored
    if len(stored) < raw_bytes:
        try:
            raw = zstandard.ZstdDecompressor().decompress(stored, max_output_size=raw_bytes)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
    lines = raw.split(b"\n")
    if len(raw) != raw_bytes or len(lines) != count:
        raise ValueError("not as many lines as the bridge says")
    return Bridge(first, tuple(lines))


def _crc(first: int, count: int, raw_bytes: int, stored: bytes) -> int:
    return zlib.crc32(stored, zlib.crc32(_HEAD.pack(first, count, raw_bytes)))
