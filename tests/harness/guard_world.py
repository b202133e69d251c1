"""Real processes for tests of the guard: the venue, the guard, a desk, and a look into all of them from outside."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import define, field

from daemon.link.frames import VenueHello, VenueWelcome
from daemon.link.wire import LineBuffer, decode, encode
from daemon.live.paths import StatePaths
from daemon.live.sockets import connect
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    Command,
    Message,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    SubmitOrder,
)

D = Decimal
PATIENCE_S = 30.0
_HARNESS = Path(__file__).parent
_ROOT = _HARNESS.parent.parent
SPOT, PERP = "binance_spot:BTCUSDT", "binance_usdm:BTCUSDT"

CONFIG = (_ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")


def until(found: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """Wait until `found` returns something true, and return it; the time is a bound, not a measure."""
    end = time.monotonic() + within_s
    while True:
        result = found()
        if result:
            return result
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.005)


@define
class VenueClient:
    """Another client of the venue process: trades as a desk does, and asks for the truth."""

    connected: socket.socket
    lines: LineBuffer = field(factory=LineBuffer)
    waiting: list[Message] = field(factory=list)
    count: int = 0

    @classmethod
    def join(cls, path: Path) -> "VenueClient":
        made = cls(connect(path))
        made.connected.settimeout(PATIENCE_S)
        made.send(VenueHello(0, "test", False))
        made.hear(lambda message: isinstance(message, VenueWelcome))
        return made

    def send(self, message: Message) -> None:
        self.connected.sendall(encode(message))

    def hear(self, is_it: Callable[[Message], bool]) -> Any:
        """Return the next message that `is_it`; what comes before it is dropped."""
        while True:
            while self.waiting:
                message = self.waiting.pop(0)
                if is_it(message):
                    return message
            data = self.connected.recv(1 << 20)
            assert data, "the venue hung up"
            self.waiting += [decode(line) for line in self.lines.feed(data)]

    def trade(self, account: str, instrument: str, qty: str, price: str | None = None) -> None:
        """Trade at the market, or leave an order at `price`; return once the venue has said so."""
        self.count += 1
        client_id, amount = f"test-{os.getpid()}-{time.time_ns()}", D(qty)
        order = SubmitOrder(
            1,
            account,
            instrument,
            client_id,
            Side.BUY if amount > 0 else Side.SELL,
            abs(amount),
            OrderType.MARKET if price is None else OrderType.LIMIT,
            None if price is None else D(price),
            TimeInForce.IOC if price is None else TimeInForce.GTC,
        )
        self.send(order)
        ends = OrderFilled if price is None else OrderAccepted
        said = self.hear(
            lambda one: isinstance(one, ends | OrderRejected) and getattr(one, "client_order_id", "") == client_id
        )
        assert isinstance(said, ends), said

    def ask(self, account: str, kind: QueryKind) -> QueryResult:
        self.count += 1
        query_id = f"test-{self.count}"
        self.send(Query(1, account, query_id, kind))
        said = self.hear(lambda one: getattr(one, "query_id", "") == query_id)
        assert not isinstance(said, QueryFailed), said
        assert isinstance(said, QueryResult)
        return said

    def resting(self) -> int:
        return sum(len(self.ask(account, QueryKind.OPEN_ORDERS).orders) for account in ("futures", "spot"))

    def book(self) -> tuple[Decimal, Decimal]:
        """Return what is held of the perpetual and of bitcoin."""
        positions = self.ask("futures", QueryKind.POSITIONS).positions
        balances = self.ask("spot", QueryKind.ACCOUNT).balances or {}
        return sum((one.qty for one in positions), D(0)), balances.get("BTC", D(0))

    def is_flat(self) -> bool:
        return self.book() == (D(0), D(0)) and not self.resting()


@define
class World:
    """The processes of one state folder; all of them end with it."""

    folder: Path
    config: Path
    paths: StatePaths
    processes: list[subprocess.Popen[Any]] = field(factory=list)
    clients: list[VenueClient] = field(factory=list)

    @classmethod
    @contextmanager
    def at(cls, folder: Path, text: str = CONFIG) -> Iterator["World"]:
        config = folder / "config.toml"
        config.write_text(text, encoding="utf-8")
        made = cls(folder, config, StatePaths(folder / "state", folder / "state" / "run"))
        try:
            yield made
        finally:
            for client in made.clients:
                client.connected.close()
            for process in made.processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()

    def start(self, module: str, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.Popen[Any]:
        log = (self.folder / f"{module}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [sys.executable, *python, "-m", module, str(self.config), "--state", str(self.paths.state), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def log(self, module: str) -> str:
        return (self.folder / f"{module}.log").read_text(encoding="utf-8", errors="replace")

    def venue(self) -> VenueClient:
        self.start("daemon.venue")
        client: VenueClient = until(self._join, "the venue answers")
        return client

    def _join(self) -> VenueClient | None:
        try:
            self.clients.append(VenueClient.join(self.paths.venue_socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return self.clients[-1]

    def guard(self, *arguments: str, mode: str = "paper", python: tuple[str, ...] = ()) -> subprocess.Popen[Any]:
        """Start a guard and wait until it answers."""
        process = self.start("daemon.guard", "--mode", mode, *arguments, python=python)
        until(lambda: self.status() or process.poll() is not None, "the guard answers")
        return process

    def desk(self, *, is_locked: bool = True) -> subprocess.Popen[str]:
        """Start a fake desk and wait until the guard hears it."""
        lock = [str(self.paths.lock)] if is_locked else []
        with (self.folder / "desk.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(_HARNESS / "fake_desk.py"), str(self.paths.guard_socket), *lock],
                stdin=subprocess.PIPE,
                stdout=log,
                text=True,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )
        self.processes.append(process)
        until(lambda: self.knows(process.pid), "the guard hears the desk")
        return process

    def knows(self, pid: int) -> bool:
        status = self.status()
        return status is not None and status["desk"]["pid"] == pid and not status["desk"]["is_silent"]

    # The guard's own socket

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method and return its result. Raises OSError when nobody answers."""
        with connect(self.paths.panic_socket) as connected:
            connected.settimeout(PATIENCE_S)
            frame = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            connected.sendall(json.dumps(frame).encode() + b"\n")
            with connected.makefile("rb") as answers:
                line = answers.readline()
        if not line:
            raise ConnectionError("no answer")
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def status(self) -> dict[str, Any] | None:
        try:
            return self.call("status")
        except OSError:
            return None

    def level(self) -> str:
        status = self.status()
        return "" if status is None else status["level"]

    # The journals

    def rows(self, query: str, path: Path | None = None) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{path or self.paths.guard_journal}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def latches(self) -> list[tuple[str, str]]:
        return [(level, trigger) for level, trigger in self.rows("SELECT level, trigger FROM latch ORDER BY number")]

    def kinds(self) -> list[str]:
        """The story of the guard without what it asked venues."""
        return [kind for (kind,) in self.rows("SELECT kind FROM story ORDER BY number") if kind != "AdminCall"]

    def commands(self) -> list[Command]:
        """Every command the venue took, whoever sent it."""
        lines = self.rows("SELECT line FROM commands ORDER BY number", self.paths.venue_journal)
        found = [decode(line.encode()) for (line,) in lines]
        return [one for one in found if isinstance(one, Command)]
