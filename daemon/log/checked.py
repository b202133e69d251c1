"""JSON files that carry their own checksum, so that no byte of them can change unseen."""

import os
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from daemon.log.errors import LogCorruptError
from daemon.log.segments import write_all

_T = TypeVar("_T")


def write_checked(path: Path, content: object) -> tuple[int, str]:
    """Write an attrs object, whole or not at all; its field `checksum` is filled in.

    Returns size and SHA-256 of the file. Raises OSError.
    """
    data = _render(content)
    draft = path.with_name(path.name + ".tmp")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(path)
    sync_folder(path.parent)
    return len(data), sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_checked(path: Path, kind: type[_T]) -> _T:
    """Return what `write_checked` wrote. Raises LogCorruptError, OSError when the file cannot be read."""
    data = path.read_bytes()
    try:
        content = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise LogCorruptError(path, "", f"not what was written: {error}") from error
    if _render(content) != data:
        raise LogCorruptError(path, "", "checksum of the file")
    return content


def _render(content: object) -> bytes:
    plain = msgspec.to_builtins(content)
    plain.pop("checksum", None)
    body = msgspec.json.encode(plain, order="sorted")
    plain["checksum"] = sha256(body).hexdigest()
    return msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=2) + b"\n"


def file_sha256(path: Path) -> tuple[int, str]:
    """Return size and SHA-256 of a file."""
    digest = sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
