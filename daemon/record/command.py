"""What `basisd record` does: venues' live feeds into files, for as long as it is told."""

import json
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import Any, TextIO

import trio
from attrs import define, field

from daemon.config_parts import SetupError
from daemon.config_structure import parse_duration
from daemon.exits import FAILED, ExitError
from daemon.gateway.setup import read_setup
from daemon.live.lockfile import FolderInUseError, lock
from daemon.record.files import Archive, InstrumentFiles, Rotation
from daemon.record.session import Feed, FeedRecorder
from sim.recording.errors import RecordingError

_FLUSH_S = 1.0
_QUIET_S = 60.0
_NS = 1_000_000_000
_MIB = 1024 * 1024


@define
class _Recording:
    """What is recorded: recorders by venue, and the files of all instruments."""

    archive: Archive
    recorders: dict[str, FeedRecorder] = field(factory=dict)
    files: list[InstrumentFiles] = field(factory=list)
    began_ns: int = field(factory=time_ns)

    def told(self) -> dict[str, Any]:
        counts = [one.counters for one in self.files]
        sessions = [one.counters for one in self.recorders.values()]
        return {
            "folder": str(self.archive.folder),
            "seconds": round((time_ns() - self.began_ns) / _NS, 3),
            "instruments": len(self.files),
            "frames": sum(one.frames for one in counts),
            "bytes": sum(one.bytes for one in counts),
            "files": sum(one.files for one in counts),
            "gaps": sum(one.gaps for one in counts),
            "snapshots": sum(one.snapshots for one in sessions),
            "reconnects": sum(one.reconnects for one in sessions),
            "repeats": sum(one.repeats for one in sessions),
        }


def main(arguments: Namespace) -> int:
    """Record until the time is over or a signal comes; 1 when the disk does not take it."""
    folder = Path(arguments.out)
    rotation = Rotation(_duration("--rotate", arguments.rotate), arguments.rotate_mib * _MIB)
    length_ns = None if getattr(arguments, "for") is None else _duration("--for", getattr(arguments, "for"))
    try:
        setup = read_setup(Path(arguments.config))
        lock(folder / "lock")
    except SetupError as error:
        raise ExitError(*str(error).splitlines()) from error
    except FolderInUseError as error:
        raise ExitError(str(error), status=FAILED) from error
    recording = _Recording(Archive(folder, rotation, arguments.recorder))
    try:
        for path in recording.archive.begin():
            _say(f"{path}: was left by a recorder that was killed")
        for venue in setup.venues.values():
            files = {
                spec.symbol.lower(): InstrumentFiles(recording.archive, venue.id, spec.symbol)
                for spec in venue.instruments.values()
            }
            recording.files += files.values()
            endpoints = venue.endpoints
            feed = Feed(
                venue.id,
                endpoints.rest,
                endpoints.ws_public,
                endpoints.ws_market or endpoints.ws_public,
                venue.is_spot,
                tuple(spec.symbol for spec in venue.instruments.values()),
            )
            if files:
                recording.recorders[venue.id] = FeedRecorder(feed, files, time_ns, _say)
        try:
            trio.run(_record, recording, length_ns)
        finally:
            for one in recording.files:
                one.close()
    except RecordingError as error:
        raise ExitError(str(error), status=FAILED) from error
    told = recording.told()
    print(json.dumps(told) if arguments.json else _sentence(told))
    return 0


async def _record(recording: _Recording, length_ns: int | None) -> None:
    try:
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                for one in recording.recorders.values():
                    nursery.start_soon(one.run)
                nursery.start_soon(_flush, recording.files)
                nursery.start_soon(_show, recording, sys.stderr)
                with trio.move_on_after(float("inf") if length_ns is None else length_ns / _NS):
                    await anext(aiter(signals))
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failed, rest = group.split(RecordingError)
        if failed is None or rest is not None:
            raise
        raise _first(failed) from None


def _first(group: BaseExceptionGroup[RecordingError]) -> RecordingError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _flush(files: Sequence[InstrumentFiles]) -> None:
    while True:
        await trio.sleep(_FLUSH_S)
        for one in files:
            one.flush()


async def _show(recording: _Recording, stream: TextIO) -> None:
    """Keep a line up to date on a terminal; elsewhere say it once a minute."""
    is_terminal = stream.isatty()
    frames = 0
    while True:
        every_s = _FLUSH_S if is_terminal else _QUIET_S
        await trio.sleep(every_s)
        told = recording.told()
        line = f"{_sentence(told)}, {(told['frames'] - frames) / every_s:.0f} frames/s"
        frames = told["frames"]
        print(f"\r{line:<100}" if is_terminal else f"basisd: {line}", end="" if is_terminal else "\n", file=stream)
        stream.flush()


def _sentence(told: dict[str, Any]) -> str:
    seconds = int(told["seconds"])
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    size = f"{told['bytes'] / _MIB:.1f} MiB"
    return (
        f"{clock}  {told['instruments']} instruments, {told['frames']} frames, {size}, {told['files']} files, "
        f"{told['gaps']} gaps, {told['reconnects']} reconnects"
    )


def _say(text: str) -> None:
    print(f"basisd: {text}", file=sys.stderr)


def _duration(flag: str, text: str) -> int:
    try:
        length_ns = parse_duration(text)
    except ValueError as error:
        raise ExitError(f"{flag}: {error}") from error
    if not length_ns:
        raise ExitError(f"{flag}: must be longer than nothing")
    return length_ns
