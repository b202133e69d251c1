"""How market inputs lie in SQLite until their segment is on the disk, so that every commit has all that precedes it.

A bridge is a row beside the records it comes with, as each table more is a page more to write for every commit. It has
the number of its last line, the market inputs before its first, a crc32 of what is stored, and what is stored: a head
(market inputs before the first line, how many lines, length of the lines joined by newlines) and the lines, as a
zstandard frame where that is shorter. In version 2 of the journal the head was columns of a table of its own.
"""

import struct
import zlib
from collections.abc import Sequence

import zstandard
from attrs import frozen

BridgeRow = tuple[int, int, int, bytes]
"""seq of the last line, market inputs before the first, crc32, what is stored."""

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

    def pack(self, last_seq: int, first: int, lines: Sequence[bytes]) -> BridgeRow:
        """Return the row of `lines`, the last of which is `last_seq`, and before which are `first` market inputs."""
        stored = raw = b"\n".join(lines)
        size = len(raw)
        if size >= COMPRESSED_BYTES_MIN:
            compressed = self._compressor.compress(raw)
            stored = min(raw, compressed, key=len)
        stored = _HEAD.pack(first, len(lines), size) + stored
        return last_seq, first, zlib.crc32(stored), stored


def unpack(row: tuple[object, ...]) -> Bridge:
    """Return the bridge of a row. Raises ValueError when it is not what was packed."""
    match row:
        case (int(), int(market), int(crc), bytes(stored)) if len(stored) > _HEAD.size and zlib.crc32(stored) == crc:
            first, count, raw_bytes = _HEAD.unpack_from(stored)
        case _:
            raise ValueError("checksum of the bridge")
    if first != market:
        raise ValueError(f"it says of itself that it is from market input {first}")
    raw = stored[_HEAD.size :]
    if len(raw) < raw_bytes:
        try:
            raw = zstandard.ZstdDecompressor().decompress(raw, max_output_size=raw_bytes)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
    lines = raw.split(b"\n")
    if len(raw) != raw_bytes or len(lines) != count:
        raise ValueError("not as many lines as the bridge says")
    return Bridge(first, tuple(lines))


def of_version_2(row: tuple[object, ...]) -> tuple[object, ...]:
    """Return what a row of version 2 (first, count, raw length, crc32, lines) is today, but for its number: 0.

    The crc32 is over the same bytes. Raises ValueError for what cannot have been packed.
    """
    match row:
        case (int(first), int(count), int(raw_bytes), int(crc), bytes(stored)):
            try:
                return 0, first, crc, _HEAD.pack(first, count, raw_bytes) + stored
            except struct.error as error:
                raise ValueError("checksum of the bridge") from error
    raise ValueError("checksum of the bridge")
