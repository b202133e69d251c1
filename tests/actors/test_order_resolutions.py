"""Ours x the venue's: every pair is decided, and the order manager does what the table says."""

import pytest
from cell_harness import PERP, SECOND, D
from hypothesis import given
from hypothesis import strategies as st
from order_bench import ACC, PERP_ID, Bench, ack, ask, fill, key, lost, view

from actors.messages import CancelRequest, OrderApproved, OrderUpdate
from actors.order_resolutions import (
    RESOLUTIONS,
    RESTING,
    STRANGERS,
    Action,
    Stranger,
    UnlistedPairError,
    resolve,
)
from venues.model.money import ZERO
from venues.model.order import TRANSITIONS, OrderEvent, OrderStatus
from venues.port import (
    CancelOrder,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderRejected,
    OrderReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    RejectReason,
    SubmitOrder,
    VenueUp,
)

S = OrderStatus
VENUE = PERP_ID.partition(":")[0]


# The table


def test_every_pair_is_listed_with_a_reason() -> None:
    assert set(RESOLUTIONS) == {(ours, theirs) for ours in OrderStatus for theirs in (*OrderStatus, None)}
    assert len(RESOLUTIONS) == 10 * 11
    for found in RESOLUTIONS.values():
        assert found.reason
        assert (found.event is not None) is (found.action is Action.APPLY)


def test_an_unlisted_pair_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RESOLUTIONS, (S.SENT, None))
    with pytest.raises(UnlistedPairError, match="ours sent, the venue's absent"):
        resolve(S.SENT, None)


def test_what_is_applied_may_follow() -> None:
    for (ours, _), found in RESOLUTIONS.items():
        if found.event is not None:
            assert (ours, found.event) in TRANSITIONS


def test_only_an_absence_ends_an_order_unseen_and_silence_never_does() -> None:
    for (ours, theirs), found in RESOLUTIONS.items():
        if theirs in (S.CREATED, S.SENT, S.UNKNOWN):
            assert found.action is Action.NOTHING
        if found.event is OrderEvent.PROVE_ABSENT:
            assert (ours, theirs) in {(S.SENT, None), (S.UNKNOWN, None)}


def test_what_rests_and_should_not_is_never_passed_over() -> None:
    for ours in (S.CREATED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED):
        for theirs in RESTING:
            assert RESOLUTIONS[ours, theirs].action in (Action.VERIFY, Action.REVIVE)


def test_what_existed_is_over_not_refused() -> None:
    assert resolve(S.UNKNOWN, None).event is OrderEvent.PROVE_ABSENT
    assert resolve(S.UNKNOWN, None, existed=True).event is OrderEvent.CANCEL
    assert resolve(S.FILLED, None, existed=True).action is Action.ECHO


# What the order manager makes of it


def in_state(status: OrderStatus) -> tuple[Bench, SubmitOrder]:
    """Return a bench whose order came to `status` by reports alone, half of it filled where that is possible."""
    bench = Bench()
    order = bench.order()
    reports: dict[OrderStatus, list[Message]] = {
        S.SENT: [],
        S.UNKNOWN: [lost(order)],
        S.ACCEPTED: [ack(order)],
        S.PARTIALLY_FILLED: [ack(order), fill(order, "a", "0.5")],
        S.FILLED: [ack(order), fill(order, "a", "0.5"), fill(order, "b", "0.5")],
        S.CANCELED: [ack(order), fill(order, "a", "0.5"), OrderCanceled(1, *key(order), D("0.5"))],
        S.EXPIRED: [ack(order), OrderExpired(1, *key(order), ZERO)],
        S.REJECTED: [OrderRejected(1, *key(order), RejectReason.INSUFFICIENT_MARGIN)],
    }
    for report in reports[status]:
        bench.tell(report)
    assert bench.status(order) is status
    return bench, order


REACHED = [S.SENT, S.UNKNOWN, S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED]


@pytest.mark.parametrize("ours", REACHED)
@pytest.mark.parametrize("theirs", RESTING)
def test_an_order_found_resting(ours: OrderStatus, theirs: OrderStatus) -> None:
    bench, order = in_state(ours)
    filled = bench.filled(order)
    bench.manager._inquire(bench.now, bench.manager.state.orders[order.client_order_id])
    bench.answer(view(order, theirs, str(filled)))
    action = RESOLUTIONS[ours, theirs].action
    cancels = [one for one in bench.out.sent if isinstance(one, CancelOrder)]
    if action is Action.APPLY:
        assert not bench.status(order).is_terminal
        assert bench.status(order) is not S.UNKNOWN
        assert cancels == []
    else:
        assert bench.status(order) is ours
        assert len(cancels) == 1
        assert ("order_alive" in bench.incidents()) is (action is Action.REVIVE)
    assert bench.filled(order) == filled


@pytest.mark.parametrize("ours", [S.CANCELED, S.EXPIRED, S.FILLED])
def test_a_status_that_lags_is_no_alarm_and_one_that_stays_is(ours: OrderStatus) -> None:
    bench, order = in_state(ours)
    bench.manager._inquire(bench.now, bench.manager.state.orders[order.client_order_id])
    for _ in range(2):
        bench.answer(view(order, S.ACCEPTED, str(bench.filled(order))))
        assert bench.incidents() == []
        bench.until_asked()
    bench.answer(view(order, S.ACCEPTED, str(bench.filled(order))))
    assert (bench.incidents(), bench.triggers()) == (["order_alive"], ["order_alive"])


def test_a_status_that_lags_once_is_forgotten() -> None:
    bench, order = in_state(S.CANCELED)
    tracked = bench.manager.state.orders[order.client_order_id]
    for _ in range(4):
        bench.manager._inquire(bench.now, tracked)
        bench.until_asked()
        bench.answer(view(order, S.ACCEPTED, "0.5"))
        bench.until_asked()
        bench.answer(view(order, S.CANCELED, "0.5"))
    assert bench.incidents() == []
    assert tracked.sightings == 0


@pytest.mark.parametrize("ours", [S.PARTIALLY_FILLED, S.FILLED])
def test_fills_and_a_refusal_cannot_both_be_true(ours: OrderStatus) -> None:
    bench, order = in_state(ours)
    bench.manager._inquire(bench.now, bench.manager.state.orders[order.client_order_id])
    bench.answer(view(order, S.REJECTED, "0"))
    assert bench.incidents() == ["impossible_report"]
    assert bench.status(order) is ours


@pytest.mark.parametrize(
    ("ours", "after"),
    [
        (S.SENT, S.REJECTED),
        (S.UNKNOWN, S.REJECTED),
        (S.ACCEPTED, S.CANCELED),
        (S.PARTIALLY_FILLED, S.CANCELED),
        (S.FILLED, S.FILLED),
        (S.CANCELED, S.CANCELED),
        (S.EXPIRED, S.EXPIRED),
        (S.REJECTED, S.REJECTED),
    ],
)
def test_a_proven_absence(ours: OrderStatus, after: OrderStatus) -> None:
    bench, order = in_state(ours)
    bench.manager._inquire(bench.now, bench.manager.state.orders[order.client_order_id])
    for _ in range(2):
        bench.until_asked()
        bench.answer()
        bench.wait(4 * SECOND)
    assert bench.status(order) is after
    assert len([one for one in bench.out.sent if isinstance(one, SubmitOrder)]) == 1


FINAL = {S.FILLED: "1", S.CANCELED: "0.5", S.EXPIRED: "0.5", S.REJECTED: "0"}


@given(
    ours=st.sampled_from(REACHED),
    theirs=st.lists(st.sampled_from(list(S)), max_size=4),
    last=st.sampled_from(list(FINAL)),
)
def test_whatever_the_venue_says_no_fill_is_lost_and_nothing_is_sent_again(
    ours: OrderStatus, theirs: list[OrderStatus], last: OrderStatus
) -> None:
    bench, order = in_state(ours)
    tracked = bench.manager.state.orders[order.client_order_id]
    for status in (*theirs, last):
        before = bench.filled(order)
        bench.manager._inquire(bench.now, tracked)
        bench.until_asked()
        filled = FINAL.get(status, str(before))
        fills = [fill(order, "a", "0.5")] if D(filled) >= D("0.5") else []
        bench.answer(view(order, status, filled), *fills, *([fill(order, "b", "0.5")] if filled == "1" else []))
        bench.wait(60 * SECOND)
        assert bench.filled(order) >= before
    assert bench.filled(order) == sum((event.fill.qty for event in bench.fills()), ZERO)
    assert len([one for one in bench.out.sent if isinstance(one, SubmitOrder)]) == 1


# Open orders that are nobody's


def test_every_stranger_has_a_resolution() -> None:
    assert set(STRANGERS) == set(Stranger)


def open_order(client_id: str, status: OrderStatus = S.ACCEPTED, filled: str = "0") -> OrderReport:
    side = SubmitOrder(0, ACC, PERP_ID, "x", side=ask().side, qty=D(2))
    return OrderReport(1, ACC, PERP_ID, client_id, f"v-{client_id}", side.side, side.qty, D(filled), status)


def answer_open(bench: Bench, *reports: OrderReport) -> None:
    """Answer the last question for open orders."""
    query = [one for one in bench.out.sent if isinstance(one, Query) and one.kind is QueryKind.OPEN_ORDERS][-1]
    bench.tell(QueryResult(bench.now, ACC, query.query_id, query.kind, orders=reports))


def strangers(bench: Bench) -> list[OrderUpdate]:
    return [one for one in bench.out.emitted if isinstance(one, OrderUpdate) and not one.request_id]


def test_open_orders_are_asked_for_when_a_venue_is_back_and_only_there() -> None:
    bench = Bench(accounts=(ACC,))
    bench.tell(VenueUp(bench.now, VENUE))
    bench.tell(VenueUp(bench.now, "elsewhere"))
    bench.tell(VenueUp(bench.now, VENUE, "market"))
    kinds = [(one.account, one.kind) for one in bench.out.sent if isinstance(one, Query)]
    assert kinds == [(ACC, QueryKind.OPEN_ORDERS)]


@pytest.mark.parametrize(
    ("client_id", "kind"),
    [
        ("web_1", Stranger.FOREIGN),
        ("bd-x", Stranger.FOREIGN),
        ("bd-999", Stranger.AHEAD),
        ("gd-7-1", Stranger.GUARD),
    ],
)
def test_a_stranger_is_counted_and_cancelled_only_where_its_id_is_ours(client_id: str, kind: Stranger) -> None:
    bench = Bench(accounts=(ACC,))
    bench.tell(VenueUp(bench.now, VENUE))
    answer_open(bench, open_order(client_id))
    (update,) = strangers(bench)
    assert (update.client_order_id, update.status, update.is_final) == (client_id, S.ACCEPTED, False)
    cancels = [one.client_order_id for one in bench.out.sent if isinstance(one, CancelOrder)]
    assert cancels == ([client_id] if STRANGERS[kind].is_cancelled else [])
    assert bench.incidents() == [f"{kind}_order_open"]
    assert bench.triggers() == (["stranger_order"] if STRANGERS[kind].is_alarm else [])


@pytest.mark.parametrize(("keep_traces", "kind"), [(10, Stranger.ENDED), (1, Stranger.FORGOTTEN)])
def test_an_order_of_ours_that_ended_long_ago_and_rests(keep_traces: int, kind: Stranger) -> None:
    bench = Bench(accounts=(ACC,), keep_orders=1, keep_traces=keep_traces)
    for number in range(4):
        order = bench.order(f"r{number}")
        bench.tell(ack(order))
        bench.tell(OrderCanceled(1, *key(order), ZERO))
    bench.tell(VenueUp(bench.now, VENUE))
    answer_open(bench, open_order("bd-1"))
    assert bench.incidents() == [f"{kind}_order_open"]
    assert [one.client_order_id for one in bench.out.sent if isinstance(one, CancelOrder)] == ["bd-1"]


def test_a_stranger_is_told_once_and_again_when_it_is_gone() -> None:
    bench = Bench(accounts=(ACC,))
    bench.tell(VenueUp(bench.now, VENUE))
    answer_open(bench, open_order("web_1"))
    for _ in range(3):
        bench.manager.on_timer(bench.now, "strangers")
        answer_open(bench, open_order("web_1"))
    assert len(strangers(bench)) == 1
    bench.manager.on_timer(bench.now, "strangers")
    answer_open(bench)
    assert [(one.status, one.is_final) for one in strangers(bench)] == [(S.ACCEPTED, False), (S.CANCELED, True)]
    assert bench.manager.state.strangers == {}
    assert bench.out.timers[-1] == ("order_manager", "strangers", None)


def test_an_order_that_the_list_lacks_is_not_absent_and_one_that_ended_there_is_no_stranger() -> None:
    """Open-only polls can never prove absence (execution.md 1.1)."""
    bench = Bench(accounts=(ACC,))
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(VenueUp(bench.now, VENUE))
    answer_open(bench, open_order("web_1", S.FILLED, "2"))
    assert bench.status(order) is S.ACCEPTED
    assert strangers(bench) == []


def test_our_own_orders_in_the_list_are_no_strangers_and_are_believed() -> None:
    bench = Bench(accounts=(ACC,))
    order = bench.order()
    bench.tell(lost(order))
    bench.tell(VenueUp(bench.now, VENUE))
    answer_open(bench, view(order, S.ACCEPTED))
    assert strangers(bench) == []
    assert bench.status(order) is S.ACCEPTED


def test_a_question_for_open_orders_that_failed_is_asked_again_and_means_nothing() -> None:
    bench = Bench(accounts=(ACC,))
    bench.tell(VenueUp(bench.now, VENUE))
    answer_open(bench, open_order("web_1"))
    bench.manager.on_timer(bench.now, "strangers")
    query = bench.out.sent[-1]
    assert isinstance(query, Query)
    bench.tell(QueryFailed(bench.now, ACC, query.query_id, query.kind, "503"))
    assert len(bench.manager.state.strangers) == 1
    assert bench.out.timers[-1][:2] == ("order_manager", "strangers")
    assert bench.out.timers[-1][2] is not None


def test_only_so_many_strangers_are_followed_and_more_are_an_alarm() -> None:
    bench = Bench(accounts=(ACC,), strangers_max=3)
    bench.tell(VenueUp(bench.now, VENUE))
    answer_open(bench, *(open_order(f"web_{number}") for number in range(5)))
    assert len(bench.manager.state.strangers) == 3
    assert bench.triggers() == ["stranger_order", "stranger_order"]


def test_an_order_accepted_before_it_was_sent_is_not_believed() -> None:
    bench = Bench()
    tracked = bench.manager._track(bench.now, ask(), PERP)
    bench.tell(OrderAccepted(bench.now, ACC, PERP_ID, tracked.order.client_order_id, "v1"))
    sent = SubmitOrder(bench.now, ACC, PERP_ID, tracked.order.client_order_id, tracked.order.side, D(1))
    assert bench.status(sent) is S.CREATED
    assert bench.incidents() == ["impossible_report"]
    bench.tell(CancelRequest(bench.now, "r1"))
    assert bench.status(sent) is S.CANCELED
    bench.tell(OrderApproved(bench.now, ask("r2")))
    assert isinstance(bench.out.sent[-1], SubmitOrder)
