"""Every mistake in a table of leverage brackets, by the venue's own rule."""

from collections.abc import Iterator
from decimal import Decimal

from attrs import evolve

from venues.model.instrument import Bracket
from venues.model.money import ONE, ZERO
from venues.rules.binance_margin import BracketTableError, check_brackets

_HALF = Decimal("0.5")
_NOTHING = Bracket(ZERO, ZERO, ZERO, ZERO, 1)
"""What stands before the first row: the next floor and maintenance amount are zero."""


def bracket_mistakes(brackets: tuple[Bracket, ...]) -> Iterator[tuple[int, str, str]]:
    """Yield index, key (empty: the whole table) and reason of each mistake.

    The rule names the first. To see the next, the number is put right that leaves the longest right table.
    """
    rows, told = list(brackets), set[tuple[int, str]]()
    while (error := _first(rows)) is not None:
        why = str(error).partition(": ")[2]
        key = why.partition(" ")[0] if rows else ""
        if (error.index, key) in told:
            return
        told.add((error.index, key))
        yield error.index, key, why
        if not rows:
            return
        rows = max(_mended(rows, error.index, key), key=_right_rows)


def _first(rows: list[Bracket]) -> BracketTableError | None:
    try:
        check_brackets(rows)
    except BracketTableError as error:
        return error
    return None


def _right_rows(rows: list[Bracket]) -> int:
    error = _first(rows)
    return len(rows) if error is None else error.index


def _mended(rows: list[Bracket], at: int, key: str) -> Iterator[list[Bracket]]:
    """Yield the table with a number put right that may be at fault for what the rule says of `key`."""
    row, before = rows[at], rows[at - 1] if at else _NOTHING
    after = rows[at + 1] if at + 1 < len(rows) else None
    if key == "max_leverage":
        yield _with(rows, at, evolve(row, max_leverage=1))
    elif key == "cap":
        yield _with(rows, at, evolve(row, cap=after.floor if after else 2 * max(row.floor, before.cap) + ONE))
    elif key == "floor":
        yield _with(rows, at, evolve(row, floor=before.cap))
    else:
        yield _with(rows, at, evolve(row, cum=before.cum + row.floor * (row.mmr - before.mmr)))
        yield _with(rows, at, evolve(row, mmr=_rate(before, row, after)))
    if at and key == "floor":
        yield _with(rows, at - 1, evolve(before, cap=row.floor))
    if at and key == "cum" and row.floor:
        yield _with(rows, at - 1, evolve(before, mmr=row.mmr - (row.cum - before.cum) / row.floor))


def _rate(before: Bracket, row: Bracket, after: Bracket | None) -> Decimal:
    """Return the rate with which the maintenance amounts before and after a row meet, of the last one its own does."""
    if after is not None and after.floor != row.floor:
        missing = after.cum - after.floor * after.mmr - before.cum + row.floor * before.mmr
        return missing / (row.floor - after.floor)
    return before.mmr + (row.cum - before.cum) / row.floor if row.floor else _HALF


def _with(rows: list[Bracket], at: int, row: Bracket) -> list[Bracket]:
    return [*rows[:at], row, *rows[at + 1 :]]
