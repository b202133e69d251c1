"""The insurance fund: what it receives, pays, and leaves to deleveraging."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.errors import BadValueError
from venues.rules.insurance import FundChange, clearance_fee, settle, take_over

D = Decimal


def test_the_fee_is_on_the_liquidated_part() -> None:
    assert clearance_fee(D(-2), D(100), D("0.0125")) == D("2.5")


# balance 1,000: a surplus is received, a deficit paid, what it cannot pay is uncovered.
@pytest.mark.parametrize(
    ("amount", "change"),
    [
        ("250", FundChange(D(1250), received=D(250))),
        ("0", FundChange(D(1000))),
        ("-400", FundChange(D(600), paid=D(400))),
        ("-1500", FundChange(D(0), paid=D(1000), uncovered=D(500))),
    ],
)
def test_the_fund_never_goes_below_zero(amount: str, change: FundChange) -> None:
    assert settle(D(1000), D(amount)) == change


# Taken over at a bankruptcy price of 57,000; balance 1,000; lots of 0.1.
@pytest.mark.parametrize(
    ("qty", "exit_price", "balance", "adl"),
    [
        ("1", "57500", "1500", "0"),
        ("-1", "57500", "500", "0"),
        ("1", "56000", "0", "0"),
        ("10", "56800", "0", "5"),
        ("10", "56700", "10", "6.7"),  # 3.33 could be paid for, 3.3 in whole lots
        ("-10", "57200", "0", "5"),
    ],
)
def test_what_the_fund_cannot_bear_is_deleveraged(qty: str, exit_price: str, balance: str, adl: str) -> None:
    change = take_over(D(1000), D(qty), D(57000), D(exit_price), D("0.1"))
    assert (change.balance, change.adl_qty, change.uncovered) == (D(balance), D(adl), D(0))


def test_an_empty_fund_deleverages_all() -> None:
    assert take_over(D(0), D("0.35"), D(100), D(90), D("0.1")).adl_qty == D("0.35")


@given(st.integers(0, 10**6), st.integers(-1000, 1000).filter(bool), st.integers(1, 1000), st.integers(1, 1000))
def test_money_is_conserved(balance: int, lots: int, bankruptcy: int, exit_price: int) -> None:
    change = take_over(D(balance), D(lots), D(bankruptcy), D(exit_price), D(1))
    sign = 1 if lots > 0 else -1
    kept = lots - sign * change.adl_qty
    assert change.balance >= 0
    assert change.balance == D(balance) + change.received - change.paid
    assert abs(change.balance - D(balance) - kept * (exit_price - bankruptcy)) < D("1E-15")


def test_impossible_inputs_are_refused_by_name() -> None:
    with pytest.raises(BadValueError, match="balance"):
        settle(D(-1), D(1))
    with pytest.raises(BadValueError, match="amount"):
        settle(D(1), D("NaN"))
    with pytest.raises(BadValueError, match="exit_price"):
        take_over(D(1), D(1), D(1), D(0), D(1))
