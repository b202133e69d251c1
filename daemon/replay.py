"""What `basisd replay` does: run a log again and compare, or print it."""

import sys
from argparse import Namespace
from pathlib import Path

from actors.cell import Cell
from daemon.app import build_cell
from daemon.config import ConfigErrors, parse
from daemon.exits import FAILED, ExitError
from daemon.kinds import KINDS
from daemon.log import LogCorruptError, UnreadableRecordError
from daemon.log.replay import check, export
from daemon.log.run_log import RUN_NAME

_SHOWN = 10


def main(arguments: Namespace) -> int:
    """Replay the log; 1 when it differs, is damaged or cannot be read."""
    folder = Path(arguments.log)
    if not (folder / RUN_NAME).exists() and (folder / "log" / RUN_NAME).exists():
        folder /= "log"
    try:
        if arguments.export:
            for line in export(folder):
                sys.stdout.buffer.write(line)
            return 0
        return _check(folder)
    except (LogCorruptError, UnreadableRecordError) as error:
        raise ExitError(str(error), status=FAILED) from error


def _check(folder: Path) -> int:
    result = check(folder, _cell_of)
    for difference in result.differences[:_SHOWN]:
        print(f"seq {difference.seq}\n  logged   {difference.expected}\n  replayed {difference.got}")
    if result.differences_count > _SHOWN:
        print(f"... and {result.differences_count - _SHOWN} more")
    state = "sealed" if result.is_sealed else f"not closed, {result.torn_bytes} torn bytes left out"
    print(f"log      {folder} ({state})")
    print(f"replayed {result.inputs} inputs, {result.intents} intents")
    if result.halt is not None:
        print(f"halted   {result.halt.why}")
    print(f"journal  {result.journal_sha256}")
    if result.is_identical:
        print("no difference")
        return 0
    print(f"DIFFERENT: {result.differences_count} records; the log has journal {result.logged_sha256}")
    return FAILED


def _cell_of(config_text: str) -> Cell:
    try:
        return build_cell(parse(config_text, "run.json", KINDS, needs_files=False))
    except ConfigErrors as error:
        raise ExitError(*(str(one) for one in error.errors)) from error
