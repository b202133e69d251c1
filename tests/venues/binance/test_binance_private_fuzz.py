"""Whatever the bytes are, each decoder of Binance answers with values that are numbers, or with a CodecError.

BASISD_FUZZ_FRAMES says how many mutated frames are tried, one million by
`BASISD_FUZZ_FRAMES=1000000 python -m pytest tests/venues/binance/test_binance_private_fuzz.py`.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from attrs import fields

from venues.binance.answers import UsdmAnswers
from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError
from venues.binance.inquiry import UsdmInquiry
from venues.binance.market_answers import bars, listen_key, server_time_ns, ws_reply
from venues.binance.reactions import judge_http
from venues.binance.requests import UsdmRequests
from venues.binance.rules import exchange_info, funding_info, leverage_brackets
from venues.binance.spot_answers import SpotAnswers, may_withdraw
from venues.binance.spot_user_stream import SpotUserStream
from venues.binance.user_stream import UsdmUserStream
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import Message, ModifyOrder, OrderFilled, Query, QueryFailed, QueryKind, QueryResult, Report

D = Decimal
FRAMES = int(os.environ.get("BASISD_FUZZ_FRAMES", "6000"))
BTC = Instrument("v", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.10"), D("0.001"))
MODIFY = ModifyOrder(1, "a", BTC.id, "desk-1", D("0.5"), D("9300.2"))

ORDER_EVENT: dict[str, Any] = {
    "e": "ORDER_TRADE_UPDATE", "E": 1568879465651, "T": 1568879465651,
    "o": {
        "s": "BTCUSDT", "c": "desk-1", "S": "BUY", "o": "LIMIT", "f": "GTX", "q": "0.010", "p": "60000.10",
        "x": "TRADE", "X": "PARTIALLY_FILLED", "i": 8886774, "l": "0.004", "z": "0.004", "L": "60000.05", "t": 77,
        "n": "0.12", "N": "USDT", "T": 1568879465651, "m": False, "ps": "BOTH", "er": "0",
    },
}  # fmt: skip
ORDER: dict[str, Any] = {
    "orderId": 1917641, "symbol": "BTCUSDT", "clientOrderId": "desk-1", "status": "NEW", "side": "BUY",
    "origQty": "0.40", "executedQty": "0.10", "price": "9300.1", "type": "LIMIT", "positionSide": "BOTH",
    "updateTime": 1579276756075,
}  # fmt: skip
ALGO: dict[str, Any] = {
    "algoId": 2148627, "clientAlgoId": "s-1", "orderType": "STOP_MARKET", "symbol": "BTCUSDT", "side": "SELL",
    "positionSide": "LONG", "quantity": "0.01", "algoStatus": "NEW", "price": "0", "updateTime": 1750514941540,
}  # fmt: skip
TRADE: dict[str, Any] = {
    "symbol": "BTCUSDT", "id": 698759, "orderId": 25851813, "side": "SELL", "price": "7819.01", "qty": "0.002",
    "commission": "0.078", "commissionAsset": "USDT", "time": 1569514978020, "positionSide": "SHORT", "maker": True,
}  # fmt: skip
RISK: dict[str, Any] = {
    "symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "-0.5", "entryPrice": "60000.1",
    "liquidationPrice": "71234.5", "marginType": "cross", "leverage": "20", "updateTime": 1,
}  # fmt: skip
INCOME: dict[str, Any] = {
    "symbol": "BTCUSDT", "incomeType": "FUNDING_FEE", "income": "-0.375", "asset": "USDT", "time": 1570608000000,
    "tranId": 9689322392,
}  # fmt: skip
SYMBOL: dict[str, Any] = {
    "symbol": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "onboardDate": 1569398400000,
    "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "liquidationFee": "0.0125",
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "261.10", "maxPrice": "809484", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ],
}  # fmt: skip
LIMITS = [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300, "count": 1}]
BRACKET: dict[str, Any] = {
    "bracket": 1, "initialLeverage": 125, "notionalCap": 50000, "notionalFloor": 0, "maintMarginRatio": 0.004,
    "cum": 0.0,
}  # fmt: skip
SPOT_TRADE: dict[str, Any] = {
    "symbol": "BTCUSDT", "id": 28457, "orderId": 100234, "price": "4.00000100", "qty": "12.0", "commission": "10.1",
    "commissionAsset": "BNB", "time": 1499865549590, "isBuyer": True, "isMaker": False,
}  # fmt: skip
EXECUTION: dict[str, Any] = {
    "e": "executionReport", "s": "BTCUSDT", "c": "desk-1", "S": "BUY", "C": "", "x": "TRADE", "X": "FILLED",
    "r": "NONE", "i": 4293153, "l": "1.0", "z": "1.0", "L": "0.1", "n": "0.001", "N": "BNB", "T": 1499405658657, "t": 5,
    "m": True,
}  # fmt: skip
ACCOUNT_EVENT = {
    "e": "ACCOUNT_UPDATE", "E": 1, "T": 1,
    "a": {
        "m": "ORDER", "B": [{"a": "USDT", "wb": "122624.1"}],
        "P": [{"s": "BTCUSDT", "pa": "-10", "ep": "6563.8", "mt": "isolated", "ps": "SHORT"}],
    },
}  # fmt: skip
ALGO_EVENT = {
    "e": "ALGO_UPDATE", "T": 7, "E": 8,
    "o": {"caid": "s-1", "aid": 2148719, "s": "BTCUSDT", "X": "NEW", "ai": "", "aq": "0.0", "rm": "why"},
}  # fmt: skip
MARKET: list[dict[str, Any]] = [
    {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": 1, "u": 2, "pu": 0, "b": [["1.0", "2"]], "a": []},
    {"e": "bookTicker", "u": 1, "s": "BTCUSDT", "b": "1.0", "B": "1", "a": "1.1", "A": "2", "T": 1, "E": 1, "st": 1},
    {"e": "aggTrade", "E": 1, "s": "BTCUSDT", "a": 5, "p": "1.0", "q": "1", "T": 1, "m": True, "st": 2},
    {"e": "markPriceUpdate", "E": 1, "s": "BTCUSDT", "p": "1", "ap": "1", "i": "1", "r": "0.1", "T": 1},
    {"e": "forceOrder", "E": 1, "o": {"s": "BTCUSDT", "S": "SELL", "q": "0.014", "p": "9910", "T": 1}},
    {"e": "contractInfo", "E": 1, "s": "BTCUSDT", "cs": "TRADING", "bks": [{"bs": 1}]},
    {"lastUpdateId": 1, "E": 1, "T": 1, "bids": [["1.0", "1"]], "asks": [["1.1", "1"]]},
]

KINDS = ("depth@100ms", "bookTicker", "aggTrade", "markPrice@1s", "forceOrder")

_usdm = UsdmAnswers("v")
_spot = SpotAnswers("v")
_market = BinanceDecoder({"BTCUSDT": BTC})
_user = UsdmUserStream("v", "a", lambda _: D(1))
_cash = SpotUserStream("v", "a")


def _inquire(raw: bytes) -> list[Report]:
    """Take the bytes for the answer to every question there is; nothing may be raised."""
    told: list[Report] = []
    for kind in QueryKind:
        query = Query(1, "a", "q", kind, BTC.id, "desk-1")
        inquiry = UsdmInquiry(UsdmRequests([BTC]), _usdm, _market, query, 1_700_000_000_000_000_000)
        open_calls = list(inquiry.calls)[:2]
        while open_calls and len(told) < 99:
            open_calls += inquiry.take(open_calls.pop(), raw)[:1] if len(open_calls) < 3 else ()
        told += inquiry.reports()
    return told


Target = tuple[Callable[[bytes], object], tuple[object, ...]]
TARGETS: dict[str, Target] = {
    "market": (_market.decode, tuple(MARKET)),
    "wrapped": (
        _market.decode,
        tuple({"stream": f"btcusdt@{kind}", "data": one} for kind, one in zip(KINDS, MARKET, strict=False)),
    ),
    "user": (lambda raw: _user.decode(raw).reports, (ORDER_EVENT, ACCOUNT_EVENT, ALGO_EVENT)),
    "spot user": (lambda raw: _cash.decode(raw).reports, (EXECUTION, {"subscriptionId": 0, "event": EXECUTION})),
    "orders": (lambda raw: _usdm.orders("a", raw, 1), ([ORDER],)),
    "accepted": (lambda raw: _usdm.accepted("a", raw), (ORDER,)),
    "modified": (lambda raw: _usdm.modified(MODIFY, raw), (ORDER,)),
    "canceled": (lambda raw: _usdm.canceled("a", raw), ({**ORDER, "status": "CANCELED"},)),
    "algos": (lambda raw: _usdm.algo_orders("a", raw, 1), ([ALGO],)),
    "fills": (lambda raw: _usdm.fills("a", raw), ([TRADE],)),
    "positions": (lambda raw: _usdm.positions("a", raw, {}, 1), ([RISK],)),
    "balances": (_usdm.balances, ({"assets": [{"asset": "USDT", "walletBalance": "23.7"}]},)),
    "incomes": (lambda raw: _usdm.incomes("a", raw)[0], ([INCOME],)),
    "rates": (
        _usdm.funding_rates,
        ([{"symbol": "BTCUSDT", "fundingRate": "0.1", "fundingTime": 1, "markPrice": "1"}],),
    ),
    "bars": (lambda raw: bars("v:BTCUSDT", raw, is_mark=False), ([[1, "1", "2", "0.5", "1", "9", 60_000, "1"]],)),
    "exchange info": (lambda raw: exchange_info(raw, "v").listings, ({"symbols": [SYMBOL], "rateLimits": LIMITS},)),
    "brackets": (lambda raw: leverage_brackets(raw).tables, ([{"symbol": "BTCUSDT", "brackets": [BRACKET]}],)),
    "funding info": (funding_info, ([{"symbol": "B", "fundingIntervalHours": 8, "adjustedFundingRateCap": "0.1"}],)),
    "reply": (ws_reply, ({"id": "7", "status": 200, "result": ORDER, "rateLimits": LIMITS},)),
    "small": (lambda raw: (server_time_ns(raw), listen_key(raw)), ({"serverTime": 1, "listenKey": "abc"},)),
    "spot fills": (lambda raw: _spot.fills("a", raw), ([SPOT_TRADE],)),
    "spot account": (_spot.balances, ({"balances": [{"asset": "BTC", "free": "4", "locked": "0.5"}]},)),
    "permissions": (may_withdraw, ({"enableWithdrawals": True},)),
    "inquiry": (_inquire, ([ORDER], ORDER, [TRADE], [INCOME], {"assets": []})),
    "refusal": (lambda raw: judge_http(503, raw, changes=True), ({"code": -1000, "msg": "Unknown error"},)),
}

ODD: tuple[object, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 1.5, 1e300, "", " ", "0", "-0", "-1",
    "NaN", "-Infinity", "1e400", "1E-30", "0E-8", "1_0", "+1", "0x10", "٣", "1" * 33, "9" * 20 + "." + "9" * 20, "\x00",
    "\ud7ff", "x" * 300, "TRADING", "CANCELED", "EXPIRED", "NEW", "TRIGGERED", "FINISHED", "LONG",
    [], {}, [[]], [["1"]], [[1, 2]],
)  # fmt: skip


def mutated(rng: random.Random, seeds: tuple[object, ...]) -> bytes:
    """Return a frame with a value, a key or some bytes of it changed, up to three times."""
    tree = json.loads(json.dumps(rng.choice(seeds)))
    for _ in range(rng.choice((0, 1, 1, 2))):
        tree = _twisted(rng, tree)
    raw = bytearray(json.dumps(tree, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((0, 0, 1, 2))):
        _torn(rng, raw)
    return bytes(raw)


def _twisted(rng: random.Random, tree: Any) -> Any:
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.05:
        return deepcopy(rng.choice(ODD))
    key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
    if isinstance(tree[key], dict | list) and tree[key] and rng.random() < 0.8:
        tree[key] = _twisted(rng, tree[key])
    elif rng.random() < 0.15:
        del tree[key]
    elif rng.random() < 0.1 and isinstance(tree, list):
        tree *= rng.choice((2, 5))
    else:
        tree[key] = deepcopy(rng.choice(ODD))
    return tree


def _torn(rng: random.Random, raw: bytearray) -> None:
    if not raw:
        return
    place, how = rng.randrange(len(raw)), rng.randrange(6)
    if how == 0:
        raw[place] = rng.randrange(256)
    elif how == 1:
        del raw[place : place + rng.randrange(1, 9)]
    elif how == 2:
        del raw[place:]
    elif how == 3:
        raw[place:place] = raw[place : place + rng.randrange(1, 40)]
    elif how == 4:
        raw[place:place] = bytes(rng.choice(b'{}[]",:0123456789eE.-\\') for _ in range(rng.randrange(1, 5)))
    else:
        raw[place] ^= 1 << rng.randrange(8)


def assert_sound(value: object) -> None:
    """No number that is none gets through, however deep it stands."""
    if isinstance(value, Decimal):
        assert value.is_finite()
    elif isinstance(value, str):
        assert len(value) <= 400
    elif isinstance(value, dict):
        assert_all(value.values())
    elif isinstance(value, tuple | list):
        assert_all(value)
    elif isinstance(value, Message):
        kind: Any = type(value)
        assert_all(getattr(value, one.name) for one in fields(kind))
        if isinstance(value, OrderFilled):
            assert value.qty > 0
            assert value.price > 0


def assert_all(values: Iterable[object]) -> None:
    for value in values:
        assert_sound(value)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_themselves_are_read(name: str):
    decode, seeds = TARGETS[name]
    for seed in seeds:
        assert_sound(decode(json.dumps(seed).encode()))


def test_mutated_frames_give_sound_values_or_typed_errors():
    rng = random.Random(20261126)
    names = list(TARGETS)
    read, refused = Counter[str](), Counter[str]()
    for number in range(FRAMES):
        name = names[number % len(names)]
        decode, seeds = TARGETS[name]
        raw = mutated(rng, seeds)
        try:
            told = decode(raw)
        except CodecError:
            refused[name] += 1
        else:
            read[name] += 1
            assert_sound(told)
    # Both ends are met by every decoder; these two raise nothing at all.
    assert set(read) == set(names)
    assert set(refused) == set(names) - {"inquiry", "refusal"}


def test_an_inquiry_says_why_it_failed():
    told = _inquire(b"\x00")
    assert {type(one) for one in told} == {QueryFailed}
    (answered,) = [one for one in _inquire(json.dumps(ORDER).encode()) if isinstance(one, QueryResult)]
    assert answered.kind is QueryKind.ORDER
