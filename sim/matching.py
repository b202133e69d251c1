"""One instrument of the compiled venue as the venue's own objects see it: orders go in, executions come back booked."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from attrs import define, field

from sim.core import Core, KernelError
from sim.kernel import books, by_order, host, layout, market_orders, matching, queues
from sim.kernel.compiled import Direct
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

_read_levels = Direct(books.read_levels)
_apply_levels = Direct(host.apply_levels)
_execute = Direct(host.execute)
_load_levels = Direct(host.load_levels)
_load_orders = Direct(by_order.load_orders)
_resize = Direct(host.resize)
_is_available = Direct(matching.is_available)
_match_crossed = Direct(matching.match_crossed)
_on_trade = Direct(matching.on_trade)
_rest = Direct(matching.rest)
_shrink = Direct(matching.shrink)
_shrink_reducing = Direct(matching.shrink_reducing)
_take = Direct(matching.take)
_would_take = Direct(matching.would_take)
_dequeue = Direct(queues.dequeue)


StoredMatcher = dict[tuple[str, PositionSide], int]
"""The index of each position that was ever asked for, by account and position side."""


@define(eq=False)
class Matcher:
    """`fill` books an execution, `expire` ends an order; both are called in the order of what happened, at once."""

    core: Core
    instrument: int
    fill: FillHook
    expire: Callable[[VenueOrder], None]
    positions: dict[tuple[str, PositionSide], int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.core.matchers[self.instrument] = self

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
        if self.core.kernel.instruments["by_order"][self.instrument]:
            self.core.make_room_for_orders(len(bids) + len(asks))
            self._set(_load_orders, bids, asks)
        else:
            self._set(_load_levels, bids, asks)

    def on_delta(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Set absolute quantities; whatever trades and own orders took from these levels is replaced.

        Raises KernelError for a book that is told order by order: nobody knows whose quantity changed.
        """
        if self.core.kernel.instruments["by_order"][self.instrument]:
            raise KernelError("a delta cannot change a book that is told order by order")
        self._set(_apply_levels, bids, asks)

    def _set(self, function: Direct, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        core, split = self.core, len(bids)
        count = core.write_levels(bids, asks)
        waiting = function.call(core.kernel, self.instrument, core.levels, count, split)
        if waiting < 0:
            core.make_room(self.instrument, core.levels[:count, 0], split)
            waiting = function.call(core.kernel, self.instrument, core.levels, count, split)
            if waiting < 0:
                raise KernelError("there is no room for levels that room was made for")
        if waiting:
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
        if not (abs(ticks) <= TICKS_MAX and abs(lots) <= LOTS_MAX):
            raise KernelError(f"an order beyond {TICKS_MAX} ticks or {LOTS_MAX} lots")
        self.core.room_for(self._side(side), ticks)
        self.core.make_room_for_orders(1)
        kernel = self.core.kernel
        before = kernel.anomalies[self.instrument].copy()
        if not by_order.change_order(kernel, kind, self.instrument, _code(side), ticks, lots, number, True):
            raise KernelError(f"no room was found for an order at {ticks} ticks")
        self._book()
        wrong = kernel.anomalies[self.instrument] > before
        return [name for name, is_wrong in zip(layout.ANOMALIES, wrong.tolist(), strict=True) if is_wrong]

    def best(self, side: Side) -> int | None:
        """Return the best displayed bid (BUY) or ask (SELL) in ticks."""
        best = int(self.core.kernel.best[self._side(side)])
        return best if layout.NO_BID < best < layout.NO_ASK else None

    def displayed(self, side: Side) -> list[Level]:
        """Return the displayed bids (BUY) or asks (SELL), best first."""
        count = _READ
        while True:
            ticks, lots = np.empty(count, np.int64), np.empty(count, np.int64)
            found = _read_levels.call(self.core.kernel, self._side(side), ticks, lots)
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
        _shrink.call(self.core.kernel, self.instrument, _code(side), ticks, lots)

    # Own orders

    def hold(self, account: str, side: PositionSide, lots: int) -> None:
        """Note an account's position, signed; own executions move it by themselves."""
        # Making room for a position may replace the kernel.
        position = self._position(account, side)
        self.core.kernel.positions[position] = lots

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
        _rest.call(self.core.kernel, order.slot)
        order.resting = True

    def _enter(self, order: VenueOrder) -> None:
        order.slot = self.core.enter(order, self.instrument, self._position(order.account, order.position_side))

    def remove(self, order: VenueOrder) -> None:
        """Take the order out of the queue; one that does not rest is left alone."""
        if order.resting:
            _dequeue.call(self.core.kernel, order.slot)
            self.core.leave(order.slot)
            order.slot, order.resting = -1, False

    def resize(self, order: VenueOrder) -> None:
        """Let a resting order's quantity be what it now is, without moving the order."""
        _resize.call(self.core.kernel, order.slot, order.lots, order.cut)

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
        return bool(_would_take.call(self.core.kernel, self.instrument, _code(side), ticks))

    def available(self, side: Side, limit: int | None, lots: int) -> bool:
        """Whether `lots` are displayed within `limit`."""
        worst = side.sign * layout.NO_LIMIT if limit is None else limit
        return bool(_is_available.call(self.core.kernel, self.instrument, _code(side), worst, lots))

    def take(self, order: VenueOrder, limit: int | None) -> None:
        """Let the order consume what stands within `limit`: best price first, own resting orders in their places."""
        self._enter(order)
        slot = order.slot
        _take.call(self.core.kernel, slot, order.side.sign * layout.NO_LIMIT if limit is None else limit)
        order.killed = bool(self.core.kernel.orders["killed"][slot])
        self._book()
        self.core.leave(slot)
        order.slot = -1

    def on_trade(self, ticks: int, lots: int, aggressor: Side) -> None:
        """A public trade: fills own orders it went through, then those at its price behind what is ahead of them."""
        _on_trade.call(self.core.kernel, self.instrument, ticks, lots, _code(aggressor))
        self._book()

    def match_crossed(self) -> None:
        """Fill own orders that a displayed opposite quote reaches, at most that quote's quantity, at their price."""
        _match_crossed.call(self.core.kernel, self.instrument)
        self._book()

    def shrink_reducing(self) -> None:
        """Cut resting reduce-only orders to the positions as they are now; those with nothing left expire."""
        _shrink_reducing.call(self.core.kernel, self.instrument)
        self._book()

    def execute(self, order: VenueOrder, ticks: int, lots: int) -> None:
        """Fill a resting order in an auction at `ticks`."""
        _execute.call(self.core.kernel, order.slot, ticks, lots, layout.BY_AUCTION)
        self._book()

    def _book(self) -> None:
        """Book what happened, in its order."""
        for event in self.core.take_events():
            self.book_event(event)

    def book_event(self, event: tuple[Any, ...]) -> None:
        """Book one thing that happened to an order here."""
        _, kind, slot, _, ticks, lots, liquidity, reason, _, _ = event
        order = self.core.orders[slot]
        if order is None:
            raise KernelError(f"slot {slot} of the compiled venue holds no order")
        if kind == layout.FILLED:
            self.fill(order, ticks, lots, _LIQUIDITY[liquidity], _REASONS[reason])
        elif kind == layout.CUT:
            order.cut += lots
        else:
            self.expire(order)

    def store(self) -> StoredMatcher:
        """Return what the arrays do not hold."""
        return self.positions

    def load(self, found: StoredMatcher) -> None:
        """Go on from there; the arrays are the core's to load."""
        self.positions = found

    def _side(self, side: Side) -> int:
        return 4 * self.instrument + _code(side)


def _code(side: Side) -> int:
    return layout.BUY_SIDE if side is Side.BUY else layout.SELL_SIDE
