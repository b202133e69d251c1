"""What the simulated venue knows: markets, accounts, orders, counters; all of it in plain objects."""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

from attrs import define, field, frozen

from sim.account import FlowHook, Holding, SimAccount
from sim.index_mean import IndexMean
from sim.matching import Matcher
from sim.parametric import ParametricMatcher
from sim.price_controls import PriceControls
from sim.venue_order import VenueOrder
from sim.venue_rules import VenueRules
from sim.venue_settings import VenueSettings
from venues.costs.fees import FeeTable
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import FundingRate, InstrumentState, OrderFilled, Report
from venues.rules.cme_products import Product

HISTORY_MAX = 100_000
RATES_MAX = 1_000
"""Settled funding rates that a market remembers (the most of one answer at Binance)."""


@frozen
class Note:
    """Something the port has no report for: a margin call, a refused change of leverage, a fund that moved."""

    ts: int
    kind: str
    account: str
    instrument: str
    text: str


NoteHook = Callable[[Note], None]
ReportHook = Callable[[Report], None]


class Due(StrEnum):
    """What a market does by itself at an instant; of one instant in this order."""

    SETTLEMENT = "settlement"
    RESUME = "resume"
    SESSION = "session"
    CLOSE_OUT = "close_out"
    EXPIRY = "expiry"


@define(eq=False)
class Market:
    """One instrument at the venue: its own-order book, last public trade (ticks), prices and state.

    `swept_qty` (bought positive) is what liquidations traded in the book since the marks were last pushed, down or up
    to `swept_ticks`; `has_printed` tells that participants' did. `controls` and `product` (CME's) are None where the
    venue has none. `agenda` is what the market does by itself and when (UTC ns), `next_state` what its next session
    change leads to. `window` is (start, sum of ticks x lots, lots) of the settlement window that is next. `index_mean`
    is a quarterly's delivery price so far.
    """

    spec: Instrument
    matcher: Matcher | ParametricMatcher
    state: InstrumentState = InstrumentState.OPEN
    last_trade: int | None = None
    mark: Decimal | None = None
    latest: Decimal | None = None
    settlement: Decimal | None = None
    open_interest: Decimal | None = None
    update_id: int | None = None
    trades: int = 0
    is_settled: bool = False
    swept_qty: Decimal = ZERO
    swept_ticks: int | None = None
    index: Decimal | None = None
    index_mean: IndexMean | None = None
    controls: PriceControls | None = None
    product: Product | None = None
    agenda: dict[Due, int] = field(factory=dict)
    next_state: InstrumentState = InstrumentState.OPEN
    window: tuple[int, int, int] | None = None
    is_closing_out: bool = False
    has_printed: bool = False
    conditional: list[VenueOrder] = field(factory=list)
    rates: deque[FundingRate] = field(factory=lambda: deque(maxlen=RATES_MAX))

    def reach(self, now: int, side: Side, limit: int | None) -> int | None:
        """Return the worst price in ticks at which an order with `limit` may trade now; None is unbounded."""
        return limit if self.controls is None else self.controls.reach(now, side, limit)

    def reference(self) -> Decimal | None:
        """Return the price positions are valued at; None is unknown.

        Crypto contracts: the mark, and the last trade only until there is one. Futures: the latest of trade, mark
        and settlement.
        """
        if self.mark is None or self.spec.kind is InstrumentKind.FUTURE:
            return self.latest
        return self.mark


@define(eq=False)
class VenueState:
    """Everything that changes. `live` holds the orders that may still trade, `done` the last of the others.

    `insurance` is the fund's money by asset, `inventory` what it has taken over by instrument, `uncovered` by asset
    what it could not pay. `participants` are the accounts the venue simulates: what is said to them goes to
    `on_counterparty`, not out.
    """

    name: str
    rules: VenueRules
    fees: FeeTable
    settings: VenueSettings = field(factory=VenueSettings)
    markets: dict[str, Market] = field(factory=dict)
    accounts: dict[str, SimAccount] = field(factory=dict)
    live: dict[tuple[str, str], VenueOrder] = field(factory=dict)
    done: dict[tuple[str, str], VenueOrder] = field(factory=dict)
    fills: deque[OrderFilled] = field(factory=lambda: deque(maxlen=HISTORY_MAX))
    dead_man: dict[tuple[str, str], int] = field(factory=dict)
    insurance: dict[str, Decimal] = field(factory=dict)
    uncovered: dict[str, Decimal] = field(factory=dict)
    inventory: dict[str, Holding] = field(factory=dict)
    participants: set[str] = field(factory=set)
    now: int = 0
    has_begun: bool = False
    orders: int = 0
    forced: int = 0
    deadline: int | None = None
    out: list[Report] = field(factory=list)
    on_note: NoteHook | None = None
    on_flow: FlowHook | None = None
    on_counterparty: ReportHook | None = None

    def say(self, report: Report) -> None:
        if not self.participants or getattr(report, "account", None) not in self.participants:
            self.out.append(report)
        elif self.on_counterparty is not None:
            self.on_counterparty(report)

    def note(self, kind: str, account: str, instrument: str, text: str) -> None:
        if self.on_note is not None:
            self.on_note(Note(self.now, kind, account, instrument, text))

    def settle_asset(self, instrument: str) -> str:
        return self.markets[instrument].spec.settle

    def fund(self, asset: str) -> Decimal:
        return self.insurance.setdefault(asset, self.settings.insurance_start)

    def leverage(self, account: SimAccount, spec: Instrument) -> int:
        chosen = account.account.leverage.get(spec.id)
        return chosen if chosen is not None else max(1, min(self.rules.default_leverage, spec.max_leverage))

    def live_orders(self, account: str, instrument: str | None = None) -> list[VenueOrder]:
        """Return the account's live orders in the order they came."""
        return [
            order
            for order in self.live.values()
            if order.account == account and (instrument is None or order.instrument == instrument)
        ]

    def find_deadline(self) -> None:
        """Recompute the next instant at which the venue has something to do by itself."""
        moments = [order.expire_ns for order in self.live.values() if order.expire_ns is not None]
        moments += [ns for market in self.markets.values() for ns in market.agenda.values()]
        self.deadline = min([*moments, *self.dead_man.values()], default=None)
