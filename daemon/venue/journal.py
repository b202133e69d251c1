"""What the simulated venues must not forget: every command that may change something, and how far time has come."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from attrs import frozen

from daemon.link.wire import decode, encode
from daemon.log.disk import sync_file
from daemon.log.schema import open_database
from venues.port import Command

_APPLICATION_ID = 0x62647665  # "bdve"
_STEPS = (
    """
    CREATE TABLE session (
        config_sha256 TEXT NOT NULL,
        seed INTEGER NOT NULL,
        for_ns INTEGER,
        mode TEXT NOT NULL
    ) STRICT;
    CREATE TABLE commands (
        number INTEGER PRIMARY KEY,
        steps INTEGER NOT NULL,
        now INTEGER NOT NULL,
        client TEXT NOT NULL,
        line TEXT NOT NULL
    ) STRICT;
    CREATE TABLE clock (now INTEGER NOT NULL) STRICT;
    """,
)


class OtherSessionError(Exception):
    """The journal belongs to another market: another configuration, or another end."""


@frozen
class Session:
    """Which market the commands were given on."""

    config_sha256: str
    seed: int
    for_ns: int | None
    mode: str


@frozen
class Mark:
    """A place in the journal: after the command of this number, with the SHA-256 of its row; 0 is its begin."""

    number: int
    digest: str


class VenueJournal:
    """Commands in the order the venues took them. A killed process loses none; a power failure may cost the last ones.

    None is ever dropped: they are the way back when no snapshot can be used.

    Raises sqlite3.Error, OtherSessionError.
    """

    def __init__(self, path: Path, session: Session) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._connection = open_database(path, _APPLICATION_ID, _STEPS, synchronous="NORMAL")
        found = self._connection.execute("SELECT config_sha256, seed, for_ns, mode FROM session").fetchone()
        if found is None:
            with self._transaction():
                self._connection.execute(
                    "INSERT INTO session VALUES (?, ?, ?, ?)",
                    (session.config_sha256, session.seed, session.for_ns, session.mode),
                )
                self._connection.execute("INSERT INTO clock VALUES (0)")
        elif Session(*found) != session:
            raise OtherSessionError(f"{path} was written for {Session(*found)}, this is {session}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            yield

    def note(self, steps: int, now: int, client: str, command: Command) -> None:
        """Write a command down before it takes effect: after how many steps of the venues it came, sent when."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO commands (steps, now, client, line) VALUES (?, ?, ?, ?)",
                (steps, now, client, encode(command).decode()),
            )

    def note_time(self, now: int) -> None:
        """Write down how far the market's time has come."""
        with self._transaction():
            self._connection.execute("UPDATE clock SET now = ?", (now,))

    def commands(self, after: int = 0) -> Iterator[tuple[int, int, Command]]:
        """Yield every command after number `after` with the steps before it and its time, oldest first."""
        for steps, now, line in self._connection.execute(
            "SELECT steps, now, line FROM commands WHERE number > ? ORDER BY number", (after,)
        ):
            command = decode(line.encode())
            assert isinstance(command, Command)
            yield steps, now, command

    def mark(self) -> Mark:
        """Return where the journal ends."""
        (number,) = self._connection.execute("SELECT coalesce(max(number), 0) FROM commands").fetchone()
        return Mark(number, self.digest(number) or "")

    def digest(self, number: int) -> str | None:
        """Return the SHA-256 of a command's row, None when there is none; before the first command it is empty."""
        row = self._connection.execute(
            "SELECT number, steps, now, client, line FROM commands WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            return None if number else ""
        return sha256(repr(row).encode()).hexdigest()

    def sync(self) -> None:
        """Bring what was noted to the disk, from this process or a copy of it. Raises OSError."""
        for path in (self._path, self._path.with_name(self._path.name + "-wal")):
            sync_file(path)

    def latest_ns(self) -> int:
        """Return how far the market's time had come for certain."""
        (clock,) = self._connection.execute("SELECT max(now) FROM clock").fetchone()
        (last,) = self._connection.execute("SELECT max(now) FROM commands").fetchone()
        return max(int(clock or 0), int(last or 0))

    def close(self) -> None:
        self._connection.close()
