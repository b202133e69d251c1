"""How many frames a second go through decoder, local book and feed handler.

The frames are made here, in the mix of a recorded BTCUSDT perpetual: 70 % best prices, 23 % trades, 7 % depth updates
of 68 levels.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from statistics import median
from time import perf_counter
from typing import Final

from actors.base import Actor, handles
from actors.dispatcher import Dispatcher
from actors.feed_handler import FeedHandler
from actors.messages import BookView
from venues.binance.codec import BinanceDecoder
from venues.model.book_sync import BookSync, SequenceRule
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import BookDelta, BookSnapshot, Message, Quote, Trade

FRAMES: Final = 40_000
_LEVELS: Final = 34
_NEAR: Final = 300
_START_NS: Final = 1_700_000_000_000_000_000

_INSTRUMENT: Final = Instrument(
    "bench", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001")
)


class _Market:
    """A book around a wandering mid that is never crossed, and the frames it sends."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.update_id = 5_000_000_000_000
        self.depth_id = self.update_id
        self.mid = 616_500
        self.trades = 0
        self.bids = {self.mid - n: self._lots() for n in range(1, 1_001)}
        self.asks = {self.mid + n: self._lots() for n in range(1, 1_001)}

    def _lots(self) -> int:
        return int(self.random.expovariate(0.01)) + 1

    def snapshot(self) -> bytes:
        sides = {name: [_row(t, n) for t, n in sorted(side.items())] for name, side in self._sides()}
        return json.dumps({"lastUpdateId": self.update_id, "E": 1, "T": 1, **sides}).encode()

    def _sides(self) -> tuple[tuple[str, dict[int, int]], ...]:
        return ("bids", self.bids), ("asks", self.asks)

    def depth(self) -> bytes:
        """Move the mid by at most a tick, change levels near it and clear what would cross."""
        previous, first = self.depth_id, self.update_id + 1
        self.mid += self.random.choice((-1, 0, 0, 0, 1))
        changes: list[dict[int, int]] = []
        for side, sign in ((self.bids, -1), (self.asks, 1)):
            changed = {self.mid: 0, self.mid + sign: self._lots()}
            while len(changed) < _LEVELS:
                ticks = self.mid + sign * self.random.randint(2, _NEAR)
                changed[ticks] = 0 if self.random.random() < 0.3 else self._lots()
            side.update(changed)
            changes.append(changed)
        self.update_id = self.depth_id = first + 2 * _LEVELS
        bids, asks = ([_row(ticks, lots) for ticks, lots in sorted(side.items())] for side in changes)
        data = {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": first, "u": self.depth_id, "pu": previous}
        return _frame("btcusdt@depth@0ms", {**data, "b": bids, "a": asks})

    def quote(self) -> bytes:
        self.update_id += 1
        (bid, bid_lots), (ask, ask_lots) = (_row(self.mid + sign, self._lots()) for sign in (-1, 1))
        data = {"e": "bookTicker", "u": self.update_id, "s": "BTCUSDT", "b": bid, "B": bid_lots, "a": ask}
        return _frame("btcusdt@bookTicker", {**data, "A": ask_lots, "T": 1, "E": 1})

    def trade(self) -> bytes:
        self.trades += 1
        price, qty = _row(self.mid + 1, self._lots())
        data = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": self.trades, "p": price, "q": qty, "X": "MARKET"}
        return _frame("btcusdt@trade", {**data, "m": False})


def _row(ticks: int, lots: int) -> tuple[str, str]:
    return f"{ticks // 10}.{ticks % 10}0", f"{lots // 1000}.{lots % 1000:03}"


def _frame(stream: str, data: dict[str, object]) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


class _Subscriber(Actor):
    """Somebody who looks at every view."""

    def __init__(self) -> None:
        super().__init__()
        self.views = 0

    @handles(BookView)
    def on_view(self, now: int, view: BookView) -> None:
        self.views += 1


def frames(count: int, seed: int = 1) -> list[bytes]:
    """Return a snapshot and `count` frames behind it."""
    market = _Market(seed)
    made = [market.snapshot()]
    kinds: tuple[Callable[[], bytes], ...] = (market.quote, market.trade, market.depth)
    made.extend(market.random.choices(kinds, (70, 23, 7))[0]() for _ in range(count))
    return made


def _handler() -> FeedHandler:
    key = _INSTRUMENT.id
    return FeedHandler({key: _INSTRUMENT}, {key: SequenceRule.FUTURES}, {key: "bench"})


def _whole_path(made: list[bytes]) -> float:
    """Return frames/s from bytes to a subscriber of views."""
    decode = BinanceDecoder({"BTCUSDT": _INSTRUMENT}).decode
    handler, subscriber = _handler(), _Subscriber()
    dispatcher = Dispatcher([handler, subscriber])
    dispatcher.start(_START_NS)
    now = _START_NS
    begin = perf_counter()
    for raw in made:
        now += 1_000_000
        message = decode(raw)
        if message is not None:
            dispatcher.offer(message)
            dispatcher.run(now)
    seconds = perf_counter() - begin
    counts = handler.counts()[_INSTRUMENT.id]
    if counts.frames != len(made) or counts.gaps or counts.crossed or not subscriber.views:
        raise AssertionError(f"the frames do not make a sound book: {counts}")
    return len(made) / seconds


def _handler_ns(messages: list[Message], kind: type[Message]) -> float:
    """Return ns per message of `kind`, the handler's method called directly while the others keep the book alive."""
    handler = _handler()
    chosen = [message for message in messages if isinstance(message, kind)]
    handler.start(_START_NS)
    method = getattr(handler, handler.handlers()[kind])
    for message in messages[:200]:
        handler.handle(_START_NS, message)
    if not handler.state.feeds[_INSTRUMENT.id].is_live:
        raise AssertionError("the book is not live")
    begin = perf_counter()
    for message in chosen:
        method(_START_NS, message)
    return (perf_counter() - begin) / len(chosen) * 1e9


def _level_ns(messages: list[Message]) -> float:
    """Return ns per depth level in the book alone."""
    sync = BookSync(SequenceRule.FUTURES)
    deltas = [message for message in messages if isinstance(message, BookDelta)]
    for message in messages[:1]:
        assert isinstance(message, BookSnapshot)
        sync.on_snapshot(message)
    begin = perf_counter()
    for delta in deltas:
        sync.on_delta(delta)
    seconds = perf_counter() - begin
    if sync.last_id != deltas[-1].last_id:
        raise AssertionError("the book fell out of step")
    return seconds / sum(len(delta.bids) + len(delta.asks) for delta in deltas) * 1e9


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians: frames/s over the whole path, ns per quote and trade in the handler, ns per depth level."""
    made = frames(FRAMES)
    decode = BinanceDecoder({"BTCUSDT": _INSTRUMENT}).decode
    messages = [message for message in map(decode, made) if message is not None]
    return {
        "frames_per_s": median(_whole_path(made) for _ in range(repeats)),
        "quote_ns": median(_handler_ns(messages, Quote) for _ in range(repeats)),
        "trade_ns": median(_handler_ns(messages, Trade) for _ in range(repeats)),
        "level_ns": median(_level_ns(messages) for _ in range(repeats)),
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
