"""What a public frame of Binance (USDS-M futures or spot) says, as messages of the port.

Pure: bytes in, a message out. A decoder belongs to one market, because the perpetual and the spot pair share their
symbol. Streams are told apart by the name in the combined-stream wrapper, bare payloads by their event type. The name
matters: partial books (`@depth20`) and books with RPI orders (`@rpiDepth`) arrive on futures under the same event
type as increments, and must not be applied to a local book.
"""

from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeVar

import msgspec

from venues.binance.errors import CodecError, CodecErrorReason
from venues.binance.grid import Grid, plain_decimal
from venues.binance.states import state_of
from venues.binance.wire import (
    Frame,
    FrameOrigin,
    FrameTimes,
    WireAggTrade,
    WireBookTicker,
    WireContractInfo,
    WireDepth,
    WireForceOrder,
    WireFundingRate,
    WireLevel,
    WireMarkPrice,
    WirePremiumIndex,
    WireSnapshot,
    WireTrade,
)
from venues.model.book import Level
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    FundingRate,
    InstrumentStatus,
    LiquidationPrint,
    MarkPrice,
    Message,
    Quote,
    Trade,
)

__all__ = ["FRAME_BYTES_MAX", "BinanceDecoder", "CodecError", "CodecErrorReason"]

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""A snapshot of 1000 levels a side takes 64 KiB, the largest increment of the 2024 recordings 35 KiB."""

IGNORED_KINDS_MAX: Final = 256
_KIND_CHARS_MAX: Final = 32
_NS_PER_MS: Final = 1_000_000
_COIN_M: Final = 2

_STREAMS_MAX: Final = 1_024
_LEFTOVER_SHARE: Final = 8

_T = TypeVar("_T")
_OnEvent = Callable[[bytes | msgspec.Raw, str | None], Message | None]

_STREAM_EVENT: Final = {
    "aggTrade": "aggTrade",
    "trade": "trade",
    "bookTicker": "bookTicker",
    "depth": "depthUpdate",
    "markPrice": "markPriceUpdate",
    "forceOrder": "forceOrder",
    "contractInfo": "contractInfo",
}
"""Kind of stream (`btcusdt@depth@0ms`: depth) to the event type it carries. Others hold nothing for us."""

_frame = msgspec.json.Decoder(Frame).decode
_times = msgspec.json.Decoder(FrameTimes).decode
_depth = msgspec.json.Decoder(WireDepth).decode
_snapshot = msgspec.json.Decoder(WireSnapshot).decode
_book_ticker = msgspec.json.Decoder(WireBookTicker).decode
_trade = msgspec.json.Decoder(WireTrade).decode
_agg_trade = msgspec.json.Decoder(WireAggTrade).decode
_mark_price = msgspec.json.Decoder(WireMarkPrice).decode
_force_order = msgspec.json.Decoder(WireForceOrder).decode
_contract_info = msgspec.json.Decoder(WireContractInfo).decode
_origin = msgspec.json.Decoder(FrameOrigin).decode
_premium_index = msgspec.json.Decoder(WirePremiumIndex).decode
_funding_rates = msgspec.json.Decoder(list[WireFundingRate]).decode


class _Feed:
    """What the frames of one symbol are read with."""

    __slots__ = ("has_prev_id", "instrument", "lots", "off_grid", "off_grid_levels", "stream_symbol", "symbol", "ticks")

    def __init__(self, symbol: str, instrument: Instrument) -> None:
        self.symbol = symbol
        self.stream_symbol = symbol.lower()
        self.instrument = instrument.id
        self.has_prev_id = not instrument.is_spot
        self.ticks = Grid(instrument.tick_size, f"{symbol} price", is_price=True)
        self.lots = Grid(instrument.lot_size, f"{symbol} quantity", is_price=False)
        self.off_grid: set[str] = set()
        self.off_grid_levels = 0

    def size(self, text: str) -> int:
        return self.lots[text] or self.refuse_empty(text)

    def refuse_empty(self, text: str) -> NoReturn:
        raise CodecError(CodecErrorReason.BAD_NUMBER, f"{self.symbol} quantity {text}: less than one lot")

    def levels(self, rows: list[WireLevel]) -> list[Level]:
        ticks = self.ticks
        lots = self.lots
        try:
            return [(ticks[price], lots[qty]) for price, qty in rows]
        except CodecError as error:
            if error.reason is not CodecErrorReason.OFF_GRID:
                raise
            return [self._level(row) for row in rows if not self._is_leftover(row)]

    def snapshot_levels(self, rows: list[WireLevel]) -> list[Level]:
        """Return the levels on the grid. Raises CodecError OFF_GRID if those that are not are more than leftovers."""
        off_grid = [price for price, _ in rows if not self._is_on_grid(price)]
        if len(off_grid) * _LEFTOVER_SHARE > len(rows):
            self.ticks[off_grid[0]]
        self.off_grid.update(off_grid)
        return self.levels(rows)

    def _is_on_grid(self, price: str) -> bool:
        try:
            return bool(self.ticks[price])
        except CodecError as error:
            if error.reason is not CodecErrorReason.OFF_GRID:
                raise
            return False

    def _is_leftover(self, row: WireLevel) -> bool:
        """Whether to pass over a level: none is there any more, or it is one of the snapshot's."""
        price, qty = row
        if self._is_on_grid(price) or (self.lots[qty] and price not in self.off_grid):
            return False
        self.off_grid_levels += 1
        return True

    def _level(self, row: WireLevel) -> Level:
        return self.ticks[row[0]], self.lots[row[1]]


class BinanceDecoder:
    """Decode the public frames of one market, futures or spot.

    `instruments` maps the venue's symbols (upper case) to instruments. Book snapshots name no symbol: `decode` takes
    them for `snapshot_symbol`, which may be left out when there is one instrument only.
    `ignored` counts frames that are valid and hold nothing for us, by kind: the stream's kind when wrapped, else the
    event type; `reply` and `error` for answers to subscriptions; `trade:ADL` and the like for trades outside the book;
    `coin-m` and `other symbols` for what the streams of all symbols carry beside ours.
    At most 256 kinds are told apart, the rest is `other`. `odd_lots` counts quantities rounded down to whole lots.

    After the venue has made a tick coarser, old orders rest between the new ticks and can only go away. A snapshot
    shows them, up to an eighth of a side: such levels are left out, of the deltas too, and counted in
    `off_grid_levels`; what is shown is less than what could be traded. More of them, or a new one in a delta, mean that
    the tick is not the configured one: the frame is refused (OFF_GRID), so that the book is not believed. Arrays
    (`!markPrice@arr`) are refused too: one frame, one message; marks come by symbol.
    """

    def __init__(self, instruments: Mapping[str, Instrument], snapshot_symbol: str | None = None) -> None:
        self._feeds = {symbol: _Feed(symbol, instrument) for symbol, instrument in instruments.items()}
        if snapshot_symbol is None and len(self._feeds) == 1:
            (snapshot_symbol,) = self._feeds
        if snapshot_symbol is not None and snapshot_symbol not in self._feeds:
            raise ValueError(f"snapshot_symbol: {snapshot_symbol} is not among the instruments")
        self._snapshot_symbol = snapshot_symbol
        self._events: dict[str, _OnEvent] = {
            "aggTrade": self._on_agg_trade,
            "trade": self._on_trade,
            "bookTicker": self._on_book_ticker,
            "depthUpdate": self._on_depth,
            "markPriceUpdate": self._on_mark_price,
            "forceOrder": self._on_force_order,
            "contractInfo": self._on_contract_info,
        }
        # By stream, for the streams that carry something: who reads it and the symbol it must be of (None: any).
        self._streams: dict[str, tuple[_OnEvent, str | None]] = {}
        self.ignored: dict[str, int] = {}

    @property
    def odd_lots(self) -> int:
        return sum(feed.lots.rounded_down for feed in self._feeds.values())

    @property
    def off_grid_levels(self) -> int:
        return sum(feed.off_grid_levels for feed in self._feeds.values())

    def decode(self, raw: bytes) -> Message | None:
        """Return what the websocket frame says, or None when that is nothing for us.

        Of duplicate keys the last counts. Raises CodecError, and nothing else whatever the bytes are.
        """
        try:
            return _guarded(self._decode, raw)
        except CodecError as error:
            if error.reason is CodecErrorReason.UNKNOWN_SYMBOL and self._is_of_others(raw):
                return None
            raise

    @staticmethod
    def peek_ns(raw: bytes) -> int:
        """Return when the venue says it made the frame (ns UTC), 0 when that cannot be read.

        Much cheaper than `decode`, and an upper bound: never earlier than the `ts` of what `decode` returns.
        """
        try:
            frame = _times(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return 0
        body = frame if frame.stream is None or frame.data is None else frame.data
        if body.order is not None:
            body = body.order
        told_ms = body.event_ms if body.event == "markPriceUpdate" else body.transaction_ms or body.event_ms
        return told_ms * _NS_PER_MS

    def decode_snapshot(self, raw: bytes, symbol: str) -> BookSnapshot:
        """Return the answer to `GET /fapi/v1/depth` or `/api/v3/depth`. Raises CodecError."""
        return _guarded(lambda raw: self._on_snapshot(raw, symbol), raw)

    def decode_premium_index(self, raw: bytes) -> MarkPrice:
        """Return the answer to `GET /fapi/v1/premiumIndex?symbol=`, one object. Raises CodecError."""
        return _guarded(self._on_premium_index, raw)

    def decode_funding_rates(self, raw: bytes) -> list[FundingRate]:
        """Return the rows of `GET /fapi/v1/fundingRate` in the order given. Raises CodecError if one is wrong."""
        return _guarded(self._on_funding_rates, raw)

    def _decode(self, raw: bytes) -> Message | None:
        frame = _frame(raw)
        if frame.stream is not None and frame.data:
            return self._on_stream(frame.stream, frame.data)
        if frame.event is not None:
            on_event = self._events.get(frame.event)
            if on_event is not None:
                return on_event(raw, None)
            self._ignore(frame.event)
            return None
        if frame.last_update_id:
            if self._snapshot_symbol is None:
                raise CodecError(CodecErrorReason.UNKNOWN_SYMBOL, "a book snapshot, and nothing tells of which symbol")
            return self._on_snapshot(raw, self._snapshot_symbol)
        if frame.error or frame.code or frame.result:
            self._ignore("error" if frame.error or frame.code else "reply")
            return None
        return self._on_book_ticker(raw, None)

    def _on_stream(self, stream: str, data: msgspec.Raw) -> Message | None:
        known = self._streams.get(stream)
        if known is not None:
            return known[0](data, known[1])
        name, _, rest = stream.partition("@")
        kind = name[1:] if name.startswith("!") else rest.partition("@")[0]
        event = _STREAM_EVENT.get(kind)
        if event is not None:
            on_event, symbol = self._events[event], None if name.startswith("!") else name
            if len(self._streams) < _STREAMS_MAX:
                self._streams[stream] = on_event, symbol
            return on_event(data, symbol)
        self._ignore(kind.partition("_")[0] if kind else _frame(data).event or "other")
        return None

    def _is_of_others(self, raw: bytes) -> bool:
        """Whether a frame of an unknown symbol is no mistake: the streams of all symbols carry COIN-M's, too."""
        try:
            origin = _origin(raw)
        except msgspec.MsgspecError:
            return False
        if (origin.data or origin).market == _COIN_M:
            self._ignore("coin-m")
            return True
        if origin.stream.startswith("!"):
            self._ignore("other symbols")
            return True
        return False

    def _ignore(self, kind: str) -> None:
        kind = kind[:_KIND_CHARS_MAX]
        if kind not in self.ignored and len(self.ignored) >= IGNORED_KINDS_MAX:
            kind = "other"
        self.ignored[kind] = self.ignored.get(kind, 0) + 1

    def _feed(self, symbol: str, stream_symbol: str | None) -> _Feed:
        feed = self._feeds.get(symbol)
        if feed is None:
            raise CodecError(CodecErrorReason.UNKNOWN_SYMBOL, repr(symbol[:_KIND_CHARS_MAX]))
        if stream_symbol is not None and stream_symbol != feed.stream_symbol:
            raise CodecError(
                CodecErrorReason.BAD_FIELD, f"the stream is of {stream_symbol[:32]!r}, the data of {symbol}"
            )
        return feed

    def _on_depth(self, raw: bytes | msgspec.Raw, stream_symbol: str | None) -> BookDelta:
        wire = _depth(raw)
        feed = self._feed(wire.symbol, stream_symbol)
        if wire.last_id < wire.first_id:
            raise CodecError(
                CodecErrorReason.BAD_SEQUENCE, f"{feed.symbol} depth: u {wire.last_id} is below U {wire.first_id}"
            )
        prev_id = -1
        if feed.has_prev_id:
            if wire.prev_id is None:
                raise CodecError(CodecErrorReason.BAD_FIELD, f"{feed.symbol} depth: no pu")
            prev_id = wire.prev_id
        return BookDelta(
            (wire.transaction_ms or wire.event_ms) * _NS_PER_MS,
            feed.instrument,
            wire.first_id,
            wire.last_id,
            prev_id,
            feed.levels(wire.bids),
            feed.levels(wire.asks),
        )

    def _on_snapshot(self, raw: bytes, symbol: str) -> BookSnapshot:
        wire = _snapshot(raw)
        feed = self._feed(symbol, None)
        feed.off_grid.clear()
        bids = feed.snapshot_levels(wire.bids)
        asks = feed.snapshot_levels(wire.asks)
        if not all(lots for _, lots in bids) or not all(lots for _, lots in asks):
            raise CodecError(CodecErrorReason.BAD_NUMBER, f"{symbol} snapshot: a level without quantity")
        if bids and asks and max(bids)[0] >= min(asks)[0]:
            raise CodecError(CodecErrorReason.CROSSED, f"{symbol} snapshot {wire.last_id}")
        return BookSnapshot(
            (wire.transaction_ms or wire.event_ms) * _NS_PER_MS, feed.instrument, wire.last_id, bids, asks
        )

    def _on_book_ticker(self, raw: bytes | msgspec.Raw, stream_symbol: str | None) -> Quote:
        wire = _book_ticker(raw)
        feed = self._feed(wire.symbol, stream_symbol)
        ticks, lots = feed.ticks, feed.lots
        bid = ticks[wire.bid]
        ask = ticks[wire.ask]
        if bid >= ask:
            raise CodecError(CodecErrorReason.CROSSED, f"{feed.symbol} bookTicker: bid {wire.bid}, ask {wire.ask}")
        return Quote(
            (wire.transaction_ms or wire.event_ms) * _NS_PER_MS,
            feed.instrument,
            wire.update_id,
            bid,
            lots[wire.bid_qty] or feed.refuse_empty(wire.bid_qty),
            ask,
            lots[wire.ask_qty] or feed.refuse_empty(wire.ask_qty),
        )

    def _on_trade(self, raw: bytes | msgspec.Raw, stream_symbol: str | None) -> Trade | None:
        wire = _trade(raw)
        feed = self._feed(wire.symbol, stream_symbol)
        if wire.kind != "MARKET":
            self._ignore(f"trade:{wire.kind}")
            return None
        return _trade_of(feed, wire)

    def _on_agg_trade(self, raw: bytes | msgspec.Raw, stream_symbol: str | None) -> Trade:
        wire = _agg_trade(raw)
        return _trade_of(self._feed(wire.symbol, stream_symbol), wire)

    def _on_mark_price(self, raw: bytes | msgspec.Raw, stream_symbol: str | None) -> MarkPrice:
        wire = _mark_price(raw)
        return _mark_price_of(self._feed(wire.symbol, stream_symbol), wire)

    def _on_force_order(self, raw: bytes | msgspec.Raw, stream_symbol: str | None) -> LiquidationPrint:
        """The liquidation order as it was sent: its own limit price and whole quantity, not its fills."""
        order = _force_order(raw).order
        feed = self._feed(order.symbol, stream_symbol)
        return LiquidationPrint(
            order.transaction_ms * _NS_PER_MS,
            feed.instrument,
            Side.SELL if order.side == "SELL" else Side.BUY,
            plain_decimal(order.price, f"{feed.symbol} liquidation price", positive=True),
            plain_decimal(order.qty, f"{feed.symbol} liquidation quantity", positive=True),
        )

    def _on_contract_info(self, raw: bytes | msgspec.Raw, stream_symbol: str | None) -> InstrumentStatus:
        """The state of a symbol; that its brackets have changed is counted, they are asked for."""
        wire = _contract_info(raw)
        feed = self._feed(wire.symbol, stream_symbol)
        if wire.brackets:
            self._ignore("contractInfo:brackets")
        return InstrumentStatus(wire.event_ms * _NS_PER_MS, feed.instrument, state_of(wire.status))

    def _on_premium_index(self, raw: bytes) -> MarkPrice:
        wire = _premium_index(raw)
        return _mark_price_of(self._feed(wire.symbol, None), wire)

    def _on_funding_rates(self, raw: bytes) -> list[FundingRate]:
        return [
            FundingRate(
                row.funding_ms * _NS_PER_MS,
                self._feed(row.symbol, None).instrument,
                plain_decimal(row.rate, f"{row.symbol} funding rate", positive=False),
                plain_decimal(row.mark, f"{row.symbol} mark price", positive=True) if row.mark else None,
            )
            for row in _funding_rates(raw)
        ]


def _guarded(decode: Callable[[bytes], _T], raw: bytes) -> _T:
    if len(raw) > FRAME_BYTES_MAX:
        raise CodecError(CodecErrorReason.TOO_LARGE, f"{len(raw)} bytes, at most {FRAME_BYTES_MAX} are read")
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        raise CodecError(CodecErrorReason.BAD_FIELD, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(CodecErrorReason.NOT_JSON, str(error)) from None
    except RecursionError:
        raise CodecError(CodecErrorReason.NOT_JSON, "nested too deep") from None


def _trade_of(feed: _Feed, wire: WireTrade | WireAggTrade) -> Trade:
    """When the buyer is the maker, the seller took."""
    return Trade(
        wire.transaction_ms * _NS_PER_MS,
        feed.instrument,
        wire.trade_id,
        feed.ticks[wire.price],
        feed.size(wire.qty),
        Side.SELL if wire.buyer_is_maker else Side.BUY,
    )


def _mark_price_of(feed: _Feed, wire: WireMarkPrice | WirePremiumIndex) -> MarkPrice:
    """The mark price has no transaction time: its `T` is the next funding."""
    return MarkPrice(
        wire.event_ms * _NS_PER_MS,
        feed.instrument,
        plain_decimal(wire.mark, f"{feed.symbol} mark price", positive=True),
        plain_decimal(wire.index, f"{feed.symbol} index price", positive=True) if wire.index else None,
        plain_decimal(wire.rate, f"{feed.symbol} funding rate", positive=False) if wire.rate else None,
        wire.next_funding_ms * _NS_PER_MS if wire.next_funding_ms else None,
    )
