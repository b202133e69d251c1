"""What a Binance market tells of its rules: instruments, brackets, funding terms, rate limits."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from venues.binance.calls import ORDERS_1D, ORDERS_1M, ORDERS_10S, WEIGHT_1M
from venues.binance.errors import CodecError
from venues.binance.rules import (
    FundingTerms,
    exchange_info,
    funding_info,
    instrument_states,
    leverage_brackets,
)
from venues.binance.states import state_of
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.net.limits import PoolRule
from venues.port import InstrumentState, InstrumentStatus

D = Decimal
S = 1_000_000_000

# "Exchange Information" of USDS-M futures; tick and step of the fixture in facts E. The precisions are another thing.
BTC: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "pair": "BTCUSDT",
    "contractType": "PERPETUAL",
    "deliveryDate": 4133404800000,
    "onboardDate": 1569398400000,
    "status": "TRADING",
    "maintMarginPercent": "2.5000",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "marginAsset": "USDT",
    "pricePrecision": 2,
    "quantityPrecision": 3,
    "triggerProtect": "0.0500",
    "liquidationFee": "0.012500",
    "marketTakeBound": "0.05",
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "261.10", "maxPrice": "809484", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE", "nested": {"deep": [1]}},
    ],
    "orderTypes": ["LIMIT", "MARKET"],
}
# Facts E: quarterlies are BTCUSDT_YYMMDD, delivered at 08:00 UTC; 220325 is 1648195200000.
QUARTERLY = {**BTC, "symbol": "BTCUSDT_220325", "contractType": "CURRENT_QUARTER", "deliveryDate": 1648195200000}
LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
]


def told(*symbols: object, limits: object = LIMITS) -> bytes:
    return json.dumps({"timezone": "UTC", "rateLimits": limits, "symbols": symbols}).encode()


def test_a_perpetual():
    info = exchange_info(told(BTC), "binance-usdm")
    listing = info.listings["BTCUSDT"]
    assert listing.instrument == Instrument(
        "binance-usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.10"), D("0.001"), "USDT",
        min_qty=D("0.001"), max_qty=D(1000), min_notional=D(100), liquidation_fee=D("0.0125"),
    )  # fmt: skip
    assert (listing.state, listing.status, listing.onboard_ns) == (
        InstrumentState.OPEN,
        "TRADING",
        1569398400000 * 1_000_000,
    )
    assert (listing.market_take_bound, listing.trigger_protect) == (D("0.05"), D("0.05"))
    filters = listing.filters
    assert (filters.min_price, filters.max_price) == (D("261.10"), D(809484))
    assert (filters.market_min_qty, filters.market_max_qty, filters.market_step) == (D("0.001"), D(120), D("0.001"))
    assert (filters.multiplier_up, filters.multiplier_down, filters.max_orders) == (D("1.05"), D("0.95"), 200)


def test_an_unknown_filter_is_kept_as_it_was_written():
    ((name, text),) = exchange_info(told(BTC), "v").listings["BTCUSDT"].filters.unknown
    assert name == "POSITION_RISK_CONTROL"
    assert json.loads(text) == BTC["filters"][-1]


def test_a_quarterly_ends():
    instrument = exchange_info(told(QUARTERLY), "v").listings["BTCUSDT_220325"].instrument
    assert instrument.kind is InstrumentKind.QUARTERLY
    assert instrument.expiry_ns == 1648195200000 * 1_000_000


def test_a_perpetual_that_is_delisted_ends_too():
    body = told({**BTC, "deliveryDate": 1648195200000, "status": "SETTLING"})
    listing = exchange_info(body, "v").listings["BTCUSDT"]
    assert listing.instrument.kind is InstrumentKind.PERPETUAL
    assert listing.instrument.expiry_ns == 1648195200000 * 1_000_000
    assert listing.state is InstrumentState.HALT


def test_a_spot_symbol():
    # "Exchange information" and "Filters" of spot.
    symbol = {
        "symbol": "ETHBTC",
        "status": "BREAK",
        "baseAsset": "ETH",
        "quoteAsset": "BTC",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.00000100", "maxPrice": "100000.0", "tickSize": "0.00000100"},
            {"filterType": "LOT_SIZE", "minQty": "0.00100000", "maxQty": "100000.0", "stepSize": "0.00100000"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.0", "maxQty": "1200.5", "stepSize": "0.00000000"},
            {"filterType": "NOTIONAL", "minNotional": "0.0001", "applyMinToMarket": True, "avgPriceMins": 5},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.25", "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
    }  # fmt: skip
    limits = [*LIMITS, {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000}]
    info = exchange_info(told(symbol, limits=limits), "binance-spot", is_spot=True)
    listing = info.listings["ETHBTC"]
    assert listing.instrument == Instrument(
        "binance-spot", "ETHBTC", InstrumentKind.SPOT, "ETH", "BTC", D("0.000001"), D("0.001"), min_qty=D("0.001"),
        max_qty=D(100000), min_notional=D("0.0001"),
    )  # fmt: skip
    assert listing.state is InstrumentState.HALT
    assert (listing.filters.market_step, listing.filters.market_max_qty) == (None, D("1200.5"))
    assert (listing.filters.multiplier_up, listing.filters.multiplier_down) == (D(5), D("0.25"))
    assert listing.filters.max_orders == 200
    assert ORDERS_1D in {pool.name for pool in info.pools}


REFUSED = [
    ({**BTC, "filters": BTC["filters"][1:]}, "no PRICE_FILTER"),
    ({**BTC, "contractType": ""}, "contractType"),
    ({**BTC, "contractType": "PERPETUAL_OF_ANOTHER_KIND"}, "contractType"),
    ({**BTC, "liquidationFee": "1.5"}, "liquidation_fee"),
    ({**BTC, "deliveryDate": "never"}, "deliveryDate"),
    (
        {**BTC, "filters": [{**BTC["filters"][0], "tickSize": "0"}, *BTC["filters"][1:]]},
        "BTCUSDT tickSize 0: must be positive",
    ),
    (
        {**BTC, "filters": [BTC["filters"][0], {**BTC["filters"][1], "minQty": "NaN"}]},
        "BTCUSDT minQty 'NaN'",
    ),
]


@pytest.mark.parametrize(("symbol", "why"), REFUSED)
def test_a_symbol_that_cannot_be_used_is_named_and_harms_no_other(symbol: dict[str, Any], why: str):
    info = exchange_info(told(symbol, {**BTC, "symbol": "OTHER"}), "v")
    assert why in info.refused["BTCUSDT"]
    assert set(info.listings) == {"OTHER"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"symbols":1}', told(limits=[{"rateLimitType": "ORDERS"}])])
def test_an_answer_that_is_none(body: bytes):
    with pytest.raises(CodecError):
        exchange_info(body, "v")


def test_rate_limits_are_the_pools_that_requests_are_counted_in():
    # Facts C4 with the headers of the general info.
    assert exchange_info(told(BTC), "v").pools == (
        PoolRule(WEIGHT_1M, 2400, 60 * S, "weight", "x-mbx-used-weight-1m"),
        PoolRule(ORDERS_1M, 1200, 60 * S, "orders", "x-mbx-order-count-1m"),
        PoolRule(ORDERS_10S, 300, 10 * S, "orders", "x-mbx-order-count-10s"),
    )


@pytest.mark.parametrize("limit", [{"interval": "AGE"}, {"intervalNum": 0}, {"limit": 0}])
def test_a_rate_limit_that_makes_no_sense_is_refused(limit: dict[str, Any]):
    with pytest.raises(CodecError, match="rateLimits"):
        exchange_info(told(BTC, limits=[{**LIMITS[0], **limit}]), "v")


def test_states():
    by_symbol = {"BTCUSDT": "v:BTCUSDT", "GONEUSDT": "v:GONEUSDT"}
    assert instrument_states(told(BTC, QUARTERLY), by_symbol, 7) == (
        InstrumentStatus(7, "v:BTCUSDT", InstrumentState.OPEN),
        InstrumentStatus(7, "v:GONEUSDT", InstrumentState.CLOSE),
    )
    # Facts E names the states; what is not among them is no reason to trade.
    assert state_of("PENDING_TRADING") is InstrumentState.PRE_OPEN
    assert state_of("DELIVERED") is InstrumentState.CLOSE
    assert state_of("A_NEW_ONE") is InstrumentState.HALT


# Facts A5: the first rows of BTCUSDT of 2024-10-24. The venue writes numbers, not texts.
BRACKETS: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "brackets": [
        {"bracket": 2, "initialLeverage": 100, "notionalCap": 600000, "notionalFloor": 50000, "maintMarginRatio": 0.005,
         "cum": 50.0},
        {"bracket": 1, "initialLeverage": 125, "notionalCap": 50000, "notionalFloor": 0, "maintMarginRatio": 0.004,
         "cum": 0.0},
        {"bracket": 3, "initialLeverage": 75, "notionalCap": 3000000, "notionalFloor": 600000,
         "maintMarginRatio": 0.0065, "cum": 950.0},
    ],
}  # fmt: skip
TABLE = (
    Bracket(D(0), D(50000), D("0.004"), D(0), 125),
    Bracket(D(50000), D(600000), D("0.005"), D(50), 100),
    Bracket(D(600000), D(3000000), D("0.0065"), D(950), 75),
)


def test_brackets_of_one_and_of_all():
    one = leverage_brackets(json.dumps(BRACKETS).encode())
    every = leverage_brackets(json.dumps([BRACKETS, {**BRACKETS, "symbol": "ETHUSDT", "notionalCoef": 1.0}]).encode())
    assert one.tables == {"BTCUSDT": TABLE}
    assert every.tables == {"BTCUSDT": TABLE, "ETHUSDT": TABLE}
    assert one.refused == {}
    instrument = exchange_info(told(BTC), "v", one.tables).listings["BTCUSDT"].instrument
    assert (instrument.brackets, instrument.max_leverage) == (TABLE, 125)


def test_a_table_that_contradicts_itself_is_refused():
    # Facts A2: the maintenance amount follows from the rates; a table that fails the recursion is rejected.
    wrong = {**BRACKETS, "brackets": [*BRACKETS["brackets"][:2], {**BRACKETS["brackets"][2], "cum": 951.0}]}
    tables = leverage_brackets(json.dumps([wrong, {**BRACKETS, "symbol": "ETHUSDT"}]).encode())
    assert set(tables.tables) == {"ETHUSDT"}
    assert "brackets[2].cum" in tables.refused["BTCUSDT"]


@pytest.mark.parametrize("number", [1.5, "1.5", 0.5])
def test_an_accounts_own_bracket_sizes_are_refused(number: object):
    tables = leverage_brackets(json.dumps([{**BRACKETS, "notionalCoef": number}]).encode())
    assert "notionalCoef" in tables.refused["BTCUSDT"]


@pytest.mark.parametrize("number", ["1e400", "1e-400", "1e30"])
def test_a_bracket_of_no_size_is_refused(number: str):
    body = json.dumps([BRACKETS]).replace("600000,", f"{number},").encode()
    tables = leverage_brackets(body)
    assert tables.tables == {}
    assert "BTCUSDT" in tables.refused


def test_every_recorded_table_is_read_as_the_venue_would_send_it(data_dir: Path):
    recorded = json.loads((data_dir / "brackets" / "binance_leverage_tiers_20241024.json").read_text())
    rows = []
    for name, tiers in recorded.items():
        brackets = [{**tier["info"], "bracket": number} for number, tier in enumerate(tiers, 1)]
        rows.append({"symbol": name, "brackets": [_as_numbers(one) for one in brackets]})
    tables = leverage_brackets(json.dumps(rows).encode())
    assert tables.refused == {}
    assert len(tables.tables) == len(recorded)
    # Facts A5: the last row of BTCUSDT.
    last = tables.tables["BTC/USDT:USDT"][-1]
    assert (last.floor, last.mmr, last.cum, last.max_leverage) == (D(1_200_000_000), D("0.5"), D(421_481_450), 1)


def _as_numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {name: int(value) if name == "initialLeverage" else float(value) for name, value in row.items()} | {
        "bracket": int(row["bracket"]),
        "initialLeverage": int(row["initialLeverage"]),
    }


def test_funding_terms():
    # "Get Funding Rate Info"; the floor is a negative rate.
    row = {
        "symbol": "BLZUSDT", "adjustedFundingRateCap": "0.02500000", "adjustedFundingRateFloor": "-0.02500000",
        "fundingIntervalHours": 4, "disclaimer": False,
    }  # fmt: skip
    assert funding_info(json.dumps([row]).encode()) == {"BLZUSDT": FundingTerms(D("0.025"), D("-0.025"), 4)}
    for hours in (0, 5, 48):
        with pytest.raises(CodecError, match="fundingIntervalHours"):
            funding_info(json.dumps([{**row, "fundingIntervalHours": hours}]).encode())
