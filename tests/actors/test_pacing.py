"""No window holds more than its limit, what reduces risk goes first, and nothing is sent late."""

import json
from decimal import Decimal

import pytest
from cell_harness import PERP, SECOND, D
from hypothesis import given
from hypothesis import strategies as st
from order_bench import ACC, Bench, ack, ask, key

from actors.messages import CancelRequest, KillLevel, KillState, OrderApproved, OrderRequest
from actors.order_records import OrderManagerState
from actors.pacing import Pacer, PacingConfig, PacingState, Priority, RateLimit, VenuePace, Waiting
from actors.snapshot import from_plain
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce
from venues.port import (
    CancelOrder,
    CancelRejected,
    OrderCanceled,
    OrderRejected,
    OutcomeUnknown,
    Query,
    QueryKind,
    RateLimited,
    RejectReason,
    SubmitOrder,
    VenueDown,
)

VENUE = PERP.venue
MS = 1_000_000


def config(*limits: RateLimit, **more: object) -> PacingConfig:
    return PacingConfig({VENUE: VenuePace(limits)}, **more)  # type: ignore[arg-type]


def pacer(*limits: RateLimit, **more: object) -> Pacer:
    return Pacer(config(*limits, **more), PacingState())


# Buckets

WEIGHTS = st.integers(0, 3)
LIMITS = st.builds(
    RateLimit,
    most=st.integers(12, 60),
    window_ns=st.integers(1_000, 100_000),
    is_shared=st.booleans(),
    order=WEIGHTS,
    cancel=WEIGHTS,
    query=WEIGHTS,
    burst=st.sampled_from([D("0.5"), D("0.7"), D(1)]),
)


@given(
    limits=st.lists(LIMITS, min_size=1, max_size=3),
    asked=st.lists(
        st.tuples(st.integers(0, 20_000), st.sampled_from(Priority), st.sampled_from("ab"), st.integers(1, 2)),
        min_size=1,
        max_size=200,
    ),
)
def test_no_window_ever_holds_more_than_the_limit(
    limits: list[RateLimit], asked: list[tuple[int, Priority, str, int]]
) -> None:
    one, now = pacer(*limits), 1_000_000
    sent: list[tuple[int, Priority, str, int]] = []
    for wait, priority, account, count in asked:
        now += wait
        later = one.take(now, VENUE, account, priority, count if priority is Priority.QUERY else 1)
        assert later == 0 or later > now
        if not later:
            sent.append((now, priority, account, count if priority is Priority.QUERY else 1))
    for limit in limits:
        for account in "ab":
            costs = [
                (at, {Priority.CANCEL: limit.cancel, Priority.QUERY: limit.query}.get(priority, limit.order) * count)
                for at, priority, by, count in sent
                if limit.is_shared or by == account
            ]
            for begin, _ in costs:
                assert sum(cost for at, cost in costs if begin <= at < begin + limit.window_ns) <= limit.most


def test_what_is_said_to_be_free_is_free() -> None:
    """The time that a refusal names is the time at which the same command goes, not a nanosecond before."""
    one, now, names = pacer(RateLimit(10, 1_000, burst=D("0.5"))), 5_000, []
    for _ in range(30):
        later = one.take(now, VENUE, ACC, Priority.NEW)
        if later:
            names.append(later - now)
            assert one.take(later - 1, VENUE, ACC, Priority.NEW) == later
            now = later
    # Five at once, two of them for new orders (the reserves keep half, rounded up); then one each 1,000 / 6 ns.
    assert set(names) == {167}


@pytest.mark.parametrize(
    ("priority", "most"), [(Priority.CANCEL, 50), (Priority.HEDGE, 40), (Priority.QUERY, 30), (Priority.NEW, 25)]
)
def test_each_priority_leaves_the_reserves_of_those_before_it(priority: Priority, most: int) -> None:
    """50 of 100 at once: 20 % for cancels alone, 20 % more for hedges, 10 % more for queries."""
    one, sent = pacer(RateLimit(100, SECOND)), 0
    while not one.take(SECOND, VENUE, ACC, priority):
        sent += 1
    assert sent == most
    left = 0
    while not one.take(SECOND, VENUE, ACC, Priority.CANCEL):
        left += 1
    assert left == 50 - most


def test_what_a_limit_does_not_count_it_does_not_hold_up() -> None:
    """Binance counts orders per account, not queries (crypto.md: order weight 0 per IP, 1 per account)."""
    one = pacer(RateLimit(10, SECOND, query=0, cancel=0))
    while not one.take(SECOND, VENUE, ACC, Priority.HEDGE):
        pass
    assert one.take(SECOND, VENUE, ACC, Priority.QUERY, 100) == 0
    assert one.take(SECOND, VENUE, ACC, Priority.CANCEL, 100) == 0


def test_accounts_have_buckets_of_their_own_unless_they_share() -> None:
    for is_shared, expected in ((False, 0), (True, 1)):
        one = pacer(RateLimit(10, SECOND, is_shared=is_shared))
        while not one.take(SECOND, VENUE, "a", Priority.CANCEL):
            pass
        assert bool(one.take(SECOND, VENUE, "b", Priority.CANCEL)) is bool(expected)


def test_a_venue_without_limits_has_none() -> None:
    one = pacer(RateLimit(2, SECOND, query=0, burst=D(1)))
    assert not any(one.take(SECOND, "elsewhere", ACC, Priority.NEW) for _ in range(1_000))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: RateLimit(0, 1), "most"),
        (lambda: RateLimit(10, 0), "window_ns"),
        (lambda: RateLimit(10, 1, order=-1), "order"),
        (lambda: RateLimit(10, 1, burst=D(2)), "burst"),
        (lambda: RateLimit(10, 1, burst=D("NaN")), "burst"),
        (lambda: RateLimit(10, 1, order=6), "burst: 5 of 10 at once, a command may cost 6"),
        (lambda: PacingConfig(cancel_reserve=D("0.6"), hedge_reserve=D("0.4")), "query_reserve"),
        (lambda: PacingConfig(patience_ns=0), "patience_ns"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(make: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()  # type: ignore[operator]


# Refusals for the number of requests


def test_a_refusal_freezes_what_is_new_and_leaves_the_reserves() -> None:
    one = pacer(RateLimit(100, SECOND))
    assert one.take(SECOND, VENUE, ACC, Priority.NEW) == 0
    until = one.refused(SECOND, VENUE)
    assert until == SECOND + 2 * SECOND
    assert one.take(SECOND, VENUE, ACC, Priority.NEW) == until
    assert one.take(SECOND, VENUE, ACC, Priority.QUERY) == until
    # 40 % of the 50 at once are reserved for hedges and cancels, the last 10 for cancels alone.
    hedges = cancels = 0
    while not one.take(SECOND, VENUE, ACC, Priority.HEDGE):
        hedges += 1
    while not one.take(SECOND, VENUE, ACC, Priority.CANCEL):
        cancels += 1
    assert (hedges, cancels) == (10, 10)
    assert one.take(until, VENUE, ACC, Priority.NEW) == 0


def test_refusals_in_a_row_freeze_longer_until_the_venue_takes_something() -> None:
    one = pacer(RateLimit(100, SECOND), backoff_max_ns=8 * SECOND)
    ends, at = [], SECOND
    for _ in range(5):
        until = one.refused(at, VENUE)
        # What is refused meanwhile, a hedge on its reserve, makes it no longer.
        assert one.refused(until - 1, VENUE) == until
        ends.append((until - at) // SECOND)
        at = until
    assert ends == [2, 4, 8, 8, 8]
    one.accepted(at - 1, VENUE)
    assert one.refused(at, VENUE) == at + 8 * SECOND, "frozen still: what was taken proves nothing"
    one.accepted(at + 8 * SECOND, VENUE)
    assert one.refused(at + 8 * SECOND, VENUE) == at + 10 * SECOND


def test_a_ban_lasts_as_long_as_the_venue_says() -> None:
    bench = Bench(config(RateLimit(100, SECOND)))
    bench.tell(RateLimited(bench.now, VENUE, bench.now + 120 * SECOND, is_ban=True, text="banned until"))
    assert bench.incidents() == ["rate_ban"]
    bench.tell(OrderApproved(bench.now, ask()))
    assert bench.out.sent == []
    assert bench.last().status is OrderStatus.CREATED


# Orders that wait

FEW = RateLimit(10, SECOND)
"""Five at once: of them new orders get two, hedges four, cancels all; one more each 167 ms."""


def hedge(request: str) -> OrderRequest:
    return OrderRequest(
        0, request, "s", "b", ACC, PERP.id, Side.SELL, D(1), OrderType.MARKET, tif=TimeInForce.IOC, is_hedge=True
    )


def submits(bench: Bench) -> list[str]:
    ids = {client_id: name for name, client_id in bench.manager.state.requests.items()}
    return [ids[one.client_order_id] for one in bench.out.sent if isinstance(one, SubmitOrder)]


def test_a_new_order_waits_for_its_turn_and_is_sent_with_its_time() -> None:
    bench = Bench(config(FEW))
    for number in range(4):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    assert submits(bench) == ["r0", "r1"]
    assert bench.last().status is OrderStatus.CREATED
    bench.wait(340 * MS)
    assert submits(bench) == ["r0", "r1", "r2", "r3"]
    sent = [one for one in bench.out.sent if isinstance(one, SubmitOrder)]
    assert [one.ts - SECOND for one in sent] == [0, 0, 166_666_667, 333_333_334]
    bench.tell(ack(sent[3]))
    assert bench.status(sent[3]) is OrderStatus.ACCEPTED


def test_what_waited_longer_than_its_patience_is_given_up_not_sent_late() -> None:
    bench = Bench(config(FEW, patience_ns=100 * MS))
    for number in range(4):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    bench.wait(200 * MS)
    assert submits(bench) == ["r0", "r1"]
    last = bench.last()
    assert (last.status, last.reject_reason, last.is_final) == (OrderStatus.EXPIRED, RejectReason.RATE_LIMIT, True)
    assert last.why.startswith("not sent: waited 100000000 ns")
    assert bench.manager.state.pacing.given_up == 2
    assert bench.manager.state.pacing.waiting == {}


def test_only_so_many_new_orders_wait() -> None:
    bench = Bench(config(FEW, queue_max=3))
    for number in range(10):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    assert len(bench.manager.state.pacing.waiting) == 3
    assert bench.last().reject_reason is RejectReason.RATE_LIMIT
    # What reduces risk is never turned away for others.
    bench.tell(OrderApproved(bench.now, hedge("h")))
    assert submits(bench)[-1] == "h"


def test_a_hedge_overtakes_new_orders_that_wait() -> None:
    bench = Bench(config(FEW))
    for number in range(3):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    for number in range(3):
        bench.tell(OrderApproved(bench.now, hedge(f"h{number}")))
    assert submits(bench) == ["r0", "r1", "h0", "h1"]
    bench.wait(340 * MS)
    assert submits(bench) == ["r0", "r1", "h0", "h1", "h2"]


def test_a_new_order_does_not_overtake_one_that_waits() -> None:
    bench = Bench(config(FEW))
    for number in range(3):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    bench.now += 166_666_667
    bench.tell(OrderApproved(bench.now, ask("late")))
    assert submits(bench) == ["r0", "r1"]
    bench.wait(SECOND)
    assert submits(bench) == ["r0", "r1", "r2", "late"]


def test_cancels_have_a_share_of_their_own_and_wait_for_nobody_else() -> None:
    bench = Bench(config(RateLimit(20, SECOND), hedge_patience_ns=SECOND))
    orders = [bench.order(f"r{number}") for number in range(5)]
    for number in range(20):
        bench.tell(OrderApproved(bench.now, hedge(f"h{number}")))
    bench.tell(CancelRequest(bench.now, "r0"))
    bench.tell(CancelRequest(bench.now, "r1"))
    cancels = [one.client_order_id for one in bench.out.sent if isinstance(one, CancelOrder)]
    assert cancels == [orders[0].client_order_id, orders[1].client_order_id]
    bench.tell(CancelRequest(bench.now, "r2"))
    bench.wait(100 * MS)
    # The third cancel found the bucket empty: it goes before the hedges that have waited longer.
    after = [one for one in bench.out.sent if isinstance(one, CancelOrder | SubmitOrder)][-1]
    assert after == CancelOrder(after.ts, *key(orders[2]))


def test_an_order_that_waits_is_cancelled_without_a_word_to_the_venue() -> None:
    bench = Bench(config(FEW))
    for number in range(3):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    sent = len(bench.out.sent)
    bench.tell(CancelRequest(bench.now, "r2"))
    last = bench.last()
    assert (last.request_id, last.status, last.is_final) == ("r2", OrderStatus.CANCELED, True)
    bench.wait(10 * SECOND)
    assert submits(bench) == ["r0", "r1"]
    assert len([one for one in bench.out.sent if isinstance(one, CancelOrder)]) == 0
    assert sent == 2


@pytest.mark.parametrize("what", ["kill", "down"])
def test_what_waits_goes_with_a_kill_and_with_its_venue(what: str) -> None:
    bench = Bench(config(FEW))
    for number in range(3):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    bench.tell(
        KillState(bench.now, KillLevel.CANCEL_ALL, "t", "") if what == "kill" else VenueDown(bench.now, VENUE, "", "x")
    )
    assert bench.manager.state.pacing.waiting == {}
    bench.wait(SECOND)
    assert submits(bench) == ["r0", "r1"]


def test_nothing_is_asked_about_an_order_that_was_not_sent() -> None:
    bench = Bench(config(FEW))
    for number in range(3):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    waiting = next(iter(bench.manager.state.pacing.waiting))
    bench.tell(OutcomeUnknown(bench.now, ACC, PERP.id, waiting, "SubmitOrder", "lost"))
    bench.tell(OutcomeUnknown(bench.now, ACC, "", "", "CancelAll", "lost"))
    assert bench.manager.state.orders[waiting].order.status is OrderStatus.CREATED
    assert waiting not in {one.client_order_id for one in bench.out.sent if isinstance(one, Query)}


def test_queries_are_paced_and_come_later() -> None:
    bench = Bench(config(RateLimit(12, SECOND, burst=D("0.5"), order=0, cancel=0)))
    for number in range(4):
        order = bench.order(f"r{number}")
        bench.tell(OutcomeUnknown(bench.now, *key(order), "SubmitOrder", "timeout"))
    asked = [one for one in bench.out.sent if isinstance(one, Query)]
    assert len(asked) == 2
    bench.wait(2 * SECOND)
    asked = [one for one in bench.out.sent if isinstance(one, Query)]
    assert {one.client_order_id for one in asked if one.kind is QueryKind.ORDER} == {f"bd-{n}" for n in range(1, 5)}
    times = sorted(one.ts for one in asked)
    assert all(sum(begin <= at < begin + SECOND for at in times) <= 12 for begin in times)


def test_a_cancel_refused_for_the_number_of_requests_is_said_again_and_not_asked_about() -> None:
    bench = Bench(config(RateLimit(100, SECOND)))
    order = bench.order()
    bench.tell(ack(order))
    bench.tell(CancelRequest(bench.now, "r1"))
    bench.tell(CancelRejected(bench.now, *key(order), RejectReason.RATE_LIMIT))
    bench.wait(SECOND)
    assert [type(one) for one in bench.out.sent] == [SubmitOrder, CancelOrder, CancelOrder]
    bench.tell(OrderCanceled(bench.now, *key(order), ZERO))
    assert bench.last().is_final


def test_an_order_refused_for_the_number_of_requests_holds_the_next_ones_back() -> None:
    bench = Bench(config(RateLimit(100, SECOND), patience_ns=3 * SECOND))
    order = bench.order()
    bench.tell(OrderRejected(bench.now, *key(order), RejectReason.RATE_LIMIT, "429"))
    bench.tell(OrderApproved(bench.now, ask("r2")))
    bench.tell(OrderApproved(bench.now, hedge("h")))
    assert submits(bench) == ["r1", "h"]
    bench.wait(2 * SECOND)
    assert submits(bench) == ["r1", "h", "r2"]


def test_what_waits_survives_a_snapshot() -> None:
    bench = Bench(config(FEW))
    for number in range(4):
        bench.tell(OrderApproved(bench.now, ask(f"r{number}")))
    plain = json.loads(json.dumps(bench.manager.snapshot()))
    again = Bench(config(FEW))
    again.manager.restore(plain)
    assert again.manager.state == bench.manager.state
    again.wait(SECOND)
    ids = {client_id: name for name, client_id in again.manager.state.requests.items()}
    assert [ids[one.client_order_id] for one in again.out.sent if isinstance(one, SubmitOrder)] == ["r2", "r3"]


def test_a_snapshot_of_before_there_was_pacing_is_read() -> None:
    plain = json.loads(json.dumps(Bench().manager.snapshot()))["state"]
    for name in ("pacing", "strangers", "open_queries"):
        del plain[name]
    assert from_plain(plain, OrderManagerState, "orders").pacing == PacingState()


@given(st.lists(st.tuples(st.sampled_from("nhcw"), st.integers(0, 400)), max_size=60))
def test_every_order_is_sent_once_or_given_up_once_and_in_its_class_in_order(events: list[tuple[str, int]]) -> None:
    bench = Bench(config(RateLimit(12, SECOND), patience_ns=700 * MS, hedge_patience_ns=SECOND, queue_max=5))
    for number, (kind, ms) in enumerate(events):
        if kind == "w":
            bench.wait(ms * MS)
        elif kind == "c" and bench.manager.state.requests:
            bench.tell(CancelRequest(bench.now, next(reversed(bench.manager.state.requests))))
        elif kind in "nh":
            bench.tell(OrderApproved(bench.now, hedge(f"h{number}") if kind == "h" else ask(f"n{number}")))
    bench.wait(3 * SECOND)
    assert bench.manager.state.pacing.waiting == {}
    sent = submits(bench)
    assert len(sent) == len(set(sent))
    for kind in "nh":
        numbers = [int(name[1:]) for name in sent if name[0] == kind]
        assert numbers == sorted(numbers)
    for tracked in bench.manager.state.orders.values():
        assert (tracked.request_id in sent) is (tracked.order.status in (OrderStatus.SENT, OrderStatus.UNKNOWN))
        assert tracked.request_id in sent or tracked.is_final
    times = [one.ts for one in bench.out.sent if isinstance(one, SubmitOrder | CancelOrder)]
    assert all(sum(begin <= at < begin + SECOND for at in times) <= 12 for begin in times)


def test_a_waiting_command_names_when_it_is_next_looked_at() -> None:
    one = pacer(FEW)
    one.wait("a", Waiting(ACC, VENUE, Priority.NEW, 0, 50, 10, 40))
    one.wait("b", Waiting(ACC, VENUE, Priority.CANCEL, 0, 60, 10))
    assert one.next_ns() == 40
    assert [key for key, _ in one.queue()] == ["b", "a"]
    assert one.state.delayed == 2
    assert isinstance(one.config.patience(Priority.HEDGE), int)
    assert Decimal(one.config.patience(Priority.NEW)) == 500 * MS


def test_a_refusal_is_honoured_where_no_limits_are_configured() -> None:
    bench = Bench()
    order = bench.order()
    bench.tell(OrderRejected(bench.now, *key(order), RejectReason.RATE_LIMIT, "429"))
    bench.tell(OrderApproved(bench.now, ask("r2")))
    bench.tell(OrderApproved(bench.now, hedge("h")))
    assert submits(bench) == ["r1", "h"]
    plain = json.loads(json.dumps(bench.manager.snapshot()))
    again = Bench()
    again.manager.restore(plain)
    again.tell(OrderApproved(again.now, ask("r3")))
    assert again.out.sent == []


def test_a_dear_cancel_is_not_starved_by_cheap_hedges() -> None:
    bench = Bench(config(RateLimit(20, SECOND, cancel=5)))
    order = bench.order("r0")
    for number in range(9):
        bench.tell(OrderApproved(bench.now, hedge(f"h{number}")))
    bench.tell(CancelRequest(bench.now, "r0"))
    bench.tell(OrderApproved(bench.now, hedge("late")))
    sent = len(bench.out.sent)
    assert submits(bench) == ["r0", *(f"h{number}" for number in range(7))]
    bench.wait(SECOND // 2)
    assert bench.out.sent[sent] == CancelOrder(bench.out.sent[sent].ts, *key(order))
