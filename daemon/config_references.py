"""Which accounts, instruments and venues a table names, found in what is written there, right or wrong otherwise."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import attrs
from attrs import Attribute, frozen

from daemon.config_read import inner_kind
from daemon.config_structure import did_you_mean, is_key, join, key_of

_NOUN = re.compile(r"(?:^|_)(account|instrument|venue)s?$", re.ASCII)


@frozen
class Reference:
    """`name` of a `noun` (account, instrument, venue) and the path where it stands."""

    noun: str
    name: str
    path: str


def references(table: object, kind: Any, path: str) -> Iterator[Reference]:
    """Yield what `table`, to be read as a `kind`, refers to.

    A field refers when its name ends with a noun, or says so: `metadata={"ref": "instrument"}`.
    """
    if attrs.has(kind) and isinstance(table, Mapping):
        for one in attrs.fields(kind):
            key = key_of(one.name)
            if is_key(one) and key in table:
                yield from _of_field(table[key], inner_kind(one.type), join(path, key), _noun(one))


def _of_field(value: object, kind: Any, path: str, noun: str) -> Iterator[Reference]:
    inner = get_args(kind)
    if isinstance(value, str):
        if noun and kind is str:
            yield Reference(noun, value, path)
    elif isinstance(value, list) and get_origin(kind) in {tuple, list}:
        for index, item in enumerate(value):
            yield from _of_field(item, inner[0], f"{path}[{index}]", noun)
    elif isinstance(value, Mapping) and len(inner) == 2:
        for key, item in value.items():
            if noun and isinstance(key, str):
                yield Reference(noun, key, f"{path}.{key}")
            yield from references(item, inner[1], f"{path}.{key}")
    else:
        yield from references(value, kind, path)


def _noun(one: "Attribute[Any]") -> str:
    match = _NOUN.search(one.name)
    return str(one.metadata.get("ref", match[1] if match else ""))


def excused(found: list[Reference], declared: Mapping[str, str], nameless: int) -> set[str]:
    """Return the undeclared names that the `nameless` rows, whose own id is wrong, are likely to be.

    Nobody else's spelling mistakes: what resembles a declared name, or is used least, is taken last.
    """
    count = Counter(one.name for one in found if one.name not in declared)
    likely = sorted(count, key=lambda name: (bool(did_you_mean(name, list(declared))), -count[name]))
    return set(likely[:nameless])
