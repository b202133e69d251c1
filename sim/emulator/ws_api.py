"""Decides how a request of the WebSocket API is read, who its connection is logged on as, and how the reply is framed.

Sources: USDS-M futures "WebSocket API General Info" and spot "WebSocket API" (request format, session authentication)
of developers.binance.com. What a method does, its limits and its errors are the gate's.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
from attrs import define, field, frozen

from sim.emulator.gate import Login, WsAnswer
from sim.emulator.http_server import NoAnswer

INVALID_JSON: Final = -1135
REQUEST_BYTES_MAX: Final = 65_536
_ID_CHARS_MAX: Final = 36


class GateLike(Protocol):
    """What the WebSocket API needs of the one door to the routes."""

    @property
    def now_ms(self) -> int: ...

    async def call_ws(
        self, method: str, params: Mapping[str, object], peer: str, login: Login | None
    ) -> WsAnswer | NoAnswer: ...

    async def logon(self, params: Mapping[str, object], peer: str) -> tuple[WsAnswer, Login | None] | NoAnswer: ...

    def rate_limits(self, peer: str, *, with_orders: bool = False) -> list[dict[str, Any]]: ...


@frozen
class ApiRequest:
    """One request. `params` are the texts a REST request would carry: numbers and flags with the digits as sent."""

    id: int | str | None
    method: str
    params: dict[str, str]


class UnreadableError(Exception):
    """A frame that is no request; `id` is its id as far as that could be read."""

    def __init__(self, text: str, number: int | str | None = None) -> None:
        super().__init__(text)
        self.id = number


def read_request(frame: str | bytes) -> ApiRequest:
    """Raises UnreadableError, and nothing else whatever the frame holds."""
    try:
        return _read(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableError("Invalid JSON request.") from None


def _read(frame: str | bytes) -> ApiRequest:
    found = msgspec.json.decode(frame, type=dict[str, msgspec.Raw])
    number = _read_id(found.get("id"))
    method = _decoded(found.get("method"))
    if not isinstance(method, str) or not method:
        raise UnreadableError("Invalid 'method' in JSON request; expected a string.", number)
    params = found.get("params")
    if params is None or _decoded(params) is None:
        return ApiRequest(number, method, {})
    try:
        raw = msgspec.json.decode(params, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        raise UnreadableError("Invalid 'params' in JSON request; expected an object.", number) from None
    return ApiRequest(number, method, {name: _text(value) for name, value in raw.items() if bytes(value) != b"null"})


def _read_id(raw: msgspec.Raw | None) -> int | str | None:
    number = _decoded(raw)
    if number is None or (isinstance(number, int) and not isinstance(number, bool)):
        return number
    if isinstance(number, str) and len(number) <= _ID_CHARS_MAX:
        return number
    raise UnreadableError(
        f"Invalid 'id' in JSON request; expected an integer, a string of at most {_ID_CHARS_MAX} characters, or null."
    )


def _decoded(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)


def _text(raw: msgspec.Raw) -> str:
    value = bytes(raw)
    if value[:1] == b'"':
        text: str = msgspec.json.decode(value)
        return text
    return value.decode()


@define
class ApiConnection:
    """One connection of the WebSocket API: who it is logged on as, and whether its replies tell the limits.

    `subscriptions` are those to the user's events (spot): their numbers, by which each event is marked.
    """

    gate: GateLike
    peer: str
    connected_ms: int
    tells_limits: bool = True
    login: Login | None = None
    subscriptions: list[int] = field(factory=list)
    _subscribed: int = 0

    async def answer(self, request: ApiRequest) -> bytes | NoAnswer:
        """Carry out one request and return the reply. The gate's part begins before the first checkpoint."""
        session = _SESSION.get(request.method)
        if session is not None:
            answer = await session(self, request)
        else:
            answer = await self.gate.call_ws(request.method, request.params, self.peer, self.login)
            if request.method in _SUBSCRIBE and isinstance(answer, WsAnswer) and answer.status == HTTPStatus.OK:
                answer = WsAnswer(HTTPStatus.OK, self._subscribe(), answer.rate_limits)
        if isinstance(answer, NoAnswer):
            return answer
        return self.frame(request.id, answer, tells_limits=_tells_limits(request, self.tells_limits))

    def refuse(self, error: UnreadableError) -> bytes:
        body = {"code": INVALID_JSON, "msg": str(error)}
        limits = self.gate.rate_limits(self.peer)
        return self.frame(error.id, WsAnswer(HTTPStatus.BAD_REQUEST, body, limits), tells_limits=self.tells_limits)

    @staticmethod
    def frame(number: int | str | None, answer: WsAnswer, *, tells_limits: bool) -> bytes:
        is_ok = answer.status == HTTPStatus.OK
        reply: dict[str, object] = {
            "id": number,
            "status": int(answer.status),
            "result" if is_ok else "error": answer.body,
        }
        if tells_limits:
            reply["rateLimits"] = answer.rate_limits
        return msgspec.json.encode(reply)

    async def _logon(self, request: ApiRequest) -> WsAnswer | NoAnswer:
        found = await self.gate.logon(request.params, self.peer)
        if isinstance(found, NoAnswer):
            return found
        answer, login = found
        if login is None:
            return answer
        self.login = login
        return WsAnswer(answer.status, self._state(), answer.rate_limits)

    async def _status(self, _: ApiRequest) -> WsAnswer:
        return WsAnswer(HTTPStatus.OK, self._state(), self.gate.rate_limits(self.peer))

    async def _logout(self, request: ApiRequest) -> WsAnswer:
        self.login = None
        return await self._status(request)

    def _subscribe(self) -> dict[str, int]:
        self._subscribed += 1
        self.subscriptions.append(self._subscribed - 1)
        return {"subscriptionId": self._subscribed - 1}

    async def _unsubscribe(self, request: ApiRequest) -> WsAnswer:
        number = request.params.get("subscriptionId")
        ended = self.subscriptions if number is None else [one for one in self.subscriptions if str(one) == number]
        self.subscriptions = [one for one in self.subscriptions if one not in ended]
        return WsAnswer(HTTPStatus.OK, {}, self.gate.rate_limits(self.peer))

    async def _list(self, _: ApiRequest) -> WsAnswer:
        rows = [{"subscriptionId": number} for number in self.subscriptions]
        return WsAnswer(HTTPStatus.OK, rows, self.gate.rate_limits(self.peer))

    def _state(self) -> dict[str, object]:
        return {
            "apiKey": None if self.login is None else self.login.api_key,
            "authorizedSince": None if self.login is None else self.login.authorized_since_ms,
            "connectedSince": self.connected_ms,
            "returnRateLimits": self.tells_limits,
            "serverTime": self.gate.now_ms,
        }


_SESSION: Final = {
    "session.logon": ApiConnection._logon,
    "session.status": ApiConnection._status,
    "session.logout": ApiConnection._logout,
    "session.subscriptions": ApiConnection._list,
    "userDataStream.unsubscribe": ApiConnection._unsubscribe,
}
_SUBSCRIBE: Final = frozenset({"userDataStream.subscribe", "userDataStream.subscribe.signature"})


def _tells_limits(request: ApiRequest, default: bool) -> bool:
    wish = request.params.get("returnRateLimits", "").lower()
    return default if wish not in {"true", "false"} else wish == "true"
