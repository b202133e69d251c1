"""How messages of the vocabulary travel between our own processes: one line of JSON each.

    {"kind":"CancelAll","message":{"account":"futures","instrument":null,"ts":1768492200000000000}}

`kind` is the class name in venues.port.MESSAGES, the message is written as the log writes it. Lines are bounded: a peer
that sends more than `LINE_BYTES_MAX` without a newline, or a line that is no message, is not understood any more.
"""

from functools import cache
from typing import Any

import msgspec

from daemon.log.canonical import encode_message
from venues.port import MESSAGES, Message

LINE_BYTES_MAX = 4 * 1024 * 1024


class WireError(ValueError):
    """What a peer sent is not a message; the connection cannot go on."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    message: msgspec.Raw


_ENVELOPES = msgspec.json.Decoder(type=_Envelope)


_MIDDLE = b',"message":'
_HEADS: "dict[bytes, msgspec.json.Decoder[Any]]" = {}
"""By what precedes the message in a line as `encode` writes it: the decoder of its kind. Filled as kinds come."""


@cache
def _decoder(kind: str) -> "msgspec.json.Decoder[Any]":
    decoder = msgspec.json.Decoder(type=MESSAGES[kind])
    _HEADS[b'{"kind":"%b"' % kind.encode()] = decoder
    return decoder


def encode(message: Message) -> bytes:
    """Return the message as one line, newline included."""
    return b'{"kind":"%b","message":%b}\n' % (message.__class__.__name__.encode(), encode_message(message))


def decode(line: bytes) -> Message:
    """Return the message of one line. Raises WireError."""
    end = line.find(_MIDDLE)
    decoder = _HEADS.get(line[:end])
    if decoder is not None and line[-1:] == b"}":
        try:
            quick: Message = decoder.decode(line[end + len(_MIDDLE) : -1])
        except (msgspec.MsgspecError, ValueError):
            # Perhaps all the same a message, only written otherwise.
            return _decode(line)
        return quick
    return _decode(line)


def _decode(line: bytes) -> Message:
    try:
        envelope = _ENVELOPES.decode(line)
        if envelope.kind not in MESSAGES:
            raise WireError(f"no message is called {envelope.kind!r}")
        message: Message = _decoder(envelope.kind).decode(envelope.message)
    except (msgspec.MsgspecError, ValueError) as error:
        raise WireError(f"not a message: {error}") from error
    return message


class LineBuffer:
    """Cuts a stream of bytes into lines. Raises WireError for a line longer than `limit` bytes."""

    def __init__(self, limit: int = LINE_BYTES_MAX) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now, without their newlines."""
        lines = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._limit:
            raise WireError(f"a line of more than {self._limit} bytes")
        return lines
