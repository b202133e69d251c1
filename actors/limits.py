"""Decides which limits hold: the configured ones, made tighter by persons while the desk runs, never looser.

What was tightened is part of the desk's state and survives its restarts, also into a new configuration: the smaller of
both holds. It ends with the state.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from attrs import evolve

from actors.risk_config import InstrumentLimits, RiskConfig
from venues.model.money import ZERO
from venues.port import Lane, Message, message

INSTRUMENT_KEYS = ("order_notional_max", "order_qty_max", "position_notional_max", "position_qty_max", "collar_bps")
"""Limits that each instrument has for itself."""

DESK_KEYS = ("gross_notional_max", "open_orders_max", "orders_per_window")
"""Limits of the desk as a whole."""

_COUNTS = ("open_orders_max", "orders_per_window")

Tightened = Mapping[str, Mapping[str, Decimal]]
"""What persons tightened, by instrument ("" for all of them and for the desk) and key."""


@message(lane=Lane.CONTROL)
class TightenLimit(Message):
    """A person makes a limit tighter. `instrument` is empty for every instrument, and for limits of the whole desk."""

    ts: int
    operator: str
    instrument: str
    key: str
    value: Decimal
    reason: str = ""


def effective(config: RiskConfig, tightened: Tightened) -> RiskConfig:
    """Return the limits that hold."""
    if not tightened:
        return config
    everywhere = tightened.get("", {})
    named = sorted({*config.instruments, *tightened} - {""})
    desk: dict[str, Any] = {
        key: _least(getattr(config, key), value) for key, value in everywhere.items() if key in DESK_KEYS
    }
    return evolve(
        config,
        default=_tighter(config.default, everywhere),
        instruments={
            name: _tighter(_tighter(config.limits(name), everywhere), tightened.get(name, {})) for name in named
        },
        **desk,
    )


def objection(change: TightenLimit, config: RiskConfig, tightened: Tightened, instruments: Collection[str]) -> str:
    """Return why the limit cannot be set so, an empty string when it can."""
    key, value = change.key, change.value
    if key not in INSTRUMENT_KEYS and key not in DESK_KEYS:
        return f"{key!r} is none of {', '.join((*INSTRUMENT_KEYS, *DESK_KEYS))}"
    if change.instrument and key in DESK_KEYS:
        return f"{key} is a limit of the whole desk, not of {change.instrument}"
    if change.instrument and change.instrument not in instruments:
        return f"there is no instrument {change.instrument!r}"
    if not change.operator.strip():
        return "a limit is set by an operator with a name"
    if not value.is_finite() or value <= ZERO:
        return f"{key} must be positive, got {value}"
    if key in _COUNTS and value != value.to_integral_value():
        return f"{key} counts orders, got {value}"
    held = _held(key, change.instrument, effective(config, tightened))
    if held is not None and value >= held:
        return f"{key} can only be made tighter than {held} while the desk runs, got {value}"
    return ""


def tighten(tightened: dict[str, dict[str, Decimal]], change: TightenLimit) -> None:
    tightened.setdefault(change.instrument, {})[change.key] = change.value


def _held(key: str, instrument: str, config: RiskConfig) -> Decimal | int | None:
    """Return the loosest value in force where the change would apply, None where there is no limit."""
    if key in DESK_KEYS:
        value: Decimal | int = getattr(config, key)
        return value
    asked = [config.limits(instrument)] if instrument else [config.default, *config.instruments.values()]
    values: list[Decimal | None] = [getattr(limits, key) for limits in asked]
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def _tighter(limits: InstrumentLimits, changes: Mapping[str, Decimal]) -> InstrumentLimits:
    found: dict[str, Any] = {
        key: _least(getattr(limits, key), value) for key, value in changes.items() if key in INSTRUMENT_KEYS
    }
    return evolve(limits, **found) if found else limits


def _least(configured: Decimal | int | None, value: Decimal) -> Decimal | int:
    if configured is None or value >= configured:
        return value if configured is None else configured
    return int(value) if isinstance(configured, int) else value
