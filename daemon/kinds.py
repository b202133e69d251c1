"""Which class configures each section and each strategy kind."""

import os
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from actors.basket_plan import ExecutorConfig
from actors.feed_state import FeedConfig
from actors.funding_tracker import FundingConfig
from actors.kill_switch import KillConfig
from actors.ledger import LedgerConfig
from actors.margin_monitor import MarginConfig
from actors.order_records import OrderManagerConfig
from actors.position_synchronizer import SyncConfig
from actors.risk_checks import RiskConfig
from actors.strategies.base import Strategy
from daemon.config import Kinds
from daemon.config_schema import Strategy as StrategyConfig
from daemon.config_structure import did_you_mean
from venues.model.instrument import Instrument

SECTIONS: dict[str, type[Any]] = {
    "feed": FeedConfig,
    "risk": RiskConfig,
    "executor": ExecutorConfig,
    "orders": OrderManagerConfig,
    "margin": MarginConfig,
    "funding": FundingConfig,
    "positions": SyncConfig,
    "ledger": LedgerConfig,
    "kill_switch": KillConfig,
}

STRATEGIES = {
    "cash_and_carry": "actors.strategies.cash_and_carry:CashAndCarry",
    "scripted": "actors.strategies.scripted:Scripted",
}
"""Where the strategies of this project are, written as a user's own would be."""

_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def strategy_class(kind: str) -> type[Strategy]:
    """Return the class that `kind` means: one of STRATEGIES, or a user's "module:Class".

    The module may lie in the working directory. Raises ValueError, saying why, for a kind that means none.
    """
    where = STRATEGIES.get(kind, kind)
    if ":" not in where:
        known = list(STRATEGIES)
        raise ValueError(f"{kind!r} is not one of {', '.join([*known, 'module:Class'])}{did_you_mean(kind, known)}")
    if not _CLASS.fullmatch(where):
        raise ValueError(f"{kind!r} is not written module:Class")
    module, _, name = where.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), name, None)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"{kind!r} cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, Strategy):
        raise ValueError(f"{kind!r} is not a Strategy")
    return found


def make_strategy(strategy: StrategyConfig, instruments: Mapping[str, Instrument]) -> Strategy:
    """Return the actor of one configured strategy, named by its id."""
    return strategy_class(strategy.kind)(instruments, strategy.params, name=strategy.id)


KINDS = Kinds(SECTIONS, lambda kind: strategy_class(kind).Config)
