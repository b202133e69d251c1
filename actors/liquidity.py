"""Whether the depth of a book is enough for a quantity, and what of it other baskets have been promised.

The touch may be fresher than the depth behind it (it also comes from best-price frames): what the depth still shows at
or better than the touch is replaced by the touch.
"""

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import islice

from attrs import define

from actors.basket import Leg
from actors.messages import BasketLeg
from venues.model.book import Book, Level
from venues.model.instrument import Instrument, OffGridError
from venues.model.money import ZERO
from venues.model.order import Side

_BPS = Decimal(10_000)

# How many empty ticks in a row are passed one by one.
_NEAR_TICKS = 64


@define
class Reserved:
    """Lots of one side of a book (BUY takes asks, SELL takes bids) that a basket is going to take."""

    instrument: str
    side: Side
    lots: int


def levels_from(book: Book, taker: Side, touch: Level) -> Iterator[Level]:
    """Yield the levels a taker would meet, best first, beginning with `touch`.

    Goes tick by tick while levels are near, so that a look at the best few does not sort the whole side.
    """
    yield touch
    side, step = (book.asks, 1) if taker is Side.BUY else (book.bids, -1)
    ticks, missed = touch[0], 0
    while missed < _NEAR_TICKS:
        ticks += step
        lots = side.get(ticks)
        if lots:
            missed = 0
            yield ticks, lots
        else:
            missed += 1
    yield from sorted(((t, n) for t, n in side.items() if (t - ticks) * step > 0), reverse=step < 0)


def levels_behind(book: Book, taker: Side, touch: Level, count: int) -> list[Level]:
    """Return at most `count` levels a taker would meet, best first, beginning with `touch`."""
    return list(islice(levels_from(book, taker, touch), max(0, count)))


def levels_for(book: Book, taker: Side, touch: Level, lots: int, least: int) -> list[Level]:
    """Return the levels a taker of `lots` would meet, best first: at least `least` of them, as far as there are any."""
    found: list[Level] = []
    for level in levels_from(book, taker, touch):
        found.append(level)
        lots -= level[1]
        if lots <= 0 and len(found) >= least:
            break
    return found


def lots_within(book: Book, taker: Side, touch: Level, bound: int) -> int:
    """Return the lots a taker would meet from `touch` up to `bound` ticks (down to, for a seller), both included."""
    best, lots = touch
    if taker is Side.BUY:
        return (lots if best <= bound else 0) + sum(n for t, n in book.asks.items() if best < t <= bound)
    return (lots if best >= bound else 0) + sum(n for t, n in book.bids.items() if best > t >= bound)


def worst_ticks(instrument: Instrument, leg: BasketLeg | Leg, touch_ticks: int, slippage_bps: Decimal) -> int:
    """Return the worst price in ticks that the leg may reach: slippage from the touch, its limit, the stricter one."""
    allowed = int(abs(touch_ticks) * slippage_bps / _BPS)
    if leg.side is Side.BUY:
        bound = touch_ticks + allowed
        if leg.limit_price is not None:
            bound = min(bound, _round_ticks(instrument, leg.limit_price, ROUND_FLOOR))
        return bound
    bound = touch_ticks - allowed
    if leg.limit_price is not None:
        bound = max(bound, _round_ticks(instrument, leg.limit_price, ROUND_CEILING))
    return bound


def _round_ticks(instrument: Instrument, price: Decimal, rounding: str) -> int:
    return int((price / instrument.tick_size).to_integral_value(rounding=rounding))


def leg_lots(instrument: Instrument, leg: BasketLeg) -> int | str:
    """Return the leg's quantity in lots, or why it or its limit is no quantity or price to look for."""
    if not leg.qty.is_finite() or leg.qty <= ZERO:
        return f"{leg.instrument}: quantity {leg.qty} is not positive"
    if leg.limit_price is not None and not leg.limit_price.is_finite():
        return f"{leg.instrument}: limit price {leg.limit_price} is not a number"
    try:
        return instrument.lots(leg.qty)
    except OffGridError as error:
        return str(error)


__all__ = ["Reserved", "leg_lots", "levels_behind", "levels_for", "levels_from", "lots_within", "worst_ticks"]
