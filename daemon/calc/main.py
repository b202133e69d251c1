"""What `basisd calc` does: answer lines of JSON, check vectors, or answer one question for a person."""

import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from daemon.calc.core import CALCULATIONS, CalcError, Calculation, answer, loads
from daemon.exits import FAILED, USAGE, ExitError
from venues.model.money import NotANumberError, parse_decimal

AREAS = ("crypto", "funding", "cme", "span", "execution")
_AREAS_OF: Mapping[str, tuple[str, ...]] = {
    "binance": ("crypto", "funding"),
    "bybit": ("crypto", "funding"),
    "funding": ("funding",),
    "cme": ("cme",),
    "span": ("span",),
    "exec": ("execution",),
    "slippage": ("execution",),
}
LINE_LIMIT = 16 << 20
"""Bytes of one question; a longer line is answered with an error and skipped."""
_KEYS = frozenset({"id", "calc", "in", "expect", "tol", "source"})


def main(arguments: Namespace) -> int:
    """0 when everything was answered, 1 when a check differs, 2 for a question that cannot be answered."""
    if arguments.list:
        for area in AREAS:
            _enter(area)
        for _, calculation in sorted(CALCULATIONS.items()):
            print(_signature(calculation))
        return 0
    if arguments.check is not None:
        return check(Path(arguments.check))
    if arguments.name is not None:
        return _ask(arguments.name, arguments.pairs)
    for _, line in _lines(sys.stdin.buffer):
        print(json.dumps(respond(line)), flush=True)
    return 0


def _enter(area: str) -> None:
    import_module(f"daemon.calc.{area}")


def _load(name: str) -> None:
    """Import the areas that may hold `name`."""
    for area in _AREAS_OF.get(name.partition(".")[0], ()):
        _enter(area)
        if name in CALCULATIONS:
            return


def _signature(calculation: Calculation) -> str:
    fields = (key if is_needed else f"{key}?" for key, is_needed in calculation.fields.items())
    return f"{calculation.name}  {' '.join(fields)}"


# Lines


def _lines(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield lines that are not blank with their number; of one beyond the limit, its start is yielded."""
    number = 0
    while line := source.readline(LINE_LIMIT + 1):
        number += 1
        rest = line
        while len(line) > LINE_LIMIT and rest and not rest.endswith(b"\n"):
            rest = source.readline(LINE_LIMIT)
        if line.strip():
            yield number, line


def respond(line: str | bytes) -> dict[str, Any]:
    """Return the reply to one line: `out`, or `error` with its type, field and message."""
    return _respond(line)[1]


def _respond(line: str | bytes) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Return the question as far as it could be read, and its reply."""
    reply: dict[str, Any] = {"id": None, "calc": None}
    question: Mapping[str, Any] = {}
    try:
        question = _question(line)
        reply = {"id": _identity(question.get("id")), "calc": None}
        name = question.get("calc")
        if not isinstance(name, str):
            raise CalcError("MissingField" if name is None else "BadValue", "calc", "expected a calculation's name")
        reply["calc"] = name
        for key in question:
            if key not in _KEYS:
                raise CalcError("UnknownField", key, "unknown field")
        if "in" not in question:
            raise CalcError("MissingField", "in", "missing")
        _load(name)
        return question, reply | {"out": answer(name, question["in"])}
    except CalcError as error:
        return question, reply | {"error": {"type": error.kind, "field": error.field, "message": error.message}}


def _question(line: str | bytes) -> Mapping[str, Any]:
    if len(line) > LINE_LIMIT:
        raise CalcError("BadJson", "", f"longer than {LINE_LIMIT} bytes")
    if isinstance(line, bytes):
        try:
            line = line.decode()
        except UnicodeDecodeError as error:
            raise CalcError("BadJson", "", f"not UTF-8 at byte {error.start + 1}") from error
    question = loads(line.rstrip())
    if not isinstance(question, Mapping):
        raise CalcError("BadJson", "", "expected an object")
    return question


def _identity(value: object) -> object:
    """Return an id as it can be written back."""
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise CalcError("BadValue", "id", "expected text or a number")


# Vectors


def check(path: Path) -> int:
    """Run a vector file and print one line per difference; 1 when there is any."""
    differences = vectors = 0
    with _open(path) as file:
        for number, line in _lines(file):
            vectors += 1
            for difference in differs(line):
                differences += 1
                print(f"{path}:{number}: {difference}")
    if not vectors:
        print(f"{path}: no vectors")
        return FAILED
    return FAILED if differences else 0


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ExitError(f"{path}: {error.strerror or error}") from error


def differs(line: str | bytes) -> Iterator[str]:
    """Yield what a vector's answer lacks or has otherwise than expected.

    `{"error": ...}` is expected with the keys to compare, or as true for any error.
    """
    vector, reply = _respond(line)
    name = " ".join(str(part) for part in (reply["id"], reply["calc"]) if part is not None) or "?"
    expected = vector.get("expect")
    refusal = reply.get("error")
    if not vector and refusal is not None:
        yield f"{name}: {refusal['message']}"
    elif not isinstance(expected, Mapping) or not expected:
        yield f"{name}: no expectation"
    elif "error" in expected:
        if refusal is None:
            yield f"{name}: expected an error, got {json.dumps(reply['out'])}"
        elif expected["error"] is not True:
            yield from _compare(f"{name}: error", expected["error"], refusal, Decimal(0))
    elif refusal is not None:
        yield f"{name}: {refusal['type']} {refusal['field']}: {refusal['message']}"
    else:
        try:
            tolerance = parse_decimal(vector.get("tol", 0), "tol")
        except NotANumberError as error:
            yield f"{name}: {error}"
            return
        yield from _compare(name, expected, reply["out"], tolerance)


def _compare(path: str, expected: object, got: object, tolerance: Decimal) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            if key in got:
                yield from _compare(f"{path}.{key}", value, got[key], tolerance)
            else:
                yield f"{path}.{key}: expected {value}, got nothing"
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from _compare(f"{path}[{index}]", one, other, tolerance)
    elif not _same(expected, got, tolerance):
        yield f"{path}: expected {expected}, got {got}"


def _same(expected: object, got: object, tolerance: Decimal) -> bool:
    if isinstance(expected, bool) or isinstance(got, bool) or expected is None or got is None:
        return expected is got
    one, other = _number(expected), _number(got)
    if one is not None and other is not None:
        return abs(one - other) <= tolerance
    return expected == got


def _number(value: object) -> Decimal | None:
    try:
        return parse_decimal(value, "value")
    except NotANumberError:
        return None


# One question


def _ask(name: str, pairs: list[str]) -> int:
    """Answer `NAME key=value ...`; a value that is JSON is taken as such, anything else as text."""
    _load(name)
    calculation = CALCULATIONS.get(name)
    if calculation is None:
        raise ExitError(f"{name!r} is not a calculation", *_near(name))
    given: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ExitError(f"{pair!r} is not written key=value", *_usage(calculation))
        if key in given:
            raise ExitError(f"{key}: given twice")
        given[key] = value if key in calculation.texts else _value(value)
    try:
        out = answer(name, given)
    except CalcError as error:
        lines = [f"{name}: {error}"]
        if error.kind in ("MissingField", "UnknownField"):
            lines += _usage(calculation)
        raise ExitError(*lines, status=USAGE) from error
    print(_for_a_person(out))
    return 0


def _near(name: str) -> list[str]:
    for area in AREAS:
        _enter(area)
    start = name.partition(".")[0]
    found = [each for each in sorted(CALCULATIONS) if each.startswith(start)] or sorted(CALCULATIONS)
    return [f"there are {', '.join(found)}"]


def _usage(calculation: Calculation) -> list[str]:
    from daemon.calc.words import EXAMPLES  # noqa: PLC0415 - only a person's mistake needs it

    width = max((len(key) + (not needed) for key, needed in calculation.fields.items()), default=0)
    lines = ["it takes (? may be left out)"]
    for key, kind in calculation.kinds.items():
        named = key if calculation.fields[key] else f"{key}?"
        lines.append(f"  {named:{width}}  {kind}")
    example = EXAMPLES.get(calculation.name)
    if example is not None:
        said = " ".join(f"{key}={shlex.quote(value)}" for key, value in example.items())
        lines += ["such as", f"  basisd calc {calculation.name} {said}"]
    return lines


def _value(text: str) -> Any:
    try:
        return loads(text)
    except CalcError:
        return text


def _for_a_person(out: Mapping[str, Any]) -> str:
    """Return one line per number with what it means, lists below their name, numbered from 1."""
    from daemon.calc.words import MEANINGS  # noqa: PLC0415 - bulk questions do not need it

    rows: list[tuple[str, str, str]] = []
    for key, value in out.items():
        meaning = MEANINGS.get(key, "")
        if isinstance(value, list | Mapping) and value:
            rows.append((key, "", meaning))
            items = value.items() if isinstance(value, Mapping) else enumerate(value, start=1)
            rows += [(f"  {name}", _shown(item), "") for name, item in items]
        else:
            rows.append((key, _shown(value), meaning))
    names = max((len(name) for name, _, _ in rows), default=0)
    values = max((len(value) for _, value, _ in rows if len(value) <= 40), default=0)
    return "\n".join(f"{name:{names}}  {value:>{values}}  {meaning}".rstrip() for name, value, meaning in rows)


_PLAIN = {None: "none", True: "yes", False: "no"}


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return _PLAIN[value]
    text = value if isinstance(value, str) else json.dumps(value)
    if not text.isascii():
        return json.dumps(text)[1:-1]
    number = _number(text)
    if number is None or "." not in text:
        return text
    return text.rstrip("0").rstrip(".")
