"""What stands between the venue's objects and the compiled arrays: slots of orders, indices, room, what happened."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define, field

from sim.kernel import layout, market_orders
from sim.kernel.layout import Kernel, make_kernel
from sim.queue_models import QueueModel
from sim.venue_order import VenueOrder
from sim.venue_rules import SelfTrade
from venues.model.instrument import Instrument

_MODELS = {"risk_averse": layout.RISK_AVERSE, "power": layout.POWER, "log": layout.LOG, "l3_fifo": layout.L3_FIFO}
_EVENTS_MAX = 65_536
_MARKET_ORDERS_MIN = 1024


class KernelError(RuntimeError):
    """The compiled venue could not tell everything that happened; it must not go on."""


_SELF_TRADE = {
    SelfTrade.TRADE: layout.STP_TRADE,
    SelfTrade.EXPIRE_TAKER: layout.STP_TAKER,
    SelfTrade.EXPIRE_MAKER: layout.STP_MAKER,
    SelfTrade.EXPIRE_BOTH: layout.STP_BOTH,
}


@define(eq=False)
class Core:
    """The arrays of one venue, and which order is in which slot. A slot is held while an order takes or rests."""

    kernel: Kernel
    orders: list[VenueOrder | None]
    _accounts: dict[str, int] = field(factory=dict)
    _positions: int = 0

    @classmethod
    def make(cls, instruments: Sequence[tuple[Instrument, QueueModel]], keeps_place: bool = True) -> "Core":
        """Return a venue with empty books; an instrument's index is its place in `instruments`.

        With `keeps_place` an order of the market whose quantity falls keeps its place in the queue.
        """
        kernel = make_kernel(len(instruments), events=_EVENTS_MAX)
        for market, (spec, model) in zip(kernel.instruments, instruments, strict=True):
            market["model"], market["exponent"] = _MODELS[model.name], model.exponent
            market["lot"] = float(spec.lot_size)
            market["keeps_place"] = keeps_place
            market["by_order"] = market["model"] == layout.L3_FIFO
        return cls(kernel, [None] * len(kernel.orders))

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
            0.0, -1, 0,
        )  # fmt: skip
        self.orders[slot] = order
        return slot

    def leave(self, slot: int) -> None:
        """Give a slot back; its order is in no queue any more."""
        kernel = self.kernel
        free = int(kernel.registers["free"][0])
        kernel.free[free] = slot
        kernel.registers["free"] = free + 1
        kernel.orders["state"][slot] = layout.FREE
        self.orders[slot] = None

    def make_room(self, instrument: int, ticks: Any, split: int) -> None:
        """See to it that every price has a place; those before `split` are bids."""
        for side, prices in ((layout.BUY_SIDE, ticks[:split]), (layout.SELL_SIDE, ticks[split:])):
            if len(prices):
                low, high = int(prices.min()), int(prices.max())
                self.kernel = layout.with_prices(self.kernel, 4 * instrument + side, low, high)
        self.kernel = layout.with_pages(self.kernel, len(self.kernel.used) + len(np.unique(ticks >> layout.PAGE_BITS)))

    def make_room_for_orders(self, count: int) -> None:
        """See to it that `count` more orders of the market have a place."""
        kernel = self.kernel
        needed = int(kernel.registers["market"][0]) + count
        if needed > len(kernel.market):
            self.kernel = market_orders.grown(kernel, max(_MARKET_ORDERS_MIN, 2 * needed))

    def take_events(self) -> list[tuple[Any, ...]]:
        """Return what happened since it was last asked, in order. Raises KernelError when some of it was lost."""
        kernel = self.kernel
        count = int(kernel.registers["events"][0])
        if not count:
            return []
        if kernel.registers["lost"][0]:
            raise KernelError(f"more than {len(kernel.events)} things happened to orders at one instant")
        found: list[tuple[Any, ...]] = kernel.events[:count].tolist()
        kernel.registers["events"] = 0
        return found
