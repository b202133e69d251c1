"""Decides which leverage brackets held for a symbol on a day, from dated snapshots of the venue's tables.

A snapshot's date is when somebody took it, not when the venue changed the table. Every row of the source either becomes
a table or a refusal with its reason; a day whose table was refused has none.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from attrs import define, frozen

from venues.model.instrument import Bracket
from venues.model.money import parse_decimal
from venues.rules.brackets import BracketTableError, check_brackets
from venues.rules.errors import BadTableError, BadValueError, OutsideTableError, UnknownProductError

_SPELLINGS = re.compile(r"(?P<base>[^/:_]+)/(?P<quote>[^/:_]+)(:(?P<settle>[^/:_-]+)(-(?P<expiry>\d{6}))?)?")
_COLUMNS = ("floor", "cap", "mmr", "cum", "max_leverage")
_INFO = ("notionalFloor", "notionalCap", "maintMarginRatio", "cum", "initialLeverage")


class Refusal(StrEnum):
    """Why a row of the source is no table."""

    DELISTED = "delisted"
    RESPELLED = "respelled"
    MISSING_CELLS = "missing cells"
    CONTRADICTS_ITSELF = "contradicts itself"
    CONTRADICTS_ANOTHER = "contradicts another spelling"


@frozen
class Entry:
    """One row of the source: a table, or why there is none. `symbol` is the venue's, `spelling` the source's."""

    at: datetime
    symbol: str
    spelling: str
    table: tuple[Bracket, ...] = ()
    refusal: Refusal | None = None
    why: str = ""


def venue_symbol(spelling: str) -> str:
    """Return the venue's symbol for `BTC/USDT`, `BTC/USDT:USDT`, `BTC/USDT:USDT-230929` or the symbol itself.

    Raises BadValueError for another spelling, and for contracts that do not settle in their quote asset.
    """
    if "/" not in spelling and ":" not in spelling and spelling:
        return spelling
    found = _SPELLINGS.fullmatch(spelling)
    if found is None or found["settle"] not in (None, found["quote"]):
        raise BadValueError("symbol", f"{spelling!r} is not a linear contract's name")
    return found["base"] + found["quote"] + (f"_{found['expiry']}" if found["expiry"] else "")


@define
class BracketHistory:
    """Dated tables by the venue's symbol. `entries` holds every row of the source in its order."""

    entries: tuple[Entry, ...]
    _by_symbol: Mapping[str, Sequence[Entry]]
    through: datetime
    """The last snapshot: nothing is known of later days."""

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_symbol))

    def refused(self) -> dict[Refusal, int]:
        """Return how many rows of the source became no table, by reason."""
        counted: dict[Refusal, int] = {}
        for entry in self.entries:
            if entry.refusal is not None:
                counted[entry.refusal] = counted.get(entry.refusal, 0) + 1
        return counted

    def dated(self, symbol: str) -> Sequence[Entry]:
        """Return what is known of `symbol` (any spelling), oldest first. Raises UnknownProductError."""
        try:
            return self._by_symbol[venue_symbol(symbol)]
        except KeyError:
            raise UnknownProductError("symbol", f"{symbol} is in no snapshot") from None

    def at(self, symbol: str, moment: datetime) -> tuple[Bracket, ...]:
        """Return the table of `symbol` (any spelling) at `moment` (with its time zone).

        Raises UnknownProductError, and OutsideTableError before the first snapshot of the symbol, after the last of
        all, and while its table was refused.
        """
        dated = self.dated(symbol)
        if moment > self.through:
            raise OutsideTableError("date", f"{moment:%Y-%m-%d} is after the last snapshot of {self.through:%Y-%m-%d}")
        index = bisect_right(dated, moment, key=lambda entry: entry.at)
        if not index:
            raise OutsideTableError("date", f"{symbol} is not known before {dated[0].at:%Y-%m-%d}")
        entry = dated[index - 1]
        if entry.refusal is not None:
            raise OutsideTableError("date", f"{symbol} at {entry.at:%Y-%m-%d}: {entry.refusal}, {entry.why}")
        return entry.table


def read_changes(lines: Iterable[str]) -> BracketHistory:
    """Read changes, one JSON object a line: `at`, `symbol`, `brackets` [[floor, cap, mmr, cum, max_leverage]] or null.

    Null says that the source's spelling is gone: a delisting, unless the same snapshot holds another spelling of the
    symbol. Raises BadTableError for a line that is not of this form, or out of order.
    """
    rows = [_change(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return _history(rows)


def read_snapshot(text: str, at: datetime) -> BracketHistory:
    """Read one whole snapshot: a JSON object of symbol -> tiers, each with the venue's own row under `info`.

    Raises BadTableError for text that is not of this form.
    """
    try:
        tiers = json.loads(text)
        rows = [
            (at, symbol, [[row["info"][column] for column in _INFO] for row in each]) for symbol, each in tiers.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadTableError("brackets", f"not a snapshot of tiers: {error!r}") from error
    return _history(rows)


def _change(number: int, line: str) -> tuple[datetime, str, Any]:
    try:
        row = json.loads(line)
        at = datetime.fromisoformat(row["at"])
        if at.tzinfo is None:
            raise ValueError("a date needs its time zone")
        return at.astimezone(UTC), str(row["symbol"]), row["brackets"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadTableError(f"line {number}", f"not a change of brackets: {error!r}") from error


def _history(rows: list[tuple[datetime, str, Any]]) -> BracketHistory:
    if not rows:
        raise BadTableError("brackets", "no table at all")
    held: dict[tuple[datetime, str], tuple[Bracket, ...]] = {}
    listed = {(at, venue_symbol(spelling)) for at, spelling, cells in rows if cells is not None}
    entries = []
    by_symbol: dict[str, list[Entry]] = {}
    for at, spelling, cells in rows:
        symbol = venue_symbol(spelling)
        entry = _entry(at, symbol, spelling, cells, (at, symbol) in listed)
        before = held.get((at, symbol))
        if before and entry.table and entry.table != before:
            why = f"{spelling} differs from another spelling of the same snapshot"
            entry = Entry(at, symbol, spelling, (), Refusal.CONTRADICTS_ANOTHER, why)
        held[at, symbol] = entry.table or before or ()
        entries.append(entry)
        if entry.refusal is not Refusal.RESPELLED:
            by_symbol.setdefault(symbol, []).append(entry)
    for dated in by_symbol.values():
        dated.sort(key=lambda entry: entry.at)
    return BracketHistory(tuple(entries), by_symbol, max(at for at, _, _ in rows))


def _entry(at: datetime, symbol: str, spelling: str, cells: Any, is_listed: bool) -> Entry:
    if cells is None:
        refusal = Refusal.RESPELLED if is_listed else Refusal.DELISTED
        return Entry(at, symbol, spelling, (), refusal, f"{spelling} is gone from the snapshot")
    try:
        table = tuple(_bracket(index, row) for index, row in enumerate(cells))
        check_brackets(table)
    except _MissingCellError as error:
        return Entry(at, symbol, spelling, (), Refusal.MISSING_CELLS, str(error))
    except ValueError as error:
        return Entry(at, symbol, spelling, (), Refusal.CONTRADICTS_ITSELF, str(error))
    return Entry(at, symbol, spelling, table)


class _MissingCellError(ValueError):
    """A row without one of its numbers."""


def _bracket(index: int, cells: Any) -> Bracket:
    if not isinstance(cells, list) or len(cells) != len(_COLUMNS):
        raise BracketTableError(index, f"not {len(_COLUMNS)} cells: {cells!r}")
    for name, cell in zip(_COLUMNS, cells, strict=True):
        if cell is None or cell == "":
            raise _MissingCellError(f"bracket {index + 1}: no {name}")
    floor, cap, mmr, cum, leverage = (parse_decimal(cell, name) for name, cell in zip(_COLUMNS, cells, strict=True))
    if leverage != leverage.to_integral_value():
        raise BracketTableError(index, f"max_leverage {leverage} is not whole")
    return Bracket(floor, cap, mmr, cum, int(leverage))
