"""What becomes of an account's orders: which request each command is, what its answer says, what a loss leaves open."""

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Final, Protocol

import msgspec
from attrs import define, field

from venues.binance.calls import BinanceCall, UnsupportedCommandError
from venues.binance.errors import CodecError
from venues.binance.reactions import Reaction, Verdict, judge_http
from venues.binance.sessions import Answered, Outcome, Unproven, Unsent
from venues.binance.ways import RequestWays
from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import (
    CancelAll,
    CancelOrder,
    CancelRejected,
    ModifyOrder,
    ModifyRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    QueryResult,
    RejectReason,
    Report,
    SubmitOrder,
)
from venues.unsent import unknown, unsent

ORDERS_MAX: Final = 20_000
"""Orders remembered for their side and kind; what is forgotten can still be cancelled, and changed after a question."""

ENDED_MAX: Final = 1_024
"""Orders remembered after their end, for what is told twice."""

_OK: Final = 200
_PRECISION: Final = -1111

Tell = Callable[[Sequence[Report]], None]
OrderCommand = SubmitOrder | ModifyOrder | CancelOrder


class OrderRequests(Protocol):
    """Makes requests of commands. Every method raises UnsupportedCommandError."""

    instruments: dict[str, Instrument]

    def submit(self, command: SubmitOrder) -> BinanceCall: ...
    def modify(self, command: ModifyOrder, side: Side) -> BinanceCall: ...
    def cancel(self, command: CancelOrder, *, is_algo: bool = False) -> BinanceCall: ...
    def cancel_all(self, command: CancelAll) -> tuple[BinanceCall, ...]: ...


class OrderAnswers(Protocol):
    """Reads the answers. Every method raises CodecError."""

    def accepted(self, account: str, body: bytes | msgspec.Raw) -> OrderAccepted: ...
    def algo_accepted(self, account: str, body: bytes | msgspec.Raw) -> OrderAccepted: ...
    def modified(self, command: ModifyOrder, body: bytes | msgspec.Raw) -> OrderModified | OrderCanceled: ...
    def canceled(self, account: str, body: bytes | msgspec.Raw) -> OrderCanceled | None: ...


@define
class _Known:
    """An order sent from here. While its submit is under way `held` waits: another way might be faster."""

    instrument: str
    side: Side
    is_algo: bool
    qty: Decimal
    filled: Decimal = ZERO
    is_under_way: bool = True
    is_accepted: bool = False
    is_over: bool = False
    modified: OrderModified | None = None
    held: list[ModifyOrder | CancelOrder] = field(factory=list)


class OrderEntry:
    """One account's orders. Reports go to `tell`; those of the user stream pass `news` first, which drops repeats.

    `on_refusal` hears every refusal; `side_of` asks the venue for an order's side (None: it does not exist). With
    `has_algo` the venue keeps conditional orders apart from the others.
    """

    def __init__(
        self,
        account: str,
        requests: OrderRequests,
        answers: OrderAnswers,
        ways: RequestWays,
        *,
        tell: Tell,
        now: Callable[[], int],
        on_refusal: Callable[[Verdict], None],
        side_of: Callable[[ModifyOrder], Awaitable[Side | None]],
        has_algo: bool = True,
    ) -> None:
        self._account = account
        self._requests = requests
        self._answers = answers
        self._ways = ways
        self._tell = tell
        self._now = now
        self._on_refusal = on_refusal
        self._side_of = side_of
        self._has_algo = has_algo
        self._orders: dict[str, _Known] = {}
        self._ended: dict[str, None] = {}

    # New orders

    def submit(self, command: SubmitOrder) -> None:
        try:
            call = self._requests.submit(command)
        except UnsupportedCommandError as error:
            self._reject(command, error.reason, error.text)
            return
        name = command.client_order_id
        known = self._orders.get(name)
        if known is None or known.is_over:
            self._orders.pop(name, None)
            self._ended.pop(name, None)
            known = self._orders[name] = _Known(command.instrument, command.side, "algo" in call.path, command.qty)
            if len(self._orders) > ORDERS_MAX:
                del self._orders[next(iter(self._orders))]
        self._ways.start(call, partial(self._submitted, command, known))

    def _submitted(self, command: SubmitOrder, known: _Known, outcome: Outcome) -> None:
        known.is_under_way = False
        if isinstance(outcome, Unproven):
            self._lose(command, outcome.why)
        elif isinstance(outcome, Unsent):
            self._finish(command.client_order_id, known)
            self._reject(command, RejectReason.RATE_LIMIT if outcome.is_for_rate else RejectReason.OTHER, outcome.why)
        elif outcome.status == _OK:
            self._accept(command, known, outcome.body)
        else:
            verdict = self._refused(outcome)
            if verdict.is_unknown:
                self._lose(command, verdict.text)
            else:
                # A second order under an id says nothing of the first.
                if not known.is_accepted:
                    self._finish(command.client_order_id, known)
                self._reject(command, self._reason(command, verdict), verdict.text)
        held, known.held = known.held, []
        for later in held:
            if isinstance(later, CancelOrder):
                self.cancel(later)
            else:
                self.modify(later)

    def _accept(self, command: SubmitOrder, known: _Known, body: bytes) -> None:
        read = self._answers.algo_accepted if known.is_algo else self._answers.accepted
        try:
            report = read(self._account, body)
        except CodecError as error:
            self._lose(command, f"the answer cannot be read: {error}")
            return
        if not known.is_accepted:
            known.is_accepted = True
            self._tell((report,))

    def _reject(self, command: SubmitOrder, reason: RejectReason, text: str) -> None:
        ids = (command.account, command.instrument, command.client_order_id)
        self._tell((OrderRejected(self._now(), *ids, reason, text),))

    # Cancels

    def cancel(self, command: CancelOrder) -> None:
        known = self._orders.get(command.client_order_id)
        if known is not None and known.is_under_way:
            known.held.append(command)
            return
        is_algo = known is not None and known.is_algo
        self._cancel(command, is_algo, is_last=not self._has_algo or (known is not None and not is_algo))

    def _cancel(self, command: CancelOrder, is_algo: bool, is_last: bool) -> None:
        """Send the cancel; unless `is_last`, an order that is not found is looked for among the other kind too."""
        try:
            call = self._requests.cancel(command, is_algo=is_algo)
        except UnsupportedCommandError as error:
            self._refuse_cancel(command, error.reason, error.text)
            return
        self._ways.start(call, partial(self._canceled, command, is_algo, is_last))

    def _canceled(self, command: CancelOrder, is_algo: bool, is_last: bool, outcome: Outcome) -> None:
        if isinstance(outcome, Unproven):
            self._lose(command, outcome.why)
        elif isinstance(outcome, Unsent):
            if outcome.is_for_rate:
                self._refuse_cancel(command, RejectReason.RATE_LIMIT, outcome.why)
            else:
                self._tell((unsent(command, self._now(), outcome.why),))
        elif outcome.status == _OK:
            self._end(command, is_algo, outcome.body)
        else:
            verdict = self._refused(outcome)
            if verdict.is_unknown:
                self._lose(command, verdict.text)
            elif verdict.reason is RejectReason.UNKNOWN_ORDER and not is_last:
                self._cancel(command, not is_algo, is_last=True)
            else:
                self._refuse_cancel(command, verdict.reason, verdict.text)

    def _end(self, command: CancelOrder, is_algo: bool, body: bytes) -> None:
        if is_algo:
            ids = (command.account, command.instrument, command.client_order_id)
            self._pass((OrderCanceled(self._now(), *ids, ZERO),))
            return
        try:
            report = self._answers.canceled(self._account, body)
        except CodecError as error:
            self._lose(command, f"the answer cannot be read: {error}")
            return
        if report is not None:
            self._pass((report,))

    def _refuse_cancel(self, command: CancelOrder, reason: RejectReason, text: str) -> None:
        ids = (command.account, command.instrument, command.client_order_id)
        self._tell((CancelRejected(self._now(), *ids, reason, text),))

    def cancel_all(self, command: CancelAll) -> None:
        """Cancel what rests, and what is under way as soon as it rests. The user stream tells each end."""
        try:
            calls = self._requests.cancel_all(command)
        except UnsupportedCommandError as error:
            self._tell((unsent(command, self._now(), error.text),))
            return
        for name, known in self._orders.items():
            if known.is_under_way and command.instrument in (None, known.instrument):
                known.held.append(CancelOrder(command.ts, command.account, known.instrument, name))
        for call in calls:
            self._ways.start(call, partial(self._all_canceled, command))

    def _all_canceled(self, command: CancelAll, outcome: Outcome) -> None:
        if isinstance(outcome, Answered):
            if outcome.status == _OK:
                return
            verdict = self._refused(outcome)
            if not verdict.is_unknown and verdict.reason is RejectReason.UNKNOWN_ORDER:
                # Spot says so where there is nothing to cancel.
                return
            self._lose(command, verdict.text)
        else:
            self._lose(command, outcome.why)

    # Changes

    def modify(self, command: ModifyOrder) -> None:
        known = self._orders.get(command.client_order_id)
        if known is None:
            self._ways.start_task(partial(self._find_and_modify, command))
        elif known.is_under_way:
            known.held.append(command)
        elif known.is_algo:
            text = "a conditional order cannot be changed before it triggers"
            self._refuse_modify(command, RejectReason.UNSUPPORTED, text)
        else:
            self._modify(command, known.side)

    async def _find_and_modify(self, command: ModifyOrder) -> None:
        """Change an order that was not sent from here, or long ago: the venue wants its side."""
        try:
            side = await self._side_of(command)
        except UnsupportedCommandError as error:
            self._refuse_modify(command, error.reason, error.text)
            return
        if side is None:
            self._refuse_modify(command, RejectReason.UNKNOWN_ORDER, "the venue knows no such order")
        else:
            self._modify(command, side)

    def _modify(self, command: ModifyOrder, side: Side) -> None:
        try:
            call = self._requests.modify(command, side)
        except UnsupportedCommandError as error:
            self._refuse_modify(command, error.reason, error.text)
            return
        self._ways.start(call, partial(self._modified, command))

    def _modified(self, command: ModifyOrder, outcome: Outcome) -> None:
        if isinstance(outcome, Unproven):
            self._lose(command, outcome.why)
        elif isinstance(outcome, Unsent):
            # The order stays as it was: proven.
            reason = RejectReason.RATE_LIMIT if outcome.is_for_rate else RejectReason.OTHER
            self._refuse_modify(command, reason, outcome.why)
        elif outcome.status == _OK:
            try:
                report = self._answers.modified(command, outcome.body)
            except CodecError as error:
                self._lose(command, f"the answer cannot be read: {error}")
                return
            self._pass((report,))
        else:
            verdict = self._refused(outcome)
            if verdict.is_unknown:
                self._lose(command, verdict.text)
            elif verdict.reaction is Reaction.ALREADY_SO:
                ids = (command.account, command.instrument, command.client_order_id)
                self._tell((OrderModified(self._now(), *ids, command.qty, command.price),))
            else:
                self._refuse_modify(command, self._reason(command, verdict), verdict.text)

    def _refuse_modify(self, command: ModifyOrder, reason: RejectReason, text: str) -> None:
        ids = (command.account, command.instrument, command.client_order_id)
        self._tell((ModifyRejected(self._now(), *ids, reason, text),))

    # What the venue says

    def news(self, reports: Sequence[Report]) -> list[Report]:
        """Return what of the user stream's reports is not known already from an answer."""
        return [report for report in reports if not self._is_repeat(report)]

    def learn(self, reports: Sequence[Report]) -> None:
        """Take from answers to questions which orders may be forgotten: the event of their end may be lost.

        If it comes after all it is told: who had asked may have waited no longer.
        """
        for result in reports:
            for order in result.orders if isinstance(result, QueryResult) else ():
                known = self._orders.get(order.client_order_id)
                if known is not None and order.status.is_terminal and not (known.is_over or known.is_under_way):
                    self._forget_later(order.client_order_id)

    def _pass(self, reports: Sequence[Report]) -> None:
        fresh = self.news(reports)
        if fresh:
            self._tell(fresh)

    def _is_repeat(self, report: Report) -> bool:
        known = self._orders.get(getattr(report, "client_order_id", ""))
        if known is None:
            return False
        if isinstance(report, OrderAccepted):
            was, known.is_accepted = known.is_accepted, True
            return was
        if isinstance(report, OrderCanceled | OrderExpired | OrderRejected):
            was = known.is_over
            self._finish(report.client_order_id, known)
            return was
        if isinstance(report, OrderModified):
            before = known.modified
            if before is not None and _is_old(report, before):
                return True
            known.modified, known.qty = report, report.qty
        elif isinstance(report, OrderFilled):
            known.filled += report.qty
            if known.filled == known.qty:
                self._finish(report.client_order_id, known)
        elif isinstance(report, OrderTriggered):
            known.is_algo = False
        return False

    def _finish(self, name: str, known: _Known) -> None:
        known.is_over = True
        self._forget_later(name)

    def _forget_later(self, name: str) -> None:
        """An order is over: forget it after a thousand others."""
        self._ended[name] = None
        if len(self._ended) > ENDED_MAX:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._orders.pop(oldest, None)

    def _refused(self, outcome: Answered) -> Verdict:
        verdict = judge_http(outcome.status, outcome.body, changes=True, retry_after=outcome.headers.get("retry-after"))
        self._on_refusal(verdict)
        return verdict

    def _reason(self, command: SubmitOrder | ModifyOrder, verdict: Verdict) -> RejectReason:
        """Return the reason of a refusal; the code for too many digits does not tell whether of price or quantity."""
        spec = self._requests.instruments.get(command.instrument)
        if verdict.code != _PRECISION or spec is None:
            return verdict.reason
        try:
            spec.lots(command.qty)
        except (OffGridError, InvalidOperation):
            return RejectReason.OFF_LOT
        return verdict.reason

    def _lose(self, command: OrderCommand | CancelAll, why: str) -> None:
        self._tell((unknown(command, self._now(), why),))


def _is_old(report: OrderModified, before: OrderModified) -> bool:
    """Whether an answer or event tells of a change that is known, or was followed by one that is."""
    is_same = (report.qty, report.price) == (before.qty, before.price)
    return report.ts < before.ts or (report.ts == before.ts and is_same)
