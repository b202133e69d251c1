"""What the streams of all symbols carry beside the configured ones is passed over, and only there."""

import json
from decimal import Decimal
from typing import Any

import pytest

from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError, CodecErrorReason
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import InstrumentState, InstrumentStatus, LiquidationPrint

BTC = Instrument("v", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001"))


def liquidation(symbol: str, **more: object) -> dict[str, Any]:
    order = {"s": symbol, "S": "SELL", "q": "0.014", "p": "9910", "T": 1568014460893}
    return {"e": "forceOrder", "E": 1568014460893, "o": order, **more}


def frame(data: dict[str, Any], stream: str | None = None) -> bytes:
    return json.dumps(data if stream is None else {"stream": stream, "data": data}).encode()


def test_other_symbols_of_a_stream_of_all():
    decoder = BinanceDecoder({"BTCUSDT": BTC})
    assert decoder.decode(frame(liquidation("XRPUSDT"), "!forceOrder@arr")) is None
    assert isinstance(decoder.decode(frame(liquidation("BTCUSDT"), "!forceOrder@arr")), LiquidationPrint)
    assert decoder.ignored == {"other symbols": 1}


@pytest.mark.parametrize("stream", [None, "!forceOrder@arr"])
def test_coin_margined_symbols_share_the_streams(stream: str | None):
    # Facts D2: st is 1 for USDS-M and 2 for COIN-M, merged in the streams of all since 2026-06-30.
    decoder = BinanceDecoder({"BTCUSDT": BTC})
    assert decoder.decode(frame(liquidation("BTCUSD_PERP", st=2), stream)) is None
    assert decoder.ignored == {"coin-m": 1}


@pytest.mark.parametrize(
    ("data", "stream"),
    [
        (liquidation("XRPUSDT"), None),
        (liquidation("XRPUSDT", st=1), None),
        (liquidation("XRPUSDT"), "xrpusdt@forceOrder"),
        (liquidation("XRPUSDT", st="2"), None),
    ],
)
def test_a_symbol_nobody_asked_for_is_an_error_elsewhere(data: dict[str, Any], stream: str | None):
    with pytest.raises(CodecError) as error:
        BinanceDecoder({"BTCUSDT": BTC}).decode(frame(data, stream))
    assert error.value.reason is CodecErrorReason.UNKNOWN_SYMBOL


# "Contract Info Stream": bks comes only when the brackets change.
INFO: dict[str, Any] = {
    "e": "contractInfo", "E": 1669356423908, "s": "BTCUSDT", "ps": "BTCUSDT", "ct": "PERPETUAL", "dt": 4133404800000,
    "ot": 1666594800000, "cs": "SETTLING",
}  # fmt: skip


@pytest.mark.parametrize("stream", [None, "!contractInfo"])
def test_the_state_of_a_contract(stream: str | None):
    decoder = BinanceDecoder({"BTCUSDT": BTC})
    told = InstrumentStatus(1669356423908 * 1_000_000, BTC.id, InstrumentState.HALT)
    assert decoder.decode(frame(INFO, stream)) == told
    assert decoder.ignored == {}
    brackets = [{"bs": 1, "bnf": 0, "bnc": 5000, "mmr": 0.01, "cf": 0, "mi": 21, "ma": 50}]
    assert decoder.decode(frame({**INFO, "cs": "TRADING", "bks": brackets}, stream)) == InstrumentStatus(
        1669356423908 * 1_000_000, BTC.id, InstrumentState.OPEN
    )
    assert decoder.ignored == {"contractInfo:brackets": 1}
