"""How the daemon's unix sockets are opened: long paths, stale files, permissions, who is at the other end."""

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

PATH_BYTES_MAX = 107
"""What fits into sockaddr_un (108 bytes with the closing zero)."""

_CREDENTIALS = struct.Struct("=3i")


@frozen
class Peer:
    """Who connected, by the kernel's word (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class SocketInUseError(OSError):
    """Somebody listens at the path already."""


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Give an address for `path` that fits, by way of its folder's descriptor when it is too long itself."""
    text = str(path)
    if len(os.fsencode(text)) <= PATH_BYTES_MAX:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path, *, mode: int = 0o600, backlog: int = 16) -> socket.socket:
    """Return a non-blocking listening socket at `path`, replacing a file that nobody listens on any more.

    Raises SocketInUseError when somebody does, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        before = os.umask(0o777 & ~mode)
        try:
            with address(path) as where:
                listener.bind(where)
        finally:
            os.umask(before)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise SocketInUseError(errno.EEXIST, "there is a file that is no socket", str(path))
    try:
        connect(path).close()
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
    else:
        raise SocketInUseError(errno.EADDRINUSE, "somebody listens here already", str(path))


def connect(path: Path) -> socket.socket:
    """Return a socket connected to `path` (blocking). Raises FileNotFoundError, ConnectionRefusedError, OSError."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address(path) as where:
            connected.connect(where)
    except BaseException:
        connected.close()
        raise
    return connected


def peer(connected: socket.socket) -> Peer:
    """Return who is at the other end. Raises OSError."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


def listener_at(path: Path) -> int | None:
    """Return the process that listens at `path`, None when nobody does."""
    try:
        connected = connect(path)
    except OSError:
        return None
    with connected:
        return peer(connected).pid
