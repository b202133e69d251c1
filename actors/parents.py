"""Decides how much of a parent order its children may still trade: never more together than the parent asked for.

Counted are what a child has filled and, until it is over, all it may fill yet. An order names its parent; one that
names a parent nobody announced, or another position or side than the parent's, has no room at all.
"""

from decimal import Decimal

from attrs import define, field

from actors.executions import ExecutionIntent
from actors.messages import FillEvent, OrderRequest, OrderUpdate
from venues.model.money import ZERO
from venues.model.order import Side
from venues.model.position import position_key


@define
class Slice:
    """One child: what was sent, what has filled, whether it may fill no more."""

    parent_id: str
    qty: Decimal
    filled: Decimal = ZERO
    is_over: bool = False

    @property
    def taken(self) -> Decimal:
        return self.filled if self.is_over else max(self.qty, self.filled)


@define
class Parent:
    """`key` is the position's. `taken` is the sum over `slices`, which are request ids. `is_over`: it sends no more."""

    key: str
    side: Side
    qty: Decimal
    taken: Decimal = ZERO
    slices: list[str] = field(factory=list)
    is_over: bool = False


@define
class Parents:
    """Parents by id and slices by request id, as many parents as `begin` is told to keep."""

    parents: dict[str, Parent] = field(factory=dict)
    slices: dict[str, Slice] = field(factory=dict)

    def begin(self, intent: ExecutionIntent, keep: int) -> None:
        """Take note of a parent. A repeated id changes nothing; of more than `keep`, the oldest that is over goes."""
        if intent.parent_id in self.parents or not intent.qty.is_finite() or intent.qty <= ZERO:
            return
        key = position_key(intent.account, intent.instrument, intent.position_side)
        self.parents[intent.parent_id] = Parent(key, intent.side, intent.qty)
        if len(self.parents) > keep:
            oldest = next((name for name, one in self.parents.items() if one.is_over and not self._is_out(one)), None)
            if oldest is not None:
                for request_id in self.parents.pop(oldest).slices:
                    del self.slices[request_id]

    def _is_out(self, parent: Parent) -> bool:
        return any(not self.slices[request_id].is_over for request_id in parent.slices)

    def end(self, parent_id: str) -> None:
        """Let a parent have no room any more; what it sent is still counted."""
        parent = self.parents.get(parent_id)
        if parent is not None:
            parent.is_over = True

    def room(self, order: OrderRequest) -> Decimal | None:
        """Return what the order's parent still allows, None for an order without one."""
        if not order.parent_id:
            return None
        parent = self.parents.get(order.parent_id)
        if parent is None or parent.is_over or parent.side is not order.side:
            return ZERO
        if parent.key != position_key(order.account, order.instrument, order.position_side):
            return ZERO
        return max(ZERO, parent.qty - parent.taken)

    def sent(self, order: OrderRequest) -> None:
        """Count an approved child."""
        parent = self.parents[order.parent_id]
        self.slices[order.request_id] = Slice(order.parent_id, order.qty)
        parent.slices.append(order.request_id)
        parent.taken += order.qty

    def filled(self, event: FillEvent) -> None:
        """Count a fill, however late."""
        one = self.slices.get(event.request_id)
        if one is not None:
            self._change(one, one.filled + event.fill.qty, one.is_over)

    def updated(self, update: OrderUpdate) -> None:
        """Follow a child: over, or not proven over after all."""
        one = self.slices.get(update.request_id)
        if one is not None:
            self._change(one, max(one.filled, update.filled_qty), update.is_final)

    def _change(self, one: Slice, filled: Decimal, is_over: bool) -> None:
        before = one.taken
        one.filled, one.is_over = filled, is_over
        self.parents[one.parent_id].taken += one.taken - before
