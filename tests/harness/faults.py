"""Faults on the order path and the feed, drawn from a seed: a venue and a market that misbehave and can be repeated."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from heapq import heappop, heappush
from random import Random
from typing import Any

from attrs import define, evolve, field, frozen

from actors.messages import ArmCommand, KillCommand, KillLevel
from sim import booking
from sim.clocks import Arrival, Tick
from sim.synthetic import SECOND_NS
from sim.venue import SimVenue
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument
from venues.model.money import ZERO, round_to_step
from venues.model.order import Side
from venues.port import (
    AccountReport,
    BookDelta,
    BookSnapshot,
    CancelOrder,
    Command,
    Deleveraged,
    FeedGap,
    FundingSettled,
    MarkPrice,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OutcomeUnknown,
    PositionReport,
    Query,
    QueryFailed,
    Quote,
    RejectReason,
    Report,
    SubmitOrder,
    Trade,
    VenueDown,
    VenueUp,
)


class OrderFault(StrEnum):
    """What becomes of one submit."""

    NO_ACK = "no_ack"
    UNKNOWN_LOST = "unknown_lost"
    UNKNOWN_DONE = "unknown_done"
    SILENT_LOST = "silent_lost"
    SILENT_DONE = "silent_done"
    DELAYED = "delayed"
    DUPLICATED = "duplicated"
    FILL_FIRST = "fill_first"
    FILL_AFTER_END = "fill_after_end"
    REJECTED = "rejected"
    PARTIAL = "partial"


class CancelFault(StrEnum):
    LOST = "cancel_lost"
    UNKNOWN_DONE = "cancel_unknown_done"


class Window(StrEnum):
    """What lasts for a while. STALE, GAP and CROSSED are only the desk's view; THIN is true for all."""

    QUERIES_FAIL = "queries_fail"
    QUERIES_SILENT = "queries_silent"
    DOWN = "down"
    LATE_POSITIONS = "late_positions"
    STALE = "stale"
    GAP = "gap"
    FEED_GAP = "feed_gap"
    CROSSED = "crossed"
    THIN = "thin"
    SPIKE = "spike"
    ADL = "adl"
    KILL = "kill"


AT_VENUE = (Window.QUERIES_FAIL, Window.QUERIES_SILENT, Window.DOWN, Window.LATE_POSITIONS, Window.ADL)
IN_FEED = (Window.STALE, Window.GAP, Window.FEED_GAP, Window.CROSSED)
SECONDS: dict[Window, tuple[float, float]] = {
    Window.QUERIES_FAIL: (3, 20),
    Window.QUERIES_SILENT: (3, 12),
    Window.DOWN: (0.5, 8),
    Window.LATE_POSITIONS: (10, 30),
    Window.STALE: (10, 10),
    Window.GAP: (0.3, 0.3),
    Window.FEED_GAP: (0, 0),
    Window.CROSSED: (0, 0),
    Window.THIN: (2, 8),
    Window.SPIKE: (1, 1),
    Window.ADL: (0, 0),
    Window.KILL: (0, 0),
}
"""Shortest and longest duration."""


ARMED_EVERY_NS = 8 * SECOND_NS


@frozen
class Spell:
    """One window: from `start` until `end` (ns); `at` is the venue or instrument it is about."""

    kind: Window
    start: int
    end: int
    at: str


@frozen
class Script:
    """What goes wrong in a run, all before `calm_ns`. `chances` are per submit, `cancel_chance` per cancel."""

    seed: int
    start_ns: int
    calm_ns: int
    chances: dict[OrderFault, float] = field(factory=dict)
    cancel_chance: float = 0.0
    spells: tuple[Spell, ...] = ()

    def of(self, kind: Window, at: str) -> list[Spell]:
        return [spell for spell in self.spells if spell.kind is kind and spell.at == at]


def draw(seed: int, start_ns: int, calm_ns: int, venues: Sequence[str], specs: Sequence[Instrument]) -> Script:
    """Return the script of a seed: some kinds of order faults, and one to six windows."""
    rng = Random(f"faults/{seed}")
    kinds = rng.sample(list(OrderFault), rng.randint(1, 5))
    chances = {kind: rng.choice((0.05, 0.1, 0.2)) for kind in kinds}
    perpetuals = [spec.id for spec in specs if not spec.is_spot]
    spells = []
    for kind in rng.sample(list(Window), rng.randint(1, 6)):
        for _ in range(rng.randint(1, 3)):
            shortest, longest = SECONDS[kind]
            begin = rng.randrange(start_ns + 5 * SECOND_NS, calm_ns - 12 * SECOND_NS)
            end = min(calm_ns, begin + int(rng.uniform(shortest, longest) * SECOND_NS))
            if kind in (Window.SPIKE, Window.ADL):
                at = rng.choice(perpetuals)
            elif kind in AT_VENUE:
                at = rng.choice(list(venues))
            else:
                at = rng.choice([spec.id for spec in specs])
            spells.append(Spell(kind, begin, end, at))
    return Script(seed, start_ns, calm_ns, chances, rng.choice((0.0, 0.2, 0.5)), tuple(spells))


class FaultyVenue:
    """A simulated venue behind a bad connection. What it is told and what it says may be lost, late, or come twice.

    Reports about money that nothing asks for again (funding) are only ever late. `counts` tells what went wrong.
    """

    def __init__(self, inner: SimVenue, script: Script, counts: "Counter[str]") -> None:
        self.inner = inner
        self.name = inner.name
        self.script = script
        self.counts = counts
        self._rng = Random(f"{script.seed}/{inner.name}")
        self._held: list[tuple[int, int, Report]] = []
        self._number = 0
        self._pending = sorted(
            [spell for spell in script.spells if spell.at == self.name or spell.kind is Window.ADL],
            key=lambda spell: spell.start,
        )
        self._down_until = 0

    # The face of a venue

    def on_market(self, now: int, report: Report) -> list[Report]:
        return self._pass(now, self.inner.on_market(now, report))

    def on_time(self, now: int) -> list[Report]:
        said: list[Report] = []
        while self._pending and self._pending[0].start <= now:
            said += self._begin(now, self._pending.pop(0))
        if self.inner.next_deadline() is not None and (self.inner.next_deadline() or 0) <= now:
            said += self._pass(now, self.inner.on_time(now))
        if self._down_until and self._down_until <= now:
            self._down_until = 0
            said.append(VenueUp(now, self.name))
        while self._held and self._held[0][0] <= now:
            said.append(heappop(self._held)[2])
        return said

    def next_deadline(self) -> int | None:
        moments = [self.inner.next_deadline()]
        moments.append(self._pending[0].start if self._pending else None)
        moments.append(self._held[0][0] if self._held else None)
        moments.append(self._down_until or None)
        return min((moment for moment in moments if moment is not None), default=None)

    def on_command(self, now: int, command: Command) -> list[Report]:
        if isinstance(command, Query):
            return self._query(now, command)
        if self._down_until:
            return self._while_down(now, command)
        if now < self.script.calm_ns:
            if isinstance(command, SubmitOrder):
                return self._submit(now, command)
            if isinstance(command, CancelOrder) and self._rng.random() < self.script.cancel_chance:
                return self._cancel(now, command)
        return self._pass(now, self.inner.on_command(now, command))

    # Windows

    def _is_in(self, kind: Window, now: int) -> bool:
        return any(spell.start <= now < spell.end for spell in self.script.of(kind, self.name))

    def _begin(self, now: int, spell: Spell) -> list[Report]:
        if spell.kind is Window.DOWN and not self._down_until:
            self.counts[spell.kind] += 1
            self._down_until = max(now + 1, spell.end)
            return [VenueDown(now, self.name, "", "connection lost")]
        if spell.kind is Window.ADL:
            return self._deleverage(now, spell.at)
        return []

    def _deleverage(self, now: int, instrument: str) -> list[Report]:
        """Take half of each position in `instrument` at the mark, as auto-deleveraging does."""
        state = self.inner.state
        market = state.markets.get(instrument)
        if market is None or market.mark is None:
            return []
        state.now = now
        for account in state.accounts.values():
            for held in account.open_holdings(instrument):
                qty = round_to_step(abs(held.qty) / 2, market.spec.lot_size)
                if qty <= ZERO:
                    continue
                order = booking.forced_order(state, market, account, held, "adl_autoclose-")
                price = round_to_step(market.mark, market.spec.tick_size)
                booking.book_fill(state, market, order, price, qty, Liquidity.NONE, FillReason.ADL)
                state.say(Deleveraged(now, account.id, instrument, order.side, qty, price, order.position_side))
                self.counts[Window.ADL] += 1
        said, state.out = state.out, []
        return self._pass(now, said)

    def _while_down(self, now: int, command: Command) -> list[Report]:
        """A command that was on its way when the connection broke: lost, or done unheard."""
        if self._rng.random() < 0.5:
            self.counts["down_done"] += 1
            self._pass(now, self.inner.on_command(now, command))
        else:
            self.counts["down_lost"] += 1
        return []

    def _pass(self, now: int, reports: Sequence[Report]) -> list[Report]:
        """Return what gets through at once; the rest is held or gone."""
        through: list[Report] = []
        for report in reports:
            if self._down_until:
                if isinstance(report, FundingSettled):
                    self._hold(self._down_until + 1, report)
            elif isinstance(report, PositionReport) and self._is_in(Window.LATE_POSITIONS, now):
                self.counts[Window.LATE_POSITIONS] += 1
                self._hold(now + self._rng.randrange(SECOND_NS, 15 * SECOND_NS), report)
            else:
                through.append(report)
        return through

    def _hold(self, until: int, report: Report) -> None:
        self._number += 1
        heappush(self._held, (until, self._number, report))

    # Commands

    def _query(self, now: int, query: Query) -> list[Report]:
        if self._down_until or self._is_in(Window.QUERIES_FAIL, now):
            self.counts[Window.QUERIES_FAIL] += 1
            return [QueryFailed(now, query.account, query.query_id, query.kind, "503")]
        if self._is_in(Window.QUERIES_SILENT, now):
            self.counts[Window.QUERIES_SILENT] += 1
            return []
        return self._pass(now, self.inner.on_command(now, query))

    def _cancel(self, now: int, command: CancelOrder) -> list[Report]:
        fault = self._rng.choice(list(CancelFault))
        self.counts[fault] += 1
        if fault is CancelFault.UNKNOWN_DONE:
            self.inner.on_command(now, command)
        key = (command.account, command.instrument, command.client_order_id)
        return [OutcomeUnknown(now, *key, "CancelOrder", "timeout")]

    def _submit(self, now: int, order: SubmitOrder) -> list[Report]:
        drawn = self._rng.random()
        for fault, chance in self.script.chances.items():
            drawn -= chance
            if drawn < 0:
                self.counts[fault] += 1
                return self._pass(now, self._spoil(now, order, fault))
        return self._pass(now, self.inner.on_command(now, order))

    def _spoil(self, now: int, order: SubmitOrder, fault: OrderFault) -> list[Report]:
        key = (order.account, order.instrument, order.client_order_id)
        if fault is OrderFault.REJECTED:
            return [OrderRejected(now, *key, RejectReason.OTHER, "overloaded")]
        if fault is OrderFault.SILENT_LOST:
            return []
        if fault is OrderFault.UNKNOWN_LOST:
            return [OutcomeUnknown(now, *key, "SubmitOrder", "timeout")]
        said = self._submit_thin(now, order) if fault is OrderFault.PARTIAL else self.inner.on_command(now, order)
        if fault is OrderFault.SILENT_DONE:
            return [report for report in said if isinstance(report, AccountReport | PositionReport)]
        if fault is OrderFault.UNKNOWN_DONE:
            return [OutcomeUnknown(now, *key, "SubmitOrder", "503, execution status unknown")]
        if fault is OrderFault.NO_ACK:
            return [report for report in said if not isinstance(report, OrderAccepted)]
        if fault is OrderFault.DELAYED:
            for report in said:
                self._hold(now + self._rng.randrange(SECOND_NS // 10, 8 * SECOND_NS), report)
            return []
        fills: list[Report] = [report for report in said if isinstance(report, OrderFilled)]
        others = [report for report in said if not isinstance(report, OrderFilled)]
        if fault is OrderFault.DUPLICATED:
            for fill in fills:
                self._hold(now + self._rng.randrange(1, 5 * SECOND_NS), fill)
            return [*said, *fills]
        if fault is OrderFault.FILL_FIRST:
            return [*fills, *others]
        if fault is OrderFault.FILL_AFTER_END:
            for fill in fills:
                self._hold(now + self._rng.randrange(1, 3 * SECOND_NS), fill)
            is_ended = any(isinstance(report, OrderExpired | OrderCanceled) for report in others)
            total = sum((fill.qty for fill in fills if isinstance(fill, OrderFilled)), ZERO)
            return others if is_ended or not fills else [*others, OrderExpired(now, *key, total)]
        return said

    def _submit_thin(self, now: int, order: SubmitOrder) -> list[Report]:
        """Execute the order on a book that holds only half of it."""
        market = self.inner.state.markets[order.instrument]
        bids, asks = market.matcher.displayed(Side.BUY), market.matcher.displayed(Side.SELL)
        half = max(1, int(order.qty / market.spec.lot_size / 2))
        thin_bids = [(ticks, min(half, lots)) for ticks, lots in bids[:1]]
        thin_asks = [(ticks, min(half, lots)) for ticks, lots in asks[:1]]
        update_id = market.update_id or 0
        self.inner.on_market(now, BookSnapshot(now, order.instrument, update_id, thin_bids, thin_asks))
        said = self.inner.on_command(now, order)
        self.inner.on_market(now, BookSnapshot(now, order.instrument, update_id, bids, asks))
        return said


# The market


@define
class _Shown:
    """One instrument's book as the market tells it, and whether it was told thinner than it is."""

    bids: dict[int, int] = field(factory=dict)
    asks: dict[int, int] = field(factory=dict)
    is_thin: bool = False

    def follow(self, message: Message) -> None:
        if isinstance(message, BookSnapshot):
            self.bids, self.asks = dict(message.bids), dict(message.asks)
        elif isinstance(message, BookDelta):
            for book, changes in ((self.bids, message.bids), (self.asks, message.asks)):
                for ticks, lots in changes:
                    book.pop(ticks, None)
                    if lots:
                        book[ticks] = lots


def spoil_market(arrivals: Iterator[Arrival], script: Script, counts: "Counter[str]") -> Iterator[Arrival]:
    """Yield `arrivals` with what is true for venue and desk alike: thin books, marks that jump."""
    shown: dict[str, _Shown] = {}
    for arrival in arrivals:
        message = arrival.message
        instrument: str = message.instrument  # type: ignore[attr-defined]
        book = shown.setdefault(instrument, _Shown())
        book.follow(message)
        is_thin = _is_in(script, Window.THIN, instrument, arrival.venue_ns)
        if isinstance(message, BookDelta) and (is_thin or book.is_thin):
            counts[Window.THIN] += is_thin and not book.is_thin
            book.is_thin = is_thin
            message = _changed(
                message, bids=_levels(book.bids, message.bids, is_thin), asks=_levels(book.asks, message.asks, is_thin)
            )
        elif isinstance(message, Quote) and is_thin:
            message = _changed(message, bid_lots=1, ask_lots=1)
        elif isinstance(message, Trade) and is_thin:
            message = _changed(message, lots=1)
        elif isinstance(message, MarkPrice) and _is_in(script, Window.SPIKE, instrument, arrival.venue_ns):
            counts[Window.SPIKE] += 1
            message = _changed(message, mark=(message.mark * Decimal("1.4")).quantize(Decimal("0.01")))
        yield Arrival(arrival.venue_ns, arrival.local_ns, message)


def _changed(message: Message, **changes: Any) -> Message:
    made: Any = message
    changed: Message = evolve(made, **changes)
    return changed


def _levels(book: dict[int, int], changes: Sequence[tuple[int, int]], is_thin: bool) -> list[tuple[int, int]]:
    gone = [(ticks, lots) for ticks, lots in changes if not lots]
    return gone + [(ticks, 1 if is_thin else lots) for ticks, lots in book.items()]


def _is_in(script: Script, kind: Window, at: str, ns: int) -> bool:
    return any(spell.start <= ns < spell.end for spell in script.spells if spell.kind is kind and spell.at == at)


def spoil_feed(ticks: Iterator[Tick], script: Script, counts: "Counter[str]", *, is_armed: bool) -> Iterator[Tick]:
    """Yield `ticks` with what only the desk's feed suffers and with what operators do: kill, and (`is_armed`) arm."""
    events = _events(script, counts, is_armed=is_armed)
    for tick in ticks:
        while events and events[0].ns <= tick.ns:
            yield events.pop(0)
        message = tick.message
        instrument: str = message.instrument  # type: ignore[attr-defined]
        lost = [w for w in (Window.STALE, Window.GAP) if tick.is_local and _is_in(script, w, instrument, tick.ns)]
        if lost and (Window.STALE in lost or isinstance(message, BookDelta)):
            counts[f"{lost[0]}_frames"] += 1
            continue
        if tick.is_local and isinstance(message, BookDelta) and _is_crossed(script, instrument, tick.ns):
            counts[Window.CROSSED] += 1
            top = max((ticks_ for ticks_, lots in message.asks if lots), default=0)
            message = _changed(message, bids=[*message.bids, (top + 5, 7)]) if top else message
        yield Tick(tick.ns, tick.is_local, message)
    yield from events


def _is_crossed(script: Script, instrument: str, ns: int) -> bool:
    """Whether a crossing is due: it lasts for a quarter of a second."""
    return any(s.start <= ns < s.start + SECOND_NS // 4 for s in script.of(Window.CROSSED, instrument))


def _events(script: Script, counts: "Counter[str]", *, is_armed: bool) -> list[Tick]:
    rng = Random(f"events/{script.seed}")
    events = []
    for spell in script.spells:
        if spell.kind is Window.FEED_GAP:
            counts[spell.kind] += 1
            events.append(Tick(spell.start, True, FeedGap(spell.start, spell.at, "frames refused")))
        elif spell.kind is Window.KILL:
            level = rng.choice((KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL, KillLevel.FLATTEN))
            counts[f"kill_{level.name.lower()}"] += 1
            events.append(Tick(spell.start, True, KillCommand(spell.start, "night shift", level, "drill")))
    arms = range(script.start_ns, script.calm_ns + 50 * SECOND_NS, ARMED_EVERY_NS) if is_armed else range(0)
    events += [Tick(at, True, ArmCommand(at, "night shift", "looked at it")) for at in arms]
    return sorted(events, key=lambda tick: tick.ns)
