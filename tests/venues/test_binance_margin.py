"""Binance USDS-M margin: brackets, maintenance, liquidation and bankruptcy prices."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.model.instrument import Bracket
from venues.model.money import ROUND_HALF_EVEN
from venues.model.order import PositionSide
from venues.rules.binance_margin import (
    BracketTableError,
    Leg,
    LiquidationInputError,
    NotionalAboveTableError,
    bankruptcy_price,
    bracket_for,
    check_brackets,
    flat_rate,
    initial_margin,
    liquidation_price,
    maintenance_margin,
)

D = Decimal
BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT


def table(*rows: tuple[str, str, int, str, str]) -> tuple[Bracket, ...]:
    return tuple(Bracket(D(floor), D(cap), D(mmr), D(cum), lev) for floor, cap, lev, mmr, cum in rows)


# BTCUSDT as collected by freqtrade on 2024-10-24 (binance_leverage_tiers.json), first rows.
BTC = table(
    ("0", "50000", 125, "0.004", "0"),
    ("50000", "600000", 100, "0.005", "50"),
    ("600000", "3000000", 75, "0.0065", "950"),
    ("3000000", "12000000", 50, "0.01", "11450"),
    ("12000000", "70000000", 25, "0.02", "131450"),
)


def cents(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.quantize(D("0.01"), rounding=ROUND_HALF_EVEN)


@pytest.mark.parametrize(
    ("notional", "margin"),
    [("0", "0"), ("50000", "200"), ("600000", "2950"), ("1000000", "5550"), ("5000000", "38550")],
)
def test_maintenance_takes_the_cumulative_amount_off(notional: str, margin: str) -> None:
    assert maintenance_margin(BTC, D(notional)) == D(margin)
    assert maintenance_margin(BTC, -D(notional)) == D(margin)


def test_a_cap_belongs_to_its_own_bracket() -> None:
    assert bracket_for(BTC, D("50000")) is BTC[0]
    assert bracket_for(BTC, D("50000.01")) is BTC[1]
    with pytest.raises(NotionalAboveTableError):
        bracket_for(BTC, D("70000000.01"))


@given(st.integers(1, 10**10), st.integers(0, 10**7))
def test_maintenance_is_continuous_and_increasing(cent: int, step: int) -> None:
    low, high = D(cent) / 100, D(cent + step) / 100
    rise = maintenance_margin(BTC, high) - maintenance_margin(BTC, low)
    assert 0 <= rise <= (high - low) * BTC[-1].mmr


@pytest.mark.parametrize(
    ("rows", "bad"),
    [
        ((), 0),
        ((("0", "50000", 125, "0.004", "1"),), 0),
        ((("0", "50000", 125, "0.004", "0"), ("60000", "70000", 100, "0.005", "60")), 1),
        ((("0", "50000", 125, "0.004", "0"), ("50000", "70000", 100, "0.005", "51")), 1),
        ((("0", "50000", 125, "0.004", "0"), ("50000", "50000", 100, "0.005", "50")), 1),
        ((("0", "50000", 0, "0.004", "0"),), 0),
        ((("0", "50000", 5, "1.5", "0"),), 0),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(rows: tuple[tuple[str, str, int, str, str], ...], bad: int) -> None:
    with pytest.raises(BracketTableError) as caught:
        check_brackets(table(*rows))
    assert caught.value.index == bad


def test_the_recorded_table_is_accepted() -> None:
    check_brackets(BTC)


# Position, bids and asks in notional; positionRisk v3 shows the fields the formula is made of.
@pytest.mark.parametrize(
    ("position", "bids", "asks", "margin"),
    [
        ("0", "1000", "0", "50"),
        ("1000", "500", "0", "75"),
        ("1000", "0", "500", "50"),
        ("1000", "0", "2500", "75"),
        ("-1000", "500", "500", "75"),
        ("0", "1000", "1000", "50"),
    ],
)
def test_opposite_orders_claim_initial_margin_once(position: str, bids: str, asks: str, margin: str) -> None:
    assert initial_margin(D(position), D(bids), D(asks), 20) == D(margin)


def test_the_faq_example_in_a_cross_pool() -> None:
    # Binance FAQ b3c689c1f50a44cabb3a84e663b81d93, inputs as in freqtrade's tests/exchange/test_binance.py.
    wallet = D("1535443.01")
    btc = Leg(BOTH, D("109.488"), D("32481.98"), flat_rate(D("0.025"), D(16300)))
    eth = Leg(BOTH, D("3683.979"), D("1456.84"), flat_rate(D("0.10"), D(135365)))
    assert cents(liquidation_price(wallet, [btc], D("356512.508"), D("-448192.89"))) == D("26316.89")
    assert cents(liquidation_price(wallet, [eth], D("71200.81144"), D("-56354.57"))) == D("1153.26")
    assert cents(liquidation_price(wallet, [btc])) == D("18778.73")
    assert cents(liquidation_price(wallet, [eth])) == D("1114.78")


@pytest.mark.parametrize(
    ("wallet", "qty", "entry", "price"),
    [
        ("500", "0.02", "50000", "25100.40"),  # Binance FAQ 25edcd7fe0e544839d0847b8cbb2e400
        ("30000", "10", "60000", "57281.41"),
        ("30000", "-10", "60000", "62687.53"),  # the bracket at the liquidation price is the third, not the second
        ("30600", "12", "51000", "48689.28"),  # the second, not the third
        ("2500", "1", "50000", "47690.76"),  # 20x
    ],
)
def test_the_bracket_is_the_one_at_the_liquidation_price(wallet: str, qty: str, entry: str, price: str) -> None:
    rows = flat_rate(D("0.004"), D(0)) if qty in {"0.02", "1"} else BTC
    assert cents(liquidation_price(D(wallet), [Leg(BOTH, D(qty), D(entry), rows)])) == D(price)


def test_a_hedged_symbol_has_one_cross_liquidation_price() -> None:
    legs = [Leg(LONG, D(2), D(60000), BTC), Leg(SHORT, D(-1), D(61000), BTC)]
    assert cents(liquidation_price(D(20000), legs)) == D("39503.04")


def test_a_wallet_larger_than_the_position_has_no_liquidation_price() -> None:
    assert liquidation_price(D(100000), [Leg(BOTH, D(1), D(50000), BTC)]) is None


@given(st.integers(1, 400), st.integers(100, 60000), st.integers(1, 60), st.sampled_from([1, -1]))
def test_at_the_liquidation_price_the_balance_is_the_maintenance_margin(
    tenths: int, entry: int, leverage: int, sign: int
) -> None:
    qty = D(tenths) / 10 * sign
    wallet = abs(qty) * entry / leverage
    price = liquidation_price(wallet, [Leg(BOTH, qty, D(entry), BTC)])
    if price is None:
        assert sign > 0
        return
    balance = wallet + qty * (price - entry)
    assert abs(balance - maintenance_margin(BTC, qty * price)) < D("1E-12")


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_more_wallet_moves_the_liquidation_price_away(wallet: int, more: int) -> None:
    near = liquidation_price(D(wallet), [Leg(BOTH, D(20), D(60000), BTC)])
    far = liquidation_price(D(wallet + more), [Leg(BOTH, D(20), D(60000), BTC)])
    assert near is not None
    assert far is None or far <= near


def test_bankruptcy_is_where_the_wallet_is_eaten() -> None:
    assert bankruptcy_price(D(10), D(60000), D(30000)) == 57000
    assert bankruptcy_price(D(-10), D(60000), D(30000)) == 63000
    with pytest.raises(LiquidationInputError):
        bankruptcy_price(D(0), D(60000), D(1))


@pytest.mark.parametrize(
    "legs",
    [
        [],
        [Leg(BOTH, D(0), D(1), BTC)],
        [Leg(LONG, D(-1), D(1), BTC)],
        [Leg(BOTH, D(1), D(0), BTC)],
        [Leg(LONG, D(1), D(1), BTC), Leg(LONG, D(1), D(1), BTC)],
    ],
)
def test_legs_that_do_not_fit_together_are_refused(legs: list[Leg]) -> None:
    with pytest.raises(LiquidationInputError):
        liquidation_price(D(1), legs)


def test_published_vectors(data_dir: Path) -> None:
    path = data_dir.parent / "vectors" / "binance_liquidation.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there: the vectors are not part of the repository")
    for line in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if case["calc"] == "binance.liquidation_price":
            got = _liquidation(case["in"])
            wanted, tolerance = D(case["expect"]["liquidation_price"]), D(case["tol"])
            assert got is not None, case["id"]
            assert abs(got - wanted) <= tolerance, case["id"]


def _liquidation(given_: dict[str, object]) -> Decimal | None:
    positions = given_["positions"]
    assert isinstance(positions, list)
    legs, needed, pnl = [], D(0), D(0)
    for row in positions:
        qty, entry = D(row["qty"]), D(row["entry_price"])
        rows = flat_rate(D(row["mmr"]), D(row["cum"])) if "mmr" in row else _rows(row["brackets"])
        if row["symbol"] == given_["target"]:
            legs.append(Leg(PositionSide(row["position_side"]), qty, entry, rows))
        else:
            mark = D(row["mark_price"])
            needed += maintenance_margin(rows, qty * mark)
            pnl += qty * (mark - entry)
    return liquidation_price(D(str(given_["wallet_balance"])), legs, needed, pnl)


def _rows(rows: list[dict[str, str]]) -> tuple[Bracket, ...]:
    made = tuple(Bracket(D(r["floor"]), D(r["cap"]), D(r["mmr"]), D(r["cum"]), int(r["max_leverage"])) for r in rows)
    check_brackets(made)
    return made
