"""Decides the opening: one price for everything that crosses, and who trades at it.

The price maximises the matched quantity; ties go to the smallest imbalance, then to the price nearest the reference.
Source: CME Globex, indicative opening price (order of the tie-breaks as commonly described).
"""

from collections.abc import Iterator

from sim.matching import Matcher
from sim.venue_order import VenueOrder
from venues.model.order import Side


def opening_price(matcher: Matcher, reference: int | None) -> tuple[int, int] | None:
    """Return (price in ticks, matched lots), None when nothing crosses. `reference` breaks the last tie."""
    prices = {ticks for side in Side for levels in _sides(matcher, side) for ticks in levels}
    best: tuple[tuple[int, int, int, int], int] | None = None
    for ticks in sorted(prices):
        demand = _interest(matcher, Side.BUY, ticks)
        supply = _interest(matcher, Side.SELL, ticks)
        matched = min(demand, supply)
        if not matched:
            continue
        distance = abs(ticks - reference) if reference is not None else 0
        rank = (-matched, abs(demand - supply), distance, ticks)
        if best is None or rank < best[0]:
            best = rank, ticks
    return (best[1], -best[0][0]) if best is not None else None


def _interest(matcher: Matcher, side: Side, ticks: int) -> int:
    shown, own = _sides(matcher, side)
    displayed = sum(lots for price, lots in shown.items() if (price - ticks) * side.sign >= 0)
    return displayed + sum(o.leaves for price, q in own.items() if (price - ticks) * side.sign >= 0 for o in q)


def _sides(matcher: Matcher, side: Side) -> tuple[dict[int, int], dict[int, list[VenueOrder]]]:
    own: dict[int, list[VenueOrder]] = {}
    for order in matcher.own(side):
        assert order.ticks is not None
        own.setdefault(order.ticks, []).append(order)
    return dict(matcher.displayed(side)), own


def uncross(matcher: Matcher, reference: int | None) -> None:
    """Trade everything that crosses at the opening price, by price, then by place in the queue."""
    found = opening_price(matcher, reference)
    if found is None:
        return
    ticks, matched = found
    for side in (Side.BUY, Side.SELL):
        left = matched
        for price in list(_crossing(matcher, side, ticks)):
            left -= _trade_level(matcher, side, price, ticks, left)
            if not left:
                break


def _crossing(matcher: Matcher, side: Side, ticks: int) -> Iterator[int]:
    shown, own = _sides(matcher, side)
    prices = sorted({*shown, *own}, reverse=side is Side.BUY)
    return (price for price in prices if (price - ticks) * side.sign >= 0)


def _trade_level(matcher: Matcher, side: Side, price: int, at: int, most: int) -> int:
    """Trade up to `most` lots resting at `price`, all at `at`; return how many."""
    shown, own = _sides(matcher, side)
    displayed = shown.get(price, 0)
    market = done = 0
    for order in own.get(price, ()):
        if not order.resting:
            continue
        ahead = min(max(0, round(matcher.front(order)) - market), displayed - market, most - done)
        market, done = market + ahead, done + ahead
        lots = min(order.leaves, most - done)
        if lots <= 0:
            break
        done += lots
        matcher.execute(order, at, lots)
    rest = min(displayed - market, most - done)
    market, done = market + rest, done + rest
    matcher.shrink(side, price, market)
    return done
