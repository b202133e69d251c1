"""Which request of the USDS-M futures API each command of the port becomes.

Sources: "New Order", "New Algo Order" and the other trade, account and market data endpoints of USDS-M futures
(developers.binance.com), weights and order counts as documented there in August 2026. Conditional orders go to the
Algo service since 2025-12-02; `/fapi/v1/order` refuses them with -4120.
"""

import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from venues.binance.calls import BinanceCall, Security, UnsupportedCommandError
from venues.binance.sign import Params
from venues.model.account import MarginMode, PositionMode
from venues.model.instrument import Instrument
from venues.model.money import ZERO, to_text
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.net.limits import Priority
from venues.port import (
    AdjustIsolatedMargin,
    ArmDeadMan,
    CancelAll,
    CancelOrder,
    ModifyOrder,
    RejectReason,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
)

BATCH_SUBMIT_MAX: Final = 5
BATCH_CANCEL_MAX: Final = 10

_NS_PER_MS: Final = 1_000_000
_PERCENT: Final = 100
_CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")

SIDES: Final = {Side.BUY: "BUY", Side.SELL: "SELL"}

ALGO_TYPES: Final = {
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.STOP_LIMIT: "STOP",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT_MARKET",
    OrderType.TRAILING_STOP: "TRAILING_STOP_MARKET",
}
"""Conditional orders: they live in the Algo service under an id of their own until they are triggered."""

_TIMES_IN_FORCE: Final = frozenset(
    {TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTX, TimeInForce.GTD}
)
_GTC: Final = (("timeInForce", "GTC"),)
_SELF_TRADE: Final = {
    None: "NONE",
    "trade": "NONE",
    "none": "NONE",
    "expire_taker": "EXPIRE_TAKER",
    "expire_maker": "EXPIRE_MAKER",
    "expire_both": "EXPIRE_BOTH",
}

GET_TIME: Final = BinanceCall("GET", "/fapi/v1/time", (), Security.NONE)
GET_EXCHANGE_INFO: Final = BinanceCall("GET", "/fapi/v1/exchangeInfo", (), Security.NONE)
GET_BRACKETS: Final = BinanceCall("GET", "/fapi/v1/leverageBracket")
GET_FUNDING_INFO: Final = BinanceCall("GET", "/fapi/v1/fundingInfo", (), Security.NONE, 0)
GET_ACCOUNT_CONFIG: Final = BinanceCall("GET", "/fapi/v1/accountConfig", weight=5)
OPEN_LISTEN_KEY: Final = BinanceCall("POST", "/fapi/v1/listenKey", (), Security.KEY, ws_method="userDataStream.start")
KEEP_LISTEN_KEY: Final = BinanceCall("PUT", "/fapi/v1/listenKey", (), Security.KEY, ws_method="userDataStream.ping")
CLOSE_LISTEN_KEY: Final = BinanceCall("DELETE", "/fapi/v1/listenKey", (), Security.KEY, ws_method="userDataStream.stop")


class Named:
    """Requests that know the instruments of their venue."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self.instruments = {instrument.id: instrument for instrument in instruments}

    def symbol(self, instrument: str) -> str:
        """Return what the venue calls it. Raises UnsupportedCommandError for an instrument that is not known."""
        found = self.instruments.get(instrument)
        if found is None:
            raise UnsupportedCommandError(RejectReason.UNKNOWN_INSTRUMENT, f"{instrument} is not among the instruments")
        return found.symbol


class UsdmRequests(Named):
    """Make the requests of one USDS-M venue. `instruments` are those that may be traded there.

    Every method raises UnsupportedCommandError for what the venue has no request for, and for instruments it is not
    given; nothing is asked of the venue's filters here, the venue does that.
    """

    # Orders

    def submit(self, command: SubmitOrder) -> BinanceCall:
        """Return the request for a new order, plain or conditional."""
        params = self._order_params(command)
        priority = Priority.HEDGE if is_urgent(command) else Priority.NEW
        if not _is_plain(command):
            return BinanceCall(
                "POST", "/fapi/v1/algoOrder", params, Security.SIGNED, 0, 1, 1, priority, "algoOrder.place"
            )
        return BinanceCall("POST", "/fapi/v1/order", params, Security.SIGNED, 0, 1, 1, priority, "order.place")

    def modify(self, command: ModifyOrder, side: Side) -> BinanceCall:
        """Return the request that replaces price and quantity; the venue wants the side, which the caller knows."""
        params = (
            ("symbol", self.symbol(command.instrument)),
            ("origClientOrderId", client_id(command.client_order_id)),
            ("side", SIDES[side]),
            ("quantity", quantity(command.qty)),
            ("price", to_text(_given(command.price, "price"))),
        )
        return BinanceCall("PUT", "/fapi/v1/order", params, Security.SIGNED, 0, 1, 1, Priority.NEW, "order.modify")

    def cancel(self, command: CancelOrder, *, is_algo: bool = False) -> BinanceCall:
        """Return the request; `is_algo` for a conditional order that has not been triggered."""
        order_id = client_id(command.client_order_id)
        symbol = self.symbol(command.instrument)
        if is_algo:
            return BinanceCall(
                "DELETE",
                "/fapi/v1/algoOrder",
                (("clientAlgoId", order_id),),
                priority=Priority.CANCEL,
                ws_method="algoOrder.cancel",
            )
        params = (("symbol", symbol), ("origClientOrderId", order_id))
        return BinanceCall("DELETE", "/fapi/v1/order", params, priority=Priority.CANCEL, ws_method="order.cancel")

    def cancel_all(self, command: CancelAll, symbols: Iterable[str] = ()) -> tuple[BinanceCall, ...]:
        """Return the requests: plain and conditional orders are cancelled apart, and symbol by symbol.

        Without an instrument, `symbols` are those that have open orders; left out, all of this venue's.
        """
        if command.instrument is not None:
            symbols = (self.symbol(command.instrument),)
        found = tuple(symbols) or tuple(instrument.symbol for instrument in self.instruments.values())
        return tuple(
            BinanceCall("DELETE", path, (("symbol", symbol),), priority=Priority.CANCEL)
            for symbol in found
            for path in ("/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders")
        )

    def arm_dead_man(self, command: ArmDeadMan) -> BinanceCall:
        """Return the request; the venue's timer covers plain orders only, as far as is known."""
        params = (
            ("symbol", self.symbol(command.instrument)),
            ("countdownTime", str(-(-command.timeout_ns // _NS_PER_MS))),
        )
        return BinanceCall("POST", "/fapi/v1/countdownCancelAll", params, weight=10, priority=Priority.CANCEL)

    # Batches

    def batch_submit(self, commands: Sequence[SubmitOrder]) -> BinanceCall:
        """Return one request for up to five plain orders; the venue answers for each and matches in no known order."""
        if not all(_is_plain(command) for command in commands):
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, "conditional orders cannot be sent in a batch")
        return self._batch("POST", [self._order_params(command) for command in commands], Priority.NEW)

    def batch_modify(self, commands: Sequence[tuple[ModifyOrder, Side]]) -> BinanceCall:
        return self._batch("PUT", [self.modify(command, side).params for command, side in commands], Priority.NEW)

    def batch_cancel(self, commands: Sequence[CancelOrder]) -> BinanceCall:
        """Return one request for up to ten plain orders of one instrument."""
        symbols = {self.symbol(command.instrument) for command in commands}
        if len(symbols) != 1 or len(commands) > BATCH_CANCEL_MAX:
            raise UnsupportedCommandError(
                RejectReason.UNSUPPORTED, f"a batch cancels 1 to {BATCH_CANCEL_MAX} orders of one instrument"
            )
        ids = json.dumps([client_id(command.client_order_id) for command in commands], separators=(",", ":"))
        params = (("symbol", symbols.pop()), ("origClientOrderIdList", ids))
        return BinanceCall("DELETE", "/fapi/v1/batchOrders", params, priority=Priority.CANCEL)

    def _batch(self, method: str, orders: Sequence[Params], priority: Priority) -> BinanceCall:
        if not 0 < len(orders) <= BATCH_SUBMIT_MAX:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"a batch holds 1 to {BATCH_SUBMIT_MAX} orders")
        text = json.dumps([dict(params) for params in orders], separators=(",", ":"))
        return BinanceCall(method, "/fapi/v1/batchOrders", (("batchOrders", text),), Security.SIGNED, 5, 5, 1, priority)

    # Settings

    def set_leverage(self, command: SetLeverage) -> BinanceCall:
        params = (("symbol", self.symbol(command.instrument)), ("leverage", str(command.leverage)))
        return BinanceCall("POST", "/fapi/v1/leverage", params)

    def set_margin_mode(self, command: SetMarginMode) -> BinanceCall:
        found = _MARGIN_TYPES.get(command.mode)
        if found is None:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"mode: futures know no {command.mode} margin")
        params = (("symbol", self.symbol(command.instrument)), ("marginType", found))
        return BinanceCall("POST", "/fapi/v1/marginType", params)

    def set_position_mode(self, command: SetPositionMode) -> BinanceCall:
        is_dual = "true" if command.mode is PositionMode.HEDGE else "false"
        return BinanceCall("POST", "/fapi/v1/positionSide/dual", (("dualSidePosition", is_dual),))

    def adjust_margin(self, command: AdjustIsolatedMargin) -> BinanceCall:
        if not command.amount.is_finite() or not command.amount:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"amount: {command.amount} moves nothing")
        params = [("symbol", self.symbol(command.instrument))]
        if command.position_side is not PositionSide.BOTH:
            params.append(("positionSide", command.position_side.value))
        params.append(("amount", to_text(abs(command.amount))))
        params.append(("type", "1" if command.amount > ZERO else "2"))
        return BinanceCall("POST", "/fapi/v1/positionMargin", tuple(params))

    # Parameters of an order

    def _order_params(self, command: SubmitOrder) -> Params:
        symbol = self.symbol(command.instrument)
        is_algo = not _is_plain(command)
        kind = "LIMIT" if command.type is OrderType.LIMIT else "MARKET"
        if is_algo:
            found = ALGO_TYPES.get(command.type)
            if found is None:
                raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"type: futures know no {command.type} orders")
            kind = found
        if command.min_qty is not None or command.display_qty is not None or command.protection_points is not None:
            raise UnsupportedCommandError(
                RejectReason.UNSUPPORTED, "min_qty, display_qty and protection_points: futures know none"
            )
        params = [("algoType", "CONDITIONAL")] if is_algo else []
        params += (("symbol", symbol), ("side", "BUY" if command.side is Side.BUY else "SELL"), ("type", kind))
        if command.position_side is not PositionSide.BOTH:
            params.append(("positionSide", command.position_side.value))
        params += _time_in_force(command)
        params += _amounts(command, is_algo)
        params += _triggers(command) if is_algo else ()
        params.append(("clientAlgoId" if is_algo else "newClientOrderId", client_id(command.client_order_id)))
        params.append(("selfTradePreventionMode", self_trade(command.stp)))
        params.append(("newOrderRespType", "ACK"))
        return tuple(params)


_MARGIN_TYPES: Final = {MarginMode.CROSS: "CROSSED", MarginMode.ISOLATED: "ISOLATED"}


def is_urgent(command: SubmitOrder) -> bool:
    """Whether the order is there to trade now or to take risk off: then it goes before others."""
    return (
        command.reduce_only
        or command.close_position
        or command.type is OrderType.MARKET
        or command.tif in (TimeInForce.IOC, TimeInForce.FOK)
    )


def _enlarges(command: SubmitOrder) -> bool:
    """Whether an order opens its side of a hedge account, which is not told there what the order is for."""
    if command.position_side is PositionSide.BOTH:
        return False
    return (command.side is Side.BUY) is (command.position_side is PositionSide.LONG)


def _amounts(command: SubmitOrder, is_algo: bool) -> Params:
    params = []
    if (command.reduce_only or command.close_position) and _enlarges(command):
        raise UnsupportedCommandError(RejectReason.REDUCE_ONLY, f"{command.side} enlarges {command.position_side}")
    if command.close_position:
        if command.type not in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET):
            raise UnsupportedCommandError(
                RejectReason.UNSUPPORTED, "close_position: only stop and take-profit market orders close a position"
            )
        params.append(("closePosition", "true"))
    else:
        params.append(("quantity", quantity(command.qty)))
        # A hedge account refuses the flag: there the position side says what reduces.
        if command.reduce_only and command.position_side is PositionSide.BOTH:
            params.append(("reduceOnly", "true"))
    if _has_price(command):
        params.append(("price", to_text(_given(command.price, "price"))))
    if not is_algo and command.trigger_price is not None:
        raise UnsupportedCommandError(RejectReason.BAD_TRIGGER, f"trigger_price: {command.type} orders have none")
    return tuple(params)


def _triggers(command: SubmitOrder) -> Params:
    params = []
    if command.type is OrderType.TRAILING_STOP:
        if command.activation_price is not None:
            params.append(("activatePrice", to_text(command.activation_price)))
        rate = _given(command.callback_rate, "callback_rate") * _PERCENT
        params.append(("callbackRate", to_text(rate.normalize())))
    else:
        params.append(("triggerPrice", to_text(_given(command.trigger_price, "trigger_price"))))
    params.append(("workingType", "MARK_PRICE" if command.trigger_on_mark else "CONTRACT_PRICE"))
    return tuple(params)


def _is_plain(command: SubmitOrder) -> bool:
    return command.type is OrderType.LIMIT or command.type is OrderType.MARKET


def _has_price(command: SubmitOrder) -> bool:
    return command.type is OrderType.LIMIT or command.type is OrderType.STOP_LIMIT


def _time_in_force(command: SubmitOrder) -> Params:
    if not _has_price(command):
        return ()
    if command.tif is TimeInForce.GTC:
        return _GTC
    if command.tif not in _TIMES_IN_FORCE:
        raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"tif: futures know no {command.tif}")
    if command.tif is not TimeInForce.GTD:
        return (("timeInForce", command.tif.value),)
    if command.expire_ns is None:
        raise UnsupportedCommandError(RejectReason.BAD_EXPIRY, "expire_ns: missing, GTD needs it")
    return (("timeInForce", "GTD"), ("goodTillDate", str(command.expire_ns // _NS_PER_MS)))


def _given(number: Decimal | None, name: str) -> Decimal:
    if number is None or not number.is_finite():
        raise UnsupportedCommandError(RejectReason.BAD_PRICE, f"{name}: missing or not a number")
    return number


def quantity(qty: Decimal) -> str:
    """Return a quantity as the venue takes it. Raises UnsupportedCommandError for what is none."""
    if not qty.is_finite() or qty <= ZERO:
        raise UnsupportedCommandError(RejectReason.BELOW_MIN_QTY, f"qty: {qty} is no quantity")
    return to_text(qty)


def self_trade(stp: str | None) -> str:
    """Return the venue's word for the port's; its own default differs from door to door, so it is always sent."""
    found = _SELF_TRADE.get(stp.lower() if stp else None)
    if found is None:
        raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"stp: {stp!r} is not known")
    return found


def client_id(text: str) -> str:
    """Return a client order id the venue takes. Raises UnsupportedCommandError for any other."""
    if _CLIENT_ID.fullmatch(text) is None:
        raise UnsupportedCommandError(
            RejectReason.OTHER, f"client_order_id: {text[:40]!r} is not 1 to 36 of the characters .A-Z:/a-z0-9_-"
        )
    return text
