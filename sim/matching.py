"""Decides which own orders trade, when and how much: one instrument's displayed book and the own orders in it.

The displayed book is the market's: absolute quantities from the feed, less what trades and own orders took since. Own
orders are not part of it; each remembers the market quantity ahead of it, and the list at a price keeps them in order.
"""

from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor

from attrs import define, field

from sim.queue_models import QueueModel
from sim.venue_order import VenueOrder
from sim.venue_rules import SelfTrade
from venues.model.book import Book, Level
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Side

FillHook = Callable[[VenueOrder, int, int, Liquidity, FillReason], None]
"""Book `lots` of an order at a price in ticks."""

Queue = dict[int, list[VenueOrder]]


@define(eq=False)
class Matcher:
    """`fill` books an execution at once, `expire` ends an order, `traded` lets the account react between fills."""

    model: QueueModel
    fill: FillHook
    expire: Callable[[VenueOrder], None]
    traded: Callable[[], None]
    book: Book = field(factory=Book)
    bids: Queue = field(factory=dict)
    asks: Queue = field(factory=dict)
    is_open: bool = True

    # The book

    def on_snapshot(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Replace the displayed book. An empty one means "unknown": the orders keep their places."""
        if bids or asks:
            self._requeue(self.bids, self.book.bids, dict(bids), self.bids)
            self._requeue(self.asks, self.book.asks, dict(asks), self.asks)
        self.book.load(bids, asks)
        self.match_crossed()

    def on_delta(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Set absolute quantities; whatever trades and own orders took from these levels is replaced."""
        if self.bids:
            self._requeue(self.bids, self.book.bids, dict(bids), [ticks for ticks, _ in bids if ticks in self.bids])
        if self.asks:
            self._requeue(self.asks, self.book.asks, dict(asks), [ticks for ticks, _ in asks if ticks in self.asks])
        self.book.apply(bids, asks)
        if self.bids or self.asks:
            self.match_crossed()

    def _requeue(self, queue: Queue, shown: dict[int, int], new: dict[int, int], levels: Sequence[int] | Queue) -> None:
        for ticks in levels:
            for order in queue[ticks]:
                order.front = self.model.depth(order.front, shown.get(ticks, 0), new.get(ticks, 0))

    def _set(self, side: Side, ticks: int, lots: int) -> None:
        level = ((ticks, lots),)
        if side is Side.BUY:
            self.book.apply(level, ())
        else:
            self.book.apply((), level)

    def _shown(self, side: Side) -> dict[int, int]:
        return self.book.bids if side is Side.BUY else self.book.asks

    def _own(self, side: Side) -> Queue:
        return self.bids if side is Side.BUY else self.asks

    # Own orders

    def rest(self, order: VenueOrder) -> None:
        """Queue the order at its price behind everything displayed and every own order there."""
        if order.ticks is None:
            raise ValueError(f"{order.id}: an order without a price cannot rest")
        order.show()
        order.front = float(self._shown(order.side).get(order.ticks, 0))
        order.resting = True
        self._own(order.side).setdefault(order.ticks, []).append(order)

    def remove(self, order: VenueOrder) -> None:
        """Take the order out of the queue; one that does not rest is left alone."""
        if not order.resting or order.ticks is None:
            return
        queue = self._own(order.side)
        queue[order.ticks].remove(order)
        if not queue[order.ticks]:
            del queue[order.ticks]
        order.resting = False

    def own_best(self, side: Side) -> int | None:
        queue = self._own(side)
        return (max(queue) if side is Side.BUY else min(queue)) if queue else None

    def best(self, side: Side) -> int | None:
        """Return the best displayed bid (BUY) or ask (SELL) in ticks."""
        return self.book.best_bid if side is Side.BUY else self.book.best_ask

    def would_take(self, side: Side, ticks: int) -> bool:
        """Whether an order of `side` at `ticks` meets a displayed or an own resting order."""
        for opposite in (self.best(side.opposite), self.own_best(side.opposite)):
            if opposite is not None and (opposite - ticks) * side.sign <= 0:
                return True
        return False

    def levels(self, side: Side, limit: int | None) -> Iterator[Level]:
        """Yield the displayed levels an order of `side` may take up to `limit`, best first."""
        shown = self._shown(side.opposite)
        for ticks in sorted(shown, reverse=side is Side.SELL):
            if limit is not None and (ticks - limit) * side.sign > 0:
                return
            yield ticks, shown[ticks]

    def available(self, side: Side, limit: int | None, lots: int) -> bool:
        """Whether `lots` are displayed within `limit`."""
        for _, shown in self.levels(side, limit):
            lots -= shown
            if lots <= 0:
                return True
        return lots <= 0

    # Taking

    def take(self, order: VenueOrder, limit: int | None) -> None:
        """Let the order consume what stands within `limit`: best price first, own resting orders in their places."""
        opposite = order.side.opposite
        while order.leaves > 0 and not order.killed:
            bests = [t for t in (self.best(opposite), self.own_best(opposite)) if t is not None]
            if not bests:
                return
            ticks = min(bests) if order.side is Side.BUY else max(bests)
            if limit is not None and (ticks - limit) * order.side.sign > 0:
                return
            self._take_level(order, opposite, ticks)

    def _take_level(self, order: VenueOrder, opposite: Side, ticks: int) -> None:
        shown = self._shown(opposite).get(ticks, 0)
        taken = 0
        for own in tuple(self._own(opposite).get(ticks, ())):
            ahead = min(shown, ceil(own.front)) - taken
            if ahead > 0:
                taken += self._take_market(order, ticks, ahead)
            if order.leaves <= 0 or order.killed:
                break
            if own.resting:
                self._meet(order, own, ticks)
        if not order.killed:
            taken += self._take_market(order, ticks, shown - taken)
        self.shrink(opposite, ticks, taken)

    def shrink(self, side: Side, ticks: int, lots: int) -> None:
        """Take `lots` off the front of a displayed level: own orders there move up."""
        if not lots:
            return
        self._set(side, ticks, max(0, self._shown(side).get(ticks, 0) - lots))
        for order in self._own(side).get(ticks, ()):
            order.front = max(0.0, order.front - lots)

    def _take_market(self, order: VenueOrder, ticks: int, lots: int) -> int:
        lots = min(lots, order.leaves)
        if lots <= 0:
            return 0
        self.fill(order, ticks, lots, Liquidity.TAKER, _reason(order, FillReason.TAKER))
        self.traded()
        return lots

    def _meet(self, order: VenueOrder, own: VenueOrder, ticks: int) -> None:
        policy = order.stp if own.account == order.account and not order.forced else SelfTrade.TRADE
        if policy in {SelfTrade.EXPIRE_MAKER, SelfTrade.EXPIRE_BOTH}:
            self.expire(own)
        if policy in {SelfTrade.EXPIRE_TAKER, SelfTrade.EXPIRE_BOTH}:
            order.killed = True
        if policy is SelfTrade.TRADE:
            lots = min(order.leaves, own.leaves)
            self.fill(order, ticks, lots, Liquidity.TAKER, _reason(order, FillReason.TAKER))
            self._fill_own(own, lots, FillReason.QUEUE)
            self.traded()

    # Being taken

    def _fill_own(self, order: VenueOrder, lots: int, reason: FillReason) -> None:
        ticks = order.ticks
        if ticks is None:
            raise ValueError(f"{order.id}: a resting order has a price")
        order.visible = max(0, order.visible - lots)
        self.fill(order, ticks, lots, Liquidity.MAKER, reason)
        if order.leaves <= 0:
            self.remove(order)

    def on_trade(self, ticks: int, lots: int, aggressor: Side) -> None:
        """A public trade: fills own orders it went through, then those at its price behind what is ahead of them."""
        side = aggressor.opposite
        queue = self._own(side)
        if queue and self.is_open:
            through = [price for price in queue if (price - ticks) * side.sign > 0]
            for price in sorted(through, reverse=side is Side.BUY):
                for order in tuple(queue[price]):
                    if order.resting:
                        self._fill_own(order, order.leaves, FillReason.THROUGH)
                        self.traded()
            if ticks in queue:
                self._trade_at(queue[ticks], ticks, lots, side)
        shown = self._shown(side).get(ticks, 0)
        if shown:
            left = max(0, shown - lots)
            self._set(side, ticks, left)
            for order in queue.get(ticks, ()):
                order.front = min(order.front, float(left))

    def _trade_at(self, orders: Sequence[VenueOrder], ticks: int, lots: int, side: Side) -> None:
        shown = self._shown(side).get(ticks, 0)
        waiting = list(orders)
        gone = 0.0
        left = lots
        for order in waiting:
            if not order.resting:
                continue
            ahead = max(0.0, order.front - gone)
            reach = floor(left - ahead + 0.5)
            if reach <= 0:
                break
            gone += ahead
            filled = min(reach, order.visible)
            left = reach - filled
            self._fill_own(order, filled, FillReason.QUEUE)
            if order.resting and not order.visible:
                self._refresh(order, shown)
                waiting.append(order)
            self.traded()
            if not left:
                break
        gone += left
        for order in self._own(side).get(ticks, ()):
            order.front = max(0.0, order.front - gone)

    def _refresh(self, order: VenueOrder, shown: int) -> None:
        # A refreshed slice has new time priority: behind the whole level as it stood before this trade.
        orders = self._own(order.side)[order.ticks or 0]
        orders.remove(order)
        orders.append(order)
        order.show()
        order.front = float(shown)

    def match_crossed(self) -> None:
        """Fill own orders that a displayed opposite quote reaches, at most that quote's quantity, at their price."""
        if not self.is_open:
            return
        for side in (Side.BUY, Side.SELL):
            while (own := self.own_best(side)) is not None:
                quote = self.best(side.opposite)
                if quote is None or (quote - own) * side.sign > 0:
                    break
                order = self._own(side)[own][0]
                shown = self._shown(side.opposite)[quote]
                lots = min(order.leaves, shown)
                self._set(side.opposite, quote, shown - lots)
                self._fill_own(order, lots, FillReason.CROSSED)
                if order.resting and not order.visible:
                    self._refresh(order, self._shown(side).get(own, 0))
                self.traded()


def _reason(order: VenueOrder, reason: FillReason) -> FillReason:
    return FillReason.LIQUIDATION if order.forced else reason
