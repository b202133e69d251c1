"""Decides what a decision lost on its way into the market, and where: waiting, trading, what never traded, fees.

Source: Perold's implementation shortfall in the form of facts/execution.md 4.5. Positive is a cost on both sides.
"""

from collections.abc import Sequence
from decimal import Decimal

from attrs import frozen

from venues.model.money import ZERO
from venues.model.order import Side
from venues.rules.checks import finite, not_negative, positive
from venues.rules.errors import BadValueError


@frozen
class Execution:
    """A part that traded: positive `qty` at `price` in quote per unit."""

    qty: Decimal
    price: Decimal


@frozen
class Shortfall:
    """All in quote; `total_bps` relative to the whole order at the decision price."""

    delay: Decimal
    trading: Decimal
    opportunity: Decimal
    fees: Decimal
    total: Decimal
    total_bps: Decimal


def implementation_shortfall(
    side: Side,
    qty: Decimal,
    decision_price: Decimal,
    arrival_price: Decimal,
    end_price: Decimal,
    fills: Sequence[Execution],
    fees: Decimal,
) -> Shortfall:
    """Return the profit of the paper portfolio less that of the real one, by cause.

    Delay (decision to arrival) is charged on what was filled, opportunity (decision to end) on what was not. `fees` are
    negative when rebates outweigh. Raises BadValueError, also when more was filled than ordered.
    """
    positive(qty, "qty")
    positive(decision_price, "decision_price")
    positive(arrival_price, "arrival_price")
    positive(end_price, "end_price")
    finite(fees, "fees")
    filled = paid = ZERO
    for index, fill in enumerate(fills):
        filled += positive(fill.qty, f"fills[{index}].qty")
        paid += fill.qty * positive(fill.price, f"fills[{index}].price")
    if filled > qty:
        raise BadValueError("fills", f"{filled} filled of {qty} ordered")
    delay = _cost(side, filled * (arrival_price - decision_price))
    trading = _cost(side, paid - filled * arrival_price)
    opportunity = _cost(side, (qty - filled) * (end_price - decision_price))
    total = delay + trading + opportunity + fees
    return Shortfall(delay, trading, opportunity, fees, total, 10_000 * total / (qty * decision_price))


def _cost(side: Side, of_a_buyer: Decimal) -> Decimal:
    return of_a_buyer if side is Side.BUY else -of_a_buyer


def vwap_price(fills: Sequence[Execution]) -> Decimal:
    """Return the volume-weighted mean price of a tape or of own fills. Raises BadValueError for none."""
    if not fills:
        raise BadValueError("fills", "a mean price needs at least one")
    value = sum((positive(fill.price, f"fills[{i}].price") * fill.qty for i, fill in enumerate(fills)), ZERO)
    return value / sum((positive(fill.qty, f"fills[{i}].qty") for i, fill in enumerate(fills)), ZERO)


def twap_price(prices: Sequence[Decimal]) -> Decimal:
    """Return the plain mean of evenly spaced prices. Raises BadValueError for none."""
    if not prices:
        raise BadValueError("prices", "a mean price needs at least one")
    return sum((positive(price, f"prices[{index}]") for index, price in enumerate(prices)), ZERO) / len(prices)


def favourable_child(
    side: Side, left: Decimal, step: Decimal, bar_volume: Decimal, share: Decimal, price: Decimal, benchmark: Decimal
) -> Decimal:
    """Return what to trade now: at most `share` of the bar's volume, in whole steps, 0 unless the price is better.

    Case: LEAN `VolumeWeightedAveragePriceExecutionModelTests`. It never ends when the price stays on the wrong side.
    """
    not_negative(left, "left")
    if side.sign * (positive(benchmark, "benchmark") - positive(price, "price")) <= ZERO:
        return ZERO
    most = min(left, not_negative(bar_volume, "bar_volume") * not_negative(share, "share"))
    return most // positive(step, "step") * step
