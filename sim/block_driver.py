"""The virtual-time loop over blocks of rows: venues and desk's books in compiled code, actors when they are to decide.

Between two decisions nobody is asked. The cell hears of each instrument's book every `sample_ns`, as the changes of its
best levels since last time; of marks, funding, status and open interest when they arrive; of its own orders as ever.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from attrs import define, field

from actors.cell import Cell
from actors.dispatcher import Intent
from actors.messages import StopCommand
from sim.core import Core, KernelError
from sim.driver import DriverResult, IntentLog
from sim.exchange import NEVER, Exchange, Seat
from sim.kernel import desk as codes
from sim.kernel import layout
from sim.kernel.desk import Desk, make_desk
from sim.kernel.feed import Feed
from sim.kernel.handles import handle_of
from sim.kernel.layout import Kernel
from sim.kernel.sampling import look, play_hosted
from sim.rows import BUY as BUY_FLAG
from sim.rows import (
    COLUMNS,
    FUNDING,
    LOCAL,
    MARK,
    OPEN_INTEREST,
    PRICE_SCALE,
    RATE_SCALE,
    SETTLEMENT,
    STATUS,
    STATUSES,
    TRADE,
    Rows,
)
from sim.venue import SimVenue
from sim.venue_state import Market
from venues.model.instrument import InstrumentKind
from venues.model.money import desk_arithmetic
from venues.model.order import OrderType, Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    FundingRate,
    InstrumentState,
    InstrumentStatus,
    MarkPrice,
    OpenInterest,
    OrderFilled,
    Report,
    Trade,
    VenueUp,
)

_RARE = (MARK, FUNDING, STATUS, OPEN_INTEREST)
_ALWAYS = 1 << 62


@define(eq=False)
class BlockDriver:
    """Runs a cell against venues that share one `core`, whose instruments are numbered as in the rows.

    `accounts` and `markets` are those of sim.exchange; `depth` is how many levels of a side the cell sees. Every
    `sample_ns` is a multiple of it since the epoch, so that what else is in the data changes nothing.
    """

    cell: Cell
    core: Core
    accounts: Mapping[str, Seat]
    markets: Mapping[str, Seat]
    log: IntentLog
    sample_ns: int = 100_000_000
    depth: int = 5
    stop_grace_ns: int = 2_000_000_000
    progress: Callable[[int], None] | None = None
    result: DriverResult = field(factory=DriverResult)
    _exchange: Exchange = field(init=False)
    _desk: Desk = field(init=False)
    _window: Rows = field(init=False, factory=lambda: Rows.empty(0))
    _feed: Feed = field(init=False)
    _rare: list[int] = field(init=False, factory=list)
    _names: list[str] = field(init=False)
    _update_ids: list[int] = field(init=False)
    _shown: Any = field(init=False)
    _changes: Any = field(init=False)
    _counts: Any = field(init=False)
    _handles: tuple[Any, Any] = field(init=False)
    _kernel: Kernel | None = field(init=False, default=None)
    _kernel_at: Any = field(init=False, default=None)
    _timer_ns: int = field(init=False, default=NEVER)
    _is_last: bool = field(init=False, default=False)
    _end_ns: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._exchange = Exchange(self.accounts, {}, book_of=lambda _now, _instrument: None)
        for seat in self.markets.values():
            if seat not in self._exchange.seats:
                self._exchange.seats.append(seat)
        count = len(self.core.instruments)
        self._desk = make_desk(count, 1, 1, 2 * len(self.core.kernel.events), self.core.kernel.events)
        self._desk.clock["is_hosted"] = 1
        self._names, self._update_ids = list(self.core.instruments), [0] * count
        self._shown = np.zeros((2 * count, self.depth, 2), np.int64)
        self._changes = np.zeros((2 * count, 2 * self.depth, 2), np.int64)
        self._counts = np.zeros(2 * count, np.int64)

    @desk_arithmetic()
    def run(self, blocks: Iterable[Rows], start_ns: int) -> DriverResult:
        """Play all blocks, then stop the cell and let what is under way settle.

        `start_ns` is the cell's first instant, at or before the first row.
        """
        now = self.result.start_ns = start_ns
        self._send(now, self.cell.start(now))
        for seat in self._exchange.seats:
            self.cell.offer(VenueUp(now, seat.venue.name))
        self._run_cell(now)
        for seat in self._exchange.seats:
            assert isinstance(seat.venue, SimVenue)
            # A calendar, an expiry or other traders are there before anything happens.
            seat.venue.at(now)
        self._set_stops()
        self._exchange.find_deadline()
        source = iter(blocks)
        self._extend(source)
        sample = (now // self.sample_ns + 1) * self.sample_ns
        while self.cell.halt is None:
            due = min(sample, self._rare_ns(), self._exchange.next_ns(), self._timer_ns)
            if self._is_last and due > self._end_ns:
                break
            if not self._play(due, source):
                continue
            now = due
            self._settle(now)
            self._tell_rare(now)
            if sample == now:
                self._sample(now)
                sample += self.sample_ns
        return self._finish(now)

    def _finish(self, now: int) -> DriverResult:
        if self.cell.halt is None:
            now = max(now, self._end_ns)
            self._play_to_the_end(now)
            self._settle(now)
            self.cell.offer(StopCommand(now, "end of the market"))
            self._run_cell(now)
            self._advance(now + self.stop_grace_ns)
        self.result.end_ns = now
        self.result.halt = self.cell.halt
        if self.cell.halt is not None:
            self._exchange.cancel_all(now)
        return self.result

    # Rows

    def _extend(self, source: Iterator[Rows]) -> None:
        clock = self._desk.clock[0]
        block = next(source, None)
        if block is None:
            self._is_last = True
            return
        ends = (int(ns.max(initial=self.result.start_ns)) for ns in (block.venue_ns, block.local_ns))
        self._end_ns = max(self._end_ns, *ends)
        start = int(min(clock["venue_row"], clock["local_row"]))
        self._window = window = Rows.join([self._window.slice(start, len(self._window)), block])
        clock["venue_row"] -= start
        clock["local_row"] -= start
        self._feed = Feed(**{name: getattr(window, name) for name in COLUMNS})
        self._handles = (handle_of(self._desk), handle_of(self._feed))
        rare = np.isin(window.kind, _RARE) & (window.flags & LOCAL != 0)
        self._rare = [row for row in np.flatnonzero(rare).tolist() if row >= int(clock["local_row"])][::-1]
        self.log.commit()
        if self.progress is not None and len(window):
            self.progress(int(window.venue_ns[0]))

    def _rare_ns(self) -> int:
        return int(self._window.local_ns[self._rare[-1]]) if self._rare else NEVER

    def _play(self, until: int, source: Iterator[Rows]) -> bool:
        """Play to `until`; False when something came up before it that may have changed what is due."""
        while True:
            why = play_hosted(self._kernel_handle(), *self._handles, until, self._is_last)
            if why == codes.AT_TIME:
                return True
            if why == codes.NEED_ROWS:
                self._extend(source)
                return False
            if why in (codes.NEED_ROOM, codes.NEED_DESK_ROOM):
                self._make_room(why == codes.NEED_DESK_ROOM)
                continue
            if why == codes.HAS_EVENTS:
                self._book_events()
            elif why == codes.FOR_HOST:
                self._take_row()
            else:
                raise KernelError("more happened to orders at one instant than can be told")
            return False

    def _play_to_the_end(self, now: int) -> None:
        while not self._play(now, iter(())):
            pass

    def _make_room(self, is_desk: bool) -> None:
        clock, rows = self._desk.clock[0], self._window
        row = int(clock["local_row" if is_desk else "venue_row"])
        side = layout.BUY_SIDE if rows.flags[row] & BUY_FLAG else layout.SELL_SIDE
        self.core.room_for(4 * int(rows.instrument[row]) + 2 * is_desk + side, int(rows.ticks[row]))

    def _market(self, row: int) -> tuple[Seat, SimVenue, Market]:
        instrument = self._names[int(self._window.instrument[row])]
        seat = self.markets[instrument]
        assert isinstance(seat.venue, SimVenue)
        return seat, seat.venue, seat.venue.state.markets[instrument]

    def _book_events(self) -> None:
        now = int(self.core.kernel.registers["now"][0])
        venues = [seat.venue for seat in self._exchange.seats]
        for venue in venues:
            assert isinstance(venue, SimVenue)
            venue.at(now)
        self.core.book()
        for seat in self._exchange.seats:
            assert isinstance(seat.venue, SimVenue)
            if said := seat.venue.take_reports():
                self._exchange.report(now, seat, said)
        self._set_stops()

    def _take_row(self) -> None:
        """Let the exact venue take a row."""
        rows, clock = self._window, self._desk.clock[0]
        row = int(clock["venue_row"])
        seat, venue, market = self._market(row)
        now = int(rows.venue_ns[row])
        self._learn()
        if rows.kind[row] == SETTLEMENT:
            price = Decimal(int(rows.lots[row])) / PRICE_SCALE
            said = venue.settle(now, market.spec.id, price, bool(rows.flags[row] & BUY_FLAG))
        else:
            report = _report(rows, row, now, market)
            said = [] if report is None else venue.on_market(now, report)
        clock["venue_row"] += 1
        clock["venue_rows"] += 1
        self._exchange.report(now, seat, said)
        self._set_stops()

    def _learn(self) -> None:
        """Tell the venues' objects what the compiled venue has seen since."""
        for index, name in enumerate(self._names):
            seat = self.markets[name]
            assert isinstance(seat.venue, SimVenue)
            market = seat.venue.state.markets[name]
            last, guard = int(self.core.kernel.instruments["last_trade"][index]), self._desk.guard[index]
            if last != layout.NO_BID:
                market.last_trade = last
            if guard["raw_mark"]:
                market.mark = Decimal(int(guard["raw_mark"])) / PRICE_SCALE
            if guard["latest"] == codes.BY_TRADE:
                market.latest = market.spec.price(last)
            elif guard["latest"] == codes.BY_MARK:
                market.latest = market.mark
            guard["raw_mark"], guard["latest"] = 0, codes.NOTHING_YET

    def _set_stops(self) -> None:
        """Tell the loop at which marks and trades the venue itself has to look."""
        guard = self._desk.guard
        holds = any(
            account.open_holdings()
            for seat in self._exchange.seats
            if isinstance(seat.venue, SimVenue)
            for account in seat.venue.state.accounts.values()
        )
        for index, name in enumerate(self._names):
            venue = self.markets[name].venue
            assert isinstance(venue, SimVenue)
            market = venue.state.markets[name]
            armed = market.conditional
            is_future = market.spec.kind is InstrumentKind.FUTURE
            guard["watches_mark"][index] = holds or bool(armed) or is_future or market.index_mean is not None
            low, high = -_ALWAYS, _ALWAYS
            if market.controls is not None or market.window is not None:
                # Every trade counts for a breaker, the limits and the settlement window.
                low, high = _ALWAYS, -_ALWAYS
            for order in armed:
                stop = order.command.trigger_price
                if order.command.type is OrderType.TRAILING_STOP or stop is None:
                    low, high = _ALWAYS, -_ALWAYS
                    break
                rising = (order.side is Side.BUY) is (order.command.type is not OrderType.TAKE_PROFIT_MARKET)
                ticks = int(stop / market.spec.tick_size)
                low, high = (low, min(high, ticks)) if rising else (max(low, ticks), high)
            guard["trigger_low"][index], guard["trigger_high"][index] = low, high

    # The cell

    def _settle(self, now: int) -> None:
        """Let everything happen that is due at `now`: commands and reports on their way, then timers."""
        if self._exchange.next_ns() <= now or self._timer_ns <= now:
            self._learn()
            self._advance(now)
            self._set_stops()

    def _advance(self, until: int) -> None:
        exchange = self._exchange
        while self.cell.halt is None:
            venue_ns, timer_ns = exchange.next_ns(), self._timer_ns
            if venue_ns <= timer_ns:
                if venue_ns > until:
                    return
                delivered = exchange.happen()
                if delivered is not None:
                    report, _ = delivered
                    self.result.fills += isinstance(report, OrderFilled)
                    self.cell.offer(report)
                    self._run_cell(venue_ns)
            elif timer_ns > until:
                return
            else:
                self.cell.offer_due(timer_ns)
                self._run_cell(timer_ns)

    def _tell_rare(self, now: int) -> None:
        while self._rare and self._rare_ns() <= now and self.cell.halt is None:
            row = self._rare.pop()
            report = _report(self._window, row, int(self._window.venue_ns[row]), self._market(row)[2])
            if report is not None:
                self.result.market_events += 1
                self.cell.offer(report)
                self._run_cell(now)

    def _sample(self, now: int) -> None:
        """Tell the cell what has become of the books it knows."""
        if not look(self._kernel_handle(), self._shown, self._changes, self._counts):
            return
        counts = self._counts.tolist()
        for index, name in enumerate(self._names):
            bids, asks = (
                [(ticks, lots) for ticks, lots in self._changes[at, : counts[at]].tolist()] if counts[at] else []
                for at in (2 * index, 2 * index + 1)
            )
            if not bids and not asks:
                continue
            before = self._update_ids[index]
            self._update_ids[index] = following = before + 1
            self.result.market_events += 1
            if before:
                self.cell.offer(BookDelta(now, name, following, following, before, bids, asks))
            else:
                self.cell.offer(BookSnapshot(now, name, following, bids, asks))
        self._run_cell(now)

    def _kernel_handle(self) -> Any:
        if self.core.kernel is not self._kernel:
            self._kernel, self._kernel_at = self.core.kernel, handle_of(self.core.kernel)
        return self._kernel_at

    def _run_cell(self, now: int) -> None:
        intents = self.cell.run(now)
        if intents:
            self._send(now, intents)
        timer_ns = self.cell.next_timer()
        self._timer_ns = NEVER if timer_ns is None else timer_ns

    def _send(self, now: int, intents: Sequence[Intent]) -> None:
        if not intents:
            return
        self.log.intents(intents)
        self.log.commit()
        self.result.intents += len(intents)
        for intent in intents:
            self._exchange.send(now, intent.command)


def _report(rows: Rows, row: int, now: int, market: Market) -> Report | None:
    """Return a row that is not of a book as the port's message."""
    kind, lots, instrument = int(rows.kind[row]), int(rows.lots[row]), market.spec.id
    other = Decimal(int(rows.ticks[row])) / PRICE_SCALE if rows.ticks[row] else None
    if kind == TRADE:
        aggressor = Side.BUY if rows.flags[row] & BUY_FLAG else Side.SELL
        return Trade(now, instrument, 0, int(rows.ticks[row]), lots, aggressor)
    if kind == MARK:
        return MarkPrice(now, instrument, Decimal(lots) / PRICE_SCALE, other)
    if kind == FUNDING:
        return FundingRate(now, instrument, Decimal(lots) / RATE_SCALE, other)
    if kind == STATUS:
        return InstrumentStatus(now, instrument, InstrumentState(STATUSES[lots]))
    if kind == OPEN_INTEREST:
        return OpenInterest(now, instrument, market.spec.qty(lots))
    return None
