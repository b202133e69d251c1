"""Which rung a moment falls into, and at which price its order goes out: whole ticks, never beyond a cap."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.executions import ExecutionMode, Rung
from actors.ladder import (
    Caps,
    LadderConfig,
    NextOrder,
    Stage,
    Wait,
    limit_ticks,
    mode_for,
    next_order,
    sendable,
    stage_at,
    stages,
)
from venues.costs.liquidity import LiquidityLimits, analyze, no_book
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side, TimeInForce

D, M = Decimal, ExecutionMode
SECOND = 1_000_000_000
PERP = Instrument(
    "perp", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.5"), D("0.1"), min_qty=D("0.3"), max_qty=D(2),
    min_notional=D(5),
)  # fmt: skip
LADDER = LadderConfig()
BIDS, ASKS = ((9_999, 5), (9_990, 20)), ((10_001, 5), (10_010, 20))


@pytest.mark.parametrize(
    ("mode", "ends"),
    [
        (M.LIMIT_ONLY, [(Rung.JOIN, 30)]),
        (M.MARKET_ONLY, [(Rung.MARKET, 5)]),
        # Half of 30 s, then 12 s in three steps, 3 s to cross, 5 s more.
        (
            M.LIMIT_WITH_FALLBACK,
            [
                (Rung.JOIN, 15),
                (Rung.STEP, 19),
                (Rung.STEP, 23),
                (Rung.STEP, 27),
                (Rung.CROSS, 30),
                (Rung.MARKET, 35),
            ],
        ),
    ],
)
def test_time_is_shared_between_the_rungs(mode, ends):
    plan = stages(mode, LADDER, 0, 30 * SECOND)
    assert [(stage.rung, stage.ends_ns / SECOND) for stage in plan] == ends
    assert stage_at(plan, 0) == plan[0]
    assert stage_at(plan, plan[0].ends_ns) == (plan[1] if len(plan) > 1 else None)
    assert stage_at(plan, plan[-1].ends_ns) is None


def test_a_rung_without_time_is_passed_over():
    config = LadderConfig(join_share=D(0), step_share=D(0), cross_share=D(1))
    first = stage_at(stages(M.LIMIT_WITH_FALLBACK, config, 0, 10), 0)
    assert first is not None
    assert first.rung is Rung.CROSS


@given(st.integers(1, 10**12), st.integers(0, 100), st.integers(0, 100), st.integers(1, 9))
def test_stages_never_run_backwards_and_end_with_the_budget(budget, step, cross, steps):
    if step + cross > 100:
        step, cross = 100 - step, 100 - cross
    config = LadderConfig(join_share=D(0), step_share=D(step) / 100, cross_share=D(cross) / 100, steps=steps)
    ends = [stage.ends_ns for stage in stages(M.LIMIT_WITH_FALLBACK, config, 7, budget)]
    assert ends == sorted(ends)
    assert (ends[0] >= 7, ends[-2]) == (True, 7 + budget)


@pytest.mark.parametrize(
    ("side", "rung", "number", "last", "ticks"),
    [
        (Side.BUY, Rung.JOIN, 0, None, 9_999),
        (Side.SELL, Rung.JOIN, 0, None, 10_001),
        (Side.BUY, Rung.JOIN, 0, 9_980, 9_999),
        (Side.BUY, Rung.STEP, 1, None, 10_000),
        (Side.SELL, Rung.STEP, 1, None, 10_000),
        # From where it rested, if that was better than the touch, and never into the other side.
        (Side.BUY, Rung.STEP, 2, 10_000, 10_000),
        (Side.BUY, Rung.STEP, 1, 9_990, 10_000),
    ],
)
def test_what_rests_stays_short_of_the_other_side(side, rung, number, last, ticks):
    found = next_order(Stage(rung, 1, number), LADDER, Caps(side, 20_000, None, None), BIDS, ASKS, 3, last)
    assert found == NextOrder(ticks, 3, TimeInForce.GTX)


@pytest.mark.parametrize(
    ("rung", "caps", "expected"),
    [
        # 25 bps from 10,000 at arrival, wherever the mid is now: 25 lots are there.
        (Rung.CROSS, Caps(Side.BUY, 20_000, None, None), NextOrder(10_025, 25, TimeInForce.IOC)),
        (Rung.CROSS, Caps(Side.SELL, 20_000, None, None), NextOrder(9_975, 25, TimeInForce.IOC)),
        (Rung.CROSS, Caps(Side.BUY, 20_000, 10_005, None), NextOrder(10_005, 5, TimeInForce.IOC)),
        (Rung.CROSS, Caps(Side.BUY, 20_000, None, D(9)), NextOrder(10_009, 5, TimeInForce.IOC)),
        (Rung.CROSS, Caps(Side.BUY, 19_900, None, None), Wait.ABOVE_CAP),
        # MARKET goes by the mid of the moment, 10,000, but the intent's own bounds hold.
        (Rung.MARKET, Caps(Side.BUY, 19_000, None, None), NextOrder(10_050, 25, TimeInForce.IOC)),
        (Rung.MARKET, Caps(Side.SELL, 19_000, 9_995, None), NextOrder(9_995, 5, TimeInForce.IOC)),
        (Rung.MARKET, Caps(Side.BUY, 19_000, None, D(30)), Wait.ABOVE_CAP),
    ],
)
def test_what_takes_goes_to_its_cap_for_what_is_there(rung, caps, expected):
    assert next_order(Stage(rung, 1), LADDER, caps, BIDS, ASKS, 99, None) == expected


book_side = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=8)


@given(
    book_side, book_side, st.integers(70, 3_000), st.integers(-60, 60), st.sampled_from(Side), st.sampled_from(Rung),
    st.one_of(st.none(), st.decimals("10", "1600", places=3)), st.one_of(st.none(), st.decimals("0", "90", places=2)),
    st.integers(1, 40), st.one_of(st.none(), st.integers(1, 3_100)),
)  # fmt: skip
def test_no_rounding_and_no_rung_breaks_a_cap(down, up, bid, moved, side, rung, limit, bps, left, last):
    bids = sorted({bid - off + 1: lots for off, lots in down}.items(), reverse=True)
    asks = sorted({bid + 1 + off: lots for off, lots in up}.items())
    arrival = max(2, bids[0][0] + asks[0][0] + moved)
    caps = Caps(side, arrival, None if limit is None else limit_ticks(PERP, side, limit), bps)
    found = next_order(Stage(rung, 1, 1), LADDER, caps, bids, asks, left, last)
    if isinstance(found, Wait):
        return
    price, mid = Fraction(PERP.price(found.ticks)), Fraction(arrival, 2) * Fraction(PERP.tick_size)
    own = {Rung.JOIN: LADDER.join_cost_bps, Rung.STEP: LADDER.step_cost_bps, Rung.CROSS: LADDER.cross_cost_bps}
    if limit is not None:
        assert (price - Fraction(limit)) * side.sign <= 0
    for most in (bps, own.get(rung)):
        if most is not None:
            assert (price - mid) * side.sign <= mid * Fraction(most) / 10_000
    if rung is Rung.MARKET:
        now = Fraction(bids[0][0] + asks[0][0], 2) * Fraction(PERP.tick_size)
        assert (price - now) * side.sign <= now * Fraction(LADDER.protection_bps) / 10_000
    if found.tif is TimeInForce.GTX:
        other = asks[0][0] if side is Side.BUY else bids[0][0]
        assert (found.ticks - other) * side.sign < 0
    assert 0 < found.lots <= left


def test_a_limit_given_is_where_a_limit_order_rests():
    caps = Caps(Side.BUY, 20_000, 10_003, None)
    found = next_order(Stage(Rung.JOIN, 1), LADDER, caps, BIDS, ASKS, 3, None, is_limit_given=True)
    assert found == NextOrder(10_003, 3, TimeInForce.GTC)


def test_there_is_no_price_at_or_below_zero():
    caps = Caps(Side.BUY, 3, None, None)
    assert next_order(Stage(Rung.JOIN, 1), LADDER, caps, ((0, 1),), ((3, 1),), 1, None) is Wait.NO_PRICE


@pytest.mark.parametrize(
    ("side", "price", "ticks"),
    [(Side.BUY, "10.4", 20), (Side.BUY, "10.5", 21), (Side.SELL, "10.4", 21), (Side.SELL, "10.01", 21)],
)
def test_a_limit_is_rounded_to_be_no_worse(side, price, ticks):
    assert limit_ticks(PERP, side, D(price)) == ticks


@pytest.mark.parametrize(
    ("ticks", "lots", "reduce_only", "expected"),
    [
        (100, 10, False, 10),
        (100, 50, False, 20),  # at most 2 of 0.1
        (100, 2, False, Wait.BELOW_MINIMUM),  # 0.2 is under 0.3
        (30, 3, False, Wait.BELOW_MINIMUM),  # 0.3 x 15 = 4.5 is under 5
        (30, 3, True, 3),
    ],
)
def test_orders_are_of_a_size_the_venue_takes(ticks, lots, reduce_only, expected):
    found = sendable(PERP, NextOrder(ticks, lots, TimeInForce.IOC), reduce_only=reduce_only)
    assert found == (expected if isinstance(expected, Wait) else NextOrder(ticks, expected, TimeInForce.IOC))


def test_modes_follow_the_report():
    limits = LiquidityLimits()
    deep = ((10_001, 100), (10_100, 900)), ((9_999, 100), (9_900, 900))
    found = {lots: mode_for(analyze(deep[1], deep[0], Side.BUY, lots, limits)) for lots in (10, 400, 600)}
    assert found == {10: M.MARKET_ONLY, 400: M.LIMIT_WITH_FALLBACK, 600: None}
    assert mode_for(analyze(((9_900, 9),), ((10_100, 9),), Side.BUY, 1, limits)) is M.LIMIT_ONLY
    assert mode_for(no_book(Side.BUY, 1, "stale")) is None


@pytest.mark.parametrize(
    "change", [{"join_share": D("0.6")}, {"steps": 0}, {"market_ns": 0}, {"cross_cost_bps": D(-1)}]
)
def test_a_ladder_that_cannot_be_climbed_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        LadderConfig(**change)
