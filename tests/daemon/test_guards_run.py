"""The risk guards in a whole run: a refusal names its reason, a reduction keeps the desk neutral and is replayed."""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from desk_configs import HOLDING, write_config

from actors.messages import BasketState
from daemon.backtest import Backtest, Outcome
from daemon.replay import main as replay_main

PERP, SPOT = "binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"
SHORT = {**HOLDING, "duration": '"40s"'}


def play(folder: Path, more: str, **changes: str) -> Outcome:
    path = write_config(folder / "desk.toml", SHORT | changes, more)
    return Backtest.from_file(path).run(folder / "run")


def held(outcome: Outcome) -> dict[str, str]:
    return dict(outcome.summary["positions"])


FUTURES, CASH = f"futures/{PERP}/BOTH", f"spot/{SPOT}/BOTH"


def test_with_the_default_guards_the_basket_is_opened_and_kept(tmp_path: Path) -> None:
    outcome = play(tmp_path, "")
    assert outcome.summary["baskets"]["balanced"] == 1
    assert held(outcome) == {FUTURES: "-0.500", CASH: "0.50000"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[guards.size]\nnotional_max = "10000"\n', f"guards: {SPOT}: symbol_size: "),
        ("[guards.size]\nopen_positions_max = 1\n", f"guards: {SPOT}: open_positions: 2 is over 1"),
        ('[guards.leverage]\naccount = "0.5"\n', "guards: futures: account_leverage: "),
        (
            '[risk]\ngross_notional_max = "100000"\n[guards.concentration]\nmost = "0.4"\n',
            "guards: BTC: concentrated: 1.0000 of ",
        ),
    ],
)
def test_a_basket_that_a_guard_refuses_is_denied_with_its_reason(tmp_path: Path, more: str, said: str) -> None:
    outcome = play(tmp_path, more)
    assert outcome.summary["baskets"]["denied"] >= 1
    assert outcome.summary["fills"] == 0
    denied = [one for one in outcome.baskets if one.state is BasketState.DENIED]
    assert denied
    assert all(one.why.startswith(f"preflight: {said}") for one in denied)


REDUCING = """
[guards.liquidation_distance]
warn = "0.95"
act = "0.95"
keep = "0.5"
"""


def test_a_reduction_takes_the_same_off_every_leg(tmp_path: Path) -> None:
    # 20,000 behind a short of 0.5 BTC at about 60,000: liquidated 66 % above, 131 % once half of it is gone.
    path = write_config(tmp_path / "desk.toml", SHORT, REDUCING)
    text, count = re.subn(r'USDT = "50000"', 'USDT = "20000"', path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    outcome = Backtest.from_file(path).run(tmp_path / "run")
    summary: dict[str, Any] = outcome.summary
    assert held(outcome) == {FUTURES: "-0.250", CASH: "0.25000"}
    assert summary["baskets"]["broken"] == 0
    assert summary["fills"] >= 4
    assert summary["kill_level"] == "REDUCE_ONLY"
    assert replay_main(Namespace(log=str(tmp_path / "run" / "log"), export=False)) == 0
