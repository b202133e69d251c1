"""The virtual-time loop over blocks of rows: venues and desk's books in compiled code, actors when they are to decide.

Between two decisions nobody is asked. The cell hears of books every `sample_ns` (sim/desk_feed.py), of everything else,
its own orders among it, when it arrives.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from attrs import define, field

from actors.cell import Cell
from sim.cell_loop import CellLoop, DriverResult, IntentLog
from sim.core import Core, KernelError
from sim.desk_feed import DeskFeed
from sim.exchange import NEVER, Exchange, Seat
from sim.feed_latency import with_feed_latency
from sim.kernel import desk as codes
from sim.kernel import layout
from sim.kernel.compiled import Direct
from sim.kernel.desk import Desk, make_desk
from sim.kernel.feed import Feed
from sim.kernel.handles import handle_of
from sim.kernel.layout import Kernel
from sim.kernel.sampling import play_hosted
from sim.row_reports import report_of
from sim.rows import BUY as BUY_FLAG
from sim.rows import COLUMNS, LOCAL, PRICE_SCALE, SETTLEMENT, Rows
from sim.venue import SimVenue
from sim.venue_state import Market
from venues.model.instrument import InstrumentKind
from venues.model.money import desk_arithmetic
from venues.model.order import OrderType, Side

_play_hosted = Direct(play_hosted)
_ALWAYS = 1 << 62
_HEAD = 4096


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
    depth: int = 20
    has_trades: bool = False
    stop_grace_ns: int = 2_000_000_000
    progress: Callable[[int], None] | None = None
    result: DriverResult = field(factory=DriverResult)
    _loop: CellLoop = field(init=False)
    _desk: Desk = field(init=False)
    _window: Rows = field(init=False, factory=lambda: Rows.empty(0))
    # The block whose first `_taken` rows are at the window's end, the others not in it yet; 0: there are no others.
    _block: Rows = field(init=False, factory=lambda: Rows.empty(0))
    _taken: int = field(init=False, default=0)
    _feed: Feed = field(init=False)
    _told: DeskFeed = field(init=False)
    _markets: list[tuple[Seat, SimVenue, Market]] = field(init=False, factory=list)
    _desk_at: Any = field(init=False)
    _feed_at: Any = field(init=False)
    _kernel: Kernel | None = field(init=False, default=None)
    _kernel_at: Any = field(init=False, default=None)
    _known_ns: int = field(init=False, default=-1)
    _is_last: bool = field(init=False, default=False)
    _end_ns: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        for name in self.core.instruments:
            seat = self.markets[name]
            assert isinstance(seat.venue, SimVenue)
            self._markets.append((seat, seat.venue, seat.venue.state.markets[name]))
        self._told = DeskFeed([market.spec for _, _, market in self._markets], self.depth, self.has_trades)
        exchange = Exchange(self.accounts, {}, book_of=self._told.book)
        for seat in self.markets.values():
            if seat not in exchange.seats:
                exchange.seats.append(seat)
        self._loop = CellLoop(self.cell, exchange, self.log, self.result)
        self._desk = make_desk(len(self._markets), 1, 1, 2 * len(self.core.kernel.events), self.core.kernel.events)
        self._desk.clock["is_hosted"] = 1
        self._desk_at = handle_of(self._desk)

    @desk_arithmetic()
    def run(
        self, blocks: Iterable[Rows], start_ns: int, source: str = "rows", is_synthetic: bool = False
    ) -> DriverResult:
        """Play all blocks, then stop the cell and let what is under way settle.

        `start_ns` is the cell's first instant, at or before the first row. Raises ZeroFeedLatencyError naming `source`
        for rows that reach the desk as they happen unless `is_synthetic`.
        """
        now = self._end_ns = start_ns
        loop, told, exchange = self._loop, self._told, self._loop.exchange
        loop.begin(now)
        for seat in exchange.seats:
            assert isinstance(seat.venue, SimVenue)
            # A calendar, an expiry or other traders are there before anything happens.
            seat.venue.at(now)
        self._set_stops()
        exchange.find_deadline()
        following = iter(blocks if is_synthetic else with_feed_latency(blocks, source))
        sample = (now // self.sample_ns + 1) * self.sample_ns
        is_over = False
        while self.cell.halt is None and not is_over:
            # The least of them; `min` would take longer than all the rest of it.
            told_ns, venue_ns, timer_ns = told.next_ns(), exchange.next_ns(), loop.timer_ns
            due_ns = venue_ns if venue_ns < timer_ns else timer_ns
            due = told_ns if told_ns < due_ns else due_ns
            due = sample if sample < due else due
            if due > self._known_ns:
                # What has arrived by then may not have been read yet.
                self._extend(following)
                continue
            is_over = self._is_last and due > self._end_ns
            due = self._end_ns if is_over else due
            if not self._play(due, following):
                is_over = False
                continue
            now = due
            if due_ns <= now:
                self._advance(now)
            if told_ns <= now:
                self._tell(now)
            if sample == now:
                self._sample(now)
                sample += self.sample_ns
        if self.cell.halt is None:
            loop.stop(now)
            self._advance(now + self.stop_grace_ns)
        return loop.end(now)

    # Rows

    def _extend(self, source: Iterator[Rows]) -> None:
        """Read on. What a clock has yet to play is joined to the head of the next block: copying it all costs more."""
        clock = self._desk.clock[0]
        if not self._taken:
            block = next(source, None)
            if block is None:
                self._is_last, self._known_ns = True, NEVER
                if not len(self._window):
                    self._take_window(self._window, 0)
                return
            if not len(block):
                return
            self._block = block
            self._end_ns = max(self._end_ns, int(block.venue_ns.max()), int(block.local_ns.max()))
            if self.progress is not None:
                self.progress(int(block.venue_ns[0]))
        block, taken = self._block, self._taken
        start = int(min(clock["venue_row"], clock["local_row"]))
        left = len(self._window) - start
        if left <= taken:
            news, self._taken = block.slice(taken, len(block)), 0
            window, known, start = block, taken, start - (taken - left)
        else:
            end = min(len(block), taken + max(_HEAD, left))
            news, self._taken = block.slice(taken, end), end % len(block)
            window, known = Rows.join([self._window.slice(start, len(self._window)), news]), left
        clock["venue_row"] -= start
        clock["local_row"] -= start
        last = len(news) - 1 - int((news.flags[::-1] & LOCAL).argmax())
        if news.flags[last] & LOCAL:
            # Others of the last instant may be in the next rows.
            self._known_ns = int(news.local_ns[last]) - 1
        self._take_window(window, known)
        self.log.commit()

    def _take_window(self, window: Rows, known: int) -> None:
        self._window = window
        self._feed = Feed(**{name: getattr(window, name) for name in COLUMNS})
        self._feed_at = handle_of(self._feed)
        self._told.take(window, known)

    def _play(self, until: int, source: Iterator[Rows]) -> bool:
        """Play to `until`; False when something came up before it that may have changed what is due."""
        while True:
            why = _play_hosted.call(self._kernel_handle(), self._desk_at, self._feed_at, until, self._is_last)
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

    def _make_room(self, is_desk: bool) -> None:
        clock, rows = self._desk.clock[0], self._window
        row = int(clock["local_row" if is_desk else "venue_row"])
        side = layout.BUY_SIDE if rows.flags[row] & BUY_FLAG else layout.SELL_SIDE
        self.core.room_for(4 * int(rows.instrument[row]) + 2 * is_desk + side, int(rows.ticks[row]))

    def _book_events(self) -> None:
        now = int(self.core.kernel.registers["now"][0])
        for _, venue, _ in self._markets:
            venue.at(now)
        self.core.book()
        for seat in self._loop.exchange.seats:
            assert isinstance(seat.venue, SimVenue)
            if said := seat.venue.take_reports():
                self._loop.exchange.report(now, seat, said)
        self._set_stops()

    def _take_row(self) -> None:
        """Let the exact venue take a row."""
        rows, clock = self._window, self._desk.clock[0]
        row = int(clock["venue_row"])
        seat, venue, market = self._markets[int(rows.instrument[row])]
        now = int(rows.venue_ns[row])
        self._learn()
        if rows.kind[row] == SETTLEMENT:
            price = Decimal(int(rows.lots[row])) / PRICE_SCALE
            said = venue.settle(now, market.spec.id, price, bool(rows.flags[row] & BUY_FLAG))
        else:
            report = report_of(rows, row, market.spec)
            if report is None:
                raise KernelError(f"rows of kind {int(rows.kind[row])} cannot be played")
            said = venue.on_market(now, report)
        clock["venue_row"] += 1
        clock["venue_rows"] += 1
        self._loop.exchange.report(now, seat, said)
        self._set_stops()

    def _learn(self) -> None:
        """Tell the venues' objects what the compiled venue has seen since last time."""
        guard = self._desk.guard
        trades = self.core.kernel.instruments["last_trade"].tolist()
        marks, latest = guard["raw_mark"].tolist(), guard["latest"].tolist()
        for (_, _, market), last, mark, by in zip(self._markets, trades, marks, latest, strict=False):
            if last != layout.NO_BID:
                market.last_trade = last
            if mark:
                market.mark = Decimal(mark) / PRICE_SCALE
            if by == codes.BY_TRADE:
                market.latest = market.spec.price(last)
            elif by == codes.BY_MARK:
                market.latest = market.mark
        guard["raw_mark"], guard["latest"] = 0, codes.NOTHING_YET

    def _set_stops(self) -> None:
        """Tell the loop at which marks and trades the venue itself has to look."""
        guard = self._desk.guard
        holds = any(
            account.open_holdings()
            for seat in self._loop.exchange.seats
            if isinstance(seat.venue, SimVenue)
            for account in seat.venue.state.accounts.values()
        )
        for index, (_, _, market) in enumerate(self._markets):
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

    def _advance(self, until: int) -> None:
        if self._loop.advance(until, self._learn):
            self._set_stops()

    def _tell(self, now: int) -> None:
        for report in self._told.arrived(now):
            if self.cell.halt is not None:
                return
            self.result.market_events += 1
            self._loop.hear(now, (report,))

    def _sample(self, now: int) -> None:
        if self.cell.halt is None and (told := self._told.sample(now, self._kernel_handle())):
            self.result.market_events += len(told)
            self._loop.hear(now, told)

    def _kernel_handle(self) -> Any:
        if self.core.kernel is not self._kernel:
            self._kernel, self._kernel_at = self.core.kernel, handle_of(self.core.kernel)
        return self._kernel_at
