"""Money in the compiled run: what its guard lets pass changes nothing, and liquidation comes at its mark."""

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from order_scripts import (
    BRACKETS,
    FEES,
    ME,
    SPEC,
    SUBMIT,
    Ask,
    account,
    book,
    follow,
    marks_and_halts,
    random_asks,
    script_of,
    with_rows,
    written,
)
from unkind_rows import Unkindness, small_rows

from sim import margin
from sim.admission import check_funds, check_size
from sim.compiled_run import CompiledResult, CompiledRun
from sim.kernel import layout
from sim.kernel.compiled import compiled
from sim.kernel.desk import Desk
from sim.kernel.guard import count_open, is_surely_affordable, is_surely_sized, takes_mark
from sim.kernel.layout import Kernel
from sim.kernel.requests import submit
from sim.latency import Latencies
from sim.rows import BUY, DEPTH, FUNDING, MARK, PRICE_SCALE, RATE_SCALE, SETTLEMENT, TRADE, Rows
from venues.model.instrument import InstrumentKind
from venues.model.money import desk_arithmetic
from venues.model.order import PositionSide, Side
from venues.port import FundingSettled, Liquidated, OrderFilled

D = Decimal
FUTURE = attrs.evolve(
    SPEC, symbol="F", kind=InstrumentKind.FUTURE, brackets=(), initial_margin=D(5), maintenance_margin=D(4)
)
OTHER = attrs.evolve(SPEC, symbol="Q", brackets=(attrs.evolve(BRACKETS[0], cap=D(10**12), max_leverage=25),))


class CautiousRun(CompiledRun):
    """A run that lets nothing pass: every order and every mark goes to the exact rules."""

    def _refresh_guard(self) -> None:
        super()._refresh_guard()
        self._desk.guard["leverage"], self._desk.guard["mmr"], self._desk.guard["lots_min"] = 0.0, float("inf"), 1 << 60


def told(result: CompiledResult) -> dict[str, Any]:
    """Return everything but how often it stopped."""
    kept = attrs.asdict(result, filter=lambda field, _: field.name != "stops")
    return {**kept, "fills": result.fills.tolist()}


@pytest.mark.parametrize("rules", ["binance_usdm", "bybit_linear", "cme"])
def test_asking_the_exact_rules_every_time_changes_nothing(rules: str) -> None:
    liquidated = stops = cautious_stops = 0
    for seed in range(25):
        rows = small_rows(seed, Unkindness(steps=150))
        rows = with_rows(rows, marks_and_halts(rows, seed, spread=240))
        asks = random_asks(rows, seed, 90, rules)
        results = []
        for kind in (CompiledRun, CautiousRun):
            script = script_of(asks)
            latencies = Latencies.constant(700_000, 1_000)
            run = kind([SPEC], account(D(40)), FEES, follow, script, rules, latencies=latencies, start_ns=0)
            results.append((run.run([rows]), script.seen.tolist()))
        (found, seen), (exact, exactly_seen) = results
        assert told(found) == told(exact), seed
        assert seen == exactly_seen, seed
        liquidated += sum(isinstance(report, Liquidated) for report in found.reports)
        stops, cautious_stops = stops + found.stops, cautious_stops + exact.stops
    assert liquidated > 0
    # Bybit's and Globex's margins are for the exact rules alone; marks and orders without a position pass everywhere.
    assert stops < cautious_stops


# The guard is never optimistic


@desk_arithmetic()
def state_of(seed: int, rules: str) -> tuple[CompiledRun, Random]:
    """Return a run in the middle of something: positions, fills not booked yet, resting orders, marks, books."""
    rng = Random(seed)
    who = attrs.evolve(account(D(rng.choice((5, 50, 500, 5_000))), rng.choice((1, 5, 10, 25, 50))), id=ME)
    who.leverage[OTHER.id] = rng.choice((1, 5, 10, 25))
    run = CompiledRun([SPEC, OTHER], who, FEES, follow, script_of([]), rules, start_ns=0)
    kernel, desk, exact = run._venue.core.kernel, run._desk, run._venue.state.accounts[ME]
    markets = run._markets()

    def fill(index: int, is_booked: bool) -> None:
        spec, side = markets[index].spec, rng.choice((Side.BUY, Side.SELL))
        ticks, lots, is_maker = rng.randrange(600, 1_500), rng.randrange(1, 80), rng.random() < 0.5
        schedule, ledger = FEES.of(spec.id), desk.ledger[index]
        value = ticks * lots
        fee = spec.notional(spec.qty(lots), spec.price(ticks)) * (schedule.maker if is_maker else schedule.taker)
        qty, price, leverage = spec.qty(lots), spec.price(ticks), D(run._venue.state.leverage(exact, spec))
        exact.book_contract(0, spec, PositionSide.BOTH, side, qty, price, fee, leverage)
        kernel.positions[index] += lots * side.sign
        if not is_booked:
            ledger["cash"] -= value * side.sign
            ledger["maker" if is_maker else "taker"] += value

    for index, market in enumerate(markets):
        if rng.random() < 0.8:
            kernel.instruments["last_trade"][index] = market.last_trade = rng.randrange(600, 1_500)
            market.latest = market.spec.price(market.last_trade)
        if rng.random() < 0.7:
            market.mark = D(rng.randrange(60_000, 150_000)) / 1_000
            desk.guard["raw_mark"][index] = int(market.mark * PRICE_SCALE)
        if rng.random() < 0.7:
            fill(index, True)
    run._refresh_guard()
    for _ in range(rng.randrange(3)):
        fill(rng.randrange(2), False)
    for index, market in enumerate(markets):
        for side in range(rng.choice((0, 2))):
            ticks = rng.randrange(600, 1_500)
            market.matcher.on_delta(*([(ticks, 5)], []) if side == 0 else ([], [(ticks, 5)]))
        for _ in range(rng.randrange(4)):
            rest(run, index, rng.randrange(2), rng.choice((rng.randrange(600, 1_500), 9_000)), rng.randrange(1, 60))
    return run, rng


def rest(run: CompiledRun, index: int, side: int, ticks: int, lots: int) -> None:
    kernel = run._venue.core.kernel
    kernel.registers["free"] -= 1
    slot = int(kernel.free[kernel.registers["free"][0]])
    order = kernel.orders[slot]
    order["state"], order["instrument"], order["side"], order["position"] = layout.RESTING, index, side, index
    order["ticks"], order["lots"], order["sequence"] = ticks, lots, slot
    count_open(kernel, run._desk, slot)


@examples(max_examples=150)
@given(st.integers(0, 1 << 40), st.sampled_from(["binance_usdm", "bybit_linear"]))
@desk_arithmetic()
def test_an_order_the_guard_lets_pass_the_exact_rules_let_pass(seed: int, rules: str) -> None:
    run, rng = state_of(seed, rules)
    kernel, state = run._venue.core.kernel, run._venue.state
    for _ in range(12):
        index, side = rng.randrange(2), rng.randrange(2)
        unbounded = layout.NO_LIMIT if side == layout.BUY_SIDE else -layout.NO_LIMIT
        ticks, lots = rng.choice((rng.randrange(600, 1_500), unbounded)), rng.randrange(1, 60)
        market = run._markets()[index]
        adopted = run._adopt()
        sign = Side.BUY if side == layout.BUY_SIDE else Side.SELL
        order = run._shell(market, 0, 0, sign)
        order.lots, order.ticks = lots, None if abs(ticks) == layout.NO_LIMIT else ticks
        price = None if order.ticks is None else market.spec.price(order.ticks)
        if price is None and (best := market.matcher.best(sign.opposite)) is not None:
            price = market.spec.price(best)
        if is_surely_sized(kernel, run._desk, index, side, 0, ticks, lots):
            check_size(market.spec, order, market)
        if is_surely_affordable(kernel, run._desk, index, side, ticks, lots):
            check_funds(state, market, order, price)
        run._give_back(0, adopted)


@examples(max_examples=150)
@given(st.integers(0, 1 << 40), st.sampled_from(["binance_usdm", "bybit_linear"]))
@desk_arithmetic()
def test_a_mark_the_guard_lets_pass_liquidates_nobody(seed: int, rules: str) -> None:
    run, rng = state_of(seed, rules)
    state = run._venue.state
    exact = state.accounts[ME]
    for _ in range(12):
        index = rng.randrange(2)
        mark = D(rng.randrange(60_000, 150_000)) / 1_000
        if takes_mark(run._venue.core.kernel, run._desk, index, int(mark * PRICE_SCALE)):
            run._markets()[index].mark = mark
            balance, needed = margin.pool_health(state, exact, "USDT")
            assert balance > needed or not exact.open_holdings()


def test_the_guard_lets_most_things_pass() -> None:
    passed = refused = 0
    for seed in range(200):
        run, rng = state_of(seed, "binance_usdm")
        kernel = run._venue.core.kernel
        sure = is_surely_affordable(kernel, run._desk, rng.randrange(2), 0, 1_000, 3)
        passed, refused = passed + sure, refused + (not sure)
    assert min(passed, refused) > 30


# Liquidation

MS = 1_000_000


class Seen(NamedTuple):
    """`step`, slots of two orders, (status, end) of the second when the desk heard that its position moved."""

    step: Any
    slots: Any
    heard: Any


@compiled
def hold(k: Kernel, d: Desk, state: Seen) -> int:
    """Buy ten lots, let a bid rest far below; when the position has been taken away, sell four at market."""
    if state.step[0] == 0:
        state.slots[0] = submit(k, d, 0, 0, layout.NO_LIMIT, 10, layout.IMMEDIATE, 1)
        state.slots[1] = submit(k, d, 0, 0, 600, 5, 0, 2)
        state.step[0] = 1
    elif state.step[0] == 1 and d.positions[0] == 10:
        state.step[0] = 2
    elif state.step[0] == 2 and d.positions[0] == 0:
        s = d.sent[state.slots[1]]
        state.heard[0], state.heard[1], state.heard[2] = d.clock[0].now, s.status, s.end
        state.slots[0] = submit(k, d, 0, 1, -layout.NO_LIMIT, 4, layout.IMMEDIATE, 3)
        state.step[0] = 3
    wake: int = d.clock[0].now + MS // 10
    return wake


def play(kind: type[CompiledRun], marks: Sequence[Decimal], wallet: Decimal) -> tuple[CompiledResult, Seen]:
    lines = book(10, [(900, 50)], [(1_000, 50)])
    lines += [((2 + at) * MS, MARK, 0, 0, 0, int(mark * PRICE_SCALE)) for at, mark in enumerate(marks)]
    end = (2 + len(marks)) * MS
    lines += [(end, DEPTH, BUY, 0, 900, 50), (end + 9 * MS, DEPTH, 0, 0, 2_000, 1)]
    state = Seen(np.zeros(1, np.int64), np.full(2, -1, np.int64), np.zeros(3, np.int64))
    run = kind([SPEC], account(wallet, 10), FEES, hold, state, latencies=Latencies.constant(100, 200), start_ns=MS)
    return run.run([written(*lines)]), state


def liquidation_price(wallet: Decimal) -> Decimal:
    """One contract bought at 100, taker fee 0.05 paid, 1 % maintenance: wallet - 0.05 + (p - 100) = 0.01 p."""
    return (D(100) + D("0.05") - wallet) / D("0.99")


@given(
    st.integers(1_100, 3_000).map(lambda cents: D(cents) / 100),
    st.lists(st.integers(9_000, 10_500), min_size=3, max_size=25),
)
def test_liquidation_comes_at_the_first_mark_at_or_through_its_price(wallet: Decimal, cents: list[int]) -> None:
    limit = liquidation_price(wallet)
    marks = [D(mark) / 100 for mark in cents]
    at = next((place for place, mark in enumerate(marks) if mark <= limit), None)
    found, exact = (play(kind, marks, wallet)[0] for kind in (CompiledRun, CautiousRun))
    assert told(found) == told(exact)
    when = [report.ts for report in found.reports if isinstance(report, Liquidated)]
    assert when == ([] if at is None else [(2 + at) * MS])


def test_the_mark_at_the_price_is_enough() -> None:
    # 100.05 - 11.94 = 88.11, and 88.11 / 0.99 is 89.
    wallet = D("11.94")
    assert liquidation_price(wallet) == 89
    for mark, times in ((D("89.00000001"), 0), (D(89), 1)):
        found, _ = play(CompiledRun, [D(100), mark, D(100)], wallet)
        assert sum(isinstance(report, Liquidated) for report in found.reports) == times


def test_after_a_liquidation_the_desk_knows_and_goes_on() -> None:
    found, seen = play(CompiledRun, [D(100), D(80), D(95)], D(15))
    (taken,) = [r for r in found.reports if isinstance(r, OrderFilled)]
    assert (taken.ts, taken.price, taken.qty) == (3 * MS, D(90), D(1))
    # The news takes 200 ns, the desk looks every 0.1 ms.
    assert seen.heard.tolist() == [3_100_000, 3, layout.CANCELED]
    assert [tuple(fill) for fill in found.fills[["tag", "ticks", "lots"]].tolist()] == [(1, 1_000, 10), (3, 900, 4)]
    assert found.positions == {SPEC.id: D("-0.4")}
    # 15 - fee 0.05 - loss 10 - liquidation fee 0.5 % of 90 - fee 0.05 % of 36.
    assert found.balances == {"USDT": D(15) - D("0.05") - 10 - D("0.45") - D("0.018")}


# Funding and settlement


def test_funding_is_paid_by_whoever_holds_at_its_instant() -> None:
    rate = RATE_SCALE // 1_000
    lines = [
        *book(10, [(999, 50)], [(1_000, 50)]),
        (3 * MS, FUNDING, 0, 0, 100 * PRICE_SCALE, rate),
        (5 * MS, FUNDING, 0, 0, 100 * PRICE_SCALE, rate),
        (9 * MS, DEPTH, 0, 0, 2_000, 1),
    ]
    # Bought at the first stamp: no payment; sold at the second: paid.
    asks = [
        Ask(3 * MS, SUBMIT, 0, layout.BUY_SIDE, layout.NO_LIMIT, 10, layout.IMMEDIATE),
        Ask(5 * MS, SUBMIT, 1, layout.SELL_SIDE, -layout.NO_LIMIT, 10, layout.IMMEDIATE),
    ]
    result = CompiledRun([SPEC], account(D(1_000)), FEES, follow, script_of(asks), start_ns=0).run([written(*lines)])
    (paid,) = [report for report in result.reports if isinstance(report, FundingSettled)]
    assert (paid.ts, paid.amount) == (5 * MS, D("-0.1"))
    # Fees 0.05 % of 100 and of 99.9, loss 0.1, funding 0.1 % of 100.
    assert result.balances == {"USDT": D(1_000) - D("0.05") - D("0.04995") - D("0.1") - D("0.1")}


def future_rows(*later: tuple[int, int, int, int, int, int]) -> Rows:
    return written(*book(10, [(999, 50)], [(1_000, 50)]), *later, (90 * MS, DEPTH, 0, 0, 2_000, 1))


def test_a_future_settles_and_ends() -> None:
    price = 100 * PRICE_SCALE
    rows = future_rows(
        (3 * MS, SETTLEMENT, 0, 0, 0, price + PRICE_SCALE),
        (5 * MS, SETTLEMENT, BUY, 0, 0, price - 2 * PRICE_SCALE),
        (6 * MS, TRADE, 0, 0, 900, 40),
    )
    asks = [
        Ask(MS, SUBMIT, 0, layout.BUY_SIDE, layout.NO_LIMIT, 10, layout.IMMEDIATE),
        Ask(MS, SUBMIT, 1, layout.BUY_SIDE, 990, 10),
        Ask(
            MS, SUBMIT, 2, layout.SELL_SIDE, -layout.NO_LIMIT, 5, layout.IMMEDIATE | layout.REDUCES, trigger=1, stop=950
        ),
        Ask(7 * MS, SUBMIT, 3, layout.BUY_SIDE, 990, 10),
    ]
    script = script_of(asks)
    run = CompiledRun([FUTURE], account(D(1_000)), FEES, follow, script, "cme", start_ns=0)
    result = run.run([rows])
    assert result.positions == {FUTURE.id: D(0)}
    # Marked to 101 and from there to 98: 1 - 3, and the fee of the purchase.
    assert result.balances == {"USDT": D(1_000) + 1 - 3 - D("0.05")}
    # The bid and the stop are canceled with the contract's end; what comes later is refused.
    assert script.seen[:, 1].tolist() == [layout.FILLED, layout.CANCELED, layout.CANCELED, layout.REJECTED]


def test_a_future_is_valued_at_what_came_last() -> None:
    # Called at the first mark below 4 per contract and closed at the second, though trades said otherwise between.
    rows = future_rows(
        (2 * MS, MARK, 0, 0, 0, 90 * PRICE_SCALE),
        (3 * MS, TRADE, 0, 0, 999, 1),
        (4 * MS, MARK, 0, 0, 0, 100 * PRICE_SCALE),
        (5 * MS, MARK, 0, 0, 0, 90 * PRICE_SCALE),
        (6 * MS, MARK, 0, 0, 0, 90 * PRICE_SCALE),
    )
    asks = [Ask(MS, SUBMIT, 0, layout.BUY_SIDE, layout.NO_LIMIT, 10, layout.IMMEDIATE)]
    run = CompiledRun([FUTURE], account(D(10)), FEES, follow, script_of(asks), "cme", start_ns=0)
    # A mark of 90 leaves 10 - 0.05 - 10 below 4: a call; 100 cures it, so that 90 is a call again and then a close.
    assert [r.ts for r in run.run([rows]).reports if isinstance(r, Liquidated)] == [6 * MS]
