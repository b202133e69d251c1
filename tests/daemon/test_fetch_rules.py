"""What is written of a venue's rules of a day: what it said, in a form that a configuration reads back the same."""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from daemon.cli import main
from daemon.config_includes import expanded
from daemon.config_parts import rows
from daemon.config_structure import ConfigError
from daemon.rules.file import path_of, write_rules
from sim.emulator.http_server import HttpRequest, HttpResponse, serve_http
from venues.model.instrument import Bracket, Instrument, InstrumentKind

API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"

# 2026-11-26 10:00:00 UTC
NOW_MS = 1_795_687_200_000

PERPETUAL: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "pair": "BTCUSDT",
    "contractType": "PERPETUAL",
    "deliveryDate": 4133404800000,
    "onboardDate": 1569398400000,
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "marginAsset": "USDT",
    "pricePrecision": 2,
    "quantityPrecision": 3,
    "liquidationFee": "0.012500",
    "marketTakeBound": "0.05",
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "556.80", "maxPrice": "4529764", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ],
}
# 2026-12-25, the last Friday of the quarter, 08:00:00 UTC
QUARTERLY = {
    **PERPETUAL,
    "symbol": "BTCUSDT_261225",
    "contractType": "CURRENT_QUARTER",
    "deliveryDate": 1_798_185_600_000,
}
SETTLING = {**PERPETUAL, "symbol": "OLDUSDT", "status": "SETTLING"}
STRANGE = {**PERPETUAL, "symbol": "ODDUSDT", "contractType": "SOMETHING_NEW"}
BRACKETS = [
    {
        "symbol": "BTCUSDT",
        "brackets": [
            {"bracket": 1, "initialLeverage": 125, "notionalCap": 50000, "notionalFloor": 0, "maintMarginRatio": 0.004,
             "cum": 0.0},
            {"bracket": 2, "initialLeverage": 100, "notionalCap": 600000, "notionalFloor": 50000,
             "maintMarginRatio": 0.005, "cum": 50.0},
        ],
    },
    {
        "symbol": "BTCUSDT_261225",
        # The maintenance amounts do not meet: 50 belongs here.
        "brackets": [
            {"bracket": 1, "initialLeverage": 50, "notionalCap": 5000, "notionalFloor": 0, "maintMarginRatio": 0.01,
             "cum": 0.0},
            {"bracket": 2, "initialLeverage": 25, "notionalCap": 375000, "notionalFloor": 5000,
             "maintMarginRatio": 0.02, "cum": 70.0},
        ],
    },
]  # fmt: skip


@define
class Venue:
    """Answers three requests over a real socket, and notes what it was asked."""

    symbols: list[dict[str, Any]] = field(factory=lambda: [PERPETUAL, QUARTERLY, SETTLING, STRANGE])
    failing: str = ""
    asked: list[HttpRequest] = field(factory=list)
    rest: str = ""

    async def answer(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        if request.path == self.failing:
            return HttpResponse(401, b'{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}')
        bodies: dict[str, object] = {
            "/fapi/v1/time": {"serverTime": NOW_MS},
            "/fapi/v1/exchangeInfo": {"rateLimits": [], "symbols": self.symbols},
            "/fapi/v1/leverageBracket": BRACKETS,
        }
        found = bodies.get(request.path)
        return HttpResponse(404 if found is None else 200, json.dumps(found).encode())


@contextmanager
def served(venue: Venue) -> Iterator[Venue]:
    """Serve a venue from another thread: the command under test has a loop of its own."""
    told: Queue[tuple[int, trio.lowlevel.TrioToken, trio.CancelScope]] = Queue()

    async def serve() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        with trio.CancelScope() as scope:
            told.put((listener.socket.getsockname()[1], trio.lowlevel.current_trio_token(), scope))
            await serve_http(listener, venue.answer)
        await listener.aclose()

    thread = Thread(target=partial(trio.run, serve))
    thread.start()
    port, token, scope = told.get(timeout=30)
    venue.rest = f"http://127.0.0.1:{port}"
    try:
        yield venue
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(30)


@pytest.fixture(autouse=True)
def _not_hardened(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command does to its own process is not to be done to that of all tests."""
    monkeypatch.setattr("daemon.rules.command.harden", lambda: None)


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = tmp_path / "key"
    path.write_text(f'api_key = "{API_KEY}"\nsecret = "{SECRET}"\n')
    path.chmod(0o600)
    return path


def instruments_of(path: Path) -> list[Instrument]:
    errors: list[ConfigError] = []
    text = expanded(f"include = ['{path.name}']\n", path.parent)
    found = rows(tomllib.loads(text), "instruments", Instrument, errors)
    assert not errors
    return found


def test_all_that_is_traded_is_written_with_its_brackets(tmp_path: Path, key: Path, capsys: Any) -> None:
    with served(Venue()) as venue:
        command = ["fetch-rules", "--rest", venue.rest, "--credential", str(key), "--out", str(tmp_path / "rules")]
        assert main([*command, "--venue", "perp"]) == 0
    path = tmp_path / "rules" / "perp-2026-11-26.toml"
    assert capsys.readouterr().out == f"{path}: 1 instruments, 1 with leverage brackets\n"
    # By hand from the answers above; the quarterly's table contradicts itself, and two are not traded or not known.
    assert instruments_of(path) == [
        Instrument(
            "perp",
            "BTCUSDT",
            InstrumentKind.PERPETUAL,
            "BTC",
            "USDT",
            Decimal("0.1"),
            Decimal("0.001"),
            min_qty=Decimal("0.001"),
            max_qty=Decimal(1000),
            min_notional=Decimal(100),
            max_leverage=125,
            brackets=(
                Bracket(Decimal(0), Decimal(50000), Decimal("0.004"), Decimal(0), 125),
                Bracket(Decimal(50000), Decimal(600000), Decimal("0.005"), Decimal(50), 100),
            ),
            liquidation_fee=Decimal("0.0125"),
        )
    ]
    text = path.read_text()
    assert "POSITION_RISK_CONTROL" in text
    assert re.search("Left out: ODDUSDT: .*SOMETHING_NEW", text)
    assert re.search("Left out: BTCUSDT_261225: .*cum", text)
    assert SECRET not in text
    assert API_KEY not in text


def test_only_the_brackets_are_signed(tmp_path: Path, key: Path) -> None:
    with served(Venue()) as venue:
        main(["fetch-rules", "--rest", venue.rest, "--credential", str(key), "--out", str(tmp_path)])
    signed = [one.path for one in venue.asked if "signature=" in one.query or "x-mbx-apikey" in one.headers]
    assert signed == ["/fapi/v1/leverageBracket"]
    (query,) = [one.query for one in venue.asked if one.path in signed]
    stamp = re.search(r"timestamp=(\d+)", query)
    assert stamp is not None
    # By the venue's clock, which stands still here and is far from ours.
    assert abs(int(stamp[1]) - NOW_MS) < 60_000


def test_without_a_key_there_are_no_brackets_and_it_says_so(tmp_path: Path, capsys: Any) -> None:
    with served(Venue()) as venue:
        assert main(["fetch-rules", "--rest", venue.rest, "--symbols", "btcusdt_261225", "--out", str(tmp_path)]) == 0
    assert "no key was given" in capsys.readouterr().err
    (one,) = instruments_of(tmp_path / "binance_usdm-2026-11-26.toml")
    assert one.brackets == ()
    assert one.kind is InstrumentKind.QUARTERLY
    assert one.expiry_ns == 1_798_185_600_000_000_000


def test_a_symbol_that_was_asked_for_is_missed(tmp_path: Path, capsys: Any) -> None:
    with served(Venue()) as venue:
        command = ["fetch-rules", "--rest", venue.rest, "--symbols", "BTCUSDT,NOUSDT,OLDUSDT", "--out", str(tmp_path)]
        assert main(command) == 1
    assert "NOUSDT: is not listed" in capsys.readouterr().err
    found = instruments_of(tmp_path / "binance_usdm-2026-11-26.toml")
    assert [one.symbol for one in found] == ["BTCUSDT", "OLDUSDT"]


def test_a_venue_that_refuses_leaves_no_file(tmp_path: Path, key: Path, capsys: Any) -> None:
    with served(Venue(failing="/fapi/v1/leverageBracket")) as venue:
        command = ["fetch-rules", "--rest", venue.rest, "--credential", str(key), "--out", str(tmp_path / "rules")]
        assert main(command) == 1
    told = capsys.readouterr().err
    assert "HTTP 401: -2015" in told
    assert SECRET not in told
    assert not (tmp_path / "rules").exists()


def test_a_venue_that_is_not_there_is_named(tmp_path: Path, capsys: Any) -> None:
    with served(Venue()) as venue:
        pass
    assert main(["fetch-rules", "--rest", venue.rest, "--out", str(tmp_path)]) == 1
    assert "GET /fapi/v1/time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "name a configuration, or an address"),
        (["--rest", "http://fapi.binance.com"], "not encrypted"),
        (["--rest", "https://127.0.0.1", "--credential", "nowhere"], "cannot be read"),
        (["no-such.toml"], "cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path: Path, arguments: list[str], why: str, capsys: Any) -> None:
    assert main(["fetch-rules", *arguments, "--out", str(tmp_path)]) == 2
    assert why in capsys.readouterr().err


def test_the_venues_of_a_configuration_are_asked_for_its_instruments(tmp_path: Path, key: Path) -> None:
    (tmp_path / "credentials").mkdir(mode=0o700)
    key.rename(tmp_path / "credentials" / "main")
    with served(Venue()) as venue:
        text = f"""
[[venues]]
id = "perp"
rules = "binance_usdm"
endpoints = {{ rest = "{venue.rest}", ws_public = "ws://127.0.0.1:1", ws_api = "ws://127.0.0.1:1" }}
[[instruments]]
venue = "perp"
symbol = "BTCUSDT"
[[accounts]]
id = "a"
venue = "perp"
balances = {{}}
margin_mode = "cross"
credentials = {{ credential = "main" }}
"""
        (tmp_path / "desk.toml").write_text(text)
        assert main(["fetch-rules", str(tmp_path / "desk.toml"), "--out", str(tmp_path)]) == 0
    (one,) = instruments_of(tmp_path / "perp-2026-11-26.toml")
    assert len(one.brackets) == 2


DECIMALS = st.decimals(min_value="0.00000001", max_value="1000000", places=8)


@given(
    tick=DECIMALS,
    lot=DECIMALS,
    max_qty=st.none() | DECIMALS,
    expiry_ns=st.none() | st.integers(0, 4_000_000_000_000_000_000),
    symbol=st.text(min_size=1, max_size=12),
    settle=st.sampled_from(["USDT", "USDC", "BTC"]),
    multiplier=DECIMALS,
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, **fields: Any) -> None:
    one = Instrument(
        "perp",
        fields["symbol"],
        InstrumentKind.QUARTERLY,
        "BTC",
        "USDT",
        fields["tick"],
        fields["lot"],
        fields["settle"],
        max_qty=fields["max_qty"],
        expiry_ns=fields["expiry_ns"],
        multiplier=fields["multiplier"],
        brackets=(Bracket(Decimal(0), fields["lot"], fields["tick"] / 2_000_000, Decimal(0), 7),),
    )
    path = path_of(tmp_path_factory.mktemp("rules"), "perp", NOW_MS * 1_000_000)
    write_rules(path, [one, evolve(one, symbol="X")], ["a heading", ""])
    assert instruments_of(path) == [one, evolve(one, symbol="X")]
