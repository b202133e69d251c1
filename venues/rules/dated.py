"""Decides which row of a table that changes with time holds on a day."""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Protocol, TypeVar

from venues.rules.errors import BadTableError, OutsideTableError


class Dated(Protocol):
    @property
    def since(self) -> date: ...


_R = TypeVar("_R", bound=Dated)


def row_on(rows: Sequence[_R], day: date | None, field: str) -> _R:
    """Return the row that holds on `day`, the newest for None. Raises OutsideTableError before the oldest."""
    if day is None:
        if rows:
            return rows[-1]
        raise OutsideTableError(field, "the table has no row")
    for row in reversed(rows):
        if row.since <= day:
            return row
    raise OutsideTableError(field, f"the table has no row for {day}")


def check_order(rows: Sequence[Dated], field: str) -> None:
    """Raise BadTableError unless the rows' dates ascend."""
    for before, after in pairwise(rows):
        if before.since >= after.since:
            raise BadTableError(field, f"{after.since} follows {before.since}")
