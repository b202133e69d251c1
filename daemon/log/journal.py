"""How order-path inputs and intents lie in SQLite: one checksummed row per record, and views for people.

`records.line` is the canonical line. `records.market` counts the market inputs (in the segments) before the record,
`records.crc` is the crc32 of the line, begun with that count. `sqlite3 journal.sqlite 'select * from orders'` works
on a running daemon's log as on a sealed one.
"""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon.log.errors import LogCorruptError

SCHEMA_VERSION = 1
JOURNAL_NAME = "journal.sqlite"
_APPLICATION_ID = 0x62617369  # "basi"

Row = tuple[int, int, int, str]
"""seq, market inputs before it, crc32, canonical line."""

_TIME = "strftime('%Y-%m-%dT%H:%M:%S', {0} / 1000000000, 'unixepoch') || printf('.%09dZ', {0} % 1000000000)"
_SCHEMA = f"""
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    market INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    line TEXT NOT NULL
) STRICT;
CREATE VIEW inputs AS
    SELECT seq, {_TIME.format("(line ->> 'now')")} AS time, line ->> 'kind' AS kind, line -> 'message' AS message,
        line ->> 'now' AS now, coalesce(line ->> 'is_held', 0) AS is_held
    FROM records WHERE line ->> 'cause' IS NULL;
CREATE VIEW intents AS
    SELECT seq, line ->> 'root' AS root, line ->> 'cause' AS cause, line ->> 'kind' AS kind,
        {_TIME.format("(line ->> '$.message.ts')")} AS time, line -> 'message' AS message
    FROM records WHERE line ->> 'cause' IS NOT NULL;
CREATE VIEW fills AS
    SELECT seq, time, message ->> 'account' AS account, message ->> 'instrument' AS instrument,
        message ->> 'client_order_id' AS client_order_id, message ->> 'trade_id' AS trade_id,
        message ->> 'side' AS side, message ->> 'price' AS price, message ->> 'qty' AS qty,
        message ->> 'fee' AS fee, message ->> 'fee_asset' AS fee_asset, message ->> 'liquidity' AS liquidity,
        message ->> 'reason' AS reason
    FROM inputs WHERE kind = 'OrderFilled';
CREATE VIEW orders AS
    WITH last AS (
        SELECT message ->> 'account' AS account, message ->> 'client_order_id' AS id, max(seq) AS seq, kind, time,
            sum(kind = 'OrderFilled') AS fills
        FROM inputs WHERE message ->> 'client_order_id' IS NOT NULL GROUP BY 1, 2
    )
    SELECT i.seq, i.time, i.message ->> 'account' AS account, i.message ->> 'instrument' AS instrument,
        i.message ->> 'client_order_id' AS client_order_id, i.message ->> 'side' AS side,
        i.message ->> 'type' AS type, i.message ->> 'tif' AS tif, i.message ->> 'qty' AS qty,
        i.message ->> 'price' AS price, i.message ->> 'reduce_only' AS reduce_only,
        last.kind AS last_report, last.time AS last_time, coalesce(last.fills, 0) AS fills
    FROM intents AS i
    LEFT JOIN last ON last.id = i.message ->> 'client_order_id' AND last.account = i.message ->> 'account'
    WHERE i.kind = 'SubmitOrder';
"""


def checksum(line: bytes, market: int) -> int:
    """Return the crc32 of a row."""
    return zlib.crc32(line, market & 0xFFFFFFFF)


class JournalWriter:
    """The SQLite file while it is written. Raises sqlite3.Error."""

    def __init__(self, folder: Path, *, is_durable: bool) -> None:
        self.path = folder / JOURNAL_NAME
        self._connection = sqlite3.connect(self.path, isolation_level=None, cached_statements=8)
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL").fetchone()
        run(f"PRAGMA synchronous = {'FULL' if is_durable else 'OFF'}")
        run(f"PRAGMA application_id = {_APPLICATION_ID}")
        run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows in one transaction; on return they are as durable as the log promises."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        run("COMMIT")

    def seal(self) -> None:
        """Fold the write-ahead log into the one file and close it."""
        busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("another process reads the journal: it cannot be sealed")
        self._connection.execute("PRAGMA synchronous = FULL")
        try:
            self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            # Someone has the file open in a shell. It is complete all the same, and nobody writes to it any more.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
        self.close()

    def close(self) -> None:
        """Let go of the file; what was not written is lost. Harmless when repeated."""
        self._connection.close()


def read_rows(path: Path, *, is_sealed: bool) -> Iterator[Row]:
    """Yield the rows by rising seq, each checked. Raises LogCorruptError.

    A sealed file is opened as immutable: nothing beside it is read and nothing is created.
    """
    seq = 0
    try:
        connection = sqlite3.connect(f"file:{_quoted(path)}?{'immutable=1' if is_sealed else 'mode=ro'}", uri=True)
        try:
            _check_version(connection, path)
            for row in connection.execute("SELECT seq, market, crc, line FROM records ORDER BY seq"):
                last, seq = seq, row[0]
                if [type(value) for value in row] != [int, int, int, str] or seq <= last:
                    raise LogCorruptError(path, f"after seq {last}", "not a record")
                if checksum(row[3].encode(), row[1]) != row[2]:
                    raise LogCorruptError(path, f"seq {seq}", "checksum of the record")
                yield row
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise LogCorruptError(path, f"after seq {seq}" if seq else "", str(error)) from error


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise LogCorruptError(path, "schema", f"version {version}, this build reads {SCHEMA_VERSION}")


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
