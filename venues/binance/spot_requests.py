"""Which request of the spot API each command of the port becomes.

Sources: "Trading endpoints" and "Account endpoints" of the spot REST API (developers.binance.com), weights as
documented there. Spot has no positions, so there is nothing to set: what is about them is refused here.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from venues.binance.calls import ORDERS_1D, BinanceCall, Security, UnsupportedCommandError
from venues.binance.requests import SIDES, Named, client_id, is_urgent, quantity, self_trade
from venues.binance.sign import Params
from venues.model.money import to_text
from venues.model.order import OrderType, PositionSide, TimeInForce
from venues.net.limits import Priority
from venues.port import CancelAll, CancelOrder, RejectReason, SubmitOrder

SPOT_TIME: Final = BinanceCall("GET", "/api/v3/time", (), Security.NONE)
SPOT_EXCHANGE_INFO: Final = BinanceCall("GET", "/api/v3/exchangeInfo", (), Security.NONE, 20)
SPOT_ACCOUNT: Final = BinanceCall("GET", "/api/v3/account", (("omitZeroBalances", "true"),), weight=20)
OPEN_SPOT_LISTEN_KEY: Final = BinanceCall("POST", "/api/v3/userDataStream", (), Security.KEY, 2)
KEY_PERMISSIONS: Final = BinanceCall("GET", "/sapi/v1/account/apiRestrictions")
"""What the key may do, withdrawals included; futures keys are told there, too."""

_TYPES: Final = {
    OrderType.LIMIT: "LIMIT",
    OrderType.MARKET: "MARKET",
    OrderType.STOP_MARKET: "STOP_LOSS",
    OrderType.STOP_LIMIT: "STOP_LOSS_LIMIT",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT",
}
_PRICED: Final = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})
_STOPS: Final = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_MARKET})
_TIMES_IN_FORCE: Final = frozenset({TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK})


def keep_spot_listen_key(listen_key: str) -> BinanceCall:
    """Return the request that extends a key; unlike futures, spot wants to be told which."""
    return BinanceCall("PUT", "/api/v3/userDataStream", (("listenKey", listen_key),), Security.KEY, 2)


class SpotRequests(Named):
    """Make the requests of one spot venue. Raises UnsupportedCommandError as `UsdmRequests` does."""

    def submit(self, command: SubmitOrder) -> BinanceCall:
        priority = Priority.HEDGE if is_urgent(command) else Priority.NEW
        return BinanceCall(
            "POST",
            "/api/v3/order",
            self._order_params(command),
            Security.SIGNED,
            1,
            1,
            1,
            priority,
            "order.place",
            ORDERS_1D,
        )

    def cancel(self, command: CancelOrder) -> BinanceCall:
        params = (
            ("symbol", self.symbol(command.instrument)),
            ("origClientOrderId", client_id(command.client_order_id)),
        )
        return BinanceCall("DELETE", "/api/v3/order", params, priority=Priority.CANCEL, ws_method="order.cancel")

    def cancel_all(self, command: CancelAll, symbols: Iterable[str] = ()) -> tuple[BinanceCall, ...]:
        """Return the requests, symbol by symbol; -2011 in answer to one says that there was nothing to cancel."""
        if command.instrument is not None:
            symbols = (self.symbol(command.instrument),)
        found = tuple(symbols) or tuple(instrument.symbol for instrument in self.instruments.values())
        return tuple(
            BinanceCall(
                "DELETE",
                "/api/v3/openOrders",
                (("symbol", symbol),),
                priority=Priority.CANCEL,
                ws_method="openOrders.cancelAll",
            )
            for symbol in found
        )

    def _order_params(self, command: SubmitOrder) -> Params:
        symbol = self.symbol(command.instrument)
        kind = _TYPES.get(command.type)
        if kind is None:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"type: spot knows no {command.type} orders")
        if command.reduce_only or command.close_position or command.position_side is not PositionSide.BOTH:
            raise UnsupportedCommandError(RejectReason.UNSUPPORTED, "reduce_only: a spot market has no positions")
        if command.min_qty is not None or command.protection_points is not None or command.trigger_on_mark:
            raise UnsupportedCommandError(
                RejectReason.UNSUPPORTED, "min_qty, protection_points and trigger_on_mark: spot knows none"
            )
        is_post_only = command.type is OrderType.LIMIT and command.tif is TimeInForce.GTX
        params = [("symbol", symbol), ("side", SIDES[command.side]), ("type", "LIMIT_MAKER" if is_post_only else kind)]
        if command.type in _PRICED and not is_post_only:
            if command.tif not in _TIMES_IN_FORCE:
                raise UnsupportedCommandError(RejectReason.UNSUPPORTED, f"tif: spot knows no {command.tif}")
            params.append(("timeInForce", command.tif.value))
        params.append(("quantity", quantity(command.qty)))
        if command.type in _PRICED:
            params.append(("price", _given(command.price, "price")))
        if command.type in _STOPS:
            params.append(("stopPrice", _given(command.trigger_price, "trigger_price")))
        if command.display_qty is not None:
            params.append(("icebergQty", quantity(command.display_qty)))
        params.append(("newClientOrderId", client_id(command.client_order_id)))
        params.append(("selfTradePreventionMode", self_trade(command.stp)))
        params.append(("newOrderRespType", "ACK"))
        return tuple(params)


def _given(number: Decimal | None, name: str) -> str:
    if number is None or not number.is_finite():
        raise UnsupportedCommandError(RejectReason.BAD_PRICE, f"{name}: missing or not a number")
    return to_text(number)
