"""The guard's latch and its watch over the desk: what raises, what lowers, what is refused, who takes over when."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from attrs import evolve
from guard_harness import MS, PERP, SECOND, SPOT, START, FakeDesk, Rig

from actors.control import Baselines, DeskBye, DeskHello, GuardState, Heartbeat
from actors.guardian_messages import (
    ArmRefused,
    Charge,
    DeskGone,
    DeskKill,
    Fence,
    Fenced,
    Latched,
    LatchWritten,
    MarketPace,
    PanicCommand,
)
from actors.guardian_records import Course, GuardConfig, Remembered
from actors.messages import MARKET_CHANNEL, ArmCommand, KillCommand, KillLevel
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Side
from venues.port import (
    ArmDeadMan,
    BookSnapshot,
    CancelAll,
    OrderFilled,
    OrderRejected,
    Query,
    QueryFailed,
    QueryKind,
    RejectReason,
    Report,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

ARMED, REDUCE_ONLY, CANCEL_ALL, FLATTEN = KillLevel


def rig(level: KillLevel = ARMED, **options: object) -> Rig:
    """A guard that starts at `level` over a flat book and has had the time to prove it."""
    made = Rig(remembered=Remembered(7, level, "operator", "before"), **options)  # type: ignore[arg-type]
    return made.start()


def with_desk(level: KillLevel = ARMED, **options: object) -> Rig:
    made = rig(level, **options)
    made.desk = FakeDesk(made, level=level).join()
    return made.run(50 * MS)


def latched(made: Rig) -> list[tuple[KillLevel, KillLevel, str]]:
    return [(one.before, one.level, one.trigger) for one in made.all_effects(Latched)]


# The latch only rises by itself

SOURCES: dict[str, Callable[[Rig, KillLevel], None]] = {
    "operator": lambda made, level: made.take(KillCommand(made.now, "alice", level, "because")),
    "desk": lambda made, level: made.take(DeskKill(made.now, "desk", level, "because")),
}


@pytest.mark.parametrize("before", KillLevel)
@pytest.mark.parametrize("asked", KillLevel)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("is_there", [True, False], ids=["desk", "no desk"])
def test_every_level_from_every_source(before, asked, source, is_there):
    made = with_desk(before) if is_there else rig(before).run(SECOND)
    seen = len(made.told)
    SOURCES[source](made, asked)
    assert level_of(made) is max(before, asked)
    assert latched(made) == ([(before, asked, source)] if asked > before else [])
    answers = [one for _, one in made.told[seen:] if isinstance(one, GuardState)]
    assert bool(answers) is (asked > ARMED), "whoever asks hears the latch"
    assert all(one.level is max(before, asked) for one in answers)


@pytest.mark.parametrize("level", [CANCEL_ALL, FLATTEN])
def test_from_cancel_all_on_the_guard_cancels_itself_and_at_once(level):
    made = with_desk()
    made.rest("fut", PERP, "1", "9000")
    SOURCES["operator"](made, level)
    assert {one.account for t, one in made.sent if t == made.now and isinstance(one, CancelAll)} == {"fut", "cash"}
    made.run(100 * MS)
    assert made.resting() == 0


def test_a_kill_at_the_guards_own_socket_is_passed_on():
    made = with_desk()
    SOURCES["operator"](made, REDUCE_ONLY)
    assert made.all_told(KillCommand) == [KillCommand(made.now, "alice", REDUCE_ONLY, "because")]
    made = with_desk()
    SOURCES["desk"](made, REDUCE_ONLY)
    assert made.all_told(KillCommand) == [], "the desk knows already"


# Cancelling until it is proven


def queries(made: Rig, kind: QueryKind = QueryKind.OPEN_ORDERS) -> list[Query]:
    return [one for one in made.all_sent(Query) if one.kind is kind]


def test_cancel_all_is_repeated_until_nothing_is_open():
    made = with_desk(level=ARMED, refuses=lambda command: isinstance(command, CancelAll) and command.account == "fut")
    made.rest("fut", PERP, "1", "9000")
    SOURCES["operator"](made, CANCEL_ALL)
    made.run(2_200 * MS)
    times = [t for t, one in made.sent if isinstance(one, CancelAll) and one.account == "fut"]
    assert [(t - times[0]) // MS for t in times] == [0, 500, 1000, 1500, 2000]
    assert made.guardian.state.cancels.confirmed == {"cash"}
    made.refuses = lambda command: False
    made.run(600 * MS)
    assert made.guardian.state.cancels.confirmed == {"cash", "fut"}
    assert made.resting() == 0


FAILS: dict[str, Callable[[Rig], None]] = {
    "the query fails": lambda made: setattr(made, "loses", _fail_open_orders(made)),
    "the answer is lost": lambda made: setattr(made, "loses", lambda report: type(report).__name__ == "QueryResult"),
    "the venue is down": lambda made: made.go_down("perp"),
}


def _fail_open_orders(made: Rig) -> Callable[[Report], bool]:
    """Turn every answer into a failure."""

    def loses(report: Report) -> bool:
        if type(report).__name__ != "QueryResult":
            return False
        made.take(QueryFailed(made.now, report.account, report.query_id, report.kind, "503"))  # type: ignore[attr-defined]
        return True

    return loses


@pytest.mark.parametrize("fails", FAILS)
def test_without_an_answer_nothing_is_proven_and_nothing_armed(fails):
    made = with_desk()
    FAILS[fails](made)
    SOURCES["operator"](made, CANCEL_ALL)
    made.run(3 * SECOND)
    assert "fut" not in made.guardian.state.cancels.confirmed
    arm(made)
    assert "the orders of fut are not proven cancelled" in made.all_told(ArmRefused)[-1].why
    made.loses = lambda report: False
    if made.down:
        made.come_up("perp")
    made.run(600 * MS)
    arm(made)
    assert made.state.level is ARMED


def test_an_answer_from_before_the_last_cancel_proves_nothing():
    made = with_desk()
    SOURCES["operator"](made, CANCEL_ALL)
    made.rest("fut", PERP, "1", "9000")
    made.run(MS)
    held: list[Report] = []

    def hold(report: Report) -> bool:
        held.append(report)
        return True

    made.loses = hold
    made.run(20 * MS)
    SOURCES["operator"](made, CANCEL_ALL)
    for report in held:
        made.take(report)
    assert made.guardian.state.cancels.confirmed == set()


def test_orders_that_appear_later_are_found_and_cancelled():
    made = with_desk()
    SOURCES["operator"](made, CANCEL_ALL)
    made.run(SECOND)
    made.rest("fut", PERP, "1", "9000")
    made.run(made.config.watch_ns + SECOND)
    assert made.resting() == 0


# Arming


def arm(made: Rig, operator: str = "alice", reason: str = "all is well") -> None:
    made.take(ArmCommand(made.now, operator, reason))


@pytest.mark.parametrize("level", [REDUCE_ONLY, CANCEL_ALL])
def test_a_person_with_a_reason_arms(level):
    made = with_desk(level)
    made.run(SECOND)
    arm(made)
    (change,) = made.all_effects(Latched)
    assert (change.before, change.level, change.operator, change.reason) == (level, ARMED, "alice", "all is well")
    assert made.state.level is ARMED
    sent = len(made.sent)
    made.run(SECOND)
    assert not [one for _, one in made.sent[sent:] if isinstance(one, CancelAll)]


def no_desk(made: Rig) -> None:
    made.desk = None
    made.take(DeskGone(made.now, "EOF"))


def bye(made: Rig) -> None:
    made.desk = None
    made.take(DeskBye(made.now, "stop"))


def course(made: Rig) -> Course:
    return made.guardian.state.flattening.course


def level_of(made: Rig) -> KillLevel:
    return made.guardian.state.level


def hung(made: Rig) -> None:
    assert made.desk is not None
    made.desk.is_hung = True
    made.run(2 * SECOND)


OBSTACLES: dict[str, tuple[Callable[[Rig], None], str]] = {
    "no desk": (no_desk, "no desk is connected"),
    "a silent desk": (hung, "the desk sends no heartbeats"),
    "a flattening": (lambda made: SOURCES["operator"](made, FLATTEN), "a flattening is under way"),
    "no journal": (
        lambda made: setattr(made.guardian.state, "distrust", "disk full"),
        "the guard's journal: disk full",
    ),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_arming_is_refused(obstacle):
    made = with_desk(REDUCE_ONLY)
    hinder, why = OBSTACLES[obstacle]
    hinder(made)
    before = made.guardian.state.level
    arm(made)
    assert why in made.all_told(ArmRefused)[-1].why
    assert level_of(made) is before
    assert ARMED not in [one.level for one in made.all_effects(Latched)]


@pytest.mark.parametrize(("operator", "reason"), [("", "why"), ("alice", ""), (" ", "\t")])
def test_arming_needs_a_name_and_a_reason(operator, reason):
    made = with_desk(REDUCE_ONLY)
    arm(made, operator, reason)
    assert made.all_told(ArmRefused)[-1].why == "arming needs an operator and a reason"


def test_the_latch_is_lowered_only_once_that_is_written():
    made = with_desk(REDUCE_ONLY)
    made.commit_fails = "disk full"
    arm(made)
    assert made.all_told(ArmRefused)[-1].why == "the guard's journal: disk full"
    assert made.state.level is CANCEL_ALL, "a latch that cannot be written is no licence to trade"
    made.commit_fails = ""
    made.run(SECOND)
    arm(made)
    assert made.state.level is CANCEL_ALL, "until a restart with a sound journal"


def test_raising_does_not_wait_for_the_journal():
    made = with_desk()
    made.commit_fails = "disk full"
    SOURCES["operator"](made, CANCEL_ALL)
    assert made.state.level is CANCEL_ALL
    assert len([one for t, one in made.sent if t == made.now and isinstance(one, CancelAll)]) >= 2


def test_what_rises_while_the_lowering_is_written_stays():
    made = with_desk(REDUCE_ONLY)
    made.guardian.handle(made.now, ArmCommand(made.now, "alice", "fine"))
    made.guardian.handle(made.now, KillCommand(made.now, "bob", CANCEL_ALL, "no"))
    made.guardian.handle(made.now, LatchWritten(made.now, ARMED))
    assert level_of(made) is CANCEL_ALL


# Heartbeats


def test_missed_heartbeats_cancel_all():
    made = with_desk()
    made.rest("fut", PERP, "1", "9000")
    assert made.desk is not None
    made.run(SECOND)
    assert made.resting() == 1
    made.desk.is_hung = True
    last = made.guardian.state.desk.heard_ns
    made.run_until(lambda: made.guardian.state.level is CANCEL_ALL)
    assert made.now - last == made.config.heartbeat_timeout_ns
    assert latched(made) == [(ARMED, CANCEL_ALL, "heartbeat")]
    made.run(50 * MS)
    assert made.resting() == 0
    assert not made.all_effects(Fence), "a desk that says nothing keeps its positions"


LEAVES = [
    ("gone", no_desk, CANCEL_ALL),
    ("in order", bye, ARMED),
    ("gone after goodbye", lambda made: [leave(made) for leave in (bye, no_desk)], ARMED),
]


@pytest.mark.parametrize(("leaves", "level"), [row[1:] for row in LEAVES], ids=[row[0] for row in LEAVES])
def test_how_a_desk_leaves(leaves, level):
    made = with_desk()
    leaves(made)
    made.run(SECOND)
    assert level_of(made) is ARMED
    made.run(SECOND)
    assert level_of(made) is level


def test_a_desk_that_comes_back_in_time_keeps_its_licence():
    made = with_desk()
    no_desk(made)
    made.run(SECOND)
    FakeDesk(made, pid=4243).join()
    made.run(5 * SECOND)
    assert level_of(made) is ARMED


def test_every_heartbeat_is_answered():
    made = with_desk()
    made.run(SECOND)
    assert made.desk is not None
    assert {one.number for one in made.all_told(GuardState)} == {*range(made.desk.number + 1)}


def test_a_desk_that_wakes_up_finds_the_latch_and_its_orders_cancelled_again():
    made = with_desk()
    hung(made)
    assert made.desk is not None
    made.rest("fut", PERP, "1", "9000")
    made.desk.is_hung = False
    made.desk.say()
    made.run(50 * MS)
    assert made.resting() == 0
    assert made.state.level is CANCEL_ALL


RISES = [
    ("higher than the latch", [0, 2], CANCEL_ALL),
    ("at the first beat", [2], CANCEL_ALL),
    ("still the old level after arming", [0, 0], ARMED),
]


@pytest.mark.parametrize(("levels", "level"), [row[1:] for row in RISES], ids=[row[0] for row in RISES])
def test_the_desks_own_level_raises_the_latch(levels, level):
    made = rig()
    made.take(DeskHello(made.now, 1, "run", "build", "paper"))
    for number, one in enumerate(levels):
        made.take(Heartbeat(made.now, number, KillLevel(one), True, 0))
    assert made.state.level is level


def test_a_level_the_desk_has_not_lowered_yet_does_not_undo_an_arming():
    made = with_desk(CANCEL_ALL)
    made.run(SECOND)
    assert made.desk is not None
    assert made.desk.level is CANCEL_ALL
    arm(made)
    made.desk.say()
    made.run(SECOND)
    assert made.state.level is ARMED


# Who flattens


def flatten(made: Rig) -> None:
    SOURCES["operator"](made, FLATTEN)


def test_a_desk_that_says_so_flattens_and_is_checked():
    made = with_desk()
    desk = made.desk
    assert desk is not None
    made.hold("fut", PERP, "1")
    desk.open_baskets, desk.closes_after_ns = 1, 3 * SECOND
    desk.closes = lambda: made.hold("fut", PERP, "-1")
    flatten(made)
    made.run(SECOND)
    assert course(made) is Course.DESK
    made.run(2_100 * MS)
    assert course(made) is Course.FLAT
    assert not made.state.is_in_charge
    assert not made.all_effects(Fence)
    assert not made.all_sent(SubmitOrder)
    arm(made)
    assert made.state.level is ARMED


def deaf(made: Rig) -> None:
    assert made.desk is not None
    made.desk.is_deaf = True


TAKEN_OVER = [
    ("it hangs", lambda made: setattr(made.desk, "is_hung", True), 150 * MS, "did not answer within 150 ms"),
    ("it beats on and does not hear", deaf, 150 * MS, "did not answer within 150 ms"),
    (
        "it does not finish",
        lambda made: setattr(made.desk, "open_baskets", 2),
        10 * SECOND,
        "2 baskets open after 10 s",
    ),
    ("it is gone", no_desk, 0, "no desk is there"),
    ("it has left", bye, 0, "no desk is there"),
]


@pytest.mark.parametrize(
    ("how", "after_ns", "why"), [row[1:] for row in TAKEN_OVER], ids=[row[0] for row in TAKEN_OVER]
)
def test_the_guard_takes_over(how, after_ns, why):
    made = with_desk()
    made.hold("fut", PERP, "1")
    how(made)
    begun = made.now
    flatten(made)
    made.run_until(lambda: made.guardian.state.is_in_charge)
    assert made.now - begun == after_ns
    assert why in made.all_effects(Charge)[0].why
    made.run_until(lambda: course(made) is Course.FLAT)
    assert made.position("fut", PERP) == 0
    kinds = [type(one) for _, one in made.effects]
    if Fence in kinds:
        charge = kinds.index(Charge)
        assert [kinds[charge + 1], Fence in kinds[charge:]] == [GuardState, True], "said before it is done"
        assert made.all_effects(Fence)[0].pid == 4242


def test_a_desk_that_dies_while_it_flattens():
    made = with_desk()
    made.hold("fut", PERP, "1")
    assert made.desk is not None
    made.desk.open_baskets = 1
    flatten(made)
    made.run(SECOND)
    no_desk(made)
    assert course(made) is Course.FENCE, "its process may still be there"
    made.run(SECOND)
    assert made.position("fut", PERP) == 0


def test_what_the_desk_does_not_know_of_is_flattened_all_the_same():
    made = with_desk()
    made.hold("fut", PERP, "1")
    flatten(made)
    made.run(2 * SECOND)
    assert "the desk said it was done: open: fut perp:BTC 1" in made.all_effects(Charge)[0].why
    assert made.position("fut", PERP) == 0


def test_a_rest_below_the_common_quantum_is_no_reason_to_end_a_desk():
    made = with_desk(btc="0.5")
    made.hold("cash", SPOT, "0.0009")
    flatten(made)
    made.run(2 * SECOND)
    assert course(made) is Course.FLAT
    assert made.guardian.state.flattening.left == ["open: cash spot:BTC 0.00090"]
    assert not made.all_effects(Fence)


def test_panic_asks_nobody():
    made = with_desk()
    made.hold("fut", PERP, "1")
    begun = made.now
    made.take(PanicCommand(made.now, "alice", "smoke"))
    assert [one.pid for one in made.all_effects(Fence)] == [4242]
    assert latched(made) == [(ARMED, FLATTEN, "panic")]
    made.run_until(lambda: made.position("fut", PERP) == 0)
    assert made.now - begun < 100 * MS


def test_a_fence_without_an_answer_is_not_waited_for_long():
    made = with_desk(fence_ns=None)
    made.hold("fut", PERP, "1")
    made.take(PanicCommand(made.now, "alice", "smoke"))
    begun = made.now
    made.run_until(lambda: course(made) is Course.OWN)
    assert made.now - begun == made.config.fence_ns
    assert "may still be there" in made.guardian.state.flattening.why
    made.run(SECOND)
    assert made.position("fut", PERP) == 0


def test_the_book_is_given_back_when_the_new_desk_has_reconciled():
    made = with_desk()
    made.hold("fut", PERP, "1")
    made.take(PanicCommand(made.now, "alice", "smoke"))
    made.run(SECOND)
    assert course(made) is Course.FLAT
    desk = FakeDesk(made, pid=4243, is_reconciled=False).join()
    made.run(3 * SECOND)
    assert made.state.is_in_charge
    arm(made)
    assert "has not yet reconciled" in made.all_told(ArmRefused)[-1].why
    desk.is_reconciled = True
    made.run(200 * MS)
    assert [one.is_in_charge for one in made.all_told(GuardState)[-1:]] == [False]
    assert level_of(made) is FLATTEN, "the latch stays"
    assert [one.is_in_charge for one in made.all_effects(Charge)] == [True, False]
    assert len(made.all_effects(Fence)) == 1, "the new one obeys"
    arm(made)
    assert level_of(made) is ARMED


def test_what_arrives_late_is_found_while_nobody_else_looks():
    made = rig()
    flatten(made)
    made.run(SECOND)
    assert course(made) is Course.FLAT
    made.hold("fut", PERP, "1")
    made.run(made.config.watch_ns + SECOND)
    assert made.position("fut", PERP) == 0
    assert course(made) is Course.FLAT


def test_a_desk_whose_baskets_open_again_goes_on():
    made = with_desk()
    made.hold("fut", PERP, "1")
    desk = made.desk
    assert desk is not None
    made.loses = lambda report: type(report).__name__ == "QueryResult"
    flatten(made)
    made.run(10 * MS)
    assert course(made) is Course.CHECK
    desk.open_baskets = 1
    desk.say()
    assert course(made) is Course.DESK
    made.loses = lambda report: False
    made.hold("fut", PERP, "-1")
    desk.open_baskets = 0
    desk.say()
    made.run(SECOND)
    assert course(made) is Course.FLAT
    assert not made.all_effects(Fence)


def test_a_check_without_an_answer_is_made_again():
    made = with_desk()
    made.loses = lambda report: type(report).__name__ == "QueryResult"
    flatten(made)
    made.run(3 * SECOND)
    assert course(made) is Course.CHECK
    made.loses = lambda report: False
    made.run(3 * SECOND)
    assert course(made) is Course.FLAT


def test_flattening_again_while_in_charge_ends_nobody():
    made = with_desk()
    made.take(PanicCommand(made.now, "alice", "smoke"))
    made.run(SECOND)
    FakeDesk(made, pid=4243, is_reconciled=False).join()
    made.hold("fut", PERP, "1")
    flatten(made)
    made.run(SECOND)
    assert made.position("fut", PERP) == 0
    assert [one.pid for one in made.all_effects(Fence)] == [4242]


def test_a_process_that_cannot_be_ended_is_named():
    made = with_desk(fence_ns=None)
    made.take(PanicCommand(made.now, "alice", "smoke"))
    made.take(Fenced(made.now, 4242, is_dead=False, why="Operation not permitted"))
    assert course(made) is Course.OWN
    assert "4242 is not ended: Operation not permitted" in made.guardian.state.flattening.why


def test_a_look_that_fails_after_the_end_changes_nothing():
    made = rig()
    flatten(made)
    made.run(SECOND)
    made.go_down("perp")
    made.run(made.config.watch_ns + SECOND)
    assert course(made) is Course.FLAT


def test_arming_what_is_armed_is_answered():
    made = with_desk()
    before = len(made.told)
    arm(made)
    assert [type(one) for _, one in made.told[before:]] == [GuardState]
    assert made.all_effects(Latched) == []


FILL = OrderFilled(
    1,
    "fut",
    PERP.id,
    "desk-1",
    "v",
    "t",
    Side.BUY,
    Decimal(1),
    Decimal(1),
    Liquidity.TAKER,
    Decimal(0),
    "USDT",
    FillReason.TAKER,
)
STRAY = [
    Heartbeat(1, 1, FLATTEN, True, 0),
    Fenced(1, 5, is_dead=True),
    DeskGone(1, "x"),
    LatchWritten(1, ARMED),
    VenueDown(1, "perp", MARKET_CHANNEL),
    VenueUp(1, "perp", MARKET_CHANNEL),
    VenueDown(1, "nowhere"),
    BookSnapshot(1, PERP.id, 1, [], []),
    QueryFailed(1, "fut", "of-somebody-else", QueryKind.POSITIONS, "x"),
    FILL,
    OrderRejected(1, "fut", PERP.id, "desk-1", RejectReason.OTHER),
    KillCommand(1, "alice", ARMED, "a kill never lowers"),
    DeskKill(1, "alice", ARMED, "a kill never lowers"),
]


@pytest.mark.parametrize("message", STRAY, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("level", [ARMED, CANCEL_ALL])
def test_what_is_no_business_of_the_guard_changes_nothing(message, level):
    made = rig(level)
    made.run(SECOND)
    before, sent = made.guardian.snapshot(), len(made.sent)
    made.take(message)
    assert made.guardian.snapshot() == before
    assert len(made.sent) == sent


# Restarts

RESTARTS = [
    ("armed, nobody known", Remembered(8), 0, ARMED, False),
    ("armed, a desk was there", Remembered(8, awaited_pid=9), 2, CANCEL_ALL, False),
    ("never armed", Remembered(8, REDUCE_ONLY, "start", "never armed"), 2, REDUCE_ONLY, False),
    ("cancel all", Remembered(8, CANCEL_ALL, "operator", "x", awaited_pid=9), 0, CANCEL_ALL, False),
    ("flatten, nobody comes", Remembered(8, FLATTEN, "operator", "x"), 2, FLATTEN, True),
    ("flatten, in charge", Remembered(8, FLATTEN, "operator", "x", True, awaited_pid=9), 0, FLATTEN, True),
]


@pytest.mark.parametrize(
    ("remembered", "seconds", "level", "is_in_charge"), [row[1:] for row in RESTARTS], ids=[row[0] for row in RESTARTS]
)
def test_a_restart_goes_on(remembered, seconds, level, is_in_charge):
    made = Rig(remembered=remembered)
    made.hold("fut", PERP, "1")
    made.rest("fut", PERP, "1", "9000")
    made.start().run(seconds * SECOND + SECOND)
    assert level_of(made) is level
    assert made.guardian.state.is_in_charge is is_in_charge
    assert made.resting() == (0 if level >= CANCEL_ALL else 1)
    assert made.position("fut", PERP) == (0 if is_in_charge else 1)
    fenced = [one.pid for one in made.all_effects(Fence)]
    assert fenced == ([9] if is_in_charge and remembered.awaited_pid else [])


def test_a_restart_in_charge_does_not_end_the_desk_that_came_after():
    made = Rig(remembered=Remembered(8, FLATTEN, "operator", "x", True, awaited_pid=9, is_fenced=True)).start()
    made.run(SECOND)
    assert not made.all_effects(Fence)
    assert course(made) is Course.FLAT


def test_a_restart_at_flatten_lets_the_desk_go_on():
    made = Rig(remembered=Remembered(8, FLATTEN, "operator", "x", awaited_pid=4242)).start()
    made.hold("fut", PERP, "1")
    desk = FakeDesk(made, open_baskets=1, closes_after_ns=SECOND)
    desk.closes = lambda: made.hold("fut", PERP, "-1")
    made.run(500 * MS)
    desk.join()
    made.run(SECOND)
    assert course(made) is Course.DESK
    made.run(SECOND)
    assert course(made) is Course.FLAT
    assert not made.all_effects(Fence)


# Numbers


def test_no_client_id_or_query_id_is_used_twice():
    made = rig()
    made.hold("fut", PERP, "3")
    flatten(made)
    made.run(SECOND)
    other = Rig(remembered=Remembered(8, FLATTEN, "operator", "x", True))
    other.hold("fut", PERP, "3")
    other.start().run(SECOND)
    ids = [one.client_order_id for each in (made, other) for one in each.all_sent(SubmitOrder)]
    ids += [one.query_id for each in (made, other) for one in each.all_sent(Query)]
    assert len(set(ids)) == len(ids) > 10
    assert all(one.startswith(("gd-7-", "gd-8-")) for one in ids)


# Dead man


def dead_man(made: Rig) -> list[tuple[int, str, int]]:
    return [((t - START) // MS, one.instrument, one.timeout_ns) for t, one in made.sent if isinstance(one, ArmDeadMan)]


def test_the_venues_timers_are_set_anew_while_the_desk_lives():
    made = with_desk(config=GuardConfig(dead_man_ns=9 * SECOND))
    made.run(7 * SECOND)
    assert made.desk is not None
    assert dead_man(made) == [(t, name, 9 * SECOND) for t in (0, 3000, 6000) for name in ("perp:BTC", "perp:ETH")]
    made.desk.is_hung = True
    made.run(20 * SECOND)
    assert dead_man(made)[-1][0] == 6000


def test_they_are_taken_off_when_it_leaves_in_order():
    made = with_desk(config=GuardConfig(dead_man_ns=9 * SECOND))
    made.take(DeskBye(made.now, "stop"))
    made.desk = None
    made.run(20 * SECOND)
    assert [one[1:] for one in dead_man(made)[2:]] == [("perp:BTC", 0), ("perp:ETH", 0)]


def test_the_venue_cancels_by_itself_when_desk_and_guard_are_gone():
    made = with_desk(config=GuardConfig(dead_man_ns=9 * SECOND))
    made.rest("fut", PERP, "1", "9000")
    assert made.desk is not None
    made.desk.is_hung = True
    made.refuses = lambda command: True
    made.run(8 * SECOND)
    assert made.resting() == 1
    made.run(2 * SECOND)
    assert made.resting() == 0


PACES = [
    ("as fast", (1, 1), 9),
    ("ten times", (10, 1), 90),
    ("half", (1, 2), Decimal("4.5")),
    ("in steps", (0, 1), None),
]


@pytest.mark.parametrize(("pace", "seconds"), [row[1:] for row in PACES], ids=[row[0] for row in PACES])
def test_they_run_in_the_markets_time(pace, seconds):
    made = rig(config=GuardConfig(dead_man_ns=9 * SECOND))
    made.take(MarketPace(made.now, *pace))
    FakeDesk(made).join()
    assert [one[2] for one in dead_man(made)[:1]] == ([] if seconds is None else [int(seconds * SECOND)])


def test_none_at_all():
    made = with_desk(config=GuardConfig(dead_man_ns=0))
    made.take(DeskBye(made.now, "stop"))
    assert dead_man(made) == []


def test_baselines_of_unknown_accounts_are_no_matter():
    made = rig()
    made.take(Baselines(made.now, "nobody", {"BTC": Decimal(1)}))
    assert made.guardian.state.baselines == {}


BAD = [
    {"heartbeat_timeout_ns": 150 * MS},
    {"ack_ns": 100 * MS},
    {"slippage_bps": (Decimal(50), Decimal(20))},
    {"slippage_bps": (Decimal("NaN"),)},
    {"depth_share": Decimal(0)},
    {"depth_share": Decimal(2)},
    {"dead_man_ns": -1},
    {"round_ns": 0},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_settings_that_are_refused(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        evolve(GuardConfig(), **bad)
