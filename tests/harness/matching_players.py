"""One script of a market and its orders through three matchers: the reference, the venue's, the kernel alone."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from reference_matcher import BUY, End, Fill, Levels, ReferenceMatcher, ReferenceOrder

from sim.core import Core
from sim.kernel import entry, layout, matching, queues
from sim.kernel.books import read_levels
from sim.kernel.feed import Feed, play_books
from sim.matching import Matcher
from sim.queue_models import QueueModel
from sim.rows import BUY as BUY_FLAG
from sim.rows import CLEAR, DEPTH, LAST, LOCAL, SNAPSHOT, TICKS_MAX, TRADE, VENUE, Rows
from sim.venue_order import VenueOrder
from sim.venue_rules import SelfTrade
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderType, PositionSide, Side
from venues.port import SubmitOrder

SPEC = Instrument("V", "X", InstrumentKind.PERPETUAL, "X", "USDT", Decimal(1), Decimal("0.1"))
STP = {
    "trade": SelfTrade.TRADE,
    "taker": SelfTrade.EXPIRE_TAKER,
    "maker": SelfTrade.EXPIRE_MAKER,
    "both": SelfTrade.EXPIRE_BOTH,
}
_CODES = {"trade": layout.STP_TRADE, "taker": layout.STP_TAKER, "maker": layout.STP_MAKER, "both": layout.STP_BOTH}
_TIF_FLAGS = {"GTC": 0, "GTX": layout.POST_ONLY, "IOC": layout.IMMEDIATE, "FOK": layout.FILL_OR_KILL}
_ENDS = {layout.EXPIRED: "expired", layout.CANCELED: "canceled", layout.REJECTED: "rejected"}

State = dict[str, tuple[int, int, int, int, float, int]]
"""Of a resting order: lots, filled, cost, cut, front, visible."""


class ReferencePlayer:
    """The reference itself."""

    def __init__(self, model: QueueModel) -> None:
        self.matcher = ReferenceMatcher(model.name, model.exponent, float(SPEC.lot_size))
        self.on_snapshot, self.on_delta = self.matcher.on_snapshot, self.matcher.on_delta
        self.on_trade, self.submit = self.matcher.on_trade, self.matcher.submit
        self.modify, self.cancel = self.matcher.modify, self.matcher.cancel

    def set_open(self, is_open: bool) -> None:
        self.matcher.is_open = is_open
        self.matcher.match_crossed()

    def take_events(self) -> list[Fill | End]:
        found, self.matcher.events = self.matcher.events, []
        return found

    def displayed(self, side: int) -> list[tuple[int, int]]:
        return self.matcher.displayed(side)

    def own(self, side: int) -> State:
        return {o.name: (o.lots, o.filled, o.cost, o.cut, o.front, o.visible) for o in self.matcher.own(side)}


class VenuePlayer:
    """`sim.matching.Matcher` and the decisions of `sim.entry` about it, without funds."""

    def __init__(self, model: QueueModel) -> None:
        self.core = Core.make([(SPEC, model)])
        self.matcher = Matcher(self.core, 0, self._fill, self._expire)
        self.orders: dict[str, VenueOrder] = {}
        self.tif: dict[str, str] = {}
        self.events: list[Fill | End] = []
        self.positions: dict[str, int] = {}

    def on_snapshot(self, bids: Levels, asks: Levels) -> None:
        self.matcher.on_snapshot(bids, asks)

    def on_delta(self, bids: Levels, asks: Levels) -> None:
        self.matcher.on_delta(bids, asks)

    def on_trade(self, ticks: int, lots: int, aggressor: int) -> None:
        self.matcher.on_trade(ticks, lots, _side(aggressor))

    def set_open(self, is_open: bool) -> None:
        self.matcher.is_open = is_open
        self.matcher.match_crossed()

    def _fill(self, order: VenueOrder, ticks: int, lots: int, liquidity: Liquidity, reason: FillReason) -> None:
        order.filled += lots
        order.filled_cost += lots * ticks
        self.positions[order.account] = self.positions.get(order.account, 0) + lots * order.side.sign
        self.events.append(Fill(order.id, ticks, lots, liquidity.value, reason.value))
        if order.leaves <= 0:
            self.matcher.remove(order)
            if order.cut:
                self.events.append(End(order.id, "expired"))

    def _expire(self, order: VenueOrder) -> None:
        self.matcher.remove(order)
        self.events.append(End(order.id, "expired"))

    def _reducible(self, order: VenueOrder) -> int:
        held = self.positions.get(order.account, 0)
        return abs(held) if held * order.side.sign < 0 else 0

    def submit(self, one: ReferenceOrder) -> None:
        command = SubmitOrder(0, one.account, SPEC.id, one.name, _side(one.side), Decimal(1), OrderType.LIMIT)
        order = VenueOrder(
            command, "", _side(one.side), PositionSide.BOTH, one.lots, one.ticks, min_lots=one.min_lots,
            display_lots=one.display, reduces=one.reduces, stp=STP[one.stp],
        )  # fmt: skip
        if order.reduces:
            order.cut = max(0, order.leaves - self._reducible(order))
        takes = one.tif == "GTX" and one.ticks is not None and self.matcher.would_take(order.side, one.ticks)
        if not self.matcher.is_open or order.leaves <= 0 or takes:
            self.events.append(End(one.name, "rejected"))
            return
        order.sequence = len(self.orders) + 1
        self.orders[one.name], self.tif[one.name] = order, one.tif
        needed = order.leaves if one.tif == "FOK" and order.ticks is not None else order.min_lots
        if not self.matcher.available(order.side, order.ticks, needed):
            self._expire(order)
            return
        self.matcher.take(order, order.ticks)
        if order.leaves <= 0:
            return
        if order.killed or order.ticks is None or one.tif in {"IOC", "FOK"}:
            self._expire(order)
        else:
            self.matcher.rest(order)
            self.matcher.shrink_reducing()

    def modify(self, name: str, ticks: int, lots: int, keeps_place: bool) -> None:
        order = self.orders.get(name)
        if order is None or not order.resting or not self.matcher.is_open:
            return
        if lots <= order.filled or (self.tif[name] == "GTX" and self.matcher.would_take(order.side, ticks)):
            self.cancel(name)
            return
        stays = keeps_place and ticks == order.ticks and lots <= order.lots
        if not stays:
            self.matcher.remove(order)
        order.lots, order.ticks = lots, ticks
        if order.reduces:
            order.cut = max(0, order.leaves + order.cut - self._reducible(order))
        if stays:
            self.matcher.resize(order)
            return
        self.matcher.take(order, ticks)
        if order.killed:
            self._expire(order)
        elif order.leaves > 0:
            self.matcher.rest(order)

    def cancel(self, name: str) -> None:
        order = self.orders.get(name)
        if order is not None and order.resting:
            self.matcher.remove(order)
            self.events.append(End(name, "canceled"))

    def take_events(self) -> list[Fill | End]:
        found, self.events = self.events, []
        return found

    def displayed(self, side: int) -> list[tuple[int, int]]:
        return self.matcher.displayed(_side(side))

    def own(self, side: int) -> State:
        slots = self.core.kernel.orders
        return {
            o.id: (o.lots, o.filled, o.filled_cost, o.cut, self.matcher.front(o), int(slots["visible"][o.slot]))
            for o in self.matcher.own(_side(side))
        }


class KernelPlayer:
    """Rows through `feed.at_venue`, orders through `sim.kernel.entry`: what a compiled strategy's venue does."""

    _REASONS = {
        layout.BY_TAKING: "taker",
        layout.BY_QUEUE: "queue",
        layout.BY_THROUGH: "through",
        layout.BY_CROSSED: "crossed",
    }

    def __init__(self, model: QueueModel) -> None:
        self.core = Core.make([(SPEC, model)])
        # The book itself knows no sign; what may be asked for is the venue's business.
        self.core.kernel.instruments["floor"] = -TICKS_MAX
        self.names: dict[int, str] = {}
        self.slots: dict[str, int] = {}
        self.events: list[Fill | End] = []
        self.accounts: dict[str, int] = {}
        self.filled: dict[str, int] = {}
        self.sequence = 0

    @property
    def k(self) -> layout.Kernel:
        return self.core.kernel

    def on_snapshot(self, bids: Levels, asks: Levels) -> None:
        rows = [(CLEAR, 0, 0, 0), *_levels(SNAPSHOT, bids, asks)]
        self._play(rows)

    def on_delta(self, bids: Levels, asks: Levels) -> None:
        self._play(_levels(DEPTH, bids, asks))

    def on_trade(self, ticks: int, lots: int, aggressor: int) -> None:
        self._play([(TRADE, BUY_FLAG if aggressor == BUY else 0, ticks, lots)])

    def _play(self, rows: Sequence[tuple[int, int, int, int]]) -> None:
        """Play rows, making room whenever the kernel asks for it."""
        feed = feed_of(rows)
        row = 0
        while True:
            row = play_books(self.k, feed, row)
            if row == len(rows):
                return
            split = 1 if feed.flags[row] & BUY_FLAG else 0
            self.core.make_room(0, feed.ticks[row : row + 1], split)

    def set_open(self, is_open: bool) -> None:
        self.k.instruments["is_open"][0] = is_open
        matching.match_crossed(self.k, 0)

    def submit(self, one: ReferenceOrder) -> None:
        account = self.accounts.setdefault(one.account, len(self.accounts))
        if not self.k.registers["free"][0]:
            self.core.kernel = layout.with_orders(self.k, 2 * len(self.k.orders))
        registers = self.k.registers
        registers["free"] -= 1
        slot = int(self.k.free[int(registers["free"][0])])
        flags = _TIF_FLAGS[one.tif] | layout.REDUCES * one.reduces
        if one.ticks is None:
            flags |= layout.IMMEDIATE
        self.sequence += 1
        side = layout.BUY_SIDE if one.side == BUY else layout.SELL_SIDE
        ticks = one.side * layout.NO_LIMIT if one.ticks is None else one.ticks
        self.k.orders[slot] = (
            layout.IDLE, 0, side, account, account, flags, _CODES[one.stp], ticks, one.lots, 0, 0, 0, 0, one.display,
            one.min_lots, self.sequence, 0, 0, 0.0, len(self.slots), 0, 0, 0, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
        self.names[slot] = one.name
        self.slots[one.name] = slot
        entry.arrive(self.k, slot, 0)
        self._read()

    def modify(self, name: str, ticks: int, lots: int, keeps_place: bool) -> None:
        if name in self.slots:
            entry.modify(self.k, self.slots[name], ticks, lots, keeps_place, False)
            self._read()

    def cancel(self, name: str) -> None:
        if name in self.slots:
            entry.cancel(self.k, self.slots[name])
            self._read()

    def _read(self) -> None:
        assert not self.k.registers["lost"][0]
        events = self.k.events[: int(self.k.registers["events"][0])].tolist()
        done = {slot for _, kind, slot, *_ in events if kind in _ENDS}
        for _, kind, slot, _, ticks, lots, liquidity, reason, *_ in events:
            name = self.names[slot]
            if kind == layout.FILLED:
                made_by = "maker" if liquidity == layout.MAKER else "taker"
                self.events.append(Fill(name, ticks, lots, made_by, self._REASONS[reason]))
                self.filled[name] = self.filled.get(name, 0) + lots
                o = self.k.orders[slot]
                if o["cut"] and slot not in done and self.filled[name] == o["lots"] - o["cut"]:
                    # What was cut from a resting order ends with its last fill: the kernel leaves it to the listener.
                    self.events.append(End(name, "expired"))
            elif kind in _ENDS:
                self.events.append(End(name, _ENDS[kind]))
        self.k.registers["events"] = 0
        for name, slot in list(self.slots.items()):
            o = self.k.orders[slot]
            if slot in done or (o["state"] == layout.IDLE and o["lots"] - o["cut"] <= o["filled"]):
                del self.slots[name]
                self._leave(slot)

    def _leave(self, slot: int) -> None:
        self.k.free[int(self.k.registers["free"][0])] = slot
        self.k.registers["free"] += 1
        self.k.orders["state"][slot] = layout.FREE

    def take_events(self) -> list[Fill | End]:
        self._read()
        found, self.events = self.events, []
        return found

    def displayed(self, side: int) -> list[tuple[int, int]]:
        return levels_of(self.k, layout.BUY_SIDE if side == BUY else layout.SELL_SIDE)

    def own(self, side: int) -> State:
        queue = layout.BUY_SIDE if side == BUY else layout.SELL_SIDE
        found: State = {}
        for slot in self.k.queue[queue, : self.k.resting[queue]].tolist():
            o = self.k.orders[slot]
            found[self.names[slot]] = (
                int(o["lots"]), int(o["filled"]), int(o["cost"]), int(o["cut"]), float(o["front"]), int(o["visible"]),
            )  # fmt: skip
        return found


def levels_of(kernel: layout.Kernel, book: int, count: int = 4096) -> list[tuple[int, int]]:
    """Return the levels of a book side, best first."""
    ticks, lots = np.zeros(count, np.int64), np.zeros(count, np.int64)
    found = read_levels(kernel, book, ticks, lots)
    return list(zip(ticks[:found].tolist(), lots[:found].tolist(), strict=True))


def _levels(kind: int, bids: Levels, asks: Levels) -> list[tuple[int, int, int, int]]:
    rows = [(kind, BUY_FLAG, *level) for level in bids] + [(kind, 0, *level) for level in asks]
    if rows:
        rows[-1] = (kind, rows[-1][1] | LAST, *rows[-1][2:])
    return rows


def feed_of(rows: Sequence[tuple[int, int, int, int]]) -> Feed:
    """Return rows of (kind, flags, ticks, lots) of instrument 0 at time 0 on both clocks."""
    made = Rows.empty(len(rows))
    for at, (kind, flags, ticks, lots) in enumerate(rows):
        made.kind[at], made.flags[at], made.ticks[at], made.lots[at] = kind, flags | VENUE | LOCAL, ticks, lots
    return feed_from(made)


def feed_from(rows: Rows) -> Feed:
    """Return the columns of rows as the kernel takes them."""
    return Feed(*(getattr(rows, name) for name in Feed._fields))


def check_queues(kernel: layout.Kernel) -> None:
    """Assert what the arrays promise: keys sorted, every queued order resting, slots neither lost nor twice."""
    queued: list[int] = []
    # The rows behind the queues hold conditional orders; nothing here sends any.
    for queue, count in enumerate(kernel.resting[: 2 * len(kernel.instruments)].tolist()):
        keys = kernel.keys[queue, :count].tolist()
        assert keys == sorted(keys)
        slots = kernel.queue[queue, :count].tolist()
        queued += slots
        for slot, key in zip(slots, keys, strict=True):
            o = kernel.orders[slot]
            assert o["state"] == layout.RESTING
            assert queues.key_of(int(o["side"]), int(o["ticks"])) == key
    resting = np.flatnonzero(kernel.orders["state"] == layout.RESTING).tolist()
    assert sorted(queued) == resting
    free = kernel.free[: int(kernel.registers["free"][0])].tolist()
    assert len(set(free)) == len(free)
    assert not set(free) & set(queued)


def _side(sign: int) -> Side:
    return Side.BUY if sign == BUY else Side.SELL


Player = Any
"""What the three players have in common."""
