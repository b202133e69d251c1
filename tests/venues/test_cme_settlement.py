"""CME settlement: when a price is set, what cash it moves, how months are joined, what a side costs. Facts A4, D, G."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.costs import cme_fees
from venues.rules.calendar import CHICAGO, State, hours, session
from venues.rules.cme_products import product, products
from venues.rules.continuous import Adjustment, Month, back_adjusted
from venues.rules.errors import BadValueError, OutsideTableError, UnknownProductError
from venues.rules.settlement import (
    Action,
    FinalSettlement,
    NoSettlementError,
    Trade,
    VariationAccount,
    daily_settlement,
    expiry_cash,
    final_settlement,
    index_fair_value,
    later_month_settlement,
    settlement_window,
    settles_as,
    variation_margin,
)

D = Decimal
DAY = date.fromisoformat
DAYS = st.dates(DAY("2024-01-01"), DAY("2027-12-31"))
PRODUCTS = st.sampled_from(sorted(products()))


# Windows


@pytest.mark.parametrize(
    ("root", "day", "start", "end"),
    [
        ("ES", "2026-01-15", "20:59:30", "21:00:00"),
        ("ES", "2026-07-15", "19:59:30", "20:00:00"),
        ("ES", "2026-03-06", "20:59:30", "21:00:00"),
        ("ES", "2026-03-09", "19:59:30", "20:00:00"),
        ("GC", "2026-07-15", "17:29:00", "17:30:00"),
        ("SI", "2026-07-15", "17:24:00", "17:25:00"),
        ("HG", "2026-01-15", "17:59:00", "18:00:00"),
        ("CL", "2026-01-15", "19:28:00", "19:30:00"),
        ("MCL", "2026-01-15", "19:28:00", "19:30:00"),
        ("NG", "2026-10-30", "18:28:00", "18:30:00"),
        ("NG", "2026-11-02", "19:28:00", "19:30:00"),
        ("6E", "2026-01-15", "19:59:30", "20:00:00"),
        ("ZN", "2026-07-15", "18:59:30", "19:00:00"),
        # Shortened days: equity and rates at 12:00 Chicago.
        ("ES", "2026-11-27", "17:59:30", "18:00:00"),
        ("ES", "2025-12-24", "17:59:30", "18:00:00"),
        ("ZN", "2025-12-24", "17:59:30", "18:00:00"),
        ("GC", "2026-11-27", "18:29:00", "18:30:00"),
        ("GC", "2025-12-24", "18:29:00", "18:30:00"),
        ("CL", "2026-11-27", "19:28:00", "19:30:00"),
    ],
)
def test_windows_are_chicago_time(root: str, day: str, start: str, end: str) -> None:
    window = settlement_window(product(root), DAY(day))
    assert [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in window] == [f"{day} {start}", f"{day} {end}"]


@pytest.mark.parametrize(
    ("root", "day"),
    [
        ("ES", "2026-01-17"), ("ES", "2026-01-18"), ("ES", "2026-01-19"), ("6E", "2026-01-19"), ("ES", "2026-04-03"),
        ("CL", "2026-04-03"), ("ES", "2026-06-19"), ("GC", "2026-11-26"), ("ES", "2025-12-25"), ("ES", "2026-01-01"),
        ("ES", "2027-07-05"), ("ES", "2027-12-24"), ("ES", "2025-01-09"),
    ],
)  # fmt: skip
def test_days_without_settlement_are_errors(root: str, day: str) -> None:
    with pytest.raises(NoSettlementError, match=r"^date: "):
        settlement_window(product(root), DAY(day))


@pytest.mark.parametrize("day", ["2020-10-23", "2028-01-03"])
def test_days_beyond_the_calendar_have_no_answer(day: str) -> None:
    with pytest.raises(OutsideTableError, match=r"^date: "):
        settlement_window(product("ES"), DAY(day))


@given(PRODUCTS, DAYS)
def test_a_window_lies_inside_the_session_of_its_trade_date(root: str, day: date) -> None:
    try:
        start, end = settlement_window(product(root), day)
    except NoSettlementError:
        return
    found = hours(product(root), day)
    assert found is not None
    assert found.opens < start < end <= found.closes
    assert found.trade_date == day == start.astimezone(CHICAGO).date()
    assert session(product(root), start).state is State.OPEN


# Prices


def test_the_lead_month_settles_at_its_vwap_else_midpoint_else_fair_value() -> None:
    tick = D("0.25")
    assert daily_settlement(tick, vwap=D("6700.1249")) == D("6700.00")
    assert daily_settlement(tick, vwap=D("6700.125")) == D("6700.25")
    assert daily_settlement(tick, bid=D("6700"), offer=D("6700.5")) == D("6700.25")
    assert daily_settlement(tick, fair=index_fair_value(D(6690), D("0.04"), 73)) == D("6743.50")
    assert later_month_settlement(D("6700.25"), D("55.30"), tick) == D("6755.50")


def test_no_price_no_settlement() -> None:
    with pytest.raises(BadValueError, match=r"^vwap: "):
        daily_settlement(D("0.25"), bid=D(1))
    with pytest.raises(BadValueError, match=r"^bid: "):
        daily_settlement(D("0.25"), bid=D(2), offer=D(1))


def test_micros_settle_as_the_full_size_contract() -> None:
    assert {root: settles_as(product(root)).code for root in ("MES", "MGC", "MCL", "ES")} == {
        "MES": "ES",
        "MGC": "GC",
        "MCL": "CL",
        "ES": "ES",
    }


@pytest.mark.parametrize(
    ("root", "how"),
    [
        ("ES", FinalSettlement.SPECIAL_OPENING_QUOTATION),
        ("MYM", FinalSettlement.SPECIAL_OPENING_QUOTATION),
        ("MCL", FinalSettlement.FULL_SIZE_SETTLEMENT),
        ("CL", FinalSettlement.DELIVERY),
        ("ZN", FinalSettlement.DELIVERY),
        ("6E", FinalSettlement.DELIVERY),
    ],
)
def test_how_a_contract_ends(root: str, how: FinalSettlement) -> None:
    assert final_settlement(product(root)) is how


def test_the_final_settlement_is_the_last_variation() -> None:
    assert expiry_cash(D(-2), D(50), D("6700.00"), D("6712.35")) == D("-1235")


# Variation margin

PRICES = st.decimals("0.01", "10000", places=2)
TRADES = st.builds(lambda qty, price: Action(trade=Trade(D(qty), price)), st.integers(-9, 9).filter(bool), PRICES)
ACTIONS = st.lists(st.one_of(TRADES, st.builds(lambda price: Action(settle=price), PRICES)), max_size=30)


def trade(qty: str, price: str) -> Action:
    return Action(trade=Trade(D(qty), D(price)))


def settle(price: str) -> Action:
    return Action(settle=D(price))


@pytest.mark.parametrize(
    ("actions", "flows"),
    [
        ([trade("2", "6700"), settle("6710.25"), settle("6695.50"), trade("-2", "6701")], "1025 -1475 550"),
        ([trade("2", "6700"), trade("3", "6702")], ""),
        ([settle("6700")], "0"),
        # First in, first out against its own price on the day of the trade.
        ([trade("1", "100"), trade("1", "110"), trade("-1", "120"), settle("130")], "1000 1000"),
        # A trade through zero: only the closed part pays, the rest opens at the trade.
        ([trade("1", "100"), trade("-3", "90"), settle("80")], "-500 1000"),
        # One flow for a trade that closes several lots.
        ([trade("-1", "100"), settle("90"), trade("-1", "95"), trade("2", "85")], "500 750"),
    ],
)
def test_variation_is_cash(actions: list[Action], flows: str) -> None:
    assert variation_margin(D(50), actions) == tuple(map(D, flows.split()))


@given(ACTIONS, PRICES)
def test_variation_sums_to_the_profit(actions: list[Action], last: Decimal) -> None:
    total = sum(variation_margin(D(50), [*actions, Action(settle=last)]), D(0))
    trades = [action.trade for action in actions if action.trade is not None]
    assert total == sum((one.qty * 50 * (last - one.price) for one in trades), D(0))


@given(ACTIONS)
def test_an_account_holds_what_was_traded(actions: list[Action]) -> None:
    account = VariationAccount(D(5))
    for action in actions:
        if action.trade is not None:
            account.trade(action.trade.qty, action.trade.price)
        elif action.settle is not None:
            account.settle(action.settle)
            assert account.settle(action.settle) == 0, "settling twice at one price moves nothing"
    assert account.qty == sum((action.trade.qty for action in actions if action.trade is not None), D(0))
    assert len({qty > 0 for qty, _ in account.lots}) <= 1


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (Action(), "actions[0]"),
        (Action(Trade(D(1), D(1)), D(1)), "actions[0]"),
        (trade("0", "1"), "actions[0].trade.qty"),
        (trade("0.5", "1"), "actions[0].trade.qty"),
        (trade("NaN", "1"), "actions[0].trade.qty"),
        (trade("1", "-1"), "actions[0].trade.price"),
        (settle("Infinity"), "actions[0].settle"),
    ],
)
def test_actions_that_cannot_be_are_refused(action: Action, field: str) -> None:
    with pytest.raises(BadValueError) as caught:
        variation_margin(D(50), [action])
    assert caught.value.field == field


# Continuous series

ROLL = DAY("2026-03-16")


def months(front: list[str], back: list[str]) -> list[Month]:
    """The front month ends on the roll date, where the back month's prices begin."""
    first = ROLL - timedelta(len(front) - 1)
    return [
        Month("ESH6", date.min, {first + timedelta(n): D(price) for n, price in enumerate(front)}),
        Month("ESM6", ROLL, {ROLL + timedelta(n): D(price) for n, price in enumerate(back)}),
    ]


def test_the_difference_is_added_to_older_prices() -> None:
    points = back_adjusted(months(["100", "102", "101"], ["111", "113"]), Adjustment.DIFFERENCE)
    assert [(point.symbol, point.traded, point.adjusted) for point in points] == [
        ("ESH6", D(100), D(110)),
        ("ESH6", D(102), D(112)),
        ("ESM6", D(111), D(111)),
        ("ESM6", D(113), D(113)),
    ]
    assert [point.day for point in points] == [ROLL + timedelta(n) for n in (-2, -1, 0, 1)]


def test_the_ratio_multiplies_older_prices() -> None:
    points = back_adjusted(months(["100", "102", "200"], ["220", "230"]), Adjustment.RATIO)
    assert [point.adjusted for point in points] == [110, D("112.2"), 220, 230]


@given(
    st.lists(st.decimals("1", "1000", places=2), min_size=2, max_size=20),
    st.lists(st.decimals("1", "1000", places=2), min_size=1, max_size=20),
)
def test_each_method_keeps_what_it_promises(front: list[Decimal], back: list[Decimal]) -> None:
    series = months([str(price) for price in front], [str(price) for price in back])
    points = {point.day: point.adjusted for point in back_adjusted(series, Adjustment.DIFFERENCE)}
    ratios = {point.day: point.adjusted for point in back_adjusted(series, Adjustment.RATIO)}
    eve = ROLL - timedelta(1)
    assert points[ROLL] - points[eve] == front[-1] - front[-2]
    assert abs(ratios[ROLL] / ratios[eve] - front[-1] / front[-2]) < D("1e-20")
    assert points[ROLL] == ratios[ROLL] == back[0]


def test_series_that_cannot_be_joined_are_refused() -> None:
    with pytest.raises(BadValueError, match="no price on the roll date"):
        back_adjusted([Month("ESH6", date.min, {}), Month("ESM6", ROLL, {ROLL: D(1)})], Adjustment.RATIO)
    with pytest.raises(BadValueError, match="ESH6 later"):
        back_adjusted([Month("ESH6", ROLL, {}), Month("ESM6", ROLL, {})], Adjustment.RATIO)
    with pytest.raises(BadValueError, match=r"^ESM6: "):
        back_adjusted(months(["1", "1"], ["-1"]), Adjustment.RATIO)
    assert back_adjusted(months(["1", "1"], ["-1"]), Adjustment.DIFFERENCE)[-1].adjusted == -1
    with pytest.raises(BadValueError, match=r"^months: "):
        back_adjusted([], Adjustment.RATIO)


# Fees


@pytest.mark.parametrize(
    ("root", "per_side"),
    [
        ("ES", "2.25"), ("NQ", "2.25"), ("RTY", "2.25"), ("YM", "2.25"), ("MES", "0.62"), ("MNQ", "0.62"),
        ("M2K", "0.62"), ("MYM", "0.62"), ("GC", "2.47"), ("SI", "2.47"), ("HG", "2.47"), ("MGC", "1.02"),
        ("CL", "2.37"), ("NG", "2.47"), ("MCL", "0.77"), ("6E", "2.47"), ("6J", "2.47"), ("6C", "2.47"),
    ],
)  # fmt: skip
def test_all_in_cost_of_a_side(root: str, per_side: str) -> None:
    assert cme_fees.per_side(product(root)) == D(per_side)


@pytest.mark.parametrize("root", ["ZT", "ZF", "ZN", "ZB"])
def test_fees_that_are_not_known_are_not_free(root: str) -> None:
    with pytest.raises(UnknownProductError, match=r"^product: "):
        cme_fees.per_side(product(root))


@given(st.integers(1, 30_000), st.integers(1, 30_000))
def test_commissions_are_marginal(one: int, other: int) -> None:
    es = product("ES")
    assert cme_fees.fee(es, one + other) == cme_fees.fee(es, one) + cme_fees.fee(es, other, one)


def test_commission_tiers() -> None:
    es, fixed = product("ES"), D("1.40")
    assert cme_fees.fee(es, 1001) == 1001 * fixed + 1000 * D("0.85") + D("0.65")
    assert cme_fees.fee(es, 1, 20_000) == fixed + D("0.25")
    with pytest.raises(OutsideTableError):
        cme_fees.fee(es, 1, day=datetime(2019, 1, 1, tzinfo=UTC).date())
