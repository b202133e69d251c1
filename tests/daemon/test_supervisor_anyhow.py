"""Whatever befalls a supervisor, and whenever it is cancelled: order is kept, nobody runs twice, nobody is left."""

from itertools import count
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from puppets import Stage, disorder
from trio.testing import MockClock

from daemon.supervision import EventKind
from daemon.supervisor import ChildStartError, Restart, Strategy, Supervisor, SupervisorFailedError

S = 1_000_000_000
INNER, OUTER = "xyz", "abc"


class AtStep(trio.abc.Instrument):
    """Does something before a certain step of any task."""

    def __init__(self, step, act):
        self._left = step
        self._act = act
        self.has_acted = False

    def before_task_step(self, task):
        self._left -= 1
        if self._left == 0:
            self.has_acted = True
            self._act()


def tree(stage):
    """Return a supervisor of a, of another one for x, y and z, of b and of c: all kinds of children among them."""
    inner = Supervisor(
        "inner",
        [
            stage.child("x", Restart.TRANSIENT, stop_within_ns=2 * S, heeds=False),
            stage.child("y", cleanup_s=1, start_within_ns=3 * S),
            stage.child("z", stop_within_ns=5 * S, cleanup_s=1, dies_of=ValueError("z")),
        ],
        strategy=Strategy.REST_FOR_ONE,
        intensity=3,
        restart_delay_ns=S,
        on_event=stage.hear,
    )
    a, b, c = stage.child("a", stop_within_ns=None), stage.child("b", Restart.TEMPORARY), stage.child("c")
    top = Supervisor(
        "top", [a, inner.as_child(), b, c], strategy=Strategy.ONE_FOR_ALL, intensity=3, on_event=stage.hear
    )
    return top, inner


MISFORTUNES: list[tuple[str, str, list[Any]]] = [
    ("z", "crash", []),
    ("x", "crash", [("fail", "y", 1)]),
    ("x", "crash", [("hold", "y", None)]),
    ("b", "normal", []),
    ("a", "crash", []),
    ("y", "normal", [("fail", "z", 9)]),
]


async def misfortunes(stage, top):
    """Everything that may happen to the tree once: starts that fail, hang and are late, ends, escalation."""
    for name, how, prepared in MISFORTUNES:
        await trio.sleep(100)
        await act(stage, [(0, step) for step in prepared])
        stage.tell(name, how)
    await trio.sleep(200)
    stage.over.set()
    top.stop()


def play(at_step, how):
    """Play the misfortunes, end them before the given step by a cancellation or a stop; say whether it came to it."""
    stage = Stage()
    top, inner = tree(stage)
    scope = trio.CancelScope()

    async def run():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(misfortunes, stage, top)
            try:
                with scope:
                    await top.run()
            except (ChildStartError, SupervisorFailedError):
                # To its parent, a supervisor that somebody else stops is a child that ends.
                assert how == "stop inner"
            assert scope.cancelled_caught or not scope.cancel_called or stage.over.is_set()
            nursery.cancel_scope.cancel()

    instrument = AtStep(at_step, {"cancel": scope.cancel, "stop": top.stop, "stop inner": inner.stop}[how])
    trio.run(run, clock=MockClock(autojump_threshold=0), instruments=[instrument])
    assert disorder(stage.trace, INNER, is_group=True) == []
    assert disorder(stage.trace, OUTER, is_group=True) == []
    assert not any(puppet.is_alive for puppet in stage.puppets.values())
    assert not top.statistics().is_running
    assert not inner.statistics().is_running
    return instrument.has_acted


@pytest.mark.parametrize("how", ["cancel", "stop", "stop inner"])
def test_it_may_be_ended_at_every_step(how):
    steps = 0
    for step in count(1):
        if not play(step, how):
            break
        steps = step
    assert steps > 150


SPECS = st.fixed_dictionaries(
    {
        "restart": st.sampled_from(Restart),
        "stop_within_ns": st.sampled_from([0, S, 3 * S, None]),
        "start_within_ns": st.sampled_from([S, 4 * S]),
        "heeds": st.booleans(),
        "cleanup_s": st.sampled_from([0, 0, 0.5, 2, 7]),
        "dies_of": st.sampled_from([None, None, ValueError("dying")]),
    }
)
SUPERVISORS = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(Strategy),
        "intensity": st.integers(0, 4),
        "period_ns": st.sampled_from([S, 20 * S, 1_000 * S]),
        "restart_delay_ns": st.sampled_from([0, 0, S // 2]),
    }
)
NAMES = st.sampled_from([*INNER, *OUTER])
STEPS = st.tuples(
    st.sampled_from([0, 0, 0.3, 1, 2.5, 30]),
    st.one_of(
        st.tuples(st.just("tell"), NAMES, st.sampled_from(["normal", "crash", "go"])),
        st.tuples(st.just("fail"), NAMES, st.integers(1, 3)),
        st.tuples(st.just("hold"), NAMES, st.none()),
    ),
)


async def act(stage, steps):
    for wait, (what, name, detail) in steps:
        await trio.sleep(wait)
        if what == "tell":
            stage.tell(name, detail)
        elif what == "fail":
            stage.fails[name] = detail
        else:
            stage.holds.add(name)


@settings(max_examples=150)
@given(
    specs=st.fixed_dictionaries(dict.fromkeys([*INNER, *OUTER], SPECS)),
    inner=SUPERVISORS,
    outer=SUPERVISORS,
    level_restart=st.sampled_from(Restart),
    prepared=st.lists(STEPS, max_size=1),
    steps=st.lists(STEPS, max_size=12),
    is_stop=st.booleans(),
)
def test_order_is_kept_whatever_happens(specs, inner, outer, level_restart, prepared, steps, is_stop):
    for one in specs.values():
        # Who ignores its stop and may take for ever would.
        if one["stop_within_ns"] is None:
            one["heeds"] = True
    stage, restarts = Stage(), []
    outcome: list[Exception | None] = []

    def hear(event):
        stage.hear(event)
        if event.kind is EventKind.RESTARTING:
            restarts.append((event.supervisor, trio.current_time()))

    low = Supervisor("low", [stage.child(name, **specs[name]) for name in INNER], on_event=hear, **inner)
    a, *rest = [stage.child(name, **specs[name]) for name in OUTER]
    top = Supervisor("top", [a, low.as_child(level_restart), *rest], on_event=hear, **outer)

    async def run():
        try:
            await top.run()
        except (ChildStartError, SupervisorFailedError) as error:
            outcome.append(error)
        else:
            outcome.append(None)

    async def main():
        await act(stage, [(0, step) for _, step in prepared])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await act(stage, steps)
            await trio.sleep(10)
            if is_stop:
                top.stop()
            else:
                nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert disorder(stage.trace, INNER, is_group=inner["strategy"] is not Strategy.ONE_FOR_ONE) == []
    assert disorder(stage.trace, OUTER, is_group=outer["strategy"] is not Strategy.ONE_FOR_ONE) == []
    gave_up = [event for event in stage.events if event.kind is EventKind.GAVE_UP and event.supervisor == "top"]
    assert bool(gave_up) == any(isinstance(one, SupervisorFailedError) for one in outcome)
    for name in OUTER:
        is_temporary = specs[name]["restart"] is Restart.TEMPORARY
        assert not is_temporary or stage.trace.count(f"start {name}") <= 1
    times = [at for who, at in restarts if who == "top"]
    period_s, intensity = outer["period_ns"] / S, outer["intensity"]
    for first, last in zip(times, times[intensity:], strict=False):
        assert last - first > period_s
