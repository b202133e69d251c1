"""What stands between the venue's objects and the compiled arrays: slots of orders, indices, room, what happened."""

from collections.abc import Iterable, Sequence
from itertools import chain
from struct import error as struct_error
from struct import pack_into
from typing import Any, Protocol

import numpy as np
from attrs import define, field, frozen

from sim.kernel import layout, market_orders
from sim.kernel.layout import Kernel, make_kernel
from sim.kernel.stored import StoredArray, load_kernel, store_kernel
from sim.queue_models import QueueModel
from sim.rows import LOTS_MAX, PRICE_SCALE, TICKS_MAX
from sim.stored import StoredStateError
from sim.venue_order import VenueOrder
from sim.venue_rules import SelfTrade
from venues.model.book import Level
from venues.model.instrument import Instrument

_MODELS = {"risk_averse": layout.RISK_AVERSE, "power": layout.POWER, "log": layout.LOG, "l3_fifo": layout.L3_FIFO}
_EVENTS_MAX = 65_536
_EVENTS = layout.REGISTERS.names.index("events")  # type: ignore[union-attr]
_LEVELS = 1_024
_MARKET_ORDERS_MIN = 1_024
flatten = chain.from_iterable


class KernelError(RuntimeError):
    """The compiled venue could not tell everything that happened; it must not go on."""


_SELF_TRADE = {
    SelfTrade.TRADE: layout.STP_TRADE,
    SelfTrade.EXPIRE_TAKER: layout.STP_TAKER,
    SelfTrade.EXPIRE_MAKER: layout.STP_MAKER,
    SelfTrade.EXPIRE_BOTH: layout.STP_BOTH,
}


@frozen
class StoredCore:
    """The arrays, and what their indices mean to the host."""

    arrays: dict[str, StoredArray]
    accounts: dict[str, int]
    positions: int


class Booker(Protocol):
    """Who books what happened to the orders of one instrument."""

    def book_event(self, event: tuple[Any, ...]) -> None: ...


@define(eq=False)
class Core:
    """The arrays of one venue, and which order is in which slot. A slot is held while an order takes or rests."""

    kernel: Kernel
    orders: list[VenueOrder | None]
    instruments: dict[str, int]
    matchers: dict[int, "Booker"] = field(factory=dict)
    levels: layout.Array = field(factory=lambda: np.empty((_LEVELS, 2), np.int64))
    _registers: layout.Array = field(init=False)
    _accounts: dict[str, int] = field(factory=dict)
    _positions: int = 0

    def __attrs_post_init__(self) -> None:
        # Fields of a record are slow to read from outside.
        self._registers = self.kernel.registers.view(np.int64)

    @classmethod
    def make(cls, instruments: Sequence[tuple[Instrument, QueueModel]], keeps_place: bool = True) -> "Core":
        """Return a venue with empty books; an instrument's index is its place in `instruments`.

        With `keeps_place` an order of the market whose quantity falls keeps its place in the queue.
        """
        kernel = make_kernel(len(instruments), events=_EVENTS_MAX)
        for market, (spec, model) in zip(kernel.instruments, instruments, strict=True):
            market["model"], market["exponent"] = _MODELS[model.name], model.exponent
            market["lot"] = float(spec.lot_size)
            raw = spec.tick_size * PRICE_SCALE
            market["tick_raw"] = int(raw) if raw == int(raw) else 0
            market["keeps_place"] = keeps_place
            market["by_order"] = market["model"] == layout.L3_FIFO
        return cls(kernel, [None] * len(kernel.orders), {spec.id: index for index, (spec, _) in enumerate(instruments)})

    def index(self, instrument: str) -> int:
        """Return an instrument's place. Raises KernelError for one that is not here."""
        found = self.instruments.get(instrument)
        if found is None:
            raise KernelError(f"{instrument} is not an instrument of the compiled venue")
        return found

    def new_position(self) -> int:
        """Return the index of a position that is flat."""
        index = self._positions
        self._positions += 1
        if index == len(self.kernel.positions):
            self.kernel = layout.with_positions(self.kernel, 2 * index)
        return index

    def enter(self, order: VenueOrder, instrument: int, position: int) -> int:
        """Put an order into a slot, not yet in a queue, and return the slot."""
        kernel = self.kernel
        free = int(kernel.registers["free"][0])
        if not free:
            self.kernel = kernel = layout.with_orders(kernel, 2 * len(kernel.orders))
            self.orders += [None] * (len(kernel.orders) - len(self.orders))
            free = int(kernel.registers["free"][0])
        slot = int(kernel.free[free - 1])
        kernel.registers["free"] = free - 1
        account = self._accounts.setdefault(order.account, len(self._accounts))
        flags = layout.REDUCES * order.reduces | layout.FORCED * order.forced
        side = layout.BUY_SIDE if order.side.sign > 0 else layout.SELL_SIDE
        ticks = 0 if order.ticks is None else order.ticks
        kernel.orders[slot] = (
            layout.IDLE, instrument, side, account, position, flags, _SELF_TRADE[order.stp], ticks, order.lots,
            order.cut, order.filled, order.filled_cost, 0, order.display_lots, order.min_lots, order.sequence, 0, 0,
            0.0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
        self.orders[slot] = order
        return slot

    def leave(self, slot: int) -> None:
        """Give a slot back; its order is in no queue any more. One of a compiled desk's stays until the desk knows."""
        kernel = self.kernel
        if kernel.orders["tag"][slot] >= 0:
            return
        free = int(kernel.registers["free"][0])
        kernel.free[free] = slot
        kernel.registers["free"] = free + 1
        kernel.orders["state"][slot] = layout.FREE
        self.orders[slot] = None

    def write_levels(self, bids: Sequence[Level], asks: Sequence[Level]) -> int:
        """Write levels into the first rows of `levels`; return how many. Raises KernelError for what is no int64."""
        count = len(bids) + len(asks)
        if count > len(self.levels):
            self.levels = np.empty((2 * count, 2), np.int64)
        try:
            pack_into(f"{2 * count}q", self.levels.data, 0, *flatten(bids), *flatten(asks))
        except struct_error as error:
            raise KernelError(f"a level beyond {TICKS_MAX} ticks or {LOTS_MAX} lots") from error
        return count

    def make_room(self, instrument: int, ticks: Any, split: int) -> None:
        """See to it that every price has a place; those before `split` are bids."""
        for side, prices in ((layout.BUY_SIDE, ticks[:split]), (layout.SELL_SIDE, ticks[split:])):
            if len(prices):
                low, high = int(prices.min()), int(prices.max())
                self.kernel = layout.with_prices(self.kernel, 4 * instrument + side, low, high)
        self.kernel = layout.with_pages(self.kernel, len(self.kernel.used) + len(np.unique(ticks >> layout.PAGE_BITS)))

    def book(self) -> None:
        """Let every event since last time be booked, in order, by the matcher of its instrument."""
        for event in self.take_events():
            self.matchers[event[3]].book_event(event)

    def room_for(self, book: int, ticks: int) -> None:
        """See to it that a book side has a place for a price, and the market's orders for another."""
        self.kernel = layout.with_prices(self.kernel, book, ticks, ticks)
        if int(self.kernel.registers["pages"][0]) == len(self.kernel.used):
            self.kernel = layout.with_pages(self.kernel, 2 * len(self.kernel.used))
        if self.kernel.instruments["by_order"].any():
            self.make_room_for_orders(1)

    def make_room_for_orders(self, count: int) -> None:
        """See to it that `count` more orders of the market have a place."""
        kernel = self.kernel
        needed = int(kernel.registers["market"][0]) + count
        if needed > len(kernel.market):
            self.kernel = market_orders.grown(kernel, max(_MARKET_ORDERS_MIN, 2 * needed))

    def take_events(self) -> list[tuple[Any, ...]]:
        """Return what happened since it was last asked, in order. Raises KernelError when some of it was lost."""
        count = int(self._registers[_EVENTS])
        if not count:
            return []
        kernel = self.kernel
        if kernel.registers["lost"][0]:
            raise KernelError(f"more than {len(kernel.events)} things happened to orders at one instant")
        found: list[tuple[Any, ...]] = kernel.events[:count].tolist()
        self._registers[_EVENTS] = 0
        return found

    def store(self) -> StoredCore:
        """Return what is to be known between two calls."""
        return StoredCore(store_kernel(self.kernel), self._accounts, self._positions)

    def load(self, found: StoredCore, orders: Iterable[VenueOrder]) -> None:
        """Go on from there with `orders`, those in a queue in their slots. Raises StoredStateError."""
        kernel = load_kernel(self.kernel, found.arrays)
        if not 0 <= found.positions <= len(kernel.positions):
            raise StoredStateError(f"{found.positions} positions are more than there is room for")
        slots: list[VenueOrder | None] = [None] * len(kernel.orders)
        for order in orders:
            if order.resting:
                if not 0 <= order.slot < len(slots) or kernel.orders["state"][order.slot] != layout.RESTING:
                    raise StoredStateError(f"{order.id} rests, but not in slot {order.slot}")
                slots[order.slot] = order
        resting = int(np.count_nonzero(kernel.orders["state"] == layout.RESTING))
        if resting != sum(order is not None for order in slots):
            raise StoredStateError(f"{resting} slots hold orders that nobody knows")
        self.kernel, self.orders, self._registers = kernel, slots, kernel.registers.view(np.int64)
        self._accounts, self._positions = found.accounts, found.positions
