"""Real processes for tests: a daemon as a user starts it, and an observer that asks its venue for the truth."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from daemon.admin.client import Client, UnreachableError
from daemon.link.frames import VenueHello, VenueWelcome
from daemon.link.wire import LineBuffer, decode, encode
from daemon.live.paths import StatePaths
from daemon.live.sockets import connect, peer
from venues.port import Command, Message, Query, QueryFailed, QueryKind, QueryResult

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
"""How long anything may take before a test gives up; nothing is asserted about how long it takes within."""


def eventually(what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Return the first thing that is true: nothing found yet, an empty list, is not it. Raises AssertionError."""
    deadline = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        # The other side runs in other processes: there is nothing here to wait on.
        time.sleep(0.01)


class Probe:
    """A client of the venue process that only asks."""

    def __init__(self, path: Path) -> None:
        self._socket = connect(path)
        self._socket.settimeout(PATIENCE_S)
        self._lines = LineBuffer()
        self._heard: list[Message] = []
        self._number = 0
        self._send(VenueHello(0, "probe", False))
        welcome = self._next(lambda message: isinstance(message, VenueWelcome))
        assert isinstance(welcome, VenueWelcome)
        self.welcome = welcome

    def _send(self, message: Message) -> None:
        self._socket.sendall(encode(message))

    def _next(self, is_it: Callable[[Message], bool]) -> Message:
        while True:
            while self._heard:
                message = self._heard.pop(0)
                if is_it(message):
                    return message
            data = self._socket.recv(1 << 16)
            assert data, "the venue hung up"
            self._heard += [decode(line) for line in self._lines.feed(data)]

    def send(self, command: Command) -> None:
        """Trade past the desk, as somebody else with the same account."""
        self._send(command)

    def ask(self, account: str, kind: QueryKind, instrument: str | None = None) -> QueryResult:
        self._number += 1
        query_id = f"probe-{self._number}"
        since = 0 if kind is QueryKind.FILLS else None
        self._send(Query(0, account, query_id, kind, instrument, since_ns=since))
        answer = self._next(lambda one: isinstance(one, QueryResult | QueryFailed) and one.query_id == query_id)
        assert isinstance(answer, QueryResult), answer
        return answer

    def positions(self, account: str) -> dict[str, Decimal]:
        return {one.instrument: one.qty for one in self.ask(account, QueryKind.POSITIONS).positions if one.qty}

    def balances(self, account: str) -> dict[str, Decimal]:
        return {asset: held for asset, held in (self.ask(account, QueryKind.ACCOUNT).balances or {}).items() if held}

    def open_orders(self, account: str) -> set[str]:
        return {one.client_order_id for one in self.ask(account, QueryKind.OPEN_ORDERS).orders}

    def close(self) -> None:
        self._socket.close()


def processes_of(state: Path) -> list[int]:
    """Return the processes whose command lines name a state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if os.fsencode(state) in words:
            found.append(int(entry.name))
    return found


class Daemon:
    """A desk process with its guard and venue, in a state folder of its own."""

    def __init__(self, config: Path, state: Path, *arguments: str, mode: str = "paper") -> None:
        self.config = config
        self.paths = StatePaths.of("any", str(state))
        self.arguments = arguments
        self.mode = mode
        self.program: tuple[str, ...] = ("-m", "daemon.cli")
        self.stderr = state.parent / f"{state.name}.stderr"
        self.stdout = state.parent / f"{state.name}.stdout"
        self.process: subprocess.Popen[bytes] | None = None
        self._probes: list[Probe] = []

    def probe(self) -> Probe:
        """Return an observer of the venue, closed with this daemon."""
        self._probes.append(Probe(self.paths.venue_socket))
        return self._probes[-1]

    def start(self) -> None:
        """Start the desk; what it says goes to files, so that nobody waits for a pipe."""
        with self.stdout.open("ab") as out, self.stderr.open("ab") as error:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, *self.program, self.mode, str(self.config)),
                    *("--state", str(self.paths.state), "--metrics-port", "0", *self.arguments),
                ],
                cwd=ROOT,
                stdout=out,
                stderr=error,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def call(self, method: str, params: dict[str, Any] | None = None, path: Path | None = None) -> Any:
        """Call a method on the ops socket, or on another one. Raises UnreachableError, CallFailedError."""
        with Client(path or self.paths.ops_socket, PATIENCE_S) as client:
            return client.call(method, params)

    def status(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.call("status", path=self.paths.view_socket)
        except UnreachableError:
            return None
        return found

    def wait_ready(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until the desk says that it is ready; return its status."""

        def look() -> dict[str, Any] | None:
            assert self.process is not None
            assert self.process.poll() is None, f"it ended: {self.words()}"
            status = self.status()
            return status if status is not None and status["is_ready"] and status["pid"] == self.pid else None

        return eventually("the desk is ready", look, patience_s)

    def kill(self) -> None:
        """kill -9, as the kernel's out-of-memory killer would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def words(self) -> str:
        """Return the end of what the desk wrote to standard error."""
        return self.stderr.read_text(encoding="utf-8", errors="replace")[-3_000:] if self.stderr.exists() else ""

    def listener(self, path: Path) -> int | None:
        """Return the process that listens at a socket, None when nobody does."""
        try:
            connected: socket.socket = connect(path)
        except OSError:
            return None
        with connected:
            return peer(connected).pid

    def clear(self) -> None:
        """Leave no process behind."""
        for probe in self._probes:
            probe.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()
        # Not by who listens: one that is only starting, or is shutting down, does not listen.
        for pid in processes_of(self.paths.state):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running(config: Path, state: Path, *arguments: str, mode: str = "paper") -> Iterator[Daemon]:
    """Give a started daemon; in the end nothing of it is left running."""
    daemon = Daemon(config, state, *arguments, mode=mode)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.clear()


@contextmanager
def attached(config: Path, state: Path, *, speed: str = "5") -> Iterator[Daemon]:
    """Give a daemon whose venue and guard are processes of their own, as units are: they outlive its stops."""
    daemon = Daemon(config, state, "--attach")
    words = [str(config), "--state", str(state)]
    log = (state.parent / f"{state.name}.others").open("ab")
    others = [
        subprocess.Popen([sys.executable, "-m", module, *words, *more], cwd=ROOT, stdout=log, stderr=log)
        for module, more in (("daemon.venue", ("--speed", speed)), ("daemon.guard", ("--mode", "paper")))
    ]
    try:
        eventually("venue and guard listen", lambda: _all_listen(daemon))
        yield daemon
    finally:
        daemon.clear()
        for other in others:
            other.kill()
            other.wait()
        log.close()


def _all_listen(daemon: Daemon) -> bool:
    return all(daemon.listener(path) for path in (daemon.paths.venue_socket, daemon.paths.guard_socket))
