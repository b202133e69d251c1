"""Decides what margin one position of an instrument needs: money per contract where that is set, else by its value.

Money per contract: CME and the clearing members. By value: leverage for the initial, brackets for the maintenance
margin (Binance, Bybit). All money in the settlement asset; `qty` may be signed.
"""

from decimal import Decimal

from venues.model.instrument import Instrument
from venues.rules import brackets


def initial_margin(spec: Instrument, qty: Decimal, price: Decimal, leverage: int | Decimal) -> Decimal:
    """Return the initial margin of |qty| at `price`; `leverage` is the chosen one, at least 1."""
    return initial_margin_of_value(spec, qty, spec.notional(qty, price), leverage)


def initial_margin_of_value(spec: Instrument, qty: Decimal, value: Decimal, leverage: int | Decimal) -> Decimal:
    """Return `initial_margin` of |qty| whose notional is known to be `value`."""
    return value / leverage if spec.initial_margin is None else abs(qty) * spec.initial_margin


def maintenance_margin(spec: Instrument, qty: Decimal, price: Decimal) -> Decimal:
    """Return the maintenance margin of |qty| at `price`, without any fee to close.

    Raises BracketTableError for an instrument with neither brackets nor money per contract, BadValueError for NaN.
    """
    if spec.maintenance_margin is not None:
        return abs(qty) * spec.maintenance_margin
    return brackets.maintenance_margin(spec.brackets, spec.notional(qty, price))
