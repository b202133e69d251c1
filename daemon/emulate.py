"""What `basisd emulate` does: serve Binance's protocols on local ports, with an account that can lose nothing."""

import json
import secrets
import signal
import time
import tomllib
from argparse import Namespace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import trio
from attrs import frozen

from daemon.exits import ExitError
from sim.emulator.fault_rules import FaultError, FaultRule, read_faults
from sim.emulator.faults import Faults
from sim.emulator.gate import Gate
from sim.emulator.host import Host, HostSettings
from sim.emulator.http_server import serve_http
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.market_source import SyntheticPace
from sim.emulator.routes import rate_limits, routes
from sim.emulator.signatures import API_KEY, Credentials, PublicKeyError, read_public_key
from sim.emulator.ws_server import serve_websockets
from sim.market import NoFramesError
from sim.recording.errors import RecordingError
from sim.warm import warm
from venues.model.money import NotANumberError, desk_arithmetic, parse_decimal

_RATE_DECIMALS = 8
"""How many decimals of a funding rate the venue prints."""

_WS_API = {"usdm": "/ws-fapi/v1", "spot": "/ws-api/v3"}


@frozen
class _Served:
    """What was asked, read and checked."""

    settings: HostSettings
    credentials: Credentials
    faults: tuple[FaultRule, ...]
    address: str
    port: int
    start_ns: int | None


def main(arguments: Namespace) -> int:
    """Serve until SIGTERM, which ends it with 0. Raises ExitError for arguments and files that cannot be used."""
    with desk_arithmetic():
        served = _read(arguments)
        # Compiled before anybody can connect: a client must not wait for a compiler.
        warm()
        try:
            trio.run(_serve, served)
        except (RecordingError, NoFramesError) as error:
            raise ExitError(f"--market: {error}") from None
    return 0


def _read(arguments: Namespace) -> _Served:
    pace = SyntheticPace(
        step_ns=_step_ns(arguments.step_ms),
        funding_rate=_rate(arguments.funding_rate),
        funding_interval_hours=_hours(arguments.funding_hours),
    )
    speed = _number(arguments.speed, "--speed")
    if speed <= 0:
        raise ExitError(f"--speed: {arguments.speed} is not positive")
    if arguments.market != "synthetic" and not Path(arguments.market).is_file():
        raise ExitError(f"--market: {arguments.market} is neither `synthetic` nor a file")
    settings = HostSettings(
        arguments.venue_kind,
        arguments.market,
        arguments.seed,
        float(speed),
        pace,
        _balances(arguments.balance),
        arguments.may_withdraw,
    )
    try:
        faults = tuple(read_faults(Path(arguments.faults))) if arguments.faults else ()
    except FaultError as error:
        raise ExitError(f"--faults: {error}") from None
    return _Served(
        settings, _credentials(arguments), faults, arguments.address, arguments.port, _start(arguments.start)
    )


def _number(text: str, flag: str) -> Decimal:
    try:
        return parse_decimal(text, flag)
    except NotANumberError as error:
        raise ExitError(str(error)) from None


def _start(text: str | None) -> int | None:
    """Return the moment in ns UTC; one without an offset is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ExitError(f"--start: {text!r} is no moment such as 2026-11-26T08:00:00Z") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000


def _wall(served: _Served) -> int:
    """Return the venue's time now: the wall clock's, or as much faster since the start as the venue is."""
    now, start = time.time_ns(), served.start_ns
    return now if start is None else start + int((now - start) * served.settings.speed)


def _rate(text: str) -> Decimal:
    rate = _number(text, "--funding-rate")
    if abs(rate) > Decimal("0.003") or rate != rate.quantize(Decimal(1).scaleb(-_RATE_DECIMALS)):
        raise ExitError(f"--funding-rate: {text} is not within 0.003 with at most {_RATE_DECIMALS} decimals")
    return rate


def _hours(hours: int) -> int:
    if hours not in {1, 2, 4, 8}:
        raise ExitError(f"--funding-hours: {hours} is not one of 1, 2, 4, 8")
    return hours


def _step_ns(step_ms: int) -> int:
    if not 1 <= step_ms <= 10_000:
        raise ExitError(f"--step-ms: {step_ms} is not within 1..10000")
    return step_ms * 1_000_000


def _balances(pairs: list[str]) -> dict[str, Decimal] | None:
    if not pairs:
        return None
    found = {}
    for pair in pairs:
        asset, equals, amount = pair.partition("=")
        if not asset or not equals:
            raise ExitError(f"--balance: {pair!r} is not ASSET=AMOUNT")
        found[asset.upper()] = _number(amount, f"--balance {asset}")
        if found[asset.upper()] < 0:
            raise ExitError(f"--balance: {pair} is negative")
    return found


def _credentials(arguments: Namespace) -> Credentials:
    """Return the keys: those of the file, or such as nobody has had before."""
    api_key, secret = secrets.token_hex(32), secrets.token_hex(32)
    if arguments.credentials:
        api_key, secret = _from_file(Path(arguments.credentials))
    try:
        public_key = read_public_key(Path(arguments.public_key).read_bytes()) if arguments.public_key else None
    except PublicKeyError as error:
        raise ExitError(f"--public-key: {arguments.public_key}: {error}") from None
    return Credentials(api_key, secret, public_key)


def _from_file(path: Path) -> tuple[str, str]:
    """Return API key and secret of a credential as accounts have them. Raises ExitError."""
    try:
        found = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ExitError(f"--credentials: {path}: {error}") from None
    api_key, secret = found.get("api_key"), found.get("secret")
    if not isinstance(api_key, str) or API_KEY.fullmatch(api_key) is None:
        raise ExitError(f"--credentials: {path}: api_key: 64 letters and digits are wanted")
    if not isinstance(secret, str) or not secret:
        raise ExitError(f"--credentials: {path}: secret is missing")
    return api_key, secret


async def _serve(served: _Served) -> None:
    settings, address = served.settings, served.address
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        host = Host(settings, wall=partial(_wall, served))
        http = await _listen(served.port, address)
        sockets = await _listen(served.port + 1 if served.port else 0, address)
        faults = Faults(served.faults, seed=settings.seed)
        # Nobody shall guess a key, but the same seed shall give the same market.
        listen_keys = ListenKeys(seed=secrets.randbits(64))
        gate = Gate(host, routes(settings.venue), served.credentials, rate_limits(settings.venue), listen_keys, faults)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            nursery.start_soon(faults.run)
            nursery.start_soon(serve_http, http, gate.handle)
            await nursery.start(partial(serve_websockets, sockets, host, listen_keys, gate, faults))
            print(_endpoints(served, _port(http), _port(sockets)), flush=True)
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()


async def _listen(port: int, address: str) -> trio.SocketListener:
    """Listen at the first of what a name means; "localhost" means two."""
    first, *others = await trio.open_tcp_listeners(port, host=address)
    for listener in others:
        await listener.aclose()
    return first


def _port(listener: trio.SocketListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


def _endpoints(served: _Served, rest: int, sockets: int) -> str:
    """Return where everything is, in one line of JSON."""
    place = f"[{served.address}]" if ":" in served.address else served.address
    websockets = f"ws://{place}:{sockets}"
    # Spot has one address for all its streams.
    routes = ("", "", "") if served.settings.venue == "spot" else ("/public", "/market", "/private")
    public, market, private = (f"{websockets}{route}" for route in routes)
    return json.dumps(
        {
            "rest": f"http://{place}:{rest}",
            "ws_public": public,
            "ws_market": market,
            "ws_private": private,
            "ws_api": f"{websockets}{_WS_API[served.settings.venue]}",
            "api_key": served.credentials.api_key,
            "secret": served.credentials.secret,
        }
    )
