"""What the fills of a compiled run look like to people: one record each, in decimals."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from attrs import frozen

from sim.compiled_booking import LIQUIDITY, SIDES
from sim.compiled_run import REASONS, CompiledResult
from venues.costs.fees import FeeTable
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument
from venues.model.order import Side


@frozen
class FillRecord:
    """One fill: venue time (ns UTC), price in quote money, quantity as the instrument counts it, fee paid (negative:
    received) in the settlement asset, the sender's own number. The names of the fields are the columns of a CSV."""

    ns: int
    instrument: str
    side: Side
    price: Decimal
    qty: Decimal
    liquidity: Liquidity
    reason: FillReason
    tag: int
    fee: Decimal


def fill_records(result: CompiledResult, instruments: Sequence[Instrument], fees: FeeTable) -> Iterator[FillRecord]:
    """Yield the fills of a run over `instruments` in their order; what the venue did by itself is in its reports."""
    for ns, _, _, index, ticks, lots, liquidity, reason, tag, side in result.fills.tolist():
        spec, kind = instruments[index], LIQUIDITY[liquidity]
        price, qty = spec.price(ticks), spec.qty(lots)
        fee = fees.of(spec.id).fee(spec, qty, price, kind)
        yield FillRecord(ns, spec.id, SIDES[side], price, qty, kind, REASONS[reason], tag, fee)
