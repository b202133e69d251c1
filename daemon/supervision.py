"""What a supervisor is told and what it tells: who its children are, which come back, what became of them.

The words and rules are those of Erlang/OTP's supervisor behaviour.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import trio
from attrs import field, frozen, validators

from daemon.logs import get_logger

_T = TypeVar("_T")

_SECOND_NS = 1_000_000_000

_log = get_logger("supervisor")


class Restart(StrEnum):
    """When a child that ended by itself is started again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(StrEnum):
    """Who is started again with a child: nobody, those started after it, all."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    ONE_FOR_ALL = "one_for_all"


class ChildState(StrEnum):
    """STOPPED: not started yet, or by the supervisor. ENDED: by itself. RESTARTING: did not start, will be tried."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    ENDED = "ended"


class EventKind(StrEnum):
    """STOPPED: ended after it was asked to, with an error or without. CUT_OFF: cancelled, its time to end being over.

    OVERDUE: still there long after that; only a child that shields itself can do so, and it is waited for.
    """

    STARTED = "started"
    NOT_STARTED = "not_started"
    ENDED = "ended"
    FAILED = "failed"
    RESTARTING = "restarting"
    CUT_OFF = "cut_off"
    OVERDUE = "overdue"
    STOPPED = "stopped"
    GAVE_UP = "gave_up"


COMES_BACK: Mapping[Restart, frozenset[EventKind]] = {
    Restart.PERMANENT: frozenset({EventKind.ENDED, EventKind.FAILED}),
    Restart.TRANSIENT: frozenset({EventKind.FAILED}),
    Restart.TEMPORARY: frozenset(),
}
"""After which end a child is started again."""

_LEVELS = {
    EventKind.STARTED: "info",
    EventKind.ENDED: "info",
    EventKind.STOPPED: "info",
    EventKind.CUT_OFF: "warning",
    EventKind.OVERDUE: "warning",
    EventKind.RESTARTING: "warning",
    EventKind.FAILED: "error",
    EventKind.NOT_STARTED: "error",
    EventKind.GAVE_UP: "critical",
}


def group_of(strategy: Strategy, children: Sequence[_T], index: int) -> Sequence[_T]:
    """Return who is started again when the child at `index` is, in starting order."""
    first, end = {
        Strategy.ONE_FOR_ONE: (index, index + 1),
        Strategy.REST_FOR_ONE: (index, len(children)),
        Strategy.ONE_FOR_ALL: (0, len(children)),
    }[strategy]
    return children[first:end]


class ChildStatus(Protocol):
    """What a child is given: how to say that it has started, and how to hear that it shall end."""

    @property
    def stop_requested(self) -> trio.Event:
        """Set when the child shall end in order; it is cancelled at the end of its `stop_within_ns`."""

    def started(self, value: Any = None) -> None:
        """Say that the child serves. Raises RuntimeError when it has said so before."""


class Start(Protocol):
    """A child's code; a function for `trio.Nursery.start` will do.

    It has started when it calls `task_status.started(value)`, and it runs until it returns, raises or is cancelled.
    """

    def __call__(self, *, task_status: ChildStatus) -> Awaitable[object]: ...


@frozen
class SupervisorStatistics:
    """A supervisor at one moment; `recent_restarts` are those that count towards its intensity."""

    name: str
    strategy: Strategy
    is_running: bool
    restarts: int
    recent_restarts: int
    children: "tuple[ChildStatistics, ...]"


@frozen
class ChildStatistics:
    """A child at one moment. `restarts` counts how often it was started again, `last_error` outlives a restart."""

    id: str
    state: ChildState
    restarts: int
    last_error: BaseException | None
    inside: SupervisorStatistics | None = None


def _is_length(_: object, attribute: Any, value: int | None) -> None:
    if value is not None and value < 0:
        raise ValueError(f"{attribute.name}: must not be negative, got {value}")


@frozen
class ChildSpec:
    """One child. A time that is None is unlimited.

    With `stop_within_ns` 0 a child is cancelled when it shall end; otherwise its `stop_requested` is set, and it is
    cancelled when it has not ended by then. A child that has not started yet is always cancelled. `inside` shows what
    a child supervises in turn.
    """

    id: str = field(validator=validators.min_len(1))
    start: Start
    restart: Restart = Restart.PERMANENT
    stop_within_ns: int | None = field(default=0, validator=_is_length)
    start_within_ns: int | None = field(default=30 * _SECOND_NS, validator=_is_length)
    inside: Callable[[], SupervisorStatistics] | None = None


@frozen
class ChildEvent:
    """Something that became of a child. `error` is why, `restarts` how often the child had been started again."""

    supervisor: str
    child: str
    kind: EventKind
    error: BaseException | None
    restarts: int


class ChildEndedError(Exception):
    """A permanent child returned."""


class ChildStartError(Exception):
    """A child did not start; the cause is what it raised, if anything."""


class SupervisorFailedError(Exception):
    """A supervisor gave up: `exceptions` are the errors that made it restart children too often, the last its cause.

    It is no ExceptionGroup: a handler of some of the errors must not take the failure apart.
    """

    def __init__(self, message: str, exceptions: Sequence[Exception]) -> None:
        super().__init__(f"{message}: {'; '.join(_said(error) for error in exceptions)}")
        self.message = message
        self.exceptions = tuple(exceptions)
        self.__cause__ = exceptions[-1]


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ChildStartError | ChildEndedError) else f"{type(error).__name__}: {error}"


def log_event(event: ChildEvent) -> None:
    """Write an event into the log."""
    level = "error" if event.kind is EventKind.STOPPED and event.error else _LEVELS[event.kind]
    fields = {"exc_info": event.error} if event.error else {}
    _log.say(
        level, f"child {event.kind}", supervisor=event.supervisor, child=event.child, restarts=event.restarts, **fields
    )
