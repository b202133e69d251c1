"""Decides what a request about orders asks of the engine: parameters in, a port command out, the record back."""

import re
from decimal import Decimal
from random import Random
from string import ascii_letters, digits
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from sim.emulator import order_filters
from sim.emulator.listings import Listing
from sim.emulator.records import OrderRecord
from sim.emulator.routes import ApiError, Params
from sim.matching import Matcher
from venues.model.account import PositionMode
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.port import CancelOrder, CancelRejected, ModifyOrder, ModifyRejected, OrderRejected, SubmitOrder

if TYPE_CHECKING:
    from sim.emulator.host import Host

SIDES = ("BUY", "SELL")
TYPES = ("LIMIT", "MARKET")
CONDITIONAL = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD", "RPI", "GTE_GTC")
POSITION_SIDES = ("BOTH", "LONG", "SHORT")
STP_MODES = ("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "NONE")
PRICE_MATCHES = (
    "NONE",
    "OPPONENT",
    "OPPONENT_5",
    "OPPONENT_10",
    "OPPONENT_20",
    "QUEUE",
    "QUEUE_5",
    "QUEUE_10",
    "QUEUE_20",
)
WORKING_TYPES = ("CONTRACT_PRICE", "MARK_PRICE")

_MATCH_DISABLED = {"OPPONENT_10", "OPPONENT_20"}
"""Since 2025-10-23. Source: facts C3."""

_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}", re.ASCII)
_CLIENT_ID_MAX = 36
_GTD_MIN_MS = 600_000
_GTD_MAX_MS = 253_402_300_799_000
_AMENDMENTS_MAX = 10_000
_TIF = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "GTX": TimeInForce.GTX,
    "GTD": TimeInForce.GTD,
    # Post-only against the retail flow; there is only one flow here.
    "RPI": TimeInForce.GTX,
    "GTE_GTC": TimeInForce.GTC,
}
_MS = 1_000_000


def listing_of(host: "Host", params: Params) -> Listing:
    """Return the symbol that is asked for. Raises ApiError -1102, -1121."""
    return find_listing(host, params.text("symbol"))


def maybe_listing(host: "Host", params: Params) -> Listing | None:
    symbol = params.maybe("symbol")
    return None if symbol is None else find_listing(host, symbol)


def find_listing(host: "Host", symbol: str) -> Listing:
    found = host.listings.get(symbol.upper())
    if found is None:
        raise ApiError(-1121, "Invalid symbol.")
    return found


def bad_side() -> ApiError:
    return ApiError(-1117, "Invalid side.")


def bad_type() -> ApiError:
    return ApiError(-1116, "Invalid orderType.")


def bad_tif() -> ApiError:
    return ApiError(-1115, "Invalid timeInForce.")


def unwanted(name: str) -> ApiError:
    return ApiError(-1106, f"Parameter '{name}' sent when not required.")


@frozen
class OrderTerms:
    """What an order asks, whichever request it came by."""

    listing: Listing
    side: str
    type: str
    position_side: str
    time_in_force: str
    qty: Decimal
    price: Decimal
    client_order_id: str
    reduce_only: bool = False
    close_position: bool = False
    price_match: str = "NONE"
    stp_mode: str = "EXPIRE_MAKER"
    good_till_ms: int = 0


def read_position_side(host: "Host", params: Params) -> str:
    """Return BOTH, LONG or SHORT. Raises ApiError -4061 where it does not go with the account's mode."""
    found = params.maybe_choice("positionSide", POSITION_SIDES, "BOTH")
    is_hedge = host.venue.state.accounts[host.account].account.position_mode is PositionMode.HEDGE
    if is_hedge is (found == "BOTH"):
        raise ApiError(-4061, "Order's position side does not match user's setting.")
    return found


def read_client_id(host: "Host", params: Params, name: str) -> str:
    """Return the client's id, or one made up. Raises ApiError -4015, -1100."""
    found = params.maybe(name)
    if found is None:
        return new_client_id(host)
    if len(found) > _CLIENT_ID_MAX:
        raise ApiError(-4015, "Client order id length should be less than 36 chars")
    if _CLIENT_ID.fullmatch(found) is None:
        legal = "^[\\.A-Z\\:/a-z0-9_-]{1,36}$"
        raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
    return found


def new_client_id(host: "Host") -> str:
    rng = Random(f"{host.settings.seed}/client ids/{host.ledger.take_name()}")
    return "".join(rng.choice(ascii_letters + digits) for _ in range(22))


def read_reduce_only(host: "Host", params: Params) -> bool:
    """Return the flag. Raises ApiError -1106 in hedge mode, where the position side says it."""
    found = params.maybe_flag("reduceOnly")
    is_hedge = host.venue.state.accounts[host.account].account.position_mode is PositionMode.HEDGE
    if found and is_hedge:
        raise unwanted("reduceonly")
    return found


def read_good_till(host: "Host", params: Params, time_in_force: str) -> int:
    """Return goodTillDate in ms, 0 for what is not GTD. Raises ApiError -1102, -5040."""
    if time_in_force != "GTD":
        return 0
    found = params.integer("goodTillDate")
    now_ms = host.catch_up() // _MS
    if not now_ms + _GTD_MIN_MS < found < _GTD_MAX_MS:
        raise ApiError(
            -5040,
            "The goodTillDate timestamp must be greater than the current time plus 600 seconds and smaller than "
            f"{_GTD_MAX_MS}",
        )
    return found // 1000 * 1000


def read_stp(params: Params, default: str = "EXPIRE_MAKER") -> str:
    error = ApiError(-5039, "Invalid self trade prevention mode")
    return params.maybe_choice("selfTradePreventionMode", STP_MODES, default, error)


def read_price_match(params: Params, order_type: str) -> str:
    """Return priceMatch. Raises ApiError -5037, -5038, -1106."""
    found = params.maybe_choice("priceMatch", PRICE_MATCHES, "NONE", ApiError(-5037, "Invalid price match"))
    if found == "NONE":
        return found
    if found in _MATCH_DISABLED:
        raise ApiError(-5037, "Invalid price match")
    if order_type not in {"LIMIT", "STOP", "TAKE_PROFIT"}:
        raise ApiError(-5038, "Price match only supports order type: LIMIT, STOP AND TAKE_PROFIT")
    if params.has("price"):
        raise unwanted("price")
    return found


def matched_price(host: "Host", listing: Listing, side: str, match: str) -> Decimal:
    """Return the price of the level a priceMatch names. Raises ApiError -5041 where there is none."""
    word, _, number = match.partition("_")
    book = host.book(listing.id)
    takes = word == "OPPONENT"
    levels = [] if book is None else (book.asks if (side == "BUY") is takes else book.bids)
    index = int(number or 1) - 1
    if index >= len(levels):
        raise ApiError(-5041, "No depth matches this BBO order")
    return listing.spec.price(levels[index][0])


def read_new_order(host: "Host", params: Params) -> OrderTerms:
    """Return what `POST /fapi/v1/order` asks. Raises ApiError for what is missing, malformed or filtered."""
    listing = listing_of(host, params)
    side = params.choice("side", SIDES, bad_side())
    kind = params.choice("type", TYPES + CONDITIONAL, bad_type())
    if kind in CONDITIONAL:
        raise ApiError(
            -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
        )
    if params.maybe_flag("closePosition"):
        raise ApiError(-4136, f"Target strategy invalid for orderType '{kind}',closePosition 'true'")
    match = read_price_match(params, kind)
    if kind == "MARKET":
        for name in ("timeInForce", "price"):
            if params.has(name) and params.maybe(name) not in {"0", "GTC"}:
                raise unwanted(name)
        time_in_force, price = "GTC", ZERO
    else:
        time_in_force = params.choice("timeInForce", TIMES_IN_FORCE, bad_tif())
        price = ZERO if match != "NONE" else params.decimal("price")
    terms = OrderTerms(
        listing,
        side,
        kind,
        read_position_side(host, params),
        time_in_force,
        params.decimal("quantity"),
        price,
        read_client_id(host, params, "newClientOrderId"),
        reduce_only=read_reduce_only(host, params),
        price_match=match,
        stp_mode=read_stp(params),
        good_till_ms=read_good_till(host, params, time_in_force),
    )
    return with_price(host, terms)


def with_price(host: "Host", terms: OrderTerms) -> OrderTerms:
    """Return the terms with the price that a priceMatch means now."""
    if terms.price_match == "NONE":
        return terms
    return evolve(terms, price=matched_price(host, terms.listing, terms.side, terms.price_match))


def check(host: "Host", terms: OrderTerms) -> None:
    """Raise ApiError for what the filters exclude and what the engine would not keep."""
    host.catch_up()
    listing, is_market = terms.listing, terms.type == "MARKET"
    market = host.venue.state.markets[listing.id]
    if market.is_settled:
        raise ApiError(-4108, order_filters.HALTED)
    order_filters.check_qty(listing, terms.qty, is_market=is_market)
    side = Side.BUY if terms.side == "BUY" else Side.SELL
    matcher = market.matcher
    assert isinstance(matcher, Matcher)
    best = matcher.best(side.opposite)
    best_price = None if best is None else listing.spec.price(best)
    reduces = terms.reduce_only or (terms.side, terms.position_side) in {("SELL", "LONG"), ("BUY", "SHORT")}
    if is_market:
        order_filters.check_market(listing, terms.side, best_price, market.mark)
        order_filters.check_notional(listing, terms.qty, market.mark or best_price, reduces=reduces)
    else:
        order_filters.check_price(listing, terms.price)
        order_filters.check_percent(listing, terms.side, terms.price, market.mark)
        order_filters.check_notional(listing, terms.qty, terms.price, reduces=reduces)
    known = host.ledger.newest.get(terms.client_order_id)
    if known is not None and known.is_open:
        raise ApiError(-4116, "ClientOrderId is duplicated.")
    if len(host.ledger.open_orders(listing.symbol)) >= listing.max_orders:
        raise ApiError(-2025, "Reach max open order limit.")
    if terms.time_in_force == "FOK" and not is_market:
        ticks, lots = listing.spec.ticks(terms.price), listing.spec.lots(terms.qty)
        if not matcher.available(side, ticks, lots):
            raise ApiError(-5021, order_filters.FILL_OR_KILL)


def place(host: "Host", terms: OrderTerms, *, algo_id: int = 0) -> OrderRecord:
    """Place an order that was checked; return its record as the engine left it. Raises ApiError for its refusal."""
    listing = terms.listing
    now = host.catch_up()
    is_market = terms.type == "MARKET"
    record = OrderRecord(
        symbol=listing.symbol,
        order_id=0,
        client_order_id=terms.client_order_id,
        side=terms.side,
        type=terms.type,
        orig_type=terms.type,
        time_in_force=terms.time_in_force,
        position_side=terms.position_side,
        price=terms.price,
        orig_qty=terms.qty,
        time_ms=now // _MS,
        update_ms=now // _MS,
        reduce_only=terms.reduce_only,
        close_position=terms.close_position,
        price_match=terms.price_match,
        stp_mode=terms.stp_mode,
        good_till_ms=terms.good_till_ms,
        algo_id=algo_id,
    )
    prevents = terms.stp_mode != "NONE" and terms.time_in_force not in {"FOK", "GTX", "RPI"}
    command = SubmitOrder(
        now,
        host.account,
        listing.id,
        terms.client_order_id,
        Side.BUY if terms.side == "BUY" else Side.SELL,
        terms.qty,
        OrderType.MARKET if is_market else OrderType.LIMIT,
        None if is_market else terms.price,
        _time_in_force(terms),
        PositionSide(terms.position_side),
        reduce_only=terms.reduce_only,
        close_position=terms.close_position,
        expire_ns=terms.good_till_ms * _MS if terms.good_till_ms else None,
        stp=terms.stp_mode.lower() if prevents else None,
    )
    for report in host.submit(command, record):
        if isinstance(report, OrderRejected):
            raise order_filters.refusal(report.reason, report.text, is_spot=listing.spec.is_spot)
    return record


def _time_in_force(terms: OrderTerms) -> TimeInForce:
    if terms.type == "MARKET":
        return TimeInForce.GTC
    return TimeInForce.GTX if terms.type == "LIMIT_MAKER" else _TIF[terms.time_in_force]


def find_order(host: "Host", params: Params, code: int, msg: str) -> OrderRecord:
    """Return the order that orderId or origClientOrderId names. Raises ApiError -1102, or `code` for none."""
    listing = listing_of(host, params)
    if not params.has("orderId") and not params.has("origClientOrderId"):
        raise ApiError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    host.catch_up()
    if params.has("orderId"):
        found = host.ledger.orders.get(params.integer("orderId"))
    else:
        found = host.ledger.newest.get(params.text("origClientOrderId"))
    if found is None or found.symbol != listing.symbol:
        raise ApiError(code, msg)
    return found


def cancel(host: "Host", record: OrderRecord) -> OrderRecord:
    """Cancel an order. Raises ApiError -2011 where it is over."""
    if not record.is_open:
        raise unknown_order()
    instrument = host.listings[record.symbol].id
    for report in host.command(CancelOrder(host.catch_up(), host.account, instrument, record.client_order_id)):
        if isinstance(report, CancelRejected):
            raise unknown_order()
    return record


def unknown_order() -> ApiError:
    return ApiError(-2011, "Unknown order sent.")


def no_order() -> ApiError:
    return ApiError(-2013, "Order does not exist.")


def modify(host: "Host", params: Params) -> OrderRecord:
    """Change an order's price and quantity. Raises ApiError for what is missing, filtered or refused."""
    record = find_order(host, params, -2013, "Order does not exist.")
    listing = host.listings[record.symbol]
    side = params.choice("side", SIDES, bad_side())
    qty = params.decimal("quantity")
    match = read_price_match(params, record.type)
    price = matched_price(host, listing, side, match) if match != "NONE" else params.decimal("price")
    if not record.is_open:
        raise no_order()
    if side != record.side:
        raise bad_side()
    if record.type != "LIMIT":
        raise ApiError(-5025, "Only limit order is supported.")
    if record.amendments >= _AMENDMENTS_MAX:
        raise ApiError(-5026, "Exceed maximum modify order limit.")
    if qty == record.orig_qty and price == record.price:
        raise ApiError(-5027, "No need to modify the order.")
    order_filters.check_qty(listing, qty, is_market=False)
    order_filters.check_price(listing, price)
    order_filters.check_percent(listing, side, price, host.venue.state.markets[listing.id].mark)
    if qty * price < listing.min_notional and not record.reduce_only:
        raise ApiError(-5029, f"Order's notional must be no smaller than {listing.min_notional}")
    command = ModifyOrder(host.catch_up(), host.account, listing.id, record.client_order_id, qty, price)
    for report in host.modify(command):
        if isinstance(report, ModifyRejected):
            raise order_filters.refusal(report.reason, report.text)
    if match != "NONE":
        record.price_match = match
    return record
