"""What to do next for every basket: place its legs as one, hedge what filled unevenly, take it off, or give it up."""

from collections.abc import Sequence
from decimal import Decimal

from actors.base import handles
from actors.basket import ACTIVE, ENDED, Basket, BasketEvent, Child, leg_name
from actors.basket_book import BASKET_TIMER, timer_key
from actors.basket_placing import Placing
from actors.basket_plan import DeniedError, DenyReason, Plan, PlanKind, Terms, best, decided, helpers, must_wait, weigh
from actors.cell import CellRestarted
from actors.executor_state import Placings
from actors.lost_legs import is_foreign
from actors.messages import (
    BasketIntent,
    BasketState,
    BookView,
    DepthReply,
    FeedStatus,
    FillEvent,
    KillLevel,
    KillState,
    OrderDenied,
    OrderUpdate,
    PreflightReply,
    ResumeCommand,
    StopCommand,
)
from actors.risk_checks import is_session_closed
from venues.model.money import ONE, ZERO
from venues.model.order import OrderStatus
from venues.port import InstrumentState, InstrumentStatus, RejectReason

_FLATTEN = "flatten"
_PAUSE_DOUBLINGS = 4


class AtomicExecutor(Placing):
    """Trades baskets of legs whose base quantities cancel, all or none as far as markets allow it.

    Legs go out at once as immediate-or-cancel limits, or one before the others (`Placement`). What fills unevenly is
    hedged by actual fills: by completing the short legs or reducing the long ones, whichever is cheaper in the live
    books. A basket ends BALANCED, FLAT or DENIED with less than a quantum of difference, or BROKEN with an incident and
    a kill trigger.
    """

    # Intents

    @handles(BasketIntent)
    def intended(self, now: int, intent: BasketIntent) -> None:
        try:
            if self.state.is_stopping:
                raise DeniedError(DenyReason.STOPPING, "no new baskets")
            if self.state.kill_level >= KillLevel.REDUCE_ONLY and intent.closes is None:
                raise DeniedError(DenyReason.KILLED, f"kill level {self.state.kill_level.name}")
            if intent.closes is None:
                self.is_shadow(intent.basket_id, intent.strategy)
            basket = self.plan(now, intent)
        except DeniedError as error:
            self.refuse(now, intent, str(error))
            return
        self.publish(now, basket)
        self.out.timer(timer_key(basket), min(basket.deadline_ns, now + self.config.preflight_timeout_ns))
        self.prepare(now, basket)

    @handles(PreflightReply)
    def checked(self, now: int, reply: PreflightReply) -> None:
        basket = self.state.baskets.get(reply.basket_id)
        if basket is None or basket.state is not BasketState.PLANNED or reply.checker not in self.config.checkers:
            return
        if not reply.is_ok:
            self.deny(now, basket, f"{DenyReason.PREFLIGHT}: {reply.checker}: {'; '.join(reply.reasons)}")
            return
        if reply.checker not in basket.agreed:
            basket.agreed.append(reply.checker)
        if len(basket.agreed) == len(self.config.checkers):
            basket.apply(BasketEvent.RESERVE)
            self.publish(now, basket)
            self.place(now, basket)

    # Orders

    @handles(OrderDenied)
    def order_denied(self, now: int, message: OrderDenied) -> None:
        basket = self.state.baskets.get(message.request.basket_id)
        child = basket.children.get(message.request.request_id) if basket is not None else None
        if basket is None or child is None or child.is_final:
            return
        child.is_final = True
        self._note_placing(basket, child)
        basket.why = f"order denied: {'; '.join(message.reasons)}"
        if is_session_closed(message.reasons):
            # Nothing was tried: the market takes no order now.
            basket.rounds = max(0, basket.rounds - 1)
            basket.retry_at = now + self.config.session_retry_ns
        else:
            self._missed(now, basket, child, is_refused=True)
        self.evaluate(now, basket)

    @handles(FillEvent)
    def filled(self, now: int, event: FillEvent) -> None:
        if not event.basket_id:
            if is_foreign(event.fill):
                self.taken(now, event.fill)
            return
        basket = self.state.baskets.get(event.basket_id)
        child = basket.children.get(event.request_id) if basket is not None else None
        if basket is None or child is None:
            self.incident(now, "fill_of_forgotten_basket", event.basket_id, f"{event.request_id}: {event.fill}")
            self.trip(now, "fill_of_forgotten_basket", event.request_id)
            return
        leg = basket.legs[child.leg]
        child.filled += event.fill.qty
        leg.book(event.fill.qty, event.fill.price, is_reduce=child.is_reduce)
        leg.book_fee(event.fill, self.instruments[leg.instrument])
        self.mark(now, basket)
        if basket.state is BasketState.BROKEN and basket.closes is None and not basket.is_balanced(self.instruments):
            # What was told of it when it was given up is true no more.
            self.incident(
                now, "fill_after_end", basket.id, f"broken basket is out of balance, unhedged {basket.unhedged}"
            )
        if child.is_final:
            # No update need follow: the order manager may remember no more of the order than its fills.
            self._go_on(now, basket)

    @handles(OrderUpdate)
    def order_changed(self, now: int, update: OrderUpdate) -> None:
        basket = self.state.baskets.get(update.basket_id)
        child = basket.children.get(update.request_id) if basket is not None else None
        if basket is None or child is None:
            return
        if update.filled_qty > child.filled:
            # Counted by the order manager without a fill event for us: the quantity is right, the price is not known.
            leg = basket.legs[child.leg]
            leg.book(update.filled_qty - child.filled, leg.arrival_touch, is_reduce=child.is_reduce)
            child.filled = update.filled_qty
        if update.is_final and not child.is_final:
            child.is_final = True
            self._note_placing(basket, child)
            if child.filled < child.qty and not child.is_leaving:
                basket.why = update.why or f"{leg_name(basket, child)} {update.status}"
                if update.reject_reason is RejectReason.HALTED:
                    # An attempt that cannot be made is none; what still trades is looked at anew.
                    self.state.halted_until[update.instrument] = now + self.config.closed_retry_ns
                elif update.reject_reason is RejectReason.RATE_LIMIT:
                    self._put_off(now, basket, child)
                else:
                    self._missed(now, basket, child, is_refused=update.status is OrderStatus.REJECTED)
        self._go_on(now, basket)

    def _note_placing(self, basket: Basket, child: Child) -> None:
        if child.is_first and not child.rests:
            known = self.state.placings.setdefault(basket.legs[child.leg].instrument, Placings())
            known.note(is_missed=not child.filled)

    def _go_on(self, now: int, basket: Basket) -> None:
        was_over = basket.state in ENDED
        if basket.state in (BasketState.BALANCED, BasketState.FLAT):
            self._reopen(now, basket)
        elif basket.state is BasketState.BROKEN:
            self.mark(now, basket)
            self._late_news(now, basket)
        self.evaluate(now, basket)
        if was_over:
            self.tell_cost(now, basket)

    def _late_news(self, now: int, basket: Basket) -> None:
        """A lost order of a broken basket was found: a close hands it over, an opening may be in order after all."""
        if basket.closes is None:
            if not basket.is_pending and not basket.closing:
                self.settle_broken(now, basket)
            return
        self.hand_over(now, basket)
        closed = self.state.baskets.get(basket.closes)
        if closed is not None and closed.closing:
            self.evaluate(now, self.state.baskets[closed.closing])

    def _missed(self, now: int, basket: Basket, child: Child, *, is_refused: bool) -> None:
        """A hedge did not fill: widen the cap and wait a little; completing in vain gives way to unwinding."""
        if child.is_first:
            return
        basket.misses += 1
        basket.last_misses += basket.is_last_call
        basket.retry_at = now + self.config.hedge_retry_ns
        self._judge_completing(basket, child, is_refused=is_refused)

    def _put_off(self, now: int, basket: Basket, child: Child) -> None:
        """The venue took no hedge just now: no reason to pay more but to wait, each time longer, until the deadline."""
        if child.is_first:
            return
        basket.misses += 1
        basket.put_off += 1
        basket.rounds = max(0, basket.rounds - 1)
        basket.retry_at = now + (self.config.hedge_retry_ns << min(basket.put_off - 1, _PAUSE_DOUBLINGS))
        self._judge_completing(basket, child, is_refused=False)

    def _judge_completing(self, basket: Basket, child: Child, *, is_refused: bool) -> None:
        in_vain = is_refused or basket.misses * 2 >= self.config.hedge_attempts
        if not child.is_reduce and basket.closes is None and in_vain:
            basket.may_extend = False

    def _reopen(self, now: int, basket: Basket) -> None:
        """A fill came after the basket had ended: it is at work again if the fill made a difference."""
        if not basket.gaps(self.instruments):
            return
        self.incident(now, "fill_after_end", basket.id, f"{basket.state} basket is out of balance by a late fill")
        self.work_again(now, basket, BasketEvent.HEDGE, "late fill")

    def work_again(self, now: int, basket: Basket, event: BasketEvent, why: str) -> None:
        basket.apply(event)
        basket.why = why
        basket.deadline_ns = now + max(self.config.flatten_deadline_ns, basket.deadline_ns - basket.planned_ns)
        basket.rounds = basket.misses = basket.last_misses = basket.put_off = basket.retry_at = 0
        basket.exposure = ZERO
        basket.is_last_call = basket.is_over_budget = False
        closed = self.state.baskets.get(basket.closes or "")
        if closed is not None and not closed.closing:
            closed.closing = basket.id
        self.mark(now, basket)
        self.publish(now, basket)

    # Decisions

    def evaluate(self, now: int, basket: Basket) -> None:
        """Bring the basket on as far as what is known allows."""
        if basket.state not in ACTIVE:
            return
        self.mark(now, basket)
        if self.state.is_guarded:
            return
        self._check_budget(now, basket)
        self.follow(now, basket)
        gaps = basket.gaps(self.instruments)
        is_uneven = bool(gaps) and not self.waits_for_more(basket, gaps)
        self.quote(now, basket, is_uneven=is_uneven)
        is_done = not basket.is_pending and basket.is_balanced(self.instruments) and not self.may_quote(basket)
        if is_done and (not basket.is_rollback or basket.is_empty(self.instruments) or self._is_exhausted(basket)):
            is_empty = basket.is_empty(self.instruments)
            self.end(now, basket, BasketEvent.EMPTY if is_empty else BasketEvent.BALANCE)
        elif now >= basket.deadline_ns:
            self._cancel_children(now, basket)
            self.give_up(now, basket, f"deadline: {basket.why}")
        elif is_uneven or (is_done and basket.is_rollback):
            self._seek(now, basket)
        elif basket.trouble is not None and not basket.is_hedging:
            self.end_trouble(now, basket)
        if basket.state in ACTIVE:
            self.schedule(now, basket)
        elif basket.state in (BasketState.BALANCED, BasketState.BROKEN):
            self.flatten_if_told(now)

    def _check_budget(self, now: int, basket: Basket) -> None:
        if not basket.is_over_budget:
            if basket.exposure > basket.risk_budget * 1_000_000_000:
                text = f"unhedged {basket.unhedged}, budget of {basket.risk_budget} quote seconds is spent"
                self._over_budget(now, basket, "risk_budget", text)
            elif basket.loss_budget is not None and basket.unhedged and -self.profit(basket) > basket.loss_budget:
                text = f"unhedged {basket.unhedged}, lost {-self.profit(basket)} of at most {basket.loss_budget}"
                self._over_budget(now, basket, "loss_budget", text)
        if now >= self.last_call_ns(basket):
            basket.is_last_call = True

    def _over_budget(self, now: int, basket: Basket, kind: str, text: str) -> None:
        basket.is_over_budget = basket.is_last_call = True
        self.incident(now, kind, basket.id, text, -self.profit(basket))
        self.trip(now, kind, f"{basket.id}: {text}")

    def _is_exhausted(self, basket: Basket) -> bool:
        return (
            basket.price_misses >= self.config.hedge_attempts
            or basket.rounds >= self.config.hedge_rounds_max
            or basket.last_misses >= 2
        )

    def _seek(self, now: int, basket: Basket) -> None:
        """Look for a way out of the imbalance: ask for the depth of every leg, unless it is too early or too late."""
        if basket.depth_awaited:
            if now < basket.depth_asked_ns + self.config.hedge_retry_ns:
                return
            self._forget_depth(basket)
            self._no_way(now, basket, "no depth reply")
        if self._is_exhausted(basket):
            if not basket.is_pending:
                self.give_up(now, basket, f"no way out after {basket.rounds} rounds: {basket.why}")
            return
        if now < basket.retry_at or must_wait(basket, self.instruments) or self.awaits_close(basket):
            return
        self.begin_trouble(now, basket)
        if not self._waits_for_hours(now, basket):
            self.ask_depth(now, basket)

    def _waits_for_hours(self, now: int, basket: Basket) -> bool:
        """Wait when no leg that could help trades now: an attempt that cannot be made is none."""
        legs = helpers(basket, self.instruments)
        if not legs or not all(self.shut(now, leg.instrument) for leg in legs):
            return False
        basket.retry_at = now + self.config.closed_retry_ns
        basket.why = f"no trading in {', '.join(leg.instrument for leg in legs)}"
        return True

    @handles(DepthReply)
    def depth_came(self, now: int, reply: DepthReply) -> None:
        basket = self.state.baskets.get(self.state.depth_refs.pop(reply.ref, ""))
        if basket is None or basket.depth_awaited.pop(reply.ref, None) is None:
            return
        is_shut = basket.state in ACTIVE and self.shut(now, reply.instrument)
        dead = DepthReply(reply.ts, reply.ref, reply.instrument, False)
        basket.depth[reply.instrument] = dead if is_shut else reply
        if basket.depth_awaited:
            return
        if basket.state is BasketState.PLANNED:
            self.ask_checkers(now, basket)
            return
        if basket.state not in ACTIVE:
            return
        terms = Terms(self._cap_bps(basket), self.config.taker_fee_bps, basket.edge_bps)
        may_open = self.state.kill_level < KillLevel.CANCEL_ALL
        plans = weigh(basket, self.instruments, terms, may_open=may_open)
        plan = best(plans)
        basket.depth.clear()
        if plan is not None:
            self._execute(now, basket, plan, plans)
        elif basket.gaps(self.instruments) or basket.is_rollback:
            if not self._waits_for_hours(now, basket):
                self._no_way(now, basket, "no depth within the cap")
            self.evaluate(now, basket)

    def _cap_bps(self, basket: Basket) -> Decimal | None:
        if basket.is_last_call or basket.price_misses >= self.config.hedge_attempts - 1:
            return None
        return min(self.config.hard_cap_bps, max(basket.max_slippage_bps, ONE) * (1 << basket.price_misses))

    def _no_way(self, now: int, basket: Basket, why: str) -> None:
        basket.misses += 1
        basket.last_misses += basket.is_last_call
        basket.retry_at = now + self.config.hedge_retry_ns
        basket.why = why

    def _execute(self, now: int, basket: Basket, plan: Plan, plans: Sequence[Plan]) -> None:
        basket.rounds += 1
        basket.is_rollback = basket.is_rollback or plan.kind is PlanKind.ROLLBACK
        event = BasketEvent.HEDGE if plan.kind is PlanKind.COMPLETE else BasketEvent.UNWIND
        basket.apply(event)
        decision = decided(now, basket, plan, plans, self.instruments)
        self.begin_trouble(now, basket)
        if basket.trouble is not None:
            basket.trouble.actions.append(decision.why)
        self.out.emit(decision)
        self.publish(now, basket)
        for order in plan.orders:
            self.send(now, basket, order, is_first=False)
        self.schedule(now, basket)

    def _cancel_children(self, now: int, basket: Basket) -> None:
        for request_id, child in basket.children.items():
            if not child.is_final:
                self.cancel(now, request_id, child)

    # Time

    def schedule(self, now: int, basket: Basket) -> None:
        """Come back at the next moment when time alone changes the decision."""
        moments = [basket.deadline_ns]
        if not basket.is_last_call:
            moments.append(self.last_call_ns(basket))
        if basket.unhedged > ZERO:
            left = basket.risk_budget * 1_000_000_000 - basket.exposure
            if not basket.is_over_budget:
                moments.append(now + int(left / basket.unhedged) + 1)
            moments.append(basket.retry_at)
            if basket.loss_budget is not None and not basket.is_over_budget:
                moments.append(now + self.config.look_ns)
        if self.may_quote(basket):
            moments.append(now + self.config.requote_ns)
        if basket.depth_awaited:
            moments.append(basket.depth_asked_ns + self.config.hedge_retry_ns)
        if basket.is_rollback:
            moments.append(basket.retry_at)
        self.out.timer(timer_key(basket), min((moment for moment in moments if moment > now), default=now + 1))

    def on_timer(self, now: int, key: str) -> None:
        if key == _FLATTEN:
            self.flatten_if_told(now)
            return
        basket = self.state.baskets.get(key.removeprefix(BASKET_TIMER))
        if basket is not None:
            self._woken(now, basket)

    def _woken(self, now: int, basket: Basket) -> None:
        if basket.state in (BasketState.PLANNED, BasketState.RESERVED):
            self.deny(now, basket, f"{DenyReason.PREFLIGHT_TIMEOUT}: agreed were {', '.join(basket.agreed) or 'none'}")
        else:
            self.evaluate(now, basket)

    # The world

    @handles(BookView)
    def book_seen(self, now: int, view: BookView) -> None:
        self.state.touches[view.instrument] = view
        if self.state.quoting.get(view.instrument):
            self.requote(now, view.instrument)

    @handles(FeedStatus)
    def feed_changed(self, now: int, status: FeedStatus) -> None:
        self.state.live[status.instrument] = status.is_live
        self.state.touches.pop(status.instrument, None)
        self.review_quotes(now)

    @handles(InstrumentStatus)
    def trading_changed(self, now: int, status: InstrumentStatus) -> None:
        """Remember what does not trade, and take up what waited for it once it does."""
        if status.state is not InstrumentState.OPEN:
            self.state.trading[status.instrument] = status.state
            self.review_quotes(now)
            return
        self.state.halted_until.pop(status.instrument, None)
        if self.state.trading.pop(status.instrument, None) is not None:
            for basket in list(self.state.baskets.values()):
                if basket.state in ACTIVE and any(leg.instrument == status.instrument for leg in basket.legs):
                    basket.retry_at = now
                    self.evaluate(now, basket)

    @handles(StopCommand)
    def stopping(self, now: int, message: StopCommand) -> None:
        """Begin nothing more, and bring what is under way to an end in the time a stop has."""
        self.state.is_stopping = True
        for basket in list(self.state.baskets.values()):
            if basket.state in ACTIVE:
                basket.deadline_ns = min(basket.deadline_ns, now + self.config.stop_deadline_ns)
                self.evaluate(now, basket)
        self.tell_left_open(now, self.state.baskets.values())

    @handles(ResumeCommand)
    def resumed(self, now: int, message: ResumeCommand) -> None:
        """Go on; no book is believed before it is told again, however young it was when the desk went away."""
        self.state.is_stopping = False
        self.state.live.clear()
        self.state.touches.clear()
        for basket in self.state.baskets.values():
            self._forget_depth(basket)

    @handles(CellRestarted)
    def restarted(self, now: int, message: CellRestarted) -> None:
        for basket in list(self.state.baskets.values()):
            if basket.state in ACTIVE:
                self._forget_depth(basket)
                # Nothing may rest on what has yet to be reconciled.
                basket.is_quoted_out = True
                self.evaluate(now, basket)
            elif basket.state in (BasketState.PLANNED, BasketState.RESERVED):
                self.deny(now, basket, f"{DenyReason.PREFLIGHT_TIMEOUT}: the cell restarted")
        self.flatten_if_told(now)

    @handles(KillState)
    def kill_changed(self, now: int, message: KillState) -> None:
        self.state.kill_level = message.level
        self.review_quotes(now)
        if message.level >= KillLevel.CANCEL_ALL:
            for basket in list(self.state.baskets.values()):
                self.evaluate(now, basket)
        self.flatten_if_told(now)

    def flatten_if_told(self, now: int) -> None:
        """At FLATTEN, close every open basket with all its legs at once, again and again until nothing is open.

        Such a close asks no checker: a refusal would keep the risk on.
        """
        if self.state.kill_level < KillLevel.FLATTEN or self.state.is_guarded:
            return
        is_left = False
        for basket in list(self.state.baskets.values()):
            legs = self.open_legs(basket)
            if not legs or basket.closing:
                is_left = is_left or bool(legs)
                continue
            is_left = True
            if now < basket.retry_at:
                continue
            basket.retry_at = now + self.config.flatten_retry_ns
            self.state.next_flatten += 1
            intent = BasketIntent(
                now,
                f"{basket.id}.flat{self.state.next_flatten}",
                basket.strategy,
                legs,
                closes=basket.id,
                max_slippage_bps=self.config.flatten_slippage_bps,
                risk_budget=basket.risk_budget,
                deadline_ns=self.config.flatten_deadline_ns,
            )
            try:
                close = self.plan(now, intent, is_forced=True)
            except DeniedError as error:
                self.refuse(now, intent, str(error))
                continue
            close.apply(BasketEvent.RESERVE)
            self.place(now, close)
        if is_left:
            self.out.timer(_FLATTEN, now + self.config.flatten_retry_ns)
