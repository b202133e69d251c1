"""Who flattens the book, what a restart goes on with, and the venues' own timers."""

from decimal import Decimal

import pytest
from guard_harness import (
    MS,
    PERP,
    SECOND,
    SPOT,
    START,
    FakeDesk,
    Rig,
    arm,
    bye,
    course,
    flatten,
    latched,
    level_of,
    no_desk,
    rig,
    with_desk,
)

from actors.control import DeskBye, GuardState
from actors.guardian_messages import (
    ArmRefused,
    Charge,
    Fence,
    Fenced,
    MarketPace,
    PanicCommand,
)
from actors.guardian_records import Course, GuardConfig, Remembered
from actors.messages import KillLevel
from venues.port import (
    ArmDeadMan,
    Query,
    SubmitOrder,
)

ARMED, REDUCE_ONLY, CANCEL_ALL, FLATTEN = KillLevel

# Who flattens


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


def test_a_desk_that_cannot_be_checked_is_looked_after_ever_more_rarely():
    """Twenty questions a second had spent the address's weight, and then no answer came any more."""
    made = with_desk()
    desk = made.desk
    assert desk is not None
    made.hold("fut", PERP, "1")
    desk.open_baskets, desk.closes_after_ns = 1, SECOND
    desk.closes = lambda: made.hold("fut", PERP, "-1")
    flatten(made)
    made.run(500 * MS)
    made.go_down("perp")
    made.run(600 * MS)
    assert course(made) is Course.CHECK
    before = len(made.all_sent(Query))
    made.run(60 * SECOND)
    accounts = 2
    looks = (len(made.all_sent(Query)) - before) / (2 * accounts)
    # Six within the first three seconds and a half, then one in each 3.2 s.
    assert 15 <= looks <= 25
    assert course(made) is Course.CHECK
    made.come_up("perp")
    made.run(SECOND)
    assert course(made) is Course.FLAT


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


def test_a_venue_that_has_none_is_left_alone():
    made = with_desk(config=GuardConfig(dead_man_ns=9 * SECOND, without_dead_man=("perp",)))
    made.run(7 * SECOND)
    assert dead_man(made) == []
