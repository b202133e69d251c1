"""How far a venue's clock is from ours: no single message counts, and the desk hears of too much and of its end."""

import pytest

from actors.control import ClockOffset
from daemon.live.clock import MarketClock
from daemon.live.clock_watch import WINDOW_NS, ClockWatch

SECOND = 1_000_000_000
MS = 1_000_000


def offsets(watch: ClockWatch, delays_ms: list[float], skew_ms: float = 0, step_ms: int = 500) -> list[int]:
    """Let a message come each `step_ms`, so long after it happened at a venue whose clock is ahead by `skew_ms`."""
    found = []
    for number, delay in enumerate(delays_ms):
        now = number * step_ms * MS
        offset_ns = watch.note("fut:BTC", now - int((delay - skew_ms) * MS), now)
        if offset_ns is not None:
            found.append(offset_ns // MS)
    return found


@pytest.mark.parametrize(
    ("delays", "skew_ms", "expected"),
    [
        ([5.0] * 45, 0, [-5, -5]),
        # The soonest message tells best: late ones say nothing of the clock.
        ([900.0, 5.0, *[2_000.0] * 43], 0, [-5, -2_000]),
        ([5.0] * 21, 1_500, [1_495]),
        ([5.0] * 21, -1_500, [-1_505]),
        # Fewer than ten messages within a window say nothing.
        ([5.0] * 4, 1_500, []),
    ],
)
def test_the_soonest_message_of_a_window_counts(delays: list[float], skew_ms: float, expected: list[int]) -> None:
    assert offsets(ClockWatch(SECOND), delays, skew_ms) == expected


def test_a_process_that_stood_still_blames_no_clock() -> None:
    watch = ClockWatch(SECOND)
    assert offsets(watch, [5.0] * 20) == []
    # For half a minute it heard nothing; then it hears what is old, quickly, and at last what is new.
    now, found = 40 * SECOND, []
    for late in range(30_000, 0, -1_000):
        found.append(watch.note("fut:BTC", now - late * MS, now))
        now += MS
    for _ in range(20):
        found.append(watch.note("fut:BTC", now - 5 * MS, now))
        now += 600 * MS
    assert [one for one in found if one is not None] == [-5 * MS, -5 * MS]


def test_the_desk_hears_of_too_much_again_and_again_and_of_its_end_once() -> None:
    watch = ClockWatch(SECOND)
    said = [watch.judge(at, "fut", offset) for at, offset in enumerate([0, SECOND, SECOND + 1, -2 * SECOND, 5, 5])]
    assert said == [
        None,
        None,
        ClockOffset(2, "fut", SECOND + 1),
        ClockOffset(3, "fut", -2 * SECOND),
        ClockOffset(4, "fut", 5),
        None,
    ]


def test_spans_of_a_fast_market_are_told_by_the_wall() -> None:
    assert MarketClock(0, 0, 100, 3).wall_ns(1_000) == 30
    assert WINDOW_NS == 10 * SECOND
