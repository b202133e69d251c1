"""Decides what a value in a scenario document may be: strict readers that know where in the document they are."""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from venues.model.money import NotANumberError, parse_decimal

T = TypeVar("T")

_DIGITS_MAX = 18

# Decimal itself also takes underscores, blanks and the digits of other scripts.
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class ScenarioError(ValueError):
    """A scenario that says something it may not. `path` is the place in the document, `file` the document if known."""

    def __init__(self, path: str, why: str, file: str = "") -> None:
        where = f"{file}: {path}" if file and path else file or path
        super().__init__(f"{where}: {why}" if where else why)
        self.path = path
        self.why = why
        self.file = file


class _Object(dict[str, Any]):
    """A JSON object that remembers the key it named twice."""

    twice: str | None = None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object()
    for key, value in pairs:
        if key in found:
            found.twice = key
        found[key] = value
    return found


def load(text: str) -> object:
    """Return the document. Raises ScenarioError for text that is not JSON."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ScenarioError("", f"not JSON: {error}") from None


def join(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def decimal(value: object, path: str) -> Decimal:
    """Return a decimal written as a string. Raises ScenarioError for JSON numbers, NaN and infinities."""
    if not isinstance(value, str):
        raise ScenarioError(path, f"expected a decimal written as a string, got {value!r}")
    try:
        number = parse_decimal(value, path) if _DECIMAL.fullmatch(value) else None
    except NotANumberError:
        number = None
    if number is None:
        raise ScenarioError(path, f"{value!r} is not a finite decimal")
    if number.adjusted() >= _DIGITS_MAX or -int(number.as_tuple().exponent) > _DIGITS_MAX:
        raise ScenarioError(path, f"{value!r} has more than {_DIGITS_MAX} digits before or after the point")
    return number


def integer(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScenarioError(path, f"expected an integer, got {value!r}")
    return value


def text(value: object, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise ScenarioError(path, f"expected a text, got {value!r}")
    return value


def boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise ScenarioError(path, f"expected true or false, got {value!r}")
    return value


def array(value: object, path: str) -> list[object]:
    if not isinstance(value, list):
        raise ScenarioError(path, f"expected a list, got {value!r}")
    return value


def one_of(table: Mapping[str, T]) -> Callable[[object, str], T]:
    """Return a reader of one of the table's words."""

    def read(value: object, path: str) -> T:
        if not isinstance(value, str) or value not in table:
            raise ScenarioError(path, f"{value!r} is not one of {', '.join(table)}")
        return table[value]

    return read


class Fields:
    """One object of the document. Every key must be read before `done`; null counts as absent."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise ScenarioError(path, f"expected an object, got {value!r}")
        if isinstance(value, _Object) and value.twice is not None:
            raise ScenarioError(join(path, value.twice), "key given twice")
        for key in value:
            if not isinstance(key, str):
                raise ScenarioError(path, f"keys are texts, got {key!r}")
        self.path = path
        self._value: dict[str, object] = value
        self._read: set[str] = set()

    def at(self, key: str) -> str:
        return join(self.path, key)

    def has(self, key: str) -> bool:
        return self._value.get(key) is not None

    def keys(self) -> list[str]:
        return list(self._value)

    def all(self) -> dict[str, object]:
        """Return the whole object, every key read."""
        self._read.update(self._value)
        return dict(self._value)

    def need(self, key: str, read: Callable[[object, str], T]) -> T:
        """Return a key that must be there."""
        self._read.add(key)
        if key not in self._value:
            raise ScenarioError(self.at(key), "missing")
        return read(self._value[key], self.at(key))

    def get(self, key: str, read: Callable[[object, str], T], default: T) -> T:
        """Return a key that may be absent or null."""
        found = self.maybe(key, read)
        return default if found is None else found

    def maybe(self, key: str, read: Callable[[object, str], T]) -> T | None:
        """Return a key, None when it is absent or null."""
        self._read.add(key)
        value = self._value.get(key)
        return None if value is None else read(value, self.at(key))

    def refuse(self, key: str, why: str) -> None:
        """Refuse a key that is given."""
        self._read.add(key)
        if self.has(key):
            raise ScenarioError(self.at(key), why)

    def done(self) -> None:
        """Refuse keys that nobody read."""
        for key in self._value:
            if key not in self._read:
                raise ScenarioError(self.at(key), "unknown key")
