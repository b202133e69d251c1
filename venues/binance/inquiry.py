"""Which requests a query of the port takes at USDS-M futures, and the answer they make together.

The venue answers symbol by symbol, in windows of seven days and pages of a thousand rows; the port asks once. What is
not complete is no answer: one request that fails makes the whole query fail.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

from attrs import define, field

from venues.binance.answers import UsdmAnswers
from venues.binance.calls import BinanceCall, Security, UnsupportedCommandError
from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError
from venues.binance.requests import GET_ACCOUNT_CONFIG, GET_EXCHANGE_INFO, UsdmRequests
from venues.binance.rules import instrument_states
from venues.binance.wire_rest import WireSymbolConfig
from venues.model.account import PositionMode
from venues.port import (
    FundingRate,
    Income,
    OrderFilled,
    OrderReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    RejectReason,
    Report,
)

NO_SUCH_ORDER: Final = -2013

_NS_PER_MS: Final = 1_000_000
_DAY_MS: Final = 86_400_000
_WINDOW_MS: Final = 7 * _DAY_MS
_KEPT_MS: Final = 89 * _DAY_MS
"""How far back trades and income are asked for: three months are kept. Sources: change log 2026-08-26, "Income"."""

_PAGE: Final = 1_000
_BAR_MS: Final = 60_000

_Params = dict[str, str]


@define
class _Found:
    """What the answers have brought so far."""

    orders: dict[str, OrderReport] = field(factory=dict)
    fills: dict[tuple[str, str], OrderFilled] = field(factory=dict)
    incomes: dict[str, Income] = field(factory=dict)
    rates: dict[int, FundingRate] = field(factory=dict)
    balances: dict[str, Decimal] | None = None
    position_mode: PositionMode | None = None
    risk: bytes | None = None
    configs: dict[str, WireSymbolConfig] = field(factory=dict)
    market: dict[tuple[str, int], Report] = field(factory=dict)


class UsdmInquiry:
    """One query under way. Make the requests of `calls` in turn, hand each answer to `take`, make what it returns.

    `take` is for answers with HTTP status 200, `refuse` for those that are an error with a code, `fail` for everything
    else. When no request is left `reports` is the end of it. `now` is the venue's time when the query was begun (ns):
    what happens after it may be missing in the answer. Nothing is raised: what cannot be asked or read is QueryFailed.
    """

    def __init__(
        self, requests: UsdmRequests, answers: UsdmAnswers, decoder: BinanceDecoder, query: Query, now: int
    ) -> None:
        self.query = query
        self.why = ""
        self._requests = requests
        self._answers = answers
        self._decoder = decoder
        self._now = now
        self._found = _Found()
        try:
            self.calls = _PLANS[query.kind](self)
        except UnsupportedCommandError as error:
            self.calls = ()
            self.fail(error.text)

    def take(self, call: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        """Take one answer and return what must be asked further."""
        if self.why:
            return ()
        try:
            return _READERS[call.path](self, call, body)
        except CodecError as error:
            self.fail(str(error))
            return ()

    def refuse(self, call: BinanceCall, code: int, why: str) -> tuple[BinanceCall, ...]:
        """Take a refusal. That an order is not known is an answer; a conditional one may be known to the Algo service.

        Absence is believed of both together only, and even then it is no proof for some seconds after a submit.
        """
        if code == NO_SUCH_ORDER and self.query.kind is QueryKind.ORDER and not self.why:
            return (self._algo_order_call(),) if call.path == "/fapi/v1/order" else ()
        self.fail(f"{code} {why}")
        return ()

    def fail(self, why: str) -> None:
        """Give up; the first reason counts."""
        self.why = self.why or why or "no reason given"

    def reports(self) -> list[Report]:
        """Return what to tell: market data first, the answer to the query last; a book is its own answer."""
        query, found, now = self.query, self._found, self._now
        if not self.why and query.kind is QueryKind.POSITIONS and found.risk is not None:
            try:
                positions = self._answers.positions(query.account, found.risk, found.configs, now)
            except CodecError as error:
                self.fail(str(error))
        else:
            positions = ()
        if self.why:
            return [QueryFailed(now, query.account, query.query_id, query.kind, self.why)]
        market = list(found.market.values())
        if query.kind is QueryKind.BOOK:
            return market
        result = QueryResult(
            now,
            query.account,
            query.query_id,
            query.kind,
            orders=tuple(found.orders.values()),
            fills=tuple(sorted(found.fills.values(), key=lambda fill: fill.ts)),
            positions=positions,
            balances=found.balances,
            incomes=tuple(found.incomes.values()),
            rates=tuple(found.rates.values()),
            position_mode=found.position_mode,
        )
        return [*market, result]

    # What to ask

    def _plan_order(self) -> tuple[BinanceCall, ...]:
        if not self.query.client_order_id:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, "client_order_id is missing")
        params = (("symbol", self._symbol()), ("origClientOrderId", self.query.client_order_id))
        return (BinanceCall("GET", "/fapi/v1/order", params, ws_method="order.status"),)

    def _algo_order_call(self) -> BinanceCall:
        return BinanceCall("GET", "/fapi/v1/algoOrder", (("clientAlgoId", self.query.client_order_id or ""),))

    def _plan_open_orders(self) -> tuple[BinanceCall, ...]:
        """Conditional orders first: one that is triggered in between is told of by both, and not by none."""
        params, weight = self._symbol_or_all(40)
        return tuple(
            BinanceCall("GET", path, params, weight=weight)
            for path in ("/fapi/v1/openAlgoOrders", "/fapi/v1/openOrders")
        )

    def _plan_fills(self) -> tuple[BinanceCall, ...]:
        """Trades are told by symbol: those of the instruments known here, or of the one asked for."""
        now_ms = self._now // _NS_PER_MS
        starts = range(self._since_ms(now_ms - _WINDOW_MS), now_ms + _DAY_MS, _WINDOW_MS)
        return tuple(
            _rows("/fapi/v1/userTrades", 5, symbol=symbol, start=start, end=start + _WINDOW_MS - 1)
            for symbol in self._symbols()
            for start in starts
        )

    def _plan_positions(self) -> tuple[BinanceCall, ...]:
        params, _ = self._symbol_or_all(5)
        return tuple(
            BinanceCall("GET", path, params, weight=5) for path in ("/fapi/v3/positionRisk", "/fapi/v1/symbolConfig")
        )

    def _plan_account(self) -> tuple[BinanceCall, ...]:
        return (BinanceCall("GET", "/fapi/v3/account", weight=5), GET_ACCOUNT_CONFIG)

    def _plan_instruments(self) -> tuple[BinanceCall, ...]:
        return (GET_EXCHANGE_INFO,)

    def _plan_book(self) -> tuple[BinanceCall, ...]:
        params = (("symbol", self._symbol()), ("limit", "1000"))
        return (BinanceCall("GET", "/fapi/v1/depth", params, Security.NONE, 20),)

    def _plan_bars(self) -> tuple[BinanceCall, ...]:
        path = "/fapi/v1/klines" if self.query.kind is QueryKind.BARS else "/fapi/v1/markPriceKlines"
        start = None if self.query.since_ns is None else self.query.since_ns // _NS_PER_MS
        return (_rows(path, 5, Security.NONE, symbol=self._symbol(), start=start, interval="1m"),)

    def _plan_funding_history(self) -> tuple[BinanceCall, ...]:
        start = None if self.query.since_ns is None else self.query.since_ns // _NS_PER_MS
        return (_rows("/fapi/v1/fundingRate", 0, Security.NONE, symbol=self._symbol(), start=start),)

    def _plan_open_interest(self) -> tuple[BinanceCall, ...]:
        return (BinanceCall("GET", "/fapi/v1/openInterest", (("symbol", self._symbol()),), Security.NONE),)

    def _plan_income(self) -> tuple[BinanceCall, ...]:
        oldest = self._now // _NS_PER_MS - _KEPT_MS
        symbol = self._symbol() if self.query.instrument is not None else None
        return (_rows("/fapi/v1/income", 30, symbol=symbol, start=self._since_ms(oldest)),)

    def _symbol(self) -> str:
        if self.query.instrument is None:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, "instrument is missing")
        return self._requests.symbol(self.query.instrument)

    def _symbols(self) -> Iterable[str]:
        if self.query.instrument is not None:
            return (self._symbol(),)
        return [instrument.symbol for instrument in self._requests.instruments.values()]

    def _symbol_or_all(self, weight_of_all: int) -> tuple[tuple[tuple[str, str], ...], int]:
        if self.query.instrument is None:
            return (), weight_of_all
        return (("symbol", self._symbol()),), 1

    def _since_ms(self, default: int) -> int:
        """Return from when on to ask. Raises UnsupportedCommandError for what the venue has forgotten."""
        if not self.query.since_ns:
            return max(0, default)
        since = self.query.since_ns // _NS_PER_MS
        oldest = self._now // _NS_PER_MS - _KEPT_MS
        if since < oldest:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"{self.query.kind} are kept for three months")
        return since

    # What the answers say

    def _read_order(self, call: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        read = self._answers.order if call.path == "/fapi/v1/order" else self._answers.algo_order
        report = read(self.query.account, body, self._now)
        if report.client_order_id != self.query.client_order_id:
            self.fail(f"asked for {self.query.client_order_id}, told of {report.client_order_id}")
        self._found.orders[report.client_order_id] = report
        return ()

    def _read_open_orders(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        for report in self._answers.orders(self.query.account, body, self._now):
            self._found.orders[report.client_order_id] = report
        return ()

    def _read_open_algo_orders(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        for report in self._answers.algo_orders(self.query.account, body, self._now):
            self._found.orders.setdefault(report.client_order_id, report)
        return ()

    def _read_fills(self, call: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        fills = self._answers.fills(self.query.account, body)
        since = self.query.since_ns or 0
        for fill in fills:
            if fill.ts >= since:
                self._found.fills[fill.instrument, fill.trade_id] = fill
        return self._next_page(call, len(fills), max((fill.ts for fill in fills), default=0) // _NS_PER_MS)

    def _read_risk(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        self._found.risk = body
        return ()

    def _read_symbol_configs(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        self._found.configs = self._answers.symbol_configs(body)
        return ()

    def _read_account(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        self._found.balances = self._answers.balances(body)
        return ()

    def _read_account_config(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        self._found.position_mode = self._answers.position_mode(body)
        return ()

    def _read_income(self, call: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        incomes, rows, last_ms = self._answers.incomes(self.query.account, body)
        self._found.incomes.update({income.income_id: income for income in incomes if self._is_asked(income.ts)})
        return self._next_page(call, rows, last_ms)

    def _is_asked(self, ts: int) -> bool:
        return ts >= (self.query.since_ns or 0)

    def _read_funding_rates(self, call: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        rates = self._answers.funding_rates(body)
        self._found.rates.update({rate.ts: rate for rate in rates if self._is_asked(rate.ts)})
        return self._next_page(call, len(rates), max((rate.ts for rate in rates), default=0) // _NS_PER_MS)

    def _read_bars(self, call: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        """Take the bars that have ended."""
        is_mark = self.query.kind is QueryKind.MARK_BARS
        bars = self._answers.bars(self.query.instrument or "", body, is_mark=is_mark)
        self._found.market.update({("bar", bar.ts): bar for bar in bars if bar.ts <= self._now})
        return self._next_page(call, len(bars), max((bar.ts for bar in bars), default=0) // _NS_PER_MS)

    def _read_book(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        self._found.market["book", 0] = self._decoder.decode_snapshot(body, self._symbol())
        return ()

    def _read_open_interest(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        self._found.market["open_interest", 0] = self._answers.open_interest(body)
        return ()

    def _read_exchange_info(self, _: BinanceCall, body: bytes) -> tuple[BinanceCall, ...]:
        wanted = {self.query.instrument} if self.query.instrument else set(self._requests.instruments)
        by_symbol = {one.symbol: one.id for one in self._requests.instruments.values() if one.id in wanted}
        for place, status in enumerate(instrument_states(body, by_symbol, self._now)):
            self._found.market["status", place] = status
        return ()

    def _next_page(self, call: BinanceCall, rows: int, last_ms: int) -> tuple[BinanceCall, ...]:
        """Return the request for the rows after a full page; rows of its last instant come twice and count once."""
        params = dict(call.params)
        if rows < _PAGE or "startTime" not in params:
            return ()
        if last_ms <= int(params["startTime"]):
            self.fail(f"{call.path}: more than {_PAGE} rows in one instant")
            return ()
        params["startTime"] = str(last_ms)
        return (call._replace(params=tuple(params.items())),)


def _rows(
    path: str,
    weight: int,
    security: Security = Security.SIGNED,
    *,
    symbol: str | None = None,
    start: int | None = None,
    end: int | None = None,
    interval: str | None = None,
) -> BinanceCall:
    params = {"symbol": symbol, "interval": interval, "startTime": start, "endTime": end, "limit": _PAGE}
    given = tuple((name, str(value)) for name, value in params.items() if value is not None)
    return BinanceCall("GET", path, given, security, weight)


_PLANS: Final[dict[QueryKind, Callable[[UsdmInquiry], tuple[BinanceCall, ...]]]] = {
    QueryKind.ORDER: UsdmInquiry._plan_order,
    QueryKind.OPEN_ORDERS: UsdmInquiry._plan_open_orders,
    QueryKind.FILLS: UsdmInquiry._plan_fills,
    QueryKind.POSITIONS: UsdmInquiry._plan_positions,
    QueryKind.ACCOUNT: UsdmInquiry._plan_account,
    QueryKind.INSTRUMENTS: UsdmInquiry._plan_instruments,
    QueryKind.BOOK: UsdmInquiry._plan_book,
    QueryKind.BARS: UsdmInquiry._plan_bars,
    QueryKind.MARK_BARS: UsdmInquiry._plan_bars,
    QueryKind.FUNDING_HISTORY: UsdmInquiry._plan_funding_history,
    QueryKind.OPEN_INTEREST: UsdmInquiry._plan_open_interest,
    QueryKind.INCOME: UsdmInquiry._plan_income,
}

_READERS: Final[dict[str, Callable[[UsdmInquiry, BinanceCall, bytes], tuple[BinanceCall, ...]]]] = {
    "/fapi/v1/order": UsdmInquiry._read_order,
    "/fapi/v1/algoOrder": UsdmInquiry._read_order,
    "/fapi/v1/openOrders": UsdmInquiry._read_open_orders,
    "/fapi/v1/openAlgoOrders": UsdmInquiry._read_open_algo_orders,
    "/fapi/v1/userTrades": UsdmInquiry._read_fills,
    "/fapi/v3/positionRisk": UsdmInquiry._read_risk,
    "/fapi/v1/symbolConfig": UsdmInquiry._read_symbol_configs,
    "/fapi/v3/account": UsdmInquiry._read_account,
    "/fapi/v1/accountConfig": UsdmInquiry._read_account_config,
    "/fapi/v1/exchangeInfo": UsdmInquiry._read_exchange_info,
    "/fapi/v1/depth": UsdmInquiry._read_book,
    "/fapi/v1/klines": UsdmInquiry._read_bars,
    "/fapi/v1/markPriceKlines": UsdmInquiry._read_bars,
    "/fapi/v1/fundingRate": UsdmInquiry._read_funding_rates,
    "/fapi/v1/openInterest": UsdmInquiry._read_open_interest,
    "/fapi/v1/income": UsdmInquiry._read_income,
}
