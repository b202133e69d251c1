"""ccxt `binanceusdm` (sync, and pro over websockets) trades on the emulator, unmodified but for its URLs."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from client_scripts import Served, made_all, serving

SYMBOL = "BTC/USDT:USDT"

CALLS = {
    "market": (
        "load_markets fetch_time fetch_status fetch_order_book fetch_trades fetch_ohlcv fetch_ticker fetch_tickers"
        " fetch_bids_asks fetch_last_prices fetch_mark_price fetch_mark_prices fetch_funding_rate fetch_funding_rates"
        " fetch_funding_rate_history fetch_funding_intervals fetch_open_interest fetch_currencies"
    ),
    "orders": (
        "fetch_order fetch_open_order fetch_open_orders edit_order cancel_order fetch_canceled_orders fetch_my_trades"
        " fetch_closed_orders fetch_orders cancel_all_orders"
    ),
    "batch": "create_orders edit_orders cancel_orders",
    "account": (
        "fetch_balance fetch_positions fetch_ledger fetch_funding_history fetch_trading_fee"
        " fetch_trading_fees fetch_leverage_tiers fetch_my_liquidations fetch_positions_adl_rank fetch_adl_rank"
    ),
    "modes": (
        "set_leverage fetch_leverage fetch_leverages set_margin_mode fetch_margin_mode set_position_mode"
        " fetch_position_mode add_margin reduce_margin fetch_margin_adjustment_history"
    ),
    "spot": "fetch_time fetch_order_book fetch_balance fetch_order fetch_open_orders cancel_order fetch_my_trades",
    "streams": (
        "watch_order_book watch_trades watch_ticker watch_tickers watch_bids_asks watch_mark_price watch_mark_prices"
        " watch_ohlcv watch_order_book_for_symbols watch_trades_for_symbols watch_ohlcv_for_symbols"
        " un_watch_order_book"
    ),
    "websocket orders": (
        "create_order_ws fetch_order_ws edit_order_ws cancel_order_ws fetch_balance_ws fetch_positions_ws"
        " fetch_order_book_ws fetch_ticker_ws"
    ),
}


def test_ccxt_reads_the_market(emulator: Served) -> None:
    got = emulator.run("ccxt_rest.py", "market")
    made_all(got, CALLS["market"])
    markets = got["load_markets"][0]
    perpetual = markets[SYMBOL]
    assert (perpetual["id"], perpetual["swap"], perpetual["active"]) == ("BTCUSDT", True, True)
    assert perpetual["precision"]["price"] == 0.1
    assert perpetual["precision"]["amount"] == 0.001
    assert perpetual["limits"]["cost"]["min"] > 0
    quarterlies = [one for name, one in markets.items() if one["future"]]
    assert quarterlies
    assert all(one["expiry"] > got["fetch_time"][0] for one in quarterlies)
    for book in got["fetch_order_book"]:
        assert book["bids"][0][0] < book["asks"][0][0]
        assert book["bids"] == sorted(book["bids"], key=lambda level: -level[0])
        assert book["nonce"] > 0
    assert len(got["fetch_order_book"][1]["bids"]) <= 5
    assert all(one["price"] > 0 and one["amount"] > 0 and one["side"] for one in got["fetch_trades"][0])
    bars = got["fetch_ohlcv"][0]
    assert len(bars) == 10
    assert [later[0] - bar[0] for bar, later in pairwise(bars)] == [60_000] * 9
    assert all(bar[3] <= min(bar[1], bar[4]) <= max(bar[1], bar[4]) <= bar[2] for bar in bars)
    ticker = got["fetch_ticker"][0]
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert ticker["baseVolume"] > 0
    assert got["fetch_tickers"][0].keys() == markets.keys()
    funding = got["fetch_funding_rate"][0]
    assert abs(funding["fundingRate"]) < 0.03
    assert funding["fundingTimestamp"] > got["fetch_time"][0]
    assert funding["markPrice"] > 0
    assert got["fetch_funding_rate_history"][0]
    assert got["fetch_currencies"][0]["USDT"]["id"] == "USDT"


def test_ccxt_places_changes_and_cancels_orders(emulator: Served) -> None:
    got = emulator.run("ccxt_rest.py", "orders")
    made_all(got, CALLS["orders"])
    resting = got["create limit"][0]
    assert (resting["status"], resting["type"], resting["side"], resting["amount"]) == ("open", "limit", "buy", 0.01)
    for name in ("fetch_order", "fetch_open_order"):
        assert got[name][0]["id"] == resting["id"]
        assert got[name][0]["price"] == resting["price"]
    assert [one["id"] for one in got["fetch_open_orders"][0]] == [resting["id"]]
    changed = got["edit_order"][0]
    assert (changed["id"], changed["amount"]) == (resting["id"], 0.02)
    assert changed["price"] < resting["price"]
    assert got["cancel_order"][0]["status"] == "canceled"
    post_only = got["create post-only"][0]
    assert (post_only["clientOrderId"], post_only["postOnly"], post_only["status"]) == ("mine-1", True, "open")
    assert got["fetch by client id"][0]["id"] == post_only["id"] == got["cancel by client id"][0]["id"]
    assert {resting["id"], post_only["id"]} <= set(got["fetch_canceled_orders"][0])
    for name in ("create ioc", "create fok", "create market"):
        assert got[name][0]["status"] == "closed", got[name]
    bought = got["create market"][0]
    assert bought["filled"] == 0.03
    trades = [one for one in got["fetch_my_trades"][0] if one["order"] == bought["id"]]
    assert round(sum(one["amount"] for one in trades), 6) == 0.03
    assert all(one["takerOrMaker"] == "taker" and one["fee"]["currency"] == "USDT" for one in trades)
    assert bought["id"] in {one["id"] for one in got["fetch_closed_orders"][0]}
    assert bought["id"] in {one["id"] for one in got["fetch_orders"][0]}
    (position,) = got["positions while long"][0]
    assert (position["side"], position["contracts"], position["marginMode"]) == ("long", 0.05, "cross")
    assert got["create reduce-only"][0]["reduceOnly"] is True
    assert [one for one in got["positions when flat"][0] if one["contracts"]] == []
    assert got["open after cancel_all"][0] == []


def test_ccxt_keeps_conditional_orders(emulator: Served) -> None:
    got = emulator.run("ccxt_rest.py", "conditional")
    placed = ("stop market", "stop limit", "take profit market", "take profit limit", "trailing")
    ids = {got[name][0]["id"] for name in placed}
    assert len(ids) == 5
    assert all(got[name][0]["status"] == "open" for name in placed)
    assert got["stop market"][0]["triggerPrice"] < got["take profit market"][0]["triggerPrice"]
    assert {one["id"] for one in got["fetch_open_orders"][0]} == ids
    assert got["fetch_order"][0]["id"] == got["stop market"][0]["id"]
    assert {one["id"] for one in got["fetch_orders"][0]} >= ids
    assert got["open after cancel_all"][0] == []


def test_ccxt_trades_in_batches(emulator: Served) -> None:
    got = emulator.run("ccxt_rest.py", "batch")
    made_all(got, CALLS["batch"])
    assert [one["status"] for one in got["create_orders"][0]] == ["open"] * 3
    assert [one["amount"] for one in got["edit_orders"][0]] == [0.02] * 2
    assert [one["status"] for one in got["cancel_orders"][0]] == ["canceled"] * 2
    assert [one["status"] for one in got["cancel by client ids"][0]] == ["canceled"]
    assert got["open afterwards"][0] == []
    assert {one["status"] for one in got["one of two refused"][0]} == {"open", "rejected"}


def test_ccxt_reads_the_account(emulator: Served) -> None:
    got = emulator.run("ccxt_rest.py", "account")
    made_all(got, CALLS["account"])
    for name in ("fetch_balance", "fetch_balance v2"):
        assert got[name][0]["USDT"]["total"] > 0
        assert got[name][0]["USDT"]["free"] <= got[name][0]["USDT"]["total"]
    for name in ("fetch_positions", "fetch_positions v2", "fetch_positions of the account"):
        (position,) = [one for one in got[name][0] if one["contracts"]]
        assert (position["symbol"], position["side"], position["contracts"]) == (SYMBOL, "long", 0.02)
        assert (
            position["entryPrice"] is None if name == "fetch_positions of the account" else position["entryPrice"] > 0
        )
        assert position["marginMode"] == "cross"
        assert position["maintenanceMargin"] > 0
    assert {one["type"] for one in got["fetch_ledger"][0]} >= {"commission", "trade"}
    assert got["fetch_trading_fee"][0]["taker"] > got["fetch_trading_fee"][0]["maker"] >= 0
    tiers = got["fetch_leverage_tiers"][0]
    assert tiers[0]["maxLeverage"] > tiers[-1]["maxLeverage"] == 1
    assert [one["minNotional"] for one in tiers[1:]] == [one["maxNotional"] for one in tiers[:-1]]


def test_ccxt_changes_modes(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("ccxt_rest.py", "modes")
    made_all(got, CALLS["modes"])
    assert [int(one["leverage"]) for one in got["set_leverage"]] == [7, 20]
    assert got["fetch_leverage"][0]["longLeverage"] == 20
    assert [one["marginMode"] for one in got["fetch_margin_mode"]] == ["isolated", "cross"]
    assert got["margin mode again"][0][0] == "MarginModeAlreadySet"
    assert got["fetch_position_mode"][0]["hedged"] is True
    sides = {one["side"]: one["contracts"] for one in got["hedged positions"][0]}
    assert sides == {"long": 0.02, "short": 0.01}
    assert all(one["hedged"] for one in got["hedged positions"][0])
    (isolated,) = [one for one in got["isolated position"][0] if one["contracts"]]
    assert isolated["marginMode"] == "isolated"
    assert (got["add_margin"][0]["amount"], got["reduce_margin"][0]["amount"]) == (50, 20)
    assert len(got["fetch_margin_adjustment_history"][0]) >= 2


def test_plain_ccxt_trades_futures(fresh_emulator: Served) -> None:
    """Not `binanceusdm` but `binance` with a default type: it asks for the markets of the other venues as well."""
    got = fresh_emulator.run("ccxt_rest.py", "modes", "batch", kind="binance", options={"defaultType": "future"})
    made_all(got, CALLS["modes"] + " " + CALLS["batch"])
    assert {one["side"]: one["contracts"] for one in got["hedged positions"][0]} == {"long": 0.02, "short": 0.01}


@pytest.mark.usefixtures("clients")
def test_ccxt_trades_spot(tmp_path: Path) -> None:
    with serving(tmp_path, "--venue", "spot") as spot:
        got = spot.run("ccxt_spot.py", "orders", kind="binance", options={"fetchMarkets": {"types": ["spot"]}})
    made_all(got, CALLS["spot"])
    assert got["load_markets"] == [["BTC/USDT", "ETH/USDT"]]
    resting, bought = got["create limit"][0], got["create market"][0]
    assert (resting["status"], got["fetch_order"][0]["id"]) == ("open", resting["id"])
    assert [one["id"] for one in got["fetch_open_orders"][0]] == [resting["id"]]
    assert got["cancel_order"][0]["status"] == "canceled"
    assert (bought["status"], bought["filled"]) == ("closed", 0.02)
    assert round(sum(one["amount"] for one in got["fetch_my_trades"][0]), 8) == 0.02
    before, after = got["fetch_balance"][0], got["balance after buying"][0]
    fees = sum(one["fee"]["cost"] for one in got["fetch_my_trades"][0] if one["fee"]["currency"] == "BTC")
    assert round(after["BTC"]["total"] - before["BTC"]["total"] + fees, 8) == 0.02
    assert round(before["USDT"]["total"] - after["USDT"]["total"], 6) == round(bought["cost"], 6)


def test_ccxt_raises_what_it_raises_at_the_venue(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("ccxt_rest.py", "refusals")
    # ccxt has error classes for the venue's own addresses that it does not use here: those are ExchangeError.
    assert {name: (error, _code(text)) for name, ((error, text),) in got.items()} == {
        "unknown order": ("OrderNotFound", -2013),
        "cancel of an unknown order": ("OrderNotFound", -2011),
        "too small": ("ExchangeError", -4164),
        "too large": ("BadRequest", -4005),
        "more than the margin": ("ExchangeError", -2019),
        "post-only that takes": ("InvalidOrder", -5022),
        "reduce-only without a position": ("ExchangeError", -2022),
        "leverage out of range": ("BadRequest", None),
        "client id twice": ("ExchangeError", -4116),
        "wrong secret": ("AuthenticationError", -1022),
        "wrong key": ("AuthenticationError", -2014),
        "stale timestamp": ("InvalidNonce", -1021),
    }


FAULTS = """
[[faults]]
on = "request"
kind = "http_429"
client_id = "told_429"

[[faults]]
on = "request"
kind = "http_503"
which = "unknown"
executed = true
client_id = "told_503_done"

[[faults]]
on = "request"
kind = "http_503"
which = "unavailable"
client_id = "told_503_not_done"

[[faults]]
on = "request"
kind = "drop"
executed = true
client_id = "dropped_done"
"""


@pytest.mark.usefixtures("clients")
def test_ccxt_meets_faults(tmp_path: Path) -> None:
    """An error is no answer to whether the order is there."""
    file = tmp_path / "faults.toml"
    file.write_text(FAULTS)
    with serving(tmp_path, "--faults", str(file)) as faulty:
        got = faulty.run("ccxt_rest.py", "faults")
    assert {name: error for name, ((error, *_), *_) in got.items() if name != "open"} == {
        "told 429": "DDoSProtection",
        "told 503, done": "OperationFailed",
        "told 503, not done": "OperationFailed",
        "dropped, done": "NetworkError",
    }
    assert got["open"] == [["dropped_done", "told_503_done"]]


def _code(text: str) -> int | None:
    found = re.search(r'"code":(-\d+)', text)
    return int(found[1]) if found else None


def test_ccxt_watches_the_market(emulator: Served) -> None:
    got = emulator.run("ccxt_streams.py", "market")
    made_all(got, CALLS["streams"])
    for book in got["watch_order_book"]:
        assert book["bids"][0][0] < book["asks"][0][0]
    nonces = [book["nonce"] for book in got["watch_order_book"]]
    assert nonces == sorted(nonces)
    for name in ("watch_trades", "watch_trades of aggTrade"):
        assert got[name][0][0]["price"] > 0
        assert got[name][0][0]["side"] in {"buy", "sell"}
    assert got["watch_ticker"][0]["last"] > 0
    assert got["watch_mark_price"][0]["markPrice"] > 0
    assert got["watch_bids_asks"][0][SYMBOL]["bid"] < got["watch_bids_asks"][0][SYMBOL]["ask"]
    assert got["watch_ohlcv"][0][-1][4] > 0


def test_ccxt_watches_its_account(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("ccxt_streams.py", "user")
    (resting,) = got["watch_orders of a resting order"][0]
    assert (resting["status"], resting["amount"], resting["filled"]) == ("open", 0.01, 0)
    assert got["watch_orders of a cancel"][0][-1]["status"] == "canceled"
    filled = got["watch_orders of a fill"][0][-1]
    assert (filled["type"], filled["amount"]) == ("market", 0.02)
    trade = got["watch_my_trades"][0][-1]
    assert trade["takerOrMaker"] == "taker"
    assert trade["fee"]["cost"] > 0
    assert got["watch_balance"][0]["USDT"]["total"] > 0
    assert [one["side"] for one in got["watch_positions of a fill"][0]] == ["long"]


def test_ccxt_orders_over_the_websocket_api(fresh_emulator: Served) -> None:
    got = fresh_emulator.run("ccxt_streams.py", "orders")
    made_all(got, CALLS["websocket orders"])
    placed = got["create_order_ws"][0]
    assert (placed["status"], placed["amount"]) == ("open", 0.01)
    assert got["fetch_order_ws"][0]["id"] == placed["id"]
    assert got["edit_order_ws"][0]["amount"] == 0.02
    assert got["cancel_order_ws"][0]["status"] == "canceled"
    assert got["fetch_balance_ws"][0]["USDT"]["total"] > 0
    assert got["fetch_order_book_ws"][0]["bids"][0][0] < got["fetch_order_book_ws"][0]["asks"][0][0]
    assert got["cancel of an unknown order"][0][0] == "OrderNotFound"
