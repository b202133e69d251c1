"""The guard as a process: a desk that hangs, a guard that is killed, a journal that breaks, a disk that is full."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guard_world import CONFIG, PERP, SPOT, VenueClient, World, until
from message_sinks import http_sink

from venues.port import SubmitOrder

LEVELS = ["armed", "reduce_only", "cancel_all", "flatten"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World.at(tmp_path) as made:
        yield made


def carry(venue: VenueClient, qty: str = "0.05") -> None:
    """Open a carry: long spot, short the perpetual."""
    venue.trade("spot", SPOT, qty)
    venue.trade("futures", PERP, f"-{qty}")


def stopped(process: "subprocess.Popen[Any]") -> None:
    process.send_signal(signal.SIGSTOP)


# The desk hangs


def test_heartbeats_stop_and_everything_is_cancelled(world):
    venue = world.venue()
    world.guard()
    desk = world.desk()
    venue.trade("futures", PERP, "-0.01", "90000")
    venue.trade("spot", SPOT, "0.01", "30000")
    assert venue.resting() == 2
    stopped(desk)
    began = time.monotonic()
    until(lambda: not venue.resting(), "both orders are cancelled")
    print(f"\nSIGSTOP to all cancelled: {time.monotonic() - began:.3f} s")
    assert world.latches() == [("ARMED", "start"), ("CANCEL_ALL", "heartbeat")]
    until(lambda: set((world.status() or {})["cancelled"].values()) == {"proven"}, "cancels are proven")
    desk.send_signal(signal.SIGCONT)
    until(lambda: world.knows(desk.pid), "it beats again")
    assert world.level() == "cancel_all", "the latch holds"
    assert desk.poll() is None


def test_what_a_stopped_desk_cannot_tell_the_guard_tells(tmp_path):
    with http_sink() as sink, World.at(tmp_path, f'{CONFIG}\n[channels.webhook]\nurl = "{sink.url}"\n') as world:
        world.venue()
        world.guard()
        stopped(world.desk())
        until(lambda: sink.posts, "the webhook hears of it")
    _, told = sink.posts[0]
    assert (told["ref"], told["urgency"], told["subject"]) == (
        "guard/latch",
        "critical",
        "the guard latched CANCEL_ALL",
    )
    assert told["text"].startswith("heartbeat: no heartbeat for")


@pytest.mark.parametrize("method", ["kill", "panic"])
def test_a_stopped_desk_is_ended_and_its_book_flattened(world, method):
    venue = world.venue()
    world.guard()
    desk = world.desk()
    carry(venue)
    venue.trade("futures", PERP, "-0.01", "90000")
    stopped(desk)
    began = time.monotonic()
    params = {"level": "flatten"} if method == "kill" else {}
    world.call(method, reason="it hangs", **params)
    until(venue.is_flat, "the book is flat")
    print(f"\n{method} to flat with a stopped desk: {time.monotonic() - began:.3f} s")
    assert desk.wait() == -signal.SIGKILL
    until(lambda: (world.status() or {})["flattening"]["course"] == "flat", "the guard knows")
    kinds = world.kinds()
    first = kinds.index("SubmitOrder")
    order = [kinds.index(kind) for kind in ("CancelAll", "Charge", "Fence", "Fenced")]
    assert order == sorted(order)
    assert order[-1] < first, "ended before the first order"
    (reason,) = world.rows("SELECT operator, uid, pid, reason FROM latch WHERE level = 'FLATTEN'")
    assert reason[1:] == (os.getuid(), os.getpid(), "it hangs")


def test_a_desk_that_comes_back_is_in_nobodys_way(world):
    """The book is given back to the desk that starts after the old one was ended; arming is written down."""
    venue = world.venue()
    world.guard()
    world.desk()
    carry(venue)
    world.call("panic", reason="x")
    until(venue.is_flat, "flat")
    desk = world.desk()
    until(lambda: not (world.status() or {})["is_in_charge"], "given back")
    until(lambda: (world.status() or {})["desk"]["level"] == "cancel_all", "the desk has seen the latch")
    assert world.level() == "flatten"
    assert desk.stdin is not None
    desk.stdin.write('{"kind":"ArmCommand","message":{"ts":1,"operator":"alice","reason":"all is well"}}\n')
    desk.stdin.flush()
    until(lambda: world.level() == "armed", "armed")
    last = world.rows("SELECT level, before, operator, pid, reason FROM latch ORDER BY number DESC LIMIT 1")
    assert last == [("ARMED", "FLATTEN", "alice", desk.pid, "all is well")]


# The guard is killed


def test_the_latch_holds_over_kill_9_at_any_moment(world):
    """What was answered is latched; what was not may be, and nothing else can be."""
    dice = random.Random(5)
    world.guard(mode="run")
    before = "reduce_only"
    for turn in range(6):
        guard = world.processes[-1]
        level = LEVELS[min(3, 1 + turn // 2)]
        delay = dice.uniform(0, 0.006)
        killer = subprocess.Popen(["/bin/sh", "-c", f"sleep {delay:.4f}; kill -9 {guard.pid}"])
        try:
            told = world.call("kill", level=level, reason=f"turn {turn}")["level"]
        except OSError:
            told = ""
        killer.wait()
        guard.wait()
        world.guard()
        found = world.level()
        assert found in {before, level}
        assert LEVELS.index(found) >= LEVELS.index(told or before)
        before = found
    assert all(one[1] in {"start", "operator"} for one in world.latches())


def test_flattening_goes_on_over_kill_9_and_nothing_is_sent_twice(world):
    venue = world.venue()
    dice = random.Random(7)
    world.guard()
    for turn in range(3):
        carry(venue, "0.3")
        world.call("panic", reason=f"turn {turn}")
        time.sleep(dice.uniform(0, 0.06))
        world.processes[-1].kill()
        world.processes[-1].wait()
        world.guard()
        until(venue.is_flat, "flat after all")
        until(lambda: (world.status() or {})["flattening"]["course"] == "flat", "and known")
    ids = [one.client_order_id for one in world.commands() if isinstance(one, SubmitOrder)]
    mine = [one for one in ids if one.startswith("gd-")]
    assert len(set(mine)) == len(mine) >= 4


def test_a_desk_that_died_while_no_guard_was_there_is_missed(world):
    venue = world.venue()
    guard = world.guard()
    desk = world.desk()
    venue.trade("futures", PERP, "-0.01", "90000")
    guard.kill()
    guard.wait()
    desk.kill()
    desk.wait()
    world.guard()
    until(lambda: not venue.resting(), "cancelled")
    assert world.latches()[-1] == ("CANCEL_ALL", "heartbeat")


def test_a_guard_that_stood_still_does_not_blame_the_desk(world):
    guard = world.guard()
    desk = world.desk()
    stopped(guard)
    time.sleep(2.0)
    guard.send_signal(signal.SIGCONT)
    until(lambda: world.knows(desk.pid), "it hears the desk")
    assert world.level() == "armed"


# The venue fails


def test_a_killed_venue_is_flattened_when_it_is_back(world):
    venue = world.venue()
    world.guard()
    carry(venue)
    world.processes[0].kill()
    world.processes[0].wait()
    world.call("kill", level="flatten", reason="x")
    until(lambda: "is not known" in str((world.status() or {})["flattening"]["left"]), "it says what it waits for")
    venue = world.venue()
    until(venue.is_flat, "flat")


# Journals


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5_000])


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE something (x)")
    connection.close()


def nonsense(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE memory SET value = 'x' WHERE key = 'epoch'")
    connection.close()


def overwritten(path: Path) -> None:
    """Every page after the first holds something else."""
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    path.write_bytes(data)


BROKEN = [garbage, cut, foreign, nonsense, overwritten]


@pytest.mark.parametrize("damage", BROKEN, ids=[one.__name__ for one in BROKEN])
def test_a_journal_that_cannot_be_trusted_stops_everything(world, damage: Callable[[Path], None]):
    venue = world.venue()
    guard = world.guard()
    guard.terminate()
    assert guard.wait() == 0
    venue.trade("futures", PERP, "-0.01", "90000")
    damage(world.paths.guard_journal)
    world.guard()
    status = world.status()
    assert status is not None
    assert (status["level"], status["trigger"]) == ("cancel_all", "journal")
    until(lambda: not venue.resting(), "cancelled")
    aside = [one.name for one in world.paths.guard_journal.parent.glob("guard.sqlite.broken-*")]
    assert len([one for one in aside if not one.endswith(("-wal", "-shm"))]) == 1
    assert aside[0] in status["why"]


def test_a_locked_journal_stops_everything_and_is_left_alone(world):
    guard = world.guard()
    guard.terminate()
    guard.wait()
    connection = sqlite3.connect(world.paths.guard_journal, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    try:
        world.guard()
        status = world.status()
        assert status is not None
        assert status["level"] == "cancel_all"
        assert "locked" in status["journal"]["why"]
    finally:
        connection.close()
    assert world.latches() == [("ARMED", "start")]


def tmpfs(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    folder = world.paths.guard_journal.parent
    mounted = tmpfs(folder, "512k")
    next(mounted)
    try:
        yield folder
    finally:
        for _ in mounted:
            pass


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 512, 1):
            while True:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    break
    return ballast


def heard(world: World, kind: str) -> int:
    """Return how many messages of a kind the fake desk has heard."""
    return (world.folder / "desk.log").read_text().count(f'"kind": "{kind}"')


def test_on_a_full_disk_it_acts_all_the_same_and_arms_nothing(world, small_disk):
    venue = world.venue()
    guard = world.guard()
    desk = world.desk()
    venue.trade("futures", PERP, "-0.01", "90000")
    ballast = fill(small_disk)
    for number in range(200):
        # Some frames may still fit into the log that is there.
        status = world.call("kill", level="reduce_only", reason=f"{number} " + "x" * 400)
        if status["journal"]["why"]:
            break
    assert "full" in status["journal"]["why"]
    until(lambda: not venue.resting(), "cancelled although nothing could be written")
    assert world.level() == "cancel_all"
    assert desk.stdin is not None
    arm = '{"kind":"ArmCommand","message":{"ts":1,"operator":"alice","reason":"go on"}}\n'
    desk.stdin.write(arm)
    desk.stdin.flush()
    until(lambda: heard(world, "ArmRefused") == 1, "refused")
    ballast.unlink()
    until(lambda: ("CANCEL_ALL", "journal") in world.latches(), "written once there is room")
    desk.stdin.write(arm)
    desk.stdin.flush()
    until(lambda: heard(world, "ArmRefused") == 2, "refused until a restart")
    guard.kill()
    guard.wait()
    world.guard()
    status = world.status()
    assert status is not None
    assert (status["level"], status["journal"]["why"]) == ("cancel_all", "")


def test_it_starts_on_a_full_disk_and_trusts_nothing(world, small_disk):
    guard = world.guard()
    guard.terminate()
    guard.wait()
    fill(small_disk)
    world.guard()
    status = world.status()
    assert status is not None
    assert status["level"] == "cancel_all"
    assert status["journal"]["why"]


# Beginnings and ends


@pytest.mark.parametrize(("mode", "level"), [("paper", "armed"), ("run", "reduce_only")])
def test_where_a_new_latch_stands(world, mode, level):
    world.guard(mode=mode)
    assert world.level() == level


def test_a_second_guard_leaves_quietly(world):
    world.guard()
    assert world.start("daemon.guard").wait(timeout=30) == 0
    assert "is in use by process" in world.log("daemon.guard")
    assert world.level() == "armed"


def test_a_stop_waits_for_the_desk_and_an_interrupt_is_nothing(world):
    guard = world.guard()
    desk = world.desk()
    guard.send_signal(signal.SIGINT)
    guard.terminate()
    until(lambda: "told to stop while it is needed" in world.log("daemon.guard"), "it says that it stays")
    assert world.knows(desk.pid)
    assert desk.stdin is not None
    desk.stdin.write('{"kind":"DeskBye","message":{"ts":1,"why":"end of day"}}\n')
    desk.stdin.close()
    assert guard.wait(timeout=30) == 0
    assert not world.paths.panic_socket.exists()
    assert world.latches() == [("ARMED", "start")]


def test_it_leaves_by_itself_when_nobody_is_there(world):
    guard = world.guard("--linger", "0.3")
    assert guard.wait(timeout=30) == 0


def test_it_does_not_leave_before_cancels_are_proven(world):
    world.venue()
    guard = world.guard("--linger", "0.5")
    until(lambda: (world.status() or {})["venues"]["is_up"], "it knows the venue")
    stopped(world.processes[0])
    world.call("kill", level="cancel_all", reason="x")
    with pytest.raises(subprocess.TimeoutExpired):
        guard.wait(timeout=2)
    world.processes[0].send_signal(signal.SIGCONT)
    assert guard.wait(timeout=30) == 0


def test_it_leaves_a_venue_that_is_gone(world):
    guard = world.guard("--linger", "0.5")
    world.call("kill", level="cancel_all", reason="x")
    assert guard.wait(timeout=30) == 0
    world.guard()
    assert world.level() == "cancel_all"


def test_a_configuration_it_cannot_read(world):
    world.config.write_text("[[accounts]]\nid = 1\n", encoding="utf-8")
    assert world.start("daemon.guard").wait(timeout=30) == 2
    assert "accounts[0].id" in world.log("daemon.guard")


def test_it_imports_no_compiler_no_strategy_and_no_simulation(world):
    """Everything the process has imported after it served, cancelled, fenced and flattened."""
    venue = world.venue()
    guard = world.guard(python=("-X", "importtime"))
    world.desk()
    carry(venue)
    world.call("panic", reason="x")
    until(venue.is_flat, "flat")
    with Path(f"/proc/{guard.pid}/status").open() as status:
        resident = next(line for line in status if line.startswith("VmRSS"))
    print(f"\n{' '.join(resident.split())}")
    log = world.log("daemon.guard")
    imported = {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}
    assert "actors.guardian" in imported
    bad = {"numba", "llvmlite", "numpy", "sim", "ib_insync"}
    assert not [name for name in imported if name.partition(".")[0] in bad]
    assert not [
        name for name in imported if name.startswith(("actors.strategies", "daemon.kinds", "daemon.config_schema"))
    ]
