"""What one position of an instrument needs, and what it is paid, whatever its kind."""

from decimal import Decimal

import pytest
from attrs import evolve

from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.rules.binance_margin import larger_side
from venues.rules.brackets import BracketTableError
from venues.rules.errors import BadValueError
from venues.rules.funding import instrument_payment
from venues.rules.instrument_margin import initial_margin, maintenance_margin

D = Decimal
# Binance BTCUSDT, first two rows of facts/crypto.md.
BTC = (
    Bracket(D(0), D(50000), D("0.004"), D(0), 125),
    Bracket(D(50000), D(600000), D("0.005"), D(50), 100),
)
PERP = Instrument("V", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), brackets=BTC)
INVERSE = evolve(PERP, symbol="BTCUSD", quote="USD", settle="BTC", inverse=True, lot_size=D(1), multiplier=D(100))
ES = Instrument(
    "C",
    "ESH6",
    InstrumentKind.FUTURE,
    "ES",
    "USD",
    D("0.25"),
    D(1),
    multiplier=D(50),
    initial_margin=D(22000),
    maintenance_margin=D(20000),
)


@pytest.mark.parametrize(
    ("spec", "qty", "price", "initial", "maintenance"),
    [
        (PERP, 1, 50_000, 2_500, 200),
        (PERP, -2, 60_000, 6_000, 550),
        (ES, -3, 5_000, 66_000, 60_000),
        (evolve(PERP, initial_margin=D(7), maintenance_margin=D(5)), 2, 60_000, 14, 10),
        (INVERSE, -5, 50_000, "0.0005", "0.00004"),
    ],
)
def test_money_per_contract_before_brackets_and_leverage(spec, qty, price, initial, maintenance):
    assert initial_margin(spec, D(qty), D(price), 20) == D(initial)
    assert maintenance_margin(spec, D(qty), D(price)) == D(maintenance)


def test_an_instrument_without_a_rule_has_no_margin():
    with pytest.raises(BracketTableError):
        maintenance_margin(evolve(PERP, brackets=()), D(1), D(50_000))


@pytest.mark.parametrize(
    ("position", "bids", "asks", "largest"),
    [(0, 3, 5, 5), (4, 3, 5, 7), (4, 0, 10, 6), (-4, 3, 5, 9), (-4, 10, 0, 6), (4, 0, 0, 4)],
)
def test_opposite_orders_claim_once(position, bids, asks, largest):
    assert larger_side(D(position), D(bids), D(asks)) == largest


@pytest.mark.parametrize(
    ("spec", "qty", "amount"),
    [(PERP, 2, -10), (PERP, -2, 10), (INVERSE, 5, "-0.000001"), (INVERSE, -5, "0.000001")],
)
def test_funding_is_paid_in_the_settlement_asset(spec, qty, amount):
    assert instrument_payment(spec, D(qty), D(50_000), D("0.0001")) == D(amount)


def test_a_liquidation_fee_is_a_share():
    for fee in ("-0.01", "1", "NaN"):
        with pytest.raises(ValueError, match="liquidation_fee"):
            evolve(PERP, liquidation_fee=D(fee))


def test_funding_needs_a_price():
    with pytest.raises(BadValueError, match="mark_price"):
        instrument_payment(PERP, D(1), D(0), D("0.0001"))
