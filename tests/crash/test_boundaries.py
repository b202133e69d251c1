"""kill -9 of the trading process between noting, committing, sending and hearing of orders, over and over.

The venue process is the truth, the journals of all runs are what the desk knew. BASISD_BOUNDARY_CRASHES says how often
(twice at each boundary without it).
"""

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

from desk_configs import BUSY, write_config
from desk_truth import arm_again, check_agreement, check_baskets, freeze, sent_by_the_desk
from killed_desk import BOUNDARIES
from live_daemon import PATIENCE_S, ROOT, Daemon, running

from daemon.admin.client import CallFailedError, UnreachableError
from daemon.app import build_cell
from daemon.config import parse
from daemon.kinds import KINDS
from daemon.live.recovery import last_run, recover
from daemon.log.snapshots import SNAPSHOT_NAME, encode_snapshot

CRASHES = int(os.environ.get("BASISD_BOUNDARY_CRASHES", str(2 * len(BOUNDARIES))))
KILLED = str(ROOT / "tests" / "harness" / "killed_desk.py")
GONE_S = 10.0
"""How long a desk that stopped answering may take to be gone."""
UP_TO = 5
"""A boundary is passed at most this often before the desk dies at it."""


def intents_of_all_runs(daemon: Daemon) -> set[str]:
    """Return the client ids of all orders that any run has in its journal."""
    found: set[str] = set()
    for journal in sorted(daemon.paths.runs.glob("*/log/journal.sqlite")):
        connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT message ->> 'client_order_id' FROM intents WHERE kind = 'SubmitOrder'")
            found |= {name for (name,) in rows}
        finally:
            connection.close()
    return found


def state_after_the_last_run(daemon: Daemon) -> bytes:
    """Return what the log of the last run says that the desk was like, worked out anew here."""
    folder = last_run(daemon.paths.runs)
    assert folder is not None
    recovery = recover(folder, lambda text: build_cell(parse(text, folder / "log", KINDS, needs_files=False)))
    return encode_snapshot(recovery.snapshot)


def state_the_desk_began_from(daemon: Daemon) -> bytes:
    folder = last_run(daemon.paths.runs)
    assert folder is not None
    return (folder / "log" / SNAPSHOT_NAME).read_bytes()


def live_until_killed(daemon: Daemon) -> bool:
    """Arm the desk and let it trade until it has killed itself; False when it had to be killed from outside."""
    assert daemon.process is not None
    try:
        arm_again(daemon, daemon.wait_ready())
    except (AssertionError, UnreachableError, CallFailedError):
        # On its way up it passes boundaries as well; its sockets close before it can be waited for.
        try:
            daemon.process.wait(GONE_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            raise AssertionError(daemon.words()) from None
    deadline = time.monotonic() + PATIENCE_S
    while daemon.process.poll() is None and time.monotonic() < deadline:
        # The other side is a process: there is nothing here to wait on.
        time.sleep(0.01)
    by_itself = daemon.process.poll() is not None
    daemon.kill()
    assert daemon.process.returncode == -signal.SIGKILL, daemon.words()
    return by_itself


def test_a_desk_that_dies_at_every_boundary_loses_and_doubles_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    drawn = random.Random(11)
    died_at: Counter[str] = Counter()
    with running(config, tmp_path / "state", "--speed", "20") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        daemon.kill()
        for crash in range(CRASHES):
            boundary = list(BOUNDARIES)[crash % len(BOUNDARIES)]
            before = state_after_the_last_run(daemon)
            daemon.program = (KILLED, boundary, str(drawn.randint(1, UP_TO)))
            daemon.start()
            died_at[boundary] += live_until_killed(daemon)
            assert state_the_desk_began_from(daemon) == before
        daemon.program = ("-m", "daemon.cli")
        before = state_after_the_last_run(daemon)
        daemon.start()
        arm_again(daemon, daemon.wait_ready())
        assert state_the_desk_began_from(daemon) == before
        freeze(daemon)
        check_agreement(daemon, probe)
        check_baskets(daemon)
        sent = sent_by_the_desk(daemon)
        assert max(sent.values()) == 1, sent.most_common(3)
        assert set(sent) <= intents_of_all_runs(daemon)
        assert daemon.terminate() == 0, daemon.words()
    # Every boundary was met, most of the times it was looked for.
    assert set(died_at) == set(BOUNDARIES)
    assert died_at.total() > CRASHES * 0.8, died_at
