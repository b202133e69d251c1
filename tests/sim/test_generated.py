"""The generated book: its theory's numbers, the same rows from the same seed, and a book that always holds together."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sim.generated import (
    DAY_NS,
    GeneratedBook,
    GeneratedSettings,
    QueueReactive,
    Regime,
    Schedule,
    always,
    around_funding,
    bitcoin_day,
    bitcoin_model,
    outside_hours,
    regular_hours,
    stationary,
)
from sim.rows import (
    ADD,
    BUY,
    CLEAR,
    COLUMNS,
    DELETE,
    DEPTH,
    EXECUTE,
    LAST,
    LOCAL,
    SNAPSHOT,
    TRADE,
    VENUE,
    Rows,
)
from sim.store.checks import RowChecks

START = 1_767_225_600_000_000_000
SECOND = 1_000_000_000
SIGMAS = 4.0


def simple_model(limit=1.0, cancel=0.2, market=0.5, most=60, levels=1, proportional=True, **chances):
    size = np.arange(most + 1)
    adds = np.full((levels, most + 1), limit)
    adds[:, -1] = 0.0
    takes = np.where(size > 0, cancel * (size if proportional else 1.0), 0.0) * np.ones((levels, 1))
    hits = np.where(size > 0, market, 0.0) * np.ones((levels, 1))
    redraw = chances.pop("redraw", None)
    return QueueReactive(adds, takes, hits, stationary(adds, takes, hits) if redraw is None else redraw, **chances)


def settings(model=None, seed=7, **changes):
    return GeneratedSettings(seed, START, 1_000, model or bitcoin_model(), **{"schedule": always(Regime()), **changes})


def rows_of(made, count, block=4096):
    return Rows.join(list(GeneratedBook(made).first(count, block)))


def replay(rows):
    """Yield (ns, bids, asks, orders) after each message; levels are sums of orders where there are any."""
    sides: dict[bool, dict[int, int]] = {True: {}, False: {}}
    orders: dict[int, tuple[bool, int, int]] = {}

    def change(is_buy, ticks, lots):
        left = sides[is_buy].pop(ticks, 0) + lots
        assert left >= 0
        if left:
            sides[is_buy][ticks] = left

    names = ("kind", "flags", "venue_ns", "ticks", "lots", "order_id")
    for kind, flags, ns, ticks, lots, order_id in zip(*(getattr(rows, name).tolist() for name in names), strict=True):
        is_buy = bool(flags & BUY)
        if kind == CLEAR:
            sides[True].clear()
            sides[False].clear()
            orders.clear()
        elif kind in {DEPTH, SNAPSHOT}:
            sides[is_buy].pop(ticks, 0)
            change(is_buy, ticks, lots)
        elif kind == ADD:
            assert order_id not in orders
            orders[order_id] = is_buy, ticks, lots
            change(is_buy, ticks, lots)
        elif kind in {DELETE, EXECUTE}:
            held = orders.pop(order_id)
            assert held[:2] == (is_buy, ticks)
            assert kind == DELETE or lots == held[2]
            change(is_buy, ticks, -held[2])
        if flags & LAST:
            yield ns, sides[True], sides[False], orders


# Facts, section 6, T6: limit 1, cancel 0.2 n, market 0.5; pi(0..6) and the mean.
T6 = [0.12256, 0.17508, 0.19454, 0.17685, 0.13604, 0.09069, 0.05335]


def test_t6_the_closed_form_is_the_published_one():
    model = simple_model()
    (pi,) = stationary(model.limit, model.cancel, model.market)
    assert pi[:7] == pytest.approx(T6, abs=5e-6)
    assert float(pi @ np.arange(len(pi))) == pytest.approx(2.80640, abs=5e-6)


def test_t6_a_queue_stays_at_each_length_as_long_as_the_closed_form_says():
    """Batch means over 60 stretches of time; each share within four standard errors (all seven: 99.95 %)."""
    rows = rows_of(settings(simple_model(p_move=0.0)), 1_000_000)
    at_bid = (rows.kind == DEPTH) & (rows.flags & BUY != 0)
    ns, size = rows.venue_ns[at_bid], rows.lots[at_bid]
    spent, size = np.diff(ns), size[:-1]
    batches = np.array_split(np.arange(len(spent)), 60)
    for n, expected in enumerate(T6):
        shares = [spent[batch][size[batch] == n].sum() / spent[batch].sum() for batch in batches]
        error = np.std(shares, ddof=1) / np.sqrt(len(shares))
        assert error < 0.003
        assert abs(np.mean(shares) - expected) < SIGMAS * error, n


# Facts, section 6, T5: Cont and de Larrard (arXiv 1104.4596), probability that the ask is emptied first.
T5 = {(1, 1): 0.5, (2, 1): 0.697653, (3, 1): 0.790611, (1, 2): 1 - 0.697653, (1, 3): 1 - 0.790611, (2, 2): 0.5}


def test_t5_the_price_goes_up_as_often_as_the_queues_say():
    """Balanced rates, one level, redrawn after each move; each frequency within four standard errors."""
    redraw = np.zeros((1, 401))
    redraw[0, 1:4] = 1 / 3
    model = simple_model(2.0, 1.0, 1.0, 400, proportional=False, redraw=redraw, p_move=1.0, p_redraw=1.0)
    # [ups, moves] by the (bid, ask) that began.
    seen: dict[tuple[int, int], list[int]] = {}
    begun = None
    for _, bids, asks, _ in replay(rows_of(settings(model), 1_500_000)):
        if not bids or not asks:
            if begun is not None:
                counted = seen.setdefault(begun, [0, 0])
                counted[0] += not asks
                counted[1] += 1
            begun = None
        elif begun is None:
            begun = next(iter(bids.values())), next(iter(asks.values()))
    for pair, expected in T5.items():
        ups, moves = seen[pair]
        assert moves > 1_000
        assert abs(ups / moves - expected) < SIGMAS * np.sqrt(expected * (1 - expected) / moves), pair


models = st.builds(
    lambda levels, move, redraw, spread, lots: (
        simple_model(3.0, 0.8, 1.0, 12, levels, p_move=move, p_redraw=redraw),
        always(Regime(spread_ticks=spread, order_lots=lots)),
    ),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(1, 3),
    st.integers(1, 5),
)


@given(models, st.integers(0, 2**64 - 1), st.integers(1, 700))
def test_the_same_seed_gives_the_same_rows_however_they_are_cut(chosen, seed, block):
    model, schedule = chosen
    for by_order in (False, True):
        made = settings(model, seed, schedule=schedule, by_order=by_order)
        whole, pieces = rows_of(made, 1500, 5000), rows_of(made, 1500, block)
        assert all(np.array_equal(getattr(whole, name), getattr(pieces, name)) for name in COLUMNS)
    other = rows_of(settings(model, seed ^ 1, schedule=schedule), 1500)
    assert not np.array_equal(other.venue_ns[:100], rows_of(settings(model, seed, schedule=schedule), 100).venue_ns)


@given(models, st.integers(0, 2**64 - 1))
def test_the_book_never_crosses_and_orders_add_up_to_levels(chosen, seed):
    model, schedule = chosen
    spread = schedule.parts[0][1].spread_ticks
    made = settings(model, seed, schedule=schedule)
    told = {}
    for by_order in (False, True):
        rows = rows_of(evolve(made, by_order=by_order), 2000)
        checks = RowChecks(1)
        checks.take(rows)
        checks.finish()
        books: dict[int, tuple[dict[int, int], dict[int, int]]] = {}
        for ns, bids, asks, orders in replay(rows):
            assert not bids or not asks or min(asks) - max(bids) >= spread
            assert len(bids) <= model.limit.shape[0]
            assert len(asks) <= model.limit.shape[0]
            books[ns] = dict(bids), dict(asks)
            if by_order:
                assert sum(lots for _, _, lots in orders.values()) == sum(bids.values()) + sum(asks.values())
        told[by_order] = books
    common = sorted(told[False].keys() & told[True].keys())[:-1]
    assert len(common) > 100
    assert all(told[False][ns] == told[True][ns] for ns in common)


def test_orders_are_conserved():
    rows = rows_of(settings(by_order=True), 100_000)
    *_, (_, _, _, orders) = replay(rows)
    counted = Counter(rows.kind.tolist())
    assert counted[ADD] - counted[DELETE] - counted[EXECUTE] == len(orders)
    assert counted[EXECUTE] == counted[TRADE] > 1_000
    added = rows.order_id[rows.kind == ADD].tolist()
    assert len(set(added)) == len(added)


def test_a_market_order_takes_the_oldest_order_of_the_best_price():
    live: dict[tuple[bool, int], list[int]] = {}
    rows = rows_of(settings(by_order=True), 50_000)
    for kind, flags, ticks, order_id in zip(
        rows.kind.tolist(), rows.flags.tolist(), rows.ticks.tolist(), rows.order_id.tolist(), strict=True
    ):
        queue = live.setdefault((bool(flags & BUY), ticks), [])
        if kind == ADD:
            queue.append(order_id)
        elif kind == EXECUTE:
            prices = [price for (is_buy, price), ids in live.items() if ids and is_buy == bool(flags & BUY)]
            assert ticks == (max(prices) if flags & BUY else min(prices))
            assert queue.pop(0) == order_id
        elif kind == DELETE:
            queue.remove(order_id)


def test_a_trade_is_told_before_the_level_it_took_from():
    rows = rows_of(settings(), 50_000)
    trades = np.flatnonzero(rows.kind == TRADE)
    assert len(trades) > 500
    assert (rows.kind[trades + 1] == DEPTH).all()
    assert (rows.ticks[trades + 1] == rows.ticks[trades]).all()
    assert (rows.venue_ns[trades + 1] == rows.venue_ns[trades]).all()
    # BUY is the aggressor of a trade and the side of a level.
    assert ((rows.flags[trades] ^ rows.flags[trades + 1]) & BUY == BUY).all()


@given(st.integers(0, 1000), st.integers(1, 3000))
def test_messages_that_overtake_each_other_are_split_and_keep_both_orders(seed, block):
    made = settings(seed=seed, latency_ns=1_000_000, jitter_ns=20_000_000)
    fifo, loose = rows_of(made, 3000), rows_of(evolve(made, is_fifo=False), 5000, block)
    assert set((fifo.flags & (VENUE | LOCAL)).tolist()) == {VENUE | LOCAL}
    checks = RowChecks(1)
    checks.take(loose)
    split = loose.flags & (VENUE | LOCAL) != VENUE | LOCAL
    assert split.sum() > 100
    at_venue = loose.flags & VENUE != 0
    count = min(int(at_venue.sum()), 3000)
    for name in ("kind", "venue_ns", "ticks", "lots"):
        assert np.array_equal(getattr(loose, name)[at_venue][:count], getattr(fifo, name)[:count])
    delay = loose.local_ns[1:] - loose.venue_ns[1:]
    assert delay.min() >= 1_000_000
    assert delay.max() <= 21_000_000


@pytest.mark.parametrize("is_fifo", [True, False])
def test_no_row_arrives_before_its_latency_whatever_begins(is_fifo):
    regimes = ((0, Regime(order_lots=2)), (SECOND // 50, Regime(spread_ticks=3)))
    made = settings(
        schedule=Schedule(SECOND // 25, regimes), is_fifo=is_fifo, latency_ns=5_000_000, jitter_ns=9_000_000
    )
    rows = rows_of(made, 20_000)
    checks = RowChecks(1)
    checks.take(rows)
    assert (rows.local_ns - rows.venue_ns)[100:].min() >= 5_000_000


def test_flow_changes_around_funding():
    near = Regime(limit=3.0, cancel=3.0, market=3.0)
    made = settings(schedule=around_funding(Regime(), near, 10 * SECOND, 100 * SECOND))
    ns = rows_of(made, 600_000).venue_ns - START
    assert START % (100 * SECOND) == 0
    ns = ns[ns < ns[-1] // (100 * SECOND) * 100 * SECOND]
    assert ns[-1] > 290 * SECOND
    inside = (ns % (100 * SECOND) < 10 * SECOND) | (ns % (100 * SECOND) >= 90 * SECOND)
    # Counts of over 100,000 events: a standard error below one in a hundred.
    assert inside.sum() / 20 / ((~inside).sum() / 80) == pytest.approx(3.0, rel=0.04)


def test_outside_regular_hours_the_spread_is_wider_and_volume_and_depth_are_smaller():
    regular = Regime(spread_ticks=2, order_lots=10)
    outside = outside_hours(regular)
    assert (outside.spread_ticks, outside.order_lots, outside.market) == (5, 5, 0.8)
    assert outside_hours(Regime()).spread_ticks == 3
    # Hours of a hundred seconds, so that a test sees several.
    schedule = Schedule(200 * SECOND, ((0, outside), (100 * SECOND, regular)))
    model = simple_model(30.0, 4.0, 10.0, 60, 5, p_move=0.3)
    for by_order in (False, True):
        rows = rows_of(settings(model, schedule=schedule, by_order=by_order), 400_000)
        lots: dict[bool, list[float]] = {True: [], False: []}
        closest: dict[bool, int] = {True: 99, False: 99}
        for ns, bids, asks, _ in replay(rows):
            is_outside = ns % (200 * SECOND) < 100 * SECOND
            # At the very instant both are told, one after the other.
            if ns % (100 * SECOND) and bids and asks:
                closest[is_outside] = min(closest[is_outside], min(asks) - max(bids))
                lots[is_outside].append(sum(bids.values()) + sum(asks.values()))
        assert closest == {True: 5, False: 2}
        assert np.mean(lots[True]) / np.mean(lots[False]) == pytest.approx(0.5, rel=0.05)
        is_trade = rows.kind == TRADE
        at_outside = rows.venue_ns % (200 * SECOND) < 100 * SECOND
        periods = (rows.venue_ns[-1] - rows.venue_ns[0]) // (200 * SECOND)
        whole = is_trade & (rows.venue_ns < START + periods * 200 * SECOND)
        volume = rows.lots[whole & at_outside].sum() / rows.lots[whole & ~at_outside].sum()
        assert volume == pytest.approx(0.4, rel=0.1)


def test_hours_begin_in_the_regime_of_their_start():
    regular, outside = Regime(order_lots=4), Regime(order_lots=1)
    schedule = regular_hours(regular, outside, DAY_NS // 4, DAY_NS // 2)
    for offset, lots in ((0, 1), (DAY_NS // 4, 4), (DAY_NS // 2 - 1, 4), (DAY_NS // 2, 1), (DAY_NS - 1, 1)):
        rows = rows_of(evolve(settings(schedule=schedule, by_order=True), start_ns=START + offset), 5)
        assert set(rows.lots[rows.kind == ADD].tolist()) <= {lots}


def test_a_day_of_bitcoin_fills_the_day_in_blocks():
    blocks = list(bitcoin_day(3, rows=400_000))
    total = sum(len(block) for block in blocks)
    assert 399_900 < total <= 400_000
    assert blocks[-1].flags[-1] & LAST
    # Busier around funding, and that is not taken off the rest: the day ends a little early.
    lasted = blocks[-1].venue_ns[-1] - blocks[0].venue_ns[0]
    assert 0.95 * DAY_NS < lasted < 1.05 * DAY_NS
    assert all(one.venue_ns[-1] <= other.venue_ns[0] for one, other in pairwise(blocks))


GOOD = simple_model()
ZERO = np.zeros((1, 61))
WRONG = [
    ({"limit": GOOD.limit * np.nan}, "limit: intensities and probabilities are finite"),
    ({"cancel": -GOOD.cancel}, "cancel: intensities and probabilities are finite"),
    ({"market": GOOD.market[:, :-1]}, "market: expected .levels, sizes. like the others"),
    ({"limit": np.ones((1, 61))}, "limit: nothing can be added to a full queue"),
    ({"market": np.ones((1, 61))}, "market: nothing can be taken from an empty queue"),
    ({"redraw": GOOD.redraw * 2}, "redraw: the probabilities of a level add up to 1"),
    ({"p_move": 1.5}, "p_move: a probability, got 1.5"),
    ({"p_redraw": float("nan")}, "p_redraw: a probability, got nan"),
]


@pytest.mark.parametrize(("changes", "why"), WRONG)
def test_models_that_mean_nothing_are_refused(changes, why):
    fields = {name: getattr(GOOD, name) for name in ("limit", "cancel", "market", "redraw")}
    with pytest.raises(ValueError, match=why):
        QueueReactive(**{**fields, **changes})


def test_settings_that_mean_nothing_are_refused():
    for changes, why in [
        ({"mid_ticks": 2}, "mid_ticks: 2 leaves no room"),
        ({"latency_ns": 0}, "latency_ns: must be positive"),
        ({"jitter_ns": -1}, "jitter_ns: must not be negative"),
        ({"seed": -1}, "seed: must fit 64 bits"),
    ]:
        with pytest.raises(ValueError, match=why):
            evolve(settings(GOOD), **changes)
    with pytest.raises(ValueError, match="limit: must be positive"):
        Regime(limit=float("inf"))
    with pytest.raises(ValueError, match="parts: offsets rise from 0"):
        Schedule(10, ((1, Regime()),))
    with pytest.raises(ValueError, match="has no stationary distribution"):
        stationary(GOOD.limit, ZERO, ZERO)


def test_a_market_in_which_nothing_can_happen_says_so():
    dead = QueueReactive(ZERO, ZERO, ZERO, GOOD.redraw)
    with pytest.raises(RuntimeError, match="nothing can happen any more"):
        rows_of(settings(dead), 100)
