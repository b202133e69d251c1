"""What `basisd import` does: other people's data into a store of rows, and an account of what was and was not in it."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from daemon.exits import FAILED, ExitError
from daemon.import_sources import Source, open_source
from daemon.progress import Progress
from sim.market import NoFramesError
from sim.recording.errors import RecordingError
from sim.store.errors import RowError, StoreError
from sim.store.layout import GapSpan, Header, Trailer
from sim.store.reader import Store
from sim.store.writer import StoreWriter
from venues.model.money import desk_arithmetic

_GAPS_SHOWN = 8
_NS = 1_000_000_000


@desk_arithmetic()
def main(arguments: Namespace) -> int:
    """Import, or show a store; 1 when data or disk do not allow it, 2 for a mistake in what was asked for."""
    try:
        return _show(arguments) if arguments.source == "show" else _import(arguments)
    except (RecordingError, NoFramesError, StoreError) as error:
        raise ExitError(str(error), status=FAILED) from error
    except RowError as error:
        raise ExitError(f"{' '.join(arguments.files)}: {error}", status=FAILED) from error


def _import(arguments: Namespace) -> int:
    out = Path(arguments.out)
    if out.exists() and not arguments.force:
        raise ExitError(f"{out}: is there already; --force replaces it")
    began = perf_counter()
    with Progress(sys.stderr, "importing") as progress:
        source = open_source(arguments, progress.at, progress.warn)
        with StoreWriter(out, source.instruments, source.description, has_orders=source.has_orders) as writer:
            for block in source.blocks:
                writer.append(block)
            if not writer.rows:
                raise ExitError(f"{' '.join(arguments.files)}: nothing in it could be used", status=FAILED)
            report = source.report
            trailer = writer.close(gaps=report.gaps, bad=_bad(source), late=report.clocks.late)
    # What is told of it is what can be read.
    told = _told(out, Store.open(out).header, trailer)
    told["passed_over"] = _passed_over(source)
    told["unjoined"] = report.unjoined
    told["odd_lots"] = sum(one.odd_lots for one in source.recordings)
    told["seconds"] = round(perf_counter() - began, 3)
    _print(told, as_json=arguments.json)
    return 0


def _show(arguments: Namespace) -> int:
    (path,) = arguments.files
    store = Store.open(path)
    with Progress(sys.stderr, "checking") as progress:
        trailer = store.verify(progress.at)
    _print(_told(Path(path), store.header, trailer), as_json=arguments.json)
    return 0


def _bad(source: Source) -> dict[str, int]:
    """Return what could not be used, by reason: of the messages, and of the frames and lines they came from."""
    bad = dict(source.report.bad)
    for recording in source.recordings:
        for prefix, counts in (("frame", recording.bad_frames), ("line", recording.bad_lines)):
            for reason, count in counts.items():
                bad[f"{prefix}_{reason}"] = bad.get(f"{prefix}_{reason}", 0) + count
        if recording.off_grid_levels:
            bad["off_grid_level"] = bad.get("off_grid_level", 0) + recording.off_grid_levels
    return bad


def _passed_over(source: Source) -> dict[str, int]:
    counts = dict(source.report.passed_over)
    for recording in source.recordings:
        for kind, count in recording.ignored.items():
            counts[kind] = counts.get(kind, 0) + count
    return counts


def _told(path: Path, header: Header, trailer: Trailer) -> dict[str, Any]:
    """Return what a store is, fit for JSON."""
    return {
        "file": str(path),
        "version": header.version,
        "source": header.source,
        "instruments": {
            one.id: {"tick_size": str(one.tick_size), "lot_size": str(one.lot_size)} for one in header.instruments
        },
        "rows": trailer.rows,
        "messages": trailer.messages,
        "kinds": trailer.kinds,
        "orders": header.has_orders,
        "venue_ns": [trailer.venue.first_ns, trailer.venue.last_ns],
        "local_ns": [trailer.local.first_ns, trailer.local.last_ns],
        "gaps": [{"instrument": gap.instrument, "from_ns": gap.from_ns, "to_ns": gap.to_ns} for gap in trailer.gaps],
        "bad": trailer.bad,
        "late": trailer.late,
        "checksum": trailer.checksum,
    }


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for line in _lines(told):
        print(line)


def _lines(told: dict[str, Any]) -> Iterator[str]:
    yield f"{told['file']}: {told['rows']} rows of {told['messages']} messages"
    yield f"source       {told['source']}"
    for name, steps in told["instruments"].items():
        yield f"instrument   {name}, tick {steps['tick_size']}, lot {steps['lot_size']}"
    yield f"venue time   {_span(told['venue_ns'])}"
    yield f"local time   {_span(told['local_ns'])}"
    for label, counts in (("rows", told["kinds"]), ("bad", told["bad"]), ("not for us", told.get("passed_over", {}))):
        if counts or label == "bad":
            yield f"{label:12} {', '.join(f'{count} {what}' for what, count in counts.items()) or 'nothing'}"
    if told["late"]:
        yield f"late         {told['late']} messages happened earlier than they could be put"
    if told.get("unjoined"):
        yield f"unjoined     {told['unjoined']} book messages came while no book was known, or said nothing new"
    if told.get("odd_lots"):
        yield f"odd lots     {told['odd_lots']} displayed quantities rounded down to whole lots"
    yield from _gaps(told["gaps"])
    yield f"checksum     {told['checksum']}"
    if "seconds" in told:
        yield f"took         {told['seconds']} s, {told['rows'] / max(told['seconds'], 0.001):,.0f} rows/s"


def _gaps(gaps: list[dict[str, Any]]) -> Iterator[str]:
    yield f"gaps         {len(gaps) or 'none'}"
    for gap in gaps[:_GAPS_SHOWN]:
        span = GapSpan(gap["from_ns"], gap["to_ns"], gap["instrument"])
        yield f"             {span.instrument} {_span([span.from_ns, span.to_ns])}"
    if len(gaps) > _GAPS_SHOWN:
        yield f"             ... and {len(gaps) - _GAPS_SHOWN} more; --json tells all"


def _span(times: list[int]) -> str:
    first, last = times
    return f"{_clock(first)} to {_clock(last)} UTC, {(last - first) / _NS:.3f} s"


def _clock(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // _NS, UTC):%Y-%m-%d %H:%M:%S}.{ns % _NS // 1_000_000:03d}"
