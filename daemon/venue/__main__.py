"""The process that plays the venues: `python -m daemon.venue CONFIG --state DIR`."""

import argparse
import signal
import socket
import sqlite3
import sys
from collections.abc import Sequence
from time import perf_counter

import trio

from daemon.config import ConfigErrors, load
from daemon.config_daemon import DaemonConfig
from daemon.kinds import KINDS
from daemon.live.clock import parse_speed
from daemon.live.lockfile import FolderInUseError, lock
from daemon.live.paths import StatePaths
from daemon.live.sockets import SocketInUseError, listen
from daemon.logs import configure, get_logger
from daemon.venue.journal import OtherSessionError, Session, VenueJournal
from daemon.venue.recovery import bring_back
from daemon.venue.server import VenueServer
from daemon.venue.snapshot_writer import SnapshotWriter
from daemon.venue.snapshots import SnapshotFolder
from sim.market import NoFramesError
from sim.recording.errors import RecordingError
from sim.warm import warm
from venues.model.money import desk_arithmetic

_LINGER_CHECK_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, or until nobody was connected for a while; 0 also when another process serves already."""
    parsed = _parser().parse_args(arguments)
    configure("venue")
    log = get_logger("venue").info
    try:
        config = load(parsed.config, KINDS)
        paths = StatePaths.of(config.run.name, parsed.state)
        lock(paths.venue_journal.parent / "lock")
        # Compiled before anybody can connect: a client must not wait for a compiler.
        began = perf_counter()
        warm()
        log(f"compiled in {perf_counter() - began:.2f} s")
        listener = listen(paths.venue_socket)
    except ConfigErrors as error:
        get_logger("venue").error("configuration", why=str(error))
        return 2
    except (FolderInUseError, SocketInUseError) as error:
        log(f"not started: {error}")
        return 0
    session = Session(config.sha256, config.run.seed, parsed.for_ns, "granted" if parsed.speed is None else "paced")
    try:
        journal = VenueJournal(paths.venue_journal, session)
        with desk_arithmetic():
            folder = SnapshotFolder(paths.venue_snapshots, session)
            engine = bring_back(config, journal, folder, log)
            writer = SnapshotWriter(engine, journal, folder, log)
            every_s = config.section("daemon", DaemonConfig).venue_snapshot_ns / 1e9
            server = VenueServer(engine, journal, parsed.speed, log, writer, every_s)
            trio.run(_serve, server, listener, parsed.linger)
            writer.write()
    except (OtherSessionError, RecordingError, NoFramesError, sqlite3.Error, OSError) as error:
        get_logger("venue").error(f"stopped: {error}")
        return 1
    finally:
        listener.close()
        paths.venue_socket.unlink(missing_ok=True)
    journal.close()
    return 0


async def _serve(server: VenueServer, listener: socket.socket, linger_s: float | None) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, listener)
        if linger_s is not None:
            nursery.start_soon(_leave_when_alone, server, linger_s, nursery.cancel_scope)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(aiter(signals))
        nursery.cancel_scope.cancel()


async def _leave_when_alone(server: VenueServer, linger_s: float, scope: trio.CancelScope) -> None:
    while server.idle_since is None or trio.current_time() - server.idle_since < linger_s:
        await trio.sleep(_LINGER_CHECK_S)
    scope.cancel()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m daemon.venue", description="Play the venues of a configuration.")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--state", metavar="DIR", help="where journal and socket are")
    parser.add_argument("--speed", type=parse_speed, default="1", help="times the wall clock, or max")
    parser.add_argument("--for-ns", type=int, metavar="NS", help="how long the market lasts from its start")
    parser.add_argument("--linger", type=float, metavar="SECONDS", help="leave when nobody was connected that long")
    return parser


if __name__ == "__main__":
    sys.exit(main())
