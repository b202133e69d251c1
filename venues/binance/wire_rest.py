"""The fields of Binance's REST and WebSocket API answers that are read; every other field is skipped.

Sources: "Trade", "Account" and "Market Data" endpoints of USDS-M futures, "Account endpoints" of spot
(developers.binance.com, August 2026).
Prices, quantities and money stay text here. Times are milliseconds.
"""

from typing import Annotated, Literal

import msgspec

from venues.binance.wire import Milliseconds

BinanceId = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
WireSide = Literal["BUY", "SELL"]
WirePositionSide = Literal["BOTH", "LONG", "SHORT"]


class WireError(msgspec.Struct, gc=False):
    """`{"code": -1121, "msg": "Invalid symbol."}`; a code of 0 is none."""

    code: int = 0
    msg: str = ""


class WireOrder(msgspec.Struct, gc=False):
    """An order as told by new, modify, cancel, query and list requests; the acknowledgement lacks some fields."""

    symbol: str
    order_id: BinanceId = msgspec.field(name="orderId")
    client_order_id: str = msgspec.field(name="clientOrderId")
    status: str
    side: WireSide
    orig_qty: str = msgspec.field(name="origQty")
    executed_qty: str = msgspec.field(name="executedQty", default="0")
    price: str = "0"
    type: str = "LIMIT"
    position_side: WirePositionSide = msgspec.field(name="positionSide", default="BOTH")
    update_ms: Milliseconds = msgspec.field(name="updateTime", default=0)
    time_ms: Milliseconds = msgspec.field(name="time", default=0)


class WireAlgoOrder(msgspec.Struct, gc=False):
    """A conditional order. `type` was the name of the order type in earlier answers."""

    symbol: str
    algo_id: BinanceId = msgspec.field(name="algoId")
    client_algo_id: str = msgspec.field(name="clientAlgoId")
    status: str = msgspec.field(name="algoStatus")
    side: WireSide
    quantity: str = "0"
    price: str = "0"
    order_type: str = msgspec.field(name="orderType", default="")
    older_type: str = msgspec.field(name="type", default="")
    position_side: WirePositionSide = msgspec.field(name="positionSide", default="BOTH")
    update_ms: Milliseconds = msgspec.field(name="updateTime", default=0)


class WireAlgoCanceled(msgspec.Struct, gc=False):
    algo_id: BinanceId = msgspec.field(name="algoId")
    client_algo_id: str = msgspec.field(name="clientAlgoId")


class WireUserTrade(msgspec.Struct, gc=False):
    symbol: str
    trade_id: BinanceId = msgspec.field(name="id")
    order_id: BinanceId = msgspec.field(name="orderId")
    side: WireSide
    price: str
    qty: str
    time_ms: Milliseconds = msgspec.field(name="time")
    is_maker: bool = msgspec.field(name="maker")
    commission: str = "0"
    commission_asset: str = msgspec.field(name="commissionAsset", default="")
    position_side: WirePositionSide = msgspec.field(name="positionSide", default="BOTH")


class WireSpotTrade(msgspec.Struct, gc=False):
    """A row of `GET /api/v3/myTrades`."""

    symbol: str
    trade_id: BinanceId = msgspec.field(name="id")
    order_id: BinanceId = msgspec.field(name="orderId")
    price: str
    qty: str
    commission: str
    commission_asset: str = msgspec.field(name="commissionAsset")
    time_ms: Milliseconds = msgspec.field(name="time")
    is_buyer: bool = msgspec.field(name="isBuyer")
    is_maker: bool = msgspec.field(name="isMaker")


class WirePosition(msgspec.Struct, gc=False):
    """One row of `GET /fapi/v3/positionRisk`; the second version adds leverage and margin type."""

    symbol: str
    qty: str = msgspec.field(name="positionAmt")
    entry_price: str = msgspec.field(name="entryPrice")
    position_side: WirePositionSide = msgspec.field(name="positionSide", default="BOTH")
    liquidation_price: str = msgspec.field(name="liquidationPrice", default="0")
    leverage: str = ""
    margin_type: str = msgspec.field(name="marginType", default="")
    adl: Annotated[int, msgspec.Meta(ge=0, le=4)] | None = None
    update_ms: Milliseconds = msgspec.field(name="updateTime", default=0)


class WireSymbolConfig(msgspec.Struct, gc=False):
    symbol: str
    margin_type: str = msgspec.field(name="marginType")
    leverage: int


class WireAsset(msgspec.Struct, gc=False):
    asset: str
    wallet_balance: str = msgspec.field(name="walletBalance")


class WireAccount(msgspec.Struct, gc=False):
    assets: list[WireAsset]


class WireBalance(msgspec.Struct, gc=False):
    """One row of `GET /fapi/v3/balance`."""

    asset: str
    balance: str


class WireDualSide(msgspec.Struct, gc=False):
    """`GET /fapi/v1/accountConfig` or `/fapi/v1/positionSide/dual`."""

    is_dual: bool = msgspec.field(name="dualSidePosition")
    can_trade: bool = msgspec.field(name="canTrade", default=True)


class WireIncome(msgspec.Struct, gc=False):
    kind: str = msgspec.field(name="incomeType")
    amount: str = msgspec.field(name="income")
    asset: str
    time_ms: Milliseconds = msgspec.field(name="time")
    tran_id: BinanceId | str = msgspec.field(name="tranId")
    symbol: str = ""


class WireLeverage(msgspec.Struct, gc=False):
    symbol: str
    leverage: int


class WireOpenInterest(msgspec.Struct, gc=False):
    symbol: str
    qty: str = msgspec.field(name="openInterest")
    time_ms: Milliseconds = msgspec.field(name="time")


class WireServerTime(msgspec.Struct, gc=False):
    server_ms: Milliseconds = msgspec.field(name="serverTime")


class WireListenKey(msgspec.Struct, gc=False):
    listen_key: str = msgspec.field(name="listenKey")


class WireRateLimit(msgspec.Struct, gc=False):
    """A row of `rateLimits`; `count` comes with the replies of the WebSocket API only."""

    kind: str = msgspec.field(name="rateLimitType")
    interval: str
    interval_num: int = msgspec.field(name="intervalNum")
    limit: int
    count: int | None = None


class WireReply(msgspec.Struct, gc=False):
    """A reply of the WebSocket API: `result` or `error` is read by whoever made the request."""

    id: str | int | None
    status: int
    result: msgspec.Raw = msgspec.Raw()
    error: WireError | None = None
    rate_limits: list[WireRateLimit] = msgspec.field(name="rateLimits", default_factory=list)
