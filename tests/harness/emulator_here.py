"""The emulator inside the test: the same sockets as the process, its venue and its faults within reach."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import trio
from attrs import frozen

from sim.emulator.faults import Faults
from sim.emulator.gate import Gate
from sim.emulator.host import Host, HostSettings
from sim.emulator.http_server import serve_http
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.routes import rate_limits, routes
from sim.emulator.signatures import Credentials, read_public_key
from sim.emulator.ws_server import serve_websockets
from venues.binance.rules import ExchangeInfo, exchange_info
from venues.binance.settings import AccountKeys, GatewaySettings
from venues.binance.sign import HmacSigner, Signer, signer_of
from venues.model.instrument import Instrument

API_KEY: Final = "k" * 64
SECRET: Final = "s" * 64


class JumpingClock:
    """The wall clock, for both sides, that can be set forward."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def now(self) -> int:
        return time.time_ns() + self._ahead_ns

    def jump(self, ns: int) -> None:
        self._ahead_ns += ns


@frozen
class EmulatorHere:
    """A running emulator: `settings` and `keys` are what a gateway to it is given."""

    clock: "JumpingClock"
    host: Host
    faults: Faults
    settings: GatewaySettings
    keys: AccountKeys
    listed: ExchangeInfo

    def instrument(self, symbol: str) -> Instrument:
        """Return the instrument as a configuration made of the venue's own rules has it."""
        return self.listed.listings[symbol].instrument


def _keys(*, is_session: bool) -> tuple[Signer, bytes | None]:
    """Return the gateway's signer and, for an Ed25519 key, the public half in PEM for the emulator."""
    if not is_session:
        return HmacSigner(SECRET), None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return signer_of(pem), key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _settings(venue: str, web: int, ws: int, *, by_rest: bool) -> GatewaySettings:
    root = f"ws://127.0.0.1:{ws}"
    # Spot has no routed paths, and its WebSocket API another name.
    public, market, private = ("", "", "") if venue == "spot" else ("/public", "/market", "/private")
    api = "/ws-api/v3" if venue == "spot" else "/ws-fapi/v1"
    return GatewaySettings(
        "binance",
        venue,
        rest=f"http://127.0.0.1:{web}",
        ws_public=root + public,
        ws_market=root + market,
        ws_private=root + private,
        ws_api="" if by_rest else root + api,
    )


async def _listed(host: Host, settings: GatewaySettings) -> ExchangeInfo:
    path = "/api/v3/exchangeInfo" if settings.is_spot else "/fapi/v1/exchangeInfo"
    async with httpx.AsyncClient() as client:
        answer = await client.get(settings.rest + path)
    tables = {one.symbol: one.spec.brackets for one in host.listings.values()}
    return exchange_info(answer.content, "binance", tables, is_spot=settings.is_spot)


@asynccontextmanager
async def emulator(
    host_settings: HostSettings | None = None, *, is_session: bool = True, by_rest: bool = False
) -> AsyncIterator[EmulatorHere]:
    """Serve a venue on local ports. `is_session`: the key is Ed25519; `by_rest`: the gateway knows no WebSocket API."""
    clock = JumpingClock()
    host = Host(host_settings or HostSettings(), wall=clock.now, monotonic=clock.now)
    signer, public_key = _keys(is_session=is_session)
    faults = Faults((), seed=1)
    listen_keys = ListenKeys()
    public = None if public_key is None else read_public_key(public_key)
    credentials = Credentials(API_KEY, SECRET, public)
    gate = Gate(host, routes(host.settings.venue), credentials, rate_limits(host.settings.venue), listen_keys, faults)
    (http,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    (sockets,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    web, ws = (one.socket.getsockname()[1] for one in (http, sockets))
    settings = _settings(host.settings.venue, web, ws, by_rest=by_rest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        nursery.start_soon(faults.run)
        nursery.start_soon(serve_http, http, gate.handle)
        await nursery.start(serve_websockets, sockets, host, listen_keys, gate, faults)
        listed = await _listed(host, settings)
        yield EmulatorHere(clock, host, faults, settings, AccountKeys(API_KEY, signer), listed)
        nursery.cancel_scope.cancel()
