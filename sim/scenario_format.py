"""Decides what a scenario document means: venue, account, market events and orders, or which key is wrong."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from attrs import frozen

from sim.book_order import BookOrder
from sim.parametric_config import ParametricConfig
from sim.queue_models import QueueModelError, make_queue_model
from sim.rows import EXECUTE
from sim.scenario_events import T_MAX, TimedEvent, moment, read_events
from sim.scenario_execution import read_execution
from sim.scenario_fields import Fields, ScenarioError, array, decimal, integer, join, one_of, text
from sim.scenario_orders import TimedCommand, read_orders
from sim.scenario_venue import check_calendar, read_settings
from sim.venue_rules import RULES
from sim.venue_settings import VenueSettings
from venues.costs.fees import FeeBasis, FeeSchedule, FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.money import ONE, ZERO
from venues.port import BookDelta
from venues.rules.binance_margin import BracketTableError, check_brackets

ACCOUNT = "account"

# The end of a signed 64-bit count of nanoseconds.
_EPOCH_END = 2**63
_BELOW_MICROSECOND = re.compile(r"[.,]\d{7}")

_RULES = {name: name for name in ("binance_usdm", "bybit_linear", "cme")}
_KINDS = {kind.value: kind for kind in InstrumentKind}
_MARGIN_MODES = {"cross": MarginMode.CROSS, "isolated": MarginMode.ISOLATED}
_POSITION_MODES = {mode.value: mode for mode in PositionMode}


@frozen
class Latency:
    """Nanoseconds from venue to client (feed, response) and from client to venue (entry)."""

    feed_ns: int
    entry_ns: int
    response_ns: int


@frozen
class ScenarioDocument:
    """A scenario as read. `epoch_ns` is the instant of t = 0; events and commands are in file order.

    `execution` is None where orders trade in a book. `by_order` has the instruments whose books are told order by
    order, and whether events say which orders traded.
    """

    name: str
    epoch_ns: int
    seed: int
    venue: str
    rules: str
    latency: Latency
    queue_model: str
    execution: ParametricConfig | None
    fees: FeeTable
    instruments: tuple[Instrument, ...]
    account: Account
    events: tuple[TimedEvent, ...]
    commands: tuple[TimedCommand, ...]
    by_order: dict[str, bool]
    expect: dict[str, object] | None
    settings: VenueSettings


def read_document(document: object) -> ScenarioDocument:
    """Return the scenario. Raises ScenarioError naming the first offending key."""
    root = Fields(document, "")
    name = root.need("name", text)
    epoch = root.get("epoch", _epoch, 0)
    seed = root.get("seed", integer, 0)
    venue = root.need("venue", Fields)
    venue_name = venue.get("name", text, "SIM")
    rules = venue.need("rules", one_of(_RULES))
    latency = _latency(_object_or_empty(venue, "latency"))
    queue_model = venue.get("queue_model", _queue_model, "risk_averse")
    execution = venue.maybe("execution", read_execution)
    default_fees = venue.maybe("fees", lambda value, path: _fees(value, path, FeeBasis.NOTIONAL))
    specs, fees = _instruments(root.need("instruments", array), venue_name, epoch, default_fees)
    if RULES[rules].fee_to_close and default_fees is not None:
        _share_of_value(default_fees.taker, "venue.fees.taker")
    _check_symbols(execution, specs)
    account = _account(root.need("account", Fields), ACCOUNT, venue_name, specs)
    settings = read_settings(
        venue, specs, seed, epoch, lambda fields, name: _account(fields, name, venue_name, specs), ACCOUNT
    )
    venue.done()
    check_calendar(settings, specs, epoch, rules, venue.at("calendar"))
    mode = account.position_mode
    events = read_events(root.need("events", array), epoch, specs, has_books=execution is None)
    by_order = {} if execution is not None else _by_order(events, specs, queue_model)
    commands = read_orders(root.need("orders", array), epoch, specs, ACCOUNT, mode)
    expect = root.maybe("expect", lambda value, path: Fields(value, path).all())
    root.done()
    return ScenarioDocument(
        name,
        epoch,
        seed,
        venue_name,
        rules,
        latency,
        queue_model,
        execution,
        fees,
        tuple(specs.values()),
        account,
        events,
        commands,
        by_order,
        expect,
        settings,
    )


def _check_symbols(execution: ParametricConfig | None, specs: dict[str, Instrument]) -> None:
    if execution is None:
        return
    for key, named in (("adv", execution.adv), ("products", execution.products)):
        for symbol in named:
            if symbol not in specs:
                raise ScenarioError(f"venue.execution.{key}.{symbol}", "unknown symbol")


def _by_order(events: tuple[TimedEvent, ...], specs: dict[str, Instrument], queue_model: str) -> dict[str, bool]:
    changes = [event.what for event in events if isinstance(event.what, BookOrder)]
    told = {change.instrument for change in changes}
    if queue_model == "l3_fifo":
        told.update(spec.id for spec in specs.values())
    traded = {change.instrument for change in changes if change.kind == EXECUTE}
    for index, event in enumerate(events):
        if isinstance(event.what, BookDelta) and event.what.instrument in told:
            path = join(join("events", index), "type")
            raise ScenarioError(path, "book_delta does not say whose order it is: this book is told order by order")
    return {instrument: instrument in traded for instrument in told}


def _object_or_empty(fields: Fields, key: str) -> Fields:
    return fields.maybe(key, Fields) or Fields({}, fields.at(key))


def _epoch(value: object, path: str) -> int:
    raw = text(value, path)
    try:
        moment = datetime.fromisoformat(raw)
    except ValueError:
        raise ScenarioError(path, f"{raw!r} is not an ISO 8601 instant") from None
    if moment.utcoffset() != timedelta(0):
        raise ScenarioError(path, f"{raw!r} is not in UTC")
    if _BELOW_MICROSECOND.search(raw):
        raise ScenarioError(path, f"{raw!r} is finer than a microsecond")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    epoch = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
    if not 0 <= epoch < _EPOCH_END:
        raise ScenarioError(path, f"{raw!r} is not within 1970..2262")
    return epoch


def _latency(fields: Fields) -> Latency:
    values = []
    for key in ("feed_ns", "entry_ns", "response_ns"):
        value = fields.get(key, integer, 0)
        if not 0 <= value <= T_MAX:
            raise ScenarioError(fields.at(key), f"{value} is not within 0..{T_MAX}")
        values.append(value)
    fields.done()
    return Latency(*values)


def _queue_model(value: object, path: str) -> str:
    name = text(value, path)
    try:
        make_queue_model(name)
    except QueueModelError as error:
        raise ScenarioError(path, str(error)) from None
    return name


def _fees(value: object, path: str, basis: FeeBasis) -> FeeSchedule:
    if isinstance(value, str) and basis is FeeBasis.PER_CONTRACT:
        each = decimal(value, path)
        return FeeSchedule(each, each, basis)
    fields = Fields(value, path)
    schedule = FeeSchedule(fields.need("maker", decimal), fields.need("taker", decimal), basis)
    fields.done()
    return schedule


def _instruments(
    values: list[object], venue: str, epoch: int, default: FeeSchedule | None
) -> tuple[dict[str, Instrument], FeeTable]:
    specs: dict[str, Instrument] = {}
    own: dict[str, FeeSchedule] = {}
    for index, value in enumerate(values):
        fields = Fields(value, join("instruments", index))
        spec, schedule = _instrument(fields, venue, epoch)
        if spec.symbol in specs:
            raise ScenarioError(fields.at("symbol"), f"{spec.symbol} is listed twice")
        specs[spec.symbol] = spec
        if schedule is not None:
            own[spec.id] = schedule
        elif default is None:
            raise ScenarioError("venue.fees", f"missing, and {spec.symbol} has no fees of its own")
    if not specs:
        raise ScenarioError("instruments", "there is none")
    return specs, FeeTable(default, own)


def _instrument(fields: Fields, venue: str, epoch: int) -> tuple[Instrument, FeeSchedule | None]:
    symbol = fields.need("symbol", text)
    kind = fields.need("kind", one_of(_KINDS))
    quote = fields.need("quote", text)
    schedule: FeeSchedule | None = None
    initial = maintenance = None
    fields.refuse("span", "SPAN tables are not supported yet; give initial_margin and maintenance_margin")
    if kind is InstrumentKind.FUTURE:
        fields.refuse("brackets", "a future has initial_margin and maintenance_margin")
        initial = fields.need("initial_margin", positive)
        maintenance = fields.need("maintenance_margin", positive)
        schedule = fields.maybe("fees", lambda value, path: _fees(value, path, FeeBasis.PER_CONTRACT))
    max_leverage = fields.maybe("max_leverage", _leverage)
    brackets: tuple[Bracket, ...] = ()
    if kind in {InstrumentKind.PERPETUAL, InstrumentKind.QUARTERLY}:
        brackets = _brackets(fields.need("brackets", array), fields.at("brackets"), max_leverage or 125)
    if max_leverage is None:
        max_leverage = max((row.max_leverage for row in brackets), default=1)
    spec = Instrument(
        venue=venue,
        symbol=symbol,
        kind=kind,
        base=fields.get("base", text, symbol.removesuffix(quote) or symbol),
        quote=quote,
        tick_size=fields.need("tick_size", positive),
        lot_size=fields.need("lot_size", positive),
        multiplier=fields.get("multiplier", positive, ONE),
        min_qty=fields.get("min_qty", _not_negative, ZERO),
        max_qty=fields.maybe("max_qty", positive),
        expiry_ns=_expiry(fields, kind, epoch),
        min_notional=fields.get("min_notional", _not_negative, ZERO),
        max_leverage=max_leverage,
        brackets=brackets,
        liquidation_fee=fields.get("liquidation_fee", _share, ZERO),
        initial_margin=initial,
        maintenance_margin=maintenance,
    )
    fields.done()
    return spec, schedule


def _expiry(fields: Fields, kind: InstrumentKind, epoch: int) -> int | None:
    if kind not in {InstrumentKind.QUARTERLY, InstrumentKind.FUTURE}:
        fields.refuse("expiry_t", f"a {kind} does not expire")
        return None
    t = fields.maybe("expiry_t", moment)
    return None if t is None else epoch + t


def positive(value: object, path: str) -> Decimal:
    number = decimal(value, path)
    if number <= ZERO:
        raise ScenarioError(path, f"{number} is not positive")
    return number


def _not_negative(value: object, path: str) -> Decimal:
    number = decimal(value, path)
    if number < ZERO:
        raise ScenarioError(path, f"{number} is negative")
    return number


def _share(value: object, path: str) -> Decimal:
    return _share_of_value(decimal(value, path), path)


def _share_of_value(number: Decimal, path: str) -> Decimal:
    if not ZERO <= number < ONE:
        raise ScenarioError(path, f"{number} is no share of the value: at least 0 and below 1")
    return number


def _leverage(value: object, path: str) -> int:
    number = integer(value, path)
    if number < 1:
        raise ScenarioError(path, f"{number} is not a leverage")
    return number


def _brackets(values: list[object], path: str, max_leverage: int) -> tuple[Bracket, ...]:
    rows = []
    for index, value in enumerate(values):
        fields = Fields(value, join(path, index))
        row = Bracket(
            fields.need("floor", decimal),
            fields.need("cap", decimal),
            fields.need("mmr", decimal),
            fields.need("cum", decimal),
            fields.get("max_leverage", _leverage, max_leverage),
        )
        fields.done()
        rows.append(row)
    try:
        check_brackets(rows)
    except BracketTableError as error:
        raise ScenarioError(join(path, error.index) if rows else path, str(error)) from None
    return tuple(rows)


def _account(fields: Fields, name: str, venue: str, specs: dict[str, Instrument]) -> Account:
    balances = fields.need("balances", Fields)
    wallet = {asset: balances.need(asset, _not_negative) for asset in balances.keys()}  # noqa: SIM118
    leverages = _object_or_empty(fields, "leverage")
    leverage = {}
    for symbol in leverages.keys():  # noqa: SIM118
        spec = specs.get(symbol)
        if spec is None:
            raise ScenarioError(leverages.at(symbol), "unknown symbol")
        chosen = leverages.need(symbol, _leverage)
        if chosen > spec.max_leverage and spec.brackets:
            raise ScenarioError(leverages.at(symbol), f"{chosen} is above max_leverage {spec.max_leverage}")
        leverage[spec.id] = chosen
    account = Account(
        name,
        venue,
        wallet,
        fields.get("margin_mode", one_of(_MARGIN_MODES), MarginMode.CROSS),
        fields.get("position_mode", one_of(_POSITION_MODES), PositionMode.ONE_WAY),
        leverage,
    )
    fields.done()
    return account
