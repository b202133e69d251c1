"""One market and one script of orders, for the compiled run and for the venue's own objects behind their commands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import numpy as np

from sim.exchange import NEVER, Exchange, Seat
from sim.kernel import layout
from sim.kernel.compiled import compiled
from sim.kernel.desk import Desk
from sim.kernel.layout import Kernel
from sim.kernel.requests import ask_cancel, ask_modify, submit
from sim.rows import (
    BUY,
    CLEAR,
    DEPTH,
    FUNDING,
    LAST,
    LOCAL,
    MARK,
    PRICE_SCALE,
    RATE_SCALE,
    SNAPSHOT,
    STATUS,
    STATUSES,
    TRADE,
    VENUE,
    Rows,
)
from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.book_sync import SequenceRule
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce
from venues.port import (
    BookDelta,
    BookSnapshot,
    CancelOrder,
    Command,
    FundingRate,
    InstrumentState,
    InstrumentStatus,
    MarkPrice,
    ModifyOrder,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Report,
    SubmitOrder,
    Trade,
)

D = Decimal
_BRACKETS = (Bracket(D(0), D(50_000), D("0.01"), D(0), 50), Bracket(D(50_000), D(10**9), D("0.05"), D(2000), 20))


def perpetual(name: str) -> Instrument:
    return Instrument(
        "V", name, InstrumentKind.PERPETUAL, "P", "USDT", D("0.1"), D("0.1"), max_leverage=50, brackets=_BRACKETS
    )


SPECS = (perpetual("ONE"), perpetual("TWO"))
FEES = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))


# The market

SILENCE_NS = 100_000


@dataclass(frozen=True)
class Tape:
    """What happens when: times in ns, and for each what it is as a report of the port. It ends with a silence."""

    reports: list[tuple[int, Report]]

    @property
    def end_ns(self) -> int:
        """The last time at which something is sent."""
        return self.reports[-2][0]

    def rows(self, feed_ns: int, specs: Sequence[Instrument] = SPECS) -> Rows:
        """Return the tape as columns: everything reaches the desk `feed_ns` later."""
        index = {spec.id: at for at, spec in enumerate(specs)}
        made: list[tuple[int, int, int, int, int, int]] = []
        for ns, report in self.reports:
            rows = _rows_of(report)
            made += [
                (kind, flags | (LAST if at == len(rows) - 1 else 0), index[report.instrument], ns, ticks, lots)  # type: ignore[attr-defined]
                for at, (kind, flags, ticks, lots) in enumerate(rows)
            ]
        return rows_from(made, feed_ns)


def rows_from(made: Sequence[tuple[int, int, int, int, int, int]], feed_ns: int) -> Rows:
    """Return rows of (kind, flags, instrument, venue ns, ticks, lots) that are on both clocks."""
    table = np.array(made, np.int64).reshape(-1, 6)
    rows = Rows.empty(len(table))
    rows.kind[:], rows.flags[:], rows.instrument[:] = table[:, 0], table[:, 1] | VENUE | LOCAL, table[:, 2]
    rows.venue_ns[:], rows.local_ns[:] = table[:, 3], table[:, 3] + feed_ns
    rows.ticks[:], rows.lots[:] = table[:, 4], table[:, 5]
    return rows


def _rows_of(report: Report) -> list[tuple[int, int, int, int]]:
    match report:
        case BookSnapshot():
            levels = [(SNAPSHOT, BUY, *one) for one in report.bids] + [(SNAPSHOT, 0, *one) for one in report.asks]
            return [(CLEAR, 0, 0, 0), *levels]
        case BookDelta():
            return [(DEPTH, BUY, *one) for one in report.bids] + [(DEPTH, 0, *one) for one in report.asks]
        case Trade():
            return [(TRADE, BUY if report.aggressor is Side.BUY else 0, report.price, report.lots)]
        case MarkPrice():
            return [(MARK, 0, 0, int(report.mark * PRICE_SCALE))]
        case FundingRate():
            return [(FUNDING, 0, int((report.mark or 0) * PRICE_SCALE), int(report.rate * RATE_SCALE))]
        case InstrumentStatus():
            return [(STATUS, 0, 0, STATUSES.index(report.state.value))]
    raise TypeError(type(report).__name__)


def make_tape(seed: int, count: int, specs: Sequence[Instrument] = SPECS, halts: bool = True, mid: int = 1000) -> Tape:
    """Return `count` events of a market that drifts, trades through levels and never shows a crossed book.

    Then nothing happens for SILENCE_NS, in which everything is heard.
    """
    random = Random(seed)
    books = {spec.id: _Book(random, spec, mid) for spec in specs}
    # The venue's feed counts as joined with the first change after a snapshot.
    reports: list[tuple[int, Report]] = [(1000, book.snapshot()) for book in books.values()]
    reports += [(1000, book.change({1: {1: 0}, -1: {}})) for book in books.values()]
    now = 1000
    for _ in range(count):
        now += random.choice((0, 1, 10, 100, 1000))
        book = books[random.choice(specs).id]
        reports.append((now, book.event(halts)))
    reports.append((now + SILENCE_NS, books[specs[0].id].change({1: {1: 0}, -1: {}})))
    return Tape(reports)


@dataclass
class _Book:
    random: Random
    spec: Instrument
    mid: int = 1000
    last_id: int = 1
    is_open: bool = True
    shown: dict[int, dict[int, int]] = field(default_factory=lambda: {1: {}, -1: {}})

    def event(self, halts: bool) -> Report:
        what = self.random.random()
        if not self.is_open and what < 0.3:
            return self.status()
        if what < 0.55:
            return self.delta()
        if what < 0.93:
            ticks = self.mid + self.random.randint(-3, 3)
            side = self.random.choice(list(Side))
            return Trade(0, self.spec.id, 1, ticks, self.random.choice((1, 2, 3, 8, 25)), side)
        if what < 0.96:
            return MarkPrice(0, self.spec.id, self.spec.price(self.mid + self.random.randint(-2, 2)))
        if what < 0.975:
            rate = D(self.random.randint(-5, 5)) / 10_000
            return FundingRate(0, self.spec.id, rate, self.spec.price(self.mid))
        return self.status() if halts else self.delta()

    def status(self) -> InstrumentStatus:
        self.is_open = not self.is_open
        return InstrumentStatus(0, self.spec.id, InstrumentState.OPEN if self.is_open else InstrumentState.HALT)

    def snapshot(self) -> BookSnapshot:
        self.last_id += 1
        for side in (1, -1):
            self.shown[side] = {self.mid - side * at: self.random.randint(1, 9) for at in range(1, 5)}
        return BookSnapshot(0, self.spec.id, self.last_id, list(self.shown[1].items()), list(self.shown[-1].items()))

    def delta(self) -> BookDelta:
        self.mid += self.random.choice((0, 0, 0, -1, 1, -3, 3))
        changes: dict[int, dict[int, int]] = {1: {}, -1: {}}
        for side in (1, -1):
            for ticks in [*self.shown[side]]:
                if (ticks - self.mid) * side >= 0:
                    changes[side][ticks] = 0
            for _ in range(self.random.randint(0, 2)):
                changes[side][self.mid - side * self.random.randint(1, 4)] = self.random.choice((0, 1, 4, 9))
            self.shown[side].update(changes[side])
            self.shown[side] = {ticks: lots for ticks, lots in self.shown[side].items() if lots}
        return self.change(changes if changes[1] or changes[-1] else {1: {self.mid - 9: 0}, -1: {}})

    def change(self, changes: dict[int, dict[int, int]]) -> BookDelta:
        before, self.last_id = self.last_id, self.last_id + 1
        bids, asks = list(changes[1].items()), list(changes[-1].items())
        return BookDelta(0, self.spec.id, self.last_id, self.last_id, before, bids, asks)


# The orders

SUBMIT, CANCEL, CHANGE, LOOK = range(4)


class Act(NamedTuple):
    """`order` is the number of the order sent or meant."""

    ns: int
    what: int
    order: int
    instrument: int = 0
    side: int = 0
    ticks: int = 0
    lots: int = 0
    flags: int = 0


_IMMEDIATE = layout.IMMEDIATE
_FLAGS = (0, 0, 0, 0, layout.POST_ONLY, _IMMEDIATE, layout.FILL_OR_KILL, layout.REDUCES, layout.REDUCES | _IMMEDIATE)


def make_script(seed: int, count: int, end_ns: int, instruments: int = 2) -> list[Act]:
    """Return `count` acts spread over the market's time, and a last look at how everything ended."""
    random = Random(seed)
    acts: list[Act] = []
    orders = 0
    for ns in sorted(random.randint(1001, end_ns) for _ in range(count)):
        what = random.choice((SUBMIT, SUBMIT, SUBMIT, CANCEL, CHANGE)) if orders else SUBMIT
        ticks, lots = random.randint(994, 1006), random.choice((1, 2, 5, 9, 30))
        if what == SUBMIT:
            flags = random.choice(_FLAGS)
            side = random.randrange(2)
            if flags & layout.IMMEDIATE and random.random() < 0.5:
                ticks = layout.NO_LIMIT if side == layout.BUY_SIDE else -layout.NO_LIMIT
            acts.append(Act(ns, what, orders, random.randrange(instruments), side, ticks, lots, flags))
            orders += 1
        else:
            meant = random.choice([act for act in acts if act.what == SUBMIT][-8:])
            acts.append(Act(ns, what, meant.order, meant.instrument, meant.side, ticks, lots))
    acts.append(Act(end_ns + SILENCE_NS, LOOK, 0))
    return acts


class ScriptState(NamedTuple):
    """`acts` as rows, `cursor` the next of them, `slots` by order, `seen` (status, end, filled) at the last look."""

    acts: Any
    cursor: Any
    slots: Any
    seen: Any


def script_state(acts: Sequence[Act]) -> ScriptState:
    orders = 1 + max((act.order for act in acts if act.what == SUBMIT), default=0)
    return ScriptState(
        np.array(acts, np.int64), np.zeros(1, np.int64), np.full(orders, -1, np.int64), np.zeros((orders, 3), np.int64)
    )


@compiled
def follow(k: Kernel, d: Desk, state: ScriptState) -> int:
    """Do every act that is due, and wake for the next; the sender's number of an order is its number in the script."""
    clock = d.clock[0]
    while state.cursor[0] < len(state.acts) and state.acts[state.cursor[0], 0] <= clock.now:
        act = state.acts[state.cursor[0]]
        state.cursor[0] += 1
        order = act[2]
        if act[1] == 0:
            state.slots[order] = submit(k, d, act[3], act[4], act[5], act[6], act[7], order)
        elif act[1] == 1:
            ask_cancel(d, state.slots[order])
        elif act[1] == 2:
            ask_modify(d, state.slots[order], act[5], act[6])
    for order in range(len(state.slots)):
        if state.slots[order] >= 0:
            s = d.sent[state.slots[order]]
            state.seen[order, 0], state.seen[order, 1], state.seen[order, 2] = s.status, s.end, s.filled
    return state.acts[state.cursor[0], 0] if state.cursor[0] < len(state.acts) else 1 << 62


# The venue's own objects

_TIFS = {layout.POST_ONLY: TimeInForce.GTX, layout.IMMEDIATE: TimeInForce.IOC, layout.FILL_OR_KILL: TimeInForce.FOK}


def command_of(act: Act, account: str, specs: Sequence[Instrument] = SPECS) -> Command:
    spec, name = specs[act.instrument], f"o{act.order}"
    if act.what == CANCEL:
        return CancelOrder(act.ns, account, spec.id, name)
    if act.what == CHANGE:
        return ModifyOrder(act.ns, account, spec.id, name, spec.qty(act.lots), spec.price(act.ticks))
    is_market = abs(act.ticks) == layout.NO_LIMIT
    return SubmitOrder(
        act.ns,
        account,
        spec.id,
        name,
        Side.BUY if act.side == layout.BUY_SIDE else Side.SELL,
        spec.qty(act.lots),
        OrderType.MARKET if is_market else OrderType.LIMIT,
        None if is_market else spec.price(act.ticks),
        next((tif for flag, tif in _TIFS.items() if act.flags & flag), TimeInForce.GTC),
        reduce_only=bool(act.flags & layout.REDUCES),
    )


class Heard(NamedTuple):
    """What a run was: `fills` (ns, order, ticks, lots, liquidity, reason), `ends` (event kind) and lots by order."""

    fills: list[tuple[int, int, int, int, str, str]]
    ends: dict[int, int]
    filled: dict[int, int]
    positions: dict[str, Decimal]
    balances: dict[str, Decimal]


_ENDS = {OrderRejected: layout.REJECTED, OrderExpired: layout.EXPIRED, OrderCanceled: layout.CANCELED}


def play_venue(
    tape: Tape, acts: Sequence[Act], balance: Decimal, entry_ns: int, response_ns: int, model: str, rules: str
) -> Heard:
    """Send the acts as commands through the exchange to the venue, and keep what comes back."""
    account = Account("a", "V", {"USDT": balance})
    venue = SimVenue("V", SPECS, [account], FEES, rules, model)
    seat = Seat(venue, entry_ns, response_ns)
    exchange = Exchange({"a": seat}, {spec.id: (seat, SequenceRule.FUTURES) for spec in SPECS})
    for act in acts:
        if act.what != LOOK:
            exchange.send(act.ns, command_of(act, "a"))
    heard = Heard([], {}, {}, {}, account.balances)
    specs = {spec.id: spec for spec in SPECS}
    for ns, report in [*tape.reports, (NEVER, None)]:
        while exchange.next_ns() < ns:
            delivered = exchange.happen()
            if delivered is not None:
                _note(heard, delivered[0], specs)
        if report is not None:
            exchange.on_market(ns, report)
    for order in venue.state.done.values():
        if order.status is OrderStatus.FILLED:
            heard.ends[int(order.id[1:])] = layout.FILLED
    held = venue.state.accounts["a"]
    heard.positions.update({spec.id: sum((h.qty for h in held.open_holdings(spec.id)), D(0)) for spec in SPECS})
    return heard


def _note(heard: Heard, report: Report, specs: dict[str, Instrument]) -> None:
    if isinstance(report, OrderFilled) and report.client_order_id.startswith("o"):
        spec, order = specs[report.instrument], int(report.client_order_id[1:])
        lots = spec.lots(report.qty)
        what = (report.ts, order, spec.ticks(report.price), lots, report.liquidity.value, report.reason.value)
        heard.fills.append(what)
        heard.filled[order] = heard.filled.get(order, 0) + lots
    elif (end := _ENDS.get(type(report))) is not None:
        heard.ends[int(report.client_order_id[1:])] = end  # type: ignore[attr-defined]
