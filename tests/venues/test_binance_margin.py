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
    PoolPosition,
    bankruptcy_price,
    bracket_for,
    check_brackets,
    cross_liquidation_price,
    flat_rate,
    initial_margin,
    liquidation_price,
    maintenance_margin,
    position_initial_margin,
    unrealized_pnl,
)
from venues.rules.errors import BadValueError, UnknownProductError

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


# Bracket tables by the venue's own recursion: caps ascend, rates ascend, amounts follow.
@st.composite
def tables(draw: st.DrawFn) -> tuple[Bracket, ...]:
    caps = sorted(draw(st.lists(st.integers(1, 10**7), min_size=1, max_size=6, unique=True)))
    rates = sorted(draw(st.lists(st.integers(1, 500), min_size=len(caps), max_size=len(caps), unique=True)))
    rows: list[Bracket] = []
    floor = cum = before = D(0)
    for cap, thousandths in zip(caps, rates, strict=True):
        mmr = D(thousandths) / 1000
        cum += floor * (mmr - before)
        rows.append(Bracket(floor, D(cap), mmr, cum, 1))
        floor, before = D(cap), mmr
    check_brackets(rows)
    return tuple(rows)


@given(tables(), st.integers(0, 10**9), st.integers(0, 10**7))
def test_maintenance_is_continuous_and_increasing_in_any_table(
    rows: tuple[Bracket, ...], cents: int, step: int
) -> None:
    low, high = D(cents) / 100, D(cents + step) / 100
    rise = maintenance_margin(rows, high) - maintenance_margin(rows, low)
    assert rows[0].mmr * (high - low) <= rise <= rows[-1].mmr * (high - low)


@given(tables(), st.integers(1, 10**5), st.sampled_from([1, -1]), st.integers(1, 10**4), st.integers(1, 10**7))
def test_at_the_liquidation_price_of_any_table_the_balance_is_the_maintenance_margin(
    rows: tuple[Bracket, ...], lots: int, sign: int, entry: int, wallet: int
) -> None:
    qty = D(lots) / 100 * sign
    price = liquidation_price(D(wallet), [Leg(BOTH, qty, D(entry), rows)])
    if price is None:
        assert maintenance_margin(rows, D(0)) <= wallet - qty * entry  # solvent even at a price of zero
        return
    left = D(wallet) + qty * (price - entry) - maintenance_margin(rows, qty * price)
    assert abs(left) <= D("1E-12") * max(D(1), abs(qty * price))


@given(tables(), tables(), st.integers(1, 10**4), st.integers(1, 10**4), st.integers(1, 1000), st.integers(1, 10**6))
def test_a_hedge_is_liquidated_where_the_balance_falls_below_its_two_margins(
    long_rows: tuple[Bracket, ...], short_rows: tuple[Bracket, ...], longs: int, shorts: int, entry: int, wallet: int
) -> None:
    legs = [Leg(LONG, D(longs), D(entry), long_rows), Leg(SHORT, -D(shorts), D(entry), short_rows)]
    price = liquidation_price(D(wallet), legs)

    def left(mark: Decimal) -> Decimal:
        pnl = sum((leg.qty * (mark - leg.entry_price) for leg in legs), D(wallet))
        return pnl - sum(maintenance_margin(leg.brackets, leg.qty * mark) for leg in legs)

    if price is not None:
        assert abs(left(price)) <= D("1E-12") * max(D(1), longs * price, shorts * price)
    elif left(D(entry)) > 0:
        assert left(D(0)) >= 0  # it falls towards no price above zero


@given(
    tables(), st.integers(1, 10**4), st.sampled_from([1, -1]), st.integers(1, 10**4), st.integers(0, 10**6),
    st.integers(0, 10**6),
)  # fmt: skip
def test_the_liquidation_price_moves_away_with_the_wallet_in_any_table(
    rows: tuple[Bracket, ...], qty: int, sign: int, entry: int, wallet: int, more: int
) -> None:
    leg = Leg(BOTH, D(qty * sign), D(entry), rows)
    near, far = (liquidation_price(D(money), [leg]) for money in (wallet, wallet + more))
    distance = [sign * (price if price is not None else D(0)) for price in (near, far)]
    assert distance[1] <= distance[0]


def test_a_root_on_the_edge_of_two_brackets_is_found() -> None:
    # 10 coins at 6,000 are worth exactly the first cap: wallet + 10 (6000 - entry) = 60,000 x 0.01.
    rows = table(("0", "60000", 50, "0.01", "0"), ("60000", "100000", 20, "0.02", "600"))
    assert liquidation_price(D(1600), [Leg(BOTH, D(10), D(6100), rows)]) == 6000
    assert liquidation_price(D(1600), [Leg(BOTH, D(-10), D(5900), rows)]) == 6000


def test_a_small_long_surplus_is_liquidated_from_the_side_it_falls_to() -> None:
    # Net +0.01 against margin on 3.99: a rising price costs more margin than it earns.
    legs = [Leg(LONG, D(2), D(60000), BTC), Leg(SHORT, D("-1.99"), D(60000), BTC)]
    price = liquidation_price(D(3000), legs)
    assert price is not None
    assert price > 60000


POOL = [
    PoolPosition("BTCUSDT", BOTH, D("109.488"), D("32481.98"), flat_rate(D("0.025"), D(16300)), D("31967.27")),
    PoolPosition("ETHUSDT", BOTH, D("3683.979"), D("1456.84"), flat_rate(D("0.10"), D(135365)), D("1335.18")),
]


def test_the_faq_example_asked_of_the_pool() -> None:
    # Binance FAQ b3c689c1f50a44cabb3a84e663b81d93.
    wallet = D("1535443.01")
    assert cents(cross_liquidation_price(wallet, "BTCUSDT", POOL)) == D("26316.89")
    assert cents(cross_liquidation_price(wallet, "ETHUSDT", POOL)) == D("1153.26")


def test_a_pool_with_a_hedge_beside_has_one_price_for_the_hedge() -> None:
    hedge = [
        PoolPosition("BTCUSDT", LONG, D(2), D(60000), BTC, D(58000)),
        PoolPosition("BTCUSDT", SHORT, D(-1), D(61000), BTC, D(58000)),
    ]
    other = PoolPosition("ETHUSDT", BOTH, D(3), D(2000), flat_rate(D("0.01"), D(0)), D(2100))
    alone = cross_liquidation_price(D(20000), "BTCUSDT", hedge)
    assert cents(alone) == D("39503.04")
    # The other contract is worth 300 of profit less 63 of margin.
    together = cross_liquidation_price(D(20000), "BTCUSDT", [*hedge, other])
    assert together == cross_liquidation_price(D(20237), "BTCUSDT", hedge)


@pytest.mark.parametrize(
    ("target", "positions", "field"),
    [
        ("XRPUSDT", POOL, "target"),
        ("BTCUSDT", [POOL[0], POOL[0]], "positions"),
        ("BTCUSDT", [POOL[0], PoolPosition("ETHUSDT", BOTH, D(1), D(1), BTC)], "mark_price"),
        ("BTCUSDT", [POOL[0], PoolPosition("BTCUSDT", LONG, D(1), D(1), BTC)], "position_side"),
    ],
)
def test_a_pool_that_does_not_fit_together_is_refused(target: str, positions: list[PoolPosition], field: str) -> None:
    with pytest.raises((LiquidationInputError, UnknownProductError)) as caught:
        cross_liquidation_price(D(1), target, positions)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("qty", "entry", "mark", "field"),
    [("NaN", "1", "1", "qty"), ("1", "-1", "1", "entry_price"), ("1", "1", "Infinity", "mark_price")],
)
def test_a_position_of_impossible_numbers_cannot_be_made(qty: str, entry: str, mark: str, field: str) -> None:
    with pytest.raises(BadValueError) as caught:
        PoolPosition("BTCUSDT", BOTH, D(qty), D(entry), BTC, D(mark))
    assert caught.value.field == field


# Account responses as recorded: the rate is rounded up at eight decimals, the product truncated.
@pytest.mark.parametrize(
    ("notional", "leverage", "margin"),
    [("600", "6", "100.00000200"), ("100", "3", "33.33333400"), ("100", "125", "0.80000000"), ("-100", "1", "100")],
)
def test_the_reported_initial_margin_rounds_its_rate_up(notional: str, leverage: str, margin: str) -> None:
    assert position_initial_margin(D(notional), D(leverage)) == D(margin)


def test_profit_counts_from_the_truncated_entry() -> None:
    assert unrealized_pnl(D(65457), D("0.4281605481461"), D("0.3787")) == D(65457) * (D("0.3787") - D("0.42816054"))
    with pytest.raises(BadValueError):
        unrealized_pnl(D(1), D(1), D("NaN"))


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
