"""Decides what the settings of the parametric mode may be: model, volume, how much of it, and what reaches an order."""

from collections.abc import Mapping
from datetime import time
from decimal import Decimal
from typing import Any, Literal

from attrs import Attribute, field, frozen

from venues.costs.curves import LiquidityCurves
from venues.costs.slippage_cme import CmeSlippageConfig
from venues.costs.slippage_crypto import CryptoSlippageConfig
from venues.model.money import ONE, ZERO

HOUR_NS = 3_600_000_000_000


def _volumes(_: object, attribute: "Attribute[Any]", value: Mapping[str, Decimal]) -> None:
    for symbol, volume in value.items():
        if not volume.is_finite() or volume <= ZERO:
            raise ValueError(f"{attribute.name}.{symbol}: must be positive, got {volume}")


def _share(_: object, attribute: "Attribute[Any]", value: Decimal | None) -> None:
    if value is not None and not (value.is_finite() and ZERO < value <= ONE):
        raise ValueError(f"{attribute.name}: must be above 0 and at most 1, got {value}")


def _above_zero(_: object, attribute: "Attribute[Any]", value: int | None) -> None:
    if value is not None and value <= 0:
        raise ValueError(f"{attribute.name}: must be positive, got {value}")


def _clock(_: object, attribute: "Attribute[Any]", value: str) -> None:
    clock(value, attribute.name)


def clock(value: str, name: str) -> time:
    """Return a time of day written as HH:MM. Raises ValueError naming `name`."""
    try:
        found = time.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None:
        raise ValueError(f"{name}: expected a time of day such as '08:30', got {value!r}")
    return found


@frozen
class ChicagoHours:
    """Regular hours and the settlement by Chicago's wall clock, Monday to Friday.

    For products without a cash session in the calendar, and for years that it does not cover.
    """

    opens: str = field(validator=_clock)
    closes: str = field(validator=_clock)
    settles: str = field(validator=_clock)

    def __attrs_post_init__(self) -> None:
        if clock(self.opens, "opens") >= clock(self.closes, "closes"):
            raise ValueError(f"closes: {self.closes} is not after opens ({self.opens})")


@frozen
class ParametricConfig:
    """How a venue without books fills.

    `model` is crypto or cme, with its numbers in the table of the same name. `adv` is the average daily volume by
    symbol; of others it is learned from the bars. `reference`: fills are around the last trade (bars, quotes) or
    around the mark. `participation` is the share of a bar's volume, or of a quote's displayed quantity, that own
    orders may take; None is no bound. `touch_fills`: a resting order fills where the price only touches it.
    `stale_ns` is the age at which a price is none any more; None is two bars, and quotes do not age.
    `liquidation_window_ns` is over which forced volume is summed, `volume_days` over how many days volume is averaged.
    `products` names the CME product of a symbol, `hours` its regular hours where the calendar knows none.
    """

    model: Literal["crypto", "cme"]
    adv: Mapping[str, Decimal] = field(factory=dict, validator=_volumes)
    reference: Literal["trade", "mark"] = "trade"
    participation: Decimal | None = field(default=None, validator=_share)
    touch_fills: bool = False
    stale_ns: int | None = field(default=None, validator=_above_zero)
    liquidation_window_ns: int = field(default=HOUR_NS, validator=_above_zero)
    volume_days: int = field(default=20, validator=_above_zero)
    curves: LiquidityCurves = field(factory=LiquidityCurves)
    crypto: CryptoSlippageConfig = field(factory=CryptoSlippageConfig)
    cme: CmeSlippageConfig = field(factory=CmeSlippageConfig)
    products: Mapping[str, str] = field(factory=dict)
    hours: ChicagoHours | None = None
