"""Decides which market stream says what at which moment: as it comes, throttled, or on the beat of its speed.

Pure: messages of the port and the time in, payloads out. A stream exists while somebody has asked for it.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import define, field

from sim.emulator import market_payloads as payloads
from sim.emulator.candles import Candle, end_of, start_of
from sim.emulator.listings import Listing
from sim.emulator.market_payloads import NS_PER_MS, Payload
from sim.emulator.streams import Kind, Stream
from sim.emulator.tape import InstrumentTape, Tape
from venues.model.instrument import InstrumentKind
from venues.port import (
    BookDelta,
    BookSnapshot,
    InstrumentState,
    InstrumentStatus,
    LiquidationPrint,
    Message,
    Quote,
    Trade,
)

Said = list[tuple[Stream, Any]]
"""What streams say now: a payload, or the list of an array stream."""

_SPOT_DEPTH_MS: Final = 1_000
_MARK_MEAN: Final = 30
_STATES: Final = {
    InstrumentState.PRE_OPEN: "PENDING_TRADING",
    InstrumentState.OPEN: "TRADING",
    InstrumentState.HALT: "PRE_DELIVERING",
    InstrumentState.CLOSE: "SETTLING",
}


@define(eq=False)
class Channel:
    """One stream of one symbol, or of all. `take` hears of messages of its symbol, `beat` of the time.

    Both return payloads in order.
    """

    stream: Stream
    listing: Listing
    tape: InstrumentTape

    def take(self, message: Message, now: int) -> list[Any]:
        return []

    def beat(self, now: int) -> list[Any]:
        return []


@define(eq=False)
class _Periodic(Channel):
    """Says something on every multiple of its speed."""

    _last: int = -1

    def is_time(self, now: int) -> bool:
        turn = now // (self.stream.speed_ms * NS_PER_MS)
        if turn == self._last:
            return False
        self._last = turn
        return True


@define(eq=False)
class _BookTicker(Channel):
    def take(self, message: Message, now: int) -> list[Any]:
        if not isinstance(message, Quote):
            return []
        return [payloads.book_ticker(self.listing, message, now // NS_PER_MS)]


@define(eq=False)
class _SlowBookTicker(_Periodic):
    """The stream of all symbols: each one's best, every five seconds."""

    def beat(self, now: int) -> list[Any]:
        quote = self.tape.quote
        if not self.is_time(now) or quote is None:
            return []
        return [payloads.book_ticker(self.listing, quote, now // NS_PER_MS)]


@define(eq=False)
class _Depth(Channel):
    """Changes of the book, joined until the speed allows the next event; `pu` is the last update of the event before.

    After the book was lost and found again (a snapshot) the next event does not follow the last one: a gap to clients.
    """

    book: Callable[[], BookSnapshot | None]
    _bids: dict[int, int] = field(factory=dict)
    _asks: dict[int, int] = field(factory=dict)
    _first: int = 0
    _last: int = 0
    _previous: int | None = None
    _ts: int = 0
    _is_pending: bool = False
    _said_ns: int = 0

    def take(self, message: Message, now: int) -> list[Any]:
        if isinstance(message, BookSnapshot):
            self._is_pending, self._previous = False, None
            self._bids.clear()
            self._asks.clear()
            return []
        if not isinstance(message, BookDelta):
            return []
        if not self._is_pending:
            self._is_pending, self._first = True, message.first_id
            if self._previous is None:
                self._previous = message.prev_id
        self._last, self._ts = message.last_id, message.ts
        self._bids.update(message.bids)
        self._asks.update(message.asks)
        return self.beat(now)

    def beat(self, now: int) -> list[Any]:
        if not self._is_pending or now - self._said_ns < self._speed_ns():
            return []
        ids = (self._first, self._last, -1 if self._previous is None else self._previous)
        said = self._say(ids, now)
        self._is_pending, self._previous, self._said_ns = False, self._last, now
        self._bids.clear()
        self._asks.clear()
        return said

    def _say(self, ids: tuple[int, int, int], now: int) -> list[Any]:
        bids, asks = list(self._bids.items()), list(self._asks.items())
        return [payloads.depth_update(self.listing, ids, self._ts, bids, asks, now // NS_PER_MS)]

    def _speed_ns(self) -> int:
        speed = self.stream.speed_ms
        if self.listing.spec.is_spot and speed == 250:
            speed = _SPOT_DEPTH_MS
        return speed * NS_PER_MS


@define(eq=False)
class _PartialDepth(_Depth):
    """The best levels of the book, whenever it changed and the speed allows."""

    def _say(self, ids: tuple[int, int, int], now: int) -> list[Any]:
        book = self.book()
        if book is None:
            return []
        bids, asks = book.bids[: self.stream.levels], book.asks[: self.stream.levels]
        if self.listing.spec.is_spot:
            return [payloads.partial_book(self.listing, book.update_id, bids, asks)]
        return [payloads.depth_update(self.listing, ids, self._ts, bids, asks, now // NS_PER_MS)]


@define(eq=False)
class _Trades(Channel):
    def take(self, message: Message, now: int) -> list[Any]:
        return [payloads.trade(self.listing, message, now // NS_PER_MS)] if isinstance(message, Trade) else []


@define(eq=False)
class _AggTrades(Channel):
    """Aggregates, each once it is closed."""

    _seen: int = -1

    def __attrs_post_init__(self) -> None:
        self._seen = self.tape.agg_trades[-1].number if self.tape.agg_trades else 0

    def take(self, message: Message, now: int) -> list[Any]:
        return self.beat(now) if isinstance(message, Trade) else []

    def beat(self, now: int) -> list[Any]:
        self.tape.flush(now)
        fresh = []
        for one in reversed(self.tape.agg_trades):
            if one.number <= self._seen:
                break
            fresh.append(one)
        if fresh:
            self._seen = fresh[0].number
        return [payloads.agg_trade(self.listing, one, now // NS_PER_MS) for one in reversed(fresh)]


@define(eq=False)
class _MarkPrices(_Periodic):
    """The mark on every beat; its moving average is over the marks of the last half minute."""

    def beat(self, now: int) -> list[Any]:
        mark = self.tape.mark
        if not self.is_time(now) or mark is None:
            return []
        closes = [one.close for one in list(self.tape.marks.seconds)[-_MARK_MEAN:]]
        mean = sum(closes, Decimal(0)) / len(closes) if closes else mark.mark
        return [payloads.mark_price(self.listing, mark, mean, now // NS_PER_MS)]


@define(eq=False)
class _Klines(_Periodic):
    """The running candle while it changes, and each candle once more when it is closed."""

    _start_ms: int = -1
    _told: tuple[int, Decimal] | None = None

    def beat(self, now: int) -> list[Any]:
        if not self.is_time(now):
            return []
        interval, now_ms = self.stream.interval, now // NS_PER_MS
        start, said = start_of(interval, now_ms), []
        if 0 <= self._start_ms < start:
            closed = self.tape.candles.at(interval, self._start_ms, now_ms)
            if closed is not None:
                said.append(self._print(closed, now_ms, is_closed=True))
            self._told = None
            # Candles in between, when time made a leap, are told too.
            begins = end_of(interval, self._start_ms)
            while begins < start:
                missed = self.tape.candles.at(interval, begins, now_ms)
                if missed is not None:
                    said.append(self._print(missed, now_ms, is_closed=True))
                begins = end_of(interval, begins)
        self._start_ms = start
        current = self.tape.candles.current(interval, now_ms)
        if current is not None and (current.trades, current.close) != self._told:
            self._told = (current.trades, current.close)
            said.append(self._print(current, now_ms, is_closed=False))
        return said

    def _print(self, candle: Candle, now_ms: int, *, is_closed: bool) -> Payload:
        make = payloads.continuous_kline if self.stream.contract else payloads.kline
        return make(self.listing, self.stream.interval, candle, now_ms, is_closed=is_closed)


@define(eq=False)
class _Tickers(_Periodic):
    def beat(self, now: int) -> list[Any]:
        if not self.is_time(now):
            return []
        now_ms = now // NS_PER_MS
        day = self.tape.day(now_ms)
        if day is None:
            return []
        if self.stream.kind is Kind.MINI_TICKER:
            return [payloads.mini_ticker(self.listing, day, now_ms)]
        return [payloads.ticker(self.listing, day, self.tape.quote, now_ms)]


@define(eq=False)
class _ForceOrders(Channel):
    """At most one liquidation in each second, the largest of it. Source: change log of 2026-04-14."""

    _largest: LiquidationPrint | None = None
    _since: int = 0

    def take(self, message: Message, now: int) -> list[Any]:
        if not isinstance(message, LiquidationPrint):
            return []
        said = self.beat(now)
        if self._largest is None:
            self._largest, self._since = message, now
        elif message.qty > self._largest.qty:
            self._largest = message
        return said

    def beat(self, now: int) -> list[Any]:
        if self._largest is None or now - self._since < self.stream.speed_ms * NS_PER_MS:
            return []
        largest, self._largest = self._largest, None
        return [payloads.force_order(self.listing, largest, now // NS_PER_MS)]


@define(eq=False)
class _ContractInfo(Channel):
    def take(self, message: Message, now: int) -> list[Any]:
        if not isinstance(message, InstrumentStatus):
            return []
        state = _STATES[message.state]
        return [payloads.contract_info(self.listing, state, now // NS_PER_MS)]


@define(eq=False)
class _AveragePrices(_Periodic):
    def beat(self, now: int) -> list[Any]:
        if not self.is_time(now):
            return []
        candles = self.tape.bars("1m", now // NS_PER_MS, 5)
        return [payloads.average_price(self.listing, candles, now // NS_PER_MS)] if candles else []


_CHANNELS: Final[dict[Kind, type[Channel]]] = {
    Kind.BOOK_TICKER: _BookTicker,
    Kind.DEPTH: _Depth,
    Kind.RPI_DEPTH: _Depth,
    Kind.PARTIAL_DEPTH: _PartialDepth,
    Kind.AGG_TRADE: _AggTrades,
    Kind.TRADE: _Trades,
    Kind.MARK_PRICE: _MarkPrices,
    Kind.KLINE: _Klines,
    Kind.CONTINUOUS_KLINE: _Klines,
    Kind.TICKER: _Tickers,
    Kind.MINI_TICKER: _Tickers,
    Kind.FORCE_ORDER: _ForceOrders,
    Kind.CONTRACT_INFO: _ContractInfo,
    Kind.AVERAGE_PRICE: _AveragePrices,
}
"""Composite indices and trading sessions exist for nothing that is listed here: their streams are silent."""

_ARRAYS: Final = frozenset({Kind.MARK_PRICE, Kind.TICKER, Kind.MINI_TICKER})
_QUARTERS: Final = {"CURRENT_QUARTER", "NEXT_QUARTER"}


@define
class _AssetIndex:
    """Every margin asset's index, once a second."""

    stream: Stream
    assets: tuple[str, ...]
    _last: int = -1

    def beat(self, now: int) -> list[Any]:
        turn = now // (self.stream.speed_ms * NS_PER_MS)
        if turn == self._last:
            return []
        self._last = turn
        rows = [payloads.asset_index(asset, now // NS_PER_MS) for asset in self.assets]
        return [rows] if not self.stream.symbol else rows


class MarketStreams:
    """The market streams that somebody listens to.

    `book` returns the published book of an instrument id. `take` and `beat` return what is said, in order; time never
    goes back. Streams of symbols that are not listed stay silent.
    """

    def __init__(self, listings: Mapping[str, Listing], tape: Tape, book: Callable[[str], BookSnapshot | None]) -> None:
        self._listings = listings
        self._tape = tape
        self._book = book
        self._users: dict[Stream, int] = {}
        self._channels: dict[Stream, list[Channel]] = {}
        self._indices: dict[Stream, _AssetIndex] = {}
        self._of: dict[str, list[Channel]] = {}

    @property
    def is_idle(self) -> bool:
        return not self._users

    def open(self, stream: Stream) -> None:
        """Count one more listener."""
        self._users[stream] = self._users.get(stream, 0) + 1
        if self._users[stream] > 1:
            return
        if stream.kind is Kind.ASSET_INDEX:
            self._indices[stream] = _AssetIndex(stream, self._assets(stream))
            return
        made = [self._make(stream, listing) for listing in self._meant(stream)]
        self._channels[stream] = made
        for channel in made:
            self._of.setdefault(channel.listing.id, []).append(channel)

    def close(self, stream: Stream) -> None:
        """Count one listener less."""
        self._users[stream] -= 1
        if self._users[stream]:
            return
        del self._users[stream]
        self._indices.pop(stream, None)
        for channel in self._channels.pop(stream, []):
            self._of[channel.listing.id].remove(channel)

    def take(self, message: Message, now: int) -> Said:
        """Return what is said on a message of the market."""
        said: Said = []
        for channel in self._of.get(getattr(message, "instrument", ""), ()):
            said += [(channel.stream, payload) for payload in channel.take(message, now)]
        return said

    def beat(self, now: int) -> Said:
        """Return what is said because of the time."""
        said: Said = []
        for stream, channels in self._channels.items():
            spoken = [payload for channel in channels for payload in channel.beat(now)]
            if stream.symbol or stream.kind not in _ARRAYS:
                said += [(stream, payload) for payload in spoken]
            elif spoken:
                said.append((stream, spoken))
        for stream, index in self._indices.items():
            said += [(stream, payload) for payload in index.beat(now)]
        return said

    def _make(self, stream: Stream, listing: Listing) -> Channel:
        tape = self._tape.of(listing.id)
        kind = _CHANNELS[stream.kind]
        if issubclass(kind, _Depth):
            return kind(stream, listing, tape, lambda: self._book(listing.id))
        if kind is _BookTicker and stream.speed_ms:
            return _SlowBookTicker(stream, listing, tape)
        return kind(stream, listing, tape)

    def _meant(self, stream: Stream) -> Iterable[Listing]:
        """Return the listings a stream is of."""
        if stream.kind not in _CHANNELS:
            return []
        if stream.kind is Kind.CONTINUOUS_KLINE:
            return self._contracts(stream)[:1]
        if stream.symbol:
            listing = self._listings.get(stream.symbol)
            return [] if listing is None else [listing]
        # Delivery contracts have marks too; nothing is left out.
        return list(self._listings.values())

    def _contracts(self, stream: Stream) -> list[Listing]:
        found = [one for one in self._listings.values() if one.pair == stream.symbol]
        if stream.contract in _QUARTERS:
            dated = [one for one in found if one.spec.kind is InstrumentKind.QUARTERLY]
            dated.sort(key=lambda one: one.delivery_ms)
            return dated if stream.contract == "CURRENT_QUARTER" else dated[1:]
        return [one for one in found if one.is_perpetual]

    def _assets(self, stream: Stream) -> tuple[str, ...]:
        known = dict.fromkeys(one.spec.settle or one.spec.quote for one in self._listings.values())
        if not stream.symbol:
            return tuple(known)
        return tuple(asset for asset in known if stream.symbol in {asset, f"{asset}USD"})
