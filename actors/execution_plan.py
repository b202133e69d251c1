"""Decides whether a parent may begin, in which mode, and what it sends on a book: pure, from record and depth."""

from collections.abc import Mapping
from decimal import Decimal

from attrs import frozen

from actors.execution_records import OrderExecutorConfig, ParentOrder, whole_lots
from actors.executions import ExecutionIntent, ExecutionMode, ExecutionReason
from actors.ladder import NextOrder, Stage, Wait, mode_for, next_order, sendable
from actors.messages import DepthReply, KillLevel
from actors.slippage import expectation_objection
from venues.costs.liquidity import LiquidityLimits, LiquidityReport, analyze, expected_slippage, walk
from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO
from venues.model.order import Side, TimeInForce
from venues.rules.checks import not_negative, positive
from venues.rules.errors import BadValueError

_R = ExecutionReason


class RefusedError(ValueError):
    """A parent, or an order of one, that may not be sent, and why."""

    def __init__(self, reason: ExecutionReason, why: str) -> None:
        super().__init__(why)
        self.reason = reason


def check_intent(
    intent: ExecutionIntent, instruments: Mapping[str, Instrument], level: KillLevel, *, is_stopping: bool
) -> Instrument:
    """Return the intent's instrument. Raises RefusedError with the first reason against the intent."""
    if is_stopping:
        raise RefusedError(_R.STOPPING, "no new parents")
    if level >= KillLevel.CANCEL_ALL or (level >= KillLevel.REDUCE_ONLY and not intent.reduce_only):
        raise RefusedError(_R.KILLED, f"kill level {level.name}")
    spec = instruments.get(intent.instrument)
    if spec is None:
        raise RefusedError(_R.UNKNOWN_INSTRUMENT, intent.instrument)
    if not intent.parent_id:
        raise RefusedError(_R.BAD_PARAMETER, "parent_id: empty")
    try:
        _check_numbers(intent)
    except BadValueError as error:
        raise RefusedError(_R.BAD_PARAMETER, str(error)) from None
    try:
        spec.lots(intent.qty)
    except (OffGridError, ArithmeticError):
        raise RefusedError(_R.OFF_LOT, f"{intent.qty} with lot {spec.lot_size}") from None
    if intent.qty < spec.min_qty:
        raise RefusedError(_R.SIZE_LIMIT, f"{intent.qty} is under {spec.min_qty}")
    return spec


def _check_numbers(intent: ExecutionIntent) -> None:
    positive(intent.qty, "qty")
    if intent.limit_price is not None:
        positive(intent.limit_price, "limit_price")
    if intent.decision_price is not None:
        positive(intent.decision_price, "decision_price")
    if intent.max_slippage_bps is not None:
        not_negative(intent.max_slippage_bps, "max_slippage_bps")
    if intent.time_budget_ns is not None:
        positive(Decimal(intent.time_budget_ns), "time_budget_ns")


@frozen
class Arrival:
    """The book a parent meets and the mode it is traded in."""

    bid: int
    ask: int
    mode: ExecutionMode
    expected_bps: Decimal | None


def arrive(
    intent: ExecutionIntent,
    spec: Instrument,
    reply: DepthReply,
    limits: LiquidityLimits,
    config: OrderExecutorConfig,
) -> Arrival:
    """Return what a parent begins with. Raises RefusedError where the book is not fit for its mode."""
    found = analyze(reply.bids, reply.asks, intent.side, spec.lots(intent.qty), limits)
    if found.bid + found.ask <= 0:
        raise RefusedError(_R.NO_REFERENCE, f"{spec.id} has no mid above zero")
    return Arrival(found.bid, found.ask, _mode(intent, found, config), found.expected_bps)


def _mode(intent: ExecutionIntent, found: LiquidityReport, config: OrderExecutorConfig) -> ExecutionMode:
    """Return how a parent is traded. What reduces is not held up by a poor book: its prices are bounded anyway."""
    mode = intent.mode
    if mode is ExecutionMode.ADAPTIVE:
        chosen = mode_for(found)
        if chosen is None and not intent.reduce_only:
            raise RefusedError(_R.LIQUIDITY, f"{found.recommendation}: {'; '.join(found.objections)}")
        mode = chosen or ExecutionMode.LIMIT_WITH_FALLBACK
    if mode is ExecutionMode.MARKET_ONLY and not intent.reduce_only:
        why = expectation_objection(found.expected_bps, config.slippage)
        if why:
            raise RefusedError(_R.EXPECTED_SLIPPAGE, why)
        if found.objections:
            raise RefusedError(_R.LIQUIDITY, f"{found.recommendation}: {'; '.join(found.objections)}")
    return mode


def rests_at_limit(parent: ParentOrder) -> bool:
    """Whether the parent is a limit order at a price of its own, which follows no touch."""
    return parent.mode_used is ExecutionMode.LIMIT_ONLY and parent.limit is not None


def next_child(
    parent: ParentOrder, spec: Instrument, stage: Stage, reply: DepthReply, config: OrderExecutorConfig
) -> NextOrder | Wait:
    """Return the stage's order for what is left, within sizes. Raises RefusedError for one that costs too much."""
    intent = parent.intent
    found = next_order(
        stage,
        config.ladder,
        parent.caps(),
        reply.bids,
        reply.asks,
        whole_lots(spec, parent.left),
        parent.last_ticks,
        is_limit_given=rests_at_limit(parent),
    )
    if isinstance(found, NextOrder):
        found = sendable(spec, found, reduce_only=intent.reduce_only)
    if isinstance(found, NextOrder) and found.tif is not TimeInForce.GTX:
        levels = reply.asks if intent.side is Side.BUY else reply.bids
        taken, _ = walk(levels, found.lots, found.ticks, intent.side)
        mids = reply.bids[0][0] + reply.asks[0][0]
        expected = ZERO if not taken else expected_slippage(levels, taken, intent.side, mids)
        why = expectation_objection(expected, config.slippage)
        if why:
            raise RefusedError(_R.EXPECTED_SLIPPAGE, why)
    return found


def is_tradable(parent: ParentOrder, spec: Instrument) -> bool:
    """Whether what is left could be an order at all, at the last mid seen."""
    left = spec.qty(whole_lots(spec, parent.left))
    if left < spec.min_qty or not left:
        return False
    if parent.last_mids is None or (parent.intent.reduce_only and not spec.is_spot):
        return True
    return spec.notional(left, spec.price(parent.last_mids) / 2) >= spec.min_notional
