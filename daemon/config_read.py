"""How a table with mistakes is read all the same, so that one mistake hides no other."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from enum import Enum
from types import NoneType
from typing import Any, Generic, Literal, TypeVar, cast, get_args, get_origin

import attrs
from attrs import Attribute, define, field, frozen

from daemon.config_structure import INSTANTS, ConfigError, is_key, key_of, structure

_T = TypeVar("_T")

_ROUNDS_MAX = 16
_STEP = re.compile(r"\[(\d+)\]|([^.\[]+)")
_STAND_INS: dict[str, tuple[Any, ...]] = {
    "Decimal": ("1", "0.5", "0"),
    "int": (1, 0),
    "float": (1.0, 0.0),
    "str": ("x",),
    "bool": (False,),
}
_MOMENT = ("2026-01-01T00:00:00Z",)
_LENGTH = ("0s", "1s")


@frozen
class Read(Generic[_T]):
    """A table as an object, with something harmless at the `wrong` paths; None when there was no table at all."""

    value: _T | None
    wrong: frozenset[str]

    def is_right(self, path: str) -> bool:
        """Whether nothing at, above or below `path` was wrong."""
        return not any(one == path or is_within(one, path) or is_within(path, one) for one in self.wrong)


def read(table: object, cls: type[_T], path: str, errors: list[ConfigError]) -> Read[_T]:
    """Add every mistake in `table` to `errors`, each once, and return what stands there otherwise.

    What is wrong is replaced, and the table read again, until nothing is: a check of several fields together is only
    made when each can be read. What then follows from a replacement is no mistake of the file.
    """
    return _Reading(deepcopy(table), cls, path, errors).read()


def is_within(path: str, outer: str) -> bool:
    """Whether `path` lies below `outer`."""
    return path.startswith((f"{outer}.", f"{outer}["))


def inner_kind(kind: Any) -> Any:
    """Return the type without its None."""
    kinds = get_args(kind)
    return next((one for one in kinds if one is not NoneType), kind) if NoneType in kinds else kind


@define
class _Reading(Generic[_T]):
    table: Any
    cls: type[_T]
    path: str
    errors: list[ConfigError]
    tries: dict[str, int] = field(factory=dict)

    def read(self) -> Read[_T]:
        told = {error.path for error in self.errors}
        value = None
        for turn in range(_ROUNDS_MAX):
            found: list[ConfigError] = []
            value = structure(self.table, self.cls, self.path, found)
            if value is not None or not isinstance(self.table, dict):
                self.errors += found
                break
            for error in found:
                if error.path not in told and not self._follows(error, is_first=turn == 0):
                    told.add(error.path)
                    self.errors.append(error)
            for error in found:
                self._replace(error)
            if any(error.path == self.path for error in found):
                break
        wrong = set(self.tries) | ({self.path} if value is None else set())
        return Read(value, frozenset(wrong))

    def _follows(self, error: ConfigError, *, is_first: bool) -> bool:
        """Whether a mistake may come from a replacement: it is there, or speaks of a field that was replaced."""
        if is_first:
            return False
        said = {_leaf(error.path), *re.findall(r"\w+", error.why)}
        return any(
            error.path == path or is_within(error.path, path) or _leaf(path) in said or f"{_leaf(path)}_ns" in said
            for path in self.tries
        )

    def _replace(self, error: ConfigError) -> None:
        count = self.tries.get(error.path, 0)
        self.tries[error.path] = count + 1
        self._put(error.path, count)
        if count:
            # A replacement did not help: the mistake lies between this field and the others that it names.
            outer = error.path.removesuffix(_leaf(error.path)).rstrip(".")
            for name in set(re.findall(r"\w+", error.why)) - {_leaf(error.path)}:
                sibling = f"{outer}.{key_of(name)}"
                if self._put(sibling, 0):
                    self.tries.setdefault(sibling, 1)

    def _put(self, path: str, count: int) -> bool:
        """Replace what stands at `path`, or take it out; False where the class knows no such place."""
        holder, kind, one = self.table, self.cls, None
        steps = list(_steps(self.table, path.removeprefix(self.path).lstrip(".")))
        for depth, step in enumerate(steps):
            outer, kind, one = kind, *_below(kind, step)
            if depth < len(steps) - 1:
                if not isinstance(holder, dict | list):
                    return False
                holder = cast(Any, holder)[step]
            elif isinstance(holder, list) and isinstance(step, int):
                holder[step] = _stand_in(kind, one, count)
                return True
            elif isinstance(holder, dict):
                holder.pop(step, None)
                if attrs.has(outer) and one is not None and (count or not _has_default(one)):
                    holder[step] = _stand_in(kind, one, count)
                return one is not None
        return False


def _leaf(path: str) -> str:
    return re.split(r"[.\]]", path.rstrip("]"))[-1].partition("[")[0]


def _steps(table: Any, rest: str) -> Iterator[str | int]:
    """Yield the keys and indices of a path; a key may itself hold a dot, so the longest that exists is meant."""
    while rest:
        keys = table if isinstance(table, dict) else ()
        known = [key for key in keys if rest == key or is_within(rest, key)]
        if known:
            key: str | int = max(known, key=len)
            rest = rest[len(str(key)) :]
        else:
            match = _STEP.match(rest)
            if match is None:
                return
            key, rest = int(match[1]) if match[1] else match[2], rest[match.end() :]
        yield key
        rest = rest.removeprefix(".")
        try:
            table = table[key]
        except (KeyError, IndexError, TypeError):
            table = None


def _below(kind: Any, step: str | int) -> "tuple[Any, Attribute[Any] | None]":
    """Return the type at one step below `kind`, with the field where there is one."""
    if attrs.has(kind):
        for one in attrs.fields(kind):
            if is_key(one) and key_of(one.name) == step:
                return inner_kind(one.type), one
        return None, None
    kinds = get_args(kind)
    if get_origin(kind) in {tuple, list} and kinds:
        return inner_kind(kinds[0]), None
    if isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping) and len(kinds) == 2:
        return inner_kind(kinds[1]), None
    return None, None


def _has_default(one: "Attribute[Any]") -> bool:
    # A list of tables is replaced by one with something in it: nothing there would mean something else.
    is_list_of_tables = get_origin(one.type) is tuple and attrs.has(get_args(one.type)[0])
    return one.default is not attrs.NOTHING and not is_list_of_tables


def _stand_in(kind: Any, one: "Attribute[Any] | None", count: int) -> Any:
    name = "" if one is None else one.name
    origin = get_origin(kind)
    if origin in {tuple, list}:
        return [_stand_in(get_args(kind)[0], one, count)]
    if attrs.has(kind) or (origin is not None and isinstance(origin, type) and issubclass(origin, Mapping)):
        return {}
    if name in INSTANTS or name.endswith("_ns"):
        choices: tuple[Any, ...] = _MOMENT if name in INSTANTS else _LENGTH
    elif origin is Literal:
        choices = get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        choices = tuple(each.value if isinstance(each.value, str) else each.name.lower() for each in kind)
    else:
        choices = _STAND_INS.get(getattr(kind, "__name__", ""), ("x",))
    return choices[count % len(choices)]
