"""Decides what bars and quotes do at a venue without books: in which order one bar's prices reach orders and accounts.

A bar is known when it is over, so everything it causes happens at its end; what arrived while it was under way meets
its close alone. Where a bar leaves open what came first, the worse for the desk did: the open (gaps trade there), then
stops, liquidations, limits and take-profits, stops of positions that were opened within the bar, the close.
"""

from collections.abc import Callable
from decimal import Decimal

from attrs import define, evolve

from sim import booking, entry, liquidation, triggers
from sim.market_conditions import Conditions
from sim.parametric import FillHook, ParametricMatcher, Reference
from sim.parametric_bars import check_bar
from sim.parametric_config import ParametricConfig
from sim.slippage import SlippageHook, SlippageReport, make_model
from sim.venue_order import VenueOrder
from sim.venue_state import Market, VenueState
from venues.model.instrument import Instrument
from venues.model.order import OrderType, Side
from venues.port import (
    Bar,
    FundingRate,
    InstrumentState,
    LiquidationPrint,
    MarkPrice,
    OpenInterest,
    Quote,
    Report,
)

Handler = Callable[[Market, Report], None]


def make_matcher(
    state: VenueState,
    spec: Instrument,
    config: ParametricConfig,
    hooks: tuple[FillHook, Callable[[VenueOrder], None], Callable[[], None]],
    on_slippage: SlippageHook | None,
) -> ParametricMatcher:
    """Return what matches one instrument's orders; `hooks` are fill, expire and traded."""

    def report(made: SlippageReport) -> None:
        assert on_slippage is not None
        on_slippage(evolve(made, trade_id=state.fills[-1].trade_id))

    conditions = Conditions(config, config.adv.get(spec.symbol))
    return ParametricMatcher(
        spec,
        config,
        make_model(config, spec, conditions),
        conditions,
        lambda: state.now,
        *hooks,
        report if on_slippage is not None else None,
    )


def shrink_reducing(state: VenueState, market: Market) -> None:
    """Cut resting reduce-only orders to the positions as they are now; those with nothing left expire."""
    for order in tuple(state.live.values()):
        if not order.reduces or not order.resting or order.instrument != market.spec.id:
            continue
        most = booking.reducible(state, market, order)
        if order.leaves > most:
            order.cut += order.leaves - most
            if order.leaves <= 0:
                booking.expire(state, market, order)


def listen(state: VenueState, handlers: dict[type[Report], Handler]) -> dict[type[Report], Handler]:
    """Return what a parametric venue does with market reports: what any venue does, and what its models need."""

    def learning(kind: type[Report]) -> Handler:
        usual = handlers[kind]

        def handle(market: Market, report: Report) -> None:
            _learn(market, report)
            usual(market, report)

        return handle

    own = {kind: learning(kind) for kind in (MarkPrice, FundingRate, OpenInterest)}
    return (
        handlers
        | own
        | {
            Bar: lambda market, report: _on_bar(state, market, report),
            Quote: lambda market, report: _on_quote(state, market, report),
            LiquidationPrint: _learn,
        }
    )


def _matcher(market: Market) -> ParametricMatcher:
    assert isinstance(market.matcher, ParametricMatcher)
    return market.matcher


def _learn(market: Market, report: Report) -> None:
    matcher = _matcher(market)
    known = matcher.conditions
    if isinstance(report, MarkPrice):
        if report.rate is not None:
            known.funding_rate = report.rate
        if matcher.config.reference == "mark":
            matcher.show(report.mark, matcher.config.stale_ns)
            matcher.reach(report.mark, report.mark)
    elif isinstance(report, FundingRate):
        known.funding_rate = report.rate
    elif isinstance(report, OpenInterest):
        known.open_interest = report.qty
    elif isinstance(report, LiquidationPrint):
        known.on_liquidation(report.ts, report.qty)


def _on_bar(state: VenueState, market: Market, report: Report) -> None:
    assert isinstance(report, Bar)
    check_bar(market.spec, report)
    matcher = _matcher(market)
    if not report.is_mark:
        matcher.conditions.on_bar(report)
        matcher.offer_volume(report.volume)
    _Course(state, market, matcher, report).run()


@define
class _Course:
    """One bar on its way through the market's orders."""

    state: VenueState
    market: Market
    matcher: ParametricMatcher
    bar: Bar

    def run(self) -> None:
        bar, quoted = self.bar, self.matcher.reference
        self._liquidate(bar.open)
        self._stops(bar.open, bar.open, bar.open)
        self._take_profits(bar.open, bar.open, bar.open)
        self._reach(bar.open, bar.open)
        skipped = self._stops(bar.open, bar.low, bar.high)
        self._liquidate(bar.low)
        self._liquidate(bar.high)
        self._take_profits(bar.open, bar.low, bar.high)
        self._reach(bar.low, bar.high)
        if skipped:
            self._stops(bar.open, bar.low, bar.high)
        self._trail()
        self._close(quoted)

    @property
    def _drives(self) -> bool:
        """Whether fills are around the prices of this bar."""
        return self.bar.is_mark is (self.matcher.config.reference == "mark")

    @property
    def _is_open(self) -> bool:
        return self.market.state is InstrumentState.OPEN

    def _armed(self, *, is_profit: bool) -> list[VenueOrder]:
        """Return the conditional orders that watch this price and were there when the bar began."""
        return [
            order
            for order in self.market.conditional
            if order.command.trigger_on_mark is self.bar.is_mark
            and order.arrived_ns <= self.bar.start_ns
            and (order.command.type is OrderType.TAKE_PROFIT_MARKET) is is_profit
        ]

    def _stops(self, start: Decimal, low: Decimal, high: Decimal) -> bool:
        """Fire the stops between `start` and the extremes, nearest first; return whether one had nothing to reduce."""
        if not self._is_open:
            return False
        skipped = False
        found = []
        for order in self._armed(is_profit=False):
            extreme = low if order.side is Side.SELL else high
            if not triggers.reached(order, extreme):
                continue
            if order.reduces and not booking.reducible(self.state, self.market, order):
                skipped = True
                continue
            found.append((abs(self._level(order, start, extreme) - start), order, extreme))
        for _, order, extreme in sorted(found, key=lambda one: one[0]):
            self._fire(order, start, extreme)
        return skipped

    def _take_profits(self, start: Decimal, low: Decimal, high: Decimal) -> None:
        if not self._is_open:
            return
        for order in self._armed(is_profit=True):
            extreme = high if order.side is Side.SELL else low
            if triggers.reached(order, extreme):
                self._fire(order, start, extreme)

    def _trail(self) -> None:
        """Let trailing stops follow to the best price of the bar, after the worst."""
        for order in self._armed(is_profit=False):
            if order.command.type is OrderType.TRAILING_STOP:
                triggers.reached(order, self.bar.high if order.side is Side.SELL else self.bar.low)

    def _close(self, before: Reference | None) -> None:
        """Bring the market to the bar's close, which also reaches what came while the bar was under way."""
        bar, market = self.bar, self.market
        self._liquidate(bar.close)
        self._move(bar.close)
        if self._is_open:
            for order in tuple(market.conditional):
                watches = order.command.trigger_on_mark is bar.is_mark
                if watches and order.arrived_ns < bar.ts and triggers.reached(order, bar.close):
                    self._fire(order, bar.close, bar.close)
        if not self._drives:
            return
        self.matcher.reach(bar.close, bar.close, bar.ts - 1)
        self._show(bar.close)
        if before is not None and before.bid is not None and before.ns >= bar.start_ns:
            # A quote within the bar is no older than its close, and tells the touch.
            self.matcher.reference = before

    def _show(self, price: Decimal) -> None:
        if self._drives:
            life = self.matcher.config.stale_ns
            self.matcher.show(price, 2 * (self.bar.ts - self.bar.start_ns) if life is None else life)

    def _reach(self, low: Decimal, high: Decimal) -> None:
        if self._drives:
            self.matcher.reach(low, high, self.bar.start_ns)

    def _liquidate(self, mark: Decimal) -> None:
        if self.bar.is_mark:
            self._move(mark)
            self._show(mark)
            liquidation.look(self.state, self.market)

    def _fire(self, order: VenueOrder, start: Decimal, end: Decimal) -> None:
        if not order.armed:
            return
        level = self._level(order, start, end)
        self._move(level)
        self._show(level)
        entry.fire(self.state, self.market, order)

    def _level(self, order: VenueOrder, start: Decimal, end: Decimal) -> Decimal:
        """Return where between two prices the order triggers: at its own price, or at `start` behind a gap."""
        level = order.command.trigger_price
        if order.command.type is OrderType.TRAILING_STOP:
            level = triggers.trailing_level(order)
        if level is None:
            return end
        return min(max(level, min(start, end)), max(start, end))

    def _move(self, price: Decimal) -> None:
        market, spec = self.market, self.market.spec
        market.latest = price
        if self.bar.is_mark:
            market.mark = price
        else:
            market.last_trade = round(price / spec.tick_size)


def _on_quote(state: VenueState, market: Market, report: Report) -> None:
    assert isinstance(report, Quote)
    matcher, spec = _matcher(market), market.spec
    if matcher.config.reference != "trade":
        return
    if not 0 < report.bid < report.ask or min(report.bid_lots, report.ask_lots) <= 0:
        # A quote that contradicts itself, or an empty side: no price is known until the next one.
        matcher.hide()
        return
    bid, ask = spec.price(report.bid), spec.price(report.ask)
    matcher.show((bid + ask) / 2, matcher.config.stale_ns, report.bid, report.ask)
    matcher.offer_quote(report.bid_lots, report.ask_lots)
    matcher.reach(ask, bid)
    if market.last_trade is not None:
        return
    market.latest = (bid + ask) / 2
    if market.state is not InstrumentState.OPEN:
        return
    # Where nothing but quotes is known, a stop watches the side that it would trade on.
    for order in sorted(market.conditional, key=lambda one: one.command.type is OrderType.TAKE_PROFIT_MARKET):
        price = bid if order.side is Side.SELL else ask
        if order.armed and not order.command.trigger_on_mark and triggers.reached(order, price):
            entry.fire(state, market, order)
