"""Rate pools: who may go, when, and what venues say about it. Limits of Binance: crypto.md C4, their "General info"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.net.errors import LimitError
from venues.net.limits import PoolRule, Priority, RatePools

S = 1_000_000_000
WEIGHT = PoolRule("weight", 2_400, 60 * S, "weight", "x-mbx-used-weight-1m")
ORDERS = PoolRule("orders", 300, 10 * S, "orders", "x-mbx-order-count-10s")


def drained(priority: Priority, now_ns: int = 0) -> tuple[RatePools, int]:
    """Pools from which that class has taken one at a time until it was told to wait."""
    pools, taken = RatePools([ORDERS]), 0
    while pools.take(priority, {"orders": 1}, now_ns) is None:
        taken += 1
    return pools, taken


@pytest.mark.parametrize(
    ("priority", "share"),
    [(Priority.CANCEL, 300), (Priority.HEDGE, 285), (Priority.QUERY, 255), (Priority.NEW, 225)],
)
def test_each_class_has_its_share(priority, share):
    assert drained(priority)[1] == share


def test_what_new_orders_leave_is_there_for_hedges_and_cancels():
    pools, _ = drained(Priority.NEW)
    assert pools.take(Priority.HEDGE, {"orders": 60}, 0) is None
    assert pools.take(Priority.HEDGE, {"orders": 1}, 0) == 10 * S
    assert pools.take(Priority.CANCEL, {"orders": 15}, 0) is None
    assert pools.take(Priority.CANCEL, {"orders": 1}, 0) == 10 * S


def test_tokens_come_back_an_interval_after_they_were_taken():
    pools = RatePools([ORDERS])
    assert pools.take(Priority.CANCEL, {"orders": 200}, 1 * S) is None
    assert pools.take(Priority.CANCEL, {"orders": 100}, 4 * S) is None
    assert pools.take(Priority.CANCEL, {"orders": 150}, 5 * S) == 11 * S
    assert pools.take(Priority.CANCEL, {"orders": 250}, 5 * S) == 14 * S
    assert pools.take(Priority.CANCEL, {"orders": 200}, 11 * S) is None
    assert pools.take(Priority.CANCEL, {"orders": 1}, 11 * S) == 14 * S


def test_all_pools_or_none():
    pools = RatePools([WEIGHT, ORDERS])
    assert pools.take(Priority.CANCEL, {"orders": 300}, 0) is None
    assert pools.take(Priority.CANCEL, {"weight": 5, "orders": 1}, 0) == 10 * S
    assert [state.used for state in pools.state(0)] == [0, 300]


def test_what_the_venue_says_counts_where_it_is_more():
    pools = RatePools([WEIGHT])
    assert pools.take(Priority.QUERY, {"weight": 40}, 0) is None
    pools.note_headers({"x-mbx-used-weight-1m": "2035"}, now_ns=1 * S, sent_ns=0)
    assert pools.state(1 * S)[0].used == 2_035
    assert pools.take(Priority.QUERY, {"weight": 5}, 1 * S) is None
    assert pools.take(Priority.QUERY, {"weight": 1}, 2 * S) == 61 * S
    pools.note_used("weight", 6, now_ns=3 * S, sent_ns=3 * S - 1)
    assert pools.take(Priority.QUERY, {"weight": 1_000}, 3 * S) is None


def test_requests_on_the_way_are_added_to_what_the_venue_says():
    pools = RatePools([WEIGHT])
    for at_s in (1, 2, 3):
        assert pools.take(Priority.QUERY, {"weight": 100}, at_s * S) is None
    pools.note_used("weight", 1_100, now_ns=4 * S, sent_ns=1 * S)
    assert pools.state(4 * S)[0].used == 1_100 + 200


def test_our_own_count_holds_where_the_venue_says_less():
    pools = RatePools([ORDERS])
    assert pools.take(Priority.CANCEL, {"orders": 290}, 0) is None
    pools.note_used("orders", 3, now_ns=1 * S)
    assert pools.take(Priority.CANCEL, {"orders": 11}, 1 * S) == 10 * S


@pytest.mark.parametrize("header", ["", "x", "-5", "1e3", "\uff11\uff12", "9" * 5_000])
def test_a_header_that_is_no_number_says_nothing(header):
    pools = RatePools([WEIGHT])
    pools.note_headers({"x-mbx-used-weight-1m": header}, 0)
    assert pools.state(0)[0].used == 0


def test_a_frozen_pool_stops_what_costs_something_there():
    pools = RatePools([WEIGHT, ORDERS])
    pools.freeze(7 * S, "orders")
    pools.freeze(3 * S, "orders")
    assert pools.take(Priority.NEW, {"orders": 1}, 1 * S) == 7 * S
    assert pools.take(Priority.CANCEL, {"weight": 1, "orders": 0}, 1 * S) is None
    assert pools.take(Priority.NEW, {"orders": 1}, 7 * S) is None
    pools.freeze(9 * S)
    assert pools.take(Priority.CANCEL, {"weight": 1}, 8 * S) == 9 * S


def test_a_ban_stops_everything_and_is_never_shortened():
    pools = RatePools([WEIGHT])
    pools.ban(120 * S)
    pools.ban(60 * S)
    assert pools.take(Priority.CANCEL, {}, 119 * S) == 120 * S
    assert pools.state(119 * S)[0].left == 0
    assert pools.take(Priority.CANCEL, {}, 120 * S) is None
    assert (pools.granted, pools.refused) == (1, 1)


def test_a_clock_set_back_gives_nothing_early():
    pools = RatePools([ORDERS])
    assert pools.take(Priority.CANCEL, {"orders": 200}, 100 * S) is None
    assert pools.take(Priority.CANCEL, {"orders": 100}, 50 * S) is None
    assert pools.take(Priority.CANCEL, {"orders": 1}, 60 * S) == 110 * S


@pytest.mark.parametrize("costs", [{"nobody": 1}, {"orders": -1}, {"orders": 226}])
def test_a_cost_that_can_never_be_granted_is_an_error(costs):
    with pytest.raises(LimitError):
        RatePools([ORDERS]).take(Priority.NEW, costs, 0)


@pytest.mark.parametrize(
    "rules",
    [[ORDERS, ORDERS], [PoolRule("none", 0, S)], [PoolRule("never", 1, 0)]],
)
def test_rules_that_make_no_sense_are_refused(rules):
    with pytest.raises(LimitError):
        RatePools(rules)


@pytest.mark.parametrize("shares", [{}, dict.fromkeys(Priority, 0), dict.fromkeys(Priority, 101)])
def test_every_class_needs_a_share(shares):
    with pytest.raises(LimitError):
        RatePools([ORDERS], shares)


_STEPS = st.lists(
    st.tuples(st.sampled_from(Priority), st.integers(1, 30), st.integers(0, 4 * S), st.none() | st.integers(0, 60)),
    max_size=200,
)


@given(steps=_STEPS)
def test_no_window_however_aligned_holds_more_than_the_limit(steps):
    rule = PoolRule("orders", 50, 10 * S)
    pools, now_ns, taken = RatePools([rule]), 0, []
    for priority, tokens, pause_ns, told in steps:
        now_ns += pause_ns
        if told is not None:
            pools.note_used("orders", told, now_ns)
        retry_ns = pools.take(priority, {"orders": tokens}, now_ns)
        if retry_ns is None:
            taken.append((now_ns, tokens))
        else:
            assert retry_ns > now_ns
    for start_ns, _ in taken:
        assert sum(tokens for at_ns, tokens in taken if start_ns <= at_ns < start_ns + rule.interval_ns) <= rule.limit


@given(steps=_STEPS, priority=st.sampled_from(Priority), tokens=st.integers(1, 30))
def test_at_the_time_named_it_is_granted_and_not_before(steps, priority, tokens):
    pools, now_ns = RatePools([PoolRule("orders", 50, 10 * S)]), 0
    for other, some, pause_ns, told in steps:
        now_ns += pause_ns
        if told is not None:
            pools.note_used("orders", told, now_ns)
        pools.take(other, {"orders": some}, now_ns)
    retry_ns = pools.take(priority, {"orders": tokens}, now_ns)
    if retry_ns is not None:
        assert pools.take(priority, {"orders": tokens}, retry_ns - 1) == retry_ns
        assert pools.take(priority, {"orders": tokens}, retry_ns) is None
