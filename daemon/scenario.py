"""What `basisd scenario` plays."""

from argparse import Namespace

from sim.scenario import check_files, run_files

_ACTIONS = {"run": run_files, "check": check_files}


def main(arguments: Namespace) -> int:
    """Play the files, or compare each with what it expects; 1 when one differs, 2 when one is malformed."""
    return _ACTIONS[arguments.action](arguments.files)
