"""The fields of Binance's user data events that are read; every other field is skipped.

Source: "User Data Streams" of USDS-M futures (developers.binance.com); facts D4. Money and quantities stay text here.
Times are milliseconds.
"""

import msgspec

from venues.binance.wire import Milliseconds
from venues.binance.wire_rest import BinanceId, WirePositionSide, WireSide


class UserFrame(msgspec.Struct, gc=False):
    """What tells the kinds apart; `stream` and `data` wrap the event on a combined connection."""

    event: str = msgspec.field(name="e", default="")
    data: msgspec.Raw = msgspec.Raw()
    wrapped: msgspec.Raw = msgspec.field(name="event", default=msgspec.Raw())
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class WireOrderEvent(msgspec.Struct, gc=False):
    """`o` of ORDER_TRADE_UPDATE."""

    symbol: str = msgspec.field(name="s")
    client_order_id: str = msgspec.field(name="c")
    side: WireSide = msgspec.field(name="S")
    qty: str = msgspec.field(name="q")
    execution: str = msgspec.field(name="x")
    status: str = msgspec.field(name="X")
    order_id: BinanceId = msgspec.field(name="i")
    filled_qty: str = msgspec.field(name="z")
    tif: str = msgspec.field(name="f", default="")
    price: str = msgspec.field(name="p", default="0")
    last_qty: str = msgspec.field(name="l", default="0")
    last_price: str = msgspec.field(name="L", default="0")
    fee: str | None = msgspec.field(name="n", default=None)
    fee_asset: str | None = msgspec.field(name="N", default=None)
    time_ms: Milliseconds = msgspec.field(name="T", default=0)
    trade_id: BinanceId = msgspec.field(name="t", default=0)
    is_maker: bool = msgspec.field(name="m", default=False)
    position_side: WirePositionSide = msgspec.field(name="ps", default="BOTH")
    expiry_reason: str | int = msgspec.field(name="er", default="0")


class WireOrderUpdate(msgspec.Struct, gc=False):
    order: WireOrderEvent = msgspec.field(name="o")
    transaction_ms: Milliseconds = msgspec.field(name="T", default=0)


class WireTradeLite(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    client_order_id: str = msgspec.field(name="c")
    side: WireSide = msgspec.field(name="S")
    last_qty: str = msgspec.field(name="l")
    last_price: str = msgspec.field(name="L")
    order_id: BinanceId = msgspec.field(name="i")
    trade_id: BinanceId = msgspec.field(name="t")
    transaction_ms: Milliseconds = msgspec.field(name="T")


class WireBalanceChange(msgspec.Struct, gc=False):
    asset: str = msgspec.field(name="a")
    wallet_balance: str = msgspec.field(name="wb")


class WirePositionChange(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    qty: str = msgspec.field(name="pa")
    entry_price: str = msgspec.field(name="ep", default="0")
    margin_type: str = msgspec.field(name="mt", default="")
    position_side: WirePositionSide = msgspec.field(name="ps", default="BOTH")


class WireAccountChange(msgspec.Struct, gc=False):
    reason: str = msgspec.field(name="m", default="")
    balances: list[WireBalanceChange] = msgspec.field(name="B", default_factory=list)
    positions: list[WirePositionChange] = msgspec.field(name="P", default_factory=list)


class WireAccountUpdate(msgspec.Struct, gc=False):
    change: WireAccountChange = msgspec.field(name="a")
    transaction_ms: Milliseconds = msgspec.field(name="T", default=0)
    event_ms: Milliseconds = msgspec.field(name="E", default=0)


class WireAlgoEvent(msgspec.Struct, gc=False):
    """`o` of ALGO_UPDATE; `order_id` is the order it became, empty before."""

    client_algo_id: str = msgspec.field(name="caid")
    algo_id: BinanceId = msgspec.field(name="aid")
    symbol: str = msgspec.field(name="s")
    status: str = msgspec.field(name="X")
    order_id: str | int = msgspec.field(name="ai", default="")
    filled_qty: str = msgspec.field(name="aq", default="0")
    why: str | None = msgspec.field(name="rm", default=None)


class WireAlgoUpdate(msgspec.Struct, gc=False):
    order: WireAlgoEvent = msgspec.field(name="o")
    transaction_ms: Milliseconds = msgspec.field(name="T", default=0)


class WireLeverageChange(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    leverage: int = msgspec.field(name="l")


class WireConfigUpdate(msgspec.Struct, gc=False):
    change: WireLeverageChange | None = msgspec.field(name="ac", default=None)


class WireKeyExpired(msgspec.Struct, gc=False):
    listen_key: str = msgspec.field(name="listenKey", default="")
