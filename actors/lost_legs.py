"""What follows when somebody else trades the legs of our baskets: the venue by force, or the guard in our place."""

from actors.base import handles
from actors.basket import ACTIVE, Basket, BasketEvent
from actors.basket_book import BasketBook
from actors.control import GUARD_PREFIX, GuardStatus
from actors.messages import BasketState
from actors.order_records import VENUE_REASONS
from actors.post_trade import FillBusted, reversal
from venues.model.fill import Fill
from venues.model.money import ZERO

_HOLDING = (*ACTIVE, BasketState.BALANCED, BasketState.BROKEN)


def is_foreign(fill: Fill) -> bool:
    """Whether a fill of no order of the desk still takes from its baskets."""
    return fill.reason in VENUE_REASONS or fill.client_order_id.startswith(GUARD_PREFIX)


class LostLegs(BasketBook):
    """Books what was taken on the baskets that held it, oldest first.

    What the venue takes leaves a gap that is closed at once. While the guard is in charge the desk only counts along:
    two who flatten one book would sell it twice. It decides again when the guard has handed the book back.
    """

    def evaluate(self, now: int, basket: Basket) -> None:
        """Bring the basket on as far as what is known allows."""
        raise NotImplementedError

    def work_again(self, now: int, basket: Basket, event: BasketEvent, why: str) -> None:
        """Set an ended basket to work again."""
        raise NotImplementedError

    def flatten_if_told(self, now: int) -> None:
        """At FLATTEN, close every open basket."""
        raise NotImplementedError

    def taken(self, now: int, fill: Fill) -> None:
        """Take what somebody else closed off the baskets that hold it, oldest first.

        A leg whose own fills were taken back after it had been taken stands on the other side, and is taken from there.
        What no basket is known to hold was filled by an order whose reports are still on their way.
        """
        left = fill.qty
        by = f"by the venue, {fill.reason}" if fill.reason in VENUE_REASONS else "by the guard"
        for is_known in (True, False):
            for basket in list(self.state.baskets.values()):
                if basket.closes is not None or basket.state not in _HOLDING:
                    continue
                for index, leg in enumerate(basket.legs):
                    is_coming = not is_known and fill.side is leg.side.opposite
                    there = leg.open_to(fill.side) + (basket.coming(index) if is_coming else ZERO)
                    gone = min(left, there) if leg.is_of(fill) else ZERO
                    if gone <= ZERO:
                        continue
                    leg.take(fill, gone, self.instruments[leg.instrument])
                    left -= gone
                    basket.may_extend = False
                    self.incident(now, "leg_taken", basket.id, f"{leg.instrument}: {gone} taken {by}")
                    if not self.state.is_guarded:
                        self._lost_leg(now, basket, f"a leg was taken {by}")

    @handles(FillBusted)
    def busted(self, now: int, bust: FillBusted) -> None:
        """Take a fill off its leg that the venue took back. Its order's total stays: nothing of it rests again."""
        basket = self.state.baskets.get(bust.basket_id)
        child = basket.children.get(bust.request_id) if basket is not None else None
        if basket is None or child is None:
            if bust.basket_id:
                text = f"{bust.request_id}: {bust.fill} was taken back, its basket is forgotten"
                self.incident(now, "bust_of_forgotten_basket", bust.basket_id, text)
            return
        leg = basket.legs[child.leg]
        leg.book(-bust.fill.qty, bust.fill.price, is_reduce=child.is_reduce)
        leg.book_fee(reversal(bust.fill), self.instruments[leg.instrument])
        if self.state.is_guarded:
            self.mark(now, basket)
        elif basket.closes is None:
            basket.may_extend = False
            self._lost_leg(now, basket, "a fill was taken back")
        else:
            self._lost_close(now, basket, "a fill was taken back")

    def _lost_close(self, now: int, close: Basket, why: str) -> None:
        """A close has taken off less than it had told: it goes on, or its basket has what is missing."""
        if close.state in (BasketState.BALANCED, BasketState.FLAT) and close.gaps(self.instruments):
            self.work_again(now, close, BasketEvent.HEDGE, why)
        elif close.state is BasketState.BROKEN:
            self.mark(now, close)
            self.hand_over(now, close)
        self.evaluate(now, close)

    def _lost_leg(self, now: int, basket: Basket, why: str) -> None:
        if basket.closing:
            # The close under way holds the difference: its own legs know what to do about it.
            self.hand_difference_to_close(now, basket)
            self.evaluate(now, self.state.baskets[basket.closing])
        elif basket.state in (BasketState.BALANCED, BasketState.FLAT) and basket.gaps(self.instruments):
            self.work_again(now, basket, BasketEvent.UNWIND, why)
        elif basket.state is BasketState.BROKEN and not basket.is_pending:
            self.mark(now, basket)
            self.settle_broken(now, basket)
        else:
            self.mark(now, basket)
            self.publish(now, basket)
        self.evaluate(now, basket)
        self.tell_cost(now, basket)

    @handles(GuardStatus)
    def guard_changed(self, now: int, status: GuardStatus) -> None:
        was_guarded, self.state.is_guarded = self.state.is_guarded, status.is_in_charge
        if was_guarded and not status.is_in_charge:
            self._take_back(now)

    def _take_back(self, now: int) -> None:
        """Go on with what the guard left. A close that it cut short is given up: how much of it is left is unknown."""
        for basket in list(self.state.baskets.values()):
            if basket.closes is not None and basket.state in ACTIVE:
                self.give_up(now, basket, "the guard took the book over")
        for basket in list(self.state.baskets.values()):
            if basket.closes is not None:
                continue
            if basket.state in ACTIVE:
                self.evaluate(now, basket)
            elif basket.state in (BasketState.BALANCED, BasketState.BROKEN) and any(leg.taken for leg in basket.legs):
                if basket.is_empty(self.instruments) and not self.is_unsure(basket):
                    basket.apply(BasketEvent.EMPTY)
                    self.mark(now, basket)
                    self.publish(now, basket)
                    self.tell_cost(now, basket)
                else:
                    self._lost_leg(now, basket, "the guard left it uneven")
        self.flatten_if_told(now)
