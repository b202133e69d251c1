"""What the execution tracker counts for metrics: fixed buckets of slippage and latency, sums of money and quantity."""

from decimal import Decimal
from typing import Final

from attrs import Factory, define, field

from actors.counting import Histogram, empty
from venues.model.money import ZERO

SLIPPAGE_UNIT: Final = 100_000_000
"""Slippage is counted in this part of the price: one basis point is 10,000 of them."""

SLIPPAGE_BOUNDS: Final = (5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
"""0.5 1 2 5 10 20 50 100 basis points."""

LATENCY_BOUNDS: Final = (10_000_000, 50_000_000, 100_000_000, 500_000_000, 1_000_000_000, 5_000_000_000)
"""0.01 0.05 0.1 0.5 1 5 seconds, in ns."""


@define
class Traded:
    """Everything about the fills of one strategy in one instrument; slippage money is in the quote currency."""

    fills: int = 0
    latency: Histogram = Factory(lambda: empty(LATENCY_BOUNDS))
    slippage: Histogram = Factory(lambda: empty(SLIPPAGE_BOUNDS))
    slippage_cost: Decimal = ZERO
    slippage_gain: Decimal = ZERO
    fees: dict[str, Decimal] = field(factory=dict)
    rebates: dict[str, Decimal] = field(factory=dict)


@define
class Ordered:
    """Final orders of one type in one instrument, by status; what they asked for and got, in quote money."""

    statuses: dict[str, int] = field(factory=dict)
    requested: Decimal = ZERO
    filled: Decimal = ZERO
