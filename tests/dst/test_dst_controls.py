"""Every fault can be met, and every control of the desk has one that trips it: a parade of each kind."""

from collections import Counter

import pytest

from daemon.torture import controls
from daemon.torture.desk import INSTRUMENTS, PERPETUAL, VENUES, DeskSettings
from daemon.torture.rogue import BACKLOG, MISDEEDS
from daemon.torture.run import Torture
from daemon.torture.script import (
    AT_VENUE,
    CRASHES,
    IN_FEED,
    IN_MARKET,
    ON_CANCEL,
    ON_POSITION,
    ON_SUBMIT,
    SECOND_NS,
    Fault,
    FaultKind,
    Script,
)
from daemon.torture.seeds import run_script

K = FaultKind
CALM = 60
PARADES: dict[str, tuple[FaultKind, ...]] = {
    "orders": ON_SUBMIT,
    "cancels": ON_CANCEL,
    "venues": (*AT_VENUE, K.ADL, K.BUSTED),
    "young": (K.INVISIBLE, K.UNKNOWN_DONE),
    "market": (*IN_MARKET, *IN_FEED),
    "deaths": CRASHES,
    "host": (K.CLOCK_AHEAD, K.CLOCK_BEHIND, K.SLOW_COMMIT, K.COMMIT_FAILS, K.DISK_FULL, K.PAUSED, K.FLOOD),
    "people": (K.KILL, K.GUARD_DOWN, K.GUARD_CHARGE),
}
# Seconds a fault of the kind takes where it is no matter of one order, commit or moment.
LASTING = {
    K.STALE: 14,
    K.QUERIES_FAIL: 20,
    K.RATE_BAN: 12,
    K.DOWN: 11,
    K.LATE_POSITIONS: 14,
    K.PAUSED: 2,
    K.KILL: 0,
    K.LIQUIDATION: 2,
}
seen: Counter[str] = Counter()
tripped: Counter[str] = Counter()


def parade(kinds, rounds, spacing):
    """Return each kind in turn, at every place in turn."""
    faults = []
    for number in range(len(kinds) * rounds):
        kind, turn = kinds[number % len(kinds)], number // len(kinds)
        if kind in ON_CANCEL:
            at = "spot_venue"
        elif kind in (*ON_SUBMIT, *AT_VENUE):
            at = VENUES[turn % 2]
        elif kind in (*IN_MARKET, *ON_POSITION):
            at = PERPETUAL
        else:
            at = INSTRUMENTS[turn % 4] if kind in IN_FEED else ""
        length = LASTING.get(kind, 8)
        faults.append(Fault(kind, (5 + number * spacing) * SECOND_NS, length * SECOND_NS, at, number))
    return faults


def play(seed, faults):
    seconds = max(fault.end_ns for fault in faults) // SECOND_NS + CALM
    outcome = run_script(Script(seed, seconds * SECOND_NS, faults))
    assert outcome.error == ""
    seen.update(outcome.faults)
    tripped.update(controls.tripped(outcome.reasons, outcome.triggers, outcome.incidents))
    return outcome


@pytest.mark.parametrize("name", PARADES)
def test_a_parade_of_faults_breaks_nothing(name):
    kinds = PARADES[name]
    play(18, parade(kinds, 3, 16 if name == "venues" else 7))


def test_a_venue_that_refuses_everything_trips_the_reject_rate():
    play(12, [Fault(K.REJECTED, 5 * SECOND_NS, 30 * SECOND_NS, venue, once=False) for venue in VENUES])


def test_hedges_that_vanish_trip_the_watch_over_imbalance():
    kinds = (K.PARTIAL, K.SILENT_LOST)
    faults = [
        Fault(kinds[number % 2], (5 + number // 2 * 7) * SECOND_NS, 60 * SECOND_NS, "perp_venue", number)
        for number in range(20)
    ]
    play(13, faults)


@pytest.mark.parametrize(("drawdown", "loss"), [("0.9", "30000"), ("0.11", "30000"), ("0.9", "2000")])
def test_marks_that_jump_reach_the_limits_of_loss_soft_and_hard(drawdown, loss, tmp_path):
    """The hard ones end the session: they have desks of their own, each with one limit in reach."""
    jumps = [Fault(K.SPIKE, second * SECOND_NS, SECOND_NS, PERPETUAL, second) for second in range(3, 30, 2)]
    settings = DeskSettings(17, 90, drawdown_hard=drawdown, daily_loss_hard=loss, hold_ms=20_000)
    run = Torture(tmp_path, settings, Script(17, 90 * SECOND_NS, jumps), is_armed=True)
    run.run()
    run.check_end(is_alive=True)
    tripped.update(controls.tripped({}, run.outcome("", "").triggers, {}))


def test_a_clock_that_jumps_ahead_makes_every_book_old():
    faults = []
    # Salts by which the clock jumps 2.5 to 3.9 s: more than a book may be old, less than a feed may be silent.
    for number, salt in enumerate((7, 10, 25, 36)):
        at = (9 + 6 * number) * SECOND_NS
        faults.append(Fault(K.CLOCK_AHEAD, at, 2 * SECOND_NS, salt=salt))
        faults.append(Fault(K.ROGUE, at + 1_000_000, 0, "order/off_lot", number))
    play(18, faults)


def test_an_account_that_cannot_be_reconciled_stays_read_only():
    faults = [Fault(K.DOWN, 5 * SECOND_NS, 3 * SECOND_NS, venue) for venue in VENUES]
    faults += [Fault(K.QUERIES_FAIL, 5 * SECOND_NS, 30 * SECOND_NS, "perp_venue")]
    faults += [Fault(K.ROGUE, second * SECOND_NS, 0, "order/above_max_qty", second) for second in range(9, 30, 4)]
    play(15, faults)


def test_what_is_asked_of_a_venue_that_is_down_or_of_a_killed_desk_is_refused():
    faults = [Fault(K.DOWN, 17 * SECOND_NS, 6 * SECOND_NS, "perp_venue"), Fault(K.KILL, 9 * SECOND_NS, 0)]
    # Five seconds later the dead-man timer that the order waits for is given up, and the venue still down.
    faults += [Fault(K.ROGUE, 17_200_000_000, 0, "order/above_max_qty")]
    faults += [Fault(K.ROGUE, 10 * SECOND_NS, 0, "basket/size_limit")]
    play(16, faults)


def test_every_misdeed_is_refused():
    names = [name for name in MISDEEDS if name != BACKLOG]
    faults = [
        Fault(K.ROGUE, (5 + number * 3) * SECOND_NS, 0, name, number)
        for number, name in enumerate([*names, *reversed(names)])
    ]
    outcome = play(14, faults)
    refused = controls.tripped(outcome.reasons, outcome.triggers, outcome.incidents)
    assert [name for name in names if not refused[name]] == []


def test_every_fault_was_met_and_every_control_tripped_by_some_parade():
    if not seen:
        pytest.skip("the parades were not run")
    assert [kind for kind in FaultKind if not seen[kind]] == []
    out_of_reach = {*controls.BEYOND, *controls.WITHOUT_FAULT}
    assert [name for name in controls.universe() if name not in out_of_reach and not tripped[name]] == []
