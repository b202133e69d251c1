"""From what a desk goes on that was killed or stopped: the last usable snapshot of its log, and the records after it.

Intents are not sent again, but compared with the journal's: a cell that does not do what it did then is not the cell
whose orders are out there, and recovery refuses. An input on which the run halted is left out, so that it does not halt
every restart. Everything else is decided by asking the venues, once the desk runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from actors import control  # noqa: F401 - its messages are in the logs
from actors.cell import Cell, CellRestarted
from actors.snapshot import SnapshotError
from daemon.build import build_id
from daemon.log.canonical import Record
from daemon.log.errors import LogCorruptError, UnreadableRecordError
from daemon.log.reader import Log, open_log, open_unsealed
from daemon.log.replay import Difference, Player
from daemon.log.run_log import RUN_NAME
from daemon.log.snapshots import SNAPSHOT_NAME, StoredSnapshot
from venues.model.money import desk_arithmetic

SKIPPED_MAX = 8
"""Inputs left out of one replay at most: more are no poisoned input, but a build that does not work."""

LOG_NAME = "log"
_SHOWN_CHARS = 300
_IDENTITIES = (b'"client_order_id":"', b'"query_id":"')


class RecoveryError(Exception):
    """The log is whole, but this build cannot go on from it. `seq` is where they part, None when they never met."""

    def __init__(self, why: str, seq: int | None = None) -> None:
        super().__init__(why if seq is None else f"seq {seq}: {why}")
        self.seq = seq


@frozen
class Recovery:
    """The state after everything that was committed: `Cell.start(now, snapshot)` goes on from it.

    `seq` and `now` are the last used. `base_seq` is that of the snapshot the replay began with, 0 for the log's
    beginning; `inputs` and `intents` were replayed from there, `skipped` inputs left out. `pending` are order commands
    and queries of the replayed stretch without any report: they may have been sent or not. `is_complete` is False when
    the log is known to have held more than could be read; `warnings` say so and all else that a person should know.
    """

    folder: Path
    snapshot: dict[str, Any]
    now: int
    seq: int
    base_seq: int
    inputs: int
    intents: int
    skipped: tuple[int, ...]
    was_sealed: bool
    is_complete: bool
    warnings: tuple[str, ...]
    pending: tuple[str, ...]


@desk_arithmetic()
def recover(folder: Path, build_cell: Callable[[str], Cell]) -> Recovery:
    """Return the state in which the run that wrote the log in `folder` ended; `build_cell` is given its configuration.

    The log may be sealed or not, its end torn or not. Raises RecoveryError when the replay does something else than the
    run did, LogCorruptError when what is needed is damaged, FileNotFoundError without a log.
    """
    if not (folder / RUN_NAME).exists() and (folder / LOG_NAME / RUN_NAME).exists():
        folder /= LOG_NAME
    warnings: list[str] = []
    log = _open(folder, warnings)
    if log.lost_rows:
        warnings.append(f"the journal has lost its last {log.lost_rows} records: what followed is left out")
    skipped: list[int] = []
    while True:
        attempt = _Attempt(log, build_cell, warnings)
        try:
            attempt.run(frozenset(skipped))
        except UnreadableRecordError as error:
            raise RecoveryError(f"{error}. {_way_out(log)}") from error
        halt = attempt.player.cell.halt
        if halt is None:
            break
        if halt.seq in skipped or halt.seq not in attempt.taken or len(skipped) == SKIPPED_MAX:
            raise RecoveryError(f"the cell halts in every replay: {halt.why}", halt.seq)
        skipped.append(halt.seq)
    warnings += [f"the run halted at input {seq}, which is left out" for seq in skipped]
    return attempt.result(tuple(skipped), warnings)


def last_run(runs: Path) -> Path | None:
    """Return the folder of the last run below `runs` that has a log, None when there is none.

    A folder without run.json never began: its process died while it made the log.
    """
    return next((run for run in reversed(run_folders(runs)) if (run / LOG_NAME / RUN_NAME).exists()), None)


def next_run_folder(runs: Path) -> Path:
    """Return the folder that the next run is to have: 000001, 000002, ...; nothing is made."""
    existing = run_folders(runs)
    return runs / f"{int(existing[-1].name) + 1 if existing else 1:06d}"


def run_folders(runs: Path) -> list[Path]:
    """Return the folders of all runs in order, whatever is in them."""
    if not runs.is_dir():
        return []
    return sorted(
        (path for path in runs.iterdir() if path.name.isascii() and path.name.isdigit() and path.is_dir()),
        key=lambda path: int(path.name),
    )


def _open(folder: Path, warnings: list[str]) -> Log:
    try:
        return open_log(folder)
    except LogCorruptError as error:
        # A damaged snapshot is no harm while there is another; the records all have checksums of their own.
        if not error.record.startswith("snapshot ") and error.file.name != SNAPSHOT_NAME:
            raise
        warnings.append(str(error))
        return open_unsealed(folder)


def _way_out(log: Log) -> str:
    if log.header.build == build_id():
        return "The same build wrote the log: this is a fault. To begin afresh, move the runs folder aside"
    return (
        f"The log was written by build {log.header.build}, this is {build_id()}: start that build once more and stop "
        "it in order, which leaves a snapshot that needs no replay. To begin afresh, move the runs folder aside"
    )


@define
class _Pending:
    """Order commands and queries without a report yet, by what names them in the reports."""

    waiting: dict[bytes, bytes] = field(factory=dict)

    def note(self, record: Record) -> None:
        for identity in _IDENTITIES:
            begin = record.line.find(identity)
            if begin >= 0:
                name = record.line[begin : record.line.index(b'"', begin + len(identity))]
                if record.is_intent:
                    self.waiting[name] = record.line
                else:
                    self.waiting.pop(name, None)


class _Attempt:
    """One replay of the log into a fresh cell."""

    def __init__(self, log: Log, build_cell: Callable[[str], Cell], warnings: list[str]) -> None:
        self.taken: set[int] = set()
        self._log = log
        self._last = 0
        self._base_seq = 0
        self._pending = _Pending()
        self._ahead = 0
        self.player, self._base = self._begin(build_cell, warnings)

    def _begin(self, build_cell: Callable[[str], Cell], warnings: list[str]) -> tuple[Player, StoredSnapshot | None]:
        """Begin at the newest snapshot that can be used, else where the run began."""
        log = self._log
        for seq in log.snapshot_seqs():
            player = Player(build_cell(log.header.config_text))
            try:
                stored = log.snapshot(seq)
                player.start(stored.now, stored.plain)
            except (LogCorruptError, SnapshotError) as error:
                _warn(warnings, f"snapshot {seq} cannot be used: {error}")
                continue
            self._base_seq = self._last = seq
            return player, stored
        player = Player(build_cell(log.header.config_text))
        try:
            player.start(log.header.start_ns, log.first_snapshot())
        except SnapshotError as error:
            raise RecoveryError(f"no snapshot can be used: {error}. {_way_out(log)}") from error
        if player.cell.halt is not None:
            raise RecoveryError(f"{player.cell.halt.why}. {_way_out(log)}")
        return player, None

    def run(self, skipped: frozenset[int]) -> None:
        """Replay everything after the snapshot but the `skipped` inputs. Raises RecoveryError, UnreadableRecordError.

        What follows a skipped input is not compared: it may have depended on it.
        """
        player = self.player
        first = player.compared_below = min(skipped, default=player.compared_below)
        for record in self._log.records(self._base):
            self._last = record.seq
            self._pending.note(record)
            if player.cell.halt is not None:
                self._refuse_to_go_on(record)
            elif record.seq not in skipped and (record.root is None or record.root not in skipped):
                self._take(record, is_behind_skipped=record.seq > first)
        player.finish(self._last + 1)
        self._ahead = player.left_over
        self._refuse_difference()

    def _take(self, record: Record, *, is_behind_skipped: bool) -> None:
        player = self.player
        if is_behind_skipped and not record.is_intent:
            dispatcher = player.cell.dispatcher
            dispatcher.seq = max(dispatcher.seq, record.seq - 1)
        self.taken.add(record.seq)
        player.take(record)
        self._refuse_difference()
        if player.cell.halt is not None and not record.is_intent and player.last_taken < record.seq:
            self._refuse_to_go_on(record)

    def _refuse_to_go_on(self, record: Record) -> None:
        """The cell has halted: the run took no more inputs either, or it did not do the same."""
        halt = self.player.cell.halt
        if halt is not None and not record.is_intent and record.kind != CellRestarted.__name__:
            raise RecoveryError(
                f"the run went on here and the replay halted: {halt.why}. {_way_out(self._log)}", halt.seq
            )

    def _refuse_difference(self) -> None:
        if self.player.differences_count:
            first: Difference = self.player.differences[0]
            expected, got = ((line or "nothing")[:_SHOWN_CHARS] for line in (first.expected, first.got))
            raise RecoveryError(f"the journal has {expected} and the replay {got}. {_way_out(self._log)}", first.seq)

    def result(self, skipped: tuple[int, ...], warnings: list[str]) -> Recovery:
        cell, log = self.player.cell, self._log
        cell.dispatcher.seq = max(cell.dispatcher.seq, self._last)
        behind = 0 if log.is_sealed else sum(1 for _ in log.order_path(after=self._last))
        if behind:
            warnings.append(f"{behind} records could not be replayed: market inputs before them are missing")
        if self._ahead and not skipped:
            warnings.append(f"the log ends within a batch: {self._ahead} of its messages and intents were not written")
        warnings += [f"input {one.seq} is set aside, {one.actor} failed on it: {one.error}" for one in cell.quarantined]
        return Recovery(
            log.folder,
            cell.snapshot(),
            cell.dispatcher.now,
            cell.dispatcher.seq,
            self._base_seq,
            self.player.inputs,
            self.player.intents,
            skipped,
            log.is_sealed,
            not behind and not log.lost_rows,
            tuple(warnings),
            tuple(line.decode() for line in self._pending.waiting.values()),
        )


def _warn(warnings: list[str], text: str) -> None:
    if text not in warnings:
        warnings.append(text)


__all__ = ["Recovery", "RecoveryError", "last_run", "next_run_folder", "recover", "run_folders"]
