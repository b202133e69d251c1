"""CME contracts: what is listed, what a symbol means, when it ends. Numbers without a source are facts A3 and D."""

import csv
import gzip
import io
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.model.order import Side
from venues.rules.calendar import CHICAGO
from venues.rules.cme_products import MONTHS, exchange_fee, product, products, weight
from venues.rules.contracts import Contract, contract, from_ib, next_contract, parse_contract, to_ib
from venues.rules.dated import check_order, row_on
from venues.rules.errors import BadTableError, BadValueError, OutsideTableError, UnknownProductError
from venues.rules.expiry import (
    CloseOutRule,
    close_out_date,
    first_notice_day,
    first_position_day,
    last_trading_day,
    reduce_only_date,
    roll_by_volume,
    roll_date,
    termination,
)
from venues.rules.holidays import business_day_from, business_days_until, easter, is_business_day

D = date.fromisoformat
ROOTS = sorted(products())
YEARS = range(2020, 2031)
LISTED = [
    Contract(root, year, MONTHS.index(code) + 1) for root in ROOTS for code in product(root).months for year in YEARS
]
contracts = st.sampled_from(LISTED)


# Products


@pytest.mark.parametrize("root", ROOTS)
def test_a_tick_is_worth_what_cme_says(root: str) -> None:
    worth = {
        "ES": "12.50", "NQ": "5.00", "RTY": "5.00", "YM": "5.00", "MES": "1.25", "MNQ": "0.50", "M2K": "0.50",
        "MYM": "0.50", "GC": "10.00", "MGC": "1.00", "SI": "25.00", "HG": "12.50", "CL": "10.00", "MCL": "1.00",
        "NG": "10.00", "6E": "6.25", "6J": "6.25", "6B": "6.25", "6A": "5.00", "6C": "5.00", "ZT": "7.8125",
        "ZF": "7.8125", "ZN": "15.625", "ZB": "31.25",
    }  # fmt: skip
    assert product(root).multiplier * product(root).tick() == Decimal(worth[root])


def test_multipliers_and_ticks_agree_with_lean(data_dir: Path) -> None:
    file = data_dir / "cme/symbol-properties/symbol-properties-database.csv.gz"
    found = {}
    for row in csv.reader(io.StringIO(gzip.decompress(file.read_bytes()).decode())):
        if len(row) > 6 and row[2] == "future" and row[0] in ("cme", "cbot", "comex", "nymex"):
            found[row[0].upper(), row[1]] = Decimal(row[5]), Decimal(row[6])
    for one in products().values():
        assert found[one.exchange, one.code] == (one.multiplier, one.tick()), one.code


def test_micros_are_a_tenth() -> None:
    assert {root: weight(product(root)) for root in ROOTS if product(root).full_size} == dict.fromkeys(
        ("MES", "MNQ", "M2K", "MYM", "MGC", "MCL"), Decimal("0.1")
    )


def test_an_unknown_product_is_refused() -> None:
    with pytest.raises(UnknownProductError, match=r"product: 'ZC'"):
        product("ZC")


def test_an_unknown_fee_is_not_free() -> None:
    with pytest.raises(UnknownProductError, match="not established"):
        exchange_fee(product("ZN"))


def test_a_table_that_changes_is_read_by_date() -> None:
    window = product("ES").windows
    assert row_on(window, D("2020-10-26"), "date") is window[-1]
    with pytest.raises(OutsideTableError, match="2020-10-25"):
        row_on(window, D("2020-10-25"), "date")
    with pytest.raises(BadTableError):
        check_order((window[0], window[0]), "ES")


# Symbols


@pytest.mark.parametrize(
    ("symbol", "root", "year", "month"),
    [
        ("ESM6", "ES", 2026, 6),
        ("ESM26", "ES", 2026, 6),
        ("ZNZ6", "ZN", 2026, 12),
        ("M2KH5", "M2K", 2025, 3),
        ("6EZ29", "6E", 2029, 12),
        ("MCLF7", "MCL", 2027, 1),
        ("CLX0", "CL", 2020, 11),
    ],
)
def test_a_symbol_is_root_month_and_year(symbol: str, root: str, year: int, month: int) -> None:
    assert parse_contract(symbol) == Contract(root, year, month)


@pytest.mark.parametrize(
    ("symbol", "error"),
    [
        ("", BadValueError),
        ("ES", BadValueError),
        ("M6", BadValueError),
        ("esm6", BadValueError),
        ("ESM2026", BadValueError),
        ("ESM6 ", BadValueError),
        ("ESM6\n", BadValueError),
        ("ESM٦", BadValueError),
        ("ESF6", UnknownProductError),
        ("ESA6", UnknownProductError),
        ("MGCH6", UnknownProductError),
        ("ZCH6", UnknownProductError),
        ("ESM31", OutsideTableError),
        ("ESM19", OutsideTableError),
    ],
)
def test_what_is_no_contract_is_refused(symbol: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^contract: "):
        parse_contract(symbol)


@given(contracts)
def test_symbols_go_both_ways(one: Contract) -> None:
    if one.year < 2030:
        assert parse_contract(one.symbol) == one
    assert parse_contract(f"{one.symbol[:-1]}{one.year % 100}") == one
    name = to_ib(one)
    assert from_ib(name.symbol, name.exchange, name.month, name.multiplier) == one


def test_brokers_name_currencies_by_their_own() -> None:
    names = {root: to_ib(contract(product(root), 2026, 3)).symbol for root in ("6E", "6J", "6B", "6A", "6C", "ES")}
    assert names == {"6E": "EUR", "6J": "JPY", "6B": "GBP", "6A": "AUD", "6C": "CAD", "ES": "ES"}


def test_the_broker_keeps_the_delivery_month_of_crude() -> None:
    name = to_ib(parse_contract("CLF7"))
    assert (name.month, name.local_symbol, name.trading_class) == ("202701", "CLF7", "CL")
    assert last_trading_day(parse_contract("CLF7")) == D("2026-12-21")


def test_small_silver_is_not_silver() -> None:
    with pytest.raises(UnknownProductError, match=r"^multiplier: "):
        from_ib("SI", "COMEX", "202612", Decimal(1000))


@pytest.mark.parametrize("month", ["20261221", "2026", "2026-1", "202613"])
def test_a_month_is_six_digits(month: str) -> None:
    with pytest.raises(BadValueError, match=r"^month: |^contract: |no month"):
        from_ib("CL", "NYMEX", month, Decimal(1000))


# Days


@pytest.mark.parametrize(
    ("symbol", "day"),
    [
        ("ESZ5", "2025-12-19"), ("ESH6", "2026-03-20"), ("ESM6", "2026-06-18"), ("ESU6", "2026-09-18"),
        ("ESZ6", "2026-12-18"), ("GCZ6", "2026-12-29"), ("CLF6", "2025-12-19"), ("CLZ6", "2026-11-20"),
        ("MCLN6", "2026-06-18"), ("NGF6", "2025-12-29"), ("6EH6", "2026-03-16"), ("6CZ6", "2026-12-15"),
        ("ZNH6", "2026-03-20"), ("ZNZ6", "2026-12-21"), ("ZTH6", "2026-03-31"), ("CLF7", "2026-12-21"),
        # Juneteenth 2027 is observed on the third Friday of June.
        ("ESM7", "2027-06-17"),
        # The day after the price had been negative.
        ("CLK0", "2020-04-21"),
    ],
)  # fmt: skip
def test_last_trading_days(symbol: str, day: str) -> None:
    assert last_trading_day(parse_contract(symbol)) == D(day)


@given(contracts)
def test_a_contract_ends_on_a_business_day_before_its_month_is_over(one: Contract) -> None:
    last = last_trading_day(one)
    assert is_business_day(last)
    assert (last.year, last.month) <= (one.year, one.month)
    assert termination(one).astimezone(CHICAGO).timetz().replace(tzinfo=None) == one.product.ends


@given(contracts)
def test_micro_crude_ends_a_business_day_before_crude(one: Contract) -> None:
    full, micro = Contract("CL", one.year, one.month), Contract("MCL", one.year, one.month)
    assert business_day_from(last_trading_day(full), -1) == last_trading_day(micro)


@pytest.mark.parametrize(
    ("symbol", "notice", "position"),
    [
        ("GCZ6", "2026-11-30", "2026-11-30"),
        ("GCG6", "2026-01-30", "2026-01-30"),
        ("ZNH6", "2026-02-27", "2026-02-26"),
        ("ZNZ6", "2026-11-30", "2026-11-27"),
    ],
)
def test_notice_comes_before_the_delivery_month(symbol: str, notice: str, position: str) -> None:
    assert first_notice_day(parse_contract(symbol)) == D(notice)
    assert first_position_day(parse_contract(symbol)) == D(position)


@pytest.mark.parametrize("symbol", ["ESM6", "MCLN6", "CLN6", "NGN6", "6EM6"])
def test_what_is_not_noticed_has_no_notice_day(symbol: str) -> None:
    assert first_notice_day(parse_contract(symbol)) is None
    assert first_position_day(parse_contract(symbol)) is None


@pytest.mark.parametrize(
    ("symbol", "day"),
    [
        ("ESZ5", "2025-12-15"), ("ESH6", "2026-03-16"), ("ESM6", "2026-06-15"), ("ESU6", "2026-09-14"),
        ("ESZ6", "2026-12-14"), ("MNQM2", "2022-06-13"), ("ESH2", "2022-03-10"),
    ],
)  # fmt: skip
def test_equity_index_rolls_on_the_monday_of_expiry_week(symbol: str, day: str) -> None:
    assert roll_date(parse_contract(symbol)) == D(day)


def test_commodities_have_no_exchange_roll() -> None:
    with pytest.raises(UnknownProductError, match=r"^contract: "):
        roll_date(parse_contract("GCZ6"))


def test_commodities_roll_when_the_next_month_trades_more() -> None:
    gold = parse_contract("GCZ6")
    front = {D("2026-11-16"): 900, D("2026-11-17"): 500, D("2026-11-24"): 1, D("2026-11-25"): 1}
    assert roll_by_volume(gold, front, dict.fromkeys(front, 600)) == D("2026-11-17")
    assert roll_by_volume(gold, front, dict.fromkeys(front, 0)) == D("2026-11-24"), "three days before notice"
    assert roll_by_volume(gold, {D("2026-11-16"): 1}, {D("2026-11-16"): 0}) is None


@pytest.mark.parametrize(
    ("symbol", "side", "days", "day"),
    [
        ("GCZ6", Side.BUY, 2, "2026-11-25"),
        ("GCZ6", Side.SELL, 2, "2026-12-24"),
        ("ZNH6", Side.BUY, 3, "2026-02-23"),
        ("ZNH6", Side.SELL, 3, "2026-03-17"),
        ("CLZ6", Side.BUY, 3, "2026-11-17"),
        ("ESM6", Side.SELL, 3, "2026-06-15"),
    ],
)
def test_the_broker_wants_no_delivery(symbol: str, side: Side, days: int, day: str) -> None:
    assert close_out_date(parse_contract(symbol), side, CloseOutRule(days)) == D(day)


def test_oil_is_only_reduced_in_its_last_five_days() -> None:
    days = {symbol: reduce_only_date(parse_contract(symbol)) for symbol in ("CLZ6", "MCLZ6", "NGZ6")}
    assert days == {"CLZ6": D("2026-11-16"), "MCLZ6": D("2026-11-13"), "NGZ6": None}


@pytest.mark.parametrize(
    ("symbol", "following"), [("GCZ6", "GCG7"), ("SIZ6", "SIH7"), ("ESZ6", "ESH7"), ("CLZ6", "CLF7"), ("6EF6", "6EH6")]
)
def test_thin_months_are_skipped(symbol: str, following: str) -> None:
    assert next_contract(parse_contract(symbol)) == parse_contract(following)


# Business days


@pytest.mark.parametrize(
    ("year", "day"), [(2024, "2024-03-31"), (2025, "2025-04-20"), (2026, "2026-04-05"), (2027, "2027-03-28")]
)
def test_easter(year: int, day: str) -> None:
    assert easter(year) == D(day)


@given(st.dates(D("2020-01-01"), D("2029-12-31")), st.integers(-30, 30))
def test_business_days_are_counted_as_they_are_taken(day: date, count: int) -> None:
    reached = business_day_from(day, count)
    assert is_business_day(reached)
    if count > 0:
        assert business_days_until(day, reached) == count
    elif count < 0 and is_business_day(day):
        assert business_day_from(reached, -count) == day


@given(st.integers(0, 4000))
def test_business_days_add_up(days: int) -> None:
    start, middle, end = D("2019-01-01"), D("2019-01-01") + timedelta(days // 2), D("2019-01-01") + timedelta(days)
    assert business_days_until(start, end) == business_days_until(start, middle) + business_days_until(middle, end)


@pytest.mark.parametrize("day", ["2018-12-31", "2031-01-01"])
def test_days_beyond_the_table_have_no_answer(day: str) -> None:
    with pytest.raises(OutsideTableError, match=r"^date: "):
        is_business_day(D(day))
