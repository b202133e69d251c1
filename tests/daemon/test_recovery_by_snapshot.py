"""The real desk, snapshotted anywhere in a run, goes on from that snapshot as if nothing had happened."""

import json
from itertools import pairwise

import pytest
from demo_desk import Bomb, Memory, feed, play, write_config

from actors.cell import Cell
from daemon.app import build_actors
from daemon.config_schema import RunConfig
from daemon.log.canonical import input_line, intent_line

SECOND = 1_000_000_000
FOLLOWED = 1_200


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return write_config(tmp_path_factory.mktemp("desk") / "desk.toml")


@pytest.fixture(scope="module")
def whole(config: RunConfig) -> Memory:
    memory = Memory()
    play(config, Cell(lambda: build_actors(config), sink=memory), memory)
    return memory


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
