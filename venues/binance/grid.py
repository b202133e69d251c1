"""How a number printed by the venue becomes an integer of ticks or lots."""

import re
from decimal import Decimal
from typing import Final

from venues.binance.errors import CodecError, CodecErrorReason
from venues.model.money import NotANumberError, parse_decimal

CACHE_ENTRIES_MAX: Final = 32_768
"""Texts remembered per grid; five minutes of BTCUSDT print 19,185 prices and 13,579 quantities."""

NUMBER_CHARS_MAX: Final = 32
UNITS_MAX: Final = 2**62
"""Beyond it ticks and lots no longer fit the signed 64 bits of the matching kernel with room for sums."""

_PLAIN = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


class Grid(dict[str, int]):
    """`grid[text]` is the decimal `text` as a number of steps, in exact arithmetic.

    Only plain notation is taken: no sign, exponent, underscore or surrounding space, none of which the venue prints.
    Prices are positive multiples of the tick or wrong. Quantities may be zero, and finer than the lot: orders from
    before a change of the lot size still rest in the book (three of the spot BTCUSDT levels recorded on 2024-08-08).
    They are rounded down, so that no more is shown than can be traded, and counted in `rounded_down`.
    Texts already seen are remembered, at most CACHE_ENTRIES_MAX of them; then all are forgotten at once.
    Raises CodecError: OFF_GRID, or BAD_NUMBER for anything that is not a usable number at all.
    """

    __slots__ = ("_decimals", "_is_price", "_multiple", "_name", "rounded_down")

    def __init__(self, step: Decimal, name: str, *, is_price: bool) -> None:
        super().__init__()
        _, digits, exponent = step.normalize().as_tuple()
        assert isinstance(exponent, int)
        self._multiple: int = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
        self._decimals = max(-exponent, 0)
        self._name = name
        self._is_price = is_price
        self.rounded_down = 0

    def __missing__(self, text: str) -> int:
        whole, dot, fraction = text.partition(".")
        digits = whole + fraction
        plain = digits.isascii() and digits.isdigit() and whole and (fraction or not dot)
        if not plain or len(text) > NUMBER_CHARS_MAX:
            raise CodecError(CodecErrorReason.BAD_NUMBER, f"{self._name} {text[:40]!r}: {_objection(text)}")
        kept, cut = fraction[: self._decimals], fraction[self._decimals :].strip("0")
        units, remainder = divmod(int(whole + kept.ljust(self._decimals, "0")), self._multiple)
        if units > UNITS_MAX:
            raise CodecError(CodecErrorReason.BAD_NUMBER, f"{self._name} {text}: too large")
        if self._is_price and not digits.strip("0"):
            raise CodecError(CodecErrorReason.BAD_NUMBER, f"{self._name} {text}: must be positive")
        if cut or remainder:
            if self._is_price:
                raise CodecError(CodecErrorReason.OFF_GRID, f"{self._name} {text} is not a multiple of the step")
            self.rounded_down += 1
            return units
        if len(self) >= CACHE_ENTRIES_MAX:
            self.clear()
        self[text] = units
        return units


def _objection(text: str) -> str:
    if len(text) > NUMBER_CHARS_MAX:
        return f"longer than {NUMBER_CHARS_MAX} characters"
    try:
        number = parse_decimal(text, "value")
    except NotANumberError:
        return "not a finite number"
    return "negative" if number < 0 else "not in plain notation"


def plain_decimal(text: str, name: str, *, positive: bool) -> Decimal:
    """Return `text` as a Decimal of at most 20 digits before and after the point.

    Raises CodecError BAD_NUMBER for anything else, and for what is not above zero when `positive`.
    """
    if not _PLAIN.fullmatch(text):
        raise CodecError(CodecErrorReason.BAD_NUMBER, f"{name} {text[:NUMBER_CHARS_MAX]!r}: not a plain finite number")
    number = Decimal(text)
    if positive and number <= 0:
        raise CodecError(CodecErrorReason.BAD_NUMBER, f"{name} {text}: must be positive")
    return number
