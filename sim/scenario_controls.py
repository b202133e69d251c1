"""Decides what a scenario's `venue.controls` say: price bands, limits, breakers, stop logic, forced closes."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from sim.scenario_events import moment
from sim.scenario_fields import Fields, ScenarioError, boolean, decimal, integer
from sim.venue_settings import Controls, StopLogic
from venues.model.instrument import Instrument
from venues.rules.circuit_breakers import VelocityRule
from venues.rules.contracts import parse_contract
from venues.rules.errors import BadValueError, RuleError

T = TypeVar("T")


def checked(fields: Fields, keys: Mapping[str, str], make: Callable[[], T]) -> T:
    """Return what `make` makes; a value it refuses is the document's, under the key that `keys` or its name gives."""
    try:
        return make()
    except BadValueError as error:
        raise ScenarioError(fields.at(keys.get(error.field, error.field)), error.why) from None


def read_controls(
    fields: Fields | None, specs: dict[str, Instrument], epoch: int, calendar: bool
) -> dict[str, Controls]:
    """Return controls by instrument id. Raises ScenarioError naming the first offending key."""
    if fields is None:
        return {}
    found = {}
    for symbol in fields.keys():  # noqa: SIM118
        spec = specs.get(symbol)
        if spec is None:
            raise ScenarioError(fields.at(symbol), "unknown symbol")
        if spec.is_spot:
            raise ScenarioError(fields.at(symbol), "a spot market has no such controls")
        found[spec.id] = _read(Fields(fields.need(symbol, _as_is), fields.at(symbol)), spec, epoch, calendar)
    return found


def _as_is(value: object, path: str) -> object:
    return value


def _read(fields: Fields, spec: Instrument, epoch: int, calendar: bool) -> Controls:
    found = _controls(fields, epoch)
    product = None
    if calendar and found.equity_limits:
        # A symbol that is no contract is the calendar's mistake, told as such.
        with suppress(RuleError):
            product = parse_contract(spec.symbol).product
    checked(fields, {}, lambda: found.check_for(spec, product))
    return found


def _controls(fields: Fields, epoch: int) -> Controls:
    band, limit = fields.maybe("price_band", decimal), fields.maybe("limit_share", decimal)
    equity = fields.get("equity_limits", boolean, False)
    width, share = fields.maybe("breaker_width", decimal), fields.maybe("breaker_share", decimal)
    velocity = fields.maybe("velocity", _velocity)
    stop_logic = fields.maybe("stop_logic", _stop_logic)
    close_out = fields.maybe("close_out_t", moment)
    fields.done()
    close_out_ns = None if close_out is None else epoch + close_out
    return checked(fields, {}, lambda: Controls(band, limit, equity, width, share, velocity, stop_logic, close_out_ns))


def _velocity(value: object, path: str) -> VelocityRule:
    fields = Fields(value, path)
    ticks, window, pause = (fields.need(key, integer) for key in ("ticks", "window_ns", "pause_ns"))
    fields.done()
    return checked(fields, {}, lambda: VelocityRule(ticks, window, pause))


def _stop_logic(value: object, path: str) -> StopLogic:
    fields = Fields(value, path)
    ticks, pause = fields.need("ticks", integer), fields.need("pause_ns", integer)
    fields.done()
    return checked(fields, {}, lambda: StopLogic(ticks, pause))
