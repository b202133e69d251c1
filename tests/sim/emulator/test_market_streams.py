"""Market streams: what each prints, when, and that a book kept from them is the venue's.

Field names: USDS-M futures and spot "Websocket Market Streams" of developers.binance.com and the official SDK's models.
"""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.emulator.listings import Listing
from sim.emulator.market_streams import MarketStreams, Said
from sim.emulator.streams import parse_stream
from sim.emulator.tape import Tape
from venues.binance.codec import BinanceDecoder
from venues.model.book import Level
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    InstrumentState,
    InstrumentStatus,
    LiquidationPrint,
    MarkPrice,
    Message,
    Quote,
    Trade,
)

D = Decimal
MS = 1_000_000
SECOND = 1_000 * MS
START = 1_790_000_000 * SECOND


def listing(
    symbol: str = "BTCUSDT", kind: InstrumentKind = InstrumentKind.PERPETUAL, contract: str = "PERPETUAL"
) -> Listing:
    spec = Instrument(
        "binance", symbol, kind, "BTC", "USDT", D("0.1"), D("0.001"), settle="USDT",
        expiry_ns=START + 86_400 * SECOND if kind is InstrumentKind.QUARTERLY else None,
    )  # fmt: skip
    return Listing(
        spec,
        "BTCUSDT",
        contract,
        0,
        min_price=D(0),
        max_price=D(1_000_000),
        max_qty=D(1_000),
        market_max_qty=D(100),
        min_notional=D(5),
        price_precision=1,
    )


class World:
    """A market of one or more listings, its streams and everything they have said."""

    def __init__(self, *listings: Listing, has_past: bool = False) -> None:
        self.listings = {one.symbol: one for one in listings or (listing(),)}
        self.books: dict[str, BookSnapshot] = {}
        self.tape = Tape([one.spec for one in self.listings.values()], has_past=has_past)
        self.streams = MarketStreams(self.listings, self.tape, self.books.get)
        self.said: list[tuple[str, object]] = []
        self._names: dict[object, str] = {}

    def open(self, name: str) -> None:
        stream = parse_stream(name)
        assert stream is not None
        self._names[stream] = name
        self.streams.open(stream)

    def take(self, message: Message) -> None:
        self.tape.take(message)
        self._hear(self.streams.take(message, message.ts))

    def beat(self, now: int) -> None:
        self._hear(self.streams.beat(now))

    def _hear(self, said: Said) -> None:
        self.said += [(self._names[stream], payload) for stream, payload in said]

    def pop(self) -> list[Any]:
        said, self.said = self.said, []
        return [payload for _, payload in said]


BTC = listing().id
SPOT = listing("BTCUSDT", InstrumentKind.SPOT, "")


def trade(at: int, number: int, price: int = 600_000, lots: int = 5, side: Side = Side.BUY) -> Trade:
    return Trade(START + at, BTC, number, price, lots, side)


def test_a_book_ticker() -> None:
    world = World()
    world.open("btcusdt@bookTicker")
    world.take(Quote(START + 7 * MS, BTC, 42, 600_000, 1_500, 600_001, 20))
    assert world.pop() == [
        {
            "e": "bookTicker", "u": 42, "s": "BTCUSDT", "ps": "BTCUSDT", "b": "60000.0", "B": "1.500", "a": "60000.1",
            "A": "0.020", "T": 1_790_000_000_007, "E": 1_790_000_000_007, "st": 1,
        }
    ]  # fmt: skip


def test_spot_prints_a_book_ticker_without_type_and_times() -> None:
    world = World(SPOT)
    world.open("btcusdt@bookTicker")
    world.take(Quote(START, BTC, 42, 600_000, 1_500, 600_001, 20))
    assert world.pop() == [{"u": 42, "s": "BTCUSDT", "b": "60000.0", "B": "1.500", "a": "60000.1", "A": "0.020"}]


def test_all_book_tickers_come_every_five_seconds() -> None:
    world = World()
    world.open("!bookTicker")
    world.take(Quote(START, BTC, 42, 600_000, 1_500, 600_001, 20))
    for tenth in range(100):
        world.beat(START + tenth * SECOND // 10)
    assert [event["E"] for event in world.pop()] == [1_790_000_000_000, 1_790_000_005_000]


def test_trades_of_one_side_at_one_price_within_100_ms_are_one_aggregate() -> None:
    world = World()
    world.open("btcusdt@aggTrade")
    world.take(trade(0, 11, lots=5))
    world.take(trade(60 * MS, 12, lots=7))
    world.beat(START + 99 * MS)
    assert world.pop() == []
    world.beat(START + 100 * MS)
    [event] = world.pop()
    assert event == {
        "e": "aggTrade", "E": 1_790_000_000_100, "a": 1, "s": "BTCUSDT", "p": "60000.0", "q": "0.012", "nq": "0.012",
        "f": 11, "l": 12, "T": 1_790_000_000_060, "m": False, "st": 1,
    }  # fmt: skip


@pytest.mark.parametrize("other", [{"price": 600_001}, {"side": Side.SELL}])
def test_another_price_or_side_ends_an_aggregate(other: dict[str, Any]) -> None:
    world = World()
    world.open("btcusdt@aggTrade")
    world.take(trade(0, 11))
    world.take(trade(0, 12, **other))
    [first] = world.pop()
    assert (first["f"], first["l"], first["a"]) == (11, 11, 1)
    world.beat(START + 100 * MS)
    [second] = world.pop()
    assert (second["f"], second["l"], second["a"], second["m"]) == (12, 12, 2, "side" in other)


@given(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 2), st.sampled_from(list(Side))), max_size=40))
def test_no_trade_is_lost_or_told_twice(steps: list[tuple[int, int, Side]]) -> None:
    world = World()
    world.open("btcusdt@aggTrade")
    at = 0
    for number, (gap, price, side) in enumerate(steps):
        at += gap * MS
        world.take(trade(at, number, 600_000 + price, number + 1, side))
    world.beat(START + at + SECOND)
    said = world.pop()
    assert [n for event in said for n in range(event["f"], event["l"] + 1)] == list(range(len(steps)))
    assert [event["a"] for event in said] == list(range(1, len(said) + 1))
    lots = sum(D(event["q"]) for event in said)
    assert lots == D(len(steps) * (len(steps) + 1) // 2).scaleb(-3)


def test_a_single_trade() -> None:
    world = World()
    world.open("btcusdt@trade")
    world.take(trade(3 * MS, 9, side=Side.SELL))
    [event] = world.pop()
    assert (event["e"], event["t"], event["p"], event["q"], event["m"], event["X"]) == (
        "trade", 9, "60000.0", "0.005", True, "MARKET",
    )  # fmt: skip


def test_mark_prices_come_on_their_beat() -> None:
    world = World()
    world.open("btcusdt@markPrice@1s")
    world.open("btcusdt@markPrice")
    world.take(MarkPrice(START, BTC, D("60000.12"), D("59999.5"), D("0.0001"), START + 3_600 * SECOND))
    for tenth in range(60):
        world.beat(START + tenth * SECOND // 10)
    # 1,790,000,000 is 2 more than a multiple of 3: beats of three seconds at 0 (the first), 1, 4.
    assert [name for name, _ in world.said].count("btcusdt@markPrice@1s") == 6
    slow = [event["E"] - 1_790_000_000_000 for name, event in world.said if name == "btcusdt@markPrice"]  # type: ignore[index]
    assert slow == [0, 1_000, 4_000]
    assert world.pop()[0] == {
        "e": "markPriceUpdate", "E": 1_790_000_000_000, "s": "BTCUSDT", "p": "60000.12000000", "ap": "60000.12000000",
        "i": "59999.50000000", "P": "59999.50000000", "r": "0.00010000", "T": 1_790_003_600_000, "st": 1,
    }  # fmt: skip


def test_delivery_contracts_have_no_rate() -> None:
    world = World(listing("BTCUSDT_260922", InstrumentKind.QUARTERLY, "CURRENT_QUARTER"))
    world.open("!markPrice@arr@1s")
    world.take(MarkPrice(START, next(iter(world.listings.values())).id, D(60_000), D(59_000)))
    world.beat(START)
    [[row]] = world.pop()
    assert (row["s"], row["r"], row["T"]) == ("BTCUSDT_260922", "", 0)


def test_a_running_candle_is_told_when_it_changes_and_once_more_when_it_is_closed() -> None:
    world = World()
    world.open("btcusdt@kline_1m")
    # START is 20 s after a full minute (1,790,000,000 = 60 x 29,833,333 + 20).
    world.take(trade(0, 1, 600_000))
    for at in range(0, 50_000, 250):
        world.beat(START + at * MS)
    events = world.pop()
    assert [(event["k"]["t"], event["k"]["x"], event["k"]["n"]) for event in events] == [
        (1_789_999_980_000, False, 1), (1_789_999_980_000, True, 1), (1_790_000_040_000, False, 0),
    ]  # fmt: skip
    assert events[1]["E"] == 1_790_000_040_000
    assert events[0] == {
        "e": "kline", "E": 1_790_000_000_000, "s": "BTCUSDT", "st": 1,
        "k": {
            "t": 1_789_999_980_000, "T": 1_790_000_039_999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 1, "o": "60000.0",
            "c": "60000.0", "h": "60000.0", "l": "60000.0", "v": "0.005", "n": 1, "x": False, "q": "300.0000",
            "V": "0.005", "Q": "300.0000", "B": "0",
        },
    }  # fmt: skip


def test_candles_that_were_leapt_over_are_told() -> None:
    world = World()
    world.open("btcusdt@kline_1m")
    world.take(trade(0, 1))
    world.beat(START)
    world.beat(START + 150 * SECOND)
    closed = [event["k"]["t"] for event in world.pop() if event["k"]["x"]]
    assert closed == [1_789_999_980_000, 1_790_000_040_000]


def test_continuous_candles_follow_the_contract_of_the_pair() -> None:
    quarterly = listing("BTCUSDT_260922", InstrumentKind.QUARTERLY, "CURRENT_QUARTER")
    world = World(listing(), quarterly)
    world.open("btcusdt_current_quarter@continuousKline_1m")
    world.take(trade(0, 1))
    world.take(Trade(START, quarterly.id, 5, 610_000, 1, Side.BUY))
    world.beat(START)
    [event] = world.pop()
    assert (event["e"], event["ps"], event["ct"], event["k"]["c"]) == (
        "continuous_kline", "BTCUSDT", "CURRENT_QUARTER", "61000.0",
    )  # fmt: skip
    assert "s" not in event["k"]


def test_tickers_tell_the_last_day() -> None:
    world = World()
    for number, (minutes, price) in enumerate([(0, 500_000), (60, 700_000), (24 * 60 + 10, 600_000)]):
        world.take(trade(minutes * 60 * SECOND, number, price, 10))
    world.open("btcusdt@ticker")
    world.open("!miniTicker@arr")
    now = START + (24 * 60 + 10) * 60 * SECOND
    world.beat(now)
    ticker, [mini] = world.pop()
    # Ten minutes past a day the first trade is out of it; the window opens at its price.
    assert (ticker["o"], ticker["h"], ticker["l"], ticker["c"]) == ("50000.0", "70000.0", "50000.0", "60000.0")
    assert (ticker["p"], ticker["P"], ticker["w"], ticker["v"], ticker["q"]) == (
        "10000.0", "20.000", "65000.0", "0.020", "1300.0000",
    )  # fmt: skip
    assert (ticker["n"], ticker["F"], ticker["L"], ticker["Q"]) == (2, 1, 2, "0.010")
    assert (mini["e"], mini["c"], mini["v"], mini["ps"], mini["st"]) == (
        "24hrMiniTicker", "60000.0", "0.020", "BTCUSDT", 1,
    )  # fmt: skip


def test_the_largest_liquidation_of_a_second_is_told() -> None:
    world = World()
    world.open("btcusdt@forceOrder")
    world.open("!forceOrder@arr")
    for at, qty in ((0, "1"), (100, "3"), (200, "2")):
        world.take(LiquidationPrint(START + at * MS, BTC, Side.SELL, D("59000.5"), D(qty)))
    world.beat(START + 999 * MS)
    assert world.pop() == []
    world.beat(START + 1_000 * MS)
    one, same = world.pop()
    assert one == same
    assert one["o"] == {
        "s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "3.000", "p": "59000.5", "ap": "59000.5",
        "X": "FILLED", "l": "3.000", "z": "3.000", "T": 1_790_000_000_100,
    }  # fmt: skip


def test_contracts_that_change_are_told() -> None:
    world = World()
    world.open("!contractInfo")
    world.take(InstrumentStatus(START, BTC, InstrumentState.CLOSE))
    [event] = world.pop()
    assert event == {
        "e": "contractInfo", "E": 1_790_000_000_000, "s": "BTCUSDT", "ps": "BTCUSDT", "ct": "PERPETUAL",
        "dt": 4_133_404_800_000, "ot": 0, "cs": "SETTLING", "st": 1,
    }  # fmt: skip


def test_margin_assets_have_an_index_every_second() -> None:
    world = World()
    world.open("!assetIndex@arr")
    world.beat(START)
    world.beat(START + SECOND // 2)
    [[row]] = world.pop()
    assert (row["e"], row["s"], row["i"]) == ("assetIndexUpdate", "USDTUSD", "1.00000000")


def test_streams_exist_while_somebody_listens() -> None:
    world = World()
    stream = parse_stream("btcusdt@trade")
    assert stream is not None
    world.open("btcusdt@trade")
    world.streams.open(stream)
    world.streams.close(stream)
    world.take(trade(0, 1))
    assert len(world.pop()) == 1
    world.streams.close(stream)
    world.take(trade(0, 2))
    assert world.pop() == []
    assert world.streams.is_idle


@pytest.mark.parametrize("name", ["xrpusdt@trade", "xrpusdt@kline_1m", "btcusdt@compositeIndex", "tradingSession"])
def test_what_is_not_listed_is_silent(name: str) -> None:
    world = World()
    world.open(name)
    world.take(trade(0, 1))
    world.beat(START + SECOND)
    assert world.pop() == []


def delta(at: int, number: int, first: int, bids: list[Level], asks: list[Level]) -> BookDelta:
    return BookDelta(START + at, BTC, first, number, first - 1, bids, asks)


def test_changes_are_joined_until_the_speed_allows() -> None:
    world = World()
    world.open("btcusdt@depth@100ms")
    world.take(delta(0, 10, 9, [(600_000, 5)], []))
    world.take(delta(40 * MS, 12, 11, [(600_000, 0)], [(600_005, 2)]))
    world.take(delta(80 * MS, 13, 13, [(599_999, 1)], []))
    world.beat(START + 99 * MS)
    [first] = world.pop()
    assert first == {
        "e": "depthUpdate", "E": 1_790_000_000_000, "T": 1_790_000_000_000, "s": "BTCUSDT", "ps": "BTCUSDT", "U": 9,
        "u": 10, "pu": 8, "st": 1, "b": [["60000.0", "0.005"]], "a": [],
    }  # fmt: skip
    world.beat(START + 100 * MS)
    [second] = world.pop()
    assert (second["U"], second["u"], second["pu"]) == (11, 13, 10)
    assert second["b"] == [["60000.0", "0.000"], ["59999.9", "0.001"]]
    assert second["a"] == [["60000.5", "0.002"]]


def test_partial_books_tell_the_best_levels() -> None:
    world = World()
    world.books[BTC] = BookSnapshot(
        START, BTC, 10, [(600_000 - i, 1) for i in range(30)], [(600_001 + i, 2) for i in range(30)]
    )
    world.open("btcusdt@depth5@100ms")
    world.take(delta(0, 10, 9, [(600_000, 1)], []))
    [event] = world.pop()
    assert event["b"] == [[f"{60_000 - i * 0.1:.1f}", "0.001"] for i in range(5)]
    assert len(event["a"]) == 5
    assert (event["e"], event["u"]) == ("depthUpdate", 10)


def test_spots_partial_books_have_no_type() -> None:
    world = World(SPOT)
    world.books[BTC] = BookSnapshot(START, BTC, 10, [(600_000, 1)], [(600_001, 2)])
    world.open("btcusdt@depth5")
    world.take(delta(0, 10, 9, [(600_000, 1)], []))
    assert world.pop() == [{"lastUpdateId": 10, "bids": [["60000.0", "0.001"]], "asks": [["60000.1", "0.002"]]}]


STEPS = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), max_size=4),
        st.lists(st.tuples(st.integers(11, 19), st.integers(0, 4)), max_size=4),
    ),
    min_size=1,
    max_size=30,
)


@given(STEPS, st.sampled_from(["", "@100ms", "@500ms", "@0ms"]), st.data(), st.booleans())
def test_a_book_kept_from_the_stream_is_the_venues(
    steps: list[tuple[int, list[Level], list[Level]]], speed: str, data: st.DataObject, is_spot: bool
) -> None:
    one = SPOT if is_spot else listing()
    world = World(one)
    world.open(f"btcusdt@depth{speed}")
    sync = BookSync(SequenceRule.SPOT if is_spot else SequenceRule.FUTURES)
    decoder = BinanceDecoder({"BTCUSDT": one.spec})
    bids, asks, last, at = {1: 1}, {19: 1}, 100, 0
    asked = data.draw(st.integers(0, len(steps) - 1))
    for number, (gap, new_bids, new_asks) in enumerate(steps):
        at += gap * MS
        count = max(1, len(new_bids) + len(new_asks))
        world.take(delta(at, last + count, last + 1, new_bids, new_asks))
        last += count
        for side, new in ((bids, new_bids), (asks, new_asks)):
            side.update(new)
            for ticks in [ticks for ticks, lots in side.items() if not lots]:
                del side[ticks]
        if number == asked:
            shot = BookSnapshot(START + at, BTC, last, sorted(bids.items(), reverse=True), sorted(asks.items()))
            sync.on_snapshot(shot)
        for event in world.pop():
            message = decoder.decode(msgspec.json.encode(event))
            assert isinstance(message, BookDelta)
            assert sync.on_delta(message) not in {SyncResult.GAP, SyncResult.CROSSED}
    world.beat(START + at + SECOND)
    for event in world.pop():
        message = decoder.decode(msgspec.json.encode(event))
        assert isinstance(message, BookDelta)
        assert sync.on_delta(message) not in {SyncResult.GAP, SyncResult.CROSSED}
    assert sync.last_id == last
    assert sync.book.bids == bids
    assert sync.book.asks == asks
