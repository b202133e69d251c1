"""Decides how spot prints orders, trades and balances: everything with eight decimals.

Source: spot REST API documentation (order responses ACK, RESULT, FULL; account information; myTrades).
"""

from decimal import Decimal
from typing import Any

from sim.emulator.host import Host
from sim.emulator.order_words import money
from sim.emulator.records import FillRecord, OrderRecord
from venues.model.money import ZERO

Json = dict[str, Any]


def ack(order: OrderRecord) -> Json:
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "transactTime": order.update_ms,
    }


def result(order: OrderRecord) -> Json:
    return {
        **ack(order),
        "price": money(order.price),
        "origQty": money(order.orig_qty),
        "executedQty": money(order.executed_qty),
        "origQuoteOrderQty": money(order.quote_order_qty),
        "cummulativeQuoteQty": money(order.cum_quote),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
        "workingTime": order.time_ms,
        "selfTradePreventionMode": order.stp_mode,
    }


def full(host: Host, order: OrderRecord) -> Json:
    """Return the result with every execution so far."""
    fills: list[FillRecord] = []
    for fill in reversed(host.ledger.fills):
        if fill.time_ms < order.time_ms:
            break
        if fill.order_id == order.order_id:
            fills.insert(0, fill)
    return {
        **result(order),
        "fills": [
            {
                "price": money(fill.price),
                "qty": money(fill.qty),
                "commission": money(fill.commission),
                "commissionAsset": fill.commission_asset,
                "tradeId": fill.trade_id,
            }
            for fill in fills
        ],
    }


def canceled(order: OrderRecord, client_order_id: str) -> Json:
    """Answer to a cancel, which has a client id of its own."""
    told = result(order)
    told["origClientOrderId"] = order.client_order_id
    told["clientOrderId"] = client_order_id
    del told["workingTime"]
    return told


def queried(order: OrderRecord) -> Json:
    told = result(order)
    del told["transactTime"]
    return {
        **told,
        "stopPrice": money(order.stop_price),
        "icebergQty": money(ZERO),
        "time": order.time_ms,
        "updateTime": order.update_ms,
        "isWorking": True,
    }


def trade(fill: FillRecord) -> Json:
    """Return one row of myTrades."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": -1,
        "price": money(fill.price),
        "qty": money(fill.qty),
        "quoteQty": money(fill.quote_qty),
        "commission": money(fill.commission),
        "commissionAsset": fill.commission_asset,
        "time": fill.time_ms,
        "isBuyer": fill.side == "BUY",
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def locked(host: Host) -> dict[str, Decimal]:
    """Return what open orders hold back, by asset."""
    found: dict[str, Decimal] = {}
    for order in host.ledger.open_orders():
        spec = host.listings[order.symbol].spec
        left = order.orig_qty - order.executed_qty
        asset, amount = (spec.quote, left * order.price) if order.side == "BUY" else (spec.base, left)
        found[asset] = found.get(asset, ZERO) + amount
    return found


def balances(host: Host, *, with_empty: bool = True) -> list[Json]:
    held = locked(host)
    return [
        {
            "asset": one.asset,
            "free": money(one.wallet - held.get(one.asset, ZERO)),
            "locked": money(held.get(one.asset, ZERO)),
        }
        for one in host.balances()
        if with_empty or one.wallet
    ]
