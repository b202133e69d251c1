"""A database file is ours and of a version we know, or it is refused; it grows up step by step, whole or not at all."""

import shutil
import sqlite3
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.log.schema import SchemaError, Step, open_database, open_readonly

OURS = 0x6F757273

FIRST = "CREATE TABLE one (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT; CREATE INDEX by_text ON one (text);"
SECOND = """
ALTER TABLE one ADD COLUMN length INTEGER NOT NULL DEFAULT 0;
CREATE TRIGGER measure AFTER INSERT ON one BEGIN
    UPDATE one SET length = length(text) WHERE id = new.id; SELECT ';';
END;
"""


def _third(connection: sqlite3.Connection) -> None:
    for key, text in connection.execute("SELECT id, text FROM one").fetchall():
        connection.execute("UPDATE one SET text = ? WHERE id = ?", (text.upper(), key))


STEPS: Sequence[Step] = (FIRST, SECOND, _third)


def rows(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM one ORDER BY id").fetchall()


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL", "FULL", "EXTRA"])
def test_a_new_file_is_its_owners_alone_and_has_every_step(tmp_path: Path, synchronous: str) -> None:
    path = tmp_path / "a?b#c%41.sqlite"
    connection = open_database(path, OURS, STEPS, synchronous=synchronous)
    connection.execute("INSERT INTO one VALUES (1, 'a;b', 0)")
    for each in tmp_path.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    ask = connection.execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (["OFF", "NORMAL", "FULL", "EXTRA"].index(synchronous),)
    assert ask("PRAGMA user_version").fetchone() == (3,)
    assert ask("PRAGMA application_id").fetchone() == (OURS,)
    assert ask("PRAGMA busy_timeout").fetchone()[0] >= 1000
    assert rows(connection) == [(1, "a;b", 3)]
    connection.close()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("old", [1, 2, 3])
def test_a_file_of_any_version_grows_up_with_what_is_in_it(tmp_path: Path, old: int) -> None:
    connection = open_database(tmp_path / "x", OURS, STEPS[:old])
    connection.execute("INSERT INTO one (text) VALUES ('abc')")
    connection.close()
    connection = open_database(tmp_path / "x", OURS, STEPS)
    length = 3 if old > 1 else 0
    assert rows(connection) == [(1, "abc" if old == 3 else "ABC", length)]
    connection.close()


def test_several_may_open_and_create_it_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for number in range(10):
            path = tmp_path / str(number)
            list(threads.map(lambda _, path=path: open_database(path, OURS, STEPS).close(), range(8)))
    both = [open_database(tmp_path / "x", OURS, STEPS) for _ in range(2)]
    both[0].execute("INSERT INTO one (text) VALUES ('abc')")
    assert rows(both[1]) == rows(both[0]) != []
    for connection in both:
        connection.close()


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    def failing(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE two (id INTEGER)")
        raise RuntimeError("no")

    for step, error in ((failing, RuntimeError), ("CREATE TABLE two (id INTEGER); CREATE nonsense;", sqlite3.Error)):
        with pytest.raises(error):
            open_database(tmp_path / "x", OURS, [FIRST, step])
        connection, version = open_readonly(tmp_path / "x", OURS, 2)
        assert version == 1
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'two'").fetchall() == []
        connection.close()


def test_a_script_that_ends_within_a_statement_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a statement"):
        open_database(tmp_path / "x", OURS, ["CREATE TABLE a (b TEXT); CREATE TRIGGER t BEGIN SELECT 1;"])


def _newer(path: Path) -> None:
    open_database(path, OURS, [*STEPS, "CREATE TABLE four (id INTEGER);"]).close()


def _foreign(path: Path) -> None:
    open_database(path, OURS + 1, STEPS).close()


def _unmarked(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE one (id INTEGER)")
    connection.close()


def _no_database(path: Path) -> None:
    path.write_text("these are not the bytes of a database" * 100)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_newer, "schema version 4, this build reads 1 to 3"),
        (_foreign, "a database of another application"),
        (_unmarked, "a database of another application"),
        (_no_database, "not a database"),
    ],
)
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path, make, why: str) -> None:
    path = tmp_path / "x"
    make(path)
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match=why):
        open_database(path, OURS, STEPS)
    with pytest.raises(sqlite3.DatabaseError, match=why):
        open_readonly(path, OURS, 3)
    assert path.read_bytes() == before


def test_reading_creates_nothing(tmp_path: Path) -> None:
    for is_immutable in (False, True):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            open_readonly(tmp_path / "x", OURS, 3, is_immutable=is_immutable)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x").touch()
    with pytest.raises(SchemaError, match="an empty database"):
        open_readonly(tmp_path / "x", OURS, 3)


def test_a_reader_sees_what_is_committed_and_cannot_write(tmp_path: Path) -> None:
    writer = open_database(tmp_path / "x", OURS, STEPS)
    reader, version = open_readonly(tmp_path / "x", OURS, 9)
    assert version == 3
    writer.execute("INSERT INTO one (text) VALUES ('abc')")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO one (text) VALUES ('not yet')")
    assert rows(reader) == [(1, "abc", 3)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM one")
    writer.execute("COMMIT")
    assert len(rows(reader)) == 2
    reader.close()
    writer.close()


def test_an_unknown_degree_of_synchronisation_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="synchronous is one of"):
        open_database(tmp_path / "x", OURS, STEPS, synchronous="MOSTLY")


@pytest.mark.parametrize("content", [0, 50, 3_000])
def test_a_write_ahead_log_made_ready_holds_nothing_and_loses_nothing(tmp_path: Path, content: int) -> None:
    """Also one that a killed process left, longer or shorter than what is made ready."""
    wal, ready = tmp_path / "x-wal", 1 << 20
    killed = open_database(tmp_path / "x", OURS, STEPS)
    killed.execute("PRAGMA wal_autocheckpoint = 0")
    for number in range(content):
        killed.execute("INSERT INTO one (text) VALUES (?)", (str(number),))
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "x", wal):
        shutil.copy(path, tmp_path / "copy")
    killed.close()
    before = (tmp_path / "copy" / "x-wal").stat().st_size
    assert (before > ready) == (content == 3_000)
    connection = open_database(tmp_path / "copy" / "x", OURS, STEPS, wal_bytes=ready)
    assert (tmp_path / "copy" / "x-wal").stat().st_size >= max(ready, before)
    assert [row[1] for row in rows(connection)] == [str(number) for number in range(content)]
    connection.execute("INSERT INTO one (text) VALUES ('more')")
    reader, _ = open_readonly(tmp_path / "copy" / "x", OURS, 3)
    assert len(rows(reader)) == content + 1
    reader.close()
    connection.close()
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["x"]
