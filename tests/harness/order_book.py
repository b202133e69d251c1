"""Two order-by-order venues that are asked the same: the compiled one, and one of plain lists."""

from collections.abc import Iterator

import numpy as np
from attrs import define, field

from sim.kernel import by_order, entry, host, layout, market_orders
from sim.kernel.books import add_page, lots_at
from sim.kernel.layout import PAGE_TICKS, Kernel, make_kernel, with_pages, with_prices
from sim.rows import ADD, DELETE, EXECUTE, MODIFY

Fill = tuple[int, int, int, int]
"""Number of the own order, price in ticks, lots, reason (layout.BY_...)."""


@define(eq=False)
class CompiledBook:
    """One instrument of the compiled venue, told order by order. Own orders are known by numbers from 0."""

    kernel: Kernel
    slots: dict[int, int] = field(factory=dict)

    @classmethod
    def make(
        cls, model: int = layout.L3_FIFO, market: int = 4096, highest: int = 1 << 14, exponent: float = 1.0
    ) -> "CompiledBook":
        kernel = make_kernel(1, orders=1024)
        for side in range(4):
            kernel = with_prices(kernel, side, 0, highest)
        kernel = market_orders.grown(with_pages(kernel, 4 * (1 + highest // PAGE_TICKS)), market)
        kernel.instruments["model"], kernel.instruments["lot"], kernel.instruments["exponent"] = model, 1.0, exponent
        return cls(kernel)

    def tell(self, kind: int, side: int, ticks: int, lots: int, order_id: int) -> None:
        """Let the feed tell of an order; what it tells is a message of its own."""
        assert by_order.change_order(self.kernel, kind, 0, side, ticks, lots, np.uint64(order_id), True)

    def set_level(self, side: int, ticks: int, lots: int) -> None:
        """Let the feed tell of a level instead."""
        assert add_page(self.kernel, side, ticks) >= 0
        assert host.apply_levels(self.kernel, 0, np.array([(ticks, lots)]), 1, 1 - side) >= 0

    def submit(self, number: int, side: int, ticks: int, lots: int, display: int = 0) -> None:
        """Let an own order arrive; its slot is not given to another."""
        kernel = self.kernel
        free = int(kernel.registers["free"][0]) - 1
        kernel.registers["free"] = free
        slot = int(kernel.free[free])
        kernel.orders[slot] = np.zeros((), layout.ORDER)
        o = kernel.orders[slot]
        o["state"], o["side"], o["position"], o["ticks"], o["lots"] = layout.IDLE, side, -1, ticks, lots
        o["display"], o["tag"] = display, number
        self.slots[number] = slot
        entry.arrive(kernel, slot, 0)

    def release(self, number: int) -> None:
        """Give the slot of an own order that has ended to another."""
        free = int(self.kernel.registers["free"][0])
        self.kernel.free[free] = self.slots.pop(number)
        self.kernel.registers["free"] = free + 1

    def cancel(self, number: int) -> None:
        entry.cancel(self.kernel, self.slots[number])

    def fills(self) -> list[Fill]:
        """Return the fills since it was last asked."""
        count = int(self.kernel.registers["events"][0])
        found = [
            (int(e["tag"]), int(e["ticks"]), int(e["lots"]), int(e["reason"]))
            for e in self.kernel.events[:count]
            if e["kind"] == layout.FILLED
        ]
        self.kernel.registers["events"] = 0
        return found

    def fronts(self) -> dict[int, float]:
        """Return the market lots ahead of every resting own order."""
        orders = self.kernel.orders
        return {
            number: float(orders["front"][slot])
            for number, slot in self.slots.items()
            if orders["state"][slot] == layout.RESTING
        }

    def shown(self, side: int, ticks: int) -> int:
        add_page(self.kernel, side, ticks)
        return int(lots_at(self.kernel, side, ticks))

    def anomalies(self) -> dict[str, int]:
        return dict(zip(layout.ANOMALIES, self.kernel.anomalies[0].tolist(), strict=True))


@define(eq=False)
class Entry:
    """A place in a queue. An own order has a `number`, a market order an `id`; `left` is what can still be taken."""

    side: int
    ticks: int
    lots: int
    left: int
    number: int = -1
    id: int = 0
    display: int = 0
    visible: int = 0


@define(eq=False)
class ListedBook:
    """The same venue in the plainest way: every order, own or not, stands in a list at its price."""

    keeps_place: bool = True
    queues: dict[tuple[int, int], list[Entry]] = field(factory=dict)
    known: dict[int, Entry] = field(factory=dict)
    own: dict[int, Entry] = field(factory=dict)
    filled: list[Fill] = field(factory=list)
    wrong: dict[str, int] = field(factory=lambda: dict.fromkeys(layout.ANOMALIES, 0))

    def queue(self, side: int, ticks: int) -> list[Entry]:
        return self.queues.setdefault((side, ticks), [])

    def shown(self, side: int, ticks: int) -> int:
        return sum(e.left for e in self.queue(side, ticks) if e.id)

    def fronts(self) -> dict[int, float]:
        return {number: float(self._ahead(e)) for number, e in self.own.items()}

    def _ahead(self, own: Entry) -> int:
        queue = self.queue(own.side, own.ticks)
        return sum(e.left for e in queue[: queue.index(own)] if e.id)

    def prices(self, side: int) -> Iterator[int]:
        """Yield the prices at which somebody stands, best first."""
        found = [ticks for (s, ticks), queue in self.queues.items() if s == side and any(e.left for e in queue)]
        yield from sorted(found, reverse=side == 0)

    # The feed

    def tell(self, kind: int, side: int, ticks: int, lots: int, order_id: int) -> None:
        known = self.known.get(order_id)
        if kind in (ADD, MODIFY):
            self._state(kind, known, side, ticks, lots, order_id)
        elif known is None:
            self.wrong["unknown_order"] += 1
            if kind == EXECUTE:
                self._through(side, ticks)
        else:
            self.wrong["moved_order"] += (known.side, known.ticks) != (side, ticks)
            if kind == DELETE:
                self._end(known)
            else:
                self._execute(known, lots)
        self._cross()

    def _state(self, kind: int, known: Entry | None, side: int, ticks: int, lots: int, order_id: int) -> None:
        if order_id == 0 or lots < 0 or (kind == ADD and not lots):
            self.wrong["bad_order"] += 1
            return
        if known is None:
            self.wrong["unknown_order"] += kind == MODIFY
            if lots:
                self.known[order_id] = Entry(side, ticks, lots, lots, id=order_id)
                self.queue(side, ticks).append(self.known[order_id])
            return
        self.wrong["duplicate_order"] += kind == ADD
        self.wrong["moved_order"] += kind == MODIFY and known.side != side
        stays = (known.side, known.ticks) == (side, ticks) and lots <= known.lots and self.keeps_place
        if not lots:
            self._end(known)
        elif stays:
            known.lots, known.left = lots, min(known.left, lots)
        else:
            self.queue(known.side, known.ticks).remove(known)
            known.side, known.ticks, known.lots, known.left = side, ticks, lots, lots
            self.queue(side, ticks).append(known)

    def _end(self, known: Entry) -> None:
        self.queue(known.side, known.ticks).remove(known)
        del self.known[known.id]

    def _execute(self, known: Entry, lots: int) -> None:
        if lots <= 0:
            self.wrong["bad_order"] += 1
            return
        self.wrong["excess_execution"] += lots > known.lots
        lots = min(lots, known.lots)
        self._through(known.side, known.ticks)
        queue, left = self.queue(known.side, known.ticks), lots
        while left:
            first = next((e for e in queue[: queue.index(known)] if not e.id), None)
            if first is None:
                break
            part = min(left, first.visible)
            left -= part
            self._fill(first, part, first.ticks, layout.BY_QUEUE)
        known.lots -= lots
        known.left = min(known.left, known.lots)
        if not known.lots:
            self._end(known)

    def _through(self, side: int, ticks: int) -> None:
        for price in list(self.prices(side)):
            if (price > ticks) if side == 0 else (price < ticks):
                for e in [e for e in self.queue(side, price) if not e.id]:
                    self._fill(e, e.left, price, layout.BY_THROUGH)

    def _cross(self) -> None:
        for side in (0, 1):
            while mine := next((p for p in self.prices(side) if any(not e.id for e in self.queue(side, p))), None):
                best = next((p for p in self.prices(1 - side) if self.shown(1 - side, p)), None)
                if best is None or ((best > mine) if side == 0 else (best < mine)):
                    break
                own = next(e for e in self.queue(side, mine) if not e.id)
                lots = min(own.left, self.shown(1 - side, best))
                self._consume(1 - side, best, lots)
                self._fill(own, lots, mine, layout.BY_CROSSED)

    def _consume(self, side: int, ticks: int, lots: int) -> None:
        for e in self.queue(side, ticks):
            if e.id:
                part = min(e.left, lots)
                e.left -= part
                lots -= part

    # Own orders

    def _fill(self, own: Entry, lots: int, ticks: int, reason: int) -> None:
        self.filled.append((own.number, ticks, lots, reason))
        own.left -= lots
        own.visible = max(0, own.visible - lots)
        queue = self.queue(own.side, own.ticks)
        if not own.left:
            queue.remove(own)
            del self.own[own.number]
        elif not own.visible:
            own.visible = min(own.left, own.display)
            queue.remove(own)
            queue.append(own)

    def submit(self, number: int, side: int, ticks: int, lots: int, display: int = 0) -> None:
        for price in list(self.prices(1 - side)):
            if (price > ticks) if side == 0 else (price < ticks):
                break
            for e in list(self.queue(1 - side, price)):
                part = min(lots, e.left)
                if not part:
                    continue
                self.filled.append((number, price, part, layout.BY_TAKING))
                lots -= part
                if e.id:
                    e.left -= part
                else:
                    self._fill(e, part, price, layout.BY_QUEUE)
        if lots:
            visible = min(lots, display) if display else lots
            self.own[number] = Entry(side, ticks, lots, lots, number, display=display, visible=visible)
            self.queue(side, ticks).append(self.own[number])

    def cancel(self, number: int) -> None:
        own = self.own.pop(number, None)
        if own is not None:
            self.queue(own.side, own.ticks).remove(own)

    def fills(self) -> list[Fill]:
        found, self.filled = self.filled, []
        return found
