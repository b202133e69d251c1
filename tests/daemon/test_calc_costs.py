"""The calculator on funding, schedules and slippage: published vectors, further ones, and refusals by field."""

import json
from pathlib import Path

import pytest

from daemon.calc import execution, funding
from daemon.calc.core import CALCULATIONS, CalcError, answer, loads
from daemon.calc.main import differs

NAMES = {
    "binance.funding_rate",
    "binance.mark_price",
    "binance.funding_payment",
    "bybit.funding_payment",
    "bybit.funding_rate",
    "funding.break_even",
    "exec.twap_schedule",
    "exec.vwap_schedule",
    "exec.pov_child",
    "exec.almgren_chriss",
    "exec.implementation_shortfall",
    "exec.square_root_impact",
    "exec.common_quantity",
    "exec.position_size",
    "exec.attribution",
    "slippage.crypto",
    "slippage.cme",
}

RATE = '"interval_hours": 2, "interest_rate": "0.0001", "cap": "0.003", "floor": "-0.003"'
LEG = '{"price": "100", "step": "2", "min_qty": "1", "multiplier": "0.5", "min_notional": "5"}'
CRYPTO = (
    '"base_bps": "8", "side": "sell", "funding_sensitivity": "5", "liquidations_to_adv": "0", '
    '"cascade_sensitivity": "5", "oi_to_adv": "0", "oi_factor": "0.1"'
)

ANSWERS = [
    ("binance.funding_rate", '{"premium_samples": ["0", "0", "0.0012"], ' + RATE + "}", {"funding_rate": "0.000025"}),
    ("binance.funding_rate", '{"premium_average": "-0.001", ' + RATE + "}", {"funding_rate": "-0.000125"}),
    ("binance.mark_price", '{"kind": "delivery", "index": "60000", "basis_average": "-3"}', {"mark_price": "59997"}),
    ("bybit.funding_payment", '{"qty": "-3", "mark_price": "100", "rate": "-0.001"}', {"amount": "-0.3"}),
    ("exec.pov_child", '{"rate": "0.2", "others_volume": "1000"}', {"quantity": "250"}),
    (
        "exec.common_quantity",
        '{"legs": [' + LEG + '], "notional": "350"}',
        {"quantity": "3", "residual_notional": "50"},
    ),
    # facts/execution.md 4.7
    (
        "exec.position_size",
        '{"usd": "25000", "price": "61234.5", "step": "0.001"}',
        {"qty": "0.408", "notional": "24983.6760", "residual": "16.3240", "limit": None},
    ),
    (
        "exec.position_size",
        '{"usd": "25000", "price": "61234.5", "step": "1", "multiplier": "0.1"}',
        {"qty": "4", "notional": "24493.80"},
    ),
    (
        "exec.position_size",
        '{"usd": "99", "price": "61234.5", "step": "1", "multiplier": "100", "inverse": true}',
        {"qty": "0", "limit": "min_qty"},
    ),
    # Bought ten a tick over the mid of 100 after a decision at 99, for a fee of 1; two ticks were expected.
    (
        "exec.attribution",
        '{"side": "buy", "decision_price": "99", "arrival_bid": "99.9", "arrival_ask": "100.1", "fees": "1", '
        '"fills": [{"qty": "10", "price": "100.1"}], "expected_bps": "20"}',
        {"spread": "1.0", "impact": "0", "delay": "10", "total": "12", "realised_bps": "10", "quality": "excellent"},
    ),
    ("slippage.crypto", '{"funding_rate": "-0.01", ' + CRYPTO + "}", {"slippage_bps": "8.4", "funding_stress": "1.05"}),
    ("slippage.crypto", '{"funding_rate": null, ' + CRYPTO + "}", {"slippage_bps": "8.0", "funding_stress": "1"}),
]

REFUSALS = [
    ("binance.funding_rate", "{" + RATE + "}", "premium_average"),
    ("binance.funding_rate", '{"premium_average": "0", "premium_samples": ["0"], ' + RATE + "}", "premium_samples"),
    ("binance.funding_rate", '{"premium_samples": ["0", "NaN"], ' + RATE + "}", "premium_samples[1]"),
    ("binance.funding_rate", '{"premium_average": "0", "mood": 1, ' + RATE + "}", "mood"),
    ("binance.mark_price", '{"kind": "perpetual", "index": "1", "basis_average": "0"}', "last_funding_rate"),
    ("binance.mark_price", '{"kind": "spot", "index": "1", "basis_average": "0"}', "kind"),
    (
        "binance.mark_price",
        '{"kind": "delivery", "index": "1", "basis_average": "0", "interval_hours": 8}',
        "interval_hours",
    ),
    ("bybit.funding_payment", '{"qty": "1", "mark_price": "-1", "rate": "0"}', "mark_price"),
    (
        "funding.break_even",
        '{"legs": [{"rate": "0.1", "interval_hours": 8, "side": "up"}], "cost_bps": "1", "notional": "1", '
        '"entry_time": "2026-01-15T00:30:00Z"}',
        "legs[0].side",
    ),
    (
        "funding.break_even",
        '{"legs": [], "cost_bps": "1", "notional": "1", "entry_time": "2026-01-15 00:30"}',
        "entry_time",
    ),
    ("exec.twap_schedule", '{"qty": "1", "step": "1", "slices": "3"}', "slices"),
    ("exec.common_quantity", '{"legs": [' + LEG + '], "notional": "-1"}', "notional"),
    ("exec.position_size", '{"usd": "-1", "price": "1", "step": "1"}', "usd"),
    ("exec.position_size", '{"usd": "1", "price": "0", "step": "1"}', "price"),
    ("exec.position_size", '{"usd": "1", "price": "1", "step": "0"}', "step"),
    ("exec.position_size", '{"usd": "1", "price": "1", "step": "1", "max_qty": "0"}', "max_qty"),
    (
        "exec.attribution",
        '{"side": "buy", "decision_price": "1", "arrival_bid": "1", "arrival_ask": "1", "fees": "0", "fills": []}',
        "fills",
    ),
    ("slippage.crypto", "{" + CRYPTO + "}", "funding_rate"),
    (
        "slippage.cme",
        '{"product": "XX", "mid": "1", "participation": "0", "rth": true, "minutes_to_settlement": 1}',
        "product",
    ),
    (
        "slippage.cme",
        '{"product": "ES", "mid": "1", "participation": "0", "rth": "yes", "minutes_to_settlement": 1}',
        "rth",
    ),
]


def test_every_calculation_of_these_areas_is_entered():
    entered = {
        name for name, one in CALCULATIONS.items() if one.function.__module__ in (funding.__name__, execution.__name__)
    }
    assert entered == NAMES


@pytest.mark.parametrize(("name", "given", "expected"), ANSWERS)
def test_answers(name, given, expected):
    vector = {"id": 1, "calc": name, "in": json.loads(given), "expect": expected, "tol": "0.000001"}
    assert list(differs(json.dumps(vector))) == []


@pytest.mark.parametrize(("name", "given", "field"), REFUSALS)
def test_refusals_name_the_field(name, given, field):
    with pytest.raises(CalcError) as refused:
        answer(name, loads(given))
    assert refused.value.field == field


@pytest.mark.parametrize("area", ["funding", "execution", "slippage"])
def test_shared_vectors(data_dir: Path, area: str) -> None:
    path = data_dir.parent / "vectors" / f"{area}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is missing: tests on shared vectors need it")
    assert [one for line in path.read_text().splitlines() if line.strip() for one in differs(line)] == []
