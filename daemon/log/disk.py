"""How bytes get to the disk whole."""

import os
from hashlib import sha256
from pathlib import Path


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, in as many writes as the system wants. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_whole(path: Path, data: bytes) -> tuple[int, str]:
    """Write a file, whole or not at all; on return it is on the disk. Returns its size and SHA-256. Raises OSError."""
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


def sync_file(path: Path) -> None:
    """Bring a file to the disk; one that is not there needs none. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def file_sha256(path: Path) -> tuple[int, str]:
    """Return size and SHA-256 of a file. Raises OSError."""
    digest = sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
