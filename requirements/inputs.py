"""Prints what a lock file is resolved from: `run` for the daemon and its build backend, `dev` for the tools as well,
`differential` for the simulator that ours is held against and `clients` for the clients that our emulator serves, which
share nothing with them."""

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
ALONE = {"differential", "clients"}


def inputs(lock: str) -> list[str]:
    """Return requirement lines of pyproject.toml. Raises KeyError for a group it does not have."""
    project = tomllib.loads(PROJECT.read_text())
    if lock in ALONE:
        return list(project["dependency-groups"][lock])
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    if lock != "run":
        wanted += project["dependency-groups"][lock]
    return wanted


if __name__ == "__main__":
    sys.stdout.write("\n".join(inputs(sys.argv[1])) + "\n")
