"""What one request to Binance is, before it is stamped, signed and sent."""

from enum import StrEnum
from typing import Any, Final, NamedTuple

from venues.binance.sign import Params
from venues.net.limits import Priority
from venues.port import RejectReason


class Security(StrEnum):
    """What the venue wants to see of the account. Source: general info, "Endpoint Security Type"."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


WEIGHT_1M: Final = "weight_1m"
ORDERS_10S: Final = "orders_10s"
ORDERS_1M: Final = "orders_1m"
ORDERS_1D: Final = "orders_1d"
"""Names of the pools that requests are counted in, as `rules.rate_pools` makes them."""


class BinanceCall(NamedTuple):
    """One request. `params` come in sending order, without `timestamp`, `recvWindow` and `signature`.

    `weight` counts against REQUEST_WEIGHT, `orders` against the ten-second pool of ORDERS and `orders_long` against
    its `long_pool`, of a minute at futures and of a day at spot. `ws_method` is the same request at the WebSocket API,
    None where there is none.
    """

    method: str
    path: str
    params: Params = ()
    security: Security = Security.SIGNED
    weight: int = 1
    orders: int = 0
    orders_long: int = 0
    priority: Priority = Priority.QUERY
    ws_method: str | None = None
    long_pool: str = ORDERS_1M

    @property
    def costs(self) -> dict[str, int]:
        """Tokens by pool."""
        if not self.orders:
            return {WEIGHT_1M: self.weight}
        return {WEIGHT_1M: self.weight, ORDERS_10S: self.orders, self.long_pool: self.orders_long}

    @property
    def is_idempotent(self) -> bool:
        """Whether it may be sent again without knowing whether it arrived: reading, and nothing else."""
        return self.method == "GET"


class UnsupportedCommandError(ValueError):
    """A command the venue has no request for. Nothing was sent: that the order does not exist is proven."""

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


_INTEGERS: Final = frozenset(
    {
        "algoId",
        "cancelOrderId",
        "countdownTime",
        "endTime",
        "fromId",
        "goodTillDate",
        "leverage",
        "limit",
        "orderId",
        "recvWindow",
        "startTime",
        "timestamp",
    }
)
"""Parameters that the WebSocket API takes as JSON numbers (INT and LONG); decimals and the rest stay strings."""


def stamped(call: BinanceCall, timestamp_ms: int, recv_window_ms: int) -> Params:
    """Return the parameters to sign: the call's own, then `recvWindow` and `timestamp` (server time, ms)."""
    return (*call.params, ("recvWindow", str(recv_window_ms)), ("timestamp", str(timestamp_ms)))


def ws_params(params: Params) -> dict[str, Any]:
    """Return `params` as the WebSocket API takes them: whole numbers as JSON numbers, decimals as strings."""
    return {name: int(value) if name in _INTEGERS else value for name, value in params}
