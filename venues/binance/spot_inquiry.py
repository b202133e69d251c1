"""Which requests a query of the port takes at a spot market, and the answer they make together."""

from typing import Final

from venues.binance.calls import BinanceCall, Security
from venues.binance.codec import BinanceDecoder
from venues.binance.inquiry import DAY_MS, Calls, Inquiry
from venues.binance.spot_answers import SpotAnswers
from venues.binance.spot_requests import SPOT_ACCOUNT, SPOT_EXCHANGE_INFO, SpotRequests
from venues.port import Query, QueryKind

_BOOK_LEVELS: Final = "1000"


class SpotInquiry(Inquiry):
    """A query of a spot account. It has no positions and says so; its income is told by no request of this API."""

    def __init__(
        self, requests: SpotRequests, answers: SpotAnswers, decoder: BinanceDecoder, query: Query, now: int
    ) -> None:
        self._answers = answers
        super().__init__(requests, decoder, query, now)

    def _plan_order(self) -> Calls:
        return (self.order_call("/api/v3/order", 4),)

    def _plan_open_orders(self) -> Calls:
        if self.query.instrument is None:
            return (BinanceCall("GET", "/api/v3/openOrders", weight=80),)
        return (BinanceCall("GET", "/api/v3/openOrders", (("symbol", self.symbol()),), weight=6),)

    def _plan_fills(self) -> Calls:
        return self.trades("/api/v3/myTrades", 20, DAY_MS)

    def _plan_positions(self) -> Calls:
        return ()

    def _plan_account(self) -> Calls:
        return (SPOT_ACCOUNT,)

    def _plan_instruments(self) -> Calls:
        return (SPOT_EXCHANGE_INFO,)

    def _plan_book(self) -> Calls:
        params = (("symbol", self.symbol()), ("limit", _BOOK_LEVELS))
        return (BinanceCall("GET", "/api/v3/depth", params, Security.NONE, 50),)

    def _plan_bars(self) -> Calls:
        return (self.market_rows("/api/v3/klines", 2, interval="1m"),)

    def _read_order(self, _: BinanceCall, body: bytes) -> Calls:
        return self.add_order(self._answers.order(self.query.account, body, self.now))

    def _read_open_orders(self, _: BinanceCall, body: bytes) -> Calls:
        return self.add_open_orders(self._answers.orders(self.query.account, body, self.now))

    def _read_fills(self, call: BinanceCall, body: bytes) -> Calls:
        return self.add_fills(call, self._answers.fills(self.query.account, body))

    def _read_account(self, _: BinanceCall, body: bytes) -> Calls:
        self.found.balances = self._answers.balances(body)
        return ()

    plans = {
        QueryKind.ORDER: _plan_order,
        QueryKind.OPEN_ORDERS: _plan_open_orders,
        QueryKind.FILLS: _plan_fills,
        QueryKind.POSITIONS: _plan_positions,
        QueryKind.ACCOUNT: _plan_account,
        QueryKind.INSTRUMENTS: _plan_instruments,
        QueryKind.BOOK: _plan_book,
        QueryKind.BARS: _plan_bars,
    }
    readers = {
        "/api/v3/order": _read_order,
        "/api/v3/openOrders": _read_open_orders,
        "/api/v3/myTrades": _read_fills,
        "/api/v3/account": _read_account,
        "/api/v3/exchangeInfo": Inquiry.read_exchange_info,
        "/api/v3/depth": Inquiry.read_book,
        "/api/v3/klines": Inquiry.read_bars,
    }
