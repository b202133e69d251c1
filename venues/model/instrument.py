"""What is traded: kinds, tick and lot arithmetic, contract value."""

from decimal import Decimal
from enum import StrEnum

from attrs import Attribute, field, frozen

from venues.model.money import ONE, ZERO


class InstrumentKind(StrEnum):
    SPOT = "spot"
    PERPETUAL = "perpetual"
    QUARTERLY = "quarterly"
    FUTURE = "future"


class OffGridError(ValueError):
    """A price is not a multiple of the tick size, or a quantity not one of the lot size."""


class UnknownInstrumentError(KeyError):
    """An instrument id that the run's table does not hold."""


@frozen
class Bracket:
    """One leverage bracket: `floor` < notional <= `cap`, all money in the margin asset.

    Source: Binance USDS-M `GET /fapi/v1/leverageBracket`; `cum` is the maintenance amount to deduct.
    """

    floor: Decimal
    cap: Decimal
    mmr: Decimal
    cum: Decimal
    max_leverage: int


def _positive(instance: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    if not value.is_finite() or value <= ZERO:
        raise ValueError(f"{attribute.name}: must be positive, got {value}")


def _share(instance: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    if not value.is_finite() or not ZERO <= value < ONE:
        raise ValueError(f"{attribute.name}: must be at least 0 and below 1, got {value}")


@frozen
class Instrument:
    """One tradable thing at one venue.

    `id` is `venue:symbol` and unique in a run. Prices are quote per base; quantities are base units (linear, spot) or
    contracts. `multiplier` is base units per quantity unit (linear) or quote units per contract (inverse).
    `expiry_ns` is UTC nanoseconds, None for what never expires. `brackets` are empty where the venue uses none.
    """

    venue: str
    symbol: str
    kind: InstrumentKind
    base: str
    quote: str
    tick_size: Decimal = field(validator=_positive)
    lot_size: Decimal = field(validator=_positive)
    settle: str = ""
    inverse: bool = False
    multiplier: Decimal = field(default=ONE, validator=_positive)
    min_qty: Decimal = ZERO
    max_qty: Decimal | None = None
    min_notional: Decimal = ZERO
    expiry_ns: int | None = None
    max_leverage: int = 1
    brackets: tuple[Bracket, ...] = ()
    liquidation_fee: Decimal = field(default=ZERO, validator=_share)
    initial_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None
    id: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.venue}:{self.symbol}")
        if not self.settle:
            object.__setattr__(self, "settle", self.base if self.inverse else self.quote)

    @property
    def is_spot(self) -> bool:
        return self.kind is InstrumentKind.SPOT

    def price(self, ticks: int) -> Decimal:
        return ticks * self.tick_size

    def qty(self, lots: int) -> Decimal:
        return lots * self.lot_size

    def ticks(self, price: Decimal) -> int:
        """Return `price` in ticks. Raises OffGridError when it is not on the grid, negative included."""
        ticks, remainder = divmod(price, self.tick_size)
        if remainder or not price.is_finite():
            raise OffGridError(f"{self.id}: price {price} is not a multiple of the tick {self.tick_size}")
        return int(ticks)

    def lots(self, qty: Decimal) -> int:
        """Return `qty` in lots. Raises OffGridError when it is not on the grid."""
        lots, remainder = divmod(qty, self.lot_size)
        if remainder or not qty.is_finite():
            raise OffGridError(f"{self.id}: quantity {qty} is not a multiple of the lot {self.lot_size}")
        return int(lots)

    def notional(self, qty: Decimal, price: Decimal) -> Decimal:
        """Return the value of |qty| at `price` in the settlement asset."""
        size = abs(qty) * self.multiplier
        return size / price if self.inverse else size * price

    def pnl(self, qty: Decimal, entry: Decimal, exit_: Decimal) -> Decimal:
        """Return the profit of signed `qty` from `entry` to `exit_` in the settlement asset."""
        if self.inverse:
            return qty * self.multiplier * (1 / entry - 1 / exit_)
        return qty * self.multiplier * (exit_ - entry)
