"""Which timers of a cell are pending, and which one is due next."""

from heapq import heapify, heappop, heappush
from typing import Any

from attrs import define, field

from actors.base import TimerFired

_HEAP_SLACK = 256

Staged = tuple[str, str, int | None]
"""What an actor asked for: its name, the timer's key, when (ns UTC), None to forget it."""


_Key = tuple[str, str]
_Pending = tuple[int, int, _Key]
"""When (ns UTC), number, actor and key."""


@define
class Timers:
    """One pending timer for each actor and key; of timers due at one instant the one set first fires first.

    `pending` is the truth. The heap may also hold timers replaced or forgotten since.
    """

    pending: dict[_Key, _Pending] = field(factory=dict)
    _heap: list[_Pending] = field(factory=list)
    _count: int = 0

    def set(self, actor: str, key: str, at: int | None) -> None:
        """Do what an actor asked for."""
        owner = (actor, key)
        if at is None:
            self.pending.pop(owner, None)
        else:
            self._count += 1
            self.pending[owner] = timer = (at, self._count, owner)
            heappush(self._heap, timer)
        if len(self._heap) > 2 * len(self.pending) + _HEAP_SLACK:
            self._order()

    def next_ns(self) -> int | None:
        """Return when the earliest pending timer is due, None without one."""
        heap = self._heap
        while heap:
            timer = heap[0]
            if self.pending.get(timer[2]) is timer:
                return timer[0]
            heappop(heap)
        return None

    def due(self, now: int) -> list[TimerFired]:
        """Return the timers due at or before `now`, earliest first, once; they stay pending until `take`."""
        heap = self._heap
        fired: list[TimerFired] = []
        while heap and heap[0][0] <= now:
            timer = heappop(heap)
            if self.pending.get(timer[2]) is timer:
                fired.append(TimerFired(timer[0], *timer[2]))
        return fired

    def take(self, fired: TimerFired) -> bool:
        """Take a timer off the pending ones; False when it was replaced or forgotten meanwhile."""
        owner = (fired.actor, fired.key)
        found = self.pending.get(owner)
        if found is None or found[0] != fired.ts:
            return False
        del self.pending[owner]
        return True

    def snapshot(self) -> dict[str, Any]:
        pending = [[actor, key, at, number] for at, number, (actor, key) in self.pending.values()]
        return {"timer_count": self._count, "timers": pending}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._count = snapshot["timer_count"]
        self.pending = {(actor, key): (at, number, (actor, key)) for actor, key, at, number in snapshot["timers"]}
        self._order()

    def _order(self) -> None:
        self._heap = list(self.pending.values())
        heapify(self._heap)
