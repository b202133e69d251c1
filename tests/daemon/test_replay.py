"""A logged run fed to the same actors does the same, and to others it is told where they differ."""

import shutil
from collections.abc import Callable, Sequence
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.base import Actor, handles
from actors.cell import QUARANTINE_WINDOW_NS, Cell, CellRestarted
from actors.dispatcher import Limits, View
from daemon.log import RunLog
from daemon.log.replay import ReplayResult, check, export
from venues.model.order import Side
from venues.port import CancelAll, Lane, Message, Quote, SubmitOrder, Trade, VenueUp, message

START = 1_723_075_200_000_000_000
SECOND = 1_000_000_000


@message(lane=Lane.VIEWS)
class ReplayTop(View):
    ts: int
    instrument: str
    bid: int

    @property
    def key(self) -> str:
        return self.instrument


@define
class FeedState:
    quotes: int = 0


class Feed(Actor):
    """Publishes quotes; a bid of 13 is one it cannot bear, a trade of 0 lots one that floods the cell."""

    publishes = (ReplayTop, Trade)

    def __init__(self) -> None:
        super().__init__("feed")
        self.state = FeedState()

    @handles(Quote)
    def on_quote(self, now: int, quote: Quote) -> None:
        self.state.quotes += 1
        if quote.bid == 13:
            raise ValueError("thirteen")
        self.out.emit(ReplayTop(now, quote.instrument, quote.bid))

    @handles(Trade)
    def on_trade(self, now: int, trade: Trade) -> None:
        if trade.lots == 0:
            self.out.emit(trade)


@define
class DeskState:
    orders: int = 0
    tops: dict[str, int] = field(factory=dict)


class Desk(Actor):
    """Buys on every fourth top and cancels all a while after; a bid of 17 it cannot bear."""

    sends = (SubmitOrder, CancelAll)

    def __init__(self, size: Decimal) -> None:
        super().__init__("desk")
        self.size = size
        self.state = DeskState()

    def start(self, now: int) -> None:
        self.out.send(CancelAll(now, "desk"))

    @handles(ReplayTop)
    def on_top(self, now: int, top: ReplayTop) -> None:
        self.state.tops[top.instrument] = top.bid
        if top.bid == 17:
            raise ValueError("seventeen")
        if top.bid % 4 == 0:
            self.state.orders += 1
            client_id = f"d{self.state.orders}"
            self.out.send(SubmitOrder(now, "desk", top.instrument, client_id, Side.BUY, self.size))
            self.out.timer(client_id, now + 3 * SECOND)

    def on_timer(self, now: int, key: str) -> None:
        self.out.send(CancelAll(now, f"desk-{key}"))


class Watch(Actor):
    """Says after every second that it is there, and again when the cell was rebuilt."""

    sends = (CancelAll,)

    def __init__(self) -> None:
        super().__init__("watch")
        self.state = FeedState()

    def start(self, now: int) -> None:
        self.out.timer("beat", now + SECOND)

    def on_timer(self, now: int, key: str) -> None:
        self.state.quotes += 1
        self.out.timer("beat", now + SECOND)

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        self.out.send(CancelAll(now, f"up-{self.state.quotes}"))

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        self.out.send(CancelAll(now, "restarted"))


def build_cell(config_text: str) -> Cell:
    size = Decimal(config_text)
    return Cell(lambda: [Feed(), Desk(size), Watch()], limits=Limits(messages_per_input=50), snapshot_every=5)


Step = tuple[int, Sequence[Message]]


def quotes(now: int, *bids: int) -> Step:
    return now, [Quote(now, f"x:{number % 3}", number, bid, 1, bid + 1, 1) for number, bid in enumerate(bids)]


def record(folder: Path, steps: Sequence[Step], *, size: str = "0.25", seal: bool = True) -> Cell:
    """Run the steps as a driver does: due timers and messages in, intents and commit out."""
    cell = build_cell(size)
    log = RunLog.create(folder, size, "c0ffee", "build", START, durable=False)
    cell.sink = log
    log.intents(cell.start(START))
    log.commit()
    for at, messages in steps:
        now = START + at
        cell.offer_due(now)
        for each in messages:
            cell.offer(each)
        log.intents(cell.run(now))
        log.commit()
    if seal:
        log.close()
    else:
        log.sync()
        log.abandon()
    return cell


QUIET = [
    quotes(SECOND, 3, 4, 5, 8),
    (2 * SECOND, [VenueUp(1, "x"), Quote(1, "x:0", 9, 12, 1, 13, 1), VenueUp(2, "x")]),
    quotes(5 * SECOND, 1, 2),
    (9 * SECOND, []),
]
TROUBLED = [
    *QUIET,
    quotes(10 * SECOND, 4, 13, 8, 8),
    quotes(11 * SECOND, 4, 5),
    quotes(11 * SECOND + 2 * QUARANTINE_WINDOW_NS, 8, 17, 12, 16),
    quotes(15 * SECOND + 2 * QUARANTINE_WINDOW_NS, 20),
]
TWICE = [quotes(SECOND, 4, 13, 8), quotes(2 * SECOND, 17, 4), quotes(3 * SECOND, 8)]
STORM = [quotes(SECOND, 4), (2 * SECOND, [VenueUp(1, "x"), Trade(1, "x:0", 1, 1, 0, Side.BUY), VenueUp(2, "x")])]


@pytest.mark.parametrize("steps", [QUIET, TROUBLED, TWICE, STORM], ids=["quiet", "troubled", "twice", "storm"])
def test_the_same_actors_do_the_same(tmp_path: Path, steps: list[Step]) -> None:
    cell = record(tmp_path / "log", steps)
    result = check(tmp_path / "log", build_cell)
    assert result.differences == ()
    assert result.is_identical
    assert result.inputs > 2
    assert result.intents > 2
    assert result.journal_sha256 == sha256(b"".join(export(tmp_path / "log"))).hexdigest()
    assert result.halt == cell.halt
    assert (cell.halt is None) == (steps in (QUIET, TROUBLED))


def test_troubled_means_two_quarantines_one_of_them_in_a_view(tmp_path: Path) -> None:
    cell = record(tmp_path / "log", TROUBLED)
    assert [one.actor for one in cell.quarantined] == ["feed", "desk"]


BIDS = st.lists(st.sampled_from([1, 2, 4, 8, 13, 17]), max_size=5)
GAPS = st.sampled_from([SECOND // 3, 4 * SECOND, QUARANTINE_WINDOW_NS, 2 * QUARANTINE_WINDOW_NS])


@settings(max_examples=60)
@given(st.lists(st.tuples(GAPS, BIDS, st.booleans()), max_size=8), st.booleans())
def test_whatever_happens_it_happens_again(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[tuple[int, list[int], bool]], seal: bool
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    now, steps = 0, []
    for gap, bids, has_report in gaps:
        now += gap
        steps.append((now, [*quotes(now, *bids)[1], *([VenueUp(now, "x")] if has_report else [])]))
    record(folder / "log", steps, seal=seal)
    result = check(folder / "log", build_cell)
    assert result.is_identical, result.differences
    assert result.is_sealed == seal
    shutil.rmtree(folder)


def test_another_size_is_reported_where_it_was_sent(tmp_path: Path) -> None:
    record(tmp_path / "log", QUIET)
    result = check(tmp_path / "log", lambda _: build_cell("0.26"))
    assert not result.is_identical
    # One order for each of the three bids that four divides; the numbers agree.
    assert [(_qty(d.expected), _qty(d.got)) for d in result.differences] == [("0.25", "0.26")] * 3
    assert result.journal_sha256 != result.logged_sha256


def _qty(line: str | None) -> str:
    assert line is not None
    return line.split('"qty":"')[1].split('"')[0]


class _Silent(Desk):
    @handles(ReplayTop)
    def on_top(self, now: int, top: ReplayTop) -> None:
        pass


class _Eager(Watch):
    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        super().on_up(now, up)
        self.out.send(CancelAll(now, "eager"))


@pytest.mark.parametrize(
    ("actors", "expects", "gets"),
    [
        (lambda: [Feed(), _Silent(Decimal("0.25")), Watch()], '"kind":"SubmitOrder"', None),
        (lambda: [Feed(), Desk(Decimal("0.25")), _Eager()], None, '"account":"eager"'),
    ],
    ids=["one intent missing", "one intent too many"],
)
def test_the_first_difference_is_where_the_actors_differ(
    tmp_path: Path, actors: Callable[[], list[Actor]], expects: str | None, gets: str | None
) -> None:
    record(tmp_path / "log", QUIET)
    result = check(tmp_path / "log", lambda _: Cell(actors))
    first = result.differences[0]
    for text, line in ((expects, first.expected), (gets, first.got)):
        assert text is None or (line is not None and text in line)
    assert result.differences_count >= len(result.differences)
    assert not result.is_identical


def test_differences_are_counted_and_only_so_many_kept(tmp_path: Path) -> None:
    record(tmp_path / "log", [quotes(number * SECOND, 4, 8, 12) for number in range(1, 100)])
    result = check(tmp_path / "log", lambda _: build_cell("0.26"))
    assert len(result.differences) == 100
    assert result.differences_count > 100


def test_a_log_cut_short_replays_as_far_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.log.run_log.FLUSH_BYTES", 600)
    record(tmp_path / "log", TROUBLED, seal=False)
    path = tmp_path / "log" / "market-000000.seg"
    whole = path.read_bytes()
    counts: list[int] = []
    for size in range(len(whole), 200, -7):
        path.write_bytes(whole[:size])
        result: ReplayResult = check(tmp_path / "log", build_cell)
        assert result.is_identical, (size, result.differences)
        counts.append(result.inputs)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
