"""Decides what a delivery price is while the market runs: the index, taken each second of the window before expiry.

Window and rule: venues/rules/mark_price.py. Bybit's is the last 30 minutes, too (facts/crypto.md G3).
"""

from decimal import ROUND_HALF_EVEN, Decimal

from attrs import define, field

from venues.model.money import ZERO
from venues.rules.mark_price import delivery_seconds

_S = 1_000_000_000

# Binance's prices have at most eight decimals; a price that ends keeps the books exact.
_QUANTUM = Decimal("1E-8")


@define
class IndexMean:
    """Sums the index at every full second of the window that ends at `end_ns` (UTC).

    A second has the last index told until then; seconds before the first one told do not count. Raises
    OutsideTableError for an expiry before the table of windows.
    """

    end_ns: int
    last: Decimal | None = None
    total: Decimal = ZERO
    points: int = 0
    seconds: int = 0
    start_ns: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.start_ns = self.end_ns - delivery_seconds(self.end_ns) * _S

    def take(self, now: int, index: Decimal) -> None:
        """Take an index told at `now`; it counts from that instant on."""
        self._sum_until(now)
        self.last = index

    def value(self, now: int) -> Decimal | None:
        """Return the mean of the seconds before `now`, None when no index was told in time. Eight decimals."""
        self._sum_until(now)
        if not self.points:
            return None
        return (self.total / self.points).quantize(_QUANTUM, rounding=ROUND_HALF_EVEN)

    def _sum_until(self, now: int) -> None:
        # Seconds strictly before `now` have the index told last; the one at `now` has what is told next.
        passed = max(self.seconds, -((self.start_ns - min(now, self.end_ns)) // _S))
        if self.last is not None:
            self.total += self.last * (passed - self.seconds)
            self.points += passed - self.seconds
        self.seconds = passed
