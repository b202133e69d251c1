"""Decides which order a parent sends next: which rung its time has come to, at what price, for how much.

Pure: a moment, a book and what is left go in, one order or a reason to wait comes out. Prices are whole ticks, so
nothing is rounded but bounds, and those inwards: no rounding takes an order beyond its cap.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from attrs import field, frozen

from actors.config_checks import not_negative, positive, share
from actors.executions import ExecutionMode, Rung
from venues.costs.liquidity import LiquidityReport, Recommendation, bound_ticks, walk
from venues.model.book import Level
from venues.model.instrument import Instrument
from venues.model.money import ROUND_CEILING, ROUND_FLOOR
from venues.model.order import Side, TimeInForce

_BUY = Side.BUY
PASSIVE = frozenset({Rung.JOIN, Rung.STEP})


@frozen
class LadderConfig:
    """`time_budget_ns` until a parent that rests takes at any price that is protected.

    JOIN, STEP and CROSS share it; what they leave is JOIN's. Each trades at most its `cost_bps` from the mid at
    arrival. STEP is taken in `steps` orders, each `step_ticks` better than the one before. MARKET has `market_ns` more,
    and costs at most `protection_bps` from the mid of the moment. What rests follows a touch that has left it by more
    than `follow_ticks`.
    """

    time_budget_ns: int = field(default=30_000_000_000, validator=positive)
    join_share: Decimal = field(default=Decimal("0.5"), validator=share)
    join_cost_bps: Decimal = field(default=Decimal(10), validator=not_negative)
    step_share: Decimal = field(default=Decimal("0.4"), validator=share)
    step_cost_bps: Decimal = field(default=Decimal(10), validator=not_negative)
    steps: int = field(default=3, validator=positive)
    step_ticks: int = field(default=1, validator=positive)
    cross_share: Decimal = field(default=Decimal("0.1"), validator=share)
    cross_cost_bps: Decimal = field(default=Decimal(25), validator=not_negative)
    market_ns: int = field(default=5_000_000_000, validator=positive)
    protection_bps: Decimal = field(default=Decimal(50), validator=not_negative)
    follow_ticks: int = field(default=2, validator=not_negative)

    def __attrs_post_init__(self) -> None:
        if self.join_share + self.step_share + self.cross_share > 1:
            raise ValueError("join_share: with step_share and cross_share it comes to more than 1")


@frozen
class Stage:
    """A rung until `ends_ns`; `number` counts the orders of STEP, from 1."""

    rung: Rung
    ends_ns: int
    number: int = 0


def stages(mode: ExecutionMode, config: LadderConfig, begins_ns: int, budget_ns: int) -> tuple[Stage, ...]:
    """Return the stages of a mode in order, the first from `begins_ns` on."""
    ends_ns = begins_ns + budget_ns
    if mode is ExecutionMode.LIMIT_ONLY:
        return (Stage(Rung.JOIN, ends_ns),)
    if mode is ExecutionMode.MARKET_ONLY:
        return (Stage(Rung.MARKET, begins_ns + config.market_ns),)
    crosses_ns = ends_ns - int(config.cross_share * budget_ns)
    steps_ns = crosses_ns - int(config.step_share * budget_ns)
    made = [Stage(Rung.JOIN, steps_ns)]
    spent_ns = crosses_ns - steps_ns
    made += [Stage(Rung.STEP, steps_ns + spent_ns * n // config.steps, n) for n in range(1, config.steps + 1)]
    made += [Stage(Rung.CROSS, ends_ns), Stage(Rung.MARKET, ends_ns + config.market_ns)]
    return tuple(made)


def stage_at(plan: Sequence[Stage], now: int) -> Stage | None:
    """Return the stage that `now` falls into, None when all are over. Stages without any time are passed over."""
    return next((stage for stage in plan if now < stage.ends_ns), None)


_MODES = {
    Recommendation.USE_MARKET: ExecutionMode.MARKET_ONLY,
    Recommendation.USE_LIMIT: ExecutionMode.LIMIT_WITH_FALLBACK,
    Recommendation.SPLIT: ExecutionMode.LIMIT_WITH_FALLBACK,
    Recommendation.WIDE_SPREAD: ExecutionMode.LIMIT_ONLY,
}


def mode_for(report: LiquidityReport) -> ExecutionMode | None:
    """Return what ADAPTIVE comes to: cross what is cheap to cross, rest in a wide spread; None where neither helps."""
    return _MODES.get(report.recommendation)


# Prices


def limit_ticks(spec: Instrument, side: Side, price: Decimal) -> int:
    """Return a limit on the grid, never worse than it: down for a buyer, up for a seller."""
    rounding = ROUND_FLOOR if side is _BUY else ROUND_CEILING
    return int((price / spec.tick_size).to_integral_value(rounding=rounding))


@frozen
class Caps:
    """What bounds a parent's prices. `mids` is bid + ask at arrival in ticks; `limit` the intent's limit in ticks.

    `cost_bps` is the intent's own bound from the mid at arrival, None for none.
    """

    side: Side
    mids: int
    limit: int | None
    cost_bps: Decimal | None

    def worst(self, bps: Decimal | None, mids: int | None = None) -> int | None:
        """Return the worst tick within `bps` of `mids`, the arrival's when None, and of the intent; None for any."""
        bounds = [] if self.limit is None else [self.limit]
        if bps is not None:
            bounds.append(bound_ticks(self.mids if mids is None else mids, self.side, bps))
        if self.cost_bps is not None:
            bounds.append(bound_ticks(self.mids, self.side, self.cost_bps))
        if not bounds:
            return None
        return min(bounds) if self.side is _BUY else max(bounds)


class Wait(StrEnum):
    """Why nothing can be sent now."""

    ABOVE_CAP = "the market is beyond the cap"
    BELOW_MINIMUM = "what is left is less than the venue takes"
    NO_PRICE = "no price above zero is left"


@frozen
class NextOrder:
    """`tif` GTX rests or is refused, GTC rests or takes, IOC takes or expires. `ticks` and `lots` are whole."""

    ticks: int
    lots: int
    tif: TimeInForce


def next_order(
    stage: Stage,
    config: LadderConfig,
    caps: Caps,
    bids: Sequence[Level],
    asks: Sequence[Level],
    left: int,
    last_ticks: int | None,
    *,
    is_limit_given: bool = False,
) -> NextOrder | Wait:
    """Return the order of a stage for `left` lots, or why it has to wait.

    `last_ticks` is where the parent rested last. `is_limit_given` lets JOIN rest at the intent's limit, wherever the
    market is, as a limit order does.
    """
    if stage.rung in PASSIVE:
        tif = TimeInForce.GTX
        if is_limit_given and caps.limit is not None:
            ticks, tif = caps.limit, TimeInForce.GTC
        else:
            ticks = _resting(stage, config, caps, bids[0][0], asks[0][0], last_ticks)
        return NextOrder(ticks, left, tif) if ticks > 0 else Wait.NO_PRICE
    if stage.rung is Rung.CROSS:
        worst = caps.worst(config.cross_cost_bps)
    else:
        worst = caps.worst(config.protection_bps, bids[0][0] + asks[0][0])
    assert worst is not None
    there, _ = walk(asks if caps.side is _BUY else bids, left, worst, caps.side)
    if not there:
        return Wait.ABOVE_CAP
    return NextOrder(worst, there, TimeInForce.IOC) if worst > 0 else Wait.NO_PRICE


def _resting(stage: Stage, config: LadderConfig, caps: Caps, bid: int, ask: int, last_ticks: int | None) -> int:
    """Return where to rest: at the touch or ticks better, a tick short of the other side, within the rung's cap."""
    worst = caps.worst(config.join_cost_bps if stage.rung is Rung.JOIN else config.step_cost_bps)
    assert worst is not None
    better = config.step_ticks if stage.rung is Rung.STEP else 0
    if caps.side is _BUY:
        from_here = bid if last_ticks is None or not better else max(bid, last_ticks)
        return min(from_here + better, ask - 1, worst)
    from_here = ask if last_ticks is None or not better else min(ask, last_ticks)
    return max(from_here - better, bid + 1, worst)


def sendable(spec: Instrument, order: NextOrder, *, reduce_only: bool) -> NextOrder | Wait:
    """Return the order within the venue's sizes, or why it cannot be one."""
    most = order.lots if spec.max_qty is None else min(order.lots, int(spec.max_qty / spec.lot_size))
    qty = spec.qty(most)
    if qty < spec.min_qty:
        return Wait.BELOW_MINIMUM
    is_small = spec.notional(qty, spec.price(order.ticks)) < spec.min_notional
    # Venues let orders that only reduce go out at any value, but on spot, which knows none.
    if is_small and not (reduce_only and not spec.is_spot):
        return Wait.BELOW_MINIMUM
    return NextOrder(order.ticks, most, order.tif)
