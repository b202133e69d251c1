"""The real desk, killed anywhere, goes on byte for byte as the one that nobody killed (I8)."""

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import demo_desk
import pytest
from demo_desk import BUSY, ROOT, Bomb, Memory, Taken, feed, play, play_durable, write_config

from actors.cell import Cell
from daemon.app import build_actors
from daemon.config_schema import RunConfig
from daemon.live.recovery import Recovery, last_run, next_run_folder, recover
from daemon.log import RunLog, open_log
from daemon.log.canonical import input_line, intent_line
from daemon.log.replay import check
from daemon.log.snapshots import encode_snapshot

SECOND = 1_000_000_000
FOLLOWED = 600
KILLS = 20
CUTS = 12


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return write_config(tmp_path_factory.mktemp("desk") / "desk.toml", BUSY)


@pytest.fixture(scope="module")
def whole(config: RunConfig) -> Memory:
    """The run that nobody kills."""
    memory = Memory()
    cell = demo_desk.build_cell(config)
    cell.sink = memory
    play(config, cell, memory)
    return memory


@pytest.fixture(scope="module")
def left(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the run leaves when it is killed at its end: its write-ahead log has every commit."""
    folder = tmp_path_factory.mktemp("left")
    log = play_durable(config, folder / "open", 700, lambda: None, wal_only=True)
    shutil.copytree(folder / "open", folder / "log", ignore=shutil.ignore_patterns("*-shm"))
    log.abandon()
    return folder / "log"


def goes_on(config: RunConfig, whole: Memory, found: Recovery) -> int:
    """Check the recovered state against a cell fed the same inputs, and what it does next; return how many."""
    cut = sum(1 for seq, *_ in whole.inputs if seq <= found.seq)
    uninterrupted = demo_desk.build_cell(config)
    lines = [intent_line(intent) for intent in uninterrupted.start(config.run.start_ns)]
    lines += feed(uninterrupted, whole.inputs[:cut])
    assert encode_snapshot(found.snapshot) == encode_snapshot(uninterrupted.snapshot())
    assert (found.seq, found.now) == (uninterrupted.dispatcher.seq, uninterrupted.dispatcher.now)
    assert lines == whole.lines[: len(lines)]
    again = demo_desk.build_cell(config)
    assert again.start(found.now, found.snapshot) == []
    sent = feed(again, whole.inputs[cut : cut + FOLLOWED])
    assert sent == whole.lines[len(lines) : len(lines) + len(sent)]
    assert encode_snapshot(again.snapshot()) == encode_snapshot(_fed(uninterrupted, whole.inputs[cut : cut + FOLLOWED]))
    return cut


def _fed(cell: Cell, inputs: Sequence[Taken]) -> dict[str, object]:
    feed(cell, inputs)
    return cell.snapshot()


def builder(config: RunConfig) -> Callable[[str], Cell]:
    def build(text: str) -> Cell:
        assert text == config.text
        return demo_desk.build_cell(config)

    return build


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment(config: RunConfig, whole: Memory, tmp_path: Path, number: int) -> None:
    """A process of its own, killed after a random number of its commits, wherever it is by then."""
    choice = random.Random(number)
    script = [sys.executable, str(ROOT / "tests" / "harness" / "demo_desk.py"), str(config_path(config, tmp_path))]
    process = subprocess.Popen(
        [*script, str(tmp_path / "log"), str(choice.choice((0, 50, 900)))],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    survived = 0
    with process:
        for _ in range(choice.randrange(1, 4_000)):
            survived += len(process.stdout.read(1))
        process.kill()
        survived += len(process.stdout.read())
    assert process.returncode == -9
    found = recover(tmp_path / "log", builder(config))
    assert found.is_complete
    assert not found.warnings
    cut = goes_on(config, whole, found)
    # A commit without an order path may be lost; one with it is not, nor anything before it.
    records = list(open_log(tmp_path / "log").records())
    taken = {seq: input_line(seq, now, held, message) for seq, now, held, message in whole.inputs}
    assert [record.line for record in records if not record.is_intent] == list(taken.values())[: len(taken)][:cut]
    assert check(tmp_path / "log", builder(config)).is_identical
    assert survived > 0


def config_path(config: RunConfig, folder: Path) -> Path:
    path = folder / "desk.toml"
    path.write_text(config.text, encoding="utf-8")
    return path


def commit_ends(wal: Path) -> list[int]:
    """Return where the transactions of a write-ahead log end, in bytes: after a frame that tells the file's size."""
    data = wal.read_bytes()
    page_bytes, salts, ends = struct.unpack_from(">I", data, 8)[0], data[16:24], []
    for at in range(32, len(data) - page_bytes, page_bytes + 24):
        if data[at + 8 : at + 16] != salts:
            break
        if struct.unpack_from(">I", data, at + 4)[0]:
            ends.append(at + 24 + page_bytes)
    return ends


def test_the_journal_cut_at_any_commit(config: RunConfig, whole: Memory, left: Path, tmp_path: Path) -> None:
    """What is lost of the journal is left out of the segments too, where they know of it."""
    ends = commit_ends(left / "journal.sqlite-wal")
    assert len(ends) > 200
    found_at = []
    for end in sorted(random.Random(3).sample(ends[5:], CUTS)):
        shutil.copytree(left, tmp_path / "log")
        wal = tmp_path / "log" / "journal.sqlite-wal"
        wal.write_bytes(wal.read_bytes()[:end])
        found = recover(tmp_path / "log", builder(config))
        found_at.append(goes_on(config, whole, found))
        assert found.is_complete == (open_log(tmp_path / "log").lost_rows == 0)
        shutil.rmtree(tmp_path / "log")
    assert found_at == sorted(found_at)
    assert found_at[0] < len(whole.inputs) // 3 < found_at[-1]


def test_the_segment_cut_anywhere(config: RunConfig, whole: Memory, left: Path, tmp_path: Path) -> None:
    """A snapshot makes good what is missing before it; what is missing behind it ends the recovery, and is told."""
    size = (left / "market-000000.seg").stat().st_size
    seqs = open_log(left).snapshot_seqs()
    for end in sorted(random.Random(4).sample(range(200, size), CUTS)):
        shutil.copytree(left, tmp_path / "log")
        segment = tmp_path / "log" / "market-000000.seg"
        segment.write_bytes(segment.read_bytes()[:end])
        found = recover(tmp_path / "log", builder(config))
        goes_on(config, whole, found)
        assert found.base_seq == seqs[0]
        assert found.is_complete == (not any("could not be replayed" in text for text in found.warnings))
        shutil.rmtree(tmp_path / "log")


def test_ten_generations(config: RunConfig, whole: Memory, tmp_path: Path) -> None:
    """Each takes its share of the inputs from where the last was killed; together they are the uninterrupted run."""
    runs, sent = tmp_path / "runs", list[bytes]()
    found: Recovery | None = None
    for number, (begin, end) in enumerate(pairwise(_shares(whole, 10))):
        cell, folder = demo_desk.build_cell(config), next_run_folder(runs)
        snapshot = None if found is None else found.snapshot
        log = RunLog.create(
            folder / "log", config.text, config.sha256, "build", whole.inputs[begin][1], durable=True, snapshot=snapshot
        )
        cell.sink = log
        intents = cell.start(config.run.start_ns, snapshot)
        for at, (_, now, is_held, message) in enumerate(whole.inputs[begin:end]):
            intents += cell.replay(now, message, is_held)
            if at % 40 == 39:
                log.intents(intents)
                log.commit()
                sent += [intent_line(intent) for intent in intents]
                intents = []
            if number % 3 == 1 and at == 200:
                intents += cell.finish_replay()
                log.intents(intents)
                log.write_snapshot(cell.dispatcher.seq, cell.dispatcher.now, cell.snapshot())
                sent += [intent_line(intent) for intent in intents]
                intents = []
        intents += cell.finish_replay()
        log.intents(intents)
        sent += [intent_line(intent) for intent in intents]
        log.sync()
        log.abandon()
        last = last_run(runs)
        assert last == folder
        found = recover(last, builder(config))
        assert encode_snapshot(found.snapshot) == encode_snapshot(cell.snapshot())
        assert found.is_complete
    assert found is not None
    assert sent == whole.lines
    goes_on(config, whole, found)
    assert found.seq >= whole.inputs[-1][0]


def _shares(whole: Memory, count: int) -> list[int]:
    """Return where to cut the inputs in so many parts, never while views are held back."""
    total = len(whole.inputs)
    cuts = [total * number // count for number in range(1, count)]
    return [0, *(next(at for at in range(cut, total) if not whole.inputs[at][2]) for cut in cuts), total]


@pytest.mark.parametrize("seal", [False, True], ids=["killed", "sealed"])
@pytest.mark.parametrize("every", [0, 100, 2_000])
def test_a_run_that_set_an_input_aside(config: RunConfig, tmp_path: Path, seal: bool, every: int) -> None:
    """From the beginning, from a snapshot before and from one after the failure."""

    def build(_: str) -> Cell:
        return Cell(lambda: [*build_actors(config), Bomb(21 * SECOND)], snapshot_every=50)

    log = play_durable(config, tmp_path / "log", every, lambda: None, cell=(cell := build("")))
    if seal:
        log.close()
    else:
        log.sync()
        log.abandon()
    assert [one.actor for one in cell.quarantined] == ["bomb"]
    found = recover(tmp_path / "log", build)
    assert encode_snapshot(found.snapshot) == encode_snapshot(cell.snapshot())
    assert found.snapshot["quarantined_ns"] == cell.quarantined[0].now
    assert (found.base_seq > 0) == (every > 0)
