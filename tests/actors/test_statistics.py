"""What the statistics count, and what they leave out."""

import json
from decimal import Decimal
from typing import Any

import pytest

from actors.basket_plan import DenyReason
from actors.counting import empty
from actors.funding_messages import FundingPaid
from actors.messages import (
    BasketState,
    BasketUpdate,
    Checker,
    FundingState,
    Incident,
    MarginLevel,
    MarginState,
    MismatchKind,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderSent,
    OrderUpdate,
    PositionMismatch,
    PreflightReply,
)
from actors.risk_checks import Reason
from actors.statistics import Statistics, StatisticsConfig
from actors.statistics_state import RateMean
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, PositionSide, Side
from venues.port import (
    CancelRejected,
    Deleveraged,
    Liquidated,
    PositionReport,
    QueryKind,
    QueryResult,
    RejectReason,
)

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
D = Decimal
PERP = Instrument("v", "PERP", InstrumentKind.PERPETUAL, "BTC", "USDT", tick_size=D("0.1"), lot_size=D("0.001"))
COIN = Instrument(
    "v",
    "COIN",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USD",
    tick_size=D("0.1"),
    lot_size=D(1),
    inverse=True,
    multiplier=D(100),
)
BOTH = PositionSide.BOTH


def actor(**bounds: int) -> Statistics:
    return Statistics({spec.id: spec for spec in (PERP, COIN)}, ["a"], StatisticsConfig(**bounds), name="statistics")


def request(key: str = "r1") -> OrderRequest:
    return OrderRequest(0, key, "carry", "b1", "a", PERP.id, Side.BUY, D(2), price=D(1))


def play(one: Statistics, *steps: tuple[int, Any]) -> Statistics:
    for now, message in steps:
        one.handle(now, message)
    return one


@pytest.mark.parametrize(
    ("reply", "counted"),
    [
        (PreflightReply(0, "b", Checker.RISK, True), {}),
        (
            PreflightReply(0, "b", Checker.RISK, False, (f"{PERP.id}: {Reason.KILLED}: x: y", "no legs")),
            {"risk|killed": 1, "risk|other": 1},
        ),
        (PreflightReply(0, "b", Checker.MARGIN, False, ("killed: not enough",)), {"margin|other": 1}),
        (
            PreflightReply(0, "b", Checker.GUARDS, False, (f"{PERP.id}: symbol_size: 2 is over 1", "f: killed: x")),
            {"guards|symbol_size": 1, "guards|other": 1},
        ),
        (OrderDenied(0, request(), ("price_collar: 3 is", "stale_book: 9 s")), {"order|price_collar": 1}),
    ],
)
def test_refusals_are_counted_by_checker_and_reason(reply, counted):
    done = play(actor(), (0, reply)).state.refusals
    assert counted.items() <= done.items()
    assert sum(done.values()) == len(getattr(reply, "reasons", ()))


def test_a_basket_s_states_are_counted_once_each():
    def told(state: BasketState, why: str = "", key: str = "b1") -> tuple[int, BasketUpdate]:
        return 0, BasketUpdate(0, key, "carry", state, (), why=why)

    done = play(
        actor(baskets=2),
        told(BasketState.PLANNED),
        told(BasketState.WORKING),
        told(BasketState.WORKING),
        told(BasketState.BALANCED),
        told(BasketState.DENIED, f"{DenyReason.PREFLIGHT}: risk: no", "b2"),
        told(BasketState.DENIED, "because", "b3"),
    ).state
    assert done.baskets == {"carry|planned": 1, "carry|working": 1, "carry|balanced": 1, "carry|denied": 2}
    assert done.denials == {"carry|preflight": 1, "carry|other": 1}
    assert list(done.basket_states) == ["b2", "b3"]


def test_a_margin_call_is_a_turn_for_the_worse():
    one = actor()
    for level in ("warning", "danger", "warning", "healthy", "danger", "unknown", "danger", "critical"):
        one.handle(0, MarginState(0, "a", MarginLevel(level), D(1), D(1), D(1)))
    assert one.state.margin_calls == {"a|warning": 1, "a|danger": 2, "a|unknown": 1, "a|critical": 1}


def test_events_of_positions_are_counted_by_configured_instrument():
    one = actor()
    for instrument in (PERP.id, "v:STRANGE"):
        one.handle(0, PositionMismatch(0, "a", instrument, BOTH, MismatchKind.QUANTITY, D(1), D(2), "fills"))
        one.handle(0, Liquidated(0, "a", instrument, Side.BUY, D(1), D(1), D(1), D(1), D(1), D(1)))
        one.handle(0, Deleveraged(0, "a", instrument, Side.BUY, D(1), D(1)))
    assert one.state.mismatches == {f"{PERP.id}|quantity": 1, "other|quantity": 1}
    assert one.state.liquidations == one.state.deleveragings == {PERP.id: 1, "other": 1}


def report(qty: str, price: str | None, spec: Instrument = PERP) -> PositionReport:
    return PositionReport(5, "a", spec.id, BOTH, D(qty), D(1), None if price is None else D(price))


def test_liquidation_prices_are_the_venue_s_last_word():
    one = play(actor(), (0, report("1", "90")), (0, report("3", "80", COIN)))
    kept = one.state.reported["a"]
    assert {key: (one.qty, one.liquidation_price) for key, one in kept.items()} == {
        f"a/{PERP.id}/BOTH": (D(1), D(90)),
        f"a/{COIN.id}/BOTH": (D(3), D(80)),
    }
    one.handle(1, QueryResult(1, "a", "q", QueryKind.FILLS))
    assert one.state.reported["a"] == kept
    one.handle(2, QueryResult(2, "a", "q", QueryKind.POSITIONS, positions=(report("2", None), report("1", "0", COIN))))
    assert [one.liquidation_price for one in one.state.reported["a"].values()] == [None, None]
    one.handle(3, report("0", "90"))
    assert list(one.state.reported["a"]) == [f"a/{COIN.id}/BOTH"]
    one.handle(4, QueryResult(4, "stranger", "q", QueryKind.POSITIONS, positions=(report("2", "1"),)))
    assert list(one.state.reported) == ["a"]


def test_funding_paid_and_received_are_both_positive():
    one = actor()
    for amount in ("-3", "5", "-0.5", "NaN"):
        one.handle(0, FundingPaid(0, "a", PERP.id, PositionSide.BOTH, 0, 0, "USDT", D(amount)))
    one.handle(0, FundingPaid(0, "a", "v:STRANGE", PositionSide.BOTH, 0, 0, "USDT", D(9)))
    assert (one.state.funding[PERP.id].paid, one.state.funding[PERP.id].received) == (D("3.5"), D(5))


@pytest.mark.parametrize(
    ("rates", "at", "mean"),
    [
        ([], HOUR, None),
        ([(0, "0.0001")], 0, None),
        ([(0, "0.0001")], HOUR, "0.0001"),
        ([(0, "0.0001"), (HOUR, "-0.0003")], 2 * HOUR, "-0.0001"),
        ([(0, "0.0001"), (HOUR, "0.0004")], 3 * HOUR, "0.0003"),
        # What is older than eight hours counts no more.
        ([(0, "0.5"), (HOUR, "0.0002")], 10 * HOUR, "0.0002"),
        ([(0, "0.5"), (HOUR, "0.0002"), (20 * HOUR, "0.0004")], 24 * HOUR, "0.0003"),
    ],
)
def test_the_mean_rate_is_weighted_by_time_over_eight_hours(rates, at, mean):
    one = actor()
    for now, rate in rates:
        one.handle(now, FundingState(now, PERP.id, D(rate), None, D(0), D(0)))
    before = json.dumps(one.snapshot())
    found = one.mean_rate(at, PERP.id)
    assert (found is None) == (mean is None)
    assert found is None or abs(found - D(mean)) < D("0.00001")
    assert json.dumps(one.snapshot()) == before
    assert one.mean_rate(at, "v:STRANGE") is None


def test_a_rate_that_never_stops_moving_is_remembered_in_a_bounded_way():
    mean = RateMean()
    for minute in range(0, 3_000, 5):
        mean.note(minute * 60 * SECOND, D(minute % 7) / 10_000)
    assert len(mean.slots) <= 33


def test_memory_is_bounded():
    one = actor(names=3)
    for number in range(10):
        one.handle(0, Incident(0, f"kind{number}", "", ""))
    assert one.state.incidents == {"kind0": 1, "kind1": 1, "kind2": 1, "other": 7}


def test_a_snapshot_brings_everything_back():
    one = play(
        actor(),
        (3, report("1", "90")),
        (3, FundingState(3, PERP.id, D("0.0001"), None, D(0), D(0))),
        (4, FundingState(4, PERP.id, D("0.0002"), None, D(0), D(0))),
        (4, MarginState(0, "a", MarginLevel.DANGER, D(1), D(1), D(1))),
        (4, BasketUpdate(0, "b1", "carry", BasketState.WORKING, ())),
        (4, Incident(0, "kind", "", "")),
    )
    plain = json.dumps(one.snapshot())
    other = actor()
    other.restore(json.loads(plain))
    assert other.state == one.state
    assert json.dumps(other.snapshot()) == plain


def test_a_histogram_counts_a_bound_itself_below_it():
    one = empty((10, 20))
    for value in (-5, 10, 11, 20, 21):
        one.add(value, (10, 20))
    assert (one.counts, one.total) == ([2, 2, 1], 62)


# Answers of the venue


def update(
    status: OrderStatus, filled: str, *, side: Side = Side.BUY, qty: str = "2", final: bool = True, spec: Any = PERP
) -> OrderUpdate:
    return OrderUpdate(0, "r1", "carry", "b1", "c1", "a", spec.id, side, D(qty), status, D(filled), final)


S = OrderStatus


def lived(one: Statistics, *steps: tuple[int, OrderStatus, str, bool]) -> Statistics:
    """Approve an order at 0 and let it come to each status at its second."""
    one.handle(0, OrderApproved(0, request()))
    for second, status, filled, final in steps:
        sent = OrderSent(0, "r1", "a", PERP.id)
        one.handle(second * SECOND, sent if status is S.SENT else update(status, filled, final=final))
    return one


def test_the_first_word_of_a_venue_is_timed_from_the_sending_not_the_approval() -> None:
    one = lived(actor(), (2, S.CREATED, "0", False), (3, S.SENT, "0", False), (4, S.ACCEPTED, "0", False))
    one.handle(9 * SECOND, update(S.FILLED, "2"))
    answered = one.state.answered[PERP.id]
    # One second: the fifth bucket of 0.01 0.05 0.1 0.5 1 5 s.
    assert answered.ack.counts == [0, 0, 0, 0, 1, 0, 0]
    assert answered.ack.total == SECOND
    assert (answered.unknown, sum(answered.doubt.counts)) == (0, 0)


def test_a_fill_before_the_ack_is_a_first_word_as_well() -> None:
    one = lived(actor(), (3, S.SENT, "0", False), (5, S.PARTIALLY_FILLED, "1", False), (6, S.FILLED, "2", True))
    assert one.state.answered[PERP.id].ack.total == 2 * SECOND


def test_a_doubt_is_timed_until_it_is_resolved_and_is_no_answer_time() -> None:
    one = lived(
        actor(),
        (1, S.SENT, "0", False),
        (2, S.UNKNOWN, "0", False),
        (3, S.UNKNOWN, "0", False),
        (14, S.CANCELED, "0", True),
    )
    answered = one.state.answered[PERP.id]
    assert (answered.unknown, answered.doubt.total) == (1, 12 * SECOND)
    # 12 s: the fourth bucket of 0.1 1 5 30 300 s.
    assert answered.doubt.counts == [0, 0, 0, 1, 0, 0]
    assert sum(answered.ack.counts) == 0


def test_orders_end_by_reason_and_refused_cancels_are_counted() -> None:
    one = actor()
    for number, (status, reason) in enumerate(
        [(S.REJECTED, RejectReason.RATE_LIMIT), (S.FILLED, None), (S.FILLED, None), (S.EXPIRED, None)]
    ):
        one.handle(0, OrderApproved(0, request(key=f"r{number}")))
        one.handle(
            1,
            OrderUpdate(
                0, f"r{number}", "s", "b", "c", "a", PERP.id, Side.BUY, D(2), status, D(0), True, reject_reason=reason
            ),
        )
    assert one.state.ends == {f"{PERP.id}|rate_limit": 1, f"{PERP.id}|filled": 2, f"{PERP.id}|expired": 1}
    for instrument in (PERP.id, PERP.id, "x:Y"):
        one.handle(1, CancelRejected(1, "a", instrument, "c1", RejectReason.UNKNOWN_ORDER))
    assert one.state.cancels_refused == {f"{PERP.id}|unknown_order": 2, "other|unknown_order": 1}


def test_a_snapshot_of_schema_1_is_read_without_its_executions():
    plain = actor().snapshot()
    old = {"schema": 1, "state": plain["state"] | {"touches": {}, "working": {}, "traded": {}, "ordered": {}}}
    other = actor()
    other.state.incidents["kind"] = 1
    other.restore(old)
    assert other.snapshot() == plain
