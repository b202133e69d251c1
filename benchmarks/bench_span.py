"""How fast SPAN requirements of ten legs are: asked once, prepared, in bulk; and one option's risk array."""

from collections.abc import Callable
from decimal import Decimal
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from venues.rules.span import Holding, Prepared, requirement
from venues.rules.span_array import Extreme, Kind, Position, Scan, risk_array
from venues.rules.span_kernel import requirements, tables
from venues.rules.span_parameters import Parameters
from venues.rules.span_product import InterLeg, InterSpread, IntraSpread, Product, SpreadSide

_CALLS: Final = 2_000
_PORTFOLIOS: Final = 400_000
_ONE: Final = Decimal(1)


def _array(scan_risk: int) -> tuple[Decimal, ...]:
    thirds = [0, 0, -1, -1, 1, 1, -2, -2, 2, 2, -3, -3, 3, 3]
    extreme = Decimal("0.99") * scan_risk
    return (*(Decimal(scan_risk * move / 3).quantize(_ONE) for move in thirds), -extreme, extreme)


def ten_legs() -> tuple[Parameters, list[Holding]]:
    """Three products of real size: four months of ES and three of NQ as arrays, three of CL by month."""
    es, nq, cl = ("ESH7", "ESM7", "ESU7", "ESZ7"), ("NQH7", "NQM7", "NQU7"), ("F7", "G7", "H7")
    parameters = Parameters(
        {
            "ES": Product(arrays=dict.fromkeys(es, _array(21_000)), deltas=dict.fromkeys(es, _ONE)),
            "NQ": Product(arrays=dict.fromkeys(nq, _array(31_500)), deltas=dict.fromkeys(nq, _ONE)),
            "CL": Product(
                months=dict(zip(cl, map(Decimal, (6100, 5900, 5700)), strict=True)), delivery_charge=Decimal(250)
            ),
        },
        Decimal("1.10"),
        (
            IntraSpread("ES", 1, ("ESH7", "ESM7"), Decimal(410)),
            IntraSpread("ES", 2, ("ESM7", "ESU7"), Decimal(450)),
            IntraSpread("CL", 1, ("F7", "G7"), Decimal(700)),
        ),
        (InterSpread(1, (InterLeg("ES", SpreadSide.A, _ONE), InterLeg("NQ", SpreadSide.B, _ONE)), Decimal("0.5")),),
    )
    held = zip(("ES",) * 4 + ("NQ",) * 3 + ("CL",) * 3, es + nq + cl, (4, -2, 1, 1, -3, 1, -1, 5, -4, 1), strict=True)
    return parameters, [Holding(product, Decimal(qty), contract) for product, contract, qty in held]


def ten_legs_with_options() -> tuple[Parameters, list[Holding]]:
    """ES futures and options on one underlying: all 16 scenarios have to be added."""
    names = ["ESH7", "ESM7", *(f"ESH7 {right}{strike}" for right in "CP" for strike in (6500, 6600, 6700, 6800))]
    scan = _scan()
    kinds = {"C": Kind.CALL, "P": Kind.PUT}
    arrays = {name: _array(21_000) for name in names[:2]}
    for name in names[2:]:
        position = Position(kinds[name[5]], _ONE, Decimal(name[6:]))
        arrays[name] = tuple(loss.quantize(_ONE) for loss in risk_array(scan, (position,)))
    product = Product(arrays=arrays, deltas=dict.fromkeys(names, _ONE), short_option_minimum=Decimal(50))
    quantities = (4, -2, 3, -1, -2, 5, 1, -1, -3, 2)
    held = [Holding("ES", Decimal(qty), name) for name, qty in zip(names, quantities, strict=True)]
    return Parameters({"ES": product}, Decimal("1.10")), held


def _scan() -> Scan:
    return Scan(
        Decimal(6700),
        Decimal(50),
        Decimal(420),
        Extreme(Decimal(3), Decimal("0.33")),
        Decimal("0.35"),
        Decimal("0.16"),
        Decimal(30),
    )


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over `repeats` runs: microseconds for one portfolio, portfolios a second for the kernel."""
    parameters, portfolio = ten_legs()
    prepared, quantities = _prepared(parameters, portfolio)
    optional, some = _prepared(*ten_legs_with_options())
    option = (Position(Kind.CALL, -_ONE, Decimal(6750)),)
    scan = _scan()
    table = tables(prepared)
    rng = np.random.default_rng(7)
    many = rng.integers(-20, 20, (_PORTFOLIOS, len(portfolio))).astype(np.float64)
    requirements(table, many[:10])
    return {
        "ten_legs_prepared_us": _microseconds(lambda: prepared.requirement(quantities), repeats),
        "ten_legs_us": _microseconds(lambda: requirement(parameters, portfolio), repeats),
        "ten_legs_with_options_prepared_us": _microseconds(lambda: optional.requirement(some), repeats),
        "option_array_us": _microseconds(lambda: risk_array(scan, option), repeats),
        "ten_legs_kernel_portfolios_per_s": median(
            _PORTFOLIOS / _seconds(lambda: requirements(table, many)) for _ in range(repeats)
        ),
    }


def _prepared(parameters: Parameters, portfolio: list[Holding]) -> tuple[Prepared, list[int]]:
    contracts = [(held.product, held.contract) for held in portfolio]
    return Prepared(parameters, contracts), [int(held.qty) for held in portfolio]


def _microseconds(call: Callable[[], object], repeats: int) -> float:
    def often() -> None:
        for _ in range(_CALLS):
            call()

    return median(_seconds(often) / _CALLS * 1e6 for _ in range(repeats))


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began
