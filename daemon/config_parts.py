"""Single tables of a configuration, for processes that must work whatever else in it is wrong.

The desk checks the whole file. A guard or a gateway reads only what it needs, so that a mistake elsewhere, or a
strategy whose module hangs on import, does not keep it from its work.
"""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from daemon.config_endpoints import Endpoints
from daemon.config_includes import expanded
from daemon.config_structure import ConfigError, structure

_T = TypeVar("_T")


class SetupError(ValueError):
    """A process cannot work with the file: every mistake found in what it reads, one per line."""


@frozen
class Outside:
    """A venue that is out there: whose rules it has, and where it answers."""

    rules: str
    endpoints: Endpoints


def read_document(path: Path) -> dict[str, Any]:
    """Return a configuration's tables as they are written, with what it includes. Raises SetupError."""
    try:
        return tomllib.loads(expanded(path.read_text(encoding="utf-8"), path.parent))
    except ConfigError as error:
        raise SetupError(f"{path}: {error}") from error
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError(f"{path}: is not TOML: {error}") from error


def run_name(document: dict[str, Any]) -> str:
    run = document.get("run", {})
    return str(run.get("name", "run") if isinstance(run, dict) else "run")


def rows(document: dict[str, Any], name: str, cls: type[_T], errors: list[ConfigError]) -> list[_T]:
    """Return the tables of one array that could be read; mistakes are added to `errors`."""
    found = document.get(name)
    if not isinstance(found, list) or not found:
        errors.append(ConfigError(name, f"write at least one [[{name}]]"))
        return []
    made = [structure(row, cls, f"{name}[{index}]", errors) for index, row in enumerate(found)]
    return [one for one in made if one is not None]


def is_outside(document: dict[str, Any]) -> bool:
    """Whether venues have endpoints, right or wrong: nobody is to take a simulated venue for one of them."""
    venues = document.get("venues")
    return any(isinstance(row, dict) and "endpoints" in row for row in (venues if isinstance(venues, list) else ()))


def outside(document: dict[str, Any], errors: list[ConfigError]) -> dict[str, Outside]:
    """Return the venues with endpoints by id; mistakes in endpoints are added to `errors`."""
    found: dict[str, Outside] = {}
    venues = document.get("venues")
    for index, row in enumerate(venues if isinstance(venues, list) else ()):
        if not isinstance(row, dict) or "endpoints" not in row:
            continue
        endpoints = structure(row["endpoints"], Endpoints, f"venues[{index}].endpoints", errors)
        if endpoints is not None:
            found[str(row.get("id", ""))] = Outside(str(row.get("rules", "")), endpoints)
    return found
