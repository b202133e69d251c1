"""The synchronizer's rules: only complete answers count, a difference must stand still, each has its resolution."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sync_by_hand import CONFIG, PERP, QUIET, SECOND, SPOT, SyncDesk, T

from actors.cell import CellRestarted
from actors.messages import (
    FillEvent,
    KillLevel,
    KillTrigger,
    MismatchKind,
    PositionMismatch,
    Reconciled,
)
from actors.sync_records import RESOLUTIONS, classify
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide, Side
from venues.port import (
    Deleveraged,
    Liquidated,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    SetLeverage,
    VenueDown,
    VenueUp,
)

D = Decimal


def test_each_account_is_asked_for_what_it_can_hold():
    desk = SyncDesk()
    asked = [(one.account, one.kind) for one in desk.done.sent if isinstance(one, Query)]
    assert asked == [("f", QueryKind.POSITIONS), ("f", QueryKind.ACCOUNT), ("s", QueryKind.ACCOUNT)]


def test_a_complete_answer_that_agrees_reconciles():
    desk = SyncDesk()
    desk.position(1)
    desk.answer((1, D(100), None))
    desk.balances(BTC="3")
    # The spot answer came while we were busy with nothing of its own: its baseline is taken at once.
    assert [one.account for one in desk.of(Reconciled)] == ["f", "s"]


def test_the_period_goes_on_after_an_answer():
    desk = SyncDesk()
    desk.answer()
    assert desk.sync.state.accounts["f"].next_round_ns == T + CONFIG.period_ns
    desk.round()
    assert desk.asked() == "PositionSynchronizer-4"


def settle(desk, *held):
    """Show the same difference twice, with quiet in between."""
    desk.answer(*held)
    desk.round()
    desk.answer(*held)


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ("1", "1", None),
        ("0", "0", None),
        ("1", "1.000", None),
        ("1", "2", MismatchKind.QUANTITY),
        ("-1", "-0.5", MismatchKind.QUANTITY),
        ("1", "0", MismatchKind.CLOSED_EXTERNALLY),
        ("0", "1", MismatchKind.UNKNOWN_POSITION),
        ("1", "-1", MismatchKind.SIDE_FLIP),
    ],
)
def test_differences_have_names(ours, theirs, kind):
    assert classify(D(ours), D(theirs), None) is kind


@pytest.mark.parametrize(
    ("ours", "held", "kind"),
    [
        (1, [(2, D(100), None)], MismatchKind.QUANTITY),
        (1, [], MismatchKind.CLOSED_EXTERNALLY),
        (0, [(2, D(100), None)], MismatchKind.UNKNOWN_POSITION),
        (1, [(-1, D(100), None)], MismatchKind.SIDE_FLIP),
    ],
)
def test_a_believed_difference_is_told_and_trips_as_the_table_says(ours, held, kind):
    desk = SyncDesk()
    desk.position(ours)
    desk.now += QUIET
    desk.answer(*held)
    assert not desk.of(PositionMismatch)
    desk.round()
    desk.answer(*held)
    (mismatch,) = desk.of(PositionMismatch)
    assert (mismatch.kind, mismatch.ours) == (kind, ours)
    assert [one.level for one in desk.of(KillTrigger)] == [RESOLUTIONS[kind].level]
    (fills,) = [one for one in desk.done.sent if isinstance(one, Query) and one.kind is QueryKind.FILLS]
    assert fills.instrument == PERP.id
    assert not desk.of(Reconciled)
    # Told once, however often it is seen.
    desk.round()
    desk.answer(*held)
    assert len(desk.of(PositionMismatch)) == 1


def test_a_difference_that_goes_away_was_none():
    desk = SyncDesk()
    desk.now += QUIET
    desk.answer((1, D(100), None))
    desk.position(1)
    desk.round()
    desk.answer((1, D(100), None))
    assert not desk.of(PositionMismatch)
    assert [one.account for one in desk.of(Reconciled)] == ["f"]


@pytest.mark.parametrize("busy", ["in flight", "fill"])
def test_a_difference_is_not_believed_while_something_moves_until_patience_ends(busy):
    desk = SyncDesk()
    while desk.now < T + CONFIG.patience_ns:
        assert not desk.of(PositionMismatch)
        if busy == "fill":
            made = Fill(
                0, "f", PERP.id, "c", "t", Side.BUY, D(1), D(1), Liquidity.TAKER, ZERO, "USDT", FillReason.TAKER
            )
            desk.give(FillEvent(desk.now, "r", "s", "b", made))
        else:
            desk.order(OrderStatus.UNKNOWN)
        desk.answer((1, D(100), None))
        desk.round()
    desk.answer((1, D(100), None))
    assert [one.kind for one in desk.of(PositionMismatch)] == [MismatchKind.UNKNOWN_POSITION]


def test_an_order_that_is_over_is_not_in_flight():
    desk = SyncDesk()
    desk.order(OrderStatus.SENT)
    desk.order(OrderStatus.CANCELED, is_final=True)
    assert not desk.sync.state.accounts["f"].in_flight


def test_a_failed_query_changes_nothing_and_the_third_in_a_row_trips():
    desk = SyncDesk()
    desk.position(1)
    ours = desk.sync.state.ours["f/fut:BTC/BOTH"]
    delays = []
    for number in range(1, 4):
        assert not desk.of(KillTrigger)
        desk.give(QueryFailed(desk.now, "f", desk.asked(), QueryKind.POSITIONS, "503"))
        delays.append((desk.sync.state.accounts["f"].next_round_ns or 0) - desk.now)
        assert desk.sync.state.accounts["f"].failures == number
        desk.round()
    assert delays == [SECOND, 2 * SECOND, 4 * SECOND]
    assert [one.level for one in desk.of(KillTrigger)] == [KillLevel.REDUCE_ONLY]
    assert ours.qty == 1
    assert not desk.of(PositionMismatch)
    assert not desk.of(Reconciled)
    desk.answer((1, D(100), None))
    assert desk.sync.state.accounts["f"].failures == 0
    assert len(desk.of(Reconciled)) == 1


def test_no_answer_is_a_failed_query_and_a_late_one_is_ignored():
    desk = SyncDesk()
    late = desk.asked()
    desk.now += CONFIG.timeout_ns
    desk.sync.on_timer(desk.now, "answer/f")
    assert desk.sync.state.accounts["f"].failures == 1
    desk.give(QueryResult(desk.now, "f", late, QueryKind.POSITIONS))
    assert not desk.of(Reconciled)


def test_a_round_times_out_until_its_last_answer_is_there():
    desk = SyncDesk()
    desk.done.timers.clear()
    desk.give(QueryResult(desk.now, "f", desk.asked(), QueryKind.POSITIONS))
    assert desk.done.timers == []
    desk.money("f")
    assert desk.done.timers == [("sync", "answer/f", None)]


def test_an_answer_without_numbers_is_a_failed_query():
    desk = SyncDesk()
    desk.answer(("NaN", None, None))
    desk.give(QueryResult(desk.now, "s", desk.asked("s"), QueryKind.ACCOUNT))
    assert [desk.sync.state.accounts[name].failures for name in ("f", "s")] == [1, 1]


def test_an_answer_from_before_a_restart_proves_nothing():
    desk = SyncDesk()
    before = desk.asked()
    desk.give(CellRestarted(desk.now, 1, "a", "e"))
    desk.give(QueryResult(desk.now, "f", before, QueryKind.POSITIONS))
    assert not desk.of(Reconciled)
    desk.answer()
    assert len(desk.of(Reconciled)) == 1


def test_a_venue_that_is_down_is_asked_when_it_is_back():
    desk = SyncDesk()
    desk.give(VenueDown(desk.now, "fut", "private", "eof"))
    sent = len(desk.done.sent)
    desk.sync.on_timer(desk.now + CONFIG.timeout_ns, "answer/f")
    desk.round()
    assert len(desk.done.sent) == sent
    assert desk.sync.state.accounts["f"].failures == 0
    desk.give(VenueUp(desk.now, "fut", "market"))
    assert len(desk.done.sent) == sent
    desk.give(VenueUp(desk.now, "fut", "private"))
    assert len(desk.done.sent) == sent + 2


def test_a_pushed_position_that_differs_is_asked_about_soon():
    desk = SyncDesk()
    desk.answer()
    desk.give(PositionReport(desk.now, "f", PERP.id, PositionSide.BOTH, ZERO))
    assert desk.sync.state.accounts["f"].next_round_ns == T + CONFIG.period_ns
    desk.give(PositionReport(desk.now, "f", PERP.id, PositionSide.BOTH, D(1)))
    assert desk.sync.state.accounts["f"].next_round_ns == T + QUIET
    assert not desk.of(PositionMismatch)


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (
            Liquidated(T, "f", PERP.id, Side.SELL, D(1), D(90), D(89), D(88), ZERO, ZERO),
            MismatchKind.LIQUIDATED,
        ),
        (Deleveraged(T, "f", PERP.id, Side.SELL, D(1), D(90)), MismatchKind.DELEVERAGED),
    ],
)
def test_what_the_venue_did_to_us_is_told_at_once_and_settled_by_the_fills(report, kind):
    desk = SyncDesk()
    desk.position(1)
    desk.give(report)
    (mismatch,) = desk.of(PositionMismatch)
    assert (mismatch.kind, mismatch.ours, mismatch.theirs) == (kind, 1, 0)
    assert [one.level for one in desk.of(KillTrigger)] == [RESOLUTIONS[kind].level]
    desk.now += QUIET
    settle(desk)
    assert {one.kind for one in desk.of(PositionMismatch)} == {kind}
    desk.position(0)
    desk.round()
    desk.answer()
    assert len(desk.of(Reconciled)) == 1
    assert not desk.sync.state.accounts["f"].forced


def test_a_drifting_entry_price_is_told_and_does_not_hold_back():
    desk = SyncDesk()
    desk.position(1)
    desk.now += QUIET
    # 10 bps of 100 are allowed.
    desk.answer((1, D("100.1"), None))
    desk.round()
    settle(desk, (1, D("100.11"), None))
    assert [one.kind for one in desk.of(PositionMismatch)] == [MismatchKind.ENTRY_DRIFT]
    assert not desk.of(KillTrigger)
    assert len(desk.of(Reconciled)) == 3


def test_a_changed_leverage_is_set_back_and_holds_back_until_it_is():
    desk = SyncDesk({PERP.id: 5})
    desk.position(1)
    desk.now += QUIET
    settle(desk, (1, D(100), 20))
    assert [one for one in desk.done.sent if isinstance(one, SetLeverage)] == [SetLeverage(desk.now, "f", PERP.id, 5)]
    assert not desk.of(Reconciled)
    desk.round()
    desk.answer((1, D(100), 5))
    assert len(desk.of(Reconciled)) == 1


# Spot


@pytest.mark.parametrize(
    ("balance", "kind"),
    [("4", None), ("4.5", MismatchKind.QUANTITY), ("3", MismatchKind.CLOSED_EXTERNALLY), ("2", MismatchKind.SIDE_FLIP)],
)
def test_spot_is_compared_by_the_change_of_the_balance(balance, kind):
    desk = SyncDesk()
    desk.balances(BTC="3")
    desk.position(1, spec=SPOT, account="s")
    desk.now += QUIET
    for _ in range(2):
        desk.round("s")
        desk.balances(BTC=balance)
    assert [one.kind for one in desk.of(PositionMismatch)] == ([kind] if kind else [])


def test_the_first_balance_is_taken_when_nothing_moves():
    desk = SyncDesk()
    desk.position(1, spec=SPOT, account="s")
    desk.balances(BTC="4")
    assert not desk.of(Reconciled)
    desk.round("s")
    desk.balances(BTC="4")
    assert desk.sync.state.accounts["s"].baseline == {"BTC": 3}
    assert [one.account for one in desk.of(Reconciled)] == ["s"]


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.booleans()), max_size=15))
def test_reconciled_is_only_ever_said_of_equal_books(rounds):
    desk = SyncDesk()
    for ours, theirs, fails in rounds:
        desk.position(ours)
        said = len(desk.of(Reconciled))
        if fails:
            desk.give(QueryFailed(desk.now, "f", desk.asked(), QueryKind.POSITIONS, "503"))
        else:
            desk.answer(*([(theirs, D(100), None)] if theirs else []))
        assert (len(desk.of(Reconciled)) > said) is (not fails and ours == theirs)
        desk.round()


def test_state_survives_json():
    desk = SyncDesk()
    desk.position(1)
    desk.answer((2, D(100), None))
    desk.balances(BTC="3")
    desk.order(OrderStatus.SENT)
    other = SyncDesk()
    other.sync.restore(json.loads(json.dumps(desk.sync.snapshot())))
    assert other.sync.state == desk.sync.state


def test_every_kind_has_a_resolution():
    assert set(RESOLUTIONS) == set(MismatchKind)
