"""The venue's clock as seen through round trips. Every expectation is arithmetic on the samples shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.net.clock import ClockOffset

MS = 1_000_000


def test_the_offset_is_the_middle_of_the_shortest_round_trip():
    clock = ClockOffset(resolution_ns=0, drift_ppm=0)
    clock.note(sent_ns=1_000 * MS, server_ns=1_150 * MS, received_ns=1_200 * MS)
    assert (clock.offset_ns, clock.error_ns(1_200 * MS)) == (50 * MS, 100 * MS)
    clock.note(sent_ns=2_000 * MS, server_ns=2_065 * MS, received_ns=2_010 * MS)
    assert (clock.offset_ns, clock.error_ns(2_010 * MS)) == (60 * MS, 5 * MS)
    clock.note(sent_ns=3_000 * MS, server_ns=3_090 * MS, received_ns=3_100 * MS)
    assert (clock.offset_ns, clock.server_ns(0)) == (60 * MS, 60 * MS)


def test_a_stamp_rounded_down_to_milliseconds_is_half_a_millisecond_late():
    clock = ClockOffset(resolution_ns=MS, drift_ppm=0)
    clock.note(sent_ns=0, server_ns=7 * MS, received_ns=4 * MS)
    assert clock.offset_ns == 7 * MS + MS // 2 - 2 * MS
    assert clock.error_ns(4 * MS) == 2 * MS + MS // 2


def test_an_old_sample_is_worth_less_and_gives_way():
    clock = ClockOffset(resolution_ns=0, drift_ppm=100)
    clock.note(sent_ns=0, server_ns=1 * MS, received_ns=2 * MS)
    hour_ns = 3_600_000 * MS
    assert clock.error_ns(hour_ns + 2 * MS) == 1 * MS + 360 * MS
    clock.note(sent_ns=hour_ns, server_ns=hour_ns + 20 * MS, received_ns=hour_ns + 40 * MS)
    assert clock.error_ns(hour_ns + 40 * MS) == 20 * MS


def test_only_the_latest_samples_count():
    clock = ClockOffset(samples_max=2, resolution_ns=0, drift_ppm=0)
    for at, round_trip in ((0, 2), (1_000, 10), (2_000, 20)):
        clock.note(at * MS, (at + round_trip // 2) * MS, (at + round_trip) * MS)
    assert clock.error_ns(2_020 * MS) == 5 * MS


def test_a_clock_that_was_set_makes_all_before_forgotten():
    clock = ClockOffset(resolution_ns=0, drift_ppm=0)
    clock.note(sent_ns=0, server_ns=1 * MS, received_ns=2 * MS)
    clock.note(sent_ns=10_000 * MS, server_ns=5_001 * MS, received_ns=10_002 * MS)
    assert (clock.offset_ns, clock.steps) == (-5_000 * MS, 1)


def test_an_answer_from_before_the_question_is_refused():
    clock = ClockOffset()
    clock.note(sent_ns=10 * MS, server_ns=11 * MS, received_ns=9 * MS)
    assert (clock.is_known, clock.refused) == (False, 1)


@pytest.mark.parametrize("ask", [lambda c: c.offset_ns, lambda c: c.error_ns(0), lambda c: c.server_ns(0)])
def test_an_unknown_time_is_no_time(ask):
    with pytest.raises(LookupError):
        ask(ClockOffset())


_DELAYS = st.integers(min_value=0, max_value=2_000 * MS)


@given(
    offset_ns=st.integers(min_value=-(10**12), max_value=10**12),
    trips=st.lists(
        st.tuples(_DELAYS, _DELAYS, st.integers(min_value=0, max_value=10_000 * MS)), min_size=1, max_size=60
    ),
)
def test_the_truth_is_always_within_the_error(offset_ns, trips):
    clock = ClockOffset(samples_max=8)
    now_ns = 1_700_000_000_000 * MS
    for there_ns, back_ns, pause_ns in trips:
        sent_ns, now_ns = now_ns, now_ns + there_ns + back_ns
        server_ns = (sent_ns + there_ns + offset_ns) // MS * MS
        clock.note(sent_ns, server_ns, now_ns)
        now_ns += pause_ns
        assert abs(clock.offset_ns - offset_ns) <= clock.error_ns(now_ns)
    assert clock.steps == 0
