"""Decides which tables of leverage brackets are right, and what maintenance margin they ask.

Sources: Binance `GET /fapi/v1/leverageBracket`, FAQ b3c689c1f50a44cabb3a84e663b81d93 ("maintenance amount"). Bybit
tiers (`GET /v5/market/risk-limit`, `mmDeduction`) obey the same recursion. All money in the margin asset.
"""

from collections.abc import Sequence
from decimal import Decimal

from venues.model.instrument import Bracket
from venues.model.money import ZERO
from venues.rules.errors import BadTableError, BadValueError, OutsideTableError

_KEYS = ("floor", "cap", "mmr", "cum", "max_leverage")


class BracketTableError(BadTableError):
    """A bracket table that contradicts itself; `index` is the first bad row, 0-based."""

    def __init__(self, index: int, why: str) -> None:
        key = why.partition(" ")[0]
        super().__init__(f"brackets[{index}].{key}" if key in _KEYS else "brackets", why)
        self.index = index


class NotionalAboveTableError(OutsideTableError):
    """A notional beyond the last bracket's cap: the venue allows no such position."""


def check_brackets(brackets: Sequence[Bracket]) -> None:
    """Refuse a table whose floors, rates or maintenance amounts do not follow from each other.

    cum_1 = 0 and cum_n = cum_{n-1} + floor_n x (mmr_n - mmr_{n-1}): this is what makes maintenance margin continuous.
    Raises BracketTableError naming the first bad row.
    """
    if not brackets:
        raise BracketTableError(0, "the table is empty")
    floor = cum = mmr = ZERO
    for index, row in enumerate(brackets):
        for name, number in (("floor", row.floor), ("mmr", row.mmr), ("cum", row.cum)):
            if not number.is_finite():
                raise BracketTableError(index, f"{name} {number} is not a number")
        if not ZERO < row.mmr < 1:
            raise BracketTableError(index, f"mmr {row.mmr} is not between 0 and 1")
        if row.cap.is_nan() or row.cap <= row.floor:
            raise BracketTableError(index, f"cap {row.cap} is not above floor {row.floor}")
        if row.max_leverage < 1:
            raise BracketTableError(index, f"max_leverage {row.max_leverage} is below 1")
        if row.floor != floor:
            raise BracketTableError(index, f"floor {row.floor} does not continue at {floor}")
        cum += row.floor * (row.mmr - mmr)
        if row.cum != cum:
            raise BracketTableError(index, f"cum {row.cum} should be {cum}")
        floor, mmr = row.cap, row.mmr


def bracket_number(brackets: Sequence[Bracket], notional: Decimal) -> int:
    """Return the 1-based number of the bracket with floor < |notional| <= cap; zero is in the first.

    Raises NotionalAboveTableError beyond the last cap, BadValueError for NaN.
    """
    if not notional.is_finite():
        raise BadValueError("notional", f"must be a number, got {notional}")
    size = abs(notional)
    for number, row in enumerate(brackets, start=1):
        if size <= row.cap:
            return number
    raise NotionalAboveTableError("notional", f"{size} is above the last cap {brackets[-1].cap}")


def bracket_for(brackets: Sequence[Bracket], notional: Decimal) -> Bracket:
    """Return the bracket with floor < |notional| <= cap. Raises as `bracket_number` does."""
    if notional.is_finite():
        size = abs(notional)
        for row in brackets:
            if size <= row.cap:
                return row
    return brackets[bracket_number(brackets, notional) - 1]


def bracket_or_last(brackets: Sequence[Bracket], size: Decimal) -> Bracket:
    """Return the bracket of a notional that is not signed: the first for one below zero, the last beyond all caps."""
    for row in brackets:
        if size <= row.cap:
            return row
    return brackets[-1]


def maintenance_margin(brackets: Sequence[Bracket], notional: Decimal) -> Decimal:
    """Return |notional| x mmr - cum of its bracket. Beyond the last cap the last bracket's rate goes on.

    A price may carry an existing position beyond the table; its margin must not vanish then. Raises BadValueError.
    """
    if not notional.is_finite():
        raise BadValueError("notional", f"must be a number, got {notional}")
    size = abs(notional)
    for row in brackets:
        if size <= row.cap:
            return size * row.mmr - row.cum
    if not brackets:
        raise BracketTableError(0, "the table is empty")
    last = brackets[-1]
    return size * last.mmr - last.cum


def flat_rate(mmr: Decimal, cum: Decimal) -> tuple[Bracket, ...]:
    """Return a one-row table for a known rate and maintenance amount."""
    return (Bracket(ZERO, Decimal("Infinity"), mmr, cum, 1),)
