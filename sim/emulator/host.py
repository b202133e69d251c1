"""The emulated venue: time, market, matching and what one account has there, behind plain calls."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import trio
from attrs import define, evolve, field, frozen

from sim import margin
from sim.account import CashFlow
from sim.emulator import figures
from sim.emulator.algo_service import AlgoService
from sim.emulator.events import AccountEvent, BalanceChange, ConfigEvent, Event, MarginCallEvent, Subscriber
from sim.emulator.ledger import EXPIRED_LIQUIDATION, Ledger
from sim.emulator.listing_table import VENUE, listings
from sim.emulator.listings import Listing
from sim.emulator.market_source import MarketEvents, RecordingSource, SyntheticPace, synthetic
from sim.emulator.published_book import PublishedBook
from sim.emulator.records import BalanceFigures, OrderRecord, PositionFigures
from sim.emulator.tape import Tape
from sim.matching import Matcher
from sim.venue import SimVenue
from sim.venue_settings import VenueSettings
from sim.venue_state import Note
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import (
    BookSnapshot,
    Command,
    FundingRate,
    FundingSettled,
    Liquidated,
    LiquidationPrint,
    MarkPrice,
    Message,
    ModifyOrder,
    OrderFilled,
    Quote,
    Report,
    SubmitOrder,
    Trade,
)

ACCOUNT = "emulated"
MONEY = Decimal("0.00000001")
"""What the venue books money in."""

_MS = 1_000_000
_PAST_STEPS, _PAST_LEAST_NS, _PAST_MOST_NS = 200, 2_000_000_000, 60_000_000_000
"""How long the market has gone on already when the venue opens: there are trades from the first request on."""

_SLICE = 64
_NOTES = 100
_FIRST_UPDATE_ID = 9_000_000_000_000
_MARGIN_CALL_SHARE = Decimal("0.8")
"""A margin call is told when the maintenance margin takes this share of the margin balance."""

# Source: facts F (VIP 0); spot: the venue's public schedule.
FEES = {
    "usdm": FeeSchedule(Decimal("0.0002"), Decimal("0.0005")),
    "spot": FeeSchedule(Decimal("0.001"), Decimal("0.001")),
}
_START = {
    "usdm": {"USDT": Decimal(1_000_000)},
    "spot": {"USDT": Decimal(10_000_000), "BTC": Decimal(100), "ETH": Decimal(1_000)},
}


@frozen
class HostSettings:
    """`venue` is usdm or spot. `market` is "synthetic" or the path of a recording. `speed` is venue time per time.

    `balances` replace the usual starting balances. With `may_withdraw` the key is said to have that permission.
    """

    venue: str = "usdm"
    market: str = "synthetic"
    seed: int = 1
    speed: float = 1.0
    pace: SyntheticPace = field(factory=SyntheticPace)
    balances: dict[str, Decimal] | None = None
    may_withdraw: bool = False


@define
class AccountConfig:
    """What the account has chosen that the engine does not know.

    `margin_changes` are (ms, symbol, position side, 1 add or 2 reduce, amount, asset).
    """

    fee_burn: bool = False
    multi_assets: bool = False
    margin_changes: deque[tuple[int, str, str, int, Decimal, str]] = field(factory=lambda: deque(maxlen=10_000))


class Host:
    """One venue with one account. Every call is synchronous and happens at `now()`.

    `wall` gives the wall clock in ns when the venue begins, `monotonic` how far it has come since. `events` replace the
    market that the settings name. Raises RecordingError, NoFramesError for a recording that cannot be used.
    """

    def __init__(
        self,
        settings: HostSettings,
        *,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        events: MarketEvents | None = None,
    ) -> None:
        self.settings = settings
        self.account = ACCOUNT
        self._monotonic = monotonic
        self._begun = monotonic()
        self.start_ns = wall()
        self._now = self.start_ns - min(max(_PAST_STEPS * settings.pace.step_ns, _PAST_LEAST_NS), _PAST_MOST_NS)
        hours = settings.pace.funding_interval_hours
        self.listings: dict[str, Listing] = {
            symbol: evolve(one, funding_interval_hours=hours)
            for symbol, one in listings(settings.venue, self.start_ns).items()
        }
        recording = None
        if settings.market != "synthetic":
            recording = RecordingSource.open(Path(settings.market), self.listings)
            self.listings = recording.listings
        self.by_id = {one.id: one for one in self.listings.values()}
        self.fees = FEES[settings.venue]
        self.notes: deque[Note] = deque(maxlen=_NOTES)
        self.config = AccountConfig()
        self._flows: list[tuple[int, CashFlow]] = []
        self._subscribers: list[Subscriber] = []
        self._waiting: list[Event] = []
        self._is_telling = False
        balances = settings.balances if settings.balances is not None else _START[settings.venue]
        self.venue = SimVenue(
            VENUE,
            [one.spec for one in self.listings.values()],
            [Account(ACCOUNT, VENUE, dict(balances))],
            FeeTable(self.fees),
            rules="binance_spot" if settings.venue == "spot" else "binance_usdm",
            seed=settings.seed,
            on_flow=self._on_flow,
            on_note=self.notes.append,
            settings=VenueSettings(base_fees=settings.venue == "spot", money_quantum=MONEY),
        )
        self.ledger = Ledger(ACCOUNT, self.by_id, self._figures, wallets=dict(balances))
        self.ledger.balance_ms = self.start_ns // _MS
        self.algos = AlgoService(self)
        self.tape = Tape([one.spec for one in self.listings.values()], seed=settings.seed)
        self._books = {name: PublishedBook(name, _FIRST_UPDATE_ID) for name in self.by_id}
        self._called: set[str] = set()
        if events is None:
            events = (
                synthetic(self.listings, settings.seed, self._now, settings.pace)
                if recording is None
                else recording.events(self._now, settings.pace)
            )
        self._events = events
        self._next = next(self._events, None)
        self.advance(self.start_ns)

    # Time

    def now(self) -> int:
        """Return the venue's time in ns UTC: the wall clock's when the speed is one."""
        return self.start_ns + int((self._monotonic() - self._begun) * self.settings.speed)

    async def run(self) -> None:
        """Pace the market and the venue until cancelled."""
        while True:
            due = self.next_ns()
            wait = 0.0 if due is None else max(0.0, (due - self.now()) / 1e9 / self.settings.speed)
            await trio.sleep(min(wait, 1.0))
            now = self.now()
            while not self.advance(now, _SLICE):
                await trio.lowlevel.checkpoint()

    def next_ns(self) -> int | None:
        """Return when something happens next by itself."""
        moments = [self.venue.next_deadline(), self.algos.next_deadline()]
        if self._next is not None:
            moments.append(self._next[0])
        return min((ns for ns in moments if ns is not None), default=None)

    def advance(self, until: int, most: int | None = None) -> bool:
        """Let what is due up to `until` happen, at most so many events; return whether all of it has."""
        count = 0
        while (due := self.next_ns()) is not None and due <= until:
            if most is not None and count >= most:
                return False
            count += 1
            self._step(due)
        self._now = max(self._now, until)
        return True

    def _step(self, due: int) -> None:
        self._now = now = max(self._now, due)
        event = self._next
        if event is not None and event[0] <= due:
            self._next = next(self._events, None)
            self.play(now, event[1])
            return
        deadline = self.venue.next_deadline()
        if deadline is not None and deadline <= due:
            self._digest(self.venue.on_time(now))
            self._publish_books()
            return
        self.algos.on_time(now)

    # The market

    def play(self, now: int, message: Message) -> None:
        """Let something happen on the market."""
        self._now = max(self._now, now)
        if isinstance(message, Quote):
            # The public sees the best of the published book instead.
            return
        assert isinstance(message, Report)
        if self.venue.state.markets[message.instrument].is_settled:  # type: ignore[attr-defined]
            return
        reports = self.venue.on_market(now, message)
        first: list[Event] = []
        if isinstance(message, Trade):
            first = self._public_part(now, message, reports)
        elif isinstance(message, MarkPrice | FundingRate | LiquidationPrint):
            first = [message]
        self._digest(reports, first)
        if reports:
            self._publish_books()
        else:
            self._publish_book(message.instrument)  # type: ignore[attr-defined]
        if isinstance(message, MarkPrice):
            self.algos.on_mark(now, message)
            self._call_margin(now)

    def _public_part(self, now: int, trade: Trade, reports: list[Report]) -> list[Event]:
        """Return the trade less what of it filled own orders: those executions are trades of their own."""
        spec = self.by_id[trade.instrument].spec
        own = sum(spec.lots(report.qty) for report in reports if isinstance(report, OrderFilled))
        if trade.lots <= own:
            return []
        number = self.ledger.next_trade_id(trade.instrument)
        return [Trade(now, trade.instrument, number, trade.price, trade.lots - own, trade.aggressor)]

    def _publish_books(self) -> None:
        for name in self._books:
            self._publish_book(name)

    def _publish_book(self, instrument: str) -> None:
        matcher = self.venue.state.markets[instrument].matcher
        assert isinstance(matcher, Matcher)
        bids, asks = matcher.displayed(Side.BUY), matcher.displayed(Side.SELL)
        if not bids and not asks:
            # Unknown, not empty: what was published stands until it is known again.
            return
        book = self._books[instrument]
        self._tell(book.update(self._now, bids, asks, _own(matcher, Side.BUY), _own(matcher, Side.SELL)))

    def _call_margin(self, now: int) -> None:
        """Tell a margin call of a cross pool once, and again only after it was over."""
        state = self.venue.state
        account = state.accounts[ACCOUNT]
        for asset in {state.settle_asset(held.position.instrument) for held in account.open_holdings()}:
            balance, needed = margin.pool_health(state, account, asset)
            in_danger = bool(needed) and needed >= balance * _MARGIN_CALL_SHARE
            if in_danger and asset not in self._called:
                self._called.add(asset)
                cross = margin.cross_balance(state, account, asset)
                self._tell([MarginCallEvent(now, cross, self.positions(with_flat=False))])
            elif not in_danger:
                self._called.discard(asset)

    # Telling

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        """Let `fn` hear of everything from now on, in venue order; the call returned ends it."""
        self._subscribers.append(fn)

        def end() -> None:
            if fn in self._subscribers:
                self._subscribers.remove(fn)

        return end

    def _tell(self, events: Sequence[Event]) -> None:
        """Tell the tape and the subscribers; what happens because of that is told after it."""
        self._waiting.extend(events)
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._waiting:
                event = self._waiting.pop(0)
                if isinstance(event, Message):
                    self.tape.take(event)
                for fn in tuple(self._subscribers):
                    fn(event)
                if isinstance(event, Trade):
                    self.algos.on_trade(self._now, event)
        finally:
            self._is_telling = False

    def tell(self, events: list[Event]) -> None:
        """Tell what a room of the emulator itself has made happen."""
        self._tell(events)

    def _on_flow(self, flow: CashFlow) -> None:
        if flow.account == ACCOUNT:
            self._flows.append((len(self.venue.state.out), flow))

    def _digest(self, reports: list[Report], first: Sequence[Event] = ()) -> None:
        """Book what the venue said and tell it, behind `first`."""
        flows, self._flows = self._flows, []
        if not reports and not flows:
            self._tell(first)
            return
        if any(isinstance(report, Liquidated) for report in reports):
            self.ledger.ended_by = EXPIRED_LIQUIDATION
        events = self.ledger.book(reports, flows)
        self.ledger.ended_by = 0
        fundings = [report for report in reports if isinstance(report, FundingSettled)]
        self._tell([*first, *(self._completed(event, fundings) for event in events)])
        self.algos.on_events(self._now, events)

    def _completed(self, event: Event, fundings: list[FundingSettled]) -> Event:
        """Return the account's change with what the ledger cannot know: cross wallets, and the position that paid."""
        if not isinstance(event, AccountEvent):
            return event
        state = self.venue.state
        account = state.accounts[ACCOUNT]
        balances = [
            evolve(one, cross_wallet=one.wallet - account.isolated_total(state.settle_asset, one.asset))
            for one in event.balances
        ]
        symbol, positions = event.symbol, list(event.positions)
        if event.reason == "FUNDING_FEE" and fundings:
            paid = fundings.pop(0)
            symbol = self.by_id[paid.instrument].symbol
            found = self._figures(self.by_id[paid.instrument], paid.position_side)
            if found.margin_type == "isolated":
                positions.append(found)
        return evolve(event, balances=balances, positions=positions, symbol=symbol)

    # Commands

    def command(self, command: Command) -> list[Report]:
        """Do it now and return what the venue says to it; subscribers have heard of it before this returns."""
        if isinstance(command, SubmitOrder):
            return self.submit(command, self.ledger.describe(command))
        if isinstance(command, ModifyOrder):
            return self.modify(command)
        return self._do(command)

    def modify(self, command: ModifyOrder) -> list[Report]:
        """Change an order, which may take."""
        self.ledger.taker = command.client_order_id
        try:
            return self._do(command)
        finally:
            self.ledger.taker = ""

    def submit(self, command: SubmitOrder, record: OrderRecord) -> list[Report]:
        """Place an order that `record` describes; its number and state are filled in."""
        self.ledger.pending, self.ledger.taker = record, command.client_order_id
        try:
            return self._do(command)
        finally:
            self.ledger.pending, self.ledger.taker = None, ""

    def _do(self, command: Command) -> list[Report]:
        self.catch_up()
        self.notes.clear()
        reports = self.venue.on_command(self._now, command)
        self._digest(reports)
        self._publish_books()
        return reports

    def catch_up(self) -> int:
        """Let what is due by now happen, and return the time it then is."""
        if not self._is_telling:
            self.advance(self.now())
        return self._now

    def settle(self, symbol: str, price: Decimal) -> None:
        """Deliver a contract now."""
        self.catch_up()
        self._digest(self.venue.settle(self._now, self.listings[symbol].id, price, final=True))
        self._publish_books()

    def tell_leverage(self, symbol: str, leverage: int) -> None:
        self._tell([ConfigEvent(self._now, symbol, leverage)])

    def tell_multi_assets(self, multi_assets: bool) -> None:
        self._tell([ConfigEvent(self._now, multi_assets=multi_assets)])

    def tell_margin_transfer(self, symbol: str, side: PositionSide, asset: str) -> None:
        """Tell that a position's own margin changed: the wallet stays, its cross part moves."""
        state = self.venue.state
        account = state.accounts[ACCOUNT]
        wallet = account.account.balance(asset)
        cross = wallet - account.isolated_total(state.settle_asset, asset)
        figure = self._figures(self.listings[symbol], side)
        self._tell([AccountEvent(self._now, "MARGIN_TRANSFER", [BalanceChange(asset, wallet, cross, ZERO)], [figure])])

    # What is

    def book(self, instrument: str) -> BookSnapshot | None:
        """Return the published book, own resting orders included.

        Its update_id is the last_id of the BookDelta that subscribers heard last. None for an unknown book.
        """
        found = self._books.get(instrument)
        return None if found is None or not found.ts else found.snapshot()

    def best(self, instrument: str) -> Quote | None:
        """Return the best bid and ask of the published book."""
        return self._books[instrument].quote

    def order(self, client_order_id: str) -> OrderRecord | None:
        """Return the newest order of that id."""
        return self.ledger.newest.get(client_order_id)

    def positions(self, symbol: str | None = None, *, with_flat: bool = True) -> list[PositionFigures]:
        """Return the positions of the account's mode, the flat ones where asked for."""
        account = self.venue.state.accounts[ACCOUNT]
        found = []
        for listing in self.listings.values():
            if listing.spec.is_spot or symbol not in {None, listing.symbol}:
                continue
            for side in figures.sides(account):
                one = self._figures(listing, side)
                if with_flat or one.amount or one.bid_notional or one.ask_notional:
                    found.append(one)
        return found

    def position(self, listing: Listing, side: PositionSide) -> PositionFigures:
        return self._figures(listing, side)

    def _figures(self, listing: Listing, side: PositionSide) -> PositionFigures:
        state = self.venue.state
        costs = self.ledger.costs(listing.symbol, side)
        found = figures.position(state, state.accounts[ACCOUNT], listing, side, costs=costs)
        found.update_ms = self.ledger.updated_ms.get((listing.symbol, str(side)), 0)
        return found

    def balances(self) -> list[BalanceFigures]:
        """Return every asset's figures, empty ones included."""
        state = self.venue.state
        return figures.balances(state, state.accounts[ACCOUNT], self.ledger.balance_ms)


def _own(matcher: Matcher, side: Side) -> dict[int, int]:
    summed: dict[int, int] = {}
    for order in matcher.own(side):
        if order.ticks is not None:
            summed[order.ticks] = summed.get(order.ticks, 0) + order.leaves
    return summed
