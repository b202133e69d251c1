"""What every virtual-time loop does with its cell: let it hear and decide, write its intents down, send them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field

from actors.cell import Halt
from actors.dispatcher import Intent
from actors.messages import StopCommand
from sim.exchange import NEVER, Exchange
from venues.port import Message, OrderFilled, VenueUp


class IntentLog(Protocol):
    """Where intents are written down before they are sent."""

    def intents(self, intents: Sequence[Intent]) -> None: ...
    def commit(self) -> None: ...


class Driven(Protocol):
    """What is driven: a cell, or what stands between one and the world."""

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


@define(eq=False)
class CellLoop:
    """One cell on the timeline of `exchange`. `timer_ns` is when the cell's next timer is due."""

    cell: Driven
    exchange: Exchange
    log: IntentLog
    result: DriverResult
    timer_ns: int = field(init=False, default=NEVER)

    def begin(self, now: int) -> None:
        """Start the cell and tell it that all venues are up."""
        self.result.start_ns = now
        self._send(now, self.cell.start(now))
        self.hear(now, [VenueUp(now, seat.venue.name) for seat in self.exchange.seats])

    def hear(self, now: int, messages: Sequence[Message]) -> None:
        """Give the cell what has arrived and send what it decides; it hears nothing any more once it has halted."""
        cell = self.cell
        for message in messages:
            cell.offer(message)
        intents = cell.run(now)
        if intents:
            self._send(now, intents)
        timer_ns = cell.next_timer()
        self.timer_ns = NEVER if timer_ns is None else timer_ns

    def advance(self, until: int, before_venues: Callable[[], None] | None = None) -> bool:
        """Let everything happen that is due at or before `until`, in order of time: messages on their way, timers.

        Returns whether anything changed at a venue; `before_venues` is called once before the first that happens there.
        """
        exchange, is_seen, has_changed = self.exchange, False, False
        while self.cell.halt is None:
            venue_ns, timer_ns = exchange.next_ns(), self.timer_ns
            if venue_ns <= timer_ns:
                if venue_ns > until:
                    break
                arrived = exchange.take_report()
                if arrived is not None:
                    report, _ = arrived
                    self.result.fills += isinstance(report, OrderFilled)
                    self.hear(venue_ns, (report,))
                    continue
                if not is_seen:
                    is_seen = True
                    if before_venues is not None:
                        before_venues()
                has_changed |= not exchange.is_question_next()
                exchange.happen()
            elif timer_ns > until:
                break
            else:
                self.cell.offer_due(timer_ns)
                self.hear(timer_ns, ())
        return has_changed

    def stop(self, now: int) -> None:
        """Tell the cell that the market is over."""
        self.hear(now, (StopCommand(now, "end of the market"),))

    def end(self, now: int) -> DriverResult:
        """Return what the run was; a cell that halted leaves no order behind."""
        self.result.end_ns = now
        self.result.halt = self.cell.halt
        if self.cell.halt is not None:
            self.exchange.cancel_all(now)
        return self.result

    def _send(self, now: int, intents: Sequence[Intent]) -> None:
        if not intents:
            return
        self.log.intents(intents)
        self.log.commit()
        self.result.intents += len(intents)
        for intent in intents:
            self.exchange.send(now, intent.command)
