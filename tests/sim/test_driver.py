"""One timeline: when a command arrives, when its report comes back, and what comes first at the same instant."""

from attrs import define, field

from actors.base import Actor, handles
from actors.cell import Cell
from actors.messages import StopCommand
from sim.clocks import Tick
from sim.driver import Driver
from sim.exchange import Seat
from venues.model.book_sync import SequenceRule
from venues.port import (
    BookDelta,
    BookSnapshot,
    CancelAll,
    Lane,
    Message,
    OrderAccepted,
    Query,
    QueryFailed,
    QueryKind,
    Quote,
    VenueUp,
    message,
)

ENTRY, RESPONSE = 30, 70


@message(lane=Lane.FEED)
class Poke(Message):
    ts: int
    instrument: str


@define
class Notes:
    seen: list[tuple[int, str]] = field(factory=list)
    answers: list[str] = field(factory=list)


class Desk(Actor):
    """Cancels all on every quote and notes everything it hears."""

    sends = (CancelAll, Query)

    def __init__(self) -> None:
        super().__init__("desk")
        self.state = Notes()

    @handles(Quote)
    def on_quote(self, now: int, quote: Quote) -> None:
        self.state.seen.append((now, "Quote"))
        self.out.send(CancelAll(now, "acc", "v:X"))
        self.out.timer("later", now + 5)

    @handles(Poke)
    def on_poke(self, now: int, poke: Poke) -> None:
        if poke.instrument == "v:FAIL":
            raise RuntimeError("poked")
        self.out.send(Query(now, "acc", "q1", QueryKind.BOOK, "v:X"))

    @handles(OrderAccepted, StopCommand, VenueUp)
    def on_other(self, now: int, heard: Message) -> None:
        self.state.seen.append((now, type(heard).__name__))

    @handles(BookSnapshot, QueryFailed)
    def on_answer(self, now: int, answer: BookSnapshot | QueryFailed) -> None:
        self.state.answers.append(type(answer).__name__)
        if isinstance(answer, BookSnapshot):
            self.state.answers.append(f"{answer.update_id} {answer.bids} {answer.asks}")

    def on_timer(self, now: int, key: str) -> None:
        self.state.seen.append((now, key))


class FakeVenue:
    """Notes what happens and when; acknowledges every command."""

    name = "v"

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        self.deadline = None

    def on_market(self, now, report):
        self.seen.append((now, type(report).__name__))
        if isinstance(report, BookSnapshot):
            self.seen.append((now, f"{report.bids}"))
        return []

    def on_command(self, now, command):
        self.seen.append((now, type(command).__name__))
        return [OrderAccepted(now, command.account, "v:X", "c", "1")]

    def on_time(self, now):
        self.seen.append((now, "deadline"))
        self.deadline = None
        return []

    def next_deadline(self):
        return self.deadline


@define
class FakeLog:
    """Proves that what is sent was committed before."""

    lines: list[str] = field(factory=list)

    def intents(self, intents):
        self.lines += [type(intent.command).__name__ for intent in intents]

    def commit(self):
        self.lines.append("commit")


def a_run(ticks, deadline=None):
    venue, log = FakeVenue(), FakeLog()
    venue.deadline = deadline
    seat = Seat(venue, ENTRY, RESPONSE)
    cell = Cell(lambda: [Desk()])
    driver = Driver(cell, {"acc": seat}, {"v:X": (seat, SequenceRule.FUTURES)}, log, stop_grace_ns=1000)
    result = driver.run(ticks, 1)
    return venue, cell, log, result


def a_quote(ts):
    return Quote(ts, "v:X", 1, 10, 1, 11, 1)


def test_a_command_takes_the_entry_and_its_report_the_response_latency():
    venue, cell, log, result = a_run([Tick(100, True, a_quote(100))])
    assert venue.seen == [(100 + ENTRY, "CancelAll")]
    seen = cell.dispatcher.actors["desk"].state.seen
    assert (100 + ENTRY + RESPONSE, "OrderAccepted") in seen
    assert log.lines == ["CancelAll", "commit"]
    assert (result.market_events, result.intents, result.halt) == (1, 1, None)


def test_timers_stop_and_reports_are_heard_in_the_order_of_time():
    _, cell, _, _ = a_run([Tick(100, True, a_quote(100)), Tick(300, True, a_quote(300))])
    seen = cell.dispatcher.actors["desk"].state.seen
    assert seen == [
        (1, "VenueUp"),
        (100, "Quote"),
        (105, "later"),
        (200, "OrderAccepted"),
        (300, "Quote"),
        (300, "StopCommand"),
        (305, "later"),
        (400, "OrderAccepted"),
    ]


def test_at_the_same_venue_time_the_market_comes_before_the_order():
    venue, _, _, _ = a_run(
        [
            Tick(100, True, a_quote(100)),
            Tick(130, False, Quote(130, "v:X", 2, 10, 1, 11, 1)),
            Tick(131, False, Quote(131, "v:X", 2, 10, 1, 11, 1)),
        ]
    )
    assert venue.seen == [(130, "Quote"), (130, "CancelAll"), (131, "Quote")]


def test_a_venue_deadline_happens_at_its_time():
    venue, _, _, _ = a_run([Tick(100, True, a_quote(100)), Tick(500, True, a_quote(500))], deadline=120)
    assert venue.seen[0] == (120, "deadline")


def test_the_venue_learns_a_book_that_joined_then_changes_then_that_it_is_lost():
    snapshot = BookSnapshot(10, "v:X", 5, [(10, 1)], [(11, 1)])
    joins = BookDelta(20, "v:X", 5, 6, 4, [(9, 2)], [])
    follows = BookDelta(30, "v:X", 7, 7, 6, [(9, 0)], [])
    skips = BookDelta(40, "v:X", 9, 9, 8, [(8, 1)], [])
    venue, _, _, _ = a_run([Tick(m.ts, False, m) for m in (snapshot, joins, follows, skips)])
    assert venue.seen == [
        (20, "BookSnapshot"),
        (20, "[(10, 1), (9, 2)]"),
        (30, "BookDelta"),
        (40, "BookSnapshot"),
        (40, "[]"),
    ]


def test_a_book_query_is_answered_from_the_tape_or_fails():
    snapshot = BookSnapshot(10, "v:X", 5, [(10, 1)], [(11, 1)])
    joins = BookDelta(20, "v:X", 5, 6, 4, [(9, 2)], [])
    poke = Poke(50, "v:X")
    _, cell, _, _ = a_run([Tick(50, True, poke)])
    assert cell.dispatcher.actors["desk"].state.answers == ["QueryFailed"]
    _, cell, _, _ = a_run([Tick(10, False, snapshot), Tick(20, False, joins), Tick(50, True, poke)])
    assert cell.dispatcher.actors["desk"].state.answers == ["BookSnapshot", "6 [(10, 1), (9, 2)] [(11, 1)]"]


def test_a_halted_cell_gets_its_orders_cancelled():
    fail = Poke(100, "v:FAIL")
    venue, cell, _, result = a_run([Tick(100, True, fail), Tick(101, True, fail), Tick(500, True, a_quote(500))])
    assert len(cell.quarantined) == 2
    assert result.halt is not None
    assert "poked" in result.halt.why
    assert venue.seen == [(101, "CancelAll")]
