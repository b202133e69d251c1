"""Decides whether a request is let through to its route: known path, signature, time, limits, and the faults set."""

import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import trio
from attrs import evolve, frozen

from sim.emulator.fault_control import PATH as FAULTS_PATH
from sim.emulator.fault_control import answer as answer_faults
from sim.emulator.faults import NO_FAULT, Faults, RequestAction, Subject
from sim.emulator.host import Host
from sim.emulator.http_server import HttpRequest, HttpResponse, NoAnswer
from sim.emulator.placements import PATH as PLACEMENTS_PATH
from sim.emulator.placements import Placements
from sim.emulator.placements import answer as answer_placements
from sim.emulator.rate_pools import RatePools, Refused
from sim.emulator.request_text import RequestText, read_request
from sim.emulator.routes import ApiError, ListenKeysLike, Params, RateLimit, Route, Routes, Security, Session, missing
from sim.emulator.signatures import API_KEY, Credentials, KeyKind, ws_payloads

RECV_WINDOW_MS: Final = 5_000
RECV_WINDOW_MAX_MS: Final = 60_000
# How far a client's clock may be ahead. Binance, derivatives general info, "Timing security".
AHEAD_MS: Final = 1_000
HANDSHAKE_WEIGHT: Final = 5
_NS_PER_MS: Final = 1_000_000
_JSON: Final = (("content-type", "application/json;charset=UTF-8"),)
_EXEMPT_SIDES: Final = {("SELL", "LONG"), ("BUY", "SHORT")}
_LOGON: Final = "session.logon"
_logger = logging.getLogger(__name__)


@frozen
class Login:
    """Who a connection of the WebSocket API is, since session.logon; times in venue milliseconds."""

    api_key: str
    authorized_since_ms: int


@frozen
class WsAnswer:
    """What a request of the WebSocket API gets: `body` is the result where the status is 200, the error elsewhere.

    `rate_limits` is None where the request did not want them (returnRateLimits false).
    """

    status: int
    body: object
    rate_limits: list[dict[str, Any]] | None


@frozen
class _Outcome:
    """What came of a request, before it is put into HTTP or a frame."""

    status: int
    body: object
    with_orders: bool = False
    retry_after_s: int | None = None
    retry_after_ms: int = 0


@frozen
class _Words:
    """How a venue tells that it is too much."""

    weight: str
    ban: str
    orders: str = "Too many new orders; current limit is {limit} orders per {interval}."


# Binance, error codes -1003 and -1015 of the USDS-M futures and of spot.
_WORDS: Final = {
    "usdm": _Words(
        "Too many requests; current limit is {limit} requests per minute. "
        "Please use the websocket for live updates to avoid polling the API.",
        "Way too many requests; IP banned until {until}. Please use the websocket for live updates to avoid bans.",
    ),
    "spot": _Words(
        "Too much request weight used; current limit is {limit} request weight per {number} {interval}. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
        "Way too much request weight used; IP banned until {until}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
    ),
}


class _TooMuchError(ApiError):
    """A limit is exceeded, or the address banned."""

    def __init__(self, refused: Refused, venue: str) -> None:
        words, limit = _WORDS[venue], refused.limit
        if limit is None:
            super().__init__(-1003, words.ban.format(until=refused.until_ms), 418)
        elif limit.kind == "ORDERS":
            text = words.orders.format(limit=limit.limit, interval=_interval(limit, venue))
            super().__init__(-1015, text, 429)
        else:
            text = words.weight.format(limit=limit.limit, number=limit.number, interval=limit.interval)
            super().__init__(-1003, text, 429)
        self.refused = refused


class Gate:
    """The one door to the routes, for REST and for the WebSocket API: same limits, same errors, same faults."""

    def __init__(
        self,
        host: Host,
        routes: Routes,
        credentials: Credentials,
        limits: Sequence[RateLimit],
        listen_keys: ListenKeysLike,
        faults: Faults,
    ) -> None:
        self._host = host
        self._venue = host.settings.venue
        self._routes = routes
        self._ws_routes = {route.ws_method: route for route in routes.values() if route.ws_method}
        self._credentials = credentials
        self._listen_keys = listen_keys
        self._faults = faults
        self.pools = RatePools(limits)
        self.placements = Placements()

    @property
    def now_ms(self) -> int:
        """The time that is told to clients, and that theirs is held against."""
        return (self._host.now() + self._faults.skew_ns) // _NS_PER_MS

    async def handle(self, request: HttpRequest) -> HttpResponse | NoAnswer:
        """Answer a REST request."""
        if request.path == PLACEMENTS_PATH:
            return answer_placements(self.placements, request)
        if request.path.startswith(FAULTS_PATH):
            return answer_faults(self._faults, request)
        outcome = await self._rest(request)
        if isinstance(outcome, NoAnswer):
            return outcome
        headers = [*_JSON, *self.pools.headers(request.peer, self._pool_ms, with_orders=outcome.with_orders)]
        if outcome.retry_after_s is not None:
            headers.append(("Retry-After", str(outcome.retry_after_s)))
        return HttpResponse(outcome.status, msgspec.json.encode(outcome.body), tuple(headers))

    async def call_ws(
        self, method: str, params: Mapping[str, object], peer: str, login: Login | None
    ) -> WsAnswer | NoAnswer:
        """Answer a request of the WebSocket API other than session.*; `params` are as in JSON."""
        texts = texts_of(params)
        route = self._ws_routes.get(method)

        def do() -> _Outcome:
            if route is None:
                self._take(peer, 1)
                raise ApiError(-1020, "This operation is not supported.")
            return self._call(route, texts, peer, lambda: self._who_ws(route, texts, login))

        outcome = await self._through_faults(Subject("WS", method, texts, _frees_risk(method, texts)), peer, do)
        if isinstance(outcome, NoAnswer):
            return outcome
        return self._ws_answer(outcome, peer, texts)

    async def logon(self, params: Mapping[str, object], peer: str) -> tuple[WsAnswer, Login | None] | NoAnswer:
        """Answer session.logon; the body is the session's part that the gate knows (apiKey, authorizedSince, ...)."""
        texts = texts_of(params)
        logins: list[Login] = []

        def do() -> _Outcome:
            self._take(peer, 2)
            api_key, kind = self._signed_ws(texts)
            if kind is not KeyKind.ED25519:
                raise ApiError(-4056, f"{kind} API key is not supported.")
            logins.append(Login(api_key, self.now_ms))
            return _Outcome(200, {"apiKey": api_key, "authorizedSince": self.now_ms, "serverTime": self.now_ms})

        outcome = await self._through_faults(Subject("WS", _LOGON, texts), peer, do)
        if isinstance(outcome, NoAnswer):
            return outcome
        is_on = outcome.status == 200 and bool(logins)
        return self._ws_answer(outcome, peer, texts), logins[0] if is_on else None

    def shake_hands(self, peer: str) -> HttpResponse | None:
        """Count a handshake of the WebSocket API; return the refusal where the address has used too much."""
        try:
            self._take(peer, HANDSHAKE_WEIGHT)
        except _TooMuchError as error:
            retry = ("Retry-After", str(error.refused.retry_after_s))
            return HttpResponse(error.http_status, msgspec.json.encode(error.body()), (*_JSON, retry))
        return None

    def rate_limits(self, peer: str, *, with_orders: bool = False) -> list[dict[str, Any]]:
        """Return the rateLimits that go with an answer of the WebSocket API."""
        return self.pools.rows(peer, self._pool_ms, with_orders=with_orders)

    @property
    def _pool_ms(self) -> int:
        return self._host.now() // _NS_PER_MS

    async def _rest(self, request: HttpRequest) -> _Outcome | NoAnswer:
        peer = request.peer
        try:
            text = read_request(request)
        except ApiError as error:
            refusal = error
            return self._guarded(lambda: self._malformed(refusal, peer))
        route = self._routes.get((request.method, request.path))

        def do() -> _Outcome:
            if route is None:
                self._take(peer, 1)
                raise ApiError(-5000, f"Path {request.path}, Method {request.method} is invalid", 404)
            outcome = self._call(route, text.params, peer, lambda: self._who_rest(route, request, text))
            return evolve(outcome, body=msgspec.Raw(msgspec.json.encode(outcome.body)))

        words = f"{request.method} {request.path}"
        subject = Subject(request.method, request.path, text.params, _frees_risk(words, text.params))
        return await self._through_faults(subject, peer, do)

    def _malformed(self, error: ApiError, peer: str) -> _Outcome:
        self._take(peer, 1)
        raise error

    async def _through_faults(self, subject: Subject, peer: str, do: Callable[[], _Outcome]) -> _Outcome | NoAnswer:
        self.placements.note(subject.method, subject.path, subject.parameters)
        action = self._faults.on_request(subject)
        if action is NO_FAULT:
            return self._guarded(do)
        await trio.sleep(action.delay_before_ns / 1e9)
        outcome = self._guarded(do) if action.is_executed else None
        await trio.sleep(action.delay_after_ns / 1e9)
        if action.answer is not None:
            return action.answer
        if action.status is not None:
            return self._faked(action, peer)
        assert outcome is not None
        return outcome

    def _faked(self, action: RequestAction, peer: str) -> _Outcome:
        assert action.status is not None
        message = action.message
        retry_ms = (action.retry_after_s or 0) * 1_000
        if action.status == 418:
            self.pools.ban(peer, self._pool_ms + retry_ms)
            refused = self.pools.banned(peer, self._pool_ms)
            if refused is not None and not message:
                message = _TooMuchError(refused, self._venue).msg
        body = {"code": action.code, "msg": message}
        return _Outcome(action.status, body, False, action.retry_after_s, self._pool_ms + retry_ms)

    def _guarded(self, do: Callable[[], _Outcome]) -> _Outcome:
        try:
            return do()
        except _TooMuchError as error:
            left = error.refused.retry_after_s
            return _Outcome(error.http_status, error.body(), False, left, self._pool_ms + left * 1_000)
        except ApiError as error:
            return _Outcome(error.http_status, error.body())
        except Exception:
            # A request that we cannot do must not end the venue for everybody else.
            _logger.exception("a request failed")
            return _Outcome(500, {"code": -1000, "msg": "An unknown error occurred while processing the request."})

    def _call(self, route: Route, texts: Mapping[str, str], peer: str, who: Callable[[], str]) -> _Outcome:
        params = Params(texts)
        try:
            weight = route.cost(params)
        except ApiError:
            self._take(peer, 1)
            raise
        self._take(peer, weight)
        api_key = "" if route.security is Security.NONE else who()
        with_orders = any(route.orders)
        if with_orders:
            refused = self.pools.take_orders(route.orders, self._pool_ms)
            if refused is not None:
                raise _TooMuchError(refused, self._venue)
        session = Session(
            self._host,
            self._listen_keys,
            api_key,
            peer,
            lambda: self.pools.order_counts(self._pool_ms),
            self._faults.skew_ns,
        )
        return _Outcome(200, route.handler(session, params), with_orders)

    def _take(self, peer: str, weight: int) -> None:
        refused = self.pools.banned(peer, self._pool_ms) or self.pools.take_weight(peer, weight, self._pool_ms)
        if refused is not None:
            raise _TooMuchError(refused, self._venue)

    def _who_rest(self, route: Route, request: HttpRequest, text: RequestText) -> str:
        api_key = self._known(request.headers.get("x-mbx-apikey", ""))
        if route.security is Security.SIGNED:
            self._check_time(text.params)
            if not text.signature:
                raise missing("signature")
            # Spot takes a signature over the text as sent only, since 2026-01-15; futures also one over the values
            # before they were encoded.
            payloads = [text.payload] if not request.path.startswith("/fapi/") else [text.payload, text.decoded]
            if all(self._credentials.kind_of(payload, text.signature) is None for payload in payloads):
                raise _bad_signature()
        return api_key

    def _who_ws(self, route: Route, params: Mapping[str, str], login: Login | None) -> str:
        if login is not None and "apiKey" not in params and "signature" not in params:
            if route.security is Security.SIGNED:
                self._check_time(params)
            return login.api_key
        return self._signed_ws(params)[0] if route.security is Security.SIGNED else self._keyed_ws(params)

    def _keyed_ws(self, params: Mapping[str, str]) -> str:
        if not params.get("apiKey"):
            raise missing("apiKey")
        return self._known(params["apiKey"])

    def _signed_ws(self, params: Mapping[str, str]) -> tuple[str, KeyKind]:
        api_key = self._keyed_ws(params)
        self._check_time(params)
        signature = unquote(params.get("signature", ""))
        if not signature:
            raise missing("signature")
        for payload in ws_payloads(params):
            kind = self._credentials.kind_of(payload, signature)
            if kind is not None:
                return api_key, kind
        raise _bad_signature()

    def _known(self, api_key: str) -> str:
        if API_KEY.fullmatch(api_key) is None:
            raise ApiError(-2014, "API-key format invalid.", 401)
        if api_key != self._credentials.api_key:
            raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        return api_key

    def _check_time(self, params: Mapping[str, str]) -> None:
        """Raise ApiError -1021 where the client's time is not near ours. Not judged while venue time is accelerated."""
        wanted = Params(params)
        timestamp_ms = wanted.integer("timestamp")
        window_ms = wanted.maybe_integer("recvWindow")
        if window_ms is None:
            window_ms = RECV_WINDOW_MS
        if window_ms > RECV_WINDOW_MAX_MS:
            raise ApiError(-1131, f"recvWindow must be less than {RECV_WINDOW_MAX_MS}")
        if self._host.settings.speed != 1 and not self._faults.skew_ns:
            return
        if timestamp_ms >= self.now_ms + AHEAD_MS:
            raise ApiError(-1021, f"Timestamp for this request was {AHEAD_MS}ms ahead of the server's time.")
        if self.now_ms - timestamp_ms > window_ms:
            raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _ws_answer(self, outcome: _Outcome, peer: str, texts: Mapping[str, str]) -> WsAnswer:
        rows = None
        if texts.get("returnRateLimits", "").lower() != "false":
            rows = self.rate_limits(peer, with_orders=outcome.with_orders)
        if outcome.status == 200 or outcome.retry_after_s is None:
            return WsAnswer(outcome.status, outcome.body, rows)
        assert isinstance(outcome.body, dict)
        data = {"serverTime": self.now_ms, "retryAfter": outcome.retry_after_ms}
        return WsAnswer(outcome.status, {**outcome.body, "data": data}, rows)


def texts_of(params: Mapping[str, object]) -> dict[str, str]:
    """Return JSON parameters as the texts that a REST request would carry, and that are signed.

    Numbers with a point are wanted as Decimal, which keeps the digits that the client signed.
    """
    found: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, Decimal):
            found[name] = str(value)
        elif value is not None:
            found[name] = msgspec.json.encode(value).decode()
    return found


def _frees_risk(method: str, params: Mapping[str, str]) -> bool:
    """Return whether the venue's throttle lets it pass: cancels, and what can only make a position smaller."""
    if method.startswith("DELETE ") or "cancel" in method.lower():
        return True
    if params.get("reduceOnly", "").lower() == "true" or params.get("closePosition", "").lower() == "true":
        return True
    return (params.get("side"), params.get("positionSide")) in _EXEMPT_SIDES


def _bad_signature() -> ApiError:
    return ApiError(-1022, "Signature for this request is not valid.")


def _interval(limit: RateLimit, venue: str) -> str:
    if limit.number == 1:
        return limit.interval
    if venue == "usdm" and (limit.interval, limit.number) == ("SECOND", 10):
        return "TEN_SECONDS"
    return f"{limit.number} {limit.interval}"
