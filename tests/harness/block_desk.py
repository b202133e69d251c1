"""One market and one list of commands, played message by message and as rows: what venue and desk have in the end."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from random import Random
from typing import Any

from attrs import define, evolve, field

from actors.base import Actor, handles
from actors.cell import Cell
from sim.block_driver import BlockDriver
from sim.clocks import Arrival, ClockStatistics, two_clocks
from sim.core import Core
from sim.driver import Driver
from sim.exchange import Seat
from sim.queue_models import make_queue_model
from sim.row_builder import RowBuilder
from sim.rows import LOCAL, VENUE, Rows
from sim.synthetic import SyntheticInstrument, SyntheticMarket, SyntheticSettings
from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.book_sync import SequenceRule
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    MESSAGES,
    ArmDeadMan,
    BookDelta,
    BookSnapshot,
    CancelAll,
    CancelOrder,
    Command,
    FeedGap,
    FundingRate,
    InstrumentStatus,
    MarkPrice,
    ModifyOrder,
    OpenInterest,
    OrderFilled,
    OrderRejected,
    Query,
    QueryFailed,
    Quote,
    Report,
    SetLeverage,
    SubmitOrder,
    Trade,
)

D = Decimal
START = 1_768_492_740_000_000_000  # 2026-01-15T15:59:00Z: a minute before funding
SECOND = 1_000_000_000
ENTRY, RESPONSE = 3_000_000, 4_000_000
MARKET = (
    *(BookDelta, BookSnapshot, FeedGap, FundingRate, InstrumentStatus, MarkPrice, OpenInterest, QueryFailed, Quote),
    Trade,
)


def perpetual(symbol: str) -> Instrument:
    return Instrument(
        "v", symbol, InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), max_leverage=125,
        liquidation_fee=D("0.0125"), brackets=(Bracket(D(0), D("1e12"), D("0.004"), D(0), 125),),
    )  # fmt: skip


PERP, OTHER, IDLE = perpetual("PERP"), perpetual("OTHER"), perpetual("IDLE")


@define
class Heard:
    """What a desk heard and when: of the market, and of its orders and money."""

    market: list[tuple[int, Any]] = field(factory=list)
    own: list[tuple[int, Any]] = field(factory=list)


def _textless(report: Any) -> Any:
    is_refusal = isinstance(report, OrderRejected)
    return evolve(report, text="") if is_refusal else report


class Script(Actor):
    """Sends each command of `plan` at its instant, whatever happens, and notes what it hears."""

    sends = (SubmitOrder, ModifyOrder, CancelOrder, CancelAll, ArmDeadMan, SetLeverage, Query)

    def __init__(self, plan: Sequence[Command]) -> None:
        super().__init__("script")
        self.plan = plan
        self.state = Heard()

    def start(self, now: int) -> None:
        for number, command in enumerate(self.plan):
            self.out.timer(f"{number:06}", command.ts)

    def on_timer(self, now: int, key: str) -> None:
        self.out.send(self.plan[int(key)])

    @handles(*(kind for kind in MESSAGES.values() if issubclass(kind, Report)))
    def on_report(self, now: int, report: Report) -> None:
        heard = self.state.market if isinstance(report, MARKET) else self.state.own
        heard.append((now, report))


class Intents:
    """A log that keeps the commands in the order they were sent."""

    def __init__(self) -> None:
        self.sent: list[Command] = []

    def intents(self, intents: Sequence[Any]) -> None:
        self.sent += [intent.command for intent in intents]

    def commit(self) -> None:
        pass


@define
class Played:
    """The end of a run. `balances` are the venue's, `fills` in the order they happened."""

    fills: list[OrderFilled]
    balances: dict[str, Decimal]
    positions: dict[str, Decimal]
    heard: Heard
    sent: list[Command]
    end_ns: int

    def ledger(self) -> tuple[Any, ...]:
        """Return what must not depend on how the market was told; a refusal's text may print a mark in more digits."""
        own = [(now, _textless(one)) for now, one in self.heard.own]
        return self.fills, self.balances, self.positions, own, self.sent


def arrivals(instruments: Sequence[Instrument], seed: int, seconds: int = 120) -> list[Arrival]:
    settings = SyntheticSettings(
        seed=seed,
        start_ns=START,
        duration_ns=seconds * SECOND,
        mid=D(60_000),
        instruments=tuple(
            SyntheticInstrument(one.id, trades_per_second=5.0, lots_per_level=40, half_spread_ticks=2)
            for one in instruments
        ),
        volatility_bps=3.0,
    )
    return list(SyntheticMarket(settings, {one.id: one for one in instruments}))


def rows_of(messages: Iterable[Arrival], instruments: Sequence[Instrument]) -> Rows:
    return Rows.join(list(RowBuilder(instruments).blocks(messages)))


def cut(rows: Rows, size: int) -> Iterator[Rows]:
    return (rows.slice(at, min(at + size, len(rows))) for at in range(0, len(rows), size))


def a_venue(instruments: Sequence[Instrument], balance: int, core: Core | None = None) -> SimVenue:
    account = Account("me", "v", {"USDT": D(balance)}, leverage={one.id: 20 for one in instruments})
    fees = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))
    return SimVenue("v", instruments, [account], fees, core=core)


def by_ticks(
    messages: Iterable[Arrival], instruments: Sequence[Instrument], plan: Sequence[Command], balance: int = 1_000_000
) -> Played:
    venue, cell, log = a_venue(instruments, balance), Cell(lambda: [Script(plan)]), Intents()
    seat = Seat(venue, ENTRY, RESPONSE)
    markets = {one.id: (seat, SequenceRule.FUTURES) for one in instruments}
    result = Driver(cell, {"me": seat}, markets, log).run(two_clocks(messages, ClockStatistics()), START)
    assert (result.halt, cell.quarantined) == (None, [])
    return _played(venue, cell, log, result.end_ns)


def by_rows(
    rows: Rows, instruments: Sequence[Instrument], plan: Sequence[Command], balance: int = 1_000_000, size: int = 4096,
    actors: Sequence[Actor] = (), **settings: Any,
) -> Played:  # fmt: skip
    model = make_queue_model("risk_averse")
    core = Core.make([(one, model) for one in instruments])
    venue, cell, log = a_venue(instruments, balance, core), Cell(lambda: [*actors, Script(plan)]), Intents()
    seat = Seat(venue, ENTRY, RESPONSE)
    driver = BlockDriver(cell, core, {"me": seat}, {one.id: seat for one in instruments}, log, **settings)
    result = driver.run(cut(rows, size), START)
    assert (result.halt, cell.quarantined) == (None, [])
    return _played(venue, cell, log, result.end_ns)


def by_hand(*told: tuple[int, int, int, int, int], delay_ns: int = 2_000_000) -> Rows:
    """Return rows of PERP from (kind, ns after START, flags, ticks, lots); every one reaches both clocks."""
    rows = Rows.empty(len(told))
    for at, (kind, after_ns, flags, ticks, lots) in enumerate(told):
        rows.kind[at], rows.flags[at], rows.ticks[at], rows.lots[at] = kind, flags | VENUE | LOCAL, ticks, lots
        rows.venue_ns[at] = START + after_ns
    rows.local_ns[:] = rows.venue_ns + delay_ns
    return rows


def _played(venue: SimVenue, cell: Cell, log: Intents, end_ns: int) -> Played:
    account = venue.state.accounts["me"]
    script = cell.dispatcher.actors["script"]
    assert isinstance(script, Script)
    return Played(
        list(venue.state.fills),
        dict(account.account.balances),
        {holding.position.instrument: holding.qty for holding in account.open_holdings()},
        script.state,
        log.sent,
        end_ns,
    )


def a_plan(seed: int, instruments: Sequence[Instrument], count: int = 150, seconds: int = 115) -> list[Command]:
    """Return commands of every sort at random times around a mid of 60,000, in the order of their times."""
    rng = Random(seed)
    times = sorted(START + rng.randrange(SECOND, seconds * SECOND) for _ in range(count))
    plan: list[Command] = []
    names: list[tuple[str, str]] = []
    for number, ts in enumerate(times):
        instrument = rng.choice(instruments).id
        if names and rng.random() < 0.2:
            at, name = rng.choice(names)
            changed = ModifyOrder(ts, "me", at, name, D("0.01"), D(60_000) + rng.randrange(-40, 41))
            plan.append(rng.choice([CancelOrder(ts, "me", at, name), changed]))
            continue
        name = f"o{number}"
        names.append((instrument, name))
        plan.append(_order(rng, ts, instrument, name))
    plan.append(ArmDeadMan(times[-1] + 1, "me", instruments[0].id, 500_000_000))
    return plan


def _order(rng: Random, ts: int, instrument: str, name: str) -> SubmitOrder:
    side = rng.choice([Side.BUY, Side.SELL])
    qty = D(rng.randrange(1, 60)) / 1000
    near = D(60_000) + D(rng.randrange(-200, 201)) / 10
    plain: Any = SubmitOrder(ts, "me", instrument, name, side, qty, OrderType.LIMIT, near)
    stop = D(60_000) + side.sign * rng.randrange(3, 30)
    order: SubmitOrder = rng.choice(
        [
            plain,
            plain,
            evolve(plain, tif=TimeInForce.GTX),
            evolve(plain, tif=TimeInForce.IOC),
            evolve(plain, tif=TimeInForce.GTD, expire_ns=ts + rng.randrange(SECOND, 20 * SECOND)),
            evolve(plain, reduce_only=True),
            evolve(plain, display_qty=D("0.002")),
            evolve(plain, type=OrderType.MARKET, price=None, tif=TimeInForce.IOC),
            evolve(plain, type=OrderType.STOP_MARKET, price=None, trigger_price=stop),
            evolve(plain, type=OrderType.STOP_MARKET, price=None, trigger_price=stop, trigger_on_mark=True),
            evolve(plain, type=OrderType.TAKE_PROFIT_MARKET, price=None, trigger_price=120_000 - stop),
            evolve(plain, type=OrderType.TRAILING_STOP, price=None, callback_rate=D("0.001")),
        ]
    )
    return order
