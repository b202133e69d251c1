"""Which baskets exist, which may begin, and what an ended one leaves: reservations, residuals, closed positions."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from actors import basket_cost
from actors.base import handles
from actors.basket import ACTIVE, ENDED, Basket, BasketEvent, Child, Leg, new_leg, quantum, residual_key
from actors.basket_accounts import BasketAccounts
from actors.basket_plan import DeniedError, DenyReason, common_sizes
from actors.basket_records import LeftOpen
from actors.flags import FlagMode, SetFlag, flag_of, verdict
from actors.flags import objection as flag_objection
from actors.messages import (
    BasketIntent,
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    CancelRequest,
    Placement,
    ReservationReleased,
)
from actors.trading_hours import closure
from venues.model.instrument import Instrument
from venues.model.money import ZERO, round_to_step
from venues.model.order import Side

BASKET_TIMER = "basket:"


class BasketBook(BasketAccounts):
    """The records of the atomic executor: how baskets come in and go out. What they do between is in AtomicExecutor."""

    # Beginning

    def plan(self, now: int, intent: BasketIntent, *, is_forced: bool = False) -> Basket:
        """Return the new basket in PLANNED, sized. Raises DeniedError with the first reason against it.

        One that is forced does not wait for better hours.
        """
        if intent.basket_id in self.state.ids.keys or intent.basket_id in self.state.baskets:
            raise DeniedError(DenyReason.DUPLICATE, intent.basket_id)
        _check_parameters(intent)
        for leg in intent.legs:
            self._check_leg(leg)
        if len({_leg_key(leg) for leg in intent.legs}) < len(intent.legs):
            raise DeniedError(DenyReason.DUPLICATE_LEG, "two legs of one position")
        closed = self._closed_basket(intent)
        legs = intent.legs if closed is None else self._worth_closing(intent.legs)
        quanta = self._quanta(legs)
        sizes, takes_residual = self._sizes(legs, quanta, closed)
        for leg, qty in zip(legs, sizes, strict=True):
            self._check_size(leg, qty)
            if not is_forced:
                self._check_hours(now, leg, now + intent.deadline_ns)
        basket = Basket(
            intent.basket_id,
            intent.strategy,
            [new_leg(leg, qty, is_close=bool(closed)) for leg, qty in zip(legs, sizes, strict=True)],
            quanta,
            intent.max_slippage_bps,
            intent.risk_budget,
            now,
            now + intent.deadline_ns,
            closes=intent.closes,
            takes_residual=takes_residual,
            marked_ns=now,
            is_forced=is_forced,
            placement=intent.placement,
            is_ordered=intent.is_ordered,
            loss_budget=intent.loss_budget,
            edge_bps=intent.edge_bps,
        )
        if closed is not None:
            closed.closing = basket.id
        self.state.ids.add(basket.id, self.config.keep_ids)
        self.state.baskets[basket.id] = basket
        self.state.counters.planned += 1
        return basket

    def _quanta(self, legs: tuple[BasketLeg, ...]) -> dict[str, Decimal]:
        by_base: dict[str, list[Instrument]] = {}
        for leg in legs:
            spec = self.instruments[leg.instrument]
            by_base.setdefault(spec.base, []).append(spec)
        return {base: quantum(specs) for base, specs in by_base.items()}

    def _sizes(
        self, legs: tuple[BasketLeg, ...], quanta: Mapping[str, Decimal], closed: Basket | None
    ) -> tuple[list[Decimal], bool]:
        """Return the legs' sizes and whether the basket takes the residual over.

        Residuals of baskets with coarser lots may be more than this one can offset: an opening basket trims itself by
        them, a close, which cannot, leaves them to others.
        """
        holders = legs if closed is None else closed.legs
        residual = {base: self.state.residuals.get(self._key(base, holders), ZERO) for base in quanta}
        if closed is None:
            return common_sizes(legs, self.instruments, quanta, residual), True
        lacking = closed.net(self.instruments)
        both = {base: lacking.get(base, ZERO) + residual[base] for base in quanta}
        try:
            return common_sizes(legs, self.instruments, quanta, both, is_close=True), True
        except DeniedError:
            return common_sizes(legs, self.instruments, quanta, lacking, is_close=True), False

    def _key(self, base: str, holders: Sequence[BasketLeg | Leg]) -> str:
        return residual_key(base, [leg.account for leg in holders if self.instruments[leg.instrument].base == base])

    def _holders(self, basket: Basket) -> list[Leg]:
        """Return the legs that name the residual: a close of some legs takes the same one as its basket."""
        closed = self.state.baskets.get(basket.closes or "")
        return basket.legs if closed is None else closed.legs

    def _check_leg(self, leg: BasketLeg) -> None:
        spec = self.instruments.get(leg.instrument)
        if spec is None:
            raise DeniedError(DenyReason.UNKNOWN_INSTRUMENT, leg.instrument)
        if spec.inverse:
            raise DeniedError(
                DenyReason.INVERSE_LEG, f"{spec.id}: its base quantity follows from its fills, none cancels before"
            )
        if not leg.qty.is_finite() or leg.qty <= ZERO:
            raise DeniedError(DenyReason.BAD_PARAMETER, f"{spec.id}: quantity {leg.qty}")
        if leg.limit_price is not None and not (leg.limit_price.is_finite() and leg.limit_price > ZERO):
            raise DeniedError(DenyReason.BAD_PARAMETER, f"{spec.id}: limit price {leg.limit_price}")
        self.touch(leg.instrument)

    def touch(self, instrument: str) -> BookView:
        """Return the touch of a live book. Raises DeniedError without one: unknown prices are not traded on."""
        view = self.state.touches.get(instrument)
        if view is None or not self.state.live.get(instrument, False):
            raise DeniedError(DenyReason.NO_TOUCH, instrument)
        return view

    def _worth_closing(self, legs: tuple[BasketLeg, ...]) -> tuple[BasketLeg, ...]:
        """Leave out what no venue would take: dust on one leg must not keep the others open. Neutrality decides."""
        return tuple(leg for leg in legs if not self._size_objection(leg, leg.qty)) or legs

    def _check_hours(self, now: int, leg: BasketLeg, until: int) -> None:
        """Refuse what may still be at work when a leg stops trading: it could end with the other leg alone."""
        spec = self.instruments[leg.instrument]
        why = closure(spec, self.products.get(spec.id), now, until)
        if why:
            raise DeniedError(DenyReason.CLOSURE, f"{spec.id} {why}")

    def shut(self, now: int, instrument: str) -> bool:
        """Whether an instrument does not trade now: by its venue's word, by a refusal just now, or by its calendar."""
        if instrument in self.state.trading or now < self.state.halted_until.get(instrument, 0):
            return True
        return bool(closure(self.instruments[instrument], self.products.get(instrument), now, now))

    def _check_size(self, leg: BasketLeg, qty: Decimal) -> None:
        why = self._size_objection(leg, qty)
        if why:
            raise DeniedError(DenyReason.SIZE_LIMIT, f"{leg.instrument}: {why}")

    def _size_objection(self, leg: BasketLeg, qty: Decimal) -> str:
        spec, view = self.instruments[leg.instrument], self.touch(leg.instrument)
        price = spec.price(view.ask if leg.side is Side.BUY else view.bid)
        if qty < spec.min_qty or (spec.max_qty is not None and qty > spec.max_qty):
            return f"{qty} is not in {spec.min_qty}..{spec.max_qty}"
        if not (leg.reduce_only and not spec.is_spot) and spec.notional(qty, price) < spec.min_notional:
            return f"{qty} is worth less than {spec.min_notional}"
        return ""

    def _closed_basket(self, intent: BasketIntent) -> Basket | None:
        if intent.closes is None:
            return None
        basket = self.state.baskets.get(intent.closes)
        if basket is None or basket.closes is not None or basket.closing:
            raise DeniedError(DenyReason.NOT_OPEN, f"{intent.closes} is unknown, a close, or being closed")
        if basket.state not in (BasketState.BALANCED, BasketState.BROKEN):
            raise DeniedError(DenyReason.NOT_OPEN, f"{intent.closes} is {basket.state}")
        if self.is_unsure(basket):
            raise DeniedError(DenyReason.NOT_OPEN, f"orders on {intent.closes} may still fill: what is open is unknown")
        for leg in intent.legs:
            held = _matching(basket, leg)
            if held is None or leg.qty > held.position:
                raise DeniedError(DenyReason.CLOSES_MORE, f"{leg.side} {leg.qty} {leg.instrument} is more than is open")
        return basket

    def is_unsure(self, basket: Basket) -> bool:
        """Whether orders of the basket, or of one that closed it, may still fill: a further close could trade twice."""
        return basket.is_pending or self.awaits_close(basket)

    def awaits_close(self, basket: Basket) -> bool:
        return any(one.closes == basket.id and one.is_pending for one in self.state.baskets.values())

    def open_legs(self, basket: Basket) -> tuple[BasketLeg, ...]:
        """Return the legs that take the basket off, in whole lots; none when it holds nothing to close."""
        if basket.closes is not None or basket.state not in (BasketState.BALANCED, BasketState.BROKEN):
            return ()
        legs = []
        for leg in basket.legs:
            qty = round_to_step(leg.position, self.instruments[leg.instrument].lot_size)
            if qty > ZERO:
                legs.append(BasketLeg(leg.account, leg.instrument, leg.side.opposite, qty, True, leg.position_side))
        return tuple(legs)

    def tell_left_open(self, now: int, baskets: Iterable[Basket]) -> None:
        """Say which of `baskets` stay with something to close and nobody at it, each with all its legs.

        A stop does not close what is balanced.
        """
        left = []
        for basket in baskets:
            legs = () if basket.closing else self.open_legs(basket)
            if legs:
                held = ", ".join(f"{-leg.side.sign * leg.qty.normalize():+f} {leg.instrument}" for leg in legs)
                left.append(f"{basket.id}: {held}")
        if left:
            self.out.emit(LeftOpen(now, tuple(left)))

    def refuse(self, now: int, intent: BasketIntent, why: str) -> None:
        """Say no to an intent that never became a basket.

        A live basket of the same id is not touched, and nobody must take the refusal for its end.
        """
        self.state.counters.denied += 1
        known = self.state.baskets.get(intent.basket_id)
        if known is not None and (known.state not in ENDED or self.open_legs(known)):
            self.incident(now, "duplicate_basket", intent.basket_id, why)
            return
        filled = tuple(ZERO for _ in intent.legs)
        state = BasketState.DENIED
        self.out.emit(
            BasketUpdate(now, intent.basket_id, intent.strategy, state, filled, closes=intent.closes, why=why)
        )

    @handles(SetFlag)
    def flag_set(self, now: int, message: SetFlag) -> None:
        why = flag_objection(self.state.flags, message)
        if why:
            self.incident(now, "flag_refused", "", f"{message.feature}: {why}")
            return
        self.state.flags[message.feature] = flag_of(message)

    def is_shadow(self, basket_id: str, strategy: str) -> bool:
        """Whether the flags let an opening be planned but not sent. Raises DeniedError when not even that."""
        mode, why = verdict(self.state.flags, strategy, basket_id)
        if mode is FlagMode.DISABLED:
            raise DeniedError(DenyReason.FLAG, why)
        return mode is FlagMode.SHADOW

    def deny(self, now: int, basket: Basket, why: str) -> None:
        basket.why = why
        self.state.counters.denied += 1
        self.end(now, basket, BasketEvent.DENY)

    # Ending

    def give_up(self, now: int, basket: Basket, why: str) -> None:
        """End a basket that is out of balance, or may be: a person must look, and no new risk is taken.

        Nobody would hedge what its resting orders fill from now on: they leave.
        """
        basket.why = why
        for request_id, child in basket.children.items():
            if child.rests and not child.is_final and not child.is_leaving:
                self.cancel(now, request_id, child)
        self.begin_trouble(now, basket)
        self._tell_broken(now, basket)
        self.trip(now, "basket_broken", f"{basket.id}: {why}")
        self.end(now, basket, BasketEvent.BREAK)

    def cancel(self, now: int, request_id: str, child: Child) -> None:
        """Ask for an order's end; the order manager sees to it until the venue says so."""
        child.is_leaving = True
        self.out.emit(CancelRequest(now, request_id))

    def _tell_broken(self, now: int, basket: Basket) -> None:
        """Write the incident that every broken basket has: why, how uneven it is, what it lost at the mids so far."""
        nets = ", ".join(f"{base} {net}" for base, net in basket.net(self.instruments).items())
        text = f"{basket.why}; net {nets}, unhedged {basket.unhedged}"
        self.incident(now, "basket_broken", basket.id, text, -self.profit(basket))

    def end(self, now: int, basket: Basket, event: BasketEvent) -> None:
        basket.apply(event)
        counters = self.state.counters
        counters.balanced += event is BasketEvent.BALANCE
        counters.unwound += event is BasketEvent.EMPTY
        counters.broken += event is BasketEvent.BREAK
        if event in (BasketEvent.BALANCE, BasketEvent.EMPTY):
            self._leave_residual(basket)
        self._forget_depth(basket)
        self.out.cancel_timer(timer_key(basket))
        self._quote_no_more(basket)
        self.out.emit(ReservationReleased(now, basket.id))
        self.end_trouble(now, basket)
        self.publish(now, basket)
        if basket.closes is not None:
            self.hand_over(now, basket)
        self.tell_cost(now, basket)
        if self.state.is_stopping:
            self.tell_left_open(now, [self.state.baskets.get(basket.closes or "", basket)])
        self._retire()

    def _quote_no_more(self, basket: Basket) -> None:
        basket.is_quoted_out = True
        for quoting in self.state.quoting.values():
            if basket.id in quoting:
                quoting.remove(basket.id)

    def _forget_depth(self, basket: Basket) -> None:
        for ref in basket.depth_awaited:
            self.state.depth_refs.pop(ref, None)
        basket.depth_awaited.clear()
        basket.depth.clear()

    def take_residual(self, basket: Basket) -> None:
        """Make what earlier baskets left, and what a broken one to be closed lacks, part of this basket's net."""
        holders = self._holders(basket)
        for base in basket.quanta if basket.takes_residual else ():
            left = self.state.residuals.pop(self._key(base, holders), ZERO)
            basket.carried[base] = basket.carried.get(base, ZERO) + left
        closed = self.state.baskets.get(basket.closes) if basket.closes is not None else None
        if closed is not None:
            _move_net(closed, basket, self.instruments)

    def _leave_residual(self, basket: Basket) -> None:
        holders = self._holders(basket)
        for base, net in basket.net(self.instruments).items():
            key = self._key(base, holders)
            left = self.state.residuals.pop(key, ZERO) + net
            if left:
                self.state.residuals[key] = left
            basket.carried[base] = basket.carried.get(base, ZERO) - net

    def hand_difference_to_close(self, now: int, basket: Basket) -> None:
        """Let the close under way know what became of its basket meanwhile."""
        _move_net(basket, self.state.baskets[basket.closing], self.instruments)
        self.mark(now, basket)

    def hand_over(self, now: int, close: Basket) -> None:
        """Take what a close traded off the basket it closes; a broken close leaves its difference there too."""
        basket = self.state.baskets.get(close.closes or "")
        if basket is None:
            return
        if basket.closing == close.id:
            basket.closing = ""
        if close.state is BasketState.DENIED:
            return
        for leg in close.legs:
            held = _matching(basket, leg)
            done = leg.position - leg.handed_over
            if held is None or not done:
                continue
            spec = self.instruments[leg.instrument]
            money = leg.extended_cost - leg.reduced_cost - leg.taken_cost - leg.handed_over_cost
            fees = basket_cost.paid(leg, spec) - leg.handed_over_fees
            held.closed += done
            held.closed_cost += money
            held.closed_fees += fees
            leg.handed_over += done
            leg.handed_over_cost += money
            leg.handed_over_fees += fees
            change = leg.side.sign * done * spec.multiplier
            basket.carried[spec.base] = basket.carried.get(spec.base, ZERO) - change
        if close.state is BasketState.BROKEN:
            _move_net(close, basket, self.instruments)
            self.mark(now, close)
        self.mark(now, basket)
        if basket.closing:
            self.hand_difference_to_close(now, basket)
        else:
            self._after_close(now, basket, close)
        self.tell_cost(now, basket)

    def _after_close(self, now: int, basket: Basket, close: Basket) -> None:
        """Tell what the close left: nothing, a smaller basket, or a lopsided one."""
        if basket.state in ACTIVE:
            return
        if basket.state is BasketState.FLAT:
            if not basket.gaps(self.instruments):
                return
            text = f"{close.id} traded when nothing was left to close: {basket.filled()}"
            self.incident(now, "fill_after_end", basket.id, text)
            self.trip(now, "fill_after_end", f"{basket.id}: {text}")
        basket.why = close.why
        if not basket.is_balanced(self.instruments):
            basket.apply(BasketEvent.BREAK)
            self._tell_broken(now, basket)
            self.publish(now, basket)
            return
        if basket.is_empty(self.instruments):
            basket.why = f"closed by {close.id}"
            self.state.counters.closed += 1
        self.settle_broken(now, basket)

    def settle_broken(self, now: int, basket: Basket) -> None:
        """Tell what an open basket came to be by itself or by others: nothing, balanced, or as lopsided as before."""
        if basket.is_balanced(self.instruments):
            if basket.is_empty(self.instruments):
                basket.apply(BasketEvent.EMPTY)
            elif basket.state is BasketState.BROKEN:
                basket.apply(BasketEvent.BALANCE)
            self._leave_residual(basket)
        self.publish(now, basket)

    def _retire(self) -> None:
        """Forget the oldest baskets that hold nothing, beyond those kept for late fills and busts.

        Those denied before their first order are counted apart: many of them must not push out one that traded.
        """
        baskets = self.state.baskets
        if len(baskets) <= self.config.keep_baskets:
            return
        denied = sum(one.state is BasketState.DENIED for one in baskets.values())
        excess = {True: denied - self.config.keep_baskets, False: len(baskets) - denied - self.config.keep_baskets}
        for basket in list(baskets.values()):
            if max(excess.values()) <= 0:
                return
            is_denied = basket.state is BasketState.DENIED
            is_over = basket.state in ENDED and not basket.is_pending and not basket.closing
            if excess[is_denied] > 0 and is_over and not self.open_legs(basket):
                del baskets[basket.id]
                excess[is_denied] -= 1


def timer_key(basket: Basket) -> str:
    return f"{BASKET_TIMER}{basket.id}"


def _check_parameters(intent: BasketIntent) -> None:
    if not intent.legs:
        raise DeniedError(DenyReason.NO_LEGS, intent.basket_id)
    slippage, budget = intent.max_slippage_bps, intent.risk_budget
    if not slippage.is_finite() or not ZERO <= slippage < 10_000:
        raise DeniedError(DenyReason.BAD_PARAMETER, f"max_slippage_bps {slippage}")
    if not budget.is_finite() or budget < ZERO:
        raise DeniedError(DenyReason.BAD_PARAMETER, f"risk_budget {budget}")
    if intent.loss_budget is not None and not (intent.loss_budget.is_finite() and intent.loss_budget >= ZERO):
        raise DeniedError(DenyReason.BAD_PARAMETER, f"loss_budget {intent.loss_budget}")
    if intent.edge_bps is not None and not intent.edge_bps.is_finite():
        raise DeniedError(DenyReason.BAD_PARAMETER, f"edge_bps {intent.edge_bps}")
    if intent.placement not in Placement:
        raise DeniedError(DenyReason.BAD_PARAMETER, f"placement {intent.placement!r}")
    if intent.deadline_ns <= 0:
        raise DeniedError(DenyReason.BAD_PARAMETER, f"deadline_ns {intent.deadline_ns}")


def _leg_key(leg: BasketLeg | Leg) -> tuple[str, str, str]:
    return leg.account, leg.instrument, leg.position_side


def _matching(basket: Basket, leg: BasketLeg | Leg) -> Leg | None:
    """Return the leg of `basket` that `leg` takes off."""
    for held in basket.legs:
        if _leg_key(held) == _leg_key(leg) and held.side is leg.side.opposite:
            return held
    return None


def _move_net(source: Basket, target: Basket, specs: Mapping[str, Instrument]) -> None:
    for base, net in source.net(specs).items():
        source.carried[base] = source.carried.get(base, ZERO) - net
        target.carried[base] = target.carried.get(base, ZERO) + net
