"""What to do next for every parent order: look at the book, send the ladder's next order, withdraw it, give up.

At most one order of a parent is out. What it left is traded on only after the order manager has proven it over, with
every fill of its total seen; an order whose fate is unknown is waited for, never sent again.
"""

from collections.abc import Mapping
from decimal import Decimal

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.execution_plan import RefusedError, arrive, check_intent, is_tradable, next_child, rests_at_limit
from actors.execution_records import ChildOrder, OrderExecutorConfig, OrderExecutorState, ParentOrder
from actors.execution_report import alert_text, refusal, report
from actors.executions import (
    CancelExecution,
    ExecutionIntent,
    ExecutionReason,
    ExecutionReport,
    ExecutionState,
    Rung,
    SlippageAlert,
)
from actors.flags import FlagMode, SetFlag, flag_of, objection, verdict
from actors.ladder import PASSIVE, NextOrder, Stage, Wait, limit_ticks, next_order, stage_at, stages
from actors.messages import (
    CancelRequest,
    DepthReply,
    DepthRequest,
    FeedStatus,
    FillEvent,
    Incident,
    KillLevel,
    KillState,
    KillTrigger,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    ResumeCommand,
    StopCommand,
    TradeView,
)
from venues.costs.liquidity import LiquidityLimits
from venues.model.fill import Liquidity
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType

_TIMER = "parent:"
_R = ExecutionReason
_AT_ONCE = frozenset({_R.EXPECTED_SLIPPAGE, _R.FLAG})
"""What denies a parent as long as nothing was sent; afterwards it waits for better."""


class OrderExecutor(Actor):
    """Trades parents of one instrument by their mode, up the ladder, within their budgets of time and cost."""

    publishes = (OrderRequest, CancelRequest, DepthRequest, ExecutionReport, Incident, KillTrigger)

    state: OrderExecutorState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        config: OrderExecutorConfig | None = None,
        liquidity: LiquidityLimits | None = None,
        name: str = "order_executor",
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.config = config or OrderExecutorConfig()
        self.liquidity = liquidity or LiquidityLimits()
        self.state = OrderExecutorState()

    # Beginning

    @handles(ExecutionIntent)
    def intended(self, now: int, intent: ExecutionIntent) -> None:
        state = self.state
        if intent.parent_id in state.ids.keys:
            # What the first one of this id came to must not be overwritten by a refusal.
            self._incident(now, "duplicate_execution", f"{intent.parent_id}: {intent.strategy} asked for it again")
            return
        state.ids.add(intent.parent_id, self.config.keep_ids)
        try:
            spec = check_intent(intent, self.instruments, state.kill_level, is_stopping=state.is_stopping)
            self._is_shadow(intent)
        except RefusedError as error:
            self.out.emit(refusal(now, intent, error.reason, str(error)))
            return
        parent = state.parents[intent.parent_id] = ParentOrder(intent)
        if intent.limit_price is not None:
            parent.limit = limit_ticks(spec, intent.side, intent.limit_price)
        state.open.setdefault(intent.instrument, []).append(intent.parent_id)
        self._look(now, parent)

    def _is_shadow(self, intent: ExecutionIntent) -> bool:
        """Whether the flags let a parent look but not send. Raises RefusedError when not even that."""
        if intent.reduce_only:
            return False
        mode, why = verdict(self.state.flags, intent.strategy, intent.parent_id)
        if mode is FlagMode.DISABLED:
            raise RefusedError(_R.FLAG, why)
        return mode is FlagMode.SHADOW

    # Looking

    def _look(self, now: int, parent: ParentOrder, *, for_order: bool = True) -> None:
        """Ask for the book: to send an order on it, or only to note the mid."""
        state = self.state
        state.next_ref += 1
        ref = f"{self.name}-{state.next_ref}"
        state.refs[ref] = parent.intent.parent_id
        if for_order:
            parent.depth_ref = ref
        self.out.emit(DepthRequest(now, ref, parent.intent.instrument, self.liquidity.levels if for_order else 1))

    @handles(DepthReply)
    def depth_came(self, now: int, reply: DepthReply) -> None:
        parent = self.state.parents.get(self.state.refs.pop(reply.ref, ""))
        if parent is None or parent.is_over:
            return
        is_for_order = parent.depth_ref == reply.ref
        if is_for_order:
            parent.depth_ref = ""
        is_book = reply.is_live and bool(reply.bids) and bool(reply.asks) and reply.bids[0][0] < reply.asks[0][0]
        if is_book:
            self._note_mid(now, parent, reply.bids[0][0] + reply.asks[0][0])
        if is_for_order and parent.ending is None and not parent.pending():
            self._decide(now, parent, reply if is_book else None)
        elif is_book:
            self._follow(now, parent, reply)

    def _note_mid(self, now: int, parent: ParentOrder, mids: int) -> None:
        parent.last_mids = mids
        means = parent.means
        if now >= means.next_ns:
            means.mids += mids
            means.samples += 1
            means.next_ns = now + self.config.sample_ns

    def _follow(self, now: int, parent: ParentOrder, reply: DepthReply) -> None:
        """Withdraw what rests at a touch that has moved away: the next look joins it again."""
        for request_id, child in parent.pending():
            if child.stage.rung is not Rung.JOIN or rests_at_limit(parent) or child.canceled_ns is not None:
                continue
            found = next_order(
                child.stage, self.config.ladder, parent.caps(), reply.bids, reply.asks, 1, parent.last_ticks
            )
            if isinstance(found, NextOrder):
                behind = (found.ticks - child.ticks) * parent.intent.side.sign
                if behind > self.config.ladder.follow_ticks:
                    self._withdraw(now, parent, request_id, child)

    # Sending

    def _decide(self, now: int, parent: ParentOrder, reply: DepthReply | None) -> None:
        """Send what the ladder says on this book, or come back."""
        spec = self.instruments[parent.intent.instrument]
        try:
            if reply is None:
                raise RefusedError(_R.NO_BOOK, f"{spec.id} has no book to trade on")
            if parent.bid is None:
                self._arrive(now, parent, spec, reply)
            stage = stage_at(parent.plan, now)
            if stage is None:
                self._go_on(now, parent)
                return
            found = next_child(parent, spec, stage, reply, self.config)
            if isinstance(found, NextOrder) and not parent.children and self._is_shadow(parent.intent):
                text = f"{parent.intent.side} {spec.qty(found.lots)} {spec.id} at {spec.price(found.ticks)}"
                self._incident(now, "shadow", f"{parent.intent.parent_id}: {text}")
                raise RefusedError(_R.FLAG, "a shadow is not sent")
        except RefusedError as error:
            if not parent.plan or (error.reason in _AT_ONCE and not parent.children):
                parent.ending, parent.why = error.reason, str(error)
                self._end(now, parent, ExecutionState.DENIED)
            else:
                self._wait(now, parent, str(error))
            return
        if isinstance(found, NextOrder):
            self._send(now, parent, stage, found)
            return
        if found is Wait.BELOW_MINIMUM and not is_tradable(parent, spec):
            parent.ending = _R.RESIDUAL
        self._wait(now, parent, found)

    def _arrive(self, now: int, parent: ParentOrder, spec: Instrument, reply: DepthReply) -> None:
        found = arrive(parent.intent, spec, reply, self.liquidity, self.config)
        parent.bid, parent.ask, parent.arrival_ns = found.bid, found.ask, now
        parent.expected_bps, parent.mode_used = found.expected_bps, found.mode
        ladder = self.config.ladder
        parent.plan = stages(found.mode, ladder, now, parent.intent.time_budget_ns or ladder.time_budget_ns)

    def _send(self, now: int, parent: ParentOrder, stage: Stage, order: NextOrder) -> None:
        intent, spec = parent.intent, self.instruments[parent.intent.instrument]
        request_id = f"{intent.parent_id}#{len(parent.children) + 1}"
        qty = spec.qty(order.lots)
        parent.children[request_id] = ChildOrder(stage, order.ticks, qty)
        self.state.children[request_id] = intent.parent_id
        parent.state, parent.rung, parent.why = ExecutionState.WORKING, stage.rung, ""
        if stage.rung in PASSIVE:
            parent.last_ticks = order.ticks
        self.out.emit(
            OrderRequest(
                now,
                request_id,
                intent.strategy,
                "",
                intent.account,
                intent.instrument,
                intent.side,
                qty,
                OrderType.LIMIT,
                spec.price(order.ticks),
                order.tif,
                intent.reduce_only,
                intent.position_side,
                parent_id=intent.parent_id,
            )
        )
        self._schedule(now, parent)

    def _wait(self, now: int, parent: ParentOrder, why: str) -> None:
        parent.why = why
        parent.retry_at = now + self.config.retry_ns
        self._go_on(now, parent)

    # Children

    @handles(OrderDenied)
    def order_denied(self, now: int, message: OrderDenied) -> None:
        request_id = message.request.request_id
        parent = self.state.parents.get(self.state.children.get(request_id, ""))
        if parent is None:
            return
        child = parent.children[request_id]
        if child.is_final:
            return
        child.is_final, child.qty = True, ZERO
        self._missed(now, parent, _R.ORDERS_DENIED, "; ".join(message.reasons))
        self._go_on(now, parent)

    @handles(FillEvent)
    def filled(self, now: int, event: FillEvent) -> None:
        parent = self.state.parents.get(self.state.children.get(event.request_id, ""))
        if parent is None:
            return
        fill, child = event.fill, parent.children[event.request_id]
        child.filled += fill.qty
        parent.fees[fill.fee_asset] = parent.fees.get(fill.fee_asset, ZERO) + fill.fee
        self._book(now, parent, event.request_id, fill.qty, fill.price, is_maker=fill.liquidity is Liquidity.MAKER)
        if child.is_final:
            # No update need follow: the order manager may remember no more of the order than its fills.
            self._go_on(now, parent)

    @handles(OrderUpdate)
    def order_changed(self, now: int, update: OrderUpdate) -> None:
        parent = self.state.parents.get(self.state.children.get(update.request_id, ""))
        if parent is None:
            return
        child, spec = parent.children[update.request_id], self.instruments[update.instrument]
        if update.filled_qty > child.filled:
            # Counted by the order manager without a fill event for us: the quantity is right, the price is not known.
            missing, child.filled = update.filled_qty - child.filled, update.filled_qty
            self._book(now, parent, update.request_id, missing, spec.price(child.ticks), is_maker=False)
        was_final, child.is_final = child.is_final, update.is_final
        if update.is_final and not was_final:
            self._child_over(now, parent, child, update)
        self._go_on(now, parent)

    def _child_over(self, now: int, parent: ParentOrder, child: ChildOrder, update: OrderUpdate) -> None:
        is_refused = update.status is OrderStatus.REJECTED
        is_post_only_expired = update.status is OrderStatus.EXPIRED and child.stage.rung in PASSIVE
        if child.filled or not (is_refused or is_post_only_expired):
            parent.misses = 0
            if child.stage.rung not in PASSIVE:
                # Not again at once on a book that has yet to show what was taken from it.
                parent.retry_at = now + self.config.retry_ns
            return
        self._missed(now, parent, _R.ORDERS_REJECTED, update.why or str(update.status))

    def _missed(self, now: int, parent: ParentOrder, reason: ExecutionReason, why: str) -> None:
        parent.misses += 1
        parent.retry_at = now + self.config.retry_ns
        parent.why = why
        if parent.misses >= self.config.misses_max and parent.ending is None:
            parent.ending = reason

    def _book(
        self, now: int, parent: ParentOrder, request_id: str, qty: Decimal, price: Decimal, *, is_maker: bool
    ) -> None:
        """Book a fill, whenever it comes: the venue is right. More than was asked for is alarmed, so is a late one."""
        parent.book(qty, price, now, is_maker=is_maker)
        if parent.filled > parent.intent.qty:
            text = f"{parent.intent.parent_id}: filled {parent.filled} of {parent.intent.qty} by {request_id}"
            self._incident(now, "parent_overfilled", text)
            self.out.emit(KillTrigger(now, "parent_overfilled", KillLevel.REDUCE_ONLY, text))
        if parent.is_over:
            if parent.left <= ZERO:
                parent.state = ExecutionState.FILLED
            self._incident(now, "fill_after_end", f"{request_id} filled {qty} at {price}: its parent was over")
            self._tell(now, parent, is_amended=True)

    # Going on

    def _go_on(self, now: int, parent: ParentOrder) -> None:
        """Bring a parent on as far as what is known allows."""
        if parent.is_over:
            return
        stage = stage_at(parent.plan, now)
        if parent.ending is None and parent.left > ZERO:
            if parent.plan and stage is None:
                parent.ending = _R.TIMED_OUT
            elif len(parent.children) >= self.config.orders_max and not parent.pending():
                parent.ending = _R.ORDERS_MAX
        pending = parent.pending()
        is_done = parent.left <= ZERO or parent.ending is not None
        if not pending:
            if is_done:
                self._end(now, parent, ExecutionState.FILLED if parent.left <= ZERO else ExecutionState.ENDED)
                return
            parent.state = ExecutionState.LOOKING
            # Without a plan the first look decides, whatever the book is like.
            if now >= parent.retry_at and not parent.depth_ref and (self._is_live(parent) or not parent.plan):
                self._look(now, parent)
        else:
            is_dead = not self._is_live(parent)
            # A fill that came late has made what is out too much.
            is_over_parent = parent.committed > parent.intent.qty
            for request_id, child in pending:
                if is_done or is_dead or is_over_parent or child.stage != stage:
                    self._withdraw(now, parent, request_id, child)
        self._schedule(now, parent)

    def _is_live(self, parent: ParentOrder) -> bool:
        return self.state.live.get(parent.intent.instrument, False)

    def _withdraw(self, now: int, parent: ParentOrder, request_id: str, child: ChildOrder) -> None:
        """Ask for one cancel; what it proves decides what may be sent next."""
        parent.state = ExecutionState.CANCELING
        if child.canceled_ns is None:
            child.canceled_ns = now
            self.out.emit(CancelRequest(now, request_id))

    def _end(self, now: int, parent: ParentOrder, end: ExecutionState) -> None:
        state, name = self.state, parent.intent.parent_id
        parent.state = end
        if end is ExecutionState.FILLED:
            parent.ending, parent.why = None, ""
        self.out.cancel_timer(_TIMER + name)
        self._close(parent)
        self._tell(now, parent)
        state.over[name] = None
        while len(state.over) > self.config.keep_parents:
            oldest = next(iter(state.over))
            del state.over[oldest]
            for request_id in state.parents.pop(oldest).children:
                state.children.pop(request_id, None)

    def _close(self, parent: ParentOrder) -> None:
        names = self.state.open.get(parent.intent.instrument)
        if names is not None and parent.intent.parent_id in names:
            names.remove(parent.intent.parent_id)
            if not names:
                del self.state.open[parent.intent.instrument]

    def _tell(self, now: int, parent: ParentOrder, *, is_amended: bool = False) -> None:
        spec = self.instruments[parent.intent.instrument]
        made = report(now, parent, spec, self.config.slippage, is_amended=is_amended)
        self.out.emit(made)
        before, parent.alert = parent.alert, made.alert
        if made.alert is not None and made.alert is not before:
            text = f"{parent.intent.parent_id}: {alert_text(made)}"
            self._incident(now, f"slippage_{made.alert}", text)
            if made.alert is SlippageAlert.CRITICAL:
                self.out.emit(KillTrigger(now, "slippage", KillLevel.REDUCE_ONLY, text))

    def _incident(self, now: int, kind: str, text: str) -> None:
        self.out.emit(Incident(now, kind, "", text))

    # Time

    def _schedule(self, now: int, parent: ParentOrder) -> None:
        """Come back at the next moment when time alone changes something."""
        moments = [now + self.config.sample_ns, parent.means.next_ns]
        stage = stage_at(parent.plan, now)
        if stage is not None:
            moments.append(stage.ends_ns)
        pending = parent.pending()
        if not pending:
            moments.append(parent.retry_at)
        moments += [child.canceled_ns + self.config.stuck_ns for _, child in pending if child.canceled_ns is not None]
        self.out.timer(_TIMER + parent.intent.parent_id, min(moment for moment in moments if moment > now))

    def on_timer(self, now: int, key: str) -> None:
        parent = self.state.parents.get(key.removeprefix(_TIMER))
        if parent is None or parent.is_over:
            return
        self._alarm(now, parent)
        if now >= parent.means.next_ns and not parent.depth_ref:
            self._look(now, parent, for_order=False)
        self._go_on(now, parent)

    def _alarm(self, now: int, parent: ParentOrder) -> None:
        for request_id, child in parent.pending():
            if parent.is_stuck or child.canceled_ns is None or now < child.canceled_ns + self.config.stuck_ns:
                continue
            parent.is_stuck = True
            self._incident(now, "execution_stuck", f"{request_id} is not proven over; nothing is sent until it is")

    # The world

    @handles(FeedStatus)
    def feed_changed(self, now: int, status: FeedStatus) -> None:
        self.state.live[status.instrument] = status.is_live
        for name in list(self.state.open.get(status.instrument, ())):
            self._go_on(now, self.state.parents[name])

    @handles(TradeView)
    def traded(self, now: int, view: TradeView) -> None:
        for name in self.state.open.get(view.instrument, ()):
            means = self.state.parents[name].means
            for (ticks, _), lots in view.lots.items():
                means.traded += lots
                means.cost += lots * ticks

    @handles(KillState)
    def kill_changed(self, now: int, message: KillState) -> None:
        self.state.kill_level = level = message.level
        if level is KillLevel.ARMED:
            return
        for parent in self._open_parents():
            if level >= KillLevel.CANCEL_ALL or not parent.intent.reduce_only:
                self._give_up(now, parent, _R.KILLED, f"kill level {level.name}")

    @handles(StopCommand)
    def stopping(self, now: int, message: StopCommand) -> None:
        self.state.is_stopping = True
        for parent in self._open_parents():
            self._give_up(now, parent, _R.STOPPING, message.reason)

    @handles(ResumeCommand)
    def resumed(self, now: int, message: ResumeCommand) -> None:
        self.state.is_stopping = False

    @handles(SetFlag)
    def flag_set(self, now: int, message: SetFlag) -> None:
        """Follow the flags; who may not set one so is told by the atomic executor."""
        if not objection(self.state.flags, message):
            self.state.flags[message.feature] = flag_of(message)

    @handles(CancelExecution)
    def cancel_asked(self, now: int, message: CancelExecution) -> None:
        parent = self.state.parents.get(message.parent_id)
        if parent is not None and not parent.is_over:
            self._give_up(now, parent, _R.CANCELED, "")

    def _give_up(self, now: int, parent: ParentOrder, reason: ExecutionReason, why: str) -> None:
        if parent.ending is None:
            parent.ending, parent.why = reason, why
        self._go_on(now, parent)

    @handles(CellRestarted)
    def restarted(self, now: int, message: CellRestarted) -> None:
        """Look and ask again: the input that was set aside may have been an answer, or a timer."""
        self.state.refs.clear()
        for parent in self._open_parents():
            parent.depth_ref = ""
            for _, child in parent.pending():
                child.canceled_ns = None
            self._go_on(now, parent)

    def _open_parents(self) -> list[ParentOrder]:
        return [self.state.parents[name] for names in list(self.state.open.values()) for name in list(names)]
