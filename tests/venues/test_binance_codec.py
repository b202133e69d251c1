"""What each public frame of Binance says, and which frames are refused."""

import json
from decimal import Decimal

import pytest

from venues.binance import grid
from venues.binance.codec import FRAME_BYTES_MAX, IGNORED_KINDS_MAX, BinanceDecoder, CodecError, CodecErrorReason
from venues.binance.grid import Grid
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, FundingRate, LiquidationPrint, MarkPrice, Message, Quote, Trade

PERPETUAL = Instrument(
    "binance-usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001")
)
SPOT = Instrument("binance-spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
USDM_ID = "binance-usdm:BTCUSDT"
SPOT_ID = "binance-spot:BTCUSDT"
MS = 1_000_000

Fields = dict[str, object]

# Shapes: developers.binance.com, USDS-M "Websocket Market Streams"; "X" of trades as recorded in 2024.
DEPTH: Fields = {
    "e": "depthUpdate",
    "E": 1723161256299,
    "T": 1723161256298,
    "s": "BTCUSDT",
    "U": 157,
    "u": 160,
    "pu": 149,
    "b": [["58710.20", "0.014"], ["61496.50", "0"]],
    "a": [["61800.3", "2.510"]],
}
TICKER: Fields = {
    "e": "bookTicker",
    "u": 400900217,
    "s": "BTCUSDT",
    "b": "61800.20",
    "B": "2.507",
    "a": "61800.30",
    "A": "2.510",
    "T": 1723161256313,
    "E": 1723161256314,
}
TRADE: Fields = {
    "e": "trade",
    "E": 1723161256322,
    "T": 1723161256321,
    "s": "BTCUSDT",
    "t": 5266583935,
    "p": "61800.30",
    "q": "0.006",
    "X": "MARKET",
    "m": False,
}
AGG: Fields = {
    "e": "aggTrade",
    "E": 1723161256322,
    "a": 5933014,
    "s": "BTCUSDT",
    "p": "61800.30",
    "q": "0.006",
    "nq": "0.005",
    "f": 100,
    "l": 105,
    "T": 1723161256321,
    "m": True,
}
MARK: Fields = {
    "e": "markPriceUpdate",
    "E": 1562305380000,
    "s": "BTCUSDT",
    "p": "11794.15000000",
    "i": "11784.62659091",
    "P": "11784.25641265",
    "r": "-0.00038167",
    "T": 1562306400000,
}
FORCE_ORDER: Fields = {
    "s": "BTCUSDT",
    "S": "SELL",
    "o": "LIMIT",
    "f": "IOC",
    "q": "0.014",
    "p": "9910",
    "ap": "9910.5",
    "X": "FILLED",
    "l": "0.014",
    "z": "0.014",
    "T": 1568014460893,
}
FORCE: Fields = {"e": "forceOrder", "E": 1568014460894, "o": FORCE_ORDER}
SNAPSHOT: Fields = {
    "lastUpdateId": 1027024,
    "E": 1589436922972,
    "T": 1589436922959,
    "bids": [["61800.20", "2.909"], ["61800.10", "0.696"]],
    "asks": [["61800.30", "12"]],
}

DELTA = BookDelta(1723161256298 * MS, USDM_ID, 157, 160, 149, [(587102, 14), (614965, 0)], [(618003, 2510)])
QUOTE = Quote(1723161256313 * MS, USDM_ID, 400900217, 618002, 2507, 618003, 2510)

SAYS: list[tuple[str, Fields, Message]] = [
    ("btcusdt@depth@0ms", DEPTH, DELTA),
    ("btcusdt@bookTicker", TICKER, QUOTE),
    # `m`: the buyer is the maker, so the seller took.
    ("btcusdt@trade", TRADE, Trade(1723161256321 * MS, USDM_ID, 5266583935, 618003, 6, Side.BUY)),
    ("btcusdt@aggTrade", AGG, Trade(1723161256321 * MS, USDM_ID, 5933014, 618003, 6, Side.SELL)),
    (
        "btcusdt@markPrice@1s",
        MARK,
        MarkPrice(
            1562305380000 * MS,
            USDM_ID,
            Decimal("11794.15000000"),
            Decimal("11784.62659091"),
            Decimal("-0.00038167"),
            1562306400000 * MS,
        ),
    ),
    (
        "btcusdt@forceOrder",
        FORCE,
        LiquidationPrint(1568014460893 * MS, USDM_ID, Side.SELL, Decimal("9910"), Decimal("0.014")),
    ),
]


def to_bytes(fields: object) -> bytes:
    return json.dumps(fields).encode()


def wrap(stream: str, fields: object) -> bytes:
    return to_bytes({"stream": stream, "data": fields})


def usdm() -> BinanceDecoder:
    return BinanceDecoder({"BTCUSDT": PERPETUAL})


def reason(decoder: BinanceDecoder, raw: bytes) -> CodecErrorReason:
    with pytest.raises(CodecError) as caught:
        decoder.decode(raw)
    return caught.value.reason


@pytest.mark.parametrize(("stream", "fields", "message"), SAYS)
def test_a_frame_says_the_same_wrapped_bare_and_spaced(stream: str, fields: Fields, message: Message):
    decoder = usdm()
    reordered = {"data": dict(reversed(fields.items())), "stream": stream}
    pretty = json.dumps(reordered, indent=2).encode()
    assert [decoder.decode(raw) for raw in (wrap(stream, fields), to_bytes(fields), pretty)] == [message] * 3
    assert decoder.ignored == {}


@pytest.mark.parametrize("stream", ["!bookTicker"])
def test_streams_of_all_symbols_are_read(stream: str):
    assert usdm().decode(wrap(stream, TICKER)) == QUOTE


def test_spot_frames_tell_less():
    decoder = BinanceDecoder({"BTCUSDT": SPOT})
    # Spot "Websocket Market Streams": bookTicker has neither event type nor time, depth neither T nor pu.
    ticker = {"u": 7, "s": "BTCUSDT", "b": "61837.63000000", "B": "3.78826000", "a": "61837.64000000", "A": "1.5"}
    quote = Quote(0, SPOT_ID, 7, 6183763, 378826, 6183764, 150000)
    assert decoder.decode(wrap("btcusdt@bookTicker", ticker)) == quote
    assert decoder.decode(to_bytes(ticker)) == quote
    depth = {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["0.01", "0.00000000"]], "a": []}
    assert decoder.decode(to_bytes(depth)) == BookDelta(5 * MS, SPOT_ID, 1, 2, -1, [(1, 0)], [])
    snapshot = {"lastUpdateId": 3, "bids": [["1.00000000", "0.00001000"]], "asks": []}
    assert decoder.decode(to_bytes(snapshot)) == BookSnapshot(0, SPOT_ID, 3, [(100, 1)], [])


def test_a_snapshot_is_of_the_symbol_the_caller_names():
    ether = Instrument("binance-usdm", "ETHUSDT", InstrumentKind.PERPETUAL, "ETH", "USDT", Decimal("0.01"), Decimal(1))
    both = {"BTCUSDT": PERPETUAL, "ETHUSDT": ether}
    raw = to_bytes(SNAPSHOT)
    wanted = BookSnapshot(1589436922959 * MS, USDM_ID, 1027024, [(618002, 2909), (618001, 696)], [(618003, 12000)])
    assert usdm().decode(raw) == wanted
    assert BinanceDecoder(both, snapshot_symbol="BTCUSDT").decode(raw) == wanted
    assert BinanceDecoder(both).decode_snapshot(raw, "BTCUSDT") == wanted
    assert reason(BinanceDecoder(both), raw) is CodecErrorReason.UNKNOWN_SYMBOL
    with pytest.raises(ValueError, match="XRPUSDT"):
        BinanceDecoder(both, snapshot_symbol="XRPUSDT")


def test_rest_rows():
    decoder = usdm()
    row = {
        "symbol": "BTCUSDT",
        "markPrice": "11793.63104562",
        "indexPrice": "11781.80495970",
        "lastFundingRate": "0.00038246",
        "nextFundingTime": 1597392000000,
        "time": 1597370495002,
    }
    assert decoder.decode_premium_index(to_bytes(row)) == MarkPrice(
        1597370495002 * MS,
        USDM_ID,
        Decimal("11793.63104562"),
        Decimal("11781.80495970"),
        Decimal("0.00038246"),
        1597392000000 * MS,
    )
    rows = [
        {"symbol": "BTCUSDT", "fundingRate": "-0.03750000", "fundingTime": 1570608000000, "markPrice": "34287.54"},
        {"symbol": "BTCUSDT", "fundingRate": "0.00010000", "fundingTime": 1570636800000, "markPrice": ""},
    ]
    assert decoder.decode_funding_rates(to_bytes(rows)) == [
        FundingRate(1570608000000 * MS, USDM_ID, Decimal("-0.0375"), Decimal("34287.54")),
        FundingRate(1570636800000 * MS, USDM_ID, Decimal("0.0001"), None),
    ]
    for bad in (b"{}", b"[{}]", to_bytes([{**rows[0], "symbol": "X"}]), to_bytes([{**rows[0], "fundingRate": "nan"}])):
        with pytest.raises(CodecError):
            decoder.decode_funding_rates(bad)


def test_a_delivery_contract_pays_no_funding():
    mark = usdm().decode(to_bytes({**MARK, "r": "", "T": 0}))
    assert isinstance(mark, MarkPrice)
    assert mark.rate is None
    assert mark.next_funding_ns is None


IGNORED: list[tuple[bytes, str]] = [
    (b'{"result":null,"id":1}', "reply"),
    (b'{"error":{"code":2,"msg":"Invalid request"},"id":1}', "error"),
    (b'{"code":0,"msg":"Unknown property"}', "error"),
    (to_bytes({"e": "kline", "E": 1, "s": "BTCUSDT", "k": {"o": "1"}}), "kline"),
    (to_bytes({"e": "24hrTicker", "s": "BTCUSDT"}), "24hrTicker"),
    (to_bytes({"e": "neverHeardOf", "u": [], "b": {}}), "neverHeardOf"),
    (wrap("btcusdt@kline_1m", {"e": "kline"}), "kline"),
    (wrap("!ticker@arr", [{"e": "24hrTicker"}]), "ticker"),
    (wrap("pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81", {"e": "ORDER_TRADE_UPDATE"}), "ORDER_TRADE_UPDATE"),
    # Partial books and books with RPI orders come as depthUpdate on futures and are no increments of the book.
    (wrap("btcusdt@depth20@100ms", DEPTH), "depth20"),
    (wrap("btcusdt@rpiDepth@500ms", DEPTH), "rpiDepth"),
    (wrap("btcusdt@depth5", {"lastUpdateId": 1, "bids": [], "asks": []}), "depth5"),
    # Insurance fund, ADL and N/A prints did not meet the book.
    (wrap("btcusdt@trade", {**TRADE, "X": "INSURANCE_FUND"}), "trade:INSURANCE_FUND"),
    (to_bytes({**TRADE, "X": "NA", "p": "0", "q": "0"}), "trade:NA"),
]


@pytest.mark.parametrize(("raw", "kind"), IGNORED)
def test_what_holds_nothing_for_us_is_counted_by_kind(raw: bytes, kind: str):
    decoder = usdm()
    assert decoder.decode(raw) is None
    assert decoder.decode(raw) is None
    assert decoder.ignored == {kind: 2}


def test_kinds_are_bounded():
    decoder = usdm()
    for number in range(IGNORED_KINDS_MAX + 50):
        decoder.decode(to_bytes({"e": f"kind{number}" + "x" * 1000}))
    assert len(decoder.ignored) == IGNORED_KINDS_MAX + 1
    assert decoder.ignored["other"] == 50
    assert max(map(len, decoder.ignored)) <= 32


R = CodecErrorReason
REFUSED: list[tuple[bytes, CodecErrorReason]] = [
    (b"", R.NOT_JSON),
    (b"\xff\xfe", R.NOT_JSON),
    (b"{", R.NOT_JSON),
    (b'{"e":"aggTrade"} x', R.NOT_JSON),
    (to_bytes(TRADE).replace(b'"BTCUSDT"', b'"\xff\xff"'), R.NOT_JSON),
    (b'{"x":' + b"[" * 100_000, R.NOT_JSON),
    (b'{"stream":"btcusdt@trade","data":' + b'{"a":' * 100_000, R.NOT_JSON),
    (b"x" * (FRAME_BYTES_MAX + 1), R.TOO_LARGE),
    (b"null", R.BAD_FIELD),
    (b"17", R.BAD_FIELD),
    (b"[]", R.BAD_FIELD),
    (b"{}", R.BAD_FIELD),
    (b'{"stream":"btcusdt@trade"}', R.BAD_FIELD),
    (b'{"stream":1,"data":{}}', R.BAD_FIELD),
    (b'{"e":3}', R.BAD_FIELD),
    (b'{"lastUpdateId":1}', R.BAD_FIELD),
    (wrap("btcusdt@trade", [TRADE]), R.BAD_FIELD),
    (wrap("btcusdt@trade", AGG), R.BAD_FIELD),
    (wrap("btcusdt@depth", TRADE), R.BAD_FIELD),
    (wrap("ethusdt@trade", TRADE), R.BAD_FIELD),
    (to_bytes({**TRADE, "s": "ETHUSDT"}), R.UNKNOWN_SYMBOL),
    (to_bytes({**TRADE, "s": "btcusdt"}), R.UNKNOWN_SYMBOL),
    (to_bytes({**TRADE, "p": 61800.3}), R.BAD_FIELD),
    (to_bytes({**TRADE, "p": None}), R.BAD_FIELD),
    (to_bytes({**TRADE, "m": "true"}), R.BAD_FIELD),
    (to_bytes({**TRADE, "T": "1723161256321"}), R.BAD_FIELD),
    (to_bytes({**TRADE, "T": -1}), R.BAD_FIELD),
    (to_bytes({**TRADE, "T": 1.5}), R.BAD_FIELD),
    # Microseconds (spot streams with timeUnit=MICROSECOND) would be the year 56,000.
    (to_bytes({**TRADE, "T": 1723161256321000}), R.BAD_FIELD),
    (to_bytes({**TRADE, "t": 2**63}), R.BAD_FIELD),
    (to_bytes({**TRADE, "t": 10**400}), R.BAD_FIELD),
    *((to_bytes({key: value for key, value in TRADE.items() if key != gone}), R.BAD_FIELD) for gone in "sptqTm"),
    *((to_bytes({key: value for key, value in DEPTH.items() if key != gone}), R.BAD_FIELD) for gone in "EsUuba"),
    (to_bytes({key: value for key, value in DEPTH.items() if key != "pu"}), R.BAD_FIELD),
    (to_bytes({**DEPTH, "u": 156}), R.BAD_SEQUENCE),
    (to_bytes({**DEPTH, "b": [["61800.20"]]}), R.BAD_FIELD),
    (to_bytes({**DEPTH, "b": [["61800.20", "1", "2"]]}), R.BAD_FIELD),
    (to_bytes({**DEPTH, "b": [[61800, 1]]}), R.BAD_FIELD),
    (to_bytes({**DEPTH, "b": [["0.00", "1"]]}), R.BAD_NUMBER),
    (to_bytes({**DEPTH, "b": [["61800.20", "-1"]]}), R.BAD_NUMBER),
    (to_bytes({**DEPTH, "a": [["61800.25", "1"]]}), R.OFF_GRID),
    (to_bytes({**TICKER, "b": "61800.30"}), R.CROSSED),
    (to_bytes({**TICKER, "b": "61800.40"}), R.CROSSED),
    (to_bytes({**TICKER, "B": "0.000"}), R.BAD_NUMBER),
    (to_bytes({**TICKER, "e": None}), R.BAD_FIELD),
    (to_bytes({**MARK, "p": "0.00"}), R.BAD_NUMBER),
    (to_bytes({**MARK, "p": "-1"}), R.BAD_NUMBER),
    (to_bytes({**MARK, "i": "Infinity"}), R.BAD_NUMBER),
    (to_bytes({**MARK, "r": "NaN"}), R.BAD_NUMBER),
    (to_bytes({**FORCE, "o": {**FORCE_ORDER, "S": "HOLD"}}), R.BAD_FIELD),
    (to_bytes({**FORCE, "o": {**FORCE_ORDER, "q": "0"}}), R.BAD_NUMBER),
    (to_bytes({**FORCE, "o": None}), R.BAD_FIELD),
    (to_bytes({**SNAPSHOT, "asks": [["61800.20", "1"]]}), R.CROSSED),
    (to_bytes({**SNAPSHOT, "asks": [["61800.30", "0"]]}), R.BAD_NUMBER),
    (to_bytes({**SNAPSHOT, "lastUpdateId": "1027024"}), R.BAD_FIELD),
]


@pytest.mark.parametrize(("raw", "why"), REFUSED)
def test_what_cannot_be_believed_is_refused_with_its_reason(raw: bytes, why: CodecErrorReason):
    decoder = usdm()
    assert reason(decoder, raw) is why
    # and costs nothing but itself
    assert decoder.decode(to_bytes(TICKER)) == QUOTE


NOT_NUMBERS = ["", ".", "1.", ".5", "-1", "+1", " 1", "1 ", "1_000", "1e3", "NaN", "nan", "Infinity", "-Infinity"]
NOT_NUMBERS += [
    "0x10",
    "1,5",
    "\u0661",
    "1.\u0662",
    "\u00b2",
    "1.2.3",
    "--1",
    "0",
    "0.000",
    "9" * 33,
    "9" * 31,
    "9" * 5000,
]


@pytest.mark.parametrize("number", NOT_NUMBERS)
def test_a_price_is_a_plain_positive_finite_number(number: str):
    assert reason(usdm(), to_bytes({**TRADE, "p": number})) is CodecErrorReason.BAD_NUMBER
    assert reason(usdm(), to_bytes({**TRADE, "q": number})) is CodecErrorReason.BAD_NUMBER


GRID: list[tuple[str, str, int]] = [
    ("0.10", "61800.30", 618003),
    ("0.10", "61800.3", 618003),
    ("0.10", "61800", 618000),
    ("0.10", "061800.30000000", 618003),
    ("0.25", "5012.75", 20051),
    ("0.01", "0.01000000", 1),
    ("0.00000001", "9910.12345678", 991012345678),
    ("5", "35", 7),
    ("1E+2", "300.000", 3),
    ("1", "12", 12),
]


@pytest.mark.parametrize(("step", "text", "units"), GRID)
def test_numbers_are_counted_in_steps(step: str, text: str, units: int):
    assert Grid(Decimal(step), "price", is_price=True)[text] == units
    assert Grid(Decimal(step), "quantity", is_price=False)[text] == units


@pytest.mark.parametrize(("step", "text"), [("0.10", "61800.35"), ("0.25", "1.30"), ("5", "36"), ("5", "35.01")])
def test_a_price_between_steps_is_refused(step: str, text: str):
    with pytest.raises(CodecError) as caught:
        Grid(Decimal(step), "price", is_price=True)[text]
    assert caught.value.reason is CodecErrorReason.OFF_GRID


def test_a_quantity_finer_than_the_lot_is_rounded_down_and_counted():
    """Spot BTCUSDT showed 25.42618900 at 200000.00 on 2024-08-08, with a lot of 0.00001."""
    decoder = BinanceDecoder({"BTCUSDT": SPOT})
    depth = {**DEPTH, "b": [["61800.20", "0.000009"]], "a": [["200000.00000000", "25.42618900"]]}
    for count in (2, 4):
        delta = decoder.decode(to_bytes(depth))
        assert isinstance(delta, BookDelta)
        assert (delta.bids, delta.asks) == ([(6180020, 0)], [(20000000, 2542618)])
        assert decoder.odd_lots == count
    # Less than a lot is nothing that can be quoted or traded.
    assert reason(decoder, to_bytes({**TRADE, "q": "0.000009"})) is CodecErrorReason.BAD_NUMBER


def test_a_grid_forgets_rather_than_grows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grid, "CACHE_ENTRIES_MAX", 10)
    prices = Grid(Decimal("0.1"), "price", is_price=True)
    for _ in range(2):
        assert [prices[f"{number}.5"] for number in range(1, 40)] == [number * 10 + 5 for number in range(1, 40)]
    assert len(prices) <= 10
