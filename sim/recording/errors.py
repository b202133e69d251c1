"""Why a recording cannot be opened, read or written."""

from pathlib import Path


class RecordingError(Exception):
    """The file itself failed (missing, unreadable, disk full); broken contents are faults, not errors."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path}: {why}")
