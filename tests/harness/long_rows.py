"""A long market made from a seed as columns, to measure with."""

import numpy as np
from numba import njit

from sim.rows import BUY, DEPTH, LAST, LOCAL, TRADE, VENUE, Rows

_WIDTH = 1 << 16
_FIRST_TICK = 600_000
_NEAR = 40


@njit(cache=True)
def _walk(seed, kind, flags, venue_ns, local_ns, ticks, lots, span_ns):  # type: ignore[no-untyped-def]
    """Fill the columns: a touch that trades and cancels wear away, gaps that are closed, quantities that change."""
    np.random.seed(seed)
    count = len(kind)
    bids, asks = np.zeros(_WIDTH, np.int64), np.zeros(_WIDTH, np.int64)
    bid, ask = _WIDTH // 2, _WIDTH // 2 + 1
    for distance in range(_NEAR):
        bids[bid - distance] = 1 + int(np.random.exponential(20.0))
        asks[ask + distance] = 1 + int(np.random.exponential(20.0))
    now, heard, row = 0, 0, 0
    for level in range(2 * _NEAR):
        is_bid = level < _NEAR
        at = bid - level if is_bid else ask + level - _NEAR
        kind[row] = DEPTH
        flags[row] = VENUE | LOCAL | (BUY if is_bid else 0)
        ticks[row], lots[row] = at, bids[at] if is_bid else asks[at]
        row += 1
    flags[row - 1] |= LAST
    heard = 1_000_000
    local_ns[:row] = heard
    mean_ns = span_ns / count * 1.12
    while row < count:
        now += 1 + int(np.random.exponential(mean_ns))
        heard = max(heard, now + 1_000_000 + int(np.random.exponential(500_000.0)))
        is_bid = np.random.random() < 0.5
        side = bids if is_bid else asks
        at, step = (bid, -1) if is_bid else (ask, 1)
        chance = np.random.random()
        if ask - bid > 1 and chance < 0.5:
            at -= step
            side[at] = 1 + int(np.random.exponential(20.0))
        elif chance < 0.13:
            traded = min(side[at], 1 + int(np.random.exponential(6.0)))
            side[at] -= traded
            kind[row], ticks[row], lots[row] = TRADE, at, traded
            flags[row] = VENUE | LOCAL | LAST | (0 if is_bid else BUY)
            venue_ns[row], local_ns[row] = now, heard
            row += 1
            if row == count:
                return
        elif chance < 0.14:
            side[at] = 0
        else:
            distance = min(_NEAR - 1, int(np.random.exponential(4.0)))
            at += step * distance
            is_gone = distance > 0 and np.random.random() < 0.1
            side[at] = 0 if is_gone else 1 + int(np.random.exponential(20.0))
        kind[row], ticks[row], lots[row] = DEPTH, at, side[at]
        flags[row] = VENUE | LOCAL | LAST | (BUY if is_bid else 0)
        venue_ns[row], local_ns[row] = now, heard
        row += 1
        while bids[bid] == 0:
            bid -= 1
        while asks[ask] == 0:
            ask += 1
        if bids[bid + 1] > 0:
            bid += 1
        if asks[ask - 1] > 0:
            ask -= 1


def long_rows(count: int = 2_000_000, seed: int = 42, span_ns: int = 1_770_000_000_000) -> Rows:
    """Return `count` rows of a market of about `span_ns`: 11 % trades, each followed by what it left of its level.

    Every row has both clocks, the feed takes 1 ms and more, and the book is never crossed.
    """
    rows = Rows.empty(count)
    _walk(seed, rows.kind, rows.flags, rows.venue_ns, rows.local_ns, rows.ticks, rows.lots, span_ns)
    rows.ticks += _FIRST_TICK - _WIDTH // 2
    rows.venue_ns += 1_000_000_000
    rows.local_ns += 1_000_000_000
    return rows
