"""Where a daemon's sockets and state are, when nobody says so: the places where daemons put them, in order."""

import os
from pathlib import Path

from daemon.exits import ExitError

UNREACHABLE = 3
"""The exit status when nobody answers, or it is not known where to ask."""

VIEW, OPS, PANIC = "view.sock", "ops.sock", "panic.sock"
_SOCKETS = (VIEW, OPS, PANIC)
_SERVICE = Path("/run/basisd")
_LOCAL = Path("state")


def runtime_folder(state: str | None) -> Path:
    """Return the folder of the sockets. Raises ExitError (3) that lists what was looked at."""
    told = state or os.environ.get("BASISD_STATE")
    if told:
        candidates = [Path(told) / "run", Path(told)]
    else:
        named = os.environ.get("RUNTIME_DIRECTORY")
        candidates = [*([Path(named)] if named else []), _SERVICE, *_below(_LOCAL)]
    for folder in candidates:
        if any((folder / name).exists() for name in _SOCKETS):
            return folder
    looked = [f"no daemon's sockets in {folder}" for folder in candidates]
    if not told:
        looked += [f"nothing below {_LOCAL.resolve()}"] * (not _LOCAL.is_dir())
        looked.append("name its state folder with --state DIR or BASISD_STATE")
    raise ExitError(*looked, status=UNREACHABLE)


def _below(folder: Path) -> list[Path]:
    """Return where the sockets of the only state folder below `folder` are. Raises ExitError (3) for several."""
    found = sorted(one / "run" for one in folder.iterdir() if (one / "run").is_dir()) if folder.is_dir() else []
    running = [one for one in found if any((one / name).exists() for name in _SOCKETS)]
    if len(running) > 1:
        names = ", ".join(str(one.parent) for one in running)
        raise ExitError(f"several daemons: {names}; name one with --state", status=UNREACHABLE)
    return running or found


def socket_path(state: str | None, socket: str | None, name: str) -> Path:
    """Return which socket to call: the one told, else `name` in the daemon's folder. Raises ExitError (3)."""
    return Path(socket) if socket else runtime_folder(state) / name
