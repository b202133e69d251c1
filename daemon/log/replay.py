"""Whether a logged run, fed to the same actors again, does the same: every input number, every intent, every byte."""

from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path

from attrs import define, field, frozen

from actors.cell import Cell, CellRestarted, Halt
from actors.dispatcher import Intent
from daemon.log.canonical import Record, input_line, intent_line, message_of
from daemon.log.reader import Log, open_log
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


class _Replay:
    """One cell being fed a log; it is the cell's sink, so that what the cell takes is compared as well."""

    def __init__(self, log: Log, cell: Cell) -> None:
        self._log = log
        self._cell = cell
        self._comparison = _Comparison()
        self._logged = sha256()
        self._replayed = sha256()
        self._inputs = 0
        self._intents = 0
        cell.sink = self

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        heappush(self._comparison.got, (seq, input_line(seq, now, is_held, message)))

    def run(self) -> ReplayResult:
        self._note(self._cell.start(self._log.header.start_ns, self._log.first_snapshot()))
        last = 0
        for record in self._log.records():
            last = record.seq
            if not record.is_intent:
                self._feed(record)
            self._logged.update(record.line + b"\n")
            self._comparison.expected.append((record.seq, record.line))
        self._note(self._cell.finish_replay())
        # Where the log was cut off, the replay may know what came next; a whole log has to end where the replay does.
        end = 1 << 63 if self._log.is_sealed else last + 1
        self._settle(end)
        manifest = self._log.manifest
        behind = 0 if self._log.is_sealed else sum(record.seq > last for record in self._log.order_path())
        return ReplayResult(
            self._inputs,
            self._intents,
            tuple(self._comparison.differences),
            self._comparison.differences_count,
            self._replayed.hexdigest(),
            manifest.journal_sha256 if manifest is not None else self._logged.hexdigest(),
            self._log.is_sealed,
            self._log.torn_bytes,
            behind,
            self._log.lost_rows,
            self._cell.halt,
        )

    def _feed(self, record: Record) -> None:
        self._inputs += 1
        if record.kind == CellRestarted.__name__:
            return
        assert record.now is not None
        self._note(self._cell.replay(record.now, message_of(record), record.is_held))
        if not record.is_held:
            self._settle(record.seq)

    def _note(self, intents: list[Intent]) -> None:
        for intent in intents:
            heappush(self._comparison.got, (intent.seq, intent_line(intent)))
        self._intents += len(intents)

    def _settle(self, below: int) -> None:
        for line in self._comparison.settle(below):
            self._replayed.update(line + b"\n")


@desk_arithmetic()
def check(folder: Path, build_cell: Callable[[str], Cell]) -> ReplayResult:
    """Replay the log in `folder` through the cell that `build_cell` makes of its configuration text, and compare.

    The run must have begun with `Cell.start(start_ns, snapshot)`, from the snapshot that the log was created with.
    Raises LogCorruptError for a log that is not what was written, UnreadableRecordError for an input that this build
    cannot read, and SnapshotError for a snapshot that it cannot.
    """
    log = open_log(folder)
    return _Replay(log, build_cell(log.header.config_text)).run()


def export(folder: Path) -> Iterator[bytes]:
    """Yield the canonical lines, each with its newline: their SHA-256 is the log's journal_sha256."""
    for record in open_log(folder).records():
        yield record.line + b"\n"
