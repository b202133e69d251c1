"""A whole desk against faulty venues, every invariant of the order path looked at after every input."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
from attrs import define, evolve, field
from faults import FaultyVenue, Script, draw, spoil_feed, spoil_market

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor, handles
from actors.basket import ACTIVE, ENDED
from actors.cell import Cell
from actors.dispatcher import Intent
from actors.feed_handler import FeedHandler
from actors.kill_switch import KillSwitch
from actors.ledger import Ledger
from actors.messages import (
    BasketIntent,
    BasketState,
    BasketUpdate,
    FillEvent,
    Incident,
    KillLevel,
    KillState,
    KillTrigger,
    MarginState,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    PositionMismatch,
    Reconciled,
    RoundTrip,
)
from actors.order_manager import OrderManager
from actors.position_synchronizer import PositionSynchronizer
from actors.risk_gate import RiskGate
from actors.snapshot import to_plain
from daemon.app import build_actors
from daemon.config import load
from daemon.config_schema import RunConfig, Synthetic
from daemon.kinds import KINDS
from daemon.seats import build_seats, markets
from sim.cell_loop import DriverResult
from sim.clocks import ClockStatistics, Tick, two_clocks
from sim.driver import Driver
from sim.exchange import Seat
from sim.synthetic import SECOND_NS, SyntheticMarket
from sim.venue import SimVenue
from venues.model.money import ZERO
from venues.model.order import OrderType, TimeInForce
from venues.port import Message, SubmitOrder

SPOT, PERPETUAL = "spot_venue:BTCUSDT", "perp_venue:BTCUSDT"
START_NS = 1_768_492_770_000_000_000  # 2026-01-15T15:59:30Z: funding is settled half a minute later
CALM_NS = 60 * SECOND_NS
REST_NS = 60 * SECOND_NS

DESK = """
[run]
name = "torture"
seed = {seed}
start = "2026-01-15T15:59:30Z"
duration = "{seconds}s"

[market]
kind = "synthetic"
mid = "60000"
volatility_bps = 6.0
step = "200ms"
{market}

[[market.instruments]]
instrument = "perp_venue:BTCUSDT"
premium_bps = 8.0
premium_volatility_bps = 6.0
lots_per_level = 120
funding_rate = "0.0003"

[[market.instruments]]
instrument = "spot_venue:BTCUSDT"
half_spread_ticks = 5
lots_per_level = 12000

[[venues]]
id = "perp_venue"
rules = "binance_usdm"
fees = {{ maker = "0.0002", taker = "0.0005" }}
latency = {{ entry = "5ms", response = "5ms" }}

[[venues]]
id = "spot_venue"
rules = "binance_spot"
fees = {{ maker = "0.0005", taker = "0.0005" }}
latency = {{ entry = "8ms", response = "7ms" }}

[[instruments]]
venue = "perp_venue"
symbol = "BTCUSDT"
kind = "perpetual"
base = "BTC"
quote = "USDT"
tick_size = "0.10"
lot_size = "0.001"
min_qty = "0.001"
max_qty = "1000"
min_notional = "100"
max_leverage = 125
liquidation_fee = "0.0125"
brackets = [{{ floor = "0", cap = "5000000", mmr = "0.004", cum = "0", max_leverage = 125 }}]

[[instruments]]
venue = "spot_venue"
symbol = "BTCUSDT"
kind = "spot"
base = "BTC"
quote = "USDT"
tick_size = "0.01"
lot_size = "0.00001"
min_qty = "0.00001"
min_notional = "5"

[[accounts]]
id = "futures"
venue = "perp_venue"
balances = {{ USDT = "{futures}" }}
margin_mode = "cross"
leverage = {{ BTCUSDT = 5 }}

[[accounts]]
id = "spot"
venue = "spot_venue"
balances = {{ USDT = "50000", BTC = "0.3" }}
margin_mode = "cash"

[[strategies]]
id = "carry"
kind = "cash_and_carry"

[strategies.params]
spot = "spot_venue:BTCUSDT"
perpetual = "perp_venue:BTCUSDT"
spot_account = "spot"
perpetual_account = "futures"
qty = "0.1"
entry_bps = "-100"
exit_bps = "-100"
max_hold = "{hold}ms"
cooldown = "500ms"
deadline = "10s"
risk_budget = "20000"

[kill_switch]
capital = "{capital}"
consecutive_losses = 1000
"""


class InvariantError(AssertionError):
    """An invariant that does not hold, and when."""


@define
class NoState:
    """An observer has none that counts."""


@define
class Notes:
    """What went through a cell. It outlives rebuilds, so fills are counted once by their ids."""

    fills: dict[str, FillEvent] = field(factory=dict)
    seen: list[Message] = field(factory=list)
    kill: KillLevel = KillLevel.ARMED
    requests: dict[str, KillLevel] = field(factory=dict)
    reconciled: dict[str, int] = field(factory=dict)
    wrong: list[str] = field(factory=list)
    orders: int = 0

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]

    def incidents(self) -> Counter[str]:
        return Counter(one.kind for one in self.of(Incident))


class Watch(Actor):
    """Hears everything that matters after everybody else; judges orders at the moment they are approved."""

    def __init__(self, notes: Notes, cell: Callable[[], Cell]) -> None:
        super().__init__("watch")
        self.state = NoState()
        self.notes = notes
        self.cell = cell

    @handles(
        BasketIntent,
        BasketUpdate,
        Incident,
        KillTrigger,
        MarginState,
        OrderDenied,
        PositionMismatch,
        RoundTrip,
    )
    def on_any(self, now: int, message: Message) -> None:
        self.notes.seen.append(message)

    @handles(KillState)
    def on_kill(self, now: int, state: KillState) -> None:
        self.notes.kill = state.level
        self.notes.seen.append(state)

    @handles(Reconciled)
    def on_reconciled(self, now: int, message: Reconciled) -> None:
        self.notes.reconciled[message.account] = now

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        fill = event.fill
        key = f"{fill.account}|{fill.instrument}|{fill.trade_id}|{fill.side}"
        known = self.notes.fills.setdefault(key, event)
        if known is not event and known != event:
            self.notes.wrong.append(f"I1: fill {key} booked twice: {known} and {event}")

    @handles(OrderRequest)
    def on_request(self, now: int, request: OrderRequest) -> None:
        self.notes.requests[request.request_id] = self.notes.kill

    @handles(OrderApproved)
    def on_approved(self, now: int, message: OrderApproved) -> None:
        """I4 and I10. The kill level when a hedge was asked for decides whether it may open."""
        request, notes = message.request, self.notes
        notes.orders += 1
        actors = self.cell().dispatcher.actors
        basket = actors["atomic_executor"].state.baskets.get(request.basket_id)
        child = basket.children[request.request_id] if basket is not None else None
        opens = basket is None or child is None or (basket.closes is None and not child.is_reduce)
        first = opens and (child is None or child.is_first)
        if first and notes.kill >= KillLevel.REDUCE_ONLY:
            notes.wrong.append(f"I4: {request.request_id} opens at {notes.kill.name}")
        if opens and notes.requests.get(request.request_id, KillLevel.ARMED) >= KillLevel.CANCEL_ALL:
            notes.wrong.append(f"I4: {request.request_id} completes at {notes.kill.name}")
        may_rest = request.type is not OrderType.MARKET and request.tif not in (TimeInForce.IOC, TimeInForce.FOK)
        if may_rest and notes.kill >= KillLevel.CANCEL_ALL:
            notes.wrong.append(f"I4: {request.request_id} may rest at {notes.kill.name}")
        handler = actors["feed_handler"]
        assert isinstance(handler, FeedHandler)
        why = handler.state.feeds[request.instrument].objection(now, handler.config.stale_ns)
        if why:
            notes.wrong.append(f"I10: {request.request_id} on a book that is not good: {why}")
        if actors["risk_gate"].state.unreconciled.get(request.account):
            notes.wrong.append(f"I9: {request.request_id} while {request.account} is read-only")


class Desk:
    """The actors of a cell by role."""

    def __init__(self, cell: Cell) -> None:
        actors = cell.dispatcher.actors
        self.executor = _as(actors["atomic_executor"], AtomicExecutor)
        self.orders = _as(actors["order_manager"], OrderManager)
        self.ledger = _as(actors["ledger"], Ledger)
        self.risk = _as(actors["risk_gate"], RiskGate)
        self.kill = _as(actors["kill_switch"], KillSwitch)
        self.sync = _as(actors["position_synchronizer"], PositionSynchronizer)
        self.strategy = actors["carry"]


def _as(found: object, kind: Any) -> Any:
    assert isinstance(found, kind)
    return found


class CheckedCell(Cell):
    """A cell that is looked at after every run."""

    check: Callable[[int], None] = staticmethod(lambda now: None)

    def run(self, now: int, inputs_max: int | None = None) -> list[Intent]:
        intents = super().run(now, inputs_max)
        self.check(now)
        return intents


@define
class Journal:
    """Where intents go: each client id once (I2), all of them in one hash (I12)."""

    ids: set[str] = field(factory=set)
    wrong: list[str] = field(factory=list)
    digest: Any = field(factory=sha256)
    commands: Counter[str] = field(factory=Counter)

    def intents(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            command = intent.command
            self.commands[type(command).__name__] += 1
            self.digest.update(f"{intent.seq} {command}\n".encode())
            if isinstance(command, SubmitOrder):
                if command.client_order_id in self.ids:
                    self.wrong.append(f"I2: {command.client_order_id} was sent twice")
                self.ids.add(command.client_order_id)

    def commit(self) -> None:
        pass


def config_of(
    folder: Path,
    seed: int,
    *,
    seconds: int = (CALM_NS + REST_NS) // SECOND_NS,
    futures: str = "30000",
    hold_ms: int = 3000,
    capital: str = "10000000",
    market: str = "",
    more: str = "",
) -> RunConfig:
    path = folder / f"torture-{seed}.toml"
    text = DESK.format(seed=seed, seconds=seconds, futures=futures, hold=hold_ms, capital=capital, market=market)
    path.write_text(text + more)
    return load(path, KINDS)


class Torture:
    """One run: a configuration, a script of faults, and every invariant.

    `extra` actors join the cell before the watch. `inputs` are messages for the desk at their own times.
    """

    def __init__(
        self,
        config: RunConfig,
        script: Script | None = None,
        *,
        extra: Callable[[], list[Actor]] = list,
        inputs: Sequence[Message] = (),
        is_armed: bool = False,
        log: Any = None,
        snapshot_every: int = 20_000,
    ) -> None:
        self.config = config
        self.script = script or Script(config.run.seed, START_NS, START_NS)
        self.counts: Counter[str] = Counter()
        self.notes = Notes()
        self.journal = Journal()
        self.inputs = sorted(inputs, key=lambda message: message.ts)
        self.is_armed = is_armed
        self.log = log
        self.deadlines: dict[str, int] = {}
        self.checks = 0
        self._net_ns = START_NS
        self._net = self._spent = ZERO
        self._complained = 0
        seats = build_seats(config)
        self.inner = {name: _as(seat.venue, SimVenue) for name, seat in seats.items()}
        self.seats = {
            name: evolve(seat, venue=FaultyVenue(self.inner[name], self.script, self.counts))
            for name, seat in seats.items()
        }
        self.opening = {a.id: dict(a.balances) for a in config.accounts.values()}
        self.cell = CheckedCell(
            lambda: [*build_actors(config), *extra(), Watch(self.notes, lambda: self.cell)],
            snapshot_every=snapshot_every,
            sink=log,
        )
        self.cell.check = self._check

    @property
    def desk(self) -> Desk:
        return Desk(self.cell)

    def run(self) -> DriverResult:
        config = self.config
        assert isinstance(config.market, Synthetic)
        arrivals = iter(SyntheticMarket(config.market.settings(config.run), dict(config.instruments)))
        ticks: Iterator[Tick] = two_clocks(spoil_market(arrivals, self.script, self.counts), ClockStatistics())
        ticks = spoil_feed(ticks, self.script, self.counts, is_armed=self.is_armed)
        accounts: dict[str, Seat] = {a.id: self.seats[a.venue] for a in config.accounts.values()}
        driver = Driver(self.cell, accounts, markets(config, self.seats), self, stop_grace_ns=40 * SECOND_NS)
        return driver.run(self._with_inputs(ticks), START_NS)

    def intents(self, intents: Sequence[Intent]) -> None:
        self.journal.intents(intents)
        if self.log is not None:
            self.log.intents(intents)

    def commit(self) -> None:
        if self.log is not None:
            self.log.commit()

    def _with_inputs(self, ticks: Iterator[Tick]) -> Iterator[Tick]:
        waiting = list(self.inputs)
        for tick in ticks:
            while waiting and waiting[0].ts <= tick.ns:
                yield Tick(waiting[0].ts, True, waiting.pop(0))
            yield tick

    # After every input

    def fail(self, now: int, text: str) -> None:
        raise InvariantError(f"seed {self.config.run.seed} at +{(now - START_NS) / SECOND_NS:.3f} s: {text}")

    def _check(self, now: int) -> None:
        self.checks += 1
        wrong = self.notes.wrong or self.journal.wrong
        if wrong:
            self.fail(now, wrong[0])
        if self.cell.halt is not None:
            self.fail(now, f"halted: {self.cell.halt}")
        actors = self.cell.dispatcher.actors
        for basket in actors["atomic_executor"].state.baskets.values():
            if basket.state not in ENDED and now > basket.deadline_ns + SECOND_NS // 1000:
                self.fail(now, f"I14: {basket.id} is {basket.state} after its deadline")
            if basket.state in ACTIVE:
                spent = basket.exposure + basket.unhedged * (now - basket.marked_ns)
                if spent > basket.risk_budget * (SECOND_NS + 1_000_000) and not basket.is_over_budget:
                    self.fail(now, f"I7: {basket.id} spent {spent} in silence")
        self._check_net(now)

    def _check_net(self, now: int) -> None:
        """I7 by our own sum over all fills: a net of a lot or more for too long is complained about."""
        self._spent += abs(self._net) * 60_000 * (now - self._net_ns)
        self._net_ns = now
        positions = self.cell.dispatcher.actors["ledger"].state.positions.values()
        net = sum((position.qty for position in positions), ZERO)
        self._net = net if abs(net) >= Decimal("0.002") else ZERO
        if not self._net:
            self._spent, self._complained = ZERO, len(self.notes.seen)
            return
        if self._spent > 60_000 * SECOND_NS:
            for message in self.notes.seen[self._complained :]:
                if isinstance(message, Incident | KillTrigger):
                    return
            self.fail(now, f"I7: a net of {net} BTC for {self._spent / SECOND_NS} quote seconds, and nobody said so")

    # At the end

    def check_end(self) -> None:
        """Everything that must hold once faults are long over and everything was delivered."""
        now = self.cell.dispatcher.now
        if self.cell.quarantined:
            self.fail(now, f"a handler raised: {self.cell.quarantined}")
        self._check_books(now)
        self._check_rest(now)
        self._check_baskets(now)

    def _check_books(self, now: int) -> None:
        """I1 and I6: our positions, the fills, the venue; our wallets and the venue's, to the last digit."""
        sums: dict[str, Decimal] = {}
        for event in self.notes.fills.values():
            fill = event.fill
            sums[fill.instrument] = sums.get(fill.instrument, ZERO) + fill.side.sign * fill.qty
        ours = {position.instrument: position.qty for position in self.desk.ledger.state.positions.values()}
        theirs: dict[str, Decimal] = {}
        for venue in self.inner.values():
            for account in venue.state.accounts.values():
                for held in account.open_holdings():
                    theirs[held.position.instrument] = held.qty
                wallet = {asset: amount for asset, amount in account.account.balances.items() if amount}
                booked = {
                    asset: amount for asset, amount in self.desk.ledger.state.wallets[account.id].items() if amount
                }
                if wallet != booked:
                    self.fail(now, f"I6: {account.id} has {wallet}, the ledger says {booked}")
        coins = self.inner["spot_venue"].state.accounts["spot"].account.balance("BTC")
        theirs[SPOT] = coins - self.opening["spot"]["BTC"]
        for name in (SPOT, PERPETUAL):
            if not sums.get(name, ZERO) == ours.get(name, ZERO) == theirs.get(name, ZERO):
                self.fail(now, f"I1: {name}: fills {sums.get(name)}, ours {ours.get(name)}, theirs {theirs.get(name)}")

    def _check_rest(self, now: int) -> None:
        """I9 and I11: nothing unknown, nothing open, nothing asked, nothing read-only."""
        orders = self.desk.orders.state
        for tracked in orders.orders.values():
            if not tracked.is_final:
                self.fail(now, f"I9: order {tracked.order.client_order_id} is {tracked.order.status}")
        if orders.inquiries or orders.queries or orders.watched:
            self.fail(now, f"I9: still asking: {orders.inquiries} {orders.queries} {orders.watched}")
        if self.desk.risk.state.unreconciled:
            self.fail(now, f"I14: read-only: {self.desk.risk.state.unreconciled}")
        if self.desk.risk.state.orders:
            self.fail(now, f"I5: the gate still counts {self.desk.risk.state.orders}")
        if self.desk.kill.state.live or self.desk.kill.state.unsure:
            self.fail(now, f"I11: the kill switch still waits: {self.desk.kill.state.live}")
        for account in self.config.accounts:
            if now - self.notes.reconciled.get(account, 0) > 35 * SECOND_NS:
                self.fail(now, f"I9: {account} was reconciled last at {self.notes.reconciled.get(account)}")
        executor = self.desk.executor.state
        if executor.depth_refs:
            self.fail(now, f"I11: depth awaited: {executor.depth_refs}")
        margin = self.cell.dispatcher.actors["margin_monitor"].state
        feeds = self.cell.dispatcher.actors["feed_handler"].state
        if margin.reserved or margin.orders or feeds.reservations:
            self.fail(now, f"I11: reserved for ever: {margin.reserved} {margin.orders} {feeds.reservations}")
        reserved = [name for name, one in self.desk.risk.state.baskets.items() if one.is_reserved or one.is_active]
        if reserved:
            self.fail(now, f"I5: the gate still reserves {reserved}")

    def _check_baskets(self, now: int) -> None:
        told = {one.basket_id for one in self.notes.of(Incident)}
        executor = self.desk.executor.state
        for basket in executor.baskets.values():
            if basket.state not in ENDED:
                self.fail(now, f"I14: {basket.id} is {basket.state}")
            related = {basket.id, *(one.id for one in executor.baskets.values() if one.closes == basket.id)}
            if basket.state is BasketState.BROKEN and not related & told:
                self.fail(now, f"I7: {basket.id} is broken without an incident")

    def check_alive(self) -> None:
        """I14: after the faults and the last arming, the desk trades again (or the book is flat and it may)."""
        since = self.script.calm_ns + 10 * SECOND_NS
        states = [one.state for one in self.notes.of(BasketUpdate) if one.ts >= since]
        if BasketState.BALANCED not in states:
            self.fail(
                since, f"I14: nothing was traded after the faults; kill level {self.notes.kill.name}, {states[-5:]}"
            )

    def fingerprint(self) -> str:
        return str(self.journal.digest.hexdigest())


def sizes_of(actors: Mapping[str, Actor]) -> dict[str, int]:
    """Return how many entries each collection in the actors' states holds, by its path."""
    found: dict[str, int] = {}
    for name, actor in actors.items():
        if attrs.has(type(actor.state)):
            _measure(name, to_plain(actor.state), found)
    return found


def _measure(path: str, plain: Any, found: dict[str, int]) -> None:
    if isinstance(plain, dict | list):
        found[path] = max(found.get(path, 0), len(plain))
    if isinstance(plain, dict):
        for key, value in plain.items():
            # Entries of one table are measured under one name.
            _measure(f"{path}.{key}" if key.isidentifier() else f"{path}.*", value, found)
    elif isinstance(plain, list):
        for value in plain:
            _measure(f"{path}.*", value, found)


def torture(folder: Path, seed: int) -> Torture:
    """Run one seed to its end and check everything. Raises InvariantError."""
    config = config_of(folder, seed, futures="2400" if seed % 3 == 0 else "30000")
    script = draw(seed, START_NS, START_NS + CALM_NS, ("perp_venue", "spot_venue"), list(config.instruments.values()))
    run = Torture(config, script, is_armed=True)
    run.run()
    run.check_end()
    run.check_alive()
    return run
