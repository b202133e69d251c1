"""Orders of every type in the compiled run and behind the venue's own objects: the same fills, ends and money."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from order_scripts import (
    BRACKETS,
    CANCEL,
    FEES,
    SPEC,
    SUBMIT,
    Ask,
    Line,
    account,
    book,
    marks_and_halts,
    play_compiled,
    play_host,
    random_asks,
    with_rows,
    written,
)
from unkind_rows import Unkindness, small_rows

from sim import rows as kinds
from sim.compiled_run import CompiledRun
from sim.core import KernelError
from sim.kernel import layout
from sim.kernel.compiled import compiled
from sim.kernel.desk import Desk
from sim.kernel.layout import Kernel
from sim.kernel.requests import ask_cancel, new_order, release, send, submit
from sim.latency import Latencies

RICH, POOR = Decimal(1_000_000), Decimal(40)


def asks_of(asks: Sequence[Ask], order: int) -> list[Ask]:
    return [ask for ask in asks if ask.order == order]


@pytest.mark.parametrize("rules", ["binance_usdm", "cme", "bybit_linear"])
@pytest.mark.parametrize("balance", [RICH, POOR], ids=["rich", "poor"])
def test_orders_of_every_type_come_to_the_same(rules: str, balance: Decimal) -> None:
    ends: Counter[int] = Counter()
    reasons: Counter[str] = Counter()
    liquidated = 0
    for seed in range(40):
        how = Unkindness(steps=150, thickness=(3, 8)[seed % 2], snapshots=seed % 4 == 0)
        rows = small_rows(seed, how)
        rows = with_rows(rows, marks_and_halts(rows, seed, spread=60 if balance == RICH else 240))
        asks = random_asks(rows, seed, 90, rules)
        entry_ns = (0, 1, 700_000)[seed % 3]
        expected = play_host(rows, asks, account(balance), rules, entry_ns)
        latencies = Latencies.constant(entry_ns, 1_000)
        found, _ = play_compiled([rows], asks, account(balance), rules, latencies)
        for one, other in zip(found.fills, expected.fills, strict=False):
            assert one == other, seed
        assert {
            order: (asks_of(asks, order), found.ends.get(order), expected.ends.get(order))
            for order in found.ends.keys() | expected.ends.keys()
            if found.ends.get(order) != expected.ends.get(order)
        } == {}, seed
        assert found == expected, seed
        ends.update(expected.ends.values())
        reasons.update(fill[5] for fill in expected.fills)
        liquidated += len(expected.liquidated)
    assert min(ends[end] for end in (layout.FILLED, layout.EXPIRED, layout.CANCELED, layout.REJECTED)) > 50
    assert min(reasons[reason] for reason in ("taker", "queue", "through", "crossed")) > 10
    assert (liquidated > 1) is (balance == POOR)


# Ties at one instant, written out. The book: bids 999 x 5, asks 1001 x 5 and 1002 x 50.

OPENING = book(10, [(999, 5)], [(1_001, 5), (1_002, 50)])
MS = 1_000_000


def fills_of(lines: Sequence[Line], *asks: Ask, entry_ns: int = 0) -> list[tuple[int, int, int, int]]:
    """Return (ns, order, ticks, lots) of every fill."""
    rows = written(*OPENING, *lines, (9 * MS, kinds.DEPTH, 0, 0, 2_000, 1))
    latencies = Latencies.constant(entry_ns, 1)
    played, _ = play_compiled([rows], asks, account(RICH), "binance_usdm", latencies)
    assert play_host(rows, asks, account(RICH), "binance_usdm", entry_ns) == played
    return [fill[:4] for fill in played.fills]


def market(ns: int, order: int, lots: int, **more: int) -> Ask:
    return Ask(ns, SUBMIT, order, layout.BUY_SIDE, layout.NO_LIMIT, lots, layout.IMMEDIATE, **more)


def test_what_a_trade_triggers_comes_before_what_arrives_at_that_instant() -> None:
    stop = market(MS, 1, 5, trigger=layout.STOP, stop=1_001)
    trade = (3 * MS, kinds.TRADE, kinds.BUY, 0, 1_001, 1)
    # One of the five is traded away; the stop takes the other four and goes on, the market order comes after it.
    found = fills_of([trade], stop, market(3 * MS, 2, 5))
    assert found == [(3 * MS, 1, 1_001, 4), (3 * MS, 1, 1_002, 1), (3 * MS, 2, 1_002, 5)]


def test_what_a_trade_triggers_comes_before_the_next_row_of_that_instant() -> None:
    stop = market(MS, 1, 5, trigger=layout.STOP, stop=1_001)
    lines = [(3 * MS, kinds.TRADE, kinds.BUY, 0, 1_001, 1), (3 * MS, kinds.DEPTH, 0, 0, 1_000, 9)]
    assert fills_of(lines, stop, market(3 * MS, 2, 5)) == [
        (3 * MS, 1, 1_001, 4),
        (3 * MS, 1, 1_002, 1),
        (3 * MS, 2, 1_000, 5),
    ]


def test_two_stops_of_one_trade_enter_as_old_as_they_are() -> None:
    stops = [market(MS + at, at, 3, trigger=layout.STOP, stop=1_001) for at in (1, 2)]
    found = fills_of([(3 * MS, kinds.TRADE, kinds.BUY, 0, 1_001, 1)], *stops)
    assert [(order, ticks) for _, order, ticks, _ in found] == [(1, 1_001), (2, 1_001), (2, 1_002)]


@pytest.mark.parametrize(("trade_ns", "lots"), [(4 * MS, 3), (4 * MS + 1, 0)], ids=["at its end", "after it"])
def test_an_order_can_still_trade_at_the_instant_it_expires(trade_ns: int, lots: int) -> None:
    bid = Ask(MS, SUBMIT, 1, layout.BUY_SIDE, 1_000, 3, expire=4 * MS)
    found = fills_of([(trade_ns, kinds.TRADE, 0, 0, 1_000, 3)], bid)
    assert sum(fill[3] for fill in found) == lots


def test_an_order_ends_by_its_time_before_a_cancel_of_that_instant() -> None:
    asks = [Ask(MS, SUBMIT, 1, layout.BUY_SIDE, 1_000, 3, expire=4 * MS), Ask(4 * MS, CANCEL, 1)]
    rows = written(*OPENING, (9 * MS, kinds.DEPTH, 0, 0, 2_000, 1))
    played, _ = play_compiled([rows], asks, account(RICH), "binance_usdm", Latencies())
    assert played.ends == {1: layout.EXPIRED}
    assert played == play_host(rows, asks, account(RICH), "binance_usdm", 0)


# Slots and room


class Reuse(NamedTuple):
    step: Any
    slots: Any
    released: Any


@compiled
def reuse(k: Kernel, d: Desk, state: Reuse) -> int:
    """Send a bid good till 8 ms, cancel it, release its slot, and send another one without an end from it."""
    now = d.clock[0].now
    if state.step[0] == 0:
        state.slots[0] = new_order(k, d, 0, 0, 1_000, 3, 0, 1)
        k.orders[state.slots[0]].expire = 8 * MS
        send(k, d, state.slots[0])
    elif state.step[0] == 1:
        ask_cancel(d, state.slots[0])
        state.released[0] = release(k, d, state.slots[0])
    elif state.step[0] == 2:
        state.released[1] = release(k, d, state.slots[0])
        state.slots[1] = new_order(k, d, 0, 0, 1_000, 3, 0, 2)
        k.orders[state.slots[1]].expire = 20 * MS
        send(k, d, state.slots[1])
    state.step[0] += 1
    wake: int = now + MS
    return wake


def test_the_end_of_an_order_does_not_reach_the_next_order_in_its_slot() -> None:
    state = Reuse(np.zeros(1, np.int64), np.full(2, -1, np.int64), np.zeros(2, np.int64))
    rows = written(*OPENING, (12 * MS, kinds.TRADE, 0, 0, 1_000, 3), (13 * MS, kinds.DEPTH, 0, 0, 2_000, 1))
    run = CompiledRun([SPEC], account(RICH), FEES, reuse, state, latencies=Latencies.constant(100, 100), start_ns=MS)
    result = run.run([rows])
    assert state.slots[0] == state.slots[1]
    # Not while the order lives; once it has ended and its end is heard.
    assert state.released.tolist() == [0, 1]
    assert result.fills[["ns", "tag", "lots"]].tolist() == [(12 * MS, 2, 3)]


@compiled
def flood(k: Kernel, d: Desk, state: Any) -> int:
    """Send as many bids as there are slots, and count how many could be sent, and how many cancels."""
    if state[0] == 0:
        last = submit(k, d, 0, 0, 1_000, 3, 0, 0)
        while last >= 0:
            state[0] += 1
            last = submit(k, d, 0, 0, 1_000, 3, 0, 0)
        while state[2] and ask_cancel(d, 0):
            state[1] += 1
    wake: int = d.clock[0].now + MS
    return wake


def test_a_desk_without_free_slots_is_told_so() -> None:
    state = np.array([0, 0, 1], np.int64)
    rows = written(*OPENING, (12 * MS, kinds.DEPTH, 0, 0, 2_000, 1))
    run = CompiledRun([SPEC], account(RICH), FEES, flood, state, start_ns=MS, orders_max=100)
    with pytest.raises(KernelError, match="4496 reports are under way"):
        run.run([rows])
    assert state[0] == 100
    # Room for 4 messages an order and two instants of 4,096 events, of which a hundred are the orders themselves.
    assert state[1] == 4 * 100 + 2 * 4_096 - 100


def test_more_events_at_one_instant_than_can_be_told_end_the_run() -> None:
    # A mark lets the guard decide without the exact rules.
    marked = (11, kinds.MARK, 0, 0, 0, 100 * kinds.PRICE_SCALE)
    rows = written(*OPENING, marked, (12 * MS, kinds.TRADE, 0, 0, 990, 1), (13 * MS, kinds.DEPTH, 0, 0, 2_000, 1))
    for slots, is_told in ((4_000, True), (4_200, False)):
        spec = attrs.evolve(SPEC, brackets=(attrs.evolve(BRACKETS[0], cap=Decimal("1e12"), max_leverage=125),))
        run = CompiledRun([spec], account(Decimal("1e9")), FEES, flood, np.zeros(3, np.int64), start_ns=MS,
                          orders_max=slots)  # fmt: skip
        if is_told:
            assert len(run.run([rows]).fills) == slots
        else:
            with pytest.raises(KernelError, match="4096"):
                run.run([rows])


def test_rows_of_a_kind_it_does_not_know_end_the_run() -> None:
    rows = written(*OPENING, (12 * MS, 99, 0, 0, 990, 1))
    with pytest.raises(KernelError, match="kind 99"):
        play_compiled([rows], [], account(RICH), "binance_usdm", Latencies())
