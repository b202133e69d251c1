"""What a row that is no part of a book says as the port's message."""

from decimal import Decimal

from sim.rows import (
    BUY,
    FUNDING,
    MARK,
    OPEN_INTEREST,
    PRICE_SCALE,
    RATE_SCALE,
    STATUS,
    STATUSES,
    TRADE,
    Rows,
)
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.port import FundingRate, InstrumentState, InstrumentStatus, MarkPrice, OpenInterest, Report, Trade


def report_of(rows: Rows, row: int, spec: Instrument) -> Report | None:
    """Return a trade, mark, funding, status or open interest row at its venue time; None for other kinds."""
    kind, now, ticks, lots = int(rows.kind[row]), int(rows.venue_ns[row]), int(rows.ticks[row]), int(rows.lots[row])
    if kind == TRADE:
        return Trade(now, spec.id, 0, ticks, lots, Side.BUY if rows.flags[row] & BUY else Side.SELL)
    other = Decimal(ticks) / PRICE_SCALE if ticks else None
    if kind == MARK:
        return MarkPrice(now, spec.id, Decimal(lots) / PRICE_SCALE, other)
    if kind == FUNDING:
        return FundingRate(now, spec.id, Decimal(lots) / RATE_SCALE, other)
    if kind == STATUS:
        return InstrumentStatus(now, spec.id, InstrumentState(STATUSES[lots]))
    if kind == OPEN_INTEREST:
        return OpenInterest(now, spec.id, spec.qty(lots))
    return None


def with_estimate(mark: MarkPrice, rows: Rows, row: int) -> MarkPrice:
    """Return a mark with the running funding rate of the ESTIMATE row that follows it."""
    rate = Decimal(int(rows.lots[row])) / RATE_SCALE
    return MarkPrice(mark.ts, mark.instrument, mark.mark, mark.index, rate, int(rows.ticks[row]) or None)
