"""Three small actors that do all that a log must bear (orders, timers, views, failures, storms), and their runs."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import define, field

from actors.base import Actor, handles
from actors.cell import QUARANTINE_WINDOW_NS, Cell, CellRestarted
from actors.dispatcher import Limits, View
from daemon.log import RunLog
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


def begin(
    folder: Path,
    *,
    size: str = "0.25",
    durable: bool = False,
    snapshot: dict[str, Any] | None = None,
    build: str = "build",
) -> tuple[Cell, RunLog]:
    """Return a cell that has begun, afresh or from a snapshot, and its log."""
    cell = build_cell(size)
    log = RunLog.create(folder, size, "c0ffee", build, START, durable=durable, snapshot=snapshot)
    cell.sink = log
    log.intents(cell.start(START, snapshot))
    log.commit()
    return cell, log


def play(cell: Cell, log: RunLog, steps: Sequence[Step]) -> None:
    """Run the steps as a driver does: due timers and messages in, intents and commit out."""
    for at, messages in steps:
        now = START + at
        cell.offer_due(now)
        for each in messages:
            cell.offer(each)
        log.intents(cell.run(now))
        log.commit()


def record(folder: Path, steps: Sequence[Step], *, size: str = "0.25", seal: bool = True) -> Cell:
    """Run the steps from the beginning, and close the log or leave it as it is."""
    cell, log = begin(folder, size=size)
    play(cell, log, steps)
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
