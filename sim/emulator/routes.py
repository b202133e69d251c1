"""Which request is answered by what: every path of the emulated venue with its security, weight and handler."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen

if TYPE_CHECKING:
    from sim.emulator.host import Host


class ApiError(Exception):
    """A refusal in Binance's words: {"code": code, "msg": msg} with an HTTP status."""

    def __init__(self, code: int, msg: str, http_status: int = 400) -> None:
        super().__init__(f"{code} {msg}")
        self.code = code
        self.msg = msg
        self.http_status = http_status

    def body(self) -> dict[str, Any]:
        return {"code": self.code, "msg": self.msg}


class Security(StrEnum):
    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


class ListenKeysLike(Protocol):
    """What the routes need of the user streams' keys; times in ms of the venue."""

    def create(self, api_key: str, now_ms: int) -> str: ...
    def extend(self, listen_key: str, now_ms: int) -> bool: ...
    def close(self, listen_key: str) -> bool: ...
    def of(self, api_key: str, now_ms: int) -> str | None: ...


@define
class Session:
    """Who asks. `ip` is the peer's address; `order_counts` are (interval words, interval number, limit, used)."""

    host: "Host"
    listen_keys: ListenKeysLike
    api_key: str = ""
    ip: str = ""
    order_counts: Callable[[], list[tuple[str, int, int, int]]] = list

    @property
    def now_ms(self) -> int:
        return self.host.now() // 1_000_000


@define
class Params:
    """The parameters of one request, all text: numbers as sent, booleans "true" or "false", lists as JSON.

    Every getter raises ApiError in Binance's words for what is missing (-1102) or malformed (-1100, -1130).
    """

    values: Mapping[str, str]

    def has(self, name: str) -> bool:
        return bool(self.values.get(name))

    def text(self, name: str) -> str:
        raise NotImplementedError

    def integer(self, name: str) -> int:
        raise NotImplementedError

    def decimal(self, name: str) -> Decimal:
        raise NotImplementedError

    def flag(self, name: str) -> bool:
        raise NotImplementedError


Handler = Callable[[Session, Params], object]
"""Answers with what JSON can hold, or raises ApiError."""


@frozen
class Route:
    """`weight` is what the request costs of the address's minute, `orders` of the account's order counts (10 s, 1 m).

    `ws_method` is its name in the WebSocket API, None where it has none.
    """

    handler: Handler
    security: Security = Security.NONE
    weight: int | Callable[[Params], int] = 1
    orders: tuple[int, int] = (0, 0)
    ws_method: str | None = None

    def cost(self, params: Params) -> int:
        return self.weight if isinstance(self.weight, int) else self.weight(params)


@frozen
class RateLimit:
    """One row of exchangeInfo.rateLimits."""

    kind: str
    interval: str
    number: int
    limit: int = field()

    def row(self) -> dict[str, Any]:
        return {
            "rateLimitType": self.kind,
            "interval": self.interval,
            "intervalNum": self.number,
            "limit": self.limit,
        }


RATE_LIMITS = (
    RateLimit("REQUEST_WEIGHT", "MINUTE", 1, 2400),
    RateLimit("ORDERS", "MINUTE", 1, 1200),
    RateLimit("ORDERS", "SECOND", 10, 300),
)

Routes = Mapping[tuple[str, str], Route]


def routes(venue: str) -> Routes:
    """Return the routes of `venue`, "usdm" or "spot", by method and path."""
    raise NotImplementedError
