"""The live desk put together: cell, journal, links; how it begins, and how it ends."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from actors.cell import Cell
from actors.control import Baselines, DeskHello, GuardStatus
from actors.dead_man import DeadManKeeper
from actors.guardian_records import GuardConfig
from actors.kill_switch import KillConfig
from actors.messages import KillCommand, KillLevel, ResumeCommand
from actors.notices import ChannelState
from actors.notifier import Notifier
from actors.snapshot import SnapshotError
from daemon.app import build_cell
from daemon.build import build_id
from daemon.channels.channels import Channels, build_channels
from daemon.channels.config import ChannelsConfig
from daemon.config_daemon import DaemonConfig
from daemon.config_schema import RunConfig
from daemon.executions.rows import RowMaker
from daemon.executions.writer import ExecutionWriter
from daemon.link.client import VenueLink
from daemon.live.api_times import ApiTimes
from daemon.live.clock import MarketClock
from daemon.live.clock_watch import ClockWatch
from daemon.live.driver import LiveCell
from daemon.live.guard_link import GuardLink
from daemon.live.paths import StatePaths
from daemon.live.recovery import Recovery, next_run_folder
from daemon.live.shutdown import Quiet, StopStep, run_steps
from daemon.live.venues import DeskVenues
from daemon.log import LogWriteError, RunLog, UnreadableRecordError
from daemon.logs import get_logger
from daemon.metrics.edges import EdgeStats
from venues.port import Command, Message, Report, VenueDown

_log = get_logger("desk")

_GUARD_S = 10.0


@define
class Desk:
    """One process life of a desk. `mode` is run (starts disarmed) or paper."""

    config: RunConfig
    settings: DaemonConfig
    paths: StatePaths
    mode: str
    recovery: Recovery | None
    begun: trio.Event = field(factory=trio.Event)
    asked_to_stop: trio.Event = field(factory=trio.Event)
    edges: EdgeStats = field(factory=EdgeStats)
    venues: DeskVenues = field(init=False)
    link: VenueLink = field(init=False)
    live: LiveCell = field(init=False)
    guard: GuardLink = field(init=False)
    executions: ExecutionWriter = field(init=False)
    folder: Path = field(init=False)
    start_ns: int = field(init=False, default=0)
    metrics_port: int | None = field(init=False, default=None)
    guard_settings: GuardConfig = field(init=False)
    _times: ApiTimes = field(init=False)
    _dead_man_accounts: tuple[str, ...] = field(init=False, default=())
    credentials: Path | None = None
    channels: Channels = field(init=False)
    _told_level: KillLevel = field(init=False, default=KillLevel.ARMED)
    _noticed: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        channels = self.config.section("channels", ChannelsConfig)
        self.channels = build_channels(channels, self.config.run.name, self.credentials, self._channel_changed)
        self.edges.notices = {name: one.counts for name, one in self.channels.outlets.items()}
        self.guard_settings = self.config.section("guard", GuardConfig)
        seen_ns = 0 if self.recovery is None else self.recovery.now
        # Until the venue tells, no time passes.
        clock = MarketClock(seen_ns, 0, 0)
        with_timers = {one.venue for one in self.config.instruments.values() if not one.is_spot}
        self._dead_man_accounts = tuple(one.id for one in self.config.accounts.values() if one.venue in with_timers)
        self._times = ApiTimes(self.edges, self._venue_of)
        watch = ClockWatch(self.config.section("kill_switch", KillConfig).clock_skew_ns)
        self.venues = DeskVenues(clock, self.edges, self._times, seen_ns, watch)
        self.link = VenueLink(
            self.paths.venue_socket,
            self.venues,
            client="desk",
            wants_market=True,
            venue_of=self._venue_of,
            now=clock.now,
        )

    def _venue_of(self, account: str) -> str:
        return self.config.accounts[account].venue

    def _send(self, commands: Sequence[Command]) -> list[Report]:
        back = self.link.send(commands)
        # Behind it: no answer is read before we are back.
        self._times.sent(commands)
        return back

    @property
    def cell(self) -> Cell:
        return self.live.cell

    @property
    def has_begun(self) -> bool:
        return self.begun.is_set()

    @property
    def level(self) -> KillLevel:
        """The kill level that holds for the cell."""
        level: KillLevel = self.cell.dispatcher.actors["kill_switch"].state.level
        return level

    # Beginning

    def begin(self) -> None:
        """Open this life's log and let the cell begin, or go on; the venue has told the time by now.

        Raises LogWriteError, SnapshotError.
        """
        clock, recovery = self.venues.clock, self.recovery
        now = self.start_ns = clock.now()
        snapshot = None if recovery is None else recovery.snapshot
        self.folder = next_run_folder(self.paths.runs)
        self.edges.started_ns, self.edges.restarts = now, int(self.folder.name) - 1
        log = RunLog.create(
            self.folder / "log",
            self.config.text,
            self.config.sha256,
            build_id(),
            now,
            durable=True,
            mode=self.mode,
            snapshot=snapshot,
        )
        cell = build_cell(self.config, log)
        self.live = LiveCell(cell, log, clock, self.edges, dict.fromkeys(self.config.accounts, self._send))
        self.guard = GuardLink(
            self.paths.guard_socket,
            self.live,
            lambda: DeskHello(clock.now(), os.getpid(), self.folder.name, build_id(), self.mode),
            beat_ns=self.guard_settings.heartbeat_ns,
            timeout_ns=self.guard_settings.heartbeat_timeout_ns,
        )
        self.live.lease = self.guard.lease
        self.guard.on_news = self._guard_heard
        self.live.after_pump += [self._after_pump, self._tell_people]
        self.live.start(now, snapshot)
        # What was told before is told again by its cooldown, if it lasts.
        self._noticed = self.cell.dispatcher.actors["notifier"].state.last
        self.executions = ExecutionWriter(
            self.paths.executions, RowMaker.of(self.config), cell, self.paths.state, self._raise_alarm
        )
        self.live.after_pump.append(self.executions.look)
        self._tell_the_cell(now)
        self.live.pump_at(now, is_timer_due=False)
        self.venues.attach(self.live, self.link)
        self.begun.set()

    def _tell_the_cell(self, now: int) -> None:
        """Say what a cell must know before the first report: what it goes on from, no guard yet, disarmed or not."""
        recovery = self.recovery
        if recovery is not None:
            # Whatever was on its way may have arrived or not; reports were missed.
            self.live.offer(ResumeCommand(now, f"goes on from run {recovery.folder.parent.name}"))
            self.live.offer(*[VenueDown(now, venue, why="the desk was down") for venue in self.config.venues])
            if not recovery.is_complete:
                # Client ids may have been used that nobody remembers: a person looks before anything is opened.
                why = "; ".join(recovery.warnings) or "its log is not complete"
                self.live.offer(KillCommand(now, "recovery", KillLevel.REDUCE_ONLY, why))
        self.live.offer(GuardStatus(now, is_up=False, why="not connected yet"))
        unapproved = self.why_unapproved()
        if unapproved:
            self.live.offer(KillCommand(now, "approval", KillLevel.REDUCE_ONLY, unapproved))
        if self.mode == "run":
            self.live.offer(KillCommand(now, "startup", KillLevel.REDUCE_ONLY, "a desk starts disarmed"))

    def why_unapproved(self) -> str:
        """Return why this build must not be armed with this configuration, an empty string when it may."""
        return self.settings.unapproved(build_id(), self.config.sha256)

    async def run_channels(self) -> None:
        await self.channels.run()

    def _tell_people(self) -> None:
        notifier: Notifier = self.cell.dispatcher.actors["notifier"]  # type: ignore[assignment]
        if notifier.state.last != self._noticed:
            for notice in notifier.since(self._noticed):
                self.channels.post(notice)
            self._noticed = notifier.state.last

    def _channel_changed(self, name: str, is_up: bool, why: str) -> None:
        if self.has_begun and not self.live.why_failed:
            self.live.offer(ChannelState(self.venues.clock.now(), name, is_up, why))
            self.live.pump()

    async def run_cell(self) -> None:
        await self.live.run_timers()

    async def run_guard_link(self) -> None:
        await self.guard.run()

    async def sync_log(self) -> None:
        await self.live.sync_log()

    async def write_executions(self) -> None:
        await self.executions.run()

    def _raise_alarm(self, incident: Message) -> None:
        if not self.live.why_failed:
            self.live.offer(incident)
            self.live.pump()

    async def meet_guard(self) -> None:
        """Wait for the guard's first word, then let granted time run; without a guard nothing is opened."""
        with trio.move_on_after(_GUARD_S) as waiting:
            await self.guard.came_up.wait()
        if waiting.cancelled_caught:
            _log.error("no guard", why=self.guard.why_down)
        self.venues.release()

    def _after_pump(self) -> None:
        state = self.cell.dispatcher.actors["kill_switch"].state
        if state.level is not self._told_level:
            is_raised, self._told_level = state.level > self._told_level, state.level
            if is_raised:
                last = next(reversed(state.triggers), "desk")
                self.guard.raise_to(state.level, f"desk/{last}", state.conditions.get(last, ""))

    def _guard_heard(self) -> None:
        """The guard said something, or is gone."""
        guard = self.guard
        self.edges.note_guard(is_up=guard.is_up, is_in_charge=guard.state is not None and guard.state.is_in_charge)
        if guard.is_up:
            self._tell_baselines()
            self._note_dead_men()

    def _note_dead_men(self) -> None:
        """Note what the venues have confirmed, which is not what was sent."""
        now = self.venues.clock.now()
        keeper: DeadManKeeper = self.cell.dispatcher.actors["dead_man"]  # type: ignore[assignment]
        for account in self._dead_man_accounts:
            left = keeper.remaining_ns(now, account)
            self.edges.note_dead_man(account, None if left is None else now + left)

    def _tell_baselines(self) -> None:
        for account, sync in self.cell.dispatcher.actors["position_synchronizer"].state.accounts.items():
            if sync.baseline:
                self.guard.tell_baselines(Baselines(self.venues.clock.now(), account, dict(sync.baseline)))

    # State of affairs

    def why_not_ready(self) -> str:
        """Return why the desk is not ready, empty when it is: every venue reconciled, the guard there, no failure."""
        if not self.has_begun:
            return f"waiting for the venues: {self.link.why_down}"
        if self.live.why_failed:
            return self.live.why_failed
        if not self.link.is_up:
            return f"venue link down: {self.link.why_down}"
        unreconciled = self.cell.dispatcher.actors["risk_gate"].state.unreconciled
        if unreconciled:
            return "; ".join(f"{account} is read-only: {why}" for account, why in sorted(unreconciled.items()))
        return "" if self.guard.is_up else f"guard down: {self.guard.why_down}"

    async def write_snapshots(self) -> None:
        """Write the cell's state down now and then."""
        while True:
            await trio.sleep(self.settings.snapshot_ns / 1e9)
            self.write_snapshot()

    def write_snapshot(self) -> None:
        live = self.live
        if live.why_failed or not live.cell.dispatcher.is_idle:
            return
        try:
            live.log.commit()
            live.log.write_snapshot(live.cell.dispatcher.seq, live.cell.dispatcher.now, live.cell.snapshot())
        except LogWriteError as error:
            live.fail(f"the journal failed: {error}")
        except (SnapshotError, UnreadableRecordError) as error:
            # Only a strategy of a user's can have such a state; the journal has everything all the same.
            _log.error("no snapshot", why=str(error))

    # Ending

    async def stop(self, why: str) -> list[str]:
        """End in order; return the steps that were not done in time."""
        quiet, settings = Quiet(self.live), self.settings
        missed = await run_steps(
            [
                StopStep("refuse intents", 1.0, quiet.refuse_intents),
                StopStep("baskets", settings.stop_baskets_ns / 1e9, quiet.baskets_done),
                StopStep("orders", settings.stop_orders_ns / 1e9, quiet.orders_gone),
            ]
        )
        if missed or self.live.why_failed:
            # No bye: the guard takes the silence for what it is and cancels.
            return missed or [self.live.why_failed]
        await self.guard.leave(why)
        await self.link.drain()
        self.write_snapshot()
        return missed

    def close(self) -> str:
        """Seal the log; return its journal_sha256. Raises LogWriteError."""
        self.executions.finish()
        return self.live.log.close()

    def info(self) -> dict[str, Any]:
        """Return what `basisctl status` says of the process."""
        guard = self.guard
        why = self.why_not_ready()
        return {
            "mode": self.mode,
            "run": self.folder.name,
            "name": self.config.run.name,
            "build": build_id(),
            "config_sha256": self.config.sha256,
            "pid": os.getpid(),
            "is_ready": not why,
            "why_not_ready": why,
            "guard": {
                "is_up": guard.is_up,
                "why": "" if guard.is_up else guard.why_down,
                "level": guard.state.level.name.lower() if guard.state is not None else None,
                "is_in_charge": guard.state.is_in_charge if guard.state is not None else None,
            },
            "venues": {venue: {"is_up": self.link.is_up, "why": self.link.why_down} for venue in self.config.venues},
            "lanes": self.cell.dispatcher.depths,
            "started_ns": self.start_ns,
            "metrics_port": self.metrics_port,
        }
