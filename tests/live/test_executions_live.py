"""A live desk's executions: all there soon, after a kill as well, and never a reason to stop."""

import random
import sqlite3
import time
from pathlib import Path
from typing import Any

from desk_configs import BUSY, write_config
from desk_truth import arm_again, check_agreement, freeze
from live_daemon import Daemon, Probe, eventually, running

from daemon.executions.rebuild import logs_of, rebuild
from daemon.executions.schema import TABLES
from venues.port import QueryKind

_PATIENCE_S = 240.0
"""What is rebuilt beside a running desk takes only the time that nobody else wants."""

KILLS = 4


def rows(path: Path, select: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        return connection.execute(select).fetchall()
    finally:
        connection.close()


def truth(probe: Probe) -> set[tuple[str, ...]]:
    """Return the venue's own list of fills."""
    return {
        (fill.account, fill.instrument, fill.trade_id, fill.side.value, format(fill.price, "f"), format(fill.qty, "f"))
        for account in ("futures", "spot")
        for fill in probe.ask(account, QueryKind.FILLS).fills
    }


def stored(daemon: Daemon) -> set[tuple[str, ...]]:
    return set(rows(daemon.paths.executions, "SELECT account, instrument, trade_id, side, price, qty FROM fills"))


def test_nothing_is_lost_by_kills_and_a_rebuild_says_the_same(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    moments = random.Random(11)
    with running(config, tmp_path / "state", "--speed", "5") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        for _ in range(KILLS):
            # The moment is drawn: it is what the test is about.
            time.sleep(moments.uniform(0.1, 0.8))
            daemon.kill()
            daemon.start()
            arm_again(daemon, daemon.wait_ready())
        freeze(daemon)
        check_agreement(daemon, probe)
        eventually("every fill is written", lambda: stored(daemon) == truth(probe))
        expected = stored(daemon)
        assert len(expected) > 10
        assert daemon.terminate() == 0, daemon.words()
    path, logs = logs_of(daemon.paths.state)
    assert len(logs) == KILLS + 1
    assert stored(daemon) >= expected
    assert rows(path, "SELECT * FROM gaps") == []
    done = rebuild(tmp_path / "again.sqlite", logs)
    assert (done.logs, done.problems) == (len(logs), [])
    for table in TABLES:
        select = f"SELECT * FROM {table} ORDER BY 1, 2"
        assert rows(tmp_path / "again.sqlite", select) == rows(path, select), table


def test_a_database_that_is_gone_or_damaged_comes_back(tmp_path: Path) -> None:
    """The tracker keeps two of each: what is missing is replayed from the logs, by a process of its own."""
    config = write_config(tmp_path / "desk.toml", BUSY, "[tracker]\nkeep = 2\n")
    with running(config, tmp_path / "state", "--speed", "5") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        path = daemon.paths.executions
        eventually("some fills are written", lambda: path.exists() and len(stored(daemon)) > 8)
        daemon.kill()
        path.write_bytes(b"damaged " * 4_096)
        for companion in ("-wal", "-shm"):
            path.with_name(path.name + companion).unlink(missing_ok=True)
        daemon.start()
        arm_again(daemon, daemon.wait_ready())
        freeze(daemon)
        check_agreement(daemon, probe)
        # What it holds it closes when its time has come, which may be now.
        eventually("every fill is back", lambda: stored(daemon) == truth(probe), _PATIENCE_S)
        eventually("no gap is left", lambda: rows(path, "SELECT * FROM gaps") == [], _PATIENCE_S)
        assert path.with_name(f"{path.name}.1").read_bytes().startswith(b"damaged")
        assert daemon.terminate() == 0, daemon.words()


def test_a_desk_trades_on_without_its_database_and_says_so(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    state = tmp_path / "state"
    blocked = state / "executions.sqlite"
    blocked.mkdir(parents=True)
    with running(config, state, "--speed", "5") as daemon:
        daemon.wait_ready()

        def alarms() -> bool:
            told = daemon.call("events", {"limit": 500}, path=daemon.paths.view_socket)["events"]
            return any("executions_not_written" in one["text"] and one["alarm"] == "open" for one in told)

        eventually("the failure is an alarm", alarms)
        probe = daemon.probe()
        before = len(truth(probe))
        eventually("it trades on", lambda: len(truth(probe)) > before)
        assert daemon.status() is not None
        blocked.rmdir()
        freeze(daemon)
        check_agreement(daemon, probe)

        def is_written() -> bool:
            try:
                return stored(daemon) == truth(probe)
            except sqlite3.OperationalError:
                # Not there yet, or its tables are not.
                return False

        eventually("what waited is written", is_written, patience_s=90)
        assert daemon.terminate() == 0, daemon.words()
