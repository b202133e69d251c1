"""What has happened at the simulated venues so far: the market's ticks and the clients' commands in one order."""

from collections.abc import Callable, Iterator

from attrs import define, evolve, field, frozen

from daemon.config_schema import Live, RunConfig
from daemon.market import Market, open_market
from daemon.seats import build_seats, markets
from sim.clocks import ClockStatistics, StoredClocks, Tick, TwoClocks
from sim.exchange import ALL, NEVER, Exchange, Seat, StoredExchange
from sim.stored import StoredMessage, StoredStateError, stored
from sim.synthetic import StoredSynthetic
from sim.venue import SimVenue
from sim.venue_stored import StoredVenue
from venues.port import Command, Message

Deliver = Callable[[int, Message, int, bool], None]
"""When, what, to which client (ALL or its number), and whether it is market data."""


@frozen
class StoredEngine:
    """The venues of a session between two steps. `tick` is the market's next one: (ns, whether local, message)."""

    now: int
    steps: int
    tick: tuple[int, bool, StoredMessage] | None
    clocks: StoredClocks
    made: StoredSynthetic | None
    exchange: StoredExchange
    venues: list[StoredVenue]


@define
class VenueEngine:
    """The venues of `config`, on a market that ends `for_ns` after its start (None: with its data, or never).

    Time is given from outside and never goes back. The same ticks and the same commands between the same steps give
    the same deliveries: that is how a killed venue comes back, from its start or from where it was stored. Questions
    and their answers are no steps: they are not written down and change nothing.

    A live market is told by `arrive`, and by nothing else: it cannot be played again, so such venues come back from
    where they were stored, and what happened since is lost.
    """

    config: RunConfig
    for_ns: int | None
    deliver: Deliver
    now: int = field(init=False)
    end_ns: int | None = field(init=False, default=None)
    steps: int = field(init=False, default=0)
    exchange: Exchange = field(init=False)
    _market: Market = field(init=False)
    _clocks: TwoClocks = field(init=False)
    _ticks: Iterator[Tick] = field(init=False)
    _tick: Tick | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        run = evolve(self.config.run, duration_ns=self.for_ns)
        self._market = market = open_market(evolve(self.config, run=run), lambda _: None)
        seats = build_seats(self.config)
        self.now = market.start_ns
        self.end_ns = market.end_ns
        self.exchange = Exchange(
            {account.id: seats[account.venue] for account in self.config.accounts.values()},
            markets(self.config, seats),
        )
        self.exchange.find_deadline()
        self._clocks = TwoClocks(market.arrivals, ClockStatistics())
        self._ticks = iter(self._clocks)
        self._tick = next(self._ticks, None)

    @property
    def is_live(self) -> bool:
        return isinstance(self.config.market, Live)

    @property
    def is_over(self) -> bool:
        """Whether the market has no more to tell."""
        if self.is_live:
            return self.end_ns is not None and self.now >= self.end_ns
        return self._tick is None

    def arrive(self, now: int, message: Message) -> None:
        """Let a message of a live market happen at its venue, and reach the desk at once."""
        self.advance(now)
        self.steps += 1
        self.exchange.on_market(self.now, message)
        self.deliver(self.now, message, ALL, True)

    def lose(self, now: int, venue: str) -> None:
        """Nothing is known any more of the books of a venue whose live feed is down."""
        self.advance(now)
        self.steps += 1
        for spec in self.config.instruments.values():
            if spec.venue == venue:
                self.exchange.lose(self.now, spec.id)

    def next_ns(self) -> int:
        """Return when something happens next, NEVER when nothing will."""
        due = self.exchange.next_ns()
        return due if self._tick is None else min(due, self._tick.ns)

    def lookahead_ns(self) -> int:
        """Return how long any command takes to arrive at the least: nothing sent now matters earlier."""
        return min((seat.entry_ns for seat in self.exchange.seats), default=0)

    def step(self) -> None:
        """Let the one next thing happen.

        What is due at an instant comes after the venue's own market events and before what reaches the desk then.
        """
        tick, due = self._tick, self.exchange.next_ns()
        if tick is not None and (tick.ns < due or (tick.ns == due and not tick.is_local)):
            self.steps += 1
            self.now = max(self.now, tick.ns)
            self._tick = next(self._ticks, None)
            if tick.is_local:
                self.deliver(tick.ns, tick.message, ALL, True)
            else:
                self.exchange.on_market(tick.ns, tick.message)
            return
        if due == NEVER:
            raise RuntimeError("nothing will happen any more")
        self.now = max(self.now, due)
        self.steps += not self.exchange.is_question_next()
        delivered = self.exchange.happen()
        if delivered is not None:
            report, client = delivered
            self.deliver(due, report, client, False)

    def advance(self, until: int) -> None:
        """Let everything happen that is due at or before `until`, and let it be `until`."""
        while self.next_ns() <= until:
            self.step()
        self.now = max(self.now, until)

    def repeat(self, steps: int) -> None:
        """Come to where a former life of these venues was after `steps` steps."""
        while self.steps < steps:
            self.step()

    @property
    def is_storable(self) -> bool:
        """Whether all that the venues are made of can be stored."""
        return all(_simulated(seat).is_storable for seat in self.exchange.seats)

    def store(self) -> StoredEngine:
        """Return what is to be known to go on from here, partly shared: write it down before the next step."""
        tick = self._tick
        return StoredEngine(
            self.now,
            self.steps,
            None if tick is None else (tick.ns, tick.is_local, stored(tick.message)),
            self._clocks.store(),
            None if self._market.made is None else self._market.made.store(),
            self.exchange.store(),
            [_simulated(seat).store() for seat in self.exchange.seats],
        )

    def restore(self, found: StoredEngine) -> None:
        """Go on from there; this engine is fresh and of the same configuration. Raises StoredStateError."""
        seats = self.exchange.seats
        if len(found.venues) != len(seats):
            raise StoredStateError(f"{len(found.venues)} venues were stored, not {len(seats)}")
        for seat, venue in zip(seats, found.venues, strict=True):
            _simulated(seat).restore(venue)
        self.exchange.restore(found.exchange)
        # The first arrivals of a recorded market are read already.
        self._market.go_on(found.clocks.arrivals - self._clocks.statistics.arrivals, found.made)
        self._clocks.restore(found.clocks)
        self._ticks = iter(self._clocks)
        self._tick = None if found.tick is None else Tick(found.tick[0], found.tick[1], found.tick[2].message())
        self.now, self.steps = found.now, found.steps

    def command(self, command: Command, client: int, sent_ns: int | None = None) -> None:
        """Put a command on its way, now or as sent at `sent_ns`, which must not be too long ago (`lookahead_ns`).

        Raises KeyError for an account that is at none of the venues.
        """
        self.exchange.send(self.now if sent_ns is None else sent_ns, command, client)


def _simulated(seat: Seat) -> SimVenue:
    assert isinstance(seat.venue, SimVenue)
    return seat.venue
