"""What a parent's end is told as: prices, benchmarks, rating, causes, from its record alone."""

from decimal import Decimal

from actors.execution_records import ParentOrder
from actors.executions import Benchmarks, ExecutionIntent, ExecutionReason, ExecutionReport, ExecutionState
from actors.slippage import SlippageConfig, alert_for
from venues.costs.shortfall import (
    Attribution,
    Execution,
    Shortfall,
    attribution,
    implementation_shortfall,
    quality,
    slippage_bps,
)
from venues.model.instrument import Instrument
from venues.model.money import ZERO


def average_price(spec: Instrument, fills: list[Execution]) -> Decimal | None:
    """Return the price at which the whole would have had the same value; None for nothing."""
    if not fills:
        return None
    qty = sum((fill.qty for fill in fills), ZERO)
    if spec.inverse:
        return qty / sum((fill.qty / fill.price for fill in fills), ZERO)
    return sum((fill.qty * fill.price for fill in fills), ZERO) / qty


def refusal(now: int, intent: ExecutionIntent, reason: ExecutionReason, why: str) -> ExecutionReport:
    """Return the report of an intent that never became a parent."""
    return ExecutionReport(
        now,
        intent.parent_id,
        intent.strategy,
        intent.account,
        intent.instrument,
        intent.side,
        intent.qty,
        ExecutionState.DENIED,
        intent.mode,
        reason=reason,
        why=why,
        started_ns=intent.ts,
    )


def report(
    now: int, parent: ParentOrder, spec: Instrument, config: SlippageConfig, *, is_amended: bool = False
) -> ExecutionReport:
    """Return the report of a parent that is over."""
    intent = parent.intent
    made = ExecutionReport(
        now,
        intent.parent_id,
        intent.strategy,
        intent.account,
        intent.instrument,
        intent.side,
        intent.qty,
        parent.state,
        intent.mode,
        parent.mode_used,
        parent.rung,
        parent.ending,
        parent.why,
        parent.filled,
        average_price(spec, parent.fills),
        intent.decision_price,
        started_ns=intent.ts,
        arrival_ns=parent.arrival_ns,
        filled_ns=parent.filled_ns,
        orders=sum(1 for child in parent.children.values() if child.qty),
        fees=dict(parent.fees),
        expected_bps=parent.expected_bps,
        is_amended=is_amended,
    )
    if parent.bid is None or parent.ask is None:
        return made
    made.arrival_bid, made.arrival_ask = spec.price(parent.bid), spec.price(parent.ask)
    made.end_price = None if parent.last_mids is None else spec.price(parent.last_mids) / 2
    if made.average_price is not None:
        _rate(made, parent, spec, config)
    return made


def _rate(made: ExecutionReport, parent: ParentOrder, spec: Instrument, config: SlippageConfig) -> None:
    price = made.average_price
    assert price is not None
    assert made.arrival_bid is not None
    assert made.arrival_ask is not None
    arrival = (made.arrival_bid + made.arrival_ask) / 2
    realised = slippage_bps(made.side, price, arrival)
    means = parent.means
    twap = spec.price(means.mids) / (2 * means.samples) if means.samples else None
    vwap = spec.price(means.cost) / means.traded if means.traded else None
    made.benchmarks = Benchmarks(
        realised,
        None if twap is None else slippage_bps(made.side, price, twap),
        None if vwap is None else slippage_bps(made.side, price, vwap),
    )
    made.alert = alert_for(realised, config)
    if parent.expected_bps is not None:
        made.quality = quality(parent.expected_bps, realised, config.quality)
    if not spec.inverse:
        made.attribution, made.shortfall = _causes(made, parent, spec, arrival)


def _causes(
    made: ExecutionReport, parent: ParentOrder, spec: Instrument, arrival: Decimal
) -> tuple[Attribution, Shortfall]:
    """Return where the cost came from; fees in a third asset are left out, for nobody says here what they are worth."""
    assert made.arrival_bid is not None
    assert made.arrival_ask is not None
    assert made.average_price is not None
    fills = [Execution(one.qty * spec.multiplier, one.price, one.is_maker) for one in parent.fills]
    fees = made.fees.get(spec.quote, ZERO) + made.fees.get(spec.base, ZERO) * made.average_price
    decided = arrival if made.decision_price is None else made.decision_price
    qty = max(made.qty, made.filled_qty) * spec.multiplier
    return (
        attribution(made.side, decided, made.arrival_bid, made.arrival_ask, fills, fees),
        implementation_shortfall(made.side, qty, decided, arrival, made.end_price or arrival, fills, fees),
    )


def alert_text(made: ExecutionReport) -> str:
    """Return what a person is told of a parent that cost too much."""
    assert made.alert is not None
    realised = made.benchmarks.arrival_bps
    return f"{made.side} {made.filled_qty} {made.instrument} cost {realised:.1f} bps, expected {made.expected_bps}"
