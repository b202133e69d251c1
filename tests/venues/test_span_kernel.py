"""The compiled form asks what the exact rule asks."""

import random
from decimal import Decimal

import numpy as np
import pytest

from venues.rules.errors import BadValueError
from venues.rules.span import Prepared
from venues.rules.span_kernel import requirements, tables
from venues.rules.span_parameters import Parameters
from venues.rules.span_product import InterLeg, InterSpread, IntraSpread, Product, SpreadSide

D = Decimal
RNG = random.Random(5)


def array():
    return tuple(D(RNG.randint(-900, 900)) for _ in range(16))


def legs(*parts):
    return tuple(InterLeg(code, SpreadSide(side), D(ratio)) for code, side, ratio in parts)


PARAMETERS = Parameters(
    {
        "O": Product(
            arrays={"OZ6": array(), "OZ6 C5": array(), "OZ6 P5": array()},
            deltas={"OZ6": D(1), "OZ6 C5": D("0.4"), "OZ6 P5": D("-0.3")},
            short_option_minimum=D(120),
        ),
        "M": Product(months={"M1": D(500), "M2": D(450), "M3": D(700)}, delivery_charge=D(30)),
        "S": Product(scan_risk=D(800), delta_scale=D("0.1")),
    },
    D("1.1"),
    (IntraSpread("M", 2, ("M1", "M3"), D(90)), IntraSpread("M", 1, ("M1", "M2"), D(40))),
    (
        InterSpread(2, legs(("O", "A", 1), ("S", "B", "0.5")), D("0.6")),
        InterSpread(1, legs(("O", "A", 2), ("M", "B", 3), ("S", "B", 1)), D("0.8")),
    ),
)
CONTRACTS = [
    ("O", "OZ6"),
    ("O", "OZ6 C5"),
    ("O", "OZ6 P5"),
    ("M", "M1"),
    ("M", "M2"),
    ("M", "M3"),
    ("S", None),
    ("S", "X"),
]


def test_three_thousand_portfolios():
    prepared = Prepared(PARAMETERS, CONTRACTS)
    quantities = np.random.default_rng(3).integers(-9, 10, (3000, len(CONTRACTS)))
    quantities[0] = 0
    found = requirements(tables(prepared), quantities)
    for row, (maintenance, initial) in zip(quantities.tolist(), found, strict=True):
        exact = prepared.requirement(row)
        assert maintenance == pytest.approx(float(exact.maintenance), abs=1e-6)
        assert initial == pytest.approx(float(exact.initial), abs=1e-6)


def test_what_does_not_fit_is_refused():
    prepared = Prepared(PARAMETERS, CONTRACTS[:2])
    with pytest.raises(BadValueError):
        requirements(tables(prepared), [[1, 2, 3]])
    with pytest.raises(BadValueError):
        requirements(tables(prepared), [[1, float("nan")]])
    tiered = Product(months={"A": D(1), "B": D(1)}, tiers={"near": ("A", "B")})
    parameters = Parameters({"X": tiered}, D(1), (IntraSpread("X", 1, ("near", "near"), D(1)),))
    with pytest.raises(BadValueError):
        tables(Prepared(parameters, [("X", "A")]))
