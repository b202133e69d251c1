"""Which timers of a cell are pending, and which one is due next."""

from heapq import heapify, heappop, heappush
from typing import Any

from attrs import define, field

from actors.base import TimerFired

_HEAP_SLACK = 256

Staged = tuple[str, str, int | None]
"""What an actor asked for: its name, the timer's key, when (ns UTC), None to forget it."""


@define
class Timers:
    """One pending timer for each actor and key; of timers due at one instant the one set first fires first.

    `pending` is the truth: (at, number) by (actor, key). The heap may also hold timers replaced or forgotten since.
    """

    pending: dict[tuple[str, str], tuple[int, int]] = field(factory=dict)
    _heap: list[tuple[int, int, str, str]] = field(factory=list)
    _count: int = 0

    def set(self, actor: str, key: str, at: int | None) -> None:
        """Do what an actor asked for."""
        if at is None:
            self.pending.pop((actor, key), None)
        else:
            self._count += 1
            self.pending[actor, key] = (at, self._count)
            heappush(self._heap, (at, self._count, actor, key))
        if len(self._heap) > 2 * len(self.pending) + _HEAP_SLACK:
            self._order()

    def next_ns(self) -> int | None:
        """Return when the earliest pending timer is due, None without one."""
        heap = self._heap
        while heap:
            at, number, actor, key = heap[0]
            if self.pending.get((actor, key)) == (at, number):
                return at
            heappop(heap)
        return None

    def due(self, now: int) -> list[TimerFired]:
        """Return the timers due at or before `now`, earliest first, once; they stay pending until `take`."""
        heap = self._heap
        fired: list[TimerFired] = []
        while heap and heap[0][0] <= now:
            at, number, actor, key = heappop(heap)
            if self.pending.get((actor, key)) == (at, number):
                fired.append(TimerFired(at, actor, key))
        return fired

    def take(self, fired: TimerFired) -> bool:
        """Take a timer off the pending ones; False when it was replaced or forgotten meanwhile."""
        found = self.pending.get((fired.actor, fired.key))
        if found is None or found[0] != fired.ts:
            return False
        del self.pending[fired.actor, fired.key]
        return True

    def snapshot(self) -> dict[str, Any]:
        pending = [[actor, key, at, number] for (actor, key), (at, number) in self.pending.items()]
        return {"timer_count": self._count, "timers": pending}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._count = snapshot["timer_count"]
        self.pending = {(actor, key): (at, number) for actor, key, at, number in snapshot["timers"]}
        self._order()

    def _order(self) -> None:
        self._heap = [(at, number, actor, key) for (actor, key), (at, number) in self.pending.items()]
        heapify(self._heap)
