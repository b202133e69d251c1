"""What an answer of the spot API says, as reports of the port.

Pure: the body of an answer with HTTP status 200 in, reports out. Every function raises CodecError that names the
field, and nothing else. Source: "Trading endpoints" and "Account endpoints" of the spot REST API.
"""

from decimal import Decimal

import msgspec

from venues.binance.market_answers import Body, MarketAnswers
from venues.binance.reading import NS_PER_MS, STATUSES, known, not_negative, read
from venues.binance.wire import Milliseconds
from venues.binance.wire_rest import BinanceId, WireSpotTrade
from venues.model.order import OrderStatus, Side
from venues.port import OrderAccepted, OrderCanceled, OrderFilled


class _WireAck(msgspec.Struct, gc=False):
    symbol: str
    order_id: BinanceId = msgspec.field(name="orderId")
    client_order_id: str = msgspec.field(name="clientOrderId")
    time_ms: Milliseconds = msgspec.field(name="transactTime")


class _WireCanceled(msgspec.Struct, gc=False):
    """`clientOrderId` is the id of the cancel; the order's own is `origClientOrderId`."""

    symbol: str
    client_order_id: str = msgspec.field(name="origClientOrderId")
    status: str
    executed_qty: str = msgspec.field(name="executedQty", default="0")
    time_ms: Milliseconds = msgspec.field(name="transactTime", default=0)


class _WireSpotBalance(msgspec.Struct, gc=False):
    asset: str
    free: str
    locked: str


class _WireSpotAccount(msgspec.Struct, gc=False):
    balances: list[_WireSpotBalance]


class _WirePermissions(msgspec.Struct, gc=False):
    may_withdraw: bool = msgspec.field(name="enableWithdrawals")


_ack = msgspec.json.Decoder(_WireAck).decode
_canceled = msgspec.json.Decoder(_WireCanceled).decode
_trades = msgspec.json.Decoder(list[WireSpotTrade]).decode
_account = msgspec.json.Decoder(_WireSpotAccount).decode
_permissions = msgspec.json.Decoder(_WirePermissions).decode


class SpotAnswers(MarketAnswers):
    """Read the answers of one spot venue."""

    def accepted(self, account: str, body: Body) -> OrderAccepted:
        wire = read(_ack, body, "new order")
        return OrderAccepted(
            wire.time_ms * NS_PER_MS, account, self._names.id(wire.symbol), wire.client_order_id, str(wire.order_id)
        )

    def canceled(self, account: str, body: Body) -> OrderCanceled | None:
        """Return the end of the order, None when the answer tells of another state: the user stream will say."""
        wire = read(_canceled, body, "cancel order")
        if known(STATUSES, wire.status, "status") is not OrderStatus.CANCELED:
            return None
        filled = not_negative(wire.executed_qty, "executedQty")
        ts, instrument = wire.time_ms * NS_PER_MS, self._names.id(wire.symbol)
        return OrderCanceled(ts, account, instrument, wire.client_order_id, filled)

    def fills(self, account: str, body: Body) -> tuple[OrderFilled, ...]:
        return tuple(
            self._filled(account, wire, Side.BUY if wire.is_buyer else Side.SELL)
            for wire in read(_trades, body, "myTrades")
        )

    def balances(self, body: Body) -> dict[str, Decimal]:
        """Return what is free and what open orders hold together, by asset."""
        found = {}
        for wire in read(_account, body, "account").balances:
            name = wire.asset[:20]
            found[wire.asset] = not_negative(wire.free, f"{name} free") + not_negative(wire.locked, f"{name} locked")
        return found


def may_withdraw(body: Body) -> bool:
    """Return whether the key has permission to withdraw. Raises CodecError."""
    return read(_permissions, body, "apiRestrictions").may_withdraw
