"""Decides what went wrong and how often: refusals, incidents, mismatches, margin calls; and what funding came to.

All of it is for a metrics edge to read: nobody is told and no timer is set, so that no run depends on it.
"""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

from attrs import field, frozen

from actors.base import Actor, handles
from actors.basket_plan import DenyReason
from actors.config_checks import positive
from actors.counting import OTHER, count
from actors.execution_counts import LATENCY_BOUNDS
from actors.funding_messages import FundingPaid
from actors.guards.findings import GuardReason
from actors.messages import (
    BasketState,
    BasketUpdate,
    Checker,
    FundingState,
    Incident,
    MarginLevel,
    MarginState,
    OrderApproved,
    OrderDenied,
    OrderSent,
    OrderUpdate,
    PositionMismatch,
    PreflightReply,
)
from actors.risk_checks import Reason
from actors.statistics_state import (
    DOUBT_BOUNDS,
    Answered,
    Funding,
    Reported,
    StatisticsState,
    Waiting,
    without_executions,
)
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus
from venues.model.position import position_key
from venues.port import CancelRejected, Deleveraged, Liquidated, PositionReport, QueryKind, QueryResult

_REASONS = frozenset(Reason)
_OF_CHECKER: Mapping[Checker, frozenset[str]] = {Checker.RISK: _REASONS, Checker.GUARDS: frozenset(GuardReason)}
_DENIALS = frozenset(DenyReason)
_SEVERITY = {
    MarginLevel.HEALTHY: 0,
    MarginLevel.WARNING: 1,
    MarginLevel.DANGER: 2,
    MarginLevel.CRITICAL: 3,
    MarginLevel.LIQUIDATION: 4,
}
"""UNKNOWN is missing: it is neither better nor worse than what was known."""


@frozen
class StatisticsConfig:
    """Bounds: orders and baskets whose state is remembered, names counted in one table."""

    working: int = field(default=10_000, validator=positive)
    baskets: int = field(default=2_000, validator=positive)
    names: int = field(default=256, validator=positive)


class Statistics(Actor):
    """Counts for the configured `instruments` and `accounts`; what it does not know is counted as OTHER or left out."""

    state: StatisticsState
    schema = 2
    migrations = {1: without_executions}

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Iterable[str],
        config: StatisticsConfig | None = None,
        name: str = "",
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.accounts = tuple(accounts)
        self.config = config or StatisticsConfig()
        perpetuals = [key for key, spec in self.instruments.items() if spec.kind is InstrumentKind.PERPETUAL]
        self.state = StatisticsState(funding={key: Funding() for key in perpetuals})

    # Answers of venues

    @handles(OrderApproved)
    def on_approved(self, now: int, approved: OrderApproved) -> None:
        waiting = self.state.waiting
        waiting[approved.request.request_id] = Waiting()
        if len(waiting) > self.config.working:
            del waiting[next(iter(waiting))]

    @handles(OrderSent)
    def on_sent(self, now: int, sent: OrderSent) -> None:
        order = self.state.waiting.get(sent.request_id)
        if order is not None:
            order.sent_ns = now

    @handles(OrderUpdate)
    def on_update(self, now: int, update: OrderUpdate) -> None:
        order = self.state.waiting.get(update.request_id)
        if order is None or update.instrument not in self.instruments:
            return
        self._follow(now, order, update)
        if update.is_final:
            del self.state.waiting[update.request_id]
            self._count(self.state.ends, f"{update.instrument}|{update.reject_reason or update.status}")

    def _follow(self, now: int, order: Waiting, update: OrderUpdate) -> None:
        """Time the venue's first word about an order, and how long nobody knew what became of it."""
        status = update.status
        if status is OrderStatus.UNKNOWN:
            if order.unknown_ns is None:
                order.unknown_ns, order.sent_ns = now, None
                self._answered(update.instrument).unknown += 1
        elif order.unknown_ns is not None:
            self._answered(update.instrument).doubt.add(now - order.unknown_ns, DOUBT_BOUNDS)
            order.unknown_ns = None
        elif order.sent_ns is not None:
            self._answered(update.instrument).ack.add(now - order.sent_ns, LATENCY_BOUNDS)
            order.sent_ns = None

    def _answered(self, instrument: str) -> Answered:
        found = self.state.answered.get(instrument)
        if found is None:
            found = self.state.answered[instrument] = Answered()
        return found

    @handles(CancelRejected)
    def on_cancel_refused(self, now: int, report: CancelRejected) -> None:
        self._count(self.state.cancels_refused, f"{self._known(report.instrument)}|{report.reason}")

    # Refusals

    @handles(OrderDenied)
    def on_denied(self, now: int, denied: OrderDenied) -> None:
        for text in denied.reasons:
            self._count(self.state.refusals, f"order|{_reason(text, _REASONS)}")

    @handles(PreflightReply)
    def on_preflight(self, now: int, reply: PreflightReply) -> None:
        if not reply.is_ok:
            for text in reply.reasons:
                reason = _reason(text, _OF_CHECKER.get(reply.checker, frozenset()))
                self._count(self.state.refusals, f"{reply.checker}|{reason}")

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        """Count each state a basket comes to once; the same state is told again for every fill."""
        states, state = self.state.basket_states, update.state.value
        if states.get(update.basket_id) == state:
            return
        states[update.basket_id] = state
        if len(states) > self.config.baskets:
            del states[next(iter(states))]
        self._count(self.state.baskets, f"{update.strategy}|{state}")
        if update.state is BasketState.DENIED:
            reason = update.why.partition(":")[0]
            self._count(self.state.denials, f"{update.strategy}|{reason if reason in _DENIALS else OTHER}")

    @handles(Incident)
    def on_incident(self, now: int, incident: Incident) -> None:
        self._count(self.state.incidents, incident.kind)

    def _count(self, table: dict[str, int], key: str) -> None:
        count(table, key, self.config.names)

    # Margin and positions

    @handles(MarginState)
    def on_margin(self, now: int, margin: MarginState) -> None:
        """Count a call when an account comes to a worse level than the last known, or to none that is known."""
        worse = _SEVERITY.get(margin.level)
        if worse is None:
            self._count(self.state.margin_calls, f"{margin.account}|{margin.level}")
            return
        before = self.state.margin_levels.get(margin.account, MarginLevel.HEALTHY)
        self.state.margin_levels[margin.account] = margin.level
        if worse > _SEVERITY[before]:
            self._count(self.state.margin_calls, f"{margin.account}|{margin.level}")

    @handles(PositionMismatch)
    def on_mismatch(self, now: int, mismatch: PositionMismatch) -> None:
        self._count(self.state.mismatches, f"{self._known(mismatch.instrument)}|{mismatch.kind}")

    @handles(Liquidated)
    def on_liquidated(self, now: int, report: Liquidated) -> None:
        self._count(self.state.liquidations, self._known(report.instrument))

    @handles(Deleveraged)
    def on_deleveraged(self, now: int, report: Deleveraged) -> None:
        self._count(self.state.deleveragings, self._known(report.instrument))

    def _known(self, instrument: str) -> str:
        return instrument if instrument in self.instruments else OTHER

    @handles(PositionReport)
    def on_report(self, now: int, report: PositionReport) -> None:
        if report.account in self.accounts and report.instrument in self.instruments:
            self._keep(self.state.reported.setdefault(report.account, {}), report)

    @handles(QueryResult)
    def on_answer(self, now: int, result: QueryResult) -> None:
        """A complete answer also tells what is not there."""
        if result.kind is QueryKind.POSITIONS and result.account in self.accounts:
            mine = self.state.reported[result.account] = {}
            for report in result.positions:
                if report.instrument in self.instruments:
                    self._keep(mine, report)

    def _keep(self, mine: dict[str, Reported], report: PositionReport) -> None:
        key = position_key(report.account, report.instrument, report.position_side)
        price = report.liquidation_price
        if not report.qty or not report.qty.is_finite():
            mine.pop(key, None)
        else:
            is_price = price is not None and price.is_finite() and price > ZERO
            mine[key] = Reported(report.ts, report.qty, price if is_price else None)

    # Funding

    @handles(FundingState)
    def on_rate(self, now: int, funding: FundingState) -> None:
        one = self.state.funding.get(funding.instrument)
        if one is not None:
            one.rate.note(now, funding.rate)

    @handles(FundingPaid)
    def on_paid(self, now: int, settled: FundingPaid) -> None:
        one = self.state.funding.get(settled.instrument)
        if one is None or not settled.amount.is_finite():
            return
        if settled.amount > ZERO:
            one.received += settled.amount
        else:
            one.paid -= settled.amount

    def mean_rate(self, now: int, instrument: str) -> Decimal | None:
        """Return the mean of the running rate over the last eight hours, a share per interval; None when unknown."""
        one = self.state.funding.get(instrument)
        return None if one is None else one.rate.mean(now)


def _reason(text: str, known: Collection[str]) -> str:
    """Return the reason in `[subject: ]reason: figures`, OTHER for words that are not among the known ones."""
    return next((part for part in text.split(": ", 2)[:2] if part in known), OTHER)
