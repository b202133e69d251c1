"""Candles: what trades make of them, how intervals join, and a past that ends where the present begins."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.emulator.candles import Candles, PastSettings, end_of, start_of
from sim.emulator.streams import INTERVALS_MS

D = Decimal
MINUTE = 60_000
NOON = int(datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp() * 1_000)


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("interval", "starts", "ends"),
    [
        ("1m", ms(2026, 11, 26, 13, 47), ms(2026, 11, 26, 13, 48)),
        ("15m", ms(2026, 11, 26, 13, 45), ms(2026, 11, 26, 14)),
        ("4h", ms(2026, 11, 26, 12), ms(2026, 11, 26, 16)),
        ("1d", ms(2026, 11, 26), ms(2026, 11, 27)),
        # 2026-11-26 is a Thursday.
        ("1w", ms(2026, 11, 23), ms(2026, 11, 30)),
        ("1M", ms(2026, 11, 1), ms(2026, 12, 1)),
    ],
)
def test_when_candles_begin_and_end(interval: str, starts: int, ends: int) -> None:
    assert start_of(interval, ms(2026, 11, 26, 13, 47, 59)) == starts
    assert end_of(interval, starts) == ends


def test_a_year_of_months_ends_with_december() -> None:
    assert end_of("1M", ms(2026, 12, 1)) == ms(2027, 1, 1)


def test_trades_make_a_candle() -> None:
    candles = Candles()
    for at, price, qty, buys in ((1, "100", "2", True), (2, "103", "1", False), (3, "99", "4", True)):
        candles.trade(NOON + at * 1_000, D(price), D(qty), at, buys)
    [one] = candles.bars("1m", NOON + 5_000, 10)
    assert (one.start_ms, one.end_ms) == (NOON, NOON + MINUTE)
    assert (one.open, one.high, one.low, one.close) == (D(100), D(103), D(99), D(99))
    # 2 x 100 + 1 x 103 + 4 x 99 = 699, bought 2 x 100 + 4 x 99 = 596.
    assert (one.volume, one.quote, one.buy_volume, one.buy_quote) == (D(7), D(699), D(6), D(596))
    assert (one.trades, one.first_id, one.last_id) == (3, 1, 3)


def test_minutes_without_trades_repeat_the_last_close() -> None:
    candles = Candles()
    candles.trade(NOON, D(100), D(1), 1, True)
    candles.trade(NOON + 3 * MINUTE, D(90), D(1), 2, True)
    bars = candles.bars("1m", NOON + 5 * MINUTE, 10)
    assert [(one.open, one.close, one.trades) for one in bars] == [
        (D(100), D(100), 1), (D(100), D(100), 0), (D(100), D(100), 0), (D(90), D(90), 1),
        (D(90), D(90), 0), (D(90), D(90), 0),
    ]  # fmt: skip


def test_which_candles_are_asked_for() -> None:
    candles = Candles()
    for minute in range(10):
        candles.trade(NOON + minute * MINUTE, D(100 + minute), D(1), minute, True)
    now = NOON + 9 * MINUTE

    def opens(**wanted: int) -> list[int]:
        limit = wanted.pop("limit", 500)
        return [int(one.open) for one in candles.bars("1m", now, limit, **wanted)]

    assert opens(limit=3) == [107, 108, 109]
    assert opens(start_ms=NOON + 2 * MINUTE, limit=2) == [102, 103]
    assert opens(end_ms=NOON + 4 * MINUTE, limit=2) == [103, 104]
    assert opens(start_ms=NOON + 2 * MINUTE, end_ms=NOON + 4 * MINUTE) == [102, 103, 104]
    assert opens(limit=0) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 90 * MINUTE), st.integers(1, 50), st.integers(1, 9), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_a_longer_interval_is_its_minutes_joined(trades: list[tuple[int, int, int, bool]]) -> None:
    candles = Candles()
    for number, (at, price, qty, buys) in enumerate(sorted(trades)):
        candles.trade(NOON + at, D(price), D(qty), number, buys)
    now = NOON + 90 * MINUTE
    total = sum(qty for _, _, qty, _ in trades)
    for interval in ("1m", "3m", "15m", "1h", "4h", "1d", "1w", "1M"):
        bars = candles.bars(interval, now, 2_000)
        assert sum(one.volume for one in bars) == total
        assert sum(one.trades for one in bars) == len(trades)
        assert max(one.high for one in bars) == max(price for _, price, _, _ in trades)
        assert min(one.low for one in bars) == min(price for _, price, _, _ in trades)
        assert all(one.end_ms == following.start_ms for one, following in pairwise(bars))
        assert candles.current(interval, now) == bars[-1]
        assert [candles.at(interval, one.start_ms, now) for one in bars] == bars


@pytest.mark.parametrize("interval", [name for name in INTERVALS_MS if name != "1s"])
def test_the_past_leads_to_the_first_price(interval: str) -> None:
    grid = D("0.10")
    candles = Candles(PastSettings("seed", grid, D("0.001"), D(2)))
    candles.move(NOON + 30_000, D("60000.0"))
    bars = candles.bars(interval, NOON + 30_000, 1_500)
    assert len(bars) >= 50
    assert bars[-1].close == D("60000.0")
    for one, following in pairwise(bars):
        assert one.end_ms == following.start_ms
        assert one.close == following.open
    for one in bars[:-1]:
        assert one.low <= min(one.open, one.close) <= max(one.open, one.close) <= one.high
        assert one.low > 0
        assert one.close % grid == 0
        assert 0 < one.buy_volume < one.volume


def test_the_same_seed_has_the_same_past() -> None:
    def past(seed: str) -> list[D]:
        candles = Candles(PastSettings(seed, D("0.1")))
        candles.move(NOON, D(60_000))
        return [one.close for one in candles.bars("1h", NOON, 100)]

    assert past("a") == past("a")
    assert past("a") != past("b")
