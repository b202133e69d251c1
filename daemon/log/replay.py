"""Whether a logged run, fed to the same actors again, does the same: every input number, every intent, every byte."""

from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from actors.cell import Cell, CellRestarted, Halt
from actors.dispatcher import Intent
from daemon.log.canonical import Record, input_line, intent_line, message_of
from daemon.log.reader import open_log
from venues.model.money import desk_arithmetic
from venues.port import Message

DIFFERENCES_MAX = 100


@frozen
class Difference:
    """At `seq` the log has the line `expected` and the replay `got`; None where one of them has nothing."""

    seq: int
    expected: str | None
    got: str | None


@frozen
class ReplayResult:
    """What came of a replay.

    `journal_sha256` is the replay's own, `logged_sha256` the log's. At most DIFFERENCES_MAX differences are listed,
    `differences_count` counts all. At the end of a log that was not sealed, `torn_bytes` were left out, and
    `records_behind` of the order path: market inputs before them never reached the disk (of a durable log there are
    none). `lost_rows` records of the journal are gone.
    """

    inputs: int
    intents: int
    differences: tuple[Difference, ...]
    differences_count: int
    journal_sha256: str
    logged_sha256: str
    is_sealed: bool
    torn_bytes: int = 0
    records_behind: int = 0
    lost_rows: int = 0
    halt: Halt | None = None

    @property
    def is_identical(self) -> bool:
        return self.differences_count == 0 and self.journal_sha256 == self.logged_sha256


@define
class _Comparison:
    """Two streams of (seq, line), each rising, compared by number as they come; neither is kept longer than needed."""

    expected: deque[tuple[int, bytes]] = field(factory=deque)
    got: list[tuple[int, bytes]] = field(factory=list)
    differences: list[Difference] = field(factory=list)
    differences_count: int = 0

    def settle(self, below: int) -> Iterator[bytes]:
        """Compare everything numbered under `below`, of which nothing more will come; yield the replay's lines."""
        while True:
            left = self.expected[0] if self.expected and self.expected[0][0] < below else None
            right = self.got[0] if self.got and self.got[0][0] < below else None
            if left is None and right is None:
                return
            if left is not None and (right is None or left[0] < right[0]):
                self.expected.popleft()
                self._differ(left[0], left[1], None)
            elif right is not None and (left is None or right[0] < left[0]):
                heappop(self.got)
                self._differ(right[0], None, right[1])
                yield right[1]
            elif left is not None and right is not None:
                self.expected.popleft()
                heappop(self.got)
                if left[1] != right[1]:
                    self._differ(left[0], left[1], right[1])
                yield right[1]

    def _differ(self, seq: int, expected: bytes | None, got: bytes | None) -> None:
        self.differences_count += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(seq, _text(expected), _text(got)))


def _text(line: bytes | None) -> str | None:
    return None if line is None else line.decode()


class Player:
    """Feeds a log to one cell and compares what is numbered below `compared_below`.

    It is the cell's sink, so that what the cell takes is compared as well.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.inputs = 0
        self.intents = 0
        self.last_taken = 0
        self.compared_below = 1 << 63
        self._comparison = _Comparison()
        self._sha256 = sha256()
        cell.sink = self

    @property
    def differences(self) -> list[Difference]:
        """The first DIFFERENCES_MAX found until now, of `differences_count`."""
        return self._comparison.differences

    @property
    def differences_count(self) -> int:
        return self._comparison.differences_count

    @property
    def left_over(self) -> int:
        """How many lines the cell was ahead when `finish` was called."""
        return len(self._comparison.got)

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        self.last_taken = seq
        heappush(self._comparison.got, (seq, input_line(seq, now, is_held, message)))

    def start(self, now: int, snapshot: dict[str, Any] | None) -> None:
        """Let the cell begin as the run did. Raises SnapshotError."""
        self._note(self.cell.start(now, snapshot))

    def take(self, record: Record) -> None:
        """Feed a record if it is an input, and expect it. Raises UnreadableRecordError."""
        if not record.is_intent:
            self._feed(record)
        self._comparison.expected.append((record.seq, record.line))

    def finish(self, end: int) -> str:
        """Deliver what waits, compare everything numbered under `end`; return the replay's own journal_sha256."""
        self._note(self.cell.finish_replay())
        self._settle(end)
        return self._sha256.hexdigest()

    def _feed(self, record: Record) -> None:
        self.inputs += 1
        if record.kind == CellRestarted.__name__:
            return
        assert record.now is not None
        self._note(self.cell.replay(record.now, message_of(record), record.is_held))
        if not record.is_held:
            self._settle(record.seq)

    def _note(self, intents: list[Intent]) -> None:
        for intent in intents:
            heappush(self._comparison.got, (intent.seq, intent_line(intent)))
        self.intents += len(intents)

    def _settle(self, below: int) -> None:
        for line in self._comparison.settle(min(below, self.compared_below)):
            self._sha256.update(line + b"\n")


@desk_arithmetic()
def check(folder: Path, build_cell: Callable[[str], Cell]) -> ReplayResult:
    """Replay the log in `folder` through the cell that `build_cell` makes of its configuration text, and compare.

    The run must have begun with `Cell.start(start_ns, snapshot)`, from the snapshot that the log was created with.
    Raises LogCorruptError for a log that is not what was written, UnreadableRecordError for an input that this build
    cannot read, and SnapshotError for a snapshot that it cannot.
    """
    log = open_log(folder)
    player = Player(build_cell(log.header.config_text))
    player.start(log.header.start_ns, log.first_snapshot())
    logged, last = sha256(), 0
    for record in log.records():
        last = record.seq
        player.take(record)
        logged.update(record.line + b"\n")
    # Where the log was cut off, the replay may know what came next; a whole log has to end where the replay does.
    replayed_sha256 = player.finish(1 << 63 if log.is_sealed else last + 1)
    return ReplayResult(
        player.inputs,
        player.intents,
        tuple(player.differences),
        player.differences_count,
        replayed_sha256,
        log.manifest.journal_sha256 if log.manifest is not None else logged.hexdigest(),
        log.is_sealed,
        log.torn_bytes,
        0 if log.is_sealed else sum(1 for _ in log.order_path(after=last)),
        log.lost_rows,
        player.cell.halt,
    )


def export(folder: Path) -> Iterator[bytes]:
    """Yield the canonical lines, each with its newline: their SHA-256 is the log's journal_sha256."""
    for record in open_log(folder).records():
        yield record.line + b"\n"
