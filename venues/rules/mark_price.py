"""Decides the mark price of perpetual and delivery contracts, and the price a delivery contract settles at.

Sources: Binance announcements of 2025-09-16 (mark price) and for 2024-11-11 (delivery), FAQ 360033525071 through
mirrors; Bybit help page of 2024-10-16. Prices are quote per base.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from venues.model.money import ZERO
from venues.rules.checks import finite, not_negative, positive
from venues.rules.errors import BadValueError
from venues.rules.funding import interval
from venues.rules.instants import in_force

BASIS_WINDOWS: tuple[tuple[datetime, int], ...] = (
    (datetime(2025, 9, 16, tzinfo=UTC), 60),
    (datetime(2025, 9, 18, 8, 1, tzinfo=UTC), 30),
)
"""Binance: seconds of the basis average. The first row dates from the announcement that names the old window; older
documents say 150 and 300 s without a date, so a mark price of earlier years needs its own table."""

BYBIT_BASIS_SECONDS = 300
BYBIT_EXPIRY_BASIS_SECONDS = 600

DELIVERY_WINDOWS: tuple[tuple[datetime, int], ...] = (
    (datetime(1970, 1, 1, tzinfo=UTC), 3600),
    (datetime(2024, 11, 11, tzinfo=UTC), 1800),
)
"""Binance: seconds before delivery over which the index is averaged, one point a second."""


def basis_average(mids: Sequence[Decimal], indexes: Sequence[Decimal]) -> Decimal:
    """Return the mean of (bid1 + ask1)/2 - index over paired one-second samples. Raises BadValueError."""
    if not mids or len(mids) != len(indexes):
        raise BadValueError("indexes", f"{len(mids)} mids need as many indexes and at least one, got {len(indexes)}")
    for at, (mid, index) in enumerate(zip(mids, indexes, strict=True)):
        positive(mid, f"mids[{at}]")
        positive(index, f"indexes[{at}]")
    return (sum(mids, ZERO) - sum(indexes, ZERO)) / len(mids)


def perpetual_mark_price(
    index: Decimal,
    last_funding_rate: Decimal,
    seconds_to_funding: Decimal,
    interval_hours: int,
    basis_average: Decimal,
    last_price: Decimal,
) -> Decimal:
    """Return the median of index x (1 + rate x time left / interval), index + basis average, and the last price.

    Binance takes the symbol's own interval. Bybit's page divides by 8 hours; whether it follows the symbol's interval
    there is not established, so the caller passes what it believes. Raises BadValueError.
    """
    positive(index, "index")
    finite(last_funding_rate, "last_funding_rate")
    period = interval(interval_hours) * 3600
    if not_negative(seconds_to_funding, "seconds_to_funding") > period:
        raise BadValueError("seconds_to_funding", f"{seconds_to_funding} is longer than the interval of {period} s")
    positive(last_price, "last_price")
    by_funding = index + index * last_funding_rate * seconds_to_funding / period
    _, mark, _ = sorted((by_funding, _by_basis(index, basis_average), last_price))
    return positive(mark, "last_funding_rate")


def delivery_mark_price(index: Decimal, basis_average: Decimal) -> Decimal:
    """Return index + basis average: no median, no last price (Binance). Raises BadValueError.

    How the mark goes over to the settlement average in the last minutes before delivery is not established.
    """
    return _by_basis(positive(index, "index"), basis_average)


def _by_basis(index: Decimal, basis_average: Decimal) -> Decimal:
    price = index + finite(basis_average, "basis_average")
    if price <= ZERO:
        raise BadValueError("basis_average", f"{basis_average} leaves no price above an index of {index}")
    return price


def basis_seconds(at_ns: int) -> int:
    """Return the length of Binance's basis average at an instant. Raises OutsideTableError."""
    return in_force(BASIS_WINDOWS, at_ns, "at_ns")


def delivery_seconds(delivery_ns: int) -> int:
    """Return over how many seconds before `delivery_ns` Binance averages the index. Raises OutsideTableError."""
    return in_force(DELIVERY_WINDOWS, delivery_ns, "delivery_ns")


def delivery_price(indexes: Sequence[Decimal], delivery_ns: int) -> Decimal:
    """Return the settlement price: the plain mean of one index point a second over the window before delivery.

    Raises BadValueError when a point is missing or too many: an average of fewer is `estimated_delivery_price`.
    """
    expected = delivery_seconds(delivery_ns)
    if len(indexes) != expected:
        raise BadValueError("indexes", f"the window has {expected} points, got {len(indexes)}")
    return estimated_delivery_price(indexes)


def estimated_delivery_price(indexes: Sequence[Decimal]) -> Decimal:
    """Return the mean of the index points so far. Raises BadValueError."""
    if not indexes:
        raise BadValueError("indexes", "an average needs at least one point")
    for at, index in enumerate(indexes):
        positive(index, f"indexes[{at}]")
    return sum(indexes, ZERO) / len(indexes)
