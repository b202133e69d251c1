"""What the guard reads of a configuration: markets, accounts and its own section, and nothing that runs a strategy.

The desk checks the whole file. Here only these tables are read, so that a mistake elsewhere, or a strategy whose module
hangs on import, does not keep the guard from its work.
"""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from actors.dead_man import DeadManConfig
from actors.guardian_records import GuardConfig
from daemon.channels.config import ChannelsConfig
from daemon.config_account import AccountConfig
from daemon.config_daemon import DaemonConfig
from daemon.config_structure import ConfigError, structure
from venues.model.account import Account
from venues.model.instrument import Instrument

_T = TypeVar("_T")


class SetupError(ValueError):
    """The guard cannot work with the file: every mistake found in what it reads, one per line."""


@frozen
class GuardSetup:
    """The run's name, what it trades where, and how the guard goes about it."""

    run: str
    instruments: dict[str, Instrument]
    accounts: dict[str, Account]
    guard: GuardConfig
    log_level: str
    channels: ChannelsConfig = field(factory=ChannelsConfig)


def read_setup(path: Path) -> GuardSetup:
    """Read the guard's part of a configuration. Raises SetupError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError(f"{path}: is not TOML: {error}") from error
    errors: list[ConfigError] = []
    instruments = _rows(document, "instruments", Instrument, errors)
    accounts = _rows(document, "accounts", AccountConfig, errors)
    guard = structure(document.get("guard", {}), GuardConfig, "guard", errors)
    timers = structure(document.get("dead_man", {}), DeadManConfig, "dead_man", errors)
    daemon = structure(document.get("daemon", {}), DaemonConfig, "daemon", [])
    if errors or guard is None or timers is None:
        raise SetupError("\n".join(f"{path}: {error}" for error in errors))
    run = document.get("run", {})
    name = run.get("name", "run") if isinstance(run, dict) else "run"
    return GuardSetup(
        str(name),
        {one.id: one for one in instruments},
        {one.id: one.account() for one in accounts},
        evolve(guard, without_dead_man=timers.without),
        DaemonConfig().log_level if daemon is None else daemon.log_level,
        # The desk tells of mistakes there; the guard works without them.
        structure(document.get("channels", {}), ChannelsConfig, "channels", []) or ChannelsConfig(),
    )


def _rows(document: dict[str, Any], name: str, cls: type[_T], errors: list[ConfigError]) -> list[_T]:
    rows = document.get(name)
    if not isinstance(rows, list) or not rows:
        errors.append(ConfigError(name, f"write at least one [[{name}]]"))
        return []
    made = [structure(row, cls, f"{name}[{index}]", errors) for index, row in enumerate(rows)]
    return [one for one in made if one is not None]
