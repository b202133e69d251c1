"""How first orders go out: all legs at once, one before the others, or one quoted and the others by what it fills."""

from collections.abc import Iterable
from decimal import Decimal

from actors.base import handles
from actors.basket import ACTIVE, Basket, BasketEvent, Child, Leg, to_message
from actors.basket_plan import DeniedError, DenyReason, PlannedOrder, is_sendable, may_complete
from actors.flags import FlagMode, SetFlag, verdict
from actors.leg_order import leads, owed
from actors.liquidity import worst_ticks
from actors.lost_legs import LostLegs
from actors.messages import (
    MARKET_CHANNEL,
    BasketState,
    DepthRequest,
    KillLevel,
    OrderRequest,
    Placement,
    PreflightRequest,
)
from venues.model.money import ZERO, round_to_step
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import VenueDown

_PLACING = (BasketState.WORKING, BasketState.HEDGING)


class Placing(LostLegs):
    """Sends the first orders of baskets.

    A leg that follows trades by actual fills: as soon as what its lead holds is worth an order of it, that order goes
    out. What is less waits for more. A follower that misses is a hedge like any other.
    """

    def prepare(self, now: int, basket: Basket) -> None:
        """Find out who leads, of which the books may have to be asked, and then ask all checkers."""
        if basket.placement is Placement.SIMULTANEOUS or basket.is_ordered:
            self.ask_checkers(now, basket)
        else:
            self.ask_depth(now, basket)

    def ask_checkers(self, now: int, basket: Basket) -> None:
        if basket.placement is not Placement.SIMULTANEOUS:
            basket.leads = leads(basket, self.instruments, self.state.placings)
        basket.depth.clear()
        self.out.emit(
            PreflightRequest(
                now,
                basket.id,
                basket.strategy,
                tuple(to_message(leg) for leg in basket.legs),
                basket.max_slippage_bps,
                basket.closes,
                self._makers(basket),
            )
        )

    def _makers(self, basket: Basket) -> tuple[int, ...]:
        return tuple(basket.leads) if basket.placement is Placement.MAKER_TAKER else ()

    def ask_depth(self, now: int, basket: Basket) -> None:
        """Ask for the depth of every leg; `depth_awaited` is empty again when all of them came."""
        basket.depth.clear()
        basket.depth_asked_ns = now
        for instrument in dict.fromkeys(leg.instrument for leg in basket.legs):
            self.state.next_ref += 1
            ref = f"{self.name}-{self.state.next_ref}"
            basket.depth_awaited[ref] = instrument
            self.state.depth_refs[ref] = basket.id
            self.out.emit(DepthRequest(now, ref, instrument, self.config.depth_levels))

    def place(self, now: int, basket: Basket) -> None:
        """Send the first orders. The world may have moved since the plan: kill level, books and limits hold now."""
        try:
            if self.state.is_stopping and not basket.is_forced:
                raise DeniedError(DenyReason.STOPPING, "no new baskets")
            if self.state.kill_level >= KillLevel.REDUCE_ONLY and basket.closes is None:
                raise DeniedError(DenyReason.KILLED, f"kill level {self.state.kill_level.name}")
            is_shadow = basket.closes is None and self.is_shadow(basket.id, basket.strategy)
            for leg in basket.legs:
                self._arrive(leg)
            makers = self._makers(basket)
            orders = [self._first_order(i, leg, basket) for i, leg in enumerate(basket.legs) if i not in makers]
            if is_shadow:
                legs = (f"{o.side} {o.qty} {basket.legs[o.leg].instrument} at {o.price}" for o in orders)
                self.incident(now, "shadow", basket.id, "; ".join(legs))
                raise DeniedError(DenyReason.FLAG, "a shadow is not sent")
        except DeniedError as error:
            self.deny(now, basket, str(error))
            return
        basket.apply(BasketEvent.PLACE)
        basket.placed_ns = now
        self.take_residual(basket)
        self.mark(now, basket)
        self.publish(now, basket)
        for index in makers:
            self.state.quoting.setdefault(basket.legs[index].instrument, []).append(basket.id)
        for order in orders:
            if not basket.leads or order.leg in basket.leads:
                self.send(now, basket, order, is_first=True)
        if makers:
            self.evaluate(now, basket)
        else:
            self.schedule(now, basket)

    def _arrive(self, leg: Leg) -> None:
        """Note the touch at which the leg is placed. Raises DeniedError without a live book."""
        spec, touch = self.instruments[leg.instrument], self.touch(leg.instrument)
        leg.arrival_bid, leg.arrival_ask = spec.price(touch.bid), spec.price(touch.ask)

    def _first_order(self, index: int, leg: Leg, basket: Basket) -> PlannedOrder:
        spec = self.instruments[leg.instrument]
        base = leg.target * spec.multiplier
        return PlannedOrder(index, False, leg.side, leg.target, spec.price(self._bound(leg, basket)), base, ZERO)

    def _best(self, leg: Leg) -> int:
        """Return what a taker of the leg meets first, in ticks. Raises DeniedError without a live book."""
        touch = self.touch(leg.instrument)
        return touch.ask if leg.side is Side.BUY else touch.bid

    def _bound(self, leg: Leg, basket: Basket) -> int:
        """Return the worst price in ticks that a taker of the leg may pay now. Raises DeniedError beyond its limit."""
        spec, best = self.instruments[leg.instrument], self._best(leg)
        bound = worst_ticks(spec, leg, best, basket.max_slippage_bps)
        if (best - bound) * leg.side.sign > 0 or bound <= 0:
            raise DeniedError(
                DenyReason.LIMIT_PRICE, f"{leg.instrument} at {spec.price(best)}, limit {leg.limit_price}"
            )
        return bound

    def send(self, now: int, basket: Basket, order: PlannedOrder, *, is_first: bool, rests: bool = False) -> str:
        """Ask for an order; return its request id. One that rests is post-only, others are immediate."""
        leg = basket.legs[order.leg]
        request_id = f"{basket.id}#{len(basket.children) + 1}"
        basket.children[request_id] = Child(
            order.leg,
            order.is_reduce,
            is_first,
            order.qty,
            mid=self.mid(leg),
            rests=rests,
            price=order.price if rests else None,
        )
        self.out.emit(
            OrderRequest(
                now,
                request_id,
                basket.strategy,
                basket.id,
                leg.account,
                leg.instrument,
                order.side,
                order.qty,
                type=OrderType.MARKET if order.price is None else OrderType.LIMIT,
                price=order.price,
                tif=TimeInForce.GTX if rests else TimeInForce.IOC,
                reduce_only=leg.reduce_only or order.is_reduce,
                position_side=leg.position_side,
                is_hedge=not is_first or basket.closes is not None,
            )
        )
        return request_id

    def schedule(self, now: int, basket: Basket) -> None:
        """Come back at the next moment when time alone changes the decision."""
        raise NotImplementedError

    # Followers

    def follow(self, now: int, basket: Basket) -> None:
        """Take on the other legs what the leads hold, at once, unless hedging is at work on it already."""
        if not basket.leads or basket.state not in _PLACING or basket.misses or not may_complete(basket):
            return
        if self.state.kill_level >= KillLevel.CANCEL_ALL and basket.closes is None:
            return
        for index, leg in enumerate(basket.legs):
            order = None if index in basket.leads else self._follower(now, basket, index)
            if order is not None:
                leg.start_touch = self.instruments[leg.instrument].price(self._best(leg))
                self.send(now, basket, order, is_first=False)

    def _follower(self, now: int, basket: Basket, index: int) -> PlannedOrder | None:
        leg, qty = basket.legs[index], self._owed(basket, index)
        spec = self.instruments[leg.instrument]
        if qty <= ZERO or self.shut(now, leg.instrument):
            return None
        try:
            bound = self._bound(leg, basket)
        except DeniedError:
            return None
        if not is_sendable(spec, qty, bound, is_reduce=leg.reduce_only):
            return None
        return PlannedOrder(index, False, leg.side, qty, spec.price(bound), qty * spec.multiplier, ZERO)

    def _owed(self, basket: Basket, index: int) -> Decimal:
        qty, most = owed(basket, index, self.instruments), self.instruments[basket.legs[index].instrument].max_qty
        return qty if most is None else min(qty, most)

    def waits_for_more(self, basket: Basket, gaps: Iterable[str]) -> bool:
        """Whether all that is uneven is a maker's fills too small for a venue to take on the other leg: more will come.

        The risk budget runs on; when quoting is over, it is hedged or taken back like anything else.
        """
        if not self.may_quote(basket) or basket.misses:
            return False
        return all(any(self._is_too_small(basket, i, base) for i in range(len(basket.legs))) for base in gaps)

    def _is_too_small(self, basket: Basket, index: int, base: str) -> bool:
        leg = basket.legs[index]
        spec, touch = self.instruments[leg.instrument], self.state.touches.get(leg.instrument)
        if spec.base != base or touch is None:
            return False
        qty = self._owed(basket, index)
        return qty > ZERO and not is_sendable(spec, qty, self._best(leg), is_reduce=leg.reduce_only)

    # Makers

    def may_quote(self, basket: Basket) -> bool:
        """Whether a maker's leg may still be quoted, so that the basket is not over."""
        return basket.placement is Placement.MAKER_TAKER and not basket.is_quoted_out and basket.state in ACTIVE

    def quote(self, now: int, basket: Basket, *, is_uneven: bool = False) -> None:
        """Keep the leads quoted at their touch, and nothing quoted while the legs are uneven or once it is over."""
        if basket.placement is not Placement.MAKER_TAKER or basket.state not in ACTIVE:
            return
        basket.is_uneven = is_uneven
        if not basket.is_quoted_out:
            basket.is_quoted_out = self._is_over(now, basket)
        for index in basket.leads:
            self._quote_leg(now, basket, index)

    def requote(self, now: int, instrument: str) -> None:
        """Follow a touch that moved, or a book that is live no more."""
        for name in () if self.state.is_guarded else self.state.quoting.get(instrument, ()):
            basket = self.state.baskets[name]
            for index in basket.leads:
                if basket.legs[index].instrument == instrument:
                    self._quote_leg(now, basket, index)

    def _is_over(self, now: int, basket: Basket) -> bool:
        """Whether nothing more is to be quoted: done, late, over a budget, told to stop, or in trouble with hedges."""
        level = KillLevel.CANCEL_ALL if basket.closes is not None else KillLevel.REDUCE_ONLY
        return (
            basket.is_last_call
            or now >= self.last_call_ns(basket)
            or basket.quotes >= self.config.quotes_max
            or basket.misses * 2 >= self.config.hedge_attempts
            or self.state.is_stopping
            or self.state.kill_level >= level
            or (basket.closes is None and self._is_flagged_off(basket))
            or not may_complete(basket)
            or not any(self._to_quote(basket, index) for index in basket.leads)
        )

    def _is_flagged_off(self, basket: Basket) -> bool:
        mode, _ = verdict(self.state.flags, basket.strategy, basket.id)
        return mode in (FlagMode.DISABLED, FlagMode.SHADOW)

    @handles(SetFlag)
    def flag_set(self, now: int, message: SetFlag) -> None:
        super().flag_set(now, message)
        self.review_quotes(now)

    def review_quotes(self, now: int) -> None:
        """Look at once at what is quoted: a quote that should not stand any more may fill at any moment."""
        for basket in list(self.state.baskets.values()):
            if self.may_quote(basket):
                self.evaluate(now, basket)

    def _to_quote(self, basket: Basket, index: int) -> Decimal:
        """Return what is left to quote of a lead, in whole lots; 0 when no venue would take it."""
        leg = basket.legs[index]
        spec = self.instruments[leg.instrument]
        qty = round_to_step(leg.room, spec.lot_size)
        if spec.max_qty is not None:
            qty = min(qty, spec.max_qty)
        view = self.state.touches.get(leg.instrument)
        if view is not None and not is_sendable(spec, qty, view.bid, is_reduce=leg.reduce_only):
            return ZERO
        return max(qty, ZERO)

    def _quote_price(self, now: int, basket: Basket, leg: Leg) -> Decimal | None:
        """Return the leg's own side of the touch; None where no quote may stand.

        It is bounded by what a taker might have paid at the beginning, and by the leg's own limit.
        """
        view = self.state.touches.get(leg.instrument)
        if view is None or basket.is_quoted_out or basket.is_uneven or not all(map(self._is_tradable, basket.legs)):
            return None
        spec = self.instruments[leg.instrument]
        own = view.bid if leg.side is Side.BUY else view.ask
        worst = worst_ticks(spec, leg, spec.ticks(leg.arrival_touch), basket.max_slippage_bps)
        return None if (own - worst) * leg.side.sign > 0 else spec.price(own)

    def _is_tradable(self, leg: Leg) -> bool:
        """Whether the leg's book is good and its market open: a quote whose fill could not be taken must not stand."""
        return self.state.live.get(leg.instrument, False) and leg.instrument not in self.state.trading

    @handles(VenueDown)
    def venue_down(self, now: int, down: VenueDown) -> None:
        """End all quoting that a venue has a part in: once it is back it must be reconciled before it is traded at.

        Whether books can be believed is told apart.
        """
        for basket in [] if down.channel == MARKET_CHANNEL else list(self.state.baskets.values()):
            is_there = any(self.instruments[leg.instrument].venue == down.venue for leg in basket.legs)
            if is_there and self.may_quote(basket):
                basket.is_quoted_out = True
                self.evaluate(now, basket)

    def _quote_leg(self, now: int, basket: Basket, index: int) -> None:
        leg = basket.legs[index]
        price, is_early = self._quote_price(now, basket, leg), now < leg.quoted_ns + self.config.requote_ns
        child = basket.children.get(leg.quote)
        if child is not None and not child.is_final:
            # An order is never replaced before its end is known: what fills until then is not quoted twice.
            if not child.is_leaving and price != child.price and (price is None or not is_early):
                self.cancel(now, leg.quote, child)
            return
        if price is None or is_early or basket.is_busy(index):
            return
        qty = self._to_quote(basket, index) - basket.coming(index)
        if qty <= ZERO:
            return
        basket.quotes += 1
        leg.quoted_ns = now
        order = PlannedOrder(
            index, False, leg.side, qty, price, qty * self.instruments[leg.instrument].multiplier, ZERO
        )
        leg.quote = self.send(now, basket, order, is_first=True, rests=True)
