"""What spot answers: the part of /api/v3 that a cash leg needs."""

from decimal import Decimal
from typing import Any

from sim.emulator import order_entry, routes_account, routes_market, spot_entry, spot_words
from sim.emulator.listings import Listing, plain
from sim.emulator.order_words import money
from sim.emulator.records import OrderRecord
from sim.emulator.routes import SPOT_RATE_LIMITS, ApiError, Handler, Params, Route, Security, Session
from venues.port import CancelAll

Json = dict[str, Any]
_DAY_MS = 86_400_000
_MS = 1_000_000
_RESPONSES = ("ACK", "RESULT", "FULL")
_DEPTH_MAX = 5000
_LIMIT_FULL = 100


def _listed(session: Session, params: Params, row: "Any") -> Json | list[Json]:
    """Answer for one symbol by itself, for several or all in a list."""
    session.host.catch_up()
    rows = [row(session, one) for one in spot_entry.symbols_of(session.host, params)]
    found = [one for one in rows if one is not None]
    return found[0] if params.has("symbol") and found else found


# Market


def exchange_info(session: Session, params: Params) -> Json:
    listed = spot_entry.symbols_of(session.host, params)
    return {
        "timezone": "UTC",
        "serverTime": session.now_ms,
        "rateLimits": [limit.row() for limit in SPOT_RATE_LIMITS],
        "exchangeFilters": [],
        "symbols": [_symbol(one) for one in listed],
    }


def _symbol(listing: Listing) -> Json:
    spec = listing.spec
    return {
        "symbol": listing.symbol,
        "status": "TRADING",
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(spot_entry.TYPES),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(listing),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _filters(listing: Listing) -> list[Json]:
    spec = listing.spec
    up, down = plain(listing.multiplier_up), plain(listing.multiplier_down)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": money(listing.min_price),
            "maxPrice": money(listing.max_price),
            "tickSize": money(spec.tick_size),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": money(spec.lot_size),
            "maxQty": money(listing.max_qty),
            "stepSize": money(spec.lot_size),
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": money(Decimal(0)),
            "maxQty": money(listing.market_max_qty),
            "stepSize": money(Decimal(0)),
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": up,
            "bidMultiplierDown": down,
            "askMultiplierUp": up,
            "askMultiplierDown": down,
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": money(listing.min_notional),
            "applyMinToMarket": True,
            "maxNotional": money(Decimal(9_000_000)),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": listing.max_orders},
    ]


def depth(session: Session, params: Params) -> Json:
    listing = order_entry.listing_of(session.host, params)
    limit = min(params.maybe_integer("limit") or 100, _DEPTH_MAX)
    session.host.catch_up()
    book = session.host.book(listing.id)
    if book is None:
        raise ApiError(-1000, "An unknown error occurred while processing the request.", 500)
    return {
        "lastUpdateId": book.update_id,
        "bids": routes_market.levels(listing, book.bids[:limit]),
        "asks": routes_market.levels(listing, book.asks[:limit]),
    }


def depth_weight(params: Params) -> int:
    limit = params.maybe_integer("limit") or 100
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def recent_trades(session: Session, params: Params) -> list[Json]:
    rows = routes_market.recent_trades(session, params)
    for row in rows:
        del row["isRPITrade"]
        row["quoteQty"] = money(Decimal(row["quoteQty"]))
        row["isBestMatch"] = True
    return rows


def agg_trades(session: Session, params: Params) -> list[Json]:
    rows = routes_market.agg_trades(session, params)
    for row in rows:
        del row["nq"]
        row["M"] = True
    return rows


def day_row(session: Session, listing: Listing) -> Json | None:
    found = routes_market.day_row(session, listing)
    best = routes_market.best_words(session, listing)
    if found is None or best is None:
        return None
    return {
        **found,
        "quoteVolume": money(Decimal(found["quoteVolume"])),
        "prevClosePrice": found["openPrice"],
        **{name: best[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")},
    }


def ticker_day(session: Session, params: Params) -> Json | list[Json]:
    return _listed(session, params, day_row)


def price_row(session: Session, listing: Listing) -> Json | None:
    found = routes_market.price_words(session, listing)
    return None if found is None else {"symbol": found["symbol"], "price": found["price"]}


def ticker_price(session: Session, params: Params) -> Json | list[Json]:
    return _listed(session, params, price_row)


def best_row(session: Session, listing: Listing) -> Json | None:
    found = routes_market.best_words(session, listing)
    names = ("symbol", "bidPrice", "bidQty", "askPrice", "askQty")
    return None if found is None else {name: found[name] for name in names}


def ticker_best(session: Session, params: Params) -> Json | list[Json]:
    return _listed(session, params, best_row)


def average_price(session: Session, params: Params) -> Json:
    listing = order_entry.listing_of(session.host, params)
    now_ms = session.host.catch_up() // _MS
    bars = session.host.tape.of(listing.id).bars("1m", now_ms, 5)
    volume = sum((bar.volume for bar in bars), Decimal(0))
    quote = sum((bar.quote for bar in bars), Decimal(0))
    mean = quote / volume if volume else bars[-1].close if bars else Decimal(0)
    return {"mins": 5, "price": money(mean), "closeTime": now_ms}


# Orders


def new_order(session: Session, params: Params) -> Json:
    host = session.host
    terms, amount = spot_entry.read_order(host, params)
    answer = params.maybe_choice("newOrderRespType", _RESPONSES, "FULL")
    spot_entry.check(host, terms)
    record = order_entry.place(host, terms)
    record.quote_order_qty = amount
    if answer == "ACK":
        return spot_words.ack(record)
    return spot_words.result(record) if answer == "RESULT" else spot_words.full(host, record)


def test_order(session: Session, params: Params) -> Json:
    terms, _ = spot_entry.read_order(session.host, params)
    spot_entry.check(session.host, terms)
    return {}


def _cancel(session: Session, params: Params) -> Json:
    host = session.host
    record = order_entry.cancel(host, order_entry.find_order(host, params, -2011, "Unknown order sent."))
    return spot_words.canceled(record, params.maybe("newClientOrderId") or order_entry.new_client_id(host))


def cancel_order(session: Session, params: Params) -> Json:
    return _cancel(session, params)


def cancel_replace(session: Session, params: Params) -> Json:
    """Cancel one order and place another; with STOP_ON_FAILURE not without the cancel."""
    host = session.host
    mode = params.choice("cancelReplaceMode", ("STOP_ON_FAILURE", "ALLOW_FAILURE"))
    named = {"symbol": params.text("symbol")}
    for sent, meant in (("cancelOrderId", "orderId"), ("cancelOrigClientOrderId", "origClientOrderId")):
        if params.has(sent):
            named[meant] = params.text(sent)
    terms, _ = spot_entry.read_order(host, params)
    spot_entry.check(host, terms)
    told: Json = {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS"}
    failure: ApiError | None = None
    try:
        told["cancelResponse"] = _cancel(session, Params(named))
    except ApiError as error:
        told.update(cancelResult="FAILURE", cancelResponse=error.body())
        failure = error
        if mode == "STOP_ON_FAILURE":
            told.update(newOrderResult="NOT_ATTEMPTED", newOrderResponse=None)
            raise SpotReplaceError(-2022, "Order cancel-replace failed.", told) from None
    try:
        told["newOrderResponse"] = spot_words.full(host, order_entry.place(host, terms))
    except ApiError as error:
        told.update(newOrderResult="FAILURE", newOrderResponse=error.body())
        code = -2022 if failure is not None else -2021
        text = "Order cancel-replace failed." if failure else "Order cancel-replace partially failed."
        raise SpotReplaceError(code, text, told) from None
    if failure is not None:
        raise SpotReplaceError(-2021, "Order cancel-replace partially failed.", told)
    return told


class SpotReplaceError(ApiError):
    """A cancel-replace of which not all succeeded; `data` tells what did."""

    def __init__(self, code: int, msg: str, data: Json) -> None:
        super().__init__(code, msg, 409 if code == -2021 else 400)
        self.data = data

    def body(self) -> Json:
        return {**super().body(), "data": self.data}


def query_order(session: Session, params: Params) -> Json:
    return spot_words.queried(order_entry.find_order(session.host, params, -2013, "Order does not exist."))


def open_orders(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = order_entry.maybe_listing(host, params)
    host.catch_up()
    return [spot_words.queried(one) for one in host.ledger.open_orders(None if listing is None else listing.symbol)]


def cancel_all(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = order_entry.listing_of(host, params)
    host.catch_up()
    found = host.ledger.open_orders(listing.symbol)
    if not found:
        raise order_entry.unknown_order()
    host.command(CancelAll(host.catch_up(), host.account, listing.id))
    return [spot_words.canceled(one, order_entry.new_client_id(host)) for one in found if not one.is_open]


def all_orders(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = order_entry.listing_of(host, params)
    limit, first = params.limit(500, 1000), params.maybe_integer("orderId")
    start, end = _times(params)
    host.catch_up()

    def is_asked(one: OrderRecord) -> bool:
        if one.symbol != listing.symbol:
            return False
        if first is not None:
            return one.order_id >= first
        return (start is None or one.time_ms >= start) and (end is None or one.time_ms <= end)

    found = [one for one in host.ledger.orders.values() if is_asked(one)]
    rows = found[:limit] if first is not None or start is not None else found[-limit:]
    return [spot_words.queried(one) for one in rows]


def my_trades(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = order_entry.listing_of(host, params)
    limit, first, order_id = params.limit(500, 1000), params.maybe_integer("fromId"), params.maybe_integer("orderId")
    start, end = _times(params)
    host.catch_up()
    found = [
        one
        for one in host.ledger.fills
        if one.symbol == listing.symbol
        and (order_id is None or one.order_id == order_id)
        and (first is None or one.trade_id >= first)
        and (start is None or one.time_ms >= start)
        and (end is None or one.time_ms <= end)
    ]
    rows = found[:limit] if first is not None or start is not None else found[-limit:]
    return [spot_words.trade(one) for one in rows]


def _times(params: Params) -> tuple[int | None, int | None]:
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    if start is not None and end is not None and end - start > _DAY_MS:
        raise ApiError(-1127, "More than 24 hours between startTime and endTime.")
    return start, end


# Account


def account(session: Session, params: Params) -> Json:
    session.host.catch_up()
    fees = session.host.fees
    return {
        "makerCommission": int(fees.maker * 10_000),
        "takerCommission": int(fees.taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": money(fees.maker),
            "taker": money(fees.taker),
            "buyer": money(Decimal(0)),
            "seller": money(Decimal(0)),
        },
        "canTrade": True,
        "canWithdraw": session.host.settings.may_withdraw,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": session.host.ledger.balance_ms,
        "accountType": "SPOT",
        "balances": spot_words.balances(session.host, with_empty=not params.maybe_flag("omitZeroBalances")),
        "permissions": ["SPOT"],
        "uid": 354937868,
    }


def commission(session: Session, params: Params) -> Json:
    listing = order_entry.listing_of(session.host, params)
    fees = session.host.fees
    nothing = money(Decimal(0))
    rates = {"maker": money(fees.maker), "taker": money(fees.taker), "buyer": nothing, "seller": nothing}
    none = dict.fromkeys(rates, nothing)
    discount = {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB", "discount": nothing}
    return {
        "symbol": listing.symbol,
        "standardCommission": rates,
        "specialCommission": none,
        "taxCommission": none,
        "discount": discount,
    }


def order_limits(session: Session, _: Params) -> list[Json]:
    return [
        {"rateLimitType": "ORDERS", "interval": interval, "intervalNum": number, "limit": limit, "count": used}
        for interval, number, limit, used in session.order_counts()
    ]


def _all_or_one(one: int, every: int) -> Any:
    return lambda params: one if params.has("symbol") else every


def _signed(handler: Handler, weight: int, ws_method: str | None = None) -> Route:
    return Route(handler, Security.SIGNED, weight, ws_method=ws_method)


_ORDER = (1, 1)
_KEY = Security.KEY

ROUTES: dict[tuple[str, str], Route] = {
    # Of the WebSocket API alone, which makes a subscription of its connection out of a success.
    ("WS", "userDataStream.subscribe"): _signed(routes_market.nothing, 2, "userDataStream.subscribe"),
    ("WS", "userDataStream.subscribe.signature"): _signed(
        routes_market.nothing, 2, "userDataStream.subscribe.signature"
    ),
    ("GET", "/api/v3/ping"): Route(routes_market.nothing, ws_method="ping"),
    ("GET", "/api/v3/time"): Route(routes_market.server_time, ws_method="time"),
    ("GET", "/api/v3/exchangeInfo"): Route(exchange_info, weight=20, ws_method="exchangeInfo"),
    ("GET", "/api/v3/depth"): Route(depth, weight=depth_weight, ws_method="depth"),
    ("GET", "/api/v3/trades"): Route(recent_trades, weight=25, ws_method="trades.recent"),
    ("GET", "/api/v3/historicalTrades"): Route(recent_trades, weight=25, ws_method="trades.historical"),
    ("GET", "/api/v3/aggTrades"): Route(agg_trades, weight=4, ws_method="trades.aggregate"),
    ("GET", "/api/v3/klines"): Route(routes_market.klines, weight=2, ws_method="klines"),
    ("GET", "/api/v3/uiKlines"): Route(routes_market.klines, weight=2, ws_method="uiKlines"),
    ("GET", "/api/v3/avgPrice"): Route(average_price, weight=2, ws_method="avgPrice"),
    ("GET", "/api/v3/ticker/24hr"): Route(ticker_day, weight=_all_or_one(2, 80), ws_method="ticker.24hr"),
    ("GET", "/api/v3/ticker/price"): Route(ticker_price, weight=_all_or_one(2, 4), ws_method="ticker.price"),
    ("GET", "/api/v3/ticker/bookTicker"): Route(ticker_best, weight=_all_or_one(2, 4), ws_method="ticker.book"),
    ("POST", "/api/v3/order"): Route(new_order, Security.SIGNED, 1, _ORDER, "order.place"),
    ("POST", "/api/v3/order/test"): _signed(test_order, 1, "order.test"),
    ("GET", "/api/v3/order"): _signed(query_order, 4, "order.status"),
    ("DELETE", "/api/v3/order"): _signed(cancel_order, 1, "order.cancel"),
    ("POST", "/api/v3/order/cancelReplace"): Route(cancel_replace, Security.SIGNED, 1, _ORDER, "order.cancelReplace"),
    ("GET", "/api/v3/openOrders"): Route(
        open_orders, Security.SIGNED, _all_or_one(6, 80), ws_method="openOrders.status"
    ),
    ("DELETE", "/api/v3/openOrders"): _signed(cancel_all, 1, "openOrders.cancelAll"),
    ("GET", "/api/v3/allOrders"): _signed(all_orders, 20, "allOrders"),
    ("GET", "/api/v3/myTrades"): _signed(my_trades, 20, "myTrades"),
    ("GET", "/api/v3/account"): _signed(account, 20, "account.status"),
    ("GET", "/api/v3/account/commission"): _signed(commission, 20, "account.commission"),
    ("GET", "/api/v3/rateLimit/order"): _signed(order_limits, 40, "account.rateLimits.orders"),
    ("POST", "/api/v3/userDataStream"): Route(routes_account.start_stream, _KEY, 2, ws_method="userDataStream.start"),
    ("PUT", "/api/v3/userDataStream"): Route(routes_account.extend_stream, _KEY, 2, ws_method="userDataStream.ping"),
    ("DELETE", "/api/v3/userDataStream"): Route(routes_account.close_stream, _KEY, 2, ws_method="userDataStream.stop"),
}
