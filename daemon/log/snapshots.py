"""How a cell's snapshot is written down: JSON whose keys keep their order, because actors walk their dicts in it."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard
from attrs import frozen

from daemon.log.disk import write_whole
from daemon.log.errors import LogCorruptError, UnreadableRecordError

SNAPSHOT_NAME = "snapshot.json"
KEPT = 2
"""How many periodic snapshots a journal keeps: the last, and one in case it is damaged."""

SnapshotRow = tuple[int, int, int, str, bytes]
"""seq, now, market inputs before it, SHA-256 of all this, zstandard frame of the JSON."""

_LEVEL = 3


@frozen
class StoredSnapshot:
    """A periodic snapshot: everything up to `seq` is in it, `market` market inputs among that."""

    seq: int
    now: int
    market: int
    plain: dict[str, Any]


def encode_snapshot(plain: dict[str, Any]) -> bytes:
    """Return the JSON of a snapshot, NaN and Infinity as Python has them.

    Raises UnreadableRecordError for what could not be read back, such as a key that is no text or number.
    """
    try:
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UnreadableRecordError(f"the snapshot has no JSON form: {error}") from error


def write_first(folder: Path, plain: dict[str, Any]) -> tuple[int, str]:
    """Write the snapshot a run begins from; return size and SHA-256. Raises OSError, UnreadableRecordError."""
    return write_whole(folder / SNAPSHOT_NAME, encode_snapshot(plain))


def read_first(folder: Path, expected_sha256: str) -> dict[str, Any]:
    """Return the snapshot a run began from. Raises LogCorruptError, OSError."""
    path = folder / SNAPSHOT_NAME
    data = path.read_bytes()
    if sha256(data).hexdigest() != expected_sha256:
        raise LogCorruptError(path, "", "checksum of the file")
    plain: dict[str, Any] = json.loads(data)
    return plain


def pack(seq: int, now: int, market: int, plain: dict[str, Any]) -> SnapshotRow:
    """Return the row of a periodic snapshot. Raises UnreadableRecordError."""
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(encode_snapshot(plain))
    return seq, now, market, _digest(seq, now, market, frame), frame


def unpack(row: tuple[object, ...]) -> StoredSnapshot:
    """Return the snapshot of a row. Raises ValueError when it is not what was packed."""
    match row:
        case (int(seq), int(now), int(market), str(digest), bytes(frame)) if digest == _digest(seq, now, market, frame):
            data = zstandard.ZstdDecompressor().decompress(frame)
            return StoredSnapshot(seq, now, market, json.loads(data))
    raise ValueError("checksum of the snapshot")


def _digest(seq: int, now: int, market: int, frame: bytes) -> str:
    return sha256(b"%d %d %d\n" % (seq, now, market) + frame).hexdigest()
