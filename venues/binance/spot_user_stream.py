"""What an event of a spot account's user stream says, as reports of the port.

Source: "User Data Streams" of spot (developers.binance.com). Events come bare from a listen key, and as
{"subscriptionId", "event"} from a subscription of the WebSocket API.
"""

import msgspec

from venues.binance.market_answers import Body
from venues.binance.reading import NS_PER_MS, SIDES, amount, not_negative, positive, read
from venues.binance.user_events import UserEvent, UserStream
from venues.binance.wire import Milliseconds
from venues.binance.wire_rest import BinanceId, WireSide
from venues.binance.wire_user import WireKeyExpired
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.port import (
    AccountReport,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    RejectReason,
    Report,
)


class _WireExecution(msgspec.Struct, gc=False):
    """`executionReport`. After a cancel `c` is the id of the cancel and `C` the order's own."""

    symbol: str = msgspec.field(name="s")
    client_order_id: str = msgspec.field(name="c")
    side: WireSide = msgspec.field(name="S")
    execution: str = msgspec.field(name="x")
    status: str = msgspec.field(name="X")
    order_id: BinanceId = msgspec.field(name="i")
    filled_qty: str = msgspec.field(name="z")
    original_id: str = msgspec.field(name="C", default="")
    last_qty: str = msgspec.field(name="l", default="0")
    last_price: str = msgspec.field(name="L", default="0")
    fee: str | None = msgspec.field(name="n", default=None)
    fee_asset: str | None = msgspec.field(name="N", default=None)
    transaction_ms: Milliseconds = msgspec.field(name="T", default=0)
    trade_id: BinanceId = msgspec.field(name="t", default=-1)
    is_maker: bool = msgspec.field(name="m", default=False)
    why: str = msgspec.field(name="r", default="")


class _WireBalance(msgspec.Struct, gc=False):
    asset: str = msgspec.field(name="a")
    free: str = msgspec.field(name="f")
    locked: str = msgspec.field(name="l")


class _WireBalances(msgspec.Struct, gc=False):
    balances: list[_WireBalance] = msgspec.field(name="B")
    update_ms: Milliseconds = msgspec.field(name="u", default=0)
    event_ms: Milliseconds = msgspec.field(name="E", default=0)


_execution = msgspec.json.Decoder(_WireExecution).decode
_balances = msgspec.json.Decoder(_WireBalances).decode
_key_expired = msgspec.json.Decoder(WireKeyExpired).decode


class SpotUserStream(UserStream):
    """Decode one account's events."""

    def __init__(self, venue: str, account: str) -> None:
        super().__init__(
            venue,
            account,
            {
                "executionReport": self._on_execution,
                "outboundAccountPosition": self._on_balances,
                "listenKeyExpired": self._on_end,
                "eventStreamTerminated": self._on_end,
            },
        )

    def _on_execution(self, raw: Body) -> UserEvent:
        wire = read(_execution, raw, "executionReport")
        report = self._fill(wire) if wire.execution == "TRADE" else self._change(wire)
        return UserEvent("executionReport", () if report is None else (report,))

    def _fill(self, wire: _WireExecution) -> Report | None:
        fill = OrderFilled(
            wire.transaction_ms * NS_PER_MS,
            self.account,
            self._names.id(wire.symbol),
            wire.client_order_id,
            str(wire.order_id),
            str(wire.trade_id),
            SIDES[wire.side],
            positive(wire.last_price, "L"),
            positive(wire.last_qty, "l"),
            Liquidity.MAKER if wire.is_maker else Liquidity.TAKER,
            amount(wire.fee, "n") if wire.fee is not None else ZERO,
            wire.fee_asset or "",
            FillReason.QUEUE if wire.is_maker else FillReason.TAKER,
        )
        return fill if self._fills.is_new((wire.symbol, wire.order_id, wire.trade_id)) else None

    def _change(self, wire: _WireExecution) -> Report | None:
        """Return what has become of the order; an execution type that is not known is judged by the order's status."""
        ts, instrument = wire.transaction_ms * NS_PER_MS, self._names.id(wire.symbol)
        filled = not_negative(wire.filled_qty, "z")
        is_over = wire.status in ("CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED")
        word = wire.status if is_over else wire.execution
        if word == "NEW":
            return OrderAccepted(ts, self.account, instrument, wire.client_order_id, str(wire.order_id))
        if word == "CANCELED":
            client_id = wire.original_id or wire.client_order_id
            return OrderCanceled(ts, self.account, instrument, client_id, filled)
        if word in ("EXPIRED", "EXPIRED_IN_MATCH"):
            return OrderExpired(ts, self.account, instrument, wire.client_order_id, filled)
        if word == "REJECTED":
            reason = _REASONS.get(wire.why, RejectReason.OTHER)
            return OrderRejected(ts, self.account, instrument, wire.client_order_id, reason, wire.why[:240])
        return None

    def _on_balances(self, raw: Body) -> UserEvent:
        """Tell the balances of the assets that may have changed: what is free and what orders hold."""
        wire = read(_balances, raw, "outboundAccountPosition")
        balances = {}
        for one in wire.balances:
            name = one.asset[:20]
            balances[one.asset] = not_negative(one.free, f"{name} f") + not_negative(one.locked, f"{name} l")
        ts = (wire.update_ms or wire.event_ms) * NS_PER_MS
        return UserEvent("outboundAccountPosition", (AccountReport(ts, self.account, balances, "order"),))

    def _on_end(self, raw: Body) -> UserEvent:
        key = read(_key_expired, raw, "listenKeyExpired").listen_key
        return UserEvent("listenKeyExpired", listen_key=key or "terminated")


_REASONS = {
    "INSUFFICIENT_BALANCES": RejectReason.INSUFFICIENT_BALANCE,
    "STOP_PRICE_WOULD_TRIGGER_IMMEDIATELY": RejectReason.WOULD_TRIGGER,
    "WOULD_MATCH_IMMEDIATELY": RejectReason.WOULD_TAKE,
    "OCO_BAD_PRICES": RejectReason.BAD_PRICE,
}
"""Source: "Order Reject Reason" of the spot user data stream."""
