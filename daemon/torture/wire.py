"""What a connection to a venue, and the venue, do wrong: lost, late, repeated, reordered, refused, unproven."""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random

from actors.order_records import VENUE_REASONS
from daemon.torture.script import (
    AT_VENUE,
    ON_CANCEL,
    ON_POSITION,
    ON_SUBMIT,
    SECOND_NS,
    Fault,
    FaultKind,
    Script,
    Tally,
)
from sim import booking
from sim.venue import SimVenue
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO, round_to_step
from venues.model.order import Side
from venues.port import (
    AccountReport,
    BookSnapshot,
    CancelAll,
    CancelOrder,
    CancelRejected,
    Command,
    Deleveraged,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OutcomeUnknown,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    RejectReason,
    Report,
    SubmitOrder,
    Trade,
    VenueDown,
    VenueUp,
)

_K = FaultKind
_LATE_TRADE_ID = 1_000_000_000
ONLY_LATE = frozenset({"FundingSettled", "TradeBusted"})
"""Reports that are never lost, by their names: nothing asks for them again."""
_VISIBLE_AFTER_NS = 2 * SECOND_NS
_PATIENCE_NS = SECOND_NS // 2


class FaultyVenue:
    """A simulated venue behind a bad connection. What it is told and what it says may be lost, late, or come twice.

    Reports about money that nothing asks for again are only ever late. `counts` tells what went wrong.
    """

    def __init__(self, inner: SimVenue, script: Script, start_ns: int, counts: Tally) -> None:
        self.inner = inner
        self.name = inner.name
        self.counts = counts
        self._start_ns = start_ns
        self._submits = script.of(ON_SUBMIT, inner.name)
        self._cancels = script.of(ON_CANCEL, inner.name)
        self._windows = script.of(AT_VENUE, inner.name)
        self._pending = sorted(
            [
                *(one for one in self._windows if one.kind in (_K.DOWN, _K.HALF_OPEN)),
                *(one for one in script.of(ON_POSITION) if one.at in inner.state.markets),
            ],
            key=lambda fault: fault.start_ns,
        )
        self._said: list[tuple[int, int, Report]] = []
        self._heard: list[tuple[int, int, Command]] = []
        self._number = 0
        self._down_until = 0
        self._is_silent = False
        self._rng = Random(0)
        self._sent_ns: dict[str, int] = {}
        self._resting: dict[str, SubmitOrder] = {}
        self.busts: list[OrderFilled] = []

    # The face of a venue

    def on_market(self, now: int, report: Report) -> list[Report]:
        said = self.inner.on_market(now, report)
        return self._pass(now, said) if said else said

    def on_time(self, now: int) -> list[Report]:
        said: list[Report] = []
        while self._pending and self._start_ns + self._pending[0].start_ns <= now:
            said += self._begin(now, self._pending.pop(0))
        deadline = self.inner.next_deadline()
        if deadline is not None and deadline <= now:
            said += self._pass(now, self.inner.on_time(now))
        while self._heard and self._heard[0][0] <= now:
            said += self._pass(now, self.inner.on_command(now, heappop(self._heard)[2]))
        if self._down_until and self._down_until <= now:
            said += self._recover(now)
        while self._said and self._said[0][0] <= now:
            said.append(heappop(self._said)[2])
        return said

    def next_deadline(self) -> int | None:
        found = self.inner.next_deadline()
        for at in (
            self._start_ns + self._pending[0].start_ns if self._pending else None,
            self._said[0][0] if self._said else None,
            self._heard[0][0] if self._heard else None,
            self._down_until or None,
        ):
            if at is not None and (found is None or at < found):
                found = at
        return found

    def on_command(self, now: int, command: Command) -> list[Report]:
        if isinstance(command, Query):
            return self._query(now, command)
        if isinstance(command, SubmitOrder):
            self._sent_ns[command.client_order_id] = now
            if len(self._sent_ns) > 100:
                del self._sent_ns[next(iter(self._sent_ns))]
        if self._down_until:
            return self._while_down(now, command)
        if self._in(_K.RATE_BAN, now):
            return self._ban(now, command)
        if isinstance(command, SubmitOrder):
            return self._submit(now, command)
        if isinstance(command, CancelOrder):
            return self._cancel(now, command)
        return self._pass(now, self.inner.on_command(now, command))

    def is_queued(self, client_order_id: str) -> bool:
        """Whether a submit is on its way inside the venue."""
        return any(isinstance(one, SubmitOrder) and one.client_order_id == client_order_id for _, _, one in self._heard)

    # Windows

    def _window(self, kind: FaultKind, now: int) -> Fault | None:
        since = now - self._start_ns
        for fault in self._windows:
            if fault.start_ns > since:
                return None
            if fault.kind is kind and since < fault.end_ns:
                return fault
        return None

    def _in(self, kind: FaultKind, now: int) -> bool:
        """Whether a window of the kind is open for what happens now, which thereby meets it."""
        fault = self._window(kind, now)
        if fault is not None:
            self.counts.met(fault)
        return fault is not None

    def _begin(self, now: int, fault: Fault) -> list[Report]:
        if fault.kind is _K.ADL:
            return self._deleverage(now, fault)
        if fault.kind is _K.BUSTED:
            return self._bust(now, fault)
        if self._down_until:
            return []
        self.counts.met(fault)
        self._down_until = max(now + 1, self._start_ns + fault.end_ns)
        self._is_silent = fault.kind is _K.HALF_OPEN
        self._rng = fault.rng()
        # A connection that is half open says nothing about itself.
        return [] if self._is_silent else [VenueDown(now, self.name, "", "connection lost")]

    def _recover(self, now: int) -> list[Report]:
        if self._is_silent:
            self._is_silent = False
            self._down_until = now + _PATIENCE_NS
            return [VenueDown(now, self.name, "", "nothing heard")]
        self._down_until = 0
        return [VenueUp(now, self.name)]

    def _deleverage(self, now: int, fault: Fault) -> list[Report]:
        """Take half of each position in the instrument at the mark, as auto-deleveraging does."""
        state = self.inner.state
        market = state.markets[fault.at]
        if market.mark is None:
            return []
        self.inner.at(now)
        for account in state.accounts.values():
            for held in account.open_holdings(fault.at):
                qty = round_to_step(abs(held.qty) / 2, market.spec.lot_size)
                if qty <= ZERO:
                    continue
                order = booking.forced_order(state, market, account, held, "adl_autoclose-")
                price = round_to_step(market.mark, market.spec.tick_size)
                booking.book_fill(state, market, order, price, qty, Liquidity.NONE, FillReason.ADL)
                state.say(Deleveraged(now, account.id, fault.at, order.side, qty, price, order.position_side))
                self.counts.met(fault)
        return self._pass(now, self.inner.take_reports())

    def _bust(self, now: int, fault: Fault) -> list[Report]:
        """Let the venue take back the last trade of the instrument; a venue that cannot leaves it be."""
        bust = getattr(self.inner, "bust", None)
        fills = [
            one for one in self.inner.state.fills if one.instrument == fault.at and one.reason not in VENUE_REASONS
        ]
        if bust is None or not fills:
            return []
        self.counts.met(fault)
        last = fills[-1]
        self.busts += [one for one in fills if (one.instrument, one.trade_id) == (last.instrument, last.trade_id)]
        said: list[Report] = bust(now, last.instrument, last.trade_id)
        return self._pass(now, said)

    def _while_down(self, now: int, command: Command) -> list[Report]:
        """A command that was on its way when the connection broke: lost, or done unheard."""
        if self._rng.random() < 0.5:
            self.counts["down_done"] += 1
            self._pass(now, self.inner.on_command(now, command))
        else:
            self.counts["down_lost"] += 1
        return []

    def _ban(self, now: int, command: Command) -> list[Report]:
        """Refuse everything for having been asked too often: cancels as well."""
        if isinstance(command, SubmitOrder):
            key = (command.account, command.instrument, command.client_order_id)
            return [OrderRejected(now, *key, RejectReason.RATE_LIMIT, "418")]
        if isinstance(command, CancelOrder):
            key = (command.account, command.instrument, command.client_order_id)
            return [CancelRejected(now, *key, RejectReason.RATE_LIMIT, "418")]
        if isinstance(command, CancelAll):
            return [OutcomeUnknown(now, command.account, "", "", "CancelAll", "418")]
        return []

    def _pass(self, now: int, reports: Sequence[Report]) -> list[Report]:
        """Return what gets through at once; the rest is held or gone."""
        through: list[Report] = []
        for report in reports:
            if self._down_until:
                if type(report).__name__ in ONLY_LATE:
                    self._hold(self._down_until + SECOND_NS, report)
            elif isinstance(report, PositionReport) and (late := self._window(_K.LATE_POSITIONS, now)):
                self.counts.met(late)
                self._hold(now + late.rng().randrange(SECOND_NS, 15 * SECOND_NS), report)
            else:
                through.append(report)
        return through

    def _hold(self, until: int, report: Report) -> None:
        self._number += 1
        heappush(self._said, (until, self._number, report))

    # Queries

    def _query(self, now: int, query: Query) -> list[Report]:
        if self._is_silent or self._in(_K.QUERIES_SILENT, now):
            return []
        if self._down_until or self._in(_K.QUERIES_FAIL, now):
            return [QueryFailed(now, query.account, query.query_id, query.kind, "503")]
        if self._in(_K.RATE_BAN, now):
            return [QueryFailed(now, query.account, query.query_id, query.kind, "418")]
        said = self._pass(now, self.inner.on_command(now, query))
        if query.kind in (QueryKind.ORDER, QueryKind.FILLS) and (hidden := self._window(_K.INVISIBLE, now)):
            return [self._without_young(now, report, hidden) for report in said]
        return said

    def _without_young(self, now: int, report: Report, fault: Fault) -> Report:
        """Leave out of an answer what the venue's own read copy has not seen yet (Binance -2013)."""
        if not isinstance(report, QueryResult):
            return report

        def is_old(client_id: str) -> bool:
            return now - self._sent_ns.get(client_id, 0) >= _VISIBLE_AFTER_NS

        orders = tuple(one for one in report.orders if is_old(one.client_order_id))
        fills = tuple(one for one in report.fills if is_old(one.client_order_id))
        if (len(orders), len(fills)) != (len(report.orders), len(report.fills)):
            self.counts.met(fault)
        return QueryResult(report.ts, report.account, report.query_id, report.kind, orders, fills)

    # Commands

    def _take(self, waiting: list[Fault], now: int) -> Fault | None:
        """Return the fault that this command walks into; one of a kind is then over."""
        since = now - self._start_ns
        while waiting and waiting[0].end_ns <= since:
            waiting.pop(0)
        for number, fault in enumerate(waiting):
            if fault.start_ns > since:
                return None
            if since < fault.end_ns:
                if fault.once:
                    del waiting[number]
                return fault
        return None

    def _cancel(self, now: int, command: CancelOrder) -> list[Report]:
        resting = self._resting.pop(command.client_order_id, None)
        fault = self._take(self._cancels, now)
        if fault is None:
            return self._pass(now, self.inner.on_command(now, command))
        self.counts.met(fault)
        key = (command.account, command.instrument, command.client_order_id)
        unknown = OutcomeUnknown(now, *key, "CancelOrder", "timeout")
        if fault.kind is _K.CANCEL_LOST:
            return [unknown]
        if fault.kind is _K.CANCEL_SILENT:
            return []
        if fault.kind is _K.CANCEL_REFUSED:
            return [CancelRejected(now, *key, RejectReason.OTHER, "overloaded")]
        if fault.kind is _K.CANCEL_RACE and resting is not None:
            return self._pass(now, [*self._trade_through(now, resting, 1), *self.inner.on_command(now, command)])
        if fault.kind is _K.FILL_AFTER_CANCEL and resting is not None:
            said = [*self._trade_through(now, resting, 2), *self.inner.on_command(now, command)]
            return self._pass(now, self._later(now, said, fault.rng(), (OrderFilled,), 3 * SECOND_NS))
        self._pass(now, self.inner.on_command(now, command))
        return [unknown]

    def _trade_through(self, now: int, order: SubmitOrder, part: int) -> list[Report]:
        """Let a public trade fill the resting order, whole or the `part`-th part of it."""
        spec = self.inner.state.markets[order.instrument].spec
        if order.price is None:
            return []
        self._number += 1
        ticks = spec.ticks(order.price) - order.side.sign
        lots = max(1, spec.lots(order.qty) // part)
        trade = Trade(now, order.instrument, _LATE_TRADE_ID + self._number, ticks, lots, order.side.opposite)
        return self.inner.on_market(now, trade)

    def _submit(self, now: int, order: SubmitOrder) -> list[Report]:
        self._resting[order.client_order_id] = order
        if len(self._resting) > 50:
            del self._resting[next(iter(self._resting))]
        fault = self._take(self._submits, now)
        if fault is None:
            return self._pass(now, self.inner.on_command(now, order))
        self.counts.met(fault)
        return self._pass(now, _SPOILS[fault.kind](self, now, order, fault.rng()))

    def _later(
        self, now: int, said: Sequence[Report], rng: Random, kinds: tuple[type[Report], ...], most_ns: int
    ) -> list[Report]:
        """Hold the reports of some kinds back for up to `most_ns`; return the others."""
        for report in said:
            if isinstance(report, kinds):
                self._hold(now + rng.randrange(1, most_ns), report)
        return [report for report in said if not isinstance(report, kinds)]

    def _done(self, now: int, order: SubmitOrder) -> list[Report]:
        return self.inner.on_command(now, order)

    def _thin(self, now: int, order: SubmitOrder, share: float) -> list[Report]:
        """Execute the order on a book that holds only a share of it."""
        market = self.inner.state.markets[order.instrument]
        bids, asks = market.matcher.displayed(Side.BUY), market.matcher.displayed(Side.SELL)
        most = max(1, int(market.spec.lots(order.qty) * share))
        thin_bids = [(ticks, min(most, lots)) for ticks, lots in bids[:1]]
        thin_asks = [(ticks, min(most, lots)) for ticks, lots in asks[:1]]
        update_id = market.update_id or 0
        self.inner.on_market(now, BookSnapshot(now, order.instrument, update_id, thin_bids, thin_asks))
        said = self.inner.on_command(now, order)
        self.inner.on_market(now, BookSnapshot(now, order.instrument, update_id, bids, asks))
        return said


# What becomes of one submit


def _unknown(now: int, order: SubmitOrder, why: str) -> list[Report]:
    return [OutcomeUnknown(now, order.account, order.instrument, order.client_order_id, "SubmitOrder", why)]


def _refused(now: int, order: SubmitOrder) -> OrderRejected:
    key = (order.account, order.instrument, order.client_order_id)
    return OrderRejected(now, *key, RejectReason.OTHER, "overloaded")


def _no_ack(venue: FaultyVenue, now: int, order: SubmitOrder, _: Random) -> list[Report]:
    return [report for report in venue._done(now, order) if not isinstance(report, OrderAccepted)]


def _unknown_lost(_: FaultyVenue, now: int, order: SubmitOrder, __: Random) -> list[Report]:
    return _unknown(now, order, "timeout")


def _unknown_done(venue: FaultyVenue, now: int, order: SubmitOrder, _: Random) -> list[Report]:
    venue._done(now, order)
    return _unknown(now, order, "503, execution status unknown")


def _unknown_late(venue: FaultyVenue, now: int, order: SubmitOrder, rng: Random) -> list[Report]:
    """The order stands in a queue of the venue's and is done after its outcome was given up."""
    venue._number += 1
    heappush(venue._heard, (now + rng.randrange(SECOND_NS // 10, 2 * SECOND_NS), venue._number, order))
    return _unknown(now, order, "timeout, still queued")


def _silent_lost(_: FaultyVenue, __: int, ___: SubmitOrder, ____: Random) -> list[Report]:
    return []


def _silent_done(venue: FaultyVenue, now: int, order: SubmitOrder, _: Random) -> list[Report]:
    return [report for report in venue._done(now, order) if isinstance(report, AccountReport | PositionReport)]


def _delayed(venue: FaultyVenue, now: int, order: SubmitOrder, rng: Random) -> list[Report]:
    """Everything late, in its order."""
    at = now
    for report in venue._done(now, order):
        at += rng.randrange(SECOND_NS // 10, 4 * SECOND_NS)
        venue._hold(at, report)
    return []


def _reordered(venue: FaultyVenue, now: int, order: SubmitOrder, rng: Random) -> list[Report]:
    said = venue._done(now, order)
    rng.shuffle(said)
    return venue._later(now, said, rng, (Report,), 2 * SECOND_NS)


def _duplicated(venue: FaultyVenue, now: int, order: SubmitOrder, rng: Random) -> list[Report]:
    said = venue._done(now, order)
    twice = [report for report in said if isinstance(report, OrderAccepted | OrderFilled)]
    venue._later(now, twice, rng, (Report,), 5 * SECOND_NS)
    return [*said, *twice]


def _fill_first(venue: FaultyVenue, now: int, order: SubmitOrder, _: Random) -> list[Report]:
    return sorted(venue._done(now, order), key=lambda report: not isinstance(report, OrderFilled))


def _fill_lost(venue: FaultyVenue, now: int, order: SubmitOrder, _: Random) -> list[Report]:
    """The fills are never told, only that the order is over and how much of it was filled."""
    said = venue._done(now, order)
    total = sum((report.qty for report in said if isinstance(report, OrderFilled)), ZERO)
    left = [report for report in said if not isinstance(report, OrderFilled)]
    return left if _is_over(left) or not total else [*left, _expired(now, order, total)]


def _fill_after_end(venue: FaultyVenue, now: int, order: SubmitOrder, rng: Random) -> list[Report]:
    said = venue._done(now, order)
    total = sum((report.qty for report in said if isinstance(report, OrderFilled)), ZERO)
    others = venue._later(now, said, rng, (OrderFilled,), 3 * SECOND_NS)
    return others if _is_over(others) or not total else [*others, _expired(now, order, total)]


def _is_over(reports: Sequence[Report]) -> bool:
    return any(isinstance(report, OrderExpired | OrderCanceled) for report in reports)


def _expired(now: int, order: SubmitOrder, total: object) -> Report:
    return OrderExpired(now, order.account, order.instrument, order.client_order_id, total)  # type: ignore[arg-type]


def _rejected(_: FaultyVenue, now: int, order: SubmitOrder, __: Random) -> list[Report]:
    return [_refused(now, order)]


def _reject_after_ack(venue: FaultyVenue, now: int, order: SubmitOrder, rng: Random) -> list[Report]:
    """Taken, and thrown out a moment later by something behind the gate."""
    venue._hold(now + rng.randrange(1, SECOND_NS), _refused(now, order))
    return [OrderAccepted(now, order.account, order.instrument, order.client_order_id, "")]


def _partial(venue: FaultyVenue, now: int, order: SubmitOrder, rng: Random) -> list[Report]:
    return venue._thin(now, order, rng.uniform(0.05, 0.95))


_SPOILS: dict[FaultKind, Callable[[FaultyVenue, int, SubmitOrder, Random], list[Report]]] = {
    _K.NO_ACK: _no_ack,
    _K.UNKNOWN_LOST: _unknown_lost,
    _K.UNKNOWN_DONE: _unknown_done,
    _K.UNKNOWN_LATE: _unknown_late,
    _K.SILENT_LOST: _silent_lost,
    _K.SILENT_DONE: _silent_done,
    _K.DELAYED: _delayed,
    _K.REORDERED: _reordered,
    _K.DUPLICATED: _duplicated,
    _K.FILL_FIRST: _fill_first,
    _K.FILL_LOST: _fill_lost,
    _K.FILL_AFTER_END: _fill_after_end,
    _K.REJECTED: _rejected,
    _K.REJECT_AFTER_ACK: _reject_after_ack,
    _K.PARTIAL: _partial,
}
