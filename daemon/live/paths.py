"""Where a running daemon keeps its state and its sockets."""

import os
from pathlib import Path

from attrs import frozen


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
    def guard_journal(self) -> Path:
        return self.state / "guard" / "guard.sqlite"

    @property
    def venue_journal(self) -> Path:
        return self.state / "venue" / "venue.sqlite"

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
