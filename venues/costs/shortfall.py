"""Decides what a decision lost on its way into the market, where, and whether that was well done.

Source: Perold's implementation shortfall in the form of facts/execution.md 4.5. Positive is a cost on both sides.
Quantities are base units (contracts x multiplier), prices quote per base unit; inverse contracts are not priced here.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from attrs import field, frozen

from venues.model.money import ZERO
from venues.model.order import Side
from venues.rules.checks import finite, not_negative, positive
from venues.rules.errors import BadValueError


@frozen
class Execution:
    """A part that traded: positive `qty` at `price` in quote per unit. `is_maker` when the order had rested."""

    qty: Decimal
    price: Decimal
    is_maker: bool = False


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


@frozen
class Attribution:
    """What the filled part cost, by cause, in quote; `total_bps` relative to it at the decision price.

    `spread` is half the spread at arrival, paid by takers and earned by makers; `impact` is the rest of the way from
    the arrival mid to the fills: levels eaten, and what the market did meanwhile. `delay` is decision to arrival.
    """

    spread: Decimal
    impact: Decimal
    delay: Decimal
    fees: Decimal
    total: Decimal
    total_bps: Decimal


def attribution(
    side: Side,
    decision_price: Decimal,
    arrival_bid: Decimal,
    arrival_ask: Decimal,
    fills: Sequence[Execution],
    fees: Decimal,
) -> Attribution:
    """Return where the cost of what was filled came from; `fees` are negative when rebates outweigh.

    spread + impact is the trading cost and delay the delay of `implementation_shortfall` with the arrival mid. Raises
    BadValueError, also for no fills and a crossed arrival book.
    """
    positive(decision_price, "decision_price")
    positive(arrival_bid, "arrival_bid")
    finite(fees, "fees")
    if positive(arrival_ask, "arrival_ask") < arrival_bid:
        raise BadValueError("arrival_ask", f"{arrival_ask} is below the bid {arrival_bid}")
    if not fills:
        raise BadValueError("fills", "nothing traded: nothing to attribute")
    mid, half = (arrival_bid + arrival_ask) / 2, (arrival_ask - arrival_bid) / 2
    filled = paid = spread = ZERO
    for index, fill in enumerate(fills):
        filled += positive(fill.qty, f"fills[{index}].qty")
        paid += fill.qty * positive(fill.price, f"fills[{index}].price")
        spread += -fill.qty * half if fill.is_maker else fill.qty * half
    delay = _cost(side, filled * (mid - decision_price))
    impact = _cost(side, paid - filled * mid) - spread
    total = spread + impact + delay + fees
    return Attribution(spread, impact, delay, fees, total, 10_000 * total / (filled * decision_price))


def slippage_bps(side: Side, price: Decimal, benchmark: Decimal) -> Decimal:
    """Return how much worse than `benchmark` a price is, in basis points of it. Raises BadValueError."""
    positive(benchmark, "benchmark")
    return 10_000 * _cost(side, positive(price, "price") - benchmark) / benchmark


class Quality(StrEnum):
    EXCELLENT = "excellent"
    GOOD = "good"
    ACCEPTABLE = "acceptable"
    POOR = "poor"


def _is_bound(instance: object, attribute: object, value: Decimal) -> None:
    not_negative(value, getattr(attribute, "name", ""))


@frozen
class QualityBounds:
    """Realised less expected slippage in bps up to which an execution is good, acceptable (facts/systems.md 1)."""

    good_bps: Decimal = field(default=Decimal(2), validator=_is_bound)
    acceptable_bps: Decimal = field(default=Decimal(10), validator=_is_bound)

    def __attrs_post_init__(self) -> None:
        if self.acceptable_bps < self.good_bps:
            raise BadValueError("acceptable_bps", f"{self.acceptable_bps} is below good_bps {self.good_bps}")


DEFAULT_QUALITY = QualityBounds()


def quality(expected_bps: Decimal, realised_bps: Decimal, bounds: QualityBounds = DEFAULT_QUALITY) -> Quality:
    """Return the rating of realised against expected slippage. Raises BadValueError for what is no number."""
    excess = finite(realised_bps, "realised_bps") - finite(expected_bps, "expected_bps")
    if excess <= ZERO:
        return Quality.EXCELLENT
    if excess <= bounds.good_bps:
        return Quality.GOOD
    return Quality.ACCEPTABLE if excess <= bounds.acceptable_bps else Quality.POOR


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
