"""Inverse contracts: everything in coin, and liquidation found in the reciprocal of the price."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.model.instrument import Bracket
from venues.model.order import PositionSide
from venues.rules.binance_margin import Leg, LiquidationInputError, flat_rate
from venues.rules.errors import BadValueError
from venues.rules.inverse_margin import (
    bankruptcy_price,
    initial_margin,
    liquidation_price,
    maintenance_margin,
    notional,
    unrealized_pnl,
)

D = Decimal
BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT
FLAT = flat_rate(D("0.004"), D(0))
# Floors and caps in coin, as `GET /dapi/v2/leverageBracket` has them.
COIN = (
    Bracket(D(0), D(5), D("0.004"), D(0), 125),
    Bracket(D(5), D(10), D("0.005"), D("0.005"), 100),
    Bracket(D(10), D(20), D("0.01"), D("0.055"), 50),
)


def test_money_is_in_coin() -> None:
    # 100 contracts of 100 USD at 50,000 are 0.2 BTC.
    assert notional(D(-100), D(100), D(50000)) == D("0.2")
    assert initial_margin(D(100), D(100), D(50000), D(10)) == D("0.02")
    assert maintenance_margin(COIN, D(100), D(100), D(50000)) == D("0.0008")
    assert unrealized_pnl(D(100), D(100), D(50000), D(40000)) == D("-0.05")
    assert unrealized_pnl(D(-100), D(100), D(50000), D(40000)) == D("0.05")


# Computed from the FAQ's formula: C (1 +- mmr) / (C/entry +- wallet), C = 10,000 USD, wallet 0.02 BTC.
@pytest.mark.parametrize(
    ("contracts", "liquidated", "bankrupt"), [("100", "45636.36", "45454.55"), ("-100", "55333.33", "55555.56")]
)
def test_liquidation_comes_before_bankruptcy(contracts: str, liquidated: str, bankrupt: str) -> None:
    price = liquidation_price(D("0.02"), D(100), [Leg(BOTH, D(contracts), D(50000), FLAT)])
    end = bankruptcy_price(D(contracts), D(100), D(50000), D("0.02"))
    assert price is not None
    assert end is not None
    assert (round(price, 2), round(end, 2)) == (D(liquidated), D(bankrupt))


def test_a_short_covered_by_its_coin_is_never_liquidated() -> None:
    assert liquidation_price(D("0.2"), D(100), [Leg(BOTH, D(-100), D(50000), FLAT)]) is None
    assert bankruptcy_price(D(-100), D(100), D(50000), D("0.2")) is None


@given(st.integers(1, 10**5), st.sampled_from([1, -1]), st.integers(100, 10**5), st.integers(1, 1000))
def test_at_the_liquidation_price_the_balance_is_the_maintenance_margin(
    contracts: int, sign: int, entry: int, thousandths: int
) -> None:
    qty, wallet = D(contracts * sign), D(thousandths) / 1000
    price = liquidation_price(wallet, D(100), [Leg(BOTH, qty, D(entry), COIN)])
    if price is None:
        assert sign < 0
        return
    balance = wallet + unrealized_pnl(qty, D(100), D(entry), price)
    needed = maintenance_margin(COIN, qty, D(100), price)
    assert abs(balance - needed) < D("1E-15") * max(D(1), needed)
    more = liquidation_price(wallet + 1, D(100), [Leg(BOTH, qty, D(entry), COIN)])
    assert more is None or sign * more < sign * price


def test_a_hedge_shares_one_price() -> None:
    legs = [Leg(LONG, D(200), D(50000), COIN), Leg(SHORT, D(-100), D(50000), COIN)]
    price = liquidation_price(D("0.02"), D(100), legs)
    assert price is not None
    balance = D("0.02") + unrealized_pnl(D(100), D(100), D(50000), price)
    needed = maintenance_margin(COIN, D(200), D(100), price) + maintenance_margin(COIN, D(100), D(100), price)
    assert abs(balance - needed) < D("1E-20")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadValueError):
        notional(D(1), D(100), D(0))
    with pytest.raises(BadValueError):
        bankruptcy_price(D(0), D(100), D(1), D(1))
    with pytest.raises(LiquidationInputError):
        liquidation_price(D(1), D(100), [Leg(LONG, D(-1), D(1), COIN)])
    with pytest.raises(BadValueError):
        liquidation_price(D("NaN"), D(100), [Leg(LONG, D(1), D(1), COIN)])
