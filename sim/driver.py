"""The virtual-time loop: market, venues and cell on one timeline, every event at its own instant."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Protocol

from attrs import define, field, frozen

from actors.cell import Cell, Halt
from actors.dispatcher import Intent
from actors.messages import StopCommand
from sim.clocks import Tick
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.money import desk_arithmetic
from venues.model.order import Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    CancelAll,
    Command,
    Message,
    OrderFilled,
    Query,
    QueryFailed,
    QueryKind,
    Report,
    VenueUp,
)

_ALL_LEVELS = 1_000_000
_NEVER = 1 << 63


class Venue(Protocol):
    """A venue as the driver sees it: every call happens at a venue time and returns what the venue then says."""

    name: str

    def on_market(self, now: int, report: Report) -> list[Report]: ...
    def on_command(self, now: int, command: Command) -> list[Report]: ...
    def on_time(self, now: int) -> list[Report]: ...
    def next_deadline(self) -> int | None: ...


class IntentLog(Protocol):
    """Where intents are written down before they are sent."""

    def intents(self, intents: Sequence[Intent]) -> None: ...
    def commit(self) -> None: ...


@frozen
class Seat:
    """A venue and the time a command needs to reach it and a report to come back, in ns."""

    venue: Venue
    entry_ns: int
    response_ns: int


@define
class DriverResult:
    """What a run was: its times in ns UTC, market inputs and fills delivered, intents sent, why it halted if it did."""

    start_ns: int = 0
    end_ns: int = 0
    market_events: int = 0
    intents: int = 0
    fills: int = 0
    halt: Halt | None = None


@define
class _VenueBook:
    """The venue's side of one instrument: the book as the tape tells it, and who trades on it."""

    seat: Seat
    sync: BookSync


@define
class Driver:
    """Runs a cell against venues over the ticks of a market.

    `accounts` maps account ids to seats, `markets` instrument ids to the seat whose book they are and the sequence
    rule of their feed. `stop_grace_ns` is how long after the last tick orders may still settle. `progress` is called
    with the virtual time now and then.
    """

    cell: Cell
    accounts: Mapping[str, Seat]
    markets: Mapping[str, tuple[Seat, SequenceRule]]
    log: IntentLog
    stop_grace_ns: int = 2_000_000_000
    progress: Callable[[int], None] | None = None
    result: DriverResult = field(factory=DriverResult)
    _books: dict[str, _VenueBook] = field(init=False, factory=dict)
    _seats: list[Seat] = field(init=False, factory=list)
    _due: list[tuple[int, int, Seat | None, Message]] = field(init=False, factory=list)
    _count: int = field(init=False, default=0)
    # When the cell's next timer and the first venue's next deadline are due; kept by whoever may have moved them.
    _timer_ns: int = field(init=False, default=_NEVER)
    _deadline_ns: int = field(init=False, default=_NEVER)

    def __attrs_post_init__(self) -> None:
        for instrument, (seat, rule) in self.markets.items():
            self._books[instrument] = _VenueBook(seat, BookSync(rule))
        for seat in [*self.accounts.values(), *(book.seat for book in self._books.values())]:
            if seat not in self._seats:
                self._seats.append(seat)

    @desk_arithmetic()
    def run(self, ticks: Iterable[Tick], start_ns: int) -> DriverResult:
        """Play all ticks, then stop the cell and let what is under way settle.

        `start_ns` is the cell's first instant, at or before the first tick.
        """
        now = self.result.start_ns = start_ns
        self._send(now, self.cell.start(now))
        for seat in self._seats:
            self.cell.offer(VenueUp(now, seat.venue.name))
        self._run_cell(now)
        self._find_deadline()
        for number, tick in enumerate(ticks):
            if self.cell.halt is not None:
                break
            now, is_local = tick.ns, tick.is_local
            # What is due at this very instant comes after the venue's market events and before the desk's.
            self._advance(now if is_local else now - 1)
            if is_local:
                self.result.market_events += 1
                self.cell.offer(tick.message)
                self._run_cell(now)
            else:
                self._at_venue(now, tick.message)
            if number & 0xFFF == 0xFFF:
                self.log.commit()
                if self.progress is not None:
                    self.progress(now)
        if self.cell.halt is None:
            self._advance(now)
            self.cell.offer(StopCommand(now, "end of the market"))
            self._run_cell(now)
            self._advance(now + self.stop_grace_ns)
        self._finish(now)
        return self.result

    def _finish(self, now: int) -> None:
        self.result.end_ns = now
        self.result.halt = self.cell.halt
        if self.cell.halt is not None:
            for account, seat in self.accounts.items():
                seat.venue.on_command(now, CancelAll(now, account))

    def _advance(self, until: int) -> None:
        """Let everything happen that is due at or before `until`, in order of time."""
        while self.cell.halt is None:
            timer_ns, deadline_ns = self._timer_ns, self._deadline_ns
            due_ns = self._due[0][0] if self._due else _NEVER
            first = timer_ns if timer_ns < deadline_ns else deadline_ns
            first = min(first, due_ns)
            if first > until:
                return
            if first == deadline_ns:
                self._on_deadline(first)
            elif first == due_ns:
                self._happen(*heappop(self._due))
            else:
                self.cell.offer_due(first)
                self._run_cell(first)

    def _find_deadline(self) -> None:
        deadlines = [seat.venue.next_deadline() for seat in self._seats]
        self._deadline_ns = min((ns for ns in deadlines if ns is not None), default=_NEVER)

    def _on_deadline(self, now: int) -> None:
        """Let the first venue that has something to do now do it."""
        seat = next(seat for seat in self._seats if seat.venue.next_deadline() == now)
        self._report(now, seat, seat.venue.on_time(now))

    def _happen(self, ns: int, _: int, seat: Seat | None, message: Message) -> None:
        """A command reaches its venue (`seat` given), or a report the desk."""
        if seat is None:
            self.result.fills += isinstance(message, OrderFilled)
            self.cell.offer(message)
            self._run_cell(ns)
        elif isinstance(message, Query) and message.kind is QueryKind.BOOK:
            self._report(ns, seat, [self._answer_book(ns, message)])
        elif isinstance(message, Command):
            self._report(ns, seat, seat.venue.on_command(ns, message))

    def _at_venue(self, now: int, message: Message) -> None:
        instrument: str = message.instrument  # type: ignore[attr-defined]
        market = self._books.get(instrument)
        if market is None or not isinstance(message, Report):
            return
        forwarded: Report | None = message
        if isinstance(message, BookDelta | BookSnapshot):
            forwarded = self._sync(now, market.sync, message)
        if forwarded is not None:
            self._report(now, market.seat, market.seat.venue.on_market(now, forwarded))

    def _sync(self, now: int, sync: BookSync, message: BookDelta | BookSnapshot) -> Report | None:
        """Return what the venue learns of its book: the change, a whole new book, or that it is unknown (empty)."""
        was_usable = sync.is_usable
        result = sync.on_delta(message) if isinstance(message, BookDelta) else sync.on_snapshot(message)
        if not sync.is_usable:
            return BookSnapshot(now, message.instrument, 0, [], []) if was_usable else None
        if was_usable and result is SyncResult.APPLIED and isinstance(message, BookDelta):
            return message
        return self._whole(now, message.instrument, sync) if result is SyncResult.APPLIED else None

    def _whole(self, now: int, instrument: str, sync: BookSync) -> BookSnapshot:
        book = sync.book
        bids, asks = book.depth(Side.BUY, _ALL_LEVELS), book.depth(Side.SELL, _ALL_LEVELS)
        return BookSnapshot(now, instrument, sync.last_id, bids, asks)

    def _answer_book(self, now: int, query: Query) -> Report:
        market = self._books.get(query.instrument or "")
        if market is None or not market.sync.is_usable:
            return QueryFailed(now, query.account, query.query_id, query.kind, "the tape holds no book here")
        return self._whole(now, query.instrument or "", market.sync)

    def _run_cell(self, now: int) -> None:
        intents = self.cell.run(now)
        if intents:
            self._send(now, intents)
        timer_ns = self.cell.next_timer()
        self._timer_ns = _NEVER if timer_ns is None else timer_ns

    def _send(self, now: int, intents: Sequence[Intent]) -> None:
        if not intents:
            return
        self.log.intents(intents)
        self.log.commit()
        self.result.intents += len(intents)
        for intent in intents:
            seat = self.accounts[intent.command.account]
            self._schedule(now + seat.entry_ns, seat, intent.command)

    def _report(self, now: int, seat: Seat, reports: Sequence[Report]) -> None:
        """Send off what the venue said; having been asked, it may also have another deadline."""
        self._find_deadline()
        for report in reports:
            self._schedule(now + seat.response_ns, None, report)

    def _schedule(self, ns: int, seat: Seat | None, message: Message) -> None:
        self._count += 1
        heappush(self._due, (ns, self._count, seat, message))
