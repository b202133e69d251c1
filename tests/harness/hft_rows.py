"""How a market as columns is written for hftbacktest: one 64-byte event per row.

Source: hftbacktest 2.4.4, `hftbacktest/src/types.rs` and `docs/data.rst`.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.rows import BUY, CLEAR, DEPTH, LOCAL, QUOTE, SNAPSHOT, TRADE, VENUE, Rows

EVENT = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
"""hftbacktest's `event_dtype`."""

EXCH_FLAG, LOCAL_FLAG, BUY_FLAG, SELL_FLAG = 1 << 31, 1 << 30, 1 << 29, 1 << 28
KINDS = {DEPTH: 1, TRADE: 2, CLEAR: 3, SNAPSHOT: 4, QUOTE: 5}
"""Our kinds to theirs. hftbacktest plays over a QUOTE (DEPTH_BBO_EVENT) without looking at it."""


def to_events(rows: Rows, tick: float, lot: float) -> NDArray[np.void]:
    """Return `rows` as events with prices and quantities in units of `tick` and `lot`.

    Kinds that hftbacktest's book knows nothing of (marks, funding, status, gaps, single orders) are left out; a CLEAR
    has no side and clears both.
    """
    codes = np.zeros(256, np.uint64)
    for ours, theirs in KINDS.items():
        codes[ours] = theirs
    known = codes[rows.kind] > 0
    kind, flags = rows.kind[known], rows.flags[known].astype(np.uint64)
    events = np.zeros(len(kind), EVENT)
    side = np.where(flags & BUY, np.uint64(BUY_FLAG), np.uint64(SELL_FLAG))
    side[kind == CLEAR] = 0
    venue = np.where(flags & VENUE, np.uint64(EXCH_FLAG), np.uint64(0))
    local = np.where(flags & LOCAL, np.uint64(LOCAL_FLAG), np.uint64(0))
    events["ev"] = codes[kind] | venue | local | side
    events["exch_ts"] = rows.venue_ns[known]
    events["local_ts"] = rows.local_ns[known]
    events["px"] = rows.ticks[known] * tick
    events["qty"] = rows.lots[known] * lot
    return events


def write_events(path: Path, rows: Rows, tick: float, lot: float) -> Path:
    """Write `rows` as an uncompressed .npz as hftbacktest reads it, under the name `data`; return `path`."""
    np.savez(path, data=to_events(rows, tick, lot))
    return path
