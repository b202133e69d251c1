"""A position: average entry, partial closes, side flips, realised and unrealised profit."""

from decimal import Decimal

from attrs import define

from venues.model.instrument import Instrument
from venues.model.money import COST_QUANTUM, ROUND_HALF_EVEN, ZERO
from venues.model.order import PositionSide, Side


def position_key(account: str, instrument: str, side: PositionSide = PositionSide.BOTH) -> str:
    """Return the key under which positions, reservations and limits are held."""
    return f"{account}/{instrument}/{side}"


@define
class Position:
    """Signed `qty` and its `cost`: the signed contract value at entry in the settlement asset.

    Linear cost is qty x multiplier x price, inverse cost qty x multiplier / price. Cost is kept instead of an average
    so that realised profit plus remaining cost always equals what was traded, to the last digit.
    """

    account: str
    instrument: str
    side: PositionSide = PositionSide.BOTH
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    realized_pnl: Decimal = ZERO

    @property
    def key(self) -> str:
        return position_key(self.account, self.instrument, self.side)

    def entry_price(self, spec: Instrument) -> Decimal | None:
        """Return the average entry price (harmonic for inverse contracts), None when flat."""
        if not self.qty:
            return None
        size = self.qty * spec.multiplier
        return size / self.cost if spec.inverse else self.cost / size

    def apply(self, side: Side, qty: Decimal, price: Decimal, spec: Instrument) -> Decimal:
        """Book a fill of positive `qty` and return the profit it realised, in the settlement asset.

        A fill larger than an opposite position closes it and opens the rest at `price`.
        """
        signed = qty * side.sign
        realized = ZERO
        if self.qty * signed < ZERO:
            closed = min(abs(self.qty), qty) * side.sign
            share = _cost(-closed, price, spec)
            if -closed == self.qty:
                released = self.cost
            else:
                released = (self.cost * -closed / self.qty).quantize(COST_QUANTUM, rounding=ROUND_HALF_EVEN)
            realized = released - share if spec.inverse else share - released
            self.cost -= released
            self.qty += closed
            signed -= closed
        if signed:
            self.cost += _cost(signed, price, spec)
            self.qty += signed
        self.realized_pnl += realized
        return realized

    def unrealized_pnl(self, mark: Decimal, spec: Instrument) -> Decimal:
        """Return the profit at `mark` in the settlement asset."""
        if not self.qty:
            return ZERO
        value = _cost(self.qty, mark, spec)
        return self.cost - value if spec.inverse else value - self.cost


def _cost(qty: Decimal, price: Decimal, spec: Instrument) -> Decimal:
    size = qty * spec.multiplier
    if spec.inverse:
        return (size / price).quantize(COST_QUANTUM, rounding=ROUND_HALF_EVEN)
    return size * price
