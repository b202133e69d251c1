"""What the order manager may believe. Threads named are public ones; what went wrong there must not here."""

import json
import re
from typing import Any, cast

import pytest
from attrs import evolve
from cell_harness import PERP, SECOND, SPECS, SPOT, D, FakeDesk, Recorder, fill_of
from hypothesis import given
from hypothesis import strategies as st
from order_bench import ACC, PERP_ID, Bench, ack, ask, fill, key, lost, view

from actors.base import Actor, TimerFired, handles
from actors.cell import CellRestarted
from actors.dispatcher import Dispatcher
from actors.messages import (
    CancelRequest,
    KillLevel,
    KillState,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    ResumeCommand,
    StopCommand,
)
from actors.order_manager import OrderManager
from actors.order_records import OrderManagerConfig
from venues.model.fill import FillReason
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from venues.port import (
    CancelOrder,
    CancelRejected,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    QueryKind,
    QueryResult,
    RejectReason,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

# Sending


def test_client_ids_are_made_before_sending_and_never_again() -> None:
    bench = Bench()
    ids = [bench.order(f"r{n}").client_order_id for n in range(20)]
    assert len(set(ids)) == 20
    # crypto.md C3: what Binance takes as newClientOrderId.
    assert all(re.fullmatch(r"[.A-Z:/a-z0-9_-]{1,36}", client_id) for client_id in ids)
    assert bench.manager.state.requests["r3"] == ids[3]


@pytest.mark.parametrize("prefix", ["", "with space", "x" * 25, "run1", "é-"])
def test_a_prefix_that_cannot_begin_client_ids_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="run_prefix"):
        OrderManagerConfig(run_prefix=prefix)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"instrument": "nobody:X"}, RejectReason.UNKNOWN_INSTRUMENT),
        ({"qty": D("NaN")}, RejectReason.OFF_LOT),
        ({"qty": D("Infinity")}, RejectReason.OFF_LOT),
        ({"qty": D(-1)}, RejectReason.BELOW_MIN_QTY),
        ({"qty": D("0.00015")}, RejectReason.OFF_LOT),
        ({"price": D("NaN")}, RejectReason.OFF_TICK),
        ({"price": D("100.05")}, RejectReason.OFF_TICK),
        ({"price": D(-100)}, RejectReason.BAD_PRICE),
        ({"price": None}, RejectReason.BAD_PRICE),
    ],
)
def test_what_is_no_order_of_its_instrument_is_never_sent(changed: dict[str, object], reason: RejectReason) -> None:
    bench = Bench()
    request = ask()
    values = {name: getattr(request, name) for name in OrderRequest.__annotations__} | changed
    bench.tell(OrderApproved(1, OrderRequest(**values)))
    assert bench.out.sent == []
    assert (bench.last().status, bench.last().reject_reason, bench.last().is_final) == ("rejected", reason, True)


def test_one_request_is_one_order() -> None:
    bench = Bench()
    bench.order()
    bench.tell(OrderApproved(1, ask()))
    assert len(bench.out.sent) == 1
    assert bench.incidents() == ["duplicate_request"]


def test_reduce_only_is_said_only_where_venues_take_it() -> None:
    cases = [
        (PERP_ID, PositionSide.BOTH, True),
        (PERP_ID, PositionSide.LONG, False),
        (SPOT.id, PositionSide.BOTH, False),
    ]
    for instrument, side, expected in cases:
        bench = Bench()
        request = OrderRequest(
            0, "r", "s", "b", ACC, instrument, Side.SELL, D(1), OrderType.MARKET, reduce_only=True, position_side=side
        )
        bench.tell(OrderApproved(1, request))
        sent = bench.out.sent[0]
        assert isinstance(sent, SubmitOrder)
        assert sent.reduce_only is expected
        bench.tell(OrderAccepted(2, ACC, instrument, sent.client_order_id, "v1"))
        assert bench.last().reduce_only


# Reports

S = OrderStatus
STREAMS = [
    ("ack, fills", ["ack", "0.4", "0.6"], S.FILLED, "1"),
    ("fills before the ack", ["0.4", "0.6", "ack"], S.FILLED, "1"),
    ("duplicate fills", ["ack", "0.4", "0.4", "0.6", "0.4", "0.6"], S.FILLED, "1"),
    ("cancelled after a part", ["ack", "0.4", "canceled 0.4"], S.CANCELED, "0.4"),
    ("the cancel overtakes its fill", ["ack", "canceled 0.4", "0.4"], S.CANCELED, "0.4"),
    ("expired, all before the ack", ["expired 0.4", "0.4", "ack"], S.EXPIRED, "0.4"),
    ("cancelled, then filled whole", ["ack", "canceled 1", "0.4", "0.6"], S.FILLED, "1"),
    ("refused", ["rejected"], S.REJECTED, "0"),
    ("refused twice, ack late", ["rejected", "rejected", "ack"], S.REJECTED, "0"),
]


def stream(order: SubmitOrder, words: list[str]) -> list[Message]:
    made: list[Message] = []
    for word in words:
        name, _, total = word.partition(" ")
        if name == "ack":
            made.append(ack(order))
        elif name == "canceled":
            made.append(OrderCanceled(1, *key(order), D(total)))
        elif name == "expired":
            made.append(OrderExpired(1, *key(order), D(total)))
        elif name == "rejected":
            made.append(OrderRejected(1, *key(order), RejectReason.WOULD_TAKE))
        else:
            made.append(fill(order, f"t{word}", word))
    return made


@pytest.mark.parametrize(("name", "words", "status", "filled"), STREAMS)
def test_streams_as_venues_send_them(name: str, words: list[str], status: OrderStatus, filled: str) -> None:
    bench = Bench()
    order = bench.order()
    for report in stream(order, words):
        bench.tell(report)
    assert (bench.status(order), bench.filled(order)) == (status, D(filled))
    assert bench.last().is_final
    assert bench.incidents() == []
    assert sum((event.fill.qty for event in bench.fills()), ZERO) == D(filled)


VALID = [
    ["ack", "0.4", "0.6"],
    ["ack", "0.2", "0.3", "canceled 0.5"],
    ["ack", "0.1", "expired 0.1"],
    ["ack", "canceled 0"],
]


@given(st.data())
def test_any_order_and_repetition_of_reports_comes_to_the_same(data: st.DataObject) -> None:
    words = data.draw(st.sampled_from(VALID))
    bench = Bench()
    order = bench.order()
    reports = stream(order, words)
    repeated = reports + data.draw(st.lists(st.sampled_from(reports), max_size=5))
    for report in data.draw(st.permutations(repeated)):
        before = bench.filled(order)
        bench.tell(report)
        assert bench.filled(order) >= before
    expected = sum((report.qty for report in reports if isinstance(report, OrderFilled)), ZERO)
    assert bench.filled(order) == expected
    assert sum((event.fill.qty for event in bench.fills()), ZERO) == expected
    assert bench.last().filled_qty == expected
    assert bench.last().is_final
    assert bench.incidents() == []


def test_a_total_ahead_of_its_fills_is_terminal_but_not_final_and_asks_for_them() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(OrderCanceled(1, *key(order), D("0.7")))
    assert (bench.last().status, bench.last().is_final) == (S.CANCELED, False)
    assert [query.kind for query in bench.queries()] == [QueryKind.FILLS]
    # Nothing yet, then a failure, then the fills: asked again each time, more slowly.
    bench.answer()
    bench.wait(SECOND)
    bench.answer(fails=True)
    bench.wait(2 * SECOND)
    assert len(bench.queries()) == 1
    bench.answer(None, fill(order, "a", "0.3"), fill(order, "b", "0.4"))
    assert (bench.last().is_final, bench.filled(order)) == (True, D("0.7"))
    bench.wait(600 * SECOND)
    assert bench.queries() == []
    assert bench.manager.state.inquiries == {}


def test_a_query_says_filled_before_the_fills_come() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    for query in bench.queries()[::-1]:
        orders = (view(order, S.FILLED, "1"),) if query.kind is QueryKind.ORDER else ()
        bench.tell(QueryResult(1, ACC, query.query_id, query.kind, orders=orders))
    assert (bench.last().status, bench.last().is_final) == (S.FILLED, False)
    assert [query.kind for query in bench.queries()] == [QueryKind.FILLS]
    bench.tell(fill(order, "a", "0.3"))
    assert not bench.last().is_final
    bench.tell(fill(order, "b", "0.7"))
    assert bench.last().is_final


def lacking(bench: Bench) -> SubmitOrder:
    """A cancelled order of which the venue counts 0.7 as filled, and tells 0.3."""
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(fill(order, "a", "0.3"))
    bench.tell(OrderCanceled(1, *key(order), D("0.7")))
    return order


def test_trades_that_no_complete_list_has_were_taken_back() -> None:
    bench = Bench(missing_fills_ns=30 * SECOND)
    order = lacking(bench)
    end = bench.now + 30 * SECOND
    while bench.now < end:
        assert not bench.last().is_final
        bench.answer(None, fill(order, "a", "0.3"))
        bench.until_asked()
    bench.answer(None, fill(order, "a", "0.3"))
    assert (bench.last().status, bench.last().filled_qty, bench.last().is_final) == (S.CANCELED, D("0.3"), True)
    assert bench.incidents() == ["fills_missing"]
    assert bench.triggers() == ["fills_missing"]
    bench.wait(600 * SECOND)
    assert bench.queries() == []
    # Told all the same it is booked, and what is still missing then is no news.
    bench.tell(fill(order, "b", "0.1"))
    assert (bench.filled(order), bench.last().is_final) == (D("0.4"), True)
    assert bench.incidents() == ["fills_missing", "late_fill"]


def test_answers_that_failed_or_were_few_do_not_take_trades_back() -> None:
    bench = Bench(missing_fills_ns=SECOND, query_backoff_ns=10 * SECOND)
    order = lacking(bench)
    # Two complete answers are long apart, and not three.
    for fails in (False, True, True, True, False):
        assert not bench.last().is_final
        bench.answer(None, fill(order, "a", "0.3"), fails=fails)
        bench.until_asked()
    assert not bench.last().is_final
    bench.answer(None, fill(order, "a", "0.3"), fill(order, "b", "0.4"))
    assert bench.last().is_final
    assert bench.incidents() == []


def test_an_overfill_is_booked_and_stops_new_risk() -> None:
    # nautilus 3493: inferred fills before real ones.
    bench = Bench()
    order = bench.order()
    bench.tell(fill(order, "a", "1"))
    bench.tell(fill(order, "b", "0.5"))
    assert bench.filled(order) == D("1.5")
    assert len(bench.fills()) == 2
    assert bench.incidents() == ["late_fill", "overfill"]
    assert bench.triggers() == ["overfill"]


def test_a_fill_after_the_end_is_booked_for_ever() -> None:
    # hummingbot drops fills that come 30 s late.
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(OrderCanceled(1, *key(order), ZERO))
    assert bench.last().is_final
    bench.wait(86_400 * SECOND)
    bench.tell(fill(order, "a", "0.3"))
    assert bench.filled(order) == D("0.3")
    assert bench.fills()[0].basket_id == "b"
    assert bench.incidents() == ["late_fill"]
    assert {query.kind for query in bench.queries()} == {QueryKind.ORDER, QueryKind.FILLS}


def test_an_impossible_report_is_an_incident_and_a_question() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(fill(order, "a", "0.3"))
    bench.tell(OrderRejected(1, *key(order), RejectReason.OTHER))
    assert bench.status(order) is S.PARTIALLY_FILLED
    assert bench.incidents() == ["impossible_report"]
    assert bench.queries()[0].client_order_id == order.client_order_id


@pytest.mark.parametrize(
    "changed", [{"qty": D("NaN")}, {"qty": D(-1)}, {"qty": ZERO}, {"price": D("Infinity")}, {"trade_id": ""}]
)
def test_a_fill_that_is_no_number_is_not_booked(changed: dict[str, object]) -> None:
    bench = Bench()
    order = bench.order()
    report = fill(order, "a", "0.3")
    for name, value in changed.items():
        setattr(report, name, value)
    bench.tell(report)
    assert bench.fills() == []
    assert bench.triggers() == ["impossible_fill"]


def test_a_changed_order_has_its_new_size() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(OrderModified(1, *key(order), D(2), D(101)))
    bench.tell(fill(order, "a", "1"))
    assert (bench.last().qty, bench.last().status) == (D(2), S.PARTIALLY_FILLED)


# Orders of nobody


def external(client_id: str = "web_1", reason: FillReason = FillReason.TAKER, ts: int = 2 * SECOND) -> OrderFilled:
    report = fill_of(SubmitOrder(1, ACC, PERP_ID, client_id, Side.SELL, D(1)), "x1", D("0.2"), D(100), ts=ts)
    report.reason = reason
    return report


def test_a_fill_of_no_order_of_ours_is_booked_once_and_stops_new_risk() -> None:
    bench = Bench()
    bench.tell(external())
    bench.tell(external())
    assert [(event.request_id, event.basket_id, event.fill.qty) for event in bench.fills()] == [("", "", D("0.2"))]
    assert bench.incidents() == ["external_fill"]
    assert bench.triggers() == ["external_fill"]


@pytest.mark.parametrize("reason", [FillReason.LIQUIDATION, FillReason.ADL, FillReason.SETTLEMENT])
def test_what_a_venue_does_by_itself_is_booked_and_told(reason: FillReason) -> None:
    bench = Bench()
    bench.tell(external("autoclose-1", reason))
    assert len(bench.fills()) == 1
    assert bench.incidents() == ["external_fill"]
    assert bench.triggers() == []


def test_trades_of_before_the_run_in_an_answer_are_no_news() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    bench.answer(view(order, S.ACCEPTED), external(ts=SECOND - 1))
    assert bench.fills() == []


def test_a_fill_that_contradicts_its_order_is_not_credited_to_it() -> None:
    bench = Bench()
    order = bench.order()
    report = fill(order, "a", "0.3")
    report.side = Side.SELL
    bench.tell(report)
    assert bench.filled(order) == ZERO
    assert bench.fills()[0].request_id == ""
    assert bench.triggers() == ["external_fill"]


def test_fills_without_client_id_are_found_by_the_venues_order_id() -> None:
    # Binance userTrades name the venue's order id only.
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    report = fill(order, "a", "0.3")
    report.client_order_id = ""
    bench.tell(report)
    assert bench.filled(order) == D("0.3")
    assert bench.fills()[0].fill.client_order_id == order.client_order_id


# Unknown


def test_a_lost_order_is_unknown_and_asked_for_never_sent_again() -> None:
    # hummingbot 3374: six "dead" buys filled after network errors.
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    assert bench.last().status is S.UNKNOWN
    assert {(q.kind, q.client_order_id) for q in bench.queries()} == {
        (QueryKind.ORDER, order.client_order_id),
        (QueryKind.FILLS, None),
    }
    bench.answer(view(order, S.ACCEPTED))
    assert bench.last().status is S.ACCEPTED
    assert sum(isinstance(sent, SubmitOrder) for sent in bench.out.sent) == 1


def test_a_missing_ack_is_unknown_never_rejected() -> None:
    bench = Bench()
    order = bench.order()
    bench.wait(5 * SECOND - 1)
    assert bench.status(order) is S.SENT
    bench.wait(1)
    assert bench.status(order) is S.UNKNOWN
    assert len(bench.queries()) == 2


def test_failed_queries_prove_nothing() -> None:
    # hummingbot 8457: a network error counted as "not found" three times dropped six live orders.
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    for _ in range(50):
        bench.answer(fails=True)
        bench.until_asked()
    assert bench.status(order) is S.UNKNOWN
    # Half a second doubling to thirty: fifty rounds take the better part of half an hour.
    assert bench.now > 40 * 30 * SECOND
    bench.answer(view(order, S.ACCEPTED))
    assert bench.status(order) is S.ACCEPTED


def test_unanswered_queries_are_repeated() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    first = {query.query_id for query in bench.queries()}
    bench.wait(10 * SECOND)
    second = {query.query_id for query in bench.queries()}
    assert second
    assert not first & second
    assert bench.status(order) is S.UNKNOWN


def test_absence_takes_two_complete_answers_a_quiet_time_apart() -> None:
    # crypto.md C5: -2013 is no proof for a few seconds.
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    bench.answer()
    assert bench.status(order) is S.UNKNOWN
    bench.wait(3 * SECOND - 1)
    assert bench.queries() == []
    bench.wait(1)
    bench.answer()
    assert (bench.last().status, bench.last().is_final, bench.last().filled_qty) == (S.REJECTED, True, ZERO)
    assert bench.manager.state.inquiries == {}


@pytest.mark.parametrize("between", ["failure", "ack", "fill"])
def test_what_comes_between_starts_the_proof_anew(between: str) -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    bench.answer()
    if between == "ack":
        bench.tell(ack(order))
    elif between == "fill":
        bench.tell(fill(order, "a", "0.1"))
    bench.wait(3 * SECOND)
    if between == "failure":
        bench.answer(fails=True)
        bench.wait(3 * SECOND)
    bench.answer()
    assert not bench.last().is_final


def test_a_trade_in_the_history_disproves_absence() -> None:
    bench = Bench()
    order = bench.order(qty="1")
    bench.tell(lost(order))
    bench.answer(None, fill(order, "a", "0.2"))
    assert (bench.last().status, bench.filled(order)) == (S.PARTIALLY_FILLED, D("0.2"))
    bench.wait(SECOND)
    bench.answer(view(order, S.CANCELED, "0.2"), fill(order, "a", "0.2"))
    assert (bench.last().status, bench.last().is_final) == (S.CANCELED, True)
    assert len(bench.fills()) == 1


def test_a_nameless_trade_that_could_be_ours_keeps_an_order_unknown() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    nameless = fill(order, "a", "0.2")
    nameless.client_order_id = ""
    for _ in range(5):
        bench.answer(None, nameless)
        bench.until_asked()
    assert bench.status(order) is S.UNKNOWN
    assert bench.fills() == []
    # Once the venue's order id is known the fill finds its order.
    bench.answer(view(order, S.CANCELED, "0.2"))
    bench.until_asked()
    bench.answer(None, nameless)
    assert (bench.last().is_final, bench.filled(order)) == (True, D("0.2"))


def test_an_order_found_alive_after_its_absence_was_proven_is_cancelled() -> None:
    # nautilus 4958: in-flight time-out became REJECTED, the order was an orphan.
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    bench.answer()
    bench.wait(3 * SECOND)
    bench.answer()
    bench.tell(ack(order))
    assert bench.incidents() == ["order_alive"]
    assert isinstance(bench.out.sent[-3], CancelOrder)
    bench.tell(fill(order, "a", "0.1"))
    assert len(bench.fills()) == 1
    bench.answer(view(order, S.CANCELED, "0.1"))
    bench.wait(600 * SECOND)
    assert bench.queries() == []


def test_an_acknowledged_order_that_is_gone_is_over_not_refused() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(lost(order, "CancelOrder"))
    bench.answer()
    bench.wait(3 * SECOND)
    bench.answer()
    assert bench.status(order) is S.CANCELED


def test_a_duplicate_id_means_the_venue_holds_it() -> None:
    # crypto.md C6: -4116 duplicate clientOrderId, query it.
    bench = Bench()
    order = bench.order()
    bench.tell(OrderRejected(1, *key(order), RejectReason.DUPLICATE_ID))
    assert bench.status(order) is S.UNKNOWN
    assert bench.queries()


def test_a_late_timeout_of_an_acknowledged_order_is_no_news() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(lost(order))
    assert bench.status(order) is S.ACCEPTED


def test_an_immediate_order_that_never_ends_is_asked_for() -> None:
    bench = Bench()
    order = bench.order(tif=TimeInForce.IOC)
    bench.tell(ack(order))
    bench.wait(5 * SECOND)
    assert bench.queries()
    bench.answer(view(order, S.EXPIRED))
    assert bench.last().is_final


# Cancelling


def cancels(bench: Bench) -> int:
    return sum(isinstance(sent, CancelOrder) for sent in bench.out.sent)


def test_a_cancel_is_sent_once_until_it_is_answered() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    for _ in range(3):
        bench.tell(CancelRequest(1, "r1"))
    assert cancels(bench) == 1
    bench.tell(OrderCanceled(1, *key(order), ZERO))
    bench.tell(CancelRequest(1, "r1"))
    assert cancels(bench) == 1
    assert bench.last().is_final


def test_a_cancel_refused_as_unknown_order_is_a_question_not_an_answer() -> None:
    # hummingbot 8094, passivbot 514: "unknown order" was a fill.
    bench = Bench()
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(CancelRequest(1, "r1"))
    bench.tell(CancelRejected(1, *key(order), RejectReason.UNKNOWN_ORDER))
    assert bench.status(order) is S.ACCEPTED
    bench.answer(view(order, S.FILLED, "1"), fill(order, "a", "1"))
    assert (bench.last().status, bench.last().is_final) == (S.FILLED, True)


def test_a_cancel_that_overtook_its_order_is_sent_again() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(CancelRequest(1, "r1"))
    bench.tell(CancelRejected(1, *key(order), RejectReason.UNKNOWN_ORDER))
    bench.answer(view(order, S.ACCEPTED))
    assert cancels(bench) == 2
    # Refused again and again: more and more slowly.
    for _ in range(20):
        bench.tell(CancelRejected(1, *key(order), RejectReason.OTHER))
        bench.wait(2 * SECOND)
        bench.answer(view(order, S.ACCEPTED))
    assert cancels(bench) < 12


def test_an_unknown_order_is_cancelled_at_once() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(lost(order))
    bench.tell(CancelRequest(1, "r1"))
    assert cancels(bench) == 1
    bench.tell(lost(order, "CancelOrder"))
    bench.answer(view(order, S.ACCEPTED))
    assert cancels(bench) == 2


@pytest.mark.parametrize(
    ("level", "expected"), [(KillLevel.REDUCE_ONLY, 0), (KillLevel.CANCEL_ALL, 3), (KillLevel.FLATTEN, 3)]
)
def test_the_kill_switch_cancels_every_live_order(level: KillLevel, expected: int) -> None:
    bench = Bench()
    sent, acked, unknown, done = (bench.order(f"r{n}") for n in range(4))
    assert bench.status(sent) is S.SENT
    bench.tell(ack(acked))
    bench.tell(lost(unknown))
    bench.tell(fill(done, "a", "1"))
    bench.tell(KillState(1, level, "t", ""))
    assert cancels(bench) == expected


def test_a_stop_cancels_what_rests() -> None:
    bench = Bench()
    resting, immediate = bench.order("r1"), bench.order("r2", tif=TimeInForce.IOC)
    bench.tell(StopCommand(1, "end"))
    assert [sent.client_order_id for sent in bench.out.sent if isinstance(sent, CancelOrder)] == [
        resting.client_order_id
    ]
    assert bench.status(immediate) is S.SENT


def test_a_cancel_of_nothing_is_told() -> None:
    bench = Bench()
    bench.tell(CancelRequest(1, "nobody"))
    assert bench.incidents() == []
    assert ("order_manager", "early", bench.now) in bench.out.timers
    bench.tell(TimerFired(bench.now, "order_manager", "early"))
    assert bench.incidents() == ["cancel_of_unknown_request"]
    bench.tell(TimerFired(bench.now, "order_manager", "early"))
    assert len(bench.incidents()) == 1


def taken_back(bench: Bench, approved: OrderRequest) -> bool:
    """Whether an order that is approved now is over without having been sent."""
    before = len(bench.out.sent)
    bench.tell(OrderApproved(bench.now, approved))
    if len(bench.out.sent) > before:
        return False
    assert bench.last().status is S.CANCELED
    assert bench.last().is_final
    assert bench.last().why == "cancelled before it was sent"
    return True


def test_a_cancel_that_overtakes_its_order_takes_it_back() -> None:
    """The order is still at the gate when what follows from the same report cancels it."""
    bench = Bench()
    bench.tell(CancelRequest(1, "r1"))
    bench.tell(CancelRequest(1, "r1"))
    assert taken_back(bench, ask("r1"))
    bench.tell(TimerFired(bench.now, "order_manager", "early"))
    assert bench.incidents() == []
    assert not taken_back(bench, ask("r2"))


def test_a_cancel_that_overtakes_an_order_which_the_gate_refuses_is_no_incident() -> None:
    bench = Bench()
    bench.tell(CancelRequest(1, "r1"))
    bench.tell(OrderDenied(1, ask("r1"), ("killed: CANCEL_ALL",)))
    bench.tell(TimerFired(bench.now, "order_manager", "early"))
    assert bench.incidents() == []


@pytest.mark.parametrize(
    ("sweep", "is_swept"),
    [
        (KillState(1, KillLevel.CANCEL_ALL, "t", ""), True),
        (KillState(1, KillLevel.FLATTEN, "t", ""), True),
        (StopCommand(1, "end"), True),
        (KillState(1, KillLevel.REDUCE_ONLY, "t", ""), False),
    ],
)
def test_what_was_approved_when_all_was_to_be_cancelled_must_not_rest(sweep: Message, is_swept: bool) -> None:
    bench = Bench()
    bench.tell(sweep)
    asked: Any = evolve(cast("Any", ask("r1")), ts=bench.now)
    assert taken_back(bench, asked) is is_swept
    assert not taken_back(bench, evolve(asked, request_id="r2", tif=TimeInForce.IOC))
    assert not taken_back(bench, evolve(asked, request_id="r3", ts=bench.now + 1)), "asked for since"
    bench.tell(ResumeCommand(1, "again"))
    assert not taken_back(bench, evolve(asked, request_id="r4"))


def test_whole_cell_cancels_an_order_asked_for_and_not_wanted_at_one_instant() -> None:
    """By the dispatcher's order the cancel comes first: it must not be lost."""

    class Fickle(Actor):
        publishes = (OrderRequest, CancelRequest)

        @handles(ResumeCommand)
        def both(self, now: int, message: ResumeCommand) -> None:
            self.out.emit(ask("r1"))
            self.out.emit(CancelRequest(now, "r1"))

    recorder = Recorder()
    cell = Dispatcher([Fickle("fickle"), FakeDesk(), OrderManager(SPECS), recorder])
    cell.start(SECOND)
    cell.take(2 * SECOND, ResumeCommand(2 * SECOND, "x"))
    assert cell.take_effects() == []
    assert [one.status for one in recorder.seen if isinstance(one, OrderUpdate)] == [S.CANCELED]


# Venues, restarts, memory


def test_a_disconnect_makes_what_was_on_its_way_unknown_and_a_reconnect_asks() -> None:
    bench = Bench()
    sent, acked = bench.order("r1"), bench.order("r2")
    bench.tell(ack(acked))
    bench.tell(VenueDown(1, PERP.venue, "market", "x"))
    assert bench.status(sent) is S.SENT
    bench.tell(VenueDown(1, PERP.venue, "orders", "x"))
    assert (bench.status(sent), bench.status(acked)) == (S.UNKNOWN, S.ACCEPTED)
    bench.answer(fails=True)
    bench.tell(VenueUp(1, PERP.venue, "orders"))
    asked = {query.client_order_id for query in bench.queries() if query.kind is QueryKind.ORDER}
    assert asked == {sent.client_order_id, acked.client_order_id}


def test_a_rebuilt_cell_trusts_no_live_order() -> None:
    bench = Bench()
    live, done = bench.order("r1"), bench.order("r2")
    bench.tell(ack(live))
    bench.tell(fill(done, "a", "1"))
    bench.manager.state.timer_at = 1
    bench.tell(CellRestarted(bench.now, 1, "x", "y"))
    assert {q.client_order_id for q in bench.queries()} == {live.client_order_id, None}
    assert bench.out.timers[-1][2] is not None
    assert bench.manager.state.timer_at == bench.out.timers[-1][2]


def test_old_orders_shrink_to_what_late_fills_need_and_then_are_forgotten() -> None:
    bench = Bench(keep_orders=2, keep_traces=2)
    orders = [bench.order(f"r{n}") for n in range(6)]
    for order in orders:
        bench.tell(fill(order, f"t{order.client_order_id}", "1"))
    state = bench.manager.state
    assert (len(state.orders), len(state.traces), len(state.requests)) == (2, 2, 4)
    booked = len(bench.fills())
    for order in orders[2:]:
        bench.tell(fill(order, f"t{order.client_order_id}", "1"))
    assert len(bench.fills()) == booked
    # A new fill of a shrunk order is booked, with a warning.
    bench.tell(fill(orders[2], "new", "0.5"))
    assert bench.fills()[-1].request_id == "r2"
    assert bench.triggers() == ["late_fill"]
    # Of a forgotten one nobody can tell new from repeated: a person looks, the synchronizer compares positions.
    bench.tell(fill(orders[0], "new", "0.5"))
    assert len(bench.fills()) == booked + 1
    assert bench.incidents()[-1] == "forgotten_order_fill"


def test_a_snapshot_comes_back_equal_and_goes_on() -> None:
    bench = Bench(keep_orders=1)
    for n, order in enumerate([bench.order("r1"), bench.order("r2"), bench.order("r3")]):
        bench.tell(fill(order, f"t{n}", "1" if n < 2 else "0.3"))
    fourth = bench.order("r4")
    bench.tell(lost(fourth))
    bench.tell(CancelRequest(1, "r4"))
    bench.tell(external())
    fresh = OrderManager(SPECS, bench.manager.config)
    fresh.restore(json.loads(json.dumps(bench.manager.snapshot())))
    assert fresh.state == bench.manager.state
    bench.manager.state = fresh.state
    assert bench.order("r5").client_order_id == "bd-5"


def test_evolve_keeps_the_default_prefix_valid() -> None:
    assert evolve(OrderManagerConfig(), run_prefix="bd7-").run_prefix == "bd7-"
