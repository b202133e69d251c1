"""Decides what the emulated venue remembers of its public market: trades, aggregates, candles, a day's statistics.

Pure: market messages of the port in, plain records out; both the REST answers and the streams read it.
Aggregation as "Aggregate Trade Streams" of developers.binance.com: trades of one taking side at one price in 100 ms.
"""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from attrs import define, field, frozen

from sim.emulator.candles import DAY_MS, HOUR_MS, MINUTE_MS, Candle, Candles, PastSettings, joined
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import FundingRate, MarkPrice, Message, OpenInterest, Quote, Trade

TRADES_KEPT: Final = 10_000
AGGREGATE_NS: Final = 100_000_000
RATES_KEPT: Final = 1_000
_NS_PER_MS: Final = 1_000_000
_MARK_GRID: Final = Decimal("0.00000001")
_DAY_BARS: Final = 24 * HOUR_MS // MINUTE_MS


@define
class AggTrade:
    """Trades of one taker's side at one price that came together; ids are of single trades, `ts` of the last (ns)."""

    number: int
    price: int
    lots: int
    first_id: int
    last_id: int
    started_ns: int
    ts: int
    aggressor: Side


@frozen
class Day:
    """The statistics of the 24 hours that end now."""

    candle: Candle
    last: Decimal
    last_qty: Decimal

    @property
    def change(self) -> Decimal:
        return self.last - self.candle.open

    @property
    def change_percent(self) -> Decimal:
        return self.change / self.candle.open * 100

    @property
    def mean(self) -> Decimal:
        """Volume-weighted mean price, the last price when nothing traded."""
        return self.candle.quote / self.candle.volume if self.candle.volume else self.last


@define
class InstrumentTape:
    """What is remembered of one instrument. `rates` are settled funding rates."""

    spec: Instrument
    candles: Candles
    marks: Candles
    indices: Candles
    trades: deque[Trade] = field(factory=lambda: deque(maxlen=TRADES_KEPT))
    agg_trades: deque[AggTrade] = field(factory=lambda: deque(maxlen=TRADES_KEPT))
    rates: deque[FundingRate] = field(factory=lambda: deque(maxlen=RATES_KEPT))
    mark: MarkPrice | None = None
    quote: Quote | None = None
    open_interest: Decimal | None = None
    _open_agg: AggTrade | None = None
    _aggregates: int = 0
    _day: tuple[int, list[Candle]] | None = None

    def bars(
        self, interval: str, now_ms: int, limit: int, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[Candle]:
        """Return candles of trades; see `Candles.bars`."""
        return self.candles.bars(interval, now_ms, limit, start_ms, end_ms)

    def mark_bars(
        self, interval: str, now_ms: int, limit: int, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[Candle]:
        return self.marks.bars(interval, now_ms, limit, start_ms, end_ms)

    def index_bars(
        self, interval: str, now_ms: int, limit: int, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[Candle]:
        return self.indices.bars(interval, now_ms, limit, start_ms, end_ms)

    def day(self, now_ms: int) -> Day | None:
        """Return the last 24 hours' statistics, None before the first price."""
        bars = self.candles.minutes(now_ms)
        if not bars:
            return None
        running = bars[-1]
        if self._day is None or self._day[0] != running.start_ms:
            before = [bars[at] for at in range(max(0, len(bars) - _DAY_BARS), len(bars) - 1)]
            self._day = (running.start_ms, [joined(before, 0, 0)] if before else [])
        candle = joined([*self._day[1], running], now_ms - DAY_MS, now_ms)
        last = self.trades[-1] if self.trades else None
        return Day(candle, candle.close, ZERO if last is None else self.spec.qty(last.lots))

    def flush(self, now: int) -> None:
        """Close the aggregate whose time is over."""
        if self._open_agg is not None and now - self._open_agg.started_ns >= AGGREGATE_NS:
            self._close_aggregate()

    def take(self, message: Message) -> None:
        if isinstance(message, Trade):
            self._trade(message)
        elif isinstance(message, Quote):
            self.quote = message
            self._open_at((message.bid + message.ask) // 2, message.ts)
        elif isinstance(message, MarkPrice):
            self.mark = message
            ms = message.ts // _NS_PER_MS
            self.marks.move(ms, message.mark)
            if message.index is not None:
                self.indices.move(ms, message.index)
        elif isinstance(message, FundingRate):
            self.rates.append(message)
        elif isinstance(message, OpenInterest):
            self.open_interest = message.qty

    def _trade(self, trade: Trade) -> None:
        self.trades.append(trade)
        price, qty = self.spec.price(trade.price), self.spec.qty(trade.lots)
        self.candles.trade(trade.ts // _NS_PER_MS, price, qty, trade.trade_id, trade.aggressor is Side.BUY)
        self.flush(trade.ts)
        found = self._open_agg
        if found is not None and (found.price, found.aggressor) == (trade.price, trade.aggressor):
            found.lots += trade.lots
            found.last_id, found.ts = trade.trade_id, trade.ts
            return
        if found is not None:
            self._close_aggregate()
        self._aggregates += 1
        ids = (trade.trade_id, trade.trade_id)
        self._open_agg = AggTrade(
            self._aggregates, trade.price, trade.lots, *ids, trade.ts, trade.ts, trade.aggressor
        )  # fmt: skip

    def _close_aggregate(self) -> None:
        assert self._open_agg is not None
        self.agg_trades.append(self._open_agg)
        self._open_agg = None

    def _open_at(self, ticks: int, ts: int) -> None:
        """Let candles begin at the middle of the first quote, so that there is a price before the first trade."""
        if not self.candles.levels[MINUTE_MS]:
            self.candles.move(ts // _NS_PER_MS, self.spec.price(ticks))


class Tape:
    """What is remembered of a venue's markets. Messages of other instruments are passed over."""

    def __init__(self, specs: Iterable[Instrument], seed: int = 0, *, has_past: bool = True) -> None:
        self._of = {spec.id: _instrument_tape(spec, seed, has_past=has_past) for spec in specs}

    def of(self, instrument: str) -> InstrumentTape:
        """Raises KeyError for an instrument that is not listed."""
        return self._of[instrument]

    def take(self, message: Message) -> None:
        found = self._of.get(getattr(message, "instrument", ""))
        if found is not None:
            found.take(message)

    def flush(self, now: int) -> None:
        for one in self._of.values():
            one.flush(now)


def _instrument_tape(spec: Instrument, seed: int, *, has_past: bool) -> InstrumentTape:
    if not has_past:
        return InstrumentTape(spec, Candles(), Candles(), Candles())
    name = f"{seed}/{spec.symbol}"
    traded = PastSettings(name, spec.tick_size, spec.lot_size, spec.lot_size * 2_000)
    priced = PastSettings(name, _MARK_GRID)
    return InstrumentTape(spec, Candles(traded), Candles(priced), Candles(priced))
