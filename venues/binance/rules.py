"""What a Binance market tells of its instruments, leverage brackets, funding terms and rate limits.

Tick and lot are those of the filters; `pricePrecision` and `quantityPrecision` are no steps and are not read. What one
symbol says wrong makes that symbol unusable and named, never the others. Sources: "Exchange Information", "Notional
and Leverage Brackets", "Get Funding Rate Info" (USDS-M futures), "Exchange information" and "Filters" (spot).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec
from attrs import frozen

from venues.binance.calls import ORDERS_1D, ORDERS_1M, ORDERS_10S, WEIGHT_1M
from venues.binance.errors import CodecError, CodecErrorReason
from venues.binance.reading import NS_PER_MS, not_negative, positive, read
from venues.binance.states import state_of
from venues.binance.wire import Milliseconds
from venues.binance.wire_rest import WireRateLimit
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.net.limits import PoolRule
from venues.port import InstrumentState, InstrumentStatus
from venues.rules.brackets import BracketTableError, check_brackets

NEVER_DELIVERED_MS: Final = 4_133_404_800_000
"""`deliveryDate` of a contract without delivery (2100-12-25)."""

DEFAULT_FUNDING_HOURS: Final = 8
"""fundingInfo lists symbols with adjusted terms; a missing one has eight hours (facts B3)."""

_QUARTERLY: Final = ("CURRENT_QUARTER", "NEXT_QUARTER", "CURRENT_MONTH", "NEXT_MONTH")
_PERPETUAL: Final = ("PERPETUAL", "TRADIFI_PERPETUAL")

_SECONDS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3_600, "DAY": 86_400}
_POOLS: Final = {
    ("REQUEST_WEIGHT", 60): WEIGHT_1M,
    ("ORDERS", 10): ORDERS_10S,
    ("ORDERS", 60): ORDERS_1M,
    ("ORDERS", 86_400): ORDERS_1D,
}
_HEADERS: Final = {"REQUEST_WEIGHT": "x-mbx-used-weight", "ORDERS": "x-mbx-order-count"}
_NUMBER_MAX: Final = Decimal("1E20")
_DIGITS_MAX: Final = 20


class _WireFilter(msgspec.Struct, gc=False):
    kind: str = msgspec.field(name="filterType")
    min_price: str = msgspec.field(name="minPrice", default="")
    max_price: str = msgspec.field(name="maxPrice", default="")
    tick_size: str = msgspec.field(name="tickSize", default="")
    min_qty: str = msgspec.field(name="minQty", default="")
    max_qty: str = msgspec.field(name="maxQty", default="")
    step_size: str = msgspec.field(name="stepSize", default="")
    notional: str = ""
    min_notional: str = msgspec.field(name="minNotional", default="")
    multiplier_up: str = msgspec.field(name="multiplierUp", default="")
    multiplier_down: str = msgspec.field(name="multiplierDown", default="")
    bid_multiplier_up: str = msgspec.field(name="bidMultiplierUp", default="")
    ask_multiplier_down: str = msgspec.field(name="askMultiplierDown", default="")
    limit: int | None = None
    max_num_orders: int | None = msgspec.field(name="maxNumOrders", default=None)


class _FilterName(msgspec.Struct, gc=False):
    kind: str = msgspec.field(name="filterType", default="")


class _WireSymbol(msgspec.Struct, gc=False):
    symbol: str
    status: str = ""
    contract_status: str = msgspec.field(name="contractStatus", default="")
    contract_type: str = msgspec.field(name="contractType", default="")
    base: str = msgspec.field(name="baseAsset", default="")
    quote: str = msgspec.field(name="quoteAsset", default="")
    margin: str = msgspec.field(name="marginAsset", default="")
    pair: str = ""
    delivery_ms: Milliseconds = msgspec.field(name="deliveryDate", default=NEVER_DELIVERED_MS)
    onboard_ms: Milliseconds = msgspec.field(name="onboardDate", default=0)
    liquidation_fee: str = msgspec.field(name="liquidationFee", default="0")
    market_take_bound: str = msgspec.field(name="marketTakeBound", default="")
    trigger_protect: str = msgspec.field(name="triggerProtect", default="")
    filters: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _WireExchangeInfo(msgspec.Struct, gc=False):
    symbols: list[msgspec.Raw]
    rate_limits: list[WireRateLimit] = msgspec.field(name="rateLimits", default_factory=list)


class _SymbolName(msgspec.Struct, gc=False):
    symbol: str = ""
    status: str = ""


class _WireBracket(msgspec.Struct, gc=False):
    number: int = msgspec.field(name="bracket")
    max_leverage: int = msgspec.field(name="initialLeverage")
    cap: Decimal = msgspec.field(name="notionalCap")
    floor: Decimal = msgspec.field(name="notionalFloor")
    mmr: Decimal = msgspec.field(name="maintMarginRatio")
    cum: Decimal


class _WireBrackets(msgspec.Struct, gc=False):
    symbol: str
    brackets: list[_WireBracket]
    coefficient: Decimal | None = msgspec.field(name="notionalCoef", default=None)


class _WireFundingInfo(msgspec.Struct, gc=False):
    symbol: str
    hours: int = msgspec.field(name="fundingIntervalHours")
    cap: str = msgspec.field(name="adjustedFundingRateCap", default="")
    floor: str = msgspec.field(name="adjustedFundingRateFloor", default="")


_exchange_info = msgspec.json.Decoder(_WireExchangeInfo).decode
_symbol = msgspec.json.Decoder(_WireSymbol).decode
_symbol_name = msgspec.json.Decoder(_SymbolName).decode
_filter = msgspec.json.Decoder(_WireFilter).decode
_filter_name = msgspec.json.Decoder(_FilterName).decode
_brackets_of_all = msgspec.json.Decoder(list[_WireBrackets]).decode
_brackets_of_one = msgspec.json.Decoder(_WireBrackets).decode
_funding_infos = msgspec.json.Decoder(list[_WireFundingInfo]).decode


@frozen
class Filters:
    """What an order must keep to beside tick, lot and smallest value; None where the venue sets no such bound.

    `multiplier_up` and `multiplier_down` bound a limit price by the mark price (futures) or the weighted average price
    (spot): buys from above, sells from below. `unknown` are filters by name that are not read, as the venue wrote them.
    """

    min_price: Decimal | None = None
    max_price: Decimal | None = None
    market_step: Decimal | None = None
    market_min_qty: Decimal | None = None
    market_max_qty: Decimal | None = None
    multiplier_up: Decimal | None = None
    multiplier_down: Decimal | None = None
    max_orders: int | None = None
    max_algo_orders: int | None = None
    unknown: tuple[tuple[str, str], ...] = ()


@frozen
class Listing:
    """One symbol as the venue lists it. `onboard_ns` is when it was listed (UTC ns)."""

    instrument: Instrument
    filters: Filters
    state: InstrumentState
    status: str
    contract_type: str = ""
    pair: str = ""
    onboard_ns: int = 0
    market_take_bound: Decimal | None = None
    trigger_protect: Decimal | None = None


@frozen
class ExchangeInfo:
    """All symbols that can be used, why the others cannot, and the rate limits."""

    listings: dict[str, Listing]
    refused: dict[str, str]
    pools: tuple[PoolRule, ...]


@frozen
class BracketTables:
    """Leverage brackets by symbol, why the tables of others are refused, and the multipliers that an account has.

    A coefficient is the account's own multiplier of the bracket sizes. Whether the sizes told contain it is not known:
    tables with one other than 1 are refused.
    """

    tables: dict[str, tuple[Bracket, ...]]
    refused: dict[str, str]


@frozen
class FundingTerms:
    """Cap and floor of the funding rate, None where not told, and the hours between two fundings."""

    cap: Decimal | None
    floor: Decimal | None
    interval_hours: int


def exchange_info(
    body: bytes, venue: str, tables: Mapping[str, tuple[Bracket, ...]] | None = None, *, is_spot: bool = False
) -> ExchangeInfo:
    """Return what exchangeInfo says; `tables` are leverage brackets to enter in the instruments.

    Raises CodecError when the answer as a whole cannot be read.
    """
    wire = read(_exchange_info, body, "exchangeInfo")
    listings: dict[str, Listing] = {}
    refused: dict[str, str] = {}
    for raw in wire.symbols:
        name = ""
        try:
            name = read(_symbol_name, raw, "exchangeInfo symbol").symbol[:64]
            symbol = read(_symbol, raw, f"exchangeInfo {name}")
            listings[name] = _listing(symbol, venue, (tables or {}).get(name, ()), is_spot=is_spot)
        except (CodecError, ValueError) as error:
            refused[name] = str(error)
    return ExchangeInfo(listings, refused, rate_pools(wire.rate_limits))


def instrument_states(body: bytes, by_symbol: Mapping[str, str], now: int) -> tuple[InstrumentStatus, ...]:
    """Return the states of the instruments `by_symbol` names; one the venue does not list is closed."""
    wire = read(_exchange_info, body, "exchangeInfo")
    states = dict.fromkeys(by_symbol.values(), InstrumentState.CLOSE)
    for raw in wire.symbols:
        told = read(_symbol_name, raw, "exchangeInfo symbol")
        instrument = by_symbol.get(told.symbol)
        if instrument is not None:
            states[instrument] = state_of(told.status)
    return tuple(InstrumentStatus(now, instrument, state) for instrument, state in states.items())


def rate_pools(limits: list[WireRateLimit]) -> tuple[PoolRule, ...]:
    """Return the limits as pools. Those that requests are counted in here have the names of `calls`."""
    pools = []
    for row in limits:
        seconds = _SECONDS.get(row.interval)
        if seconds is None or row.interval_num < 1 or row.limit < 1:
            raise CodecError(
                CodecErrorReason.BAD_FIELD, f"rateLimits: {row.limit} per {row.interval_num} {row.interval[:20]}"
            )
        seconds *= row.interval_num
        short = f"{row.interval_num}{row.interval[0].lower()}"
        name = _POOLS.get((row.kind, seconds), f"{row.kind.lower()}_{short}")
        header = f"{_HEADERS[row.kind]}-{short}" if row.kind in _HEADERS else ""
        counts = "orders" if row.kind == "ORDERS" else "weight" if row.kind == "REQUEST_WEIGHT" else row.kind.lower()
        pools.append(PoolRule(name, row.limit, seconds * 1_000_000_000, counts, header))
    return tuple(pools)


def leverage_brackets(body: bytes) -> BracketTables:
    """Return the tables of `GET /fapi/v1/leverageBracket`, of all symbols or of one. Raises CodecError."""
    is_list = body.lstrip()[:1] == b"["
    rows = read(_brackets_of_all, body, "leverageBracket") if is_list else [read(_brackets_of_one, body, "brackets")]
    tables: dict[str, tuple[Bracket, ...]] = {}
    refused: dict[str, str] = {}
    for row in rows:
        try:
            tables[row.symbol] = _table(row)
        except (CodecError, BracketTableError) as error:
            refused[row.symbol] = str(error)
    return BracketTables(tables, refused)


def funding_info(body: bytes) -> dict[str, FundingTerms]:
    """Return the terms of `GET /fapi/v1/fundingInfo` by symbol. Raises CodecError."""
    terms = {}
    for row in read(_funding_infos, body, "fundingInfo"):
        if not 0 < row.hours <= 24 or 24 % row.hours:
            raise CodecError(CodecErrorReason.BAD_NUMBER, f"{row.symbol[:40]} fundingIntervalHours {row.hours}")
        cap = positive(row.cap, "adjustedFundingRateCap") if row.cap else None
        floor = -positive(row.floor.removeprefix("-"), "adjustedFundingRateFloor") if row.floor else None
        terms[row.symbol] = FundingTerms(cap, floor, row.hours)
    return terms


def _table(row: _WireBrackets) -> tuple[Bracket, ...]:
    if row.coefficient not in (None, Decimal(1)):
        raise CodecError(CodecErrorReason.BAD_FIELD, f"notionalCoef {row.coefficient}: the account's own bracket sizes")
    for bracket in row.brackets:
        for number in (bracket.cap, bracket.floor, bracket.mmr, bracket.cum):
            exponent = number.as_tuple().exponent
            if not isinstance(exponent, int) or abs(number) > _NUMBER_MAX or exponent < -_DIGITS_MAX:
                raise CodecError(CodecErrorReason.BAD_NUMBER, f"bracket {bracket.number}: {str(number)[:40]}")
    found = sorted(row.brackets, key=lambda bracket: bracket.number)
    table = tuple(Bracket(one.floor, one.cap, one.mmr, one.cum, one.max_leverage) for one in found)
    check_brackets(table)
    return table


def _listing(wire: _WireSymbol, venue: str, brackets: tuple[Bracket, ...], *, is_spot: bool) -> Listing:
    by_kind: dict[str, _WireFilter] = {}
    unknown = []
    for raw in wire.filters:
        kind = read(_filter_name, raw, f"{wire.symbol} filter").kind
        if kind in _READ_FILTERS:
            by_kind[kind] = read(_filter, raw, f"{wire.symbol} {kind}")
        else:
            unknown.append((kind[:64], bytes(raw).decode()))
    price, lot = by_kind.get("PRICE_FILTER"), by_kind.get("LOT_SIZE")
    if price is None or lot is None:
        raise CodecError(CodecErrorReason.BAD_FIELD, f"{wire.symbol}: no PRICE_FILTER or no LOT_SIZE")
    status = wire.status or wire.contract_status
    instrument = Instrument(
        venue,
        wire.symbol,
        InstrumentKind.SPOT if is_spot else _kind(wire),
        wire.base,
        wire.quote,
        positive(price.tick_size, f"{wire.symbol} tickSize"),
        positive(lot.step_size, f"{wire.symbol} stepSize"),
        "" if is_spot else wire.margin,
        min_qty=not_negative(lot.min_qty, f"{wire.symbol} minQty"),
        max_qty=_bound(lot.max_qty, f"{wire.symbol} maxQty"),
        min_notional=_min_notional(wire.symbol, by_kind),
        expiry_ns=None if is_spot or wire.delivery_ms >= NEVER_DELIVERED_MS else wire.delivery_ms * NS_PER_MS,
        max_leverage=brackets[0].max_leverage if brackets else 1,
        brackets=brackets,
        liquidation_fee=not_negative(wire.liquidation_fee, f"{wire.symbol} liquidationFee"),
    )
    return Listing(
        instrument,
        _filters(wire.symbol, by_kind, tuple(unknown)),
        state_of(status),
        status,
        wire.contract_type,
        wire.pair,
        wire.onboard_ms * NS_PER_MS,
        _bound(wire.market_take_bound, f"{wire.symbol} marketTakeBound"),
        _bound(wire.trigger_protect, f"{wire.symbol} triggerProtect"),
    )


_READ_FILTERS: Final = frozenset(
    {
        "PRICE_FILTER",
        "LOT_SIZE",
        "MARKET_LOT_SIZE",
        "MIN_NOTIONAL",
        "NOTIONAL",
        "PERCENT_PRICE",
        "PERCENT_PRICE_BY_SIDE",
        "MAX_NUM_ORDERS",
        "MAX_NUM_ALGO_ORDERS",
    }
)


def _kind(wire: _WireSymbol) -> InstrumentKind:
    word = wire.contract_type.removesuffix(" DELIVERING").strip()
    if word in _PERPETUAL:
        return InstrumentKind.PERPETUAL
    if word in _QUARTERLY:
        return InstrumentKind.QUARTERLY
    raise CodecError(CodecErrorReason.BAD_FIELD, f"{wire.symbol} contractType {wire.contract_type[:40]!r} is not known")


def _min_notional(symbol: str, by_kind: Mapping[str, _WireFilter]) -> Decimal:
    """Return the smallest value of an order; the futures filter calls it notional, the spot filters minNotional."""
    found = by_kind.get("MIN_NOTIONAL") or by_kind.get("NOTIONAL")
    if found is None:
        return ZERO
    return not_negative(found.notional or found.min_notional, f"{symbol} notional")


def _filters(symbol: str, by_kind: Mapping[str, _WireFilter], unknown: tuple[tuple[str, str], ...]) -> Filters:
    price, market = by_kind["PRICE_FILTER"], by_kind.get("MARKET_LOT_SIZE")
    percent = by_kind.get("PERCENT_PRICE") or by_kind.get("PERCENT_PRICE_BY_SIDE")
    orders, algos = by_kind.get("MAX_NUM_ORDERS"), by_kind.get("MAX_NUM_ALGO_ORDERS")
    return Filters(
        _bound(price.min_price, f"{symbol} minPrice"),
        _bound(price.max_price, f"{symbol} maxPrice"),
        _bound(market.step_size, f"{symbol} market stepSize") if market else None,
        _bound(market.min_qty, f"{symbol} market minQty") if market else None,
        _bound(market.max_qty, f"{symbol} market maxQty") if market else None,
        _bound(percent.multiplier_up or percent.bid_multiplier_up, f"{symbol} multiplierUp") if percent else None,
        _bound(percent.multiplier_down or percent.ask_multiplier_down, f"{symbol} multiplierDown") if percent else None,
        (orders.limit if orders.limit is not None else orders.max_num_orders) if orders else None,
        algos.limit if algos else None,
        unknown,
    )


def _bound(text: str, name: str) -> Decimal | None:
    """Return a bound, None for zero and for none told: the venue writes 0 where a bound is off."""
    return not_negative(text, name) or None if text else None
