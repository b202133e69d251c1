"""The guard process: `python -m daemon.guard CONFIG --state DIR`."""

import argparse
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from time import time_ns

import trio
from attrs import frozen

from actors.messages import KillLevel
from daemon.admin.calls import Role
from daemon.admin.guard import guard_methods
from daemon.admin.server import AdminServer
from daemon.channels.channels import Channels, build_channels
from daemon.exits import FAILED, USAGE
from daemon.guard.desk_socket import DeskSocket
from daemon.guard.journal import Start, open_journal
from daemon.guard.process import GuardProcess, TooManyFaultsError
from daemon.guard.setup import GuardSetup, SetupError, read_setup
from daemon.live.children import Child, ChildLostError, keep
from daemon.live.lockfile import FolderInUseError, lock
from daemon.live.paths import StatePaths
from daemon.live.sockets import SocketInUseError, listen
from daemon.logs import configure, get_logger
from daemon.notify import Notifier, beat, take_sockets
from daemon.secrets import CredentialError, harden

STOP_S = 25.0
"""How long a SIGTERM may be kept waiting by a desk that is still there, or by a flattening."""

_GATEWAY_LINGER_S = 60
_GATEWAY_RETRY_S = 10.0

STARTS = {
    "paper": Start(KillLevel.ARMED, "a new paper run"),
    "run": Start(KillLevel.REDUCE_ONLY, "never armed"),
}
"""Where the latch of a new journal stands."""

_log = get_logger("guard")


@frozen
class _Sockets:
    desk: socket.socket
    panic: socket.socket
    made: tuple[Path, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Guard until SIGTERM or until nobody was there for a while; 0 also when another process guards already."""
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure("guard")
    harden()
    notifier, given = Notifier.from_environment(), take_sockets()
    try:
        setup = read_setup(Path(parsed.config))
    except SetupError as error:
        _log.error("configuration", why=str(error))
        return USAGE
    configure("guard", setup.log_level)
    paths = StatePaths.of(setup.run, parsed.state)
    if parsed.runtime:
        paths = StatePaths(paths.state, Path(parsed.runtime))
    try:
        lock(paths.guard_journal.parent / "lock")
        sockets = _open(paths, given)
    except (FolderInUseError, SocketInUseError) as error:
        _log.info("not started", why=str(error))
        return 0
    except OSError as error:
        _log.error("not started", why=str(error))
        return FAILED
    opened = open_journal(paths.guard_journal, STARTS[parsed.mode], time_ns())
    known = opened.remembered
    _log.info("guards", pid=os.getpid(), latch=known.level.name, trigger=known.trigger, why=known.why)
    has_gateway = setup.is_outside and parsed.mode == "run"
    process = GuardProcess(
        setup,
        paths,
        opened,
        _channels(setup, Path(parsed.config).parent / "credentials"),
        paths.guard_venue_socket if has_gateway else None,
    )
    gateway = _gateway(parsed, paths) if has_gateway and parsed.starts_gateway else None
    gc.freeze()
    status = 0
    try:
        trio.run(_serve, process, sockets, notifier, parsed.linger, gateway)
    except* TooManyFaultsError as group:
        _log.critical("gives up", why=str(group.exceptions))
        status = FAILED
    finally:
        process.notes.close()
        for path in sockets.made:
            path.unlink(missing_ok=True)
    return status


def _gateway(parsed: argparse.Namespace, paths: StatePaths) -> Child:
    state = ["--state", parsed.state] if parsed.state else []
    arguments = [parsed.config, *state, "--for", "guard", "--linger", str(_GATEWAY_LINGER_S)]
    return Child("daemon.gateway", arguments, paths.gateway_folder("guard") / "gateway.log")


async def _keep(gateway: Child, process: GuardProcess) -> None:
    """Keep the guard's own way to the venues open; one that does not come up is tried again for ever."""
    while True:
        try:
            await keep(gateway, process.link)
        except ChildLostError as error:
            _log.error("no gateway", why=str(error))
            await trio.sleep(_GATEWAY_RETRY_S)


def _channels(setup: GuardSetup, folder: Path) -> Channels:
    """Return the ways to reach people; without a credential the guard guards all the same, and only logs."""
    try:
        return build_channels(setup.channels, f"{setup.run}/guard", folder, _log_change)
    except CredentialError as error:
        _log.error("no channels", why=str(error))
        return Channels({})


def _log_change(channel: str, is_up: bool, why: str) -> None:
    _log.warning("channel", channel=channel, is_up=is_up, why=why)


def _open(paths: StatePaths, given: dict[str, list[socket.socket]]) -> _Sockets:
    """Return the two listening sockets, the service manager's where it handed some over. Raises OSError."""
    made = []
    found = []
    for name, path in (("guard", paths.guard_socket), ("panic", paths.panic_socket)):
        handed = given.get(name)
        if handed:
            found.append(handed[0])
        else:
            found.append(listen(path))
            made.append(path)
    desk, panic = found
    return _Sockets(desk, panic, tuple(made))


async def _serve(
    process: GuardProcess, sockets: _Sockets, notifier: Notifier, linger_s: float | None, gateway: Child | None
) -> None:
    admin = AdminServer(sockets.panic, Role.OPS, guard_methods(process), journal=process.journal, now=process.now)
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await nursery.start(process.run, DeskSocket(sockets.desk, process, process.now))
            await nursery.start(admin.run)
            nursery.start_soon(beat, notifier, lambda: "")
            if gateway is not None:
                nursery.start_soon(_keep, gateway, process)
            notifier.ready("guards")
            if linger_s is not None:
                nursery.start_soon(_leave_when_alone, process, linger_s, nursery.cancel_scope)
            await anext(aiter(signals))
            notifier.stopping()
            if process.is_needed():
                _log.warning("told to stop while it is needed", wait_s=STOP_S)
            await process.unneeded(STOP_S)
            nursery.cancel_scope.cancel()


async def _leave_when_alone(process: GuardProcess, linger_s: float, scope: trio.CancelScope) -> None:
    await process.alone(linger_s)
    _log.info("leaves: nobody was there", seconds=linger_s)
    scope.cancel()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m daemon.guard", description="Guard a desk.")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--state", metavar="DIR", help="where journal and sockets are")
    parser.add_argument("--runtime", metavar="DIR", help="where sockets are, if not with the state")
    parser.add_argument("--mode", choices=sorted(STARTS), default="run", help="how a new journal begins")
    parser.add_argument("--starts-gateway", action="store_true", help="keep a gateway process to the venues of its own")
    parser.add_argument("--linger", type=float, metavar="SECONDS", help="leave when no desk was there that long")
    return parser


if __name__ == "__main__":
    sys.exit(main())
