"""The matching rules in plain Python: the matcher the compiled one replaced, with dicts, lists and no kernel.

One instrument, any number of accounts with one net position each. Everything that happens is appended to `events` as
`Fill` or `End`. Queue formulas: hftbacktest 2.4.4, `hftbacktest/src/backtest/models/queue.rs`, read at commit 5f3ec40b.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log
from typing import NamedTuple

BUY, SELL = 1, -1
Levels = Sequence[tuple[int, int]]


class Fill(NamedTuple):
    name: str
    ticks: int
    lots: int
    liquidity: str
    reason: str


class End(NamedTuple):
    """`how` is expired, canceled or rejected."""

    name: str
    how: str


@dataclass(eq=False)
class ReferenceOrder:
    """`ticks` None is a market order. `tif` is GTC, GTX, IOC or FOK; `stp` is trade, taker, maker or both."""

    name: str
    side: int
    ticks: int | None
    lots: int
    account: str = "a"
    tif: str = "GTC"
    display: int = 0
    min_lots: int = 0
    reduces: bool = False
    stp: str = "trade"
    filled: int = 0
    cost: int = 0
    cut: int = 0
    front: float = 0.0
    visible: int = 0
    sequence: int = 0
    resting: bool = False
    killed: bool = False

    @property
    def leaves(self) -> int:
        return self.lots - self.cut - self.filled

    def show(self) -> None:
        self.visible = min(self.leaves, self.display) if self.display else self.leaves


def front_after(model: str, exponent: float, lot: float, front: float, before: int, after: int) -> float:
    """Return the front after a level went from `before` to `after`; `model` is risk_averse, power or log."""
    if model == "risk_averse" or after >= before:
        return min(front, float(after))
    back = max(0.0, before - front)
    if model == "power":
        if not front and not back:
            return 0.0
        odds = float((min(front, back) / max(front, back)) ** exponent)
        behind = (1.0 if back >= front else odds) / (1 + odds)
    else:
        ahead, past = log(1 + front * lot), log(1 + back * lot)
        behind = past / (past + ahead) if past + ahead else 1.0
    change = before - after
    estimate = front - (1 - behind) * change + min(back - behind * change, 0.0)
    return max(0.0, min(estimate, float(after)))


@dataclass(eq=False)
class ReferenceMatcher:
    """`model`, `exponent` and `lot` choose the queue model."""

    model: str = "risk_averse"
    exponent: float = 0.0
    lot: float = 1.0
    is_open: bool = True
    shown: dict[int, dict[int, int]] = field(default_factory=lambda: {BUY: {}, SELL: {}})
    queues: dict[int, dict[int, list[ReferenceOrder]]] = field(default_factory=lambda: {BUY: {}, SELL: {}})
    orders: dict[str, ReferenceOrder] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    events: list[Fill | End] = field(default_factory=list)
    sequence: int = 0

    # The book

    def on_snapshot(self, bids: Levels, asks: Levels) -> None:
        new = {BUY: dict(bids), SELL: dict(asks)}
        if bids or asks:
            for side, queue in self.queues.items():
                for ticks in queue:
                    self._requeue(side, ticks, new[side].get(ticks, 0))
        self.shown = {side: {t: n for t, n in levels.items() if n} for side, levels in new.items()}
        self.match_crossed()

    def on_delta(self, bids: Levels, asks: Levels) -> None:
        for side, levels in ((BUY, bids), (SELL, asks)):
            for ticks, lots in levels:
                self._requeue(side, ticks, lots)
                self._set(side, ticks, lots)
        self.match_crossed()

    def _requeue(self, side: int, ticks: int, after: int) -> None:
        before = self.shown[side].get(ticks, 0)
        for order in self.queues[side].get(ticks, ()):
            order.front = front_after(self.model, self.exponent, self.lot, order.front, before, after)

    def _set(self, side: int, ticks: int, lots: int) -> None:
        if lots:
            self.shown[side][ticks] = lots
        else:
            self.shown[side].pop(ticks, None)

    def displayed(self, side: int) -> list[tuple[int, int]]:
        """Return the levels, best first."""
        return sorted(self.shown[side].items(), reverse=side == BUY)

    def own(self, side: int) -> list[ReferenceOrder]:
        """Return the resting orders in the order of their queue, best price first."""
        queue = self.queues[side]
        return [order for ticks in sorted(queue, reverse=side == BUY) for order in queue[ticks]]

    def _best(self, side: int) -> int | None:
        levels = self.shown[side]
        return None if not levels else (max(levels) if side == BUY else min(levels))

    def _own_best(self, side: int) -> int | None:
        queue = self.queues[side]
        return None if not queue else (max(queue) if side == BUY else min(queue))

    # The sender

    def submit(self, order: ReferenceOrder) -> None:
        if not self.is_open or not self._fits(order):
            self.events.append(End(order.name, "rejected"))
            return
        self.sequence += 1
        order.sequence = self.sequence
        self.orders[order.name] = order
        needed = order.leaves if order.tif == "FOK" and order.ticks is not None else order.min_lots
        if not self._is_available(order, needed):
            self._expire(order)
            return
        self._take(order)
        if order.leaves <= 0:
            return
        if order.killed or order.ticks is None or order.tif in {"IOC", "FOK"}:
            self._expire(order)
        else:
            self._rest(order)
            self.shrink_reducing()

    def _fits(self, order: ReferenceOrder) -> bool:
        if order.reduces:
            most = self._reducible(order)
            if most <= 0:
                return False
            order.cut = max(0, order.lots - most)
        return order.tif != "GTX" or not self.would_take(order)

    def modify(self, name: str, ticks: int, lots: int, keeps_place: bool) -> None:
        """Change a resting order; others are left alone."""
        order = self.orders.get(name)
        if order is None or not order.resting or not self.is_open:
            return
        if lots <= order.filled or (order.tif == "GTX" and self.would_take(order, ticks)):
            self.cancel(name)
            return
        stays = keeps_place and ticks == order.ticks and lots <= order.lots
        if not stays:
            self._remove(order)
        order.ticks, order.lots = ticks, lots
        if order.reduces:
            order.cut = max(0, lots - order.filled - self._reducible(order))
        if stays:
            order.visible = min(order.visible, order.leaves) if order.display else order.leaves
            return
        self._take(order)
        if order.killed:
            self._expire(order)
        elif order.leaves > 0:
            self._rest(order)

    def cancel(self, name: str) -> None:
        """Take a resting order out; others are left alone."""
        order = self.orders.get(name)
        if order is not None and order.resting:
            self._remove(order)
            self.events.append(End(name, "canceled"))

    def would_take(self, order: ReferenceOrder, at: int | None = None) -> bool:
        """Whether an order would meet a displayed or an own resting order, at `at` if that is given."""
        limit = order.ticks if at is None else at
        if limit is None:
            return True
        bests = (self._best(-order.side), self._own_best(-order.side))
        return any(best is not None and (best - limit) * order.side <= 0 for best in bests)

    def _is_available(self, order: ReferenceOrder, lots: int) -> bool:
        return lots <= sum(shown for ticks, shown in self.displayed(-order.side) if self._within(order, ticks))

    @staticmethod
    def _within(order: ReferenceOrder, ticks: int) -> bool:
        return order.ticks is None or (ticks - order.ticks) * order.side <= 0

    def _reducible(self, order: ReferenceOrder) -> int:
        held = self.positions.get(order.account, 0)
        return abs(held) if held * order.side < 0 else 0

    # Resting and leaving

    def _rest(self, order: ReferenceOrder) -> None:
        assert order.ticks is not None
        order.show()
        order.front = float(self.shown[order.side].get(order.ticks, 0))
        order.resting = True
        self.queues[order.side].setdefault(order.ticks, []).append(order)

    def _remove(self, order: ReferenceOrder) -> None:
        if not order.resting:
            return
        assert order.ticks is not None
        queue = self.queues[order.side]
        queue[order.ticks].remove(order)
        if not queue[order.ticks]:
            del queue[order.ticks]
        order.resting = False

    def _expire(self, order: ReferenceOrder) -> None:
        self._remove(order)
        self.events.append(End(order.name, "expired"))

    def _fill(self, order: ReferenceOrder, ticks: int, lots: int, liquidity: str, reason: str) -> None:
        order.filled += lots
        order.cost += lots * ticks
        self.positions[order.account] = self.positions.get(order.account, 0) + lots * order.side
        self.events.append(Fill(order.name, ticks, lots, liquidity, reason))
        if order.leaves <= 0:
            self._remove(order)
            if order.cut:
                self.events.append(End(order.name, "expired"))

    def shrink_reducing(self) -> None:
        """Cut resting reduce-only orders to the positions, the oldest first."""
        for order in sorted((*self.own(BUY), *self.own(SELL)), key=lambda one: one.sequence):
            excess = order.leaves - self._reducible(order)
            if order.reduces and excess > 0:
                order.cut += excess
                order.visible = min(order.visible, order.leaves)
                if order.leaves <= 0:
                    self._expire(order)

    # Taking

    def _take(self, order: ReferenceOrder) -> None:
        other = -order.side
        while order.leaves > 0 and not order.killed:
            bests = [ticks for ticks in (self._best(other), self._own_best(other)) if ticks is not None]
            if not bests:
                return
            ticks = min(bests, key=lambda one: one * order.side)
            if not self._within(order, ticks):
                return
            self._take_level(order, other, ticks)

    def _take_level(self, order: ReferenceOrder, other: int, ticks: int) -> None:
        shown = self.shown[other].get(ticks, 0)
        taken = 0
        for own in tuple(self.queues[other].get(ticks, ())):
            if not own.resting:
                continue
            taken += self._take_market(order, ticks, min(shown, ceil(own.front)) - taken)
            if order.leaves <= 0:
                break
            if own.resting:
                self._meet(order, own, ticks)
            if order.killed or order.leaves <= 0:
                break
        if not order.killed:
            taken += self._take_market(order, ticks, shown - taken)
        if taken:
            self._set(other, ticks, shown - taken)
            for own in self.queues[other].get(ticks, ()):
                own.front = max(0.0, own.front - taken)

    def _take_market(self, order: ReferenceOrder, ticks: int, most: int) -> int:
        lots = min(most, order.leaves)
        if lots <= 0:
            return 0
        self._fill(order, ticks, lots, "taker", "taker")
        self.shrink_reducing()
        return lots

    def _meet(self, order: ReferenceOrder, own: ReferenceOrder, ticks: int) -> None:
        policy = order.stp if own.account == order.account else "trade"
        if policy in {"maker", "both"}:
            self._expire(own)
        if policy in {"taker", "both"}:
            order.killed = True
        if policy == "trade":
            lots = min(order.leaves, own.leaves)
            self._fill(order, ticks, lots, "taker", "taker")
            self._fill_resting(own, lots, "queue")
            self.shrink_reducing()

    # Being taken

    def _fill_resting(self, order: ReferenceOrder, lots: int, reason: str) -> None:
        assert order.ticks is not None
        order.visible = max(0, order.visible - lots)
        self._fill(order, order.ticks, lots, "maker", reason)

    def on_trade(self, ticks: int, lots: int, aggressor: int) -> None:
        side = -aggressor
        queue = self.queues[side]
        if self.is_open:
            for order in self._through(side, ticks):
                self._fill_resting(order, order.leaves, "through")
                self.shrink_reducing()
            if ticks in queue:
                self._trade_at(queue[ticks], ticks, lots, side)
        shown = self.shown[side].get(ticks, 0)
        if shown:
            left = max(0, shown - lots)
            self._set(side, ticks, left)
            for order in queue.get(ticks, ()):
                order.front = min(order.front, float(left))

    def _through(self, side: int, ticks: int) -> Iterator[ReferenceOrder]:
        for order in self.own(side):
            assert order.ticks is not None
            if (order.ticks - ticks) * side > 0 and order.resting:
                yield order

    def _trade_at(self, orders: Sequence[ReferenceOrder], ticks: int, lots: int, side: int) -> None:
        shown = self.shown[side].get(ticks, 0)
        waiting = list(orders)
        gone, left = 0.0, lots
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
            self._fill_resting(order, filled, "queue")
            if order.resting and not order.visible:
                self._refresh(order, shown)
                waiting.append(order)
            self.shrink_reducing()
            if not left:
                break
        gone += left
        for order in self.queues[side].get(ticks, ()):
            order.front = max(0.0, order.front - gone)

    def _refresh(self, order: ReferenceOrder, shown: int) -> None:
        # A refreshed slice has new time priority: behind the whole level as it stood before this trade.
        assert order.ticks is not None
        orders = self.queues[order.side][order.ticks]
        orders.remove(order)
        orders.append(order)
        order.show()
        order.front = float(shown)

    def match_crossed(self) -> None:
        if not self.is_open:
            return
        for side in (BUY, SELL):
            while (own := self._own_best(side)) is not None:
                quote = self._best(-side)
                if quote is None or (quote - own) * side > 0:
                    break
                order = self.queues[side][own][0]
                shown = self.shown[-side][quote]
                lots = min(order.leaves, shown)
                self._set(-side, quote, shown - lots)
                self._fill_resting(order, lots, "crossed")
                if order.resting and not order.visible:
                    self._refresh(order, self.shown[side].get(own, 0))
                self.shrink_reducing()
