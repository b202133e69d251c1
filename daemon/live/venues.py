"""What the desk does with what its venues send: the market's clock, its steps, its end."""

from collections.abc import Sequence

import trio
from attrs import define, field

from actors.messages import StopCommand
from daemon.link.client import VenueLink
from daemon.link.frames import MarketEnded, Step, StepDone, VenueWelcome
from daemon.live.api_times import ApiTimes
from daemon.live.clock import MarketClock
from daemon.live.clock_watch import WINDOW_NS, ClockWatch
from daemon.live.driver import LiveCell
from daemon.metrics.edges import EdgeStats
from venues.port import Lane, Message, OrderFilled, VenueDown, VenueUp


@define
class DeskVenues:
    """The desk's end of the venue link. What comes before the cell has begun waits for it.

    `seen_ns` is the latest time the desk's journal knows: the market must not run behind it.
    """

    clock: MarketClock
    edges: EdgeStats
    times: ApiTimes
    seen_ns: int
    watch: ClockWatch
    welcome: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    market_events: int = 0
    fills: int = 0
    _live: LiveCell | None = None
    _link: VenueLink | None = None
    _waiting: list[Message] = field(factory=list)
    _held: list[Message] = field(factory=list)
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
        self.watch.window_ns = WINDOW_NS * welcome.numerator // welcome.denominator
        for venue in welcome.venues if self.welcome.is_set() else ():
            self.edges.note_reconnect(venue)
        self._number = 0
        self._held.clear()
        self.welcome.set()

    def arrived(self, messages: Sequence[Message]) -> None:
        live = self._live
        if live is None:
            self._waiting += messages
        elif self.clock.is_granted:
            self._take_granted(live, messages)
        else:
            for message in messages:
                live.offer(self._heard(message))
            live.pump()

    def _heard(self, message: Message) -> Message:
        """Count a message; the market's end becomes the stop that follows from it."""
        if isinstance(message, MarketEnded):
            self.ended.set()
            return StopCommand(message.ts, "end of the market")
        self._count(message)
        return message

    def _take_granted(self, live: LiveCell, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, Step):
                self._step(live, message)
            elif isinstance(message, VenueUp | VenueDown):
                # Said by the link, between two steps.
                live.offer(message)
                live.pump_at(self.clock.now(), is_timer_due=False)
            else:
                self._held.append(self._heard(message))

    def _step(self, live: LiveCell, step: Step) -> None:
        """Take one step of granted time: the timers before it, then what arrived just then."""
        self._is_stepping = True
        while (timer_ns := live.cell.next_timer()) is not None and not live.why_failed:
            if timer_ns > step.ts or (timer_ns == step.ts and self._held and not step.is_market):
                break
            self.clock.grant(timer_ns)
            live.pump_at(timer_ns, is_timer_due=True)
        self.clock.grant(step.ts)
        live.offer(*self._held)
        self._held.clear()
        live.pump_at(step.ts, is_timer_due=False)
        self._number, self._is_stepping = step.number, False
        if step.is_last:
            self._done()

    def _count(self, message: Message) -> None:
        if message.lane is Lane.FEED:
            self.market_events += 1
            instrument: str = message.instrument  # type: ignore[attr-defined]
            now = self.clock.now()
            self.edges.note_frame(instrument, now)
            # Granted time is the venue's own.
            if not self.clock.is_granted and (offset_ns := self.watch.note(instrument, message.ts, now)) is not None:
                self._offset(now, instrument.partition(":")[0], self.clock.wall_ns(offset_ns))
        else:
            self.times.heard(message)
            self.fills += isinstance(message, OrderFilled)

    def _offset(self, now: int, venue: str, offset_ns: int) -> None:
        self.edges.note_clock_offset(venue, offset_ns)
        news = self.watch.judge(now, venue, offset_ns)
        if news is not None and self._live is not None:
            self._live.offer(news)

    def _after_pump(self) -> None:
        # A pump between two steps may have set another timer, or sent something.
        if self.clock.is_granted and not self._is_stepping:
            self._done()

    def _done(self) -> None:
        live, link = self._live, self._link
        if self.clock.is_granted and self._is_released and live is not None and link is not None:
            link.tell(StepDone(self.clock.now(), self._number, live.cell.next_timer()))
