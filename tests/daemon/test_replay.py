"""A logged run fed to the same actors does the same, and to others it is told where they differ."""

import shutil
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

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
    ReplayTop,
    Step,
    Watch,
    begin,
    build_cell,
    play,
    quotes,
    record,
)

from actors.base import Actor, handles
from actors.cell import QUARANTINE_WINDOW_NS, Cell
from daemon.log import open_log
from daemon.log.replay import ReplayResult, check, export
from venues.port import CancelAll, VenueUp


@pytest.mark.parametrize("steps", [QUIET, TROUBLED, TWICE, STORM], ids=["quiet", "troubled", "twice", "storm"])
def test_the_same_actors_do_the_same(tmp_path: Path, steps: list[Step]) -> None:
    cell = record(tmp_path / "log", steps)
    result = check(tmp_path / "log", build_cell)
    assert result.differences == ()
    assert result.is_identical
    assert result.inputs > 2
    assert result.intents > 2
    assert result.journal_sha256 == sha256(b"".join(export(tmp_path / "log"))).hexdigest()
    assert result.halt == cell.halt
    assert (cell.halt is None) == (steps in (QUIET, TROUBLED))


def test_troubled_means_two_quarantines_one_of_them_in_a_view(tmp_path: Path) -> None:
    cell = record(tmp_path / "log", TROUBLED)
    assert [one.actor for one in cell.quarantined] == ["feed", "desk"]


BIDS = st.lists(st.sampled_from([1, 2, 4, 8, 13, 17]), max_size=5)
GAPS = st.sampled_from([SECOND // 3, 4 * SECOND, QUARANTINE_WINDOW_NS, 2 * QUARANTINE_WINDOW_NS])


@settings(max_examples=60)
@given(st.lists(st.tuples(GAPS, BIDS, st.booleans()), max_size=8), st.booleans())
def test_whatever_happens_it_happens_again(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[tuple[int, list[int], bool]], seal: bool
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    now, steps = 0, []
    for gap, bids, has_report in gaps:
        now += gap
        steps.append((now, [*quotes(now, *bids)[1], *([VenueUp(now, "x")] if has_report else [])]))
    record(folder / "log", steps, seal=seal)
    result = check(folder / "log", build_cell)
    assert result.is_identical, result.differences
    assert result.is_sealed == seal
    shutil.rmtree(folder)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(GAPS, BIDS, st.booleans(), st.integers(1, 5)), max_size=8),
    st.integers(1, 3),
)
def test_a_run_that_takes_its_inputs_in_slices_is_replayed_as_one(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[tuple[int, list[int], bool, int]], rest: int
) -> None:
    """More inputs arrive between two slices, while views wait."""
    folder = tmp_path_factory.mktemp("slices")
    cell, log = begin(folder / "log")
    now = START
    for gap, bids, has_report, inputs_max in gaps:
        now += gap
        cell.offer_due(now)
        for each in [*quotes(now, *bids)[1], *([VenueUp(now, "x")] if has_report else [])]:
            cell.offer(each)
        log.intents(cell.run(now, inputs_max))
        log.commit()
    while cell.halt is None and not cell.dispatcher.is_idle:
        log.intents(cell.run(now, rest))
        log.commit()
    log.close()
    result = check(folder / "log", build_cell)
    assert result.is_identical, result.differences
    shutil.rmtree(folder)


def test_another_size_is_reported_where_it_was_sent(tmp_path: Path) -> None:
    record(tmp_path / "log", QUIET)
    result = check(tmp_path / "log", lambda _: build_cell("0.26"))
    assert not result.is_identical
    # One order for each of the three bids that four divides; the numbers agree.
    assert [(_qty(d.expected), _qty(d.got)) for d in result.differences] == [("0.25", "0.26")] * 3
    assert result.journal_sha256 != result.logged_sha256


def _qty(line: str | None) -> str:
    assert line is not None
    return line.split('"qty":"')[1].split('"')[0]


class _Silent(Desk):
    @handles(ReplayTop)
    def on_top(self, now: int, top: ReplayTop) -> None:
        pass


class _Eager(Watch):
    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        super().on_up(now, up)
        self.out.send(CancelAll(now, "eager"))


@pytest.mark.parametrize(
    ("actors", "expects", "gets"),
    [
        (lambda: [Feed(), _Silent(Decimal("0.25")), Watch()], '"kind":"SubmitOrder"', None),
        (lambda: [Feed(), Desk(Decimal("0.25")), _Eager()], None, '"account":"eager"'),
    ],
    ids=["one intent missing", "one intent too many"],
)
def test_the_first_difference_is_where_the_actors_differ(
    tmp_path: Path, actors: Callable[[], list[Actor]], expects: str | None, gets: str | None
) -> None:
    record(tmp_path / "log", QUIET)
    result = check(tmp_path / "log", lambda _: Cell(actors))
    first = result.differences[0]
    for text, line in ((expects, first.expected), (gets, first.got)):
        assert text is None or (line is not None and text in line)
    assert result.differences_count >= len(result.differences)
    assert not result.is_identical


def test_differences_are_counted_and_only_so_many_kept(tmp_path: Path) -> None:
    record(tmp_path / "log", [quotes(number * SECOND, 4, 8, 12) for number in range(1, 100)])
    result = check(tmp_path / "log", lambda _: build_cell("0.26"))
    assert len(result.differences) == 100
    assert result.differences_count > 100


def test_a_log_cut_short_replays_as_far_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.log.run_log.FLUSH_BYTES", 600)
    record(tmp_path / "log", TROUBLED, seal=False)
    path = tmp_path / "log" / "market-000000.seg"
    whole = path.read_bytes()
    counts: list[int] = []
    for size in range(len(whole), 200, -7):
        path.write_bytes(whole[:size])
        result: ReplayResult = check(tmp_path / "log", build_cell)
        assert result.is_identical, (size, result.differences)
        counts.append(result.inputs)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_a_run_that_went_on_from_a_snapshot_is_replayed_from_it(tmp_path: Path) -> None:
    cell, log = begin(tmp_path / "one")
    play(cell, log, TROUBLED[:5])
    log.close()
    plain = cell.snapshot()
    again, log = begin(tmp_path / "two", snapshot=plain)
    play(again, log, TROUBLED[5:])
    log.close()
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "journal.sqlite",
        "manifest.json",
        "market-000000.seg",
        "run.json",
        "snapshot.json",
    ]
    result = check(tmp_path / "two", build_cell)
    assert result.is_identical, result.differences
    assert result.intents > 0
    opened = open_log(tmp_path / "two")
    assert next(opened.records()).seq > plain["seq"]
    assert opened.first_snapshot() == plain
    record(tmp_path / "whole", TROUBLED)
    assert [*export(tmp_path / "one"), *export(tmp_path / "two")] == list(export(tmp_path / "whole"))
