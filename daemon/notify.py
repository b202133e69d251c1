"""What the service manager is told, and what it hands over: readiness, beats of life, sockets that it opened.

Protocols: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Without a service manager everything here does
nothing. The variables that carry it are taken out of the environment, so that no process we start speaks in our place.
"""

import os
import socket
import stat
from collections.abc import Callable, MutableMapping

import trio

from daemon.logs import get_logger
from daemon.redaction import redact

# The manager ignores a message of more than 4,096 bytes.
_STATUS_BYTES_MAX = 2_000
_FIRST_FD = 3
_FDS_MAX = 64
_NS_PER_US = 1_000
_NS_PER_S = 1_000_000_000
_CHECK_NS = 5 * _NS_PER_S
_BEATS_PER_INTERVAL = 3

_log = get_logger("notify")


class NotifyError(ValueError):
    """What the service manager left in the environment cannot be meant."""


class Notifier:
    """Speaks to the service manager; every method returns whether it was heard.

    No method waits or raises. What could not be sent goes with the next message, the newest of each kind.
    """

    def __init__(self, address: str = "", watchdog_ns: int = 0) -> None:
        """`address` is a path or "@name" of an abstract socket, "" when nobody listens; `watchdog_ns` 0: none."""
        self.watchdog_ns = watchdog_ns
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._unsent: dict[str, str] = {}
        self._status = ""
        self._shown = ""
        if address and not address.startswith(("/", "@")):
            _log.warning("no service manager can be told anything: the address is of an unknown kind", address=address)
        elif address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> "Notifier":
        """Take what the manager left for this process out of the environment. Raises NotifyError."""
        address = environment.pop("NOTIFY_SOCKET", "")
        pid, interval = environment.pop("WATCHDOG_PID", ""), environment.pop("WATCHDOG_USEC", "")
        if not interval or (pid and _whole("WATCHDOG_PID", pid) != os.getpid()):
            return cls(address)
        return cls(address, _whole("WATCHDOG_USEC", interval) * _NS_PER_US)

    def ready(self, status: str = "") -> bool:
        """Say that the process serves from now on."""
        return self._say({"READY": "1"} | self._noted(status))

    def stopping(self, status: str = "") -> bool:
        """Say that the process is about to end."""
        return self._say({"STOPPING": "1"} | self._noted(status))

    def status(self, text: str) -> bool:
        """Say in a line what the process is doing."""
        return self._say(self._noted(text))

    def extend_timeout(self, ns: int) -> bool:
        """Ask for at least so much time from now, for starting, stopping or running as the case may be."""
        return self._say({"EXTEND_TIMEOUT_USEC": str(-(-ns // _NS_PER_US))})

    def main_pid(self, pid: int) -> bool:
        """Say which process the service is."""
        return self._say({"MAINPID": str(pid)})

    def beat(self) -> bool:
        """Say that all is well. Nothing is made up for later: a beat that was not heard did not happen."""
        heard = self._say({"WATCHDOG": "1"} | self._standing())
        self._unsent.pop("WATCHDOG", None)
        return heard

    def complain(self, why: str) -> bool:
        """Show what is wrong in place of the status, until the next beat."""
        return self._say(_status_line(f"unhealthy: {why}"))

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _noted(self, status: str) -> dict[str, str]:
        self._status = status or self._status
        return self._standing() if status else {}

    def _standing(self) -> dict[str, str]:
        return _status_line(self._status)

    def _say(self, lines: dict[str, str]) -> bool:
        if self._socket is None:
            return False
        self._unsent |= lines
        if self._unsent.get("STATUS") == self._shown:
            del self._unsent["STATUS"]
        if not self._unsent:
            return True
        message = "\n".join(f"{key}={value}" for key, value in self._unsent.items()).encode()
        try:
            self._socket.sendto(message, self._address)
        except OSError:
            return False
        self._shown = self._unsent.get("STATUS", self._shown)
        self._unsent.clear()
        return True


async def beat(
    notifier: Notifier, is_healthy: Callable[[], str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Send a beat at a third of the watchdog's interval while `is_healthy` returns "", else its reason as status.

    Runs until cancelled. Without a watchdog only the reason is kept up to date, every five seconds.
    """
    interval_ns = notifier.watchdog_ns // _BEATS_PER_INTERVAL or _CHECK_NS
    said = ""
    task_status.started()
    while True:
        why = is_healthy()
        if why != said:
            _log.say("warning" if why else "info", "health", why=why)
            said = why
        if why:
            notifier.complain(why)
        else:
            notifier.beat()
        await trio.sleep(interval_ns / _NS_PER_S)


def take_sockets(environment: MutableMapping[str, str] = os.environ) -> dict[str, list[socket.socket]]:
    """Return the sockets that the service manager opened for this process, by the names its units give them.

    They are non-blocking and closed on exec. Several may share one name; a socket without one is "unknown". Call it
    once, early: the numbers mean nothing later. Raises NotifyError.
    """
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "")
    if not pid or not count or _whole("LISTEN_PID", pid) != os.getpid():
        return {}
    number = _whole("LISTEN_FDS", count)
    if number > _FDS_MAX:
        raise NotifyError(f"LISTEN_FDS: {number} sockets, more than {_FDS_MAX}")
    listed = names.split(":") if names else ["unknown"] * number
    if len(listed) != number:
        raise NotifyError(f"LISTEN_FDNAMES: {len(listed)} names for {number} sockets")
    found: dict[str, list[socket.socket]] = {}
    for fd, name in enumerate(listed, start=_FIRST_FD):
        found.setdefault(name, []).append(_socket_of(fd, name))
    return found


def _socket_of(fd: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise NotifyError(f"LISTEN_FDS: {fd} ({name}) is no socket")
    except OSError as error:
        raise NotifyError(f"LISTEN_FDS: {fd} ({name}) is not open: {error.strerror}") from error
    taken = socket.socket(fileno=fd)
    taken.setblocking(False)
    return taken


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        raise NotifyError(f"{name}: expected a whole number above zero, got {text[:40]!r}")
    return int(text)


def _status_line(text: str) -> dict[str, str]:
    line = " ".join(redact(text).split())
    return {"STATUS": line.encode()[:_STATUS_BYTES_MAX].decode(errors="ignore")}
