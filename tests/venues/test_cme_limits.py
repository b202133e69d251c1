"""CME limits: at which prices a product may trade, when it pauses, how much may be held. Facts B and E."""

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import cattrs.preconf.json
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from venues.model.order import Side
from venues.rules.calendar import CHICAGO
from venues.rules.circuit_breakers import (
    LATE_PAUSE_NS,
    PAUSE_NS,
    WINDOW_NS,
    DynamicBreaker,
    VelocityLogic,
    VelocityRule,
    halted_contracts,
    is_breaker_active,
    pause_ns,
    variant,
)
from venues.rules.cme_products import product, products
from venues.rules.contracts import parse_contract
from venues.rules.errors import BadValueError, OutsideTableError, UnknownProductError
from venues.rules.position_limits import LimitKind, breaches, full_size_contracts, is_known, table
from venues.rules.price_limits import (
    Band,
    EquityLimits,
    MarketHalt,
    ProtectionPoints,
    band_reference,
    decline_level,
    equity_band,
    equity_limits,
    is_banded,
    market_wide_halt,
    overnight_share,
    protection_limit,
    stop_limit_price,
)

D = Decimal
MINUTE = 60_000_000_000
ES = product("ES")
TODAY = EquityLimits(D("7168.25"), D("6231.75"), D("6231.75"), D("5830.50"), D("5362.00"))
EVENING = EquityLimits(D("6500.00"), D("5300.00"), D("5300.00"), D("5000.00"), D("4700.00"))


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CHICAGO)


# Equity index price limits


@pytest.mark.parametrize(
    ("root", "given", "expected"),
    [
        # CME price limit guide for 2014-10-23: ES, NQ (its index level is inferred), YM.
        ("ES", "1920.50 1927.11 0.50 0.05", "2016.50 1824.50 1786.00 1670.00 1535.50"),
        ("NQ", "3941.00 3948.8 0.25 0.05", "4138.25 3743.75 3664.75 3427.75 3151.25"),
        ("YM", "16387 16461.32 1 0.05", "17210 15564 15235 14248 13095"),
        ("MES", "6700.00 6690.00 0.25 0.07", "7168.25 6231.75 6231.75 5830.50 5362.00"),
    ],
)
def test_widths_are_shares_of_the_cash_index_rounded_down(root: str, given: str, expected: str) -> None:
    fixing, index, tick, share = map(D, given.split())
    limits = equity_limits(product(root), fixing, index, tick, share)
    assert (limits.overnight_up, limits.overnight_down, *limits.levels) == tuple(map(D, expected.split()))


@given(st.decimals("100", "30000", places=2), st.decimals("100", "30000", places=2))
def test_limits_are_ordered_and_on_the_fixings_grid(fixing: Decimal, index: Decimal) -> None:
    assume(index * D("0.2") < fixing)
    limits = equity_limits(ES, fixing, index, D("0.25"), D("0.07"))
    assert 0 < limits.l3 < limits.l2 < limits.l1 == limits.overnight_down < fixing < limits.overnight_up
    assert all((fixing - level) % D("0.25") == 0 for level in limits.levels)
    assert limits.overnight_up - fixing == fixing - limits.overnight_down
    assert fixing - limits.l1 <= index * D("0.07") < fixing - limits.l1 + D("0.25")


@pytest.mark.parametrize(
    ("root", "changed", "field"),
    [
        ("GC", {}, "product"),
        ("ES", {"fixing": D("NaN")}, "fixing"),
        ("ES", {"fixing": D(0)}, "fixing"),
        ("ES", {"index": D("-1")}, "index"),
        ("ES", {"index": D("Infinity")}, "index"),
        ("ES", {"index": D(100_000)}, "index"),
        ("ES", {"tick": D(0)}, "tick"),
        ("ES", {"tick": D(1000)}, "tick"),
        ("ES", {"overnight_pct": D(7)}, "overnight_pct"),
        ("ES", {"overnight_pct": D(0)}, "overnight_pct"),
    ],
)
def test_limits_that_cannot_be_are_refused(root: str, changed: dict[str, Decimal], field: str) -> None:
    asked = {"fixing": D(6700), "index": D(6690), "tick": D("0.25"), "overnight_pct": D("0.07")} | changed
    with pytest.raises((BadValueError, UnknownProductError)) as caught:
        equity_limits(product(root), asked["fixing"], asked["index"], asked["tick"], asked["overnight_pct"])
    assert caught.value.field == field


def test_the_overnight_limit_was_five_percent() -> None:
    assert overnight_share(date(2020, 11, 1)) == D("0.05")
    assert overnight_share(date(2026, 1, 15)) == D("0.07")
    with pytest.raises(OutsideTableError):
        overnight_share(date(2013, 1, 1))


@pytest.mark.parametrize(
    ("at", "declared", "lower", "upper"),
    [
        ("2026-01-14T17:00", 0, "6231.75", "7168.25"),
        ("2026-01-15T08:29:59", 0, "6231.75", "7168.25"),
        ("2026-01-15T08:30", 0, "6231.75", None),
        ("2026-01-15T10:00", 1, "5830.50", None),
        ("2026-01-15T10:00", 2, "5362.00", None),
        ("2026-01-15T14:24:59", 0, "6231.75", None),
        ("2026-01-15T14:25", 0, "5362.00", None),
        ("2026-01-15T14:59:59", 1, "5362.00", None),
        # After the cash close: the new limits, not below the day's 20 %.
        ("2026-01-15T15:00", 0, "5362.00", "6500.00"),
        # An early close of the cash market at 12:00 moves the switch to 11:25.
        ("2026-11-27T11:24:59", 0, "6231.75", None),
        ("2026-11-27T11:25", 0, "5362.00", None),
        ("2026-11-27T12:00", 0, "5362.00", "6500.00"),
        # No cash session: the overnight limits all day.
        ("2026-01-19T10:00", 0, "6231.75", "7168.25"),
    ],
)
def test_limits_by_the_clock(at: str, declared: int, lower: str, upper: str | None) -> None:
    assert equity_band(ES, local(at), TODAY, EVENING, declared) == Band(D(lower), D(upper) if upper else None)


def test_no_limits_where_nothing_trades() -> None:
    assert equity_band(ES, local("2026-01-15T16:30"), TODAY) is None
    assert equity_band(ES, local("2026-01-15T10:00"), TODAY, declared=3) is None


def test_the_evening_needs_the_new_fixing() -> None:
    with pytest.raises(BadValueError, match="evening"):
        equity_band(ES, local("2026-01-15T15:00"), TODAY)


def test_trading_at_a_limit_is_allowed() -> None:
    band = Band(D(10), D(20))
    assert [band.allows(D(price)) for price in ("9.99", "10", "20", "20.01")] == [False, True, True, False]


# Market-wide halts


@pytest.mark.parametrize(
    ("index", "level"), [("930.01", 0), ("930", 1), ("870.01", 1), ("870", 2), ("800.01", 2), ("800", 3), ("2000", 0)]
)
def test_levels_are_declines_of_the_index(index: str, level: int) -> None:
    assert decline_level(D(1000), D(index)) == level


@pytest.mark.parametrize(
    ("index", "at", "declared", "level"),
    [
        ("925", "2026-01-15T08:30:00", set(), None),
        ("925", "2026-01-15T08:30:01", set(), 1),
        ("925", "2026-01-15T14:25:00", set(), 1),
        ("925", "2026-01-15T14:25:01", set(), None),
        ("925", "2026-01-15T12:00:00", {1}, None),
        ("860", "2026-01-15T12:00:00", {1}, 2),
        ("925", "2026-01-15T12:00:00", {2}, None),
        ("790", "2026-01-15T14:59:00", {1, 2}, 3),
        ("790", "2026-01-15T15:00:00", set(), None),
        ("925", "2026-11-27T11:25:00", set(), 1),
        ("925", "2026-11-27T11:25:01", set(), None),
        ("790", "2026-01-19T10:00:00", set(), None),
    ],
)
def test_market_wide_halts(index: str, at: str, declared: set[int], level: int | None) -> None:
    halt = market_wide_halt(D(1000), D(index), local(at), declared)
    ends = local(at) + timedelta(minutes=15) if level in (1, 2) else None
    assert halt == (MarketHalt(level, ends) if level else None)


# Dynamic circuit breakers


@pytest.mark.parametrize(
    ("root", "settlement", "width"),
    [
        ("CL", "58.37", "5.83"), ("GC", "4081.5", "408.1"), ("6E", "1.16345", "0.04650"), ("NG", "4.381", "0.438"),
        ("MGC", "4081.5", "408.1"), ("SI", "80.005", "8.000"), ("HG", "5.1235", "0.5120"),
        ("6J", "0.0063915", "0.0002555"),
        ("ES", "6700.25", "234.50"), ("YM", "46000", "1610"), ("ZT", "104.2", "0.75"), ("ZF", "109", "1.50"),
        ("ZN", "112.5", "2.00"), ("ZB", "118", "4.50"),
    ],
)  # fmt: skip
def test_breaker_widths(root: str, settlement: str, width: str) -> None:
    assert variant(product(root), D(settlement)) == D(width)


@pytest.mark.parametrize("settlement", ["NaN", "0", "-37.63"])
def test_a_breaker_needs_a_positive_settlement(settlement: str) -> None:
    with pytest.raises(BadValueError, match=r"^settlement: "):
        variant(product("CL"), D(settlement))


@pytest.mark.parametrize(
    ("root", "at", "is_active"),
    [
        ("CL", "2026-01-15T10:00", True),
        ("CL", "2026-01-15T16:50", False),
        ("ES", "2026-01-15T03:00", True),
        ("ES", "2026-01-15T10:00", False),
        ("ES", "2026-01-15T15:00", True),
        ("ES", "2026-01-19T10:00", True),
        ("ES", "2026-11-27T11:59", False),
        ("ES", "2026-11-27T12:00", True),
    ],
)
def test_equity_breakers_sleep_in_cash_hours(root: str, at: str, is_active: bool) -> None:
    assert is_breaker_active(product(root), local(at)) == is_active


def test_a_breaker_measures_from_the_hours_extremes() -> None:
    """CL settled 58.37, the low of the hour is 57.90: 63.73 trades, 63.74 does not."""
    breaker = DynamicBreaker(width_ticks=583)
    assert not breaker.check(0, 5790)
    assert not breaker.check(MINUTE, 6373)
    assert breaker.limits(MINUTE) == (5790, 6373)
    assert breaker.check(2 * MINUTE, 6374)
    assert breaker.limits(2 * MINUTE) is None, "the window restarts empty"
    assert not breaker.check(4 * MINUTE, 6900)


def test_prices_leave_the_window_after_an_hour() -> None:
    breaker = DynamicBreaker(width_ticks=100)
    breaker.check(0, 1000)
    breaker.check(1, 1050)
    assert breaker.limits(WINDOW_NS) == (950, 1100)
    assert breaker.limits(WINDOW_NS + 1) == (950, 1150)


def test_whether_the_limit_itself_triggers_is_configuration() -> None:
    breaker = DynamicBreaker(width_ticks=100, is_hit_at_limit=True)
    breaker.check(0, 1000)
    assert breaker.check(1, 900)


@given(
    st.lists(st.tuples(st.integers(0, 20 * MINUTE), st.integers(-300, 300)), max_size=80),
    st.integers(1, 300),
    st.booleans(),
)
def test_a_breaker_is_the_definition(steps: list[tuple[int, int]], width: int, is_hit_at_limit: bool) -> None:
    breaker, seen, now = DynamicBreaker(width, is_hit_at_limit), list[tuple[int, int]](), 0
    for step, ticks in steps:
        now += step
        prices = [price for at, price in seen if at >= now - WINDOW_NS]
        moved = max(ticks - min(prices), max(prices) - ticks) if prices else 0
        expected = moved >= width if is_hit_at_limit and prices else moved > width
        assert breaker.check(now, ticks) == expected
        seen = [] if expected else [*seen, (now, ticks)]


def test_a_breaker_survives_a_snapshot() -> None:
    converter = cattrs.preconf.json.make_converter()
    breaker = DynamicBreaker(width_ticks=100)
    breaker.check(0, 1000)
    breaker.check(5, 1010)
    stored = json.loads(json.dumps(converter.unstructure(breaker)))
    assert converter.structure(stored, DynamicBreaker) == breaker


def test_time_does_not_go_back() -> None:
    breaker = DynamicBreaker(width_ticks=1)
    breaker.check(10, 1)
    with pytest.raises(BadValueError, match=r"^now_ns: "):
        breaker.check(9, 1)


def test_a_breaker_without_width_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"^width_ticks: "):
        DynamicBreaker(width_ticks=0)


def test_pauses_are_short_at_the_end_of_the_session() -> None:
    assert pause_ns(300_000_000_001) == PAUSE_NS
    assert pause_ns(300_000_000_000) == LATE_PAUSE_NS


def test_only_the_lead_month_halts_the_others() -> None:
    months = ("CLF6", "CLG6", "MCLF6")
    assert halted_contracts("CLF6", "CLF6", months) == months
    assert halted_contracts("CLG6", "CLF6", months) == ("CLG6",)


def test_velocity_logic_is_off_until_configured() -> None:
    off = VelocityLogic()
    assert [off.check(now, price) for now, price in ((0, 0), (1, 10_000))] == [0, 0]
    on = VelocityLogic(VelocityRule(ticks=24, window_ns=1_000, pause_ns=5_000))
    assert [on.check(now, price) for now, price in ((0, 0), (500, 24), (1_500, 48), (1_600, 23))] == [0, 0, 0, 5_000]


# Banding and protection


@pytest.mark.parametrize(
    ("known", "reference"),
    [
        ({"last": D(100)}, "100"),
        ({"last": D(100), "bid": D(101), "offer": D(102)}, "101"),
        ({"last": D(100), "bid": D(98), "offer": D(99)}, "99"),
        ({"last": D(100), "settlement": D(90)}, "100"),
        ({"bid": D(101), "settlement": D(90)}, "90"),
        ({"last": D(100), "settlement": D(90), "is_pre_open": True}, "90"),
        ({"last": D(100), "settlement": D(90), "indicative": D(95), "is_pre_open": True}, "95"),
    ],
)
def test_bands_are_measured_from(known: dict[str, Any], reference: str) -> None:
    assert band_reference(**known) == D(reference)


def test_a_band_without_reference_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"^settlement: "):
        band_reference(bid=D(1))
    with pytest.raises(BadValueError, match=r"^bid: "):
        band_reference(last=D(1), bid=D(2), offer=D(2))


@pytest.mark.parametrize(
    ("side", "price", "rejected"),
    [(Side.BUY, "112", False), (Side.BUY, "112.25", True), (Side.SELL, "87.75", True), (Side.SELL, "88", False),
     (Side.BUY, "1", False), (Side.SELL, "1000", False)],
)  # fmt: skip
def test_banding_rejects_aggressive_prices_only(side: Side, price: str, rejected: bool) -> None:
    assert is_banded(side, D(price), D(100), D(12)) == rejected


def test_protection_limits() -> None:
    """CME: ES offered at 900.25, points 6.00, a market order to buy is limited at 906.25."""
    assert protection_limit(Side.BUY, D(900), D("900.25"), D(6)) == D("906.25")
    assert protection_limit(Side.SELL, D(900), D("900.25"), D(6)) == D(894)
    assert stop_limit_price(Side.SELL, D(900), D(6)) == D(894)


@pytest.mark.parametrize(
    ("bid", "ask", "points", "field"),
    [("2", "1", "1", "best_bid"), ("1", "1", "1", "best_bid"), ("0", "1", "1", "best_bid"),
     ("1", "NaN", "1", "best_ask"), ("1", "2", "-1", "protection_points"), ("1", "2", "NaN", "protection_points")],
)  # fmt: skip
def test_protection_without_a_market_is_refused(bid: str, ask: str, points: str, field: str) -> None:
    with pytest.raises(BadValueError) as caught:
        protection_limit(Side.BUY, D(bid), D(ask), D(points))
    assert caught.value.field == field


def test_protection_points_default_to_ten_ticks() -> None:
    assert ProtectionPoints().of(ES) == D("2.50")
    assert ProtectionPoints({"ES": D(6)}).of(ES) == D(6)


# Position limits


def test_micros_count_a_tenth() -> None:
    held = {parse_contract("ESM6"): D(-3), parse_contract("MESM6"): D(25), parse_contract("MESU6"): D(-5)}
    assert full_size_contracts(held) == {parse_contract("ESM6"): D("-0.5"), parse_contract("ESU6"): D("-0.5")}


@pytest.mark.parametrize(
    ("day", "limits"),
    [("2026-11-17", []), ("2026-11-18", [6000]), ("2026-11-19", [6000, 5000]), ("2026-11-20", [6000, 5000, 4000])],
)
def test_crude_steps_down_over_its_last_three_days(day: str, limits: list[int]) -> None:
    held = {parse_contract("CLZ6"): D(9_000), parse_contract("MCLZ6"): D(-10)}
    assert [found.limit.contracts for found in breaches(held, date.fromisoformat(day))] == limits


def test_months_add_up_with_their_signs() -> None:
    held = {parse_contract("CLF7"): D(15_000), parse_contract("CLG7"): D(-14_000)}
    found = breaches(held, date(2026, 6, 1))
    assert [(one.limit.kind, one.held) for one in found] == [
        (LimitKind.SINGLE, D(15_000)),
        (LimitKind.SINGLE, D(-14_000)),
    ]
    assert not any(one.limit.is_hard for one in found)


def test_gold_is_in_its_spot_month_from_the_eve_of_notice() -> None:
    held = {parse_contract("GCZ6"): D(6_001)}
    assert [breaches(held, date(2026, 11, day)) == [] for day in (25, 27)] == [True, False]
    assert breaches(held, date(2026, 12, 30)) == []


def test_a_quantity_that_is_none_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"^qty: "):
        breaches({parse_contract("ESM6"): D("NaN")}, date(2026, 1, 5))


def test_what_the_table_does_not_know_it_says() -> None:
    assert [root for root in sorted(products()) if not is_known(root)] == ["M2K", "MNQ", "MYM", "NQ", "RTY", "YM"]
    assert all(limit.as_of < date(2026, 1, 1) for limit in table())
