"""Bybit UTA: margin with the fee to close, isolated liquidation and bankruptcy prices."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.model.order import PositionSide
from venues.rules.bybit_margin import (
    ValueBasis,
    bankruptcy_price,
    fee_to_close,
    initial_margin,
    liquidation_price,
    maintenance_margin,
    position_value,
)
from venues.rules.errors import BadValueError

D = Decimal
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


# Bybit help center: 1 BTC at 40,000, 50x, extra margin 3,000, rate 0.5 %, taker 0.055 %; the short mirrors it.
@pytest.mark.parametrize(("side", "price"), [(LONG, "36380.25"), (SHORT, "43580.45")])
def test_the_help_example_of_an_isolated_liquidation(side: PositionSide, price: str) -> None:
    got = liquidation_price(side, D(1), D(40000), D(50), D("0.005"), D(0), D(3000), D("0.00055"))
    assert got is not None
    assert round(got, 2) == D(price)


def test_the_help_example_of_the_fee_to_close() -> None:
    fee = fee_to_close(LONG, D(1), D(40000), D(50), D("0.00055"))
    assert fee == D("21.56")
    assert maintenance_margin(D(40000), D("0.005"), D(0), fee) == D("221.56")
    assert fee_to_close(SHORT, D(1), D(40000), D(50), D("0.00055")) == D("22.44")


@pytest.mark.parametrize(
    ("side", "entry", "leverage", "price"),
    [
        (LONG, "60000", "50", "58800"),
        (LONG, "10000", "50", "9800"),
        (SHORT, "60000", "50", "61200"),
        (LONG, "5", "1", "0"),
    ],
)
def test_bankruptcy_is_where_the_initial_margin_is_gone(
    side: PositionSide, entry: str, leverage: str, price: str
) -> None:
    assert bankruptcy_price(side, D(entry), D(leverage)) == D(price)


# BTCUSDT tiers of 2026-08-05: at each limit both tiers ask the same.
@pytest.mark.parametrize(
    ("limit", "lower", "upper"),
    [
        ("2000000", ("0.005", "0"), ("0.0056", "1200")),
        ("2600000", ("0.0056", "1200"), ("0.0063", "3020")),
        ("3200000", ("0.0063", "3020"), ("0.0067", "4300")),
    ],
)
def test_the_deduction_makes_maintenance_continuous(limit: str, lower: tuple[str, str], upper: tuple[str, str]) -> None:
    below, above = (maintenance_margin(D(limit), D(mmr), D(ded), D(0)) for mmr, ded in (lower, upper))
    assert below == above


@given(st.sampled_from([LONG, SHORT]), st.integers(1, 10**5), st.integers(1, 100), st.integers(0, 10**4))
def test_at_the_liquidation_price_collateral_is_maintenance(
    side: PositionSide, entry: int, leverage: int, extra: int
) -> None:
    mmr, taker, ded = D("0.005"), D("0.00055"), D(0)
    price = liquidation_price(side, D(1), D(entry), D(leverage), mmr, ded, D(extra), taker)
    if price is None:
        return
    sign = 1 if side is LONG else -1
    usable = D(extra) / (1 - sign * taker)
    assert abs(D(entry) / leverage + usable + sign * (price - entry) - price * mmr + ded) < D("1E-15") * (entry + price)
    further = liquidation_price(side, D(1), D(entry), D(leverage), mmr, ded, D(extra + 1), taker)
    assert further is None or sign * further < sign * price


def test_value_is_at_the_price_that_the_basis_names() -> None:
    assert position_value(D(2), D(100), D(110), ValueBasis.ENTRY) == 200
    assert position_value(D(2), D(100), D(110), ValueBasis.MARK) == 220
    assert initial_margin(D(220), D(10), D("0.1")) == D("22.1")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"side": PositionSide.BOTH}, "side"),
        ({"qty": D(0)}, "qty"),
        ({"entry_price": D("NaN")}, "entry_price"),
        ({"leverage": D("0.9")}, "leverage"),
        ({"mmr": D(1)}, "mmr"),
        ({"mm_deduction": D(-1)}, "mm_deduction"),
        ({"extra_margin": D("Infinity")}, "extra_margin"),
        ({"taker": D("-0.1")}, "taker"),
    ],
)
def test_impossible_inputs_are_refused_by_name(change: dict[str, Decimal], field: str) -> None:
    asked = {
        "side": LONG, "qty": D(1), "entry_price": D(1), "leverage": D(1), "mmr": D("0.1"), "mm_deduction": D(0),
        "extra_margin": D(0), "taker": D(0),
    } | change  # fmt: skip
    with pytest.raises(BadValueError) as caught:
        liquidation_price(**asked)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_deduction_of_another_tier_is_refused() -> None:
    with pytest.raises(BadValueError, match="mm_deduction"):
        maintenance_margin(D(100), D("0.005"), D(1200), D(0))
