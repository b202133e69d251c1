"""Decides what the orders of a scenario ask for, in the words of the port."""

from collections.abc import Callable
from decimal import Decimal

from attrs import frozen

from sim.scenario_events import moment, symbol_in
from sim.scenario_fields import Fields, ScenarioError, boolean, decimal, integer, join, one_of, text
from sim.venue_rules import SELF_TRADE
from venues.model.account import PositionMode
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.port import (
    AdjustIsolatedMargin,
    CancelAll,
    CancelOrder,
    Command,
    ModifyOrder,
    SetLeverage,
    SubmitOrder,
)

_SIDES = {side.value: side for side in Side}
_TYPES = {kind.value: kind for kind in OrderType}
_TIFS = {tif.value: tif for tif in TimeInForce}
_TRIGGERS = {"trade": False, "mark": True}
_POSITION_SIDES = {word: side for side in PositionSide for word in (side.value, side.value.lower())}

# Venues bound the callback rate to 0.1 % .. 10 %. A value from 0.1 on is Binance's percent, below it a share.
_PERCENT_FROM = Decimal("0.1")

_STOP = frozenset({"stop_price", "trigger"})
_NEEDED: dict[OrderType, frozenset[str]] = {
    OrderType.MARKET: frozenset(),
    OrderType.LIMIT: frozenset({"price"}),
    OrderType.STOP_MARKET: frozenset({"stop_price"}),
    OrderType.STOP_LIMIT: frozenset({"stop_price", "price"}),
    OrderType.TAKE_PROFIT_MARKET: frozenset({"stop_price"}),
    OrderType.TRAILING_STOP: frozenset({"callback_rate"}),
    OrderType.MARKET_WITH_PROTECTION: frozenset(),
    OrderType.MARKET_TO_LIMIT: frozenset(),
}
_ALLOWED: dict[OrderType, frozenset[str]] = {
    OrderType.MARKET: frozenset({"protection_points"}),
    OrderType.LIMIT: frozenset(),
    OrderType.STOP_MARKET: frozenset({"trigger", "protection_points"}),
    OrderType.STOP_LIMIT: frozenset({"trigger"}),
    OrderType.TAKE_PROFIT_MARKET: frozenset({"trigger"}),
    OrderType.TRAILING_STOP: frozenset({"trigger", "activation_price"}),
    OrderType.MARKET_WITH_PROTECTION: frozenset({"protection_points"}),
    OrderType.MARKET_TO_LIMIT: frozenset(),
}
_TYPED = frozenset({"price", "callback_rate", "activation_price", "protection_points"}) | _STOP


@frozen
class TimedCommand:
    """What the client sends at `t` (ns from the start, its own time). `order` is None for what names no order."""

    t: int
    action: str
    order: str | None
    command: Command


@frozen
class _Context:
    fields: Fields
    ts: int
    epoch: int
    specs: dict[str, Instrument]
    account: str
    mode: PositionMode
    submitted: dict[str, Instrument]

    def spec(self) -> Instrument:
        return self.fields.need("symbol", symbol_in(self.specs))


def read_orders(
    values: list[object], epoch: int, specs: dict[str, Instrument], account: str, mode: PositionMode
) -> tuple[TimedCommand, ...]:
    """Return the client's commands in file order. Raises ScenarioError naming the first offending key."""
    submitted = _submitted(values, specs)
    found = []
    for index, value in enumerate(values):
        fields = Fields(value, join("orders", index))
        t = fields.need("t", moment)
        action = fields.need("action", text)
        reader = _READERS.get(action)
        if reader is None:
            raise ScenarioError(fields.at("action"), f"{action!r} is not one of {', '.join(_READERS)}")
        command = reader(_Context(fields, epoch + t, epoch, specs, account, mode, submitted))
        order = command.client_order_id if isinstance(command, SubmitOrder | ModifyOrder | CancelOrder) else None
        found.append(TimedCommand(t, action, order, command))
        fields.done()
    return tuple(found)


def _submitted(values: list[object], specs: dict[str, Instrument]) -> dict[str, Instrument]:
    found: dict[str, Instrument] = {}
    for index, value in enumerate(values):
        fields = Fields(value, join("orders", index))
        if fields.need("action", text) != "submit":
            continue
        name = fields.need("id", text)
        if name in found:
            raise ScenarioError(fields.at("id"), f"{name!r} is submitted twice")
        found[name] = fields.need("symbol", symbol_in(specs))
    return found


def _submit(c: _Context) -> Command:
    fields, spec = c.fields, c.spec()
    kind = fields.need("type", one_of(_TYPES))
    side = fields.need("side", one_of(_SIDES))
    for key in sorted(_TYPED - _NEEDED[kind] - _ALLOWED[kind]):
        fields.refuse(key, f"does not apply to a {kind} order")
    for key in sorted(_NEEDED[kind]):
        fields.need(key, decimal)
    tif = fields.get("tif", one_of(_TIFS), TimeInForce.GTC)
    expire_ns = None
    if tif is TimeInForce.GTD and (kind is not OrderType.MARKET or fields.has("expire_t")):
        expire_ns = c.epoch + fields.need("expire_t", moment)
    else:
        fields.refuse("expire_t", f"does not apply to {tif}")
    if kind is OrderType.MARKET:
        tif, expire_ns = TimeInForce.GTC, None
    close = fields.get("close_position", boolean, False)
    if close:
        fields.refuse("qty", "does not apply with close_position")
    reduces = fields.get("reduce_only", boolean, False)
    return SubmitOrder(
        c.ts,
        c.account,
        spec.id,
        fields.need("id", text),
        side,
        ZERO if close else fields.need("qty", decimal),
        kind,
        fields.maybe("price", decimal),
        tif,
        _position_side(c, side, reduces or close),
        reduces,
        close,
        fields.maybe("stop_price", decimal),
        fields.get("trigger", one_of(_TRIGGERS), False),
        expire_ns,
        fields.maybe("min_qty", decimal),
        fields.maybe("display_qty", decimal),
        fields.maybe("protection_points", lambda value, path: _protection(spec, value, path)),
        fields.maybe("callback_rate", _callback_rate),
        fields.maybe("activation_price", decimal),
        fields.maybe("stp", _self_trade),
    )


def _position_side(c: _Context, side: Side, reduces: bool) -> PositionSide:
    """Return the side named; a hedge account that names none buys into LONG and sells into SHORT, or out of them."""
    if c.fields.has("position_side") or c.mode is PositionMode.ONE_WAY:
        return c.fields.get("position_side", one_of(_POSITION_SIDES), PositionSide.BOTH)
    return PositionSide.LONG if (side is Side.BUY) is not reduces else PositionSide.SHORT


def _protection(spec: Instrument, value: object, path: str) -> int:
    """Return protection points in ticks: a text is a price distance, an integer counts ticks."""
    if isinstance(value, str):
        points = decimal(value, path)
        if points % spec.tick_size:
            raise ScenarioError(path, f"{points} is not a multiple of the tick {spec.tick_size}")
        ticks = int(points / spec.tick_size)
    else:
        ticks = integer(value, path)
    if ticks < 0:
        raise ScenarioError(path, f"{value!r} is negative")
    return ticks


def _callback_rate(value: object, path: str) -> Decimal:
    rate = decimal(value, path)
    if not ZERO < rate < 100:
        raise ScenarioError(path, f"{rate} is not a callback rate")
    return rate / 100 if rate >= _PERCENT_FROM else rate


def _self_trade(value: object, path: str) -> str:
    word = text(value, path).lower()
    if word not in SELF_TRADE:
        raise ScenarioError(path, f"{value!r} is not one of {', '.join(SELF_TRADE)}")
    return word


def _known(c: _Context) -> tuple[str, Instrument]:
    name = c.fields.need("id", text)
    if name not in c.submitted:
        raise ScenarioError(c.fields.at("id"), f"no order {name!r} is submitted")
    spec = c.submitted[name]
    named = c.fields.get("symbol", symbol_in(c.specs), spec)
    if named is not spec:
        raise ScenarioError(c.fields.at("symbol"), f"{name!r} is an order in {spec.symbol}")
    return name, spec


def _modify(c: _Context) -> Command:
    name, spec = _known(c)
    return ModifyOrder(c.ts, c.account, spec.id, name, c.fields.need("qty", decimal), c.fields.need("price", decimal))


def _cancel(c: _Context) -> Command:
    name, spec = _known(c)
    return CancelOrder(c.ts, c.account, spec.id, name)


def _cancel_all(c: _Context) -> Command:
    spec = c.fields.maybe("symbol", symbol_in(c.specs))
    return CancelAll(c.ts, c.account, spec.id if spec is not None else None)


def _set_leverage(c: _Context) -> Command:
    return SetLeverage(c.ts, c.account, c.spec().id, c.fields.need("leverage", integer))


def _add_margin(c: _Context) -> Command:
    side = PositionSide.BOTH
    if c.mode is PositionMode.HEDGE:
        side = c.fields.need("position_side", one_of(_POSITION_SIDES))
    return AdjustIsolatedMargin(c.ts, c.account, c.spec().id, c.fields.need("amount", decimal), side)


_READERS: dict[str, Callable[[_Context], Command]] = {
    "submit": _submit,
    "modify": _modify,
    "cancel": _cancel,
    "cancel_all": _cancel_all,
    "set_leverage": _set_leverage,
    "add_margin": _add_margin,
}
