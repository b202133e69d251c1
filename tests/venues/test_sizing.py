"""How many lots money comes to, on one instrument and alike on several."""

from decimal import Decimal
from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from venues.model.instrument import Instrument, InstrumentKind
from venues.rules.errors import BadValueError
from venues.schedules.sizing import SizeLimit, common_size, size, worth

D = Decimal
BINANCE = Instrument("b", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), min_qty=D("0.001"))
CONTRACT = Instrument(
    "c", "BTC", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), multiplier=D("0.01"), min_qty=D(1)
)
MICRO = Instrument("cme", "MBT", InstrumentKind.FUTURE, "BTC", "USD", D(5), D(1), multiplier=D("0.1"), min_qty=D(1))
INVERSE = Instrument(
    "d", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(100)
)
PRICE = D("61234.5")


@pytest.mark.parametrize(
    ("spec", "money", "qty", "notional", "limit"),
    [
        # facts/execution.md 4.7: 25,000 at 61,234.5
        (BINANCE, "25000", "0.408", "24983.676", None),
        # 40 contracts of 0.01, 4 of 0.1
        (CONTRACT, "25000", "40", "24493.8", None),
        (MICRO, "25000", "4", "24493.8", None),
        (INVERSE, "25050", "250", "25000", None),
        (BINANCE, "61.2344", "0", "0", SizeLimit.MIN_QTY),
        (BINANCE, "61.2345", "0.001", "61.2345", None),
        (evolve(BINANCE, max_qty=D("0.4005")), "25000", "0.4", "24493.8", SizeLimit.MAX_QTY),
        (evolve(BINANCE, min_qty=D("0.5")), "25000", "0", "0", SizeLimit.MIN_QTY),
        (evolve(BINANCE, min_notional=D(25_000)), "25000", "0", "0", SizeLimit.MIN_NOTIONAL),
        (evolve(INVERSE, min_notional=D(200)), "199", "0", "0", SizeLimit.MIN_NOTIONAL),
        (BINANCE, "0", "0", "0", SizeLimit.MIN_QTY),
    ],
)
def test_money_comes_to_whole_lots(spec, money, qty, notional, limit):
    found = size(spec, D(money), PRICE)
    assert (found.qty, found.notional, found.limit) == (D(qty), D(notional), limit)
    assert found.residual == D(money) - D(notional)
    assert worth(spec, -found.qty, PRICE) == D(notional)


def test_a_quote_that_is_not_the_money_has_a_rate():
    # 25,000 dollars at 1.25 dollars the euro are 20,000 euros.
    assert size(BINANCE, D(25_000), D(50_000), D("1.25")).qty == D("0.4")
    assert worth(BINANCE, D("0.4"), D(50_000), D("1.25")) == 25_000


@pytest.mark.parametrize(
    ("specs", "base", "quantities", "residual"),
    [
        ([BINANCE], "0.408", ["0.408"], "0.00027"),
        ([BINANCE, CONTRACT], "0.4", ["0.4", "40"], "0.00827"),
        ([BINANCE, MICRO], "0.4", ["0.4", "4"], "0.00827"),
        # The common unit of 0.03 and 0.1 is 0.3.
        ([evolve(BINANCE, lot_size=D("0.03")), MICRO], "0.3", ["0.3", "3"], "0.10827"),
        ([evolve(BINANCE, max_qty=D("0.25")), MICRO], "0.2", ["0.2", "2"], "0.20827"),
        ([BINANCE, evolve(MICRO, min_qty=D(5))], "0", ["0", "0"], "0.40827"),
    ],
)
def test_legs_of_one_size_leave_the_rest_unsent(specs, base, quantities, residual):
    found = common_size(specs, D(25_000), [PRICE] * len(specs))
    assert (found.base, found.quantities) == (D(base), tuple(map(D, quantities)))
    assert round(found.residual, 5) == D(residual)
    assert found.residual_notional == 25_000 - D(base) * PRICE


@given(
    st.decimals("0", "1000000", places=2),
    st.decimals("0.01", "99999", places=2),
    st.sampled_from(["0.001", "0.3", "1", "7"]),
    st.sampled_from(["0.01", "1", "12.5"]),
    st.booleans(),
)
def test_a_size_is_the_largest_that_the_money_pays_for(money, price, lot, multiplier, inverse):
    spec = evolve(INVERSE, lot_size=D(lot), multiplier=D(multiplier), inverse=inverse)
    found = size(spec, money, price)
    unit = Fraction(multiplier) * (1 if inverse else Fraction(price))
    assert Fraction(found.qty) % Fraction(lot) == 0
    assert Fraction(found.qty) * unit <= Fraction(money) < (Fraction(found.qty) + Fraction(lot)) * unit
    assert found.notional + found.residual == money


@given(
    st.decimals("0", "300000", places=2),
    st.lists(
        st.tuples(
            st.sampled_from(["0.001", "0.03", "1"]), st.sampled_from(["0.01", "0.1", "1"]), st.integers(1, 90_000)
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_every_leg_trades_the_common_size_exactly(money, rows):
    specs = [evolve(BINANCE, lot_size=D(lot), multiplier=D(many), min_qty=D(0)) for lot, many, _ in rows]
    found = common_size(specs, money, [D(price) for _, _, price in rows])
    for spec, qty, (lot, many, price) in zip(specs, found.quantities, rows, strict=True):
        assert Fraction(qty) * Fraction(many) == Fraction(found.base)
        assert Fraction(qty) % Fraction(lot) == 0
        assert worth(spec, qty, D(price)) <= money


@pytest.mark.parametrize(
    ("specs", "money", "prices", "field"),
    [
        ([], "1", [], "legs"),
        ([BINANCE, INVERSE], "1", ["1", "1"], r"legs\[1\]"),
        ([BINANCE], "1", [], "prices"),
        ([BINANCE], "1", ["0"], r"prices\[0\]"),
        ([BINANCE], "NaN", ["1"], "money"),
    ],
)
def test_a_common_size_refuses_by_name(specs, money, prices, field):
    with pytest.raises(BadValueError, match=field):
        common_size(specs, D(money), list(map(D, prices)))


@pytest.mark.parametrize(
    ("money", "price", "rate"), [("-1", "1", "1"), ("1", "0", "1"), ("1", "NaN", "1"), ("1", "1", "0")]
)
def test_a_size_refuses_what_is_no_number(money, price, rate):
    with pytest.raises(BadValueError):
        size(BINANCE, D(money), D(price), D(rate))
    with pytest.raises(BadValueError, match="qty"):
        worth(BINANCE, D("Infinity"), D(1))
