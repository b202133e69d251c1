"""How the guard ends the desk's process for certain, and no other one: by a descriptor that means one process."""

import fcntl
import os
import select
import signal
import socket
import struct
from pathlib import Path

import trio
from attrs import define

from daemon.live.sockets import Peer

_SO_PEERPIDFD = 77
_DEATH_S = 5.0


@define
class Fencer:
    """Knows the desk's process. `lock` is the file that a desk holds locked while it lives, its pid written there."""

    lock: Path
    _pid: int | None = None
    _pidfd: int = -1

    def watch(self, connected: socket.socket, peer: Peer) -> None:
        """Hold on to the process at the other end of a socket, in place of any other."""
        self.forget()
        self._pid, self._pidfd = peer.pid, _pidfd_of(connected, peer)

    def forget(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pid, self._pidfd = None, -1

    def is_alive(self) -> bool:
        """Whether the watched process is there still."""
        return self._pidfd >= 0 and not select.select([self._pidfd], [], [], 0)[0]

    async def end(self, pid: int) -> str:
        """Kill the process and wait until it is gone; return why that cannot be said, empty when it can."""
        try:
            pidfd = os.dup(self._pidfd) if self._pid == pid and self._pidfd >= 0 else self._find(pid)
        except (OSError, ValueError) as error:
            return f"who holds {self.lock} cannot be told: {error}"
        if pidfd is None:
            return ""
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            with trio.move_on_after(_DEATH_S):
                await trio.lowlevel.wait_readable(pidfd)
                return ""
        except ProcessLookupError:
            return ""
        except OSError as error:
            return error.strerror or str(error)
        finally:
            os.close(pidfd)
        return f"it is there {_DEATH_S:g} s after SIGKILL"

    def _find(self, pid: int) -> int | None:
        """Return a descriptor of a desk that an earlier guard process knew, if it holds its lock still.

        Raises OSError, ValueError.
        """
        if _holder(self.lock) != pid:
            return None
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        # Between the look and the descriptor the pid may have come to mean another process.
        if _holder(self.lock) == pid:
            return pidfd
        os.close(pidfd)
        return None


def _pidfd_of(connected: socket.socket, peer: Peer) -> int:
    """Return a descriptor of the process at the other end, -1 when it is gone."""
    try:
        raw = connected.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, struct.calcsize("i"))
        return int(struct.unpack("i", raw)[0])
    except OSError:
        # Linux before 6.5. The peer is connected, so its pid is most likely its own still.
        try:
            return os.pidfd_open(peer.pid)
        except OSError:
            return -1


def _holder(path: Path) -> int | None:
    """Return the process that holds the file locked, None when nobody does. Raises OSError, ValueError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(fd, 64, 0))
    else:
        return None
    finally:
        os.close(fd)
