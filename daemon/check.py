"""What `basisd check` says about a configuration."""

from argparse import Namespace

from daemon.config import ConfigErrors, RunConfig, load
from daemon.config_schema import Bars, Live, Recorded, Stored
from daemon.exits import ExitError
from daemon.kinds import KINDS


def load_or_exit(path: str) -> RunConfig:
    """Return the configuration at `path`. Raises ExitError with one line per mistake."""
    try:
        return load(path, KINDS)
    except ConfigErrors as error:
        raise ExitError(*(str(one) for one in error.errors)) from None


def main(arguments: Namespace) -> int:
    """Print what the configuration describes, or every mistake in it."""
    config = load_or_exit(arguments.config)
    market = {Recorded: "recorded", Bars: "bars", Stored: "stored", Live: "live"}.get(type(config.market), "synthetic")
    print(f"{arguments.config}: ok")
    print(f"  run          {config.run.name}, seed {config.run.seed}, {market} market")
    for noun, table in (
        ("venues", config.venues),
        ("instruments", config.instruments),
        ("accounts", config.accounts),
        ("strategies", config.strategies),
    ):
        print(f"  {noun:12} {', '.join(table) or 'none'}")
    print(f"  sha256       {config.sha256}")
    return 0
