"""Damaged scenarios: an error that names its place, or a result whose money and fills add up. Never anything else."""

import copy
import json
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.scenario import Scenario
from sim.scenario_fields import ScenarioError, load

Document = dict[str, Any]
Place = tuple[str | int, ...]

FOLDER = Path(__file__).parent / "scenarios"
DOCUMENTS: list[Document] = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
WORDS = ["", "abc", "BTCUSDT", "ESH6", "limit", "market", "stop_market", "trailing_stop", "IOC", "FOK", "GTX", "GTD"]
WORDS += ["DAY", "buy", "sell", "cme", "bybit_linear", "isolated", "hedge", "LONG", "open", "halt", "close", "pre_open"]
WORDS += ["power_3", "log", "future", "spot", "quarterly", "2026-01-15T15:00:00", "9999-12-31T23:59:59Z", "a", "mark"]
DECIMALS = ["0", "-0", "1", "2", "-1", "0.01", "100.0", "100.1", "99.9", "1e17", "1e-17", "1e99", "1_0", " 1", "NaN"]
NUMBERS = [0, 1, -1, 2000, 10**18, 10**30, -(10**30), 1.5, float("inf"), float("nan")]
VALUES: list[object] = [*WORDS, *DECIMALS, *NUMBERS, None, True, [], {}, [[]], [["100.0", "1"]], {"BTCUSDT": 1}]
KEYS = ["qty", "price", "tif", "reduce_only", "close_position", "min_qty", "display_qty", "protection_points", "stp"]
KEYS += ["stop_price", "trigger", "expire_t", "callback_rate", "activation_price", "symbol", "position_side", "final"]
KEYS += ["mark", "rate", "multiplier", "liquidation_fee", "min_notional", "leverage", "amount", "extra"]


def places(value: object, here: Place = ()) -> list[Place]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, each in inner for place in places(each, (*here, key)))]


def at(document: Document, place: Sequence[str | int]) -> Any:
    found: Any = document
    for key in place:
        found = found[key]
    return found


@st.composite
def damaged(draw: st.DrawFn) -> Document:
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from([p for p in places(document) if p and p[0] != "expect"]))
        parent, value = at(document, above), copy.deepcopy(draw(st.sampled_from(VALUES)))
        change = draw(st.sampled_from(["set", "set", "set", "remove", "repeat", "add"]))
        if change == "remove":
            del parent[key]
        elif change == "repeat" and isinstance(parent, list):
            parent.append(copy.deepcopy(at(document, [*above, key])))
        elif change == "add" and isinstance(parent, dict):
            parent[draw(st.sampled_from(KEYS))] = value
        else:
            parent[key] = value
    return document


@settings(max_examples=300)
@given(damaged())
def test_a_damaged_scenario_is_refused_or_adds_up(document: Document) -> None:
    result: Document | None = None
    place = ""
    try:
        scenario = Scenario.from_dict(load(json.dumps(document)))
        scenario.check()
        result = json.loads(json.dumps(scenario.run()))
    except ScenarioError as error:
        place = error.path
    if result is None:
        assert place
    else:
        check_money(document, result)
        check_orders(result)


def check_money(document: Document, result: Document) -> None:
    for asset, held in result["balances"].items():
        flows = [Fraction(flow["amount"]) for flow in result["cash_flows"] if flow["asset"] == asset]
        moved = sum(flows, start=Fraction(document["account"]["balances"].get(asset, 0)))
        if all(spec["kind"] != "spot" for spec in document["instruments"]):
            assert Fraction(held) == moved


def check_orders(result: Document) -> None:
    for name, order in result["orders"].items():
        filled = sum((Fraction(fill["qty"]) for fill in result["fills"] if fill["order"] == name), start=Fraction(0))
        assert filled == Fraction(order["filled_qty"])
        assert (order["status"] == "rejected") is (order["reject_reason"] is not None)
        assert (order["avg_price"] is None) is (filled == 0)
        assert order["status"] != "accepted" or filled == 0


def test_money_adds_up_to_the_last_digit_however_large() -> None:
    document = copy.deepcopy(next(d for d in DOCUMENTS if d["name"] == "a closing sale realises against the average"))
    del document["expect"]
    document["account"]["balances"]["USDT"] = "999999999999999999"
    document["venue"]["fees"]["taker"] = "0.000512345678901234"
    document["instruments"][0]["lot_size"] = "0.000000001"
    document["instruments"][0]["brackets"][0]["cap"] = "100000000000000000"
    document["events"][0]["asks"] = [["100.1", "1234567.123456789"], ["100.2", "1"]]
    document["orders"][0]["qty"] = "1234567.123456790"
    document["orders"][1]["qty"] = "0.333333333"
    result: Document = Scenario.from_dict(document).run()
    check_money(document, result)
    assert Decimal(result["positions"]["BTCUSDT"]["qty"]) == Decimal("1234566.790123457")
