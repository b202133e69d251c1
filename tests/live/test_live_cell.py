"""What a live cell sends, when, and when it sends nothing any more."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define

from actors.base import Actor, handles
from actors.cell import Cell
from actors.dispatcher import Intent
from daemon.live.clock import MarketClock
from daemon.live.driver import SLICE_INPUTS, LiveCell
from daemon.log import LogWriteError, RunLog, open_log
from daemon.metrics.edges import EdgeStats
from venues.model.order import Side
from venues.port import (
    CancelAll,
    CancelOrder,
    Command,
    Lane,
    Message,
    OrderRejected,
    Query,
    QueryFailed,
    QueryKind,
    Report,
    SubmitOrder,
    Trade,
    message,
)

START = 1_768_492_200_000_000_000


@message(lane=Lane.CONTROL)
class DriverTestOrder(Message):
    """Ask the test's actor to send something."""

    ts: int
    what: str


@define
class Seen:
    orders: int = 0
    trades: int = 0
    timers: int = 0
    rejected: int = 0
    failed_queries: int = 0


class Sender(Actor):
    """Sends what it is told to, and counts what it hears."""

    sends = (SubmitOrder, CancelOrder, Query)
    state: Seen

    def __init__(self) -> None:
        super().__init__("sender")
        self.state = Seen()

    def start(self, now: int) -> None:
        self.out.timer("tick", now + 1_000)

    def on_timer(self, now: int, key: str) -> None:
        self.state.timers += 1

    @handles(DriverTestOrder)
    def told(self, now: int, told: DriverTestOrder) -> None:
        if told.what == "raise":
            raise ValueError("told to")
        self.state.orders += 1
        client_id = f"d-{self.state.orders}"
        if told.what in ("order", "both"):
            self.out.send(SubmitOrder(now, "a", "v:X", client_id, Side.BUY, Decimal(1)))
        if told.what in ("cancel", "both"):
            self.out.send(CancelOrder(now, "b", "w:X", client_id))
        if told.what == "query":
            self.out.send(Query(now, "a", client_id, QueryKind.POSITIONS))

    @handles(Trade)
    def traded(self, now: int, trade: Trade) -> None:
        self.state.trades += 1

    @handles(OrderRejected)
    def rejected(self, now: int, report: OrderRejected) -> None:
        self.state.rejected += 1

    @handles(QueryFailed)
    def failed(self, now: int, report: QueryFailed) -> None:
        self.state.failed_queries += 1


class Line:
    """A venue's end of the wire; `order` tells what happened before what."""

    def __init__(self, order: list[str]) -> None:
        self.sent: list[Command] = []
        self.back: list[Report] = []
        self.order = order

    def send(self, commands: Sequence[Command]) -> list[Report]:
        self.sent += commands
        self.order.append("send")
        back, self.back = self.back, []
        return back


class Rig:
    """A live cell with two accounts at two lines, and a log that can be made to fail."""

    def __init__(self, folder: Path) -> None:
        self.order: list[str] = []
        self.lines = {"a": Line(self.order), "b": Line(self.order)}
        self.log = RunLog.create(folder / "log", "", "", "test", START, durable=True)
        self.actor: Sender | None = None
        self.clock = MarketClock(START, 0, 0)
        self.cell = Cell(self._build, sink=self.log)
        self._watch("intents")
        self._watch("commit")
        self.live = LiveCell(
            self.cell, self.log, self.clock, EdgeStats(), {name: line.send for name, line in self.lines.items()}
        )
        self.live.start(START, None)

    def _build(self) -> list[Actor]:
        self.actor = Sender()
        return [self.actor]

    def _watch(self, name: str) -> None:
        real: Callable[..., Any] = getattr(self.log, name)

        def noted(*arguments: Any) -> Any:
            self.order.append(name)
            return real(*arguments)

        setattr(self.log, name, noted)

    @property
    def seen(self) -> Seen:
        assert self.actor is not None
        return self.actor.state

    def tell(self, *whats: str) -> None:
        self.live.offer(*[DriverTestOrder(START, what) for what in whats])
        self.live.pump()


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_batch_is_written_in_one_commit_before_any_of_it_is_sent(rig: Rig) -> None:
    rig.order.clear()
    rig.tell("both", "order", "order")
    assert rig.order == ["intents", "commit", "send", "send"]
    assert [type(one).__name__ for one in rig.lines["a"].sent] == ["SubmitOrder"] * 3
    assert [type(one).__name__ for one in rig.lines["b"].sent] == ["CancelOrder"]
    intents = [record for record in open_log(rig.log.folder).records() if record.is_intent]
    assert len(intents) == 4


async def test_what_could_not_be_sent_comes_back_as_an_input(rig: Rig) -> None:
    rig.lines["a"].back = [OrderRejected(START, "a", "v:X", "d-1", "other", "down")]  # type: ignore[arg-type]
    rig.tell("order")
    rig.live.pump()
    assert rig.seen.rejected == 1


async def test_without_a_lease_orders_stay_and_cancels_and_queries_leave(rig: Rig) -> None:
    rig.live.lease = lambda: "nothing heard of the guard"
    rig.tell("both", "query")
    rig.live.pump()
    assert [type(one).__name__ for one in rig.lines["a"].sent] == ["Query"]
    assert [type(one).__name__ for one in rig.lines["b"].sent] == ["CancelOrder"]
    assert rig.seen.rejected == 1


async def test_a_failed_commit_stops_everything_but_cancels(rig: Rig) -> None:
    def fail(*_: Any) -> None:
        raise LogWriteError("no space left")

    rig.log.commit = fail  # type: ignore[method-assign]
    rig.tell("order")
    assert rig.live.failed.is_set()
    assert "no space left" in rig.live.why_failed
    assert rig.live.edges.commits_failed == 1
    for account, line in rig.lines.items():
        assert [(type(one), one.account) for one in line.sent] == [(CancelAll, account)]
    rig.tell("order", "query")
    assert all(len(line.sent) == 1 for line in rig.lines.values())


async def test_one_bad_input_is_set_aside_and_a_second_one_halts(rig: Rig) -> None:
    rig.tell("raise")
    assert not rig.live.failed.is_set()
    rig.tell("order")
    assert len(rig.lines["a"].sent) == 1
    rig.tell("raise")
    assert rig.live.failed.is_set()
    assert "second quarantine" in rig.live.why_failed
    assert isinstance(rig.lines["b"].sent[-1], CancelAll)


async def test_a_driver_that_fails_itself_says_so_and_cancels(rig: Rig) -> None:
    def fail(now: int, inputs_max: int | None = None) -> list[Intent]:
        raise RuntimeError("a fault of ours")

    rig.cell.run = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="fault of ours"):
        rig.live.pump()
    assert rig.live.failed.is_set()
    assert isinstance(rig.lines["a"].sent[-1], CancelAll)


async def test_a_burst_is_taken_in_slices_with_everybodys_turn_between(rig: Rig) -> None:
    count = 3 * SLICE_INPUTS + 5
    rig.live.offer(*[Trade(START, "v:X", number, 1, 1, Side.BUY) for number in range(count)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.live.run_timers)
        rig.live.pump()
        assert rig.seen.trades <= SLICE_INPUTS
        turns = 0
        with trio.fail_after(10):
            while rig.seen.trades < count:
                await trio.lowlevel.checkpoint()
                turns += 1
        assert turns >= 3
        nursery.cancel_scope.cancel()
    assert rig.cell.dispatcher.is_idle


async def test_timers_fire_by_the_clock_and_not_while_time_is_granted(rig: Rig) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.live.run_timers)
        await trio.testing.wait_all_tasks_blocked()
        assert rig.seen.timers == 0
        rig.clock.set(START, monotonic_ns(), 1, 1)
        rig.tell("query")
        with trio.fail_after(10):
            while not rig.seen.timers:
                rig.tell("query")
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_a_granted_step_leaves_timers_of_that_instant_alone(rig: Rig) -> None:
    rig.clock.grant(START + 1_000)
    rig.live.offer(Trade(START, "v:X", 1, 1, 1, Side.BUY))
    rig.live.pump_at(START + 1_000, is_timer_due=False)
    assert (rig.seen.trades, rig.seen.timers) == (1, 0)
    rig.live.pump_at(START + 1_000, is_timer_due=True)
    assert rig.seen.timers == 1


async def test_listeners_hear_of_every_pump(rig: Rig) -> None:
    heard: list[int] = []
    rig.live.after_pump.append(lambda: heard.append(rig.seen.orders))
    rig.tell("order")
    rig.tell("order")
    assert heard == [1, 2]


async def test_the_log_is_synced_each_second_and_a_failure_there_counts(
    rig: Rig, autojump_clock: trio.testing.MockClock
) -> None:
    synced: list[float] = []
    real = rig.log.sync

    def note() -> None:
        synced.append(trio.current_time())
        if len(synced) == 3:
            raise LogWriteError("input/output error")
        real()

    rig.log.sync = note  # type: ignore[method-assign]
    begun = trio.current_time()
    await rig.live.sync_log()
    assert [round(at - begun) for at in synced] == [1, 2, 3]
    assert "input/output error" in rig.live.why_failed
