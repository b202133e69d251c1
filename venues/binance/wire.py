"""The fields of Binance's public frames that are read; every other field is skipped.

Sources: USDS-M futures and spot "Websocket Market Streams" and "Market Data Endpoints" of developers.binance.com.
Prices and quantities stay text here. Times are milliseconds; a microsecond stamp (spot streams can be asked for them)
exceeds the limit and is refused instead of being read a thousand times too late.
"""

from typing import Annotated, Literal

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=9_000_000_000_000)]
UpdateId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
WireLevel = tuple[str, str]


class Frame(msgspec.Struct, gc=False):
    """What tells the kinds of frames apart; nested values are checked for syntax and left unread."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    event: str | None = msgspec.field(name="e", default=None)
    last_update_id: msgspec.Raw = msgspec.field(name="lastUpdateId", default=msgspec.Raw())
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    code: msgspec.Raw = msgspec.Raw()


class FrameTimes(msgspec.Struct, gc=False):
    """The times of any frame: its own when bare, those of `data` when wrapped, those of `order` in a forceOrder."""

    stream: str | None = None
    data: "FrameTimes | None" = None
    order: "FrameTimes | None" = msgspec.field(name="o", default=None)
    event: str | None = msgspec.field(name="e", default=None)
    event_ms: int = msgspec.field(name="E", default=0)
    transaction_ms: int = msgspec.field(name="T", default=0)


class WireDepth(msgspec.Struct, gc=False):
    event: Literal["depthUpdate"] = msgspec.field(name="e")
    event_ms: Milliseconds = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_id: UpdateId = msgspec.field(name="U")
    last_id: UpdateId = msgspec.field(name="u")
    bids: list[WireLevel] = msgspec.field(name="b")
    asks: list[WireLevel] = msgspec.field(name="a")
    transaction_ms: Milliseconds = msgspec.field(name="T", default=0)
    prev_id: UpdateId | None = msgspec.field(name="pu", default=None)


class WireSnapshot(msgspec.Struct, gc=False):
    last_id: UpdateId = msgspec.field(name="lastUpdateId")
    bids: list[WireLevel]
    asks: list[WireLevel]
    event_ms: Milliseconds = msgspec.field(name="E", default=0)
    transaction_ms: Milliseconds = msgspec.field(name="T", default=0)


class WireBookTicker(msgspec.Struct, gc=False):
    update_id: UpdateId = msgspec.field(name="u")
    symbol: str = msgspec.field(name="s")
    bid: str = msgspec.field(name="b")
    bid_qty: str = msgspec.field(name="B")
    ask: str = msgspec.field(name="a")
    ask_qty: str = msgspec.field(name="A")
    event: Literal["bookTicker"] = msgspec.field(name="e", default="bookTicker")
    event_ms: Milliseconds = msgspec.field(name="E", default=0)
    transaction_ms: Milliseconds = msgspec.field(name="T", default=0)


class WireTrade(msgspec.Struct, gc=False):
    """`kind` is MARKET for trades between orders in the book; the spot stream has no such field."""

    event: Literal["trade"] = msgspec.field(name="e")
    symbol: str = msgspec.field(name="s")
    trade_id: UpdateId = msgspec.field(name="t")
    price: str = msgspec.field(name="p")
    qty: str = msgspec.field(name="q")
    transaction_ms: Milliseconds = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")
    kind: str = msgspec.field(name="X", default="MARKET")


class WireAggTrade(msgspec.Struct, gc=False):
    event: Literal["aggTrade"] = msgspec.field(name="e")
    symbol: str = msgspec.field(name="s")
    trade_id: UpdateId = msgspec.field(name="a")
    price: str = msgspec.field(name="p")
    qty: str = msgspec.field(name="q")
    transaction_ms: Milliseconds = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class WireMarkPrice(msgspec.Struct, gc=False):
    """For delivery contracts the rate is empty and the next funding time 0."""

    event: Literal["markPriceUpdate"] = msgspec.field(name="e")
    event_ms: Milliseconds = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    mark: str = msgspec.field(name="p")
    index: str = msgspec.field(name="i", default="")
    rate: str = msgspec.field(name="r", default="")
    next_funding_ms: Milliseconds = msgspec.field(name="T", default=0)


class WireLiquidation(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    side: Literal["BUY", "SELL"] = msgspec.field(name="S")
    qty: str = msgspec.field(name="q")
    price: str = msgspec.field(name="p")
    transaction_ms: Milliseconds = msgspec.field(name="T")


class WireForceOrder(msgspec.Struct, gc=False):
    event: Literal["forceOrder"] = msgspec.field(name="e")
    order: WireLiquidation = msgspec.field(name="o")


class WireContractInfo(msgspec.Struct, gc=False):
    event: Literal["contractInfo"] = msgspec.field(name="e")
    event_ms: Milliseconds = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    status: str = msgspec.field(name="cs")
    brackets: msgspec.Raw = msgspec.field(name="bks", default=msgspec.Raw())


class FrameOrigin(msgspec.Struct, gc=False):
    """Where a frame is from: `market` is 1 for USDS-M and 2 for COIN-M, since both share the streams of all symbols."""

    stream: str = ""
    data: "FrameOrigin | None" = None
    market: int = msgspec.field(name="st", default=1)


class WirePremiumIndex(msgspec.Struct, gc=False):
    """`GET /fapi/v1/premiumIndex?symbol=`."""

    symbol: str
    mark: str = msgspec.field(name="markPrice")
    event_ms: Milliseconds = msgspec.field(name="time")
    index: str = msgspec.field(name="indexPrice", default="")
    rate: str = msgspec.field(name="lastFundingRate", default="")
    next_funding_ms: Milliseconds = msgspec.field(name="nextFundingTime", default=0)


class WireFundingRate(msgspec.Struct, gc=False):
    """One row of `GET /fapi/v1/fundingRate`; rows of before 2023-10 carry an empty mark price."""

    symbol: str
    rate: str = msgspec.field(name="fundingRate")
    funding_ms: Milliseconds = msgspec.field(name="fundingTime")
    mark: str = msgspec.field(name="markPrice", default="")
