"""Decides how liquid a book is for one trade: whether there is enough, what it would cost, what to do about it.

Depth is levels of (ticks, lots), best first. Prices and lots stay whole; bounds are compared exactly. Basis points are
of the mid, (bid + ask) / 2. Score and imbalance are statistics. Limits and recommendations: facts/systems.md 1.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

from attrs import Attribute, define, field, frozen

from venues.model.book import Level
from venues.model.order import Side
from venues.rules.checks import not_negative, positive, rate

_BUY = Side.BUY


def _not_negative(instance: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    not_negative(value, attribute.name)


def _share(instance: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    rate(value, attribute.name)


def _count(instance: object, attribute: "Attribute[int]", value: int) -> None:
    positive(Decimal(value), attribute.name)


@frozen
class LiquidityLimits:
    """What a book must offer before something is opened on it.

    The last lot must come at most `max_slippage_bps` from the mid, on the way in and, for `exit_share` of it, on the
    way out. Crossing is recommended where it is expected to cost up to `market_bps`; splitting where at least
    `split_share` is there. `levels` of each side are looked at, `imbalance_levels` for the imbalance.
    """

    max_slippage_bps: Decimal = field(default=Decimal(50), validator=_not_negative)
    max_spread_bps: Decimal = field(default=Decimal(50), validator=_not_negative)
    min_score: Decimal = field(default=Decimal("0.6"), validator=_share)
    market_bps: Decimal = field(default=Decimal(5), validator=_not_negative)
    split_share: Decimal = field(default=Decimal("0.2"), validator=_share)
    exit_share: Decimal = field(default=Decimal(1), validator=_not_negative)
    levels: int = field(default=50, validator=_count)
    imbalance_levels: int = field(default=5, validator=_count)


class Recommendation(StrEnum):
    USE_LIMIT = "use_limit"
    USE_MARKET = "use_market"
    SPLIT = "split"
    INSUFFICIENT_DEPTH = "insufficient_depth"
    WIDE_SPREAD = "wide_spread"
    STALE_BOOK = "stale_book"


@define
class LiquidityReport:
    """A book seen by somebody who would take `lots` on `side`; `bid` and `ask` in ticks, 0 where there is no book.

    `taken` of the lots are in the levels, for the sum `cost` of ticks x lots. `within` and `exit_within` lots come
    within the limits' slippage, on the way in, without what is promised to others, and on the way out. `objections` say
    in figures which limits are broken.
    """

    side: Side
    lots: int
    bid: int
    ask: int
    taken: int
    cost: int
    within: int
    exit_within: int
    imbalance: float
    score: float
    recommendation: Recommendation
    objections: tuple[str, ...]

    @property
    def is_sufficient(self) -> bool:
        """Whether all lots come within the limits' slippage."""
        return self.within >= self.lots

    @property
    def expected_bps(self) -> Decimal | None:
        """What taking all lots now costs against the mid, None when they are not in the levels."""
        return None if self.taken < self.lots else _bps(self.side, self.taken, self.cost, self.bid + self.ask)

    @property
    def spread_bps(self) -> Decimal | None:
        mids = self.bid + self.ask
        return None if mids <= 0 else Decimal(20_000 * (self.ask - self.bid)) / mids


def walk(levels: Iterable[Level], lots: int, bound: int | None, side: Side) -> tuple[int, int]:
    """Return the lots a taker on `side` meets up to `bound` ticks, None for any, and the sum of ticks x lots paid."""
    left, cost = lots, 0
    sign = 1 if side is _BUY else -1
    for ticks, offered in levels:
        if left <= 0 or (bound is not None and (ticks - bound) * sign > 0):
            break
        part = offered if offered < left else left
        left -= part
        cost += part * ticks
    return lots - left, cost


def expected_slippage(levels: Iterable[Level], lots: int, side: Side, mids: int) -> Decimal | None:
    """Return what taking `lots` costs in bps of the mid, None when the levels hold fewer.

    `mids` is bid + ask, in ticks.
    """
    taken, cost = walk(levels, lots, None, side)
    return None if taken < lots or mids <= 0 else _bps(side, taken, cost, mids)


def _bps(side: Side, lots: int, cost: int, mids: int) -> Decimal | None:
    whole = lots * mids
    if whole <= 0:
        return None
    over = 20_000 * cost - 10_000 * whole
    return Decimal(over if side is _BUY else -over) / whole


def bound_ticks(mids: int, side: Side, bps: Decimal) -> int:
    """Return the worst tick within `bps` of the mid for a taker on `side`: rounded towards the mid, never beyond."""
    over, under = bps.as_integer_ratio()
    whole = 20_000 * under
    if side is _BUY:
        return mids * (10_000 * under + over) // whole
    return -(-mids * (10_000 * under - over) // whole)


def no_book(side: Side, lots: int, why: str) -> LiquidityReport:
    """Return the report on a book that cannot be believed."""
    return LiquidityReport(side, lots, 0, 0, 0, 0, 0, 0, 0.0, 0.0, Recommendation.STALE_BOOK, (why,))


def analyze(
    bids: Sequence[Level],
    asks: Sequence[Level],
    side: Side,
    lots: int,
    limits: LiquidityLimits,
    promised: int = 0,
) -> LiquidityReport:
    """Return how liquid the book is for taking `lots`, after others have taken the `promised` lots they wait for.

    score = depth x (0.5 slippage + 0.3 spread + 0.2 balance), each from 0 to 1: depth is the share of the lots within
    the limits; slippage and spread are 1 at nothing and 0 at their limits; balance is 1 less the imbalance of the best
    levels, (bids - asks) / (bids + asks), where it leans against the taker.
    """
    if not bids or not asks or asks[0][0] <= bids[0][0] or bids[0][0] + asks[0][0] <= 0 or lots <= 0:
        return no_book(side, lots, "the book is empty, crossed or without a price")
    bid, ask = bids[0][0], asks[0][0]
    mids = bid + ask
    here, there = (asks, bids) if side is _BUY else (bids, asks)
    skipped, skipped_cost = walk(here, promised, None, side) if promised > 0 else (0, 0)
    taken, cost = walk(here, promised + lots, None, side)
    taken, cost = taken - skipped, cost - skipped_cost
    within = _within(here, lots + promised, bound_ticks(mids, side, limits.max_slippage_bps), side) - promised
    wanted_out = int(lots * limits.exit_share)
    out = side.opposite
    exit_within = _within(there, wanted_out, bound_ticks(mids, out, limits.max_slippage_bps), out)
    imbalance = _imbalance(bids, asks, limits.imbalance_levels)
    report = LiquidityReport(
        side,
        lots,
        bid,
        ask,
        taken,
        cost,
        max(0, within),
        exit_within,
        imbalance,
        0.0,
        Recommendation.USE_LIMIT,
        (),
    )
    _rate(report, limits, wanted_out)
    return report


def _within(levels: Sequence[Level], lots: int, bound: int, side: Side) -> int:
    return walk(levels, lots, bound, side)[0]


def _imbalance(bids: Sequence[Level], asks: Sequence[Level], count: int) -> float:
    bought = sold = 0
    for _, lots in bids[:count]:
        bought += lots
    for _, lots in asks[:count]:
        sold += lots
    return (bought - sold) / (bought + sold)


def _rate(report: LiquidityReport, limits: LiquidityLimits, wanted_out: int) -> None:
    """Enter score, objections and recommendation."""
    expected, spread = report.expected_bps, report.spread_bps
    assert spread is not None
    report.score = _score(report, limits, expected, spread)
    found: list[str] = []
    if spread > limits.max_spread_bps:
        found.append(f"spread {spread:.2f} bps is over {limits.max_spread_bps}")
    if not report.is_sufficient:
        found.append(f"{report.within} of {report.lots} lots within {limits.max_slippage_bps} bps of the mid")
    if report.exit_within < wanted_out:
        found.append(f"{report.exit_within} of {wanted_out} lots within {limits.max_slippage_bps} bps on the way out")
    if report.score < limits.min_score:
        found.append(f"score {report.score:.2f} is under {limits.min_score}")
    report.objections = tuple(found)
    if spread > limits.max_spread_bps:
        report.recommendation = Recommendation.WIDE_SPREAD
    elif not report.is_sufficient:
        is_slice = report.within > 0 and report.within >= report.lots * limits.split_share
        report.recommendation = Recommendation.SPLIT if is_slice else Recommendation.INSUFFICIENT_DEPTH
    elif not found and expected is not None and expected <= limits.market_bps:
        report.recommendation = Recommendation.USE_MARKET


def _score(report: LiquidityReport, limits: LiquidityLimits, expected: Decimal | None, spread: Decimal) -> float:
    depth = min(1.0, report.within / report.lots)
    slippage = 0.0 if expected is None else _closeness(expected, limits.max_slippage_bps)
    against = max(0.0, report.imbalance if report.side is _BUY else -report.imbalance)
    return depth * (0.5 * slippage + 0.3 * _closeness(spread, limits.max_spread_bps) + 0.2 * (1.0 - against))


def _closeness(value: Decimal, limit: Decimal) -> float:
    """Return 1 at zero, 0 at the limit and beyond."""
    if limit <= 0:
        return 1.0 if value <= 0 else 0.0
    return min(1.0, max(0.0, 1.0 - float(value) / float(limit)))
