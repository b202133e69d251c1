"""The virtual-time loop: market, venues and cell on one timeline, every event at its own instant."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import define, field

from actors.cell import Halt
from actors.dispatcher import Intent
from actors.messages import StopCommand
from sim.clocks import Tick
from sim.exchange import NEVER, Exchange, Seat
from venues.model.book_sync import SequenceRule
from venues.model.money import desk_arithmetic
from venues.port import Message, OrderFilled, VenueUp


class IntentLog(Protocol):
    """Where intents are written down before they are sent."""

    def intents(self, intents: Sequence[Intent]) -> None: ...
    def commit(self) -> None: ...


class Driven(Protocol):
    """What a driver drives: a cell, or what stands between one and the world."""

    @property
    def halt(self) -> Halt | None: ...
    def start(self, now: int) -> list[Intent]: ...
    def offer(self, message: Message) -> None: ...
    def offer_due(self, now: int) -> None: ...
    def next_timer(self) -> int | None: ...
    def run(self, now: int) -> list[Intent]: ...


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
class Driver:
    """Runs a cell against venues over the ticks of a market.

    `accounts` and `markets` are those of sim.exchange. `stop_grace_ns` is how long after the last tick orders may
    still settle. `progress` is called with the virtual time now and then.
    """

    cell: Driven
    accounts: Mapping[str, Seat]
    markets: Mapping[str, tuple[Seat, SequenceRule]]
    log: IntentLog
    stop_grace_ns: int = 2_000_000_000
    progress: Callable[[int], None] | None = None
    result: DriverResult = field(factory=DriverResult)
    _exchange: Exchange = field(init=False)
    # When the cell's next timer is due; kept by whoever may have moved it.
    _timer_ns: int = field(init=False, default=NEVER)

    def __attrs_post_init__(self) -> None:
        self._exchange = Exchange(self.accounts, self.markets)

    @desk_arithmetic()
    def run(self, ticks: Iterable[Tick], start_ns: int) -> DriverResult:
        """Play all ticks, then stop the cell and let what is under way settle.

        `start_ns` is the cell's first instant, at or before the first tick.
        """
        now = self.result.start_ns = start_ns
        self._send(now, self.cell.start(now))
        for seat in self._exchange.seats:
            self.cell.offer(VenueUp(now, seat.venue.name))
        self._run_cell(now)
        self._exchange.find_deadline()
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
                self._exchange.on_market(now, tick.message)
            if number & 0xFFF == 0xFFF:
                self.log.commit()
                if self.progress is not None:
                    self.progress(now)
        if self.cell.halt is None:
            self._advance(now)
            self.cell.offer(StopCommand(now, "end of the market"))
            self._run_cell(now)
            self._advance(now + self.stop_grace_ns)
        self.result.end_ns = now
        self.result.halt = self.cell.halt
        if self.cell.halt is not None:
            self._exchange.cancel_all(now)
        return self.result

    def _advance(self, until: int) -> None:
        """Let everything happen that is due at or before `until`, in order of time."""
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
