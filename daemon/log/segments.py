"""How market inputs lie in segment files: compressed blocks, each with its own checksum.

A file is `BASISSEG`, then the file's header (u32 length, u32 crc32, JSON: format, number, build, config_sha256),
then blocks. A block is a 52-byte header (see `_HEAD`, little endian, its crc32 last) and one zstandard frame of
canonical lines joined by newlines. Blocks follow each other without holes: each tells how many market inputs were
written before it, over all files. So a torn tail is told from a damaged middle, and nothing can go missing unseen.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
import zstandard
from attrs import define, frozen

from daemon.log.errors import LogCorruptError

FORMAT = 1
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
_HEADER_BYTES_MAX = 65_536

_MAGIC = b"BASISSEG"
_BLOCK = b"BLK1"
_LENGTHS = struct.Struct("<II")
_HEAD = struct.Struct("<4sQQQIIII")
"""Magic, first seq, last seq, market inputs before, count, raw length, stored length, crc32 of what is stored."""
_CRC = struct.Struct("<I")
_BLOCK_HEAD_BYTES = _HEAD.size + _CRC.size
_LEVEL = 1


def segment_name(number: int) -> str:
    return f"market-{number:06d}.seg"


@frozen
class SegmentHeader:
    """What each segment file says of itself."""

    format: int
    number: int
    build: str
    config_sha256: str


@frozen
class Block:
    """Where a block lies in its file, and which market inputs it holds: `before` precede it in the log."""

    offset: int
    first_seq: int
    last_seq: int
    before: int
    count: int
    raw_bytes: int
    stored_bytes: int
    crc: int

    @property
    def end(self) -> int:
        return self.offset + _BLOCK_HEAD_BYTES + self.stored_bytes

    @property
    def name(self) -> str:
        return f"seq {self.first_seq}..{self.last_seq}"


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, in as many writes as the system wants. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class SegmentWriter:
    """Appends blocks to segment files, beginning a new file when one has grown to `segment_bytes`. Raises OSError."""

    def __init__(
        self,
        folder: Path,
        build: str,
        config_sha256: str,
        *,
        is_durable: bool,
        segment_bytes: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self.folder = folder
        self.written = 0
        self.sealed: dict[str, tuple[int, str]] = {}
        self._build = build
        self._config_sha256 = config_sha256
        self._is_durable = is_durable
        self._segment_bytes = segment_bytes
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._number = 0
        self._fd = -1
        self._bytes = 0
        self._sha256 = sha256()
        self._begin_file()

    def _begin_file(self) -> None:
        path = self.folder / segment_name(self._number)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._bytes = 0
        self._sha256 = sha256()
        header = msgspec.json.encode(SegmentHeader(FORMAT, self._number, self._build, self._config_sha256))
        self._append(_MAGIC + _LENGTHS.pack(len(header), zlib.crc32(header)) + header)

    def _append(self, data: bytes) -> None:
        write_all(self._fd, data)
        self._sha256.update(data)
        self._bytes += len(data)

    def write(self, first_seq: int, last_seq: int, lines: Sequence[bytes]) -> None:
        """Append one block."""
        if self._bytes >= self._segment_bytes:
            self._end_file()
            self._number += 1
            self._begin_file()
        raw = b"\n".join(lines)
        stored = self._compressor.compress(raw)
        head = _HEAD.pack(
            _BLOCK, first_seq, last_seq, self.written, len(lines), len(raw), len(stored), zlib.crc32(stored)
        )
        self._append(head + _CRC.pack(zlib.crc32(head)) + stored)
        self.written += len(lines)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fdatasync(self._fd)

    def _end_file(self) -> None:
        if self._is_durable:
            os.fsync(self._fd)
        self.sealed[segment_name(self._number)] = (self._bytes, self._sha256.hexdigest())
        self.close()

    def seal(self) -> dict[str, tuple[int, str]]:
        """End the last file; return size and SHA-256 of every file by name."""
        self._end_file()
        return self.sealed

    def close(self) -> None:
        """Let go of the file; harmless when repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@define
class SegmentFile:
    """One file as `scan` found it. `torn_bytes` at its end are no complete block."""

    path: Path
    header: SegmentHeader
    blocks: list[Block]
    torn_bytes: int = 0


def scan(path: Path, number: int, before: int, *, may_be_torn: bool) -> SegmentFile | None:
    """Check every block of a file without decompressing it; `before` market inputs precede the file.

    Returns None for a file that may be torn and was torn in its header. Raises LogCorruptError.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, offset = _read_header(path, file.read(_HEADER_BYTES_MAX), may_be_torn=may_be_torn)
        if header is None:
            return None
        if header.number != number:
            raise LogCorruptError(path, "header", f"segment {header.number} where {number} belongs")
        found = SegmentFile(path, header, [])
        seq = 0
        while offset < size:
            file.seek(offset)
            block, why = _read_block(file.read(_BLOCK_HEAD_BYTES), offset)
            if block is not None and block.end > size:
                why = "the file ends within the block"
            elif block is not None and zlib.crc32(file.read(block.stored_bytes)) != block.crc:
                why = "checksum of the block"
            if why or block is None:
                name = block.name if block else f"after seq {seq}" if seq else "first block"
                if may_be_torn and not _has_block_behind(path, offset + 1):
                    found.torn_bytes = size - offset
                    return found
                raise LogCorruptError(path, name, why)
            if block.before != before or block.first_seq <= seq:
                raise LogCorruptError(path, block.name, f"{before} market inputs precede it, not {block.before}")
            found.blocks.append(block)
            before, seq, offset = before + block.count, block.last_seq, block.end
    return found


def _read_header(path: Path, start: bytes, *, may_be_torn: bool) -> tuple[SegmentHeader | None, int]:
    at = len(_MAGIC) + _LENGTHS.size
    why = "not a segment file"
    if start[: len(_MAGIC)] == _MAGIC and len(start) >= at:
        length, crc = _LENGTHS.unpack_from(start, len(_MAGIC))
        text = start[at : at + length]
        if len(text) == length and zlib.crc32(text) == crc:
            try:
                header = msgspec.json.decode(text, type=SegmentHeader)
            except msgspec.MsgspecError as error:
                raise LogCorruptError(path, "header", str(error)) from error
            if header.format != FORMAT:
                raise LogCorruptError(path, "header", f"format {header.format}, this build reads {FORMAT}")
            return header, at + length
        why = "checksum of the file's header"
    if may_be_torn and not _has_block_behind(path, 0):
        return None, 0
    raise LogCorruptError(path, "header", why)


def _read_block(head: bytes, offset: int) -> tuple[Block | None, str]:
    if len(head) < _BLOCK_HEAD_BYTES:
        return None, "the file ends within a block's header"
    if not head.startswith(_BLOCK) or _CRC.unpack_from(head, _HEAD.size)[0] != zlib.crc32(head[: _HEAD.size]):
        return None, "checksum of a block's header"
    _, first, last, before, count, raw, stored, crc = _HEAD.unpack_from(head)
    return Block(offset, first, last, before, count, raw, stored, crc), ""


def _has_block_behind(path: Path, start: int) -> bool:
    """Whether a whole block header follows anywhere from `start` on: then the damage before it is no torn tail."""
    overlap = _BLOCK_HEAD_BYTES - 1
    with path.open("rb") as file:
        file.seek(start)
        window = file.read(1 << 20)
        while window:
            at = window.find(_BLOCK)
            while at >= 0:
                if _read_block(window[at : at + _BLOCK_HEAD_BYTES], at)[0] is not None:
                    return True
                at = window.find(_BLOCK, at + 1)
            more = file.read(1 << 20)
            window = window[-overlap:] + more if more else b""
    return False


def read_lines(found: SegmentFile) -> Iterator[tuple[Block, bytes]]:
    """Yield the lines of a scanned file, one block in memory at a time. Raises LogCorruptError."""
    decompressor = zstandard.ZstdDecompressor()
    with found.path.open("rb") as file:
        for block in found.blocks:
            file.seek(block.offset + _BLOCK_HEAD_BYTES)
            stored = file.read(block.stored_bytes)
            if zlib.crc32(stored) != block.crc:
                raise LogCorruptError(found.path, block.name, "checksum of the block")
            try:
                raw = decompressor.decompress(stored, max_output_size=block.raw_bytes)
            except zstandard.ZstdError as error:
                raise LogCorruptError(found.path, block.name, str(error)) from error
            lines = raw.split(b"\n")
            if len(raw) != block.raw_bytes or len(lines) != block.count:
                raise LogCorruptError(found.path, block.name, "not as many lines as its header says")
            for line in lines:
                yield block, line
