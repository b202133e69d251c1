"""Crypto margin asked as JSON: the published vectors, and refusals that name the field."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.calc import crypto
from daemon.calc.core import CALCULATIONS, CalcError, answer
from daemon.calc.main import differs

ROWS: list[dict[str, Any]] = [
    {"floor": "0", "cap": "50000", "mmr": ".004", "cum": "0", "max_leverage": 125},
    {"floor": "50000", "cap": "600000", "mmr": ".005", "cum": "50", "max_leverage": 100},
    {"floor": "600000", "cap": "3000000", "mmr": ".0065", "cum": "950"},
]
LEG: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "position_side": "BOTH",
    "qty": "12",
    "entry_price": "51000",
    "brackets": ROWS,
}
HEDGE: list[dict[str, Any]] = [
    LEG | {"position_side": "LONG", "qty": "2", "entry_price": "60000"},
    LEG | {"position_side": "SHORT", "qty": "-1", "entry_price": "61000"},
]
BYBIT: dict[str, Any] = {"side": "long", "qty": "1", "entry_price": "40000", "leverage": "50"}


def pool(*positions: dict[str, Any], mode: str = "cross", wallet: str = "20000", **more: str) -> dict[str, Any]:
    return {"margin_mode": mode, "wallet_balance": wallet, "target": "BTCUSDT", "positions": list(positions)} | more


def test_every_crypto_margin_calculation_is_there() -> None:
    assert crypto
    assert {name for name in CALCULATIONS if not name.startswith(("binance.fund", "bybit.fund"))} >= {
        "binance.maintenance_margin", "binance.initial_margin", "binance.bracket_table_check",
        "binance.liquidation_price", "binance.bankruptcy_price", "binance.unrealized_pnl", "bybit.bankruptcy_price",
        "bybit.liquidation_price", "bybit.initial_margin", "bybit.maintenance_margin",
    }  # fmt: skip


# Binance tables of 2024-10-24; the brackets are those at the liquidation price.
@pytest.mark.parametrize(
    ("given", "price"),
    [
        (pool(LEG, mode="isolated", wallet="30600"), "48689.28"),
        (pool(*HEDGE), "39503.04"),
        (pool(*HEDGE, target_side="LONG"), "39503.04"),
        (pool(*HEDGE, mode="isolated", wallet="3000", target_side="LONG"), "58768.84"),
        (pool(*HEDGE, mode="isolated", wallet="3000", target_side="SHORT"), "63731.34"),
        (pool(LEG, wallet="700000"), "0.00"),
        (pool(LEG | {"qty": "0"}), "0.00"),
        (pool(LEG, LEG | {"symbol": "FLAT", "qty": "0"}, wallet="30600"), "48689.28"),
        (pool(LEG, LEG | {"symbol": "OTHER"}, mode="isolated", wallet="30600"), "48689.28"),
        (pool(LEG, LEG | {"symbol": "OTHER", "qty": "1", "mark_price": "51000"}, wallet="30805"), "48689.28"),
    ],
)
def test_liquidation_prices(given: dict[str, Any], price: str) -> None:
    assert f"{float(answer('binance.liquidation_price', given)['liquidation_price']):.2f}" == price


def test_a_bad_table_is_an_answer_of_the_check_and_an_error_elsewhere() -> None:
    bad = [ROWS[0], ROWS[1] | {"cum": "49"}]
    assert answer("binance.bracket_table_check", {"brackets": bad})["first_bad"] == 2
    assert answer("binance.bracket_table_check", {"brackets": ROWS}) == {"ok": True, "first_bad": None}
    with pytest.raises(CalcError) as caught:
        answer("binance.maintenance_margin", {"notional": "1", "brackets": bad})
    assert caught.value.field == "brackets[1].cum"


def test_maintenance_names_its_bracket() -> None:
    got = answer("binance.maintenance_margin", {"notional": "600000", "brackets": ROWS})
    assert got == {"maint_margin": "2950.000", "bracket": 2, "mmr": "0.005", "cum": "50"}


@pytest.mark.parametrize(
    ("name", "given", "kind", "field"),
    [
        ("binance.maintenance_margin", {"notional": "-1", "brackets": ROWS}, "BadValueError", "notional"),
        ("binance.maintenance_margin", {"notional": "NaN", "brackets": ROWS}, "BadValue", "notional"),
        ("binance.maintenance_margin", {"notional": "9e9", "brackets": ROWS}, "NotionalAboveTableError", "notional"),
        ("binance.maintenance_margin", {"notional": "1", "brackets": []}, "BracketTableError", "brackets"),
        ("binance.bracket_table_check", {"brackets": []}, "BadValueError", "brackets"),
        ("binance.initial_margin", {"notional": "1", "leverage": "0"}, "BadValueError", "leverage"),
        ("binance.liquidation_price", pool(LEG, target="ETHUSDT"), "UnknownProductError", "target"),
        ("binance.liquidation_price", pool(), "BadValueError", "positions"),
        ("binance.liquidation_price", pool(LEG, LEG), "BadValueError", "positions[1].position_side"),
        ("binance.liquidation_price", pool(LEG, HEDGE[0]), "BadValueError", "positions[1].position_side"),
        ("binance.liquidation_price", pool(*HEDGE, mode="isolated"), "BadValueError", "target_side"),
        ("binance.liquidation_price", pool(LEG, target_side="LONG"), "BadValueError", "target_side"),
        ("binance.liquidation_price", pool(LEG, mode="both"), "BadValue", "margin_mode"),
        (
            "binance.liquidation_price",
            pool(LEG, LEG | {"symbol": "X"}),
            "BadValueError",
            "positions[1].mark_price",
        ),
        ("binance.liquidation_price", pool(LEG | {"mmr": "0.1"}), "BadValueError", "positions[0].brackets"),
        (
            "binance.liquidation_price",
            pool({key: value for key, value in LEG.items() if key != "brackets"} | {"mmr": "0.1"}),
            "BadValueError",
            "positions[0].cum",
        ),
        ("binance.liquidation_price", pool(HEDGE[0] | {"qty": "-2"}), "BadValueError", "positions[0].qty"),
        ("binance.liquidation_price", pool(LEG | {"entry_price": "-1"}), "BadValueError", "positions[0].entry_price"),
        (
            "binance.liquidation_price",
            pool(HEDGE[0] | {"mark_price": "1"}, HEDGE[1] | {"mark_price": "2"}),
            "BadValueError",
            "positions[1].mark_price",
        ),
        (
            "binance.bankruptcy_price",
            {"qty": "0", "entry_price": "1", "isolated_wallet": "1"},
            "BadValueError",
            "qty",
        ),
        (
            "binance.unrealized_pnl",
            {"qty": "1", "entry_price": "1e25", "mark_price": "1"},
            "BadValueError",
            "entry_price",
        ),
        ("bybit.bankruptcy_price", BYBIT | {"side": "both"}, "BadValue", "side"),
        ("bybit.bankruptcy_price", BYBIT | {"qty": "-1"}, "BadValueError", "qty"),
        ("bybit.bankruptcy_price", BYBIT | {"taker": "0"}, "UnknownField", "taker"),
        (
            "bybit.initial_margin",
            BYBIT | {"taker": "0.1", "value_basis": "last", "mark_price": "1"},
            "BadValue",
            "value_basis",
        ),
        ("bybit.initial_margin", BYBIT | {"taker": "0.1", "value_basis": "mark"}, "MissingField", "mark_price"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(name: str, given: dict[str, Any], kind: str, field: str) -> None:
    with pytest.raises(CalcError) as caught:
        answer(name, given)
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_a_wallet_larger_than_the_position_has_no_bankruptcy_price() -> None:
    given = {"qty": "1", "entry_price": "100", "isolated_wallet": "150"}
    assert answer("binance.bankruptcy_price", given) == {"bankruptcy_price": "0"}


@pytest.mark.parametrize("name", ["binance_liquidation", "binance_margin", "bybit"])
def test_published_vectors(name: str, data_dir: Path) -> None:
    path = data_dir.parent / "vectors" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there: the vectors are not part of the repository")
    lines = path.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if json.loads(line)["calc"] in CALCULATIONS]
    assert wanted
    assert [difference for line in wanted for difference in differs(line)] == []
