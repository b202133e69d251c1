"""What the desk does with what its venues send: the market's clock, its steps, its end."""

from collections.abc import Sequence

import trio
from attrs import define, field

from actors.messages import StopCommand
from daemon.link.client import VenueLink
from daemon.link.frames import MarketEnded, Step, StepDone, VenueWelcome
from daemon.live.clock import MarketClock
from daemon.live.driver import LiveCell
from daemon.metrics.edges import EdgeStats
from venues.port import Lane, Message, OrderFilled


@define
class DeskVenues:
    """The desk's end of the venue link. What comes before the cell has begun waits for it.

    `seen_ns` is the latest time the desk's journal knows: the market must not run behind it.
    """

    clock: MarketClock
    edges: EdgeStats
    seen_ns: int
    welcome: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    market_events: int = 0
    fills: int = 0
    _live: LiveCell | None = None
    _link: VenueLink | None = None
    _waiting: list[Message] = field(factory=list)
    _number: int = 0
    _is_stepping: bool = False
    _is_released: bool = False

    def attach(self, live: LiveCell, link: VenueLink) -> None:
        """Let the cell take what waits; in granted time the market waits for `release` all the same."""
        self._live, self._link = live, link
        live.after_pump.append(self._after_pump)
        waiting, self._waiting = self._waiting, []
        self.arrived(waiting)

    def release(self) -> None:
        """In granted time: the desk is ready for its first step."""
        self._is_released = True
        self._done()

    # The link's owner

    def latest_ns(self) -> int:
        live = self._live
        return max(self.seen_ns, live.cell.dispatcher.now if live is not None else 0)

    def welcomed(self, welcome: VenueWelcome) -> None:
        self.clock.set(welcome.ts, welcome.anchor_ns, welcome.numerator, welcome.denominator)
        self._number = 0
        self.welcome.set()

    def arrived(self, messages: Sequence[Message]) -> None:
        live = self._live
        if live is None:
            self._waiting += messages
            return
        for message in messages:
            if isinstance(message, Step):
                self._step(live, message)
            elif isinstance(message, MarketEnded):
                live.offer(StopCommand(message.ts, "end of the market"))
                self.ended.set()
            else:
                self._count(message)
                live.offer(message)
        if not self.clock.is_granted:
            live.pump()
        elif not live.cell.dispatcher.is_idle:
            # Not of a step: the link says that venues came or went.
            live.pump_at(self.clock.now(), is_timer_due=False)
            self._done()

    def _step(self, live: LiveCell, step: Step) -> None:
        """Take one step of granted time: a report that arrived just then, or else the timers that are due."""
        self.clock.grant(step.ts)
        self._number, self._is_stepping = step.number, True
        live.pump_at(step.ts, is_timer_due=live.cell.dispatcher.is_idle)
        self._is_stepping = False
        self._done()

    def _count(self, message: Message) -> None:
        if message.lane is Lane.FEED:
            self.market_events += 1
            instrument: str = message.instrument  # type: ignore[attr-defined]
            self.edges.note_frame(instrument, self.clock.now())
        elif isinstance(message, OrderFilled):
            self.fills += 1

    def _after_pump(self) -> None:
        # A pump between two steps may have set another timer, or sent something.
        if self.clock.is_granted and not self._is_stepping:
            self._done()

    def _done(self) -> None:
        live, link = self._live, self._link
        if self.clock.is_granted and self._is_released and live is not None and link is not None:
            link.tell(StepDone(self.clock.now(), self._number, live.cell.next_timer()))
