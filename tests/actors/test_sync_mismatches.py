"""Every mismatch from its first sight to its end: what is done, how often, what a person must decide, what remains."""

import itertools
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sync_by_hand import CONFIG, PERP, QUIET, SECOND, SPOT, SyncDesk, T

from actors.messages import FillEvent, Incident, KillLevel, KillTrigger, MismatchKind, PositionMismatch, Reconciled
from actors.sync_messages import Adopt, PositionResolved, WalletMoved, WalletSuspected
from actors.sync_records import RESOLUTIONS, Modes
from venues.model.account import MarginMode, PositionMode
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.order import PositionSide, Side
from venues.port import (
    AccountReport,
    Deleveraged,
    Income,
    IncomeKind,
    PositionReport,
    QueryFailed,
    QueryKind,
    QueryResult,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
    VenueDown,
)

D = Decimal
CROSS, ISOLATED = MarginMode.CROSS, MarginMode.ISOLATED
MODES = {"f": Modes(CROSS, PositionMode.ONE_WAY)}
RIGHT = (1, D(100), 5, CROSS)


def held(qty=1, **kwargs):
    desk = SyncDesk({PERP.id: 5}, MODES)
    if qty:
        desk.position(qty)
    desk.now += QUIET
    return desk


def rounds(desk, *shown, times=2):
    """Show the same answer in rounds that follow each other."""
    for number in range(times):
        if number or not desk.sync.state.accounts["f"].asked:
            desk.round()
        desk.answer(*shown)


def kinds(desk):
    return [one.kind for one in desk.of(PositionMismatch)]


def levels(desk):
    return [one.level for one in desk.of(KillTrigger)]


def ends(desk):
    return [(one.kind, one.how) for one in desk.of(PositionResolved)]


# Ours x the venue's -> name, what is done, kill level, and how it ends. Sources: systems.md 7, execution.md 1.10.
TABLE = [
    # (ours, venue's answer, kind, command sent, level)
    (1, [(2, D(100), 5, CROSS)], MismatchKind.QUANTITY, QueryKind.FILLS, KillLevel.REDUCE_ONLY),
    (1, [], MismatchKind.CLOSED_EXTERNALLY, QueryKind.FILLS, KillLevel.REDUCE_ONLY),
    (0, [RIGHT], MismatchKind.UNKNOWN_POSITION, QueryKind.FILLS, KillLevel.REDUCE_ONLY),
    (1, [(-1, D(100), 5, CROSS)], MismatchKind.SIDE_FLIP, QueryKind.FILLS, KillLevel.CANCEL_ALL),
    (1, [(1, D(101), 5, CROSS)], MismatchKind.ENTRY_DRIFT, None, None),
    (1, [(1, D(100), 20, CROSS)], MismatchKind.LEVERAGE, SetLeverage, None),
    (1, [(1, D(100), 5, ISOLATED)], MismatchKind.MARGIN_MODE, SetMarginMode, None),
]


@pytest.mark.parametrize(("ours", "shown", "kind", "action", "level"), TABLE, ids=[row[2] for row in TABLE])
def test_a_mismatch_of_positions_from_sight_to_end(ours, shown, kind, action, level):
    desk = held(ours)
    rounds(desk, *shown)
    assert kinds(desk) == [kind]
    assert levels(desk) == ([level] if level else [])
    if isinstance(action, QueryKind):
        assert [one.instrument for one in desk.queries(action)] == [PERP.id]
    elif action is not None:
        assert [(one.account, one.instrument) for one in desk.sent(action)] == [("f", PERP.id)]
    assert bool(desk.of(Reconciled)) is not RESOLUTIONS[kind].holds
    # The venue shows what we have: it is over, and said so.
    desk.round()
    desk.answer(*([RIGHT] if ours else []))
    (end,) = ends(desk)
    assert end[0] is kind
    if action is QueryKind.FILLS:
        assert end[1] == "the venue agrees again"
    assert desk.of(Reconciled)
    (episode,) = desk.sync.state.history
    assert (episode.kind, episode.ended_ns) == (kind, desk.now)


def test_every_kind_is_in_a_table_here():
    here = {row[2] for row in TABLE} | {
        *(MismatchKind.LIQUIDATED, MismatchKind.DELEVERAGED, MismatchKind.POSITION_MODE),
        *(MismatchKind.WALLET_DRIFT, MismatchKind.DEPOSIT, MismatchKind.WITHDRAWAL),
    }
    assert here == set(MismatchKind) == set(RESOLUTIONS)


def test_a_missed_fill_that_is_booked_resolves_itself():
    desk = held()
    rounds(desk, (2, D(100), 5, CROSS))
    # The order manager found it in the trade history, the ledger booked it.
    desk.position(2)
    desk.round()
    desk.answer((2, D(100), 5, CROSS))
    assert ends(desk) == [(MismatchKind.QUANTITY, "our book caught up")]


def test_the_trade_history_is_asked_again_and_further_back_while_it_explains_nothing():
    """A query for fills may be lost or too short: the mismatch must not wait for it for ever."""
    desk = held()
    rounds(desk, (2, D(100), 5, CROSS))
    for _ in range(16):
        desk.round()
        desk.answer((2, D(100), 5, CROSS))
    asked = desk.queries(QueryKind.FILLS)
    times = [one.ts for one in asked]
    assert len(asked) > 3
    assert all(later - sooner >= CONFIG.patience_ns for sooner, later in itertools.pairwise(times))
    sinces = [one.since_ns for one in asked]
    assert sinces == sorted(sinces, reverse=True)
    assert kinds(desk) == [MismatchKind.QUANTITY]
    assert levels(desk) == [KillLevel.REDUCE_ONLY]


def test_a_mismatch_that_becomes_another_is_told_anew():
    desk = held()
    rounds(desk, (2, D(100), 5, CROSS))
    rounds(desk)
    assert kinds(desk) == [MismatchKind.QUANTITY, MismatchKind.CLOSED_EXTERNALLY]
    assert [one.how for one in desk.sync.state.history] == ["became closed_externally", ""]


def test_deleveraging_is_told_at_once_and_ends_when_the_fill_is_booked():
    desk = held()
    desk.give(Deleveraged(desk.now, "f", PERP.id, Side.SELL, D(1), D(90)))
    assert kinds(desk) == [MismatchKind.DELEVERAGED]
    assert len(desk.queries(QueryKind.FILLS)) == 1
    desk.position(0)
    desk.round()
    desk.answer()
    assert ends(desk) == [(MismatchKind.DELEVERAGED, "our book caught up")]


@pytest.mark.parametrize("is_first", [True, False])
def test_what_the_venue_took_is_told_alike_whether_its_fill_came_before_or_after(is_first):
    desk = held(3)
    taken = Fill(
        *(desk.now, "f", PERP.id, "adl", "t", Side.SELL, D(90), D(2), Liquidity.NONE, D(0), "USDT", FillReason.ADL)
    )
    if is_first:
        desk.give(FillEvent(desk.now, "", "", "", taken))
        desk.position(1)
    desk.give(Deleveraged(desk.now, "f", PERP.id, Side.SELL, D(2), D(90)))
    assert [(one.ours, one.theirs) for one in desk.of(PositionMismatch)] == [(3, 1)]
    desk.position(1)
    desk.now += QUIET
    desk.round()
    desk.answer(RIGHT)
    assert ends(desk) == [(MismatchKind.DELEVERAGED, "our book caught up")]


# Settings


@pytest.mark.parametrize(
    ("shown", "command"), [((1, D(100), 20, CROSS), SetLeverage), ((1, D(100), 5, ISOLATED), SetMarginMode)]
)
def test_a_setting_that_the_venue_refuses_to_take_back_stops_new_risk_and_waits_for_a_person(shown, command):
    """Binance refuses to change the margin mode while a position is open (-4048, crypto.md A)."""
    desk = held()
    rounds(desk, shown, times=8)
    assert len(desk.sent(command)) >= CONFIG.set_tries
    assert levels(desk) == [KillLevel.REDUCE_ONLY]
    assert [one.kind for one in desk.of(Incident)] == ["setting_refused"]
    # It must stay possible to close the position: read-only for ever would be a deadlock.
    assert desk.of(Reconciled)
    # Closed, the setting is tried once more.
    before = len(desk.sent(command))
    desk.position(0)
    desk.round()
    desk.answer()
    assert len(desk.sent(command)) == before + 1
    assert ends(desk)[0][1] == "the position is closed"


def test_both_settings_of_one_position_are_seen():
    desk = held()
    rounds(desk, (1, D(100), 20, ISOLATED))
    assert set(kinds(desk)) == {MismatchKind.LEVERAGE, MismatchKind.MARGIN_MODE}
    rounds(desk, RIGHT, times=3)
    assert {one[1] for one in ends(desk)} == {"set again"}


def test_a_changed_position_mode_stops_new_risk_and_is_set_back():
    desk = held(0)
    desk.mode = PositionMode.HEDGE
    rounds(desk)
    assert kinds(desk) == [MismatchKind.POSITION_MODE]
    assert levels(desk) == [KillLevel.REDUCE_ONLY]
    assert desk.sent(SetPositionMode)[0].mode is PositionMode.ONE_WAY
    assert not desk.of(Reconciled)
    desk.mode = PositionMode.ONE_WAY
    rounds(desk)
    assert ends(desk) == [(MismatchKind.POSITION_MODE, "set again")]
    assert desk.of(Reconciled)


def test_a_pushed_position_of_another_mode_is_asked_about_soon():
    desk = held()
    desk.answer(RIGHT)
    desk.give(PositionReport(desk.now, "f", PERP.id, PositionSide.BOTH, D(1), margin_mode=ISOLATED))
    assert desk.sync.state.accounts["f"].next_round_ns == desk.now + QUIET


# Wallets


def income(amount, ts, kind=IncomeKind.TRANSFER, number="1", asset="USDT"):
    return Income(ts, "f", kind, asset, D(amount), number)


def give_income(desk, *incomes):
    query_id = desk.sync.state.accounts["f"].income_query
    desk.give(QueryResult(desk.now, "f", query_id, QueryKind.INCOME, incomes=incomes))


def drifted(off):
    """A wallet that agreed once and then differs, seen twice: the income is asked."""
    desk = held(0)
    desk.answer()
    desk.round()
    desk.wallets["f"]["USDT"] += D(off)
    rounds(desk)
    return desk


@pytest.mark.parametrize(("off", "kind"), [("250", MismatchKind.DEPOSIT), ("-250", MismatchKind.WITHDRAWAL)])
def test_a_transfer_that_the_income_names_is_booked_and_no_profit(off, kind):
    desk = drifted(off)
    assert [one.off for one in desk.of(WalletSuspected)] == [D(off)]
    (query,) = desk.queries(QueryKind.INCOME)
    # From the venue's time of the last answer in which the wallet agreed.
    assert query.since_ns == T + QUIET
    give_income(desk, income(off, query.since_ns + 1), income("9", query.since_ns, number="2"))
    assert [(one.amount, one.kind) for one in desk.of(WalletMoved)] == [(D(off), IncomeKind.TRANSFER)]
    desk.wallet("f", D(1000) + D(off))
    rounds(desk)
    assert kinds(desk) == [kind]
    assert levels(desk) == []
    assert ends(desk) == [(kind, "booked")]
    # Told again by another answer, it is not booked again.
    desk.wallets["f"]["USDT"] += 1
    rounds(desk)
    give_income(desk, income(off, query.since_ns + 1))
    assert len(desk.of(WalletMoved)) == 1


def test_what_nothing_explains_stops_new_risk_until_a_person_decides():
    desk = drifted("0.00000001")
    give_income(desk)
    rounds(desk)
    assert kinds(desk) == [MismatchKind.WALLET_DRIFT]
    assert levels(desk) == [KillLevel.REDUCE_ONLY]
    # Positions agree: it must stay possible to close them.
    assert desk.of(Reconciled)
    desk.give(Adopt(desk.now, "ann", "f", "USDT", "rounded by the venue"))
    rounds(desk, times=3)
    assert kinds(desk) == [MismatchKind.WALLET_DRIFT]
    assert ends(desk) == [(MismatchKind.WALLET_DRIFT, "adopted by ann: rounded by the venue")]
    # Only what was accepted is: the next digit is news again.
    desk.wallets["f"]["USDT"] += D("0.00000001")
    rounds(desk)
    give_income(desk)
    rounds(desk)
    assert len(kinds(desk)) == 2


def test_a_drift_under_trading_is_told_as_it_is_last_seen_and_adopted_by_what_it_is():
    desk = held(0)
    desk.answer()
    for _ in range(5):
        # Both sides earn 7 while the venue has 5 more.
        desk.wallet("f", desk.sync.state.accounts["f"].wallets["USDT"] + 7)
        desk.wallets["f"]["USDT"] = desk.sync.state.accounts["f"].wallets["USDT"] + 5
        desk.round()
        desk.answer()
        if desk.sync.state.accounts["f"].income_query:
            give_income(desk)
    (told,) = desk.of(PositionMismatch)
    assert told.theirs - told.ours == 5
    assert told.ours > 1007
    desk.give(Adopt(desk.now, "ann", "f", "USDT", "a gift"))
    assert desk.sync.state.accounts["f"].adopted == {"f#USDT": 5}


def test_funding_that_was_missed_explains_a_wallet_once_it_is_booked():
    desk = drifted("-5")
    give_income(desk, income("-5", T + 3 * QUIET, IncomeKind.FUNDING))
    # Funding is the funding tracker's to book; the wallet agrees then.
    assert desk.of(WalletMoved) == []
    desk.wallet("f", 995)
    rounds(desk)
    assert kinds(desk) == []


@pytest.mark.parametrize("how", ["fails", "is silent", "goes down"])
def test_an_income_that_is_not_told_explains_nothing_and_is_asked_again(how):
    desk = drifted("-5")
    query_id = desk.sync.state.accounts["f"].income_query
    if how == "fails":
        desk.give(QueryFailed(desk.now, "f", query_id, QueryKind.INCOME, "503"))
    elif how == "is silent":
        desk.sync.on_timer(desk.now + CONFIG.timeout_ns, "income/f")
    else:
        desk.give(VenueDown(desk.now, "fut", "private", "eof"))
        desk.sync.state.accounts["f"].down.clear()
    rounds(desk)
    assert kinds(desk) == []
    assert len(desk.queries(QueryKind.INCOME)) == 2
    # An answer to the first question is none to the second.
    desk.give(QueryResult(desk.now, "f", query_id, QueryKind.INCOME))
    assert desk.sync.state.accounts["f"].income_query


def test_a_drift_that_cannot_be_asked_about_is_told_after_all():
    desk = drifted("-5")
    while desk.now < T + 4 * CONFIG.patience_ns:
        desk.sync.on_timer(desk.now + CONFIG.timeout_ns, "income/f")
        rounds(desk)
    assert kinds(desk) == [MismatchKind.WALLET_DRIFT]


def test_money_under_way_differs_at_every_look_and_is_no_drift():
    """A desk that trades all the time is never caught between two fills: only a difference that stays counts."""
    desk = held(0)
    desk.answer()
    for number in range(1, 40):
        desk.wallets["f"]["USDT"] += number
        desk.round()
        desk.answer()
        desk.wallet("f", desk.wallets["f"]["USDT"])
    assert kinds(desk) == []
    assert not desk.queries(QueryKind.INCOME)


@pytest.mark.parametrize(("off", "is_drift"), [("0", False), ("0.00000001", False), ("0.00000002", True)])
def test_money_that_only_a_late_fill_split_otherwise_is_no_drift(off, is_drift):
    """2 held: at the venue 1 from 100 and 1 from 104 (102), by our book from 101: it has 2 x 1 less in its wallet."""
    desk = held(0)
    desk.answer()
    desk.position(2, "101")
    desk.wallets["f"]["USDT"] += 2 + D(off) * 2
    desk.now += QUIET
    for _ in range(2):
        rounds(desk, (2, D(102), 5, CROSS))
        if desk.sync.state.accounts["f"].income_query:
            give_income(desk)
    assert kinds(desk) == [MismatchKind.ENTRY_DRIFT, *([MismatchKind.WALLET_DRIFT] if is_drift else [])]


def test_pushed_balances_that_differ_are_asked_about_soon():
    desk = held(0)
    desk.answer()
    desk.give(AccountReport(desk.now, "f", {"USDT": D(1000)}))
    assert desk.sync.state.accounts["f"].next_round_ns == T + CONFIG.period_ns
    desk.give(AccountReport(desk.now, "f", {"USDT": D(999)}))
    assert desk.sync.state.accounts["f"].next_round_ns == desk.now + QUIET


# What a person decides


def test_a_position_that_is_somebody_elses_can_be_adopted_and_stays_so_while_ours_moves():
    desk = held(1)
    shown = (3, D(100), 5, CROSS)
    rounds(desk, shown)
    desk.give(Adopt(desk.now, "ann", "f", PERP.id, "the hedge of another desk"))
    rounds(desk, shown, times=3)
    assert len(desk.of(Reconciled)) >= 1
    desk.position(-1)
    desk.round()
    desk.answer((1, D(100), 5, CROSS))
    assert kinds(desk) == [MismatchKind.QUANTITY]
    # Of the adopted two one is sold: that is news.
    rounds(desk, (0, None, 5, CROSS), times=3)
    assert len(kinds(desk)) == 2


def test_what_is_adopted_of_a_base_asset_is_told_to_the_guard_as_baseline():
    desk = held(0)
    desk.balances(BTC="3")
    desk.now += QUIET
    for _ in range(2):
        desk.round("s")
        desk.balances(BTC="4")
    assert kinds(desk) == [MismatchKind.UNKNOWN_POSITION]
    desk.give(Adopt(desk.now, "ann", "s", SPOT.id, "a deposit"))
    assert desk.sync.state.accounts["s"].baseline == {"BTC": 4}
    desk.round("s")
    desk.balances(BTC="4")
    assert [one.account for one in desk.of(Reconciled)] == ["s", "s"]


@pytest.mark.parametrize(
    ("operator", "account", "what", "reason"),
    [
        ("", "f", PERP.id, "why"),
        ("ann", "f", PERP.id, "  "),
        ("ann", "f", "fut:ETH", "why"),
        ("ann", "s", PERP.id, "why"),
        ("ann", "nobody", PERP.id, "why"),
    ],
)
def test_only_what_is_told_is_adopted_with_a_name_and_a_reason(operator, account, what, reason):
    desk = held()
    rounds(desk, (2, D(100), 5, CROSS))
    before = desk.sync.snapshot()
    desk.give(Adopt(desk.now, operator, account, what, reason))
    assert [one.kind for one in desk.of(Incident)] == ["adopt_refused"]
    assert desk.sync.snapshot() == before


def test_a_mode_may_be_adopted_and_another_change_is_news():
    desk = held()
    rounds(desk, (1, D(100), 20, CROSS), times=2)
    desk.give(Adopt(desk.now, "ann", "f", PERP.id, "20x it is"))
    rounds(desk, (1, D(100), 20, CROSS), times=3)
    assert len(kinds(desk)) == 1
    rounds(desk, (1, D(100), 50, CROSS), times=3)
    assert len(kinds(desk)) == 2


# Everything together


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ours"), st.integers(-3, 3)),
            st.tuples(st.just("theirs"), st.integers(-3, 3)),
            st.tuples(st.just("wallet"), st.integers(-3, 3)),
            st.tuples(st.just("leverage"), st.integers(4, 6)),
            st.tuples(st.just("mode"), st.sampled_from([CROSS, ISOLATED])),
            st.tuples(st.just("hedge"), st.booleans()),
            st.tuples(st.just("round"), st.sampled_from(["answer", "answer", "fail", "silent", "late"])),
        ),
        max_size=40,
    )
)
def test_whatever_happened_both_sides_agree_once_it_is_over(steps):
    """The venue does as it is told, and our book books what is found: no mismatch may wait for ever."""
    desk = SyncDesk({PERP.id: 5}, MODES)
    theirs, leverage, mode = D(0), 5, CROSS
    done = 0

    def obey():
        """The venue carries out settings; missed fills are booked when the trades are asked for."""
        nonlocal leverage, mode, done
        for command in desk.done.sent[done:]:
            if isinstance(command, SetLeverage):
                leverage = command.leverage
            elif isinstance(command, SetMarginMode) and not theirs:
                mode = command.mode
            elif isinstance(command, SetPositionMode):
                desk.mode = command.mode
        done = len(desk.done.sent)

    def settle():
        sync = desk.sync.state.accounts["f"]
        if sync.asked:
            desk.answer(*([(theirs, D(100), leverage, mode)] if theirs else []))
        if sync.income_query:
            off = desk.wallets["f"]["USDT"] - sync.wallets["USDT"]
            number = f"t{len(desk.of(WalletMoved))}"
            give_income(desk, *([income(off, desk.now, number=number)] if off else []))
            desk.wallet("f", desk.wallets["f"]["USDT"])
        obey()

    for what, value in steps:
        if what == "ours":
            desk.position(value)
        elif what == "theirs":
            theirs = D(value)
        elif what == "wallet":
            desk.wallets["f"]["USDT"] += value
        elif what == "leverage":
            leverage = value
        elif what == "mode":
            mode = value
        elif what == "hedge":
            desk.mode = PositionMode.HEDGE if value else PositionMode.ONE_WAY
        else:
            if value == "answer":
                settle()
            elif value == "fail" and desk.sync.state.accounts["f"].asked:
                desk.give(QueryFailed(desk.now, "f", desk.asked(), QueryKind.POSITIONS, "503"))
            elif value == "silent":
                desk.sync.on_timer(desk.now + CONFIG.timeout_ns, "answer/f")
                desk.sync.on_timer(desk.now + CONFIG.timeout_ns, "income/f")
            else:
                desk.now += SECOND
            desk.round()
    for number in range(20):
        desk.round()
        if number == 10:
            # By now the trades were asked for, and tell.
            desk.position(theirs)
        settle()
    sync = desk.sync.state.accounts["f"]
    stuck = [one.kind for one in sync.suspects.values()]
    # A margin mode stays as it is while a position is open: refused, told, and no obstacle to anything.
    assert set(stuck) <= {MismatchKind.MARGIN_MODE}
    assert sync.reconciled_ns == desk.now
    open_ = [one.kind for one in desk.sync.state.history if one.ended_ns is None]
    assert open_ == [one.kind for one in sync.suspects.values() if one.is_told]
    assert len(desk.sync.state.history) <= CONFIG.kept


def test_the_history_is_bounded_and_everything_survives_json():
    desk = held()
    for number in range(CONFIG.kept + 5):
        desk.give(Deleveraged(desk.now + number, "f", PERP.id, Side.SELL, D(1), D(90)))
    assert len(desk.sync.state.history) == CONFIG.kept
    other = SyncDesk()
    other.sync.restore(json.loads(json.dumps(desk.sync.snapshot())))
    assert other.sync.state == desk.sync.state


def test_a_snapshot_from_before_wallets_were_compared_is_read_and_calls_nothing_a_drift():
    desk = held()
    plain = json.loads(json.dumps(desk.sync.snapshot()))
    for account in plain["state"]["accounts"].values():
        for name in ("wallets", "is_whole", "wallet_ns", "adopted", "accepted", "incomes"):
            del account[name]
    other = SyncDesk({PERP.id: 5}, MODES)
    other.sync.restore(plain)
    other.now = desk.now
    rounds(other, RIGHT, times=4)
    assert kinds(other) == []
    assert not other.queries(QueryKind.INCOME)
