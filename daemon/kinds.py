"""Which class configures each section and each strategy kind."""

import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from actors.basket_plan import ExecutorConfig
from actors.dead_man import DeadManConfig
from actors.drop_copy import DropCopyConfig
from actors.event_log import EventLogConfig
from actors.execution_records import OrderExecutorConfig
from actors.feed_state import FeedConfig
from actors.funding_records import FundingConfig
from actors.guardian_records import GuardConfig
from actors.guards.config import GuardsConfig
from actors.halts import HaltsConfig
from actors.kill_switch import KillConfig
from actors.ledger import LedgerConfig
from actors.margin_records import MarginConfig
from actors.notifier import NotifierConfig
from actors.order_groups import GroupConfig
from actors.order_records import OrderManagerConfig
from actors.order_scheduler import SchedulerConfig
from actors.pacing import PacingConfig
from actors.risk_config import RiskConfig
from actors.statistics import StatisticsConfig
from actors.strategies.base import Strategy
from actors.sync_records import SyncConfig
from actors.tracker_records import TrackerConfig
from daemon.channels.config import ChannelsConfig
from daemon.config_daemon import DaemonConfig
from daemon.config_loading import Kinds, said
from daemon.config_schema import Strategy as StrategyConfig
from daemon.config_structure import did_you_mean
from venues.costs.liquidity import LiquidityLimits
from venues.model.instrument import Instrument

SECTIONS: dict[str, type[Any]] = {
    "feed": FeedConfig,
    "liquidity": LiquidityLimits,
    "risk": RiskConfig,
    "executor": ExecutorConfig,
    "executions": OrderExecutorConfig,
    "orders": OrderManagerConfig,
    "pacing": PacingConfig,
    "scheduler": SchedulerConfig,
    "groups": GroupConfig,
    "margin": MarginConfig,
    "funding": FundingConfig,
    "guards": GuardsConfig,
    "positions": SyncConfig,
    "ledger": LedgerConfig,
    "kill_switch": KillConfig,
    "drop_copy": DropCopyConfig,
    "tracker": TrackerConfig,
    "statistics": StatisticsConfig,
    "guard": GuardConfig,
    "halts": HaltsConfig,
    "notifier": NotifierConfig,
    "channels": ChannelsConfig,
    "dead_man": DeadManConfig,
    "daemon": DaemonConfig,
    "events": EventLogConfig,
}

STRATEGIES = {
    "cash_and_carry": "actors.strategies.cash_and_carry:CashAndCarry",
    "scripted": "actors.strategies.scripted:Scripted",
}
"""Where the strategies of this project are, written as a user's own would be."""

ACTORS = frozenset(
    {
        "feed_handler",
        "ledger",
        "kill_switch",
        "halts",
        "risk_gate",
        "dead_man",
        "margin_monitor",
        "funding_tracker",
        "portfolio_guard",
        "position_synchronizer",
        "order_manager",
        "order_scheduler",
        "order_groups",
        "atomic_executor",
        "order_executor",
        "drop_copy",
        "execution_tracker",
        "statistics",
        "notifier",
        "event_log",
        "venues",
        "cell",
    }
)
"""Names that the desk and its graph use already."""

_OWN = frozenset(where.partition(":")[0] for where in STRATEGIES.values())
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def strategy_class(kind: str, folders: Sequence[Path] = ()) -> type[Strategy]:
    """Return the class that `kind` means: one of STRATEGIES, or a user's "module:Class".

    The module may lie in one of `folders`, else wherever Python finds it.
    Raises ValueError, saying why, for a kind that means none.
    """
    where = STRATEGIES.get(kind, kind)
    if ":" not in where:
        known = list(STRATEGIES)
        raise ValueError(f"{kind!r} is not one of {', '.join([*known, 'module:Class'])}{did_you_mean(kind, known)}")
    if not _CLASS.fullmatch(where):
        raise ValueError(f"{kind!r} is not written module:Class")
    module, _, name = where.partition(":")
    try:
        made = _import(module, folders)
    except ModuleNotFoundError as error:
        looked = ", ".join(dict.fromkeys(str(folder.resolve()) for folder in folders))
        raise ValueError(f"{kind!r} cannot be imported: {error}; looked in {looked}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{kind!r} cannot be imported: {said(error)}") from error
    found = getattr(made, name, None)
    if not isinstance(found, type) or not issubclass(found, Strategy):
        file = getattr(made, "__file__", None) or module
        raise ValueError(f"{kind!r}: {name} of {file} is not a Strategy")
    if not attrs.has(found.Config):
        raise ValueError(f"{kind!r}: its Config is not an attrs class")
    return found


def _import(module: str, folders: Sequence[Path]) -> ModuleType:
    """Import a module, from the first folder that holds it: two folders may have one of the same name."""
    top = module.partition(".")[0]
    if module in _OWN or top in sys.stdlib_module_names:
        return import_module(module)
    for folder in folders:
        spec = PathFinder.find_spec(top, [str(folder.resolve())])
        if spec is None or spec.origin is None:
            continue
        known = sys.modules.get(top)
        if known is not None and getattr(known, "__file__", None) != spec.origin:
            for name in [one for one in sys.modules if one == top or one.startswith(f"{top}.")]:
                del sys.modules[name]
        sys.path.insert(0, str(folder.resolve()))
        try:
            return import_module(module)
        finally:
            # At the end it stays: what the module imports later must be found, and hide nothing of ours.
            sys.path.remove(str(folder.resolve()))
            if str(folder.resolve()) not in sys.path:
                sys.path.append(str(folder.resolve()))
    return import_module(module)


def make_strategy(strategy: StrategyConfig, instruments: Mapping[str, Instrument]) -> Strategy:
    """Return the actor of one configured strategy, named by its id."""
    made: Strategy = strategy.cls(instruments, strategy.params, name=strategy.id)
    return made


KINDS = Kinds(SECTIONS, strategy_class, ACTORS)
