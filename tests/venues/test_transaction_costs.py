"""Transaction costs: the causes add up to what a paper portfolio made more than the real one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.costs.transaction_costs import Filled, Touch, transaction_costs
from venues.model.money import desk_arithmetic
from venues.model.order import Side
from venues.rules.errors import BadValueError

D = Decimal
PRICES = st.decimals(min_value=1, max_value=100_000, places=2)
QTYS = st.decimals(min_value="0.001", max_value=1_000, places=3)


def touch(bid: str, ask: str) -> Touch:
    return Touch(D(bid), D(ask))


def test_the_worked_example():
    """facts/execution.md 4.5 A: 1000 wanted at 50, arrival 50.10, 800 bought at 50.25, end 50.60, fee 40: 72 bp."""
    costs = transaction_costs(
        Side.BUY,
        D(1000),
        touch("49.99", "50.01"),
        touch("50.05", "50.15"),
        D("50.60"),
        Filled(D(800), D(400) * D("50.20") + D(400) * D("50.30"), fees=D(40)),
    )
    assert (costs.delay, costs.spread + costs.impact, costs.opportunity, costs.fees) == (D(80), D(120), D(120), D(40))
    assert (costs.total, costs.total_bps) == (D(360), D(72))
    # Takers paid half of the ten cents on 800; the average of 50.25 is 10 cents, 19.94 bp, above the ask.
    assert costs.spread == 40
    assert costs.slippage_bps is not None
    assert abs(costs.slippage_bps - D("19.9401794616")) < D("1e-9")


@pytest.mark.parametrize(
    ("maker", "spread", "impact"),
    [
        # 2 bought at the bid of 99: a maker earned the half spread of 1 each, a taker would have traded 2 better.
        ("2", "-2", "0"),
        ("0", "2", "-4"),
        ("1", "0", "-2"),
    ],
)
def test_makers_earn_the_spread(maker, spread, impact):
    quote = touch("99", "101")
    costs = transaction_costs(Side.BUY, D(2), quote, quote, D(100), Filled(D(2), D(198), D(maker)))
    assert (costs.spread, costs.impact, costs.total) == (D(spread), D(impact), D(-2))


def test_nothing_traded_is_an_opportunity_that_went_by():
    quote = touch("99", "101")
    costs = transaction_costs(Side.SELL, D(3), quote, quote, D(90), Filled())
    assert (costs.opportunity, costs.total, costs.total_bps) == (D(30), D(30), D(1000))
    assert costs.slippage_bps is None


def test_what_was_taken_back_cost_its_way_to_the_end_price():
    """2 bought at 101, one of them sold again at 97 when the mid was 98: the held one lost 3, the other 4."""
    quote = touch("99", "101")
    filled = Filled(D(2), D(202), reduced=D(1), reduced_cost=D(97))
    costs = transaction_costs(Side.BUY, D(2), quote, quote, D(98), filled)
    assert (costs.spread, costs.impact, costs.unwind) == (D(2), D(0), D(1))
    paper, real = 2 * (D(98) - 100), (D(98) - 101) + (D(97) - 101)
    assert costs.total == paper - real == 3


@given(
    side=st.sampled_from(Side),
    qty=QTYS,
    bids=st.tuples(PRICES, PRICES),
    spreads=st.tuples(PRICES, PRICES),
    end=PRICES,
    filled=QTYS,
    price=PRICES,
    maker=st.integers(0, 4),
    reduced=QTYS,
    back=PRICES,
    fees=st.decimals(min_value=-1_000, max_value=1_000, places=4),
)
def test_the_total_is_paper_profit_less_real_profit(
    side, qty, bids, spreads, end, filled, price, maker, reduced, back, fees
):
    decision, arrival = (Touch(bid, bid + spread) for bid, spread in zip(bids, spreads, strict=True))
    done = Filled(filled, filled * price, filled * maker / 4, reduced, reduced * back, fees)
    with desk_arithmetic():
        costs = transaction_costs(side, qty, decision, arrival, end, done)
        paper = side.sign * max(qty, filled) * (end - decision.mid)
        real = side.sign * (filled * (end - price) - reduced * (end - back)) - fees
        parts = costs.delay + costs.spread + costs.impact + costs.opportunity + costs.unwind + costs.fees
        assert abs(costs.total - (paper - real)) < D("1e-12")
        assert costs.total == parts


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"qty": "0"}, "qty"),
        ({"qty": "NaN"}, "qty"),
        ({"end": "-1"}, "end_price"),
        ({"filled": Filled(D(-1), D(1))}, "filled"),
        ({"filled": Filled(D(1), D(1), fees=D("Infinity"))}, "fees"),
        ({"filled": Filled(reduced=D("NaN"))}, "reduced"),
        ({"arrival": Touch(D(101), D(99)), "filled": Filled(D(1), D(1))}, "arrival_ask"),
    ],
)
def test_what_is_no_number_is_refused_by_name(change, field):
    quote = touch("99", "101")
    with pytest.raises(BadValueError) as caught:
        transaction_costs(
            Side.BUY,
            D(change.get("qty", "1")),
            quote,
            change.get("arrival", quote),
            D(change.get("end", "100")),
            change.get("filled", Filled()),
        )
    assert caught.value.field == field
