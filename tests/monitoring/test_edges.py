"""What the edges note of themselves, and that its memory is bounded."""

import pytest

from daemon.metrics.edges import ALARM_NS, API_BOUNDS, DISPATCH_BOUNDS, SLOW_NS, EdgeStats

MS = 1_000_000


@pytest.mark.parametrize(
    ("ns", "inputs", "counted", "slow", "alarming"),
    [
        (5_000, 0, 0, 0, 0),
        (5_000, 1, 1, 0, 0),
        (SLOW_NS - 1, 1, 1, 0, 0),
        (SLOW_NS, 1, 1, 1, 0),
        # Many inputs in one go are not one slow handler.
        (SLOW_NS, 2, 1, 0, 0),
        (ALARM_NS, 100, 1, 0, 1),
        (ALARM_NS, 1, 1, 1, 1),
    ],
)
def test_slow_dispatches(ns, inputs, counted, slow, alarming):
    edges = EdgeStats()
    edges.note_dispatch(ns, inputs)
    assert sum(edges.dispatches.counts) == counted
    assert (edges.slow_dispatches, edges.alarming_dispatches) == (slow, alarming)


def test_buckets_reach_from_ten_microseconds_to_a_second():
    assert (DISPATCH_BOUNDS[0], DISPATCH_BOUNDS[-1]) == (10_000, 1_000 * MS)
    assert list(DISPATCH_BOUNDS) == sorted(DISPATCH_BOUNDS)
    assert [bound / 1e9 for bound in API_BOUNDS] == [0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]


def test_requests_count_by_outcome_and_share_a_venue_s_latency():
    edges = EdgeStats()
    edges.note_request("v", "submit", 10 * MS)
    edges.note_request("v", "submit", 60 * MS, is_ok=False)
    assert edges.api_requests == {("v", "submit", "ok"): 1, ("v", "submit", "failed"): 1}
    assert edges.api_latency["v"].counts[:3] == [1, 0, 1]
    assert edges.api_latency["v"].total == 70 * MS


def test_what_is_no_longer_known_is_forgotten():
    edges = EdgeStats()
    edges.note_dead_man("a", 5)
    edges.note_adl_rank("a", "v:X", 3)
    assert (edges.dead_men_ns, edges.adl_ranks) == ({"a": 5}, {("a", "v:X"): 3})
    edges.note_dead_man("a", None)
    edges.note_adl_rank("a", "v:X", None)
    edges.note_dead_man("a", None)
    assert (edges.dead_men_ns, edges.adl_ranks) == ({}, {})


def test_names_from_outside_are_bounded():
    edges = EdgeStats()
    for number in range(1_000):
        edges.note_admin_call("view", f"method{number}")
        edges.note_edge_restart(f"edge{number}")
    assert len(edges.admin_calls) == len(edges.edge_restarts) == 65
    assert edges.admin_calls["view", "other"] == edges.edge_restarts["other"] == 936
