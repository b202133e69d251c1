"""Prints what a shell needs to complete basisctl's commands and options."""

from argparse import Namespace

import shtab

from daemon.ctl.main import parser


def main(arguments: Namespace) -> int:
    """Print the script for `arguments.shell`."""
    print(shtab.complete(parser(), shell=arguments.shell))
    return 0
