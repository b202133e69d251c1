"""How executions are kept: a SQLite file that may be behind the log, never beside the truth, and can be made anew.

A file that is no database of ours any more is moved aside, not repaired. Whoever writes knows up to which number of
record the file is complete, and which numbers are missing.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from actors.tracker_records import Record
from daemon.executions.rows import RowMaker, rows_of
from daemon.executions.schema import APPLICATION_ID, KEYS, STEPS, TABLES, typed
from daemon.log.schema import open_database
from venues.model.money import desk_arithmetic


def _upsert(table: str) -> str:
    columns, keys = typed(table), KEYS[table]
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed} WHERE excluded.number >= {table}.number"
    )


_UPSERTS = {name: _upsert(name) for name in TABLES}


class ExecutionStore:
    """The file while it is written; it waits for nobody. Every method raises sqlite3.Error, OSError.

    A commit survives a killed process at once and a power cut once the write-ahead log was folded (`checkpoint`).
    """

    def __init__(self, path: Path, maker: RowMaker) -> None:
        self.path = path
        self.maker = maker
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = open_database(path, APPLICATION_ID, STEPS, synchronous="NORMAL")
        self._connection.execute("PRAGMA busy_timeout = 0")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")

    def wait(self, ms: int) -> None:
        """From now on wait so long for another writer, where nobody waits for us."""
        self._connection.execute(f"PRAGMA busy_timeout = {ms}")

    @property
    def number(self) -> int:
        """Up to which record everything was written, but for the gaps."""
        found: int = self._connection.execute("SELECT number FROM progress").fetchone()[0]
        return found

    @desk_arithmetic()
    def write(self, records: Iterable[Record], upto: int = 0) -> None:
        """Write records in one transaction; from then on everything up to the number `upto` is there."""
        rows = rows_of(self.maker, records)
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for table, row in rows:
                run(_UPSERTS[table], row)
            run("UPDATE progress SET number = max(number, ?)", (upto,))
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise

    def note_gap(self, low: int, high: int, why: str) -> None:
        """Note that the records above `low` up to `high` are not there; repeated, it is noted once."""
        self._connection.execute(
            "INSERT INTO gaps SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM gaps WHERE low <= ? AND high >= ?)",
            (low, high, why, low, high),
        )

    def gaps(self) -> list[tuple[int, int]]:
        """Return the ranges of numbers that are missing."""
        return [tuple(row) for row in self._connection.execute("SELECT low, high FROM gaps ORDER BY low")]

    def fill_gaps(self, low: int, high: int) -> None:
        """Forget the gaps within `low` to `high`: what belongs there has been written."""
        self._connection.execute("DELETE FROM gaps WHERE low >= ? AND high <= ?", (low, high))

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it. Harmless when repeated."""
        self._connection.close()


def checkpoint(path: Path) -> None:
    """Fold what was committed into the file, from any thread, in nobody's way. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        connection.close()


def open_store(path: Path, maker: RowMaker, last: int) -> tuple[ExecutionStore, Path | None]:
    """Open the file of a tracker whose newest record is `last`; also return where an unusable one was moved, if any.

    Unusable is what is no database of ours, and one that knows more records than there are: it is another history's.
    Raises sqlite3.Error, OSError when no file can be written at all.
    """
    store: ExecutionStore | None = None
    try:
        store = ExecutionStore(path, maker)
        if store.number <= last:
            return store, None
    except sqlite3.OperationalError:
        # Locked, or no disk: the file may be as good as ever.
        raise
    except sqlite3.DatabaseError:
        pass
    if store is not None:
        store.close()
    aside = move_aside(path)
    return ExecutionStore(path, maker), aside


def move_aside(path: Path) -> Path:
    """Rename the file and its companions; return its new name. Raises OSError."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(aside)
    for companion in ("-wal", "-shm"):
        other = path.with_name(path.name + companion)
        if other.exists():
            other.rename(aside.with_name(aside.name + companion))
    return aside
