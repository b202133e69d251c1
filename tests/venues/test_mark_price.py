"""Mark prices of perpetual and delivery contracts, and the price a delivery contract settles at."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.errors import BadValueError, OutsideTableError
from venues.rules.instants import instant_ns
from venues.rules.mark_price import (
    basis_average,
    basis_seconds,
    delivery_mark_price,
    delivery_price,
    delivery_seconds,
    estimated_delivery_price,
    perpetual_mark_price,
)

D = Decimal
prices = st.decimals("50000", "70000", places=2)


def ns(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return instant_ns(datetime(year, month, day, hour, minute, tzinfo=UTC))


# facts/crypto.md B2: index 60,000, rate 0.01 %, MA 10.
@pytest.mark.parametrize(
    ("rate", "seconds", "hours", "basis", "last", "mark"),
    [
        ("0.0001", 14_400, 8, "10", "60050", "60010"),
        ("0.0001", 14_400, 8, "10", "59000", "60003"),
        ("0.0001", 14_400, 8, "10", "60005", "60005"),
        ("0.0001", 3_600, 4, "-10", "59000", "59990"),
        ("-0.001", 3_600, 1, "10", "59990", "59990"),
        ("-0.001", 1_800, 1, "-40", "1", "59960"),
        ("0.0001", 0, 8, "-5", "60001", "60000"),
    ],
)
def test_a_perpetual_is_marked_at_the_median_of_three(rate, seconds, hours, basis, last, mark):
    found = perpetual_mark_price(D(60_000), D(rate), D(seconds), hours, D(basis), D(last))
    assert found == D(mark)


@given(prices, st.decimals("-0.003", "0.003", places=6), st.integers(0, 28_800), st.integers(-500, 500), prices)
def test_no_last_price_drags_the_mark_beyond_index_based_prices(index, rate, seconds, basis, last):
    by_funding = index * (1 + rate * seconds / 28_800)
    mark = perpetual_mark_price(index, rate, D(seconds), 8, D(basis), last)
    low, high = sorted((by_funding, index + basis))
    assert low - D("1E-9") <= mark <= high + D("1E-9") or mark == last


def test_a_delivery_contract_has_no_median():
    assert delivery_mark_price(D(60_000), D("-12.5")) == D("59987.5")


def test_the_basis_is_the_mean_distance_of_the_mid_from_the_index():
    assert basis_average([D(101), D(103)], [D(100), D(100)]) == 2
    with pytest.raises(BadValueError):
        basis_average([D(101)], [])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((D(0), D(0), D(0), 8, D(0), D(1)), "index"),
        ((D(1), D("NaN"), D(0), 8, D(0), D(1)), "last_funding_rate"),
        ((D(1), D(0), D(-1), 8, D(0), D(1)), "seconds_to_funding"),
        ((D(1), D(0), D(14_401), 4, D(0), D(1)), "seconds_to_funding"),
        ((D(1), D(0), D(0), 5, D(0), D(1)), "interval_hours"),
        ((D(1), D(0), D(0), 8, D(-1), D(1)), "basis_average"),
        ((D(1), D(0), D(0), 8, D(0), D(-1)), "last_price"),
    ],
)
def test_a_mark_refuses_by_name(arguments, field):
    with pytest.raises(BadValueError) as refused:
        perpetual_mark_price(*arguments)
    assert refused.value.field == field


def test_windows_have_effective_dates():
    # Announcements: 30 s since 2025-09-18 08:01; 30 min since 2024-11-11.
    assert basis_seconds(ns(2025, 9, 18, 8, 0)) == 60
    assert basis_seconds(ns(2025, 9, 18, 8, 1)) == 30
    with pytest.raises(OutsideTableError):
        basis_seconds(ns(2025, 9, 1))
    assert delivery_seconds(ns(2024, 9, 27, 8)) == 3600
    assert delivery_seconds(ns(2024, 12, 27, 8)) == 1800


def test_a_delivery_settles_at_the_mean_of_every_second():
    delivery = ns(2024, 12, 27, 8)
    points = [D(100)] * 900 + [D(102)] * 900
    assert delivery_price(points, delivery) == 101
    assert estimated_delivery_price(points[:1000]) == D("100.2")
    with pytest.raises(BadValueError) as refused:
        delivery_price(points[1:], delivery)
    assert refused.value.field == "indexes"
