"""How a command line comes to its exit status, whichever program it belongs to."""

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from importlib import import_module

from daemon.exits import FAILED, ExitError

_INTERRUPTED = 130
_BROKEN_PIPE = 141


def run(program: str, commands: Mapping[str, str], parsed: Namespace) -> int:
    """Import the chosen command, run it and return its status; what went wrong is said on standard error.

    `commands` gives for each name `module:function`, a function that takes the parsed arguments.
    """
    module, _, function = commands[parsed.command].partition(":")
    try:
        status: int = getattr(import_module(module), function)(parsed)
        sys.stdout.flush()
    except ExitError as error:
        for line in error.lines:
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output is gone; the interpreter would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{program}: {where}{error.strerror or error}", file=sys.stderr)
        return FAILED
    return status
