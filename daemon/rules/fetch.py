"""What a venue says of its instruments and leverage brackets, asked for with as few requests as it takes."""

import json
from collections.abc import Collection
from time import time_ns

from attrs import field, frozen

from venues.binance.calls import WEIGHT_1M, BinanceCall, Security, stamped
from venues.binance.errors import CodecError
from venues.binance.market_answers import server_time_ns
from venues.binance.requests import GET_BRACKETS, GET_EXCHANGE_INFO, GET_TIME
from venues.binance.rules import Listing, exchange_info, leverage_brackets
from venues.binance.settings import AccountKeys
from venues.binance.sign import query_of, signed_query
from venues.model.instrument import Bracket, Instrument
from venues.net.errors import NetError
from venues.net.limits import PoolRule, RatePools
from venues.net.rest import Call, RestClient
from venues.port import InstrumentState

_MINUTE_NS = 60_000_000_000
_NS_PER_MS = 1_000_000
_WEIGHT_PER_MINUTE = 2_400
_DEADLINE_S = 30.0
_RECV_WINDOW_MS = 5_000
_SHOWN = 160

_SPOT_TIME = BinanceCall("GET", "/api/v3/time", (), Security.NONE)
_SPOT_EXCHANGE_INFO = BinanceCall("GET", "/api/v3/exchangeInfo", (), Security.NONE, 20)


class FetchError(Exception):
    """A venue did not tell its rules; the text says which request and why."""


@frozen
class Fetched:
    """What `venue` said at `ts` (its own time, ns UTC). `refused` are symbols that cannot be used, and why.

    `without_brackets` says why no leverage brackets were had, empty when they were or are none of the market's.
    """

    ts: int
    instruments: tuple[Instrument, ...]
    refused: dict[str, str]
    without_brackets: str = ""
    unread: dict[str, tuple[str, ...]] = field(factory=dict)


async def fetch(
    rest: str, venue: str, *, is_spot: bool, keys: AccountKeys | None, symbols: Collection[str] | None
) -> Fetched:
    """Ask for the rules of `symbols` (None: all that are traded); brackets only with `keys`. Raises FetchError.

    Symbols asked for by name are listed whatever their status, and one that the venue does not list is refused.
    """
    pools = RatePools([PoolRule(WEIGHT_1M, _WEIGHT_PER_MINUTE, _MINUTE_NS)])
    async with RestClient(rest, headers={}, limits=pools, clock=time_ns, timeout_s=_DEADLINE_S) as client:
        asking = _Asking(client, keys)
        before_ns = time_ns()
        ts = server_time_ns(await asking.ask(_SPOT_TIME if is_spot else GET_TIME))
        asking.offset_ns = ts - (before_ns + time_ns()) // 2
        info = await asking.ask(_SPOT_EXCHANGE_INFO if is_spot else GET_EXCHANGE_INFO)
        tables: dict[str, tuple[Bracket, ...]] = {}
        unfit: dict[str, str] = {}
        without = "" if is_spot else "leverage brackets are told to an account only: no key was given"
        if keys is not None and not is_spot:
            brackets = leverage_brackets(await asking.ask(GET_BRACKETS))
            tables, unfit, without = brackets.tables, brackets.refused, ""
        try:
            found = exchange_info(info, venue, tables, is_spot=is_spot)
        except CodecError as error:
            raise FetchError(f"{rest}: exchangeInfo: {error}") from None
    chosen = _chosen(found.listings, symbols)
    refused = {name: why for name, why in {**found.refused, **unfit}.items() if symbols is None or name in symbols}
    refused |= {name: "is not listed" for name in sorted(symbols or ()) if name not in {**found.listings, **refused}}
    unread = {one.instrument.symbol: tuple(name for name, _ in one.filters.unknown) for one in chosen}
    return Fetched(
        ts,
        tuple(one.instrument for one in chosen if one.instrument.symbol not in refused),
        refused,
        without,
        {symbol: names for symbol, names in unread.items() if names},
    )


def _chosen(listings: dict[str, Listing], symbols: Collection[str] | None) -> list[Listing]:
    if symbols is None:
        return [one for _, one in sorted(listings.items()) if one.state is InstrumentState.OPEN]
    return [listings[name] for name in sorted(symbols) if name in listings]


class _Asking:
    """Sends requests and gives what is answered; `offset_ns` is how far the venue's clock is ahead of ours."""

    def __init__(self, client: RestClient, keys: AccountKeys | None) -> None:
        self.offset_ns = 0
        self._client = client
        self._keys = keys

    async def ask(self, call: BinanceCall) -> bytes:
        is_signed = call.security is Security.SIGNED
        request = Call(
            call.method,
            call.path,
            (lambda: self._signed(call)) if is_signed else query_of(call.params),
            {"X-MBX-APIKEY": self._keys.api_key} if is_signed and self._keys is not None else {},
            _DEADLINE_S,
            call.priority,
            {WEIGHT_1M: call.weight},
            call.is_idempotent,
        )
        try:
            answer = await self._client.request(request)
        except NetError as error:
            raise FetchError(str(error)) from None
        if answer.status != 200:
            raise FetchError(f"{call.method} {call.path}: HTTP {answer.status}: {_said(answer.body)}")
        return answer.body

    def _signed(self, call: BinanceCall) -> str:
        assert self._keys is not None
        timestamp_ms = (time_ns() + self.offset_ns) // _NS_PER_MS
        return signed_query(stamped(call, timestamp_ms, _RECV_WINDOW_MS), self._keys.signer)


def _said(body: bytes) -> str:
    """Return the venue's own words, cut short."""
    try:
        told = json.loads(body)
        return f"{told['code']}: {told['msg']}"[:_SHOWN]
    except (ValueError, KeyError, TypeError):
        return body[:_SHOWN].decode(errors="replace")
