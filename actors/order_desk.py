"""What follows from what is proven about an order: its state, whom to tell, what to ask the venue and when."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import evolve

from actors.base import Actor
from actors.inquiry import Inquiry, Pace, Verdict
from actors.messages import FillEvent, Incident, KillLevel, KillTrigger, OrderSent, OrderUpdate, PreflightReply
from actors.order_records import OrderManagerConfig, OrderManagerState, Trace, Tracked
from actors.order_resolutions import Action, Resolution, resolve
from actors.pacing import Pacer, PacingConfig, Priority, Waiting
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import IllegalTransitionError, OrderEvent, OrderStatus, next_status
from venues.port import CancelOrder, OrderReport, Query, QueryKind, RejectReason, SubmitOrder

_TIMER = "watch"
_SIGHTINGS_MAX = 3
"""How many answers in a row may show an ended order resting before they are believed: a venue's view lags."""


class OrderDesk(Actor):
    """The records of an order manager and the rules by which they change; the handlers are in OrderManager."""

    publishes = (OrderSent, OrderUpdate, FillEvent, Incident, KillTrigger, PreflightReply)
    sends = (SubmitOrder, CancelOrder, Query)

    state: OrderManagerState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        config: OrderManagerConfig | None = None,
        name: str = "order_manager",
        *,
        accounts: Mapping[str, str] | None = None,
        pacing: PacingConfig | None = None,
    ) -> None:
        """`accounts` gives the venue of each account whose open orders are looked through for strangers."""
        super().__init__(name)
        self.instruments = instruments
        self.config = config or OrderManagerConfig()
        self._pace = Pace(
            self.config.query_backoff_ns,
            self.config.query_backoff_max_ns,
            self.config.query_timeout_ns,
            self.config.absence_quiet_ns,
        )
        self.accounts = dict(accounts or {})
        self.state = OrderManagerState()
        self._pacer = Pacer(pacing or PacingConfig(), self.state.pacing)
        self._is_paced = bool(self._pacer.config.venues)

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._pacer.state = self.state.pacing
        self._is_paced = bool(self._pacer.config.venues or self.state.pacing.frozen_ns)

    # Changes

    def _find(self, now: int, client_id: str, instrument: str, report: str) -> Tracked | None:
        tracked = self.state.orders.get(client_id)
        if tracked is None:
            is_known = client_id in self.state.traces or self._was_ours(client_id)
            if not is_known and report == "OrderAccepted":
                self._incident(now, "external_order", "", f"{instrument}: order {client_id!r} is not ours")
            return None
        if tracked.order.instrument != instrument:
            self._nonsense(now, tracked, f"{report} names {instrument}, the order {tracked.order.instrument}")
            return None
        return tracked

    def _change(self, now: int, tracked: Tracked, event: OrderEvent, why: str = "", *, is_answer: bool = False) -> bool:
        """Apply a proven event; False when it cannot follow: the venue is asked then.

        Published is what changed, and every answer to a question even if it changes nothing.
        """
        order = tracked.order
        before = order.status
        try:
            order.apply(event)
        except IllegalTransitionError as error:
            self._nonsense(now, tracked, str(error))
            return False
        if order.status is OrderStatus.ACCEPTED and order.filled_qty:
            order.apply(OrderEvent.FILL_PART)
        order.updated_ns = now
        inquiry = self.state.inquiries.get(order.client_order_id)
        if inquiry is not None:
            inquiry.disprove_absence()
        self._settle(now, tracked, why=why, is_news=is_answer or order.status is not before)
        return True

    def _lose(self, now: int, tracked: Tracked, why: str) -> None:
        if tracked.order.status.may_rest:
            before = tracked.order.status
            tracked.order.apply(OrderEvent.LOSE)
            if before is not OrderStatus.UNKNOWN:
                tracked.order.updated_ns = now
                self._publish(now, tracked, why)
            self._inquire(now, tracked)

    def _raise_total(self, now: int, tracked: Tracked, total: Decimal) -> bool:
        if not total.is_finite() or total < ZERO:
            self._nonsense(now, tracked, f"a filled total of {total}")
            return False
        tracked.venue_filled = max(tracked.venue_filled, total)
        return True

    def _settle(self, now: int, tracked: Tracked, why: str = "", is_news: bool = True) -> None:
        """Draw the consequences of a change: finality, watching, asking for missing fills; then tell."""
        order = tracked.order
        client_id = order.client_order_id
        if order.status is OrderStatus.FILLED:
            tracked.venue_filled = max(tracked.venue_filled, order.qty)
        is_final = order.status.is_terminal and not tracked.lacks_fills
        if order.status.is_terminal:
            self.state.watched.pop(client_id, None)
            tracked.is_cancel_pending = False
            if self.state.pacing.waiting:
                self.state.pacing.waiting.pop(client_id, None)
        elif tracked.is_immediate or tracked.is_cancel_pending:
            self._watch(client_id, now + self.config.ack_timeout_ns)
        else:
            self.state.watched.pop(client_id, None)
        is_news = is_news or is_final is not tracked.is_final
        tracked.is_final = is_final
        if is_news:
            self._publish(now, tracked, why)
        if is_final:
            self._end(client_id)
        elif tracked.lacks_fills:
            self._inquire(now, tracked, asks_order=False)

    def _end(self, client_id: str) -> None:
        inquiry = self.state.inquiries.get(client_id)
        if inquiry is not None and not inquiry.is_verifying:
            self._drop_inquiry(client_id)
        ended = self.state.ended
        ended[client_id] = None
        while len(ended) > self.config.keep_orders:
            oldest = next(iter(ended))
            del ended[oldest]
            self._compact(oldest)

    def _compact(self, client_id: str) -> None:
        tracked = self.state.orders[client_id]
        if not tracked.is_final:
            return
        del self.state.orders[client_id]
        self._drop_inquiry(client_id)
        self.state.pacing.waiting.pop(client_id, None)
        order = tracked.order
        self.state.venue_ids.pop(f"{order.instrument}|{order.venue_order_id}", None)
        traces = self.state.traces
        traces[client_id] = Trace(tracked.request_id, tracked.strategy, tracked.basket_id, order.trade_ids)
        while len(traces) > self.config.keep_traces:
            forgotten = traces.pop(next(iter(traces)))
            self.state.requests.pop(forgotten.request_id, None)

    def _name(self, tracked: Tracked, venue_order_id: str) -> None:
        if venue_order_id and not tracked.order.venue_order_id:
            tracked.order.venue_order_id = venue_order_id
            self.state.venue_ids[f"{tracked.order.instrument}|{venue_order_id}"] = tracked.order.client_order_id

    def _was_ours(self, client_id: str) -> bool:
        number = client_id.removeprefix(self.config.run_prefix)
        if number == client_id or not number.isdecimal() or int(number) >= self.state.next_order:
            return False
        return client_id not in self.state.orders

    # Sending

    def _submit(self, now: int, tracked: Tracked, command: SubmitOrder) -> None:
        order = tracked.order
        order.status = next_status(order.status, OrderEvent.SEND)
        self.out.send(command)
        self._watch(command.client_order_id, now + self.config.ack_timeout_ns)
        self.out.emit(OrderSent(now, tracked.request_id, order.account, order.instrument))

    def _refused(self, now: int, venue: str, until_ns: int | None = None) -> int:
        """The venue refused for the number of requests, limits or not; return until when it is left alone."""
        self._is_paced = True
        return self._pacer.refused(now, venue, until_ns)

    def _may_go(self, now: int, tracked: Tracked, command: SubmitOrder, venue: str, priority: Priority) -> bool:
        """Whether the venue's limits leave room now; if not, the order waits, or is given up at once."""
        order, pacer, later = tracked.order, self._pacer, 0
        if not (pacer.state.waiting and pacer.is_behind(order.account, priority)):
            later = pacer.take(now, venue, order.account, priority, basket_id=tracked.basket_id)
            if not later:
                return True
        if not pacer.has_room(priority):
            self._give_up(now, tracked, f"{pacer.config.queue_max} orders wait already")
            return False
        until = now + pacer.config.patience(priority)
        pacer.wait(order.client_order_id, Waiting(order.account, venue, priority, 0, later or now, now, until, command))
        self._publish(now, tracked, "waits for room under the venue's rate limit")
        self._arm(min(later or now, until))
        return False

    def _give_up(self, now: int, tracked: Tracked, why: str, event: OrderEvent = OrderEvent.EXPIRE) -> None:
        """End an order that was not sent."""
        self._pacer.state.waiting.pop(tracked.order.client_order_id, None)
        if event is OrderEvent.EXPIRE:
            tracked.reject_reason = RejectReason.RATE_LIMIT
            self._pacer.state.given_up += 1
        tracked.order.apply(event)
        tracked.order.updated_ns = now
        self._settle(now, tracked, why=f"not sent: {why}")

    def _send_waiting(self, now: int) -> None:
        """Send what waited, as far as there is room; give up what waited too long."""
        pacer = self._pacer
        full: dict[str, int] = {}
        for client_id, waiting in pacer.queue():
            tracked, command = self.state.orders[client_id], waiting.command
            if waiting.until_ns is not None and waiting.until_ns <= now:
                self._give_up(now, tracked, f"waited {now - waiting.since_ns} ns for room under the rate limit")
                continue
            # Whoever comes later must not overtake, be it ever so cheap.
            if waiting.account in full:
                waiting.due_ns = max(waiting.due_ns, full[waiting.account])
                continue
            if waiting.due_ns > now:
                if not waiting.is_held:
                    full[waiting.account] = waiting.due_ns
                continue
            waiting.is_held = False
            later = pacer.take(now, waiting.venue, waiting.account, waiting.priority, basket_id=tracked.basket_id)
            if later:
                waiting.due_ns = full[waiting.account] = later
                continue
            del pacer.state.waiting[client_id]
            if command is not None:
                again: Any = command
                self._submit(now, tracked, evolve(again, ts=now))
            else:
                self._send_cancel(now, tracked)

    # Cancelling

    def _cancel(self, now: int, tracked: Tracked) -> None:
        """Send one cancel until it is answered, for UNKNOWN orders too: a cancel can only take risk away.

        Should it overtake its order, the refusal leads to a query, and an order found alive is cancelled again.
        """
        tracked.is_cancel_wanted = True
        if tracked.is_cancel_pending:
            return
        order = tracked.order
        if order.status is OrderStatus.CREATED:
            self._give_up(now, tracked, "cancelled before it was sent", OrderEvent.CANCEL)
            return
        tracked.is_cancel_pending = True
        if self._is_paced:
            later = self._pacer.take(
                now, self._venue(tracked), order.account, Priority.CANCEL, basket_id=tracked.basket_id
            )
            if later:
                self._cancel_later(now, tracked, later)
                return
        self._send_cancel(now, tracked)

    def _send_cancel(self, now: int, tracked: Tracked) -> None:
        order = tracked.order
        self.out.send(CancelOrder(now, order.account, order.instrument, order.client_order_id))
        self._watch(order.client_order_id, now + self.config.ack_timeout_ns)

    def _cancel_later(self, now: int, tracked: Tracked, at: int, *, is_held: bool = False) -> None:
        order = tracked.order
        waiting = Waiting(order.account, self._venue(tracked), Priority.CANCEL, 0, at, now, is_held=is_held)
        self._pacer.wait(order.client_order_id, waiting)
        self._arm(at)

    def _live(self) -> list[Tracked]:
        return [tracked for tracked in self.state.orders.values() if not tracked.order.status.is_terminal]

    def _sent(self) -> list[Tracked]:
        """Return the orders that the venue may hold."""
        return [tracked for tracked in self.state.orders.values() if tracked.order.status.may_rest]

    # Asking

    def _inquire(self, now: int, tracked: Tracked, *, asks_order: bool = True, attempt: int = 0) -> None:
        """Ask for the order, or only for its missing fills; at once unless an answer is on its way already."""
        client_id = tracked.order.client_order_id
        inquiry = self.state.inquiries.get(client_id)
        if inquiry is None:
            inquiry = self.state.inquiries[client_id] = Inquiry(attempt=attempt)
            inquiry.next_ns = now if attempt == 0 else now + self._pace.delay(attempt - 1)
        elif asks_order and not inquiry.asks_order and not inquiry.is_waiting:
            inquiry.next_ns = now
        inquiry.asks_order = inquiry.asks_order or asks_order
        inquiry.is_verifying = inquiry.is_verifying or (asks_order and tracked.order.status.is_terminal)
        if inquiry.next_ns <= now and not inquiry.is_waiting:
            self._ask(now, tracked, inquiry)
        self._arm(inquiry.due_ns(self._pace))

    def _ask(self, now: int, tracked: Tracked, inquiry: Inquiry) -> None:
        order = tracked.order
        kinds = (QueryKind.ORDER, QueryKind.FILLS) if inquiry.asks_order else (QueryKind.FILLS,)
        if self._is_paced:
            later = self._pacer.take(now, self._venue(tracked), order.account, Priority.QUERY, len(kinds))
            if later:
                inquiry.next_ns = later
                return
        inquiry.begin(now)
        for kind in kinds:
            query_id = f"{self.name}-{self.state.next_query}"
            self.state.next_query += 1
            self.state.queries[query_id] = order.client_order_id
            inquiry.outstanding[query_id] = kind
            since = max(0, order.created_ns - self.config.fills_lookback_ns) if kind is QueryKind.FILLS else None
            client_id = order.client_order_id if kind is QueryKind.ORDER else None
            self.out.send(Query(now, order.account, query_id, kind, order.instrument, client_id, since))

    def _reported(self, now: int, report: OrderReport) -> bool:
        """Apply the venue's view of one order; False when it says nothing about one of ours."""
        tracked = self.state.orders.get(report.client_order_id)
        if tracked is None or tracked.order.instrument != report.instrument:
            return False
        found = resolve(tracked.order.status, report.status)
        if found.action is Action.NOTHING or not self._raise_total(now, tracked, report.filled_qty):
            return False
        self._name(tracked, report.venue_order_id)
        return self._carry_out(now, tracked, found, report.status)

    def _carry_out(self, now: int, tracked: Tracked, found: Resolution, theirs: OrderStatus) -> bool:
        """Do what the table says of the venue's answer; False when it does not settle what became of the order."""
        order, action = tracked.order, found.action
        if action is Action.VERIFY:
            tracked.sightings += 1
            if tracked.sightings < _SIGHTINGS_MAX:
                self._cancel(now, tracked)
                self._inquire(now, tracked)
                self.state.inquiries[order.client_order_id].disprove_absence()
            else:
                self._revive(now, tracked, f"{tracked.sightings} queries in a row found it {theirs}")
            return False
        if action is Action.REVIVE:
            if order.status is OrderStatus.CREATED:
                self._give_up(now, tracked, found.reason, OrderEvent.CANCEL)
            self._revive(now, tracked, "a query found it resting")
            return False
        if action is Action.DISPUTE:
            self._nonsense(now, tracked, f"{order.status} here, {theirs} there: {found.reason}")
            return False
        tracked.sightings = 0
        if found.event is not None:
            return self._change(now, tracked, found.event, "answer to a query", is_answer=True)
        self._settle(now, tracked, why="answer to a query")
        return True

    def _revive(self, now: int, tracked: Tracked, why: str) -> None:
        """Cancel an order that rests after it was taken for refused or absent, and ask until the venue says it is over.

        Its state stays terminal, so that nobody counts on it; its fills are booked all the same.
        """
        text = f"{tracked.order.client_order_id} was {tracked.order.status}: {why}"
        self._incident(now, "order_alive", tracked.basket_id, text)
        self._trip(now, "order_alive", text)
        self._cancel(now, tracked)
        self._inquire(now, tracked)
        inquiry = self.state.inquiries[tracked.order.client_order_id]
        inquiry.disprove_absence()

    def _judge(self, now: int, tracked: Tracked, inquiry: Inquiry, verdict: Verdict) -> None:
        order = tracked.order
        if verdict is not Verdict.NOTHING:
            inquiry.asks_order = inquiry.is_verifying = False
        if verdict is Verdict.ABSENT:
            found = resolve(order.status, None, existed=bool(order.venue_order_id or order.filled_qty))
            if found.event is not None:
                self._change(now, tracked, found.event, "proven absent")
        if verdict is Verdict.FOUND and tracked.lacks_fills and not inquiry.is_waiting:
            self._ask(now, tracked, inquiry)
        self._review(tracked, inquiry)
        if verdict is Verdict.FOUND and tracked.is_cancel_wanted and not order.status.is_terminal:
            self._cancel(now, tracked)

    def _review(self, tracked: Tracked, inquiry: Inquiry) -> None:
        """Go on asking while something is open, and end the inquiry otherwise."""
        if inquiry.asks_order or tracked.lacks_fills or inquiry.is_waiting:
            self._arm(inquiry.due_ns(self._pace))
        else:
            self._drop_inquiry(tracked.order.client_order_id)

    def _drop_inquiry(self, client_id: str) -> None:
        inquiry = self.state.inquiries.pop(client_id, None)
        if inquiry is not None:
            self._forget_queries(inquiry)

    def _forget_queries(self, inquiry: Inquiry) -> None:
        for query_id in inquiry.outstanding:
            self.state.queries.pop(query_id, None)

    # Time

    def _ask_for_all(self, now: int, venue: str | None) -> None:
        for tracked in list(self.state.orders.values()):
            is_unsent = tracked.order.status is OrderStatus.CREATED
            if tracked.is_final or is_unsent or (venue is not None and self._venue(tracked) != venue):
                continue
            inquiry = self.state.inquiries.get(tracked.order.client_order_id)
            if inquiry is not None:
                self._forget_queries(inquiry)
                inquiry.restart(now)
            self._inquire(now, tracked, asks_order=not tracked.order.status.is_terminal)

    def _venue(self, tracked: Tracked) -> str:
        return self.instruments[tracked.order.instrument].venue

    def _watch(self, client_id: str, due_ns: int) -> None:
        state = self.state
        state.watched[client_id] = due_ns
        if state.timer_at is None or due_ns < state.timer_at:
            self._arm(due_ns)

    def _arm(self, at: int) -> None:
        if self.state.timer_at is None or at < self.state.timer_at:
            self.state.timer_at = at
            self.out.timer(_TIMER, at)

    def on_timer(self, now: int, key: str) -> None:
        self.state.timer_at = None
        self._sweep(now)

    def _sweep(self, now: int) -> None:
        if self.state.pacing.waiting:
            self._send_waiting(now)
        for client_id, due_ns in list(self.state.watched.items()):
            if due_ns <= now:
                del self.state.watched[client_id]
                self._overdue(now, self.state.orders[client_id])
        for client_id, inquiry in list(self.state.inquiries.items()):
            if inquiry.due_ns(self._pace) <= now:
                if inquiry.is_waiting:
                    for query_id in list(inquiry.outstanding):
                        self.state.queries.pop(query_id, None)
                        inquiry.fail(now, query_id, self._pace)
                else:
                    self._ask(now, self.state.orders[client_id], inquiry)
        due = [*self.state.watched.values(), *(i.due_ns(self._pace) for i in self.state.inquiries.values())]
        waiting_ns = self._pacer.next_ns()
        if waiting_ns is not None:
            due.append(waiting_ns)
        if due:
            self._arm(min(due))

    def _overdue(self, now: int, tracked: Tracked) -> None:
        tracked.is_cancel_pending = False
        if tracked.order.status is OrderStatus.SENT:
            self._lose(now, tracked, f"no answer within {self.config.ack_timeout_ns} ns")
        elif not tracked.order.status.is_terminal:
            self._inquire(now, tracked)
            if tracked.is_immediate:
                self._watch(tracked.order.client_order_id, now + self.config.ack_timeout_ns)

    # Telling

    def _publish(self, now: int, tracked: Tracked, why: str = "") -> None:
        order = tracked.order
        self.out.emit(
            OrderUpdate(
                now,
                tracked.request_id,
                tracked.strategy,
                tracked.basket_id,
                order.client_order_id,
                order.account,
                order.instrument,
                order.side,
                order.qty,
                order.status,
                order.filled_qty,
                tracked.is_final,
                tracked.reduce_only,
                tracked.reject_reason,
                why,
            )
        )

    def _nonsense(self, now: int, tracked: Tracked, text: str) -> None:
        self._incident(now, "impossible_report", tracked.basket_id, f"{tracked.order.client_order_id}: {text}")
        self._inquire(now, tracked)

    def _incident(self, now: int, kind: str, basket_id: str, text: str) -> None:
        self.out.emit(Incident(now, kind, basket_id, text))

    def _trip(self, now: int, trigger: str, why: str) -> None:
        self.out.emit(KillTrigger(now, trigger, KillLevel.REDUCE_ONLY, why))
