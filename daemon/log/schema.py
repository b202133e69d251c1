"""How our SQLite files are opened: whose file it is, which version its schema has, and the steps from one to the next.

Step n brings the schema from version n to n + 1, in one transaction with the version's number, so that a process killed
anywhere leaves one version or the next. A file of another application, or of a newer build, is refused by name.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

from daemon.log.disk import write_all

Step = str | Callable[[sqlite3.Connection], None]
"""SQL statements, or a function that is given the connection within the transaction; it must not end it."""

FILE_MODE = 0o600
BUSY_TIMEOUT_S = 5.0
_PAUSE_S = 0.001
WAL_BYTES = 1100 * (4096 + 24)
SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


class SchemaError(sqlite3.DatabaseError):
    """The file is not one this build may use: another application's, a newer build's, or on a disk without WAL."""


def open_database(
    path: Path, application_id: int, steps: Sequence[Step], *, synchronous: str = "FULL", wal_bytes: int = 0
) -> sqlite3.Connection:
    """Open or create a file in WAL mode and bring its schema to version `len(steps)`.

    The connection commits each statement by itself unless told `BEGIN`. With `synchronous` FULL a commit is on the disk
    when it returns; it takes half the time while the write-ahead log need not grow, so `wal_bytes` (WAL_BYTES holds all
    until SQLite folds the log by itself) are made ready at once. A new file is readable by its owner alone.
    Raises SchemaError, sqlite3.Error, OSError.
    """
    if synchronous not in SYNCHRONOUS:
        raise ValueError(f"synchronous is one of {', '.join(SYNCHRONOUS)}, not {synchronous!r}")
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        # By name, as closing a descriptor of the file would release SQLite's locks on it. Its companions get this mode.
        path.chmod(FILE_MODE)
        version = _check(connection, path, application_id, len(steps), is_new_fine=True)
        _choose_wal(connection, path)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        for number in range(version, len(steps)):
            _take_step(connection, number, steps[number], application_id)
        if wal_bytes:
            _make_ready(connection, path, wal_bytes)
    except BaseException:
        connection.close()
        raise
    return connection


def open_readonly(
    path: Path, application_id: int, newest: int, *, is_immutable: bool = False
) -> tuple[sqlite3.Connection, int]:
    """Open a file for reading; return the connection and the version of its schema, from 1 to `newest`.

    A writer is neither waited for nor held up. `is_immutable`: nobody writes any more, what may lie beside the file is
    not looked at and nothing is created. Raises SchemaError, sqlite3.Error.
    """
    how = "mode=ro&immutable=1" if is_immutable else "mode=ro"
    connection = sqlite3.connect(f"file:{_quoted(path)}?{how}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        return connection, _check(connection, path, application_id, newest, is_new_fine=False)
    except BaseException:
        connection.close()
        raise


def _check(connection: sqlite3.Connection, path: Path, application_id: int, newest: int, *, is_new_fine: bool) -> int:
    # In one transaction: another process may be creating the file.
    connection.execute("BEGIN")
    found, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    connection.execute("COMMIT")
    if found == version == 0 and is_empty:
        if is_new_fine:
            return 0
        raise SchemaError(f"{path}: an empty database")
    if found != application_id:
        raise SchemaError(f"{path}: a database of another application ({found:#x}, not {application_id:#x})")
    if not 1 <= version <= newest:
        raise SchemaError(f"{path}: schema version {version}, this build reads 1 to {newest}")
    return version


def _choose_wal(connection: sqlite3.Connection, path: Path) -> None:
    until = monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait here, where two that create the file would wait for each other.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(_PAUSE_S)
    if mode != "wal":
        raise SchemaError(f"{path}: its disk cannot hold a write-ahead log (journal mode {mode})")


def _take_step(connection: sqlite3.Connection, number: int, step: Step, application_id: int) -> None:
    run = connection.execute
    run("BEGIN IMMEDIATE")
    try:
        # Another process may have come first while this one waited.
        if _pragma(connection, "user_version") == number:
            if isinstance(step, str):
                for statement in _statements(step):
                    run(statement)
            else:
                step(connection)
            run(f"PRAGMA application_id = {application_id}")
            run(f"PRAGMA user_version = {number + 1}")
        run("COMMIT")
    except BaseException:
        if connection.in_transaction:
            run("ROLLBACK")
        raise


def _make_ready(connection: sqlite3.Connection, path: Path, wal_bytes: int) -> None:
    """Append zeros to the write-ahead log: no frame, so SQLite takes them for the log's end and writes over them."""
    version = _pragma(connection, "user_version")
    connection.execute(f"PRAGMA user_version = {version}")
    # Nobody else appends meanwhile.
    connection.execute("BEGIN IMMEDIATE")
    try:
        fd = os.open(path.with_name(path.name + "-wal"), os.O_RDWR | os.O_CLOEXEC)
        try:
            missing = wal_bytes - os.lseek(fd, 0, os.SEEK_END)
            if missing > 0:
                write_all(fd, bytes(missing))
                os.fsync(fd)
        finally:
            os.close(fd)
    finally:
        connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """Cut a script apart: sqlite3.executescript would commit the transaction it is called in."""
    begun = ""
    for part in script.split(";"):
        begun += part + ";"
        if sqlite3.complete_statement(begun):
            if begun.strip(" \n;"):
                yield begun
            begun = ""
    if begun.strip(" \n;"):
        raise ValueError(f"not a statement: {begun}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
