"""Whatever the bytes are, a decoder answers with a message, with None, or with a CodecError."""

import json
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from venues.binance.codec import BinanceDecoder, CodecError
from venues.binance.grid import Grid
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import BookDelta, BookSnapshot, Quote, Trade

PERPETUAL = Instrument(
    "binance-usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001")
)
DECODER = BinanceDecoder({"BTCUSDT": PERPETUAL})

FRAMES = [
    b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT",'
    b'"U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["58710.20","0.014"],["61496.50","0.010"]],'
    b'"a":[["61510.90","0.000"]]}}',
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20",'
    b'"B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT","t":5266583935,'
    b'"p":"61800.30","q":"0.006","X":"MARKET","m":false}}',
    b'{"e":"aggTrade","E":1723161256322,"s":"BTCUSDT","a":5933014,"p":"61800.30","q":"0.006","f":1,"l":2,'
    b'"T":1723161256321,"m":true}',
    b'{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15","i":"11784.6","r":"0.00038167",'
    b'"T":1562306400000}',
    b'{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","q":"0.014","p":"9910","T":1568014460893}}',
    b'{"lastUpdateId":5123107852948,"E":1723161256501,"T":1723161256493,"bids":[["61800.20","2.909"]],'
    b'"asks":[["61800.30","1.5"]]}',
    b'{"result":null,"id":1}',
]

ODD: list[object] = [
    None,
    True,
    -1,
    0,
    2**63,
    10**30,
    1.5,
    "",
    "NaN",
    "-inf",
    "1e400",
    "\ud7ff",
    [],
    {},
    [["1"]],
    "x" * 300,
]


def check(raw: bytes) -> None:
    try:
        message = DECODER.decode(raw)
    except CodecError:
        return
    match message:
        case Quote():
            assert 0 < message.bid < message.ask
            assert min(message.bid_lots, message.ask_lots) > 0
        case Trade():
            assert min(message.price, message.lots) > 0
        case BookDelta() | BookSnapshot():
            assert all(price > 0 and lots >= 0 for price, lots in message.bids + message.asks)


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes):
    check(raw)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real frame with a few bytes replaced, cut out, put in or doubled."""
    raw = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.binary(max_size=6), st.just(bytes(raw[start:end]) * 2), st.just(b'"e":"trade",')))
        raw[start:end] = piece
    return bytes(raw)


@given(mutated())
def test_mutated_frames(raw: bytes):
    check(raw)


json_values = st.recursive(
    st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("eEsTUuba"), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def retyped(draw: st.DrawFn) -> bytes:
    """A real frame where a few fields hold something else, given twice, or are gone."""
    fields = json.loads(draw(st.sampled_from(FRAMES)))
    inner = fields.get("data", fields)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([fields, inner]))
        if not place:
            break
        key = draw(st.sampled_from(sorted(place)))
        if draw(st.booleans()):
            place[key] = draw(json_values)
        else:
            del place[key]
    text = json.dumps(fields)
    if draw(st.booleans()):
        again = json.dumps(draw(st.sampled_from(["e", "s", "data", "stream", "U", "lastUpdateId", "p"])))
        text = f"{text[:-1]}, {again}: {json.dumps(draw(json_values))}, {again}: 1}}"
    return text.encode("utf-8", "surrogatepass")


@given(retyped())
def test_retyped_frames(raw: bytes):
    check(raw)


@given(st.sampled_from([b"[", b'{"a":', b'{"data":', b'{"stream":"btcusdt@depth","data":[']), st.integers(1, 200_000))
@example(b'{"e":"kline","k":[', 1)
def test_deep_nesting(opening: bytes, depth: int):
    check(opening * depth)
    check(b'{"e":"kline","k":' + opening * depth)


@given(st.integers(1, 10_000), st.integers(0, 10), st.integers(0, 10**15), st.integers(0, 6))
def test_a_grid_agrees_with_exact_division(multiple: int, decimals: int, units: int, zeros: int):
    """Oracle: Decimal, whose 28 digits hold these products exactly."""
    step = Decimal(multiple).scaleb(-decimals)
    text = format(units * step, "f")
    padded = text + "0" * zeros if "." in text else text
    assert Grid(step, "quantity", is_price=False)[padded] == units


@given(st.decimals(min_value=0, max_value=10**9, places=8), st.sampled_from(["0.10", "0.25", "0.001", "1", "5"]))
def test_a_grid_never_shows_more_than_there_is(number: Decimal, step: str):
    sizes = Grid(Decimal(step), "quantity", is_price=False)
    shown = sizes[format(number, "f")] * Decimal(step)
    assert shown <= number < shown + Decimal(step)
    assert sizes.rounded_down == (shown != number)
