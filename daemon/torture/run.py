"""One run: a desk, a script of faults, and every invariant looked at after every event."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor
from actors.basket_plan import ExecutorConfig
from actors.cell import Cell
from actors.dispatcher import Intent
from actors.messages import BasketState, BasketUpdate, FillEvent, OrderUpdate
from actors.risk_config import RiskConfig
from daemon.app import build_actors
from daemon.config_schema import RunConfig
from daemon.seats import build_seats, markets
from daemon.torture.baskets import BasketChecks
from daemon.torture.desk import DeskSettings, company, desk_config, instrument_names, market_settings
from daemon.torture.feed import SpoiltFeed
from daemon.torture.host import Host
from daemon.torture.invariants import Invariants
from daemon.torture.limits import LimitsCount
from daemon.torture.market import Market
from daemon.torture.rogue import MISDEEDS
from daemon.torture.script import SECOND_NS, START_NS, Script, Tally
from daemon.torture.truth import Truth
from daemon.torture.watch import Deaf, Notes, Watch
from daemon.torture.wire import FaultyVenue
from sim.cell_loop import DriverResult
from sim.clocks import ClockStatistics, Tick, two_clocks
from sim.driver import Driver
from sim.exchange import Seat
from sim.venue import SimVenue
from venues.port import Message

_GRACE_NS = 40 * SECOND_NS


@frozen
class Outcome:
    """What a run came to. `invariant` and `error` say which one broke and how, both empty when everything held.

    `ended_ns` is when a run ended that did not come to its end.
    """

    seed: int
    invariant: str
    error: str
    faults: Mapping[str, int]
    baskets: Mapping[str, int]
    incidents: Mapping[str, int]
    triggers: Mapping[str, int]
    reasons: Mapping[str, int]
    orders: int
    checks: int
    deaths: int
    silent_quote_seconds: str
    max_unhedged: str
    longest_unhedged_ns: int
    trace: str
    ended_ns: int | None = None


def _faulty(seat: Seat) -> FaultyVenue:
    assert isinstance(seat.venue, FaultyVenue)
    return seat.venue


class _NoLog:
    """The driver's log: the host keeps its own."""

    def intents(self, intents: Sequence[Intent]) -> None:
        """Written already."""

    def commit(self) -> None:
        """Done already."""


class Torture:
    """A desk of `settings` under `script`; its logs go below `folder`.

    `extra` actors join the cell before the watch, `replayed` stand in their place when a log is played again.
    `inputs` are messages for the desk at their own times. `is_armed`: somebody arms the desk every few seconds.
    `has_company`: the quoter and the rogue are there. `keeps_all`: every message is kept for a test to look at.
    `venue` and `invariants` are what a drill puts in the place of the usual ones.
    """

    def __init__(
        self,
        folder: Path,
        settings: DeskSettings,
        script: Script,
        *,
        extra: Callable[[], list[Actor]] = list,
        replayed: Callable[[], list[Actor]] | None = None,
        inputs: Sequence[Message] = (),
        is_armed: bool = False,
        has_company: bool = True,
        keeps_all: bool = False,
        mark_interval_ns: int = SECOND_NS,
        funding_ns: int = 300 * SECOND_NS,
        venue: Callable[[SimVenue, Script, int, Tally], FaultyVenue] = FaultyVenue,
        invariants: type[Invariants] = Invariants,
        snapshot_every: int = 20_000,
    ) -> None:
        self.settings = settings
        self.script = script
        self.config: RunConfig = desk_config(folder, settings)
        self.counts = Tally()
        self.notes = Notes(self.config.instruments, keeps_all=keeps_all)
        self.limits = LimitsCount(self.config.instruments, self.config.section("risk", RiskConfig))
        self.inputs = list(inputs)
        self.is_armed = is_armed
        self.traded_ns = 0
        self.result = DriverResult()
        self._mark_interval_ns = mark_interval_ns
        self._funding_ns = funding_ns
        seats = build_seats(self.config)
        self.inner: dict[str, SimVenue] = {}
        self.seats = {}
        for name, seat in seats.items():
            inner = seat.venue
            assert isinstance(inner, SimVenue)
            self.inner[name] = inner
            self.seats[name] = evolve(seat, venue=venue(inner, script, START_NS, self.counts))
        faulty = {name: _faulty(seat) for name, seat in self.seats.items()}
        self.truth = Truth(faulty, self.config.instruments)
        self.baskets = BasketChecks(
            self.config.instruments,
            self.config.section("executor", ExecutorConfig),
            lambda: self.cell.dispatcher.actors["atomic_executor"],
            self.notes.wrong,
        )
        self.notes.listeners.append(self.baskets.take)
        self.notes.listeners.append(self._compare_with_truth)
        self.invariants = invariants(
            self.config, self.notes, self.baskets, self.inner, instrument_names(settings.bases)
        )

        def others() -> list[Actor]:
            mates = company(self.config.instruments, settings.bases[0]) if has_company else []
            return [*build_actors(self.config), *mates]

        self.host = Host(
            self.config,
            script,
            START_NS,
            folder / "log",
            self.counts,
            self,
            lambda: [*others(), *extra(), Watch(self.notes, self.limits, self.baskets, lambda: self.host.cell)],
            lambda: [*others(), *(replayed or extra)(), Deaf()],
            snapshot_every=snapshot_every,
        )

    @property
    def cell(self) -> Cell:
        return self.host.cell

    # The run

    def run(self) -> DriverResult:
        """Play everything. Raises InvariantError."""
        config = self.config
        market = market_settings(self.settings, mark_interval_ns=self._mark_interval_ns, funding_ns=self._funding_ns)
        arrivals = iter(Market(market, dict(config.instruments), self.script, self.counts))
        ticks: Iterator[Tick] = iter(
            SpoiltFeed(
                two_clocks(arrivals, ClockStatistics()),
                self.script,
                START_NS,
                self.counts,
                is_armed=self.is_armed,
                inputs=self.inputs,
                misdeeds=MISDEEDS,
            )
        )
        accounts: dict[str, Seat] = {a.id: self.seats[a.venue] for a in config.accounts.values()}
        driver = Driver(self.host, accounts, markets(config, self.seats), _NoLog(), stop_grace_ns=_GRACE_NS)
        self.result = driver.run(ticks, START_NS)
        return self.result

    def check_end(self, *, is_alive: bool = False) -> None:
        """Check what must hold once everything is over, the log included. Raises InvariantError."""
        self.invariants.check_end(self.cell)
        if is_alive:
            calm = START_NS + self.script.calm_ns + 10 * SECOND_NS
            self.invariants.check_alive(self.cell.dispatcher.now, self.traded_ns, calm, self.cell)
        memory, snapshot = self.host.close()
        self.invariants.recovered(self.cell.dispatcher.now, self.cell, memory, snapshot)

    def fingerprint(self) -> str:
        """Return the hash of everything that was sent, and when."""
        return str(self.invariants.wire.digest.hexdigest())

    def outcome(self, invariant: str, error: str) -> Outcome:
        """Return what came of the run."""
        executor = self.cell.dispatcher.actors["atomic_executor"]
        assert isinstance(executor, AtomicExecutor)
        kill = self.cell.dispatcher.actors["kill_switch"]
        now = self.cell.dispatcher.now
        notes = self.notes
        return Outcome(
            self.settings.seed,
            invariant,
            error,
            {str(kind): count for kind, count in self.counts.items()},
            {str(state): count for state, count in notes.ended.items()},
            dict(notes.kinds),
            {**notes.triggers, **{f"kill/{name}": count for name, count in kill.state.triggers.items()}},
            dict(notes.reasons),
            notes.orders,
            self.invariants.checks,
            self.invariants.deaths,
            str(self.invariants.silent_quote_seconds),
            str(self.invariants.max_unhedged),
            max(self.invariants.longest_unhedged_ns, executor.longest_unhedged_ns(now)),
            self.fingerprint(),
            self.invariants.now if self.result.end_ns == 0 else None,
        )

    def _compare_with_truth(self, message: Message) -> None:
        if isinstance(message, FillEvent):
            why = self.truth.objection_to_fill(message)
        elif isinstance(message, OrderUpdate) and message.is_final:
            why = self.truth.objection_to_end(message)
        else:
            return
        if why:
            self.notes.wrong.append(why)

    # What the host tells

    def born(self, cell: Cell) -> None:
        watch = cell.dispatcher.actors["watch"]
        assert isinstance(watch, Watch)
        watch.wake()

    def before_wire(self, now: int, intents: Sequence[Intent]) -> None:
        self.invariants.before_wire(now, intents)

    def committed(self, now: int) -> None:
        for message in self.notes.staged:
            if isinstance(message, BasketUpdate) and message.state is BasketState.BALANCED:
                self.traded_ns = now
        self.notes.commit()

    def died(self, now: int) -> None:
        self.invariants.died()

    def recovered(self, now: int, cell: Cell, memory: bytes | None, snapshot: bytes) -> None:
        self.invariants.recovered(now, cell, memory, snapshot)
        self.limits.recover(cell, self.notes.sums)

    def event(self, now: int) -> None:
        if self.host.is_up:
            self.invariants.look(now, self.host.cell)
