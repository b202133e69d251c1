"""Decides what a spot order asks and what its filters refuse, with spot's codes and words.

Source: spot REST API documentation, "Filters" and "Error codes".
"""

import json
from decimal import Decimal

from sim.emulator import order_entry
from sim.emulator.host import Host
from sim.emulator.listings import Listing
from sim.emulator.order_entry import OrderTerms
from sim.emulator.routes import ApiError, Params
from sim.matching import Matcher
from venues.model.money import ROUND_DOWN, ZERO, round_to_step
from venues.model.order import Side

TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")
_NOT_HERE = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_TIMES_IN_FORCE = ("GTC", "IOC", "FOK")
_PRECISION = 8


def symbols_of(host: Host, params: Params) -> list[Listing]:
    """Return what `symbol` or `symbols` names, everything without either. Raises ApiError -1121, -1128, -1100."""
    if params.has("symbol") and params.has("symbols"):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if params.has("symbol"):
        return [order_entry.listing_of(host, params)]
    if not params.has("symbols"):
        return list(host.listings.values())
    try:
        names = json.loads(params.text("symbols"))
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ApiError(-1100, "Illegal characters found in parameter 'symbols'; legal range is '^\\[\"[A-Z]+\"\\]$'.")
    return [order_entry.find_listing(host, name) for name in names]


def read_order(host: Host, params: Params) -> tuple[OrderTerms, Decimal]:
    """Return the terms of an order and its quoteOrderQty, 0 without. Raises ApiError."""
    listing = order_entry.listing_of(host, params)
    side = params.choice("side", order_entry.SIDES, order_entry.bad_side())
    kind = params.choice("type", TYPES + _NOT_HERE, order_entry.bad_type())
    if kind in _NOT_HERE:
        raise order_entry.bad_type()
    time_in_force, price = "GTC", ZERO
    if kind == "LIMIT":
        time_in_force = params.choice("timeInForce", _TIMES_IN_FORCE, order_entry.bad_tif())
    elif params.has("timeInForce"):
        raise order_entry.unwanted("timeInForce")
    if kind != "MARKET":
        price = _precise(params.decimal("price"), "price")
    elif params.has("price"):
        raise order_entry.unwanted("price")
    amount = ZERO
    if kind == "MARKET" and params.has("quoteOrderQty"):
        if params.has("quantity"):
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        amount = _precise(params.decimal("quoteOrderQty"), "quoteOrderQty")
        qty = _bought_for(host, listing, side, amount)
    else:
        qty = _precise(params.decimal("quantity"), "quantity")
    client_id = order_entry.read_client_id(host, params, "newClientOrderId")
    stp = order_entry.read_stp(params)
    terms = OrderTerms(listing, side, kind, "BOTH", time_in_force, qty, price, client_id, stp_mode=stp)
    return terms, amount


def _precise(value: Decimal, name: str) -> Decimal:
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > _PRECISION:
        raise ApiError(-1111, f"Parameter '{name}' has too much precision.")
    return value


def _bought_for(host: Host, listing: Listing, side: str, amount: Decimal) -> Decimal:
    """Return the quantity that trades for an amount of quote, as the book stands."""
    host.catch_up()
    matcher = _matcher(host, listing)
    left, qty, spec = amount, ZERO, listing.spec
    for ticks, lots in matcher.levels(Side.BUY if side == "BUY" else Side.SELL, None):
        price = spec.price(ticks)
        took = min(spec.qty(lots), left / price)
        qty += took
        left -= took * price
        if left <= ZERO:
            break
    return round_to_step(qty, spec.lot_size, ROUND_DOWN)


def _matcher(host: Host, listing: Listing) -> Matcher:
    matcher = host.venue.state.markets[listing.id].matcher
    assert isinstance(matcher, Matcher)
    return matcher


def check(host: Host, terms: OrderTerms) -> None:
    """Raise ApiError -1013 for what a filter refuses, -2010 for a client id that is open."""
    host.catch_up()
    listing, spec = terms.listing, terms.listing.spec
    is_market = terms.type == "MARKET"
    if not spec.lot_size <= terms.qty <= listing.max_qty or terms.qty % spec.lot_size:
        raise _failed("LOT_SIZE")
    if is_market and terms.qty > listing.market_max_qty:
        raise _failed("MARKET_LOT_SIZE")
    quote = host.best(listing.id)
    middle = None if quote is None else spec.price(quote.bid + quote.ask) / 2
    price = middle if is_market else terms.price
    if not is_market:
        if not listing.min_price <= terms.price <= listing.max_price or terms.price % spec.tick_size:
            raise _failed("PRICE_FILTER")
        if middle is not None and not listing.multiplier_down <= terms.price / middle <= listing.multiplier_up:
            raise _failed("PERCENT_PRICE_BY_SIDE")
    if price is not None and terms.qty * price < listing.min_notional:
        raise _failed("NOTIONAL")
    known = host.ledger.newest.get(terms.client_order_id)
    if known is not None and known.is_open:
        raise ApiError(-2010, "Duplicate order sent.")
    if len(host.ledger.open_orders(listing.symbol)) >= listing.max_orders:
        raise _failed("MAX_NUM_ORDERS")


def _failed(name: str) -> ApiError:
    return ApiError(-1013, f"Filter failure: {name}")
