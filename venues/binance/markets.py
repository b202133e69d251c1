"""Which requests, answers and addresses belong to which of Binance's markets."""

from collections.abc import Iterable
from typing import Final

from venues.binance.answers import UsdmAnswers
from venues.binance.calls import BinanceCall, UnsupportedCommandError
from venues.binance.codec import BinanceDecoder
from venues.binance.inquiry import UsdmInquiry
from venues.binance.requests import GET_EXCHANGE_INFO, GET_TIME, KEEP_LISTEN_KEY, OPEN_LISTEN_KEY, UsdmRequests
from venues.binance.rules import exchange_info
from venues.binance.settings import GatewaySettings
from venues.binance.user_stream import UsdmUserStream
from venues.model.instrument import Instrument
from venues.net.limits import PoolRule
from venues.port import (
    AdjustIsolatedMargin,
    ArmDeadMan,
    Command,
    Query,
    RejectReason,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
)

_SYMBOL_CONFIG: Final = "/fapi/v1/symbolConfig"


class UsdmMarket:
    """USDS-M futures: perpetuals and quarterlies."""

    exchange_info: Final = GET_EXCHANGE_INFO
    time: Final = GET_TIME
    open_listen_key: Final = OPEN_LISTEN_KEY
    keep_listen_key: Final = KEEP_LISTEN_KEY

    def __init__(self, settings: GatewaySettings, instruments: Iterable[Instrument], decoder: BinanceDecoder) -> None:
        self._venue = settings.venue
        self._private = settings.ws_private
        self._decoder = decoder
        self.requests = UsdmRequests(instruments)
        self.answers = UsdmAnswers(settings.venue)

    def pools(self, body: bytes) -> tuple[PoolRule, ...]:
        """Return the limits that exchangeInfo tells. Raises CodecError."""
        return exchange_info(body, self._venue).pools

    def private_url(self, listen_key: str) -> str:
        return f"{self._private}/ws/{listen_key}"

    def user_stream(self, account: str) -> UsdmUserStream:
        return UsdmUserStream(self._venue, account)

    def inquiry(self, query: Query, venue_ns: int) -> UsdmInquiry:
        return UsdmInquiry(self.requests, self.answers, self._decoder, query, venue_ns)

    def setting(self, command: Command) -> BinanceCall:
        """Return the request for a setting. Raises UnsupportedCommandError."""
        requests = self.requests
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
                raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"{type(command).__name__} is no setting")

    def dead_man(self, command: ArmDeadMan) -> BinanceCall:
        return self.requests.arm_dead_man(command)

    def symbol_config(self, instrument: str) -> BinanceCall:
        return BinanceCall("GET", _SYMBOL_CONFIG, (("symbol", self.requests.symbol(instrument)),), weight=5)

    def leverage(self, instrument: str, body: bytes) -> int | None:
        """Return the leverage of an instrument as symbolConfig tells it. Raises CodecError."""
        config = self.answers.symbol_configs(body).get(self.requests.symbol(instrument))
        return None if config is None else config.leverage
