"""What a book offers for one trade: walking it, its bounds, the score, the recommendation."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.liquidity import levels_behind, levels_for
from venues.costs.liquidity import (
    LiquidityLimits,
    Recommendation,
    analyze,
    bound_ticks,
    expected_slippage,
    no_book,
    walk,
)
from venues.model.book import Book
from venues.model.order import Side
from venues.rules.errors import BadValueError

D = Decimal
ASKS = ((10_001, 3), (10_003, 5), (10_010, 100))
BIDS = ((9_999, 4), (9_990, 50))


@pytest.mark.parametrize(
    ("levels", "side", "lots", "bound", "expected"),
    [
        (ASKS, Side.BUY, 3, None, (3, 30_003)),
        (ASKS, Side.BUY, 4, None, (4, 40_006)),
        (ASKS, Side.BUY, 200, None, (108, 30_003 + 50_015 + 1_001_000)),
        (ASKS, Side.BUY, 200, 10_003, (8, 80_018)),
        (ASKS, Side.BUY, 200, 10_000, (0, 0)),
        (BIDS, Side.SELL, 10, 9_991, (4, 39_996)),
        (BIDS, Side.SELL, 10, 9_990, (10, 39_996 + 59_940)),
        ((), Side.SELL, 10, None, (0, 0)),
    ],
)
def test_a_book_is_walked_from_its_best_level(levels, side, lots, bound, expected):
    assert walk(levels, lots, bound, side) == expected


def test_expected_slippage_is_the_mean_price_against_the_mid():
    # Mid 10,000: three at +1 tick is +1 bps; five more at +3 make (3 + 15) / 8 = 2.25 bps.
    assert expected_slippage(ASKS, 3, Side.BUY, 20_000) == 1
    assert expected_slippage(ASKS, 8, Side.BUY, 20_000) == D("2.25")
    # Four at -1 and six at -10 ticks: 64 / 10.
    assert expected_slippage(BIDS, 10, Side.SELL, 20_000) == D("6.4")
    assert expected_slippage(BIDS, 55, Side.SELL, 20_000) is None


@pytest.mark.parametrize(
    ("mids", "side", "bps", "expected"),
    [
        (20_000, Side.BUY, "50", 10_050),
        (20_000, Side.SELL, "50", 9_950),
        # 10,000.5 + 50.0025 and - 50.0025: down for a buyer, up for a seller.
        (20_001, Side.BUY, "50", 10_050),
        (20_001, Side.SELL, "50", 9_951),
        (20_000, Side.BUY, "0", 10_000),
        (20_001, Side.BUY, "0", 10_000),
        (20_001, Side.SELL, "0", 10_001),
    ],
)
def test_a_bound_is_never_beyond_its_basis_points(mids, side, bps, expected):
    assert bound_ticks(mids, side, D(bps)) == expected


levels = st.dictionaries(st.integers(1, 400), st.integers(1, 50), min_size=1, max_size=30)


@given(
    levels, levels, st.sampled_from(Side), st.integers(1, 600), st.integers(0, 40), st.decimals("0", "200", places=1)
)
def test_the_report_says_what_a_naive_walk_finds(bids, asks, side, lots, promised, bps):
    low, high = 1_000 - max(bids), 1_000
    down = sorted(((low + ticks - 1, n) for ticks, n in bids.items()), reverse=True)
    up = sorted((high + ticks, n) for ticks, n in asks.items())
    limits = LiquidityLimits(max_slippage_bps=bps)
    found = analyze(down, up, side, lots, limits, promised)
    mid = Fraction(down[0][0] + up[0][0], 2)
    singles = [ticks for ticks, n in (up if side is Side.BUY else down) for _ in range(n)][promised:]
    mine = singles[:lots]
    assert (found.taken, found.cost) == (len(mine), sum(mine))
    near = [ticks for ticks in mine if abs(ticks - mid) <= mid * Fraction(bps) / 10_000]
    assert found.within == len(near)
    assert found.is_sufficient is (len(near) == lots)
    if len(mine) == lots:
        assert found.expected_bps is not None
        exact = 10_000 * side.sign * (Fraction(sum(mine), lots) - mid) / mid
        assert abs(Fraction(found.expected_bps) - exact) < Fraction(1, 10**15)
    else:
        assert found.expected_bps is None
    assert 0.0 <= found.score <= 1.0


EVEN = tuple((10_001 + n, 10) for n in range(20)), tuple((9_999 - n, 10) for n in range(20))


@pytest.mark.parametrize(
    ("bids", "asks", "lots", "expected"),
    [
        # Spread 2 bps; within 50 bps of 10,000 lie all 20 levels of 10.
        (EVEN[1], EVEN[0], 10, Recommendation.USE_MARKET),
        # Five levels and more away from the mid on average: 200 lots cost 10.5 bps.
        (EVEN[1], EVEN[0], 200, Recommendation.USE_LIMIT),
        (EVEN[1], EVEN[0], 201, Recommendation.SPLIT),
        (EVEN[1], EVEN[0], 1_000, Recommendation.SPLIT),
        (EVEN[1], EVEN[0], 1_001, Recommendation.INSUFFICIENT_DEPTH),
        # 60 bps wide.
        (((9_970, 10),), ((10_030, 10),), 1, Recommendation.WIDE_SPREAD),
        (((10_001, 10),), ((10_001, 10),), 1, Recommendation.STALE_BOOK),
        ((), ((10_001, 10),), 1, Recommendation.STALE_BOOK),
        # Nobody to sell back to.
        (((9_999, 1), (9_000, 100)), EVEN[0], 10, Recommendation.USE_LIMIT),
    ],
)
def test_what_is_recommended(bids, asks, lots, expected):
    assert analyze(bids, asks, Side.BUY, lots, LiquidityLimits()).recommendation is expected


def test_objections_name_the_limit_in_figures():
    report = analyze(((9_970, 1),), ((10_030, 3), (10_060, 9)), Side.BUY, 5, LiquidityLimits())
    # depth 3/5 x (0.5 x (1 - 42/50) + 0.3 x 0 + 0.2 x 1): the lots cost (3 x 30 + 2 x 60) / 5 = 42 bps on average,
    # and the asks, not the bids, are the longer side
    assert report.expected_bps == 42
    assert report.score == pytest.approx(0.6 * (0.5 * 0.16 + 0.2))
    assert report.objections == (
        "spread 60.00 bps is over 50",
        "3 of 5 lots within 50 bps of the mid",
        "1 of 5 lots within 50 bps on the way out",
        "score 0.17 is under 0.6",
    )


def test_a_book_that_leans_against_the_taker_scores_less():
    heavy = ((9_999, 90), (9_998, 1))
    light = ((10_001, 10),)
    buyer, seller = (analyze(heavy, light, side, 10, LiquidityLimits()) for side in (Side.BUY, Side.SELL))
    assert buyer.imbalance == seller.imbalance == pytest.approx(81 / 101)
    assert seller.score - buyer.score == pytest.approx(0.2 * 81 / 101)


def test_what_others_were_promised_is_not_there():
    alone = analyze(EVEN[1], EVEN[0], Side.BUY, 20, LiquidityLimits())
    after = analyze(EVEN[1], EVEN[0], Side.BUY, 20, LiquidityLimits(), promised=190)
    # The second and third level from the best: +1 and +2 ticks, and then the last ten lots at +20.
    assert (alone.expected_bps, alone.within, alone.exit_within) == (D("1.5"), 20, 20)
    assert (after.taken, after.within, after.exit_within) == (10, 10, 20)
    assert after.expected_bps is None


def test_a_book_nobody_believes_offers_nothing():
    report = no_book(Side.SELL, 5, "stale: no news for 5 s")
    assert (report.recommendation, report.expected_bps, report.spread_bps) == (Recommendation.STALE_BOOK, None, None)
    assert (report.is_sufficient, report.score, report.objections) == (False, 0.0, ("stale: no news for 5 s",))


@pytest.mark.parametrize("change", [{"max_slippage_bps": D(-1)}, {"min_score": D("NaN")}, {"levels": 0}])
def test_limits_refuse_what_is_no_limit(change):
    with pytest.raises(BadValueError, match=next(iter(change))):
        LiquidityLimits(**change)


@given(
    st.dictionaries(st.integers(1, 500), st.integers(1, 9), min_size=1),
    st.sampled_from(Side),
    st.integers(0, 30),
    st.integers(-3, 3),
)
def test_levels_come_in_order_whatever_lies_between(side_levels, side, count, off):
    book = Book()
    book.load(side_levels.items(), side_levels.items())
    best = (min if side is Side.BUY else max)(side_levels) + off
    behind = sorted((ticks for ticks in side_levels if (ticks - best) * side.sign > 0), reverse=side is Side.SELL)
    expected = [(best, 7), *((ticks, side_levels[ticks]) for ticks in behind)][:count]
    assert levels_behind(book, side, (best, 7), count) == expected
    lots = 3 * count
    for_lots = levels_for(book, side, (best, 7), lots, 2)
    whole = [(best, 7), *((ticks, side_levels[ticks]) for ticks in behind)]
    assert for_lots == whole[: len(for_lots)]
    assert len(for_lots) == len(whole) or (len(for_lots) >= 2 and sum(one for _, one in for_lots) >= lots)
    assert len(for_lots) <= 2 or sum(one for _, one in for_lots[:-1]) < lots
