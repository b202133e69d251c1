"""How what a market and its venues hold is written down: MessagePack of attrs classes, messages with their names.

Decimals are written with the digits they have, floats with all their bits, dicts in their order: what is read back
goes on exactly as what was written.
"""

from functools import cache
from typing import Any, TypeVar

import msgspec
from attrs import frozen

from venues.port import MESSAGES, Message

_T = TypeVar("_T")


class StoredStateError(ValueError):
    """Bytes that are not what this build writes, or that belong to other instruments or accounts."""


@frozen
class StoredMessage:
    """A message by the name of its class, taken apart only when asked for."""

    kind: str
    data: msgspec.Raw

    def message(self) -> Message:
        """Return the message. Raises StoredStateError."""
        if self.kind not in MESSAGES:
            raise StoredStateError(f"no message is called {self.kind!r}")
        try:
            found: Message = _decoder(self.kind).decode(self.data)
        except msgspec.MsgspecError as error:
            raise StoredStateError(f"not a {self.kind}: {error}") from error
        return found


_ENCODER = msgspec.msgpack.Encoder(decimal_format="string")


@cache
def _decoder(kind: str) -> "msgspec.msgpack.Decoder[Any]":
    return msgspec.msgpack.Decoder(type=MESSAGES[kind])


def stored(message: Message) -> StoredMessage:
    """Return a message as it is written down."""
    return StoredMessage(type(message).__name__, msgspec.Raw(_ENCODER.encode(message)))


def to_bytes(state: object) -> bytes:
    """Return the bytes of an attrs object."""
    return _ENCODER.encode(state)


def from_bytes(data: bytes, kind: type[_T]) -> _T:
    """Return the object of `kind` that was written down. Raises StoredStateError."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise StoredStateError(f"not a {kind.__name__}: {error}") from error
