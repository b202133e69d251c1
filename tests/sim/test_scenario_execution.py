"""Scenarios without books: which settings and events are refused, and by which key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim.scenario import Scenario
from sim.scenario_fields import ScenarioError

Document = dict[str, Any]
BASE = Path(__file__).parent / "scenarios" / "a_bar_market_charges_10.6_bps_under_stress.json"


def changed(change: Callable[[Document], object]) -> Document:
    found: Document = json.loads(BASE.read_text(encoding="utf-8"))
    change(found)
    return found


def setting(**keys: Any) -> Callable[[Document], object]:
    return lambda d: d["venue"]["execution"].update(keys)


def event(**keys: Any) -> Callable[[Document], object]:
    return lambda d: d["events"][0].update(keys)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (setting(model="forex"), "venue.execution.model"),
        (lambda d: d["venue"]["execution"].pop("model"), "venue.execution.model"),
        (setting(adv={"BTCUSDT": "0"}), "venue.execution.adv.BTCUSDT"),
        (setting(adv={"ETHUSDT": "1"}), "venue.execution.adv.ETHUSDT"),
        (setting(adv={"BTCUSDT": 1000}), "venue.execution.adv.BTCUSDT"),
        (setting(reference="index"), "venue.execution.reference"),
        (setting(participation="1.5"), "venue.execution.participation"),
        (setting(participation="0"), "venue.execution.participation"),
        (setting(touch_fills="yes"), "venue.execution.touch_fills"),
        (setting(stale_ns=0), "venue.execution.stale_ns"),
        (setting(volume_days=0), "venue.execution.volume_days"),
        (setting(crypto={"spread": "4"}), "venue.execution.crypto.spread"),
        (setting(crypto={"impact": "-1"}), "venue.execution.crypto.impact"),
        (setting(crypto={"least_bps": "9", "most_bps": "8"}), "venue.execution.crypto.least_bps"),
        (setting(cme={"impacts": {"ES": "NaN"}}), "venue.execution.cme.impacts.ES"),
        (setting(curves={"hourly": ["1", "2"]}), "venue.execution.curves.hourly"),
        (setting(curves={"monthly": ["0"] * 12}), "venue.execution.curves.monthly[0]"),
        (setting(hours={"opens": "8.30", "closes": "15:00", "settles": "15:00"}), "venue.execution.hours.opens"),
        (setting(hours={"opens": "16:00", "closes": "15:00", "settles": "15:00"}), "venue.execution.hours.closes"),
        (setting(participating="1"), "venue.execution.participating"),
        (event(high="99999"), "events[0].high"),
        (event(close="100000.05"), "events[0].close"),
        (event(volume="-1"), "events[0].volume"),
        (event(start_t=60_000_000_000), "events[0].start_t"),
        (event(opne="1"), "events[0].opne"),
        (lambda d: d["venue"].pop("execution"), "events[0].type"),
        (lambda d: d["events"].append({"t": 0, "type": "book_delta", "symbol": "BTCUSDT"}), "events[4].type"),
        (
            lambda d: d["events"].append(
                {"t": 0, "type": "quote", "symbol": "BTCUSDT", "bid": "2", "bid_qty": "1", "ask": "2", "ask_qty": "1"}
            ),
            "events[4].ask",
        ),
    ],
)
def test_a_mistake_is_named(change: Callable[[Document], object], path: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(changed(change))
    assert caught.value.path == path
