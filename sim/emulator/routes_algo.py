"""Conditional orders: /fapi/v1/algoOrder and its relatives."""

from decimal import Decimal
from typing import Any

from sim.emulator import order_entry, order_filters, order_words
from sim.emulator.algo_placing import LIMITED
from sim.emulator.algo_service import is_reached
from sim.emulator.host import Host
from sim.emulator.records import AlgoRecord
from sim.emulator.routes import ApiError, Params, Route, Security, Session
from venues.model.money import ZERO

Json = dict[str, Any]
_WEEK_MS = 7 * 86_400_000
_CALLBACK_MIN, _CALLBACK_MAX = Decimal("0.1"), Decimal(20)
"""Per cent; up to 20 since 2026-10-23. Source: facts C3."""


def new_algo(session: Session, params: Params) -> Json:
    host = session.host
    record = _read(host, params)
    _check(host, record)
    host.algos.add(record)
    return order_words.algo_order(host.listings[record.symbol], record)


def _read(host: Host, params: Params) -> AlgoRecord:
    listing = order_entry.listing_of(host, params)
    if params.maybe_choice("algoType", ("CONDITIONAL", "VP", "TWAP"), "CONDITIONAL") != "CONDITIONAL":
        raise ApiError(-1130, "Data sent for parameter 'algoType' is not valid.")
    side = params.choice("side", order_entry.SIDES, order_entry.bad_side())
    kind = params.choice("type", order_entry.CONDITIONAL, order_entry.bad_type())
    closes = params.maybe_flag("closePosition")
    reduce_only = order_entry.read_reduce_only(host, params)
    if closes and (params.has("quantity") or reduce_only):
        raise order_entry.unwanted("quantity" if params.has("quantity") else "reduceOnly")
    if closes and kind not in {"STOP_MARKET", "TAKE_PROFIT_MARKET"}:
        raise ApiError(-4136, f"Target strategy invalid for orderType '{kind}',closePosition 'true'")
    match = order_entry.read_price_match(params, kind)
    time_in_force = params.maybe_choice("timeInForce", order_entry.TIMES_IN_FORCE, "GTC", order_entry.bad_tif())
    needs_price = kind in LIMITED and match == "NONE"
    trigger = ZERO if kind == "TRAILING_STOP_MARKET" else params.decimal("triggerPrice")
    now_ms = host.catch_up() // 1_000_000
    return AlgoRecord(
        symbol=listing.symbol,
        algo_id=0,
        client_algo_id=order_entry.read_client_id(host, params, "clientAlgoId"),
        order_type=kind,
        side=side,
        position_side=order_entry.read_position_side(host, params),
        time_in_force=time_in_force,
        qty=ZERO if closes else params.decimal("quantity"),
        trigger_price=trigger,
        price=params.decimal("price") if needs_price else ZERO,
        time_ms=now_ms,
        update_ms=now_ms,
        working_type=params.maybe_choice("workingType", order_entry.WORKING_TYPES, "CONTRACT_PRICE"),
        price_protect=params.maybe_flag("priceProtect"),
        price_match=match,
        stp_mode=order_entry.read_stp(params),
        reduce_only=reduce_only,
        close_position=closes,
        activation_price=_activation(params),
        callback_rate=_callback(params) if kind == "TRAILING_STOP_MARKET" else ZERO,
        good_till_ms=order_entry.read_good_till(host, params, time_in_force),
    )


def _activation(params: Params) -> Decimal:
    return params.maybe_decimal("activatePrice") or params.maybe_decimal("activationPrice") or ZERO


def _callback(params: Params) -> Decimal:
    found = params.decimal("callbackRate")
    if not _CALLBACK_MIN <= found <= _CALLBACK_MAX:
        raise ApiError(-2007, "Invalid callBack rate")
    return found


def _check(host: Host, record: AlgoRecord) -> None:
    listing = host.listings[record.symbol]
    market = host.venue.state.markets[listing.id]
    if market.is_settled:
        raise ApiError(-4108, order_filters.HALTED)
    if not record.close_position:
        order_filters.check_qty(listing, record.qty, is_market=record.order_type not in LIMITED)
    for price, is_trigger in ((record.price, False), (record.trigger_price, True), (record.activation_price, True)):
        if price:
            order_filters.check_price(listing, price, is_trigger=is_trigger)
    known = host.algos.find(None, record.client_algo_id)
    if known is not None and known.is_open:
        raise ApiError(-4116, "ClientOrderId is duplicated.")
    if len(host.algos.open_orders()) >= listing.max_algo_orders:
        raise ApiError(-4045, "Reach max stop order limit.")
    if record.close_position and any(
        one.close_position
        and (one.symbol, one.side, one.position_side) == (record.symbol, record.side, record.position_side)
        and _direction(one) == _direction(record)
        for one in host.algos.open_orders(record.symbol)
    ):
        raise ApiError(
            -4130, "An open stop or take profit order with GTE and closePosition in the direction is existing."
        )
    price_now = _watched(host, record)
    if price_now is None:
        return
    if record.order_type == "TRAILING_STOP_MARKET":
        start = record.activation_price
        if start and (start <= price_now if record.side == "SELL" else start >= price_now):
            raise ApiError(-2021, "Order would immediately trigger.")
    elif is_reached(record.order_type, record.side, record.trigger_price, price_now):
        raise ApiError(-2021, "Order would immediately trigger.")


def _direction(record: AlgoRecord) -> str:
    return "take" if record.order_type.startswith("TAKE_PROFIT") else "stop"


def _watched(host: Host, record: AlgoRecord) -> Decimal | None:
    listing = host.listings[record.symbol]
    tape = host.tape.of(listing.id)
    if record.working_type == "MARK_PRICE":
        return None if tape.mark is None else tape.mark.mark
    return listing.spec.price(tape.trades[-1].price) if tape.trades else None


def _find(session: Session, params: Params, error: ApiError) -> AlgoRecord:
    number, client_id = params.maybe_integer("algoId"), params.maybe("clientAlgoId")
    if number is None and client_id is None:
        raise ApiError(-1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!")
    session.host.catch_up()
    found = session.host.algos.find(number, client_id)
    if found is None:
        raise error
    return found


def cancel_algo(session: Session, params: Params) -> Json:
    unknown = ApiError(-2011, "Unknown order sent.")
    found = _find(session, params, unknown)
    if not found.is_open:
        raise unknown
    session.host.algos.cancel(found)
    return {"algoId": found.algo_id, "clientAlgoId": found.client_algo_id, "code": "200", "msg": "success"}


def cancel_all_algos(session: Session, params: Params) -> Json:
    listing = order_entry.listing_of(session.host, params)
    for one in session.host.algos.open_orders(listing.symbol):
        session.host.algos.cancel(one)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def query_algo(session: Session, params: Params) -> Json:
    found = _find(session, params, ApiError(-2013, "Order does not exist."))
    return order_words.queried_algo(session.host.listings[found.symbol], found)


def open_algos(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = order_entry.maybe_listing(host, params)
    number = params.maybe_integer("algoId")
    host.catch_up()
    return [
        order_words.queried_algo(host.listings[one.symbol], one)
        for one in host.algos.open_orders(None if listing is None else listing.symbol)
        if number is None or one.algo_id == number
    ]


def all_algos(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = order_entry.maybe_listing(host, params)
    limit, first = params.limit(500, 1000), params.maybe_integer("algoId")
    host.catch_up()
    start, end = params.span(_WEEK_MS, _WEEK_MS, session.now_ms)
    found = [
        one
        for one in host.algos.orders.values()
        if (listing is None or one.symbol == listing.symbol)
        and (one.algo_id >= first if first is not None else start <= one.time_ms <= end)
    ]
    from_start = first is not None or params.has("startTime")
    rows = found[:limit] if from_start else found[-limit:]
    return [order_words.queried_algo(host.listings[one.symbol], one) for one in rows]


def _open_weight(params: Params) -> int:
    return 1 if params.has("symbol") else 40


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/fapi/v1/algoOrder"): Route(new_algo, Security.SIGNED, 0, (1, 1), "algoOrder.place"),
    ("DELETE", "/fapi/v1/algoOrder"): Route(cancel_algo, Security.SIGNED, 1, ws_method="algoOrder.cancel"),
    ("GET", "/fapi/v1/algoOrder"): Route(query_algo, Security.SIGNED, 1, ws_method="algoOrder.status"),
    ("DELETE", "/fapi/v1/algoOpenOrders"): Route(cancel_all_algos, Security.SIGNED),
    ("GET", "/fapi/v1/openAlgoOrders"): Route(open_algos, Security.SIGNED, _open_weight),
    ("GET", "/fapi/v1/allAlgoOrders"): Route(all_algos, Security.SIGNED, 5),
}
