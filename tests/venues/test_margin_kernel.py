"""Maintenance margin of whole arrays against the exact rule."""

import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.model.instrument import Bracket
from venues.rules.brackets import maintenance_margin
from venues.rules.errors import BadTableError, BadValueError
from venues.rules.margin_kernel import maintenance_margins, prepare

D = Decimal
# BTCUSDT on 2024-10-24.
BTC = (
    Bracket(D(0), D(50000), D("0.004"), D(0), 125),
    Bracket(D(50000), D(600000), D("0.005"), D(50), 100),
    Bracket(D(600000), D(3000000), D("0.0065"), D(950), 75),
    Bracket(D(3000000), D(12000000), D("0.01"), D(11450), 50),
    Bracket(D(12000000), D(70000000), D("0.02"), D(131450), 25),
)
TABLE = prepare(BTC)


@given(st.lists(st.floats(-1e9, 1e9), max_size=40))
def test_the_kernel_is_the_rule(notionals: list[float]) -> None:
    margins = maintenance_margins(TABLE, np.array(notionals, dtype=np.float64))
    for notional, margin in zip(notionals, margins, strict=True):
        exact = maintenance_margin(BTC, D(notional))
        assert abs(D(float(margin)) - exact) <= D("1E-14") * abs(D(notional)) + D("1E-300")


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 5000])
def test_every_place_of_an_array_is_filled(count: int) -> None:
    notionals = np.linspace(-2e8, 2e8, count)
    out = np.full(count, np.nan)
    assert maintenance_margins(TABLE, notionals, out) is out
    for index in {0, count // 2, count - 1} & set(range(count)):
        exact = float(maintenance_margin(BTC, D(float(notionals[index]))))
        assert out[index] == pytest.approx(exact, rel=1e-12)


def test_the_caps_belong_to_both_brackets() -> None:
    caps = [row.cap for row in BTC]
    margins = maintenance_margins(TABLE, np.array([float(cap) for cap in caps]))
    assert [D(float(margin)) for margin in margins] == [maintenance_margin(BTC, cap) for cap in caps]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_notional_that_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(BadValueError, match="notionals"):
        maintenance_margins(TABLE, np.array([1.0, wrong, 2.0]))


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(BadValueError, match="notionals"):
        maintenance_margins(TABLE, np.zeros((2, 2)))
    with pytest.raises(BadValueError, match="notionals"):
        maintenance_margins(TABLE, np.zeros(4)[::2])
    with pytest.raises(BadValueError, match="out"):
        maintenance_margins(TABLE, np.zeros(4), np.zeros(3))


def test_a_table_whose_rates_fall_is_refused() -> None:
    falling = (Bracket(D(0), D(10), D("0.02"), D(0), 1), Bracket(D(10), D(20), D("0.01"), D("-0.1"), 1))
    with pytest.raises(BadTableError, match="ascend"):
        prepare(falling)


def test_the_exact_rules_do_not_load_the_compiler() -> None:
    code = (
        "import sys, daemon.calc.crypto, venues.rules.liquidation, venues.rules.adl; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
