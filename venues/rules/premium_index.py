"""Decides how far a perpetual trades from its index: impact prices, premium index, its average over an interval.

Sources: Binance FAQ 360033525031 (read through mirrors, updated 2026-03-06); Bybit help pages on funding. Premiums are
shares (0.0001 = 1 bp), prices in quote per base.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from attrs import frozen

from venues.model.money import ONE, ZERO
from venues.rules.checks import finite, positive
from venues.rules.errors import BadValueError

# Bybit's 200/IMR is known from third parties only: pass another when the venue says so.
IMPACT_MARGIN = Decimal(200)


@frozen
class PremiumAverage:
    """How a venue averages: one sample each `sample_seconds`; intervals in `plain_hours` take the plain mean.

    All others weight the samples 1..n, the latest heaviest.
    """

    sample_seconds: int
    plain_hours: frozenset[int] = frozenset()

    def sample_count(self, interval_hours: int) -> int:
        """Return how many samples a whole interval has."""
        return interval_hours * 3600 // self.sample_seconds

    def of(self, premium_samples: Sequence[Decimal], interval_hours: int) -> Decimal:
        """Return the average of `premium_samples`, oldest first.

        Over the samples of the interval it is the average that settles; over the last `interval_hours` at any time it
        is the rolling one the venue predicts with. Raises BadValueError.
        """
        total = len(premium_samples)
        if not total:
            raise BadValueError("premium_samples", "an average needs at least one")
        for index, sample in enumerate(premium_samples):
            finite(sample, f"premium_samples[{index}]")
        if interval_hours in self.plain_hours:
            return sum(premium_samples, ZERO) / total
        weighted = sum((weight * sample for weight, sample in enumerate(premium_samples, start=1)), ZERO)
        return 2 * weighted / (total * (total + 1))

    def forecast(self, premium_samples: Sequence[Decimal], interval_hours: int, expected: Decimal) -> Decimal:
        """Return the average that settles if every sample still to come is `expected`.

        `premium_samples` are those of the running interval, oldest first, possibly none. Raises BadValueError.
        """
        finite(expected, "expected")
        total, known = self.sample_count(interval_hours), len(premium_samples)
        if known > total:
            raise BadValueError("premium_samples", f"the interval has {total} samples, got {known}")
        if not known:
            return expected
        average = self.of(premium_samples, interval_hours)
        if interval_hours in self.plain_hours:
            return (average * known + expected * (total - known)) / total
        known_weight, weight = known * (known + 1), total * (total + 1)
        return (average * known_weight + expected * (weight - known_weight)) / weight


BINANCE_AVERAGE = PremiumAverage(5, frozenset({1}))
BYBIT_AVERAGE = PremiumAverage(60)


def impact_notional(max_leverage: int, impact_margin: Decimal = IMPACT_MARGIN) -> Decimal:
    """Return the impact margin notional in quote: `impact_margin` over the initial margin rate 1/max_leverage."""
    if max_leverage < 1:
        raise BadValueError("max_leverage", f"must be at least 1, got {max_leverage}")
    return positive(impact_margin, "impact_margin") * max_leverage


def impact_price(levels: Iterable[tuple[Decimal, Decimal]], notional: Decimal, multiplier: Decimal = ONE) -> Decimal:
    """Return the average price of trading `notional` (quote) through `levels` of (price, quantity), best first.

    Bids give the impact bid, asks the impact ask; `multiplier` is base units per quantity unit. Raises BadValueError
    when the levels do not hold that much: an average over less would be a better price than there is.
    """
    left, base = positive(notional, "notional"), ZERO
    positive(multiplier, "multiplier")
    for index, (price, qty) in enumerate(levels):
        units = positive(qty, f"levels[{index}].qty") * multiplier
        value = positive(price, f"levels[{index}].price") * units
        if value >= left:
            return notional / (base + left / price)
        base += units
        left -= value
    raise BadValueError("levels", f"{left} of the notional {notional} finds no quantity")


def premium_index(impact_bid: Decimal, impact_ask: Decimal, index: Decimal) -> Decimal:
    """Return [max(0, impact_bid - index) - max(0, index - impact_ask)] / index. Raises BadValueError."""
    positive(impact_bid, "impact_bid")
    positive(index, "index")
    if positive(impact_ask, "impact_ask") <= impact_bid:
        raise BadValueError("impact_ask", f"{impact_ask} is not above impact_bid {impact_bid}")
    return (max(ZERO, impact_bid - index) - max(ZERO, index - impact_ask)) / index
