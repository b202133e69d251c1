"""A guardian and simulated venues in virtual time: everything between them can be lost, delayed or refused."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from typing import TypeVar

from attrs import define, field

from actors.control import Baselines, DeskBye, DeskHello, GuardState, Heartbeat
from actors.guardian import Guardian
from actors.guardian_messages import Charge, DeskGone, Fence, Fenced, Latched, Targets
from actors.guardian_records import Course, GuardConfig, Remembered
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon.guard.engine import Effect, Engine
from daemon.link.refusals import unsent
from sim.exchange import ALL, NEVER, Exchange, Seat
from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.book_sync import SequenceRule
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.port import (
    BookDelta,
    BookSnapshot,
    Command,
    MarkPrice,
    Message,
    Report,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

D = Decimal
MS = 1_000_000
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
WIRE = 5 * MS

_BRACKETS = (Bracket(D(0), D(10**10), D("0.004"), D(0), 125),)
PERP = Instrument(
    "perp",
    "BTC",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USDT",
    D("0.1"),
    D("0.001"),
    min_qty=D("0.001"),
    max_leverage=125,
    brackets=_BRACKETS,
)
ETH = Instrument(
    "perp", "ETH", InstrumentKind.PERPETUAL, "ETH", "USDT", D("0.1"), D("0.01"), max_leverage=125, brackets=_BRACKETS
)
SPOT = Instrument(
    "spot",
    "BTC",
    InstrumentKind.SPOT,
    "BTC",
    "USDT",
    D("0.01"),
    D("0.00001"),
    min_qty=D("0.00001"),
    min_notional=D(5),
)
SPECS = {spec.id: spec for spec in (SPOT, PERP, ETH)}
PRICE = 10_000

_M = TypeVar("_M", bound=Message)


def accounts(mode: PositionMode = PositionMode.ONE_WAY, btc: str = "0") -> dict[str, Account]:
    """One account at each venue; `btc` was there before the desk."""
    made = [
        Account("fut", "perp", {"USDT": D(10_000_000)}, MarginMode.CROSS, mode, {PERP.id: 50, ETH.id: 50}),
        Account("cash", "spot", {"USDT": D(10_000_000), "BTC": D(btc)}, MarginMode.CASH),
    ]
    return {one.id: one for one in made}


@define
class Rig:
    """`told` is what the desk hears, `sent` what leaves for the venues, both with their times; also effects.

    `loses` decides which reports never arrive, `refuses` which commands are never sent. A `fence` takes `fence_ns`,
    None for ever; `alive` is the desk that beats by itself, None for none.
    """

    config: GuardConfig = field(factory=GuardConfig)
    remembered: Remembered = field(factory=lambda: Remembered(7))
    mode: PositionMode = PositionMode.ONE_WAY
    btc: str = "0"
    told: list[tuple[int, Message]] = field(factory=list)
    sent: list[tuple[int, Command]] = field(factory=list)
    effects: list[tuple[int, Message]] = field(factory=list)
    loses: Callable[[Report], bool] = lambda report: False
    refuses: Callable[[Command], bool] = lambda command: False
    fence_ns: int | None = 2 * MS
    commit_fails: str = ""
    desk: "FakeDesk | None" = None
    now: int = START
    down: set[str] = field(factory=set)
    guardian: Guardian = field(init=False)
    engine: Engine = field(init=False)
    exchange: Exchange = field(init=False)
    venues: dict[str, SimVenue] = field(init=False)
    _planned: list[tuple[int, int, Callable[[], None]]] = field(factory=list)
    _count: int = 0
    _update: int = 0

    def __attrs_post_init__(self) -> None:
        fees = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))
        mine = accounts(self.mode, self.btc)
        rules = {"perp": "binance_usdm", "spot": "binance_spot"}
        self.venues = {
            name: SimVenue(
                name,
                [spec for spec in SPECS.values() if spec.venue == name],
                [one for one in mine.values() if one.venue == name],
                fees,
                rules=rule,
            )
            for name, rule in rules.items()
        }
        seats = {name: Seat(venue, WIRE, WIRE) for name, venue in self.venues.items()}
        self.exchange = Exchange(
            {one.id: seats[one.venue] for one in mine.values()},
            {spec.id: (seats[spec.venue], SequenceRule.FUTURES) for spec in SPECS.values()},
        )
        for spec in SPECS.values():
            self.quote(spec)
            self.exchange.on_market(self.now, MarkPrice(self.now, spec.id, D(PRICE)))
        self.guardian = Guardian(SPECS, accounts(self.mode, self.btc), self.config, self.remembered)
        self.engine = Engine(self.guardian, self)

    # The world

    def quote(self, spec: Instrument, size: str = "1000", price: int = PRICE, levels: int = 3) -> None:
        """Make the book of `spec`: levels 10 bps apart with `size` each."""
        self._update += 2
        touch, lots, apart = spec.ticks(D(price)), spec.lots(D(size)), spec.ticks(D(price)) // 1000
        bids = [(touch - level * apart, lots) for level in range(levels)]
        asks = [(touch + 1 + level * apart, lots) for level in range(levels)]
        number = self._update
        self.exchange.on_market(self.now, BookSnapshot(self.now, spec.id, number, bids, asks))
        self.exchange.on_market(self.now, BookDelta(self.now, spec.id, number + 1, number + 1, number, [], []))

    def hold(self, account: str, spec: Instrument, qty: str, side: PositionSide = PositionSide.BOTH) -> None:
        """Trade `qty` (signed) at the venue, past everybody, as the desk had done before."""
        self._count += 1
        amount = D(qty)
        order = SubmitOrder(
            self.now,
            account,
            spec.id,
            f"desk-{self._count}",
            Side.BUY if amount > 0 else Side.SELL,
            abs(amount),
            OrderType.MARKET,
            tif=TimeInForce.IOC,
            position_side=side,
        )
        self.venues[spec.venue].on_command(self.now, order)
        self.quote(spec)

    def rest(self, account: str, spec: Instrument, qty: str, price: str) -> None:
        """Leave an order of the desk in the book."""
        self._count += 1
        side = Side.BUY if D(qty) > 0 else Side.SELL
        order = SubmitOrder(
            self.now, account, spec.id, f"desk-{self._count}", side, abs(D(qty)), OrderType.LIMIT, D(price)
        )
        self.venues[spec.venue].on_command(self.now, order)

    def position(self, account: str, spec: Instrument, side: PositionSide = PositionSide.BOTH) -> Decimal:
        venue = self.venues[spec.venue].state.accounts[account]
        if spec.is_spot:
            return venue.account.balance(spec.base)
        return venue.qty(spec.id, side)

    def resting(self) -> int:
        return sum(len(list(venue.state.live)) for venue in self.venues.values())

    def at(self, after_ns: int, action: Callable[[], None]) -> None:
        """Let something happen `after_ns` from now."""
        self._count += 1
        heappush(self._planned, (self.now + after_ns, self._count, action))

    def go_down(self, venue: str) -> None:
        self.down.add(venue)
        self.take(VenueDown(self.now, venue, why="reset by peer"))

    def come_up(self, venue: str) -> None:
        self.down.discard(venue)
        self.take(VenueUp(self.now, venue))

    # Time

    def start(self) -> "Rig":
        self.engine.start(self.now)
        return self

    def take(self, message: Message) -> None:
        self.engine.take(self.now, message)

    def run(self, for_ns: int) -> "Rig":
        """Let everything happen that happens within `for_ns`."""
        return self.run_until(lambda: False, for_ns)

    def run_until(self, is_done: Callable[[], bool], for_ns: int = 60 * SECOND) -> "Rig":
        end = self.now + for_ns
        while not is_done():
            timer = self.engine.next_ns()
            planned = self._planned[0][0] if self._planned else NEVER
            due = self.exchange.next_ns()
            self.now = max(self.now, min(planned, due, NEVER if timer is None else timer, end))
            if self.now >= end:
                break
            if planned <= self.now:
                heappop(self._planned)[2]()
            elif due <= self.now:
                self._happen()
            else:
                self.engine.take_due(self.now)
        return self

    def _happen(self) -> None:
        delivered = self.exchange.happen()
        if delivered is None:
            return
        report, client = delivered
        account = getattr(report, "account", None)
        venue = SPECS[report.instrument].venue if isinstance(report, BookSnapshot) else self._venue_of(account)
        if client in (ALL, 1) and venue not in self.down and not self.loses(report):
            self.take(report)

    def _venue_of(self, account: str | None) -> str:
        return {"fut": "perp", "cash": "spot"}.get(account or "", "")

    # The host

    def commit(self, now: int, cause: Message | None, effects: Sequence[Effect]) -> str:
        must = [one for one in effects if isinstance(one, Latched | Charge | Targets | Command)]
        return self.commit_fails if must else ""

    def send(self, commands: Sequence[Command]) -> list[Report]:
        refused = []
        for command in commands:
            self.sent.append((self.now, command))
            if self._venue_of(command.account) in self.down:
                refused.append(unsent(command, self.now, "down"))
            elif not self.refuses(command):
                self.exchange.send(self.now, command)
        return refused

    def tell(self, message: Message) -> None:
        self.effects.append((self.now, message))
        if not isinstance(message, Latched | Charge | Targets):
            self.told.append((self.now, message))
            if self.desk is not None:
                self.desk.hear(message)

    def fence(self, fence: Fence) -> None:
        self.effects.append((self.now, fence))
        if self.desk is not None:
            self.desk.is_hung = True
        if self.fence_ns is not None:
            self.at(self.fence_ns, lambda: self.take(Fenced(self.now, fence.pid, is_dead=True)))

    # What was seen

    def all_sent(self, kind: type[_M]) -> list[_M]:
        return [one for _, one in self.sent if isinstance(one, kind)]

    def all_told(self, kind: type[_M]) -> list[_M]:
        return [one for _, one in self.told if isinstance(one, kind)]

    def all_effects(self, kind: type[_M]) -> list[_M]:
        return [one for _, one in self.effects if isinstance(one, kind)]

    @property
    def state(self) -> GuardState:
        return self.all_told(GuardState)[-1]


@define
class FakeDesk:
    """A desk that beats. Told to flatten it says so, and closes what `closes` does, if it is not hung."""

    rig: Rig
    pid: int = 4242
    level: KillLevel = KillLevel.ARMED
    open_baskets: int = 0
    is_reconciled: bool = True
    is_hung: bool = False
    is_deaf: bool = False
    closes_after_ns: int | None = None
    closes: Callable[[], None] = lambda: None
    number: int = 0

    def join(self) -> "FakeDesk":
        rig = self.rig
        rig.desk = self
        rig.take(DeskHello(rig.now, self.pid, "run-1", "build", "paper"))
        self.beat()
        return self

    def say_baselines(self, btc: str) -> None:
        self.rig.take(Baselines(self.rig.now, "cash", {"BTC": D(btc)}))

    def beat(self) -> None:
        if self.is_hung or self.rig.desk is not self:
            return
        self.say()
        self.rig.at(100 * MS, self.beat)

    def say(self) -> None:
        self.number += 1
        beat = Heartbeat(self.rig.now, self.number, self.level, self.is_reconciled, self.open_baskets)
        self.rig.take(beat)

    def hear(self, message: Message) -> None:
        if self.is_hung or self.is_deaf or not isinstance(message, GuardState) or message.level <= self.level:
            return
        self.level = message.level
        self.rig.at(MS, self.answer)
        if self.closes_after_ns is not None and self.level is KillLevel.FLATTEN:
            self.rig.at(self.closes_after_ns, self.close)

    def answer(self) -> None:
        if not self.is_hung:
            self.say()

    def close(self) -> None:
        if not self.is_hung:
            self.closes()
            self.open_baskets = 0
            self.say()


# What tests say in a word


def rig(level: KillLevel = KillLevel.ARMED, **options: object) -> Rig:
    """A guard that starts at `level` over a flat book and has had the time to prove it."""
    made = Rig(remembered=Remembered(7, level, "operator", "before"), **options)  # type: ignore[arg-type]
    return made.start()


def with_desk(level: KillLevel = KillLevel.ARMED, **options: object) -> Rig:
    made = rig(level, **options)
    made.desk = FakeDesk(made, level=level).join()
    return made.run(50 * MS)


def latched(made: Rig) -> list[tuple[KillLevel, KillLevel, str]]:
    return [(one.before, one.level, one.trigger) for one in made.all_effects(Latched)]


def kill(made: Rig, level: KillLevel) -> None:
    """A person at the guard's own socket pulls."""
    made.take(KillCommand(made.now, "alice", level, "because"))


def arm(made: Rig, operator: str = "alice", reason: str = "all is well") -> None:
    made.take(ArmCommand(made.now, operator, reason))


def no_desk(made: Rig) -> None:
    made.desk = None
    made.take(DeskGone(made.now, "EOF"))


def bye(made: Rig) -> None:
    made.desk = None
    made.take(DeskBye(made.now, "stop"))


def course(made: Rig) -> Course:
    return made.guardian.state.flattening.course


def level_of(made: Rig) -> KillLevel:
    return made.guardian.state.level


def hung(made: Rig) -> None:
    assert made.desk is not None
    made.desk.is_hung = True
    made.run(2 * SECOND)


def flatten(made: Rig) -> Rig:
    kill(made, KillLevel.FLATTEN)
    return made
