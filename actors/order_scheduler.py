"""Decides when an order that starts later is asked for: at its time, never before, and not once it is too late.

The risk gate judges it then, by what is true then. A stop and a kill level that forbids resting orders drop what has
not started; what may open is dropped from REDUCE_ONLY on.
"""

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.config_checks import positive
from actors.group_messages import CancelScheduled, ScheduleOrder, ScheduleState, ScheduleUpdate
from actors.messages import CancelRequest, KillLevel, KillState, OrderRequest, ResumeCommand, StopCommand

_TIMER = "start"


@frozen
class SchedulerConfig:
    """At most `orders_max` orders wait."""

    orders_max: int = field(default=1_000, validator=positive)


@define
class Scheduled:
    request: OrderRequest
    not_before_ns: int
    not_after_ns: int | None


@define
class SchedulerState:
    """`waiting` by request id, in the order in which they were asked for."""

    waiting: dict[str, Scheduled] = field(factory=dict)
    kill: KillLevel = KillLevel.ARMED
    is_stopping: bool = False


class OrderScheduler(Actor):
    """Holds requests until their time. What waits is in its state: a restart forgets none and starts none twice."""

    publishes = (OrderRequest, CancelRequest, ScheduleUpdate)
    state: SchedulerState

    def __init__(self, config: SchedulerConfig | None = None, name: str = "order_scheduler") -> None:
        super().__init__(name)
        self.config = config or SchedulerConfig()
        self.state = SchedulerState()

    @handles(ScheduleOrder)
    def on_schedule(self, now: int, order: ScheduleOrder) -> None:
        why = self._objection(now, order)
        if why:
            self._tell(now, order.request, ScheduleState.REFUSED, why)
            return
        self.state.waiting[order.request.request_id] = Scheduled(order.request, order.not_before_ns, order.not_after_ns)
        self._tell(now, order.request, ScheduleState.WAITING)
        self._arm(now)

    def _objection(self, now: int, order: ScheduleOrder) -> str:
        """Return why the order cannot wait, an empty string when it can."""
        if not order.request.request_id or order.request.request_id in self.state.waiting:
            return f"request_id: {order.request.request_id!r} waits already, or is empty"
        if order.not_after_ns is not None and order.not_after_ns < max(now, order.not_before_ns):
            return f"not_after_ns: {order.not_after_ns} is before it may start"
        if len(self.state.waiting) >= self.config.orders_max:
            return f"{self.config.orders_max} orders wait already"
        return self._forbidden(order.request)

    def _forbidden(self, request: OrderRequest) -> str:
        if self.state.is_stopping:
            return "the desk stops"
        if self.state.kill >= KillLevel.CANCEL_ALL or (self.state.kill and not request.reduce_only):
            return f"kill level {self.state.kill.name}"
        return ""

    @handles(CancelScheduled)
    def on_cancel(self, now: int, cancel: CancelScheduled) -> None:
        """Take an order back; one that has started is cancelled at the venue."""
        scheduled = self.state.waiting.pop(cancel.request_id, None)
        if scheduled is None:
            self.out.emit(CancelRequest(now, cancel.request_id))
            return
        self._tell(now, scheduled.request, ScheduleState.CANCELED)
        self._arm(now)

    @handles(KillState)
    def on_kill(self, now: int, kill: KillState) -> None:
        self.state.kill = kill.level
        self._drop_forbidden(now)

    @handles(StopCommand)
    def on_stop(self, now: int, stop: StopCommand) -> None:
        self.state.is_stopping = True
        self._drop_forbidden(now)

    @handles(ResumeCommand)
    def on_resume(self, now: int, resume: ResumeCommand) -> None:
        self.state.is_stopping = False

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        self._arm(now)

    def on_timer(self, now: int, key: str) -> None:
        waiting = self.state.waiting
        for request_id, one in list(waiting.items()):
            if one.not_before_ns > now:
                continue
            del waiting[request_id]
            if one.not_after_ns is not None and one.not_after_ns < now:
                self._tell(now, one.request, ScheduleState.DROPPED, f"too late by {now - one.not_after_ns} ns")
                continue
            self._tell(now, one.request, ScheduleState.STARTED)
            self.out.emit(one.request)
        self._arm(now)

    def _drop_forbidden(self, now: int) -> None:
        for request_id, one in list(self.state.waiting.items()):
            why = self._forbidden(one.request)
            if why:
                del self.state.waiting[request_id]
                self._tell(now, one.request, ScheduleState.DROPPED, why)
        self._arm(now)

    def _arm(self, now: int) -> None:
        first = min((one.not_before_ns for one in self.state.waiting.values()), default=None)
        if first is None:
            self.out.cancel_timer(_TIMER)
        else:
            self.out.timer(_TIMER, max(now, first))

    def _tell(self, now: int, request: OrderRequest, state: ScheduleState, why: str = "") -> None:
        self.out.emit(ScheduleUpdate(now, request.request_id, request.strategy, state, why))
