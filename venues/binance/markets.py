"""Which requests, answers and addresses belong to which of Binance's markets."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import ClassVar, Final

from venues.binance.answers import UsdmAnswers
from venues.binance.calls import ORDERS_1D, ORDERS_1M, ORDERS_10S, WEIGHT_1M, BinanceCall, UnsupportedCommandError
from venues.binance.codec import BinanceDecoder
from venues.binance.inquiry import Inquiry, UsdmInquiry
from venues.binance.order_entry import OrderAnswers, OrderRequests
from venues.binance.requests import GET_EXCHANGE_INFO, GET_TIME, KEEP_LISTEN_KEY, OPEN_LISTEN_KEY, UsdmRequests
from venues.binance.rules import ExchangeInfo, exchange_info
from venues.binance.settings import GatewaySettings
from venues.binance.spot_answers import SpotAnswers
from venues.binance.spot_inquiry import SpotInquiry
from venues.binance.spot_requests import (
    OPEN_SPOT_LISTEN_KEY,
    SPOT_EXCHANGE_INFO,
    SPOT_TIME,
    SpotRequests,
    keep_spot_listen_key,
)
from venues.binance.spot_user_stream import SpotUserStream
from venues.binance.user_events import UserStream
from venues.binance.user_stream import UsdmUserStream
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.net.limits import PoolRule
from venues.port import (
    AdjustIsolatedMargin,
    ArmDeadMan,
    CancelAll,
    CancelOrder,
    Command,
    ModifyOrder,
    OrderModified,
    Query,
    RejectReason,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
)

MarkOf = Callable[[str], Decimal | None]
_SYMBOL_CONFIG: Final = "/fapi/v1/symbolConfig"
_SECOND_NS: Final = 1_000_000_000


def _pool(name: str, limit: int, seconds: int, counts: str, header: str) -> PoolRule:
    return PoolRule(name, limit, seconds * _SECOND_NS, counts, header)


USDM_POOLS: Final[tuple[PoolRule, ...]] = (
    _pool(WEIGHT_1M, 2_400, 60, "weight", "x-mbx-used-weight-1m"),
    _pool(ORDERS_10S, 300, 10, "orders", "x-mbx-order-count-10s"),
    _pool(ORDERS_1M, 1_200, 60, "orders", "x-mbx-order-count-1m"),
)
SPOT_POOLS: Final[tuple[PoolRule, ...]] = (
    _pool(WEIGHT_1M, 6_000, 60, "weight", "x-mbx-used-weight-1m"),
    _pool(ORDERS_10S, 100, 10, "orders", "x-mbx-order-count-10s"),
    _pool(ORDERS_1D, 200_000, 86_400, "orders", "x-mbx-order-count-1d"),
)
"""Limits until exchangeInfo has told them. Sources: facts C4; spot "LIMITS"."""


class Market(ABC):
    """What a gateway needs to know of a market. Requests raise UnsupportedCommandError, answers CodecError.

    `has_algo`: conditional orders are kept apart. `has_listen_keys`: events come by listen key, else by a subscription
    of the WebSocket API, and by listen key only where that is not to be had. What can be set is nothing unless a market
    says so.
    """

    exchange_info: ClassVar[BinanceCall]
    time: ClassVar[BinanceCall]
    open_listen_key: ClassVar[BinanceCall]
    default_pools: ClassVar[tuple[PoolRule, ...]]
    has_algo: ClassVar[bool]
    has_listen_keys: ClassVar[bool]

    def __init__(
        self, settings: GatewaySettings, decoder: BinanceDecoder, requests: OrderRequests, answers: OrderAnswers
    ) -> None:
        self.requests = requests
        self.answers = answers
        self._settings = settings
        self._decoder = decoder

    def read_exchange_info(self, body: bytes) -> ExchangeInfo:
        """Return what exchangeInfo tells. Raises CodecError."""
        return exchange_info(body, self._settings.venue, is_spot=self._settings.is_spot)

    def private_url(self, listen_key: str) -> str:
        return f"{self._settings.ws_private}/ws/{listen_key}"

    @abstractmethod
    def keep_listen_key(self, listen_key: str) -> BinanceCall: ...

    @abstractmethod
    def user_stream(self, account: str, mark_of: MarkOf) -> UserStream: ...

    @abstractmethod
    def inquiry(self, query: Query, venue_ns: int) -> Inquiry: ...

    def setting(self, command: Command) -> BinanceCall:
        raise _unsupported(command)

    def dead_man(self, command: ArmDeadMan) -> BinanceCall:
        raise _unsupported(command)

    def symbol_config(self, instrument: str) -> BinanceCall:
        raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"{instrument}: this market has no leverage")

    def leverage(self, instrument: str, body: bytes) -> int | None:
        """Return the leverage of an instrument as symbolConfig tells it."""
        del instrument, body
        return None


class UsdmMarket(Market):
    """USDS-M futures: perpetuals and quarterlies."""

    exchange_info = GET_EXCHANGE_INFO
    time = GET_TIME
    open_listen_key = OPEN_LISTEN_KEY
    default_pools = USDM_POOLS
    has_algo = True
    has_listen_keys = True

    def __init__(self, settings: GatewaySettings, instruments: Iterable[Instrument], decoder: BinanceDecoder) -> None:
        self._requests, self._answers = UsdmRequests(instruments), UsdmAnswers(settings.venue)
        super().__init__(settings, decoder, self._requests, self._answers)

    def keep_listen_key(self, listen_key: str) -> BinanceCall:
        del listen_key
        return KEEP_LISTEN_KEY

    def user_stream(self, account: str, mark_of: MarkOf) -> UserStream:
        return UsdmUserStream(self._settings.venue, account, mark_of)

    def inquiry(self, query: Query, venue_ns: int) -> Inquiry:
        return UsdmInquiry(self._requests, self._answers, self._decoder, query, venue_ns)

    def setting(self, command: Command) -> BinanceCall:
        requests = self._requests
        match command:
            case SetLeverage():
                return requests.set_leverage(command)
            case SetMarginMode():
                return requests.set_margin_mode(command)
            case SetPositionMode():
                return requests.set_position_mode(command)
            case AdjustIsolatedMargin():
                return requests.adjust_margin(command)
            case _:
                raise _unsupported(command)

    def dead_man(self, command: ArmDeadMan) -> BinanceCall:
        return self._requests.arm_dead_man(command)

    def symbol_config(self, instrument: str) -> BinanceCall:
        return BinanceCall("GET", _SYMBOL_CONFIG, (("symbol", self._requests.symbol(instrument)),), weight=5)

    def leverage(self, instrument: str, body: bytes) -> int | None:
        config = self._answers.symbol_configs(body).get(self._requests.symbol(instrument))
        return None if config is None else config.leverage


class _SpotOrders:
    """Spot has one kind of order, and none of them can be changed."""

    def __init__(self, requests: SpotRequests, answers: SpotAnswers) -> None:
        self._requests = requests
        self.instruments = requests.instruments
        self.accepted = self.algo_accepted = answers.accepted
        self.canceled = answers.canceled
        self.submit = requests.submit
        self.cancel_all = requests.cancel_all

    def cancel(self, command: CancelOrder, *, is_algo: bool = False) -> BinanceCall:
        del is_algo
        return self._requests.cancel(command)

    def modify(self, command: ModifyOrder, side: Side) -> BinanceCall:
        del side
        raise _unsupported(command)

    def modified(self, command: ModifyOrder, body: object) -> OrderModified:
        raise AssertionError(f"nobody can have asked for {command} and been told {body!r}")


class SpotMarket(Market):
    """The spot market: cash legs, and nothing to set."""

    exchange_info = SPOT_EXCHANGE_INFO
    time = SPOT_TIME
    open_listen_key = OPEN_SPOT_LISTEN_KEY
    default_pools = SPOT_POOLS
    has_algo = False
    has_listen_keys = False

    def __init__(self, settings: GatewaySettings, instruments: Iterable[Instrument], decoder: BinanceDecoder) -> None:
        self._requests, self._answers = SpotRequests(instruments), SpotAnswers(settings.venue)
        orders = _SpotOrders(self._requests, self._answers)
        super().__init__(settings, decoder, orders, orders)

    def keep_listen_key(self, listen_key: str) -> BinanceCall:
        return keep_spot_listen_key(listen_key)

    def user_stream(self, account: str, mark_of: MarkOf) -> UserStream:
        del mark_of
        return SpotUserStream(self._settings.venue, account)

    def inquiry(self, query: Query, venue_ns: int) -> Inquiry:
        return SpotInquiry(self._requests, self._answers, self._decoder, query, venue_ns)


def market_of(settings: GatewaySettings, instruments: Iterable[Instrument], decoder: BinanceDecoder) -> Market:
    return (SpotMarket if settings.is_spot else UsdmMarket)(settings, tuple(instruments), decoder)


def _unsupported(command: SubmitOrder | CancelAll | Command) -> UnsupportedCommandError:
    return UnsupportedCommandError(RejectReason.UNSUPPORTED, f"{type(command).__name__}: this market knows none")
