"""How the executions' database is made again from the logs: by replay, into whatever is there."""

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from actors.snapshot import SnapshotError
from daemon.app import build_cell
from daemon.config import ConfigErrors, parse
from daemon.executions import DATABASE_NAME
from daemon.executions.collecting import Collector
from daemon.executions.rows import RowMaker
from daemon.executions.store import ExecutionStore, move_aside
from daemon.exits import FAILED
from daemon.kinds import KINDS
from daemon.live.recovery import LOG_NAME, run_folders
from daemon.log.canonical import message_of
from daemon.log.errors import LogCorruptError, UnreadableRecordError
from daemon.log.reader import open_unsealed
from daemon.log.run_log import RUN_NAME
from venues.model.money import desk_arithmetic

_BATCH = 256
_RESTARTED = "CellRestarted"
_BUSY_MS = 5_000


@define
class Rebuilt:
    """What a rebuild did: logs replayed, records written, and why logs could not be read.

    The last logs in a row that could be read hold all records above `low` up to `high`.
    """

    logs: int = 0
    records: int = 0
    problems: list[str] = field(factory=list)
    low: int = 0
    high: int = 0


def rebuild(path: Path, logs: Sequence[Path]) -> Rebuilt:
    """Replay `logs`, the oldest first, and write every execution into the database at `path`.

    It may be in use: rows that are there are replaced by the same or by newer ones. A log that cannot be read is
    left out and named, and the gaps stay noted. A file that is no database of ours is moved aside.
    Raises sqlite3.Error, OSError when nothing can be written.
    """
    done = Rebuilt()
    store: ExecutionStore | None = None
    for log in logs:
        try:
            store = _replay(path, log, store, done)
        except (LogCorruptError, UnreadableRecordError, SnapshotError, ConfigErrors, FileNotFoundError) as error:
            done.problems.append(f"{log}: {error}")
    if store is not None:
        store.close()
    return done


@desk_arithmetic()
def _replay(path: Path, folder: Path, store: ExecutionStore | None, done: Rebuilt) -> ExecutionStore:
    log = open_unsealed(folder)
    config = parse(log.header.config_text, folder, KINDS, needs_files=False)
    if store is None:
        store = _open(path, RowMaker.of(config))
    store.maker = RowMaker.of(config)
    cell = build_cell(config)
    cell.start(log.header.start_ns, log.first_snapshot())
    collector = Collector(cell, 0, lambda low, high, why: None)
    first = cell.dispatcher.actors["execution_tracker"].state.forgotten
    for record in log.records():
        if record.is_intent or record.kind == _RESTARTED:
            continue
        assert record.now is not None
        cell.replay(record.now, message_of(record), record.is_held)
        collector.collect()
        if len(collector.waiting) >= _BATCH:
            _write(store, collector, done)
    cell.finish_replay()
    collector.collect()
    _write(store, collector, done)
    done.low, done.high = done.low if first <= done.high else first, collector.seen
    store.fill_gaps(done.low, done.high)
    done.logs += 1
    return store


def _open(path: Path, maker: RowMaker) -> ExecutionStore:
    try:
        store = ExecutionStore(path, maker)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        move_aside(path)
        store = ExecutionStore(path, maker)
    store.wait(_BUSY_MS)
    return store


def _write(store: ExecutionStore, collector: Collector, done: Rebuilt) -> None:
    done.records += len(collector.waiting)
    store.write(*collector.take(len(collector.waiting)))


def logs_of(state: Path) -> tuple[Path, list[Path]]:
    """Return where the database of a state folder, of a run or of a log belongs, and the logs it is made from."""
    for log in (state, state / LOG_NAME):
        if (log / RUN_NAME).exists():
            return log.parent / DATABASE_NAME, [log]
    runs = [run / LOG_NAME for run in run_folders(state / "runs")]
    return state / DATABASE_NAME, [log for log in runs if (log / RUN_NAME).exists()]


def first_needed(logs: Sequence[Path], number: int) -> list[Path]:
    """Return the logs that hold the records above `number`: those from the last one that began at or below it on."""
    for at in range(len(logs) - 1, 0, -1):
        try:
            snapshot = open_unsealed(logs[at]).first_snapshot()
        except (LogCorruptError, FileNotFoundError):
            continue
        tracker = (snapshot or {}).get("actors", {}).get("execution_tracker")
        if tracker is not None and tracker["state"]["last"] <= number:
            return list(logs[at:])
    return list(logs)


def main(arguments: argparse.Namespace) -> int:
    """`basisd executions rebuild FOLDER`: 1 when a log could not be read."""
    path, logs = logs_of(Path(arguments.folder))
    if arguments.above:
        logs = first_needed(logs, arguments.above)
    if not logs:
        print(f"basisd: no logs in {arguments.folder}", file=sys.stderr)
        return FAILED
    if arguments.nice:
        os.nice(arguments.nice)
    try:
        done = rebuild(path, logs)
    except (sqlite3.Error, OSError) as error:
        print(f"basisd: {path}: {error}", file=sys.stderr)
        return FAILED
    for problem in done.problems:
        print(f"basisd: left out: {problem}", file=sys.stderr)
    print(f"{path}: {done.records} records from {done.logs} logs")
    return FAILED if done.problems else 0
