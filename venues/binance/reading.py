"""How a private answer or event is read: whatever the bytes are, a value or a CodecError that names the field."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from venues.binance.errors import CodecError, CodecErrorReason
from venues.model.order import OrderStatus, OrderType, PositionSide, Side

FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
"""exchangeInfo of 800 symbols takes about 2 MiB, a leverageBracket answer for all of them one."""

NS_PER_MS: Final = 1_000_000

_T = TypeVar("_T")
_SHORT: Final = 20
"""A number without sign of that many characters needs no closer look; nearly all are."""

_PLAIN: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(E[-+]?[0-9]{1,2})?")

SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL}
POSITION_SIDES: Final = {side.value: side for side in PositionSide}

STATUSES: Final = {
    "NEW": OrderStatus.ACCEPTED,
    "PENDING_NEW": OrderStatus.ACCEPTED,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "PENDING_CANCEL": OrderStatus.ACCEPTED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
ALGO_STATUSES: Final = {
    "NEW": OrderStatus.ACCEPTED,
    "TRIGGERING": OrderStatus.TRIGGERED,
    "TRIGGERED": OrderStatus.TRIGGERED,
    "CANCELED": OrderStatus.CANCELED,
    "EXPIRED": OrderStatus.EXPIRED,
    "REJECTED": OrderStatus.REJECTED,
}
"""FINISHED is missing: it tells that the triggered order has ended and not how."""

TYPES: Final = {
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "LIQUIDATION": OrderType.MARKET,
    "STOP": OrderType.STOP_LIMIT,
    "STOP_LOSS": OrderType.STOP_MARKET,
    "STOP_LOSS_LIMIT": OrderType.STOP_LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.STOP_LIMIT,
    "TAKE_PROFIT_LIMIT": OrderType.STOP_LIMIT,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "TRAILING_STOP_MARKET": OrderType.TRAILING_STOP,
}
"""The port has one word for orders that wait for a trigger and then rest at a price."""


def read(decode: Callable[[bytes | msgspec.Raw], _T], raw: bytes | msgspec.Raw, what: str) -> _T:
    """Return what `decode` makes of an answer. Raises CodecError, and nothing else; `what` names the answer."""
    size = memoryview(raw).nbytes
    if size > FRAME_BYTES_MAX:
        raise CodecError(CodecErrorReason.TOO_LARGE, f"{what}: {size} bytes, at most {FRAME_BYTES_MAX} are read")
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        raise CodecError(CodecErrorReason.BAD_FIELD, f"{what}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(CodecErrorReason.NOT_JSON, f"{what}: {error}") from None
    except RecursionError:
        raise CodecError(CodecErrorReason.NOT_JSON, f"{what}: nested too deep") from None


def amount(text: str, name: str) -> Decimal:
    """Return a signed number of at most 20 digits before and after the point. Raises CodecError BAD_NUMBER."""
    if len(text) <= _SHORT and text.isascii() and text.replace(".", "", 1).isdigit():
        return Decimal(text)
    if not _PLAIN.fullmatch(text):
        raise CodecError(CodecErrorReason.BAD_NUMBER, f"{name} {text[:40]!r}: not a plain finite number")
    return Decimal(text)


def not_negative(text: str, name: str) -> Decimal:
    """Return a number of zero or more. Raises CodecError BAD_NUMBER."""
    number = amount(text, name)
    if number < 0:
        raise CodecError(CodecErrorReason.BAD_NUMBER, f"{name} {text}: is negative")
    return number


def positive(text: str, name: str) -> Decimal:
    """Return a number above zero. Raises CodecError BAD_NUMBER."""
    number = amount(text, name)
    if number <= 0:
        raise CodecError(CodecErrorReason.BAD_NUMBER, f"{name} {text}: must be positive")
    return number


def price_or_none(text: str, name: str) -> Decimal | None:
    """Return a price, None for zero and for an empty text: that is how the venue says that there is none."""
    return not_negative(text, name) or None if text else None


def known(table: Mapping[str, _T], word: str, name: str) -> _T:
    """Return what `word` means. Raises CodecError BAD_FIELD for a word that is not in the table."""
    found = table.get(word)
    if found is None:
        raise CodecError(CodecErrorReason.BAD_FIELD, f"{name}: {word[:40]!r} is not known")
    return found
