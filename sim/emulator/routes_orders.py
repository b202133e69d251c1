"""Which orders are placed, changed, cancelled and found: /fapi/v1/order and its relatives."""

from sim.emulator import order_entry, order_words
from sim.emulator.records import OrderRecord
from sim.emulator.routes import ApiError, Handler, Params, Route, Security, Session
from venues.port import ArmDeadMan, CancelAll

_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_DAYS_KEPT, _DAYS_WITHOUT_FILL = 90, 3
_MS = 1_000_000
_RESPONSES = ("ACK", "RESULT")


def new_order(session: Session, params: Params) -> order_words.Json:
    host = session.host
    response = params.maybe_choice("newOrderRespType", _RESPONSES, "ACK")
    terms = order_entry.read_new_order(host, params)
    order_entry.check(host, terms)
    record = order_entry.place(host, terms)
    return order_words.new_order(terms.listing, record, is_ack=response == "ACK")


def test_order(session: Session, params: Params) -> order_words.Json:
    """Check an order and let it be."""
    host = session.host
    terms = order_entry.read_new_order(host, params)
    order_entry.check(host, terms)
    record = OrderRecord(
        terms.listing.symbol, 0, terms.client_order_id, terms.side, terms.type, terms.type, terms.time_in_force,
        terms.position_side, terms.price, terms.qty, session.now_ms, session.now_ms, reduce_only=terms.reduce_only,
        price_match=terms.price_match, stp_mode=terms.stp_mode, good_till_ms=terms.good_till_ms,
    )  # fmt: skip
    told = order_words.new_order(terms.listing, record, is_ack=True)
    told.update(cumQuote="0", avgPrice="0.00")
    return told


def modify_order(session: Session, params: Params) -> order_words.Json:
    record = order_entry.modify(session.host, params)
    return order_words.modified_order(session.host.listings[record.symbol], record, params.maybe_integer("modifyId"))


def cancel_order(session: Session, params: Params) -> order_words.Json:
    host = session.host
    record = order_entry.cancel(host, order_entry.find_order(host, params, -2011, "Unknown order sent."))
    return order_words.new_order(host.listings[record.symbol], record)


def query_order(session: Session, params: Params) -> order_words.Json:
    record = order_entry.find_order(session.host, params, -2013, "Order does not exist.")
    if is_forgotten(record, session.now_ms):
        raise order_entry.no_order()
    return order_words.queried_order(session.host.listings[record.symbol], record)


def is_forgotten(record: OrderRecord, now_ms: int) -> bool:
    """Whether the venue answers for the order no more: 90 days, without executions 3. Source: facts C3."""
    if record.is_open:
        return False
    kept = _DAYS_KEPT if record.executed_qty else _DAYS_WITHOUT_FILL
    return now_ms - record.update_ms > kept * _DAY_MS


def query_open_order(session: Session, params: Params) -> order_words.Json:
    record = order_entry.find_order(session.host, params, -2013, "Order does not exist.")
    if not record.is_open:
        raise order_entry.no_order()
    return order_words.queried_order(session.host.listings[record.symbol], record)


def open_orders(session: Session, params: Params) -> list[order_words.Json]:
    host = session.host
    listing = order_entry.maybe_listing(host, params)
    host.catch_up()
    found = host.ledger.open_orders(None if listing is None else listing.symbol)
    return [order_words.queried_order(host.listings[one.symbol], one) for one in found]


def all_orders(session: Session, params: Params) -> list[order_words.Json]:
    host = session.host
    listing = order_entry.maybe_listing(host, params)
    limit = params.limit(500, 1000)
    host.catch_up()
    start, end = params.span(_WEEK_MS, _WEEK_MS, session.now_ms)
    first = params.maybe_integer("orderId")
    found = [
        one
        for one in host.ledger.orders.values()
        if (listing is None or one.symbol == listing.symbol)
        and (one.order_id >= first if first is not None else start <= one.time_ms <= end)
        and not is_forgotten(one, session.now_ms)
    ]
    has_start = first is not None or params.has("startTime")
    found = found[:limit] if has_start else found[-limit:]
    return [order_words.queried_order(host.listings[one.symbol], one) for one in found]


def cancel_all(session: Session, params: Params) -> order_words.Json:
    host = session.host
    listing = order_entry.listing_of(host, params)
    host.command(CancelAll(host.catch_up(), host.account, listing.id))
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def countdown(session: Session, params: Params) -> order_words.Json:
    host = session.host
    listing = order_entry.listing_of(host, params)
    countdown_ms = params.integer("countdownTime")
    host.command(ArmDeadMan(host.catch_up(), host.account, listing.id, countdown_ms * _MS))
    return {"symbol": listing.symbol, "countdownTime": str(countdown_ms)}


def amendments(session: Session, params: Params) -> list[order_words.Json]:
    host = session.host
    listing = order_entry.listing_of(host, params)
    limit = params.limit(50, 100)
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    number, client_id = params.maybe_integer("orderId"), params.maybe("origClientOrderId")
    found = [
        one
        for one in host.ledger.amendments
        if one.symbol == listing.symbol
        and (number is None or one.order_id == number)
        and (number is not None or client_id is None or one.client_order_id == client_id)
        and (start is None or one.time_ms >= start)
        and (end is None or one.time_ms <= end)
    ]
    return [
        {
            "amendmentId": one.amendment_id,
            "symbol": one.symbol,
            "pair": listing.pair,
            "orderId": one.order_id,
            "clientOrderId": one.client_order_id,
            "time": one.time_ms,
            "amendment": {
                "price": {
                    "before": order_words.price(listing, one.price_before),
                    "after": order_words.price(listing, one.price_after),
                },
                "origQty": {"before": listing.qty_text(one.qty_before), "after": listing.qty_text(one.qty_after)},
                "count": one.count,
            },
            "priceMatch": "NONE",
        }
        for one in reversed(found[-limit:])
    ]


def user_trades(session: Session, params: Params) -> list[order_words.Json]:
    host = session.host
    listing = order_entry.listing_of(host, params)
    limit = params.limit(500, 1000)
    host.catch_up()
    order_id, from_id = params.maybe_integer("orderId"), params.maybe_integer("fromId")
    if from_id is not None and (params.has("startTime") or params.has("endTime")):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    start, end = params.span(_WEEK_MS, _WEEK_MS, session.now_ms)
    found = [
        one
        for one in host.ledger.fills
        if one.symbol == listing.symbol
        and (order_id is None or one.order_id == order_id)
        and (one.trade_id >= from_id if from_id is not None else start <= one.time_ms <= end)
    ]
    from_start = from_id is not None or params.has("startTime")
    return [order_words.trade(listing, one) for one in (found[:limit] if from_start else found[-limit:])]


def force_orders(session: Session, params: Params) -> list[order_words.Json]:
    host = session.host
    listing = order_entry.maybe_listing(host, params)
    prefixes = {"LIQUIDATION": "autoclose-", "ADL": "adl_autoclose"}
    kind = params.maybe_choice("autoCloseType", tuple(prefixes), "")
    wanted = (prefixes[kind],) if kind else tuple(prefixes.values())
    limit = params.limit(50, 100)
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    host.catch_up()
    found = [
        one
        for one in host.ledger.orders.values()
        if one.client_order_id.startswith(wanted)
        and (listing is None or one.symbol == listing.symbol)
        and (start is None or one.time_ms >= start)
        and (end is None or one.time_ms <= end)
    ]
    return [order_words.queried_order(host.listings[one.symbol], one) for one in reversed(found[-limit:])]


_ORDER = (1, 1)


def _signed(handler: Handler, weight: int = 1, ws_method: str | None = None) -> Route:
    return Route(handler, Security.SIGNED, weight, ws_method=ws_method)


def _open_orders_weight(params: Params) -> int:
    return 1 if params.has("symbol") else 40


def _force_orders_weight(params: Params) -> int:
    return 20 if params.has("symbol") else 50


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/fapi/v1/order"): Route(new_order, Security.SIGNED, 0, _ORDER, "order.place"),
    ("PUT", "/fapi/v1/order"): Route(modify_order, Security.SIGNED, 0, _ORDER, "order.modify"),
    ("DELETE", "/fapi/v1/order"): _signed(cancel_order, 1, "order.cancel"),
    ("GET", "/fapi/v1/order"): _signed(query_order, 1, "order.status"),
    ("POST", "/fapi/v1/order/test"): _signed(test_order),
    ("GET", "/fapi/v1/openOrder"): _signed(query_open_order),
    ("GET", "/fapi/v1/openOrders"): Route(open_orders, Security.SIGNED, _open_orders_weight),
    ("GET", "/fapi/v1/allOrders"): _signed(all_orders, 5),
    ("DELETE", "/fapi/v1/allOpenOrders"): _signed(cancel_all),
    ("POST", "/fapi/v1/countdownCancelAll"): _signed(countdown, 10),
    ("GET", "/fapi/v1/orderAmendment"): _signed(amendments),
    ("GET", "/fapi/v1/userTrades"): _signed(user_trades, 5),
    ("GET", "/fapi/v1/forceOrders"): Route(force_orders, Security.SIGNED, _force_orders_weight),
}
