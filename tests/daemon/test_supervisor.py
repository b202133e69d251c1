"""When children are started, stopped and started again, and how a supervisor ends. Times are virtual."""

import re
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio
from puppets import CrashError, Stage
from trio.testing import wait_all_tasks_blocked

from daemon.supervision import ChildEndedError, ChildEvent, ChildStatistics, EventKind, log_event
from daemon.supervisor import (
    ChildSpec,
    ChildStartError,
    ChildState,
    Restart,
    Strategy,
    Supervisor,
    SupervisorFailedError,
)

S = 1_000_000_000
DAY_NS = 86_400 * S
PERMANENT, TRANSIENT, TEMPORARY = Restart


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
async def running(stage, nursery, autojump_clock):
    """Start a supervisor of the given children, and stop it in the end."""
    started = []

    async def run(*children, **options):
        supervisor = Supervisor("top", children, on_event=stage.hear, **{"intensity": 9, "period_ns": DAY_NS} | options)

        async def run_it(*, task_status):
            await supervisor.run(task_status=task_status)
            stage.over.set()

        await nursery.start(run_it)
        started.append(supervisor)
        stage.trace.clear()
        stage.events.clear()
        return supervisor

    yield run
    for one in started:
        one.stop()


@asynccontextmanager
async def failing_with(supervisor):
    """Run a supervisor that fails before the end of the block; its error is then the value's."""
    failure = SimpleNamespace(error=None)

    async def run(*, task_status):
        try:
            await supervisor.run(task_status=task_status)
        except SupervisorFailedError as error:
            failure.error = error

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield failure


async def tell(stage, name, what):
    stage.tell(name, what)
    await wait_all_tasks_blocked()


def failing(error):
    async def start(*, task_status):
        task_status.started()
        raise error

    return start


# Who is started again

BY_STRATEGY = {
    Strategy.ONE_FOR_ONE: "start b",
    Strategy.REST_FOR_ONE: "stop d, stop c, start b, start c",
    Strategy.ONE_FOR_ALL: "stop d, stop c, stop a, start a, start b, start c",
}
COMES_BACK = {
    (PERMANENT, "normal"): True,
    (PERMANENT, "crash"): True,
    (TRANSIENT, "normal"): False,
    (TRANSIENT, "crash"): True,
    (TEMPORARY, "normal"): False,
    (TEMPORARY, "crash"): False,
}


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(("restart", "how"), COMES_BACK)
async def test_who_is_started_again(stage, running, autojump_clock, strategy, restart, how):
    b = stage.child("b", restart)
    # d is temporary: it is stopped with the others and does not come back.
    supervisor = await running(
        stage.child("a"), b, stage.child("c", TRANSIENT), stage.child("d", TEMPORARY), strategy=strategy
    )
    await tell(stage, "b", how)
    said = "end b" if how == "normal" else "crash b"
    again = BY_STRATEGY[strategy] if COMES_BACK[restart, how] else ""
    assert ", ".join(stage.trace) == ", ".join(filter(None, (said, again)))
    child = supervisor.children()[1]
    assert child.state is (ChildState.RUNNING if again else ChildState.ENDED)
    assert child.restarts == (1 if again else 0)
    assert isinstance(child.last_error, CrashError) == (how == "crash")


async def test_a_transient_child_that_ended_well_comes_back_with_the_others(stage, running, autojump_clock):
    await running(stage.child("a"), stage.child("b", TRANSIENT), strategy=Strategy.ONE_FOR_ALL)
    await tell(stage, "b", "normal")
    await tell(stage, "a", "crash")
    assert stage.trace == ["end b", "crash a", "start a", "start b"]


async def test_a_supervisor_stays_when_all_have_ended(stage, running, autojump_clock):
    supervisor = await running(stage.child("a", TEMPORARY), stage.child("b", TRANSIENT))
    await tell(stage, "a", "crash")
    await tell(stage, "b", "normal")
    await trio.sleep(1_000)
    assert supervisor.statistics().is_running
    assert [one.state for one in supervisor.children()] == [ChildState.ENDED, ChildState.ENDED]


async def test_what_ends_while_it_is_stopped_is_not_restarted_twice(stage, running, autojump_clock):
    b = stage.child("b", heeds=False, stop_within_ns=10 * S)
    supervisor = await running(stage.child("a"), b, strategy=Strategy.ONE_FOR_ALL, intensity=1)
    await tell(stage, "a", "crash")
    assert supervisor.children()[1].state is ChildState.STOPPING
    await tell(stage, "b", "crash")
    assert stage.trace == ["crash a", "crash b", "start a", "start b"]
    assert stage.kinds()[2:4] == ["stopped b", "started a"]


# Order


async def test_each_is_started_when_the_one_before_has_started(stage, nursery, autojump_clock):
    stage.holds = {"a", "b"}
    supervisor = Supervisor("top", [stage.child(name) for name in "abc"], on_event=stage.hear)
    nursery.start_soon(supervisor.run)
    await wait_all_tasks_blocked()
    assert (stage.trace, stage.kinds()) == (["start a"], [])
    await tell(stage, "a", "go")
    assert (stage.trace, stage.kinds()) == (["start a", "start b"], ["started a"])
    assert [one.state for one in supervisor.children()] == [
        ChildState.RUNNING,
        ChildState.STARTING,
        ChildState.STOPPED,
    ]
    await tell(stage, "b", "go")
    assert stage.kinds() == ["started a", "started b", "started c"]
    supervisor.stop()


async def test_each_is_stopped_when_the_one_after_has_ended(stage, running, autojump_clock):
    supervisor = await running(*(stage.child(name, cleanup_s=2) for name in "abc"))
    before = trio.current_time()
    supervisor.stop()
    await trio.sleep(1)
    assert [one.state for one in supervisor.children()] == [ChildState.RUNNING, ChildState.RUNNING, ChildState.STOPPING]
    await trio.sleep(2)
    assert [one.state for one in supervisor.children()] == [ChildState.RUNNING, ChildState.STOPPING, ChildState.STOPPED]
    await trio.sleep_until(before + 6.1)
    assert stage.trace == ["stop c", "stop b", "stop a"]
    assert stage.kinds() == ["stopped c", "stopped b", "stopped a"]
    assert not supervisor.statistics().is_running


async def test_started_is_said_when_all_have(stage, nursery, autojump_clock):
    stage.holds = {"b"}
    supervisor = Supervisor("top", [stage.child("a"), stage.child("b")], on_event=stage.hear)
    with trio.move_on_after(5) as waited:
        await nursery.start(supervisor.run)
    assert waited.cancelled_caught
    assert stage.trace == ["start a", "start b", "quit b", "stop a"]


async def test_a_supervisor_runs_again_after_it_ended(stage, autojump_clock):
    supervisor = Supervisor("top", [stage.child("a"), stage.child("b", TEMPORARY)], on_event=stage.hear)
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            await tell(stage, "b", "crash")
            supervisor.stop()
    assert stage.trace == ["start a", "start b", "crash b", "stop a"] * 2


async def test_it_runs_only_once_at_a_time(stage, running, autojump_clock):
    supervisor = await running(stage.child("a"))
    with pytest.raises(RuntimeError, match="top is running already"):
        await supervisor.run()
    supervisor.stop()
    supervisor.stop()


# Starts that fail


def raising(error):
    async def start(*, task_status):
        raise error

    return start


async def ending(*, task_status):
    pass


async def sleeping(*, task_status):
    await trio.sleep_forever()


async def nested(*, task_status):
    await Supervisor("inner", [ChildSpec("x", raising(OSError("no way")))]).run(task_status=task_status)


NOT_STARTED = [
    (raising(ValueError("odd")), "top: b did not start: ValueError: odd", ValueError),
    (ending, "top: b did not start: it ended", None),
    (sleeping, "top: b did not start: it took longer than 3 s", None),
    (nested, "top: b did not start: inner: x did not start: OSError: no way", ChildStartError),
    (
        raising(ExceptionGroup("many", [KeyError(1)])),
        "top: b did not start: ExceptionGroup: many (1 sub-exception)",
        None,
    ),
]


@pytest.mark.parametrize(("start", "why", "cause"), NOT_STARTED, ids=[why for _, why, _ in NOT_STARTED])
async def test_a_failed_start_to_begin_with_ends_it(stage, autojump_clock, start, why, cause):
    b = ChildSpec("b", start, start_within_ns=3 * S)
    supervisor = Supervisor("top", [stage.child("a"), stage.child("z"), b, stage.child("c")], on_event=stage.hear)
    with pytest.raises(ChildStartError, match=f"^{re.escape(why)}$") as caught:
        await supervisor.run()
    assert cause is None or isinstance(caught.value.__cause__, cause)
    assert stage.trace == ["start a", "start z", "stop z", "stop a"]
    assert stage.kinds() == ["started a", "started z", "not_started b", "stopped z", "stopped a"]
    assert stage.events[2].error is caught.value
    assert supervisor.children()[2] == ChildStatistics("b", ChildState.STOPPED, 0, caught.value)


async def test_a_failed_restart_is_tried_again_and_counts(stage, running, autojump_clock):
    supervisor = await running(stage.child("a"), stage.child("b"), strategy=Strategy.REST_FOR_ONE, intensity=3)
    stage.fails["b"] = 2
    await tell(stage, "a", "crash")
    assert stage.trace == ["crash a", "stop b", "start a", "start b", "no b", "start b", "no b", "start b"]
    assert stage.kinds() == [
        "failed a",
        "restarting a",
        "stopped b",
        "started a",
        "not_started b",
        "restarting b",
        "not_started b",
        "restarting b",
        "started b",
    ]
    assert supervisor.statistics().recent_restarts == 3
    assert [one.restarts for one in supervisor.children()] == [1, 3]


async def test_restarts_that_fail_too_often_end_it(stage, autojump_clock):
    supervisor = Supervisor("top", [stage.child("a"), stage.child("b")], intensity=2, on_event=stage.hear)
    async with failing_with(supervisor) as failure:
        stage.fails["b"] = 99
        stage.tell("b", "crash")
    assert str(failure.error) == (
        "top: more than 2 restarts within 5 s: CrashError: b; "
        "top: b did not start: CrashError: b does not start; top: b did not start: CrashError: b does not start"
    )
    assert [type(error) for error in failure.error.exceptions] == [CrashError, ChildStartError, ChildStartError]
    assert stage.trace == ["start a", "start b", "crash b", "start b", "no b", "start b", "no b", "stop a"]
    assert stage.kinds()[-2:] == ["gave_up b", "stopped a"]


async def test_started_twice_is_a_mistake(autojump_clock):
    async def twice(*, task_status):
        task_status.started()
        task_status.started()

    with pytest.raises(SupervisorFailedError) as caught:
        await Supervisor("top", [ChildSpec("a", twice)], intensity=0, on_event=lambda event: None).run()
    assert "twice" in str(caught.value.exceptions[0])


async def test_a_start_that_comes_too_late_is_none(autojump_clock, nursery):
    async def late(*, task_status):
        try:
            await trio.sleep_forever()
        finally:
            task_status.started()

    with pytest.raises(ChildStartError, match="longer than 1 s"):
        await Supervisor("top", [ChildSpec("a", late, start_within_ns=S)]).run()


# Times


@pytest.mark.parametrize(
    ("within_ns", "heeds", "cleanup_s", "takes_s", "kinds"),
    [
        (0, True, 0, 0, ["stopped"]),
        (0, False, 0, 0, ["stopped"]),
        (0, False, 3, 3, ["stopped"]),
        (4 * S, True, 0, 0, ["stopped"]),
        (4 * S, True, 3, 3, ["stopped"]),
        (4 * S, False, 0, 4, ["cut_off", "stopped"]),
        (4 * S, False, 3, 7, ["cut_off", "stopped"]),
        (4 * S, True, 30, 30, ["cut_off", "overdue", "stopped"]),
        (None, True, 500, 500, ["stopped"]),
        (0, False, 500, 500, ["overdue", "stopped"]),
    ],
)
async def test_how_long_a_child_may_take_to_end(
    stage, running, autojump_clock, within_ns, heeds, cleanup_s, takes_s, kinds
):
    supervisor = await running(stage.child("a", stop_within_ns=within_ns, heeds=heeds, cleanup_s=cleanup_s))
    before = trio.current_time()
    supervisor.stop()
    await stage.over.wait()
    assert trio.current_time() - before == pytest.approx(takes_s, abs=0.01)
    assert stage.kinds() == [f"{kind} a" for kind in kinds]


@pytest.mark.parametrize("within_ns", [None, 9 * S])
async def test_a_child_that_has_not_started_is_cancelled_at_once(stage, nursery, autojump_clock, within_ns):
    stage.holds = {"b"}
    supervisor = Supervisor("top", [stage.child("a"), stage.child("b", stop_within_ns=within_ns)], on_event=stage.hear)
    nursery.start_soon(supervisor.run)
    await wait_all_tasks_blocked()
    supervisor.stop()
    await wait_all_tasks_blocked()
    assert stage.kinds() == ["started a", "stopped b", "stopped a"]


async def test_a_child_that_ignores_its_stop_is_cut_off_in_a_restart_too(stage, running, autojump_clock):
    await running(stage.child("a"), stage.child("b", stop_within_ns=2 * S, heeds=False), strategy=Strategy.ONE_FOR_ALL)
    stage.tell("a", "crash")
    await trio.sleep(1.9)
    assert stage.trace == ["crash a"]
    await trio.sleep(0.2)
    assert stage.trace == ["crash a", "stop b", "start a", "start b"]


async def test_a_stop_during_a_stop_keeps_the_first_deadline(stage, running, autojump_clock):
    supervisor = await running(
        stage.child("a"), stage.child("b", stop_within_ns=10 * S, heeds=False), strategy=Strategy.ONE_FOR_ALL
    )
    before = trio.current_time()
    stage.tell("a", "crash")
    await trio.sleep(8)
    supervisor.stop()
    await stage.over.wait()
    assert trio.current_time() - before == pytest.approx(10, abs=0.05)
    assert stage.trace == ["crash a", "stop b"]


async def test_restarts_may_be_delayed(stage, running, autojump_clock):
    await running(stage.child("a"), restart_delay_ns=3 * S)
    stage.tell("a", "crash")
    await trio.sleep(2.9)
    assert stage.trace == ["crash a"]
    await trio.sleep(0.2)
    assert stage.trace == ["crash a", "start a"]


@pytest.mark.parametrize(
    ("intensity", "period_s", "crashes_at", "ends_at"),
    [
        (0, 10, [5], 5),
        (1, 10, [0, 11, 22, 33, 44], None),
        (1, 10, [0, 10], 10),
        (2, 10, [0, 5, 10.5, 16, 21], None),
        (2, 10, [0, 5, 9], 9),
        (2, 10, [0, 9, 11, 18], 18),
        (3, 1, [0, 0.2, 0.4, 0.6], 0.6),
    ],
)
async def test_more_than_so_many_restarts_within_the_period(
    stage, autojump_clock, intensity, period_s, crashes_at, ends_at
):
    supervisor = Supervisor("top", [stage.child("a")], intensity=intensity, period_ns=period_s * S, on_event=stage.hear)
    before = trio.current_time()
    async with failing_with(supervisor) as failure:
        for at in crashes_at:
            await trio.sleep_until(before + at)
            assert failure.error is None
            await tell(stage, "a", "crash")
        if ends_at is None:
            supervisor.stop()
    assert (failure.error is None) == (ends_at is None)
    if failure.error is not None:
        assert len(failure.error.exceptions) == intensity + 1
        assert trio.current_time() == pytest.approx(before + ends_at)


# Ends


async def test_escalation_through_two_levels(stage, autojump_clock):
    worker = stage.child("worker")
    low = Supervisor("low", [stage.child("helper"), worker], intensity=1, on_event=stage.hear)
    middle = Supervisor("middle", [stage.child("m"), low.as_child()], intensity=1, on_event=stage.hear)
    top = Supervisor("top", [stage.child("t"), middle.as_child()], intensity=0, on_event=stage.hear)
    async with failing_with(top) as failure:
        stage.trace.clear()
        for _ in range(4):
            await tell(stage, "worker", "crash")
    low_again = ["crash worker", "start worker"]
    low_fails = ["crash worker", "stop helper"]
    assert stage.trace == [
        *low_again,
        *low_fails,
        *["start helper", "start worker"],
        *low_again,
        *low_fails,
        *["stop m", "stop t"],
    ]
    assert str(failure.error).startswith("top: more than 0 restarts")
    (of_middle,) = failure.error.exceptions
    assert [str(error)[:3] for error in of_middle.exceptions] == ["low", "low"]
    assert [type(error) for error in of_middle.exceptions[0].exceptions] == [CrashError, CrashError]
    assert failure.error.__cause__ is of_middle
    seen = top.children()[1].inside
    assert seen is not None
    assert seen.name == "middle"
    assert [(one.id, one.restarts) for one in seen.children] == [("m", 0), ("low", 1)]
    assert seen.children[1].inside == low.statistics()


async def test_a_transient_supervisor_that_gave_up_comes_back(stage, running, autojump_clock):
    inner = Supervisor("inner", [stage.child("a")], intensity=0, on_event=stage.hear)
    await running(inner.as_child(TRANSIENT))
    await tell(stage, "a", "crash")
    assert stage.trace == ["crash a", "start a"]


async def test_a_permanent_child_that_returns_is_told_as_cause(autojump_clock):
    async def ends(*, task_status):
        task_status.started()

    with pytest.raises(SupervisorFailedError) as caught:
        await Supervisor("top", [ChildSpec("a", ends)], intensity=0, on_event=lambda event: None).run()
    (cause,) = caught.value.exceptions
    assert isinstance(cause, ChildEndedError)
    assert str(cause) == "top: a ended, though it is permanent"


@pytest.mark.parametrize("within_ns", [0, 5 * S])
async def test_a_child_that_fails_while_being_stopped_stops_nothing_else(stage, running, autojump_clock, within_ns):
    error = ValueError("not now")
    supervisor = await running(stage.child("a"), stage.child("b", stop_within_ns=within_ns, dies_of=error))
    supervisor.stop()
    await trio.sleep(1)
    assert stage.trace == ["stop b", "stop a"]
    assert stage.kinds() == ["stopped b", "stopped a"]
    told = stage.events[0].error
    assert isinstance(told, ExceptionGroup)
    assert told.exceptions == (error,)
    assert supervisor.children()[0] == ChildStatistics("a", ChildState.STOPPED, 0, None)
    assert supervisor.children()[1].last_error is told


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
@pytest.mark.parametrize("is_grouped", [False, True])
@pytest.mark.parametrize("restart", Restart)
async def test_what_is_no_exception_ends_it(stage, autojump_clock, error, is_grouped, restart):
    raised = BaseExceptionGroup("both", [ValueError(), error]) if is_grouped else error
    b = ChildSpec("b", failing(raised), restart)
    supervisor = Supervisor("top", [stage.child("a"), b, stage.child("c", cleanup_s=2)], on_event=stage.hear)
    with pytest.raises(type(raised)) as caught:
        await supervisor.run()
    assert caught.value is raised
    assert stage.trace in (["start a", "stop a"], ["start a", "start c", "stop c", "stop a"])


async def test_what_is_no_exception_goes_through_levels(stage, autojump_clock):
    inner = Supervisor("inner", [stage.child("a"), ChildSpec("b", failing(SystemExit(3)))], on_event=stage.hear)
    top = Supervisor("top", [stage.child("t"), inner.as_child(TEMPORARY)], on_event=stage.hear)
    with pytest.raises(SystemExit):
        await top.run()
    assert stage.trace == ["start t", "start a", "stop a", "stop t"]


async def test_a_group_of_errors_is_an_error(stage, running, autojump_clock):
    many = ExceptionGroup("many", [ValueError(1), ExceptionGroup("more", [KeyError(2)])])
    failed = trio.Event()

    async def start(*, task_status):
        task_status.started()
        if not failed.is_set():
            failed.set()
            raise many
        await trio.sleep_forever()

    supervisor = await running(ChildSpec("a", start))
    await trio.sleep(0)
    await wait_all_tasks_blocked()
    assert supervisor.children()[0].last_error is many
    assert supervisor.children()[0].state is ChildState.RUNNING


async def test_a_listener_that_raises_harms_nobody(stage, nursery, autojump_clock, capfd):
    def on_event(event):
        raise RuntimeError("deaf")

    supervisor = Supervisor("top", [stage.child("a"), stage.child("b")], on_event=on_event)
    await nursery.start(supervisor.run)
    await tell(stage, "a", "crash")
    supervisor.stop()
    await trio.sleep(1)
    assert stage.trace == ["start a", "start b", "crash a", "start a", "stop b", "stop a"]
    assert capfd.readouterr().err.count("a listener to a supervisor failed") == 7


async def test_events_are_logged_when_nobody_else_listens(stage, nursery, autojump_clock, capfd):
    supervisor = Supervisor("top", [stage.child("a", dies_of=ValueError("odd"))])
    await nursery.start(supervisor.run)
    await tell(stage, "a", "crash")
    supervisor.stop()
    await trio.sleep(1)
    said = re.findall(r'"level":"(\w+)".*?"event":"(child [a-z_]+)"', capfd.readouterr().err)
    assert said == [
        ("info", "child started"),
        ("error", "child failed"),
        ("warning", "child restarting"),
        ("info", "child started"),
        ("error", "child stopped"),
    ]


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_can_be_logged(kind, capfd):
    log_event(ChildEvent("top", "a", kind, None, 2))
    assert f'"event":"child {kind}","logger":"supervisor","supervisor":"top"' in capfd.readouterr().err


# Looking in


async def test_what_a_child_started_with_is_kept_while_it_runs(stage, running, autojump_clock):
    supervisor = await running(stage.child("a"))
    assert supervisor.value("a") == 1
    await tell(stage, "a", "crash")
    assert supervisor.value("a") == 2
    with pytest.raises(LookupError, match="top: b is not running"):
        supervisor.value("b")
    supervisor.stop()
    await trio.sleep(1)
    with pytest.raises(LookupError):
        supervisor.value("a")


async def test_recent_restarts_are_forgotten(stage, running, autojump_clock):
    supervisor = await running(stage.child("a"), period_ns=10 * S)
    await tell(stage, "a", "crash")
    assert (supervisor.statistics().restarts, supervisor.statistics().recent_restarts) == (1, 1)
    await trio.sleep(11)
    assert (supervisor.statistics().restarts, supervisor.statistics().recent_restarts) == (1, 0)


def test_statistics_can_be_had_outside_of_trio(stage):
    supervisor = Supervisor("top", [stage.child("a")])
    assert not supervisor.statistics().is_running
    supervisor.stop()


@pytest.mark.parametrize(
    ("ids", "options", "why"),
    [
        ("aa", {}, "several children have one id"),
        ("a", {"intensity": -1}, "not negative"),
        ("a", {"period_ns": 0}, "above zero"),
        ("a", {"restart_delay_ns": -1}, "not negative"),
    ],
)
def test_mistakes_in_a_supervisor(stage, ids, options, why):
    with pytest.raises(ValueError, match=why):
        Supervisor("top", [stage.child(name) for name in ids], **options)


@pytest.mark.parametrize("field", ["stop_within_ns", "start_within_ns"])
def test_mistakes_in_a_child(stage, field):
    with pytest.raises(ValueError, match=f"{field}: must not be negative, got -1"):
        stage.child("a", **{field: -1})
    with pytest.raises(ValueError, match="id"):
        stage.child("")


async def test_what_trio_starts_is_a_child(autojump_clock, nursery):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def echo(stream):
        await stream.send_all(await stream.receive_some())

    async def serve(*, task_status: trio.TaskStatus[list[trio.SocketListener]]):
        await trio.serve_listeners(echo, listeners, task_status=task_status)

    supervisor = Supervisor("top", [ChildSpec("server", serve)], on_event=lambda event: None)
    await nursery.start(supervisor.run)
    assert supervisor.value("server") == listeners
    supervisor.stop()
