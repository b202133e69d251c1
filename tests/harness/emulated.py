"""Emulators of Binance as processes of their own, and desks that trade there."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import define

from venues.binance.sign import HmacSigner, signed_query

ROOT = Path(__file__).resolve().parents[2]
_ENDPOINTS = ("rest", "ws_public", "ws_market", "ws_private", "ws_api")


_PAUSE_S = 0.2
"""An account asked more often would use up its limits."""


class RefusedError(Exception):
    """The emulator did not do what it was asked."""


@define
class Emulator:
    """One emulator: where it answers, and the keys of its only account."""

    told: dict[str, str]
    process: subprocess.Popen[bytes]
    words: Path

    def endpoints(self, pace: str = "") -> str:
        """Return the inline table of a configuration; `pace` is what it says of speed and start."""
        pairs = ", ".join([*(f'{name} = "{self.told[name]}"' for name in _ENDPOINTS), *([pace] if pace else [])])
        return f"{{ {pairs} }}"

    def credential(self) -> str:
        """Return what stands in a credential's file."""
        return f'api_key = "{self.told["api_key"]}"\nsecret = "{self.told["secret"]}"\n'

    def ask(self, path: str, method: str = "GET", **params: str | int) -> Any:
        """Ask as the account's owner, past the desk and slowly. Raises RefusedError for anything but 200."""
        time.sleep(_PAUSE_S)
        stamp = (*((name, str(value)) for name, value in params.items()), ("timestamp", str(self.time_ms())))
        query = signed_query(stamp, HmacSigner(self.told["secret"]))
        return self.call(method, f"{path}?{query}", {"X-MBX-APIKEY": self.told["api_key"]})

    def time_ms(self) -> int:
        return int(self.call("GET", "/api/v3/time" if self.is_spot else "/fapi/v1/time")["serverTime"])

    def call(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None) -> Any:
        """Send a request from an address of our own, whose limits are nobody else's. Raises RefusedError."""
        url = urlsplit(self.told["rest"])
        connection = HTTPConnection(url.hostname or "", url.port, timeout=30, source_address=("127.0.0.2", 0))
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, dict(headers or {}))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RefusedError(f"{method} {path.partition('?')[0]}: {answer.status} {text[:200]!r}")
        return json.loads(text) if text else None

    @property
    def is_spot(self) -> bool:
        return "/ws-api/" in self.told["ws_api"]

    def positions(self) -> dict[str, Decimal]:
        """Return what is held by symbol; at a spot venue coins of BTC and ETH are."""
        if self.is_spot:
            held = {f"{asset}USDT": self.wallet(asset) for asset in ("BTC", "ETH")}
            return {symbol: qty for symbol, qty in held.items() if qty}
        rows = self.ask("/fapi/v3/positionRisk")
        return {row["symbol"]: qty for row in rows if (qty := Decimal(row["positionAmt"]))}

    def wallet(self, asset: str = "USDT") -> Decimal:
        if self.is_spot:
            spot = [row for row in self.ask("/api/v3/account")["balances"] if row["asset"] == asset]
            return sum((Decimal(row["free"]) + Decimal(row["locked"]) for row in spot), Decimal(0))
        (row,) = (row for row in self.ask("/fapi/v3/balance") if row["asset"] == asset)
        return Decimal(row["balance"])

    def open_orders(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("/api/v3/openOrders" if self.is_spot else "/fapi/v1/openOrders")
        return found

    def orders(self, symbol: str) -> list[dict[str, Any]]:
        """Return every order of the account in a symbol."""
        return self._pages("/api/v3/allOrders" if self.is_spot else "/fapi/v1/allOrders", symbol, "orderId", "orderId")

    def trades(self, symbol: str) -> list[dict[str, Any]]:
        """Return every trade of the account in a symbol."""
        return self._pages("/api/v3/myTrades" if self.is_spot else "/fapi/v1/userTrades", symbol, "fromId", "id")

    def _pages(self, path: str, symbol: str, parameter: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        terms: dict[str, Any] = {"symbol": symbol, "limit": 1000, parameter: 0}
        while True:
            page = self.ask(path, **terms)
            found += page
            if len(page) < 1000:
                return found
            terms[parameter] = page[-1][key] + 1

    def incomes(self) -> list[dict[str, Any]]:
        """Return all of a futures account's income."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        since = 0
        while True:
            page = self.ask("/fapi/v1/income", limit=1000, startTime=since)
            found |= {(row["incomeType"], row["tranId"]): row for row in page}
            if len(page) < 1000:
                return list(found.values())
            since = page[-1]["time"]

    def placements(self) -> list[dict[str, Any]]:
        """Return which client ids were asked for, and how often."""
        found: list[dict[str, Any]] = self.call("GET", "/emulator/placements")["placements"]
        return found

    def fault(self, fault: Mapping[str, Any]) -> None:
        """Set a fault, as a tester would. Raises RefusedError."""
        self.call("POST", "/emulator/faults", {"content-type": "application/json"}, fault)

    def faults(self) -> list[dict[str, Any]]:
        """Return every fault as it was set, and how often it was met."""
        found: list[dict[str, Any]] = self.call("GET", "/emulator/faults")["faults"]
        return found

    def mend(self) -> None:
        """Take every fault away. Raises RefusedError."""
        self.call("DELETE", "/emulator/faults")


@contextmanager
def emulator(folder: Path, name: str, *arguments: str) -> Iterator[Emulator]:
    """Give a running emulator; it is gone in the end."""
    words = folder / f"{name}.stderr"
    with words.open("wb") as error:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", "emulate", "binance", "--port", "0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=error,
            stdin=subprocess.DEVNULL,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the emulator ended: {words.read_text()[-2_000:]}"
        yield Emulator(json.loads(line), process, words)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


_HEAD = """include = [{includes}]

[run]
name = "{name}"

[market]
kind = "live"
"""
_VENUE = """
[[venues]]
id = "{name}"
rules = "{rules}"
fees = {fees}
endpoints = {endpoints}

[[accounts]]
id = "{name}-account"
venue = "{name}"
balances = {{ {balances} }}
{modes}
credentials = {{ credential = "{name}" }}
"""

_USDM = {
    "rules": "binance_usdm",
    "fees": '{ maker = "0.0002", taker = "0.0005" }',
    "modes": 'margin_mode = "cross"',
}
_SPOT = {
    "rules": "binance_spot",
    "fees": '{ maker = "0.001", taker = "0.001" }',
    "modes": 'margin_mode = "cash"',
}


def write_desk(
    folder: Path,
    emulators: Mapping[str, Emulator],
    more: str,
    *,
    balances: str = 'USDT = "100000"',
    leverage: int = 20,
    symbols: Sequence[str] = ("BTCUSDT",),
    pace: str = "",
) -> Path:
    """Write a configuration with keys and with rules as `basisd fetch-rules` gets them; return its path."""
    (folder / "credentials").mkdir(mode=0o700, exist_ok=True)
    body = ""
    for name, one in emulators.items():
        key = folder / "credentials" / name
        key.touch(mode=0o600)
        key.write_text(one.credential())
        terms = _SPOT if one.is_spot else {**_USDM, "modes": f"{_USDM['modes']}\nleverage = {{ BTCUSDT = {leverage} }}"}
        body += _VENUE.format(name=name, endpoints=one.endpoints(pace), balances=balances, **terms)
    path = folder / "desk.toml"
    path.write_text(_HEAD.format(includes="", name=folder.name) + body)
    command = ["fetch-rules", str(path), "--symbols", ",".join(symbols), "--out", str(folder / "rules")]
    subprocess.run([sys.executable, "-m", "daemon.cli", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    includes = ", ".join(f'"rules/{rules.name}"' for rules in sorted((folder / "rules").glob("*.toml")))
    path.write_text(_HEAD.format(includes=includes, name=folder.name) + body + more)
    return path


@contextmanager
def emulators(folder: Path, *names: str, arguments: Sequence[str] = ()) -> Iterator[dict[str, Emulator]]:
    """Give several emulators by name, each with an account of its own."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(emulator(folder, name, *arguments)) for name in names}


PAIR = '''
"""A carry between two contracts of one base asset, at two venues."""

from fractions import Fraction

from actors.strategies.base import Strategy
from actors.strategies.cash_and_carry import CashAndCarry


class Pair(CashAndCarry):
    def __init__(self, instruments, config, name=""):
        Strategy.__init__(self, instruments, config, name)
        first, second = instruments[config.spot], instruments[config.perpetual]
        grid = Fraction(second.tick_size) / Fraction(first.tick_size)
        self._perpetual_step, self._spot_step = grid.numerator, grid.denominator
        self._entry, self._exit = Fraction(config.entry_bps), Fraction(config.exit_bps)
'''
"""A strategy module, written beside a configuration: long at the first venue, short at the second."""

_BUSY = """
[[strategies]]
id = "pair"
kind = "pair:Pair"

[strategies.params]
spot = "one:BTCUSDT"
perpetual = "two:BTCUSDT"
spot_account = "one-account"
perpetual_account = "two-account"
qty = "0.010"
entry_bps = "-1000"
exit_bps = "-1000"
max_hold = "{hold}"
cooldown = "{cooldown}"
max_baskets = {baskets}
max_slippage_bps = "20"
{params}

[kill_switch]
capital = "10000000"
consecutive_losses = 1000000
daily_loss = "1000000"
daily_loss_hard = "2000000"
stale_grace = "1h"

[liquidity]
max_spread_bps = "200"
max_slippage_bps = "200"
min_score = "0"

[daemon]
metrics_port = 0
snapshot = "5s"
{more}
"""


def write_busy(
    folder: Path,
    venues: Mapping[str, Emulator],
    *,
    hold: str = "1s",
    cooldown: str = "500ms",
    baskets: int = 1_000_000,
    more: str = "",
    pace: str = "",
    params: str = "",
) -> Path:
    """Write a desk that opens a pair of 0.010 whenever it may, and closes it after `hold`, whatever that costs.

    `params` are more lines of the strategy's, `more` of the section of the daemon and others.
    """
    (folder / "pair.py").write_text(PAIR)
    text = _BUSY.format(hold=hold, cooldown=cooldown, baskets=baskets, more=more, params=params)
    return write_desk(folder, venues, text, pace=pace)
