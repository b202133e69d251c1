"""Decides which orders leave: every order passes here, and counts towards the limits from its approval on.

Three states outlast single orders. Read-only (at the start, after a restart of the cell, after a venue's order channel
was down): nothing passes until the account is reconciled. Killed or stopping: only hedges of baskets at work and
orders that reduce pass, at CANCEL_ALL and above only such as cannot rest. Over high water: no new positions.

An order that can rest leaves only while the venue has confirmed that it cancels by itself should the desk fall silent;
until then it waits here, and every rule is asked when it goes on.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from actors.base import handles
from actors.cell import CellRestarted
from actors.close_capacity import shortfalls
from actors.control import GuardStatus
from actors.dead_man_words import DeadManState, DeadManWanted
from actors.dead_man_words import key_of as timer_of
from actors.dispatcher import InboxHighWater
from actors.executions import ExecutionIntent, ExecutionReport
from actors.halts import HaltTrigger
from actors.limits import TightenLimit, effective, objection, tighten
from actors.messages import (
    MARKET_CHANNEL,
    BasketLeg,
    BookView,
    CancelRequest,
    Checker,
    FeedStatus,
    Incident,
    KillLevel,
    KillState,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    PreflightReply,
    PreflightRequest,
    Reconciled,
    ResumeCommand,
    StopCommand,
)
from actors.risk_book import InFlight, KnownBasket, KnownLeg, RiskState, Touch
from actors.risk_checks import Facts, Reason, identity, refusals, unit_notional
from actors.risk_config import RiskConfig
from actors.risk_lines import Lines
from actors.risk_parts import begins_execution
from actors.risk_under_way import UnderWay
from actors.sessions import Sessions
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderType, Side, TimeInForce, can_rest
from venues.model.position import position_key
from venues.port import InstrumentStatus, VenueDown, VenueUp
from venues.rules.cme_products import Product

_BUY = Side.BUY
_IOC, _LIMIT = TimeInForce.IOC, OrderType.LIMIT


class RiskGate(UnderWay):
    """`accounts` gives each account's venue. Prices are held against the mid of the last good view of the book."""

    publishes = (OrderApproved, OrderDenied, PreflightReply, Incident, HaltTrigger, DeadManWanted)

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, str],
        config: RiskConfig | None = None,
        name: str = "",
        products: Mapping[str, Product] | None = None,
    ) -> None:
        """`products` are the CME products of the instruments whose venue keeps CME's hours."""
        super().__init__(name)
        self.instruments = dict(instruments)
        self.accounts = dict(accounts)
        self.config = self.limits = config or RiskConfig()
        self.state = RiskState()
        self._sessions = Sessions(self.config.attempts, dict(products or {}), self.state.sessions)
        self._lines = Lines(self.state, self.instruments, self.accounts, self.limits)
        if self.config.starts_read_only:
            self._distrust("", "not reconciled since the start")

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._sessions.resume(self.state.sessions)
        self._limit()

    def _limit(self) -> None:
        self.limits = effective(self.config, self.state.tightened)
        self._lines = Lines(self.state, self.instruments, self.accounts, self.limits)
        for instrument, touch in self.state.touches.items():
            if instrument in self.instruments:
                self._bound(instrument, touch)

    # Decisions

    @handles(OrderRequest)
    def on_order(self, now: int, order: OrderRequest, timer_why: str = "") -> None:
        """`timer_why`: it has waited for its venue's timer, which cannot be set."""
        # IOC limit orders, most of all, are told apart at once.
        may_rest = (order.tif is not _IOC or order.type is not _LIMIT) and can_rest(order.type, order.tif)
        if may_rest and not timer_why and self._must_wait(now, order):
            return
        lines, window = self._lines, self.config.duplicate_window_ns
        # A window of no length remembers nothing.
        mark = ""
        line = None if timer_why else lines.clears(now, order)
        is_execution = order.basket_id or order.parent_id or order.group_id
        if line is not None and (is_execution or self._sessions.is_gated) and self._sessions.objects(now, order):
            line = None
        if line is not None and window:
            mark = _fingerprint(line.key, order)
            if self._is_repeated(now, mark):
                line = None
        if line is None:
            reasons = identity(order, self.instruments, self.accounts)
            if not reasons:
                key = position_key(order.account, order.instrument, order.position_side)
                mark = _fingerprint(key, order) if window else ""
                facts = self._facts(now, order, (order,), mark, begins=begins_execution(order))
                if may_rest:
                    facts.dead_man_why = self._unguarded_why(now, order, timer_why)
                reasons = refusals(order, facts)
            if reasons:
                self._deny(now, order, reasons)
                return
            line = self._hold(key, order.instrument, order.position_side)
        state, order_id, side, qty = self.state, order.request_id, order.side, order.qty
        state.orders[order_id] = InFlight(line.key, side, qty, order.basket_id)
        if side is _BUY:
            line.buys += qty
        else:
            line.sells += qty
        state.ids.add(order_id, self.config.remembered_ids)
        lines.note_message(now)
        if is_execution:
            self._sessions.note(now, order)
        if window:
            self._remember(now, mark)
        if not order.basket_id and begins_execution(order):
            self._count_execution(order.strategy, now)
        if order.parent_id:
            state.parents.sent(order)
        state.approved += 1
        self.out.emit(OrderApproved(now, order))

    def _must_wait(self, now: int, order: OrderRequest) -> bool:
        """Hold an order back until the venue's timer runs; nobody waits for one that may not leave anyway."""
        state, key = self.state, timer_of(order.account, order.instrument)
        if state.dead_men.get(key, 0) > now and not state.waiting:
            return False
        if identity(order, self.instruments, self.accounts) or state.kill >= KillLevel.CANCEL_ALL:
            return False
        if key not in state.waiting and state.dead_men.get(key, 0) > now:
            return False
        state.waiting.setdefault(key, []).append(order)
        self.out.emit(DeadManWanted(now, order.account, order.instrument))
        return True

    @handles(DeadManState)
    def on_dead_man(self, now: int, timer: DeadManState) -> None:
        key = timer_of(timer.account, timer.instrument)
        self.state.dead_men[key] = timer.until_ns
        if timer.until_ns > now or timer.why:
            for order in self.state.waiting.pop(key, ()):
                self.on_order(now, order, timer.why)

    def _deny(self, now: int, order: OrderRequest, reasons: tuple[str, ...]) -> None:
        self.state.denied += 1
        self.out.emit(OrderDenied(now, order, reasons))
        self._disable(now, order.strategy, reasons)

    @handles(ExecutionIntent)
    def on_execution(self, now: int, intent: ExecutionIntent) -> None:
        """Hear of a parent before its first child: what was never announced has no room."""
        self.state.parents.begin(intent, self.config.remembered_parents)

    @handles(ExecutionReport)
    def on_execution_over(self, now: int, report: ExecutionReport) -> None:
        self.state.parents.end(report.parent_id)

    @handles(CancelRequest)
    def on_cancel(self, now: int, request: CancelRequest) -> None:
        """Count a cancel towards the message rate; cancels themselves are never held back. What waits goes nowhere."""
        self._lines.note_message(now)
        if self.state.waiting:
            self._forget_waiting(now, request)

    def _forget_waiting(self, now: int, request: CancelRequest) -> None:
        for key, waiting in list(self.state.waiting.items()):
            for order in [one for one in waiting if one.request_id == request.request_id]:
                waiting.remove(order)
                self._deny(now, order, (f"{Reason.NO_DEAD_MAN}: cancelled while it waited",))
            if not waiting:
                del self.state.waiting[key]

    @handles(PreflightRequest)
    def on_preflight(self, now: int, request: PreflightRequest) -> None:
        orders = [_as_order(now, request, number, leg, None) for number, leg in enumerate(request.legs)]
        reasons: list[str] = []
        if not orders:
            reasons.append("no legs")
        if request.basket_id in self.state.baskets:
            reasons.append(f"basket {request.basket_id} was checked already")
        named = [
            identity(_as_order(now, request, number, leg, leg.limit_price), self.instruments, self.accounts)
            for number, leg in enumerate(request.legs)
        ]
        for order, found in zip(orders, named, strict=True):
            # Exposure can only be summed when every leg is a real one.
            checked = found
            if not any(named):
                facts = self._facts(now, order, orders, "", begins=request.closes is None)
                checked = refusals(order, facts, is_preflight=True)
                self._disable(now, request.strategy, checked)
            reasons.extend(f"{order.instrument}: {reason}" for reason in checked)
        if not any(named):
            short = shortfalls(now, request.legs, self.state, self.instruments)
            reasons.extend(f"{name}: {Reason.REDUCE_CAPACITY}: {why}" for name, why in short.items())
        if not reasons:
            legs = []
            for leg in request.legs:
                key = position_key(leg.account, leg.instrument, leg.position_side)
                self._hold(key, leg.instrument, leg.position_side)
                legs.append(KnownLeg(key, leg.side, leg.qty))
            self._know(request.basket_id, KnownBasket(legs, request.closes or "", is_reserved=True))
            if request.closes is None:
                self._count_execution(request.strategy, now)
        self.out.emit(PreflightReply(now, request.basket_id, Checker.RISK, not reasons, tuple(reasons)))

    def _facts(
        self, now: int, order: OrderRequest, orders: Sequence[OrderRequest], mark: str, *, begins: bool
    ) -> Facts:
        """Collect what the checks need, as if all of `orders` were approved.

        `mark` is the order's fingerprint; `begins`: the order, or its basket, is an execution of its strategy.
        """
        state, spec = self.state, self.instruments[order.instrument]
        is_opening = not (self._lines.is_hedge(order) or self._reduces(now, order))
        # What everything can come to is asked of openings alone (RULES).
        mine, gross, unexecuted, unpriced = self._worth(now, spec.id, orders) if is_opening else (ZERO, ZERO, ZERO, ())
        mid, touch = self._mid(spec.id), state.touches.get(spec.id)
        halt, halt_why = self._halt(order, spec.venue)
        return Facts(
            spec=spec,
            limits=self.limits.limits(spec.id),
            config=self.limits,
            is_opening=is_opening,
            mid=mid,
            age_ns=None if touch is None else now - touch.ts,
            feed_why=self._feed_why(spec),
            exposure_qty=mine,
            exposure_notional=None if mid is None else mine * unit_notional(spec, abs(mid)),
            gross_notional=gross,
            unpriced=unpriced,
            open_orders=len(state.orders),
            messages_in_window=self._lines.messages(now),
            is_known_id=order.request_id in state.ids.keys or order.request_id in state.orders,
            is_repeated=self._is_repeated(now, mark),
            basket_room=self._lines.room(order),
            kill=state.kill,
            is_stopping=state.is_stopping,
            is_backlogged=state.is_backlogged,
            venue_why=self._venue_why(spec.venue),
            is_read_only=order.account in state.unreconciled,
            guard_why=state.guard_why,
            is_guard_in_charge=state.is_guard_in_charge,
            session_why=self._sessions.closed_why(now, order),
            attempts=self._sessions.attempts(now, order),
            unexecuted=unexecuted,
            band=None if touch is None else (touch.low, touch.high),
            executions=len(self._executions(now, order.strategy)) if begins else None,
            halt=halt,
            halt_why=halt_why,
            parent_room=state.parents.room(order),
        )

    def _worth(
        self, now: int, mine: str, orders: Sequence[OrderRequest]
    ) -> tuple[Decimal, Decimal, Decimal, tuple[str, ...]]:
        """Return what `orders` and all under way can come to: the quantity of `mine`, gross value, value in flight.

        The last are the other instruments that have no price.
        """
        exposures, flying = self._exposures(now, orders), self._flying(orders)
        gross = unexecuted = ZERO
        unpriced = []
        for instrument, exposure in exposures.items():
            other, mid = self.instruments[instrument], self._mid(instrument)
            if mid is not None and other.quote in self.config.par:
                gross += exposure * unit_notional(other, abs(mid))
                unexecuted += flying.get(instrument, ZERO) * unit_notional(other, abs(mid))
            elif (exposure or flying.get(instrument)) and instrument != mine:
                unpriced.append(instrument)
        return exposures.get(mine, ZERO), gross, unexecuted, tuple(unpriced)

    # Prices, rates, repetitions

    def _mid(self, instrument: str) -> Decimal | None:
        touch = self.state.touches.get(instrument)
        return None if touch is None else self.instruments[instrument].price(touch.ticks) / 2

    def _feed_why(self, spec: Instrument) -> str:
        if MARKET_CHANNEL in self.state.venues_down.get(spec.venue, {}):
            return f"{spec.venue} market channel is down"
        return self.state.feeds_down.get(spec.id, "")

    def _venue_why(self, venue: str) -> str:
        down = self.state.venues_down.get(venue, {})
        return "; ".join(f"{venue} {channel}: {why}" for channel, why in down.items() if channel != MARKET_CHANNEL)

    def _is_repeated(self, now: int, mark: str) -> bool:
        last = self.state.repeats.get(mark)
        return last is not None and now - last < self.config.duplicate_window_ns

    def _remember(self, now: int, mark: str) -> None:
        repeats = self.state.repeats
        while repeats and now - repeats[oldest := next(iter(repeats))] >= self.config.duplicate_window_ns:
            del repeats[oldest]
        repeats.pop(mark, None)
        repeats[mark] = now

    # What the market and the cell are like

    @handles(BookView)
    def on_book(self, now: int, view: BookView) -> None:
        if view.bid >= view.ask or view.instrument not in self.instruments:
            return
        state = self.state
        touch = state.touches.get(view.instrument)
        if touch is None:
            ticks = view.bid + view.ask
            touch = state.touches[view.instrument] = Touch(now, ticks, ticks, ticks)
            self._bound(view.instrument, touch)
        else:
            touch.ts, touch.ticks = now, view.bid + view.ask
        if now >= state.next_sample_ns:
            self._sample(now)

    @handles(FeedStatus)
    def on_feed(self, now: int, status: FeedStatus) -> None:
        if status.is_live:
            self.state.feeds_down.pop(status.instrument, None)
        else:
            self.state.feeds_down[status.instrument] = status.why or "not live"

    @handles(InstrumentStatus)
    def on_session(self, now: int, status: InstrumentStatus) -> None:
        if status.instrument in self.instruments:
            self._sessions.told(now, status.instrument, status.state)

    @handles(KillState)
    def on_kill(self, now: int, kill: KillState) -> None:
        self.state.kill = kill.level

    @handles(StopCommand)
    def on_stop(self, now: int, stop: StopCommand) -> None:
        self.state.is_stopping = True

    def objection(self, change: TightenLimit) -> str:
        """Return why a limit cannot be tightened so, an empty string when it can."""
        return objection(change, self.config, self.state.tightened, self.instruments)

    @handles(TightenLimit)
    def on_tighten(self, now: int, change: TightenLimit) -> None:
        why = self.objection(change)
        if why:
            self.out.emit(Incident(now, "limit_refused", "", f"{change.instrument or 'desk'}: {why}"))
            return
        tighten(self.state.tightened, change)
        self._limit()

    @handles(ResumeCommand)
    def on_resume(self, now: int, resume: ResumeCommand) -> None:
        self.state.is_stopping = False

    @handles(InboxHighWater)
    def on_high_water(self, now: int, water: InboxHighWater) -> None:
        self.state.is_backlogged = water.is_over

    @handles(GuardStatus)
    def on_guard(self, now: int, guard: GuardStatus) -> None:
        self.state.guard_why = "" if guard.is_up else guard.why or "down"
        self.state.is_guard_in_charge = guard.is_in_charge

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        self._distrust("", f"restarted without input {restarted.seq}")

    @handles(VenueDown)
    def on_down(self, now: int, down: VenueDown) -> None:
        self.state.venues_down.setdefault(down.venue, {})[down.channel] = down.why or "down"
        if down.channel != MARKET_CHANNEL:
            self._distrust(down.venue, "its venue was down")

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        channels = self.state.venues_down.get(up.venue, {})
        if not up.channel:
            channels.clear()
        channels.pop(up.channel, None)

    @handles(Reconciled)
    def on_reconciled(self, now: int, reconciled: Reconciled) -> None:
        self.state.unreconciled.pop(reconciled.account, None)

    def _distrust(self, venue: str, why: str) -> None:
        for account, at in self.accounts.items():
            if venue in ("", at):
                self.state.unreconciled[account] = why


def _as_order(now: int, request: PreflightRequest, number: int, leg: BasketLeg, price: Decimal | None) -> OrderRequest:
    return OrderRequest(
        ts=now,
        request_id=f"{request.basket_id}/{number}",
        strategy=request.strategy,
        basket_id=request.basket_id,
        account=leg.account,
        instrument=leg.instrument,
        side=leg.side,
        qty=leg.qty,
        type=OrderType.MARKET if price is None else OrderType.LIMIT,
        price=price,
        reduce_only=leg.reduce_only,
        position_side=leg.position_side,
    )


def _fingerprint(key: str, order: OrderRequest) -> str:
    price = "" if order.price is None else order.price.normalize()
    return f"{key}|{order.side}|{order.qty.normalize()}|{price}"
