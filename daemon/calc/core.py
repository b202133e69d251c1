"""How a question in JSON becomes a call of a rule, and its answer JSON again.

A calculation is a function that takes one attrs object, its input, and returns a dict. It is entered by name with
`@calc(NAME)`. What may stand in an input: Decimal (a string or a JSON number, exact), int, bool, str, enumerations,
datetime (`YYYY-MM-DDTHH:MM:SSZ`), date, tuples, dicts with string keys, nested attrs classes, and `| None`.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen
from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.cols import homogenous_tuple_structure_factory, mapping_structure_factory
from cattrs.gen import make_dict_structure_fn

from venues.model.money import NotANumberError, parse_decimal, to_text
from venues.rules.errors import RuleError

_F = TypeVar("_F", bound=Callable[[Any], dict[str, Any]])


class CalcError(ValueError):
    """A question that cannot be answered. `kind` names the error's type, `field` the input's path."""

    def __init__(self, kind: str, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.kind = kind
        self.field = field
        self.message = message


@frozen
class Calculation:
    """One entry of the calculator."""

    name: str
    given: type[Any]
    function: Callable[[Any], dict[str, Any]]

    @property
    def fields(self) -> dict[str, bool]:
        """The input's fields, in order, each with whether it must be given."""
        return {one.name: one.default is attrs.NOTHING for one in attrs.fields(self.given)}

    @property
    def kinds(self) -> dict[str, str]:
        """The input's fields, in order, each with what may stand there."""
        return {name: _said(kind) for name, kind in _fields(self.given).items()}

    @property
    def texts(self) -> frozenset[str]:
        """The fields that hold text, dates or names, whatever a person writes there."""
        return frozenset(
            name for name, kind in _fields(self.given).items() if _TEXTS.intersection(get_args(kind) or (kind,))
        )


_TEXTS = frozenset({str, date, datetime})
_SAID = {
    Decimal: "number",
    int: "whole number",
    bool: "true or false",
    str: "text",
    date: "date, 2026-01-15",
    datetime: "instant, 2026-01-15T15:00:00Z",
}


def _fields(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in attrs.fields(kind)}


def _said(kind: Any) -> str:
    """Return what may stand where `kind` is expected, for a person."""
    several: Any = get_origin(kind)
    if several is tuple:
        return f"list of {_said(get_args(kind)[0])}"
    if several is dict:
        return f"object of {_said(get_args(kind)[1])} by name"
    if several is not None:
        return _said(next(one for one in get_args(kind) if one is not type(None)))
    if attrs.has(kind):
        parts = [
            f"{name}{'' if one.default is attrs.NOTHING else '?'}" for name, one in attrs.fields_dict(kind).items()
        ]
        return f"{{{' '.join(parts)}}}"
    if issubclass(kind, Enum):
        return " or ".join(str(member.value) for member in kind)
    return _SAID.get(kind, "value")


CALCULATIONS: dict[str, Calculation] = {}


def calc(name: str) -> Callable[[_F], _F]:
    """Enter a function under `name`. Raises ValueError for a name taken twice."""

    def enter(function: _F) -> _F:
        if name in CALCULATIONS:
            raise ValueError(f"two calculations are called {name}")
        hints = get_type_hints(function)
        (given,) = [kind for argument, kind in hints.items() if argument != "return"]
        CALCULATIONS[name] = Calculation(name, given, function)
        return function

    return enter


def answer(name: str, given: object) -> dict[str, Any]:
    """Return the answer as plain JSON data. Raises CalcError."""
    calculation = CALCULATIONS.get(name)
    if calculation is None:
        raise CalcError("UnknownCalculation", "calc", f"{_shown(name)} is not a calculation; --list names them")
    if not isinstance(given, Mapping):
        raise CalcError("BadInput", "in", "expected an object")
    try:
        question = _CONVERTER.structure(given, calculation.given)
    except (BaseValidationError, ValueError) as error:
        raise _first_mistake(error) from error
    except RecursionError as error:
        raise CalcError("BadInput", "in", "nested too deeply") from error
    try:
        return {key: _plain(value) for key, value in calculation.function(question).items()}
    except CalcError:
        raise
    except RuleError as error:
        raise CalcError(type(error).__name__, error.field, error.why) from error
    except (ArithmeticError, ValueError) as error:
        raise CalcError("BadValue", "", f"cannot be calculated: {error or type(error).__name__}") from error
    except (AssertionError, AttributeError, LookupError, RecursionError, TypeError) as error:
        # A mistake of ours; it must not take the other questions down, nor look like an answer.
        raise CalcError("Fault", "", f"{name} failed: {type(error).__name__}: {error}") from error


def loads(text: str) -> Any:
    """Parse JSON with exact numbers. Raises CalcError for what is not JSON, NaN, infinities and keys given twice."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise CalcError("BadJson", "", "nested too deeply") from error
    except ValueError as error:
        if isinstance(error, CalcError):
            raise
        raise CalcError("BadJson", "", f"not JSON: {error}") from error


def _refuse_constant(name: str) -> Any:
    raise CalcError("BadJson", "", f"{name} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise CalcError("BadJson", key, "given twice")
            seen.add(key)
    return made


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique)


# Input


# Beyond this a number is a mistake, and writing it out would take its exponent's worth of digits.
_DIGITS_LIMIT = 60
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _decimal(value: object, _: object) -> Decimal:
    if isinstance(value, bool) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        raise ValueError(f"expected a number, got {_shown(value)}")
    try:
        number = parse_decimal(value, "number")
    except NotANumberError:
        raise ValueError(f"expected a number, got {_shown(value)}") from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_DIGITS_LIMIT or number.adjusted() > _DIGITS_LIMIT:
        raise ValueError(f"has more than {_DIGITS_LIMIT} digits: {_shown(value)}")
    return number


def _exactly(kind: type) -> Callable[[object, type], Any]:
    def check(value: object, wanted: type) -> Any:
        if issubclass(wanted, Enum):
            return _member(value, wanted)
        if type(value) is not kind:
            raise ValueError(f"expected {_NAMES[kind]}, got {_shown(value)}")
        return value

    return check


_NAMES = {int: "a whole number", bool: "true or false", str: "text"}


def _instant(value: object, _: object) -> datetime:
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            pass
    raise ValueError(f"expected an instant such as 2026-01-15T15:00:00Z, got {_shown(value)}")


def _day(value: object, _: object) -> date:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"expected a date such as 2026-01-15, got {_shown(value)}")


_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def _member(value: object, kind: type[Enum]) -> Enum:
    for member in kind:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise ValueError(f"{_shown(value)} is not one of {', '.join(str(member.value) for member in kind)}")


def _object(kind: type[Any], converter: Converter) -> Callable[[object, object], Any]:
    structure = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def check(value: object, _: object) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, got {_shown(value)}")
        return structure(value, kind)

    return check


def _list(kind: Any, converter: Converter) -> Callable[[object, object], Any]:
    structure = homogenous_tuple_structure_factory(kind, converter)

    def check(value: object, _: object) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, got {_shown(value)}")
        return structure(value, kind)

    return check


def _table(kind: Any, converter: Converter) -> Callable[[object, object], Any]:
    structure = mapping_structure_factory(kind, converter)

    def check(value: object, _: object) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, got {_shown(value)}")
        return structure(value, kind)

    return check


def _is_table(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is dict


def _is_tuple(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is tuple


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _object(kind, converter))
    converter.register_structure_hook_factory(_is_table, lambda kind: _table(kind, converter))
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _list(kind, converter))
    for kind in _NAMES:
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(date, _day)
    converter.register_structure_hook(datetime, _instant)
    converter.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _member)
    return converter


_CONVERTER = _converter()


def _first_mistake(error: BaseException, path: str = "") -> CalcError:
    if isinstance(error, ForbiddenExtraKeysError):
        key = min(error.extra_fields)
        return CalcError("UnknownField", f"{path}.{key}".lstrip("."), "unknown field")
    if isinstance(error, ClassValidationError | IterableValidationError):
        noted, plain = error.group_exceptions()
        for inner, note in noted:
            step = f".{note.name}" if isinstance(note, AttributeValidationNote) else _step(note.index)
            return _first_mistake(inner, f"{path}{step}".lstrip("."))
        return _first_mistake(plain[0], path)
    if isinstance(error, KeyError):
        return CalcError("MissingField", path, "missing")
    if isinstance(error, RuleError):
        return CalcError(type(error).__name__, f"{path}.{error.field}".lstrip("."), error.why)
    return CalcError("BadValue", path, str(error))


def _step(index: object) -> str:
    return f"[{index}]" if isinstance(index, int) else f".{index}"


# Output


def _plain(value: object) -> Any:
    if isinstance(value, Decimal):
        return to_text(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
