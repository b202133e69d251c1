"""What a scenario's `venue` object may say of the fund, of other traders and of cascades."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim.scenario import Scenario
from sim.scenario_fields import ScenarioError

Document = dict[str, Any]
Change = Callable[[Document], object]

SCENARIOS = Path(__file__).parent / "scenarios"


def document(name: str = "what_the_fund_cannot_bear_is_deleveraged_in_rank_order") -> Document:
    found: Document = json.loads((SCENARIOS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def venue(**keys: object) -> Change:
    return lambda d: d["venue"].update(keys)


def participant(**keys: object) -> Change:
    return lambda d: d["venue"]["participants"][1].update(keys)


def stake(**keys: object) -> Change:
    return lambda d: d["venue"]["participants"][1]["positions"][0].update(keys)


def crowd(**keys: object) -> Change:
    return venue(populations=[{"symbol": "BTCUSDT", "pairs": 3, "price": "100", "qty_max": "5", **keys}])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (venue(insurance={"start": "-1"}), "venue.insurance.start"),
        (venue(insurance={"start": 1}), "venue.insurance.start"),
        (venue(insurance={"reserve": "1.5"}), "venue.insurance.reserve"),
        (venue(insurance={"balance": "1"}), "venue.insurance.balance"),
        (venue(cascade={"impact": "gatheral"}), "venue.cascade.impact"),
        (venue(cascade={"impact": "kyle"}), "venue.cascade.lambda"),
        (venue(cascade={"lambda": "0.1"}), "venue.cascade.lambda"),
        (venue(cascade={"decay": "2"}), "venue.cascade.decay"),
        (venue(cascade={"waves_max": 0}), "venue.cascade.waves_max"),
        (venue(cascade={"waves": 2}), "venue.cascade.waves"),
        (participant(id="broke"), "venue.participants"),
        (participant(id="account"), "venue.participants"),
        (participant(mood="good"), "venue.participants[1].mood"),
        (participant(margin_mode="both"), "venue.participants[1].margin_mode"),
        (participant(leverage={"ETHUSDT": 2}), "venue.participants[1].leverage.ETHUSDT"),
        (participant(position_mode="hedge"), "venue.participants[1].positions[0].position_side"),
        (stake(symbol="ETHUSDT"), "venue.participants[1].positions[0].symbol"),
        (stake(qty="0.05"), "venue.participants[1].positions[0].qty"),
        (stake(qty="0"), "venue.participants[1].positions[0].qty"),
        (stake(entry_price="0"), "venue.participants[1].positions[0].entry_price"),
        (stake(position_side="LONG"), "venue.participants[1].positions[0].position_side"),
        (stake(price="1"), "venue.participants[1].positions[0].price"),
        (crowd(pairs=0), "venue.populations[0].pairs"),
        (crowd(leverage_max=101), "venue.populations[0].leverage_max"),
        (crowd(qty_max="0.01"), "venue.populations[0].qty_max"),
        (crowd(entry_spread="1"), "venue.populations[0].entry_spread"),
        (crowd(isolated="-1"), "venue.populations[0].isolated"),
        (crowd(seed=1), "venue.populations[0].seed"),
    ],
)
def test_what_the_venue_cannot_be_names_the_key(change: Change, path: str) -> None:
    changed = document()
    change(changed)
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(changed)
    assert caught.value.path == path


def test_a_crowd_follows_the_seed() -> None:
    changed = document()
    del changed["expect"]
    crowd()(changed)
    first = Scenario.from_dict(changed).run()["participants"]
    again = Scenario.from_dict(changed).run()["participants"]
    changed["seed"] = 8
    other = Scenario.from_dict(changed).run()["participants"]
    assert first == again != other
    assert isinstance(first, dict)
    assert [name for name in first if name.startswith("crowd")] == [f"crowd0-{i}" for i in range(6)]


def test_only_a_venue_with_settings_tells_of_others() -> None:
    result = Scenario.from_dict(document("an_exact_fill_ends_the_order")).run()
    assert "participants" not in result
    assert "insurance" not in result


def es(**keys: object) -> Change:
    return lambda d: d["venue"].setdefault("controls", {}).setdefault("ESH6", {}).update(keys)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (es(price_band="0"), "venue.controls.ESH6.price_band"),
        (es(limit_share="1"), "venue.controls.ESH6.limit_share"),
        (es(breaker_width="1", breaker_share="0.1"), "venue.controls.ESH6.breaker_share"),
        (es(breaker="1"), "venue.controls.ESH6.breaker"),
        (es(velocity={"ticks": 0, "window_ns": 1, "pause_ns": 1}), "venue.controls.ESH6.velocity.ticks"),
        (es(velocity={"ticks": 1}), "venue.controls.ESH6.velocity.window_ns"),
        (es(stop_logic={"ticks": 1, "pause_ns": -1}), "venue.controls.ESH6.stop_logic.pause_ns"),
        (es(stop_logic={"ticks": 1, "pause_ns": 1, "window_ns": 1}), "venue.controls.ESH6.stop_logic.window_ns"),
        (es(breaker_width="0.2"), "venue.controls.ESH6.breaker_width"),
        (es(equity_limits=True), "venue.controls.ESH6.equity_limits"),
        (es(equity_limits="yes"), "venue.controls.ESH6.equity_limits"),
        (es(close_out_t=-1), "venue.controls.ESH6.close_out_t"),
        (venue(controls={"NQH6": {}}), "venue.controls.NQH6"),
        (venue(calendar="yes"), "venue.calendar"),
        (venue(calendar=True, rules="binance_usdm"), "venue.calendar"),
        (venue(daily_settlement=True), "venue.daily_settlement"),
        (lambda d: (d["venue"].update(calendar=True), d["instruments"][0].update(symbol="XYH6")), "venue.calendar"),
        (lambda d: (d["venue"].update(calendar=True), d.update(epoch="1990-01-01T00:00:00Z")), "epoch"),
        (lambda d: d["instruments"][0].update(expiry_t=-1), "instruments[0].expiry_t"),
    ],
)
def test_controls_that_cannot_be_name_the_key(change: Change, path: str) -> None:
    changed = document("daily_settlement_pays_variation_margin")
    change(changed)
    if path == "venue.calendar" and changed["instruments"][0]["symbol"] != "ESH6":
        changed["events"], changed["orders"] = [], []
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(changed)
    assert caught.value.path == path


def test_a_perpetual_does_not_expire() -> None:
    changed = document()
    changed["instruments"][0]["expiry_t"] = 5
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(changed)
    assert caught.value.path == "instruments[0].expiry_t"
