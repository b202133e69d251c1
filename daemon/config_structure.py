"""How a TOML table becomes a frozen attrs object, every mistake found at once.

Rules of every table: keys are field names; a field `stale_ns` is written `stale = "5s"`; numbers of type Decimal are
strings or integers; nothing is negative unless its field says `metadata={"signed": True}`; unknown keys are mistakes.
A field with `metadata={"composed": True}` is no key: the composition fills it in from other tables.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum, IntEnum, StrEnum
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import attrs
from attrs import Attribute, frozen
from cattrs import BaseConverter, ClassValidationError, Converter, ForbiddenExtraKeysError, IterableValidationError
from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory, mapping_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from venues.model.money import NotANumberError, parse_decimal

_T = TypeVar("_T")

UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)", re.ASCII)
_FRACTION = re.compile(r"\.(\d{1,9})(?!\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = frozenset({"start_ns", "expiry_ns", "close_out_ns"})
"""Fields that hold a moment, not a length of time."""

_NAMED = re.compile(r"(\w+)((?:\[\d+\])?(?:\.[\w:.-]+)?): ", re.ASCII)
"""How a validator says which field it means, and where in it."""
_SECRET = re.compile(
    r"(^|_)(secret|password|passwd|passphrase|token|credentials?|(api|private|access)_?key)$|^secret", re.IGNORECASE
)
_ASSET_TABLES = frozenset({"balances", "leverage"})
_ASSET = re.compile(r"[A-Z0-9]+", re.ASCII)
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_SHOWN = 40


class ConfigError(ValueError):
    """One mistake: `path` names where it stands (file and key once loaded, only the key before), `why` what it is."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class _UnfitError(ValueError):
    """A value that does not fit its field; the text says why, without the key. `within` is a path inside the value."""

    def __init__(self, why: str, within: str = "") -> None:
        super().__init__(why)
        self.within = within


@frozen
class Credential:
    """A secret by name: a systemd credential or a file readable by its owner alone, never the secret itself."""

    credential: str


class _Duration(int):
    """Names to cattrs what is written as a duration; the value is a plain int."""


class _OthersNeeded:
    """Stands in for the instance while one field is checked alone: a validator that looks at others waits."""

    def __getattr__(self, name: str) -> Any:
        raise _OthersNeededError(name)


class _OthersNeededError(Exception):
    pass


def structure(table: object, cls: type[_T], path: str, errors: list[ConfigError]) -> _T | None:
    """Return `table` as a `cls` (an attrs class), or None after adding every mistake in it to `errors`.

    `path` is the table's own key path, such as `strategies[0].params`.
    """
    try:
        return _converter().structure(table, cls)
    except (ClassValidationError, IterableValidationError, ValueError) as error:
        errors.extend(_mistakes(error, path, cls))
        return None


def key_of(field: str) -> str:
    """Return the TOML key of an attrs field."""
    return field.removesuffix("_ns")


def is_key(one: "Attribute[Any]") -> bool:
    """Whether a field stands in the file, rather than being known from elsewhere in it or computed."""
    return one.init and not one.metadata.get("composed")


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Return what to say of a key that nothing reads, with the likely meaning."""
    return f"unknown key{did_you_mean(key, known)}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """Return `value` for a message, cut short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


# Secrets


def take_secrets(table: Any, path: str, errors: list[ConfigError]) -> Any:
    """Return `table` without secrets written out; each is a mistake, named by its key and never by its value."""
    if isinstance(table, list):
        return [take_secrets(item, f"{path}[{index}]", errors) for index, item in enumerate(table)]
    if not isinstance(table, dict):
        return table
    kept = {}
    for key, value in table.items():
        here = join(path, key)
        is_asset = path.rpartition(".")[2] in _ASSET_TABLES and _ASSET.fullmatch(key)
        if is_asset or not _SECRET.search(key.replace("-", "_")):
            kept[key] = take_secrets(value, here, errors)
        elif _is_credential(value):
            kept[key] = value
        else:
            errors.append(ConfigError(here, 'secrets are not written here; refer to one: { credential = "name" }'))
    return kept


def _is_credential(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"credential"}:
        return False
    name = value["credential"]
    return isinstance(name, str) and _CREDENTIAL.fullmatch(name) is not None


def join(path: str, key: str) -> str:
    """Return the path of `key` below `path`."""
    return f"{path}.{key}" if path else key


# Times


def parse_duration(text: object) -> int:
    """Return a length of time such as "100ms" or "1.5h" in nanoseconds, exactly. Raises ValueError."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise _UnfitError(f"expected a duration such as '250ms', '5s', '10m' or '8h', got {shown(text)}")
    length = Decimal(match[1]) * UNITS[match[2]]
    if length != length.to_integral_value():
        raise _UnfitError(f"{text!r} is not a whole number of nanoseconds")
    return int(length)


def parse_instant(value: object) -> int:
    """Return an ISO 8601 moment in UTC (a TOML date-time, or a string) in nanoseconds since 1970, exactly."""
    nanoseconds = 0
    if isinstance(value, str):
        fraction = _FRACTION.search(value)
        try:
            moment = datetime.fromisoformat(_FRACTION.sub("", value))
        except ValueError:
            raise _UnfitError(f"expected a moment such as '2026-01-15T15:00:00Z', got {shown(value)}") from None
        nanoseconds = int(fraction[1].ljust(9, "0")) if fraction else 0
    elif isinstance(value, datetime):
        moment = value
    else:
        raise _UnfitError(f"expected a moment such as '2026-01-15T15:00:00Z', got {shown(value)}")
    if moment.utcoffset() != timedelta(0):
        raise _UnfitError(f"{str(value)!r} must be in UTC: end it with Z")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000 + nanoseconds


# Values


def _decimal(value: object, _: object = None) -> Decimal:
    if isinstance(value, float):
        if not isfinite(value):
            raise _UnfitError(f"{value!r} is not a finite number")
        raise _UnfitError(f'a decimal is written as a string, "{value!r}", because a float has lost digits already')
    try:
        return parse_decimal(value, "")
    except NotANumberError as error:
        raise _UnfitError(str(error).removeprefix(": ")) from None


def _integer(value: object, _: object = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _UnfitError(f"expected a whole number, got {shown(value)}")
    return value


def _real(value: object, _: object = None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnfitError(f"expected a number, got {shown(value)}")
    if not isfinite(value):
        raise _UnfitError(f"{value!r} is not a finite number")
    return float(value)


def _text(value: object, _: object = None) -> str:
    if not isinstance(value, str):
        raise _UnfitError(f"expected a string, got {shown(value)}")
    if not value:
        raise _UnfitError("must not be empty")
    return value


def _truth(value: object, _: object = None) -> bool:
    if not isinstance(value, bool):
        raise _UnfitError(f"expected true or false, got {shown(value)}")
    return value


def _choice(value: object, choices: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise _UnfitError(
            f"{shown(value)} is not one of {', '.join(choices)}{did_you_mean(str(value)[:_SHOWN], choices)}"
        )
    return value


def _not_negative(parse: Callable[[object], Any]) -> Callable[[object, object], Any]:
    def hook(value: object, _: object = None) -> Any:
        number = parse(value)
        if number < 0:
            raise _UnfitError(f"must not be negative, got {number}")
        return number

    return hook


def _enum(value: object, kind: type[Enum]) -> Enum:
    by_name = {str(member.value) if isinstance(member, StrEnum) else member.name.lower(): member for member in kind}
    return by_name[_choice(value, list(by_name))]


def _literal(kind: Any) -> Callable[[object, object], str]:
    return lambda value, _: _choice(value, get_args(kind))


# Shapes


def _optional(kind: Any) -> Callable[[object, object], Any]:
    inner = next(one for one in get_args(kind) if one is not NoneType)
    return lambda value, _: _converter().structure(value, inner)


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in {Union, UnionType} and len(get_args(kind)) == 2 and NoneType in get_args(kind)


def _has_origin(*origins: object) -> Callable[[Any], bool]:
    return lambda kind: any(get_origin(kind) is origin for origin in origins)


def _array(kind: Any, converter: BaseConverter) -> Callable[[object, Any], Any]:
    factory = homogenous_tuple_structure_factory if get_origin(kind) is tuple else list_structure_factory
    return _only(list, "an array", factory(kind, converter))


def _mapping(kind: Any, converter: BaseConverter) -> Callable[[object, Any], Any]:
    return _only(dict, "a table", mapping_structure_factory(kind, converter))


def _only(outer: type, said: str, hook: Callable[[Any, Any], Any]) -> Callable[[object, Any], Any]:
    """Let `hook` see nothing but `outer`: cattrs would iterate over a string, too."""

    def checked(value: object, kind: Any) -> Any:
        if not isinstance(value, outer):
            raise _UnfitError(f"expected {said}, got {shown(value)}")
        return hook(value, kind)

    return checked


def _class(cls: Any, converter: BaseConverter) -> Callable[[object, Any], Any]:
    attrs.resolve_types(cls)
    overrides = {
        one.name: override(rename=key_of(one.name), struct_hook=_field(one, converter))
        if is_key(one)
        else override(omit=True)
        for one in attrs.fields(cls)
    }
    return _only(dict, "a table", make_dict_structure_fn(cls, converter, **cast(Any, overrides)))


def _field(one: "Attribute[Any]", converter: BaseConverter) -> Callable[[object, Any], Any]:
    """Return the hook of one field: how it is written, its sign, its own validator."""
    parse = _parser(one, converter)

    def hook(value: object, kind: Any) -> Any:
        parsed = parse(value, kind)
        if one.validator is not None:
            # A validator that looks at other fields runs when the whole object is made.
            with suppress(_OthersNeededError):
                _validate(one, parsed)
        return parsed

    return hook


def _validate(one: "Attribute[Any]", value: object) -> None:
    assert one.validator is not None
    try:
        one.validator(_OthersNeeded(), one, value)
    except (ValueError, TypeError) as error:
        why = str(error.args[0]) if error.args else "not acceptable"
        match = _NAMED.match(why)
        if match is None or match[1] != one.name:
            raise _UnfitError(why.replace(f"'{one.name}' ", "")) from error
        raise _UnfitError(why[match.end() :], key_of(match[2])) from error


def _parser(one: "Attribute[Any]", converter: BaseConverter) -> Callable[[object, Any], Any]:
    if one.name in INSTANTS:
        return lambda value, _: parse_instant(value)
    if one.name.endswith("_ns"):
        length: Any = tuple[_Duration, ...] if get_origin(one.type) is tuple else _Duration
        return lambda value, _: converter.structure(value, length)
    if one.metadata.get("signed"):
        signed = {int: _integer, float: _real, Decimal: _decimal}
        kinds = {one.type, *get_args(one.type)}
        return next(parse for kind, parse in signed.items() if kind in kinds)
    kind: Any = one.type
    return lambda value, _: converter.structure(value, kind)


@cache
def _converter() -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    scalars: dict[type, Callable[[object, object], Any]] = {
        str: _text,
        bool: _truth,
        int: _not_negative(_integer),
        float: _not_negative(_real),
        Decimal: _not_negative(_decimal),
    }
    for scalar, hook in scalars.items():
        converter.register_structure_hook(scalar, hook)
    converter.register_structure_hook(_Duration, lambda value, _: parse_duration(value))
    # Each by name, because cattrs looks along the bases, where str and int come before Enum.
    for base in (Enum, StrEnum, IntEnum):
        converter.register_structure_hook(base, _enum)
    converter.register_structure_hook_factory(_has_origin(Literal), _literal)
    converter.register_structure_hook_factory(_is_optional, _optional)
    converter.register_structure_hook_factory(_has_origin(tuple, list), _array)
    converter.register_structure_hook_factory(_has_origin(dict, Mapping), _mapping)
    converter.register_structure_hook_factory(attrs.has, _class)
    return converter


# Mistakes


def _mistakes(error: BaseException, path: str, cls: Any) -> Iterator[ConfigError]:
    """Turn the tree of cattrs' errors into mistakes, each with its key path."""
    if isinstance(error, ClassValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            yield from _mistakes(inner, join(path, key_of(note.name)), note.type)
        for other in others:
            yield from _mistakes(other, path, error.cl)
    elif isinstance(error, IterableValidationError):
        for inner, index in error.group_exceptions()[0]:
            here = f"{path}[{index.index}]" if isinstance(index.index, int) else join(path, index.index)
            yield from _mistakes(inner, here, index.type)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [key_of(one.name) for one in attrs.fields(error.cl) if is_key(one)]
        for key in sorted(error.extra_fields):
            yield ConfigError(join(path, key), unknown_key(key, known))
    elif isinstance(error, KeyError):
        yield ConfigError(path, "missing")
    elif isinstance(error, _UnfitError):
        yield ConfigError(path + error.within, str(error))
    else:
        within, why = _named_first(str(error), cls)
        yield ConfigError(join(path, within) if within else path, why)


def _named_first(text: str, cls: Any) -> tuple[str, str]:
    """Split "field: why", as a class says of one of its fields, into the field's key path and the rest."""
    match = _NAMED.match(text)
    names = {one.name for one in attrs.fields(cls)} if attrs.has(cls) else set()
    if match is None or match[1] not in names:
        return "", text
    return key_of(match[1]) + key_of(match[2]), text[match.end() :]
