"""Decides the fee of one fill: a rate of its value, or money per contract."""

from decimal import Decimal
from enum import StrEnum

from attrs import field, frozen

from venues.model.fill import Liquidity
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO
from venues.rules.checks import rate


class FeeBasis(StrEnum):
    NOTIONAL = "notional"
    PER_CONTRACT = "per_contract"


class MissingFeeError(KeyError):
    """No fee is known for an instrument. Unknown is not free."""


@frozen
class FeeSchedule:
    """Rates by liquidity, positive when paid: shares of the value, or money per contract, in the settlement asset."""

    maker: Decimal
    taker: Decimal
    basis: FeeBasis = FeeBasis.NOTIONAL

    def fee(self, spec: Instrument, qty: Decimal, price: Decimal, liquidity: Liquidity) -> Decimal:
        """Return the fee for positive `qty`; fills without liquidity (settlement, takeover) are free."""
        if liquidity is Liquidity.NONE:
            return ZERO
        each = self.maker if liquidity is Liquidity.MAKER else self.taker
        return qty * each if self.basis is FeeBasis.PER_CONTRACT else spec.notional(qty, price) * each

    def discounted(self, share: Decimal) -> "FeeSchedule":
        """Return the schedule with `share` (0..1) off what is paid; rebates stay. Raises BadValueError."""
        kept = ONE - rate(share, "share")
        maker, taker = (one * kept if one > ZERO else one for one in (self.maker, self.taker))
        return FeeSchedule(maker, taker, self.basis)


@frozen
class FeeTable:
    """One venue's fees: a default schedule, and schedules that replace it by instrument id."""

    default: FeeSchedule | None = None
    by_instrument: dict[str, FeeSchedule] = field(factory=dict)

    def of(self, instrument: str) -> FeeSchedule:
        """Return the schedule of `instrument`. Raises MissingFeeError when none is known."""
        found = self.by_instrument.get(instrument, self.default)
        if found is None:
            raise MissingFeeError(instrument)
        return found
