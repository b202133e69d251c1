"""In which order requests by REST are made that mean something else in another order."""

from collections import deque
from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

Work = Callable[[], Awaitable[None]]


@define
class Lane:
    """Work that is done one after the other, in the order in which it was given."""

    _work: deque[Work] = field(factory=deque)
    _given: int = 0
    _done: int = 0
    _moved: trio.Event = field(factory=trio.Event)

    def give(self, work: Work) -> None:
        self._work.append(work)
        self._given += 1
        self._move()

    async def run(self) -> None:
        """Do the work as it is given, until cancelled."""
        while True:
            moved = self._moved
            while self._work:
                await self._work.popleft()()
                self._done += 1
                self._move()
            await moved.wait()

    async def passed(self) -> None:
        """Wait until all that was given before now is done."""
        ticket = self._given
        while self._done < ticket:
            await self._moved.wait()

    def _move(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()
