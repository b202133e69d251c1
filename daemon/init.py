"""What `basisd init` writes: a configuration that runs, every setting explained or shown with its default."""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum
from importlib.resources import files
from inspect import cleandoc
from pathlib import Path
from textwrap import wrap
from typing import Any

import attrs

from daemon.config_structure import UNITS, is_key, key_of
from daemon.exits import ExitError
from daemon.kinds import SECTIONS
from venues.model.money import to_text

_WIDTH = 116
_FIELD_NS = re.compile(r"\b(\w+)_ns\b", re.ASCII)
"""A docstring names the field, the file its key."""


def main(arguments: Namespace) -> int:
    """Write the configuration. Raises ExitError when there is a file already."""
    path = Path(arguments.path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text())
    except FileExistsError:
        raise ExitError(f"{path}: there is a file already; it is not overwritten") from None
    print(f"{path}: written; next: basisd check {path}, basisd backtest {path}")
    return 0


def text() -> str:
    """Return the whole configuration: the written part, then the sections."""
    return files("daemon").joinpath("init.toml").read_text(encoding="utf-8") + sections()


def sections() -> str:
    """Return every section of SECTIONS with its class's description and, commented out, its defaults."""
    return "\n".join("\n".join(_section(name, cls)) + "\n" for name, cls in SECTIONS.items())


def _section(name: str, cls: type[Any]) -> Iterator[str]:
    yield from _said(cls)
    yield f"[{name}]"
    yield from _keys(name, cls)


def _said(cls: type[Any]) -> Iterator[str]:
    for paragraph in _FIELD_NS.sub(r"\1", cleandoc(cls.__doc__ or "")).split("\n\n"):
        yield from (f"# {line}" for line in wrap(" ".join(paragraph.split()), _WIDTH))


def _keys(name: str, cls: type[Any]) -> Iterator[str]:
    """Yield every key with its default, commented out; tables within come last, as TOML wants them."""
    tables = []
    for one in filter(is_key, attrs.fields(cls)):
        default: Any = one.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory()
        key = key_of(one.name)
        if attrs.has(type(default)):
            tables.append((f"{name}.{key}", type(default)))
        elif default is attrs.NOTHING or default is None:
            yield f"# {key} is {'required' if default is attrs.NOTHING else 'not set'}"
        else:
            yield f"# {key} = {_toml(default, is_ns=one.name.endswith('_ns'))}"
    for path, kind in tables:
        yield "#"
        yield from _said(kind)
        yield f"# [{path}]"
        yield from _keys(path, kind)


def _toml(value: Any, *, is_ns: bool = False) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item, is_ns=is_ns) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}" if value else "{}"
    if isinstance(value, Decimal):
        return f'"{to_text(value)}"'
    if isinstance(value, Enum):
        return f'"{value.value if isinstance(value.value, str) else value.name.lower()}"'
    if is_ns:
        return f'"{_duration(value)}"'
    return f'"{value}"' if isinstance(value, str) else str(value)


def _duration(length_ns: int) -> str:
    unit = max(
        (unit for unit in UNITS if length_ns % UNITS[unit] == 0 and length_ns), key=UNITS.__getitem__, default="s"
    )
    return f"{length_ns // UNITS[unit]}{unit}"
