"""What a gateway to Binance is told: which market, where it is, who asks there."""

from enum import StrEnum
from typing import Any

from attrs import Attribute, field, frozen

from venues.binance.sign import Signer

RECV_WINDOW_MS_MAX = 60_000
LIFETIME_S = 23.5 * 3600

PRIVATE_IDLE_S = 5.0
PRIVATE_PONG_S = 5.0
"""An account's connections are silent while nothing happens, and a dead one loses fills: they are asked for a pong
sooner than those of the market. The venue takes five pings a second. Source: facts D1, D5."""


class BinanceMarket(StrEnum):
    """Which of Binance's markets; each has hosts, paths and an account of its own."""

    USDM = "usdm"
    SPOT = "spot"


class KeyRefusedError(Exception):
    """The venue will never take this key, or it may do what it must not: nothing can be done but stop."""

    def __init__(self, account: str, why: str) -> None:
        super().__init__(f"{account}: {why}")
        self.account = account
        self.why = why


def _recv_window(_: object, attribute: "Attribute[int]", value: int) -> None:
    if not 0 < value <= RECV_WINDOW_MS_MAX:
        raise ValueError(f"{attribute.name}: {value} is not within 1..{RECV_WINDOW_MS_MAX} ms")


def _positive(_: object, attribute: "Attribute[Any]", value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name}: {value} is not positive")


@frozen
class GatewaySettings:
    """One venue. `rest` is scheme and host; `ws_public`, `ws_market` and `ws_private` end with the routed path.

    `ws_api` is the whole address, empty where orders go by REST alone. Spot has one market stream: `ws_market` is not
    looked at there. `recv_window_ms` is how old a request may be when it arrives. Without `wants_market` no market
    stream is opened; books are answered by REST all the same. Connections are replaced after `lifetime_s`: the venue
    cuts them after 24 hours; two of them deliver for `overlap_s`. An emulator's time, and with it the `now` that the
    gateway is given, may run `speed` times as fast as that of the network: listen keys live so much shorter.

    Source: USDS-M "Important WebSocket Change Notice" (routed since 2026-04-23), spot "General WSS information".
    """

    venue: str
    market: BinanceMarket = field(converter=BinanceMarket)
    rest: str
    ws_public: str
    ws_market: str
    ws_private: str
    ws_api: str = ""
    recv_window_ms: int = field(default=5_000, validator=_recv_window)
    wants_market: bool = True
    lifetime_s: float = field(default=LIFETIME_S, validator=_positive)
    overlap_s: float = field(default=5.0, validator=_positive)
    speed: int = field(default=1, validator=_positive)

    @property
    def is_spot(self) -> bool:
        return self.market is BinanceMarket.SPOT


@frozen
class AccountKeys:
    """One account's credentials; neither part is ever shown."""

    api_key: str = field(repr=False)
    signer: Signer = field(repr=False)
