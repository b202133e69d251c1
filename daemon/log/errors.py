"""What can go wrong with a run log: it cannot be written, or it is not what was written."""

from pathlib import Path


class LogWriteError(Exception):
    """The log did not take a record. Nothing may be sent any more: stop, cancel all, exit non-zero."""


class LogCorruptError(Exception):
    """A log is not what was written. `file` names the file, `record` the record or records, empty when unknown."""

    def __init__(self, file: Path, record: str, why: str) -> None:
        super().__init__(f"{file}: {record}: {why}" if record else f"{file}: {why}")
        self.file = file
        self.record = record
        self.why = why


class UnreadableRecordError(ValueError):
    """A record is intact but this build cannot make a message of it: unknown kind, other fields, not finite."""
