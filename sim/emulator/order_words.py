"""Decides how orders are printed in answers: Binance's fields, each with the decimals of its symbol.

Source: models of the official SDK 18.1.0 (NewOrderResponse, ModifyOrderResponse, QueryOrderResponse, ...): what is
answered to placing, changing and cancelling has told neither avgPrice nor cumQuote since July 2026.
"""

from decimal import Decimal
from typing import Any

from sim.emulator.listings import Listing
from sim.emulator.records import AlgoRecord, FillRecord, OrderRecord
from venues.model.money import ZERO

Json = dict[str, Any]


def money(value: Decimal) -> str:
    """Return an amount with eight decimals."""
    return f"{value:.8f}"


def price(listing: Listing, value: Decimal) -> str:
    return f"{value:.{listing.price_precision}f}"


def rounded(value: Decimal) -> str:
    """Return an average with eight decimals at most, without zeros at its end."""
    text = f"{value:.8f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def new_order(listing: Listing, order: OrderRecord, *, is_ack: bool = False) -> Json:
    """Answer to a new order; an acknowledgement tells nothing of what it has done since."""
    executed = ZERO if is_ack else order.executed_qty
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": "NEW" if is_ack else order.status,
        "clientOrderId": order.client_order_id,
        "price": price(listing, order.price),
        "origQty": listing.qty_text(order.orig_qty),
        "executedQty": listing.qty_text(executed),
        "cumQty": listing.qty_text(executed),
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": price(listing, order.stop_price),
        "workingType": order.working_type,
        "priceProtect": order.price_protect,
        "origType": order.orig_type,
        "priceMatch": order.price_match,
        "selfTradePreventionMode": order.stp_mode,
        "goodTillDate": order.good_till_ms,
        "updateTime": order.update_ms,
        **_trailing(listing, order),
    }


def modified_order(listing: Listing, order: OrderRecord, modify_id: int | None) -> Json:
    """Answer to a change."""
    told = new_order(listing, order)
    told["pair"] = listing.pair
    if modify_id is not None:
        told["modifyId"] = modify_id
    return told


def queried_order(listing: Listing, order: OrderRecord) -> Json:
    """Answer to a query, with what it has traded."""
    told = new_order(listing, order)
    del told["cumQty"]
    told["avgPrice"] = price(listing, order.avg_price) if not order.executed_qty else average(listing, order)
    told["cumQuote"] = rounded_quote(order.cum_quote)
    told["time"] = order.time_ms
    told["pair"] = listing.pair
    return told


def average(listing: Listing, order: OrderRecord) -> str:
    """Return the mean price with the decimals of prices at least and five at most, as the venue does."""
    return f"{order.avg_price:.{max(5, listing.price_precision)}f}" if order.executed_qty else price(listing, ZERO)


def rounded_quote(value: Decimal) -> str:
    return f"{value:.5f}" if value == value.quantize(Decimal("0.00001")) else f"{value:.8f}"


def _trailing(listing: Listing, order: OrderRecord) -> Json:
    if order.orig_type != "TRAILING_STOP_MARKET":
        return {}
    return {
        "activatePrice": price(listing, order.activation_price),
        "priceRate": rounded(order.callback_rate),
    }


def trade(listing: Listing, fill: FillRecord) -> Json:
    """Return one row of userTrades."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "side": fill.side,
        "price": price(listing, fill.price),
        "qty": listing.qty_text(fill.qty),
        "realizedPnl": money(fill.realized_pnl),
        "marginAsset": listing.spec.settle,
        "quoteQty": rounded_quote(fill.quote_qty),
        "commission": money(fill.commission),
        "commissionAsset": fill.commission_asset,
        "time": fill.time_ms,
        "positionSide": fill.position_side,
        "buyer": fill.side == "BUY",
        "maker": fill.is_maker,
        "pair": listing.pair,
    }


def algo_order(listing: Listing, algo: AlgoRecord) -> Json:
    """Return a conditional order as placing it answers."""
    told: Json = {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_algo_id,
        "algoType": algo.algo_type,
        "orderType": algo.order_type,
        "symbol": algo.symbol,
        "side": algo.side,
        "positionSide": algo.position_side,
        "timeInForce": algo.time_in_force,
        "quantity": listing.qty_text(algo.qty),
        "algoStatus": algo.status,
        "triggerPrice": price(listing, algo.trigger_price),
        "price": price(listing, algo.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": algo.stp_mode,
        "workingType": algo.working_type,
        "priceMatch": algo.price_match,
        "closePosition": algo.close_position,
        "priceProtect": algo.price_protect,
        "reduceOnly": algo.reduce_only,
        "createTime": algo.time_ms,
        "updateTime": algo.update_ms,
        "triggerTime": algo.trigger_ms,
        "goodTillDate": algo.good_till_ms,
    }
    if algo.order_type == "TRAILING_STOP_MARKET":
        told["activatePrice"] = price(listing, algo.activation_price)
        told["callbackRate"] = rounded(algo.callback_rate)
    return told


def queried_algo(listing: Listing, algo: AlgoRecord) -> Json:
    """Return a conditional order as queries answer."""
    return {
        **algo_order(listing, algo),
        "actualOrderId": str(algo.actual_order_id) if algo.actual_order_id else "",
        "actualPrice": rounded(algo.actual_price),
        "actualQty": listing.qty_text(algo.actual_qty),
        "actualType": algo.actual_type,
        "tpTriggerPrice": price(listing, ZERO),
        "tpPrice": price(listing, ZERO),
        "slTriggerPrice": price(listing, ZERO),
        "slPrice": price(listing, ZERO),
        "tpOrderType": "",
    }
