"""Snapshots of the venues: what may be used, what a crash leaves behind, and that a killed venue goes on from one."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import trio
from attrs import define, evolve
from binance_frames import lines, write
from venue_engines import PERP, SECOND, Heard, order, state_of

from daemon.config import load
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.market import open_market
from daemon.venue import snapshots
from daemon.venue.engine import StoredEngine, VenueEngine
from daemon.venue.journal import Session, VenueJournal
from daemon.venue.recovery import bring_back
from daemon.venue.snapshot_writer import SnapshotWriter
from daemon.venue.snapshots import VERSION, SnapshotFolder
from sim.stored import StoredStateError, from_bytes, to_bytes
from venues.model.money import desk_arithmetic
from venues.model.order import Side

ROOT = Path(__file__).resolve().parents[2]


@define
class World:
    """A session of venues with its journal and snapshots, and what was said about them."""

    config: RunConfig
    path: Path
    said: list[str]

    @property
    def session(self) -> Session:
        return Session(self.config.sha256, self.config.run.seed, 60 * SECOND, "paced")

    @property
    def folder(self) -> SnapshotFolder:
        return SnapshotFolder(self.path / "snapshots", self.session)

    def journal(self) -> VenueJournal:
        return VenueJournal(self.path / "venue.sqlite", self.session)

    def back(self) -> VenueEngine:
        """Return the venues as a new process has them."""
        self.said.clear()
        journal = self.journal()
        try:
            return bring_back(self.config, journal, self.folder, self.said.append)
        finally:
            journal.close()

    def files(self) -> list[Path]:
        return sorted((self.path / "snapshots").glob("*.snapshot"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with desk_arithmetic():
        yield World(load(ROOT / "configs" / "demo.toml", KINDS), tmp_path, [])


def live(world: World, *, snapshots_after: tuple[int, ...] = (1, 2), orders: int = 3) -> VenueEngine:
    """Let venues live: a second and an order, again and again, with a snapshot after some of the orders."""
    journal = world.journal()
    engine = VenueEngine(world.config, 60 * SECOND, Heard())
    for number in range(1, orders + 1):
        engine.advance(engine.now + SECOND)
        command = order(number, Side.BUY, 10 * number, rests=number % 2 == 0)
        journal.note(engine.steps, engine.now, "desk", command)
        engine.command(command, 1)
        if number in snapshots_after:
            world.folder.write(journal.mark(), engine.store())
    engine.advance(engine.now + SECOND)
    journal.note_time(engine.now)
    journal.close()
    return engine


def test_the_latest_snapshot_is_gone_on_from_and_only_the_journal_after_it_is_repeated(world: World) -> None:
    engine = live(world)
    assert len(world.files()) == 2
    back = world.back()
    assert state_of(back) == state_of(engine)
    assert (back.now, back.steps) == (engine.now, engine.steps)
    [told] = world.said
    assert "1 commands" in told
    assert "a snapshot at step" in told


def test_without_snapshots_the_whole_journal_is_repeated(world: World) -> None:
    engine = live(world, snapshots_after=())
    back = world.back()
    assert state_of(back) == state_of(engine)
    assert "3 commands" in world.said[0]
    assert "the begin" in world.said[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def cut_to_nothing(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(1000))


def resign(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change what the checksum covers, and the checksum with it."""
    body = change(path.read_bytes().partition(b"\n")[2])
    path.write_bytes(sha256(body).hexdigest().encode() + b"\n" + body)


def next_version(path: Path) -> None:
    resign(path, lambda body: body.replace(b'"version":%d' % VERSION, b'"version":%d' % (VERSION + 1), 1))


def other_configuration(path: Path) -> None:
    resign(path, lambda body: body.replace(b'"config_sha256":"', b'"config_sha256":"0', 1))


def no_frame(path: Path) -> None:
    resign(path, lambda body: body.partition(b"\n")[0] + b"\nno frame")


def no_head(path: Path) -> None:
    resign(path, lambda body: b"{}\n" + body)


DAMAGES: dict[Callable[[Path], None], str] = {
    cut: "checksum",
    cut_to_nothing: "checksum",
    flip: "checksum",
    garbage: "checksum",
    next_version: "schema version",
    other_configuration: "it is of",
    no_frame: "not a snapshot",
    no_head: "not a snapshot",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("both", [False, True], ids=["the last", "both"])
def test_what_cannot_be_used_is_told_and_the_one_before_it_or_the_journal_is_used(
    world: World, damage: Callable[[Path], None], both: bool
) -> None:
    engine = live(world)
    first, last = world.files()
    for path in (first, last) if both else (last,):
        damage(path)
    back = world.back()
    assert state_of(back) == state_of(engine)
    assert f"snapshot {last.name} is not used" in world.said[0]
    assert DAMAGES[damage] in world.said[0]
    assert ("the begin" if both else "2 commands") in world.said[-1]


def test_a_snapshot_of_another_course_of_events_is_not_used(world: World) -> None:
    """A journal put back from a backup knows fewer commands, or others, than the snapshots that were left beside it."""
    live(world, snapshots_after=(1,), orders=1)
    shutil.copytree(world.path, world.path / "backup")
    shutil.rmtree(world.path / "snapshots")
    (world.path / "venue.sqlite").unlink()
    live(world, orders=3)
    for name in ("venue.sqlite", "venue.sqlite-wal", "venue.sqlite-shm"):
        (world.path / name).unlink(missing_ok=True)
    shutil.copy(world.path / "backup" / "venue.sqlite", world.path / "venue.sqlite")
    world.back()
    assert "command 2 is not in the journal" in world.said[0]
    journal = world.journal()
    journal.note(1, 2, "desk", order(9, Side.SELL, 5, rests=False))
    assert journal.mark().number == 2
    assert journal.digest(2) != ""
    found = [head.mark.number for head, _ in world.folder.usable(journal.digest, world.said.append)]
    assert found == [1]
    journal.close()


@pytest.mark.parametrize("point", ["open", "write", "fsync", "replace", "folder"])
def test_a_writer_that_dies_anywhere_leaves_the_one_before(
    world: World, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = live(world, snapshots_after=(1,))
    journal = world.journal()

    class Died(BaseException):
        """As far as the writer is concerned, it is dead."""

    def die(*_: object, **__: object) -> None:
        raise Died

    def write_half(fd: int, data: bytes) -> None:
        os.write(fd, data[: len(data) // 2])
        die()

    targets = {
        "open": ("os.open", die),
        "write": ("daemon.log.disk.write_all", write_half),
        "fsync": ("os.fsync", die),
        "replace": ("pathlib.Path.replace", die),
        "folder": ("daemon.log.disk.sync_folder", die),
    }
    with monkeypatch.context() as patched:
        patched.setattr(*targets[point])
        with pytest.raises(Died):
            world.folder.write(journal.mark(), engine.store())
    journal.close()
    back = world.back()
    assert state_of(back) == state_of(engine)
    assert len(world.said) == 1
    # Only the last boundary lies behind the rename.
    assert ("0 commands" if point == "folder" else "2 commands") in world.said[0]
    assert not list((world.path / "snapshots").glob("*.tmp"))


async def test_a_copy_of_the_process_writes_and_the_venues_go_on(world: World) -> None:
    engine = live(world, snapshots_after=())
    journal = world.journal()
    writer = SnapshotWriter(engine, journal, world.folder, world.said.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.keep_writing, 0.0)
        with trio.fail_after(60):
            while writer.written < 3:
                engine.advance(engine.now + SECOND // 10)
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert not world.said
    assert len(world.files()) == snapshots.KEPT
    journal.note_time(engine.now)
    journal.close()
    print(f"\nlongest pause for a snapshot: {writer.longest_pause_s * 1e3:.2f} ms")
    back = world.back()
    assert state_of(back) == state_of(engine)
    assert "0 commands" in world.said[0]


async def test_a_disk_that_refuses_is_told_and_the_venues_go_on(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = live(world, snapshots_after=())
    (world.path / "snapshots").write_text("no folder")
    journal = world.journal()
    writer = SnapshotWriter(engine, journal, world.folder, world.said.append)
    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.keep_writing, 0.0)
            while not world.said:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    journal.close()
    assert "no snapshot: its writer ended with 1" in world.said[0]
    assert "snapshot: " in capfd.readouterr().err
    assert writer.written == 0


def shrink(state: StoredEngine, name: str) -> StoredEngine:
    """Leave out the last row of an array."""
    venue = state.venues[0]
    array = venue.core.arrays[name]
    shape = (array.shape[0] - 1, *array.shape[1:])
    row = len(array.data) // max(1, array.rows)
    smaller = evolve(array, shape=shape, rows=max(0, array.rows - 1), data=array.data[: len(array.data) - row])
    core = evolve(venue.core, arrays={**venue.core.arrays, name: smaller})
    return evolve(state, venues=[evolve(venue, core=core), *state.venues[1:]])


@pytest.mark.parametrize(
    "name", ["best", "directory", "free", "queue", "keys", "resting", "bits", "instruments", "scratch"]
)
def test_arrays_that_do_not_go_together_are_refused(world: World, name: str) -> None:
    """Compiled functions do not look where they reach."""
    state = live(world, snapshots_after=()).store()
    with pytest.raises(StoredStateError):
        VenueEngine(world.config, 60 * SECOND, Heard()).restore(shrink(state, name))


def test_an_index_that_reaches_beyond_its_array_is_refused(world: World) -> None:
    engine = live(world, snapshots_after=())
    for seat in engine.exchange.seats[:1]:
        kernel = seat.venue.state.markets[PERP].matcher.core.kernel  # type: ignore[attr-defined]
        kernel.queue[0, 0] = len(kernel.orders)
    with pytest.raises(StoredStateError, match=f"queue: from 0 to {len(kernel.orders)}"):
        VenueEngine(world.config, 60 * SECOND, Heard()).restore(engine.store())


SHAPE = "aaad6cf7ac8a648a"


def shape_of(kind: object, seen: set[object]) -> object:
    """Return the names and types of all that is stored, as msgspec sees them."""
    if isinstance(kind, msgspec.inspect.DataclassType):
        if kind.cls in seen:
            return kind.cls.__name__
        seen.add(kind.cls)
        return kind.cls.__name__, [(one.name, shape_of(one.type, seen)) for one in kind.fields]
    if isinstance(kind, msgspec.inspect.Type):
        return type(kind).__name__, [shape_of(getattr(kind, name), seen) for name in kind.__struct_fields__]
    return [shape_of(one, seen) for one in kind] if isinstance(kind, tuple) else str(kind)


def test_what_is_stored_does_not_change_without_its_version() -> None:
    """When this fails: raise daemon.venue.snapshots.VERSION and put the new shape here."""
    shape = repr(shape_of(msgspec.inspect.type_info(StoredEngine), set()))
    assert (VERSION, sha256(shape.encode()).hexdigest()[:16]) == (2, SHAPE)


def test_venues_on_recordings_read_past_what_they_have_played(world: World, tmp_path: Path) -> None:
    market = open_market(evolve(world.config, run=evolve(world.config.run, duration_ns=60 * SECOND)), print)
    arrivals, recordings = list(market.arrivals), ""
    for venue in ("binance_usdm", "binance_spot"):
        written = lines(arrivals, world.config.instruments[f"{venue}:BTCUSDT"], 0)
        write(tmp_path / f"{venue}.gz", written)
        recordings += f'[[market.recordings]]\nfile = "{venue}.gz"\nvenue = "{venue}"\nsymbols = ["BTCUSDT"]\n'
    text = (ROOT / "configs" / "demo.toml").read_text()
    head, _, tail = text.partition("[market]")
    head = re.sub(r"^(start|duration) = .*\n", "", head, flags=re.M)
    _, _, rest = tail.partition("[[venues]]")
    path = tmp_path / "recorded.toml"
    path.write_text(f'{head}[market]\nkind = "recorded"\n{recordings}\n[[venues]]{rest}')
    config = load(path, KINDS)
    heard, again = Heard(), Heard()
    whole = VenueEngine(config, None, heard)
    whole.command(order(1, Side.BUY, 20, rests=False), 1)
    whole.advance(whole.now + 30 * SECOND)
    part = VenueEngine(config, None, again)
    part.restore(from_bytes(to_bytes(whole.store()), StoredEngine))
    heard.lines.clear()
    for engine in (whole, part):
        engine.command(order(2, Side.SELL, 30, rests=False), 1)
        engine.advance(engine.now + 60 * SECOND)
    assert whole.is_over
    assert len(heard.lines) > 100
    assert again.lines == heard.lines
    assert to_bytes(part.store()) == to_bytes(whole.store())


def test_what_was_written_can_be_read(world: World) -> None:
    state = live(world, snapshots_after=()).store()
    assert to_bytes(from_bytes(to_bytes(state), StoredEngine)) == to_bytes(state)
    with pytest.raises(StoredStateError, match="not a StoredEngine"):
        from_bytes(to_bytes(state)[:-1], StoredEngine)
