"""When children are started, stopped and started again: Erlang/OTP's supervisor on trio.

- Children are started in order, each when the one before has started, and stopped in reverse order, each when the one
  after has ended.
- One thing is done at a time: what ends meanwhile is dealt with afterwards, in the order in which it ended.
- A restart that fails is tried again, and counts like any other towards the intensity: more than `intensity` restarts
  within `period_ns` (its bounds included) and the supervisor stops all its children and raises SupervisorFailedError.
- Whatever is started again with another child includes transient children that had ended well, and no temporary one.
- When all children have ended, the supervisor stays.

One difference is meant: a supervisor that gives up has failed, where OTP's ends with the reason `shutdown`, which the
parent of a transient supervisor takes for a good end.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import trio
from attrs import define, field

from daemon.logs import get_logger
from daemon.supervision import (
    COMES_BACK,
    ChildEndedError,
    ChildEvent,
    ChildSpec,
    ChildStartError,
    ChildState,
    ChildStatistics,
    EventKind,
    Restart,
    Strategy,
    SupervisorFailedError,
    SupervisorStatistics,
    group_of,
    log_event,
)

__all__ = [
    "ChildEndedError",
    "ChildEvent",
    "ChildSpec",
    "ChildStartError",
    "ChildState",
    "EventKind",
    "Restart",
    "Strategy",
    "Supervisor",
    "SupervisorFailedError",
]

_NS_PER_S = 1_000_000_000
_OVERDUE_S = 5.0

_log = get_logger("supervisor")


@define(eq=False)
class _Life:
    """One run of a child, from its start to its end; what the child knows as its `task_status`."""

    on_started: Callable[[], None]
    stop_requested: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=lambda: trio.CancelScope(shield=True))
    settled: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    is_started: bool = False
    is_late: bool = False
    value: Any = None
    error: BaseException | None = None
    stop_by: float = math.inf

    def started(self, value: Any = None) -> None:
        if self.is_started:
            raise RuntimeError("called 'started' twice on the same task status")
        # Too late: it is being ended, as one that did not start.
        if self.scope.cancel_called:
            return
        self.is_started, self.value = True, value
        self.settled.set()
        self.on_started()


@define(eq=False)
class _Child:
    spec: ChildSpec
    state: ChildState = ChildState.STOPPED
    life: _Life | None = None
    restarts: int = 0
    error: BaseException | None = None


class Supervisor:
    """Keeps its children running. `run` it in a nursery, as a child of another supervisor, or by `trio.run`.

    `on_event` hears what becomes of every child, at once; when it raises, that is logged and the supervisor goes on.
    `restart_delay_ns` passes before each restart, and whatever else happens meanwhile waits.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec],
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 1,
        period_ns: int = 5 * _NS_PER_S,
        restart_delay_ns: int = 0,
        on_event: Callable[[ChildEvent], None] = log_event,
    ) -> None:
        """Raises ValueError: two children of one id, a negative number, a period of nothing."""
        ids = [spec.id for spec in children]
        if len(set(ids)) != len(ids):
            raise ValueError(f"{name}: several children have one id: {', '.join(ids)}")
        if intensity < 0 or restart_delay_ns < 0 or period_ns <= 0:
            raise ValueError(f"{name}: intensity and delay are not negative, the period is above zero")
        self.name = name
        self.strategy = strategy
        self._intensity = intensity
        self._period_s = period_ns / _NS_PER_S
        self._delay_s = restart_delay_ns / _NS_PER_S
        self._on_event = on_event
        self._children = [_Child(spec) for spec in children]
        self._restarts = 0
        self._recent: deque[tuple[float, Exception]] = deque()
        # Who ended in which life, or who shall be started again (None).
        self._waiting_in, self._waiting = trio.open_memory_channel[tuple[_Child, _Life | None]](math.inf)
        self._scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._fatal: BaseException | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the children and keep them running until `stop`, or until cancelled.

        However it ends, all children are stopped first. Raises ChildStartError when one does not start to begin with,
        SupervisorFailedError when restarts are too frequent, and what a child raises that is no Exception.
        """
        if self._scope is not None:
            raise RuntimeError(f"{self.name} is running already")
        self._scope = scope = trio.CancelScope()
        self._renew()
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as self._nursery:
                try:
                    # Children shield themselves; this does not, so that it hears of a cancellation from outside.
                    with scope:
                        failure = await self._supervise(task_status)
                finally:
                    await self._stop_all()
        finally:
            self._scope = None
        if self._fatal is not None:
            raise self._fatal
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Have the children stopped in order; `run` returns when they have ended. Without effect when not running."""
        if self._scope is not None:
            self._scope.cancel()

    def as_child(self, restart: Restart = Restart.PERMANENT) -> ChildSpec:
        """Return this supervisor as the child of another. It takes whatever time its own children may take."""
        return ChildSpec(self.name, self.run, restart, start_within_ns=None, inside=self.statistics)

    def value(self, child: str) -> Any:
        """Return what the running child gave to `started`. Raises LookupError when it is not running."""
        for one in self._children:
            if one.spec.id == child and one.life is not None and one.state is ChildState.RUNNING:
                return one.life.value
        raise LookupError(f"{self.name}: {child} is not running")

    def children(self) -> tuple[ChildStatistics, ...]:
        """Return the children as they are, in starting order."""
        return tuple(
            ChildStatistics(
                one.spec.id, one.state, one.restarts, one.error, None if one.spec.inside is None else one.spec.inside()
            )
            for one in self._children
        )

    def statistics(self) -> SupervisorStatistics:
        """Return the supervisor and its children as they are."""
        is_running = self._scope is not None
        recent = len(self._in_period(trio.current_time())) if is_running else 0
        return SupervisorStatistics(self.name, self.strategy, is_running, self._restarts, recent, self.children())

    def _renew(self) -> None:
        self._fatal = None
        self._recent.clear()
        self._waiting_in, self._waiting = trio.open_memory_channel(math.inf)
        for child in self._children:
            child.state, child.life = ChildState.STOPPED, None

    # What happens, one after the other

    async def _supervise(self, task_status: trio.TaskStatus[None]) -> Exception:
        """Return why it cannot go on."""
        for child in self._children:
            error = await self._start(child)
            if error is not None:
                return error
        task_status.started()
        while True:
            child, life = await self._waiting.receive()
            cause = self._reason_to_restart(child, life)
            if cause is None:
                continue
            if not self._may_restart(cause):
                self._tell(child, EventKind.GAVE_UP, cause)
                what = f"{self.name}: more than {self._intensity} restarts within {self._period_s:g} s"
                return SupervisorFailedError(what, [error for _, error in self._recent])
            self._tell(child, EventKind.RESTARTING, cause)
            await self._restart(child)

    def _reason_to_restart(self, child: _Child, life: _Life | None) -> Exception | None:
        if life is None:
            # Meanwhile it may have been started together with others.
            assert isinstance(child.error, Exception)
            return child.error if child.state is ChildState.RESTARTING else None
        if life is not child.life:
            return None
        end = EventKind.ENDED if life.error is None else EventKind.FAILED
        if end not in COMES_BACK[child.spec.restart]:
            return None
        assert life.error is None or isinstance(life.error, Exception)
        return life.error or ChildEndedError(f"{self.name}: {child.spec.id} ended, though it is permanent")

    def _may_restart(self, cause: Exception) -> bool:
        now = trio.current_time()
        self._recent.append((now, cause))
        self._recent = self._in_period(now)
        return len(self._recent) <= self._intensity

    def _in_period(self, now: float) -> deque[tuple[float, Exception]]:
        return deque((at, error) for at, error in self._recent if at >= now - self._period_s)

    async def _restart(self, child: _Child) -> None:
        group = group_of(self.strategy, self._children, self._children.index(child))
        self._restarts += 1
        await self._stop(group)
        if self._delay_s:
            await trio.sleep(self._delay_s)
        for one in group:
            if one.spec.restart is Restart.TEMPORARY:
                continue
            one.restarts += 1
            if await self._start(one) is not None:
                one.state = ChildState.RESTARTING
                # Behind what has ended meanwhile, and behind a request to stop.
                self._waiting_in.send_nowait((one, None))
                return

    # One child

    async def _start(self, child: _Child) -> ChildStartError | None:
        """Start it and wait until it has started; return why it has not."""
        life = _Life(partial(self._on_started, child))
        child.life, child.state = life, ChildState.STARTING
        assert self._nursery is not None
        self._nursery.start_soon(self._live, child, life, name=f"{self.name}/{child.spec.id}")
        with trio.move_on_after(_seconds(child.spec.start_within_ns)):
            await life.settled.wait()
        if not life.settled.is_set():
            life.is_late = True
            await self._cut_off(child, life)
        if life.is_started:
            return None
        child.life, child.state = None, ChildState.STOPPED
        assert isinstance(life.error, ChildStartError)
        return life.error

    def _on_started(self, child: _Child) -> None:
        child.state = ChildState.RUNNING
        self._tell(child, EventKind.STARTED)

    async def _live(self, child: _Child, life: _Life) -> None:
        try:
            with life.scope:
                await child.spec.start(task_status=life)
        except Exception as error:  # noqa: BLE001 - a child may fail in any way; the supervisor deals with it
            life.error = error
        except BaseException as error:  # noqa: BLE001 - not to be survived: `run` raises it when all are stopped
            life.error = error
            self._fatal = self._fatal or error
            self.stop()
        if child.state is ChildState.STOPPING:
            kind = EventKind.STOPPED
        elif life.is_started:
            kind = EventKind.FAILED if life.error else EventKind.ENDED
            child.state = ChildState.ENDED
            self._waiting_in.send_nowait((child, life))
        else:
            kind = EventKind.NOT_STARTED
            life.error = self._start_error(child, life)
        child.error = life.error or child.error
        self._tell(child, kind, life.error)
        life.settled.set()
        life.ended.set()

    def _start_error(self, child: _Child, life: _Life) -> ChildStartError:
        raised = life.error
        why = "it ended"
        if life.is_late:
            why = f"it took longer than {_seconds(child.spec.start_within_ns):g} s"
        elif raised is not None:
            why = str(raised) if isinstance(raised, ChildStartError) else f"{type(raised).__name__}: {raised}"
        error = ChildStartError(f"{self.name}: {child.spec.id} did not start: {why}")
        error.__cause__ = raised
        return error

    async def _stop(self, group: Sequence[_Child]) -> None:
        """Stop those who run, the last first. Taken up where it was left when it is cancelled and called again."""
        for child in reversed(group):
            if child.life is not None:
                await self._end(child, child.life)
                child.life = None
            if child.state is not ChildState.ENDED:
                child.state = ChildState.STOPPED

    async def _stop_all(self) -> None:
        with trio.CancelScope(shield=True):
            try:
                await self._stop(self._children)
            finally:
                # A second interrupt leaves nobody to wait for them.
                for child in self._children:
                    if child.life is not None:
                        child.life.scope.cancel()

    async def _end(self, child: _Child, life: _Life) -> None:
        if life.ended.is_set():
            return
        has_time = life.is_started and child.spec.stop_within_ns != 0
        if child.state is not ChildState.STOPPING:
            child.state = ChildState.STOPPING
            life.stop_by = trio.current_time() + _seconds(child.spec.stop_within_ns)
            life.stop_requested.set()
        if has_time:
            with trio.move_on_at(life.stop_by):
                await life.ended.wait()
                return
            if not life.scope.cancel_called:
                self._tell(child, EventKind.CUT_OFF)
        await self._cut_off(child, life)

    async def _cut_off(self, child: _Child, life: _Life) -> None:
        life.scope.cancel()
        with trio.move_on_after(_OVERDUE_S):
            await life.ended.wait()
            return
        self._tell(child, EventKind.OVERDUE)
        await life.ended.wait()

    def _tell(self, child: _Child, kind: EventKind, error: BaseException | None = None) -> None:
        try:
            self._on_event(ChildEvent(self.name, child.spec.id, kind, error, child.restarts))
        except Exception:  # noqa: BLE001 - whoever listens, the children come first
            _log.exception("a listener to a supervisor failed", supervisor=self.name, child=child.spec.id, kind=kind)


def _seconds(length_ns: int | None) -> float:
    return math.inf if length_ns is None else length_ns / _NS_PER_S
