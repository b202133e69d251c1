"""What a person is told of a run: everything, rounded and never cut off."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve

from daemon.account import account
from daemon.backtest import Backtest
from daemon.basket_account import BasketAccount
from sim.market import RecordingReport

ROOT = Path(__file__).resolve().parents[2]
CARRY = ("binance_usdm:BTCUSDT", "binance_spot:BTCUSDT")


@pytest.fixture(scope="module")
def backtest(tmp_path_factory):
    """The demo's desk on two minutes of market; it opens at once, closes after 20 s, and holds over a funding stamp."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    for key, value in (
        ("duration", '"2m"'),
        ("entry_bps", '"-100"'),
        ("exit_bps", '"-200"'),
        ("max_hold", '"20s"'),
        ("start", '"2026-01-15T15:59:50Z"'),
    ):
        text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    path = tmp_path_factory.mktemp("account") / "short.toml"
    path.write_text(text)
    return Backtest.from_file(path)


@pytest.fixture(scope="module")
def outcome(backtest, tmp_path_factory):
    return backtest.run(tmp_path_factory.mktemp("account") / "out")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_is_cut_off_and_80_columns_are_enough(outcome, backtest, width):
    lines = list(account(outcome, backtest.config, width))
    assert max(map(len, lines[:-4])) <= max(80, width)
    for word in (
        *CARRY,
        "taker",
        outcome.summary["journal_sha256"],
        f"{outcome.folder / 'log'}",
        "still held   nothing",
    ):
        assert any(word in line for line in lines), word
    assert not any("…" in line for line in lines)


def test_a_wide_terminal_has_wider_gaps(outcome, backtest):
    narrow, wide = ("\n".join(account(outcome, backtest.config, width)) for width in (80, 120))
    assert narrow != wide
    assert narrow.split() == wide.split()


def test_the_money_told_adds_up(outcome, backtest):
    text = "\n".join(account(outcome, backtest.config, 80))
    told = {
        label: Decimal(re.search(rf"^  {label} +([+-][\d,.]+)$", text, re.MULTILINE)[1].replace(",", ""))  # type: ignore[index]
        for label in ("realised", "fees", "funding", "net")
    }
    assert told["net"] == pytest.approx(told["realised"] + told["fees"] + told["funding"], abs=Decimal("0.0002"))
    assert told["fees"] < 0 < told["funding"]


def test_baskets_come_to_the_run_s_result(outcome):
    """Everything closed: what the baskets left, fees paid, is realised profit less fees."""
    summary = outcome.summary
    results = [basket.result for basket in outcome.baskets]
    assert all(isinstance(one, BasketAccount) for one in outcome.baskets)
    assert summary["positions"] == {}
    expected = Decimal(summary["realized_pnl"]) - Decimal(summary["fees"])
    assert sum(results, Decimal(0)) == pytest.approx(expected, abs=Decimal("1e-9"))
    assert sum((one.fees["USDT"] for one in outcome.baskets), Decimal(0)) == Decimal(summary["fees"])
    for basket in outcome.baskets:
        assert sorted(leg.instrument for leg in basket.legs) == sorted(CARRY)
        assert basket.closed_ns is not None
        assert basket.opened_ns < basket.closed_ns


def test_a_run_that_went_wrong_says_so(outcome, backtest):
    summary = outcome.summary | {
        "halt": "second quarantine within a minute",
        "quarantined": ["input 7: mine failed on BookView: RuntimeError: no luck"],
        "positions": {"spot/x:y/BOTH": "-1"},
        "other_assets": {"BNB": "-0.01"},
    }
    report = RecordingReport("day.gz", frames=9, decoded=5, bad_lines={"no timestamp": 2}, odd_lots=3, drift_ns=5)
    changed = evolve(outcome, summary=summary, recordings=[report])
    text = "\n".join(account(changed, backtest.config, 80))
    for said in (
        "halted ",
        "RuntimeError: no luck",
        "x:y/BOTH -1",
        "-0.01 BNB",
        "5 of 9 frames",
        "2 no timestamp",
        "3 disp",
    ):
        assert said in text, said


def test_many_trades_are_shown_in_part_and_where_the_rest_is(outcome, backtest, monkeypatch):
    monkeypatch.setattr("daemon.account._TRADES_SHOWN", 2)
    monkeypatch.setattr("daemon.account._BASKETS_SHOWN", 1)
    text = "\n".join(account(outcome, backtest.config, 80))
    assert f"Trades ({outcome.summary['fills']}, the first 2)" in text
    assert "select * from fills" in text
    assert "  ... and 1 more" in text
