"""A real cell, caught in the middle of a synthetic day, with the two protocols that admin methods need around it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from actors.base import Actor
from actors.cell import Cell
from actors.dispatcher import Intent
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon.admin.calls import RefusedError, Role
from daemon.admin.methods import DeskMethods
from daemon.admin.server import AdminServer, Limits
from daemon.app import build_actors
from daemon.config import load
from daemon.config_schema import RunConfig, Synthetic
from daemon.kinds import KINDS
from daemon.live.sockets import connect, listen
from daemon.seats import build_seats, markets
from sim.clocks import ClockStatistics, two_clocks
from sim.driver import Driver
from sim.synthetic import SyntheticMarket
from venues.port import Message

ROOT = Path(__file__).resolve().parents[2]
UNBOUND = Limits(calls_per_s=1_000_000, burst=1_000_000)
"""Limits for tests that are about something else than the rate."""


@define
class _Memory:
    inputs: list[tuple[int, int, bool, Message]] = field(factory=list)

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        self.inputs.append((seq, now, is_held, message))

    def intents(self, intents: Sequence[Intent]) -> None:
        pass

    def commit(self) -> None:
        pass


@define
class Moment:
    """A desk's configuration and its state at a moment with open baskets."""

    config: RunConfig
    now: int
    snapshot: str


def caught_in_the_middle(folder: Path) -> Moment:
    """Play the demo's desk for twenty seconds of its market and return the last moment with an open basket."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    for key, value in (("duration", '"20s"'), ("entry_bps", '"-100"'), ("max_hold", '"1h"')):
        text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    path = folder / "desk.toml"
    path.write_text(text)
    config = load(path, KINDS)
    assert isinstance(config.market, Synthetic)
    memory = _Memory()
    cell = Cell(lambda: build_actors(config), sink=memory)
    seats = build_seats(config)
    accounts = {account.id: seats[account.venue] for account in config.accounts.values()}
    market = SyntheticMarket(config.market.settings(config.run), dict(config.instruments))
    driver = Driver(cell, accounts, markets(config, seats), memory)
    driver.run(two_clocks(market, ClockStatistics()), config.run.start_ns)
    stop = next(at for at, taken in enumerate(memory.inputs) if type(taken[3]).__name__ == "StopCommand")
    again = Cell(lambda: build_actors(config))
    again.start(config.run.start_ns)
    for _, now, is_held, message in memory.inputs[:stop]:
        again.replay(now, message, is_held)
    again.finish_replay()
    return Moment(config, again.dispatcher.now, json.dumps(again.snapshot()))


class MemoryDesk:
    """Stands in for the trading process: DeskView, DeskControl and the journal. `heard` is the order of all things."""

    def __init__(self, moment: Moment, *, snapshot_every: int = 20_000) -> None:
        self.moment = moment
        self.cell = Cell(lambda: build_actors(moment.config), snapshot_every=snapshot_every)
        self.cell.start(moment.now, json.loads(moment.snapshot))
        self.journaled: list[Message] = []
        self.heard: list[str] = []
        self.journal_error: Exception | None = None
        self.refusing = ""
        self.is_ready = True

    @property
    def actors(self) -> Mapping[str, Actor]:
        return self.cell.dispatcher.actors

    def now(self) -> int:
        return self.cell.dispatcher.now

    def info(self) -> dict[str, Any]:
        config = self.moment.config
        return {
            "mode": "paper",
            "run": "000001",
            "name": config.run.name,
            "build": "0.1.0+0123456789ab",
            "config_sha256": config.sha256,
            "pid": 4242,
            "is_ready": self.is_ready,
            "why_not_ready": "" if self.is_ready else "futures is read-only: not reconciled since the start",
            "guard": {"is_up": True, "why": "", "level": "armed", "is_in_charge": False},
            "venues": {venue: {"is_up": True, "why": ""} for venue in config.venues},
            "started_ns": self.now() - 90_000_000_000,
            "metrics_port": None,
            "lanes": self.cell.dispatcher.depths,
        }

    def journal(self, message: Message) -> None:
        if self.journal_error is not None:
            raise self.journal_error
        self.journaled.append(message)
        self.heard.append(f"journal {type(message).__name__} {getattr(message, 'method', '')}")
        self._offer(message)

    def offer(self, message: Message) -> None:
        self.heard.append(f"offer {type(message).__name__}")
        self._offer(message)

    def _offer(self, message: Message) -> None:
        self.cell.offer(message)
        self.cell.run(self.now())

    async def kill(self, level: KillLevel, operator: str, reason: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        self.offer(KillCommand(self.now(), operator, level, reason))
        return {"level": self.actors["kill_switch"].state.level.name.lower(), "guard": "told"}

    async def arm(self, operator: str, reason: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self.refusing:
            raise RefusedError(self.refusing)
        self.offer(ArmCommand(self.now(), operator, reason))
        return {"level": self.actors["kill_switch"].state.level.name.lower(), "guard": "told"}

    def fingerprint(self) -> str:
        """Return a digest of every actor's state."""
        return sha256(json.dumps(self.cell.snapshot()["actors"], sort_keys=True).encode()).hexdigest()


@contextmanager
def listening(desk: MemoryDesk, path: Path, role: Role, limits: Limits = UNBOUND) -> Iterator[AdminServer]:
    """Give a server of the desk's methods, to be run while its socket is open."""
    methods = DeskMethods(desk, desk).table
    with listen(path) as listener:
        yield AdminServer(listener, role, methods, journal=desk.journal, now=desk.now, limits=limits)


class Wire:
    """The other end of an admin socket, bytes and all."""

    def __init__(self, path: Path) -> None:
        connected = connect(path)
        connected.setblocking(False)
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self._rest = b""
        self._number = 0

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def line(self) -> dict[str, Any]:
        """Return the next line. Raises EOFError when the server hung up."""
        while b"\n" not in self._rest:
            try:
                data = await self.stream.receive_some(65_536)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise EOFError
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        assert answer["jsonrpc"] == "2.0"
        return answer

    async def ask(self, raw: bytes) -> dict[str, Any]:
        """Send one frame and return the line that answers it."""
        await self.send(raw + b"\n")
        return await self.line()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        call = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        answer = await self.ask(json.dumps(call).encode())
        assert answer["id"] == self._number
        return answer

    async def is_hung_up(self) -> bool:
        try:
            await self.line()
        except EOFError:
            return True
        return False

    async def close(self) -> None:
        await self.stream.aclose()
