"""Parents in a whole backtest: every mode at the simulated venue, the position is what was reported, replays agree."""

import json
import re
import sys
from argparse import Namespace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.executions import ExecutionMode, ExecutionReason, ExecutionReport, ExecutionState, Rung
from daemon.backtest import Backtest
from daemon.config import load
from daemon.kinds import KINDS
from daemon.replay import main as replay_main

ROOT = Path(__file__).resolve().parents[2]
PERPETUAL = "binance_usdm:BTCUSDT"

STRATEGY = """
from decimal import Decimal
from actors.executions import ExecutionMode
from actors.strategies.base import Strategy
from venues.model.order import Side

SECOND = 1_000_000_000
REPORTS = []
PERPETUAL = "binance_usdm:BTCUSDT"
PLAN = (
    (Side.BUY, "0.050", ExecutionMode.LIMIT_WITH_FALLBACK, {}),
    (Side.SELL, "0.050", ExecutionMode.MARKET_ONLY, {"reduce_only": True}),
    (Side.BUY, "0.040", ExecutionMode.ADAPTIVE, {}),
    (Side.BUY, "0.040", ExecutionMode.LIMIT_ONLY, {"limit_price": Decimal(59_900), "time_budget_ns": 3 * SECOND}),
    (Side.SELL, "0.030", ExecutionMode.LIMIT_WITH_FALLBACK, {"time_budget_ns": 4 * SECOND}),
    (Side.BUY, "900", ExecutionMode.MARKET_ONLY, {}),
    (Side.BUY, "3.500", ExecutionMode.LIMIT_WITH_FALLBACK, {"time_budget_ns": SECOND // 8}),
)


class Executing(Strategy):
    def on_book(self, now, view):
        if view.instrument == PERPETUAL and self.state.next_basket == 1:
            self._next(now)

    def on_execution(self, now, report):
        REPORTS.append(report)
        if not report.is_amended:
            self._next(now)

    def _next(self, now):
        number = self.state.next_basket - 1
        if number < len(PLAN):
            side, qty, mode, more = PLAN[number]
            self.execute(now, "futures", PERPETUAL, side, Decimal(qty), mode=mode, **more)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[ExecutionReport], Path]:
    """The summary, the reports and the folder of two minutes in which one parent follows the other."""
    folder = tmp_path_factory.mktemp("executing")
    (folder / "executing_strategy.py").write_text(STRATEGY)
    text = (ROOT / "configs" / "demo.toml").read_text()
    text, count = re.subn(r'^duration = "20m"', 'duration = "2m"', text, flags=re.M)
    assert count == 1
    head, _, tail = text.partition("[[strategies]]")
    rest = re.split(r"^\[(?!strategies)", tail, maxsplit=1, flags=re.M)
    strategy = '[[strategies]]\nid = "executing"\nkind = "executing_strategy:Executing"\n\n'
    path = folder / "executing.toml"
    path.write_text(head + strategy + (f"[{rest[1]}" if len(rest) > 1 else ""))
    outcome = Backtest(load(path, KINDS)).run(folder / "run")
    reports: list[ExecutionReport] = sys.modules["executing_strategy"].REPORTS
    return dict(outcome.summary), list(reports), folder


def test_every_mode_comes_to_its_end(done):
    _, reports, _ = done
    states = [(one.mode, one.state) for one in reports]
    mode, state = ExecutionMode, ExecutionState
    assert states[:6] == [
        (mode.LIMIT_WITH_FALLBACK, state.FILLED),
        (mode.MARKET_ONLY, state.FILLED),
        (mode.ADAPTIVE, state.FILLED),
        (mode.LIMIT_ONLY, state.ENDED),
        (mode.LIMIT_WITH_FALLBACK, state.FILLED),
        (mode.MARKET_ONLY, state.DENIED),
    ]
    assert (reports[3].reason, reports[5].reason) == (ExecutionReason.TIMED_OUT, ExecutionReason.EXPECTED_SLIPPAGE)
    assert reports[2].mode_used is mode.MARKET_ONLY
    assert (reports[1].rung, reports[3].rung, reports[5].rung) == (Rung.MARKET, Rung.JOIN, None)
    assert not any(one.is_amended for one in reports)


def test_a_large_parent_climbs_the_ladder(done):
    _, reports, _ = done
    large = reports[6]
    assert (large.state, large.filled_qty, large.rung) == (ExecutionState.FILLED, Decimal("3.500"), Rung.MARKET)
    assert large.orders >= 3
    # What rested had no time to fill; all was taken, within the protection of 50 bps.
    assert large.benchmarks.arrival_bps < 50
    assert large.attribution.spread == large.qty * (large.arrival_ask - large.arrival_bid) / 2


def test_the_position_is_what_the_reports_add_up_to(done):
    summary, reports, _ = done
    total = sum((one.side.sign * one.filled_qty for one in reports), Decimal(0))
    assert total
    assert {key: Decimal(qty) for key, qty in summary["positions"].items() if PERPETUAL in key and Decimal(qty)} == {
        key: total for key in summary["positions"] if PERPETUAL in key
    }
    assert Decimal(summary["fees"]) == sum((one.fees.get("USDT", Decimal(0)) for one in reports), Decimal(0))
    assert summary["halt"] is None


def test_what_rested_cost_less_than_what_took(done):
    _, reports, _ = done
    rested = [one for one in reports if one.filled_qty and one.rung in (Rung.JOIN, Rung.STEP)]
    took = [one for one in reports if one.filled_qty and one.mode_used is ExecutionMode.MARKET_ONLY]
    assert took
    # Half a spread was paid, to the tick: the book was not moved between arrival and fill.
    for one in took:
        assert one.attribution.spread > 0
        assert one.benchmarks.arrival_bps >= one.expected_bps > 0
    for one in rested:
        assert one.attribution.spread < 0
    for one in (*rested, *took):
        assert one.attribution.total == one.shortfall.total - one.shortfall.opportunity


def test_the_run_replays_to_the_same_commands(done, capsys):
    _, _, folder = done
    assert replay_main(Namespace(log=str(folder / "run"), check=True, export=False)) == 0
    assert json.loads((folder / "run" / "summary.json").read_text())["intents"] > 7
    capsys.readouterr()
