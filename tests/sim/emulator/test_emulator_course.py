"""Hours of random requests on made markets: what answers, records, streams and the engine say is one story."""

from collections import defaultdict
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from sim.emulator.events import AccountEvent, AlgoEvent, Event, OrderEvent
from sim.emulator.host import Host, HostSettings
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.market_source import SyntheticPace
from sim.emulator.routes import ApiError, Params, Session, routes
from venues.model.book_sync import BookSync, SequenceRule
from venues.model.money import desk_arithmetic
from venues.port import BookDelta, BookSnapshot, Trade

SECOND = 1_000_000_000
START = 1_790_002_200 * SECOND
"""2026-09-21 14:50:00 UTC, ten minutes before a funding stamp."""

STP_MODES = ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "NONE"]
OVER = {"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"}
ALGO_COURSES = {
    ("NEW", "CANCELED"),
    ("NEW", "TRIGGERING", "REJECTED"),
    ("NEW", "TRIGGERING", "TRIGGERED"),
    ("NEW", "TRIGGERING", "TRIGGERED", "FINISHED"),
    ("NEW",),
}


class Course:
    """One life of a venue. `heard` is what its streams told."""

    def __init__(self, venue: str, seed: int, *, is_hedge: bool) -> None:
        self.ns = 0
        self.random = Random(seed)
        pace = SyntheticPace(
            step_ns=SECOND // 2, funding_rate=Decimal("0.00012345"), funding_interval_hours=1, volatility_bps=30.0
        )
        settings = HostSettings(venue, seed=seed, pace=pace)
        self.host = Host(settings, wall=lambda: START, monotonic=lambda: self.ns)
        self.session = Session(self.host, ListenKeys(), "k" * 64)
        self.table = routes(venue)
        self.heard: list[Event] = []
        self.host.subscribe(self.heard.append)
        self.base = "/api/v3" if venue == "spot" else "/fapi/v1"
        self.books: dict[str, BookSync] = {}
        for one in self.host.listings.values():
            sync = self.books[one.id] = BookSync(SequenceRule.FUTURES)
            book = self.host.book(one.id)
            assert book is not None
            last = book.update_id
            sync.on_delta(BookDelta(1, one.id, last, last, last - 1, [], []))
            sync.on_snapshot(BookSnapshot(book.ts, one.id, last, book.bids, book.asks))
        self.is_hedge = is_hedge
        if is_hedge:
            self.ask("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
            self.ask("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")

    def ask(self, method: str, path: str, **params: object) -> Any:
        texts = {name: str(value) for name, value in params.items() if value is not None}
        return self.table[method, path].handler(self.session, Params(texts))

    def do(self) -> None:
        """Ask one thing, sensible or not, and let some time pass."""
        chance = self.random.random()
        try:
            if chance < 0.55:
                self._place()
            elif chance < 0.75:
                self._touch()
            elif chance < 0.85 and self.base == "/fapi/v1":
                self._arm()
            elif chance < 0.87:
                self.ask("DELETE", self.base + ("/openOrders" if self._is_spot else "/allOpenOrders"), symbol="BTCUSDT")
        except ApiError:
            pass
        self.ns += int(self.random.expovariate(1 / 2.0) * SECOND)
        self.host.catch_up()

    @property
    def _is_spot(self) -> bool:
        return self.base == "/api/v3"

    def _symbol(self) -> str:
        return self.random.choice(list(self.host.listings))

    def _price(self, symbol: str, spread: int = 30) -> Decimal:
        listing = self.host.listings[symbol]
        quote = self.host.best(listing.id)
        assert quote is not None
        return listing.spec.price((quote.bid + quote.ask) // 2 + self.random.randint(-spread, spread))

    def _terms(self, symbol: str) -> dict[str, object]:
        side = self.random.choice(["BUY", "SELL"])
        qty = Decimal(self.random.randint(1, 3_000)) / 1_000
        terms: dict[str, object] = {"symbol": symbol, "side": side, "quantity": qty}
        if self.is_hedge:
            terms["positionSide"] = self.random.choice(["LONG", "SHORT"])
        elif not self._is_spot and self.random.random() < 0.2:
            terms["reduceOnly"] = "true"
        return terms

    def _place(self) -> None:
        symbol = self._symbol()
        terms = self._terms(symbol)
        if self.random.random() < 0.3:
            terms["type"] = "MARKET"
        else:
            kinds = ["GTC", "IOC", "FOK"] if self._is_spot else ["GTC", "GTC", "GTX", "IOC", "FOK", "GTD"]
            tif = self.random.choice(kinds)
            terms |= {"type": "LIMIT", "timeInForce": tif, "price": self._price(symbol)}
            if tif == "GTD":
                terms["goodTillDate"] = self.host.now() // 1_000_000 + 601_000
        if self.random.random() < 0.5:
            terms["selfTradePreventionMode"] = self.random.choice(
                ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "NONE"]
            )
        self.ask("POST", self.base + "/order", **terms)

    def _touch(self) -> None:
        found = self.host.ledger.open_orders()
        if not found:
            return
        order = self.random.choice(found)
        named: dict[str, object] = {"symbol": order.symbol, "orderId": order.order_id}
        if self._is_spot or self.random.random() < 0.5:
            self.ask("DELETE", self.base + "/order", **named)
            return
        qty = Decimal(self.random.randint(1, 3_000)) / 1_000
        price = self._price(order.symbol)
        self.ask("PUT", "/fapi/v1/order", side=order.side, quantity=qty, price=price, **named)

    def _arm(self) -> None:
        symbol = self._symbol()
        kind = self.random.choice(["STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TRAILING_STOP_MARKET"])
        terms = {**self._terms(symbol), "type": kind, "algoType": "CONDITIONAL"}
        if kind == "TRAILING_STOP_MARKET":
            terms["callbackRate"] = "0.1"
        else:
            terms["triggerPrice"] = self._price(symbol, 300)
        if kind == "STOP":
            terms["price"] = self._price(symbol, 300)
        if self.random.random() < 0.5:
            terms["workingType"] = "MARK_PRICE"
        self.ask("POST", "/fapi/v1/algoOrder", **terms)


def _orders(heard: list[Event]) -> dict[int, list[OrderEvent]]:
    by_id = defaultdict(list)
    for event in heard:
        if isinstance(event, OrderEvent):
            by_id[event.order.order_id].append(event)
    return by_id


COURSES = [("usdm", 1, False), ("usdm", 2, True), ("usdm", 3, False), ("spot", 4, False)]


@pytest.fixture(params=COURSES, ids=[f"{venue}-{seed}" for venue, seed, _ in COURSES], scope="module")
def course(request: pytest.FixtureRequest) -> Course:
    venue, seed, is_hedge = request.param
    with desk_arithmetic():
        made = Course(venue, seed, is_hedge=is_hedge)
        for _ in range(500):
            made.do()
    return made


def test_every_order_has_one_course_that_its_events_tell(course: Course) -> None:
    by_id = _orders(course.heard)
    assert len(by_id) > 100
    for order_id, events in by_id.items():
        assert events[0].execution == "NEW"
        states = [event.order.status for event in events]
        assert not OVER & set(states[:-1])
        record = course.host.ledger.orders[order_id]
        assert record.status == states[-1]
        fills = [event.fill for event in events if event.fill is not None]
        assert sum((fill.qty for fill in fills), Decimal(0)) == record.executed_qty
        assert sum((fill.quote_qty for fill in fills), Decimal(0)) == record.cum_quote


def test_what_is_open_is_what_the_engine_holds(course: Course) -> None:
    live = {key[1]: order for key, order in course.host.venue.state.live.items()}
    records = {one.client_order_id: one for one in course.host.ledger.open_orders()}
    assert records.keys() == live.keys()
    for name, order in live.items():
        spec = course.host.listings[records[name].symbol].spec
        assert spec.qty(order.lots) == records[name].orig_qty
        assert spec.qty(order.filled) == records[name].executed_qty


def test_money_is_the_start_and_what_every_row_says(course: Course) -> None:
    host = course.host
    account = host.venue.state.accounts[host.account].account
    told = {}
    for event in course.heard:
        if isinstance(event, AccountEvent):
            told.update({one.asset: one.wallet for one in event.balances})
    assert told
    for asset, wallet in told.items():
        assert wallet == account.balance(asset)
    if host.settings.venue == "spot":
        moved: defaultdict[str, Decimal] = defaultdict(Decimal)
        for fill in host.ledger.fills:
            sign = 1 if fill.side == "BUY" else -1
            spec = host.listings[fill.symbol].spec
            moved[spec.base] += sign * fill.qty
            moved[spec.quote] -= sign * fill.quote_qty
            moved[fill.commission_asset] -= fill.commission
        start = {"USDT": 10_000_000, "BTC": 100, "ETH": 1_000}
        assert {asset: start[asset] + moved[asset] for asset in start} == {
            asset: account.balance(asset) for asset in start
        }
        return
    rows = sum((row.amount for row in host.ledger.incomes), Decimal(0))
    assert account.balance("USDT") == 1_000_000 + rows
    assert {row.kind for row in host.ledger.incomes} >= {"COMMISSION", "REALIZED_PNL", "FUNDING_FEE"}


def test_positions_are_the_sum_of_the_trades(course: Course) -> None:
    if course.host.settings.venue == "spot":
        return
    summed: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for fill in course.host.ledger.fills:
        summed[fill.symbol, fill.position_side] += fill.qty * (1 if fill.side == "BUY" else -1)
    held = {(one.symbol, one.position_side): one.amount for one in course.host.positions()}
    assert {key: amount for key, amount in held.items() if amount} == {key: qty for key, qty in summed.items() if qty}


def test_a_local_book_of_the_told_deltas_is_the_venues(course: Course) -> None:
    for event in course.heard:
        if isinstance(event, BookDelta):
            course.books[event.instrument].on_delta(event)
    for name, sync in course.books.items():
        book = course.host.book(name)
        assert book is not None
        assert sync.is_usable
        assert (sync.last_id, dict(book.bids), dict(book.asks)) == (book.update_id, sync.book.bids, sync.book.asks)


def test_trades_are_numbered_without_a_hole_and_own_ones_are_among_them(course: Course) -> None:
    for listing in course.host.listings.values():
        numbers = [one.trade_id for one in course.heard if isinstance(one, Trade) and one.instrument == listing.id]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        own = {fill.trade_id for fill in course.host.ledger.fills if fill.symbol == listing.symbol}
        assert own <= set(numbers)


def test_conditional_orders_take_one_of_the_known_courses(course: Course) -> None:
    by_id = defaultdict(list)
    for event in course.heard:
        if isinstance(event, AlgoEvent):
            by_id[event.algo.algo_id].append(event.algo.status)
    assert by_id or course.host.settings.venue == "spot"
    assert {tuple(states) for states in by_id.values()} <= ALGO_COURSES
