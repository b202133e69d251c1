"""What the guard reads of a configuration: markets, accounts and its own section, and nothing that runs a strategy.

The desk checks the whole file. Here only these tables are read, so that a mistake elsewhere, or a strategy whose module
hangs on import, does not keep the guard from its work.
"""

from pathlib import Path

from attrs import evolve, field, frozen

from actors.dead_man import DeadManConfig
from actors.guardian_records import GuardConfig
from daemon.channels.config import ChannelsConfig
from daemon.config_account import AccountConfig
from daemon.config_daemon import DaemonConfig
from daemon.config_parts import SetupError, is_outside, read_document, rows, run_name
from daemon.config_structure import ConfigError, structure
from venues.model.account import Account
from venues.model.instrument import Instrument

__all__ = ["GuardSetup", "SetupError", "read_setup"]


@frozen
class GuardSetup:
    """The run's name, what it trades where, and how the guard goes about it.

    `is_outside`: the venues have endpoints; in a real run the guard reaches them through a gateway of its own.
    """

    run: str
    instruments: dict[str, Instrument]
    accounts: dict[str, Account]
    guard: GuardConfig
    log_level: str
    channels: ChannelsConfig = field(factory=ChannelsConfig)
    is_outside: bool = False


def read_setup(path: Path) -> GuardSetup:
    """Read the guard's part of a configuration. Raises SetupError."""
    document = read_document(path)
    errors: list[ConfigError] = []
    instruments = rows(document, "instruments", Instrument, errors)
    accounts = rows(document, "accounts", AccountConfig, errors)
    guard = structure(document.get("guard", {}), GuardConfig, "guard", errors)
    timers = structure(document.get("dead_man", {}), DeadManConfig, "dead_man", errors)
    daemon = structure(document.get("daemon", {}), DaemonConfig, "daemon", [])
    if errors or guard is None or timers is None:
        raise SetupError("\n".join(f"{path}: {error}" for error in errors))
    return GuardSetup(
        run_name(document),
        {one.id: one for one in instruments},
        {one.id: one.account() for one in accounts},
        evolve(guard, without_dead_man=timers.without),
        DaemonConfig().log_level if daemon is None else daemon.log_level,
        # The desk tells of mistakes there; the guard works without them.
        structure(document.get("channels", {}), ChannelsConfig, "channels", []) or ChannelsConfig(),
        is_outside(document),
    )
