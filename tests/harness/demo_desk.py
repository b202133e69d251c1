"""The demo's desk on ninety seconds of market, played from its configuration: in this process, or in one to be killed.

As a program: `demo_desk.py CONFIG FOLDER SNAPSHOT_EVERY` plays it into a durable log, writes a snapshot after so many
commits and a byte to standard output for each commit that it has survived.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import define, field

from actors.base import Actor
from actors.cell import Cell
from actors.dispatcher import Intent
from daemon.app import build_actors
from daemon.config import load
from daemon.config_schema import RunConfig, Synthetic
from daemon.kinds import KINDS
from daemon.log import RunLog
from daemon.log.canonical import intent_line
from daemon.seats import build_seats, markets
from sim.cell_loop import CellLoop, IntentLog
from sim.clocks import ClockStatistics, two_clocks
from sim.driver import Driver
from sim.synthetic import SyntheticMarket
from venues.port import Message

Taken = tuple[int, int, bool, Message]
"""An input as it was taken: seq, now, whether views were held back, the message."""

ROOT = Path(__file__).resolve().parents[2]


@define
class Memory:
    """A log in memory: inputs as taken, intents as sent."""

    inputs: list[Taken] = field(factory=list)
    lines: list[bytes] = field(factory=list)

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        self.inputs.append((seq, now, is_held, message))

    def intents(self, intents: Sequence[Intent]) -> None:
        self.lines += [intent_line(intent) for intent in intents]

    def commit(self) -> None:
        pass


class Bomb(Actor):
    """Goes off in a timer at `at` (ns after the start), which costs the cell one rebuild."""

    def __init__(self, at: int) -> None:
        super().__init__("bomb")
        self.at = at
        self.state = None

    def start(self, now: int) -> None:
        self.out.timer("off", now + self.at)

    def on_timer(self, now: int, key: str) -> None:
        raise ValueError("off")


def feed(cell: Cell, inputs: Sequence[Taken]) -> list[bytes]:
    """Let a cell take inputs again; return its intents' lines."""
    intents = [intent for _, now, is_held, message in inputs for intent in cell.replay(now, message, is_held)]
    return [intent_line(intent) for intent in [*intents, *cell.finish_replay()]]


CALM = {
    "duration": '"90s"',
    "entry_bps": '"-100"',
    "max_hold": '"15s"',
    "cooldown": '"5s"',
    "start": '"2026-01-15T15:59:30Z"',
}
BUSY = {**CALM, "max_hold": '"2s"', "cooldown": '"500ms"', "max_baskets": "1000"}


def write_config(path: Path, changes: Mapping[str, str] = CALM) -> RunConfig:
    """Write and load the demo's desk on a market over a funding stamp; it opens and closes at once, again and again."""
    text = (ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")
    for key, value in changes.items():
        text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    path.write_text(text, encoding="utf-8")
    return load(path, KINDS)


def build_cell(config: RunConfig) -> Cell:
    return Cell(lambda: build_actors(config))


class CommittingLoop(CellLoop):
    """Commits whenever the cell has run, as a live driver does."""

    def hear(self, now: int, messages: Sequence[Message]) -> None:
        super().hear(now, messages)
        self.log.commit()


class CommittingDriver(Driver):
    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._loop = CommittingLoop(self.cell, self._loop.exchange, self.log, self.result)


def play(config: RunConfig, cell: Cell, log: IntentLog, driver_class: type[Driver] = Driver) -> None:
    """Play the whole market; `log` gets the intents, the cell's sink the inputs."""
    assert isinstance(config.market, Synthetic)
    market = SyntheticMarket(config.market.settings(config.run), dict(config.instruments))
    seats = build_seats(config)
    accounts = {account.id: seats[account.venue] for account in config.accounts.values()}
    driver = driver_class(cell, accounts, markets(config, seats), log)
    driver.run(two_clocks(market, ClockStatistics()), config.run.start_ns)


@define
class Snapshotting:
    """A log that also writes a snapshot after each `every` commits; `committed` is called after each commit."""

    cell: Cell
    log: RunLog
    every: int
    committed: Callable[[], object]
    commits: int = 0

    def intents(self, intents: Sequence[Intent]) -> None:
        self.log.intents(intents)

    def commit(self) -> None:
        self.log.commit()
        self.commits += 1
        self.committed()
        if self.every and self.commits % self.every == 0:
            dispatcher = self.cell.dispatcher
            self.log.write_snapshot(dispatcher.seq, dispatcher.now, self.cell.snapshot())


def play_durable(
    config: RunConfig,
    folder: Path,
    every: int,
    committed: Callable[[], object],
    *,
    cell: Cell | None = None,
    wal_only: bool = False,
) -> RunLog:
    """Play into a durable log; return it once the market is over, still open.

    `wal_only`: nothing is folded into the journal's main file, so that its write-ahead log has every commit.
    """
    cell = cell or build_cell(config)
    log = RunLog.create(folder, config.text, config.sha256, "build", config.run.start_ns, durable=True)
    if wal_only:
        log._journal._connection.execute("PRAGMA wal_autocheckpoint = 0")  # type: ignore[union-attr]
    cell.sink = log
    play(config, cell, Snapshotting(cell, log, every, committed), CommittingDriver)
    return log


def main(config: str, folder: str, every: str) -> None:
    play_durable(load(config, KINDS), Path(folder), int(every), lambda: os.write(sys.stdout.fileno(), b".")).close()


if __name__ == "__main__":
    main(*sys.argv[1:])
