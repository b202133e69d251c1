"""Why a frame from Binance was refused."""

from enum import StrEnum
from typing import Final

_DETAIL_CHARS_MAX: Final = 240


class CodecErrorReason(StrEnum):
    """What is wrong with a frame; each reason is one counter."""

    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    BAD_FIELD = "bad_field"
    BAD_NUMBER = "bad_number"
    OFF_GRID = "off_grid"
    UNKNOWN_SYMBOL = "unknown_symbol"
    CROSSED = "crossed"
    BAD_SEQUENCE = "bad_sequence"


class CodecError(ValueError):
    """A frame that cannot be believed. `detail` names the field or symbol and is at most 240 characters long.

    BAD_FIELD: a field is missing or has the wrong type, or the object is of no known shape. BAD_NUMBER: not a plain
    finite decimal, negative, zero where that means nothing, or too large. BAD_SEQUENCE: the last update of an event
    precedes its first.
    """

    def __init__(self, reason: CodecErrorReason, detail: str) -> None:
        self.reason = reason
        self.detail = detail[:_DETAIL_CHARS_MAX]
        super().__init__(f"{reason}: {self.detail}")
