"""Decides which maker and taker rates an account's fee tier has at a crypto venue.

Rates are shares of the fill's value in the margin asset. The truth is what a fill says it cost, and the venue's own
answer for the account (`GET /fapi/v1/commissionRate`); these tables are for simulations and estimates.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from attrs import frozen

from venues.costs.fees import FeeSchedule
from venues.rules.errors import OutsideTableError
from venues.rules.instants import in_force

BNB_DISCOUNT = Decimal("0.10")
"""Binance USDS-M, when fees are paid in BNB (`/fapi/v1/feeBurn`); the fill's commission asset is BNB then."""

_PERCENT = Decimal("0.01")


def _tiers(*percent: tuple[str, str]) -> tuple[FeeSchedule, ...]:
    return tuple(FeeSchedule(Decimal(maker) * _PERCENT, Decimal(taker) * _PERCENT) for maker, taker in percent)


@frozen
class TierFees:
    """Schedules by tier, from the instant on that each table bears."""

    rows: Sequence[tuple[datetime, tuple[FeeSchedule, ...]]]

    def schedule(self, tier: int, at_ns: int, discount: Decimal = Decimal(0)) -> FeeSchedule:
        """Return the rates of `tier` (0 is the lowest) at an instant, `discount` taken off.

        Raises OutsideTableError for an unknown tier or an instant before the tables, BadValueError for the discount.
        """
        tiers = in_force(self.rows, at_ns, "at_ns")
        if not 0 <= tier < len(tiers):
            raise OutsideTableError("tier", f"the table has tiers 0 to {len(tiers) - 1}, got {tier}")
        found = tiers[tier]
        return found.discounted(discount) if discount else found


# fmt: off
BINANCE_USDT = TierFees((
    # USDT-margined pairs. Third-party table of 2026-07-02 that agrees with public guides, not the venue's page.
    (datetime(2026, 7, 2, tzinfo=UTC), _tiers(
        ("0.0200", "0.0500"), ("0.0160", "0.0400"), ("0.0140", "0.0350"), ("0.0120", "0.0320"), ("0.0100", "0.0300"),
        ("0.0080", "0.0270"), ("0.0060", "0.0250"), ("0.0040", "0.0220"), ("0.0020", "0.0200"), ("0.0000", "0.0170"),
    )),
))
BYBIT_LINEAR = TierFees((
    # Without VIP tier. The taker rate is in the help page's example (2026-05-27); the maker rate is unverified.
    (datetime(2026, 5, 27, tzinfo=UTC), _tiers(("0.020", "0.055"))),
))
# fmt: on
