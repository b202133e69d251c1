"""What becomes of approved orders: the one account of what was sent, acknowledged, filled, cancelled, lost."""

from actors.base import handles
from actors.cell import CellRestarted
from actors.dead_man_words import DeadManLapsed
from actors.halts import HaltScope, HaltState
from actors.inquiry import Inquiry
from actors.messages import (
    CancelRequest,
    Checker,
    FillEvent,
    KillLevel,
    KillState,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    ResumeCommand,
    StopCommand,
)
from actors.order_records import Tracked, fits, is_sane, to_fill, trade_key
from actors.order_strangers import OrderStrangers
from actors.order_validation import refusal
from actors.pacing import Priority
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import Order, OrderEvent, OrderStatus, PositionSide, can_rest
from venues.port import (
    CancelRejected,
    ModifyRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    OutcomeUnknown,
    QueryFailed,
    QueryKind,
    QueryResult,
    RateLimited,
    RejectReason,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

_BOTH = PositionSide.BOTH
_EARLY = "early"
_LACKING_MIN = 3
_ORDER_CHANNELS = frozenset({"", "private", "orders"})


class OrderManager(OrderStrangers):
    """Sends approved orders and keeps the one account of their fate.

    A fill is booked once per order and trade id, whenever it comes. An order whose fate is not proven is UNKNOWN and is
    asked for until the venue answers; it is never sent again.
    """

    def start(self, now: int) -> None:
        self.state.started_ns = now

    # Promises to baskets

    @handles(PreflightRequest)
    def basket_planned(self, now: int, request: PreflightRequest) -> None:
        """Answer whether the venues' limits leave room for the basket's orders, hedges and cancels."""
        reasons, legs = [], []
        for leg in request.legs:
            spec = self.instruments.get(leg.instrument)
            if spec is None:
                reasons.append(f"{leg.instrument}: unknown instrument")
            else:
                legs.append((leg.account, spec.venue))
        if not reasons:
            priority = Priority.NEW if request.closes is None else Priority.HEDGE
            reasons = self._pacer.promise(now, request.basket_id, legs, priority)
        self.out.emit(PreflightReply(now, request.basket_id, Checker.RATE, not reasons, tuple(reasons)))

    @handles(ReservationReleased)
    def basket_released(self, now: int, released: ReservationReleased) -> None:
        self._pacer.release(released.basket_id)

    # Intents

    @handles(OrderApproved)
    def approved(self, now: int, message: OrderApproved) -> None:
        request = message.request
        if request.request_id in self.state.requests:
            self._incident(now, "duplicate_request", request.basket_id, f"{request.request_id} was approved twice")
            return
        spec = self.instruments.get(request.instrument)
        tracked = self._track(now, request, spec)
        if self._is_taken_back(request):
            tracked.order.apply(OrderEvent.CANCEL)
            self._settle(now, tracked, why="cancelled before it was sent")
            return
        reason = refusal(now, request, spec)
        if reason is not None or spec is None:
            tracked.reject_reason = reason
            tracked.order.apply(OrderEvent.REJECT)
            self._settle(now, tracked, why=f"not sent: {reason}")
            return
        order = tracked.order
        command = SubmitOrder(
            now,
            order.account,
            order.instrument,
            order.client_order_id,
            order.side,
            order.qty,
            order.type,
            order.price,
            order.tif,
            order.position_side,
            order.reduce_only,
            trigger_price=request.trigger_price,
            trigger_on_mark=request.trigger_on_mark,
            expire_ns=request.expire_ns,
        )
        if self._is_paced:
            priority = Priority.HEDGE if request.is_hedge or request.reduce_only else Priority.NEW
            if not self._may_go(now, tracked, command, spec.venue, priority):
                return
        self._submit(now, tracked, command)

    def _track(self, now: int, request: OrderRequest, spec: Instrument | None) -> Tracked:
        state = self.state
        client_id = f"{self.config.run_prefix}{state.next_order}"
        state.next_order += 1
        # Spot knows no reduce-only, and in hedge mode the position side says it (Binance refuses the flag there).
        flag = request.reduce_only and request.position_side is _BOTH
        order = Order(
            client_id,
            request.account,
            request.instrument,
            request.side,
            request.qty,
            request.type,
            request.price,
            request.tif,
            request.position_side,
            reduce_only=flag and spec is not None and not spec.is_spot,
            parent=request.request_id,
            created_ns=now,
            updated_ns=now,
        )
        tracked = Tracked(order, request.request_id, request.strategy, request.basket_id, request.reduce_only)
        state.orders[client_id] = tracked
        state.requests[request.request_id] = client_id
        return tracked

    @handles(CancelRequest)
    def cancel_requested(self, now: int, message: CancelRequest) -> None:
        client_id = self.state.requests.get(message.request_id)
        tracked = self.state.orders.get(client_id) if client_id is not None else None
        if tracked is None:
            # A request goes by the gate: a cancel of the same instant overtakes it.
            if message.request_id not in self.state.early:
                self.state.early.append(message.request_id)
            self.out.timer(_EARLY, now)
        elif tracked.order.status.is_terminal:
            self._publish(now, tracked)
        else:
            self._cancel(now, tracked)

    def _is_taken_back(self, request: OrderRequest) -> bool:
        """Whether what ends the order has come before the order itself, which was approved meanwhile."""
        if request.request_id in self.state.early:
            self.state.early.remove(request.request_id)
            return True
        return request.ts <= self.state.swept_ns and can_rest(request.type, request.tif)

    @handles(OrderDenied)
    def denied(self, now: int, message: OrderDenied) -> None:
        if message.request.request_id in self.state.early:
            self.state.early.remove(message.request.request_id)

    def on_timer(self, now: int, key: str) -> None:
        if key != _EARLY:
            super().on_timer(now, key)
            return
        for request_id in self.state.early:
            self._incident(now, "cancel_of_unknown_request", "", f"no order was sent for {request_id}")
        self.state.early.clear()

    @handles(KillState)
    def kill_changed(self, now: int, message: KillState) -> None:
        if message.level >= KillLevel.CANCEL_ALL:
            self.state.swept_ns = now
            for tracked in self._live():
                self._cancel(now, tracked)

    @handles(ResumeCommand)
    def resumed(self, now: int, message: ResumeCommand) -> None:
        self.state.swept_ns = -1

    @handles(HaltState)
    def part_halted(self, now: int, halt: HaltState) -> None:
        if halt.level < KillLevel.CANCEL_ALL:
            return
        for tracked in self._live():
            names = {
                HaltScope.STRATEGY: tracked.strategy,
                HaltScope.ACCOUNT: tracked.order.account,
                HaltScope.VENUE: self._venue(tracked),
            }
            if names[halt.scope] == halt.name:
                self._cancel(now, tracked)

    @handles(DeadManLapsed)
    def dead_man_lapsed(self, now: int, lapsed: DeadManLapsed) -> None:
        for tracked in self._live():
            if (tracked.order.account, tracked.order.instrument) == (lapsed.account, lapsed.instrument):
                self._lose(now, tracked, "the venue's dead-man timer ran out")

    @handles(StopCommand)
    def stopping(self, now: int, message: StopCommand) -> None:
        self.state.swept_ns = now
        for tracked in self._live():
            if not tracked.is_immediate:
                self._cancel(now, tracked)

    # Reports

    @handles(OrderAccepted)
    def accepted(self, now: int, report: OrderAccepted) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, "OrderAccepted")
        if tracked is not None:
            if self._pacer.state.refusals:
                self._pacer.accepted(now, self._venue(tracked))
            self._name(tracked, report.venue_order_id)
            if tracked.order.status is OrderStatus.REJECTED and tracked.reject_reason is None:
                self._revive(now, tracked, "accepted after its absence was proven")
            else:
                self._change(now, tracked, OrderEvent.ACCEPT)

    @handles(OrderTriggered)
    def triggered(self, now: int, report: OrderTriggered) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, "OrderTriggered")
        if tracked is not None:
            self._change(now, tracked, OrderEvent.TRIGGER)

    @handles(OrderRejected)
    def rejected(self, now: int, report: OrderRejected) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, "OrderRejected")
        if tracked is None or tracked.order.status is OrderStatus.REJECTED:
            return
        if report.reason is RejectReason.DUPLICATE_ID:
            # The venue holds an order of this id: ours, sent twice by somebody below. Ask for it.
            self._lose(now, tracked, f"duplicate id: {report.text}")
            return
        if report.reason is RejectReason.RATE_LIMIT:
            self._refused(now, self._venue(tracked))
        tracked.reject_reason = report.reason
        if not self._change(now, tracked, OrderEvent.REJECT, why=report.text or str(report.reason)):
            tracked.reject_reason = None

    @handles(OrderCanceled)
    def canceled(self, now: int, report: OrderCanceled) -> None:
        self._over(now, report, OrderEvent.CANCEL)

    @handles(OrderExpired)
    def expired(self, now: int, report: OrderExpired) -> None:
        self._over(now, report, OrderEvent.EXPIRE)

    def _over(self, now: int, report: OrderCanceled | OrderExpired, event: OrderEvent) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, type(report).__name__)
        if tracked is not None and self._raise_total(now, tracked, report.filled_qty):
            self._change(now, tracked, event)

    @handles(OrderModified)
    def modified(self, now: int, report: OrderModified) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, "OrderModified")
        if tracked is None:
            return
        if not (report.qty.is_finite() and report.qty > ZERO and report.price.is_finite()):
            self._nonsense(now, tracked, f"modified to {report.qty} at {report.price}")
            return
        if not tracked.order.status.is_terminal:
            tracked.order.qty, tracked.order.price = report.qty, report.price
        self._change(now, tracked, OrderEvent.MODIFY, is_answer=True)

    @handles(ModifyRejected)
    def modify_rejected(self, now: int, report: ModifyRejected) -> None:
        tracked = self._find(now, report.client_order_id, report.instrument, "ModifyRejected")
        if tracked is not None and not tracked.order.status.is_terminal:
            self._inquire(now, tracked)

    @handles(CancelRejected)
    def cancel_rejected(self, now: int, report: CancelRejected) -> None:
        """Ask what became of the order: a refused cancel proves nothing, least of all that it never existed."""
        tracked = self._find(now, report.client_order_id, report.instrument, "CancelRejected")
        if tracked is None:
            return
        tracked.is_cancel_pending = False
        if report.reason is RejectReason.RATE_LIMIT:
            self._refused(now, self._venue(tracked))
            if not tracked.order.status.is_terminal:
                # Refused for the number of requests alone: nothing is to be asked, it is to be said again.
                tracked.is_cancel_pending = True
                self._cancel_later(now, tracked, now + self._pace.delay(tracked.cancels_refused), is_held=True)
                tracked.cancels_refused += 1
        elif not tracked.order.status.is_terminal:
            tracked.cancels_refused += 1
            self._inquire(now, tracked, attempt=tracked.cancels_refused - 1)

    @handles(OutcomeUnknown)
    def outcome_unknown(self, now: int, report: OutcomeUnknown) -> None:
        self.state.unknown_outcomes += 1
        if not report.client_order_id:
            for tracked in self._sent():
                if tracked.order.account == report.account and report.instrument in ("", tracked.order.instrument):
                    self._inquire(now, tracked)
            return
        lost = self._find(now, report.client_order_id, report.instrument, "OutcomeUnknown")
        if lost is None or lost.order.status.is_terminal:
            return
        if report.command == "CancelOrder":
            lost.is_cancel_pending = False
        elif report.command == "SubmitOrder" and lost.order.status not in (OrderStatus.SENT, OrderStatus.UNKNOWN):
            return
        self._lose(now, lost, f"{report.command}: {report.why}")

    # Fills

    @handles(OrderFilled)
    def filled(self, now: int, report: OrderFilled) -> None:
        self._book(now, report, is_queried=False)

    def _book(self, now: int, report: OrderFilled, *, is_queried: bool) -> None:
        if not is_sane(report):
            self._incident(now, "impossible_fill", "", f"{report.instrument} {report.trade_id}: {report}")
            self._trip(now, "impossible_fill", f"{report.instrument}: a fill of {report.qty} at {report.price}")
            known = self.state.orders.get(report.client_order_id)
            if known is not None:
                self._inquire(now, known)
            return
        client_id = report.client_order_id
        if client_id not in self.state.orders and client_id not in self.state.traces:
            client_id = self.state.venue_ids.get(f"{report.instrument}|{report.venue_order_id}", client_id)
        tracked = self.state.orders.get(client_id)
        if tracked is not None and fits(tracked.order, report):
            self._book_own(now, tracked, report)
        elif client_id in self.state.traces:
            self._book_late(now, client_id, report)
        else:
            self._book_external(now, client_id, report, is_queried)

    def _book_own(self, now: int, tracked: Tracked, report: OrderFilled) -> None:
        order = tracked.order
        before, was_final = order.status, tracked.is_final
        if not order.add_fill(report.trade_id, report.price, report.qty):
            self.state.duplicate_fills += 1
            return
        order.updated_ns = now
        if tracked.taken_back:
            tracked.taken_back = max(ZERO, tracked.taken_back - report.qty)
        inquiry = self.state.inquiries.get(order.client_order_id)
        if inquiry is not None:
            inquiry.disprove_absence()
        self._name(tracked, report.venue_order_id)
        if trade_key(report) not in self.state.external_trades.get(report.instrument, {}):
            self._publish_fill(now, report, order.client_order_id, tracked.request_id, tracked)
        if was_final:
            text = f"{order.client_order_id} was {before} and final when trade {report.trade_id} came"
            self._incident(now, "late_fill", tracked.basket_id, text)
            tracked.is_final = False
            self._inquire(now, tracked)
        if order.filled_qty > order.qty:
            self.state.overfills += 1
            text = f"{order.client_order_id}: filled {order.filled_qty} of {order.qty}"
            self._incident(now, "overfill", tracked.basket_id, text)
            self._trip(now, "overfill", text)
        self._settle(now, tracked)

    def _book_late(self, now: int, client_id: str, report: OrderFilled) -> None:
        trace = self.state.traces[client_id]
        if report.trade_id in trace.trade_ids:
            self.state.duplicate_fills += 1
            return
        trace.trade_ids.add(report.trade_id)
        self.out.emit(FillEvent(now, trace.request_id, trace.strategy, trace.basket_id, to_fill(report, client_id)))
        text = f"{client_id} ended long ago when trade {report.trade_id} came"
        self._incident(now, "late_fill", trace.basket_id, text)
        self._trip(now, "late_fill", text)

    # Answers

    @handles(QueryResult)
    def answered(self, now: int, result: QueryResult) -> None:
        self._meet_strangers(now, result)
        owner = self.state.queries.pop(result.query_id, None)
        tracked = self.state.orders.get(owner) if owner is not None else None
        inquiry = self.state.inquiries.get(owner) if owner is not None else None
        seen = len(tracked.order.trade_ids) if tracked is not None else 0
        for fill in result.fills:
            self._book(now, fill, is_queried=True)
        is_found = False
        for report in result.orders:
            is_found = (self._reported(now, report) and report.client_order_id == owner) or is_found
        if tracked is None or inquiry is None or result.query_id not in inquiry.outstanding:
            return
        if result.kind is QueryKind.FILLS:
            is_found = len(tracked.order.trade_ids) > seen or self._has_nameless(tracked.order, result.fills)
            self._count_missing(now, tracked, inquiry)
        self._judge(now, tracked, inquiry, inquiry.answer(now, result.query_id, is_found, self._pace, result.ts))

    def _count_missing(self, now: int, tracked: Tracked, inquiry: Inquiry) -> None:
        """End the wait for trades that the venue counts in an ended order and has in no list: nobody will tell them."""
        is_lacking = tracked.order.status.is_terminal and tracked.lacks_fills
        inquiry.count_lacking(now, is_lacking=is_lacking)
        if inquiry.lacking < _LACKING_MIN or now - inquiry.lacking_since_ns < self.config.missing_fills_ns:
            return
        order = tracked.order
        tracked.taken_back = tracked.venue_filled - order.filled_qty
        lost = f"of {tracked.venue_filled} filled {tracked.taken_back} are in no list of trades"
        text = f"{order.client_order_id}: {lost}"
        self._incident(now, "fills_missing", tracked.basket_id, text)
        self._trip(now, "fills_missing", text)
        self._settle(now, tracked, why="the rest was taken back")

    def _has_nameless(self, order: Order, fills: tuple[OrderFilled, ...]) -> bool:
        """Whether an answer holds fills that could be this order's: no client id, and an order id not seen yet."""
        return not order.venue_order_id and any(
            not fill.client_order_id
            and f"{fill.instrument}|{fill.venue_order_id}" not in self.state.venue_ids
            and fits(order, fill)
            for fill in fills
        )

    @handles(QueryFailed)
    def unanswered(self, now: int, failed: QueryFailed) -> None:
        self.state.open_queries.pop(failed.query_id, None)
        owner = self.state.queries.pop(failed.query_id, None)
        inquiry = self.state.inquiries.get(owner) if owner is not None else None
        if owner is not None and inquiry is not None and failed.query_id in inquiry.outstanding:
            inquiry.fail(now, failed.query_id, self._pace)
            self._review(self.state.orders[owner], inquiry)

    # Venues and restarts

    @handles(VenueDown)
    def venue_down(self, now: int, report: VenueDown) -> None:
        """Whatever was on its way when the order channel broke may have arrived or not."""
        if report.channel in _ORDER_CHANNELS:
            for tracked in self._live():
                if self._venue(tracked) != report.venue:
                    continue
                if tracked.order.status is OrderStatus.SENT:
                    self._lose(now, tracked, f"{report.venue} went down: {report.why}")
                elif tracked.order.status is OrderStatus.CREATED:
                    self._give_up(now, tracked, f"{report.venue} went down", OrderEvent.CANCEL)

    @handles(VenueUp)
    def venue_up(self, now: int, report: VenueUp) -> None:
        """Reports may have been missed: ask for every order that could still change."""
        if report.channel in _ORDER_CHANNELS:
            self._ask_for_all(now, report.venue)
            self._seek_strangers(now, report.venue)

    @handles(RateLimited)
    def rate_limited(self, now: int, report: RateLimited) -> None:
        until_ns = self._refused(now, report.venue, report.until_ns)
        if report.is_ban:
            self._incident(now, "rate_ban", "", f"{report.venue} until {until_ns}: {report.text}")

    @handles(CellRestarted)
    def restarted(self, now: int, message: CellRestarted) -> None:
        self.state.timer_at = None
        self._ask_for_all(now, None)
        self._seek_strangers(now)
        self._sweep(now)
