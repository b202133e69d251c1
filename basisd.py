"""The public names of basisd for notebooks and user strategies, imported when first used."""

from importlib import import_module
from typing import Any

_NAMES = {
    "Backtest": "daemon.backtest",
    "CompiledRun": "sim.compiled",
    "Scenario": "sim.scenario",
    "Strategy": "actors.strategies.base",
}

__all__ = ["Backtest", "CompiledRun", "Scenario", "Strategy"]  # noqa: F822 - made by __getattr__


def __getattr__(name: str) -> Any:
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module 'basisd' has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
