"""What is a call, and how answers are written: newline-delimited JSON-RPC 2.0, read strictly. Sockets are elsewhere.

    > {"jsonrpc":"2.0","id":1,"method":"kill","params":{"level":"flatten"}}
    < {"jsonrpc":"2.0","id":1,"result":{...}}
    < {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"...","data":{"field":"params.level"}}}
    < {"jsonrpc":"2.0","method":"event","params":{...}}        a notification, from the server alone

Stricter than the standard: every call has an id (a text or an integer), params are an object, there are no batches, and
unknown fields, repeated keys, numbers that are not finite and nesting beyond DEPTH_MAX are refused. What cannot be
read is answered with the id null and changes nothing, also not how the next frame is read.
"""

import json
import re
from enum import IntEnum
from typing import Any, Never, TypeGuard, TypeVar

import msgspec
from attrs import frozen

FRAME_BYTES_MAX = 64 * 1024
DEPTH_MAX = 16
ID_CHARS_MAX = 128
_ID_BITS = 53
_FIELDS = frozenset({"jsonrpc", "id", "method", "params"})
_PATH = re.compile(r" - at `\$(.*)`$")
_NAMED = re.compile(r"(?:unknown|required) field `([^`]*)`")

Id = str | int | None
_P = TypeVar("_P", bound=msgspec.Struct)


class Code(IntEnum):
    """Why a call was not answered with a result. The first five are the standard's, the others this server's."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    REFUSED = -32000
    NOT_JOURNALED = -32001
    FORBIDDEN = -32002
    RATE = -32003
    TOO_MANY_CONNECTIONS = -32004
    TOO_LARGE = -32005
    TIMEOUT = -32006


class CallError(Exception):
    """Something is wrong with a call. `field` names the part that is, as `params.level`; `id` is null when unknown."""

    def __init__(self, code: Code, message: str, *, field: str = "", id: Id = None) -> None:  # noqa: A002 - its name
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.id = id


class OversizeError(ValueError):
    """A frame is longer than FRAME_BYTES_MAX: where the next one begins is not known any more."""


@frozen
class Request:
    """A call whose envelope is sound; whether there is such a method and its params fit is another question."""

    id: str | int
    method: str
    params: dict[str, Any]


class FrameBuffer:
    """Cuts a stream of bytes into frames."""

    def __init__(self, limit: int = FRAME_BYTES_MAX) -> None:
        self._limit = limit
        self._rest = bytearray()

    @property
    def is_partial(self) -> bool:
        """Whether the beginning of a frame has come and its end has not."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are whole now, without their newlines. Raises OversizeError; none is returned then."""
        first, *others = data.split(b"\n")
        self._rest += first
        if not others:
            self._check(len(self._rest))
            return []
        frames = [bytes(self._rest), *others[:-1]]
        self._rest = bytearray(others[-1])
        self._check(max(map(len, frames)), len(self._rest))
        return frames

    def _check(self, *lengths: int) -> None:
        if max(lengths) > self._limit:
            raise OversizeError(f"a frame is longer than {self._limit} bytes")


# Reading


def parse_request(frame: bytes) -> Request:
    """Return the call in a frame. Raises CallError with the id null."""
    call = _parse(frame)
    if not isinstance(call, dict):
        what = "batches are not taken" if isinstance(call, list) else "a call is an object"
        raise CallError(Code.INVALID_REQUEST, what)
    for name in call:
        if name not in _FIELDS:
            raise CallError(Code.INVALID_REQUEST, f"unknown field {name[:ID_CHARS_MAX]!r}", field=name[:ID_CHARS_MAX])
    if call.get("jsonrpc") != "2.0":
        raise CallError(Code.INVALID_REQUEST, 'jsonrpc must be "2.0"', field="jsonrpc")
    asked = call.get("id")
    if not _is_id(asked):
        raise CallError(
            Code.INVALID_REQUEST,
            f"every call needs an id: a text of 1 to {ID_CHARS_MAX} characters, or an integer below 2^{_ID_BITS}",
            field="id",
        )
    method, params = call.get("method"), call.get("params", {})
    if not isinstance(method, str):
        raise CallError(Code.INVALID_REQUEST, "method must be a text", field="method")
    if not isinstance(params, dict):
        raise CallError(Code.INVALID_REQUEST, "params must be an object", field="params")
    return Request(asked, method, params)


def _is_id(value: Any) -> TypeGuard[str | int]:
    if isinstance(value, str):
        return 0 < len(value) <= ID_CHARS_MAX
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << _ID_BITS


def parse_params(params: dict[str, Any], kind: type[_P], id: Id) -> _P:  # noqa: A002 - its name
    """Return the params as a `kind`. Raises CallError naming the field that does not fit."""
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        path, named = _PATH.search(text), _NAMED.search(text)
        field = f"params{path[1] if path else ''}{f'.{named[1]}' if named else ''}"
        said = _PATH.sub("", text).replace("Object", "params", 1)
        raise CallError(Code.INVALID_PARAMS, f"{field}: {said}", field=field, id=id) from error


def _parse(frame: bytes) -> Any:
    try:
        value = _DECODER.decode(frame.decode())
        _inspect(value, 1)
    except UnicodeError as error:
        raise CallError(Code.PARSE, f"not UTF-8: {error.reason}") from error  # type: ignore[attr-defined]
    except RecursionError as error:
        raise CallError(Code.PARSE, f"nested deeper than {DEPTH_MAX}") from error
    except json.JSONDecodeError as error:
        raise CallError(Code.PARSE, f"not JSON: {error.msg} at character {error.pos}") from error
    except ValueError as error:
        raise CallError(Code.PARSE, f"not JSON: {str(error)[:200]}") from error
    return value


def _inspect(value: Any, depth: int) -> None:
    """Raise ValueError for what no answer or journal could carry: too deep, or half a character."""
    if isinstance(value, str):
        value.encode()
        return
    if not isinstance(value, dict | list):
        return
    if depth > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        for key, inner in value.items():
            key.encode()
            _inspect(inner, depth + 1)
    else:
        for inner in value:
            _inspect(inner, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:ID_CHARS_MAX]!r} comes twice")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is not finite")
    return number


def _no_constant(text: str) -> Never:
    raise ValueError(f"{text} is not a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)


class _IdOnly(msgspec.Struct):
    id: str | int | None = None


_IDS = msgspec.json.Decoder(type=_IdOnly)


def id_of(frame: bytes) -> Id:
    """Return the id of a frame that is not read any further, None when that cannot be told at once."""
    try:
        found = _IDS.decode(frame).id
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if _is_id(found) else None


# Writing

_ENCODER = msgspec.json.Encoder()
_CANONICAL = msgspec.json.Encoder(order="sorted")


def canonical(params: msgspec.Struct) -> str:
    """Return params as they are journaled: keys sorted, defaults included."""
    return _CANONICAL.encode(params).decode()


def result_frame(id: Id, result: Any) -> bytes:  # noqa: A002 - its name
    """Return an answer. Raises TypeError, ValueError for a result that is no JSON; decimals become texts."""
    return _frame({"jsonrpc": "2.0", "id": id, "result": result})


def error_frame(error: CallError) -> bytes:
    told: dict[str, Any] = {"code": int(error.code), "message": error.message}
    if error.field:
        told["data"] = {"field": error.field}
    return _frame({"jsonrpc": "2.0", "id": error.id, "error": told})


def event_frame(params: Any) -> bytes:
    """Return a notification. Raises TypeError, ValueError as `result_frame` does."""
    return _frame({"jsonrpc": "2.0", "method": "event", "params": params})


def _frame(value: dict[str, Any]) -> bytes:
    return _ENCODER.encode(value) + b"\n"
