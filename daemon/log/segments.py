"""How market inputs lie in segment files: compressed blocks, each with its own checksum.

A file is `BASISSEG`, then the file's header (u32 length, u32 crc32, JSON: format, number, build, config_sha256),
then blocks. A block is a header (see `_HEADS`, little endian, its crc32 last) and one zstandard frame of
canonical lines joined by newlines. Blocks follow each other without holes: each tells how many market inputs were
written before it, over all files, and how many records were in the journal. So a torn tail is told from a damaged
middle, a journal that lost its end is noticed, and nothing can go missing unseen.
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

from daemon.log.disk import sync_folder, write_all
from daemon.log.errors import LogCorruptError

FORMAT = 2
FORMATS = (1, 2)
"""Of the whole log: what this build writes, and what it reads. The first did not count the journal's records."""

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
_HEADER_BYTES_MAX = 65_536

_MAGIC = b"BASISSEG"
_LENGTHS = struct.Struct("<II")
_HEADS = {b"BLK1": struct.Struct("<4sQQQIIII"), b"BLK2": struct.Struct("<4sQQQIIIIQ")}
"""By magic: first seq, last seq, market inputs before, count, raw length, stored length, crc32 of what is stored; the
second also has the records in the journal."""
_BLOCK = b"BLK2"
_HEAD = _HEADS[_BLOCK]
_ANY_BLOCK = b"BLK"
_CRC = struct.Struct("<I")
_BLOCK_HEAD_BYTES_MAX = _HEAD.size + _CRC.size
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
    """Where a block lies in its file, and which market inputs it holds: `before` precede it in the log.

    `rows` records were in the journal when it was written, all those among its inputs; 0 is not known.
    """

    offset: int
    head_bytes: int
    first_seq: int
    last_seq: int
    before: int
    count: int
    raw_bytes: int
    stored_bytes: int
    crc: int
    rows: int = 0

    @property
    def stored_at(self) -> int:
        return self.offset + self.head_bytes

    @property
    def end(self) -> int:
        return self.stored_at + self.stored_bytes

    @property
    def name(self) -> str:
        return f"seq {self.first_seq}..{self.last_seq}"


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
        if self._is_durable:
            sync_folder(self.folder)

    def _append(self, data: bytes) -> None:
        write_all(self._fd, data)
        self._sha256.update(data)
        self._bytes += len(data)

    def write(self, first_seq: int, last_seq: int, lines: Sequence[bytes], rows: int) -> None:
        """Append one block; `rows` records are in the journal by now."""
        if self._bytes >= self._segment_bytes:
            self._end_file()
            self._number += 1
            self._begin_file()
        raw = b"\n".join(lines)
        stored = self._compressor.compress(raw)
        head = _HEAD.pack(
            _BLOCK, first_seq, last_seq, self.written, len(lines), len(raw), len(stored), zlib.crc32(stored), rows
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
    """One file as `scan` found it, after `before` market inputs. `torn_bytes` at its end are no complete block."""

    path: Path
    header: SegmentHeader
    before: int
    blocks: list[Block]
    torn_bytes: int = 0

    @property
    def end(self) -> int:
        """How many market inputs there are up to its end."""
        return self.blocks[-1].before + self.blocks[-1].count if self.blocks else self.before


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
        found = SegmentFile(path, header, before, [])
        seq = 0
        while offset < size:
            file.seek(offset)
            block, why = _read_block(file.read(_BLOCK_HEAD_BYTES_MAX), offset)
            if block is not None:
                file.seek(block.stored_at)
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
            check_format(path, header.format)
            return header, at + length
        why = "checksum of the file's header"
    if may_be_torn and not _has_block_behind(path, 0):
        return None, 0
    raise LogCorruptError(path, "header", why)


def check_format(path: Path, number: int) -> None:
    """Raise LogCorruptError unless this build reads the format."""
    if number not in FORMATS:
        raise LogCorruptError(path, "header", f"format {number}, this build reads {', '.join(map(str, FORMATS))}")


def _read_block(head: bytes, offset: int) -> tuple[Block | None, str]:
    form = _HEADS.get(head[: len(_BLOCK)])
    if form is None and len(head) == _BLOCK_HEAD_BYTES_MAX:
        return None, "checksum of a block's header"
    if form is None or len(head) < form.size + _CRC.size:
        return None, "the file ends within a block's header"
    if _CRC.unpack_from(head, form.size)[0] != zlib.crc32(head[: form.size]):
        return None, "checksum of a block's header"
    _, *fields = form.unpack_from(head)
    return Block(offset, form.size + _CRC.size, *fields), ""


def _has_block_behind(path: Path, start: int) -> bool:
    """Whether a whole block header follows anywhere from `start` on: then the damage before it is no torn tail."""
    overlap = _BLOCK_HEAD_BYTES_MAX - 1
    with path.open("rb") as file:
        file.seek(start)
        window = file.read(1 << 20)
        while window:
            at = window.find(_ANY_BLOCK)
            while at >= 0:
                if _read_block(window[at : at + _BLOCK_HEAD_BYTES_MAX], at)[0] is not None:
                    return True
                at = window.find(_ANY_BLOCK, at + 1)
            more = file.read(1 << 20)
            window = window[-overlap:] + more if more else b""
    return False


def read_lines(found: SegmentFile, start: int = 0) -> Iterator[tuple[Block, bytes]]:
    """Yield the lines of a scanned file from market input `start` of the log on, one block in memory at a time.

    Raises LogCorruptError.
    """
    decompressor = zstandard.ZstdDecompressor()
    with found.path.open("rb") as file:
        for block in found.blocks:
            if block.before + block.count <= start:
                continue
            file.seek(block.stored_at)
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
            for line in lines[max(0, start - block.before) :]:
                yield block, line
