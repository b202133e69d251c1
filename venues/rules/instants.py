"""Decides which row of a table with effective instants is in force."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from venues.rules.errors import OutsideTableError

HOUR_NS = 3_600_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = TypeVar("Row")


def instant_ns(at: datetime) -> int:
    """Return the aware instant `at` as UTC nanoseconds, exactly."""
    past = at - _EPOCH
    return ((past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds) * 1_000


def instant_of(ns: int) -> datetime:
    """Return UTC nanoseconds as an aware instant, what is below a microsecond cut off."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)


def in_force(rows: Sequence[tuple[datetime, Row]], at_ns: int, field: str) -> Row:
    """Return the last row whose effective instant is at or before `at_ns`; `rows` ascend.

    Raises OutsideTableError naming `field` when the table begins later.
    """
    for effective, row in reversed(rows):
        if instant_ns(effective) <= at_ns:
            return row
    first = rows[0][0].strftime("%Y-%m-%dT%H:%M:%SZ") if rows else "never"
    raise OutsideTableError(field, f"the table begins at {first}")
