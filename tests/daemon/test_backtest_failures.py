"""A user's strategy that fails in the middle of a whole run: set aside once, halted the second time, and again so."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.log import open_log

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000_000
START = 1_768_492_740_000_000_000  # 2026-01-15T15:59:00Z

STRATEGY = """
from attrs import frozen
from actors.base import handles
from actors.messages import BookView, DepthReply, DepthRequest
from actors.strategies.cash_and_carry import CashAndCarry

START, SECOND = {start}, 1_000_000_000
FAIL_AT = {fail_at}
SEEN = []


class Faulty(CashAndCarry):
    publishes = (*CashAndCarry.publishes, DepthRequest)

    def on_start(self, now):
        super().on_start(now)
        {on_start}
        for number in FAIL_AT:
            if START + number * SECOND > now:
                self.out.timer(f"fail {{number}}", START + number * SECOND)

    def on_clock(self, now, key):
        if not key.startswith("fail"):
            return super().on_clock(now, key)
        {on_clock}

    def on_book(self, now, view):
        {on_book}
        super().on_book(now, view)

    {more}
"""
PING_PONG = """
    @handles(DepthReply)
    def on_depth(self, now, reply):
        self.out.emit(DepthRequest(now, "again", self.config.spot, 1))
"""


def config_with(folder: Path, **parts: object) -> Path:
    """Return the demo's desk on two minutes of market with a strategy made of `parts`."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    for key, value in (
        ("duration", '"2m"'),
        ("entry_bps", '"-100"'),
        ("max_hold", '"20s"'),
        ("start", '"2026-01-15T15:59:00Z"'),
        ("kind", '"faulty_desk:Faulty"'),
    ):
        pattern = rf'^{key} = "cash_and_carry"' if key == "kind" else rf"^{key} = \S+"
        text, count = re.subn(pattern, f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    given = {"fail_at": (), "on_start": "pass", "on_clock": "pass", "on_book": "pass", "more": ""} | parts
    (folder / "faulty_desk.py").write_text(
        STRATEGY.format(start=START, **given).replace("from actors.basket_plan import BasketPlan\n", "")
    )
    path = folder / "desk.toml"
    path.write_text(text)
    return path


def run(folder: Path, path: Path) -> tuple[int, dict[str, Any]]:
    """Run as a user does, in a process of its own; return exit status and summary."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "backtest", str(path), "--out", str(folder / "out"), "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads((folder / "out" / "summary.json").read_text())


def replay(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "replay", str(folder / "out"), "--check"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin"},
    )
    return done.returncode, done.stdout + done.stderr


RAISE = 'raise ValueError("on purpose")'
CASES: dict[str, tuple[dict[str, object], int, str | None]] = {
    "once in a timer, with a basket open": ({"fail_at": (10,), "on_clock": RAISE}, 1, None),
    "once in a view, with a basket open": (
        {"on_book": f"if now >= START + 10 * SECOND and not SEEN: SEEN.append(now); {RAISE}"},
        1,
        None,
    ),
    "twice within a minute": ({"fail_at": (10, 40), "on_clock": RAISE}, 2, "second quarantine within a minute"),
    "on every view": ({"on_book": RAISE}, 2, "second quarantine within a minute"),
    "at the start": ({"on_start": RAISE}, 0, "on purpose"),
    "by leaving the process": ({"fail_at": (10,), "on_clock": "raise SystemExit(0)"}, 1, None),
    "a storm between two actors": (
        {
            "fail_at": (10,),
            "on_clock": 'self.out.emit(DepthRequest(now, "first", self.config.spot, 1))',
            "more": PING_PONG,
        },
        0,
        "more than 10000 messages",
    ),
    "a message it did not declare": (
        {"fail_at": (10,), "on_clock": "self.out.emit(BookView(now, 'x', 1, 1, 2, 1))"},
        1,
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_failing_strategy_is_set_aside_or_halts_the_run_and_does_so_again(case: str, tmp_path: Path) -> None:
    parts, quarantined, halt = CASES[case]
    status, summary = run(tmp_path, config_with(tmp_path, **parts))
    assert len(summary["quarantined"]) == quarantined
    if halt is None:
        assert status == 0
        assert summary["halt"] is None
    else:
        assert status == 1
        assert halt in summary["halt"]
    status, said = replay(tmp_path)
    assert status == 0, said
    assert "no difference" in said
    assert (halt or "no difference") in said
    assert open_log(tmp_path / "out" / "log").is_sealed
