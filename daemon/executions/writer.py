"""How a live desk writes its executions down: soon, in pieces too small to be waited for, and never in its way."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import trio

from actors.cell import Cell
from actors.messages import Incident
from daemon.executions.collecting import Collector
from daemon.executions.rows import RowMaker
from daemon.executions.store import ExecutionStore, checkpoint, open_store
from daemon.logs import get_logger
from daemon.pacing import tick
from venues.port import Message

_log = get_logger("executions")

PIECE = 16
"""Records written in one go: a transaction of about half a millisecond."""

_GATHER_S = 0.05
_RETRY_S = 1.0
_RETRY_MAX_S = 60.0
_FOLD_S = 5.0
_NICE = 10


class ExecutionWriter:
    """Writes what the tracker of `cell` records into the file at `path`.

    `raise_alarm` is handed an Incident when writing begins to fail; the records wait and are tried again. What the file
    lacks and the tracker has forgotten is replayed from the logs of earlier runs in `state`, by a process of its own.
    """

    def __init__(
        self, path: Path, maker: RowMaker, cell: Cell, state: Path, raise_alarm: Callable[[Message], None]
    ) -> None:
        self.path = path
        self.why_failed = ""
        self._maker = maker
        self._cell = cell
        self._state = state
        self._raise_alarm = raise_alarm
        self._store: ExecutionStore | None = None
        self._missing: list[tuple[int, int, str]] = []
        self._collector = Collector(cell, 0, self._gap)
        self._more = trio.Event()
        self._begin()

    def _begin(self) -> None:
        """Find out from where on the file lacks records; without a file it lacks all of them."""
        tracker = self._cell.dispatcher.actors["execution_tracker"]
        try:
            self._open(tracker.state.last)
            assert self._store is not None
            self._collector.seen = self._store.number
        except (sqlite3.Error, OSError) as error:
            # The first write tries again, and raises the alarm.
            _log.error("not opened", file=str(self.path), why=str(error))

    def _open(self, last: int) -> None:
        self._store, aside = open_store(self.path, self._maker, last)
        if aside is not None:
            _log.error("moved aside", file=str(self.path), to=str(aside), why="not a database of this history")

    def _gap(self, low: int, high: int, why: str) -> None:
        self._missing.append((low, high, why))

    def look(self) -> None:
        """Take what is new; to be called after each pump."""
        if self._collector.collect():
            self._more.set()

    async def run(self) -> None:
        """Write for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fold)
            nursery.start_soon(self._replay_what_is_missing)
            delay = _RETRY_S
            while True:
                await self._more.wait()
                self._more = trio.Event()
                await trio.sleep(_GATHER_S)
                while self._collector.waiting or self._missing:
                    if self._write(PIECE):
                        delay = _RETRY_S
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.sleep(delay)
                        delay = min(_RETRY_MAX_S, delay * 2)

    def _write(self, most: int) -> bool:
        records, upto = self._collector.take(most)
        try:
            if self._store is None:
                self._open(self._collector.seen)
            assert self._store is not None
            for gap in self._missing:
                self._store.note_gap(*gap)
            self._missing.clear()
            self._store.write(records, upto)
        except (sqlite3.Error, OSError) as error:
            self._collector.put_back(records)
            self._fail(error)
            return False
        if self.why_failed:
            _log.info("written again", file=str(self.path))
            self.why_failed = ""
        return True

    def _fail(self, error: Exception) -> None:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            # Somebody rebuilds: the records are there a moment later.
            return
        self._close()
        if not self.why_failed:
            self.why_failed = f"{self.path}: {error}"
            _log.error("not written", why=self.why_failed)
            self._raise_alarm(Incident(self._cell.dispatcher.now, "executions_not_written", "", self.why_failed))

    async def _fold(self) -> None:
        """Fold the write-ahead log now and then, in a thread: that waits for the disk, and nobody for it."""
        while True:
            await tick(_FOLD_S)
            try:
                await trio.to_thread.run_sync(checkpoint, self.path)
            except sqlite3.Error as error:
                _log.warning("not folded", file=str(self.path), why=str(error))

    async def _replay_what_is_missing(self) -> None:
        """Let another process fill the gaps of earlier runs, at a low priority."""
        await trio.sleep(_FOLD_S)
        gaps = [] if self._store is None else self._store.gaps()
        if not gaps:
            return
        command = [sys.executable, "-m", "daemon.cli", "executions", "rebuild", str(self._state)]
        command += ["--above", str(gaps[0][0]), "--nice", str(_NICE)]
        _log.warning("behind", file=str(self.path), missing=[list(gap) for gap in gaps], command=" ".join(command[1:]))
        done = await trio.run_process(
            command, check=False, capture_stderr=True, stdout=subprocess.DEVNULL, env=dict(os.environ)
        )
        if done.returncode:
            _log.error("not rebuilt", why=done.stderr.decode(errors="replace").strip()[-500:])
        else:
            _log.info("rebuilt", file=str(self.path))

    def finish(self) -> None:
        """Write everything that waits and let go of the file; what cannot be written is left to the next start."""
        self._collector.collect()
        while self._collector.waiting or self._missing:
            if not self._write(len(self._collector.waiting)):
                break
        self._close()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
