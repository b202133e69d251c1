"""The log of one run: every input the dispatcher took and every intent it emitted, in order.

A log is a folder:

    snapshot.json       the cell's state at the start, where it did not begin afresh
    journal.sqlite      order-path inputs, timers, control, and intents, see `journal_schema`; now and then a snapshot
    market-NNNNNN.seg   market inputs (lane FEED), see `segments`
    run.json            what a replay needs: build, configuration text and hash, start; without it there is no log
    manifest.json       written last: size and SHA-256 of every file, journal_sha256; a log without it was not closed

Records are decided on at `commit`: first SQLite (one transaction), then the segments. So whatever the segments hold,
the order path before it is in SQLite, and a log cut short anywhere is a true prefix of the run. In a durable log the
transaction takes along the market inputs that no segment on the disk has yet (`bridges`): a commit has all before it.
"""

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from attrs import evolve, field, frozen

from actors.dispatcher import Intent
from daemon.log.bridges import BridgePacker
from daemon.log.canonical import input_line, intent_line
from daemon.log.checked import write_checked
from daemon.log.disk import file_sha256, sync_folder
from daemon.log.errors import LogWriteError, UnreadableRecordError
from daemon.log.journal import JournalWriter, Row, checksum
from daemon.log.segments import FORMAT, SEGMENT_BYTES_MAX, SegmentWriter
from daemon.log.snapshots import SNAPSHOT_NAME, pack, write_first
from venues.port import Lane, Message

RUN_NAME = "run.json"
MANIFEST_NAME = "manifest.json"
FLUSH_BYTES = 256 * 1024
DURABLE_FLUSH_BYTES = 64 * 1024
"""A durable log brings market inputs to the disk in smaller portions, so that a commit has few to take along."""
SYNC_NS = 1_000_000_000
_FEED = Lane.FEED
_NEVER = 1 << 63


@frozen
class RunHeader:
    """`run.json`. `config_text` is the resolved configuration, opaque to the log.

    `mode` is backtest, paper or run; `snapshot_sha256` that of snapshot.json, empty for a run that began afresh.
    """

    format: int
    build: str
    config_sha256: str
    config_text: str
    start_ns: int
    mode: str = "backtest"
    snapshot_sha256: str = ""
    checksum: str = ""


@frozen
class FileSeal:
    bytes: int
    sha256: str


@frozen
class Manifest:
    """`manifest.json`: what a closed log consists of."""

    format: int
    journal_sha256: str
    start_ns: int
    last_seq: int
    inputs: int
    market_inputs: int
    intents: int
    files: dict[str, FileSeal] = field(factory=dict)
    checksum: str = ""


class RunLog:
    """Writes a log. It is the dispatcher's sink; the driver gives it the intents and commits before it sends them.

    Anything that fails raises LogWriteError, and so does every call after that: what was committed stays readable.
    """

    def __init__(
        self, folder: Path, header: RunHeader, snapshot: dict[str, Any] | None, *, is_durable: bool, segment_bytes: int
    ) -> None:
        self.folder = folder
        self.is_durable = is_durable
        self.intents_count = 0
        self._start_ns = header.start_ns
        self._unusable = ""
        self._sha256 = sha256()
        # Lines not hashed yet with their numbers: the market's, not in a block yet either, and the others'; rows not
        # in SQLite yet.
        self._others: list[tuple[int, bytes]] = []
        self._market_seqs: list[int] = []
        self._market_lines: list[bytes] = []
        self._rows: list[Row] = []
        # How many of the waiting market lines are in bridges, and whether there are bridges that segments have too.
        self._bridged = 0
        self._has_stale_bridges = False
        self._packer = BridgePacker()
        self._raw_bytes = 0
        self._hashed_count = 0
        self._hashed_seq = 0
        self._last_seq = 0 if snapshot is None else int(snapshot["seq"])
        self._now = header.start_ns
        self._sync_due = header.start_ns + SYNC_NS if is_durable else _NEVER
        self._seals: dict[str, tuple[int, str]] = {}
        self._journal: JournalWriter | None = None
        self._segments: SegmentWriter | None = None
        try:
            if snapshot is not None:
                self._seals[SNAPSHOT_NAME] = write_first(folder, snapshot)
                header = evolve(header, snapshot_sha256=self._seals[SNAPSHOT_NAME][1])
            self._journal = JournalWriter(folder, is_durable=is_durable)
            self._segments = SegmentWriter(
                folder, header.build, header.config_sha256, is_durable=is_durable, segment_bytes=segment_bytes
            )
            sync_folder(folder)
            # Last: a folder that has it is a log, whatever happens next.
            self._seals[RUN_NAME] = write_checked(folder / RUN_NAME, header)
        except (OSError, sqlite3.Error, UnreadableRecordError) as error:
            self._fail(error)

    @classmethod
    def create(
        cls,
        folder: Path,
        config_text: str,
        config_sha256: str,
        build: str,
        start_ns: int,
        *,
        durable: bool,
        segment_bytes: int = SEGMENT_BYTES_MAX,
        mode: str = "backtest",
        snapshot: dict[str, Any] | None = None,
    ) -> "RunLog":
        """Begin a log in `folder`, which must be new or empty.

        `durable`: a commit that has order-path inputs or intents is on the disk when it returns, with everything before
        it; other market inputs follow within a second of the run's clock. Without it, commits are gathered and survive
        a killed process only up to the last gathering: for backtests. `snapshot` is the state that the cell begins
        from (`Cell.start(now, snapshot)`); its sequence numbers go on. Raises LogWriteError.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_empty = next(folder.iterdir(), None) is None
        except OSError as error:
            raise LogWriteError(f"{folder}: {error}") from error
        if not is_empty:
            raise LogWriteError(f"{folder} is not empty: a log is never written over")
        header = RunHeader(FORMAT, build, config_sha256, config_text, start_ns, mode)
        return cls(folder, header, snapshot, is_durable=durable, segment_bytes=segment_bytes)

    @property
    def inputs_count(self) -> int:
        """How many inputs were noted."""
        return self._hashed_count + len(self._market_lines) + len(self._others) - self.intents_count

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        """Note an input; the dispatcher calls this for each one it takes."""
        if seq <= self._last_seq:
            self._refuse(seq)
        try:
            line = input_line(seq, now, is_held, message)
        except UnreadableRecordError as error:
            self._fail(error)
        self._last_seq = seq
        self._now = now
        self._raw_bytes += len(line)
        if message.lane is _FEED:
            self._market_seqs.append(seq)
            self._market_lines.append(line)
        else:
            self._note_row(seq, line)

    def intents(self, intents: Sequence[Intent]) -> None:
        """Note what is about to be sent: everything that followed from the inputs since the last commit."""
        if self._unusable:
            self._refuse(0)
        try:
            for intent in intents:
                seq, line = intent.seq, intent_line(intent)
                self._raw_bytes += len(line)
                self._note_row(seq, line)
                self._last_seq = max(self._last_seq, seq)
        except UnreadableRecordError as error:
            self._fail(error)
        self.intents_count += len(intents)

    def commit(self) -> None:
        """Decide on everything noted so far. In a durable log the order path is on the disk when this returns.

        What can wait, waits for a commit without an order path: to be called after every input, or batch of them.
        """
        limit, due = FLUSH_BYTES, self._sync_due
        if self.is_durable:
            if self._rows:
                self._write_rows()
                due += SYNC_NS
            else:
                limit = min(limit, DURABLE_FLUSH_BYTES)
                if self._has_stale_bridges:
                    self._drop_bridges()
        if self._raw_bytes >= limit or self._now >= due:
            self._flush(is_synced=self.is_durable)

    def sync(self) -> None:
        """Commit, and bring the market inputs to the disk as well; for a quiet market and a clock outside."""
        self._flush(is_synced=True)

    def write_snapshot(self, seq: int, now: int, plain: dict[str, Any]) -> None:
        """Store the state after everything noted so far; `seq` and `now` are the dispatcher's.

        Everything noted so far is committed first; the journal keeps the last snapshots only. Raises
        UnreadableRecordError for a state that has no JSON form: the log goes on without it.
        """
        if not self._unusable and seq < self._last_seq:
            self._refuse(seq)
        self._flush(is_synced=True)
        assert self._segments is not None
        assert self._journal is not None
        row = pack(seq, now, self._segments.written, plain)
        try:
            self._journal.write_snapshot(row)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)

    def close(self) -> str:
        """Commit, seal the log and return its journal_sha256."""
        self._flush(is_synced=False)
        assert self._segments is not None
        assert self._journal is not None
        try:
            files = self._segments.seal() | self._seals
            self._journal.seal()
            files[self._journal.path.name] = file_sha256(self._journal.path)
            journal_sha256 = self._sha256.hexdigest()
            write_checked(
                self.folder / MANIFEST_NAME,
                Manifest(
                    FORMAT,
                    journal_sha256,
                    self._start_ns,
                    self._hashed_seq,
                    self.inputs_count,
                    self._segments.written,
                    self.intents_count,
                    {name: FileSeal(*seal) for name, seal in files.items()},
                ),
            )
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
        self.abandon("it was closed")
        return journal_sha256

    def abandon(self, why: str = "it was abandoned") -> None:
        """Let go of the files as they are; what was not committed is lost. Harmless when repeated."""
        self._unusable = self._unusable or why
        # So that neither `input` nor `commit` has to look whether the log is usable.
        self._last_seq = self._raw_bytes = _NEVER
        self._rows.clear()
        self._has_stale_bridges = False
        try:
            if self._segments is not None:
                self._segments.close()
            if self._journal is not None:
                self._journal.abandon()
        except (OSError, sqlite3.Error) as error:
            self._unusable += f"; {error}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._unusable:
            self.abandon()

    def _note_row(self, seq: int, line: bytes) -> None:
        assert self._segments is not None
        seqs = self._market_seqs
        # As a rule all of them: what is noted came last.
        before = len(seqs) if not seqs or seqs[-1] < seq else bisect_left(seqs, seq)
        market = self._segments.written + before
        self._rows.append((seq, market, checksum(line, market), line.decode()))
        self._others.append((seq, line))

    def _flush(self, *, is_synced: bool) -> None:
        if self._unusable:
            self._refuse(0)
        self._write_rows()
        self._hash()
        assert self._segments is not None
        assert self._journal is not None
        try:
            seqs, lines = self._market_seqs, self._market_lines
            start = 0
            for end in self._block_ends():
                self._segments.write(seqs[start], seqs[end - 1], lines[start:end], self._journal.rows)
                start = end
            if is_synced:
                self._segments.sync()
        except OSError as error:
            self._fail(error)
        seqs.clear()
        lines.clear()
        self._raw_bytes = 0
        self._has_stale_bridges |= self._bridged > 0
        self._bridged = 0
        if self.is_durable:
            self._sync_due = self._now + SYNC_NS

    def _block_ends(self) -> list[int]:
        """Return where the blocks of the waiting market lines end: one block, unless a flush came late."""
        lines = self._market_lines
        if not lines or self._raw_bytes < 2 * FLUSH_BYTES:
            return [len(lines)] if lines else []
        ends, size = [], 0
        for end, line in enumerate(lines, start=1):
            size += len(line)
            if size >= FLUSH_BYTES or end == len(lines):
                ends.append(end)
                size = 0
        return ends

    def _write_rows(self) -> None:
        rows, lines, bridged = self._rows, self._market_lines, self._bridged
        if not rows:
            return
        assert self._journal is not None
        bridge = None
        if self.is_durable and len(lines) > bridged:
            assert self._segments is not None
            bridge = self._packer.pack(self._market_seqs[-1], self._segments.written + bridged, lines[bridged:])
            self._bridged = len(lines)
        try:
            self._journal.write(rows, bridge, drops_bridges=self._has_stale_bridges)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
        self._has_stale_bridges = False
        rows.clear()

    def _drop_bridges(self) -> None:
        assert self._journal is not None
        try:
            self._journal.drop_bridges()
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
        self._has_stale_bridges = False

    def _hash(self) -> None:
        """Hash what waits by rising number: intents were noted after the inputs that were dispatched together."""
        seqs, waiting = self._market_seqs, self._market_lines
        lines: list[bytes] = []
        start, last = 0, self._hashed_seq
        for seq, line in sorted(self._others):
            end = bisect_right(seqs, seq, start)
            if end > start:
                last = seqs[end - 1]
            if seq <= last:
                self._fail(ValueError(f"seq {seq} does not follow {last}"))
            lines += waiting[start:end]
            lines.append(line)
            start, last = end, seq
        lines += waiting[start:]
        self._others.clear()
        if lines:
            self._hashed_seq = seqs[-1] if start < len(seqs) else last
            self._hashed_count += len(lines)
            self._sha256.update(b"\n".join(lines))
            self._sha256.update(b"\n")

    def _refuse(self, seq: int) -> NoReturn:
        if self._unusable:
            raise LogWriteError(f"{self.folder} takes no more records: {self._unusable}")
        self._fail(ValueError(f"seq {seq} does not follow {self._last_seq}"))

    def _fail(self, error: Exception) -> NoReturn:
        self.abandon(f"{type(error).__name__}: {error}")
        raise LogWriteError(f"{self.folder}: {self._unusable}") from error
