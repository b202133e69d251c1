"""This venue against hftbacktest 2.4.4: the same events and orders, the same fills, or a difference that has a name.

Risk-averse queues, whole fills, constant latency. Both books are the tape's; what each does with own orders is not
the same, and `NAMED` says where and why. A difference that no name recognises fails.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hft_process import (
    ABSENT,
    BUY,
    CANCEL,
    GTC,
    GTX,
    IOC,
    LIMIT,
    MARKET,
    MODIFY,
    SELL,
    SUBMIT,
    Action,
    HftError,
    Reference,
    Settings,
    interpreter,
)
from hft_rows import to_events, write_events
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from long_rows import long_rows
from named_differences import Difference, Fill, differences, names
from our_fills import compiled_ours, ours
from tape import Tape, messages
from unkind_rows import Unkindness, small_rows

import sim.rows as kinds
from sim.rows import LAST, LOCAL, VENUE, Rows


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    python = interpreter()
    if python is None:
        pytest.skip(ABSENT)
    with Reference(python) as started:
        yield started


def answer(reference: Reference, folder: Path, rows: Rows, settings: Settings, script: Sequence[Action]) -> Any:
    events = write_events(folder / "events.npz", rows, settings.tick, settings.lot)
    return reference.play(events, settings, script)


def theirs(reference: Reference, folder: Path, rows: Rows, settings: Settings, script: Sequence[Action]) -> list[Fill]:
    """Return the fills of `script` on hftbacktest: one for each order, since it tells only the last."""
    told = answer(reference, folder, rows, settings, script)
    assert told["error"] == 0, told["error"]
    return [
        Fill(order["id"], order["venue_ns"], order["ticks"], order["lots"], order["is_maker"])
        for order in told["orders"]
        if order["status"] == "filled"
    ]


# Scripts: one own order at a price, one lot each, one request at a time.


def script_of(seed: int, rows: Rows, settings: Settings, takers: bool, changes: bool, lots: int = 1) -> list[Action]:
    """Return orders near the touch of the moment, each at a price no other ever has, some changed and canceled."""
    rng = Random(seed)
    tape = Tape()
    used: set[int] = set()
    script: list[Action] = []
    round_trip = settings.entry_ns + settings.response_ns + 1

    def free(side: int, best: int) -> int | None:
        reach = 3 if takers else 0
        ticks = best - side * rng.randrange(-reach, 4)
        return None if ticks in used else ticks

    for number, (ns, message) in enumerate(messages(rows)):
        tape.take(message)
        side = rng.choice((BUY, SELL))
        best = tape.best(side == BUY)
        if number < 2 or best is None or rng.random() > 0.1:
            continue
        ticks = free(side, best)
        if ticks is None:
            continue
        used.add(ticks)
        local_ns = ns + rng.choice((0, rng.randrange(5_000_000)))
        kind = MARKET if takers and rng.random() < 0.2 else LIMIT
        tif = rng.choice((GTC, GTX, IOC)) if takers and kind == LIMIT else GTC if takers else GTX
        script.append(Action(local_ns, len(used), SUBMIT, side, ticks, 1 + rng.randrange(lots), tif, kind))
        local_ns += round_trip + rng.randrange(200_000_000)
        moved = free(side, best)
        if changes and moved is not None and rng.random() < 0.4:
            used.add(moved)
            script.append(Action(local_ns, script[-1].id, MODIFY, side, moved, script[-1].lots))
            local_ns += round_trip + rng.randrange(200_000_000)
        if rng.random() < 0.4:
            script.append(Action(local_ns, script[-1].id, CANCEL))
    return sorted(script, key=lambda action: action.local_ns)


# The comparison.

KIND = Unkindness()
KIND_SETTINGS = Settings(entry_ns=1_000_000, response_ns=500_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


def compare(
    reference: Reference, folder: Path, rows: Rows, settings: Settings, script: Sequence[Action]
) -> tuple[int, list[Difference]]:
    """Return how many fills are the same on both sides, and what is not."""
    mine, other = ours(rows, settings, script), theirs(reference, folder, rows, settings, script)
    found = differences(rows, settings, script, mine, other)
    return len(mine) - sum(len(difference.mine) for difference in found), found


def test_post_only_orders_fill_alike_to_the_nanosecond(reference: Reference, folder: Path) -> None:
    same = 0
    for seed in range(60):
        rows = small_rows(seed, KIND)
        tick, lot = ((0.1, 1.0), (0.01, 0.001), (0.25, 1.0))[seed % 3]
        settings = Settings(tick, lot, entry_ns=seed % 4 * 1_000_000, response_ns=500_000)
        script = script_of(seed, rows, settings, takers=False, changes=seed % 2 == 1)
        fills, found = compare(reference, folder, rows, settings, script)
        # What is left without takers: two own orders reached by one quote that is enough for one of them.
        assert [names(difference) for difference in found] == [["own consumption"]] * len(found), (seed, found)
        assert len(found) <= 1
        same += fills
    assert same > 400


def test_rows_written_once_for_each_clock_fill_the_same(reference: Reference, folder: Path) -> None:
    for seed in range(10):
        rows = small_rows(seed, KIND)
        venue, local = Rows.join([rows]), Rows.join([rows])
        venue.flags[:] &= ~np.uint8(LOCAL)
        local.flags[:] &= ~np.uint8(VENUE)
        split = Rows.join([local, venue])
        script = script_of(seed, rows, KIND_SETTINGS, takers=True, changes=True)
        for play in (ours, lambda *given: theirs(reference, folder, *given)):
            assert play(split, KIND_SETTINGS, script) == play(rows, KIND_SETTINGS, script) != []


def test_position_and_fees_are_those_of_the_fills(reference: Reference, folder: Path) -> None:
    compared = 0
    for seed in range(20):
        rows = small_rows(seed, KIND)
        settings = Settings(maker_fee=0.0002, taker_fee=0.0005)
        # Without cancels: see the test of a cancel that comes too late.
        script = [
            action for action in script_of(seed, rows, settings, takers=True, changes=False) if action.action == SUBMIT
        ]
        fills, found = compare(reference, folder, rows, settings, script)
        if found or not fills:
            continue
        compared += 1
        told, mine = answer(reference, folder, rows, settings, script), ours(rows, settings, script)
        sides = {action.id: action.side for action in script}
        assert told["position"] == sum(sides[fill.order] * fill.lots for fill in mine)
        # Their sum is in binary floating point.
        assert told["fee"] == pytest.approx(sum(fill.fee for fill in mine), rel=1e-12)
        assert told["balance"] == pytest.approx(-sum(sides[fill.order] * fill.ticks * 0.1 for fill in mine), rel=1e-12)
    assert compared > 5


@pytest.mark.parametrize("takers", [False, True])
def test_the_names_do_not_cover_a_wrong_latency(reference: Reference, folder: Path, takers: bool) -> None:
    wrong = unnamed = 0
    for seed in range(60):
        rows = small_rows(seed, KIND)
        settings, late = Settings(entry_ns=1_000_000), Settings(entry_ns=4_000_000)
        script = script_of(seed, rows, settings, takers, changes=False)
        fills, other = ours(rows, late, script), theirs(reference, folder, rows, settings, script)
        found = differences(rows, settings, script, fills, other)
        wrong += len(found)
        unnamed += sum(not names(difference) for difference in found)
    assert unnamed > 0.8 * wrong > 30


UNKIND = [
    ("quantities told late", Unkindness(says_what_trades_left=False), {"traded quantity"}),
    ("trades the book never shows", Unkindness(prints=True), {"traded quantity"}),
    ("a thin book", Unkindness(thickness=2), set()),
    ("whole books mid-stream", Unkindness(snapshots=True), set()),
    ("whole books with levels missing", Unkindness(snapshots=True, forgets=True), {"forgotten level"}),
    ("a best price that crosses", Unkindness(snapshots=True, crosses=True), {"crossed tape"}),
]
BETWEEN_OWN = {"own consumption", "own orders meet"}


@pytest.mark.parametrize(("how", "expected"), [case[1:] for case in UNKIND], ids=[case[0] for case in UNKIND])
@pytest.mark.parametrize("lots", [1, 4])
def test_every_difference_has_a_name(
    reference: Reference, folder: Path, how: Unkindness, expected: set[str], lots: int
) -> None:
    met: set[str] = set()
    for seed in range(40):
        rows = small_rows(seed, how)
        settings = Settings(entry_ns=seed % 3 * 1_000_000, response_ns=500_000)
        script = script_of(seed, rows, settings, takers=True, changes=True, lots=lots)
        for difference in compare(reference, folder, rows, settings, script)[1]:
            found = names(difference)
            assert found, (seed, difference.mine, difference.theirs, difference.actions)
            met.update(found)
    assert met == expected | BETWEEN_OWN | ({"whole fill"} if lots > 1 else set())


@pytest.mark.parametrize("how", [case[1] for case in UNKIND if not case[1].crosses])
@pytest.mark.parametrize("lots", [1, 4])
def test_the_compiled_run_fills_what_the_venues_objects_fill(how: Unkindness, lots: int) -> None:
    """So that what holds above of one holds of the other. On a crossed tape the feed's book is taken for unknown
    there; the compiled run plays the rows it is given, and quotes that reach own orders fill them."""
    fills = 0
    for seed in range(40):
        rows = small_rows(seed, how)
        settings = Settings(entry_ns=seed % 3 * 1_000_000, response_ns=500_000)
        script = script_of(seed, rows, settings, takers=True, changes=True, lots=lots)
        expected = ours(rows, settings, script)
        assert compiled_ours(rows, settings, script) == expected, seed
        fills += len(expected)
    assert fills > 200


@pytest.mark.parametrize("lots", [1, 4])
def test_on_a_crossed_tape_the_compiled_runs_differences_have_names_too(
    reference: Reference, folder: Path, lots: int
) -> None:
    for seed in range(40):
        rows = small_rows(seed, Unkindness(snapshots=True, crosses=True))
        settings = Settings(entry_ns=seed % 3 * 1_000_000, response_ns=500_000)
        script = script_of(seed, rows, settings, takers=True, changes=True, lots=lots)
        mine, other = compiled_ours(rows, settings, script), theirs(reference, folder, rows, settings, script)
        for difference in differences(rows, settings, script, mine, other):
            assert names(difference), (seed, difference.mine, difference.theirs, difference.actions)


@examples(max_examples=80)
@given(
    st.builds(
        Unkindness,
        thickness=st.integers(1, 12),
        steps=st.integers(20, 200),
        says_what_trades_left=st.booleans(),
        sweeps=st.booleans(),
        prints=st.booleans(),
        snapshots=st.booleans(),
        forgets=st.booleans(),
        crosses=st.booleans(),
    ),
    st.integers(0, 1 << 32),
    st.integers(0, 20_000_000),
    st.integers(0, 20_000_000),
    st.integers(1, 5),
)
def test_no_market_makes_a_difference_without_a_name(
    reference: Reference, folder: Path, how: Unkindness, seed: int, entry_ns: int, response_ns: int, lots: int
) -> None:
    rows = small_rows(seed, how)
    settings = Settings(entry_ns=entry_ns, response_ns=response_ns)
    script = script_of(seed, rows, settings, takers=True, changes=True, lots=lots)
    for difference in compare(reference, folder, rows, settings, script)[1]:
        assert names(difference), (difference.mine, difference.theirs, difference.actions)


# What is wrong there and right here: facts "Defects of hftbacktest 2.4.4", the scenario text's six cases.

NS = 1_000_000
FLAT_BIDS, FLAT_ASKS = [(1_000, 5)], [(1_001, 1), (1_002, 1), (1_003, 1)]
PARTIAL, WHOLE = Settings(exchange="partial"), Settings(exchange="whole")


def flat_book(
    *trades: tuple[int, int, int],
    asks: Sequence[tuple[int, int]] = FLAT_ASKS,
    told: Sequence[tuple[int, int, int]] = (),
) -> Rows:
    """Return the book of the cases at 1 ms, then sell trades and told bid quantities, each (ms, ticks, lots)."""
    levels = [(kinds.BUY, *level) for level in FLAT_BIDS] + [(0, *level) for level in asks]
    lines = [(kinds.CLEAR, 0, NS, 0, 0)]
    lines += [(kinds.SNAPSHOT, side, NS, ticks, lots) for side, ticks, lots in levels]
    lines.append((kinds.DEPTH, kinds.BUY, NS, *FLAT_BIDS[0]))
    later = [(kinds.TRADE, 0, ms * NS, ticks, lots) for ms, ticks, lots in trades]
    later += [(kinds.DEPTH, kinds.BUY, ms * NS, ticks, lots) for ms, ticks, lots in told]
    lines += sorted(later, key=lambda line: line[2])
    rows = Rows.empty(len(lines))
    for i, (kind, side, ns, ticks, lots) in enumerate(lines):
        is_last = kind not in (kinds.CLEAR, kinds.SNAPSHOT) or i == len(levels)
        rows.kind[i], rows.ticks[i], rows.lots[i] = kind, ticks, lots
        rows.flags[i] = VENUE | LOCAL | side | (LAST if is_last else 0)
        rows.venue_ns[i], rows.local_ns[i] = ns, ns + NS
    return rows


def mine(rows: Rows, script: Sequence[Action], balance: str = "1e15") -> list[tuple[int, int, int]]:
    return [(fill.order, fill.ticks, fill.lots) for fill in ours(rows, WHOLE, script, balance)]


def buy(order: int, lots: int, ticks: int, ms: int = 2, kind: int = LIMIT) -> Action:
    return Action(ms * NS, order, SUBMIT, BUY, ticks, lots, GTC, kind)


def test_a_partial_fill_reaches_the_position(reference: Reference, folder: Path) -> None:
    rows, script = flat_book((3, 1_000, 6)), [buy(1, 2, 1_000)]
    told = answer(reference, folder, rows, PARTIAL, script)
    assert (told["orders"][0]["status"], told["orders"][0]["lots"]) == ("partially_filled", 1)
    assert told["position"] == 0
    assert mine(rows, script) == [(1, 1_000, 1)]


@pytest.mark.parametrize("settings", [PARTIAL, WHOLE], ids=["partial", "whole"])
def test_own_orders_queue_behind_each_other(reference: Reference, folder: Path, settings: Settings) -> None:
    rows, script = flat_book((4, 1_000, 6)), [buy(1, 1, 1_000), buy(2, 1, 1_000, ms=3)]
    assert answer(reference, folder, rows, settings, script)["position"] == 2
    assert mine(rows, script) == [(1, 1_000, 1)]


def test_a_market_order_takes_what_there_is(reference: Reference, folder: Path) -> None:
    rows, script = flat_book((9, 999, 1)), [buy(1, 10, 0, kind=MARKET)]
    whole, partial = (answer(reference, folder, rows, settings, script) for settings in (WHOLE, PARTIAL))
    assert (whole["position"], whole["orders"][0]["ticks"]) == (10, 1_001)
    assert (partial["position"], partial["orders"][0]["status"], partial["orders"][0]["leaves"]) == (0, "expired", 7)
    assert mine(rows, script) == [(1, 1_001, 1), (1, 1_002, 1), (1, 1_003, 1)]


def test_a_limit_order_takes_what_there_is_and_rests_with_the_remainder(reference: Reference, folder: Path) -> None:
    rows, script = flat_book((9, 999, 1), asks=FLAT_ASKS), [buy(1, 10, 1_002)]
    told = answer(reference, folder, rows, PARTIAL, script)
    assert (told["position"], told["orders"][0]["status"], told["orders"][0]["ticks"]) == (9, "filled", 1_002)
    # The trade at 99.9 goes through the eight that rest.
    assert mine(rows, script) == [(1, 1_001, 1), (1, 1_002, 1), (1, 1_002, 8)]


def test_the_same_quantity_is_not_taken_twice(reference: Reference, folder: Path) -> None:
    rows, script = flat_book((9, 999, 1)), [buy(1, 1, 0, kind=MARKET), buy(2, 1, 0, ms=3, kind=MARKET)]
    for settings in (WHOLE, PARTIAL):
        told = answer(reference, folder, rows, settings, script)
        assert [order["ticks"] for order in told["orders"]] == [1_001, 1_001]
    assert mine(rows, script) == [(1, 1_001, 1), (2, 1_002, 1)]


def test_a_trade_after_an_exact_fill_is_no_error(reference: Reference, folder: Path) -> None:
    rows, script = flat_book((3, 1_000, 6), (4, 1_000, 1)), [buy(1, 1, 1_000)]
    # BacktestError::InvalidOrderStatus: the run ends there.
    assert answer(reference, folder, rows, PARTIAL, script)["error"] == 14
    assert mine(rows, script) == [(1, 1_000, 1)]


def test_an_order_needs_capital(reference: Reference, folder: Path) -> None:
    rows, script = flat_book((3, 999, 1)), [buy(1, 1_000_000, 1_000)]
    assert answer(reference, folder, rows, WHOLE, script)["position"] == 1_000_000
    assert mine(rows, script, balance="10000") == []


def test_a_cancel_that_comes_too_late_changes_nothing(reference: Reference, folder: Path) -> None:
    rows = flat_book((3, 1_000, 6), (9, 999, 1))
    late = [buy(1, 1, 1_000), Action(5 * NS, 1, CANCEL), Action(6 * NS, 1, CANCEL)]
    # Each refusal carries the order's status, filled, and the client books the fill once more (proc/local.rs).
    assert [answer(reference, folder, rows, WHOLE, late[:n])["position"] for n in (1, 2, 3)] == [1, 2, 3]
    assert mine(rows, late) == [(1, 1_000, 1)]


def test_a_market_order_without_another_side_does_not_trade(reference: Reference, folder: Path) -> None:
    rows, script = flat_book((3, 999, 1), asks=[]), [buy(1, 1, 0, kind=MARKET)]
    (told,) = theirs(reference, folder, rows, WHOLE, script)
    assert told.ticks == (1 << 63) - 1
    (found,) = differences(rows, WHOLE, script, ours(rows, WHOLE, script), [told])
    assert found.mine == ()
    assert names(found) == ["empty side"]


def test_a_changed_quantity_is_the_one_that_fills(reference: Reference, folder: Path) -> None:
    rows = flat_book((9, 998, 1))
    script = [buy(1, 1, 1_000), Action(5 * NS, 1, MODIFY, BUY, 999, 3)]
    told = theirs(reference, folder, rows, WHOLE, script)
    assert [(fill.ticks, fill.lots) for fill in told] == [(999, 1)]
    (found,) = differences(rows, WHOLE, script, ours(rows, WHOLE, script), told)
    assert [(fill.ticks, fill.lots) for fill in found.mine] == [(999, 3)]
    assert names(found) == ["stale leaves"]


# What is the same.


@pytest.mark.parametrize(("before", "after", "fills"), [(2, 1, [(1_000, 1)]), (1, 2, [])], ids=["less", "more"])
def test_a_change_to_less_keeps_the_place_and_one_to_more_loses_it(
    reference: Reference, folder: Path, before: int, after: int, fills: list[tuple[int, int]]
) -> None:
    # Behind 5, of which 3 trade; then 7 queue behind, the order is changed, and 3 trade again.
    rows = flat_book((3, 1_000, 3), (6, 1_000, 3), told=[(4, 1_000, 9)])
    script = [buy(1, before, 1_000), Action(5 * NS, 1, MODIFY, BUY, 1_000, after)]
    told = theirs(reference, folder, rows, WHOLE, script)
    assert [(fill.ticks, fill.lots) for fill in told] == fills
    assert ours(rows, WHOLE, script) == told


def test_at_one_instant_the_market_comes_before_the_order(reference: Reference, folder: Path) -> None:
    # A trade of six at the instant the order arrives: it is not behind the five that traded, so nothing fills it.
    rows, script = flat_book((3, 1_000, 6), told=[(3, 1_000, 2)]), [buy(1, 1, 1_000, ms=3)]
    assert theirs(reference, folder, rows, WHOLE, script) == ours(rows, WHOLE, script) == []
    one_earlier = [Action(3 * NS - 1, 1, SUBMIT, BUY, 1_000, 1)]
    told = theirs(reference, folder, rows, WHOLE, one_earlier)
    assert [(fill.venue_ns, fill.ticks) for fill in told] == [(3 * NS, 1_000)]
    assert ours(rows, WHOLE, one_earlier) == told


def test_an_interpreter_without_hftbacktest_is_an_error() -> None:
    with Reference(sys.executable) as reference, pytest.raises(HftError, match="over play"):
        reference.play(Path("nowhere.npz"), WHOLE, [])


# What both sides are given.


def test_rows_become_events() -> None:
    rows = flat_book((3, 1_000, 6))
    events = to_events(rows, 0.1, 1.0)
    both = 1 << 31 | 1 << 30
    # hftbacktest/src/types.rs: CLEAR 3, SNAPSHOT 4, DEPTH 1, TRADE 2; BUY bit 29, SELL bit 28, here the aggressor's.
    kinds_of = [3, 4 | 1 << 29, 4 | 1 << 28, 4 | 1 << 28, 4 | 1 << 28, 1 | 1 << 29, 2 | 1 << 28]
    assert events["ev"].tolist() == [both | kind for kind in kinds_of]
    assert events["px"].tolist() == pytest.approx([0, 100.0, 100.1, 100.2, 100.3, 100.0, 100.0])
    assert events["qty"].tolist() == [0, 5, 1, 1, 1, 5, 6]
    assert (events["exch_ts"][-1], events["local_ts"][-1], events.itemsize) == (3 * NS, 4 * NS, 64)


def test_events_leave_out_what_hftbacktest_has_no_word_for() -> None:
    rows = flat_book((3, 1_000, 6))
    rows.kind[-1] = kinds.MARK
    assert len(to_events(rows, 0.1, 1.0)) == len(rows) - 1


def test_a_row_of_one_clock_has_one_flag() -> None:
    rows = flat_book((3, 1_000, 6), (4, 1_000, 1))
    rows.flags[-2:] = VENUE | LAST, LOCAL | LAST
    assert to_events(rows, 0.1, 1.0)["ev"][-2:].tolist() == [2 | 1 << 28 | 1 << 31, 2 | 1 << 28 | 1 << 30]


def test_the_long_market_is_what_it_says() -> None:
    rows = long_rows(200_000)
    again = long_rows(200_000)
    assert all((getattr(rows, name) == getattr(again, name)).all() for name in kinds.COLUMNS)
    assert 0.09 < (rows.kind == kinds.TRADE).mean() < 0.13
    assert (rows.local_ns - rows.venue_ns).min() >= 1_000_000
    assert (rows.venue_ns[1:] >= rows.venue_ns[:-1]).all()
    assert (rows.local_ns[1:] >= rows.local_ns[:-1]).all()
    tape = Tape()
    for _, message in messages(rows.slice(0, 20_000)):
        tape.take(message)
        assert not tape.is_crossed


def test_the_quoting_loop_fills_the_same_in_every_run(reference: Reference, folder: Path) -> None:
    rows = long_rows(50_000)
    events = write_events(folder / "long.npz", rows, 0.1, 1.0)
    settings = [Settings(entry_ns=NS, response_ns=NS, depth=depth) for depth in ("hash", "roi")]
    first, second = (reference.run(events, one, repeats=2) for one in settings)
    assert first.fills == second.fills
    assert len(first.fills) > 50
    assert (first.rows, len(first.seconds)) == (50_000, 2)
    assert first.best >= first.median > 0
