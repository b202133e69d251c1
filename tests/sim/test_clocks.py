"""Two clocks: every event once on each, in order, the venue's before the desk's."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import clocks
from sim.clocks import Arrival, ClockStatistics, StoredClocks, TwoClocks, merge_arrivals, two_clocks
from sim.stored import from_bytes, to_bytes
from venues.port import VenueUp


def an_arrival(number, venue_ns, latency):
    return Arrival(venue_ns, venue_ns + latency, VenueUp(venue_ns, f"{number}"))


arrivals = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 50)), max_size=60).map(
    lambda pairs: sorted(
        (an_arrival(number, ns, latency) for number, (ns, latency) in enumerate(pairs)), key=lambda a: a.local_ns
    )
)


@given(arrivals)
def test_everything_happens_once_on_each_clock_in_order(given_arrivals):
    statistics = ClockStatistics()
    ticks = list(two_clocks(given_arrivals, statistics, lookahead_ns=100))
    assert [(t.ns, t.is_local) for t in ticks] == sorted((t.ns, t.is_local) for t in ticks)
    at_venue = [t.message for t in ticks if not t.is_local]
    at_desk = [t.message for t in ticks if t.is_local]
    assert sorted(map(repr, at_venue)) == sorted(map(repr, at_desk))
    assert at_desk == [a.message for a in given_arrivals]
    assert statistics.late == 0
    for arrival in given_arrivals:
        assert ticks.index(next(t for t in ticks if t.message is arrival.message and not t.is_local)) < ticks.index(
            next(t for t in ticks if t.message is arrival.message and t.is_local)
        )


def test_a_venue_time_before_the_look_ahead_is_counted_and_happens_at_once():
    statistics = ClockStatistics()
    stream = [an_arrival(1, 1000, 0), an_arrival(2, 1200, 0), an_arrival(3, 100, 1200)]
    ticks = list(two_clocks(stream, statistics, lookahead_ns=100))
    assert statistics.late == 1
    assert [t.ns for t in ticks] == sorted(t.ns for t in ticks)


@given(st.lists(arrivals, max_size=4))
def test_merging_keeps_each_stream_and_the_order_of_time(streams):
    merged = list(merge_arrivals(streams))
    assert [a.local_ns for a in merged] == sorted(a.local_ns for s in streams for a in s)
    for stream in streams:
        kept = [a for a in merged if any(a is b for b in stream)]
        assert kept == stream


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Let a few arrivals fill a batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocks, "_BATCH", 16)
        yield


@given(arrivals, st.integers(0, 130))
def test_stored_clocks_go_on_with_the_arrivals_that_follow(given_arrivals, taken):
    """As a recorded market does: what was read is read past."""
    whole = list(two_clocks(given_arrivals, ClockStatistics(), lookahead_ns=100))
    first, statistics = TwoClocks(iter(given_arrivals), ClockStatistics(), 100), ClockStatistics()
    before = list(islice(iter(first), taken))
    found = from_bytes(to_bytes(first.store()), StoredClocks)
    second = TwoClocks(islice(given_arrivals, found.arrivals, None), statistics, 100)
    second.restore(found)
    assert before + list(second) == whole
    assert statistics.arrivals == len(given_arrivals)
