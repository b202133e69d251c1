"""The process that plays the venues: `python -m daemon.venue CONFIG --state DIR`."""

import argparse
import sys
from collections.abc import Sequence

from daemon.config import ConfigErrors, load
from daemon.kinds import KINDS
from daemon.live.clock import parse_speed
from daemon.live.lockfile import FolderInUseError, lock
from daemon.live.paths import StatePaths
from daemon.live.sockets import SocketInUseError
from daemon.logs import configure, get_logger


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, or until nobody was connected for a while; 0 also when another process serves already."""
    parsed = _parser().parse_args(arguments)
    configure("venue")
    log = get_logger("venue")
    try:
        config = load(parsed.config, KINDS)
        paths = StatePaths.of(config.run.name, parsed.state)
        lock(paths.venue_journal.parent / "lock")
        # Only now: one that comes second ends before another could be missed because of it.
        from daemon.venue.process import play  # noqa: PLC0415 - imports numba

        return play(config, paths, parsed.speed, parsed.for_ns, parsed.linger)
    except ConfigErrors as error:
        log.error("configuration", why=str(error))
        return 2
    except (FolderInUseError, SocketInUseError) as error:
        log.info(f"not started: {error}")
        return 0


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
