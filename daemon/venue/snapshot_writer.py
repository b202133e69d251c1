"""When the venues are written down, and by whom: a copy of the process, so that no client waits for it."""

import contextlib
import gc
import os
import signal
from collections.abc import Callable
from time import perf_counter

import trio
from attrs import define

from daemon.venue.engine import VenueEngine
from daemon.venue.journal import Mark, VenueJournal
from daemon.venue.snapshots import SnapshotFolder

_LOOK_S = 0.02
_NICENESS = 10
_FDS_MAX = 1 << 16


@define
class SnapshotWriter:
    """Writes the venues of `engine` down; `longest_pause_s` is how long they stood still for it at the most."""

    engine: VenueEngine
    journal: VenueJournal
    folder: SnapshotFolder
    log: Callable[[str], None]
    written: int = 0
    longest_pause_s: float = 0.0
    _steps: int = -1

    async def keep_writing(self, every_s: float) -> None:
        """Write a snapshot every so often, as long as something happened since the last. A failure is told, no more."""
        if not self.engine.is_storable:
            self.log("no snapshots: what these venues are made of is not stored; they come back by replay")
            return
        while True:
            await trio.sleep(every_s)
            if self.engine.steps == self._steps:
                continue
            steps = self.engine.steps
            if await self._write_beside():
                self._steps = steps
                self.written += 1

    def write(self) -> None:
        """Write a snapshot here and now, at an end in order; one that cannot be written is told, no more."""
        if self.engine.steps == self._steps or not self.engine.is_storable:
            return
        try:
            self._write(self.journal.mark())
        except OSError as error:
            self.log(f"no snapshot: {error}")

    def _write(self, mark: Mark) -> None:
        # A snapshot must not know more than the journal does after a power failure.
        self.journal.sync()
        self.folder.write(mark, self.engine.store())

    async def _write_beside(self) -> bool:
        """Let a copy of this process write, and wait for it; whether it could."""
        began = perf_counter()
        try:
            pid = self._fork()
        except OSError as error:
            self.log(f"no snapshot: {error}")
            return False
        self.longest_pause_s = max(self.longest_pause_s, perf_counter() - began)
        status: int | None = None
        try:
            while status is None:
                await trio.sleep(_LOOK_S)
                found, ended = os.waitpid(pid, os.WNOHANG)
                status = ended if found else None
        finally:
            if status is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if status:
            self.log(f"no snapshot: its writer ended with {os.waitstatus_to_exitcode(status)}")
        return not status

    def _fork(self) -> int:
        # Read here: the copy must not touch this process's connection to the journal.
        mark = self.journal.mark()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            # The copy shares locks and sockets with us: kept open they would outlive us, should we be killed.
            os.closerange(3, _FDS_MAX)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            gc.disable()
            with contextlib.suppress(OSError):
                os.nice(_NICENESS)
            self._write(mark)
            status = 0
        except (OSError, ValueError, TypeError) as error:
            os.write(2, f"snapshot: {error}\n".encode())
        finally:
            os._exit(status)
