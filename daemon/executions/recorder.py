"""How a run in virtual time writes its executions down: as it goes, after every input that made any, in batches."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from actors.cell import Cell
from actors.dispatcher import Sink
from daemon.executions.collecting import Collector
from daemon.executions.rows import RowMaker
from daemon.executions.store import ExecutionStore
from venues.port import Message

_BATCH = 512


class ExecutionRecorder:
    """The cell's sink, in front of the log's. Failing to write ends the recording, not the run; `warn` hears of it."""

    def __init__(self, path: Path, maker: RowMaker, cell: Cell, log: Sink, warn: Callable[[str], None]) -> None:
        self._log = log
        self._warn = warn
        self._store: ExecutionStore | None = None
        self._collector = Collector(cell, 0, self._gap)
        try:
            self._store = ExecutionStore(path, maker)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        cell.sink = self

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        self._log.input(seq, now, is_held, message)
        if self._collector.collect() and len(self._collector.waiting) >= _BATCH:
            self._write()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._collector.collect()
        self._write()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _write(self) -> None:
        if self._store is None:
            self._collector.waiting.clear()
            return
        try:
            self._store.write(*self._collector.take(len(self._collector.waiting)))
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _gap(self, low: int, high: int, why: str) -> None:
        if self._store is not None:
            self._store.note_gap(low, high, why)

    def _give_up(self, error: Exception) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None
        self._warn(f"executions are not written: {error}")
