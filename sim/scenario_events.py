"""Decides what the market events of a scenario say, in the words of the port."""

from collections.abc import Callable
from decimal import Decimal

from attrs import frozen

from sim.book_order import CHANGES, BookOrder
from sim.parametric_bars import BadBarError, check_bar
from sim.rows import LOTS_MAX, TICKS_MAX
from sim.scenario_fields import Fields, ScenarioError, array, boolean, decimal, integer, join, one_of, text
from venues.model.book import Level
from venues.model.instrument import Instrument, InstrumentKind, OffGridError
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import (
    Bar,
    BookDelta,
    BookSnapshot,
    FundingRate,
    InstrumentState,
    InstrumentStatus,
    LiquidationPrint,
    MarkPrice,
    OpenInterest,
    Quote,
    Report,
    Trade,
)

_BOOKS = frozenset({"book_snapshot", "book_delta", "order_add", "order_modify", "order_delete", "order_execute"})
_BOOKLESS = frozenset({"bar", "quote", "liquidation_print"})

# Thirty years in ns: beyond it a time is a mistake.
T_MAX = 10**18
_NOTHING: Level = (1, 0)
_SIDES = {side.value: side for side in Side}
_STATES = {state.value: state for state in InstrumentState}


@frozen
class Settlement:
    """A published settlement price."""

    instrument: str
    price: Decimal
    final: bool


@frozen
class Connection:
    """The client loses or regains the venue."""

    is_up: bool


@frozen
class TimedEvent:
    """Something that happens at the venue at `t` (ns from the start)."""

    t: int
    what: Report | Settlement | Connection | BookOrder

    @property
    def is_status(self) -> bool:
        return isinstance(self.what, InstrumentStatus)

    def status(self) -> tuple[str, str]:
        """Return (instrument, state) of a status event."""
        assert isinstance(self.what, InstrumentStatus)
        return self.what.instrument, self.what.state.value


def read_events(
    values: list[object], epoch: int, specs: dict[str, Instrument], *, has_books: bool = True
) -> tuple[TimedEvent, ...]:
    """Return the events in file order; bars and quotes are for venues without books, and books for the others.

    Raises ScenarioError naming the first offending key.
    """
    found = []
    numbers: dict[tuple[str, str], int] = {}
    for index, value in enumerate(values):
        fields = Fields(value, join("events", index))
        t = fields.need("t", moment)
        kind = fields.need("type", text)
        reader = _READERS.get(kind)
        if reader is None:
            raise ScenarioError(fields.at("type"), f"{kind!r} is not one of {', '.join(_READERS)}")
        if kind in (_BOOKLESS if has_books else _BOOKS):
            why = "needs venue.execution" if has_books else "means nothing with venue.execution: there is no book"
            raise ScenarioError(fields.at("type"), f"{kind} {why}")
        # The event's number is its update id: what an honest feed would count.
        found.append(TimedEvent(t, reader(_Context(fields, epoch, epoch + t, index + 1, specs, numbers))))
        fields.done()
    return tuple(found)


def moment(value: object, path: str) -> int:
    """Return a time in ns from the start; never before it."""
    t = integer(value, path)
    if not 0 <= t <= T_MAX:
        raise ScenarioError(path, f"{t} is not within 0..{T_MAX}")
    return t


@frozen
class _Context:
    fields: Fields
    epoch: int
    ts: int
    number: int
    specs: dict[str, Instrument]
    numbers: dict[tuple[str, str], int]

    def spec(self) -> Instrument:
        return self.fields.need("symbol", symbol_in(self.specs))


def symbol_in(specs: dict[str, Instrument]) -> Callable[[object, str], Instrument]:
    def read(value: object, path: str) -> Instrument:
        symbol = text(value, path)
        if symbol not in specs:
            raise ScenarioError(path, f"unknown symbol {symbol!r}")
        return specs[symbol]

    return read


def _price(spec: Instrument, value: object, path: str) -> int:
    price = decimal(value, path)
    try:
        ticks = spec.ticks(price)
    except OffGridError:
        raise ScenarioError(path, f"{price} is not a multiple of the tick {spec.tick_size}") from None
    if ticks <= 0:
        raise ScenarioError(path, f"{price} is not positive")
    if ticks > TICKS_MAX:
        raise ScenarioError(path, f"{price} is more than {TICKS_MAX} ticks")
    return ticks


def _qty(spec: Instrument, value: object, path: str, least: int) -> int:
    qty = decimal(value, path)
    try:
        lots = spec.lots(qty)
    except OffGridError:
        raise ScenarioError(path, f"{qty} is not a multiple of the lot {spec.lot_size}") from None
    if lots < least:
        raise ScenarioError(path, f"{qty} is {'negative' if least == 0 else 'not positive'}")
    if lots > LOTS_MAX:
        raise ScenarioError(path, f"{qty} is more than {LOTS_MAX} lots")
    return lots


def _levels(spec: Instrument) -> Callable[[object, str], list[Level]]:
    def read(value: object, path: str) -> list[Level]:
        found: dict[int, int] = {}
        for index, row in enumerate(array(value, path)):
            at = join(path, index)
            pair = array(row, at)
            if len(pair) != 2:
                raise ScenarioError(at, "expected [price, quantity]")
            ticks = _price(spec, pair[0], join(at, 0))
            if ticks in found:
                raise ScenarioError(join(at, 0), f"price {pair[0]} given twice")
            found[ticks] = _qty(spec, pair[1], join(at, 1), 0)
        return list(found.items())

    return read


def _snapshot(c: _Context) -> Report:
    spec = c.spec()
    bids, asks = c.fields.need("bids", _levels(spec)), c.fields.need("asks", _levels(spec))
    # The port's empty snapshot means "unknown"; a scenario without levels says that nothing stands there.
    return BookSnapshot(c.ts, spec.id, c.number, bids if bids or asks else [_NOTHING], asks)


def _delta(c: _Context) -> Report:
    spec = c.spec()
    bids, asks = c.fields.maybe("bids", _levels(spec)), c.fields.maybe("asks", _levels(spec))
    if bids is None and asks is None:
        raise ScenarioError(c.fields.at("bids"), "missing, and so is asks")
    return BookDelta(c.ts, spec.id, c.number, c.number, c.number - 1, bids or [], asks or [])


def _trade(c: _Context) -> Report:
    spec = c.spec()
    price = c.fields.need("price", lambda value, path: _price(spec, value, path))
    lots = c.fields.need("qty", lambda value, path: _qty(spec, value, path, 1))
    return Trade(c.ts, spec.id, c.number, price, lots, c.fields.need("aggressor", one_of(_SIDES)))


def _order_name(value: object, path: str) -> str:
    """Return an order's name: a text, or an integer, which is the same as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value, path)


def _change(kind: str) -> Callable[[_Context], BookOrder]:
    """Return a reader of one change; what it must say is what nobody else could know."""
    is_new = kind == "order_add"

    def read(c: _Context) -> BookOrder:
        spec, fields = c.spec(), c.fields
        name = fields.need("order_id", _order_name)
        take = fields.need if is_new else fields.maybe
        side = take("side", one_of(_SIDES))
        ticks = take("price", lambda value, path: _price(spec, value, path))
        needs_qty = is_new or kind == "order_execute"
        least = 0 if kind == "order_modify" else 1
        lots = (fields.need if needs_qty else fields.maybe)("qty", lambda value, path: _qty(spec, value, path, least))
        if kind == "order_modify" and ticks is None and lots is None:
            raise ScenarioError(fields.at("qty"), "missing, and so is price")
        number = c.numbers.setdefault((spec.id, name), len(c.numbers) + 1)
        return BookOrder(spec.id, CHANGES[kind], number, name, side, ticks, lots)

    return read


def _positive(value: object, path: str) -> Decimal:
    number = decimal(value, path)
    if number <= ZERO:
        raise ScenarioError(path, f"{number} is not positive")
    return number


def _mark(c: _Context) -> Report:
    spec = c.spec()
    mark, index = c.fields.need("mark", _positive), c.fields.maybe("index", _positive)
    return MarkPrice(c.ts, spec.id, mark, index, c.fields.maybe("rate", decimal))


def _bar(c: _Context) -> Report:
    spec = c.spec()
    start = c.epoch + c.fields.need("start_t", moment)
    prices = [c.fields.need(key, decimal) for key in ("open", "high", "low", "close")]
    volume, is_mark = c.fields.get("volume", decimal, ZERO), c.fields.get("mark", boolean, False)
    opened, high, low, closed = prices
    bar = Bar(c.ts, spec.id, start, opened, high, low, closed, volume, is_mark)
    try:
        check_bar(spec, bar)
    except BadBarError as error:
        raise ScenarioError(c.fields.at("start_t" if error.field == "start" else error.field), error.why) from None
    return bar


def _quote(c: _Context) -> Report:
    spec = c.spec()

    def price(value: object, path: str) -> int:
        return _price(spec, value, path)

    def qty(value: object, path: str) -> int:
        return _qty(spec, value, path, 1)

    bid, bid_lots = c.fields.need("bid", price), c.fields.need("bid_qty", qty)
    ask, ask_lots = c.fields.need("ask", price), c.fields.need("ask_qty", qty)
    if bid >= ask:
        raise ScenarioError(c.fields.at("ask"), "is not above the bid")
    return Quote(c.ts, spec.id, c.number, bid, bid_lots, ask, ask_lots)


def _liquidation_print(c: _Context) -> Report:
    spec = c.spec()
    side, price = c.fields.need("side", one_of(_SIDES)), c.fields.need("price", _positive)
    return LiquidationPrint(c.ts, spec.id, side, price, c.fields.need("qty", _positive))


def _funding(c: _Context) -> Report:
    spec = c.spec()
    if spec.kind is not InstrumentKind.PERPETUAL:
        raise ScenarioError(c.fields.at("symbol"), f"{spec.symbol} is no perpetual and pays no funding")
    return FundingRate(c.ts, spec.id, c.fields.need("rate", decimal), c.fields.maybe("mark", _positive))


def _open_interest(c: _Context) -> Report:
    spec = c.spec()
    key = "open_interest" if c.fields.has("open_interest") else "qty"
    qty = c.fields.need(key, decimal)
    if qty < ZERO:
        raise ScenarioError(c.fields.at(key), f"{qty} is negative")
    return OpenInterest(c.ts, spec.id, qty)


def _settlement(c: _Context) -> Settlement:
    spec = c.spec()
    final = c.fields.get("final", boolean, False)
    if spec.is_spot or (spec.kind is InstrumentKind.PERPETUAL and not final):
        raise ScenarioError(c.fields.at("symbol"), f"a {spec.kind} has no daily settlement")
    return Settlement(spec.id, c.fields.need("price", _positive), final)


def _status(c: _Context) -> Report:
    spec = c.spec()
    return InstrumentStatus(c.ts, spec.id, c.fields.need("status", one_of(_STATES)))


def _disconnect(c: _Context) -> Connection:
    # A symbol says nothing here: the connection is one for all instruments.
    c.fields.maybe("symbol", symbol_in(c.specs))
    return Connection(False)


def _reconnect(c: _Context) -> Connection:
    c.fields.maybe("symbol", symbol_in(c.specs))
    return Connection(True)


_READERS: dict[str, Callable[[_Context], Report | Settlement | Connection | BookOrder]] = {
    "book_snapshot": _snapshot,
    "book_delta": _delta,
    "trade": _trade,
    "bar": _bar,
    "quote": _quote,
    "liquidation_print": _liquidation_print,
    "mark_price": _mark,
    "funding": _funding,
    "open_interest": _open_interest,
    "settlement": _settlement,
    "status": _status,
    "disconnect": _disconnect,
    "reconnect": _reconnect,
    **{kind: _change(kind) for kind in CHANGES},
}
