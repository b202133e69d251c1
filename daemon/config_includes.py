"""How a configuration takes tables in from other files: dated rules of a venue, lists of recordings.

    include = ["rules/binance_usdm-2026-11-26.toml"]

stands above the first table. What the files say is put at the end of the text, so that what is logged of a run holds
all that it depends on. They hold arrays of tables only: nothing that could change what the configuration itself says.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from daemon.config_structure import ConfigError

KEY = "include"
_TABLE = re.compile(r"^\s*\[", re.MULTILINE)
_STATEMENT = re.compile(rf"^{KEY}[ \t]*=[ \t]*\[[^\]]*\][^\n]*$", re.MULTILINE)


def expanded(text: str, folder: Path) -> str:
    """Return a configuration with what it includes; text that is no TOML, or includes nothing, as it is.

    Raises ConfigError: the statement stands elsewhere, a file cannot be read or holds more than arrays of tables.
    """
    try:
        names = tomllib.loads(text).get(KEY)
    except tomllib.TOMLDecodeError:
        return text
    if names is None:
        return text
    if not isinstance(names, list) or not all(isinstance(one, str) and one for one in names):
        raise ConfigError(KEY, 'expected an array of file names: ["rules.toml"]')
    table = _TABLE.search(text)
    statement = _STATEMENT.search(text, 0, table.start() if table else len(text))
    if statement is None:
        raise ConfigError(KEY, 'write it above the first table, as include = ["rules.toml"]')
    commented = "".join(f"# {line}\n" for line in statement[0].splitlines())
    parts = [text[: statement.start()], commented, text[statement.end() + 1 :]]
    for index, name in enumerate(names):
        parts.append(f"\n\n# From {name}:\n\n{_read(folder / name, f'{KEY}[{index}]')}")
    return "".join(parts)


def _read(path: Path, where: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        found: dict[str, Any] = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(where, f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(where, f"{path} is not TOML: {error}") from None
    if not found or not all(_is_array_of_tables(one) for one in found.values()):
        raise ConfigError(where, f"{path} may hold arrays of tables only, as [[instruments]]")
    return text


def _is_array_of_tables(value: object) -> bool:
    if isinstance(value, dict):
        # A table that only names where arrays stand, as market in market.recordings.
        return bool(value) and all(_is_array_of_tables(one) for one in value.values())
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
