"""Levels by date, account types, SPAN 2, and the fallback that calls itself rough."""

from datetime import date
from decimal import Decimal

import pytest

from venues.rules.errors import BadValueError, OutsideTableError, UnknownProductError
from venues.rules.span import Holding, requirement
from venues.rules.span_levels import (
    AccountType,
    History,
    fallback_parameters,
    initial_ratio,
    scan_risk_on,
    span2_products,
)

D = Decimal


@pytest.mark.parametrize(
    ("account", "ratio"), [(AccountType.SPECULATOR, "1.10"), (AccountType.HEDGER, "1"), (AccountType.MEMBER, "1")]
)
def test_initial_ratio_by_account_type(account, ratio):
    # CME "Performance bonds/margins": 1,400 maintenance is 1,540 initial for a heightened risk profile.
    assert 1400 * initial_ratio(account) == 1400 * D(ratio)
    assert initial_ratio(account, D("1.5")) == D(ratio) * D("1.5")


def test_silver_is_a_share_of_its_notional():
    # Silver at 80.00: 9 % of 400,000 since 14 January 2026, 18 % since 9 February.
    assert scan_risk_on("SI", date(2026, 1, 14), D(400_000)) == 36_000
    assert scan_risk_on("SI", date(2026, 2, 8), D(400_000)) == 60_000
    assert scan_risk_on("SI", date(2026, 2, 9), D(400_000)) == 72_000
    assert scan_risk_on("ES", date(2022, 2, 1)) == 10_800


@pytest.mark.parametrize(
    ("product", "day", "notional", "kind", "field"),
    [
        ("SI", date(2026, 1, 13), D(1), OutsideTableError, "SI"),
        ("ES", date(2026, 1, 13), None, OutsideTableError, "ES"),
        ("SI", date(2026, 3, 1), None, BadValueError, "notional"),
        ("SI", date(2026, 3, 1), D(-1), BadValueError, "notional"),
        ("ZW", date(2026, 3, 1), None, UnknownProductError, "product"),
    ],
)
def test_days_and_products_without_a_level_are_refused(product, day, notional, kind, field):
    with pytest.raises(kind) as refused:
        scan_risk_on(product, day, notional)
    assert refused.value.field == field


def test_a_history_ascends():
    with pytest.raises(BadValueError):
        History("x", ((date(2026, 1, 2), 1), (date(2026, 1, 1), 2)))


def test_span_2_by_date():
    products = ("ES", "CL", "ZN")
    assert span2_products(products) == ("ES", "CL")
    assert span2_products(products, date(2024, 1, 2)) == ("CL",)
    assert span2_products(products, date(2023, 1, 2)) == ()


def test_the_fallback_is_a_rough_guide():
    # 8 % of 335,000 and 10 % of 480,000; 40 % of both legs' margins on opposite sides only.
    parameters = fallback_parameters({"ES": D(335_000), "NQ": D(480_000)}, D("1.1"), {"ES": ("H7", "M7", "U7")})
    found = requirement(parameters, [Holding("ES", D(1)), Holding("NQ", D(-1))])
    assert found.maintenance == (26_800 + 48_000) * D("0.6")
    assert found.notes == parameters.notes
    assert "rough guide" in found.notes[0]
    together = requirement(parameters, [Holding("ES", D(1)), Holding("NQ", D(1))])
    assert together.maintenance == 26_800 + 48_000
    # A calendar spread keeps 30 % of both legs.
    calendar = requirement(parameters, [Holding("ES", D(2), "H7"), Holding("ES", D(-2), "U7")])
    assert calendar.maintenance == 2 * 2 * 26_800 * D("0.3")


def test_the_fallback_knows_no_other_products():
    with pytest.raises(UnknownProductError) as refused:
        fallback_parameters({"SI": D(400_000)}, D(1))
    assert refused.value.field == "notionals.SI"
