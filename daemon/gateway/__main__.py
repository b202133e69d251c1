"""The process that has the venues which are out there: `python -m daemon.gateway CONFIG --state DIR --for desk`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from daemon.config_parts import SetupError
from daemon.exits import FAILED, USAGE
from daemon.gateway.process import serve
from daemon.gateway.setup import load_keys, read_setup
from daemon.live.lockfile import FolderInUseError, lock
from daemon.live.memory import set_aside
from daemon.live.paths import StatePaths
from daemon.live.sockets import SocketInUseError, listen
from daemon.logs import configure, get_logger
from daemon.notify import Notifier
from daemon.secrets import harden

SIDES = ("desk", "guard")
_log = get_logger("gateway")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, or until nobody was connected for a while; 0 also when another process serves already."""
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure("gateway")
    # Before anything secret is read.
    harden()
    try:
        setup = read_setup(Path(parsed.config))
        configure("gateway", setup.log_level)
        keys = load_keys(setup, Path(parsed.config).parent / "credentials")
    except SetupError as error:
        _log.error("configuration", why=str(error))
        return USAGE
    paths = StatePaths.of(setup.run, parsed.state)
    side: str = getattr(parsed, "for")
    path = paths.gateway_socket(side)
    try:
        lock(paths.gateway_folder(side) / "lock")
        listener = listen(path)
    except (FolderInUseError, SocketInUseError) as error:
        _log.info("not started", why=str(error))
        return 0
    except OSError as error:
        _log.error("not started", why=str(error))
        return FAILED
    # Only now: one that comes second ends without having loaded it all.
    from daemon.gateway.build import build_gateways  # noqa: PLC0415

    set_aside()
    try:
        return serve(
            setup,
            listener,
            lambda server: build_gateways(setup, keys, server, wants_market=side == "desk"),
            Notifier.from_environment(),
            parsed.linger,
            setup.metrics_ports.get(side),
        )
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m daemon.gateway", description="Reach the venues of a configuration."
    )
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--state", metavar="DIR", help="where lock and socket are")
    parser.add_argument(
        "--for", choices=SIDES, default="desk", help="whose way to the venues it is, default: %(default)s"
    )
    parser.add_argument("--linger", type=float, metavar="SECONDS", help="leave when nobody was connected that long")
    return parser


if __name__ == "__main__":
    sys.exit(main())
