"""`basisd emulate`: what it takes, what it says first, how it ends."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from emulator_process import emulating

from daemon.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_line_says_where_everything_is(tmp_path: Path) -> None:
    with emulating(tmp_path, "--seed", "7") as emulator:
        told = emulator.endpoints
        assert set(told) == {"rest", "ws_public", "ws_market", "ws_private", "ws_api", "api_key", "secret"}
        assert len(told["api_key"]) == 64
        assert httpx.get(f"{told['rest']}/fapi/v1/ping").json() == {}
        symbols = httpx.get(f"{told['rest']}/fapi/v1/exchangeInfo").json()["symbols"]
        assert [one["symbol"] for one in symbols][:2] == ["BTCUSDT", "ETHUSDT"]


def test_keys_may_be_those_of_a_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{'a' * 64}\nsecret\n")
    with emulating(tmp_path, "--credentials", str(keys), "--venue", "spot") as emulator:
        assert (emulator.endpoints["api_key"], emulator.endpoints["secret"]) == ("a" * 64, "secret")
        assert emulator.endpoints["ws_api"].endswith("/ws-api/v3")
        told = httpx.get(f"{emulator.endpoints['rest']}/api/v3/exchangeInfo").json()
        assert {one["symbol"] for one in told["symbols"]} == {"BTCUSDT", "ETHUSDT"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--market", "nowhere.gz"], "--market: nowhere.gz is neither"),
        (["--speed", "fast"], "--speed"),
        (["--speed", "0"], "--speed: 0 is not positive"),
        (["--funding-rate", "0.5"], "--funding-rate"),
        (["--funding-hours", "3"], "--funding-hours: 3"),
        (["--step-ms", "0"], "--step-ms: 0"),
        (["--balance", "USDT"], "--balance: 'USDT' is not ASSET=AMOUNT"),
        (["--balance", "USDT=-1"], "--balance: USDT=-1 is negative"),
        (["--credentials", __file__], "not an API key"),
        (["--public-key", __file__], "--public-key"),
        (["--faults", __file__], "--faults"),
    ],
)
def test_what_cannot_be_used_is_named(options: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulate", "binance", *options]) == 2
    assert why in capsys.readouterr().err


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
