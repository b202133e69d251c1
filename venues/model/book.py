"""A price-level book in integer ticks and lots: absolute updates, best prices, walking the depth."""

from collections.abc import Iterable
from heapq import nlargest, nsmallest

from venues.model.order import Side

Level = tuple[int, int]

# How far to step tick by tick for the next best before falling back to scanning all levels.
_NEAR_TICKS = 64


class Book:
    """Levels as `{ticks: lots}` on each side; `best_bid` and `best_ask` are ticks, None when the side is empty."""

    __slots__ = ("asks", "best_ask", "best_bid", "bids")

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.best_bid: int | None = None
        self.best_ask: int | None = None

    def load(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Replace everything. Levels without quantity are left out."""
        self.bids = {ticks: lots for ticks, lots in bids if lots}
        self.asks = {ticks: lots for ticks, lots in asks if lots}
        self.best_bid = max(self.bids, default=None)
        self.best_ask = min(self.asks, default=None)

    def clear(self) -> None:
        self.load((), ())

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set absolute quantities; 0 removes a level, and removing an unknown one is normal."""
        side = self.bids
        best = self.best_bid
        for ticks, lots in bids:
            if lots:
                side[ticks] = lots
                if best is None or ticks > best:
                    best = ticks
            elif side.pop(ticks, 0) and ticks == best:
                best = _next_bid(side, ticks)
        self.best_bid = best
        side = self.asks
        best = self.best_ask
        for ticks, lots in asks:
            if lots:
                side[ticks] = lots
                if best is None or ticks < best:
                    best = ticks
            elif side.pop(ticks, 0) and ticks == best:
                best = _next_ask(side, ticks)
        self.best_ask = best

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        return self.best_bid is not None and self.best_ask is not None and self.best_bid >= self.best_ask

    def depth(self, side: Side, count: int) -> list[Level]:
        """Return the best `count` levels of the bids (BUY) or asks (SELL), best first."""
        if side is Side.BUY:
            return [(ticks, self.bids[ticks]) for ticks in nlargest(count, self.bids)]
        return [(ticks, self.asks[ticks]) for ticks in nsmallest(count, self.asks)]


def _next_bid(bids: dict[int, int], ticks: int) -> int | None:
    for candidate in range(ticks - 1, ticks - _NEAR_TICKS, -1):
        if candidate in bids:
            return candidate
    return max(bids, default=None)


def _next_ask(asks: dict[int, int], ticks: int) -> int | None:
    for candidate in range(ticks + 1, ticks + _NEAR_TICKS):
        if candidate in asks:
            return candidate
    return min(asks, default=None)
