"""Decides what `venue.execution` of a scenario means: the parametric mode's model and its numbers."""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from sim.parametric_config import ChicagoHours, ParametricConfig
from sim.scenario_fields import Fields, ScenarioError, array, boolean, decimal, integer, join, one_of, text
from venues.costs.curves import LiquidityCurves
from venues.costs.slippage_cme import CmeSlippageConfig
from venues.costs.slippage_crypto import CryptoSlippageConfig

_T = TypeVar("_T")

_MODELS = {"crypto": "crypto", "cme": "cme"}
_REFERENCES = {"trade": "trade", "mark": "mark"}


def read_execution(value: object, path: str) -> ParametricConfig:
    """Return the settings. Raises ScenarioError naming the first offending key."""
    fields = Fields(value, path)
    given: dict[str, Any] = {
        "model": fields.need("model", one_of(_MODELS)),
        "adv": fields.maybe("adv", _by_name(decimal)),
        "reference": fields.maybe("reference", one_of(_REFERENCES)),
        "participation": fields.maybe("participation", decimal),
        "touch_fills": fields.maybe("touch_fills", boolean),
        "stale_ns": fields.maybe("stale_ns", integer),
        "liquidation_window_ns": fields.maybe("liquidation_window_ns", integer),
        "volume_days": fields.maybe("volume_days", integer),
        "curves": fields.maybe("curves", _curves),
        "crypto": fields.maybe("crypto", _numbers(CryptoSlippageConfig)),
        "cme": fields.maybe("cme", _numbers(CmeSlippageConfig)),
        "products": fields.maybe("products", _by_name(text)),
        "hours": fields.maybe("hours", _hours),
    }
    fields.done()
    return _made(ParametricConfig, {key: one for key, one in given.items() if one is not None}, path)


def _made(cls: Callable[..., _T], given: dict[str, Any], path: str) -> _T:
    """Return a settings object; its own refusals start with the field they mean."""
    try:
        return cls(**given)
    except ValueError as error:
        name, _, why = str(error).partition(": ")
        raise ScenarioError(join(path, name), why) from None


def _real(value: object, path: str) -> float:
    return float(decimal(value, path))


def _by_name(read: Callable[[object, str], _T]) -> Callable[[object, str], dict[str, _T]]:
    def read_all(value: object, path: str) -> dict[str, _T]:
        fields = Fields(value, path)
        return {key: fields.need(key, read) for key in fields.keys()}  # noqa: SIM118

    return read_all


def _numbers(cls: type[_T]) -> Callable[[object, str], _T]:
    """Return a reader of a model's numbers, each a decimal, those by product an object of decimals."""

    def read(value: object, path: str) -> _T:
        fields = Fields(value, path)
        given: dict[str, Any] = {}
        for one in attrs.fields(cls):  # type: ignore[arg-type]
            found: object = fields.maybe(one.name, _real if one.type is float else _by_name(_real))
            if found is not None:
                given[one.name] = found
        fields.done()
        return _made(cls, given, path)

    return read


def _curves(value: object, path: str) -> LiquidityCurves:
    fields = Fields(value, path)
    given = {key: fields.maybe(key, _factors) or () for key in ("hourly", "monthly")}
    fields.done()
    return _made(LiquidityCurves, given, path)


def _factors(value: object, path: str) -> tuple[float, ...]:
    return tuple(_real(one, join(path, index)) for index, one in enumerate(array(value, path)))


def _hours(value: object, path: str) -> ChicagoHours:
    fields = Fields(value, path)
    given = {key: fields.need(key, text) for key in ("opens", "closes", "settles")}
    fields.done()
    return _made(ChicagoHours, given, path)
