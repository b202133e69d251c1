"""Decides whether a bar can be: prices that are prices and agree with each other, on the tick, and a length."""

from decimal import Decimal

from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO
from venues.port import Bar


class BadBarError(ValueError):
    """A bar that cannot be; `field` says which of its values is wrong."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


def check_bar(spec: Instrument, bar: Bar) -> None:
    """Refuse a bar with prices that are none or contradict each other, off the tick (trades), or without a length.

    Raises BadBarError.
    """
    for name in ("open", "high", "low", "close"):
        price: Decimal = getattr(bar, name)
        if not price.is_finite() or price <= ZERO:
            raise BadBarError(name, f"{price} is not a price")
        if not bar.is_mark:
            try:
                spec.ticks(price)
            except OffGridError:
                raise BadBarError(name, f"{price} is not a multiple of the tick {spec.tick_size}") from None
    if bar.high < max(bar.open, bar.close, bar.low):
        raise BadBarError("high", f"{bar.high} is below another price of the bar")
    if bar.low > min(bar.open, bar.close):
        raise BadBarError("low", f"{bar.low} is above another price of the bar")
    if not bar.volume.is_finite() or bar.volume < ZERO:
        raise BadBarError("volume", f"{bar.volume} is not a volume")
    if bar.start_ns >= bar.ts:
        raise BadBarError("start", f"{bar.start_ns} is not before the end {bar.ts}")
