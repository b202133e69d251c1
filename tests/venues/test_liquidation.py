"""Which positions of a cross pool go first, and how much of each."""

from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from venues.model.instrument import Bracket
from venues.rules.brackets import flat_rate, maintenance_margin
from venues.rules.errors import BadValueError
from venues.rules.liquidation import Candidate, LiquidationModel, Priority, coverage, in_order, partial_qty, plan

D = Decimal
ONE_PERCENT = flat_rate(D("0.01"), D(0))
BTC = (
    Bracket(D(0), D(50000), D("0.004"), D(0), 125),
    Bracket(D(50000), D(600000), D("0.005"), D(50), 100),
    Bracket(D(600000), D(3000000), D("0.0065"), D(950), 75),
)


def position(key: str, notional: int, pnl: int, **more: Any) -> Candidate:
    made = Candidate(key, D(notional), D(1), D(pnl), D(notional) / 10, ONE_PERCENT, D(1))
    return evolve(made, **more)


# a: largest; b: largest loss; c: oldest; d: lowest (margin + profit) / maintenance; e: highest leverage.
POOL = [
    position("a", 10000, -100, opened_ns=5),
    position("b", 8000, -500, opened_ns=4),
    position("c", 7000, 50, opened_ns=1),
    position("d", 1000, -90, opened_ns=3),
    position("e", 5000, 0, opened_ns=2, leverage=D(20)),
]


@pytest.mark.parametrize(
    ("priority", "order"),
    [
        (Priority.HIGHEST_LOSS, "badec"),
        (Priority.LOWEST_RATIO, "dbaec"),
        (Priority.OLDEST, "cedba"),
        (Priority.LARGEST, "abced"),
        (Priority.HIGHEST_LEVERAGE, "eabcd"),
    ],
)
def test_five_priorities(priority: Priority, order: str) -> None:
    assert "".join(each.key for each in in_order(POOL, priority)) == order
    assert "".join(each.key for each in in_order(POOL[::-1], priority)) == order


def test_nothing_is_liquidated_above_maintenance() -> None:
    assert plan(D("310.01"), POOL, LiquidationModel()).reductions == ()
    assert plan(D(310), POOL, LiquidationModel()).reductions != ()


def test_whole_positions_go_until_the_coverage_is_enough() -> None:
    # Maintenance 310; without b 230, without a as well 130: 200 / 130 is above 1.5, 200 / 230 is not.
    made = plan(D(200), POOL, LiquidationModel(is_partial=False))
    assert [(each.key, each.qty) for each in made.reductions] == [("b", D(8000)), ("a", D(10000))]
    assert coverage(made.balance, made.maintenance) == D(200) / 130


def test_the_last_position_is_only_reduced_to_twice_the_maintenance() -> None:
    # 300 of balance bears 150 of maintenance: 160 must go, b has 80, a gives 80 of its 100.
    made = plan(D(300), POOL, LiquidationModel())
    assert [(each.key, each.qty, each.is_whole) for each in made.reductions] == [
        ("b", D(8000), True),
        ("a", D(8000), False),
    ]
    assert coverage(made.balance, made.maintenance) == 2


def test_an_empty_purse_closes_everything() -> None:
    made = plan(D(-5), POOL, LiquidationModel())
    assert len(made.reductions) == 5
    assert all(each.is_whole for each in made.reductions)
    assert made.maintenance == 0
    assert coverage(made.balance, made.maintenance) is None


def test_a_small_position_is_closed_whole_because_its_fee_costs_more_than_its_margin() -> None:
    # Binance FAQ 360033525271: the maintenance rate of a small position is below the fee rate.
    small = position("x", 10000, -900, brackets=BTC, fee_rate=D("0.0125"))
    assert partial_qty(small, D(39), D(0), D(2)) == small.qty
    free = evolve(small, fee_rate=D(0))
    assert partial_qty(free, D(39), D(0), D(2)) == 10000 - 4875  # 2 x 0.004 x 4875 = 39


@given(
    st.integers(1, 2_000_000),
    st.integers(0, 20_000),
    st.integers(0, 3000),
    st.sampled_from(["0", "0.001", "0.005", "0.0125"]),
    st.sampled_from([1, 7, 100]),
)
def test_a_partial_reduction_is_the_smallest_that_reaches_the_target(
    notional: int, balance: int, others: int, fee: str, lot: int
) -> None:
    held = position("x", notional * lot, 0, brackets=BTC, fee_rate=D(fee), lot_size=D(lot))

    def reached(closed: Decimal) -> bool:
        rest = maintenance_margin(BTC, held.qty - closed)
        return D(balance) - closed * D(fee) >= 2 * (D(others) + rest)

    closed = partial_qty(held, D(balance), D(others), D(2))
    assert 0 <= closed <= held.qty
    if closed < held.qty:
        assert closed % lot == 0
        assert reached(closed)
        assert not closed or not reached(closed - lot)


def test_impossible_inputs_are_refused_by_name() -> None:
    for field, wrong in (("qty", D(0)), ("fee_rate", D(1)), ("margin", D("NaN"))):
        with pytest.raises(BadValueError, match=field):
            position("a", 1000, 0, **{field: wrong})
    with pytest.raises(BadValueError, match="coverage_enough"):
        LiquidationModel(coverage_enough=D("0.9"))
    with pytest.raises(BadValueError, match="coverage_after_partial"):
        LiquidationModel(coverage_enough=D(3))
    with pytest.raises(BadValueError, match="balance"):
        plan(D("NaN"), POOL, LiquidationModel())
