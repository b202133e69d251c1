"""Whether rows keep the rules of sim.rows: known kinds, both orders, sizes that mean something."""

import numpy as np
from attrs import define

from sim.rows import ESTIMATE, FUNDING, LAST, LOCAL, VENUE, Column, Rows
from sim.store.errors import RowError

_KIND_MAX = ESTIMATE
_FLAGS_MAX = 15
_SIGNED = (FUNDING, ESTIMATE)


@define
class RowChecks:
    """Takes the rows of a market block by block. `instruments` says how many there are."""

    instruments: int
    rows: int = 0
    venue_ns: int = 0
    local_ns: int = 0
    is_complete: bool = True

    def take(self, rows: Rows) -> None:
        """Check the next rows. Raises RowError."""
        if not len(rows):
            return
        flags, kind = rows.flags, rows.kind
        self._refuse((kind < 1) | (kind > _KIND_MAX), "no such kind")
        self._refuse((flags > _FLAGS_MAX) | (flags & (VENUE | LOCAL) == 0), "flags that belong to no clock")
        self._refuse(rows.instrument >= self.instruments, "an instrument the market does not have")
        self._refuse(rows.local_ns < rows.venue_ns, "reached the desk before it happened")
        self._refuse((rows.lots < 0) & ~np.isin(kind, _SIGNED), "a negative quantity or price")
        self.venue_ns = self._in_order(flags & VENUE, rows.venue_ns, self.venue_ns, "venue_ns")
        self.local_ns = self._in_order(flags & LOCAL, rows.local_ns, self.local_ns, "local_ns")
        self.rows += len(rows)
        self.is_complete = bool(flags[-1] & LAST)

    def finish(self) -> None:
        """Say that there are no more. Raises RowError when the last message has no end."""
        if not self.is_complete:
            raise RowError(self.rows - 1, "the last message has no end")

    def _refuse(self, is_wrong: Column, why: str) -> None:
        if is_wrong.any():
            raise RowError(self.rows + int(is_wrong.argmax()), why)

    def _in_order(self, has_clock: Column, times: Column, last: int, name: str) -> int:
        places = np.flatnonzero(has_clock)
        if not len(places):
            return last
        told = times[places]
        fallen = np.flatnonzero(told < np.concatenate(([last], told[:-1])))
        if len(fallen):
            raise RowError(self.rows + int(places[fallen[0]]), f"{name} falls")
        return int(told[-1])
