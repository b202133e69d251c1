"""A compiled desk's orders step by step: what is under way, what overtakes what, what there is no room for."""

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest
from compiled_market import FEES, SPECS, follow, make_script, make_tape, rows_from, script_state
from matching_players import feed_from, levels_of

from sim.compiled_run import CompiledRun
from sim.kernel import layout
from sim.kernel.bus import MESSAGE
from sim.kernel.desk import (
    CANCEL_LATENCY,
    DECIDE,
    DONE,
    FAILED,
    OPEN,
    RESPONSE_LATENCY,
    SUBMIT_LATENCY,
    WAKE_ON_REPORTS,
    Desk,
    make_desk,
)
from sim.kernel.feed import Feed
from sim.kernel.requests import ask_cancel, ask_modify, release, submit
from sim.kernel.run import NEVER, play
from sim.latency import Latencies, Latency, LatencyModel
from sim.rows import BUY, DEPTH, LAST
from venues.model.account import Account

WAY = 10
VENUE_ASKS, DESK_ASKS = 1, 3


class Bench:
    """A venue with asks of 1 lot at 101 to 105 and bids at 99 to 95, and a desk without a strategy."""

    def __init__(self, events: int = 16) -> None:
        self.k = layout.make_kernel(1, events=events)
        for side, prices in enumerate(((95, 99), (101, 105))):
            self.k = layout.with_prices(self.k, side, *prices)
            self.k = layout.with_prices(self.k, 2 + side, *prices)
        self.d: Desk = make_desk(1, 64, 16, 64, np.zeros(64, layout.EVENT))
        self.d.latencies["base_ns"] = WAY
        self.d.clock["wake"] = NEVER
        # Money is not what these are about.
        for name in ("leverage", "cap"):
            self.d.guard[name] = 1e18
        self.d.guard["unit"] = self.d.guard["lots_min"] = 1
        self.d.guard["mark"] = 100.0
        self.d.guard["lots_max"] = 1 << 40
        self.d.guard["mark"] = 100.0
        self.d.clock["base"] = 1e18
        levels = [(DEPTH, BUY, 0, 0, ticks, 1) for ticks in range(95, 100)]
        levels += [(DEPTH, LAST if ticks == 105 else 0, 0, 0, ticks, 1) for ticks in range(101, 106)]
        self.feed: Feed = feed_from(rows_from(levels, 0))

    def later(self, *asks: tuple[int, int]) -> None:
        """Show another ask of 1 lot at each (ns, ticks), on both clocks at once."""
        self.feed = feed_from(rows_from([(DEPTH, LAST, 0, ns, ticks, 1) for ns, ticks in asks], 0))
        self.d.clock["venue_row"] = self.d.clock["local_row"] = 0

    def asks(self, book: int) -> list[int]:
        return [ticks for ticks, _ in levels_of(self.k, book)]

    def until(self, ns: int) -> int:
        return int(play(self.k, self.d, self.feed, ns, True))

    def submit(self, ticks: int, lots: int = 1, side: int = layout.BUY_SIDE, flags: int = 0) -> int:
        return int(submit(self.k, self.d, 0, side, ticks, lots, flags, 0))

    def sent(self, order: int) -> tuple[int, int, int]:
        found = self.d.sent[order]
        return int(found["status"]), int(found["end"]), int(found["filled"])


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.until(0)
    yield made
    assert not made.k.registers["lost"][0]


def test_an_order_is_known_when_the_way_there_and_back_is_over(bench: Bench) -> None:
    order = bench.submit(100)
    bench.until(2 * WAY - 1)
    assert bench.sent(order)[0] != OPEN
    bench.until(2 * WAY)
    assert bench.sent(order) == (OPEN, -1, 0)


def test_a_slot_is_not_given_away_while_a_cancel_of_it_is_under_way(bench: Bench) -> None:
    """The cancel takes longer than the next order: it must not meet that one."""
    bench.d.latencies["base_ns"][CANCEL_LATENCY] = 100 * WAY
    first = bench.submit(101, flags=layout.IMMEDIATE)
    assert ask_cancel(bench.d, first)
    bench.until(2 * WAY)
    assert bench.sent(first) == (DONE, layout.FILLED, 1)
    assert not release(bench.k, bench.d, first)
    second = bench.submit(100)
    assert second != first
    bench.until(110 * WAY)
    assert bench.sent(second) == (OPEN, -1, 0)
    assert release(bench.k, bench.d, first)
    assert bench.submit(98) == first


def test_a_slot_is_not_given_away_while_its_reports_are_under_way(bench: Bench) -> None:
    order = bench.submit(102, 2, flags=layout.IMMEDIATE)
    # Accepted, filled, filled: they arrive at one instant, and the order is done with the last of them.
    bench.until(WAY)
    assert bench.d.sent["under_way"][order] == 3
    assert not release(bench.k, bench.d, order)
    bench.until(2 * WAY)
    assert bench.d.sent["under_way"][order] == 0
    assert release(bench.k, bench.d, order)
    assert not release(bench.k, bench.d, order)


def test_messages_without_room_are_not_sent() -> None:
    bench = Bench()
    bench.d = bench.d._replace(to_venue=np.zeros(20, MESSAGE))
    bench.until(0)
    order = bench.submit(100)
    sent = sum(bool(ask_cancel(bench.d, order)) for _ in range(30))
    assert sent == 19
    assert not ask_modify(bench.d, order, 99, 1)
    assert bench.submit(100) == -1
    bench.until(2 * WAY)
    assert bench.sent(order) == (DONE, layout.CANCELED, 0)
    assert ask_cancel(bench.d, order)


def test_what_cannot_be_told_ends_the_run() -> None:
    """Five levels taken are six events; there is room for four."""
    bench = Bench(events=4)
    bench.until(0)
    bench.submit(105, 5, flags=layout.IMMEDIATE)
    assert bench.until(5 * WAY) == FAILED
    assert bench.until(9 * WAY) == FAILED


def test_the_venue_waits_for_a_desk_that_a_report_wakes(bench: Bench) -> None:
    """What the desk then sends must not arrive in the venue's past: no row after the report has happened yet."""
    bench.later((15, 106), (20, 107), (21, 108), (500, 109))
    bench.d.clock["wakes_on"] = WAKE_ON_REPORTS
    bench.submit(100)
    assert bench.until(1000) == DECIDE
    assert bench.d.clock["now"] == 2 * WAY
    assert bench.asks(VENUE_ASKS)[-1] == 107
    bench.d.clock["wakes_on"] = 0
    bench.until(1000)
    assert bench.asks(VENUE_ASKS)[-1] == 109


def test_at_one_instant_the_desk_decides_before_its_market_rows(bench: Bench) -> None:
    bench.later((49, 106), (50, 107), (51, 108))
    bench.d.clock["wake"] = 50
    assert bench.until(1000) == DECIDE
    assert bench.d.clock["now"] == 50
    assert bench.asks(DESK_ASKS)[-1] == 106
    # The venue's rows of the instant have happened.
    assert bench.asks(VENUE_ASKS)[-1] == 107


@pytest.mark.parametrize("seed", range(6))
def test_reports_that_overtake_each_other_leave_the_same_knowledge(seed: int) -> None:
    """With a jitter of many times the market's pace: after the silence the desk knows what is true."""
    tape = make_tape(seed, 200)
    acts = make_script(seed, 60, tape.end_ns)
    jitter = Latency(10, 5_000, LatencyModel.EXPONENTIAL)
    state = script_state(acts)
    run = CompiledRun(
        SPECS, Account("a", "V", {"USDT": Decimal(10_000_000)}), FEES, follow, state, "binance_usdm", "risk_averse",
        Latencies(jitter, jitter, jitter, jitter), seed, 0,
    )  # fmt: skip
    result = run.run([tape.rows(7)])
    filled: dict[int, int] = {}
    for fill in result.fills:
        filled[int(fill["tag"])] = filled.get(int(fill["tag"]), 0) + int(fill["lots"])
    kernel, desk = run._venue.core.kernel, run._desk
    for order, (status, _, lots) in enumerate(state.seen.tolist()):
        assert lots == filled.get(order, 0)
        rests = kernel.orders["state"][state.slots[order]] == layout.RESTING
        assert status == (OPEN if rests else DONE), order
    assert desk.positions[:2].tolist() == kernel.positions[:2].tolist()
    assert not desk.sent["under_way"].any()


def test_latencies_are_told_apart(bench: Bench) -> None:
    for row, base in ((SUBMIT_LATENCY, 3), (CANCEL_LATENCY, 40), (RESPONSE_LATENCY, 500)):
        bench.d.latencies["base_ns"][row] = base
    order = bench.submit(100)
    bench.until(502)
    assert bench.sent(order)[0] != OPEN
    bench.until(503)
    assert bench.sent(order)[0] == OPEN
    ask_cancel(bench.d, order)
    bench.until(503 + 39)
    assert bench.k.orders["state"][order] == layout.RESTING
    bench.until(503 + 40)
    assert bench.k.orders["state"][order] == layout.IDLE
    bench.until(503 + 539)
    assert bench.sent(order)[0] == OPEN
    bench.until(503 + 540)
    assert bench.sent(order) == (DONE, layout.CANCELED, 0)
