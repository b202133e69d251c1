"""Which process owns a folder: one at a time, for as long as it lives, however it ends."""

import fcntl
import os
import time
from pathlib import Path

_TRIES = 5
_LOOK_S = 0.05


class FolderInUseError(Exception):
    """Another process owns the folder."""


def lock(path: Path) -> int:
    """Lock the file, made when missing, until the process ends; return its descriptor. Raises FolderInUseError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if left:
                # Somebody may only be looking whether it is locked.
                time.sleep(_LOOK_S)
                continue
            owner = os.pread(fd, 64, 0).decode(errors="replace").strip()
            os.close(fd)
            raise FolderInUseError(f"{path.parent} is in use by process {owner or '(unknown)'}") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
