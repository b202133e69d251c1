"""An order starts at its time, once, or not at all, and whoever asked for it is told."""

import json

import pytest
from cell_harness import SECOND, changed
from hypothesis import given
from hypothesis import strategies as st
from order_bench import ask

from actors.base import Actor, Collected, TimerFired, detached_outbox
from actors.cell import Cell, CellRestarted
from actors.group_messages import CancelScheduled, ScheduleOrder, ScheduleState, ScheduleUpdate
from actors.messages import CancelRequest, KillLevel, KillState, OrderRequest, ResumeCommand, StopCommand
from actors.order_scheduler import OrderScheduler, SchedulerConfig
from venues.port import Message

W, ST, C, D, R = (
    ScheduleState.WAITING,
    ScheduleState.STARTED,
    ScheduleState.CANCELED,
    ScheduleState.DROPPED,
    ScheduleState.REFUSED,
)


class Bench:
    """A scheduler called by hand; its timer fires as the cell would fire it."""

    def __init__(self, **limits: int) -> None:
        self.now = SECOND
        self.out = Collected()
        self.scheduler = OrderScheduler(SchedulerConfig(**limits))
        self.scheduler.out = detached_outbox("order_scheduler", self.out)

    def tell(self, message: Message) -> None:
        self.scheduler.handle(self.now, message)

    def wait(self, ns: int) -> None:
        end = self.now + ns
        while self.out.timers and (at := self.out.timers[-1][2]) is not None and at <= end:
            self.out.timers.clear()
            self.now = max(self.now, at)
            self.tell(TimerFired(at, "order_scheduler", "start"))
        self.now = end

    def states(self, request_id: str = "r1") -> list[ScheduleState]:
        found = [one for one in self.out.emitted if isinstance(one, ScheduleUpdate)]
        return [one.state for one in found if one.request_id == request_id]

    def started(self) -> list[str]:
        return [one.request_id for one in self.out.emitted if isinstance(one, OrderRequest)]


def at(second: float, request: str = "r1", until: float | None = None, **changes: object) -> ScheduleOrder:
    asked = changed(ask(request), **changes)
    return ScheduleOrder(0, asked, int(second * SECOND), None if until is None else int(until * SECOND))


def test_an_order_starts_at_its_time_and_once() -> None:
    bench = Bench()
    bench.tell(at(5, "late"))
    bench.tell(at(3))
    bench.wait(2 * SECOND - 1)
    assert bench.started() == []
    bench.wait(1)
    assert bench.started() == ["r1"]
    bench.wait(10 * SECOND)
    assert bench.started() == ["r1", "late"]
    assert bench.states() == [W, ST]
    assert bench.scheduler.state.waiting == {}


def test_a_time_that_has_passed_means_at_once() -> None:
    bench = Bench()
    bench.tell(at(0.5))
    bench.wait(0)
    assert bench.started() == ["r1"]


def test_an_order_is_taken_back_before_it_starts() -> None:
    bench = Bench()
    bench.tell(at(3))
    bench.tell(CancelScheduled(bench.now, "r1"))
    bench.wait(10 * SECOND)
    assert (bench.started(), bench.states()) == ([], [W, C])
    assert bench.out.emitted[-1] == ScheduleUpdate(SECOND, "r1", "s", C)


def test_an_order_that_has_started_is_cancelled_as_every_other() -> None:
    bench = Bench()
    bench.tell(at(3))
    bench.wait(3 * SECOND)
    bench.tell(CancelScheduled(bench.now, "r1"))
    assert bench.out.emitted[-1] == CancelRequest(bench.now, "r1")


def test_what_would_start_too_late_does_not() -> None:
    bench = Bench()
    bench.tell(at(3, until=4))
    bench.now = 5 * SECOND
    bench.tell(TimerFired(3 * SECOND, "order_scheduler", "start"))
    assert (bench.started(), bench.states()) == ([], [W, D])


@pytest.mark.parametrize(
    ("message", "drops_opening", "drops_reducing"),
    [
        (KillState(1, KillLevel.REDUCE_ONLY, "t", ""), True, False),
        (KillState(1, KillLevel.CANCEL_ALL, "t", ""), True, True),
        (KillState(1, KillLevel.FLATTEN, "t", ""), True, True),
        (StopCommand(1, "end"), True, True),
        (KillState(1, KillLevel.ARMED, "t", ""), False, False),
    ],
)
def test_kill_levels_and_stops(message: Message, drops_opening: bool, drops_reducing: bool) -> None:
    bench = Bench()
    bench.tell(at(3))
    bench.tell(at(3, "reduce", reduce_only=True))
    bench.tell(message)
    assert bench.states() == ([W, D] if drops_opening else [W])
    assert bench.states("reduce") == ([W, D] if drops_reducing else [W])
    bench.tell(at(3, "next"))
    assert bench.states("next") == ([R] if drops_opening else [W])
    bench.tell(KillState(1, KillLevel.ARMED, "t", ""))
    bench.tell(ResumeCommand(1, ""))
    bench.tell(at(3, "again"))
    assert bench.states("again") == [W]


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (at(3), "request_id"),
        (at(3, ""), "request_id"),
        (at(3, "x", until=2), "not_after_ns"),
        (at(0, "x", until=0.5), "not_after_ns"),
        (at(3, "x"), "2 orders wait"),
    ],
)
def test_what_cannot_wait_is_refused(order: ScheduleOrder, why: str) -> None:
    bench = Bench(orders_max=2)
    bench.tell(at(3))
    if why.startswith("2"):
        bench.tell(at(3, "r2"))
    bench.tell(order)
    update = bench.out.emitted[-1]
    assert isinstance(update, ScheduleUpdate)
    assert (update.state, update.why.startswith(why)) == (R, True)


class Asker(Actor):
    publishes = (ScheduleOrder,)

    def __init__(self) -> None:
        super().__init__("asker")
        self.state = None

    def start(self, now: int) -> None:
        for number in range(4):
            self.out.emit(at(number + 2, f"r{number}"))


def test_what_waits_survives_a_snapshot_of_the_cell_and_starts_once() -> None:
    def make() -> Cell:
        return Cell(lambda: [Asker(), OrderScheduler()])

    cell = make()
    cell.start(SECOND)
    cell.run(SECOND)
    cell.dispatcher.offer_due(3 * SECOND)
    cell.run(3 * SECOND)
    plain = json.loads(json.dumps(cell.dispatcher.snapshot()))
    again = make()
    again.dispatcher.restore(plain)
    waiting = again.dispatcher.actors["order_scheduler"].state.waiting
    assert list(waiting) == ["r2", "r3"]
    assert again.dispatcher.next_timer() == 4 * SECOND
    again.dispatcher.offer_due(9 * SECOND)
    again.run(9 * SECOND)
    assert waiting == {}
    assert again.dispatcher.next_timer() is None


def test_a_rebuilt_cell_sets_the_timer_again() -> None:
    bench = Bench()
    bench.tell(at(3))
    bench.out.timers.clear()
    bench.tell(CellRestarted(bench.now, 1, "x", "y"))
    assert bench.out.timers == [("order_scheduler", "start", 3 * SECOND)]


@given(st.lists(st.tuples(st.sampled_from("scw"), st.integers(0, 9), st.integers(0, 3)), max_size=40))
def test_every_order_has_one_fate(events: list[tuple[str, int, int]]) -> None:
    bench = Bench()
    asked = set()
    for kind, number, seconds in events:
        if kind == "s" and f"r{number}" not in asked:
            asked.add(f"r{number}")
            bench.tell(ScheduleOrder(bench.now, ask(f"r{number}"), bench.now + seconds * SECOND))
        elif kind == "c" and f"r{number}" in asked:
            bench.tell(CancelScheduled(bench.now, f"r{number}"))
        elif kind == "w":
            bench.wait(seconds * SECOND)
    bench.wait(10 * SECOND)
    for request_id in asked:
        assert bench.states(request_id) in ([W, ST], [W, C])
        assert bench.started().count(request_id) == (bench.states(request_id)[-1] is ST)
