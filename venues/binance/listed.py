"""Whether instruments are still what the venue lists: a desk that is wrong about a step or a bound is refused legs."""

from collections.abc import Iterable
from typing import Final

from venues.binance.rules import ExchangeInfo
from venues.model.instrument import Instrument

_SAME: Final = ("kind", "base", "quote", "settle", "inverse", "multiplier", "tick_size", "lot_size", "expiry_ns")
_AT_LEAST: Final = ("min_qty", "min_notional")


def disagreements(instruments: Iterable[Instrument], told: ExchangeInfo) -> list[str]:
    """Return each difference that matters, by instrument and field; tighter bounds than the venue's do not."""
    found = []
    for spec in instruments:
        listing = told.listings.get(spec.symbol)
        if listing is None:
            found.append(f"{spec.id}: {told.refused.get(spec.symbol, 'the venue does not list it')}")
        else:
            found += [f"{spec.id}: {what}" for what in _differences(spec, listing.instrument)]
    return found


def _differences(ours: Instrument, theirs: Instrument) -> list[str]:
    wrong = [name for name in _SAME if getattr(ours, name) != getattr(theirs, name)]
    wrong += [name for name in _AT_LEAST if getattr(ours, name) < getattr(theirs, name)]
    if theirs.max_qty is not None and (ours.max_qty is None or ours.max_qty > theirs.max_qty):
        wrong.append("max_qty")
    return [f"{name} is {getattr(ours, name)} here and {getattr(theirs, name)} at the venue" for name in wrong]
