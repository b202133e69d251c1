"""Which requests a query of the port takes at USDS-M futures, and the answer they make together.

The venue answers symbol by symbol, in windows of days and pages of a thousand rows; the port asks once. What is not
complete is no answer: one request that fails makes the whole query fail.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

from attrs import define, field

from venues.binance.answers import UsdmAnswers
from venues.binance.calls import BinanceCall, Security, UnsupportedCommandError
from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError
from venues.binance.market_answers import bars
from venues.binance.requests import GET_ACCOUNT_CONFIG, GET_EXCHANGE_INFO, Named, UsdmRequests
from venues.binance.rules import instrument_states
from venues.binance.wire_rest import WireSymbolConfig
from venues.model.account import PositionMode
from venues.port import (
    FundingRate,
    Income,
    OrderFilled,
    OrderReport,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    RejectReason,
    Report,
)

NO_SUCH_ORDER: Final = -2013

DAY_MS: Final = 86_400_000
_NS_PER_MS: Final = 1_000_000
_WEEK_MS: Final = 7 * DAY_MS
_KEPT_MS: Final = 89 * DAY_MS
"""How far back trades and income are asked for: three months are kept. Sources: change log 2026-08-26, "Income"."""

PAGE: Final = 1_000

Calls = tuple[BinanceCall, ...]
Plan = Callable[[Any], Calls]
Reader = Callable[[Any, BinanceCall, bytes], Calls]


@define
class Found:
    """What the answers to one query have brought so far."""

    orders: dict[str, OrderReport] = field(factory=dict)
    fills: dict[tuple[str, str], OrderFilled] = field(factory=dict)
    positions: tuple[PositionReport, ...] = ()
    incomes: dict[str, Income] = field(factory=dict)
    rates: dict[int, FundingRate] = field(factory=dict)
    balances: dict[str, Decimal] | None = None
    position_mode: PositionMode | None = None
    market: dict[tuple[str, int], Report] = field(factory=dict)


class Inquiry:
    """One query under way. Make every request of `calls`, hand each answer to `take` and make what it returns.

    `take` is for answers with HTTP status 200, `refuse` for those that are an error with a code, `fail` for everything
    else. When no request is left `reports` is the end of it. `now` is the venue's time when the query was begun (ns):
    what happens after it may be missing in the answer. Nothing is raised: what cannot be asked or read is QueryFailed.
    """

    plans: ClassVar[Mapping[QueryKind, Plan]]
    readers: ClassVar[Mapping[str, Reader]]
    kept_ms: ClassVar[int | None] = None
    """How far back the venue can be asked; None for any time."""

    def __init__(self, requests: Named, decoder: BinanceDecoder, query: Query, now: int) -> None:
        self.query = query
        self.why = ""
        self.now = now
        self.found = Found()
        self._named = requests
        self._decoder = decoder
        self.calls: Calls = ()
        self._unanswered = 0
        try:
            plan = self.plans.get(query.kind)
            if plan is None:
                raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"the venue does not answer {query.kind}")
            self.calls = plan(self)
            self._unanswered = len(self.calls)
        except UnsupportedCommandError as error:
            self.fail(error.text)

    def take(self, call: BinanceCall, body: bytes) -> Calls:
        """Take one answer and return what must be asked further."""
        if self.why:
            return ()
        try:
            return self._answered(self.readers[call.path](self, call, body))
        except CodecError as error:
            self.fail(str(error))
            return ()

    def refuse(self, call: BinanceCall, code: int, why: str) -> Calls:
        """Take a refusal. That an order is not known is an answer, and no proof for some seconds after a submit."""
        if code == NO_SUCH_ORDER and self.query.kind is QueryKind.ORDER and not self.why:
            return self._answered(self._where_else(call))
        self.fail(f"{code} {why}")
        return ()

    def fail(self, why: str) -> None:
        """Give up; the first reason counts."""
        self.why = self.why or why or "no reason given"

    def reports(self) -> list[Report]:
        """Return what to tell: what came along first, the answer to the query last; a book is its own answer."""
        query, found, now = self.query, self.found, self.now
        if self._unanswered:
            self.fail(f"{self._unanswered} of the requests were not answered")
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
            positions=found.positions,
            balances=found.balances,
            incomes=tuple(found.incomes.values()),
            rates=tuple(found.rates.values()),
            position_mode=found.position_mode,
        )
        return [*market, result]

    def _answered(self, further: Calls) -> Calls:
        self._unanswered += len(further) - 1
        return further

    def _where_else(self, _: BinanceCall) -> Calls:
        """Return where an order may be that is not where it was looked for."""
        return ()

    # What plans are made of

    def symbol(self) -> str:
        if self.query.instrument is None:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, "instrument is missing")
        return self._named.symbol(self.query.instrument)

    def symbols(self) -> Iterable[str]:
        if self.query.instrument is not None:
            return (self.symbol(),)
        return [instrument.symbol for instrument in self._named.instruments.values()]

    def client_order_id(self) -> str:
        if not self.query.client_order_id:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, "client_order_id is missing")
        return self.query.client_order_id

    def since_ms(self, default: int) -> int:
        """Return from when on to ask. Raises UnsupportedCommandError for what the venue has forgotten."""
        if not self.query.since_ns:
            return max(0, default)
        since = self.query.since_ns // _NS_PER_MS
        if self.kept_ms is not None and since < self.now // _NS_PER_MS - self.kept_ms:
            text = f"{self.query.kind} of more than {self.kept_ms // DAY_MS} days ago are not kept"
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, text)
        return since

    def trades(self, path: str, weight: int, window_ms: int) -> Calls:
        """Return requests for fills: symbol by symbol, of the instruments known here, window by window."""
        now_ms = self.now // _NS_PER_MS
        starts = range(self.since_ms(now_ms - window_ms), now_ms + 1, window_ms)
        return tuple(
            rows(path, weight, symbol=symbol, startTime=start, endTime=start + window_ms - 1)
            for symbol in self.symbols()
            for start in starts
        )

    def order_call(self, path: str, weight: int) -> BinanceCall:
        params = (("symbol", self.symbol()), ("origClientOrderId", self.client_order_id()))
        return BinanceCall("GET", path, params, weight=weight, ws_method="order.status")

    def market_rows(self, path: str, weight: int, **params: object) -> BinanceCall:
        """Return the request for public rows of the instrument asked for, from `since_ns` on."""
        since = self.query.since_ns
        start = None if since is None else since // _NS_PER_MS
        return rows(path, weight, Security.NONE, symbol=self.symbol(), startTime=start, **params)

    # What readers are made of

    def is_asked(self, ts: int) -> bool:
        return ts >= (self.query.since_ns or 0)

    def add_order(self, report: OrderReport) -> Calls:
        if report.client_order_id != self.query.client_order_id:
            self.fail(f"asked for {self.query.client_order_id}, told of {report.client_order_id[:40]}")
        self.found.orders[report.client_order_id] = report
        return ()

    def add_open_orders(self, reports: Iterable[OrderReport]) -> Calls:
        self.found.orders.update({report.client_order_id: report for report in reports})
        return ()

    def add_fills(self, call: BinanceCall, fills: tuple[OrderFilled, ...]) -> Calls:
        self.found.fills.update({(one.instrument, one.trade_id): one for one in fills if self.is_asked(one.ts)})
        return self.next_page(call, len(fills), max((one.ts for one in fills), default=0) // _NS_PER_MS)

    def next_page(self, call: BinanceCall, count: int, last_ms: int) -> Calls:
        """Return the request for the rows after a full page; rows of its last instant come twice and count once."""
        params = dict(call.params)
        if count < PAGE or "startTime" not in params:
            return ()
        if last_ms <= int(params["startTime"]):
            self.fail(f"{call.path}: more than {PAGE} rows in one instant")
            return ()
        params["startTime"] = str(last_ms)
        return (call._replace(params=tuple(params.items())),)

    def read_bars(self, call: BinanceCall, body: bytes) -> Calls:
        """Take the bars that have ended."""
        found = bars(self.query.instrument or "", body, is_mark=self.query.kind is QueryKind.MARK_BARS)
        self.found.market.update({("bar", bar.ts): bar for bar in found if bar.ts <= self.now})
        return self.next_page(call, len(found), max((bar.ts for bar in found), default=0) // _NS_PER_MS)

    def read_book(self, _: BinanceCall, body: bytes) -> Calls:
        self.found.market["book", 0] = self._decoder.decode_snapshot(body, self.symbol())
        return ()

    def read_exchange_info(self, _: BinanceCall, body: bytes) -> Calls:
        wanted = (self.query.instrument,) if self.query.instrument else tuple(self._named.instruments)
        by_symbol = {self._named.symbol(instrument): instrument for instrument in wanted}
        for place, status in enumerate(instrument_states(body, by_symbol, self.now)):
            self.found.market["status", place] = status
        return ()


def rows(path: str, weight: int, security: Security = Security.SIGNED, **params: object) -> BinanceCall:
    """Return a request for a page of rows; parameters that are None are left out."""
    given = tuple((name, str(value)) for name, value in {**params, "limit": PAGE}.items() if value is not None)
    return BinanceCall("GET", path, given, security, weight)


class UsdmInquiry(Inquiry):
    """A query of a USDS-M account."""

    kept_ms = _KEPT_MS

    def __init__(
        self, requests: UsdmRequests, answers: UsdmAnswers, decoder: BinanceDecoder, query: Query, now: int
    ) -> None:
        self._answers = answers
        self._risk: bytes | None = None
        self._configs: dict[str, WireSymbolConfig] | None = None
        super().__init__(requests, decoder, query, now)

    def _where_else(self, call: BinanceCall) -> Calls:
        """An order the engine does not know may wait for its trigger in the Algo service."""
        if call.path != "/fapi/v1/order":
            return ()
        return (BinanceCall("GET", "/fapi/v1/algoOrder", (("clientAlgoId", self.client_order_id()),)),)

    def _symbol_or_all(self, weight_of_all: int) -> tuple[tuple[tuple[str, str], ...], int]:
        return ((), weight_of_all) if self.query.instrument is None else ((("symbol", self.symbol()),), 1)

    def _plan_order(self) -> Calls:
        return (self.order_call("/fapi/v1/order", 1),)

    def _plan_open_orders(self) -> Calls:
        """Conditional orders first: one that is triggered in between is told of by both, and not by none."""
        return (self._open_orders_call("/fapi/v1/openAlgoOrders"),)

    def _open_orders_call(self, path: str) -> BinanceCall:
        params, weight = self._symbol_or_all(40)
        return BinanceCall("GET", path, params, weight=weight)

    def _plan_fills(self) -> Calls:
        return self.trades("/fapi/v1/userTrades", 5, _WEEK_MS)

    def _plan_positions(self) -> Calls:
        params, _ = self._symbol_or_all(5)
        return tuple(
            BinanceCall("GET", path, params, weight=5) for path in ("/fapi/v3/positionRisk", "/fapi/v1/symbolConfig")
        )

    def _plan_account(self) -> Calls:
        return (BinanceCall("GET", "/fapi/v3/account", weight=5), GET_ACCOUNT_CONFIG)

    def _plan_instruments(self) -> Calls:
        return (GET_EXCHANGE_INFO,)

    def _plan_book(self) -> Calls:
        params = (("symbol", self.symbol()), ("limit", "1000"))
        return (BinanceCall("GET", "/fapi/v1/depth", params, Security.NONE, 20),)

    def _plan_bars(self) -> Calls:
        is_mark = self.query.kind is QueryKind.MARK_BARS
        return (self.market_rows("/fapi/v1/markPriceKlines" if is_mark else "/fapi/v1/klines", 5, interval="1m"),)

    def _plan_funding_history(self) -> Calls:
        return (self.market_rows("/fapi/v1/fundingRate", 0),)

    def _plan_open_interest(self) -> Calls:
        return (BinanceCall("GET", "/fapi/v1/openInterest", (("symbol", self.symbol()),), Security.NONE),)

    def _plan_income(self) -> Calls:
        start = self.since_ms(self.now // _NS_PER_MS - _KEPT_MS)
        symbol = self.symbol() if self.query.instrument is not None else None
        return (rows("/fapi/v1/income", 30, symbol=symbol, startTime=start),)

    def _read_order(self, _: BinanceCall, body: bytes) -> Calls:
        return self.add_order(self._answers.order(self.query.account, body, self.now))

    def _read_algo_order(self, _: BinanceCall, body: bytes) -> Calls:
        return self.add_order(self._answers.algo_order(self.query.account, body, self.now))

    def _read_open_orders(self, _: BinanceCall, body: bytes) -> Calls:
        return self.add_open_orders(self._answers.orders(self.query.account, body, self.now))

    def _read_open_algo_orders(self, _: BinanceCall, body: bytes) -> Calls:
        for report in self._answers.algo_orders(self.query.account, body, self.now):
            self.found.orders[report.client_order_id] = report
        return (self._open_orders_call("/fapi/v1/openOrders"),)

    def _read_fills(self, call: BinanceCall, body: bytes) -> Calls:
        return self.add_fills(call, self._answers.fills(self.query.account, body))

    def _read_risk(self, _: BinanceCall, body: bytes) -> Calls:
        self._risk = body
        return self._join_positions()

    def _read_symbol_configs(self, _: BinanceCall, body: bytes) -> Calls:
        self._configs = self._answers.symbol_configs(body)
        return self._join_positions()

    def _join_positions(self) -> Calls:
        if self._risk is not None and self._configs is not None:
            self.found.positions = self._answers.positions(self.query.account, self._risk, self._configs, self.now)
            for place, rank in enumerate(self._answers.adl_ranks(self.query.account, self._risk, self.now)):
                self.found.market["adl", place] = rank
        return ()

    def _read_account(self, _: BinanceCall, body: bytes) -> Calls:
        self.found.balances = self._answers.balances(body)
        return ()

    def _read_account_config(self, _: BinanceCall, body: bytes) -> Calls:
        self.found.position_mode = self._answers.position_mode(body)
        return ()

    def _read_income(self, call: BinanceCall, body: bytes) -> Calls:
        incomes, count, last_ms = self._answers.incomes(self.query.account, body)
        self.found.incomes.update({income.income_id: income for income in incomes if self.is_asked(income.ts)})
        return self.next_page(call, count, last_ms)

    def _read_funding_rates(self, call: BinanceCall, body: bytes) -> Calls:
        rates = self._answers.funding_rates(body)
        self.found.rates.update({rate.ts: rate for rate in rates if self.is_asked(rate.ts)})
        return self.next_page(call, len(rates), max((rate.ts for rate in rates), default=0) // _NS_PER_MS)

    def _read_open_interest(self, _: BinanceCall, body: bytes) -> Calls:
        self.found.market["open_interest", 0] = self._answers.open_interest(body)
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
        QueryKind.MARK_BARS: _plan_bars,
        QueryKind.FUNDING_HISTORY: _plan_funding_history,
        QueryKind.OPEN_INTEREST: _plan_open_interest,
        QueryKind.INCOME: _plan_income,
    }
    readers = {
        "/fapi/v1/order": _read_order,
        "/fapi/v1/algoOrder": _read_algo_order,
        "/fapi/v1/openOrders": _read_open_orders,
        "/fapi/v1/openAlgoOrders": _read_open_algo_orders,
        "/fapi/v1/userTrades": _read_fills,
        "/fapi/v3/positionRisk": _read_risk,
        "/fapi/v1/symbolConfig": _read_symbol_configs,
        "/fapi/v3/account": _read_account,
        "/fapi/v1/accountConfig": _read_account_config,
        "/fapi/v1/exchangeInfo": Inquiry.read_exchange_info,
        "/fapi/v1/depth": Inquiry.read_book,
        "/fapi/v1/klines": Inquiry.read_bars,
        "/fapi/v1/markPriceKlines": Inquiry.read_bars,
        "/fapi/v1/fundingRate": _read_funding_rates,
        "/fapi/v1/openInterest": _read_open_interest,
        "/fapi/v1/income": _read_income,
    }
