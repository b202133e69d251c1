"""The desk's end of the guard's socket: who hears what, and what holds when nobody answers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from time import monotonic_ns

import pytest
import trio
from fake_guard import FakeGuard

from actors.cell import Cell
from actors.control import Baselines, DeskBye, DeskHello
from actors.messages import KillCommand, KillLevel
from daemon.app import build_cell
from daemon.config import load
from daemon.kinds import KINDS
from daemon.live.clock import MarketClock
from daemon.live.driver import LiveCell
from daemon.live.guard_link import ArmingRefusedError, GuardLink
from daemon.log import RunLog
from daemon.metrics.edges import EdgeStats

ROOT = Path(__file__).resolve().parents[2]
START = 1_768_492_200_000_000_000
BEAT_NS, TIMEOUT_NS = 20_000_000, 300_000_000


class Rig:
    """A desk's cell, its link, and a guard that does as it is told."""

    def __init__(self, folder: Path) -> None:
        config = load(ROOT / "configs" / "demo.toml", KINDS)
        log = RunLog.create(folder / "log", "", "", "test", START, durable=False)
        clock = MarketClock(START, 0, 0)
        self.live = LiveCell(
            build_cell(config, log), log, clock, EdgeStats(), dict.fromkeys(config.accounts, lambda commands: [])
        )
        self.live.start(START, None)
        self.guard = FakeGuard(folder / "guard.sock")
        self.link = GuardLink(
            folder / "guard.sock",
            self.live,
            lambda: DeskHello(START, 1, "000001", "test", "paper"),
            beat_ns=BEAT_NS,
            timeout_ns=TIMEOUT_NS,
        )
        self.live.lease = self.link.lease

    @property
    def cell(self) -> Cell:
        return self.live.cell

    @property
    def level(self) -> KillLevel:
        level: KillLevel = self.cell.dispatcher.actors["kill_switch"].state.level
        return level

    @property
    def guard_why(self) -> str:
        why: str = self.cell.dispatcher.actors["risk_gate"].state.guard_why
        return why


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not is_so():
            await trio.sleep(0.005)


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Rig]:
    rig = Rig(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.guard.run)
        nursery.start_soon(rig.link.run)
        with trio.fail_after(10):
            await rig.link.came_up.wait()
        yield rig
        nursery.cancel_scope.cancel()


async def test_the_desk_says_who_it_is_and_that_it_lives(tmp_path: Path) -> None:
    async with connected(tmp_path) as rig:
        assert rig.guard_why == ""
        await until(lambda: len(rig.guard.beats) > 3)
        hello, *_ = rig.guard.heard
        assert isinstance(hello, DeskHello)
        numbers = [beat.number for beat in rig.guard.beats]
        assert numbers == list(range(1, len(numbers) + 1))
        assert rig.guard.beats[-1].level is KillLevel.ARMED
        assert not rig.guard.beats[-1].is_reconciled


async def test_what_the_guard_orders_the_cell_obeys_and_answers_at_once(tmp_path: Path) -> None:
    async with connected(tmp_path) as rig:
        rig.guard.order(KillLevel.FLATTEN)
        await until(lambda: any(beat.level is KillLevel.FLATTEN for beat in rig.guard.beats))
        assert rig.level is KillLevel.FLATTEN


async def test_a_latch_found_at_the_guard_holds_for_the_cell(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.guard.level = KillLevel.CANCEL_ALL
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.guard.run)
        nursery.start_soon(rig.link.run)
        await until(lambda: rig.level is KillLevel.CANCEL_ALL)
        nursery.cancel_scope.cancel()


async def test_while_the_guard_is_in_charge_the_cell_does_not_flatten_as_well(tmp_path: Path) -> None:
    async with connected(tmp_path) as rig:
        rig.guard.level, rig.guard.is_in_charge = KillLevel.FLATTEN, True
        rig.guard.say()
        await until(lambda: rig.level is KillLevel.CANCEL_ALL)
        gate = rig.cell.dispatcher.actors["risk_gate"].state
        assert gate.is_guard_in_charge
        rig.guard.is_in_charge = False
        rig.guard.say()
        await until(lambda: rig.level is KillLevel.FLATTEN)
        assert not gate.is_guard_in_charge


async def test_a_level_of_the_cells_own_is_latched_at_the_guard(tmp_path: Path) -> None:
    async with connected(tmp_path) as rig:
        rig.link.raise_to(KillLevel.CANCEL_ALL, "desk/drawdown", "10 % reached")
        await until(lambda: rig.guard.level is KillLevel.CANCEL_ALL)
        told = [one for one in rig.guard.heard if isinstance(one, KillCommand)]
        assert (told[0].operator, told[0].reason) == ("desk/drawdown", "10 % reached")
        await until(lambda: rig.link.state is not None and rig.link.state.level is KillLevel.CANCEL_ALL)
        rig.link.raise_to(KillLevel.REDUCE_ONLY, "desk/later", "less")
        await until(lambda: len(rig.guard.beats) > 2)
        assert len([one for one in rig.guard.heard if isinstance(one, KillCommand)]) == 1


async def test_a_guard_that_does_not_answer_is_down_and_one_that_comes_back_is_up(tmp_path: Path) -> None:
    async with connected(tmp_path) as rig:
        assert rig.link.lease() == ""
        rig.guard.answers = False
        await until(lambda: not rig.link.is_up)
        assert "no answer" in rig.guard_why
        rig.guard.answers = True
        await until(lambda: rig.link.is_up)
        assert rig.guard_why == ""


async def test_a_process_that_stood_still_has_no_lease_until_it_has_heard_its_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path) as rig:
        monkeypatch.setattr("daemon.live.guard_link.monotonic_ns", lambda: monotonic_ns() + 10 * TIMEOUT_NS)
        assert "nothing heard of the guard" in rig.link.lease()


async def test_arming_is_the_guards_to_grant(tmp_path: Path) -> None:
    async with connected(tmp_path) as rig:
        rig.guard.refusal = "the orders of futures are not proven cancelled"
        with pytest.raises(ArmingRefusedError, match="not proven cancelled"):
            await rig.link.arm("alice", "all is well")
        rig.guard.refusal = ""
        await rig.link.arm("alice", "all is well")
        assert rig.guard.level is KillLevel.ARMED


async def test_without_a_guard_nobody_arms(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with pytest.raises(ArmingRefusedError, match="the guard is down"):
        await rig.link.arm("alice", "all is well")


async def test_baselines_are_said_once_and_again_to_a_new_guard(tmp_path: Path) -> None:
    def said(rig: Rig) -> int:
        return sum(isinstance(one, Baselines) for one in rig.guard.heard)

    async with connected(tmp_path) as rig:
        for ts in range(3):
            rig.link.tell_baselines(Baselines(START + ts, "spot", {"BTC": Decimal(2)}))
        await until(lambda: said(rig) == 1)
        assert rig.guard.connection is not None
        rig.guard.connection.close()
        await until(lambda: said(rig) == 2)
        rig.link.tell_baselines(Baselines(START + 9, "spot", {"BTC": Decimal(3)}))
        await until(lambda: said(rig) == 3)


async def test_a_desk_that_leaves_in_order_says_so(tmp_path: Path) -> None:
    async with connected(tmp_path) as rig:
        await rig.link.leave("the day is over")
        await until(lambda: any(isinstance(one, DeskBye) for one in rig.guard.heard))
