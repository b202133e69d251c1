"""Decides what candles a market's prices make: every interval from a few levels, with a seeded past before the first.

A candle without trades repeats the last close. Past candles are a random walk drawn backwards from the first price, so
that a client which needs history finds some; each level continues the finer one, and none knows the future.
"""

import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from attrs import define, field, frozen

from sim.emulator.streams import INTERVALS_MS
from venues.model.money import ZERO

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
LEVELS_MS: Final = (MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS, DAY_MS)
KEPT: Final = 2_000
PAST: Final = 1_600
"""Candles of each level: the most one answer holds (1,500) and some."""

_EPOCH_MONDAY_MS: Final = 4 * DAY_MS


@define
class Candle:
    """One candle from `start_ms` up to before `end_ms`. Volumes in base units, `quote` amounts in quote units.

    `first_id` and `last_id` are of trades, -1 without any.
    """

    start_ms: int
    end_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    quote: Decimal = ZERO
    trades: int = 0
    buy_volume: Decimal = ZERO
    buy_quote: Decimal = ZERO
    first_id: int = -1
    last_id: int = -1

    def add(self, price: Decimal, qty: Decimal, trade_id: int, buys: bool) -> None:
        """Take a trade; `buys` when the taker bought."""
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        amount = price * qty
        self.volume += qty
        self.quote += amount
        self.trades += 1
        if buys:
            self.buy_volume += qty
            self.buy_quote += amount
        self.first_id = trade_id if self.first_id < 0 else self.first_id
        self.last_id = trade_id

    def move(self, price: Decimal) -> None:
        """Take a price at which nothing traded."""
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price


def joined(candles: Sequence[Candle], start_ms: int, end_ms: int) -> Candle:
    """Return candles that follow each other as one."""
    ids = [number for one in candles for number in (one.first_id, one.last_id) if number >= 0]
    return Candle(
        start_ms,
        end_ms,
        candles[0].open,
        max(one.high for one in candles),
        min(one.low for one in candles),
        candles[-1].close,
        sum((one.volume for one in candles), ZERO),
        sum((one.quote for one in candles), ZERO),
        sum(one.trades for one in candles),
        sum((one.buy_volume for one in candles), ZERO),
        sum((one.buy_quote for one in candles), ZERO),
        ids[0] if ids else -1,
        ids[-1] if ids else -1,
    )


def start_of(interval: str, ms: int) -> int:
    """Return when the candle of `interval` that holds `ms` begins: weeks on Mondays, months on their first, in UTC."""
    if interval == "1M":
        day = datetime.fromtimestamp(ms / 1_000, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1_000
    length = INTERVALS_MS[interval]
    offset = _EPOCH_MONDAY_MS if interval == "1w" else 0
    return (ms - offset) // length * length + offset


def end_of(interval: str, start_ms: int) -> int:
    """Return when the candle that begins at `start_ms` ends."""
    if interval == "1M":
        day = datetime.fromtimestamp(start_ms / 1_000, UTC)
        year, month = (day.year + 1, 1) if day.month == 12 else (day.year, day.month + 1)
        return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1_000
    return start_ms + INTERVALS_MS[interval]


@frozen
class PastSettings:
    """The walk before the first price: `volatility` is the standard deviation of a minute's log return.

    `grid` is what prices are rounded to, `volume` the mean volume of a minute (0: none) in multiples of `lot`.
    """

    seed: str
    grid: Decimal
    lot: Decimal = Decimal("0.001")
    volume: Decimal = ZERO
    volatility: float = 4e-4


@define
class Candles:
    """The candles of one price; `past` None: nothing is known before the first."""

    past: PastSettings | None = None
    seconds: deque[Candle] = field(factory=lambda: deque(maxlen=KEPT))
    levels: dict[int, deque[Candle]] = field(
        factory=lambda: {length: deque[Candle](maxlen=KEPT) for length in LEVELS_MS}
    )
    _first: tuple[int, Decimal] | None = None

    def trade(self, ms: int, price: Decimal, qty: Decimal, trade_id: int, buys: bool) -> None:
        for candle in self._current(ms, price):
            candle.add(price, qty, trade_id, buys)

    def move(self, ms: int, price: Decimal) -> None:
        """Take a price at which nothing traded (a mark, an index)."""
        for candle in self._current(ms, price):
            candle.move(price)

    def bars(
        self, interval: str, now_ms: int, limit: int, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[Candle]:
        """Return candles, oldest first, the one of `now_ms` included; at most `limit`.

        With `start_ms` the first that begin then or later, without it the last that begin not after `end_ms`.
        """
        found = list(self._joined(interval, now_ms))
        if end_ms is not None:
            found = [one for one in found if one.start_ms <= end_ms]
        if start_ms is not None:
            return [one for one in found if one.start_ms >= start_ms][:limit]
        return found[-limit:] if limit > 0 else []

    def minutes(self, now_ms: int) -> deque[Candle]:
        """Return the candles of minutes, that of `now_ms` last: the ones kept, not copies."""
        return self._source("1m", now_ms)

    def current(self, interval: str, now_ms: int) -> Candle | None:
        """Return the candle of `now_ms`."""
        return self.at(interval, start_of(interval, now_ms), now_ms)

    def at(self, interval: str, start_ms: int, now_ms: int) -> Candle | None:
        """Return the candle that begins at `start_ms` as it is known by `now_ms`."""
        source = self._source(interval, now_ms)
        end_ms = end_of(interval, start_ms)
        parts: list[Candle] = []
        for one in reversed(source):
            if one.start_ms < start_ms:
                break
            if one.start_ms < end_ms:
                parts.append(one)
        return joined(parts[::-1], start_ms, end_ms) if parts else None

    def _joined(self, interval: str, now_ms: int) -> Iterator[Candle]:
        parts: list[Candle] = []
        start: int | None = None
        for one in self._source(interval, now_ms):
            begins = start_of(interval, one.start_ms)
            if start is not None and begins != start:
                yield joined(parts, start, end_of(interval, start))
                parts = []
            start = begins
            parts.append(one)
        if start is not None:
            yield joined(parts, start, end_of(interval, start))

    def _source(self, interval: str, now_ms: int) -> deque[Candle]:
        if self._first is not None and self.past is not None:
            _draw(self.past, *self._first, self.levels)
            self._first = None
        length = INTERVALS_MS[interval]
        if length < MINUTE_MS:
            _fill(self.seconds, length, now_ms)
            return self.seconds
        level = max(one for one in LEVELS_MS if length % one == 0 or interval == "1M")
        _fill(self.levels[level], level, now_ms)
        return self.levels[level]

    def _current(self, ms: int, price: Decimal) -> Iterator[Candle]:
        if not self.levels[MINUTE_MS]:
            self._first = (ms, price)
        for length, kept in ((1_000, self.seconds), *self.levels.items()):
            start = ms // length * length
            _fill(kept, length, start - 1)
            if not kept or kept[-1].start_ms < start:
                kept.append(Candle(start, start + length, price, price, price, price))
            yield kept[-1]


def _fill(kept: deque[Candle], length: int, until_ms: int) -> None:
    """Let candles without trades follow the last one up to that of `until_ms`."""
    if not kept or kept[-1].end_ms > until_ms:
        return
    last = kept[-1]
    first = max(last.end_ms, until_ms // length * length - KEPT * length)
    for start in range(first, until_ms + 1, length):
        kept.append(Candle(start, start + length, last.close, last.close, last.close, last.close))


def _draw(past: PastSettings, ms: int, price: Decimal, levels: dict[int, deque[Candle]]) -> None:
    """Put the past before the first candles: each level joins the finer one, and walks on from where that ends."""
    start = ms // MINUTE_MS * MINUTE_MS
    finer = [Candle(start, start + MINUTE_MS, price, price, price, price)]
    for length, kept in levels.items():
        parts: dict[int, list[Candle]] = {}
        for one in finer:
            parts.setdefault(one.start_ms // length * length, []).append(one)
        begins = min(parts)
        if parts[begins][0].start_ms > begins and len(parts) > 1:
            del parts[begins]
        made = [joined(found, begins, begins + length) for begins, found in sorted(parts.items(), reverse=True)]
        made += _walk(past, made[-1], length, PAST + 1 - len(made))
        finer = made[::-1]
        running = kept[0]
        kept[0] = joined([finer[-1], running], running.start_ms, running.end_ms)
        room = KEPT - len(kept)
        kept.extendleft(made[1 : room + 1])


def _walk(past: PastSettings, oldest: Candle, length: int, count: int) -> list[Candle]:
    """Return so many candles before `oldest`, newest first."""
    rng = random.Random(f"{past.seed}/{length}")
    minutes, grid, lot = length / MINUTE_MS, past.grid, past.lot
    sigma = past.volatility * math.sqrt(minutes)
    start, close = oldest.start_ms, oldest.open
    steps = int(close / grid)
    lots_mean = float(past.volume / lot) * minutes
    made = []
    for _ in range(count):
        opens = max(1, round(steps * math.exp(sigma * rng.gauss(0.0, 1.0))))
        high = max(opens, steps, round(max(opens, steps) * math.exp(sigma * abs(rng.gauss(0.0, 0.5)))))
        low = max(1, min(opens, steps, round(min(opens, steps) * math.exp(-sigma * abs(rng.gauss(0.0, 0.5))))))
        start -= length
        candle = Candle(start, start + length, opens * grid, high * grid, low * grid, close)
        if past.volume:
            lots = max(2, round(lots_mean * rng.uniform(0.5, 1.5)))
            bought = max(1, round(lots * rng.uniform(0.35, 0.65)))
            middle = (opens + high + low + steps) // 4 * grid
            candle.volume, candle.buy_volume = lots * lot, bought * lot
            candle.quote, candle.buy_quote = candle.volume * middle, candle.buy_volume * middle
            candle.trades = max(1, round(minutes * rng.uniform(60, 180)))
        made.append(candle)
        steps, close = opens, candle.open
    return made
