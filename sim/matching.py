"""One instrument of the compiled venue as the venue's own objects see it: orders go in, executions come back booked."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from attrs import define, field

from sim.core import Core, KernelError
from sim.kernel import books, by_order, host, layout, market_orders, matching, queues
from sim.rows import DELETE, LOTS_MAX, MODIFY, TICKS_MAX
from sim.venue_order import VenueOrder
from venues.model.book import Level
from venues.model.fill import FillReason, Liquidity
from venues.model.order import PositionSide, Side

FillHook = Callable[[VenueOrder, int, int, Liquidity, FillReason], None]
"""Book `lots` of an order at a price in ticks."""

_LIQUIDITY = (Liquidity.MAKER, Liquidity.TAKER, Liquidity.NONE)
_REASONS = (
    FillReason.TAKER,
    FillReason.QUEUE,
    FillReason.THROUGH,
    FillReason.CROSSED,
    FillReason.AUCTION,
    FillReason.LIQUIDATION,
)
_READ = 512


@define(eq=False)
class Matcher:
    """`fill` books an execution, `expire` ends an order; both are called in the order of what happened, at once."""

    core: Core
    instrument: int
    fill: FillHook
    expire: Callable[[VenueOrder], None]
    positions: dict[tuple[str, PositionSide], int] = field(factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether the market trades."""
        return bool(self.core.kernel.instruments["is_open"][self.instrument])

    @is_open.setter
    def is_open(self, is_open: bool) -> None:
        self.core.kernel.instruments["is_open"][self.instrument] = is_open

    @property
    def last_trade(self) -> int | None:
        """Return the price of the last public trade in ticks."""
        ticks = int(self.core.kernel.instruments["last_trade"][self.instrument])
        return None if ticks == layout.NO_BID else ticks

    # The book

    def on_snapshot(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Replace the displayed book. An empty one means "unknown": the orders keep their places."""
        ticks, lots, split = self._levels(bids, asks)
        if self.core.kernel.instruments["by_order"][self.instrument]:
            self.core.make_room_for_orders(len(ticks))
            by_order.load_orders(self.core.kernel, self.instrument, ticks, lots, split)
        else:
            host.load_levels(self.core.kernel, self.instrument, ticks, lots, split)
        self._book()

    def on_delta(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Set absolute quantities; whatever trades and own orders took from these levels is replaced.

        Raises KernelError for a book that is told order by order: nobody knows whose quantity changed.
        """
        if self.core.kernel.instruments["by_order"][self.instrument]:
            raise KernelError("a delta cannot change a book that is told order by order")
        ticks, lots, split = self._levels(bids, asks)
        host.apply_levels(self.core.kernel, self.instrument, ticks, lots, split)
        self._book()

    def follow_orders(self, trades_move: bool) -> None:
        """Expect a book that is told order by order; trades move it when nothing will say which orders traded."""
        market = self.core.kernel.instruments[self.instrument]
        market["by_order"], market["trades_move"] = True, trades_move

    def on_order(self, kind: int, order_id: int, side: Side | None, ticks: int | None, lots: int | None) -> list[str]:
        """An order of the market joins, changes, leaves or trades; `kind` is one of sim.rows, where its meaning is.

        What is None is as it was; a delete's `lots` are what leaves. Returns what was wrong about it (ANOMALIES).
        """
        kernel, number = self.core.kernel, np.uint64(order_id)
        slot = int(kernel.places[market_orders.place_of(kernel, 2 * self.instrument, number)]) - 1
        if slot < 0 and (side is None or ticks is None or lots is None):
            kernel.anomalies[self.instrument, layout.UNKNOWN_MARKET_ORDER] += 1
            return [layout.ANOMALIES[layout.UNKNOWN_MARKET_ORDER]]
        if slot >= 0:
            known = kernel.market[slot]
            side = side or (Side.BUY if known["book"] & 1 == layout.BUY_SIDE else Side.SELL)
            ticks = int(known["ticks"]) if ticks is None else ticks
            if kind == DELETE and lots is not None and lots < known["lots"]:
                kind, lots = MODIFY, int(known["lots"]) - lots
            lots = int(known["lots"]) if lots is None else lots
        assert side is not None
        assert ticks is not None
        assert lots is not None
        level = [(ticks, lots)]
        self._levels(level if side is Side.BUY else [], level if side is Side.SELL else [])
        self.core.make_room_for_orders(1)
        kernel = self.core.kernel
        before = kernel.anomalies[self.instrument].copy()
        if not by_order.change_order(kernel, kind, self.instrument, _code(side), ticks, lots, number, True):
            raise KernelError(f"no room was found for an order at {ticks} ticks")
        self._book()
        wrong = kernel.anomalies[self.instrument] > before
        return [name for name, is_wrong in zip(layout.ANOMALIES, wrong.tolist(), strict=True) if is_wrong]

    def _levels(self, bids: Sequence[Level], asks: Sequence[Level]) -> tuple[Any, Any, int]:
        try:
            levels = np.array([*bids, *asks], np.int64).reshape(-1, 2)
        except OverflowError as error:
            raise KernelError(f"a level beyond {TICKS_MAX} ticks or {LOTS_MAX} lots") from error
        ticks, lots, split = levels[:, 0], levels[:, 1], len(bids)
        if not host.find_room(self.core.kernel, self.instrument, ticks, split):
            self.core.make_room(self.instrument, ticks, split)
            host.find_room(self.core.kernel, self.instrument, ticks, split)
        return ticks, lots, split

    def best(self, side: Side) -> int | None:
        """Return the best displayed bid (BUY) or ask (SELL) in ticks."""
        best = int(self.core.kernel.best[self._side(side)])
        return best if layout.NO_BID < best < layout.NO_ASK else None

    def displayed(self, side: Side) -> list[Level]:
        """Return the displayed bids (BUY) or asks (SELL), best first."""
        count = _READ
        while True:
            ticks, lots = np.empty(count, np.int64), np.empty(count, np.int64)
            found = books.read_levels(self.core.kernel, self._side(side), ticks, lots)
            if found < count:
                return list(zip(ticks[:found].tolist(), lots[:found].tolist(), strict=True))
            count *= 4

    def levels(self, side: Side, limit: int | None) -> Iterator[Level]:
        """Yield the displayed levels an order of `side` may take up to `limit`, best first."""
        for ticks, lots in self.displayed(side.opposite):
            if limit is not None and (ticks - limit) * side.sign > 0:
                return
            yield ticks, lots

    def shrink(self, side: Side, ticks: int, lots: int) -> None:
        """Take `lots` off the front of a displayed level: own orders there move up."""
        matching.shrink(self.core.kernel, self.instrument, _code(side), ticks, lots)

    # Own orders

    def hold(self, account: str, side: PositionSide, lots: int) -> None:
        """Note an account's position, signed; own executions move it by themselves."""
        self.core.kernel.positions[self._position(account, side)] = lots

    def _position(self, account: str, side: PositionSide) -> int:
        found = self.positions.get((account, side))
        if found is None:
            found = self.positions[account, side] = self.core.new_position()
        return found

    def rest(self, order: VenueOrder) -> None:
        """Queue the order at its price behind everything displayed and every own order there."""
        if order.ticks is None:
            raise ValueError(f"{order.id}: an order without a price cannot rest")
        self._enter(order)
        matching.rest(self.core.kernel, order.slot)
        order.resting = True

    def _enter(self, order: VenueOrder) -> None:
        order.slot = self.core.enter(order, self.instrument, self._position(order.account, order.position_side))

    def remove(self, order: VenueOrder) -> None:
        """Take the order out of the queue; one that does not rest is left alone."""
        if order.resting:
            queues.dequeue(self.core.kernel, order.slot)
            self.core.leave(order.slot)
            order.slot, order.resting = -1, False

    def resize(self, order: VenueOrder) -> None:
        """Let a resting order's quantity be what it now is, without moving the order."""
        host.resize(self.core.kernel, order.slot, order.lots, order.cut)

    def own(self, side: Side) -> list[VenueOrder]:
        """Return the resting orders of a side, best price first, in the order of their queue."""
        kernel, queue = self.core.kernel, 2 * self.instrument + _code(side)
        slots = kernel.queue[queue, : kernel.resting[queue]].tolist()
        return [order for order in (self.core.orders[slot] for slot in slots) if order is not None]

    def own_best(self, side: Side) -> int | None:
        """Return the best price of an own resting order in ticks."""
        kernel, queue = self.core.kernel, 2 * self.instrument + _code(side)
        return int(kernel.keys[queue, 0]) * -side.sign if kernel.resting[queue] else None

    def front(self, order: VenueOrder) -> float:
        """Return the market quantity ahead of a resting order in lots."""
        return float(self.core.kernel.orders["front"][order.slot])

    # Trading

    def would_take(self, side: Side, ticks: int) -> bool:
        """Whether an order of `side` at `ticks` meets a displayed or an own resting order."""
        return bool(matching.would_take(self.core.kernel, self.instrument, _code(side), ticks))

    def available(self, side: Side, limit: int | None, lots: int) -> bool:
        """Whether `lots` are displayed within `limit`."""
        worst = side.sign * layout.NO_LIMIT if limit is None else limit
        return bool(matching.is_available(self.core.kernel, self.instrument, _code(side), worst, lots))

    def take(self, order: VenueOrder, limit: int | None) -> None:
        """Let the order consume what stands within `limit`: best price first, own resting orders in their places."""
        self._enter(order)
        slot = order.slot
        matching.take(self.core.kernel, slot, order.side.sign * layout.NO_LIMIT if limit is None else limit)
        order.killed = bool(self.core.kernel.orders["killed"][slot])
        self._book()
        self.core.leave(slot)
        order.slot = -1

    def on_trade(self, ticks: int, lots: int, aggressor: Side) -> None:
        """A public trade: fills own orders it went through, then those at its price behind what is ahead of them."""
        matching.on_trade(self.core.kernel, self.instrument, ticks, lots, _code(aggressor))
        self._book()

    def match_crossed(self) -> None:
        """Fill own orders that a displayed opposite quote reaches, at most that quote's quantity, at their price."""
        matching.match_crossed(self.core.kernel, self.instrument)
        self._book()

    def shrink_reducing(self) -> None:
        """Cut resting reduce-only orders to the positions as they are now; those with nothing left expire."""
        matching.shrink_reducing(self.core.kernel, self.instrument)
        self._book()

    def execute(self, order: VenueOrder, ticks: int, lots: int) -> None:
        """Fill a resting order in an auction at `ticks`."""
        host.execute(self.core.kernel, order.slot, ticks, lots, layout.BY_AUCTION)
        self._book()

    def _book(self) -> None:
        """Book what happened, in its order."""
        for _, kind, slot, _, ticks, lots, liquidity, reason, _, _ in self.core.take_events():
            order = self.core.orders[slot]
            if order is None:
                raise ValueError(f"slot {slot} of the compiled venue holds no order")
            if kind == layout.FILLED:
                self.fill(order, ticks, lots, _LIQUIDITY[liquidity], _REASONS[reason])
            elif kind == layout.CUT:
                order.cut += lots
            else:
                self.expire(order)

    def _side(self, side: Side) -> int:
        return 4 * self.instrument + _code(side)


def _code(side: Side) -> int:
    return layout.BUY_SIDE if side is Side.BUY else layout.SELL_SIDE
