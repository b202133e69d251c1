"""Several orders in one request: each is judged alone, and its error stands in its place."""

import json
from collections.abc import Callable
from typing import Any

from sim.emulator import order_entry, order_words
from sim.emulator.routes import ApiError, Params, Route, Security, Session, missing
from sim.emulator.routes_orders import modify_order, new_order

Json = dict[str, Any]
_ORDERS_MAX = 5
_CANCELS_MAX = 10


def _rows(params: Params) -> list[Params]:
    """Return the orders of `batchOrders`. Raises ApiError -1102, -1130, -4082, -4083."""
    text = params.text("batchOrders")
    try:
        rows = json.loads(text, parse_float=str, parse_int=str)
    except ValueError:
        raise ApiError(-1130, "Data sent for parameter 'batchOrders' is not valid.") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ApiError(-1130, "Data sent for parameter 'batchOrders' is not valid.")
    if len(rows) > _ORDERS_MAX:
        raise ApiError(-4082, "Invalid number of batch place orders.")
    return [Params({str(name): _text(value) for name, value in row.items() if value is not None}) for row in rows]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def _each(session: Session, rows: list[Params], do: Callable[[Session, Params], Json]) -> list[Json]:
    answers: list[Json] = []
    for row in rows:
        try:
            answers.append(do(session, row))
        except ApiError as error:
            answers.append(error.body())
    return answers


def place(session: Session, params: Params) -> list[Json]:
    return _each(session, _rows(params), new_order)


def modify(session: Session, params: Params) -> list[Json]:
    return _each(session, _rows(params), modify_order)


def cancel(session: Session, params: Params) -> list[Json]:
    """Cancel up to ten orders of a symbol by their numbers or the client's ids."""
    host = session.host
    listing = order_entry.listing_of(host, params)
    by_id = params.has("orderIdList")
    if not by_id and not params.has("origClientOrderIdList"):
        raise missing("orderIdList")
    name = "orderIdList" if by_id else "origClientOrderIdList"
    try:
        ids = json.loads(params.text(name))
    except ValueError:
        raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.") from None
    if not isinstance(ids, list) or not ids:
        raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
    if len(ids) > _CANCELS_MAX:
        raise ApiError(-4083, "Invalid number of batch cancel orders.")
    field = "orderId" if by_id else "origClientOrderId"
    rows = [Params({"symbol": listing.symbol, field: _text(one)}) for one in ids]

    def one(at: Session, row: Params) -> Json:
        record = order_entry.cancel(at.host, order_entry.find_order(at.host, row, -2011, "Unknown order sent."))
        return order_words.new_order(listing, record)

    return _each(session, rows, one)


_BATCH = (5, 1)

ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/fapi/v1/batchOrders"): Route(place, Security.SIGNED, 5, _BATCH),
    ("PUT", "/fapi/v1/batchOrders"): Route(modify, Security.SIGNED, 5, _BATCH),
    ("DELETE", "/fapi/v1/batchOrders"): Route(cancel, Security.SIGNED, 1),
}
