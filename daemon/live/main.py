"""What `basisd run` and `basisd paper` do: one desk process, from its lock to its last word."""

import json
import sys
from argparse import Namespace
from fractions import Fraction
from pathlib import Path
from time import perf_counter

from attrs import evolve

from actors.snapshot import SnapshotError
from daemon.app import build_cell
from daemon.backtest import Outcome
from daemon.basket_account import baskets_of
from daemon.channels.config import ChannelsConfig, credentials_of
from daemon.check import load_or_exit
from daemon.config import ConfigErrors, parse
from daemon.config_daemon import DaemonConfig
from daemon.config_schema import Live, RunConfig, Stored, Synthetic
from daemon.config_structure import parse_duration
from daemon.exits import FAILED, USAGE, ExitError
from daemon.kinds import KINDS
from daemon.live.children import Child
from daemon.live.clock import parse_speed
from daemon.live.desk import Desk
from daemon.live.lockfile import FolderInUseError, lock
from daemon.live.memory import set_aside
from daemon.live.paths import StatePaths
from daemon.live.process import DeskProcess, Ending
from daemon.live.recovery import Recovery, RecoveryError, last_run, recover
from daemon.live.sockets import listener_at
from daemon.log import LogCorruptError, UnreadableRecordError
from daemon.logs import Logger, configure, get_logger
from daemon.notify import Notifier, take_sockets
from daemon.secrets import CredentialError, CredentialErrors, harden, load, load_account_secrets
from daemon.summary import summarize
from sim.cell_loop import DriverResult
from sim.clocks import ClockStatistics
from venues.model.money import desk_arithmetic

_GATEWAY_LINGER_S = 60
_LINGER_S = 900
"""A guard or venue of a paper run that nobody came back to leaves after so long."""


def main(arguments: Namespace) -> int:
    """Run a desk until it is told to stop, its market is over, or it fails; 0 when it ended in order."""
    mode: str = arguments.command
    config = load_or_exit(arguments.config)
    if isinstance(config.market, Stored):
        raise ExitError(f"{arguments.config}: market.kind: a market of stores is played by basisd backtest only")
    is_outside = mode == "run" and config.is_outside
    if is_outside:
        _check_keys(arguments.config, config)
    settings = config.section("daemon", DaemonConfig)
    if arguments.metrics_port is not None:
        settings = evolve(settings, metrics_port=arguments.metrics_port)
    harden()
    configure("desk", "warning" if arguments.quiet else settings.log_level)
    log = get_logger("desk")
    notifier, sockets = Notifier.from_environment(), take_sockets()
    paths = StatePaths.of(config.run.name, arguments.state)
    try:
        lock(paths.lock)
        credentials = Path(arguments.config).parent / "credentials"
        if not (is_outside and arguments.attach):
            # Else they are the gateways' alone; here only whether they are to be had.
            load_account_secrets(config, credentials)
        for credential in credentials_of(config.section("channels", ChannelsConfig)):
            load(credential, credentials)
    except FolderInUseError as error:
        raise ExitError(str(error), status=FAILED) from error
    except (CredentialErrors, CredentialError) as error:
        raise ExitError(*str(error).splitlines(), status=USAGE) from error
    if mode == "paper" and paths.is_finished():
        _archive(paths, log)
    with desk_arithmetic():
        recovery = _recover(paths, log)
        desk = Desk(config, settings, paths, mode, recovery, credentials=credentials)
        children = () if arguments.attach else _children(arguments, config, paths, mode, is_outside=is_outside)
        set_aside()
        process = DeskProcess(desk, children, notifier, sockets)
        began = perf_counter()
        ending = process.run()
        return _report(desk, ending, perf_counter() - began, log, is_json=arguments.json)


def _archive(paths: StatePaths, log: Logger) -> None:
    """Move a finished run aside. Raises ExitError while a process of it is still there: it would write on."""
    left = [pid for path in (paths.guard_socket, paths.venue_socket) if (pid := listener_at(path)) is not None]
    if left:
        pids = ", ".join(map(str, left))
        raise ExitError(f"processes of the finished run are still there: {pids}; end them first", status=FAILED)
    log.info("archived", folder=str(paths.archive()))


def _recover(paths: StatePaths, log: Logger) -> Recovery | None:
    """Return the state that the last process left, None when there was none. Raises ExitError."""
    last = last_run(paths.runs)
    if last is None:
        return None
    began = perf_counter()
    try:
        recovery = recover(last / "log", lambda text: build_cell(parse(text, last / "log", KINDS, needs_files=False)))
    except (RecoveryError, LogCorruptError, UnreadableRecordError, SnapshotError, ConfigErrors) as error:
        raise ExitError(f"run {last.name} cannot be recovered: {error}", status=FAILED) from error
    log.info(
        "recovered",
        run=last.name,
        seq=recovery.seq,
        inputs=recovery.inputs,
        sealed=recovery.was_sealed,
        seconds=round(perf_counter() - began, 3),
    )
    for warning in recovery.warnings:
        log.warning("recovery", why=warning)
    return recovery


def _check_keys(path: str, config: RunConfig) -> None:
    """Raises ExitError for accounts without a key at a venue that is out there."""
    missing = [one.id for one in config.accounts.values() if one.credentials is None]
    if missing:
        raise ExitError(*(f"{path}: account {name}: credentials: missing: its venue is out there" for name in missing))


def _children(
    arguments: Namespace, config: RunConfig, paths: StatePaths, mode: str, *, is_outside: bool
) -> tuple[Child, Child]:
    """Return the processes of the simulated venues, or of the gateways to real ones, and of the guard."""
    # Without a folder named by hand they find the same one as we did, from the same environment.
    state = ["--state", arguments.state] if arguments.state else []
    linger = ["--linger", str(_LINGER_S)] if mode == "paper" else []
    if is_outside:
        gateway = [arguments.config, *state, "--for", "desk", "--linger", str(_GATEWAY_LINGER_S)]
        guard = [arguments.config, *state, "--mode", mode, "--starts-gateway"]
        return (
            Child("daemon.gateway", gateway, paths.gateway_folder("desk") / "gateway.log"),
            Child("daemon.guard", guard, paths.guard_log),
        )
    speed = _speed(arguments)
    if isinstance(config.market, Live) and speed != 1:
        raise ExitError("--speed: a live market goes as fast as it goes")
    for_ns = _length_ns(arguments, config, speed)
    venue = [*state, *linger, "--speed", "max" if speed is None else str(speed)]
    if for_ns is not None:
        venue += ["--for-ns", str(for_ns)]
    return (
        Child("daemon.venue", [arguments.config, *venue], paths.venue_log),
        Child("daemon.guard", [arguments.config, *state, *linger, "--mode", mode], paths.guard_log),
    )


def _speed(arguments: Namespace) -> Fraction | None:
    try:
        return parse_speed(getattr(arguments, "speed", "1"))
    except ValueError as error:
        raise ExitError(f"--speed: {error}") from error


def _length_ns(arguments: Namespace, config: RunConfig, speed: Fraction | None) -> int | None:
    """Return how long the market lasts: as told; as configured when time does not wait for anybody; else for ever."""
    told: str | None = getattr(arguments, "for", None)
    if told is not None:
        try:
            return parse_duration(told)
        except ValueError as error:
            raise ExitError(f"--for: {error}") from error
    return config.run.duration_ns if speed is None or not isinstance(config.market, Synthetic | Live) else None


def _report(desk: Desk, ending: Ending, wall: float, log: Logger, *, is_json: bool) -> int:
    """Seal the log, say what came of the run, and return the exit status."""
    if not desk.has_begun:
        raise ExitError(f"never began: {ending.why}", status=FAILED if ending.is_failure else 0)
    if ending.is_failure:
        desk.live.log.abandon(ending.why)
        log.critical("failed", why=ending.why)
        return FAILED
    sha256 = desk.close()
    venues, cell = desk.venues, desk.cell
    counters = cell.dispatcher.counters
    result = DriverResult(
        desk.start_ns, venues.clock.now(), venues.market_events, counters.intents, venues.fills, cell.halt
    )
    run_id = f"{desk.config.run.name}/{desk.folder.name}"
    summary = summarize(desk.config, cell, result, run_id, sha256, wall)
    (desk.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if venues.ended.is_set():
        desk.paths.finish()
    log.info("ended", why=ending.why, run=run_id)
    if is_json:
        print(json.dumps(summary))
    elif desk.mode == "paper":
        from daemon.account import print_account  # noqa: PLC0415 - rich is slow to load and only needed here

        print_account(Outcome(summary, baskets_of(cell), desk.folder, [], ClockStatistics()), desk.config)
    sys.stdout.flush()
    return 0
