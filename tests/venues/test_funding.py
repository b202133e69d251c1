"""Funding: premium, average, rate, interval, who pays at the instant, when a trade has earned its cost."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.errors import BadValueError, RuleError
from venues.rules.funding import (
    RateLimits,
    annual_rate,
    binance_funding_rate,
    bybit_funding_rate,
    funding_payment,
    inverse_funding_payment,
)
from venues.rules.funding_interval import next_interval
from venues.rules.funding_stamps import (
    FundingLeg,
    HeldSide,
    HoldingRules,
    break_even,
    expected_funding,
    is_ambiguous,
    next_stamp,
    paid_share,
    stamp_count,
)
from venues.rules.instants import HOUR_NS, instant_ns
from venues.rules.premium_index import BINANCE_AVERAGE, BYBIT_AVERAGE, impact_notional, impact_price, premium_index

D = Decimal
LONG, SHORT = HeldSide.LONG, HeldSide.SHORT
MINUTE_NS = HOUR_NS // 60
rates = st.decimals("-0.01", "0.01", places=8)


def at(text: str) -> int:
    return instant_ns(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC))


# Rate

# Binance FAQ 360033525031 (first row), the others follow from the formula: facts/crypto.md B4. In per cent.
BINANCE = [
    ("0.0429", 8, "0.0100"),
    ("0.0429", 4, "0.0050"),
    ("0.0429", 2, "0.0025"),
    ("0.0429", 1, "0.00125"),
    ("0.10", 8, "0.05"),
    ("0.10", 4, "0.025"),
    ("0.10", 1, "0.00625"),
    ("-0.10", 8, "-0.05"),
    ("0.06", 8, "0.01"),
    ("-0.04", 8, "0.01"),
    ("0.07", 8, "0.02"),
    ("5", 8, "0.3"),
    ("-5", 1, "-0.3"),
]


@pytest.mark.parametrize(("average", "hours", "rate"), BINANCE)
def test_binance_divides_premium_and_interest_by_the_intervals_of_eight_hours(average, hours, rate):
    found = binance_funding_rate(D(average) / 100, hours, D("0.0001"), D("0.003"), D("-0.003"))
    assert found == D(rate) / 100


# Bybit help page; interest 0.01 %, 0.005 % and 0.00125 % (facts/crypto.md G3). In per cent.
BYBIT = [
    ("0.1", 8, "0.05"),
    ("0.02", 8, "0.01"),
    ("0.02", 4, "0.005"),
    ("0.02", 1, "0.00125"),
    ("0.1", 1, "0.05"),
    ("-0.1", 4, "-0.05"),
    ("1", 8, "0.375"),
]


@pytest.mark.parametrize(("average", "hours", "rate"), BYBIT)
def test_bybit_scales_the_interest_only(average, hours, rate):
    found = bybit_funding_rate(D(average) / 100, hours, D("0.0001"), D("0.00375"), D("-0.00375"))
    assert found == D(rate) / 100


def test_a_contract_without_interest_has_its_dead_zone_around_zero():
    assert binance_funding_rate(D("0.0004"), 8, D(0), D("0.02"), D("-0.02")) == 0


@given(rates, st.sampled_from([1, 2, 4, 8]))
def test_a_rate_is_the_published_formula_within_its_limits(average, hours):
    cap = D("0.003")
    published = average + max(D("-0.0005"), min(D("0.0005"), D("0.0001") - average))
    found = binance_funding_rate(average, hours, D("0.0001"), cap, -cap)
    assert found == max(-cap, min(cap, published * hours / 8))


@pytest.mark.parametrize("rate", [binance_funding_rate, bybit_funding_rate])
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((D("NaN"), 8, D(0), D(1), D(-1)), "premium_average"),
        ((D("-Infinity"), 8, D(0), D(1), D(-1)), "premium_average"),
        ((D(0), 8, D(0), D("NaN"), D(-1)), "cap"),
        ((D(0), 8, D(0), D(1), D("sNaN")), "floor"),
        ((D(0), 0, D(0), D(1), D(-1)), "interval_hours"),
        ((D(0), 5, D(0), D(1), D(-1)), "interval_hours"),
        ((D(0), 8, D(0), D(-1), D(1)), "floor"),
    ],
)
def test_a_rate_refuses_by_name(rate, arguments, field):
    with pytest.raises(BadValueError) as refused:
        rate(*arguments)
    assert refused.value.field == field


def test_the_interest_is_named_as_the_venue_names_it():
    for rate, field in ((binance_funding_rate, "interest_rate"), (bybit_funding_rate, "interest_rate_8h")):
        with pytest.raises(BadValueError) as refused:
            rate(D(0), 8, D("NaN"), D(1), D(-1))
        assert refused.value.field == field


# FAQ 360033525031: BTC and ETH 0.75 x 0.4 %, 0.5 % symbols, DOGE 0.65 %; all others 2 %.
@pytest.mark.parametrize(
    ("mmr", "cap"), [("0.004", "0.003"), ("0.005", "0.00375"), ("0.0065", "0.004875"), (None, "0.02")]
)
def test_limits_follow_the_maintenance_rate_of_majors(mmr, cap):
    assert RateLimits().cap(None if mmr is None else D(mmr)) == D(cap)


# Premium


# 20x, 125x and 150x: facts/crypto.md B3.
@pytest.mark.parametrize(("leverage", "notional"), [(20, 4000), (125, 25000), (150, 30000)])
def test_the_impact_notional_is_two_hundred_over_the_margin_rate(leverage, notional):
    assert impact_notional(leverage) == notional


def test_the_impact_price_is_the_average_of_walking_the_book_for_a_value():
    levels = [(D(100), D(1)), (D(110), D(1)), (D(200), D(5))]
    assert impact_price(levels, D(100)) == 100
    # 100 at 100, 110 at 110, 200 at 200: 410 for 3 units
    assert impact_price(levels, D(410)) == D(410) / 3
    assert impact_price([(D(100), D(10))], D(100), multiplier=D("0.1")) == 100
    with pytest.raises(BadValueError, match="levels"):
        impact_price(levels, D(1211))


def test_the_premium_counts_only_what_lies_beyond_the_impact_prices():
    assert premium_index(D(101), D(102), D(100)) == D("0.01")
    assert premium_index(D(97), D(98), D(100)) == D("-0.02")
    assert premium_index(D(99), D(101), D(100)) == 0
    with pytest.raises(BadValueError) as refused:
        premium_index(D(101), D(101), D(100))
    assert refused.value.field == "impact_ask"


def test_averages_weight_the_latest_most_except_hourly_at_binance():
    samples = [D(1), D(2), D(3)]
    assert BINANCE_AVERAGE.of(samples, 8) == D(14) / 6
    assert BINANCE_AVERAGE.of(samples, 2) == D(14) / 6
    assert BINANCE_AVERAGE.of(samples, 1) == 2
    assert BYBIT_AVERAGE.of(samples, 1) == D(14) / 6
    assert [BINANCE_AVERAGE.sample_count(hours) for hours in (8, 4, 1)] == [5760, 2880, 720]
    assert [BYBIT_AVERAGE.sample_count(hours) for hours in (8, 4)] == [480, 240]
    with pytest.raises(BadValueError) as refused:
        BINANCE_AVERAGE.of([D(1), D("NaN")], 8)
    assert refused.value.field == "premium_samples[1]"


@pytest.mark.parametrize("hours", [1, 8])
@pytest.mark.parametrize("known", [0, 1, 300])
def test_a_forecast_is_the_average_with_the_rest_filled_in(hours, known):
    samples = [D(index) / 10**6 for index in range(known)]
    rest = [D("0.0002")] * (BINANCE_AVERAGE.sample_count(hours) - known)
    forecast = BINANCE_AVERAGE.forecast(samples, hours, D("0.0002"))
    assert abs(forecast - BINANCE_AVERAGE.of(samples + rest, hours)) < D("1E-20")
    assert BINANCE_AVERAGE.forecast(samples + rest, hours, D(9)) == BINANCE_AVERAGE.of(samples + rest, hours)


# Interval

NEW, OLD = at("2026-03-01 08:00"), at("2025-05-02 07:00")


@pytest.mark.parametrize(
    ("hours", "settled", "when", "after"),
    [
        (8, ["0.003"], NEW, 1),
        (4, ["-0.003"], NEW, 1),
        (4, ["0.003", "0.0029"], NEW, 4),
        (8, ["0.003"], at("2025-05-02 08:00"), 1),
        (8, ["0.003"], OLD, 8),
        (2, ["0.003"], NEW, 2),
        (1, ["0.00025"] * 16, NEW, 4),
        (1, ["-0.00025"] * 16, at("2026-01-02 12:00"), 4),
        (1, ["0.00025"] * 16, at("2026-01-02 11:00"), 1),
        (1, ["0.00025"] * 15, NEW, 1),
        (1, ["0.001"] + ["0.0001"] * 15, NEW, 1),
        (1, ["0.001"] + ["0.0001"] * 16, NEW, 4),
        (1, ["0.003"], NEW, 1),
    ],
)
def test_intervals_switch_at_the_limits_and_back_after_a_calm(hours, settled, when, after):
    assert next_interval(hours, [D(rate) for rate in settled], D("0.003"), D("-0.003"), when) == after


# Payment


@pytest.mark.parametrize(
    ("qty", "rate", "amount"), [("2", "0.0001", "-12"), ("2", "-0.0001", "12"), ("-2", "0.0001", "12"), ("0", "1", "0")]
)
def test_longs_pay_a_positive_rate(qty, rate, amount):
    assert funding_payment(D(qty), D(60_000), D(rate)) == D(amount)


def test_inverse_contracts_pay_in_base():
    # 100 contracts of 100 USD at 50,000 are 0.2 BTC
    assert inverse_funding_payment(D(100), D(50_000), D("0.0001"), D(100)) == D("-0.00002")


@given(st.lists(st.decimals("-100", "100", places=3), max_size=20), st.decimals("1", "100000", places=2), rates)
def test_funding_sums_to_zero_between_longs_and_shorts(held, mark, rate):
    both = [*held, -sum(held, D(0))]
    assert sum(funding_payment(qty, mark, rate) for qty in both) == 0


STAMP = at("2026-01-15 08:00")


@pytest.mark.parametrize(
    ("opened", "closed", "share"),
    [
        (STAMP - 1, None, 1),
        (STAMP, None, 0),
        (STAMP - 1, STAMP, 1),
        (STAMP - 2, STAMP - 1, 0),
        (STAMP - 9 * HOUR_NS, STAMP + 1, 1),
        (STAMP, STAMP, 0),
    ],
)
def test_the_holder_at_the_instant_pays_in_full(opened, closed, share):
    assert paid_share(opened, closed, STAMP, 8) == share


def test_a_venue_that_works_pro_rata_charges_the_time_held():
    rules = HoldingRules(is_pro_rata=True)
    assert paid_share(STAMP - 2 * HOUR_NS, None, STAMP, 8, rules) == D("0.25")
    assert paid_share(STAMP - 9 * HOUR_NS, STAMP - 4 * HOUR_NS, STAMP, 8, rules) == D("0.5")
    assert paid_share(STAMP, None, STAMP, 8, rules) == 0


def test_fifteen_seconds_around_the_stamp_are_ambiguous():
    second = 1_000_000_000
    assert is_ambiguous(STAMP + 15 * second, None, STAMP)
    assert is_ambiguous(STAMP - HOUR_NS, STAMP - 15 * second, STAMP)
    assert not is_ambiguous(STAMP + 16 * second, None, STAMP)


# facts/execution.md 4.7: opened 03:30, held 12 h; opened 03:30, closed 03:59.
def test_a_holding_is_paid_by_its_stamps_not_its_hours():
    opened = at("2026-01-15 03:30")
    legs = [FundingLeg(D("0.0002"), 4, SHORT), FundingLeg(D("-0.00001"), 1, LONG)]
    assert stamp_count(opened, opened + 12 * HOUR_NS, 4) == 3
    assert stamp_count(opened, opened + 12 * HOUR_NS, 1) == 12
    assert expected_funding(legs, opened, opened + 12 * HOUR_NS) == D("0.00072")
    assert expected_funding(legs, opened, opened + 29 * MINUTE_NS) == 0
    assert next_stamp(opened, 4) == at("2026-01-15 04:00")
    assert next_stamp(at("2026-01-15 04:00"), 8) == at("2026-01-15 08:00")


@pytest.mark.parametrize(("rate", "hours", "apr"), [("0.0001", 8, "0.1095"), ("0.00005", 4, "0.1095")])
def test_annual_rates_compare_intervals(rate, hours, apr):
    assert annual_rate(D(rate), hours) == D(apr)


def test_settlements_of_four_years_lie_on_the_grid(data_dir):
    # BTCUSDT 2020-2023; the file's clock is UTC+3, its stamps some milliseconds late.
    path = data_dir / "funding" / "BTC-USDT_binance_2020-01-01_2024-01-01_funding_history.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    stamps = [instant_ns(datetime.fromisoformat(f"{row[1]}+03:00")) for row in rows]
    on_grid = [next_stamp(stamp - HOUR_NS, 8) for stamp in stamps]
    assert max(stamp - due for stamp, due in zip(stamps, on_grid, strict=True)) < 1_000_000_000
    assert len(set(on_grid)) == len(rows) == stamp_count(on_grid[0] - 1, on_grid[-1], 8)
    # 0.3 % was the limit of its first bracket's 0.4 %
    assert all(abs(D(row[2])) <= RateLimits().cap(D("0.004")) for row in rows)


# Break-even


def legs(*rows):
    return [FundingLeg(D(rate), hours, side) for rate, hours, side in rows]


BREAK_EVEN = [
    # zirodelta example: 4 bp a stamp against 23 bp; the sixth comes 47.5 h after 00:30
    (legs(("0.0001", 8, LONG), ("0.0005", 8, SHORT)), "23", "2026-01-15 00:30", (6, "47.5")),
    # entered exactly at a stamp: that one does not count
    (legs(("0.0002", 8, SHORT)), "4", "2026-01-15 08:00", (2, "16")),
    # negative rates: the long receives
    (legs(("-0.0001", 1, LONG)), "3", "2026-01-15 00:45", (3, "2.25")),
    # hourly cost between the stamps that earn: reached at a stamp of the slow leg
    (legs(("0.001", 8, SHORT), ("0.00001", 1, LONG)), "19", "2026-01-15 00:00", (24, "24")),
    # a losing trade may still reach a small cost before it loses
    (legs(("0.001", 8, SHORT), ("0.0002", 1, LONG)), "8", "2026-01-15 07:30", (1, "0.5")),
    (legs(("0.001", 8, SHORT), ("0.0002", 1, LONG)), "9", "2026-01-15 07:30", None),
    (legs(("0.0001", 8, LONG)), "1", "2026-01-15 00:00", None),
    (legs(("0.0001", 8, LONG), ("0.0001", 8, SHORT)), "1", "2026-01-15 00:00", None),
    (legs(("0.0001", 8, LONG)), "0", "2026-01-15 00:00", (0, "0")),
]


@pytest.mark.parametrize(("given_legs", "cost", "entry", "expected"), BREAK_EVEN)
def test_break_even_counts_distinct_stamps_after_entry(given_legs, cost, entry, expected):
    found = break_even(given_legs, D(cost), at(entry))
    assert (None if found is None else (found.stamps, found.hours)) == (
        None if expected is None else (expected[0], D(expected[1]))
    )


@given(
    st.lists(st.builds(FundingLeg, rates, st.sampled_from([1, 2, 4, 8]), st.sampled_from(HeldSide)), min_size=1),
    st.decimals("0.01", "30", places=2),
    st.integers(0, 48 * 60),
)
def test_break_even_is_what_counting_stamp_by_stamp_finds(some_legs, cost, minutes):
    entry = at("2026-01-15 00:00") + minutes * MINUTE_NS
    found = break_even(some_legs, cost, entry)
    earned, stamps, hour = D(0), 0, entry // HOUR_NS
    for _ in range(24 * 20):
        hour += 1
        due = [leg for leg in some_legs if hour % leg.interval_hours == 0]
        earned += sum((leg.received for leg in due), D(0))
        stamps += bool(due)
        if due and earned >= cost / 10_000:
            assert found is not None
            assert (found.stamps, found.at_ns) == (stamps, hour * HOUR_NS)
            return
    assert found is None or found.at_ns > hour * HOUR_NS


@pytest.mark.parametrize(
    ("given_legs", "cost", "field"),
    [
        ([], "1", "legs"),
        (legs(("NaN", 8, LONG)), "1", "legs[0].rate"),
        (legs(("1", 8, LONG), ("1", 7, LONG)), "1", "legs[1].interval_hours"),
        (legs(("1", 8, LONG)), "-1", "cost_bps"),
    ],
)
def test_break_even_refuses_by_name(given_legs, cost, field):
    with pytest.raises(RuleError) as refused:
        break_even(given_legs, D(cost), STAMP)
    assert refused.value.field == field
