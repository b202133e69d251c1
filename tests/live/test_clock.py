"""The market's time: scaled, granted, never going back."""

from fractions import Fraction
from time import monotonic_ns

import pytest

from daemon.live.clock import MarketClock, parse_speed

START = 1_768_492_200_000_000_000


@pytest.mark.parametrize(("numerator", "denominator"), [(1, 1), (10, 1), (1, 2)])
def test_time_runs_as_fast_as_told(numerator: int, denominator: int) -> None:
    anchor = monotonic_ns() - 1_000_000_000
    clock = MarketClock(START, anchor, numerator, denominator)
    before = START + (monotonic_ns() - anchor) * numerator // denominator
    now = clock.now()
    after = START + (monotonic_ns() - anchor) * numerator // denominator
    assert before <= now <= after


def test_time_never_goes_back_however_it_is_set() -> None:
    clock = MarketClock(START, monotonic_ns(), 1)
    first = clock.now()
    clock.set(START - 5_000_000_000, monotonic_ns(), 1, 1)
    assert clock.now() >= first


def test_granted_time_stands_still_between_grants() -> None:
    clock = MarketClock(START, 0, 0)
    assert clock.is_granted
    assert clock.now() == clock.now() == START
    clock.grant(START + 5)
    assert clock.now() == START + 5
    clock.grant(START + 3)
    assert clock.now() == START + 5


def test_how_long_to_sleep() -> None:
    clock = MarketClock(START, monotonic_ns(), 10)
    assert clock.seconds_until(START) == 0.0
    assert 0.0 < clock.seconds_until(clock.now() + 10_000_000_000) <= 1.0
    assert clock.seconds_until(1 << 63) == 3_600.0


def test_what_is_late_is_so_by_the_wall_however_fast_the_market_is() -> None:
    """A watchdog gives a second: 30 s of a market sixty times as fast are half of one, 90 s are more."""
    clock = MarketClock(START, monotonic_ns() - 2_000_000_000, 60)
    now = clock.now()
    late_ns = clock.late_ns(now - 90_000_000_000)
    assert 1_500_000_000 <= late_ns <= 1_500_000_000 + (clock.now() - now) // 60
    assert clock.late_ns(now + 3_600_000_000_000) == 0


def test_nothing_is_late_while_time_is_granted() -> None:
    clock = MarketClock(START, 0, 0)
    assert clock.late_ns(START - 1) == 0


@pytest.mark.parametrize(
    ("text", "speed"), [("1", Fraction(1)), ("0.5", Fraction(1, 2)), ("10", Fraction(10)), ("max", None)]
)
def test_speeds(text: str, speed: Fraction | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "nan", "inf", "1/0", "10000000"])
def test_what_is_no_speed(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a number|not above 0"):
        parse_speed(text)
