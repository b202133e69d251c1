"""What a line of the log looks like and where it goes: a JSON object per line on standard error, text on a terminal.

    {"timestamp":"2026-01-15T15:00:00.123456Z","level":"warning","role":"desk","event":"venue down","venue":"perp"}

Under systemd each line begins with its priority (`<4>`), as sd-daemon(3) has it. The last step before a line is made
keeps secrets out (daemon/redaction.py), whoever logs: structlog, logging, warnings, or the interpreter about an error
that nobody caught. Importing this module sets structlog up so, because no line may come before it; `configure` says
which process speaks and takes over the rest. A log call never raises and never waits for a reader: what does not fit
into the pipe is dropped, counted, and told by the next line that fits.
"""

import json
import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import TracebackType
from typing import Any, cast

import structlog
from attrs import define, field, frozen
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from daemon.redaction import redacted

Fields = dict[str, Any]

LINE_BYTES_MAX = 48 * 1024
"""What journald takes as one line; a longer one is reduced to what matters."""

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_HEAD = ("timestamp", "level", "role", "event")
_KEPT_CHARS = 1_000
_FRAMES_MAX = 20
# They log whole URLs, signatures and all.
_TALKATIVE = ("httpx", "httpcore", "h11", "websockets", "hpack")

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROLS_BUT_NEWLINE = {code: text for code, text in _CONTROLS.items() if code != ord("\n")}

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Form(StrEnum):
    JSON = "json"
    JOURNAL = "journal"
    CONSOLE = "console"


@frozen
class LogStatistics:
    """Lines written by level, lines dropped because nobody read, log calls that could not be rendered."""

    lines: dict[str, int]
    dropped: int
    failed: int


@define
class _Output:
    role: str = ""
    threshold: int = LEVELS["info"]
    fd: int = 2
    form: Form = Form.JSON
    lines: dict[str, int] = field(factory=lambda: dict.fromkeys(LEVELS, 0))
    dropped: int = 0
    untold: int = 0
    failed: int = 0
    is_torn: bool = False

    def write(self, level: str, line: bytes) -> None:
        """Write one line, or drop it or its end: when nobody reads, when the descriptor is gone."""
        start = b"\n" if self.is_torn else b""
        rest = memoryview(start + line + b"\n")
        try:
            writable = select.poll()
            writable.register(self.fd, select.POLLOUT)
            while rest:
                # A pipe that can be written to takes this much without waiting.
                if not writable.poll(0):
                    raise BlockingIOError
                rest = rest[os.write(self.fd, rest[: select.PIPE_BUF]) :]
                self.is_torn = bool(rest)
        except (OSError, ValueError):
            self.dropped += 1
            self.untold += 1
        else:
            self.lines[level] += 1
            self.untold = 0


_output = _Output()
_busy = threading.local()


class Logger(structlog.BoundLoggerBase):
    """How everything here logs: `log.warning("venue down", venue="perp")`. No call raises; `bind` as structlog's.

    Fields called as the line's own (`level`, `event`, ...) get an underscore behind. A message with arguments is
    formatted as by logging.
    """

    def debug(self, event: object, /, *args: object, **fields: Any) -> None:
        self._say("debug", event, args, fields)

    def info(self, event: object, /, *args: object, **fields: Any) -> None:
        self._say("info", event, args, fields)

    def warning(self, event: object, /, *args: object, **fields: Any) -> None:
        self._say("warning", event, args, fields)

    def error(self, event: object, /, *args: object, **fields: Any) -> None:
        self._say("error", event, args, fields)

    def critical(self, event: object, /, *args: object, **fields: Any) -> None:
        self._say("critical", event, args, fields)

    def exception(self, event: object, /, *args: object, **fields: Any) -> None:
        """Say it as an error, with the exception that is being handled."""
        self._say("error", event, args, {"exc_info": True} | fields)

    def say(self, level: str, event: object, /, **fields: Any) -> None:
        """Say it at a level given by name."""
        self._say(level, event, (), fields)

    def _say(self, level: str, event: object, args: tuple[object, ...], fields: Fields) -> None:
        if LEVELS.get(level, 0) < _output.threshold:
            return
        # The repr of a field, or a warning about it, may log in turn.
        if getattr(_busy, "is_logging", False):
            _output.failed += 1
            return
        _busy.is_logging = True
        try:
            named = {f"{key}_" if key in _HEAD else key: value for key, value in fields.items()}
            positional, _ = self._process_event(level, _formatted(event, args), named)
            _output.write(level, positional[0])
        except structlog.DropEvent:
            pass
        except Exception as error:  # noqa: BLE001 - a log call never raises; what failed is counted and told
            _output.failed += 1
            _output.write(level, _prefix(level) + _json(_add_head(None, level, _failure(error))))
        finally:
            _busy.is_logging = False


def get_logger(name: str) -> Logger:
    """Return the logger of a part of the process; `name` goes with every line."""
    return cast(Logger, structlog.get_logger().bind(logger=name))


def configure(role: str, level: str = "info", *, fd: int = 2, form: Form | None = None) -> None:
    """Set up the log of a process: its `role` (desk, guard, venue), the lowest level, where and how it is written.

    Takes over logging, warnings, and what nobody caught (exceptions, also of threads and finalizers). Without `form`
    it is chosen by what `fd` is. Raises KeyError for a level that is none.
    """
    _output.role, _output.threshold, _output.fd = role, LEVELS[level], fd
    _hold(fd)
    _output.form = form or _form_of(fd)
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(_output.threshold)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, _output.threshold))
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    sys.excepthook = _on_uncaught
    threading.excepthook = _on_uncaught_in_thread
    sys.unraisablehook = _on_unraisable


def statistics() -> LogStatistics:
    """Return what was written since the process began."""
    return LogStatistics(dict(_output.lines), _output.dropped, _output.failed)


def _hold(fd: int) -> None:
    """Let a descriptor that is closed lead nowhere: the next file opened, a journal maybe, would get its number."""
    try:
        os.fstat(fd)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != fd:
            os.dup2(nowhere, fd)
            os.close(nowhere)


def _form_of(fd: int) -> Form:
    status = os.fstat(fd)
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return Form.JOURNAL
    return Form.CONSOLE if os.isatty(fd) else Form.JSON


# What comes from elsewhere


class _Handler(logging.Handler):
    """Hands on what others log by the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        level = next((name for name in reversed(LEVELS) if LEVELS[name] <= record.levelno), "debug")
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        args = (record.args,) if isinstance(record.args, Mapping) else record.args or ()
        get_logger(record.name)._say(level, record.msg, args, fields)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        _output.failed += 1


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        get_logger("python").info("interrupted")
    else:
        get_logger("python").critical("uncaught", exc_info=(kind, error, trace))


def _on_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    error = args.exc_value or args.exc_type()
    name = args.thread.name if args.thread else ""
    get_logger("python").critical("uncaught", thread=name, exc_info=(args.exc_type, error, args.exc_traceback))


def _on_unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value or args.exc_type()
    told = args.err_msg or "an exception was ignored in"
    get_logger("python").error(told, object=args.object, exc_info=(args.exc_type, error, args.exc_traceback))


# From an event to a line


def _formatted(event: object, args: tuple[object, ...]) -> str:
    """Return the message; where its arguments do not fit, it is followed by them."""
    text = str(event)
    if not args:
        return text
    try:
        return text % (args[0] if len(args) == 1 and isinstance(args[0], Mapping) else args)
    except (TypeError, ValueError, KeyError):
        return f"{text} {args!r}"


def _add_head(_: object, level: str, fields: Fields) -> Fields:
    headed = _headed(level, fields)
    if _output.untold:
        headed["dropped_lines"] = _output.untold
    return headed


def _headed(level: str, fields: Fields) -> Fields:
    return {**_now(None, level, {}), "level": level, "role": _output.role, "event": "", **fields}


def _failure(error: Exception) -> Fields:
    """Return what may be said of a log call that failed: not the error's text, which nobody has redacted."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return {"event": "a log call failed", "error": type(error).__name__, "at": f"{frame.name}:{frame.lineno}"}


_now = structlog.processors.TimeStamper(fmt="iso", utc=True)
_structured = ExceptionDictTransformer(show_locals=False, max_frames=_FRAMES_MAX)


def _tell_exception(_: object, __: str, fields: Fields) -> Fields:
    given = fields.pop("exc_info", None)
    info = _exc_info(given)
    if info is None:
        return fields
    if _output.form is Form.CONSOLE:
        fields["exception"] = "".join(traceback.format_exception(*info)).rstrip()
    else:
        fields["exception"] = _structured(info)
    return fields


def _exc_info(given: object) -> _ExcInfo | None:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    found = given if isinstance(given, tuple) else sys.exc_info() if given else None
    return cast(_ExcInfo, found) if found and found[1] is not None else None


def _redact(_: object, __: str, fields: Fields) -> Fields:
    return cast(Fields, redacted(fields))


@cache
def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=True, sort_keys=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
    )


def _visible(fields: Fields) -> Fields:
    """Return the fields with control characters spelled out: what a venue sends must not steer a terminal."""
    trace = fields.pop("exception", None)
    shown: Fields = {
        key: value.translate(_CONTROLS) if isinstance(value, str) else value for key, value in fields.items()
    }
    return shown if trace is None else shown | {"exception": trace.translate(_CONTROLS_BUT_NEWLINE)}


def _render(_: object, level: str, fields: Fields) -> bytes:
    if _output.form is Form.CONSOLE:
        return _console()(None, level, _visible(fields)).encode(errors="backslashreplace")
    line = _prefix(level) + _json(fields)
    return line if len(line) <= LINE_BYTES_MAX else _prefix(level) + _json(_reduced(fields, len(line)))


def _json(fields: Fields) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _prefix(level: str) -> bytes:
    return b"<%d>" % _PRIORITIES[level] if _output.form is Form.JOURNAL else b""


def _reduced(fields: Fields, size: int) -> Fields:
    kept = {key: str(fields[key])[:_KEPT_CHARS] for key in (*_HEAD, "logger") if key in fields}
    traces = fields.get("exception")
    if isinstance(traces, list):
        kept["exception"] = "; ".join(f"{one['exc_type']}: {one['exc_value']}" for one in traces)[:_KEPT_CHARS]
    return kept | {"cut_bytes": size}


_PROCESSORS = [structlog.contextvars.merge_contextvars, _add_head, _tell_exception, _redact, _render]

structlog.configure(
    processors=cast(list[Processor], _PROCESSORS),
    wrapper_class=Logger,
    logger_factory=structlog.ReturnLoggerFactory(),
    cache_logger_on_first_use=False,
)
