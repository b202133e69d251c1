"""How the journal is written and read: rows of records, bridges and snapshots, each with its own checksum."""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from daemon.log import bridges, snapshots
from daemon.log.bridges import Bridge, BridgeRow, of_version_2
from daemon.log.disk import sync_folder
from daemon.log.errors import LogCorruptError
from daemon.log.journal_schema import (
    APPLICATION_ID,
    JOURNAL_NAME,
    SCHEMA_VERSION,
    STEPS,
    has_entries,
    has_snapshots,
)
from daemon.log.schema import FILE_MODE, WAL_BYTES, open_database, open_readonly
from daemon.log.snapshots import KEPT, SnapshotRow, StoredSnapshot

_SEAL_WAIT_MS = 1_000

Row = tuple[int, int, int, str]
"""seq, market inputs before it, crc32, canonical line."""

_FEW = 4
_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?)"
_INSERTS = [_INSERT + ", (?, ?, ?, ?)" * more for more in range(_FEW)]
"""A single statement is a transaction by itself: two statements less to run before an order is sent."""
_DELETE = "DELETE FROM entries WHERE seq = ?"


def checksum(line: bytes, market: int) -> int:
    """Return the crc32 of a row."""
    return zlib.crc32(line, market & 0xFFFFFFFF)


class JournalWriter:
    """The SQLite file while it is written. Raises sqlite3.Error, OSError."""

    def __init__(self, folder: Path, *, is_durable: bool) -> None:
        self.path = folder / JOURNAL_NAME
        self.rows = 0
        self._bridge_seqs: list[tuple[int]] = []
        self._is_closed = False
        synchronous, wal_bytes = ("FULL", WAL_BYTES) if is_durable else ("OFF", 0)
        self._connection = open_database(self.path, APPLICATION_ID, STEPS, synchronous=synchronous, wal_bytes=wal_bytes)
        # One for all commits: each statement of the connection itself would make its own.
        self._cursor = self._connection.cursor()

    def write(self, rows: Sequence[Row], bridge: BridgeRow | None = None, *, drops_bridges: bool = False) -> None:
        """Write rows and a bridge in one transaction; on return they are as durable as the log promises.

        `drops_bridges`: what the bridges until now hold is on the disk elsewhere.
        """
        entries = rows if bridge is None else (bridge, *rows)
        run = self._cursor.execute
        if len(entries) <= _FEW and not drops_bridges:
            run(_INSERTS[len(entries) - 1], tuple(chain.from_iterable(entries)))
        else:
            run("BEGIN IMMEDIATE")
            if drops_bridges:
                self._delete_bridges()
            self._cursor.executemany(_INSERT, entries)
            run("COMMIT")
        if bridge is not None:
            self._bridge_seqs.append(bridge[:1])
        self.rows += len(rows)

    def drop_bridges(self) -> None:
        """Forget the bridges: what they hold is on the disk elsewhere.

        Nothing is waited for: it comes to the disk with the next rows, and a bridge that outlives it does no harm.
        """
        run = self._cursor.execute
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN IMMEDIATE")
        self._delete_bridges()
        run("COMMIT")
        run("PRAGMA synchronous = FULL")

    def _delete_bridges(self) -> None:
        self._cursor.executemany(_DELETE, self._bridge_seqs)
        self._bridge_seqs.clear()

    def write_snapshot(self, row: SnapshotRow) -> None:
        """Write a snapshot in a transaction of its own, and forget those before the last."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        run("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)", row)
        run(f"DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT {KEPT})")
        run("COMMIT")

    def seal(self) -> None:
        """Fold the write-ahead log into the one file and close it."""
        run = self._connection.execute
        self.drop_bridges()
        run(f"PRAGMA busy_timeout = {_SEAL_WAIT_MS}")
        busy, written, folded = run("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy and written != folded:
            self._replace()
            return
        try:
            run("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            # Someone has the file open in a shell. It is complete all the same, and nobody writes to it any more.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
        self.close()

    def _replace(self) -> None:
        """Put a folded copy in the file's place: someone is in the middle of reading it, and may go on.

        The copy has the same pages, so that whoever opens it before the old write-ahead log is gone reads the same.
        """
        draft = self.path.with_name(self.path.name + ".tmp")
        copy = sqlite3.connect(draft, isolation_level=None)
        try:
            draft.chmod(FILE_MODE)
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()
        finally:
            copy.close()
        self.close()
        draft.replace(self.path)
        for companion in ("-wal", "-shm"):
            self.path.with_name(self.path.name + companion).unlink(missing_ok=True)
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Let go of the file. Harmless when repeated."""
        self._is_closed = True
        self._connection.close()

    def abandon(self) -> None:
        """Let go of the files as they are, as a killed process does. Harmless when repeated.

        The last connection that closes folds the write-ahead log into the file: on a disk that just failed nothing
        must be written any more, so one that only reads closes last.
        """
        if self._is_closed:
            return
        try:
            last, _ = open_readonly(self.path, APPLICATION_ID, SCHEMA_VERSION)
        except sqlite3.Error:
            self.close()
            return
        self.close()
        last.close()


class JournalReader:
    """A journal open for reading. Every method raises LogCorruptError.

    A sealed file is opened as immutable: nothing beside it is read and nothing is created.
    """

    def __init__(self, folder: Path, *, is_sealed: bool) -> None:
        self.path = folder / JOURNAL_NAME
        self._is_sealed = is_sealed
        try:
            self.connection, self._version = open_readonly(
                self.path, APPLICATION_ID, SCHEMA_VERSION, is_immutable=is_sealed
            )
        except (sqlite3.Error, UnicodeError) as error:
            raise LogCorruptError(self.path, "", str(error)) from error

    def __enter__(self) -> "JournalReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Yield the rows above seq `after` by rising seq, each checked."""
        seq = after
        table = "entries" if has_entries(self._version) else "records"
        select = f"SELECT seq, market, crc, line FROM {table} WHERE seq > ? ORDER BY seq"
        try:
            for row in self.connection.execute(select, (after,)):
                if isinstance(row[3], bytes) and not self._is_sealed:
                    continue
                last, seq = seq, row[0]
                if [type(value) for value in row] != [int, int, int, str] or seq <= last:
                    raise LogCorruptError(self.path, f"after seq {last}", "not a record")
                if checksum(row[3].encode(), row[1]) != row[2]:
                    raise LogCorruptError(self.path, f"seq {seq}", "checksum of the record")
                yield row
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise LogCorruptError(self.path, f"after seq {seq}" if seq else "", str(error)) from error

    def count(self) -> int:
        """Return how many rows there are."""
        with self._named("records"):
            total: int = self.connection.execute("SELECT count(*) FROM records").fetchone()[0]
        return total

    def bridges(self) -> tuple[Bridge, ...]:
        """Return the market inputs that may not be in segments yet, each row checked."""
        found: list[Bridge] = []
        if not has_snapshots(self._version):
            return ()
        select = "SELECT first, count, raw, crc, stored FROM bridges ORDER BY first"
        if has_entries(self._version):
            select = "SELECT market, seq, market, crc, line FROM entries WHERE typeof(line) = 'blob' ORDER BY seq"
        with self._named("bridges"):
            for row in self.connection.execute(select):
                try:
                    bridge = bridges.unpack(row[1:] if has_entries(self._version) else of_version_2(row))
                except ValueError as error:
                    raise LogCorruptError(self.path, f"bridge from market input {row[0]}", str(error)) from error
                if found and bridge.first != found[-1].end:
                    why = f"it follows market input {found[-1].end}"
                    raise LogCorruptError(self.path, f"bridge from market input {bridge.first}", why)
                found.append(bridge)
        return tuple(found)

    def snapshot_seqs(self) -> list[int]:
        """Return the numbers of the periodic snapshots, the newest first."""
        if not has_snapshots(self._version):
            return []
        with self._named("snapshots"):
            return [seq for (seq,) in self.connection.execute("SELECT seq FROM snapshots ORDER BY seq DESC")]

    def snapshot(self, seq: int) -> StoredSnapshot:
        """Return a periodic snapshot, checked."""
        name = f"snapshot {seq}"
        with self._named(name):
            row = self.connection.execute("SELECT * FROM snapshots WHERE seq = ?", (seq,)).fetchone()
        try:
            return snapshots.unpack(row or ())
        except ValueError as error:
            raise LogCorruptError(self.path, name, str(error)) from error

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise LogCorruptError(self.path, name, str(error)) from error
