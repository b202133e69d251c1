"""How killed venues come back: from the latest snapshot that may be used, else from the begin of their market."""

from collections.abc import Callable
from time import perf_counter

from daemon.config_schema import RunConfig
from daemon.venue.engine import VenueEngine
from daemon.venue.journal import VenueJournal
from daemon.venue.snapshots import SnapshotFolder
from sim.stored import StoredStateError


def bring_back(
    config: RunConfig, journal: VenueJournal, folder: SnapshotFolder, log: Callable[[str], None]
) -> VenueEngine:
    """Return the venues where they were: the same commands at the same times on the same market.

    Raises RecordingError, NoFramesError, sqlite3.Error, OSError.
    """
    began = perf_counter()
    folder.clear_drafts()
    engine, number = _from_snapshot(config, journal, folder, log)
    if engine.is_live:
        lost = sum(1 for _ in journal.commands(number))
        for venue in config.venues:
            engine.lose(engine.now, venue)
        if number or lost:
            log(f"the live market went on meanwhile: back as stored, {lost} commands and all fills since are lost")
        return engine
    first, count = engine.steps, 0
    for steps, now, command in journal.commands(number):
        engine.repeat(steps)
        engine.command(command, 0, now)
        count += 1
    engine.advance(max(engine.now, journal.latest_ns()))
    if count or number or first:
        seconds = perf_counter() - began
        log(
            f"recovered in {seconds:.2f} s: {count} commands and {engine.steps - first} steps after "
            f"{f'a snapshot at step {first}' if first else 'the begin'}, the market stands at {engine.now}"
        )
    return engine


def _from_snapshot(
    config: RunConfig, journal: VenueJournal, folder: SnapshotFolder, log: Callable[[str], None]
) -> tuple[VenueEngine, int]:
    """Return the venues, and the number of the last command they know."""
    for_ns = folder.session.for_ns
    for head, state in folder.usable(journal.digest, log):
        engine = VenueEngine(config, for_ns, _to_nobody)
        try:
            engine.restore(state)
        except StoredStateError as error:
            log(f"the snapshot at step {head.steps} is not used: {error}")
            continue
        return engine, head.mark.number
    return VenueEngine(config, for_ns, _to_nobody), 0


def _to_nobody(*_: object) -> None:
    """Nobody is connected yet."""
