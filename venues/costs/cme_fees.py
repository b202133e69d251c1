"""Decides what a CME future costs per side through Interactive Brokers: commission, exchange fee, NFA fee.

Money in USD per contract and side, non-member. Commission is marginal by the month's contracts so far. Source: facts G
(Interactive Brokers commission and exchange fee pages, 2025-26 look; the NFA fee from its COMEX page).
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType

from attrs import frozen

from venues.model.money import ZERO
from venues.rules.cme_products import Commission, Product, exchange_fee
from venues.rules.dated import row_on
from venues.rules.errors import BadValueError


@frozen
class CommissionTable:
    """Rates from `since` on: (contracts of the month up to which a rate holds, rate); None is no end."""

    since: date
    tiers: tuple[tuple[int | None, Decimal], ...]


@frozen
class RegulatoryFee:
    since: date
    value: Decimal


COMMISSIONS: Mapping[Commission, tuple[CommissionTable, ...]] = MappingProxyType(
    {
        Commission.STANDARD: (
            CommissionTable(
                date(2024, 1, 1),
                (
                    (1_000, Decimal("0.85")),
                    (10_000, Decimal("0.65")),
                    (20_000, Decimal("0.45")),
                    (None, Decimal("0.25")),
                ),
            ),
        ),
        Commission.MICRO: (
            CommissionTable(
                date(2024, 1, 1),
                (
                    (1_000, Decimal("0.25")),
                    (10_000, Decimal("0.20")),
                    (20_000, Decimal("0.15")),
                    (None, Decimal("0.10")),
                ),
            ),
        ),
    }
)
"""The facts give the first and last thresholds (1,000 and 20,000); 10,000 between them is an assumption."""

NFA = (RegulatoryFee(date(2024, 1, 1), Decimal("0.02")),)


def per_side(of: Product, day: date | None = None) -> Decimal:
    """Return the whole cost of one contract, one side, in the first tier.

    Raises UnknownProductError where the exchange fee is not established, OutsideTableError before the tables.
    """
    return fee(of, 1, 0, day)


def fee(of: Product, contracts: int, month_so_far: int = 0, day: date | None = None) -> Decimal:
    """Return the cost of trading `contracts`, one side, after `month_so_far` of the calendar month."""
    if contracts <= 0:
        raise BadValueError("qty", f"{contracts} is not positive")
    if month_so_far < 0:
        raise BadValueError("month_so_far", f"{month_so_far} is negative")
    fixed = exchange_fee(of, day) + row_on(NFA, day, "date").value
    return contracts * fixed + _commission(row_on(COMMISSIONS[of.commission], day, "date"), contracts, month_so_far)


def _commission(table: CommissionTable, contracts: int, month_so_far: int) -> Decimal:
    total, done, left = ZERO, month_so_far, contracts
    for limit, rate in table.tiers:
        part = left if limit is None else max(0, min(left, limit - done))
        total += part * rate
        done += part
        left -= part
    return total
