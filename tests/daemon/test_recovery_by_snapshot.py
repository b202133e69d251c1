"""The real desk, snapshotted anywhere in a run, goes on from that snapshot as if nothing had happened."""

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from attrs import define, field

from actors.base import Actor
from actors.cell import Cell
from actors.dispatcher import Intent
from daemon.app import build_actors, build_seats, markets
from daemon.config import load
from daemon.config_schema import RunConfig, Synthetic
from daemon.kinds import KINDS
from daemon.log.canonical import input_line, intent_line
from sim.clocks import ClockStatistics, two_clocks
from sim.driver import Driver
from sim.synthetic import SyntheticMarket
from venues.port import Message

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000_000
FOLLOWED = 1_200


@define
class Memory:
    """A log in memory: inputs as taken, intents as sent."""

    inputs: list[tuple[int, int, bool, Message]] = field(factory=list)
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


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The demo's desk on ninety seconds of market over a funding stamp that opens and closes at once."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    for key, value in (
        ("duration", '"90s"'),
        ("entry_bps", '"-100"'),
        ("max_hold", '"15s"'),
        ("cooldown", '"5s"'),
        ("start", '"2026-01-15T15:59:30Z"'),
    ):
        text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    path = tmp_path_factory.mktemp("desk") / "desk.toml"
    path.write_text(text)
    return load(path, KINDS)


def play(config: RunConfig, cell: Cell, memory: Memory) -> None:
    assert isinstance(config.market, Synthetic)
    market = SyntheticMarket(config.market.settings(config.run), dict(config.instruments))
    seats = build_seats(config)
    accounts = {account.id: seats[account.venue] for account in config.accounts.values()}
    driver = Driver(cell, accounts, markets(config, seats), memory)
    driver.run(two_clocks(market, ClockStatistics()), config.run.start_ns)


@pytest.fixture(scope="module")
def whole(config: RunConfig) -> Memory:
    memory = Memory()
    play(config, Cell(lambda: build_actors(config), sink=memory), memory)
    return memory


def feed(cell: Cell, inputs: list[tuple[int, int, bool, Message]]) -> list[bytes]:
    intents = [intent for _, now, is_held, message in inputs for intent in cell.replay(now, message, is_held)]
    return [intent_line(intent) for intent in [*intents, *cell.finish_replay()]]


def test_a_cell_restored_at_any_point_emits_the_same_intents(config: RunConfig, whole: Memory) -> None:
    """Cut at every input around which the desk acts, and at every hundredth; each time through JSON."""
    inputs, kinds = whole.inputs, [type(message).__name__ for *_, message in whole.inputs]
    assert {"OrderFilled", "FundingSettled", "QueryResult", "TimerFired"} <= set(kinds)
    acting = [number for number, kind in enumerate(kinds) if kind in ("OrderAccepted", "OrderFilled", "FundingSettled")]
    cuts = sorted({*acting, *(number + 1 for number in acting), *range(100, len(inputs), len(inputs) // 12)})
    cuts = [cut for cut in cuts if cut < len(inputs) and not inputs[cut][2]]
    assert len(cuts) > 20

    running = Cell(lambda: build_actors(config))
    lines = [intent_line(intent) for intent in running.start(config.run.start_ns)]
    for begin, cut in pairwise([0, *cuts]):
        lines += feed(running, inputs[begin:cut])
        plain = json.dumps(running.snapshot())
        fresh = Cell(lambda: build_actors(config))
        assert fresh.start(inputs[cut][1], json.loads(plain)) == []
        assert json.dumps(fresh.snapshot()) == plain
        following = inputs[cut : cut + FOLLOWED]
        sent = feed(fresh, following)
        expected = whole.lines[len(lines) :]
        assert sent == expected[: len(sent)], f"cut before input {inputs[cut][0]}"
        last = fresh.dispatcher.seq
        assert len(sent) == sum(1 for line in expected if json.loads(line)["seq"] <= last)
    assert [*lines, *feed(running, inputs[cuts[-1] :])] == whole.lines


@pytest.mark.parametrize("at", [8 * SECOND, 12 * SECOND + 345_678_901, 21 * SECOND])
def test_a_rebuild_does_the_same_from_a_near_snapshot_as_from_the_beginning(config: RunConfig, at: int) -> None:
    runs = []
    for snapshot_every in (50, 1_000_000):
        memory = Memory()
        cell = Cell(lambda: [*build_actors(config), Bomb(at)], sink=memory, snapshot_every=snapshot_every)
        play(config, cell, memory)
        assert [one.actor for one in cell.quarantined] == ["bomb"]
        assert cell.halt is None
        runs.append(([input_line(*taken) for taken in memory.inputs], memory.lines, json.dumps(cell.snapshot())))
    near, far = runs
    assert near[1] == far[1]
    assert near == far
