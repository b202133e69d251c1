"""The one way a dispatched input or an intent is written down, and how it is read back.

A record is one line of JSON: keys sorted at every depth, no whitespace, UTF-8 without escapes that JSON does not
demand, decimals as strings with the digits they have, enumerations by value, fields at their default included.

    input   {"kind":"Quote","message":{...},"now":1723075200000000000,"seq":17}
    held    {"is_held":true,"kind":"Quote","message":{...},"now":1723075200000000000,"seq":17}
    intent  {"cause":18,"kind":"SubmitOrder","message":{...},"root":17,"seq":19}

`kind` is the class name of the message (venues.port.MESSAGES), `now` the dispatcher's clock (ns UTC), `is_held` is
there only when views were waiting and stayed so. `journal_sha256` is the SHA-256 over these lines, each followed by
one newline, of all inputs and intents by rising `seq`. Nothing else enters it: no run id, path or wall time.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import attrs
import msgspec

from actors.dispatcher import Intent
from daemon.log.errors import UnreadableRecordError
from venues.port import MESSAGES, Message


class _Input(msgspec.Struct, omit_defaults=True, gc=False):
    kind: str
    message: Message
    now: int
    seq: int
    is_held: bool = False


class _Intent(msgspec.Struct, gc=False):
    cause: int
    kind: str
    message: Message
    root: int
    seq: int


class Record(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One line, taken apart. An intent has `cause` and `root` and no `now`."""

    kind: str
    message: msgspec.Raw
    seq: int
    now: int | None = None
    is_held: bool = False
    cause: int | None = None
    root: int | None = None
    line: bytes = b""

    @property
    def is_intent(self) -> bool:
        return self.cause is not None


_ENCODER = msgspec.json.Encoder(order="sorted")
_RECORDS = msgspec.json.Decoder(type=Record)

encode_message = _ENCODER.encode
"""Return the canonical JSON of one message."""


def input_line(seq: int, now: int, is_held: bool, message: Message) -> bytes:
    """Return the line of an input. Raises UnreadableRecordError for a message that could not be read back."""
    kind = message.__class__
    name, holds_decimals = _NAMES.get(kind) or _name(kind)
    try:
        line: bytes = _ENCODER.encode(_Input(name, message, now, seq, is_held))
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableRecordError(f"{name} at seq {seq} has no canonical form: {error}") from error
    if holds_decimals:
        _refuse_not_finite(line, message)
    return line


def intent_line(intent: Intent) -> bytes:
    """Return the line of an intent. Raises UnreadableRecordError as `input_line` does."""
    command = intent.command
    kind = command.__class__
    name, holds_decimals = _NAMES.get(kind) or _name(kind)
    try:
        line: bytes = _ENCODER.encode(_Intent(intent.cause, name, command, intent.root, intent.seq))
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableRecordError(f"{name} at seq {intent.seq} has no canonical form: {error}") from error
    if holds_decimals:
        _refuse_not_finite(line, command)
    return line


def parse(line: bytes) -> Record:
    """Take a line apart; its message stays bytes. Raises UnreadableRecordError when it is not a record."""
    try:
        record = _RECORDS.decode(line)
    except msgspec.MsgspecError as error:
        raise UnreadableRecordError(f"not a record: {error}") from error
    if (record.cause is None) != (record.root is None) or (record.cause is None) == (record.now is None):
        raise UnreadableRecordError(f"seq {record.seq} is neither an input nor an intent")
    record.line = line
    return record


def message_of(record: Record) -> Message:
    """Return the message of a record.

    Raises UnreadableRecordError when the kind is unknown to this build (or its module was not imported), when the
    fields do not fit or would be written differently by this build, or when a decimal is not finite.
    """
    if record.kind not in MESSAGES:
        raise UnreadableRecordError(f"seq {record.seq}: no message is called {record.kind}")
    raw = bytes(record.message)
    try:
        message: Message = _decoder(record.kind).decode(raw)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise UnreadableRecordError(f"seq {record.seq}: not a {record.kind}: {error}") from error
    if _ENCODER.encode(message) != raw:
        raise UnreadableRecordError(f"seq {record.seq}: this build writes that {record.kind} differently")
    if _holds_decimals(record.kind):
        _refuse_not_finite(raw, message)
    return message


_NAMES: dict[type[Message], tuple[str, bool]] = {}
"""By class what every input of it needs: its name, and whether a decimal can be anywhere in it."""


def _name(kind: type[Message]) -> tuple[str, bool]:
    _NAMES[kind] = kind.__name__, _holds_decimals(kind.__name__)
    return _NAMES[kind]


@cache
def _decoder(kind: str) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(type=MESSAGES[kind])


@cache
def _holds_decimals(name: str) -> bool:
    """Whether a decimal can be anywhere in the message: the others are spared the search for one not finite."""
    if name not in MESSAGES:
        raise UnreadableRecordError(f"{name} is not a registered message")
    seen: set[int] = set()

    def holds(kind: Any) -> bool:
        if isinstance(kind, msgspec.inspect.DecimalType | msgspec.inspect.AnyType | msgspec.inspect.CustomType):
            return True
        if not isinstance(kind, msgspec.inspect.Type | msgspec.inspect.Field) or id(kind) in seen:
            return False
        seen.add(id(kind))
        parts = [getattr(kind, name) for name in kind.__struct_fields__]
        return any(holds(inner) for part in parts for inner in (part if isinstance(part, tuple) else (part,)))

    return holds(msgspec.inspect.type_info(MESSAGES[name]))


def _refuse_not_finite(line: bytes, message: Message) -> None:
    # A text may well say NaN: only then are the fields looked at.
    if b"NaN" in line or b"Infinity" in line:
        path = _not_finite(message)
        if path is not None:
            raise UnreadableRecordError(f"{type(message).__name__}{path} is not a finite number")


def _not_finite(value: object) -> str | None:
    """Return the path to the first decimal below `value` that is not finite."""
    if isinstance(value, Decimal):
        return None if value.is_finite() else ""
    kind = type(value)
    if attrs.has(kind):
        parts = [(f".{field.name}", getattr(value, field.name)) for field in attrs.fields(kind)]
    elif isinstance(value, Mapping):
        parts = [(f"[{key!r}]", inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"[{index}]", inner) for index, inner in enumerate(value)]
    else:
        return None
    for name, inner in parts:
        path = _not_finite(inner)
        if path is not None:
            return name + path
    return None
