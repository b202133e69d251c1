"""The kill switch's rules: it latches, it only rises, a person with a reason lowers it, facts outrank the person."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.kill_switch import DAY_NS, KillConfig, KillSwitch, Trigger
from actors.messages import (
    ArmCommand,
    BasketState,
    BasketUpdate,
    FeedStatus,
    Incident,
    KillCommand,
    KillLevel,
    KillState,
    KillTrigger,
    MarginLevel,
    MarginState,
    MismatchKind,
    OrderUpdate,
    PnlUpdate,
    PositionMismatch,
    PositionUpdate,
    Reconciled,
    RoundTrip,
)
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide, Side
from venues.port import CancelAll, OutcomeUnknown, VenueUp

D = Decimal
SECOND = 1_000_000_000
T = 20_000 * DAY_NS + 3_600 * SECOND
ACCOUNTS = {"f": "fut", "s": "spot"}
CONFIG = KillConfig()
PERP = "fut:BTC"


def make(**config):
    switch = KillSwitch(ACCOUNTS, KillConfig(**config))
    done = Collected()
    switch.out = detached_outbox("kill", into=done)
    return switch, done


def trigger(level, name="t"):
    return KillTrigger(T, name, level, "why")


ARM = ArmCommand(T, "ann", "checked the venue")


def level_of(switch) -> KillLevel:
    level: KillLevel = switch.state.level
    return level


def states(done):
    return [one.level for one in done.emitted if isinstance(one, KillState)]


def refusal(switch, done, command=ARM, now=T):
    """Return why arming was refused, an empty string when it was not."""
    before = len(done.emitted)
    switch.handle(now, command)
    refused = [one.text for one in done.emitted[before:] if isinstance(one, Incident)]
    return refused[0] if refused else ""


def pnl(amount, **parts):
    values = {"fees": ZERO, "funding": ZERO, "unrealized": ZERO} | parts
    return PnlUpdate(T, D(amount), **values)


def order(status, request_id="r", account="f", is_final=False):
    return OrderUpdate(T, request_id, "s1", "", "c", account, PERP, Side.BUY, D(1), status, ZERO, is_final)


def position(qty):
    return PositionUpdate(T, "f", PERP, PositionSide.BOTH, D(qty), D(1) if qty else None, ZERO)


def margin(level):
    return MarginState(T, "f", level, D(1), D(1), D(1))


def mismatch(kind):
    return PositionMismatch(T, "f", PERP, PositionSide.BOTH, kind, D(1), D(2), "")


def unhedged(notional, state=BasketState.HEDGING, basket="b"):
    return BasketUpdate(T, basket, "s1", state, (), D(notional))


@pytest.mark.parametrize(
    ("messages", "level", "name"),
    [
        # systems.md 6: daily loss 5,000, five losses in a row; hard 10,000.
        ([pnl(-4_999)], KillLevel.ARMED, None),
        ([pnl(-5_000)], KillLevel.REDUCE_ONLY, Trigger.DAILY_LOSS),
        ([pnl(0, unrealized=D(-4_000), fees=D(1_500), funding=D(500))], KillLevel.REDUCE_ONLY, Trigger.DAILY_LOSS),
        ([pnl(-10_000)], KillLevel.FLATTEN, Trigger.DAILY_LOSS_HARD),
        ([pnl("NaN")], KillLevel.REDUCE_ONLY, "pnl_unknown"),
        ([RoundTrip(T, "b", "s", D(-1))] * 4, KillLevel.ARMED, None),
        ([RoundTrip(T, "b", "s", D(-1))] * 5, KillLevel.REDUCE_ONLY, Trigger.CONSECUTIVE_LOSSES),
        (
            [*[RoundTrip(T, "b", "s", D(-1))] * 4, RoundTrip(T, "b", "s", D(1)), RoundTrip(T, "b", "s", D(-1))],
            KillLevel.ARMED,
            None,
        ),
        (
            # A win with parts that could not be valued proves nothing.
            [
                *[RoundTrip(T, "b", "s", D(-1))] * 4,
                RoundTrip(T, "b", "s", D(1), ("BNB",)),
                RoundTrip(T, "b", "s", D(-1)),
            ],
            KillLevel.REDUCE_ONLY,
            Trigger.CONSECUTIVE_LOSSES,
        ),
        ([unhedged(1_000_000)], KillLevel.ARMED, None),
        ([unhedged(1_000_001)], KillLevel.CANCEL_ALL, Trigger.UNHEDGED),
        ([unhedged("NaN")], KillLevel.CANCEL_ALL, Trigger.UNHEDGED),
        ([unhedged(0, BasketState.BROKEN)], KillLevel.REDUCE_ONLY, Trigger.BROKEN_BASKET),
        ([margin(MarginLevel.DANGER)], KillLevel.ARMED, None),
        ([margin(MarginLevel.CRITICAL)], KillLevel.REDUCE_ONLY, Trigger.MARGIN),
        ([margin(MarginLevel.LIQUIDATION)], KillLevel.CANCEL_ALL, Trigger.MARGIN_LIQUIDATION),
        ([mismatch(MismatchKind.QUANTITY)], KillLevel.REDUCE_ONLY, Trigger.POSITION_MISMATCH),
        ([mismatch(MismatchKind.LIQUIDATED)], KillLevel.CANCEL_ALL, Trigger.POSITION_MISMATCH),
        ([mismatch(MismatchKind.ENTRY_DRIFT)], KillLevel.ARMED, None),
        ([KillCommand(T, "ann", KillLevel.FLATTEN, "")], KillLevel.FLATTEN, Trigger.OPERATOR),
        ([trigger(KillLevel.CANCEL_ALL, "journal")], KillLevel.CANCEL_ALL, "journal"),
        ([trigger(KillLevel.ARMED)], KillLevel.ARMED, None),
    ],
)
def test_each_trigger_has_its_level(messages, level, name):
    switch, done = make(drawdown=D("0.5"), drawdown_hard=D("0.6"))
    for message in messages:
        switch.handle(T, message)
    assert level_of(switch) is level
    last = [one for one in done.emitted if isinstance(one, KillState)]
    assert (last[-1].trigger if last else None) == name


@pytest.mark.parametrize(
    ("trough", "level"), [(8_001, KillLevel.ARMED), (8_000, KillLevel.REDUCE_ONLY), (2_000, KillLevel.FLATTEN)]
)
def test_drawdown_is_a_share_of_the_peak_equity(trough, level):
    # systems.md 6: 10 % and 15 %. Peak 120,000: 12,000 and 18,000.
    switch, _ = make(daily_loss=D(50_000), daily_loss_hard=D(60_000))
    switch.handle(T, pnl(20_000))
    switch.handle(T, pnl(trough))
    assert level_of(switch) is level


def test_a_day_is_utc_and_starts_from_the_last_known_profit():
    switch, _ = make()
    switch.handle(T, pnl(-4_000))
    switch.handle(T + DAY_NS, pnl(-8_900))
    assert level_of(switch) is KillLevel.ARMED
    switch.handle(T + DAY_NS, pnl(-9_000))
    assert level_of(switch) is KillLevel.REDUCE_ONLY


def test_the_reject_rate_needs_enough_orders():
    switch, _ = make(reject_orders_min=4)
    for number in range(4):
        assert level_of(switch) is KillLevel.ARMED
        switch.handle(T, order(OrderStatus.SENT, f"r{number}"))
        status = OrderStatus.REJECTED if number % 2 else OrderStatus.FILLED
        switch.handle(T, order(status, f"r{number}", is_final=True))
    assert level_of(switch) is KillLevel.CANCEL_ALL


def test_rejects_leave_the_window():
    switch, _ = make(reject_orders_min=2)
    for number, now in enumerate((T, T + CONFIG.reject_window_ns)):
        switch.handle(now, order(OrderStatus.SENT, f"r{number}"))
        switch.handle(now, order(OrderStatus.REJECTED, f"r{number}", is_final=True))
    assert level_of(switch) is KillLevel.ARMED


def test_unhedged_notional_times_seconds_has_a_budget():
    switch, done = make()
    switch.handle(T, unhedged(500_000))
    # 2,000,000 of budget: 4 s at 500,000.
    assert done.timers[-1][1:] == ("unhedged/b", T + 4 * SECOND + 1)
    switch.handle(T + 2 * SECOND, unhedged(250_000))
    assert done.timers[-1][1:] == ("unhedged/b", T + 6 * SECOND + 1)
    switch.on_timer(T + 5 * SECOND, "unhedged/b")
    assert level_of(switch) is KillLevel.ARMED
    switch.on_timer(T + 6 * SECOND + 1, "unhedged/b")
    assert level_of(switch) is KillLevel.CANCEL_ALL


def test_a_hedged_basket_spends_nothing_more():
    switch, done = make()
    switch.handle(T, unhedged(500_000))
    switch.handle(T + SECOND, unhedged(0, BasketState.BALANCED))
    assert done.timers[-1] == ("kill", "unhedged/b", None)
    switch.on_timer(T + 100 * SECOND, "unhedged/b")
    assert level_of(switch) is KillLevel.ARMED


def test_a_dead_feed_matters_only_with_a_position_and_after_its_grace():
    switch, done = make()
    grace = CONFIG.stale_grace_ns
    switch.handle(T, FeedStatus(T, PERP, False, "stale"))
    assert done.timers[-1][1:] == (f"feed/{PERP}", T + grace)
    switch.on_timer(T + grace, f"feed/{PERP}")
    assert level_of(switch) is KillLevel.ARMED
    switch.handle(T + grace, position(1))
    assert level_of(switch) is KillLevel.REDUCE_ONLY
    assert PERP in refusal(switch, done)
    switch.handle(T + grace, FeedStatus(T, PERP, True))
    assert refusal(switch, done) == ""


def test_a_feed_that_comes_back_in_time_is_none_of_our_business():
    switch, _ = make()
    switch.handle(T, position(1))
    switch.handle(T, FeedStatus(T, PERP, False, "gap"))
    switch.handle(T + 1, FeedStatus(T, PERP, True))
    switch.on_timer(T + CONFIG.stale_grace_ns, f"feed/{PERP}")
    assert level_of(switch) is KillLevel.ARMED


# The latch

LEVELS = st.sampled_from(list(KillLevel))
EVENTS = st.one_of(
    st.builds(trigger, LEVELS),
    st.builds(lambda level: KillCommand(T, "ann", level, "r"), LEVELS),
    st.builds(pnl, st.integers(-20_000, 20_000)),
    st.builds(lambda amount: RoundTrip(T, "b", "s", D(amount)), st.integers(-2, 1)),
    st.builds(margin, st.sampled_from(list(MarginLevel))),
    st.builds(mismatch, st.sampled_from(list(MismatchKind))),
    st.builds(unhedged, st.integers(0, 2_000_000)),
    st.builds(position, st.integers(0, 1)),
    st.just(Reconciled(T, "f")),
    st.just(CellRestarted(T, 1, "a", "e")),
    st.just(VenueUp(T, "fut", "private")),
)


@given(st.lists(EVENTS, max_size=40))
def test_the_level_never_falls_by_itself(events):
    switch, done = make()
    highest = KillLevel.ARMED
    for event in events:
        switch.handle(T, event)
        assert switch.state.level >= highest
        highest = switch.state.level
    told = states(done)
    assert told == sorted(set(told))


@pytest.mark.parametrize(("operator", "reason"), [("", "fixed"), ("ann", ""), ("  ", "fixed"), ("ann", "\t")])
def test_arming_needs_a_person_and_a_reason(operator, reason):
    switch, done = make()
    switch.handle(T, trigger(KillLevel.REDUCE_ONLY))
    assert refusal(switch, done, ArmCommand(T, operator, reason))
    assert level_of(switch) is KillLevel.REDUCE_ONLY
    assert refusal(switch, done) == ""
    assert states(done) == [KillLevel.REDUCE_ONLY, KillLevel.ARMED]


@pytest.mark.parametrize(
    ("cause", "cure"),
    [
        (margin(MarginLevel.CRITICAL), margin(MarginLevel.DANGER)),
        (margin(MarginLevel.LIQUIDATION), margin(MarginLevel.HEALTHY)),
        (mismatch(MismatchKind.QUANTITY), Reconciled(T, "f")),
    ],
)
def test_a_fact_that_persists_refuses_arming(cause, cure):
    switch, done = make()
    switch.handle(T, cause)
    assert refusal(switch, done)
    switch.handle(T, margin(MarginLevel.UNKNOWN))
    assert refusal(switch, done)
    switch.handle(T, cure)
    assert switch.state.level > KillLevel.ARMED
    assert refusal(switch, done) == ""


def test_arming_starts_the_soft_yardsticks_afresh_and_not_the_hard_ones():
    switch, done = make()
    switch.handle(T, pnl(-5_000))
    assert refusal(switch, done) == ""
    switch.handle(T, pnl(-9_999))
    assert level_of(switch) is KillLevel.ARMED
    switch.handle(T, pnl(-10_000))
    assert level_of(switch) is KillLevel.FLATTEN


def test_a_hard_limit_ends_the_session():
    switch, done = make()
    switch.handle(T, pnl(-10_000))
    assert "session" in refusal(switch, done)
    assert refusal(switch, done, now=T + DAY_NS) == ""
    switch.handle(T + DAY_NS, pnl(-10_500))
    assert level_of(switch) is KillLevel.ARMED


# Cancelling


def cancels(done):
    sent = [one.account for one in done.sent if isinstance(one, CancelAll)]
    done.sent.clear()
    return sent


def test_cancel_all_is_sent_at_once_and_again_until_nothing_rests():
    switch, done = make()
    switch.handle(T, order(OrderStatus.ACCEPTED, "a"))
    switch.handle(T, trigger(KillLevel.REDUCE_ONLY))
    assert cancels(done) == []
    switch.handle(T, trigger(KillLevel.CANCEL_ALL))
    assert cancels(done) == ["f", "s"]
    assert done.timers[-1] == ("kill", "cancel", T + CONFIG.cancel_retry_ns)
    assert "not confirmed" in refusal(switch, done)
    switch.handle(T, trigger(KillLevel.FLATTEN))
    assert cancels(done) == []
    switch.on_timer(T + SECOND, "cancel")
    assert cancels(done) == ["f"]
    switch.handle(T + SECOND, order(OrderStatus.CANCELED, "a", is_final=True))
    timers = len(done.timers)
    switch.on_timer(T + 2 * SECOND, "cancel")
    assert cancels(done) == []
    assert len(done.timers) == timers
    assert refusal(switch, done) == ""


def test_an_order_that_shows_up_later_is_cancelled_too():
    switch, done = make()
    switch.handle(T, trigger(KillLevel.CANCEL_ALL))
    switch.on_timer(T + SECOND, "cancel")
    cancels(done)
    switch.handle(T + 2 * SECOND, order(OrderStatus.UNKNOWN, "late", account="s"))
    switch.on_timer(T + 3 * SECOND, "cancel")
    assert cancels(done) == ["s"]


def test_a_cancel_all_of_unknown_outcome_is_sent_again():
    switch, done = make()
    switch.handle(T, trigger(KillLevel.CANCEL_ALL))
    cancels(done)
    switch.handle(T, OutcomeUnknown(T, "s", "", "", "CancelAll", "time-out"))
    assert "unproven" in refusal(switch, done)
    switch.on_timer(T + SECOND, "cancel")
    assert cancels(done) == ["s"]
    assert refusal(switch, done) == ""


@pytest.mark.parametrize(
    ("message", "accounts"),
    [(VenueUp(T, "spot", "orders"), ["s"]), (CellRestarted(T, 1, "a", "e"), ["f", "s"])],
)
def test_after_a_reconnect_or_restart_all_is_cancelled_again(message, accounts):
    switch, done = make()
    switch.handle(T, message)
    assert cancels(done) == []
    switch.handle(T, trigger(KillLevel.CANCEL_ALL))
    cancels(done)
    switch.handle(T, message)
    assert cancels(done) == accounts


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("daily_loss", D("NaN")),
        ("daily_loss", D(20_000)),
        ("drawdown", D("0.2")),
        ("drawdown_hard", D(2)),
        ("consecutive_losses", 0),
        ("unhedged_budget", D("Infinity")),
    ],
)
def test_limits_that_limit_nothing_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        KillConfig(**{field: value})


def test_the_latch_survives_json():
    switch, done = make()
    for message in (
        pnl(-5_000),
        unhedged(10),
        order(OrderStatus.ACCEPTED),
        order(OrderStatus.SENT, "x"),
        order(OrderStatus.REJECTED, "x", is_final=True),
        margin(MarginLevel.LIQUIDATION),
        FeedStatus(T, PERP, False, "gap"),
        OutcomeUnknown(T, "s", "", "", "CancelAll", "time-out"),
    ):
        switch.handle(T, message)
    other, _ = make()
    other.restore(json.loads(json.dumps(switch.snapshot())))
    assert other.state == switch.state
    assert other.state.level is KillLevel.CANCEL_ALL
    assert states(done) == [KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL]
