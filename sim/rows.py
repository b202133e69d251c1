"""What a market is as columns: one row per level, trade or mark, in ticks and lots, with both clocks' times.

A message becomes one row or several, of which the last carries LAST: what it did to the book is looked at only then.

| kind | `ticks` | `lots` | BUY |
|---|---|---|---|
| DEPTH | price | new absolute quantity, 0 removes | a bid |
| CLEAR | - | - | - ; the whole book is forgotten; alone and LAST: it is unknown until the next snapshot |
| SNAPSHOT | price | quantity; follows a CLEAR | a bid |
| QUOTE | price | quantity of the best level, 0 for an empty side; a bid and an ask row | the bid |
| TRADE | price | quantity | the aggressor buys |
| MARK | index price x 1e8, 0 unknown | mark price x 1e8 | - |
| FUNDING | its mark price x 1e8, 0 unknown | rate x 1e12, signed | - |
| STATUS | - | index into STATUSES | - |
| OPEN_INTEREST | - | quantity | - |
| SETTLEMENT | - | price x 1e8 | it is the final one |
| ADD | price | quantity of the new order `order_id` | it buys |
| MODIFY | new price | new quantity of `order_id` | it buys |
| DELETE | price | - ; `order_id` leaves the book | it buys |
| EXECUTE | price | quantity of `order_id` that traded: it shrinks by it, and leaves with its last lot | it buys |
| GAP | - | - | - ; what follows cannot be trusted until the next snapshot |
| ESTIMATE | next funding, ns UTC, 0 unknown | running funding rate x 1e12, signed | - |

TRADE is the print, in an order-by-order market, too, and changes no order; the EXECUTE rows beside it do.

Where a book is told order by order, EXECUTE moves it and a TRADE only informs; the cancel or change of an order that
repeats an execution is left out. A snapshot is a CLEAR and the ADD of every order, oldest first, the last with LAST.

Rows with VENUE happen at the venue at `venue_ns`, rows with LOCAL reach the desk at `local_ns`. Among VENUE rows
`venue_ns` never falls, among LOCAL rows `local_ns` never falls; a row that cannot have both places is written twice,
once with each flag.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

DEPTH, TRADE, CLEAR, SNAPSHOT, QUOTE, MARK, FUNDING, STATUS, OPEN_INTEREST, SETTLEMENT = range(1, 11)
ADD, MODIFY, DELETE, EXECUTE, GAP, ESTIMATE = range(11, 17)

KINDS = dict(
    enumerate(
        (
            *("depth", "trade", "clear", "snapshot", "quote", "mark", "funding", "status", "open_interest"),
            *("settlement", "add", "modify", "delete", "execute", "gap", "estimate"),
        ),
        start=1,
    )
)
"""The kinds' names by number."""

VENUE, LOCAL, BUY, LAST = 1, 2, 4, 8

TICKS_MAX = 1 << 44
LOTS_MAX = 1 << 53
"""Beyond these the simulated venue refuses: a price must fit the directory of a book, a quantity a double."""

STATUSES = ("pre_open", "open", "halt", "close")
PRICE_SCALE = 100_000_000
RATE_SCALE = 1_000_000_000_000

COLUMNS: dict[str, type[np.generic]] = {
    "kind": np.uint8,
    "flags": np.uint8,
    "instrument": np.uint16,
    "venue_ns": np.int64,
    "local_ns": np.int64,
    "ticks": np.int64,
    "lots": np.int64,
    "order_id": np.uint64,
}
"""Name and type of every column. `instrument` counts the instruments of a file; `order_id` is 0 where there is none."""

Column = NDArray[Any]


@define(eq=False)
class Rows:
    """Columns of one length, one element per row."""

    kind: Column
    flags: Column
    instrument: Column
    venue_ns: Column
    local_ns: Column
    ticks: Column
    lots: Column
    order_id: Column

    @classmethod
    def empty(cls, count: int) -> "Rows":
        """Return `count` rows of zeros."""
        return cls(**{name: np.zeros(count, kind) for name, kind in COLUMNS.items()})

    @classmethod
    def join(cls, parts: Sequence["Rows"]) -> "Rows":
        """Return the rows of all parts, one part after the other."""
        if not parts:
            return cls.empty(0)
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS})

    def __len__(self) -> int:
        return len(self.kind)

    def at(self, places: Column) -> "Rows":
        """Return the rows at these places, or where a mask is true; a copy."""
        return Rows(**{name: getattr(self, name)[places] for name in COLUMNS})

    def slice(self, start: int, stop: int) -> "Rows":
        """Return a view of the rows from `start` to before `stop`."""
        return Rows(**{name: getattr(self, name)[start:stop] for name in COLUMNS})
