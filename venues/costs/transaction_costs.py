"""Decides what an execution cost against the moment it was decided on: a child order, a parent, or a leg of a basket.

The shortfall of `shortfall` with the trading cost split, and one cause more: what was taken back again. Costs are
positive on both sides, in quote.
"""

from decimal import Decimal

from attrs import frozen

from venues.costs.shortfall import Execution, attribution, implementation_shortfall, slippage_bps
from venues.model.money import ZERO
from venues.model.order import Side
from venues.rules.checks import finite, not_negative, positive


@frozen
class Touch:
    """Best bid and ask in quote per unit."""

    bid: Decimal
    ask: Decimal

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    def far(self, side: Side) -> Decimal:
        """Return the price at which a taker of `side` trades."""
        return self.ask if side is Side.BUY else self.bid


@frozen
class Filled:
    """What traded on the side asked for (`qty`, of it `maker_qty` while resting) and what was taken back.

    `cost` and `reduced_cost` are sums of quantity x price; `fees` are in quote, negative when rebates outweigh.
    """

    qty: Decimal = ZERO
    cost: Decimal = ZERO
    maker_qty: Decimal = ZERO
    reduced: Decimal = ZERO
    reduced_cost: Decimal = ZERO
    fees: Decimal = ZERO


@frozen
class TransactionCosts:
    """In quote: delay + spread + impact + opportunity + unwind + fees = total, which is paper profit less real profit.

    `unwind` is what taking back cost against the end price. `total_bps` is relative to the whole order at the decision
    mid, `slippage_bps` is the average price against the touch at arrival (None when nothing traded).
    """

    delay: Decimal
    spread: Decimal
    impact: Decimal
    opportunity: Decimal
    unwind: Decimal
    fees: Decimal
    total: Decimal
    total_bps: Decimal
    slippage_bps: Decimal | None


def transaction_costs(
    side: Side, qty: Decimal, decision: Touch, arrival: Touch, end_price: Decimal, filled: Filled
) -> TransactionCosts:
    """Return the costs of an order over `qty` that was decided on at `decision` and came to the market at `arrival`.

    Delay is decision mid to arrival mid and opportunity decision mid to `end_price`, which is what the rest, and what
    is held, is valued at. An overfill counts as ordered, and more may be taken back than traded. Raises BadValueError
    for numbers that are none and for a crossed arrival.
    """
    positive(qty, "qty")
    end, fees = positive(end_price, "end_price"), finite(filled.fees, "fees")
    maker = not_negative(filled.maker_qty, "maker_qty")
    whole = max(qty, not_negative(filled.qty, "filled"))
    unwind = not_negative(filled.reduced, "reduced") * end - finite(filled.reduced_cost, "reduced_cost")
    if side is Side.SELL:
        unwind = -unwind
    spread = impact = ZERO
    parts: list[Execution] = []
    off = None
    if filled.qty:
        price = filled.cost / filled.qty
        parts = [
            Execution(part, price, is_maker)
            for part, is_maker in ((filled.qty - maker, False), (maker, True))
            if part > ZERO
        ]
        split = attribution(side, decision.mid, arrival.bid, arrival.ask, parts, ZERO)
        spread, impact = split.spread, split.impact
        off = slippage_bps(side, price, arrival.far(side))
    short = implementation_shortfall(side, whole, decision.mid, arrival.mid, end, parts, fees)
    total = short.delay + spread + impact + short.opportunity + unwind + fees
    bps = 10_000 * total / (whole * decision.mid)
    return TransactionCosts(short.delay, spread, impact, short.opportunity, unwind, fees, total, bps, off)
