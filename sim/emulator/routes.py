"""Which request is answered by what: every path of the emulated venue with its security, weight and handler."""

import re
from collections.abc import Callable, Mapping, Sequence
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
    """Who asks. `ip` is the peer's address; `order_counts` are (interval words, interval number, limit, used).

    `skew_ns` is what the clock that is told to clients is ahead of the venue's.
    """

    host: "Host"
    listen_keys: ListenKeysLike
    api_key: str = ""
    ip: str = ""
    order_counts: Callable[[], list[tuple[str, int, int, int]]] = list
    skew_ns: int = 0

    @property
    def now_ms(self) -> int:
        """Return the time that clients are told."""
        return (self.host.now() + self.skew_ns) // 1_000_000


_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,20}", re.ASCII)


def missing(name: str) -> ApiError:
    """Return the refusal of a request without a parameter it needs."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


class Params:
    """The parameters of one request, all text: numbers as sent, booleans "true" or "false", lists as JSON.

    Names are found in any case. Every getter raises ApiError in Binance's words for what is missing (-1102) or
    malformed (-1100, -1130).
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self._found = {name.lower(): value for name, value in values.items()}

    def has(self, name: str) -> bool:
        return bool(self._found.get(name.lower()))

    def maybe(self, name: str) -> str | None:
        """Return a parameter as it was sent, None when it is absent or empty."""
        return self._found.get(name.lower()) or None

    def text(self, name: str) -> str:
        found = self.maybe(name)
        if found is None:
            raise missing(name)
        return found

    def choice(self, name: str, of: Sequence[str], error: ApiError | None = None) -> str:
        """Return one of the words `of`, in any case."""
        found = self.text(name).upper()
        if found not in of:
            raise error or ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
        return found

    def maybe_choice(self, name: str, of: Sequence[str], default: str, error: ApiError | None = None) -> str:
        return self.choice(name, of, error) if self.has(name) else default

    def integer(self, name: str) -> int:
        found = self.text(name)
        if _INTEGER.fullmatch(found) is None:
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return int(found)

    def maybe_integer(self, name: str) -> int | None:
        return self.integer(name) if self.has(name) else None

    def decimal(self, name: str) -> Decimal:
        found = self.text(name)
        if _DECIMAL.fullmatch(found) is None:
            legal = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
        return Decimal(found)

    def maybe_decimal(self, name: str) -> Decimal | None:
        return self.decimal(name) if self.has(name) else None

    def flag(self, name: str) -> bool:
        found = self.text(name).lower()
        if found not in {"true", "false"}:
            raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
        return found == "true"

    def maybe_flag(self, name: str, default: bool = False) -> bool:
        return self.flag(name) if self.has(name) else default

    def limit(self, default: int, most: int, name: str = "limit") -> int:
        """Return how many rows are asked for."""
        found = self.maybe_integer(name)
        if found is None:
            return default
        if not 1 <= found <= most:
            raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
        return found

    def span(self, default_ms: int, most_ms: int, now_ms: int) -> tuple[int, int]:
        """Return (start, end) in ms, both within; without either the last `default_ms`."""
        start, end = self.maybe_integer("startTime"), self.maybe_integer("endTime")
        if start is not None and end is not None and start > end:
            raise ApiError(-1127, "Start time is greater than end time.")
        if start is not None and end is not None and end - start > most_ms:
            raise ApiError(-4165, f"Invalid time interval, maximum time interval is {most_ms // 86_400_000} days")
        if end is None:
            end = now_ms if start is None else min(now_ms, start + default_ms)
        return end - default_ms if start is None else start, end


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


RATE_LIMITS: tuple[RateLimit, ...] = (
    RateLimit("REQUEST_WEIGHT", "MINUTE", 1, 2400),
    RateLimit("ORDERS", "MINUTE", 1, 1200),
    RateLimit("ORDERS", "SECOND", 10, 300),
)

# Source: spot's exchangeInfo.
SPOT_RATE_LIMITS: tuple[RateLimit, ...] = (
    RateLimit("REQUEST_WEIGHT", "MINUTE", 1, 6000),
    RateLimit("ORDERS", "SECOND", 10, 100),
    RateLimit("ORDERS", "DAY", 1, 200_000),
    RateLimit("RAW_REQUESTS", "MINUTE", 5, 61_000),
)


def rate_limits(venue: str) -> tuple[RateLimit, ...]:
    """Return the limits of `venue`, "usdm" or "spot"."""
    return SPOT_RATE_LIMITS if venue == "spot" else RATE_LIMITS


Routes = Mapping[tuple[str, str], Route]


def routes(venue: str) -> Routes:
    """Return the routes of `venue`, "usdm" or "spot", by method and path."""
    # The rooms that answer are built on this one.
    from sim.emulator.route_table import TABLES  # noqa: PLC0415

    return TABLES[venue]
