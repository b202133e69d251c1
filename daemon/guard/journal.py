"""What the guard must not forget: its latch, whom it watches, every command it sent and every word that moved it.

`guard.sqlite`: `latch` and `events` are only ever added to, `memory` is what a restart goes on from. For people there
are the views `latch_history`, `orders` and `story`. A journal that cannot be trusted is put aside, and the latch starts
at CANCEL_ALL: what it was nobody knows.
"""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, frozen

from actors.guardian_messages import Latched
from actors.guardian_records import Remembered
from actors.messages import KillLevel
from daemon.live.sockets import Peer
from daemon.log.canonical import encode_message
from daemon.log.schema import open_database
from venues.model.money import to_text
from venues.port import Message

APPLICATION_ID = 0x62646775  # "bdgu"
EVENTS_KEPT = 200_000
_PRUNE_EVERY = 10_000
_BUSY_MS = 100
"""Somebody who reads the file by hand must not keep the guard from acting."""

STEPS = (
    """
    CREATE TABLE latch (
        number INTEGER PRIMARY KEY,
        ts INTEGER NOT NULL,
        level TEXT NOT NULL CHECK (level IN ('ARMED', 'REDUCE_ONLY', 'CANCEL_ALL', 'FLATTEN')),
        before TEXT NOT NULL,
        trigger TEXT NOT NULL,
        operator TEXT NOT NULL,
        uid INTEGER,
        pid INTEGER,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE TABLE events (
        number INTEGER PRIMARY KEY,
        ts INTEGER NOT NULL,
        kind TEXT NOT NULL,
        uid INTEGER,
        pid INTEGER,
        message TEXT NOT NULL
    ) STRICT;
    CREATE TABLE memory (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE VIEW latch_history AS
        SELECT number, strftime('%Y-%m-%d %H:%M:%f', ts / 1e9, 'unixepoch') AS time, before, level, trigger, operator,
               uid, pid, reason
        FROM latch ORDER BY number;
    CREATE VIEW orders AS
        SELECT number, strftime('%Y-%m-%d %H:%M:%f', ts / 1e9, 'unixepoch') AS time,
               message ->> 'account' AS account, message ->> 'instrument' AS instrument, message ->> 'side' AS side,
               message ->> 'qty' AS qty, message ->> 'type' AS type, message ->> 'price' AS price,
               message ->> 'client_order_id' AS client_order_id
        FROM events WHERE kind = 'SubmitOrder' ORDER BY number;
    CREATE VIEW story AS
        SELECT number, strftime('%Y-%m-%d %H:%M:%f', ts / 1e9, 'unixepoch') AS time, kind, uid, pid, message
        FROM events WHERE kind NOT IN ('Query', 'ArmDeadMan') ORDER BY number;
    """,
)

_NONSENSE = (KeyError, ValueError, TypeError, AttributeError, ArithmeticError)

Memory = Mapping[str, Any]
Rows = tuple[str, tuple[Any, ...]]


@frozen
class Start:
    """What a guard without a journal starts from."""

    level: KillLevel
    why: str


@define
class Opened:
    """A journal, None where there can be none, and what a guard that starts from it remembers."""

    journal: "GuardJournal | None"
    remembered: Remembered


class GuardJournal:
    """The open file. Every method raises sqlite3.Error, and has changed nothing then."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises sqlite3.Error (SchemaError among them), OSError."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._connection = open_database(path, APPLICATION_ID, STEPS)
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(f"{path}: {found}")
        except BaseException:
            self._connection.close()
            raise
        self._since_prune = 0

    def write(self, rows: Sequence[Rows]) -> None:
        """Put rows on the disk, all or none; they are there when it returns."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for statement, values in rows:
                run(statement, values)
            self._since_prune += len(rows)
            if self._since_prune >= _PRUNE_EVERY:
                run("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (EVENTS_KEPT,))
                self._since_prune = 0
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                # What made the statement fail may fail the rollback; closing it will do.
                with contextlib.suppress(sqlite3.Error):
                    run("ROLLBACK")
            raise

    def latch(self) -> tuple[KillLevel, str, str] | None:
        """Return level, trigger and reason of the last change, None for a new journal."""
        row = self._connection.execute(
            "SELECT level, trigger, reason FROM latch ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (KillLevel[row[0]], row[1], row[2])

    def memory(self) -> dict[str, Any]:
        """Return what was remembered, by key. Raises msgspec.DecodeError for what is not JSON."""
        rows = self._connection.execute("SELECT key, value FROM memory")
        return {key: msgspec.json.decode(value) for key, value in rows}

    def close(self) -> None:
        self._connection.close()


# Rows


def latch_row(change: Latched, who: Peer | None) -> Rows:
    values = (change.ts, change.level.name, change.before.name, change.trigger, change.operator)
    return (
        "INSERT INTO latch (ts, level, before, trigger, operator, uid, pid, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, *_ids(who), change.reason),
    )


def event_row(now: int, message: Message, who: Peer | None = None) -> Rows:
    text = encode_message(message).decode()
    return (
        "INSERT INTO events (ts, kind, uid, pid, message) VALUES (?, ?, ?, ?, ?)",
        (now, type(message).__name__, *_ids(who), text),
    )


def memory_row(key: str, value: Any) -> Rows:
    """Remember `value`, anything that JSON can say and decimals, under `key`."""
    return (
        "INSERT INTO memory VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, msgspec.json.encode(value).decode()),
    )


def _ids(who: Peer | None) -> tuple[int | None, int | None]:
    return (None, None) if who is None else (who.uid, who.pid)


# Opening


def open_journal(path: Path, start: Start, now: int) -> Opened:
    """Open the journal and return what it remembers; never raises for a journal in any state.

    A new one starts at `start`. One that is damaged or not a guard's is put aside and a new one starts at CANCEL_ALL.
    Where none can be written, the guard remembers only that, and lowers nothing.
    """
    aside = ""
    for attempt in (1, 2):
        try:
            return _open(path, start, now, aside)
        except sqlite3.OperationalError as error:
            # Locked, read-only, full: the file may be sound, and there is no place for another.
            return _without(now, f"{path.name} cannot be used: {error}")
        except (sqlite3.Error, msgspec.MsgspecError, *_NONSENSE) as error:
            why = f"{path.name} cannot be trusted: {type(error).__name__}: {error}"
        except OSError as error:
            return _without(now, f"{path.name} cannot be used: {error}")
        if attempt == 2:
            return _without(now, why)
        try:
            aside = f"{why}; kept as {_put_aside(path, now).name}"
        except OSError as error:
            return _without(now, f"{why}; it cannot be put aside: {error}")
    raise AssertionError("unreachable")


def _open(path: Path, start: Start, now: int, aside: str) -> Opened:
    journal = GuardJournal(path)
    try:
        memory, found = journal.memory(), journal.latch()
        # Even where an earlier journal is lost no id comes again: the clock has moved on.
        epoch = max(int(memory.get("epoch", 0)) + 1, now // 1_000_000)
        rows = [memory_row("epoch", epoch)]
        if found is None:
            level = KillLevel.CANCEL_ALL if aside else start.level
            trigger, reason = ("journal", aside) if aside else ("start", start.why)
            rows.append(latch_row(Latched(now, level, level, trigger, "", reason), None))
            found = level, trigger, reason
        journal.write(rows)
        return Opened(journal, _remembered(epoch, found, memory))
    except BaseException:
        journal.close()
        raise


def _remembered(epoch: int, latch: tuple[KillLevel, str, str], memory: Memory) -> Remembered:
    """Raises one of _NONSENSE for a memory that makes no sense."""
    desk = memory.get("desk")
    return Remembered(
        epoch,
        *latch,
        is_in_charge=bool(memory.get("is_in_charge", False)),
        awaited_pid=None if desk is None else int(desk["pid"]),
        is_fenced=desk is None or bool(desk["is_obedient"]),
        baselines=_decimals(memory.get("baselines", {})),
        targets=_decimals(memory.get("targets", {})),
    )


def _decimals(plain: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Decimal]]:
    return {
        account: {asset: Decimal(amount) for asset, amount in balances.items()} for account, balances in plain.items()
    }


def texts(balances: Mapping[str, Mapping[str, Decimal]]) -> dict[str, dict[str, str]]:
    """Return balances as they are remembered."""
    return {account: {asset: to_text(amount) for asset, amount in held.items()} for account, held in balances.items()}


def _without(now: int, why: str) -> Opened:
    return Opened(None, Remembered(now // 1_000_000, KillLevel.CANCEL_ALL, "journal", why, distrust=why))


def _put_aside(path: Path, now: int) -> Path:
    """Keep a broken journal for whoever wants to look; return its new name. Raises OSError."""
    aside = path.with_name(f"{path.name}.broken-{now}")
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + ending))
    return aside
