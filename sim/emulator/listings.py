"""What the emulated venue lists: an instrument with the words and limits that exchangeInfo prints of it."""

from decimal import Decimal

from attrs import field, frozen

from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import to_text

PERPETUAL_DELIVERY_MS = 4_133_404_800_000
"""Binance's delivery date of what never expires. Source: exchangeInfo."""


def decimals(step: Decimal) -> int:
    """Return how many decimals a grid has: 1 for 0.10, 0 for 10."""
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


@frozen
class Listing:
    """One symbol. Quantities in base units; `multiplier_up` and `multiplier_down` are PERCENT_PRICE's.

    `min_notional` and the limits of quantity are here and not in `spec`: they are refused before the venue sees them.
    `price_precision` is how many decimals a price may have, and is printed with, whatever its tick; `qty_precision`
    that of quantities, None for the lot's.
    """

    spec: Instrument
    pair: str
    contract_type: str
    onboard_ms: int
    min_price: Decimal
    max_price: Decimal
    max_qty: Decimal
    market_max_qty: Decimal
    min_notional: Decimal
    multiplier_up: Decimal = Decimal("1.0500")
    multiplier_down: Decimal = Decimal("0.9500")
    market_take_bound: Decimal = Decimal("0.05")
    trigger_protect: Decimal = Decimal("0.0500")
    max_orders: int = 200
    max_algo_orders: int = 200
    funding_interval_hours: int = 8
    funding_cap: Decimal = Decimal("0.00300000")
    funding_floor: Decimal = Decimal("-0.00300000")
    interest_rate: Decimal = Decimal("0.00010000")
    price_precision: int = 2
    qty_precision: int | None = None
    price_decimals: int = field(init=False)
    qty_decimals: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        qty = decimals(self.spec.lot_size) if self.qty_precision is None else self.qty_precision
        object.__setattr__(self, "price_decimals", self.price_precision)
        object.__setattr__(self, "qty_decimals", qty)

    @property
    def symbol(self) -> str:
        return self.spec.symbol

    @property
    def id(self) -> str:
        """Return the instrument's id in the port's messages."""
        return self.spec.id

    @property
    def is_perpetual(self) -> bool:
        return self.spec.kind is InstrumentKind.PERPETUAL

    @property
    def delivery_ms(self) -> int:
        return PERPETUAL_DELIVERY_MS if self.spec.expiry_ns is None else self.spec.expiry_ns // 1_000_000

    def price_text(self, price: Decimal) -> str:
        """Return a price on the grid as the venue prints it."""
        return f"{price:.{self.price_decimals}f}"

    def qty_text(self, qty: Decimal) -> str:
        """Return a quantity on the grid as the venue prints it."""
        return f"{qty:.{self.qty_decimals}f}"


def plain(value: Decimal) -> str:
    """Return a number without exponent and without zeros at its end."""
    text = to_text(value.normalize())
    return "0" if text in {"-0", ""} else text
