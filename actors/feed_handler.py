"""Which local books can be traded on: joins snapshots and deltas, watches for gaps, crossed books and silence.

It publishes the touch of every healthy book and answers for the liquidity behind it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from actors.base import Actor, handles
from actors.basket import ENDED
from actors.cell import CellRestarted
from actors.feed_state import BestPrices, Feed, FeedConfig, FeedCounts, FeedState
from actors.liquidity import Reserved, leg_lots, levels_behind, levels_for, lots_within, worst_ticks
from actors.messages import (
    MARKET_CHANNEL,
    BasketLeg,
    BasketUpdate,
    BookView,
    Checker,
    DepthReply,
    DepthRequest,
    FeedStatus,
    KillCommand,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    TradeView,
)
from venues.costs.liquidity import LiquidityLimits, LiquidityReport, analyze
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.instrument import Instrument, UnknownInstrumentError
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    FeedGap,
    InstrumentStatus,
    Query,
    QueryFailed,
    QueryKind,
    Quote,
    Trade,
    VenueDown,
    VenueUp,
)

_APPLIED: Final = SyncResult.APPLIED

# A venue's connections for orders and private reports say nothing about its books.
_MARKET_CHANNELS: Final = ("", MARKET_CHANNEL)

_WATCH: Final = "watch"
_BOOK: Final = "book:"

_FAULTS: Final = {
    SyncResult.GAP: "updates are missing",
    SyncResult.CROSSED: "the book is crossed",
    SyncResult.OUTDATED: "the snapshot is older than the stream",
    SyncResult.JOINING: "the snapshot has not met the stream",
}


class FeedHandler(Actor):
    """Keeps the books of `instruments` (by id) by each one's sequence rule.

    `accounts` names, for each instrument, the credentials that ask its venue for snapshots.
    Raises UnknownInstrumentError when an instrument has no rule or no account.
    """

    publishes = (BookView, TradeView, FeedStatus, DepthReply, PreflightReply)
    sends = (Query,)

    state: FeedState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        rules: Mapping[str, SequenceRule],
        accounts: Mapping[str, str],
        config: FeedConfig | None = None,
        name: str = "",
        liquidity: LiquidityLimits | None = None,
    ) -> None:
        super().__init__(name)
        for instrument in instruments:
            if instrument not in rules or instrument not in accounts:
                raise UnknownInstrumentError(f"{self.name}: {instrument} has no sequence rule or no account")
        self.instruments = dict(instruments)
        self.accounts = dict(accounts)
        self.config = config or FeedConfig()
        self.liquidity = liquidity or LiquidityLimits()
        self.state = FeedState({instrument: Feed(BookSync(rules[instrument])) for instrument in instruments})

    def start(self, now: int) -> None:
        self.out.timer(_WATCH, now + self.config.watch_ns)
        for instrument, feed in self.state.feeds.items():
            self._judge(now, instrument, feed)
            self._ask(now, instrument, feed)

    # Frames

    @handles(Quote)
    def on_quote(self, now: int, quote: Quote) -> None:
        feed = self.state.feeds.get(quote.instrument)
        if feed is None:
            self.state.unknown += 1
            return
        feed.frames += 1
        if quote.update_id < feed.top_id:
            feed.old_quotes += 1
            feed.old_ns = now
            return
        feed.top_id = quote.update_id
        feed.news_ns = now
        bid, bid_lots, ask, ask_lots = quote.bid, quote.bid_lots, quote.ask, quote.ask_lots
        if bid >= ask or bid_lots <= 0 or ask_lots <= 0:
            feed.bad_quotes += 1
            feed.is_quote_bad = True
            self._judge(now, quote.instrument, feed)
            return
        if bid != feed.bid or bid_lots != feed.bid_lots or ask != feed.ask or ask_lots != feed.ask_lots:
            feed.bid, feed.bid_lots, feed.ask, feed.ask_lots = bid, bid_lots, ask, ask_lots
            if feed.is_live:
                self.out.emit(BookView(now, quote.instrument, bid, bid_lots, ask, ask_lots))
                return
        if not feed.is_live:
            feed.is_quote_bad = False
            self._judge(now, quote.instrument, feed)

    @handles(BookDelta)
    def on_delta(self, now: int, delta: BookDelta) -> None:
        feed = self.state.feeds.get(delta.instrument)
        if feed is None:
            self.state.unknown += 1
            return
        feed.frames += 1
        result = feed.sync.on_delta(delta)
        if result is _APPLIED:
            self._moved(now, delta.instrument, feed)
        elif result is SyncResult.IGNORED:
            feed.old_ns = now
        elif result is not SyncResult.BUFFERED:
            self._broken(now, delta.instrument, feed, result)

    @handles(BookSnapshot)
    def on_snapshot(self, now: int, snapshot: BookSnapshot) -> None:
        instrument = snapshot.instrument
        feed = self.state.feeds.get(instrument)
        if feed is None:
            self.state.unknown += 1
            return
        feed.frames += 1
        feed.snapshots += 1
        self._forget_query(instrument, feed)
        result = feed.sync.on_snapshot(snapshot)
        if result is SyncResult.CROSSED or result is SyncResult.OUTDATED:
            self._broken(now, instrument, feed, result)
            return
        feed.attempts = 0
        if result is _APPLIED:
            self._moved(now, instrument, feed)
        elif result is SyncResult.JOINING:
            feed.fault = _FAULTS[result]
            self._judge(now, instrument, feed)

    @handles(Trade)
    def on_trade(self, now: int, trade: Trade) -> None:
        """Count, and pass on. A trade does not prove that the book lives: it may come over another connection."""
        feed = self.state.feeds.get(trade.instrument)
        if feed is None:
            self.state.unknown += 1
            return
        feed.frames += 1
        if self.config.publishes_trades:
            self.out.emit(TradeView(now, trade.instrument, {(trade.price, trade.aggressor): trade.lots}))

    def _moved(self, now: int, instrument: str, feed: Feed) -> None:
        """Follow the depth, unless a quote has told something newer."""
        sync = feed.sync
        feed.news_ns = feed.depth_ns = now
        if sync.last_id >= feed.top_id:
            feed.top_id = sync.last_id
            feed.is_quote_bad = False
            book = sync.book
            bid, ask = book.best_bid, book.best_ask
            if bid is None or ask is None:
                feed.bid_lots = 0 if bid is None else book.bids[bid]
                feed.ask_lots = 0 if ask is None else book.asks[ask]
                self._judge(now, instrument, feed)
                return
            bid_lots, ask_lots = book.bids[bid], book.asks[ask]
            if bid != feed.bid or bid_lots != feed.bid_lots or ask != feed.ask or ask_lots != feed.ask_lots:
                feed.bid, feed.bid_lots, feed.ask, feed.ask_lots = bid, bid_lots, ask, ask_lots
                if feed.is_live:
                    self.out.emit(BookView(now, instrument, bid, bid_lots, ask, ask_lots))
        if not feed.is_live:
            self._judge(now, instrument, feed)

    def _broken(self, now: int, instrument: str, feed: Feed, result: SyncResult) -> None:
        if result is SyncResult.GAP:
            feed.gaps += 1
        elif result is SyncResult.CROSSED:
            feed.crossed += 1
        feed.fault = _FAULTS[result]
        self._judge(now, instrument, feed)
        self._ask(now, instrument, feed)

    # What else is known about a feed

    @handles(FeedGap)
    def on_feed_gap(self, now: int, gap: FeedGap) -> None:
        feed = self.state.feeds.get(gap.instrument)
        if feed is None:
            self.state.unknown += 1
            return
        feed.gaps += 1
        self._lose(now, gap.instrument, feed, f"frames were lost: {gap.why}")
        self._ask(now, gap.instrument, feed)

    @handles(InstrumentStatus)
    def on_instrument_status(self, now: int, status: InstrumentStatus) -> None:
        feed = self.state.feeds.get(status.instrument)
        if feed is None:
            self.state.unknown += 1
            return
        feed.trading = status.state
        self._judge(now, status.instrument, feed)

    @handles(VenueDown)
    def on_venue_down(self, now: int, down: VenueDown) -> None:
        if down.channel not in _MARKET_CHANNELS:
            return
        for instrument, feed in self._feeds_of(down.venue):
            feed.down = f"{down.venue} is down: {down.why}" if down.why else f"{down.venue} is down"
            self._forget_query(instrument, feed)
            self._lose(now, instrument, feed, "no snapshot since the venue was down")

    @handles(VenueUp)
    def on_venue_up(self, now: int, up: VenueUp) -> None:
        if up.channel not in _MARKET_CHANNELS:
            return
        for instrument, feed in self._feeds_of(up.venue):
            feed.down = ""
            self._judge(now, instrument, feed)
            if feed.sync.needs_snapshot:
                self._ask(now, instrument, feed)

    def _feeds_of(self, venue: str) -> list[tuple[str, Feed]]:
        return [(name, feed) for name, feed in self.state.feeds.items() if self.instruments[name].venue == venue]

    def _lose(self, now: int, instrument: str, feed: Feed, fault: str) -> None:
        """Believe nothing of what is known about the book, its numbering included."""
        feed.sync.invalidate()
        feed.fault = fault
        feed.top_id = -1
        feed.bid_lots = feed.ask_lots = 0
        feed.is_quote_bad = False
        self._judge(now, instrument, feed)

    def _judge(self, now: int, instrument: str, feed: Feed) -> None:
        """Say whether the book can be traded on, if that or the reason changed."""
        why = feed.objection(now, self.config.stale_ns)
        if why == feed.why and feed.is_live == (not why):
            return
        was_live = feed.is_live
        feed.why = why
        feed.is_live = not why
        self.out.emit(FeedStatus(now, instrument, feed.is_live, why))
        if feed.is_live and not was_live:
            self.out.emit(BookView(now, instrument, feed.bid, feed.bid_lots, feed.ask, feed.ask_lots))

    # Snapshots wanted

    def _ask(self, now: int, instrument: str, feed: Feed) -> None:
        """Ask for a snapshot, unless one is on its way or it is too early to ask again."""
        if feed.query_id or feed.is_pausing or feed.down:
            return
        pauses = self.config.retry_ns
        due = now if feed.asked_ns is None else feed.asked_ns + pauses[min(max(feed.attempts, 1), len(pauses)) - 1]
        if now < due:
            feed.is_pausing = True
            self.out.timer(_BOOK + instrument, due)
            return
        self.state.queries += 1
        feed.query_id = f"{self.name}-{self.state.queries}"
        feed.asked_ns = now
        feed.attempts += 1
        self.out.send(Query(now, self.accounts[instrument], feed.query_id, QueryKind.BOOK, instrument))
        self.out.timer(_BOOK + instrument, now + self.config.answer_ns)

    def _forget_query(self, instrument: str, feed: Feed) -> None:
        if feed.query_id or feed.is_pausing:
            feed.query_id = ""
            feed.is_pausing = False
            self.out.cancel_timer(_BOOK + instrument)

    @handles(QueryFailed)
    def on_query_failed(self, now: int, failed: QueryFailed) -> None:
        for instrument, feed in self.state.feeds.items():
            if feed.query_id == failed.query_id:
                self._forget_query(instrument, feed)
                if feed.sync.needs_snapshot:
                    self._ask(now, instrument, feed)
                return

    def on_timer(self, now: int, key: str) -> None:
        if key == _WATCH:
            for instrument, feed in self.state.feeds.items():
                self._watch(now, instrument, feed)
            self._watch_again(now)
            return
        instrument = key.removeprefix(_BOOK)
        feed = self.state.feeds[instrument]
        feed.query_id = ""
        feed.is_pausing = False
        if feed.sync.needs_snapshot:
            self._ask(now, instrument, feed)

    @handles(KillCommand)
    def on_kill(self, now: int, command: KillCommand) -> None:
        """Look at once: after a stall a command is taken before the watch, and nobody may flatten on old books."""
        for instrument, feed in self.state.feeds.items():
            self._watch(now, instrument, feed)

    def _watch_again(self, now: int) -> None:
        """Come back when the next book may go stale: no order may slip in before that is told."""
        stale_ns = self.config.stale_ns
        # A book that becomes usable meanwhile is not stale before then.
        moments = [now + stale_ns]
        for feed in self.state.feeds.values():
            if feed.is_live:
                moments += [feed.depth_ns + stale_ns, feed.news_ns + stale_ns]
            elif feed.sync.is_usable:
                moments.append(now + self.config.watch_ns)
        self.out.timer(_WATCH, min(moment for moment in moments if moment > now))

    def _watch(self, now: int, instrument: str, feed: Feed) -> None:
        if not feed.sync.is_usable or not feed.is_stale(now, self.config.stale_ns):
            return
        if feed.old_ns > feed.news_ns:
            # Frames come, all of them older than the book: the venue counts anew, or our numbers are wrong.
            feed.gaps += 1
            self._lose(now, instrument, feed, "only old updates arrive")
            self._ask(now, instrument, feed)
        elif feed.is_live:
            feed.stale += 1
            self._judge(now, instrument, feed)

    @handles(CellRestarted)
    def on_cell_restarted(self, now: int, restarted: CellRestarted) -> None:
        """Set all timers again: the one whose firing was set aside is gone. Books are as restored."""
        self.out.timer(_WATCH, now + self.config.watch_ns)
        for instrument, feed in self.state.feeds.items():
            self._forget_query(instrument, feed)
            if feed.sync.needs_snapshot:
                self._ask(now, instrument, feed)

    # Liquidity

    @handles(DepthRequest)
    def on_depth_request(self, now: int, request: DepthRequest) -> None:
        feed = self.state.feeds.get(request.instrument)
        if feed is None or feed.objection(now, self.config.stale_ns):
            self.out.emit(DepthReply(now, request.ref, request.instrument, False))
            return
        book = feed.sync.book
        bids = tuple(levels_behind(book, Side.SELL, feed.touch(Side.SELL), request.levels))
        asks = tuple(levels_behind(book, Side.BUY, feed.touch(Side.BUY), request.levels))
        self.out.emit(DepthReply(now, request.ref, request.instrument, True, bids, asks))

    @handles(PreflightRequest)
    def on_preflight(self, now: int, request: PreflightRequest) -> None:
        """Walk the book for every leg; legs on the same side of one book and other baskets' promises add up."""
        self.state.reservations.pop(request.basket_id, None)
        wanted: list[Reserved] = []
        reasons: list[str] = []
        if not request.legs:
            reasons.append("no legs")
        if not request.max_slippage_bps.is_finite() or request.max_slippage_bps < ZERO:
            reasons.append(f"max_slippage_bps {request.max_slippage_bps} is no bound")
        else:
            for index, leg in enumerate(request.legs):
                is_maker = index in request.makers
                # What takes risk off must not be held up by a book that is poor.
                limits = None if leg.reduce_only or request.closes is not None else self.liquidity
                why = self._leg_objection(now, leg, request.max_slippage_bps, wanted, limits, is_maker=is_maker)
                if why:
                    reasons.append(why)
        if not reasons:
            self.state.reservations[request.basket_id] = wanted
        self.out.emit(PreflightReply(now, request.basket_id, Checker.LIQUIDITY, not reasons, tuple(reasons)))

    def _leg_objection(
        self,
        now: int,
        leg: BasketLeg,
        slippage_bps: Decimal,
        wanted: list[Reserved],
        limits: LiquidityLimits | None,
        *,
        is_maker: bool,
    ) -> str:
        """Return why the leg cannot be filled, or enter what it needs in `wanted` and return nothing.

        A maker needs a book that is good, and takes nothing from it.
        """
        feed = self.state.feeds.get(leg.instrument)
        if feed is None:
            return f"{leg.instrument}: unknown instrument"
        instrument = self.instruments[leg.instrument]
        lots = leg_lots(instrument, leg)
        if isinstance(lots, str):
            return lots
        why = feed.objection(now, self.config.stale_ns)
        if why:
            return f"{leg.instrument}: {why}"
        if is_maker:
            return ""
        touch = feed.touch(leg.side)
        bound = worst_ticks(instrument, leg, touch[0], slippage_bps)
        there = lots_within(feed.sync.book, leg.side, touch, bound)
        taken = self._reserved(leg.instrument, leg.side) + _sum_lots(wanted, leg.instrument, leg.side)
        if there - taken < lots:
            return (
                f"{leg.instrument}: {leg.side} {leg.qty} needs more than the {instrument.qty(max(there - taken, 0))} "
                f"free up to {instrument.price(bound)}"
            )
        if limits is not None:
            report = self._analyze(feed, leg.side, lots, taken, limits)
            if report.objections:
                return f"{leg.instrument}: {'; '.join(report.objections)}"
        wanted.append(Reserved(leg.instrument, leg.side, lots))
        return ""

    def _analyze(self, feed: Feed, side: Side, lots: int, taken: int, limits: LiquidityLimits) -> LiquidityReport:
        book, least = feed.sync.book, limits.imbalance_levels
        here = levels_for(book, side, feed.touch(side), taken + lots, least)
        back = levels_for(book, side.opposite, feed.touch(side.opposite), limits.exit_lots(lots), least)
        bids, asks = (back, here) if side is Side.BUY else (here, back)
        return analyze(bids, asks, side, lots, limits, taken)

    def _reserved(self, instrument: str, side: Side) -> int:
        return sum(_sum_lots(promised, instrument, side) for promised in self.state.reservations.values())

    @handles(ReservationReleased)
    def on_reservation_released(self, now: int, released: ReservationReleased) -> None:
        self.state.reservations.pop(released.basket_id, None)

    @handles(BasketUpdate)
    def on_basket_update(self, now: int, update: BasketUpdate) -> None:
        if update.state in ENDED:
            self.state.reservations.pop(update.basket_id, None)

    # For reports

    def books(self) -> dict[str, BestPrices]:
        """Return the touch of every depth book by instrument id."""
        return {name: feed.best_prices(self.instruments[name]) for name, feed in self.state.feeds.items()}

    def counts(self) -> dict[str, FeedCounts]:
        """Return what happened to every feed by instrument id."""
        return {name: feed.counts() for name, feed in self.state.feeds.items()}


def _sum_lots(reserved: list[Reserved], instrument: str, side: Side) -> int:
    return sum(entry.lots for entry in reserved if entry.side is side and entry.instrument == instrument)


__all__ = ["BestPrices", "FeedConfig", "FeedCounts", "FeedHandler"]
