"""`basisd emulate`: what it takes, what it says first, how it ends."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from emulated import emulator

from daemon.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_line_says_where_everything_is(tmp_path: Path) -> None:
    with emulator(tmp_path, "one", "--seed", "7") as one:
        told = one.told
        assert set(told) == {"rest", "ws_public", "ws_market", "ws_private", "ws_api", "api_key", "secret"}
        assert len(told["api_key"]) == 64
        assert httpx.get(f"{told['rest']}/fapi/v1/ping").json() == {}
        symbols = httpx.get(f"{told['rest']}/fapi/v1/exchangeInfo").json()["symbols"]
        assert [one["symbol"] for one in symbols][:2] == ["BTCUSDT", "ETHUSDT"]


def test_keys_may_be_those_of_a_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f'api_key = "{"a" * 64}"\nsecret = "hush"\n')
    with emulator(tmp_path, "one", "--credentials", str(keys), "--venue", "spot") as one:
        assert (one.told["api_key"], one.told["secret"]) == ("a" * 64, "hush")
        assert one.told["ws_api"].endswith("/ws-api/v3")
        answer = httpx.get(f"{one.told['rest']}/api/v3/exchangeInfo").json()
        assert {row["symbol"] for row in answer["symbols"]} == {"BTCUSDT", "ETHUSDT"}


def test_venues_of_one_start_agree_on_the_time(tmp_path: Path) -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    options = ("--speed", "60", "--start", start.isoformat())
    with emulator(tmp_path, "one", *options) as one, emulator(tmp_path, "other", *options) as other:
        for each in (one, other):
            before = time.time()
            told_s = httpx.get(f"{each.told['rest']}/fapi/v1/time").json()["serverTime"] / 1_000
            after = time.time()
            lived_s = told_s - start.timestamp()
            # A thousandth of a venue second is cut from what is told; the clock was read in between.
            assert (before - start.timestamp()) * 60 - 60 <= lived_s <= (after - start.timestamp()) * 60 + 60


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--market", "nowhere.gz"], "--market: nowhere.gz is neither"),
        (["--speed", "fast"], "--speed"),
        (["--speed", "0"], "--speed: 0 is not positive"),
        (["--funding-rate", "0.5"], "--funding-rate"),
        (["--funding-hours", "3"], "--funding-hours: 3"),
        (["--start", "yesterday"], "--start: 'yesterday'"),
        (["--step-ms", "0"], "--step-ms: 0"),
        (["--balance", "USDT"], "--balance: 'USDT' is not ASSET=AMOUNT"),
        (["--balance", "USDT=-1"], "--balance: USDT=-1 is negative"),
        (["--credentials", __file__], "--credentials"),
        (["--public-key", __file__], "--public-key"),
        (["--faults", __file__], "--faults"),
    ],
)
def test_what_cannot_be_used_is_named(options: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulate", "binance", *options]) == 2
    assert why in capsys.readouterr().err


def test_a_recording_without_a_book_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "frames.txt"
    empty.write_text("1700000000000000000 {}\n")
    assert main(["emulate", "binance", "--market", str(empty)]) == 2
    assert "--market" in capsys.readouterr().err


def test_sigterm_before_anybody_came_ends_it_with_zero() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon.cli", "emulate", "binance"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
