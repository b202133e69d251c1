"""Where a running daemon keeps its state and its sockets."""

import os
from pathlib import Path

from attrs import frozen

from daemon.executions import DATABASE_NAME

_FINISHED = "finished"
_DONE = "done"


@frozen
class StatePaths:
    """`state` outlives the processes, `runtime` holds the sockets."""

    state: Path
    runtime: Path

    @classmethod
    def of(cls, name: str, state: str | None = None) -> "StatePaths":
        """Return the folders of the run `name`: as told, as systemd tells, or below the working directory."""
        told = state or os.environ.get("STATE_DIRECTORY")
        folder = Path(told) if told else Path("state") / name
        runtime = os.environ.get("RUNTIME_DIRECTORY")
        # A folder named by hand is a desk of its own, whatever the unit's runtime folder is.
        return cls(folder, Path(runtime) if runtime and not state else folder / "run")

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def runs(self) -> Path:
        return self.state / "runs"

    @property
    def executions(self) -> Path:
        return self.state / DATABASE_NAME

    @property
    def guard_journal(self) -> Path:
        return self.state / "guard" / "guard.sqlite"

    @property
    def venue_journal(self) -> Path:
        return self.state / "venue" / "venue.sqlite"

    @property
    def venue_snapshots(self) -> Path:
        return self.state / "venue" / "snapshots"

    @property
    def guard_log(self) -> Path:
        return self.state / "guard" / "guard.log"

    @property
    def venue_log(self) -> Path:
        return self.state / "venue" / "venue.log"

    @property
    def view_socket(self) -> Path:
        return self.runtime / "view.sock"

    @property
    def ops_socket(self) -> Path:
        return self.runtime / "ops.sock"

    @property
    def guard_socket(self) -> Path:
        return self.runtime / "guard.sock"

    @property
    def panic_socket(self) -> Path:
        return self.runtime / "panic.sock"

    @property
    def venue_socket(self) -> Path:
        return self.runtime / "venue.sock"

    @property
    def guard_venue_socket(self) -> Path:
        """Where the guard's own gateway listens, when the venues are out there."""
        return self.runtime / "guard-venue.sock"

    def gateway_socket(self, side: str) -> Path:
        """Return where the gateway of a `side` (desk, guard) listens."""
        return self.venue_socket if side == "desk" else self.guard_venue_socket

    def gateway_folder(self, side: str) -> Path:
        """Return what the gateway of a `side` (desk, guard) has for itself: its lock and its log."""
        return self.state / "gateway" / side

    # A paper run whose market is over

    def finish(self) -> None:
        """Note that the market of this state is over: the next paper run begins afresh."""
        (self.state / _FINISHED).touch()

    def is_finished(self) -> bool:
        return (self.state / _FINISHED).exists()

    def archive(self) -> Path:
        """Move a finished run aside, whole; return where it is now."""
        number = 1 + sum(1 for _ in (self.state / _DONE).glob("*"))
        folder = self.state / _DONE / f"{number:06d}"
        folder.mkdir(parents=True)
        # A database that was not folded has companions, which must not meet the next one.
        databases = (self.executions.with_name(self.executions.name + end) for end in ("", "-wal", "-shm"))
        for path in (self.runs, *databases, self.guard_journal.parent, self.venue_journal.parent):
            if path.exists():
                path.rename(folder / path.name)
        (self.state / _FINISHED).unlink()
        return folder
