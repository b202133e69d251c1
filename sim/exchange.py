"""What happens at the venues and when: market events, commands on their way there, reports on their way back."""

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Protocol

from attrs import define, field, frozen

from sim.stored import StoredMessage, StoredStateError, stored
from venues.model.book import Level
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, CancelAll, Command, Message, Query, QueryFailed, QueryKind, Report

ALL = 0
"""Who hears what a venue says unasked: every client. Answers go to the client that asked."""

NEVER = 1 << 63
_ALL_LEVELS = 1_000_000


class Venue(Protocol):
    """A venue as the exchange sees it: every call happens at a venue time and returns what the venue then says."""

    name: str

    def on_market(self, now: int, report: Report) -> list[Report]: ...
    def on_command(self, now: int, command: Command) -> list[Report]: ...
    def on_time(self, now: int) -> list[Report]: ...
    def next_deadline(self) -> int | None: ...


@frozen
class Seat:
    """A venue and the time a command needs to reach it and a report to come back, in ns."""

    venue: Venue
    entry_ns: int
    response_ns: int


@define
class _VenueBook:
    """The venue's side of one instrument: the book as the tape tells it, and who trades on it."""

    seat: Seat
    sync: BookSync


@frozen
class StoredBook:
    """One instrument's book as the tape tells it."""

    bids: list[Level]
    asks: list[Level]
    last_id: int
    is_usable: bool
    is_joining: bool
    buffer: list[BookDelta]
    discarded: int


@frozen
class StoredExchange:
    """The timeline between two events; `due` are messages under way: (ns, number, seat or -1 for the desk, message).

    Questions and their answers are left out: who asked will have to ask again. Venues are stored apart.
    """

    books: dict[str, StoredBook]
    due: list[tuple[int, int, int, StoredMessage]]
    count: int
    deadline_ns: int | None


@define
class Exchange:
    """All venues of a run on one timeline. Calls come in order of time; nothing here reads a clock.

    `accounts` maps account ids to seats, `markets` instrument ids to the seat whose book they are and the sequence
    rule of their feed. `book_of` answers for whole books where the tape does not pass through here. Clients are told
    apart by number, 1 and up.
    """

    accounts: Mapping[str, Seat]
    markets: Mapping[str, tuple[Seat, SequenceRule]]
    book_of: Callable[[int, str], BookSnapshot | None] | None = None
    deadline_ns: int = field(init=False, default=NEVER)
    seats: list[Seat] = field(init=False, factory=list)
    _books: dict[str, _VenueBook] = field(init=False, factory=dict)
    _due: list[tuple[int, int, Seat | None, Message, int]] = field(init=False, factory=list)
    _count: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        for instrument, (seat, rule) in self.markets.items():
            self._books[instrument] = _VenueBook(seat, BookSync(rule))
        for seat in [*self.accounts.values(), *(book.seat for book in self._books.values())]:
            if seat not in self.seats:
                self.seats.append(seat)

    def find_deadline(self) -> None:
        """Look when the first venue has something to do by itself; needed once before the first event."""
        deadlines = [seat.venue.next_deadline() for seat in self.seats]
        self.deadline_ns = min((ns for ns in deadlines if ns is not None), default=NEVER)

    def next_ns(self) -> int:
        """Return when something happens next, NEVER when nothing is under way."""
        due = self._due[0][0] if self._due else NEVER
        return due if due < self.deadline_ns else self.deadline_ns

    def is_question_next(self) -> bool:
        """Whether what happens next is only asking or answering: it changes nothing at any venue."""
        if not self._due or self.deadline_ns <= self._due[0][0]:
            return False
        _, _, seat, message, client = self._due[0]
        return client != ALL if seat is None else isinstance(message, Query)

    def take_report(self) -> tuple[Report, int] | None:
        """Return what reaches its clients next, and which (ALL or one); None when it is a venue's turn."""
        if not self._due or self._due[0][2] is not None or self.deadline_ns <= self._due[0][0]:
            return None
        _, _, _, message, client = heappop(self._due)
        assert isinstance(message, Report)
        return message, client

    def happen(self) -> tuple[Report, int] | None:
        """Let the next thing happen; return the report that thereby reaches its clients, and which (ALL or one)."""
        if not self._due or self.deadline_ns <= self._due[0][0]:
            self._on_deadline(self.deadline_ns)
            return None
        arrived = self.take_report()
        if arrived is not None:
            return arrived
        ns, _, seat, message, client = heappop(self._due)
        assert seat is not None
        if isinstance(message, Query) and message.kind is QueryKind.BOOK:
            self._report(ns, seat, [self._answer_book(ns, message)], client)
        elif isinstance(message, Command):
            to = client if isinstance(message, Query) else ALL
            self._report(ns, seat, seat.venue.on_command(ns, message), to)
        return None

    def send(self, now: int, command: Command, client: int = 1) -> None:
        """Put a command on its way. Raises KeyError for an account that is at none of the venues."""
        seat = self.accounts[command.account]
        self._schedule(now + seat.entry_ns, seat, command, client)

    def cancel_all(self, now: int) -> None:
        """Cancel every order at once, past the wire."""
        for account, seat in self.accounts.items():
            seat.venue.on_command(now, CancelAll(now, account))

    def on_market(self, now: int, message: Message) -> None:
        """A market event happens at its venue."""
        instrument: str = message.instrument  # type: ignore[attr-defined]
        market = self._books.get(instrument)
        if market is None or not isinstance(message, Report):
            return
        forwarded: Report | None = message
        if isinstance(message, BookDelta | BookSnapshot):
            forwarded = self._sync(now, market.sync, message)
        if forwarded is not None:
            self._report(now, market.seat, market.seat.venue.on_market(now, forwarded), ALL)

    def lose(self, now: int, instrument: str) -> None:
        """The tape stops telling the book: for the venue it is empty until there is another snapshot."""
        market = self._books[instrument]
        was_usable = market.sync.is_usable
        market.sync.invalidate()
        if was_usable:
            empty = BookSnapshot(now, instrument, 0, [], [])
            self._report(now, market.seat, market.seat.venue.on_market(now, empty), ALL)

    def book(self, now: int, instrument: str) -> BookSnapshot | None:
        """Return the whole book as the venue has it, None while the tape does not tell it."""
        market = self._books.get(instrument)
        if market is None or not market.sync.is_usable:
            return None
        return self._whole(now, instrument, market.sync)

    def store(self) -> StoredExchange:
        """Return what is to be known to go on from here, partly shared: write it down before the next call."""
        due = [
            (ns, number, -1 if seat is None else self.seats.index(seat), stored(message))
            for ns, number, seat, message, client in self._due
            if (client == ALL if seat is None else not isinstance(message, Query))
        ]
        return StoredExchange(
            {name: _store_book(one.sync) for name, one in self._books.items()},
            due,
            self._count,
            None if self.deadline_ns == NEVER else self.deadline_ns,
        )

    def restore(self, found: StoredExchange) -> None:
        """Go on from there; venues and instruments are the same. Raises StoredStateError."""
        if list(found.books) != list(self._books):
            raise StoredStateError(f"books of {', '.join(found.books)} were stored, not of {', '.join(self._books)}")
        if any(not -1 <= seat < len(self.seats) for _, _, seat, _ in found.due):
            raise StoredStateError("a message is under way to a venue that does not exist")
        for name, book in found.books.items():
            _load_book(self._books[name].sync, book)
        # Nobody asked for what is still under way: no client of this life.
        self._due = [
            (ns, number, None if seat < 0 else self.seats[seat], one.message(), ALL)
            for ns, number, seat, one in found.due
        ]
        heapify(self._due)
        self._count = found.count
        self.deadline_ns = NEVER if found.deadline_ns is None else found.deadline_ns

    def _on_deadline(self, now: int) -> None:
        """Let the first venue that has something to do now do it."""
        seat = next(seat for seat in self.seats if seat.venue.next_deadline() == now)
        self._report(now, seat, seat.venue.on_time(now), ALL)

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
        found = self.book_of(now, query.instrument or "") if self.book_of else self.book(now, query.instrument or "")
        if found is None:
            return QueryFailed(now, query.account, query.query_id, query.kind, "the tape holds no book here")
        return found

    def report(self, now: int, seat: Seat, reports: Sequence[Report]) -> None:
        """Send off what a venue said unasked."""
        self._report(now, seat, reports, ALL)

    def _report(self, now: int, seat: Seat, reports: Sequence[Report], client: int) -> None:
        """Send off what the venue said; having been asked, it may also have another deadline."""
        self.find_deadline()
        for report in reports:
            self._schedule(now + seat.response_ns, None, report, client)

    def _schedule(self, ns: int, seat: Seat | None, message: Message, client: int) -> None:
        self._count += 1
        heappush(self._due, (ns, self._count, seat, message, client))


def _store_book(sync: BookSync) -> StoredBook:
    book = sync.book
    return StoredBook(
        list(book.bids.items()),
        list(book.asks.items()),
        sync.last_id,
        sync.is_usable,
        sync.is_joining,
        sync.buffer,
        sync.discarded,
    )


def _load_book(sync: BookSync, found: StoredBook) -> None:
    sync.book.load(found.bids, found.asks)
    sync.last_id, sync.is_usable, sync.is_joining = found.last_id, found.is_usable, found.is_joining
    sync.buffer, sync.discarded = found.buffer, found.discarded
