"""The guard's latch and its watch over the desk: what raises, what lowers, what is refused, who takes over when."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from attrs import evolve
from guard_harness import (
    MS,
    PERP,
    SECOND,
    FakeDesk,
    Rig,
    arm,
    bye,
    flatten,
    hung,
    kill,
    latched,
    level_of,
    no_desk,
    rig,
    with_desk,
)

from actors.control import Baselines, DeskHello, GuardState, Heartbeat
from actors.guardian_messages import (
    ArmRefused,
    DeskGone,
    DeskKill,
    Fence,
    Fenced,
    Latched,
    LatchWritten,
)
from actors.guardian_records import GuardConfig
from actors.messages import MARKET_CHANNEL, ArmCommand, KillCommand, KillLevel
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Side
from venues.port import (
    BookSnapshot,
    CancelAll,
    OrderFilled,
    OrderRejected,
    Query,
    QueryFailed,
    QueryKind,
    RejectReason,
    Report,
    VenueDown,
    VenueUp,
)

ARMED, REDUCE_ONLY, CANCEL_ALL, FLATTEN = KillLevel

# The latch only rises by itself

SOURCES: dict[str, Callable[[Rig, KillLevel], None]] = {
    "operator": kill,
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
    kill(made, level)
    assert {one.account for t, one in made.sent if t == made.now and isinstance(one, CancelAll)} == {"fut", "cash"}
    made.run(100 * MS)
    assert made.resting() == 0


def test_a_kill_at_the_guards_own_socket_is_passed_on():
    made = with_desk()
    kill(made, REDUCE_ONLY)
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
    kill(made, CANCEL_ALL)
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
    kill(made, CANCEL_ALL)
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
    kill(made, CANCEL_ALL)
    made.rest("fut", PERP, "1", "9000")
    made.run(MS)
    held: list[Report] = []

    def hold(report: Report) -> bool:
        held.append(report)
        return True

    made.loses = hold
    made.run(20 * MS)
    kill(made, CANCEL_ALL)
    for report in held:
        made.take(report)
    assert made.guardian.state.cancels.confirmed == set()


def test_orders_that_appear_later_are_found_and_cancelled():
    made = with_desk()
    kill(made, CANCEL_ALL)
    made.run(SECOND)
    made.rest("fut", PERP, "1", "9000")
    made.run(made.config.watch_ns + SECOND)
    assert made.resting() == 0


# Arming


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


OBSTACLES: dict[str, tuple[Callable[[Rig], object], str]] = {
    "no desk": (no_desk, "no desk is connected"),
    "a silent desk": (hung, "the desk sends no heartbeats"),
    "a flattening": (flatten, "a flattening is under way"),
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
    kill(made, CANCEL_ALL)
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


def test_baselines_of_unknown_accounts_are_no_matter():
    made = rig()
    made.take(Baselines(made.now, "nobody", {"BTC": Decimal(1)}))
    assert made.guardian.state.baselines == {}


BAD = [
    {"heartbeat_timeout_ns": 950 * MS},
    {"ack_ns": 0},
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
