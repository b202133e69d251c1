"""The log of a run and its replay."""

from daemon.log.errors import LogCorruptError, LogWriteError, UnreadableRecordError
from daemon.log.reader import Log, open_log
from daemon.log.run_log import RunLog

__all__ = ["Log", "LogCorruptError", "LogWriteError", "RunLog", "UnreadableRecordError", "open_log"]
