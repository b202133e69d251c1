"""A desk goes on exactly where the log of the last process ends, or says why it cannot."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_desk import (
    QUIET,
    SECOND,
    START,
    STORM,
    TROUBLED,
    TWICE,
    Desk,
    Feed,
    Step,
    Watch,
    begin,
    build_cell,
    play,
    quotes,
)

from actors.base import Actor
from actors.cell import QUARANTINE_WINDOW_NS, Cell, CellRestarted
from actors.dispatcher import Limits
from daemon.build import build_id
from daemon.live.recovery import RecoveryError, last_run, next_run_folder, recover
from daemon.log import LogCorruptError, RunLog, open_log
from daemon.log.canonical import Record, message_of, parse
from daemon.log.replay import export
from daemon.log.snapshots import encode_snapshot
from venues.port import MESSAGES, CancelAll, VenueUp


def run(
    folder: Path, steps: Sequence[Step], *, seal: bool = False, snapshots: tuple[int, ...] = (), **more: Any
) -> Cell:
    """Run the steps with a durable log, a snapshot after each of `snapshots`; leave it as a killed process does."""
    cell, log = begin(folder, durable=True, **more)
    for number, step in enumerate(steps):
        play(cell, log, [step])
        if number in snapshots and cell.dispatcher.is_idle:
            write_snapshot(log, cell)
    if seal:
        log.close()
    else:
        _kill(log)
    return cell


def write_snapshot(log: RunLog, cell: Cell) -> None:
    log.write_snapshot(cell.dispatcher.seq, cell.dispatcher.now, cell.snapshot())


def _kill(log: RunLog) -> None:
    """Leave the folder as a killed process does: no checkpoint of the journal."""
    copy = log.folder.with_name("killed")
    shutil.copytree(log.folder, copy, ignore=shutil.ignore_patterns("*-shm"))
    log.abandon()
    shutil.rmtree(log.folder)
    copy.rename(log.folder)


def state(cell: Cell) -> bytes:
    return encode_snapshot(cell.snapshot())


# The same state


@pytest.mark.parametrize("steps", [QUIET, TROUBLED], ids=["quiet", "troubled"])
@pytest.mark.parametrize("seal", [False, True], ids=["killed", "sealed"])
@pytest.mark.parametrize("snapshots", [(), (0,), (1, 2, 3), (99,)], ids=str)
def test_the_state_is_the_one_the_process_had(
    tmp_path: Path, steps: Sequence[Step], seal: bool, snapshots: tuple[int, ...]
) -> None:
    snapshots = tuple(min(number, len(steps) - 1) for number in snapshots)
    cell = run(tmp_path / "log", steps, seal=seal, snapshots=snapshots)
    found = recover(tmp_path / "log", build_cell)
    assert encode_snapshot(found.snapshot) == state(cell)
    assert (found.seq, found.now) == (cell.dispatcher.seq, cell.dispatcher.now)
    assert (found.was_sealed, found.is_complete, found.skipped) == (seal, True, ())
    assert (found.base_seq > 0) == bool(snapshots)
    assert (found.inputs == 0) == (len(steps) - 1 in snapshots)
    assert all("is set aside" in text for text in found.warnings)
    assert found.folder == tmp_path / "log"


@pytest.mark.parametrize("cut", range(len(TROUBLED)))
def test_a_cell_that_goes_on_does_what_the_uninterrupted_does(tmp_path: Path, cut: int) -> None:
    run(tmp_path / "one", TROUBLED[:cut], snapshots=(cut // 2,))
    found = recover(tmp_path / "one", build_cell)
    cell = run(tmp_path / "two", TROUBLED[cut:], snapshot=found.snapshot)
    whole = run(tmp_path / "whole", TROUBLED)
    assert state(cell) == state(whole)
    assert [*export(tmp_path / "one"), *export(tmp_path / "two")] == list(export(tmp_path / "whole"))


def test_ten_generations_equal_one_uninterrupted_run(tmp_path: Path) -> None:
    steps = [
        quotes(number * 17 * SECOND, number % 5, 4 * number, 13 if number == 11 else 8, number % 3)
        for number in range(1, 31)
    ]
    cell, found = None, None
    for generation in range(10):
        folder = next_run_folder(tmp_path / "runs")
        assert folder.name == f"{generation + 1:06d}"
        some = steps[3 * generation : 3 * generation + 3]
        cell = run(folder / "log", some, snapshot=found and found.snapshot, snapshots=(1,) if generation % 2 else ())
        assert last_run(tmp_path / "runs") == folder
        found = recover(folder, build_cell)
        assert encode_snapshot(found.snapshot) == state(cell)
    whole = run(tmp_path / "whole", steps)
    assert cell is not None
    assert state(cell) == state(whole)
    assert [one.actor for one in whole.quarantined] == ["feed"]
    runs = [tmp_path / "runs" / f"{number:06d}" / "log" for number in range(1, 11)]
    assert [line for folder in runs for line in export(folder)] == list(export(tmp_path / "whole"))


def test_a_second_failure_within_a_minute_halts_over_a_restart_too(tmp_path: Path) -> None:
    run(tmp_path / "one", [quotes(SECOND, 4, 13)])
    found = recover(tmp_path / "one", build_cell)
    again = run(tmp_path / "two", [quotes(2 * SECOND, 17)], snapshot=found.snapshot)
    assert again.halt is not None
    later = run(tmp_path / "three", [quotes(2 * SECOND + QUARANTINE_WINDOW_NS, 17)], snapshot=found.snapshot)
    assert later.halt is None


def test_what_was_not_answered_is_pending(tmp_path: Path) -> None:
    run(tmp_path / "log", [quotes(SECOND, 4, 8)])
    pending = [json.loads(line) for line in recover(tmp_path / "log", build_cell).pending]
    assert [each["message"]["client_order_id"] for each in pending] == ["d1", "d2"]


# Logs that end badly


BIDS = st.lists(st.sampled_from([1, 4, 8, 13]), max_size=4)
GAPS = st.sampled_from([SECOND // 3, 4 * SECOND, 2 * QUARANTINE_WINDOW_NS])


@settings(max_examples=40)
@given(st.lists(st.tuples(GAPS, BIDS, st.booleans(), st.booleans()), min_size=1, max_size=8), st.data())
def test_a_log_that_lost_its_end_gives_the_state_of_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[tuple[int, list[int], bool, bool]], data: st.DataObject
) -> None:
    """Segment and write-ahead log each cut anywhere: the state is that of a cell fed the records still readable."""
    folder = tmp_path_factory.mktemp("recovery")
    now, steps, snapshots = 0, [], []
    for number, (gap, bids, has_report, has_snapshot) in enumerate(gaps):
        now += gap
        steps.append((now, [*quotes(now, *bids)[1], *([VenueUp(now, "x")] if has_report else [])]))
        if has_snapshot:
            snapshots.append(number)
    run(folder / "log", steps, snapshots=tuple(snapshots))
    whole = list(export(folder / "log"))
    wal = folder / "log" / "journal.sqlite-wal"
    for path in (folder / "log" / "market-000000.seg", wal):
        size = path.stat().st_size if path is not wal else len(wal.read_bytes().rstrip(b"\0"))
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(size // 2, size), label=path.name)])
    try:
        readable = open_log(folder / "log")
    except LogCorruptError:
        # Nothing is left of the journal but its beginning.
        shutil.rmtree(folder)
        return
    lines = [record.line + b"\n" for record in readable.records()]
    found = recover(folder / "log", build_cell)
    # A snapshot also makes good what is missing before it.
    newest = [readable.snapshot(seq) for seq in readable.snapshot_seqs()[:1]]
    after = readable.records(newest[0]) if newest else readable.records()
    last = max([0, *(stored.seq for stored in newest), *(record.seq for record in after)])
    expected = _fed(whole, lambda record: record.seq <= last and record.seq not in found.skipped)
    if found.skipped:
        expected.dispatcher.seq = found.seq
    assert lines == whole[: len(lines)]
    assert encode_snapshot(found.snapshot) == state(expected)
    behind = any(record.seq > found.seq for record in readable.order_path())
    assert found.is_complete == (readable.lost_rows == 0 and not behind)
    shutil.rmtree(folder)


def _seq(line: bytes) -> int:
    return parse(line.rstrip(b"\n")).seq


def _fed(lines: list[bytes], is_wanted: Callable[[Record], bool]) -> Cell:
    """Return a cell that was fed the wanted records."""
    cell = build_cell("0.25")
    cell.start(START)
    last = 0
    for record in filter(is_wanted, (parse(line.rstrip(b"\n")) for line in lines)):
        last = record.seq
        if not record.is_intent and record.kind != CellRestarted.__name__:
            assert record.now is not None
            cell.replay(record.now, message_of(record), record.is_held)
    cell.finish_replay()
    cell.dispatcher.seq = max(cell.dispatcher.seq, last)
    return cell


@pytest.mark.parametrize("seal", [False, True], ids=["killed", "sealed"])
@pytest.mark.parametrize("snapshots", [(), (0,)], ids=str)
@pytest.mark.parametrize("steps", [TWICE, STORM], ids=["twice", "storm"])
def test_an_input_that_halts_the_run_is_left_out_of_the_next(
    tmp_path: Path, steps: Sequence[Step], snapshots: tuple[int, ...], seal: bool
) -> None:
    halted = run(tmp_path / "log", steps, seal=seal, snapshots=snapshots)
    assert halted.halt is not None
    found = recover(tmp_path / "log", build_cell)
    assert found.skipped == (halted.halt.seq,)
    assert f"the run halted at input {halted.halt.seq}, which is left out" in found.warnings
    lines = list(export(tmp_path / "log"))
    expected = _fed(lines, lambda record: record.seq != found.skipped[0])
    expected.dispatcher.seq = found.seq
    assert encode_snapshot(found.snapshot) == state(expected)
    assert found.seq >= _seq(lines[-1])
    again = run(tmp_path / "two", [quotes(5 * QUARANTINE_WINDOW_NS, 4, 1)], snapshot=found.snapshot)
    assert again.halt is None
    assert min(_seq(line) for line in export(tmp_path / "two")) > _seq(lines[-1])
    assert recover(tmp_path / "two", build_cell).skipped == ()


class AlwaysHalting(Feed):
    def start(self, now: int) -> None:
        raise ValueError("cannot begin")


def test_a_cell_that_cannot_begin_is_not_recovered(tmp_path: Path) -> None:
    run(tmp_path / "log", QUIET)
    with pytest.raises(RecoveryError, match=r"an actor cannot begin: .*cannot begin\. The log was written by"):
        recover(tmp_path / "log", lambda _: Cell(lambda: [AlwaysHalting()]))


def test_a_backup_taken_while_it_runs_is_recovered_as_of_then(tmp_path: Path) -> None:
    """The journal by SQLite's own means, and the other files after it: they may know more, which is left out."""
    cell, log = begin(tmp_path / "log", durable=True)
    play(cell, log, TROUBLED[:4])
    then = state(cell)
    (tmp_path / "backup").mkdir()
    source, copy = (sqlite3.connect(tmp_path / folder / "journal.sqlite") for folder in ("log", "backup"))
    source.backup(copy)
    copy.close()
    source.close()
    play(cell, log, TROUBLED[4:])
    log.sync()
    for path in (tmp_path / "log").iterdir():
        if "sqlite" not in path.name:
            shutil.copy(path, tmp_path / "backup")
    log.abandon()
    found = recover(tmp_path / "backup", build_cell)
    assert encode_snapshot(found.snapshot) == then
    assert not found.is_complete
    assert "the journal has lost its last" in found.warnings[0]
    assert encode_snapshot(recover(tmp_path / "log", build_cell).snapshot) == state(cell)


# Another build


class Silent(Desk):
    def on_timer(self, now: int, key: str) -> None:
        pass


class Failing(Desk):
    def on_timer(self, now: int, key: str) -> None:
        raise ValueError("no timers")


class Eager(Watch):
    def on_timer(self, now: int, key: str) -> None:
        super().on_timer(now, key)
        self.out.send(CancelAll(now, "eager"))


def another(*actors: Callable[[], Actor]) -> Callable[[str], Cell]:
    return lambda _: Cell(lambda: [actor() for actor in actors], limits=Limits(messages_per_input=50))


def desk() -> Desk:
    return Desk(Decimal("0.25"))


DIFFERENT = [
    (another(Feed, lambda: Silent(Decimal("0.25")), Watch), r"has .*CancelAll.* and the replay .*TimerFired"),
    (another(Feed, desk, Eager), r"has .* and the replay .*eager"),
    (another(Feed, lambda: Desk(Decimal("0.26")), Watch), r"has .*0\.25.* and the replay .*0\.26"),
    (another(Feed, lambda: Failing(Decimal("0.25")), Watch), r"CellRestarted|the run went on here"),
]


@pytest.mark.parametrize(("build", "why"), DIFFERENT)
@pytest.mark.parametrize("seal", [False, True], ids=["killed", "sealed"])
def test_a_cell_that_does_something_else_is_refused(
    tmp_path: Path, build: Callable[[str], Cell], why: str, seal: bool
) -> None:
    run(tmp_path / "log", QUIET, seal=seal)
    with pytest.raises(RecoveryError, match=why) as caught:
        recover(tmp_path / "log", build)
    assert caught.value.seq is not None
    assert str(caught.value).startswith(f"seq {caught.value.seq}: ")
    assert "written by build build, this is " in str(caught.value)
    assert "stop it in order" in str(caught.value)


def test_the_same_build_that_does_something_else_is_at_fault(tmp_path: Path) -> None:
    run(tmp_path / "log", QUIET, build=build_id())
    with pytest.raises(RecoveryError, match="this is a fault"):
        recover(tmp_path / "log", DIFFERENT[0][0])


@pytest.mark.parametrize(("build", "why"), DIFFERENT)
def test_what_was_stopped_in_order_is_taken_up_by_another_build(
    tmp_path: Path, build: Callable[[str], Cell], why: str
) -> None:
    """Its last snapshot has everything: nothing is replayed."""
    cell = run(tmp_path / "log", QUIET, seal=True, snapshots=(len(QUIET) - 1,))
    assert encode_snapshot(recover(tmp_path / "log", build).snapshot) == state(cell)


def test_an_input_that_another_build_does_not_know_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "log", QUIET)
    monkeypatch.delitem(MESSAGES, "VenueUp")
    with pytest.raises(RecoveryError, match=r"no message is called VenueUp\. The log was written by build build"):
        recover(tmp_path / "log", build_cell)


# Damage


def _change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
    assert connection.execute(statement).rowcount == 1
    connection.close()


NEWEST = "WHERE seq = (SELECT max(seq) FROM snapshots)"
DAMAGES = [
    f"UPDATE snapshots SET stored = x'00' {NEWEST}",
    f"UPDATE snapshots SET now = now + 1 {NEWEST}",
    f"UPDATE snapshots SET market = market - 1 {NEWEST}",
    f"UPDATE snapshots SET sha256 = upper(sha256) {NEWEST}",
    f"UPDATE snapshots SET seq = seq + 1 {NEWEST}",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, damage: str) -> None:
    cell = run(tmp_path / "log", TROUBLED, snapshots=(2, 4))
    _, older = open_log(tmp_path / "log").snapshot_seqs()
    _change(tmp_path / "log", damage)
    found = recover(tmp_path / "log", build_cell)
    assert encode_snapshot(found.snapshot) == state(cell)
    assert found.base_seq == older
    assert "checksum of the snapshot" in found.warnings[0]
    _change(tmp_path / "log", "UPDATE snapshots SET stored = x'00' WHERE seq = (SELECT min(seq) FROM snapshots)")
    found = recover(tmp_path / "log", build_cell)
    assert encode_snapshot(found.snapshot) == state(cell)
    assert found.base_seq == 0
    assert [text for text in found.warnings if "cannot be used" in text] == list(found.warnings[:2])


def test_a_snapshot_damaged_in_a_sealed_log_is_passed_over_and_a_record_is_not(tmp_path: Path) -> None:
    cell = run(tmp_path / "log", TROUBLED, snapshots=(2, 4), seal=True)
    path = tmp_path / "log" / "journal.sqlite"
    whole = path.read_bytes()
    frame = whole.index(b"\x28\xb5\x2f\xfd")
    path.write_bytes(whole[: frame + 20] + bytes([whole[frame + 20] ^ 1]) + whole[frame + 21 :])
    found = recover(tmp_path / "log", build_cell)
    assert encode_snapshot(found.snapshot) == state(cell)
    assert not found.was_sealed
    assert "snapshot" in found.warnings[0]
    record = whole.index(b'"d1"')
    path.write_bytes(whole[: record + 1] + b"e" + whole[record + 2 :])
    with pytest.raises(LogCorruptError, match="checksum of the record"):
        recover(tmp_path / "log", build_cell)


@pytest.mark.parametrize("seal", [False, True], ids=["killed", "sealed"])
def test_the_first_snapshot_is_needed_only_without_a_later_one(tmp_path: Path, seal: bool) -> None:
    run(tmp_path / "one", QUIET[:2])
    plain = recover(tmp_path / "one", build_cell).snapshot
    for name, snapshots in (("with", (0,)), ("without", ())):
        cell = run(tmp_path / name, QUIET[2:], snapshot=plain, snapshots=snapshots, seal=seal)
        path = tmp_path / name / "snapshot.json"
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
        if snapshots:
            assert encode_snapshot(recover(tmp_path / name, build_cell).snapshot) == state(cell)
        else:
            with pytest.raises(LogCorruptError, match=r"snapshot\.json: checksum of the file"):
                recover(tmp_path / name, build_cell)


class Grown(Desk):
    schema = 2


def test_a_snapshot_that_this_build_cannot_read_is_no_reason_to_forget_the_run(tmp_path: Path) -> None:
    cell = run(tmp_path / "log", QUIET, snapshots=(1,))
    grown = another(Feed, lambda: Grown(Decimal("0.25")), Watch)
    found = recover(tmp_path / "log", grown)
    assert found.base_seq == 0
    assert "no way from snapshot schema 1 to 2" in found.warnings[0]
    assert found.snapshot["actors"]["desk"]["state"] == cell.snapshot()["actors"]["desk"]["state"]
    run(tmp_path / "two", QUIET[:1], snapshot=cell.snapshot())
    with pytest.raises(RecoveryError, match=r"no snapshot can be used: .*schema 1 to 2\. The log was written by"):
        recover(tmp_path / "two", grown)


# Folders


def test_runs_are_numbered_and_those_without_a_log_are_no_last_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert (last_run(runs), next_run_folder(runs)) == (None, runs / "000001")
    run(next_run_folder(runs) / "log", QUIET[:1])
    (next_run_folder(runs) / "log").mkdir(parents=True)
    (runs / "notes").mkdir()
    (runs / "999999").touch()
    assert last_run(runs) == runs / "000001"
    assert next_run_folder(runs) == runs / "000003"
    (runs / "1000000").mkdir()
    assert next_run_folder(runs) == runs / "1000001"


@pytest.mark.parametrize("call", range(1, 12))
def test_a_process_killed_while_it_makes_its_log_leaves_none_or_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """At each sync: the folder is no log yet, or it is one that recovers to the state it was to begin from."""
    runs = tmp_path / "runs"
    cell = run(runs / "000001" / "log", QUIET)
    calls = 0

    def killed(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, killed)
    plain = recover(runs / "000001", build_cell).snapshot
    try:
        begin(next_run_folder(runs) / "log", durable=True, snapshot=plain)[1].abandon()
    except KeyboardInterrupt:
        pass
    else:
        assert calls < call
    monkeypatch.undo()
    last = last_run(runs)
    assert last is not None
    found = recover(last, build_cell)
    assert encode_snapshot(found.snapshot) == state(cell)


def test_no_log_is_no_recovery(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        recover(tmp_path, build_cell)
