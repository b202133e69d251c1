"""Which tasks make up the desk process, who watches over them, and when the process ends."""

import os
import select
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio
from attrs import define

from actors.messages import KillLevel
from daemon.admin.calls import Role
from daemon.admin.methods import DeskMethods
from daemon.admin.server import AdminServer
from daemon.build import build_id
from daemon.live.children import Child, ChildLostError, Watched, keep
from daemon.live.desk import Desk
from daemon.live.sockets import listen, listener_at
from daemon.live.steering import Steering
from daemon.logs import get_logger
from daemon.metrics.collector import DeskCollector
from daemon.metrics.server import serve_metrics
from daemon.notify import Notifier, beat
from daemon.pacing import tick
from daemon.supervision import ChildEvent, EventKind, log_event
from daemon.supervisor import ChildSpec, ChildStartError, Strategy, Supervisor, SupervisorFailedError

_log = get_logger("process")

_MINUTE_NS = 60_000_000_000
_RESTARTS = 20
_STATUS_S = 1.0
_STARTING_S = 0.1
_OVERDUE_NS = 1_000_000_000
_SYNC_AGE_S = 5.0
_LEAVE_S = 5.0
_EXTENSION_NS = 20_000_000_000


@define
class Ending:
    """How the process comes to its end: why, and whether that is a failure."""

    why: str = ""
    is_failure: bool = False


class DeskProcess:
    """The tasks of one desk.

    Links, keepers and servers are restarted alone; when one of them will not stay up, or the cell fails, the process
    ends. The guard hears no farewell then, and cancels.
    """

    def __init__(
        self,
        desk: Desk,
        children: Sequence[Child],
        notifier: Notifier,
        sockets: Mapping[str, Sequence[socket.socket]],
    ) -> None:
        self._desk = desk
        self._children = children
        self._notifier = notifier
        self._sockets = sockets
        self._ending = Ending()
        self._is_ready = False
        self._supervisor = self._tree()

    def run(self) -> Ending:
        """Run until the end; return how it came to it."""
        trio.run(self._run)
        return self._ending

    # The tree

    def _tree(self) -> Supervisor:
        desk = self._desk
        return Supervisor(
            "desk",
            [
                *self._keep(0),
                self._often("venue", [ChildSpec("venue link", desk.link.run, start_within_ns=None)]),
                ChildSpec("cell", self._cell, start_within_ns=None),
                *self._keep(1),
                self._often("guard", [_task("guard link", desk.run_guard_link)]),
                self._often(
                    "edges",
                    [
                        _task("log sync", desk.sync_log),
                        _task("channels", desk.run_channels),
                        _task("snapshots", desk.write_snapshots),
                        _task("executions", desk.write_executions),
                        ChildSpec("metrics", self._metrics),
                        ChildSpec("admin view", partial(self._admin, Role.VIEW)),
                        ChildSpec("admin ops", partial(self._admin, Role.OPS)),
                        ChildSpec("watchdog", self._watchdog),
                        _task("status", self._tell_status),
                    ],
                ),
            ],
            strategy=Strategy.ONE_FOR_ALL,
            intensity=0,
            on_event=self._on_event,
        )

    def _often(self, name: str, children: Sequence[ChildSpec]) -> ChildSpec:
        return Supervisor(name, children, intensity=_RESTARTS, period_ns=_MINUTE_NS, on_event=self._on_event).as_child()

    def _keep(self, index: int) -> list[ChildSpec]:
        """Return who keeps the process of the venues (0) or the guard (1) running; nobody for units of their own."""
        desk = self._desk
        if not self._children:
            return []
        child = self._children[index]

        async def run() -> None:
            link: Watched = desk.guard if index else desk.link
            try:
                await keep(child, link)
            except ChildLostError as error:
                # The supervisor may be waiting for what that process was to serve.
                self._ending = Ending(str(error), is_failure=True)
                self._supervisor.stop()

        return [_task(f"{child.module} keeper", run)]

    def _on_event(self, event: ChildEvent) -> None:
        log_event(event)
        if event.kind is EventKind.RESTARTING:
            self._desk.edges.note_edge_restart(event.child)

    async def _cell(self, *, task_status: Any) -> None:
        desk = self._desk
        while not desk.venues.welcome.is_set():
            # A venue may take as long as it takes; the service manager is told that we wait on purpose.
            self._notifier.extend_timeout(_EXTENSION_NS)
            self._notifier.status(desk.why_not_ready())
            with trio.move_on_after(_EXTENSION_NS / 4e9):
                await desk.venues.welcome.wait()
        desk.begin()
        task_status.started()
        await desk.run_cell()

    async def _metrics(self, *, task_status: Any) -> None:
        desk = self._desk
        collector = DeskCollector(desk.cell, desk.edges, desk.config, desk.venues.clock.now, build_id())

        async def serve(*, task_status: trio.TaskStatus[int]) -> None:
            port = desk.settings.metrics_port
            await serve_metrics(
                collector, "127.0.0.1", port, lambda: desk.why_not_ready() or "READY", task_status=task_status
            )

        try:
            async with trio.open_nursery() as nursery:
                desk.metrics_port = await nursery.start(serve)
                task_status.started()
        except OSError as error:
            # No metrics is a nuisance, no reason to stop trading: somebody else may hold the port for a while.
            _log.error("metrics", why=str(error), port=desk.settings.metrics_port)
            task_status.started()
            await trio.sleep(_LEAVE_S)

    async def _admin(self, role: Role, *, task_status: Any) -> None:
        """Serve one admin socket: systemd's if it gave one, else a file of our own."""
        paths, steering = self._desk.paths, Steering(self._desk)
        given = self._sockets.get(role.value)
        listener = given[0] if given else listen(paths.view_socket if role is Role.VIEW else paths.ops_socket)
        try:
            await AdminServer(
                listener,
                role,
                DeskMethods(steering, steering).table,
                journal=steering.journal,
                now=steering.now,
            ).run(task_status=task_status)
        finally:
            if not given:
                listener.close()

    async def _watchdog(self, *, task_status: Any) -> None:
        await beat(self._notifier, self.why_sick, task_status=task_status)

    # Health

    def why_sick(self) -> str:
        """Return why the watchdog must not be told that all is well, empty when it is."""
        desk = self._desk
        if not desk.has_begun:
            return ""
        live = desk.live
        if live.why_failed:
            return live.why_failed
        timer_ns = live.cell.next_timer()
        if timer_ns is not None and live.clock.late_ns(timer_ns) > _OVERDUE_NS:
            return "the cell does not progress: a timer is overdue"
        age_s = trio.current_time() - live.synced_at
        desk.edges.note_watchdog(live.clock.now())
        return f"the journal was synced {age_s:.1f} s ago" if age_s > _SYNC_AGE_S else ""

    async def _tell_status(self) -> None:
        said = None
        while True:
            why = self._desk.why_not_ready()
            if not why and not self._is_ready:
                self._is_ready = True
                self._notifier.ready("ready")
                _log.info("ready", run=self._desk.folder.name, kill_level=self._desk.level.name.lower())
            text = why or f"ready, {self._desk.level.name.lower().replace('_', ' ')}"
            if text != said:
                said = text
                self._notifier.status(text)
                if why:
                    _log.warning("not ready", why=why)
            if not self._is_ready:
                self._notifier.extend_timeout(_EXTENSION_NS)
            await tick(_STATUS_S if self._is_ready else _STARTING_S)

    # The end

    async def _run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_signals)
                nursery.start_soon(self._supervise, nursery.cancel_scope)
                nursery.start_soon(self._lead)
        finally:
            self._notifier.stopping(self._ending.why)
        if not self._ending.is_failure:
            await self._end_children()

    async def _supervise(self, scope: trio.CancelScope) -> None:
        try:
            await self._supervisor.run()
        except (ChildStartError, SupervisorFailedError) as error:
            self._ending = Ending(str(error), is_failure=True)
        scope.cancel()

    async def _lead(self) -> None:
        """Meet the guard, wait for the end to come, and end in order."""
        desk = self._desk
        await desk.begun.wait()
        await desk.meet_guard()
        async with trio.open_nursery() as nursery:
            for event, why, is_failure in (
                (desk.venues.ended, "the market is over", False),
                (desk.asked_to_stop, "asked to stop", False),
                (desk.live.failed, "failed", True),
            ):
                nursery.start_soon(self._end_on, event, Ending(why, is_failure=is_failure), nursery.cancel_scope)
        self._notifier.stopping(self._ending.why)
        if self._ending.is_failure:
            self._ending.why = desk.live.why_failed
            desk.guard.raise_to(KillLevel.CANCEL_ALL, "desk/failed", desk.live.why_failed)
            await desk.link.drain()
        else:
            missed = await desk.stop(self._ending.why)
            if missed:
                self._ending = Ending(f"not done in time: {', '.join(missed)}", is_failure=True)
        self._supervisor.stop()

    async def _end_on(self, event: trio.Event, ending: Ending, scope: trio.CancelScope) -> None:
        await event.wait()
        self._ending = ending
        scope.cancel()

    async def _watch_signals(self) -> None:
        desk = self._desk
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                name = signal.Signals(number).name
                if desk.asked_to_stop.is_set() or not desk.has_begun:
                    # Asked twice, or there is nothing yet to end in order. The guard cancels what may rest.
                    self._ending = Ending(f"ended by {name}", is_failure=desk.has_begun)
                    self._supervisor.stop()
                    return
                _log.info("stopping", signal=name)
                desk.asked_to_stop.set()

    async def _end_children(self) -> None:
        """End guard, venues and gateways, which we started or took over: nothing is left for them to do."""
        if not self._children:
            return
        paths = self._desk.paths
        for path in (paths.guard_socket, paths.venue_socket, paths.guard_venue_socket):
            pid = listener_at(path)
            if pid is None:
                continue
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                signal.pidfd_send_signal(fd, signal.SIGTERM)
                with trio.move_on_after(_LEAVE_S):
                    await trio.lowlevel.wait_readable(fd)
                if not select.select([fd], [], [], 0)[0]:
                    _log.warning("left behind", pid=pid, socket=path.name)
            finally:
                os.close(fd)


def _task(name: str, run: Callable[[], Awaitable[None]]) -> ChildSpec:
    """Return a child that serves from its first moment."""

    async def start(*, task_status: Any) -> None:
        task_status.started()
        await run()

    return ChildSpec(name, start)
