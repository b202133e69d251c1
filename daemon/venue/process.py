"""In which order a venue process comes up, serves and ends."""

import signal
import socket
import sqlite3
from fractions import Fraction
from time import perf_counter

import trio

from daemon.config_daemon import DaemonConfig
from daemon.config_schema import RunConfig
from daemon.live.paths import StatePaths
from daemon.live.sockets import listen
from daemon.logs import get_logger
from daemon.venue.journal import OtherSessionError, Session, VenueJournal
from daemon.venue.recovery import bring_back
from daemon.venue.server import VenueServer
from daemon.venue.snapshot_writer import SnapshotWriter
from daemon.venue.snapshots import SnapshotFolder
from sim.bar_market import NoBarsError
from sim.bars import BarFileError
from sim.market import NoFramesError
from sim.recording.errors import RecordingError
from sim.warm import warm
from venues.model.money import desk_arithmetic

_UNUSABLE = (OtherSessionError, RecordingError, NoFramesError, BarFileError, NoBarsError)


def play(
    config: RunConfig, paths: StatePaths, speed: Fraction | None, for_ns: int | None, linger_s: float | None
) -> int:
    """Play the venues of `config` until told to end; 0 when it ended in order, 1 when it could not go on.

    `speed` None grants time step by step. The folder's lock is the caller's. Raises SocketInUseError.
    """
    log = get_logger("venue").info
    # Compiled before anybody can connect: a client must not wait for a compiler.
    began = perf_counter()
    warm()
    log(f"compiled in {perf_counter() - began:.2f} s")
    listener = listen(paths.venue_socket)
    session = Session(config.sha256, config.run.seed, for_ns, "granted" if speed is None else "paced")
    try:
        journal = VenueJournal(paths.venue_journal, session)
        with desk_arithmetic():
            folder = SnapshotFolder(paths.venue_snapshots, session)
            engine = bring_back(config, journal, folder, log)
            writer = SnapshotWriter(engine, journal, folder, log)
            every_s = config.section("daemon", DaemonConfig).venue_snapshot_ns / 1e9
            server = VenueServer(engine, journal, speed, log, writer, every_s)
            trio.run(_serve, server, listener, linger_s)
            writer.write()
    except (*_UNUSABLE, sqlite3.Error, OSError) as error:
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
    await server.clients.wait_alone(linger_s)
    scope.cancel()
