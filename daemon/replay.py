"""What `basisd replay` does: run a log again and compare, or print it."""

import sys
from argparse import Namespace
from pathlib import Path

from actors.cell import Cell
from actors.snapshot import SnapshotError
from daemon.app import build_cell
from daemon.build import build_id
from daemon.config import ConfigErrors, parse
from daemon.exits import FAILED, ExitError
from daemon.kinds import KINDS
from daemon.log import LogCorruptError, UnreadableRecordError
from daemon.log.checked import read_checked
from daemon.log.replay import check, export
from daemon.log.run_log import RUN_NAME, RunHeader

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
    except (LogCorruptError, UnreadableRecordError, SnapshotError) as error:
        raise ExitError(str(error), status=FAILED) from error


def _check(folder: Path) -> int:
    header = read_checked(folder / RUN_NAME, RunHeader)
    if header.build != build_id():
        _warn(f"the log was written by build {header.build}, this is {build_id()}: differences may come from that")
    result = check(folder, lambda text: _cell_of(text, folder, header))
    for difference in result.differences[:_SHOWN]:
        print(f"seq {difference.seq}\n  logged   {difference.expected}\n  replayed {difference.got}")
    if result.differences_count > _SHOWN:
        print(f"... and {result.differences_count - _SHOWN} more")
    left_out = f"{result.torn_bytes} torn bytes and {result.records_behind} records behind them left out"
    if result.lost_rows:
        left_out += f", {result.lost_rows} records of the journal are gone"
    state = "sealed" if result.is_sealed else f"not closed, {left_out}"
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


def _cell_of(config_text: str, folder: Path, header: RunHeader) -> Cell:
    """Return the cell of a logged configuration; a user's strategies may lie beside the log, or where we are."""
    try:
        config = parse(config_text, folder / RUN_NAME, KINDS, needs_files=False, folders=[folder.parent])
    except ConfigErrors as error:
        raise ExitError(*(str(one) for one in error.errors)) from error
    if config.sha256 != header.config_sha256:
        why = f"it has the hash {config.sha256}, not {header.config_sha256}"
        if header.build == build_id():
            raise LogCorruptError(folder / RUN_NAME, "config_text", why)
        _warn(f"this build reads the configuration differently: {why}")
    return build_cell(config)


def _warn(text: str) -> None:
    print(f"basisd: {text}", file=sys.stderr)
