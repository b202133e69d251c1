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
from actors.basket import ACTIVE, ENDED
from actors.cell import CellRestarted
from actors.close_capacity import shortfalls
from actors.control import GuardStatus
from actors.dead_man_words import DeadManState, DeadManWanted
from actors.dead_man_words import key_of as timer_of
from actors.dispatcher import InboxHighWater
from actors.executions import ExecutionIntent, ExecutionReport
from actors.halts import HaltTrigger
from actors.ledger import position_change, unbookable
from actors.limits import TightenLimit, effective, objection, tighten
from actors.messages import (
    MARKET_CHANNEL,
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    CancelRequest,
    Checker,
    FeedStatus,
    FillEvent,
    Incident,
    KillLevel,
    KillState,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
    Reconciled,
    ReservationReleased,
    ResumeCommand,
    StopCommand,
)
from actors.post_trade import FillBusted, reversal
from actors.risk_book import Held, InFlight, KnownBasket, KnownLeg, RiskState, Touch
from actors.risk_checks import Facts, Reason, RiskConfig, identity, refusals, unit_notional
from actors.risk_lines import Line, Lines
from actors.risk_parts import RiskParts, begins_execution
from actors.sessions import Sessions
from venues.model.fill import Fill
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide, Side, TimeInForce, can_rest
from venues.model.position import position_key
from venues.port import InstrumentStatus, VenueDown, VenueUp
from venues.rules.cme_products import Product

_BUY = Side.BUY
_IOC, _LIMIT = TimeInForce.IOC, OrderType.LIMIT
_CLOSES = {PositionSide.LONG: Side.SELL, PositionSide.SHORT: Side.BUY}
"""Which side closes a position of a hedge-mode account."""


class RiskGate(RiskParts):
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
        is_execution = order.basket_id or order.parent_id
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

    def _hold(self, key: str, instrument: str, side: PositionSide) -> Line:
        line = self._lines.get(key)
        if line is None:
            held = self.state.positions[key] = Held(instrument, side)
            line = self._lines.hold(key, held)
        return line

    def _facts(
        self, now: int, order: OrderRequest, orders: Sequence[OrderRequest], mark: str, *, begins: bool
    ) -> Facts:
        """Collect what the checks need, as if all of `orders` were approved.

        `mark` is the order's fingerprint; `begins`: the order, or its basket, is an execution of its strategy.
        """
        state, spec = self.state, self.instruments[order.instrument]
        exposures = self._exposures(now, orders)
        mine, gross, unexecuted, unpriced = exposures.get(spec.id, ZERO), ZERO, ZERO, []
        flying = self._flying(orders)
        mids = {instrument: self._mid(instrument) for instrument in (spec.id, *exposures)}
        for instrument, exposure in exposures.items():
            other = self.instruments[instrument]
            mid = mids[instrument]
            if mid is not None and other.quote in self.config.par:
                gross += exposure * unit_notional(other, abs(mid))
                unexecuted += flying.get(instrument, ZERO) * unit_notional(other, abs(mid))
            elif (exposure or instrument in flying) and instrument != spec.id:
                unpriced.append(instrument)
        mid, touch = mids.get(spec.id), state.touches.get(spec.id)
        halt, halt_why = self._halt(order, spec.venue)
        return Facts(
            spec=spec,
            limits=self.limits.limits(spec.id),
            config=self.limits,
            is_opening=not (self._is_hedge(order) or self._reduces(now, order)),
            mid=mid,
            age_ns=None if touch is None else now - touch.ts,
            feed_why=self._feed_why(spec),
            exposure_qty=mine,
            exposure_notional=None if mid is None else mine * unit_notional(spec, abs(mid)),
            gross_notional=gross,
            unpriced=tuple(unpriced),
            open_orders=len(state.orders),
            messages_in_window=self._lines.messages(now),
            is_known_id=order.request_id in state.ids.keys or order.request_id in state.orders,
            is_repeated=self._is_repeated(now, mark),
            basket_room=self._room(order),
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

    # Exposure

    def _exposures(self, now: int, orders: Sequence[OrderRequest]) -> dict[str, Decimal]:
        """Return the largest |position| each instrument can come to, with `orders` on top of what is under way."""
        buys: dict[str, Decimal] = {}
        sells: dict[str, Decimal] = {}
        working: dict[str, Decimal] = {}

        def add(key: str, side: Side, qty: Decimal, basket_id: str) -> None:
            into = buys if side is Side.BUY else sells
            into[key] = into.get(key, ZERO) + qty
            slot = f"{basket_id}|{side}|{key}"
            working[slot] = working.get(slot, ZERO) + qty

        held = dict(self.state.positions)
        for flying in self.state.orders.values():
            add(flying.key, flying.side, flying.leaves, flying.basket_id)
        for order in orders:
            key = position_key(order.account, order.instrument, order.position_side)
            if key not in held:
                held[key] = Held(order.instrument, order.position_side)
            add(key, order.side, order.qty, order.basket_id)
        for basket_id, basket in self.state.baskets.items():
            for leg in basket.legs if basket.is_reserved else ():
                under_way = working.get(f"{basket_id}|{leg.side}|{leg.key}", ZERO)
                rest = max(ZERO, leg.qty - leg.filled - under_way)
                into = buys if leg.side is Side.BUY else sells
                into[leg.key] = into.get(leg.key, ZERO) + rest
        exposures: dict[str, Decimal] = {}
        for key, position in held.items():
            worst = position.worst(now, buys.get(key, ZERO), sells.get(key, ZERO))
            exposures[position.instrument] = exposures.get(position.instrument, ZERO) + worst
        return exposures

    def _flying(self, orders: Sequence[OrderRequest]) -> dict[str, Decimal]:
        """Return by instrument what `orders` and those in flight have yet to trade."""
        found: dict[str, Decimal] = {}
        for flying in self.state.orders.values():
            instrument = self.state.positions[flying.key].instrument
            found[instrument] = found.get(instrument, ZERO) + flying.leaves
        for order in orders:
            found[order.instrument] = found.get(order.instrument, ZERO) + order.qty
        return found

    def _reduces(self, now: int, order: OrderRequest) -> bool:
        """Whether the order cannot open: the venue sees to it, or the known position is larger than all that closes it.

        Spot venues know no reduce-only: there only the position counts.
        """
        spec = self.instruments[order.instrument]
        if order.reduce_only and not spec.is_spot:
            return True
        closing = _CLOSES.get(order.position_side)
        if closing is not None:
            return order.side is closing
        key = position_key(order.account, order.instrument, order.position_side)
        held = self.state.positions.get(key)
        if held is None:
            return False
        under_way = sum(
            (flying.leaves for flying in self.state.orders.values() if flying.key == key and flying.side is order.side),
            ZERO,
        )
        return order.qty + under_way <= -order.side.sign * held.qty(now)

    def _is_hedge(self, order: OrderRequest) -> bool:
        basket = self.state.baskets.get(order.basket_id)
        return order.is_hedge and basket is not None and (basket.is_reserved or basket.is_active)

    def _room(self, order: OrderRequest) -> Decimal | None:
        """Return how much more its basket lets the order's leg trade in this direction, None outside a basket.

        Completing may go up to the leg's quantity, unwinding back to nothing filled.
        """
        basket = self.state.baskets.get(order.basket_id)
        if basket is None:
            return None
        key = position_key(order.account, order.instrument, order.position_side)
        room = ZERO
        for leg in basket.legs:
            if leg.key == key:
                room += leg.qty * (1 + self.config.overrun) - leg.filled if leg.side is order.side else leg.filled
        for flying in self.state.orders.values():
            if flying.basket_id == order.basket_id and flying.key == key and flying.side is order.side:
                room -= flying.leaves
        return max(ZERO, room)

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

    # What is under way

    @handles(FillBusted)
    def on_bust(self, now: int, bust: FillBusted) -> None:
        """Take a fill off the position and its basket; its order is not in flight again."""
        fill = bust.fill
        spec = self.instruments.get(fill.instrument)
        if spec is None or unbookable(fill, spec, fill.account in self.accounts):
            return
        back = reversal(fill)
        key = position_key(fill.account, fill.instrument, fill.position_side)
        self._hold(key, fill.instrument, fill.position_side).held.count(now, position_change(back, spec))
        self._move_legs(bust.basket_id, key, back)

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        """Move a fill from in flight to the position in one step: at no moment is it in neither."""
        fill, state = event.fill, self.state
        spec = self.instruments.get(fill.instrument)
        if spec is None or unbookable(fill, spec, fill.account in self.accounts):
            return
        key = position_key(fill.account, fill.instrument, fill.position_side)
        self._hold(key, fill.instrument, fill.position_side).held.count(now, position_change(fill, spec))
        flying = state.orders.get(event.request_id)
        if flying is not None:
            self._lines.fill(flying, fill.qty)
        state.parents.filled(event)
        self._move_legs(event.basket_id, key, fill)

    def _move_legs(self, basket_id: str, key: str, fill: Fill) -> None:
        basket = self.state.baskets.get(basket_id)
        if basket is None:
            return
        closed = self.state.baskets.get(basket.closes)
        for leg in [*basket.legs, *(closed.legs if closed is not None else ())]:
            if leg.key == key:
                leg.filled += fill.qty if leg.side is fill.side else -fill.qty

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        if update.instrument not in self.instruments or not update.qty.is_finite():
            return
        key = position_key(update.account, update.instrument, update.position_side)
        self._hold(key, update.instrument, update.position_side).held.book(update.qty)

    @handles(OrderUpdate)
    def on_update(self, now: int, update: OrderUpdate) -> None:
        self.state.parents.updated(update)
        orders, order_id = self.state.orders, update.request_id or update.client_order_id
        if update.is_final:
            flying = orders.pop(order_id, None)
            if flying is not None:
                self._lines.land(flying)
        elif order_id not in orders and update.instrument in self.instruments:
            # Not approved here, so found at the venue: it rests and may fill all the same.
            key = position_key(update.account, update.instrument)
            self._hold(key, update.instrument, PositionSide.BOTH)
            flying = orders[order_id] = InFlight(key, update.side, update.qty, update.basket_id, update.filled_qty)
            self._lines.fly(flying)

    @handles(ReservationReleased)
    def on_release(self, now: int, released: ReservationReleased) -> None:
        basket = self.state.baskets.get(released.basket_id)
        if basket is not None:
            basket.is_reserved = False
            self._lines.reserve(released.basket_id, is_reserved=False)

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        """Follow which baskets are at work: one that ended may begin again by a late fill, a kill may flatten one."""
        baskets = self.state.baskets
        if update.state is BasketState.DENIED:
            baskets.pop(update.basket_id, None)
            self._lines.reserve(update.basket_id, is_reserved=False)
            return
        basket = baskets.get(update.basket_id)
        closed = baskets.get(update.closes or "")
        if basket is None and closed is not None and update.state in ACTIVE:
            # Flattening asks nobody: the close may trade what the basket holds.
            legs = [KnownLeg(leg.key, leg.side.opposite, max(ZERO, leg.filled)) for leg in closed.legs]
            basket = KnownBasket(legs, update.closes or "")
            self._know(update.basket_id, basket)
        if basket is not None:
            basket.is_active = update.state in ACTIVE
            basket.is_reserved = basket.is_reserved and update.state not in ENDED
            self._lines.reserve(update.basket_id, is_reserved=basket.is_reserved)

    def _know(self, basket_id: str, basket: KnownBasket) -> None:
        baskets = self.state.baskets
        baskets[basket_id] = basket
        self._lines.reserve(basket_id, is_reserved=basket.is_reserved)
        if len(baskets) > self.config.remembered_baskets:
            idle = (name for name, one in baskets.items() if not one.is_reserved and not one.is_active)
            oldest = next(idle, None)
            if oldest is not None:
                del baskets[oldest]

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
