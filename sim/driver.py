"""The virtual-time loop: market, venues and cell on one timeline, every event at its own instant."""

from collections.abc import Callable, Iterable, Mapping

from attrs import define, field

from sim.cell_loop import CellLoop, Driven, DriverResult, IntentLog
from sim.clocks import Tick
from sim.exchange import Exchange, Seat
from venues.model.book_sync import SequenceRule
from venues.model.money import desk_arithmetic


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
    _loop: CellLoop = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = CellLoop(self.cell, Exchange(self.accounts, self.markets), self.log, self.result)

    @desk_arithmetic()
    def run(self, ticks: Iterable[Tick], start_ns: int) -> DriverResult:
        """Play all ticks, then stop the cell and let what is under way settle.

        `start_ns` is the cell's first instant, at or before the first tick.
        """
        now, loop, exchange = start_ns, self._loop, self._loop.exchange
        loop.begin(now)
        exchange.find_deadline()
        for number, tick in enumerate(ticks):
            if self.cell.halt is not None:
                break
            now, is_local = tick.ns, tick.is_local
            # What is due at this very instant comes after the venue's market events and before the desk's.
            loop.advance(now if is_local else now - 1)
            if is_local:
                self.result.market_events += 1
                loop.hear(now, (tick.message,))
            else:
                exchange.on_market(now, tick.message)
            if number & 0xFFF == 0xFFF:
                self.log.commit()
                if self.progress is not None:
                    self.progress(now)
        if self.cell.halt is None:
            loop.advance(now)
            loop.stop(now)
            loop.advance(now + self.stop_grace_ns)
        return loop.end(now)
