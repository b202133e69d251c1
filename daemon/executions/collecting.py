"""Which records of a cell's tracker are new, and which went by unseen."""

from collections import deque
from collections.abc import Callable

from attrs import define, field

from actors.cell import Cell
from actors.execution_tracker import ExecutionTracker
from actors.tracker_records import Record

WAITING_MAX = 100_000
"""Records that wait to be written; beyond these the oldest are let go, and a rebuild brings them back."""


@define
class Collector:
    """Takes what the tracker has newly recorded, to be called between two runs of the cell: then its state is whole.

    `seen` is the last number taken. `on_gap` is told the range of numbers, above the first up to the second, of which
    some were kept no more, and why.
    """

    cell: Cell
    seen: int
    on_gap: Callable[[int, int, str], None]
    waiting: deque[Record] = field(factory=deque)

    def collect(self) -> bool:
        """Take what is new; False when nothing is."""
        tracker = self.cell.dispatcher.actors["execution_tracker"]
        assert isinstance(tracker, ExecutionTracker)
        state = tracker.state
        if state.last == self.seen:
            return False
        if self.seen < state.forgotten:
            self.on_gap(self.seen, state.forgotten, "they had been forgotten before they were read")
        self.waiting.extend(state.since(self.seen))
        self.seen = state.last
        if len(self.waiting) > WAITING_MAX:
            first = self.waiting[0].number
            while len(self.waiting) > WAITING_MAX:
                last = self.waiting.popleft().number
            self.on_gap(first - 1, last, "too many waited to be written")
        return True

    def take(self, most: int) -> tuple[list[Record], int]:
        """Return at most `most` waiting records, the oldest, and up to which number nothing else waits."""
        taken = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        return taken, self.waiting[0].number - 1 if self.waiting else self.seen

    def put_back(self, records: list[Record]) -> None:
        """Let records wait again that could not be written."""
        self.waiting.extendleft(reversed(records))
