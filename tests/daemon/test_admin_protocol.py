"""A call is read strictly: what is not exactly one is refused, by code and by the name of the part that is wrong."""

import json
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.admin.protocol import (
    DEPTH_MAX,
    FRAME_BYTES_MAX,
    CallError,
    Code,
    FrameBuffer,
    OversizeError,
    canonical,
    error_frame,
    event_frame,
    id_of,
    parse_params,
    parse_request,
    result_frame,
)


def nested(depth: int) -> bytes:
    """Return a call whose params make its frame `depth` deep."""
    return b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + b'{"a":' * (depth - 1) + b"1" + b"}" * depth


GOOD = [
    (b'{"jsonrpc":"2.0","id":1,"method":"status"}', (1, "status", {})),
    (b'{"params":{"a":[1,{"b":null}]},"method":"m","id":"x","jsonrpc":"2.0"}', ("x", "m", {"a": [1, {"b": None}]})),
    (b' {"jsonrpc" : "2.0", "id":-3, "method":"m", "params":{}} \r', (-3, "m", {})),
    ('{"jsonrpc":"2.0","id":"ü","method":"\\u20ac"}'.encode(), ("ü", "€", {})),
    (b'{"jsonrpc":"2.0","id":9007199254740991,"method":"m","params":{"a":1.5e3}}', (2**53 - 1, "m", {"a": 1500.0})),
]


@pytest.mark.parametrize(("frame", "call"), GOOD)
def test_a_call_is_read(frame: bytes, call: tuple[Any, ...]) -> None:
    request = parse_request(frame)
    assert (request.id, request.method, request.params) == call


def test_nesting_is_taken_up_to_its_limit() -> None:
    parse_request(nested(DEPTH_MAX))
    for depth in (DEPTH_MAX + 1, 10_000):
        with pytest.raises(CallError, match="nested deeper than 16"):
            parse_request(nested(depth))


BAD = [
    (b"", Code.PARSE, "", "not JSON"),
    (b"status", Code.PARSE, "", "not JSON"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m"', Code.PARSE, "", "not JSON"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m"} {}', Code.PARSE, "", "not JSON: Extra data"),
    (b'\xff{"id":1}', Code.PARSE, "", "not UTF-8"),
    (b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}', Code.PARSE, "", "not UTF-8"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"\\ud800"}}', Code.PARSE, "", "not UTF-8"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"\\udfff":1}}', Code.PARSE, "", "not UTF-8"),
    (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}', Code.PARSE, "", "the key 'id' comes twice"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":{"b":1,"b":1}}}', Code.PARSE, "", "the key 'b' comes twice"),
    (b'{"jsonrpc":"2.0","id":NaN,"method":"m"}', Code.PARSE, "", "NaN is not a number"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":-Infinity}}', Code.PARSE, "", "-Infinity is not a number"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1e999}}', Code.PARSE, "", "1e999 is not finite"),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"m"}', Code.PARSE, "", "not JSON"),
    (b"[" * 60_000, Code.PARSE, "", "nested deeper"),
    (b"1", Code.INVALID_REQUEST, "", "a call is an object"),
    (b"null", Code.INVALID_REQUEST, "", "a call is an object"),
    (b"[]", Code.INVALID_REQUEST, "", "batches are not taken"),
    (b'[{"jsonrpc":"2.0","id":1,"method":"status"}]', Code.INVALID_REQUEST, "", "batches are not taken"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","extra":1}', Code.INVALID_REQUEST, "extra", "unknown field"),
    (b'{"id":1,"method":"m"}', Code.INVALID_REQUEST, "jsonrpc", "jsonrpc must be"),
    (b'{"jsonrpc":2.0,"id":1,"method":"m"}', Code.INVALID_REQUEST, "jsonrpc", "jsonrpc must be"),
    (b'{"jsonrpc":"2.0","method":"m"}', Code.INVALID_REQUEST, "id", "every call needs an id"),
    (b'{"jsonrpc":"2.0","id":null,"method":"m"}', Code.INVALID_REQUEST, "id", "every call needs an id"),
    (b'{"jsonrpc":"2.0","id":true,"method":"m"}', Code.INVALID_REQUEST, "id", "every call needs an id"),
    (b'{"jsonrpc":"2.0","id":1.0,"method":"m"}', Code.INVALID_REQUEST, "id", "every call needs an id"),
    (b'{"jsonrpc":"2.0","id":"","method":"m"}', Code.INVALID_REQUEST, "id", "every call needs an id"),
    (b'{"jsonrpc":"2.0","id":9007199254740992,"method":"m"}', Code.INVALID_REQUEST, "id", "every call needs an id"),
    (
        b'{"jsonrpc":"2.0","id":"' + b"x" * 129 + b'","method":"m"}',
        Code.INVALID_REQUEST,
        "id",
        "every call needs an id",
    ),
    (b'{"jsonrpc":"2.0","id":1}', Code.INVALID_REQUEST, "method", "method must be a text"),
    (b'{"jsonrpc":"2.0","id":1,"method":["m"]}', Code.INVALID_REQUEST, "method", "method must be a text"),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}', Code.INVALID_REQUEST, "params", "params must be an object"),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":null}',
        Code.INVALID_REQUEST,
        "params",
        "params must be an object",
    ),
]


@pytest.mark.parametrize(("frame", "code", "field", "said"), BAD, ids=[repr(frame[:60]) for frame, *_ in BAD])
def test_what_is_no_call_is_refused_with_the_id_null(frame: bytes, code: Code, field: str, said: str) -> None:
    with pytest.raises(CallError) as caught:
        parse_request(frame)
    error = caught.value
    assert (error.code, error.field, error.id) == (code, field, None)
    assert said in error.message
    told = json.loads(error_frame(error))
    assert told["id"] is None
    assert told["error"]["code"] == code


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    deep: int


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    level: Annotated[str, msgspec.Meta(max_length=5)]
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    part: _Part | None = None


UNFIT = [
    ({}, "params.level"),
    ({"level": 1}, "params.level"),
    ({"level": "longer"}, "params.level"),
    ({"level": "x", "count": 0}, "params.count"),
    ({"level": "x", "count": "1"}, "params.count"),
    ({"level": "x", "count": 1.5}, "params.count"),
    ({"level": "x", "count": True}, "params.count"),
    ({"level": "x", "levle": "x"}, "params.levle"),
    ({"level": "x", "part": {"deep": "x"}}, "params.part.deep"),
    ({"level": "x", "part": {"deeper": 1}}, "params.part.deeper"),
    ({"level": "x", "part": {}}, "params.part.deep"),
]


@pytest.mark.parametrize(("params", "field"), UNFIT)
def test_params_that_do_not_fit_name_the_field(params: dict[str, Any], field: str) -> None:
    with pytest.raises(CallError) as caught:
        parse_params(params, _Params, 7)
    assert (caught.value.code, caught.value.field, caught.value.id) == (Code.INVALID_PARAMS, field, 7)


def test_params_are_journaled_in_one_form() -> None:
    made = parse_params({"part": {"deep": 2}, "level": "x"}, _Params, 1)
    assert canonical(made) == '{"count":1,"level":"x","part":{"deep":2}}'


def test_answers_are_single_lines() -> None:
    assert result_frame(1, {"b": "x\ny", "a": None}) == b'{"jsonrpc":"2.0","id":1,"result":{"b":"x\\ny","a":null}}\n'
    assert error_frame(CallError(Code.REFUSED, "no", field="params.x", id="a")) == (
        b'{"jsonrpc":"2.0","id":"a","error":{"code":-32000,"message":"no","data":{"field":"params.x"}}}\n'
    )
    assert event_frame({"number": 1}) == b'{"jsonrpc":"2.0","method":"event","params":{"number":1}}\n'


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"m"}', 7),
        (b'{"id":"x","more":[[[1]]]}', "x"),
        (b'{"id":1.5}', None),
        (b'{"id":""}', None),
        (b"nonsense", None),
        (b"[" * 60_000, None),
    ],
)
def test_the_id_of_a_frame_that_is_not_read(frame: bytes, found: Any) -> None:
    assert id_of(frame) == found


# Frames


@given(st.lists(st.binary(max_size=40).map(lambda one: one.replace(b"\n", b"")), max_size=12), st.data())
def test_frames_come_out_whole_however_the_stream_is_cut(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame + b"\n" for frame in frames)
    buffer, found, at = FrameBuffer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        found += buffer.feed(stream[at : at + step])
        at += step
    assert found == frames
    assert not buffer.is_partial


def test_a_frame_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = b"x" * FRAME_BYTES_MAX
    assert FrameBuffer().feed(longest + b"\n") == [longest]
    buffer = FrameBuffer()
    assert buffer.feed(longest) == []
    assert buffer.is_partial
    assert buffer.feed(b"\n") == [longest]
    for data in (longest + b"x", longest + b"x\n", b"ok\n" + longest + b"x\n", b"ok\n" + longest + b"x"):
        with pytest.raises(OversizeError):
            FrameBuffer().feed(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_call_or_an_error(frame: bytes) -> None:
    code = None
    try:
        parse_request(frame)
    except CallError as error:
        code = json.loads(error_frame(error))["error"]["code"]
    assert code in (None, Code.PARSE, Code.INVALID_REQUEST)
